"""Reads the keys of JSON Web Tokens: the public ones that `jwt_verify` names, in a PEM file with a key or a
certificate, and those that `jwt_decrypt_…` need, in a PEM file or as a JSON Web Key (RFC 7517). Must never know tokens.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from reusedproxy.config.language.report import Wrong

#: The algorithms of RFC 7518 section 3.1, each with the hash's bits. "none" asks for no signature.
ALGORITHMS = tuple(f"{kind}{bits}" for kind in ("HS", "RS", "ES", "PS") for bits in (256, 384, 512)) + ("none",)
#: Bytes of a file, at most.
LARGEST = 1 << 20

Key = RSAPublicKey | EllipticCurvePublicKey
PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey
#: Bytes are a secret.
TokenKey = bytes | PrivateKey
#: By their names in keys (RFC 7518, section 6.2.1.1).
_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_RSA_NUMBERS = ("p", "q", "d", "dp", "dq", "qi")


def read_key(path: str) -> Key:
    """Returns the public key in this file. Raises Wrong if there is none of RSA or of an elliptic curve."""
    data = _read(path, "public key")
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


def read_private_key(path: str) -> PrivateKey:
    """Returns the private key in this file. Raises Wrong if there is none of RSA or of an elliptic curve."""
    data = _read(path, "private key")
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Wrong(f"{path} has no private key in PEM form, or one with a passphrase") from None
    if not isinstance(key, PrivateKey):
        raise Wrong(f"the key in {path} is neither of RSA nor of an elliptic curve: no token is encrypted for it")
    return key


def _read(path: str, what: str) -> bytes:
    try:
        if Path(path).exists() and not Path(path).is_file():  # a reload would wait for a pipe's other end
            raise Wrong(f"cannot read the {what} {path}: it is no regular file")
        with Path(path).open("rb") as file:
            return file.read(LARGEST)
    except OSError as error:
        raise Wrong(f"cannot read the {what} {path}: {error.strerror}") from None


def read_jwk(text: bytes) -> TokenKey:
    """Returns the key in a JSON Web Key of the type oct, EC or RSA. Raises Wrong, without a word of the key."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise Wrong("the key is no JSON") from None
    if not isinstance(said, dict):
        raise Wrong("the key is no JSON object")
    try:
        match said.get("kty"):
            case "oct":
                return _bytes(said, "k")
            case "EC":
                point = curve_point(said)
                if point is not None:
                    return ec.EllipticCurvePrivateNumbers(_number(said, "d"), point.public_numbers()).private_key()
            case "RSA":
                public = rsa.RSAPublicNumbers(_number(said, "e"), _number(said, "n"))
                p, q, d, dp, dq, qi = (_number(said, each) for each in _RSA_NUMBERS)
                return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key()
    except (ValueError, UnsupportedAlgorithm):
        raise Wrong("the key lacks numbers, or has wrong ones: a private key has all that RFC 7518 names") from None
    raise Wrong("the key is none of oct, EC (P-256, P-384, P-521) and RSA ('kty')")


def curve_point(said: object) -> EllipticCurvePublicKey | None:
    """Returns the public key in a JSON Web Key; None for one of a curve that is not known. Raises ValueError for what
    is no point of its curve."""
    if not isinstance(said, dict) or (curve := _CURVES.get(str(said.get("crv")))) is None:
        return None
    return ec.EllipticCurvePublicNumbers(_number(said, "x"), _number(said, "y"), curve).public_key()


def _number(said: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_bytes(said, name), "big")


def _bytes(said: Mapping[str, object], name: str) -> bytes:
    """Returns the bytes of a member in base64url. Raises ValueError."""
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(name)
    return urlsafe_b64decode(value + "=" * (-len(value) % 4))
