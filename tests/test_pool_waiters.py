"""Who waits for a connection: the order of their coming, and whose turn it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE
from reusedproxy.pool.waiters import Waiter, Waiters
from tests.fakes import Asker


def lines_of(call: Callable[[], object]) -> int:
    """How many lines of Python it takes: unlike time, the same in each run."""
    lines = 0

    def trace(frame: object, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


class WaitersTests(SynchronousTestCase):
    """One place each."""

    def waiters(self, *kinds: int) -> tuple[Waiters, list[Asker]]:
        waiters, askers = Waiters(), [Asker() for _ in kinds]
        for asker, kind in zip(askers, kinds, strict=True):
            waiters.join(asker, kind, 0, 1000.0)
        return waiters, askers

    def test_the_oldest_comes_first_whoever_leaves(self) -> None:
        """Also when those before it have left, in any order."""
        waiters, askers = self.waiters(*[ANY] * 6)
        for index in (3, 0, 1):
            self.assertIsNotNone(waiters.leave(askers[index]))
        self.assertIs(waiters.first().waiter, askers[2])
        self.assertEqual([*waiters.waiting], [askers[2], askers[4], askers[5]])
        self.assertEqual(len(waiters), 3)

    def test_who_comes_back_is_the_last(self) -> None:
        """Its first place is gone."""
        waiters, askers = self.waiters(ANY, ANY)
        waiters.leave(askers[0])
        waiters.join(askers[0], FRESH, 0, 1001.0)
        self.assertEqual([*waiters.waiting], [askers[1], askers[0]])

    def test_who_does_not_wait_can_leave(self) -> None:
        """Nothing happens, the second time neither."""
        waiters, askers = self.waiters(ANY)
        waiters.leave(askers[0])
        self.assertIsNone(waiters.leave(askers[0]))
        self.assertIsNone(waiters.leave(Asker()))

    def test_the_oldest_that_a_connection_is_fit_for_gets_it(self) -> None:
        """Others before it wait on; SAFE is for connections that are."""

        def turn(waiters: Waiters, most: int, safe: bool) -> Waiter | None:
            fit = waiters.first_fit(most, safe)
            return None if fit is None else fit.waiter

        waiters, askers = self.waiters(NEW, SAFE, FRESH, ANY, FRESH)
        self.assertIs(turn(waiters, FRESH, False), askers[2])
        self.assertIs(turn(waiters, FRESH, True), askers[1])
        self.assertIs(turn(waiters, ANY, False), askers[3])
        self.assertEqual((waiters.fit(ANY), waiters.fit(FRESH)), (1, 3))
        for index in (2, 3, 4):
            waiters.leave(askers[index])
        self.assertIsNone(turn(waiters, FRESH, False))

    def test_many_who_wait_cost_nobody_time(self) -> None:
        """Neither one who leaves, nor a connection that comes back and is fit for the last of them."""
        few, some = self.waiters(*[NEW] * 10, ANY)
        many, thousands = self.waiters(*[NEW] * 5000, ANY)
        for before, after in (
            (lambda: few.leave(some[5]), lambda: many.leave(thousands[2500])),
            (lambda: few.first_fit(FRESH, False), lambda: many.first_fit(FRESH, False)),
        ):
            self.assertEqual(lines_of(after), lines_of(before))
