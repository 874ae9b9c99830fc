"""Parses `resolvers` sections: whom to ask for the addresses of servers' host names, how often, and what an answer
that fails means.

Must never open /etc/resolv.conf or resolve a name: `net.names` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, fields_dict

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import nameserver_address
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.names import Holds, NameServer, Resolvers
from reusedproxy.config.model.values import Place

_NAME = re.compile(r"[A-Za-z0-9_.:-]+\Z")
_EVENTS = tuple(fields_dict(Holds))
#: HAProxy's bounds of `accepted_payload_size`: a DNS header, and what two bytes can say.
_PAYLOADS = (12, 65535)
_SHORTEST = 0.01


@define
class ResolversDraft:
    """Holds one `resolvers` section while it is read. `unreadable`: a line of it could not be read, so that what is
    missing is not reported."""

    settings: Resolvers
    unreadable: bool = False

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def place(self) -> Place:
        return self.settings.place

    def read(self, line: Line, report: Report) -> None:
        """Reads one line of the section. Raises Wrong."""
        try:
            if line.keyword not in READERS:
                text = f"unknown keyword '{line.keyword}' in section 'resolvers'"
                if line.keyword in haproxy_words.PROXY:
                    raise Wrong(f"{text}: it belongs in a 'defaults', 'frontend', 'backend' or 'listen' section")
                raise Wrong(text + did_you_mean(line.keyword, READERS))
            if line.prefix:
                raise Wrong(f"'{line.prefix}' cannot stand before '{line.keyword}' in section 'resolvers'")
            READERS[line.keyword](self, line, report)
        except Wrong:
            self.unreadable = True
            raise


def _nameserver(draft: ResolversDraft, line: Line, report: Report) -> None:
    if len(line.words) < 3:
        raise Wrong("'nameserver' needs a name and an address: nameserver dns1 192.0.2.53:53, say")
    name = line.words[1]
    what = f"nameserver '{name}'"
    if not _NAME.match(name):
        raise Wrong(f"{what}: a name has only letters, digits and - _ . : in it")
    twin = next((each for each in draft.settings.nameservers if each.name == name), None)
    if twin is not None:
        raise Wrong(f"{what} stands already at {twin.place}: give each of a section its own name")
    stream, host, port = nameserver_address(line.words[2], what)
    for word in line.words[3:]:
        if not stream:
            # HAProxy takes any word here, and ignores it.
            raise Wrong(f"{what}: '{word}' means nothing for a name server that is asked over UDP")
        raise Wrong(not_done(word, "word of a name server", "a name server is asked over TCP in the clear"))
    made = NameServer(line.place, name, host, port, stream)
    draft.settings = evolve(draft.settings, nameservers=(*draft.settings.nameservers, made))


def _parse_resolv_conf(draft: ResolversDraft, line: Line, report: Report) -> None:
    line.at_most(0)
    if draft.settings.resolv_conf is not None:
        report.warn(line.place, f"'parse-resolv-conf' stands already at {draft.settings.resolv_conf}")
        return
    draft.settings = evolve(draft.settings, resolv_conf=line.place)


def _hold(draft: ResolversDraft, line: Line, report: Report) -> None:
    if len(line.words) < 3:
        raise Wrong(f"'hold' needs a kind of answer ({', '.join(_EVENTS)}) and a time: hold nx 30s, say")
    event = one_of(line.words[1], _EVENTS, "'hold'")
    value = _time(line, f"'hold {event}'")
    if event == "valid":
        # It is for `do-resolve`; HAProxy's servers do not mind it.
        report.without_effect("resolvers … hold valid", line.place)
    draft.settings = evolve(draft.settings, holds=evolve(draft.settings.holds, **{event: value}))


def _timeout(draft: ResolversDraft, line: Line, report: Report) -> None:
    if len(line.words) < 3:
        raise Wrong("'timeout' needs 'resolve' or 'retry' and a time: timeout retry 1s, say")
    event = one_of(line.words[1], ("resolve", "retry"), "'timeout' in section 'resolvers'")
    value = _time(line, f"'timeout {event}'")
    if value < _SHORTEST:
        text = (
            f"'timeout {event} {line.words[2]}' is too short: names are asked for every {_SHORTEST * 1e3:.0f}ms at most"
        )
        raise Wrong(text)
    fields: dict[str, Any] = {event: value}
    draft.settings = evolve(draft.settings, **fields)


def _time(line: Line, what: str) -> float:
    if len(line.words) > 3:
        raise Wrong(f"{what} takes one time: '{line.words[3]}' is too much")
    return units.seconds(line.words[2], what)


def _retries(draft: ResolversDraft, line: Line, report: Report) -> None:
    value = units.integer(line.one_argument("a number"), "'resolve_retries'", most=1000)
    draft.settings = evolve(draft.settings, retries=value)


def _payload(draft: ResolversDraft, line: Line, report: Report) -> None:
    value = units.integer(line.one_argument("a number of bytes"), "'accepted_payload_size'", *_PAYLOADS)
    draft.settings = evolve(draft.settings, payload=value)


READERS: dict[str, Callable[[ResolversDraft, Line, Report], None]] = {
    "nameserver": _nameserver,
    "parse-resolv-conf": _parse_resolv_conf,
    "hold": _hold,
    "timeout": _timeout,
    "resolve_retries": _retries,
    "accepted_payload_size": _payload,
}
