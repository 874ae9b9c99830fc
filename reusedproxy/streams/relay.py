"""Carries bytes both ways between a client and a server: the longest part of a stream's life.

What one side sends goes to the other, a slow side pauses the fast one, and each side may end its half while the other
goes on. A relay counts bytes, ends a side that has been silent for too long, and reports once how it ended. It must
never know what the bytes mean, nor pools, backends or logs: its maker has lent the transports and takes them back.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from attrs import frozen

from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.pacing import last_moved
from reusedproxy.net.transport import PEER_CLOSED, PEER_TRUNCATED, Transport
from reusedproxy.sessions.termination import STOPPED

#: How a relay ended when nothing was wrong.
CLEAN = "--"
#: Bytes of a client that are kept until the server says something: a server that has refused our certificate has seen
#: none of them, and another may get them.
KEPT_MAX = 16 * 1024


class Over(Protocol):
    """Receives the end of a relay, once."""

    def relay_over(self, flags: str, broken: bool) -> None:
        """Takes the transports back. `flags` are HAProxy's two letters; `broken` tells that what was under way is
        broken off by a reset."""

    def server_silent(self, reason: str) -> bool:
        """Notes that the server's connection ended before the server said anything. Returns True if the stream goes on
        with another connection: the relay is over without another word."""


class Gate(Protocol):
    """Looks at what the server says, and holds it back until that may pass."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None: ...

    def decide(self) -> None:
        """Decides what becomes of what is held back, because the server says nothing more; perhaps the relay ends with
        it. The connection may be lost."""


@frozen
class RelayTimeouts:
    """Holds the seconds of silence, in both directions, that end a side; `client_fin` and `server_fin` (None: the same)
    count once the side has been told the end of the other."""

    client: float = inf
    server: float = inf
    client_fin: float | None = None
    server_fin: float | None = None

    @classmethod
    def of(cls, client: Timeouts, server: Timeouts) -> RelayTimeouts:
        """Combines the time-outs as HAProxy's manual has it: `timeout tunnel` supersedes `client` and `server`."""
        return cls(
            server.tunnel or client.client or inf,
            server.tunnel or server.server or inf,
            client.client_fin,
            server.server_fin,
        )


class Relay:
    """Carries bytes between two transports until both sides have ended, or one is lost or takes nothing any more.

    The time of both sides counts from the last byte that went either way, as in HAProxy. A side whose time is over is
    taken for one that has ended: the other is told so, and may still send. Bytes that a side has not begun to take for
    as long, or twice as long if they are few, end the relay.
    """

    __slots__ = (
        "_deadlines",
        "_left",
        "_over",
        "_timeouts",
        "client",
        "deadline",
        "flags",
        "idle",
        "now",
        "server",
        "slot",
    )

    def __init__(
        self,
        client: Transport,
        server: Transport,
        timeouts: RelayTimeouts,
        deadlines: Deadlines,
        over: Over,
        counted: tuple[Traffic, Traffic, Traffic],
    ) -> None:
        """Counts bytes in `counted`: those of the frontend, the backend and the server."""
        self.client = near = ClientSide(self, client, timeouts.client, counted)
        self.server = far = ServerSide(self, server, timeouts.server, counted)
        near.other, far.other = far, near
        self.flags = CLEAN
        self.deadline = inf
        self.slot = 0.0
        self.now = deadlines.now
        #: Seconds of silence after which a side has ended.
        self.idle = min(timeouts.client, timeouts.server)
        #: Bytes that were not taken when that was last looked at.
        self._left = 0
        self._timeouts = timeouts
        self._deadlines = deadlines
        self._over: Over | None = over

    def start(self, from_client: bytes, from_server: bytes, client_ended: bool) -> None:
        """Carries bytes from now on, beginning with what either side has sent already."""
        client, server = self.client, self.server
        self._deadlines.watch(self, self.now() + self.idle)
        client.transport.owner = client
        if from_server:
            server.data_received(from_server)
        if from_client and self._over is not None:
            client.data_received(from_client)
        if client_ended and self._over is not None:
            client.eof_received()
        for side in (client, server):
            if self._over is not None and not side.ended and not side.other.transport.full:
                side.transport.resume_reading()

    def side_ended(self, side: Side) -> None:
        """Ends one direction, because this side will send nothing more."""
        over = self._over
        if over is None:
            return
        other = side.other
        if other.ended:
            self.end(self.flags)  # which closes both, when all is sent
            return
        since = self.deadline - self.idle if self.idle != inf else self.now()
        other.transport.end_writing()
        if self._over is None:
            return
        fin = self._timeouts.server_fin if other is self.server else self._timeouts.client_fin
        if fin is not None:
            other.limit, since = fin, self.now()
        self.idle = other.limit
        self._deadlines.watch(self, since + self.idle)

    def replaced(self, reason: str) -> bool:
        """Tells whether the stream goes on without this relay, whose server has ended without a word."""
        over = self._over
        if over is None or self.server.sent or not over.server_silent(reason):
            return False
        self._close()
        self._part()
        return True

    def lost(self, side: Side, reason: str) -> None:
        """Ends the relay, because one side's connection is gone without having ended, or before it took all that it was
        sent. A client's reset is passed on to its server; what a server had sent before its own is not destroyed by
        one. Many end TLS without close_notify: what is spoken inside has an end of its own."""
        if self._over is None:
            return  # what was left to judge of an answer has ended it
        if reason == STOPPED:
            self.end("KD", broken=True)
        elif reason == PEER_TRUNCATED or self.flags != CLEAN:
            self.end(self.flags)
        else:
            self.end(side.letter + "D", broken=side is self.client)

    @property
    def goes_on(self) -> bool:
        """Tells whether it has not ended."""
        return self._over is not None

    def end(self, flags: str, broken: bool = False) -> None:
        """Ends the relay with these letters."""
        over = self._over
        if over is not None:
            self._close()
            over.relay_over(flags, broken)
            self._part()

    def note_unsent(self) -> None:
        """Notes what a side has yet to take: if it is no less when the time is over, that side takes nothing."""
        self._left = self.client.transport.unsent + self.server.transport.unsent

    def deadline_passed(self) -> None:
        client, server, idle = self.client, self.server, self.idle
        left, now = client.transport.unsent + server.transport.unsent, self.now()
        moved = max(last_moved(client.transport, now), last_moved(server.transport, now))
        if moved + idle > now:
            self._left = left
            self._deadlines.watch(self, moved + idle)
        elif left and (not self._left or left < self._left):
            self._left = left
            self._deadlines.watch(self, self.now() + idle)
        elif left:
            stuck: Side = client if client.transport.unsent else server
            self.end(stuck.letter.lower() + "D", broken=True)
        else:
            self.deadline = self.now()
            for side in [each for each in (client, server) if not each.ended and each.limit <= idle]:
                if self.flags == CLEAN:
                    self.flags = side.letter.lower() + "D"
                if not side.ended:
                    side.silent()

    def _close(self) -> None:
        self._over = None
        self._deadlines.cancel(self)

    def _part(self) -> None:
        """Has the sides refer to each other no more. Left to the garbage collector, those that are open at a reload
        would stay in memory for ever: it is told then to look at nothing that is there."""
        del self.client.other, self.server.other, self.client, self.server


class Side:
    """Reports one transport's events to the relay. `ended` tells that the peer will send nothing more; `sent` counts
    its bytes; `limit` is the time of its silence."""

    __slots__ = ("_backend", "_frontend", "_server", "ended", "kept", "limit", "other", "relay", "sent", "transport")

    letter = ""
    other: Side

    def __init__(
        self, relay: Relay, transport: Transport, limit: float, counted: tuple[Traffic, Traffic, Traffic]
    ) -> None:
        self.relay = relay
        self.transport = transport
        self.limit = limit
        self._frontend, self._backend, self._server = counted
        self.ended = False
        self.sent = 0
        #: Of the client: what it has sent, as long as the server has said nothing; None: that is too much to keep.
        self.kept: list[bytes] | None = None

    def eof_received(self) -> None:
        if not self.ended:
            self.ended = True
            self.relay.side_ended(self)

    def silent(self) -> None:
        """Takes the peer, whose time is over, for one that has ended."""
        self.ended = True
        self.transport.pause_reading()
        self.relay.side_ended(self)

    def pause_writing(self) -> None:
        self.relay.note_unsent()
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        relay = self.relay
        relay.deadline = relay.now() + relay.idle
        if not self.other.ended:
            self.other.transport.resume_reading()

    def connection_lost(self, reason: str) -> None:
        self.relay.lost(self, reason)
        self.transport.owner.connection_lost(reason)


class ClientSide(Side):
    """Passes on what the client sends."""

    __slots__ = ()

    letter = "C"

    def __init__(
        self, relay: Relay, transport: Transport, limit: float, counted: tuple[Traffic, Traffic, Traffic]
    ) -> None:
        super().__init__(relay, transport, limit, counted)
        self.kept = []

    def data_received(self, data: bytes) -> None:
        size = len(data)
        self.sent += size
        self._frontend.bin += size
        self._backend.bin += size
        self._server.bin += size
        kept = self.kept
        if kept is not None and self.sent <= KEPT_MAX:
            kept.append(data)
        else:
            self.kept = None
        relay = self.relay
        relay.deadline = relay.now() + relay.idle
        self.other.transport.write(data)

    def uncount(self) -> None:
        """Takes back what was counted of its bytes: they are sent again."""
        for counted in (self._frontend, self._backend, self._server):
            counted.bin -= self.sent


class ServerSide(Side):
    """Passes on what the server says, unless a `gate` looks at it first."""

    __slots__ = ("gate",)

    letter = "S"

    def __init__(
        self, relay: Relay, transport: Transport, limit: float, counted: tuple[Traffic, Traffic, Traffic]
    ) -> None:
        super().__init__(relay, transport, limit, counted)
        self.gate: Gate | None = None

    def data_received(self, data: bytes) -> None:
        size = len(data)
        if not self.sent:
            self.other.kept = None
        self.sent += size
        self._frontend.bout += size
        self._backend.bout += size
        self._server.bout += size
        relay = self.relay
        relay.deadline = relay.now() + relay.idle
        if self.gate is not None:
            self.gate.data_received(data)
        else:
            self.other.transport.write(data)

    def eof_received(self) -> None:
        if self.gate is not None:
            self.gate.eof_received()
        elif not self.relay.replaced(PEER_CLOSED):
            super().eof_received()

    def silent(self) -> None:
        if self.gate is not None:
            self.gate.decide()
        if self.relay.goes_on:
            super().silent()

    def connection_lost(self, reason: str) -> None:
        if self.relay.replaced(reason):
            self.transport.owner.connection_lost(reason)
            return
        if self.gate is not None and reason != STOPPED:
            self.gate.decide()
        super().connection_lost(reason)
