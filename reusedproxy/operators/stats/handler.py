"""Answers requests for `stats enable`: the statistics within the URIs of a frontend.

Parses the request as HAProxy does (the URI as a prefix; `;csv`, `;json`, `;typed`, `;norefresh`, `;up`, `scope=`;
`;unfold` is not in HAProxy), and answers with the page, or with the figures for programs. Who may see it, and who may
change it, its `rules` and `admin` say, which are asked before; what a form orders is done elsewhere. Output that took
long to compute is reused for a moment (see `moment`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from attrs import frozen
from twisted.logger import Logger

from reusedproxy.config.model.proxies import StatsPage as Settings
from reusedproxy.config.model.values import Place
from reusedproxy.exchanges.own_answers import answer
from reusedproxy.exchanges.serving import Made
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.operators.runtime.typed import json_statistics, typed_statistics
from reusedproxy.operators.stats.csv import pieces_of_csv
from reusedproxy.operators.stats.figures import Section, named_like, only_up, within
from reusedproxy.operators.stats.moment import Moments
from reusedproxy.operators.stats.origin import is_from_own_page
from reusedproxy.operators.stats.page import DENIED, LONGEST_WANTED, Look, pieces_of_page, query_of
from reusedproxy.operators.stats.rendering import prepare
from reusedproxy.rules.matching import Test
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.heads import RequestHead

#: Most servers for which the page has all pool details, folded: each takes 0.6 ms, and a long piece of the page.
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
#: Takes a form, the names of the sections that it may concern (none: all), and who has sent it; returns HAProxy's code
#: for the outcome.
Orders = Callable[[bytes, Sequence[str], str], str]


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
        admin: Sequence[tuple[Test, Place]] = (),
        answer_rules: Callable[..., tuple[int, bytes, bool]] | None = None,
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
        self.answer_rules = answer_rules
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
        #: When this proxy began: at the start, or the last reload.
        self._began = moments.reader.now()

    def wants(self, target: bytes) -> bool:
        return _path(target).startswith(self._uri)

    def answer(self, head: RequestHead, admin: bool) -> Made:
        words = _path(head.target)[len(self._uri) :]
        if head.method == b"POST":
            return Made(303, "text/plain", iter(()), self._location(words, DENIED))
        if head.method not in (b"GET", b"HEAD"):
            # HAProxy passes these on to a server, which is not meant to have this URI.
            return Made(405, "text/plain", iter(()), b"allow: GET, HEAD, POST\r\n")
        form = next((each for word, each in _FORMS.items() if word in words), None)
        refresh = self._refresh(words)
        again = b"" if refresh is None else b"refresh: %d\r\n" % refresh  # in every form, as in HAProxy
        if form is None:
            return Made(200, "text/html; charset=utf-8", self._page(words, admin), _HTML_HEADERS + again)
        return Made(200, form.content_type, self._figures(form, _wanted(words), up=b";up" in words), again)

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        if self._orders is None or not is_from_own_page(head):
            return self._sent_back(head, DENIED, close)
        if not proven and not is_from_own_page(head, self._names):
            self._strangers.tell("name", _STRANGE, "such forms")
            return self._sent_back(head, DENIED, close)
        if form is None:
            return self._sent_back(head, "EXCD", close)
        try:
            code = self._orders(form, self._scope, sender)
        except Exception:
            self._log.failure("what the form of the statistics page orders could not be done")
            return 500, answer(500, b"", "text/plain", close=close)
        self._moments.forget()
        return self._sent_back(head, code, close)

    def _sent_back(self, head: RequestHead, code: str, close: bool) -> tuple[int, bytes]:
        """Sends the client to the page, which then says what became of the form: reloading it sends no form again."""
        location = self._location(_path(head.target)[len(self._uri) :], code)
        return 303, answer(303, b"", "text/plain", extra=location, close=close)

    def _location(self, words: bytes, code: str) -> bytes:
        kept = b"".join(word for word in (b";norefresh", b";unfold", b";up") if word in words)
        query = query_of(_wanted(words)).encode()
        return b"location: %b;st=%b%b%b\r\n" % (self._uri, code.encode(), kept, query)

    def _refresh(self, words: bytes) -> float | None:
        return None if b";norefresh" in words else self.settings.refresh

    def _figures(self, form: Form, wanted: str, up: bool) -> Iterator[bytes]:
        """Returns the figures for programs, in pieces."""
        moment = yield from self._moments.between_pieces(measures=False)
        legends = self.settings.legends
        sections = named_like(within(moment.sections, self._scope), wanted)
        key = repr((form.name, legends, self._scope, wanted, up))
        if up:
            sections = only_up(sections)
        for piece in moment.pieces(key, lambda: form.pieces(sections, legends)):
            yield piece.encode()

    def _page(self, words: bytes, admin: bool) -> Iterator[bytes]:
        unfolded = b";unfold" in words
        detailed = unfolded or self._moments.reader.servers <= DETAILED
        moment = yield from self._moments.between_pieces(measures=detailed)
        code = words.partition(b";st=")[2][:4].decode("latin-1")
        look = Look(
            uri=self.settings.uri,
            pid=os.getpid(),
            since_reload=moment.view.at - self._began,
            at=self._wall() - (self._moments.reader.now() - moment.view.at),
            log_lines_dropped=self._logs.dropped,
            refresh=self._refresh(words),
            outcome=code,
            detailed=detailed,
            unfolded=unfolded,
            show_version=self.settings.show_version,
            up=b";up" in words,
            wanted=_wanted(words),
            admin=admin and self._orders is not None,
            scope=tuple(self._scope),
            legends=self.settings.legends,
            node=self._node,
            description=self._description,
        )
        for piece in pieces_of_page(moment, look):
            yield piece.encode()


@frozen
class Form:
    """Describes what programs are told: its name, the type of its content, and who writes it, with legends or
    without."""

    name: str
    content_type: str
    pieces: Callable[[Sequence[Section], bool], Iterator[str]]


#: By the word for it.
_FORMS = {
    b";csv": Form("csv", "text/plain; charset=utf-8", pieces_of_csv),
    b";typed": Form("typed", "text/plain; charset=utf-8", typed_statistics),
    b";json": Form("json", "application/json", json_statistics),
}


def _wanted(words: bytes) -> str:
    """Returns the text behind `scope=`, which the names of sections are to contain; "" where there is none, or one that
    no name can contain."""
    found = re.search(rb"scope=([^;& ]*)", words)
    text = b"" if found is None else found[1][:LONGEST_WANTED]
    return text.decode("ascii") if re.fullmatch(rb"[A-Za-z0-9_:.-]*", text) else ""


def _path(target: bytes) -> bytes:
    """Returns the path of a request target, with its query; the target may be in absolute form (RFC 9112 3.2.2)."""
    if target.startswith(b"/"):
        return target
    scheme, _, rest = target.partition(b"://")
    start = rest.find(b"/")
    return rest[start:] if start >= 0 and scheme.lower() in (b"http", b"https") else target
