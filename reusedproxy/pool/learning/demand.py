"""How many connections a server's pools need, by what was used at once of late: what is beyond that is let go.

It knows numbers only; it must never know connections or pools.
"""

from __future__ import annotations

from math import floor, inf


class DemandEstimate:
    """Estimates the need. `peak` is the most that requests used at once since the last purge; `enough` connections, idle and in
    use, are called for: what comes back beyond them is too many.

    `spare` of each method is how many are to stand idle whatever is needed.
    """

    def __init__(self, spare: int) -> None:
        self.peak: float = 0
        self.enough: float = spare
        self._need: float = 0

    def start(self, spare: int) -> None:
        """Begins with what is known."""
        self.enough = max(self.peak, self._need) + spare

    def stop(self) -> None:
        """Calls for any number: another estimates for all."""
        self.peak = self.enough = inf

    def raise_peak(self, used: int, spare: int) -> None:
        """Takes note of so many in use by requests at once, perhaps as many as never of late."""
        if used <= self.peak:
            return
        self.peak = used
        enough = used + spare
        if enough > self.enough:
            self.enough = enough

    def purge(self, used: int, idle: int, pinged: int, minimum: int, spare: int) -> int:
        """Returns how many of the idle ones are to end, half of what exceeds the need, and begins to count anew.

        `pinged` of those that are `used` are so by ourselves; `minimum` of the idle ones are not counted.
        """
        exceed = used + idle - max(self.peak, self._need) - minimum
        self._need = max((self._need + self.peak) // 2, self.peak)
        self.peak = used - pinged
        return floor(max(0, min((exceed + 1) // 2, idle - spare)))

    def purged(self, left: int, spare: int) -> None:
        """Calls for the `left` connections until the next purge: they may stay, but nothing is added to them."""
        self.enough = max(self._need + spare, left)
