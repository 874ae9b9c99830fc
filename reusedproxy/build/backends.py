"""Builds backends with their servers, checks, and the states that were saved. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from random import Random

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.balance import Parts, filling
from reusedproxy.backends.balance.ring import nodes_of
from reusedproxy.backends.hedging import Hedging
from reusedproxy.backends.moving import Departed
from reusedproxy.backends.ordered import OrderedAddresses
from reusedproxy.backends.saved_states import CONFIGURED, ENABLED, SavedState, restore
from reusedproxy.build.announce import Announce
from reusedproxy.build.balancing import hash_of
from reusedproxy.build.resolution import Sections, groups_of
from reusedproxy.build.saved_states import SavedStates
from reusedproxy.build.servers.fitting import Fitting
from reusedproxy.build.servers.line import Line
from reusedproxy.build.servers.lines import Lines
from reusedproxy.config import model
from reusedproxy.config.model.balance import HASHES
from reusedproxy.config.model.values import Notice
from reusedproxy.net.names.section import Names
from reusedproxy.net.slices import Steps


class Backends:
    """Builds the backends of one configuration."""

    def __init__(
        self,
        configuration: model.Configuration,
        reactor: IReactorTime,
        random: Random,
        now: Callable[[], float],
        announce: Announce,
        lines: Lines,
        sections: Sections,
        saved: SavedStates,
        names: Names,
        departed: Departed,
        before: Mapping[str, Line],
        made: dict[str, Line],
        notices: list[Notice] | None,
    ) -> None:
        """Adds the server lines to `made`, and what it finds to `notices` (None: it is known already); `before` are
        those of the previous proxy, by backend/server."""
        self._reactor = reactor
        self._random = random
        self._now = now
        self._announce = announce
        self._lines = lines
        self._fitting = Fitting(reactor, announce)
        self._sections = sections
        self._saved = saved
        self._names = names
        self._departed = departed
        self._before = before
        self._made = made
        self._notices = notices
        self._first_checks = first_checks(configuration)

    def build(self, settings: model.Backend) -> Steps[Backend]:
        """Builds one backend, in steps of a server each."""
        lines = []
        saved = self._saved.of(settings)
        for each in settings.servers:
            yield from self._lines.load_identities(settings, each)
            lines.append(self._lines.line(settings, each, saved.get(each.name)))
            yield
        self._made.update((line.server.full_name, line) for line in lines)
        announce = partial(self._announce, section=f"backend {settings.name}")
        servers = [line.server for line in lines]
        if settings.hash_type.consistent and settings.balance.algorithm in HASHES:
            for server in servers:
                nodes_of(server)
                yield
        for balance in filling(Parts(settings, servers, hash_of(settings), self._random)):  # noqa: B007 (the last one)
            yield
        backend = Backend(settings, servers, self._now, announce, balance=balance)
        if settings.hedge is not None:
            backend.hedging = Hedging(settings.hedge, self._reactor)
        for server in servers:
            self._fitting.follow(backend, server)
        self._cookies_differ(backend)
        for line in [line for line in lines if line.server.settings.check is not None]:
            line.checker = self._lines.checker(backend, line, next(self._first_checks))
            yield
        for line in [line for line in lines if line.server.settings.agent is not None]:
            line.agent = self._lines.agent(backend, line, next(self._first_checks))
            yield
        for line in lines:
            self._fitting.check(backend, line)
        self._restore(backend, lines, saved)
        backend.addresses = OrderedAddresses(backend, self._reactor, self._departed)
        backend.make_groups = partial(groups_of, backend, self._sections, self._names, self._departed)
        backend.follow_names()
        return backend

    def _restore(self, backend: Backend, lines: Iterable[Line], saved: Mapping[str, SavedState]) -> None:
        """Gives servers that there were not before a reload the states that were saved."""
        new = [line for line in lines if line.server.name in saved and line.server.full_name not in self._before]
        for line in new:
            restore(line.server, saved[line.server.name], line.checker, self._now())
            if line.agent is not None:
                state = saved[line.server.name].agent_state
                line.agent.paused = state & (CONFIGURED | ENABLED) == CONFIGURED
        if new:
            backend.learn_limits()

    def _cookies_differ(self, backend: Backend) -> None:
        """Warns of servers with the same dynamic cookie, which therefore lead to the first of them."""
        for cookie, servers in backend.cookies.items():
            for server in servers[1:]:
                if server.settings.cookie is None and self._notices is not None:
                    text = (
                        f"server {server.full_name} has the address of '{servers[0].name}', and so the same dynamic"
                        f" cookie {cookie.decode()}: give one of them a 'cookie' of its own"
                    )
                    self._notices.append(Notice("warning", server.settings.place, text))


def first_checks(configuration: model.Configuration) -> Iterator[float]:
    """Returns the seconds before each first check. They are spread over the shortest interval, as in HAProxy, all
    backends together."""
    backends = [backend for backend in configuration.backends.values() if not backend.disabled]
    servers = [server for backend in backends for server in backend.servers]
    intervals = [each.inter for server in servers for each in (server.check, server.agent) if each is not None]
    total, shortest = len(intervals), min((each for each in intervals if each > 1.0), default=1.0)
    return (number * shortest / total for number in range(total))
