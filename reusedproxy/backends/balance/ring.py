"""Balances by consistent hashing (`hash-type consistent`): a ring of nodes, of which each server has 16 for each unit
of its weight, at places that depend on nothing but the server. The results are those of HAProxy (src/lb_chash.c).

Bounded loads (`hash-balance-factor`) are those of Mirrokni, Thorup and Zadimoghaddam (arXiv 1608.01350).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress
from operator import lt

from reusedproxy.backends.balance.algorithm import Hash
from reusedproxy.backends.balance.hashes import avalanche
from reusedproxy.backends.server import Server

#: What `hash-preserve-affinity` may be.
ALWAYS, MAXCONN, MAXQUEUE = "always", "maxconn", "maxqueue"
_BITS = 0xFFFFFFFF
_UNKNOWN = (-1, 0)


class Limits:
    """Computes how many requests each server may have at once by `hash-balance-factor`, which is a percentage of the
    mean; what does not divide evenly goes to servers in their order, by weight."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        #: Requests at all servers.
        self._load = 0
        self._total = 1
        self._before: dict[Server, int] = {}

    def use(self, servers: Sequence[Server]) -> None:
        sums = [*accumulate((server.eweight for server in servers), initial=0)]
        self._total = sums[-1] or 1
        self._before = dict(zip(servers, sums, strict=False))

    def loaded(self, server: Server, change: int) -> None:
        self._load += change

    def allow(self, server: Server) -> bool:
        """Tells whether the server may be given one more request."""
        slots = ((self._load + 1) * self._factor + 99) // 100
        each, rest = divmod(slots, self._total)
        weight, before = server.eweight, self._before.get(server, 0)
        most = weight * each + (before + weight) * rest // self._total - before * rest // self._total
        return server.served < max(1, most)


class Ring:
    """Implements the hashes with `hash-type consistent`: the server of the nearest node; in turns, node by node, where
    there is nothing to hash."""

    dynamic = True

    def __init__(self, hash_of: Hash, affinity: str = ALWAYS, limits: Limits | None = None) -> None:
        self._hash_of = hash_of
        self._affinity = affinity
        self._limits = limits
        self._keys: list[int] = []
        self._servers: list[Server] = []
        self._used: Sequence[Server] = ()
        #: The node of the last turn: its key and its server.
        self._last: tuple[int, Server] | None = None
        #: Servers that were found full.
        self._full: set[Server] = set()
        #: The seed and the number of nodes of each server that was ever used; and all of their nodes: keys in order,
        #: the number that each node has at its server, and the server.
        self._known: dict[Server, tuple[int, int]] = {}
        self._all_keys: list[int] = []
        self._all_numbers: list[int] = []
        self._all_servers: list[Server] = []

    def use(self, servers: Sequence[Server]) -> None:
        for server in servers:
            seed, count = self._known.get(server, _UNKNOWN)
            if seed != server.node_seed or count < server.eweight:
                self._learn(servers)
                break
        counts = dict.fromkeys(self._known, 0)
        counts.update((server, server.eweight) for server in servers)
        used = [*map(lt, self._all_numbers, map(counts.__getitem__, self._all_servers))]
        self._keys = [*compress(self._all_keys, used)]
        self._servers = [*compress(self._all_servers, used)]
        self._used = servers
        self._full.clear()
        self._last = self._last_or_next()
        if self._limits is not None:
            self._limits.use(servers)

    def bound(self, asks: object, avoid: Server | None = None) -> Server | None:
        used = self._used
        if not used:
            return None
        if len(used) == 1:
            return used[0]
        value = self._hash_of(asks)
        if value is None:
            return None
        begin = self._nearest(value)
        server = self._servers[begin]
        if server is not avoid and self._fits(server):
            return server
        unfit = {server}
        for at in self._from(begin + 1):
            other = self._servers[at]
            if other not in unfit:
                if other is not avoid and self._fits(other):
                    return other
                unfit.add(other)
            if len(unfit) == len(used):
                break
        # None fits: so the affinity decides.
        return server if server is not avoid else next(each for each in used if each is not avoid)

    def pick(self, avoid: Server | None = None) -> Server | None:
        if not self._keys or len(self._full) >= len(self._used):
            return None
        avoided = None
        for at in self._from(self._place_of_last()):
            server = self._servers[at]
            if server in self._full:
                continue
            if server.maxconn and server.served >= server.maxconn:
                self._full.add(server)
                if len(self._full) == len(self._used):
                    return None
                continue
            if server is not avoid:
                self._last = (self._keys[at], server)
                return server
            avoided = server
            if len(self._full) == len(self._used) - 1:
                break
        return avoided

    def freed(self, server: Server) -> None:
        self._full.discard(server)

    def _fits(self, server: Server) -> bool:
        if self._limits is not None and not self._limits.allow(server):
            return False
        if self._affinity == MAXCONN:
            return not server.full
        if self._affinity == MAXQUEUE and server.maxconn and server.settings.maxqueue:
            return server.served + len(server.queue) < server.maxconn + server.settings.maxqueue
        return True

    def _nearest(self, value: int) -> int:
        """Returns the place of the node that is nearest to this hash on the ring."""
        keys = self._keys
        after = bisect_left(keys, value)
        if after == len(keys):
            after = 0
        before = after - 1 if after else len(keys) - 1
        return before if (value - keys[before]) & _BITS <= (keys[after] - value) & _BITS else after

    def _from(self, place: int) -> Iterator[int]:
        """Returns each place once, from this one on."""
        count = len(self._keys)
        place %= count
        yield from range(place, count)
        yield from range(place)

    def _place_of_last(self) -> int:
        """Returns the place behind the node of the last turn."""
        return 0 if self._last is None else bisect_right(self._keys, self._last[0])

    def _last_or_next(self) -> tuple[int, Server] | None:
        """Returns the node of the last turn; if it is gone, the next one, as in HAProxy."""
        if self._last is None or not self._keys:
            return None
        key, server = self._last
        at = bisect_left(self._keys, key)
        for place in range(at, bisect_right(self._keys, key)):
            if self._servers[place] is server:
                return self._last
        at %= len(self._keys)
        return self._keys[at], self._servers[at]

    def _learn(self, servers: Sequence[Server]) -> None:
        """Computes the nodes of all servers that are known or to be used, which takes longer than a choice of them."""
        for server in servers:
            self._known[server] = server.node_seed, len(nodes_of(server))
        known = [*self._known]
        # One number for each node, because numbers are sorted in a third of the time of tuples.
        made = [
            key << 40 | number << 20 | place
            for place, server in enumerate(known)
            for number, key in enumerate(server.nodes)
        ]
        made.sort()
        self._all_keys = [each >> 40 for each in made]
        self._all_numbers = [each >> 20 & 0xFFFFF for each in made]
        self._all_servers = [known[each & 0xFFFFF] for each in made]


def nodes_of(server: Server) -> list[int]:
    """Returns the keys of the server's nodes, as many as it has had at most since its seed is what it is. They can be
    asked for early, since they take longer than the rest: 1 µs each."""
    if server.nodes_of_seed != server.node_seed:
        server.nodes_of_seed, server.nodes = server.node_seed, []
    have = len(server.nodes)
    server.nodes += [avalanche(server.node_seed + number & _BITS) for number in range(have, server.eweight)]
    return server.nodes


class BoundedRing(Ring):
    """Is a ring with `hash-balance-factor`, which has to know the servers' load."""

    def __init__(self, hash_of: Hash, affinity: str, factor: int) -> None:
        limits = Limits(factor)
        super().__init__(hash_of, affinity, limits)
        self.loaded = limits.loaded
