"""The watchdog: what it counts, what it tells while the loop stands,
and when it ends a process that should have ended."""

from __future__ import annotations

import signal
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.watchdog import AGAIN, BOUND, EVERY, LATE, WAIT, Watchdog


class WatchdogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGALRM, signal.getsignal(signal.SIGALRM))
        self.clock = Clock()
        self.told: list[str] = []
        self.over: list[tuple[str, float]] = []
        self.died: list[str] = []
        self.timers: list[float] = []
        self.watchdog = Watchdog(
            self.clock,
            self.told.append,
            lambda stack, seconds: self.over.append((stack, round(seconds, 3))),
            self.died.append,
            self.timers.append,
            self.clock.seconds,
        )
        self.clock.advance(100)
        self.watchdog.start()
        self.clock.advance(0)

    def stand(self, seconds: float) -> None:
        """Time passes and no call is made; the timer goes off as often as it is due."""
        until = self.clock.rightNow + seconds
        while self.timers[-1] and self.clock.rightNow + self.timers[-1] <= until:
            self.clock.rightNow += self.timers[-1]
            self.watchdog.alarm(signal.SIGALRM, sys._getframe())
            if self.died:
                return
        self.clock.rightNow = until

    def go_on(self) -> None:
        self.clock.advance(0)

    def test_a_loop_that_turns(self) -> None:
        """Each look puts the timer off."""
        self.clock.pump([EVERY] * 100)
        self.assertEqual((self.timers[1:], self.told, self.watchdog.seen.count), ([EVERY + BOUND] * 100, [], 0))

    def test_a_loop_that_stands(self) -> None:
        """Is told while it does, with its stack, again after a while, and counted when it goes on."""
        self.stand(EVERY + BOUND + AGAIN)
        self.assertEqual(len(self.told), 2)
        self.assertIn(f"stood still for {EVERY + BOUND:.1f} s, in tests/test_net_watchdog.py:", self.told[0])
        self.assertIn("stand < ", self.told[0])
        self.go_on()
        ((stack, seconds),) = self.over
        self.assertIn("test_net_watchdog.py", stack)
        self.assertEqual(seconds, BOUND + AGAIN)
        self.assertEqual((self.watchdog.seen.count, self.watchdog.seen.longest), (1, BOUND + AGAIN))
        self.assertEqual(self.died, [])

    def test_a_process_that_was_stopped(self) -> None:
        """Its timer came late, too: a moment is given to the loop, and all that is left is the late look."""
        self.clock.rightNow += 60
        self.watchdog.alarm(signal.SIGALRM, sys._getframe())
        self.assertEqual((self.told, self.timers[-1]), ([], WAIT))
        self.go_on()
        self.assertEqual([seconds for _, seconds in self.over], [60 - EVERY])
        self.assertGreater(60, LATE)

    def test_what_comes_back_from_where_no_signal_reached_it(self) -> None:
        """A look-up that took long: when it is followed by another one, the loop stands."""
        self.clock.rightNow += 60
        self.watchdog.alarm(signal.SIGALRM, sys._getframe())
        self.stand(WAIT)
        self.assertEqual(len(self.told), 1)

    def test_what_the_start_takes(self) -> None:
        """Is no standstill: the first look is the loop's first turn."""
        self.watchdog.stop()
        self.watchdog.start()
        self.clock.rightNow += 30
        self.go_on()
        self.assertEqual((self.over, self.watchdog.seen.count), ([], 0))

    def test_a_process_that_is_told_to_end_before_its_loop_turns(self) -> None:
        """However often, and however short its bound: the rest of the start is no standstill; but it may not last."""
        watchdog = self.watchdog = Watchdog(
            self.clock,
            self.told.append,
            lambda stack, seconds: self.over.append((stack, seconds)),
            self.died.append,
            self.timers.append,
            self.clock.seconds,
        )
        self.timers.clear()
        for _ in range(2):
            watchdog.ending(0.1)
        self.assertEqual((self.timers, self.died), ([], []))  # nobody handles SIGALRM yet, which would end the process
        self.clock.rightNow += 5
        watchdog.start()
        self.stand(1)
        watchdog.ending(0.1)
        self.assertEqual(self.died, [])
        self.stand(5)
        self.assertEqual(len(self.died), 1)
        self.assertRegex(self.died[0], r"does not turn: ends at once after [12]\.\d s")

    def test_a_stuck_process_that_should_end(self) -> None:
        """Ends after its bound, and says so."""
        self.stand(5)
        self.watchdog.ending(20)
        self.stand(100)
        self.assertEqual(len(self.died), 1)
        self.assertIn("does not turn", self.died[0])
        self.assertLess(self.clock.rightNow, 100 + 5 + 20 + 1)

    def test_one_that_should_end_soon_and_whose_loop_turns(self) -> None:
        """It ends as it was told, its clients' connections among the rest, however short the limit is."""
        for _ in range(20):
            self.clock.pump([EVERY / 5])
            self.watchdog.ending(EVERY / 10)
            self.stand(EVERY * 0.79)
            self.go_on()
        self.assertEqual((self.told, self.died), ([], []))

    def test_told_twice(self) -> None:
        """It ends at once when it stands, and not when it turns."""
        self.stand(5)
        self.watchdog.ending(20)
        self.assertEqual(self.died, [])
        self.watchdog.ending(20)
        self.assertEqual(len(self.died), 1)

    def test_one_that_drains(self) -> None:
        """Turns, so that it may take as long as its clients do, however often it is told."""
        for _ in range(3):
            self.watchdog.ending(20)
            self.clock.pump([EVERY] * 200)
        self.assertEqual(self.died, [])

    def test_after_the_stop_there_is_no_timer(self) -> None:
        """Neither the clock's nor the system's."""
        self.watchdog.stop()
        self.assertEqual((self.timers[-1], self.clock.getDelayedCalls()), (0, []))
