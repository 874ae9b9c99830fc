"""Carries one client's session of `mode tcp`: from the first byte, or none, to the last one either way.

A stream stands between a client connection and a server's. Its way:

    start       asks its frontend's `Guide` for a backend, which may have to look at the first bytes for it
    go          enters a backend, and begins to seek a connection (`Search`); what the client sends meanwhile is held
    found       has a connection: from now on a `Relay` carries bytes
    relay_over  and `refuse`, `found_none`, `client_gone`, `cut`: the ways to `_finish`, which is the only end
    switch      hands over to what reads requests, in place of all that

Upward a stream knows `client.StreamClient` alone. It must never know sockets or grammar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.pacing import pace
from reusedproxy.net.poller import DATA
from reusedproxy.net.tls.words import CertificateRefused
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.raw import RawConnection, raw
from reusedproxy.rules.facts import TLS_REFUSED_LATE
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.sticking import Sticking, Stores
from reusedproxy.sessions.termination import ABORTS, STOPPED
from reusedproxy.streams.answers import AnswerGate
from reusedproxy.streams.client import StreamClient
from reusedproxy.streams.facts import StreamFacts
from reusedproxy.streams.guide import Guide, Way
from reusedproxy.streams.inspection import DENIALS, ContentRules, Inspection
from reusedproxy.streams.relay import Relay, RelayTimeouts
from reusedproxy.streams.search import Search
from reusedproxy.tables.allowances import Allowance
from reusedproxy.tables.tracking import BYTES_IN, BYTES_OUT, count, leave
from reusedproxy.wire.heads import ResponseHead

# The states of a stream.
INSPECTING: Final = "inspecting"
TRYING: Final = "trying"
RELAYING: Final = "relaying"
SWITCHED: Final = "switched"
ENDED: Final = "ended"


class Stream(StreamFacts):
    """Carries one session. `state` is one of these:

    INSPECTING  it has no backend: rules look at what the client sends
    TRYING      a server is sought, and a connection to it
    RELAYING    bytes go both ways
    SWITCHED    what the client sends is read as requests, and no stream any more
    ENDED       all is over, counted and logged

    `flags` are the first two letters of HAProxy's termination state. Times are the clock's seconds, 0 when that point
    was not reached: `began`, `placed_at` (a server was chosen), `connected`, `ended`.
    """

    state = INSPECTING
    backend: Backend | None = None
    server: Server | None = None
    connection: ServerConnection | None = None
    search: Search | None = None
    relay: Relay | None = None
    #: What looks at the client's bytes; None: nothing does, any more.
    inspection: Inspection | None = None
    #: The server in whose own queue a wait has ended in vain.
    waited_for: Server | None = None
    flags = "--"
    placed_at = 0.0
    connected = 0.0
    ended = 0.0
    #: Bytes of the client, also those that no server has got, and of the server, once all is over.
    received = 0
    sent = 0
    # Of `backends.places.Ended`: bytes are counted as they pass, and nothing is answered.
    bytes_in = 0
    bytes_out = 0
    status = 0
    answered = 0.0
    answer: ResponseHead | None = None
    #: The rules about what the server says.
    _answers: ContentRules | None = None
    _gate: AnswerGate | None = None
    # What its search counted, once that is over.
    _retries = 0
    _redispatched = False
    _srv_queue = 0
    _backend_queue = 0
    #: What stores the server, and under which keys; None: nothing does.
    _sticking: Sticking | None = None
    _stores: Stores | None = None

    def __init__(self, client: StreamClient) -> None:
        self.client = client
        self.began = self.read = client.since
        #: What the client has sent, and no server has got so far; and it will send nothing more.
        self.held = b""
        self.client_ended = False
        #: When it has sent its last bytes, or was let in.
        self.heard = client.deadlines.now()

    @property
    def deadlines(self) -> Deadlines:
        return self.client.deadlines

    # For the log.

    @property
    def retries(self) -> int:
        return self._retries if self.search is None else self.search.retries

    @property
    def redispatched(self) -> bool:
        return self._redispatched if self.search is None else self.search.redispatched

    @property
    def srv_queue(self) -> int:
        return self._srv_queue if self.search is None else self.search.srv_queue

    @property
    def backend_queue(self) -> int:
        return self._backend_queue if self.search is None else self.search.backend_queue

    # Its way.

    def start(self, guide: Guide) -> None:
        """Begins the session, as this guide says."""
        transport = self.client.transport
        transport.owner = self
        self.read_as = guide.read_as
        if guide.looks:
            # As in HAProxy, rules that wait for nothing see what has come by now.
            transport.resume_reading()
            transport.on_ready(DATA)
        if self.state != ENDED:
            guide.lead(self)

    def inspect(self, rules: ContentRules, then: Callable[[str], None]) -> None:
        """Has these rules look at what the client sends, and calls `then` with what they decide."""
        patience = self.client.frontend.timeouts.client
        self.counted = ()

        def over(verdict: str) -> None:
            self.inspection = None
            then(verdict)

        self.inspection = inspection = Inspection(self, rules, self._sends_no_more, over, patience)
        inspection.look()
        if self.inspection is not None:
            self.waited = True
            self._read()

    def _sends_no_more(self) -> bool:
        return self.client_ended or self.holds_too_much

    def go(self, way: Way, binding: Binding | None, stores: Stores | None = None) -> None:
        """Seeks a server of this backend, or of the one that a reload has put in its place."""
        self._sticking, self._stores = way.sticking, stores
        backend = way.backend
        while backend.successor is not None:
            backend = backend.successor
        if self.backend is not backend:
            self.enter(backend)
        self.state = TRYING
        self._answers = way.answers
        self.search = search = Search(self)
        search.binding = None if binding is None else binding.at(backend.servers)
        search.start()
        if self.state == TRYING and self.client_ended and self._gives_up:
            self.client_gone("C")
        elif self.state == TRYING:
            self._read()

    def switch(self, backend: str | None) -> None:
        """Hands the client over to what reads requests, the first of them for this `backend`, or (None) for that which
        the frontend chooses."""
        if self.client_ended and not self.held:
            self.client_gone("C")
        else:
            self.state = SWITCHED
            self.client.stream_switched(backend)

    def enter(self, backend: Backend) -> None:
        """Enters a backend, in place of the one before if there was one, and counts there."""
        if self.backend is not None:
            traffic = self.backend.traffic
            traffic.scur -= 1
            traffic.stot -= 1
        self.backend = backend
        traffic = backend.traffic
        traffic.stot += 1
        traffic.scur += 1
        if traffic.scur > traffic.smax:
            traffic.smax = traffic.scur

    def found(self, connection: RawConnection) -> None:
        """Begins to relay."""
        client, backend, server = self.client, self.backend, self.server
        assert backend is not None and server is not None
        frontend = client.frontend
        self.connection = connection
        self.connected = self.deadlines.now()
        self.state = RELAYING
        if frontend.settings.log.notes_connections:
            self.note_connection()
        if frontend.settings.log.early:
            client.log_stream()
        timeouts = RelayTimeouts.of(frontend.timeouts, backend.settings.timeouts)
        counted: tuple[Traffic, Traffic, Traffic] = (frontend.traffic, backend.traffic, server.traffic)
        self.relay = relay = Relay(client.transport, connection.transport, timeouts, self.deadlines, self, counted)
        greeting = connection.lend(relay.server)
        if self._answers is not None:
            relay.server.gate = self._gate = gate = AnswerGate(self, relay, self._answers)
            gate.look()
        else:
            self.store_server()
        held, self.held = self.held, b""
        if self.state == RELAYING:
            self._pace(incoming=True)
            self._pace(incoming=False)
            relay.start(held, greeting, self.client_ended)

    def limit_bandwidth(self, limit: Bandwidth, allowance: Allowance) -> None:
        """Limits what passes from now on, in place of what a rule has said of this filter before."""
        StreamFacts.limit_bandwidth(self, limit, allowance)
        self._pace(limit.incoming)

    def _pace(self, incoming: bool) -> None:
        """Paces one direction, once there is a relay."""
        relay, limits = self.relay, self.limits_in if incoming else self.limits_out
        if relay is not None and limits is not None:
            to = relay.server if incoming else relay.client
            pace(to.transport, (*limits.values(),), self.deadlines)

    def store_server(self) -> None:
        """Stores the server in the stick tables, once rules have seen what it says."""
        if self._sticking is not None and self._stores is not None:
            try:
                self._sticking.store(self, self._stores)
            except Exception as error:
                self.not_evaluated(Unevaluated.by(error))

    def count(self, what: str) -> None:
        """Adds one to this count of the backend, and of the server if one is chosen."""
        for counted in (self.backend, self.server):
            if counted is not None:
                counted.traffic.add(what)

    def count_refused_answer(self) -> None:
        self.client.frontend.traffic.add("dresp")
        self.count("dresp")
        if self.client.listener.traffic is not None:
            self.client.listener.traffic.dresp += 1

    # What the client's transport calls, until there is a relay.

    def data_received(self, data: bytes) -> None:
        self.held += data
        self.heard = self.deadlines.now()
        if self.inspection is not None:
            self.inspection.look()
        if self.holds_too_much and self.state in (INSPECTING, TRYING):
            self.client.transport.pause_reading(self._ended_ahead)

    def eof_received(self) -> None:
        self.client_ended = self.waited = True
        if self.inspection is not None:
            self.inspection.look()
        elif self.state == TRYING and self._gives_up:
            self.client_gone("C")

    def connection_lost(self, reason: str) -> None:
        inspection = self.inspection
        try:
            if inspection is not None and reason != STOPPED and inspection.verdict(expired=True) in DENIALS:
                # As in HAProxy, the rule is named that refuses what has come by then.
                self.refuse(denied=True)
            elif self.state in (INSPECTING, TRYING):
                self.client_gone("K" if reason == STOPPED else "C")
        finally:
            self.client.stream_ended("client gone", True)

    def pause_writing(self) -> None:
        """Does nothing: nothing is written to the client before there is a relay."""

    def resume_writing(self) -> None:
        """Does nothing; see `pause_writing`."""

    def _ended_ahead(self, unread: int) -> None:
        """Notes that the client has ended its side while it is not read."""

    def _read(self) -> None:
        """Reads what the client sends, which is held."""
        if not self.client_ended and not self.holds_too_much:
            self.client.transport.resume_reading()

    @property
    def holds_too_much(self) -> bool:
        return len(self.held) >= self.most

    @property
    def _gives_up(self) -> bool:
        """Tells whether a client that has ended its side before there is a server wants none any more, as in HAProxy:
        it has said nothing, or `option abortonclose` says so."""
        return not self.held or (self.backend is not None and bool(self.backend.settings.abortonclose))

    # Ends.

    def refuse(self, flags: str = "PR", *, denied: bool = False, silently: bool = False) -> None:
        """Ends the session, because a rule says so (`denied`) or no rule leads to a backend; `silently`: the client
        hears nothing of that."""
        if silently:
            self.client.transport.hide()
        if denied:
            self.client.frontend.traffic.dreq += 1  # not the backend's, as in HAProxy
            if self.client.listener.traffic is not None:
                self.client.listener.traffic.dreq += 1
        self._finish(flags, broken=silently)  # of whom nothing is read any more, either

    def not_evaluated(self, unevaluated: Unevaluated) -> None:
        """Reports a rule that could not be evaluated."""
        self.client.frontend.not_evaluated(unevaluated, self.client.listener)

    def found_none(self, flags: str) -> None:
        """Ends the session, because no server takes it."""
        self._finish(flags)

    def client_gone(self, who: str) -> None:
        """Ends the session before there is a server, because its client is gone."""
        if who in ABORTS:
            self.count(ABORTS[who])
        self._finish(who + (self.search.phase if self.search is not None else "R"))

    def cut(self, letter: str) -> None:
        """Ends the session at once: its server has been marked down ("D"), or an operator ends it ("K")."""
        if self.relay is not None:
            self.relay.end(f"{letter}-")
        elif self.state != ENDED:
            self._finish(letter + (self.search.phase if self.search is not None else "R"))

    def hide_client(self) -> None:
        """Ends the client's connection so that it hears nothing of that, because a rule about its server says so."""
        self.client.transport.hide()

    def drop_server(self) -> None:
        """Resets the server's connection, because a rule says so."""
        assert self.connection is not None
        raw(self.connection).give_up("closed by a rule")

    # What its relay calls.

    def relay_over(self, flags: str, broken: bool) -> None:
        relay, connection = self.relay, self.connection
        assert relay is not None and connection is not None
        if flags[0] in ABORTS:
            self.count(ABORTS[flags[0]])
            self.client.frontend.traffic.add(ABORTS[flags[0]])
        if flags[0] == "S":
            self.count("eresp")
        self._leave_relay(relay)
        raw(connection).give_up("session over", at_once=broken, answered=relay.server.sent > 0)
        self._finish(flags, broken)

    def server_silent(self, reason: str) -> bool:
        relay, connection, search = self.relay, self.connection, self.search
        assert relay is not None and connection is not None and search is not None
        transport, kept = connection.transport, relay.client.kept
        # Our end is something that a server answers, too.
        untold = not relay.client.ended and transport.unsent + transport.lost == relay.client.sent
        unseen = search.was_idle and untold
        if kept is None or not (unseen or isinstance(reason, CertificateRefused)):
            return False
        refused = raw(connection).lost_unused(reason)
        if not (unseen or refused):
            return False
        if self._gate is not None:
            self._gate.leave()
        self.held = b"".join(kept)
        self.client_ended = relay.client.ended
        relay.client.uncount()
        self.client.transport.owner = self
        self.relay = self.connection = None
        self.connected = 0.0
        self.state = TRYING
        if not refused:
            search.again()
        elif not search.fails():
            self.note().server_error = TLS_REFUSED_LATE
            self.count("econ")
            self._finish("SC")
        if self.state == TRYING:
            self._read()
        return True

    def _leave_relay(self, relay: Relay) -> None:
        self.received, self.sent = relay.client.sent, relay.server.sent
        self.relay = None
        self.client.transport_back()

    def _end_counting(self) -> None:
        """Counts the session's bytes in what tracks it, which ends."""
        own, shared = self.counters, self.shared_counters
        if own is not None or shared is not None:
            count(own, shared, BYTES_IN, self.received)
            count(own, shared, BYTES_OUT, self.sent)
        if own is not None:
            leave(own)

    def _finish(self, flags: str, broken: bool = False) -> None:
        """Ends the session; there is no other end."""
        if self.state == ENDED:
            return
        self.state = ENDED
        self.flags = flags
        unsent = len(self.held)
        for counted in (self.client.frontend, self.backend, self.server):
            if counted is not None:
                counted.traffic.bin += unsent
        self.received += unsent
        traffic = self.client.listener.traffic
        if traffic is not None:
            traffic.bin += self.received
            traffic.bout += self.sent
        self.ended = self.deadlines.now()
        self.answered = self.connected  # no answer is waited for: HAProxy's rtime is 0 in mode tcp
        for waiting in (self.inspection, self._gate, self.search):
            if waiting is not None:
                waiting.leave()
        # They refer back to the stream. Left to the garbage collector, those that are open at a reload would stay in
        # memory for ever: it is told then to look at nothing that is there.
        search, self.search = self.search, None
        if search is not None:
            self._retries, self._redispatched = search.retries, search.redispatched
            self._srv_queue, self._backend_queue = search.srv_queue, search.backend_queue
        self.inspection = self._gate = None
        self.connection = None
        self._end_counting()
        try:
            if self.backend is not None:
                self.backend.request_ended(self)
        finally:
            self.client.stream_ended("session over", broken)
