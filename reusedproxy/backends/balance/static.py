"""Balances by HAProxy's static map of servers, each as often in it as its weight says: `static-rr`, and the hashes with
`hash-type map-based`. The results are those of HAProxy (src/lb_map.c)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from heapq import heappop, heappush, heapreplace
from math import gcd

from reusedproxy.backends.balance.algorithm import Hash
from reusedproxy.backends.server import Server


def spread(weights: Sequence[int]) -> list[int]:
    """Returns the map: the places of the servers of these weights, each as often as its weight says, spread evenly.

    At each step the weights are added to the servers' credits, and the first of those with the most whole credits is
    next, which costs it one. HAProxy looks at each server for each step. Here those of one weight take turns, because
    they earn their credits at the same steps; so at each step only the next one of each weight is looked at, and that
    in a heap. (1,000 servers of 10 weights: 1.6 ms, and with all of them in the heap 3.)
    """
    total, count = sum(weights), len(weights)
    if count == total:
        return [*range(total)]  # each once
    equals: dict[int, list[int]] = {}
    for place, weight in enumerate(weights):
        equals.setdefault(weight, []).append(place)
    earning: list[list[int]] = [[] for _ in range(total + 1)]
    for weight in equals:
        for credit in range(1, weight + 1):
            earning[-(-credit * total // weight)].append(weight)
    #: For the next one of each weight, its place less its credits times their number: the smallest is next. What is out
    #: of date in the heap is skipped.
    current = {weight: places[0] for weight, places in equals.items()}
    turns = dict.fromkeys(equals, 0)
    heap = sorted(current.values())
    made = []
    for weights_now in earning[1:]:
        for weight in weights_now:
            current[weight] -= count
            heappush(heap, current[weight])
        while current[weight := weights[place := (best := heap[0]) % count]] != best:
            heappop(heap)
        made.append(place)
        places, turn = equals[weight], turns[weight] + 1
        # The next one has as many credits, or one less if it has had a turn more.
        best += count if turn == len(places) else 0
        turns[weight] = turn = turn % len(places)
        current[weight] = best = best - place + places[turn]
        heapreplace(heap, best)
    return made


class StaticRoundRobin:
    """Implements `balance static-rr`: the servers in the order of the map.

    A server that is found full is taken out of `_open`, the bits of the map's places, until one of its own is free: so
    no pick looks at a full server twice, however many there are. Each step on these bits is one operation of the
    interpreter (of 1,000 servers, 125 bytes).
    """

    dynamic = False
    weighs = False

    def __init__(self, servers: Iterable[Server]) -> None:
        """Takes all servers of the backend, whose weights' common divisor shortens the map."""
        self._divisor = reduce(gcd, (server.settings.weight for server in servers), 0) or 1
        self.map: list[Server] = []
        self._next = 0
        #: The bits of the places of servers that are not known to be full; and of all places of those that were.
        self._open = 0
        self._closed: set[Server] = set()
        self._bits: dict[Server, int] = {}
        self._places: dict[Server, list[int]] = {}

    def use(self, servers: Sequence[Server]) -> None:
        weights = [-(-(server.settings.weight or server.weight) // self._divisor) for server in servers]
        self.map = [servers[place] for place in spread(weights)]
        self._open = (1 << len(self.map)) - 1
        self._bits, self._places = {}, {}
        self._closed.clear()

    def succeed(self, previous: StaticRoundRobin, heirs: Mapping[Server, Server]) -> None:
        if [heirs.get(each) for each in previous.map] == self.map:
            self._next = previous._next

    def pick(self, avoid: Server | None = None) -> Server | None:
        begin = self._next
        if begin >= len(self.map):
            begin = 0
        if avoid is None and not self._closed and self.map:
            server = self.map[begin]
            if not server.maxconn or server.served < server.maxconn:
                self._next = begin + 1
                return server
        avoided = 0 if avoid is None else self._bits_of(avoid)
        while True:
            places = self._open & ~avoided
            if not places:
                if not avoided:
                    return None
                avoided = 0  # there is no other
                continue
            after = places >> begin
            place = begin + (after & -after).bit_length() - 1 if after else (places & -places).bit_length() - 1
            server = self.map[place]
            if server.maxconn and server.served >= server.maxconn:
                self._open &= ~self._bits_of(server)
                self._closed.add(server)
                continue
            self._next = place + 1 if place + 1 < len(self.map) else 0
            return server

    def freed(self, server: Server) -> None:
        if server in self._closed:
            self._closed.discard(server)
            self._open |= self._bits[server]

    def _bits_of(self, server: Server) -> int:
        if server not in self._bits:
            if not self._places:
                for place, each in enumerate(self.map):
                    self._places.setdefault(each, []).append(place)
            self._bits[server] = sum(1 << place for place in self._places.get(server, ()))
        return self._bits[server]


class MapHash(StaticRoundRobin):
    """Implements the hashes with `hash-type map-based`: the server whose place in the map is the remainder of the
    request's hash by the map's length; in turns where there is nothing to hash."""

    def __init__(self, servers: Iterable[Server], hash_of: Hash) -> None:
        super().__init__(servers)
        self._hash_of = hash_of

    def bound(self, asks: object, avoid: Server | None = None) -> Server | None:
        servers = self.map
        if not servers:
            return None
        value = self._hash_of(asks)
        if value is None:
            return None
        server = servers[value % len(servers)]
        # HAProxy would try this one again, in vain.
        return None if server is avoid else server
