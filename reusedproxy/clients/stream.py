"""Handles one connection of a client in `mode tcp`, from the moment at which its handshakes are over.

It has one stream, which it begins and whose end closes it. Upward it knows `owner.Owner` alone; the stream knows it as
`streams.client.StreamClient`. It must never know servers or pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Protocol

from twisted.logger import Logger

from reusedproxy.clients.owner import Connected
from reusedproxy.config import model
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import DATA
from reusedproxy.net.transport import CLOSED, Transport
from reusedproxy.sessions.session import Session
from reusedproxy.streams.client import StreamFrontend
from reusedproxy.streams.guide import Guide
from reusedproxy.streams.stream import Stream

# The states of a client's connection.
WAITING = "waiting"
BUSY = "busy"
ENDING = "ending"
GONE = "gone"

#: Seconds that a client has to take what is left where no time-out says.
FLUSH = 30.0


StreamLog = Callable[[Stream], None]


class StreamOwner(StreamFrontend, Protocol):
    """Defines the frontend as its client connections in `mode tcp` know it. `guide` leads their streams; None: the
    frontend is in mode http. `stream_log` writes a line for a stream that has ended; None: there is no log."""

    settings: model.Frontend
    deadlines: Deadlines
    connections: set[Connected]
    guide: Guide | None
    stream_log: StreamLog | None

    def take_over(self, connection: Connected) -> None:
        """Adopts a connection of another frontend, which stops."""

    def let_go(self, connection: Connected) -> None:
        """Forgets a connection that another frontend is about to take over."""

    def take_requests(self, connection: StreamConnection, backend: str | None) -> None:
        """Puts a connection that reads requests in the place of this one, the first of them for this `backend` (None:
        its rules choose)."""

    def connection_gone(self, connection: Connected, listener: Listener) -> None:
        """Forgets a connection whose socket is closed."""


class StreamConnection:
    """Handles one client. `state` is one of these:

    WAITING  its stream has not begun
    BUSY     it has
    ENDING   what is left to send goes out, then the connection is closed
    GONE     the connection is closed, or another has taken its place that reads requests
    """

    __slots__ = (
        "_left",
        "address",
        "announced",
        "deadline",
        "deadlines",
        "destination",
        "frontend",
        "handshake",
        "listener",
        "over_tls",
        "peer",
        "session",
        "since",
        "slot",
        "state",
        "stream",
        "transport",
    )

    _log = Logger()

    #: Of `sessions.client.ClientFacts`: there are no requests.
    requests = 0

    def __init__(
        self, frontend: StreamOwner, transport: Transport, address: tuple[str, int], listener: Listener
    ) -> None:
        self.frontend = frontend
        self.transport = transport
        self.address = address
        self.listener = listener
        self.deadlines = frontend.deadlines
        self.since = frontend.deadlines.now()
        #: Seconds that its PROXY header and its TLS handshake have taken before.
        self.handshake = 0.0
        #: It counts among the clients over TLS.
        self.over_tls = False
        self.destination: tuple[str, int] | None = None
        self.announced: Mapping[int, Sequence[bytes]] | None = None
        self.peer: tuple[str, int] | None = None
        self.session: Session | None = None
        self.state = WAITING
        self.stream = Stream(self)
        self.deadline = inf
        self.slot = 0.0
        self._left = 0

    def begin(self) -> None:
        """Begins the stream."""
        self.state = BUSY
        guide = self.frontend.guide
        assert guide is not None
        self.stream.start(guide)

    def move(self, frontend: StreamOwner) -> None:
        """Moves to `frontend`, from the one that accepted it, before the stream begins."""
        self.frontend.let_go(self)
        self.frontend = frontend
        frontend.take_over(self)

    def stand_for(self, address: tuple[str, int]) -> None:
        """Puts another address in the place of the client's (`tcp-request session set-src`)."""
        if self.peer is None:
            self.peer = self.address
        self.address = address

    def turn_away(self) -> None:
        """Ends the connection of a client that may not connect any more, before the stream begins."""
        self.transport.owner = self
        self.transport.abort("not let in any more")

    def finish(self) -> None:
        """Does nothing: a session goes on while its proxy stops or is replaced, as in HAProxy."""

    def abort(self, reason: str) -> None:
        """Ends the connection now, whatever is under way."""
        self.transport.abort(reason)

    # What its stream calls.

    def log_stream(self) -> None:
        """Writes the stream's line of the log."""
        log = self.frontend.stream_log
        if log is not None:
            try:
                log(self.stream)
            except Exception:
                # Whatever keeps a line from being written, the client's connection goes on, or is closed.
                self._log.failure("a line of the access log failed")

    def stream_switched(self, backend: str | None) -> None:
        """Has a connection that reads requests take the client over."""
        self.state = GONE
        self.frontend.take_requests(self, backend)
        del self.stream  # they refer to each other

    def transport_back(self) -> None:
        """Takes the transport back from a relay."""
        self.transport.owner = self

    def stream_ended(self, reason: str, broken: bool) -> None:
        """Writes the stream's line of the log, and closes the connection: with a reset if it is `broken`, else when the
        client has taken all that is left."""
        if self.state != BUSY:
            return
        self.state = ENDING
        self.log_stream()
        transport = self.transport
        if transport.state == CLOSED:
            self._gone()
            return
        transport.owner = self
        if broken:
            transport.abort(reason)
            return
        self._left = transport.unsent
        transport.resume_reading()
        transport.on_ready(DATA)  # what is left unread would make a reset of the end
        if self.state == ENDING:
            transport.close(reason)
        if self.state == ENDING:
            self._watch()

    # What the transport calls while the connection ends.

    def data_received(self, data: bytes) -> None:
        """Drops it: nobody reads it any more."""

    def eof_received(self) -> None:
        """Does nothing: the connection is being closed."""

    def pause_writing(self) -> None:
        """Does nothing; see `eof_received`."""

    def resume_writing(self) -> None:
        """Does nothing; see `eof_received`."""

    def connection_lost(self, reason: str) -> None:
        self._gone()

    def deadline_passed(self) -> None:
        left = self.transport.unsent
        if 0 < left < self._left or self.transport.waits_for_pace:
            self._left = left
            self._watch()
        else:
            self.transport.abort("client does not take the end")

    def _watch(self) -> None:
        timeouts = self.frontend.timeouts
        self.deadlines.watch(self, self.deadlines.now() + (timeouts.client_fin or timeouts.client or FLUSH))

    def _gone(self) -> None:
        if self.state == GONE:
            return
        self.state = GONE
        self.deadlines.cancel(self)
        if self.session is not None:
            self.session.end()
        self.frontend.connection_gone(self, self.listener)
        del self.stream  # they refer to each other
