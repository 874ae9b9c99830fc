"""The lists of a client's hello, as they come over the wire: of one made here, and of OpenSSL's."""

from __future__ import annotations

import struct

import xxhash
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.client_hello import NotHello, read_client_hello
from reusedproxy.wire.hello_lists import GREASE, HelloLists, read_lists, without_grease
from tests.test_wire_client_hello import HELLO, hello_with

#: What goes before the extensions that are made here.
VERSION, SUITES = 0x0303, b"\x13\x01"


def extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">HH", kind, len(content)) + content


def listed(kind: int, items: bytes, size: int = 2) -> bytes:
    return extension(kind, len(items).to_bytes(size, "big") + items)


def lists_of(data: bytes) -> HelloLists:
    hello = read_client_hello(data)
    assert hello is not None
    return read_lists(hello.message)


def share(group: int, key: bytes) -> bytes:
    return struct.pack(">HH", group, len(key)) + key


def ja3(lists: HelloLists) -> str:
    """The text whose MD5 is called JA3."""

    def numbers(data: bytes, size: int = 2) -> str:
        return "-".join(str(int.from_bytes(data[at : at + size], "big")) for at in range(0, len(data), size))

    pairs = (numbers(without_grease(each)) for each in (lists.suites, lists.extensions, lists.groups))
    return ",".join((str(lists.version), *pairs, numbers(lists.formats, 1)))


class HelloListsTests(SynchronousTestCase):
    def test_each_list(self) -> None:
        """Of extensions in any order, the last of them empty."""
        extensions = (
            listed(43, b"\x03\x04\x03\x03", 1),
            listed(10, b"\x0a\x0a\x00\x1d\x00\x17"),
            listed(11, b"\x00\x01", 1),
            listed(13, b"\x04\x03\x08\x04"),
            listed(51, share(0x0A0A, b"\0") + share(29, b"k" * 32)),
            extension(0x1A1A, b"\0"),
            extension(23, b""),
        )
        made = lists_of(hello_with(b"".join(extensions)))
        expected = HelloLists(
            VERSION,
            SUITES,
            xxhash.xxh64_intdigest(SUITES),
            extensions=struct.pack(">7H", 43, 10, 11, 13, 51, 0x1A1A, 23),
            groups=b"\x0a\x0a\x00\x1d\x00\x17",
            formats=b"\x00\x01",
            versions=b"\x03\x04\x03\x03",
            signatures=b"\x04\x03\x08\x04",
            key_shares=b"\x0a\x0a\x00\x1d",
            has_groups=True,
        )
        self.assertEqual(made, expected)
        self.assertEqual(ja3(made), "771,4865,43-10-11-13-51-23,29-23,0-1")

    def test_what_openssl_says(self) -> None:
        """Beside the name and the protocols, of which the test's hello is made."""
        made = lists_of(HELLO)
        self.assertIn(b"\x13\x01", made.suites)
        self.assertIn(b"\x03\x04", made.versions)
        self.assertIn(b"\x00\x10", made.extensions)
        self.assertTrue(made.groups.startswith(made.key_shares[:2]) and made.has_groups and made.signatures)
        self.assertEqual(made.tickets, 1)

    def test_tickets(self) -> None:
        """None, an empty one, and one to resume by."""
        for extensions, tickets in ((b"", 0), (extension(35, b""), 1), (extension(35, b"t"), 2)):
            self.assertEqual(lists_of(hello_with(extensions)).tickets, tickets)

    def test_lists_that_are_cut_off_are_empty(self) -> None:
        """The rest is read all the same."""
        made = lists_of(hello_with(extension(10, b"\x00\x09\x00\x1d") + extension(11, b"") + listed(13, b"\x04\x03")))
        self.assertEqual((made.groups, made.formats, made.signatures), (b"", b"", b"\x04\x03"))
        self.assertEqual((made.has_groups, made.extensions), (True, b"\x00\x0a\x00\x0b\x00\x0d"))

    def test_nothing_behind_the_extensions_is_read(self) -> None:
        """The message may be longer."""
        rest = extension(35, b"t")
        data = bytearray(hello_with(extension(23, b""))) + rest
        data[4] += len(rest)  # of the record
        data[8] += len(rest)  # of the message
        hello = read_client_hello(bytes(data))
        assert hello is not None
        self.assertEqual((read_lists(hello.message).extensions, read_lists(hello.message).tickets), (b"\x00\x17", 0))

    def test_cut(self) -> None:
        """What comes first has the room; the digest is of all suites."""
        whole = lists_of(HELLO)
        self.assertEqual(whole.cut(10_000).key_shares, b"")
        size = len(whole.suites) + 3
        cut = whole.cut(size)
        self.assertEqual((cut.suites, cut.extensions), (whole.suites, whole.extensions[:3]))
        self.assertEqual((cut.groups, cut.formats, cut.versions, cut.signatures), (b"",) * 4)
        self.assertEqual((whole.cut(1).suites, whole.cut(1).suites_digest), (whole.suites[:1], whole.suites_digest))

    def test_grease(self) -> None:
        """All sixteen of RFC 8701, and no others."""
        self.assertEqual(without_grease(b"".join(GREASE)), b"")
        others = b"\x0a\x1a\x13\x01\x1a\x2a\x0b\x0b\x0a"
        self.assertEqual(without_grease(others), others)

    @given(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(0, 255)), max_size=6))
    def test_whatever_is_changed_it_is_read(self, changes: list[tuple[int, int]]) -> None:
        """As soon as the message is."""
        data = bytearray(HELLO)
        for at, byte in changes:
            data[at] = byte
        try:
            hello = read_client_hello(bytes(data))
        except NotHello:
            return
        if hello is not None:
            made = read_lists(hello.message)
            self.assertLessEqual(len(made.extensions), len(hello.message) // 2)
