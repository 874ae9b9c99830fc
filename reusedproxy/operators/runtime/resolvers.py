"""Writes `show resolvers`: what became of the questions to each name server, in HAProxy's lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reusedproxy.config.model.names import Resolvers
from reusedproxy.operators.runtime.proxy import Context, Refusal

#: HAProxy's lines; what is not counted is 0: there is no such thing here.
_LINES = (
    *("sent", "snd_error", "valid", "update", "cname", "cname_error", "any_err", "nx", "timeout", "refused", "other"),
    *("invalid", "too_big", "truncated", "outdated"),
)


def show_resolvers(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `show resolvers [<section>]`. Raises Refusal."""
    sections = context.proxy.configuration.resolvers
    if words and words[0] not in sections:
        raise Refusal("Can't find that resolvers section")
    return _shown(context, [sections[words[0]]] if words else [*sections.values()])


def _shown(context: Context, sections: Sequence[Resolvers]) -> Iterator[str]:
    if not sections:
        yield "No resolvers found\n"
    for settings in sections:
        section = context.proxy.names.running(settings.name)
        if section is None:
            counts: Mapping[str, Mapping[str, int]] = {each.name: {} for each in settings.nameservers}
        else:
            counts = section.counts
        yield f"Resolvers section {settings.name}\n" + "".join(_lines(name, each) for name, each in counts.items())


def _lines(name: str, counts: Mapping[str, int]) -> str:
    return f" nameserver {name}:\n" + "".join(f"  {f'{each}:':<12} {counts.get(each, 0)}\n" for each in _LINES)
