"""Balances by chance: `random`, the least loaded of a few servers that are drawn by their weights.

HAProxy draws a node of its hash ring, whose lengths differ from the servers' weights by a fourth with usual weights;
here the weights themselves are drawn from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from reusedproxy.backends.balance.ring import Limits
from reusedproxy.backends.server import Server

#: How often a server that has all that `hash-balance-factor` gives it is drawn before all are looked at.
_TRIES = 16


class Drawn:
    """Implements `balance random(draws)`.

    The weights are the leaves of a tree of sums (Fenwick 1994), in which a full server that is drawn has none until a
    place there is free: so a draw costs O(log servers), however many are full.
    """

    dynamic = True
    weighs = True

    def __init__(self, random: Random, draws: int = 2, limits: Limits | None = None) -> None:
        self._random = random.random
        self._draws = draws
        self._limits = limits
        self._servers: Sequence[Server] = ()
        self._places: dict[Server, int] = {}
        #: The weight of each server that counts now; and the sums, from 1 on.
        self._weights: list[int] = []
        self._sums: list[int] = [0]
        self._total = self._whole = 0
        self._top = 0
        #: The sums one after the other, in which a draw costs less as long as no server is known to be full.
        self._ends: list[int] = []

    def use(self, servers: Sequence[Server]) -> None:
        self._servers = servers
        self._places = {server: place for place, server in enumerate(servers)}
        self._weights = [server.eweight for server in servers]
        self._ends = [*accumulate(self._weights)]
        self._total = self._whole = sum(self._weights)
        self._sums = sums = [0, *self._weights]
        for place in range(1, len(sums)):
            above = place + (place & -place)
            if above < len(sums):
                sums[above] += sums[place]
        self._top = 1 << max(0, len(servers).bit_length() - 1)
        if self._limits is not None:
            self._limits.use(servers)

    def pick(self, avoid: Server | None = None) -> Server | None:
        place = None if avoid is None else self._places.get(avoid)
        if place is None or not self._weights[place]:
            return self._least_loaded()
        assert avoid is not None
        weight = self._weights[place]
        self._weigh(place, 0)
        server = self._least_loaded()
        self._weigh(place, weight)
        return server if server is not None or avoid.full else avoid

    def freed(self, server: Server) -> None:
        place = self._places.get(server)
        if place is not None and not self._weights[place]:
            self._weigh(place, server.eweight)

    def _least_loaded(self) -> Server | None:
        best = self._draw()
        if best is None:
            return None
        for _ in range(self._draws - 1):
            server = self._draw()
            assert server is not None  # at least the one before
            if server.served * best.eweight <= best.served * server.eweight:
                best = server
        return best

    def _draw(self) -> Server | None:
        """Draws a server that has room, and that `hash-balance-factor` allows."""
        limits, tries = self._limits, _TRIES
        while self._total:
            server = self._at(int(self._random() * self._total))
            if server.maxconn and server.served >= server.maxconn:
                self._weigh(self._places[server], 0)
            elif limits is None or limits.allow(server):
                return server
            elif tries == 1:  # few are left, or none but one that is avoided
                fit = [each for place, each in enumerate(self._servers) if self._weights[place] and limits.allow(each)]
                fit = [each for each in fit if not each.full]
                return fit[int(self._random() * len(fit))] if fit else server
            else:
                tries -= 1
        return None

    def _at(self, value: int) -> Server:
        """Returns the server in whose share of the total this value lies."""
        if self._total == self._whole:
            return self._servers[bisect_right(self._ends, value)]
        sums, place, step = self._sums, 0, self._top
        while step:
            below = place + step
            if below < len(sums) and sums[below] <= value:
                value -= sums[below]
                place = below
            step >>= 1
        return self._servers[place]

    def _weigh(self, place: int, weight: int) -> None:
        change = weight - self._weights[place]
        self._weights[place] = weight
        self._total += change
        place += 1
        while place < len(self._sums):
            self._sums[place] += change
            place += place & -place


class BoundedDrawn(Drawn):
    """Draws with `hash-balance-factor`, which has to know the servers' load."""

    def __init__(self, random: Random, draws: int, factor: int) -> None:
        limits = Limits(factor)
        super().__init__(random, draws, limits)
        self.loaded = limits.loaded
