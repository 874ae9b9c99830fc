"""Decodes base64url for converters (RFC 4648 section 5), with or without its padding."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from binascii import Error as BadBase64

from reusedproxy.rules.facts import Binary

_BASE64_URL = re.compile(rb"[A-Za-z0-9_-]*={0,2}\Z")


def part_decoded(text: bytes) -> Binary | None:
    """Returns the bytes of a part of a token, which has no padding (RFC 7515 section 2): with it, one token would have
    several spellings. None if the text is no such part."""
    return None if text[-1:] == b"=" else url_decoded(text)


def url_decoded(text: bytes) -> Binary | None:
    """Returns the bytes; None if the text is no base64url."""
    if not _BASE64_URL.match(text):
        return None
    try:
        return Binary(urlsafe_b64decode(text + b"=" * (-len(text) % 4)))
    except BadBase64:
        return None
