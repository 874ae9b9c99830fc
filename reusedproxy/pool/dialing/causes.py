"""Finds the cause for which a floor's next connection is opened, which is counted with each dial for a floor.

A floor fills from the start of its pool, and from the first dial that succeeds after others have failed; the time for
which its server was away is not counted. The module knows a clock; it must never know connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.measures.histogram import Histogram
from reusedproxy.pool.counters import FLOOR, RECOVERY, REPLACE, ROTATION


class DialCauses:
    """Tracks why the next connection for one floor is opened. `state` is:

    "no"       the floor is full, or none is kept
    "away"     it is short, and its server refuses connections
    "filling"  it is short, and is being filled
    "filled"   it is full, which is believed when all have proven that they are not refused after their handshake

    `owed` counts the connections that leave and have yet to be replaced.
    """

    def __init__(self, now: Callable[[], float], took: Histogram) -> None:
        """Counts in `took` the seconds that each completed filling took."""
        self.state = "no"
        self.owed = 0
        self._now = now
        self._took = took
        self._why = FLOOR
        self._first = True
        self._since = self._filled_at = 0.0

    def count_in(self, took: Histogram) -> None:
        """Counts in `took` from now on."""
        self._took = took

    def start(self, rotation: bool) -> None:
        """Begins to fill the floor. `rotation` tells that it replaces another pool's."""
        self._why = ROTATION if rotation else FLOOR if self._first else RECOVERY
        self._first = False
        self.state = "filling"
        self._since = self._now()

    def stop(self) -> None:
        """Ends the filling: no floor is kept."""
        self.state = "no"
        self.owed = 0

    def failed(self, below: bool) -> None:
        """Notes that a dial has failed. `below` tells that fewer than the floor stand."""
        if below or self.state != "no":
            self._why = RECOVERY
            self.state = "away"

    def opened(self, took: float) -> None:
        """Notes that a dial has succeeded, which took `took` seconds."""
        if self.state == "away":
            self.state = "filling"
            self._since = self._now() - took

    def look(self, below: bool, proven: bool) -> None:
        """Updates the state. `below` tells that fewer than the floor stand; `proven`, that those that stand will not be
        refused after their handshake any more."""
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
        """Returns the cause for which the next connection is opened. `failing` tells that the last dial has failed."""
        if self.state in ("away", "filling") and self._why != FLOOR:
            return self._why
        if failing:
            return RECOVERY
        if self.owed:
            self.owed -= 1
            return REPLACE
        return FLOOR
