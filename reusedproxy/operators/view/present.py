"""Goes through what the running proxy has, in steps between which servers and clients come and go, and reloads put
other proxies in its place: an answer that takes its time is about all that is there from its beginning to its end.

Like `reading` it must never change what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.owner import Connected
from reusedproxy.operators.view.proxy import Proxy

#: Returns the proxy that runs now.
Present = Callable[[], Proxy]


def servers_in(present: Present) -> Iterator[tuple[Backend, Server]]:
    """Returns the servers, one at a time, each with its backend. After a reload those of the new proxy follow that have
    not come before."""
    seen: set[str] = set()
    before: Proxy | None = None
    while (proxy := present()) is not before:
        before = proxy
        for backend, server in _servers_of(proxy, present):
            if server.full_name not in seen:
                seen.add(server.full_name)
                yield backend, server


def _servers_of(proxy: Proxy, present: Present) -> Iterator[tuple[Backend, Server]]:
    """Returns those of a proxy until another one takes its place. One that is deleted is taken apart a second later."""
    for backend in list(proxy.backends):
        if present() is not proxy:
            return
        for name, server in [(each.name, each) for each in backend.servers]:
            if present() is not proxy:
                return
            if backend.named.get(name) is server:
                yield backend, server


def clients_in(present: Present) -> Iterator[tuple[Frontend, Connected]]:
    """Returns the clients, one at a time, each with the frontend that has it, likewise; those that reloads have left to
    proxies before come first."""
    seen: set[int] = set()
    before: Proxy | None = None
    while (proxy := present()) is not before:
        before = proxy
        for frontend, connection in _clients_of(proxy, present):
            if id(connection) not in seen:
                seen.add(id(connection))
                yield frontend, connection


def _clients_of(proxy: Proxy, present: Present) -> Iterator[tuple[Frontend, Connected]]:
    """Returns those of a proxy until another one takes its place. One before it is taken apart when it has none."""
    for each in (*proxy.before, proxy):
        for frontend in list(each.frontends):
            for connection in list(frontend.connections) if frontend in each.frontends else ():
                if present() is not proxy:
                    return
                if frontend in each.frontends and connection in frontend.connections:
                    yield frontend, connection
