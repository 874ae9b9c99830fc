"""
What `reusedproxy.demo.certificates` makes, judged by OpenSSL and not by the library that made it.
"""

from __future__ import annotations

import stat
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import CLIENT_AUTH, SERVER_AUTH, Authority, Credential, key_usage

HOUR = timedelta(hours=1)


def handshake(authority: Authority, server: Credential, client: Credential | None = None) -> None:
    """
    A mutual TLS handshake in memory, both sides verifying against the authority; raises what OpenSSL raises.
    """

    def context(credential: Credential | None) -> SSL.Context:
        result = SSL.Context(SSL.TLS_METHOD)
        result.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *seen: bool(seen[-1]))
        store = result.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(authority.credential.certificate))
        if credential is not None:
            result.use_certificate(credential.certificate)
            result.use_privatekey(credential.key)
            for intermediate in credential.chain:
                result.add_extra_chain_cert(intermediate)
        return result

    ends = SSL.Connection(context(client), None), SSL.Connection(context(server), None)
    ends[0].set_connect_state()
    ends[1].set_accept_state()
    for _ in range(6):
        for here, there in (ends, ends[::-1]):
            try:
                here.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                there.bio_write(here.bio_read(65536))
            except SSL.WantReadError:
                pass


class IssueTests(SynchronousTestCase):
    authority: Authority
    server: Credential
    client: Credential

    @classmethod
    def setUpClass(cls) -> None:
        cls.authority = Authority()
        cls.server = cls.authority.issue("server", hosts=["server.test", "127.0.0.1", "::1"])
        cls.client = cls.authority.issue("client", client=True, key="ecdsa")

    def assert_refused(self, server: Credential, client: Credential | None, reason: str) -> None:
        error = self.assertRaises(SSL.Error, handshake, self.authority, server, client)
        self.assertIn(reason, str(error))

    def test_both_sides_of_a_handshake_accept_what_one_authority_issued(self) -> None:
        handshake(self.authority, self.server, self.client)

    def test_hosts_become_dns_names_and_addresses(self) -> None:
        names = self.server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(["server.test"], names.get_values_for_type(x509.DNSName))
        self.assertEqual(["127.0.0.1", "::1"], list(map(str, names.get_values_for_type(x509.IPAddress))))

    def test_no_hosts_means_no_alternative_names(self) -> None:
        with self.assertRaises(x509.ExtensionNotFound):
            self.client.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    def test_the_key_is_rsa_2048_or_p256(self) -> None:
        self.assertIsInstance(self.server.key, rsa.RSAPrivateKey)
        self.assertEqual(2048, self.server.key.key_size)
        self.assertIsInstance(self.client.key, ec.EllipticCurvePrivateKey)
        assert isinstance(self.client.key, ec.EllipticCurvePrivateKey)
        self.assertEqual("secp256r1", self.client.key.curve.name)
        self.assertRaises(ValueError, self.authority.issue, "x", key="dsa")

    def test_a_server_may_not_pose_as_a_client(self) -> None:
        self.assert_refused(self.server, self.server, "certificate verify failed")

    def test_extended_usage_can_be_chosen(self) -> None:
        both = self.authority.issue("both", key="ecdsa", extended_usage=[SERVER_AUTH, CLIENT_AUTH])
        handshake(self.authority, both, both)

    def test_key_usage_can_be_chosen(self) -> None:
        usage = key_usage("crl_sign")
        odd = self.authority.issue("odd", key="ecdsa", usage=usage, extended_usage=[])
        self.assertEqual(usage, odd.certificate.extensions.get_extension_for_class(x509.KeyUsage).value)
        self.assertRaises(ValueError, key_usage, "sign_everything")

    def test_an_expired_certificate_is_refused(self) -> None:
        expired = self.authority.issue("old", client=True, key="ecdsa", not_after=datetime.now(timezone.utc) - HOUR)
        self.assert_refused(self.server, expired, "certificate verify failed")

    def test_an_end_long_past_gets_an_earlier_start(self) -> None:
        end = datetime.now(timezone.utc) - timedelta(days=400)
        expired = self.authority.issue("older", key="ecdsa", not_after=end)
        self.assertLess(expired.certificate.not_valid_before_utc, expired.certificate.not_valid_after_utc)

    def test_a_certificate_of_tomorrow_is_refused(self) -> None:
        early = self.authority.issue(
            "early", client=True, key="ecdsa", not_before=datetime.now(timezone.utc) + timedelta(days=1)
        )
        self.assert_refused(self.server, early, "certificate verify failed")

    def test_another_authority_with_the_same_name_is_not_trusted(self) -> None:
        stranger = Authority().issue("client", client=True, key="ecdsa")
        self.assert_refused(self.server, stranger, "certificate verify failed")

    def test_an_intermediate_authority_is_followed_to_the_root(self) -> None:
        intermediate = Authority("intermediate", issuer=self.authority)
        client = intermediate.issue("client", client=True, key="ecdsa")
        self.assertEqual(2, client.certificate_pem.count(b"BEGIN CERTIFICATE"))
        handshake(self.authority, self.server, client)


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.authority = Authority()

    def test_certificate_and_key_stand_in_one_file_that_only_its_owner_reads(self) -> None:
        credential = self.authority.issue("server", key="ecdsa")
        path = credential.write(self.directory / "server.pem")
        self.assertEqual(credential.pem, path.read_bytes())
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        SSL.Context(SSL.TLS_METHOD).use_certificate_chain_file(str(path))
        SSL.Context(SSL.TLS_METHOD).use_privatekey_file(str(path))

    def test_writing_again_replaces_and_leaves_nothing_beside(self) -> None:
        path = self.directory / "server.pem"
        self.authority.issue("one", key="ecdsa").write(str(path))
        second = self.authority.issue("two", key="ecdsa")
        second.write(path)
        self.assertEqual(second.pem, path.read_bytes())
        self.assertEqual([path], list(self.directory.iterdir()))

    def test_the_authority_writes_its_certificate_and_not_its_key(self) -> None:
        content = self.authority.write(self.directory / "ca.pem").read_bytes()
        self.assertEqual(self.authority.certificate_pem, content)
        self.assertNotIn(b"PRIVATE KEY", content)

    def test_the_key_is_not_shown_by_repr(self) -> None:
        self.assertNotIn("PrivateKey", repr(self.authority.issue("server", key="ecdsa")))
