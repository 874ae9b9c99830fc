"""Holds the connections of one examination, in the place of a pool: nothing else is opened, and none is closed to make
room.

Connections are those of the server's own pool's class, so they decide here by the same rules whether they can be used
again. Knows no requests and no findings.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dial, Dialer, DialFailure
from reusedproxy.net.tls.words import CertificateRefused
from reusedproxy.net.transport import CLOSED, Transport
from reusedproxy.pool.connection import IDLE, IN_USE, RETIRING, ServerConnection
from reusedproxy.pool.holdings import remember_session
from reusedproxy.pool.learning.idle_timeout import advertised
from reusedproxy.pool.reasons import PROXY, SERVER
from reusedproxy.pool.spread import shown_serial
from reusedproxy.wire.heads import Limits

#: Seconds that a server has to take the end of a connection.
FLUSH = 1.0


class NotOpened(Exception):
    """Reports that a connection could not be opened."""

    def __init__(self, failure: DialFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@frozen
class End:
    """Describes the end of a connection: `by` is who ended it, PROXY or SERVER, and `idle` the seconds for which it had
    stood idle. `refused` tells that the server has refused our certificate after the handshake (TLS 1.3)."""

    reason: str
    by: str
    idle: float
    refused: bool


class Bench:
    """Opens connections with `dialer` and holds them. `ended` has those that have ended."""

    solo = False

    def __init__(self, name: str, dialer: Dialer, connections: type[ServerConnection], limits: Limits) -> None:
        self.deadlines: Deadlines = dialer.deadlines
        self.invalid = LastErrors(name, "response", dialer.deadlines.now, lambda text: None)
        self.standing: list[ServerConnection] = []
        self.ended: dict[ServerConnection, End] = {}
        #: What the server's Keep-Alive field said last: seconds, and further requests.
        self.keep_alive: tuple[float | None, int | None] = (None, None)
        #: The serial numbers of the certificates that were shown, one for each connection whose session is new.
        self.serials: list[str] = []
        #: Called at the end of any connection.
        self.on_end: Callable[[], None] = lambda: None
        self._dialer = dialer
        self._connections = connections
        self._limits = limits
        self._dials: dict[Dial, Deferred[tuple[Dial, ServerConnection]]] = {}
        self._opened = 0

    def open(self) -> Deferred[tuple[Dial, ServerConnection]]:
        """Opens one connection, which is idle then. Fails with NotOpened."""
        dial = self._dialer.dial(self)
        ready: Deferred[tuple[Dial, ServerConnection]] = Deferred(lambda _: self._cancel(dial))
        self._dials[dial] = ready
        return ready

    def close(self) -> None:
        """Ends all, at once; leaves no timer."""
        for dial in [*self._dials]:
            self._cancel(dial)
        for connection in [*self.standing]:
            self.retire(connection, "examined", at_once=True)
        for connection in self.ended:
            if connection.transport.state != CLOSED:
                connection.transport.abort("examined")

    def _cancel(self, dial: Dial) -> None:
        self._dials.pop(dial, None)
        dial.cancel()

    # What dials say.

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        self._opened += 1
        connection = self._connections(self, transport, self.deadlines.now(), self._limits, self._opened, dial.took)
        self.standing.append(connection)
        if transport.secure and not transport.resumed and (serial := shown_serial(connection)):
            self.serials.append(serial)
        self._dials.pop(dial).callback((dial, connection))

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        self._dials.pop(dial).errback(NotOpened(failure))

    # What connections say (`pool.owner.ConnectionOwner`).

    @property
    def first(self) -> object:
        return self

    def release(self, connection: ServerConnection, now: float | None = None) -> None:
        connection.state = IDLE
        connection.idle_since = self.deadlines.now()
        if connection.requests == 1:
            remember_session(connection)

    def retire(self, connection: ServerConnection, reason: str, *, at_once: bool = False, by: str = PROXY) -> None:
        if connection.state == RETIRING:
            return
        if connection.state == IN_USE and connection.requests == 1 and not at_once:
            remember_session(connection)
        idle = self.deadlines.now() - connection.idle_since if connection.state == IDLE else 0.0
        connection.state = RETIRING
        self.standing.remove(connection)
        self.ended[connection] = End(str(reason), by, idle, isinstance(reason, CertificateRefused))
        if at_once:
            connection.transport.abort(reason)
        else:
            connection.transport.close(reason)
            if connection.transport.state != CLOSED:
                self.deadlines.watch(connection, self.deadlines.now() + FLUSH)
        self.on_end()

    def lost(self, connection: ServerConnection, reason: str, answered: bool = False) -> bool:
        self.retire(connection, reason, at_once=True, by=SERVER)
        return False

    def closed_by_peer(self, connection: ServerConnection) -> None:
        """Does nothing: the end that follows tells the age."""

    def connection_gone(self, connection: ServerConnection) -> None:
        """Does nothing: it is among those that have ended."""

    def deadline_passed(self, connection: ServerConnection) -> None:
        """Does nothing: no idle connection has a deadline here."""

    def advertised(self, keep_alive: bytes) -> int | None:
        self.keep_alive = advertised(keep_alive)
        return self.keep_alive[1]
