"""All servers together: a bound on handshakes for floors, shared fairly, and none for requests that wait."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.servers.budget import Budget
from tests.fakes import Asker
from tests.site import Site


class BudgetTests(SynchronousTestCase):
    """At 100 a second, a tenth of a second's worth may come at once: no second sees more than 110."""

    def assert_bounded(self, site: Site, since: float) -> None:
        self.assertLessEqual(site.most_handshakes(since), 100 + 10)

    def test_a_start(self) -> None:
        """Fifty servers with a floor of ten: five seconds, at no more than that, and nobody waits any more."""
        site = Site(50, 10, 100.0)
        site.start()
        self.assertLess(site.until_warm(60), 500 / 100 + 0.5)
        self.assert_bounded(site, 0)
        self.assertEqual(site.budget.line, {})

    def test_a_restart_of_all(self) -> None:
        """The same, and each server has some soon: no one waits for another's floor to be full."""
        site = Site(50, 10, 100.0)
        site.start()
        site.until_warm(60)
        began = site.clock.seconds()
        site.restart()
        self.assertFalse(site.warm())
        site.pass_time(2)
        self.assertGreaterEqual(min(site.standing), 2)
        self.assertLessEqual(max(site.standing), 8)
        site.until_warm(60)
        self.assert_bounded(site, began)

    def test_a_restart_that_takes_a_while(self) -> None:
        """All refuse for 3 s: their trials are within the bound, too; each has its first connection soon after."""
        site = Site(50, 10, 100.0)
        site.start()
        site.until_warm(60)
        began = site.clock.seconds()
        site.restart(refused_for=3.0)
        site.pass_time(3 + 3.5)  # BACKOFF_LAST, and what the line takes
        self.assertGreaterEqual(min(site.standing), 1)
        self.assertLess(site.until_warm(60), 500 / 100 + 0.5)
        self.assert_bounded(site, began)

    def test_a_rotation(self) -> None:
        """New pools warm up at the same rate beside the old ones, which stand until they are warm."""
        site = Site(50, 10, 100.0)
        site.start()
        site.until_warm(60)
        began = site.clock.seconds()
        old = site.rotate()
        least = []

        def drain() -> None:
            site.drain_replaced(old)
            least.append(min(len(pool.idle) + count for pool, count in zip(old, site.standing, strict=True)))

        self.assertLess(site.until_warm(60, drain), 500 / 100 + 0.5)
        drain()
        self.assertGreaterEqual(min(least), 10)
        self.assertEqual([len(pool.idle) for pool in old], [0] * 50)
        self.assert_bounded(site, began)

    def test_who_refuses_starves_nobody(self) -> None:
        """Forty servers that refuse TCP leave the other ten their floors: no handshake, no cost."""
        site = Site(50, 10, 10.0)
        for dialer in site.dialers[10:]:
            dialer.down = True
        site.start()
        site.pass_time(100 / 10 * 1.6)  # each refused dial takes a place in the line, a 64th of a second
        self.assertEqual(site.standing, [10] * 10 + [0] * 40)

    def test_a_floor_in_use_has_its_turn_too(self) -> None:
        """Its server has traffic while all others come back: what it lends for long is made good meanwhile."""
        site = Site(101, 10, 50.0)
        site.start()
        site.until_warm(60)
        busy, others = site.pools[0], site.pools[1:]
        site.restart(only=others)
        for _ in range(10):
            self.assertIsNotNone(busy.acquire())
        site.pass_time(4 * 101 / 50)
        self.assertTrue(site.budget.line)
        self.assertGreaterEqual(len(busy.idle), 3)

    def test_requests_are_not_held_up(self) -> None:
        """A dial for somebody who waits starts at once, whoever else waits; it counts, so floors wait for it."""
        site = Site(20, 10, 10.0)
        site.start()
        asker = Asker()
        before = site.pools[19].counters.dials
        site.pools[19].wait(asker)
        self.assertEqual(site.pools[19].counters.dials, before + 1)

    def test_half_of_the_rate_is_the_floors(self) -> None:
        """However many handshakes begin for requests, all the time."""
        clock = Clock()
        budget = Budget(clock, 100.0)
        asked: list[float] = []

        def dial() -> None:
            asked.append(clock.seconds())
            budget.spend()
            if budget.wait(self, dial) == 0:
                dial()

        for _ in range(1000):
            budget.spend_on_request()
        if budget.wait(self, dial) == 0:
            dial()
        for _ in range(200):
            for _ in range(20):
                budget.spend_on_request()
            clock.advance(0.02)
        self.assertLess(asked[0], 0.3)
        self.assertTrue(4 * 50 - 10 <= len(asked) <= 4 * 100 + 10, len(asked))

    def test_who_stops_leaves_the_line(self) -> None:
        """And no timer is left when nobody waits."""
        site = Site(20, 10, 10.0)
        site.start()
        self.assertTrue(site.budget.line)
        site.stop()
        self.assertEqual(site.budget.line, {})
        self.assertEqual(site.clock.getDelayedCalls(), [])
