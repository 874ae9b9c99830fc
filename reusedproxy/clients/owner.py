"""Defines what client connections ask of the frontend that owns them: what they share, and whom they tell
when they end.

`frontend` implements it. Connections know their frontend through this Protocol only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from reusedproxy.config import model
from reusedproxy.exchanges.client import ClientFrontend
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.routing import Routing
from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.wire.bodies import ChunkedBody
from reusedproxy.wire.heads import Limits

AccessLog = Callable[[Exchange], None]


class Connected(Protocol):
    """Defines one of a frontend's connections: a client, or one whose handshake is under way."""

    listener: Listener

    @property
    def over_tls(self) -> bool:
        """Tells whether it counts among the clients over TLS."""

    def finish(self) -> None:
        """Ends the connection as soon as nothing is under way, because the proxy stops."""

    def abort(self, reason: str) -> None:
        """Ends the connection now, whatever is under way."""


class Owner(ClientFrontend, Protocol):
    """Defines the frontend as its client connections know it. `closing` tells that each exchange is its client
    connection's last."""

    settings: model.Frontend
    limits: Limits
    deadlines: Deadlines
    log: AccessLog | None
    #: Requests that could not be read.
    invalid: LastErrors
    connections: set[Connected]
    closing: bool
    #: Another frontend accepts on its listeners, or nobody does.
    stopped: bool
    #: Answers some requests (`monitor-uri`), and says whether it did; None: nobody does.
    monitor: Callable[[Exchange, bytes, bool], bool] | None
    #: Returns False for requests that need not be given to `route`, but begin at the `default_route`; None: all are. It
    #: counts them, too, where they are to be counted.
    guard: Callable[[Exchange], bool] | None
    #: Tells whether `forwarded` writes anything for some clients.
    forwards: bool
    #: Each request is counted before all else.
    counts_requests: bool
    #: Its rules; None: there are none.
    routing: Routing | None

    def route(self, exchange: Exchange, body: bytes, ended: bool) -> None:
        """Begins `exchange` at its backend, or answers it. `body` is what has come of the body; `ended`
        tells that it is all of it."""

    def forwarded(self, address: tuple[str, int]) -> bytes:
        """Writes the line of `option forwardfor` for a client at `address`, for servers of the default backend."""

    def chunked_body(self) -> ChunkedBody:
        """Returns a reader for a request body of unknown length."""

    def settle(self, connection: Connected) -> None:
        """Hands over a connection that was not idle when this frontend stopped, or ends it."""

    def take_over(self, connection: Connected) -> None:
        """Adopts a connection of another frontend, which stops."""

    def let_go(self, connection: Connected) -> None:
        """Forgets a connection that another frontend is about to take over."""

    def connection_gone(self, connection: Connected, listener: Listener) -> None:
        """Forgets a connection whose socket is closed."""
