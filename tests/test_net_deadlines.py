"""Deadlines: told once, never early, at most a slot late; whatever owners do while they are told."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.deadlines import SLOTS, Deadlines, with_a_slot

SLOT = 1 / SLOTS


class Waiter:
    """An owner that notes when it was told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deadline = inf
        self.slot = 0.0
        self.told: list[float] = []
        self.then: Callable[[], object] = lambda: None

    def deadline_passed(self) -> None:
        self.told.append(self.clock.seconds())
        self.then()


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.deadlines = Deadlines(self.clock)

    def waiter(self, after: float | None = None) -> Waiter:
        waiter = Waiter(self.clock)
        if after is not None:
            self.deadlines.watch(waiter, 100 + after)
        return waiter

    def timers(self) -> int:
        return len(self.clock.getDelayedCalls())

    def test_told_once_and_not_early(self) -> None:
        """An owner hears of its deadline once, not before it and at most a slot after it; then it is not watched."""
        waiter = self.waiter(1)
        self.clock.advance(0.999)
        self.assertEqual(waiter.told, [])
        self.clock.advance(0.001 + SLOT)
        self.assertEqual(len(waiter.told), 1)
        self.assertEqual((self.deadlines.watching(), waiter.deadline, waiter.slot), (0, inf, 0))
        self.clock.advance(100)
        self.assertEqual(len(waiter.told), 1)
        self.assertEqual(self.timers(), 0)

    def test_moved_ahead_by_assignment(self) -> None:
        """A deadline moves ahead by assignment alone."""
        waiter = self.waiter(1)
        waiter.deadline = 105
        self.clock.advance(4.9)
        self.assertEqual(waiter.told, [])
        self.clock.advance(0.2)
        self.assertEqual(len(waiter.told), 1)

    def test_assigned_inf_is_never_told(self) -> None:
        """Assigning inf ends the wait; when its old slot comes up the owner is let go."""
        waiter = self.waiter(1)
        waiter.deadline = inf
        self.clock.advance(2)
        self.assertEqual((waiter.told, self.deadlines.watching(), self.timers()), ([], 0, 0))

    def test_moved_closer(self) -> None:
        """A deadline comes closer when it is watched again."""
        waiter = self.waiter(10)
        self.deadlines.watch(waiter, 101)
        self.clock.advance(1 + SLOT)
        self.assertEqual(len(waiter.told), 1)

    def test_one_timer_for_all(self) -> None:
        """However many owners wait, the clock holds one timer, for the earliest of them."""
        for after in (5, 3, 8, 1, 1.001, 30):
            self.waiter(after)
        self.assertEqual((self.deadlines.watching(), self.timers()), (6, 1))
        self.assertAlmostEqual(self.clock.getDelayedCalls()[0].getTime(), 101 + SLOT)

    def test_watch_until_inf_watches_nothing(self) -> None:
        """No deadline, no timer."""
        self.waiter(inf)
        self.assertEqual((self.deadlines.watching(), self.timers()), (0, 0))

    def test_a_deadline_that_has_passed_is_told_later(self) -> None:
        """Watching a deadline of now or the past tells in a later turn, never at once."""
        waiters = [self.waiter(0), self.waiter(-5)]
        self.assertEqual([waiter.told for waiter in waiters], [[], []])
        self.clock.advance(SLOT)
        self.assertEqual([len(waiter.told) for waiter in waiters], [1, 1])

    def test_cancelled(self) -> None:
        """A cancelled owner hears nothing; cancelling again, or one never watched, does no harm."""
        waiter = self.waiter(1)
        for each in (waiter, waiter, self.waiter()):
            self.deadlines.cancel(each)
        self.clock.advance(5)
        self.assertEqual((waiter.told, self.timers()), ([], 0))

    def test_cancelled_by_one_told_before(self) -> None:
        """Of two with the same deadline, the one told first may cancel the other."""
        one, other = self.waiter(1), self.waiter(1)
        one.then = lambda: self.deadlines.cancel(other)
        other.then = lambda: self.deadlines.cancel(one)
        self.clock.advance(5)
        self.assertEqual(len(one.told) + len(other.told), 1)

    def test_moved_by_one_told_before(self) -> None:
        """Of two with the same deadline, the one told first may give the other more time."""
        one, other = self.waiter(1), self.waiter(1)
        one.then = lambda: self.deadlines.watch(other, 103)
        other.then = lambda: self.deadlines.watch(one, 103)
        self.clock.advance(1 + SLOT)
        self.assertEqual(len(one.told) + len(other.told), 1)
        self.clock.advance(2 + SLOT)
        self.assertEqual(len(one.told) + len(other.told), 2)

    def test_watched_again_while_told(self) -> None:
        """An owner may watch anew while it is told: a repeated wait."""
        waiter = self.waiter(1)
        waiter.then = lambda: self.deadlines.watch(waiter, self.clock.seconds() + 1)
        for _ in range(300):
            self.clock.advance(SLOT)
        self.assertEqual(len(waiter.told), 4)
        self.deadlines.cancel(waiter)

    def test_watched_for_now_while_told_does_not_spin(self) -> None:
        """An owner that watches for the very moment it is told at gets its turn in the next slot."""
        waiter = self.waiter(1)
        waiter.then = lambda: self.deadlines.watch(waiter, self.clock.seconds())
        self.clock.advance(1 + SLOT)
        self.assertEqual(len(waiter.told), 1)
        self.deadlines.stop()

    def test_one_that_raises_does_not_stop_the_others(self) -> None:
        """A failure is logged, and everybody else is told, then and later."""
        bad, good, later = self.waiter(1), self.waiter(1), self.waiter(2)
        bad.then = lambda: 1 / 0
        self.clock.advance(1.5)
        self.assertEqual((len(bad.told), len(good.told)), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(later.told), 1)

    def test_stop_leaves_no_timer(self) -> None:
        """After stop nobody is told and no timer is left."""
        waiters = [self.waiter(1), self.waiter(2)]
        self.deadlines.stop()
        self.assertEqual((self.timers(), self.deadlines.watching()), (0, 0))
        self.clock.advance(5)
        self.assertEqual([waiter.told for waiter in waiters], [[], []])

    def test_stopped_by_one_that_is_told(self) -> None:
        """Stopping forgets those, too, whose turn had come at the same moment."""
        one, other = self.waiter(1), self.waiter(1)
        one.then = other.then = self.deadlines.stop
        self.waiter(1.5)
        self.clock.advance(5)
        self.assertEqual(len(one.told) + len(other.told), 1)
        self.assertEqual(self.timers(), 0)

    def test_works_again_after_stop(self) -> None:
        """Who was forgotten may be watched anew."""
        waiter = self.waiter(1)
        self.deadlines.stop()
        self.deadlines.watch(waiter, 102)
        self.clock.advance(3)
        self.assertEqual(len(waiter.told), 1)

    def test_short_waits_leave_nothing_behind(self) -> None:
        """An hour of owners that come with a far deadline and leave at once: the slots kept stay few."""
        for _ in range(3600 * 8):
            waiter = self.waiter()
            self.deadlines.watch(waiter, self.clock.seconds() + 3600)
            self.deadlines.cancel(waiter)
            self.clock.advance(1 / 8)
        self.assertLess(self.deadlines.slots(), 400)
        self.assertEqual(self.deadlines.watching(), 0)

    def test_a_far_deadline_is_looked_at_a_few_times_and_told_in_time(self) -> None:
        """Coarse slots cost a far deadline some looks more, and not its precision."""
        for after in (10, 3600, 24.8 * 86400):
            waiter, looks = self.waiter(), 0
            deadline = self.clock.seconds() + after
            self.deadlines.watch(waiter, deadline)
            while not waiter.told:
                (call,) = self.clock.getDelayedCalls()
                self.clock.advance(call.getTime() - self.clock.seconds())
                looks += 1
            self.assertLess(looks, 12)
            self.assertGreaterEqual(waiter.told[0], deadline)
            self.assertLess(waiter.told[0], deadline + SLOT + 1e-6)


OWNERS = 4
TIMES = st.floats(0, 3, allow_nan=False) | st.floats(0, 5000) | st.just(inf)
STEPS = st.one_of(
    st.tuples(st.just("watch"), st.integers(0, OWNERS - 1), TIMES),
    st.tuples(st.just("ahead"), st.integers(0, OWNERS - 1), st.floats(0, 3)),
    st.tuples(st.just("cancel"), st.integers(0, OWNERS - 1), st.just(0.0)),
    st.tuples(st.just("advance"), st.just(0), st.floats(0, 2)),
    st.tuples(st.just("advance"), st.just(0), st.floats(0, 0.05)),
    st.tuples(st.just("advance"), st.just(0), st.floats(0, 3000)),
)


class NaiveModelTests(SynchronousTestCase):
    @given(st.floats(0, 1e6), st.lists(STEPS, max_size=40))
    def test_like_looking_at_every_deadline_all_the_time(
        self, start: float, steps: list[tuple[str, int, float]]
    ) -> None:
        """Whatever is watched, moved and cancelled: told once each, never before its deadline, at most a slot after."""
        clock = Clock()
        clock.advance(start)
        deadlines = Deadlines(clock)
        owners = [Waiter(clock) for _ in range(OWNERS)]
        expected: list[float] = [inf] * OWNERS
        for verb, number, amount in steps:
            owner, now = owners[number], clock.seconds()
            if verb == "watch":
                deadlines.watch(owner, now + amount)
                expected[number] = now + amount
            elif verb == "ahead" and expected[number] != inf:
                owner.deadline = expected[number] = expected[number] + amount
            elif verb == "cancel":
                deadlines.cancel(owner)
                expected[number] = inf
            elif verb == "advance":
                clock.advance(amount)
                now = clock.seconds()
                for index, owner in enumerate(owners):
                    told, owner.told = owner.told, []
                    if told:
                        self.assertEqual(len(told), 1)
                        self.assertLessEqual(expected[index], now)
                        expected[index] = inf
                    elif expected[index] != inf:
                        # The margin is for the rounding of clocks that have run for long.
                        self.assertLess(now, expected[index] + SLOT + 1e-6)
        deadlines.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class TogetherTests(SynchronousTestCase):
    """What recurs for many alike wakes the process once for all that are due in a slot."""

    def test_a_wait_ends_with_a_slot_and_never_later_than_it_would(self) -> None:
        for now in (0.0, 1000.0, 1000.003, 1754.0107):
            for seconds in (1.0, 2.0, 2.007, 60.0):
                wait = with_a_slot(now, seconds)
                self.assertAlmostEqual((now + wait) * SLOTS, round((now + wait) * SLOTS), places=6)
                self.assertTrue(seconds - SLOT <= wait <= seconds, (now, seconds, wait))

    def test_a_short_wait_stays_as_it_is(self) -> None:
        self.assertEqual([with_a_slot(1000.003, seconds) for seconds in (0.0, 0.1, 0.999)], [0.0, 0.1, 0.999])
