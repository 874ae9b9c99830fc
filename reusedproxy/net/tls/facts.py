"""Gives rules access to one TLS connection. OpenSSL is asked when a rule asks, and never before.

It implements `reusedproxy.rules.facts.TLSSide` for any transport with TLS, towards clients and towards servers.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto

from reusedproxy.net.tls.handshake import Verified
from reusedproxy.net.tls.openssl_server import group_name, names_of_suites, session_der, verify_result
from reusedproxy.net.tls.server import Kept
from reusedproxy.net.transport import Transport
from reusedproxy.wire.hello_lists import HelloLists

_UNREAD = object()


class TransportTLS:
    """Implements `TLSSide` for one TLS transport. The certificate is taken out of OpenSSL once."""

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
    def handshake_error(self) -> int:
        return 0

    @property
    def certificate_error(self) -> int:
        """Returns the number of the first fault that was let pass; 0 without one.

        Only transports that let faults pass have such a number.
        """
        fault = getattr(self._transport, "crt_fault", None)
        return 0 if fault is None else int(fault.error)

    @property
    def authority_error(self) -> tuple[int, int]:
        fault = getattr(self._transport, "ca_fault", None)
        return (0, 0) if fault is None else (int(fault.error), int(fault.depth))

    @property
    def hello_lists(self) -> HelloLists | None:
        lists: HelloLists | None = getattr(self._transport, "hello_lists", None)
        return lists

    def suite_names(self, numbers: tuple[int, ...]) -> list[str]:
        return names_of_suites(self._tls, numbers)

    @property
    def certificate(self) -> bytes | None:
        if self._certificate is _UNREAD:
            found = self._tls.get_peer_certificate()
            self._certificate = None if found is None else _der(found)
        certificate: bytes | None = self._certificate
        return certificate

    @property
    def own_certificate(self) -> bytes | None:
        own: Any = self._tls.get_certificate()
        return None if own is None else _der(own)

    @property
    def own_name(self) -> str | None:
        kept = self._tls.get_context().get_app_data()
        return kept.crt if isinstance(kept, Kept) else None

    @property
    def root(self) -> bytes | None:
        # With a fault, OpenSSL has the chain as far as it has come, of which anybody may have made the last one.
        verified = None if self.verify_result else self._tls.get_verified_chain()
        return _der(verified[-1]) if verified else None

    @property
    def group(self) -> str:
        return group_name(self._tls)

    @property
    def session(self) -> bytes | None:
        return session_der(self._tls)

    @property
    def master_key(self) -> bytes | None:
        return self._tls.master_key()

    @property
    def client_random(self) -> bytes | None:
        return self._tls.client_random()

    @property
    def server_random(self) -> bytes | None:
        return self._tls.server_random()

    @property
    def first_finished(self) -> bytes | None:
        clients = not self.resumed
        return self._tls.get_peer_finished() if clients == self._transport.serves else self._tls.get_finished()

    @property
    def chain(self) -> list[bytes]:
        """Returns the whole chain.

        To a server OpenSSL gives all but the client's own certificate, so that is put first here.
        """
        ders = [_der(each) for each in self._tls.get_peer_cert_chain() or []]
        own = self.certificate
        return ders if own is None or ders[:1] == [own] else [own, *ders]


class FailedTLS:
    """Implements `TLSSide` for a client's handshake that has failed: the faults of its certificate are known, and
    nothing else."""

    version = cipher = group = ""
    cipher_bits = 0
    alpn = b""
    resumed = False
    sni = hello_lists = certificate = own_certificate = own_name = root = session = handshake_error = None
    master_key = client_random = server_random = first_finished = None

    def __init__(self, verified: Verified) -> None:
        self.verify_result = verified.last
        self.certificate_error = verified.certificate
        self.authority_error = verified.authority, verified.depth

    @property
    def chain(self) -> list[bytes]:
        return []

    def suite_names(self, numbers: tuple[int, ...]) -> list[str]:
        return [""] * len(numbers)


def _der(certificate: crypto.X509) -> bytes:
    """Returns a certificate in DER as OpenSSL writes it, because other libraries refuse some
    that OpenSSL has accepted."""
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


def tls_side(transport: Transport) -> TransportTLS | None:
    """Returns access to the transport's TLS connection; None if it has no TLS."""
    return TransportTLS(transport) if transport.secure else None
