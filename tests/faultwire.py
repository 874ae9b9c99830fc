"""Wires that fail as sockets do, the kinds of exchanges that they carry, and what a client can tell of what it got.

    world = World(self, warm=1, wire=FaultWire)
    client.wire.vanish()                     # the client's process has ended: FIN, and a reset to whoever writes on
    settle(world)                            # the network's turn: what was written to the dead comes back as a reset
    answers(client, ["GET"])                 # what a client makes of it, by h11: whole, cut off, or nothing

The proxy is never asked here what it thinks has happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import CLOSED, DRAINING, OPEN, PEER_RESET
from tests.clientfakes import Client, Wire, World

# How an answer came to its reader.
WHOLE = "whole"
CUT = "cut off"  # it has begun, and whoever reads it can tell that it is not complete


class FaultWire(Wire):
    """As a socket: a reset is noticed by who reads or writes, what had come before it can still be read.

    `doubtful`: something went wrong here, so that no further request may ever be sent on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.doubtful = False
        #: How the other side sees the end of the connection: "open", "fin", "reset".
        self.far_end = "open"
        #: The other process has ended: what reaches it is answered with a reset.
        self._vanished = False
        self._broken = ""
        self._failed = False
        self._told = False

    # Faults.

    def half_close(self) -> None:
        """The other side sends nothing more, and reads on."""
        self.doubtful = True
        self.eof()

    def vanish(self) -> None:
        """The other process closes, in good order."""
        self._vanished = True
        self.half_close()

    def break_off(self, reason: str = PEER_RESET) -> None:
        """The other side ends without an end: a reset, or with TLS anything but close_notify."""
        self.doubtful = True
        self._broken = reason
        self.turn()

    def fall_silent(self) -> None:
        """Nothing passes any more, either way, and nobody is told."""
        self.doubtful = True
        self.stall()

    # What the owner calls.

    def resume_reading(self) -> None:
        if not self._told:
            super().resume_reading()

    def write(self, data: bytes) -> None:
        if self._broken and self.state == OPEN:
            self._stuck.append(data)
            self._failed = True
        else:
            super().write(data)

    def abort(self, reason: str) -> None:
        if self.far_end == "open":
            self.far_end = "reset"
        super().abort(reason)

    def _all_sent(self) -> None:
        if not self._stuck and self.far_end == "open":
            self.far_end = "fin"
        super()._all_sent()

    def pump(self) -> None:
        super().pump()
        self._told = self._ended and not self.incoming and not self.reading

    def turn(self) -> None:
        """The network's turn, and the poller's."""
        self.pump()
        if self._broken and self.state != CLOSED and (self.state == DRAINING or self.reading or self._failed):
            self.reset(self._broken)

    def _out(self, data: bytes) -> None:
        if self._vanished:
            self._broken = PEER_RESET
        else:
            super()._out(data)


def settle(world: World) -> None:
    """All that follows by itself has happened."""
    for _ in range(3):
        for connection in list(world.frontend.connections):
            connection.transport.turn()  # type: ignore[attr-defined]
        for each in world.servers:
            for wire in each.wires:
                wire.turn()


# What a client can tell.


@frozen
class Answer:
    """One final response as its reader sees it; `how` is WHOLE or CUT."""

    how: str
    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    def header(self, name: bytes) -> bytes | None:
        return dict(self.headers).get(name)


def answers(received: bytes, end: str, methods: list[str]) -> list[Answer]:
    """What the reader of these bytes makes of them, having sent requests with these methods; by h11, which is not ours.

    Bytes that are no answer raise h11's error.
    """
    found: list[Answer] = []
    while received:
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=methods[len(found)], target="/", headers=[("Host", "a")]))
        reader.send(h11.EndOfMessage())
        reader.receive_data(received)
        answer, received = _one(reader, end)
        found.append(answer)
        if answer.how == CUT:
            break
    return found


def _one(reader: h11.Connection, end: str) -> tuple[Answer, bytes]:
    answer = Answer(CUT, 0)
    over = False
    while True:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError:
            if not over:
                raise  # not a short answer but a wrong one
            return answer, b""
        if event is h11.NEED_DATA:
            if over or end != "fin":
                return answer, b""
            over = True
            reader.receive_data(b"")
        elif isinstance(event, h11.Response):
            answer = evolve(answer, status=event.status_code, headers=tuple(event.headers))
        elif isinstance(event, h11.Data):
            answer = evolve(answer, body=answer.body + bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            rest = b"" if over else reader.trailing_data[0]
            return evolve(answer, how=WHOLE, trailers=tuple(event.headers)), rest
        elif isinstance(event, h11.ConnectionClosed):
            return answer, b""


# What is exchanged.


@frozen
class Kind:
    """One kind of exchange: the bytes of its request and of its response, and what a client gets of them."""

    name: str
    request: bytes
    response: bytes
    content: bytes = b"content"
    status: int = 200
    method: str = "GET"
    #: RFC 9110 section 9.2.2.
    idempotent: bool = True
    #: 1xx heads before the response.
    interim: bytes = b""
    #: Only the connection's end completes the response.
    until_close: bool = False

    @property
    def request_head(self) -> int:
        """Where the request's body begins."""
        return self.request.index(b"\r\n\r\n") + 4

    @property
    def said(self) -> bytes:
        """All that the server says."""
        return self.interim + self.response

    @property
    def said_head(self) -> int:
        """Where the response's body begins."""
        return len(self.interim) + self.response.index(b"\r\n\r\n") + 4

    @property
    def target(self) -> bytes:
        """By it a request is known on the wires."""
        return b" " + self.request.split(b" ")[1] + b" "


_ASK = b" /it HTTP/1.1\r\nHost: a\r\n"
_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontent"
_CHUNKS = b"3\r\ncon\r\n4;x=y\r\ntent\r\n0\r\nT: 1\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKS
_GET = b"GET" + _ASK + b"\r\n"
_OLD = b"GET /it HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"

#: What requests there are; the response is the plainest.
REQUESTS = [
    Kind("GET", _GET, _LENGTH),
    Kind("POST with a length", b"POST" + _ASK + b"Content-Length: 7\r\n\r\ncontent", _LENGTH, method="POST",
        idempotent=False),
    Kind("POST chunked with trailers", b"POST" + _ASK + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKS, _LENGTH,
        method="POST", idempotent=False),
    Kind("PUT with a length", b"PUT" + _ASK + b"Content-Length: 7\r\n\r\ncontent", _LENGTH, method="PUT"),
    Kind("GET of HTTP/1.0", _OLD, _LENGTH),
]  # fmt: skip

#: What responses there are; the request is the plainest that has them.
RESPONSES = [
    REQUESTS[0],
    REQUESTS[1],
    REQUESTS[4],
    Kind("chunked with trailers", _GET, _CHUNKED),
    Kind("until close", _GET, b"HTTP/1.1 200 OK\r\n\r\ncontent", until_close=True),
    Kind("to HEAD", b"HEAD" + _ASK + b"\r\n", _LENGTH[:-7], b"", method="HEAD"),
    Kind("204", _GET, b"HTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    Kind("304 with a length", _GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b"", 304),
    Kind("103 before it", _GET, _LENGTH, interim=b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"),
    Kind("chunked for HTTP/1.0", _OLD, _CHUNKED),
    Kind("until close for HTTP/1.0", _OLD, b"HTTP/1.1 200 OK\r\n\r\ncontent", until_close=True),
    Kind("HTTP/1.0, until close", _GET, b"HTTP/1.0 200 OK\r\n\r\ncontent", until_close=True),
]  # fmt: skip


@contextmanager
def where(kind: Kind, *moment: object) -> Iterator[None]:
    """A failure in here says at which moment of which kind."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{kind.name}, {', '.join(map(str, moment))}: {error}") from error


class Scene:
    """A client and a server brought to where one exchange of a kind begins. `place` says how:

    "warm"       a connection stands ready that has carried nothing yet
    "kept"       client and server connection have carried one exchange and have stood idle since
    "pipelined"  the request comes right behind another, in the same piece
    "new"        a connection is opened for it
    """

    def __init__(self, test: SynchronousTestCase, kind: Kind, place: str, **world: Any) -> None:
        self.test = test
        self.kind = kind
        self.place = place
        self.world = World(test, warm=0 if place == "new" else 1, wire=FaultWire, **world)
        self.far = self.world.server
        self.client: Client = self.world.client()
        self.wire: FaultWire = self.client.wire
        #: Of the request and of what the server says: how much has been sent.
        self.asked = self.told = 0
        #: Exchanges and answers before it.
        self.earlier = 0
        self._before = b""
        if place == "kept":
            self.client.send(EARLIER)
            self.far.answer(_LENGTH)
            self.world.advance(1)
            self.earlier = 1
        elif place == "pipelined":
            self._before = EARLIER
            self.earlier = 1

    def ask(self, upto: int | None = None) -> None:
        """The client sends its request, up to this byte."""
        upto = len(self.kind.request) if upto is None else upto
        data, self.asked = self._before + self.kind.request[self.asked : upto], max(upto, self.asked)
        if data:
            self.client.send(data)
        if self._before:
            self._before = b""
            self.far.answer(_LENGTH)
        self.connect()

    def connect(self) -> None:
        """A dial that was made for it succeeds."""
        if self.far.dialer.open:
            self.far.connect()

    @property
    def server_wire(self) -> FaultWire | None:
        """The connection that carries it now."""
        busy = self.far.busy
        if not busy:
            return None
        wire = busy[0]
        assert isinstance(wire, FaultWire)
        return wire

    def tell(self, upto: int | None = None) -> None:
        """The server answers, up to this byte; if to the last, it ends what only its end completes."""
        upto = len(self.kind.said) if upto is None else upto
        wire = self.server_wire
        assert wire is not None, "nobody was asked"
        data, self.told = self.kind.said[self.told : upto], upto
        if data:
            wire.feed(data)

    def end_answer(self) -> None:
        """The server ends what only its end completes."""
        if self.kind.until_close and self.server_wire is not None:
            self.server_wire.half_close()

    def wait(self) -> None:
        """Everything that has a deadline is over."""
        for _ in range(30):
            self.world.advance(3)
            settle(self.world)

    def wait_for_server(self) -> None:
        """`timeout server` passes."""
        self.world.advance(21)
        settle(self.world)

    def answers(self) -> list[Answer]:
        """What the client got, after those of earlier exchanges, which must be whole."""
        found = answers(self.wire.written, self.wire.far_end, ["GET"] * self.earlier + [self.kind.method])
        for answer in found[: self.earlier]:
            self.test.assertEqual((answer.how, answer.body), (WHOLE, b"content"))
        return found[self.earlier :]

    def log(self) -> list[tuple[int, str]]:
        """The log's lines of this client, after those of earlier exchanges."""
        client = self.client.connection
        lines = [(each.status, each.flags) for each in self.world.log if each.client is client]
        self.test.assertEqual(lines[: self.earlier], [(200, "--")] * self.earlier)
        return lines[self.earlier :]

    def reached(self) -> int:
        """How often any of this request's head has come to a server."""
        return sum(wire.written.count(self.kind.target) for wire in self.far.wires)

    def check_whole(self) -> None:
        """The client has got the answer: all of it, right, once."""
        (answer,) = self.answers()
        kind = self.kind
        if kind.request.find(b"HTTP/1.0") > 0:
            self.test.assertIsNone(answer.header(b"transfer-encoding"))
        self.test.assertEqual((answer.how, answer.status, answer.body), (WHOLE, kind.status, kind.content))

    def check_cut(self) -> None:
        """The client has got a part of the answer, and can tell that it is one."""
        (answer,) = self.answers()
        kind = self.kind
        self.test.assertEqual((answer.how, answer.status), (CUT, kind.status))
        self.test.assertTrue(kind.content.startswith(answer.body), answer.body)
        self.test.assertNotEqual(self.wire.far_end, "open", "it would wait for the rest")

    def check_error(self, status: int) -> None:
        """The client has got an error, and the end of its connection; unless it may ask again, as behind HAProxy: it
        was not its fault, and all of its request has been read."""
        (answer,) = self.answers()
        request = self.kind.request
        self.test.assertEqual((answer.how, answer.status), (WHOLE, status))
        stays = status in (502, 503, 504) and self.asked == len(request)
        goes_on = b"keep-alive" if b"HTTP/1.0" in request else None  # all of those ask for it
        self.test.assertEqual(answer.header(b"connection"), goes_on if stays else b"close")
        if stays:  # until the time for its next request is over
            self.test.assertIn(self.wire.end, (None, ("close", "client silent")))
        else:
            self.test.assertNotEqual(self.wire.end, None, "it is not closed")

    def finish(self) -> None:
        """No connection on which anything was doubtful is kept; somebody else is served; nothing is left."""
        for wire in self.far.wires:
            if wire.doubtful:
                self.test.assertNotEqual(wire.state, OPEN, "a doubtful connection is kept")
        self.wire.take()
        other = self.world.client()
        other.send(OTHER)
        for _ in range(4):  # dials that were made in vain
            self.world.advance(1.1)
            self.connect()
        self.far.answer(_LENGTH)
        (answer,) = answers(other.take(), other.wire.far_end, ["GET"])
        self.test.assertEqual((answer.how, answer.status, answer.body), (WHOLE, 200, b"content"))
        traffic = self.world.frontend.traffic
        self.test.assertEqual((traffic.req_tot, sum(traffic.hrsp)), (len(self.world.log),) * 2)
        self.wire.half_close()
        settle(self.world)
        self.world.advance(3)
        self.world.check_rest()


EARLIER_ANSWER = _LENGTH
EARLIER = b"GET /earlier HTTP/1.1\r\nHost: a\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n"
