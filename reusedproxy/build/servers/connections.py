"""Builds how a server is connected to: its dialers, its pool, and what of a request a connection depends on (`sni`,
`pool-conn-name`, an address that follows the client).

Pools outlive reloads, so nothing that they keep may refer to the configuration. Must never know states and checks.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from random import Random
from weakref import WeakValueDictionary

from attrs import evolve, field, frozen
from twisted.internet.interfaces import IReactorTime

from reusedproxy.build.servers.line import Identity
from reusedproxy.build.step_dialers import with_port
from reusedproxy.config import model
from reusedproxy.config.language.addresses import CLIENTS_HOSTS
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.identities import are_bounded
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.net import descriptors
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.outgoing import USUAL, Outgoing, options_of
from reusedproxy.net.poller import Poller
from reusedproxy.net.reach import Reach
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.identity import ClientIdentity
from reusedproxy.net.tls.words import LONGEST_NAME
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.named import Floors, Name, NameRefused, host_name
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import RawConnection, used_once
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.compile import compiled_alone, constant_text, to_text
from reusedproxy.wire.heads import Limits


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
    #: Which addresses may be dialled; None: any.
    reach: Reach | None = None
    #: The options of all connections.
    options: Outgoing = USUAL
    #: Contexts of identities, as long as a pool uses them.
    known: WeakValueDictionary[ClientIdentity, ClientContext] = field(factory=WeakValueDictionary, eq=False)

    def named(self, name: Name) -> Dialer:
        """Returns the dialer for connections with this name. Raises NameRefused."""
        if name.at is not None:
            return evolve(self, target=_at(self.target, *name.at)).named(evolve(name, at=None))
        if not name.sni and self.must_name and not (name.identity is not None and name.identity.verified):
            text = f"'sni {self.must_name}' finds no name in this request, so no certificate could be verified"
            raise NameRefused(text)
        context = self.context
        if context is None or (name.sni == self.constant_name and name.identity is None):
            return self.dialer(context, name.preface)
        if name.identity is not None:
            context = self._context_of(context, name.identity)
        try:
            return self.dialer(context.named(name.sni.decode("ascii")), name.preface)
        except (TLSConfigurationError, UnicodeError):
            raise NameRefused(f"{name.sni[:LONGEST_NAME].decode('latin-1')!r} is not a host name") from None

    def _context_of(self, base: ClientContext, identity: ClientIdentity) -> ClientContext:
        """Returns the context of an identity, which pools for several names may share. Raises NameRefused."""
        context = self.known.get(identity)
        if context is None:
            try:
                self.known[identity] = context = base.acting_as(identity)
            except TLSConfigurationError as error:
                raise NameRefused(f"{identity}: {error}") from None
        return context

    def dialer(self, context: ClientContext | None, preface: bytes = b"") -> Dialer:
        said = (lambda connected: preface) if preface else None
        return Dialer(
            *(self.poller, self.deadlines, self.target, context, self.timeout, self.last, said),
            reach=self.reach,
            options=self.options,
        )


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
            reach_of(settings),
            options_of(identity.socket),
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
        if settings.identities is not None:
            none = evolve(identity.limits, min_conn=0, adapts=False)  # its own pool is nobody's
            floors = Floors(
                identity.limits, are_bounded(settings.sni, settings.pool_conn_name, settings.identities.verifyhost)
            )
            return ConstantPool(name, dialer, none, *rest, own=None, dialer_for=dialers.named, floors=floors)
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


def reach_of(settings: model.Server) -> Reach | None:
    """Returns what says which addresses may be dialled for a server; None: any."""
    return Reach(settings.reach) if settings.reach else None


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


def name_of(expression: model.Expression, place: Place, where: str = REQUEST) -> Callable[[Exchange], bytes | None]:
    """Returns the function that fetches a connection's name, which the line at this place says. It raises NameRefused
    when the expression exceeds its limits, or fails."""
    fetch = compiled_alone(expression, where)

    def name(exchange: Exchange) -> bytes | None:
        try:
            return to_text(fetch(exchange))
        except Exception as error:
            raise NameRefused(f"{place}: {Unevaluated.by(error)}") from None

    return name


def constant_name(settings: model.Server) -> str:
    """Returns the SNI of connections that are opened without a request, "" for none."""
    return settings.known_name or (settings.tls.sni if settings.tls is not None else None) or ""
