"""The log says who has ordered what: a line for each order that changes something, bounded, and without secrets."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.service import ProxyService
from reusedproxy.operators.logs.orders import AT_MOST, KINDS, LONGEST, PERIOD, SOURCES, Orderer, OrderLog
from reusedproxy.operators.runtime.commands import COMMANDS, UNLISTED, run
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, USER, Context, Refusal
from reusedproxy.operators.runtime.sockets import _peer_of, _who
from reusedproxy.operators.runtime.words import commands_of
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.test_operators_stats_access import ADMIN as PAGE
from tests.test_operators_stats_access import AccessCase, basic

BOB = Orderer("unix@/run/a.sock", "uid 7", 4711)
#: Commands that change nothing, or no more than their own session.
HARMLESS = (
    "echo", "experimental-mode", "expert-mode", "explain", "get", "help", "operator", "prompt", "quit", "show", "user",
    "wait", "what-if",
)  # fmt: skip
OF_THE_SESSION = ("set severity-output", "set timeout")
TEXT = f"""\
global
 stats socket /a.sock level admin
defaults
 mode http
 timeout connect 1s
 timeout client 1s
 timeout server 1s
frontend fe
 bind {LOOPBACK}:0
 acl known path -f {{0}}
 http-request deny if !known
 http-request set-header a %[path,map({{1}})]
 http-request track-sc0 hdr(cookie) table t
 default_backend be
backend be
 balance roundrobin
 dynamic-cookie-key old
 cookie SRV insert dynamic
 server s1 {LOOPBACK}:1 check agent-check agent-port 6
 server s2 {LOOPBACK}:2
backend t
 stick-table type string len 40 size 100 expire 1h store gpc0
"""


class LogTests(SynchronousTestCase):
    """The bound, whoever orders."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.log = OrderLog(self.clock, lambda level, text: self.said.append(f"{level}: {text}"))

    def test_each_is_a_line_that_says_who_and_what(self) -> None:
        self.log.tell(BOB, "set weight", "be/s1 7")
        self.log.tell(Orderer("the statistics page of fe", "192.0.2.1:7, user root"), "drain", "be/s1")
        self.log.tell(BOB, "reload")
        self.assertEqual(
            self.said,
            [
                "notice: Order at unix@/run/a.sock by uid 7, pid 4711: set weight be/s1 7",
                "notice: Order at the statistics page of fe by 192.0.2.1:7, user root: drain be/s1",
                "notice: Order at unix@/run/a.sock by uid 7, pid 4711: reload",
            ],
        )

    def test_thousands_in_a_second_are_a_bounded_number_of_lines_and_none_is_uncounted(self) -> None:
        """Each may come from another process, and from as many addresses."""
        for number in range(3000):
            self.log.tell(Orderer("unix@/run/a.sock", f"uid {number % 9}", number), f"kind {number % 30}", "x")
            self.clock.advance(0.001)
        self.assertEqual(len(self.said), AT_MOST)
        self.clock.advance(PERIOD)
        numbers = self.said[AT_MOST:]
        self.assertEqual(len(numbers), SOURCES + 1)
        self.assertEqual(sum(int(line.split(": ")[2].split()[0]) for line in numbers), 3000 - AT_MOST)
        self.assertTrue(all(line.count("'kind ") <= KINDS for line in numbers), numbers)
        self.assertIn("notice: Orders at unix@/run/a.sock by uid 1: ", numbers[0])
        self.assertIn(f" more in {PERIOD:.0f} s, which have no lines of their own: ", numbers[0])

    def test_later_ones_are_lines_again(self) -> None:
        for _ in range(AT_MOST + 1):
            self.log.tell(BOB, "set map")
        self.clock.advance(PERIOD)
        begin = "notice: Orders at unix@/run/a.sock by uid 7: 1 more in 10 s, which have no lines of their own: "
        self.assertEqual(self.said[AT_MOST:], [f"{begin}1 'set map'"])
        self.log.tell(BOB, "set map")
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.said), AT_MOST + 2)

    def test_the_end_of_the_daemon_leaves_none_uncounted(self) -> None:
        for _ in range(AT_MOST + 7):
            self.log.tell(BOB, "set map")
        self.log.tell_numbers()
        self.assertIn(": 7 more in ", self.said[AT_MOST])
        self.clock.advance(PERIOD)
        self.assertEqual(len(self.said), AT_MOST + 1)

    def test_a_long_one_is_cut(self) -> None:
        self.log.tell(BOB, "add server", "x" * 16000)
        self.assertLess(len(self.said[0]), LONGEST + 100)


class CommandTests(SynchronousTestCase):
    """What the runtime API tells of its commands."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = temporary_directory(self)
        self.list, self.map = str(self.directory / "l.acl"), str(self.directory / "m.map")
        for path in (self.list, self.map):
            (self.directory / os.path.basename(path)).write_text("/a one\n")
        file = self.directory / "proxy.cfg"
        file.write_text(TEXT.format(self.list, self.map))
        self.service = ProxyService(self.clock, [str(file)])
        self.said: list[str] = []
        self.patch(self.service, "announce", lambda level, text, section="": self.said.append(text))
        self.service.assemble(bind=False)
        self.context = Context(self.service, ADMIN, 10.0, orderer=BOB)

    def told(self, line: str, payload: str | None = None, level: int = ADMIN) -> list[str]:
        """The orders in the log after a command."""
        self.said.clear()
        self.context.level, self.context.payload = level, payload
        try:
            answer = run(self.context, commands_of(line)[0])
            "".join(answer)
        except Refusal:
            pass
        begin = f"Order {BOB}: "
        return [each.removeprefix(begin) for each in self.said if each.startswith(begin)]

    def test_each_command_says_whether_it_changes_something(self) -> None:
        """Whoever adds one decides what the log may have of it."""
        for command in (*COMMANDS, *UNLISTED):
            name = " ".join(command.words)
            harmless = command.words[0] in HARMLESS or name in OF_THE_SESSION
            self.assertEqual(command.shown is None, harmless, name)

    def test_orders_are_told_as_they_were_given(self) -> None:
        for line in (
            "set weight be/s1 7",
            "set server be/s1 weight 8",
            "set server be/s1 state drain",
            "set server be/s1 health down",
            "disable health be/s1",
            "enable agent be/s1",
            "disable server be/s2",
            "set maxconn server be/s1 3",
            "set maxconn frontend fe 9",
            "set rate-limit connections global 9",
            "clear counters",
            "clear counters all",
            "drain pool be",
            "rewarm pool be/s1",
            "disable dynamic-cookie backend be",
            "shutdown sessions server be/s1",
            "clear table t",
            "clear table t data.gpc0 gt 3",
        ):
            self.assertEqual(self.told(line), [line])

    def test_one_that_is_refused_has_changed_nothing(self) -> None:
        for line in (
            "set weight be/none 7",
            "set weight be/s1 999",
            "set server be/s1 state up",
            "disable frontend none",
            "del server be/s1",
            "add server be/s3 nowhere:x",
            "del map none x",
            "commit ssl cert none",
            "shutdown session 0x1",
        ):
            self.assertEqual(self.told(line), [], line)
        self.assertEqual(self.told("set weight be/s1 7", level=OPERATOR), [])
        self.assertEqual(self.told("clear table t", level=USER), [])
        self.assertEqual(self.told("add server help"), [])

    def test_no_secret_is_told(self) -> None:
        """Neither keys and passwords, nor what clients are known by."""
        for line, payload, expected in (
            ("set dynamic-cookie-key backend be s3cret", None, "set dynamic-cookie-key backend be ..."),
            (f"add acl {self.list} s3cret", None, f"add acl {self.list} ..."),
            (f"del acl {self.list} s3cret", None, f"del acl {self.list} ..."),
            (f"add map {self.map} s3cret s3cret", None, f"add map {self.map} ..."),
            (f"set map {self.map} s3cret s3cret", None, f"set map {self.map} ..."),
            (f"del map {self.map} s3cret", None, f"del map {self.map} ..."),
            (f"add map {self.map}", "s3cret 1\nk s3cret\n", f"add map {self.map} << (2 lines)"),
            ("set table t key s3cret data.gpc0 4", None, "set table t key ... data.gpc0 4"),
            ("clear table t key s3cret", None, "clear table t key ..."),
            ("set server be/s1 agent-send s3cret", None, "set server be/s1 agent-send ..."),
        ):
            self.assertEqual(self.told(line, payload), [expected])
            self.assertNotIn("s3cret", "".join(self.said))

    def test_what_is_prepared_in_versions_is_told(self) -> None:
        for line in (f"prepare map {self.map}", f"add map @1 {self.map} k v", f"commit map @1 {self.map}"):
            (said,) = self.told(line)
            self.assertEqual(said, line.replace("k v", "..."))

    def test_one_whose_client_leaves_is_told_at_its_end_if_it_has_begun(self) -> None:
        """Which is later: the rest of it is done in turns."""
        turns: list[Any] = []
        self.patch(self.service.proxy, "poller", SimpleNamespace(line_up=turns.append))
        for steps in (0, 1):
            self.said.clear()
            self.context.payload = "".join(f"k{number} v\n" for number in range(1000))
            answer: Any = run(self.context, ["add", "map", self.map])
            for _ in range(steps):
                next(answer)
            answer.close()
            self.assertEqual((self.said, len(turns)), ([], steps))
            while turns:
                turns.pop().take_turn()
            self.assertEqual(len(self.said), steps, self.said)

    def test_one_that_was_done_in_part_is_told_with_that(self) -> None:
        (said,) = self.told(f"add map {self.map}", "a 1\nb\n")
        self.assertEqual(said, f"add map {self.map} << (2 lines) (refused, perhaps after a part of it)")

    def test_the_daemons_own_lines_are_as_they_were(self) -> None:
        self.told("disable server be/s1")
        self.assertIn("Server be/s1 is going DOWN for maintenance. 1 active", self.said[0])
        self.assertEqual(len(self.said), 2)


class OrdererTests(SynchronousTestCase):
    """Who has connected."""

    def test_of_a_unix_socket_user_and_process(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            process, user = _peer_of(one)
            self.assertEqual((process, _who(one, user)), (os.getpid(), f"uid {os.geteuid()}"))

    def test_of_a_port_the_address(self) -> None:
        with socket.create_server((LOOPBACK, 0)) as server, socket.create_connection(server.getsockname()) as client:
            accepted = server.accept()[0]
            with accepted:
                self.assertEqual(_peer_of(accepted)[1], -1)
                self.assertEqual(_who(accepted, -1), f"{LOOPBACK}:{client.getsockname()[1]}")
        gone: Any = SimpleNamespace(getpeername=lambda: ("2001:db8::1", 5, 0, 0))
        self.assertEqual(_who(gone, -1), "[2001:db8::1]:5")


class PageTests(AccessCase):
    """Forms of the statistics page."""

    def test_the_section_the_address_and_the_user_are_told(self) -> None:
        said: list[str] = []
        self.build(PAGE)
        self.patch(self.proxy.order_log, "_announce", lambda level, text: said.append(text))
        for form, user in (
            (b"s=one&s=two&b=app&action=maint", "root:r00t"),
            (b"s=one&b=app&action=maint", "guest:look"),
            (b"s=none&b=app&action=drain", "root:r00t"),
            (b"s=one&b=app&action=start", "root:r00t"),
            (b"s=one&s=none&b=app&action=dhlth", "root:r00t"),
        ):
            self.ask(b"POST /", basic(user), form)
        begin = "Order at the statistics page of status by 192.0.2.7:1, user root: "
        self.assertEqual(said, [f"{begin}maint app/one, app/two", f"{begin}dhlth app/one"])
