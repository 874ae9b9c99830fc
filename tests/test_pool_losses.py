"""How many connections have ended under a request in the last hour."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.handed import learn, learnt
from reusedproxy.pool.losses import OTHERS, REASONS, Losses
from tests.fakes import PoolBench, RecordingExchange


class LossesTests(SynchronousTestCase):
    def test_an_hour_counts(self) -> None:
        losses = Losses()
        for minute in range(90):
            losses.note(minute * 60.0, "slow")
        self.assertEqual(losses.counts(90 * 60.0), {"slow": 60})
        self.assertEqual(losses.counts(160 * 60.0), {})

    def test_reasons_are_bounded(self) -> None:
        """Some quote a peer."""
        losses = Losses()
        for number in range(REASONS + 5):
            losses.note(0.0, f"x{number}")
        self.assertEqual((len(losses.counts(0.0)), losses.counts(0.0)[OTHERS]), (REASONS + 1, 5))


class PoolTests(SynchronousTestCase):
    """What a pool counts of them."""

    def ended(self, bench: PoolBench) -> dict[str, int]:
        return dict(bench.pool.counters.losses.counts(bench.clock.seconds()))

    def test_those_that_end_otherwise_are_not_counted(self) -> None:
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        bench.use(bench.borrow(), close=True)
        bench.pool.retire(bench.borrow(), "purged")
        self.assertEqual(self.ended(bench), {})
        bench.borrow().send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, 1.0)
        bench.pass_time(1.2)
        self.assertEqual(self.ended(bench), {"timeout server": 1})

    def test_another_process_goes_on_with_them(self) -> None:
        bench, other = PoolBench(), PoolBench()
        losses = bench.pool.counters.losses
        losses.note(bench.clock.seconds() - 3000, "timeout server")
        losses.note(bench.clock.seconds(), "client gone")
        learn(other.pool, json.loads(json.dumps(learnt(bench.pool))))
        self.assertEqual(self.ended(other), {"timeout server": 1, "client gone": 1})
        other.pass_time(1000, 10)
        self.assertEqual(self.ended(other), {"client gone": 1})
        for wrong in (None, 7, [7], [[1, 2, 3]], [["x", "y"]], [[-1, [["a"]]]]):
            learn(other.pool, {"losses": wrong})
        self.assertEqual(self.ended(other), {"client gone": 1})
