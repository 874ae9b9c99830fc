"""Health checks that leave their connections to the pool: a check proves that a new one can be made,
and it is warm then."""

from __future__ import annotations

from socket import AF_INET
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.requests import request
from reusedproxy.backends.server import Server
from reusedproxy.config import model
from reusedproxy.net.dial import Target
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer, PoolBench

PLACE = model.Place("t.cfg", 1)
HTTP = model.HTTPCheck()
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"


class FeedTests(SynchronousTestCase):
    def checked(self, *, feeds: bool = True, **limits: Any) -> tuple[PoolBench, FakeDialer, Checker]:
        """A pool, and the first check of its server under way; the pool's own dials are answered by hand."""
        bench = PoolBench(**limits)
        self.clock: Clock = bench.clock
        dialer = FakeDialer(self.clock)
        pool: HTTPConnectionPool = bench.pool
        server = Server("be", model.Server("s1", PLACE, "192.0.2.1", 80), pool, 0.0)
        self.changes: list[tuple[str, str]] = []
        checker = Checker(
            server,
            model.Check(),
            HTTP,
            dialer,  # type: ignore[arg-type]
            self.clock,
            Limits(),
            None,
            0.0,
            lambda server, state, reason: self.changes.append((state, reason)),
            feeds,
        )
        checker.start()
        self.clock.advance(0)
        return bench, dialer, checker

    def test_a_short_floor_gets_it(self) -> None:
        """Asked as one that is to be kept, and idle when all of the answer has come."""
        bench, dialer, checker = self.checked(min_conn=1)
        transport = dialer.open[0].succeed()
        self.assertEqual(transport.take_written(), request(HTTP, keep=True))
        transport.receive(OK[:-2])
        self.assertEqual(bench.pool.idle, [])
        transport.receive(OK[-2:])
        (connection,) = bench.pool.idle
        self.assertIs(connection.transport, transport)
        self.assertTrue(dialer.dials[0].kept)
        self.assertEqual((checker.last.status, checker.last.code), ("L7OK", 200))
        self.assertEqual((bench.pool.counters.donated, bench.pool.counters.requests), (1, 0))

    def test_a_floor_that_stands_does_not(self) -> None:
        """Nor a pool without one, nor one that is not running; then it ends as ever."""
        for limits, feeds in (
            ({"min_conn": 1}, True),
            ({}, True),
            ({"min_conn": 1}, False),
            ({"min_conn": 1, "resume": False}, True),
        ):
            bench, dialer, checker = self.checked(feeds=feeds, **limits)
            if feeds and limits == {"min_conn": 1}:
                bench.answer_all()
            transport = dialer.open[0].succeed()
            self.assertEqual(transport.take_written(), request(HTTP))
            transport.receive(OK)
            self.assertEqual((checker.last.status, transport.end), ("L7OK", ("abort", "check done")), limits)
            self.assertFalse(dialer.dials[0].kept)

    def test_check_reuse_pool(self) -> None:
        """Without a floor: whenever nothing is idle."""
        bench, dialer, _ = self.checked(keep_checks=True)
        dialer.open[0].succeed().receive(OK)
        self.assertEqual(len(bench.pool.idle), 1)
        self.clock.advance(2)
        transport = dialer.open[0].succeed()
        transport.receive(OK)
        self.assertEqual((len(bench.pool.idle), transport.end), (1, ("abort", "check done")))

    def test_a_bad_answer_is_judged_all_the_same(self) -> None:
        """A wrong status, no HTTP, an end: and what can still be used is kept."""
        for answer, status, kept in (
            (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "L7STS", 1),
            (b"junk\r\n\r\n", "L7RSP", 0),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "L7OK", 0),
        ):
            bench, dialer, checker = self.checked(min_conn=1)
            dialer.open[0].succeed().receive(answer)
            self.assertEqual((checker.last.status, len(bench.pool.idle)), (status, kept), answer)
        bench, dialer, checker = self.checked(min_conn=1)
        dialer.open[0].succeed().peer_ends()
        self.assertEqual((checker.last.status, bench.pool.idle), ("L7RSP", []))

    def test_no_answer_in_time(self) -> None:
        """The connection goes with the check."""
        bench, dialer, checker = self.checked(min_conn=1)
        transport = dialer.open[0].succeed()
        self.clock.pump([0.1] * 25)
        self.assertEqual(checker.last.status, "L7TOUT")
        self.assertEqual((transport.end, bench.pool.in_use), (("abort", "check timed out"), set()))

    def test_one_that_is_under_way_as_its_server_moves(self) -> None:
        """Whoever has the old address must not get clients' requests, nor have a say about the new one."""
        for late in (False, True):
            bench, dialer, checker = self.checked(min_conn=1)
            dial = dialer.open[0]
            transport = dial.succeed() if late else None
            before = bench.pool
            elsewhere = PoolBench(min_conn=1)
            checker.server.pool = elsewhere.pool
            checker.aim(checker.settings, Target(AF_INET, ("192.0.2.2", 80)), None, feeds=True)
            if transport is None:
                self.assertTrue(dial.cancelled)
            else:
                self.assertEqual(transport.end, ("abort", "check timed out"))
            self.assertEqual((dialer.open, before.idle, before.in_use), ([], [], set()))
            self.clock.advance(0.1)
            assert dialer.moved is not None
            dialer.moved.open[0].succeed().receive(OK)
            self.assertEqual((len(elsewhere.pool.idle), checker.last.status), (1, "L7OK"))
            checker.stop()

    def test_stopped_in_the_middle(self) -> None:
        """Nothing is left of it."""
        bench, dialer, checker = self.checked(min_conn=1)
        dialer.open[0].succeed()
        checker.stop()
        self.assertEqual(bench.pool.in_use, set())
