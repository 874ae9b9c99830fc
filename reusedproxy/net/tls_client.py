"""TLS towards servers: contexts made once, handshakes that are verified before anybody hears of them, errors in words.

A `ClientContext` holds what one server line says about TLS: our certificate, whom we trust, the name that must be in the
server's certificate, and the session to resume. It knows files and OpenSSL; it must never know pools, requests or
retries.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime, timezone
from ipaddress import ip_address
from socket import socket
from typing import Any

import service_identity.cryptography
import service_identity.hazmat
import service_identity.pyopenssl
from OpenSSL import SSL

from reusedproxy.config.model import ServerTLS
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls import TLSTransport, VerifyFault, name_of, openssl_reason
from reusedproxy.net.tls_files import SYSTEM_CA, TLSConfigurationError, revoke, trust, use_certificate
from reusedproxy.net.tls_parameters import set_parameters
from reusedproxy.net.transport import Peer


class ClientContext:
    """One server line's TLS, made once and used for every connection to it.

    `session` is the newest one that a connection has left here; it belongs to this context alone, so it can never be
    offered under another name or with another certificate. `theirs_end` is when the certificate that the server showed last
    ends, in Unix time, None while none was looked at.
    """

    #: Told by whoever made it: when our certificate ends (Unix time, None without one); which one this is of the server
    #: line's, as reloads with other certificates or settings made them.
    ours_end: float | None = None
    generation = 1

    def __init__(self, settings: ServerTLS) -> None:
        """Read all files, judge the names. Raises TLSConfigurationError."""
        self.settings = settings
        self.session: SSL.Session | None = None
        self.theirs_end: float | None = None
        #: Whose name the certificate must carry: HAProxy's `verifyhost` counts only without `sni`.
        self.name = settings.sni or settings.verifyhost
        self._sni = None if settings.sni is None else _wire_name(settings.sni)
        if self.name is not None and not _is_address(self.name):
            _wire_name(self.name)
        self._context = context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        set_parameters(context, settings)
        if settings.alpn:
            context.set_alpn_protos([each.encode("ascii") for each in settings.alpn])
        if settings.crt is not None:
            use_certificate(context, settings.crt)
        if settings.verify == "required":
            trust(context, settings.ca_file)
            if settings.crl_file is not None:
                revoke(context, settings.crl_file)
            context.set_verify(SSL.VERIFY_PEER, _note_verify_fault)

    def named(self, sni: str) -> ClientContext:
        """The same for another name ("": none is sent): a session is never offered under another name.

        Raises TLSConfigurationError for what is no name.
        """
        other = copy(self)
        other.session = None
        other.name = sni or self.settings.verifyhost
        other._sni = None if not sni or _is_address(sni) else _wire_name(sni)  # RFC 6066 section 3: no addresses
        return other

    def connection(self, connected: socket) -> SSL.Connection:
        """A client connection over `connected`, ready for its handshake."""
        connection = SSL.Connection(self._context, connected)
        connection.set_connect_state()
        if self._sni is not None:
            connection.set_tlsext_host_name(self._sni)
        if self.session is not None and self.settings.resumes:
            connection.set_session(self.session)
        return connection

    def verify(self, connection: SSL.Connection) -> str | None:
        """After the handshake: what is wrong with the server's certificate, in words, or None.

        OpenSSL has checked the chain by now, but not the name; and of a resumed session it checks nothing, so the dates
        are looked at again here.
        """
        if self.settings.verify != "required":
            return None
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return "the server showed no certificate"
        end = certificate.not_valid_after_utc
        self.theirs_end = end.timestamp()
        if end < datetime.now(timezone.utc):
            return f"certificate has expired ({name_of(certificate.subject)})"
        if self.name is None:
            return None
        try:
            if _is_address(self.name):
                service_identity.pyopenssl.verify_ip_address(connection, self.name)
            else:
                service_identity.pyopenssl.verify_hostname(connection, self.name)
        except (service_identity.VerificationError, service_identity.CertificateError):
            return f"the certificate is not for {self.name!r}, it is for {_names(certificate)}"
        return None

    def explain(self, connection: SSL.Connection, error: SSL.Error) -> str:
        """A failed handshake in words: OpenSSL's reason, what it means, and the file concerned."""
        fault = connection.get_app_data()
        if fault is not None:
            return (
                f"certificate verify failed: {fault}; trusted are those of ca-file {self.settings.ca_file or SYSTEM_CA}"
            )
        return self.meaning(openssl_reason(error))

    def meaning(self, reason: str) -> str:
        """OpenSSL's reason, and what it means here, if we know more.

        In TLS 1.3 a server may refuse our certificate after the handshake looked complete to us (RFC 8446 section 4.4.2),
        so this is asked for ends of fresh connections, too.
        """
        if any(word in reason for word in _CLIENT_CERTIFICATE_ALERTS):
            ours = f"crt {self.settings.crt}" if self.settings.crt else "and no crt is configured"
            return f"{reason}: the server refused our client certificate ({ours})"
        if "wrong version number" in reason or "http request" in reason:
            return f"{reason}: the server does not speak TLS on this port"
        if "alert handshake failure" in reason and self.settings.crt is None:
            return (
                f"{reason}: no common parameters, or the server demands a client certificate and no crt is configured"
            )
        return reason


#: Alerts by which a server refuses a client certificate (RFC 8446 section 6.2), in OpenSSL's words.
_CLIENT_CERTIFICATE_ALERTS = (
    "alert unknown ca",
    "alert bad certificate",
    "alert certificate required",
    "alert certificate expired",
    "alert certificate revoked",
    "alert certificate unknown",
    "alert unsupported certificate",
    "alert access denied",
    "alert decrypt error",
)


class ClientTLSTransport(TLSTransport):
    """A connection to a server, handshaken and verified."""

    __slots__ = ("_context",)

    def __init__(
        self, poller: Poller, connected: socket, peer: Peer, tls: SSL.Connection, context: ClientContext
    ) -> None:
        TLSTransport.__init__(self, poller, connected, peer, tls)
        self._context = context

    def remember_session(self) -> None:
        """Leave this connection's session for later ones to resume. In TLS 1.3 it comes with or after the first answer."""
        session = self._tls.get_session()
        if session is not None:
            self._context.session = session


def _note_verify_fault(connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
    if not ok and connection.get_app_data() is None:
        subject = name_of(certificate.to_cryptography().subject)
        connection.set_app_data(VerifyFault(error, depth, subject))
    return bool(ok)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _wire_name(name: str) -> bytes:
    """A host name as it goes over the wire; one that no certificate could ever carry is a fault of the configuration."""
    try:
        if not _is_address(name):
            service_identity.hazmat.DNS_ID(name)
        return name.encode("idna")
    except (ValueError, ImportError):
        raise TLSConfigurationError(f"{name!r} is not a host name") from None


def _names(certificate: Any) -> str:
    """The names a certificate carries, for a message."""
    patterns = service_identity.cryptography.extract_patterns(certificate)
    names = [str(getattr(pattern, "pattern", pattern)) for pattern in patterns]
    return ", ".join(name[2:-1] if name.startswith("b'") else name for name in names) or "no name at all"
