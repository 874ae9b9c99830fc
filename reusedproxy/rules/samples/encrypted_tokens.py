"""Decrypts JSON Web Tokens in the compact form of RFC 7516 (`jwt_decrypt_secret`, `jwt_decrypt_jwk`,
`jwt_decrypt_cert`).

A token says by which algorithms it is encrypted, so its sender chooses them: a key opens only what is encrypted by an
algorithm of its kind, and RSA1_5 is refused, as RFC 8725 (section 3.2) asks for. What cannot be decrypted, or has been
changed on its way, gives no sample. It must never know whose token it is: what is in it is for other rules.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.token_keys import PrivateKey, TokenKey, curve_point, read_jwk, read_private_key
from reusedproxy.config.rules.variables import is_variable
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.samples.casts import to_text
from reusedproxy.rules.samples.ciphers import TAG, decrypted_cbc, given
from reusedproxy.rules.samples.encodings import part_decoded

Convert = Callable[[Any, Facts], Sample]
Header = Mapping[str, Any]

#: Algorithms that wrap the key of the content, with the bytes of the key that they take (RFC 7518, section 4).
_WRAPS = {"A128KW": 16, "A192KW": 24, "A256KW": 32}
_GCM_WRAPS = {"A128GCMKW": 16, "A192GCMKW": 24, "A256GCMKW": 32}
_OAEP: dict[str, hashes.HashAlgorithm] = {"RSA-OAEP": hashes.SHA1(), "RSA-OAEP-256": hashes.SHA256()}
_AGREES = "ECDH-ES"
#: Algorithms of contents, with the bytes of their keys (RFC 7518, section 5): half of one for CBC authenticates.
_GCM = {"A128GCM": 16, "A192GCM": 24, "A256GCM": 32}
_CBC = {"A128CBC-HS256": ("sha256", 32), "A192CBC-HS384": ("sha384", 48), "A256CBC-HS512": ("sha512", 64)}
#: What a token's header may ask for, and is not done here: more than a plain decryption.
_REFUSED = ("crit", "zip")


#: Parts of a token in the compact form (RFC 7516 section 7.1), and keys that are known for each rule.
PARTS, KEYS = 5, 16


class _Undecrypted(Exception):
    """Says that a token cannot be decrypted by this key."""


def decrypted(token: bytes, key: TokenKey) -> bytes | None:
    """Returns the content of a token; None if it cannot be decrypted by the key."""
    parts = token.split(b".")
    if len(parts) != PARTS:
        return None
    first, wrapped, vector, sealed, tag = (part_decoded(part) for part in parts)
    if first is None or wrapped is None or vector is None or sealed is None or tag is None:
        return None
    try:
        header = json.loads(first)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or any(word in header for word in _REFUSED):
        return None
    try:
        return _content(header, parts[0], _content_key(header, wrapped, key), vector, sealed, tag)
    except (_Undecrypted, InvalidTag, InvalidUnwrap, ValueError):
        return None


def _content_key(header: Header, wrapped: bytes, key: TokenKey) -> bytes:
    """Returns the key of the content. Raises _Undecrypted, InvalidTag, InvalidUnwrap or ValueError."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise _Undecrypted
    if isinstance(key, bytes):
        return _by_secret(header, algorithm, wrapped, key)
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm not in _OAEP:
            raise _Undecrypted
        chosen = _OAEP[algorithm]
        return key.decrypt(wrapped, OAEP(MGF1(chosen), chosen, None))
    return _by_agreement(header, algorithm, wrapped, key)


def _by_secret(header: Header, algorithm: str, wrapped: bytes, secret: bytes) -> bytes:
    if algorithm == "dir":
        if wrapped:
            raise _Undecrypted
        return secret
    size = _WRAPS.get(algorithm) or _GCM_WRAPS.get(algorithm)
    if size is None or len(secret) != size:
        raise _Undecrypted
    if algorithm in _WRAPS:
        return aes_key_unwrap(secret, wrapped)
    vector, tag = _field(header, "iv"), _field(header, "tag")
    if len(tag) != TAG:
        raise _Undecrypted
    return AESGCM(secret).decrypt(vector, wrapped + tag, None)


def _by_agreement(header: Header, algorithm: str, wrapped: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Returns the key agreed on by ECDH-ES (RFC 7518, section 4.6), or what that unwraps."""
    content, _, wrap = algorithm.partition("+")
    direct = content == _AGREES and not wrap
    named = header.get("enc") if direct else algorithm
    size = _size_of(named) if direct else _WRAPS.get(wrap)
    if content != _AGREES or size is None or not isinstance(named, str) or (direct and wrapped):
        raise _Undecrypted
    theirs = curve_point(header.get("epk"))
    if theirs is None or theirs.curve.name != key.curve.name:
        raise _Undecrypted
    parties = [_field(header, each) if each in header else b"" for each in ("apu", "apv")]
    more = b"".join(len(each).to_bytes(4, "big") + each for each in (named.encode(), *parties))
    derivation = ConcatKDFHash(hashes.SHA256(), size, more + (8 * size).to_bytes(4, "big"))
    derived = derivation.derive(key.exchange(ec.ECDH(), theirs))
    return derived if direct else aes_key_unwrap(derived, wrapped)


def _size_of(algorithm: object) -> int | None:
    """Returns the bytes of a content's key; None for an unknown algorithm."""
    if not isinstance(algorithm, str):
        return None
    return _CBC[algorithm][1] if algorithm in _CBC else _GCM.get(algorithm)


def _field(header: Header, name: str) -> bytes:
    """Returns the bytes of a field in base64url. Raises _Undecrypted."""
    said = header.get(name)
    found = part_decoded(said.encode("utf-8", "replace")) if isinstance(said, str) else None
    if found is None:
        raise _Undecrypted
    return bytes(found)


def _content(header: Header, first: bytes, key: bytes, vector: bytes, sealed: bytes, tag: bytes) -> bytes:
    """Returns the content, which `tag` authenticates together with the header. Raises _Undecrypted or InvalidTag."""
    algorithm = header.get("enc")
    if _size_of(algorithm) != len(key):
        raise _Undecrypted
    if algorithm in _GCM:
        if len(tag) != TAG:
            raise _Undecrypted
        return AESGCM(key).decrypt(vector, sealed + tag, first)
    name, half = _CBC[str(algorithm)][0], len(key) // 2
    signed = first + vector + sealed + (8 * len(first)).to_bytes(8, "big")
    if not hmac.compare_digest(hmac.new(key[:half], signed, name).digest()[:half], tag):
        raise _Undecrypted
    plain = decrypted_cbc(key[half:], vector, sealed)
    if plain is None:
        raise _Undecrypted
    return plain


def _by_key(token: bytes, key: TokenKey | None) -> Sample:
    content = None if key is None else decrypted(token, key)
    return None if content is None else Binary(content)


def _jwt_decrypt_secret(said: str) -> Convert:
    secret = given(said)
    return lambda sample, facts: _by_key(sample, secret(facts))


def _jwt_decrypt_jwk(said: str) -> Convert:
    """Makes `jwt_decrypt_jwk`. Of keys that are in a variable the last few are known: to read one of RSA-2048 takes
    36 ms, as its primes are tested."""
    if not is_variable(said):
        known = read_jwk(said.encode("utf-8", "surrogateescape"))
        return lambda sample, facts: _by_key(sample, known)

    read = lru_cache(KEYS)(_key_or_none)

    def convert(sample: bytes, facts: Facts) -> Sample:
        text = to_text(facts.variable(said))
        if text is None or sample.count(b".") != PARTS - 1:
            return None
        return _by_key(sample, read(text))

    return convert


def _key_or_none(text: bytes) -> TokenKey | None:
    try:
        return read_jwk(text)
    except Wrong:
        return None


def _jwt_decrypt_cert(path: str) -> Convert:
    try:
        key: PrivateKey | None = read_private_key(path)
    except Wrong:
        key = None  # the file has gone since the configuration was read, which refuses what cannot be read
    return lambda sample, facts: _by_key(sample, key)


ENCRYPTED_TOKEN_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "jwt_decrypt_secret": _jwt_decrypt_secret,
    "jwt_decrypt_jwk": _jwt_decrypt_jwk,
    "jwt_decrypt_cert": _jwt_decrypt_cert,
}
