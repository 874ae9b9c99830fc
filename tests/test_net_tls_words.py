"""Towards servers: versions, ciphers, curves, lists of revoked certificates, sessions;
what a server line says of TLS."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.openssl_server import set_groups
from reusedproxy.net.tls.words import VerifyFault, certificate_words
from tests.test_net_dial import DialCase, Owner
from tests.test_net_tls_server import revocations
from tests.wire import Server, certificates, server_context


def context(**settings: Any) -> ClientContext:
    ours = certificates()
    return ClientContext(ServerTLS(**{"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings}))


class WordTests(DialCase):
    """What is asked for is what is spoken."""

    def spoken(self, server: Server, made: ClientContext) -> ClientTLSTransport:
        self.owner = Owner()
        transport = self.ready(self.dial(server.target, made))
        assert isinstance(transport, ClientTLSTransport)
        return transport

    def refused(self, server: Server, **settings: Any) -> str:
        self.owner = Owner()
        return self.failed(self.dial(server.target, context(**settings)))

    def test_versions(self) -> None:
        """The newest that both speak, none below the oldest."""
        server = self.loop.server(tls=server_context())
        for settings, version in (
            ({}, "TLSv1.3"),
            ({"max_version": "TLSv1.2"}, "TLSv1.2"),
            ({"min_version": "TLSv1.3"}, "TLSv1.3"),
        ):
            transport = self.spoken(server, context(**settings))
            self.assertEqual(transport.version, version)
            transport.abort("over")
        old = self.loop.server(tls=server_context(version=SSL.TLS1_2_VERSION))
        self.assertIn("protocol version", self.refused(old, min_version="TLSv1.3"))

    def test_old_versions_only_when_asked_for(self) -> None:
        """And only at OpenSSL's lowest level of security."""
        made = server_context(version=SSL.TLS1_1_VERSION)
        made.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
        server = self.loop.server(tls=made)
        self.assertIn("TLS handshake failed", self.refused(server))
        asked = context(min_version="TLSv1.0", max_version="TLSv1.1", ciphers="DEFAULT:@SECLEVEL=0")
        transport = self.spoken(server, asked)
        self.assertEqual(transport.version, "TLSv1.1")
        transport.abort("over")

    def test_ciphers(self) -> None:
        """Of each version by its own word."""
        server = self.loop.server(tls=server_context())
        for settings, cipher in (
            ({"ciphersuites": "TLS_AES_128_GCM_SHA256"}, "TLS_AES_128_GCM_SHA256"),
            ({"max_version": "TLSv1.2", "ciphers": "ECDHE-ECDSA-AES256-SHA384"}, "ECDHE-ECDSA-AES256-SHA384"),
        ):
            transport = self.spoken(server, context(**settings))
            self.assertEqual(transport._tls.get_cipher_name(), cipher)
            transport.abort("over")

    def test_curves(self) -> None:
        """A server that takes none of them refuses."""
        made = server_context()
        self.assertTrue(set_groups(made, "X25519"))
        server = self.loop.server(tls=made)
        self.spoken(server, context(curves="P-384:X25519")).abort("over")
        self.assertIn("TLS handshake failed", self.refused(server, curves="P-384"))

    def test_alpn(self) -> None:
        """It is offered when it is said, and the server may choose."""
        offered: list[list[bytes]] = []

        def select(connection: SSL.Connection, protocols: list[bytes]) -> bytes:
            offered.append(protocols)
            return protocols[0]

        made = server_context()
        made.set_alpn_select_callback(select)
        server = self.loop.server(tls=made)
        self.spoken(server, context()).abort("over")
        self.assertEqual(offered, [])
        transport = self.spoken(server, context(alpn=("http/1.1", "http/1.0")))
        self.assertEqual(
            (offered, transport._tls.get_alpn_proto_negotiated()), ([[b"http/1.1", b"http/1.0"]], b"http/1.1")
        )
        transport.abort("over")

    def test_sessions(self) -> None:
        """They are resumed, unless `no-ssl-reuse` says otherwise, and never under another name."""
        server = self.loop.server(tls=server_context())
        for resumes in (True, False):
            made = context(resumes=resumes)
            first = self.spoken(server, made)
            server.newest.send(b"x")
            self.loop.pump()
            first.remember_session()
            first.abort("over")
            again = self.spoken(server, made)
            self.assertEqual((again.resumed, made.session is not None), (resumes, True))
            again.abort("over")
            other = self.spoken(server, made.named("localhost"))
            self.assertFalse(other.resumed)
            other.abort("over")

    def test_a_revoked_server(self) -> None:
        """Is refused, the reason and our files are said; others are not."""
        ours = certificates()
        revoked = ours.authority.issue("revoked", hosts=["server.test"], key="ecdsa")
        path = ours.file("servers-crl.pem", revocations(ours.authority, revoked))
        server = self.loop.server(tls=server_context(revoked))
        found = self.refused(server, crl_file=path)
        self.assertIn("certificate revoked (certificate 0 of the chain, CN=revoked, ", found)
        self.assertIn(f"; revoked are those of crl-file {path}; alert ", found)
        self.spoken(self.loop.server(tls=server_context()), context(crl_file=path)).abort("over")
        stale = ours.file("other-crl.pem", revocations(Authority("another CA"), revoked))
        self.assertIn("unable to get certificate CRL", self.refused(server, crl_file=stale))


class FaultTests(SynchronousTestCase):
    """What OpenSSL does not know."""

    def test_each_is_named(self) -> None:
        ours = certificates()
        for settings, why in (
            ({"ciphers": "NONSENSE"}, "ciphers NONSENSE: no cipher match"),
            ({"ciphersuites": "NONSENSE"}, "ciphersuites NONSENSE: "),
            ({"curves": "X25519:nonsense"}, "curves X25519:nonsense: OpenSSL does not know one of them"),
            ({"sigalgs": "nonsense"}, "sigalgs nonsense: OpenSSL does not know one of them"),
            ({"client_sigalgs": "nonsense"}, "client-sigalgs nonsense: OpenSSL does not know one of them"),
            ({"client_sigalgs": "RSA+SHA256", "crt": ours.crt}, "has no algorithms for clients alone"),
            ({"crl_file": "/nowhere.pem"}, "crl-file /nowhere.pem: cannot be read: No such file or directory"),
            ({"crl_file": ours.ca_file}, "holds no list"),
        ):
            with self.assertRaises(TLSConfigurationError, msg=settings) as raised:
                context(**settings)
            self.assertIn(why, str(raised.exception))


class MeaningTests(SynchronousTestCase):
    """OpenSSL's reasons, and what they mean here."""

    def meaning(self, reason: str, crt: str | None = None) -> str:
        context = ClientContext(ServerTLS(verify="none"))
        context.settings = ServerTLS(verify="none", crt=crt)
        return context.meaning(reason)

    def test_alerts_about_our_certificate_name_its_file(self) -> None:
        """Whichever way a server says that it does not want our certificate."""
        for alert in ("tlsv1 alert unknown ca", "ssl/tls alert bad certificate", "tlsv1 alert access denied"):
            self.assertIn("(crt /etc/client.pem)", self.meaning(alert, "/etc/client.pem"))
        self.assertIn("(and no crt is configured)", self.meaning("tlsv13 alert certificate required"))

    def test_one_alert_for_many_things(self) -> None:
        """What is offered is said, and that it may be the client's certificate."""
        reason = "ssl/tls alert handshake failure"
        expected = "the server has nothing in common with TLSv1.2 to TLSv1.3; or it may "
        self.assertIn(f"{expected}demand a client certificate, and no crt is configured;", self.meaning(reason))
        self.assertIn(f"{expected}not take our client certificate (crt /c);", self.meaning(reason, "/c"))

    def test_other_reasons_are_left_alone(self) -> None:
        """What we know nothing about is said in OpenSSL's words."""
        self.assertEqual(self.meaning("bad record mac"), "bad record mac")

    def test_verification_faults_in_words(self) -> None:
        """OpenSSL's words for its numbers, and the certificate that is meant."""
        self.assertIn("certificate has expired (certificate 0 of the chain, CN=x)", str(VerifyFault(10, 0, "CN=x")))
        self.assertIn("unknown certificate verification error", str(VerifyFault(999, 1, "CN=x")))

    def test_a_certificate_with_much_in_it(self) -> None:
        """Whoever made it does not decide how long the line gets, or where it ends."""
        hosts = [f"{number}.{'x' * 60}.test" for number in range(100)]
        certificate = certificates().authority.issue("a\nb\x1b[31m" + "c" * 50, hosts=hosts).certificate
        words = certificate_words(certificate)
        self.assertTrue(words.startswith("CN=a?b?[31mccc"), words)
        self.assertIn(" and 96 more, issued by CN=test CA", words)
        self.assertLess(len(words), 400)
