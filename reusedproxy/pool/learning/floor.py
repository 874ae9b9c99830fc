"""Decides how high a floor is that follows demand (`pool-min-conn auto`).

It rises at once to the depth of a request that had to wait, and within seconds to what nearly all of the last hour's
needed (see `depth`). When that is less it falls, an eighth of itself every ten minutes. It never rises beyond what the
server has shown to bear. It knows numbers and times only; it must never know connections or pools.
"""

from __future__ import annotations

from math import inf
from typing import Final

#: The most that a floor rises to where nothing bounds it: a server that stands still for a second looks like a burst.
FLOOR_MAX: Final = 100
#: Seconds between two steps down, and the share of the floor that each takes, at least one connection.
STEP_EVERY: Final = 600.0
STEP: Final = 1 / 8
#: The share of the last hour's requests that the floor is to meet.
MET: Final = 0.9999
#: Share of what was needed by which the floor is higher.
ROOM: Final = 1 / 16
#: Seconds after a refused dial after which it shows a limit of the server's, if what stood then still stands: a server
#: that stops refuses, too, and closes what it has.
CONFIRMED_AFTER: Final = 2.0
#: The share of what stood that must have stood all that time: some come and go with their requests.
STOOD_ON: Final = 1 / 2
#: Seconds after which one more than the server has borne is tried.
TRY_EVERY: Final = 600.0


class FollowingFloor:
    """Follows the demand on one server, from `least` to `most`. `floor` is how many are to stand idle now; `ceiling`
    is how many connections, idle and in use, the server has shown to bear (inf: no limit has shown)."""

    def __init__(self, least: int, bound: int | None) -> None:
        """Rises to `bound` at most; None: to what other bounds leave."""
        self.floor = least
        self.ceiling: float = inf
        self._least = least
        #: How many connections requests may use at once (`maxconn`, 0: any number).
        self.places = 0
        self._bound = bound
        self._falls_at = -inf
        #: When the first of the latest dials was refused, and how many stood then; None: none was. And the fewest that
        #: have stood since.
        self._refused: tuple[float, int] | None = None
        self._fewest = 0
        self._try_at = inf

    @property
    def most(self) -> int:
        """Returns the most that the floor rises to."""
        bounds = [each for each in (self._bound, self.places or None) if each is not None]
        return max(self._least, min(bounds, default=FLOOR_MAX))

    def begin_at(self, other: FollowingFloor) -> None:
        """Begins where `other` is, which has followed the same demand."""
        self.places = other.places
        self.begin_with(other.floor)

    def begin_with(self, floor: int) -> None:
        """Begins at a floor that the same demand has called for."""
        self.floor = max(self.floor, self._bounded(floor))

    def deeper(self, depth: int) -> None:
        """Rises at once for a request of this depth, which has found no connection, or was seen elsewhere."""
        self.floor = max(self.floor, self._bounded(_with_room(depth)))

    def look(self, now: float, needed: int, standing: int) -> None:
        """Rises to what the last hour `needed`, or takes a step down. `standing` are all that are open. Called each
        second."""
        self._judge(now, standing)
        wanted = self._bounded(_with_room(needed))
        if wanted >= self.floor:
            self.floor = wanted
            self._falls_at = now + STEP_EVERY
        elif self.floor > self._bounded(self.floor):
            self.floor = self._bounded(self.floor)  # the server bears no more
        elif now >= self._falls_at:
            self.floor = max(wanted, self.floor - max(1, int(self.floor * STEP)))
            self._falls_at = now + STEP_EVERY

    def refused(self, now: float, standing: int) -> None:
        """Notes that the server has refused a connection while so many stood."""
        self._note_fewest(standing)
        if standing and self._refused is None:
            self._refused = (now, standing)
            self._fewest = standing

    def opened(self, standing: int) -> None:
        """Notes that the server has accepted a connection, with which so many stand."""
        if standing > self.ceiling:
            self.ceiling = standing
        self._note_fewest(standing - 1)
        if self._refused is not None and standing > self._refused[1]:
            self._refused = None

    def _note_fewest(self, standing: int) -> None:
        """Forgets a refusal if most of what stood then has gone: the server has stopped, or begun anew, and what stands
        later shows no limit. Called before more stand than now."""
        self._fewest = min(self._fewest, standing)
        if self._refused is not None and self._fewest < self._refused[1] * STOOD_ON:
            self._refused = None

    def _judge(self, now: float, standing: int) -> None:
        self._note_fewest(standing)
        if not standing:
            self.ceiling = inf  # it has begun anew
            self._refused = None
        elif self._refused is not None and now - self._refused[0] >= CONFIRMED_AFTER:
            if standing >= self._refused[1]:
                self.ceiling = self._refused[1]
                self._try_at = now + TRY_EVERY
            self._refused = None
        elif self.ceiling < inf and now >= self._try_at:
            self.ceiling += 1
            self._try_at = now + TRY_EVERY

    def _bounded(self, floor: int) -> int:
        return max(self._least, int(min(floor, self.most, self.ceiling)))


def _with_room(depth: int) -> int:
    """Returns the floor for requests of this depth: a little more, because the next hour may go a little deeper."""
    return depth + int(depth * ROOM)
