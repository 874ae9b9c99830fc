"""Sessions of `mode tcp` on a clock, in memory: real frontend, guide, backends and pools of a configuration, between
two fake ends. Where a backend is in mode http, they become requests.

    world = StreamWorld(self, "listen l\\n server s1 192.0.2.1:1 pool-min-conn 1\\n")
    client = world.client()
    client.feed(b"hello")                    # as `clientfakes.Wire`
    server = world.connect("s1")             # the oldest dial succeeds; its wire
    server.feed(b"welcome")
    client.take()
    world.check_rest()                       # nothing is leaked: places, waiters, deadlines, timers
"""

from __future__ import annotations

from itertools import chain
from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.build.balancing import hash_of
from reusedproxy.build.rule_sets import RuleSets, default_backend
from reusedproxy.build.tables import counts_requests, tables_of
from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.stream import StreamConnection
from reusedproxy.config import model
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import TCP_CONNECT, DialFailure
from reusedproxy.net.slices import run_through
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import RawConnection, used_once
from reusedproxy.streams.stream import Stream
from reusedproxy.wire.heads import Limits
from tests.clientfakes import FakeListener, Wire
from tests.fakes import FakeDialer

HEAD = "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 20s\n timeout queue 8s\n"


class StreamWorld:
    """One frontend, the first of the configuration, and all backends."""

    def __init__(
        self,
        test: SynchronousTestCase,
        text: str,
        *,
        secure: bool = False,
        clock: Clock | None = None,
        deadlines: Deadlines | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.test = test
        self.limits = limits or Limits()
        if clock is None:
            clock = Clock()
            clock.advance(1000)
        self.clock = clock
        self.deadlines = deadlines or Deadlines(clock)
        self.announced: list[tuple[str, str]] = []
        self.log: list[Stream] = []
        #: Those that were read of a client's bytes, likewise.
        self.requests: list[Exchange] = []
        self.places = ConnectionLimit(1000)
        self.listener = FakeListener()
        self.configuration = configuration = read_configuration([Source("t.cfg", HEAD + text)], {})
        self.dialers: dict[str, FakeDialer] = {}
        self.servers: dict[str, Server] = {}
        self.backends = {each.name: self._backend(each, secure) for each in configuration.backends.values()}
        settings = next(iter(configuration.frontends.values()))
        self.frontend = self._frontend(settings)
        for backend in self.backends.values():
            backend.start()

    def _frontend(self, settings: model.Frontend) -> Frontend:
        frontend = Frontend(
            settings,
            self.backends.get(default_backend(settings) or ""),
            None,  # type: ignore[arg-type]
            self.deadlines,
            self.places,
            self.limits,
            self._announce,
        )
        frontend.backends = self.backends
        frontend.tables = tables_of(self.configuration.tables, {}, self.clock.seconds, [])
        rule_sets = RuleSets(self.backends)
        frontend.routing = run_through(rule_sets.routing(frontend))
        frontend.guide = run_through(rule_sets.guide(frontend))
        frontend.stream_log = self.log.append
        frontend.log = self.requests.append
        frontend.counts_requests = counts_requests(settings.rules, frontend.tables)
        frontend.set_guard()
        frontend.listeners.append(self.listener)  # type: ignore[arg-type]
        self.listener.taker = frontend
        return frontend

    def _backend(self, settings: model.Backend, secure: bool) -> Backend:
        servers = []
        for each in settings.servers:
            dialer = FakeDialer(self.clock, secure)
            dialer.deadlines = self.deadlines
            pool = HTTPConnectionPool(
                f"Server {settings.name}/{each.name}",
                dialer,  # type: ignore[arg-type]
                used_once(each.pool) if settings.mode == "tcp" else each.pool,
                self.clock,
                Random(1),
                self._announce,
                Limits(),
                connections=RawConnection if settings.mode == "tcp" else ServerConnection,
            )
            self.dialers[each.name] = dialer
            server = Server(settings.name, each, pool, self.clock.seconds())
            self.servers[each.name] = server
            servers.append(server)
        return Backend(settings, servers, self.clock.seconds, self._announce, hash_of(settings))

    def client(self, address: tuple[str, int] = ("192.0.2.7", 4711)) -> Wire:
        """A client that has connected."""
        wire = Wire()
        self.listener.connections += 1
        self.places.taken += 1
        transport: Any = wire
        listener: Any = self.listener
        connection = StreamConnection(self.frontend, transport, address, listener)
        self.frontend.connections.add(connection)
        connection.begin()
        return wire

    def connect(self, name: str) -> Wire:
        """The oldest dial to this server succeeds."""
        dial = self.dialers[name].open[0]
        dial._end()
        wire = Wire()
        dial.owner.dial_ready(dial, wire)
        return wire

    def refuse(self, name: str, *, timed_out: bool = False, ours: bool = False, phase: str = TCP_CONNECT) -> None:
        """The oldest dial to this server fails."""
        dial = self.dialers[name].open[0]
        dial._end()
        dial.owner.dial_failed(dial, DialFailure(phase, "Connection refused", timed_out, ours))

    def dialled(self, name: str) -> int:
        """How many dials to this server are open."""
        return len(self.dialers[name].open)

    def reload(self, text: str) -> StreamWorld:
        """Another world takes the place of this one, whose clients stay; they share no pool."""
        new = StreamWorld(self.test, text, clock=self.clock, deadlines=self.deadlines)
        for name, backend in self.backends.items():
            successor = new.backends.get(name)
            if successor is not None:
                for _ in backend.handing_over(successor):
                    pass
        for server in self.servers.values():
            for _ in chain(server.pool.sending_on(), server.pool.draining("reload")):
                pass
        return new

    def advance(self, seconds: float) -> None:
        """Time passes, and a deadline may be told a moment late."""
        self.clock.advance(seconds + 1 / 32)

    def flags(self) -> list[str]:
        """Of each line in the log: server and letters."""
        return [f"{each.server.name if each.server else '-'} {each.flags}" for each in self.log]

    def check_rest(self) -> None:
        """All sessions are over: nothing may be left of them."""
        test = self.test
        test.assertEqual(len(set(map(id, self.log))), len(self.log), "a session ended twice")
        test.assertEqual(self.frontend.connections, set())
        test.assertEqual((self.places.taken, self.places.over_tls, self.listener.connections), (0, 0, 0))
        for backend in self.backends.values():
            test.assertEqual((len(backend.queue), backend.traffic.scur), (0, 0))
            for server in backend.servers:
                test.assertEqual((server.served, server.traffic.scur), (0, 0), "a place was leaked")
                test.assertEqual(len(server.pool.waiters), 0)
                test.assertEqual(server.pool.in_use, set())
            backend.stop("test over")
        test.assertEqual(self.deadlines.watching(), 0, "a deadline is left")
        self.deadlines.stop()
        test.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [], "a timer is left")

    def _announce(self, level: str, text: str) -> None:
        self.announced.append((level, text))
