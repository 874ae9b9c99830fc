"""Lists of revoked certificates that were fetched: which count, and what becomes of the file."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls.revocations import ListRefused, checked_list, joined, lists_in

DAY = timedelta(days=1)


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
            self.assertEqual(found, made)

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

    def test_two_cas_of_one_name(self) -> None:
        """As when a CA has got a new key."""
        self.trusted.insert(0, Authority("a CA").credential.certificate)
        made = list_of(self.authority)
        content = made.public_bytes(Encoding.DER)
        self.assertEqual(checked_list(content, self.trusted, datetime.now(timezone.utc)), made)


class JoinTests(SynchronousTestCase):
    def test_the_newest_list_of_each_ca_stays(self) -> None:
        one, other = Authority("one"), Authority("other")
        old, new, kept = list_of(one, since=-2 * DAY), list_of(one, 7), list_of(other)
        content = joined([old, kept], [new])
        self.assertEqual(lists_in(content), [new, kept])
        self.assertEqual(lists_in(joined([], [new])), [new])

    def test_lists_of_parts_stand_beside_each_other(self) -> None:
        """As large CAs publish them (RFC 5280 section 5.2.5); each takes the place of an older one of the same part."""
        one, two = "http://a.test/1", "http://a.test/2"
        authority = Authority("one")
        old, new = (list_of(authority, since=since, part=one) for since in (-2 * DAY, -DAY))
        kept, whole = list_of(authority, part=two), list_of(authority, 7)
        self.assertEqual(lists_in(joined([old, kept, whole], [new])), [new, kept, whole])
        self.assertRaises(ListRefused, joined, [kept, new], [old])

    def test_lists_of_two_keys_of_one_ca_stand_beside_each_other(self) -> None:
        """As of a CA that has renewed its key, and goes on with a list for the old one (RFC 5280 section 5.2.1)."""
        before, now = Authority("one"), Authority("one")
        old, kept = list_of(before, since=-2 * DAY, of_key=True), list_of(now, 7, since=-2 * DAY, of_key=True)
        new = list_of(before, of_key=True)
        self.assertEqual(lists_in(joined([old, kept], [new])), [new, kept])
        self.assertRaises(ListRefused, joined, [new, kept], [old])

    def test_of_two_of_one_time_the_higher_number_is_newer(self) -> None:
        """A CA may issue again within a second, or at planned times; without numbers the one at hand stays."""
        authority, now = Authority("one"), datetime.now(timezone.utc)

        def made(revoked: int, number: int | None = None) -> x509.CertificateRevocationList:
            return list_of(authority, revoked, crl_number=number, now=now)

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
        old, new = list_of(authority, since=-2 * DAY), list_of(authority)
        error = self.assertRaises(ListRefused, joined, [new], [old])
        self.assertIn("it is older (", str(error))

    def test_a_file_that_cannot_be_read_holds_none(self) -> None:
        for content in (b"", b"x", b"-----BEGIN X509 CRL-----\n"):
            self.assertEqual(lists_in(content), [])
