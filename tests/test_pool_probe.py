"""Requests of our own on connections of a pool: whatever a server sends, each ends once, and in time."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import Server
from reusedproxy.config import model
from reusedproxy.net.transport import OPEN
from reusedproxy.pool.connection import IDLE, RETIRING, ServerConnection
from reusedproxy.pool.pings import PING_TIMEOUT
from reusedproxy.pool.probe import Probe
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer, FakeTransport, PoolBench

PLACE = model.Place("t.cfg", 1)
ASKED = b"OPTIONS / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHALLENGE = b"HTTP/1.1 %b No\r\n%b-Authenticate: %b\r\nContent-Length: 0\r\n\r\n"
STARTED = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

#: What the server sends, piece by piece ("end": it ends the connection, "reset": that is lost, "full", "room": it takes
#: no more, and does again); the status the probe ends with (None: without an answer); whether the connection stays.
CASES: list[tuple[str, list[bytes | str], int | None, bool]] = [
    ("an answer", [OK], 200, True),
    ("an answer in pieces", [STARTED, b"def", b"ghi"], 200, True),
    ("byte by byte", [OK[n : n + 1] for n in range(len(OK))], 200, True),
    ("hints first", [HINTS, HINTS + OK], 200, True),
    ("as many hints as are taken, then the answer", [HINTS * 50, HINTS * 50, OK], 200, True),
    ("hints without end", [HINTS * 50, HINTS * 50, HINTS, OK], None, False),
    ("101", [SWITCHED], None, False),
    ("101 after hints", [HINTS + SWITCHED], None, False),
    ("101 and an answer behind it", [SWITCHED + OK], None, False),
    ("101, then the end", [SWITCHED, "end"], None, False),
    ("101, then a reset", [SWITCHED, "reset"], None, False),
    ("a second answer behind the first", [OK + OK], 200, False),
    ("bytes behind a body", [STARTED + b"defghi!"], 200, False),
    ("the end in the middle", [STARTED, "end"], None, False),
    ("a reset in the middle", [STARTED, "reset"], None, False),
    ("the end without an answer", ["end"], None, False),
    ("a reset without an answer", ["reset"], None, False),
    ("a body until the end", [b"HTTP/1.1 200 OK\r\n\r\nabc", "end"], 200, False),
    ("an answer and the end", [OK, "end"], 200, False),
    ("a challenge that nobody will answer", [CHALLENGE % (b"401", b"WWW", b"NTLM")], 401, True),
    ("another one", [CHALLENGE % (b"407", b"Proxy", b"Negotiate")], 407, True),
    ("no HTTP", [b"junk\r\n\r\n"], None, False),
    ("broken chunks", [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"], None, False),
    ("408 and close", [b"HTTP/1.1 408 Late\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"], 408, False),
    ("a pause before the answer", ["full", "room", OK], 200, True),
]


def send(transport: FakeTransport, pieces: list[bytes | str]) -> None:
    """As long as the connection lives."""
    for piece in pieces:
        if transport.state != OPEN:
            break
        if isinstance(piece, bytes):
            transport.receive(piece)
        elif piece == "end":
            transport.peer_ends()
        elif piece == "reset":
            transport.peer_ends("connection reset")
        elif piece == "full":
            transport.owner.pause_writing()
        else:
            transport.owner.resume_writing()


class ProbeTests(SynchronousTestCase):
    """What a probe's connection tells it, in any order."""

    def probed(self, method: bytes = b"OPTIONS") -> tuple[PoolBench, ServerConnection, FakeTransport]:
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        connection = bench.pool.acquire()
        assert connection is not None
        self.ends: list[tuple[int | None, str, bool]] = []
        probe = Probe(
            method,
            lambda head, reason, slow: self.ends.append((head.status if head is not None else None, reason, slow)),
        )
        probe.ask(connection, ASKED, 5.0)
        return bench, connection, bench.dialer.transports[0]

    def test_it_ends_once_whatever_comes(self) -> None:
        for name, pieces, status, stays in CASES:
            bench, connection, transport = self.probed()
            send(transport, pieces)
            self.assertEqual([end[0] for end in self.ends], [status], name)
            self.assertEqual(connection.state, IDLE if stays else RETIRING, name)
            self.assertEqual(transport.state == OPEN, stays, name)
            bench.pass_time(20)
            self.assertEqual(len(self.ends), 1, f"{name}: told again")

    def test_a_tunnel_is_no_answer(self) -> None:
        """A check may well ask with CONNECT."""
        _, connection, transport = self.probed(b"CONNECT")
        transport.receive(b"HTTP/1.1 200 OK\r\n\r\nhello")
        self.assertEqual((connection.state, self.ends), (RETIRING, [(None, "tunnel instead of an answer", False)]))

    def test_it_has_its_time_and_no_more(self) -> None:
        """Hints or bytes of the body that go on coming prolong nothing."""
        for first, more in ((b"", HINTS), (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"a"), (b"", b"")):
            bench, connection, transport = self.probed()
            for _ in range(7):
                if transport.state == OPEN and first + more:
                    transport.receive(first + more)
                first = b""
                bench.pass_time(0.9)
            self.assertEqual((connection.state, self.ends), (RETIRING, [(None, "timeout server", True)]), more)

    def test_who_hears_its_end_may_fail(self) -> None:
        """Our own fault is logged, and does not end it a second time."""
        _, _, transport = self.probed()
        connection = transport.owner
        ends = []

        def fails(head: object, reason: str, slow: bool) -> None:
            ends.append(reason)
            raise RuntimeError("ours")

        connection.exchange._ended = fails
        transport.receive(OK)
        self.assertEqual((ends, len(self.flushLoggedErrors(RuntimeError))), ([""], 1))


class UserTests(SynchronousTestCase):
    """Those who probe: checks whose connection goes to the pool, pings, and the trial of a reload."""

    def checker(self, bench: PoolBench, dialer: FakeDialer, clock: Clock) -> Checker:
        server = Server("be", model.Server("s1", PLACE, "192.0.2.1", 80), bench.pool, 0.0)
        args = (Limits(), None, 0.0, lambda server, state, reason: None, True)
        return Checker(server, model.Check(inter=2.0), model.HTTPCheck(), dialer, clock, *args)  # type: ignore[arg-type]

    def test_a_check_round_ends_once_whatever_comes(self) -> None:
        """One timer for the next, one check at a time, and no connection that stays behind."""
        for name, pieces, status, _ in CASES:
            bench = PoolBench(keep_checks=True)
            dialer = FakeDialer(bench.clock)
            checker = self.checker(bench, dialer, bench.clock)
            checker.start()
            bench.clock.advance(0)
            send(dialer.open[0].succeed(), pieces)
            passed = status is not None and status < 400
            self.assertEqual(checker.last.passed, passed, name)
            self.assertEqual(len(bench.pool.in_use), 0, name)
            rounds = 0
            for _ in range(5):
                bench.clock.advance(2.0)
                rounds += len(dialer.open)
                while dialer.open:
                    send(dialer.open[0].succeed(), pieces)
            self.assertEqual(rounds, 5, name)
            checker.stop()
            bench.clock.advance(10)
            self.assertEqual(len(dialer.open), 0, f"{name}: checked after its stop")

    def test_a_check_ends_in_time_whatever_goes_on_coming(self) -> None:
        bench = PoolBench(keep_checks=True)
        dialer = FakeDialer(bench.clock)
        checker = self.checker(bench, dialer, bench.clock)
        checker.start()
        bench.clock.advance(0)
        transport = dialer.open[0].succeed()
        for _ in range(5):
            if transport.state == OPEN:
                transport.receive(HINTS)
            bench.clock.advance(0.5)
        self.assertEqual((checker.last.status, transport.state == OPEN), ("L7TOUT", False))

    def test_a_ping_ends_once_whatever_comes(self) -> None:
        for name, pieces, status, _ in CASES:
            bench = PoolBench(min_conn=1, idle_ping=10.0)
            bench.answer_all()
            bench.pass_time(10.1)
            send(bench.dialer.transports[0], pieces)
            counters = bench.pool.counters
            self.assertEqual((counters.pings, counters.pings_failed), (1, int(status is None)), name)
            self.assertEqual((len(bench.pool.in_use), len(bench.pool.holdings.pinged)), (0, 0), name)

    def test_a_ping_ends_in_time_whatever_goes_on_coming(self) -> None:
        bench = PoolBench(min_conn=1, idle_ping=10.0)
        bench.answer_all()
        bench.pass_time(10.1)
        transport = bench.dialer.transports[0]
        for _ in range(round(PING_TIMEOUT / 0.5) + 1):
            if transport.state == OPEN:
                transport.receive(HINTS)
            bench.pass_time(0.5)
        self.assertEqual((bench.pool.counters.pings_failed, transport.state == OPEN), (1, False))

    def test_a_trial_ends_once_whatever_comes(self) -> None:
        """What a reload asks on one of its new connections."""
        for name, pieces, status, _ in CASES:
            bench = PoolBench(min_conn=1)
            bench.answer_all()
            checker = self.checker(bench, FakeDialer(bench.clock), bench.clock)
            connection = bench.pool.acquire()
            assert connection is not None
            told: list[str] = []
            checker.try_on(connection, told.append)
            send(bench.dialer.transports[0], pieces)
            bench.pass_time(20)
            self.assertEqual([not why for why in told], [status == 200], name)
