"""A floor that follows demand (`pool-min-conn auto`), and the depths by which it does."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.floors import bursts, on_and_off, people, run_of
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.dialing.governor import FLOOR_DIALS
from reusedproxy.pool.kinds import NEW
from reusedproxy.pool.learning.depth import BUCKET, BUCKETS, Depths
from reusedproxy.pool.learning.floor import CONFIRMED_AFTER, FLOOR_MAX, STEP, STEP_EVERY, TRY_EVERY, FollowingFloor
from reusedproxy.pool.simulation.run import HOUR
from tests.fakes import Asker, PoolBench
from tests.test_pool_named import Bench as NamedBench
from tests.test_pool_raw import Bench as RawBench

MOMENT, KEPT = 0.1, 5.0


class Stand:
    """Connections of which requests take some and give them back, and the depths of these requests."""

    def __init__(self, idle: int, kept: float = KEPT) -> None:
        self.now = 1000.0
        self.depths = Depths(self.now, MOMENT, kept)
        self.idle, self.used, self.waiting = idle, 0, 0

    def take(self, requests: int = 1) -> None:
        for _ in range(requests):
            if not self.idle:
                self.waiting += 1
                self.depths.waits(self.now, 0, self.used, self.waiting)
                continue
            self.idle -= 1
            if self.now >= self.depths.until:
                self.depths.turn(self.now, self.idle + 1, self.used)
            self.depths.counts[max(0, self.depths.high - self.idle)] += 1
            self.used += 1

    def give_back(self, requests: int = 1) -> None:
        self.used -= requests
        self.idle += requests
        self.depths.here = max(self.depths.here, self.idle)

    @property
    def counted(self) -> dict[int, int]:
        return {depth: count for depth, count in enumerate(self.depths.counts) if count}


class DepthTests(SynchronousTestCase):
    """How deep requests reach into what stood idle."""

    def test_one_after_another_reaches_one_deep(self) -> None:
        """However many there are."""
        stand = Stand(5)
        for _ in range(100):
            stand.take()
            stand.give_back()
            stand.now += 0.01
        self.assertEqual(stand.counted, {1: 100})

    def test_at_once_reach_one_deeper_each(self) -> None:
        """Those that wait among them."""
        stand = Stand(3)
        stand.take(5)
        self.assertEqual(stand.counted, {1: 1, 2: 1, 3: 1, 4: 1, 5: 1})

    def test_what_is_in_use_for_long_is_no_depth(self) -> None:
        """A floor stands on top of that."""
        stand = Stand(9)
        for _ in range(5):
            stand.take()
            stand.now += 10
        self.assertEqual(stand.counted, {1: 5})

    def test_what_was_in_use_together_throughout_a_moment_is_kept_for_a_while(self) -> None:
        """So requests that reach no deeper than that need no floor; later they do."""
        stand = Stand(8)
        stand.take(6)
        stand.now += 1
        stand.take()  # in the moment before, 6 were in use all the time
        stand.give_back(7)
        stand.now += 0.01
        before = stand.counted
        stand.take(4)
        self.assertEqual(stand.counted, {**before, 0: 4})
        stand.give_back(4)
        stand.now += 2 * KEPT
        stand.take(4)
        self.assertEqual(stand.counted[4], before[4] + 1)

    def test_what_does_not_come_back_is_not_kept(self) -> None:
        """Connections of mode tcp are used once."""
        stand = Stand(8, kept=0.0)
        stand.take(6)
        stand.used, stand.idle = 6, 8  # others were opened
        stand.now += 1
        stand.take(6)
        self.assertEqual(stand.counted[6], 2)

    def test_what_the_server_closes_is_nobodys_depth(self) -> None:
        """Nor what a purge ends."""
        stand = Stand(8)
        stand.take()
        stand.idle -= 4
        for _ in range(4):
            stand.depths.withdrawn()
        stand.take()
        self.assertEqual(stand.counted, {1: 1, 2: 1})

    def test_new_ones_handed_on_are_depth_too(self) -> None:
        """They were opened in the midst of a burst, and used up by it."""
        stand = Stand(0)
        stand.take(3)
        for _ in range(3):
            stand.depths.handed_on()
            stand.used += 1
            stand.waiting -= 1
        stand.take(2)
        self.assertEqual(stand.depths.deepest, 5)

    def test_an_hour_counts_and_no_more(self) -> None:
        """Up to five minutes more."""
        stand = Stand(7)
        stand.take(7)
        stand.give_back(7)
        stand.now += HOUR
        stand.take()
        stand.give_back()
        stand.depths.settle(stand.now)
        self.assertEqual((stand.depths.deepest, stand.depths.requests), (7, 8))
        stand.now += BUCKET
        stand.depths.settle(stand.now)
        self.assertEqual((stand.depths.deepest, stand.depths.requests), (1, 1))

    def test_an_age_without_requests_is_forgotten_at_once(self) -> None:
        """Nothing is left, and nothing takes longer for it."""
        stand = Stand(7)
        stand.take(7)
        stand.now += 1e6
        stand.depths.settle(stand.now)
        self.assertEqual((stand.depths.deepest, stand.depths.requests), (0, 0))
        self.assertLessEqual(len(stand.depths._finished), BUCKETS)

    def test_the_floor_for_a_share(self) -> None:
        """The smallest that meets it; none without requests."""
        depths = Depths(0.0, MOMENT, KEPT)
        self.assertEqual((depths.floor_for(0.999), depths.met_by(3)), (None, None))
        depths.counts = [0, 9000, 990, 9, 1]
        self.assertEqual(
            [depths.floor_for(share) for share in (0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)], [1, 1, 2, 2, 3, 4]
        )
        self.assertEqual(depths.met_by(2), 0.999)

    def test_another_pool_counts_on(self) -> None:
        """Both may go on, without a part in each other's counts."""
        stand, other = Stand(7), Depths(0.0, MOMENT, KEPT)
        stand.take(7)
        other.succeed(stand.depths)
        stand.give_back(7)
        stand.now += 1
        stand.take()
        self.assertEqual((other.deepest, other.requests), (7, 7))

    @given(st.lists(st.tuples(st.integers(-9, 9), st.sampled_from([0.0, 0.01, 0.2, 3.0, 400.0]))))
    def test_each_request_is_counted_once(self, steps: list[tuple[int, float]]) -> None:
        """Whatever comes and goes, and when; none reaches deeper than all together."""
        stand, requests = Stand(6), 0
        for many, passes in steps:
            stand.now += passes
            if many > 0:
                stand.take(many)
                requests += many
            else:
                stand.give_back(min(-many, stand.used))
            self.assertLessEqual(stand.depths.deepest, 6 + stand.waiting)
        if sum(passes for _, passes in steps) < HOUR:
            self.assertEqual(stand.depths.requests, requests)


class FollowingFloorTests(SynchronousTestCase):
    """How high it is, by what was seen."""

    def test_rises_at_once_and_never_beyond_the_most(self) -> None:
        """With a little room."""
        floor = FollowingFloor(2, 30)
        for depth, height in ((1, 2), (7, 7), (16, 17), (5, 17), (200, 30)):
            floor.deeper(depth)
            self.assertEqual(floor.floor, height)

    def test_falls_slowly_and_never_below_the_least(self) -> None:
        """A step each ten minutes, one after another."""
        floor = FollowingFloor(3, 100)
        floor.look(0.0, 80, 85)
        heights = [floor.floor]
        for second in range(1, 10 * 3600):
            floor.look(float(second), 0, 85)
            if floor.floor != heights[-1]:
                heights.append(floor.floor)
                self.assertEqual(second % STEP_EVERY, 0)
        self.assertEqual((heights[0], heights[-1]), (85, 3))
        for one, next_one in pairwise(heights):
            self.assertLessEqual(one - next_one, max(1, one * STEP))

    def test_what_stands_while_others_are_refused_is_the_servers_limit(self) -> None:
        """The floor goes down to it, and later one more is tried."""
        floor = FollowingFloor(1, 100)
        floor.look(0.0, 30, 12)
        floor.refused(1.0, 12)
        floor.look(1.0, 30, 12)
        self.assertEqual(floor.floor, 31)
        floor.look(1.0 + CONFIRMED_AFTER, 30, 12)
        self.assertEqual((floor.ceiling, floor.floor), (12, 12))
        floor.look(1.0 + CONFIRMED_AFTER + TRY_EVERY, 30, 12)
        self.assertEqual((floor.ceiling, floor.floor), (13, 13))

    def test_a_server_that_stops_shows_no_limit(self) -> None:
        """It closes what stands."""
        floor = FollowingFloor(1, 100)
        floor.look(0.0, 30, 12)
        floor.refused(1.0, 12)
        floor.look(1.0 + CONFIRMED_AFTER, 30, 4)
        self.assertEqual(floor.floor, 31)

    def test_nor_does_one_that_begins_anew_within_a_second(self) -> None:
        """As many stand again two seconds after it has refused one more; but they are others."""
        for refused_again in (False, True):
            floor = FollowingFloor(1, 100)
            floor.look(0.0, 30, 12)
            floor.refused(1.0, 12)
            if refused_again:
                floor.refused(1.2, 0)
            for standing in range(1, 13):
                floor.opened(standing)
            floor.look(1.0 + CONFIRMED_AFTER, 30, 12)
            self.assertEqual((floor.ceiling, floor.floor), (float("inf"), 31))

    def test_a_few_that_come_and_go_do_not_hide_a_limit(self) -> None:
        """Servers close some connections after an answer, and accept others in their place."""
        floor = FollowingFloor(1, 100)
        floor.look(0.0, 30, 12)
        floor.refused(1.0, 12)
        for standing in (12, 11, 12, 7, 8, 9, 10, 11, 12):
            floor.opened(standing)
        floor.look(1.0 + CONFIRMED_AFTER, 30, 12)
        self.assertEqual((floor.ceiling, floor.floor), (12, 12))

    def test_requests_show_that_it_bears_more(self) -> None:
        """And a server that has closed all has begun anew."""
        floor = FollowingFloor(1, 100)
        for again in range(2):
            floor.refused(1.0, 12)
            floor.look(1.0 + CONFIRMED_AFTER, 30, 12)
            self.assertEqual(floor.ceiling, 12)
            if again:
                floor.look(9.0, 30, 0)
                self.assertEqual((floor.ceiling, floor.floor), (float("inf"), 31))
            else:
                floor.opened(15)
                self.assertEqual(floor.ceiling, 15)
                floor.ceiling = 12


def burst(bench: PoolBench, requests: int) -> list[ServerConnection]:
    """So many requests at once, all of which get a connection, and give it back."""
    pool = bench.pool
    askers = [Asker() for _ in range(requests)]
    taken = []
    for asker in askers:
        connection = pool.acquire()
        if connection is None:
            pool.wait(asker)
        else:
            taken.append(connection)
    bench.answer_all()
    taken += [connection for asker in askers for connection in asker.connections]
    for connection in taken:
        bench.use(connection)
    return taken


def auto(**limits: Any) -> PoolBench:
    return PoolBench(**{"min_conn": 2, "adapts": True, **limits})


class FollowingPoolTests(SynchronousTestCase):
    """A pool whose floor follows demand."""

    def test_before_the_first_demand_the_least_stands(self) -> None:
        """And nothing more."""
        bench = auto()
        bench.answer_all()
        bench.pass_time(60, step=0.5)
        self.assertEqual((bench.pool.floor, len(bench.pool.idle), len(bench.dialer.dials)), (2, 2, 2))

    def test_after_a_burst_as_many_stand_for_an_hour(self) -> None:
        """Whatever the purges of `pool-purge-delay` would end; the next burst finds all it needs."""
        bench = auto()
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        burst(bench, 12)
        self.assertGreaterEqual(bench.pool.floor, 12)
        cold = bench.pool.counters.handshakes_on_request_path
        bench.pass_time(HOUR - 60, step=1.0)
        self.assertGreaterEqual(len(bench.pool.idle), 12)
        burst(bench, 12)
        self.assertEqual(bench.pool.counters.handshakes_on_request_path, cold)

    def test_after_long_quiet_the_least_stands_again(self) -> None:
        """It goes down step by step: at no time more than a part of it ends."""
        bench = auto()
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        burst(bench, 20)
        standing = []
        for _ in range(5 * 60):
            bench.pass_time(60, step=5.0)
            standing.append(len(bench.pool.idle))
        self.assertGreaterEqual(standing[50], 20)
        self.assertEqual((standing[-1], bench.pool.floor), (2, 2))
        for one, next_one in pairwise(standing[50:]):
            self.assertLessEqual(one - next_one, 3)

    def test_it_is_made_good_at_the_floors_pace(self) -> None:
        """Not all at once, however far it has risen."""
        bench = auto()
        bench.answer_all()
        taken = [bench.borrow(), bench.borrow()]
        askers = [Asker() for _ in range(30)]
        for asker in askers:
            bench.pool.wait(asker)
        for asker in askers:
            bench.pool.leave(asker)  # the clients went away
        for connection in taken:
            bench.use(connection)
        while bench.dialer.open:
            bench.dialer.open[0].succeed()
        bench.pool.holdings.retire(bench.pool.idle[0], "test")
        for _ in range(100):
            bench.pass_time(0.02)
            waiting_for_it = sum(cause != "demand" for cause in bench.pool.connecting.values())
            self.assertLessEqual(waiting_for_it, FLOOR_DIALS)
            bench.answer_all()

    def test_never_beyond_the_most(self) -> None:
        """MAX of its line, `pool-max-conn`, or a number of ours."""
        for words, most in (
            ({"most_floor": 7}, 7),
            ({"max_conn": 5}, 5),
            ({"most": 9}, 9),
            ({"most_floor": 7, "max_conn": 5}, 5),
            ({}, FLOOR_MAX),
        ):
            bench = auto(**words)
            bench.dialer.answer = bench.dialer.accept
            bench.pass_time(1)
            pool = bench.pool
            asked = [Asker() for _ in range(3 * FLOOR_MAX)]
            for asker in asked:
                pool.wait(asker)
            self.assertEqual(pool.floor, most, words)

    def test_nor_beyond_the_places_that_requests_have(self) -> None:
        """`maxconn` of its line, which an operator may change."""
        bench = auto()
        for places, most in ((7, 7), (200, 200), (0, FLOOR_MAX)):
            bench.pool.has_places(places)
            bench.pool.upkeep.following.deeper(1000)  # type: ignore[union-attr]
            self.assertEqual(bench.pool.upkeep.following.floor, most)  # type: ignore[union-attr]
            bench.pool.upkeep.following.floor = 2  # type: ignore[union-attr]

    def test_waiting_for_a_server_that_refuses_is_no_demand(self) -> None:
        """It piles up, whatever comes in."""
        bench = auto()
        bench.answer_all()
        for connection in [*bench.pool.idle]:
            connection.transport.peer_ends()  # type: ignore[attr-defined]
        bench.dialer.answer = bench.dialer.refuse
        for _ in range(200):
            bench.pool.wait(Asker())
            bench.pass_time(0.02)
        self.assertLessEqual(bench.pool.floor, 4)

    def test_no_more_are_opened_for_it_than_the_server_bears(self) -> None:
        """It refuses others while twelve stand: after a while none is tried for the floor, and for a request one is."""
        bench = auto()
        dialer, pool = bench.dialer, bench.pool

        def bears_twelve(dial: Any) -> None:
            if len(pool.idle) + len(pool.in_use) < 12:
                dialer.accept(dial)
            else:
                dialer.refuse(dial)

        dialer.answer = bears_twelve
        bench.pass_time(1)
        pool.upkeep.following.deeper(30)  # type: ignore[union-attr]
        bench.pass_time(30)
        self.assertEqual((pool.floor, len(pool.idle)), (12, 12))
        dialed = len(dialer.dials)
        bench.pass_time(TRY_EVERY / 2, step=0.25)
        self.assertEqual(len(dialer.dials), dialed)
        asker = Asker()
        pool.wait(asker, NEW)
        bench.pass_time(0.1)
        self.assertGreater(len(dialer.dials), dialed)

    def test_a_pool_that_is_drained_keeps_nothing(self) -> None:
        """Its server is gone from the configuration."""
        bench = auto()
        bench.answer_all()
        burst(bench, 9)
        bench.pool.drain("gone")
        bench.pass_time(5)
        self.assertEqual((bench.pool.floor, len(bench.pool.idle)), (0, 0))

    def test_after_the_server_was_down_it_is_where_it_was(self) -> None:
        """Demand has not changed."""
        bench = auto()
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        burst(bench, 12)
        bench.pool.suspend("server DOWN")
        bench.pass_time(60, step=0.5)
        bench.pool.resume()
        bench.pass_time(2)
        self.assertGreaterEqual(len(bench.pool.idle), 12)

    def test_another_pool_of_the_server_begins_with_it(self) -> None:
        """At a reload that changes its certificates, say; also after a fixed floor, whose requests were counted."""
        for before in (auto(), PoolBench(min_conn=2)):
            before.answer_all()
            burst(before, 12)
            after = auto(resume=False)
            after.pool.expect_demand_of(before.pool)
            after.pool.resume()
            after.answer_all()
            after.pass_time(2)
            after.answer_all()
            self.assertGreaterEqual(len(after.pool.idle), 12)

    def test_it_does_not_grow_from_one_pool_to_the_next(self) -> None:
        """However often a certificate is renewed."""
        before = auto()
        before.dialer.answer = before.dialer.accept
        before.pass_time(1)
        burst(before, 32)
        for _ in range(9):
            after = auto(resume=False)
            after.pool.expect_demand_of(before.pool)
            self.assertEqual(after.pool.floor, 34)
            before = after

    def test_a_fixed_floor_stays_where_it_is(self) -> None:
        """It counts all the same, for who asks how high it should be."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        burst(bench, 12)
        self.assertEqual((bench.pool.floor, bench.pool.depths.deepest), (2, 12))

    def test_a_fixed_floor_that_is_too_low_is_told_once(self) -> None:
        """With the one that would have done, when a thousand requests have been counted."""
        bench = PoolBench(min_conn=2)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        for _ in range(130):
            burst(bench, 10)
            bench.pass_time(20, step=1.0)
        (text,) = [text for level, text in bench.announced if level == "notice" and "floor" in text]
        self.assertIn("a floor of 10 would have met 99.9% of the last hour's 1,", text)
        self.assertIn("requests without a wait, and pool-min-conn 2 is sure to meet 20.0%: say 10, or 'auto'", text)

    def test_a_floor_that_does_gets_no_advice(self) -> None:
        """Nor one that follows demand."""
        for bench in (PoolBench(min_conn=10), PoolBench(), auto()):
            bench.dialer.answer = bench.dialer.accept
            bench.pass_time(1)
            for _ in range(130):
                burst(bench, 10)
                bench.pass_time(20, step=1.0)
            self.assertEqual(bench.announced, [])

    def test_in_mode_tcp_what_is_lent_at_once_counts(self) -> None:
        """However long it is lent: others stand in its place."""
        bench = RawBench(PoolLimits(min_conn=3, adapts=True))
        askers = [Asker() for _ in range(9)]
        for _ in range(3):
            bench.connect()
        for asker in askers:
            connection = bench.pool.acquire()
            if connection is not None:
                asker.connections.append(connection)
            else:
                bench.pool.wait(asker)
        self.assertEqual(bench.pool.floor, 9)
        for _ in range(200):
            bench.clock.advance(0.02)
            while bench.dialer.open:
                bench.connect()
        self.assertEqual((len(bench.pool.idle), len(bench.pool.in_use)), (9, 9))
        for _ in range(9):  # one a second: each has its successor when the next comes
            self.assertIsNotNone(bench.pool.acquire())
            bench.clock.advance(1)
            while bench.dialer.open:
                bench.connect()
        self.assertEqual(bench.pool.floor, 9)

    def test_only_requests_of_its_own_name_raise_it(self) -> None:
        """Other names have no floor."""
        bench = NamedBench(b"own", min_conn=2, adapts=True)
        bench.pass_time(1)
        for _ in range(9):
            bench.named(b"other").wait(Asker())
        self.assertEqual((bench.pool.floor, bench.named(b"other").floor), (2, 0))
        for _ in range(9):
            bench.named(b"own").wait(Asker())
        self.assertGreaterEqual(bench.pool.floor, 9)


class AdvisedFloorTests(SynchronousTestCase):
    """The floor that is said to have been enough, given to the same traffic."""

    def test_it_meets_what_it_is_said_to_meet(self) -> None:
        """In traffic of several kinds, whatever floor there was when it was counted."""
        for traffic, seconds in ((bursts, HOUR), (people, HOUR / 2), (on_and_off, HOUR / 2)):
            times = [each for each in sorted(traffic(Random(traffic.__name__))) if each[0] < seconds]
            for counted_with in (0, 3):
                run = run_of(0.02, times, PoolLimits(min_conn=counted_with))
                run.go()
                advised = run.pool.depths.floor_for(0.99)
                assert advised is not None
                outcome = run_of(0.02, times, PoolLimits(min_conn=advised)).go()
                self.assertLessEqual(outcome.cold, 0.01 * len(times), traffic.__name__)


#: Requests each of which is so many milliseconds after the one before, and holds its connection so many.
TRAFFIC = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 10, 100, 1000, 30_000, 600_000]), st.sampled_from([1, 10, 200, 3000])),
    min_size=1,
    max_size=60,
)


def arrivals(traffic: list[tuple[int, int]]) -> list[tuple[float, float]]:
    at, found = 0.0, []
    for gap, holds in traffic:
        at += gap / 1000
        found.append((at, holds / 1000))
    return found


class FollowingInvariantTests(SynchronousTestCase):
    """What is true whatever comes, with the real pool on a simulated clock."""

    @given(traffic=TRAFFIC, least=st.integers(0, 4), more=st.integers(0, 12), bears=st.sampled_from([5, 1e9]))
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_it_stays_between_its_bounds(
        self, traffic: list[tuple[int, int]], least: int, more: int, bears: float
    ) -> None:
        """And what stands, with what is wanted; at rest the least stands, if the server bears it."""
        limits = PoolLimits(min_conn=least, adapts=True, most_floor=max(1, least + more), overdue_after=1e9)
        run = run_of(0.02, arrivals(traffic), limits, bears)
        outcome = run.go(close=False)
        for _, _, floor in outcome.minutes:
            self.assertTrue(least <= floor <= max(1, least + more))
        self.assertLessEqual(run.pool.standing, bears)
        run.clock.advance(5 * HOUR)
        self.assertEqual(run.pool.floor, least)
        self.assertEqual(len(run.pool.idle), min(least, bears))
        run.close()

    @given(together=st.integers(1, 30), every=st.sampled_from([0.5, 5.0, 60.0, 1800.0]))
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_it_does_not_swing_under_the_same_load(self, together: int, every: float) -> None:
        """After the first time it stays where it is, and nothing is opened or closed."""
        times = [(round_ * every, 0.05) for round_ in range(40) for _ in range(together)]
        limits = PoolLimits(min_conn=1, adapts=True, overdue_after=1e9)
        run = run_of(0.02, times, limits)
        opened: list[int] = []
        floors: list[int] = []

        def look() -> None:
            opened.append(run.server.opened)
            floors.append(run.pool.floor)
            run.clock.callLater(every, look)

        run.clock.callLater(10 + 2.5 * every, look)
        outcome = run.go()
        self.assertEqual((len(set(opened)), len(set(floors))), (1, 1), (opened, floors))
        self.assertLessEqual(outcome.cold, together)
