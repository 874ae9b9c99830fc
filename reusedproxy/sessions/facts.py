"""Gives rules the facts that a request and a session of `mode tcp` have in common (`reusedproxy.rules.facts.Facts`):
those of the client's and the server's connection, and variables.

Nothing here costs anything until a rule asks for it. It must never know what is sent on the connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.places import Ended
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.config.rules.variables import OF_PROCESS
from reusedproxy.net.marks import mark_packets
from reusedproxy.net.tcp_info import tcp_infos
from reusedproxy.net.tls.facts import TransportTLS, tls_side
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.rules.facts import Course, Map, Noted, Sample, TLSSide
from reusedproxy.sessions.client import FactsClient, session_of
from reusedproxy.sessions.figures import OF_SERVERS, OWN_FIGURES
from reusedproxy.tables.allowances import Allowance
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked

C_co = TypeVar("C_co", bound=FactsClient, covariant=True)


class ConnectionFacts(Ended[C_co]):
    """Holds these facts; the base of `ExchangeFacts` and `StreamFacts`."""

    backend: Backend | None
    connection: ServerConnection | None
    #: Its class and offset in queues (`set-priority-class`, `set-priority-offset`).
    priority = 0, 0
    #: What is noted for its log; None: nothing so far.
    noted: Noted | None = None
    lenient = False
    compared = 0
    counted: tuple[int, ...] = ()
    awaits_tls = False
    #: What rules have put in the place of the client's address, and of the one that it has connected to; None: nothing.
    own_source: tuple[str, int] | None = None
    own_destination: tuple[str, int] | None = None
    #: Its variables, but for those of the session and the process; None: it has none.
    own_variables: dict[str, Sample] | None = None
    #: The bandwidth limits of what the client sends, and of what it is sent, by filter; None: there are none.
    limits_in: dict[Bandwidth, Allowance] | None = None
    limits_out: dict[Bandwidth, Allowance] | None = None
    #: What it tracks itself in stick tables; None: nothing is counted for it.
    counters: Counters | None = None
    #: Time-outs in the place of those of its sections, by HAProxy's words; None: there are none.
    own_timeouts: dict[str, float] | None = None
    #: How often it may be tried again, in the place of what its backend says.
    most_retries: int | None = None
    acts = True
    #: What answers in place of a server, as the log names it: "<STATS>" or "<PROMEX>"; "": nothing of the kind.
    applet = ""

    @property
    def source(self) -> tuple[str, int]:
        return self.client.address if self.own_source is None else self.own_source

    @property
    def destination(self) -> tuple[str, int]:
        if self.own_destination is not None:
            return self.own_destination
        return self.connection_destination if self.client.destination is None else self.client.destination

    @property
    def announced(self) -> Mapping[int, Sequence[bytes]] | None:
        return self.client.announced

    @property
    def connection_source(self) -> tuple[str, int]:
        return self.client.address if self.client.peer is None else self.client.peer

    @property
    def connection_destination(self) -> tuple[str, int]:
        """Returns the proxy's own address, or what a rule has put in its place. The port is 0 for a unix or a closed
        socket."""
        session = self.client.session
        if session is not None and session.connection_destination is not None:
            return session.connection_destination
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
        if which in OWN_FIGURES:
            return OWN_FIGURES[which](self, name)
        own = self.frontend_name if which.startswith("fe_") else self.backend_name
        return self.client.frontend.figure(which, name or own or "")

    def tell(self, sink: str, line: str) -> None:
        self.client.frontend.sinks[sink](line)

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
        """Notes what log and rules say of the server's connection, which is given back, and may have ended, before they
        do."""
        connection = self.connection
        if connection is None:
            return
        noted = self.note()
        noted.server_tls = tls_side(connection.transport)
        noted.server_socket = connection.transport.socket
        try:
            source = connection.transport.socket.getsockname()
        except OSError:
            return  # it is gone already
        noted.source = (source[0], source[1]) if isinstance(source, tuple) else ("unix", 0)
        noted.server_times = tcp_infos(connection.transport.socket, OF_SERVERS)

    @property
    def unique_id(self) -> bytes:
        return self._id()

    def _id(self) -> bytes:
        make = self.client.frontend.unique_id
        if make is None:
            return b""
        noted = self.note()
        if noted.unique_id is None:
            noted.unique_id = b""  # for a format that asks for the id itself, as in HAProxy
            noted.unique_id = make(self)
        return noted.unique_id

    @property
    def course(self) -> Course:
        raise NotImplementedError

    def wall(self) -> float:
        return time.time()

    def limit_bandwidth(self, limit: Bandwidth, allowance: Allowance) -> None:
        """Limits what passes from now on; what a rule has said of the same filter before counts no more."""
        if limit.incoming:
            self.limits_in = {**(self.limits_in or {}), limit: allowance}
        else:
            self.limits_out = {**(self.limits_out or {}), limit: allowance}

    def set_priority(self, priority: tuple[int, int]) -> None:
        self.priority = priority

    def mark_packets(self, what: str, value: int) -> None:
        """Sets the mark ("mark") or the type of service ("tos") of packets to the client."""
        if why := mark_packets(self.client.transport.socket, what, value):
            self.not_done(why)

    def look_up(self, section: str, name: str, prefer: str, told: Callable[[str | None], None]) -> Callable[[], None]:
        """Calls `told` with an address of this name; None: there is none. Returns what stops that."""
        return self.client.frontend.lookups.look_up(section, name, prefer, told, self.source[0])

    def not_done(self, text: str) -> None:
        """Reports what a rule could not do."""
        self.client.frontend.not_done(text)

    def go_on_from(self, before: ConnectionFacts[FactsClient]) -> None:
        """Takes over what rules have said of a session of mode tcp whose bytes are this request. What that has tracked
        is tracked here from now on."""
        self.own_variables, self.noted, self.priority = before.own_variables, before.noted, before.priority
        self.own_source, self.own_destination = before.own_source, before.own_destination
        self.limits_in, self.limits_out, self.most_retries = before.limits_in, before.limits_out, before.most_retries
        self.counted = before.counted
        if before.counters is not None:
            self.counters, before.counters = before.counters, None

    @property
    def longest(self) -> int:
        return self.client.frontend.limits.buffer - 1

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
        """Returns the variables of a scope: `proc` lives as long as the configuration, `sess` as the client's
        connection, the others at most as long as the exchange."""
        if name[:5] == "sess.":
            return session_of(self.client).variables
        if name[:5] == OF_PROCESS:
            return self.client.frontend.variables
        if self.own_variables is None:
            self.own_variables = {}
        return self.own_variables
