"""Builds one `server` line: its address, TLS, pool and checks; at a reload it takes over those that are unchanged.

Two readings of a line are the same server if their `Identity` is equal; its connections are then kept. Knows the
constructors of a server's parts. Starts nothing, and must never know frontends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Protocol

from attrs import define, evolve, frozen
from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.requests import request
from reusedproxy.backends.names import target_of
from reusedproxy.backends.saved_states import SavedState
from reusedproxy.backends.server import Server, says_same_address
from reusedproxy.build.balancing import node_seed
from reusedproxy.build.certificates import Stamps, not_valid_yet, server_stamps
from reusedproxy.build.step_dialers import StepDialers, with_port
from reusedproxy.config import model
from reusedproxy.config.language.addresses import CLIENTS_HOSTS, is_service
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.model.values import Notice
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.net import descriptors
from reusedproxy.net.addresses import Addresses, abstract
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Query, literal
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.files import TLSConfigurationError, Trusts
from reusedproxy.net.tls.words import LONGEST_NAME
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.named import Name, NameRefused, host_name, naming
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import RawConnection, used_once
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.compile import compiled_text, constant_text
from reusedproxy.wire.heads import Limits
from reusedproxy.wire.proxy_protocol import write_v1, write_v2

#: Where the pool of a server is that has no address: it is never dialled.
NOWHERE = Target(socket.AF_INET, ("0.0.0.0", 0))
#: Seconds for TCP and TLS when `timeout connect` is unset; HAProxy waits as long as the kernel does.
CONNECT_TIMEOUT = 30.0


@frozen
class Identity:
    """Holds the properties that must be equal for a server's connections to be kept when the configuration
    is read again.

    `files` are the stamps of all certificates, keys and CAs, so that a file replaced under its name makes a difference.
    """

    target: Target
    tls: model.ServerTLS | None
    files: Stamps
    timeout: float
    limits: PoolLimits
    wire: Limits
    #: The expressions for the names of its connections, the name known in advance, and the PROXY protocol version.
    names: tuple[model.Expression | None, model.Expression | None, str | None, str]
    #: Added to the client's port (None: the server has its own).
    mapped: int | None = None
    #: Its connections carry no requests (mode tcp).
    raw: bool = False


class Announce(Protocol):
    """Takes a message for the operator. `section`, such as "backend web", selects the `log` lines that get it; ""
    selects the global ones."""

    def __call__(self, level: str, text: str, section: str = "") -> None: ...


@define
class Line:
    """Holds one `server` line with its running parts, for a later reading of the configuration to take over.

    The target of `identity` is the present one: a server whose name has other addresses moves.
    """

    identity: Identity
    server: Server
    #: The request of `idle-ping`.
    ping_request: bytes
    #: What its checks ask; None: only whether it can be connected to.
    asks: model.HTTPCheck | model.CheckPlan | None = None
    checker: Checker | None = None
    agent: AgentChecker | None = None

    @property
    def pool(self) -> HTTPConnectionPool:
        return self.server.pool

    @property
    def context(self) -> ClientContext | None:
        """Returns the TLS context of its connections; None without TLS."""
        return self.pool.context

    def succeed(self, previous: Line) -> None:
        """Takes the place of `previous`, and takes over its server's state, which may have changed
        since this line was built."""
        self.server.succeed(previous.server)
        for pool in self.pool.family:
            pool.ping_request = self.ping_request
        if self.checker is not None:
            if previous.checker is not None:
                alike = self.checker.settings == previous.checker.settings and self.asks == previous.asks
                self.checker.succeed(previous.checker, alike=alike, same=self.identity == previous.identity)
            else:
                self.checker.begin_again()
        if self.agent is not None:
            if previous.agent is not None:
                self.agent.succeed(previous.agent)
            else:
                self.agent.begin_again()


@frozen
class Dialers:
    """Makes the dialers for one server, one for each name that its connections may have.

    A pool keeps this object as long as it lives, through any number of reloads. So it holds plain values, and no
    reference to the configuration in which it was made, which would keep all earlier ones alive.
    """

    poller: Poller
    deadlines: Deadlines
    target: Target
    context: ClientContext | None
    timeout: float
    #: Number of the first descriptor that is not available for servers.
    last: float
    #: SNI of `context`.
    constant_name: bytes
    #: The `sni` expression when a connection without SNI could not be verified; "" when it could, or need not be
    #: verified.
    must_name: str

    def named(self, name: Name) -> Dialer:
        """Returns the dialer for connections with this name. Raises NameRefused."""
        if name.at is not None:
            return evolve(self, target=_at(self.target, *name.at)).named(evolve(name, at=None))
        if not name.sni and self.must_name:
            text = f"'sni {self.must_name}' finds no name in this request, so no certificate could be verified"
            raise NameRefused(text)
        if self.context is None or name.sni == self.constant_name:
            return self.dialer(self.context, name.preface)
        try:
            return self.dialer(self.context.named(name.sni.decode("ascii")), name.preface)
        except (TLSConfigurationError, UnicodeError):
            raise NameRefused(f"{name.sni[:LONGEST_NAME].decode('latin-1')!r} is not a host name") from None

    def dialer(self, context: ClientContext | None, preface: bytes = b"") -> Dialer:
        said = (lambda connected: preface) if preface else None
        return Dialer(self.poller, self.deadlines, self.target, context, self.timeout, self.last, said)


@frozen
class Pools:
    """Makes pools for servers. Kept as long as a server may move, so it holds no reference to the configuration."""

    reactor: IReactorTime
    poller: Poller
    deadlines: Deadlines
    random: Random
    budget: Budget
    limits: Limits

    def pool(
        self,
        name: str,
        settings: model.Server,
        identity: Identity,
        context: ClientContext | None,
        announce: Callable[[str, str], None],
    ) -> HTTPConnectionPool:
        """Returns a single pool, or one with a pool for each name that its connections may have."""
        dialers = Dialers(
            self.poller,
            self.deadlines,
            identity.target,
            context,
            identity.timeout,
            descriptors.last_for_servers(),
            constant_name(settings).encode(),
            str(settings.sni) if settings.sni is not None and context is not None and context.refuses_nameless else "",
        )
        dialer = dialers.dialer(context)
        rest = (self.reactor, self.random, announce, self.limits, self.budget)
        follows = follows_client(settings)
        if identity.raw:
            limits = used_once(identity.limits)
            if settings.sni is None and not follows:
                return HTTPConnectionPool(name, dialer, limits, *rest, connections=RawConnection)
            own = host_name(settings.known_name.encode()) if settings.known_name and not follows else None
            return ConstantPool(
                name, dialer, limits, *rest, own=own, dialer_for=dialers.named, connections=RawConnection
            )
        constant = settings.pool_conn_name is None or settings.pool_conn_name.fetch.name == "str"
        if settings.sni is None and constant and not settings.send_proxy and not follows:
            return HTTPConnectionPool(name, dialer, identity.limits, *rest)
        own = None
        if follows:
            pass  # no connection can be opened before there is a client
        elif settings.pool_conn_name is None and not settings.send_proxy:
            # Without a known name this is the pool for no name, if such a connection may be opened.
            known = settings.known_name
            own = host_name(known.encode()) if known else None if dialers.must_name else b""
        elif settings.pool_conn_name is not None and settings.known_name and not settings.send_proxy:
            # The pool's name decides: its connections, which use the known SNI, serve requests whatever their SNI.
            own = constant_text(settings.pool_conn_name)
        return ConstantPool(name, dialer, identity.limits, *rest, own=own, dialer_for=dialers.named)


@frozen
class Elsewhere:
    """Builds what the server of a line needs at another address (`backends.server.Relocation`)."""

    line: Line
    pools: Pools
    announce: Callable[[str, str], None]

    def pool_at(self, target: Target) -> HTTPConnectionPool:
        line = self.line
        context = line.context.elsewhere() if line.context is not None else None
        settings = line.server.settings
        identity = evolve(line.identity, target=target)
        pool = self.pools.pool(f"Server {line.server.full_name}", settings, identity, context, self.announce)
        pool.ping_request = line.ping_request
        pool.succeed(line.pool)
        return pool

    def moved(self, target: Target) -> None:
        line = self.line
        line.identity = evolve(line.identity, target=target)
        line.server.node_seed = node_seed(line.server.settings, target)
        check = line.server.settings.check
        if line.checker is not None and check is not None and check.addr is None:
            line.checker.move(with_port(target, check.port), line.context)
        agent = line.server.settings.agent
        if line.agent is not None and agent is not None and agent.addr is None:
            line.agent.move(with_port(target, agent.port))


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
    ) -> None:
        """Takes the `previous` reading's lines, by backend/server; adds to `faults` and `notices`."""
        self._bufsize = settings.bufsize
        self._spread = spreading(settings.spread_checks, random) if settings.spread_checks else None
        self._pools = Pools(reactor, poller, deadlines, random, budget, limits)
        self._reactor = reactor
        self._poller = poller
        self._deadlines = deadlines
        self._limits = limits
        self._addresses = addresses
        self._trusts = trusts
        self._stamps: dict[str, Stamps] = {}
        self._previous = previous
        self._announce = announce
        self._faults = faults
        self._notices = notices

    def line(self, backend: model.Backend, settings: model.Server, saved: SavedState | None = None) -> Line:
        """Builds one server with its pool: the previous one's, if everything that makes a connection is the same. One
        that there was not before may have been `saved` by an earlier process."""
        name = f"{backend.name}/{settings.name}"
        ping_request = _ping_request(backend, settings)
        previous = self._previous.get(name)
        target = self._first_target(name, settings, previous, saved if previous is None else None)
        identity = Identity(
            target or NOWHERE,
            settings.tls,
            server_stamps(settings.tls, self._stamps),
            backend.timeouts.connect or CONNECT_TIMEOUT,
            settings.pool,
            self._limits,
            (settings.sni, settings.pool_conn_name, settings.known_name, settings.send_proxy),
            settings.mapped,
            backend.mode == "tcp",
        )
        announce = partial(self._announce, section=f"backend {backend.name}")
        if previous is not None and previous.identity == identity:
            pool = previous.pool
        else:
            context = self._context(settings, name, settings.tls)
            if context is not None:
                context.generation = _generation(identity, previous)
                if context.ours is not None:
                    texts = not_valid_yet(f"server {name}: crt {context.settings.crt}", context.ours)
                    self._notices += (Notice("warning", settings.place, text) for text in texts)
            pool = self._pools.pool(f"Server {name}", settings, identity, context, announce)
            pool.ping_request = ping_request
            if previous is not None:
                before = previous.identity
                pool.succeed(previous.pool, learnt=(before.target, before.raw) == (identity.target, identity.raw))
        server = Server(backend.name, settings, pool, self._deadlines.now())
        server.node_seed = node_seed(settings, identity.target)
        server.place = place = place_of(settings)
        if identity.raw:
            server.introduces = _announces(settings.send_proxy)
            if settings.sni is not None or place is not None:
                sni = _name_of(settings.sni, CLIENT_BYTES) if settings.sni else constant_name(settings).encode()
                server.naming = naming(sni, None, at=place)
        elif isinstance(pool, ConstantPool):
            server.naming = naming(
                _name_of(settings.sni) if settings.sni else constant_name(settings).encode(),
                _name_of(settings.pool_conn_name) if settings.pool_conn_name else None,
                _announces(settings.send_proxy),
                place,
            )
        kept = previous is not None and target is not None and goes_on(settings, previous)
        server.stand_at(target, previous.server.service if previous is not None and kept else None)
        if previous is not None:
            server.succeed(previous.server)
            former = {*previous.server.former, previous.pool} - {pool}
            server.former = [each for each in former if each.state != "closed"]
        pool.has_places(server.limit)
        line = Line(identity, server, ping_request, backend.http_check or backend.check_plan)
        if settings.resolution.resolvers is not None or may_be_ordered(settings):
            server.relocation = Elsewhere(line, self._pools, announce)
        return line

    def checker(self, backend: Backend, line: Line, first_after: float) -> Checker:
        """Builds the checker; so many seconds pass before the first check, so that all checks are
        spread."""
        server, timeouts = line.server, backend.settings.timeouts
        settings, check = server.settings, server.settings.check
        assert check is not None
        timeout = min(check.inter, timeouts.connect or check.inter)
        target, context = line.identity.target, line.context
        if settings.check_tls is not None and context is None:
            context = self._context(settings, server.full_name, settings.check_tls)
        if context is not None and check.sni is not None and check.sni != constant_name(settings):
            context = self._named(context, check.sni, settings.place, server.full_name)
        if check.addr is not None or check.port is not None:
            # HAProxy: a check of another address or port does not use the traffic's TLS, unless `check-ssl` is set.
            context = context if settings.check_tls is not None else None
            if check.addr is not None:
                target = self._target(server.full_name, settings, check.addr, check.port or settings.port)
            else:
                target = with_port(target, check.port)
        preface = announces_itself(check.send_proxy)
        dialer = Dialer(self._poller, self._deadlines, target, context, timeout, preface=preface, brief=True)
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
            feeds=line.pool.carries_requests
            and line.pool.knows_name
            and context is line.context
            and target == line.identity.target,
            dialers=self._step_dialers(backend.settings, settings, server.full_name, dialer),
            most=self._bufsize,
            spread=self._spread,
            report=backend.report if backend.settings.log_health_checks else None,
            state=partial(backend.state_text, server),
        )
        if server.full_name in self._previous:
            checker.begin_again()
        else:
            checker.begin()
        return checker

    def agent(self, backend: Backend, line: Line, first_after: float) -> AgentChecker:
        """Builds who asks the server's agent. As in HAProxy that is never asked over TLS."""
        server, timeouts = line.server, backend.settings.timeouts
        settings, agent = server.settings, server.settings.agent
        assert agent is not None
        if agent.addr is not None:
            target = self._target(server.full_name, settings, agent.addr, agent.port)
        else:
            target = with_port(line.identity.target, agent.port)
        timeout = min(agent.inter, timeouts.connect or agent.inter)
        checker = AgentChecker(
            server,
            agent,
            Dialer(self._poller, self._deadlines, target, None, timeout, brief=True),
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

    def _first_target(
        self, name: str, settings: model.Server, previous: Line | None, saved: SavedState | None
    ) -> Target | None:
        """Returns the address at which a server begins, by its `init-addr`; None: it has none yet. At a reload it goes
        on where it is, if name servers have told its address, or none of them could. Its port is the one that was
        `saved`, as in HAProxy."""
        if saved is not None and saved.port and settings.kind == "tcp" and settings.port:
            settings = evolve(settings, port=saved.port)
        ordered = None if previous is None else previous.server.ordered
        if (
            previous is not None
            and ordered is not None
            and may_be_ordered(settings)
            and (says_same_address(settings, previous.server.settings))
        ):
            return ordered
        if not is_resolved(settings):
            by_name = settings.kind == "tcp" and literal(Query(settings.host, socket.SOCK_STREAM)) is None
            if by_name and (last := _last(settings, saved)) is not None:
                return last
            return self._target(name, settings, settings.host, settings.port)
        if previous is not None and previous.server.settings is settings:
            return previous.server.target  # only files of TLS are read again
        if previous is not None and goes_on(settings, previous):
            at = previous.server.target
            return at if at is None or previous.server.service is not None else with_port(at, settings.port)
        return self._by_methods(name, settings, saved)

    def _by_methods(self, name: str, settings: model.Server, saved: SavedState | None) -> Target | None:
        failed = False
        for method in settings.resolution.methods:
            if method == "last" and (last := _last(settings, saved)) is not None:
                return last
            if method == "libc" and not is_service(settings.host):
                try:
                    return self._found(name, settings.host, settings.port)
                except OSError:
                    failed = True
            elif method == "none":
                self._tell_unresolved(failed, settings, "disabling server")
                return None
            elif method not in ("last", "libc"):
                self._tell_unresolved(failed, settings, "falling back to configured address")
                return target_of(method, settings.port or 0)
        what = "could not resolve address" if failed else "no method found to resolve address"
        self._faults.append(Fault(settings.place, f"server {name}: {what} '{settings.host}'"))
        return NOWHERE

    def _tell_unresolved(self, failed: bool, settings: model.Server, so: str) -> None:
        notice = Notice("warning", settings.place, f"could not resolve address '{settings.host}', {so}")
        if failed and notice not in self._notices:
            self._notices.append(notice)

    def _found(self, name: str, host: str, port: int | None) -> Target:
        return Target(*self._addresses.find(name, host, port or 0, socket.SOCK_STREAM))

    def _target(self, name: str, settings: model.Server, host: str, port: int | None) -> Target:
        """Returns the address of the server `name`, or that of its checks."""
        if settings.kind == "unix":
            return Target(socket.AF_UNIX, host)
        if settings.kind == "abns":
            return Target(socket.AF_UNIX, abstract(host))
        try:
            return self._found(name, host, port)
        except OSError as error:
            self._faults.append(Fault(settings.place, f"could not resolve address '{host}': {error.strerror}"))
            return NOWHERE

    def _step_dialers(
        self, backend: model.Backend, settings: model.Server, name: str, usual: Dialer
    ) -> StepDialers | None:
        """Returns the dialers for the steps of a check; None where it has no steps of its own."""
        if backend.check_plan is None:
            return None
        contexts, targets = {}, {}
        for step in backend.check_plan.steps:
            if not isinstance(step, model.Connect):
                continue
            context = usual.context if step.default else None
            if step.ssl and context is None:
                context = self._context(settings, name, settings.tls or settings.check_tls or settings.step_tls)
            if step.sni is not None and context is not None:
                context = self._named(context, step.sni, settings.place, name)
            if context is not None and context is not usual.context:
                contexts[step.number] = context
            if step.addr is not None:
                targets[step.number] = self._target(name, settings, step.addr, settings.port)
        return StepDialers(usual, announces_itself(settings.send_proxy or "v1"), contexts, targets)

    def _context(self, server: model.Server, name: str, tls: model.ServerTLS | None) -> ClientContext | None:
        """Returns a TLS context for one server and its checks only: a session must never be
        offered to another server."""
        if tls is None:
            return None
        try:
            context = ClientContext(tls, self._trusts)
        except TLSConfigurationError as error:
            self._faults += (Fault(server.place, f"server {name}: {text}") for text in error.args)
            return None
        return self._named(context, server.known_name, server.place, name) if server.known_name else context

    def _named(self, context: ClientContext, sni: str, place: model.Place, name: str) -> ClientContext:
        try:
            return context.named(sni)
        except TLSConfigurationError as error:
            self._faults.append(Fault(place, f"server {name}: 'check-sni': {error}"))
            return context


def _last(settings: model.Server, saved: SavedState | None) -> Target | None:
    """Returns the address that a server had when its state was saved (`init-addr last`); None: it is not known."""
    if saved is None or literal(Query(saved.address, socket.SOCK_STREAM)) is None:
        return None
    return target_of(saved.address, settings.port or 0)


def spreading(percent: int, random: Random) -> Callable[[float], float]:
    """Returns a function that adds chance to an interval between checks: up to so many percent, either way."""
    return lambda interval: interval * (1 + random.uniform(-percent, percent) / 100)


def may_be_ordered(settings: model.Server) -> bool:
    """Tells whether an operator may order the address of a server: it has one of its own, and no name server tells
    another."""
    return settings.kind == "tcp" and not follows_client(settings) and not is_resolved(settings)


def follows_client(settings: model.Server) -> bool:
    """Tells whether the server is where its clients have connected to, in its address or its port."""
    return settings.mapped is not None or (settings.kind == "tcp" and settings.host in CLIENTS_HOSTS)


def place_of(settings: model.Server) -> Callable[[Exchange], tuple[str, int]] | None:
    """Returns the function that finds where the server is for a client: host ("": its own) and port. It raises
    NameRefused. None where that is the same for all."""
    if not follows_client(settings):
        return None
    everywhere, mapped, own = settings.host in CLIENTS_HOSTS, settings.mapped, settings.port or 0

    def place(facts: Exchange) -> tuple[str, int]:
        host, port = facts.destination
        if not port:
            raise NameRefused("the client has connected to no address that the server could be at")
        if mapped is not None:
            port += mapped
            if not 0 < port <= 65535:
                raise NameRefused(f"port {port} does not exist")
        return host if everywhere else "", own if mapped is None else port

    return place


def _at(target: Target, host: str, port: int) -> Target:
    """Returns the address of this host and port; host "": that of `target`."""
    if not host:
        return with_port(target, port)
    if ":" in host:
        return Target(socket.AF_INET6, (host, port, 0, 0))
    return Target(socket.AF_INET, (host, port))


def is_resolved(settings: model.Server) -> bool:
    """Tells whether a server's address is that of a name, and is found as `init-addr` and `resolvers` say."""
    return (
        settings.kind == "tcp"
        and literal(Query(settings.host, socket.SOCK_STREAM)) is None
        and (settings.resolution.resolvers is not None or bool(settings.resolution.init))
    )


def goes_on(settings: model.Server, previous: Line) -> bool:
    """Tells whether a server keeps at a reload what name servers have told about it."""
    before = previous.server.settings
    return settings.resolution.resolvers is not None and before.host == settings.host and is_resolved(before)


def asks_libc(settings: model.Server, previous: Line | None) -> bool:
    """Tells whether the C library has to be asked for the address at which a server begins."""
    if settings.kind != "tcp" or is_service(settings.host):
        return False
    if not is_resolved(settings):
        return True
    return "libc" in settings.resolution.methods and (previous is None or not goes_on(settings, previous))


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


def _announces(version: str) -> Callable[[Exchange], bytes] | None:
    """Returns the function that makes the PROXY protocol header with the client's address;
    None without `send-proxy`."""
    if not version:
        return None
    write = write_v1 if version == "v1" else write_v2
    return lambda exchange: write(exchange.source, exchange.destination)


def announces_itself(version: str) -> Callable[[socket.socket], bytes] | None:
    """Returns the function that makes the PROXY protocol header for a check, sent from the proxy's own address (v1) or
    as LOCAL (v2); None without."""
    if version == "v1":
        return lambda connected: write_v1(
            *(_address(name) for name in (connected.getsockname(), connected.getpeername()))
        )
    return (lambda connected: write_v2(None, None)) if version else None


def _address(name: object) -> tuple[str, int] | None:
    return name[:2] if isinstance(name, tuple) else None


def _name_of(expression: model.Expression, where: str = REQUEST) -> Callable[[Exchange], bytes | None]:
    """Returns the function that fetches a connection's name. It raises NameRefused when the
    expression exceeds its limits."""
    fetch = compiled_text(expression, where)

    def name(exchange: Exchange) -> bytes | None:
        try:
            return fetch(exchange)
        except Unevaluated as unevaluated:
            raise NameRefused(str(unevaluated)) from None

    return name


def constant_name(settings: model.Server) -> str:
    """Returns the SNI of connections that are opened without a request, "" for none."""
    return settings.known_name or (settings.tls.sni if settings.tls is not None else None) or ""
