"""Decides for one backend when a request that waits for its answer may be sent a second time, to another connection
(`hedge`): after how long, and whether now.

It learns how long servers take to answer, keeps to a budget, and allows nothing while a server struggles. It knows
times, servers and their pools; it must never know requests: `exchanges.hedging` sends and receives.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from math import inf
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.places import Places
from reusedproxy.backends.server import DOWN
from reusedproxy.config.model.hedging import Hedge

#: The most hedged requests that the budget saves up: a pause may be followed by a burst.
SAVED_MOST: Final = 10.0
#: Answers that must have been seen before a percentile of their times is used; after so many further ones it is looked
#: up again; and after so many all that were seen count half.
ENOUGH, LOOK_UP, HALVED = 100, 50, 2000
#: The least seconds after which a request is hedged, however fast servers are.
SOONEST: Final = 0.002
#: Upper bounds of answer times, in seconds: from 0.1 ms to over a minute, each a tenth above the one before.
BOUNDS: Final = tuple(1e-4 * 1.1**step for step in range(142))
#: Seconds without a hedged request after a retry at the backend.
CALM: Final = 10.0

# Why a request was not hedged.
BUDGET: Final = "budget"  # too large a share of requests was hedged already
QUEUED: Final = "queue"  # others wait for a place, so there is too much to do
DOWN_SERVER: Final = "down"  # a server is DOWN: the others have its share, too
RETRIES: Final = "retries"  # of late, requests had to be sent again
DIALS: Final = "dials"  # connections cannot be opened, or requests wait for them
RELOADED: Final = "reload"  # another backend has taken the place of this one
NO_CONNECTION: Final = "no_connection"  # none stands idle where there is room
WITHHELD: Final = (BUDGET, QUEUED, DOWN_SERVER, RETRIES, DIALS, RELOADED, NO_CONNECTION)

# How a hedged request was answered.
WON: Final = "won"  # by the second connection
LOST: Final = "lost"  # by the first one
NEITHER: Final = "neither"  # by none: its client has left, or both have failed
RESULTS: Final = (WON, LOST, NEITHER)


class Late(Protocol):
    """Is a request that waits for its answer."""

    def late(self) -> None:
        """Notes that the answer has not begun in time. Not called for one that was answered, if it says so itself."""


class Loser(Protocol):
    """Is a second connection whose answer nobody waits for any more."""

    def give_up(self) -> None:
        """Closes it now."""


class AnswerTimes:
    """Learns a percentile of the times that servers take to begin their answers, the latest of them above all."""

    def __init__(self, percentile: float) -> None:
        """Takes the percentile as a share below 1."""
        self.value = inf
        self._share = percentile
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seen = 0
        self._left = ENOUGH

    def observe(self, seconds: float) -> None:
        """Counts an answer that has begun after so many seconds, or had not by then."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seen += 1
        self._left -= 1
        if not self._left:
            self._left = LOOK_UP
            self.value = self._percentile()
            if self._seen >= HALVED:
                self._counts = [each // 2 for each in self._counts]
                self._seen = sum(self._counts)

    def _percentile(self) -> float:
        wanted, total = self._share * self._seen, 0
        for bound, count in zip(BOUNDS, self._counts, strict=False):
            total += count
            if total >= wanted:
                return bound
        return BOUNDS[-1]


class Hedging:
    """Watches the requests of one backend, and says which may be sent a second time.

    `results` counts hedged requests by how they were answered, `withheld` those that were late and were not hedged, by
    why; `started` counts those that were. `losers` are connections whose answer is awaited for nobody.
    """

    def __init__(self, settings: Hedge, clock: IReactorTime) -> None:
        self.settings = settings
        self.requests = self.started = 0
        self.results: Counter[str] = Counter()
        self.withheld: Counter[str] = Counter()
        self.losers: set[Loser] = set()
        self._times = AnswerTimes(settings.percentile)
        self._clock = clock
        self._saved = 0.0
        #: Requests in the order in which they were sent, with when they are late.
        self._watched: deque[tuple[float, Late]] = deque()
        self._call: IDelayedCall | None = None
        #: Retries of the backend so far, and until when there were too many of late.
        self._retries = 0
        self._calm_at = -inf
        self._stopped = False

    @property
    def after(self) -> float:
        """Returns the seconds without an answer after which a request is late; inf: that is not known yet."""
        said = self.settings.after
        return max(self._times.value, SOONEST) if said is None else said

    def succeed(self, other: Hedging) -> None:
        """Counts on where `other` does, which was for the same backend before a reload."""
        self.requests, self.started = other.requests, other.started
        self.results, self.withheld = other.results, other.withheld
        self._saved = other._saved
        if self.settings.percentile == other.settings.percentile:
            self._times = other._times

    def stop(self) -> None:
        """Has no further request sent a second time; leaves no timer."""
        self._stopped = True
        self._watched.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def let_losers_go(self) -> None:
        """Closes the connections whose answer is awaited for nobody."""
        for loser in [*self.losers]:
            loser.give_up()

    # What requests say.

    def count(self) -> None:
        """Counts a request of the backend, a share of which may be hedged."""
        self.requests += 1
        self._saved = min(self._saved + self.settings.budget, SAVED_MOST)

    def watch(self, late: Late, now: float) -> None:
        """Calls `late.late` if it is not answered in time, having been sent now."""
        after = self.after
        if after < inf and not self._stopped:
            self._watched.append((now + after, late))
            if self._call is None:
                self._call = self._clock.callLater(after, self._look)

    def answered(self, seconds: float) -> None:
        """Learns from an answer that has begun after so many seconds, or had not when another had."""
        self._times.observe(seconds)

    def began(self) -> None:
        """Notes that a request has been sent a second time."""
        self.started += 1
        self._saved -= 1.0

    def withholds(self, backend: Places[Any], now: float) -> str:
        """Returns why a request of the backend is not sent a second time, one of WITHHELD; "" if it may be."""
        retries = backend.traffic.wretr + backend.traffic.wredis
        if retries != self._retries:
            self._retries, self._calm_at = retries, now + CALM
        if backend.successor is not None or self._stopped:
            return RELOADED
        if self._saved < 1.0:
            return BUDGET
        if backend.queue.waiting or any(server.queue.waiting for server in backend.servers):
            return QUEUED
        if any(server.health == DOWN for server in backend.servers):
            return DOWN_SERVER
        if now < self._calm_at:
            return RETRIES
        if any(server.pool.trouble or server.pool.waiters for server in backend.servers):
            return DIALS
        return ""

    # Time.

    def _look(self) -> None:
        """Tells all that are late."""
        self._call = None
        now = self._clock.seconds()
        for late in self._due(now):
            late.late()
        if self._watched and self._call is None and not self._stopped:
            self._call = self._clock.callLater(max(0.0, self._watched[0][0] - now), self._look)

    def _due(self, now: float) -> Iterator[Late]:
        while self._watched and self._watched[0][0] <= now:
            yield self._watched.popleft()[1]
