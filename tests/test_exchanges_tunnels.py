"""Tunnels: what is asked, what is switched, and how both sides end (RFC 9110 sections 7.8 and 9.3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.exchanges.own_answers import ERRORS
from reusedproxy.net.transport import HALF, HIGH_WATER, PEER_RESET, PEER_TRUNCATED
from reusedproxy.sessions.termination import STOPPED
from tests.clientfakes import GET, OK, TIMEOUTS, World, get
from tests.rulefakes import ruled

#: How a wire was closed, and why; None: it was not.
End = tuple[str, str] | None
ASKS = get("/chat", "Connection: keep-alive, Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
YES = SWITCHED + b"Connection: Upgrade\r\n\r\n"
CONNECT = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
#: As it goes on: HAProxy takes a well-known port out of Host.
SENT_ON = b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"


class Tunnelled:
    """A world with one tunnel in it, both ends held."""

    def __init__(
        self,
        test: SynchronousTestCase,
        *,
        timeouts: Timeouts | None = None,
        early: bytes = b"",
        late: bytes = b"",
        request: bytes = ASKS,
        answer: bytes = YES,
        backend: dict[str, Any] | None = None,
    ) -> None:
        self.world = World(test, warm=1, timeouts=timeouts or TIMEOUTS, backend=backend)
        self.client = self.world.client()
        self.client.send(request + early)
        (self.wire,) = [wire for wire in self.world.server.wires if wire.owner.exchange is not None]
        self.asked = self.wire.take()
        self.world.server.answer(answer + late)
        self.answered = self.client.take()


class SwitchingTests(SynchronousTestCase):
    """From HTTP to another protocol."""

    def test_what_the_server_is_asked_and_the_client_told(self) -> None:
        """Upgrade goes on with a Connection of our own, both ways."""
        tunnel = Tunnelled(self)
        self.assertEqual(
            tunnel.asked, b"GET /chat HTTP/1.1\r\nHost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
        )
        self.assertEqual(tunnel.answered, SWITCHED + b"connection: upgrade\r\n\r\n")
        tunnel.client.send(b"from client")
        tunnel.wire.feed(b"from server")
        self.assertEqual((tunnel.wire.take(), tunnel.client.take()), (b"from client", b"from server"))

    def test_what_came_too_early_goes_through(self) -> None:
        """Bytes behind the request and behind the answer are the tunnel's."""
        tunnel = Tunnelled(self, early=b"GET / HTTP/1.1\r\n\r\n", late=b"\x00raw")
        self.assertTrue(tunnel.answered.endswith(b"\r\n\r\n\x00raw"))
        self.assertEqual(tunnel.wire.take(), b"GET / HTTP/1.1\r\n\r\n")

    def test_cut_at_every_byte(self) -> None:
        """Wherever the bytes are cut, the same is told to both."""
        for at in range(1, len(YES + b"late")):
            world = World(self, warm=1)
            client = world.client()
            client.send(ASKS[: at % len(ASKS)])
            client.send(ASKS[at % len(ASKS) :] + b"early")
            (wire,) = [wire for wire in world.server.wires if wire.owner.exchange is not None]
            wire.take()
            data = YES + b"late"
            wire.feed(data[:at])
            wire.feed(data[at:])
            self.assertEqual(client.take(), SWITCHED + b"connection: upgrade\r\n\r\nlate", at)
            self.assertEqual(wire.take(), b"early", at)
            client.wire.eof()
            wire.eof()
            world.check_rest()

    def test_a_server_that_does_not_switch(self) -> None:
        """It answers as ever, what followed is a request, and its connection is used again."""
        world = World(self, warm=1)
        client = world.client()
        client.send(ASKS + GET)
        world.server.answer(OK)
        world.server.answer(OK)
        self.assertEqual(client.take(), OK + OK)
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_426_says_what_it_wants(self) -> None:
        """RFC 9110 section 15.5.22: with Upgrade, which Connection must name."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 426 No\r\nUpgrade: x/1\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(
            client.take(), b"HTTP/1.1 426 No\r\nContent-Length: 0\r\nUpgrade: x/1\r\nconnection: upgrade\r\n\r\n"
        )
        world.check_rest()

    def test_a_switch_that_nobody_asked_for(self) -> None:
        """None, another protocol, one more, one without a name, one we did not offer: 502."""
        for request, answer in (
            (GET, YES),
            (ASKS, YES.replace(b"websocket", b"h2c")),
            (ASKS, YES.replace(b"websocket", b"websocket, foo")),
            (ASKS, b"HTTP/1.1 101 Ok\r\n\r\n"),
            (get("/", "Upgrade: websocket"), YES),
            (ASKS.replace(b"HTTP/1.1", b"HTTP/1.0"), YES),
            (get("/", "Connection: upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
                YES.replace(b"websocket", b"h2c")),
        ):  # fmt: skip
            world = World(self, warm=1)
            client = world.client()
            client.send(request)
            world.server.answer(answer + b"raw")
            self.assertTrue(client.take().startswith(b"HTTP/1.1 502 "), (request, answer))
            self.assertEqual(world.flags(), [(502, "PH")])
            self.assertEqual(world.server.pool.idle, [])
            world.check_rest()

    def test_interim_answers_before_it(self) -> None:
        """103, then 101."""
        tunnel = Tunnelled(self, answer=b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n" + YES)
        self.assertTrue(tunnel.answered.startswith(b"HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 101 "))


LENGTH = b"POST" + ASKS[3:-2] + b"Content-Length: 4\r\n\r\nbody"
BODIED = {"upgrade_with_body": True}
CHUNKED = b"POST" + ASKS[3:-2] + b"Transfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n"


class BodyTests(SynchronousTestCase):
    """The request has a body: the other protocol begins behind it (RFC 9110 section 7.8), where that is wished."""

    def test_it_is_not_offered_unasked(self) -> None:
        """Some servers take the body for their next request, which no rule has seen;
        HAProxy does not offer it either."""
        for request in (LENGTH, CHUNKED):
            world = World(self, warm=1)
            client = world.client()
            client.send(request)
            self.assertNotIn(b"pgrade", world.server.asked())
            world.server.answer(OK)
            self.assertEqual(client.take(), OK)
            client.send(request)
            world.server.answer(YES)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 502 "))
            last = world.server.pool.invalid.last
            assert last is not None
            self.assertIn("option http-upgrade-with-body", last.reason)
            world.check_rest()

    def test_it_is_offered_behind_the_body(self) -> None:
        """Whatever frames that."""
        for request in (LENGTH, CHUNKED):
            tunnel = Tunnelled(self, backend=BODIED, request=request, early=b"early", late=b"late")
            head, _, body = tunnel.asked.partition(b"\r\n\r\n")
            self.assertTrue(head.endswith(b"\r\nupgrade: websocket\r\nconnection: upgrade"), head)
            self.assertEqual(body, request.partition(b"\r\n\r\n")[2])
            self.assertTrue(tunnel.answered.endswith(b"\r\n\r\nlate"))
            self.assertEqual(tunnel.wire.take(), b"early")
            tunnel.client.wire.eof()
            tunnel.wire.eof()
            self.assertEqual(tunnel.world.flags(), [(101, "--")])
            tunnel.world.check_rest()

    def test_a_switch_before_the_end_of_the_request(self) -> None:
        """Wherever it comes, the tunnel begins behind the body's last byte, on both sides;
        until then nothing of it passes."""
        for request in (LENGTH, CHUNKED):
            for at in range(request.index(b"\r\n\r\n") + 4, len(request)):
                world = World(self, warm=1, backend=BODIED)
                client = world.client()
                client.send(request[:at])
                (wire,) = world.server.wires
                wire.feed(YES + b"late")
                wire.feed(b"r")
                self.assertEqual((client.take(), world.log), (b"", []))
                for byte in request[at:]:
                    client.send(bytes([byte]))
                client.send(b"early")
                wire.pump()
                self.assertEqual(client.take(), SWITCHED + b"connection: upgrade\r\n\r\nlater")
                self.assertTrue(wire.take().endswith(request.partition(b"\r\n\r\n")[2] + b"early"))
                client.wire.eof()
                wire.eof()
                self.assertEqual(world.flags(), [(101, "--")])
                world.check_rest()

    def test_a_switch_before_the_server_has_taken_the_request(self) -> None:
        """What waits for it goes first."""
        for stuck, reads in ((10, 200_000), (199_999, 30_000)):
            world = World(self, warm=1, backend=BODIED)
            client = world.client()
            client.wire.reads = reads
            body = bytes(200_000)
            request = LENGTH.replace(b": 4", b": 200000").replace(b"\r\n\r\nbody", b"\r\n\r\n")
            client.send(request + body[stuck:])
            (wire,) = world.server.wires
            wire.stall()
            client.send(body[:stuck])
            wire.feed(YES)
            self.assertEqual(client.take(), b"")
            while client.take() == b"":
                wire.pass_some(10_000)
                client.wire.pump()
            self.assertEqual((wire.unsent, wire.written.count(0)), (0, len(body)))
            client.send(b"early")
            wire.go_on()
            self.assertTrue(wire.take().endswith(b"early"))
            client.wire.eof()
            wire.eof()
            world.check_rest()

    def test_a_server_that_does_not_switch(self) -> None:
        """Its answer is as any; but its connection carries nothing else:
        some servers take such a body for their next request."""
        for request in (LENGTH, CHUNKED):
            world = World(self, warm=1, backend=BODIED)
            client = world.client()
            client.send(request)
            world.server.answer(OK)
            self.assertEqual((client.take(), world.flags()), (OK, [(200, "--")]))
            self.assertEqual(world.server.pool.closed, {"one request only": 1})
            client.send(GET)
            world.server.connect()
            world.server.answer(OK)
            self.assertEqual(client.take(), OK)
            world.check_rest()

    def test_a_client_that_leaves_before_the_end_of_its_request(self) -> None:
        """There was no tunnel yet."""
        for end in ("eof", "reset"):
            world = World(self, warm=1, backend=BODIED)
            client = world.client()
            client.send(LENGTH[:-2])
            world.server.answer(YES)
            getattr(client.wire, end)()
            self.assertEqual(world.flags(), [(-1, "CD")])
            self.assertEqual(world.server.pool.closed, {"client gone": 1})
            world.check_rest()

    def test_a_client_that_stops_in_its_request(self) -> None:
        """It is late, as any."""
        world = World(self, warm=1, backend=BODIED)
        client = world.client()
        client.send(LENGTH[:-2])
        world.server.answer(YES)
        world.advance(31)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))
        self.assertEqual(world.flags(), [(408, "cD")])
        client.wire.eof()
        world.check_rest()

    def test_a_server_that_takes_no_more_of_it(self) -> None:
        """`timeout server`, though it has switched."""
        world = World(self, warm=1, backend=BODIED)
        client = world.client()
        (wire,) = world.server.wires
        client.send(LENGTH[:-2].replace(b": 4", b": 200002"))
        wire.stall()
        client.send(bytes(100_000))
        wire.feed(YES)
        world.advance(21)
        self.assertEqual(world.flags(), [(504, "sD")])
        client.wire.eof()
        world.check_rest()

    def test_in_place_of_100(self) -> None:
        """RFC 9110 section 7.8: 100 comes first, or the client would wait for it."""
        world = World(self, warm=1, backend=BODIED)
        client = world.client()
        client.send(LENGTH[:-4].replace(b"Host", b"Expect: 100-continue\r\nHost"))
        world.server.answer(YES)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 502 "))
        self.assertEqual(world.flags(), [(502, "PH")])
        client.wire.eof()
        world.check_rest()

    def test_h2c_is_not_offered_with_a_body_either(self) -> None:
        """Nor taken."""
        world = World(self, warm=1, backend=BODIED)
        client = world.client()
        client.send(LENGTH.replace(b"websocket", b"h2c"))
        self.assertNotIn(b"h2c", world.server.asked())
        world.server.answer(YES.replace(b"websocket", b"h2c"))
        self.assertEqual(world.flags(), [(502, "PH")])
        world.check_rest()


class ConnectTests(SynchronousTestCase):
    """CONNECT goes to the server, which decides; as HAProxy."""

    def test_a_tunnel(self) -> None:
        """2xx begins it, whatever its fields say of a body."""
        for field in (b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
            answer = b"HTTP/1.1 200 OK\r\n" + field + b"\r\n"
            tunnel = Tunnelled(self, request=CONNECT, answer=answer, early=b"hi", late=b"ho")
            self.assertEqual(tunnel.asked, SENT_ON)
            self.assertEqual((tunnel.answered, tunnel.wire.take()), (b"HTTP/1.1 200 OK\r\n\r\nho", b"hi"))

    def test_failed(self) -> None:
        """The same when no server answers: neither a 502 nor a 503 of ours lets it go on with requests."""
        ways: list[Callable[[World], None]] = [
            lambda world: world.server.eof(),
            lambda world: world.server.answer(b"junk\r\n"),
        ]
        for fails in ways:
            world = World(self, warm=1, backend={"retries": 0})
            client = world.client()
            client.send(CONNECT + GET)
            self.assertEqual(world.server.asked(), SENT_ON)
            fails(world)
            self.assertEqual(client.take(), ERRORS[502])
            self.assertEqual(world.server.asked(), b"")
            client.wire.eof()
            self.assertTrue(client.gone)
            world.check_rest()

    def test_refused(self) -> None:
        """What was sent for the tunnel is not read as requests."""
        world = World(self, warm=1)
        client = world.client()
        client.send(CONNECT + GET)
        world.server.answer(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(client.take(), b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nconnection: close\r\n\r\n")
        self.assertEqual(client.wire.end, ("drain", "asked for by the request"))
        self.assertEqual(world.flags(), [(405, "--")])
        world.check_rest()

    def test_refused_up_to_the_end_of_the_connection(self) -> None:
        """A tunnel would carry to the server, past all rules, whatever the client sends on."""
        world = World(self, warm=1)
        client = world.client()
        client.send(CONNECT)
        world.server.asked()
        world.server.answer(b"HTTP/1.1 403 No\r\n\r\nno")
        client.send(GET)
        self.assertEqual(world.server.asked(), b"")
        world.server.eof()
        answer = b"HTTP/1.1 403 No\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nno\r\n0\r\n\r\n"
        self.assertEqual((client.take(), world.flags()), (answer, [(403, "--")]))
        world.check_rest()

    def test_refused_by_us(self) -> None:
        """Nor when there is no server, or it breaks the connection: after these errors other clients may ask again."""
        for warm, status, flags in ((0, 503, "SC"), (1, 502, "SH")):
            world = World(self, warm=warm, backend={"retries": 0})
            client = world.client()
            client.send(CONNECT + GET)
            if warm:
                world.server.reset()
            else:
                world.server.refuse()
            answer = client.take()
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status))
            self.assertIn(b"\r\nconnection: close\r\n", answer)
            self.assertEqual(client.wire.end, ("drain", "error"))
            self.assertEqual(world.flags(), [(status, flags)])
            world.check_rest()


class EndTests(SynchronousTestCase):
    """Each side ends for itself."""

    def check(self: SynchronousTestCase, tunnel: Tunnelled, flags: str, ends: tuple[End, End]) -> None:
        self.assertEqual(tunnel.world.flags(), [(101, flags)])
        self.assertEqual((tunnel.client.wire.end, tunnel.wire.end), ends)
        self.assertEqual(tunnel.world.server.pool.closed, {"tunnel over": 1})
        tunnel.world.check_rest()

    closed = (("close", "tunnel"), ("close", "tunnel over"))
    reset = (("abort", "exchange broken off"), ("abort", "tunnel over"))

    def test_the_client_first(self) -> None:
        """It ends its half; the server goes on, and ends later."""
        tunnel = Tunnelled(self)
        tunnel.client.wire.eof()
        self.assertTrue(tunnel.wire.half_closed)
        tunnel.wire.feed(b"last words")
        self.assertEqual(tunnel.client.take(), b"last words")
        self.assertEqual(tunnel.world.log, [])
        tunnel.wire.eof()
        self.check(tunnel, "--", self.closed)

    def test_the_server_first(self) -> None:
        """And the other way round."""
        tunnel = Tunnelled(self)
        tunnel.wire.eof()
        self.assertTrue(tunnel.client.wire.half_closed)
        tunnel.client.send(b"last words")
        self.assertEqual(tunnel.wire.take(), b"last words")
        tunnel.client.wire.eof()
        self.check(tunnel, "--", self.closed)

    def test_the_client_before_it_began(self) -> None:
        """A client that ended its side behind its request has only to listen."""
        world = World(self, warm=1)
        client = world.client()
        client.send(ASKS)
        client.wire.eof()
        (wire,) = [wire for wire in world.server.wires if wire.owner.exchange is not None]
        wire.feed(YES)
        self.assertTrue(wire.half_closed)
        wire.feed(b"news")
        self.assertTrue(client.take().endswith(b"\r\n\r\nnews"))
        wire.eof()
        self.assertEqual(world.flags(), [(101, "--")])
        world.check_rest()

    def test_a_client_that_is_gone_when_it_is_told(self) -> None:
        """Writing may find that out at once, with a head as large as a larger tune.bufsize allows."""
        world = World(self, warm=1)
        client = world.client()
        client.send(ASKS)
        client.wire.write = lambda data: client.wire.reset()
        world.server.answer(YES + b"raw")
        self.assertEqual(world.flags(), [(101, "CD")])
        self.assertEqual(world.server.pool.closed, {"client gone": 1})
        self.assertEqual(world.deadlines.watching(), 0)
        world.check_rest()

    def test_resets_reach_the_other_side(self) -> None:
        """A reset is no end; the other side can tell."""
        tunnel = Tunnelled(self)
        tunnel.client.wire.reset()
        self.assertEqual(tunnel.wire.end, self.reset[1])
        self.check(tunnel, "CD", (None, self.reset[1]))
        for reason in (PEER_RESET, "TLS: bad record mac"):
            tunnel = Tunnelled(self)
            tunnel.wire.reset(reason)
            self.check(tunnel, "SD", (self.reset[0], None))

    def test_the_daemon_stops(self) -> None:
        """It is the operator who ended it."""
        tunnel = Tunnelled(self)
        tunnel.client.wire.abort(STOPPED)
        self.check(tunnel, "KD", (("abort", STOPPED), self.reset[1]))

    def test_an_end_without_close_notify(self) -> None:
        """What came before it goes through; many servers end so."""
        tunnel = Tunnelled(self)
        tunnel.wire.feed(b"bye")
        tunnel.wire.reset(PEER_TRUNCATED)
        self.assertEqual(tunnel.client.take(), b"bye")
        self.check(tunnel, "--", (self.closed[0], None))

    def test_what_is_unsent_still_goes_out(self) -> None:
        """The end waits behind the bytes."""
        tunnel = Tunnelled(self)
        tunnel.client.wire.stall()
        tunnel.wire.feed(b"x" * 1000)
        tunnel.wire.eof()
        tunnel.client.wire.eof()
        self.assertFalse(tunnel.client.gone)
        tunnel.client.wire.go_on()
        self.assertEqual(tunnel.client.take(), b"x" * 1000)
        self.check(tunnel, "--", self.closed)

    def test_numbers(self) -> None:
        """Bytes both ways are counted with the heads."""
        tunnel = Tunnelled(self)
        tunnel.client.send(b"12345")
        tunnel.wire.feed(b"123")
        tunnel.client.wire.eof()
        tunnel.wire.eof()
        (exchange,) = tunnel.world.log
        self.assertEqual((exchange.bytes_in, exchange.bytes_out), (len(tunnel.asked) + 5, len(tunnel.answered) + 3))
        self.assertEqual(tunnel.world.server.server.traffic.hrsp[1], 1)
        self.assertEqual(tunnel.world.backend.traffic.bin, exchange.bytes_in)

    def test_who_broke_it_is_counted(self) -> None:
        """Resets and time-outs, at server and backend; an end of both sides is nobody's abort."""
        silent = evolve(TIMEOUTS, tunnel=1.0)
        for end, timeouts, counted in (
            (lambda tunnel: tunnel.client.wire.reset(), None, (1, 0)),
            (lambda tunnel: tunnel.wire.reset(), None, (0, 1)),
            (lambda tunnel: tunnel.world.advance(1), silent, (1, 0)),
            (lambda tunnel: (tunnel.client.wire.eof(), tunnel.world.advance(1)), silent, (0, 1)),
            (lambda tunnel: (tunnel.client.wire.eof(), tunnel.wire.eof()), None, (0, 0)),
        ):
            tunnel = Tunnelled(self, timeouts=timeouts)
            end(tunnel)
            for traffic in (tunnel.world.backend.traffic, tunnel.world.server.server.traffic):
                self.assertEqual((traffic.cli_abrt, traffic.srv_abrt), counted, tunnel.world.flags())
            tunnel.world.check_rest()

    def test_it_holds_its_place(self) -> None:
        """At the server, and against the listener's bound, until it ends."""
        tunnel = Tunnelled(self)
        world = tunnel.world
        self.assertEqual((world.server.server.served, world.places.taken), (1, 1))
        tunnel.wire.eof()
        self.assertEqual((world.server.server.served, world.places.taken), (1, 1))
        tunnel.client.wire.eof()
        self.assertEqual((world.server.server.served, world.places.taken), (0, 0))

    def test_a_stopping_proxy_lets_it_go_on(self) -> None:
        """As HAProxy's soft stop."""
        tunnel = Tunnelled(self)
        tunnel.world.frontend.stop()
        tunnel.client.send(b"still here")
        self.assertEqual(tunnel.wire.take(), b"still here")


class PaceTests(SynchronousTestCase):
    """A slow side pauses the fast one, and silence ends both."""

    def test_a_slow_side(self) -> None:
        """In both directions."""
        tunnel = Tunnelled(self)
        for slow, fast in ((tunnel.client.wire, tunnel.wire), (tunnel.wire, tunnel.client.wire)):
            slow.stall()
            fast.reads = 16 * 1024
            fast.feed(b"x" * (HIGH_WATER * 4))
            self.assertFalse(fast.reading)
            self.assertLess(slow.most_unsent, HIGH_WATER + 32 * 1024)
            slow.go_on()
            while fast.incoming:
                fast.pump()
            self.assertEqual(
                slow.size, HIGH_WATER * 4 + (len(tunnel.answered) if slow is tunnel.client.wire else len(tunnel.asked))
            )
            self.assertTrue(fast.reading)

    def test_a_client_that_was_slow_before(self) -> None:
        """What it has not taken yet counts: the server is not read before."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(ASKS)
        (wire,) = [wire for wire in world.server.wires if wire.owner.exchange is not None]
        wire.feed((b"HTTP/1.1 103 E\r\nLink: " + b"x" * 2000 + b"\r\n\r\n") * 10 + YES + b"raw")
        self.assertFalse(wire.reading)
        client.wire.go_on()
        self.assertTrue(client.take().endswith(b"raw"))
        self.assertTrue(wire.reading)

    def ends_after(self, seconds: float, tunnel: Tunnelled, flags: str) -> None:
        tunnel.world.advance(seconds - 1)
        self.assertEqual(tunnel.world.log, [])
        tunnel.world.advance(1)
        EndTests.check(self, tunnel, flags, EndTests.closed)

    def test_timeout_tunnel(self) -> None:
        """It supersedes the client's and the server's; each byte begins it anew."""
        tunnel = Tunnelled(self, timeouts=evolve(TIMEOUTS, tunnel=600.0))
        tunnel.world.advance(590)
        tunnel.client.send(b"1")
        tunnel.world.advance(590)
        tunnel.wire.feed(b"2")
        self.ends_after(600, tunnel, "cD")

    def test_a_rule_sets_the_servers_time_and_the_tunnel_has_its_own(self) -> None:
        """`http-response set-timeout server`: of what is left of an answer, which a tunnel is not."""
        rules = "http-response set-timeout server 1s\n http-response set-timeout tunnel 600s"
        world = ruled(self, "", backend=rules, warm=1)
        client = world.client()
        client.send(ASKS)
        world.server.answer(YES)
        self.assertIn(b" 101 ", client.take())
        world.advance(590)
        client.send(b"1")
        world.advance(590)
        self.assertEqual(world.log, [])
        world.advance(11)
        self.assertEqual([each.flags for each in world.log], ["cD"])
        world.check_rest()

    def test_without_it(self) -> None:
        """The shorter of `timeout client` (30 s) and `timeout server` (20 s)."""
        self.ends_after(20, Tunnelled(self), "cD")

    def test_client_fin(self) -> None:
        """Once one direction is shut, whoever is still to end has that long."""
        timeouts = evolve(TIMEOUTS, tunnel=600.0, client_fin=3.0)
        tunnel = Tunnelled(self, timeouts=timeouts)
        tunnel.client.wire.eof()
        tunnel.world.advance(2)
        tunnel.wire.feed(b"more")
        self.ends_after(3, tunnel, "sD")
        tunnel = Tunnelled(self, timeouts=timeouts)
        tunnel.wire.eof()
        self.ends_after(3, tunnel, "cD")

    def test_server_fin(self) -> None:
        """The same from the server's section."""
        tunnel = Tunnelled(self, timeouts=evolve(TIMEOUTS, tunnel=600.0, client_fin=30.0, server_fin=5.0))
        tunnel.client.wire.eof()
        self.ends_after(5, tunnel, "sD")

    def test_a_reader_that_is_slow_is_not_silent(self) -> None:
        """Taking bytes is a sign of life, however few, and also when one direction is shut; taking none is silence."""
        for size, shut in ((HIGH_WATER * 4, False), (HIGH_WATER // 2, True)):
            tunnel = Tunnelled(self)
            tunnel.client.wire.stall()
            tunnel.wire.feed(b"x" * size)
            if shut:
                tunnel.wire.eof()
                self.assertEqual(tunnel.client.wire.state, HALF)
            for _ in range(20):
                tunnel.world.advance(15)
                tunnel.client.wire.pass_some(100)
            self.assertEqual(tunnel.world.log, [])
            tunnel.world.advance(20)
            self.assertEqual(tunnel.world.log, [])
            tunnel.world.advance(20)
            self.assertEqual(tunnel.world.flags(), [(101, "cD")])
            tunnel.client.wire.reset()
            tunnel.world.check_rest()

    def test_a_reader_that_takes_nothing(self) -> None:
        """It has as long as the time-out says, and no longer."""
        tunnel = Tunnelled(self)
        tunnel.client.wire.stall()
        tunnel.wire.feed(b"x" * (HIGH_WATER * 4))
        tunnel.world.advance(19)
        self.assertEqual(tunnel.world.log, [])
        tunnel.world.advance(1)
        self.assertEqual(tunnel.world.flags(), [(101, "cD")])
        tunnel.client.wire.reset()
        tunnel.world.check_rest()
