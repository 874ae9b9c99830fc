"""Defines what an exchange may ask of its client connection, and of that connection's frontend.

Exchanges call downward, to backends and pools; upward they call nothing but these. `clients` implements them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from reusedproxy.backends.places import Asker, Ended
from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.exchanges.authentication import Authentication
from reusedproxy.exchanges.route import Page, Route, Service
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.listener import Listener
from reusedproxy.net.names.once import Lookups
from reusedproxy.rules.actions import ErrorPages
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.facts import Map
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.client import ClientFacts, FactsFrontend
from reusedproxy.tables.limiting import KnownEntry
from reusedproxy.wire.faults import Limits


class ClientFrontend(FactsFrontend, Protocol):
    """Defines the frontend as an exchange knows it. `default_route` leads to the backend where no rule chooses another;
    None: there is none."""

    timeouts: Timeouts
    limits: Limits
    traffic: Traffic
    default_route: Route | None
    pages: list[Page]
    #: What it answers in place of error pages, by status.
    errors: ErrorPages
    #: How names of headers are spelled for clients, by names in lower case; None: as they came.
    spelling: Mapping[bytes, bytes] | None
    #: The maps, by the names of their files.
    maps: Mapping[str, Map]
    #: Patterns that rules change, likewise.
    lists: Mapping[str, EditedFile]
    #: Looks names up.
    lookups: Lookups
    #: Knows the users of `userlist` sections.
    authentication: Authentication
    #: What answers in place of a server where a rule says so, by name.
    services: Mapping[str, Service]
    #: Answers a request for `monitor-uri`, of whose body this has come, and tells whether it was one; None: there is no
    #: monitor.
    monitor: Callable[[Any, bytes, bool], bool] | None

    @property
    def uses_proxy_header(self) -> bool:
        """Tells whether a client that asks for more than a path takes us for its proxy (http-use-proxy-header)."""

    @property
    def has_rules(self) -> bool:
        """Tells whether rules may have looked at a request before it begins."""

    def count(self, ended: Ended[Asker]) -> None:
        """Counts an exchange that has ended."""

    def not_evaluated(self, unevaluated: Unevaluated, listener: Listener) -> None:
        """Reports a rule that could not be evaluated; the request or response concerned has been refused."""


#: The frontend, of which an exchange knows what `ClientFrontend` says.
F_co = TypeVar("F_co", bound=ClientFrontend, covariant=True)


class Client(ClientFacts, Generic[F_co]):
    """Defines the client connection as its exchange knows it; its base, because compiled code calls the methods of its
    own classes without a look-up."""

    __slots__ = ()

    frontend: F_co
    #: The header line that tells the servers of the frontend's own `default_route` who asks, or nothing.
    forwarded: bytes
    #: The connection ends after this exchange.
    last: bool
    #: The entry of a stick table in which its last request was counted, for a limit to find; None: it is looked up.
    known_entry: KnownEntry | None

    @property
    def ended(self) -> bool:
        """Tells whether the client has closed its side."""
        raise NotImplementedError

    @property
    def may_ask_again(self) -> bool:
        """Tells whether another request may follow: all of this one has come, and it was not to be the last."""
        raise NotImplementedError

    def end_after(self, reason: str) -> None:
        """Makes this exchange the connection's last. The client is told so, and the connection
        closed after the answer."""
        raise NotImplementedError

    def log_early(self) -> None:
        """Writes the line of the log before the exchange has ended (`option logasap`)."""
        raise NotImplementedError

    def count_unread(self) -> None:
        """Counts a request that could not be read."""
        raise NotImplementedError

    def hide(self) -> None:
        """Makes the connection one of whose end the client will not hear."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Sends a part of the answer."""
        raise NotImplementedError

    def pause_request(self) -> None:
        """Stops reading the request's body, because the exchange can hold no more of it for now."""
        raise NotImplementedError

    def resume_request(self) -> None:
        """Reads the request's body again."""
        raise NotImplementedError

    def continue_came(self) -> None:
        """Starts the client's time for the body, which the server asks for with 100 (Continue)."""
        raise NotImplementedError

    def lend(self) -> tuple[bytes, bool]:
        """Lends the transport to a tunnel. Returns the bytes that have come after the request, and whether the client
        has ended its side."""
        raise NotImplementedError

    def take_back(self) -> None:
        """Takes the transport back from a tunnel, before the exchange ends."""
        raise NotImplementedError

    def exchange_ended(self, last: bytes, error: int, broken: bool) -> None:
        """Ends the current exchange, and sends the answer's `last` bytes. `error` is their status if the error is the
        proxy's own (0: none). `broken` tells that the answer cannot be completed, so that the client gets a reset."""
        raise NotImplementedError

    def abort_exchange(self, exchange: object) -> None:
        """Resets the connection if it is still busy with `exchange`, which has failed by an error of the proxy."""
        raise NotImplementedError
