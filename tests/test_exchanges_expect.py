"""Expect: 100-continue, end to end (RFC 9110 section 10.1.1), and whose turn it is meanwhile."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.connection import INTERIMS
from tests.clientfakes import GET, OK, Client, Wire, World

ASKS = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class InterimTests(SynchronousTestCase):
    """How many interim answers a server may give, and for how long."""

    HINT = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"

    def test_without_end(self) -> None:
        """They end with an error, to each client, and the server's connection ends;
        the server is not asked for the rest."""
        for interim in (self.HINT, GO_ON, self.PROCESSING):
            for version in (b"HTTP/1.1", b"HTTP/1.0"):
                world = World(self, warm=1)
                client = world.client()
                client.send(b"GET / %b\r\nHost: a\r\n\r\n" % version)
                world.server.answer(interim * 5000)
                got = client.take()
                self.assertEqual(got.count(interim), INTERIMS if version == b"HTTP/1.1" else 0)
                self.assertIn(b"HTTP/1.1 502 ", got)
                self.assertEqual(world.flags(), [(502, "PH")])
                self.assertEqual(world.server.pool.closed, {"interim answers without end": 1})
                world.check_rest()

    def test_an_end_behind_one_is_an_empty_response(self) -> None:
        """For `retry-on`, as in HAProxy; what follows it counts as ever."""
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        for word, interim, rest, again in (
            ("empty-response", self.HINT, b"", True),
            ("empty-response", GO_ON, b"", True),
            ("junk-response", self.HINT, b"", False),
            ("junk-response", GO_ON, b"", False),
            ("junk-response", self.HINT, b"junk\r\n\r\n", True),
            ("empty-response", self.HINT, b"junk\r\n\r\n", False),
            ("503", self.HINT, busy, True),
            ("conn-failure", self.HINT, busy, False),
        ):
            world = World(self, warm=1, backend={"retries": 3, "retry_on": frozenset([word])})
            client = world.client()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            world.server.answer(interim + rest)
            if not rest:
                world.server.eof()
            if world.server.dialer.open:  # not where the answer was whole, and its connection goes on
                world.server.connect()
            if again:
                world.server.answer(OK)
            self.assertEqual(b" 200 " in client.take(), again, (word, interim, rest))

    def test_slowly_without_end(self) -> None:
        """Each comes within `timeout server`, but their number is bounded all the same."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        for _ in range(INTERIMS):
            world.advance(15)
            world.server.answer(self.HINT)
            self.assertEqual(world.log, [])
        world.server.answer(self.HINT)
        self.assertEqual(world.flags(), [(502, "PH")])
        world.check_rest()

    def test_a_server_that_works_for_hours(self) -> None:
        """102 is there to say so (RFC 2518 section 10.1), and renews `timeout server`."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        for _ in range(10_000):
            world.advance(1)
            world.server.answer(self.PROCESSING)
        world.server.answer(OK)
        self.assertTrue(client.take().endswith(self.PROCESSING + OK))
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_each_request_has_its_own(self) -> None:
        """What was said to the one before it does not count."""
        world = World(self, warm=1)
        client = world.client()
        for _ in range(5):
            client.send(GET)
            world.server.answer(self.HINT * INTERIMS + OK)
        self.assertEqual(world.flags(), [(200, "--")] * 5)
        world.check_rest()


class ExpectTests(SynchronousTestCase):
    def asked(self, asks: bytes = ASKS, **settings: Any) -> tuple[World, Client, Wire]:
        world = World(self, warm=1, **settings)
        client = world.client()
        client.send(asks)
        (wire,) = [wire for wire in world.server.wires if wire.owner.exchange is not None]
        self.assertEqual(wire.take(), asks)
        return world, client, wire

    def test_the_server_asks_for_the_body(self) -> None:
        """The head alone goes on; then 100 comes back; then the body goes on; then the answer comes back."""
        world, client, wire = self.asked()
        wire.feed(GO_ON)
        self.assertEqual(client.take(), GO_ON)
        client.send(b"body")
        self.assertEqual(wire.take(), b"body")
        wire.feed(OK)
        self.assertEqual(client.take(), OK)
        self.assertEqual(len(world.server.pool.idle), 1)
        self.assertEqual((world.flags(), world.log[0].bytes_out), ([(200, "--")], len(GO_ON + OK)))
        world.check_rest()

    def test_the_client_does_not_wait(self) -> None:
        """RFC 9110: it need not wait for ever. The 100 that comes later goes on nevertheless."""
        world, client, wire = self.asked()
        client.send(b"bo")
        self.assertEqual(wire.take(), b"bo")
        wire.feed(GO_ON)
        client.send(b"dy")
        self.assertEqual((wire.take(), client.take()), (b"dy", GO_ON))
        wire.feed(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_the_server_wants_no_body(self) -> None:
        """A final answer instead: both connections end, since nobody knows whether the body will follow."""
        world, client, wire = self.asked()
        wire.feed(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(client.take(), b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nconnection: close\r\n\r\n")
        client.send(b"body")
        self.assertEqual(wire.take(), b"")
        self.assertEqual(world.server.pool.closed, {"response before the end of the request": 1})
        client.wire.eof()
        world.check_rest()

    def test_a_server_that_says_nothing(self) -> None:
        """It was its turn: 504 after `timeout server` (20 s), not 408 after `timeout client` (30 s)."""
        world, client, _ = self.asked()
        world.advance(19)
        self.assertEqual(client.take(), b"")
        world.advance(1)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 504 "))
        self.assertEqual(world.flags(), [(504, "sD")])
        client.wire.eof()
        world.check_rest()

    def test_a_server_that_says_nothing_after_more_than_the_client_takes(self) -> None:
        """While the client takes hints it is not the server's turn; afterwards it is again."""
        world, client, wire = self.asked()
        client.wire.stall()
        wire.feed((b"HTTP/1.1 103 E\r\nLink: " + b"x" * 1000 + b"\r\n\r\n") * 100)
        world.advance(25)
        self.assertEqual(world.log, [])
        client.wire.go_on()
        world.advance(20)
        self.assertEqual(world.flags(), [(504, "sD")])
        client.wire.eof()
        world.check_rest()

    def test_early_hints_are_no_continue(self) -> None:
        """103 gives the server new time, and the client none."""
        world, client, wire = self.asked()
        world.advance(15)
        wire.feed(b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n")
        world.advance(15)
        self.assertEqual(world.log, [])
        world.advance(5)
        self.assertEqual(world.flags(), [(504, "sD")])
        client.wire.eof()
        world.check_rest()

    def test_a_client_that_says_nothing_after_it(self) -> None:
        """From 100 on it is the client's turn: 408 after `timeout client`."""
        world, client, wire = self.asked()
        world.advance(15)
        wire.feed(GO_ON)
        world.advance(29)
        self.assertEqual(world.log, [])
        world.advance(1)
        self.assertTrue(client.take().startswith(GO_ON + b"HTTP/1.1 408 "))
        self.assertEqual(world.flags(), [(408, "cD")])
        client.wire.eof()
        world.check_rest()

    def test_a_client_that_stops_in_its_body(self) -> None:
        """It had begun without waiting."""
        world, client, _ = self.asked()
        client.send(b"bo")
        world.advance(30)
        self.assertEqual(world.flags(), [(408, "cD")])
        client.wire.eof()
        world.check_rest()

    def test_while_no_connection_is_there(self) -> None:
        """Neither is late while the dial is under way."""
        world = World(self)
        client = world.client()
        client.send(ASKS)
        world.advance(4)
        wire = world.server.connect()
        self.assertEqual(wire.take(), ASKS)
        world.advance(19)
        wire.feed(GO_ON)
        client.send(b"body")
        wire.feed(OK)
        self.assertEqual(client.take(), GO_ON + OK)
        world.check_rest()

    def test_a_body_that_came_at_once(self) -> None:
        """Then there is nothing to wait for."""
        world, client, wire = self.asked(ASKS + b"body")
        wire.feed(GO_ON + OK)
        self.assertEqual(client.take(), GO_ON + OK)
        world.check_rest()

    def test_without_a_body(self) -> None:
        """RFC 9110: a client must not; there is nothing to wait for either."""
        world, client, wire = self.asked(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n")
        wire.feed(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_http10_gets_no_100(self) -> None:
        """And its server is not asked for one."""
        world = World(self, warm=1)
        client = world.client()
        client.send(ASKS.replace(b"1.1", b"1.0") + b"body")
        (wire,) = world.server.wires
        self.assertNotIn(b"Expect", wire.take())
        wire.feed(GO_ON + OK)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
        world.check_rest()

    def test_the_connection_dies_after_100(self) -> None:
        """Some of an answer had come: the request is not sent again."""
        world, client, wire = self.asked(ASKS.replace(b"POST", b"PUT"))
        wire.feed(GO_ON)
        client.send(b"body")
        wire.reset()
        self.assertTrue(client.take().startswith(GO_ON + b"HTTP/1.1 502 "))
        self.assertEqual(world.flags(), [(502, "SH")])
        world.check_rest()

    def test_the_connection_dies_before_100(self) -> None:
        """An idle connection lost under it: what may be repeated goes to another, and then on as ever."""
        world, client, wire = self.asked(ASKS.replace(b"POST", b"PUT"))
        wire.reset()
        other = world.server.connect()
        self.assertEqual(other.take(), ASKS.replace(b"POST", b"PUT"))
        other.feed(GO_ON)
        client.send(b"body")
        self.assertEqual(other.take(), b"body")
        other.feed(OK)
        self.assertEqual(client.take(), GO_ON + OK)
        world.check_rest()
