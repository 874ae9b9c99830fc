"""What a TLS client says first: whole, in pieces, cut into records anywhere, and broken."""

from __future__ import annotations

import struct
import tracemalloc
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire import client_hello
from reusedproxy.wire.client_hello import ClientHello, HelloReader, NotHello, read_client_hello


def hello_of(name: bytes | None, protocols: tuple[bytes, ...] = ()) -> bytes:
    """What OpenSSL says."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if protocols:
        context.set_alpn_protos(list(protocols))
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name)
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    said: bytes = connection.bio_read(65536)
    return said


HELLO = hello_of(b"app.example", (b"h2", b"http/1.1"))
READ = ClientHello(0x0303, b"app.example", (b"h2", b"http/1.1"))


def records(message: bytes, cuts: list[int]) -> bytes:
    """The same handshake message in several records."""
    at = sorted({cut % len(message) for cut in cuts} | {0})
    pieces = [message[begin:end] for begin, end in zip(at, [*at[1:], len(message)], strict=True)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces if piece)


def hello_with(extensions: bytes) -> bytes:
    """One with these extensions, and little else."""
    body = b"\x03\x03" + bytes(33) + b"\x00\x02\x13\x01\x01\x00" + struct.pack(">H", len(extensions)) + extensions
    return records(b"\x01" + struct.pack(">I", len(body))[1:] + body, [])


class ClientHelloTests(SynchronousTestCase):
    """Name, protocols and version."""

    def test_what_openssl_says(self) -> None:
        """With and without a name."""
        self.assertEqual(read_client_hello(HELLO), READ)
        self.assertEqual(read_client_hello(hello_of(None)), ClientHello(0x0303))
        self.assertEqual(read_client_hello(HELLO + b"\x16 and what follows"), READ)

    def test_an_empty_name_is_none(self) -> None:
        """A rule that refuses those without a name refuses it."""
        for name in (b"", b"a"):
            listed = b"\x00" + struct.pack(">H", len(name)) + name
            data = hello_with(b"\x00\x00" + struct.pack(">HH", len(listed) + 2, len(listed)) + listed)
            self.assertEqual(read_client_hello(data), ClientHello(0x0303, name or None))

    def test_it_is_incomplete_until_the_last_byte(self) -> None:
        """And never anything else."""
        for size in range(len(HELLO)):
            self.assertIsNone(read_client_hello(HELLO[:size]), size)

    @given(st.lists(st.integers(0, 5000), max_size=8))
    def test_it_may_be_cut_into_records_anywhere(self, cuts: list[int]) -> None:
        """RFC 8446 section 5.1."""
        data = records(HELLO[5:], cuts)
        self.assertEqual(read_client_hello(data), READ)
        self.assertIsNone(read_client_hello(data[:-1]))

    @given(st.lists(st.integers(0, 5000), max_size=8), st.lists(st.integers(0, 5000), max_size=8))
    def test_it_is_read_as_it_comes(self, cuts: list[int], arrivals: list[int]) -> None:
        """One reader says the same of each beginning as one that sees it for the first time."""
        data = records(HELLO[5:], cuts) + b"\x16 and what follows"
        reader = HelloReader()
        for size in sorted({arrival % len(data) for arrival in arrivals} | {len(data)}):
            self.assertEqual(reader.read(data[:size]), read_client_hello(data[:size]))

    def test_what_was_read_is_not_read_again(self) -> None:
        """Nor what was refused: rules ask again and again."""
        for data in (HELLO, HELLO[:-20] + b"\xff" * 20):
            reader = HelloReader()
            first = self._said(reader, data)
            with patch("reusedproxy.wire.client_hello._client_hello", side_effect=AssertionError("read again")):
                self.assertEqual(self._said(reader, data), first)

    def _said(self, reader: HelloReader, data: bytes) -> ClientHello | str | None:
        try:
            return reader.read(data)
        except NotHello:
            return "no hello"

    def test_protocols_are_in_the_clients_order(self) -> None:
        """As many as any client offers; the list has to be as long as it says."""
        names = b"".join(b"\x02%02d" % number for number in range(100)) * 2
        extension = struct.pack(">H", len(names)) + names
        read = read_client_hello(hello_with(b"\x00\x10" + struct.pack(">H", len(extension)) + extension))
        assert read is not None
        self.assertEqual((len(read.protocols), read.protocols[:2], read.protocols[-1]), (200, (b"00", b"01"), b"99"))
        for wrong in (b"\x00\x09\x02h2", b"\x00\x03\x03h2"):
            with self.assertRaises(NotHello):
                read_client_hello(hello_with(b"\x00\x10" + struct.pack(">H", len(wrong)) + wrong))

    def test_long_lists_are_not_kept(self) -> None:
        """Nobody offers 8,000 protocols; what is not looked at must not be passed as if it had been."""
        names = b"\x01a" * 8000
        data = hello_with(b"\x00\x10" + struct.pack(">HH", len(names) + 2, len(names)) + names)
        tracemalloc.start()
        self.assertRaises(NotHello, read_client_hello, data)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.assertLess(most, 100_000)

    def test_records_without_content_are_passed_over(self) -> None:
        """As OpenSSL does, up to 32 in a row."""
        empty, cut = b"\x16\x03\x01\x00\x00", records(HELLO[5:], [7, 200])
        at = 5 + 7
        for data in (empty + HELLO, empty * 32 + HELLO, cut[:at] + empty * 32 + cut[at:]):
            self.assertEqual(read_client_hello(data), READ)
            reader = HelloReader()
            for size in range(0, len(data), 3):
                self.assertIsNone(reader.read(data[:size]))
            self.assertEqual(reader.read(data), READ)
        self.assertRaises(NotHello, read_client_hello, empty * 33 + HELLO)

    def test_no_more_extensions_and_names_are_looked_at_than_a_client_has(self) -> None:
        """Each of 4,000 would cost a look, in which nobody else is served."""
        self.assertEqual(read_client_hello(hello_with(b"\x7a\x7a\0\0" * 256)), ClientHello(0x0303))
        names = b"\1\0\0" * 5000
        for extensions in (
            b"\x7a\x7a\0\0" * 257,
            b"\0\0" + struct.pack(">HH", len(names) + 2, len(names)) + names,
        ):
            data = hello_with(extensions)
            with patch.object(client_hello, "_behind", side_effect=client_hello._behind) as looks:
                self.assertRaises(NotHello, read_client_hello, data)
            self.assertLess(looks.call_count, 300)

    @given(st.binary(max_size=200))
    def test_anything_is_read_without_a_failure(self, data: bytes) -> None:
        """As a hello, as none, or as incomplete."""
        for said in (data, b"\x16\x03\x01" + data, HELLO[:60] + data, records(b"\x01\x00\x00\x40" + data, [3])):
            try:
                read_client_hello(said)
            except NotHello:
                continue

    @given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
    def test_a_changed_byte_is_no_failure_either(self, at: int, byte: int) -> None:
        """Wherever it is."""
        try:
            read_client_hello(HELLO[:at] + bytes([byte]) + HELLO[at + 1 :])
        except NotHello:
            pass

    def test_other_things_are_none(self) -> None:
        """From the first byte that shows it."""
        for data in (
            b"G",
            b"SSH-2.0",
            b"\x17\x03\x03\x00\x05hello",
            b"\x16\x02\x00\x00\x05hello",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        ):
            self.assertRaises(NotHello, read_client_hello, data)
