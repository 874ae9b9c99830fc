"""All servers together: a bound on handshakes for floors, shared fairly, and none for requests that wait."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.servers.budget import Budget
from reusedproxy.servers.pool import HTTPConnectionPool, PoolLimits
from reusedproxy.wire.heads import Limits
from tests.fakes import Asker, FakeDialer


class Site:
    """Many servers behind one budget; handshakes take 5 ms and succeed."""

    def __init__(self, servers: int, floor: int, rate: float, **limits: float) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.budget = Budget(self.clock, rate)
        self.pools = []
        for number in range(servers):
            dialer = FakeDialer(self.clock)
            dialer.answer = dialer.accept
            pool = HTTPConnectionPool(
                f"Server be/s{number}",
                dialer,  # type: ignore[arg-type]
                PoolLimits(min_conn=floor, **limits),  # type: ignore[arg-type]
                self.clock,
                Random(number),
                lambda level, text: None,
                Limits(),
                self.budget,
            )
            self.pools.append(pool)

    @property
    def dials(self) -> int:
        return sum(pool.counters.dials for pool in self.pools)

    def warm(self) -> bool:
        return all(len(pool.idle) >= pool.limits.min_conn for pool in self.pools)

    def until_warm(self, most: float) -> tuple[float, list[int]]:
        """Seconds that it took, and the dials of each second."""
        began, rates = self.clock.seconds(), []
        while not self.warm() and self.clock.seconds() - began < most:
            before = self.dials
            self.clock.pump([0.02] * 50)
            rates.append(self.dials - before)
        return self.clock.seconds() - began, rates

    def restart(self) -> None:
        """Every server closes all it has, at once."""
        for pool in self.pools:
            for connection in list(pool.idle):
                connection.transport.peer_ends()  # type: ignore[attr-defined]


class BudgetTests(SynchronousTestCase):
    def test_a_start(self) -> None:
        """Fifty servers with a floor of ten at 100 a second: five seconds, at no more than that."""
        site = Site(50, 10, 100.0)
        for pool in site.pools:
            pool.resume()
        took, rates = site.until_warm(60)
        self.assertLess(took, 500 / 100 + 2)
        self.assertLessEqual(max(rates), 100 + 10)
        self.assertEqual(site.budget.line, {})

    def test_a_restart_of_all(self) -> None:
        """The same, and each server has some soon: no one waits for another's floor to be full."""
        site = Site(50, 10, 100.0)
        for pool in site.pools:
            pool.resume()
        site.until_warm(60)
        site.restart()
        self.assertFalse(site.warm())
        site.clock.pump([0.02] * 100)
        idle = [len(pool.idle) for pool in site.pools]
        self.assertGreaterEqual(min(idle), 2)
        self.assertLessEqual(max(idle), 8)
        _, rates = site.until_warm(60)
        self.assertLessEqual(max(rates), 100 + 10)

    def test_requests_are_not_held_up(self) -> None:
        """A dial for somebody who waits starts at once, whoever else waits; it counts, so floors wait for it."""
        site = Site(20, 10, 10.0)
        for pool in site.pools:
            pool.resume()
        asker = Asker()
        before = site.pools[19].counters.dials
        site.pools[19].wait(asker)
        self.assertEqual(site.pools[19].counters.dials, before + 1)

    def test_who_stops_leaves_the_line(self) -> None:
        """And no timer is left when nobody waits."""
        site = Site(20, 10, 10.0)
        for pool in site.pools:
            pool.resume()
        self.assertTrue(site.budget.line)
        for pool in site.pools:
            pool.close("stopping")
        self.assertEqual(site.budget.line, {})
        site.clock.advance(1)
        for pool in site.pools:
            pool.deadlines.stop()
        self.assertEqual(site.clock.getDelayedCalls(), [])
