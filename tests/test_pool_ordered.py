"""What an operator orders of a pool: to be drained (`drain pool`), and to be warm again (`rewarm pool`)."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.transport import OPEN
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.kept import DRAINED, NO_ORDER, REWARMING
from reusedproxy.pool.kinds import NEW
from reusedproxy.pool.reasons import DRAIN, ORDERED_DRAIN, ORDERED_REPLACEMENT, REWARM
from tests.fakes import Asker, FakeDial, PoolBench, check_sums
from tests.test_pool_named import Bench as NamedBench
from tests.test_pool_raw import Bench as RawBench


def warm(idle: int = 0, **limits: Any) -> PoolBench:
    """A pool whose floor stands, or in which so many connections have come back at once; the next moment."""
    bench = PoolBench(**limits)
    bench.dialer.answer = bench.dialer.accept
    bench.pass_time(1)
    if idle:
        give_back(bench, ask(bench, idle))
    bench.pass_time(0.1)
    return bench


def ask(bench: PoolBench, count: int) -> list[ServerConnection]:
    """So many connections, which are opened where none stands."""
    found = []
    askers = []
    for _ in range(count):
        connection = bench.pool.acquire()
        if connection is None:
            askers.append(Asker())
            bench.pool.wait(askers[-1])
        else:
            found.append(connection)
    bench.pass_time(0.1)
    return found + [connection for each in askers for connection in each.connections]


def give_back(bench: PoolBench, connections: list[ServerConnection]) -> None:
    for each in connections:
        bench.use(each)


class DrainTests(SynchronousTestCase):
    """Nothing stands, nothing fails."""

    def test_idle_connections_are_closed_and_none_is_opened(self) -> None:
        bench = warm(min_conn=4)
        bench.pool.order_drain()
        bench.pass_time(300, step=0.5)
        pool = bench.pool
        self.assertEqual((len(pool.idle), len(pool.connecting), pool.counters.dials), (0, 0, 4))
        self.assertEqual(pool.closed, {ORDERED_DRAIN: 4})
        self.assertEqual(pool.counters.closed, {("proxy", DRAIN): 4})
        self.assertEqual((pool.floor, pool.usual_floor, pool.order.state), (0, 4, DRAINED))

    def test_it_is_not_below_its_floor(self) -> None:
        """For alarms: an operator knows."""
        bench = warm(min_conn=4)
        below = bench.pool.upkeep.refill.below_floor_seconds
        bench.pool.order_drain()
        bench.pass_time(100, step=0.5)
        self.assertFalse(bench.pool.below_floor)
        self.assertEqual(bench.pool.upkeep.refill.below_floor_seconds, below)

    def test_one_in_use_ends_when_it_comes_back(self) -> None:
        """Its request has its answer."""
        bench = warm(min_conn=4)
        used = bench.borrow()
        bench.pool.order_drain()
        bench.pass_time(1)
        transport: Any = used.transport
        self.assertEqual((transport.state, len(bench.pool.in_use)), (OPEN, 1))
        bench.use(used)
        self.assertEqual(transport.end, ("close", ORDERED_DRAIN))
        self.assertEqual(bench.pool.standing, 0)

    def test_requests_go_on_by_new_connections_that_do_not_stay(self) -> None:
        bench = warm(min_conn=4)
        bench.pool.order_drain()
        for _ in range(3):
            (connection,) = ask(bench, 1)
            bench.use(connection)
            self.assertEqual(bench.pool.standing, 0)
        self.assertEqual(bench.pool.counters.handshakes_on_request_path, 3)
        self.assertEqual(bench.pool.closed, {ORDERED_DRAIN: 7})
        check_sums(bench.pool)

    def test_who_waits_gets_a_new_one_that_comes_back_and_never_an_old_one(self) -> None:
        bench = warm(min_conn=1)
        old = bench.borrow()
        bench.pool.order_drain()
        bench.pass_time(0.1)
        bench.dialer.answer = None
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        bench.pool.wait(second)
        bench.use(old)
        self.assertEqual((first.told, second.told), (0, 0))
        bench.dialer.open[0].succeed()
        bench.use(first.connections[0])
        self.assertEqual(second.connections, first.connections)

    def test_a_dial_that_was_under_way_leaves_none(self) -> None:
        bench = PoolBench(min_conn=2)
        bench.pool.order_drain()
        bench.answer_all()
        bench.pass_time(10)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (0, {ORDERED_DRAIN: 2}))

    def test_private_ones_end_too(self) -> None:
        """Those that stand, and those that come back."""
        bench = warm(min_conn=3)
        standing, used, later = (bench.borrow() for _ in range(3))
        standing.private = used.private = True
        bench.use(standing)
        self.assertEqual(len(bench.pool.private), 1)
        bench.pool.order_drain()
        bench.use(used)
        bench.use(later)
        (new,) = ask(bench, 1)
        new.private = True
        bench.use(new)
        self.assertEqual(bench.pool.standing, 0)

    def test_no_check_leaves_its_connection(self) -> None:
        bench = warm(min_conn=2, keep_checks=True)
        bench.pool.order_drain()
        self.assertFalse(bench.pool.wants_one)

    def test_a_server_that_was_passed_over_has_none_opened(self) -> None:
        bench = warm(min_conn=2)
        bench.pool.order_drain()
        bench.pool.upkeep.missed()
        self.assertEqual(len(bench.pool.connecting), 0)

    def test_it_stays_drained_while_the_server_goes_and_comes(self) -> None:
        bench = warm(min_conn=4)
        bench.pool.order_drain()
        bench.pool.suspend("server DOWN")
        bench.pool.resume()
        bench.pass_time(10)
        self.assertEqual((bench.pool.standing, bench.pool.order.state), (0, DRAINED))

    def test_an_order_while_the_server_is_away_holds_when_it_comes(self) -> None:
        bench = warm(min_conn=4)
        bench.pool.suspend("server MAINT")
        bench.pool.order_drain()
        bench.pool.resume()
        bench.pass_time(10)
        self.assertEqual(bench.pool.standing, 0)
        bench.pool.order_rewarm()
        bench.pass_time(1)
        self.assertEqual(len(bench.pool.idle), 4)

    def test_the_pool_that_takes_its_place_is_drained(self) -> None:
        """At a reload that changes a certificate, say; and not any more if that was ordered meanwhile."""
        before, after = warm(min_conn=2), PoolBench(min_conn=3, resume=False)
        before.pool.order_drain()
        after.pool.succeed(before.pool)
        after.pool.resume()
        after.answer_all()
        self.assertEqual((len(after.pool.idle), after.pool.order.state), (0, DRAINED))
        before.pool.order_rewarm()
        after.pool.keep_order_of(before.pool)
        after.answer_all()
        self.assertEqual(len(after.pool.idle), 3)
        before.pool.order_drain()
        after.pool.keep_order_of(before.pool)
        self.assertEqual(after.pool.order.state, DRAINED)

    def test_a_floor_that_changes_meanwhile_is_kept_afterwards(self) -> None:
        """By standby; the floor that follows demand is one, too."""
        bench = warm(min_conn=2)
        bench.pool.order_drain()
        bench.pool.keep(5)
        bench.pass_time(1)
        self.assertEqual((bench.pool.standing, bench.pool.floor), (0, 0))
        bench.pool.order_rewarm()
        bench.pass_time(1)
        self.assertEqual(len(bench.pool.idle), 5)

    def test_a_floor_that_follows_demand_is_withheld(self) -> None:
        bench = warm(min_conn=2, adapts=True, most_floor=20)
        bench.pool.order_drain()
        for _ in range(30):
            give_back(bench, ask(bench, 6))
        bench.pass_time(20, step=0.2)
        self.assertEqual((bench.pool.floor, bench.pool.standing), (0, 0))
        self.assertGreaterEqual(bench.pool.usual_floor, 6)
        bench.pool.order_rewarm()
        bench.pass_time(2)
        self.assertEqual(len(bench.pool.idle), bench.pool.usual_floor)

    def test_no_purge_delay(self) -> None:
        """Then no idle connection stands beyond the floor: as many as before may stand again."""
        bench = warm(min_conn=3, purge_delay=0.0)
        bench.pool.order_drain()
        bench.pass_time(1)
        self.assertEqual(bench.pool.standing, 0)
        bench.pool.order_rewarm()
        bench.pass_time(1)
        self.assertEqual(len(bench.pool.idle), 3)

    def test_one_that_comes_back_while_others_are_being_closed_is_closed(self) -> None:
        """Those that are due make room for nobody."""
        bench = warm(min_conn=3)
        bench.dialer.answer = bench.dialer.refuse
        bench.pool.order_rewarm()
        self.assertEqual(len(bench.pool.holdings.due), 3)
        bench.pass_time(5)
        bench.dialer.answer = bench.dialer.accept
        asker = Asker()
        bench.pool.wait(asker, NEW)
        bench.pool.holdings.backlog.go_on = lambda: None  # type: ignore[method-assign]
        bench.pool.order_drain()
        bench.pass_time(2)
        (new,) = asker.connections
        bench.use(new)
        self.assertNotIn(new, bench.pool.idle)
        self.assertEqual(len(bench.pool.idle), 3)

    def test_no_timer_is_left(self) -> None:
        bench = warm(min_conn=3)
        bench.pool.order_drain()
        bench.pool.close("proxy stopped")
        self.assertEqual(bench.timers_left(), [])


class RewarmTests(SynchronousTestCase):
    """New connections stand before old ones leave."""

    def test_a_drained_pool_is_filled(self) -> None:
        bench = warm(min_conn=4)
        bench.pool.order_drain()
        bench.pass_time(1)
        bench.pool.order_rewarm()
        bench.pass_time(2)
        self.assertEqual((len(bench.pool.idle), bench.pool.floor, bench.pool.order.state), (4, 4, NO_ORDER))
        (said,) = [text for _, text in bench.announced if "warm again" in text]
        self.assertRegex(said, r"^Server be/s1: its pool is warm again: 4 new connections")

    def test_each_is_replaced_and_never_fewer_stand(self) -> None:
        bench = warm(min_conn=8)
        before = {*bench.pool.idle}
        bench.pool.order_rewarm()
        self.assertEqual(bench.pool.order.state, REWARMING)
        fewest = 8
        for _ in range(200):
            bench.pass_time(0.01, step=0.01)
            fewest = min(fewest, len(bench.pool.idle))
        self.assertEqual(fewest, 8)
        self.assertEqual((before & {*bench.pool.idle}, len(bench.pool.idle)), (set(), 8))
        self.assertEqual(bench.pool.closed, {ORDERED_REPLACEMENT: 8})
        self.assertEqual(bench.pool.counters.closed, {("proxy", REWARM): 8})
        self.assertEqual((bench.pool.order.state, bench.pool.counters.dials), (NO_ORDER, 16))
        check_sums(bench.pool)

    def test_those_beyond_the_floor_are_replaced_too(self) -> None:
        """Requests have needed them."""
        bench = warm(idle=10, min_conn=1)
        stood = len(bench.pool.idle)
        self.assertGreaterEqual(stood, 10)
        bench.pool.order_rewarm()
        fewest = stood
        for _ in range(100):
            bench.pass_time(0.01, step=0.01)
            fewest = min(fewest, len(bench.pool.idle))
        self.assertEqual((fewest, bench.pool.closed), (stood, {ORDERED_REPLACEMENT: stood}))
        self.assertEqual((bench.pool.floor, bench.pool.order.state), (1, NO_ORDER))

    def test_those_in_use_stay_until_another_stands(self) -> None:
        """All were in use at the order, and there is no floor: who comes next finds one, all the same."""
        bench = warm(idle=6)
        used = ask(bench, 6)
        dials = bench.pool.counters.dials
        bench.pool.order_rewarm()
        bench.pass_time(0.5)
        self.assertEqual(bench.pool.counters.dials, dials)
        give_back(bench, used)
        self.assertEqual(len(bench.pool.idle), 6)
        bench.pass_time(1)
        self.assertEqual((len(bench.pool.idle), {*used} & {*bench.pool.idle}), (6, set()))
        self.assertEqual(bench.pool.counters.dials, dials + 6)
        self.assertEqual(bench.pool.order.state, NO_ORDER)

    def test_under_load_no_request_waits(self) -> None:
        for seed in range(5):
            bench = warm(idle=12, min_conn=2, seed=seed)
            pool, random = bench.pool, Random(seed)
            on_path = pool.counters.handshakes_on_request_path
            pool.order_rewarm()
            used: list[ServerConnection] = []
            for _ in range(3000):
                if len(used) < 10 and random.random() < 0.6:
                    used.append(bench.borrow())
                elif used:
                    bench.use(used.pop(random.randrange(len(used))))
                bench.pass_time(0.001, step=0.001)
            give_back(bench, used)
            bench.pass_time(1)
            self.assertEqual(pool.counters.handshakes_on_request_path, on_path)
            self.assertEqual(pool.order.state, NO_ORDER, seed)
            self.assertEqual([each for each in pool.idle if pool.order.ends(each)], [])
            check_sums(pool)

    def test_at_a_ceiling_where_somebody_always_waits_one_goes_for_each_that_comes(self) -> None:
        """Nobody could be served by more of them meanwhile."""
        bench = PoolBench(most=4)

        def accept(dial: FakeDial) -> None:
            bench.clock.callLater(0.1, dial.succeed)

        bench.dialer.answer = accept

        def live(seconds: float) -> int:
            fewest = 4
            for _ in range(round(seconds / 0.02)):
                bench.pass_time(0.02, step=0.01)
                for connection in [*bench.pool.in_use]:
                    bench.use(connection)
                while len(bench.pool.waiters) < 6:
                    if bench.pool.acquire() is None:
                        bench.pool.wait(Asker())
                fewest = min(fewest, len(bench.pool.in_use))
            return fewest

        live(5)
        before, dials = {*bench.pool.in_use}, bench.pool.counters.dials
        self.assertEqual((live(5), {*bench.pool.in_use}, len(before)), (4, before, 4))
        bench.pool.order_rewarm()
        self.assertEqual(live(10), 3)
        self.assertEqual((before & {*bench.pool.in_use}, len(bench.pool.in_use)), (set(), 4))
        self.assertEqual((bench.pool.counters.dials, bench.pool.order.state), (dials + 4, NO_ORDER))

    def test_no_more_stand_than_may(self) -> None:
        """`pool-max-conn`: those that come back beyond it end, as ever, and others are not opened for them."""
        bench = warm(max_conn=4)
        used = ask(bench, 9)
        dials = bench.pool.counters.dials
        bench.pool.order_rewarm()
        give_back(bench, used)
        bench.pass_time(20)
        self.assertLessEqual(len(bench.pool.idle), 4)
        self.assertLessEqual(bench.pool.counters.dials, dials + 4)
        self.assertEqual(bench.pool.order.state, NO_ORDER)

    def test_where_somebody_always_waits_they_are_replaced_all_the_same(self) -> None:
        """The pool dials at the rate of a floor, and ends one for each that is new."""
        bench = warm(idle=3, most=None)
        used = ask(bench, 3)
        bench.dialer.answer = None
        waiting = [Asker() for _ in range(50)]
        for each in waiting:
            bench.pool.wait(each)
        bench.pool.order_rewarm()
        bench.dialer.answer = bench.dialer.accept
        for _ in range(100):
            ready = [each for asker in waiting for each in asker.connections if each in bench.pool.in_use]
            for connection in {*used, *ready} & {*bench.pool.in_use}:
                bench.use(connection)
            asker = Asker()
            waiting.append(asker)
            bench.pool.wait(asker)
            bench.pass_time(0.02)
        self.assertEqual([each for each in used if each in bench.pool.in_use or each in bench.pool.idle], [])

    def test_a_long_request_keeps_its_connection(self) -> None:
        bench = warm(min_conn=2)
        used = bench.borrow()
        bench.pool.order_rewarm()
        bench.pass_time(60)
        transport: Any = used.transport
        self.assertEqual((transport.state, bench.pool.order.state), (OPEN, REWARMING))
        self.assertEqual(bench.pool.order.left, (0, 1))
        bench.use(used)
        bench.pass_time(1)
        self.assertEqual((transport.end, bench.pool.order.state), (("close", ORDERED_REPLACEMENT), NO_ORDER))

    def test_a_server_that_refuses_costs_none(self) -> None:
        bench = warm(min_conn=4)
        before = {*bench.pool.idle}
        bench.dialer.answer = bench.dialer.refuse
        bench.pool.order_rewarm()
        bench.pass_time(20)
        self.assertEqual({*bench.pool.idle}, before)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(20)
        self.assertEqual((len(bench.pool.idle), before & {*bench.pool.idle}), (4, set()))

    def test_at_the_ceiling_one_goes_for_each_that_comes(self) -> None:
        """`strict-maxconn`: there is no room for both."""
        bench = warm(min_conn=4, most=4)
        before = {*bench.pool.idle}
        bench.pool.order_rewarm()
        fewest = 4
        for _ in range(300):
            bench.pass_time(0.01, step=0.01)
            fewest = min(fewest, len(bench.pool.idle) + len(bench.pool.connecting))
        self.assertEqual((fewest, len(bench.pool.idle), before & {*bench.pool.idle}), (4, 4, set()))
        self.assertEqual(bench.pool.closed, {ORDERED_REPLACEMENT: 4})

    def test_the_pace_is_that_of_the_floor(self) -> None:
        bench = warm(min_conn=10, connect_rate=5.0)
        bench.pass_time(5)
        bench.pool.order_rewarm()
        bench.pass_time(1)
        self.assertLessEqual(bench.pool.counters.dials, 10 + 7)
        bench.pass_time(2)
        self.assertEqual(bench.pool.order.state, NO_ORDER)

    def test_private_and_watched_ones_leave_at_once(self) -> None:
        """Nothing replaces them."""
        bench = warm(min_conn=2)
        private = bench.borrow()
        private.private = True
        bench.use(private)
        bench.pool.holdings.set_aside(bench.pool.idle[0])
        bench.pool.order_rewarm()
        self.assertEqual((len(bench.pool.private), len(bench.pool.watched)), (0, 0))

    def test_a_second_order_counts_from_then(self) -> None:
        bench = warm(min_conn=4, connect_rate=4.0)
        bench.pool.order_rewarm()
        bench.pass_time(0.5)
        between = {*bench.pool.idle}
        bench.pool.order_rewarm()
        bench.pass_time(10)
        self.assertEqual((len(bench.pool.idle), between & {*bench.pool.idle}), (4, set()))
        self.assertEqual(bench.pool.order.state, NO_ORDER)

    def test_a_pool_without_connections_has_nothing_to_do(self) -> None:
        bench = warm()
        bench.pool.order_rewarm()
        self.assertEqual((bench.pool.order.state, bench.announced), (NO_ORDER, []))

    def test_a_server_that_goes_ends_it(self) -> None:
        bench = warm(idle=6, min_conn=2, connect_rate=1.0)
        bench.pool.order_rewarm()
        bench.pool.suspend("server DOWN")
        self.assertEqual((bench.pool.order.state, bench.pool.floor), (NO_ORDER, 2))
        bench.pool.resume()
        bench.pass_time(5)
        self.assertEqual(len(bench.pool.idle), 2)

    def test_a_drain_takes_its_place(self) -> None:
        bench = warm(min_conn=4, connect_rate=1.0)
        bench.pool.order_rewarm()
        bench.pool.order_drain()
        bench.pass_time(10)
        self.assertEqual((bench.pool.standing, bench.pool.order.state), (0, DRAINED))

    def test_idle_ones_beyond_what_is_wanted_go_afterwards(self) -> None:
        bench = warm(idle=10, min_conn=1)
        bench.pool.order_rewarm()
        bench.pass_time(120, step=0.1)
        self.assertEqual(len(bench.pool.idle), 1)

    def test_no_purge_delay(self) -> None:
        bench = warm(min_conn=3, purge_delay=0.0)
        before = {*bench.pool.idle}
        bench.pool.order_rewarm()
        bench.pass_time(1)
        self.assertEqual((len(bench.pool.idle), before & {*bench.pool.idle}), (3, set()))


class NamesTests(SynchronousTestCase):
    """The pools of all names of a server."""

    def test_all_are_drained_those_of_new_names_too(self) -> None:
        bench = NamedBench(own=b"own.test", min_conn=2)
        bench.pass_time(0.5)
        bench.use(bench.borrow(b"a.test"))
        self.assertEqual(bench.idle(), 3)
        bench.pool.order_drain()
        self.assertEqual(bench.idle(), 0)
        for name in (b"a.test", b"b.test", b"own.test"):
            bench.use(bench.borrow(name))
            self.assertEqual(bench.idle(), 0, name)
        bench.pool.order_rewarm()
        bench.use(bench.borrow(b"b.test"))
        bench.pass_time(1)
        self.assertEqual((len(bench.pool.idle), len(bench.named(b"b.test").idle)), (2, 1))

    def test_all_are_replaced(self) -> None:
        bench = NamedBench(own=b"own.test", min_conn=2)
        bench.pass_time(0.5)
        for each in bench.borrow_all(b"a.test", b"a.test", b"b.test"):
            bench.use(each)
        before = {each for pool in bench.pool.family for each in pool.idle}
        bench.pass_time(0.1)
        bench.pool.order_rewarm()
        bench.pass_time(2)
        after = {each for pool in bench.pool.family for each in pool.idle}
        self.assertEqual((len(before), before & after), (5, set()))
        self.assertGreaterEqual(len(after), 2)
        (said,) = [text for _, text in bench.announced]
        self.assertRegex(said, r"^Server be/s1: its pool is warm again: 5 new connections")


class RawTests(SynchronousTestCase):
    """mode tcp."""

    def test_ready_ones_are_closed_and_replaced(self) -> None:
        bench = RawBench(PoolLimits(min_conn=2))
        first = [bench.connect() for _ in range(2)]
        bench.clock.advance(1)
        lent = bench.pool.acquire()
        assert lent is not None
        bench.clock.advance(1)
        first.append(bench.connect())
        first = [each for each in first if each.owner is not lent]
        bench.pool.order_rewarm()
        bench.clock.advance(0.1)
        second = [bench.connect() for _ in range(2)]
        self.assertEqual([each.state == OPEN for each in (*first, *second)], [False, False, True, True])
        bench.clock.advance(1)
        self.assertEqual(bench.pool.order.state, NO_ORDER)
        bench.pool.order_drain()
        bench.clock.advance(1)
        self.assertEqual((bench.pool.standing, len(bench.dialer.open)), (1, 0))
        bench.close(self)
