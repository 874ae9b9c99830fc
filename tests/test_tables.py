"""Stick tables: bounded whatever comes, in the order of use, with HAProxy's rates."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.tables import Sweep, tables_of
from reusedproxy.config.model.tables import StickTable, Stored
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.tables import entries as limits
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import REQUESTS, Counters, count, leave

PLACE = Place("t.cfg", 1)
RATE = Stored("http_req_rate", 10000)


def table(clock: Clock, size: int = 5, *stored: Stored, **said: Any) -> Table:
    return Table(StickTable("t", PLACE, "string", size, stored=stored or (Stored("gpc0"),), **said), clock.seconds)


def keys(of: Table) -> list[object]:
    return [of.key_of(row) for row in of.each()]


class TableTests(SynchronousTestCase):
    """Entries."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def test_a_key_has_one_entry_with_its_values(self) -> None:
        made = table(self.clock, 5, Stored("gpc0"), Stored("gpt", count=2), Stored("gpc_rate", 1000, 2))
        row = made.obtain("a")
        self.assertEqual([*made.slots], ["gpc0", "gpt0", "gpt1", "gpc0_rate", "gpc1_rate"])
        made.put(row, made.slots["gpt1"], 7)
        made.count(row, made.general(1), 3)
        made.count(row, made.general(0))
        self.assertEqual(made.obtain("a"), row)
        self.assertEqual([made.value(row, slot) for slot in made.slots.values()], [1, 0, 7, 1, 3])
        self.assertEqual((made.find("b"), len(made)), (0, 1))
        other = made.obtain("b")
        self.assertEqual([made.value(other, slot) for slot in made.slots.values()], [0] * 5)

    def test_counts_begin_again_behind_32_bits_and_go_down(self) -> None:
        """As HAProxy's, rates too; those of bytes have 64 bits."""
        stored = (
            *(Stored("conn_cnt"), Stored("http_req_cnt"), Stored("gpc0"), Stored("gpc0_rate", 10_000)),
            Stored("bytes_in_cnt"),
        )
        made = table(self.clock, 5, *stored, Stored("bytes_in_rate", 10_000))
        row = made.obtain("a")
        for events, total in ((5, 5), (-1, 4), (-4, 0), (-1, 2**32 - 1), (2, 1), (2**32 + 3, 4), (-5, 2**32 - 1)):
            made.count(row, made.general(0), events)
            shown = [made.value(row, made.slots[name]) for name in ("gpc0", "gpc0_rate")]
            self.assertEqual(shown, [total, total], events)
        self.clock.advance(10)
        made.count(row, made.general(0), -3)
        self.assertEqual(made.events(row, made.slots["gpc0_rate"]), 2**32 - 3)
        for name in ("conn_cnt", "http_req_cnt"):
            made.put(row, made.slots[name], 2**32 - 1)
        made.track("a", made.requests)
        self.assertEqual([made.value(row, made.slots[name]) for name in ("conn_cnt", "http_req_cnt")], [0, 0])
        made.count(row, made.bytes_in, 2**33)
        self.assertEqual([made.value(row, made.slots[f"bytes_in_{each}"]) for each in ("cnt", "rate")], [2**33] * 2)

    def test_the_oldest_makes_room(self) -> None:
        made = table(self.clock, 3)
        for key in "abc":
            made.obtain(key)
            self.clock.advance(2)
        row = made.find("a")
        made.touch(row, made.now())
        made.obtain("d")
        self.assertEqual(keys(made), ["a", "c", "d"])

    def test_who_is_in_constant_use_stays_whatever_else_comes(self) -> None:
        """Its place in the order is old, as not every use gives it a new one while there is room. Those that are used
        only a few times, however much they are, push nobody out."""
        for times in (1, 2):
            made = table(self.clock, 300, RATE, Stored("gpc0"), expire=3600_000)
            made.count(made.obtain("bob"), made.general(0))
            for number in range(400):
                for junk in range(7):
                    self.clock.advance(0.001)
                    key = f"{number}-{junk}"
                    for _ in range(times):
                        made.leave(made.track(key))
                        made.touch(made.find(key), made.now() + times - 1)
                made.leave(made.track("bob"))
                made.touch(made.find("bob"), made.now())
            self.assertEqual(made.value(made.find("bob"), made.slots["gpc0"]), 1)
            self.assertLessEqual(len(made), 300)

    def test_how_many_are_placed_anew_at_once_is_bounded(self) -> None:
        self.patch(limits, "PASSED_OVER", 10)
        made = table(self.clock, 100, expire=3600_000)
        rows = [made.obtain(f"{number}") for number in range(100)]
        self.clock.advance(1)
        for row in reversed(rows[:20]):
            made.touch(row, made.now())
            self.clock.advance(0.001)
        self.assertNotEqual(made.obtain("more"), 0)
        self.assertEqual([made.find(f"{number}") != 0 for number in (0, 9, 10, 11)], [True, True, False, True])
        self.assertNotEqual(made.obtain("another"), 0)
        self.assertNotEqual(made.find("12"), 0)

    def test_places_are_kept_lazily_again_where_there_is_room(self) -> None:
        made = table(self.clock, 16, expire=3600_000)
        for number in range(17):
            made.obtain(f"{number}")
        self.assertEqual(made.lazy, 0)
        for number in range(5):
            made.remove(made.find(f"{number + 5}"))
        made.obtain("more")
        self.assertEqual(made.lazy, 225_000)

    def test_a_full_table_takes_no_more_with_nopurge(self) -> None:
        made = table(self.clock, 2, nopurge=True, expire=5000)
        made.obtain("a")
        made.obtain("b")
        self.assertEqual((made.obtain("c"), made.track("c")), (0, 0))
        self.clock.advance(5)
        self.assertNotEqual(made.obtain("c"), 0)

    def test_what_is_tracked_stays(self) -> None:
        """Beyond its time, and in a full table; with all tracked nobody else comes in."""
        made = table(self.clock, 2, Stored("conn_cur"), expire=5000)
        one, two = made.track("a"), made.track("b")
        self.clock.advance(60)
        self.assertEqual((made.find("a"), made.uses[one]), (one, 1))
        self.assertEqual(made.obtain("c"), 0)
        self.assertFalse(made.remove(one))
        made.leave(two)
        self.assertEqual(made.value(one, made.slots["conn_cur"]), 1)
        self.assertNotEqual(made.obtain("c"), 0)
        self.assertEqual(sorted(map(str, keys(made))), ["a", "c"])

    def test_an_entry_goes_when_it_was_not_used_for_its_time(self) -> None:
        made = table(self.clock, expire=5000)
        row = made.obtain("a")
        self.clock.advance(4)
        made.touch(row, made.now())
        self.clock.advance(4.999)
        self.assertEqual((made.find("a"), made.remains(row), made.idle(row)), (row, 1, 4999))
        self.clock.advance(0.001)
        self.assertEqual(made.find("a"), 0)
        self.assertEqual(len(made), 0)

    def test_others_clear_what_is_out_of_time(self) -> None:
        """So that no memory is held for what nobody asks for again."""
        made = table(self.clock, 1000, expire=5000)
        for number in range(500):
            made.obtain(f"a{number}")
        self.clock.advance(5)
        for number in range(250):
            made.obtain(f"b{number}")
        self.assertEqual(len(made), 250)

    def test_a_sweep_removes_what_is_out_of_time(self) -> None:
        """Though nobody comes; in turns where it is much."""
        made, deadlines = table(self.clock, 2000, expire=5000), Deadlines(self.clock)
        sweep = Sweep({"t": made}, deadlines)
        sweep.start()
        for number in range(1200):
            made.obtain(f"{number}")
        row = made.track("in use")
        self.clock.pump([1.0] * 5)
        self.assertIn(len(made), (201, 701, 1201))
        self.clock.pump([0.05] * 8)
        self.assertEqual(len(made), 1)
        made.leave(row)
        self.clock.pump([1.0] * 7)
        self.assertEqual(len(made), 0)
        sweep.stop()
        self.assertEqual(sweep.slot, 0)
        deadlines.stop()

    def test_a_row_is_used_again_without_what_it_held(self) -> None:
        made = table(self.clock, 1)
        row = made.obtain("a")
        made.put(row, made.slots["gpc0"], 9)
        again = made.obtain("b")
        self.assertEqual((again, made.value(again, made.slots["gpc0"])), (row, 0))

    def test_names_of_servers(self) -> None:
        made = table(self.clock, 5, Stored("server_key"))
        row, slot = made.obtain("a"), made.slots["server_key"]
        self.assertEqual(made.name_in(row, slot), "")
        made.put_name(row, slot, "s1")
        self.assertEqual(made.name_in(row, slot), "s1")

    def test_a_large_table_allocates_nothing_ahead(self) -> None:
        """And keeps its keys in several dictionaries, none of which takes long to grow."""
        made = table(self.clock, 1 << 30)
        self.assertEqual([len(each) for each in made.by_key], [0] * limits.DICTIONARIES)
        rows = [made.obtain(f"{number}") for number in range(1000)]
        self.assertEqual([made.find(f"{number}") for number in range(1000)], rows)

    def test_a_reload_keeps_a_table_that_fits(self) -> None:
        """With its new size and time; one that stores something else begins empty, and that is said."""
        notices: list[Notice] = []
        said = StickTable("t", PLACE, "string", 5, stored=(RATE,))
        before = tables_of({"t": said}, {}, self.clock.seconds, notices)
        for key in "abcde":
            before["t"].obtain(key)
        smaller = StickTable("t", PLACE, "string", 2, expire=3000, stored=(RATE,))
        after = tables_of({"t": smaller}, before, self.clock.seconds, notices)
        self.assertIs(after["t"], before["t"])
        self.assertEqual(after["t"].settings.size, 5)
        after["t"].adopt(smaller)
        after["t"].obtain("f")
        self.assertEqual(keys(after["t"]), ["e", "f"])
        self.assertEqual(notices, [])
        other = StickTable("t", PLACE, "ip", 2, stored=(RATE,))
        self.assertEqual(len(tables_of({"t": other}, after, self.clock.seconds, notices)["t"]), 0)
        self.assertIn("begins empty", notices[0].text)

    def test_counters_of_a_request_come_before_those_of_its_connection(self) -> None:
        made = table(self.clock, 5, Stored("http_req_cnt"))
        shared: Counters = {number: (made, made.track(key)) for number, key in enumerate("ab")}
        own: Counters = {0: (made, made.track("c"))}
        count(own, shared, REQUESTS)
        count(None, shared, REQUESTS)
        slot = made.slots["http_req_cnt"]
        self.assertEqual([made.value(made.find(key), slot) for key in "abc"], [1, 2, 1])
        leave(own)
        self.assertEqual([made.uses[made.find(key)] for key in "abc"], [1, 1, 0])


class RateTests(SynchronousTestCase):
    """Sliding periods."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.table = table(self.clock, 5, RATE)
        self.row = self.table.obtain("a")

    def rate(self) -> int:
        return self.table.value(self.row, self.table.slots["http_req_rate"])

    def request(self, times: int = 1) -> None:
        self.table.count(self.row, self.table.requests, times)

    def test_events_fade_in_the_period_after_theirs(self) -> None:
        self.request(100)
        self.assertEqual(self.rate(), 100)
        for seconds, rate in ((9.9, 100), (2.6, 75), (2.5, 50), (2.5, 25), (2.5, 0), (1000, 0)):
            self.clock.advance(seconds)
            self.assertEqual(self.rate(), rate, seconds)

    def test_a_period_follows_the_one_before(self) -> None:
        self.request(100)
        self.clock.advance(15)
        self.request(10)
        self.assertEqual(self.rate(), 60)
        self.clock.advance(100)
        self.request()
        self.assertEqual(self.rate(), 1)

    def test_a_single_event_does_not_flap(self) -> None:
        """As in HAProxy it counts until its period has passed twice."""
        self.request()
        self.clock.advance(19.9)
        self.assertEqual(self.rate(), 1)
        self.clock.advance(0.2)
        self.assertEqual(self.rate(), 0)

    def test_an_order_sets_a_rate(self) -> None:
        self.table.put(self.row, self.table.slots["http_req_rate"], 50)
        self.assertEqual(self.rate(), 50)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 12000), st.integers(0, 5)), max_size=60))
    def test_a_rate_is_between_what_this_period_has_for_sure_and_what_two_can_have(
        self, steps: list[tuple[int, int]]
    ) -> None:
        """Never less than what came within the last moment, never more than what came in the last two periods."""
        clock = Clock()
        clock.advance(5000)
        made = table(clock, 5, RATE)
        row, slot = made.obtain("a"), made.slots["http_req_rate"]
        seen: deque[tuple[int, int]] = deque()
        for milliseconds, events in steps:
            clock.advance(milliseconds / 1000)
            if events:
                made.count(row, made.requests, events)
                seen.append((made.now(), events))
            now, rate = made.now(), made.value(row, slot)
            self.assertLessEqual(rate, sum(count for at, count in seen if now - at <= 20001))
            self.assertGreaterEqual(rate, events)


KEYS = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("obtain"), KEYS),
        st.tuples(st.just("track"), KEYS),
        st.tuples(st.just("leave"), KEYS),
        st.tuples(st.just("remove"), KEYS),
        st.tuples(st.just("wait"), st.integers(1, 4000)),
    ),
    max_size=200,
)


class BoundTests(SynchronousTestCase):
    """Whatever comes, in whatever order."""

    @settings(deadline=None, max_examples=150)
    @given(STEPS, st.integers(1, 12), st.sampled_from((0, 3000)), st.booleans())
    def test_a_table_is_bounded_and_whole(
        self, steps: list[tuple[str, int]], size: int, expire: int, nopurge: bool
    ) -> None:
        """No more entries than its size; what is tracked is there; what is out of time is not; none is lost."""
        clock = Clock()
        clock.advance(1000)
        made = table(clock, size, Stored("conn_cur"), expire=expire, nopurge=nopurge)
        tracked: dict[int, list[int]] = {}
        used: dict[int, int] = {}
        for what, number in steps:
            if what == "wait":
                clock.advance(number / 1000)
                continue
            now = made.now()
            if what == "obtain":
                known = made.find(number)
                if made.obtain(number) and not known:
                    used[number] = now
            elif what == "track":
                row = made.track(number)
                if row:
                    tracked.setdefault(number, []).append(row)
                    used[number] = now
            elif what == "leave" and tracked.get(number):
                made.leave(tracked[number].pop())
                used[number] = now
            elif what == "remove" and (row := made.find(number)):
                self.assertEqual(made.remove(row), not tracked.get(number))
            self.assertLessEqual(len(made), size)
            for key, rows in tracked.items():
                if rows:
                    self.assertEqual({*rows, made.find(key)}, {made.find(key)})
                    self.assertEqual(made.uses[rows[0]], len(rows))
                    self.assertEqual(made.value(rows[0], made.slots["conn_cur"]), len(rows))
        found = {key: made.find(key) for key in range(31)}
        present = {key: row for key, row in found.items() if row}
        self.assertEqual(len(set(present.values())), len(present))
        self.assertEqual(sorted(map(str, present)), sorted(map(str, keys(made))))
        self.assertEqual(len(present), len(made))
        for key in present:
            if expire and not tracked.get(key):
                self.assertGreater(used[key] + expire, made.now())
