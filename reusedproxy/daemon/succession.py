"""One proxy takes another's place, once it has been tried: listeners, states, clients and those who wait go over to it.

What must be done at one moment is `take_place`; what may take its time is `clear`. It knows proxies; it must never know
why there is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import MAINT, READY, Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.server_lines import Announce
from reusedproxy.clients.frontend import Frontend
from reusedproxy.net.listener import Listener
from reusedproxy.net.slices import Later, Steps
from reusedproxy.pool.pool import HTTPConnectionPool

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
            announce(
                "notice",
                f"Server {name} stays {ordered}, as was ordered before the reload",
                f"backend {name.rpartition('/')[0]}",
            )
    for backend in new.backends:
        backend.use_usable()


def hand_over_queues(replaced: list[Proxy], new: Proxy) -> list[Iterator[None]]:
    """Who waits for a server, or is to choose another one, goes on at the backend of the same name, which runs. Returns what
    is left to do for those who wait, in steps: from now on they, and all others, know where to go."""
    backends = {backend.name: backend for backend in new.backends}
    left: list[Iterator[None]] = []
    for proxy in replaced:
        for backend in proxy.backends:
            successor = backend.successor = backends.get(backend.name)
            if successor is not None:
                steps = backend.handing_over(successor)
                next(steps)
                left.append(steps)
    return left


def follow(replaced: list[Proxy], new: Proxy) -> list[tuple[Proxy, Backend, Server]]:
    """Have old servers whose successors serve no more do the same, before their pools, which are the same ones, open nothing any
    more: else who asks in an old server's name is refused, retries and all. Returns them, for `give_up`."""
    kept = pools_of(new)
    followed = []
    for proxy in replaced:
        for backend in proxy.backends:
            for server in backend.servers:
                line = new.lines.get(server.full_name)
                if line is not None and server.pool in kept and not line.server.usable:
                    backend.follow(server, line.server)
                    followed.append((proxy, backend, server))
    return followed


def give_up(followed: list[tuple[Proxy, Backend, Server]]) -> Iterator[None]:
    """In steps: those who wait for one of these servers wait elsewhere, or are told that none is left."""
    for proxy, backend, server in followed:
        if proxy.backends:  # else its last client has gone meanwhile, and it has been taken apart
            backend.server_replaced(server)
        yield


def clear(old: Proxy, new: Proxy, leaving: list[Iterator[None]]) -> Iterator[None]:
    """In steps: let the clients go over or go, then the connections to servers that `new` does not use."""
    for steps in leaving:
        yield from steps
    kept = pools_of(new)
    for line in old.lines.values():
        if line.pool not in kept:
            yield from line.pool.draining("reload")


def take_apart(proxy: Proxy) -> Iterator[None]:
    """Free a proxy that nobody uses any more, in steps, but for its pools.

    It is full of cycles, and would be left to the garbage collector, which cannot be sliced: 100 ms for 1,250 sections.
    """
    frontends, backends, lines = proxy.frontends, proxy.backends, proxy.lines
    proxy.frontends, proxy.backends, proxy.lines = [], [], {}
    proxy.listeners, proxy.bound, proxy.rates = [], [], None
    for backend in backends:
        for each in (*backend.checkers, *backend.servers, backend):
            vars(each).clear()
        yield
    for frontend in frontends:
        vars(frontend).clear()
        yield
    while lines:
        lines.popitem()
        yield


def take_pool_apart(pool: HTTPConnectionPool) -> Iterator[None]:
    """The same of a pool that is closed and has no connection left, with those of the other names of its server."""
    for each in [*pool.family]:
        vars(each.upkeep).clear()
        vars(each.holdings).clear()
        vars(each.group).clear()
        vars(each).clear()
        each.running = "closed"  # a reload that is under way may have it among the former pools of a server
        yield


class Replaced:
    """Proxies that reloads have replaced, until their last client is gone: `proxies`, the oldest first."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.proxies: list[Proxy] = []
        self._present: Proxy | None = None
        self._clearing: Proxy | None = None
        #: Pools of those that are gone, whose last connections are still being closed.
        self._ending: list[HTTPConnectionPool] = []
        self._closing = Later(clock, self._close_gone, self._looked)

    def add(self, old: Proxy, present: Proxy) -> None:
        """`present` has taken its place, and goes on to `clear` it until `cleared`."""
        self.proxies.append(old)
        self._present = present
        self._clearing = old

    def cleared(self) -> None:
        """Nobody has anything to do with the last one any more, but its clients."""
        self._clearing = None
        self._look_later()

    def _look_later(self) -> None:
        if self.proxies or self._ending:
            self._closing.plan(EVERY)

    def stop(self) -> None:
        self._closing.stop()

    def _looked(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("a replaced proxy could not be closed", failure)
        self._look_later()

    def _close_gone(self) -> Steps[None]:
        """Close what only those had whose last client is gone."""
        staying: list[Proxy] = []
        gone: list[Proxy] = []
        for each in self.proxies:
            stays = each is self._clearing or any(frontend.connections for frontend in each.frontends)
            (staying if stays else gone).append(each)
        self.proxies = staying
        assert self._present is not None
        present = self._present
        if gone:
            in_use = {pool for each in (*staying, present) for pool in pools_of(each)}
            for proxy in gone:
                proxy.logs.close()
            # Several of them may have used the same pool.
            for pool in {pool: None for each in gone for pool in pools_of(each) - in_use}:
                pool.close("reload")
                self._ending.append(pool)
                yield
            for proxy in (*staying, present):
                for line in proxy.lines.values():
                    former = line.server.former
                    if former:
                        line.server.former = [pool for pool in former if pool.running != "closed"]
                yield
            for proxy in gone:
                yield from take_apart(proxy)
        for pool in [each for each in self._ending if not any(one.standing for one in each.family)]:
            self._ending.remove(pool)
            yield from take_pool_apart(pool)
