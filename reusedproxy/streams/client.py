"""Defines what a stream may ask of its client connection, and of that connection's frontend.

Streams call downward, to backends and pools; upward they call nothing but these Protocols. `clients` implements them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.exchanges.client import ClientFacts
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.names.once import Lookups
from reusedproxy.rules.facts import Map, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.tables.table import Table


class StreamFrontend(Protocol):
    """Defines the frontend as a stream knows it. `own_backend` is the name of the backend of its own section, a
    `listen`; None: it has none."""

    name: str
    own_backend: str | None
    #: All stick tables, by name.
    tables: Mapping[str, Table]
    timeouts: Timeouts
    traffic: Traffic
    backends: Mapping[str, Backend]
    #: The maps, by the names of their files.
    maps: Mapping[str, Map]
    #: Looks names up.
    lookups: Lookups

    def usable_servers(self, backend: str) -> int | None:
        """Returns how many servers of this backend can be chosen; None if there is no such backend."""

    def figure(self, which: str, name: str) -> Sample:
        """Returns what HAProxy's sample fetch of this name says of a section or a server."""

    def not_done(self, text: str) -> None:
        """Reports what a rule could not do; the session goes on."""

    def not_evaluated(self, unevaluated: Unevaluated) -> None:
        """Reports a rule that could not be evaluated; the client concerned has been refused."""


class StreamClient(ClientFacts, Protocol):
    """Defines the client connection as its stream knows it. `since` is when it came."""

    deadlines: Deadlines
    since: float

    @property
    def frontend(self) -> StreamFrontend: ...

    def transport_back(self) -> None:
        """Takes the transport back from a relay."""

    def stream_ended(self, reason: str, broken: bool) -> None:
        """Writes the stream's line of the log, and closes the connection: with a reset if it is `broken`, else when the
        client has taken all that is left."""
