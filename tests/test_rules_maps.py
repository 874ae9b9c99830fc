"""Maps: what each way of matching finds, what rules change in them, and what that costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.rules.facts import Sample
from reusedproxy.rules.map_methods import METHODS
from reusedproxy.rules.maps import Map


def made(keys: Iterable[str], *methods: str) -> Map:
    """A map whose values are its keys."""
    chosen = Map((key, key.encode()) for key in keys)
    for method in methods:
        for _ in chosen.prepare(method, "a map"):
            pass
    return chosen


def calls(act: Callable[[], object]) -> int:
    """How many functions are called, those in C included."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return counted


#: A way of matching, keys of a file, and a sample for which one that is added later is found.
WAYS: list[tuple[str, str, str, Sample]] = [
    ("str", "key{}", "other", b"other"),
    ("beg", "key{}", "oth", b"other"),
    ("end", "key{}", "her", b"other"),
    ("sub", "key{}", "the", b"other"),
    ("dir", "key{}", "other", b"/an/other"),
    ("dom", "key{}", "other", b"an.other.test"),
    ("reg", "^key{}$", "^o.*r$", b"other"),
    ("regm", "^key{}$", "^o.*r$", b"other"),
    ("int", "{}:{}", "9:9", 9),
    ("ip", "10.0.0.{}", "192.0.2.0/24", ip_address("192.0.2.7")),
]


class ChangeTests(SynchronousTestCase):
    def test_all_ways_of_matching_are_here(self) -> None:
        self.assertEqual([way for way, *_ in WAYS], list(METHODS))

    def test_a_look_up_finds_what_was_set_and_not_what_was_deleted(self) -> None:
        for way, pattern, key, sample in WAYS:
            chosen = made([pattern.format(1, 1), pattern.format(2, 2)], way)
            self.assertIsNone(chosen.find(way, sample), way)
            for value in (b"one", b"two"):
                chosen.set(key.encode(), value)
                self.assertEqual(chosen.find(way, sample), value, way)
            chosen.delete(key.encode())
            self.assertIsNone(chosen.find(way, sample), way)
            chosen.set(key.encode(), b"three")
            self.assertEqual(chosen.find(way, sample), b"three", way)

    def test_a_change_costs_no_more_where_there_are_many_keys(self) -> None:
        """With the look-up that follows, which must find nothing to prepare."""

        def change(chosen: Map, way: str, key: bytes, sample: Sample) -> None:
            chosen.set(key, b"one")
            chosen.set(key, b"two")
            chosen.find(way, sample)
            chosen.delete(key)

        for way, pattern, key, _ in WAYS:
            sample: Sample = {"int": 1, "ip": ip_address("10.0.0.1")}.get(way, b"key1")
            few, many = (made([pattern.format(each, each) for each in range(1, end)], way) for end in (6, 250))
            for chosen in (few, many):
                change(chosen, way, key.encode(), sample)
            costs = [calls(partial(change, chosen, way, key.encode(), sample)) for chosen in (few, many)]
            self.assertLess(costs[1], costs[0] + 10, way)

    def test_the_first_of_several_spellings_counts_until_it_is_deleted(self) -> None:
        for way, spellings, sample in (
            ("ip", ["10.0.0.0/8", "10.0.0.0/255.0.0.0", "10.1.2.3/8"], ip_address("10.9.9.9")),
            ("ip", ["2001:db8::", "2001:DB8::", "2001:0db8::"], ip_address("2001:db8::")),
            ("int", ["7", "07", "7:7"], 7),
        ):
            chosen = made(spellings, way)
            for each in spellings:
                self.assertEqual(chosen.find(way, sample), each.encode())
                chosen.delete(each.encode())
            self.assertIsNone(chosen.find(way, sample))
            for each in reversed(spellings):
                chosen.set(each.encode(), each.encode())
                self.assertEqual(chosen.find(way, sample), spellings[-1].encode())

    def test_of_numbers_and_ranges_the_first_counts(self) -> None:
        chosen = made(["1:3", "2", "5", "4:6", "1:9"], "int")
        found = [chosen.find("int", each) for each in range(11)]
        self.assertEqual(found, [None, b"1:3", b"1:3", b"1:3", b"4:6", b"5", b"4:6", b"1:9", b"1:9", b"1:9", None])

    def test_the_longest_beginning_and_the_smallest_network_count(self) -> None:
        chosen = made(["ab", "abcd", "a", ""], "beg")
        for sample, found in ((b"abc", b"ab"), (b"abcde", b"abcd"), (b"ac", b"a"), (b"x", b""), (b"", b"")):
            self.assertEqual(chosen.find("beg", sample), found)
        chosen = made(["10.0.0.0/8", "10.1.0.0/16", "::ffff:11.0.0.0/104"], "ip")
        for address, found in (("10.1.0.1", b"10.1.0.0/16"), ("10.2.0.1", b"10.0.0.0/8"),
                               ("::ffff:10.1.1.1", b"10.1.0.0/16"), ("11.0.0.1", b"::ffff:11.0.0.0/104")):  # fmt: skip
            self.assertEqual(chosen.find("ip", ip_address(address)), found)
