"""`show sess`: which clients are shown, and what is said of one in each state; `show info float`."""

from __future__ import annotations

import json
import re
import struct
from functools import partial
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.dial import Target
from reusedproxy.operators.runtime.proxy import OPERATOR, Context, Refusal
from reusedproxy.operators.runtime.sessions import DETAILED_AT_ONCE, show_sess
from reusedproxy.operators.view import sessions as view
from tests.clientfakes import Wire, World, get
from tests.streamfakes import StreamWorld
from tests.test_exchanges_tunnels import Tunnelled
from tests.test_operators_runtime import RuntimeTestCase


class Measured:
    """A socket on which something came 2.5 s ago, and went out 7 s ago."""

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        numbers = [0] * 21
        numbers[9], numbers[11] = 7000, 2500
        return bytes(8) + struct.pack("=21I", *numbers)


class SessTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        Wire.socket = Measured()  # type: ignore[attr-defined]
        self.addCleanup(delattr, Wire, "socket")
        self.patch(view, "time", lambda: 1795986888.0)

    def show(self, world: Any, line: str = "", backends: Any = None) -> str:
        frontend = world.frontend
        servers = SimpleNamespace(name="backend", servers=[SimpleNamespace(name="s0")])
        proxy: Any = SimpleNamespace(frontends=[frontend], backends=[], before=(), deadlines=world.deadlines)
        context: Any = SimpleNamespace(
            proxy=proxy, level=OPERATOR, backend=lambda name: servers, server=lambda path: (servers, servers.servers[0])
        )
        context.frontend = partial(Context.frontend, context)
        try:
            return "".join(show_sess(context, line.split()))
        except Refusal as refusal:
            return str(refusal)

    def lines(self, world: Any, line: str = "all") -> list[str]:
        return re.sub(r"0x[0-9a-f]+: \[[^]]*\]", "0x:", self.show(world, line)).splitlines()


class DetailsTests(SessTestCase):
    def world(self, **words: Any) -> World:
        world = World(self, warm=1, **words)
        for each in world.servers:
            each.dialer.target = Target(2, ("192.0.2.1", 80))  # type: ignore[attr-defined]
        return world

    def test_a_client_that_says_nothing(self) -> None:
        world = self.world()
        world.client()
        world.clock.advance(3)
        name = world.frontend.name
        lines = self.lines(world)
        self.assertEqual(lines[0], "0x: proto=tcpv4 source=192.0.2.7:4711")
        self.assertRegex(lines[1], rf"^  frontend={name} \(mode=http\), listener=\S+$")
        self.assertEqual(lines[2:4], ["  backend=<NONE>", "  server=<none>"])
        self.assertRegex(lines[4], r"^  age=3s last_activity=2.5s exp=\S+ requests=0 state=idle$")
        self.assertRegex(
            lines[5], r"^  client: state=idle addr=192.0.2.7:4711 ssl=- in=0 unsent=0 last_activity=2.5s exp=\S+$"
        )
        self.assertEqual(lines[6:], ["  server: none"])

    def test_one_whose_head_is_coming(self) -> None:
        world = self.world()
        world.client().send(b"GET / HTTP/1.1\r\nHo")
        self.assertIn("state=request addr=", self.lines(world)[5])

    def test_one_whose_request_is_at_a_server(self) -> None:
        """What would end a quotation, or a terminal would obey, is written otherwise."""
        world = self.world()
        world.client().send(get('/a"\x7f'.replace("\x7f", "%22"), "X: y"))
        world.clock.advance(2)
        lines = self.lines(world)
        self.assertEqual(lines[3].split(" addr=")[1], "192.0.2.1:80")
        self.assertRegex(
            lines[5], r'^  request="GET /a\\x22%22 HTTP/1.1" request_age=2.0s phase=sent status=0 retries=0$'
        )
        self.assertIn("client: state=busy addr=192.0.2.7:4711 ssl=- ", lines[6])
        self.assertIn("server: state=sent addr=192.0.2.1:80 ssl=- in=0 unsent=0 last_activity=2.5s exp=", lines[7])
        (short,) = self.show(world, "show-uri").splitlines()
        self.assertTrue(short.endswith(' state=busy request_age=2.0s uri="GET /a\\x22%22 HTTP/1.1"'), short)
        self.assertNotIn("uri=", self.show(world))

    def test_a_tunnel(self) -> None:
        tunnel = Tunnelled(self)
        world = tunnel.world
        world.server.dialer.target = Target(2, ("192.0.2.1", 80))  # type: ignore[attr-defined]
        tunnel.client.send(b"12345")
        lines = self.lines(world)
        self.assertIn("phase=tunnel status=101", lines[5])
        self.assertIn("client: state=tunnel", lines[6])
        self.assertRegex(lines[6], r"exp=[0-9.]+s$")
        self.assertIn("server: state=tunnel", lines[7])

    def test_mode_tcp(self) -> None:
        world = StreamWorld(
            self, "listen l\n bind :1\n timeout client 9s\n timeout server 9s\n server s1 192.0.2.1:1\n"
        )
        client = world.client()
        self.assertIn("phase=trying", self.lines(world)[5])
        server = world.connect("s1")
        world.servers["s1"].pool.dialer.target = Target(2, ("192.0.2.1", 1))
        client.feed(b"hello")
        server.feed(b"welcome")
        lines = self.lines(world)
        self.assertIn("frontend=l (mode=tcp)", lines[1])
        self.assertIn("client: state=relaying addr=192.0.2.7:4711 ssl=- in=5", lines[6])
        self.assertIn("server: state=relaying addr=192.0.2.1:1 ssl=- in=7", lines[7])
        client.reset()


class WhichTests(SessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = World(self, warm=1)
        self.old = self.world.client()
        self.world.clock.advance(4)
        self.new = self.world.client(("192.0.2.8", 1))

    def sources(self, line: str) -> set[str]:
        return {*re.findall(r"(?:src|source)=(\S+):", self.show(self.world, line))}

    def test_older_ones(self) -> None:
        for line, expected in (
            ("", {"192.0.2.7", "192.0.2.8"}),
            ("older 3s", {"192.0.2.7"}),
            ("older 4", {"192.0.2.7"}),
            ("show-uri older 3000ms", {"192.0.2.7"}),
            ("older 5m", set()),
        ):
            self.assertEqual(self.sources(line), expected, line)
        self.assertIn("  client: ", self.show(self.world, "older 3s"))

    def test_one_by_its_number(self) -> None:
        number = f"0x{id(self.new.connection):x}"
        said = self.show(self.world, number)
        self.assertTrue(said.startswith(f"{number}: ["), said)
        self.assertEqual(said.count("source="), 1)
        self.assertEqual(self.show(self.world, "0x12"), "Session not found.\n")

    def test_those_of_a_section(self) -> None:
        name = self.world.frontend.name
        self.assertEqual(len(self.sources(f"frontend {name}")), 2)
        self.assertEqual(self.sources("server backend/s0"), set())
        self.old.send(get("/"))
        self.assertEqual(
            self.show(self.world, "backend backend").count(" be="), self.show(self.world).count("be=backend")
        )

    def test_suspicious_ones(self) -> None:
        """No time-out bounds them, or it has passed."""
        self.assertEqual(self.sources("susp"), set())
        self.old.connection.deadline = float("inf")
        self.assertEqual(self.sources("susp"), {"192.0.2.7"})
        self.old.connection.deadline = self.world.clock.seconds() - 5
        self.assertEqual(self.sources("susp"), {"192.0.2.7"})

    def test_what_is_refused(self) -> None:
        for line, said in (
            ("zz", "Unsupported option 'zz', try 'help' for more info."),
            ("all zz", "Unsupported option 'zz', try 'help' for more info."),
            ("older", "Expects a minimum age (in seconds by default)."),
            ("older x", "Invalid age."),
            ("server", "Missing server name (<backend>/<server>)."),
            ("backend", "Missing backend name."),
            ("frontend no", "No such frontend."),
            ("backend a frontend b", "Only one of backend, frontend or server may be set."),
        ):
            self.assertEqual(self.show(self.world, line), said, line)
        self.assertIn("Usage: show sess [<id> | all | help]", self.show(self.world, "help"))

    def test_no_piece_of_an_answer_is_of_more_than_a_few(self) -> None:
        for _ in range(2 * DETAILED_AT_ONCE):
            self.world.client()
        proxy: Any = SimpleNamespace(
            frontends=[self.world.frontend], backends=[], before=(), deadlines=self.world.deadlines
        )
        pieces = [*show_sess(SimpleNamespace(proxy=proxy), ["all"])]  # type: ignore[arg-type]
        self.assertEqual([each.count("source=") for each in pieces], [DETAILED_AT_ONCE] * 2 + [2])


class InfoTests(RuntimeTestCase):
    def test_floating_numbers(self) -> None:
        self.clock.advance(1.25)
        self.assertRegex(self.says("show info float"), r"(?m)^Uptime_sec: [0-9]+\.[0-9]{1,6}$")
        self.assertRegex(self.says("show info"), r"(?m)^Uptime_sec: [0-9]+$")
        self.assertRegex(self.says("show info typed float"), r"(?m)^8\.Uptime_sec\.1:MDP:flt:[0-9]+\.[0-9]+$")
        self.assertRegex(self.says("show info float desc"), r'(?m)^Start_time_sec: [0-9]+\.[0-9]+:"')
        rate = next(each for each in json.loads(self.says("show info float json")) if each["field"]["pos"] == 26)
        self.assertEqual(rate["value"], {"type": "flt", "value": 0})
