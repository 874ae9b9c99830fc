"""Says what the statistics page shows of certificates, beside the figures: their names, their ends, and how near these
are.

Turns the view of frontends and servers into values for the templates; must never know markup beyond a cell.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from operator import attrgetter
from typing import Any

from markupsafe import Markup

from reusedproxy.operators.logs.expiry import THRESHOLDS, days_left
from reusedproxy.operators.view.values import FrontendView, ListenersView, ServerView

#: Most certificates shown for a `bind` line (those that end first), and most names or addresses shown in one cell.
SHOWN = 20
NAMES = 4


def listeners(frontend: FrontendView, now: float) -> dict[str, Any] | None:
    """Returns the frontend's TLS listeners, None without any. `now` is Unix time."""
    handshakes = frontend.tls
    if handshakes is None:
        return None
    return {
        "completed": handshakes.completed,
        "resumed": handshakes.resumed,
        "failed": handshakes.failed,
        "under_way": handshakes.under_way,
        "rows": [row for each in handshakes.listeners for row in _certificates(each, now)],
    }


def servers(shown: Iterable[ServerView], now: float) -> Iterator[dict[str, Any]]:
    """Returns the TLS servers, each with the end of our certificate and of the server's."""
    return (
        {"name": server.name, "file": tls.crt, "ours": _ends(tls.ours_end, now), "theirs": _ends(tls.theirs_end, now)}
        for server in shown
        if (tls := server.pool.tls) is not None
    )


def few(names: Sequence[str]) -> str:
    """Returns the first names, and the number of further ones."""
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def _certificates(listeners: ListenersView, now: float) -> Iterator[dict[str, Any]]:
    certificates = nsmallest(SHOWN, listeners.certificates, key=attrgetter("ends"))
    for number, certificate in enumerate(certificates):
        yield {
            "where": few(listeners.addresses) if not number else "",
            "more": 0,
            "file": certificate.file,
            "names": few(certificate.names),
            "ends": _ends(certificate.ends, now),
        }
    more = len(listeners.certificates) - len(certificates)
    if more > 0:
        yield {"where": "", "more": more}


def _ends(end: float | None, now: float) -> Markup:
    """Returns two cells: the date, and the time left, coloured by the thresholds of the log's warnings."""
    if end is None:
        return Markup("<td></td><td></td>")
    date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
    left = end - now
    if left <= 0:
        return Markup("<td>{}</td><td class='over'>expired</td>").format(date)
    kind = "near" if left <= THRESHOLDS[1] else "warn" if left <= THRESHOLDS[0] else ""
    return Markup("<td>{}</td><td class='{}'>{}</td>").format(date, kind, days_left(left))
