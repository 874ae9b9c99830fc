"""Connects a server anew while it runs: its pool at another address, its checks and its agent where was ordered.

It finds the same places and TLS settings as `lines` does for the line with the same words. Must never know who has
moved the server, or why.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from attrs import define, evolve

from reusedproxy.backends.names import target_of
from reusedproxy.build.balancing import node_seed
from reusedproxy.build.certificates import Stamps
from reusedproxy.build.servers.connections import Pools, constant_name
from reusedproxy.build.servers.line import Identity, Line
from reusedproxy.build.step_dialers import with_port
from reusedproxy.config.model.checks import Agent
from reusedproxy.config.model.proxies import Check
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.dial import Target
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.pool.pool import HTTPConnectionPool


def feeds_pool(line: Line, target: Target, context: ClientContext | None) -> bool:
    """Tells whether the connections of checks of this address are like those of the line's pool."""
    pool = line.pool
    alike = context is line.context and target == line.identity.target
    return alike and pool.carries_requests and pool.knows_name


@define
class Elsewhere:
    """Builds what the server of a line needs elsewhere (`backends.server.Relocation`, `backends.server.Links`)."""

    line: Line
    pools: Pools
    announce: Callable[[str, str], None]
    #: What the line says of TLS, with the stamps of its files, and its context; None: it does without.
    tls: ServerTLS | None
    files: Stamps
    context: ClientContext | None

    def pool_at(self, target: Target) -> HTTPConnectionPool:
        context = self.line.context
        return self._pool(evolve(self.line.identity, target=target), None if context is None else context.elsewhere())

    @property
    def may_encrypt(self) -> bool:
        return self.tls is not None

    def pool_of_kind(self) -> HTTPConnectionPool:
        clear = self.line.server.clear or self.context is None
        return self._pool(self._identity(), None if clear or self.context is None else self.context.elsewhere())

    def _identity(self) -> Identity:
        clear = self.line.server.clear
        return evolve(self.line.identity, tls=None if clear else self.tls, files=() if clear else self.files)

    def turned(self) -> None:
        self.line.identity = self._identity()
        self.aim_checks()

    def _pool(self, identity: Identity, context: ClientContext | None) -> HTTPConnectionPool:
        line = self.line
        settings = line.server.settings
        pool = self.pools.pool(f"Server {line.server.full_name}", settings, identity, context, self.announce)
        pool.ping_request = line.ping_request
        pool.succeed(line.pool)
        pool.has_places(line.server.limit)
        line.adopt_identities(pool)
        return pool

    def moved(self, target: Target) -> None:
        line, server = self.line, self.line.server
        line.identity = evolve(line.identity, target=target)
        server.node_seed = node_seed(server.settings, target)
        if server.check is not None and None in (server.check.addr, server.check.own_port):
            self.aim_checks()
        if server.agent is not None and server.agent.addr is None:
            self.aim_agent()

    def aim_checks(self) -> None:
        line, check = self.line, self.line.server.check
        checker = line.checker
        if checker is None or check is None:
            return
        target = self._target_of(check, checker.settings, checker.target)
        context = self._context_of(check, checker.context)
        checker.aim(check, target, context, feeds=feeds_pool(line, target, context))

    def aim_agent(self) -> None:
        line, agent = self.line, self.line.server.agent
        if line.agent is not None and agent is not None:
            line.agent.aim(agent, self._target_of(agent, line.agent.settings, line.agent.target))

    def _target_of(self, said: Check | Agent, before: Check | Agent, there: Target) -> Target:
        """Returns the address that is said, of a host that the settings `before` may have named, which was found at
        `there`."""
        own = self.line.identity.target
        said_port = said.own_port if isinstance(said, Check) else said.port
        if said.addr is None:
            return with_port(own, said_port)
        port = said_port or (0 if own.family == socket.AF_UNIX else int(own.address[1]))
        return with_port(there, port) if said.addr == before.addr else target_of(said.addr, port)

    def _context_of(self, check: Check, before: ClientContext | None) -> ClientContext | None:
        """Returns the TLS context of checks with these settings. Those of another address or port do not use the
        traffic's, unless there is `check-ssl`, as in HAProxy."""
        line, settings = self.line, self.line.server.settings
        apart = check.addr is not None or check.port is not None
        if settings.check_tls is not None and (apart or line.context is None):
            return None if before is None else before.elsewhere()
        if apart:
            return None
        context = line.of_checks(line.context)
        named = context is not None and check.sni is not None and check.sni != constant_name(settings)
        return context.named(check.sni) if named and context is not None and check.sni is not None else context
