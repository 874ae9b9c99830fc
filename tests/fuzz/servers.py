"""A hostile server: any bytes in answer to one client's request, and then the request of another client.

The first gets what h11 reads in those bytes, or an error of ours; the second nothing but what was sent for it, byte for
byte, however much of the other answer, or behind it, had come before.
"""

from __future__ import annotations

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import CLOSED, HALF, OPEN, PEER_RESET
from tests.clientfakes import Client, Wire, World
from tests.fuzz import oracles
from tests.fuzz.messages import LIMITS
from tests.fuzz.streams import LONG, Failures, errors_of_ours, pieces_of

# The flags: the request's method and version, time between pieces, a connection that stands ready, and how it ends.
METHOD, OLD, PAUSE, WARM, EOF, RESET, LATE_END = 3, 4, 8, 16, 32, 64, 128
# The kinds of a first request, beside a plain one.
KIND = 3
CONNECT, UPGRADE, UNFINISHED = 1, 2, 3

_FOR_SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-For: second\r\n\r\nsecond"


@define
class Scene:
    """The hostile server, and what it has said on each connection."""

    world: World
    first: Client
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
        busy = self.carrying(self.first)
        if busy:
            self.wire = self.carrier = busy[0]

    def carrying(self, client: Client) -> list[Wire]:
        """The connections that carry a request of this client's."""
        found = []
        for wire in self.world.server.wires:
            exchange = getattr(wire.owner, "exchange", None)  # a tunnel's side has none
            if wire.state == OPEN and exchange is not None and exchange.client is client.connection:
                found.append(wire)
        return found

    def speak(self, piece: bytes) -> None:
        if self.wire is not None and self.wire.state <= HALF:
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
    flags, kind, pieces = pieces_of(data)
    method, request, rest = _request(flags, kind & KIND)
    with Failures():
        world = World(SynchronousTestCase(), warm=1 if flags & WARM else 0, limits=LIMITS)
        first = world.client()
        first.send(request)
        scene = Scene(world, first, {})
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
        _answer_second(scene, second, carrier, method, not rest)
        _check_first(first, method, scene.said.get(id(carrier), b""), ended, kind & KIND == UPGRADE)
        if rest and first.wire.state != CLOSED:
            first.send(rest)
        scene.end(flags)
        for client in (first, second):
            if client.wire.state != CLOSED:
                client.wire.eof()
        world.advance(LONG)
        world.check_rest()


def _request(flags: int, kind: int) -> tuple[bytes, bytes, bytes]:
    """The first client's request: its method, what is sent of it before the answer, and what is sent at the end."""
    version = b"HTTP/1.0" if flags & OLD else b"HTTP/1.1"
    if kind == CONNECT:
        return b"CONNECT", b"CONNECT a:80 %b\r\nHost: a:80\r\n\r\n" % version, b""
    if kind == UPGRADE:
        return b"GET", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b""
    if kind == UNFINISHED:
        return b"POST", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", b"lo"
    method = (b"GET", b"HEAD", b"POST", b"OPTIONS")[flags & METHOD]
    return method, b"%b / %b\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" % (method, version), b""


def _answer_second(scene: Scene, second: Client, carrier: Wire, method: bytes, whole: bool) -> None:
    """The second client's request is on a connection of which nothing is left to be read, and gets its own answer."""
    world = scene.world
    while world.server.dialer.open:
        world.server.connect()
    wires = scene.carrying(second)
    assert len(wires) == 1, "the second request went nowhere"
    if wires[0] is carrier:
        assert whole, "a connection was reused before its request had ended"
        theirs = oracles.read_response(scene.said.get(id(carrier), b""), method, False, received=True)
        assert theirs is not None and theirs.body is not None, "a connection was reused before its response had ended"
        assert not theirs.rest and theirs.persists, "a connection was reused that ought to have been closed"
    wires[0].feed(_FOR_SECOND)
    assert second.take() == _FOR_SECOND, "the second client got what was not for it"


def _check_first(first: Client, method: bytes, said: bytes, ended: bool, offered: bool) -> None:
    """If the first client got a whole answer, it is the one that h11 reads in what the server said,
    or our own error."""
    wire = first.wire
    ours = oracles.read_response(wire.written, method, wire.end is not None and wire.end[0] != "abort", offered=offered)
    if ours is None or ours.body is None:
        return
    assert not ours.rest, "more than an answer"
    if wire.written.endswith(errors_of_ours(method)):
        return
    theirs = oracles.read_response(said, method, ended, offered=offered, received=True)
    assert theirs is not None and theirs.body is not None, "an answer that the server has not ended"
    assert (ours.status, ours.body) == (theirs.status, theirs.body), "another answer"
