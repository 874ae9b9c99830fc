"""Equal keys of maps: whatever is ordered, each entry keeps its place and its number, and the first match counts."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.rules import maps
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.entries import Entries, Numbers
from reusedproxy.rules.maps import MOST_ADDED, Map

#: Keys, samples, and whether a key matches a sample, by the method; several keys mean the same, or match the same.
CASES: dict[str, tuple[list[str], list[Any], Callable[[str, Any], bool]]] = {
    "str": (["a", "b", "ab"], [b"a", b"b", b"ab"], lambda key, sample: key.encode() == sample),
    "end": (["a", "ba", "cba"], [b"a", b"cba", b"ba"], lambda key, sample: bool(sample.endswith(key.encode()))),
    "sub": (["a", "b", "ab"], [b"a", b"ab", b"ba"], lambda key, sample: key.encode() in sample),
    "dir": (["a", "b", "a/b"], [b"/a/b", b"/b/a", b"a"], lambda key, sample: f"/{key}/".encode() in b"/%b/" % sample),
    "reg": (["a", "b", "a.*"], [b"a", b"ab", b"ba"], lambda key, sample: key[0].encode() in sample),
    "int": (["1", "01", "1:3", "2", "0:9"], [1, 2, 3], lambda key, sample: _low(key) <= sample <= _high(key)),
    "ip": (
        ["10.0.0.0/8", "10.1.1.1/8", "10.2.2.2/8"],
        [ip_address("10.3.3.3")],
        lambda key, sample: True,
    ),
}


def _low(key: str) -> int:
    return int(key.split(":")[0])


def _high(key: str) -> int:
    return int(key.split(":")[-1])


class EqualKeysTests(SynchronousTestCase):
    def test_the_first_that_matches_counts_whatever_is_ordered(self) -> None:
        for method, (keys, samples, matches) in CASES.items():
            for seed in range(12):
                self.play(Random(seed), method, keys, samples, matches)

    def play(
        self, random: Random, method: str, keys: list[str], samples: list[Any], matches: Callable[[str, Any], bool]
    ) -> None:
        #: What is expected: a list of keys and values, as HAProxy has it.
        expected = [(random.choice(keys), b"f%d" % number) for number in range(random.randrange(6))]
        chosen = Map(expected)
        for _ in chosen.prepare(method, "str", "m"):
            pass
        numbers: dict[tuple[str, bytes], int] = {}
        for step in range(60):
            self.order(random, chosen, expected, random.choice(keys), b"%d" % step)
            found = [*chosen.all_entries()]
            where = (method, step, expected)
            self.assertEqual([(key.decode(), value) for _, key, value in found], expected, where)
            self.assertEqual(len({(number, key) for number, key, _ in found}), len(found), where)
            self.assertEqual(chosen.entry_count, len(found), where)
            for sample in samples:
                first = next((value for key, value in expected if matches(key, sample)), None)
                self.assertEqual(chosen.find(method, sample), first, where)
            numbers = {(key.decode(), value): number for number, key, value in found}
        self.assertTrue(numbers or not expected)

    def order(self, random: Random, chosen: Map, expected: list[tuple[str, bytes]], key: str, value: bytes) -> None:
        """Orders something, and does it to what is expected."""
        text = key.encode()
        kind = random.choice(
            ("put", "put", "put", "one", "one", "value of one", "value", "rule", "all", "rule deletes")
        )
        if kind == "put":
            chosen.put(text, value)
            expected.append((key, value))
        elif kind in ("one", "value of one") and expected:
            at = random.randrange(len(expected))
            number, own, _ = [*chosen.all_entries()][at]
            if kind == "one":
                self.assertTrue(chosen.take_out_one(number, own))
                self.assertFalse(chosen.take_out_one(number, own))
                del expected[at]
            else:
                self.assertTrue(chosen.put_value_of(number, own, value))
                expected[at] = expected[at][0], value
        elif kind in ("value", "rule"):
            there = any(each == key for each, _ in expected)
            if kind == "value":
                self.assertEqual(chosen.put_value(text, value), there)
            else:
                self.assertEqual(chosen.set(text, value), "")
                if not there:
                    expected.append((key, value))
            expected[:] = [(each, value if each == key else old) for each, old in expected]
        elif kind in ("all", "rule deletes"):
            if kind == "all":
                self.assertEqual(chosen.take_out(text), any(each == key for each, _ in expected))
            else:
                chosen.delete(text)
            expected[:] = [each for each in expected if each[0] != key]

    def test_what_is_prepared_while_entries_change_is_of_all_of_them(self) -> None:
        """A reload may bring a way of matching at any time."""
        self.patch(maps, "_STEP", 1)
        for method, (keys, samples, matches) in CASES.items():
            for seed in range(600):
                random = Random(seed)
                expected = [(random.choice(keys), b"f%d" % number) for number in range(random.randrange(9))]
                chosen = Map(expected)
                work = chosen.prepare(method, "str", "m")
                step = 0
                while next(work, chosen) is not chosen:
                    step += 1
                    if step < 20 and random.random() < 0.7:
                        self.order(random, chosen, expected, random.choice(keys), b"%d" % step)
                for sample in samples:
                    first = next((value for key, value in expected if matches(key, sample)), None)
                    self.assertEqual(chosen.find(method, sample), first, (method, seed))

    def test_what_operators_add_and_delete_leaves_rules_their_bounds(self) -> None:
        chosen = Map([("a", b"1"), ("a", b"2")])
        for _ in range(3):
            chosen.put(b"a", b"x" * 1000)
            number, key, _ = next(iter(chosen.all_entries()))
            chosen.take_out_one(number, key)
        self.assertEqual(chosen.entry_count, 2)
        chosen._most = 2
        self.assertEqual(chosen.set(b"b", b""), "")
        self.assertEqual(chosen.set(b"c", b""), f"rules have added as many keys as they may ({MOST_ADDED})")

    def test_values_behind_the_first_are_checked_too(self) -> None:
        """They may count one day."""
        chosen = Map([("a", b"1"), ("a", b"x")])
        self.assertRaises(Wrong, list, chosen.prepare("str", "int", "m"))

    def test_numbers_are_stored_only_where_they_are_needed(self) -> None:
        entries = Entries(Numbers())
        for number in range(1000):
            entries.append(b"%d" % number, b"")
        self.assertEqual((len(entries._numbered), len(entries._behind)), (0, 0))

    def test_the_order_of_entries_is_that_of_when_the_look_began(self) -> None:
        entries = Entries(Numbers())
        for key in (b"a", b"b", b"a"):
            entries.append(key, b"")
        shown = iter(entries)
        entries.delete(b"a")
        entries.append(b"c", b"")
        self.assertEqual([key for _, key, _ in shown], [b"a", b"b", b"a"])

    def test_a_list_that_rules_change_keeps_equal_patterns(self) -> None:
        file = EditedFile(["a", "A", "a"])
        for _ in file.prepare("sub", True, "f"):
            pass
        number, key, _ = next(iter(file.all_entries()))
        self.assertTrue(_done(file.delete_entry(number, key, "f")))
        self.assertEqual([key for _, key, _ in file.all_entries()], [b"A", b"a"])
        self.assertTrue(file.tests["sub", True](b"xax"))
        self.assertEqual(file.add(b"a"), "")
        self.assertEqual(file.entry_count, 2)
        file.delete(b"a")
        self.assertTrue(file.tests["sub", True](b"xax"))
        file.delete(b"A")
        self.assertFalse(file.tests["sub", True](b"xax"))


def _done(work: Any) -> Any:
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value
