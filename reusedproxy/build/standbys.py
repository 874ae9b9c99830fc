"""Finds for whom servers with `pool-standby-conn` stand by: those of their backend that are no backups, or those whose
number decides whether a frontend leads to their backend (`use_backend … if { nbsrv(…) lt 1 }`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.backends.standby import Standby
from reusedproxy.config import model
from reusedproxy.config.model.rules import Condition
from reusedproxy.config.model.values import Notice


def stand_by(configuration: model.Configuration, backends: Iterable[Backend], clock: IReactorTime) -> Iterator[Notice]:
    """Gives each backend its standbys, and those that it decides about. Returns what has no effect."""
    named = {backend.name: backend for backend in backends}
    sides: Mapping[str, set[str]] | None = None
    for backend in named.values():
        low = [server for server in backend.servers if server.settings.standby is not None]
        if not low:
            continue
        if sides is None:
            sides = sides_of(configuration)
        backups = [server for server in low if server.backup]
        if backups:
            _tie(Standby(backups, _primaries([backend]), clock), [backend])
        others = [named[name] for name in sorted(sides.get(backend.name, ())) if name in named]
        rest = [server for server in low if not server.backup]
        if rest and others:
            _tie(Standby(rest, _primaries(others), clock), [backend, *others])
        elif rest and not backups:
            yield Notice("warning", rest[0].settings.place, _nobody(rest[0], backend))


def stand_by_alone(
    configuration: model.Configuration,
    backends: Sequence[Backend],
    backend: Backend,
    server: Server,
    clock: IReactorTime,
) -> None:
    """Has a server that was added to this backend stand by, as one of the file would."""
    others = [each for each in backends if each.name in sides_of(configuration).get(backend.name, ())]
    if server.settings.standby is None or not (server.backup or others):
        return
    if server.backup:
        _tie(Standby([server], _primaries([backend]), clock), [backend])
    else:
        _tie(Standby([server], _primaries(others), clock), [backend, *others])


def stand_by_no_more(backends: Iterable[Backend], server: Server) -> None:
    """Has a server that was deleted stand by no more."""
    for backend in backends:
        for standby in [each for each in backend.standbys if server in each.servers]:
            standby.servers = [each for each in standby.servers if each is not server]
            if not standby.servers:
                standby.stop()
                backend.standbys.remove(standby)


def _tie(standby: Standby, backends: Iterable[Backend]) -> None:
    for backend in backends:
        backend.standbys.append(standby)


def _primaries(backends: Sequence[Backend]) -> Callable[[], Iterable[Server]]:
    return lambda: [server for backend in backends for server in backend.servers if not server.backup]


def _nobody(server: Server, backend: Backend) -> str:
    return (
        f"server '{server.name}': 'pool-standby-conn' does nothing: it is no 'backup', and no 'use_backend"
        f" {backend.name} if {{ nbsrv(NAME) lt 1 }}' says for whom it stands by"
    )


def sides_of(configuration: model.Configuration) -> dict[str, set[str]]:
    """Returns, for each backend, those whose number of usable servers decides whether a frontend leads to it."""
    sides: dict[str, set[str]] = {}
    for frontend in configuration.frontends.values():
        asked = {name for rule in frontend.use_backends for name in _counted(rule.condition)}
        led = {rule.name.constant for rule in frontend.use_backends} | {frontend.default_backend}
        for name in led if asked else ():
            if name is not None:
                sides.setdefault(name, set()).update(asked - {name})
    return sides


def _counted(condition: Condition | None) -> Iterator[str]:
    """Returns the backends whose usable servers a condition counts (`nbsrv(name)`)."""
    for terms in () if condition is None else condition.alternatives:
        for term in terms:
            for criterion in term.criteria:
                fetch = criterion.expression.fetch
                if fetch.name == "nbsrv" and fetch.arguments:
                    yield fetch.arguments[0]
