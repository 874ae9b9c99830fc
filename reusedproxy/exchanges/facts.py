"""Gives rules the facts of an exchange (`reusedproxy.rules.facts.Facts`): its heads, connections and variables.

Nothing here costs anything until a rule asks for it. It must never know how a request is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from socket import (
    AF_INET,
    AF_INET6,
    IP_TOS,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_TCLASS,
    SO_MARK,
    SOL_SOCKET,
)
from struct import pack
from typing import Literal

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server
from reusedproxy.exchanges.client import Client, FactsClient, session_of
from reusedproxy.exchanges.cookie_state import CookieState
from reusedproxy.exchanges.course import ExchangeCourse
from reusedproxy.net.tls.facts import TransportTLS, tls_side
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.rules.editing import Unusable, set_method
from reusedproxy.rules.facts import Course, Map, Noted, Sample, TLSSide
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked
from reusedproxy.wire.bodies import ChunkedBody, payload
from reusedproxy.wire.credentials import Credentials, auth_scheme, basic_credentials
from reusedproxy.wire.grammar import TOKEN
from reusedproxy.wire.heads import CHUNKED, RequestHead, ResponseHead


class ConnectionFacts:
    """Holds the facts that an exchange and a stream of `mode tcp` have in common: of the two connections, and
    variables."""

    client: FactsClient
    backend: Backend | None
    server: Server | None
    connection: ServerConnection | None
    #: Its class and offset in queues (`set-priority-class`, `set-priority-offset`).
    priority = 0, 0
    #: What is noted for its log; None: nothing so far.
    noted: Noted | None = None
    lenient = False
    #: What rules have put in the place of the client's address, and of the one that it has connected to; None: nothing.
    own_source: tuple[str, int] | None = None
    own_destination: tuple[str, int] | None = None
    #: Its variables, but for those of the session; None: it has none.
    own_variables: dict[str, Sample] | None = None
    #: What it tracks itself in stick tables; None: nothing is counted for it.
    counters: Counters | None = None
    acts = True

    @property
    def source(self) -> tuple[str, int]:
        return self.client.address if self.own_source is None else self.own_source

    @property
    def destination(self) -> tuple[str, int]:
        return self.connection_destination if self.own_destination is None else self.own_destination

    @property
    def announced(self) -> Mapping[int, bytes] | None:
        return self.client.announced

    @property
    def connection_source(self) -> tuple[str, int]:
        return self.client.address

    @property
    def connection_destination(self) -> tuple[str, int]:
        """Returns the address from a PROXY protocol header, or else the proxy's own address. The port is 0 for a unix
        or a closed socket."""
        if self.client.destination is not None:
            return self.client.destination
        try:
            found = self.client.transport.socket.getsockname()
        except OSError:
            return "", 0
        return (found[0], found[1]) if isinstance(found, tuple) else ("unix", 0)

    @property
    def frontend_name(self) -> str:
        return self.client.frontend.name

    @property
    def backend_name(self) -> str | None:
        """Returns the name of the request's backend: until one is chosen, that of a `listen` section is its own."""
        return self.client.frontend.own_backend if self.backend is None else self.backend.name

    @property
    def server_name(self) -> str | None:
        return None if self.server is None else self.server.name

    def usable_servers(self, backend: str) -> int | None:
        return self.client.frontend.usable_servers(backend or self.backend_name or "")

    def figure(self, which: str, name: str) -> Sample:
        own = self.frontend_name if which == "fe_conn" else self.backend_name
        return self.client.frontend.figure(which, name or own or "")

    def table(self, name: str) -> Table | None:
        frontend = self.client.frontend
        return frontend.tables.get(name or frontend.name)

    def tracked(self, number: int) -> Tracked | None:
        own = self.counters
        if own is not None and number in own:
            return own[number]
        session = self.client.session
        return None if session is None or session.counters is None else session.counters.get(number)

    @property
    def shared_counters(self) -> Counters | None:
        """Returns what its client's connection tracks."""
        session = self.client.session
        return None if session is None else session.counters

    @property
    def listener_name(self) -> str:
        return self.client.listener.bind.name

    @property
    def maps(self) -> Mapping[str, Map]:
        return self.client.frontend.maps

    @property
    def client_tls(self) -> TransportTLS | None:
        return session_of(self.client).tls

    @property
    def server_tls(self) -> TLSSide | None:
        """Returns the TLS side of the server's connection; of one that has been given back, what was noted of it."""
        if self.connection is None:
            return None if self.noted is None else self.noted.server_tls
        return tls_side(self.connection.transport)

    def note(self) -> Noted:
        if self.noted is None:
            self.noted = Noted.of(self.client.frontend.settings.captures)
        return self.noted

    def note_connection(self) -> None:
        """Notes what the log says of the server's connection, which is given back before the line is written."""
        connection = self.connection
        if connection is None:
            return
        noted = self.note()
        noted.server_tls = tls_side(connection.transport)
        try:
            source = connection.transport.socket.getsockname()
        except OSError:
            return  # it is gone already
        noted.source = (source[0], source[1]) if isinstance(source, tuple) else ("unix", 0)

    @property
    def unique_id(self) -> bytes:
        return self._id()

    def _id(self) -> bytes:
        make = self.client.frontend.unique_id
        if make is None:
            return b""
        noted = self.note()
        if noted.unique_id is None:
            noted.unique_id = make(self)
        return noted.unique_id

    @property
    def course(self) -> Course:
        raise NotImplementedError

    def wall(self) -> float:
        return time.time()

    def set_priority(self, priority: tuple[int, int]) -> None:
        self.priority = priority

    def mark_packets(self, what: str, value: int) -> None:
        """Sets the mark ("mark") or the type of service ("tos") of packets to the client; one at a unix socket has
        none."""
        sock = self.client.transport.socket
        if sock.family not in (AF_INET, AF_INET6):
            return
        try:
            if what == "mark":
                sock.setsockopt(SOL_SOCKET, SO_MARK, pack("=I", value))
            elif sock.family == AF_INET:
                sock.setsockopt(IPPROTO_IP, IP_TOS, value)
            else:
                sock.setsockopt(IPPROTO_IPV6, IPV6_TCLASS, value)
        except OSError as error:
            self.not_done(f"'set-{what}': {error.strerror}")

    def look_up(self, section: str, name: str, prefer: str, told: Callable[[str | None], None]) -> Callable[[], None]:
        """Calls `told` with an address of this name; None: there is none. Returns what stops that."""
        return self.client.frontend.lookups.look_up(section, name, prefer, told, self.source[0])

    def not_done(self, text: str) -> None:
        """Reports what a rule could not do."""
        self.client.frontend.not_done(text)

    def variable(self, name: str) -> Sample:
        return self._scope(name).get(name) if self._at_hand(name) else None

    def set_variable(self, name: str, value: Sample) -> None:
        if not self._at_hand(name):
            return
        if value is None:
            self._scope(name).pop(name, None)
        else:
            self._scope(name)[name] = value

    def _at_hand(self, name: str) -> bool:
        """Tells whether a variable's scope exists now."""
        return True

    def _scope(self, name: str) -> dict[str, Sample]:
        """Returns the variables of a scope: `sess` lives as long as the client's connection, the others at most
        as long as the exchange."""
        if name.startswith("sess."):
            return session_of(self.client).variables
        if self.own_variables is None:
            self.own_variables = {}
        return self.own_variables


class ExchangeFacts(ConnectionFacts):
    """Holds the facts of an exchange; the base of `Exchange`. `head` is the request's head, as rules have left it;
    `line` is its first line as received, if rules have changed the head; `answer` is the response's head.
    `answer_rules` process that head, and may replace the answer: they return a status, the whole answer, and two
    letters for the log.

    This is a base class and not an object of its own: rules are handed the exchange itself, so that most facts are
    plain attributes. An object between would cost an allocation for each request and a call for each fetch.
    """

    # Most exchanges never touch these; as class attributes they cost nothing.
    client: Client
    inspected: None = None
    head: RequestHead | None = None
    answer: ResponseHead | None = None
    line: bytes | None = None
    #: What `http-after-response` makes of an answer of our own.
    own_rules: Callable[..., bytes] | None = None
    answer_rules: Callable[..., tuple[int, bytes, str] | None] | None = None
    #: The same of an answer that a service makes: they return a status, the answer, and whether it is another one.
    service_rules: Callable[..., tuple[int, bytes, bool]] | None = None
    #: The server to which the request is bound, while it is.
    binding: Binding | None = None
    #: What a rule says of persistence: "force", "ignore", or "" without one.
    persist = ""
    #: What has become of its persistence cookie; None: its backend has none, or it has not come so far.
    cookie: CookieState | None = None
    #: What rules say of how it is carried (`rules.steering.Steered`).
    most_retries: int | None = None
    no_late_retries = False
    hints = b""
    #: Time-outs in the place of those of its sections, by HAProxy's words; None: there are none.
    own_timeouts: dict[str, float] | None = None
    #: What had come of its body with its head, while its rules are run; and what has come since.
    early = b""
    more: list[bytes] | None = None
    method = b""
    #: What answers in place of a server, as the log names it: "<STATS>" or "<PROMEX>"; "": nothing of the kind.
    applet = ""
    #: Answered by `monitor-uri`, and so not logged.
    monitored = False
    #: Its rules may be broken off until a password has been checked, and begin again.
    may_wait = False
    #: What the request had of them when a rule first asked; False: no rule has.
    _credentials: Credentials | Literal[False] | None = False
    _auth_scheme: bytes | None = None

    @property
    def credentials(self) -> Credentials | None:
        if self._credentials is False:
            name = b"Proxy-Authorization" if self.asks_as_proxy else b"Authorization"
            values = () if self.head is None else self.head.values(name)
            self._credentials = basic_credentials(values)
            self._auth_scheme = auth_scheme(values)
        return self._credentials or None

    @property
    def auth_scheme(self) -> bytes | None:
        _ = self.credentials
        return self._auth_scheme

    def member(self, users: str) -> bytes | None:
        credentials = self.credentials
        if credentials is None:
            return None
        return self.client.frontend.authentication.member(users, credentials, self.may_wait)

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
        return self.head.target[:1] not in (b"/", b"*")

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
