"""Many servers and their pools behind one budget, on a clock, without sockets: what a start, a restart of all and a
rotation of certificates cost. Handshakes take 5 ms and succeed while the servers are up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from random import Random
from typing import Any

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.simulation.clock import HeapClock
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDial, FakeDialer

#: Seconds between two looks.
STEP = 0.02


class SiteDialer(FakeDialer):
    """Notes its handshakes in its site; while its server is down, TCP is refused."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.clock, site.secure)  # type: ignore[arg-type]
        self.site = site
        self.deadlines = site.deadlines
        self.down = False
        self.answer = self._answer_or_refuse

    def _answer_or_refuse(self, dial: FakeDial) -> None:
        if self.down:
            self.refuse(dial)
        else:
            self.site.shaken.append(self.clock.seconds())
            self.accept(dial)


class Site:
    """`pools` and `dialers` of the present generation, one a server; `shaken`: the time of each handshake."""

    def __init__(self, servers: int, floor: int, rate: float, secure: bool = True, **limits: float) -> None:
        self.secure = secure
        self.clock = HeapClock()
        clock: Any = self.clock
        self.deadlines = Deadlines(clock)
        self.budget = Budget(clock, rate)
        self.limits = PoolLimits(min_conn=floor, **limits)  # type: ignore[arg-type]
        self.servers = servers
        self.generations = 0
        self.shaken: list[float] = []
        self.pools = self.generation()

    def generation(self) -> list[HTTPConnectionPool]:
        """A pool for each server, none of which has begun."""
        self.generations += 1
        clock: Any = self.clock
        self.dialers = [SiteDialer(self) for _ in range(self.servers)]
        dialers: Any = self.dialers
        return [
            HTTPConnectionPool(
                f"Server be/s{number}",
                dialer,
                self.limits,
                clock,
                Random(number * 1000 + self.generations),
                lambda level, text: None,
                Limits(),
                self.budget,
            )
            for number, dialer in enumerate(dialers)
        ]

    # What happens.

    def start(self) -> None:
        for pool in self.pools:
            pool.resume()

    def restart(self, refused_for: float = 0.0, only: list[HTTPConnectionPool] | None = None) -> None:
        """Every server (or those of `only`) closes all it has, at once; all refuse everybody for a while."""
        self.set_down(refused_for > 0)
        for pool in self.pools if only is None else only:
            for connection in list(pool.idle):
                connection.transport.peer_ends()  # type: ignore[attr-defined]
        if refused_for:
            self.clock.callLater(refused_for, self.set_down, False)

    def set_down(self, down: bool) -> None:
        for dialer in self.dialers:
            dialer.down = down

    def rotate(self) -> list[HTTPConnectionPool]:
        """A new certificate: new pools beside the old ones, which are returned; see `drain_replaced`."""
        old, self.pools = self.pools, self.generation()
        self.start()
        return old

    def drain_replaced(self, old: list[HTTPConnectionPool]) -> None:
        """Those whose successor is warm."""
        for before, after in zip(old, self.pools, strict=True):
            if before.limits.min_conn and self.is_warm(after):
                before.drain("rotated")

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.clock.advance(STEP)

    def stop(self, *more: HTTPConnectionPool) -> None:
        for pool in [*self.pools, *more]:
            pool.close("stopping")
        self.clock.advance(1)
        self.deadlines.stop()

    # What can be seen.

    def is_warm(self, pool: HTTPConnectionPool) -> bool:
        return len(pool.idle) >= self.limits.min_conn

    @property
    def standing(self) -> list[int]:
        """How many are idle, for each server."""
        return [len(pool.idle) for pool in self.pools]

    def warm(self) -> bool:
        return all(map(self.is_warm, self.pools))

    def until_warm(self, most: float, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Seconds that it takes."""
        began = self.clock.seconds()
        while not self.warm() and self.clock.seconds() - began < most:
            self.clock.advance(STEP)
            meanwhile()
        return self.clock.seconds() - began

    def most_handshakes(self, since: float) -> int:
        """In any one second since then."""
        times = self.shaken[bisect_left(self.shaken, since) :]
        return max((bisect_left(times, at + 1) - index for index, at in enumerate(times)), default=0)
