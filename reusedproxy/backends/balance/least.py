"""Balances by load and by order: `leastconn` and `first`, with the results of HAProxy (src/lb_fwlc.c, src/lb_fas.c)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from attrs import define

from reusedproxy.backends.server import FULL_WEIGHT, Server

#: The largest weight, in the units of `Server.eweight`.
_LARGEST = 256 * FULL_WEIGHT
#: Entries of the heap that are out of date, beyond one for each server, until it is made anew.
_STALE = 64


@define(eq=False)
class _Entry:
    """Holds a server's place among the others: its `load` and, among those of equal load, its `turn`."""

    server: Server
    load: int
    turn: int
    #: Tells that it is in no heap, because it is full.
    aside: bool = False
    #: Tells that a server with a warm connection was preferred to it, which happens once in each of its turns; and that
    #: it was preferred itself, so that the next one comes first when it is its turn again.
    passed: bool = False
    ahead: bool = False


class LeastConn:
    """Implements `balance leastconn`: the server with the fewest requests, those that wait for it included, for its
    weight; among equals the one that has been so for the longest. A server without any request comes first, whatever
    its weight.

    `prefers_warm`: if that server has no idle connection and the next one of equal load has, that one is taken: once,
    then it is the server's turn in any case; and whoever was taken so lets another one go first when its own turn
    comes. So no server is ever more than one request ahead or behind by that.
    """

    dynamic = True
    weighs = True

    def __init__(self, prefers_warm: bool = False) -> None:
        self._prefers_warm = prefers_warm
        self._entries: dict[Server, _Entry] = {}
        self._heap: list[tuple[int, int, _Entry]] = []
        self._turns = count()

    def use(self, servers: Sequence[Server]) -> None:
        before, self._entries = self._entries, {}
        for server in servers:
            entry = before.get(server)
            if entry is None:
                entry = _Entry(server, _load(server), next(self._turns))
            elif (load := _load(server)) != entry.load:
                entry.load, entry.turn = load, next(self._turns)
            entry.aside = False
            self._entries[server] = entry
        self._rebuild()

    def succeed(self, previous: LeastConn, heirs: Mapping[Server, Server]) -> None:
        before = {heirs[server]: entry for server, entry in previous._entries.items() if server in heirs}
        # Those that are new have their turn behind the others.
        new = {server: entry for server, entry in self._entries.items() if server not in before}
        self._entries = {}
        for server, entry in [*sorted(before.items(), key=lambda each: each[1].turn), *new.items()]:
            turn = next(self._turns)
            self._entries[server] = _Entry(server, entry.load, turn, passed=entry.passed, ahead=entry.ahead)

    def pick(self, avoid: Server | None = None) -> Server | None:
        heap = self._heap
        avoided = None
        while (entry := self._first()) is not None:
            server = entry.server
            if server.maxconn and server.served >= server.maxconn:
                heappop(heap)
                entry.aside = True
            elif server is avoid:
                avoided = heappop(heap)
            else:
                break
        if entry is not None and self._prefers_warm and (entry.ahead or not entry.server.pool.idle):
            entry = self._second(entry, avoid)
        if avoided is not None:
            heappush(heap, avoided)
        if entry is not None:
            return entry.server
        return None if avoided is None else avoided[2].server

    def freed(self, server: Server) -> None:
        entry = self._entries.get(server)
        if entry is not None and entry.aside:
            entry.aside = False
            heappush(self._heap, (entry.load, entry.turn, entry))

    def loaded(self, server: Server, change: int) -> None:
        entry = self._entries.get(server)
        if entry is None or (load := _load(server)) == entry.load:
            return
        entry.load, entry.turn, entry.passed = load, next(self._turns), False
        if not entry.aside:
            heappush(self._heap, (load, entry.turn, entry))
            if len(self._heap) > 2 * len(self._entries) + _STALE:
                self._rebuild()

    def _first(self) -> _Entry | None:
        """Returns the first entry, and drops what is out of date before it."""
        heap = self._heap
        while heap:
            _, turn, entry = heap[0]
            if turn == entry.turn and not entry.aside:
                return entry
            heappop(heap)
        return None

    def _second(self, first: _Entry, avoid: Server | None) -> _Entry:
        """Returns the next entry in place of `first`, if it is as good: a warm one where `first` is cold, and any where
        `first` was preferred before."""
        heap = self._heap
        top = heappop(heap)
        other = self._first()
        heappush(heap, top)
        if other is None or other.load != first.load or other.server is avoid:
            return first
        server = other.server
        if server.maxconn and server.served >= server.maxconn:
            return first
        if first.ahead:
            first.ahead = False
            return other
        if first.passed or other.ahead or not server.pool.idle:
            return first
        first.passed = other.ahead = True
        return other

    def _rebuild(self) -> None:
        self._heap = [(entry.load, entry.turn, entry) for entry in self._entries.values() if not entry.aside]
        heapify(self._heap)


def _load(server: Server) -> int:
    requests = server.served + len(server.queue.waiting)
    return (requests + 1) * _LARGEST // server.eweight if requests else 0


class First:
    """Implements `balance first`: the server with the lowest `id` that is not full."""

    dynamic = True  # it takes any weight, and ignores it
    weighs = False

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Server]] = []
        self._full: dict[Server, tuple[int, int, Server]] = {}

    def use(self, servers: Sequence[Server]) -> None:
        self._heap = [(server.settings.id, place, server) for place, server in enumerate(servers)]
        heapify(self._heap)
        self._full = {}

    def pick(self, avoid: Server | None = None) -> Server | None:
        heap = self._heap
        avoided = chosen = None
        while heap:
            server = heap[0][2]
            if server.maxconn and server.served >= server.maxconn:
                self._full[server] = heappop(heap)
            elif server is avoid:
                avoided = heappop(heap)
            else:
                chosen = server
                break
        if avoided is not None:
            heappush(heap, avoided)
            return chosen or avoid
        return chosen

    def freed(self, server: Server) -> None:
        entry = self._full.pop(server, None)
        if entry is not None:
            heappush(self._heap, entry)
