"""Replaces one proxy by another after its trial: listeners, states, clients and waiting requests go over to it.

`take_place` does what must be done at one moment, `clear` what may take time. Knows proxies; must never know why there
is a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.orders import agents_place, checks_place
from reusedproxy.backends.server import MAINT, READY, Server
from reusedproxy.build.announce import Announce
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.in_place import going_on
from reusedproxy.build.tables import adopt
from reusedproxy.clients.frontend import Frontend
from reusedproxy.net.listener import Listener
from reusedproxy.pool.kept import DRAINED
from reusedproxy.pool.pool import HTTPConnectionPool


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
        backend.stop_timers()
        if backend.hedging is not None:
            backend.hedging.stop()
    going = [ring for ring, _ in new.logs.rings.values()]
    for ring, _ in old.logs.rings.values():
        if ring not in going:
            ring.close()
    if old.rates is not None:
        old.rates.stop()
    if old.sweep is not None:
        old.sweep.stop()
    if old.frequencies is not None:
        old.frequencies.stop()
    return leaving


def _leaving(frontend: Frontend, successors: Mapping[Listener, Frontend]) -> Iterator[None]:
    """Starts the frontend's stop, performs its first step, and returns the remaining ones."""
    steps = frontend.stopping(successors)
    next(steps)
    return steps


def hand_on_states(old: Proxy, new: Proxy, announce: Announce) -> None:
    """Hands on orders and check results, those from the time of the trial included. Announces each
    order that stays in force."""
    _hand_on_servers(old, new, announce)
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
    if new.frequencies is not None:
        new.frequencies.succeed(old.frequencies)


def _hand_on_servers(old: Proxy, new: Proxy, announce: Announce) -> None:
    before = going_on(old.lines, old.deleted, new.configuration)
    for name, line in new.lines.items():
        if name in before:
            line.succeed(before[name])
        for order in _orders_kept(line.server):
            text = f"Server {name} {order}, as was ordered before the reload"
            announce("notice", text, f"backend {name.rpartition('/')[0]}")
    for line in new.lines.values():
        if line.server.tracked is None:
            _tell_trackers(line.server, new.deadlines.now())


def _orders_kept(server: Server) -> Iterator[str]:
    """Returns the orders by which a server is in another state than the configuration says."""
    said = server.settings
    if server.admin != (MAINT if said.disabled else READY):
        yield f"stays {server.admin}"
    if server.ordered is not None:
        yield f"stays at {server.ordered}"
    if server.ordered_name:
        yield f"follows the name {server.ordered_name}"
    # The weight of an SRV record is no order.
    if server.service is None and server.weight != said.weight:
        yield f"keeps weight {server.weight}"
    if server.clear:
        yield "is reached without TLS"
    if server.pool.order.state == DRAINED:
        yield "keeps its pool drained"
    if server.check != said.check:
        yield checks_place(server)
    if server.agent != said.agent:
        yield agents_place(server)
    if server.limit != said.maxconn:
        yield f"keeps maxconn {server.limit}"


def _tell_trackers(server: Server, now: float) -> None:
    """Hands a server's state on to those that track it."""
    for tracker in server.trackers:
        tracker.copy_tracked(now)
        _tell_trackers(tracker, now)


def hand_on_places(replaced: list[Proxy]) -> None:
    """Has all servers and frontends of replaced proxies report the end of a request or a client directly to the running
    proxy, not to one between. The last of the proxies has been replaced just now."""
    for proxy in replaced[:-1]:
        for backend in proxy.backends:
            for server in backend.servers:
                if server.heir is not None:
                    server.heir = server.heir.heir
        for frontend in proxy.frontends:
            if frontend.heir is not None:
                frontend.heir = frontend.heir.heir


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
