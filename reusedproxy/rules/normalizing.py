"""Normalizes request targets (`normalize-uri`, RFC 3986 section 6): pure bytes.

Each function takes a path, or a query, and returns it normalized. As in HAProxy, a target is normalized as it stands,
and what is not well-formed stays as it is, unless the rule is `strict`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter

_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES = re.compile(rb"//+")


class Malformed(Exception):
    """Says that a strict normalizer has met a percent sign without two hexadecimal digits."""


def merge_slashes(path: bytes) -> bytes:
    return _SLASHES.sub(b"/", path)


def strip_dot(path: bytes) -> bytes:
    """Removes segments that are one dot; of one at the end the slash before it stays."""
    segments = path.split(b"/")
    kept = [each for each in segments[:-1] if each != b"."]
    return b"/".join([*kept, b"" if segments[-1] == b"." else segments[-1]])


def strip_dotdot(path: bytes, full: bool) -> bytes:
    """Removes segments of two dots with the segment before each; those at the beginning only if `full`."""
    first, *segments = path.split(b"/")
    kept: list[bytes] = []
    ends = bool(segments) and segments[-1] == b".."
    for segment in segments:
        if segment != b"..":
            kept.append(segment)
        elif kept and kept[-1] != b"..":
            kept.pop()
        elif not full:
            kept.append(segment)
    if ends:
        kept.append(b"")
    return b"/".join([first, *kept])


def decode_unreserved(text: bytes, strict: bool) -> bytes:
    """Decodes what need not be encoded. Raises Malformed if `strict`."""

    def decoded(found: re.Match[bytes]) -> bytes:
        digits = found[1]
        if digits is None:
            return _unless(strict, found)
        number = int(digits, 16)
        return bytes((number,)) if number in _UNRESERVED else found[0]

    return _ENCODED.sub(decoded, text)


def uppercase(text: bytes, strict: bool) -> bytes:
    """Writes hexadecimal digits of encoded characters in upper case. Raises Malformed if `strict`."""
    return _ENCODED.sub(lambda found: found[0].upper() if found[1] is not None else _unless(strict, found), text)


def _unless(strict: bool, found: re.Match[bytes]) -> bytes:
    if strict:
        raise Malformed
    return found[0]


def sort_by_name(query: bytes) -> bytes:
    """Sorts the parameters of a query by name; those of one name keep their order."""
    # As in HAProxy, nothing behind the last ampersand is no parameter.
    named = [(each.partition(b"=")[0], each) for each in query.removesuffix(b"&").split(b"&")]
    named.sort(key=itemgetter(0))
    return b"&".join([each for _, each in named])


#: Of the path; each is told whether its option is given.
OF_PATH: dict[str, Callable[[bytes, bool], bytes]] = {
    "path-merge-slashes": lambda path, said: merge_slashes(path),
    "path-strip-dot": lambda path, said: strip_dot(path),
    "path-strip-dotdot": strip_dotdot,
}
#: Of path and query together.
OF_BOTH: dict[str, Callable[[bytes, bool], bytes]] = {
    "percent-decode-unreserved": decode_unreserved,
    "percent-to-uppercase": uppercase,
    "fragment-encode": lambda text, said: text.replace(b"#", b"%23"),
    "fragment-strip": lambda text, said: text.partition(b"#")[0],
}
