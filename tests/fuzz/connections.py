"""What the whole proxy promises of a connection: any bytes of a client, or of a server, between real frontend and pool.

The proxy runs in memory (tests/clientfakes.py). Its other side is always well behaved and suspicious: the servers behind
a hostile client read with h11 alone and take nothing that is not exactly requests; the second client of a hostile
server must get what was sent for it, byte for byte.

The first CONTROL bytes of an input are flags, two places to cut at (two bytes each), and the size of the pieces between.
"""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from attrs import define
from twisted.logger import globalLogPublisher

from reusedproxy.clients.answers import ERRORS, error_answer
from reusedproxy.net.transport import CLOSED, OPEN, PEER_RESET
from tests.clientfakes import Client, Wire, World
from tests.fuzz import oracles
from tests.fuzz.messages import LIMITS

CONTROL = 6

# The flags of a client's stream, and of a server's.
EARLY, CHUNKED, INTERIM, CLOSING, WARM, HALF_CLOSE, DELAYED, DYING = 1, 2, 4, 8, 16, 32, 64, 128
METHOD, OLD, _WARM, EOF, RESET, LATE_END, PAUSE = 3, 4, 16, 32, 64, 128, 8

_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"))
#: Longer than any time-out.
_LONG = 100.0
_FOR_SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-For: second\r\n\r\nsecond"


class Failures:
    """What the proxy logs as a failure of its own; there must be none."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: Any) -> None:
        if "log_failure" in event:
            self.seen.append(event["log_failure"].getTraceback())

    def __enter__(self) -> Failures:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        globalLogPublisher.removeObserver(self)
        if kind is None:
            assert not self.seen, "\n".join(self.seen)


def pieces_of(data: bytes) -> tuple[int, list[bytes]]:
    """The flags of an input, and its stream in pieces."""
    control, stream = data[:CONTROL].ljust(CONTROL, b"\0"), data[CONTROL:]
    flags, size = control[0], control[5]
    first, second = sorted(int.from_bytes(control[at : at + 2], "big") % (len(stream) + 1) for at in (1, 3))
    middle = stream[first:second]
    size = size or len(middle) or 1
    between = [middle[at : at + size] for at in range(0, len(middle), size)]
    return flags, [piece for piece in (stream[:first], *between, stream[second:]) if piece]


# A hostile client.


@define
class Reached:
    """A request of which a server has read the head; `body` is None until it has all."""

    method: bytes
    target: bytes
    body: bytes | None = None
    #: The connection ended instead of an answer.
    lost: bool = False


class StrictServer:
    """The server's end of one connection: reads with h11, and answers as the flags say."""

    def __init__(self, wire: Wire, flags: int, reached: list[Reached]) -> None:
        self.wire = wire
        self.flags = flags
        self.reached = reached
        self.data = b""
        self.current: Reached | None = None
        self.answered = False
        self.requests = 0

    def pump(self) -> bool:
        """Read what has come and answer it; whether there was anything."""
        data = self.wire.take()
        if data:
            self.data += data
        elif not self.data or self.current is not None:
            return False
        request = oracles.read_request(self.data)  # what h11 refuses was not ours to send on
        if request is None:
            return bool(data)
        if self.current is None:
            self.current = Reached(request.method, request.target)
            self._note(self.current)
            self.answered = False
        if request.body is not None:
            message = self.data[: len(self.data) - len(request.rest)]
            oracles.check_with_httptools(message, request.method, request.body)
            self.current.body = request.body
        if not self.answered and (request.body is not None or self.flags & EARLY):
            self.answered = True
            if self.flags & DYING and self.requests > 1 and self.wire.state == OPEN:
                self.current.lost = True
                self.wire.eof()
                return True
            self._answer(request)
        if request.body is not None:
            self.current = None
            self.data = request.rest
        return True

    def _note(self, request: Reached) -> None:
        """It is the next, or once more the last that got no answer, if it may be repeated (RFC 9110 9.2.2)."""
        self.requests += 1
        if self.reached and self.reached[-1].lost:
            before = self.reached.pop()
            assert (before.method, before.target) == (request.method, request.target), "another request after a loss"
            assert before.method in _IDEMPOTENT, "a request was repeated that may not be"
        self.reached.append(request)

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
        if self.wire.state == OPEN:
            self.wire.feed(data)


def check_client_stream(data: bytes) -> None:
    """Any bytes of a client: no server gets a request more, or another one, than the stream holds to h11."""
    flags, pieces = pieces_of(data)
    with Failures():
        world = World(TestCase(), warm=1 if flags & WARM else 0, limits=LIMITS)  # type: ignore[arg-type]
        client = world.client()
        reached: list[Reached] = []
        ends: dict[int, StrictServer] = {}
        for piece in pieces:
            client.send(piece)
            if not flags & DELAYED:
                _serve(world, ends, flags, reached)
        _serve(world, ends, flags, reached)
        if flags & HALF_CLOSE and client.wire.state == OPEN:
            client.wire.eof()
            _serve(world, ends, flags, reached)
        asked = oracles.requests_in(b"".join(pieces))
        _check_reached(reached, asked)
        _check_answers(client, reached, asked)
        if client.wire.state != CLOSED:
            client.wire.eof()
        _serve(world, ends, flags, reached)
        _check_reached(reached, asked)
        world.advance(_LONG)
        world.check_rest()


def _serve(world: World, ends: dict[int, StrictServer], flags: int, reached: list[Reached]) -> None:
    """Servers take what dials there are, and read and answer until nothing moves."""
    server = world.server
    busy = True
    while busy:
        busy = bool(server.dialer.open)
        while server.dialer.open:
            server.connect()
        for wire in list(server.wires):
            end = ends.get(id(wire))
            if end is None:
                end = ends[id(wire)] = StrictServer(wire, flags, reached)
            busy = end.pump() or busy


def _check_reached(reached: list[Reached], asked: list[oracles.Request]) -> None:
    """What reached servers is the beginning of what h11 reads in the client's stream."""
    assert len(reached) <= len(asked), f"{len(reached)} requests of {len(asked)}"
    for ours, theirs in zip(reached, asked, strict=False):
        assert (ours.method, ours.target) == (theirs.method, theirs.target), "another request"
        assert ours.body is None or ours.body == theirs.body, "another body"


def _check_answers(client: Client, reached: list[Reached], asked: list[oracles.Request]) -> None:
    """The client gets one answer to each request that a server has read, in order, and at most one error behind them."""
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
            assert any(data in (page, error_answer(status, method)) for status, page in ERRORS.items()), (
                "no error of ours"
            )
            return
        method = ours.method
        answer = oracles.read_response(data, method, closed)
        assert answer is not None and (answer.body is not None or broken or not closed), "half an answer"
        data = answer.rest


# A hostile server.


@define
class Scene:
    """The hostile server, and what it has said on each connection."""

    world: World
    said: dict[int, bytes]
    wire: Wire | None = None
    #: The connection that carried the first client's request last.
    carrier: Wire | None = None
    ended: bool = False

    def look(self) -> None:
        """Take what dials there are, and see where the request is now."""
        server = self.world.server
        while server.dialer.open:
            server.connect()
        busy = server.busy
        if busy:
            self.wire = self.carrier = busy[0]

    def speak(self, piece: bytes) -> None:
        if self.wire is not None and self.wire.state == OPEN:
            self.said[id(self.wire)] = self.said.get(id(self.wire), b"") + piece
            self.wire.feed(piece)
        self.look()

    def end(self, flags: int) -> None:
        """The server ends the connection that it spoke on, in one way or the other."""
        wire = self.wire
        if wire is None or wire.state != OPEN or not flags & (EOF | RESET):
            return
        if flags & RESET:
            wire.reset(PEER_RESET)
        else:
            self.ended = wire is self.carrier
            wire.eof()
        self.look()


def check_server_stream(data: bytes) -> None:
    """Any bytes of a server: its first client gets what h11 reads in them or an error, the second nothing of them."""
    flags, pieces = pieces_of(data)
    method = (b"GET", b"HEAD", b"POST", b"OPTIONS")[flags & METHOD]
    version = b"HTTP/1.0" if flags & OLD else b"HTTP/1.1"
    with Failures():
        world = World(TestCase(), warm=1 if flags & _WARM else 0, limits=LIMITS)  # type: ignore[arg-type]
        first = world.client()
        first.send(b"%b / %b\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % (method, version))
        scene = Scene(world, {})
        scene.look()
        for piece in pieces:
            scene.speak(piece)
            if flags & PAUSE:
                world.clock.advance(0.01)
        if not flags & LATE_END:
            scene.end(flags)
        carrier, ended = scene.carrier, scene.ended
        assert carrier is not None
        second = world.client(("192.0.2.8", 4712))
        second.send(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        _answer_second(scene, second, carrier, method)
        _check_first(first, method, scene.said.get(id(carrier), b""), ended)
        scene.end(flags)
        for client in (first, second):
            if client.wire.state != CLOSED:
                client.wire.eof()
        world.advance(_LONG)
        world.check_rest()


def _answer_second(scene: Scene, second: Client, carrier: Wire, method: bytes) -> None:
    """The second client's request is on a connection of which nothing is left to be read, and gets its own answer."""
    world = scene.world
    while world.server.dialer.open:
        world.server.connect()
    wires = [wire for wire in world.server.busy if wire.peer.exchange.client is second.connection]
    assert len(wires) == 1, "the second request went nowhere"
    if wires[0] is carrier:
        theirs = oracles.read_response(scene.said.get(id(carrier), b""), method, False, received=True)
        assert theirs is not None and theirs.body is not None, "a connection was reused before its response had ended"
        assert not theirs.rest and theirs.persists, "a connection was reused that ought to have been closed"
    wires[0].feed(_FOR_SECOND)
    assert second.take() == _FOR_SECOND, "the second client got what was not for it"


def _check_first(first: Client, method: bytes, said: bytes, ended: bool) -> None:
    """If the first client got a whole answer, it is the one that h11 reads in what the server said, or our own error."""
    wire = first.wire
    ours = oracles.read_response(wire.written, method, wire.end is not None and wire.end[0] != "abort")
    if ours is None or ours.body is None:
        return
    assert not ours.rest, "more than an answer"
    if ours.status in ERRORS and wire.written.endswith(error_answer(ours.status, method)):
        return
    theirs = oracles.read_response(said, method, ended, received=True)
    assert theirs is not None and theirs.body is not None, "an answer that the server has not ended"
    assert (ours.status, ours.body) == (theirs.status, theirs.body), "another answer"
