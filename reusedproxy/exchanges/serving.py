"""Sends an answer of the proxy's own while it is being made: other clients have their turn between its pieces.

An answer that is made within one turn goes out whole, with its length. A longer one goes out in chunks (to HTTP/1.0 up
to the end of the connection), as far as the client takes it. It must never know what the answer says.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from reusedproxy.exchanges.own_answers import answer, head_of
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.transport import Transport

#: Seconds that the making may take before others have their turn, exceeded by one piece at most.
TURN = 0.002
#: Bytes that are sent together at least, unless the answer ends: each chunk costs the client a piece of work.
CHUNK = 16384


class Made(NamedTuple):
    """Describes an answer whose body comes in pieces. A piece without a byte is only a place where others may have
    their turn. `extra` are further header lines, each with its CRLF."""

    status: int
    content_type: str
    pieces: Iterator[bytes]
    extra: bytes = b""


class ServingClient(Protocol):
    """Defines what is asked of the client connection."""

    deadlines: Deadlines
    transport: Transport

    @property
    def last(self) -> bool: ...

    def end_after(self, reason: str) -> None: ...


class Served(Protocol):
    """Defines what is asked of the exchange."""

    method: bytes
    framed: bool
    serving: Serving | None

    @property
    def client(self) -> ServingClient: ...

    def answered_here(self, status: int, data: bytes, *, content: bytes | None = None) -> None: ...

    def answer_begins(self, status: int, head: bytes, first: bytes) -> None: ...

    def response_data(self, data: bytes) -> None: ...

    def response_ended(self) -> None: ...

    def break_off(self) -> None: ...


class Serving:
    """Makes and sends one answer; `made` is its description. It works in turns from `take_turn` to its end, or to
    `stop`."""

    _log = Logger()

    def __init__(self, exchange: Served, made: Made) -> None:
        self._exchange = exchange
        self._made = made
        self._ready: list[bytes] = []
        self._begun = self._over = False
        #: It will have its turn.
        self._lined_up = False

    def stop(self) -> None:
        """Ends the work where it is."""
        self._over = True
        pieces = self._made.pieces
        if isinstance(pieces, Generator):
            pieces.close()

    def go_on(self) -> None:
        """Goes on in a later turn: the client takes more, or others have had their turn."""
        if not self._lined_up and not self._over:
            self._lined_up = True
            self._exchange.client.transport.line_up(self)

    def take_turn(self) -> None:
        self._lined_up = False
        if self._over:
            return
        try:
            whole = self._make()
        except Exception:
            self._log.failure("an answer of the proxy's own could not be written")
            self._over = True
            self._exchange.break_off()
            return
        if whole:
            self._end()
        else:
            self._send()
            if not self._over and not self._exchange.client.transport.full:
                self.go_on()

    def _make(self) -> bool:
        """Makes pieces for one turn, and tells whether all are made."""
        now = self._exchange.client.deadlines.now
        until = now() + TURN
        for piece in self._made.pieces:
            if piece:
                self._ready.append(piece)
            if now() >= until:
                return False
        return True

    def _send(self) -> None:
        """Sends what is ready, if it is enough."""
        exchange = self._exchange
        if sum(map(len, self._ready)) < CHUNK:
            return
        if not self._begun:
            self._begin()
            if self._over:
                return
        data = self._taken()
        exchange.response_data(b"%x\r\n%b\r\n" % (len(data), data) if exchange.framed else data)

    def _begin(self) -> None:
        """Sends the head of an answer whose length is not known yet."""
        self._begun = True
        exchange, made = self._exchange, self._made
        extra = made.extra
        if exchange.framed:
            extra += b"transfer-encoding: chunked\r\n"
        else:
            exchange.client.end_after("answer without a length")
        head = head_of(made.status, made.content_type, extra=extra, close=exchange.client.last)
        exchange.answer_begins(made.status, head, b"".join(self._ready))
        if exchange.method == b"HEAD" and not self._over:
            self.stop()
            exchange.response_ended()

    def _end(self) -> None:
        exchange, made = self._exchange, self._made
        exchange.serving = None  # they refer to each other, and what makes the answer may refer to both
        body = self._taken()
        if not self._begun:
            self._over = True
            whole = answer(made.status, body, made.content_type, extra=made.extra, close=exchange.client.last)
            if exchange.method == b"HEAD":
                whole = whole[: len(whole) - len(body)]
            exchange.answered_here(made.status, whole, content=body)
            return
        if exchange.framed:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        if body:
            exchange.response_data(body)
        if not self._over:  # the client may have been found gone
            self._over = True
            exchange.response_ended()

    def _taken(self) -> bytes:
        ready, self._ready = self._ready, []
        return b"".join(ready)
