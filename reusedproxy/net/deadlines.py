"""When a wait ends: deadlines that are moved for every request and almost never pass.

A connection has one deadline and pushes it ahead all the time, so pushing must cost no more than an assignment. Time is
cut into slots; an owner sits in a slot at or before the deadline it had when it was put there, and is looked at again only
when that slot comes up: passed, it is told; not yet, or moved ahead meanwhile, it is put into another slot. The farther a
deadline is, the coarser are the slots, as in a hierarchical timer wheel: their number stays bounded whatever the time-outs
are and however many connections come and go. It knows a clock and owners with a `deadline`; it must never know what they
wait for.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Slots per second. A deadline passes at most 1/64 s late; a busy proxy wakes at most 64 times a second for all of them.
SLOTS = 64
#: A deadline farther away than so many slots is looked at early, by a sixteenth of its distance at most, and then put into a
#: finer slot: sixteen slots serve each doubling of the distance. With a slot for each 1/64 s, an hour of short connections
#: with a time-out of an hour left 230,400 empty slots behind, 70 MB (now: 200 slots, 0.1 MB).
EXACT = 2 * SLOTS


class Owner(Protocol):
    """What can be watched: `deadline` in the clock's seconds (inf: none); `slot` belongs to `Deadlines` (0: not watched)."""

    deadline: float
    slot: float

    def deadline_passed(self) -> None: ...


class Deadlines:
    """Tells each owner, once, that its deadline has passed; it is not watched any more from then on.

    To move a deadline ahead, an owner may simply assign `deadline`. Only one that may come closer must be given to
    `watch` again. Every owner must be given to `cancel` before it is thrown away.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slots: dict[int, set[Owner]] = {}
        self._due: list[int] = []
        self._call: IDelayedCall | None = None
        self._call_slot = 0
        #: The first slot whose turn has not come; what is watched too late waits there, and not in one that has gone by.
        self._next_slot = int(clock.seconds() * SLOTS)
        self.now = clock.seconds

    def watch(self, owner: Owner, deadline: float) -> None:
        """Tell `owner` when the clock reaches `deadline` (inf: never)."""
        owner.deadline = deadline
        if owner.slot:
            if deadline * SLOTS >= owner.slot - 1:
                return
            self._take_out(owner)
        if deadline != inf:
            self._put_in(owner)

    def cancel(self, owner: Owner) -> None:
        """Forget `owner`. No harm if it is not watched."""
        owner.deadline = inf
        if owner.slot:
            self._take_out(owner)

    def stop(self) -> None:
        """Forget everybody; no timer is left."""
        for owners in self._slots.values():
            for owner in owners:
                owner.slot = 0
        self._slots = {}
        self._due.clear()
        self._schedule()

    def watching(self) -> int:
        """How many owners are watched."""
        return sum(map(len, self._slots.values()))

    def slots(self) -> int:
        """How many slots are kept, empty ones included: each is looked at once."""
        return len(self._slots)

    def _put_in(self, owner: Owner) -> None:
        number = int(owner.deadline * SLOTS) + 1
        # Counted from the last turn, for asking the clock costs a third of all this. After a long rest too coarse a slot is
        # chosen, at worst one that has gone by: then the next turn comes at once, and it is put right.
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
        # A slot left empty keeps its turn: waking for nothing once is cheaper than moving the timer at every cancel.
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
                # One told before may have cancelled this one (no deadline left), watched it anew (it has a slot), or
                # stopped it all (other slots).
                if not owner.slot and slots is self._slots:
                    self._look_at(owner, now)
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
