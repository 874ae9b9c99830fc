"""How connections leave a pool: too many, too old, closed by the server, or because the pool's owner says so."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net import backlog
from reusedproxy.net.transport import CLOSED, OPEN, PEER_CLOSED, PEER_RESET
from reusedproxy.pool.connection import FLUSH, IDLE, IN_USE, RETIRING
from reusedproxy.pool.dialing.governor import BACKOFF_LAST, DIALS
from reusedproxy.pool.kinds import NEW
from tests.fakes import Asker, PoolBench, check_sums


class RetiringTests(SynchronousTestCase):
    """When a connection goes, and with what word."""

    def many(self, idle: int, **limits: Any) -> PoolBench:
        """`idle` connections, all borrowed at once and returned."""
        bench = PoolBench(**limits)
        bench.answer_all()
        taken = [bench.borrow() for _ in list(bench.pool.idle)[:idle]]
        askers = [Asker() for _ in range(idle - len(taken))]
        for asker in askers:
            bench.pool.wait(asker)
        bench.answer_all()
        for connection in [*taken, *(asker.connections[0] for asker in askers)]:
            bench.use(connection)
        return bench

    def test_max_conn(self) -> None:
        """More than `pool-max-conn` are not kept, returned or new."""
        bench = self.many(5, max_conn=3)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (3, {"pool full": 2}))
        leaver = Asker()
        bench.pool.wait(leaver)
        bench.pool.leave(leaver)
        bench.answer_all()
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (3, {"pool full": 3}))

    def test_purge_delay_of_zero(self) -> None:
        """Keeps the floor and nothing above it, returned or new."""
        bench = self.many(5, min_conn=2, purge_delay=0.0)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (2, {"pool full": 3}))
        bench.pool.wait(leaver := Asker())
        bench.pool.leave(leaver)
        bench.answer_all()
        bench.pass_time(3)
        self.assertEqual(len(bench.pool.idle), 2)

    def test_max_reuse(self) -> None:
        """`max-reuse 2`: three requests, then it goes."""
        bench = PoolBench(min_conn=1, max_reuse=2)
        bench.answer_all()
        connection = bench.borrow()
        bench.use(connection)
        for _ in range(2):
            self.assertIs(bench.borrow(), connection)
            bench.use(connection)
        self.assertEqual((connection.state, bench.pool.closed), (RETIRING, {"max-reuse": 1}))
        self.assertEqual(len(bench.dialer.open), 1)

    def test_the_purge_halves_what_exceeds_the_need(self) -> None:
        """HAProxy's rule: every `pool-purge-delay` half of the excess goes, the longest idle first."""
        bench = self.many(16, purge_delay=5.0)
        newest = bench.pool.idle[-1]
        seen = []
        for _ in range(8):
            seen.append(len(bench.pool.idle))
            bench.pass_time(5)
        self.assertEqual(seen[:2], [16, 16])  # in the first period all were needed
        self.assertEqual(sorted(seen, reverse=True), seen)
        self.assertLessEqual(seen[-1], 6)
        self.assertIs(bench.pool.idle[-1], newest)
        self.assertEqual(set(bench.pool.closed), {"purged"})

    def test_the_purge_stops_at_the_floor(self) -> None:
        """Quiet never costs a warm connection, and nothing is opened in their place."""
        bench = self.many(16, min_conn=4, purge_delay=1.0)
        dials = len(bench.dialer.dials)
        bench.pass_time(60)
        self.assertEqual((len(bench.pool.idle), len(bench.dialer.dials)), (4, dials))

    def test_no_more_stand_than_were_used_at_once(self) -> None:
        """Whatever opens them: each time somebody needs a new one, and one request is under way at any time."""
        bench = self.many(1, min_conn=2)
        for _ in range(50):
            bench.pool.wait(asker := Asker(), NEW)
            bench.answer_all()
            bench.use(asker.connections[0])
            bench.pass_time(0.1, step=0.05)
        self.assertLessEqual(len(bench.pool.idle), 2 + 1)
        self.assertIn(asker.connections[0], bench.pool.idle)  # the one used last is the surest
        self.assertIn("more than are needed", bench.pool.closed)

    def test_who_waits_counts_as_use(self) -> None:
        """What was opened for a burst stays, though one connection that came back has served all of it."""
        bench = PoolBench()
        askers = [Asker() for _ in range(9)]
        for asker in askers:
            bench.pool.wait(asker)
        bench.dialer.open[0].succeed()
        for asker in askers:
            bench.use(asker.connections[0])
        bench.answer_all()
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (9, {}))

    def test_low_conn_counts_beside_the_need(self) -> None:
        """HAProxy's `pool-low-conn`: as many may stand idle whatever is needed."""
        bench = self.many(1, low_conn=4)
        for _ in range(20):
            bench.pool.wait(asker := Asker(), NEW)
            bench.answer_all()
            bench.use(asker.connections[0])
        self.assertEqual(len(bench.pool.idle), 4 + 1)

    def test_idle_timeout(self) -> None:
        """What stood idle too long goes, but never the floor."""
        bench = self.many(6, min_conn=2, idle_timeout=3.0, purge_delay=1000.0)
        bench.pass_time(2.5)
        self.assertEqual(len(bench.pool.idle), 6)
        bench.pass_time(2)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (2, {"idle too long": 4}))
        bench.pass_time(60)
        self.assertEqual((len(bench.pool.idle), bench.dialer.open), (2, []))

    def test_max_age_opens_the_replacement_first(self) -> None:
        """The old one leaves when the new one stands, not before."""
        bench = PoolBench(min_conn=2, max_age=100.0)
        bench.answer_all()
        old = list(bench.pool.idle)
        bench.pass_time(101, step=0.5)
        self.assertEqual((bench.pool.idle, len(bench.dialer.open)), (old, 2))
        bench.dialer.open[0].succeed()
        self.assertEqual(len(bench.pool.idle), 2)
        bench.answer_all()
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (2, {"life over": 2}))
        self.assertFalse(set(old) & set(bench.pool.idle))

    def test_max_age_with_a_full_pool(self) -> None:
        """Replacing works at `pool-max-conn` too: it is the old one that is too many."""
        bench = PoolBench(min_conn=2, max_conn=2, max_age=100.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(103, step=0.5)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (2, {"life over": 2}))
        self.assertEqual(len(bench.dialer.dials), 4)

    def test_max_age_of_one_in_use(self) -> None:
        """It finishes what it does and goes then, when the floor stands; else when it does."""
        bench = PoolBench(min_conn=1, max_age=10.0)
        bench.answer_all()
        connection = bench.borrow()
        bench.pass_time(20, step=0.5)
        self.assertEqual((connection.state, len(bench.dialer.open)), (IN_USE, 1))
        bench.use(connection)
        self.assertEqual((connection.state, bench.pool.idle), (IDLE, [connection]))
        bench.answer_all()
        self.assertEqual((connection.state, bench.pool.closed), (RETIRING, {"life over": 1}))
        connection = bench.borrow()
        bench.pass_time(20, step=0.5)
        bench.answer_all()
        bench.use(connection)
        self.assertEqual((connection.state, bench.pool.closed), (RETIRING, {"life over": 2}))

    def test_a_life_that_ends_again_and_again(self) -> None:
        """One that is always in use for a moment is replaced all the same, and serves until then."""
        bench = PoolBench(min_conn=1, max_age=1.0)
        bench.answer_all()
        bench.dialer.after = 0.06
        bench.dialer.answer = bench.dialer.accept
        for _ in range(500):
            connection = bench.borrow()
            bench.pass_time(0.003, step=0.003)
            bench.use(connection)
            self.assertTrue(bench.pool.idle)
            self.assertLess(bench.clock.seconds() - connection.born, 1.2)
            bench.pass_time(0.003, step=0.003)
        self.assertEqual(bench.pool.counters.handshakes_on_request_path, 0)

    def test_one_that_outlived_its_life_is_none_for_who_waits(self) -> None:
        """Its place is: another is opened there. Only when its server takes no others it goes on."""
        for failing, closed in ((False, {"life over": 1}), (True, {})):
            bench = PoolBench(min_conn=1, max_age=1.0)
            bench.answer_all()
            connection = bench.borrow()
            bench.pass_time(2)
            if failing:
                bench.dialer.open[0].fail()
            bench.pool.wait(asker := Asker())
            bench.use(connection)
            self.assertEqual((bench.pool.closed, asker.connections), (closed, [connection] if failing else []))

    def test_the_end_of_the_certificate_of_one_in_use(self) -> None:
        """It stands for nobody any more."""
        bench = PoolBench(min_conn=1)
        bench.pool.expires_at = bench.clock.seconds() + 5
        bench.answer_all()
        connection = bench.borrow()
        bench.pass_time(6)
        bench.use(connection)
        self.assertEqual((connection.state, bench.pool.closed), (RETIRING, {"life over": 1}))

    def test_one_request_only(self) -> None:
        """It goes, whatever the floor lacks."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        connection = bench.borrow()
        connection.retire_at = -inf
        bench.use(connection)
        self.assertEqual((connection.state, bench.pool.closed), (RETIRING, {"one request only": 1}))

    def test_the_one_that_is_due_is_the_one_too_many(self) -> None:
        """`pool-purge-delay 0`: a connection that comes back stands in the place of one whose life is over."""
        bench = PoolBench(min_conn=2, purge_delay=0.0, max_age=100.0)
        bench.answer_all()
        bench.pool.wait(asker := Asker(), NEW)
        bench.answer_all()
        old = bench.pool.idle[1]  # not the one that has stood longest
        old.retire_at = bench.clock.seconds()
        bench.pool.deadlines.watch(old, old.retire_at)
        bench.pass_time(0.1)
        self.assertEqual(bench.pool.holdings.due, {old})
        (new,) = asker.connections
        bench.use(new)
        self.assertEqual((old.state, new.state, bench.pool.closed), (RETIRING, IDLE, {"life over": 1}))

    def test_gone_at_once_when_the_server_closes(self) -> None:
        """A connection that the server has closed is never handed out."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        transport = bench.dialer.transports[0]
        transport.peer_ends(PEER_RESET)
        self.assertIsNone(bench.pool.acquire())
        self.assertEqual((transport.state, bench.pool.closed, bench.pool.retiring), (CLOSED, {PEER_RESET: 1}, set()))

    def test_the_server_closes_in_any_order(self) -> None:
        """Each leaves the list, also those that became idle at one moment, or while the clock was set back."""
        bench = self.many(4)
        bench.clock.advance(1)
        for connection in bench.pool.idle[:2]:
            connection.idle_since -= 5  # in the list before it was at that time
        bench.pool.idle.append(bench.pool.idle.pop(0))
        standing: list[Any] = list(bench.pool.idle)
        for index in (2, 0, 3, 1):
            standing[index].transport.peer_ends()
            self.assertNotIn(standing[index], bench.pool.idle)
        self.assertEqual((bench.pool.idle, bench.pool.closed), ([], {PEER_CLOSED: 4}))

    def test_unasked_bytes(self) -> None:
        """Bytes on an idle connection end it: they can belong to no request."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        bench.use(bench.borrow())
        bench.dialer.transports[0].receive(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertEqual((bench.pool.idle, bench.pool.closed), ([], {"unasked bytes": 1}))

    def test_408_on_an_unused_connection_is_a_farewell(self) -> None:
        """A server that waits no longer for a first request says 408 or 400 (RFC 9110 section 15.5.9)."""
        for answer in (b"HTTP/1.1 408 Request Timeout\r\n", b"HTTP/1.0 408 x\r\n", b"HTTP/1.1 400 Bad Request\r\n"):
            bench = PoolBench(min_conn=1)
            bench.answer_all()
            bench.dialer.transports[0].receive(answer)
            self.assertEqual(bench.pool.closed, {"server timed it out unused": 1})
            self.assertEqual(bench.pool.counters.dials_failed, 0)

    def test_what_is_unsent_has_a_while_to_go_out(self) -> None:
        """A closing connection whose peer takes nothing is cut off at last."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        transport = bench.dialer.transports[0]
        transport.stuck = 10
        bench.pool.suspend("test")
        self.assertEqual(len(bench.pool.retiring), 1)
        bench.pass_time(FLUSH + 0.1)
        self.assertEqual((transport.state, transport.end), (CLOSED, ("abort", "peer did not take the end")))
        self.assertEqual(bench.pool.retiring, set())


class SuspendTests(SynchronousTestCase):
    """What its owner says: suspend, resume, close."""

    def test_suspend_lets_go_of_what_is_idle(self) -> None:
        """Idle connections and dials end; what is in use finishes and goes."""
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        used = bench.borrow()
        asker = Asker()
        bench.pool.suspend("server DOWN")
        self.assertEqual((bench.pool.idle, bench.pool.closed), ([], {"server DOWN": 2}))
        bench.pool.wait(asker)
        self.assertEqual(len(asker.failures), 1)
        bench.use(used)
        self.assertEqual(bench.pool.closed, {"server DOWN": 2, "pool suspended": 1})
        bench.pass_time(10)
        self.assertEqual(len(bench.dialer.dials), 3)

    def test_suspend_cancels_dials_and_fails_waiters(self) -> None:
        """Who waits is told, once."""
        bench = PoolBench()
        asker = Asker()
        bench.pool.wait(asker)
        dial = bench.dialer.open[0]
        bench.pool.suspend("server DOWN")
        self.assertEqual((asker.failures, dial.cancelled), (["connection failed: server DOWN"], True))
        self.assertEqual(bench.pool.connecting, {})

    def test_resume_fills_the_floor_again(self) -> None:
        """As at the start."""
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        bench.pool.suspend("server DOWN")
        bench.pool.resume()
        bench.answer_all()
        self.assertEqual(len(bench.pool.idle), 3)

    def test_close_is_for_good(self) -> None:
        """Nothing opens it again."""
        bench = PoolBench(min_conn=3)
        bench.answer_all()
        bench.pool.close("stopping")
        bench.pool.resume()
        self.assertEqual((bench.pool.state, bench.dialer.open, bench.pool.closed), ("closed", [], {"stopping": 3}))

    def test_no_timer_is_left_after_a_close(self) -> None:
        """Whatever it was in the middle of: filling, refilling, waiting for a server, trying one out."""

        def filling(bench: PoolBench) -> None:
            bench.dialer.open[0].succeed()

        def refilling(bench: PoolBench) -> None:
            bench.answer_all()
            bench.borrow()

        def waiting(bench: PoolBench) -> None:
            bench.dialer.open[0].fail()

        def trying(bench: PoolBench) -> None:
            while bench.dialer.open:
                bench.dialer.open[0].fail()
            bench.pass_time(1)
            bench.dialer.open[0].succeed()

        def tried_twice(bench: PoolBench) -> None:
            trying(bench)
            bench.dialer.transports[-1].peer_ends()
            bench.pass_time(BACKOFF_LAST)
            bench.dialer.open[0].succeed()

        for put in (filling, refilling, waiting, trying, tried_twice):
            bench = PoolBench(min_conn=8, connect_rate=2.0)
            put(bench)
            bench.pool.close("stopping")
            self.assertEqual(bench.timers_left(), [], put.__name__)


class SlicesTests(SynchronousTestCase):
    """A server goes, of which hundreds stand idle, and for which thousands wait: each turn of the loop ends a few."""

    def setUp(self) -> None:
        self.patch(backlog, "SLICE", 0.0)  # one in each

    def idle(self, count: int, **limits: Any) -> PoolBench:
        bench = PoolBench(secure=True, min_conn=count, **limits)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(3)
        self.assertEqual(len(bench.pool.idle), count)
        return bench

    def standing(self, bench: PoolBench) -> int:
        """Whose sockets are open."""
        return sum(each.state == OPEN for each in bench.dialer.transports)

    def waiting(self, count: int) -> tuple[PoolBench, list[Asker]]:
        bench, askers = PoolBench(), [Asker() for _ in range(count)]
        for asker in askers:
            bench.pool.wait(asker)
        return bench, askers

    def test_nobody_is_given_one_from_the_first_moment(self) -> None:
        """They are counted as gone, and their server's words for them go unheard."""
        bench = self.idle(5)
        bench.pool.suspend("server DOWN")
        check_sums(bench.pool)
        self.assertEqual((bench.pool.idle, len(bench.pool.retiring), self.standing(bench)), ([], 4, 4))
        self.assertIsNone(bench.pool.acquire())
        self.assertEqual(bench.pool.closed, {"server DOWN": 5})
        self.assertFalse(any(each.reading for each in bench.dialer.transports))

    def test_all_are_ended_in_the_end(self) -> None:
        """With the word that they were retired for."""
        bench = self.idle(5)
        bench.pool.suspend("server DOWN")
        bench.pass_time(0.1)
        self.assertEqual((self.standing(bench), bench.pool.standing), (0, 0))
        self.assertEqual({each.end for each in bench.dialer.transports}, {("close", "server DOWN")})
        self.assertEqual(bench.clock.getDelayedCalls(), [])

    def test_a_server_that_is_back_meanwhile_gets_new_ones(self) -> None:
        """The old ones end beside them."""
        bench = self.idle(5)
        old = [*bench.dialer.transports]
        bench.pool.suspend("server DOWN")
        bench.pool.resume()
        bench.pass_time(3)
        self.assertEqual({each.state for each in old}, {CLOSED})
        self.assertEqual((len(bench.pool.idle), self.standing(bench)), (5, 5))
        check_sums(bench.pool)

    def test_those_that_are_still_open_count_for_the_ceiling(self) -> None:
        """`strict-maxconn`: their server has them yet."""
        bench = self.idle(4, most=4)
        bench.pool.suspend("server DOWN")
        bench.pool.resume()
        self.assertEqual(bench.pool.standing, 4)
        for _ in range(200):
            bench.pass_time(0.002)
            self.assertLessEqual(bench.pool.standing, 4)
        bench.pass_time(3)
        self.assertEqual(len(bench.pool.idle), 4)

    def test_a_server_that_ends_them_first(self) -> None:
        """Says nothing of new ones by that."""
        bench = self.idle(3)
        bench.pool.suspend("server DOWN")
        for transport in bench.dialer.transports:
            transport.abort(PEER_RESET)
        bench.pass_time(1)
        self.assertEqual((bench.pool.standing, bench.pool.trouble), (0, ""))
        check_sums(bench.pool)

    def test_a_close_ends_the_rest_at_once(self) -> None:
        """And tells the rest: the daemon stops."""
        bench = self.idle(5)
        bench.pool.suspend("server DOWN")
        bench.pool.close("stopping")
        self.assertEqual((self.standing(bench), bench.pool.standing), (0, 0))
        self.assertEqual(bench.timers_left(), [])
        bench, askers = self.waiting(5)
        bench.pool.suspend("server DOWN")
        bench.pool.close("stopping")
        self.assertEqual([asker.told for asker in askers], [1] * 5)
        self.assertEqual(bench.timers_left(), [])

    def test_who_waits_is_told_once_and_in_the_order_of_their_coming(self) -> None:
        """Some now, some in later turns."""
        bench, askers = self.waiting(5)
        bench.pool.suspend("server DOWN")
        self.assertEqual([asker.told for asker in askers], [1, 0, 0, 0, 0])
        self.assertEqual(len(bench.pool.waiters), 0)
        bench.pass_time(0.004, step=0.002)
        self.assertEqual([asker.told for asker in askers], [1, 1, 1, 0, 0])
        bench.pool.resume()
        bench.answer_all()
        bench.pass_time(1)
        self.assertEqual([asker.failures for asker in askers], [["connection failed: server DOWN"]] * 5)
        check_sums(bench.pool)

    def test_who_leaves_meanwhile_is_not_told(self) -> None:
        """It may wait again, and then it is told of that."""
        bench, askers = self.waiting(4)
        bench.pool.suspend("server DOWN")
        bench.pool.leave(askers[2])
        bench.pool.leave(askers[3], timed_out=True)
        bench.pool.resume()
        bench.pool.wait(askers[3])
        bench.answer_all()
        bench.pass_time(1)
        self.assertEqual([asker.told for asker in askers], [1, 1, 0, 1])
        self.assertEqual(len(askers[3].connections), 1)
        check_sums(bench.pool)

    def test_dials_that_fail_tell_in_slices_too(self) -> None:
        """Those who come meanwhile wait for the next dial."""
        bench, askers = self.waiting(DIALS)
        for dial in [*bench.dialer.open]:
            dial.time_out()
        late = Asker()
        bench.pool.wait(late)
        self.assertEqual(sum(asker.told for asker in askers), 1)
        self.assertEqual(len(bench.pool.waiters), 1)
        bench.pass_time(0.5, step=0.002)
        self.assertEqual([asker.told for asker in askers], [1] * len(askers))
        self.assertEqual(late.told, 0)

    def test_one_that_fails_when_it_is_told_costs_the_others_nothing(self) -> None:
        """Their turn comes all the same."""
        bench, askers = self.waiting(3)

        def fail() -> None:
            raise ZeroDivisionError

        askers[0].then = fail
        self.assertRaises(ZeroDivisionError, bench.pool.suspend, "server DOWN")
        bench.pass_time(0.1)
        self.assertEqual([asker.told for asker in askers], [1] * 3)

    def test_a_close_while_one_is_told(self) -> None:
        """The last client of a daemon that is to stop has got its answer."""
        bench, askers = self.waiting(3)
        askers[0].then = lambda: bench.pool.close("stopping")
        bench.pool.suspend("server DOWN")
        self.assertEqual([asker.told for asker in askers], [1] * 3)
        self.assertEqual(bench.timers_left(), [])
