"""CAs and revocation lists at the runtime API."""

from __future__ import annotations

import ssl as pem

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from reusedproxy.net.tls.revoked import SMALL
from reusedproxy.operators.runtime.authorities import described
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import OPERATOR, Context, Refusal
from tests.integration.peers import LOOPBACK
from tests.services import HEAD
from tests.test_generations import GenerationTestCase
from tests.test_net_revoked import large
from tests.test_net_tls_server import revocations


class AuthoritiesTestCase(GenerationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.crl = str(self.folder / "crl.pem")
        (self.folder / "crl.pem").write_bytes(self.revoked())
        self.begin(bind=f" ssl crt {self.write('s.pem')} ca-file {self.ca_file} verify required crl-file {self.crl}")

    def revoked(self) -> bytes:
        return revocations(self.authority, self.authority.issue("gone"))

    def says(self, command: str) -> str:
        answer = run(Context(self.service, OPERATOR, 10.0), command.split())
        return answer if isinstance(answer, str) else "".join(answer)

    def refused(self, command: str) -> str:
        with self.assertRaises(Refusal) as raised:
            self.says(command)
        return str(raised.exception)


class AuthoritiesTests(AuthoritiesTestCase):
    def test_files_are_listed(self) -> None:
        self.assertEqual(self.says("show ssl ca-file"), f"# filename\n{self.ca_file} - 1 certificate(s)\n")
        self.assertEqual(self.says("show ssl crl-file"), f"# filename\n{self.crl}\n")

    def test_what_is_in_a_ca_file(self) -> None:
        certificate = self.authority.credential.certificate
        lines = self.says(f"show ssl ca-file {self.ca_file}").splitlines()
        self.assertEqual(lines[:4], [f"Filename: {self.ca_file}", "Status: Used", " ", "Certificate #1:"])
        said = dict(line.split(": ", 1) for line in lines[4:])
        self.assertEqual(int(said["Serial"], 16), certificate.serial_number)
        self.assertIn("/CN=", said["Subject"])
        self.assertEqual(said["Subject"], said["Issuer"])
        self.assertTrue(said["notAfter"].endswith(" GMT"))
        self.assertEqual("\n".join(lines) + "\n", self.says(f"show ssl ca-file {self.ca_file}:1"))
        self.assertEqual(self.says(f"show ssl ca-file {self.ca_file}:2"), "")

    def test_what_is_in_a_revocation_list(self) -> None:
        lines = self.says(f"show ssl crl-file {self.crl}").splitlines()
        self.assertEqual(lines[:5], [f"Filename: {self.crl}", "Status: Used", " ", "Certificate Revocation List #1:",
                                     "Version 2"])  # fmt: skip
        self.assertIn("SHA256", lines[5].upper())
        self.assertEqual([line.split(":")[0].strip() for line in lines[-3:]],
                         ["Revoked Certificates", "Serial Number", "Revocation Date"])  # fmt: skip
        self.assertEqual(len(self.says(f"show ssl crl-file {self.crl}:9").splitlines()), 2)

    def test_what_is_refused(self) -> None:
        self.assertEqual(self.refused("show ssl ca-file no"), "Can't display the CA file : Not found!")
        self.assertEqual(self.refused("show ssl crl-file no"), "Can't display the CRL file : Not found!")
        self.assertEqual(self.refused("show ssl ca-file a:x"), "wrong CA index after colons in 'a:x'!")

    def test_after_reloads_it_is_what_is_in_use(self) -> None:
        """Whatever has become of the file; and what nobody names any more is not shown."""
        before = self.says("show ssl ca-file")
        self.configure(" timeout queue 3s\n")
        self.service.reload()
        self.reactor.pump([0.05] * 40)
        self.assertEqual(self.says("show ssl ca-file"), before)
        self.text(
            "proxy.cfg",
            f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n server s {LOOPBACK}:1\n",
        )
        self.service.reload()
        self.reactor.pump([0.05] * 40)
        self.assertEqual(self.says("show ssl ca-file"), "# filename\n")

    def test_a_key_that_cannot_be_read_hides_nothing_else(self) -> None:
        certificate = self.authority.issue("new", key="ecdsa").certificate.public_bytes(Encoding.DER)
        of_curves = bytes.fromhex("06072a8648ce3d0201")
        self.assertEqual(certificate.count(of_curves), 1)
        other = certificate.replace(of_curves, of_curves[:-1] + b"\x7f")
        said = described(x509.load_der_x509_certificate(other))
        self.assertEqual([line for line in said.splitlines() if "Algorithm" in line or "Subject:" in line],
                         ["Algorithm: ", "Subject: /CN=new"])  # fmt: skip


class OddListTests(AuthoritiesTestCase):
    def revoked(self) -> bytes:
        """A list that says in two ways how it is signed, which OpenSSL takes, and believes nobody by."""
        der = pem.PEM_cert_to_DER_cert(super().revoked().decode().replace("X509 CRL", "CERTIFICATE"))
        with_sha256 = bytes.fromhex("06082a8648ce3d040302")
        self.assertEqual(der.count(with_sha256), 2)
        odd = der.replace(with_sha256, with_sha256[:-1] + b"\x03", 1)
        return pem.DER_cert_to_PEM_cert(odd).replace("CERTIFICATE", "X509 CRL").encode()

    def test_a_list_that_cannot_be_shown_says_why(self) -> None:
        said = self.says(f"show ssl crl-file {self.crl}")
        self.assertTrue(said.endswith("#1:\nIt cannot be shown: it says in two ways how it is signed\n"), said)


class LargeListTests(AuthoritiesTestCase):
    def revoked(self) -> bytes:
        return large(self.authority, 7)

    def test_a_large_revocation_list_is_shown_in_pieces(self) -> None:
        """And cryptography, which decodes a list as a whole, gets it without its entries."""
        sizes, decode = list[int](), x509.load_der_x509_crl

        def decoding(der: bytes) -> x509.CertificateRevocationList:
            sizes.append(len(der))
            return decode(der)

        self.patch(x509, "load_der_x509_crl", decoding)
        answer = run(Context(self.service, OPERATOR, 10.0), ["show", "ssl", "crl-file", self.crl])
        assert not isinstance(answer, str)
        pieces = [*answer]
        self.assertLess(max(map(len, pieces)), 20_000)
        self.assertLess(max(sizes), 1000)
        lines = "".join(pieces).splitlines()
        self.assertEqual(len([line for line in lines if "Serial Number: " in line]), 1 + SMALL // 36)
        self.assertEqual(lines[9:12:2], ["Revoked Certificates:", "        Revocation Date: " + lines[11][25:]])
        self.assertEqual(lines[10], "    Serial Number: 07")
