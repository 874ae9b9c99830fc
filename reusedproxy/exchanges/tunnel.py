"""Carries bytes both ways between a client and a server that have left HTTP (101 Switching Protocols, CONNECT).

Once both have agreed, the two transports report to a tunnel instead of to their own connections: what one side sends
goes to the other, a slow side pauses the fast one, and each side may end its half while the other goes on (RFC 9110
sections 7.8 and 9.3.6). A tunnel counts bytes, ends after too long a silence, and reports once how it ended. It must
never know what the bytes mean, nor pools, exchanges or logs: its maker has lent the transports and takes them back.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from attrs import frozen

from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.pacing import last_moved
from reusedproxy.net.transport import PEER_TRUNCATED, Transport
from reusedproxy.sessions.termination import STOPPED

#: How a tunnel ended: HAProxy's two letters, and whether what was under way was broken off by a reset.
Over = Callable[[str, bool], None]


@frozen
class TunnelTimeouts:
    """Holds the seconds of silence in both directions that end a tunnel: while both sides are `open`,
    and when one has `ended`."""

    open: float = inf
    ended: float = inf

    @classmethod
    def of(cls, client: Timeouts, server: Timeouts) -> TunnelTimeouts:
        """Combines the time-outs as HAProxy's manual has it: `timeout tunnel` supersedes `client` and `server`;
        `client-fin` and `server-fin` supersede it for a side that is shut in one direction. When one side ends, both
        are shut so: that side by its own end, the other by the proxy's."""
        sides = [
            inf if each is None else each for each in (server.tunnel or client.client, server.tunnel or server.server)
        ]
        shut = [
            side if fin is None else fin
            for side, fin in zip(sides, (client.client_fin, server.server_fin), strict=True)
        ]
        return cls(min(sides), min(shut))


class Tunnel:
    """Carries bytes between two transports until both sides have ended, one is lost, or both are silent for too long.

    `over` is called once, when the transports' peers are to be set back; a transport that was lost tells its old
    peer after that.
    """

    def __init__(
        self, client: Transport, server: Transport, timeouts: TunnelTimeouts, deadlines: Deadlines, over: Over
    ) -> None:
        self.client = _Side(self, client, "C")
        self.server = _Side(self, server, "S")
        self.client.other, self.server.other = self.server, self.client
        self.deadline = inf
        self.slot = 0.0
        self._timeouts = timeouts
        self._idle = timeouts.open
        #: Bytes that neither side had taken when something last passed.
        self._left = 0
        self._deadlines = deadlines
        self._over: Over | None = over

    def start(self, from_client: bytes, from_server: bytes, client_ended: bool) -> None:
        """Carries bytes from now on, beginning with what either side has sent already."""
        client, server = self.client, self.server
        self._deadlines.watch(self, self._deadlines.now() + self._idle)
        for side in (client, server):
            side.transport.owner = side
        if from_server:
            server.data_received(from_server)
        if from_client and self._over is not None:
            client.data_received(from_client)
        if client_ended and self._over is not None:
            client.eof_received()
        for side in (client, server):
            if self._over is not None and not side.other.transport.full:
                side.transport.resume_reading()

    def touch(self) -> None:
        """Notes that bytes have passed, and renews the deadline."""
        if self._over is not None:
            self.deadline = self._deadlines.now() + self._idle
            self._left = self._unsent()

    def ended(self, side: _Side) -> None:
        """Ends one direction, because this side will send nothing more."""
        other = side.other
        other.transport.end_writing()
        if other.ended:
            self._end("--")
        elif self._over is not None:
            self._idle = self._timeouts.ended
            self._deadlines.watch(self, self._deadlines.now() + self._idle)

    def lost(self, side: _Side, reason: str) -> None:
        """Ends the tunnel, because one side is gone without having ended, or before it took all that it was sent.

        An end without close_notify is how many end TLS; what was spoken inside has an end of its own (a
        WebSocket's close).
        """
        if reason == PEER_TRUNCATED:
            self._end("--")
        elif reason == STOPPED:
            self._end("KD", broken=True)
        else:
            self._end(side.letter + "D", broken=True)
        side.transport.owner.connection_lost(reason)

    def cut(self, flags: str) -> None:
        """Ends the tunnel at once, with these letters."""
        self._end(flags, broken=True)

    def deadline_passed(self) -> None:
        left, now = self._unsent(), self._deadlines.now()
        moved = max(last_moved(self.client.transport, now), last_moved(self.server.transport, now))
        if moved + self._idle > now:
            self._left = left
            self._deadlines.watch(self, moved + self._idle)
        elif 0 < left < self._left:
            # Nothing new has come, but what is there is being taken, slowly.
            self._left = left
            self._deadlines.watch(self, self._deadlines.now() + self._idle)
        else:
            # As HAProxy: whose turn it was to end. While both could speak, the client is named.
            self._end("sD" if self.client.ended else "cD")

    def _unsent(self) -> int:
        return self.client.transport.unsent + self.server.transport.unsent

    def _end(self, flags: str, broken: bool = False) -> None:
        self._deadlines.cancel(self)
        over, self._over = self._over, None
        if over is not None:
            over(flags, broken)
            # They refer to each other. Left to the garbage collector, those that are open at a reload would stay in
            # memory for ever: it is told then to look at nothing that is there.
            del self.client.other, self.server.other, self.client, self.server


class _Side:
    """Reports one transport's events to the tunnel. `ended` tells that the peer will send nothing more; `sent` counts
    its bytes so far."""

    __slots__ = ("_tunnel", "ended", "letter", "other", "sent", "transport")

    def __init__(self, tunnel: Tunnel, transport: Transport, letter: str) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.letter = letter
        self.other = self
        self.ended = False
        self.sent = 0

    def data_received(self, data: bytes) -> None:
        self.sent += len(data)
        self.other.transport.write(data)
        self._tunnel.touch()

    def eof_received(self) -> None:
        self.ended = True
        self._tunnel.ended(self)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self._tunnel.touch()
        self.other.transport.resume_reading()

    def connection_lost(self, reason: str) -> None:
        self._tunnel.lost(self, reason)
