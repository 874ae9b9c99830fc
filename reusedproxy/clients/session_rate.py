"""Bounds how many clients a frontend accepts in a second (`rate-limit sessions`). It must never know clients."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from reusedproxy.net.deadlines import Deadlines

#: Seconds beyond the time at which there is room, so that it is not missed by the rounding of times.
_SLACK = 0.001


class SessionRate:
    """Counts sessions as HAProxy does: those of this second, and of the second before it in proportion to what is left
    of this one. `limited` tells that there were as many as there may be (`limit`), and nobody is accepted until
    `go_on` is called."""

    def __init__(self, limit: int, deadlines: Deadlines, go_on: Callable[[], None]) -> None:
        """Takes the `limit` in sessions a second, at least 1."""
        self.limited = False
        # What `Deadlines` needs.
        self.deadline = inf
        self.slot = 0.0
        self.limit = limit
        self._deadlines = deadlines
        self._go_on = go_on
        self._begins = -inf
        self._before = self._now = 0

    def count(self) -> bool:
        """Counts a session. Returns True if it was the last for the moment."""
        now = self._turn()
        self._now += 1
        self.limited = self._wait(now) > 0
        if self.limited:
            self._deadlines.watch(self, now + self._wait(now))
        return self.limited

    def follow(self, before: SessionRate) -> None:
        """Goes on from what `before` has counted, whose place it takes at a reload."""
        self._begins, self._before, self._now = before._begins, before._before, before._now

    def stop(self) -> None:
        """Lets go of the clock."""
        self._deadlines.cancel(self)

    def deadline_passed(self) -> None:
        now = self._turn()
        if (wait := self._wait(now)) > 0:
            self._deadlines.watch(self, now + wait)
        else:
            self.limited = False
            self._go_on()

    def _turn(self) -> float:
        """Begins another second if it is time. Returns the time."""
        now = self._deadlines.now()
        passed = now - self._begins
        if passed >= 2:
            self._before = self._now = 0
            self._begins = now
        elif passed >= 1:
            self._before, self._now = self._now, 0
            self._begins += 1
        return now

    def _wait(self, now: float) -> float:
        """Returns the seconds until there is room for a session: until the sum is less than the limit, rounded down; 0
        if there is room."""
        left, room = self._begins + 1 - now, self.limit - self._now
        if room > 0:
            # So long the share of the second before is too large.
            return max(0.0, left - room / self._before + _SLACK) if self._before * left >= room else 0.0
        # In the next second this one is the one before.
        return left + max(0.0, 1 - self.limit / self._now) + _SLACK
