"""Computes pins: a certificate's key in the form in which the configuration names it (`pin-sha256`).

A pin is the base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469 section 2.4), so a certificate that is renewed
for the same key keeps it. The bytes are those of the certificate: a key that was decoded and encoded again may come out
otherwise. It must never know whose certificate it is.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from reusedproxy.rules.samples import certificates


def pin_of(certificate: Certificate) -> str:
    """Returns the pin of a certificate's key: 44 characters of base64."""
    return pin_of_der(certificate.public_bytes(Encoding.DER))


def pin_of_der(certificate: bytes) -> str:
    """Returns the pin of the key of a certificate in DER, which OpenSSL has accepted."""
    return b64encode(sha256(certificates.Certificate(certificate).key()).digest()).decode("ascii")
