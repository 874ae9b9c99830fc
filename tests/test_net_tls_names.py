"""Whether a server's certificate is for a name: by RFC 9525, name by name."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from service_identity.hazmat import DNSPattern
from twisted.trial.unittest import SynchronousTestCase

import reusedproxy.net.tls.names as module
from reusedproxy.net.tls.names import LOOKED_AT, is_for, why_not

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(*names: str, addresses: tuple[str, ...] = ()) -> x509.Certificate:
    """Of these DNS names, whatever they are, and IP addresses; its common name is a.test."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    begins = datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), 5, begins, begins + timedelta(900))
    carried = [*map(x509.DNSName, names), *(x509.IPAddress(ip_address(each)) for each in addresses)]
    if carried:
        builder = builder.add_extension(x509.SubjectAlternativeName(carried), False)
    return builder.sign(KEY, hashes.SHA256())


class NameTests(SynchronousTestCase):
    def test_which_names_count(self) -> None:
        for names, wanted, counts in (
            (("a.test",), "a.test", True),
            (("A.Test",), "a.test", True),
            (("a.test",), "b.test", False),
            (("*.a.test",), "b.a.test", True),
            (("*.a.test",), "a.test", False),
            (("*.a.test",), "c.b.a.test", False),
            (("*.test",), "a.test", False),
            (("a*.b.test",), "ab.b.test", False),
            (("b.*.test",), "b.a.test", False),
            (("*.w.test",), "xn--bcher-kva.w.test", True),
            (("*.w.test",), "a.xn--bcher-kva.w.test", False),
            (("*.test",), "xn--bcher-kva.test", False),
            (("x*.w.test",), "xn--bcher-kva.w.test", False),
            (("127.0.0.1",), "127.0.0.1", False),
            ((), "a.test", False),
            (("a.test ",), "a.test", False),
            ((" a.test",), "a.test", False),
            (("a.test\n",), "a.test", False),
            (("a_b.test",), "a_b.test", True),
        ):
            self.assertEqual(is_for(certificate(*names), wanted), counts, (names, wanted))

    def test_addresses_count_as_such(self) -> None:
        made = certificate("b.test", addresses=("127.0.0.1", "::1"))
        for wanted, counts in (("127.0.0.1", True), ("0:0::1", True), ("127.0.0.2", False), ("b.test", True)):
            self.assertEqual(is_for(made, wanted), counts, wanted)

    def test_an_odd_name_takes_nothing_from_the_others(self) -> None:
        """RFC 9525 section 6: what does not qualify is ignored. Home-made certificates have such names."""
        made = certificate("*.test", "localhost", "127.0.0.1", "a*.x.test", "", "*.w.test", addresses=("127.0.0.1",))
        for wanted in ("localhost", "127.0.0.1", "a.w.test", "xn--bcher-kva.w.test"):
            self.assertTrue(is_for(made, wanted), wanted)
        for wanted in ("a.test", "ab.x.test"):
            self.assertFalse(is_for(made, wanted), wanted)

    def test_why_a_name_does_not_count(self) -> None:
        """Only where one looks as if it did."""
        for names, wanted, words in (
            ((), "a.test", "; a common name does not count (RFC 9525): it needs a subjectAltName"),
            (("127.0.0.1",), "127.0.0.1", "; an address counts as an IP address among the names"),
            (("*.test",), "a.test", "; a wildcard counts as the whole first label above two others or more"),
            (("a*.b.test",), "ab.b.test", "; a wildcard counts as the whole first label"),
            (("*.w.test",), "other.example", ""),
            (("a.test",), "b.test", ""),
            (("a.test", "*.test"), "127.0.0.1", ""),
        ):
            said = why_not(certificate(*names), wanted)
            self.assertTrue(said.startswith(words) if words else not said, (names, wanted, said))

    def test_of_many_names_few_are_looked_at(self) -> None:
        """A certificate may carry 20,000; a pattern of each took 0.4 s in all, in the event loop."""
        made: list[str] = []

        def count(name: str) -> DNSPattern | None:
            made.append(name)
            return pattern_of(name)

        pattern_of = module._pattern
        self.patch(module, "_pattern", count)
        for kind in ("h{}.x.test", "*.h{}.x.test", "a*.h{}.x.test"):
            carried = [kind.format(number) for number in range(1000)]
            self.assertFalse(is_for(certificate(*carried), "a.test"))
            self.assertTrue(is_for(certificate(*carried, *["*.w.test"] * 1000, "A.w.test"), "a.W.test"))
            why_not(certificate(*carried), "a.test")
        self.assertLessEqual(len(made), 3 * (2 + LOOKED_AT))
