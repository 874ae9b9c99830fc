"""Answers requests for `stats enable`: the statistics within the URIs of a frontend.

Parses the request as HAProxy does (the URI as a prefix; `;csv`, `;json`, `;typed`, `;norefresh`; `;unfold` is not in
HAProxy), and answers with the page, or with the figures for programs. Who may see it, and who may change something, its
`rules` and `admin` say, which are asked before; what a form orders is done elsewhere. Output that took long to compute
is reused for a moment (see `moment`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence

from twisted.logger import Logger

from reusedproxy.config.model.proxies import StatsPage as Settings
from reusedproxy.exchanges.own_answers import answer
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.operators.runtime.typed import json_statistics, typed_statistics
from reusedproxy.operators.stats.csv import write_csv
from reusedproxy.operators.stats.figures import Section, within
from reusedproxy.operators.stats.moment import Moments
from reusedproxy.operators.stats.origin import is_from_own_page
from reusedproxy.operators.stats.page import DENIED, Look, write_page
from reusedproxy.operators.stats.rendering import prepare
from reusedproxy.rules.matching import Test
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.heads import RequestHead

#: Most servers for which the page has all pool details, folded: each takes 0.6 ms, in which nothing else runs.
DETAILED = 20

#: Nobody may put the page into a frame, to have its buttons pressed unseen.
_HTML_HEADERS = (
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self';"
    b" base-uri 'none'; frame-ancestors 'none'\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"x-frame-options: DENY\r\n"
)
_STRANGE = (
    "A form of the statistics page was not obeyed: its browser came by a name that a stranger might have, and without a"
    " password: come by an address, or add 'stats auth', or 'hdr(host)' to the condition of 'stats admin'"
)
#: Takes a form and the names of the sections that it may concern (none: all); returns HAProxy's code for the outcome.
Orders = Callable[[bytes, Sequence[str]], str]


class StatsPage:
    """The statistics page of one section."""

    _log = Logger("reusedproxy")

    def __init__(
        self,
        settings: Settings,
        moments: Moments,
        logs: LogTargets,
        wall: Callable[[], float] = time.time,
        *,
        section: str = "",
        rules: Steps | None = None,
        admin: Sequence[Test] = (),
        users: Sequence[str] = (),
        orders: Orders | None = None,
        names: Collection[str] | None = (),
        node: str = "",
        description: str = "",
    ) -> None:
        """Takes `wall`, which returns the time of day; the name of the `section` that has the page; the lists of
        `users` that are asked; `orders`, which does what forms say; the `names` by which browsers may have come that
        have shown no password (None: any); and what the page says of this machine where it is to."""
        prepare()
        log = StatsPage._log  # the page itself would hold the throttle, and be held by it
        self._strangers = LogThrottle(moments.reader.now, lambda text: log.warn("{text}", text=text))
        self.settings = settings
        self.rules = rules or []
        self.admin = admin
        self.users = users
        self._names = names
        self._orders = orders
        self._scope = [section if each == "." else each for each in settings.scope]
        self._node = None if settings.node is None else settings.node or node or os.uname().nodename
        self._description = None if settings.description is None else settings.description or description
        self._moments = moments
        self._logs = logs
        self._wall = wall
        self._uri = settings.uri.encode()
        #: Time from which traffic is counted: the start, or the last reload.
        self._counted_from = moments.reader.now()

    def wants(self, target: bytes) -> bool:
        return _path(target).startswith(self._uri)

    def answer(self, head: RequestHead, close: bool, admin: bool) -> tuple[int, bytes]:
        try:
            return self._answer(head, close, admin)
        except Exception:
            self._log.failure("the statistics could not be written")
            return 500, answer(500, b"", "text/plain", close=close)

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool) -> tuple[int, bytes]:
        if self._orders is None or not is_from_own_page(head):
            return self._sent_back(head, DENIED, close)
        if not proven and not is_from_own_page(head, self._names):
            self._strangers.tell("name", _STRANGE, "such forms")
            return self._sent_back(head, DENIED, close)
        if form is None:
            return self._sent_back(head, "EXCD", close)
        try:
            code = self._orders(form, self._scope)
        except Exception:
            self._log.failure("what the form of the statistics page orders could not be done")
            return 500, answer(500, b"", "text/plain", close=close)
        self._moments.forget()
        return self._sent_back(head, code, close)

    def _sent_back(self, head: RequestHead, code: str, close: bool) -> tuple[int, bytes]:
        """Sends the client to the page, which then says what became of the form: reloading it sends no form again."""
        words = _path(head.target)[len(self._uri) :]
        kept = b"".join(word for word in (b";norefresh", b";unfold") if word in words)
        location = b"location: %b;st=%b%b\r\n" % (self._uri, code.encode(), kept)
        return 303, answer(303, b"", "text/plain", extra=location, close=close)

    def _answer(self, head: RequestHead, close: bool, admin: bool) -> tuple[int, bytes]:
        if head.method == b"POST":
            return self._sent_back(head, DENIED, close)
        if head.method not in (b"GET", b"HEAD"):
            # HAProxy passes these on to a server, which is not meant to have this URI.
            return 405, answer(405, b"", "text/plain", extra=b"allow: GET, HEAD, POST\r\n", close=close)
        words = _path(head.target)[len(self._uri) :]
        form = next((each for word, each in _FORMS.items() if word in words), None)
        if form is None:
            body = self._page(words, admin).encode()
            whole = answer(200, body, "text/html; charset=utf-8", extra=_HTML_HEADERS, close=close)
        else:
            name, content_type, write = form
            moment = self._moments.current()
            key = repr((name, self.settings.legends, self._scope))
            sections = within(moment.sections, self._scope)
            body = moment.text(key, lambda: write(sections, self.settings.legends)).encode()
            whole = answer(200, body, content_type, close=close)
        return 200, whole[: len(whole) - len(body)] if head.method == b"HEAD" else whole

    def _page(self, words: bytes, admin: bool) -> str:
        unfolded = b";unfold" in words
        detailed = unfolded or self._moments.reader.servers <= DETAILED
        moment = self._moments.current(measures=detailed)
        code = words.partition(b";st=")[2][:4].decode("latin-1")
        look = Look(
            uri=self.settings.uri,
            pid=os.getpid(),
            counted=moment.view.at - self._counted_from,
            at=self._wall() - (self._moments.reader.now() - moment.view.at),
            log_lines_dropped=self._logs.dropped,
            refresh=None if b";norefresh" in words else self.settings.refresh,
            outcome=code,
            detailed=detailed,
            unfolded=unfolded,
            hide_version=self.settings.hide_version,
            admin=admin and self._orders is not None,
            scope=tuple(self._scope),
            legends=self.settings.legends,
            node=self._node,
            description=self._description,
        )
        return write_page(moment, look)


#: What programs are told, by the word for it: a name, the type of its content, and who writes it.
_FORMS: dict[bytes, tuple[str, str, Callable[[Sequence[Section], bool], str]]] = {
    b";csv": ("csv", "text/plain; charset=utf-8", write_csv),
    b";typed": (
        "typed",
        "text/plain; charset=utf-8",
        lambda sections, legends: "".join(typed_statistics(sections, legends)),
    ),
    b";json": ("json", "application/json", lambda sections, legends: "".join(json_statistics(sections, legends))),
}


def _path(target: bytes) -> bytes:
    """Returns the path of a request target, with its query; the target may be in absolute form (RFC 9112 3.2.2)."""
    if target.startswith(b"/"):
        return target
    scheme, _, rest = target.partition(b"://")
    start = rest.find(b"/")
    return rest[start:] if start >= 0 and scheme.lower() in (b"http", b"https") else target
