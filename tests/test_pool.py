"""The pool: what it keeps ready, and whom it gives what."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import PEER_CLOSED
from reusedproxy.pool.connection import IDLE, IN_USE
from reusedproxy.pool.dialing.governor import DIALS, FLOOR_DIALS
from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE
from reusedproxy.pool.refill import REFILL_AFTER
from tests.fakes import Asker, PoolBench


class OutOfDescriptorsTests(SynchronousTestCase):
    """A dial that fails because we have nothing left to connect with."""

    def test_who_waits_gets_what_comes_back(self) -> None:
        """As long as a connection is in use: better later than a 503."""
        bench = PoolBench()
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        bench.answer_all()
        bench.pool.wait(second)
        bench.dialer.open[0].fail("Too many open files", ours=True)
        self.assertEqual(second.told, 0)
        bench.use(first.connections[0])
        bench.pool.release(first.connections[0])
        self.assertEqual(second.connections, first.connections)

    def test_without_any_in_use_all_have_waited_in_vain(self) -> None:
        """Nothing would come back."""
        bench = PoolBench()
        asker = Asker()
        bench.pool.wait(asker)
        bench.dialer.open[0].fail("Too many open files", ours=True)
        self.assertEqual(asker.failures, ["TCP connect failed: Too many open files"])

    def test_dials_do_not_storm(self) -> None:
        """One attempt after another, with pauses, however many wait."""
        bench = PoolBench()
        first = Asker()
        bench.pool.wait(first)
        bench.answer_all()
        bench.pass_time(1)
        for _ in range(100):
            bench.pool.wait(Asker())
        made = len(bench.dialer.dials)
        for _ in range(500):
            for dial in bench.dialer.open[:]:
                dial.fail("Too many open files", ours=True)
            bench.pass_time(0.02)
        self.assertLess(len(bench.dialer.dials) - made, 50)


class FloorTests(SynchronousTestCase):
    """`pool-min-conn`: so many stand ready, whatever happens."""

    def test_nothing_is_opened_before_it_is_wanted(self) -> None:
        """A pool that has not been resumed opens nothing."""
        bench = PoolBench(min_conn=4, resume=False)
        bench.pass_time(10)
        self.assertEqual(bench.dialer.dials, [])

    def test_without_a_floor_nothing_is_opened_unasked(self) -> None:
        """A plain HAProxy file opens nothing by itself."""
        bench = PoolBench()
        bench.pass_time(10)
        self.assertEqual(bench.dialer.dials, [])

    def test_filled_at_resume(self) -> None:
        """The floor stands as soon as the server has answered, and then nothing more is opened."""
        bench = PoolBench(min_conn=10)
        bench.answer_all()
        bench.pass_time(60)
        self.assertEqual((len(bench.pool.idle), len(bench.dialer.dials)), (10, 10))
        self.assertEqual(bench.pool.counters.handshakes_on_request_path, 0)

    def test_a_few_at_once(self) -> None:
        """At most FLOOR_DIALS handshakes are under way for the floor."""
        bench = PoolBench(min_conn=10)
        self.assertEqual(len(bench.dialer.open), FLOOR_DIALS)
        bench.dialer.open[0].succeed()
        self.assertEqual(len(bench.dialer.open), FLOOR_DIALS)
        bench.answer_all()
        self.assertEqual(bench.dialer.most_open, FLOOR_DIALS)

    def test_refilled_at_once_when_the_server_closes_one(self) -> None:
        """No tick is waited for."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.pass_time(5)
        bench.dialer.transports[0].peer_ends()
        self.assertEqual((len(bench.pool.idle), len(bench.dialer.open)), (1, 1))
        bench.answer_all()
        self.assertEqual(len(bench.pool.idle), 2)
        self.assertEqual(bench.pool.closed, {PEER_CLOSED: 1})

    def test_refilled_at_once_when_one_is_retired(self) -> None:
        """A server that asks to close after a response costs one dial, at once."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.use(bench.borrow(), close=True)
        self.assertEqual((len(bench.pool.idle), len(bench.dialer.open)), (1, 1))
        self.assertEqual(bench.pool.closed, {"server asked to close": 1})

    def test_short_borrowing_opens_nothing(self) -> None:
        """Requests one after another, each back within a moment, never cost a dial."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        for _ in range(200):
            connection = bench.borrow()
            bench.pass_time(0.03)
            bench.use(connection)
        bench.pass_time(1)
        self.assertEqual(len(bench.dialer.dials), 2)
        self.assertEqual(bench.pool.counters.requests, 200)
        self.assertEqual(bench.pool.counters.reuses, 199)

    def test_lasting_concurrency_is_made_good(self) -> None:
        """As many as stay in use are opened again, so that the floor stands ready behind them."""
        bench = PoolBench(min_conn=4)
        bench.answer_all()
        for _ in range(3):
            bench.borrow()
        bench.pass_time(3 * REFILL_AFTER)
        self.assertEqual(len(bench.dialer.open), 3)
        bench.answer_all()
        bench.pass_time(10)
        self.assertEqual((len(bench.pool.idle), len(bench.dialer.dials)), (4, 7))

    def test_lasting_first_requests_are_made_good(self) -> None:
        """Also when the requests took the floor's connections before they had ever stood idle."""
        bench = PoolBench(min_conn=2)
        askers = [Asker(), Asker()]
        for asker in askers:
            bench.pool.wait(asker)
        bench.answer_all()
        self.assertEqual([len(asker.connections) for asker in askers], [1, 1])
        bench.pass_time(2 * REFILL_AFTER)
        bench.answer_all()
        self.assertEqual(len(bench.pool.idle), 2)

    def test_an_idle_end_is_made_good_while_others_are_in_use(self) -> None:
        """What is in use does not count as ready for longer than a moment."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        bench.borrow()
        bench.pass_time(1)
        bench.answer_all()
        bench.pass_time(1)
        self.assertEqual((len(bench.pool.idle), len(bench.pool.in_use)), (2, 1))
        transport: Any = bench.pool.idle[0].transport
        transport.peer_ends()
        bench.pass_time(2 * REFILL_AFTER)
        bench.answer_all()
        self.assertEqual(len(bench.pool.idle), 2)

    def test_connect_rate_spaces_the_floors_dials(self) -> None:
        """`pool-connect-rate`: so many a second, from the first second on."""
        bench = PoolBench(min_conn=40, connect_rate=5.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.1)
        self.assertEqual(len(bench.dialer.dials), 1)
        bench.pass_time(2)
        self.assertIn(len(bench.dialer.dials), (10, 11))
        bench.pass_time(6)
        self.assertEqual(len(bench.pool.idle), 40)

    def test_a_rate_below_one_a_second_is_kept_too(self) -> None:
        """Half a dial a second is one in two seconds, not none for ever."""
        bench = PoolBench(min_conn=3, connect_rate=0.5)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(4.5)
        self.assertEqual(len(bench.dialer.dials), 3)


class BorrowingTests(SynchronousTestCase):
    """Who gets which connection."""

    def bench(self, idle: int = 3, **limits: Any) -> PoolBench:
        """Connections that have stood idle for a while, none younger than a second."""
        bench = PoolBench(min_conn=idle, **limits)
        bench.answer_all()
        bench.pass_time(5)
        return bench

    def test_newest_first(self) -> None:
        """The one that was used last is used next: the others may grow old and go."""
        bench = self.bench()
        first, second = bench.borrow(), bench.borrow()
        bench.use(first)
        bench.use(second)
        self.assertIs(bench.borrow(), second)
        self.assertIs(bench.borrow(), first)

    def test_an_empty_pool_has_nothing(self) -> None:
        """`acquire` never waits and never dials."""
        bench = PoolBench()
        self.assertEqual([bench.pool.acquire(kind) for kind in (ANY, FRESH, SAFE, NEW)], [None] * 4)
        self.assertEqual(bench.dialer.dials, [])

    def test_fresh_is_one_that_was_busy_just_now(self) -> None:
        """What stood a second is not fresh; what came back this moment is."""
        bench = self.bench()
        self.assertIsNone(bench.pool.acquire(FRESH))
        connection = bench.borrow()
        bench.use(connection)
        bench.pass_time(0.4)
        self.assertIs(bench.pool.acquire(FRESH), connection)

    def test_fresh_is_a_quarter_of_what_a_like_one_has_stood(self) -> None:
        """A used connection that still stands after 12 s shows that the server waits longer than 3 s
        for a next request."""
        bench = self.bench(2)
        old, young = bench.borrow(), bench.borrow()
        bench.use(old)
        bench.pass_time(9)
        bench.use(young)
        bench.pass_time(3)
        self.assertIs(bench.pool.acquire(FRESH), young)
        bench.use(young)
        bench.pass_time(6)
        self.assertIsNone(bench.pool.acquire(FRESH))

    def test_an_unused_one_says_nothing_about_used_ones(self) -> None:
        """A server may wait for ever for a first request and 2 s for a next one (gunicorn's gthread does)."""
        bench = self.bench(2)
        bench.pass_time(60)
        bench.use(bench.borrow())
        bench.pass_time(3)
        self.assertIsNone(bench.pool.acquire(FRESH))

    def test_safe_is_one_that_has_carried_a_later_request(self) -> None:
        """HAProxy's `aggressive`: the newest of those marked safe, wherever it stands."""
        bench = self.bench()
        self.assertIsNone(bench.pool.acquire(SAFE))
        connection = bench.borrow()
        connection.safe = True
        other = bench.borrow()
        bench.use(connection)
        bench.use(other)
        self.assertIs(bench.pool.acquire(SAFE), connection)
        self.assertEqual(len(bench.pool.idle), 2)

    def test_new_is_never_one_from_the_pool(self) -> None:
        """HAProxy's `never`, and a first request of `safe`."""
        bench = self.bench()
        self.assertIsNone(bench.pool.acquire(NEW))

    def test_counted_and_in_one_list(self) -> None:
        """A borrowed connection is in use, a returned one idle, and both are counted."""
        bench = self.bench(1)
        connection = bench.borrow()
        self.assertEqual((connection.state, bench.pool.in_use, bench.pool.idle), (IN_USE, {connection}, []))
        bench.use(connection)
        self.assertEqual((connection.state, bench.pool.in_use, bench.pool.idle), (IDLE, set(), [connection]))
        bench.use(bench.borrow())
        counters = bench.pool.counters
        self.assertEqual((counters.handshakes, counters.requests, counters.reuses, counters.used_max), (1, 2, 1, 1))

    def test_its_repr_tells_the_whole_truth(self) -> None:
        """An operator at the manhole and a test read the same line."""
        bench = self.bench(2)
        bench.borrow()
        self.assertEqual(
            repr(bench.pool),
            "<HTTPConnectionPool Server be/s1 running: floor 2, 1 idle, 1 in use, 0 connecting, 0 retiring, 0 waiting>",
        )


class WaitingTests(SynchronousTestCase):
    """Nobody idle: the first connection ready is handed over."""

    def test_one_who_waits_causes_a_dial(self) -> None:
        """And gets its connection, which counts as a handshake on the request path."""
        bench = PoolBench()
        asker = Asker()
        bench.pool.wait(asker)
        self.assertEqual((len(bench.dialer.open), asker.told), (1, 0))
        bench.answer_all()
        self.assertEqual([connection.state for connection in asker.connections], [IN_USE])
        self.assertEqual(bench.pool.counters.handshakes_on_request_path, 1)
        self.assertEqual(bench.pool.counters.reuses, 0)

    def test_a_returned_connection_comes_first(self) -> None:
        """The dial goes on, and its connection stays in the pool."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        connection = bench.borrow()
        asker = Asker()
        bench.pool.wait(asker)
        bench.use(connection)
        self.assertEqual(asker.connections, [connection])
        bench.answer_all()
        self.assertEqual(len(bench.pool.idle), 1)
        self.assertEqual(bench.pool.counters.handshakes_on_request_path, 0)
        self.assertEqual(bench.pool.counters.reuses, 1)

    def test_first_come_first_served(self) -> None:
        """In the order in which they came."""
        bench = PoolBench()
        order: list[int] = []
        for number in range(5):
            asker = Asker()
            asker.then = lambda number=number: order.append(number)
            bench.pool.wait(asker)
        bench.answer_all()
        self.assertEqual(order, [0, 1, 2, 3, 4])

    def test_who_leaves_is_told_nothing(self) -> None:
        """Its connection, when it comes, is the next one's or the pool's."""
        bench = PoolBench()
        leaver, stayer = Asker(), Asker()
        bench.pool.wait(leaver)
        bench.pool.wait(stayer)
        bench.pool.leave(leaver)
        bench.pool.leave(leaver)
        bench.answer_all()
        self.assertEqual((leaver.told, stayer.told, len(bench.pool.idle)), (0, 1, 1))

    def test_a_returned_connection_skips_whom_it_does_not_fit(self) -> None:
        """One who needs a new connection waits for the dial; the next in line is served."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        connection = bench.borrow()
        askers = [Asker() for _ in range(3)]
        for asker, kind in zip(askers, (NEW, SAFE, FRESH), strict=True):
            bench.pool.wait(asker, kind)
        bench.use(connection)
        self.assertEqual([asker.told for asker in askers], [0, 0, 1])
        connection.safe = True
        bench.use(connection)
        self.assertEqual([asker.told for asker in askers], [0, 1, 1])
        bench.dialer.open[0].succeed()
        self.assertEqual([asker.told for asker in askers], [1, 1, 1])

    def test_a_failed_dial_fails_all_when_none_other_is_under_way(self) -> None:
        """Each is told once, and may ask again at once."""
        bench = PoolBench(max_conn=1)
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        bench.pool.wait(second)
        bench.dialer.open[0].fail()
        self.assertEqual((len(first.failures), second.told), (1, 0))
        bench.dialer.open[0].fail()
        self.assertEqual((len(first.failures), len(second.failures)), (1, 1))
        self.assertEqual(second.failures, ["TCP connect failed: Connection refused"])

    def test_dials_that_end_after_it_has_asked_again_are_not_its_own(self) -> None:
        """A server that stops fails all that is under way at once;
        who asks again waits for a dial that begins after it."""
        bench = PoolBench()
        askers = [Asker() for _ in range(8)]
        for asker in askers:
            asker.then = lambda asker=asker: bench.pool.wait(asker)
            bench.pool.wait(asker)
        for dial in bench.dialer.open[:]:
            dial.fail()
        self.assertEqual([asker.told for asker in askers], [1] * 8)
        for asker in askers:
            asker.then = lambda: None
        bench.pass_time(1)
        bench.answer_all()
        bench.pass_time(1)
        bench.answer_all()
        self.assertEqual([len(asker.connections) for asker in askers], [1] * 8)

    def test_an_idle_one_makes_room_when_a_server_takes_no_more(self) -> None:
        """A server with one worker a connection serves nobody while the floor has them all: the longest idle one goes,
        so that who needs a new one gets it; and there is advice."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        longest = bench.pool.idle[0]
        bench.pass_time(10)
        bench.pool.wait(Asker(), NEW)
        bench.dialer.open[0].time_out("TLS handshake")
        self.assertEqual(bench.pool.closed, {"makes room": 1})
        self.assertNotIn(longest, bench.pool.idle)
        self.assertIn("say a pool-min-conn below its workers", str(bench.announced))

    def test_none_makes_room_for_the_floor(self) -> None:
        """What is left of it would only take its place."""
        bench = PoolBench(min_conn=2)
        bench.dialer.open[0].succeed()
        bench.dialer.open[0].time_out("TLS handshake")
        self.assertEqual((bench.pool.closed, len(bench.pool.idle)), ({}, 1))

    def test_asking_again_when_told_of_a_failure(self) -> None:
        """The new wait belongs to the next dial, not to the failure that is being told."""
        bench = PoolBench()
        asker = Asker()
        asker.then = lambda: bench.pool.wait(asker) if asker.told == 1 else None
        bench.pool.wait(asker)
        bench.dialer.open[0].fail()
        self.assertEqual((asker.told, len(bench.pool.waiters), len(bench.dialer.open)), (1, 1, 0))
        bench.pass_time(1)
        bench.answer_all()
        self.assertEqual(len(asker.connections), 1)

    def test_demand_comes_before_the_floor(self) -> None:
        """The floor's dials serve those who wait, and the floor comes after them."""
        bench = PoolBench(min_conn=4)
        askers = [Asker() for _ in range(6)]
        for asker in askers:
            bench.pool.wait(asker)
        self.assertEqual(len(bench.dialer.open), 6)
        for _ in askers:
            bench.dialer.open[0].succeed()
        self.assertEqual([asker.told for asker in askers], [1] * 6)
        self.assertEqual(bench.pool.idle, [])

    def test_demand_is_bounded(self) -> None:
        """A burst opens at most DIALS at once."""
        bench = PoolBench(min_conn=10)
        for _ in range(3 * DIALS):
            bench.pool.wait(Asker())
        self.assertEqual(len(bench.dialer.open), DIALS)
        bench.answer_all()
        self.assertEqual(bench.dialer.most_open, DIALS)
        self.assertEqual(len(bench.pool.waiters), 0)

    def test_a_pool_that_does_not_run_fails_at_once(self) -> None:
        """Nobody waits for what cannot come."""
        bench = PoolBench(resume=False)
        asker = Asker()
        bench.pool.wait(asker)
        self.assertEqual(asker.failures, ["connection failed: the pool is suspended"])
