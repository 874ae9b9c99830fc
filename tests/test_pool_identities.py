"""Identities of a server's connections: who is warm beforehand, whose connections end, and that none serves another."""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.tls.identity import ClientIdentity
from reusedproxy.net.transport import OPEN
from reusedproxy.pool.connection import IN_USE
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.named import LEARNT_FOR, SWEEP, Floors, Name, NameRefused
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.fakes import Asker, FakeDialer, RecordingExchange

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class File:
    """Stands for a certificate as it was read."""

    def __init__(self, path: str) -> None:
        self.path = path


def identity(path: str) -> ClientIdentity:
    ours: Any = File(path)
    return ClientIdentity(ours)


class Bench:
    """A server's pools on a clock, one for each identity; `dialers` by identity."""

    def __init__(self, learnt: bool = True, resume: bool = True, **limits: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.announced: list[tuple[str, str]] = []
        self.dialers: dict[ClientIdentity | None, FakeDialer] = {}
        said = PoolLimits(**limits)
        self.pool = ConstantPool(
            "Server be/s1",
            self.dialer_for(Name(b"", b"")),
            evolve(said, min_conn=0, adapts=False),
            self.clock,
            Random(1),
            lambda level, text: self.announced.append((level, text)),
            Limits(),
            Budget(self.clock),
            own=None,
            dialer_for=self.dialer_for,
            floors=Floors(said, learnt),
        )
        self.current: set[ClientIdentity] = set()
        if resume:
            self.pool.resume()

    def dialer_for(self, name: Name) -> Any:
        if name.identity is not None and name.identity.ours is not None and "bad" in name.identity.ours.path:
            raise NameRefused("it is bad")
        if name.identity not in self.dialers:
            dialer = self.dialers[name.identity] = FakeDialer(self.clock)
            dialer.answer = dialer.accept
        return self.dialers[name.identity]

    def pass_time(self, seconds: float, step: float = 0.02) -> None:
        self.clock.pump([step] * round(seconds / step))

    def adopt(self, *listed: tuple[ClientIdentity, int | None]) -> None:
        self.current |= {each for each, _ in listed}
        self.pool.names.adopt([(Name(b"", b"", identity=each), floor) for each, floor in listed], self.is_current)

    def is_current(self, each: ClientIdentity) -> bool:
        return each in self.current

    def pool_of(self, each: ClientIdentity) -> HTTPConnectionPool:
        return self.pool.named(Name(b"", b"", identity=each))

    def borrow(self, each: ClientIdentity) -> Any:
        pool = self.pool_of(each)
        connection = pool.acquire()
        if connection is None:
            asker = Asker()
            pool.wait(asker)
            self.pass_time(0.1)
            (connection,) = asker.connections
        return connection

    def use(self, connection: Any) -> None:
        connection.send(RecordingExchange(), GET, True, None)
        connection.transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")

    def idle(self, each: ClientIdentity) -> int:
        pools = [pool for key, pool in self.pool.names.others.items() if key[3] is each]
        return sum(len(pool.idle) for pool in pools)

    def end(self) -> None:
        self.pool.close("test over")
        for dialer in self.dialers.values():
            dialer.deadlines.stop()


class FloorTests(SynchronousTestCase):
    def test_listed_identities_are_warm_before_anybody_asks(self) -> None:
        bench = Bench(min_conn=2)
        one, two = identity("one"), identity("two")
        bench.adopt((one, None), (two, 3))
        bench.pass_time(2)
        self.assertEqual((bench.idle(one), bench.idle(two)), (2, 3))
        self.assertEqual(bench.pool.held("idle"), 5)
        self.assertEqual(len(bench.pool.idle), 0)

    def test_they_are_opened_when_the_server_comes_into_use(self) -> None:
        bench = Bench(resume=False)
        one = identity("one")
        bench.adopt((one, 2))
        bench.pass_time(1)
        self.assertEqual(bench.idle(one), 0)
        bench.pool.resume()
        bench.pass_time(1)
        self.assertEqual(bench.idle(one), 2)

    def test_their_floors_stand_through_quiet_and_are_made_good(self) -> None:
        """Also though nobody has asked for any, and other names are purged."""
        bench = Bench(min_conn=2, purge_delay=1.0)
        one, two = identity("one"), identity("two")
        bench.adopt((one, None), (two, None))
        bench.pass_time(60, 0.1)
        self.assertEqual((bench.idle(one), bench.idle(two)), (2, 2))
        bench.dialers[one].transports[0].peer_ends()
        bench.pass_time(1)
        self.assertEqual(bench.idle(one), 2)

    def test_one_that_takes_the_place_of_another_is_not_one_too_many(self) -> None:
        """The floor stands while each of its connections is replaced at the end of its time."""
        bench = Bench(min_conn=1, purge_delay=1.0, max_age=3.0)
        one, two = identity("one"), identity("two")
        bench.adopt((one, None), (two, None))
        bench.pass_time(1)
        least = 2
        for _ in range(1000):
            bench.pass_time(0.02)
            least = min(least, bench.idle(one) + bench.idle(two))
        self.assertEqual(least, 2)
        self.assertGreater(len(bench.dialers[one].dials), 3)
        self.assertEqual([each.reason for each in bench.pool_of(one).ended if "needed" in each.reason], [])

    def test_one_whose_server_was_away_is_kept_up_again(self) -> None:
        """And counts for `strict-maxconn`."""
        bench = Bench(min_conn=2)
        one = identity("one")
        bench.adopt((one, None))
        bench.pass_time(1)
        dialer = bench.dialers[one]
        dialer.answer = dialer.refuse
        for transport in dialer.transports:
            transport.peer_ends()
        bench.pass_time(5)
        self.assertEqual(bench.pool.names.counted, len(dialer.open))
        dialer.answer = dialer.accept
        bench.pass_time(10)
        self.assertEqual((bench.idle(one), bench.pool.names.counted), (2, 2))
        self.assertIn(bench.pool_of(one), bench.pool.holding())

    def test_a_floor_gives_its_place_to_a_request_of_another_identity(self) -> None:
        """`strict-maxconn` below what the floors ask for: nobody waits in vain, and none is opened again and again."""
        bench = Bench(min_conn=1, most=2)
        known = [identity("one"), identity("two")]
        bench.adopt(*((each, None) for each in known))
        bench.pass_time(1)
        bench.use(bench.borrow(identity("three")))
        for each in known * 3:
            bench.use(bench.borrow(each))
            self.assertLessEqual(bench.pool.names.counted, 2)
        bench.pass_time(20)
        self.assertEqual((bench.pool.held("idle"), bench.pool.names.counted), (2, 2))
        self.assertLess(sum(len(dialer.dials) for dialer in bench.dialers.values()), 12)

    def test_what_stands_beyond_a_floor_is_purged(self) -> None:
        bench = Bench(min_conn=1, purge_delay=1.0)
        one = identity("one")
        bench.adopt((one, None))
        bench.pass_time(1)
        taken = [bench.borrow(one) for _ in range(5)]
        for each in taken:
            bench.use(each)
        self.assertGreater(bench.idle(one), 3)
        bench.pass_time(20)
        self.assertEqual(bench.idle(one), 1)

    def test_an_identity_that_is_learnt_keeps_its_floor_until_nobody_asks_for_it(self) -> None:
        bench = Bench(min_conn=2)
        one = identity("one")
        bench.use(bench.borrow(one))
        bench.pass_time(LEARNT_FOR / 2, 0.5)
        self.assertEqual(bench.idle(one), 2)
        bench.pass_time(LEARNT_FOR / 2 + 3 * SWEEP, 0.5)
        self.assertEqual(bench.idle(one), 0)
        self.assertEqual(bench.pool.names.others, {})

    def test_where_clients_could_invent_names_none_that_is_learnt_has_a_floor(self) -> None:
        bench = Bench(learnt=False, min_conn=2)
        one = identity("one")
        bench.use(bench.borrow(one))
        bench.pass_time(20, 0.1)
        self.assertLessEqual(bench.idle(one), 1)

    def test_a_listed_identity_goes_on_as_a_learnt_one_never(self) -> None:
        """It loses its floor as soon as it is listed no more."""
        bench = Bench(min_conn=2)
        one, two = identity("one"), identity("two")
        bench.adopt((one, None), (two, None))
        bench.pass_time(1)
        bench.adopt((two, 4))
        bench.pass_time(30, 0.1)
        self.assertEqual((bench.idle(one), bench.idle(two)), (0, 4))

    def test_a_floor_may_follow_the_demand_of_its_identity(self) -> None:
        """`pool-min-conn auto`: those of others stay as they are."""
        bench = Bench(min_conn=1, adapts=True)
        one, two = identity("one"), identity("two")
        bench.adopt((one, None), (two, None))
        bench.pass_time(1)
        for _ in range(3):
            for each in [bench.borrow(one) for _ in range(5)]:
                bench.use(each)
            bench.pass_time(1)
        bench.pass_time(60, 0.1)
        self.assertGreater(bench.idle(one), 1)
        self.assertEqual(bench.idle(two), 1)

    def test_listed_identities_are_not_forgotten_for_others(self) -> None:
        bench = Bench(min_conn=0)
        one = identity("one")
        bench.adopt((one, 1))
        bench.pass_time(1)
        for number in range(1200):
            bench.pool_of(identity(str(number)))
        self.assertEqual(bench.idle(one), 1)
        self.assertLessEqual(len(bench.pool.names.others), 1001)

    def test_one_that_cannot_be_used_is_told_and_costs_the_others_nothing(self) -> None:
        bench = Bench()
        one, bad = identity("one"), identity("bad")
        bench.adopt((bad, 1), (one, 1))
        bench.pass_time(1)
        self.assertEqual(bench.idle(one), 1)
        self.assertEqual(bench.announced, [("warning", "Server be/s1: a request gets no connection: it is bad")])


class ChangeTests(SynchronousTestCase):
    def test_other_files_end_the_connections_of_their_identity_only(self) -> None:
        bench = Bench(min_conn=2)
        one, two = identity("one"), identity("two")
        bench.adopt((one, None), (two, None))
        bench.pass_time(1)
        stays = [*bench.pool_of(two).idle]
        renewed = identity("one")
        bench.current = {two}
        bench.adopt((renewed, None), (two, None))
        bench.pass_time(1)
        self.assertEqual((bench.idle(one), bench.idle(renewed)), (0, 2))
        self.assertEqual(bench.pool_of(two).idle, stays)
        self.assertEqual(bench.pool.closed, {"other files": 2})

    def test_a_connection_in_use_is_not_used_again_after_the_change(self) -> None:
        bench = Bench(min_conn=0)
        one = identity("one")
        bench.adopt((one, None))
        bench.pass_time(1)
        connection = bench.borrow(one)
        bench.current = set()
        bench.adopt()
        bench.pass_time(1)
        self.assertEqual(bench.pool.held("in_use"), 1)
        bench.use(connection)
        bench.pass_time(2)
        self.assertEqual((bench.pool.held("idle"), bench.pool.held("in_use")), (0, 0))
        self.assertEqual(bench.pool.names.leaving, {})

    def test_who_waits_for_one_asks_again(self) -> None:
        bench = Bench()
        one = identity("one")
        bench.adopt((one, None))
        bench.pass_time(1)
        bench.dialers[one].answer = None
        asker = Patient()
        bench.pool_of(one).wait(asker)
        bench.current = set()
        bench.adopt()
        bench.pass_time(1)
        self.assertEqual((asker.told, asker.replaced), (0, 1))


class TrialTests(SynchronousTestCase):
    """A reload that tries what it will list."""

    def test_it_is_warm_while_the_old_identity_still_serves(self) -> None:
        bench = Bench(min_conn=2)
        one, renewed = identity("one"), identity("one")
        bench.adopt((one, None))
        bench.pass_time(1)
        bench.pool.names.try_out([(Name(b"", b"", identity=renewed), None)])
        bench.pass_time(1)
        self.assertEqual((bench.idle(one), bench.idle(renewed)), (2, 2))
        warm = bench.dialers[renewed].transports[:]
        bench.current = set()
        bench.adopt((renewed, None))
        bench.pass_time(1)
        self.assertEqual((bench.idle(one), bench.idle(renewed)), (0, 2))
        self.assertEqual(bench.dialers[renewed].transports, warm)

    def test_nothing_is_left_of_one_that_is_refused(self) -> None:
        bench = Bench(min_conn=2)
        one, renewed = identity("one"), identity("one")
        bench.adopt((one, None))
        bench.pass_time(1)
        bench.pool.names.try_out([(Name(b"", b"", identity=renewed), None)])
        bench.pass_time(1)
        bench.pool.names.give_up("reload refused")
        bench.pass_time(5)
        self.assertEqual((bench.idle(one), bench.idle(renewed)), (2, 0))
        self.assertEqual(len(bench.pool.names.others), 1)
        self.assertEqual(bench.pool.closed, {"reload refused": 2})


class Patient(Asker):
    """Who is told that another pool has taken the place of the one at which it waits."""

    replaced = 0

    def pool_replaced(self) -> None:
        self.replaced += 1


class Identities(RuleBasedStateMachine):
    """Requests of identities whose files are renewed, listed and taken off the list, at a server that closes
    connections and goes out of use: each gets a connection that was opened under its own identity, as its files were
    when it asked."""

    def __init__(self) -> None:
        super().__init__()
        self.most: int | None = None
        self.files = {name: identity(name) for name in "abcd"}
        self.listed: set[str] = set()
        self.lent: list[tuple[str, Any]] = []

    @initialize(most=st.sampled_from([None, None, 2, 6]))
    def begin(self, most: int | None) -> None:
        self.most = most
        self.bench = Bench(min_conn=1, purge_delay=1.0, idle_timeout=30.0, most=most)
        self.adopt()

    def adopt(self) -> None:
        self.bench.current = {*self.files.values()}
        self.bench.adopt(*((self.files[name], None) for name in sorted(self.listed)))

    def opened_by(self, connection: Any) -> ClientIdentity:
        (found,) = [each for each, dialer in self.bench.dialers.items() if connection.transport in dialer.transports]
        assert found is not None
        return found

    @rule(name=st.sampled_from("abcd"))
    def ask(self, name: str) -> None:
        wanted = self.files[name]
        pool = self.bench.pool_of(wanted)
        connection = pool.acquire()
        if connection is None:
            asker = Patient()
            pool.wait(asker)
            self.bench.pass_time(0.1)
            connection = asker.connections[0] if asker.connections else None
            if connection is None:
                pool.leave(asker)
                return
        assert self.opened_by(connection) is wanted
        self.lent.append((name, connection))

    @precondition(lambda self: self.lent)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        _, connection = self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1)))
        if connection.state == IN_USE:
            self.bench.use(connection)

    @rule(name=st.sampled_from("abcd"))
    def renew(self, name: str) -> None:
        self.files[name] = identity(name)
        self.adopt()

    @rule(name=st.sampled_from("abcd"), good=st.booleans())
    def reload_with_a_trial(self, name: str, good: bool) -> None:
        renewed = identity(name)
        self.bench.pool.names.try_out([(Name(b"", b"", identity=renewed), None)])
        self.bench.pass_time(0.5, 0.05)
        if good:
            self.files[name] = renewed
            self.adopt()
        else:
            self.bench.pool.names.give_up("reload refused")

    @rule(name=st.sampled_from("abcd"))
    def take_on_the_list_or_off(self, name: str) -> None:
        self.listed ^= {name}
        self.adopt()

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.bench.pass_time(seconds, 0.05)

    @rule(name=st.sampled_from("abcd"))
    def server_closes(self, name: str) -> None:
        for transport in self.bench.dialers.get(self.files[name], FakeDialer(Clock())).transports:
            if transport.state == OPEN:
                transport.peer_ends()

    @rule()
    def out_of_use_and_back(self) -> None:
        self.bench.pool.suspend("server DOWN")
        self.bench.pass_time(0.2)
        self.bench.pool.resume()

    @invariant()
    def the_server_has_no_more_than_it_may(self) -> None:
        assert self.most is None or self.bench.pool.counted <= self.most

    @invariant()
    def all_is_where_it_belongs(self) -> None:
        for key, pool in self.bench.pool.names.others.items():
            for connection in (*pool.idle, *pool.in_use):
                assert self.opened_by(connection) is key[3]

    @invariant()
    def it_adds_up(self) -> None:
        names = self.bench.pool.names
        pools = [*names.pools]
        assert names.used == sum(len(pool.in_use) for pool in pools)
        assert {*names.rested} <= {connection for pool in pools for connection in pool.idle}

    def teardown(self) -> None:
        self.bench.pass_time(1)
        for name in self.listed if self.most is None else ():
            assert self.bench.idle(self.files[name]) >= 1
        self.bench.end()
        self.bench.pass_time(10, 0.5)
        assert not self.bench.clock.getDelayedCalls()


IdentitiesTest = Identities.TestCase
IdentitiesTest.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
