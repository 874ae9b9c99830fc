"""Reads the connections that are kept to servers, each with all that is known of it: what is asked for now and then
only, since the kernel and OpenSSL are asked about every one.

Like `reading` it must never change what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, NamedTuple

from reusedproxy.backends.server import Server
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.hedging import Runner
from reusedproxy.net.dial import Dial
from reusedproxy.net.tcp_info import tcp_info
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.facts import TransportTLS
from reusedproxy.net.transport import CLOSED
from reusedproxy.operators.view.present import Present, servers_in
from reusedproxy.operators.view.reading import connection_view
from reusedproxy.operators.view.values import ConnectionView
from reusedproxy.pool.apart import is_apart
from reusedproxy.pool.connection import IDLE, IN_USE, RETIRING, ServerConnection
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import IDLE as TOO_LONG
from reusedproxy.pool.reasons import MAX_AGE, MAX_REQUESTS, PEER_DEADLINE, PROXY, TUNNEL, word_for


class KeptView(NamedTuple):
    """Shows a connection to a server, or (`cause` is not "") a dial, whose `shown` has no number of its own.

    `state` says more than that of `shown`: "due" is idle and leaves when another stands, "suspect" is idle and given to
    nobody for now, "ping" carries a request of our own. `identity` is its name or identity, "" for the usual one.
    `tls` and `cipher` are "" without TLS; `serial` and `ends` (Unix time) are those of the certificate that the server
    has shown, `rtt` the round trip as the kernel knows it, in seconds. `session` is the number of the client connection
    that uses it, 0 for none. `leaves_in` are the seconds until it leaves, for the reason `why` (`pool.reasons`); None:
    nothing bounds it now, or another has to stand first.
    """

    server: str
    shown: ConnectionView
    state: str
    identity: str
    former: bool
    local: str
    remote: str
    tls: str = ""
    cipher: str = ""
    resumed: bool = False
    serial: str = ""
    ends: float | None = None
    rtt: float | None = None
    session: int = 0
    leaves_in: float | None = None
    why: str = ""
    cause: str = ""


def kept_connections(present: Present, backend: str = "", server: str = "") -> Iterator[KeptView]:
    """Returns the connections to the servers of the running proxy, to those of one `backend` or to one `server` alone
    if that is not "", one at a time: they may end meanwhile, and so may servers, and the proxy (`view.present`)."""
    for section, each in servers_in(present):
        name, proxy = each.name, present()
        if backend not in ("", section.name) or server not in ("", name):
            continue
        for view in _of_server(each):
            yield view
            if present() is proxy and section.named.get(name) is not each:
                break  # it was deleted


def _of_server(server: Server) -> Iterator[KeptView]:
    """Returns the connections to a server that may be deleted or replaced meanwhile, and its pools taken apart."""
    pool, name, former = server.pool, server.full_name, [*server.former]
    identities = {each: said for said, each, _, _ in pool.names.shown()} if isinstance(pool, ConstantPool) else {}
    for each in list(pool.family):
        yield from _of_pool(name, each, identities.get(each, ""), former=False)
    for before in former:
        for each in list(before.family) if not is_apart(before) and before.state != "closed" else ():
            yield from _of_pool(name, each, "", former=True)


def _of_pool(server: str, pool: HTTPConnectionPool, identity: str, *, former: bool) -> Iterator[KeptView]:
    if is_apart(pool):  # meanwhile
        return
    now = pool.deadlines.now
    for dial, cause in list(pool.connecting.items()):
        if is_apart(pool):
            return
        if dial in pool.connecting:
            yield _dial(server, pool, dial, cause, identity, former)
    if is_apart(pool):
        return
    lists: tuple[Iterable[ServerConnection], ...] = (pool.idle, pool.in_use, pool.private, pool.watched, pool.retiring)
    for connection in [each for some in lists for each in some]:
        if is_apart(pool):
            return
        if connection.transport.state != CLOSED:
            yield _connection(server, pool, connection, identity, former, now())


def _dial(server: str, pool: HTTPConnectionPool, dial: Dial, cause: str, identity: str, former: bool) -> KeptView:
    shown = ConnectionView("connecting", 0, pool.deadlines.now() - dial.born, 0, None, 0.0, 0.0)
    return KeptView(
        server, shown, "connecting", identity, former, _local(dial.socket), str(pool.dialer.target), cause=cause
    )


def _connection(
    server: str, pool: HTTPConnectionPool, connection: ServerConnection, identity: str, former: bool, now: float
) -> KeptView:
    transport: Any = connection.transport
    tls = TransportTLS(transport) if isinstance(transport, ClientTLSTransport) else None
    certificate = transport.certificate if tls is not None else None
    rtt = tcp_info(transport.socket, "rtt")
    leaves_at, why = _end(pool, connection)
    return KeptView(
        server,
        connection_view(connection, now),
        _state(pool, connection),
        identity,
        former,
        _local(transport.socket),
        _remote(transport.socket) or str(pool.dialer.target),
        "" if tls is None else tls.version,
        "" if tls is None else tls.cipher,
        tls is not None and tls.resumed,
        "" if certificate is None else format(certificate.serial_number, "x"),
        None if certificate is None else certificate.not_valid_after_utc.timestamp(),
        None if rtt is None else rtt / 1e6,
        _session(connection),
        None if leaves_at == inf else max(0.0, leaves_at - now),
        why,
    )


def _state(pool: HTTPConnectionPool, connection: ServerConnection) -> str:
    held = pool.holdings
    if connection.state == IDLE and connection in held.due:
        return "due"
    if connection.state == IDLE and connection.idle_since < held.guard.suspected_at:
        return "suspect"
    if connection.state == IN_USE:
        return "ping" if connection in held.pinged else "in-use"
    return connection_view(connection, 0.0).state


def _end(pool: HTTPConnectionPool, connection: ServerConnection) -> tuple[float, str]:
    """Returns when a connection leaves, and why: an idle one at that time, one in use when it comes back afterwards."""
    upkeep, limits = pool.upkeep, pool.limits
    if connection.state == RETIRING:
        return inf, ""
    if connection.state == IN_USE and not connection.carries_requests:
        return -inf, TUNNEL
    if connection.retire_at == -inf or connection in pool.holdings.last_use:
        return -inf, MAX_REQUESTS
    over = word_for(upkeep.why_over(connection), PROXY, idle=True, pinged=False)
    if connection in pool.holdings.due:
        stood = connection.retire_at > pool.deadlines.now()
        return connection.deadline, PEER_DEADLINE if stood and over == MAX_AGE else over
    ends = [(connection.retire_at, over)]
    if connection.state == IDLE:
        ends.append((upkeep.leaves_at(connection), PEER_DEADLINE))
        if limits.idle_timeout is not None and len(pool.idle) > pool.floor:
            ends.append((connection.idle_since + limits.idle_timeout, TOO_LONG))
    at, why = min(ends)
    return at, why if at < inf else ""


def _session(connection: ServerConnection) -> int:
    """Returns the number by which `show sess` knows the client that uses it; 0 where it is none, or a tunnel's."""
    served: object = connection.exchange
    if isinstance(served, Runner):
        served = served.request
    return id(served.client) if isinstance(served, Exchange) else 0


def _local(connected: Any) -> str:
    try:
        return "-" if connected is None else _address(connected.getsockname())
    except OSError:
        return "-"


def _remote(connected: Any) -> str:
    try:
        return _address(connected.getpeername())
    except OSError:
        return ""


def _address(address: Any) -> str:
    """Returns the address of a socket; a unix socket's may be a path, or unnamed."""
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
