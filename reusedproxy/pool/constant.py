"""Runs all pools of a server whose connections have names: the one that is the server's `pool` for all other code.

`named` groups the pools; this is the first of them, which also does for the others what its owner orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from random import Random

from twisted.internet.interfaces import IReactorTime

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.dial import Dialer
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.named import Floors, Name, NamedPools
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits


class ConstantPool(HTTPConnectionPool):
    """Runs all pools of a server: `resume`, `suspend`, `drain` and `close` apply to each. `names` has all of them."""

    def __init__(
        self,
        name: str,
        dialer: Dialer,
        limits: PoolLimits,
        clock: IReactorTime,
        random: Random,
        announce: Callable[[str, str], None],
        wire_limits: Limits,
        budget: Budget | None = None,
        *,
        own: bytes | None,
        dialer_for: Callable[[Name], Dialer],
        connections: type[ServerConnection] = ServerConnection,
        floors: Floors | None = None,
    ) -> None:
        """Takes what any pool takes, and: `own`, the name that it serves (None: none); `dialer_for`, which returns the
        dialer for a name, or raises NameRefused; `floors`, what other names may have (None: none)."""
        alike = name, dialer, limits, clock, random, announce, wire_limits, budget
        self.names = NamedPools(alike, own, dialer_for, clock)
        super().__init__(
            name,
            dialer,
            limits,
            clock,
            random,
            announce,
            wire_limits,
            budget,
            group=self.names,
            connections=connections,
        )
        self.names.floors = floors
        self.names.most_idle = self._most_idle
        self._most_idle = self._usual_most = inf

    def named(self, name: Name) -> HTTPConnectionPool:
        """Returns the pool of this name. Raises NameRefused."""
        return self.names.named(name)

    def resume(self, rotation: bool = False) -> None:
        super().resume(rotation)
        self.names.resume()

    def order_drain(self) -> None:
        now = self.deadlines.now()
        for pool in self._open_ones():
            pool.order.drain(now)

    def order_rewarm(self) -> None:
        now = self.deadlines.now()
        for pool in self._open_ones():
            pool.order.rewarm(now)
            if pool.floor:
                self.names.awake[pool] = None

    def _open_ones(self) -> list[HTTPConnectionPool]:
        return [pool for pool in self.family if pool.state != "closed"]

    def suspend(self, reason: str) -> None:
        for pool in [*self.family]:
            pool.begin_to_suspend(reason)
        self.holdings.backlog.go_on()

    def _keep_at_most(self, idle: float) -> None:
        self.names.most_idle = idle

    def draining(self, reason: str) -> Iterator[None]:
        self.names.most_idle = 0
        yield from super().draining(reason)
        for pool in [*self.names.others.values()]:
            yield from pool.draining(reason)

    def close(self, reason: str) -> None:
        super().close(reason)
        self.names.stop()
        for pool in [*self.names.others.values()]:
            pool.close(reason)
