"""Why a connection is opened that nobody waits for: the cause that is counted with each dial for a floor.

A floor fills from the start of its pool, and from the first dial that succeeds after others have failed; how long its server
was away is not our time. It knows a clock; it must never know connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.measures.histogram import Histogram
from reusedproxy.pool.counters import FLOOR, RECOVERY, REPLACE, ROTATION


class DialCauses:
    """Tells why the next connection for one floor is opened. `state` is:

    "no"       the floor is full, or none is kept
    "away"     it is short, and its server refuses connections
    "filling"  it is short, and is being filled
    "filled"   it is full, which is believed when all have proven that they are not refused after their handshake

    `owed` counts those that leave for others in their place.
    """

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
        """Begins to fill the floor; `rotation`: in place of another pool's."""
        self._why = ROTATION if rotation else FLOOR if self._first else RECOVERY
        self._first = False
        self.state = "filling"
        self._since = self._now()

    def stop(self) -> None:
        """Ends the filling: no floor is kept."""
        self.state = "no"
        self.owed = 0

    def failed(self, below: bool) -> None:
        """Notes that a dial has failed; `below`: fewer than the floor stand."""
        if below or self.state != "no":
            self._why = RECOVERY
            self.state = "away"

    def opened(self, took: float) -> None:
        """Notes that a dial of so many seconds has succeeded."""
        if self.state == "away":
            self.state = "filling"
            self._since = self._now() - took

    def look(self, below: bool, proven: bool) -> None:
        """Looks whether the floor is full. `below`: fewer than the floor stand; `proven`: those that do have proven
        themselves."""
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
        """Returns why the next one is opened; `failing`: the last dial has failed."""
        if self.state in ("away", "filling") and self._why != FLOOR:
            return self._why
        if failing:
            return RECOVERY
        if self.owed:
            self.owed -= 1
            return REPLACE
        return FLOOR
