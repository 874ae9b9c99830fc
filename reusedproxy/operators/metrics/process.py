"""Defines the metrics of the process as a whole: HAProxy's, as far as there is such a thing here, and the event loop's.

Turns the view of a proxy into families; what cannot be read from the proxy is given. What HAProxy measures of itself
only (its memory pools, its tasks) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from reusedproxy.operators.metrics.pools import COUNTER, GAUGE, NOW, Family, Sample
from reusedproxy.operators.view.process import figures
from reusedproxy.operators.view.values import ProxyView


@frozen
class Process:
    """Holds what is said of the process besides the view: its version, how many files it may open, Unix time of its
    start, log lines dropped, and the names of the machine and of the installation."""

    version: str
    files: int
    started: float
    log_lines_dropped: int
    #: Sockets of the runtime API.
    sockets: int = 0
    node: str = ""
    description: str = ""


def of_process(view: ProxyView, process: Process) -> Iterator[Family]:
    """Returns HAProxy's families, in its order; each has one sample."""
    found = figures(view, process.sockets)
    frontends = view.frontends
    values: dict[str, tuple[float, str]] = {
        "nbthread": (1, "Threads, always 1."),
        "nbproc": (1, "Processes, always 1."),
        "relative_process_id": (1, "Number of this process, always 1."),
        "uptime_seconds": (int(view.uptime), "Seconds since the start."),
        "max_fds": (process.files, "Most file descriptors."),
        "max_sockets": (process.files, "Most sockets."),
        "max_connections": (view.maxconn, "Client connections that there may be at once (maxconn)."),
        "hard_max_connections": (view.maxconn, "Client connections that there may be at once."),
        "current_connections": (view.clients, "Client connections now."),
        "connections_total": (found.connections, "Client connections."),
        "requests_total": (found.requests, "Requests."),
        "max_ssl_connections": (view.maxsslconn, "Clients over TLS that there may be at once; 0: as many as clients."),
        "current_ssl_connections": (view.tls_clients, "Clients over TLS now, with those in their handshake."),
        "ssl_connections_total": (found.tls, "TLS handshakes of clients."),
        "max_pipes": (0, "Pipes that there may be; none is used."),
        "pipes_used_total": (0, "Pipes in use; there are none."),
        "pipes_free_total": (0, "Pipes that are not in use; there are none."),
        "current_connection_rate": (found.rate, "Client connections in the last second."),
        "limit_connection_rate": (
            found.limit_connections,
            "Client connections that there may be in a second; 0: any number.",
        ),
        "max_connection_rate": (found.most_rate, "Most client connections of a frontend in a second."),
        "current_session_rate": (found.rate, "Sessions in the last second."),
        "limit_session_rate": (found.limit_sessions, "Sessions that there may be in a second; 0: any number."),
        "max_session_rate": (found.most_rate, "Most sessions of a frontend in a second."),
        "current_ssl_rate": (view.handshakes.now, "TLS handshakes that clients have begun in the last second."),
        "limit_ssl_rate": (found.limit_tls, "TLS handshakes that there may be in a second; 0: any number."),
        "max_ssl_rate": (view.handshakes.most, "Most TLS handshakes that clients have begun in a second."),
        "current_frontend_ssl_key_rate": (view.keys.now, "TLS handshakes in the last second that resumed no session."),
        "max_frontend_ssl_key_rate": (view.keys.most, "Most TLS handshakes in a second that resumed no session."),
        "frontend_ssl_reuse": (
            found.reused,
            "Percentage of TLS handshakes in the last second that resumed a session.",
        ),
        "http_comp_bytes_in_total": (
            found.compressed_in,
            "Bytes of answers before compression.",
        ),
        "http_comp_bytes_out_total": (
            found.compressed_out,
            "Bytes of answers after compression.",
        ),
        "limit_http_comp": (0, "Bytes that may be compressed in a second; 0: any number."),
        "idle_time_percent": (found.idle, "Percentage of the last second without computing."),
        "stopping": (int(bool(frontends) and all(each.stopped for each in frontends)), "1 while the proxy stops."),
        "jobs": (found.jobs, "Client connections and listeners."),
        "unstoppable_jobs": (0, "Jobs that outlive a stop; there are none."),
        "listeners": (found.listeners, "Listeners."),
        "active_peers": (0, "Peers; there are none."),
        "connected_peers": (0, "Connected peers; there are none."),
        "dropped_logs_total": (process.log_lines_dropped, "Log lines dropped."),
        "busy_polling_enabled": (0, "1 where the processor is kept busy to wait; never."),
        "bytes_out_total": (found.bytes_out, "Bytes sent to clients."),
        "spliced_bytes_out_total": (0, "Bytes that the kernel has passed on by itself; none."),
        "bytes_out_rate": (view.bytes_out.now, "Bytes sent to clients in the last second."),
        "recv_logs_total": (0, "Log lines received; none are."),
        "start_time_seconds": (int(process.started), "Start of the process, in Unix time."),
    }
    for name, (value, help) in values.items():
        yield _one(f"haproxy_process_{name}", help, (), (), value)
    yield _one("haproxy_process_build_info", "The version.", ("version",), (process.version,), 1)
    if process.node:
        yield _one("haproxy_process_node", "The name of the machine.", ("node",), (process.node,), 1)
    if process.description:
        words = (process.description,)
        yield _one("haproxy_process_description", "What 'description' of 'global' says.", ("desc",), words, 1)


def described(text: str, family: Family) -> Family:
    """Returns the family with what `description` says as a further label."""
    if "desc" in family.labels:
        return family
    samples = [evolve(each, labels=(text, *each.labels)) for each in family.samples]
    return evolve(family, labels=("desc", *family.labels), samples=tuple(samples))


def of_event_loop(view: ProxyView) -> Iterator[Family]:
    yield _one(
        "reusedproxy_event_loop_standstills_total",
        "How often the event loop stood still for too long (see the log).",
        (),
        (),
        view.standstills,
    )
    yield _one(
        "reusedproxy_event_loop_longest_standstill_seconds",
        "The longest of these standstills, in seconds.",
        (),
        (),
        view.longest_standstill,
    )


def of_files(view: ProxyView) -> Iterator[Family]:
    yield _one(
        "reusedproxy_tls_files_refused",
        "Files of TLS that have changed and were refused, so that the old ones are in use (see the log).",
        (),
        (),
        len(view.refused_files),
    )


def _one(name: str, help: str, labels: tuple[str, ...], words: tuple[str, ...], value: float) -> Family:
    kind = COUNTER if name.endswith("_total") else GAUGE
    return Family(name, kind, help, labels, NOW, help, (Sample(words, value),))
