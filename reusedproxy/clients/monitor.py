"""Answers those who ask whether the proxy itself is there (`monitor-uri`), without a log line. As in HAProxy, rules for
connections, sessions and contents come first, and may keep them out; all others come behind it. Of rules for answers,
those of `http-after-response` alone see such an answer.

A frontend without it never comes here.
"""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.owner import AccessLog
from reusedproxy.config.model.values import Place
from reusedproxy.exchanges.error_pages import error_of
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.own_answers import answer
from reusedproxy.rules import regular
from reusedproxy.rules.matching import Test
from reusedproxy.rules.regular import Interruption, Unevaluated

READY = b"<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n"


class Monitor:
    """Answers requests for one URI: 200, or 503 where one of `fails` is true (`monitor fail`)."""

    def __init__(self, frontend: Frontend, uri: str, fails: Sequence[tuple[Test, Place]]) -> None:
        self._frontend = frontend
        self._uri = uri.encode()
        self._fails = fails

    def stand_in(self) -> None:
        """Has the frontend ask it about each request."""
        self._frontend.monitor = self.answers
        self._frontend.log = _unless_monitored(self._frontend.log)

    def answers(self, exchange: Exchange, body: bytes, ended: bool) -> bool:
        """Answers the request if it is for the monitor. Returns whether it was. `body` is what has come of its body."""
        head = exchange.head
        assert head is not None
        target = head.target
        if target != self._uri and (target[:1] == b"/" or _path(target) != self._uri):
            return False
        exchange.monitored = True
        if not ended:
            exchange.client.end_after("answered by the monitor")
        exchange.early = body
        if self._failing(exchange):
            self._frontend.traffic.intercepted += 1
            exchange.fail(503, "LR")
            return True
        exchange.may_wait = False
        page = exchange.page_of(200)
        if page is not None:
            whole, keeps = error_of(exchange, page, 200, not exchange.client.last)
            if not keeps:
                exchange.client.end_after("answered with an error page that ends it")
            exchange.answered_here(200, whole)
            return True
        whole = answer(200, READY, "text/html", close=exchange.client.last)
        exchange.answered_here(200, whole[: -len(READY)] if exchange.method == b"HEAD" else whole)
        return True

    def _failing(self, exchange: Exchange) -> bool:
        regular.begin()
        place = None
        try:
            for test, place in self._fails:  # noqa: B007 (it is used where one of them raises)
                if test(exchange):
                    return True
        except Interruption:
            raise
        except Exception as error:
            self._frontend.not_evaluated(Unevaluated.by(error, place), exchange.client.listener)
            return True
        return False


def _unless_monitored(log: AccessLog | None) -> AccessLog | None:
    """Returns an access log that leaves out what a monitor has answered, as HAProxy does."""
    if log is None:
        return None

    def write(exchange: Exchange) -> None:
        if not exchange.monitored:
            log(exchange)

    return write


def _path(target: bytes) -> bytes:
    """Returns the path of an absolute target, with its query."""
    _, _, rest = target.partition(b"://")
    slash = rest.find(b"/")
    return rest[slash:] if slash >= 0 else b""
