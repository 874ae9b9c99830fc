"""Which failed attempts are tried again, how often, where, and how it is counted."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.answers import ERRORS
from reusedproxy.clients.exchange import HELD_MAX
from tests.clientfakes import GET, OK, POST, World, get
from tests.fakes import LATE_REFUSAL, FakeContext


def refuse_all(far, world):
    """Every dial fails until none is left; how many there were."""
    count = 0
    while True:
        if far.dialer.open:
            far.refuse()
            count += 1
        elif any(each.pool.waiters for each in world.servers):
            world.advance(1.1)
            if not any(each.dialer.open for each in world.servers):
                return count
        else:
            return count


class DialTests(SynchronousTestCase):
    """No connection can be opened: not one byte has gone out, so it may be tried again."""

    def test_retries_more_attempts_then_503(self):
        """HAProxy's default of three makes four."""
        for retries in (0, 1, 3):
            world = World(self, backend={"retries": retries})
            client = world.client()
            client.send(GET)
            self.assertEqual(refuse_all(world.server, world), retries + 1)
            self.assertEqual(client.take(), ERRORS[503])
            self.assertEqual(world.flags(), [(503, "SC")])
            (line,) = world.log
            self.assertEqual((line.retries, line.redispatched, line.connected), (retries, False, 0.0))
            traffic = world.server.server.traffic
            self.assertEqual((traffic.wretr, traffic.wredis, traffic.econ), (retries, 0, 1))
            self.assertEqual(world.backend.traffic.wretr, retries)
            world.check_rest()

    def test_an_attempt_that_succeeds(self):
        """The client sees nothing of those before it; a POST is as good as a GET."""
        for request in (GET, POST + b"body"):
            world = World(self)
            client = world.client()
            client.send(request)
            world.server.refuse()
            world.advance(1)
            world.server.connect()
            self.assertEqual(world.server.asked(), request)
            world.server.answer()
            self.assertEqual(client.take(), OK)
            self.assertEqual(world.log[0].retries, 1)
            self.assertEqual(world.flags(), [(200, "--")])
            world.check_rest()

    def test_redispatch(self):
        """The last attempt goes to another server, and is counted as that instead of as a retry."""
        world = World(self, servers=2, backend={"retries": 2, "redispatch": True})
        first, second = world.servers
        client = world.client()
        client.send(GET)
        for _ in range(2):
            first.refuse()
            world.advance(1)
        first.dialer.answer = None
        second.connect()
        second.answer()
        self.assertEqual(client.take(), OK)
        (line,) = world.log
        self.assertEqual((line.retries, line.redispatched), (2, True))
        self.assertIs(line.server, second.server)
        traffic = first.server.traffic
        self.assertEqual((traffic.wretr, traffic.wredis), (1, 1))
        world.check_rest()

    def test_without_redispatch_it_stays(self):
        """At the server that was chosen."""
        world = World(self, servers=2, backend={"retries": 2})
        first, second = world.servers
        client = world.client()
        client.send(GET)
        self.assertEqual(refuse_all(first, world), 3)
        self.assertEqual(second.dialer.dials, [])
        self.assertEqual(client.take(), ERRORS[503])
        world.check_rest()

    def test_redispatch_waits_in_the_queue(self):
        """When the other server is full, and the first place is its."""
        world = World(self, servers=2, maxconn=1, backend={"retries": 1, "redispatch": True})
        first, second = world.servers
        client, other = world.client(), world.client()
        client.send(GET)
        other.send(GET)
        self.assertIs(other.connection.exchange.server, second.server)
        first.refuse()
        self.assertEqual(client.connection.exchange.state, "connecting")  # `avoid` is better than nothing
        world.advance(1)
        first.connect()
        second.connect()
        first.answer()
        second.answer()
        self.assertEqual((client.take(), other.take()), (OK, OK))
        world.check_rest()


class RaceTests(SynchronousTestCase):
    """A connection that had been idle ends before any byte of the answer: the server may have closed it just then."""

    def lost(self, request, how="eof", warm=1, **world):
        world = World(self, warm=warm, **world)
        client = world.client()
        client.send(request)
        world.server.asked()
        getattr(world.server, how)()
        return world, client

    def test_get_is_sent_once_more(self):
        """On a new connection, unnoticed by the client."""
        for how in ("eof", "reset"):
            for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"):
                request = get("/", method=method)
                world, client = self.lost(request, how)
                world.server.connect()
                self.assertEqual(world.server.asked(), request)
                world.server.answer(OK if method != "HEAD" else OK[:-2])
                self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
                self.assertEqual(world.flags(), [(200, "--")])
                self.assertEqual(world.log[0].retries, 1)
                self.assertEqual(world.server.server.traffic.wretr, 1)
                world.check_rest()

    def test_a_small_body_is_sent_once_more(self):
        """Complete, or as far as it has come, with the rest behind it."""
        put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
        for before, between, after in ((b"body", b"", b""), (b"bo", b"", b"dy"), (b"b", b"od", b"y")):
            world, client = self.lost(put + before)
            if between:
                client.send(between)
            world.server.connect()
            if after:
                client.send(after)
            self.assertEqual(world.server.asked(), put + b"body")
            world.server.answer()
            self.assertEqual(client.take(), OK)
            world.check_rest()

    def test_a_body_in_pieces_is_sent_once_more(self):
        """Those that had been written are kept."""
        put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
        world = World(self, warm=1)
        client = world.client()
        for piece in (put, b"bo", b"dy"):
            client.send(piece)
        world.server.asked()
        world.server.eof()
        world.server.connect()
        self.assertEqual(world.server.asked(), put + b"body")
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_large_body_is_not(self):
        """We do not hold it any more."""
        for first in (b"", bytes(HELD_MAX)):
            size = 2 * HELD_MAX
            world = World(self, warm=1)
            client = world.client()
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + first)
            client.send(bytes(size - len(first) - 1))
            world.server.eof()
            self.assertEqual(client.take(), ERRORS[502])
            self.assertEqual(world.flags(), [(502, "SH")])
            self.assertEqual(world.server.dialer.open, [])
            client.wire.eof()
            world.check_rest()

    def test_post_is_not(self):
        """It may have been carried out."""
        world, client = self.lost(POST + b"body")
        self.assertEqual(client.take(), ERRORS[502])
        self.assertEqual(world.flags(), [(502, "SH")])
        self.assertEqual(world.server.server.traffic.wretr, 0)
        world.check_rest()

    def test_after_a_byte_of_the_answer_it_is_not(self):
        """The server was at work on it."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"H")
        world.server.eof()
        self.assertEqual(client.take(), ERRORS[502])
        world.check_rest()

    def test_once_only(self):
        """RFC 9110 section 9.2.2: a retry that fails is not retried, though other connections stand idle."""
        world = World(self, warm=3)
        client = world.client()
        client.send(GET)
        world.server.eof()
        world.server.eof()
        self.assertEqual(client.take(), ERRORS[502])
        self.assertEqual(world.flags(), [(502, "SH")])
        world.check_rest()

    def test_not_on_a_connection_of_the_same_age(self):
        """The retry wants one that is lately known alive; long idle ones are probably as dead."""
        world = World(self, warm=3)
        client = world.client()
        world.advance(3)
        client.send(GET)
        world.server.eof()
        self.assertEqual(len(world.server.dialer.open), 1)
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_new_connection_is_not_tried_again(self):
        """It was not idle, so it is no race."""
        world = World(self)
        client = world.client()
        client.send(GET)
        world.server.connect()
        world.advance(1)
        world.server.answer(b"H")
        world.server.eof()
        self.assertEqual(client.take(), ERRORS[502])
        world.check_rest()


class LateRefusalTests(SynchronousTestCase):
    """In TLS 1.3 a server refuses our certificate after the handshake: it has processed nothing."""

    def test_counts_as_a_dial_that_failed(self):
        """Tried again up to `retries`, whatever the method; then 503."""
        for request in (GET, POST + b"body"):
            world = World(self, backend={"retries": 1})
            world.server.dialer.context = FakeContext()
            client = world.client()
            client.send(request)
            world.server.connect()
            world.server.busy[0].reset(LATE_REFUSAL)
            world.advance(1)
            world.server.connect()
            self.assertTrue(world.server.asked().endswith(request))
            world.server.busy[0].reset(LATE_REFUSAL)
            self.assertEqual(client.take(), ERRORS[503])
            self.assertEqual(world.flags(), [(503, "SC")])
            traffic = world.server.server.traffic
            self.assertEqual((traffic.wretr, traffic.econ, traffic.eresp), (1, 1, 0))
            world.check_rest()
