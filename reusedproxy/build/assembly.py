"""Builds running objects from a configuration, all or nothing: contexts, addresses, pools, backends, sockets,
frontends.

Knows every layer's constructor, and collects all faults before it gives up, so that an operator sees them at once.
Starts nothing: the result is bound but does not accept, and its pools open no connection yet.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from attrs import Factory, define, field
from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.moving import Departed
from reusedproxy.build.announce import Announce
from reusedproxy.build.answers import Answers
from reusedproxy.build.asked import calls_in
from reusedproxy.build.backends import Backends
from reusedproxy.build.certificates import FilesOfTLS, Served, Stamps, serving
from reusedproxy.build.deeds import notes_in_sessions
from reusedproxy.build.in_place import going_on
from reusedproxy.build.issuers import finding_issuers
from reusedproxy.build.listeners import Listeners, query_of
from reusedproxy.build.log_lines import LogLines, log_lines
from reusedproxy.build.maps import Maps
from reusedproxy.build.pages import add_pages
from reusedproxy.build.patterns import Patterns
from reusedproxy.build.resolution import Sections
from reusedproxy.build.revocations import Source, fetches_of, sources_of
from reusedproxy.build.rule_sets import RuleSets, default_backend
from reusedproxy.build.saved_states import SavedStates
from reusedproxy.build.servers.addresses import asks_libc
from reusedproxy.build.servers.line import Line
from reusedproxy.build.servers.lines import Lines
from reusedproxy.build.spelling import Spelling, spelling_of
from reusedproxy.build.standbys import stand_by
from reusedproxy.build.tables import Sweep, counts_requests, judged_from, tables_of
from reusedproxy.build.ties import tie
from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.frequencies import Frequencies
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config import model
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.logs import THIS_HOST
from reusedproxy.config.model.users import UserList
from reusedproxy.config.model.values import Notice
from reusedproxy.config.rules.actions import SetVariable
from reusedproxy.config.rules.log_actions import SetLogLevel
from reusedproxy.config.rules.outcomes import read_sink
from reusedproxy.exchanges.authentication import Authentication
from reusedproxy.measures.list_fetches import ListFetches
from reusedproxy.net import descriptors
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.binding import Given
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import CLOSED, Listener
from reusedproxy.net.names.once import Lookups
from reusedproxy.net.names.section import Names
from reusedproxy.net.passwords import Passwords
from reusedproxy.net.passwords import trouble_with as trouble_with_hash
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Query
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.net.tls.issuers import NO_ISSUERS
from reusedproxy.net.tls.svid import SVID
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.net.watchdog import Standstills
from reusedproxy.operators.logs.access import access_log, stream_log
from reusedproxy.operators.logs.handshakes import handshake_log
from reusedproxy.operators.logs.orders import OrderLog
from reusedproxy.operators.logs.targets import LogTargets
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.maps import Map
from reusedproxy.rules.pattern_files import PatternFile
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.formats import text_of_items
from reusedproxy.rules.samples.process_fetches import LAST_RULE
from reusedproxy.sessions.process import set_for_process
from reusedproxy.tables.table import Table
from reusedproxy.wire.heads import Limits

if TYPE_CHECKING:
    from reusedproxy.operators.view.rates import Rates


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
    #: Tells the log who has ordered what, through all reloads.
    order_log: OrderLog = field(kw_only=True)
    #: Server lines by backend/server.
    lines: dict[str, Line] = Factory(dict)
    #: Certificates of TLS listeners, by frontend and address.
    served: dict[tuple[str, model.ListenAddress], Served] = Factory(dict)
    files: FilesOfTLS = field(kw_only=True)
    #: Stamps of these files, taken before the files were read.
    stamps: Stamps = ()
    addresses: Addresses = Factory(Addresses)
    #: Stick tables by name, through all reloads.
    tables: dict[str, Table] = Factory(dict)
    #: Keeps them free of what is out of time, while the proxy runs.
    sweep: Sweep | None = None
    #: The rates that rules ask for, while the proxy runs.
    frequencies: Frequencies | None = None
    #: Patterns of rules, by the names of their files, kept for when only files of TLS are read again (`ssl-watch`), and
    #: for operators who change them.
    patterns: dict[str, PatternFile] = Factory(dict)
    #: Contents of the files of error pages and answers; they are not read again with files of TLS either.
    answers: dict[str, bytes] = Factory(dict)
    #: Maps by the names of their files, with what rules have changed in them; kept likewise.
    maps: dict[str, Map] = Factory(dict)
    #: The variables of the process (scope `proc`), by their names.
    variables: dict[str, Sample] = Factory(dict)
    #: The names of those that operators have set.
    ordered_variables: set[str] = Factory(set)
    #: Frontends that operators have disabled or shut down stay so: files of TLS are read again, or a server is added,
    #: and nobody has asked for a reload.
    keeps_closed: bool = False
    #: Servers that the file names, and that operators have deleted, by backend/server.
    deleted: set[str] = Factory(set)
    #: CAs and revocation lists that have been read.
    trusts: Trusts = Factory(Trusts)
    #: The files of revocation lists that are fetched, by their names; and what became of that, by URL.
    list_sources: dict[str, Source] = Factory(dict)
    list_fetches: dict[str, ListFetches] = Factory(dict)
    #: Files of TLS that have changed since it was made, and were refused.
    refused_files: list[str] = Factory(list)
    notices: list[Notice] = Factory(list)
    #: Standstills of the event loop.
    standstills: Standstills = Factory(Standstills)
    #: Measured only when a statistics page shows them.
    rates: Rates | None = None
    #: Those that reloads have replaced and that still have clients, the oldest first.
    before: Sequence[Proxy] = ()

    @property
    def open_listeners(self) -> list[tuple[Frontend, Listener]]:
        """Returns those that are not closed: an operator may have shut down their frontend."""
        return [each for each in self.listeners if each[1].state != CLOSED]

    @property
    def pools(self) -> list[HTTPConnectionPool]:
        return [line.pool for line in self.lines.values()]


@define
class _Shared:
    """Holds what all frontends of one configuration share. `backends_note` tells that rules of a backend set variables
    of sessions; `rules_set_levels`, that a rule says at which level a line of the log is written. `asked` are the
    sample fetches and converters that it names, `sinks` write the lines of `debug`."""

    backends: dict[str, Backend]
    answers: Answers
    rule_sets: RuleSets
    authentication: Authentication
    lookups: Lookups
    environment: dict[str, str]
    backends_note: bool
    rules_set_levels: bool
    asked: frozenset[str]
    sinks: Mapping[str, Callable[[str], None]]


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
        in_memory: FilesInMemory | None = None,
        svid: SVID | None = None,
    ) -> None:
        """Prepares the attempt; `addresses` may have names resolved before, see `queries`. `given` has sockets that
        listen already, and `states` are those of servers, of a process whose place this one takes. What is `in_memory`
        takes the place of files, `svid` is what "@spiffe" stands for."""
        self._given = given
        self._configuration = configuration
        self._announce = announce
        self._reactor = reactor
        self._random = random
        self._faults: list[Fault] = []
        #: How names of headers are spelled where that is asked for.
        self._spelling: Spelling | None = None
        settings = configuration.global_
        self._limits = limits_of(configuration)
        self._previous = previous
        #: Those that the servers of this configuration go on with.
        self._lines_before = going_on(previous.lines, previous.deleted, configuration) if previous is not None else {}
        self._again = previous is not None and configuration is previous.configuration
        # It has parsed the lists, and knows when they have changed.
        files = previous.files if previous is not None and self._again else FilesOfTLS(configuration)
        if addresses is None:
            addresses = previous.addresses if previous is not None and self._again else Addresses()
        trusts = Trusts(previous.trusts if previous is not None else None, in_memory, svid)
        deadlines = previous.deadlines if previous is not None else Deadlines(reactor)
        maxconn = settings.maxconn or descriptors.clients()
        #: What has been built so far.
        self.proxy = Proxy(
            configuration,
            poller,
            deadlines,
            previous.places if previous is not None else ConnectionLimit(maxconn),
            LogTargets(
                settings.log_tag,
                deadlines,
                addresses=addresses,
                host=_host_of(settings.log_host),
                before=None if previous is None else previous.logs,
                batches=poller,
            ),
            began=previous.began if previous is not None else deadlines.now(),
            maxconn=maxconn,
            budget=previous.budget if previous is not None else Budget(reactor),
            names=previous.names if previous is not None else Names(reactor),
            departed=previous.departed if previous is not None else Departed(reactor),
            passwords=previous.passwords if previous is not None else Passwords(reactor),
            order_log=previous.order_log if previous is not None else OrderLog(reactor, announce),
            files=files,
            addresses=addresses,
            trusts=trusts,
            standstills=previous.standstills if previous is not None else Standstills(),
            notices=[] if self._again else list(configuration.notices),
            patterns=previous.patterns if previous is not None and self._again else {},
            answers=previous.answers if previous is not None and self._again else {},
            maps=previous.maps if previous is not None and self._again else {},
            variables=previous.variables if previous is not None and self._again else {},
            ordered_variables=previous.ordered_variables if previous is not None and self._again else set(),
            deleted=previous.deleted if previous is not None and self._again else set(),
            keeps_closed=previous is not None and previous.configuration.global_ is settings,
        )
        self._log_lines = LogLines(configuration, self.proxy.logs, self._faults)
        self._saved = SavedStates(settings, [] if self._again else self.proxy.notices, states)
        self._lines = Lines(
            reactor,
            poller,
            deadlines,
            random,
            self.proxy.budget,
            self._limits,
            addresses,
            trusts,
            self._lines_before,
            announce,
            self._faults,
            self.proxy.notices,
            settings,
            self.proxy.variables,
        )

    def build(self, *, bind: bool, faults: Iterable[Fault] = ()) -> Proxy:
        """Builds the proxy and, with `bind`, its listening sockets.

        Raises AssemblyError, after closing everything that was opened. It does so in any case when the caller passes
        `faults`.
        """
        self.proxy.addresses.look_up_all(queries(self._configuration, self._previous))
        return run_through(self.building(bind=bind, faults=faults))

    def building(self, *, bind: bool, faults: Iterable[Fault] = (), serving: bool = False) -> Steps[Proxy]:
        """Builds the proxy like `build`, in steps. Abandoned before the end, it closes everything that was opened.

        Where clients are served meanwhile, what holds up the event loop is done in threads, whose end steps wait for.
        """
        try:
            proxy = yield from self._building(bind, faults, serving)
            if self._faults:
                # The servers of a template have the same.
                found = sorted(dict.fromkeys(self._faults), key=lambda fault: (fault.place.file, fault.place.line))
                raise AssemblyError(found, proxy.notices)
        except BaseException:
            for listener in self.proxy.bound:
                listener.close()
            raise
        return proxy

    def _building(self, bind: bool, faults: Iterable[Fault], serving: bool) -> Steps[Proxy]:
        self._faults += faults
        proxy, configuration = self.proxy, self._configuration
        proxy.stamps = yield from proxy.files.look()  # before any of these files is read
        if serving:
            yield from proxy.trusts.reading(proxy.files.crl_files, self._reactor, proxy.files.beside_lists)
        before = NO_ISSUERS if self._previous is None else self._previous.trusts.issuers
        proxy.trusts.issuers = yield from finding_issuers(
            configuration.global_, before, self._faults, proxy.notices, again=self._again
        )
        sections = Sections(configuration, proxy.addresses, self._faults, [] if self._again else proxy.notices)
        answers = Answers(configuration.global_.bufsize, {**proxy.answers})
        self._spelling = spelling_of(configuration.global_, self._faults)
        backends = yield from self._backends(sections, answers)
        proxy.backends = list(backends.values())
        tie(proxy)
        unused = [*stand_by(configuration, proxy.backends, self._reactor)]
        proxy.notices += [] if self._again else unused
        tables = self._previous.tables if self._previous is not None else {}
        proxy.list_sources = sources_of(configuration, self._faults)
        fetches = self._previous.list_fetches if self._previous is not None else {}
        proxy.list_fetches = fetches_of(proxy.list_sources, fetches)
        proxy.tables = tables_of(configuration.tables, tables, proxy.deadlines.now, proxy.notices)
        proxy.sweep = Sweep(proxy.tables, proxy.deadlines)
        shared = yield from self._shared(backends, answers, sections)
        if not self._again:
            self._set_variables()
        rule_sets = shared.rule_sets
        for settings in configuration.frontends.values():
            if not settings.disabled:
                yield from self._frontend(settings, shared)
                yield
        proxy.frequencies = Frequencies(shared.asked, proxy.frontends, proxy.backends, proxy.deadlines)
        yield from self._listen(bind)
        proxy.patterns = rule_sets.patterns.files
        proxy.answers = answers.files
        # Before the faults of rules are taken: pages have rules, too.
        rates = self._previous.rates if self._previous is not None else None
        proxy.rates = add_pages(configuration, proxy, proxy.logs, rule_sets, rates)
        for frontend in proxy.frontends:
            frontend.set_guard()
        self._faults += [*answers.faults, *rule_sets.patterns.faults]
        proxy.notices += [] if self._again else rule_sets.patterns.notices
        for backend in proxy.backends:
            backend.fullconn = backend.settings.fullconn or self._fullconn(backend.name)
            yield
        if not self._again:
            proxy.notices += self._log_lines.unheard(bind)
        self._log_lines.take_events(
            [each.settings for each in proxy.frontends], [each.settings for each in proxy.backends]
        )
        yield from proxy.trusts.preparing(self._reactor if serving else None)
        return proxy

    def _backends(self, sections: Sections, answers: Answers) -> Steps[dict[str, Backend]]:
        """Builds the backends that are not disabled, by name."""
        proxy = self.proxy
        building = Backends(
            self._configuration,
            self._reactor,
            self._random,
            proxy.deadlines.now,
            self._announce,
            self._lines,
            sections,
            self._saved,
            proxy.names,
            proxy.departed,
            self._lines_before,
            proxy.lines,
            None if self._again else proxy.notices,
        )
        backends = {}
        for each in self._configuration.backends.values():
            if not each.disabled:
                backends[each.name] = yield from building.build(each)
                backends[each.name].errors = answers.pages(each.errors)
                backends[each.name].spelling = self._spelling if each.spells_for_servers else None
        return backends

    def _shared(self, backends: dict[str, Backend], answers: Answers, sections: Sections) -> Steps[_Shared]:
        """Makes what the frontends share, and reads the files of maps and patterns."""
        proxy, configuration = self.proxy, self._configuration
        self._faults += _unknown_hashes(configuration.user_lists.values())
        maps = Maps(proxy.maps if self._again else {}, self._faults)
        in_use = (*configuration.frontends.values(), *configuration.backends.values())
        yield from maps.load(in_use)
        proxy.maps = maps.found
        patterns = Patterns({**proxy.patterns}, configuration.user_lists)
        yield from patterns.load(in_use)
        asked: set[str] = set()
        debugged: set[str] = set()
        for each in in_use:
            calls = [*calls_in(each)]
            asked.update(call.name for call in calls)
            debugged.update(read_sink(call.arguments) for call in calls if call.name == "debug")
            yield
        backends_note = False
        for section in configuration.backends.values():
            backends_note = backends_note or notes_in_sessions(section)
            yield
        disabled = frozenset(configuration.backends).difference(backends)
        return _Shared(
            backends,
            answers,
            RuleSets(backends, disabled, patterns, answers, proxy.tables, not asked.isdisjoint(LAST_RULE)),
            Authentication(configuration.user_lists, proxy.passwords),
            Lookups({name: partial(proxy.names.section, each) for name, each in sections.asked.items()}),
            dict(configuration.global_.environment),
            backends_note,
            any(_set_levels(configuration)),
            frozenset(asked),
            {sink: proxy.logs.debugging(sink) for sink in sorted(debugged)},
        )

    def _set_variables(self) -> None:
        """Sets the variables of the process as the file says, so that nothing stays of those before."""
        proxy, settings = self.proxy, self._configuration.global_
        uptime = proxy.deadlines.now() - proxy.began
        for rule in settings.variables:
            assert isinstance(rule.action, SetVariable)
            try:
                set_for_process(rule.action, proxy.variables, settings, uptime)
            except Unevaluated as unevaluated:
                self._faults.append(Fault(rule.place, f"'{rule.words}': {unevaluated}"))

    def _frontend(self, settings: model.Frontend, shared: _Shared) -> Steps[None]:
        """Builds one frontend, and loads the certificates of its listeners."""
        proxy, backends, rule_sets = self.proxy, shared.backends, shared.rule_sets
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
        frontend.authentication = shared.authentication
        frontend.maps = proxy.maps
        frontend.variables = proxy.variables
        frontend.lists = rule_sets.patterns.edited
        frontend.lookups = shared.lookups
        frontend.sinks = shared.sinks
        frontend.environment = shared.environment
        frontend.process_began = proxy.began
        frontend.errors = shared.answers.pages(settings.errors)
        frontend.spelling = self._spelling if settings.spells_for_clients else None
        own = self._configuration.backends.get(settings.name)
        if own is not None and own.place == settings.place:
            frontend.own_backend = own.name
        frontend.backends = backends
        frontend.routing = yield from rule_sets.routing(frontend)
        if settings.mode == "tcp":
            frontend.guide = yield from rule_sets.guide(frontend)
        frontend.tables = proxy.tables
        frontend.judged_from = judged_from(self._configuration.tables.values())
        frontend.gate = rule_sets.gate(frontend.settings.rules.connection)
        frontend.session_gate = rule_sets.gate(frontend.settings.rules.session)
        frontend.tracks = any(gate is not None and gate.tracks for gate in (frontend.gate, frontend.session_gate))
        frontend.counts_requests = counts_requests(settings.rules, proxy.tables)
        frontend.notes_in_sessions = shared.backends_note or notes_in_sessions(settings)
        carries = frontend.gate is not None and frontend.gate.sets
        frontend.judges_sessions = frontend.tracks or carries or frontend.session_gate is not None
        monitor = rule_sets.monitor(frontend) if frontend.guide is None else None
        targets, set_levels = self._log_lines.targets(settings.logs, settings.log.tag), shared.rules_set_levels
        own_backend = backends.get(frontend.own_backend or "")
        if own_backend is not None:
            frontend.cookie_letters = own_backend.cookie_letters
        if settings.unique_id is not None:
            frontend.unique_id = text_of_items(settings.unique_id)
        if frontend.guide is None or frontend.routing is not None:
            frontend.log = access_log(
                frontend, proxy.places, targets, rules_set_levels=set_levels, gathering=proxy.logs.gathering
            )
        if frontend.guide is not None:
            frontend.stream_log = stream_log(
                frontend, proxy.places, targets, rules_set_levels=set_levels, gathering=proxy.logs.gathering
            )
        if monitor is not None:
            monitor.stand_in()
        frontend.handshakes.log = handshake_log(frontend, targets)
        yield from self._serve(frontend)

    def _listen(self, bind: bool) -> Steps[None]:
        """Finds or binds the sockets of all frontends; without `bind`, only checks what can be known before.

        That comes last, and for all together: a client that reaches one listener may try the next, and reading files
        takes time.
        """
        proxy = self.proxy
        listeners = Listeners(
            self._configuration,
            proxy.poller,
            proxy.deadlines,
            proxy.addresses,
            self._announce,
            self._given,
            self._previous.open_listeners if self._previous is not None else (),
            proxy.listeners,
            proxy.bound,
            self._faults,
            proxy.notices,
            opens=not proxy.keeps_closed,
        )
        shut = self._shut_frontends()
        for frontend in proxy.frontends:
            if frontend.name in shut:
                frontend.shut = True
            elif bind:
                yield from listeners.bind(frontend)
            else:
                listeners.look_up(frontend.settings.binds)

    def _shut_frontends(self) -> set[str]:
        """Returns the frontends that an operator has shut down, and that remain so."""
        if self._previous is None or not self.proxy.keeps_closed:
            return set()
        return {each.name for each in self._previous.frontends if each.shut}

    def _fullconn(self, backend: str) -> int:
        """Returns a tenth of the clients that may come to this backend at once, rounded up, as in HAProxy."""
        frontends = [each.settings for each in self.proxy.frontends]
        leading = [
            each
            for each in frontends
            if backend in (each.default_backend, *(rule.name.constant for rule in each.use_backends))
        ]
        return (sum(each.maxconn or self.proxy.maxconn for each in leading) + 9) // 10

    def _serve(self, frontend: Frontend) -> Steps[None]:
        """Loads the certificates of the frontend's TLS listeners. Unchanged ones are taken over, with the sessions that
        clients may resume."""
        proxy = self.proxy
        previous = self._previous.served.values() if self._previous is not None else ()
        for bind in frontend.settings.binds:
            if bind.tls is None:
                continue
            try:
                served = yield from serving(bind.tls, [*previous, *proxy.served.values()], proxy.trusts)
            except TLSConfigurationError as error:
                self._faults.append(Fault(bind.place, f"bind {bind.address}: {error}"))
                continue
            key = (frontend.name, bind.address)
            proxy.served[key] = served
            frontend.handshakes.certificates[bind.address] = served.certificates
            if served not in previous:
                known = self._previous.served.get(key) if self._previous is not None and self._again else None
                said = known.warnings if known is not None else ()
                texts = [f"bind {bind.address}: {text}" for text in served.warnings if text not in said]
                notices = [Notice("warning", bind.place, text) for text in texts]
                proxy.notices += [each for each in notices if each not in proxy.notices]


def _unknown_hashes(lists: Iterable[UserList]) -> Iterator[Fault]:
    for each in lists:
        for user in each.users.values():
            if user.hashed and user.password is not None and (trouble := trouble_with_hash(user.password)):
                yield Fault(user.place, f"userlist '{each.name}': the 'password' of user '{user.name}': {trouble}")


def _host_of(said: str) -> str:
    """Returns the name of this host in lines of the log; "" for none."""
    return socket.gethostname() if said == THIS_HOST else said


def _set_levels(configuration: model.Configuration) -> Iterable[bool]:
    """Tells of each rule whether it says at which level a line of the log is written."""
    of_frontends = [section.rules for section in configuration.frontends.values()]
    for rules in (*of_frontends, *(section.rules for section in configuration.backends.values())):
        for rule in (*rules.request, *rules.response, *rules.after, *rules.content, *rules.response_content):
            yield isinstance(rule.action, SetLogLevel)


#: What is asked for the addresses of a log's target.
_TYPES = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def queries(configuration: model.Configuration, previous: Proxy | None = None) -> Iterable[Query]:
    """Returns all names that the C library has to resolve for a configuration, which takes the place of `previous`."""
    lines = previous.lines if previous is not None else {}
    for frontend in configuration.frontends.values():
        if not frontend.disabled:
            yield from (query_of(bind.address) for bind in frontend.binds if bind.address.host)
    yield from (Query(line.host, _TYPES[line.kind]) for line in log_lines(configuration) if line.kind in _TYPES)
    for section in configuration.resolvers.values():
        yield from (Query(each.host, socket.SOCK_DGRAM) for each in section.nameservers)
    for backend in configuration.backends.values():
        for server in backend.servers if not backend.disabled else ():
            yield from queries_of(server, lines.get(f"{backend.name}/{server.name}"))


def queries_of(server: model.Server, previous: Line | None = None) -> Iterable[Query]:
    """Returns the names that the C library has to resolve for a server, and for its checks."""
    if server.kind != "tcp":
        return
    if asks_libc(server, previous):
        yield Query(server.host, socket.SOCK_STREAM)
    if server.check is not None and server.check.addr is not None:
        yield Query(server.check.addr, socket.SOCK_STREAM)
    if server.agent is not None and server.agent.addr is not None:
        yield Query(server.agent.addr, socket.SOCK_STREAM)


def limits_of(configuration: model.Configuration) -> Limits:
    """Returns the bounds of the heads that are read."""
    settings = configuration.global_
    upgrades = any(each.upgrade_with_body for each in configuration.backends.values())
    # HAProxy's manual: tune.http.maxhdr counts the start line, too.
    # Less than usual would only have rules see less.
    buffer = max(settings.bufsize, Limits().buffer)
    most = settings.bufsize - settings.maxrewrite
    return Limits(most, settings.maxhdr - 1, buffer, upgrades, settings.any_method_with_body)
