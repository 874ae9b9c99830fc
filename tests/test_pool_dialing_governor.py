"""Servers that refuse, at once or late: few dials, one at a time, few words, and back at full speed when it is over."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.measures.log_throttle import TELL_EVERY
from reusedproxy.net.tls.transport import TLS_FAILED
from reusedproxy.net.transport import PEER_CLOSED, PEER_RESET, PEER_TRUNCATED
from reusedproxy.pool.connection import IDLE, ServerConnection
from reusedproxy.pool.dialing.governor import BACKOFF_FIRST, BACKOFF_LAST, CONNECT_RATE, FLOOR_DIALS, PROOF
from tests.fakes import LATE_REFUSAL, Asker, FakeDial, PoolBench, RecordingExchange


class StormTests(SynchronousTestCase):
    """A floor of 64 and a server that does not want it."""

    def dials_in_a_minute(self, answer: str, waiting: bool = False, timeout: float | None = None) -> list[float]:
        """When dials began, over 60 s; with one request always waiting, if so wished."""
        bench = PoolBench(min_conn=64, secure=True, timeout=timeout)
        bench.dialer.answer = getattr(bench.dialer, answer)
        asker = Asker()
        if waiting:

            def again() -> None:
                for connection in asker.connections:
                    connection.give_up("client gone")
                asker.connections.clear()
                bench.pool.wait(asker)

            asker.then = lambda: bench.clock.callLater(0, again)
            bench.pool.wait(asker)
        bench.pass_time(60)
        self.assertEqual(bench.pool.idle, [])
        return [dial.begun - 1000 for dial in bench.dialer.dials]

    def assert_no_storm(self, dials: list[float]) -> None:
        """A handful until the first refusal is known, then one at a time,
        BACKOFF_FIRST apart and a few a second at most."""
        self.assertLessEqual(sum(begun < 0.1 for begun in dials), 3 * FLOOR_DIALS)
        later = [begun for begun in dials if begun >= 0.1]
        gaps = [after - before for before, after in pairwise(later)]
        self.assertGreaterEqual(min(gaps), BACKOFF_FIRST)
        self.assertLess(len(dials), 60 * 4)
        self.assertGreater(len(later), 60 / (BACKOFF_LAST + 0.1))  # and never gives up

    def test_refused(self) -> None:
        """Connection refused: one dial every few seconds."""
        dials = self.dials_in_a_minute("refuse")
        self.assert_no_storm(dials)
        self.assertLess(len(dials), 60)

    def test_refused_late(self) -> None:
        """TLS 1.3: the handshake succeeds each time, and each time the certificate is refused a moment later."""
        dials = self.dials_in_a_minute("refuse_late")
        self.assert_no_storm(dials)
        self.assertLess(len(dials), 60)

    def test_refused_with_somebody_waiting(self) -> None:
        """Who waits makes the pauses shorter, not a storm."""
        self.assert_no_storm(self.dials_in_a_minute("refuse", waiting=True))

    def test_who_waits_does_so_for_the_time_of_a_dial_at_most(self) -> None:
        """As in HAProxy: the turn-around between two tries is `timeout connect`, but at most a second."""
        for timeout, longest in ((0.1, 0.1), (1.0, 1.0), (5.0, 1.0), (None, 1.0)):
            for seed in range(10):
                bench = PoolBench(seed=seed, timeout=timeout)
                bench.dialer.answer = bench.dialer.refuse
                asker = Asker()
                asker.then = lambda pool=bench.pool, asker=asker: pool.wait(asker)
                bench.pool.wait(asker)
                bench.pass_time(30, step=0.005)
                gaps = [after.begun - before.begun for before, after in pairwise(bench.dialer.dials)]
                self.assertLessEqual(max(gaps), longest + 0.02, timeout)
                self.assertGreaterEqual(min(gaps), min(longest, BACKOFF_FIRST), timeout)

    def test_a_wait_in_vain_ends_in_the_last_failure_unless_another_dial_is_under_way(self) -> None:
        """For requests as for sessions of mode tcp: their logs do not tell of a time-out where the server refuses."""
        bench = PoolBench()
        bench.pool.wait(Asker())
        self.assertTrue(bench.pool.in_vain.timed_out)
        bench.dialer.open[0].fail()
        self.assertEqual((bench.pool.in_vain.timed_out, str(bench.pool.in_vain)), (False, bench.pool.trouble))
        bench.pool.wait(Asker())
        bench.pass_time(1)
        self.assertTrue(bench.dialer.open and bench.pool.in_vain.timed_out)

    def test_the_floor_does_not_knock_more_often_because_somebody_waits_for_a_short_time(self) -> None:
        """Its own pauses are as ever."""
        bench = PoolBench(min_conn=8, timeout=0.01)
        bench.dialer.answer = bench.dialer.refuse
        bench.pool.wait(Asker())
        bench.pass_time(60)
        later = [dial.begun for dial in bench.dialer.dials if dial.begun > 1000.1]
        self.assertGreaterEqual(min(after - before for before, after in pairwise(later)), BACKOFF_FIRST)

    def test_refused_late_with_somebody_waiting(self) -> None:
        """The same when each connection is given to a request that its late refusal then ends."""
        self.assert_no_storm(self.dials_in_a_minute("refuse_late", waiting=True))

    def test_the_pauses_differ(self) -> None:
        """Many pools of one site do not knock in step, not even the first time."""
        first = set()
        for seed in range(20):
            bench = PoolBench(min_conn=1, seed=seed)
            bench.dialer.answer = bench.dialer.refuse
            bench.pass_time(2, step=0.01)
            first.add(round(bench.dialer.dials[1].begun, 2))
        self.assertGreater(len(first), 10)

    def test_a_black_hole_holds_one_dial(self) -> None:
        """After a time-out the next dial waits for its end, too."""
        bench = PoolBench(min_conn=64)
        while bench.dialer.open:
            bench.dialer.open[0].time_out()
        for _ in range(5):
            bench.pass_time(5)
            self.assertEqual(len(bench.dialer.open), 1)
            bench.dialer.open[0].time_out()

    def test_old_connections_prove_nothing(self) -> None:
        """A server that still answers on what it has, and refuses what is new, sees no storm either."""
        bench = PoolBench(min_conn=4)
        bench.answer_all()
        bench.pass_time(1)
        bench.dialer.answer = bench.dialer.refuse
        bench.dialer.transports[0].peer_ends()
        before = len(bench.dialer.dials)
        for _ in range(600):
            connection = bench.borrow()
            bench.pass_time(0.05)
            bench.use(connection)
        self.assertEqual(len(bench.pool.idle), 3)
        self.assertLess(len(bench.dialer.dials) - before, 40)


class RecoveryTests(SynchronousTestCase):
    """The server is back."""

    def failing(self, floor: int = 64, **limits: Any) -> PoolBench:
        """A pool whose server has refused for 20 s."""
        bench = PoolBench(min_conn=floor, secure=True, **limits)
        bench.dialer.answer = bench.dialer.refuse
        bench.pass_time(20)
        bench.dialer.most_open = 0
        return bench

    def test_the_floor_stands_within_a_few_seconds(self) -> None:
        """One trial, and when it has stood, the rest, a few at a time."""
        bench = self.failing()
        bench.dialer.answer = bench.dialer.accept
        before = len(bench.dialer.dials)
        bench.pass_time(BACKOFF_LAST + PROOF + 64 / CONNECT_RATE + 0.1)
        self.assertEqual(len(bench.pool.idle), 64)
        self.assertLessEqual(bench.dialer.most_open, FLOOR_DIALS)
        self.assertLessEqual(len(bench.dialer.dials) - before, 65)

    def test_one_trial_first(self) -> None:
        """Until the first new connection has stood, no other dial begins."""
        bench = self.failing()
        bench.dialer.answer = None
        bench.pass_time(BACKOFF_LAST)
        self.assertEqual(len(bench.dialer.open), 1)
        bench.dialer.open[0].succeed()
        bench.pass_time(PROOF - 0.05)
        self.assertEqual(bench.dialer.open, [])
        bench.pass_time(0.1)
        self.assertEqual(len(bench.dialer.open), FLOOR_DIALS)

    def test_an_answer_is_proof_at_once(self) -> None:
        """A request that was answered on the trial connection ends the trial."""
        bench = self.failing()
        bench.dialer.answer = None
        bench.pass_time(BACKOFF_LAST)
        bench.dialer.open[0].succeed()
        bench.use(bench.borrow())
        self.assertEqual(len(bench.dialer.open), FLOOR_DIALS)
        self.assertEqual(bench.pool.trouble, "")

    def test_a_trial_that_fails_starts_its_own_next(self) -> None:
        """The time of one trial never proves the next."""
        bench = self.failing(floor=2)
        bench.dialer.answer = None
        FakeDial.took, took = 1.0, FakeDial.took
        self.addCleanup(setattr, FakeDial, "took", took)
        bench.pass_time(BACKOFF_LAST)
        bench.dialer.open[0].succeed()  # proven in 2 s
        bench.dialer.transports[-1].peer_ends()
        begun = len(bench.dialer.dials)
        while len(bench.dialer.dials) == begun:
            bench.pass_time(0.02)
        FakeDial.took = took
        bench.pass_time(0.3)
        bench.dialer.open[0].succeed()
        bench.pass_time(PROOF - 0.05)
        self.assertNotEqual(bench.pool.trouble, "")
        bench.pass_time(0.1)
        self.assertEqual(bench.pool.trouble, "")

    def test_who_comes_in_a_long_pause_waits_a_second_at_most(self) -> None:
        """A pause that was chosen while nobody waited is cut short."""
        for seed in range(10):
            bench = PoolBench(min_conn=1, seed=seed)
            bench.dialer.answer = bench.dialer.refuse
            bench.pass_time(20)
            bench.dialer.answer = bench.dialer.accept
            bench.pool.wait(asker := Asker())
            bench.pass_time(1.05)
            self.assertEqual(len(asker.connections), 1)


class LateRefusalTests(SynchronousTestCase):
    """A connection that is lost before its first answer."""

    def test_before_its_first_use(self) -> None:
        """Counts as a failed dial, whatever word it ends with."""
        for reason in (PEER_CLOSED, PEER_RESET, LATE_REFUSAL):
            bench = PoolBench(min_conn=1, secure=True)
            bench.dialer.open[0].succeed().peer_ends(reason)
            self.assertEqual((bench.pool.counters.dials_failed, bench.dialer.open), (1, []))
            self.assertIn(reason.removeprefix("TLS: "), bench.pool.trouble)

    def test_after_it_has_stood(self) -> None:
        """An unused connection that is closed later is the server's time-out, and replaced at once."""
        bench = PoolBench(min_conn=1, secure=True)
        transport = bench.dialer.open[0].succeed()
        bench.pass_time(PROOF + 0.05)
        transport.peer_ends()
        self.assertEqual((bench.pool.counters.dials_failed, len(bench.dialer.open)), (0, 1))

    def test_under_its_first_request(self) -> None:
        """The request is told so, and whoever waits with it."""
        bench = PoolBench(secure=True)
        bench.pool.wait(asker := Asker())
        transport = bench.dialer.open[0].succeed()
        exchange = RecordingExchange(b"POST")
        asker.connections[0].send(exchange, b"POST / HTTP/1.1\r\n\r\n", True, None)
        transport.peer_ends(LATE_REFUSAL)
        self.assertEqual(exchange.events, [("lost", "refused", LATE_REFUSAL, False)])
        self.assertEqual(bench.pool.counters.dials_failed, 1)
        self.assertEqual(
            bench.pool.trouble,
            "TLS handshake failed: tlsv1 alert unknown ca: the server refused our client certificate",
        )

    def test_after_its_first_answer(self) -> None:
        """An alert on a connection that has answered is no refusal of the handshake, idle or in use."""
        for in_use in (False, True):
            bench = PoolBench(min_conn=1, secure=True)
            transport = bench.dialer.open[0].succeed()
            connection = bench.borrow()
            bench.use(connection)
            if in_use:
                exchange = RecordingExchange()
                bench.borrow().send(exchange, b"GET / HTTP/1.1\r\n\r\n", True, None)
            transport.peer_ends(LATE_REFUSAL)
            self.assertEqual(bench.pool.counters.dials_failed, 0)
            if in_use:
                self.assertEqual(exchange.events, [("lost", "gone", LATE_REFUSAL, False)])

    def test_whatever_else_breaks_the_first_request(self) -> None:
        """It may have been carried out, so the request hears "gone"; and no other pays for it:
        the server is not judged."""
        for reason in (
            PEER_CLOSED,
            PEER_RESET,
            PEER_TRUNCATED,
            TLS_FAILED + "record layer failure",
            TLS_FAILED + "closed",
        ):
            for floor in (0, 4):
                bench = PoolBench(min_conn=floor, secure=True)
                bench.pool.wait(asker := Asker())
                transport = bench.dialer.open[0].succeed()
                exchange = RecordingExchange(b"POST")
                asker.connections[0].send(exchange, b"POST / HTTP/1.1\r\n\r\n", True, None)
                transport.peer_ends(reason)
                self.assertEqual(exchange.events, [("lost", "gone", reason, False)])
                self.assertEqual((bench.pool.counters.dials_failed, bench.pool.trouble), (0, ""))
                self.assertFalse(bench.pool.paused)
                self.assertEqual(len(bench.dialer.open), floor)

    def test_a_certificate_alert_on_a_used_connection(self) -> None:
        """Its handshake was taken long ago: the request may have been carried out."""
        bench = PoolBench(min_conn=1, secure=True)
        transport = bench.dialer.open[0].succeed()
        bench.use(bench.borrow())
        bench.borrow().send(exchange := RecordingExchange(), b"GET / HTTP/1.1\r\n\r\n", True, None)
        transport.receive(b"HTTP")
        transport.peer_ends(LATE_REFUSAL)
        self.assertEqual(exchange.events, [("lost", "gone", LATE_REFUSAL, True)])
        self.assertEqual(bench.pool.counters.dials_failed, 0)


class TrialUnderARequestTests(SynchronousTestCase):
    """A client's request on the connection that is to prove itself:
    what it does to that says nothing about the server."""

    def trial(self, **limits: Any) -> tuple[PoolBench, ServerConnection, Any]:
        """One dial has failed, the next succeeds and carries a request."""
        bench = PoolBench(**limits)
        bench.pool.wait(asker := Asker())
        while bench.dialer.open:
            bench.dialer.open[0].fail()
        if asker.told:  # else it waits for the next dial already
            bench.pool.wait(asker)
        bench.pass_time(1)
        transport = bench.dialer.open[0].succeed()
        (connection,) = asker.connections
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\n\r\n", True, None)
        return bench, connection, transport

    def test_that_ends_without_an_answer(self) -> None:
        """No failure and no proof: another is tried at once, still one at a time."""
        for end in ("reset", "client gone"):
            for floor in (0, 4):
                bench, connection, transport = self.trial(min_conn=floor)
                bench.pool.wait(Asker())
                bench.pool.wait(Asker())
                if end == "reset":
                    transport.peer_ends(PEER_RESET)
                else:
                    connection.give_up(end)
                self.assertEqual((bench.pool.counters.dials_failed, len(bench.dialer.open)), (max(floor, 1), 1), end)
                self.assertNotEqual(bench.pool.trouble, "")

    def test_whose_connection_ends_with_the_answer(self) -> None:
        """The server has taken it: that is proof, though the connection never comes back."""
        for end in ("closed", "client gone"):
            bench, connection, transport = self.trial()
            bench.pool.wait(Asker())
            bench.pool.wait(Asker())
            if end == "closed":
                transport.receive(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            else:
                transport.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
                connection.give_up(end)
            self.assertEqual((bench.pool.trouble, len(bench.dialer.open)), ("", 2), end)

    def test_that_was_never_sent(self) -> None:
        """Who takes it and leaves has proven nothing, and the next waits."""
        bench = PoolBench()
        bench.pool.wait(asker := Asker())
        bench.dialer.open[0].fail()
        bench.pool.wait(asker)
        bench.pass_time(1)
        bench.dialer.open[0].succeed()
        bench.pool.wait(Asker())
        asker.connections[0].give_up("client gone")
        self.assertEqual(bench.dialer.open, [])


class WaitersTests(SynchronousTestCase):
    """Who waits while a connection is refused late."""

    def test_waiters_hear_of_it(self) -> None:
        """With no dial under way, all who wait have waited in vain."""
        bench = PoolBench(secure=True)
        first, second = Asker(), Asker()
        bench.pool.wait(first)
        transport = bench.dialer.open[0].succeed()
        bench.pool.wait(second)
        bench.dialer.open[0].fail()
        bench.pool.wait(third := Asker())
        first.connections[0].send(RecordingExchange(), b"GET / HTTP/1.1\r\n\r\n", True, None)
        transport.peer_ends(LATE_REFUSAL)
        self.assertEqual((len(second.failures), len(third.failures)), (1, 1))


class LogTests(SynchronousTestCase):
    """What an operator reads."""

    def test_trouble_is_said_once_and_then_every_while(self) -> None:
        """One line at once, later ones with the number of attempts."""
        bench = PoolBench(min_conn=64)
        bench.dialer.answer = bench.dialer.refuse
        bench.pass_time(1)
        self.assertEqual(bench.announced, [("alert", "Server be/s1: TCP connect failed: Connection refused")])
        bench.pass_time(60)
        self.assertLessEqual(len(bench.announced), 60 / TELL_EVERY + 1)
        self.assertRegex(
            bench.announced[1][1],
            r"^Server be/s1: TCP connect failed: Connection refused \(\d+ attempts since the last line\)$",
        )

    def test_another_trouble_is_news(self) -> None:
        """It is told at once, with the attempts that were not told; the first one again only after a while."""
        bench = PoolBench(min_conn=1)
        for reason in ("Connection refused", "Connection refused", "No route to host", "Connection refused"):
            while not bench.dialer.open:
                bench.pass_time(0.1)
            bench.dialer.open[0].fail(reason)
        self.assertEqual(
            [text for _, text in bench.announced],
            [
                "Server be/s1: TCP connect failed: Connection refused",
                "Server be/s1: TCP connect failed: No route to host (2 attempts since the last line)",
            ],
        )

    def test_its_end_is_said_once(self) -> None:
        """With the number of failures before it."""
        bench = PoolBench(min_conn=2)
        bench.dialer.answer = bench.dialer.refuse
        bench.pass_time(5)
        failed = bench.pool.counters.dials_failed
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(5)
        self.assertEqual(
            bench.announced[1:], [("notice", f"Server be/s1: connections succeed again after {failed} failed attempts")]
        )
        self.assertEqual({connection.state for connection in bench.pool.idle}, {IDLE})

    def test_a_server_that_flaps_does_not_fill_the_log(self) -> None:
        """Trouble that comes and goes is told as seldom as trouble that stays."""
        bench = PoolBench(min_conn=1)
        bench.dialer.answer = bench.dialer.accept
        for _ in range(60):
            bench.dialer.answer = bench.dialer.refuse
            for transport in bench.dialer.transports:
                if transport.reading:
                    transport.peer_ends()
            bench.pass_time(0.02)
            bench.dialer.answer = bench.dialer.accept
            bench.pass_time(1.2)
        self.assertGreater(bench.pool.counters.dials_failed, 50)
        self.assertLessEqual(len(bench.announced), 2 * (75 / TELL_EVERY + 1))

    def test_time_outs_are_named(self) -> None:
        """With the phase in which the time was over."""
        bench = PoolBench(min_conn=1)
        bench.dialer.open[0].time_out("TLS handshake")
        self.assertEqual(bench.announced, [("alert", "Server be/s1: TLS handshake timed out")])
