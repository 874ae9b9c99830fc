"""Connections are spread over the nodes behind one address: one at a time, never below the floor, and not for ever."""

from __future__ import annotations

import unittest
from collections import Counter
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Spread as Settings
from reusedproxy.pool.connection import IN_USE, ServerConnection
from reusedproxy.pool.learning.nodes import FORGOTTEN, Nodes, even, unevenness
from reusedproxy.pool.reasons import SPREAD_OUT
from reusedproxy.pool.spread import AGAIN, EVERY_MOST, VAIN, printable
from tests.fakes import FakeDial, PoolBench

HEADER = Settings("x-node")


class Balancer:
    """Stands before a pool: `land` says to which node each new connection goes; in turns of chance by default."""

    def __init__(
        self, *, floor: int = 6, nodes: int = 3, spread: Settings | None = None, seed: int = 1, **more: Any
    ) -> None:
        self.random = Random(seed)
        self.nodes = nodes
        self.bench = PoolBench(min_conn=floor, spread=spread or Settings(), **more)
        self.pool = self.bench.pool
        self.at: dict[Any, str] = {}
        self.least = self.most_dialled = 0
        upkeep = self.pool.upkeep
        assert upkeep.spread is not None
        self.spread = upkeep.spread
        self.spread._serial_of = self.serial
        self.bench.dialer.answer = self.accept
        #: What answers say of the node.
        self.says = lambda node: b"X-Node: " + node.encode() + b"\r\n"

    def land(self) -> str:
        return f"n{self.random.randrange(self.nodes)}"

    def accept(self, dial: FakeDial) -> None:
        transport = dial.succeed()
        if transport not in self.at:
            self.at[transport] = self.land()

    def serial(self, connection: ServerConnection) -> str:
        transport: Any = connection.transport
        if transport not in self.at:
            self.at[transport] = self.land()
        return self.at[transport]

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Time passes; the server answers whatever it is asked."""
        self.least = len(self.pool.idle)
        dialled = self.spread.dials
        for _ in range(round(seconds / step)):
            self.bench.pass_time(step, step=step)
            self.answer()
            self.least = min(self.least, len(self.pool.idle))
            assert len(self.pool.holdings.due) <= 1
        self.most_dialled = self.spread.dials - dialled

    def answer(self) -> None:
        for connection in [*self.pool.in_use]:
            transport: Any = connection.transport
            if transport.take_written():
                node = self.at[transport]
                transport.receive(b"HTTP/1.1 204 No Content\r\n" + self.says(node) + b"\r\n")

    @property
    def counts(self) -> list[int]:
        """How many connections really are at each node, the most first."""
        found = Counter(self.serial(each) for each in (*self.pool.idle, *self.pool.in_use))
        return sorted((found.get(f"n{number}", 0) for number in range(self.nodes)), reverse=True)

    @property
    def said(self) -> list[str]:
        return [text for _, text in self.bench.announced]


class NodesTests(SynchronousTestCase):
    def test_where_connections_are(self) -> None:
        nodes = Nodes()
        for number, node in enumerate("aab"):
            nodes.place(number, node, 1.0)
        nodes.leave(2, 5.0)
        nodes.leave(7, 5.0)
        self.assertEqual((nodes.counts(5.0), nodes.of(1), nodes.of(2), len(nodes)), ({"a": 2, "b": 0}, "a", None, 2))
        self.assertEqual(nodes.counts(5.0 + FORGOTTEN), {"a": 2})

    def test_what_is_even(self) -> None:
        for counts, is_even in (
            ({}, True), ({"a": 1}, True), ({"a": 2}, False), ({"a": 2, "b": 1}, True), ({"a": 3, "b": 1}, False),
            ({"a": 1, "b": 1, "c": 0}, True), ({"a": 2, "b": 2, "c": 0}, False),
        ):  # fmt: skip
            self.assertEqual(even(counts), is_even, counts)

    def test_each_that_goes_where_two_less_are_makes_them_more_even(self) -> None:
        for before, after in (
            ({"a": 3, "b": 1}, {"a": 2, "b": 2}),
            ({"a": 4, "b": 1, "c": 1}, {"a": 3, "b": 2, "c": 1}),
        ):
            self.assertLess(unevenness(after), unevenness(before))
        self.assertEqual(unevenness({"a": 3, "b": 2}), unevenness({"a": 2, "b": 3}))


class SpreadTests(SynchronousTestCase):
    def test_all_come_to_be_at_all_nodes(self) -> None:
        """By the certificate, and by a header; the floor stands all the time."""
        for by in (Settings(), HEADER):
            for seed in range(5):
                balancer = Balancer(spread=by, seed=seed)
                balancer.land = lambda: "n0"  # type: ignore[method-assign]
                balancer.pass_time(0.5)
                del balancer.land
                self.assertEqual(balancer.counts, [6, 0, 0])
                balancer.pass_time(1500, step=0.25)
                seen = balancer.spread.nodes.counts(balancer.bench.clock.seconds())
                self.assertTrue(even(seen), (by, seed))
                self.assertEqual(sorted(seen.values(), reverse=True), [each for each in balancer.counts if each])
                self.assertEqual(len(seen), 3)
                self.assertGreaterEqual(balancer.least, 6 if by == Settings() else 2)
                self.assertLess(balancer.most_dialled, 80)
                self.assertEqual(balancer.pool.closed.get(SPREAD_OUT), balancer.spread.dials)
                dialled = balancer.spread.dials
                balancer.pass_time(600, step=0.5)
                self.assertEqual(balancer.spread.dials, dialled)

    def test_it_is_off_unless_asked_for(self) -> None:
        self.assertIsNone(PoolBench(min_conn=2).pool.upkeep.spread)

    def test_one_at_a_time_and_one_a_second(self) -> None:
        balancer = Balancer(floor=12)
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(0.5)
        turns = iter(range(1000))
        balancer.land = lambda: f"n{next(turns) % 3}"  # type: ignore[method-assign]
        balancer.pass_time(10)
        self.assertLessEqual(balancer.most_dialled, 11)
        self.assertGreater(balancer.most_dialled, 4)

    def test_a_balancer_that_brings_all_to_one_node_is_given_up(self) -> None:
        """With a word, and tried again after half an hour; never more often than each half a minute in the end."""
        balancer = Balancer()
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(60, step=0.1)
        self.assertLess(balancer.spread.dials, VAIN)
        balancer.pass_time(240, step=0.1)
        self.assertEqual((balancer.spread.state, balancer.spread.dials), ("given up", VAIN))
        (said,) = balancer.said
        self.assertIn("pool-spread: 8 new connections in a row have come to one node by certificate", said)
        balancer.pass_time(AGAIN - 310, step=0.5)
        self.assertEqual(balancer.spread.dials, VAIN)
        balancer.pass_time(VAIN * (EVERY_MOST + 2) + 20, step=0.5)
        self.assertEqual(balancer.spread.dials, 2 * VAIN)
        self.assertEqual(len(balancer.said), 2)

    def test_a_node_that_is_never_reached_is_given_up_and_then_forgotten(self) -> None:
        balancer = Balancer()
        first = iter(["n0", "n1", "n2", "n0", "n1", "n2"])
        balancer.land = lambda: next(first)  # type: ignore[method-assign]
        balancer.pass_time(0.5)
        turns = iter(range(100000))
        balancer.land = lambda: f"n{next(turns) % 2}"  # type: ignore[method-assign]
        for connection in [*balancer.pool.idle]:
            if balancer.serial(connection) == "n2":
                balancer.pool.retire(connection, "test")
        balancer.pass_time(400, step=0.1)
        self.assertEqual(balancer.spread.state, "given up")
        self.assertIn("have not come to the nodes that have few (by certificate: ", balancer.said[0])
        self.assertIn("0 at n2): the balancer does not spread them", balancer.said[0])
        dialled = balancer.spread.dials
        balancer.pass_time(AGAIN + 400, step=0.5)
        self.assertLessEqual(balancer.spread.dials, dialled + 40)
        self.assertTrue(even(balancer.spread.nodes.counts(9e9)))
        self.assertEqual({*balancer.spread.nodes.seen}, {"n0", "n1"})

    def test_what_has_become_even_by_itself_is_not_given_up_any_more(self) -> None:
        """Connections end for other reasons, too, and those in their place may be where few are."""
        balancer = Balancer(floor=2, nodes=2)
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(300, step=0.1)
        self.assertEqual(balancer.spread.state, "given up")
        balancer.spread._known = frozenset(("n0", "n1"))
        balancer.land = lambda: "n1"  # type: ignore[method-assign]
        balancer.pool.retire(balancer.pool.idle[0], "test")
        balancer.pass_time(2)
        self.assertEqual((balancer.spread.state, balancer.counts), ("watching", [1, 1]))

    def test_another_node_begins_it_anew(self) -> None:
        balancer = Balancer(floor=4, nodes=2)
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(300, step=0.1)
        self.assertEqual(balancer.spread.state, "given up")
        balancer.land = lambda: "n1"  # type: ignore[method-assign]
        balancer.pool.retire(balancer.pool.idle[0], "test")
        balancer.pass_time(20)
        self.assertEqual(balancer.counts, [2, 2])

    def test_a_server_that_refuses_is_not_dialled_for_it(self) -> None:
        """The one that was to be replaced stays; what follows is the pool's usual back-off."""
        balancer = Balancer()
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(0.5)
        dialer = balancer.bench.dialer
        dialer.answer = dialer.refuse
        balancer.pass_time(60, step=0.1)
        self.assertEqual((balancer.spread.dials, balancer.least), (1, 6))
        self.assertLess(len(dialer.dials), 50)

    def test_in_use_they_are_left_alone(self) -> None:
        balancer = Balancer(floor=2)
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(0.5)
        taken = [balancer.bench.borrow() for _ in range(2)]
        balancer.pass_time(0.9)
        self.assertEqual([each.state for each in taken], [IN_USE, IN_USE])
        self.assertNotIn(taken[0].number, [each.number for each in balancer.pool.ended])

    def test_a_header_that_is_not_there(self) -> None:
        """It is said once, and nothing is asked or dialled any more."""
        balancer = Balancer(spread=HEADER)
        balancer.says = lambda node: b""
        balancer.pass_time(60, step=0.1)
        self.assertEqual((balancer.spread.state, balancer.spread.dials), ("blind", 0))
        (said,) = balancer.said
        self.assertIn("the server's answer with status 204 has no header x-node", said)
        pings = balancer.pool.counters.pings
        balancer.pass_time(60, step=0.1)
        self.assertEqual(balancer.pool.counters.pings, pings)

    def test_another_request_of_the_checks_is_tried(self) -> None:
        """A reload may bring one, and the pool is kept."""
        balancer = Balancer(spread=HEADER, nodes=2)
        named, balancer.says = balancer.says, lambda node: b""
        balancer.pass_time(5, step=0.1)
        self.assertEqual(balancer.spread.state, "blind")
        balancer.says = named
        balancer.pool.ping_request = b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
        balancer.pass_time(10, step=0.1)
        self.assertNotEqual(balancer.spread.state, "blind")
        self.assertEqual(len(balancer.spread.nodes), 6)

    def test_a_header_that_is_another_each_time(self) -> None:
        balancer = Balancer(spread=HEADER, floor=80, connect_rate=1000.0)
        numbers = iter(range(10**6))
        balancer.says = lambda node: b"X-Node: %d\r\n" % next(numbers)
        balancer.pass_time(60, step=0.1)
        self.assertEqual(balancer.spread.state, "blind")
        self.assertIn("has had more than 64 values, so it names no node", balancer.said[-1])

    def test_a_certificate_that_is_another_each_time(self) -> None:
        """It is said once, and nothing is kept of those that come later."""
        balancer = Balancer(floor=80, connect_rate=1000.0)
        numbers = iter(range(10**6))
        balancer.land = lambda: f"n{next(numbers)}"  # type: ignore[method-assign]
        balancer.pass_time(10, step=0.1)
        self.assertEqual(balancer.spread.state, "blind")
        dialled = next(numbers)
        for _ in range(100):
            for connection in balancer.pool.idle[:2]:
                transport: Any = connection.transport
                transport.peer_ends()
            balancer.bench.pass_time(0.5, step=0.1)
        self.assertGreater(next(numbers), dialled + 50)
        (said,) = [text for text in balancer.said if "pool-spread" in text]
        self.assertIn("certificate has had more than 64 values, so it names no node", said)
        self.assertEqual((len(balancer.spread.nodes), balancer.spread.nodes.seen), (0, {}))

    def test_a_server_that_closes_when_it_is_asked(self) -> None:
        """nginx 1.22 so refuses `OPTIONS *`: one connection is lost, not all of them one after the other."""
        balancer = Balancer(spread=HEADER)

        def refuse() -> None:
            for connection in [*balancer.pool.in_use]:
                transport: Any = connection.transport
                if transport.take_written():
                    transport.receive(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        balancer.answer = refuse  # type: ignore[method-assign]
        balancer.pass_time(60, step=0.1)
        self.assertEqual(balancer.spread.state, "blind")
        self.assertLessEqual(balancer.pool.counters.pings, 4)
        self.assertEqual(len(balancer.pool.idle), 6)

    def test_names_are_printed(self) -> None:
        self.assertEqual(printable(b" a\x1b[31mb\xff "), "a?[31mbÿ")
        self.assertEqual(len(printable(b"x" * 100)), 40)

    def test_nothing_is_left_when_the_pool_is_closed(self) -> None:
        balancer = Balancer()
        balancer.land = lambda: "n0"  # type: ignore[method-assign]
        balancer.pass_time(2)
        balancer.pool.close("test over")
        self.assertEqual((balancer.bench.timers_left(), len(balancer.spread.nodes)), ([], 0))


class SpreadMachine(RuleBasedStateMachine):
    """Connections end, are used and land anywhere, in any order."""

    @initialize(floor=st.integers(1, 8), nodes=st.integers(1, 4), by_header=st.booleans(), seed=st.integers(0, 9))
    def begin(self, floor: int, nodes: int, by_header: bool, seed: int) -> None:
        self.floor = floor
        self.balancer = Balancer(floor=floor, nodes=nodes, spread=HEADER if by_header else None, seed=seed)
        self.taken: list[ServerConnection] = []
        self.balancer.pass_time(1)

    @rule(seconds=st.sampled_from([0.05, 1.0, 5.0, 40.0]))
    def wait(self, seconds: float) -> None:
        began, dials = self.balancer.bench.clock.seconds(), self.balancer.spread.dials
        standing = len(self.balancer.pool.idle)
        pinged = 4 if self.balancer.spread._header else 0
        self.balancer.pass_time(seconds, step=min(seconds, 0.1))
        # No dial for the sake of a node has ever cost the floor a connection: those that are asked are soon back.
        if standing >= self.floor and not self.taken:
            assert self.balancer.least >= self.floor - pinged
        passed = self.balancer.bench.clock.seconds() - began
        assert self.balancer.spread.dials - dials <= passed + 1.5

    @rule(node=st.integers(0, 3))
    def land_at_one(self, node: int) -> None:
        self.balancer.land = lambda: f"n{node % self.balancer.nodes}"  # type: ignore[method-assign]

    @rule()
    def land_anywhere(self) -> None:
        self.balancer.__dict__.pop("land", None)

    @rule()
    def take(self) -> None:
        connection = self.balancer.pool.acquire()
        if connection is not None:
            self.taken.append(connection)

    @rule()
    def give_back(self) -> None:
        if self.taken:
            connection = self.taken.pop()
            if connection.state != IN_USE:
                return  # it was kept too long by somebody who did not use it
            self.balancer.bench.use(connection)
            transport: Any = connection.transport
            transport.take_written()

    @rule(at=st.integers(0, 7))
    def ends(self, at: int) -> None:
        idle = self.balancer.pool.idle
        if idle:
            self.balancer.pool.retire(idle[at % len(idle)], "test")

    @rule(refuses=st.booleans())
    def refuse(self, refuses: bool) -> None:
        dialer = self.balancer.bench.dialer
        dialer.answer = dialer.refuse if refuses else self.balancer.accept

    @invariant()
    def at_most_one_is_being_replaced(self) -> None:
        assert len(self.balancer.pool.holdings.due) <= 1

    @invariant()
    def what_is_known_is_true(self) -> None:
        spread, pool = self.balancer.spread, self.balancer.pool
        standing = {*pool.idle, *pool.in_use, *pool.private, *pool.watched}
        assert {*spread.nodes._at} <= standing
        assert spread._asked <= standing
        for connection in standing:
            known = spread.nodes.of(connection)
            assert known is None or known == self.balancer.at[connection.transport]


class SpreadMachineTests(SpreadMachine.TestCase):  # type: ignore[misc, valid-type]
    """Hypothesis looks for an order of events that breaks a promise."""

    settings = settings(
        max_examples=50,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


assert issubclass(SpreadMachineTests, unittest.TestCase)
