"""Holds what one `server` line has been made into, so that a later reading of the configuration can take it over.

Two readings of a line are the same server if their `Identity` is equal; its connections are then kept. Must never know
how its parts are built.
"""

from __future__ import annotations

from attrs import define, frozen

from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import Server
from reusedproxy.build.certificates import Stamps
from reusedproxy.build.servers.identities import Identities
from reusedproxy.config import model
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.model.rules import Format
from reusedproxy.config.model.sockets import PLAIN, ServerSocket
from reusedproxy.net.dial import Target
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits


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
    #: The expressions for the names of its connections, and the name known in advance.
    names: tuple[model.Expression | None, model.Expression | None, str | None]
    #: The PROXY protocol version, what its header says besides, and what is added to it.
    introduction: tuple[str, frozenset[str], tuple[tuple[int, Format], ...]]
    #: Added to the client's port (None: the server has its own).
    mapped: int | None = None
    #: Its connections carry no requests (mode tcp).
    raw: bool = False
    #: What of its TLS depends on the request. The stamps of files that requests choose are not among `files`: those
    #: that change end the connections of their identities only.
    chosen: IdentityRule | None = None
    #: The networks in which its address must be.
    reach: tuple[str, ...] = ()
    #: Other options of TCP need other connections.
    socket: ServerSocket = PLAIN


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
    #: Among which identities its requests choose; None: there is one.
    identities: Identities | None = None

    @property
    def pool(self) -> HTTPConnectionPool:
        return self.server.pool

    @property
    def context(self) -> ClientContext | None:
        """Returns the TLS context of its connections; None without TLS."""
        return self.pool.context

    def of_checks(self, context: ClientContext | None) -> ClientContext | None:
        """Returns the context of the server's checks, of which `context` has the settings: checks have an identity that
        is known beforehand."""
        return context if context is None or self.identities is None else self.identities.of_checks(context)

    def adopt_identities(self, pool: HTTPConnectionPool | None = None) -> None:
        """Has the line's pool, or this one, use the identities that were read last."""
        pool = pool or self.pool
        if self.identities is not None and isinstance(pool, ConstantPool):
            pool.names.adopt(self.identities.listed, self.identities.is_current)

    def succeed(self, previous: Line) -> None:
        """Takes the place of `previous`, and takes over its server's state, which may have changed
        since this line was built."""
        self.server.succeed(previous.server)
        self.pool.record(self.server.settings.record)
        if self.pool is not previous.pool:
            self.pool.keep_order_of(previous.pool)
        self.adopt_identities()
        for pool in self.pool.family:
            pool.ping_request = self.ping_request
        self._aim()
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

    def _aim(self) -> None:
        """Has checks and agent go where was ordered since they were built."""
        links = self.server.links
        if links is not None and self.checker is not None and self.checker.settings != self.server.check:
            links.aim_checks()
        if links is not None and self.agent is not None and self.agent.settings != self.server.agent:
            links.aim_agent()
