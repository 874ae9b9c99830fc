"""Makes the PROXY protocol headers for servers: those that say who the client of a connection is (`send-proxy`), and
those of checks, which have no client.

A header describes one client, whose connection it begins; what it says of a client's certificate it says together with
whether that was verified. Must never know pools.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from reusedproxy.config import model
from reusedproxy.config.model.proxies import UNIQUE_ID as OF_REQUESTS
from reusedproxy.config.rules.announced import TLS, TYPES
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.pool.named import NameRefused
from reusedproxy.rules.facts import Facts, TLSSide
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.certificates import Certificate, NotThere, entry
from reusedproxy.rules.samples.formats import text_of_body
from reusedproxy.wire.proxy_protocol import AUTHORITY, MOST_OF, UNIQUE_ID, write_v1, write_v2

#: What `client` of the extension about TLS says (PROXY protocol, section 2.2.6).
_OVER_TLS, _CERTIFICATE_NOW, _CERTIFICATE = 1, 2, 4
#: X509_V_ERR_UNSPECIFIED, for a client without a certificate: 0 would say that one was verified.
_NOT_VERIFIED: Final = 1

Extensions = Iterator[tuple[int, bytes]]


def announces_client(settings: model.Server, where: str = REQUEST) -> Callable[[Exchange], bytes] | None:
    """Returns the function that makes the PROXY protocol header with the client's address; None without `send-proxy`.
    It raises NameRefused where what is added to the header exceeds its limits."""
    version = settings.send_proxy
    if not version:
        return None
    if version == "v1":
        return lambda exchange: write_v1(exchange.source, exchange.destination)
    options = settings.proxy_options
    added = [(kind, text_of_body(made, where)) for kind, made in settings.extensions]

    def header(exchange: Exchange) -> bytes:
        try:
            said = [(kind, text(exchange)) for kind, text in added]
            said += _said_of(exchange, options)
            return write_v2(exchange.source, exchange.destination, said, checked="crc32c" in options)
        except ValueError as error:  # it is too long
            raise NameRefused(str(error)) from None
        except Exception as error:
            raise NameRefused(f"{settings.place}: {Unevaluated.by(error)}") from None

    return header


def announces_itself(version: str, options: frozenset[str] = frozenset()) -> Callable[[socket.socket], bytes] | None:
    """Returns the function that makes the PROXY protocol header for a check, sent from the proxy's own address (v1) or
    as LOCAL (v2); None without. Of the `options` of clients' headers it has the checksum."""
    if version == "v1":
        return lambda connected: write_v1(
            *(_address(name) for name in (connected.getsockname(), connected.getpeername()))
        )
    return (lambda connected: write_v2(None, None, checked="crc32c" in options)) if version else None


def _address(name: object) -> tuple[str, int] | None:
    return name[:2] if isinstance(name, tuple) else None


def _said_of(facts: Facts, options: frozenset[str]) -> Extensions:
    """Yields what a header says of a client by itself, and by `proxy-v2-options`."""
    tls = facts.client_tls
    if tls is not None and tls.alpn:
        yield TYPES["ALPN"], tls.alpn
    if "authority" in options:
        # As in HAProxy, that of the proxy before this one counts before the name that its TLS has asked for.
        announced = (facts.announced or {}).get(AUTHORITY, ())
        name = announced[0] if announced else None if tls is None else tls.sni
        if name is not None:
            yield AUTHORITY, name
    if OF_REQUESTS in options and (name := facts.unique_id):
        if len(name) > MOST_OF[UNIQUE_ID]:
            raise ValueError(f"a PROXY protocol header cannot have a unique ID of {len(name)} bytes")
        yield UNIQUE_ID, name
    if "ssl" in options:
        yield TLS, _about_tls(tls, options)


def _about_tls(tls: TLSSide | None, options: frozenset[str]) -> bytes:
    """Returns the extension about the client's TLS, with those within it (PROXY protocol, section 2.2.6)."""
    if tls is None:
        return struct.pack("!BI", 0, _NOT_VERIFIED)
    client, verified = _OVER_TLS, _NOT_VERIFIED
    if tls.certificate is not None:
        client |= _CERTIFICATE | (0 if tls.resumed else _CERTIFICATE_NOW)
        verified = tls.verify_result or tls.certificate_error or tls.authority_error[0]
    said = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in _within_tls(tls, options))
    return struct.pack("!BI", client, verified) + said


def _within_tls(tls: TLSSide, options: frozenset[str]) -> Extensions:
    yield TYPES["SSL_VERSION"], tls.version.encode()
    if "cert-cn" in options and (name := _common_name(tls.certificate)):
        yield TYPES["SSL_CN"], name
    # These two are of the certificate that the client was shown.
    if "cert-key" in options and (key := _key(tls.own_certificate)):
        yield TYPES["SSL_KEY_ALG"], key
    if "cert-sig" in options and (signature := _signature(tls.own_certificate)):
        yield TYPES["SSL_SIG_ALG"], signature
    if "ssl-cipher" in options:
        yield TYPES["SSL_CIPHER"], tls.cipher.encode()


def _common_name(der: bytes | None) -> bytes | None:
    try:
        return None if der is None else entry(Certificate(der).subject(), "CN", 1)
    except (NotThere, StopIteration, ValueError, IndexError):
        return None  # OpenSSL has accepted the certificate, but it lacks the field


def _signature(der: bytes | None) -> bytes | None:
    try:
        return None if der is None else Certificate(der).signature_algorithm()
    except (NotThere, StopIteration, ValueError, IndexError):
        return None


def _key(der: bytes | None) -> bytes | None:
    """Returns kind and bits of a certificate's key, as in RSA2048; None for a kind that HAProxy has no word for."""
    try:
        key = None if der is None else load_der_public_key(Certificate(der).key())
    except (NotThere, StopIteration, ValueError, IndexError, UnsupportedAlgorithm):
        return None
    for kind, word in ((RSAPublicKey, "RSA"), (EllipticCurvePublicKey, "EC"), (DSAPublicKey, "DSA")):
        if isinstance(key, kind):
            return f"{word}{key.key_size}".encode()
    return None
