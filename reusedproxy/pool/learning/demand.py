"""Estimates how many connections a server's pools need from the recent peak of concurrent use; what exceeds
this is ended.

The estimate knows numbers only; it must never know connections or pools.
"""

from __future__ import annotations

from math import floor, inf


class DemandEstimate:
    """Estimates the need. `peak` is the most connections that requests used at once since the last purge. `enough` is
    how many are called for, idle and in use; a connection that comes back beyond them is one too many.

    `spare` of each method is how many are to stand idle whatever the need.
    """

    def __init__(self, spare: int) -> None:
        self.peak: float = 0
        self.enough: float = spare
        self._need: float = 0

    @property
    def forgotten(self) -> bool:
        """Tells whether nothing of earlier use counts any more."""
        return self.peak == 0 and self._need == 0

    def start(self, spare: int) -> None:
        """Begins with what is known."""
        self.enough = max(self.peak, self._need) + spare

    def stop(self) -> None:
        """Sets no bound any more, because another estimate counts for all."""
        self.peak = self.enough = inf

    def raise_peak(self, used: int, spare: int) -> None:
        """Notes that requests use `used` connections at once, and raises the peak if that is more than before."""
        if used <= self.peak:
            return
        self.peak = used
        enough = used + spare
        if enough > self.enough:
            self.enough = enough

    def spare_rose(self, spare: int) -> None:
        """Calls for more connections, because more are to stand idle whatever the need."""
        self.enough = max(self.enough, max(self.peak, self._need) + spare)

    def purge(self, used: int, idle: int, pinged: int, minimum: int, spare: int) -> int:
        """Returns how many idle connections are to end, half of what exceeds the need, and begins to count anew.

        `pinged` of the `used` connections carry pings; `minimum` of the idle ones are not counted.
        """
        exceed = used + idle - max(self.peak, self._need) - minimum
        self._need = max((self._need + self.peak) // 2, self.peak)
        self.peak = used - pinged
        return floor(max(0, min((exceed + 1) // 2, idle - spare)))

    def purged(self, left: int, spare: int) -> None:
        """Calls for the `left` connections until the next purge: they may stay, but none is added to them."""
        self.enough = max(self._need + spare, left)
