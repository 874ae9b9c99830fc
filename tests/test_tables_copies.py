"""Stick tables in two processes: what goes over, and what both count together."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tables import StickTable, Stored
from reusedproxy.config.model.values import Place
from reusedproxy.exchanges.counting import end_counting
from reusedproxy.tables import copies
from reusedproxy.tables.copies import Description, Giver, Taker
from reusedproxy.tables.limiting import counting
from reusedproxy.tables.said import NotUnderstood
from reusedproxy.tables.shares import Sharer
from reusedproxy.tables.table import Key, Table

PLACE = Place("t.cfg", 1)
STORED = (
    *(Stored("gpc0"), Stored("gpt0"), Stored("conn_cur"), Stored("http_req_rate", 10_000), Stored("server_id")),
    *(Stored("server_key"), Stored("gpc", count=2), Stored("bytes_out_cnt")),
)


def sent(said: Any) -> Any:
    return json.loads(json.dumps(said))


class CopiesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100_000)
        #: What the clock of all processes shows, in seconds.
        self.common = 50.0

    def table(self, *stored: Stored, type: str = "ip", size: int = 100_000, **said: Any) -> Table:
        return Table(StickTable("t", PLACE, type, size, stored=stored or STORED, **said), self.clock.seconds)

    def taker(self, of: Table, to: Table) -> Taker:
        return Taker(to, Description.read(sent(Description.of(of, self.common).plain())), self.common)

    def copy(self, giver: Giver, taker: Taker) -> int:
        """Gives all there is; returns the number of blocks."""
        blocks = 0
        while (block := giver.block()) is not None:
            taker.take(sent(block.said), block.content)
            blocks += 1
        return blocks

    def copied(self, of: Table, to: Table) -> Taker:
        giver, taker = Giver(of), self.taker(of, to)
        self.copy(giver, taker)
        giver.stop()
        for _ in to.settling():
            pass
        return taker

    def shown(self, table: Table, key: Key) -> dict[str, object]:
        row = table.find(key)
        self.assertTrue(row, key)
        return {
            name: table.name_in(row, slot) if slot.names else table.value(row, slot)
            for name, slot in table.slots.items()
        }


class BlockTests(CopiesTestCase):
    def test_all_of_an_entry_goes_over(self) -> None:
        old, new = self.table(expire=60_000), self.table(expire=60_000)
        row = old.track("192.0.2.1")
        old.put(row, old.slots["gpt0"], 7)
        old.count(row, old.general(0), 3)
        old.count(row, old.general(1), 4)
        old.put_name(row, old.slots["server_key"], "s2")
        old.put(row, old.slots["server_id"], 2)
        old.count(row, old.bytes_out, 1 << 40)
        old.count(row, old.requests, 20)
        self.clock.advance(15)
        old.count(row, old.requests, 10)
        self.clock.advance(3)
        self.copied(old, new)
        self.assertEqual(self.shown(new, "192.0.2.1"), self.shown(old, "192.0.2.1"))
        self.assertEqual(self.shown(new, "192.0.2.1")["conn_cur"], 1)
        self.assertEqual((new.idle(new.find("192.0.2.1")), new.uses[new.find("192.0.2.1")]), (3000, 1))

    def test_all_entries_go_over_in_bounded_blocks_while_others_come_and_go(self) -> None:
        old, new = self.table(), self.table()
        for number in range(2000):
            old.obtain(f"k{number}")
        giver, taker = Giver(old), self.taker(old, new)
        blocks = 0
        while (block := giver.block()) is not None:
            self.assertLessEqual(len(block.said["keys"]), copies.AT_ONCE)
            taker.take(sent(block.said), block.content)
            if blocks < 20:
                old.count(old.obtain(f"k{100 * blocks}"), old.general(0))
                old.remove(old.find(f"k{100 * blocks + 1}"))
                old.obtain(f"new{blocks}")
            blocks += 1
        self.assertEqual(len(new), len(old))
        for row in old.each():
            key = old.key_of(row)
            self.assertEqual(self.shown(new, key), self.shown(old, key))

    def test_what_a_rule_counts_by_the_short_way_is_followed(self) -> None:
        old, new = self.table(Stored("http_req_rate", 10_000)), self.table(Stored("http_req_rate", 10_000))
        old.leave(old.track("a", old.requests))
        long_ways = []

        def goes_the_long_way(request: object) -> bool:
            long_ways.append(request)
            return False

        short = counting(old, 0, 6, None, goes_the_long_way)
        client: Any = SimpleNamespace(address=("a", 1), known_entry=None, last=False, session=None)
        request: Any = SimpleNamespace(client=client, read=self.clock.seconds())
        self.assertIs(short(request), False)
        old.leave(request.counters[0][1])
        giver, taker = Giver(old), self.taker(old, new)
        self.copy(giver, taker)
        short(request)  # which goes the long way, although its client's entry is known
        self.assertEqual(long_ways, [request])
        old.leave(old.track("a", old.requests))
        self.copy(giver, taker)
        self.assertEqual([self.shown(each, "a")["http_req_rate"] for each in (old, new)], [3, 3])
        giver.stop()
        short(request)
        self.assertEqual(len(long_ways), 1)

    def test_what_is_out_of_time_stays_behind(self) -> None:
        old, new = self.table(expire=60_000), self.table(expire=10_000)
        old.obtain("a")
        self.clock.advance(20)
        old.obtain("b")
        self.copied(old, new)
        self.assertEqual((new.find("a"), new.remains(new.find("b"))), (0, 10_000))

    def test_the_newest_go_into_a_smaller_table(self) -> None:
        old, new = self.table(size=1000), self.table(size=3)
        for number in range(1000):
            old.obtain(f"k{number}")
            self.clock.advance(1)
        for number in (5, 6):
            old.touch(old.find(f"k{number}"), old.now())
        self.copied(old, new)
        self.assertEqual({new.key_of(row) for row in new.each()}, {"k999", "k5", "k6"})

    def test_the_order_of_use_goes_over(self) -> None:
        old, new = self.table(size=10), self.table(size=10)
        for number in range(10):
            old.obtain(f"k{number}")
            self.clock.advance(1)
        old.touch(old.find("k0"), old.now())
        self.copied(old, new)
        new.obtain("one more")
        self.assertEqual(bool(new.find("k0")), True)
        self.assertEqual(new.find("k1"), 0)

    def test_a_table_takes_what_it_has_a_place_for(self) -> None:
        old = self.table(Stored("gpc0"), Stored("http_req_rate", 10_000), Stored("http_err_rate", 5000), Stored("gpt0"))
        new = self.table(
            Stored("conn_cur"), Stored("http_err_rate", 9000), Stored("http_req_rate", 10_000), Stored("gpc0")
        )
        row = old.obtain("a")
        for counted, events in ((old.general(0), 3), (old.requests, 4), (old.errors, 5)):
            old.count(row, counted, events)
        taker = self.copied(old, new)
        self.assertEqual(self.shown(new, "a"), {"gpc0": 3, "conn_cur": 0, "http_req_rate": 4, "http_err_rate": 0})
        self.assertEqual(taker.theirs.without_place(new), ["gpt0", "http_err_rate"])

    def test_keys_of_another_type_or_too_long(self) -> None:
        old = self.table(type="string", length=10)
        old.obtain(b"ten bytes\xff")
        old.obtain(b"six by")
        new = self.table(type="string", length=6)
        taker = self.copied(old, new)
        self.assertEqual([new.key_of(row) for row in new.each()], [b"six by"])
        self.assertEqual(taker.theirs.without_place(new), ["keys of more than 6 bytes"])
        self.assertFalse(taker.theirs.suits(self.table(type="ip")))
        self.assertFalse(
            Description.of(self.table(type="binary", length=4), 0).suits(self.table(type="binary", length=5))
        )
        for kind, key in (("binary", bytes(range(256)) * 2), ("integer", 0), ("ipv6", "::1")):
            one, other = self.table(type=kind, length=512), self.table(type=kind, length=512)
            one.obtain(key)
            self.copied(one, other)
            self.assertEqual([other.key_of(row) for row in other.each()], [key])

    def test_clocks_that_differ(self) -> None:
        old = self.table(expire=60_000)
        other = Clock()
        other.advance(70)
        new = Table(old.settings, other.seconds)
        row = old.obtain("a")
        old.count(row, old.requests, 30)
        self.clock.advance(6)
        giver, theirs = Giver(old), Description.of(old, self.common)
        # Two seconds later the other process begins to take.
        other.advance(2)
        self.clock.advance(2)
        self.copy(giver, Taker(new, theirs, self.common + 2))
        self.assertEqual((new.idle(new.find("a")), self.shown(new, "a")["http_req_rate"]), (8000, 30))

    def test_what_is_no_block(self) -> None:
        old, new = self.table(), self.table()
        old.obtain("a")
        block = Giver(old).block()
        assert block is not None
        for said, content in (
            ({**block.said, "keys": [1]}, block.content),
            ({**block.said, "keys": "a"}, block.content),
            (block.said, block.content[:-1]),
            ({**block.said, "names": [7]}, block.content),
            ({**block.said, "names": ["n" * 5000]}, block.content),
            ({**block.said, "names": ["n"] * 100_001}, block.content),
            ({**block.said, "removed": [{}]}, block.content),
        ):
            with self.assertRaises(NotUnderstood):
                self.taker(old, new).take(said, content)
        texts, theirs = self.table(type="string", length=8), self.table(type="string", length=8)
        for key in ("€", 1):
            with self.assertRaises(NotUnderstood):
                self.taker(texts, theirs).take({**block.said, "keys": [key]}, block.content)
        self.taker(texts, theirs).take({**block.said, "keys": ["longer than it says"]}, block.content)
        self.assertEqual(len(theirs), 0)
        good = Description.of(old, 0).plain()
        nonsense: list[Any] = [{}, [], 7, {**good, "slots": {"a": [1]}}, {**good, "width": 1}]
        for wrong in nonsense:
            with self.assertRaises(NotUnderstood):
                Description.read(wrong)


class SharingTests(CopiesTestCase):
    """Two processes that both count."""

    def both(self, *stored: Stored) -> tuple[Sharer, Sharer, Table, Table]:
        old, new = self.table(*stored), self.table(*stored)
        giver, taker = Giver(old), self.taker(old, new)
        self.copy(giver, taker)
        return giver.shared(), taker.shared(), old, new

    def tell(self, one: Sharer, other: Sharer) -> None:
        while (said := one.changes()) is not None:
            other.take(sent(said))

    def test_both_know_what_either_counts(self) -> None:
        one, two, old, new = self.both()
        old.count(old.obtain("a"), old.general(0), 3)
        new.count(new.obtain("a"), new.general(0), 4)
        old.count(old.obtain("a"), old.requests, 30)
        new.count(new.obtain("a"), new.requests, 40)
        self.tell(one, two)
        self.tell(two, one)
        for table in (old, new):
            shown = self.shown(table, "a")
            self.assertEqual((shown["gpc0"], shown["http_req_rate"]), (7, 70))
        self.assertEqual((one.changes(), two.changes()), (None, None))

    def test_what_is_taken_away_and_what_begins_again_is_told(self) -> None:
        """Both have the same sum, below 0 and behind 32 bits, too."""
        for held, here, there, both in (
            (0, 5, -2, 3),
            (5, -2, -1, 2),
            (2, -2, 0, 0),
            (0, -3, 0, 2**32 - 3),
            (2**32 - 3, 1, 0, 2**32 - 2),
            (2**32 - 3, 5, -1, 1),
            (2**32 - 3, -1, 2, 2**32 - 2),
            (2**32 - 1, 2, 3, 4),
            (1, -2, 0, 2**32 - 1),
        ):
            one, two, old, new = self.both(Stored("gpc0"), Stored("gpc0_rate", 10_000))
            old.count(old.obtain("a"), old.general(0), held)
            self.tell(one, two)
            for table, events in ((old, here), (new, there)):
                if events:
                    table.count(table.obtain("a"), table.general(0), events)
            for _ in range(2):
                self.tell(one, two)
                self.tell(two, one)
            for table in (old, new):
                self.assertEqual([*self.shown(table, "a").values()], [both, both], (held, here, there))
            self.assertEqual((one.changes(), two.changes()), (None, None))

    def test_what_both_set_to_0_at_once_is_0(self) -> None:
        """And not as far below as it was above."""
        one, two, old, new = self.both(Stored("gpc0"))
        old.count(old.obtain("a"), old.general(0), 5)
        self.tell(one, two)
        for table in (old, new):
            table.put(table.find("a"), table.slots["gpc0"], 0)
        first, second = one.changes(), two.changes()
        assert first is not None and second is not None
        two.take(sent(first))
        one.take(sent(second))
        self.assertEqual([self.shown(table, "a")["gpc0"] for table in (old, new)], [0, 0])

    def test_an_end_in_the_other_process_is_counted_here(self) -> None:
        old, new = self.table(), self.table()
        row = old.track("a")
        giver, taker = Giver(old), self.taker(old, new)
        self.copy(giver, taker)
        one, two = giver.shared(), taker.shared()
        entry = new.track("a")
        self.tell(two, one)
        self.assertEqual([self.shown(table, "a")["conn_cur"] for table in (old, new)], [2, 2])
        old.leave(row)
        self.tell(one, two)
        self.assertEqual([self.shown(table, "a")["conn_cur"] for table in (old, new)], [1, 1])
        new.leave(entry)
        self.tell(two, one)
        self.assertEqual([self.shown(table, "a")["conn_cur"] for table in (old, new)], [0, 0])
        self.assertEqual((old.uses[row], new.uses[entry]), (0, 0))

    def test_the_end_of_a_request_is_told(self) -> None:
        """Also by a table that counts nothing at it."""
        old, new = self.table(Stored("http_req_rate", 10_000)), self.table(Stored("http_req_rate", 10_000))
        row = old.track("a", old.requests)
        giver, taker = Giver(old), self.taker(old, new)
        self.copy(giver, taker)
        one, two = giver.shared(), taker.shared()
        self.assertEqual(new.uses[new.find("a")], 1)
        ended: Any = SimpleNamespace(client=SimpleNamespace(session=None), status=200, bytes_in=1, bytes_out=1)
        end_counting(ended, {0: (old, row)}, 0, judged=False)
        self.tell(one, two)
        self.assertEqual((old.uses[row], new.uses[new.find("a")]), (0, 0))

    def test_a_process_that_dies_tracks_nothing_any_more(self) -> None:
        old, new = self.table(), self.table()
        old.track("a")
        old.track("b")
        giver, taker = Giver(old), self.taker(old, new)
        self.copy(giver, taker)
        two = taker.shared()
        new.track("a")
        self.assertEqual(self.shown(new, "a")["conn_cur"], 2)
        two.stop()
        self.assertEqual([self.shown(new, key)["conn_cur"] for key in "ab"], [1, 0])
        self.assertEqual([new.uses[new.find(key)] for key in "ab"], [1, 0])
        self.assertEqual(new.journals, [])

    def test_an_entry_that_was_removed_and_has_come_again(self) -> None:
        one, two, old, new = self.both()
        new.count(new.obtain("a"), new.general(0), 5)
        self.tell(two, one)
        old.remove(old.find("a"))
        old.count(old.obtain("a"), old.general(0), 2)
        self.tell(one, two)
        self.assertEqual([self.shown(each, "a")["gpc0"] for each in (old, new)], [2, 2])

    def test_three_processes(self) -> None:
        """The first has clients yet when the second is replaced."""
        first = self.table()
        row = first.track("a")
        second, third = self.table(), self.table()
        giver, taker = Giver(first), self.taker(first, second)
        self.copy(giver, taker)
        one, to_first = giver.shared(), taker.shared()
        giver, taker = Giver(second), self.taker(second, third)
        self.copy(giver, taker)
        to_third, three = giver.shared(), taker.shared()
        self.assertEqual(self.shown(third, "a")["conn_cur"], 1)
        first.count(row, first.general(0), 5)
        third.count(third.obtain("a"), third.general(0), 6)
        for _ in range(2):
            for ours, theirs in ((one, to_first), (to_third, three), (three, to_third), (to_first, one)):
                self.tell(ours, theirs)
        self.assertEqual([self.shown(each, "a")["gpc0"] for each in (first, second, third)], [11] * 3)
        first.leave(row)
        for ours, theirs in ((one, to_first), (to_third, three)):
            self.tell(ours, theirs)
        self.assertEqual([self.shown(each, "a")["conn_cur"] for each in (first, second, third)], [0] * 3)

    def test_rates_are_told_over_the_end_of_a_period(self) -> None:
        one, two, old, new = self.both()
        row = old.obtain("a")
        old.count(row, old.requests, 10)
        self.tell(one, two)
        self.clock.advance(9.9)
        old.count(row, old.requests, 5)
        self.clock.advance(0.2)
        old.count(row, old.requests, 3)
        self.tell(one, two)
        entry = new.find("a")
        self.assertEqual(sum(map(new.events, [entry], [new.slots["http_req_rate"]])), 8)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["count", "track", "leave", "tell", "tag"]),
                st.integers(0, 1), st.integers(0, 3), st.integers(1, 9),
            ),
            max_size=60,
        )
    )  # fmt: skip
    def test_whatever_happens_both_agree_in_the_end(self, steps: list[tuple[str, int, int, int]]) -> None:
        one, two, old, new = self.both()
        sides = ((one, old), (two, new))
        tracked: list[list[tuple[int, str]]] = [[], []]
        counted: dict[str, int] = {}
        for what, side, number, events in steps:
            sharer, table = sides[side]
            key = f"k{number}"
            if what == "count":
                table.count(table.obtain(key), table.general(0), events)
                counted[key] = counted.get(key, 0) + events
            elif what == "track":
                tracked[side].append((table.track(key), key))
            elif what == "leave" and tracked[side]:
                table.leave(tracked[side].pop()[0])
            elif what == "tell":
                self.tell(sharer, sides[1 - side][0])
        self.tell(one, two)
        self.tell(two, one)
        for key, events in counted.items():
            self.assertEqual([self.shown(table, key)["gpc0"] for table in (old, new)], [events] * 2)
        current = [key for each in tracked for _, key in each]
        for key in {*current}:
            self.assertEqual([self.shown(table, key)["conn_cur"] for table in (old, new)], [current.count(key)] * 2)
        one.stop()
        two.stop()
        for at, table in enumerate((old, new)):
            for row, _ in tracked[at]:
                table.leave(row)
            self.assertEqual({*table.uses}, {0})
