"""The lives of pooled connections: they leave before their server closes them,
and not before others stand in their place."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import PEER_CLOSED
from reusedproxy.pool.connection import IDLE, RETIRING, WATCHED
from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE
from reusedproxy.pool.upkeep import AHEAD, LIFE_JITTER, LIFE_OVER, WATCH_UNTIL
from tests.fakes import Asker, PoolBench, RecordingExchange


def near(one: float, other: float, by: float = 0.15) -> bool:
    return abs(one - other) <= by


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Impatient:
    """A server that closes idle connections at `after` seconds, unused ones at `unused`; it accepts all it is asked."""

    def __init__(self, bench: PoolBench, after: float, unused: float | None = None) -> None:
        self.bench = bench
        self.after, self.unused = after, unused or after
        #: Ages at which it did.
        self.closed: list[float] = []
        bench.dialer.answer = bench.dialer.accept

    def live(self, seconds: float) -> None:
        bench = self.bench
        for _ in range(round(seconds / 0.05)):
            bench.pass_time(0.05, step=0.05)
            now = bench.clock.seconds()
            for transport in bench.dialer.transports:
                connection: Any = transport.owner
                age = now - connection.idle_since
                if connection.state in (IDLE, WATCHED) and age >= (self.after if connection.requests else self.unused):
                    self.closed.append(round(age, 1))
                    transport.peer_ends()


class RestTests(SynchronousTestCase):
    """A pool in which nothing is left has no timer: there may be thousands."""

    def timers(self, bench: PoolBench) -> int:
        bench.pass_time(120, step=0.5)
        return len([call for call in bench.clock.getDelayedCalls() if call.active()])

    def test_a_pool_that_was_never_used_has_none(self) -> None:
        self.assertEqual(self.timers(PoolBench()), 0)

    def test_one_with_a_floor_has(self) -> None:
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        self.assertGreater(self.timers(bench), 0)

    def test_one_that_is_used_again_is_kept_up_again(self) -> None:
        """Until its connections are purged, and what was learnt of the need is forgotten."""
        bench = PoolBench(purge_delay=1.0)
        self.assertEqual(self.timers(bench), 0)
        for _ in range(2):
            askers = [Asker() for _ in range(3)]
            for asker in askers:
                bench.pool.wait(asker)
            bench.answer_all()
            for asker in askers:
                bench.use(asker.connections[0])
            self.assertEqual(len(bench.pool.idle), 3)
            self.assertEqual((self.timers(bench), len(bench.pool.idle)), (0, 0))


class AheadTests(SynchronousTestCase):
    """Learned from what the server did."""

    def test_the_floor_is_renewed_before_it_is_closed(self) -> None:
        """After the first closes, none is closed by the server any more, and the floor always stands."""
        bench = PoolBench(min_conn=4, connect_rate=1000.0)
        server = Impatient(bench, 10.0)
        server.live(12)
        self.assertEqual(len(server.closed), 4)
        least = 4
        for _ in range(60):
            server.live(1)
            least = min(least, len(bench.pool.idle))
        self.assertEqual(least, 4)
        self.assertEqual(len(server.closed), 5)  # the fifth was watched: nobody's request could go over it
        self.assertGreater(bench.pool.closed[AHEAD], 16)
        self.assertEqual(bench.pool.upkeep.unused.source, "learned")
        self.assertTrue(near(bench.pool.upkeep.unused.limit, 10.0, 0.1), bench.pool.upkeep.unused.limit)

    def test_a_floor_of_one_before_a_server_that_closes_soon(self) -> None:
        """No more than one stands for long, either: the old one goes when the new one is there."""
        bench = PoolBench(min_conn=1, secure=True)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.1)
        for _ in range(2):
            bench.pool.upkeep.unused.closed(1.0)
        seen: list[int] = []
        for _ in range(2000):
            bench.pass_time(0.01, step=0.01)
            seen.append(len(bench.pool.idle))
        self.assertEqual(set(seen[200:]), {1})

    def test_a_shorter_time_out_than_was_known(self) -> None:
        """All that stand are too old at once: they stay for the moment in which others are handshaken."""
        bench = PoolBench(min_conn=6, secure=True)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        bench.dialer.after = 0.1
        for connection in [bench.borrow() for _ in range(6)]:
            connection.took = 0.1
            bench.use(connection)
        bench.pass_time(30, step=0.05)
        old = set(bench.pool.idle)
        bench.pool.upkeep.used.advertise(5.0)
        for _ in range(300):
            bench.pass_time(0.01, step=0.01)
            self.assertGreaterEqual(len(bench.pool.idle), 6)
        self.assertFalse(old & set(bench.pool.idle))

    def test_a_shorter_time_out_and_no_others(self) -> None:
        """When its server takes none they go all the same, a moment later."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        for connection in [bench.borrow() for _ in range(2)]:
            bench.use(connection)
        bench.pass_time(30, step=0.05)
        bench.pool.upkeep.used.advertise(5.0)
        bench.dialer.answer = bench.dialer.refuse
        bench.pass_time(2)
        self.assertEqual((bench.pool.idle, bench.pool.closed), ([], {AHEAD: 2}))

    def test_a_floor_whose_dials_take_long_is_renewed_in_time(self) -> None:
        """Used in one moment, all have to leave in one: with few dials a second they begin earlier,
        one after the other."""
        bench = PoolBench(min_conn=12, connect_rate=4.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(5)
        bench.pool.upkeep.used.advertise(20.0)
        for connection in [bench.borrow() for _ in range(12)]:
            bench.use(connection)
        for _ in range(450):
            bench.pass_time(0.05, step=0.05)
            self.assertGreaterEqual(len(bench.pool.idle), 12)
        self.assertEqual(bench.pool.closed, {AHEAD: 12})

    def test_used_and_unused_ones_have_their_own(self) -> None:
        """A server that waits 3 s for a next request, and 30 s for the first."""
        bench = PoolBench(min_conn=2, connect_rate=1000.0)
        server = Impatient(bench, 3.0, unused=30.0)
        for _ in range(3):
            server.live(1)
            for connection in list(bench.pool.idle):
                if not connection.requests:
                    bench.pool.idle.remove(connection)
                    bench.pool.idle.append(connection)
            taken = [bench.borrow(), bench.borrow()]
            for connection in taken:
                bench.use(connection)
            server.live(4)
        upkeep = bench.pool.upkeep
        self.assertTrue(near(upkeep.used.limit, 3.0, 0.1), upkeep.used.limit)
        self.assertEqual(upkeep.unused.source, "")

    def test_a_farewell_counts_as_a_close(self) -> None:
        """408 on an unused connection: that was its time-out."""
        bench = PoolBench(min_conn=2)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(8)
        for transport in bench.dialer.transports[:2]:
            transport.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        bench.pass_time(2)
        self.assertTrue(near(bench.pool.upkeep.unused.limit, 8.0, 0.1), bench.pool.upkeep.unused.limit)

    def test_the_server_refuses_the_replacement(self) -> None:
        """The old one goes all the same, before the server closes it under a request."""
        bench = PoolBench(min_conn=1)
        Impatient(bench, 99)
        bench.pass_time(0.1, step=0.05)
        bench.pool.upkeep.used.advertise(10.0)
        connection = bench.borrow()
        bench.use(connection)
        bench.dialer.answer = bench.dialer.refuse
        bench.pass_time(9.2)
        self.assertEqual((connection.state, len(bench.pool.idle)), (IDLE, 1))
        bench.pass_time(0.5)
        self.assertEqual((connection.state, bench.pool.closed), (RETIRING, {AHEAD: 1}))

    def hasty(self, after: float) -> PoolBench:
        """A pool whose server has closed connections, in four different seconds, so long after its answers."""
        bench = PoolBench(min_conn=4)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.1, step=0.05)
        for count in (4, 1, 1, 1):
            self.assertTrue(self.fresh(bench))
            for connection in [bench.borrow() for _ in range(count)]:
                bench.use(connection)
                bench.pass_time(after)
                connection.transport.peer_ends()  # type: ignore[attr-defined]
            bench.pass_time(1.2)
        return bench

    def fresh(self, bench: PoolBench) -> bool:
        """Whether there is a connection for what may not be repeated when one has just come back."""
        bench.use(bench.borrow())
        connection = bench.pool.acquire(FRESH)
        if connection is not None:
            bench.use(connection)
        return connection is not None

    def test_a_server_that_closes_within_moments(self) -> None:
        """What may not be repeated gets new connections then, and the old way when it is over;
        a restart is no such thing."""
        bench = self.hasty(0.02)
        held = [bench.borrow() for _ in bench.pool.idle[:]]
        bench.use(held[0])
        self.assertIsNone(bench.pool.acquire(FRESH))
        held.append(bench.borrow())
        asker = Asker()
        bench.pool.wait(asker, FRESH)
        bench.use(held[1])
        self.assertEqual(asker.connections, [])
        bench.pass_time(0.1)
        self.assertEqual([connection.requests for connection in asker.connections], [0])
        self.assertIn("connections that have outlived such moments", str(bench.announced))
        for connection in [*bench.pool.in_use]:
            bench.use(connection)
        bench.pass_time(10)
        self.assertTrue(self.fresh(bench))

    def test_one_that_has_outlived_such_moments(self) -> None:
        """Twice the time in which nearly all ends have come: it is as good as a new one, and costs no handshake."""
        bench = self.hasty(0.02)
        bench.pass_time(1)
        rested, newest = bench.borrow(), bench.borrow()
        bench.use(rested)
        bench.pass_time(0.03)
        bench.use(newest)
        while (connection := bench.pool.acquire(FRESH)) is not None:
            self.assertNotIn(connection, (rested, newest))
        bench.pass_time(0.015)
        self.assertIs(bench.pool.acquire(FRESH), rested)
        self.assertIsNone(bench.pool.acquire(FRESH))
        self.assertIs(bench.borrow(), newest)

    def test_ends_that_come_at_any_time_are_outlived_by_none(self) -> None:
        """Up to the age at which an end is a time-out's."""
        bench = self.hasty(0.2)
        bench.use(bench.borrow())
        bench.pass_time(0.45)
        self.assertIsNone(bench.pool.acquire(FRESH))

    def test_those_that_rest_are_not_too_many(self) -> None:
        """They stand beside what is needed, until they have rested: else each would be replaced by a handshake."""
        bench = self.hasty(0.02)
        bench.pass_time(10)
        self.assertEqual(len(bench.pool.idle), 4)
        for _ in range(4):
            bench.pool.holdings.guard.haste.closed(0.02)
            bench.pass_time(1)
        askers = Asker(), Asker()
        for asker in askers:
            bench.pool.wait(asker, NEW)
        bench.pass_time(0.1)
        in_use = [*(bench.borrow() for _ in range(4)), *(asker.connections[0] for asker in askers)]
        bench.pool.upkeep.demand.enough = 5
        for connection in in_use:
            bench.use(connection)
        self.assertEqual({connection.state for connection in in_use}, {IDLE})
        connection = bench.borrow()
        bench.pass_time(0.1)
        bench.pool.upkeep.demand.enough = 4
        bench.use(connection)
        self.assertEqual([each.state for each in in_use], [RETIRING] + [IDLE] * 5)

    def test_a_few_ends_behind_answers_are_no_reason(self) -> None:
        """One in 500 answers, for as long as you like: a handshake for each request would cost more than it saves."""
        bench = PoolBench(min_conn=4)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.1, step=0.05)
        for _ in range(8):
            for _ in range(500):
                bench.use(bench.borrow())
            bench.pool.idle[-1].transport.peer_ends()  # type: ignore[attr-defined]
            bench.pass_time(1.2)
            bench.use(bench.borrow())
            self.assertIsNotNone(connection := bench.pool.acquire(FRESH))
            assert connection is not None
            bench.use(connection)

    def test_one_that_is_due_may_still_be_used(self) -> None:
        """What can be repeated may have it; what must not be lost may not."""
        bench = PoolBench(min_conn=1)
        Impatient(bench, 99)
        bench.pass_time(0.1, step=0.05)
        bench.pool.upkeep.used.advertise(10.0)
        connection = bench.borrow()
        bench.use(connection)
        bench.dialer.answer = None
        bench.pass_time(9.2)
        self.assertIsNone(bench.pool.acquire(FRESH))
        self.assertIs(bench.pool.acquire(ANY), connection)
        bench.use(connection)
        self.assertEqual((connection.state, bench.pool.holdings.due), (IDLE, set()))

    def test_what_the_server_says_counts_at_once(self) -> None:
        """Keep-Alive: timeout=5 on the first answer, max=0 on the second."""
        bench = PoolBench(min_conn=1)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.1, step=0.05)
        for field, state in ((b"timeout=5, max=1", IDLE), (b"timeout=5, max=0", RETIRING)):
            connection = bench.borrow()
            connection.send(RecordingExchange(), GET, True, None)
            transport: Any = connection.transport
            transport.receive(b"HTTP/1.1 204 No\r\nKeep-Alive: " + field + b"\r\n\r\n")
            self.assertEqual(connection.state, state)
        self.assertEqual((bench.pool.upkeep.used.limit, bench.pool.upkeep.used.source), (5.0, "advertised"))
        bench.pass_time(30)
        self.assertNotIn(PEER_CLOSED, bench.pool.closed)


class WatchedTests(SynchronousTestCase):
    """Whether a server has become more patient is seen on a connection that serves nobody."""

    def learned(self, **limits: Any) -> tuple[PoolBench, Impatient]:
        bench = PoolBench(min_conn=2, connect_rate=1000.0, **limits)
        server = Impatient(bench, 4.0)
        server.live(5.5)
        self.assertTrue(near(bench.pool.upkeep.unused.limit, 4.0, 0.1), bench.pool.upkeep.unused.limit)
        return bench, server

    def test_it_is_given_to_nobody(self) -> None:
        """It is none of the idle ones; the floor stands beside it."""
        bench, server = self.learned()
        server.after = server.unused = 99
        server.live(5)
        (watched,) = bench.pool.watched
        self.assertEqual((watched.state, len(bench.pool.idle)), (WATCHED, 2))
        self.assertNotIn(watched, [bench.borrow(), bench.borrow()])

    def test_its_successor_is_handshaken_first(self) -> None:
        """The floor stands at every moment, however long a handshake takes."""
        bench, server = self.learned()
        bench.dialer.after = 0.06
        server.after = server.unused = 99
        bench.pass_time(1)
        looks = 0
        for _ in range(3000):
            bench.pass_time(0.01, step=0.01)
            looks += bool(bench.pool.watched)
            self.assertGreaterEqual(len(bench.pool.idle), 2)
        self.assertGreater(looks, 0)

    def test_a_server_that_waits_longer_now(self) -> None:
        """What is thought grows as far as it was seen to stand, and what waits with it."""
        bench, server = self.learned()
        server.after = server.unused = 12.0
        server.live(16)
        self.assertTrue(near(bench.pool.upkeep.unused.limit, 12.0, 1.2), bench.pool.upkeep.unused.limit)
        self.assertEqual(server.closed[2:], [12.0])

    def test_enough_is_enough(self) -> None:
        """At four times the age it is let go; it is not kept for ever."""
        bench, server = self.learned()
        server.after = server.unused = 1e9
        server.live(4 * WATCH_UNTIL + 4)
        self.assertEqual((bench.pool.watched, bench.pool.closed["seen enough"]), (set(), 1))

    def test_its_end_is_no_loss(self) -> None:
        """Nothing is dialled for it, and nothing of it is left."""
        bench, server = self.learned()
        server.live(2)
        self.assertEqual(len(bench.pool.watched), 1)
        dials = len(bench.dialer.dials)
        server.live(0.8)
        self.assertEqual((bench.pool.watched, len(bench.dialer.dials)), (set(), dials))
        bench.pool.close("stopping")
        self.assertEqual(bench.timers_left(), [])


class LifeTests(SynchronousTestCase):
    """`pool-max-age` and `max-reuse`."""

    def test_each_has_one_successor(self) -> None:
        """No more are opened than leave, with a bound on all of them as without."""
        for most in (None, 8):
            bench = PoolBench(min_conn=4, max_age=20.0, most=most)
            bench.dialer.answer = bench.dialer.accept
            bench.pass_time(100, step=0.05)
            closed = bench.pool.closed
            self.assertEqual((list(closed), len(bench.dialer.dials)), ([LIFE_OVER], 4 + closed[LIFE_OVER]))

    def test_no_two_ends_meet(self) -> None:
        """Connections born together end one after the other, with gaps that are no accident."""
        for count in (2, 8, 50):
            bench = PoolBench(min_conn=count, max_age=1000.0, connect_rate=1000.0)
            bench.dialer.answer = bench.dialer.accept
            bench.pass_time(1)
            ends = sorted(connection.retire_at for connection in bench.pool.idle)
            gaps = [after - before for before, after in pairwise(ends)]
            self.assertGreater(min(gaps), 1000 * LIFE_JITTER / count / 3, count)
            self.assertGreaterEqual(ends[0], bench.clock.seconds() + 1000 * (1 - LIFE_JITTER) - 1)

    def test_the_floor_stands_through_all_of_them(self) -> None:
        """Eight lives end, and eight stand at every moment."""
        bench = PoolBench(min_conn=8, max_age=20.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        for _ in range(600):
            bench.pass_time(0.1, step=0.05)
            self.assertGreaterEqual(len(bench.pool.idle), 8)
        self.assertGreater(bench.pool.closed[LIFE_OVER], 15)

    def test_the_end_of_the_client_certificate(self) -> None:
        """Nothing that was opened before stays beyond it; what is opened later is the servers' to judge."""
        bench = PoolBench(min_conn=2)
        bench.dialer.answer = bench.dialer.accept
        bench.pool.expires_at = bench.clock.seconds() + 100
        bench.pass_time(99, step=0.5)
        old = set(bench.pool.idle)
        self.assertEqual((len(old), bench.pool.closed), (2, {}))
        bench.pass_time(2)
        self.assertFalse(old & set(bench.pool.idle))
        bench.pass_time(100, step=0.5)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (2, {LIFE_OVER: 2}))

    def test_the_last_use_has_its_replacement_opened(self) -> None:
        """`max-reuse`: while it serves for the last time the next one is handshaken."""
        bench = PoolBench(min_conn=1, max_reuse=1)
        bench.answer_all()
        bench.use(bench.borrow())
        last = bench.borrow()
        bench.pass_time(0.2)
        self.assertEqual(len(bench.dialer.open), 1)
        bench.answer_all()
        bench.use(last)
        self.assertEqual((len(bench.pool.idle), bench.dialer.open, bench.pool.closed), (1, [], {"max-reuse": 1}))


class SuspectTests(SynchronousTestCase):
    """One that had stood idle is lost under a request: its server may have restarted."""

    def lost(self) -> PoolBench:
        """Four stand idle, all used before; one of them is lost under a request."""
        bench = PoolBench(min_conn=4)
        bench.answer_all()
        for connection in [bench.borrow() for _ in range(4)]:
            bench.use(connection)
        bench.pass_time(0.5)
        self.lose(bench)
        return bench

    def lose(self, bench: PoolBench) -> None:
        connection = bench.borrow()
        connection.send(RecordingExchange(), GET, True, None)
        transport: Any = connection.transport
        transport.peer_ends()

    def test_the_others_are_given_to_nobody(self) -> None:
        """Until they have stood a moment longer: whoever ended with it has been heard of by then."""
        bench = self.lost()
        stale = list(bench.pool.idle)
        self.assertIsNone(bench.pool.acquire())
        bench.answer_all()
        fresh = bench.borrow()
        self.assertNotIn(fresh, stale)
        bench.use(fresh)
        self.assertIs(bench.borrow(), fresh)
        self.assertIsNone(bench.pool.acquire())
        bench.pass_time(1.1)
        self.assertIn(bench.borrow(), stale)

    def test_no_kind_of_request_is_given_a_suspect(self) -> None:
        """Not behind a newer one that is not fit for it, either."""
        for kind in (ANY, FRESH, SAFE):
            bench = PoolBench(min_conn=2)
            bench.answer_all()
            for each in (bench.borrow(), bench.borrow()):
                bench.use(each)
                each.safe = True
            bench.pass_time(1)
            bench.pool.upkeep.renew()
            bench.dialer.open[0].succeed()
            suspects = set(bench.pool.idle[:-1])
            self.assertTrue(suspects)
            while (taken := bench.pool.acquire(kind)) is not None:
                self.assertNotIn(taken, suspects)

    def test_a_request_that_kills_its_connections_is_no_weapon(self) -> None:
        """The alarm is raised once in a while only, or each such request would cost all others a handshake."""
        bench = self.lost()
        bench.pass_time(1.1)
        self.lose(bench)
        self.assertIsNotNone(bench.pool.acquire())

    def test_what_was_answered_is_no_alarm(self) -> None:
        """A connection that ends in the middle of an answer says nothing about the others."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.use(bench.borrow())
        connection = bench.borrow()
        connection.send(RecordingExchange(), GET, True, None)
        transport: Any = connection.transport
        transport.receive(b"HTTP/1.1 200")
        transport.peer_ends()
        self.assertIsNotNone(bench.pool.acquire())


class StrictTests(SynchronousTestCase):
    """`strict-maxconn`: never more connections than that, of whatever kind."""

    def test_a_floor_that_is_all_there_may_be_grows_no_older_than_it_may(self) -> None:
        """No other can stand before one leaves: they leave one at a time."""
        bench = PoolBench(min_conn=4, most=4, max_age=60.0)
        bench.dialer.answer = bench.dialer.accept
        pool = bench.pool
        bench.pass_time(1)
        for _ in range(600):
            bench.pass_time(0.5)
            self.assertLessEqual(pool.counted, 4)
            self.assertGreaterEqual(len(pool.idle), 3)
            self.assertLess(max(bench.clock.seconds() - each.born for each in pool.idle), 62)
        self.assertGreater(pool.counters.dials, 4 * 4)
        self.assertEqual({*pool.counters.closed}, {("proxy", "max_age")})

    def test_the_floor_and_demand_together(self) -> None:
        """The floor stops at the bound; who waits gets what comes back."""
        bench = PoolBench(min_conn=2, most=3)
        bench.answer_all()
        held = [bench.borrow(), bench.borrow()]
        askers = [Asker() for _ in range(3)]
        for asker in askers:
            bench.pool.wait(asker)
        bench.pass_time(1)
        self.assertEqual((bench.pool.standing, len(bench.dialer.open)), (3, 1))
        bench.answer_all()
        self.assertEqual([len(asker.connections) for asker in askers], [1, 0, 0])
        bench.use(held[0])
        self.assertEqual([len(asker.connections) for asker in askers], [1, 1, 0])

    def test_who_needs_a_new_one_has_an_idle_one_go(self) -> None:
        """A POST that is given none that has stood long."""
        bench = PoolBench(min_conn=0, most=1)
        bench.dialer.answer = bench.dialer.accept
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        bench.pass_time(0.1)
        bench.use(first.connections[0])
        bench.pass_time(3)
        self.assertIsNone(bench.pool.acquire(FRESH))
        bench.pool.wait(second, FRESH)
        bench.pass_time(0.1)
        self.assertEqual((len(second.connections), bench.pool.closed), (1, {"room for another": 1}))

    def test_one_that_is_watched_makes_room_first(self) -> None:
        """It serves nobody any more."""
        bench = PoolBench(min_conn=1, most=2)
        bench.answer_all()
        (standing,) = bench.pool.idle
        bench.pool.wait(leaver := Asker(), NEW)
        bench.answer_all()
        bench.use(leaver.connections[0])
        bench.pool.holdings.set_aside(leaver.connections[0])
        bench.pool.wait(Asker(), NEW)
        self.assertEqual((bench.pool.idle, bench.pool.closed), ([standing], {"room for another": 1}))
        self.assertEqual(len(bench.dialer.open), 1)

    def test_who_needs_a_new_one_and_all_were_in_use(self) -> None:
        """The first that comes back goes for it."""
        bench = PoolBench(min_conn=0, most=1)
        bench.dialer.answer = bench.dialer.accept
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        bench.pass_time(0.1)
        bench.pool.wait(second, NEW)
        bench.use(first.connections[0])
        bench.pass_time(0.1)
        self.assertEqual((len(second.connections), bench.pool.closed), (1, {"room for another": 1}))

    def test_one_that_is_slow_to_go_holds_its_place(self) -> None:
        """Only when its socket is closed is there room."""
        bench = PoolBench(min_conn=0, most=1)
        bench.dialer.answer = bench.dialer.accept
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        bench.pass_time(0.1)
        (connection,) = first.connections
        transport: Any = connection.transport
        transport.stuck = 10
        bench.pool.retire(connection, "stuck")
        bench.pool.wait(second)
        bench.pass_time(1)
        self.assertEqual((len(second.connections), bench.pool.standing), (0, 1))
        bench.pass_time(5)
        self.assertEqual((len(second.connections), bench.pool.standing), (1, 1))
