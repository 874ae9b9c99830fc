"""What a TLS connection tells of itself: OpenSSL on both ends, in memory."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import TLSOffer
from reusedproxy.net.tls.facts import TransportTLS, tls_side
from reusedproxy.net.tls.server import Certificate, ServerContext
from reusedproxy.net.tls.server_transport import ServerTLSTransport
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.rules.samples.certificates import parts
from tests.integration import rulecerts


def shaken(
    server: SSL.Context, client: SSL.Context, session: SSL.Session | None = None
) -> tuple[SSL.Connection, SSL.Connection]:
    """Both ends after their handshake, and one message each way."""
    ends = SSL.Connection(server, None), SSL.Connection(client, None)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    ends[1].set_tlsext_host_name(b"App.Example")
    if session is not None:
        ends[1].set_session(session)
    for _ in range(4):
        for end, other in (ends, ends[::-1]):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
            _pass_on(end, other)
    ends[0].send(b"x")
    _pass_on(*ends)
    assert ends[1].recv(1) == b"x"
    return ends


def _pass_on(end: SSL.Connection, other: SSL.Connection) -> None:
    try:
        other.bio_write(end.bio_read(65536))
    except SSL.WantReadError:
        pass


def transport(tls: SSL.Connection) -> Any:
    """A real one, of which nothing is asked but what its TLS tells."""
    made: Any = object.__new__(ServerTLSTransport)
    made._tls = tls
    return made


class TLSSideTests(SynchronousTestCase):
    """Of either end."""

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.files = rulecerts.make(Path(directory.name))
        self.server, self.client = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.server.set_session_id(b"test")
        for context, path in ((self.server, self.files.server), (self.client, self.files.clients["plain"])):
            context.use_certificate_file(str(path))
            context.use_privatekey_file(str(path))
            context.set_verify(SSL.VERIFY_PEER, lambda *arguments: True)
        self.server.load_verify_locations(str(self.files.ca))
        self.server.set_alpn_select_callback(lambda connection, offered: offered[0])
        self.client.set_alpn_protos([b"http/1.1"])
        self.client.set_verify(SSL.VERIFY_NONE)  # it goes on, and the verdict is remembered

    def der(self, path: Path) -> bytes:
        return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)

    def test_what_is_agreed_on(self) -> None:
        """Both ends say the same."""
        for tls in shaken(self.server, self.client):
            side = TransportTLS(transport(tls))
            self.assertEqual((side.version, side.alpn, side.resumed), ("TLSv1.3", b"http/1.1", False))
            self.assertEqual((side.cipher, side.cipher_bits), (tls.get_cipher_name(), 256))
            self.assertEqual(side.sni, b"App.Example")
            self.assertEqual((side.certificate_error, side.authority_error), (0, (0, 0)))

    def test_the_peers_certificate(self) -> None:
        """The other's, its own first in the chain, with OpenSSL's verdict."""
        server, client = (TransportTLS(transport(tls)) for tls in shaken(self.server, self.client))
        shown = self.der(self.files.clients["plain"])
        self.assertEqual((server.certificate, server.chain, server.verify_result), (shown, [shown], 0))
        self.assertIs(server.certificate, server.certificate)
        shown, authority = self.der(self.files.server), self.der(self.files.ca)
        # The client trusts nobody.
        self.assertEqual((client.certificate, client.chain), (shown, [shown, authority]))
        self.assertIn(client.verify_result, (19, 20))

    def test_certificates_of_both_sides(self) -> None:
        """The one that is shown, and the last of the chain by which the other's was verified."""
        server, client = (TransportTLS(transport(tls)) for tls in shaken(self.server, self.client))
        ours, authority = self.der(self.files.server), self.der(self.files.ca)
        self.assertEqual((server.own_certificate, server.root), (ours, authority))
        self.assertEqual((client.own_certificate, client.root), (self.der(self.files.clients["plain"]), None))
        bare = shaken(self.server, SSL.Context(SSL.TLS_CLIENT_METHOD))[1]
        self.assertIsNone(TransportTLS(transport(bare)).own_certificate)

    def test_what_both_ends_know_of_a_handshake(self) -> None:
        """The same, in a full handshake and where a session is resumed."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client_context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            client_context.set_max_proto_version(version)
            first = None
            for _ in range(2):
                ends = shaken(self.server, client_context, None if first is None else first.get_session())
                first = ends[1]
                server, client = (TransportTLS(transport(tls)) for tls in ends)
                client._transport = SimpleNamespace(serves=False, resumed=server.resumed)
                self.assertTrue(server.first_finished)
                for name in ("client_random", "server_random", "master_key", "first_finished", "group"):
                    if version == SSL.TLS1_2_VERSION or name != "master_key":
                        self.assertEqual(getattr(server, name), getattr(client, name), (version, name))
                self.assertEqual((len(server.client_random or b""), server.group), (32, ends[0].get_group_name()))

    def test_a_session(self) -> None:
        """In ASN.1, with its ID."""
        server, _ = shaken(self.server, self.client)
        found = TransportTLS(transport(server)).session
        assert found is not None
        fields = [part.content for part in parts(next(parts(found)).content)]
        self.assertEqual((fields[1], len(fields[3])), (b"\x03\x04", 32))
        alone = SSL.Connection(self.server, None)
        self.assertIsNone(TransportTLS(transport(alone)).session)

    def test_no_certificate(self) -> None:
        """Nothing is shown."""
        bare = SSL.Context(SSL.TLS_CLIENT_METHOD)
        tls, _ = shaken(self.server, bare)
        side = TransportTLS(transport(tls))
        self.assertEqual((side.certificate, side.chain, side.verify_result, side.alpn), (None, [], 0, b""))

    def test_a_resumed_session(self) -> None:
        """Its certificate is that of the first handshake."""
        _, first = shaken(self.server, self.client)
        server, _ = shaken(self.server, self.client, first.get_session())
        side = TransportTLS(transport(server))
        self.assertEqual((side.resumed, side.certificate), (True, self.der(self.files.clients["plain"])))

    def test_faults_that_were_let_pass(self) -> None:
        """Transports that know them are asked."""
        tls, _ = shaken(self.server, self.client)
        faults = {"crt_fault": SimpleNamespace(error=10, depth=0), "ca_fault": SimpleNamespace(error=20, depth=2)}
        known = transport(tls)
        known.crt_fault, known.ca_fault = faults["crt_fault"], faults["ca_fault"]
        side = TransportTLS(known)
        self.assertEqual((side.certificate_error, side.authority_error), (10, (20, 2)))

    def test_the_file_of_the_certificate_that_was_shown(self) -> None:
        """To clients; a context that is none of ours has none."""
        tls, other = shaken(self.server, self.client)
        self.assertIsNone(TransportTLS(transport(tls)).own_name)
        self.assertIsNone(TransportTLS(transport(other)).own_name)
        context = ServerContext(Certificate(str(self.files.server), TLSOffer()), Trusts())
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        shown = SimpleNamespace(_tls=context.connection(near), secure=True)
        self.assertEqual(TransportTLS(shown).own_name, str(self.files.server))

    def test_nothing_is_told_in_the_clear(self) -> None:
        """A transport that is not secure."""
        self.assertIsNone(tls_side(SimpleNamespace(secure=False)))  # type: ignore[arg-type]
