"""The demonstration's server: HTTPS on loopback, for those only who show a certificate of the demonstration's CA.

It says who asked and how many requests this connection has carried, so that a reader of its answers sees connections
being kept. It is made of Twisted's own parts, which share no code with the proxy that it stands behind.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from cryptography.x509.oid import NameOID
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer_only

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.values import ListenAddress, Place
from reusedproxy.net.listener import bind_socket

BACKLOG = 128


class EmbeddedServer:
    """Bound to a port of the kernel's choice when made; `start` begins to serve."""

    def __init__(self, reactor: Any, certificate: Path, authority: Path) -> None:
        """`certificate`: a PEM file with its key; `authority`: whose client certificates are taken."""
        self._reactor = reactor
        self._listening: Any = None
        self._socket = bind_socket(Bind(Place("demo", 0), ListenAddress("tcp", "127.0.0.1", 0)), BACKLOG)
        self.port = self._socket.getsockname()[1]
        # Naming an authority makes the certificate a demand: who has none does not get through the handshake.
        options = PrivateCertificate.loadPEM(certificate.read_bytes()).options(
            Certificate.loadPEM(authority.read_bytes())
        )
        # No timeout: idle connections stay, and what ends one in the demonstration is the proxy's own doing.
        site = EmbeddedSite(WhoAsks(), timeout=None)
        self._factory = TLSMemoryBIOFactory(options, False, site)
        self._factory.noisy = site.noisy = False

    def start(self) -> None:
        self._listening = self._reactor.adoptStreamPort(self._socket.fileno(), socket.AF_INET, self._factory)
        self._socket.close()

    def stop(self) -> None:
        if self._listening is not None:
            self._listening.stopReading()
            self._listening.connectionLost(Failure(ConnectionDone()))
            self._listening = None


class WhoAsks(Resource):
    """Answers every path with the name in the client's certificate, and the count of this connection's requests."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self._carried: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def render(self, request: Request) -> bytes:
        channel = request.channel
        number = self._carried[channel] = self._carried.get(channel, 0) + 1
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        method, target = request.method.decode("ascii", "replace"), request.uri.decode("ascii", "replace")
        text = (
            f"{method} {target}\n"
            f"asked by: {_client(request.transport)} (the name in the client certificate)\n"
            f"this TLS connection has carried {number} request{'s' * (number != 1)}\n"
        )
        return text.encode()


def _client(transport: Any) -> str:
    subject = transport.getPeerCertificate().to_cryptography().subject
    return ", ".join(str(each.value) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME))


# Only this, and no protocol negotiation: HTTP/1.1 is all there is, and Twisted before 26.4 cannot negotiate with
# pyOpenSSL 26 (a context must not be changed once it has connections).
@implementer_only(IProtocolFactory)
class EmbeddedSite(Site):
    def log(self, request: Any) -> None:
        """The proxy's access log has it already."""
