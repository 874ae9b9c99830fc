"""Makes TLS connections to a server like those of its `ClientContext`, and tells what their handshakes have shown.

It is for a process that examines servers, and must never be used where requests are served: it looks at each step of a
handshake.
"""

from __future__ import annotations

from socket import socket

from attrs import define, frozen
from cryptography import x509
from OpenSSL import SSL

from reusedproxy.net.tls.client import ClientContext, Seen, note_progress
from reusedproxy.net.tls.files import certificates_of
from reusedproxy.net.tls.openssl_server import group_name, resumes
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.net.tls.words import UNREADABLE, VerifyFault, certificate_words, name_of, printable

#: How OpenSSL describes the state after the server has asked for our certificate, and after we have shown one, or that
#: we have none, which is done only where it has.
_ASKED = (b"read server certificate request", b"write client certificate")


@define
class Watched(Seen):
    """Records what one handshake has shown. `asked` tells that the server has asked for our certificate."""

    asked: bool = False


@frozen
class Authority:
    """Names a CA whose certificates the server accepts, by its name in DER and in words."""

    der: bytes
    name: str


@frozen
class Handshake:
    """Describes a handshake that is complete. `group` is that of the key exchange, "" where it is not known; `asked`
    tells that the server has asked for our certificate, and `authorities` are the CAs that it has named then; `chain`
    are its certificates, its own first. In a resumed session certificates are neither shown nor asked for."""

    version: str
    cipher: str
    group: str
    alpn: str
    resumed: bool
    asked: bool
    authorities: tuple[Authority, ...]
    chain: tuple[x509.Certificate, ...]
    #: The time until which a stapled OCSP answer vouches for the server's own (Unix time); None: there is none.
    vouched_until: float | None = None

    @property
    def certificate(self) -> x509.Certificate | None:
        """Returns the server's own certificate; None where it cannot be read."""
        return self.chain[0] if self.chain else None


class ObservedContext(ClientContext):
    """Does what another context of the same settings does, beginning without a session. `last` is what is known of the
    newest handshake."""

    def __init__(self, other: ClientContext, trusts: Trusts) -> None:
        """Reads the files of the `other` context again, and takes its name. Raises TLSConfigurationError."""
        super().__init__(other.settings, trusts)
        self.name, self._sni = other.name, other._sni
        self.last: Watched | None = None
        self._connection: SSL.Connection | None = None
        self._context.set_info_callback(_note)

    def connection(self, connected: socket) -> SSL.Connection:
        connection = super().connection(connected)
        self.last = Watched(self, good_until=connection.get_app_data().good_until)
        connection.set_app_data(self.last)
        self._connection = connection
        return connection

    @property
    def handshake(self) -> Handshake:
        """Returns what the newest handshake, which is complete, has agreed on and shown."""
        connection = self._connection
        assert connection is not None and self.last is not None
        return Handshake(
            connection.get_protocol_version_name(),
            connection.get_cipher_name() or "",
            group_name(connection),
            connection.get_alpn_proto_negotiated().decode("latin-1"),
            resumes(connection),
            self.last.asked,
            tuple(_authorities(connection)),
            tuple(_chain(connection)),
            self.last.vouched_until,
        )

    @property
    def fault(self) -> VerifyFault | None:
        """Returns what OpenSSL found wrong with the certificate in the newest handshake, or None."""
        return None if self.last is None else self.last.fault

    @property
    def for_other_names(self) -> bool:
        """Tells whether the newest handshake has failed because the certificate is for other names."""
        return self.last is not None and bool(self.last.misnamed)

    @property
    def is_unpinned(self) -> bool:
        """Tells whether the newest handshake has failed because no key of the chain is pinned."""
        return self.last is not None and bool(self.last.unpinned)

    @property
    def is_unvouched(self) -> bool:
        """Tells whether the newest handshake has failed by the stapled OCSP answer, or because there was none."""
        return self.last is not None and bool(self.last.unvouched)

    @property
    def asked(self) -> bool:
        """Tells whether the server has asked for our certificate in the newest handshake, complete or not."""
        return self.last is not None and self.last.asked

    def names_issuer_of_ours(self, authorities: tuple[Authority, ...]) -> bool:
        """Tells whether one of these is a CA that our certificate leads to: its issuer, or one of the chain's."""
        named = {each.der for each in authorities} | {each.name for each in authorities}
        return any(
            each.issuer.public_bytes() in named or name_of(each.issuer) in named for each in self._ours_with_chain
        )

    @property
    def words_of_ours(self) -> str:
        """Returns our certificate in words; "" without one."""
        return "" if self.ours is None else certificate_words(self.ours, names=False)

    @property
    def _ours_with_chain(self) -> list[x509.Certificate]:
        if self.ours is None or self.settings.crt is None:
            return []
        return [self.ours, *certificates_of(self.settings.crt)]


def _note(connection: SSL.Connection, where: int, value: int) -> None:
    note_progress(connection, where, value)
    if where & SSL.SSL_CB_LOOP:
        seen = connection.get_app_data()
        if isinstance(seen, Watched) and any(each in connection.get_state_string() for each in _ASKED):
            seen.asked = True


def _authorities(connection: SSL.Connection) -> list[Authority]:
    found = []
    for each in connection.get_client_ca_list():
        parts = [(kind.decode("latin-1"), value.decode("utf-8", "replace")) for kind, value in each.get_components()]
        name = printable(",".join(f"{kind}={value}" for kind, value in reversed(parts)))
        found.append(Authority(each.der(), name or "an empty name"))
    return found


def _chain(connection: SSL.Connection) -> list[x509.Certificate]:
    found = []
    for each in connection.get_peer_cert_chain() or ():
        try:
            found.append(each.to_cryptography())
        except UNREADABLE:
            break
    return found
