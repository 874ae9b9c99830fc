"""Defines what an exchange may ask of its client connection, and of that connection's frontend.

Exchanges call downward, to backends and pools; upward they call nothing but these Protocols. `clients` implements them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from reusedproxy.backends.backend import Ended
from reusedproxy.config import model
from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.exchanges.authentication import Authentication
from reusedproxy.exchanges.route import Page, Route, Service
from reusedproxy.exchanges.session import Session
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.names.once import Lookups
from reusedproxy.net.tls.facts import tls_side
from reusedproxy.net.transport import Transport
from reusedproxy.rules.actions import ErrorPages
from reusedproxy.rules.facts import Map, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.tables.table import Table


class FactsFrontend(Protocol):
    """Defines the frontend as facts and logs know it. `own_backend` is the name of the backend of its own section, a
    `listen`; None: it has none. `unique_id` makes the text of `unique-id-format`; None: there is none. `cookie_letters`
    are the log's letters about cookies where no backend has been chosen yet, `lines` the number of lines of its log."""

    name: str
    own_backend: str | None
    settings: model.Frontend
    unique_id: Callable[[Any], bytes] | None
    cookie_letters: str
    lines: int
    listeners: list[Listener]
    #: The maps, by the names of their files.
    maps: Mapping[str, Map]
    #: All stick tables, by name.
    tables: Mapping[str, Table]
    #: Looks names up.
    lookups: Lookups

    @property
    def process_clients(self) -> int:
        """Returns the number of clients of the whole process."""

    @property
    def clients(self) -> int:
        """Returns the number of its own clients."""

    def next_number(self) -> int:
        """Returns a number that is given to nobody else in this process."""

    def usable_servers(self, backend: str) -> int | None:
        """Returns how many servers of this backend can be chosen; None if there is no such backend."""

    def figure(self, which: str, name: str) -> Sample:
        """Returns what HAProxy's sample fetch of this name says of a section or a server."""

    def not_done(self, text: str) -> None:
        """Reports what a rule could not do; the request, or the session, goes on."""


class ClientFrontend(FactsFrontend, Protocol):
    """Defines the frontend as an exchange knows it. `default_route` leads to the backend where no rule chooses another;
    None: there is none."""

    timeouts: Timeouts
    traffic: Traffic
    default_route: Route | None
    pages: list[Page]
    #: What it answers in place of error pages, by status.
    errors: ErrorPages
    #: How names of headers are spelled for clients, by names in lower case; None: as they came.
    spelling: Mapping[bytes, bytes] | None
    #: The maps, by the names of their files.
    maps: Mapping[str, Map]
    #: Looks names up.
    lookups: Lookups
    #: Knows the users of `userlist` sections.
    authentication: Authentication
    #: What answers in place of a server where a rule says so, by name.
    services: Mapping[str, Service]

    @property
    def uses_proxy_header(self) -> bool:
        """Tells whether a client that asks for more than a path takes us for its proxy (http-use-proxy-header)."""

    def count(self, ended: Ended) -> None:
        """Counts an exchange that has ended."""

    def not_evaluated(self, unevaluated: Unevaluated) -> None:
        """Reports a rule that could not be evaluated; the request or response concerned has been refused."""


class ClientFacts(Protocol):
    """Defines the facts of a client connection for rules and logs. `requests` counts the
    request heads received on it."""

    address: tuple[str, int]
    #: The address that it had connected to, as a PROXY protocol header tells; None: there was no such header.
    destination: tuple[str, int] | None
    #: The extensions of the PROXY protocol header that it came with, by their types; None: it came with none.
    announced: Mapping[int, bytes] | None
    listener: Listener
    requests: int
    transport: Transport
    deadlines: Deadlines
    #: When it was accepted, or its request before had ended; and seconds that its handshakes have taken before that.
    since: float
    handshake: float
    #: Made by the first exchange that has something to keep.
    session: Session | None


class FactsClient(ClientFacts, Protocol):
    """Defines the client connection as facts know it."""

    @property
    def frontend(self) -> FactsFrontend: ...


class Client(ClientFacts, Protocol):
    """Defines the client connection as its exchange knows it."""

    #: The header line that tells the servers of the frontend's own `default_route` who asks, or nothing.
    forwarded: bytes

    @property
    def frontend(self) -> ClientFrontend: ...

    @property
    def last(self) -> bool:
        """Tells whether the connection ends after this exchange."""

    @property
    def ended(self) -> bool:
        """Tells whether the client has closed its side."""

    @property
    def may_ask_again(self) -> bool:
        """Tells whether another request may follow: all of this one has come, and it was not to be the last."""

    def end_after(self, reason: str) -> None:
        """Makes this exchange the connection's last. The client is told so, and the connection
        closed after the answer."""

    def log_early(self) -> None:
        """Writes the line of the log before the exchange has ended (`option logasap`)."""

    def hide(self) -> None:
        """Makes the connection one of whose end the client will not hear."""

    def write(self, data: bytes) -> None:
        """Sends a part of the answer."""

    def pause_request(self) -> None:
        """Stops reading the request's body, because the exchange can hold no more of it for now."""

    def resume_request(self) -> None:
        """Reads the request's body again."""

    def continue_came(self) -> None:
        """Starts the client's time for the body, which the server asks for with 100 (Continue)."""

    def lend(self) -> tuple[bytes, bool]:
        """Lends the transport to a tunnel. Returns the bytes that have come after the request, and whether the client
        has ended its side."""

    def take_back(self) -> None:
        """Takes the transport back from a tunnel, before the exchange ends."""

    def exchange_ended(self, last: bytes, error: int, broken: bool) -> None:
        """Ends the current exchange, and sends the answer's `last` bytes. `error` is their status if the error is the
        proxy's own (0: none). `broken` tells that the answer cannot be completed, so that the client gets a reset."""

    def abort_exchange(self, exchange: object) -> None:
        """Resets the connection if it is still busy with `exchange`, which has failed by an error of the proxy."""


def session_of(client: ClientFacts) -> Session:
    """Returns the client connection's session, and makes it if there is none yet."""
    session = client.session
    if session is None:
        session = client.session = Session(tls_side(client.transport))
    return session
