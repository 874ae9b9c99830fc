"""Clients' handshakes in one process: our `Handshake` on one side, OpenSSL's client on the other.

shaker = Shaker(self, loop, offer)                   # with the test's own certificate, for server.test
far = shaker.client(name="server.test")              # connects, and shakes hands as the loop is pumped
shaker.transport                                     # of the last one that was through
shaker.failures                                      # of those that were not
"""

from __future__ import annotations

from pathlib import Path
from socket import socket
from typing import Any

from attrs import define, evolve
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import TLSOffer
from reusedproxy.demo.certificates import Credential
from reusedproxy.net.tls.facts import TransportTLS, tls_side
from reusedproxy.net.tls.handshake import Handshake, HandshakeFailure, HandshakeQueue
from reusedproxy.net.tls.server import Certificate, Certificates
from reusedproxy.net.tls.server_transport import ServerTLSTransport
from reusedproxy.net.transport import Transport
from tests.wire import Far, Loop, TLSFar, certificates, scratch

#: What the test's authority signs is let in.
TRUSTING = {"verify": "required"}


def offer(**fields: Any) -> TLSOffer:
    """With `verify` said, the test's authority is trusted."""
    if fields.get("verify", "none") != "none":
        fields = {"ca_file": certificates().ca_file, **fields}
    return TLSOffer(**fields)


def side_of(transport: Transport) -> TransportTLS:
    """What rules can learn of its TLS, which it has."""
    side = tls_side(transport)
    assert side is not None
    return side


@define
class TLSClient:
    """How a test's client speaks TLS. `session` is one to resume, of an earlier `TLSClientFar`."""

    context: SSL.Context
    name: str | None = None
    session: SSL.Session | None = None

    def __call__(self, loop: Loop, connected: socket) -> TLSClientFar:
        return TLSClientFar(loop, connected, self)


class TLSClientFar(TLSFar):
    """A TLS client's end."""

    def __init__(self, loop: Loop, connected: socket, client: TLSClient) -> None:
        Far.__init__(self, loop, connected)
        self.failure = ""
        self.handshaken = False
        self.tls = SSL.Connection(client.context, connected)
        self.tls.set_connect_state()
        if client.name is not None:
            self.tls.set_tlsext_host_name(client.name.encode())
        if client.session is not None:
            self.tls.set_session(client.session)

    @property
    def shown(self) -> str:
        """The subject of the certificate that it was shown."""
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        return "" if certificate is None else certificate.subject.rfc4514_string()


def client_tls(
    credential: Credential | None = None,
    *,
    version: int | None = None,
    ciphers: str | None = None,
    alpn: list[bytes] | None = None,
) -> SSL.Context:
    """The TLS of a test's client, which looks at nothing that it is shown; `credential` is its certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if credential is not None:
        context.use_certificate(credential.certificate)
        context.use_privatekey(credential.key)
        for intermediate in credential.chain:
            context.add_extra_chain_cert(intermediate)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if ciphers is not None:
        context.set_cipher_list(ciphers.encode())
    if alpn is not None:
        context.set_alpn_protos(alpn)
    return context


class Shaker:
    """A listener's side without a listener. It is the handshakes' owner."""

    def __init__(
        self,
        test: SynchronousTestCase,
        loop: Loop,
        terms: TLSOffer | None = None,
        *credentials: Credential,
        strict: bool = False,
    ) -> None:
        self.loop = loop
        self.folder: Path = scratch(test)
        self.terms = terms or TLSOffer()
        self.strict = strict
        self.certificates = self.load(*credentials)
        self.turns = HandshakeQueue(loop.poller, loop.clock.seconds)
        self.transports: list[ServerTLSTransport] = []
        self.failures: list[HandshakeFailure] = []
        self.handshakes: list[Handshake] = []

    def load(self, *credentials: Credential, terms: TLSOffer | None = None) -> Certificates:
        """Each in a file of its own; none: the test's own."""
        files = [
            each.write(self.folder / f"{number}.pem")
            for number, each in enumerate(credentials or (certificates().server,))
        ]
        chosen = [Certificate(str(path), terms or self.terms, bundle=str(path)) for path in files]
        return Certificates.load(chosen, self.strict)

    def offer(self, **fields: Any) -> None:
        """From now on other terms."""
        self.terms = evolve(self.terms, **fields)
        self.certificates = self.load()

    def begin(self, near: Any, timeout: float = 10.0) -> Handshake:
        handshake = Handshake(
            self.loop.poller, self.loop.deadlines, self.turns, self.certificates, near, self, ("192.0.2.7", 4711), None
        )
        self.handshakes.append(handshake)
        handshake.start(timeout)
        return handshake

    def client(
        self, context: Any = None, name: str | None = "server.test", session: Any = None, **pair: Any
    ) -> TLSClientFar:
        """One more client; all that can happen now has happened when it comes back."""
        near, far = self.loop.pair(client=TLSClient(context or client_tls(), name, session), **pair)
        assert isinstance(far, TLSClientFar)
        self.begin(near)
        self.loop.pump()
        return far

    @property
    def transport(self) -> ServerTLSTransport:
        return self.transports[-1]

    @property
    def failure(self) -> str:
        """Why the last one failed."""
        return self.failures[-1].reason

    def handshake_done(self, handshake: Handshake, transport: ServerTLSTransport) -> None:
        self.transports.append(transport)

    def handshake_failed(self, handshake: Handshake, failure: HandshakeFailure) -> None:
        self.failures.append(failure)
