"""Requests that find no connection: who waits for one that returns, and for whom another is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.dialing.governor import DIALS
from reusedproxy.pool.kinds import ANY, NEW
from reusedproxy.pool.learning.patience import HANGS, HANGS_SECONDS, Patience
from tests.fakes import Asker, PoolBench

#: Seconds for which requests hold connections, and that a dial takes.
HOLD, DIAL = 0.01, 0.1


class Busy:
    """A pool of four, all in use by requests that are usually short, and as many that wait as come."""

    def __init__(self, dial: float = DIAL, **limits: Any) -> None:
        self.bench = PoolBench(min_conn=4, **limits)
        self.bench.answer_all()
        self.bench.pass_time(1)
        self.pool = self.bench.pool
        for _ in range(100):
            connection = self.bench.borrow()
            self.bench.clock.advance(HOLD)
            self.bench.use(connection)
        self.pool.patience.dial = dial
        self.taken = [self.bench.borrow() for _ in range(4)]
        self.opened = len(self.bench.dialer.dials)

    @property
    def dials(self) -> int:
        """How many have begun since all are in use."""
        return len(self.bench.dialer.dials) - self.opened

    def ask(self, many: int, kind: int = ANY) -> Sequence[Asker]:
        askers = [Asker() for _ in range(many)]
        for asker in askers:
            self.pool.wait(asker, kind)
        return askers

    def give_back(self, connections: Sequence[ServerConnection]) -> None:
        for connection in connections:
            self.bench.use(connection)


class WaitOrDialTests(SynchronousTestCase):
    """One that returns, or a new one: what is expected sooner."""

    def test_what_returns_sooner_than_a_dial_is_waited_for(self) -> None:
        """Nothing is opened, and all are served."""
        busy = Busy()
        askers = busy.ask(8)
        self.assertEqual(busy.dials, 0)
        for _ in range(2):
            busy.bench.clock.advance(HOLD)
            taken, busy.taken = busy.taken, []
            busy.give_back(taken)
            busy.taken = [each.connections[-1] for each in askers if each.told == 1 and each.connections[-1] in taken]
        self.assertEqual([each.told for each in askers], [1] * 8)
        self.assertEqual(busy.dials, 0)

    def test_only_as_many_wait_as_will_surely_be_served(self) -> None:
        """For all others another is opened at once."""
        busy = Busy()
        busy.ask(60)
        self.assertTrue(30 <= busy.dials <= 50, busy.dials)

    def test_a_dial_that_is_quicker_begins_at_once(self) -> None:
        """Requests hold their connections for longer than a dial takes."""
        busy = Busy(dial=HOLD / 10)
        busy.ask(3)
        self.assertEqual(busy.dials, 3)

    def test_before_both_times_are_known_another_is_opened(self) -> None:
        """The pool has seen no request yet."""
        bench = PoolBench(min_conn=1)
        bench.answer_all()
        bench.borrow()
        bench.pool.wait(Asker())
        self.assertEqual(len(bench.dialer.dials), 2)

    def test_who_has_waited_for_half_a_dial_gets_another_opened(self) -> None:
        """Nothing has returned, against all expectation."""
        busy = Busy()
        busy.ask(3)
        busy.bench.pass_time(DIAL / 2 - 0.01, step=0.01)
        self.assertEqual(busy.dials, 0)
        busy.bench.pass_time(0.02, step=0.01)
        self.assertEqual(busy.dials, 3)

    def test_connections_that_are_in_use_for_long_are_not_waited_for(self) -> None:
        """They carry downloads, or wait for news."""
        busy = Busy()
        busy.pool.set_floor(0)
        busy.bench.pass_time(1)
        busy.ask(2)
        self.assertEqual(busy.dials, 2)

    def test_another_rush_within_the_time_that_connections_are_kept(self) -> None:
        """Has those opened that the first would have left; a rush long after that has not."""
        for later, dials in ((2.0, 2), (6.0, 0)):
            busy = Busy(purge_delay=5.0)
            askers = busy.ask(2)
            busy.bench.clock.advance(HOLD)
            busy.give_back(busy.taken)
            busy.give_back([each.connections[0] for each in askers])
            busy.bench.pass_time(later, step=0.05)
            busy.opened = len(busy.bench.dialer.dials)
            while busy.pool.idle:
                busy.bench.borrow()
            busy.ask(2)
            self.assertEqual(busy.dials, dials, later)

    def test_where_nothing_is_kept_every_rush_waits(self) -> None:
        """`pool-purge-delay 0`: what is opened for a rush is closed after it."""
        busy = Busy(purge_delay=0.0)
        for _ in range(3):
            askers = busy.ask(2)
            self.assertEqual(busy.dials, 0)
            busy.bench.clock.advance(HOLD)
            busy.give_back(busy.taken)
            busy.give_back([each.connections[0] for each in askers])
            busy.bench.clock.advance(1)
            busy.opened = len(busy.bench.dialer.dials)
            busy.taken = [busy.bench.borrow() for _ in range(4)]

    def test_a_request_that_needs_a_new_one_has_it_opened(self) -> None:
        """None that returns would do."""
        busy = Busy()
        busy.ask(2, NEW)
        self.assertEqual(busy.dials, 2)

    def test_pings_tell_nothing_of_how_long_requests_take(self) -> None:
        """A connection may have stood idle for minutes before."""
        bench = PoolBench(min_conn=1, idle_ping=1.0)
        bench.answer_all()
        bench.pass_time(1.1)
        (connection,) = bench.pool.holdings.pinged
        connection.transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")  # type: ignore[attr-defined]
        self.assertEqual(bench.pool.patience.hold, 0.0)


class SingleFlightTests(SynchronousTestCase):
    """Dials that hang: the server has trouble enough."""

    def hanging(self) -> PoolBench:
        bench = PoolBench()
        bench.pool.wait(Asker())
        bench.answer_all()
        for _ in range(5):
            bench.pool.wait(Asker())
        bench.pass_time(HANGS_SECONDS + 0.01)
        return bench

    def test_one_more_at_a_time(self) -> None:
        """And another only when that hangs, too."""
        bench = self.hanging()
        for _ in range(50):
            bench.pool.wait(Asker())
        self.assertEqual(len(bench.dialer.open), 6)
        bench.pass_time(HANGS_SECONDS + 0.05)
        self.assertEqual(len(bench.dialer.open), 7)

    def test_when_it_succeeds_the_next_begins_at_once(self) -> None:
        """So one lost packet costs the others nothing but their turn."""
        bench = self.hanging()
        for _ in range(50):
            bench.pool.wait(Asker())
        for _ in range(20):
            bench.dialer.open[-1].succeed()
            self.assertEqual(len(bench.dialer.open), 6)

    def test_when_none_hangs_any_more_all_begin(self) -> None:
        """As many as ever."""
        bench = self.hanging()
        for _ in range(100):
            bench.pool.wait(Asker())
        while any(bench.clock.seconds() - dial.born >= HANGS_SECONDS for dial in bench.dialer.open):
            bench.dialer.open[0].succeed()
        self.assertEqual(len(bench.dialer.open), DIALS)


class PatienceTests(SynchronousTestCase):
    """The times alone."""

    def test_how_long_dials_take_follows_the_latest(self) -> None:
        """Step by step."""
        patience = Patience()
        patience.opened(0.1)
        self.assertEqual(patience.dial, 0.1)
        for _ in range(60):
            patience.opened(0.5)
        self.assertAlmostEqual(patience.dial, 0.5, 2)

    @given(st.lists(st.floats(0, 1e9)), st.floats(0, 1e9), st.floats(0, 1e9))
    def test_any_times_give_a_number(self, lent: list[float], hold: float, dial: float) -> None:
        """None is too large or too small."""
        patience = Patience()
        patience.hold, patience.dial = hold, dial
        if patience.knows:
            self.assertGreaterEqual(patience.returns(lent), 0)

    def test_a_dial_hangs_only_when_it_takes_far_longer_than_usual(self) -> None:
        """And not before any has succeeded."""
        patience = Patience()
        self.assertEqual(patience.single_flight(100.0, 0.0, 0.0), 0.0)
        patience.opened(1.0)
        self.assertEqual(patience.single_flight(HANGS - 0.1, 0.0, 0.0), 0.0)
        self.assertEqual(patience.single_flight(HANGS + 1, 0.0, 2.0), 1.0)
