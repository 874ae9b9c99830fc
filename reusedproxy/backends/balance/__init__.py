"""Chooses the next server: the `balance` algorithms, in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from attrs import Factory, frozen

from reusedproxy.backends.balance.algorithm import Algorithm, Hash
from reusedproxy.backends.balance.drawn import BoundedDrawn, Drawn
from reusedproxy.backends.balance.least import First, LeastConn
from reusedproxy.backends.balance.named import Named
from reusedproxy.backends.balance.ring import BoundedRing, Ring
from reusedproxy.backends.balance.round_robin import RoundRobin
from reusedproxy.backends.balance.static import MapHash, StaticRoundRobin
from reusedproxy.backends.server import FULL_WEIGHT, Server
from reusedproxy.config import model

__all__ = ["ALGORITHMS", "Algorithm", "Parts", "RoundRobin", "algorithm_of", "filling"]

#: Servers whose nodes are put into a ring in one step.
SERVERS_AT_ONCE = 10


@frozen
class Parts:
    """Holds what an algorithm is made of. `servers` are all servers of the backend; `hash_of` is needed by those that
    hash something of a request."""

    settings: model.Backend
    servers: Sequence[Server] = ()
    hash_of: Hash | None = None
    random: Random = Factory(Random)


def _drawn(parts: Parts) -> Algorithm:
    draws, factor = parts.settings.balance.draws, parts.settings.hash_type.factor
    return BoundedDrawn(parts.random, draws, factor) if factor else Drawn(parts.random, draws)


def _hashed(parts: Parts) -> Algorithm:
    kind = parts.settings.hash_type
    hash_of = parts.hash_of or (lambda asks: None)
    if not kind.consistent:
        return MapHash(parts.servers, hash_of)
    expected = sum(server.settings.weight for server in parts.servers) * FULL_WEIGHT
    if kind.factor:
        return BoundedRing(hash_of, kind.affinity, kind.factor, expected=expected)
    return Ring(hash_of, kind.affinity, expected=expected)


def filling(parts: Parts) -> Iterator[Algorithm]:
    """Makes an algorithm in steps, with more of the servers in each, and yields it each time. For 1,000 servers of a
    hash ring, all at once would take 45 ms."""
    made = algorithm_of(parts)
    usable = [server for server in parts.servers if server.usable and not server.backup]
    yield made
    if isinstance(made, Ring):
        for count in range(0, len(usable), SERVERS_AT_ONCE):
            made.use(usable[: count + SERVERS_AT_ONCE])
            yield made


#: By the word after `balance`.
ALGORITHMS: dict[str, Callable[[Parts], Algorithm]] = {
    "roundrobin": lambda parts: RoundRobin(parts.settings.prefer_warm),
    "static-rr": lambda parts: StaticRoundRobin(parts.servers),
    "leastconn": lambda parts: LeastConn(parts.settings.prefer_warm),
    "first": lambda parts: First(),
    "random": _drawn,
    **dict.fromkeys(("source", "uri", "url_param", "hdr", "hash"), _hashed),
}


def algorithm_of(parts: Parts) -> Algorithm:
    if parts.settings.egress:
        return Named()
    return ALGORITHMS[parts.settings.balance.algorithm](parts)
