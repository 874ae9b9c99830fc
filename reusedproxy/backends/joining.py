"""Adds servers to a backend that runs, and takes servers out of it.

Both are done in one step, so that nobody sees a server of which only a part is there. Must never know what a server is
made of, nor who has ordered it.
"""

from __future__ import annotations

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server


def join(backend: Backend, server: Server) -> None:
    """Adds a server, which takes requests as far as its state says."""
    backend.servers.append(server)
    backend.named[server.name] = server
    _settle(backend)
    server.keep_pool()


def leave(backend: Backend, server: Server) -> None:
    """Takes a server out that is in MAINT and carries nothing. Its checks end, and nothing refers to it any more."""
    for checkers in (backend.checkers, backend.agents):
        for checker in [each for each in checkers if each.server is server]:
            checker.stop()
            checkers.remove(checker)  # type: ignore[arg-type]
    backend.observers.pop(server, None)
    slow_start = backend.slow_starts.pop(server, None)
    if slow_start is not None:
        slow_start.stop()
    if backend.comings is not None:
        backend.comings.forget(server)
    if backend.addresses is not None:
        backend.addresses.forget(server)
    if server.tracked is not None:
        server.tracked.trackers.remove(server)
        server.tracked = None
    backend.servers.remove(server)
    del backend.named[server.name]
    _settle(backend)
    backend.forget(server)
    if server.settings.resolution.resolvers is not None:
        backend.follow_names()


def _settle(backend: Backend) -> None:
    backend.roll += 1
    backend.learn_cookies()
    backend.learn_limits()


def still_there(server: Server) -> bool:
    """Tells whether requests are at a server, or wait for it, or connections to it stand, or are opened or closed."""
    open_ = [server.pool, *(pool for pool in server.former if pool.state != "closed")]
    pools = [each for pool in open_ for each in pool.family]
    connected = any(each.standing or each.waiters.waiting for each in pools)
    return bool(server.served or server.queue.waiting or connected)
