"""Runs traffic through a pool on a simulated clock, without sockets. The pool is the real one; requests are when they
come and for how long they hold a connection.

`what_if` runs the traffic that a record tells of, `benchmarks/floors.py` drawn traffic. It must never know
configuration files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any

from attrs import evolve

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.dial import DialFailure
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.pool.connection import IN_USE, ServerConnection
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.record.history import Arrival, Outcome
from reusedproxy.pool.simulation.clock import HeapClock
from reusedproxy.pool.simulation.server import Behaviour, SimulatedServer
from reusedproxy.wire.heads import Limits

HOUR = 3600.0
#: Seconds that a pool has before its traffic begins, to fill its floor.
BEFORE = 10.0
#: Requests, and seconds without one, that are run through in one step.
AT_ONCE, QUIET = 20, 30.0


class Run:
    """Runs one traffic, with one pool. `prepared(pool)` may set what the pool knows before it begins."""

    def __init__(
        self,
        arrivals: Sequence[Arrival],
        limits: PoolLimits,
        behaviour: Behaviour,
        prepared: Callable[[HTTPConnectionPool], None] = lambda pool: None,
    ) -> None:
        """Takes `arrivals` in the order of their times."""
        self.clock = HeapClock()
        self.outcome = Outcome()
        self.server = SimulatedServer(self.clock, behaviour)
        self._arrivals = arrivals
        clock: Any = self.clock
        dialer: Any = self.server
        limits = evolve(limits, overdue_after=inf)
        self.pool = HTTPConnectionPool(
            "Server be/s1", dialer, limits, clock, Random(1), lambda level, text: None, Limits(), Budget(clock)
        )
        prepared(self.pool)

    def go(self, close: bool = True) -> Outcome:
        """Runs the whole traffic at once, with a minute of quiet behind it, and then `close`s the pool."""
        return run_through(self.steps((), 60.0, close))

    def steps(
        self, states: Sequence[tuple[float, bool]] = (), quiet: float = 60.0, close: bool = True
    ) -> Steps[Outcome]:
        """Runs the traffic in steps, and `quiet` seconds beyond its last request. In `states` are the times, in
        seconds since the traffic begins, at which the pool is resumed or suspended; it runs before if the first of them
        is not that."""
        try:
            yield from self._run(states, quiet)
        finally:
            if close:
                self.close()
        outcome = self.outcome
        outcome.connection_hours = self.server.lived / HOUR
        return outcome

    def _run(self, states: Sequence[tuple[float, bool]], quiet: float) -> Steps[None]:
        clock, pool, outcome = self.clock, self.pool, self.outcome
        if not (states and states[0][1]):
            pool.resume()
        clock.advance(BEFORE)
        self.server.count()
        start, minute = clock.seconds(), _Minute()
        for at, running in states:
            clock.callLater(at, self._turn, running)
        ends = (self._arrivals[-1].at if self._arrivals else 0.0) + quiet
        for number, arrival in enumerate(self._arrivals):
            if number % AT_ONCE == AT_ONCE - 1:
                yield
            while arrival.at >= minute.ends:
                yield from self._pass(start + minute.ends)
                outcome.minutes.append(minute.over(pool))
            yield from self._pass(start + arrival.at)
            Request(self, arrival).begin()
            minute.look(pool)
            outcome.most_dials = max(outcome.most_dials, len(pool.connecting))
        yield from self._pass(start + ends)
        outcome.requests = len(self._arrivals)
        outcome.opened = self.server.opened
        self.server.settle()

    def _pass(self, until: float) -> Steps[None]:
        """Lets time pass."""
        clock = self.clock
        while until - clock.seconds() > QUIET:
            clock.advance(QUIET)
            yield
        clock.advance(max(0.0, until - clock.seconds()))

    def _turn(self, running: bool) -> None:
        if running:
            self.pool.resume()
        else:
            self.pool.suspend("server DOWN")

    def close(self) -> None:
        """Ends the pool; leaves no timer and no descriptor."""
        self.pool.close("proxy stopped")
        self.clock.advance(1.0)
        self.server.stop()


class _Minute:
    """Notes what there was most of in a minute of a run."""

    def __init__(self) -> None:
        self.ends = 60.0
        self._used = self._idle = 0

    def look(self, pool: HTTPConnectionPool) -> None:
        self._used = max(self._used, len(pool.in_use) + len(pool.waiters))
        self._idle = max(self._idle, len(pool.idle))

    def over(self, pool: HTTPConnectionPool) -> tuple[int, int, int]:
        """Returns what there was, and begins the next minute."""
        seen = self._used, max(self._idle, len(pool.idle)), pool.floor
        self.ends += 60.0
        self._used, self._idle = len(pool.in_use), len(pool.idle)
        return seen


class Request:
    """Is one request: takes a connection, holds it, gives it back."""

    def __init__(self, run: Run, arrival: Arrival) -> None:
        self._run = run
        self._arrival = arrival
        self._since = run.clock.seconds()

    def begin(self) -> None:
        run, arrival = self._run, self._arrival
        connection = run.pool.acquire(arrival.kind, self._since)
        if connection is not None:
            self._hold(connection)
            return
        run.outcome.cold += 1
        if arrival.leaves < inf:
            run.clock.callLater(arrival.leaves, self._leave)
        run.pool.wait(self, arrival.kind)

    def connection_ready(self, connection: ServerConnection) -> None:
        self._run.outcome.waits.append(self._run.clock.seconds() - self._since)
        self._hold(connection)

    def connection_failed(self, failure: DialFailure) -> None:
        if self._arrival.leaves == inf and self._run.pool.state == "running":
            self._run.pool.wait(self, self._arrival.kind)
        else:
            self._run.outcome.failed += 1

    def pool_replaced(self) -> None:
        """Does nothing: there is one pool only."""

    def _leave(self) -> None:
        pool = self._run.pool
        if self in pool.waiters.waiting:
            pool.leave(self)
            self._run.outcome.failed += 1

    def _hold(self, connection: ServerConnection) -> None:
        connection.requests += 1
        self._run.clock.callLater(self._arrival.holds, self._give_back, connection)

    def _give_back(self, connection: ServerConnection) -> None:
        pool = self._run.pool
        if connection.state != IN_USE:
            return  # its server has ended it
        if self._arrival.ends:
            pool.retire(connection, "server asked to close")
        else:
            connection.safe |= connection.requests > 1
            pool.release(connection)
