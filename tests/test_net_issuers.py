"""Chains of certificates whose files have none, completed from a directory (`issuers-chain-path`)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.tls.files import CertificateFile, read_certificate
from reusedproxy.net.tls.issuers import NO_ISSUERS, Issuers, read_issuers
from reusedproxy.net.tls.trusts import Trusts


def alike(authority: Authority, *, identifier: bool = True) -> bytes:
    """The certificate, in PEM, of another key under the same name, which says that it has the same identifier."""
    theirs, key = authority.credential.certificate, ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(theirs.subject, theirs.subject, key.public_key(), 1, now, now + timedelta(1))
    if identifier:
        said = theirs.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(said, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


class IssuersTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.root = Authority("root")
        self.middle = Authority("middle", issuer=self.root)
        self.faults: list[str] = []

    def file(self, credential: Credential, *, whole: bool = False) -> CertificateFile:
        """A file with the certificate and its key, and with its chain if it is `whole`."""
        path = self.directory / "crt.pem"
        alone = credential.certificate.public_bytes(Encoding.PEM)
        path.write_bytes((credential.certificate_pem if whole else alone) + credential.key_pem)
        return read_certificate(str(path))

    def issuers(self, **files: bytes) -> Issuers:
        paths = []
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
            paths.append(str(self.directory / name))
        return read_issuers("dir", paths, self.faults)

    def test_what_has_issued_it_is_shown_with_what_stands_above(self) -> None:
        found = self.file(self.middle.issue("a", key="ecdsa"))
        above = self.middle.certificate_pem + self.root.certificate_pem
        completed = self.issuers(other=Authority("other").certificate_pem, middle=above).completed(found)
        self.assertEqual(x509.load_pem_x509_certificates(completed.chain), x509.load_pem_x509_certificates(above))
        self.assertEqual((completed.leaf, completed.content, self.faults), (found.leaf, found.content, []))

    def test_a_file_that_has_a_chain_is_left_alone(self) -> None:
        """Also one of another issuer that is not there, and any without a directory."""
        issuers = self.issuers(middle=self.middle.certificate_pem)
        whole = self.file(self.middle.issue("a", key="ecdsa"), whole=True)
        stranger = self.file(Authority("stranger").issue("a", key="ecdsa"))
        for each in (whole, stranger):
            self.assertIs(issuers.completed(each), each)
        self.assertIs(NO_ISSUERS.completed(stranger), stranger)

    def test_nothing_is_shown_that_has_not_signed_it(self) -> None:
        """Whatever name and identifier it has."""
        found = self.file(self.middle.issue("a", key="ecdsa"))
        self.assertIs(self.issuers(forged=alike(self.middle)).completed(found), found)

    def test_files_that_are_left_out_are_told(self) -> None:
        """The others count, and of two for one issuer the first."""
        issuers = self.issuers(
            a_good=self.middle.certificate_pem,
            b_none=b"nothing",
            c_again=alike(self.middle),
            d_nameless=alike(self.root, identifier=False),
        )
        completed = issuers.completed(self.file(self.middle.issue("a", key="ecdsa")))
        self.assertEqual(completed.chain.count(b"BEGIN"), 1)
        for fault, words in zip(
            self.faults,
            (
                "b_none: no usable certificate",
                "c_again: has the same issuer as",
                "d_nameless: the first certificate has",
            ),
            strict=True,
        ):
            self.assertIn(words, fault)

    def test_other_files_in_the_directory_make_other_certificates(self) -> None:
        """What is not shown to anybody has no stamp of it."""
        trusts, found = Trusts(), []
        for content in (self.middle.certificate_pem, self.middle.certificate_pem, self.root.certificate_pem):
            trusts.issuers = self.issuers(one=content)
            found.append(trusts.stamps([("crt", None)], ()))
            self.assertEqual(trusts.stamps((), ()), ())
        self.assertEqual(found[0], found[1])
        self.assertNotEqual(found[0], found[2])
