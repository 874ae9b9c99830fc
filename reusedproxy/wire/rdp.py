"""Finds the cookie in the first bytes of an RDP client (MS-RDPBCGR, section 2.2.1.1): `Cookie: mstshash=name`. It is
pure."""

from __future__ import annotations

#: Bytes before it: the heads of TPKT and X.224.
_HEADS = 11
_COOKIE = b"cookie:"
_END = b"\r\n"


class NoCookie(Exception):
    """Says that no such cookie is here, whatever else comes."""


def rdp_cookie(data: bytes, name: bytes) -> bytes | None:
    """Returns the value of the cookie of this name, whatever its case (b"": of any); None: it may still come. Only the
    first cookie is looked at, as in HAProxy (src/payload.c). Raises NoCookie."""
    begins = data[_HEADS : _HEADS + len(_COOKIE)].lower()
    if begins != _COOKIE:
        if _COOKIE.startswith(begins):
            return None
        raise NoCookie
    rest = data[_HEADS + len(_COOKIE) :].lstrip(b" ")
    line, end, _ = rest.partition(b"\r")
    found, sign, value = line.partition(b"=")
    if not sign:
        if end or b"\n" in line or (name and not name.lower().startswith(line.lower())):
            raise NoCookie
        return None
    if b"\n" in found or (name and found.lower() != name.lower()):
        raise NoCookie
    if not end or len(rest) < len(line) + len(_END):
        return None
    if rest[len(line) : len(line) + len(_END)] != _END:
        raise NoCookie
    return value
