"""Sends a client's requests to the server that its cookie names, and gives it that cookie (`cookie`, `force-persist`,
`ignore-persist`).

A backend with a cookie has a `Persistence`. It looks at the Cookie headers of a request before a server is chosen, and
may bind the request to one; it looks at Set-Cookie in the answer behind the rules for responses, and adds the cookie
that the client needs. What the cookie's server may refuse is for `backends.binding`. It must never know how requests
are sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server
from reusedproxy.config.model.persistence import INSERT, PREFIX, REWRITE
from reusedproxy.exchanges.cookie_state import (
    DELETED,
    DOWN,
    EXPIRED,
    INSERTED,
    INVALID,
    NO_COOKIE,
    OLD,
    PROVIDED,
    REWRITTEN,
    UNUSED,
    UPDATED,
    VALID,
    CookieState,
)
from reusedproxy.rules.editing import Head, append
from reusedproxy.wire.cookies import edit_cookies, edit_set_cookie, read_date, write_date
from reusedproxy.wire.heads import RequestHead, ResponseHead
from reusedproxy.wire.lists import members

#: What parts the server's cookie from the application's own value, and from dates.
_BEFORE_VALUE, _BEFORE_DATE = b"~", b"|"
#: Seconds by which a date may lie in the future, for the sake of wrong time zones.
_AHEAD = 86400
_COOKIE_LINES = re.compile(rb"\r\n(?i:cookie):[^\r]*")
_SET_COOKIE_LINES = re.compile(rb"\r\n(?i:set-cookie):[^\r]*")
_CACHEABLE_METHODS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_CACHEABLE_STATUSES = frozenset((200, 203, 204, 206, 300, 301, 404, 405, 410, 414, 501))
_UNCACHEABLE = frozenset((b"private", b"no-cache", b"no-store", b"s-maxage=0"))


class Persistent(Protocol):
    """Defines the exchange as its persistence knows it; `exchanges.facts` says what these are."""

    head: RequestHead | None
    answer: ResponseHead | None
    server: Server | None
    binding: Binding | None
    persist: str
    cookie: CookieState | None
    answer_rules: Callable[..., Any] | None

    def wall(self) -> float: ...


class Persistence:
    """Looks after the persistence cookie of one backend. `respond` may stand for an exchange's `answer_rules`."""

    def __init__(self, backend: Backend) -> None:
        cookie = backend.settings.cookie
        assert cookie is not None
        self._backend = backend
        self._settings = cookie
        self._name = cookie.name.encode()
        self._prefix = cookie.mode == PREFIX
        self._inserts = cookie.mode == INSERT
        self._removes = self._inserts and cookie.indirect
        tail = [b"; domain=" + each.encode() for each in cookie.domains]
        tail += [b"; HttpOnly"] * cookie.httponly + [b"; Secure"] * cookie.secure
        tail += [b"; " + each.encode() for each in cookie.attributes]
        self._tail = b"".join(tail)

    # Requests.

    def receive(self, exchange: Persistent) -> None:
        """Looks at the request's cookies: notes what the backend's own says, binds the request to the server that it
        names, and edits it for the server."""
        head = exchange.head
        assert head is not None
        exchange.cookie = state = CookieState(self._settings.logged)
        if exchange.answer_rules is None:
            exchange.answer_rules = self.respond
        if not (lines := _COOKIE_LINES.findall(head.block)):
            return
        edit = partial(edit_cookies, name=self._name, look=partial(self._look, exchange, state))
        _edit(head, _COOKIE_LINES, lines, edit)

    def _look(self, exchange: Persistent, state: CookieState, value: bytes) -> bytes | None:
        """Judges one cookie of the backend's name. Returns its value for the server; None: the server does not see
        it."""
        if self._prefix:
            named, mark, rest = value.partition(_BEFORE_VALUE)
            self._bind(exchange, state, named)
            return rest if mark else value
        named, _, dates = value.partition(_BEFORE_DATE)
        first = dates.partition(_BEFORE_DATE)[2]
        # A first date may stand behind a last date of any length.
        state.last_date = read_date(dates) or state.last_date
        state.first_date = read_date(first) or state.first_date
        if outdated := self._outdated(state, int(exchange.wall())):
            state.found, named = outdated, b""
            state.last_date = state.first_date = 0
        self._bind(exchange, state, named)
        return None if self._removes else value

    def _outdated(self, state: CookieState, now: int) -> str:
        """Returns the letter for a cookie that is out of date, "" for one that is not."""
        first, last, settings = state.first_date, state.last_date, self._settings
        if first and settings.maxlife and not -_AHEAD <= now - first <= settings.maxlife:
            return OLD
        if last and settings.maxidle and not -_AHEAD <= now - last <= settings.maxidle:
            return EXPIRED
        return ""

    def _bind(self, exchange: Persistent, state: CookieState, named: bytes) -> None:
        """Binds the request to the first of the servers of this cookie that is in service, or to the first of all where
        that does not matter, unless it is bound already or persistence is ignored."""
        ignored = exchange.persist == "ignore" or exchange.binding is not None
        forced = exchange.persist == "force"
        if not ignored and named:
            for server in self._backend.cookies.get(named, ()):
                if server.serving or forced or self._backend.settings.persist:
                    state.found, state.named = VALID if server.serving else DOWN, server
                    exchange.binding = Binding.of(server, self._backend.settings, forced=forced)
                    return
                state.found = DOWN
        if state.found == NO_COOKIE:
            state.found = UNUSED if ignored else INVALID

    # Responses.

    def respond(self, exchange: Persistent) -> None:
        """Edits the cookies that the server sets, and adds the one that the client needs."""
        head, state, server = exchange.answer, exchange.cookie, exchange.server
        assert head is not None and state is not None and server is not None
        ignored = exchange.persist == "ignore"
        if lines := _SET_COOKIE_LINES.findall(head.block):
            look: Callable[[bytes], bytes | None] = (
                _untouched if ignored else partial(self._look_at_server, exchange, state, server)
            )
            _edit(head, _SET_COOKIE_LINES, lines, partial(edit_set_cookie, name=self._name, look=look))
        if self._inserts and not ignored and self._is_due(exchange, state):
            assert exchange.head is not None
            hides = self._settings.nocache and _is_cacheable(exchange.head.method, head)
            now = int(exchange.wall())
            append(head, b"set-cookie", self._made(server, state, now))
            bound = server.cookie is not None and exchange.binding is not None
            state.sent = UPDATED if bound else INSERTED
            if hides:
                append(head, b"cache-control", b"private")

    def _look_at_server(self, exchange: Persistent, state: CookieState, server: Server, value: bytes) -> bytes | None:
        """Returns what becomes of a cookie of the backend's name that the server sets; None removes it."""
        settings = self._settings
        state.sent = PROVIDED
        if settings.preserve:
            return value
        if self._inserts or (settings.indirect and exchange.binding is not None):
            state.sent = DELETED
            return None
        if server.cookie is None or settings.mode not in (REWRITE, PREFIX):
            return value
        state.sent = REWRITTEN
        return server.cookie + _BEFORE_VALUE + value if self._prefix else server.cookie

    def _is_due(self, exchange: Persistent, state: CookieState) -> bool:
        """Tells whether the answer is to have a cookie of ours: the client has none for this server, or its dates have
        to be renewed, written or taken out."""
        settings = self._settings
        assert exchange.head is not None
        if settings.preserve and state.sent == PROVIDED:
            return False
        if settings.postonly and exchange.head.method != b"POST":
            return False
        last, first = state.last_date, state.first_date
        if exchange.binding is None or bool(settings.maxlife) != bool(first):
            return True
        return last < int(exchange.wall()) if last else settings.maxidle > 0

    def _made(self, server: Server, state: CookieState, now: int) -> bytes:
        """Writes the cookie for this server; for one without a cookie, a cookie that removes the client's."""
        if server.cookie is None:
            return b"%b=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/%b" % (self._name, self._tail)
        dates = b""
        if self._settings.maxidle or self._settings.maxlife:
            dates = _BEFORE_DATE + write_date(now + 3)
            if self._settings.maxlife:
                dates += _BEFORE_DATE + write_date(state.first_date or now + 3)
        return b"%b=%b%b; path=/%b" % (self._name, server.cookie, dates, self._tail)


def persistence_of(backend: Backend) -> Persistence | None:
    """Returns the persistence of a backend; None without a cookie."""
    return None if backend.settings.cookie is None else Persistence(backend)


def _untouched(value: bytes) -> bytes:
    return value


def _edited(line: bytes, edit: Callable[[bytes], bytes | None]) -> bytes:
    """Returns a header line, from the CRLF before it on, with its value edited: as it was if that stays, b"" if
    nothing is left of it."""
    name, _, value = line.partition(b":")
    plain = value.strip(b" \t")
    made = edit(plain)
    if made is None:
        return b""
    return line if made == plain else b"%b: %b" % (name, made)


def _edit(head: Head, pattern: re.Pattern[bytes], lines: list[bytes], edit: Callable[[bytes], bytes | None]) -> None:
    """Edits the values of these lines, which are those that the pattern finds."""
    made = [_edited(line, edit) for line in lines]
    if made != lines:
        for_block, for_head = iter(made), iter(made)
        head.block = pattern.sub(lambda found: next(for_block), head.block)
        head.head = pattern.sub(lambda found: next(for_head), head.head)


def _is_cacheable(method: bytes, head: ResponseHead) -> bool:
    """Tells whether a cache may keep the answer, as HAProxy judges it for `nocache`: by method and status, by Pragma
    and Cache-Control, whose later words count, and only where it says how long, or can be validated."""
    cacheable = method in _CACHEABLE_METHODS and head.status in _CACHEABLE_STATUSES
    fresh = overdue = False
    if [each.lower() for each in head.values(b"Pragma")][:1] == [b"no-cache"]:
        return False
    for value in head.values(b"Cache-Control"):
        for member in members(value):
            word = member.strip(b" \t").lower()
            if word == b"public":
                cacheable = True
            elif word == b"max-age=0":
                overdue = True
            elif word in _UNCACHEABLE:  # but not `private="Name"`, which lets caches keep the rest
                cacheable = False
            elif word.startswith(b"s-maxage"):
                fresh, overdue = True, False
            elif word.startswith(b"max-age"):
                fresh = True
    fresh = fresh or any(map(head.values, (b"Expires", b"ETag", b"Last-Modified")))
    return cacheable and fresh and not overdue
