"""Counts what sample fetches ask of whole sections and servers: HAProxy's `be_conn`, `queue` and their like."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import FULL_WEIGHT, Server
from reusedproxy.sessions.figures import milliseconds


def figure(which: str, name: str, backends: Mapping[str, Backend], clients: Mapping[str, int]) -> int | bool | None:
    """Returns what the fetch `which` says of the section or the server `name`; None if there is no such one. `clients`
    are the connections of the frontends."""
    if which == "fe_conn":
        return clients.get(name)
    if which in _OF_SERVERS:
        section, _, server = name.rpartition("/")
        backend = backends.get(section)
        found = None if backend is None else backend.named.get(server)
        return None if found is None else _OF_SERVERS[which](found)
    backend, asked = backends.get(name), _OF_BACKENDS.get(which)
    return None if backend is None or asked is None else asked(backend)


def _connections(backend: Backend) -> int:
    return backend.traffic.scur


def _queue(backend: Backend) -> int:
    return len(backend.queue) + sum(len(server.queue) for server in backend.servers)


def _average_queue(backend: Backend) -> int:
    """Returns the requests that wait for each server that can be chosen, rounded up; without any, 9999 of them for each
    that waits, as in HAProxy."""
    waiting, servers = _queue(backend), backend.usable_servers
    return -(-waiting // servers) if servers else waiting * 9999


def _slots(backend: Backend) -> int:
    """Returns how many more requests the servers take, their queues included; -1 if one takes any number."""
    free = 0
    for server in backend.servers:
        if not server.serving:
            continue
        if not server.maxconn or not server.settings.maxqueue:
            return -1
        free += server.maxconn - server.served + server.settings.maxqueue - len(server.queue)
    return max(0, free)


def _free_of_server(server: Server) -> int:
    return max(0, server.maxconn - server.served) if server.maxconn else -1


def _timeout(which: str) -> Callable[[Backend], int]:
    return lambda backend: milliseconds(getattr(backend.settings.timeouts, which))


_OF_SERVERS: dict[str, Callable[[Server], int | bool]] = {
    "srv_is_up": lambda server: server.serving,
    "srv_queue": lambda server: len(server.queue),
    "srv_conn": lambda server: server.served,
    "srv_conn_free": _free_of_server,
    "srv_iweight": lambda server: server.settings.weight,
    "srv_uweight": lambda server: server.weight,
    "srv_weight": lambda server: -(-server.eweight // FULL_WEIGHT),
}
_OF_BACKENDS: dict[str, Callable[[Backend], int]] = {
    "be_conn": _connections,
    "queue": _queue,
    "avg_queue": _average_queue,
    "connslots": _slots,
    "be_conn_free": lambda backend: backend.free,
    **{f"be_{which}_timeout": _timeout(which) for which in ("connect", "queue", "server", "tarpit", "tunnel")},
    "be_max_retries": lambda backend: backend.settings.retries,
    "be_id": lambda backend: backend.settings.id,
}
