"""What operators see of mode tcp, and what they can order: lines of the log, statistics, sessions."""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.servers.connections import place_of
from reusedproxy.build.ties import _end_sessions
from reusedproxy.config.model.logs import LogSettings
from reusedproxy.config.rules.formats import STANDARD, read_format
from reusedproxy.net.dial import Target
from reusedproxy.net.watchdog import Standstills
from reusedproxy.operators.logs.access import ConnectLog, FormattedLog, stream_log
from reusedproxy.operators.runtime import orders
from reusedproxy.operators.runtime.form import ACTIONS
from reusedproxy.operators.runtime.proxy import ADMIN, Refusal
from reusedproxy.operators.stats.figures import sections_of
from reusedproxy.operators.view.reading import Reader
from reusedproxy.operators.view.sessions import sessions
from reusedproxy.sessions import facts
from tests.streamfakes import StreamWorld
from tests.test_operators_logs_targets import in_utc

PLAIN = "listen l\n bind :1\n server s1 192.0.2.1:1 pool-min-conn 1\n"
#: 20 November 2026, 10:12:48 UTC, at the beginning of each world.
BEGAN = 1795169568.0


class LogTests(SynchronousTestCase):
    """HAProxy's lines."""

    def setUp(self) -> None:
        in_utc(self)
        self.lines: list[str] = []

    def world(self, text: str = PLAIN) -> StreamWorld:
        world = StreamWorld(self, text)
        wall = lambda: world.clock.seconds() - 1000 + BEGAN  # noqa: E731
        self.patch(facts, "time", SimpleNamespace(time=wall))
        tcplog = read_format(STANDARD["tcplog"], "", of_log=True)
        world.frontend.stream_log = FormattedLog(world.frontend, tcplog, self.lines.append)
        return world

    def test_a_session(self) -> None:
        """Its times are those to a server, to a connection, and in all."""
        world = self.world("listen l\n bind :1\n server s1 192.0.2.1:1\n")
        client = world.client()
        world.clock.advance(0.25)
        server = world.connect("s1")
        server.feed(b"12345")
        world.clock.advance(1)
        client.eof()
        server.eof()
        self.assertEqual(self.lines, ["192.0.2.7:4711 [20/Nov/2026:10:12:48.000] l l/s1 0/250/1250 5 -- 1/1/0/0/0 0/0"])

    def test_a_session_that_finds_no_place(self) -> None:
        """It has waited, and was connected to nobody."""
        world = self.world("listen l\n bind :1\n server s1 192.0.2.1:1 maxconn 1\n")
        first = world.client()
        world.client()
        world.clock.advance(8.1)
        (line,) = self.lines
        self.assertIn(" l l/<NOSRV> 8", line)
        self.assertTrue(line.endswith("/-1/8100 0 sQ 2/2/1/0/0 0/1"), line)
        first.reset()

    def test_a_session_that_is_refused(self) -> None:
        """By a rule: no time but the whole."""
        self.world("listen l\n bind :1\n tcp-request content reject\n").client()
        (line,) = self.lines
        self.assertTrue(line.endswith(" l l/<NOSRV> -1/-1/0 0 PR 1/1/0/0/0 0/0"), line)

    def test_another_server(self) -> None:
        """With a plus before the number of further tries."""
        world = self.world("listen l\n bind :1\n option redispatch 1\n server s1 192.0.2.1:1\n server s2 192.0.2.2:1\n")
        client = world.client()
        world.refuse("s1")
        world.connect("s2")
        client.reset()
        self.assertIn(" l l/s2 0/0/0 0 CD 1/1/0/0/+1 0/0", self.lines[0])

    def test_which_log_there_is(self) -> None:
        """The short line without an option; nothing of who said nothing, if so said."""
        target: Any = SimpleNamespace(sender_of_several=lambda level: self.lines.extend)
        world = StreamWorld(self, PLAIN)
        self.assertIsNone(stream_log(world.frontend, world.places, []))
        self.assertIsInstance(stream_log(world.frontend, world.places, [target]), ConnectLog)
        tcplog = read_format(STANDARD["tcplog"], "", of_log=True)
        settings = evolve(world.frontend.settings, dontlognull=True, log=LogSettings(tcplog))
        world.frontend.settings = settings
        world.frontend.stream_log = stream_log(world.frontend, world.places, [target])
        for said in (b"", b"x"):
            world.connect("s1")
            client = world.client()
            if said:
                client.feed(said)
            client.reset()
        self.assertEqual(len(self.lines), 1)

    def test_where_a_server_without_an_address_of_its_own_was(self) -> None:
        """At that to which the client has connected, in its address or its port, as in HAProxy."""
        for line, where in (
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("192.0.2.1", "192.0.2.1:5432"),
            ("192.0.2.1:+10", "192.0.2.1:5442"),
            ("0.0.0.0:80", "198.51.100.3:80"),
            ("0.0.0.0", "198.51.100.3:5432"),
        ):
            world = StreamWorld(self, f"listen l\n bind :1\n server s1 {line}\n")
            made = read_format("%si:%sp", "", of_log=True)
            world.frontend.stream_log = FormattedLog(world.frontend, made, self.lines.append)
            server = world.servers["s1"]
            settings = server.settings
            server.place = place_of(settings)
            server.stand_at(Target(AF_INET, (settings.host, settings.port or 0)), None)
            client = world.client()
            world.connect("s1")
            client.socket = SimpleNamespace(getsockname=lambda: ("198.51.100.3", 5432))  # type: ignore[attr-defined]
            client.reset()
            self.assertEqual(self.lines, [where])
            self.lines.clear()

    def quiet(self, text: str, early: bool = False) -> StreamWorld:
        """With `option dontlognull`, and the bytes of the client in the log."""
        target: Any = SimpleNamespace(sender_of_several=lambda level: self.lines.extend)
        world = StreamWorld(self, text)
        made = read_format("%U %B %ts", "", of_log=True)
        world.frontend.settings = evolve(world.frontend.settings, dontlognull=True, log=LogSettings(made, early=early))
        world.frontend.stream_log = stream_log(world.frontend, world.places, [target])
        return world

    def test_who_has_said_something_is_logged_whether_or_not_a_server_has_got_it(self) -> None:
        """An outage of all servers is seen in the log, and what a rule has refused."""
        for said in (b"", b"hello"):
            world = self.quiet("listen l\n bind :1\n retries 0\n server s1 192.0.2.1:1\n")
            client = world.client()
            if said:
                client.feed(said)
            world.refuse("s1")
        self.assertEqual(self.lines, ["5 0 SC"])
        self.lines.clear()
        world = self.quiet(
            "listen l\n bind :1\n tcp-request inspect-delay 1s\n tcp-request content track-sc0 src table t\n"
            " tcp-request content reject if { req.len gt 2 }\n"
            "backend t\n stick-table type ip size 10 store bytes_in_cnt\n"
        )
        world.client().feed(b"hello")
        self.assertEqual(self.lines, ["5 0 PR"])
        self.assertEqual(world.frontend.traffic.bin, 5)

    def test_a_line_that_comes_early_waits_for_no_byte(self) -> None:
        """`option logasap` writes it when the server is found, once."""
        world = self.quiet(PLAIN, early=True)
        server = world.connect("s1")
        client = world.client()
        self.assertEqual(self.lines, ["0 +0 --"])
        client.feed(b"hello")
        server.reset()
        self.assertEqual(len(self.lines), 1)


class ViewTests(SynchronousTestCase):
    """Figures and sessions, and orders about them."""

    def setUp(self) -> None:
        self.world = world = StreamWorld(self, PLAIN)
        self.server = world.connect("s1")
        world.frontend.listeners.clear()  # which are not listened on
        self.proxy: Any = SimpleNamespace(
            frontends=[world.frontend],
            backends=[*world.backends.values()],
            places=world.places,
            standstills=Standstills(),
            list_fetches={},
            refused_files=[],
            began=0.0,
            deadlines=world.deadlines,
            before=(),
        )

    def test_figures_while_a_session_lasts(self) -> None:
        """Bytes are counted as they pass; there are no columns of requests."""
        client = self.world.client()
        self.world.frontend.connections_total = 4
        client.feed(b"hello")
        self.server.feed(b"welcome")
        (section,) = sections_of(Reader(self.proxy).view())
        rows = {str(row.columns["svname"]): row.columns for row in section.rows()}
        for name in ("FRONTEND", "s1", "BACKEND"):
            row = rows[name]
            self.assertEqual((row["mode"], row["scur"], row["bin"], row["bout"]), ("tcp", 1, 5, 7), name)
            self.assertEqual({"hrsp_2xx", "proto", "intercepted"} & row.keys(), set())
        shown = [rows["FRONTEND"][name] for name in ("sess_other", "h1sess", "h2sess", "h1req", "req_other")]
        self.assertEqual(shown, [4, 0, 0, 0, 0])
        self.assertEqual((rows["s1"]["pool_floor"], rows["s1"]["pool_handshakes_request_path"]), (1, 0))

    def test_sessions_are_shown(self) -> None:
        """With where they stand."""
        client = self.world.client()
        self.world.advance(2)
        waits = self.world.client()
        shown = sorted(sessions(self.proxy), key=lambda each: each.age)
        self.assertEqual(
            [(each.frontend, each.backend, each.server, each.state, round(each.age)) for each in shown],
            [("l", "l", "s1", "trying", 0), ("l", "l", "s1", "relaying", 2)],
        )
        for each in (client, waits):
            each.reset()
        self.assertEqual([*sessions(self.proxy)], [])

    def test_sessions_are_ended(self) -> None:
        """One by its number, or all of a server."""
        world = self.world
        context: Any = SimpleNamespace(
            proxy=self.proxy, level=ADMIN, server=lambda path: (world.backends["l"], world.servers["s1"])
        )
        clients = [world.client() for _ in range(3)]
        number = next(each.number for each in sessions(self.proxy) if each.state == "relaying")
        self.assertEqual(orders.shutdown_session(context, [f"0x{number:x}"]), "")
        self.assertEqual((world.flags(), clients[0].end), (["s1 K-"], ("close", "session over")))
        for words in (["0x1"], ["nobody"], []):
            self.assertRaises(Refusal, orders.shutdown_session, context, words)
        self.assertEqual(orders.shutdown_sessions(context, ["l/s1"]), "")
        self.assertEqual(world.flags()[1:], ["s1 KC", "s1 KC"])
        world.check_rest()

    def test_sessions_that_a_reload_has_left_to_the_proxy_before(self) -> None:
        """They may last for days: they are shown, and ended in each of the ways."""
        world, server = self.world, self.world.servers["s1"]
        now: Any = SimpleNamespace(frontends=[], backends=[], lines={}, deadlines=world.deadlines, before=[self.proxy])
        self.proxy.lines = {"l/s1": SimpleNamespace(server=server)}
        context: Any = SimpleNamespace(
            proxy=now, level=ADMIN, server=lambda path: (world.backends["l"], SimpleNamespace(full_name="l/s1"))
        )

        def by_number() -> None:
            (shown,) = sessions(now)
            self.assertEqual((shown.frontend, shown.server, shown.state), ("l", "s1", "relaying"))
            orders.shutdown_session(context, [f"{shown.number:x}"])

        ways: list[tuple[Callable[[], Any], str]] = [
            (by_number, "s1 K-"),
            (lambda: orders.shutdown_sessions(context, ["l/s1"]), "s1 K-"),
            (lambda: ACTIONS["shutdown"](now, world.backends["l"], server), "s1 K-"),
            (lambda: _end_sessions(now, server, "D"), "s1 D-"),
        ]
        for end, flags in ways:
            client = world.client()
            end()
            self.assertEqual((client.end, world.flags()[-1]), (("close", "session over"), flags))
            world.connect("s1")
        moved: Any = SimpleNamespace(full_name="l/s1", target="elsewhere")
        client = world.client()
        _end_sessions(now, moved, "D")
        self.assertEqual(client.end, None, "the address that is down is another one")
        client.reset()
