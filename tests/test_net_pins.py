"""Servers whose key is pinned: which key of the chain counts, and what is said of one that is not pinned."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.pins import pin_of
from tests.test_net_dial import DialCase, Owner
from tests.wire import certificates, server_context

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
UNKNOWN = b64encode(bytes(32)).decode()


class PinTests(DialCase):
    def setUp(self) -> None:
        super().setUp()
        ours = certificates()
        self.between = Authority("between", issuer=ours.authority)
        self.credential = self.between.issue("server", hosts=["server.test"], key="ecdsa")
        self.own = pin_of(self.credential.certificate)

    def context(self, *pins: str, **settings: Any) -> ClientContext:
        ours = certificates()
        said = {"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings}
        return ClientContext(ServerTLS(pins=pins, **said))

    def unverified(self, *pins: str) -> ClientContext:
        return self.context(*pins, verify="none", ca_file=None)

    def outcome(self, context: ClientContext, credential: Credential, version: int = VERSIONS[1]) -> str:
        """Why a dial to a server with this certificate fails; "" if it does not."""
        self.owner = Owner()
        self.server = self.loop.server(tls=server_context(credential, version=version))
        dial = self.dial(self.server.target, context)
        self.loop.until(self.told)
        if self.owner.failures:
            words = self.failed(dial)
            self.assertTrue(self.owner.failures[0].unverified)
            return words
        transport = self.ready(dial)
        self.assertEqual(self.server.newest.client_name, "CN=client")
        transport.abort("over")
        return ""

    def test_a_pin_is_the_digest_of_the_key(self) -> None:
        """Whatever the kind of the key; it stays when the certificate is renewed."""
        for key in ("rsa", "ecdsa"):
            certificate = self.between.issue("server", key=key).certificate
            public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self.assertEqual(pin_of(certificate), b64encode(sha256(public).digest()).decode())

    def test_any_key_of_the_verified_chain_counts(self) -> None:
        """The server's own, that of a CA between, and that of the root; one of several pins suffices."""
        for version in VERSIONS:
            for authority in (self.credential, self.between.credential, certificates().authority.credential):
                pin = pin_of(authority.certificate)
                self.assertEqual(self.outcome(self.context(UNKNOWN, pin), self.credential, version), "")

    def test_another_key_is_refused_before_it_sees_our_certificate(self) -> None:
        for version in VERSIONS:
            said = self.outcome(self.context(UNKNOWN), self.credential, version)
            self.assertEqual(
                said,
                f"TLS handshake failed: no key in its chain is pinned; its own pin-sha256 is {self.own}"
                " (CN=server, for server.test, issued by CN=between); alert bad certificate sent",
            )
            self.assertIsNone(self.server.newest.client_name)
            self.assertFalse(self.server.newest.handshaken)

    def test_the_rest_is_verified_as_without_pins(self) -> None:
        for version in VERSIONS:
            self.assertIn("is not for 'x.test'", self.outcome(self.context(self.own, sni="x.test"), self.credential))
            stranger = certificates().stranger.issue("server", hosts=["server.test"], key="ecdsa")
            said = self.outcome(self.context(pin_of(stranger.certificate)), stranger, version)
            self.assertIn("unable to get local issuer certificate", said)

    def test_without_a_ca_the_own_key_is_enough(self) -> None:
        """Whoever has issued the certificate, for whom, and for how long."""
        past = datetime.now(timezone.utc) - timedelta(hours=1)
        alone = Authority("alone", authority=False).credential
        expired = certificates().stranger.issue("server", hosts=["x.test"], key="ecdsa", not_after=past)
        for version in VERSIONS:
            for credential in (alone, expired, self.credential):
                pin = pin_of(credential.certificate)
                self.assertEqual(self.outcome(self.unverified(pin), credential, version), "")
                said = self.outcome(self.unverified(UNKNOWN), credential, version)
                self.assertIn(f"no key that the server has shown is pinned; its own pin-sha256 is {pin} (", said)
                self.assertIsNone(self.server.newest.client_name)

    def test_a_ca_that_is_sent_along_proves_nothing_without_verification(self) -> None:
        """Anybody may send the certificate of a CA that has not signed his own."""
        stranger = certificates().stranger.issue("server", hosts=["server.test"], key="ecdsa")
        pretender = evolve(stranger, chain=(self.between.credential.certificate,))
        for version in VERSIONS:
            for honest_or_not in (pretender, self.credential):
                said = self.outcome(
                    self.unverified(pin_of(self.between.credential.certificate)), honest_or_not, version
                )
                self.assertIn("no key that the server has shown is pinned", said)

    def test_a_session_is_resumed_under_the_pins_that_it_began_with(self) -> None:
        """And no longer than where a CA vouches for the server."""
        for verify in ("required", "none"):
            for version in VERSIONS:
                context = self.context(self.own, verify=verify)
                server = self.loop.server(tls=server_context(self.credential, version=version))
                for resumed in (False, True):
                    self.owner = Owner()
                    transport = self.ready(self.dial(server.target, context))
                    assert isinstance(transport, ClientTLSTransport)
                    server.newest.send(b"an answer, with which the ticket is read")
                    self.loop.pump()
                    self.assertEqual(server.newest.resumed, resumed)
                    transport.remember_session()
                    transport.abort("over")
                self.assertLess(context.session_until, 9e9)
                other = self.context(UNKNOWN, verify=verify)
                self.assertIsNone(other.session)
