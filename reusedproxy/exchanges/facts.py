"""Gives rules the facts of an exchange (`reusedproxy.rules.facts.Facts`): its heads, connections and variables.

Nothing here costs anything until a rule asks for it. It must never know how a request is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from reusedproxy.backends.binding import Binding
from reusedproxy.exchanges.client import Client, ClientFrontend
from reusedproxy.exchanges.cookie_state import CookieState
from reusedproxy.exchanges.course import ExchangeCourse
from reusedproxy.exchanges.withheld import Verdict, Withheld, body_of
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.editing import Unusable, set_method
from reusedproxy.rules.facts import Course
from reusedproxy.sessions.facts import ConnectionFacts
from reusedproxy.tables.tracking import Counters
from reusedproxy.wire.bodies import ChunkedBody, payload
from reusedproxy.wire.credentials import Credentials, auth_scheme, basic_credentials
from reusedproxy.wire.grammar import TOKEN
from reusedproxy.wire.heads import CHUNKED, RequestHead, ResponseHead


class ExchangeFacts(ConnectionFacts[Client[ClientFrontend]]):
    """Holds the facts of an exchange; the base of `Exchange`. `head` is the request's head, as rules have left it;
    `line` is its first line as received, if rules have changed the head; `answer` is the response's head.
    `answer_rules` process that head, and may replace the answer, or have it held back.

    This is a base class and not an object of its own: rules are handed the exchange itself, so that most facts are
    plain attributes. An object between would cost an allocation for each request and a call for each fetch.
    """

    # Most exchanges never touch these; as class attributes they cost nothing.
    framed: bool
    inspected: None = None
    head: RequestHead | None = None
    answer: ResponseHead | None = None
    line: bytes | None = None
    #: What `http-after-response` makes of an answer of the proxy's own.
    own_rules: Callable[..., bytes] | None = None
    answer_rules: Callable[..., Verdict] | None = None
    #: What has come of the answer's body while its rules are run; and whether that is all. None: it is no answer that
    #: could be held back.
    arrived: bytes | None = None
    arrived_whole = True
    #: The answer that is held back while its rules wait; None: none is.
    withheld: Withheld | None = None
    #: What `http-response` makes of an answer of a service (`use-service`), or of its head: a status, what is sent, and
    #: whether a rule has put its own answer in the service's place.
    service_rules: Callable[..., tuple[int, bytes, bool]] | None = None
    #: The server to which the request is bound, while it is.
    binding: Binding | None = None
    #: What a rule says of persistence: "force", "ignore", or "" without one.
    persist = ""
    #: What has become of its persistence cookie; None: its backend has none, or it has not come so far.
    cookie: CookieState | None = None
    #: What rules say of how it is carried (`rules.steering.Steered`).
    no_late_retries = False
    hints = b""
    #: What had come of its body with its head, while its rules are run; and what has come since.
    early = b""
    more: list[bytes] | None = None
    method = b""
    #: Answered by `monitor-uri`, and so not logged.
    monitored = False
    #: Its rules may be broken off until a password has been checked, and go on then.
    may_wait = False
    #: How many have been checked for it.
    passwords = 0
    #: What it tracked before the rules for contents of its backend.
    tracked_before: Counters | None = None
    #: The scheme named when a rule has looked for credentials and found none; False: that has not happened.
    _found_none: bytes | Literal[False] | None = False

    @property
    def credentials(self) -> Credentials | None:
        return self._login()[0]

    @property
    def auth_scheme(self) -> bytes | None:
        return self._login()[1]

    def _login(self) -> tuple[Credentials | None, bytes | None]:
        """Returns credentials and scheme as rules have left the field: the server gets no others than those by which it
        is judged who asks. As in HAProxy, once a rule has found none the request has none, whatever is written into the
        field then."""
        if self._found_none is not False:
            return None, self._found_none
        credentials, scheme = self._said()
        if credentials is None and scheme != b"Bearer":
            self._found_none = scheme
        return credentials, scheme

    def _said(self) -> tuple[Credentials | None, bytes | None]:
        name = b"Proxy-Authorization" if self.asks_as_proxy else b"Authorization"
        values = () if self.head is None else self.head.values(name)
        return basic_credentials(values), auth_scheme(values)

    def member(self, users: str) -> bytes | None:
        credentials = self.credentials
        if credentials is None:
            return None
        return self.client.frontend.authentication.member(users, credentials, self.may_wait)

    def verify(self, lists: Sequence[str]) -> None:
        """Has the request's password known in these lists of users, if it names one and may wait for that. Raises
        Unverified where it has to be checked first. This is no look of a rule's: what it does not find may be found
        later."""
        if not self.may_wait or self._found_none is not False:
            return
        credentials, _ = self._said()
        if credentials is not None:
            for name in lists:
                self.client.frontend.authentication.member(name, credentials, True)

    @property
    def body(self) -> bytes:
        """Returns what has come of the body so far, without its framing, while the request's rules are run."""
        raw = self.sent_body
        if raw and self.head is not None and self.head.length == CHUNKED:
            return payload(ChunkedBody(framed=False), raw)
        return raw

    @property
    def sent_body(self) -> bytes:
        """Returns the same as it is sent on."""
        return self.early if self.more is None else self.early + b"".join(self.more)

    @property
    def answer_body(self) -> bytes | None:
        """Returns what has come of the answer's body so far, without its framing, while the answer's rules are run."""
        head, data = self.answer, self.arrived if self.withheld is None else self.withheld.data
        return None if head is None or data is None else body_of(head, data, self.framed)

    @property
    def lists(self) -> Mapping[str, EditedFile]:
        """Returns the patterns that rules change, by the names of their files."""
        return self.client.frontend.lists

    def set_timeout(self, which: str, seconds: float) -> None:
        """Sets a time-out of this exchange, by HAProxy's word."""
        if self.own_timeouts is None:
            self.own_timeouts = {}
        self.own_timeouts[which] = seconds

    def set_method(self, method: bytes) -> None:
        """Sets the request's method. Raises Unusable for one that is none, or that would change where messages end."""
        head = self.head
        assert head is not None
        if not TOKEN.match(method):
            raise Unusable(f"{method[:20]!r} is no method")
        for special in (b"HEAD", b"CONNECT"):
            if (method == special) is not (head.method == special):
                raise Unusable(f"to or from {special.decode()} no method can be changed")
        set_method(head, method)
        self.method = method

    @property
    def asks_as_proxy(self) -> bool:
        if not self.client.frontend.uses_proxy_header or self.head is None:
            return False
        # As in HAProxy, what the client has asked for tells, whatever rules have made of that.
        target = self.head.target if self.line is None else self.line.split(b" ", 2)[1]
        return target[:1] not in (b"/", b"*")

    @property
    def first_request(self) -> bool:
        return self.client.requests <= 1

    @property
    def unique_id(self) -> bytes:
        """Returns the id of the request; as in HAProxy, what is no request has none."""
        return b"" if self.head is None else self._id()

    @property
    def course(self) -> Course:
        return ExchangeCourse(self)

    def _at_hand(self, name: str) -> bool:
        """Tells whether a variable's scope exists now. HAProxy drops `req` variables where the rules for responses
        begin, and has `res` ones from there on."""
        return not name.startswith("req." if self.answer is not None else "res.")
