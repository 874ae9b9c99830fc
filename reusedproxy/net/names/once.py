"""Looks names up for single requests (`do-resolve`), with what a section has learnt within its `timeout resolve`.

What is found is what name servers have said, as in HAProxy: an address is no name, and a client that writes one gets
nothing.

Clients may choose the names, so those that are asked for at a time are bounded, and those of one client and of one
network among them: names that nobody answers for would else take the place of all others'. It must never know requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from reusedproxy.net.names.section import Section
from reusedproxy.net.names.watch import Watch
from reusedproxy.net.names.wire import AAAA, A
from reusedproxy.wire.addresses import of_one_client, of_one_network

#: Names of one section that are known at a time; for one more there is no address.
MOST = 1000
#: Of these, so many for one client, and for the clients of one network.
MOST_OF_CLIENT = 100
MOST_OF_NETWORK = 500
#: A name, whose last label is no number (RFC 3696 section 2): an IPv4 address is none.
_NAME = re.compile(r"(?=.{1,253}\Z)(?!(.*\.)?[0-9]+\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\Z")
Told = Callable[[str | None], None]


class _Waiting:
    """Waits for the next answer about a name, and forgets who is to be told then: who is told knows how to leave."""

    __slots__ = ("_told", "_watch")

    def __init__(self, watch: Watch, told: Told) -> None:
        self._watch = watch
        self._told: Told | None = told
        watch.follow(self._answered)

    def leave(self) -> None:
        """Tells nobody any more."""
        self._told = None
        self._watch.leave(self._answered)

    def _answered(self, watch: Watch) -> None:
        told = self._told
        self.leave()
        if told is not None:
            told(_first(watch))


def _nothing() -> None:
    """Stops nothing: the answer has been given."""


class Lookups:
    """Looks names up in `resolvers` sections, which are given by their names."""

    def __init__(self, sections: Mapping[str, Callable[[], Section]]) -> None:
        self._find = sections
        self._sections: dict[str, Section] = {}

    def look_up(self, section: str, name: str, prefer: str, told: Told, client: str) -> Callable[[], None]:
        """Calls `told` with an address of this name, of the family that is preferred if there is one ("ipv4", "ipv6");
        None: there is none. May call it before it returns. `client` is the address that asks. Returns the function that
        asks no more."""
        host = name.rstrip(".").lower()
        asked = self._section(section)
        kind = A if prefer == "ipv4" else AAAA
        known = (host, kind) in asked.watches
        shares = (of_one_client(client), of_one_network(client))
        if not _NAME.match(host) or (not known and _is_full(asked, shares)):
            told(None)
            return _nothing
        watch = asked.watch(host, kind, shares)
        if watch.status:
            told(_first(watch))
            return _nothing
        return _Waiting(watch, told).leave

    def _section(self, name: str) -> Section:
        if name not in self._sections:
            self._sections[name] = self._find[name]()
        return self._sections[name]


def _is_full(section: Section, shares: tuple[str, str]) -> bool:
    client, network = (section.shares[each] for each in shares)
    return len(section.watches) >= MOST or client >= MOST_OF_CLIENT or network >= MOST_OF_NETWORK


def _first(watch: Watch) -> str | None:
    return next((each for each in watch.found if isinstance(each, str)), None)
