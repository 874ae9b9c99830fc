"""Servers whose state follows from more than their own checks: `observe`, `track`, and what a change does to requests
(`on-marked-down`, `on-marked-up`). What is said was captured from HAProxy 2.6.12."""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.observe import Observer
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.balance import Balance
from reusedproxy.config.model.checks import Observe
from reusedproxy.config.model.proxies import Check
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.net.dial import Target
from reusedproxy.wire.heads import Limits
from tests.clientfakes import World, get
from tests.fakes import FakeDialer, PoolBench

PLACE = model.Place("test.cfg", 1)


def watched(world: World, layer: str = "layer7", limit: int = 3, on_error: str = "mark-down", **check: Any) -> Observer:
    """The first server's requests are observed; its checks are far away."""
    server = world.server.server
    checker = Checker(
        server,
        Check(inter=3600.0, **check),
        None,
        FakeDialer(world.clock),  # type: ignore[arg-type]
        world.clock,
        Limits(),
        None,
        1000.0,
        world.backend.server_changed,
    )
    checker.judge.begin_at(checker.judge.top)
    world.backend.checkers.append(checker)
    checker.start()
    observer = Observer(Observe(layer, limit, on_error), checker)
    world.backend.observers = {server: observer}
    return observer


class ObserveTests(SynchronousTestCase):
    def ask(self, world: World, answer: bytes) -> None:
        client = world.client()
        client.send(get("/"))
        world.server.asked()
        world.server.answer(answer)
        client.take()
        world.clock.advance(0)

    def answer(self, status: int) -> bytes:
        return b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status

    def test_statuses_in_a_row(self) -> None:
        """Three wrong ones in a row take the server down; a good one between them begins anew."""
        world = World(self, warm=1)
        observer = watched(world)
        for status in (500, 502, 404, 500, 501, 503, 500):
            self.ask(world, self.answer(status))
            self.assertEqual(world.server.server.state, UP, status)
        self.ask(world, self.answer(504))
        self.assertEqual((world.server.server.state, observer.reached), (DOWN, 1))
        text = 'reason: Health analyze, info: "Detected 3 consecutive errors, last one was: Wrong http response".'
        self.assertIn(text, world.announced[0][1])

    def test_an_observed_server_has_its_share_by_load(self) -> None:
        """What the algorithm knows of a server's requests is right where they are watched, too."""
        world = World(self, warm=1, servers=2, backend={"balance": Balance("leastconn")})
        watched(world)
        first, second = world.servers
        for _ in range(4):
            clients = [world.client() for _ in range(2)]
            for client in clients:
                client.send(get("/"))
            self.assertEqual((first.server.served, second.server.served), (1, 1))
            for each in (first, second):
                each.asked()
                each.answer(self.answer(200))
            self.assertEqual((first.server.served, second.server.served), (0, 0))

    def test_layer4_looks_at_connections_only(self) -> None:
        world = World(self, warm=1)
        observer = watched(world, "layer4", 1)
        self.ask(world, self.answer(500))
        self.assertEqual((world.server.server.state, observer.failures), (UP, 0))

    def test_on_error(self) -> None:
        """Of a counter at its top (rise 2, fall 3): what one act of each kind leaves, and when the next check comes."""
        for on_error, health, state in (
            ("fastinter", 4, UP),
            ("fail-check", 3, UP),
            ("sudden-death", 2, UP),
            ("mark-down", 0, DOWN),
        ):
            world = World(self, warm=1)
            observer = watched(world, limit=1, on_error=on_error, fastinter=0.5)
            checker = world.backend.checkers[0]
            self.ask(world, self.answer(500))
            self.assertEqual((checker.health, world.server.server.state), (health, state), on_error)
            assert checker._call is not None
            self.assertLessEqual(checker._call.getTime() - world.clock.seconds(), 0.5)
            self.assertEqual(observer.failures, 0)

    def test_nobody_asks_where_nothing_is_observed(self) -> None:
        world = World(self, warm=1)
        self.assertEqual(world.backend.observers, {})


class EndTests(SynchronousTestCase):
    """Requests that end with their server."""

    def world(self, **settings: Any) -> World:
        world = World(self, servers=2, warm=1)
        for each, backup in zip(world.servers, (False, True), strict=True):
            each.server.settings = evolve(each.server.settings, **settings)
            each.server.backup = backup
        world.backend.use_usable()
        world.backend.end_sessions = world.frontend.end_sessions
        return world

    def test_marked_down(self) -> None:
        """One that waits for its answer gets 502, one in the middle of it breaks off."""
        world = self.world(ends_when_down=True)
        waiting = world.client()
        waiting.send(get("/"))
        world.server.asked()
        world.backend.server_changed(world.server.server, DOWN, "test")
        self.assertIn(b"502 Bad Gateway", waiting.take())
        self.assertEqual(world.flags(), [(502, "DH")])
        world = self.world(ends_when_down=True)
        reading = world.client()
        reading.send(get("/"))
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        world.backend.server_changed(world.server.server, DOWN, "test")
        self.assertEqual(world.flags(), [(200, "DD")])

    def test_put_into_maintenance(self) -> None:
        """By an order, as when its checks fail."""
        world = self.world(ends_when_down=True)
        reading = world.client()
        reading.send(get("/"))
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        world.backend.set_state(world.server.server, MAINT)
        self.assertEqual(world.flags(), [(200, "DD")])

    def test_when_requests_end(self) -> None:
        """As a server leaves service, and as it comes back, whatever the cause; neither for DRAIN."""
        world = self.world(ends_when_down=True, ends_backups_when_up=True)
        backend, server = world.backend, world.server.server
        ended: list[tuple[str, str]] = []
        backend.end_sessions = lambda which, letter: ended.append((which.name, letter))
        down, up = [(server.name, "D")], [(world.servers[1].server.name, "U")]
        server.stand_at(Target(AF_INET, ("192.0.2.1", 80)), None)
        acts: list[tuple[Callable[[], None], list[tuple[str, str]]]] = [
            (lambda: backend.set_state(server, DRAIN), []),
            (lambda: backend.set_state(server, MAINT), down),
            (lambda: backend.set_state(server, DRAIN), []),
            (lambda: backend.set_state(server, READY), []),
            (lambda: backend.set_state(server, MAINT), down),
            (lambda: backend.set_state(server, READY), up),
            (lambda: backend.set_weight(server, 0), []),
            (lambda: backend.set_weight(server, 1), []),
            (lambda: backend.server_changed(server, NOLB, "test"), []),
            (lambda: backend.server_changed(server, DOWN, "test"), down),
            (lambda: backend.set_state(server, MAINT), []),
            (lambda: backend.set_state(server, READY), up),
            (lambda: backend.lost_address(server, "DNS NX domain"), down),
            (lambda: backend.set_state(server, MAINT), []),
            (lambda: backend.set_state(server, READY), []),
            (lambda: backend.located(server, None, "DNS"), up),
        ]
        for act, ends in acts:
            ended.clear()
            act()
            self.assertEqual(ended, ends)

    def test_without_the_word_requests_go_on(self) -> None:
        world = self.world()
        client = world.client()
        client.send(get("/"))
        world.backend.server_changed(world.server.server, DOWN, "test")
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertIn(b"200 OK", client.take())

    def test_marked_up(self) -> None:
        """Those of the backup servers end."""
        world = self.world(ends_backups_when_up=True)
        world.backend.server_changed(world.server.server, DOWN, "test")
        client = world.client()
        client.send(get("/"))
        self.assertEqual(world.servers[1].server.served, 1)
        world.backend.server_changed(world.server.server, UP, "test")
        self.assertIn(b"502", client.take())
        self.assertEqual(world.flags(), [(502, "UH")])


class TrackTests(SynchronousTestCase):
    """One server has checks, one in another backend tracks it, a third tracks the second."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.backends = []
        for name in ("a", "b"):
            names = ("s1",) if name == "a" else ("t1", "t2")
            servers = [
                Server(name, model.Server(name=each, place=PLACE, host="h"), PoolBench(resume=False).pool, 0.0)
                for each in names
            ]
            settings = model.Backend(name, PLACE, mode="http")
            self.backends.append(Backend(settings, servers, self.clock.seconds, self.announce))
        self.root = self.backends[0].servers[0]
        self.first, self.second = self.backends[1].servers
        self.first.track(self.root, 0.0)
        self.second.track(self.first, 0.0)
        for backend in self.backends:
            backend.tell_tracker = self.backends[1].tracked_changed

    def announce(self, level: str, text: str) -> None:
        self.said.append(text)

    def assert_states(self, root: str, first: str, second: str) -> None:
        self.assertEqual((self.root.state, self.first.state, self.second.state), (root, first, second))

    def test_checks(self) -> None:
        for health in (DOWN, UP, NOLB, UP):
            self.backends[0].server_changed(self.root, health, "test")
            self.assert_states(health, health, health)
        ends = " active and 0 backup servers"
        self.assertIn(f"Server b/t1 is DOWN via a/s1. 1{ends} left.", self.said[2])
        self.assertIn(f"Server b/t2 is DOWN via b/t1. 0{ends} left.", self.said[3])
        self.assertIn("Server b/t1 is UP via a/s1.", "\n".join(self.said))
        self.assertIn("Server b/t1 is stopping via a/s1.", "\n".join(self.said))

    def test_orders(self) -> None:
        """State by order, at the root and in the middle."""
        root, rest = self.backends
        for backend, server, order, states in (
            (root, self.root, MAINT, (MAINT, MAINT, MAINT)),
            (root, self.root, DRAIN, (DRAIN, DRAIN, DRAIN)),
            (root, self.root, READY, (UP, UP, UP)),
            (rest, self.first, MAINT, (UP, MAINT, MAINT)),
            (root, self.root, DRAIN, (DRAIN, MAINT, MAINT)),
            (rest, self.first, READY, (DRAIN, DRAIN, DRAIN)),
            (root, self.root, READY, (UP, UP, UP)),
        ):
            backend.set_state(server, order)
            self.assert_states(*states)
        for text in (
            "Server b/t1 is going DOWN for maintenance via a/s1. 1 active",
            "Server b/t2 is going DOWN for maintenance via b/t1. 0 active",
            "Server b/t1 is UP/DRAIN (leaving maintenance).",
            "Server b/t1 remains in drain mode via a/s1.",
            "Server b/t2 is UP (leaving forced drain).",
        ):
            self.assertTrue(any(said.startswith(text) for said in self.said), text)

    def test_requests_end_at_who_tracks(self) -> None:
        """In maintenance that it has from another."""
        ended: list[tuple[str, str]] = []
        for server in (self.first, self.second):
            server.settings = evolve(server.settings, ends_when_down=True)
        self.backends[1].end_sessions = lambda which, letter: ended.append((which.name, letter))
        self.backends[0].set_state(self.root, DRAIN)
        self.assertEqual(ended, [])
        self.backends[0].set_state(self.root, MAINT)
        self.assertEqual(sorted(ended), [("t1", "D"), ("t2", "D")])

    def test_what_is_refused(self) -> None:
        head = "defaults\n mode http\n timeout connect 1s\n timeout server 1s\nbackend a\n server s h:1 check\n"
        head += " server n h:1\n"
        for line, text in (
            ("server t h:1 track a/x", "server 't': 'track a/x': there is no server 'a/x': did you mean 'a/s'?"),
            ("server t h:1 track a/n", "server 't': 'track a/n': 'a/n' has no 'check', so its state never changes"),
            ("server t h:1 track t", "server 't': 'track t': 'b/t' tracks it in turn"),
            ("server t h:1 track a/s check", "server 't': 'track' takes another server's state, so it has no 'check' of"
             " its own"),
        ):  # fmt: skip
            with self.assertRaises(ConfigurationError) as raised:
                read_configuration([Source("t.cfg", f"{head}backend b\n {line}\n")], {})
            self.assertEqual([fault.text for fault in raised.exception.faults], [text])
