"""Bodies stream through both ways: a slow side pauses the fast one, and little is held."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.attempt import HELD_MAX
from reusedproxy.net.transport import HIGH_WATER
from tests.clientfakes import GET, OK, World

READ = 256 * 1024
BIG = 32 * 1024 * 1024


class BodyTests(SynchronousTestCase):
    """Bodies stream; what is held is bounded on each side."""

    def test_a_body_that_comes_before_the_connection(self) -> None:
        """It is kept up to a bound, then the client is paused; all of it goes out when there is a connection."""
        world = World(self)
        client = world.client()
        client.wire.reads = 4096
        size = 1024 * 1024
        body = bytes(range(256)) * (size // 256)
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(body)
        self.assertFalse(client.wire.reading)
        self.assertLessEqual(size - len(client.wire.incoming), HELD_MAX + 4096)
        world.server.connect()
        client.wire.pump()
        self.assertTrue(world.server.asked().endswith(b"\r\n\r\n" + body))
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_client_that_leaves_while_it_is_paused(self) -> None:
        """It waits for a connection no more, whether it is reset or ends before all of its body can have come."""
        for leave, framing in product(
            ("reset", "eof"), (b"Content-Length: 100000", b"Transfer-Encoding: chunked\r\n\r\n186A0")
        ):
            world = World(self)
            gone, other = world.client(), world.client()
            end = b"\r\n" if b"chunked" in framing else b"\r\n\r\n"
            gone.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + end + bytes(20_000))
            gone.send(bytes(20_000))
            self.assertFalse(gone.wire.reading)
            getattr(gone.wire, leave)()
            self.assertEqual((gone.gone, world.flags()), (True, [(-1, "CC")]))
            other.send(GET)
            world.server.connect()
            self.assertNotIn(b"POST", world.server.asked())
            world.server.answer()
            self.assertEqual(other.take(), OK)
            world.check_rest()

    def test_a_client_that_ends_its_side_behind_all_of_its_body(self) -> None:
        """What it has sent stands unread yet: it waits for its answer."""
        for framing in (
            b"Content-Length: 40000\r\n\r\n" + bytes(20_000),
            b"Transfer-Encoding: chunked\r\n\r\n9c40\r\n" + bytes(20_000),
        ):
            world = World(self)
            client = world.client()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing)
            client.send(bytes(1000))
            self.assertFalse(client.wire.reading)
            client.send(bytes(19_000) + (b"\r\n0\r\n\r\n" if b"chunked" in framing else b""))
            client.wire.eof()
            self.assertFalse(client.gone)
            world.server.connect()
            client.wire.pump()
            world.server.answer()
            self.assertTrue(client.take().endswith(b"\r\n\r\nok"))
            world.check_rest()

    def test_a_client_that_we_pause_is_not_late(self) -> None:
        """Its time does not run while we do not read."""
        world = World(self, maxconn=1)
        blocker, client = world.client(), world.client()
        blocker.send(GET)
        world.server.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(20_000))
        client.send(bytes(20_000))
        self.assertFalse(client.wire.reading)
        self.assertEqual(client.connection.deadline, float("inf"))
        world.server.answer()
        self.assertNotEqual(client.connection.deadline, float("inf"))
        client.send(bytes(60_000))
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_nor_when_it_reads_on_meanwhile(self) -> None:
        """It takes its answer while we still do not take its request."""
        world = World(self, warm=1)
        client = world.client()
        (wire,) = world.server.wires
        wire.stall()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000))
        client.send(bytes(100_000))
        self.assertFalse(client.wire.reading)
        wire.pass_some(10)
        client.wire.stall()
        wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(200_000))
        self.assertNotEqual(client.connection.deadline, float("inf"))
        client.wire.go_on()
        self.assertEqual(client.connection.deadline, float("inf"))
        wire.go_on()
        self.assertNotEqual(client.connection.deadline, float("inf"))
        client.wire.reset()
        world.check_rest()

    def test_32_mb_up_to_a_slow_server(self) -> None:
        """Never more than a buffer and one read is held, and the client is paused meanwhile."""
        world = World(self, warm=1)
        client = world.client()
        (wire,) = world.server.wires
        wire.stall()
        client.wire.incoming = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % BIG
        piece = bytes(READ)
        most = 0
        for _ in range(BIG // READ):
            while not client.wire.reading:
                wire.pass_some(32 * 1024)
                wire.chunks.clear()
            client.send(piece)
            most = max(most, wire.unsent)
        wire.go_on()
        client.wire.pump()
        self.assertLessEqual(most, HIGH_WATER + READ + 100)
        self.assertGreater(wire.size, BIG)
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertTrue(client.wire.reading)
        world.check_rest()

    def test_32_mb_down_to_a_slow_client(self) -> None:
        """Never more than a buffer and one read is held, and the server is paused meanwhile."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(GET)
        (wire,) = world.server.wires
        wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        piece = bytes(READ)
        for _ in range(BIG // READ):
            while not wire.reading:
                client.wire.pass_some(32 * 1024)
                client.wire.chunks.clear()
            wire.feed(piece)
        client.wire.go_on()
        self.assertLessEqual(client.wire.most_unsent, HIGH_WATER + READ + 100)
        self.assertGreater(client.wire.size, BIG)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_the_last_bytes_to_a_slow_client_leave_the_connection_usable(self) -> None:
        """The server's connection is back in its pool by then: the client's slowness must not pause it there."""
        world = World(self, warm=1)
        client, other = world.client(), world.client()
        client.wire.stall()
        client.send(GET)
        (wire,) = world.server.wires
        wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(10))
        wire.feed(bytes(99_990))
        self.assertTrue(wire.reading)
        other.send(GET)
        world.server.answer()
        self.assertEqual(other.take(), OK)
        client.wire.go_on()
        world.check_rest()

    def test_the_last_bytes_to_a_slow_server_leave_the_client_usable(self) -> None:
        """The body is complete by then: the server's slowness must not pause the client's next request."""
        world = World(self, warm=2)
        client = world.client()
        for wire in world.server.wires:
            wire.stall()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(10))
        client.send(bytes(99_990))
        (wire,) = world.server.busy
        wire.go_on()
        wire.feed(OK)
        self.assertTrue(client.wire.reading)
        client.send(GET)
        world.server.answer()
        self.assertEqual(client.take(), OK + OK)
        world.check_rest()

    def test_both_bodies_at_once(self) -> None:
        """An answer may begin before the request has ended, and both end well."""
        world = World(self, warm=1)
        client = world.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n123")
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        client.send(b"456")
        self.assertTrue(world.server.asked().endswith(b"123456"))
        world.server.answer(b"def")
        self.assertTrue(client.take().endswith(b"abcdef"))
        self.assertFalse(client.gone)
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_trailers_pass(self) -> None:
        """Both ways."""
        world = World(self, warm=1)
        client = world.client()
        tail = b"4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n"
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(head + tail)
        self.assertEqual(world.server.asked(), head + tail)
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + tail
        world.server.answer(answer)
        self.assertEqual(client.take(), answer)
        world.check_rest()
