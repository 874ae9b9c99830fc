"""Delays the start for `pool-warm-start`: clients wait in the kernel's queue until the floors of all pools stand, or
the time is over. Must never know who waits."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Group
from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.wording import listed
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds between two looks at the floors.
LOOK = 0.05
#: Most pools that are named in a message.
NAMED = 20


def unsettled(proxy: Proxy) -> list[Group]:
    """Returns those by whom servers are still on their way to other addresses."""
    return [group for backend in proxy.backends for group in backend.groups if not group.settled]


class WarmUp:
    """Waits for one proxy's floors."""

    def __init__(
        self,
        proxy: Proxy,
        clock: IReactorTime,
        patience: Callable[[], float],
        wanted: Callable[[], bool],
        over: Callable[[str, str], None],
    ) -> None:
        """Calls `over(level, text)` once, when the floors stand or after `patience()` seconds, which may become
        fewer meanwhile, with a message for the operator. Does not call it if the proxy is not `wanted` any more."""
        self._proxy = proxy
        self._clock = clock
        self._patience = patience
        self._wanted = wanted
        self._over = over
        self._began = clock.seconds()

    def look(self) -> None:
        """Looks at the floors, now and from time to time until it is over."""
        if not self._wanted():
            return
        proxy = self._proxy
        took = self._clock.seconds() - self._began
        running = [pool for pool in proxy.pools if pool.state == "running"]
        short = [pool for first in running for pool in first.family if len(pool.idle) < pool.floor]
        short += (pool for pool in running if isinstance(pool, ConstantPool) and pool.names.unopened)
        if (short or unsettled(proxy)) and took < self._patience():
            self._clock.callLater(LOOK, self.look)
        elif short:
            self._over("warning", self._too_late(short))
        else:
            self._over("notice", self._warm(took))

    def _too_late(self, short: list[HTTPConnectionPool]) -> str:
        names = ", ".join(f"{pool.name} ({len(pool.idle)} of {pool.floor})" for pool in short[:NAMED])
        if len(short) > NAMED:
            names += f" and {len(short) - NAMED} more"
        patience = self._patience()
        over = f"{patience:g} s are over" if patience else "nobody else serves any more"
        return f"pool-warm-start: {over}, and some floors do not stand: {names}"

    def _warm(self, took: float) -> str:
        unused = [pool.name for pool in self._proxy.pools if pool.state != "running" and pool.floor]
        but = f", but for servers that are not in use: {listed(unused)}" if unused else ""
        return f"pool-warm-start: all floors stand after {took:.2f} s{but}"


class Moves:
    """Waits until servers are where they were ordered to go after the floors of a proxy have been waited for."""

    def __init__(
        self, proxy: Proxy, clock: IReactorTime, patience: Callable[[], float], over: Callable[[], None]
    ) -> None:
        """Calls `over` once, when they are there or after `patience()` seconds from the first look."""
        self._proxy = proxy
        self._clock = clock
        self._patience = patience
        self._over = over
        #: Names, say, that no name server knows: they have been waited for.
        self._late = unsettled(proxy)
        self._began: float | None = None

    def look(self) -> None:
        """Looks at the servers, now and from time to time until it is over."""
        now = self._clock.seconds()
        if self._began is None:
            self._began = now
        moving = any(each not in self._late for each in unsettled(self._proxy))
        if moving and now - self._began < self._patience():
            self._clock.callLater(LOOK, self.look)
        else:
            self._over()
