"""Implements the transport to a server over TLS, which gives what it learns to the context of its server line."""

from __future__ import annotations

from socket import socket

from cryptography.x509 import Certificate
from OpenSSL import SSL

from reusedproxy.net.poller import Poller
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.transport import TLSTransport
from reusedproxy.net.tls.words import CertificateRefused
from reusedproxy.net.transport import TransportOwner


class ClientTLSTransport(TLSTransport):
    """Carries a connection to a server whose handshake is complete and verified."""

    __slots__ = ("_context",)

    looks = True

    def __init__(
        self, poller: Poller, connected: socket, owner: TransportOwner, tls: SSL.Connection, context: ClientContext
    ) -> None:
        TLSTransport.__init__(self, poller, connected, owner, tls)
        self._context = context

    def _broken_by(self, error: SSL.Error) -> str:
        reason = TLSTransport._broken_by(self, error)
        if self._tls.get_protocol_version() == SSL.TLS1_3_VERSION and self._tls.get_app_data().refused:
            return CertificateRefused(reason)
        return reason

    @property
    def serial(self) -> str:
        """Returns the serial number of the server's certificate, in hexadecimal digits; "" if it has shown none. Where
        a session was resumed, that is the certificate of its first handshake. Slow."""
        certificate = self.certificate
        return "" if certificate is None else format(certificate.serial_number, "x")

    @property
    def certificate(self) -> Certificate | None:
        """Returns the server's certificate, as `serial` does. Slow."""
        return self._tls.get_peer_certificate(as_cryptography=True)

    def remember_session(self) -> None:
        """Stores this connection's session for later ones to resume.

        In TLS 1.3 it arrives with the first answer or after it.
        """
        self._context.remember(self._tls)
