"""Builds one `server` line: its address, TLS, pool and checks; at a reload it takes over those that are unchanged.

Knows the constructors of a server's parts. Starts nothing, and must never know frontends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.external import ExternalRun
from reusedproxy.backends.checks.requests import request
from reusedproxy.backends.saved_states import SavedState, saved_service
from reusedproxy.backends.server import Server, keeps_clear
from reusedproxy.build.announce import Announce
from reusedproxy.build.balancing import node_seed
from reusedproxy.build.certificates import Stamps, not_valid_yet, server_stamps
from reusedproxy.build.servers.addresses import NOWHERE, FirstAddresses, goes_on, may_be_ordered
from reusedproxy.build.servers.announcing import announces_client, announces_itself
from reusedproxy.build.servers.connections import (
    Pools,
    constant_name,
    name_of,
    place_of,
    reach_of,
)
from reusedproxy.build.servers.elsewhere import Elsewhere, feeds_pool
from reusedproxy.build.servers.identities import Identities, loading
from reusedproxy.build.servers.line import Identity, Line
from reusedproxy.build.servers.socket_notices import socket_notices
from reusedproxy.build.step_dialers import StepDialers, with_port
from reusedproxy.config import model
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.sockets import ServerSocket
from reusedproxy.config.model.values import Notice
from reusedproxy.config.rules.samples import CLIENT_BYTES
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.names.messages import Service
from reusedproxy.net.outgoing import options_of
from reusedproxy.net.poller import Poller
from reusedproxy.net.slices import Steps
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.named import naming
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.rules.facts import Sample
from reusedproxy.wire.heads import Limits

#: Seconds for TCP and TLS when `timeout connect` is unset; HAProxy waits as long as the kernel does.
CONNECT_TIMEOUT = 30.0


class Lines:
    """Builds the server lines for one reading of the configuration."""

    def __init__(
        self,
        reactor: IReactorTime,
        poller: Poller,
        deadlines: Deadlines,
        random: Random,
        budget: Budget,
        limits: Limits,
        addresses: Addresses,
        trusts: Trusts,
        previous: Mapping[str, Line],
        announce: Announce,
        faults: list[Fault],
        notices: list[Notice],
        settings: model.Global,
        variables: dict[str, Sample],
    ) -> None:
        """Takes the `previous` reading's lines, by backend/server, and the variables of the process; adds to `faults`
        and `notices`."""
        self._variables = variables
        self._bufsize = settings.bufsize
        self._spread = spreading(settings.spread_checks, random) if settings.spread_checks else None
        self._pools = Pools(reactor, poller, deadlines, random, budget, limits)
        self._reactor = reactor
        self._poller = poller
        self._deadlines = deadlines
        self._limits = limits
        self._first = FirstAddresses(addresses, faults, notices)
        self._trusts = trusts
        self._stamps: dict[str, Stamps] = {**trusts.svid_stamps}
        self._previous = previous
        self._announce = announce
        self._faults = faults
        self._notices = notices
        #: The identities of server lines, by backend/server, where requests choose among them.
        self._identities: dict[str, Identities] = {}

    def load_identities(self, backend: model.Backend, settings: model.Server) -> Steps[None]:
        """Loads, in steps, the files among which requests choose at a server; before its line is built."""
        if settings.identities is None:
            return
        name = f"{backend.name}/{settings.name}"
        previous = self._previous.get(name)
        faults: list[str] = []
        made = yield from loading(settings, None if previous is None else previous.identities, self._trusts, faults)
        self._faults += (Fault(settings.place, f"{settings.called(backend.name)}: {text}") for text in faults)
        self._identities[name] = made

    def line(self, backend: model.Backend, settings: model.Server, saved: SavedState | None = None) -> Line:
        """Builds one server with its pool: the previous one's, if everything that makes a connection is the same. One
        that there was not before may have been `saved` by an earlier process."""
        name = f"{backend.name}/{settings.name}"
        previous = self._previous.get(name)
        target = self._first.first(name, settings, previous, saved if previous is None else None)
        clear = previous is not None and keeps_clear(settings, previous.server)
        identity = self._identity(backend, settings, target, None if clear else settings.tls)
        ping_request = _ping_request(backend, settings)
        announce = partial(self._announce, section=f"backend {backend.name}")
        pool = self._pool(name, settings, identity, previous, ping_request, announce)
        server = Server(backend.name, settings, pool, self._deadlines.now())
        server.node_seed = node_seed(settings, identity.target)
        identities = self._identities.get(name)
        _follow_requests(server, identity, identities)
        server.stand_at(target, _service(settings, previous, saved) if target is not None else None)
        if previous is not None:
            server.succeed(previous.server)
            former = {*previous.server.former, previous.pool} - {pool}
            server.former = [each for each in former if each.state != "closed"]
        pool.has_places(server.limit)
        if previous is None:
            pool.record(settings.record)
        line = Line(identity, server, ping_request, backend.http_check or backend.check_plan, identities=identities)
        if previous is None or previous.pool is not pool:
            line.adopt_identities()
        stamps = server_stamps(settings.tls, self._stamps, self._trusts)
        context = self._context(settings, name, settings.tls) if clear else line.context
        server.links = elsewhere = Elsewhere(line, self._pools, announce, settings.tls, stamps, context)
        if settings.resolution.resolvers is not None or may_be_ordered(settings):
            server.relocation = elsewhere
        return line

    def _identity(
        self, backend: model.Backend, settings: model.Server, target: Target | None, tls: model.ServerTLS | None
    ) -> Identity:
        return Identity(
            target or NOWHERE,
            tls,
            server_stamps(tls, self._stamps, self._trusts),
            backend.timeouts.connect or CONNECT_TIMEOUT,
            settings.pool,
            self._limits,
            (settings.sni, settings.pool_conn_name, settings.known_name),
            (settings.send_proxy, settings.proxy_options, settings.extensions),
            settings.mapped,
            backend.mode == "tcp",
            settings.identities,
            settings.reach,
            ServerSocket(
                backend.keep_alive,
                settings.user_timeout,
                backend.source if settings.source is None else settings.source,
                settings.congestion,
            ),
        )

    def _pool(
        self,
        name: str,
        settings: model.Server,
        identity: Identity,
        previous: Line | None,
        ping_request: bytes,
        announce: Callable[[str, str], None],
    ) -> HTTPConnectionPool:
        """Returns the previous line's pool, if the server is the same; else a new one, which learns from that."""
        if previous is not None and previous.identity == identity:
            return previous.pool
        context = self._context(settings, name, identity.tls)
        if context is not None:
            context.generation = _generation(identity, previous)
            if context.ours is not None:
                texts = not_valid_yet(f"server {name}: crt {context.settings.crt}", context.ours)
                self._notices += (Notice("warning", settings.place, text) for text in texts)
        self._notices += socket_notices(name, settings, identity.socket, identity.target)
        pool = self._pools.pool(f"Server {name}", settings, identity, context, announce)
        pool.ping_request = ping_request
        if previous is not None:
            before = previous.identity
            pool.succeed(previous.pool, learnt=(before.target, before.raw) == (identity.target, identity.raw))
        return pool

    def checker(self, backend: Backend, line: Line, first_after: float) -> Checker:
        """Builds the checker; so many seconds pass before the first check, so that all checks are
        spread."""
        server, timeouts = line.server, backend.settings.timeouts
        settings, check = server.settings, server.check
        assert check is not None
        timeout = min(check.inter, timeouts.connect or check.inter)
        target, context = line.identity.target, line.context
        if settings.check_tls is not None and context is None:
            context = self._context(settings, server.full_name, settings.check_tls)
        context = line.of_checks(context)
        if context is not None and check.sni is not None and check.sni != constant_name(settings):
            context = self._named(context, check.sni, settings.place, server.full_name)
        if check.addr is not None or check.port is not None:
            # HAProxy: a check of another address or port does not use the traffic's TLS, unless `check-ssl` is set.
            context = context if settings.check_tls is not None else None
            if check.addr is not None:
                target = self._first.of_checks(server.full_name, settings, check.addr, check.own_port or settings.port)
            else:
                target = with_port(target, check.port)
        preface = announces_itself(check.send_proxy, settings.proxy_options)
        dialer = Dialer(
            *(self._poller, self._deadlines, target, context, timeout),
            preface=preface,
            brief=True,
            reach=reach_of(settings),
            options=options_of(line.identity.socket),
        )
        plan = backend.settings.check_plan
        external = None if plan is None else plan.external
        checker = Checker(
            server,
            check,
            backend.settings.http_check or backend.settings.check_plan,
            dialer,
            self._reactor,
            self._limits,
            timeouts.check,
            first_after,
            backend.server_changed,
            feeds=feeds_pool(line, target, context),
            dialers=self._step_dialers(backend.settings, line, dialer),
            most=self._bufsize,
            spread=self._spread,
            report=backend.report if backend.settings.log_health_checks else None,
            state=partial(backend.state_text, server),
            program=None if external is None else partial(ExternalRun, external, server, self._poller, self._deadlines),
            variables=self._variables,
        )
        if server.full_name in self._previous:
            checker.begin_again()
        else:
            checker.begin()
        return checker

    def agent(self, backend: Backend, line: Line, first_after: float) -> AgentChecker:
        """Builds who asks the server's agent. As in HAProxy that is never asked over TLS."""
        server, timeouts = line.server, backend.settings.timeouts
        settings, agent = server.settings, server.agent
        assert agent is not None
        if agent.addr is not None:
            target = self._first.of_checks(server.full_name, settings, agent.addr, agent.port)
        else:
            target = with_port(line.identity.target, agent.port)
        timeout = min(agent.inter, timeouts.connect or agent.inter)
        checker = AgentChecker(
            server,
            agent,
            Dialer(
                *(self._poller, self._deadlines, target, None, timeout),
                brief=True,
                reach=reach_of(settings),
                options=options_of(line.identity.socket),
            ),
            self._reactor,
            timeouts.check,
            first_after,
            backend,
            line.checker,
            spread=self._spread,
            report=backend.report if backend.settings.log_health_checks else None,
        )
        checker.begin_again()
        return checker

    def _step_dialers(self, backend: model.Backend, line: Line, usual: Dialer) -> StepDialers | None:
        """Returns the dialers for the steps of a check; None where it has no steps of its own."""
        settings, name = line.server.settings, line.server.full_name
        if backend.check_plan is None:
            return None
        contexts, targets = {}, {}
        for step in backend.check_plan.steps:
            if not isinstance(step, model.Connect):
                continue
            context = usual.context if step.default else None
            if step.ssl and context is None:
                context = self._context(settings, name, settings.tls or settings.check_tls or settings.step_tls)
                context = line.of_checks(context)
            if step.sni is not None and context is not None:
                context = self._named(context, step.sni, settings.place, name)
            if context is not None and context is not usual.context:
                contexts[step.number] = context
            if step.addr is not None:
                targets[step.number] = self._first.of_checks(name, settings, step.addr, step.addr_port)
        return StepDialers(
            usual, announces_itself(settings.send_proxy or "v1", settings.proxy_options), contexts, targets
        )

    def _context(self, server: model.Server, name: str, tls: model.ServerTLS | None) -> ClientContext | None:
        """Returns a TLS context for one server and its checks only: a session must never be
        offered to another server."""
        if tls is None:
            return None
        try:
            context = ClientContext(tls, self._trusts)
        except TLSConfigurationError as error:
            called = server.called(name.partition("/")[0])
            self._faults += (Fault(server.place, f"{called}: {text}") for text in error.args)
            return None
        return self._named(context, server.known_name, server.place, name) if server.known_name else context

    def _named(self, context: ClientContext, sni: str, place: model.Place, name: str) -> ClientContext:
        try:
            return context.named(sni)
        except TLSConfigurationError as error:
            self._faults.append(Fault(place, f"server {name}: 'check-sni': {error}"))
            return context


def _service(settings: model.Server, previous: Line | None, saved: SavedState | None) -> Service | None:
    """Returns the SRV record with which a server goes on that has an address: the one before a reload, or the one of
    its saved state."""
    if previous is not None:
        return previous.server.service if goes_on(settings, previous) else None
    return saved_service(settings, saved)


def _follow_requests(server: Server, identity: Identity, identities: Identities | None) -> None:
    """Sets the functions by which a connection of the server depends on the request or session that it is for."""
    settings = server.settings
    server.place = place = place_of(settings)
    server.chosen_files = () if identities is None else identities.files
    if identity.raw:
        server.introduces = announces_client(settings, CLIENT_BYTES)
        if settings.sni is not None or place is not None:
            sni, constant = settings.sni, constant_name(settings).encode()
            server.naming = naming(name_of(sni, settings.place, CLIENT_BYTES) if sni else constant, None, at=place)
    elif isinstance(server.pool, ConstantPool):
        server.naming = naming(
            name_of(settings.sni, settings.place) if settings.sni else constant_name(settings).encode(),
            name_of(settings.pool_conn_name, settings.place) if settings.pool_conn_name else None,
            announces_client(settings),
            place,
            None if identities is None else identities.choose(),
        )


def spreading(percent: int, random: Random) -> Callable[[float], float]:
    """Returns a function that adds chance to an interval between checks: up to so many percent, either way."""
    return lambda interval: interval * (1 + random.uniform(-percent, percent) / 100)


def _generation(identity: Identity, previous: Line | None) -> int:
    """Returns the number of this server's set of certificates and TLS settings, counted from the start."""
    if previous is None or previous.context is None:
        return 1
    same = (identity.tls, identity.files) == (previous.identity.tls, previous.identity.files)
    return previous.context.generation + (not same)


def _ping_request(backend: model.Backend, settings: model.Server) -> bytes:
    """Returns the request of `idle-ping`: the server's HTTP check, or OPTIONS * (RFC 9110 section 9.3.7)."""
    check = backend.check_plan.first_request if backend.check_plan is not None else backend.http_check
    if check is not None:
        return request(check, keep=True)
    name = constant_name(settings) or settings.host or "localhost"
    return f"OPTIONS * HTTP/1.1\r\nHost: {name}\r\n\r\n".encode("latin-1")
