"""Decides whether a request that finds no connection waits for one in use, or has another opened.

One is opened only if a returning one would take longer: both times are measured. What is opened for a short rush is for
nothing, unless another rush comes while it is still kept; so who has waited once for what returns has others opened the
next time. Knows numbers and times only; it must never know connections or pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

#: Share of the latest dial in the seconds that dials take.
DIALS_WEIGH: Final = 1 / 8
#: Factors by which the holding time moves with each one that is longer, or shorter: two in three are shorter then.
HELD_LONGER: Final = 1.1
HELD_SHORTER: Final = 0.95
#: A connection that has been in use for so many holding times is one of a few that stay long.
LONG: Final = 3.0
#: Share of the returns to be expected that is counted on.
SURE: Final = 1 / 3
#: At most so many requests are expected to be served by one connection in the time of a dial.
MANY: Final = 100.0
#: A dial hangs after so many times the usual, and seconds.
HANGS: Final = 4.0
HANGS_SECONDS: Final = 0.5


class Patience:
    """Compares dials and returns of one pool. `hold` is for how many seconds requests hold their connections, which the
    pool sets with each that comes back; `dial` is how many seconds dials take; 0: not known yet."""

    def __init__(self) -> None:
        self.hold = 0.0
        self.dial = 0.0
        #: When connections were short for the first time, with requests that waited for what returns.
        self._short_at = -inf

    def opened(self, took: float) -> None:
        """Notes that a dial has succeeded after `took` seconds."""
        self.dial = took if not self.dial else self.dial + (took - self.dial) * DIALS_WEIGH

    @property
    def knows(self) -> bool:
        """Tells whether both times are known."""
        return self.hold > 0 and self.dial > 0

    @property
    def longest(self) -> float:
        """Returns for how many seconds a request waits at most before another connection is opened for it."""
        return self.dial / 2

    def begins(self, now: float, kept: float) -> bool:
        """Tells whether requests wait for what returns: for the time of two dials, and then not again while what would
        have been opened would still stand, for `kept` seconds."""
        if now - self._short_at > max(kept, 2 * self.dial):
            self._short_at = now
        return now - self._short_at <= 2 * self.dial

    def returns(self, lent: Sequence[float]) -> int:
        """Returns how many requests will be served, for sure, by connections that have been lent for so many seconds,
        in the time of a dial."""
        soon = sum(seconds <= LONG * self.hold for seconds in lent)
        return int(soon * min(SURE * self.dial / self.hold, MANY))

    def single_flight(self, now: float, oldest: float, newest: float) -> float:
        """Returns the seconds until one more dial may begin. `oldest` and `newest` are when those under way have."""
        hangs = max(HANGS * self.dial, HANGS_SECONDS)
        return newest + hangs - now if self.dial and now - oldest >= hangs else 0.0
