"""Long lists of patterns: they decide as their patterns one by one would, and thousands of values take no time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from random import Random

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.acls import read_criterion
from reusedproxy.net.slices import run_through
from reusedproxy.rules.lists import (
    FEW,
    LARGEST,
    beginning_with,
    containing,
    delimited,
    ending_with,
    within_networks,
    within_ranges,
)
from reusedproxy.rules.maps import Map
from reusedproxy.rules.matching import criterion
from tests.rulefakes import Seen

#: Few letters, so that texts meet; some that mean something in an expression, and none of a text's.
LETTERS = some.sampled_from([b"a", b"b", b".", b"|", b"(", b"\\", b"\n", b"\0", b"\xff", b" "])
TEXTS = some.lists(LETTERS, max_size=6).map(b"".join)
#: More than are compared one after the other, as often as not.
MANY = some.lists(TEXTS, min_size=1, max_size=3 * FEW).map(tuple)
IPV4 = some.builds(IPv4Address, some.integers(0, 255) | some.integers(0, 2**32 - 1))
IPV6 = some.builds(IPv6Address, some.integers(0, 255) | some.integers(0, 2**128 - 1))
MAPPED = some.builds(lambda address: IPv6Address(0xFFFF << 32 | int(address)), IPV4)
NETWORKS = some.lists(
    some.tuples(IPV4, some.integers(0, 32)) | some.tuples(IPV6 | MAPPED, some.integers(0, 128)), max_size=20
).map(lambda made: [ip_network(each, strict=False) for each in made])
BOUNDS = some.none() | some.integers(-20, 20)


#: Seconds of processor time: some twenty times what it takes where nothing else runs, and a tenth of what it took when
#: each pattern was tried.
MOST = 1.0


class AgreementTests(SynchronousTestCase):
    """What a list decides is what its patterns decide."""

    @given(MANY, some.lists(TEXTS, max_size=8))
    def test_texts(self, patterns: tuple[bytes, ...], texts: list[bytes]) -> None:
        ways: list[tuple[Callable[[tuple[bytes, ...]], Callable[[bytes], bool]], Callable[[bytes, bytes], bool]]] = [
            (beginning_with, lambda text, pattern: text.startswith(pattern)),
            (ending_with, lambda text, pattern: text.endswith(pattern)),
            (containing, lambda text, pattern: pattern in text),
        ]
        for compiled, one in ways:
            is_in = compiled(patterns)
            for text in [*texts, b"".join(texts), b""]:
                self.assertEqual(is_in(text), any(one(text, pattern) for pattern in patterns), (compiled, text))

    @given(MANY, TEXTS, TEXTS)
    def test_words_between_delimiters(self, patterns: tuple[bytes, ...], text: bytes, more: bytes) -> None:
        words = [word for pattern in patterns if (word := pattern.strip(b".| "))]
        for each in (text, text + more, b"".join(patterns[:3]), b" ".join(patterns[:2])):
            found = re.compile(rb"(?:\A|[.| ])(?:%b)(?=[.| ]|\Z)" % b"|".join(map(re.escape, words))) if words else None
            # By positions, because a match that begins at a delimiter must not hide the one that begins at the next.
            expected = found is not None and any(found.match(each, at) for at in range(len(each) + 1))
            self.assertEqual(delimited(patterns, b".| ")(each), expected, each)

    @given(some.lists(some.tuples(BOUNDS, BOUNDS), max_size=12), some.integers(-25, 25))
    def test_ranges(self, ranges: list[tuple[int | None, int | None]], number: int) -> None:
        ranges = [(low, high) for low, high in ranges if low is None or high is None or low <= high]
        expected = any((low is None or low <= number) and (high is None or number <= high) for low, high in ranges)
        self.assertEqual(within_ranges(ranges)(number), expected)

    @given(NETWORKS, IPV4 | IPV6 | MAPPED)
    def test_networks(self, networks: list[object], address: IPv4Address | IPv6Address) -> None:
        """An IPv4 address is also looked for as IPv4-mapped, and an IPv6 address that stands for one as that one."""
        spellings = {address}
        if isinstance(address, IPv4Address):
            spellings.add(IPv6Address(0xFFFF << 32 | int(address)))
        else:
            spellings |= {inner for inner in (address.ipv4_mapped, address.sixtofour) if inner is not None}
            if int(address) < 2**32:
                spellings.add(IPv4Address(int(address)))
        expected = any(
            each in network  # type: ignore[operator]
            for each in spellings
            for network in networks
            if each.version == network.version  # type: ignore[attr-defined]
        )
        self.assertEqual(within_networks(networks)(address), expected)  # type: ignore[arg-type]

    def test_words_of_several_expressions_and_one_that_is_longer_than_any(self) -> None:
        words = [b"%06d" % number for number in range(0, LARGEST, 2)]
        is_in = containing((*words, b"x" * 3 * LARGEST))
        self.assertTrue(all(map(is_in, words)))
        self.assertFalse(is_in(b"000001 000003"))
        self.assertTrue(is_in(b"-" + b"x" * 3 * LARGEST))
        self.assertFalse(is_in(b"x" * (3 * LARGEST - 1)))


class CostTests(SynchronousTestCase):
    """What one request with a head of 15 KB can make them do: it took seconds when each pattern was tried."""

    def took(self, words: list[str], value: bytes) -> float:
        report = Report(("t.cfg",))
        said = read_criterion(words, Place("t.cfg", 1), "acl 'a'", report)
        report.raise_faults()
        began = time.process_time()
        test = criterion(said)
        self.assertLess(time.process_time() - began, MOST)
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + value + b"\r\n\r\n")
        test(facts)  # what is built at the first use
        began = time.process_time()
        self.assertFalse(test(facts))
        return time.process_time() - began

    def test_thousands_of_values_and_of_patterns(self) -> None:
        chance = Random(1)
        addresses = b",".join(b"198.51.%d.%d" % (chance.randrange(256), chance.randrange(256)) for _ in range(1000))
        numbers = b",".join(b"%d" % chance.randrange(10**6) for _ in range(2000))
        networks = [str(ip_address(chance.getrandbits(31))) + "/32" for _ in range(10_000)]
        ranges = [f"{2 * 10**6 + 3 * each}:{2 * 10**6 + 3 * each + 1}" for each in range(5_000)]
        texts = [f"word-{each}-" for each in range(5_000)]
        for words, value in (
            (["req.hdr_ip(x)", *networks], addresses),
            (["req.hdr_val(x)", *ranges], numbers),
            (["req.hdr(x)", "-m", "len", *[str(each + 100) for each in range(5000)]], numbers),
            (["req.hdr(x)", "-m", "sub", *texts], numbers),
            (["req.hdr(x)", "-i", "-m", "sub", *texts], b"word-" * 3000),
            (["req.hdr(x)", "-m", "beg", *texts], numbers),
            (["req.hdr(x)", "-m", "end", *texts], numbers),
            (["req.hdr(x)", "-m", "dom", *[f"www.{each}.test" for each in range(10_000)]], b"www." * 3_000),
            (["req.hdr(x)", "-i", "-m", "dir", *texts], b"/a" * 7_000),
            (["req.hdr(x),lower,length", "gt", "90000"], b"," * 14_500),
        ):
            with self.subTest(words[:4]):
                self.assertLess(self.took(words, value), MOST)

    def test_addresses_that_clients_choose_have_no_common_hash(self) -> None:
        """As numbers, those that differ by 2⁶¹ - 1 have: a dictionary of thousands then takes milliseconds for each."""
        chosen = Map([])
        run_through(chosen.prepare("ip", "ip", "a map"))
        first = int(ip_address("2001:db8::"))
        addresses = [str(ip_address(first + each * (2**61 - 1))) for each in range(20_000)]
        began = time.process_time()
        for address in addresses:
            chosen.set(address.encode(), b"1")
        self.assertLess(time.process_time() - began, 5.0)
