"""Asks the name servers of one `resolvers` section for all names that somebody watches.

Numbers its questions at random, and takes an answer only from the name server that was asked, for the question that it
was asked. An answer over UDP that was too long is asked for over TCP (RFC 7766). Names are asked for at a pace, since
questions for a thousand at once would hold the loop.
"""

from __future__ import annotations

import socket
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from random import SystemRandom
from typing import Any

from attrs import define, evolve, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.config.model.names import IPV4, IPV6, Resolvers
from reusedproxy.net.names.channels import Channel, Opener, Place, opener
from reusedproxy.net.names.lookup import Lookup
from reusedproxy.net.names.messages import Answer, read_answer
from reusedproxy.net.names.watch import Watch
from reusedproxy.net.names.wire import AAAA, SRV, A, write_question

#: Lookups that begin in one turn of the loop, and seconds until the next ones: 1,000 in a second.
_AT_ONCE, _PAUSE = 10, 0.01
#: Seconds for which it is believed whether this machine has a route for IPv6.
_ROUTE_FOR = 30.0
#: An address of the public network (RFC 5180 keeps it for tests), to which nothing is ever sent.
_FAR_AWAY = ("2001:2::1", 9)


@frozen
class Asked:
    """Describes a section as far as what is learnt depends on it: whom to ask, how, and for which families."""

    settings: Resolvers
    places: tuple[Place, ...]
    families: tuple[str, ...] = ("auto",)


@define(eq=False)
class _Question:
    """Holds a question that is not answered yet: its lookup, and the name servers whose answer is awaited."""

    lookup: Lookup
    name: str
    kind: int
    message: bytes
    awaited: set[Place]


class Section:
    """Runs one `resolvers` section. `watches` are the names that it asks for, by name and kind; `shares` is how many of
    them were first asked for by each of those whose share is counted."""

    def __init__(
        self, asked: Asked, reactor: Any, random: SystemRandom | None = None, open_: Opener | None = None
    ) -> None:
        """Opens channels with `open_` (None: on the reactor)."""
        settings = asked.settings
        self.asked = asked
        self.clock: IReactorTime = reactor
        self.name = settings.name
        self.holds, self.resolve = settings.holds, settings.resolve
        self.retry, self.retries = settings.retry, settings.retries
        self.watches: dict[tuple[str, int], Watch] = {}
        self.shares: Counter[str] = Counter()
        #: Counts of each name server, by its name and HAProxy's words: questions ("sent"), those without an answer in
        #: time ("timeout"), and answers by what they are; "outdated" are those that nobody waits for.
        self.counts = defaultdict[str, Counter[str]](Counter, {place.name: Counter() for place in asked.places})
        self._payload = settings.payload
        self._random = random or SystemRandom()
        self._open = open_ or opener(reactor, max(settings.retry, 1.0))
        #: Empty once it is `replaced`, while nobody watches a name.
        self._channels = self._opened()
        #: The same name servers over TCP, as soon as an answer was too long.
        self._streams: dict[Place, Channel] = {}
        self._questions: dict[int, _Question] = {}
        self._numbers: dict[Lookup, int] = {}
        self._waiting: deque[Lookup] = deque()
        self._turn: IDelayedCall | None = None
        self._route: tuple[float, bool] | None = None
        self._is_replaced = False

    # What watches ask.

    def watch(self, name: str, kind: int, shares: tuple[str, ...] = ()) -> Watch:
        """Returns the watch for a name: for SRV records, or for addresses, those of the kind A or AAAA first. A new one
        counts in these shares."""
        key = (name, kind)
        watch = self.watches.get(key)
        if watch is None:
            watch = self.watches[key] = Watch(self, name, kind, shares)
            self.shares.update(shares)
        return watch

    def unwatched(self, watch: Watch) -> None:
        del self.watches[watch.name, watch.kind]
        for share in watch.shares:
            self.shares[share] -= 1
            if not self.shares[share]:
                del self.shares[share]
        if self._is_replaced and not self.watches:
            self._drop_channels()

    def replaced(self) -> None:
        """Notes that another section has taken its place: its channels, which refer to it, go with the last watch."""
        self._is_replaced = True
        if not self.watches:
            self._drop_channels()

    def accepts(self, address: str) -> bool:
        return (AAAA if ":" in address else A) in self._kinds

    def look_up(self, name: str, kind: int, told: Callable[[Answer, str], None]) -> Lookup:
        accepted = self._kinds
        kinds = (kind,) if kind == SRV else (kind, A if kind == AAAA else AAAA)
        lookup = Lookup(self, name, tuple(each for each in kinds if each == SRV or each in accepted), told)
        self._waiting.append(lookup)
        if self._turn is None:
            self._turn = self.clock.callLater(0, self._begin)
        return lookup

    def stop(self) -> None:
        """Asks nobody any more; leaves no timer and no socket."""
        for watch in [*self.watches.values()]:
            watch.stop()
        self.watches.clear()
        self.shares.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._drop_channels()

    def _drop_channels(self) -> None:
        for channel in (*self._channels.values(), *self._streams.values()):
            channel.close()
        self._channels.clear()
        self._streams.clear()

    def _begin(self) -> None:
        turn = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        self._turn = self.clock.callLater(_PAUSE, self._begin) if self._waiting else None
        for lookup in turn:
            lookup.start()

    @property
    def _kinds(self) -> set[int]:
        """Returns the kinds of addresses that are accepted (`dns-accept-family`)."""
        families = self.asked.families
        kinds = {A} if {IPV4, "auto"} & {*families} else set()
        if IPV6 in families or ("auto" in families and self._has_route()):
            kinds.add(AAAA)
        return kinds

    def _has_route(self) -> bool:
        now = self.clock.seconds()
        if self._route is None or now >= self._route[0]:
            self._route = now + _ROUTE_FOR, _reaches_ipv6()
        return self._route[1]

    # What lookups ask.

    def ask(self, lookup: Lookup, name: str, kind: int) -> int:
        self._forget(lookup)
        number = self._random.randrange(1 << 16)
        while number in self._questions:
            number = self._random.randrange(1 << 16)
        try:
            message = write_question(number, name, kind, self._payload)
        except ValueError:  # a label is too long for DNS
            return 0
        if not self._channels:
            self._channels = self._opened()
        asked = _Question(lookup, name, kind, message, {*self._channels})
        self._questions[number] = asked
        self._numbers[lookup] = number
        for place, channel in [*self._channels.items()]:
            self.counts[place.name]["sent"] += 1
            channel.send(message)
        return len(self._channels)

    def overdue(self, lookup: Lookup) -> None:
        number = self._numbers.get(lookup)
        for place in self._questions[number].awaited if number is not None else ():
            self.counts[place.name]["timeout"] += 1

    def done(self, lookup: Lookup) -> None:
        if lookup in self._waiting:
            self._waiting.remove(lookup)
        self._forget(lookup)
        if not self._questions:
            for channel in (*self._channels.values(), *self._streams.values()):
                channel.rest()

    def _forget(self, lookup: Lookup) -> None:
        number = self._numbers.pop(lookup, None)
        if number is not None:
            del self._questions[number]

    # What channels say.

    def _opened(self) -> dict[Place, Channel]:
        return {place: self._channel(place) for place in self.asked.places}

    def _channel(self, place: Place, asked: Place | None = None) -> Channel:
        return self._open(place, lambda data: self._answered(asked or place, data, whole=place.stream))

    def _answered(self, place: Place, data: bytes, whole: bool) -> None:
        """Takes an answer of the name server at `place`; `whole`: it came over TCP."""
        counts = self.counts[place.name]
        asked = self._questions.get(int.from_bytes(data[:2], "big")) if len(data) > 2 else None
        if asked is None or place not in asked.awaited:
            counts["outdated" if len(data) > 2 else "invalid"] += 1
            return
        if not whole and len(data) > self._payload:
            counts["too_big"] += 1
            return  # as in HAProxy: more than was asked for
        answer = read_answer(data, asked.name, asked.kind)
        if answer is not None and answer.truncated and not whole:
            counts["truncated"] += 1
            asked.lookup.answered_in_part(answer, place.name)
            self._ask_whole(place, asked.message)
            return
        counts["invalid" if answer is None else answer.status] += 1
        asked.awaited.discard(place)
        asked.lookup.answered(answer, place.name)

    def _ask_whole(self, place: Place, message: bytes) -> None:
        stream = self._streams.get(place)
        if stream is None:
            stream = self._streams[place] = self._channel(evolve(place, stream=True), place)
        stream.send(message)


class Names:
    """Runs all sections, through any number of reloads: what was learnt stays as long as somebody watches it."""

    def __init__(self, reactor: Any, open_: Opener | None = None) -> None:
        self.clock: IReactorTime = reactor
        self._reactor = reactor
        self._open = open_
        self._sections: dict[str, Section] = {}
        #: Sections whose lines have changed at a reload, until nobody watches their names any more.
        self._former: list[Section] = []

    def section(self, asked: Asked) -> Section:
        """Returns the running section of this description. One that takes the place of another knows what that had
        learnt."""
        name = asked.settings.name
        before = self._sections.get(name)
        if before is not None and before.asked == asked:
            return before
        made = self._sections[name] = Section(asked, self._reactor, open_=self._open)
        if before is not None:
            for (host, kind), watch in before.watches.items():
                made.watch(host, kind, watch.shares).take_after(watch)
            before.replaced()
            self._former = [each for each in (*self._former, before) if each.watches]
        return made

    def running(self, name: str) -> Section | None:
        """Returns the section of this name; None: it has not been needed yet."""
        return self._sections.get(name)

    def stop(self) -> None:
        for section in (*self._former, *self._sections.values()):
            section.stop()
        self._sections.clear()
        self._former.clear()


def _reaches_ipv6() -> bool:
    """Tells whether this machine knows a way for IPv6; nothing is sent."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(_FAR_AWAY)
    except OSError:
        return False
    return True
