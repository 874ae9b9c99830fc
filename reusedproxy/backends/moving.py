"""Moves a server to another address: its connections there stand before requests are sent to them.

A `Move` opens a pool at the new address and warms it: its floor, or where it has none as many connections as recent use
calls for, but one at least; and one for each name that clients use, if connections have names. Then the server
gets it, and the pool before it is drained: requests in flight end there. `Departed` closes such pools when their last
connection has gone. Knows servers and pools; must never know why a server moves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.backends.server import DOWN, MAINT, Server
from reusedproxy.net.dial import Dial, DialFailure, Target
from reusedproxy.net.slices import Later, Steps
from reusedproxy.net.transport import Transport
from reusedproxy.pool.connection import IN_USE
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import MOVED

#: Seconds that a server waits for connections at its new address before it moves in any case, as HAProxy does at once.
PATIENCE = 5.0
#: Seconds between two looks whether they stand, or two attempts to open one.
TICK = 0.05
RETRY = 0.5
#: Most connections that are opened for a server without a floor before it moves.
MOST = 8
#: Seconds between two looks for pools whose last connection has gone.
EVERY = 1.0


class Departed:
    """Drains pools whose server has moved, and closes each when it is empty. One for all proxies of a daemon. `gone` is
    called with each pool that is closed."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.pools: list[HTTPConnectionPool] = []
        self.gone: Callable[[HTTPConnectionPool], object] = _forget
        self._drains: deque[tuple[HTTPConnectionPool, Iterator[None]]] = deque()
        self._draining = Later(clock, self._drain, self._drained)
        self._closing = Later(clock, self._close_empty, self._looked)

    def add(self, pool: HTTPConnectionPool) -> None:
        """Takes a pool that its server uses no more. Those who wait for a connection there ask the server's new one."""
        self.pools.append(pool)
        steps = pool.draining(MOVED)
        next(steps)  # from now on it keeps nothing
        self._drains.append((pool, chain(pool.sending_on(), steps)))
        self._draining.plan(0)
        self._closing.plan(EVERY)

    def close(self, pool: HTTPConnectionPool) -> None:
        """Closes a pool at an address where its server is not, or will not be."""
        pool.close(MOVED)
        self.gone(pool)

    def stop(self) -> None:
        """Closes all, at once; leaves no timer."""
        self._draining.stop()
        self._closing.stop()
        for pool in self.pools:
            pool.close("proxy stopped")
        self.pools.clear()
        self._drains.clear()

    def _drain(self) -> Steps[None]:
        while self._drains:
            pool, steps = self._drains[0]
            while pool.state != "closed" and next(steps, self) is not self:
                yield
            self._drains.popleft()

    def _drained(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("a pool of an address that has gone could not be drained", failure)
            self._drains.popleft()
        if self._drains:
            self._draining.plan(0)

    def _close_empty(self) -> Steps[None]:
        for pool in [*self.pools]:
            # A reload may have closed it, and taken it apart.
            if pool.state != "closed" and any(each.standing or each.waiters for each in pool.family):
                continue
            if pool.state != "closed":
                self.close(pool)
            self.pools.remove(pool)
            yield

    def _looked(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("a pool of an address that has gone could not be closed", failure)
        if self.pools:
            self._closing.plan(EVERY)


def _forget(pool: HTTPConnectionPool) -> None:
    """Leaves the pool to the garbage collector."""


class Move:
    """Moves one server to `target`, and calls `arrived` when its connections go there. Until then it may be stopped.

    How many connections recent use calls for, and which names, is known from the pool of `alike`: the server itself, or
    another one of the same name if it does not serve.
    """

    def __init__(
        self,
        server: Server,
        target: Target,
        alike: Server,
        clock: IReactorTime,
        departed: Departed,
        arrived: Callable[[], None],
    ) -> None:
        self.target = target
        self._server = server
        self._alike = alike
        self._clock = clock
        self._departed = departed
        self._arrived = arrived
        #: Its pool as long as nobody gives it another one meanwhile.
        self._before = server.pool
        self._began = clock.seconds()
        self._call: IDelayedCall | None = None
        self._dials: dict[Dial, HTTPConnectionPool] = {}
        self._next_dial = self._began
        #: The pools in which a connection is missing, each as often as one is.
        self._missing: list[HTTPConnectionPool] = []
        relocation = server.relocation
        assert relocation is not None
        self.pool: HTTPConnectionPool = relocation.pool_at(target)

    def start(self) -> None:
        server = self._server
        unused = server.admin == MAINT or (server.addressed and server.health == DOWN)
        if not unused:
            self.pool.resume(rotation=server.serving)
            self._missing = self._lacking(self._alike.pool)
        if self._missing or (not unused and self.pool.floor):
            self._look()
        else:
            # Nobody will use what is opened; or nothing can be opened before a request says its name.
            self._call = self._clock.callLater(0, self._arrive)

    def _lacking(self, alike: HTTPConnectionPool) -> list[HTTPConnectionPool]:
        """Returns the pools that need connections, each as often as it needs one, beside the floor."""
        pool = self.pool
        lacking: list[HTTPConnectionPool] = []
        if pool.knows_name and not pool.floor:
            enough = alike.upkeep.demand.enough if self._alike.serving else 1
            lacking += [pool] * int(max(1, min(enough, MOST)))
        if isinstance(pool, ConstantPool) and isinstance(alike, ConstantPool):
            lacking += pool.names.succeed(alike.names)
        return lacking

    def stop(self) -> None:
        """Gives up the new address; the server stays where it is."""
        self._end()
        self._departed.close(self.pool)

    def arrive_now(self) -> None:
        """Moves the server whatever stands at the new address."""
        if self._server.pool is not self._before:
            self._begin_anew()
        self._arrive()

    def _look(self) -> None:
        self._call = None
        late = self._clock.seconds() - self._began >= PATIENCE
        if late or self._warm():
            self._arrive()
            return
        self._call = self._clock.callLater(TICK if self.pool.floor else RETRY, self._look)

    def _warm(self) -> bool:
        """Tells whether the floor stands, and the other connections, which are opened here."""
        if self._missing and self._clock.seconds() >= self._next_dial:
            missing, self._missing = self._missing, []
            for pool in missing:
                self._dials[pool.dial_for(self)] = pool
        floor = len(self.pool.idle) >= self.pool.floor
        return floor and not self._missing and not self._dials

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        pool = self._dials.pop(dial)
        if pool is self.pool:
            pool.upkeep.raise_peak(len(pool.idle) + 1)  # or it would be one too many: no request has come yet
        connection = pool.adopt(dial, transport)
        if connection.state == IN_USE:
            pool.release(connection)
        if self._call is not None:
            self._call.reset(0)

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        self._missing.append(self._dials.pop(dial))
        self._next_dial = self._clock.seconds() + RETRY

    def _end(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        for dial in self._dials:
            dial.cancel()
        self._dials.clear()

    def _begin_anew(self) -> None:
        """Warms another pool: the server's connections are of another kind now than those that were opened."""
        relocation = self._server.relocation
        assert relocation is not None
        self._end()
        self._departed.close(self.pool)
        self.pool, self._before = relocation.pool_at(self.target), self._server.pool
        self._began = self._next_dial = self._clock.seconds()
        self.start()

    def _arrive(self) -> None:
        """Gives the server its new pool, and drains the one before."""
        server, relocation = self._server, self._server.relocation
        assert relocation is not None
        if server.pool is not self._before:
            self._begin_anew()
            return
        self._end()
        before = server.move(self.pool, self.target)
        relocation.moved(self.target)
        self._departed.add(before)
        self._arrived()
