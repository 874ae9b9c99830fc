"""From a configuration to living objects, all or nothing: contexts, addresses, pools, backends, sockets, frontends.

It knows every layer's constructor and collects every fault before it gives up, so that an operator reads them all at
once. It starts nothing: what comes out is bound but does not accept, and has pools that open no connection yet.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from random import Random

from attrs import Factory, asdict, define, field, frozen
from twisted.internet.interfaces import IReactorTime

from reusedproxy.certificates import FilesOfTLS, Served, Stamps, not_valid_yet, serve, server_stamps
from reusedproxy.clients.exchange import Exchange
from reusedproxy.clients.frontend import Frontend, Places
from reusedproxy.config import model
from reusedproxy.config.model import Notice
from reusedproxy.config.report import Fault
from reusedproxy.net import descriptors
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.listener import Listener, ListenError, bind_socket
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls_client import ClientContext
from reusedproxy.net.tls_files import TLSConfigurationError, certificates_of
from reusedproxy.operators.accesslog import access_log, handshake_log
from reusedproxy.operators.figures import Figures
from reusedproxy.operators.logtargets import LogTargets, UnknownHost
from reusedproxy.operators.logtargets import Target as LogSink
from reusedproxy.operators.rates import Rates
from reusedproxy.operators.stats import StatsPage
from reusedproxy.rulebooks import RuleBooks, default_backend
from reusedproxy.rules.samples import compiled_text
from reusedproxy.servers.backend import Backend
from reusedproxy.servers.budget import Budget
from reusedproxy.servers.checks import Checker, request
from reusedproxy.servers.limits import PoolLimits
from reusedproxy.servers.names import ConstantPool, Name, NameRefused, host_name, naming
from reusedproxy.servers.pool import HTTPConnectionPool
from reusedproxy.servers.server import Server
from reusedproxy.wire.heads import Limits
from reusedproxy.wire.proxy_protocol import write_v1, write_v2

Announce = Callable[[str, str], None]

#: Seconds for TCP and TLS when `timeout connect` is unset; HAProxy would wait as long as the kernel.
CONNECT_TIMEOUT = 30.0
#: Descriptors for all that is neither a client's nor a server's connection.
OTHERS = 100
#: Connections that may wait in the kernel's queue when neither `backlog` nor `maxconn` says.
BACKLOG = 4096


class AssemblyError(Exception):
    """What the configuration asks for cannot be had; `faults` says all of it, `notices` what was found besides."""

    def __init__(self, faults: list[Fault], notices: list[Notice]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults
        self.notices = notices


@frozen
class Identity:
    """What must be equal for the connections to a server to be kept when the configuration is read again.

    `files` are the stamps of all certificates, keys and CAs, so that one that was replaced under its name counts as new.
    """

    target: Target
    tls: model.ServerTLS | None
    files: Stamps
    timeout: float
    limits: PoolLimits
    wire: Limits
    #: What says the names of its connections, and the one that is known beforehand.
    names: tuple[model.Expression | None, model.Expression | None, str | None, str]


@define
class Line:
    """One `server` line come to life, with what a later reading of the configuration may take over."""

    identity: Identity
    context: ClientContext | None
    pool: HTTPConnectionPool
    server: Server
    checker: Checker | None = None

    def succeed(self, previous: Line) -> None:
        """It takes the place of `previous` now, whose server may have changed since this one was made."""
        self.server.succeed(previous.server)
        if self.checker is not None:
            self.checker.begin_again()


@define
class Proxy:
    """All of it, alive: what the service starts and stops, and what the operators' side looks at."""

    configuration: model.Configuration
    poller: Poller
    deadlines: Deadlines
    places: Places
    logs: LogTargets
    frontends: list[Frontend] = Factory(list)
    backends: list[Backend] = Factory(list)
    listeners: list[tuple[Frontend, Listener]] = Factory(list)
    #: Those of them that were bound for it, and not taken over.
    bound: list[Listener] = Factory(list)
    #: Client connections that its configuration allows; `places` are bound by it from its start on.
    maxconn: int = 0
    #: For the floors of all servers, through all reloads.
    budget: Budget = field(kw_only=True)
    #: By backend/server.
    lines: dict[str, Line] = Factory(dict)
    #: What TLS listeners show, by address.
    served: dict[model.ListenAddress, Served] = Factory(dict)
    files: FilesOfTLS = field(kw_only=True)
    #: Theirs, from before they were read.
    stamps: Stamps = ()
    addresses: Addresses = Factory(Addresses)
    notices: list[Notice] = Factory(list)
    #: Measured only when some page shows them.
    rates: Rates | None = None

    @property
    def pools(self) -> list[HTTPConnectionPool]:
        return [line.pool for line in self.lines.values()]


class Assembly:
    """One attempt to build a proxy, from nothing or in place of a `previous` one that is running.

    Then listeners and pools whose description is unchanged are taken over as they are, warm, and servers go on in the
    state that their operator has ordered and their checks have found. Nothing of the previous proxy is changed here, so that an attempt may fail.
    With the very configuration of the previous one only files can be new: then names are not resolved again, nor notices
    said.
    """

    def __init__(
        self,
        configuration: model.Configuration,
        reactor: IReactorTime,
        poller: Poller,
        random: Random,
        announce: Announce,
        previous: Proxy | None = None,
    ) -> None:
        self._configuration = configuration
        self._reactor = reactor
        self._random = random
        self._announce = announce
        self._faults: list[Fault] = []
        settings = configuration.global_
        # HAProxy's manual: tune.http.maxhdr counts the first line, too.
        self._limits = Limits(max_head=settings.bufsize - settings.maxrewrite, max_headers=settings.maxhdr - 1)
        self._previous = previous
        self._again = previous is not None and configuration is previous.configuration
        files = FilesOfTLS(configuration)
        addresses = previous.addresses if previous is not None and self._again else Addresses()
        deadlines = previous.deadlines if previous is not None else Deadlines(reactor)
        maxconn = settings.maxconn or _default_maxconn()
        self._proxy = Proxy(
            configuration,
            poller,
            deadlines,
            previous.places if previous is not None else Places(maxconn),
            LogTargets(settings.log_tag, deadlines, addresses=addresses),
            maxconn=maxconn,
            budget=previous.budget if previous is not None else Budget(reactor),
            files=files,
            stamps=files.stamps(),
            addresses=addresses,
            notices=[] if self._again else list(configuration.notices),
        )

    def build(self, *, bind: bool, faults: Iterable[Fault] = ()) -> Proxy:
        """Everything; with `bind`, the listening sockets too.

        Raises AssemblyError, having closed what it had opened; with the `faults` that others have found, in any case.
        """
        self._faults += faults
        proxy = self._proxy
        backends = {
            name: self._backend(settings)
            for name, settings in self._configuration.backends.items()
            if not settings.disabled
        }
        proxy.backends = list(backends.values())
        books = RuleBooks(backends)
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
                self._announce,
            )
            proxy.frontends.append(frontend)
            frontend.routing = books.routing(frontend)
            frontend.gate = books.gate(frontend.settings)
            targets = self._log_targets(settings.logs)
            frontend.log = access_log(frontend, proxy.places, targets)
            frontend.handshakes.log = handshake_log(frontend, targets)
            self._serve(frontend)
        # At last and all together: who reaches one listener may try the next, and files take their time to be read.
        for frontend in proxy.frontends:
            if bind:
                self._bind(frontend)
            else:
                self._look_up(frontend.settings.binds)
        self._faults += books.faults
        for backend in proxy.backends:
            backend.fullconn = backend.settings.fullconn or self._fullconn(backend.name)
        if bind and not self._again:
            proxy.notices += self._unheard()
        self._add_pages()
        proxy.logs.take_events_to(self._log_targets(self._configuration.global_.logs))
        if self._faults:
            for listener in self._proxy.bound:
                listener.close()
            faults = sorted(self._faults, key=lambda fault: (fault.place.file, fault.place.line))
            raise AssemblyError(faults, proxy.notices)
        return proxy

    def _fullconn(self, backend: str) -> int:
        """A tenth of the clients that may come to this backend at once, rounded up, as in HAProxy."""
        frontends = [each.settings for each in self._proxy.frontends]
        leading = [
            each
            for each in frontends
            if backend in (each.default_backend, *(rule.name.constant for rule in each.use_backends))
        ]
        return (sum(each.maxconn or self._proxy.maxconn for each in leading) + 9) // 10

    def _log_targets(self, lines: tuple[model.LogTarget, ...]) -> list[LogSink]:
        targets = []
        for line in lines:
            try:
                targets.append(self._proxy.logs.open(line))
            except UnknownHost as error:
                fault = Fault(line.place, f"'log': {error}")
                if fault not in self._faults:  # `log global` repeats it
                    self._faults.append(fault)
        return targets

    def _unheard(self) -> Iterable[Notice]:
        """Syslog sockets that are not there now: in a container there is no /dev/log, and lines are lost unseen."""
        frontends = self._configuration.frontends.values()
        lines = [*self._configuration.global_.logs, *(line for frontend in frontends for line in frontend.logs)]
        for path in dict.fromkeys(line.path for line in lines if line.kind == "unix"):
            if not os.path.exists(path):
                place = next(line.place for line in lines if line.path == path)
                yield Notice(
                    "warning", place, f"'log {path}': there is no such socket; its lines are lost until there is"
                )

    def _add_pages(self) -> None:
        """A frontend answers with its own statistics page first, then with its backend's (behind the rules, if it has any)."""
        proxy = self._proxy
        rates = Rates(proxy.frontends, proxy.backends, proxy.deadlines)
        figures = Figures(proxy, rates)
        for frontend in proxy.frontends:
            own = frontend.settings.stats
            places = [(frontend.pages, own)]
            if frontend.routing is not None:
                places += [(way.pages, way.backend.settings.stats) for way in frontend.routing.ways.values()]
            elif frontend.backend is not None:
                places.append((frontend.pages, frontend.backend.settings.stats))
            for pages, page in places:
                if page is not None and (page != own or not frontend.pages):
                    pages.append(StatsPage(page, figures, proxy.logs))
                    proxy.rates = rates

    def _serve(self, frontend: Frontend) -> None:
        """Read what its TLS listeners show. What is unchanged is taken over, with the sessions that clients may resume."""
        proxy = self._proxy
        previous = self._previous.served.values() if self._previous is not None else ()
        for bind in frontend.settings.binds:
            if bind.tls is None:
                continue
            try:
                served = serve(bind.tls, [*previous, *proxy.served.values()])
            except TLSConfigurationError as error:
                self._faults.append(Fault(bind.place, f"bind {bind.address}: {error}"))
                continue
            proxy.served[bind.address] = served
            frontend.handshakes.certificates[bind.address] = served.certificates
            if served not in previous:
                notices = [Notice("warning", bind.place, f"bind {bind.address}: {text}") for text in served.warnings()]
                proxy.notices += [each for each in notices if each not in proxy.notices]

    def _bind(self, frontend: Frontend) -> None:
        settings = frontend.settings
        backlog = settings.maxconn or BACKLOG
        for bind in settings.binds:
            listener = self._taken_over(bind)
            if listener is None:
                try:
                    bound = bind_socket(bind, backlog, self._v4_stands_beside(bind))
                except ListenError as error:
                    self._faults.append(Fault(bind.place, str(error)))
                    continue
                listener = Listener(
                    self._proxy.poller,
                    self._proxy.deadlines,
                    bind,
                    bound,
                    lambda text: self._announce("alert", text),
                    descriptors.last_for_clients(),
                )
                self._proxy.bound.append(listener)
            self._proxy.listeners.append((frontend, listener))

    def _look_up(self, binds: Iterable[model.Bind]) -> None:
        """Of what `_bind` would find, that which can be found without opening a port: names that nobody knows."""
        for bind in binds:
            address = bind.address
            try:
                if address.host:
                    socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            except OSError as error:
                self._faults.append(Fault(bind.place, f"cannot listen on {address}: {error.strerror}"))

    def _v4_stands_beside(self, bind: model.Bind) -> bool:
        """Whether an IPv4 address of the same port is listened on by itself; an IPv6 wildcard must leave it free then."""
        others = [each.address for frontend in self._configuration.frontends.values() for each in frontend.binds]
        return any(each.kind == "tcp" and not each.v6 and each.port == bind.address.port for each in others)

    def _taken_over(self, bind: model.Bind) -> Listener | None:
        """The previous proxy's listener at this address, if it has one that is not taken yet."""
        taken = [listener for _, listener in self._proxy.listeners]
        for _, listener in self._previous.listeners if self._previous is not None else ():
            if listener.bind.address == bind.address and listener not in taken:
                return listener
        return None

    def _backend(self, settings: model.Backend) -> Backend:
        proxy = self._proxy
        lines = [self._line(settings, each) for each in settings.servers]
        backend = Backend(settings, [line.server for line in lines], proxy.deadlines.now, self._announce)
        checked = [line for line in lines if line.server.settings.check is not None]
        for number, line in enumerate(checked):
            line.checker = self._checker(backend, line, number / len(checked))
            backend.checkers.append(line.checker)
        return backend

    def _line(self, backend: model.Backend, settings: model.Server) -> Line:
        """One server with its pool: the previous one's, if all that makes a connection is the same."""
        proxy = self._proxy
        name = f"{backend.name}/{settings.name}"
        identity = Identity(
            self._target(settings.place, settings.kind, settings.host, settings.port),
            settings.tls,
            server_stamps(settings.tls),
            backend.timeouts.connect or CONNECT_TIMEOUT,
            PoolLimits(**asdict(settings.pool)),
            self._limits,
            (settings.sni, settings.pool_conn_name, settings.known_name, settings.send_proxy),
        )
        previous = self._previous.lines.get(name) if self._previous is not None else None
        if previous is not None and previous.identity == identity:
            context, pool = previous.context, previous.pool
        else:
            context = self._context(settings, name, settings.tls)
            if context is not None:
                context.generation = _generation(identity, previous)
                crt = context.settings.crt
                for ours in certificates_of(crt)[:1] if crt is not None else ():
                    context.ours_end = ours.not_valid_after_utc.timestamp()
                    texts = not_valid_yet(f"server {name}: crt {crt}", ours)
                    proxy.notices += (Notice("warning", settings.place, text) for text in texts)
            pool = self._pool(f"Server {name}", settings, identity, context)
            if context is not None and context.ours_end is not None:
                pool.expires_at = proxy.deadlines.now() + context.ours_end - time.time()
        pool.ping_request = _ping_request(backend, settings)
        server = Server(backend.name, settings, pool, proxy.deadlines.now())
        if isinstance(pool, ConstantPool):
            server.naming = naming(
                compiled_text(settings.sni) if settings.sni else _constant_name(settings).encode(),
                compiled_text(settings.pool_conn_name) if settings.pool_conn_name else None,
                _announces(settings.send_proxy),
            )
        if previous is not None:
            server.succeed(previous.server)
            former = {*previous.server.former, previous.pool} - {pool}
            server.former = [each for each in former if each.running != "closed"]
        proxy.lines[name] = line = Line(identity, context, pool, server)
        return line

    def _pool(
        self, name: str, settings: model.Server, identity: Identity, context: ClientContext | None
    ) -> HTTPConnectionPool:
        """A pool of its own, or one for each name that its connections may have."""
        proxy, last = self._proxy, descriptors.last_for_servers()

        def dialer(context: ClientContext | None, preface: bytes = b"") -> Dialer:
            said = (lambda connected: preface) if preface else None
            return Dialer(proxy.poller, proxy.deadlines, identity.target, context, identity.timeout, last, said)

        def dialer_for(name: Name) -> Dialer:
            if context is None or name.sni == _constant_name(settings).encode():
                return dialer(context, name.preface)
            try:
                return dialer(context.named(name.sni.decode("ascii")), name.preface)
            except (TLSConfigurationError, UnicodeError):
                raise NameRefused(f"{name.sni.decode('latin-1')!r} is not a host name") from None

        rest = (identity.limits, self._reactor, self._random, self._announce, self._limits, proxy.budget)
        constant = settings.pool_conn_name is None or settings.pool_conn_name.fetch.name == "str"
        if settings.sni is None and constant and not settings.send_proxy:
            return HTTPConnectionPool(name, dialer(context), *rest)
        own: bytes | None = None
        if settings.pool_conn_name is None and not settings.send_proxy:
            own = host_name((settings.known_name or "").encode())
        return ConstantPool(name, dialer(context), *rest, own=own, dialer_for=dialer_for, clock=self._reactor)

    def _checker(self, backend: Backend, line: Line, share: float) -> Checker:
        """`share` of its interval passes before the first check, so that a backend's checks are spread over it."""
        server, timeouts = line.server, backend.settings.timeouts
        settings, check = server.settings, server.settings.check
        assert check is not None
        timeout = min(check.inter, timeouts.connect or check.inter)
        target, context = line.identity.target, line.context
        if settings.check_tls is not None and context is None:
            context = self._context(settings, server.full_name, settings.check_tls)
        if context is not None and check.sni is not None and check.sni != _constant_name(settings):
            context = self._named(context, check.sni, settings.place, server.full_name)
        if check.addr is not None or check.port is not None:
            # HAProxy: with another address or port, the traffic's TLS does not apply to the check, unless `check-ssl` says so.
            context = context if settings.check_tls is not None else None
            target = self._target(
                settings.place, settings.kind, check.addr or settings.host, check.port or settings.port
            )
        checker = Checker(
            server,
            check,
            backend.settings.http_check,
            Dialer(
                self._proxy.poller,
                self._proxy.deadlines,
                target,
                context,
                timeout,
                preface=_announces_itself(check.send_proxy),
            ),
            self._reactor,
            self._limits,
            timeouts.check,
            share * check.inter,
            backend.server_changed,
            feeds=line.pool.knows_name and context is line.context and target == line.identity.target,
        )
        checker.begin_again()
        return checker

    def _target(self, place: model.Place, kind: str, host: str, port: int | None) -> Target:
        """Resolve a server's address: once, at the start."""
        if kind == "unix":
            return Target(socket.AF_UNIX, host)
        try:
            return Target(*self._proxy.addresses.find(place, host, port or 0, socket.SOCK_STREAM))
        except OSError as error:
            self._faults.append(Fault(place, f"could not resolve address '{host}': {error.strerror}"))
            return Target(socket.AF_INET, ("0.0.0.0", 0))

    def _context(self, server: model.Server, name: str, tls: model.ServerTLS | None) -> ClientContext | None:
        """One for each server, shared with its checks only: a session must never be offered to another server."""
        if tls is None:
            return None
        try:
            context = ClientContext(tls)
        except TLSConfigurationError as error:
            self._faults.append(Fault(server.place, f"server {name}: {error}"))
            return None
        return self._named(context, server.known_name, server.place, name) if server.known_name else context

    def _named(self, context: ClientContext, sni: str, place: model.Place, name: str) -> ClientContext:
        try:
            return context.named(sni)
        except TLSConfigurationError as error:
            self._faults.append(Fault(place, f"server {name}: 'check-sni': {error}"))
            return context


def _generation(identity: Identity, previous: Line | None) -> int:
    """Which one it is of this server's certificates and TLS settings, since the start."""
    if previous is None or previous.context is None:
        return 1
    same = (identity.tls, identity.files) == (previous.identity.tls, previous.identity.files)
    return previous.context.generation + (not same)


def _ping_request(backend: model.Backend, settings: model.Server) -> bytes:
    """What `idle-ping` asks: the server's HTTP check, or OPTIONS * (RFC 9110 section 9.3.7)."""
    if backend.http_check is not None:
        return request(backend.http_check, keep=True)
    name = _constant_name(settings) or settings.host or "localhost"
    return f"OPTIONS * HTTP/1.1\r\nHost: {name}\r\n\r\n".encode("latin-1")


def _announces(version: str) -> Callable[[Exchange], bytes] | None:
    """What tells a server by the PROXY protocol who asks; None: nothing does."""
    if not version:
        return None
    write = write_v1 if version == "v1" else write_v2
    return lambda exchange: write(exchange.source, exchange.destination)


def _announces_itself(version: str) -> Callable[[socket.socket], bytes] | None:
    """The same of a check, which is our own."""
    if version == "v1":
        return lambda connected: write_v1(
            *(_address(name) for name in (connected.getsockname(), connected.getpeername()))
        )
    return (lambda connected: write_v2(None, None)) if version else None


def _address(name: object) -> tuple[str, int] | None:
    return name[:2] if isinstance(name, tuple) else None


def _constant_name(settings: model.Server) -> str:
    """The SNI of connections that no request has asked for; "" when there is none."""
    return settings.known_name or (settings.tls.sni if settings.tls is not None else None) or ""


def _default_maxconn() -> int:
    """HAProxy's rule: what the descriptor limit allows, two for each client, some kept for the rest."""
    return max(100, (min(descriptors.limit(), 2**20) - OTHERS) // 2)
