"""Defines what rules can look at: one exchange as far as it has come, its two connections, and the TLS side of each.

It defines protocols only; the code that carries exchanges implements them. Whatever costs something to find out is a
property or a method, called when a rule needs it and never computed beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Protocol

from attrs import define

from reusedproxy.config.model.logs import Captures
from reusedproxy.config.model.values import Place
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked
from reusedproxy.wire.client_hello import ClientHello
from reusedproxy.wire.credentials import Credentials
from reusedproxy.wire.heads import RequestHead, ResponseHead
from reusedproxy.wire.hello_lists import HelloLists


class Binary(bytes):
    """Marks a sample of HAProxy's type `bin`, which is neither text nor number."""

    __slots__ = ()


class Method(bytes):
    """Marks a sample of HAProxy's type `meth` where its type has to outlive its expression: in a variable."""

    __slots__ = ()


Address = IPv4Address | IPv6Address
#: The value of an expression: bool, int, bytes (str, and meth within an expression), Method, Binary (bin) or an
#: address; None where there is nothing to fetch.
Sample = bool | int | bytes | Method | Binary | Address | None

#: HAProxy's numbers (`fc_err`, `bc_err`) of a TLS handshake that failed; of a server's certificate for another name
#: than `verifyhost` says, or than was asked for; of one that was complete, and that the other side refused then.
TLS_FAILED: Final = 34
TLS_OTHER_HOST: Final = 32
TLS_OTHER_NAME: Final = 33
TLS_REFUSED_LATE: Final = 43


@define
class Noted:
    """Holds what is noted of one exchange, or one session of `mode tcp`, for its log.

    `request` and `response` have the values captured, None where there is none so far; the slots of `captures` bound
    their lengths. `cookies` are the first of the request and of the response (`capture cookie`). `level`: at which the
    line is written, "silent" for none, "" for the usual one. `unique_id`: None until it is asked for. `number`: no
    other exchange of the process has it; -1: none was given. `logged`: the line is written already. `source` is our own
    address of the connection to the server, `server_tls` its TLS, `server_socket` the socket and `server_times` what
    the kernel had measured of it. `error` and
    `error_text` say why a client's connection has failed, in HAProxy's numbers and words (`fc_err`). `server_error` is
    the number of what has last failed of a connection to a server (`bc_err`), `server_tls_error` number and text of
    OpenSSL's error in that (`ssl_bc_err`). `reused`: the server's connection has carried a request before. `last_rule`
    is the place of the last rule that has decided (`last_rule_line`), where that is asked for, `compression` the
    algorithm by which the answer is compressed, "" for none.
    """

    captures: Captures
    request: list[bytes | None]
    response: list[bytes | None]
    cookies: list[bytes | None]
    level: str = ""
    unique_id: bytes | None = None
    number: int = -1
    logged: bool = False
    source: tuple[str, int] | None = None
    server_tls: TLSSide | None = None
    server_socket: Any = None
    server_times: dict[str, int] | None = None
    error: int = 0
    error_text: str = "Success"
    server_error: int = 0
    server_tls_error: tuple[int, bytes] | None = None
    reused: bool = False
    last_rule: Place | None = None
    compression: str = ""

    @classmethod
    def of(cls, captures: Captures) -> Noted:
        return cls(captures, [None] * len(captures.request), [None] * len(captures.response), [None, None])

    def capture(self, value: bytes, slot: int, of_response: bool) -> bool:
        """Captures a value in this slot, and tells whether there are that many."""
        slots = self.captures.response if of_response else self.captures.request
        values = self.response if of_response else self.request
        if not 0 <= slot < len(values):
            return False
        values[slot] = value[: slots[slot].length]
        return True

    def captured(self, slot: int, of_response: bool) -> bytes | None:
        values = self.response if of_response else self.request
        return values[slot] if 0 <= slot < len(values) else None


class TLSSide(Protocol):
    """Describes one TLS connection as the proxy's own end of it sees it."""

    @property
    def version(self) -> str:
        """Returns the version in HAProxy's words: "TLSv1.3"."""

    @property
    def cipher(self) -> str:
        """Returns OpenSSL's name of the cipher."""

    @property
    def cipher_bits(self) -> int:
        """Returns the number of bits of the cipher's key."""

    @property
    def sni(self) -> bytes | None:
        """Returns the name that was asked for (SNI)."""

    @property
    def alpn(self) -> bytes:
        """Returns the protocol agreed on by ALPN; b"" if there is none."""

    @property
    def resumed(self) -> bool: ...

    @property
    def verify_result(self) -> int:
        """Returns OpenSSL's X509_V_ERR number of the last verification.

        It is 0 if all is well, or if no certificate was shown.
        """

    @property
    def handshake_error(self) -> int | None:
        """Returns 0; None of a handshake that has failed, since OpenSSL's number of its error is not kept."""

    @property
    def certificate_error(self) -> int:
        """Returns the X509_V_ERR number of the first fault of the peer's certificate that was
        let pass; 0 without one."""

    @property
    def authority_error(self) -> tuple[int, int]:
        """Returns number and depth of the first fault that was let pass in a certificate above the peer's.

        The number is an X509_V_ERR; the depth is that of the certificate in the chain. Without a fault both are 0.
        """

    @property
    def hello_lists(self) -> HelloLists | None:
        """Returns what was captured of the client's first message; None where nothing is, or towards a server."""

    def suite_names(self, numbers: tuple[int, ...]) -> list[str]:
        """Returns the name of each cipher suite; "" for one that is not known."""

    @property
    def certificate(self) -> bytes | None:
        """Returns the peer's certificate in DER; in a resumed session, that of the original handshake."""

    @property
    def own_certificate(self) -> bytes | None:
        """Returns the certificate that the proxy has shown, in DER; None if it has shown none."""

    @property
    def own_name(self) -> str | None:
        """Returns the name of the file of the certificate that the proxy has shown; None towards a server."""

    @property
    def root(self) -> bytes | None:
        """Returns the last certificate of the chain by which the peer's was verified, in DER; None where none was, or
        in a resumed session."""

    @property
    def group(self) -> str:
        """Returns OpenSSL's name of the group of the key exchange; "" where it is not known."""

    @property
    def session(self) -> bytes | None:
        """Returns the session as OpenSSL stores it (i2d_SSL_SESSION(3))."""

    @property
    def master_key(self) -> bytes | None:
        """Returns the master secret; that of the next resumption in TLS 1.3."""

    @property
    def client_random(self) -> bytes | None: ...

    @property
    def server_random(self) -> bytes | None: ...

    @property
    def first_finished(self) -> bytes | None:
        """Returns the Finished message that came first in a handshake of TLS 1.2: the client's, or the server's where a
        session was resumed (tls-unique, RFC 5929 section 3)."""

    @property
    def chain(self) -> list[bytes]:
        """Returns all certificates that the peer has shown, its own first, each in DER."""


class Inspected(Protocol):
    """Gives access to the bytes of a connection in `mode tcp`, which may still be coming. `final` tells that nothing
    more is waited for, `waited` that the client was waited for before, or has ended its side; a fetch sets `changes` if
    its value may be another one when more has come."""

    changes: bool

    @property
    def final(self) -> bool: ...

    @property
    def waited(self) -> bool: ...

    @property
    def most(self) -> int:
        """Returns how many bytes of one side are held, at most: what is longer never comes as a whole."""

    @property
    def request_bytes(self) -> bytes:
        """Returns what the client has sent so far."""

    def client_hello(self) -> ClientHello | None:
        """Returns the TLS client's first message in that; None while it is incomplete. Raises NotHello."""

    @property
    def response_bytes(self) -> bytes:
        """Returns what the server has sent so far."""


class Map(Protocol):
    """Defines a map as those know it who look something up in it."""

    def find(self, method: str, sample: Sample) -> bytes | None:
        """Returns the value for this sample, by HAProxy's word for the method; None: there is none."""

    def key_for(self, method: str, sample: Sample) -> bytes | None:
        """Returns the key that is found for this sample; None: there is none."""

    def set(self, key: bytes, value: bytes) -> str:
        """Sets the value of a key. Returns why that was not done; "": it was."""

    def delete(self, key: bytes) -> None:
        """Deletes a key, if it is there."""


NO_MAPS: Mapping[str, Map] = {}


class Facts(Protocol):
    """Gives access to one exchange, or one session of `mode tcp`, for sample fetches. `counters` are its own counters
    of stick tables (`track-sc0`), None as long as it has none. `compared` values of long lists were looked at so far
    (`rules.many`). `counted` are the rules for contents of one section that have counted it (`rules.counters`)."""

    counters: Counters | None
    compared: int
    counted: tuple[int, ...]

    @property
    def inspected(self) -> Inspected | None:
        """Returns the bytes that rules of `mode tcp` look at; None elsewhere."""

    @property
    def head(self) -> RequestHead | None: ...

    @property
    def longest(self) -> int:
        """Returns the bytes of the longest text that rules make of others: a buffer's (`tune.bufsize`) less one."""

    @property
    def maps(self) -> Mapping[str, Map]:
        """Returns the maps, by the names of their files."""

    @property
    def body(self) -> bytes | None:
        """Returns what has come of the request's body; None where it is not at hand."""

    @property
    def answer_body(self) -> bytes | None:
        """Returns what has come of the answer's body; None where it is not at hand."""

    @property
    def line(self) -> bytes | None:
        """Returns the request's first line as it came, if rules may have changed it; None otherwise."""

    @property
    def answer(self) -> ResponseHead | None:
        """Returns the head of the response; None as long as there is none."""

    @property
    def noted(self) -> Noted | None:
        """Returns what is noted for the log; None: nothing so far."""

    def note(self) -> Noted:
        """Returns it, and makes it if there is none yet."""

    @property
    def unique_id(self) -> bytes:
        """Returns the text of `unique-id-format`, which is made once; b"" without one."""

    @property
    def course(self) -> Course:
        """Returns what the log says, as far as the exchange has come."""

    @property
    def priority(self) -> tuple[int, int]:
        """Returns the class of the request in queues, the lowest first, and the milliseconds by which its wait counts
        as later."""

    def set_priority(self, priority: tuple[int, int]) -> None:
        """Sets class and offset."""

    @property
    def credentials(self) -> Credentials | None:
        """Returns name and password of the request, as its head had them when a rule first asked; None without."""

    @property
    def auth_scheme(self) -> bytes | None:
        """Returns the scheme of the request's credentials, Basic or Bearer, also where `credentials` are None."""

    def member(self, users: str) -> bytes | None:
        """Returns the name, a `users.Member`, if it is in this `userlist` with this password. Raises Unevaluated if
        that is not known."""

    @property
    def asks_as_proxy(self) -> bool:
        """Tells whether the client takes the proxy for a forward proxy (`option http-use-proxy-header`)."""

    @property
    def source(self) -> tuple[str, int]:
        """Returns host and port that the client comes from, as a PROXY protocol header or a rule (`set-src`) says, or
        else the connection; at a unix socket the port is 0."""

    @property
    def destination(self) -> tuple[str, int]:
        """Returns host and port that the client has connected to, as a PROXY protocol header or a rule says, or else
        the connection."""

    @property
    def connection_source(self) -> tuple[str, int]:
        """Returns host and port of the connection's other end, or what `tcp-request connection set-src` has put in
        their place. Nothing that a client sends changes it."""

    @property
    def connection_destination(self) -> tuple[str, int]:
        """Returns host and port of the connection's own end, or what `tcp-request connection set-dst` has put in their
        place."""

    @property
    def announced(self) -> Mapping[int, Sequence[bytes]] | None:
        """Returns the extensions of the PROXY protocol header by which another proxy has announced the client, by their
        types; None: there was no header."""

    @property
    def lenient(self) -> bool:
        """Tells whether rewrites that cannot be done are left out (`strict-mode off`)."""

    @property
    def first_request(self) -> bool:
        """Tells whether the client's connection has carried no request before this one."""

    @property
    def frontend_name(self) -> str: ...

    @property
    def backend_name(self) -> str | None: ...

    @property
    def server_name(self) -> str | None: ...

    def usable_servers(self, backend: str) -> int | None:
        """Returns how many servers of this backend can be chosen, of the request's own for ""; None if there is no such
        backend."""

    def figure(self, which: str, name: str) -> Sample:
        """Returns what HAProxy's sample fetch of this name says of a section or a server (`be_conn`, `srv_is_up`, …; ""
        is the request's own section), or of this process (`env`, `pid`); and of the request itself whether it has
        failed (`error`), has had a connection to a server (`forwarded`), or was answered by a page of the proxy's
        (`toapplet`). None where there is nothing of that name."""

    def tell(self, sink: str, line: str) -> None:
        """Writes a line where `debug` says, by HAProxy's name."""

    def not_done(self, text: str) -> None:
        """Reports what could not be done for it, once in a while; it goes on."""

    @property
    def listener_name(self) -> str: ...

    @property
    def client_tls(self) -> TLSSide | None:
        """Returns the TLS side of the client's connection; None without TLS."""

    @property
    def awaits_tls(self) -> bool:
        """Tells whether the client has yet to begin TLS, which it has to."""

    @property
    def server_tls(self) -> TLSSide | None: ...

    def wall(self) -> float:
        """Returns the time of day, in seconds since 1970."""

    def table(self, name: str) -> Table | None:
        """Returns the stick table of this name, of the frontend's for ""; None if there is none."""

    def tracked(self, number: int) -> Tracked | None:
        """Returns what the counter of this number tracks: its own, or else its connection's; None if nothing does."""

    @property
    def acts(self) -> bool:
        """Tells whether rules do what they say, and are not asked only what they would decide."""

    def variable(self, name: str) -> Sample:
        """Returns the value of a variable.

        As in HAProxy, those of the scope `req` end with the request's rules, and those of `res` begin with the
        response's.
        """

    def set_variable(self, name: str, value: Sample) -> None:
        """Sets a variable; None removes it. A variable of a scope that does not exist at this point is not set."""


class Course(Protocol):
    """Gives access to what the log says of one exchange, or one session of `mode tcp`, as far as it has come. Times of
    day are seconds since 1970; other times are whole milliseconds, -1 where that point was not reached."""

    facts: Any
    frontend_name: str
    #: With the sign of a client that uses TLS.
    frontend_label: str
    #: The backend's name, or the frontend's as long as there is none.
    backend_label: str
    #: The server's name, or what the log has in its place.
    server_label: str
    client_host: str
    #: The listener's number where there is no port.
    client_port: int
    #: The PROXY header and the TLS handshake; 0 from the client's second request on.
    handshake_time: int
    #: Until the request's first byte; from there to the last one of its head; and the sum of the three.
    idle_time: int
    request_time: int
    whole_request_time: int
    queue_time: int
    connect_time: int

    #: HAProxy's number of what has failed of the connection to the server, 0: nothing; None: there was no connection.
    @property
    def server_error(self) -> int | None: ...

    #: Number and text of OpenSSL's error in the handshake with the server, 0: it has succeeded; None: there was none,
    #: or what went wrong is not OpenSSL's.
    @property
    def server_tls_error(self) -> tuple[int, bytes] | None: ...

    #: Until the head of the response; and since then, in mode tcp since the connection to the server.
    response_time: int
    data_time: int
    #: Since the request's first byte; since the client was accepted; and that without `idle_time`.
    active_time: int
    total_time: int
    user_time: int
    #: "+" where the line comes early, and some numbers are larger in truth.
    plus: str
    status: int
    #: The first two letters of the termination state.
    flags: str
    bytes_in: int
    bytes_out: int
    process_clients: int
    frontend_clients: int
    backend_requests: int
    server_requests: int
    retries: int
    #: "+" after a redispatch.
    moved: str
    srv_queue: int
    backend_queue: int

    @property
    def hedged(self) -> int:
        """Returns 0; 1 if the request was sent to a second connection (`hedge`), and 2 if that has answered."""

    @property
    def termination(self) -> str:
        """Returns all four letters of the termination state."""

    @property
    def destination(self) -> tuple[str, int]: ...

    @property
    def server_source(self) -> tuple[str, int] | None:
        """Returns our own address of the connection to the server; None if it was not noted."""

    @property
    def server_address(self) -> tuple[str, int] | None: ...

    @property
    def listener_number(self) -> int:
        """Returns the number of the listener in its frontend, from 1."""

    @property
    def accepted_at(self) -> float:
        """Returns the time of day when the client was accepted, or its request before had been answered."""

    @property
    def requested_at(self) -> float:
        """Returns the time of day of the request's first byte."""

    @property
    def number(self) -> int:
        """Returns a number that no other request of the process has."""

    @property
    def lines(self) -> int:
        """Returns the number of lines in the frontend's log before this one."""

    @property
    def origin(self) -> str:
        """Returns the word of the moment at which the log is written (`%OG`)."""

    @property
    def host_name(self) -> str:
        """Returns the name of this machine."""

    @property
    def pid(self) -> int: ...
