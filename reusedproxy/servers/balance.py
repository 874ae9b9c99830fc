"""Which server is next: the `balance` algorithms. They know servers' weights and whether they are full; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd

from reusedproxy.servers.server import Server


class RoundRobin:
    """HAProxy's `balance roundrobin`: each in turn, as often as its weight says, the turns of one spread evenly.

    The order is made when the set of usable servers changes, by the smooth weighted round robin of nginx (each turn
    every server gains its weight, the richest is chosen and pays the sum), so that a pick is one list index.
    """

    def __init__(self) -> None:
        self._order: list[Server] = []
        self._next = 0

    def use(self, servers: Sequence[Server]) -> None:
        """From now on choose among these; all have a weight above 0."""
        shared = reduce(gcd, (server.weight for server in servers), 0)
        weights = [server.weight // shared for server in servers]
        total = sum(weights)
        credit = [0] * len(servers)
        self._order = []
        for _ in range(total):
            credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
            chosen = max(range(len(credit)), key=credit.__getitem__)
            credit[chosen] -= total
            self._order.append(servers[chosen])
        self._next = 0

    def pick(self, avoid: Server | None = None) -> Server | None:
        """The next that can take a request now, another than `avoid` if there is one; None: all are full."""
        order = self._order
        size = len(order)
        for _ in range(size):
            at = self._next
            self._next = at + 1 if at + 1 < size else 0
            server = order[at]
            if server is not avoid and (not server.maxconn or server.served < server.maxconn):
                return server
        if avoid is not None and avoid in order and not avoid.full:
            return avoid
        return None
