"""Queues requests that wait for a place, at one server or at any of a backend, by their priority and their age.

A queue keeps the order, and counts for each request how many were placed before it. It must never know when a place is
free, nor servers or backends: `Waits` is all that it asks of the requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Any, Generic, Protocol, TypeVar

from attrs import define

#: Places that have been left, before the order is made anew without them.
LEFT_MAX = 64

#: Where a request stands in the order, the lowest first: its class, the time in milliseconds from which its wait
#: counts, and the number of its ticket, which no other has.
Rank = tuple[int, float, int]


class Waits(Protocol):
    """Defines what a queue writes into a request that waits in it. The numbers are HAProxy's `srv_queue` and
    `backend_queue` (manual, section 8.2.3): how many left such a queue for a server while the request waited
    there, itself included."""

    #: The queue it waits in now; only queues change that.
    queue: Queue[Any, Any] | None
    srv_queue: int
    backend_queue: int


#: A server.
S = TypeVar("S")
#: Who waits.
W = TypeVar("W", bound=Waits)


@define(eq=False)
class _Wait(Generic[W]):
    """Holds one place in the queue. `served_before` is how many the queue had placed when the request came; `asks` is
    None when it has been left."""

    rank: Rank
    served_before: int
    asks: W | None


class Queue(Generic[S, W]):
    """Holds the requests that wait for a place at `server`; None: at any server."""

    def __init__(self, server: S | None = None) -> None:
        self.server = server
        #: Public, because its emptiness is checked at the end of each request.
        self.waiting: dict[W, _Wait[W]] = {}
        self.most = 0
        self._served = 0
        #: A heap of all places, those among them that have been left: of 10,000 that leave in any order, each search
        #: would take 37 µs.
        self._order: list[tuple[Rank, _Wait[W]]] = []

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def first(self) -> Rank:
        """Returns the rank of the first; there has to be one."""
        order = self._order
        while order[0][1].asks is None:
            heappop(order)
        return order[0][0]

    def join(self, asks: W, rank: Rank) -> None:
        """Adds a request, which waits from now on."""
        asks.queue = self
        self.waiting[asks] = wait = _Wait(rank, self._served, asks)
        heappush(self._order, (rank, wait))
        if len(self.waiting) > self.most:
            self.most = len(self.waiting)

    def leave(self, asks: W) -> None:
        """Removes a request that waits here no more."""
        wait = self.waiting.pop(asks)
        wait.asks = None
        passed = self._served - wait.served_before + 1
        asks.queue = None
        if self.server is None:
            asks.backend_queue += passed
        else:
            asks.srv_queue += passed
        if len(self._order) > 2 * len(self.waiting) + LEFT_MAX:
            self._order = [(wait.rank, wait) for wait in self.waiting.values()]
            heapify(self._order)

    def serve(self) -> W:
        """Removes and returns the first request, whose turn it is."""
        _ = self.first
        asks = heappop(self._order)[1].asks
        assert asks is not None
        self.leave(asks)
        self._served += 1
        return asks

    def take_over(self, other: Queue[S, W], leaving: Iterable[W]) -> int:
        """Takes over those that are `leaving` another queue, as if they had always waited here. Returns how many."""
        moved = [(asks, other.waiting[asks].rank) for asks in leaving]
        for asks, rank in moved:
            other.leave(asks)
            self.join(asks, rank)
        return len(moved)
