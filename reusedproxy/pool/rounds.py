"""Looks after a server's pools once a second, and purges what they have kept more of than requests needed.

The first pool of a server does that for all of them. Where nothing is left to look after there is no timer: a thousand
pools, each looked at once a second, take 2 % of a core. It must never know how long connections live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.kept import KeptPool
from reusedproxy.pool.learning.demand import DemandEstimate
from reusedproxy.pool.learning.idle_timeout import IdleTimeoutEstimate

#: Seconds between two rounds.
UPKEEP: Final = 1.0
#: Least seconds between two purges, however short `pool-purge-delay` is: each looks at all idle connections.
PURGE_AT_MOST: Final = 0.1


class Kept(Protocol):
    """Defines what rounds need of the first pool's upkeep."""

    used: IdleTimeoutEstimate
    unused: IdleTimeoutEstimate
    demand: DemandEstimate
    alone: bool

    @property
    def spare(self) -> int:
        """Returns how many connections are to stand idle whatever the need."""

    def purged(self) -> None:
        """Notes that the peak of use is counted anew."""


class Rounds:
    """Looks after the pools of one server, from `start` to `stop`."""

    def __init__(self, upkeep: Kept, pool: KeptPool, holdings: Holdings, clock: IReactorTime) -> None:
        """Takes the server's first pool, its holdings and its upkeep."""
        self._upkeep = upkeep
        self._pool = pool
        self._holdings = holdings
        self._clock = clock
        self._now: Callable[[], float] = clock.seconds
        self._purge_at = 0.0
        self._call: IDelayedCall | None = None
        #: Tells that nothing is left to look after, so that there is no timer.
        self.rests = False

    def start(self) -> None:
        """Makes the first round now."""
        self._make()

    def stop(self) -> None:
        """Makes no more rounds; leaves no timer."""
        self.rests = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def wake(self) -> None:
        """Goes on after a rest, because there is something to look after again."""
        self.rests = False
        self._purge_at = self._now() + self._pool.limits.purge_delay
        self._call = self._clock.callLater(self._every, self._make)

    def _make(self) -> None:
        """Ends what has stood idle too long, and what has been more than enough for a while, in
        all pools of the server."""
        upkeep, limits, now = self._upkeep, self._pool.limits, self._now()
        # Set first: one pool's failure must not cost the others theirs.
        self._call = self._clock.callLater(self._every, self._make)
        upkeep.used.settle()
        upkeep.unused.settle()
        self._holdings.guard.haste.look()
        for pool in self._pool.holding():
            pool.look_after(now)
        if limits.purge_delay and now >= self._purge_at:
            self._purge_at = now + limits.purge_delay
            self._purge()
        if self._nothing_left() and self._call is not None:
            self.rests = True
            self._call.cancel()
            self._call = None

    @property
    def _every(self) -> float:
        """Returns the seconds between two rounds."""
        delay = self._pool.limits.purge_delay
        return min(UPKEEP, max(delay, PURGE_AT_MOST) if delay else UPKEEP)

    def _nothing_left(self) -> bool:
        """Tells whether there is no connection, nobody waits for one, none is to stand, and nothing is to be judged."""
        upkeep, pool, held = self._upkeep, self._pool, self._holdings
        return (
            upkeep.alone
            and not (upkeep.spare or held.standing or pool.waiters)
            and upkeep.demand.forgotten
            and upkeep.used.settled
            and upkeep.unused.settled
            and held.guard.haste.over
        )

    def _purge(self) -> None:
        """Ends half of what exceeds the recent need, the longest idle first (HAProxy's `pool-purge-delay`).

        What is left may stay until the next time, but nothing is added to it, whatever opened that.
        """
        upkeep, pool = self._upkeep, self._pool
        all_held = [each.holdings for each in pool.holding()]
        used = sum(len(held.in_use) for held in all_held)
        idle = sum(len(held.idle) for held in all_held)
        pinged = sum(len(held.pinged) for held in all_held)
        spare, names = upkeep.spare, pool.known_names
        most = upkeep.demand.purge(used, idle - names, pinged, pool.floor, spare)
        purged = pool.longest_idle(most)
        for connection in purged:
            connection.pool.retire(connection, "purged")
        upkeep.demand.purged(used + idle - len(purged) - names, spare)
        upkeep.purged()
