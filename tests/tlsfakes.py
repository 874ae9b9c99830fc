"""Certificates made in a moment, and what a TLS connection would tell of one."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache

from attrs import define
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls import openssl
from reusedproxy.rules.samples.certificates import parts
from reusedproxy.wire.hello_lists import HelloLists


def call_methods(test: SynchronousTestCase) -> None:
    """Has TLS transports call pyOpenSSL's public methods, as where its private names are not those that are known."""
    names = (
        *("SSL_read", "SSL_write", "_SSL_do_handshake", "_SSL_get_error"),
        *("places", "view", "raise_error", "_writable", "_direct"),
    )
    for name, method in zip(names, (*openssl.by_methods(), None), strict=True):
        test.patch(openssl, name, method)


CN = b"\x06\x03\x55\x04\x03"


@define
class Side:
    """`reusedproxy.rules.facts.TLSSide`, of a client that has shown this certificate."""

    certificate: bytes | None = None
    version: str = "TLSv1.3"
    cipher: str = "TLS_AES_256_GCM_SHA384"
    cipher_bits: int = 256
    sni: bytes | None = b"a.test"
    alpn: bytes = b"http/1.1"
    resumed: bool = False
    verify_result: int = 0
    handshake_error: int | None = 0
    certificate_error: int = 0
    authority_error: tuple[int, int] = (0, 0)
    #: What was shown above it.
    above: tuple[bytes, ...] = ()
    hello_lists: HelloLists | None = None
    own_certificate: bytes | None = None
    own_name: str | None = "/tls/a.pem"
    root: bytes | None = None
    group: str = "x25519"
    #: A session of OpenSSL's: two numbers, the cipher, its ID and more.
    session: bytes | None = bytes.fromhex("30100201010202030304021302040201020400")
    master_key: bytes | None = b"m"
    client_random: bytes | None = b"c"
    server_random: bytes | None = b"s"
    first_finished: bytes | None = b"f"

    def suite_names(self, numbers: tuple[int, ...]) -> list[str]:
        return [f"name of {number:04x}" if number == 0x1301 else "" for number in numbers]

    @property
    def chain(self) -> list[bytes]:
        return [] if self.certificate is None else [self.certificate, *self.above]


@cache
def _plain() -> bytes:
    """A self-signed certificate with an empty subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 7, _at(2020), _at(2049))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _at(year: int) -> datetime:
    return datetime(year, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes((size,)) if size < 128 else bytes((0x82, size >> 8, size & 0xFF))
    return bytes((tag,)) + length + content


def name(entries: list[tuple[str, str]], tag: int = 0x0C) -> bytes:
    """The DER of a name; only CN is known here, of which any text is made, whatever a library would say to it."""
    rdns = b""
    for kind, text in entries:
        assert kind == "CN"
        value = _der(tag, text.encode("utf-8", "surrogatepass"))
        rdns += _der(0x31, _der(0x30, CN + value))
    return _der(0x30, rdns)


def certificate(subject: list[tuple[str, str]], extensions: dict[bytes, bytes] | None = None) -> bytes:
    """The DER of a certificate with this subject, and these extensions by the DER of their identifiers; its signature
    is another's, which nobody looks at."""
    tbs, algorithm, signature = parts(next(parts(_plain())).content)
    fields = [part.whole for part in parts(tbs.content)]
    fields[5] = name(subject)  # version, serial, signature, issuer, validity, subject
    if extensions is not None:
        of = (_der(0x30, kind + b"\1\1\xff" + _der(4, value)) for kind, value in extensions.items())
        fields[7:] = [_der(0xA3, _der(0x30, b"".join(of)))]
    return _der(0x30, _der(0x30, b"".join(fields)) + algorithm.whole + signature.whole)
