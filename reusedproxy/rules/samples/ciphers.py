"""Encrypts and decrypts by AES (manual, section 7.3.1: `aes_gcm_…`, `aes_cbc_…`).

Keys and nonces are in base64, in the configuration or in variables. What cannot be decrypted, and a key of another
length than the converter says, gives no sample.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from reusedproxy.config.rules.variables import is_variable
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.samples.casts import to_binary, to_text

Convert = Callable[[Any, Facts], Sample]

#: Bytes of the tag that AES-GCM adds.
TAG = 16
#: Bytes of a block of AES, which are those of the first vector of CBC, too.
_BLOCK = 16


def given(text: str) -> Callable[[Facts], bytes | None]:
    """Returns what decodes an argument that is in base64, or in a variable, in base64 too."""

    def read(facts: Facts) -> bytes | None:
        said = to_text(facts.variable(text)) if is_variable(text) else text.encode()
        try:
            return None if said is None else b64decode(said, validate=True)
        except BadBase64:
            return None

    return read


def _aes_gcm_dec(bits: str, nonce: str, key: str, tag: str, more: str = "") -> Convert:
    size, parts = int(bits) // 8, [given(each) for each in (nonce, key, tag)]
    associated = given(more) if more else None

    def convert(sample: bytes, facts: Facts) -> Sample:
        first, secret, seal = (read(facts) for read in parts)
        also = None if associated is None else associated(facts)
        if first is None or secret is None or seal is None or (associated is not None and also is None):
            return None
        if len(secret) != size or len(seal) != TAG:
            return None
        try:
            return Binary(AESGCM(secret).decrypt(first, bytes(sample) + seal, also))
        except (InvalidTag, ValueError):
            return None

    return convert


def _aes_gcm_enc(bits: str, nonce: str, key: str, tag: str, more: str = "") -> Convert:
    """Makes `aes_gcm_enc`, which sets the variable `tag` to the authentication tag, in base64."""
    size, parts = int(bits) // 8, [given(each) for each in (nonce, key)]
    associated = given(more) if more else None

    def convert(sample: bytes, facts: Facts) -> Sample:
        first, secret = (read(facts) for read in parts)
        also = None if associated is None else associated(facts)
        if first is None or secret is None or len(secret) != size or (associated is not None and also is None):
            return None
        try:
            sealed = AESGCM(secret).encrypt(first, bytes(to_binary(sample) or b""), also)
        except ValueError:
            return None
        facts.set_variable(tag, b64encode(sealed[-TAG:]))
        return Binary(sealed[:-TAG])

    return convert


def decrypted_cbc(secret: bytes, vector: bytes, data: bytes) -> bytes | None:
    """Returns what was encrypted by AES-CBC with PKCS #7 padding; None if the padding is none, which an attacker may
    learn from: who takes what clients send must have authenticated it before."""
    if len(vector) != _BLOCK or not data or len(data) % _BLOCK:
        return None
    opened = Cipher(AES(secret), CBC(vector)).decryptor()
    plain = opened.update(data) + opened.finalize()
    unpadded = PKCS7(8 * _BLOCK).unpadder()
    try:
        return unpadded.update(plain) + unpadded.finalize()
    except ValueError:
        return None


def _encrypted_cbc(secret: bytes, vector: bytes, data: bytes) -> bytes:
    padder, sealed = PKCS7(8 * _BLOCK).padder(), Cipher(AES(secret), CBC(vector)).encryptor()
    return sealed.update(padder.update(data) + padder.finalize()) + sealed.finalize()


def _aes_cbc(cipher: Callable[[bytes, bytes, bytes], bytes | None]) -> Callable[[str, str, str], Convert]:
    def make(bits: str, nonce: str, key: str) -> Convert:
        size, vector_of, key_of = int(bits) // 8, given(nonce), given(key)

        def convert(sample: bytes, facts: Facts) -> Sample:
            vector, secret = vector_of(facts), key_of(facts)
            if vector is None or secret is None or len(secret) != size:
                return None
            # As in HAProxy, a short one is filled up, and of a long one only the first bytes count.
            made = cipher(secret, vector[:_BLOCK].ljust(_BLOCK, b"\0"), bytes(sample))
            return None if made is None else Binary(made)

        return convert

    return make


CIPHER_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "aes_gcm_dec": _aes_gcm_dec,
    "aes_gcm_enc": _aes_gcm_enc,
    "aes_cbc_dec": _aes_cbc(decrypted_cbc),
    "aes_cbc_enc": _aes_cbc(_encrypted_cbc),
}
