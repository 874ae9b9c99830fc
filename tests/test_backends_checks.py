"""Health checks: what they send, what they make of the answer, and when they say UP or DOWN."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.requests import request
from reusedproxy.backends.server import DOWN, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.checks import HTTPCheck
from reusedproxy.config.model.proxies import Check
from reusedproxy.net.transport import CLOSED, PEER_RESET
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer, FakeTransport, PoolBench

HTTP = HTTPCheck()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


class Bench:
    """One server under check, its dials answered by hand; `said` is what was found, as the backend hears it."""

    def __init__(
        self,
        http: HTTPCheck | None = HTTP,
        *,
        secure: bool = False,
        timeout: float | None = None,
        first_after: float = 0.0,
        disabled: bool = False,
        **check: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.dialer = FakeDialer(self.clock, secure)
        place = model.Place("test.cfg", 1)
        settings = model.Server(name="s1", place=place, host="127.0.0.1", disabled=disabled)
        self.server = Server("be", settings, PoolBench(resume=False).pool, 1000.0)
        self.said: list[tuple[str, str]] = []
        self.checker = Checker(
            self.server,
            Check(**check),
            http,
            self.dialer,  # type: ignore[arg-type]
            self.clock,
            Limits(),
            timeout,
            first_after,
            self.changed,
        )
        self.checker.start()
        self.clock.advance(0)

    def changed(self, server: Server, state: str, reason: str) -> None:
        self.said.append((state, reason))
        server.judge(state, self.clock.seconds())

    def connect(self) -> FakeTransport:
        return self.dialer.open[0].succeed()

    def next_check(self) -> None:
        """Time passes until the next check begins."""
        for _ in range(10000):
            if self.dialer.open:
                return
            self.clock.advance(0.01)
        raise AssertionError("no check any more")

    def answer(self, *answers: bytes) -> None:
        """The next checks are answered so."""
        for data in answers:
            self.next_check()
            self.connect().receive(data)

    def interval(self) -> float:
        """Seconds until the next check."""
        began = self.clock.seconds()
        self.next_check()
        return round(self.clock.seconds() - began, 1)


class RequestTests(SynchronousTestCase):
    """The bytes of a check, as HAProxy 2.6.12 sends them (captured)."""

    def test_as_haproxy_sends_them(self) -> None:
        """Lower-case names, the length counted, and the connection ended in HTTP/1.1 only."""
        host = (("Host", "www.example.com"),)
        for check, expected in (
            (HTTPCheck(), b"OPTIONS / HTTP/1.0\r\n\r\n"),
            (HTTPCheck(uri="/health"), b"OPTIONS /health HTTP/1.0\r\n\r\n"),
            (
                HTTPCheck("GET", "/health", "HTTP/1.1", host),
                b"GET /health HTTP/1.1\r\nhost: www.example.com\r\nconnection: close\r\n\r\n",
            ),
            (
                HTTPCheck("POST", "/h", "HTTP/1.1", (("Host", "x"), ("Content-Type", "text/plain")), "hello"),
                b"POST /h HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n"
                b"\r\nhello",
            ),
            (
                HTTPCheck("POST", "/h", "HTTP/1.1", (("Host", "x"), ("Content-Length", "7")), "hello"),
                b"POST /h HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
            ),
        ):
            self.assertEqual(request(check), expected)

    def test_a_connection_header_of_ones_own_stands(self) -> None:
        """HAProxy leaves it out, and no other is added; in HTTP/1.1 that means the same."""
        check = HTTPCheck("GET", "/", "HTTP/1.1", (("Host", "x"), ("Connection", "keep-alive")))
        self.assertEqual(request(check), b"GET / HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n\r\n")

    def test_bytes_of_any_language(self) -> None:
        """Lengths are bytes, and the file's letters go out as they were written."""
        check = HTTPCheck("POST", "/", "HTTP/1.0", (("X-Name", "Ž"),), "ü")
        self.assertEqual(request(check), "POST / HTTP/1.0\r\nx-name: Ž\r\ncontent-length: 2\r\n\r\nü".encode())

    def test_what_goes_out(self) -> None:
        """The request, on a connection of its own, which is reset after it."""
        bench = Bench()
        transport = bench.connect()
        self.assertEqual(transport.written, b"OPTIONS / HTTP/1.0\r\n\r\n")
        transport.receive(OK)
        self.assertEqual((transport.state, transport.end), (CLOSED, ("abort", "check done")))


class ResultTests(SynchronousTestCase):
    """What one check finds, in HAProxy's words."""

    def assert_found(self, bench: Bench, status: str, text: str) -> None:
        self.assertEqual((bench.checker.last.status, str(bench.checker.last)), (status, text))
        self.assertEqual(bench.dialer.open, [])

    def test_connected(self) -> None:
        """Without HTTP a connection is enough, with TLS a handshake."""
        for secure, status, text in (
            (False, "L4OK", "Layer4 check passed, check duration: 0ms"),
            (True, "L6OK", "Layer6 check passed, check duration: 0ms"),
        ):
            bench = Bench(None, secure=secure)
            bench.connect()
            self.assert_found(bench, status, text)

    def test_not_connected(self) -> None:
        """Each layer has its words for refusal and for silence."""
        for phase, reason, status, text in (
            ("TCP connect", "Connection refused", "L4CON",
                'Layer4 connection problem, info: "Connection refused", check duration: 0ms'),
            ("TLS handshake", "unknown ca", "L6RSP",
                'Layer6 invalid response, info: "unknown ca", check duration: 0ms'),
            ("TCP connect", None, "L4TOUT", "Layer4 timeout, check duration: 0ms"),
            ("TLS handshake", None, "L6TOUT", "Layer6 timeout, check duration: 0ms"),
        ):  # fmt: skip
            bench = Bench()
            if reason is None:
                bench.dialer.open[0].time_out(phase)
            else:
                bench.dialer.open[0].fail(reason, phase)
            self.assert_found(bench, status, text)

    def test_answered(self) -> None:
        """By status; the reason phrase is only worth telling when it is bad."""
        bench = Bench()
        bench.answer(OK)
        self.assert_found(bench, "L7OK", "Layer7 check passed, code: 200, check duration: 0ms")
        bench = Bench()
        bench.answer(BUSY)
        self.assert_found(
            bench, "L7STS", 'Layer7 wrong status, code: 503, info: "Service Unavailable", check duration: 0ms'
        )

    def test_answered_in_pieces(self) -> None:
        """Wherever the head is cut."""
        for at in range(1, len(OK)):
            bench = Bench()
            transport = bench.connect()
            transport.receive(OK[:at])
            if transport.reading:
                transport.receive(OK[at:])
            self.assertEqual(bench.checker.last.status, "L7OK")

    def test_answered_wrongly(self) -> None:
        """What is no HTTP, or too much of it, or ends too early."""
        for data, info in (
            (b"220 smtp ready\r\n\r\n", "malformed HTTP version"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 16000, "response head too long"),
        ):
            bench = Bench()
            bench.answer(data)
            self.assert_found(bench, "L7RSP", f'Layer7 invalid response, info: "{info}", check duration: 0ms')
        for reason, status in (("closed by peer", "L7RSP"), (PEER_RESET, "SOCKERR")):
            bench = Bench()
            bench.connect().peer_ends(reason)
            self.assertEqual(bench.checker.last.status, status)

    def test_a_server_writes_nothing_that_a_terminal_obeys(self) -> None:
        """Operators see its words at the runtime API, on the page and in the manhole."""
        bench = Bench()
        bench.answer(BUSY.replace(b"Service", b"\xc2\x9b31m\x9b2J"))
        self.assertEqual(bench.checker.last.info, "Â?31m?2J Unavailable")

    def test_an_informational_answer_is_a_wrong_status(self) -> None:
        """As in HAProxy, which takes the first head for the answer."""
        bench = Bench()
        bench.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
        self.assertEqual((bench.checker.last.status, bench.checker.last.code), ("L7STS", 103))

    def test_expected_statuses(self) -> None:
        """`http-check expect status 200,300-304`, and with `!`."""
        for status, passed in ((200, True), (201, False), (299, False), (300, True), (304, True), (305, False)):
            for negated in (False, True):
                bench = Bench(HTTPCheck(expect=((200, 200), (300, 304)), expect_not=negated))
                bench.answer(b"HTTP/1.1 %d x\r\n\r\n" % status)
                self.assertEqual(bench.checker.last.passed, passed != negated, (status, negated))

    def test_by_default_200_to_399_pass(self) -> None:
        """HAProxy's rule for `option httpchk`."""
        for status, passed in ((199, False), (200, True), (399, True), (400, False), (500, False)):
            bench = Bench()
            bench.answer(b"HTTP/1.1 %d x\r\n\r\n" % status)
            self.assertEqual(bench.checker.last.passed, passed, status)

    def test_no_answer_within_inter(self) -> None:
        """Without `timeout check` the whole check has `inter`."""
        bench = Bench(inter=2.0)
        bench.clock.advance(1.5)
        transport = bench.connect()
        bench.clock.advance(0.4)
        self.assertEqual(bench.checker.last.status, "INI")
        bench.clock.advance(0.2)
        self.assertEqual((bench.checker.last.status, transport.state), ("L7TOUT", CLOSED))

    def test_no_answer_within_timeout_check(self) -> None:
        """It counts from the connection on, as HAProxy's manual says."""
        bench = Bench(inter=2.0, timeout=1.0)
        bench.clock.advance(1.5)
        bench.connect()
        bench.clock.advance(0.9)
        self.assertEqual(bench.checker.last.status, "INI")
        bench.clock.advance(0.2)
        self.assertEqual(str(bench.checker.last), "Layer7 timeout, check duration: 2600ms")


class JudgementTests(SynchronousTestCase):
    """`rise`, `fall` and the intervals."""

    def states(self, bench: Bench, answers: str) -> str:
        """The server's state after each check: + passes, - fails."""
        seen = ""
        for answer in answers:
            bench.answer(OK if answer == "+" else BUSY)
            seen += {UP: "U", DOWN: "D"}[bench.server.state]
        return seen

    def test_the_first_check_decides_at_once(self) -> None:
        """A server begins UP on trust: one failure is enough then (captured from HAProxy)."""
        self.assertEqual(self.states(Bench(), "-"), "D")
        self.assertEqual(self.states(Bench(), "+"), "U")

    def test_fall_in_a_row(self) -> None:
        """Once found well it takes `fall` failures, and a success between them begins anew."""
        self.assertEqual(self.states(Bench(fall=3), "+---"), "UUUD")
        self.assertEqual(self.states(Bench(fall=3), "+--+--+---"), "UUUUUUUUUD")

    def test_rise_in_a_row(self) -> None:
        """Down, it takes `rise` successes, and a failure between them begins anew."""
        self.assertEqual(self.states(Bench(rise=3), "-++-+++"), "DDDDDDU")
        self.assertEqual(self.states(Bench(rise=1, fall=1), "-+-+"), "DUDU")

    def test_what_is_not_the_servers_fault(self) -> None:
        """Out of descriptors we know nothing of it: it keeps its state, and is asked again."""
        bench = Bench(fall=2)
        for _ in range(5):
            bench.next_check()
            bench.dialer.open[0].fail("Too many open files", ours=True)
        self.assertEqual((bench.said, bench.checker.failures, bench.server.state), ([], 0, UP))
        self.assertEqual(bench.checker.last.status, "SOCKERR")
        bench.answer(BUSY, BUSY)
        self.assertEqual(bench.server.state, DOWN)

    def test_changes_are_said_once(self) -> None:
        """With the last result, and only when the state changes."""
        bench = Bench(fall=2, rise=2)
        self.states(bench, "+---+++")
        self.assertEqual([state for state, _ in bench.said], [DOWN, UP])
        self.assertIn("Layer7 wrong status, code: 503", bench.said[0][1])
        self.assertIn("Layer7 check passed, code: 200", bench.said[1][1])

    def test_failures_are_counted_while_up(self) -> None:
        """HAProxy's chkfail counts no failures of a server that is DOWN."""
        bench = Bench(fall=2)
        self.states(bench, "+--------")
        self.assertEqual(bench.checker.failures, 2)

    def test_intervals(self) -> None:
        """`inter` while well, `fastinter` in between, `downinter` while DOWN."""
        bench = Bench(inter=2.0, fastinter=0.5, downinter=7.0, rise=2, fall=3)
        seen = []
        for answer in "+-----++":
            self.states(bench, answer)
            seen.append(bench.interval())
        self.assertEqual(seen, [2.0, 0.5, 0.5, 7.0, 7.0, 7.0, 0.5, 2.0])

    def test_intervals_without_the_others(self) -> None:
        """`inter` stands for those that are not given."""
        bench = Bench(inter=2.0)
        for answer in "+---++":
            self.states(bench, answer)
            self.assertEqual(bench.interval(), 2.0)

    def test_a_server_in_maintenance_is_left_alone(self) -> None:
        """`disabled` is not for a check to undo; when it ends, checks go on."""
        bench = Bench(disabled=True)
        bench.clock.pump([1.0] * 10)
        self.assertEqual((bench.dialer.dials, bench.said), ([], []))
        bench.server.administer("READY", bench.clock.seconds())
        bench.answer(BUSY)
        self.assertEqual([state for state, _ in bench.said], [DOWN])

    def test_maintenance_during_a_check(self) -> None:
        """Its result changes nothing."""
        bench = Bench()
        transport = bench.connect()
        bench.server.administer("MAINT", bench.clock.seconds())
        transport.receive(BUSY)
        self.assertEqual(bench.said, [])


class TimingTests(SynchronousTestCase):
    """Beginning and end."""

    def test_first_checks_are_spread(self) -> None:
        """Each waits for its own share of the interval."""
        bench = Bench(first_after=1.5)
        bench.clock.advance(1.4)
        self.assertEqual(bench.dialer.dials, [])
        bench.clock.advance(0.2)
        self.assertEqual(len(bench.dialer.dials), 1)

    def test_one_at_a_time(self) -> None:
        """The next begins an interval after the end of the one before."""
        bench = Bench(inter=2.0)
        bench.clock.pump([1.0] * 10)
        self.assertEqual(len(bench.dialer.dials), 1)

    def test_stop_leaves_nothing(self) -> None:
        """No timer, no dial, no connection, whatever it was doing."""
        for step in ("waiting", "dialling", "asking", "between"):
            bench = Bench(first_after=1.0 if step == "waiting" else 0.0)
            if step == "asking":
                bench.connect()
            if step == "between":
                bench.answer(OK)
            bench.checker.stop()
            self.assertEqual(bench.dialer.open, [])
            self.assertTrue(all(transport.state == CLOSED for transport in bench.dialer.transports))
            bench.dialer.deadlines.stop()
            self.assertEqual(bench.clock.getDelayedCalls(), [], step)

    def test_stopped_by_what_it_says(self) -> None:
        """Whoever hears that a server is DOWN may stop its checks at once."""
        bench = Bench()
        bench.checker._changed = lambda *_: bench.checker.stop()
        bench.answer(BUSY)
        bench.dialer.deadlines.stop()
        self.assertEqual(bench.clock.getDelayedCalls(), [])
