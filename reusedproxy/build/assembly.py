"""Builds running objects from a configuration, all or nothing: contexts, addresses, pools, backends, sockets,
frontends.

Knows every layer's constructor, and collects all faults before it gives up, so that an operator sees them at once.
Starts nothing: the result is bound but does not accept, and its pools open no connection yet.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from attrs import Factory, define, field
from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.balance import Parts, filling
from reusedproxy.backends.balance.ring import nodes_of
from reusedproxy.backends.checks.observe import Observer
from reusedproxy.backends.moving import Departed
from reusedproxy.backends.saved_states import CONFIGURED, ENABLED, SavedState, restore
from reusedproxy.backends.server import Server
from reusedproxy.backends.slow_start import SlowStart, Together
from reusedproxy.build.answers import Answers
from reusedproxy.build.balancing import hash_of
from reusedproxy.build.certificates import FilesOfTLS, Served, Stamps, serving
from reusedproxy.build.deeds import notes_in_sessions
from reusedproxy.build.maps import Maps
from reusedproxy.build.resolution import Sections, groups_of
from reusedproxy.build.rule_sets import RuleSets, asks_for_host, default_backend, users_asked, uses_service
from reusedproxy.build.saved_states import SavedStates
from reusedproxy.build.server_lines import Announce, Line, Lines, asks_libc
from reusedproxy.build.spelling import spelling_of
from reusedproxy.build.tables import Sweep, tables_of
from reusedproxy.clients.frontend import ConnectionLimit, Frontend
from reusedproxy.config import model
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.balance import HASHES
from reusedproxy.config.model.logs import THIS_HOST
from reusedproxy.config.model.users import UserList
from reusedproxy.config.model.values import Notice
from reusedproxy.config.rules.actions import SERVICES
from reusedproxy.config.rules.log_actions import SetLogLevel
from reusedproxy.exchanges.authentication import Authentication
from reusedproxy.net import descriptors
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import (
    Given,
    Listener,
    ListenError,
    backlog_of,
    bind_socket,
    demand_bindable,
    given_socket,
)
from reusedproxy.net.names.once import Lookups
from reusedproxy.net.names.section import Names
from reusedproxy.net.passwords import Passwords
from reusedproxy.net.passwords import trouble_with as trouble_with_hash
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Query
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.files import TLSConfigurationError, Trusts
from reusedproxy.net.watchdog import Standstills
from reusedproxy.operators.logs.access import access_log, stream_log
from reusedproxy.operators.logs.handshakes import handshake_log
from reusedproxy.operators.logs.targets import NO_SOCKET, LogTargets, UnknownHost, trouble_with
from reusedproxy.operators.logs.targets import Target as LogSink
from reusedproxy.operators.metrics.exporter import Exporter, Installation
from reusedproxy.operators.runtime.form import obey
from reusedproxy.operators.stats.handler import StatsPage
from reusedproxy.operators.stats.moment import Moments
from reusedproxy.operators.view.rates import Rates
from reusedproxy.operators.view.reading import Reader
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.rules.maps import Map
from reusedproxy.rules.samples.formats import text_of_items
from reusedproxy.tables.table import Table
from reusedproxy.wire.heads import Limits


class AssemblyError(Exception):
    """Raised when the configuration cannot be realised; `faults` are all faults, `notices` the other findings."""

    def __init__(self, faults: list[Fault], notices: list[Notice]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults
        self.notices = notices


@define
class Proxy:
    """A complete proxy: the objects that the service starts and stops, and that the operators' interfaces show."""

    configuration: model.Configuration
    poller: Poller
    deadlines: Deadlines
    places: ConnectionLimit
    logs: LogTargets
    frontends: list[Frontend] = Factory(list)
    backends: list[Backend] = Factory(list)
    listeners: list[tuple[Frontend, Listener]] = Factory(list)
    #: The listeners bound for this proxy; those taken over from a previous one are not among them.
    bound: list[Listener] = Factory(list)
    #: Start of the daemon, in the clock's time; reloads do not change it.
    began: float = 0.0
    #: Client connections that the configuration allows; `places` gets this limit when the proxy starts.
    maxconn: int = 0
    #: Handshake budget for the floors of all servers, shared through all reloads.
    budget: Budget = field(kw_only=True)
    #: Asks name servers, through all reloads; and the pools of servers that have moved since.
    names: Names = field(kw_only=True)
    departed: Departed = field(kw_only=True)
    #: Checks passwords, through all reloads.
    passwords: Passwords = field(kw_only=True)
    #: Server lines by backend/server.
    lines: dict[str, Line] = Factory(dict)
    #: Certificates of TLS listeners, by address.
    served: dict[model.ListenAddress, Served] = Factory(dict)
    files: FilesOfTLS = field(kw_only=True)
    #: Stamps of these files, taken before the files were read.
    stamps: Stamps = ()
    addresses: Addresses = Factory(Addresses)
    #: Stick tables by name, through all reloads.
    tables: dict[str, Table] = Factory(dict)
    #: Keeps them free of what is out of time, while the proxy runs.
    sweep: Sweep | None = None
    #: Patterns of rules, by the names of their files, kept for when only files of TLS are read again (`ssl-watch`).
    patterns: dict[str, list[str]] = Factory(dict)
    #: Contents of the files of error pages and answers; they are not read again with files of TLS either.
    answers: dict[str, bytes] = Factory(dict)
    #: Maps by the names of their files, with what rules have changed in them; kept likewise.
    maps: dict[str, Map] = Factory(dict)
    #: CAs and revocation lists that have been read.
    trusts: Trusts = Factory(Trusts)
    notices: list[Notice] = Factory(list)
    #: Standstills of the event loop.
    standstills: Standstills = Factory(Standstills)
    #: Measured only when a statistics page shows them.
    rates: Rates | None = None
    #: Those that reloads have replaced and that still have clients, the oldest first.
    before: Sequence[Proxy] = ()

    @property
    def pools(self) -> list[HTTPConnectionPool]:
        return [line.pool for line in self.lines.values()]


class Assembly:
    """Makes one attempt to build a proxy, from scratch or in place of a running `previous` one.

    Listeners and pools whose description is unchanged are taken over, with their warm connections. Servers keep the
    state that their operator has ordered and their checks have found. Must never change the previous proxy, so that an
    attempt may fail. When the configuration is the very object of the previous proxy, only files can have changed:
    names are then not resolved again, and notices not repeated.
    """

    def __init__(
        self,
        configuration: model.Configuration,
        reactor: IReactorTime,
        poller: Poller,
        random: Random,
        announce: Announce,
        previous: Proxy | None = None,
        addresses: Addresses | None = None,
        given: Given | None = None,
        states: str = "",
    ) -> None:
        """Prepares the attempt; `addresses` may have names resolved before, see `queries`. `given` has sockets that
        listen already, and `states` are those of servers, of a process whose place this one takes."""
        self._given = given
        self._configuration = configuration
        self._announce = announce
        self._reactor = reactor
        self._random = random
        self._faults: list[Fault] = []
        settings = configuration.global_
        # HAProxy's manual: tune.http.maxhdr counts the start line, too.
        self._limits = Limits(max_head=settings.bufsize - settings.maxrewrite, max_headers=settings.maxhdr - 1)
        self._first_checks = _first_checks(configuration)
        self._previous = previous
        self._again = previous is not None and configuration is previous.configuration
        files = FilesOfTLS(configuration)
        if addresses is None:
            addresses = previous.addresses if previous is not None and self._again else Addresses()
        trusts = Trusts(previous.trusts if previous is not None else None)
        deadlines = previous.deadlines if previous is not None else Deadlines(reactor)
        maxconn = settings.maxconn or descriptors.clients()
        self._proxy = Proxy(
            configuration,
            poller,
            deadlines,
            previous.places if previous is not None else ConnectionLimit(maxconn),
            LogTargets(settings.log_tag, deadlines, addresses=addresses, host=_host_of(settings.log_host)),
            began=previous.began if previous is not None else deadlines.now(),
            maxconn=maxconn,
            budget=previous.budget if previous is not None else Budget(reactor),
            names=previous.names if previous is not None else Names(reactor),
            departed=previous.departed if previous is not None else Departed(reactor),
            passwords=previous.passwords if previous is not None else Passwords(reactor),
            files=files,
            addresses=addresses,
            trusts=trusts,
            standstills=previous.standstills if previous is not None else Standstills(),
            notices=[] if self._again else list(configuration.notices),
            patterns=previous.patterns if previous is not None and self._again else {},
            answers=previous.answers if previous is not None and self._again else {},
            maps=previous.maps if previous is not None and self._again else {},
        )
        self._saved = SavedStates(settings, [] if self._again else self._proxy.notices, states)
        self._lines = Lines(
            reactor,
            poller,
            deadlines,
            random,
            self._proxy.budget,
            self._limits,
            addresses,
            trusts,
            previous.lines if previous is not None else {},
            announce,
            self._faults,
            self._proxy.notices,
            settings,
        )

    def build(self, *, bind: bool, faults: Iterable[Fault] = ()) -> Proxy:
        """Builds the proxy and, with `bind`, its listening sockets.

        Raises AssemblyError, after closing everything that was opened. It does so in any case when the caller passes
        `faults`.
        """
        self._proxy.addresses.look_up_all(queries(self._configuration, self._previous))
        return run_through(self.building(bind=bind, faults=faults))

    def building(self, *, bind: bool, faults: Iterable[Fault] = ()) -> Steps[Proxy]:
        """Builds the proxy like `build`, in steps. Abandoned before the end, it closes everything that was opened."""
        try:
            proxy = yield from self._building(bind, faults)
            if self._faults:
                found = sorted(self._faults, key=lambda fault: (fault.place.file, fault.place.line))
                raise AssemblyError(found, proxy.notices)
        except BaseException:
            for listener in self._proxy.bound:
                listener.close()
            raise
        return proxy

    def _building(self, bind: bool, faults: Iterable[Fault]) -> Steps[Proxy]:
        self._faults += faults
        proxy = self._proxy
        proxy.stamps = yield from proxy.files.look()  # before any of these files is read
        backends = {}
        self._sections = Sections(
            self._configuration, proxy.addresses, self._faults, [] if self._again else proxy.notices
        )
        answers = Answers(self._configuration.global_.bufsize, {**proxy.answers})
        spelling = spelling_of(self._configuration.global_, self._faults)
        for each in self._configuration.backends.values():
            if not each.disabled:
                backends[each.name] = yield from self._backend(each)
                backends[each.name].errors = answers.pages(each.errors)
                backends[each.name].spelling = spelling if each.spells_for_servers else None
        proxy.backends = list(backends.values())
        _tie(proxy)
        disabled = frozenset(self._configuration.backends).difference(backends)
        authentication = Authentication(self._configuration.user_lists, proxy.passwords)
        self._faults += _unknown_hashes(self._configuration.user_lists.values())
        #: Whether any rule says at which level a line is written.
        self._rules_set_levels = any(_set_levels(self._configuration))
        before = self._previous.tables if self._previous is not None else {}
        proxy.tables = tables_of(self._configuration.tables, before, proxy.deadlines.now, proxy.notices)
        proxy.sweep = Sweep(proxy.tables, proxy.deadlines)
        rule_sets = RuleSets(backends, disabled, {**proxy.patterns}, answers, proxy.tables)
        asked = self._sections.asked
        lookups = Lookups({name: partial(proxy.names.section, each) for name, each in asked.items()})
        environment = dict(self._configuration.global_.environment)
        maps = Maps(proxy.maps if self._again else {}, self._faults)
        yield from maps.load((*self._configuration.frontends.values(), *self._configuration.backends.values()))
        proxy.maps = maps.found
        noting = False
        for section in self._configuration.backends.values():
            noting = noting or notes_in_sessions(section.rules)
            yield
        for settings in self._configuration.frontends.values():
            if settings.disabled:
                continue
            frontend = Frontend(
                settings,
                backends.get(default_backend(settings) or ""),
                proxy.poller,
                proxy.deadlines,
                proxy.places,
                self._limits,
                partial(self._announce, section=f"frontend {settings.name}"),
            )
            proxy.frontends.append(frontend)
            frontend.authentication = authentication
            frontend.maps = maps.found
            frontend.lookups = lookups
            frontend.environment = environment
            frontend.errors = answers.pages(settings.errors)
            frontend.spelling = spelling if settings.spells_for_clients else None
            own = self._configuration.backends.get(settings.name)
            if own is not None and own.place == settings.place:
                frontend.own_backend = own.name
            frontend.backends = backends
            if settings.mode == "tcp":
                frontend.guide = yield from rule_sets.guide(frontend)
            else:
                frontend.routing = yield from rule_sets.routing(frontend)
            frontend.tables = proxy.tables
            frontend.gate = rule_sets.gate(frontend.settings.rules.connection)
            frontend.session_gate = rule_sets.gate(frontend.settings.rules.session)
            frontend.tracks = any(gate is not None and gate.tracks for gate in (frontend.gate, frontend.session_gate))
            frontend.notes_in_sessions = noting or notes_in_sessions(settings.rules)
            frontend.judges_sessions = frontend.tracks or frontend.session_gate is not None
            monitor = rule_sets.monitor(frontend) if frontend.guide is None else None
            targets = self._log_targets(settings.logs, settings.log.tag)
            own_backend = backends.get(frontend.own_backend or "")
            if own_backend is not None:
                frontend.cookie_letters = own_backend.cookie_letters
            if settings.unique_id is not None:
                frontend.unique_id = text_of_items(settings.unique_id)
            if frontend.guide is None:
                frontend.log = access_log(frontend, proxy.places, targets, rules_set_levels=self._rules_set_levels)
            else:
                log = stream_log(frontend, proxy.places, targets, rules_set_levels=self._rules_set_levels)
                frontend.stream_log = log
            if monitor is not None:
                monitor.stand_in()
            frontend.handshakes.log = handshake_log(frontend, targets)
            yield from self._serve(frontend)
            yield
        # Sockets are bound last and together: a client that reaches one listener may try the next, and reading files
        # takes time.
        for frontend in proxy.frontends:
            if bind:
                yield from self._bind(frontend)
            else:
                self._look_up(frontend.settings.binds)
        if self._configuration.global_.ssl_watch is not None:
            proxy.patterns = rule_sets.files
        proxy.answers = answers.files
        self._add_pages(rule_sets)  # before the faults of rules are taken: pages have rules, too
        self._faults += [*answers.faults, *rule_sets.faults]
        proxy.notices += [] if self._again else rule_sets.notices
        for backend in proxy.backends:
            backend.fullconn = backend.settings.fullconn or self._fullconn(backend.name)
            yield
        if not self._again:
            proxy.notices += self._unheard(bind)
        fronts, backs = [each.settings for each in proxy.frontends], [each.settings for each in proxy.backends]
        sections = [(f"frontend {each.name}", each.event_logs, each.log.tag) for each in fronts]
        sections += ((f"backend {each.name}", each.event_logs, each.log_tag) for each in backs)
        proxy.logs.take_events_to(
            self._log_targets(self._configuration.global_.logs),
            {section: self._log_targets(lines, tag) for section, lines, tag in sections},
        )
        return proxy

    def _fullconn(self, backend: str) -> int:
        """Returns a tenth of the clients that may come to this backend at once, rounded up, as in HAProxy."""
        frontends = [each.settings for each in self._proxy.frontends]
        leading = [
            each
            for each in frontends
            if backend in (each.default_backend, *(rule.name.constant for rule in each.use_backends))
        ]
        return (sum(each.maxconn or self._proxy.maxconn for each in leading) + 9) // 10

    def _log_targets(self, lines: tuple[model.LogTarget, ...], tag: str = "") -> list[LogSink]:
        targets: dict[LogSink, None] = {}  # a target that is named twice gets each line once
        for line in lines:
            try:
                targets[self._proxy.logs.open(line, tag)] = None
            except UnknownHost as error:
                fault = Fault(line.place, f"'log': {error}")
                if fault not in self._faults:  # `log global` repeats it
                    self._faults.append(fault)
        return list(targets)

    def _unheard(self, bind: bool) -> Iterable[Notice]:
        """Returns warnings about syslog sockets that take no lines now.

        A container has no /dev/log, and the lines would be lost unnoticed. A check, which may run on another machine,
        warns only of paths that cannot be a socket.
        """
        lines = [*_log_lines(self._configuration)]
        for path in dict.fromkeys(line.path for line in lines if line.kind == "unix"):
            trouble = trouble_with(path)
            if trouble and (bind or trouble == NO_SOCKET):
                place = next(line.place for line in lines if line.path == path)
                yield Notice(
                    "warning",
                    place,
                    f"'log {path}': {trouble}; until that has changed, 1 MB of its lines waits and the rest is lost",
                )

    def _add_pages(self, rule_sets: RuleSets) -> None:
        """Adds statistics pages: a frontend's own page first, then its backend's (after the rules, if it has any)."""
        proxy = self._proxy
        before = self._previous.rates if self._previous is not None else None
        history = before.history if before is not None else None
        rates = Rates(proxy.frontends, proxy.backends, proxy.deadlines, history)
        moments = Moments(Reader(proxy, rates))
        if self._configuration.global_.stats_sockets:
            proxy.rates = rates
        for frontend in [each for each in proxy.frontends if each.guide is None]:
            own = frontend.settings.stats
            places = [(frontend.pages, own, frontend.name)]
            if frontend.routing is not None:
                for route in frontend.routing.routes.values():
                    places.append((route.pages, route.backend.settings.stats, route.backend.name))
            elif frontend.backend is not None:
                places.append((frontend.pages, frontend.backend.settings.stats, frontend.backend.name))
            for pages, page, section in places:
                if page is not None and (page != own or not frontend.pages):
                    pages.append(self._page(page, section, moments, rule_sets))
                    proxy.rates = rates
        sections: list[model.Frontend | model.Backend] = [each.settings for each in proxy.frontends]
        sections += [each.settings for each in proxy.backends]
        if any(uses_service(each) for each in sections):
            global_ = self._configuration.global_
            installation = Installation(
                global_.node or platform.node(), global_.description, len(global_.stats_sockets)
            )
            exporter = Exporter(moments, proxy.logs, installation, tables=proxy.tables)
            for frontend in proxy.frontends:
                frontend.services = dict.fromkeys(SERVICES, exporter)
            proxy.rates = rates

    def _page(self, page: model.StatsPage, section: str, moments: Moments, rule_sets: RuleSets) -> StatsPage:
        global_, proxy = self._configuration.global_, self._proxy
        rules, admin = rule_sets.page(page)
        return StatsPage(
            page,
            moments,
            proxy.logs,
            section=section,
            rules=rules,
            admin=admin,
            users=users_asked([page]),
            orders=partial(obey, proxy) if admin else None,
            names=None if asks_for_host(page.rules) or all(map(asks_for_host, page.admin)) else self._own_names(),
            node=global_.node,
            description=global_.description,
        )

    def _own_names(self) -> set[str]:
        """Returns the names of this machine, and those that it listens on, in small letters."""
        frontends = self._configuration.frontends.values()
        hosts = [bind.address.host for frontend in frontends for bind in frontend.binds]
        return {name.lower() for name in (os.uname().nodename, self._configuration.global_.node, *hosts) if name}

    def _serve(self, frontend: Frontend) -> Steps[None]:
        """Loads the certificates of the frontend's TLS listeners. Unchanged ones are taken over, with the sessions that
        clients may resume."""
        proxy = self._proxy
        previous = self._previous.served.values() if self._previous is not None else ()
        for bind in frontend.settings.binds:
            if bind.tls is None:
                continue
            try:
                served = yield from serving(bind.tls, [*previous, *proxy.served.values()], proxy.trusts)
            except TLSConfigurationError as error:
                self._faults.append(Fault(bind.place, f"bind {bind.address}: {error}"))
                continue
            proxy.served[bind.address] = served
            frontend.handshakes.certificates[bind.address] = served.certificates
            if served not in previous:
                known = self._previous.served.get(bind.address) if self._previous is not None and self._again else None
                said = known.warnings if known is not None else ()
                texts = [f"bind {bind.address}: {text}" for text in served.warnings if text not in said]
                notices = [Notice("warning", bind.place, text) for text in texts]
                proxy.notices += [each for each in notices if each not in proxy.notices]

    def _bind(self, frontend: Frontend) -> Steps[None]:
        clients = frontend.settings.maxconn
        for bind in frontend.settings.binds:
            yield
            try:
                at = self._resolved(bind.address)
                v6_only = bind.options.v6_only or self._v4_stands_beside(bind)
                listener = self._taken_over(bind, at)
                if listener is None:
                    backlog = backlog_of(bind, clients)
                    given = given_socket(self._given, bind, backlog, at)
                    bound = given or bind_socket(bind, backlog, v6_only, at)
                else:
                    listener.may_adopt(bind)
                    self._proxy.notices += _fixed(bind, listener, v6_only)
            except ListenError as error:
                self._faults.append(Fault(bind.place, f"{error}{self._in_the_way(bind)}"))
                continue
            except OSError as error:
                self._faults.append(Fault(bind.place, f"cannot listen on {bind.address}: {error.strerror}"))
                continue
            if listener is None:
                # A listener outlives this attempt, so it must hold no reference to it.
                announce = partial(self._announce, section=f"frontend {frontend.settings.name}")
                listener = Listener(
                    self._proxy.poller,
                    self._proxy.deadlines,
                    bind,
                    bound,
                    lambda text, announce=announce: announce("alert", text),  # type: ignore[misc]
                    descriptors.last_for_clients(),
                )
                listener.backlog = backlog_of(bind, clients)
                self._proxy.bound.append(listener)
            self._proxy.listeners.append((frontend, listener))

    def _in_the_way(self, bind: model.Bind) -> str:
        """Returns a hint when this daemon itself listens at another address of the same port, "" otherwise.

        That listener stays open until the reload has succeeded.
        """
        for _, listener in self._previous.listeners if self._previous is not None else ():
            address = listener.bind.address
            if address.kind == bind.address.kind == "tcp" and listener.port == bind.address.port != 0:
                what = "what overlaps with that needs a restart, or a reload that ends it before"
                return f" (we listen on {address}: {what})"
        return ""

    def _resolved(self, address: model.ListenAddress) -> Any:
        """Returns the address to listen on, for the socket; None for every address or no IP address. Raises OSError."""
        if not address.host:
            return None
        query = _query(address)
        return self._proxy.addresses.find("bind", address.host, address.port, query.kind, query.family)[1]

    def _look_up(self, binds: Iterable[model.Bind]) -> None:
        """Collects those faults of `_bind` that can be found without opening a port: names that cannot be resolved,
        users and groups that do not exist, paths where no socket can be. (Descriptors are given to the daemon, and not
        to who checks.)"""
        for bind in binds:
            try:
                self._resolved(bind.address)
                demand_bindable(bind)
            except OSError as error:
                self._faults.append(Fault(bind.place, f"cannot listen on {bind.address}: {error.strerror}"))

    def _v4_stands_beside(self, bind: model.Bind) -> bool:
        """Tells whether another listener has an IPv4 address with the same port; an IPv6 wildcard must then leave IPv4
        free."""
        others = [each.address for frontend in self._configuration.frontends.values() for each in frontend.binds]
        return any(each.kind == "tcp" and not each.v6 and each.port == bind.address.port for each in others)

    def _taken_over(self, bind: model.Bind, at: Any) -> Listener | None:
        """Returns the previous proxy's open listener at this address, unless it is taken or its name now resolves to
        another address."""
        taken = [listener for _, listener in self._proxy.listeners]
        for _, listener in self._previous.listeners if self._previous is not None else ():
            same = listener.bind.address == bind.address and listener not in taken and listener.stands
            if same and (at is None or listener.socket.getsockname()[0] == at[0]):
                return listener
        return None

    def _backend(self, settings: model.Backend) -> Steps[Backend]:
        proxy = self._proxy
        lines = []
        saved = self._saved.of(settings)
        for each in settings.servers:
            lines.append(self._lines.line(settings, each, saved.get(each.name)))
            yield
        proxy.lines.update((line.server.full_name, line) for line in lines)
        announce = partial(self._announce, section=f"backend {settings.name}")
        servers = [line.server for line in lines]
        if settings.hash_type.consistent and settings.balance.algorithm in HASHES:
            for server in servers:
                nodes_of(server)
                yield
        for balance in filling(Parts(settings, servers, hash_of(settings), self._random)):  # noqa: B007 (the last one)
            yield
        backend = Backend(settings, servers, proxy.deadlines.now, announce, balance=balance)
        backend.slow_starts = {
            server: SlowStart(server, self._reactor, backend.slow_start_advanced)
            for server in servers
            if server.settings.slowstart
        }
        if backend.slow_starts:
            backend.weigh_together = Together(self._reactor, backend.weigh_anew)
        self._cookies_differ(backend)
        checked = [line for line in lines if line.server.settings.check is not None]
        for line in checked:
            line.checker = self._lines.checker(backend, line, next(self._first_checks))
            backend.checkers.append(line.checker)
            yield
        asked = [line for line in lines if line.server.settings.agent is not None]
        for line in asked:
            line.agent = self._lines.agent(backend, line, next(self._first_checks))
            backend.agents.append(line.agent)
            yield
        observers = {
            line.server: Observer(line.server.settings.observe, line.checker)
            for line in checked
            if line.server.settings.observe is not None and line.checker is not None
        }
        if observers:
            backend.observers = observers
        backend.groups = groups_of(backend, self._sections, proxy.names, proxy.departed)
        self._restore(backend, lines, saved)
        return backend

    def _restore(self, backend: Backend, lines: Iterable[Line], saved: Mapping[str, SavedState]) -> None:
        """Gives servers that there were not before a reload the states that were saved."""
        before = self._previous.lines if self._previous is not None else {}
        new = [line for line in lines if line.server.name in saved and line.server.full_name not in before]
        for line in new:
            restore(line.server, saved[line.server.name], line.checker, self._proxy.deadlines.now())
            if line.agent is not None:
                state = saved[line.server.name].agent_state
                line.agent.paused = state & (CONFIGURED | ENABLED) == CONFIGURED
        if new:
            backend.learn_limits()

    def _cookies_differ(self, backend: Backend) -> None:
        """Warns of servers with the same dynamic cookie, which therefore lead to the first of them."""
        for cookie, servers in backend.cookies.items():
            for server in servers[1:]:
                if server.settings.cookie is None and not self._again:
                    text = (
                        f"server {server.full_name} has the address of '{servers[0].name}', and so the same dynamic"
                        f" cookie {cookie.decode()}: give one of them a 'cookie' of its own"
                    )
                    self._proxy.notices.append(Notice("warning", server.settings.place, text))


def _unknown_hashes(lists: Iterable[UserList]) -> Iterator[Fault]:
    for each in lists:
        for user in each.users.values():
            if user.hashed and user.password is not None and (trouble := trouble_with_hash(user.password)):
                yield Fault(user.place, f"userlist '{each.name}': the 'password' of user '{user.name}': {trouble}")


def _first_checks(configuration: model.Configuration) -> Iterator[float]:
    """Returns the seconds before each first check. They are spread over the shortest interval, as in HAProxy, all
    backends together."""
    backends = [backend for backend in configuration.backends.values() if not backend.disabled]
    servers = [server for backend in backends for server in backend.servers]
    intervals = [each.inter for server in servers for each in (server.check, server.agent) if each is not None]
    total, shortest = len(intervals), min((each for each in intervals if each > 1.0), default=1.0)
    return (number * shortest / total for number in range(total))


def _host_of(said: str) -> str:
    """Returns the name of this host in lines of the log; "" for none."""
    return socket.gethostname() if said == THIS_HOST else said


def _set_levels(configuration: model.Configuration) -> Iterable[bool]:
    """Tells of each rule whether it says at which level a line of the log is written."""
    of_frontends = [section.rules for section in configuration.frontends.values()]
    for rules in (*of_frontends, *(section.rules for section in configuration.backends.values())):
        for rule in (*rules.request, *rules.response, *rules.after, *rules.content, *rules.response_content):
            yield isinstance(rule.action, SetLogLevel)


def _tie(proxy: Proxy) -> None:
    """Ties the servers that `track` others to these, whichever backend they are of; and lets backends end the requests
    of a server where `on-marked-down` or `on-marked-up` ask for it."""
    of = {server: backend for backend in proxy.backends for server in backend.servers}
    ties = {server: proxy.lines[server.settings.track].server for server in of if server.settings.track in proxy.lines}
    for server in sorted(ties, key=lambda each: _depth(each, ties)):
        server.track(ties[server], proxy.deadlines.now())
    for backend in {of[server] for server in ties.values()}:
        backend.tell_tracker = lambda tracker: of[tracker].tracked_changed(tracker)
    for backend in {of[server] for server in ties}:
        backend.use_usable()
    for server, backend in of.items():
        if server.settings.ends_when_down or server.settings.ends_backups_when_up:
            backend.end_sessions = partial(_end_sessions, proxy)


def _depth(server: Server, ties: Mapping[Server, Server]) -> int:
    """Returns how many servers stand between this one and the one whose checks decide."""
    depth = 0
    while server in ties:
        server = ties[server]
        depth += 1
    return depth


def _end_sessions(proxy: Proxy, server: Server, letter: str) -> None:
    """Ends what this server carries, also where a reload has left it to a proxy before."""
    living = (*proxy.before, proxy)
    lines = [one.lines[server.full_name] for one in living if server.full_name in one.lines]
    servers = [line.server for line in lines if line.server.target == server.target]
    for frontend in [frontend for one in living for frontend in one.frontends]:
        for each in servers:
            frontend.end_sessions(each, letter)


#: What is asked for the addresses of a log's target.
_TYPES = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def queries(configuration: model.Configuration, previous: Proxy | None = None) -> Iterable[Query]:
    """Returns all names that the C library has to resolve for a configuration, which takes the place of `previous`."""
    lines = previous.lines if previous is not None else {}
    for frontend in configuration.frontends.values():
        if not frontend.disabled:
            yield from (_query(bind.address) for bind in frontend.binds if bind.address.host)
    yield from (Query(line.host, _TYPES[line.kind]) for line in _log_lines(configuration) if line.kind in _TYPES)
    for section in configuration.resolvers.values():
        yield from (Query(each.host, socket.SOCK_DGRAM) for each in section.nameservers)
    for backend in configuration.backends.values():
        for server in backend.servers if not backend.disabled else ():
            if server.kind == "tcp":
                if asks_libc(server, lines.get(f"{backend.name}/{server.name}")):
                    yield Query(server.host, socket.SOCK_STREAM)
                if server.check is not None and server.check.addr is not None:
                    yield Query(server.check.addr, socket.SOCK_STREAM)
                if server.agent is not None and server.agent.addr is not None:
                    yield Query(server.agent.addr, socket.SOCK_STREAM)


def _log_lines(configuration: model.Configuration) -> Iterable[model.LogTarget]:
    yield from configuration.global_.logs
    for frontend in configuration.frontends.values():
        if not frontend.disabled:
            yield from (*frontend.logs, *frontend.event_logs)
    for backend in configuration.backends.values():
        if not backend.disabled:
            yield from backend.event_logs


def _query(address: model.ListenAddress) -> Query:
    return Query(address.host, socket.SOCK_STREAM, socket.AF_INET6 if address.v6 else socket.AF_INET)


def _fixed(bind: model.Bind, listener: Listener, v6_only: bool) -> Iterable[Notice]:
    """Returns notices about settings of a listener taken over that its bound socket cannot change (ipv6(7))."""
    address = bind.address
    if address.kind == "tcp" and address.v6:
        is_only = bool(listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        if is_only and not v6_only and not address.host:
            text = "takes no IPv4 clients, as when an IPv4 address of this port stood beside it, until the next start"
            yield Notice("warning", bind.place, f"bind {address}: {text}")
