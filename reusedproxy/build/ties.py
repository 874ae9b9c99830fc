"""Ties servers to others, whichever backend they are of: to those that they `track`, and to the requests that end with
their state (`on-marked-down`, `on-marked-up`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.build.servers.line import Line
from reusedproxy.clients.frontend import Frontend
from reusedproxy.net.deadlines import Deadlines


class Tied(Protocol):
    """Defines what a proxy has of servers."""

    backends: list[Backend]
    lines: dict[str, Line]
    frontends: list[Frontend]
    deadlines: Deadlines

    @property
    def before(self) -> Sequence[Tied]: ...


def tie(proxy: Tied) -> None:
    """Ties all servers of a proxy, those first that others track."""
    of = {server: backend for backend in proxy.backends for server in backend.servers}
    ties = {server: proxy.lines[server.settings.track].server for server in of if server.settings.track in proxy.lines}
    named = {backend.name: backend for backend in proxy.backends}
    for server in sorted(of, key=lambda each: _depth(each, ties)):
        _tie(proxy, named, of[server], server)
    for backend in {of[server] for server in ties}:
        backend.use_usable()


def tie_server(proxy: Tied, backend: Backend, server: Server) -> None:
    """Ties one server of this backend, which has to choose among its servers anew after that."""
    _tie(proxy, {each.name: each for each in proxy.backends}, backend, server)


def _tie(proxy: Tied, named: Mapping[str, Backend], backend: Backend, server: Server) -> None:
    tracked = proxy.lines.get(server.settings.track)
    if tracked is not None:
        server.track(tracked.server, proxy.deadlines.now())
        named[_section(tracked.server)].tell_tracker = lambda tracker: named[_section(tracker)].tracked_changed(tracker)
    if server.settings.ends_when_down or server.settings.ends_backups_when_up:
        backend.end_sessions = partial(_end_sessions, proxy)


def _section(server: Server) -> str:
    """Returns the name of the server's backend."""
    return server.full_name.rpartition("/")[0]


def _depth(server: Server, ties: Mapping[Server, Server]) -> int:
    """Returns how many servers stand between this one and the one whose checks decide."""
    depth = 0
    while server in ties:
        server = ties[server]
        depth += 1
    return depth


def _end_sessions(proxy: Tied, server: Server, letter: str) -> None:
    """Ends what this server carries, also where a reload has left it to a proxy before."""
    living = (*proxy.before, proxy)
    lines = [one.lines[server.full_name] for one in living if server.full_name in one.lines]
    servers = [line.server for line in lines if line.server.target == server.target]
    for frontend in [frontend for one in living for frontend in one.frontends]:
        for each in servers:
            frontend.end_sessions(each, letter)
