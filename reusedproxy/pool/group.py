"""The pools of one server, as each of them sees the others: what they share, and what must be done for all of them.

Most servers have one pool, which is `Alone`. A server whose connections have names has one for each (`pool.named`). A group must
never know requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import Holdings, HoldingsWatcher


class GroupedPool(Protocol):
    """A pool, as `Alone` sees it."""

    holdings: Holdings

    def make_room_here(self) -> None:
        """Ends a connection of this pool that may be spared."""


P = TypeVar("P")
Q = TypeVar("Q", bound=GroupedPool)


class PoolGroup(Protocol[P]):
    """The pools of one server, of which one is the `first`: it keeps the floor, and does the upkeep for all."""

    @property
    def first(self) -> P:
        """The server's own pool."""

    @property
    def pools(self) -> Iterable[P]:
        """All of them, the first one first."""

    @property
    def counted(self) -> int:
        """How many connections count for the server's ceiling (`strict-maxconn`)."""

    @property
    def known_names(self) -> int:
        """How many connections may stand beside what concurrent use calls for, one for each name that is asked for again."""

    @property
    def knows_name(self) -> bool:
        """Whether the first pool may open connections before there is a request."""

    def watcher(self, pool: P, upkeep: HoldingsWatcher) -> HoldingsWatcher:
        """Returns what a pool's holdings tell of each move; its upkeep has to hear of it."""

    def holding(self) -> Sequence[P]:
        """Returns those that need upkeep, the first one first; the others hold nothing, and nobody waits there."""

    def longest_idle(self, most: int) -> list[ServerConnection]:
        """Returns so many at most of the idle connections that may be let go."""

    def make_room(self, pool: P) -> None:
        """Ends a connection that may be spared, of whichever pool, because the ceiling is reached and `pool` needs a new one."""

    def waiting_begins(self, pool: P) -> None:
        """Hears that somebody is about to wait."""

    def waiting_changed(self, pool: P) -> None:
        """Hears that more or fewer wait than before."""

    def place_is_free(self, pool: P) -> None:
        """Hears that the server has one connection less: somebody may wait for its place under another name."""


class Alone(Generic[Q]):
    """The group of a server that has one pool."""

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

    def make_room(self, pool: Q) -> None:
        pool.make_room_here()

    def waiting_begins(self, pool: Q) -> None:
        """Nobody else is concerned."""

    def waiting_changed(self, pool: Q) -> None:
        """Nobody else is concerned."""

    def place_is_free(self, pool: Q) -> None:
        """Nobody else is concerned: the pool has looked already."""
