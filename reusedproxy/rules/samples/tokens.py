"""Verifies the signatures of JSON Web Tokens (`jwt_verify`; RFC 7515, RFC 7518).

Only the signature is verified: what a token says, and until when, is for rules about `jwt_payload_query`. Without
reading a file while requests come: keys are read when the configuration is.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.token_keys import ALGORITHMS, Key, read_key
from reusedproxy.config.rules.variables import is_variable
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.casts import to_text
from reusedproxy.rules.samples.encodings import part_decoded

Convert = Callable[[Any, Facts], Sample]

#: The results of `jwt_verify` (manual, section 7.3.1).
FAILED, VERIFIED, UNKNOWN_ALGORITHM, INVALID_TOKEN, UNKNOWN_KEY = 0, 1, -1, -3, -5
_HASHES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "256": ("sha256", hashes.SHA256()),
    "384": ("sha384", hashes.SHA384()),
    "512": ("sha512", hashes.SHA512()),
}
#: Bytes of signatures by elliptic curves (RFC 7518 section 3.4).
_SIZES = {"ES256": 64, "ES384": 96, "ES512": 132}


def verified(token: bytes, algorithm: str, secret: bytes, key: Key | None) -> int:
    """Returns the result for a token in the compact form; `secret` is for HS…, `key` for the others, None: unknown.

    A token may choose its algorithm (in a variable): without a signature it is not verified, and where there is a
    `key`, its `secret` is the name of a file, which is none.
    """
    if algorithm not in ALGORITHMS:
        return UNKNOWN_ALGORITHM
    parts = token.split(b".")
    if len(parts) != 3:
        return INVALID_TOKEN
    if algorithm == "none" or (key is not None and algorithm.startswith("HS")):
        return FAILED
    signature = part_decoded(parts[2])
    if not signature:
        return INVALID_TOKEN
    message = token[: len(token) - len(parts[2]) - 1]
    name, chosen = _HASHES[algorithm[2:]]
    if algorithm.startswith("HS"):
        return int(hmac.compare_digest(hmac.new(secret, message, name).digest(), signature))
    if key is None:
        return UNKNOWN_KEY
    if len(signature) != _SIZES.get(algorithm, len(signature)):
        return INVALID_TOKEN
    try:
        _verify(key, algorithm[:2], chosen, bytes(signature), message)
    except (InvalidSignature, ValueError):
        return FAILED
    return VERIFIED


def _verify(key: Key, kind: str, chosen: hashes.HashAlgorithm, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature unless the signature is of this kind, by this key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if kind != "ES":
            raise InvalidSignature
        size = len(signature) // 2
        halves = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        key.verify(encode_dss_signature(*halves), message, ec.ECDSA(chosen))
    elif kind == "RS":
        key.verify(signature, message, padding.PKCS1v15(), chosen)
    elif kind == "PS":
        form = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
        key.verify(signature, message, form, chosen)
    else:
        raise InvalidSignature


def _jwt_verify(algorithm: str, said: str) -> Convert:
    """Makes `jwt_verify`. The algorithm, the secret, and the name of the key's file may each be in a variable; a file
    is known if an expression of the configuration names it."""
    of_variable = is_variable(algorithm), is_variable(said)
    key = None
    if not of_variable[1] and not (algorithm.startswith("HS") and not of_variable[0]):
        try:
            key = read_key(said)
        except Wrong:
            key = None  # a secret, where the algorithm is in a variable; what else it is has been refused by then

    def convert(sample: bytes, facts: Facts) -> Sample:
        chosen = to_text(facts.variable(algorithm)) if of_variable[0] else algorithm.encode()
        secret = to_text(facts.variable(said)) if of_variable[1] else said.encode("utf-8", "surrogateescape")
        if not chosen or not secret:
            return None  # as HAProxy: anybody can sign with an empty secret
        return verified(sample, chosen.decode("latin-1"), secret, key)

    return convert


TOKEN_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "jwt_verify": _jwt_verify,
    "jwt_verify_cert": _jwt_verify,
}
