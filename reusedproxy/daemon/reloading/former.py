"""Keeps the proxies that reloads have replaced until their last client has gone, and frees them then; and those that
never served, since their reload was refused.

A replaced proxy serves the requests that it has. When nobody uses it any more, its pools that no other proxy has are
closed, and it is taken apart: it is full of reference cycles. Must never know how one proxy replaces another.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.backends.backend import Backend
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.servers.line import Line
from reusedproxy.clients.frontend import backend_of
from reusedproxy.daemon.reloading.succession import pools_of
from reusedproxy.net.slices import Later, Steps
from reusedproxy.pool.apart import empty, is_apart
from reusedproxy.pool.apart import take_pool_apart as take_one_apart
from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds between two checks whether the last client of a replaced proxy has gone.
EVERY = 1.0
#: Clients that are looked at in one step.
AT_ONCE = 100


class FormerProxies:
    """Keeps the proxies that reloads have replaced until their last client is gone; `proxies` has the oldest first."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.proxies: list[Proxy] = []
        self._present: Proxy | None = None
        self._clearing: Proxy | None = None
        #: Those of refused reloads.
        self._discarded: list[Proxy] = []
        #: Pools of proxies that are gone, whose last connections are still being closed.
        self._ending: list[HTTPConnectionPool] = []
        #: Closed pools of addresses that servers have left; clients of replaced proxies may come upon them.
        self._departed: list[HTTPConnectionPool] = []
        #: Servers that were deleted, and when.
        self._deleted: list[tuple[float, Line]] = []
        self._clock = clock
        self._closing = Later(clock, self._close_gone, self._looked)

    def add(self, old: Proxy, present: Proxy) -> None:
        """Adds `old`, which `present` has replaced; `old` is not freed before `cleared` is called."""
        self.proxies.append(old)
        old.before, present.before = (), self.proxies
        self._present = present
        self._clearing = old

    def cleared(self) -> None:
        """Marks the last replaced proxy as cleared: only its clients still use it."""
        self._clearing = None
        self._look_later()

    def discard(self, refused: Proxy, present: Proxy) -> None:
        """Frees a proxy that was to replace `present`, whole or as far as it was built, and its pools that no other one
        has."""
        self._present = present
        self._discarded.append(refused)
        self._look_later()

    def delete(self, line: Line) -> None:
        """Frees a server that was taken out of the proxy, when nobody can have it at hand any more."""
        self._deleted.append((self._clock.seconds(), line))
        self._look_later()

    def free(self, pool: HTTPConnectionPool) -> None:
        """Frees a closed pool, whose server has another one, when no replaced proxy can use it any more."""
        self._departed.append(pool)
        self._look_later()

    def _look_later(self) -> None:
        if self.proxies or self._discarded or self._ending or self._deleted or self._departed:
            self._closing.plan(EVERY)

    def stop(self) -> None:
        self._closing.stop()

    def _looked(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("a replaced proxy could not be closed", failure)
        self._look_later()

    def _close_gone(self) -> Steps[None]:
        """Closes what only proxies without clients used, in steps."""
        yield from self._free_deleted()
        staying: list[Proxy] = []
        gone, self._discarded = self._discarded, []
        # Requests that an older proxy has handed on are at the servers of a later one, whose own clients have gone.
        in_use = yield from _backends_in_use(self.proxies)
        for each in self.proxies:
            used = any(frontend.connections for frontend in each.frontends) or not in_use.isdisjoint(each.backends)
            stays = each is self._clearing or used
            (staying if stays else gone).append(each)
        self.proxies[:] = staying
        present = self._present
        if gone:
            assert present is not None
            kept = {pool for each in (*staying, present) for pool in pools_of(each)}
            for proxy in gone:
                proxy.logs.close()
            # Several of them may have used the same pool.
            for pool in {pool: None for each in gone for pool in pools_of(each) - kept}:
                pool.close("reload")
                self._ending.append(pool)
                yield
            for proxy in (*staying, present):
                for line in proxy.lines.values():
                    former = line.server.former
                    if former:
                        line.server.former = [pool for pool in former if pool.state != "closed"]
                yield
            for proxy in gone:
                yield from take_apart(proxy)
        if self._departed:
            at_hand = {pool for each in self.proxies for pool in pools_of(each)}
            self._ending += [pool for pool in self._departed if pool not in at_hand]
            self._departed = [pool for pool in self._departed if pool in at_hand]
        for pool in [*self._ending]:
            if is_apart(pool):  # it was to end for two reasons
                self._ending.remove(pool)
            elif not any(one.standing for one in pool.family):
                self._ending.remove(pool)
                yield from take_pool_apart(pool)

    def _free_deleted(self) -> Iterator[None]:
        """Frees the servers that were deleted EVERY seconds ago, in steps."""
        now = self._clock.seconds()
        gone = [line for since, line in self._deleted if now - since >= EVERY]
        self._deleted = [(since, line) for since, line in self._deleted if now - since < EVERY]
        for line in gone:
            # What a proxy before still has is closed with it.
            pools = {pool for pool in (line.pool, *line.server.former) if not is_apart(pool)}
            self._ending += pools.difference(*map(pools_of, self.proxies))
            for each in (line.checker, line.agent, line.server):
                if each is not None:
                    empty(each)
            yield


def take_apart(proxy: Proxy) -> Iterator[None]:
    """Frees a proxy that is no longer used, in steps, except its pools.

    It is full of reference cycles, and would be left to the garbage collector, which cannot be sliced: 100 ms for 1,250
    sections.
    """
    frontends, backends, lines = proxy.frontends, proxy.backends, proxy.lines
    proxy.frontends, proxy.backends, proxy.lines = [], [], {}
    proxy.listeners, proxy.bound, proxy.rates, proxy.sweep = [], [], None, None
    proxy.frequencies = None
    for backend in backends:
        if backend.hedging is not None:
            backend.hedging.let_losers_go()
        for each in (*backend.checkers, *backend.agents, *backend.servers, backend):
            empty(each)
        yield
    for frontend in frontends:
        empty(frontend)
        yield
    while lines:
        lines.popitem()
        yield


def _backends_in_use(proxies: list[Proxy]) -> Steps[set[Backend]]:
    """Returns the backends at which the clients of these proxies have something under way, in steps. They get none that
    was replaced before."""
    found: set[Backend] = set()
    for frontend in [frontend for proxy in proxies for frontend in proxy.frontends]:
        for number, connection in enumerate([*frontend.connections]):
            # It may have gone meanwhile, and then it has nothing under way.
            if connection in frontend.connections and (backend := backend_of(connection)) is not None:
                found.add(backend)
            if not number % AT_ONCE:
                yield
    return found


def take_pool_apart(pool: HTTPConnectionPool) -> Iterator[None]:
    """Frees a closed pool without connections, with the pools for the other names of its server, in steps."""
    group = pool.group
    for each in [*pool.family]:
        take_one_apart(each)  # a reload in progress may have it among a server's former pools
        yield
    empty(group)
