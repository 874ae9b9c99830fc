"""OCSP answers that servers staple to their handshake: what vouches for a certificate, and what refuses it."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone
from time import time
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.staples import Judged, judge
from tests.test_net_dial import DialCase, Owner
from tests.wire import certificates, server_context

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)
GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
HOUR = timedelta(hours=1)
TRY_LATER = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)


def answer(
    about: x509.Certificate,
    issuer: Authority,
    status: ocsp.OCSPCertStatus = GOOD,
    *,
    since: timedelta = -HOUR,
    lasts: timedelta | None = 2 * HOUR,
    by: Credential | None = None,
    by_name: bool = False,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """An OCSP answer in DER, signed by the issuer or `by` a responder, whose certificate is then in it."""
    begin = datetime.now(timezone.utc).replace(microsecond=0) + since
    signer = by or issuer.credential
    builder = ocsp.OCSPResponseBuilder().add_response(
        about,
        issuer.credential.certificate,
        digest or hashes.SHA1(),
        status,
        begin,
        None if lasts is None else begin + lasts,
        begin if status is REVOKED else None,
        x509.ReasonFlags.key_compromise if status is REVOKED else None,
    )
    encoding = ocsp.OCSPResponderEncoding.NAME if by_name else ocsp.OCSPResponderEncoding.HASH
    builder = builder.responder_id(encoding, signer.certificate)
    if by is not None:
        builder = builder.certificates([by.certificate])
    made = builder.sign(signer.key, hashes.SHA256())
    return made.public_bytes(Encoding.DER)


def must_staple(issuer: Authority) -> Credential:
    """A certificate for server.test that demands a staple."""
    plain = issuer.issue("server", hosts=["server.test"], key="ecdsa")
    old = plain.certificate
    builder = x509.CertificateBuilder(
        old.issuer, old.subject, old.public_key(), old.serial_number, old.not_valid_before_utc, old.not_valid_after_utc
    )
    for each in old.extensions:
        builder = builder.add_extension(each.value, each.critical)
    builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    signer = issuer.credential.key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return evolve(plain, certificate=builder.sign(signer, hashes.SHA256()))


class JudgeTests(SynchronousTestCase):
    """Pure: an answer, a chain and a time."""

    def setUp(self) -> None:
        self.issuer = Authority("issuer")
        self.server = self.issuer.issue("server", hosts=["server.test"], key="ecdsa")
        self.own = self.server.certificate

    def judged(self, der: bytes, *, demanded: bool = False, credential: Credential | None = None) -> Judged:
        own = self.own if credential is None else credential.certificate
        return judge(der, [own, self.issuer.credential.certificate], demanded=demanded, now=time())

    def refused(self, der: bytes, words: str) -> None:
        for demanded in (False, True):
            fault = self.judged(der, demanded=demanded).fault
            self.assertIn(words, fault)
            self.assertIn("CN=server", fault)

    def vouches(self, der: bytes, hours: float = 1) -> None:
        judged = self.judged(der, demanded=True)
        self.assertEqual(judged.fault, "")
        assert judged.until is not None
        self.assertLess(abs(judged.until - time() - hours * 3600), 60)

    def test_the_issuer_vouches(self) -> None:
        """Named by its key or its name, with any digest for what the answer is about, and any kind of key."""
        self.vouches(answer(self.own, self.issuer))
        self.vouches(answer(self.own, self.issuer, by_name=True))
        self.vouches(answer(self.own, self.issuer, digest=hashes.SHA256()))
        self.issuer = Authority("issuer", key="rsa")
        self.own = self.issuer.issue("server").certificate
        self.vouches(answer(self.own, self.issuer))

    def test_an_answer_without_an_end_holds_for_a_day(self) -> None:
        self.vouches(answer(self.own, self.issuer, lasts=None), 23)
        self.refused(answer(self.own, self.issuer, lasts=None, since=timedelta(hours=-25)), "is out of date since")

    def test_a_responder_of_the_issuers_vouches(self) -> None:
        for by_name in (False, True):
            responder = self.issuer.issue("responder", extended_usage=[ExtendedKeyUsageOID.OCSP_SIGNING])
            self.vouches(answer(self.own, self.issuer, by=responder, by_name=by_name))

    def test_nobody_else_vouches(self) -> None:
        """Neither who has another certificate of the issuer's, nor another CA's responder, nor who once was one."""
        past = datetime.now(timezone.utc) - HOUR
        usage = [ExtendedKeyUsageOID.OCSP_SIGNING]
        for by in (
            self.server,
            Authority("issuer").issue("responder", extended_usage=usage),
            Authority("issuer").credential,
            self.issuer.issue("responder", extended_usage=usage, not_after=past),
        ):
            self.refused(answer(self.own, self.issuer, by=by), "is signed neither by the issuer of the certificate nor")

    def test_what_was_changed_on_the_way_is_not_taken(self) -> None:
        der = bytearray(answer(self.own, self.issuer))
        der[-1] ^= 1  # the signature's last byte
        self.refused(bytes(der), "is signed neither")

    def test_an_answer_about_another_certificate(self) -> None:
        """With another number, or with the same one of another CA."""
        other = self.issuer.issue("other").certificate
        self.refused(answer(other, self.issuer), "is about another certificate")
        self.refused(answer(self.own, Authority("issuer")), "is about another certificate")

    def test_what_it_says_of_the_certificate(self) -> None:
        self.refused(answer(self.own, self.issuer, REVOKED), "says that the certificate is revoked since ")
        self.refused(answer(self.own, self.issuer, REVOKED), "(keyCompromise)")
        self.refused(answer(self.own, self.issuer, UNKNOWN), "says that the responder does not know the certificate")

    def test_its_time(self) -> None:
        """Clocks may differ by some minutes."""
        self.refused(answer(self.own, self.issuer, since=-3 * HOUR), "is out of date since")
        self.refused(answer(self.own, self.issuer, since=HOUR), "is of a time to come, ")
        self.vouches(answer(self.own, self.issuer, since=timedelta(minutes=4), lasts=HOUR), 64 / 60)
        self.assertEqual(self.judged(answer(self.own, self.issuer, since=timedelta(minutes=-123))).fault, "")

    def test_what_cannot_be_read(self) -> None:
        whole = answer(self.own, self.issuer)
        for der in (b"x", whole[:40], whole[:-1]):
            self.refused(der, "cannot be read")

    def test_none_is_a_fault_where_one_is_demanded(self) -> None:
        """By the file or by the certificate. That the responder has none is the same; Apache staples that by itself."""
        demanding = must_staple(self.issuer)
        for der, words in ((b"", "no OCSP answer is stapled"), (TRY_LATER, "says only that the responder has none")):
            self.assertEqual(self.judged(der), Judged())
            fault = self.judged(der, demanded=True).fault
            self.assertIn(words, fault)
            self.assertIn("'ocsp-verify required' demands one (CN=server)", fault)
            self.assertIn("demands one (must-staple, RFC 7633; CN=s", self.judged(der, credential=demanding).fault)
        self.assertEqual(self.judged(answer(demanding.certificate, self.issuer), credential=demanding).fault, "")


class HandshakeTests(DialCase):
    """Real handshakes, with a server that staples."""

    def setUp(self) -> None:
        super().setUp()
        self.issuer = certificates().authority
        self.credential = certificates().server

    def context(self, ocsp: str = "optional", **settings: Any) -> ClientContext:
        ours = certificates()
        said = {"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings}
        return ClientContext(ServerTLS(ocsp=ocsp, **said))

    def servers(self, version: int, der: bytes) -> Any:
        """A server that staples this, if it is asked for one; `asked` counts how often."""
        tls = server_context(self.credential, version=version)
        self.asked = 0

        def staple(connection: SSL.Connection, nothing: object) -> bytes:
            self.asked += 1
            return der

        tls.set_ocsp_server_callback(staple)
        return self.loop.server(tls=tls)

    def outcome(self, context: ClientContext, der: bytes, version: int) -> str:
        """Why a dial fails; "" if it does not."""
        self.owner = Owner()
        server = self.servers(version, der)
        dial = self.dial(server.target, context)
        self.loop.until(self.told)
        if self.owner.failures:
            words = self.failed(dial)
            self.assertTrue(self.owner.failures[0].unverified)
            self.assertIsNone(server.newest.client_name)
            return words
        self.ready(dial).abort("over")
        return ""

    def test_a_good_answer_is_taken(self) -> None:
        for version in VERSIONS:
            good = answer(self.credential.certificate, self.issuer)
            for said in ("optional", "required"):
                self.assertEqual(self.outcome(self.context(said), good, version), "")
                self.assertEqual(self.asked, 1)

    def test_a_revoked_server_is_refused_before_it_sees_our_certificate(self) -> None:
        for version in VERSIONS:
            revoked = answer(self.credential.certificate, self.issuer, REVOKED)
            said = self.outcome(self.context(), revoked, version)
            self.assertIn(
                "TLS handshake failed: the stapled OCSP answer says that the certificate is revoked since", said
            )
            self.assertTrue(said.endswith("; alert bad certificate status response sent"), said)

    def test_none_where_one_is_demanded(self) -> None:
        for version in VERSIONS:
            self.assertEqual(self.outcome(self.context(), b"", version), "")
            said = self.outcome(self.context("required"), b"", version)
            self.assertIn("no OCSP answer is stapled, and 'ocsp-verify required' demands one (CN=server)", said)
            self.credential = must_staple(self.issuer)
            said = self.outcome(self.context(), b"", version)
            self.assertIn("the certificate itself demands one (must-staple, RFC 7633; CN=server)", said)
            self.credential = certificates().server

    def test_where_it_does_not_count_none_is_asked_for(self) -> None:
        """Not even a revoked server is told then, as in HAProxy; nor without a CA, whose answer it would be."""
        for version in VERSIONS:
            revoked = answer(self.credential.certificate, self.issuer, REVOKED)
            for context in (self.context("none"), self.context(verify="none", ca_file=None)):
                self.assertEqual(self.outcome(context, revoked, version), "")
                self.assertEqual(self.asked, 0)

    def test_the_chain_is_verified_first(self) -> None:
        for version in VERSIONS:
            good = answer(self.credential.certificate, self.issuer)
            said = self.outcome(self.context("required", sni="x.test"), good, version)
            self.assertIn("the certificate is not for 'x.test'", said)

    def test_a_session_is_resumed_as_long_as_its_answer_holds(self) -> None:
        """No server staples to a session that is resumed. Then there is a full handshake, in which it is refused."""
        now, client = time(), sys.modules[ClientContext.__module__]
        for version in VERSIONS:
            good = answer(self.credential.certificate, self.issuer, lasts=timedelta(minutes=70))
            server, context = self.servers(version, good), self.context("required")
            for after, resumed in ((0, False), (300, True), (898, True)):
                self.patch(client, "time", lambda: now + after)  # noqa: B023
                self.owner = Owner()
                transport = self.ready(self.dial(server.target, context))
                assert isinstance(transport, ClientTLSTransport)
                server.newest.send(b"an answer, with which the ticket is read")
                self.loop.pump()
                self.assertEqual(server.newest.resumed, resumed, after)
                transport.remember_session()
                transport.close("over")
            self.patch(client, "time", lambda: now + 902)
            self.owner = Owner()
            self.assertIn("is out of date since", self.failed(self.dial(server.target, context)))
            self.patch(client, "time", time)
