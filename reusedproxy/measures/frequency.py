"""Computes the rate of what a plain counter counts, as HAProxy does (include/haproxy/freq_ctr.h), so that counting
itself costs nothing more.

It must never know what is counted.
"""

from __future__ import annotations

from collections.abc import Callable

#: Seconds of a period.
PERIOD = 1.0


def frequency(before: int, events: int, passed: float) -> int:
    """Returns the rate in a period of which so many seconds have `passed`: its `events`, and of those of the one
    `before` the part that is left of this one, rounded down. One event long past counts as a whole, not by turns."""
    if not events and before <= 1:
        return before
    return int(before * max(0.0, PERIOD - passed) / PERIOD + events)


class Frequency:
    """Holds how much was counted in this second, and in the one before it. `turn` has to be called about once a second,
    whether anybody asks for the rate or not."""

    __slots__ = ("_before", "_began", "_read", "_total")

    def __init__(self, read: Callable[[], int], now: float) -> None:
        """Takes what returns the total so far."""
        self._read = read
        self._began = now
        #: The total when this period began, and what was counted in the one before it.
        self._total = read()
        self._before = 0

    def turn(self, now: float) -> None:
        """Begins another period if this one is over."""
        passed = now - self._began
        if passed < PERIOD:
            return
        total = self._read()
        # A total that was set back (`clear counters all`) has counted nothing.
        self._before = max(0, total - self._total) if passed < 2 * PERIOD else 0
        self._began = self._began + PERIOD if passed < 2 * PERIOD else now
        self._total = total

    def rate(self, now: float) -> int:
        """Returns the events of this period, and of the one before it in proportion to what is left of this one,
        rounded down."""
        self.turn(now)
        return frequency(self._before, max(0, self._read() - self._total), now - self._began)

    def follow(self, before: Frequency) -> None:
        """Goes on from what `before` has seen of the same counter, whose place it takes at a reload."""
        self._began, self._total, self._before = before._began, before._total, before._before

    def begin_again(self) -> None:
        """Takes the total as it is now: what was added to it was not counted here."""
        self._total = self._read()
