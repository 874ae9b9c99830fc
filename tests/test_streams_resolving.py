"""`tcp-request content do-resolve`: a session waits for the address of a name, and goes there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
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
        (stream,) = [each.stream for each in world.frontend.connections]
        self.assertEqual(stream.destination[0], "192.0.2.9")

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


class Answering(Zone):
    """Answers before it returns."""

    def __init__(self, answers: tuple[str | None, ...]) -> None:
        super().__init__()
        self._answers = [*answers]

    def look_up(self, section: str, name: str, prefer: str, told: Any, client: str) -> Any:
        stop = super().look_up(section, name, prefer, told, client)
        told(self._answers.pop(0))
        return stop
