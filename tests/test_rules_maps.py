"""Maps: what each way of matching finds, what rules change in them, and what that costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build import list_files
from reusedproxy.build.maps import Maps
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.net.slices import run_through
from reusedproxy.rules import maps
from reusedproxy.rules.entries import Entries
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.map_methods import METHODS
from reusedproxy.rules.maps import Map
from tests.clientfakes import OK, get
from tests.integration.peers import temporary_directory
from tests.rulefakes import DEFAULTS, ruled


def made(keys: Iterable[str], *methods: str) -> Map:
    """A map whose values are its keys."""
    chosen = Map((key, key.encode()) for key in keys)
    for method in methods:
        run_through(chosen.prepare(method, "str", "a map"))
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

    def test_values_that_are_set_while_a_reload_has_them_read_otherwise_are_checked(self) -> None:
        """By rules, and by an operator's commit that is under way."""
        self.patch(maps, "_STEP", 1)
        chosen = made(["1", "2", "3"], "str")
        entries = Entries(chosen.numbers)
        for key in (b"a", b"b", b"c"):
            entries.append(key, b"word")
        replacing, preparing = chosen.replace(entries, "m"), chosen.prepare("str", "int", "m")
        for _ in range(4):
            next(replacing)
        next(preparing)
        self.assertEqual(chosen.set(b"c", b"word"), "a value that is no number was left out")
        self.assertRaises(Wrong, list, replacing)
        run_through(preparing)
        self.assertEqual([*chosen.values.values()], [b"1", b"2", b"3"])

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

    def test_networks_of_an_address_own_family_come_first(self) -> None:
        """Or a client could have itself looked for in another one's networks."""
        chosen = made(["10.0.0.0/8", "::/0"], "ip")
        for address, found in (("10.1.2.3", b"10.0.0.0/8"), ("11.1.2.3", b"::/0"), ("::ffff:10.1.2.3", b"::/0"),
                               ("2002:a01:203::1", b"::/0"), ("::10.1.2.3", b"::/0")):  # fmt: skip
            self.assertEqual(chosen.find("ip", ip_address(address)), found, address)
        chosen = made(["10.0.0.0/8"], "ip")
        for address in ("::ffff:10.1.2.3", "2002:a01:203::1", "::10.1.2.3"):
            self.assertEqual(chosen.find("ip", ip_address(address)), b"10.0.0.0/8", address)


class ReadingTests(SynchronousTestCase):
    """What cannot be read, in a file or from a client."""

    def faults(self, content: str, converter: str) -> list[str]:
        path = temporary_directory(self) / "map"
        path.write_text(content)
        return [text.replace(str(path), "FILE") for text in self.faults_of(str(path), converter)]

    def faults_of(self, path: str, converter: str) -> list[str]:
        rule = f"http-request deny if {{ {converter.format(path)} -m found }}"
        said = read_configuration([Source("t.cfg", f"{DEFAULTS}frontend f\n bind :80\n {rule}\n")], {})
        found = Maps()
        run_through(found.load(said.frontends.values()))
        return [fault.text for fault in found.faults]

    def test_a_file_with_a_line_that_cannot_be_read_is_a_fault(self) -> None:
        for content, converter, fault in (
            ("10.0.0.1 1\nx 2\n", "src,map_ip({})", "the map FILE: 'x' is no address"),
            ("fe80::1 1\nfe80::1%lo 2\n", "src,map_ip({})", "the map FILE: 'fe80::1%lo' names an interface"),
            ("a fe80::1\nb fe80::1%lo\n", "path,map_str_ip({})", "the map FILE: 'fe80::1%lo', the value of 'b', is no"),
            ("1 1\neq 2\n", "src_port,map_int({})", "the map FILE: 'eq' is no number"),
            ("a 1\n( 2\n", "path,map_reg({})", "the map FILE: the regular expression '('"),
            ("a 1\nb x\n", "path,map_str_int({})", "the map FILE: 'x', the value of 'b', is no number"),
            ("a ::1\nb x\n", "path,map_beg_ip({})", "the map FILE: 'x', the value of 'b', is no address"),
        ):
            (found,) = self.faults(content, converter)
            self.assertTrue(found.startswith(fault), found)
            self.assertEqual(self.faults(content.splitlines()[0] + "\n", converter), [])

    def test_a_file_without_an_end_and_one_that_is_too_large_are_faults(self) -> None:
        self.patch(list_files, "LARGEST_LIST", 1 << 20)
        for path, found in (("/dev/zero", "more than"), (str(temporary_directory(self) / "map"), "1048577 bytes")):
            if path != "/dev/zero":
                Path(path).write_bytes(b"a 1\n" * (1 << 18) + b"b")
            (fault,) = self.faults_of(path, "src,map_ip({})")
            self.assertIn(f"cannot read the map {path}: it has {found}", fault)

    def test_a_key_that_a_look_up_cannot_read_is_not_taken(self) -> None:
        for way, good, sample, bad in (
            ("ip", "10.0.0.1", ip_address("10.0.0.1"), ["", "x", "10.0.0.1/99", "1.2.3.4/5/6", "\udcff", "1" * 9999]),
            ("int", "1", 1, ["", "x", "eq", "9:1", ":", "-5", "9" * 5000, "\u0661"]),
            ("reg", "^a", b"a", ["(", "a{99999}", "[[:x:]]", "\\", "(?<=b)a", "((a{50}){50}){3}"]),
            ("regm", "^a", b"a", ["(", "(?=(a+)+$)b"]),
        ):  # fmt: skip
            chosen = made([good], "str", way)
            for key in bad:
                refused = chosen.set(key.encode("utf-8", "surrogateescape"), b"1")
                self.assertEqual(refused, f"a key that 'map_{way}' cannot read was left out", key)
                self.assertEqual(chosen.find(way, sample), good.encode())
                chosen.delete(key.encode("utf-8", "surrogateescape"))
            self.assertEqual(list(chosen.values), [good.encode()])

    def test_a_key_that_one_of_several_look_ups_cannot_read_is_in_none(self) -> None:
        chosen = made([], "beg", "reg", "ip", "int")
        self.assertNotEqual(chosen.set(b"10.0.0.2", b"1"), "")
        self.assertIsNone(chosen.find("beg", b"10.0.0.2"))
        self.assertIsNone(chosen.find("reg", b"10.0.0.2"))
        self.assertIsNone(chosen.find("ip", ip_address("10.0.0.2")))

    def test_a_value_that_a_converter_cannot_read_leaves_the_one_before(self) -> None:
        for gives, good, bad in (
            ("int", b"1", [b"", b"x", b"1.5", b"9" * 5000, b"1\n", b"\xff"]),
            ("ip", b"::1", [b"", b"x", b"1.2.3", b"\xff"]),
        ):
            chosen = Map([("a", good)])
            run_through(chosen.prepare("str", gives, "a map"))
            for value in bad:
                for key in (b"a", b"b"):
                    self.assertIn("a value that is no ", chosen.set(key, value))
            self.assertEqual(chosen.values, {b"a": good})

    def test_keys_and_values_end_at_their_first_nul(self) -> None:
        chosen = made([], "str")
        chosen.set(b"a\0b", b"1\0002")
        self.assertEqual(chosen.find("str", b"a"), b"1")
        chosen.delete(b"a\0c")
        self.assertIsNone(chosen.find("str", b"a"))

    def test_a_request_with_such_a_key_is_told_once_and_no_other_is_harmed(self) -> None:
        rules = (
            "http-request set-map(m) %[req.hdr(x)] %[req.hdr(v)] if { req.hdr(x) -m found }\n"
            " http-request set-header X-Found %[src,map_ip_int(m,0)]"
        )
        world = ruled(self, rules, warm=1)
        chosen = Map([])
        run_through(chosen.prepare("ip", "int", "a map"))
        world.frontend.maps = {"m": chosen}
        client = world.client()
        for lines, found in (
            (["X: not-an-ip", "V: 1"], b"0"),
            (["X: not-one-either", "V: 1"], b"0"),
            (["X: 0.0.0.0/0", "V: x"], b"0"),
            (["X: 0.0.0.0/0", "V: 7"], b"7"),
            ([], b"7"),
        ):
            client.send(get("/", *lines))
            self.assertIn(b"x-found: " + found, world.server.asked().lower(), lines)
            world.server.answer(OK)
        told = [text.partition(": ")[2] for _, text in world.announced]
        reasons = "a key that 'map_ip' cannot read was left out", "a value that is no number was left out"
        self.assertEqual(len(told), 2)
        for text, reason in zip(told, reasons, strict=True):
            self.assertTrue(text.startswith(f"'set-map(m)': {reason}"), text)


class BoundTests(SynchronousTestCase):
    """What look-ups take longer for, and what takes memory, clients cannot have as much of as they like."""

    def refused(self, chosen: Map, keys: Iterable[str]) -> tuple[int, str]:
        """How many of these keys are taken, and why the next one is not."""
        number = 0
        for key in keys:
            if why := chosen.set(key.encode(), b"1"):
                return number, why
            number += 1
        return number, ""

    def test_keys_that_are_tried_one_after_the_other_are_bounded(self) -> None:
        for way, pattern, bound in (
            ("end", "{}", "as many keys"),
            ("sub", "{}", "as many keys"),
            ("dir", "{}", "as many keys"),
            ("dom", "{}", "as many keys"),
            ("reg", "{}", "as many keys"),
            ("int", "1:{}", "as many ranges"),
        ):
            keys = [pattern.format(each) for each in range(2, 1000)]
            chosen = made(keys[:300], "str", way)  # a file may have more
            number, why = self.refused(chosen, keys[300:])
            self.assertEqual(number, 256, way)
            self.assertIn(f"rules have added {bound} as they may (256", why)
            self.assertEqual(len(chosen.values), 556)
            chosen.delete(keys[0].encode())
            self.assertEqual(chosen.set(b"600:700", b"1"), "")

    def test_lengths_of_beginnings_are_bounded_and_keys_of_the_same_lengths_are_not(self) -> None:
        chosen = made([], "beg")
        self.assertEqual(self.refused(chosen, ("a" * each for each in range(1, 1000)))[0], 256)
        self.assertEqual(self.refused(chosen, (f"{each:08}" for each in range(1000))), (1000, ""))

    def test_numbers_and_addresses_are_not_tried_one_after_the_other(self) -> None:
        self.assertEqual(self.refused(made([], "int"), (str(each) for each in range(1000))), (1000, ""))
        addresses = (f"10.0.{each // 250}.{each % 250}" for each in range(1000))
        self.assertEqual(self.refused(made([], "ip"), addresses), (1000, ""))

    def test_expressions_are_together_no_larger_than_one_may_be(self) -> None:
        chosen = made(["a{1000}"], "reg")
        number, why = self.refused(chosen, (f"{each}{{1000}}" for each in "bcdefgh"))
        self.assertEqual((number, why), (4, "rules have added as long expressions as they may (4096 instructions)"))
        chosen.delete(b"b{1000}")
        self.assertEqual(chosen.set(b"i{1000}", b"1"), "")

    def test_bytes_are_bounded(self) -> None:
        chosen = Map([("a", b"x" * 100)])
        self.patch(maps, "MOST_GROWN", 1000)
        self.assertEqual(self.refused(chosen, (f"{each:099}" for each in range(100)))[0], 10)
        self.assertNotEqual(chosen.set(b"a", b"x" * 101), "")
        self.assertEqual(chosen.set(b"a", b"x" * 50), "")
        self.assertEqual(chosen.set(b"a", b"x" * 100), "")
        chosen.delete(b"a")
        self.assertEqual(chosen.set(b"b", b"x" * 100), "")
        self.assertNotEqual(chosen.set(b"c", b""), "")

    def test_a_text_that_has_a_key_everywhere_but_between_delimiters_costs_one_search(self) -> None:
        for way in ("dir", "dom"):
            chosen = made(["a", "aa"], way)
            self.assertLess(calls(partial(chosen.find, way, b"a" * 10000)), 20, way)

    def test_delimiters_within_a_key_are_not_mixed_up(self) -> None:
        chosen = made(["/a?b/", "a/b"], "dir")
        for text, found in ((b"a/b", b"a/b"), (b"/x/a?b", b"/a?b/"), (b"a/b?a?b", b"/a?b/"), (b"a/bc", None)):
            self.assertEqual(chosen.find("dir", text), found, text)
