"""Towards servers: versions, ciphers, curves, lists of revoked certificates, sessions; what a server line says of TLS."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model import ServerTLS
from reusedproxy.demo.certificates import Authority
from reusedproxy.net.openssl_server import set_groups
from reusedproxy.net.tls_client import ClientContext, ClientTLSTransport
from reusedproxy.net.tls_files import TLSConfigurationError
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
        self.assertIn(
            "certificate revoked (certificate 0 of the chain, CN=revoked)", self.refused(server, crl_file=path)
        )
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
            ({"crl_file": "/nowhere.pem"}, "crl-file /nowhere.pem: cannot be read: No such file or directory"),
            ({"crl_file": ours.ca_file}, "holds no list"),
        ):
            with self.assertRaises(TLSConfigurationError, msg=settings) as raised:
                context(**settings)
            self.assertIn(why, str(raised.exception))
