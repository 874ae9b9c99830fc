"""Paces what one transport sends, as bandwidth limits allow (`filter bwlim-in`, `bwlim-out`).

A transport that is paced takes its pacer for a kernel that is full from time to time: what is unsent then, a producer
that is paused, an end that waits for the last bytes are all as with a slow reader. Only who waits for whom is known,
so that no time-out of the peer runs meanwhile (`Transport.waits_for_pace`). It must never know what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.transport import Transport
from reusedproxy.tables.allowances import Allowance


class Pacer:
    """Asks all of a transfer's limits how much may be sent, and wakes the transport when more may be."""

    __slots__ = ("_allowances", "_deadlines", "_transport", "deadline", "moved_at", "slot")

    def __init__(self, transport: Transport, allowances: Sequence[Allowance], deadlines: Deadlines) -> None:
        self._transport = transport
        self._allowances = allowances
        self._deadlines = deadlines
        self.deadline = inf
        self.slot = 0.0
        #: When it last let bytes pass.
        self.moved_at = now = deadlines.now()
        for each in allowances:
            each.enter(now)

    def take(self, wanted: int) -> int:
        """Returns how many of so many bytes may be sent now. If that is not all, it calls the transport's `send_on`
        when others may."""
        now = self._deadlines.now()
        size = wanted
        for each in self._allowances:
            size = each.offer(size, now)
        if size:
            self.moved_at = now
            for each in self._allowances:
                each.spend(size, now)
        if size < wanted:
            wait = max(each.wait(wanted - size, now) for each in self._allowances)
            self._deadlines.watch(self, now + wait)
        return size

    def rest(self) -> None:
        """Lets others have what may be sent, for the peer takes nothing now."""
        self._deadlines.cancel(self)
        now = self._deadlines.now()
        for each in self._allowances:
            each.rest(now)

    def leave(self) -> None:
        """Ends it."""
        self._deadlines.cancel(self)
        now = self._deadlines.now()
        for each in self._allowances:
            each.leave(now)

    def deadline_passed(self) -> None:
        self._transport.send_on()


def pace(transport: Transport, allowances: Sequence[Allowance], deadlines: Deadlines, free: int = 0) -> None:
    """Has these limits pace what is written to a transport from now on, but for the next `free` bytes: heads are sent
    as they are, as in HAProxy."""
    transport.set_pace(Pacer(transport, allowances, deadlines), free)


def last_moved(transport: Transport, now: float) -> float:
    """Returns the last time at which the silence of a transport was not its peer's, but its pace's."""
    if transport.waits_for_pace:
        return now
    return -inf if transport.pace is None else transport.pace.moved_at
