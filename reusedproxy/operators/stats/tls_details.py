"""Renders the TLS part of the statistics page: certificates of listeners, handshakes, and the ends of certificates.

Turns the state of frontends and servers into HTML. Names in certificates come from files, and pass through `escape`
like all external text.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from heapq import nsmallest
from html import escape

from reusedproxy.backends.server import Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.net.tls.server import Certificates, ServerContext
from reusedproxy.operators.logs.expiry import THRESHOLDS, days_left
from reusedproxy.operators.metrics.pools import theirs_end

#: Most certificates shown for a `bind` line (those that end first), and most names or addresses shown in one cell.
SHOWN = 20
NAMES = 4

STYLE = """
.near{background:#d32f2f66}.over{background:#d32f2f;color:#fff}.tls caption{text-align:left;font-size:12px;padding:.3em 0}
"""


def listeners(frontend: Frontend, now: float) -> str:
    """Returns the table of the frontend's TLS listeners, "" without any. `now` is Unix time."""
    shown = by_certificates(frontend)
    if not shown:
        return ""
    handshakes = frontend.handshakes
    failed = f"<span class='{'warn' if handshakes.failed else 'quiet'}'>{handshakes.failed:,} failed</span>"
    counted = f"{handshakes.completed:,} completed, {handshakes.resumed:,} of them resumed; {failed}"
    rows = "".join(_listener(addresses, certificates, now) for certificates, addresses in shown)
    return (
        f"<table class='tls'><caption>TLS handshakes of clients: {counted}, {len(handshakes.under_way):,} under way</caption>\n"
        f"<thead><tr><th>Listener</th><th>certificate</th><th>names</th><th>ends</th><th>left</th></tr></thead>\n{rows}</table>\n"
    )


def servers(shown: Iterable[Server], now: float) -> str:
    """Returns the table of TLS servers with the end of the client certificate and of the server's certificate, ""
    without any."""
    rows = "".join(_server(server, now) for server in shown if server.pool.context is not None)
    head = "<thead><tr><th>TLS</th><th>our certificate</th><th>ends</th><th>left</th><th>its own ends</th><th>left</th></tr></thead>"
    return f"<table class='tls'>{head}\n{rows}</table>\n" if rows else ""


def by_certificates(frontend: Frontend) -> list[tuple[Certificates, list[str]]]:
    """Returns the addresses of the frontend's TLS listeners, grouped by their certificates: those of a range of ports,
    for example, share them."""
    found: dict[int, tuple[Certificates, list[str]]] = {}
    for bind in frontend.settings.binds:
        certificates = frontend.handshakes.certificates.get(bind.address)
        if certificates is not None:
            found.setdefault(id(certificates), (certificates, []))[1].append(str(bind.address))
    return list(found.values())


def end_of(context: ServerContext) -> float:
    """Returns the end of the certificate that the context shows, in Unix time."""
    return context.leaf.not_valid_after_utc.timestamp()


def few(names: list[str]) -> str:
    """Returns the first names, and the number of further ones."""
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _listener(addresses: list[str], certificates: Certificates, now: float) -> str:
    contexts = nsmallest(SHOWN, certificates.contexts, key=end_of)
    rows = []
    for number, context in enumerate(contexts):
        where = few(addresses) if not number else ""
        names = few(list(dict.fromkeys(context.names)))
        cells = f"<td class='left'>{escape(context.crt)}</td><td class='left wide'>{escape(names)}</td>"
        rows.append(f"<tr><th>{escape(where)}</th>{cells}{_ends(end_of(context), now)}</tr>\n")
    more = len(certificates.contexts) - len(contexts)
    if more > 0:
        rows.append(f"<tr><th></th><td class='left quiet' colspan=4>and {more:,} more, which end later</td></tr>\n")
    return "".join(rows)


def _server(server: Server, now: float) -> str:
    context = server.pool.context
    assert context is not None
    ours = context.settings.crt
    file = escape(ours) if ours is not None else "<span class='quiet'>none</span>"
    return (
        f"<tr><th>{escape(server.name)}</th><td class='left'>{file}</td>"
        f"{_ends(context.ours_end, now)}{_ends(theirs_end(server), now)}</tr>\n"
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
