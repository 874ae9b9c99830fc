"""A hostile client: any bytes as its stream, in any pieces, and servers behind the proxy that take exactly requests.

What reaches them is compared with what h11 reads in the whole stream; tunnels, retries and early answers included.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import CLOSED, HALF, OPEN
from tests.clientfakes import Client, Wire, World
from tests.fuzz import oracles
from tests.fuzz.messages import LIMITS
from tests.fuzz.streams import LONG, Failures, errors_of_ours, pieces_of
from tests.wireoracles import normalised

# The flags: how servers answer, whether a connection stands ready, and that the client then ends its side.
EARLY, CHUNKED, INTERIM, CLOSING, WARM, HALF_CLOSE, DELAYED, DYING = 1, 2, 4, 8, 16, 32, 64, 128
# The kind: servers let clients leave HTTP.
TUNNEL = 1

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"))


@define
class Reached:
    """A request of which a server has read the head; `body` is None until it has all."""

    method: bytes
    target: bytes
    body: bytes | None = None
    #: The connection ended instead of an answer; the client had got so many bytes then.
    lost: int | None = None
    upgrade: bytes = b""
    #: What came behind it, once it was granted to leave HTTP, and what was said there.
    tunnel: bytes | None = None
    said: bytes = b""


class StrictServer:
    """The server's end of one connection: reads with h11, and answers as the flags say."""

    def __init__(self, wire: Wire, client: Client, flags: int, kind: int, reached: list[Reached]) -> None:
        self.wire = wire
        self.client = client
        self.flags = flags
        self.kind = kind
        self.reached = reached
        self.data = b""
        self.current: Reached | None = None
        self.answered = False
        self.requests = 0

    def pump(self) -> bool:
        """Read what has come and answer it; whether there was anything."""
        data = self.wire.take()
        if self.current is not None and self.current.tunnel is not None:
            self._echo(self.current, data)
            return bool(data)
        if data:
            self.data += data
        elif not self.data or self.current is not None:
            return False
        request = oracles.read_request(self.data)  # what h11 refuses was not ours to send on
        if request is None:
            return bool(data)
        if self.current is None:
            self.current = Reached(request.method, request.target, upgrade=oracles.upgrade_of(request))
            self._note(self.current)
            self.answered = False
        if request.body is not None:
            message = self.data[: len(self.data) - len(request.rest)]
            oracles.check_with_httptools(message, request.method, request.body)
            self.current.body = request.body
        if not self.answered and (request.body is not None or self.flags & EARLY):
            self.answered = True
            if self.flags & DYING and self.requests > 1 and self.wire.state == OPEN:
                self.current.lost = self.client.wire.size
                self.wire.eof()
                return True
            if self.kind & TUNNEL and (request.method == b"CONNECT" or self.current.upgrade):
                self._grant(self.current)
            else:
                self._answer(request)
        if request.body is not None and self.current.said:
            self.current.tunnel = b""
            self._echo(self.current, request.rest)
        elif request.body is not None:
            self.current = None
            self.data = request.rest
        return True

    def _note(self, request: Reached) -> None:
        """It is the next, or once more the last that got no answer, if it may be repeated (RFC 9110 9.2.2)."""
        self.requests += 1
        if self.reached and self.reached[-1].lost == self.client.wire.size:  # it has got no error for it
            before = self.reached.pop()
            assert (before.method, before.target) == (request.method, request.target), "another request after a loss"
            assert before.method in _IDEMPOTENT, "a request was repeated that may not be"
        self.reached.append(request)

    def _grant(self, request: Reached) -> None:
        """Leave HTTP, and say something at once. What comes to the end of the request is of that."""
        request.said = b"hello"
        upgraded = b"101 Switching\r\nConnection: upgrade\r\nUpgrade: %b" % request.upgrade
        self._speak(b"HTTP/1.1 %b\r\n\r\nhello" % (b"200 OK" if request.method == b"CONNECT" else upgraded))

    def _echo(self, request: Reached, data: bytes) -> None:
        assert request.tunnel is not None
        request.tunnel += data
        if data and self.wire.state <= HALF:
            request.said += data
            self._speak(data)

    def _answer(self, request: oracles.Request) -> None:
        refused = request.method == b"CONNECT"  # or a tunnel would begin
        status = b"405 No" if refused else b"200 OK"
        body = b"%d bytes" % len(request.body or b"")
        head = b"HTTP/1.1 %b\r\n%b" % (status, b"Connection: close\r\n" if self.flags & CLOSING else b"")
        if self.flags & CHUNKED:
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x;a=b\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(body), body)
        else:
            head += b"Content-Length: %d\r\n\r\n" % len(body)
        if request.method == b"HEAD":
            body = b""
        if self.flags & INTERIM:
            head = b"HTTP/1.1 100 Continue\r\n\r\n" + head
        self._speak(head + body)
        if self.flags & CLOSING and self.wire.state == OPEN:
            self.wire.eof()

    def _speak(self, data: bytes) -> None:
        if self.wire.state <= HALF:
            self.wire.feed(data)


def check_client_stream(data: bytes) -> None:
    """Any bytes of a client: no server gets a request more, or another one, than the stream holds to h11."""
    flags, kind, pieces = pieces_of(data)
    outcome = _play(flags, kind, pieces)
    if len(pieces) > 1 and not flags & EARLY:  # an early answer may come before a request's end, or behind it
        assert outcome == _play(flags, kind, [b"".join(pieces)]), "the cuts made a difference"


def _play(flags: int, kind: int, pieces: list[bytes]) -> tuple[object, ...]:
    """One client and its servers, in a world of their own; what came of it, as far as cuts make no difference to it."""
    with Failures():
        world = World(SynchronousTestCase(), warm=1 if flags & WARM else 0, limits=LIMITS)
        client = world.client()
        reached: list[Reached] = []
        ends = Ends(world, client, flags, kind, reached)
        for piece in pieces:
            client.send(piece)
            if not flags & DELAYED:
                ends.pump()
        ends.pump()
        if flags & HALF_CLOSE and client.wire.state == OPEN:
            client.wire.eof()
            ends.pump()
        asked = oracles.requests_in(b"".join(pieces))
        _check_reached(reached, asked)
        _check_answers(client, reached, asked)
        if client.wire.state != CLOSED:
            client.wire.eof()
        ends.pump()
        _check_reached(reached, asked)
        world.advance(LONG)
        world.check_rest()
    whole = [(each.method, each.target, each.body, each.tunnel) for each in reached if each.body is not None]
    # Which fault of several is seen first, and with it the status, is the cuts' affair.
    return whole, client.connection.requests, [min(each.status, 400) for each in world.log]


class Ends:
    """All servers' ends of connections, those that come included."""

    def __init__(self, world: World, client: Client, flags: int, kind: int, reached: list[Reached]) -> None:
        self.world = world
        self.make: Callable[[Wire], StrictServer] = lambda wire: StrictServer(wire, client, flags, kind, reached)
        self.ends: dict[int, StrictServer] = {}

    def pump(self) -> None:
        """Take what dials there are, and read and answer until nothing moves."""
        server = self.world.server
        busy = True
        while busy:
            busy = bool(server.dialer.open)
            while server.dialer.open:
                server.connect()
            for wire in list(server.wires):
                if id(wire) not in self.ends:
                    self.ends[id(wire)] = self.make(wire)
                busy = self.ends[id(wire)].pump() or busy


def _check_reached(reached: list[Reached], asked: list[oracles.Request]) -> None:
    """What reached servers is the beginning of what h11 reads in the client's stream."""
    assert len(reached) <= len(asked), f"{len(reached)} requests of {len(asked)}"
    for ours, theirs in zip(reached, asked, strict=False):
        target, _ = normalised(theirs.method, theirs.target, theirs.fields)
        assert (ours.method, ours.target) == (theirs.method, target), "another request"
        assert ours.body is None or ours.body == theirs.body, "another body"
        assert not ours.upgrade or oracles.upgrade_of(theirs), "an upgrade that nobody asked for"
        assert not ours.upgrade or not theirs.body, (
            "an upgrade is offered with a body, which httptools takes for a request"
        )
        assert b"h2c" not in [each.strip() for each in ours.upgrade.lower().split(b",")], "h2c goes on"
        # Also behind a CONNECT that was refused: those bytes were meant for the tunnel.
        leaves = ours.method == b"CONNECT" or ours.tunnel is not None
        assert ours.method != b"CONNECT" or not ours.body, "a tunnel with a body"
        assert not leaves or ours is reached[-1], "a request behind a tunnel"
        assert ours.tunnel is None or theirs.rest.startswith(ours.tunnel), "other bytes in the tunnel"


def _check_answers(client: Client, reached: list[Reached], asked: list[oracles.Request]) -> None:
    """The client gets one answer to each request that a server has read, in order,
    and at most one error behind them."""
    data = client.wire.written
    broken = client.wire.end is not None and client.wire.end[0] == "abort"
    closed = client.wire.end is not None and not broken
    for number in range(len(reached) + 1):
        ours = reached[number] if number < len(reached) else None
        if not data:
            assert ours is None or ours.body is None or broken, "a request without an answer"
            return
        if ours is None:
            # Ours, to what could not be sent on; with a body also to a HEAD whose head could not be read.
            method = asked[number].method if number < len(asked) else b"GET"
            assert data in errors_of_ours(method) + errors_of_ours(b"GET"), "no error of ours"
            return
        if ours.tunnel is not None:
            head, _, through = data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
            assert head[9:12] == (b"200" if ours.method == b"CONNECT" else b"101"), "a tunnel behind another answer"
            assert through == ours.said or (broken and ours.said.startswith(through)), "other bytes from the tunnel"
            return
        answer = oracles.read_response(data, ours.method, closed)
        assert answer is not None and (answer.body is not None or broken or not closed), "half an answer"
        data = answer.rest
