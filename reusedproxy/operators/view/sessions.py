"""Reads the clients that are connected, and where servers are reached: what is asked for now and then only, and costs
too much for every view.

Like `reading` it must never change what it looks at.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import NamedTuple

from reusedproxy.backends.server import Server
from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.owner import Connected
from reusedproxy.clients.stream import BUSY, StreamConnection
from reusedproxy.operators.view.proxy import Proxy


class SessionView(NamedTuple):
    """Shows a client connection. `backend` and `server` are those of its present request, "" if there are none. `state`
    is "handshake", "idle", "request" (its head is coming), "busy" or "ending"; in mode tcp that of its stream, such as
    "relaying". Times are in seconds.
    """

    number: int
    frontend: str
    backend: str
    server: str
    source: tuple[str, int]
    tls: bool
    state: str
    age: float
    requests: int
    request_age: float


class Endpoint(NamedTuple):
    """Shows the address of a server, "-" if its name has none; a unix socket is "-" with the port 0."""

    host: str
    port: int


_STATES = ("idle", "request", "busy", "ending", "ending")


def sessions(proxy: Proxy) -> Iterator[SessionView]:
    """Returns all client connections, one at a time: they may change and end meanwhile. Those that reloads have left to
    proxies before this one come first."""
    now = proxy.deadlines.now
    for each in (*proxy.before, proxy):
        for frontend in list(each.frontends):
            connections = list(frontend.connections) if frontend in each.frontends else ()
            for connection in connections:
                # A reload may have replaced the proxy meanwhile, and taken it apart.
                if frontend in each.frontends and connection in frontend.connections:
                    yield _session(connection, frontend.name, now())


def _session(connection: Connected, frontend: str, now: float) -> SessionView:
    if isinstance(connection, StreamConnection):
        return _stream(connection, frontend, now)
    if not isinstance(connection, ClientConnection):
        return SessionView(id(connection), frontend, "", "", ("", 0), True, "handshake", 0.0, 0, 0.0)
    exchange = connection.exchange
    backend = exchange.backend if exchange is not None else None
    server = exchange.server if exchange is not None else None
    return SessionView(
        number=id(connection),
        frontend=frontend,
        backend=backend.name if backend is not None else "",
        server=server.name if server is not None else "",
        source=connection.address,
        tls=connection.transport.secure,
        state=_STATES[connection.state],
        age=now - connection.accepted,
        requests=connection.requests,
        request_age=now - exchange.began if exchange is not None else 0.0,
    )


def _stream(connection: StreamConnection, frontend: str, now: float) -> SessionView:
    stream = connection.stream
    backend, server = stream.backend, stream.server
    return SessionView(
        number=id(connection),
        frontend=frontend,
        backend=backend.name if backend is not None else "",
        server=server.name if server is not None else "",
        source=connection.address,
        tls=connection.transport.secure,
        state=stream.state if connection.state == BUSY else "ending",
        age=now - connection.since,
        requests=0,
        request_age=now - stream.began,
    )


def endpoints(proxy: Proxy, names: Container[str]) -> dict[str, Endpoint]:
    """Returns the address of each server of the backends with these names, by "backend/server"."""
    return {
        server.full_name: _endpoint(server)
        for backend in proxy.backends
        if backend.name in names
        for server in backend.servers
    }


def _endpoint(server: Server) -> Endpoint:
    if server.target is None:
        return Endpoint("-", server.settings.port or 0)
    address = server.target.address
    # As in HAProxy, without the path or the name of a unix socket: either may have blanks, which divide columns.
    return Endpoint(address[0], address[1]) if isinstance(address, tuple) else Endpoint("-", 0)
