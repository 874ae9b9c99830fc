"""One proxy takes another's place, once it has been tried: listeners, states, clients and those who wait go over to it.

What must be done at one moment is `take_place`; what may take its time is `clear`. It knows proxies; it must never know
why there is another one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.assembly import Proxy
from reusedproxy.clients.frontend import Frontend
from reusedproxy.net.listener import Listener
from reusedproxy.servers.pool import HTTPConnectionPool
from reusedproxy.servers.server import MAINT, READY

Announce = Callable[[str, str], None]

#: Seconds between two looks whether the last client of a replaced proxy has gone.
EVERY = 1.0


def pools_of(proxy: Proxy) -> set[HTTPConnectionPool]:
    return {line.pool for line in proxy.lines.values()}


def take_place(old: Proxy, new: Proxy, announce: Announce) -> list[Iterator[None]]:
    """Close the listeners that `new` does not go on with, and hand on states. Returns what is left to do for the clients."""
    successors = {listener: frontend for frontend, listener in new.listeners}
    leaving = [_leaving(frontend, successors) for frontend in old.frontends]
    for _, listener in old.listeners:
        if listener not in successors:
            listener.close()  # also one that has waited for `pool-warm-start`, and is no frontend's yet
    hand_on_states(old, new, announce)
    for line in old.lines.values():
        if line.checker is not None:
            line.checker.stop()
    if old.rates is not None:
        old.rates.stop()
    return leaving


def _leaving(frontend: Frontend, successors: Mapping[Listener, Frontend]) -> Iterator[None]:
    """The first step is done."""
    steps = frontend.stopping(successors)
    next(steps)
    return steps


def hand_on_states(old: Proxy, new: Proxy, announce: Announce) -> None:
    """What was ordered and found while the new one was tried counts, too; an order that stands is worth a line."""
    for name, line in new.lines.items():
        if name in old.lines:
            line.succeed(old.lines[name])
        ordered, said = line.server.admin, MAINT if line.server.settings.disabled else READY
        if ordered != said:
            announce("notice", f"Server {name} stays {ordered}, as was ordered before the reload")
    for backend in new.backends:
        backend.use_usable()


def hand_over_queues(replaced: list[Proxy], new: Proxy) -> None:
    """Who waits for a server, or is to choose another one, goes on at the backend of the same name, which runs."""
    backends = {backend.name: backend for backend in new.backends}
    for proxy in replaced:
        for backend in proxy.backends:
            successor = backend.successor = backends.get(backend.name)
            if successor is not None:
                backend.hand_over(successor)


def follow(old: Proxy, new: Proxy) -> None:
    """Those who ask in an old server's name must not wait for a pool that opens nothing any more."""
    kept = pools_of(new)
    for backend in old.backends:
        for server in backend.servers:
            line = new.lines.get(server.full_name)
            if line is not None and server.pool in kept and not line.server.usable:
                backend.server_replaced(server, line.server)


def clear(old: Proxy, new: Proxy, leaving: list[Iterator[None]]) -> Iterator[None]:
    """In steps: let the clients go over or go, then the connections to servers that `new` does not use."""
    for steps in leaving:
        yield from steps
    kept = pools_of(new)
    for line in old.lines.values():
        if line.pool not in kept:
            yield from line.pool.draining("reload")


class Replaced:
    """Proxies that reloads have replaced, until their last client is gone: `proxies`, the oldest first."""

    def __init__(self, clock: IReactorTime) -> None:
        self.proxies: list[Proxy] = []
        self._clock = clock
        self._call: IDelayedCall | None = None

    def add(self, old: Proxy, present: Proxy) -> None:
        """`present` has taken its place."""
        self.proxies.append(old)
        self.stop()
        self._call = self._clock.callLater(EVERY, self._look, present)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self, present: Proxy) -> None:
        """Close what only those had whose last client is gone."""
        self._call = None
        gone = [each for each in self.proxies if not any(frontend.connections for frontend in each.frontends)]
        self.proxies = [each for each in self.proxies if each not in gone]
        in_use = {pool for each in (*self.proxies, present) for pool in pools_of(each)}
        for proxy in gone:
            proxy.logs.close()
            for pool in pools_of(proxy) - in_use:
                pool.close("reload")
        for proxy in (*self.proxies, present) if gone else ():
            for line in proxy.lines.values():
                line.server.former = [pool for pool in line.server.former if pool.running != "closed"]
        if gone:
            # A proxy is full of cycles. Of 100 servers this takes 7 ms; the collector by itself would come after four or five
            # reloads, with 8 MB for each of them and a pause of 60 ms.
            del gone
            gc.collect()
        if self.proxies:
            self._call = self._clock.callLater(EVERY, self._look, present)
