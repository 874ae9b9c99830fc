"""Why a floor is short, and how long it takes to fill: told by its keeper, asked for each connection that nobody waits for.

A floor fills from the start of its pool, and from the first dial that succeeds after others have failed; how long its server
was away is not our time. It knows a clock; it must never know connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.measures.histogram import Histogram
from reusedproxy.pool.counters import FLOOR, RECOVERY, REPLACE, ROTATION


class Filling:
    """One floor's. `state` is "no", "away" (its server refuses), "filling", or "filled", which is believed when all have
    proven that they are not refused after their handshake. `owed` counts those that leave for others in their place."""

    def __init__(self, now: Callable[[], float], took: Histogram) -> None:
        """`took` counts the seconds of each filling that has come to its end."""
        self.state = "no"
        self.owed = 0
        self._now = now
        self._took = took
        self._why = FLOOR
        self._first = True
        self._since = self._filled_at = 0.0

    def start(self, rotation: bool) -> None:
        """A floor is kept from now on; `rotation`: in place of another pool's."""
        self._why = ROTATION if rotation else FLOOR if self._first else RECOVERY
        self._first = False
        self.state = "filling"
        self._since = self._now()

    def stop(self) -> None:
        self.state = "no"
        self.owed = 0

    def failed(self, below: bool) -> None:
        """A dial has failed; `below`: fewer than the floor stand."""
        if below or self.state != "no":
            self._why = RECOVERY
            self.state = "away"

    def opened(self, took: float) -> None:
        """A dial of so many seconds has succeeded."""
        if self.state == "away":
            self.state = "filling"
            self._since = self._now() - took

    def look(self, below: bool, proven: bool) -> None:
        """Whether fewer than the floor stand, and whether those that do have proven themselves."""
        if self.state == "filling" and not below:
            self.state = "filled"
            self._filled_at = self._now()
        if self.state == "filled":
            if proven:
                self.state = "no"
                self._took.observe(self._filled_at - self._since)
            elif below:
                self.state = "filling"

    def cause(self, failing: bool) -> str:
        """Why the next one is opened; `failing`: the last dial has failed."""
        if self.state in ("away", "filling") and self._why != FLOOR:
            return self._why
        if failing:
            return RECOVERY
        if self.owed:
            self.owed -= 1
            return REPLACE
        return FLOOR
