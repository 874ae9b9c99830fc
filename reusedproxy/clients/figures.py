"""Tells what sample fetches ask of whole sections, servers and the process: HAProxy's `be_conn`, `queue` and their
like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import FULL_WEIGHT, Server
from reusedproxy.config import model
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.rules.facts import Sample
from reusedproxy.sessions.figures import milliseconds
from reusedproxy.sessions.process import FIGURES, of_environment

#: Events a second (`clients.frequencies`).
RATES: Final = ("be_sess_rate", "fe_req_rate", "fe_sess_rate", "srv_sess_rate")


class MeasuredRates(Protocol):
    """Defines the rates that rules ask for (`clients.frequencies`)."""

    def rate(self, which: str, name: str) -> int | None:
        """Returns a rate by the name of the sample fetch, of a section or a server."""


class Counted(Protocol):
    """Defines a frontend among those of its process."""

    name: str

    @property
    def clients(self) -> int:
        """Returns how many clients it has."""


class Counting(Protocol):
    """Defines the places of a process, as far as its frontends are counted."""

    @property
    def frontends(self) -> Sequence[Counted]: ...


class Asked(Protocol):
    """Defines the frontend whose rules ask."""

    settings: model.Frontend
    deadlines: Deadlines
    #: When the process began, by the clock of `deadlines`.
    process_began: float
    environment: Mapping[str, str]
    backends: Mapping[str, Backend]
    frequencies: MeasuredRates | None
    #: The name of the backend of its own section, of a `listen`.
    own_backend: str | None
    stopped: bool

    @property
    def places(self) -> Counting: ...


def figure(which: str, name: str, frontend: Asked) -> Sample:
    """Returns what the fetch `which` says where this frontend's rules ask it of the section or the server `name`; None
    if there is no such one."""
    if which == "env":
        return of_environment(frontend.environment, name)
    if which in FIGURES:
        return FIGURES[which]()
    if which in _OF_FRONTENDS:
        return _OF_FRONTENDS[which](frontend)
    if which in RATES:
        return None if frontend.frequencies is None else frontend.frequencies.rate(which, name)
    if which == "fe_conn":
        return {each.name: each.clients for each in frontend.places.frontends}.get(name)
    if which in _OF_SERVERS:
        section, _, server = name.rpartition("/")
        backend = frontend.backends.get(section)
        found = None if backend is None else backend.named.get(server)
        return None if found is None else _OF_SERVERS[which](found)
    backend, asked = frontend.backends.get(name), _OF_BACKENDS.get(which)
    return None if backend is None or asked is None else asked(backend)


def _default_backend(frontend: Asked) -> bytes | None:
    default = frontend.settings.default_backend
    # As in HAProxy, that of a `listen` section is none of its own.
    return None if default in (None, frontend.own_backend) else default.encode("utf-8", "surrogateescape")


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


_OF_FRONTENDS: dict[str, Callable[[Asked], Sample]] = {
    "uptime": lambda frontend: int(frontend.deadlines.now() - frontend.process_began),
    "stopping": lambda frontend: frontend.stopped,
    "fe_id": lambda frontend: frontend.settings.id,
    "fe_defbe": _default_backend,
    "fe_client_timeout": lambda frontend: milliseconds(frontend.settings.timeouts.client),
    "fe_tarpit_timeout": lambda frontend: milliseconds(frontend.settings.timeouts.tarpit),
}
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
