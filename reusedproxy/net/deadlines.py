"""Manages deadlines of connections: they are moved for every request and almost never pass.

A connection has one deadline and pushes it ahead all the time, so pushing must cost no more than an assignment. Time is
cut into slots. An owner is filed in a slot that comes up at most 1/64 s after its deadline, and often well before it.
It is looked at only when that slot comes up. If its deadline has passed by then, the owner is told; if not, or if it
was moved ahead meanwhile, the owner is filed in another slot. As in a hierarchical timer wheel, slots are the coarser
the farther the deadline is: their number stays bounded whatever the time-outs are and however many connections come and
go.

It knows a clock and owners with a `deadline`; it must never know what they wait for.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import floor, inf
from typing import ClassVar, Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Slots per second. A deadline passes at most 1/64 s late; a busy proxy wakes at most 64 times a second for
#: all of them.
SLOTS: Final = 64
#: Distance in slots beyond which a deadline is filed in a coarser slot. The owner is then looked at early, by a
#: sixteenth of the distance at most, and refiled in a finer slot; sixteen slots serve each doubling of the distance.
#: With a slot for each 1/64 s, an hour of short connections with a time-out of an hour left 230,400 empty slots behind,
#: 70 MB (now: 200 slots, 0.1 MB).
EXACT: Final = 2 * SLOTS


def with_a_slot(now: float, seconds: float) -> float:
    """Returns the seconds after which a slot ends, up to 1/64 s less than `seconds`. What recurs often, for many alike,
    wakes the process once for all that are due in a slot; a wait of less than a second stays as it is."""
    return floor((now + seconds) * SLOTS) / SLOTS - now if seconds >= 1.0 else seconds


class Owner(Protocol):
    """Defines what can be watched.

    `deadline` is in the clock's seconds (inf: none). `slot` belongs to `Deadlines` (0: not watched).
    """

    deadline: float
    slot: float

    def deadline_passed(self) -> None: ...


class Deadlines:
    """Tells each owner once that its deadline has passed, and stops watching it then.

    To move a deadline ahead, an owner may simply assign `deadline`. To move it closer, it must call `watch` again, or
    assign it if `0 < slot <= deadline * SLOTS`: its slot comes up before that. What each request does is written so.
    Every owner must be given to `cancel` before it is discarded.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, set[Owner]] = {}
        self._due: list[int] = []
        self._call: IDelayedCall | None = None
        self._call_slot = 0
        #: The first slot whose turn has not come. An owner whose own slot has gone by already is filed here.
        self._next_slot = int(clock.seconds() * SLOTS)
        self.now = clock.seconds

    def watch(self, owner: Owner, deadline: float) -> None:
        """Watches `owner`: it is told when the clock reaches `deadline` (inf: never)."""
        owner.deadline = deadline
        if owner.slot:
            if deadline * SLOTS >= owner.slot - 1:
                return
            self._take_out(owner)
        if deadline != inf:
            self._put_in(owner)

    def cancel(self, owner: Owner) -> None:
        """Stops watching `owner`. An owner that is not watched may be given, too."""
        owner.deadline = inf
        if owner.slot:
            self._slots[int(owner.slot)].discard(owner)  # `_take_out`, without a call for each connection
            owner.slot = 0

    def stop(self) -> None:
        """Stops watching all owners and cancels the timer."""
        for owners in self._slots.values():
            for owner in owners:
                owner.slot = 0
        self._slots = {}
        self._due.clear()
        self._schedule()

    def watching(self) -> int:
        """Returns the number of watched owners."""
        return sum(map(len, self._slots.values()))

    def slots(self) -> int:
        """Returns the number of slots, empty ones included: each of them wakes the timer once."""
        return len(self._slots)

    def _put_in(self, owner: Owner) -> None:
        number = int(owner.deadline * SLOTS) + 1
        # The distance is counted from the last turn, because reading the clock costs a third of the whole call. After a
        # long idle time this chooses too coarse a slot, at worst one that has gone by: then the next turn comes at once
        # and refiles the owner.
        ahead = number - self._next_slot
        if ahead > EXACT:
            shift = ahead.bit_length() - 5
            number = number >> shift << shift
        if number < self._next_slot:
            number = self._next_slot
        owner.slot = number
        slot = self._slots.get(number)
        if slot is None:
            self._slots[number] = {owner}
            heappush(self._due, number)
            if self._call is None or number < self._call_slot:
                self._schedule()
        else:
            slot.add(owner)

    def _take_out(self, owner: Owner) -> None:
        # An empty slot is not removed: waking for nothing once is cheaper than moving the timer at every cancel.
        self._slots[int(owner.slot)].discard(owner)
        owner.slot = 0

    def _schedule(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._due:
            self._call_slot = self._due[0]
            self._call = self._clock.callLater(max(0.0, self._due[0] / SLOTS - self.now()), self._run)

    def _run(self) -> None:
        self._call = None
        now = self.now()
        slots = self._slots
        self._next_slot = int(now * SLOTS) + 1
        while self._due and self._due[0] <= now * SLOTS:
            owners = self._slots.pop(heappop(self._due))
            for owner in owners:
                owner.slot = 0
            for owner in owners:
                # An owner told earlier in this loop may have cancelled this one (its deadline is inf), watched it anew
                # (it has a slot), or stopped all (the slots are others).
                if not owner.slot and slots is self._slots:
                    self._look_at(owner, now)
        self._wake_again()

    def _wake_again(self) -> None:
        """Sets the timer, unless an owner that was told has done so."""
        if self._call is None:
            self._schedule()

    def _look_at(self, owner: Owner, now: float) -> None:
        if owner.deadline > now:
            if owner.deadline != inf:
                self._put_in(owner)
            return
        owner.deadline = inf
        try:
            owner.deadline_passed()
        except Exception:
            self._log.failure("what should end at a deadline failed: {owner!r}", owner=owner)
