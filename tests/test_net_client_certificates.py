"""What clients show and are let in for, or not: every fault in words, and what is let pass is remembered."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from OpenSSL import SSL

from reusedproxy.config.tls.x509_errors import ALL
from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.tls.handshake import CA_NOT_TRUSTED, CRT_NOT_TRUSTED, REFUSED
from tests.handshakes import client_tls, offer, side_of
from tests.test_net_handshake import HandshakeTestCase
from tests.wire import certificates

TLS12, TLS13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
HOUR = timedelta(hours=1)


class ClientCertificateTests(HandshakeTestCase):
    """`verify`, and all that may be wrong with what a client shows; TLS 1.2 and 1.3."""

    def setUp(self) -> None:
        super().setUp()
        self.ours = certificates()

    def shown(self, credential: Credential | None, **fields: object) -> list[bool]:
        """Whether the client was let in, by TLS 1.2 and 1.3."""
        self.shaker.terms = offer(**{"verify": "required", **fields})
        self.shaker.certificates = self.shaker.load()
        count = len(self.shaker.transports)
        let_in = []
        for version in (TLS12, TLS13):
            self.shaker.failures.clear()
            far = self.shaker.client(client_tls(credential, version=version))
            far.drop()
            self.loop.pump()
            let_in.append(len(self.shaker.transports) > count)
            count = len(self.shaker.transports)
        return let_in

    def refused(self, credential: Credential | None, kind: str, *words: str, **fields: object) -> None:
        self.assertEqual(self.shown(credential, **fields), [False, False])
        for each in words:
            self.assertIn(each, self.shaker.failure)
        self.failed(kind, "sent")

    def issued(self, authority: Authority | None = None, **fields: object) -> Credential:
        return (authority or self.ours.authority).issue("visitor", client=True, key="ecdsa", **fields)  # type: ignore[arg-type]

    def test_one_that_is_trusted(self) -> None:
        """It can be looked at afterwards."""
        self.assertEqual(self.shown(self.ours.client), [True, True])
        transport = self.shaker.transport
        certificate = side_of(transport).certificate
        assert certificate is not None
        self.assertIn(b"client", certificate)
        self.assertEqual((side_of(transport).verify_result, transport.crt_fault), (0, None))

    def test_our_own_chain_is_what_crt_holds(self) -> None:
        """Not what is known from `ca-file`, which says whose certificates clients may show."""
        self.shaker.terms = offer(verify="optional")
        self.shaker.certificates = self.shaker.load()
        far = self.shaker.client(client_tls())
        self.assertEqual(len(far.tls.get_peer_cert_chain() or ()), 1 + len(self.ours.server.chain))

    def test_none(self) -> None:
        """Demanded, or only asked for."""
        self.refused(None, REFUSED, "the client showed no certificate, which 'verify required' demands", "ca-file")
        self.assertEqual(self.shown(None, verify="optional"), [True, True])
        self.assertIsNone(side_of(self.shaker.transport).certificate)

    def test_optional_looks_at_what_is_shown(self) -> None:
        """As in HAProxy: a bad one is worse than none."""
        stranger = self.issued(self.ours.stranger)
        self.refused(stranger, CRT_NOT_TRUSTED, "issued by CN=unknown CA", verify="optional")

    def test_a_name_that_would_write_lines_of_its_own(self) -> None:
        """Anybody can make a certificate and put into its name what they like."""
        forged = Authority("x\n[ALERT] y").issue("z\x1b[31m" + "w" * 50, client=True, key="ecdsa")
        self.refused(forged, CRT_NOT_TRUSTED, "CN=z?[31mwww", "issued by CN=x?[ALERT] y)")

    def test_a_fault_above_the_certificate(self) -> None:
        """Is HAProxy's other kind, and named by its place in the chain."""
        past = datetime.now(timezone.utc) - HOUR
        middle = Authority("old CA", issuer=self.ours.authority, not_after=past)
        self.refused(
            self.issued(middle), CA_NOT_TRUSTED, "certificate has expired (certificate 1 of the chain, CN=old CA"
        )
        self.assertEqual(self.shown(self.issued(middle), ignored_ca_errors=frozenset({10})), [True, True])
        transport = self.shaker.transport
        self.assertEqual((side_of(transport).verify_result, transport.crt_fault), (10, None))
        assert transport.ca_fault is not None
        self.assertEqual((transport.ca_fault.error, transport.ca_fault.depth), (10, 1))

    def test_ignored_errors_are_remembered(self) -> None:
        """The connection goes on, and can tell what was wrong."""
        expired = self.issued(not_after=datetime.now(timezone.utc) - HOUR)
        self.assertEqual(self.shown(expired, ignored_crt_errors=frozenset({10})), [True, True])
        transport = self.shaker.transport
        self.assertEqual(side_of(transport).verify_result, 10)
        assert transport.crt_fault is not None
        self.assertEqual((transport.crt_fault.error, transport.crt_fault.depth), (10, 0))
        self.refused(expired, CRT_NOT_TRUSTED, "has expired", ignored_crt_errors=frozenset({9}))
        self.refused(expired, CRT_NOT_TRUSTED, "has expired", ignored_ca_errors=ALL)
        self.assertEqual(self.shown(self.issued(self.ours.stranger), ignored_crt_errors=ALL), [True, True])

    def test_names_of_authorities(self) -> None:
        """They are sent, so that a browser can offer the right certificate;
        unless no-ca-names, or by ca-verify-file."""

        def sent(**fields: object) -> list[str | None]:
            self.shown(self.ours.client, **fields)
            far = self.shaker.client(client_tls(self.ours.client, version=TLS12))
            return [name.CN for name in far.tls.get_client_ca_list()]

        self.assertEqual(sent(), ["test CA"])
        self.assertEqual(sent(ca_names=False), [])
        self.assertEqual(sent(ca_file=None, ca_verify_file=self.ours.ca_file), [])
        self.assertEqual(len(self.shaker.transports), 9)
