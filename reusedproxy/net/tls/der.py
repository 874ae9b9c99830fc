"""Reads and writes elements of DER (X.690), for what cryptography would have to decode as a whole.

Pure; it must never know what the elements mean. Their tags are of one byte, as all of certificates and lists of revoked
ones are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone

from attrs import frozen

INTEGER, SEQUENCE, UTC_TIME, GENERALIZED_TIME = 0x02, 0x30, 0x17, 0x18

_TIME = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")


@frozen
class Element:
    """Says where an element is in the bytes that were read: from `start`, its content from `content`, to `end`, which
    may be behind these bytes."""

    tag: int
    start: int
    content: int
    end: int


def elements(data: bytes, at: int = 0, end: int | None = None) -> Iterator[Element]:
    """Returns the elements that stand one behind the other from `at` on to the `end`, or as far as the data go; those
    in the content of one are not among them. Raises ValueError where the data end within what says the length of one,
    where that says none (BER), and where one goes beyond the end."""
    last = len(data) if end is None else min(end, len(data))
    while at < last:
        if at + 2 > len(data):
            raise ValueError("an element is cut off")
        size, content = data[at + 1], at + 2
        if size & 0x80:
            begin, content = content, content + (size & 0x7F)
            if content > len(data):
                raise ValueError("an element is cut off")
            if content == begin:
                raise ValueError("an element does not say its length")
            size = int.from_bytes(data[begin:content], "big")
        found = Element(data[at], at, content, content + size)
        if end is not None and found.end > end:
            raise ValueError("an element is longer than what it stands in")
        yield found
        at = found.end


def time_in(data: bytes, element: Element) -> datetime:
    """Returns the time that an element holds (RFC 5280 section 4.1.2.5). Raises ValueError."""
    text = data[element.content : element.end]
    if element.tag == UTC_TIME:
        text = (b"19" if text >= b"50" else b"20") + text
    elif element.tag != GENERALIZED_TIME:
        raise ValueError("it is no time")
    parts = _TIME.fullmatch(text)
    if parts is None:
        raise ValueError("it is no time in UTC with seconds")
    year, month, day, hour, minute, second = map(int, parts.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)


def encoded(tag: int, content: bytes) -> bytes:
    """Returns an element with this content."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
