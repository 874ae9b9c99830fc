"""Delays the start for `pool-warm-start`: clients wait in the kernel's queue until the floors of all pools stand, or
the time is over. Must never know who waits."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.wording import listed
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds between two looks at the floors.
LOOK = 0.05
#: Most pools that are named in a message.
NAMED = 20


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
        settled = all(group.settled for backend in proxy.backends for group in backend.groups)
        if (short or not settled) and took < self._patience():
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
