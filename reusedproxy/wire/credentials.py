"""Parses what a client says of who it is: the fields Authorization and Proxy-Authorization (RFC 9110 section 11, RFC
7617). Pure.

Whether it says the truth is for others to find out.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence

from attrs import field, frozen

from reusedproxy.wire.grammar import OWS
from reusedproxy.wire.lists import members


@frozen
class Credentials:
    """Holds name and password of the scheme Basic."""

    user: bytes
    password: bytes = field(repr=False)


#: The schemes that are told apart, by their names in small letters.
_SCHEMES = {b"basic": b"Basic", b"bearer": b"Bearer"}


def auth_scheme(values: Sequence[bytes]) -> bytes | None:
    """Parses the scheme that the first of these fields names: Basic or Bearer, however it is written, else None.

    What follows may be anything: a rule that keeps a scheme out is to see it whether or not it is well-formed.
    """
    scheme, blank, _ = values[0].strip(b" \t").partition(b" ") if values else (b"", b"", b"")
    return _SCHEMES.get(scheme.lower()) if blank else None


def basic_credentials(values: Sequence[bytes]) -> Credentials | None:
    """Parses the values of all fields of the name that counts; None where they hold no name and password.

    As in HAProxy, the first member of a list counts, blanks may follow the scheme, and padding must be complete.
    Several fields are none: another program might read the other one. Neither is a NUL anywhere, behind which crypt(3)
    looks at nothing.
    """
    if len(values) != 1:
        return None
    scheme, blank, rest = members(values[0])[0].strip(OWS).partition(b" ")
    if not blank or scheme.lower() != b"basic":
        return None
    encoded = rest.lstrip(b" ")
    if len(encoded) % 4:
        return None  # Python takes more padding than is due
    try:
        text = b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    user, colon, password = text.partition(b":")
    if not colon or not user or b"\0" in text:
        return None
    return Credentials(user, password)


def bearer_token(values: Sequence[bytes]) -> bytes | None:
    """Parses the token behind the scheme Bearer, of a list the first; None where there is none, or several fields:
    another program might read the other one."""
    if len(values) != 1:
        return None
    scheme, blank, rest = members(values[0])[0].strip(OWS).partition(b" ")
    return rest.lstrip(b" ") or None if blank and scheme.lower() == b"bearer" else None
