"""Logs clients whose connection failed before there was a request: in the TLS handshake, or the PROXY protocol header.

HAProxy has a short line of its own for them, whatever the format of others (section 8.2.5), unless `error-log-format`
says another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.pending import Announcement, PendingClient
from reusedproxy.config.model.logs import NO_CAPTURES
from reusedproxy.exchanges.course import ExchangeCourse
from reusedproxy.net import preface
from reusedproxy.net.tls import handshake
from reusedproxy.net.tls.facts import FailedTLS
from reusedproxy.net.tls.handshake import HandshakeFailure
from reusedproxy.operators.logs.access import ERROR, INFO, sending
from reusedproxy.operators.logs.targets import Send, Target
from reusedproxy.rules.facts import Facts, Noted, Sample
from reusedproxy.rules.samples.aliases import with_milliseconds
from reusedproxy.rules.samples.lines import line_of
from reusedproxy.sessions.course import number_of
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked

#: Failures of connections on which no data or hardly any has come (`option dontlognull`).
_WITHOUT_DATA = (handshake.EMPTY, handshake.ABORTED, preface.EMPTY, preface.ABORTED)
#: HAProxy's numbers of them (include/haproxy/connection-t.h, CO_ER_*).
_NUMBERS = {
    preface.EMPTY: 11,
    preface.ABORTED: 12,
    preface.TIMED_OUT: 13,
    preface.TRUNCATED: 14,
    preface.INVALID: 15,
    handshake.EMPTY: 24,
    handshake.ABORTED: 25,
    handshake.TIMED_OUT: 26,
    handshake.CA_NOT_TRUSTED: 30,
    handshake.CRT_NOT_TRUSTED: 31,
    handshake.REFUSED: 34,
}


class HandshakeLog:
    """Logs a client's failed handshake."""

    def __init__(self, frontend: Frontend, send: Send, wall: Callable[[], float] = time.time) -> None:
        self._frontend = frontend
        self._send = send
        self._wall = wall
        errors = frontend.settings.log.errors
        self._line = None if errors is None else line_of(errors, lambda name: False)

    def __call__(self, pending: PendingClient, failure: HandshakeFailure, announcement: Announcement | None) -> None:
        if self._frontend.settings.dontlognull and failure.kind in _WITHOUT_DATA:
            return
        if self._line is not None:
            line = self._line(FailedClient(self._frontend, pending, failure, announcement, self._wall).course)
            self._frontend.lines += 1
            self._send(line)
            return
        host, port = pending.address
        number = number_of(pending.listener, self._frontend.listeners)
        began = pending.began + self._wall() - self._frontend.deadlines.now()
        date = f"{with_milliseconds(int(began))}{int(began % 1 * 1000):03d}"
        bind = pending.listener.bind.name or number
        self._send(f"{host}:{port or number} [{date}] {self._frontend.name}/{bind}: {failure.kind}")


def handshake_log(frontend: Frontend, targets: Sequence[Target]) -> HandshakeLog | None:
    """Returns the function that logs failed handshakes; None when no target takes the lines, or no listener has
    handshakes."""
    send = sending(targets, ERROR if frontend.settings.log.separate_errors else INFO)
    if send is None or not any(bind.tls or bind.accept_proxy for bind in frontend.settings.binds):
        return None
    return HandshakeLog(frontend, send)


class FailedClient:
    """Holds the facts of such a client (`reusedproxy.rules.facts.Facts`), and those of its course: there is no
    request, and of TLS only what was wrong. It is its own connection, too (`sessions.client.ClientFacts`)."""

    inspected = head = body = answer_body = line = answer = server_tls = server_name = None
    credentials = announced = auth_scheme = backend = server = waited_for = cookie = own_source = None
    asks_as_proxy = lenient = redispatched = False
    compared = 0
    counted: tuple[int, ...] = ()
    awaits_tls = False
    applet = ""
    first_request = acts = True
    counters: Counters | None = None
    priority = 0, 0
    requests = placed_at = connected = answered = status = 0
    bytes_in = bytes_out = retries = srv_queue = backend_queue = 0
    #: As HAProxy has it of all of them.
    flags = "PR"
    unique_id = b""
    #: Nothing: its socket is closed, and the course has the address of the `bind` line.
    destination = connection_destination = "", 0

    def __init__(
        self,
        frontend: Frontend,
        pending: PendingClient,
        failure: HandshakeFailure,
        announcement: Announcement | None,
        wall: Callable[[], float],
    ) -> None:
        self.client = self
        self.frontend = frontend
        self.listener = pending.listener
        #: Of a transport: whether it would have been one with TLS.
        self.client_tls = None if failure.verified is None else FailedTLS(failure.verified)
        self.transport, self.secure = self, pending.listener.bind.tls is not None
        self.deadlines = frontend.deadlines
        self.source = self.connection_source = self.address = pending.address
        if announcement is not None:
            self.connection_source = announcement.peer
            self.destination = announcement.header.destination or self.connection_destination
        self.maps = frontend.maps
        self.longest = frontend.limits.buffer - 1
        self.since = self.began = self.read = pending.began
        self.ended = frontend.deadlines.now()
        self.handshake = 0.0
        self.frontend_name, self.backend_name = frontend.name, frontend.own_backend
        self.listener_name = pending.listener.bind.name
        self.noted = Noted.of(NO_CAPTURES)
        self.noted.error, self.noted.error_text = _NUMBERS[failure.kind], failure.kind
        self.wall = wall

    @property
    def course(self) -> FailedCourse:
        return FailedCourse(self)

    def note(self) -> Noted:
        return self.noted

    def usable_servers(self, backend: str) -> int | None:
        return self.frontend.usable_servers(backend or self.backend_name or "")

    def figure(self, which: str, name: str) -> Sample:
        if which == "error":
            return True
        own = self.frontend_name if which.startswith("fe_") else self.backend_name
        return self.frontend.figure(which, name or own or "")

    def tell(self, sink: str, line: str) -> None:
        self.frontend.sinks[sink](line)

    def not_done(self, text: str) -> None:
        self.frontend.not_done(text)

    def table(self, name: str) -> Table | None:
        return self.frontend.tables.get(name)

    def tracked(self, number: int) -> Tracked | None:
        """Returns nothing: its counters have ended with it."""
        return None

    def member(self, users: str) -> bytes | None:
        return None

    def set_priority(self, priority: tuple[int, int]) -> None:
        raise NotImplementedError("no rule is run")

    def variable(self, name: str) -> Sample:
        return self.frontend.variables.get(name)

    def set_variable(self, name: str, value: Sample) -> None:
        raise NotImplementedError("no rule is run")


class FailedCourse(ExchangeCourse):
    """Says what the log says of such a client."""

    __slots__ = ()

    def __init__(self, facts: Facts) -> None:
        ExchangeCourse.__init__(self, facts)
        self.handshake_time = -1  # it was never over
        self.status = 0
