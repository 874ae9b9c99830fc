"""The same faults over real TLS and real sockets: a server's end without close_notify is never taken for an answer's.

    ends with close_notify          a clean end: it completes what only the end completes
    ends without, is reset, sends a record that cannot be read, refuses ours with an alert
                                    no end at all: whoever reads the answer can tell

And a side that is slow pauses the other through TLS, so that what waits in between stays bounded.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.openssl import RECORD, RECORDS
from reusedproxy.net.transport import HIGH_WATER, Transport
from tests.clientfakes import World
from tests.faultwire import CUT, RESPONSES, WHOLE, Kind, answers, where
from tests.test_net_tls import client_context
from tests.wire import Far, Loop, TLSFar, server_context

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
KINDS = [kind for kind in RESPONSES if kind.content and kind.method == "GET"]

#: More than all buffers between the two sides hold together, if they stop where they should.
MUCH = 8 * 1024 * 1024


class Scene:
    """A client and a server on real sockets, the server's with TLS, and the proxy between them."""

    def __init__(self, test: SynchronousTestCase, version: int, request: bytes, tcp: bool = True) -> None:
        self.loop = loop = Loop(test)
        self.world = world = World(test)
        near, self.client = loop.pair(tcp=tcp)
        world.places.taken += 1
        world.listener.connections += 1
        nobody: Any = None
        connection = ClientConnection(
            world.frontend,
            Transport(loop.poller, near, nobody),
            ("192.0.2.7", 1),
            world.listener,  # type: ignore[arg-type]
        )
        world.frontend.connections.add(connection)
        self.client.send(request)
        loop.until(lambda: world.server.dialer.open)
        self.far = self._connect(version, tcp)
        loop.until(lambda: b"\r\n\r\n" in self.far.received)

    def _connect(self, version: int, tcp: bool) -> TLSFar:
        context = client_context()
        near, far = self.loop.pair(tcp=tcp, tls=server_context(version=version))
        assert isinstance(far, TLSFar)
        tls = context.connection(near)
        while True:
            try:
                tls.do_handshake()
                break
            except SSL.WantReadError:
                self.loop.pump()
        dial = self.world.server.dialer.open[0]
        dial._end()
        nobody: Any = None
        self.near = ClientTLSTransport(self.loop.poller, near, nobody, tls, context)
        dial.owner.dial_ready(dial, self.near)
        return far

    def told(self, data: bytes) -> None:
        """The server has said this, and it has gone by."""
        self.far.send(data)
        self.loop.pump()

    def finish(self) -> None:
        """Nothing is left."""
        if self.client.socket.fileno() >= 0:
            self.client.drop()
        self.loop.until(lambda: not self.world.frontend.connections)
        self.world.check_rest()


def refuse(scene: Scene) -> None:
    """Its OpenSSL finds a record that it cannot read, and says so in an alert."""
    scene.near.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    scene.loop.until(lambda: scene.far.end == "failed")


ENDS = {
    "close_notify": lambda scene: scene.far.drop(),
    "no close_notify": lambda scene: scene.far.truncate(),
    "reset": lambda scene: Far.reset(scene.far),
    "a record that cannot be read": lambda scene: scene.far.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32)),
    "an alert": refuse,
}


class TruncationTests(SynchronousTestCase):
    """The server's connection ends in the middle of every kind of answer."""

    def test_every_end_in_every_kind(self) -> None:
        """In the head, behind it, and in the body; TLS 1.2 and 1.3."""
        for version in VERSIONS:
            for kind in KINDS:
                for told in (9, kind.said_head, kind.said_head + 5):
                    for end in ENDS:
                        with where(kind, version, told, end):
                            self.end(version, kind, told, end)

    def end(self, version: int, kind: Kind, told: int, end: str) -> None:
        scene = Scene(self, version, kind.request)
        scene.told(kind.said[:told])
        ENDS[end](scene)
        scene.loop.until(lambda: scene.world.log)
        whole = told < kind.said_head or (kind.until_close and end == "close_notify")
        scene.loop.until(lambda: scene.client.received if whole else scene.client.end)
        scene.loop.pump()
        (answer,) = answers(scene.client.received, "fin" if scene.client.end == "eof" else "reset", ["GET"])
        if told < kind.said_head:
            expected = (WHOLE, 502, "SH")
        elif kind.until_close and end == "close_notify":
            expected = (WHOLE, 200, "--")
        else:
            expected = (CUT, 200, "SD")
            self.assertTrue(kind.content.startswith(answer.body))
        (line,) = scene.world.log
        self.assertEqual((answer.how, answer.status, line.flags), expected)
        self.assertEqual(scene.world.server.pool.in_use, set())
        scene.finish()

    def test_after_the_answer(self) -> None:
        """Nobody asks just then: the connection leaves the pool, and no client notices."""
        kind = RESPONSES[0]
        for version in VERSIONS:
            for end in ENDS:
                with where(kind, version, end):
                    scene = Scene(self, version, kind.request)
                    scene.told(kind.said)
                    scene.loop.until(lambda scene=scene: scene.world.log)
                    self.assertEqual(len(scene.world.server.pool.idle), 1)
                    ENDS[end](scene)
                    scene.loop.until(lambda scene=scene: not scene.world.server.pool.idle)
                    self.assertEqual((scene.client.end, scene.world.flags()), ("", [(200, "--")]))
                    scene.finish()


class SlowTests(SynchronousTestCase):
    """One side is slow."""

    def test_a_client_that_reads_slowly(self) -> None:
        """The server is not read on; what waits with us stays bounded; all of it arrives in the end."""
        for version in VERSIONS:
            scene = Scene(self, version, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", tcp=False)
            scene.client.stall()
            scene.far.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH)
            scene.far.send(bytes(MUCH))
            scene.loop.pump()
            (connection,) = scene.world.frontend.connections
            self.assertGreater(len(scene.far.unsent), MUCH // 2)
            assert isinstance(connection, ClientConnection)
            self.assertLess(connection.transport.unsent, HIGH_WATER + RECORD * RECORDS + 1)
            scene.client.go_on()
            scene.loop.until(lambda scene=scene: scene.client.end)
            self.assertEqual(len(answers(scene.client.received, "fin", ["GET"])[0].body), MUCH)
            self.assertEqual(scene.world.flags(), [(200, "--")])
            scene.world.server.pool.close("test over")
            scene.finish()

    def test_a_server_that_reads_slowly(self) -> None:
        """The client is not read on; all of its body arrives in the end."""
        for version in VERSIONS:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % MUCH
            scene = Scene(self, version, head, tcp=False)
            scene.far.stall()
            scene.client.send(bytes(MUCH))
            scene.loop.pump()
            self.assertGreater(len(scene.client.unsent), MUCH // 2)
            self.assertLess(scene.near.unsent, HIGH_WATER + 256 * 1024 + 1)
            scene.far.go_on()
            scene.loop.until(lambda scene=scene: len(scene.far.received) >= MUCH and not scene.client.unsent)
            self.assertTrue(scene.far.received.endswith(b"\r\n\r\n" + bytes(MUCH)))
            scene.told(b"HTTP/1.1 204 No Content\r\n\r\n")
            scene.loop.until(lambda scene=scene: scene.world.log)
            self.assertEqual(scene.world.flags(), [(204, "--")])
            scene.world.server.pool.close("test over")
            scene.finish()
