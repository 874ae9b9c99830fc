"""Builds a server that is added to a running proxy, and puts it in its place there; takes servers out again.

A server line is a server line: what builds those of the file builds this one, and the configuration in force names it
from then on, so that whatever reads that (`ssl-watch`, statistics) finds it. Must never know who has ordered it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends import joining
from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import MAINT, Server
from reusedproxy.build.announce import Announce
from reusedproxy.build.assembly import Proxy, limits_of, queries_of
from reusedproxy.build.certificates import FilesOfTLS, Stamps
from reusedproxy.build.revocations import fetches_of, sources_of
from reusedproxy.build.servers.fitting import Fitting
from reusedproxy.build.servers.line import Line
from reusedproxy.build.servers.lines import Lines
from reusedproxy.build.standbys import stand_by_alone, stand_by_no_more
from reusedproxy.build.ties import tie_server
from reusedproxy.config import model
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Notice
from reusedproxy.net.resolver import Resolver
from reusedproxy.net.slices import Steps


class NotBuilt(Exception):
    """Says why a server cannot be added; `texts` are all reasons."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__("; ".join(texts))
        self.texts = texts


class AddedServer:
    """Builds one server for a running proxy, in `building`, and puts it in its place in `join`."""

    def __init__(
        self,
        proxy: Proxy,
        backend: Backend,
        settings: model.Server,
        clock: IReactorTime,
        random: Random,
        announce: Announce,
    ) -> None:
        self.notices: list[Notice] = []
        self._proxy = proxy
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._announce = announce
        self._faults: list[Fault] = []
        self._configuration = with_server(proxy.configuration, backend.name, settings)
        self._files = FilesOfTLS(self._configuration)
        self._lines = Lines(
            clock,
            proxy.poller,
            proxy.deadlines,
            random,
            proxy.budget,
            limits_of(proxy.configuration),
            proxy.addresses,
            proxy.trusts,
            {},
            announce,
            self._faults,
            self.notices,
            proxy.configuration.global_,
            proxy.variables,
        )
        self._stamps: Stamps = ()
        self._line: Line | None = None

    def building(self, resolver: Resolver) -> Steps[None]:
        """Reads its files, asks for its address and builds it, in steps. Raises NotBuilt."""
        proxy, settings = self._proxy, self._settings
        self._stamps = yield from stamped(proxy, self._files)
        names = proxy.addresses.unknown(queries_of(settings))
        if names:
            proxy.addresses.learn((yield resolver.resolve(names)))
        asked = [tls for tls in (settings.tls, settings.check_tls) if tls is not None and tls.crl_file is not None]
        lists, beside = [tls.crl_file for tls in asked if tls.crl_file], [tls.ca_file for tls in asked if tls.ca_file]
        yield from proxy.trusts.reading(lists, self._clock, beside)
        yield from self._lines.load_identities(self._backend.settings, settings)
        line = self._line = self._lines.line(self._backend.settings, settings)
        if settings.check is not None:
            line.checker = self._lines.checker(self._backend, line, 0.0)
        if settings.agent is not None:
            line.agent = self._lines.agent(self._backend, line, 0.0)
        yield from proxy.trusts.preparing(self._clock)
        sources_of(self._configuration, self._faults)
        if self._faults:
            line.pool.close("not added")
            raise NotBuilt([fault.text for fault in self._faults])

    def give_up(self) -> None:
        """Leaves nothing of what was built."""
        if self._line is not None:
            self._line.pool.close("not added")

    def join(self) -> Server:
        """Puts the server in its place, in MAINT, its checks stopped. Nothing of the proxy may have been replaced since
        it was built."""
        proxy, backend, line = self._proxy, self._backend, self._line
        assert line is not None
        server = line.server
        server.administer(MAINT, proxy.deadlines.now())
        fitting = Fitting(self._clock, self._announce)
        fitting.follow(backend, server)
        fitting.check(backend, line)
        _turn_to(proxy, backend, self._configuration, self._files)
        proxy.stamps = self._stamps
        proxy.lines[server.full_name] = line
        tie_server(proxy, backend, server)
        stand_by_alone(proxy.configuration, proxy.backends, backend, server, self._clock)
        if proxy.rates is not None:
            proxy.rates.add(server)
        joining.join(backend, server)
        for checker in (line.checker, line.agent):
            if checker is not None:
                checker.paused = True
                checker.start()
        return server


class DeletedServer:
    """Takes one server out of a running proxy: what takes time in `looking`, the rest in `leave`."""

    def __init__(self, proxy: Proxy, backend: Backend, server: Server) -> None:
        self._proxy = proxy
        self._backend = backend
        self._server = server
        self._configuration = without_server(proxy.configuration, backend.name, server.name)
        self._files = FilesOfTLS(self._configuration)
        self._stamps: Stamps = ()

    def looking(self) -> Steps[None]:
        """Looks at the files that are still in use, in steps."""
        self._stamps = yield from stamped(self._proxy, self._files)

    def leave(self) -> Line:
        """Takes the server out, which is in MAINT and carries nothing, and returns its line."""
        proxy, server = self._proxy, self._server
        line = proxy.lines.pop(server.full_name)
        if not server.settings.added:
            proxy.deleted.add(server.full_name)
        joining.leave(self._backend, server)
        stand_by_no_more(proxy.backends, server)
        if proxy.rates is not None:
            proxy.rates.forget(server)
        for pool in (line.pool, *server.former):
            if pool.state != "closed":  # one that was closed may have been taken apart
                pool.close("server deleted")
        _turn_to(proxy, self._backend, self._configuration, self._files)
        proxy.stamps = self._stamps
        return line


def stamped(proxy: Proxy, files: FilesOfTLS) -> Steps[Stamps]:
    """Returns the stamps of these files, in steps. Of one that is in use already, it is that of when it was read: what
    has changed since is still to be found."""
    if proxy.configuration.global_.ssl_watch is None:
        return proxy.stamps
    known = {stamp[0]: stamp for stamp in proxy.stamps}
    found = yield from files.look()
    return tuple(known.get(stamp[0], stamp) for stamp in found)


def _turn_to(proxy: Proxy, backend: Backend, configuration: model.Configuration, files: FilesOfTLS) -> None:
    """Has the proxy go by a configuration that differs from the one in force in a server only."""
    proxy.configuration, proxy.files = configuration, files
    backend.settings = configuration.backends[backend.name]
    proxy.list_sources = sources_of(configuration, [])
    proxy.list_fetches = fetches_of(proxy.list_sources, proxy.list_fetches)


def with_server(configuration: model.Configuration, backend: str, server: model.Server) -> model.Configuration:
    """Returns the configuration with a further server at the end of this backend."""
    section = configuration.backends[backend]
    return _with_servers(configuration, section, (*section.servers, server))


def without_server(configuration: model.Configuration, backend: str, name: str) -> model.Configuration:
    """Returns the configuration without this server."""
    section = configuration.backends[backend]
    return _with_servers(configuration, section, tuple(each for each in section.servers if each.name != name))


def _with_servers(
    configuration: model.Configuration, section: model.Backend, servers: tuple[model.Server, ...]
) -> model.Configuration:
    backends = {**configuration.backends, section.name: evolve(section, servers=servers)}
    return evolve(configuration, backends=backends)
