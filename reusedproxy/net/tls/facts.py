"""What one TLS connection tells of itself, for rules: asked of OpenSSL when a rule asks, and never before.

It is `reusedproxy.rules.facts.TLSSide` for any transport that is secure, whichever end of it we are.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto

from reusedproxy.net.tls.openssl_server import verify_result
from reusedproxy.net.transport import Transport

_UNREAD = object()


class TransportTLS:
    """One secure transport's. The certificate is taken out of OpenSSL once."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._tls: SSL.Connection = transport._tls
        self._certificate: Any = _UNREAD

    @property
    def version(self) -> str:
        version: str = self._transport.version
        return version

    @property
    def cipher(self) -> str:
        return self._tls.get_cipher_name() or ""

    @property
    def cipher_bits(self) -> int:
        return self._tls.get_cipher_bits() or 0

    @property
    def sni(self) -> bytes | None:
        return self._tls.get_servername()

    @property
    def alpn(self) -> bytes:
        return self._tls.get_alpn_proto_negotiated()

    @property
    def resumed(self) -> bool:
        resumed: bool = self._transport.resumed
        return resumed

    @property
    def verify_result(self) -> int:
        return verify_result(self._tls)

    @property
    def certificate_error(self) -> int:
        """Transports that let faults pass know which they were."""
        fault = getattr(self._transport, "crt_fault", None)
        return 0 if fault is None else int(fault.error)

    @property
    def authority_error(self) -> tuple[int, int]:
        fault = getattr(self._transport, "ca_fault", None)
        return (0, 0) if fault is None else (int(fault.error), int(fault.depth))

    @property
    def certificate(self) -> bytes | None:
        if self._certificate is _UNREAD:
            found = self._tls.get_peer_certificate()
            self._certificate = None if found is None else _der(found)
        certificate: bytes | None = self._certificate
        return certificate

    @property
    def chain(self) -> list[bytes]:
        """OpenSSL gives a server all but the client's own certificate, which stands first for us."""
        ders = [_der(each) for each in self._tls.get_peer_cert_chain() or []]
        own = self.certificate
        return ders if own is None or ders[:1] == [own] else [own, *ders]


def _der(certificate: crypto.X509) -> bytes:
    """OpenSSL's own, since other readers refuse some that it has taken."""
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def tls_side(transport: Transport) -> TransportTLS | None:
    """What its TLS tells; None: it is in the clear."""
    return TransportTLS(transport) if transport.secure else None
