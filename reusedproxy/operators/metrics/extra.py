"""Defines the metrics that HAProxy's exporter has with `extra-counters` only: those of its modules, TLS and HTTP/1.

They are columns of the statistics, too, and have the module's name as their label `mod`.
"""

from __future__ import annotations

from reusedproxy.operators.metrics.haproxy import Metric, Read, Values
from reusedproxy.operators.metrics.pools import COUNTER, GAUGE
from reusedproxy.operators.stats.figures import Row, Section

#: By column: the module, the kind, those rows that have it, and what it is.
_TABLE = {
    "ssl_sess": ("ssl", COUNTER, "FBS", "TLS handshakes."),
    "ssl_reused_sess": ("ssl", COUNTER, "FBS", "TLS handshakes that resumed a session."),
    "ssl_failed_handshake": ("ssl", COUNTER, "FBS", "TLS handshakes that failed."),
    "h1_open_connections": ("h1", GAUGE, "FB", "HTTP/1 connections now."),
    "h1_open_streams": ("h1", GAUGE, "FB", "Requests under way."),
    "h1_total_connections": ("h1", COUNTER, "FB", "HTTP/1 connections."),
    "h1_total_streams": ("h1", COUNTER, "FB", "Requests."),
    "h1_bytes_in": ("h1", COUNTER, "F", "Bytes received."),
    "h1_bytes_out": ("h1", COUNTER, "F", "Bytes sent."),
    "h1_spliced_bytes_in": ("h1", COUNTER, "FB", "Bytes received that the kernel passed on by itself; none."),
    "h1_spliced_bytes_out": ("h1", COUNTER, "FB", "Bytes sent that the kernel passed on by itself; none."),
}


def _of(column: str, module: str) -> Read:
    def read(row: Row, section: Section) -> Values:
        value = row.columns.get(column)
        return ((((("mod", module),)), value),) if isinstance(value, int) else ()

    return read


_METRICS = [
    Metric(column, kind, kinds, help, _of(column, module)) for column, (module, kind, kinds, help) in _TABLE.items()
]


def metrics(kind: str) -> list[Metric]:
    """Returns those that rows of this kind have."""
    return [each for each in _METRICS if kind in each.kinds]
