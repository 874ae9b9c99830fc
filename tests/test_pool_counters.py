"""What a pool counts: why connections were opened and how, how waits ended,
and for how long its floor did not stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.words import MISNAMED
from reusedproxy.net.transport import PEER_CLOSED
from reusedproxy.pool import holdings
from reusedproxy.pool.counters import (
    CANCELLED,
    DEMAND,
    FLOOR,
    FRESH,
    LEFT,
    LOCAL,
    OK,
    PROBE,
    QUEUED,
    RECOVERY,
    REFUSED,
    REPLACE,
    ROTATION,
    TIMEOUT,
    TLS,
    VERIFY,
    WARM,
)
from reusedproxy.pool.kinds import SAFE
from reusedproxy.pool.reasons import PROXY, SERVER
from tests.fakes import LATE_REFUSAL, Asker, FakeDial, FakeTransport, PoolBench, check_sums


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
        self.assertAlmostEqual(bench.pool.upkeep.refill.below_floor_seconds, 3)
        bench.answer_all()
        bench.pass_time(5)
        self.assertAlmostEqual(bench.pool.upkeep.refill.below_floor_seconds, 3)
        bench.dialer.transports[0].peer_ends()
        bench.pass_time(0.5)
        bench.answer_all()
        bench.pass_time(5)
        self.assertAlmostEqual(bench.pool.upkeep.refill.below_floor_seconds, 3.5)

    def test_in_use_is_not_missing(self) -> None:
        """A floor that works stands."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.borrow()
        bench.borrow()
        bench.pass_time(5)
        self.assertEqual(bench.pool.upkeep.refill.below_floor_seconds, 0)

    def test_nothing_is_missing_while_nothing_is_kept(self) -> None:
        """The server is down, say: that is told elsewhere."""
        bench = PoolBench(min_conn=2)
        bench.pass_time(1)
        bench.pool.suspend("test")
        bench.pass_time(5)
        self.assertAlmostEqual(bench.pool.upkeep.refill.below_floor_seconds, 1)
        bench.pool.resume()
        bench.pass_time(1)
        self.assertAlmostEqual(bench.pool.upkeep.refill.below_floor_seconds, 2)


class AcquireTests(SynchronousTestCase):
    """For how long those who asked for a connection waited, and how it ended."""

    def counted(self, bench: PoolBench) -> dict[str, tuple[int, float]]:
        check_sums(bench.pool)
        acquired = bench.pool.counters.acquired.items()
        return {result: (each.count, round(each.sum, 3)) for result, each in acquired if each.count}

    def test_each_end_of_a_wait(self) -> None:
        """It had one at once, a new one, one that came back, none in time, none at all, or is gone."""
        bench = PoolBench()
        pool = bench.pool
        new, queued, late, leaver, refused, told_late = (Asker() for _ in range(6))
        pool.wait(new)
        bench.pass_time(1)
        bench.answer_all()
        pool.wait(queued)
        bench.pass_time(2)
        bench.use(new.connections[0])
        bench.use(queued.connections[0])
        bench.borrow()
        for asker, wait in ((late, 3.0), (leaver, 0.5)):
            pool.wait(asker)
            bench.pass_time(wait)
            pool.leave(asker, timed_out=asker is late)
        bench.answer_all()
        bench.borrow()
        pool.wait(told_late)
        bench.pass_time(4)
        bench.dialer.open[0].time_out()
        pool.wait(refused)
        bench.pass_time(1.5)
        bench.dialer.open[0].fail()
        self.assertEqual(
            self.counted(bench),
            {WARM: (2, 0), FRESH: (1, 1.0), QUEUED: (1, 2.0), TIMEOUT: (2, 7.0), REFUSED: (1, 1.5), LEFT: (1, 0.5)},
        )

    def test_a_pool_that_is_not_running(self) -> None:
        """Those who wait are refused at its end, those who come later at once."""
        bench = PoolBench()
        bench.pool.wait(Asker())
        bench.pass_time(1)
        bench.pool.suspend("server DOWN")
        bench.pool.wait(Asker())
        self.assertEqual(self.counted(bench), {REFUSED: (2, 1.0)})
        self.assertEqual(bench.pool.counters.connects, {(DEMAND, CANCELLED): 1})

    def test_at_once_is_the_first_bucket(self) -> None:
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        bench.borrow()
        self.assertEqual(bench.pool.counters.acquired[WARM].counts[:2], [1, 0])

    def test_a_long_search_is_measured(self) -> None:
        """The only safe one among thousands is the longest idle one, say."""
        self.patch(holdings, "QUICKLY_SEARCHED", 1)
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        bench.pool.idle[0].safe = True
        times = iter([0, 1, 1.25, 2, 3, 4, 5, 6])
        self.patch(bench.pool.deadlines, "now", lambda: bench.clock.seconds() + next(times))
        bench.borrow(SAFE)
        warm = bench.pool.counters.acquired[WARM]
        self.assertEqual((warm.count, warm.counts[0], warm.sum), (1, 0, 0.25))

    def test_how_long_it_had_been_idle(self) -> None:
        """Each time; the connection keeps the last and the longest."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        for idle in (1, 8, 2):
            bench.pass_time(idle)
            bench.use(bench.borrow())
        (connection,) = bench.pool.idle
        self.assertAlmostEqual(connection.idle_last, 2)
        self.assertAlmostEqual(connection.idle_longest, 8)
        ages = bench.pool.counters.idle_at_borrow
        self.assertEqual((ages.count, round(ages.sum, 3)), (3, 11))
        bench.pool.retire(connection, "purged")
        ended = bench.pool.ended[0]
        self.assertEqual((round(ended.idle_last, 3), round(ended.idle_longest, 3)), (2, 8))


class ConnectTests(SynchronousTestCase):
    """Why connections are opened, and how that went."""

    def connects(self, bench: PoolBench) -> dict[tuple[str, ...], int]:
        check_sums(bench.pool)
        return dict(bench.pool.counters.connects)

    def test_the_floor_and_those_who_wait(self) -> None:
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.pool.wait(Asker())
        bench.answer_all()
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 2, (DEMAND, OK): 1})
        bench.pass_time(1)
        bench.dialer.transports[0].peer_ends()
        bench.pass_time(0.5)  # most of those in use come back by then
        bench.answer_all()
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 3, (DEMAND, OK): 1})

    def test_each_way_to_fail(self) -> None:
        ways: dict[str, Callable[[FakeDial], None]] = {
            REFUSED: lambda dial: dial.fail(),
            TIMEOUT: lambda dial: dial.time_out(),
            TLS: lambda dial: dial.fail("alert", "TLS handshake"),
            VERIFY: lambda dial: dial.fail("wrong name", "TLS handshake", certificate=MISNAMED),
            LOCAL: lambda dial: dial.fail("Too many open files", ours=True),
        }
        for result, way in ways.items():
            bench = PoolBench()
            bench.pool.wait(Asker())
            way(bench.dialer.open[0])
            self.assertEqual(self.connects(bench), {(DEMAND, result): 1})
            # TCP was up in these.
            self.assertEqual(bench.pool.counters.connect_seconds.count, result in (TLS, VERIFY))

    def test_after_failures_until_the_floor_stands(self) -> None:
        """Somebody who waits is a reason of its own."""
        bench = PoolBench(min_conn=3)
        bench.dialer.open[0].fail()
        for dial in bench.dialer.open[:]:
            dial.fail()
        bench.pass_time(5)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(20)
        self.assertEqual(self.connects(bench), {(FLOOR, REFUSED): 3, (RECOVERY, OK): 3})
        bench.dialer.transports[0].peer_ends()
        bench.pass_time(5)
        self.assertEqual(self.connects(bench)[FLOOR, OK], 1)

    def test_after_the_server_was_down(self) -> None:
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.pool.suspend("server DOWN")
        bench.pool.resume()
        bench.answer_all()
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 2, (RECOVERY, OK): 2})

    def test_in_place_of_one_whose_life_is_over(self) -> None:
        bench = PoolBench(min_conn=2, max_age=10)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(12)
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 2, (REPLACE, OK): 2})

    def test_in_place_of_one_that_is_ended_while_its_successor_is_under_way(self) -> None:
        """The server ends another one meanwhile: that is not replaced but missed."""
        bench = PoolBench(min_conn=2, max_age=10)
        bench.answer_all()
        while not bench.dialer.open:
            bench.pass_time(0.1)
        next(each for each in bench.dialer.transports if each.owner not in bench.pool.holdings.due).peer_ends()
        bench.answer_all()
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 3, (REPLACE, OK): 1})

    def test_in_place_of_those_that_stood_through_a_standstill(self) -> None:
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.pass_time(1)
        bench.pool.upkeep.renew()
        bench.answer_all()
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 2, (REPLACE, OK): 2})

    def test_in_place_of_one_in_its_last_use(self) -> None:
        bench = PoolBench(min_conn=1, max_reuse=0)
        bench.answer_all()
        connection = bench.borrow()
        bench.answer_all()
        bench.use(connection)
        self.assertEqual(self.connects(bench), {(FLOOR, OK): 1, (REPLACE, OK): 1})

    def test_in_place_of_another_pool(self) -> None:
        """A reload has changed how the server is reached."""
        bench = PoolBench(min_conn=2, resume=False)
        bench.pool.resume(rotation=True)
        bench.answer_all()
        bench.pass_time(1)
        bench.dialer.transports[0].peer_ends()
        bench.answer_all()
        self.assertEqual(self.connects(bench), {(ROTATION, OK): 2, (FLOOR, OK): 1})

    def test_what_a_check_leaves(self) -> None:
        bench = PoolBench(min_conn=1)
        dial: Any = FakeDial(bench.dialer, None)
        transport: Any = FakeTransport()
        bench.pool.adopt(dial, transport)
        self.assertEqual(self.connects(bench), {(PROBE, OK): 1})

    def test_handshakes_by_their_kind(self) -> None:
        """And how long they took without TCP's part."""
        bench = PoolBench(secure=True)
        for resumed in (False, True, True):
            bench.pool.wait(Asker())
            self.patch(FakeTransport, "resumed", resumed)
            bench.answer_all()
        counters = bench.pool.counters
        self.assertEqual(counters.tls_handshakes, {("TLSv1.3", False, True): 1, ("TLSv1.3", True, True): 2})
        self.assertEqual({key: each.count for key, each in counters.handshake_seconds.items()}, {False: 1, True: 2})
        self.assertAlmostEqual(counters.handshake_seconds[True].sum, 0.0012)
        self.assertAlmostEqual(counters.connect_seconds.sum, 0.0012)

    def test_in_the_clear_there_are_none(self) -> None:
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        self.assertEqual((bench.pool.counters.handshakes, bench.pool.counters.tls_handshakes), (1, {}))


class EndTests(SynchronousTestCase):
    """Who has ended connections, why, and what they were by then."""

    def test_by_whom_and_why(self) -> None:
        bench = PoolBench(secure=True, min_conn=4)
        bench.answer_all()
        first, second, third, _ = bench.dialer.transports
        bench.pass_time(2)
        first.peer_ends()
        second.receive(b"HTTP/1.1 408 Request Time-out\r\n\r\n")
        third.receive(b"what?")
        bench.use(bench.borrow(), close=True)
        bench.answer_all()
        bench.dialer.transports[-1].peer_ends(LATE_REFUSAL)
        check_sums(bench.pool)
        self.assertEqual(
            bench.pool.counters.closed,
            {
                (SERVER, "idle"): 2,
                (SERVER, "unsolicited_data"): 1,
                (PROXY, "conn_close"): 1,
                (SERVER, "refused_late"): 1,
            },
        )

    def test_ages_and_requests(self) -> None:
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        bench.use(bench.borrow())
        bench.pass_time(4)
        bench.use(bench.borrow(), close=True)
        counters = bench.pool.counters
        self.assertAlmostEqual(counters.ages.sum, 4)
        self.assertEqual((counters.carried.count, counters.carried.sum), (1, 2))

    def test_how_long_the_server_had_left_them_idle(self) -> None:
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        for idle in (3, 5):
            bench.pass_time(idle)
            bench.dialer.transports[0].peer_ends(PEER_CLOSED)
            del bench.dialer.transports[0]
        bench.pool.retire(bench.borrow(), "client gone")
        counted = bench.pool.counters.idle_at_peer_close
        self.assertEqual((counted.count, round(counted.sum, 3)), (2, 11))


class WarmUpTests(SynchronousTestCase):
    """Seconds from the start, or from when a server takes connections again, until the floor stands."""

    def took(self, bench: PoolBench) -> list[float]:
        warm_up = bench.pool.counters.warm_up
        return [warm_up.count, round(warm_up.sum, 2)]

    def test_a_start(self) -> None:
        """It counts when no connection can be refused late any more, with the time at which they stood."""
        bench = PoolBench(min_conn=2)
        bench.pass_time(0.5)
        bench.answer_all()
        self.assertEqual(self.took(bench), [0, 0])
        bench.pass_time(3)
        self.assertEqual(self.took(bench), [1, 0.5])
        bench.dialer.transports[0].peer_ends()
        bench.answer_all()
        bench.pass_time(3)
        self.assertEqual(self.took(bench), [1, 0.5])

    def test_without_a_floor_there_is_none(self) -> None:
        bench = PoolBench()
        bench.pass_time(3)
        self.assertEqual(self.took(bench), [0, 0])

    def test_a_floor_that_is_given_up_on_the_way(self) -> None:
        """As at a reload, when a pool is drained, or was only tried."""
        bench = PoolBench(min_conn=2)
        bench.pass_time(1)
        bench.pool.drain("reload")
        bench.answer_all()
        bench.pass_time(3)
        self.assertEqual(self.took(bench), [0, 0])

    def test_a_server_that_was_away(self) -> None:
        """Its absence does not count: from the begin of the first dial that succeeds."""
        bench = PoolBench(min_conn=3)
        bench.dialer.answer = bench.dialer.refuse
        bench.pass_time(60)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(10)
        count, seconds = self.took(bench)
        self.assertEqual(count, 1)
        self.assertTrue(0.25 < seconds < 0.5, seconds)  # one on trial, then the others

    def test_a_server_that_refuses_after_the_handshake(self) -> None:
        """A floor that stands for a moment each time was never filled."""
        bench = PoolBench(secure=True, min_conn=1)
        bench.dialer.answer = bench.dialer.refuse_late
        bench.pass_time(60)
        self.assertEqual(self.took(bench), [0, 0])
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(10)
        self.assertEqual(self.took(bench)[0], 1)

    def test_a_stop_on_the_way(self) -> None:
        """Then it was not filled; the next time counts from its own begin."""
        bench = PoolBench(min_conn=1)
        bench.pass_time(5)
        bench.pool.suspend("server DOWN")
        bench.pass_time(5)
        bench.pool.resume()
        bench.pass_time(1)
        bench.answer_all()
        bench.pass_time(3)
        self.assertEqual(self.took(bench), [1, 1.0])
