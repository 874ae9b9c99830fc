"""Parses the value of `pin-sha256`: pins of keys (RFC 7469 section 2.4). It must never know certificates."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode

from reusedproxy.config.language.report import Wrong

#: How curl (`--pinnedpubkey`) and the field Public-Key-Pins begin a pin.
_PREFIX = re.compile(r"sha256//|pin-sha256=")
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}\Z")


def read_pins(argument: str, what: str) -> tuple[str, ...]:
    """Parses pins with commas between them: each the base64 of the 32 bytes of a SHA-256. Raises Wrong."""
    return tuple(dict.fromkeys(_pin(each, what) for each in argument.split(",")))


def _pin(text: str, what: str) -> str:
    if prefix := _PREFIX.match(text):
        raise Wrong(f"{what}: '{text}' is written without '{prefix[0]}': {text[prefix.end() :]}")
    if _HEXADECIMAL.match(text):
        digest = bytes.fromhex(text.replace(":", ""))
        raise Wrong(
            f"{what}: '{text}' is hexadecimal, and a pin is in base64: {_encoded(digest)}, if that is the SHA-256 of"
            " the key; a certificate's fingerprint is another one"
        )
    try:
        digest = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32 or _encoded(digest) != text:
        raise Wrong(
            f"{what}: '{text}' is no pin: it is the base64 of the SHA-256 of a key, 44 characters with '=' at the end;"
            " 'reusedproxy doctor' shows that of a server"
        )
    return text


def _encoded(digest: bytes) -> str:
    return b64encode(digest).decode("ascii")
