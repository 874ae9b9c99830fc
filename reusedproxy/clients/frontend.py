"""Accepts the clients of a frontend, and finds the backend for each request: the HTTP server factory.

A frontend holds what all its client connections share (settings, limits, numbers) and bounds their number. When its
proxy is replaced, it hands them over to its successor, or turns them away. It must never know how a request is read or
carried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf
from socket import socket
from typing import Any, Final

from attrs import evolve

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.places import Asker, Ended
from reusedproxy.backends.server import Server
from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.connection_limit import ACCEPTED, CONNECTIONS, HANDSHAKES, ConnectionLimit
from reusedproxy.clients.figures import MeasuredRates, figure
from reusedproxy.clients.gate import (
    ACCEPT,
    DENIED,
    EXPECT_PROXY,
    REJECT,
    SILENT_DROP,
    UNIX_CLIENT,
    Arrival,
    ArrivalNotes,
    Gate,
)
from reusedproxy.clients.handover import hand_over, move_stream
from reusedproxy.clients.owner import AccessLog, Connected, Owner
from reusedproxy.clients.pending import PendingClient, PendingClients
from reusedproxy.clients.session_rate import SessionRate
from reusedproxy.clients.stream import StreamConnection, StreamLog
from reusedproxy.clients.switched import SwitchedConnection
from reusedproxy.config import model
from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.config.model.tables import Judged
from reusedproxy.exchanges.authentication import NOBODY, Authentication
from reusedproxy.exchanges.counting import count_request
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.request_rules import shows_page
from reusedproxy.exchanges.route import Page, Route, Service
from reusedproxy.exchanges.routing import Routing
from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.binding import ListenError
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.names.once import Lookups
from reusedproxy.net.poller import Poller
from reusedproxy.net.transport import Transport, hide, reset_at_close
from reusedproxy.net.unix_sockets import admits_as_many
from reusedproxy.rules.actions import ErrorPages
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.facts import NO_MAPS, Map, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.client import session_of
from reusedproxy.streams.guide import Guide
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import SESSIONS, count, leave
from reusedproxy.wire.bodies import ChunkedBody, plain_name
from reusedproxy.wire.heads import Limits

Address = tuple[str, int]
#: A client connection makes itself the owner of its transport.
_NOBODY: Any = None
#: Seconds between two log lines about the same bound.
FULL_EVERY: Final = 60.0


class Frontend(Owner):
    """Runs a `frontend` section.

    `closing` tells that each exchange is its client connection's last (option httpclose, stopping). `default_route`
    leads to the backend where no rule chooses another; None: there is none.
    """

    #: For mypyc: what `daemon.reloading.former` drops at the end.
    __deletable__ = (
        "backends", "connections", "default_route", "gate", "handshakes", "heir", "invalid", "listeners", "log",
        "frequencies",
        "pages", "rate", "routing", "places", "_unevaluated", "announce", "guide", "monitor", "stream_log",
        "services", "session_gate", "tables", "unique_id",
    )  # fmt: skip

    def __init__(
        self,
        settings: model.Frontend,
        backend: Backend | None,
        poller: Poller,
        deadlines: Deadlines,
        places: ConnectionLimit,
        limits: Limits,
        announce: Callable[[str, str], None],
    ) -> None:
        self.settings = settings
        #: The `maxconn` of the file; `settings` have that which was ordered since.
        self.maxconn_said = settings.maxconn
        self.name = settings.name
        self.timeouts = settings.timeouts
        self.backend = backend
        self.limits = limits
        self.deadlines = deadlines
        self.pages: list[Page] = []
        self.errors: ErrorPages = {}
        #: How names of headers are spelled for clients, by names in lower case; None: as they came.
        self.spelling: Mapping[bytes, bytes] | None = None
        self.authentication: Authentication = NOBODY
        #: The environment that the configuration was read with.
        self.environment: Mapping[str, str] = {}
        #: When the process began, by the clock of `deadlines`.
        self.process_began = deadlines.now()
        self.lookups = Lookups({})
        self.maps: Mapping[str, Map] = NO_MAPS
        #: The variables of the process (scope `proc`), by their names.
        self.variables: dict[str, Sample] = {}
        #: What writes the lines of `debug`, by where they go.
        self.sinks: Mapping[str, Callable[[str], None]] = {}
        #: Patterns that rules change, by the names of their files.
        self.lists: Mapping[str, EditedFile] = {}
        self.services: Mapping[str, Service] = {}
        self.log: AccessLog | None = None
        #: Leads the streams of its clients, in mode tcp; None: it is in mode http, and the connections carry requests.
        #: With a `routing` beside it some are read as requests once it is known where they lead.
        self.guide: Guide | None = None
        self.stream_log: StreamLog | None = None
        #: Makes the text of `unique-id-format`; None: there is none.
        self.unique_id: Callable[[Any], bytes] | None = None
        #: The log's letters about cookies where no backend has been chosen yet: those of a `listen` section's own.
        self.cookie_letters = NO_COOKIES
        #: Number of lines of its log, where a format shows it.
        self.lines = 0
        self.handshakes = PendingClients(self, poller)
        self.traffic = Traffic()
        self.connections: set[Connected] = set()
        #: Clients that frontends still have in whose place reloads have put this one; and what stands in the place
        #: of this one.
        self.connections_before = 0
        self.heir: Frontend | None = None
        self.connections_max = 0
        self.connections_total = 0
        self.listeners: list[Listener] = []
        # HAProxy's manual, section 4.2: httpclose closes the side of its section; http-server-close counts
        # wherever it is.
        self.closing = settings.connection_mode == "close"
        #: Another frontend accepts on its listeners, or nobody does.
        self.stopped = False
        #: Another process goes on at its listeners: its clients are told so, each by an answer.
        self.leaving = False
        #: An operator has stopped it for good.
        self.shut = False
        self.default_route = None if backend is None or backend.settings.mode == "tcp" else Route(settings, backend)
        #: Tells that the servers of its default backend are told who asks (`option forwardfor`).
        self.forwards = self.default_route is not None and self.default_route.forwards
        #: The names of such headers, of all its routes; None: no trailer has come that would have to be none of them.
        self._own_names: frozenset[bytes] | None = None
        #: The name of the backend of its own section, of a `listen`; None: it is a frontend only.
        self.own_backend: str | None = None
        #: The rules of its section and of those that they lead to; None: there are none.
        self.routing: Routing | None = None
        #: Returns False for requests that need not pass these rules, see `Routing.guard`; None: all pass them. It
        #: counts them before, if they are counted.
        self.guard: Callable[[Exchange], bool] | None = None
        #: The guard that is asked when a request has been counted.
        self._inner_guard: Callable[[Exchange], bool] | None = None
        #: `clients.monitor.Monitor.answers`: it comes behind rules for contents, and before all
        #: others. None: there is no monitor.
        self.monitor: Callable[[Exchange, bytes, bool], bool] | None = None
        #: All backends, by name.
        self.backends: Mapping[str, Backend] = {}
        #: Decides who may come in; None: everybody may.
        self.gate: Gate | None = None
        #: Decides who may stay when its handshakes are over; None: everybody may.
        self.session_gate: Gate | None = None
        #: All stick tables, by name; and whether its rules for connections or sessions track anything there.
        self.tables: Mapping[str, Table] = {}
        self.judged_from = Judged().least
        self.tracks = False
        #: Each request is counted before all else: in what the rules for connections track, or in `requests_begun`,
        #: where a rule asks for its rate.
        self.counts_requests = False
        #: Whether they are counted in what tracks their clients behind the rules for contents, which come first.
        self.counts_late = False
        self.requests_begun = 0
        #: The rates that rules ask for; None: they ask for none.
        self.frequencies: MeasuredRates | None = None
        #: Rules for requests set variables of sessions.
        self.notes_in_sessions = False
        #: Tells that `stays` has something to do.
        self.judges_sessions = False
        #: Number of clients rejected by the gate, and by the other one.
        self.denied = 0
        self.denied_sessions = 0
        self._poller = poller
        self.places = places
        self.announce = announce
        #: Tells that it has as many clients as it may, so that its listeners pause.
        self.full = False
        #: Bounds how many come in a second; None: nothing does.
        self.rate = SessionRate(settings.session_rate, deadlines, self.make_room) if settings.session_rate else None
        #: Invalid requests.
        self.invalid = LastErrors(f"Proxy {self.name}", "request", deadlines.now, lambda text: announce("notice", text))
        self._unevaluated = LogThrottle(deadlines.now, lambda text: announce("alert", text))
        #: When each bound was last said to be reached.
        self._told_full: dict[str, float] = {}

    @property
    def uses_proxy_header(self) -> bool:
        return self.settings.uses_proxy_header

    @property
    def has_rules(self) -> bool:
        return self.routing is not None

    @property
    def maxconn(self) -> int:
        """Returns the limit of its clients: its own `maxconn`, or else the process's, as in HAProxy's manual."""
        return self.settings.maxconn or self.places.maxconn

    @property
    def process_clients(self) -> int:
        return self.places.taken

    @property
    def clients(self) -> int:
        """Returns how many clients it has, with those that a reload has left to the frontends before it."""
        return len(self.connections) + self.connections_before

    def next_number(self) -> int:
        """Returns a number that is given to no other request, or session, of this process."""
        places = self.places
        places.numbered += 1
        return places.numbered - 1

    def listen(self, listener: Listener, *, opens: bool = True) -> None:
        """Serves what this listener accepts; one that is closed for a while is opened, or stays so until `enable`.
        Raises OSError where it cannot accept now: `enable` tries it again."""
        self.listeners.append(listener)
        # One that a reload took over may have other settings than those it was made with.
        self._adopt(self.bind_of(listener), listener)
        listener.certificates = self.handshakes.certificates.get(listener.bind.address)
        try:
            listener.keep_alive(self.settings.clitcpka, self.settings.keep_alive)
        except OSError as error:  # who serves by now has to serve
            text = f"TCP keep-alive of clients at {listener.bind.address} stays as it was: {error.strerror}"
            self.announce("alert", f"Proxy {self.name}: {text}")
        listener.traffic = Traffic() if self.settings.socket_stats else None
        if self not in self.places.frontends:
            self.places.frontends.append(self)
        if self.places.full:
            self.fill()
        listener.crowded = listener.certificates is not None and self.places.crowded
        if listener.shut and not opens:
            listener.stay_shut(self)
            return
        listener.listen(self)
        if listener.full or self.full:
            listener.pause()

    def _adopt(self, bind: model.Bind, listener: Listener) -> None:
        """Gives a listener the settings of its line. Where that lets in fewer, who waits to be let in is turned
        away."""
        before = listener.bind
        try:
            listener.adopt(bind, self.settings.maxconn)
            for accepted in () if admits_as_many(bind, before) else listener.waiting():
                accepted.close()
        except ListenError as error:
            self.announce("alert", f"Proxy {self.name}: {error}")
        except OSError as error:
            text = f"who waited at {bind.address} before the reload may come in: {error.strerror}"
            self.announce("alert", f"Proxy {self.name}: {text}")

    def bind_of(self, listener: Listener) -> model.Bind:
        """Returns this frontend's line for a listener, which may have been made for another one's."""
        address = listener.bind.address
        return next((each for each in self.settings.binds if each.address == address), listener.bind)

    def stop(self, successors: Mapping[Listener, Frontend] | None = None) -> None:
        """Stops accepting. Each connection ends after its current exchange, idle ones now.

        Listeners in `successors` are not closed: another frontend goes on with them, and with their idle clients.
        A client whose idle connection was closed might be sending at that moment, and would not know what became
        of its request.
        """
        for _ in self.stopping(successors or {}):
            pass

    def stopping(self, successors: Mapping[Listener, Frontend]) -> Iterator[None]:
        """Stops in steps: the first is for its listeners, and one for each connection, which goes
        on as before until then."""
        listeners = self._stop_accepting()
        for listener in listeners:
            if listener not in successors:
                listener.close()
        yield
        for connection in list(self.connections):
            if connection in self.connections:
                hand_over(connection, self, successors.get(connection.listener))
                yield
        self.closing = True

    def _stop_accepting(self) -> list[Listener]:
        """Gives up its listeners, which stay open, and returns them."""
        self.stopped = True
        if self.rate is not None:
            self.rate.stop()
        listeners, self.listeners = self.listeners, []
        if self in self.places.frontends:
            self.places.frontends.remove(self)
        return listeners

    def leave(self, kept_idle: float) -> None:
        """Stops accepting, because another process goes on at its listeners. Each client is told with its next answer
        to come again: closing an idle connection might cross with its next request. One whose answer has begun without
        that word, and is idle then, has `kept_idle` seconds for another request."""
        self._stop_accepting()
        self.closing = self.leaving = True
        keep_alive = self.timeouts.http_keep_alive
        kept = kept_idle if keep_alive is None else min(keep_alive, kept_idle)
        self.timeouts = evolve(self.timeouts, http_keep_alive=kept)
        for connection in self.connections:
            if isinstance(connection, ClientConnection) and not connection.is_answered:
                connection.end_after("another process goes on")

    def finish_idle(self) -> None:
        """Closes the connections of clients that have nothing under way."""
        for connection in [each for each in self.connections if isinstance(each, ClientConnection)]:
            if connection in self.connections and not connection.is_answered:
                connection.finish()

    def settle(self, connection: Connected) -> None:
        """Hands over a connection that was not idle when this frontend stopped (a pending client's, one whose exchange
        has ended since): to the one that accepts on its listener now, if its client would be admitted there."""
        if self.leaving and isinstance(connection, ClientConnection):
            return
        taker = connection.listener.taker
        successor = taker if isinstance(taker, Frontend) and taker is not self else None
        if isinstance(connection, StreamConnection):
            if successor is None or successor.guide is None or move_stream(connection, self, successor):
                connection.begin()
        else:
            hand_over(connection, self, successor)

    def verdict(self, arrival: Arrival) -> str:
        """Runs the rules for connections. Returns ACCEPT, REJECT, SILENT_DROP or EXPECT_PROXY."""
        verdict = ACCEPT if self.gate is None else self.judged(self.gate, arrival)
        expects = verdict == ACCEPT and self.bind_of(arrival.listener).accept_proxy
        return EXPECT_PROXY if expects else verdict

    def judged(self, gate: Gate, arrival: Arrival) -> str:
        """Returns the verdict of these rules; REJECT where they could not be evaluated."""
        try:
            return gate.judge(arrival)
        except Exception as error:
            # The rules behind the one that failed might have turned the client away.
            self.not_evaluated(Unevaluated.by(error), arrival.listener)
            return REJECT

    def take_over(self, connection: Connected) -> None:
        """Adopts a client whose frontend stops. The process has counted it already."""
        self.connections.add(connection)
        self.connections_max = max(self.connections_max, self.clients)
        if self.clients >= self.maxconn:
            self.fill()

    def let_go(self, connection: Connected) -> None:
        """Forgets a client that has gone, or that another frontend is about to take over."""
        self.connections.discard(connection)
        if self.heir is not None:
            self.heir.connections_before -= 1
            self.heir.make_room()

    def abort(self, reason: str) -> None:
        """Ends all remaining connections now."""
        for connection in list(self.connections):
            connection.abort(reason)

    def end_sessions(self, server: Server, letter: str) -> None:
        """Ends the requests that this server carries; `letter` is the first of their termination states."""
        for connection in list(self.connections):
            if connection in self.connections and _server_of(connection) is server:
                self.end_session(connection, letter)

    def end_session(self, connection: Connected, letter: str) -> None:
        """Ends what this connection is at; `letter` is the first of its termination state."""
        if isinstance(connection, StreamConnection):
            connection.stream.cut(letter)
        elif isinstance(connection, ClientConnection) and connection.exchange is not None:
            connection.exchange.server_marked(letter)
        else:
            connection.abort("ended by an operator")

    # What listeners and client connections call.

    def connection_made(self, accepted: socket, address: object, listener: Listener) -> None:
        """Admits a client that has connected, or rejects it by a rule."""
        name = address[:2] if isinstance(address, tuple) else UNIX_CLIENT
        bind = listener.bind
        expects = bind.accept_proxy
        notes: ArrivalNotes | None = None
        if self.places.rates:
            self.places.count(CONNECTIONS)
            if listener.certificates is not None:
                self.places.count(HANDSHAKES)
        if self.gate is not None:
            arrival = Arrival(accepted, name, listener, self)
            verdict = self.verdict(arrival)
            notes, name = arrival.notes, arrival.source
            if verdict in DENIED:
                if verdict == SILENT_DROP:
                    hide(accepted)
                else:
                    reset_at_close(accepted)  # as HAProxy: nothing is left in TIME_WAIT of a flood
                if arrival.counters is not None:
                    leave(arrival.counters)
                self.denied += 1
                listener.connections -= 1
                if listener.traffic is not None:
                    listener.traffic.denied += 1
                accepted.close()
                return
            expects = verdict == EXPECT_PROXY
        connections, places = self.connections, self.places
        if places.rates:
            places.count(ACCEPTED)
        streaming = None
        opened: ClientConnection | StreamConnection | None = None
        self.connections_total += 1
        places.taken += 1
        traffic = listener.traffic
        if traffic is not None:
            traffic.stot += 1
            if listener.connections > traffic.smax:
                traffic.smax = listener.connections
        if expects:
            connections.add(self.handshakes.expect_preface(accepted, name, listener, notes))
        elif listener.certificates is not None:
            connections.add(self.handshakes.begin(accepted, name, listener, listener.certificates, notes))
        elif self.guide is None:
            transport = Transport(self._poller, accepted, _NOBODY)
            opened = ClientConnection(self, transport, name, listener)
            connections.add(opened)
        else:
            opened = streaming = StreamConnection(self, Transport(self._poller, accepted, _NOBODY), name, listener)
            connections.add(streaming)
        size = len(connections) + self.connections_before
        if size > self.connections_max:
            self.connections_max = size
        if size >= (self.settings.maxconn or places.maxconn):
            self.fill()
        if places.taken >= places.maxconn:
            for frontend in places.frontends:
                frontend.fill()
        if 0 < bind.maxconn <= listener.connections:
            bound = f"{listener.bind.address} (maxconn {listener.bind.maxconn})"
            self._tell_full(f"Proxy {self.name} reached the connection limit of its bind {bound}")
            listener.pause()
        if self.rate is not None and self.rate.count() and not self.full:
            self.pause()
        if self.judges_sessions and opened is not None and not self.stays(opened, notes):
            return
        if streaming is not None:
            streaming.begin()

    def stays(self, connection: ClientConnection | StreamConnection, notes: ArrivalNotes | None) -> bool:
        """Runs the rules for sessions for a client whose handshakes are over, and counts its session in what tracks it.
        Those for connections have taken `notes` of it. Returns False if it has been turned away."""
        if notes is not None and notes.variables:
            session_of(connection).variables.update(notes.variables)
        if notes is not None and notes.destination is not None:
            session_of(connection).connection_destination = notes.destination
        arrival = Arrival(
            connection.transport.socket,
            connection.address,
            connection.listener,
            self,
            connection,
            None if notes is None else notes.counters,
        )
        verdict = ACCEPT if self.session_gate is None else self.judged(self.session_gate, arrival)
        if arrival.counters is not None:
            session_of(connection).counters = arrival.counters
        if verdict in DENIED:
            self.denied_sessions += 1
            if verdict == SILENT_DROP:
                hide(connection.transport.socket)
            connection.turn_away()
            return False
        count(arrival.counters, None, SESSIONS)
        return True

    def take_requests(self, connection: StreamConnection, backend: str | None) -> None:
        """Puts a connection that reads requests in the place of this one, the first of them for this `backend` (None:
        its rules choose)."""
        route = None if backend is None or self.routing is None else self.routing.routes[backend]
        switched = SwitchedConnection(self, connection, route)
        self.connections.discard(connection)
        self.connections.add(switched)
        switched.begin()
        if self.stopped and switched in self.connections:
            self.settle(switched)

    def admit(
        self, accepted: socket, address: tuple[str, int], listener: Listener, notes: ArrivalNotes | None
    ) -> ClientConnection | StreamConnection | PendingClient:
        """Makes a client connection, or begins its TLS handshake. The caller counts it."""
        if listener.certificates is not None:
            return self.handshakes.begin(accepted, address, listener, listener.certificates, notes)
        transport = Transport(self._poller, accepted, _NOBODY)
        if self.guide is None:
            return ClientConnection(self, transport, address, listener)
        return StreamConnection(self, transport, address, listener)

    def connection_gone(self, connection: Connected, listener: Listener) -> None:
        """Forgets a connection whose socket is closed, and accepts others again if there was no room."""
        if self.heir is None:
            self.connections.discard(connection)
        else:
            self.let_go(connection)
        places = self.places
        places.taken -= 1
        listener.connections -= 1
        if connection.over_tls:
            places.over_tls -= 1
            if places.maxsslconn and places.over_tls + 1 == places.maxsslconn:
                places.crowd()
        if places.taken + 1 == places.maxconn:
            for frontend in places.frontends:
                frontend.make_room()
        elif self.full:
            self.make_room()
        # After a reload the listener may be another frontend's.
        if listener.bind.maxconn and listener.taker is not None and not listener.taker.full and not listener.full:
            listener.resume()

    def route(self, exchange: Exchange, body: bytes, ended: bool) -> None:
        """Begins `exchange` at its backend, or answers it with one of the proxy's pages."""
        if self.routing is not None:
            self.routing.route(exchange, body, ended)
        elif self.monitor is not None and self.monitor(exchange, body, ended):
            return
        elif not (self.pages and shows_page(self.pages, exchange, body, ended)):
            if self.default_route is None:
                exchange.fail(503, "SC")
            else:
                exchange.begin(self.default_route, body, ended)

    def set_guard(self) -> None:
        """Has requests counted if they are to be, and lets those to which no rule applies pass the rules by, where one
        test tells. Call it when the rules, the pages and the monitor are known, and what is counted."""
        guard = None
        if self.monitor is None:
            if self.routing is not None:
                guard = self.routing.guard()
            elif not self.pages and self.default_route is not None:
                guard = _never
        self._inner_guard = guard
        self.counts_late = self.routing is not None and self.routing.inspects
        counts = self._counts_itself if self.counts_late else self._counts
        self.guard = counts if self.counts_requests else guard if self.routing is not None else None
        if self.guide is not None and self.routing is not None:
            self._inner_guard = None  # nothing is begun past `route`, which knows what a stream has been led to
            self.guard = self._leads

    def _counts(self, exchange: Exchange) -> bool:
        """Counts a request that begins, and does what the guard does."""
        self.requests_begun += 1
        count_request(exchange)
        return self._inner_guard is None or self._inner_guard(exchange)

    def _leads(self, exchange: Exchange) -> bool:
        """Counts a request of a client that began in mode tcp, and has the first go on from what was decided there."""
        if self.counts_late:
            self._counts_itself(exchange)
        elif self.counts_requests:
            self._counts(exchange)
        client = exchange.client
        if isinstance(client, SwitchedConnection):
            client.lead(exchange)
        return True

    def _counts_itself(self, exchange: Exchange) -> bool:
        """Counts a request that begins, and leaves it to the routing to count it in what tracks its client."""
        self.requests_begun += 1
        return True

    def chunked_body(self) -> ChunkedBody:
        """Returns a reader for a request body of unknown length. It drops trailers that a server could take for headers
        which rules, or settings of its sections (`Route.own_names`, `unique-id-header`), have to say."""
        return ChunkedBody(self.limits, dropped=self._drops)

    def _drops(self, name: bytes) -> bool:
        if self.routing is not None and self.routing.edits(name):
            return True
        if self._own_names is None:
            routes = [] if self.routing is None else [*self.routing.routes.values()]
            if self.default_route is not None:
                routes.append(self.default_route)
            identified = [] if self.routing is None else [self.routing.id_header]
            self._own_names = frozenset(plain_name(each) for each in identified if each).union(
                *(route.own_names for route in routes)
            )
        return plain_name(name) in self._own_names

    @property
    def disabled(self) -> bool:
        """Tells whether none of its listeners accepts until `enable`; also where it has none."""
        return all(each.shut for each in self.listeners)

    def disable(self) -> bool:
        """Has its listeners accept nobody until `enable`, or a reload, as HAProxy's `disable frontend`. Its clients
        stay. Returns False, and logs why, if that cannot be done."""
        return self._switch(Listener.suspend, "Paused")

    def enable(self) -> bool:
        """Has its listeners accept again. Returns False, and logs why, if that cannot be done."""
        done = self._switch(Listener.restore, "Resumed")
        for listener in self.listeners:
            if self.full or listener.full:
                listener.pause()
        return done

    def _switch(self, act: Callable[[Listener], None], said: str) -> bool:
        try:
            for listener in self.listeners:
                act(listener)
        except OSError as error:
            self.announce("alert", f"Proxy {self.name}: {error.strerror or error}")
            return False
        self.announce("warning", f"{said} {'frontend' if self.own_backend is None else 'proxy'} {self.name}.")
        return True

    def shut_down(self) -> None:
        """Closes its listeners and lets its clients finish what is under way, as HAProxy's `shutdown frontend`. Only a
        reload, or another process, opens them again."""
        self.shut = True
        self.stop()
        self.announce("warning", f"Proxy {self.name} stopped (cumulated conns: FE: {self.connections_total}, BE: 0).")

    def set_maxconn(self, most: int) -> None:
        """Sets the most clients at once (0: what the process may have), as `set maxconn frontend` of HAProxy. Those
        beyond it stay."""
        self.settings = evolve(self.settings, maxconn=most)
        if self.clients >= self.maxconn:
            self.fill()
        else:
            self.make_room()

    def succeed(self, previous: Frontend) -> None:
        """Takes the place of `previous` after a reload. Its ordered limit holds until the file's own word changes, what
        it has counted goes on, that of this second, too, and its clients take the places here."""
        self.traffic, self.invalid = previous.traffic, previous.invalid
        self.handshakes.counts = previous.handshakes.counts
        self.connections_max, self.connections_total = previous.connections_max, previous.connections_total
        self.denied, self.requests_begun = previous.denied, previous.requests_begun
        self.connections_before = previous.clients
        previous.connections_before = 0
        previous.heir = self
        if self.clients >= self.maxconn:
            self.fill()
        if previous.settings.maxconn != previous.maxconn_said == self.maxconn_said:
            self.set_maxconn(previous.settings.maxconn)
        if self.rate is not None and previous.rate is not None:
            self.rate.follow(previous.rate)

    def clear_counters(self, everything: bool) -> None:
        """Forgets the highest values that were seen; with `everything` also what was counted."""
        self.traffic.clear(everything)
        self.connections_max = self.clients
        if everything:
            self.connections_total = self.denied = self.denied_sessions = 0
            self.handshakes.counts.clear()

    def count(self, ended: Ended[Asker]) -> None:
        """Counts an exchange that has ended."""
        traffic = self.traffic
        traffic.req_tot += 1
        traffic.bin += ended.bytes_in
        traffic.bout += ended.bytes_out
        status = ended.status
        traffic.hrsp[status // 100 if 100 <= status < 600 else 0] += 1

    def forwarded(self, address: tuple[str, int]) -> bytes:
        """Writes the line of `option forwardfor` for a client at `address`, for servers of the default backend."""
        return b"" if self.default_route is None else self.default_route.forwarded(address)

    def usable_servers(self, backend: str) -> int | None:
        """Returns how many servers of this backend can be chosen; None without a backend."""
        if not backend:
            return None
        found = self.backends.get(backend)
        return 0 if found is None else found.usable_servers  # one that is disabled has none

    def figure(self, which: str, name: str) -> Sample:
        """Returns what the sample fetch `which` says of a section, a server, or this process (`clients.figures`)."""
        return figure(which, name, self)

    def not_done(self, text: str) -> None:
        """Reports what a rule could not do; the request goes on."""
        self._unevaluated.tell(text, f"Proxy {self.name}: {text}", "of these")

    def not_evaluated(self, unevaluated: Unevaluated, listener: Listener) -> None:
        """Reports a rule that could not be evaluated; the request, response or client concerned, which has come by this
        listener, has been refused."""
        self.traffic.eint += 1
        if listener.traffic is not None:
            listener.traffic.eint += 1
        place = f"{unevaluated.place}: " if unevaluated.place is not None else ""
        text = (
            f"Proxy {self.name}: {place}a rule could not be evaluated, so what it was to judge is refused:"
            f" {unevaluated}"
        )
        self._unevaluated.tell(place, text, "of these")

    # Its bounds.

    def fill(self) -> None:
        """Pauses its listeners, because it or the process has as many clients as allowed."""
        if self.full:
            return
        self._tell_full(f"Proxy {self.name} reached its connection limit ({self._bound()})")
        self.pause()

    def pause(self) -> None:
        """Pauses its listeners until `make_room`."""
        self.full = True
        for listener in self.listeners:
            listener.pause()

    def crowd(self, crowded: bool) -> None:
        """Has its listeners with TLS pause, or accept again, as the process has, or no longer has, as many clients over
        TLS as allowed."""
        for listener in self.listeners:
            if listener.certificates is None:
                continue
            if crowded and not listener.crowded:
                self._tell_full(
                    f"Proxy {self.name} accepts no more clients over TLS: the process reached its maxsslconn"
                    f" {self.places.maxsslconn}"
                )
            listener.crowded = crowded
            if crowded:
                listener.pause()
            elif not self.full and not listener.full:
                listener.resume()

    def _tell_full(self, text: str) -> None:
        """Reports now and then that a limit is reached: at the limit each client that leaves makes
        room for a moment only."""
        now = self.deadlines.now()
        if now - self._told_full.get(text, -inf) >= FULL_EVERY:
            self._told_full[text] = now
            self.announce("alert", text)

    def _bound(self) -> str:
        if self.settings.maxconn and self.clients >= self.maxconn:
            return f"maxconn {self.maxconn}"
        return f"the process's maxconn {self.places.maxconn}"

    def make_room(self) -> None:
        """Has its listeners accept again, unless a limit or a rate is still reached."""
        if not self.full or self.clients >= self.maxconn or self.places.full or self.places.limited:
            return
        if self.rate is not None and self.rate.limited:
            return
        self.full = False
        for listener in self.listeners:
            if not listener.full:
                listener.resume()


def _server_of(connection: Connected) -> Server | None:
    """Returns the server that a connection's request, or stream, has."""
    if isinstance(connection, StreamConnection):
        return connection.stream.server
    if isinstance(connection, ClientConnection) and connection.exchange is not None:
        return connection.exchange.server
    return None


def backend_of(connection: Connected) -> Backend | None:
    """Returns the backend that a connection's request, or stream, is at."""
    if isinstance(connection, StreamConnection):
        return connection.stream.backend
    if isinstance(connection, ClientConnection) and connection.exchange is not None:
        return connection.exchange.backend
    return None


def _never(exchange: Exchange) -> bool:
    return False
