"""Counts how deep requests reach into the connections that stood idle a moment ago, for the last hour.

The depth of a request is 1 if it takes one connection while all others still stand idle, and n if n that stood idle a
moment ago are in use, or gone with their request, when it has got its own or waits for one. So a floor of n meets the
requests of a depth of at most n: what stood idle before is what a floor opens anew within a moment. The moment is as
long as that takes. Those that have been in use together throughout some moment stay for a while when they come back
(`pool-purge-delay`); requests that reach no deeper than into these have depth 0, because they need no floor. Depths
know numbers and times only; they must never know connections or pools.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from math import inf
from typing import Final

#: Seconds of one bucket of time, and how many finished ones count: an hour, and the present bucket.
BUCKET, BUCKETS = 300.0, 12
#: Depths beyond this count as this.
DEEPEST: Final = 4096


class Depths:
    """Counts the requests of one pool by depth. Its pool reads and writes these for each request, without a call:

    `here`    the most that stood idle since `turn` was called
    `high`    how many idle ones only a floor accounts for: a request that leaves n idle is of depth `high` - n
    `until`   when the moment is over, and `turn` has to be called
    `counts`  requests of this bucket by depth; long enough for `high`
    """

    def __init__(self, now: float, moment: float, kept: float) -> None:
        """Begins at the clock's time `now`. `moment` is in seconds, and so is `kept`: for how long connections stay
        that come back (0: they do not)."""
        self.high = self.here = 0
        self.until = -inf
        self.counts = [0]
        self.moment = moment
        self._kept = kept
        #: The most that were in use throughout a moment, of this half of `kept` and of the one before.
        self._used = self._used_before = 0
        self._half_until = -inf
        self._ends_at = now + BUCKET
        #: The finished buckets, without the zeros at their ends; and the sum of them.
        self._finished: deque[list[int]] = deque()
        self._sum: list[int] = []

    def succeed(self, other: Depths) -> None:
        """Counts on where `other` does, of another pool of the same server; both may go on."""
        self.counts = [*other.counts]
        self._ends_at = other._ends_at
        self._finished = deque(other._finished)
        self._sum = [*other._sum]

    def known(self, now: float) -> dict[str, object]:
        """Returns what was counted as plain values: the requests of this bucket, which is over after `left` seconds,
        and of the finished ones."""
        self.settle(now)
        counts = self.counts[: self.deepest + 1]
        return {"left": self._ends_at - now, "counts": counts, "finished": [*self._finished]}

    def know(self, now: float, left: float, counts: Sequence[int], finished: Sequence[Sequence[int]]) -> None:
        """Counts on where another process does, of the same server."""
        self.counts = [*counts[: DEEPEST + 1]] or [0]
        self._make_room(self.high)
        self._ends_at = now + min(left, BUCKET)
        self._finished = deque([*each[: DEEPEST + 1]] for each in finished[-BUCKETS:])
        self._sum = []
        for each in self._finished:
            self._sum = [sum(both) for both in zip_longest(self._sum, each, fillvalue=0)]

    def turn(self, now: float, idle: int, used: int) -> None:
        """Begins another moment, in which `idle` connections stand idle and `used` are in use at first."""
        here = max(self.here, idle)
        self.high = idle if now >= self.until + self.moment else here
        if self._kept:
            throughout = idle + used - here
            if now >= self._half_until:
                past = now >= self._half_until + self._kept / 2
                self._used_before = 0 if past else self._used
                self._used = throughout
                self._half_until = now + self._kept / 2
            elif throughout > self._used:
                self._used = throughout
            self.high = max(0, min(self.high, idle + used - max(self._used, self._used_before)))
        self.here = idle
        self.until = now + self.moment
        self._make_room(self.high)
        self.settle(now)

    def withdrawn(self) -> None:
        """Notes that a connection has left the idle ones, and no request has taken it."""
        self.high = max(0, self.high - 1)
        self.here = max(0, self.here - 1)

    def handed_on(self) -> None:
        """Notes that a new connection was given to a request that waited, as if it had stood idle for no time."""
        self.high += 1
        self._make_room(self.high)

    def waits(self, now: float, idle: int, used: int, waiting: int) -> int:
        """Counts a request that found no connection, so that `waiting` wait now. Returns its depth."""
        if now >= self.until:
            self.turn(now, idle, used)
        depth = max(1, min(self.high - idle + waiting, DEEPEST))
        self._make_room(depth)
        self.counts[depth] += 1
        return depth

    def settle(self, now: float) -> None:
        """Ends the bucket if its time is over, and forgets those that are too old."""
        if now < self._ends_at:
            return
        passed = int((now - self._ends_at) // BUCKET) + 1
        self._ends_at += passed * BUCKET
        finished, self.counts = self.counts, [0] * (self.high + 1)
        while finished and not finished[-1]:
            finished.pop()
        self._sum = [sum(each) for each in zip_longest(self._sum, finished, fillvalue=0)]
        self._finished.append(finished)
        self._finished.extend([] for _ in range(min(passed - 1, BUCKETS)))
        while len(self._finished) > BUCKETS:
            old = self._finished.popleft()
            self._sum = [one - other for one, other in zip_longest(self._sum, old, fillvalue=0)]
            while self._sum and not self._sum[-1]:
                self._sum.pop()

    # What they tell.

    @property
    def deepest(self) -> int:
        """Returns the largest depth of the last hour; 0 without requests."""
        at = len(self.counts) - 1
        while at > 0 and not self.counts[at]:
            at -= 1
        return max(at, len(self._sum) - 1, 0)

    @property
    def requests(self) -> int:
        """Returns how many requests there were in the last hour."""
        return sum(self.counts) + sum(self._sum)

    def floor_for(self, share: float) -> int | None:
        """Returns the smallest floor that would have met this share of the last hour's requests without a wait; None
        without requests."""
        allowed = (1 - share) * self.requests + 1e-6  # for what the product is rounded by
        if not self.requests:
            return None
        floor = self.deepest
        while floor > 0:
            allowed -= self._of(floor)
            if allowed < 0:
                break
            floor -= 1
        return floor

    def met_by(self, floor: int) -> float | None:
        """Returns the share of the last hour's requests that such a floor would have met; None without requests."""
        beyond = sum(self.counts[floor + 1 :]) + sum(self._sum[floor + 1 :])
        requests = self.requests
        return 1 - beyond / requests if requests else None

    def _of(self, depth: int) -> int:
        return sum(each[depth] for each in (self.counts, self._sum) if depth < len(each))

    def _make_room(self, depth: int) -> None:
        missing = depth + 1 - len(self.counts)
        if missing > 0:
            self.counts.extend([0] * missing)
