"""The first message of a TLS client: what is read of it, and what came instead."""

from __future__ import annotations

import random

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.hello import MOST, ClientHello, NotTLS, read_hello
from tests.handshakes import client_tls

TLS12 = SSL.TLS1_2_VERSION


def hello(name: str | None = "a.test", context: SSL.Context | None = None) -> bytes:
    """What OpenSSL's client says first."""
    connection = SSL.Connection(context or client_tls(), None)
    connection.set_connect_state()
    if name is not None:
        connection.set_tlsext_host_name(name.encode())
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    return connection.bio_read(65536)


def read(data: bytes) -> ClientHello:
    found = read_hello(data)
    assert isinstance(found, ClientHello)
    return found


def in_records(message: bytes, size: int) -> bytes:
    """The same handshake message, cut into records of `size` bytes."""
    content = message[5:]
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(message[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


class HelloTests(SynchronousTestCase):
    """What OpenSSL's own client says."""

    def test_the_name_is_read_in_lower_case(self) -> None:
        """Names are compared without regard to case (RFC 6066 section 3)."""
        self.assertEqual(read(hello("WWW.Example.Test")).server_name, "www.example.test")

    def test_no_name(self) -> None:
        """As clients do that connect to an address."""
        self.assertIsNone(read(hello(None)).server_name)

    def test_the_highest_version_that_is_offered(self) -> None:
        """In TLS 1.3 it stands in an extension, among values that mean nothing."""
        self.assertEqual(read(hello()).version_name, "TLSv1.3")
        self.assertEqual(read(hello(context=client_tls(version=TLS12))).version_name, "TLSv1.2")

    def test_which_keys_the_client_takes(self) -> None:
        """By its signature algorithms, and before TLS 1.3 by its ciphers, too."""
        both = read(hello())
        self.assertEqual((both.rsa, both.ecdsa), (True, True))
        old = read(hello(context=client_tls(version=TLS12, ciphers="ECDHE-RSA-AES128-GCM-SHA256")))
        self.assertEqual((old.rsa, old.ecdsa), (True, False))
        modern = read(hello(context=client_tls(version=TLS12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")))
        self.assertTrue(modern.ecdsa)

    def test_cut_at_every_byte_it_is_not_whole_yet(self) -> None:
        """However much has come, nothing is guessed."""
        whole = hello()
        for size in range(len(whole)):
            missing = read_hello(whole[:size])
            assert isinstance(missing, int), size
            self.assertTrue(0 < missing <= len(whole) - size, size)
        self.assertEqual(read(whole + b"more"), read(whole))

    def test_cut_into_records_of_any_size(self) -> None:
        """RFC 8446 section 5.1 allows it, and some clients do it to get past boxes in between."""
        whole = hello()
        for size in (1, 2, 3, 50, 200):
            cut = in_records(whole, size)
            self.assertEqual(read(cut), read(whole))
            self.assertEqual(read_hello(cut[:-1]), 1)

    def test_records_without_content_are_passed_over(self) -> None:
        """As OpenSSL does, up to 32 of them in a row: else it would read a name that we do not know of."""
        whole, empty = hello(), b"\x16\x03\x01\0\0"
        pieces = [whole[:3] + len(each).to_bytes(2, "big") + each for each in (whole[5:7], whole[7:200], whole[200:])]
        for between in (1, 32):
            for data in (empty * between + whole, (empty * between).join([b"", *pieces])):
                self.assertEqual(read(data), read(whole))
                for size in range(1, len(data)):
                    missing = read_hello(data[:size])
                    assert isinstance(missing, int)
                    self.assertLessEqual(size + missing, len(data))
        self.assertEqual(read(empty * 33 + whole), ClientHello())

    def test_whatever_is_changed_in_it_is_read_or_left_to_openssl(self) -> None:
        """Nothing but `NotTLS` comes out, whatever came in."""
        whole = hello()
        dice = random.Random(7)
        for _ in range(3000):
            changed = bytearray(whole)
            for _ in range(dice.randint(1, 4)):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            try:
                read_hello(bytes(changed))
            except NotTLS:
                self.assertNotEqual(bytes(changed[:2]), whole[:2])

    def test_another_message_of_a_handshake_is_left_to_openssl(self) -> None:
        """It refuses it in its own words; for the choice of a certificate nothing is known."""
        self.assertEqual(read(b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00"), ClientHello())


class NotTLSTests(SynchronousTestCase):
    """What else people send to a TLS port."""

    def refused(self, data: bytes) -> tuple[str, str]:
        with self.assertRaises(NotTLS) as caught:
            read_hello(data)
        return caught.exception.kind, str(caught.exception)

    def test_plain_http(self) -> None:
        """The request is quoted: whoever reads the log knows whom to tell."""
        kind, text = self.refused(b"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(kind, "HTTP")
        self.assertIn("(GET /index.html): the client must say https://", text)

    def test_what_is_quoted_does_no_harm(self) -> None:
        """A terminal that shows the log must not obey it."""
        self.assertIn(r"(GET /\x1b[31m\xe9): ", self.refused(b"GET /\x1b[31m\xe9 HTTP/1.1\r\n")[1])

    def test_a_proxy_header(self) -> None:
        """Of either version: a balancer in front was told to send it."""
        self.assertEqual(self.refused(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")[0], "PROXY")
        self.assertEqual(self.refused(b"\r\n\r\n\0\r\nQUIT\n\x21")[0], "PROXY")

    def test_a_hello_of_sslv2(self) -> None:
        """Scanners ask for it."""
        self.assertEqual(self.refused(b"\x80\x2e\x01\x00\x02")[0], "SSLv2")

    def test_anything_else_is_shown(self) -> None:
        """By its first bytes, harmless for a log."""
        self.assertIn(r"b'\x00\x01\n'", self.refused(b"\0\1\n")[1])
        self.assertEqual(self.refused(b"\x16\x04\x01")[0], "bytes")

    def test_a_message_without_end(self) -> None:
        """More than that is waited for from nobody: OpenSSL reads the rest, and judges it."""
        endless = (b"\x16\x03\x01\x40\x00" + b"\x01\x01\xff\xff" + bytes(0x4000 - 4)) * 3
        self.assertEqual(read_hello(endless[: MOST - 1]), 1)
        self.assertEqual(read_hello(endless[:MOST]), ClientHello())
        ends_behind_a_record = in_records(endless[:5] + endless[5:9] + bytes(MOST), 1019)
        self.assertEqual(read_hello(ends_behind_a_record[:MOST]), ClientHello())

    def test_of_a_message_that_is_too_long_the_beginning_counts(self) -> None:
        """What stands within the bound is read as ever; what is cut off there, as if it had not been said."""
        for size in (1 << 14, 500):
            for padding in (40000, 64000):
                long = padded(hello("a.test"), padding, size)
                self.assertEqual(read(long[:MOST]), read(hello("a.test")))
                self.assertIsNone(read(padded(hello("a.test"), padding, size, first=True)[:MOST]).server_name)


def padded(message: bytes, padding: int, size: int, first: bool = False) -> bytes:
    """The same with so much padding (RFC 7685, in two extensions that mean nothing),
    at its end or before all other extensions."""
    body = message[9:]
    at = 35 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    listed = body[at + 2 :]
    more = b"".join(
        kind + (padding // 2).to_bytes(2, "big") + bytes(padding // 2) for kind in (b"\x7a\x7a", b"\x8a\x8a")
    )
    listed = more + listed if first else listed + more
    body = body[:at] + len(listed).to_bytes(2, "big") + listed
    return in_records(message[:5] + b"\x01" + len(body).to_bytes(3, "big") + body, size)
