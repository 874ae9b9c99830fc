"""Judges by the results of its checks whether a server is well: HAProxy's counter. Pure: it knows no server."""

from __future__ import annotations

from reusedproxy.config.model.proxies import Check


class Judge:
    """Counts in `health`, from 0 (down) to the top, `rise` + `fall` - 1.

    From `rise` on the server is well. The counter goes to the top when the server rises, or is found well, and to 0
    when it falls. `failures` counts the checks that failed while the server was well (HAProxy's chkfail).
    """

    def __init__(self, rise: int, fall: int) -> None:
        self.rise, self.fall = rise, fall
        self.top = rise + fall - 1
        self.health = rise
        self.failures = 0

    @property
    def well(self) -> bool:
        return self.health >= self.rise

    @property
    def sure(self) -> bool:
        """Tells whether no further check could change the counter for the better or, below, for the worse."""
        return self.health in (0, self.top)

    @property
    def progress(self) -> str:
        """Returns how far it is from changing, in HAProxy's form: "2/3" are 2 failures that it can bear of 3."""
        if self.well:
            return f"{self.health - self.rise + 1}/{self.fall}"
        return f"{self.health}/{self.rise}"

    def passed(self) -> bool:
        """Counts a check that passed. Returns whether that changed anything."""
        if self.health >= self.top:
            return False
        self.health += 1
        if self.health >= self.rise:
            self.health = self.top
        return True

    def failed(self) -> bool:
        """Counts a check that failed. Returns whether that changed anything."""
        if not self.health:
            return False
        self.failures += self.well
        self.health = self.health - 1 if self.health > self.rise else 0
        return True

    def begin_at(self, health: int) -> None:
        self.health = health

    def brink(self) -> None:
        """Leaves the server one failure from falling, if it is well."""
        self.health = min(self.health, self.rise + 1)

    def interval(self, settings: Check) -> float:
        """Returns the seconds to the next check: `inter` while the server is UP for sure, `fastinter` in transition,
        `downinter` while DOWN; `inter` in place of either that is not set."""
        if self.health == 0 and settings.downinter is not None:
            return settings.downinter
        if 0 < self.health < self.top and settings.fastinter is not None:
            return settings.fastinter
        return settings.inter
