"""Computes what is shown of the process as a whole, by `show info` of the runtime API and by the exporter's
`haproxy_process_…`."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.clients.connection_limit import ACCEPTED, CONNECTIONS, HANDSHAKES
from reusedproxy.operators.view.values import ProxyView


@frozen
class ProcessFigures:
    """Holds sums over all frontends, since the start; rates are of the last second. `reused` is the percentage
    of completed handshakes that resumed a session, `idle` that of the time without computing, `jobs` the client
    connections and listeners. Limits are clients a second, 0: none."""

    connections: int
    requests: int
    tls: int
    rate: int
    most_rate: int
    reused: int
    compressed_in: int
    compressed_out: int
    bytes_out: int
    idle: int
    listeners: int
    jobs: int
    limit_connections: int
    limit_sessions: int
    limit_tls: int


def figures(view: ProxyView, sockets: int) -> ProcessFigures:
    """Returns the figures of a proxy that has so many `sockets` of the runtime API besides."""
    frontends, listeners, limits = view.frontends, view.listeners + sockets, view.rate_limits
    completed = view.keys.now + view.resumed.now
    return ProcessFigures(
        connections=sum(each.connections_total for each in frontends),
        requests=sum(each.traffic.req_tot for each in frontends),
        tls=sum(each.tls.completed for each in frontends if each.tls is not None),
        rate=sum(each.sessions.now for each in frontends),
        most_rate=max((each.sessions.most for each in frontends), default=0),
        reused=100 * view.resumed.now // completed if completed else 0,
        compressed_in=sum(each.traffic.comp_in for each in frontends),
        compressed_out=sum(each.traffic.comp_out for each in frontends),
        bytes_out=sum(each.traffic.bout for each in frontends),
        idle=round(100 * view.idle),
        listeners=listeners,
        jobs=view.clients + listeners,
        limit_connections=limits.get(CONNECTIONS, 0),
        limit_sessions=limits.get(ACCEPTED, 0),
        limit_tls=limits.get(HANDSHAKES, 0),
    )
