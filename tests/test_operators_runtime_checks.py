"""What is ordered of servers' health, checks and agents: what the runtime API says, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.names import target_of
from reusedproxy.backends.ordered import OrderedAddresses
from reusedproxy.backends.orders import order_agent_at, order_check, order_clear
from reusedproxy.backends.server import DOWN, MAINT, NOLB, READY, UP, Server
from reusedproxy.build.servers.line import Line
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.daemon.replacing.standing import stand, states_as_said
from reusedproxy.daemon.replacing.standing import standing as standing_of
from reusedproxy.daemon.service import ProxyService
from reusedproxy.net.dial import Target
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, Context, Refusal
from reusedproxy.pool.pool import HTTPConnectionPool
from tests.fakes import RecordingExchange
from tests.integration.peers import LOOPBACK
from tests.services import HEAD
from tests.test_backends_names import BenchTestCase, NamesBench
from tests.test_generations import GenerationTestCase

CHECKED = "check inter 60s rise 2 fall 3"
ASKED = "agent-check agent-port 6 agent-inter 60s"


class OrdersTestCase(GenerationTestCase):
    def begin_with(self, *servers: str, more: str = "", general: str = "", at: str = f"{LOOPBACK}:1") -> None:
        """Servers of the backend `b`, all at the same address: s1, s2 …; no check is answered. `general` stands on
        `default-server`."""
        self.addCleanup(self.stop)
        self.service_of(*servers, more=more, general=general, at=at)

    def hear(self, level: str, text: str, section: str = "") -> None:
        """What follows from an order, which has a line of its own."""
        if not text.startswith("Order "):
            self.said.append(text)

    def service_of(self, *servers: str, more: str = "", general: str = "", at: str = f"{LOOPBACK}:1") -> None:
        self.write_servers(*servers, more=more, general=general, at=at)
        self.service = ProxyService(self.reactor, [self.config])
        self.patch(self.service, "announce", self.hear)
        self.service.assemble(bind=False)
        self.service.startService()
        self.said.clear()

    def write_servers(self, *servers: str, more: str = "", general: str = "", at: str = f"{LOOPBACK}:1") -> None:
        lines = "".join(f" server s{number} {at} {each}\n" for number, each in enumerate(servers, 1))
        lines = f" default-server {general}\n{lines}" if general else lines
        self.text(
            "proxy.cfg",
            f"global\n stats socket ipv4@127.0.0.1:0\n{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\n"
            f"backend b\n{lines}{more}",
        )

    def says(self, command: str) -> str:
        try:
            answer = run(Context(self.service, ADMIN, 10.0), command.split())
            return answer if isinstance(answer, str) else "".join(answer)
        except Refusal as refusal:
            return refusal.written

    def live(self, name: str = "s1") -> Server:
        return self.proxy.lines[f"b/{name}"].server

    def made(self, name: str = "s1") -> Any:
        return self.proxy.lines[f"b/{name}"]

    def state(self, name: str = "s1") -> dict[str, str]:
        _, columns, *lines = self.says("show servers state b").splitlines()
        (line,) = (each for each in lines if each.split()[3] == name)
        return dict(zip(columns.split()[1:], line.split(), strict=True))

    def reload(self, *servers: str) -> None:
        self.write_servers(*servers)
        self.service.reload()
        self.reactor.pump([0.05] * 150)


class HealthTests(OrdersTestCase):
    def test_a_server_is_out_of_service_until_a_check_passes(self) -> None:
        self.begin_with(CHECKED, "track b/s1", "")
        checker = self.made().checker
        self.assertEqual(self.says("set server b/s1 health down"), "")
        self.assertEqual([self.live(name).state for name in ("s1", "s2", "s3")], [DOWN, DOWN, UP])
        self.assertEqual(
            self.said,
            [
                "Server b/s1 is DOWN, changed from CLI. 2 active and 0 backup servers left. 0 sessions active,"
                " 0 requeued, 0 remaining in queue.",
                "Server b/s2 is DOWN via b/s1. 1 active and 0 backup servers left. 0 sessions active,"
                " 0 requeued, 0 remaining in queue.",
            ],
        )
        self.assertEqual((self.state()["srv_op_state"], self.state()["srv_check_health"]), ("0", "0"))
        checker._take(Result("L4OK"))
        self.assertEqual((self.live().state, self.state()["srv_check_health"]), (DOWN, "1"))
        checker._take(Result("L4OK"))
        self.assertEqual((self.live().state, self.live("s2").state), (UP, UP))

    def test_one_that_is_said_to_be_up_is_down_after_as_many_failures_as_any(self) -> None:
        self.begin_with(CHECKED)
        self.says("set server b/s1 health down")
        self.assertEqual((self.says("set server b/s1 health up"), self.live().state), ("", UP))
        self.assertEqual(self.state()["srv_check_health"], "4")
        checker = self.made().checker
        for state in (UP, UP, DOWN):
            checker._take(Result("L4CON"))
            self.assertEqual(self.live().state, state)

    def test_one_that_stops_takes_what_is_bound_to_it(self) -> None:
        self.begin_with(CHECKED, "")
        self.assertEqual((self.says("set server b/s1 health stopping"), self.live().state), ("", NOLB))
        self.assertEqual((self.state()["srv_op_state"], self.live().serving), ("3", True))
        self.assertIn("Server b/s1 is stopping, changed from CLI. 1 active", self.said[0])

    def test_without_checks_it_stays_so_through_reloads_until_the_next_order(self) -> None:
        self.begin_with("", "")
        self.says("set server b/s1 health down")
        self.assertEqual((self.live().state, self.state()["srv_check_health"]), (DOWN, "0"))
        self.reload("", "weight 7")
        self.assertEqual((self.live().state, self.live("s2").state), (DOWN, UP))
        self.says("set server b/s1 health up")
        self.assertEqual(self.live().state, UP)

    def test_one_whose_checks_are_given_up_comes_back(self) -> None:
        """Nobody could find it up again."""
        self.begin_with(CHECKED)
        self.says("set server b/s1 health down")
        self.reload("")
        self.assertEqual(self.live().state, UP)

    def test_in_maintenance_only_the_checks_are_told(self) -> None:
        self.begin_with(CHECKED)
        self.says("set server b/s1 state maint")
        self.said.clear()
        self.assertEqual((self.says("set server b/s1 health down"), self.live().state, self.said), ("", MAINT, []))
        self.says("set server b/s1 state ready")
        self.assertEqual((self.live().state, self.live().admin), (UP, READY))

    def test_what_is_refused(self) -> None:
        self.begin_with(f"{CHECKED} {ASKED}", "track b/s1", "")
        for line, said in (
            ("s1 health", "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n"),
            ("s2 health up", "cannot change health on a tracking server.\n"),
            ("s1 agent maint", "'set server <srv> agent' expects 'up' or 'down'.\n"),
            ("s3 agent up", "agent checks are not enabled on this server.\n"),
            ("s3 agent-send x", "agent checks are not enabled on this server.\n"),
            ("s3 agent-port 5", "agent checks are not enabled on this server"),
            ("s3 check-port 5", "health checks are not enabled on this server"),
            ("s1 check-addr", "set server <b>/<s> check-addr requires an address and optionally a port.\n"),
            ("s1 agent-addr", "set server <b>/<s> agent-addr requires an address and optionally a port.\n"),
            ("s1 check-port", "set server <b>/<s> check-port requires a port.\n"),
            ("s1 agent-port", "set server <b>/<s> agent-port requires a port.\n"),
            ("s1 check-port x", "provided port is not an integer"),
            ("s1 check-addr ::1 port", "provided port is not an integer"),
            ("s1 check-port 65536", "provided port is invalid"),
            ("s1 check-port -1", "provided port is invalid"),
            ("s1 agent-port 0", "provided port is invalid"),
            ("s1 check-addr no.invalid", "invalid addr 'no.invalid'"),
            ("s1 agent-addr no.invalid", "invalid addr 'no.invalid'"),
        ):
            self.assertEqual(self.says(f"set server b/{line}"), said, line)
        for kind, lines in (("health", ("check-port 5",)), ("agent", ("agent up", "agent-port 5", "agent-send x"))):
            self.says(f"disable {kind} b/s1")
            for line in lines:
                self.assertIn("checks are not enabled", self.says(f"set server b/s1 {line}"), line)


class AgentTests(OrdersTestCase):
    def test_one_that_says_down_takes_its_server_down_until_it_says_up(self) -> None:
        self.begin_with(f"{CHECKED} {ASKED}")
        agent, checker = self.made().agent, self.made().checker
        self.assertEqual((self.says("set server b/s1 agent down"), self.live().state), ("", DOWN))
        self.assertIn("Server b/s1 is DOWN, changed from CLI.", self.said[0])
        checker._take(Result("L4OK"))
        self.assertEqual(self.live().state, DOWN)
        agent._ended("L7OK", "up", 0, False)
        self.assertEqual(self.live().state, UP)
        self.says("set server b/s1 agent down")
        self.reload(f"{CHECKED} {ASKED}", "")
        self.assertEqual((self.live().state, self.made().agent.judge.well), (DOWN, False))
        self.assertEqual((self.says("set server b/s1 agent up"), self.live().state), ("", UP))

    def test_one_that_is_not_asked_any_more_has_no_say(self) -> None:
        """The next check that passes brings its server up, as in HAProxy; one that is asked again has a say again."""
        self.begin_with(f"{CHECKED} {ASKED}")
        agent, checker = self.made().agent, self.made().checker
        self.says("set server b/s1 agent down")
        self.says("disable agent b/s1")
        self.assertEqual(self.live().state, DOWN)
        checker._take(Result("L4OK"))
        self.assertEqual(self.live().state, UP)
        self.says("enable agent b/s1")
        self.says("set server b/s1 health down")
        checker.judge.begin_at(checker.judge.top)
        checker._take(Result("L4OK"))
        self.assertEqual(self.live().state, DOWN)
        agent._ended("L7OK", "up", 0, False)
        self.assertEqual(self.live().state, UP)

    def test_one_that_answers_when_it_is_not_asked_any_more_is_not_obeyed(self) -> None:
        self.begin_with(f"{CHECKED} {ASKED}")
        agent = self.made().agent
        self.says("disable agent b/s1")
        for word in ("down", "maint", "50%"):
            agent._ended("L7OK", word, 0, False)
        server = self.live()
        self.assertEqual((server.state, server.weight, server.agent_down), (UP, 1, False))

    def test_its_word_counts_where_checks_were_stopped(self) -> None:
        self.begin_with(f"{CHECKED} {ASKED}")
        agent, checker = self.made().agent, self.made().checker
        for _ in range(9):
            checker._take(Result("L4CON"))
        self.says("disable health b/s1")
        agent._ended("L7OK", "down", 0, False)
        agent._ended("L7OK", "up", 0, False)
        self.assertEqual(self.live().state, UP)

    def test_what_it_has_said_holds_behind_maintenance(self) -> None:
        self.begin_with(f"{CHECKED} {ASKED}")
        agent = self.made().agent
        for down in (lambda: self.says("set server b/s1 agent down"), lambda: agent._ended("L7OK", "down", 0, False)):
            down()
            self.says("set server b/s1 state maint")
            self.says("set server b/s1 state ready")
            self.assertEqual(self.live().state, DOWN)
            agent._ended("L7OK", "up", 0, False)
            self.assertEqual(self.live().state, UP)

    def test_it_is_asked_elsewhere_and_something_else(self) -> None:
        self.begin_with(ASKED)
        agent = self.made().agent
        self.assertEqual(str(agent.target), f"{LOOPBACK}:6")
        for order, target in (
            ("agent-port 7", f"{LOOPBACK}:7"),
            ("agent-addr 127.0.0.9", "127.0.0.9:7"),
            ("agent-addr ::1 port 8", "[::1]:8"),
            ("agent-addr 0.0.0.0", f"{LOOPBACK}:8"),
            ("agent-addr 127.0.0.9", "127.0.0.9:8"),
        ):
            self.assertEqual((self.says(f"set server b/s1 {order}"), str(agent.target)), ("", target), order)
        self.assertEqual(self.says("set server b/s1 agent-send hello"), "")
        self.assertEqual(agent._plan.steps[1].make(None), b"hello")
        self.assertEqual([self.state()[f"srv_agent_{each}"] for each in ("addr", "port")], ["127.0.0.9", "8"])
        self.reload(ASKED, "")
        agent = self.made().agent
        self.assertEqual((str(agent.target), agent.settings.send), ("127.0.0.9:8", "hello"))
        self.assertIn(
            "Server b/s1 has its agent asked at address 127.0.0.9, port 8, and sent a text, as was ordered before the"
            " reload",
            self.said,
        )
        self.reload(f"{ASKED} agent-addr 127.0.0.3")
        agent = self.made().agent
        self.assertEqual((str(agent.target), agent.settings.send), ("127.0.0.3:6", "hello"))


class PlaceOfChecksTests(OrdersTestCase):
    def test_checks_go_where_they_are_told(self) -> None:
        self.begin_with(CHECKED, CHECKED)
        checker = self.made().checker
        for order, target in (
            ("check-port 99", f"{LOOPBACK}:99"),
            ("check-addr 127.0.0.9", "127.0.0.9:99"),
            ("check-addr ::1 port 98", "[::1]:98"),
            ("check-port 0", "[::1]:1"),
            ("check-addr 0.0.0.0 port 0", f"{LOOPBACK}:1"),
            ("check-addr 127.0.0.9 port 97", "127.0.0.9:97"),
        ):
            self.assertEqual((self.says(f"set server b/s1 {order}"), str(checker.target)), ("", target), order)
        self.assertEqual([self.state()[f"srv_check_{each}"] for each in ("addr", "port")], ["127.0.0.9", "97"])
        self.assertEqual(str(self.made("s2").checker.target), f"{LOOPBACK}:1")

    def test_port_counts_before_the_port_of_addr_in_whatever_order(self) -> None:
        """As in HAProxy, and with what `default-server` says."""
        for general, words, target in (
            ("", "port 5 addr 127.0.0.9:6", "127.0.0.9:5"),
            ("", "addr 127.0.0.9:6 port 5", "127.0.0.9:5"),
            ("", "addr 127.0.0.9:6", "127.0.0.9:6"),
            ("", "addr 127.0.0.9:0", "127.0.0.9:1"),
            ("", "addr ::1:6", "[::1]:6"),
            ("", "addr ::1", "[::1]:1"),
            ("", "addr ::ffff:127.0.0.1", "[::ffff:7f00:1]:1"),
            ("port 5", "addr 127.0.0.9:6", "127.0.0.9:5"),
            ("addr 127.0.0.9:6", "port 5", "127.0.0.9:5"),
            ("addr 127.0.0.9:6", "", "127.0.0.9:6"),
            ("addr 127.0.0.9:6", "addr 127.0.0.8", "127.0.0.8:1"),
        ):
            with self.subTest(general=general, words=words):
                self.begin_with(f"{CHECKED} {words}", general=general)
                self.assertEqual(str(self.made().checker.target), target)
                self.stop()

    def test_the_port_of_addr_counts_until_another_address_is_ordered(self) -> None:
        """`check-port 0` takes back `port` alone."""
        self.begin_with(f"{CHECKED} addr 127.0.0.9:6")
        self.assertEqual([self.state()[f"srv_check_{each}"] for each in ("addr", "port")], ["127.0.0.9", "0"])
        checker = self.made().checker
        for order, target in (
            ("check-port 99", "127.0.0.9:99"),
            ("check-port 0", "127.0.0.9:6"),
            ("check-addr 127.0.0.8", "127.0.0.8:1"),
        ):
            self.assertEqual((self.says(f"set server b/s1 {order}"), str(checker.target)), ("", target), order)
        standing = json.loads(json.dumps(standing_of(self.proxy)))
        self.reload(f"{CHECKED} addr 127.0.0.9:6", "")
        self.assertEqual(str(self.made().checker.target), "127.0.0.8:1")
        self.stop()
        self.service_of(f"{CHECKED} addr 127.0.0.9:6")
        self.assertEqual(len([*stand(self.proxy, standing)]), 1)
        self.assertEqual(str(self.made().checker.target), "127.0.0.8:1")
        self.reload(f"{CHECKED} addr 127.0.0.9:7")
        self.assertEqual(str(self.made().checker.target), "127.0.0.9:7")

    def test_a_file_of_states_keeps_the_port_of_addr(self) -> None:
        words = f"{CHECKED} addr 127.0.0.9:6"
        self.begin_with(words)
        self.text("states", self.says("show servers state"))
        self.stop()
        more = f" load-server-state-from-file global\nglobal\n server-state-file {self.folder}/states\n"
        self.service_of(words, more=more)
        self.assertEqual(str(self.made().checker.target), "127.0.0.9:6")

    def test_checks_at_an_address_alone_follow_the_port_of_their_server(self) -> None:
        self.begin_with(f"{CHECKED} addr 127.0.0.9")
        relocation = self.live().relocation
        assert relocation is not None
        relocation.moved(target_of(LOOPBACK, 77))
        self.assertEqual(str(self.made().checker.target), "127.0.0.9:77")

    def test_a_server_at_a_path_is_checked_at_an_address_where_that_is_said(self) -> None:
        path = str(self.folder / "server")
        steps = " option tcp-check\n tcp-check connect addr 127.0.0.9:6\n"
        for words, more, target in (
            ("addr 127.0.0.9:6", "", "127.0.0.9:6"),
            ("port 6", "", path),
            ("", steps, "127.0.0.9:6"),
        ):
            with self.subTest(words=words, more=more):
                self.begin_with(f"{CHECKED} {words}", more=more, at=f"unix@{path}")
                checker = self.made().checker
                dialer = checker._plan.steps[0].dialer(None) if more else checker._dialer
                self.assertIn(target, str(dialer.target))
                self.stop()

    def test_the_agent_is_asked_at_the_port_of_checks_where_it_has_none_of_its_own(self) -> None:
        """As in HAProxy, that of `port`, and not that of `addr`."""
        for words, target in (
            ("port 5", f"{LOOPBACK}:5"),
            ("port 5 agent-port 6", f"{LOOPBACK}:6"),
            ("agent-port 6 port 5 addr 127.0.0.9:7", "127.0.0.9:6"),
            ("agent-addr [::1] port 5", "[::1]:5"),
        ):
            with self.subTest(words=words):
                self.begin_with(f"{CHECKED} agent-check agent-inter 1s {words}")
                self.assertEqual(str(self.made().agent.target), target)
                self.stop()

    def test_steps_connect_to_the_port_of_their_address_or_else_to_that_of_the_checks(self) -> None:
        """As in HAProxy: `port`, the port of `addr`, that of the checks."""
        for words, server, target in (
            ("addr 127.0.0.9:6", "", "127.0.0.9:6"),
            ("addr 127.0.0.9:6 port 7", "", "127.0.0.9:7"),
            ("port 7 addr 127.0.0.9:6", "port 5", "127.0.0.9:7"),
            ("addr ::1:6", "port 5", "[::1]:6"),
            ("addr 127.0.0.9", "port 5", "127.0.0.9:5"),
            ("addr 127.0.0.9", "addr 127.0.0.8:6", "127.0.0.9:6"),
            ("addr 127.0.0.9", "", "127.0.0.9:1"),
        ):
            for check in ("http-check", "tcp-check"):
                with self.subTest(words=words, server=server, check=check):
                    option = "option httpchk" if check == "http-check" else "option tcp-check"
                    self.begin_with(f"{CHECKED} {server}", more=f" {option}\n {check} connect {words}\n")
                    dialer = self.made().checker._plan.steps[0].dialer(None)
                    self.assertEqual(str(dialer.target), target)
                    self.stop()

    def test_that_holds_through_reloads_until_the_file_says_another_place(self) -> None:
        self.begin_with(CHECKED)
        self.says("set server b/s1 check-addr 127.0.0.9 port 97")
        self.reload(f"{CHECKED} downinter 7s", "")
        checker = self.made().checker
        self.assertEqual((str(checker.target), checker.settings.downinter), ("127.0.0.9:97", 7.0))
        text = "Server b/s1 is checked at address 127.0.0.9, port 97, as was ordered before the reload"
        self.assertIn(text, self.said)
        self.reload(f"{CHECKED} port 5")
        self.assertEqual(str(self.made().checker.target), f"{LOOPBACK}:5")

    def test_an_order_while_a_reload_is_under_way_is_not_lost(self) -> None:
        """The new checks are built by then, for the place of before."""
        self.begin_with(f"{CHECKED} {ASKED}")
        succeed = Line.succeed

        def succeed_late(line: Line, previous: Line) -> None:
            if line.server.name == "s1":
                order_check(previous.server, None, 96)
                order_agent_at(previous.server, None, 95)
            succeed(line, previous)

        self.patch(Line, "succeed", succeed_late)
        before = self.made()
        self.reload(f"{CHECKED} {ASKED}", "")
        self.assertIsNot(self.made(), before)
        targets = str(self.made().checker.target), str(self.made().agent.target)
        self.assertEqual(targets, (f"{LOOPBACK}:96", f"{LOOPBACK}:95"))

    def test_checks_elsewhere_have_no_tls_unless_it_is_said(self) -> None:
        """As in HAProxy; back at the server they have that of its traffic."""
        tls = f"ssl verify none check-sni x.test {CHECKED}"
        self.begin_with(tls, f"{tls} check-ssl")
        plain, secure = self.made().checker, self.made("s2").checker
        self.assertEqual(plain.context.name, "x.test")
        for name in ("s1", "s2"):
            self.says(f"set server b/{name} check-port 99")
        self.assertIsNone(plain.context)
        self.assertEqual(secure.context.name, "x.test")
        self.says("set server b/s1 check-port 0")
        self.assertEqual(plain.context.name, "x.test")

    def test_checks_that_leave_connections_to_the_pool_do_so_at_the_same_place_only(self) -> None:
        self.begin_with(f"{CHECKED} pool-min-conn 1", more=" option httpchk\n")
        checker = self.made().checker
        self.assertTrue(checker._feeds)
        self.says("set server b/s1 check-port 99")
        self.assertFalse(checker._feeds)
        self.says("set server b/s1 check-port 1")
        self.assertTrue(checker._feeds)

    def test_a_file_of_states_has_them(self) -> None:
        self.begin_with(f"{CHECKED} {ASKED}", "")
        self.says("set server b/s1 check-addr 127.0.0.9 port 97")
        self.says("set server b/s1 agent-addr 127.0.0.8 port 94")
        self.says("set server b/s2 health down")
        self.text("states", self.says("show servers state"))
        self.stop()
        self.service_of(
            f"{CHECKED} {ASKED}",
            "",
            more=f" load-server-state-from-file global\nglobal\n server-state-file {self.folder}/states\n",
        )
        targets = (str(self.made().checker.target), str(self.made().agent.target))
        self.assertEqual(targets, ("127.0.0.9:97", "127.0.0.8:94"))
        self.assertEqual(self.live("s2").state, DOWN)  # nobody checks it, then or now: it was ordered

    def test_another_process_goes_on_with_them(self) -> None:
        for port, target in (("", "127.0.0.9:97"), (" port 5", f"{LOOPBACK}:5")):
            self.begin_with(f"{CHECKED} {ASKED}")
            self.says("set server b/s1 check-addr 127.0.0.9 port 97")
            self.says("set server b/s1 agent-port 94")
            self.says("set server b/s1 agent-send hello")
            standing = json.loads(json.dumps(standing_of(self.proxy)))
            self.assertIn(" 0 - - 0\n", states_as_said(self.says("show servers state"), self.proxy))
            self.stop()
            self.service_of(f"{CHECKED} {ASKED}{port}")
            said = [text for text, _ in stand(self.proxy, standing)]
            self.assertEqual(str(self.made().checker.target), target)
            agent = self.made().agent
            self.assertEqual((str(agent.target), agent.settings.send), (f"{LOOPBACK}:94", "hello"))
            self.assertEqual(any("is checked at address 127.0.0.9, port 97" in text for text in said), not port)
            self.stop()


class ClearTests(OrdersTestCase):
    """`ssl on|off`, as far as the line has TLS."""

    TLS = "ssl verify none sni str(s.test) pool-min-conn 2"

    def test_connections_are_of_the_other_kind(self) -> None:
        self.begin_with(f"{self.TLS} {CHECKED}", f"{self.TLS} {CHECKED} port 5")
        line, before = self.made(), self.made().pool
        self.assertEqual(self.says("set server b/s1 ssl off"), "server ssl setting updated.\n")
        self.assertIsNot(line.pool, before)
        self.assertEqual((line.pool.context, line.checker.context, line.pool.state), (None, None, "running"))
        self.assertEqual((line.pool.floor, before.floor, self.state()["srv_use_ssl"]), (2, 0, "0"))
        self.reactor.pump([0.5] * 8)
        self.assertEqual(before.state, "closed")
        self.says("set server b/s2 ssl off")
        self.assertIsNone(self.made("s2").checker.context)
        clear = line.pool
        self.says("set server b/s1 ssl on")
        self.says("set server b/s2 ssl on")
        assert line.pool.context is not None
        self.assertEqual((line.pool.context.name, line.pool.context.session), ("s.test", None))
        self.assertIs(line.checker.context, line.pool.context)
        self.assertIsNone(self.made("s2").checker.context)  # of a port of its own
        self.assertEqual((self.state()["srv_use_ssl"], clear.floor), ("1", 0))
        again = line.pool
        self.says("set server b/s1 ssl on")
        self.assertIs(line.pool, again)

    def test_that_holds_through_reloads_with_the_same_pool(self) -> None:
        self.begin_with(self.TLS)
        self.says("set server b/s1 ssl off")
        pool = self.made().pool
        self.reload(self.TLS, "")
        self.assertIs(self.made().pool, pool)
        self.assertIn("Server b/s1 is reached without TLS, as was ordered before the reload", self.said)
        self.says("set server b/s1 ssl on")
        self.assertEqual(self.made().pool.context.name, "s.test")
        pool = self.made().pool
        self.reload(self.TLS)
        self.assertIs(self.made().pool, pool)

    def test_a_line_that_gives_tls_up_ends_the_order(self) -> None:
        self.begin_with(self.TLS)
        self.says("set server b/s1 ssl off")
        self.reload("")
        self.assertFalse(self.live().clear)
        self.reload(self.TLS)
        self.assertIsNotNone(self.made().pool.context)

    def test_another_process_goes_on_with_it(self) -> None:
        self.begin_with(self.TLS)
        self.says("set server b/s1 ssl off")
        standing = json.loads(json.dumps(standing_of(self.proxy)))
        self.stop()
        self.service_of(self.TLS)
        said = [text for text, _ in stand(self.proxy, standing)]
        self.assertEqual(said, ["Server b/s1 is reached without TLS, as was ordered in the process before"])
        self.assertIsNone(self.made().pool.context)

    def test_a_file_of_states_takes_nothing_from_a_line_that_says_tls(self) -> None:
        self.begin_with(self.TLS)
        self.says("set server b/s1 ssl off")
        self.text("states", self.says("show servers state"))
        self.stop()
        more = f" load-server-state-from-file global\nglobal\n server-state-file {self.folder}/states\n"
        self.service_of(self.TLS, more=more)
        self.assertIsNotNone(self.made().pool.context)

    def test_what_is_refused(self) -> None:
        self.begin_with(self.TLS, "", f"{CHECKED} check-ssl verify none")
        none = "'set server <srv> ssl' cannot be set.  default-server should define ssl settings\n"
        for line, said in (
            ("s1 ssl", "'set server <srv> ssl' expects 'on' or 'off'.\n"),
            ("s2 ssl on", none),
            ("s2 ssl", none),
            ("s3 ssl on", none),
        ):
            self.assertEqual(self.says(f"set server b/{line}"), said, line)
        self.proxy.backends[0].hold_addresses()
        self.assertIn("A reload is under way", self.says("set server b/s1 ssl off"))


class Kinds:
    """Gives a server of `NamesBench` another pool."""

    may_encrypt = True

    def __init__(self, bench: NamesBench) -> None:
        self.bench = bench
        self.made: list[HTTPConnectionPool] = []

    def pool_of_kind(self) -> HTTPConnectionPool:
        (server,) = self.bench.servers
        assert server.target is not None
        pool = self.bench.places["s1"].pool_at(server.target)
        self.made.append(pool)
        return pool

    def turned(self) -> None:
        """There are no checks."""

    aim_checks = aim_agent = turned


class KindTests(BenchTestCase):
    def begin_turned(self, **limits: Any) -> tuple[NamesBench, Kinds]:
        bench = self.begin(1, at=["192.0.2.1"], limits=PoolLimits(**limits))
        addresses = OrderedAddresses(bench.backend, bench.clock, bench.departed)
        bench.backend.addresses, bench.backend.groups = addresses, [addresses]
        bench.servers[0].links = kinds = Kinds(bench)
        bench.start()
        return bench, kinds

    def test_no_request_after_the_order_gets_a_connection_of_before(self) -> None:
        """Those in use are finished, what stood idle is closed, and the floor is opened anew."""
        bench, kinds = self.begin_turned(min_conn=3)
        (server,) = bench.servers
        before = server.pool
        connection = before.acquire()
        assert connection is not None
        transport: Any = connection.transport
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None)
        bench.answers = False
        order_clear(bench.backend, server, True)
        self.assertEqual([server.pool], kinds.made)
        self.assertIsNone(server.pool.acquire())  # from the very moment on
        bench.pass_time(0.1)
        self.assertEqual((len(before.idle), len(before.in_use)), (0, 1))
        transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual((before.idle, before.in_use, transport.end is not None), ([], set(), True))
        bench.answers = True
        bench.pass_time(5.0)
        self.assertEqual((len(server.pool.idle), before.state), (3, "closed"))

    def test_who_waits_for_a_connection_of_before_asks_again(self) -> None:
        bench, _ = self.begin_turned()
        bench.answers = False
        bench.answer = lambda dial: None  # type: ignore[method-assign]
        (server,) = bench.servers
        waiter = Waits()
        server.pool.wait(waiter)
        order_clear(bench.backend, server, True)
        bench.pass_time(0.1)
        self.assertEqual(waiter.replaced, 1)

    def test_a_move_that_is_under_way_arrives_with_connections_of_the_new_kind(self) -> None:
        bench, _ = self.begin_turned(min_conn=1)
        (server,) = bench.servers
        bench.backend.order_address(server, target_of("192.0.2.2", 80), "test")
        order_clear(bench.backend, server, True)
        turned = server.pool
        made = bench.places["s1"].pool_at
        opened: list[HTTPConnectionPool] = []

        def open_at(target: Target) -> HTTPConnectionPool:
            opened.append(made(target))
            return opened[-1]

        self.patch(bench.places["s1"], "pool_at", open_at)
        bench.pass_time(6.0)
        self.assertEqual((bench.at, opened), (["192.0.2.2"], [server.pool]))
        self.assertEqual((len(server.pool.idle), turned.state), (1, "closed"))


class Waits:
    replaced = 0

    def connection_ready(self, connection: object) -> None:
        """It never is."""

    def connection_failed(self, failure: object) -> None:
        """Nobody dials in vain."""

    def pool_replaced(self) -> None:
        self.replaced += 1
