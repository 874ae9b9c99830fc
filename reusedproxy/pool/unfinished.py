"""Sends the rest of a request whose answer has already ended.

RFC 9112 section 9.3: a connection persists when all of the request has been read, and a server that answers without
`close` reads it; one that says `close` may. So the rest goes on to the server, and the connection serves nobody else
until all of it has been sent. A switch to another protocol waits for the end of its request in the same way.

`ServerConnection` is built on this, and keeps its state. It must never know what the request is.
"""

from __future__ import annotations

from math import inf

from reusedproxy.net.transport import OPEN, Transport
from reusedproxy.pool.served import Exchange
from reusedproxy.wire.heads import ResponseHead


class Unfinished:
    """Continues requests whose answer has ended: a part of every server connection. `uploader` is the exchange whose
    answer is over while its request is still being sent; the connection's `exchange` is None then."""

    __slots__ = (
        "_continue_due",
        "_kept",
        "_left",
        "_request_ended",
        "_switched",
        "deadline",
        "exchange",
        "transport",
        "uploader",
    )

    transport: Transport
    exchange: Exchange | None
    uploader: Exchange | None
    deadline: float
    _continue_due: bool
    _kept: bool
    _left: int
    _request_ended: bool
    _switched: tuple[ResponseHead, bytes] | None

    def _expect(self) -> None:
        """Gives the server `timeout server` from now on, because it is its turn."""
        raise NotImplementedError

    def _rest(self) -> None:
        """Ends the exchange when both messages are over."""
        raise NotImplementedError

    def _takes_rest(self, exchange: Exchange, kept: bool) -> bool:
        """Tells whether the rest of the request goes on to this server, which has answered it and has not closed; if
        so, begins to send it."""
        transport = self.transport
        if self._continue_due or transport.hung_up:
            return False
        self._kept = kept
        if self._request_ended:
            transport.send_now()  # the end of this batch would do it anyway
        if transport.lost or transport.state != OPEN:
            return False
        transport.resume_reading()
        self.uploader = exchange
        if self._request_ended:
            if transport.unsent:
                self._await_sent()
            else:
                self._rest()
        elif transport.full:
            self._await_taking()
        return True

    def _look_at_sent(self) -> None:
        """Continues what waits for the end of the request once all of that has been sent; until then waits."""
        transport = self.transport
        if transport.unsent:
            self._await_sent()
        elif transport.lost or transport.state != OPEN:
            self._expect()  # the transport tells of its end, or has
        elif self._switched is not None:
            exchange, (head, rest) = self.exchange, self._switched
            self._switched = None
            self.deadline = inf
            if exchange is not None:
                exchange.response_switched(head, rest)
        elif self.uploader is not None:
            uploader = self.uploader
            self._rest()
            uploader.request_sent()

    def _await_taking(self) -> None:
        """Gives the server `timeout server` to take what it is sent."""
        self._left = self.transport.unsent
        self._expect()

    def _await_sent(self) -> None:
        """Waits until all has been sent."""
        self._await_taking()
        self.transport.tell_when_sent()
