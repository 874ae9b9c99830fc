"""Checks of several steps: what they send, what they expect, and what they say of it, as HAProxy 2.6.12 does (captured
beside it: tests/integration/test_checks_beside_haproxy.py has more of them)."""

from __future__ import annotations

from unittest.mock import patch

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.judge import Judge
from reusedproxy.backends.server import DOWN, NOLB, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.proxies import Check
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.rules.facts import Sample
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer, FakeTransport, PoolBench

PLACE = model.Place("test.cfg", 1)


def answer(status: int, body: str = "", more: str = "") -> bytes:
    return f"HTTP/1.1 {status} Word\r\n{more}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Bench:
    """One server under the checks of these lines."""

    def __init__(self, lines: str, *, fall: int = 1, rise: int = 1, variables: dict[str, Sample] | None = None) -> None:
        self.variables = {} if variables is None else variables
        text = (
            "defaults\n mode http\n timeout connect 1s\n timeout server 1s\nbackend be\n"
            f"{lines}\n server s1 127.0.0.1:80 check\n"
        )
        backend = read_configuration([Source("t.cfg", text)], {}).backends["be"]
        self.clock = Clock()
        self.clock.advance(1000)
        self.dialer = FakeDialer(self.clock)
        self.server = Server("be", backend.servers[0], PoolBench(resume=False).pool, 1000.0)
        self.said: list[tuple[str, str]] = []
        self.reports: list[str] = []
        self.connects: list[model.Connect] = []
        self.checker = Checker(
            self.server,
            Check(fall=fall, rise=rise),
            backend.http_check or backend.check_plan,
            self.dialer,  # type: ignore[arg-type]
            self.clock,
            Limits(),
            None,
            0.0,
            self.changed,
            dialers=self,  # type: ignore[arg-type]
            report=self.reports.append if backend.log_health_checks else None,
            state=lambda: "UP; name=be/s1",
            variables=self.variables,
        )
        self.checker.start()
        self.clock.advance(0)

    def of(self, step: model.Connect) -> object:
        self.connects.append(step)
        return lambda facts: self.dialer

    def changed(self, server: Server, state: str, reason: str) -> None:
        self.said.append((state, reason))
        server.judge(state, self.clock.seconds())

    def connect(self) -> FakeTransport:
        for _ in range(10000):
            if self.dialer.open:
                return self.dialer.open[0].succeed()
            self.clock.advance(0.01)
        raise AssertionError("no check any more")

    def found(self) -> tuple[str, int | None, str]:
        last = self.checker.last
        return last.status, last.code, last.info


class HTTPTests(SynchronousTestCase):
    """`http-check`."""

    def test_what_is_expected_of_an_answer(self) -> None:
        got = answer(200, "all is good", "X-Ready: no, yes\r\n")
        for expected, status, info in (
            ("status 200", "L7OK", ""),
            ("! status 200", "L7STS", "Word"),
            ("rstatus ^2", "L7OK", ""),
            ("rstatus ^3", "L7STS", "Word"),
            ("string good", "L7OK", ""),
            ("string bad", "L7RSP", "HTTP content check did not match"),
            ("comment oh ! string good", "L7RSP", "HTTP check matched unwanted content comment: oh"),
            ("rstring g.{2}d$", "L7OK", ""),
            ("! rstring bad", "L7OK", ""),
            ("string-lf %[str(good)]", "L7OK", ""),
            ("hdr name x-ready", "L7OK", ""),
            ("hdr name x-ready value yes", "L7OK", ""),
            ("hdr name -m beg x-r value -m sub es", "L7OK", ""),
            ("hdr name -m reg ^x-r value -m reg ^y.s$", "L7OK", ""),
            ("fhdr name x-ready value yes", "L7STS", "Word"),
            ("fhdr name x-ready value -m end yes", "L7OK", ""),
            ("hdr name-lf x-%[str(ready)] value-lf %[str(no)]", "L7OK", ""),
            ("hdr name x-other", "L7STS", "Word"),
            ("! hdr name x-other", "L7OK", ""),
            ("error-status L7RSP on-error was-%[status] status 500", "L7RSP", "was-200"),
            ("on-success fine ok-status L6OK status 200", "L6OK", "fine"),
            ("status 200 on-success fine ok-status L6OK", "L6OK", "fine"),
            ("comment why ! status 200 error-status L7RSP on-error no", "L7RSP", "no comment: why"),
            ("hdr name x-ready comment why on-success fine", "L7OK", "fine"),
            ("hdr name x-ready value yes on-success fine", "L7OK", "fine"),
            ("string good on-success on-success", "L7OK", "on-success"),
            ("!!status 200", "L7OK", ""),
            ("! ! status 200", "L7OK", ""),
        ):
            bench = Bench(f" option httpchk GET /h\n http-check expect {expected}")
            bench.connect().receive(got)
            self.assertEqual((bench.found()[0], bench.found()[2]), (status, info), expected)

    def test_what_cannot_be_evaluated_fails_the_check(self) -> None:
        """By a fault of ours, or beyond the bounds of an expression: nor is it what must not be there."""
        failing = patch("reusedproxy.backends.checks.facts.time", side_effect=RuntimeError("a bug"))
        for lines, why in (
            (" http-check expect string-lf %[date]", "step 3 could not be evaluated: an error in reusedproxy"),
            (" http-check expect ! string-lf %[date]", "step 3 could not be evaluated: an error in reusedproxy"),
            (" http-check send uri-lf /%[date]", "step 2 could not be evaluated: an error in reusedproxy"),
            (" http-check set-var(check.a) date", "step 3 could not be evaluated: an error in reusedproxy"),
            (" http-check expect ! rstring ^/(?!x)(a+)+$", "step 3 could not be evaluated: "),
        ):
            bench = Bench(f" option httpchk GET /h\n{lines}")
            with failing:
                transport = bench.connect()
                if transport.reading:
                    transport.receive(answer(200, f"/{'a' * 40}!"))
            self.assertEqual(bench.found()[0], "L7RSP", lines)
            self.assertIn(why, bench.found()[2], lines)
            self.assertEqual(bench.said[-1][0], DOWN)
            bench.connect()  # it goes on

    def test_a_body_may_come_in_pieces_and_in_chunks(self) -> None:
        whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n5\r\ngood!\r\n0\r\n\r\n"
        for at in range(1, len(whole)):
            bench = Bench(" option httpchk\n http-check expect string good!")
            transport = bench.connect()
            transport.receive(whole[:at])
            if transport.reading:
                transport.receive(whole[at:])
            self.assertEqual(bench.found(), ("L7OK", 200, ""), at)

    def test_no_body_to_look_at(self) -> None:
        bench = Bench(" option httpchk\n http-check expect string x")
        bench.connect().receive(answer(200))
        self.assertEqual(bench.found(), ("L7RSP", None, "HTTP content check could not find a response body"))

    def test_several_requests_each_on_a_connection_of_its_own(self) -> None:
        bench = Bench(
            " option httpchk\n http-check connect\n http-check send meth GET uri /a\n http-check expect status 200\n"
            " http-check connect port 81 ssl\n http-check send meth GET uri /b ver HTTP/1.1 hdr Host x\n"
            " http-check expect string ok"
        )
        self.assertEqual([(step.port, step.ssl) for step in bench.connects], [(None, False), (81, True)])
        first = bench.connect()
        self.assertEqual(first.written, b"GET /a HTTP/1.0\r\n\r\n")
        first.receive(answer(200))
        second = bench.connect()
        self.assertEqual(second.written, b"GET /b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        self.assertEqual(first.end, ("abort", "check done"))
        second.receive(answer(500, "ok"))
        self.assertEqual(bench.found(), ("L7OK", 500, ""))

    def test_variables(self) -> None:
        bench = Bench(
            " option httpchk\n http-check set-var(check.u) str(/x/y)\n"
            " http-check send meth PUT uri-lf %[var(check.u)] hdr X-V %[var(check.u)]a%[be_name]"
            " body-lf b=%[var(check.u)]"
        )
        self.assertEqual(
            bench.connect().written, b"PUT /x/y HTTP/1.0\r\nx-v: /x/yabe\r\ncontent-length: 6\r\n\r\nb=/x/y"
        )

    def test_variables_are_set_where_their_conditions_are_met(self) -> None:
        """One keeps its value where there is nothing to fetch."""
        bench = Bench(
            " option httpchk\n http-check set-var(check.u) str(/x)\n http-check set-var(check.u,ifnotset) str(/y)\n"
            " http-check set-var-fmt(check.v,ifnotexists) v%[var(check.u)]\n"
            " http-check set-var(check.v) var(check.no)\n"
            " http-check set-var-fmt(check.w,ifset) w\n"
            " http-check send meth PUT uri-lf %[var(check.u)] hdr X-V %[var(check.v)] hdr X-W a%[var(check.w)]"
        )
        self.assertEqual(bench.connect().written, b"PUT /x HTTP/1.0\r\nx-v: v/x\r\nx-w: a\r\n\r\n")

    def test_variables_of_the_process(self) -> None:
        """They outlive the check, and hold no more than those of rules."""
        bench = Bench(
            " option httpchk\n http-check send meth GET uri-lf /%[var(proc.n)] hdr X-V %[int(1),add(proc.n)]\n"
            " http-check expect status 200\n http-check set-var(proc.status) status\n"
            " http-check set-var(proc.body) res.body\n http-check unset-var(proc.n)",
            variables={"proc.n": 7},
        )
        transport = bench.connect()
        self.assertEqual(transport.written, b"GET /7 HTTP/1.0\r\nx-v: 8\r\n\r\n")
        transport.receive(answer(200, "x"))
        self.assertEqual(bench.variables, {"proc.status": 200, "proc.body": b"x"})

    def test_send_state(self) -> None:
        bench = Bench(" option httpchk GET /\n http-check send-state")
        self.assertEqual(bench.connect().written, b"GET / HTTP/1.0\r\nx-haproxy-server-state: UP; name=be/s1\r\n\r\n")

    def test_disable_on_404(self) -> None:
        """A server that is UP and answers 404 is NOLB, until it answers well; one that is DOWN stays so."""
        bench = Bench(" option httpchk GET /\n http-check disable-on-404")
        for status, state in ((404, NOLB), (404, NOLB), (200, UP), (404, NOLB), (500, DOWN), (404, DOWN), (200, UP)):
            bench.connect().receive(answer(status))
            self.assertEqual((bench.server.state, bench.server.serving), (state, state != DOWN), status)

    def test_log_health_checks(self) -> None:
        """A line for each result that matters, and the change of state says no reason then."""
        bench = Bench(" option httpchk GET /\n option log-health-checks", fall=2, rise=2)
        for status in (200, 200, 500, 500, 500, 200, 200, 200):
            bench.connect().receive(answer(status))
        begins = "Health check for server be/s1"
        ok = "succeeded, reason: Layer7 check passed, code: 200, check duration: 0ms, status:"
        bad = 'failed, reason: Layer7 wrong status, code: 500, info: "Word", check duration: 0ms, status:'
        self.assertEqual(
            bench.reports,
            [
                f"{begins} {ok} 2/2 UP.",
                f"{begins} {bad} 1/2 UP.",
                f"{begins} {bad} 0/2 DOWN.",
                f"{begins} {ok} 1/2 DOWN.",
                f"{begins} {ok} 2/2 UP.",
            ],
        )
        self.assertEqual(bench.said, [(DOWN, ""), (UP, "")])


class TCPTests(SynchronousTestCase):
    """`tcp-check`, and the options for some protocols."""

    def assert_dialogue(self, lines: str, dialogue: list[bytes | str], found: tuple[str, int | None, str]) -> None:
        """Texts are what the check must send, bytes are the server's; "" is its end."""
        bench = Bench(lines)
        transport = bench.connect()
        for part in dialogue:
            if isinstance(part, bytes):
                self.assertTrue(transport.reading, (lines, part))
                transport.receive(part)
            elif part:
                self.assertEqual(transport.take_written(), part.encode("latin-1"), lines)
            else:
                transport.owner.eof_received()
        self.assertEqual(bench.found(), found, lines)

    def test_dialogues(self) -> None:
        redis = (
            " option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string +PONG\n"
            " tcp-check send info\\ replication\\r\\n\n tcp-check expect string role:master"
        )
        asks: list[bytes | str] = ["PING\r\n", b"+PO", b"NG\r\n", "info replication\r\n"]
        expect = " option tcp-check\n tcp-check expect"
        bad = "TCPCHK did not match content"
        smtp: list[bytes | str] = [b"220 mx\r\n", "HELO localhost\r\n", b"250-a\r\n250 hi\r\n", "QUIT\r\n"]
        table: list[tuple[str, list[bytes | str], tuple[str, int | None, str]]] = [
            (redis, [*asks, b"role:master"], ("L7OK", 0, "(tcp-check)")),
            (redis, [*asks, b"role:slave", ""], ("L7RSP", None, f"{bad} 'role:master' at step 4")),
            (redis, ["PING\r\n", ""], ("L7RSP", None, "TCPCHK got an empty response at step 2")),
            (" option tcp-check\n tcp-check connect", [], ("L4OK", None, "(tcp-check)")),
            (" option tcp-check", [], ("L4OK", None, "")),
            (" option tcp-check\n tcp-check send-binary 00ff", ["\x00\xff"], ("L7OK", 0, "(tcp-check)")),
            (f"{expect} binary 2b50", [b"+PONG"], ("L7OK", 0, "(tcp-check)")),
            (f"{expect} binary 2b51", [b"+PONG", ""], ("L7RSP", None, f"{bad} (binary) at step 1")),
            (f"{expect} rbinary ^2B.0", [b"+PONG"], ("L7OK", 0, "(tcp-check)")),
            (f"{expect} ! string ERR", [b"ERR"], ("L7RSP", None, "TCPCHK matched unwanted content 'ERR' at step 1")),
            (f"{expect} min-recv 0 ! string ERR", [b"all"], ("L7OK", 0, "(tcp-check)")),
            (f"{expect} min-recv 3 comment why rstring ^a", [b"xa", b"x"],
                ("L7RSP", None, f"{bad} (regex) at step 1 comment: why")),
            (f"{expect} rstring ^a comment why min-recv 3", [b"xa", b"x"],
                ("L7RSP", None, f"{bad} (regex) at step 1 comment: why")),
            (f"{expect} string a status-code int(5) error-status L7STS on-error %[be_name]", [b"x", ""],
                ("L7STS", 5, "be")),
            (f"{expect} error-status L7STS status-code int(5) on-error %[be_name] string a", [b"x", ""],
                ("L7STS", 5, "be")),
            (" option redis-check", ["*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"], ("L7OK", 0, "Redis server is ok")),
            (" option redis-check", [b"-NOAUTH no\r\n", ""], ("L7STS", 0, "-NOAUTH no")),
            (" option smtpchk", [*smtp, b"221 bye\r\n"], ("L7OK", 221, "bye")),
            (" option smtpchk EHLO a.b", [b"554 go away\r\n"], ("L7STS", 554, "go away")),
            (" option ldap-check", [bytes.fromhex("300c02010161070a010004000400")], ("L7OK", 0, "Success")),
            (" option ldap-check", [bytes.fromhex("300c02010161070a013104000400")],
                ("L7STS", 49, "See RFC: http://tools.ietf.org/html/rfc4511#section-4.1.9")),
            (" option pgsql-check user joe", ["\0\0\0\x12\0\x03\0\0user\0joe\0\0", b"R\0\0\0\x0c\0\0\0\x05abcd"],
                ("L7OK", 0, "PostgreSQL server is ok")),
            (" option pgsql-check user joe", [b"E\0\0\0\x20SFATAL\0C28000\0"], ("L7RSP", None, "FATAL")),
            (" option mysql-check", [b"\x0c\0\0\0\x0a5.5.5\0abcde"], ("L7OK", 0, "5.5.5")),
            (" option mysql-check user joe", [b"\x0c\0\0\0\x0a5.5.5\0abcde", b"\x03\0\0\x02\xff\x15\x04"],
                ("L7STS", 1045, "")),
            (" option mysql-check", [b"\x05\0", ""], ("L7RSP", None, "")),
            (" option ssl-hello-chk", [b"\x15\x03\x00\x00\x02"], ("L6OK", None, "")),
            (" option ssl-hello-chk", [b"HTTP/1.0"], ("L6RSP", None, "")),
        ]  # fmt: skip
        for lines, dialogue, found in table:
            self.assert_dialogue(lines, dialogue, found)

    def test_silence(self) -> None:
        """The step is said where the protocol is TCP."""
        for lines, found in (
            (" tcp-check expect string a", ("L7TOUT", None, " at step 1 of tcp-check (expect string 'a')")),
            (
                " tcp-check connect\n tcp-check comment wait\n tcp-check expect tout-status L4TOUT rstring a",
                ("L4TOUT", None, " at step 3 of tcp-check (expect regex) comment: 'wait'"),
            ),
        ):
            bench = Bench(f" option tcp-check\n{lines}")
            bench.connect()
            bench.clock.advance(2.1)
            self.assertEqual(bench.found(), found)

    def test_no_step_goes_on_after_the_end(self) -> None:
        bench = Bench(" option tcp-check\n tcp-check send x\n tcp-check expect string y")
        transport = bench.connect()
        bench.checker.stop()
        bench.clock.advance(10)
        self.assertEqual((transport.end, bench.dialer.open), (("abort", "check done"), []))


class JudgeTests(SynchronousTestCase):
    """State by event: HAProxy's counter."""

    def test_table(self) -> None:
        """With rise 2 and fall 3: from each count, after a success and after a failure."""
        for health, passed, failed in ((0, 1, 0), (1, 4, 0), (2, 4, 0), (3, 4, 2), (4, 4, 3)):
            for event, after in (("passed", passed), ("failed", failed)):
                judge = Judge(2, 3)
                judge.begin_at(health)
                changed = getattr(judge, event)()
                self.assertEqual((judge.health, changed), (after, after != health), (health, event))

    def test_progress(self) -> None:
        for health, text in ((0, "0/2"), (1, "1/2"), (2, "1/3"), (3, "2/3"), (4, "3/3")):
            judge = Judge(2, 3)
            judge.begin_at(health)
            self.assertEqual(judge.progress, text)


class InitStateTests(SynchronousTestCase):
    """`init-state`: how a server begins, and how many results in a row change that (rise 2, fall 3)."""

    def test_table(self) -> None:
        for state, begins, good, bad in (
            ("fully-up", UP, 0, 3),
            ("up", UP, 0, 1),
            ("down", DOWN, 1, 0),
            ("fully-down", DOWN, 2, 0),
        ):
            for status, needed in ((200, good), (500, bad)):
                bench = Bench(" option httpchk GET /", fall=3, rise=2)
                bench.server.settings = evolve(bench.server.settings, init_state=state)
                for order in ("MAINT", "READY"):
                    bench.server.administer(order, 0.0)
                bench.checker.begin()
                self.assertEqual(bench.server.state, begins, state)
                for _ in range(needed):
                    self.assertEqual(bench.said, [], state)
                    bench.connect().receive(answer(status))
                self.assertEqual(len(bench.said), int(needed > 0), (state, status))
