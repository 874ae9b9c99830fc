"""Chains of certificates whose files have none, completed from a directory (`issuers-chain-path`)."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.slices import run_through
from reusedproxy.net.tls.files import CertificateFile, read_certificate
from reusedproxy.net.tls.in_memory import CertificateName
from reusedproxy.net.tls.issuers import NO_ISSUERS, Issuers, reading_issuers
from reusedproxy.net.tls.svid import SPIFFE
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
        return run_through(reading_issuers(paths))

    def test_what_has_issued_it_is_shown_with_what_stands_above(self) -> None:
        found = self.file(self.middle.issue("a", key="ecdsa"))
        above = self.middle.certificate_pem + self.root.certificate_pem
        completed = self.issuers(other=Authority("other").certificate_pem, middle=above).completed(found)
        self.assertEqual(x509.load_pem_x509_certificates(completed.chain), x509.load_pem_x509_certificates(above))
        self.assertEqual((completed.leaf, completed.content), (found.leaf, found.content))

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
            issuers.left_out,
            (
                "b_none: is no PEM file",
                "d_nameless: the first certificate has",
                "c_again: has the same issuer as",
            ),
            strict=True,
        ):
            self.assertIn(words, fault)

    def test_another_chain_makes_another_certificate(self) -> None:
        """Only of those whose chain it completes, whether their files have been read before or not."""
        names: list[CertificateName] = [
            (self.written(name, issued), None) for name, issued in self.of_each_kind().items()
        ]
        self.assertEqual(len(self.changed(names, self.middle.certificate_pem)), 0)
        above = self.middle.certificate_pem + self.root.certificate_pem
        self.assertEqual([os.path.basename(path) for path, _ in self.changed(names, above)], ["alone"])

    def of_each_kind(self) -> dict[str, bytes]:
        issued = self.middle.issue("a", key="ecdsa")
        alone = issued.certificate.public_bytes(Encoding.PEM) + issued.key_pem
        return {"alone": alone, "whole": issued.pem, "stranger": Authority("stranger").issue("a", key="ecdsa").pem}

    def written(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def changed(self, names: list[CertificateName], now: bytes) -> list[CertificateName]:
        """Those certificates that have another stamp when the issuer's file has this content, beside a new one."""
        before, after, found = Trusts(), Trusts(), []
        before.issuers = self.issuers(middle=self.middle.certificate_pem)
        after.issuers = self.issuers(middle=now, other=Authority("other").certificate_pem)
        run_through(before.finding_chains(names))
        for name in [*names, (SPIFFE, None), ("/not/there", None)]:
            if before.stamps([name], ()) != after.stamps([name], ()):
                found.append(name)
        self.assertEqual(before.stamps((), ()), ())
        return found
