"""Connections that nobody asks on: pings, checks that feed the pool, servers that flutter,
and what is said about them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.connection import IDLE, IN_USE, RETIRING
from reusedproxy.pool.dialing.governor import FLUTTER_FOR, FLUTTER_RATE
from reusedproxy.pool.kinds import NEW
from reusedproxy.pool.pings import PING_JITTER, PING_TIMEOUT
from tests.fakes import Asker, PoolBench, RecordingExchange

PONG = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 2\r\n\r\nno"
PING = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"


class PingTests(SynchronousTestCase):
    """`idle-ping`."""

    def pinged(self, count: int = 1, **limits: Any) -> tuple[PoolBench, list[Any]]:
        """Idle connections, and those transports that have been asked."""
        bench = PoolBench(min_conn=count, idle_ping=10.0, **limits)
        bench.answer_all()
        bench.pass_time(10.1)
        return bench, [transport for transport in bench.dialer.transports if transport.written]

    def just_pinged(self) -> tuple[PoolBench, Any]:
        """The only idle connection is asked this moment; a handshake takes half a second."""
        bench = PoolBench(min_conn=1, idle_ping=10.0)
        bench.answer_all()
        bench.pool.idle[0].took = 0.5
        while not bench.pool.holdings.pinged:
            bench.pass_time(0.01, step=0.01)
        return bench, bench.dialer.transports[0]

    def test_any_answer_will_do(self) -> None:
        """The server is there, and the connection is idle anew; it is given to nobody meanwhile."""
        bench, (asked,) = self.pinged()
        self.assertEqual(asked.take_written(), PING)
        self.assertIsNone(bench.pool.acquire())
        asked.receive(PONG[:30])
        asked.receive(PONG[30:])
        self.assertEqual((asked.owner.state, len(bench.pool.idle), bench.pool.counters.pings), (IDLE, 1, 1))
        self.assertEqual((bench.pool.counters.requests, bench.pool.counters.reuses), (0, 0))
        bench.pass_time(7.9)
        self.assertEqual(asked.written, b"")
        bench.pass_time(2.2)
        self.assertEqual(asked.written, PING)

    def test_pings_that_end_the_connection_stop(self) -> None:
        """nginx answers OPTIONS * with 400 and closes: pinging a floor would cost a handshake each time.
        There is advice."""
        bench = PoolBench(min_conn=3, idle_ping=10.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(10.1)
        asked = next(transport for transport in bench.dialer.transports if transport.take_written())
        asked.receive(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        pings = bench.pool.counters.pings
        bench.pass_time(60)
        self.assertLessEqual(bench.pool.counters.pings, pings)
        self.assertEqual(len(bench.pool.idle), 3)
        self.assertIn("with 400 and closes the connection: pings stop", str(bench.announced))

    def test_a_last_answer_that_is_no_refusal_stops_none(self) -> None:
        """It was that connection's last request only."""
        bench, (asked,) = self.pinged()
        bench.dialer.answer = bench.dialer.accept
        asked.receive(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        bench.pass_time(11)
        self.assertEqual(bench.pool.counters.pings, 2)

    def test_no_answer(self) -> None:
        """It goes, and another is opened in its place."""
        bench, (asked,) = self.pinged()
        bench.pass_time(PING_TIMEOUT + 0.1)
        self.assertEqual((asked.owner.state, bench.pool.closed), (RETIRING, {"timeout server": 1}))
        self.assertEqual((bench.pool.counters.pings_failed, len(bench.dialer.open)), (1, 1))

    def test_its_server_is_gone(self) -> None:
        """The loss is nobody's but the ping's."""
        bench, (asked,) = self.pinged()
        asked.peer_ends()
        self.assertEqual((bench.pool.idle, bench.pool.counters.pings_failed), ([], 1))

    def test_they_are_spread(self) -> None:
        """A floor is not asked all at once."""
        bench = PoolBench(min_conn=20, idle_ping=10.0, connect_rate=1000.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(1)
        asked: list[int] = []
        for _ in range(120):
            bench.pass_time(0.1, step=0.05)
            pinged = [transport for transport in bench.dialer.transports if transport.take_written()]
            asked.append(len(pinged))
            for transport in pinged:
                transport.receive(PONG)
        self.assertEqual(sum(asked), 20)
        self.assertLess(max(asked), 8)
        first = next(at for at, count in enumerate(asked) if count)
        self.assertGreaterEqual(first / 10 + 1, 10 * (1 - PING_JITTER) - 0.2)

    def test_one_stays_for_requests(self) -> None:
        """However slow the server's answers are: the last idle one is not asked while others are."""
        bench = PoolBench(min_conn=4, idle_ping=1.0)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.5)
        asked = 0
        for _ in range(400):
            bench.pass_time(0.01, step=0.01)
            asked = max(asked, len(bench.pool.holdings.pinged))
            self.assertTrue(bench.pool.idle)
        self.assertGreaterEqual(asked, 2)

    def test_who_comes_during_the_ping_of_the_last_one_waits_for_its_end(self) -> None:
        """The answer is there before another's handshake would be complete; nothing is dialled for the moment."""
        bench, asked = self.just_pinged()
        bench.pass_time(0.2)
        bench.pool.wait(asker := Asker())
        bench.pass_time(0.1)
        self.assertEqual(bench.dialer.open, [])
        asked.receive(PONG)
        self.assertEqual(([asked.owner], bench.dialer.open), (asker.connections, []))

    def test_who_waits_for_a_ping_waits_no_longer_than_for_a_handshake(self) -> None:
        """Then one is dialled after all; at once for whoever could not take what is pinged."""
        bench, _asked = self.just_pinged()
        bench.pool.wait(asker := Asker())
        bench.pass_time(0.6)
        self.assertEqual(len(bench.dialer.open), 1)
        bench.answer_all()
        self.assertEqual(len(asker.connections), 1)
        bench, _asked = self.just_pinged()
        bench.pool.wait(Asker(), NEW)
        self.assertEqual(len(bench.dialer.open), 1)

    def test_a_ping_is_no_last_use(self) -> None:
        """`max-reuse`: a request of ours would end a connection that has only one left, and none would stand for it."""
        for most in (0, 1):
            bench = PoolBench(min_conn=1, idle_ping=1.0, max_reuse=most)
            bench.answer_all()
            for _ in range(most):
                bench.use(bench.borrow())
            bench.pass_time(20)
            self.assertEqual((bench.pool.counters.pings, len(bench.pool.idle), bench.pool.closed), (0, 1, {}))

    def test_who_waits_gets_it_then(self) -> None:
        """A request that comes during the ping is served by the first that is free."""
        bench, (asked,) = self.pinged()
        asker = Asker()
        bench.pool.wait(asker)
        asked.receive(PONG)
        self.assertEqual(len(asker.connections), 1)

    def test_what_was_used_meanwhile_is_not_asked(self) -> None:
        """Its time begins anew with each use."""
        bench = PoolBench(min_conn=1, idle_ping=10.0)
        bench.answer_all()
        for _ in range(5):
            bench.pass_time(6)
            bench.use(bench.borrow())
        self.assertEqual(bench.pool.counters.pings, 0)

    def test_a_server_that_closes_unused_ones_soon(self) -> None:
        """After the first ping they are used ones: its time-out for a first request does not count any more."""
        bench = PoolBench(min_conn=1, idle_ping=2.0)
        bench.dialer.answer = bench.dialer.accept
        for _ in range(30):
            bench.pass_time(1)
            for transport in bench.dialer.transports:
                if transport.reading and transport.written:
                    transport.take_written()
                    transport.receive(PONG)
                elif (
                    transport.reading
                    and not transport.owner.requests
                    and bench.clock.seconds() - transport.owner.born > 3
                ):
                    transport.peer_ends()
        self.assertEqual((bench.pool.counters.dials, bench.pool.closed), (1, {}))


class FlutterTests(SynchronousTestCase):
    """A server that accepts, and closes at once what it is not asked on."""

    def dials(self, bench: PoolBench, closes_after: float, seconds: float) -> int:
        bench.dialer.answer = bench.dialer.accept
        before = len(bench.dialer.dials)
        for _ in range(round(seconds / 0.05)):
            bench.pass_time(0.05, step=0.05)
            for transport in bench.dialer.transports:
                if transport.reading and bench.clock.seconds() - transport.owner.born >= closes_after:
                    transport.peer_ends()
        return len(bench.dialer.dials) - before

    def test_it_is_dialled_seldom(self) -> None:
        """Two a second, not a hundred, however many the floor misses."""
        for closes_after in (0.3, 0.5, 1.0):
            bench = PoolBench(min_conn=8)
            self.dials(bench, closes_after, 2)
            self.assertLessEqual(self.dials(bench, closes_after, 20), 20 * FLUTTER_RATE + 2, closes_after)

    def spoken_to(self, bench: PoolBench, after: float, says: bytes, seconds: float) -> int:
        """How many dials there are where each new connection hears that, unasked."""
        bench.dialer.answer = bench.dialer.accept
        before = len(bench.dialer.dials)
        for _ in range(round(seconds / 0.05)):
            bench.pass_time(0.05, step=0.05)
            for transport in bench.dialer.transports:
                if transport.reading and bench.clock.seconds() - transport.owner.born >= after:
                    transport.receive(says)
        return len(bench.dialer.dials) - before

    def test_a_server_that_speaks_before_it_is_asked_is_dialled_seldom_too(self) -> None:
        """One of another protocol, or one that turns us away: the log says what it says, and operators see why."""
        for after in (0.0, 0.1, 0.3, 1.0):
            bench = PoolBench(min_conn=8)
            self.spoken_to(bench, after, b"SSH-2.0-OpenSSH_9.2p1\r\n", 5)
            self.assertLessEqual(self.spoken_to(bench, after, b"SSH-2.0-x", 20), 20 * FLUTTER_RATE + 2, after)
            self.assertIn(
                "Server be/s1: invalid response: unasked, on a new connection: b'SSH-2.0-OpenSSH_9.2p'...",
                [text for level, text in bench.announced if level == "warning"],
            )
            refused = "connection failed: unasked bytes before its first use" if after < 0.2 else ""
            self.assertEqual(bench.pool.trouble, refused)
            self.assertIn("unasked bytes", bench.pool.closed)
            self.assertLess(len(bench.announced), 25)

    def test_it_is_over_some_time_after(self) -> None:
        """Then the floor is filled as fast as ever."""
        bench = PoolBench(min_conn=8)
        self.dials(bench, 0.5, 5)
        self.dials(bench, 1e9, FLUTTER_FOR + 1)
        self.assertEqual(len(bench.pool.idle), 8)
        for connection in list(bench.pool.idle):
            connection.transport.peer_ends()  # type: ignore[attr-defined]
        self.dials(bench, 1e9, 0.3)
        self.assertEqual(len(bench.pool.idle), 8)


class AdviceTests(SynchronousTestCase):
    """What works against the pool is said, once."""

    def said(self, bench: PoolBench) -> list[str]:
        return [text for level, text in bench.announced if level == "notice"]

    def test_a_configuration_that_its_server_undercuts(self) -> None:
        """With both figures, and what to do."""
        bench = PoolBench(min_conn=1, idle_timeout=60.0)
        bench.answer_all()
        bench.pool.upkeep.used.advertise(5.0)
        bench.pass_time(10)
        (text,) = self.said(bench)
        self.assertIn("closes idle connections after 5 s (advertised), so pool-idle-timeout 60s is never reached", text)

    def test_a_floor_that_is_churned(self) -> None:
        """What it costs, and three ways out; none is needed where it is pinged."""
        cases: list[tuple[dict[str, Any], int]] = [({}, 1), ({"idle_ping": 1.0}, 0)]
        for limits, count in cases:
            bench = PoolBench(min_conn=8, **limits)
            bench.answer_all()
            for _ in range(2):
                bench.pool.upkeep.unused.closed(2.0)
                bench.pool.upkeep.unused.closed(2.0)
                bench.pass_time(2)
            self.assertEqual(len(self.said(bench)), count, limits)
            for text in self.said(bench):
                self.assertIn("pool-min-conn 8 costs 8 handshakes a second: raise its time-out", text)


class LeakTests(SynchronousTestCase):
    def test_taken_and_used_by_nobody(self) -> None:
        """It is ended, counted and told of; one that serves an exchange for as long is not."""
        bench = PoolBench(min_conn=2)
        bench.answer_all()
        leaked, busy = bench.borrow(), bench.borrow()
        busy.send(RecordingExchange(), PING, True, None)
        bench.pass_time(65, step=0.5)
        self.assertEqual((leaked.state, busy.state), (RETIRING, IN_USE))
        self.assertEqual((bench.pool.counters.overdue, bench.pool.closed["leaked"]), (1, 1))
        self.assertIn("was taken 60 s ago and used by nobody", bench.announced[-1][1])


class RecordTests(SynchronousTestCase):
    def test_what_is_remembered_of_an_end(self) -> None:
        """Who ended it, why, and what it had done; only of the last ones."""
        bench = PoolBench(min_conn=1)
        bench.dialer.answer = bench.dialer.accept
        bench.pass_time(0.5)
        bench.use(bench.borrow())
        bench.pass_time(3)
        bench.dialer.transports[0].peer_ends()
        bench.pass_time(0.1)
        bench.use(bench.borrow(), close=True)
        first, second = bench.pool.ended
        self.assertEqual((first.number, first.requests, first.by, first.reason), (1, 1, "server", "closed by peer"))
        self.assertEqual((second.number, second.by, second.reason), (2, "proxy", "server asked to close"))
        self.assertTrue(3.4 < first.age < 3.6, first)
        self.assertEqual((first.took, first.tls, first.resumed), (0.001, "", False))
