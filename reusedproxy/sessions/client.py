"""Defines what rules and logs may ask of a client connection, and of its frontend, in either mode.

`exchanges.client` and `streams.client` add what carrying requests or bytes takes; `clients` implements all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from reusedproxy.config import model
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.names.once import Lookups
from reusedproxy.net.tls.facts import tls_side
from reusedproxy.net.transport import Transport
from reusedproxy.rules.facts import Map, Sample
from reusedproxy.sessions.session import Session
from reusedproxy.tables.table import Table
from reusedproxy.wire.faults import Limits


class FactsFrontend(Protocol):
    """Defines the frontend as facts and logs know it. `own_backend` is the name of the backend of its own section, a
    `listen`; None: it has none. `unique_id` makes the text of `unique-id-format`; None: there is none. `cookie_letters`
    are the log's letters about cookies where no backend has been chosen yet, `lines` the number of lines of its log."""

    name: str
    own_backend: str | None
    settings: model.Frontend
    limits: Limits
    unique_id: Callable[[Any], bytes] | None
    cookie_letters: str
    lines: int
    listeners: list[Listener]
    #: The maps, by the names of their files.
    maps: Mapping[str, Map]
    #: All stick tables, by name.
    tables: Mapping[str, Table]
    #: The variables of the process (scope `proc`), by their names.
    variables: dict[str, Sample]
    #: The least status of an answer that tables count as an error, or as a failure.
    judged_from: int
    #: What writes the lines of `debug`, by where they go.
    sinks: Mapping[str, Callable[[str], None]]
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


class ClientFacts(Protocol):
    """Defines the facts of a client connection for rules and logs. `requests` counts the
    request heads received on it."""

    __slots__ = ()

    #: From where it comes, as a PROXY protocol header tells if there was one that does, or a rule.
    address: tuple[str, int]
    #: From where the connection itself comes; None: there was nothing that said otherwise, and `address` is that.
    peer: tuple[str, int] | None
    #: The address that it had connected to, as a PROXY protocol header or a rule tells; None: nothing did.
    destination: tuple[str, int] | None
    #: The extensions of the PROXY protocol header that it came with, by their types; None: it came with none.
    announced: Mapping[int, Sequence[bytes]] | None
    listener: Listener
    requests: int
    transport: Transport
    deadlines: Deadlines
    #: When it was accepted, or its request before had ended; and seconds that its handshakes have taken before that.
    since: float
    handshake: float
    #: Made by the first exchange that has something to keep.
    session: Session | None

    def stand_for(self, address: tuple[str, int]) -> None:
        """Puts another address in the place of the client's, for all that it asks."""


class FactsClient(ClientFacts, Protocol):
    """Defines the client connection as facts know it."""

    @property
    def frontend(self) -> FactsFrontend: ...


def session_of(client: ClientFacts) -> Session:
    """Returns the client connection's session, and makes it if there is none yet."""
    session = client.session
    if session is None:
        session = Session(tls_side(client.transport))
        client.session = session  # type: ignore[misc]  # the slots are those of the classes that implement it
    return session
