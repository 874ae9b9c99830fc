"""Reads and edits the cookies in the values of Cookie and Set-Cookie, as HAProxy does: bytes in, bytes out.

The grammar of RFC 6265 is stricter than what clients send. In a request a comma separates cookies as a semicolon does,
neither does within the quotes of a value, blanks may stand around the equal sign, and a name that begins with a dollar
is an attribute of the cookie before it (RFC 2109).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

_BLANKS: Final = b" \t"
#: A value, up to a separator outside quotes; a quote that stays open reaches to the end. What follows it can always
#: match, so it never goes back, whatever the value.
_VALUE: Final = rb'=((?:[^,;"]+|"(?:[^"\\]+|\\.)*(?:"|\\?\Z))*)'
_COOKIE: Final = re.compile(rb"([ \t]*)([^=,;]*)(?:" + _VALUE + rb")?", re.DOTALL)
_SET_COOKIE: Final = re.compile(rb"([^=;]*)" + _VALUE, re.DOTALL)

_AROUND_EQUAL: Final = re.compile(rb"[ \t]=|=[ \t]")

#: Returns what the value of a cookie becomes; None removes the cookie.
Look = Callable[[bytes], "bytes | None"]


def edit_cookies(value: bytes, name: bytes, look: Look) -> bytes | None:
    """Edits the value of one Cookie header: calls `look` with the value of each cookie of this name, in order.

    Returns the new value, which may be the old one; None when nothing is left of the header. A cookie is removed with
    its attributes and one separator; attributes alone stay. Blanks around equal signs are taken out, of the other
    cookies, too.
    """
    if name not in value and not _AROUND_EQUAL.search(value):
        return value
    kept, keeps, removing = b"", False, False
    for separator, cookie in _pieces(value):
        text = cookie[0]
        blanks, said, content = cookie.groups()
        if said.startswith(b"$"):
            if not removing:
                kept += separator + text
            continue
        if content is not None:
            content = content.lstrip(_BLANKS)
            plain = said.rstrip(_BLANKS)
            if plain == name:
                given = content.rstrip(_BLANKS)
                made = look(given)
                if made is None:
                    removing = True
                    continue
                content = made + content[len(given) :]
            text = b"%b%b=%b" % (blanks, plain, content)
        keeps = True
        if not removing:
            kept += separator + text
        elif kept:
            kept = b"%b%b %b" % (kept.rstrip(_BLANKS), separator, text.lstrip(_BLANKS))
        else:
            kept = text.lstrip(_BLANKS)
        removing = False
    return kept if kept and (keeps or not removing) else None


def _pieces(value: bytes) -> Iterator[tuple[bytes, re.Match[bytes]]]:
    """Yields each cookie or attribute, an empty one, too, with the separator before it; the first has none."""
    separator, at = b"", 0
    while True:
        cookie = _COOKIE.match(value, at)
        assert cookie is not None
        yield separator, cookie
        at = cookie.end() + 1
        if at > len(value):
            return
        separator = value[at - 1 : at]


def edit_set_cookie(value: bytes, name: bytes, look: Look) -> bytes | None:
    """Edits the value of one Set-Cookie header: calls `look` with the cookie's value if it has this name.

    Returns the new value, which may be the old one; None removes the header. Blanks around the equal sign are taken
    out.
    """
    found = _SET_COOKIE.match(value)
    if found is None:
        return value
    plain, content = found[1].rstrip(_BLANKS), found[2].lstrip(_BLANKS)
    if plain == name:
        given = content.rstrip(_BLANKS)
        made = look(given)
        if made is None:
            return None
        content = made + content[len(given) :]
    return b"%b=%b%b" % (plain, content, value[found.end() :])


def first_cookie(values: Iterable[bytes], beginning: bytes) -> bytes | None:
    """Returns the first cookie, as `name=value`, that begins with this, in the values of Cookie headers; None if there
    is none."""
    for value in values:
        for _, cookie in _pieces(value):
            name, content = cookie[2].rstrip(_BLANKS), cookie[3]
            if content is not None and not name.startswith(b"$"):
                text = b"%b=%b" % (name, content.strip(_BLANKS))
                if text.startswith(beginning):
                    return text
    return None


def first_set_cookie(values: Iterable[bytes], beginning: bytes) -> bytes | None:
    """Returns the same of Set-Cookie headers, each of which has one."""
    for value in values:
        found = _SET_COOKIE.match(value)
        if found is not None:
            text = b"%b=%b" % (found[1].strip(_BLANKS), found[2].strip(_BLANKS))
            if text.startswith(beginning):
                return text
    return None


# The dates in cookies of HAProxy's.

_DIGITS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_SIZE: Final = 5


def write_date(seconds: int) -> bytes:
    """Writes a time, in seconds since 1970, as five digits to the base of 64 that count units of 4 s."""
    units = seconds >> 2
    return bytes(_DIGITS[units >> shift & 63] for shift in (24, 18, 12, 6, 0))


def read_date(text: bytes) -> int:
    """Reads what `write_date` writes at the beginning of `text`. Returns 0 for anything else.

    As in HAProxy the number has 32 bits and a sign: dates after 2038 are before 1970, so they have passed.
    """
    if len(text) < _SIZE:
        return 0
    units = 0
    for digit in text[:_SIZE]:
        if digit not in _VALUES:
            return 0
        units = units << 6 | _VALUES[digit]
    seconds = units << 2
    return seconds - (1 << 32) if seconds >= 1 << 31 else seconds
