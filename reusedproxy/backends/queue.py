"""A queue: who waits for a place, at one server or at any of a backend, the oldest first.

It keeps the order and counts. It must never know when a place is free, nor what those who wait do with it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from attrs import define

if TYPE_CHECKING:
    from reusedproxy.backends.backend import Backend
    from reusedproxy.backends.server import Server


class Placed(Protocol):
    """Who asks for a server. The numbers are HAProxy's `srv_queue` and `backend_queue` (manual, section 8.2.3): how many
    left such a queue for a server while it waited there, itself included.
    """

    #: Where it waits now; only queues change that.
    queue: Queue | None
    srv_queue: int
    backend_queue: int
    #: It goes to another server than it was meant for.
    redispatched: bool

    def placed(self, server: Server) -> None:
        """This server has a place for it, which it holds until it is given back with `Backend.done`."""

    def unplaceable(self) -> None:
        """No server is left, and it waits no more."""

    def go_to(self, backend: Backend) -> None:
        """A reload has put `backend` in the place of the one that it waited at: be placed there, or wait on."""


@define
class _Wait:
    """`ticket`: the lower, the older. `served_before`: those that the queue had placed when it came."""

    ticket: int
    served_before: int


class Queue:
    """Those who wait for a place at `server`; None: at any."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server
        #: In the order of their tickets. Whether it is empty is asked at the end of each request, so it is no secret. Of
        #: 10,000 that leave in any order, each search of a deque would take 37 µs; this, 0.2.
        self.waiting: OrderedDict[Placed, _Wait] = OrderedDict()
        self.most = 0
        self._served = 0

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def oldest(self) -> int:
        """The ticket of the first; there has to be one."""
        return next(iter(self.waiting.values())).ticket

    def join(self, asks: Placed, ticket: int) -> None:
        """Wait from now on; `ticket` is newer than all that are here."""
        asks.queue = self
        self.waiting[asks] = _Wait(ticket, self._served)
        if len(self.waiting) > self.most:
            self.most = len(self.waiting)

    def leave(self, asks: Placed) -> None:
        """This one waits here no more."""
        passed = self._served - self.waiting.pop(asks).served_before + 1
        asks.queue = None
        if self.server is None:
            asks.backend_queue += passed
        else:
            asks.srv_queue += passed

    def serve(self) -> Placed:
        """The first of them, whose turn it is."""
        asks = next(iter(self.waiting))
        self.leave(asks)
        self._served += 1
        return asks

    def take_over(self, other: Queue) -> int:
        """All of `other` wait here now, as if they always had. Returns how many."""
        moved = [*other.waiting.items()]
        for asks, wait in moved:
            other.leave(asks)
            self.join(asks, wait.ticket)
        if moved:
            self.waiting = OrderedDict(sorted(self.waiting.items(), key=lambda item: item[1].ticket))
        return len(moved)
