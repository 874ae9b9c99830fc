"""Queues those who wait for a connection of a pool, and those who are to be told that there is none.

The queue keeps the order and finds whose turn it is. It must never know when a connection is ready, nor for which
kind it is fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import count, islice, takewhile
from math import inf
from typing import Protocol

from attrs import define

from reusedproxy.net.backlog import Backlog
from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.cold import Cold
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.counters import REFUSED, TIMEOUT
from reusedproxy.pool.kinds import NEW, SAFE
from reusedproxy.pool.record.listening import Recorder


class Waiter(Protocol):
    """Waits for a connection. Exactly one of the methods is called, unless the waiter leaves first."""

    def connection_ready(self, connection: ServerConnection) -> None:
        """Takes the connection, which is in use from now on."""

    def connection_failed(self, failure: DialFailure) -> None:
        """Notes that an attempt to connect has failed. The waiter waits no more; it may ask again at once."""

    def pool_replaced(self) -> None:
        """Notes that another pool may have taken the place of this one, where it asks again. It waits here no more."""


@define
class Waiting:
    """Holds one place in a pool's queue, taken at `since` for a connection of this kind (see `kinds`). The lower its
    `number`, the older it is."""

    waiter: Waiter
    kind: int
    dials: int  # begun before it came
    since: float
    number: int
    #: What it has found.
    cold: Cold | None = None
    recorder: Recorder | None = None

    def ended(self, result: str, took: float) -> None:
        """Notes how the wait has ended, after `took` seconds."""
        if self.recorder is not None:
            self.recorder.waited(self.kind, result, took)
        if self.cold is not None:
            self.cold.ended(result, took)


class Waiters:
    """Holds those who wait at one pool, each at most once at a time."""

    def __init__(self) -> None:
        #: The oldest first. Public, because its emptiness is checked at the end of each request. With a deque, each of
        #: 7,000 that left in any order was searched for, for 120 µs; here that takes 0.5 µs.
        self.waiting: OrderedDict[Waiter, Waiting] = OrderedDict()
        #: The same places by kind: the first that may take a returned connection may stand behind
        #: thousands that may not.
        self._kinds: tuple[OrderedDict[Waiter, Waiting], ...] = tuple(OrderedDict() for _ in range(NEW + 1))
        self._numbers = count()

    def __len__(self) -> int:
        return len(self.waiting)

    def join(self, waiter: Waiter, kind: int, dials: int, now: float) -> Waiting:
        """Adds a waiter, and returns its place."""
        assert waiter not in self.waiting, "it waits already"
        waiting = Waiting(waiter, kind, dials, now, next(self._numbers))
        self.waiting[waiter] = self._kinds[kind][waiter] = waiting
        return waiting

    def leave(self, waiter: Waiter) -> Waiting | None:
        """Removes a waiter that waits no more. Returns None if it did not wait."""
        waiting = self.waiting.pop(waiter, None)
        if waiting is not None:
            del self._kinds[waiting.kind][waiter]
        return waiting

    def take(self, dials: float = inf, most: int | None = None) -> Waiters:
        """Removes and returns the waiters that came before the `dials`-th dial had begun, at most
        `most` of them (None: all)."""
        taken = Waiters()
        if most is None and self.waiting and next(reversed(self.waiting.values())).dials < dials:
            # These are all of them. Moving 7,000 would take 10 ms.
            taken.waiting, self.waiting = self.waiting, taken.waiting
            taken._kinds, self._kinds = self._kinds, taken._kinds
            return taken
        early = takewhile(lambda waiting: waiting.dials < dials, self.waiting.values())
        for each in [*islice(early, most)]:
            self.leave(each.waiter)
            moved = taken.join(each.waiter, each.kind, each.dials, each.since)
            moved.cold, moved.recorder = each.cold, each.recorder
        return taken

    def first(self) -> Waiting:
        """Returns the oldest place; there has to be one."""
        return next(iter(self.waiting.values()))

    def first_fit(self, most: int, safe: bool) -> Waiting | None:
        """Returns the oldest place whose kind is at most `most`, or SAFE if the connection is
        `safe`; None if there is none."""
        fit = [
            next(iter(each.values()))
            for kind, each in enumerate(self._kinds)
            if each and (kind <= most or (safe and kind == SAFE))
        ]
        return min(fit, key=lambda waiting: waiting.number, default=None)

    def younger(self, since: float, most: int) -> int:
        """Counts those who wait since a later time than this; 0 if more than `most` have waited longer."""
        older = sum(1 for _ in islice(takewhile(lambda each: each.since <= since, self.waiting.values()), most))
        return 0 if older == most else len(self.waiting) - older

    def fit(self, most: int) -> int:
        """Counts the places whose kind is at most `most`."""
        return sum(map(len, self._kinds[: most + 1]))


class Refusals:
    """Tells refused waiters the reason, in slices: telling 7,000 takes 90 ms."""

    def __init__(self, now: Callable[[], float], told: Callable[[DialFailure, float], None]) -> None:
        """Calls `told(failure, waited)` for each that is told, with the seconds that it has waited."""
        self._now = now
        self._told = told
        self._refused: list[Waiters] = []

    def add(self, refused: Waiters, failure: DialFailure, backlog: Backlog) -> None:
        """Queues waiters to be told of this failure, the oldest first."""
        if refused.waiting:
            self._refused.append(refused)
            backlog.add(partial(self._tell_one, refused, failure))

    def leave(self, waiter: Waiter) -> Waiting | None:
        """Removes a waiter that has not been told yet. Returns None if it was not here."""
        for refused in self._refused:
            waiting = refused.leave(waiter)
            if waiting is not None:
                return waiting
        return None

    def _tell_one(self, refused: Waiters, failure: DialFailure) -> bool:
        if not refused.waiting:
            self._refused.remove(refused)
            return False
        waiting = refused.first()
        refused.leave(waiting.waiter)
        took = self._now() - waiting.since
        waiting.ended(TIMEOUT if failure.timed_out else REFUSED, took)
        self._told(failure, took)
        waiting.waiter.connection_failed(failure)
        return True
