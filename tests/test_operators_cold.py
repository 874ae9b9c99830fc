"""What is said of the last request that found no connection: what it found, and what would have met it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.operators.view.cold import cold_sentences
from reusedproxy.operators.view.values import ColdView, DemandView, PoolView
from reusedproxy.pool.cold import Cold
from reusedproxy.pool.counters import FRESH, LEFT, QUEUED, REFUSED, TIMEOUT
from reusedproxy.pool.kinds import ANY, NEW, SAFE
from reusedproxy.pool.kinds import FRESH as FRESH_ONE
from reusedproxy.pool.lone import LoneDial
from tests.fakes import Asker, PoolBench, RecordingExchange


def demand(most: int | None = None) -> DemandView:
    return DemandView(10, 2, 0.9, 7, most, None, 0.0, 0.0)


def pool(floor: int = 4, most: int | None = None, **cold: Any) -> PoolView:
    seen: dict[str, Any] = {
        "ago": 12.0, "kind": ANY, "depth": 0, "floor": 4, "filling": False, "idle": 0, "in_use": 4, "connecting": 1,
        "named": False, "full": False, "trouble": "", "lone": False, "result": FRESH, "took": 0.0051,
    }  # fmt: skip
    fields: dict[str, Any] = dict.fromkeys(PoolView._fields)
    return PoolView(**{**fields, "floor": floor, "demand": demand(most), "cold": ColdView(**{**seen, **cold})})


class SentenceTests(SynchronousTestCase):
    def test_what_it_found_and_what_became_of_it(self) -> None:
        first, _ = cold_sentences(pool(depth=5))
        self.assertEqual(
            first,
            "The last request that found no connection came 12 s ago, with 0 idle, 4 in use, 1 connecting and a floor"
            " of 4; it got a new connection after 5.1 ms.",
        )
        for result, words in (("", "waits for one still"), (TIMEOUT, "gave up after"), (REFUSED, "was refused after")):
            self.assertIn(words, next(iter(cold_sentences(pool(result=result, ago=300.0)))))

    def test_what_would_have_met_it(self) -> None:
        for words, said in (
            (pool(depth=5), "A floor of 5 would have met it: say 'pool-min-conn 5', or 'auto'."),
            (pool(5, 9, depth=5), "'pool-min-conn auto' has learnt that, and is 5 now."),
            (pool(5, 9, depth=12), "A floor of 12 would have met it; 'pool-min-conn auto' rises to 9 at most here."),
            (pool(depth=2, filling=True), "but was being filled: at a start 'pool-warm-start' waits"),
            (pool(depth=2), "but its connections were being replaced"),
            (pool(depth=1, named=True), "a connection of a name for which none is kept"),
            (pool(kind=NEW), "'http-reuse' says so"),
            (pool(kind=FRESH_ONE, idle=2, depth=9), "'idle-ping' keeps them so"),
            (pool(kind=SAFE, idle=2, depth=9), "as 'http-reuse aggressive' demands"),
            (pool(full=True, depth=9), "a larger 'maxconn' meets it"),
            (pool(trouble="TCP connect failed: x", depth=9), "had refused connections then (TCP connect failed: x)"),
            (pool(lone=True), "opened for it alone"),
            (pool(after="timeout server", depth=1), "under the request before it ('timeout server'): no floor cures"),
            (pool(after="client gone", depth=1), "under the request before it (client gone): no floor cures that"),
        ):
            self.assertIn(said, [*cold_sentences(words)][1])

    def test_no_floor_is_advised_beside_an_option_that_ends_each_connection(self) -> None:
        for seen in (pool(depth=224), pool(depth=2), pool(5, 9, depth=12)):
            _, remedy = cold_sentences(seen, "option http-server-close")
            self.assertNotIn("would have met it", remedy)
            self.assertIn("take that option out first", remedy)

    def test_without_one_nothing_is_said(self) -> None:
        self.assertEqual([*cold_sentences(pool()._replace(cold=None))], [])


class PoolTests(SynchronousTestCase):
    """What a pool keeps of it."""

    def cold(self, bench: PoolBench) -> Cold:
        cold = bench.pool.counters.cold
        assert cold is not None
        return cold

    def test_a_warm_request_is_none(self) -> None:
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        bench.pool.release(bench.borrow())
        self.assertIsNone(bench.pool.counters.cold)

    def test_a_request_beyond_the_floor(self) -> None:
        """Its depth is the floor that would have met it, and its end is noted."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.pass_time(1)
        taken = [bench.borrow(), bench.borrow()]
        bench.pool.wait(Asker())
        cold = self.cold(bench)
        self.assertEqual((cold.depth, cold.floor, cold.idle, cold.in_use, cold.filling), (3, 2, 0, 2, False))
        self.assertEqual(cold.result, "")
        bench.clock.advance(0.01)
        bench.pool.release(taken[0])
        self.assertEqual(cold.result, QUEUED)
        self.assertAlmostEqual(cold.took, 0.01)

    def test_how_waits_end(self) -> None:
        bench = PoolBench()
        bench.pool.wait(Asker())
        self.assertEqual(self.cold(bench).depth, 1)
        bench.answer_all()
        self.assertEqual(self.cold(bench).result, FRESH)
        leaver = Asker()
        for timed_out, result in ((True, TIMEOUT), (False, LEFT)):
            bench.clock.advance(1)
            bench.pool.wait(leaver)
            bench.pool.leave(leaver, timed_out)
            self.assertEqual(self.cold(bench).result, result)

    def test_a_refused_one_says_so(self) -> None:
        """And the one after it that the server had refused connections before."""
        bench = PoolBench()
        bench.pool.wait(Asker())
        while bench.dialer.open:
            bench.dialer.open[0].fail()
        self.assertEqual((self.cold(bench).result, self.cold(bench).trouble), (REFUSED, ""))
        bench.pass_time(1.1)
        bench.pool.wait(Asker())
        self.assertEqual(self.cold(bench).trouble, "TCP connect failed: Connection refused")
        bench.pool.close("over")

    def test_of_several_within_a_second_the_deepest_is_kept(self) -> None:
        """It tells which floor all of them needed."""
        bench = PoolBench()
        for _ in range(3):
            bench.pool.wait(Asker())
        self.assertEqual(self.cold(bench).depth, 3)
        bench.answer_all()
        bench.pass_time(0.5)
        bench.pool.wait(Asker())
        self.assertEqual(self.cold(bench).depth, 3)
        bench.pass_time(0.6)
        bench.pool.wait(Asker())
        self.assertEqual((self.cold(bench).depth, self.cold(bench).in_use), (2, 3))

    def test_one_behind_a_request_that_took_its_connection_along(self) -> None:
        """And no longer than a connection would have stayed that came back."""
        bench = PoolBench()
        for wait, after in ((0.1, "timeout server"), (6, "")):
            bench.pool.wait(asker := Asker())
            bench.answer_all()
            connection = asker.connections.pop()
            connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, 1.0)
            bench.pass_time(1.2)
            self.assertNotIn(connection, bench.pool.in_use)
            bench.pass_time(wait)
            bench.pool.wait(Asker())
            self.assertEqual(self.cold(bench).after, after)
            bench.answer_all()
            for each in [*bench.pool.in_use]:
                bench.pool.retire(each, "purged")
            bench.pass_time(1.5)

    def test_one_that_finds_another_at_work_is_not_of_that_kind(self) -> None:
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        taken = [bench.borrow(), bench.borrow()]
        taken[0].send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, 1.0)
        bench.pass_time(1.2)
        bench.pool.wait(Asker())
        self.assertEqual(self.cold(bench).after, "")

    def test_a_floor_that_is_being_filled(self) -> None:
        bench = PoolBench(min_conn=4)
        bench.pool.wait(Asker())
        self.assertTrue(self.cold(bench).filling)

    def test_a_connection_for_one_client_alone(self) -> None:
        bench = PoolBench(min_conn=1)
        asker = Asker()
        bench.answer_all()
        LoneDial(bench.pool, asker)
        bench.clock.advance(0.02)
        bench.answer_all()
        cold = self.cold(bench)
        self.assertEqual((cold.lone, cold.result), (True, FRESH))
        self.assertAlmostEqual(cold.took, 0.02)

    def test_it_outlives_a_reload(self) -> None:
        """Another pool counts on where this one has."""
        bench, other = PoolBench(), PoolBench()
        bench.pool.wait(Asker())
        other.pool.succeed(bench.pool)
        self.assertIs(other.pool.counters.cold, self.cold(bench))
        bench.pool.close("over")

    def test_nobody_is_kept_alive_by_it(self) -> None:
        """It holds numbers and words only, no client."""
        bench = PoolBench()
        bench.pool.wait(Asker())
        kinds = {type(getattr(self.cold(bench), each.name)) for each in type(self.cold(bench)).__attrs_attrs__}
        self.assertLessEqual(kinds, {int, float, str, bool})
