"""Servers that come up: they take traffic as their connections become warm, and somebody always serves."""

from __future__ import annotations

import unittest
from collections import Counter
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.coming_up import SETTLED, SETTLED_AT_LAST, TICK, ComingUp
from reusedproxy.backends.server import DOWN, DRAIN, FULL_WEIGHT, MAINT, READY, UP, Server
from reusedproxy.backends.slow_start import SlowStart
from reusedproxy.config import model
from reusedproxy.config.model.balance import Balance, HashType
from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.fakes import Asks, FakeDialer, RecordingExchange

PLACE = model.Place("test.cfg", 1)


class Request(Asks):
    """Who asks for a server, and then its pool for a connection, which is held for `hold` seconds."""

    def __init__(self, fleet: Fleet, hold: float) -> None:
        super().__init__()
        self.fleet, self.hold = fleet, hold
        self.server: Server | None = None
        self.status = 204

    def placed(self, server: Server) -> None:
        super().placed(server)
        self.server = server
        connection = server.pool.acquire()
        if connection is not None:
            self.connection_ready(connection)
            return
        self.fleet.cold[server.name] += 1
        server.pool.wait(self)

    def connection_ready(self, connection: ServerConnection) -> None:
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None)
        self.fleet.clock.callLater(self.hold, self.answer, connection)

    def answer(self, connection: Any) -> None:
        connection.transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.end()

    def connection_failed(self, failure: DialFailure) -> None:
        self.fleet.failed += 1
        self.end()

    def pool_replaced(self) -> None:
        raise AssertionError("no pool is replaced here")

    def end(self) -> None:
        assert self.server is not None
        self.fleet.backend.done(self.server)


class Fleet:
    """A backend of servers with real pools, on one clock. `cold` are requests that found no connection, by server."""

    def __init__(
        self, count: int = 3, *, floor: int = 4, warm_up: float = 10.0, handshake: float = 0.02, **words: Any
    ) -> None:
        said = {name: words.pop(name) for name in ("balance", "hash_type") if name in words}
        self.clock = Clock()
        self.clock.advance(1000)
        self.cold = Counter[str]()
        self.failed = 0
        self.said: list[str] = []
        self.random = Random(1)
        self.dialers: dict[str, FakeDialer] = {}
        self.servers = [
            self.server(f"s{number}", floor, handshake, warm_up=warm_up, **words) for number in range(count)
        ]
        self.backend = self.backend_of(self.servers, **said)

    def server(self, name: str, floor: int = 4, handshake: float = 0.02, **words: Any) -> Server:
        dialer = self.dialers[name] = FakeDialer(self.clock)
        dialer.after = handshake
        dialer.answer = dialer.accept
        arguments: Any = (dialer, model.PoolLimits(min_conn=floor), self.clock, Random(1), lambda *said: None, Limits())
        pool = HTTPConnectionPool(name, *arguments)
        line = model.Server(name=name, place=PLACE, host="127.0.0.1", **words)
        return Server("be", line, pool, self.clock.seconds())

    def backend_of(self, servers: list[Server], **said: Any) -> Backend:
        clock: Any = self.clock
        backend = Backend(
            model.Backend(name="be", place=PLACE, **said),
            servers,
            clock.seconds,
            lambda level, text: self.said.append(text),
            lambda asks: self.random.getrandbits(32),
            Random(1),
        )
        backend.slow_starts = {
            server: SlowStart(server, clock, backend.slow_start_advanced)
            for server in servers
            if server.settings.slowstart
        }
        backend.comings = ComingUp(servers, clock, backend.warmed, lambda level, text: self.said.append(text))
        backend.coming_up = backend.comings.courses
        return backend

    def start(self) -> Fleet:
        self.backend.start()
        self.pass_time(2)
        self.cold.clear()
        return self

    def pass_time(self, seconds: float, step: float = 0.005) -> None:
        self.clock.pump([step] * round(seconds / step))

    def falls(self, server: Server) -> None:
        self.backend.server_changed(server, DOWN, "x")

    def rises(self, server: Server) -> None:
        self.backend.server_changed(server, UP, "x")

    def by_hand(self, server: Server) -> FakeDialer:
        """Has the server's dials wait for the test from now on."""
        dialer = self.dialers[server.name]
        dialer._answer = None
        return dialer

    def load(self, seconds: float, rate: float, hold: float = 0.01, step: float = 0.005) -> Counter[str]:
        """Requests come by chance, `rate` a second. Returns how many each server got."""
        got = Counter[str]()
        for _ in range(round(seconds / step)):
            for _ in range(round(rate * step)):
                request = Request(self, self.random.expovariate(1 / hold))
                assert self.backend.choose(request)
                got.update(request.servers)
            self.clock.advance(step)
        return got

    def given(self, count: int, **asked: Any) -> Counter[str]:
        """Places requests that end at once."""
        had = Counter[str]()
        for _ in range(count):
            asks = Asks()
            self.backend.choose(asks, **asked)
            had.update(asks.servers)
            for name in asks.servers:
                self.backend.done(self.backend.named[name])
        return had


class ReturnTests(SynchronousTestCase):
    """A server comes back under load: simulated, with real pools."""

    def returns(self, **words: Any) -> tuple[Fleet, Counter[str], Counter[str]]:
        """Returns what the servers got in the second of the return, and in the one after the next."""
        fleet = Fleet(**words).start()
        fleet.falls(fleet.servers[0])
        fleet.load(3, 400)
        fleet.cold.clear()
        fleet.rises(fleet.servers[0])
        first = fleet.load(1, 400)
        fleet.load(1, 400)
        return fleet, first, fleet.load(1, 400)

    def test_no_request_waits_for_a_handshake(self) -> None:
        """Whatever the algorithm; with `pool-warm-up 0`, as in HAProxy, the first ones do."""
        for name in ("roundrobin", "leastconn", "random", "static-rr", "first"):
            cold = {}
            for warm_up in (0.0, 10.0):
                fleet, first, later = self.returns(warm_up=warm_up, balance=Balance(name))
                cold[warm_up] = fleet.cold["s0"]
                self.assertEqual(fleet.failed, 0)
                if name == "first":
                    self.assertEqual(set(later), {"s0"})
                else:
                    self.assertGreater(later["s0"], 110, (name, later))
                    self.assertGreater(first["s0"], 70, (name, first))
            if name not in ("first", "static-rr"):
                self.assertEqual(cold[10.0], 0, name)
            self.assertGreater(cold[0.0], cold[10.0], name)

    def test_more_at_once_than_its_floor(self) -> None:
        """A floor of two, and ten requests at once at each server: it has its share within three seconds all the same,
        and few find no connection, though they go to it with its full weight."""
        fleet = Fleet(floor=2).start()
        fleet.load(2, 1000, hold=0.03)
        fleet.falls(fleet.servers[0])
        fleet.load(2, 1000, hold=0.03)
        fleet.cold.clear()
        fleet.rises(fleet.servers[0])
        fleet.load(3, 1000, hold=0.03)
        self.assertLess(fleet.cold["s0"], 5)
        self.assertGreater(fleet.load(1, 1000, hold=0.03)["s0"], 280)


class ShareTests(SynchronousTestCase):
    """What part of its weight counts."""

    def coming(self, *, floor: int = 4, **words: Any) -> tuple[Fleet, FakeDialer]:
        """A server that has just come up, whose dials wait for the test."""
        fleet = Fleet(2, floor=floor, **words).start()
        fleet.falls(fleet.servers[0])
        fleet.pass_time(0.1)
        dialer = fleet.by_hand(fleet.servers[0])
        fleet.rises(fleet.servers[0])
        return fleet, dialer

    def test_its_weight_is_that_of_its_connections(self) -> None:
        fleet, dialer = self.coming()
        s0 = fleet.servers[0]
        for stand, share in ((0, 0), (1, 4), (2, 8), (3, 12), (4, 16)):
            while len(s0.pool.idle) < stand:
                dialer.open[0].succeed()
            fleet.pass_time(2 * TICK)
            self.assertEqual(s0.share, share)
            due = round(320 * share / (16 + share))
            self.assertIn(fleet.given(320)["s0"], range(due - 2, due + 3))

    def test_all_or_nothing_where_the_algorithm_knows_no_parts(self) -> None:
        for said in (Balance("static-rr"), Balance("first"), Balance("source")):
            fleet, dialer = self.coming(balance=said)
            for _ in range(3):
                dialer.open[0].succeed()
            fleet.pass_time(2 * TICK)
            self.assertEqual(fleet.given(20), {"s1": 20}, said.algorithm)
            dialer.open[0].succeed()
            fleet.pass_time(2 * TICK)
            self.assertGreater(fleet.given(20)["s0"], 5, said.algorithm)

    def test_a_ring_has_as_many_of_its_nodes(self) -> None:
        fleet, dialer = self.coming(balance=Balance("source"), hash_type=HashType(consistent=True))
        self.assertEqual(fleet.given(100), {"s1": 100})
        dialer.open[0].succeed()
        fleet.pass_time(2 * TICK)
        self.assertIn(fleet.given(1000)["s0"], range(50, 400))

    def test_what_is_bound_to_it_goes_there(self) -> None:
        fleet, _ = self.coming()
        s0 = fleet.servers[0]
        self.assertEqual(fleet.given(5, bound=s0), {"s0": 5})
        asks = Asks()
        asks.binding = Binding(s0, forced=False, leaves=True, waits=False)
        fleet.backend.choose_bound(asks, asks.binding)
        self.assertEqual(asks.servers, ["s0"])

    def test_a_retry_that_is_to_avoid_the_only_ready_one_goes_to_it(self) -> None:
        fleet, _ = self.coming()
        self.assertEqual(fleet.given(5, avoid=fleet.servers[1]), {"s0": 5})

    def test_a_request_goes_on_to_one_with_an_idle_connection(self) -> None:
        """For a second after its floor stands, and no longer: then it has what its share needs."""
        fleet, dialer = self.coming(floor=1)
        s0 = fleet.servers[0]
        dialer.open[0].succeed()
        fleet.pass_time(2 * TICK)
        self.assertEqual(s0.share, FULL_WEIGHT)
        taken = s0.pool.acquire()
        assert taken is not None
        self.assertEqual(fleet.given(20), {"s1": 20})
        s0.pool.release(taken)
        self.assertIn(fleet.given(20)["s0"], (10, 11))
        fleet.pass_time(SETTLED + 2 * TICK)
        self.assertEqual(fleet.backend.coming_up, {})
        s0.pool.acquire()
        # From now on as ever: it has its turns.
        self.assertEqual(fleet.given(20)["s0"], 10)

    def test_after_a_while_it_has_its_full_weight_in_any_case(self) -> None:
        """And the log says why."""
        fleet, dialer = self.coming()
        dialer.open[0].succeed()
        fleet.pass_time(9.9, step=0.05)
        self.assertEqual((fleet.servers[0].share, fleet.said[-1:]), (4, fleet.said[-1:]))
        fleet.pass_time(0.3, step=0.05)
        self.assertEqual(fleet.servers[0].share, FULL_WEIGHT)
        self.assertIn("though 1 of the 4 connections of its floor stand: 10 s are over (pool-warm-up)", fleet.said[-1])

    def test_slowstart_begins_when_the_floor_stands(self) -> None:
        fleet, dialer = self.coming(slowstart=20.0, maxconn=20)
        s0 = fleet.servers[0]
        fleet.pass_time(5, step=0.05)
        self.assertEqual((s0.share, s0.throttle, s0.maxconn), (0, 1, 1))
        while dialer.open:
            dialer.open[0].succeed()
        fleet.pass_time(0.1)
        self.assertEqual((s0.share, s0.throttle), (1, 1))
        fleet.pass_time(10, step=0.05)
        self.assertIn((s0.share, s0.throttle), ((8, 8), (9, 9)))
        fleet.pass_time(11, step=0.05)
        self.assertEqual((s0.share, s0.maxconn), (FULL_WEIGHT, 20))

    def test_one_that_was_never_away_is_warm(self) -> None:
        """DRAIN keeps its connections."""
        fleet = Fleet(2).start()
        fleet.backend.set_state(fleet.servers[0], DRAIN)
        fleet.backend.set_state(fleet.servers[0], READY)
        self.assertEqual((fleet.servers[0].share, fleet.given(10)["s0"]), (FULL_WEIGHT, 5))

    def test_without_a_floor_it_has_its_full_weight(self) -> None:
        """Nothing is opened for it before there is a request."""
        fleet, _ = self.coming(floor=0)
        self.assertEqual(fleet.given(10)["s0"], 5)


class ColdTests(SynchronousTestCase):
    """Where nothing is warm, somebody serves."""

    def test_a_single_server_serves_at_once(self) -> None:
        fleet = Fleet(1).start()
        fleet.falls(fleet.servers[0])
        fleet.by_hand(fleet.servers[0])
        fleet.rises(fleet.servers[0])
        self.assertEqual(fleet.given(5), {"s0": 5})

    def test_all_that_come_up_together_serve(self) -> None:
        """Who has an idle connection first, and none is left out before one is ready."""
        fleet = Fleet(3).start()
        for server in fleet.servers:
            fleet.falls(server)
        dialers = [fleet.by_hand(server) for server in fleet.servers]
        for server in fleet.servers:
            fleet.rises(server)
        self.assertEqual(fleet.given(30), {"s0": 10, "s1": 10, "s2": 10})
        for _ in range(2):
            dialers[0].open[0].succeed()
        fleet.pass_time(2 * TICK)
        self.assertEqual(fleet.given(10), {"s0": 10})
        taken = [fleet.servers[0].pool.acquire() for _ in range(2)]
        self.assertIn(fleet.given(100)["s0"], range(78, 83))
        for connection in taken:
            assert connection is not None
            fleet.servers[0].pool.release(connection)
        for _ in range(2):
            dialers[0].open[0].succeed()
        fleet.pass_time(2 * TICK)
        self.assertEqual(fleet.given(10), {"s0": 10})

    def test_the_ready_one_goes(self) -> None:
        """Whoever is left serves, cold or not."""
        fleet = Fleet(2).start()
        fleet.falls(fleet.servers[0])
        fleet.by_hand(fleet.servers[0])
        fleet.rises(fleet.servers[0])
        self.assertEqual(fleet.given(5), {"s1": 5})
        fleet.falls(fleet.servers[1])
        self.assertEqual(fleet.given(5), {"s0": 5})

    def test_one_that_refuses_connections_does_not_get_them_all_its_time(self) -> None:
        """A check that only connects finds it UP, while its handshakes fail: nothing is lost for these seconds."""
        fleet = Fleet(2).start()
        fleet.falls(fleet.servers[0])
        dialer = fleet.dialers["s0"]
        dialer._answer = dialer.refuse
        fleet.rises(fleet.servers[0])
        self.assertEqual(fleet.load(5, 200), {"s1": 1000})
        self.assertEqual(fleet.failed, 0)


class SuccessionTests(SynchronousTestCase):
    def test_a_server_that_a_reload_adds_comes_up(self) -> None:
        fleet = Fleet(1).start()
        old = fleet.backend
        servers = [fleet.servers[0], fleet.server("new", 4)]
        servers[0] = Server("be", servers[0].settings, servers[0].pool, 0.0)
        new = fleet.backend_of(servers)
        servers[0].succeed(old.servers[0])
        fleet.by_hand(servers[1])
        new.succeed(old)
        old.stop_timers()
        new.start()
        fleet.backend = new
        self.assertEqual(fleet.given(10), {"s0": 10})
        while fleet.dialers["new"].open:
            fleet.dialers["new"].open[0].succeed()
        fleet.pass_time(2 * TICK)
        self.assertEqual(fleet.given(10)["new"], 5)

    def test_one_that_comes_up_during_a_reload_goes_on(self) -> None:
        fleet = Fleet(2).start()
        fleet.falls(fleet.servers[0])
        dialer = fleet.by_hand(fleet.servers[0])
        fleet.rises(fleet.servers[0])
        dialer.open[0].succeed()
        fleet.pass_time(2 * TICK)
        old = fleet.backend
        servers = [Server("be", each.settings, each.pool, 0.0) for each in fleet.servers]
        new = fleet.backend_of(servers)
        for server, before in zip(servers, fleet.servers, strict=True):
            server.succeed(before)
        new.succeed(old)
        old.stop_timers()
        new.start()
        self.assertEqual([each.share for each in servers], [4, FULL_WEIGHT])
        while dialer.open:
            dialer.open[0].succeed()
        fleet.pass_time(2 * TICK)
        self.assertEqual([each.share for each in servers], [FULL_WEIGHT, FULL_WEIGHT])

    def test_nothing_is_left_when_it_stops(self) -> None:
        fleet = Fleet(2).start()
        fleet.falls(fleet.servers[0])
        fleet.by_hand(fleet.servers[0])
        fleet.rises(fleet.servers[0])
        fleet.backend.stop("test over")
        for dialer in fleet.dialers.values():
            dialer.deadlines.stop()
        self.assertEqual(fleet.clock.getDelayedCalls(), [])


class ComingUpMachine(RuleBasedStateMachine):
    """Servers come and go in any order, and their dials succeed, fail or hang."""

    @initialize(
        count=st.integers(1, 4),
        floor=st.sampled_from([0, 1, 3, 20]),
        name=st.sampled_from(["roundrobin", "leastconn", "random", "static-rr", "first", "source"]),
        backup=st.booleans(),
        slowstart=st.sampled_from([0.0, 5.0]),
    )
    def begin(self, count: int, floor: int, name: str, backup: bool, slowstart: float) -> None:
        self.fleet = Fleet(count, floor=floor, balance=Balance(name), slowstart=slowstart)
        self.fleet.servers[-1].backup = backup and count > 1
        self.fleet.backend.use_usable()
        self.fleet.backend.start()

    @rule(at=st.integers(0, 3), health=st.sampled_from([UP, UP, DOWN]))
    def check(self, at: int, health: str) -> None:
        server = self.fleet.servers[at % len(self.fleet.servers)]
        if server.health != health:
            self.fleet.backend.server_changed(server, health, "x")

    @rule(at=st.integers(0, 3), admin=st.sampled_from([READY, DRAIN, MAINT]))
    def order(self, at: int, admin: str) -> None:
        self.fleet.backend.set_state(self.fleet.servers[at % len(self.fleet.servers)], admin)

    @rule(at=st.integers(0, 3), how=st.sampled_from(["accept", "refuse", "hang"]))
    def answers(self, at: int, how: str) -> None:
        server = self.fleet.servers[at % len(self.fleet.servers)]
        dialer = self.fleet.dialers[server.name]
        dialer._answer = None if how == "hang" else getattr(dialer, how)
        while how != "hang" and dialer.open and server.pool.state == "running":
            getattr(dialer, how)(dialer.open[0])

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.5, 3.0]))
    def wait(self, seconds: float) -> None:
        self.fleet.pass_time(seconds, step=min(seconds, 0.05))

    @rule(count=st.integers(1, 8))
    def ask(self, count: int) -> None:
        usable = self.fleet.backend.usable
        had = self.fleet.given(count)
        assert sum(had.values()) == (count if usable else 0), had

    @rule()
    def in_time_all_are_warm(self) -> None:
        self.fleet.pass_time(10.0 + SETTLED_AT_LAST + 1.0, step=0.05)
        assert not self.fleet.backend.coming_up
        assert all(server.warmth == FULL_WEIGHT for server in self.fleet.servers)

    @invariant()
    def one_is_chosen_wherever_one_is_usable(self) -> None:
        backend = self.fleet.backend
        usable = [each for each in backend.servers if each.usable and not each.backup] or [
            each for each in backend.servers if each.usable
        ][:1]
        assert backend.usable_servers == len(usable)
        assert backend._held_back <= set(usable)
        if usable:
            chosen = set(usable) - backend._held_back
            assert chosen and all(each.eweight > 0 for each in chosen)
            if backend._held_back:
                assert any(each.warmth == FULL_WEIGHT for each in chosen)
                assert all(each.warmth < FULL_WEIGHT for each in backend._held_back)

    @invariant()
    def only_who_serves_comes_up(self) -> None:
        for server in self.fleet.servers:
            assert 0 <= server.share <= FULL_WEIGHT
            assert server.serving or server not in self.fleet.backend.coming_up
            assert server.warmth == FULL_WEIGHT or server in self.fleet.backend.coming_up

    def teardown(self) -> None:
        self.fleet.backend.stop("test over")


class ComingUpMachineTests(ComingUpMachine.TestCase):  # type: ignore[misc, valid-type]
    """Hypothesis looks for an order of events that breaks a promise."""

    settings = settings(
        max_examples=60,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


assert issubclass(ComingUpMachineTests, unittest.TestCase)
