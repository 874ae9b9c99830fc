"""Replaces one proxy by another after its trial: listeners, states, clients and waiting requests go over to it.

`take_place` does what must be done at one moment, `clear` what may take time. Knows proxies; must never know why there
is a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import GetSetDescriptorType

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import MAINT, READY, Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.server_lines import Announce
from reusedproxy.build.tables import adopt
from reusedproxy.clients.frontend import Frontend, backend_of
from reusedproxy.net.listener import Listener
from reusedproxy.net.slices import Later, Steps
from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds between two checks whether the last client of a replaced proxy has gone.
EVERY = 1.0
#: Clients that are looked at in one step.
AT_ONCE = 100


def pools_of(proxy: Proxy) -> set[HTTPConnectionPool]:
    return {line.pool for line in proxy.lines.values()}


def take_place(old: Proxy, new: Proxy, announce: Announce) -> list[Iterator[None]]:
    """Closes the listeners that `new` does not take over, and hands on states. Returns the
    remaining steps for the clients."""
    successors = {listener: frontend for frontend, listener in new.listeners}
    leaving = [_leaving(frontend, successors) for frontend in old.frontends]
    for _, listener in old.listeners:
        if listener not in successors:
            listener.close()  # also one that waited for `pool-warm-start` and belongs to no frontend yet
    hand_on_states(old, new, announce)
    adopt(new.configuration.tables, new.tables.values())
    for line in old.lines.values():
        for checker in (line.checker, line.agent):
            if checker is not None:
                checker.stop()
    for backend in old.backends:
        for group in backend.groups:
            group.stop()
        backend.stop_slow_starts()
    if old.rates is not None:
        old.rates.stop()
    if old.sweep is not None:
        old.sweep.stop()
    return leaving


def _leaving(frontend: Frontend, successors: Mapping[Listener, Frontend]) -> Iterator[None]:
    """Starts the frontend's stop, performs its first step, and returns the remaining ones."""
    steps = frontend.stopping(successors)
    next(steps)
    return steps


def hand_on_states(old: Proxy, new: Proxy, announce: Announce) -> None:
    """Hands on orders and check results, those from the time of the trial included. Announces each
    order that stays in force."""
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
        server = line.server
        if server.ordered is not None:
            text = f"Server {name} stays at {server.ordered}, as was ordered before the reload"
            announce("notice", text, f"backend {name.rpartition('/')[0]}")
        # The weight of an SRV record is no order.
        weight = server.weight if server.service is None else server.settings.weight
        for word, now, said_by_file in (
            ("weight", weight, server.settings.weight),
            ("maxconn", server.limit, server.settings.maxconn),
        ):
            if now != said_by_file:
                text = f"Server {name} keeps {word} {now}, as was ordered before the reload"
                announce("notice", text, f"backend {name.rpartition('/')[0]}")
    for line in new.lines.values():
        if line.server.tracked is None:
            _tell_trackers(line.server, new.deadlines.now())
    previous = {backend.name: backend for backend in old.backends}
    for backend in new.backends:
        backend.learn_limits()
        if backend.name in previous:
            backend.succeed(previous[backend.name])
    if new.rates is not None:
        new.rates.succeed(old.rates)
    before = {frontend.name: frontend for frontend in old.frontends}
    for frontend in new.frontends:
        name = frontend.name
        if name in before:
            frontend.succeed(before[name])
        if (now := frontend.settings.maxconn) != frontend.maxconn_said:
            text = f"Frontend {name} keeps maxconn {now}, as was ordered before the reload"
            announce("notice", text, f"frontend {name}")


def hand_on_places(replaced: list[Proxy]) -> None:
    """Has all servers and frontends of replaced proxies tell those in their place, and not one between, when a request
    or a client of theirs has gone. The last of the proxies has been replaced just now."""
    for proxy in replaced[:-1]:
        for backend in proxy.backends:
            for server in backend.servers:
                if server.heir is not None:
                    server.heir = server.heir.heir
        for frontend in proxy.frontends:
            if frontend.heir is not None:
                frontend.heir = frontend.heir.heir


def _tell_trackers(server: Server, now: float) -> None:
    """Hands a server's state on to those that track it."""
    for tracker in server.trackers:
        tracker.copy_tracked(now)
        _tell_trackers(tracker, now)


def hand_over_queues(replaced: list[Proxy], new: Proxy) -> list[Iterator[None]]:
    """Moves requests that wait for a server, or must choose another one, to the running backend of the same name.

    Returns the remaining steps for the waiting requests; from now on they, and all others, have their new backend.
    """
    backends = {backend.name: backend for backend in new.backends}
    left: list[Iterator[None]] = []
    for proxy in replaced:
        for backend in proxy.backends:
            successor = backends.get(backend.name)
            if successor is not None and successor.settings.mode != backend.settings.mode:
                successor = None  # its servers' connections carry something else
            backend.successor = successor
            if successor is not None:
                steps = backend.handing_over(successor)
                next(steps)
                left.append(steps)
    return left


def follow(replaced: list[Proxy], new: Proxy) -> list[tuple[Proxy, Backend, Server]]:
    """Takes old servers out of use whose successors are not usable, and returns them, for `give_up`.

    This comes before their pools, which both share, stop opening connections: otherwise a request in an old server's
    name would be refused, retries included.
    """
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
    """Moves the requests that wait for one of these servers to another queue, or fails them when
    none is left, in steps."""
    for proxy, backend, server in followed:
        if proxy.backends:  # else its last client has gone in the meantime, and the proxy has been freed
            backend.server_replaced(server)
        yield


def clear(old: Proxy, new: Proxy, leaving: list[Iterator[None]]) -> Iterator[None]:
    """Hands over or closes the clients, then sends on who waits for connections to servers that `new` does not use, and
    closes these, in steps."""
    for steps in leaving:
        yield from steps
    kept = pools_of(new)
    for line in old.lines.values():
        if line.pool not in kept:
            yield from line.pool.sending_on()
            yield from line.pool.draining("reload")


def take_apart(proxy: Proxy) -> Iterator[None]:
    """Frees a proxy that is no longer used, in steps, except its pools.

    It is full of reference cycles, and would be left to the garbage collector, which cannot be sliced: 100 ms for 1,250
    sections.
    """
    frontends, backends, lines = proxy.frontends, proxy.backends, proxy.lines
    proxy.frontends, proxy.backends, proxy.lines = [], [], {}
    proxy.listeners, proxy.bound, proxy.rates, proxy.sweep = [], [], None, None
    for backend in backends:
        for each in (*backend.checkers, *backend.agents, *backend.servers, backend):
            _empty(each)
        yield
    for frontend in frontends:
        _empty(frontend)
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
            if (backend := backend_of(connection)) is not None:
                found.add(backend)
            if not number % AT_ONCE:
                yield
    return found


def take_pool_apart(pool: HTTPConnectionPool) -> Iterator[None]:
    """Frees a closed pool without connections, with the pools for the other names of its server, in steps."""
    for each in [*pool.family]:
        for part in (each.upkeep, each.holdings, each.group, each):
            _empty(part)
        each.state = "closed"  # a reload in progress may have it among a server's former pools
        yield


def _empty(each: object) -> None:
    """Drops what an object refers to. One of a compiled class has no `__dict__`, but descriptors; those that the class
    names in `__deletable__` can be deleted."""
    if hasattr(each, "__dict__"):
        vars(each).clear()
        return
    for kind in type(each).__mro__[:-1]:
        for name, attribute in vars(kind).items():
            if isinstance(attribute, GetSetDescriptorType):
                with suppress(AttributeError):
                    delattr(each, name)


class Replaced:
    """Keeps the proxies that reloads have replaced until their last client is gone; `proxies` has the oldest first."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.proxies: list[Proxy] = []
        self._present: Proxy | None = None
        self._clearing: Proxy | None = None
        #: Pools of proxies that are gone, whose last connections are still being closed.
        self._ending: list[HTTPConnectionPool] = []
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
        """Closes what only proxies without clients used, in steps."""
        staying: list[Proxy] = []
        gone: list[Proxy] = []
        # Requests that an older proxy has handed on are at the servers of a later one, whose own clients have gone.
        in_use = yield from _backends_in_use(self.proxies)
        for each in self.proxies:
            used = any(frontend.connections for frontend in each.frontends) or not in_use.isdisjoint(each.backends)
            stays = each is self._clearing or used
            (staying if stays else gone).append(each)
        self.proxies[:] = staying
        assert self._present is not None
        present = self._present
        if gone:
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
        for pool in [each for each in self._ending if not any(one.standing for one in each.family)]:
            self._ending.remove(pool)
            yield from take_pool_apart(pool)
