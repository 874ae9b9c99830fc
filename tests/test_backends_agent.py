"""`agent-check`: what an agent says, and what is done about it. Lines and texts were captured from HAProxy 2.6.12."""

from __future__ import annotations

from socket import AF_INET

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker, Said, understood
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.balance import Balance
from reusedproxy.config.model.checks import Agent
from reusedproxy.config.model.proxies import Check
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.net.dial import Target
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer, PoolBench

PLACE = model.Place("test.cfg", 1)


class LineTests(SynchronousTestCase):
    def test_words(self) -> None:
        for line, said in (
            ("", Said()),
            ("75%", Said(weight=75)),
            ("50% 75%", Said(weight=75)),
            ("up,100%\tmaxconn:30", Said(weight=100, maxconn=30, health=UP, word="up")),
            ("UP ready", Said(order=READY, health=UP, word="UP")),
            ("drain", Said(order=DRAIN)),
            ("maint", Said(order=MAINT)),
            ("down # broken disk, 20%", Said(health=DOWN, word="down", description="broken disk, 20%")),
            ("stopped", Said(health=DOWN, word="stopped")),
            ("fail #x", Said(health=DOWN, word="fail", description="x")),
            ("fail#x", Said(wrong="fail#x")),
            ("failed bogus", Said(wrong="failed")),
            ("-5%", Said(wrong="-5%")),
            ("75", Said(wrong="75")),
            ("maxconn:x", Said(warning="maxconn string empty or preceded by garbage")),
        ):
            self.assertEqual(understood(line), said, line)


class StaticTests(SynchronousTestCase):
    def test_weights_do_not_count_where_the_algorithm_goes_by_the_files(self) -> None:
        """But for none and the configured one, as in HAProxy."""
        bench = Bench(algorithm="static-rr")
        text = "agent warns : Backend is using a static LB algorithm and only accepts weights '0%' and '100%'."
        for line, weight, info in ((b"50%\n", 50, text), (b"0%\n", 0, ""), (b"100%\n", 50, "")):
            bench.say(line)
            self.assertEqual((bench.server.weight, bench.found()), (weight, ("CHECKED", info)), line)


class TerminalTests(SynchronousTestCase):
    def test_an_agent_writes_nothing_that_a_terminal_obeys(self) -> None:
        bench = Bench()
        bench.say("down # \x1b[31m\x9b2J\u202e\n".encode())
        self.assertEqual(bench.found(), ("L7STS", "via agent : down (?[31m?2J?)"))


class Bench:
    """A server of weight 50 with an agent, and perhaps with checks of its own."""

    def __init__(self, send: str = "", *, checked: bool = False, algorithm: str = "roundrobin") -> None:
        self.clock = Clock()
        self.dialer = FakeDialer(self.clock)
        check = Check() if checked else None
        settings = model.Server(name="s", place=PLACE, host="h", weight=50, maxconn=100, check=check)
        self.server = Server("g", settings, PoolBench(resume=False).pool, 0.0)
        self.said: list[str] = []
        self.backend = Backend(
            model.Backend("g", PLACE, mode="http", balance=Balance(algorithm)),
            [self.server],
            self.clock.seconds,
            lambda level, text: self.said.append(text),
        )
        self.checker = None
        if check is not None:
            self.checker = Checker(
                self.server,
                check,
                None,
                self.dialer,  # type: ignore[arg-type]
                self.clock,
                Limits(),
                None,
                0.0,
                self.backend.server_changed,
            )
        self.agent = AgentChecker(
            self.server,
            Agent(8080, send=send),
            self.dialer,  # type: ignore[arg-type]
            self.clock,
            None,
            0.0,
            self.backend,
            self.checker,
        )
        self.agent.start()
        self.clock.advance(0)

    def say(self, line: bytes) -> None:
        """The agent's next answer."""
        while not self.dialer.open:
            self.clock.advance(0.1)
        self.dialer.open[0].succeed().receive(line)

    def found(self) -> tuple[str, str]:
        return self.agent.last.status, self.agent.last.info


class AgentTests(SynchronousTestCase):
    def test_state_by_word(self) -> None:
        """One after another: the server's state, its weight, its limit, and what is shown."""
        bench = Bench()
        for line, state, weight, maxconn, found in (
            (b"50%\n", UP, 25, 100, ("CHECKED", "")),
            (b"50%\r\nup\n", UP, 25, 100, ("CHECKED", "")),
            (b"maxconn:30\n", UP, 25, 30, ("CHECKED", "")),
            (b"100% maxconn:100\n", UP, 50, 100, ("CHECKED", "")),
            (b"down\n", DOWN, 50, 100, ("L7STS", "via agent : down")),
            (b"down # broken disk\n", DOWN, 50, 100, ("L7STS", "via agent : down (broken disk)")),
            (b"up\n", UP, 50, 100, ("L7OK", "via agent : up")),
            (b"stopped, 20%\n", DOWN, 10, 100, ("L7STS", "via agent : stopped")),
            (b"UP ready 100%\n", UP, 50, 100, ("L7OK", "via agent : UP")),
            (b"drain\n", DRAIN, 50, 100, ("CHECKED", "")),
            (b"maint\n", MAINT, 50, 100, ("CHECKED", "")),
            (b"ready\n", UP, 50, 100, ("CHECKED", "")),
            (b"0%\n", DRAIN, 0, 100, ("CHECKED", "")),
            (b"1000%\n", UP, 256, 100, ("CHECKED", "")),
            (b"100%\n", UP, 50, 100, ("CHECKED", "")),
            (b"bogus\n", UP, 50, 100, ("CHECKED", "agent reports an error : bogus")),
            (b"up bogus\n", UP, 50, 100, ("L7OK", "via agent : up (bogus)")),
        ):
            bench.say(line)
            server = bench.server
            self.assertEqual((server.state, server.weight, server.maxconn), (state, weight, maxconn), line)
            self.assertEqual(bench.found(), found, line)
        text = (
            'Server g/s is DOWN, reason: Layer7 wrong status, code: 0, info: "via agent : down", check duration: 0ms.'
        )
        self.assertTrue(bench.said[0].startswith(text), bench.said[0])

    def test_a_line_may_be_as_long_as_in_haproxy(self) -> None:
        """A reason of some kilobytes does not keep a server in service that is to leave it."""
        bench = Bench()
        bench.say(b"down #" + b"x" * 16_000 + b"\n")
        self.assertEqual((bench.server.state, bench.found()[0]), (DOWN, "L7STS"))
        bench.say(b"up #" + b"x" * 17_000)
        self.assertEqual(
            (bench.server.state, bench.found()), (DOWN, ("CHECKED", "Ignoring incomplete line from agent"))
        )

    def test_what_one_says_counts_where_it_is(self) -> None:
        """Not for the address to which its server has moved meanwhile."""
        bench = Bench()
        old = bench.dialer.open[0].succeed()
        bench.agent.aim(bench.agent.settings, Target(AF_INET, ("192.0.2.2", 80)))
        self.assertEqual(old.end, ("abort", "check done"))
        bench.clock.advance(0.1)
        assert bench.dialer.moved is not None
        bench.dialer.moved.open[0].succeed().receive(b"20%\n")
        self.assertEqual(bench.server.weight, 10)

    def test_what_is_sent(self) -> None:
        bench = Bench("hello\n")
        transport = bench.dialer.open[0].succeed()
        self.assertEqual(transport.written, b"hello\n")

    def test_an_agent_that_does_not_answer_changes_nothing(self) -> None:
        bench = Bench()
        bench.say(b"down\n")
        for what in ("refused", "silent", "closed", "cut"):
            while not bench.dialer.open:
                bench.clock.advance(0.1)
            if what == "refused":
                bench.dialer.open[0].fail()
            else:
                transport = bench.dialer.open[0].succeed()
                if what == "silent":
                    bench.clock.advance(2.1)
                else:
                    if what == "cut":
                        transport.receive(b"up")
                    transport.peer_ends()
            self.assertEqual(bench.server.state, DOWN, what)
        bench.say(b"up\n")
        self.assertEqual(bench.server.state, UP)

    def test_both_have_a_say(self) -> None:
        """UP takes both; either of them takes the server down."""
        bench = Bench(checked=True)
        checker = bench.checker
        assert checker is not None
        checker.judge.begin_at(checker.judge.top)
        bench.say(b"down\n")
        self.assertEqual(bench.server.state, DOWN)
        checker.start()
        bench.clock.advance(0)
        bench.dialer.open[-1].succeed()
        self.assertEqual((checker.last.passed, bench.server.state), (True, DOWN))
        bench.say(b"up\n")
        self.assertEqual(bench.server.state, UP)

    def test_words_of_the_line(self) -> None:
        text = (
            "defaults\n mode http\n timeout connect 1s\n timeout server 1s\nbackend b\n"
            " server a h:1 agent-check agent-port 9"
            " agent-addr x agent-inter 5s agent-send hi\\n\n server b h:1 agent-check agent-port 9 addr 10.0.0.1:8\n"
            " server c h:1 agent-port 9\n"
        )
        servers = read_configuration([Source("t.cfg", text)], {}).backends["b"].servers
        self.assertEqual([server.agent for server in servers], [Agent(9, "x", 5.0, "hi\n"), Agent(9, "10.0.0.1"), None])
