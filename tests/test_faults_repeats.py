"""What is sent once more when a server's connection ends without an answer: by TLS version, end,
what was written and method.

Over real TLS and real sockets, asked of the servers: in how many of their connections they have read the request. A
request that is not idempotent is read once at most, whatever happens (RFC 9110 section 9.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

from attrs import frozen
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.transport import Transport
from tests.clientfakes import OK, World
from tests.test_net_tls import client_context
from tests.wire import Far, Loop, TLSFar, certificates, server_context

VERSIONS = {"in the clear": None, "1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
METHODS = ("GET", "PUT", "POST", "PATCH", "get")
IDEMPOTENT = ("GET", "PUT")
UNREADABLE = b"\x17\x03\x03\x00\x20" + bytes(32)
RETRIES = 3


@frozen
class Ending:
    """How the server ends the connection; `near` is our side of it."""

    end: Callable[[Far, Any], object]
    tls: bool = True


def answered_in_the_clear(far: Far, near: Any) -> None:
    """As a crash handler that writes past TLS."""
    far.socket.send(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")
    far.socket.close()


def alert_in_the_clear(far: Far, near: Any) -> None:
    """A certificate_unknown that nobody can have sent who has the keys."""
    far.socket.send(b"\x15\x03\x03\x00\x02\x02\x2e")
    far.socket.close()


ENDS = {
    "close": Ending(lambda far, near: far.drop(), tls=False),
    "reset": Ending(lambda far, near: Far.reset(far), tls=False),
    "no close_notify": Ending(lambda far, near: Far.drop(far)),
    "a record that cannot be read": Ending(lambda far, near: far.socket.send(UNREADABLE)),
    "an answer in the clear": Ending(answered_in_the_clear),
    "an alert in the clear": Ending(alert_in_the_clear),
    "an alert": Ending(lambda far, near: near.socket.send(UNREADABLE)),
}

#: (the length said, of the body how much has come, whether we hold all of it still)
WRITTEN = {
    "all": (5, 5, True),
    "the head": (5, 0, True),
    "a part": (5000, 2000, True),
    "more than is held": (100_000, 40_000, False),
}


@contextmanager
def case(*what: object) -> Iterator[None]:
    """A failure in here says in which case."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{', '.join(map(str, what))}: {error}") from error


class Scene:
    """A client in memory, servers on sockets: one for each connection that the proxy opens."""

    def __init__(self, test: SynchronousTestCase, version: int | None, **context: Any) -> None:
        self.loop = Loop(test)
        self.world = World(test, backend={"retries": RETRIES})
        self.client = self.world.client()
        self.context: ClientContext | None = None
        self.tls: SSL.Context | None = None
        if version is not None:
            self.context = client_context(**context)
            self.tls = server_context(version=version)
            self.world.server.dialer.context = self.context  # type: ignore[assignment]
        self.fars: list[Far] = []

    def connect(self) -> tuple[Far, Transport]:
        """The oldest dial has its connection; the client's side of the handshake is complete."""
        dial: Any = self.world.server.dialer.open[0]
        near, far = self.loop.pair(tcp=True, tls=self.tls)
        nobody: Any = None
        transport = Transport(self.loop.poller, near, nobody)
        if self.context is not None:
            tls = self.context.connection(near)
            while True:
                try:
                    tls.do_handshake()
                    break
                except SSL.WantReadError:
                    self.loop.pump()
            transport = ClientTLSTransport(self.loop.poller, near, nobody, tls, self.context)
        self.fars.append(far)
        dial._end()
        dial.owner.dial_ready(dial, transport)
        return far, transport

    def ask(self, method: str, length: int, come: int) -> bytes:
        """The client's request, of whose body so much has come; returns its beginning."""
        self.client.send(
            f"{method} /pay HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode() + bytes(come)
        )
        return f"{method} /pay ".encode()

    def warm(self) -> None:
        """One connection stands idle, and has carried a request."""
        self.client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
        far, _ = self.connect()
        self.loop.until(lambda: far.received)
        far.send(OK)
        self.loop.until(lambda: self.client.take())

    def finish(self) -> None:
        for far in self.fars:
            if far.socket.fileno() >= 0:
                far.socket.close()
        # An end that the kernel tells of a moment later is not lost.
        self.loop.until(lambda: not self.world.server.pool.idle)
        self.client.wire.reset()
        self.world.check_rest()


class RepeatTests(SynchronousTestCase):
    """Each end, again and again, until the client has its answer."""

    def read(self, scene: Scene, method: str, written: str, ending: Ending) -> int:
        """How many servers have read the request, each of which ends its connection then."""
        length, come, _ = WRITTEN[written]
        began = scene.ask(method, length, come)
        expected = len(began) + come
        seen, world = 0, scene.world
        last = len(world.log) + 1
        for _ in range(2 * RETRIES + 4):
            if world.server.dialer.open:
                scene.connect()
            far = scene.fars[-1]
            scene.loop.until(lambda far=far: began in far.received and len(far.received) >= expected)
            seen += 1
            near: Any = next(iter(world.server.pool.in_use)).transport
            ending.end(far, near)
            scene.loop.until(lambda: len(world.log) == last or world.server.dialer.open)
            if len(world.log) == last:
                break
            world.advance(2)  # no pause of ours changes it
        self.assertEqual(world.log[-1].status, 502)
        return seen

    def test_the_table(self) -> None:
        """Once for what is not idempotent, or not held any more; twice for what is;
        never judged as a refusal to connect."""
        for version, end, written, method, used in product(VERSIONS, ENDS, WRITTEN, METHODS, (False, True)):
            ending = ENDS[end]
            if ending.tls and VERSIONS[version] is None:
                continue
            with case(version, end, written, method, used):
                scene = Scene(self, VERSIONS[version])
                if used:
                    scene.warm()
                times = self.read(scene, method, written, ending)
                held = WRITTEN[written][2]
                self.assertEqual(times, 2 if method in IDEMPOTENT and held else 1)
                pool = scene.world.server.pool
                self.assertEqual((pool.counters.dials_failed, pool.trouble, pool.paused), (0, "", False))
                self.assertNotIn("refused_late", {word for _, word in pool.counters.closed})
                scene.finish()

    def test_a_certificate_that_is_refused_late(self) -> None:
        """Nobody has read it: any method, as often as `retries` allows; then 503,
        as if there had been no connection."""
        stranger = certificates().stranger.issue("intruder", client=True, key="ecdsa")
        crt = certificates().file("stranger.pem", stranger.pem)
        for method, written in product(METHODS, WRITTEN):
            length, come, held = WRITTEN[written]
            with case(method, written):
                scene = Scene(self, SSL.TLS1_3_VERSION, crt=crt)
                scene.ask(method, length, come)
                world = scene.world
                while not world.log:
                    if world.server.dialer.open:
                        scene.connect()
                    scene.loop.pump()
                    world.advance(2)
                self.assertEqual([far.received for far in scene.fars], [b""] * (1 + RETRIES if held else 1))
                self.assertFalse(any(isinstance(far, TLSFar) and far.handshaken for far in scene.fars))
                self.assertEqual(world.flags(), [(503, "SC")])
                self.assertEqual(world.server.pool.counters.dials_failed, len(scene.fars))
                self.assertIn("the server refused our client certificate", world.server.pool.trouble)
                scene.finish()

    def test_nothing_was_written(self) -> None:
        """The server's reset is there before the first byte leaves: any method is sent again, and read once."""
        for version, method in product(VERSIONS, METHODS):
            with case(version, method):
                scene = Scene(self, VERSIONS[version])
                scene.warm()
                Far.reset(scene.fars[0])
                began = scene.ask(method, 5, 5)
                scene.loop.until(lambda scene=scene: scene.world.server.dialer.open)
                far, _ = scene.connect()
                scene.loop.until(lambda far=far, began=began: began in far.received)
                far.send(OK)
                scene.loop.until(lambda scene=scene: len(scene.world.log) == 2)
                self.assertEqual(scene.world.log[-1].status, 200)
                scene.finish()
