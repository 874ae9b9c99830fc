"""Reads the clients that are connected, and where servers are reached: what is asked for now and then only, and costs
too much for every view.

Like `reading` it must never change what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from time import time
from typing import Any, NamedTuple

from reusedproxy.backends.server import Server
from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.owner import Connected
from reusedproxy.clients.stream import BUSY, StreamConnection
from reusedproxy.net.tcp_info import tcp_info
from reusedproxy.operators.view.present import Present, clients_in
from reusedproxy.operators.view.proxy import Proxy

#: Characters of a request's first line that are shown.
LONGEST_LINE = 1024


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


class SideView(NamedTuple):
    """Shows one of the two connections of a session. `address` is that of the peer, `bytes` are what it has sent for
    the present request, `unsent` those that it has not taken. `silent_for` is in seconds; None: that cannot be known.
    `ends_in`: the seconds after which its silence ends the session; None: nothing bounds it now.
    """

    state: str
    address: str
    tls: str
    bytes: int
    unsent: int
    silent_for: float | None
    ends_in: float | None


class SessionDetails(NamedTuple):
    """Shows all that is known of a session. `began` is in Unix time; `request` the first line of the present request,
    "" if there is none; `phase` what is waited for; `server` is None while there is no connection to one."""

    session: SessionView
    mode: str
    listener: str
    began: float
    request: str
    phase: str
    status: int
    retries: int
    client: SideView
    server: SideView | None

    @property
    def ends_in(self) -> float | None:
        """Returns the seconds to the next time-out of either side, or of a wait; None: there is none."""
        found = [each.ends_in for each in (self.client, self.server) if each is not None and each.ends_in is not None]
        return min(found, default=None)

    @property
    def silent_for(self) -> float | None:
        """Returns the seconds since anything came from, or went to, either side."""
        sides = (self.client, self.server)
        found = [each.silent_for for each in sides if each is not None and each.silent_for is not None]
        return min(found, default=None)


class Endpoint(NamedTuple):
    """Shows the address of a server, "-" if its name has none; a unix socket is "-" with the port 0."""

    host: str
    port: int


_STATES = ("idle", "request", "busy", "ending", "ending")


def sessions(proxy: Proxy) -> Iterator[SessionView]:
    """Returns all client connections, one at a time: they may change and end meanwhile. Those that reloads have left to
    proxies before this one come first."""
    return (view for view, _ in living_sessions(lambda: proxy))


def living_sessions(present: Present) -> Iterator[tuple[SessionView, Connected]]:
    """Returns likewise all client connections of the running proxy, each with the connection itself, for `details`;
    reloads may replace the proxy meanwhile (`view.present`)."""
    now = present().deadlines.now
    for frontend, connection in clients_in(present):
        yield _session(connection, frontend.name, now()), connection


def _session(connection: Connected, frontend: str, now: float) -> SessionView:
    if isinstance(connection, StreamConnection):
        return _stream(connection, frontend, now)
    if not isinstance(connection, ClientConnection):
        # A handshake, or a PROXY header that is waited for.
        age = now - getattr(connection, "began", now)
        source = getattr(connection, "address", ("", 0))
        return SessionView(id(connection), frontend, "", "", source, True, "handshake", age, 0, 0.0)
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


def details(view: SessionView, connection: Connected, now: float) -> SessionDetails:
    """Returns all that is known of a session that was just looked at. Asks the kernel twice."""
    listener = str(connection.listener.bind.address)
    began = time() - view.age
    if isinstance(connection, StreamConnection):
        stream = connection.stream
        relay = stream.relay
        passed = (stream.received, stream.sent) if relay is None else (relay.client.sent, relay.server.sent)
        waits = relay if relay is not None else stream.search if stream.search is not None else connection
        client = _side(view.state, connection, passed[0], waits, now)
        far = None if stream.connection is None else _far("relaying", stream.connection, passed[1], waits, now)
        return SessionDetails(view, "tcp", listener, began, "", stream.state, 0, stream.retries, client, far)
    if not isinstance(connection, ClientConnection):
        ends_in = _left(getattr(connection, "deadline", inf), now)
        client = SideView(view.state, _peer(*view.source), "", 0, 0, None, ends_in)
        return SessionDetails(view, "-", listener, began, "", "", 0, 0, client, None)
    exchange = connection.exchange
    if exchange is None:
        client = _side(view.state, connection, 0, connection, now)
        return SessionDetails(view, "http", listener, began, "", "", 0, 0, client, None)
    tunnel, attempt = exchange.tunnel, exchange.attempt
    phase = attempt.state if exchange.state == "trying" and attempt is not None else exchange.state
    bounded: Any = tunnel if tunnel is not None else connection
    client = _side("tunnel" if tunnel is not None else view.state, connection, exchange.bytes_in, bounded, now)
    server = None
    if exchange.connection is not None:
        bounded = tunnel if tunnel is not None else exchange.connection
        server = _far(phase, exchange.connection, exchange.bytes_out, bounded, now)
    elif attempt is not None and attempt.deadline < inf:
        client = client._replace(ends_in=_left(attempt.deadline, now))
    first = exchange.head.block.split(b"\r\n", 1)[0] if exchange.head is not None else b""
    request = first[:LONGEST_LINE].decode("latin-1")
    return SessionDetails(
        view, "http", listener, began, request, phase, exchange.status, exchange.retries, client, server
    )


def _side(state: str, connection: Any, passed: int, waits: Any, now: float) -> SideView:
    """Returns the client's side; `waits` has the deadline."""
    transport = connection.transport
    return SideView(
        state,
        _peer(*connection.address),
        transport.version,
        passed,
        transport.unsent,
        _silence(transport),
        _left(waits.deadline, now),
    )


def _far(state: str, connection: Any, passed: int, waits: Any, now: float) -> SideView:
    """Returns the server's side."""
    transport = connection.transport
    target = connection.pool.dialer.target
    return SideView(
        state,
        str(target),
        transport.version,
        passed,
        transport.unsent,
        _silence(transport),
        _left(waits.deadline, now),
    )


def _silence(transport: Any) -> float | None:
    """Returns the seconds since the kernel has taken or sent anything; None where that is not measured."""
    connected = transport.socket
    found = [tcp_info(connected, what) for what in ("last_data_recv", "last_data_sent")]
    known = [each for each in found if each is not None]
    return min(known) / 1000 if known else None


def _left(deadline: float, now: float) -> float | None:
    return None if deadline == inf else deadline - now


def _peer(host: str, port: int) -> str:
    return "unix" if host in ("", "unix") else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def endpoints(proxy: Proxy, name: str = "") -> dict[str, Endpoint]:
    """Returns the address of each server, or of those of the backend with this name, by "backend/server"."""
    return {
        server.full_name: _endpoint(server)
        for backend in proxy.backends
        if name in ("", backend.name)
        for server in backend.servers
    }


def _endpoint(server: Server) -> Endpoint:
    if server.target is None:
        return Endpoint("-", server.settings.port or 0)
    address = server.target.address
    # As in HAProxy, without the path or the name of a unix socket: either may have blanks, which divide columns.
    return Endpoint(address[0], address[1]) if isinstance(address, tuple) else Endpoint("-", 0)
