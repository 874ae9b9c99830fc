"""Reads requests from a client whose connection its frontend took for one of `mode tcp`, until a backend in mode http
was chosen for it, or a rule said so (`switch-mode http`).

It begins with what the client has sent by then. Its first request goes on from what the rules for contents have said of
these bytes; those that follow pass these rules as requests, as HAProxy does. It must never know who decides that.
"""

from __future__ import annotations

from reusedproxy.clients.connection import BUSY, GONE, ClientConnection
from reusedproxy.clients.owner import Owner
from reusedproxy.clients.stream import StreamConnection
from reusedproxy.exchanges.exchange import LET_PASS, Exchange
from reusedproxy.exchanges.route import Route
from reusedproxy.streams.stream import Stream
from reusedproxy.tables.tracking import leave


class SwitchedConnection(ClientConnection):
    """Handles one such client."""

    __slots__ = ("_stream", "_way")

    def __init__(self, frontend: Owner, before: StreamConnection, route: Route | None) -> None:
        """Takes the place of a connection. Its first request takes this route; None: the frontend's rules choose."""
        super().__init__(frontend, before.transport, before.address, before.listener)
        self.since, self.handshake, self.over_tls = before.since, before.handshake, before.over_tls
        self.destination, self.announced, self.peer = before.destination, before.announced, before.peer
        self.session, before.session = before.session, None
        #: The client's session of mode tcp, until its first request has gone on from that; None: it has.
        self._stream: Stream | None = before.stream
        self._way = route

    def begin(self) -> None:
        """Reads what has come."""
        stream = self._stream
        assert stream is not None
        held, stream.held = stream.held, b""
        if held:
            self.data_received(held)
        if stream.client_ended and self.state != GONE:
            self.eof_received()

    def lead(self, exchange: Exchange) -> None:
        """Has the first request go on from what has been decided of its bytes. Where rules have let it in before it
        came, as when their delay was over, they judge it as those that follow; its backend stays, as in HAProxy."""
        stream, self._stream = self._stream, None
        if stream is not None:
            exchange.led_to = self._way
            if not stream.judged_without_head:
                exchange.looked = LET_PASS
            exchange.go_on_from(stream)

    def move(self, frontend: Owner, once: bool) -> None:
        """Moves the connection as `ClientConnection.move` does. Where no request has come, the rules there judge the
        first one."""
        if self.state < BUSY:
            self._forget()
        super().move(frontend, once)

    def connection_lost(self, reason: str) -> None:
        super().connection_lost(reason)
        self._forget()

    def _forget(self) -> None:
        """Ends the session of mode tcp from which no request has gone on."""
        stream, self._stream = self._stream, None
        if stream is not None and stream.counters is not None:
            leave(stream.counters)
