"""Simulates one server: how long it takes to open a connection, when it refuses, and how long it lets one stand idle.

`Behaviour` says how a server is; `SimulatedServer` is it, on a simulated clock, and stands where a pool has its dialer.
It must never know requests.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.internet.base import DelayedCall

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import DialFailure
from reusedproxy.net.poller import Poller
from reusedproxy.pool.connection import IN_USE
from reusedproxy.pool.simulation.clock import HeapClock
from reusedproxy.pool.simulation.transport import SimulatedTransport

#: Seconds of a round trip.
ROUND_TRIP = 0.001


class Behaviour(Protocol):
    """Defines how a server behaves. Times are in seconds; `at` since the traffic began."""

    #: How long it lets connections stand idle that have carried a request, or have not (inf: for ever).
    idle_used: float
    idle_unused: float

    #: How many connections it accepts at once (inf: any number).
    bears: float

    def dial(self, at: float) -> tuple[float, bool]:
        """Returns how long a dial takes that begins at this time, and whether it succeeds if the server bears it."""


class NoReactor:
    """Stands where a poller has its reactor; nothing is polled."""

    def removeReader(self, reader: object) -> None:
        """Does nothing."""


class SimulatedDial:
    """Is one attempt to open a connection."""

    def __init__(self, server: SimulatedServer, owner: Any) -> None:
        self.born = server.clock.seconds()
        self.took = self.tcp_took = 0.0
        self.owner = owner
        self.call: DelayedCall | None = None
        self._server = server

    def keep(self) -> None:
        """Does nothing: it holds no descriptor."""

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()
            self.call = None


class SimulatedServer:
    """Opens connections of the pool that it is given as the dialer to. `opened` counts them, and `lived` adds up the
    seconds for which they stood, from when it began to `count`. Must be stopped in the end."""

    context = None
    timeout = None

    def __init__(self, clock: HeapClock, behaviour: Behaviour) -> None:
        living: Any = clock
        self.clock = clock
        self.deadlines = Deadlines(living)
        self.opened = 0
        self.lived = 0.0
        self._behaviour = behaviour
        #: When the traffic begins.
        self._since = clock.seconds()
        self._standing: dict[SimulatedTransport, None] = {}
        reactor: Any = NoReactor()
        self._poller = Poller(reactor, clock.seconds)

    @property
    def standing(self) -> int:
        """Returns how many connections stand."""
        return len(self._standing)

    def count(self) -> None:
        """Begins to count, and to add up: the traffic begins now."""
        now = self.clock.seconds()
        self.opened, self.lived, self._since = 0, 0.0, now
        for transport in self._standing:
            transport.born = now

    def settle(self) -> None:
        """Adds up the time of connections that still stand."""
        now = self.clock.seconds()
        for transport in self._standing:
            self.lived += now - transport.born
            transport.born = now

    def stop(self) -> None:
        """Leaves no timer and no descriptor."""
        self.deadlines.stop()
        self._poller.stop()

    # What a pool asks of its dialer.

    def dial(self, owner: Any) -> SimulatedDial:
        dial = SimulatedDial(self, owner)
        took, well = self._behaviour.dial(dial.born - self._since)
        dial.call = self.clock.callLater(took, self._end, dial, took, well)
        return dial

    def _end(self, dial: SimulatedDial, took: float, well: bool) -> None:
        dial.call = None
        dial.took = took
        if not well or self.standing >= self._behaviour.bears:
            dial.owner.dial_failed(dial, DialFailure("TCP connect", "Connection refused"))
            return
        self.opened += 1
        transport = SimulatedTransport(self._poller, self, self.clock.seconds())
        self._standing[transport] = None
        dial.owner.dial_ready(dial, transport)
        self._let_stand(transport)

    def _let_stand(self, transport: SimulatedTransport) -> None:
        """Closes the connection if it has stood idle for too long; else looks again when it may have."""
        used, unused = self._behaviour.idle_used, self._behaviour.idle_unused
        soon = min(used, unused)
        if transport not in self._standing or soon == inf:
            return
        connection: Any = transport.owner
        if connection.state == IN_USE:
            self.clock.callLater(soon / 4, self._let_stand, transport)
            return
        left = connection.idle_since + (used if connection.requests else unused) - self.clock.seconds()
        if left <= 0:
            transport.server_closes()
        else:
            self.clock.callLater(min(left, soon), self._let_stand, transport)

    # What its connections say.

    def later(self, call: Callable[[], None]) -> None:
        self.clock.callLater(ROUND_TRIP, call)

    def closed(self, transport: SimulatedTransport) -> None:
        if self._standing.pop(transport, True) is None:
            self.lived += self.clock.seconds() - transport.born
