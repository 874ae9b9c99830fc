"""Stands in for a socket in a simulation: opens nothing, and tells its owner what a server would do.

It is a `Transport` because compiled connections take nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from reusedproxy.net.poller import Poller
from reusedproxy.net.transport import CLOSED, OPEN, Transport

#: What the simulated server answers a ping.
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


class NoSocket:
    """Stands where a transport has its socket."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        """Does nothing: there is none."""


class Wire(Protocol):
    """Defines the simulated server as its connections know it."""

    def later(self, call: Callable[[], None]) -> None:
        """Calls `call` after the time of a round trip."""

    def closed(self, transport: SimulatedTransport) -> None:
        """Notes the end of a connection."""


class SimulatedTransport(Transport):
    """Is one connection of a simulated server. Whatever is written on it, a ping, is answered with 204."""

    __slots__ = ("_wire", "born")

    def __init__(self, poller: Poller, wire: Wire, now: float) -> None:
        nothing: Any = NoSocket()
        super().__init__(poller, nothing, nothing)  # its connection is its owner in a moment
        self._wire = wire
        self.born = now

    def resume_reading(self) -> None:
        self.reading = True

    def pause_reading(self, on_end: Callable[[int], None] | None = None) -> None:
        self.reading = False

    def silent(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self._wire.later(self._answer)

    def _answer(self) -> None:
        if self.state == OPEN:
            self.owner.data_received(_ANSWER)

    def server_closes(self) -> None:
        """Ends the connection from the server's side."""
        if self.state == OPEN:
            self.owner.eof_received()

    def close(self, reason: str, *, drain: bool = False) -> None:
        self.abort(reason)

    def abort(self, reason: str) -> None:
        if self.state != CLOSED:
            self._wire.closed(self)
            self._end(reason)
