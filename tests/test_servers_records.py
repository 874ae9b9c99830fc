"""What a pool counts: how waits ended, and for how long its floor did not stand."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import Asker, PoolBench


class WaitsTests(SynchronousTestCase):
    """Each that has not left is in one of three counts."""

    def test_each_kind(self) -> None:
        """A new connection, one that came back, and none."""
        bench = PoolBench()
        counters = bench.pool.counters
        new, queued, failed, leaver = Asker(), Asker(), Asker(), Asker()
        bench.pool.wait(new)
        bench.answer_all()
        bench.pool.wait(queued)
        bench.use(new.connections[0])
        bench.pool.wait(failed)
        bench.pool.wait(leaver)
        bench.pool.leave(leaver)
        self.assertEqual((counters.handshakes_on_request_path, counters.waits_queued, counters.waits_failed), (1, 1, 0))
        bench.pool.suspend("test")
        bench.pool.wait(failed)
        self.assertEqual((counters.handshakes_on_request_path, counters.waits_queued, counters.waits_failed), (1, 1, 2))

    def test_dials_for_requests(self) -> None:
        """Those of the floor are the rest."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        self.assertEqual((bench.pool.counters.dials, bench.pool.counters.dials_for_requests), (2, 0))
        askers = [Asker() for _ in range(3)]
        for asker in askers:
            bench.pool.wait(asker)
        self.assertEqual((bench.pool.counters.dials, bench.pool.counters.dials_for_requests), (5, 3))


class BelowFloorTests(SynchronousTestCase):
    """The seconds in which fewer connections stood than the floor asks for."""

    def test_a_start_and_an_end(self) -> None:
        """From the start to the last handshake, and from an end on until another stands in its place."""
        bench = PoolBench(min_conn=2)
        bench.pass_time(3)
        self.assertAlmostEqual(bench.pool.keeper.below_floor_seconds, 3)
        bench.answer_all()
        bench.pass_time(5)
        self.assertAlmostEqual(bench.pool.keeper.below_floor_seconds, 3)
        bench.dialer.transports[0].peer_ends()
        bench.pass_time(0.5)
        bench.answer_all()
        bench.pass_time(5)
        self.assertAlmostEqual(bench.pool.keeper.below_floor_seconds, 3.5)

    def test_in_use_is_not_missing(self) -> None:
        """A floor that works stands."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.borrow()
        bench.borrow()
        bench.pass_time(5)
        self.assertEqual(bench.pool.keeper.below_floor_seconds, 0)

    def test_nothing_is_missing_while_nothing_is_kept(self) -> None:
        """The server is down, say: that is told elsewhere."""
        bench = PoolBench(min_conn=2)
        bench.pass_time(1)
        bench.pool.suspend("test")
        bench.pass_time(5)
        self.assertAlmostEqual(bench.pool.keeper.below_floor_seconds, 1)
        bench.pool.resume()
        bench.pass_time(1)
        self.assertAlmostEqual(bench.pool.keeper.below_floor_seconds, 2)
