"""Lists of revoked certificates that were fetched: which count, and what becomes of the file."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls.crl import whole_parts_in
from reusedproxy.net.tls.der import SEQUENCE, encoded
from reusedproxy.net.tls.revocations import List, ListRefused, checked_list, joined, lists_in
from reusedproxy.net.tls.revoked import read_lists

DAY = timedelta(days=1)
#: The identifiers of ecdsa-with-SHA256 and ecdsa-with-SHA384 (RFC 5758 section 3.2).
SHA256, SHA384 = (bytes.fromhex(f"2a8648ce3d04030{each}") for each in (2, 3))


def list_of(
    authority: Authority,
    *revoked: int,
    since: timedelta = -DAY,
    until: timedelta = DAY,
    signer: Authority | None = None,
    delta: bool = False,
    part: str = "",
    of_key: bool = False,
    crl_number: int | None = None,
    unknown: bool = False,
    now: datetime | None = None,
) -> x509.CertificateRevocationList:
    """A list of these serial numbers; of a `part` of the CA's certificates, which names its URL; of one of its keys."""
    now = (now or datetime.now(timezone.utc)).replace(microsecond=0)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.credential.certificate.subject)
    builder = builder.last_update(now + since).next_update(now + until)
    for number in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    if of_key:
        key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.credential.key.public_key())
        builder = builder.add_extension(key, critical=False)
    if crl_number is not None:
        builder = builder.add_extension(x509.CRLNumber(crl_number), critical=False)
    if unknown:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), critical=True
        )
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    if part:
        point = x509.IssuingDistributionPoint(
            [x509.UniformResourceIdentifier(part)], None, False, False, None, False, False
        )
        builder = builder.add_extension(point, critical=True)
    return builder.sign((signer or authority).credential.key, hashes.SHA256())


def read(made: x509.CertificateRevocationList) -> List:
    """A list as it stands in a file."""
    (found,) = lists_in(made.public_bytes(Encoding.PEM))
    return found


def authority_of(name: x509.Name, key: Any) -> x509.Certificate:
    """The certificate of a CA of this name and key."""
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - DAY).not_valid_after(now + DAY)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.authority = Authority("a CA")
        self.trusted = [Authority("another").credential.certificate, self.authority.credential.certificate]

    def refused(self, content: bytes) -> str:
        error = self.assertRaises(ListRefused, checked_list, content, self.trusted, datetime.now(timezone.utc))
        return str(error)

    def test_a_list_counts_in_either_form(self) -> None:
        made = list_of(self.authority, 7)
        for encoding in (Encoding.DER, Encoding.PEM):
            found = checked_list(made.public_bytes(encoding), self.trusted, datetime.now(timezone.utc))
            self.assertEqual((found, found.revoked), (read(made), 1))

    def test_what_does_not_count(self) -> None:
        stranger = Authority("a CA")
        for made, words in (
            (list_of(self.authority, signer=stranger), "its signature is not that of CN=a CA"),
            (list_of(Authority("unknown")), "it is of CN=unknown, whose certificate is not in the 'ca-file'"),
            (list_of(self.authority, since=-2 * DAY, until=-DAY), "it is out of date since "),
            (list_of(self.authority, since=DAY, until=2 * DAY), "it is of a time to come"),
            (list_of(self.authority, delta=True), "it is a delta list"),
            (list_of(self.authority, unknown=True), "it has the critical extension 1.2.3"),
        ):
            self.assertIn(words, self.refused(made.public_bytes(Encoding.DER)))
        for content in (b"", b"<html>not found</html>", b"-----BEGIN X509 CRL-----\nx\n-----END X509 CRL-----\n"):
            self.assertIn("it is no list of revoked certificates", self.refused(content))

    def test_each_kind_of_signature_is_verified(self) -> None:
        """Those of digests by the digest, as far as a thread need not hold the interpreter for it."""
        keys: list[tuple[Any, Any, Any]] = [
            (rsa.generate_private_key(65537, 2048), hashes.SHA384(), padding.PKCS1v15()),
            (rsa.generate_private_key(65537, 2048), hashes.SHA256(), padding.PSS(padding.MGF1(hashes.SHA256()), 32)),
            (ec.generate_private_key(ec.SECP384R1()), hashes.SHA512(), None),
            (ed25519.Ed25519PrivateKey.generate(), None, None),
        ]
        now = datetime.now(timezone.utc)
        name = self.authority.credential.certificate.subject
        authorities: list[x509.Certificate] = [authority_of(name, key) for key, _, _ in keys]
        for number, (key, algorithm, scheme) in enumerate(keys):
            builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(now - DAY)
            made = builder.next_update(now + DAY).sign(key, algorithm, rsa_padding=scheme)
            content = made.public_bytes(Encoding.DER)
            self.assertEqual(checked_list(content, authorities, now).der, content)
            others = [each for each in authorities if each is not authorities[number]]
            forged = content[:-1] + bytes([content[-1] ^ 1])
            for wrong, trusted in ((forged, authorities), (content, others)):
                error = self.assertRaises(ListRefused, checked_list, wrong, trusted, now)
                self.assertIn("its signature is not that of CN=a CA", str(error))

    def test_what_is_signed_in_two_ways_is_refused(self) -> None:
        """RFC 5280 section 5.1.1.2: or the digest would be another than that which was signed."""
        content = list_of(self.authority, 7).public_bytes(Encoding.DER)
        self.assertEqual(content.count(SHA256), 2)
        first, second = content.index(SHA256), content.rindex(SHA256)
        for at in (first, second):
            other = content[:at] + SHA384 + content[at + len(SHA384) :]
            self.assertIn("it is no list of revoked certificates", self.refused(other))
            self.assertRaises(ValueError, whole_parts_in, other)

    def test_a_list_ends_with_its_signature(self) -> None:
        content = list_of(self.authority, 7).public_bytes(Encoding.DER)
        for other in (content + b"\0", content[:-1], encoded(SEQUENCE, content[4:] + b"\5\0")):
            self.assertRaises(ValueError, whole_parts_in, other)

    def test_what_is_taken_with_another_byte_openssl_reads_alike(self) -> None:
        """Little is not signed: how many bits of the signature do not count, for one."""
        content = list_of(self.authority, 7).public_bytes(Encoding.DER)
        taken = 0
        for at in range(len(content)):
            for change in (1, 2, 0x20, 0x80):
                other = content[:at] + bytes([content[at] ^ change]) + content[at + 1 :]
                try:
                    found = checked_list(other, self.trusted, datetime.now(timezone.utc))
                except ListRefused:
                    continue
                taken += 1
                self.assertEqual(len(read_lists(joined([], [found])).spans), 1, at)
        self.assertLess(taken, 10)

    def test_entries_are_counted(self) -> None:
        for count in (0, 1, 2500):
            content = list_of(self.authority, *range(1, count + 1)).public_bytes(Encoding.DER)
            found = checked_list(content, self.trusted, datetime.now(timezone.utc))
            self.assertEqual(found.revoked, count)

    def test_entries_that_are_none_are_refused(self) -> None:
        for entries in (b"\2\1\7", b"\x30\5\2", b"\x30\x80\0\0"):
            self.assertIn("cannot be read", self.refused(self.signed_with(entries)))

    def signed_with(self, entries: bytes) -> bytes:
        """A list with other bytes in place of its entries."""
        content = list_of(self.authority, 7, crl_number=1).public_bytes(Encoding.DER)
        parts = whole_parts_in(content)
        assert parts.entries is not None
        before, behind = content[parts.signed.content : parts.entries.start], content[parts.entries.end :]
        signed = encoded(SEQUENCE, before + encoded(SEQUENCE, entries) + behind[: parts.signed.end - parts.entries.end])
        key = self.authority.credential.key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        algorithm = content[parts.algorithm.start : parts.algorithm.end]
        return encoded(SEQUENCE, signed + algorithm + encoded(0x03, b"\0" + signature))

    def test_what_is_long_beside_its_entries_is_not_decoded(self) -> None:
        """Whoever is on the way could hold up the interpreter with it."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.authority.credential.certificate.subject)
        builder = builder.last_update(datetime.now(timezone.utc) - DAY).next_update(datetime.now(timezone.utc) + DAY)
        for size, words in ((60_000, ""), (70_000, "it is no list")):
            more = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), bytes(size))
            made = builder.add_extension(more, critical=False).sign(self.authority.credential.key, hashes.SHA256())
            content = made.public_bytes(Encoding.DER)
            if words:
                self.assertIn(words, self.refused(content))
            else:
                checked_list(content, self.trusted, datetime.now(timezone.utc))

    def test_two_cas_of_one_name(self) -> None:
        """As when a CA has got a new key."""
        self.trusted.insert(0, Authority("a CA").credential.certificate)
        made = list_of(self.authority)
        content = made.public_bytes(Encoding.DER)
        self.assertEqual(checked_list(content, self.trusted, datetime.now(timezone.utc)), read(made))


class JoinTests(SynchronousTestCase):
    def test_lists_are_written_as_others_write_them(self) -> None:
        """Whatever is left for the last line."""
        for count in (*range(4), 3000):
            made = list_of(Authority("one"), *range(1, count + 1))
            fetched = read(made)
            content = joined([], [evolve(fetched, block=b"")])
            self.assertEqual(content, made.public_bytes(Encoding.PEM))
            self.assertEqual(joined([fetched], [evolve(fetched, block=b"")]), content)

    def test_the_newest_list_of_each_ca_stays(self) -> None:
        one, other = Authority("one"), Authority("other")
        old, new, kept = map(read, (list_of(one, since=-2 * DAY), list_of(one, 7), list_of(other)))
        content = joined([old, kept], [new])
        self.assertEqual(lists_in(content), [new, kept])
        self.assertEqual(lists_in(joined([], [new])), [new])

    def test_lists_of_parts_stand_beside_each_other(self) -> None:
        """As large CAs publish them (RFC 5280 section 5.2.5); each takes the place of an older one of the same part."""
        one, two = "http://a.test/1", "http://a.test/2"
        authority = Authority("one")
        old, new = (read(list_of(authority, since=since, part=one)) for since in (-2 * DAY, -DAY))
        kept, whole = read(list_of(authority, part=two)), read(list_of(authority, 7))
        self.assertEqual(lists_in(joined([old, kept, whole], [new])), [new, kept, whole])
        self.assertRaises(ListRefused, joined, [kept, new], [old])

    def test_lists_of_two_keys_of_one_ca_stand_beside_each_other(self) -> None:
        """As of a CA that has renewed its key, and goes on with a list for the old one (RFC 5280 section 5.2.1)."""
        before, now = Authority("one"), Authority("one")
        old, kept = (read(list_of(each, since=-2 * DAY, of_key=True)) for each in (before, now))
        new = read(list_of(before, of_key=True))
        self.assertEqual(lists_in(joined([old, kept], [new])), [new, kept])
        self.assertRaises(ListRefused, joined, [new, kept], [old])

    def test_of_two_of_one_time_the_higher_number_is_newer(self) -> None:
        """A CA may issue again within a second, or at planned times; without numbers the one at hand stays."""
        authority, now = Authority("one"), datetime.now(timezone.utc)

        def made(revoked: int, number: int | None = None) -> List:
            return read(list_of(authority, revoked, crl_number=number, now=now))

        one, same, two = made(7, 1), made(8, 1), made(9, 2)
        self.assertEqual(lists_in(joined([one], [two])), [two])
        self.assertEqual(lists_in(joined([one], [one])), [one])
        again = made(7, 1)
        self.assertNotEqual(again, one, "a signature of ECDSA is another each time")
        self.assertEqual(lists_in(joined([one], [again])), [again])
        for held, fetched in ((two, one), (one, same), (made(7), made(8)), (one, made(8))):
            self.assertRaises(ListRefused, joined, [held], [fetched])

    def test_an_older_one_is_not_taken(self) -> None:
        """It may be one of a time when a certificate was not revoked yet."""
        authority = Authority("one")
        old, new = read(list_of(authority, since=-2 * DAY)), read(list_of(authority))
        error = self.assertRaises(ListRefused, joined, [new], [old])
        self.assertIn("it is older (", str(error))

    def test_a_file_that_cannot_be_read_holds_none(self) -> None:
        for content in (b"", b"x", b"-----BEGIN X509 CRL-----\n"):
            self.assertEqual(lists_in(content), [])
