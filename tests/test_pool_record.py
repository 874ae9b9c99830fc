"""What is recorded of a pool (`pool-record`), kept and read again, and what other settings would have made of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.floors import Drawn, bursts, on_and_off, people, steady
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.proxies import PoolLimits, RecordBound
from reusedproxy.net.slices import run_through
from reusedproxy.pool.kinds import FRESH
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import acquire, used_once
from reusedproxy.pool.record.history import Arrival, History, Outcome, history_of
from reusedproxy.pool.record.ring import BLOCK, BORROWED, CHANGED, ENDED, EVENT, FLOOR, RETURNED, STATE, WAITED, Record
from reusedproxy.pool.record.saved import FORMAT, NotARecord, read, written
from reusedproxy.pool.simulation.asking import NotRecorded, history_now, situation_of, written_now
from reusedproxy.pool.simulation.report import text_of, values_of
from reusedproxy.pool.simulation.run import Run
from reusedproxy.pool.simulation.what_if import answers, case_of, floor_words
from tests.fakes import Asker, PoolBench
from tests.test_pool_named import Bench as NamedBench
from tests.test_pool_raw import Bench as RawBench

ALL = RecordBound(32 << 20)


class Bench(PoolBench):
    """A pool of which everything is recorded."""

    def __init__(self, bound: RecordBound = ALL, **limits: Any) -> None:
        super().__init__(resume=False, **limits)
        self.pool.record(bound)
        self.pool.resume()

    @property
    def lines(self) -> list[str]:
        """The events, as they are saved, without their times."""
        text = "".join(written_now("be/s1", self.pool, 0.0)).splitlines()
        return [line.partition(" ")[2] for line in text[2:]]

    @property
    def history(self) -> History:
        return run_through(history_now("be/s1", self.pool, 0.0))


class RingTests(SynchronousTestCase):
    """Events in blocks."""

    def setUp(self) -> None:
        self.now = 1000.0

    def record(self, bound: RecordBound = ALL) -> Record:
        return Record(bound, lambda: self.now)

    def test_events_come_back_with_their_times(self) -> None:
        """Also after a pause of days, and where the clock was set back."""
        record = self.record()
        for at in (1000.0, 1000.000007, 1500.25, 400_000.5, 400_000.4, 400_001.0):
            record.note_at(at, BORROWED, 7)
        found = [each.at for each in record.events()]
        for one, other in zip(found, (1000.0, 1000.000007, 1500.25, 400_000.5, 400_000.5, 400_001.0), strict=True):
            self.assertAlmostEqual(one, other, places=5)
        self.assertEqual({(each.kind, each.number) for each in record.events()}, {(BORROWED, 7)})

    def test_memory_is_bounded(self) -> None:
        """The oldest go, in blocks; what is left has no gap."""
        record = self.record(RecordBound(3 * BLOCK * EVENT))
        for number in range(10 * BLOCK):
            self.now += 0.001
            record.note(BORROWED, number)
            self.assertLessEqual(record.bytes, 3 * BLOCK * EVENT)
        numbers = [each.number for each in record.events()]
        self.assertEqual(numbers, [*range(10 * BLOCK - len(numbers), 10 * BLOCK)])
        self.assertGreaterEqual(len(numbers), 2 * BLOCK)
        self.assertAlmostEqual(record.since(), 1000.0 + numbers[0] * 0.001, places=3)

    def test_what_is_too_old_goes(self) -> None:
        """At the next block."""
        record = self.record(RecordBound(32 << 20, 60.0))
        for number in range(5 * BLOCK):
            self.now += 0.01
            record.note(BORROWED, number)
        self.assertLessEqual(self.now - record.since(), 60.0 + 2 * BLOCK * 0.01)
        self.assertGreaterEqual(self.now - record.since(), 60.0)

    def test_the_last_part_can_be_had_alone(self) -> None:
        record = self.record()
        for number in range(3 * BLOCK):
            self.now += 0.001
            record.note(BORROWED, number)
        record.note(BORROWED, 5)
        found = [each.number for each in record.events(2)]
        self.assertEqual(found, [*range(2 * BLOCK, 3 * BLOCK), 5])
        self.assertAlmostEqual(record.since(2), 1000.0 + 2 * BLOCK * 0.001, places=3)

    def test_what_comes_while_it_is_read_is_left_out(self) -> None:
        """A long record is read in many turns."""
        record = self.record()
        record.note(BORROWED, 1)
        events = record.events()
        record.note(BORROWED, 2)
        self.assertEqual([each.number for each in events], [1])


class EventTests(SynchronousTestCase):
    """What is noted of a pool."""

    def test_nobody_listens_without_the_word(self) -> None:
        bench = PoolBench(min_conn=1)
        self.assertIs(bench.pool.holdings.watcher, bench.pool.upkeep)
        self.assertRaises(NotRecorded, written_now, "be/s1", bench.pool, 0.0)

    def test_a_request_on_an_idle_connection(self) -> None:
        bench = Bench(min_conn=1)
        bench.answer_all()
        bench.use(bench.borrow())
        self.assertEqual(bench.lines, ["state running", "opened floor 0.00100", "borrow 1", "return 1"])

    def test_a_request_that_waits_for_a_dial(self) -> None:
        bench = Bench()
        bench.pool.wait(Asker(), FRESH)
        bench.clock.advance(0.25)
        bench.answer_all()
        self.assertEqual(
            bench.lines, ["state running", "opened demand 0.00100", "waited fresh 0.25000 fresh", "borrow 1"]
        )

    def test_a_request_that_waits_for_what_returns(self) -> None:
        """The connection goes from one to the next."""
        bench = Bench(min_conn=1, most=1)
        bench.answer_all()
        first = bench.borrow()
        bench.pool.wait(Asker())
        bench.clock.advance(0.5)
        bench.use(first)
        self.assertEqual(bench.lines[2:], ["borrow 1", "waited queued 0.50000 any", "borrow 1"])
        arrivals = bench.history.arrivals
        self.assertEqual([(round(each.at, 3), round(each.holds, 3)) for each in arrivals], [(0, 0), (0, 0.5)])

    def test_dials_that_fail_and_who_waits_in_vain(self) -> None:
        bench = Bench()
        patient, hasty = Asker(), Asker()
        bench.pool.wait(patient)
        bench.pool.wait(hasty)
        bench.clock.advance(0.1)
        bench.pool.leave(hasty)
        bench.dialer.open[0].fail()
        bench.clock.advance(0.1)
        self.assertIn("waited left 0.10000 any", bench.lines)
        self.assertIn("failed refused 0.10000", bench.lines)
        self.assertEqual(bench.history.outcome.failed, 2 - len(bench.pool.waiters))

    def test_ends_have_their_reasons(self) -> None:
        """One with its request tells that the next finds another."""
        bench = Bench(min_conn=2)
        bench.answer_all()
        bench.use(bench.borrow(), close=True)
        bench.dialer.transports[0].peer_ends()
        self.assertEqual(bench.lines[-2:], ["end 2 proxy conn_close", "end 1 server idle"])
        self.assertEqual([each.ends for each in bench.history.arrivals], [True])

    def test_a_ping_and_a_private_connection_are_no_requests_of_the_pool(self) -> None:
        bench = Bench(min_conn=1)
        bench.answer_all()
        connection = bench.borrow()
        connection.private = True
        bench.use(connection)
        bench.pool.take(connection)
        bench.use(connection)
        self.assertEqual(len(bench.history.arrivals), 1)

    def test_states_and_floors_are_noted(self) -> None:
        bench = Bench(min_conn=1, adapts=True)
        bench.answer_all()
        for _ in range(4):
            bench.pool.wait(Asker()) if bench.pool.acquire() is None else None
        bench.pool.suspend("server DOWN")
        self.assertIn("state suspended", bench.lines)
        self.assertIn("floor 1 2", bench.lines)
        self.assertEqual(bench.history.floor, 1)
        self.assertEqual([running for _, running in bench.history.states], [True, False])

    def test_it_can_be_ended_and_begun_again(self) -> None:
        """As a reload does, which keeps the connections."""
        bench = Bench(min_conn=1)
        bench.answer_all()
        bench.pool.record(None)
        self.assertIs(bench.pool.holdings.watcher, bench.pool.upkeep)
        bench.use(bench.borrow())
        bench.pool.record(ALL)
        bench.use(bench.borrow())
        self.assertEqual(bench.lines, ["borrow 1", "return 1"])
        bench.pool.record(None)
        bench.use(bench.borrow())
        self.assertLess(0, bench.pool.holdings.most_usual, "it is told of each request for nothing")

    def test_a_shorter_bound_drops_what_is_beyond(self) -> None:
        bench = Bench(min_conn=1)
        bench.answer_all()
        for _ in range(BLOCK * 2):
            bench.use(bench.borrow())
        bench.pool.record(RecordBound(2 * BLOCK * EVENT))
        assert bench.pool.recorder is not None
        self.assertLessEqual(bench.pool.recorder.record.bytes, 2 * BLOCK * EVENT)

    def test_the_next_pool_goes_on_with_it(self) -> None:
        """One with other settings says so."""
        bench = Bench(min_conn=1)
        bench.answer_all()
        bench.use(bench.borrow())
        after = PoolBench(resume=False, min_conn=2)
        after.pool.succeed(bench.pool)
        after.pool.resume()
        after.answer_all()
        after.use(after.borrow())
        lines = [line.partition(" ")[2] for line in "".join(written_now("be/s1", after.pool, 0.0)).splitlines()[2:]]
        self.assertEqual(lines[4:6], ["changed", "opened floor 0.00100"])
        self.assertEqual(lines[-2:], ["borrow 3", "return 3"])
        bench.pool.close("reload")
        after.pool.suspend("server DOWN")
        text = "".join(written_now("be/s1", after.pool, 0.0))
        self.assertEqual([text.count("state running"), text.count("state suspended")], [1, 1])
        self.assertTrue(text.rstrip().splitlines()[-1].endswith("drain"), "after the state that it comes of")

    def test_servers_with_names_are_counted_by_their_first_pool(self) -> None:
        """Which keeps the floor; the group goes on counting."""
        bench = NamedBench(own=b"own")
        bench.pool.record(ALL)
        bench.named(b"own").wait(Asker())
        bench.named(b"other").wait(Asker())
        for dialer in [*bench.dialers.values()]:
            while dialer.open:
                dialer.open[0].succeed()
        assert bench.pool.recorder is not None
        self.assertEqual(sum(each.kind == WAITED for each in bench.pool.recorder.record.events()), 1)
        self.assertEqual(bench.pool.names.used, 2)


class OnceTests(SynchronousTestCase):
    """Connections of mode tcp, each of which serves one client."""

    def test_sessions_are_requests_that_end_their_connections(self) -> None:
        bench = RawBench(PoolLimits(min_conn=2))
        bench.pool.record(ALL)
        for _ in range(3):
            while bench.dialer.open:
                bench.connect()
            connection = acquire(bench.pool)
            assert connection is not None
            connection.lend(connection)
            bench.clock.advance(5)
            connection.give_up("session over")
        history = run_through(history_now("be/s1", bench.pool, 0.0))
        self.assertEqual([(round(each.holds), each.ends) for each in history.arrivals], [(5, True)] * 3)
        self.assertTrue(history.situation.raw)
        saved = "".join(written_now("be/s1", bench.pool, 0.0))
        self.assertTrue(read(saved.splitlines())[0].raw)
        found = [each for each in answers(history, []) if each is not None]
        self.assertEqual([each.outcome.cold for each in found], [0, 0, 3, 0, 0])
        self.assertEqual([each.words for each in found[2:]], ["floor=0", "floor=1", "floor=auto:1"])

    def test_a_floor_is_all_that_stands(self) -> None:
        """One that follows is not bound by that of a fixed one."""
        in_force = used_once(PoolLimits(min_conn=2))
        self.assertEqual(case_of("floor=8", in_force, raw=True).limits, used_once(PoolLimits(min_conn=8)))
        auto = case_of("floor=auto", in_force, raw=True).limits
        self.assertEqual((auto.max_conn, auto.floor_max), (None, None))

    def test_names_that_depend_on_requests_have_no_floor(self) -> None:
        bench = NamedBench(own=None)
        bench.pool.record(ALL)
        with self.assertRaisesRegex(NotRecorded, "names of its connections depend on requests"):
            history_now("be/s1", bench.pool, 0.0)


class SavedTests(SynchronousTestCase):
    """A record as text."""

    def test_it_is_read_as_it_was_written(self) -> None:
        """Every event, and what is known besides."""
        record = ran(people, PoolLimits(min_conn=2, idle_timeout=30.0), 600.0).pool
        text = "".join(written_now("be/s1", record, 7.5))
        situation, seconds, events = read(text.splitlines())
        self.assertEqual(situation, situation_of("be/s1", record, 7.5))
        again = "".join(written(situation, events, 0.0, seconds))
        self.assertEqual(again, text)

    def test_what_is_none_is_refused_with_its_line(self) -> None:
        head = FORMAT + '\n{"limits": {}, "name": "a"}\n'
        for text, why in (
            ("", "does not begin with"),
            ("Permission denied", "does not begin with"),
            (FORMAT, "line 2"),
            (FORMAT + "\n[]", "line 2"),
            (FORMAT + "\n" + "[" * 100_000, "line 2"),
            (head, "line 2"),
        ):
            with self.assertRaisesRegex(NotARecord, why):
                read(text.splitlines())
        whole = "".join(written_now("be/s1", ran(steady, PoolLimits(), 5.0).pool, 0.0))
        for line in ("0.5", "x borrow 1", "0.5 walk 1", "0.5 waited fresh", "0.5 end 1 server sadness"):
            with self.assertRaisesRegex(NotARecord, f"is no event: '{line}'"):
                read((whole + line).splitlines())


def ran(traffic: Any, limits: PoolLimits, seconds: float, server: Any = None) -> Run:
    """Drawn traffic with a pool, of which everything was recorded."""
    times = [each for each in sorted(traffic(Random(traffic.__name__))) if each[0] < seconds]
    return ran_through([Arrival(at, holds) for at, holds in times], limits, server or Drawn(0.02))


def ran_through(arrivals: Sequence[Arrival], limits: PoolLimits, server: Any) -> Run:
    run = Run(arrivals, limits, server, lambda pool: pool.record(ALL))
    run.go(close=False)
    return run


def told_by(run: Run) -> History:
    return run_through(history_now("be/s1", run.pool, 0.0))


class Closing(Drawn):
    """A server that lets connections stand for a while only."""

    idle_used = 20.0
    idle_unused = 45.0


class Refusing(Drawn):
    """A server that refuses everybody for a minute."""

    def dial(self, at: float) -> tuple[float, bool]:
        took, _ = super().dial(at)
        return took, not 300 <= at < 360


class HistoryTests(SynchronousTestCase):
    """What is read out of a record is what happened."""

    def test_requests_waits_and_handshakes_are_those_that_were(self) -> None:
        for traffic in (people, bursts, on_and_off, steady):
            for floor in (0, 3):
                run = ran(traffic, PoolLimits(min_conn=floor), 1800.0)
                told, was = told_by(run).outcome, run.outcome
                self.assertEqual((told.requests, told.cold, told.failed), (was.requests, was.cold, 0))
                self.assertEqual(told.opened, was.opened + floor, "those of the start are in the record, too")
                self.assertEqual(len(told.waits), len(was.waits))
                self.assertApproximates(sum(told.waits), sum(was.waits), 1e-5 * len(was.waits) + 1e-4)
                self.assertApproximates(told.connection_hours, was.connection_hours, 0.02 + floor * 0.004)

    def test_requests_hold_connections_for_as_long_as_they_did(self) -> None:
        run = ran(people, PoolLimits(min_conn=3), 600.0)
        times = [each for each in sorted(people(Random("people"))) if each[0] < 600.0]
        for one, (at, holds) in zip(told_by(run).arrivals, times, strict=True):
            self.assertAlmostEqual(one.at, at + 10, places=4)
            self.assertAlmostEqual(one.holds, holds, places=4)

    def test_the_last_part_may_be_enough(self) -> None:
        """Of so many blocks, and seconds: what is in it is the same."""
        run = ran(people, PoolLimits(min_conn=3), 1800.0)
        whole = told_by(run)
        for part in (
            run_through(history_now("be/s1", run.pool, 0.0, blocks=2)),
            run_through(history_now("be/s1", run.pool, 0.0, seconds=300.0)),
        ):
            self.assertTrue(0 < len(part.arrivals) < len(whole.arrivals))
            self.assertTrue(part.seconds < whole.seconds and part.ran)
            later = whole.seconds - part.seconds
            for one, other in zip(reversed(part.arrivals), reversed(whole.arrivals), strict=False):
                self.assertAlmostEqual(one.at + later, other.at, places=5)
        self.assertAlmostEqual(part.seconds, 300.0, places=5)


class OrderTests(SynchronousTestCase):
    def test_requests_are_put_in_order_by_their_times_alone(self) -> None:
        """It is one step: to compare 24,000 of them with one another would take 0.26 s of the event loop."""

        def compared(one: Arrival, other: Arrival) -> bool:
            raise AssertionError("two requests are compared")

        self.patch(Arrival, "__lt__", compared)
        run = ran_through([Arrival(at / 7, 1.0) for at in range(20)], PoolLimits(min_conn=2), Drawn(0.02, inf))
        self.addCleanup(run.close)
        told = told_by(run).arrivals
        self.assertEqual([each.at for each in told], sorted(each.at for each in told))


class WhatIfTests(SynchronousTestCase):
    """What the simulation says of the same traffic."""

    def compare(self, told: Outcome, was: Outcome, share: float, few: int) -> None:
        for one, other in ((told.opened, was.opened), (told.cold, was.cold)):
            self.assertLessEqual(abs(one - other), few + share * other, f"{told} {was}"[:300])
        self.assertApproximates(told.wait(0.99), was.wait(0.99), 0.005)
        self.assertApproximates(told.connection_hours, was.connection_hours, 0.02 + 0.05 * was.connection_hours)

    def test_the_settings_in_force_give_what_was_recorded(self) -> None:
        """Handshakes and cold requests within 5 % and 5, the 99th percentile of all waits within 5 ms, connection-hours
        within 5 %; in traffic of several kinds, with floors of several kinds, and servers that close or refuse."""
        for traffic, limits, server in (
            (people, PoolLimits(min_conn=3), Drawn(0.02)),
            (people, PoolLimits(), Drawn(0.2)),
            (people, PoolLimits(min_conn=1, adapts=True), Drawn(0.02)),
            (bursts, PoolLimits(min_conn=6), Drawn(0.02)),
            (on_and_off, PoolLimits(min_conn=4, max_age=60.0), Drawn(0.05)),
            (steady, PoolLimits(min_conn=1, purge_delay=0.0), Drawn(0.02)),
            (people, PoolLimits(min_conn=3), Closing(0.02)),
            (people, PoolLimits(min_conn=3), Refusing(0.02)),
        ):
            history = told_by(ran(traffic, limits, 1800.0, server))
            recorded, in_force = [each for each in answers(history, [case_of("rate=100", limits)]) if each][:2]
            self.assertEqual(recorded.words, "recorded")
            self.compare(in_force.outcome, recorded.outcome, 0.05, 5)

    def test_other_settings_give_what_they_would_have_given(self) -> None:
        """The traffic is run with these, and what the record of other settings says of them is compared."""
        for traffic in (people, bursts):
            for in_force, asked in ((0, 8), (8, 0), (2, 5)):
                history = told_by(ran(traffic, PoolLimits(min_conn=in_force), 1800.0))
                case = case_of(f"floor={asked}", history.situation.limits)
                *_, answer = [each for each in answers(history, [case]) if each]
                really = told_by(ran(traffic, PoolLimits(min_conn=asked), 1800.0)).outcome
                self.compare(answer.outcome, really, 0.1, 10)

    def test_a_saved_record_gives_the_same_answers(self) -> None:
        run = ran(bursts, PoolLimits(min_conn=4), 1200.0)
        living = told_by(run)
        situation, seconds, events = read("".join(written_now("be/s1", run.pool, 0.0)).splitlines())
        saved = run_through(history_of(events, 0.0, seconds, situation))
        tables = [text_of(history, [each for each in answers(history, []) if each]) for history in (living, saved)]
        self.assertEqual(*tables)

    def test_without_settings_a_few_floors_are_tried(self) -> None:
        """None, those that would have met most requests, and one that follows."""
        history = told_by(ran(people, PoolLimits(min_conn=2), 900.0))
        found = [each for each in answers(history, []) if each is not None]
        words = [each.words for each in found]
        self.assertEqual(words[:3], ["recorded", "in force: floor=2", "floor=0"])
        self.assertEqual(words[-1], "floor=auto:1")
        self.assertGreaterEqual(len(words), 5)
        fixed = [each.outcome for each in found[2:-1]]
        self.assertEqual(fixed, sorted(fixed, key=lambda each: -each.cold), "higher floors meet more")
        self.assertEqual(fixed, sorted(fixed, key=lambda each: each.connection_hours), "and cost more")

    def test_it_is_done_in_small_steps(self) -> None:
        """Others have their turn between them."""
        history = told_by(ran(people, PoolLimits(min_conn=2), 900.0))
        steps = [*answers(history, [case_of("floor=1", PoolLimits())])]
        self.assertGreater(len(steps), len(history.arrivals) / 20)

    def test_it_leaves_no_descriptor(self) -> None:
        """Also where nobody waits for its end."""
        history = told_by(ran(people, PoolLimits(min_conn=2), 300.0))
        opened: list[Any] = []
        self.patch(HTTPConnectionPool, "resume", lambda pool, rotation=False: opened.append(pool.dialer))
        going = answers(history, [])
        while next(going) is not None or not opened:
            pass
        going.close()  # type: ignore[attr-defined]
        self.assertTrue(opened[-1]._poller._epoll.closed)

    def test_settings_are_read_like_those_of_a_server_line(self) -> None:
        in_force = PoolLimits(min_conn=3, idle_timeout=60.0)
        for text, expected in (
            ("floor=8,idle=20s", evolve(in_force, min_conn=8, idle_timeout=20.0)),
            ("pool-max-age=1h", evolve(in_force, max_age=3600.0)),
            ("floor=auto:2:20", evolve(in_force, min_conn=2, adapts=True, most_floor=20)),
            ("floor=auto", evolve(in_force, min_conn=1, adapts=True)),
            ("purge=0,max=-1", evolve(in_force, purge_delay=0.0, max_conn=None)),
        ):
            self.assertEqual(case_of(text, in_force).limits, expected)
        for text, why in (
            ("floor", "'floor' is no setting: say floor="),
            ("flor=8", "'flor=8' is no setting"),
            ("weight=8", "'weight=8' is no setting"),
            ("floor=x", "needs a whole number"),
            ("idle=1ms", "too short"),
            ("floor=auto:9:2", "from the least to the most"),
            ("floor=9,max=4", "a floor of 9 is more than pool-max-conn 4: add max=9"),
        ):
            with self.assertRaisesRegex(Wrong, why):
                case_of(text, in_force)
        self.assertEqual(floor_words(case_of("floor=auto:2:20", in_force).limits), "floor=auto:2:20")

    def test_the_text_says_what_it_is_made_of(self) -> None:
        history = told_by(ran(steady, PoolLimits(min_conn=1), 60.0))
        found = [each for each in answers(history, [case_of("floor=2", PoolLimits())]) if each is not None]
        lines = text_of(history, found).splitlines()
        self.assertRegex(
            lines[0], r"^be/s1: [0-9]+ requests and [0-9]+ handshakes in 2 min [0-9]+ s; one takes 2.\.?. ms"
        )
        self.assertRegex(lines[1], "^settings +handshakes +cold")
        self.assertEqual(len({len(line) for line in lines[1:5]}), 1, "a table")
        values: Any = values_of(history, found)
        self.assertEqual([each["settings"] for each in values["answers"]], ["recorded", "in force: floor=1", "floor=2"])
        self.assertEqual(values["answers"][0]["cold"], history.outcome.cold)

    def test_little_and_changed_is_said_to_be_so(self) -> None:
        bench = Bench()
        assert bench.pool.recorder is not None
        bench.clock.advance(30)
        bench.pool.recorder.record.note(CHANGED, 0)
        bench.clock.advance(100)
        text = text_of(bench.history, [])
        for said in ("few requests", "No handshake was recorded", "changed 1 min 40 s ago"):
            self.assertIn(said, text)


class RecordInvariantTests(SynchronousTestCase):
    """Whatever comes."""

    @given(
        times=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), min_size=1, max_size=40),
        floor=st.integers(0, 3),
        bears=st.sampled_from([2, inf]),
    )
    @settings(max_examples=25, deadline=None)
    def test_each_request_is_told_of_once(self, times: list[tuple[float, float]], floor: int, bears: float) -> None:
        run = ran_through([Arrival(*each) for each in sorted(times)], PoolLimits(min_conn=floor), Drawn(0.02, bears))
        self.addCleanup(run.close)
        told = told_by(run)
        served = [each for each in told.arrivals if each.leaves == inf]
        self.assertEqual(len(served), len(times))
        for one, other in zip(sorted(each.holds for each in served), sorted(holds for _, holds in times), strict=True):
            self.assertAlmostEqual(one, other, 4)
        for kind in (BORROWED, RETURNED, ENDED, FLOOR, STATE):
            self.assertLess(kind, 16)
