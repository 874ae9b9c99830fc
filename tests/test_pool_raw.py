"""Connections of mode tcp: names, prefaces and trials."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.lone import LoneDial
from reusedproxy.pool.named import Name
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import GREETING_MAX, RawConnection, acquire, used_once
from reusedproxy.wire.heads import Limits
from tests.clientfakes import Wire
from tests.fakes import Asker, FakeDialer


class Bench:
    """One pool, whose dials a test answers."""

    def __init__(self, limits: PoolLimits, names: bool = False) -> None:
        self.clock = clock = Clock()
        clock.advance(1000)
        self.dialers: dict[bytes, FakeDialer] = {}
        self.deadlines = Deadlines(clock)
        self.dialer: Any = self.made(b"")
        self.said: list[str] = []
        rest: Any = (used_once(limits), clock, Random(1), lambda level, text: self.said.append(text), Limits())
        self.pool: HTTPConnectionPool
        if names:
            own = b"known.example"
            self.pool = ConstantPool(
                "s",
                self.dialer,
                *rest,
                own=own,
                dialer_for=lambda name: self.made(name.sni),
                connections=RawConnection,
            )
        else:
            self.pool = HTTPConnectionPool("s", self.dialer, *rest, connections=RawConnection)
        self.pool.resume()

    def made(self, name: bytes) -> Any:
        dialer = self.dialers[name] = FakeDialer(self.clock)
        dialer.deadlines = self.deadlines
        return dialer

    def connect(self, name: bytes = b"") -> Wire:
        dial = self.dialers[name].open[0]
        dial._end()
        wire = Wire()
        dial.owner.dial_ready(dial, wire)
        return wire

    def close(self, test: SynchronousTestCase) -> None:
        self.pool.close("test over")
        test.assertEqual(self.deadlines.watching(), 0)
        self.deadlines.stop()
        test.assertEqual(self.clock.getDelayedCalls(), [])


class RawPoolTests(SynchronousTestCase):
    """What differs from a pool of connections that carry requests."""

    def test_no_more_than_the_floor_stands(self) -> None:
        """A connection that nobody wants any more is closed, and is not kept for the next."""
        bench = Bench(PoolLimits())
        asker = Asker()
        bench.pool.wait(asker)
        bench.pool.leave(asker)
        wire = bench.connect()
        self.assertEqual((wire.end, bench.pool.idle), (("close", "pool full"), []))
        bench.close(self)

    def test_a_taken_one_is_missed_at_once(self) -> None:
        """It never comes back."""
        bench = Bench(PoolLimits(min_conn=2))
        bench.connect()
        bench.connect()
        for left in (1, 0):
            self.assertIsNotNone(acquire(bench.pool))
            self.assertEqual((len(bench.pool.idle), len(bench.dialer.open)), (left, 2 - left))
        self.assertIsNone(acquire(bench.pool))
        bench.close(self)

    def test_each_name_has_connections_of_its_own(self) -> None:
        """And the floor is that of the one that is known."""
        bench = Bench(PoolLimits(min_conn=1), names=True)
        pool: Any = bench.pool
        bench.connect()
        self.assertIs(pool.named(Name(b"known.example", b"known.example")), pool)
        other = pool.named(Name(b"other.example", b"other.example"))
        self.assertFalse(other.carries_requests)
        self.assertIsNone(acquire(other))
        asker = Asker()
        other.wait(asker)
        bench.connect(b"other.example")
        self.assertIsInstance(asker.connections[0], RawConnection)
        self.assertEqual((len(bench.dialer.open), len(bench.dialers[b"other.example"].open)), (0, 0))
        bench.close(self)

    def test_a_trial_is_given_back(self) -> None:
        """At a reload, to a pool that keeps none or some."""
        for floor in (0, 1):
            bench = Bench(PoolLimits(min_conn=floor))
            if floor:
                bench.connect().eof()
            dial: Any = bench.dialer.dial(None)
            wire: Any = Wire()
            connection = bench.pool.adopt(dial, wire)
            bench.pool.release(connection)
            self.assertEqual(len(bench.pool.idle), floor)
            bench.close(self)

    def test_a_lone_dial_says_what_it_is_given_first(self) -> None:
        """The PROXY protocol header of one client."""
        bench = Bench(PoolLimits())
        asked: list[bytes] = []

        def saying(preface: bytes) -> Any:
            asked.append(preface)
            return bench.dialer

        bench.dialer.saying = saying
        asker = Asker()
        lone = LoneDial(bench.pool, asker, b"PROXY UNKNOWN\r\n")
        bench.connect()
        self.assertEqual((asked, len(asker.connections)), ([b"PROXY UNKNOWN\r\n"], 1))
        lone.leave(asker)
        bench.close(self)


class TrialTests(SynchronousTestCase):
    def test_a_server_that_speaks_without_end_is_dialled_seldom(self) -> None:
        """What it says is no greeting, and the next connection would hear the same."""
        bench = Bench(PoolLimits(min_conn=4))
        dials = 0
        for _ in range(500):
            while bench.dialer.open:
                dials += 1
                bench.connect().feed(b"x" * (GREETING_MAX + 1))
            bench.clock.advance(0.02)
        self.assertLess(dials, 20)
        self.assertIn("greeting too long", bench.pool.trouble)
        bench.close(self)
