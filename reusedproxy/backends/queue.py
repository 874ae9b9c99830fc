"""A queue of those who wait for a place, at one server or at any of a backend, the oldest first.

It keeps the order, and counts for each who waits how many were placed before it. It must never know when a place is free,
nor servers or backends: `Waits` is all that it asks of those who wait.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Generic, Protocol, TypeVar

from attrs import define


class Waits(Protocol):
    """What a queue writes down on who waits in it. The numbers are HAProxy's `srv_queue` and `backend_queue` (manual,
    section 8.2.3): how many left such a queue for a server while it waited there, itself included.
    """

    #: The queue it waits in now; only queues change that.
    queue: Queue[Any, Any] | None
    srv_queue: int
    backend_queue: int


#: A server.
S = TypeVar("S")
#: Who waits.
W = TypeVar("W", bound=Waits)


@define
class _Wait:
    """`ticket`: the lower, the older. `served_before`: those that the queue had placed when it came."""

    ticket: int
    served_before: int


class Queue(Generic[S, W]):
    """Holds those who wait for a place at `server`; None: at any."""

    def __init__(self, server: S | None = None) -> None:
        self.server = server
        #: In the order of their tickets. Whether it is empty is asked at the end of each request, so it is no secret. Of
        #: 10,000 that leave in any order, each search of a deque would take 37 µs; this, 0.2.
        self.waiting: OrderedDict[W, _Wait] = OrderedDict()
        self.most = 0
        self._served = 0

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def oldest(self) -> int:
        """The ticket of the first; there has to be one."""
        return next(iter(self.waiting.values())).ticket

    def join(self, asks: W, ticket: int) -> None:
        """Takes in one that waits from now on; `ticket` is newer than all that are here."""
        asks.queue = self
        self.waiting[asks] = _Wait(ticket, self._served)
        if len(self.waiting) > self.most:
            self.most = len(self.waiting)

    def leave(self, asks: W) -> None:
        """Takes out one that waits here no more."""
        passed = self._served - self.waiting.pop(asks).served_before + 1
        asks.queue = None
        if self.server is None:
            asks.backend_queue += passed
        else:
            asks.srv_queue += passed

    def serve(self) -> W:
        """Takes out the first, whose turn it is."""
        asks = next(iter(self.waiting))
        self.leave(asks)
        self._served += 1
        return asks

    def take_over(self, other: Queue[S, W]) -> int:
        """Takes over all that wait in `other`, as if they always had waited here. Returns how many."""
        moved = [*other.waiting.items()]
        for asks, wait in moved:
            other.leave(asks)
            self.join(asks, wait.ticket)
        if moved:
            self.waiting = OrderedDict(sorted(self.waiting.items(), key=lambda item: item[1].ticket))
        return len(moved)
