"""Follows what the name servers say about one name, again and again: its addresses, or its services.

A watch remembers what was answered, and when: `hold obsolete` keeps what an answer lacks for a while, since a name
server with many addresses may give a part of them at a time; the other `hold` words keep all while answers fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.config.model.names import Holds
from reusedproxy.net.names.lookup import Lookup
from reusedproxy.net.names.messages import NX, REFUSED, TIMEOUT, VALID, Answer, Service

#: Why servers have no address, by the last answer: HAProxy's words.
CAUSES = {NX: "DNS NX status", REFUSED: "DNS refused status", TIMEOUT: "DNS timeout status"}
#: HAProxy's words for any other answer.
UNSPECIFIED = "unspecified DNS error"


class Watching(Protocol):
    """Defines what a watch needs of its section."""

    clock: IReactorTime
    name: str
    holds: Holds
    resolve: float

    def accepts(self, address: str) -> bool:
        """Tells whether addresses of this family are used."""

    def look_up(self, name: str, kind: int, told: Callable[[Answer, str], None]) -> Lookup:
        """Begins a lookup, as soon as its turn has come."""

    def unwatched(self, watch: Watch) -> None:
        """Forgets a watch that nobody follows any more."""


@define
class Seen:
    """Holds when an answer had an address or a service last; of a service also its weight, and the addresses that came
    with it."""

    last: float
    weight: int = 0
    addresses: tuple[str, ...] = ()


class Watch:
    """Follows one name. `followers` are called after each lookup with the watch.

    `found` has addresses, or services, in the order in which they were first answered; `status` is that of the last
    lookup, "" before the first. `version` changes whenever what is found does, or whether anything is. `source` is who
    answered last ("mydns/ns1"); `given_up` tells that for longer than its `hold` there was no valid answer: then
    nothing is found any more.
    """

    def __init__(self, section: Watching, name: str, kind: int, shares: tuple[str, ...] = ()) -> None:
        """`shares` are those in which it counts."""
        self.name = name
        self.kind = kind
        self.shares = shares
        self.found: dict[str | Service, Seen] = {}
        self.status = ""
        self.source = ""
        self.given_up = False
        self.version = 0
        self.followers: dict[Callable[[Watch], None], None] = {}
        self._section = section
        #: Before the first answer, what is known from elsewhere is kept for the same time.
        self.last_valid = section.clock.seconds()
        self._lookup: Lookup | None = None
        self._call: IDelayedCall | None = None
        #: Ends it where nobody follows it.
        self._end: IDelayedCall | None = None

    def take_after(self, other: Watch) -> None:
        """Takes over what another watch of the same name has learnt, whose section is read anew."""
        self.found = {**other.found}
        self.status, self.source = other.status, other.source
        self.given_up, self.last_valid = other.given_up, other.last_valid
        self.version = other.version
        # A client's name, which nobody will follow, would else be known for ever.
        self._end = self._section.clock.callLater(self._section.resolve, self._end_unfollowed)

    def follow(self, follower: Callable[[Watch], None]) -> None:
        """Calls `follower` from now on; the first one has the name asked for."""
        self.followers[follower] = None
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._lookup is None and self._call is None:
            self._look()

    def leave(self, follower: Callable[[Watch], None]) -> None:
        """Calls `follower` no more. When the time for the next lookup comes, and nobody follows, the watch ends."""
        self.followers.pop(follower, None)

    def look_again(self) -> None:
        """Asks at once, and not when it would be time: an address has not answered."""
        call = self._call
        if call is not None:
            call.reset(0)

    def stop(self) -> None:
        """Asks no more; leaves no timer."""
        self.followers.clear()
        if self._lookup is not None:
            self._lookup.stop()
            self._lookup = None
        for call in (self._call, self._end):
            if call is not None:
                call.cancel()
        self._call = self._end = None

    def _end_unfollowed(self) -> None:
        self._end = None
        self._section.unwatched(self)

    def _look(self) -> None:
        self._call = None
        if not self.followers:
            self._section.unwatched(self)
            return
        self._lookup = self._section.look_up(self.name, self.kind, self._told)

    def _told(self, answer: Answer, nameserver: str) -> None:
        self._lookup = None
        now = self._section.clock.seconds()
        self._call = self._section.clock.callLater(self._section.resolve, self._look)
        self.status = answer.status
        if answer.status == VALID:
            self.source = f"{self._section.name}/{nameserver}"
            self.last_valid = now
            before = self._known(), self.given_up
            self.given_up = False
            self._take(answer, now)
            self.version += before != (self._known(), False)
        elif now - self.last_valid >= getattr(self._section.holds, answer.status):
            self.version += not self.given_up
            self.given_up = True
            self.found.clear()
        for follower in [*self.followers]:
            if follower in self.followers:
                follower(self)

    def _known(self) -> list[tuple[str | Service, int, tuple[str, ...]]]:
        return [(each, seen.weight, seen.addresses) for each, seen in self.found.items()]

    def _take(self, answer: Answer, now: float) -> None:
        found = self.found
        given: dict[str, list[str]] = {}
        for host, address in answer.additional:
            if self._section.accepts(address):
                given.setdefault(host, []).append(address)
        for address in answer.addresses:
            found.setdefault(address, Seen(now)).last = now
        for service in answer.services:
            seen = found.setdefault(service, Seen(now))
            seen.last, seen.weight = now, service.weight
            seen.addresses = tuple(given.get(service.host, ()))
        since = now - self._section.holds.obsolete
        for each in [each for each, seen in found.items() if seen.last < since]:
            del found[each]

    @property
    def cause(self) -> str:
        """Returns why there is no address, in HAProxy's words."""
        return CAUSES.get(self.status, UNSPECIFIED)
