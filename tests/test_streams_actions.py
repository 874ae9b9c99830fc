"""Actions of sessions in mode tcp: `do-resolve`, for whose answer they wait, `set-retries`, marks of packets."""

from __future__ import annotations

from socket import AF_INET, IP_TOS, IPPROTO_IP
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.build.servers.announcing import announces_client
from reusedproxy.clients.gate import Arrival
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.samples import CLIENT_BYTES
from reusedproxy.pool.named import NameRefused
from tests.rulefakes import DEFAULTS
from tests.streamfakes import StreamWorld
from tests.test_exchanges_steering import Zone

RULES = (
    "resolvers dns\n nameserver n 192.0.2.53:53\n"
    "listen l\n bind :1\n tcp-request inspect-delay 5s\n"
    " tcp-request content set-var(sess.name) req.payload(0,4) if { req.len ge 4 }\n"
    " tcp-request content do-resolve(sess.to,dns,ipv4) var(sess.name) if { req.len ge 4 }\n"
    " tcp-request content reject if { req.len ge 4 } !{ var(sess.to) -m found }\n"
    " tcp-request content set-dst var(sess.to) if { var(sess.to) -m found }\n"
    " server s1 192.0.2.1:1\n"
)


class ResolvingTests(SynchronousTestCase):
    def asked(self, *answers: str | None) -> tuple[StreamWorld, Any, Any]:
        """A session whose name has been asked for; `answers` come at once."""
        world = StreamWorld(self, RULES)
        zone: Any = Answering(answers) if answers else Zone()
        world.frontend.lookups = zone
        client: Any = world.client()
        client.socket = SimpleNamespace(getsockname=lambda: ("192.0.2.7", 1))
        client.feed(b"na")
        self.assertEqual(zone.asked, [])
        client.feed(b"me")
        self.assertEqual([each[:3] for each in zone.asked], [("dns", "name", "ipv4")])
        return world, client, zone

    def test_the_rules_go_on_when_the_address_is_known(self) -> None:
        """What the client sends meanwhile does not run them, nor does the delay that they may take end it."""
        world, client, zone = self.asked()
        client.feed(b"more")
        world.advance(30)
        self.assertEqual((len(zone.asked), world.dialers["s1"].open), (1, []))
        zone.asked[0][3]("192.0.2.9")
        self.assertEqual(world.connect("s1").take(), b"namemore")
        connection: Any = next(iter(world.frontend.connections))
        self.assertEqual(connection.stream.destination[0], "192.0.2.9")

    def test_the_delay_of_the_rules_begins_before_the_name_is_asked_for(self) -> None:
        """As in HAProxy: a client waits no longer for having a name looked up."""
        rules = (
            "resolvers dns\n nameserver n 192.0.2.53:53\nlisten l\n bind :1\n tcp-request inspect-delay 5s\n"
            " tcp-request content do-resolve(sess.to,dns,ipv4) str(name)\n tcp-request content reject if WAIT_END\n"
            " server s1 192.0.2.1:1\n"
        )
        world = StreamWorld(self, rules)
        zone: Any = Zone()
        world.frontend.lookups = zone
        client: Any = world.client()
        client.feed(b"x")
        world.advance(3)
        zone.asked[0][3]("192.0.2.9")
        world.advance(1.5)
        self.assertIsNone(client.end)
        world.advance(0.6)
        self.assertEqual([each.flags for each in world.log], ["PR"])

    def test_an_answer_may_be_there_at_once(self) -> None:
        world, _, _ = self.asked("192.0.2.9")
        self.assertEqual(world.connect("s1").take(), b"name")

    def test_a_name_without_an_address_lets_the_next_rules_decide(self) -> None:
        world, client, zone = self.asked()
        zone.asked[0][3](None)
        self.assertIsNotNone(client.end)
        self.assertEqual([each.flags for each in world.log], ["PR"])

    def test_a_client_that_leaves_is_not_asked_for_any_more(self) -> None:
        world, client, zone = self.asked()
        client.reset()
        self.assertEqual(zone.stopped, 1)
        zone.asked[0][3]("192.0.2.9")
        self.assertEqual(world.dialers["s1"].open, [])
        self.assertEqual(len(world.log), 1)

    def test_what_cannot_be_looked_up_is_refused(self) -> None:
        for head, why in (
            ("listen l\n mode tcp\n", "there is no 'resolvers dns'"),
            ("resolvers dns\n nameserver n 192.0.2.53:53\nlisten l\n", "write 'http-request do-resolve'"),
        ):
            text = f"{DEFAULTS}{head} bind :1\n tcp-request content do-resolve(txn.a,dns) src\n server s 192.0.2.1:1\n"
            with self.assertRaises(ConfigurationError) as raised:
                read_configuration([Source("t.cfg", text)], {})
            self.assertIn(why, str(raised.exception))


class SteeringTests(SynchronousTestCase):
    """Other actions that sessions share with requests."""

    def test_a_rule_says_how_often_a_session_is_tried_again(self) -> None:
        for number in (0, 2):
            rule = f"retries 5\n tcp-request content set-retries {number}"
            world = StreamWorld(self, f"listen l\n bind :1\n {rule}\n server s1 192.0.2.1:1\n")
            client = world.client()
            for _ in range(number):
                world.refuse("s1")
                self.assertIsNone(client.end)
                world.advance(1)
            world.refuse("s1")
            self.assertIsNotNone(client.end)
            self.assertEqual([each.retries for each in world.log], [number])

    def test_the_proxy_header_says_what_rules_have_found(self) -> None:
        """What does not fit into it ends the session, as a server that cannot be reached."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n retries 0\n tcp-request content set-var(txn.a) src\n"
            " server s1 192.0.2.1:1 send-proxy-v2 set-proxy-v2-tlv-fmt(0xE0) %[var(txn.a)]\n",
        )
        server = world.servers["s1"]
        headers: list[bytes] = []
        for value in (None, b"x" * 0x10000):
            header = announces_client(server.settings, CLIENT_BYTES)
            assert header is not None

            def noting(stream: Any, header: Any = header, value: Any = value) -> bytes:
                stream.client.destination = ("192.0.2.9", 80)
                if value is not None:
                    stream.set_variable("txn.a", value)
                headers.append(header(stream))
                raise NameRefused("only the header is looked at")

            server.introduces = noting
            client = world.client()
            self.assertIsNotNone(client.end)
        (said,) = headers
        self.assertTrue(said.endswith(b"\xe0\x00\x09192.0.2.7"), said)
        self.assertEqual([each.flags for each in world.log], ["SC", "SC"])
        self.assertEqual(world.dialled("s1"), 0)

    def test_packets_are_marked_when_the_server_answers(self) -> None:
        text = "listen l\n bind :1\n tcp-response content set-fc-tos 0x20\n server s1 192.0.2.1:1\n"
        world = StreamWorld(self, text)
        client: Any = world.client()
        client.socket = sock = Marked()
        world.connect("s1").feed(b"hello")
        self.assertEqual(sock.set, [(IPPROTO_IP, IP_TOS, 0x20)])

    def test_a_connection_is_marked_as_it_comes(self) -> None:
        text = f"{DEFAULTS}listen l\n bind :1\n tcp-request connection set-tos 0x10\n server s 192.0.2.1:1\n"
        rules = read_configuration([Source("t.cfg", text)], {}).frontends["l"].rules
        gate = RuleSets({}).gate(rules.connection)
        assert gate is not None
        sock: Any = Marked()
        frontend: Any = SimpleNamespace(not_done=self.fail)
        listener: Any = None
        for acts, done in ((True, [(IPPROTO_IP, IP_TOS, 0x10)]), (False, [])):
            sock.set.clear()
            arrival = Arrival(sock, ("192.0.2.7", 1), listener, frontend, acts=acts)
            (gate.judge if acts else gate.judge_again)(arrival)
            self.assertEqual(sock.set, done)


class Marked:
    """A socket that notes what is set."""

    family = AF_INET

    def __init__(self) -> None:
        self.set: list[tuple[int, int, int]] = []

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.set.append((level, option, value))

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.7", 1


class Answering(Zone):
    """Answers before it returns."""

    def __init__(self, answers: tuple[str | None, ...]) -> None:
        super().__init__()
        self._answers = [*answers]

    def look_up(self, section: str, name: str, prefer: str, told: Any, client: str) -> Any:
        stop = super().look_up(section, name, prefer, told, client)
        told(self._answers.pop(0))
        return stop
