"""Ties together the pools of one server: what they share, and what must be done for all of them.

Most servers have one pool, which is `Alone`. A server whose connections have names has one pool for each name
(`pool.named`). A group must never know requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import Holdings, HoldingsWatcher


class GroupedPool(Protocol):
    """Defines what `Alone` needs of a pool."""

    holdings: Holdings

    def make_room_here(self) -> None:
        """Ends a connection of this pool that can be spared."""


P = TypeVar("P")
Q = TypeVar("Q", bound=GroupedPool)


class PoolGroup(Protocol[P]):
    """Groups the pools of one server. The `first` keeps the floor, and does the upkeep for all."""

    @property
    def first(self) -> P:
        """Returns the server's own pool."""

    @property
    def pools(self) -> Iterable[P]:
        """Returns all pools, the first one first."""

    @property
    def counted(self) -> int:
        """Returns how many connections count for the server's ceiling (`strict-maxconn`)."""

    @property
    def known_names(self) -> int:
        """Returns how many connections may stand beyond what concurrent use calls for: one for each name
        that is asked for again."""

    @property
    def knows_name(self) -> bool:
        """Tells whether the first pool may open connections before there is a request."""

    def watcher(self, pool: P, upkeep: HoldingsWatcher) -> HoldingsWatcher:
        """Returns the watcher for a pool's holdings, which passes each move on to `upkeep`."""

    def holding(self) -> Sequence[P]:
        """Returns the pools that need upkeep, the first one first. The others hold no
        connections and have no waiters."""

    def longest_idle(self, most: int) -> list[ServerConnection]:
        """Returns at most `most` idle connections that may be closed, the longest idle first."""

    def others_wait(self, pool: P) -> bool:
        """Tells whether requests wait at another pool than this one."""

    def make_room(self, pool: P) -> None:
        """Ends a connection that can be spared, in any pool: the ceiling is reached, and `pool` needs a new one."""

    def waiting_begins(self, pool: P) -> None:
        """Notes that a request is about to wait at `pool`."""

    def waiting_changed(self, pool: P) -> None:
        """Notes that the number of waiters at `pool` may have changed."""

    def place_is_free(self, pool: P) -> None:
        """Notes that the server has one connection less: a request may wait for its place under another name."""


class Alone(Generic[Q]):
    """Groups the single pool of a server."""

    known_names = 0
    knows_name = True

    def __init__(self, pool: Q) -> None:
        self.first = pool
        self.pools = (pool,)

    @property
    def counted(self) -> int:
        return self.first.holdings.standing

    def watcher(self, pool: Q, upkeep: HoldingsWatcher) -> HoldingsWatcher:
        return upkeep

    def holding(self) -> Sequence[Q]:
        return self.pools

    def longest_idle(self, most: int) -> list[ServerConnection]:
        return self.first.holdings.idle[:most]

    def others_wait(self, pool: Q) -> bool:
        return False

    def make_room(self, pool: Q) -> None:
        pool.make_room_here()

    def waiting_begins(self, pool: Q) -> None:
        """Does nothing: there is no other pool."""

    def waiting_changed(self, pool: Q) -> None:
        """Does nothing: there is no other pool."""

    def place_is_free(self, pool: Q) -> None:
        """Does nothing: the only pool has looked already."""
