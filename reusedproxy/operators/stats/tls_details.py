"""Renders the TLS part of the statistics page: certificates of listeners, handshakes, and the ends of certificates.

Turns the view of frontends and servers into HTML. Names in certificates come from files, and pass through `escape`
like all external text.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from html import escape
from operator import attrgetter

from reusedproxy.operators.logs.expiry import THRESHOLDS, days_left
from reusedproxy.operators.view.values import FrontendView, ListenersView, ServerView

#: Most certificates shown for a `bind` line (those that end first), and most names or addresses shown in one cell.
SHOWN = 20
NAMES = 4

STYLE = """
.near{background:#d32f2f66}.over{background:#d32f2f;color:#fff}
.tls caption{text-align:left;font-size:12px;padding:.3em 0}
"""


def listeners(frontend: FrontendView, now: float) -> str:
    """Returns the table of the frontend's TLS listeners, "" without any. `now` is Unix time."""
    handshakes = frontend.tls
    if handshakes is None:
        return ""
    failed = f"<span class='{'warn' if handshakes.failed else 'quiet'}'>{handshakes.failed:,} failed</span>"
    counted = f"{handshakes.completed:,} completed, {handshakes.resumed:,} of them resumed; {failed}"
    rows = "".join(_listener(each, now) for each in handshakes.listeners)
    return (
        f"<table class='tls'><caption>TLS handshakes of clients: {counted},"
        f" {handshakes.under_way:,} under way</caption>\n"
        f"<thead><tr><th>Listener</th><th>certificate</th><th>names</th><th>ends</th><th>left</th></tr></thead>\n{rows}</table>\n"
    )


def servers(shown: Iterable[ServerView], now: float) -> str:
    """Returns the table of TLS servers with the end of the client certificate and of the server's certificate, ""
    without any."""
    rows = "".join(_server(server, now) for server in shown if server.pool.tls is not None)
    names = ("TLS", "our certificate", "ends", "left", "its own ends", "left")
    head = f"<thead><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr></thead>"
    return f"<table class='tls'>{head}\n{rows}</table>\n" if rows else ""


def few(names: Sequence[str]) -> str:
    """Returns the first names, and the number of further ones."""
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _listener(listeners: ListenersView, now: float) -> str:
    certificates = nsmallest(SHOWN, listeners.certificates, key=attrgetter("ends"))
    rows = []
    for number, certificate in enumerate(certificates):
        where = few(listeners.addresses) if not number else ""
        names = few(certificate.names)
        cells = f"<td class='left'>{escape(certificate.file)}</td><td class='left wide'>{escape(names)}</td>"
        rows.append(f"<tr><th>{escape(where)}</th>{cells}{_ends(certificate.ends, now)}</tr>\n")
    more = len(listeners.certificates) - len(certificates)
    if more > 0:
        rows.append(f"<tr><th></th><td class='left quiet' colspan=4>and {more:,} more, which end later</td></tr>\n")
    return "".join(rows)


def _server(server: ServerView, now: float) -> str:
    tls = server.pool.tls
    assert tls is not None
    file = escape(tls.crt) if tls.crt is not None else "<span class='quiet'>none</span>"
    return (
        f"<tr><th>{escape(server.name)}</th><td class='left'>{file}</td>"
        f"{_ends(tls.ours_end, now)}{_ends(tls.theirs_end, now)}</tr>\n"
    )


def _ends(end: float | None, now: float) -> str:
    """Returns two cells: the date, and the time left, coloured by the thresholds of the log's warnings."""
    if end is None:
        return "<td></td><td></td>"
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
    left = end - now
    if left <= 0:
        return f"<td>{date}</td><td class='over'>expired</td>"
    kind = "near" if left <= THRESHOLDS[1] else "warn" if left <= THRESHOLDS[0] else ""
    return f"<td>{date}</td><td class='{kind}'>{days_left(left)}</td>"
