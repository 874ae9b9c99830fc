"""What is hashed of a request, and where the nodes of servers begin."""

from __future__ import annotations

import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from xxhash import xxh32_intdigest

from reusedproxy.backends.balance.hashes import FUNCTIONS, avalanche
from reusedproxy.build.balancing import hash_of, node_seed
from reusedproxy.config import model
from reusedproxy.config.model.balance import Balance, HashType
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.net.dial import Target
from reusedproxy.wire.heads import Limits, read_request

PLACE = model.Place("test.cfg", 1)
SDBM = FUNCTIONS["sdbm"]


class Attempt:
    """Of an attempt and its exchange, what is asked here."""

    def __init__(self, target: str = "/", *fields: str, source: str = "192.0.2.7") -> None:
        lines = [f"GET {target} HTTP/1.1", "Host: a", *fields]
        self.head = read_request("\r\n".join([*lines, "", ""]).encode(), Limits())
        self.answer = None
        self.source = (source, 1234)
        self.request = self


def hashed(attempt: Attempt, balance: Balance, kind: HashType = HashType()) -> int | None:  # noqa: B008
    found = hash_of(model.Backend(name="b", place=PLACE, balance=balance, hash_type=kind))
    assert found is not None
    asks: Any = attempt
    return found(asks)


class KeyTests(SynchronousTestCase):
    def test_the_part_of_the_target_is_hashed_that_counts(self) -> None:
        target = "/a/bc/d?x=/1&y=2"
        for balance, key in (
            (Balance("uri"), b"/a/bc/d"),
            (Balance("uri", whole=True), target.encode()),
            (Balance("uri", length=4), b"/a/b"),
            (Balance("uri", depth=1), b"/a"),
            (Balance("uri", depth=2), b"/a/bc"),
            (Balance("uri", depth=3, whole=True), b"/a/bc/d?x="),
            (Balance("uri", depth=9, length=100), b"/a/bc/d"),
        ):
            self.assertEqual(hashed(Attempt(target), balance), SDBM(key), balance)

    def test_an_absolute_target_counts_whole_or_from_its_path_on(self) -> None:
        attempt = Attempt("http://a/b?c")
        self.assertEqual(hashed(attempt, Balance("uri", path_only=True)), SDBM(b"/b"))
        self.assertEqual(hashed(attempt, Balance("uri")), SDBM(b"http://a/b"))

    def test_a_parameter_is_found_by_its_whole_name(self) -> None:
        for target, key in (
            ("/?id=7", b"7"),
            ("/?id=", b""),
            ("/?xid=1&id=2&id=3", b"2"),
            ("/?id&id=2", b"2"),
            ("/?a=b?id=1", None),
            ("/id=1", None),
            ("/?ID=1", None),
        ):
            expected = None if key is None else SDBM(key)
            self.assertEqual(hashed(Attempt(target), Balance("url_param", name="id")), expected, target)

    def test_the_first_value_of_a_header_counts(self) -> None:
        for fields, key in (
            (("X-Key: one, two",), b"one"),
            (("x-key: one", "X-Key: two"), b"one"),
            (('X-Key: "a,b", c',), b'"a,b"'),
            (("X-Key:",), None),
            ((), None),
        ):
            expected = None if key is None else SDBM(key)
            self.assertEqual(hashed(Attempt("/", *fields), Balance("hdr", name="x-key")), expected, fields)

    def test_of_a_domain_the_label_before_the_last_dot_counts(self) -> None:
        for name, key in (
            ("www.example.com", b"example"),
            ("example.com", b"example"),
            ("localhost", b"localhost"),
            ("a.b.example.org:8080", b"example"),
            (".com", b".com"),
        ):
            found = hashed(Attempt("/", f"X: {name}"), Balance("hdr", name="x", domain_only=True))
            self.assertEqual(found, SDBM(key), name)

    def test_expressions_are_hashed_as_bytes_and_taken_as_numbers(self) -> None:
        for text, kind, expected in (
            ("path,length", HashType(), SDBM((2).to_bytes(8, "big"))),
            ("path,length", HashType(function="none"), 2),
            ("src", HashType(), SDBM(bytes([192, 0, 2, 7]))),
            ("req.hdr(none)", HashType(), None),
            ("path", HashType(avalanche=True), avalanche(SDBM(b"/x"))),
        ):
            balance = Balance("hash", expression=read_expression(text, "test"))
            attempt = Attempt("/x")
            attempt.source = ("192.0.2.7", 1)
            self.assertEqual(hashed(attempt, balance, kind), expected, text)

    def test_addresses_of_both_families_are_hashed_by_their_words(self) -> None:
        for source, expected in (
            ("192.0.2.7", 0xC0000207),
            ("2001:db8::1:2", 0x20010DB8 ^ 0x00010002),
            ("unix", None),
        ):
            self.assertEqual(hashed(Attempt(source=source), Balance("source")), expected)
        self.assertEqual(hashed(Attempt(), Balance("source"), HashType(avalanche=True)), avalanche(0xC0000207))


class NodeTests(SynchronousTestCase):
    def seed(self, key: str, target: Target, **words: Any) -> int:
        return node_seed(model.Server(name="s", place=PLACE, host="h", id=3, hash_key=key, **words), target)

    def test_they_are_where_haproxy_has_them(self) -> None:
        v4, v6 = Target(socket.AF_INET, ("192.0.2.7", 80)), Target(socket.AF_INET6, ("2001:db8::1", 80))
        packed = int.from_bytes(bytes([192, 0, 2, 7]), "little")
        self.assertEqual(self.seed("id", v4), 3 * 4096)
        self.assertEqual(self.seed("id32", v4), avalanche(3 << 24))
        self.assertEqual(self.seed("addr", v4), avalanche(packed))
        self.assertEqual(self.seed("addr-port", v4), avalanche((avalanche(80) + packed) % 2**32))
        self.assertEqual(self.seed("addr", v6), xxh32_intdigest(socket.inet_pton(socket.AF_INET6, "2001:db8::1")))
        self.assertEqual(self.seed("guid", v4, guid="one"), xxh32_intdigest(b"one"))

    def test_without_what_they_need_they_go_by_the_number(self) -> None:
        unix = Target(socket.AF_UNIX, "/a.sock")
        for key in ("addr", "addr-port", "guid"):
            self.assertEqual(self.seed(key, unix), 3 * 4096)
