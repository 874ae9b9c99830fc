"""Serves the demonstration: HTTPS on loopback, for clients with a certificate of the demonstration's CA only.

Answers with the client's name and the number of requests on this connection, so that a reader sees connections being
reused. Made of Twisted's own parts, which share no code with the proxy in front of it.
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
from reusedproxy.net.binding import bind_socket

BACKLOG = 128


class EmbeddedServer:
    """Binds a port of the kernel's choice when made; `start` begins to serve."""

    def __init__(self, reactor: Any, certificate: Path, authority: Path) -> None:
        """Takes `certificate`, a PEM file with its key, and `authority`, the CA whose client
        certificates are accepted."""
        self._reactor = reactor
        self._listening: Any = None
        self._socket = bind_socket(Bind(Place("demo", 0), ListenAddress("tcp", "127.0.0.1", 0)), BACKLOG)
        self.port = self._socket.getsockname()[1]
        # Naming an authority makes the certificate mandatory: without one the handshake fails.
        options = PrivateCertificate.loadPEM(certificate.read_bytes()).options(
            Certificate.loadPEM(authority.read_bytes())
        )
        # No timeout: idle connections stay open, so that only the proxy ends one in the demonstration.
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
    """Answers every path with the name in the client's certificate, and the number of requests on this connection."""

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


# Only this interface, without protocol negotiation: HTTP/1.1 is the only protocol, and Twisted before 26.4 cannot
# negotiate with pyOpenSSL 26 (a context must not be changed once it has connections).
@implementer_only(IProtocolFactory)
class EmbeddedSite(Site):
    def log(self, request: Any) -> None:
        """Logs nothing: the proxy's access log has the request already."""
