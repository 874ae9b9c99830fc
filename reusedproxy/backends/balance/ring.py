"""Balances by consistent hashing (`hash-type consistent`): a ring of nodes, of which each server has 16 for each unit
of its weight, at places that depend on nothing but the server. The results are those of HAProxy (src/lb_chash.c).

Bounded loads (`hash-balance-factor`) are those of Mirrokni, Thorup and Zadimoghaddam (arXiv 1608.01350).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice

from attrs import Factory, define

from reusedproxy.backends.balance.algorithm import Hash
from reusedproxy.backends.balance.hashes import avalanche
from reusedproxy.backends.balance.nodes import BEHIND_KEY, PLACE, Nodes, node
from reusedproxy.backends.server import Server

#: What `hash-preserve-affinity` may be.
ALWAYS, MAXCONN, MAXQUEUE = "always", "maxconn", "maxqueue"
_BITS = 0xFFFFFFFF
#: The share of all nodes, 1 in so many, with which they are rather sorted anew than put in and taken out.
_MANY = 4


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


@define
class _Member:
    """Holds the place of a server that was ever used, and which of its nodes are in the ring: the first `count` of
    `keys`, made of `seed`."""

    place: int
    seed: int = -1
    keys: list[int] = Factory(list)
    count: int = 0

    def nodes(self, begin: int, end: int) -> Iterator[int]:
        place = self.place
        return (node(key, number, place) for number, key in enumerate(islice(self.keys, begin, end), begin))


class Ring:
    """Implements the hashes with `hash-type consistent`: the server of the nearest node; in turns, node by node, where
    there is nothing to hash."""

    dynamic = True
    weighs = True

    def __init__(
        self, hash_of: Hash, affinity: str = ALWAYS, limits: Limits | None = None, *, expected: int = 0
    ) -> None:
        """Takes how many nodes are `expected` in all."""
        self._hash_of = hash_of
        self._affinity = affinity
        self._limits = limits
        self._expected = expected
        self._nodes = Nodes(expected=expected)
        self._members: dict[Server, _Member] = {}
        #: All servers that were ever used, by their places; and the places of those that are forgotten.
        self._servers: dict[int, Server] = {}
        self._free: list[int] = []
        self._used: Sequence[Server] = ()
        #: Of the last turn: the key of its node, and its server.
        self._last: tuple[int, Server] | None = None
        #: Servers that were found full.
        self._full: set[Server] = set()

    def use(self, servers: Sequence[Server]) -> None:
        changed = [(server, 0) for server in {*self._used}.difference(servers)]
        for server in servers:
            member = self._members.get(server)
            if member is None or member.seed != server.node_seed or member.count != server.eweight:
                changed.append((server, server.eweight))
        if sum(count for _, count in changed) * _MANY > len(self._nodes):
            for server, count in changed:
                self._note(server, count)
            nodes = (each for member in self._members.values() for each in member.nodes(0, member.count))
            self._nodes = Nodes(nodes, self._expected)
        else:
            for server, count in changed:
                self._change(server, count)
        self._used = servers
        self._full.clear()
        self._last = self._last_or_next()
        if self._limits is not None:
            self._limits.use(servers)

    def succeed(self, previous: Ring, heirs: Mapping[Server, Server]) -> None:
        if previous._last is not None and (server := heirs.get(previous._last[1])) is not None:
            self._last = (previous._last[0], server)

    def _note(self, server: Server, count: int) -> _Member:
        """Notes that the server has so many nodes in the ring, of its present seed."""
        member = self._members.get(server)
        if member is None:
            place = self._free.pop() if self._free else len(self._servers)
            member = self._members[server] = _Member(place)
            self._servers[place] = server
        if count:
            member.keys, member.seed = nodes_of(server), server.node_seed
        member.count = count
        return member

    def _change(self, server: Server, count: int) -> None:
        """Puts nodes of a server into the ring, or takes some out, so that it has so many there."""
        member = self._members.get(server)
        has = 0 if member is None else member.count
        if member is not None and (not count or member.seed != server.node_seed):
            self._nodes.remove(member.nodes(0, has))
            has = 0
        elif member is not None and count < has:
            self._nodes.remove(member.nodes(count, has))
        self._nodes.add(self._note(server, count).nodes(has, count))

    def forget(self, server: Server) -> None:
        member = self._members.pop(server, None)
        if member is not None:
            del self._servers[member.place]
            self._free.append(member.place)

    def bound(self, asks: object, avoid: Server | None = None) -> Server | None:
        used = self._used
        if not used:
            return None
        if len(used) == 1:
            return used[0]
        value = self._hash_of(asks)
        if value is None:
            return None
        nearest = self._nodes.nearest(value)
        server = self._servers[nearest & PLACE]
        if server is not avoid and self._fits(server):
            return server
        unfit = {server}
        for each in self._nodes.after(nearest + 1):
            other = self._servers[each & PLACE]
            if other not in unfit:
                if other is not avoid and self._fits(other):
                    return other
                unfit.add(other)
            if len(unfit) == len(used):
                break
        # None fits: so the affinity decides.
        return server if server is not avoid else next(each for each in used if each is not avoid)

    def pick(self, avoid: Server | None = None) -> Server | None:
        if not len(self._nodes) or len(self._full) >= len(self._used):
            return None
        avoided = None
        for each in self._nodes.after(0 if self._last is None else self._last[0] + 1 << BEHIND_KEY):
            server = self._servers[each & PLACE]
            if server in self._full:
                continue
            if server.maxconn and server.served >= server.maxconn:
                self._full.add(server)
                if len(self._full) == len(self._used):
                    return None
                continue
            if server is not avoid:
                self._last = (each >> BEHIND_KEY, server)
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

    def _last_or_next(self) -> tuple[int, Server] | None:
        """Returns the node of the last turn; if it is gone, the next one, as in HAProxy."""
        if self._last is None or not len(self._nodes):
            return None
        key, server = self._last
        first = -1
        for each in self._nodes.after(key << BEHIND_KEY):
            first = each if first < 0 else first
            if each >> BEHIND_KEY != key:
                break
            if self._servers[each & PLACE] is server:
                return self._last
        return first >> BEHIND_KEY, self._servers[first & PLACE]


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

    def __init__(self, hash_of: Hash, affinity: str, factor: int, *, expected: int = 0) -> None:
        limits = Limits(factor)
        super().__init__(hash_of, affinity, limits, expected=expected)
        self.loaded = limits.loaded
