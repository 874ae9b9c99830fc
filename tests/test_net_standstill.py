"""Standstills: what counts as one, and what the pools make of it."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.standstill import LATE, Standstill, slept
from tests.fakes import Asker, PoolBench


class StandstillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.slept = 7.0
        self.told: list[tuple[float, str]] = []
        self.standstill = Standstill(
            self.clock, lambda seconds, why: self.told.append((seconds, why)), lambda: self.slept
        )
        self.standstill.start()

    def test_time_that_passes(self) -> None:
        """Is none, also when a look is a little late."""
        self.clock.pump([1.0] * 100)
        self.clock.advance(LATE - 1)
        self.assertEqual(self.told, [])

    def test_a_machine_that_slept(self) -> None:
        """The clock that the reactor has did not go on, another one did."""
        self.clock.advance(1)
        self.slept += 3600
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.told, [(3600.0, "the machine was suspended")])

    def test_a_process_that_was_stopped(self) -> None:
        """Its next look comes too late by far."""
        self.clock.advance(31)
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.told, [(30.0, "the process stood still")])

    def test_no_timer_is_left(self) -> None:
        """After the stop."""
        self.standstill.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_systems_clocks(self) -> None:
        """This machine has hardly slept since the line before."""
        self.assertLess(slept() - slept(), 0.1)


class RenewTests(SynchronousTestCase):
    def test_all_that_stood_idle_is_replaced(self) -> None:
        """Nobody is given one of them; each goes when another stands in its place, and what is in use goes on."""
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        busy = bench.borrow()
        bench.pass_time(5)
        bench.answer_all()
        old = set(bench.pool.idle)
        bench.pass_time(1)
        bench.pool.upkeep.renew()
        self.assertIsNone(bench.pool.acquire())
        self.assertEqual(set(bench.pool.idle), old)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (3, {"stood through a standstill": 3}))
        self.assertFalse(old & set(bench.pool.idle))
        bench.use(busy)
        self.assertIs(bench.pool.acquire(), busy)

    def test_private_ones_go_at_once(self) -> None:
        """Nothing stands in their place: their client authenticates anew."""
        bench = PoolBench()
        bench.dialer.answer = bench.dialer.accept
        asker = Asker()
        bench.pool.wait(asker)
        bench.pass_time(1)
        (connection,) = asker.connections
        connection.private = True
        bench.use(connection)
        self.assertEqual(bench.pool.private, {connection})
        bench.pool.upkeep.renew()
        self.assertEqual((bench.pool.private, bench.pool.closed), (set(), {"stood through a standstill": 1}))

    def test_without_a_floor(self) -> None:
        """They go at once."""
        bench = PoolBench()
        bench.dialer.answer = bench.dialer.accept
        asker = Asker()
        bench.pool.wait(asker)
        bench.pass_time(1)
        bench.use(asker.connections[0])
        bench.pass_time(1)
        bench.pool.upkeep.renew()
        self.assertEqual((bench.pool.idle, bench.pool.closed), ([], {"stood through a standstill": 1}))
