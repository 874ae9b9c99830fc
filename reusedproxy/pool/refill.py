"""Opens the connections that a pool lacks: for those who wait, and for the floor.

Refill decides how many are missing. The governor decides when a dial may start, and `DialCauses` what it is opened for.
Refill must never know why connections leave.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.pool.counters import DEMAND
from reusedproxy.pool.dialing.causes import DialCauses
from reusedproxy.pool.dialing.governor import Governor
from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.kept import KeptPool
from reusedproxy.pool.learning.patience import Patience

#: Seconds that the floor may be short because connections are in use before more are opened for it.
REFILL_AFTER: Final = 0.1
#: The most seconds of the moment in which a floor is made good, for which depths are counted.
MOMENT_MOST: Final = 1.0
#: At most so many connections in use, and waiters, are looked at before a dial.
LOOKED_AT: Final = 256
#: Seconds below which a remaining time counts as passed, because of the clock's rounding.
INSTANT: Final = 1e-6


class Refill:
    """Opens the connections that one pool lacks. `look` is the timer of the next look at a floor that is short because
    connections are in use."""

    def __init__(self, pool: KeptPool, holdings: Holdings, governor: Governor, clock: IReactorTime) -> None:
        self.causes = DialCauses(clock.seconds, holdings.counters.warm_up)
        self.look: IDelayedCall | None = None
        self._pool = pool
        self._held = holdings
        self._governor = governor
        self._clock = clock
        self._now = clock.seconds
        #: How many were missing from the floor at the last look because connections were in use,
        #: less those dialled since.
        self._missing = 0
        #: How many connections its server has shown to bear: beyond that none is opened for the floor.
        self.ceiling = inf
        self.patience = Patience()
        #: The most that have stood idle since the last look.
        self.idle_peak = 0
        #: Seconds in which fewer than the floor have stood, up to the present period; and when that began
        #: (None: it is not short).
        self._below_floor = 0.0
        self._below_since: float | None = None

    def stop(self) -> None:
        """Opens nothing more; leaves no timer."""
        self.causes.stop()
        self._note_floor()
        self._missing = 0
        if self.look is not None:
            self.look.cancel()
            self.look = None

    def succeed(self, other: Refill) -> None:
        """Counts on where `other` does."""
        self._below_floor = other.below_floor_seconds

    def count_below_floor(self, seconds: float) -> None:
        """Counts what another process has."""
        self._below_floor += seconds

    @property
    def below_floor_seconds(self) -> float:
        """Returns for how many seconds in all fewer connections have stood than the floor asks for. A pool that is not
        running asks for none."""
        return self._below_floor + (self._now() - self._below_since if self._below_since is not None else 0.0)

    def opened(self, took: float) -> None:
        """Notes that a dial has succeeded after `took` seconds."""
        self.causes.opened(took)
        self.patience.opened(took)
        self._pool.depths.moment = min(REFILL_AFTER + self.patience.dial, MOMENT_MOST)

    def _note_floor(self) -> None:
        """Adds up the time below the floor. Called whenever the number of connections may have changed."""
        self._below_floor = self.below_floor_seconds
        below = self._pool.below_floor
        self._below_since = self._now() if below else None
        if not self._pool.floor:
            self.causes.stop()
        elif self.causes.state != "no":
            now = self._now()
            self.causes.look(below, all(each.proof_at <= now for each in self._held.idle))

    def _standing_idle(self) -> int:
        """Counts idle connections with life left, and pinged ones, which are as good as idle."""
        held = self._held
        return len(held.idle) - len(held.due) + len(held.pinged)

    # Opening.

    def open_more(self) -> None:
        """Opens what is missing, as far as is allowed now: first for those who wait, then for the floor."""
        pool = self._pool
        if pool.state != "running":
            return
        self._note_floor()
        held, floor = self._held, pool.floor
        standing = self._standing_idle()
        if held.in_use:
            if standing < floor and self.look is None:
                self.watch_floor()
            standing += len(held.in_use) - len(held.last_use) - len(held.pinged)
        while True:
            connecting, waiting = len(held.connecting), len(pool.waiters)
            if held.pinged and waiting:
                waiting -= self._soon_back()
            if waiting > connecting and self.patience.knows:
                waiting -= self._soon_free(waiting - connecting)
            demand = waiting > connecting
            if not demand and connecting - waiting + standing >= floor:
                self.causes.owed = 0
                return
            wait = self._wait_for_dial(demand)
            if wait > 0:
                if wait != inf:
                    self._governor.later(wait)
                return
            if not self._has_room(demand):
                return
            pool.dial(DEMAND if demand else self.causes.cause(self._governor.failures > 0))

    def _soon_back(self) -> int:
        """Counts the waiters that will be served by pinged connections. A pinged connection counts until its ping has
        lasted as long as its handshake took."""
        pool, now = self._pool, self._now()
        left = [since + connection.took - now for connection, since in self._held.pinged.items()]
        soon = [each for each in left if each > INSTANT]
        if not soon:
            return 0
        self._governor.later(min(soon))
        return min(len(soon), pool.waiters.fit(self._held.returned_fits))

    def _soon_free(self, most: int) -> int:
        """Counts the waiters, at most `most`, that connections in use will serve sooner than dials would."""
        held, waiters, now = self._held, self._pool.waiters, self._now()
        if not held.in_use:
            return 0
        young = waiters.younger(now - self.patience.longest, LOOKED_AT)
        lent = [now - each.idle_since - each.idle_last for each in islice(held.in_use, LOOKED_AT)]
        soon = min(most, young, waiters.fit(held.returned_fits), self.patience.returns(lent))
        if soon <= 0 or not self.patience.begins(now, self._pool.limits.purge_delay):
            return 0
        self._governor.later(self.patience.longest)
        return soon

    def _wait_for_dial(self, demand: bool) -> float:
        """Returns the seconds until one more dial may start (0: now; inf: unknown, see `Governor.wait`)."""
        connecting = self._held.connecting
        if connecting:
            # While dials hang the server has trouble enough: one at a time, and another only if that hangs, too.
            oldest, newest = next(iter(connecting)).born, next(reversed(connecting)).born
            wait = self.patience.single_flight(self._now(), oldest, newest)
            if wait > INSTANT:
                return wait
        filling = 0 if demand else sum(cause != DEMAND for cause in connecting.values())
        return self._governor.wait(demand, len(connecting), filling)

    def _has_room(self, demand: bool) -> bool:
        """Tells whether one more connection may be opened (`strict-maxconn`). For a waiter (`demand`) an idle one is
        ended if need be."""
        pool, most = self._pool, self._pool.limits.most
        if not demand and self._held.standing >= self.ceiling:
            return False
        if most is None:
            return True
        if not demand and pool.others_wait:
            return False  # a place that is free is theirs
        if pool.counted < most:
            return True
        if demand:
            pool.make_room()
        else:
            self._make_way()
        return pool.counted < most

    def _make_way(self) -> None:
        """Ends a watched connection where the server has as many as it may have (`strict-maxconn`); without one, an
        idle connection that is due, since none can stand in its place beforehand; one at a time."""
        held = self._held
        if held.retiring or held.connecting:
            return
        if held.watched:
            held.retire(next(iter(held.watched)), "room for another", at_once=True)
        elif held.due:
            connection = held.least_wanted
            held.retire(connection, self._pool.why_due(connection), at_once=True)

    def one_more(self) -> None:
        """Opens one more than the floor asks for, no faster than that is filled."""
        if self._pool.state == "running" and self._has_room(False) and self._wait_for_dial(False) == 0:
            self._pool.dial(self.causes.cause(self._governor.failures > 0))

    def go_on(self) -> None:
        """Tries again: what the governor had forbidden may be possible now, or it is this pool's
        turn among all servers."""
        self.open_more()
        self._make_good()

    def _make_good(self) -> None:
        """Opens those that are missing from the floor because connections are in use."""
        pool = self._pool
        while self._missing > 0 and self._has_room(False) and self._wait_for_dial(False) == 0:
            self._missing -= 1
            pool.dial(self.causes.cause(self._governor.failures > 0))

    def idle_returned(self) -> None:
        """Notes that a connection has come back while the floor is short."""
        held = self._held
        standing = len(held.idle) - len(held.due) + len(held.pinged)  # as `_standing_idle` has it
        if standing > self.idle_peak:
            self.idle_peak = standing

    def watch_floor(self) -> None:
        """Sets a time to look at a floor that is short because connections are in use: most come back in a moment."""
        self.idle_peak = self._standing_idle()
        self.look = self._clock.callLater(REFILL_AFTER, self._refill)

    def _refill(self) -> None:
        """Opens as many as were missing from the floor all the time since the last look."""
        self.look = None
        self._missing = 0
        pool = self._pool
        if pool.state != "running":
            return
        held, floor = self._held, pool.floor
        if not held.in_use:
            self.open_more()
            return
        # Whoever waits takes what is opened for them.
        self._missing = floor - self.idle_peak - max(0, len(held.connecting) - len(pool.waiters))
        self._make_good()
        if self._standing_idle() < floor:
            self.watch_floor()
