"""Answers requests for `stats enable`: the statistics within the URIs of a frontend.

Parses the request as HAProxy does (the URI as a prefix; `;csv`, `;norefresh`; `;unfold` is not in HAProxy), and answers
with the page or the CSV. Must never change anything. Output that took long to compute is reused for a moment (see
`moment`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.logger import Logger

from reusedproxy.config.model.proxies import StatsPage as Settings
from reusedproxy.exchanges.own_answers import answer
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.operators.stats.csv import write_csv
from reusedproxy.operators.stats.moment import Moments
from reusedproxy.operators.stats.page import Look, write_page
from reusedproxy.wire.heads import RequestHead

#: Most servers for which the page has all pool details, folded: each takes 0.6 ms, in which nothing else runs.
DETAILED = 20

_HTML_HEADERS = (
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:\r\n"
    b"x-content-type-options: nosniff\r\n"
)


class StatsPage:
    """The statistics page of one section."""

    _log = Logger("reusedproxy")

    def __init__(
        self, settings: Settings, moments: Moments, logs: LogTargets, wall: Callable[[], float] = time.time
    ) -> None:
        """Takes `wall`, which returns the time of day."""
        self.settings = settings
        self._moments = moments
        self._logs = logs
        self._wall = wall
        self._uri = settings.uri.encode()
        #: Time from which traffic is counted: the start, or the last reload.
        self._counted_from = moments.reader.now()

    def wants(self, target: bytes) -> bool:
        return _path(target).startswith(self._uri)

    def answer(self, head: RequestHead, close: bool) -> tuple[int, bytes]:
        try:
            return self._answer(head, close)
        except Exception:
            self._log.failure("the statistics could not be written")
            return 500, answer(500, b"", "text/plain", close=close)

    def _answer(self, head: RequestHead, close: bool) -> tuple[int, bytes]:
        if head.method == b"POST":
            # HAProxy's `stats admin` sends orders by POST; this is its response when that is disabled.
            location = b"location: " + self._uri + b";st=DENY\r\n"
            return 303, answer(303, b"", "text/plain", extra=location, close=close)
        if head.method not in (b"GET", b"HEAD"):
            # HAProxy passes these on to a server, which is not meant to have this URI.
            return 405, answer(405, b"", "text/plain", extra=b"allow: GET, HEAD, POST\r\n", close=close)
        words = _path(head.target)[len(self._uri) :]
        if b";csv" in words:
            moment = self._moments.current()
            body = moment.text("csv", lambda: write_csv(moment.sections)).encode()
            whole = answer(200, body, "text/plain; charset=utf-8", close=close)
        else:
            body = self._page(words).encode()
            whole = answer(200, body, "text/html; charset=utf-8", extra=_HTML_HEADERS, close=close)
        return 200, whole[: len(whole) - len(body)] if head.method == b"HEAD" else whole

    def _page(self, words: bytes) -> str:
        unfolded = b";unfold" in words
        detailed = unfolded or self._moments.reader.servers <= DETAILED
        moment = self._moments.current(measures=detailed)
        look = Look(
            uri=self.settings.uri,
            pid=os.getpid(),
            counted=moment.view.at - self._counted_from,
            at=self._wall() - (self._moments.reader.now() - moment.view.at),
            log_lines_dropped=self._logs.dropped,
            refresh=None if b";norefresh" in words else self.settings.refresh,
            refuses=b";st=DENY" in words,
            detailed=detailed,
            unfolded=unfolded,
            hide_version=self.settings.hide_version,
        )
        return write_page(moment, look)


def _path(target: bytes) -> bytes:
    """Returns the path of a request target, with its query; the target may be in absolute form (RFC 9112 3.2.2)."""
    if target.startswith(b"/"):
        return target
    scheme, _, rest = target.partition(b"://")
    start = rest.find(b"/")
    return rest[start:] if start >= 0 and scheme.lower() in (b"http", b"https") else target
