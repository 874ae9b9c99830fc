"""Keeps, for one client connection, what its exchanges leave for those that follow, until it closes.

A session holds what rules have learnt of its TLS, their variables of the scope `sess`, and the server connections that
serve this client alone. Most client connections never have one. It must never know requests.
"""

from __future__ import annotations

from attrs import Factory, define

from reusedproxy.net.tls.facts import TransportTLS
from reusedproxy.pool.connection import PRIVATE, RETIRING, ServerConnection
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.rules.facts import Sample
from reusedproxy.tables.tracking import Counters, leave

#: Most server connections that stand idle for one client, who must not have more of them with each name and each
#: backend that it asks for. (In HAProxy they are 5, `max-session-srv-conns`.)
KEPT = 32


@define
class Session:
    """Keeps the state of one client connection. `tls` is None without TLS.

    `private` are server connections that serve nobody else (`http-reuse never`, and those that are
    authenticated themselves). `last` names the server of the last request (backend/server), in backends with `option
    prefer-last-server`; a name, because the session outlives reloads and the server does not.
    """

    tls: TransportTLS | None
    variables: dict[str, Sample] = Factory(dict)
    private: list[ServerConnection] = Factory(list)
    last: str = ""
    #: What its connection tracks in stick tables; None: nothing.
    counters: Counters | None = None
    #: What a rule has put in the place of the address that its connection has come to (`tcp-request connection
    #: set-dst`); None: nothing.
    connection_destination: tuple[str, int] | None = None
    #: The client's address and the one that it had connected to, before rules for sessions have put others in their
    #: place; None: none has.
    addresses_before: tuple[tuple[str, int], tuple[str, int] | None] | None = None

    def keep(self, connection: ServerConnection) -> None:
        """Reserves this server connection for the client; it is closed with the client's own, or before if there are
        too many."""
        self.private = [each for each in self.private if each is not connection and each.state != RETIRING]
        self.private.append(connection)
        idle = [each for each in self.private if each.state == PRIVATE]
        if len(idle) >= KEPT:  # this one will be idle, too
            idle[0].pool.retire(idle[0], "room for another")

    def take(self, pool: HTTPConnectionPool) -> ServerConnection | None:
        """Takes into use the connection that the client's last exchange at `pool` has left, and returns it; None if
        there is none any more."""
        for connection in self.private:
            if connection.state == PRIVATE and connection.pool is pool:
                pool.take(connection)
                return connection
        return None

    def has_one_of(self, pool: HTTPConnectionPool) -> bool:
        """Tells whether an idle connection of `pool` is reserved for the client."""
        # The state first: the pool of one that has left may have been taken apart since.
        return any(each.state == PRIVATE and each.pool.first is pool for each in self.private)

    def end(self) -> None:
        """Closes the server connections that are reserved for the client, which is gone, and tracks it no more."""
        counters, self.counters = self.counters, None
        if counters is not None:
            leave(counters)
        for connection in self.private:
            if connection.state == PRIVATE:
                connection.pool.retire(connection, "client gone")
