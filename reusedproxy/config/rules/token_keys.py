"""Reads the public keys that `jwt_verify` names: a PEM file with a key or a certificate. Must never know tokens."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from reusedproxy.config.language.report import Wrong

#: The algorithms of RFC 7518 section 3.1, each with the hash's bits. "none" asks for no signature.
ALGORITHMS = tuple(f"{kind}{bits}" for kind in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)) + ("none",)
#: Bytes of a file, at most.
LARGEST = 1 << 20

Key = RSAPublicKey | EllipticCurvePublicKey


def read_key(path: str) -> Key:
    """Returns the public key in this file. Raises Wrong if there is none of RSA or of an elliptic curve."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(LARGEST)
    except OSError as error:
        raise Wrong(f"cannot read the public key {path}: {error.strerror}") from None
    key: object
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            key = load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except ValueError:
        raise Wrong(f"{path} has no public key and no certificate in PEM form") from None
    if not isinstance(key, Key):
        raise Wrong(f"the key in {path} is neither of RSA nor of an elliptic curve: no algorithm of RFC 7518 uses it")
    return key
