"""What a TLS client says first: whole, in pieces, cut into records anywhere, and broken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.client_hello import ClientHello, NotHello, read_client_hello


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


class ClientHelloTests(SynchronousTestCase):
    """Name, protocols and version."""

    def test_what_openssl_says(self) -> None:
        """With and without a name."""
        self.assertEqual(read_client_hello(HELLO), READ)
        self.assertEqual(read_client_hello(hello_of(None)), ClientHello(0x0303))
        self.assertEqual(read_client_hello(HELLO + b"\x16 and what follows"), READ)

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
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        ):
            self.assertRaises(NotHello, read_client_hello, data)
