"""Files of CAs and of lists of revoked certificates that are not quite as they should be, beside what OpenSSL, and so
HAProxy, makes of them: whatever we take, no list is passed over, and the CAs that we know of are those that it trusts.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable

from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls.crl_files import revoked_in
from reusedproxy.net.tls.files import TLSConfigurationError, certificates_in, readable_certificates_in
from reusedproxy.net.tls.trusts import Trust, Trusts
from tests.test_net_revocations import list_of
from tests.wire import scratch

#: What is done to the last block of a file.
ODD: dict[str, Callable[[bytes], bytes]] = {
    "as it should be": lambda block: block,
    "an empty line within": lambda block: _within(block, b""),
    "a line of blanks within": lambda block: _within(block, b"   "),
    "an empty line first": lambda block: block.replace(b"-----\n", b"-----\n\n", 1),
    "an empty line last": lambda block: block.replace(b"\n-----END", b"\n\n-----END"),
    "blanks before lines": lambda block: block.replace(b"\nM", b"\n  M"),
    "blanks behind lines": lambda block: block.replace(b"\n", b" \t\n"),
    "ends of lines as in Windows": lambda block: block.replace(b"\n", b"\r\n"),
    "ends of lines as on old Macs": lambda block: block.replace(b"\n", b"\r"),
    "one long line": lambda block: _in_lines(block, 1 << 20),
    "lines of 76": lambda block: _in_lines(block, 76),
    "another label before it": lambda block: b"-----BEGIN X-----\nAAAA\n-----END X-----\n" + block,
    "another label that does not end": lambda block: b"-----BEGIN X-----\nAAAA\n" + block,
    "another label with no base64": lambda block: b"-----BEGIN X-----\n!!!!\n-----END X-----\n" + block,
    "an empty label before it": lambda block: b"-----BEGIN -----\nAAAA\n-----END -----\n" + block,
    "no label before it": lambda block: b"-----BEGIN-----\nAAAA\n-----END-----\n" + block,
    "a small label": lambda block: re.sub(rb"(?<=BEGIN |--END )[A-Z0-9 ]+", lambda found: found[0].lower(), block),
    "two blanks in its label": lambda block: re.sub(rb"(BEGIN|END) ", rb"\1  ", block),
    "a blank behind its label": lambda block: re.sub(rb"([A-Z])-----", rb"\1 -----", block),
    "six dashes": lambda block: block.replace(b"-----BEGIN", b"------BEGIN"),
    "four dashes": lambda block: block.replace(b"-----BEGIN", b"----BEGIN"),
    "a blank before it": lambda block: b" " + block,
    "a word before it": lambda block: b"list: " + block,
    "a word behind its first line": lambda block: block.replace(b"-----\n", b"----- list\n", 1),
    "a word behind its last line": lambda block: block.rstrip(b"\n") + b" list\n",
    "text before it": lambda block: b"subject=a\nissuer=b\n" + b"x" * 3000 + b"\n" + block,
    "headers": lambda block: block.replace(b"-----\n", b"-----\nA: b\n\n", 1),
    "a comment within": lambda block: _within(block, b"# a comment"),
    "NUL before it": lambda block: b"\0" + block,
    "NUL within": lambda block: _within(block, b"\0"),
    "a byte order mark before it": lambda block: b"\xef\xbb\xbf" + block,
    "no end of its last line": lambda block: block.rstrip(b"\n"),
    "half of it": lambda block: block[: len(block) // 2],
    "half of its first line": lambda block: block[:17],
    "bytes behind it": lambda block: _padded(block),
    "twice": lambda block: block + block,
    "an end within": lambda block: _within(block, b"AA=="),
    "base64 of addresses": lambda block: block.replace(b"+", b"-").replace(b"/", b"_"),
    "an empty certificate before it": lambda block: _empty(b"CERTIFICATE") + block,
    "an empty list before it": lambda block: _empty(b"X509 CRL") + block,
    "PKCS #7 before it": lambda block: b"-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n" + block,
    "another name": lambda block: block.replace(b"X509 CRL", b"CRL").replace(b" CERT", b" X509 CERT"),
    "a name of its trust": lambda block: block.replace(b" CERT", b" TRUSTED CERT"),
}


def _within(block: bytes, line: bytes) -> bytes:
    first, second, *rest = block.split(b"\n")
    return b"\n".join((first, second, line, *rest))


def _parts(block: bytes) -> tuple[bytes, bytes, bytes]:
    first, *lines, last, _ = block.split(b"\n")
    return first, b"".join(lines), last


def _in_lines(block: bytes, size: int) -> bytes:
    first, text, last = _parts(block)
    lines = [text[at : at + size] for at in range(0, len(text), size)]
    return b"\n".join((first, *lines, last, b""))


def _padded(block: bytes) -> bytes:
    first, text, last = _parts(block)
    return _in_lines(b"\n".join((first, base64.b64encode(base64.b64decode(text) + b"\0\0\0"), last, b"")), 64)


def _empty(label: bytes) -> bytes:
    return b"-----BEGIN " + label + b"-----\n-----END " + label + b"-----\n"


@frozen
class Taken:
    """Holds how many different certificates and lists of a file OpenSSL takes."""

    certificates: int
    lists: int


class OddTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = scratch(self)
        self.first, self.second = Authority("a CA"), Authority("another CA")

    def taken(self, content: bytes) -> Taken | None:
        """What OpenSSL takes; None: it refuses the file."""
        path = self.folder / "file"
        path.write_bytes(content)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(path)
        except ssl.SSLError:
            return None
        found = context.cert_store_stats()
        return Taken(found["x509"], found["crl"])

    def test_no_list_is_passed_over(self) -> None:
        """Where OpenSSL passes over one, and whoever it revokes would be let in, we take it, or refuse the file."""
        one, two = (list_of(self.first, number).public_bytes(Encoding.PEM) for number in (1, 2))
        passed_over = []
        for odd, change in ODD.items():
            with self.subTest(odd):
                content = one + change(two)
                theirs = self.taken(content)
                if theirs is not None and theirs.lists < 2:
                    passed_over.append(odd)
                try:
                    ours = revoked_in("crl-file x", content)
                except TLSConfigurationError:
                    continue
                self.assertGreaterEqual(len(ours.spans), 2)
        self.assertIn("a small label", passed_over)
        self.assertIn("another name", passed_over)

    def test_one_that_nearly_has_its_first_line_is_told(self) -> None:
        one = list_of(self.first, 1).public_bytes(Encoding.PEM)
        for odd in (
            "a small label",
            "a blank behind its label",
            "four dashes",
            "half of its first line",
            "another name",
        ):
            with self.assertRaises(TLSConfigurationError) as raised:
                revoked_in("crl-file x", one + ODD[odd](one))
            self.assertIn("a line in it nearly says -----BEGIN X509 CRL-----", str(raised.exception), odd)
        for text in (b"-----BEGIN\n", b"-----BEGIN X-----\n-----END X-----\n", b"see BEGIN X509 CRL\n", b"BEGIN"):
            self.assertEqual(len(revoked_in("crl-file x", one + text).spans), 1, text)

    def test_cas_are_those_that_openssl_trusts(self) -> None:
        """No more than those, and no fewer: clients are told their names, and an operator when they end."""
        one, two = self.first.certificate_pem, self.second.certificate_pem
        for odd, change in ODD.items():
            with self.subTest(odd):
                content = one + change(two)
                theirs = self.taken(content)
                try:
                    Trust([("ca-file", (("x", content),))], None)
                except TLSConfigurationError:
                    continue  # as OpenSSL does, or we are stricter
                assert theirs is not None
                self.assertGreaterEqual(len({*certificates_in(content)}), theirs.certificates)
                self.assertEqual([*{*readable_certificates_in("x", content)}], [*{*certificates_in(content)}])

    def test_clients_are_told_of_a_ca_that_says_what_it_is_trusted_for(self) -> None:
        """As HAProxy takes it; what is behind the certificate (openssl-verification-options(1)) says just that."""
        first, text, last = _parts(self.first.certificate_pem)
        trust = bytes.fromhex("300c300a06082b06010505070301")  # serverAuth
        more = base64.b64encode(base64.b64decode(text) + trust)
        block = _in_lines(b"\n".join((first, more, last, b"")), 64).replace(b" CERT", b" TRUSTED CERT")
        self.assertEqual(self.taken(block), Taken(1, 0))
        path = self.folder / "ca.pem"
        path.write_bytes(block)
        context = SSL.Context(SSL.TLS_METHOD)
        Trusts().name_authorities(context, str(path))
        self.assertEqual(readable_certificates_in("x", block), [self.first.credential.certificate])
        Trust([("ca-file", ((str(path), block),))], None)
