"""All servers together: a bound on handshakes for floors, shared fairly, and none for requests that wait."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.counters import DEMAND
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.dialing.governor import FLOOR_DIALS
from reusedproxy.pool.kinds import NEW
from tests.fakes import Asker, PoolBench
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

    def test_floors_in_the_clear_cost_no_handshake_its_turn(self) -> None:
        """Each kind has the whole rate: a hundred plain servers that come back leave those of TLS their own."""
        secure, plain = Site(2, 10, 10.0), Site(100, 10, 10.0, secure=False)
        together = secure.budget
        for dialer in plain.dialers:
            dialer.clock, dialer.deadlines, dialer.site = secure.clock, secure.deadlines, secure  # type: ignore[assignment]
        plain.clock, plain.deadlines, plain.budget = secure.clock, secure.deadlines, together
        plain.pools = plain.generation()
        plain.start()
        secure.start()
        self.assertLess(secure.until_warm(60), 2.5)
        self.assertFalse(plain.warm())
        together.rate = 1000.0  # as a reload does: for both
        self.assertLess(plain.until_warm(60), 3)

    def test_only_what_was_paid_is_given_back(self) -> None:
        """A request's dial beyond their share that is refused leaves the floors no more than they had."""
        bench = PoolBench(secure=True, min_conn=0)
        budget = bench.pool._governor._budget
        for _ in range(40):
            bench.pool.wait(Asker(), NEW)
        left = budget._tokens
        self.assertEqual((left, len(bench.dialer.open)), (10.0, 40))  # of 20 half was the requests'
        for dial in list(bench.dialer.open)[10:]:
            dial.fail()
        self.assertEqual(budget._tokens, left)
        bench.dialer.open[0].fail()
        self.assertEqual((budget._tokens, budget._share), (left + 1, 1.0))

    def test_a_plain_dial_for_a_request_has_nothing_to_give_back(self) -> None:
        """It was not counted."""
        bench = PoolBench(min_conn=1)
        before = bench.pool._governor._budget._tokens
        bench.pool.wait(Asker(), NEW)
        bench.dialer.open[-1].fail()
        self.assertEqual(bench.pool._governor._budget._tokens, before)

    def test_dials_for_requests_are_no_reason_to_wait_with_the_floor(self) -> None:
        """However many are under way to the same server, the floor has its own few."""
        bench = PoolBench(min_conn=8, secure=True)
        bench.answer_all()
        bench.pass_time(5)
        self.assertEqual(len(bench.pool.idle), 8)
        for _ in range(20):
            bench.pool.wait(Asker(), NEW)
        for connection in list(bench.pool.idle):
            connection.transport.peer_ends()  # type: ignore[attr-defined]
        causes = list(bench.pool.connecting.values())
        self.assertEqual((causes.count(DEMAND), len(causes)), (20, 20 + FLOOR_DIALS))

    def test_who_stops_leaves_the_line(self) -> None:
        """And no timer is left when nobody waits."""
        site = Site(20, 10, 10.0)
        site.start()
        self.assertTrue(site.budget.line)
        site.stop()
        self.assertEqual(site.budget.line, {})
        self.assertEqual(site.clock.getDelayedCalls(), [])
