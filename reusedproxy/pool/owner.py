"""Defines what a server connection tells the pool that owns it, and asks of it. Names only.

A connection decides how each exchange on it has ended and reports it here: `release` when it can carry another,
`retire` when it cannot, `lost` when its server has ended it. It must never know how its pool keeps connections, or how
many there are.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.pool.reasons import PROXY

#: The connection: `ServerConnection`, which imports this.
C = TypeVar("C", contravariant=True)


class ConnectionOwner(Protocol[C]):
    """Defines the pool as its connections see it."""

    #: Tells that each connection serves only the client for which it was opened.
    solo: bool
    deadlines: Deadlines
    #: Invalid answers of this server.
    invalid: LastErrors

    @property
    def first(self) -> object:
        """Returns the server's own pool, this one or the one to whose group it belongs; to be compared by identity."""

    def release(self, connection: C, now: float | None = None) -> None:
        """Takes back a connection whose exchange has ended cleanly. `now` is the clock's time, if it is known."""

    def retire(self, connection: C, reason: str, *, at_once: bool = False, by: str = PROXY) -> None:
        """Ends a connection. `reason` is counted; `at_once` drops what is unsent and resets the connection; `by` is who
        ends it, PROXY or SERVER."""

    def lost(self, connection: C, reason: str, answered: bool = False) -> bool:
        """Retires a connection that its server has ended. Returns True for a late refusal of the handshake.

        `answered` tells that some byte had come for the last request on it.
        """

    def closed_by_peer(self, connection: C) -> None:
        """Learns how long its server let an idle connection stand, before that is retired."""

    def connection_gone(self, connection: C) -> None:
        """Forgets a retired connection whose socket is closed."""

    def deadline_passed(self, connection: C) -> None:
        """Handles the passed deadline of an idle or watched connection."""

    def advertised(self, keep_alive: bytes) -> int | None:
        """Learns from the server's Keep-Alive field. Returns how many more requests it accepts on that connection, None
        if it does not say."""
