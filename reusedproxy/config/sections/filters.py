"""Parses `filter` lines: bandwidth limits, which rules switch on (`set-bandwidth-limit`)."""

from __future__ import annotations

from reusedproxy.config.language import units
from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.parameters import read_parameters
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.sections.draft import ProxyDraft

FILTERS = ("bwlim-in", "bwlim-out", "compression", "trace")
_NOT_DONE = words("cache fcgi-app lua opentracing opentelemetry spoe")
#: Of `filter trace`, with how many words follow each.
_OF_TRACES = {"name": 1, "random-forwarding": 0, "random-parsing": 0, "hexdump": 0, "quiet": 0}
#: Of a limit for each transfer, and of one for all with the same key.
_OWN, _SHARED = ("default-limit", "default-period"), ("key", "table", "limit")


def read_filter(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `filter bwlim-in|bwlim-out NAME …`; `filter compression`, without which HAProxy does not know when answers
    are compressed; and `filter trace`, with which it prints what passes. Raises Wrong."""
    kind, *rest = line.arguments or ("",)
    if kind in _NOT_DONE or kind.startswith("lua."):
        raise Wrong(not_done(f"filter {kind}", "filter"))
    if kind not in FILTERS:
        raise Wrong(f"'filter': unknown filter '{kind}'{did_you_mean(kind, FILTERS)}")
    if kind == "compression":
        if rest:
            raise Wrong(f"'filter compression' takes nothing after it: '{rest[0]}'")
        report.without_effect("filter compression", line.place)
        return
    if kind == "trace":
        read_parameters(rest, _OF_TRACES, lambda word, argument: None, "'filter trace'")
        report.without_effect("filter trace", line.place)
        return
    made = _bandwidth(line, kind, rest)
    if made.name in proxy.bandwidths:
        raise Wrong(f"'filter {kind}': there is a bandwidth limit '{made.name}' already in {proxy.title}")
    proxy.bandwidths[made.name] = made


def _bandwidth(line: Line, kind: str, rest: list[str]) -> Bandwidth:
    what = f"'filter {kind}'"
    if not rest:
        raise Wrong(f"{what} needs a name, by which rules switch it on")
    name, *rest = rest
    known = (*_OWN, *_SHARED, "min-size")
    said: dict[str, str] = {}
    while rest:
        word = rest.pop(0)
        if word not in known:
            raise Wrong(f"{what}: unknown word '{word}'{did_you_mean(word, known)}")
        if not rest:
            raise Wrong(f"{what}: '{word}' needs a value")
        if word in said:
            raise Wrong(f"{what}: '{word}' is said twice")
        said[word] = rest.pop(0)
    own, shared = ([word for word in some if word in said] for some in (_OWN, _SHARED))
    if own and shared:
        raise Wrong(
            f"{what}: '{own[0]}' is for each transfer, '{shared[0]}' for all with the same key: say one of them"
        )
    for word in ("key", "limit") if shared else _OWN:
        if word not in said:
            raise Wrong(f"{what} needs '{word}'" + ("" if shared else ", or 'key' and 'limit'"))
    limit = units.size(
        said["limit" if shared else "default-limit"], f"{what}: '{'limit' if shared else 'default-limit'}'"
    )
    if not limit:
        raise Wrong(f"{what}: a limit of 0 would let nothing pass")
    return Bandwidth(
        name=name,
        place=line.place,
        incoming=kind == "bwlim-in",
        limit=limit,
        period=0.0 if shared else units.positive_seconds(said["default-period"], f"{what}: 'default-period'"),
        key=read_expression(said["key"], f"{what}: 'key'") if shared else None,
        table=said.get("table", ""),
        least=units.size(said["min-size"], f"{what}: 'min-size'") if "min-size" in said else 0,
    )
