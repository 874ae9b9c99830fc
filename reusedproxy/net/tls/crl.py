"""Takes lists of revoked certificates (RFC 5280 section 5) apart, in PEM and in DER, without decoding their entries.

cryptography decodes a list as a whole, and holds up the interpreter for it: 420,000 entries in 15 MB for 0.1 s. Here a
list of any length costs what its first and last parts do; what has to look at each byte is done in small pieces. Pure;
it must never know what a list is used for.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from attrs import frozen

from reusedproxy.net.tls.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, Element, elements, encoded, time_in

#: The lines around a list in PEM.
BEGINS, ENDS = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"

#: Bytes in base64 that are decoded at once, in 0.1 ms.
_PIECE = 1 << 16
#: Bytes in one line of PEM, and lines that are made at once.
_ROW, _ROWS = 48, 1024
#: Entries that are counted at once, in 0.1 ms.
_ENTRIES = 1000
#: Version, algorithm, issuer, two times and the entries.
_MOST_BEFORE = 6

#: From when to when a list is valid (Unix time); None: it says no end.
Span = tuple[float, "float | None"]


@frozen
class Parts:
    """Says where the parts of a list in DER are (RFC 5280 section 5.1); `until` and `entries` may be missing."""

    whole: Element
    signed: Element
    algorithm: Element
    issuer: Element
    since: Element
    until: Element | None
    entries: Element | None


@frozen
class Head:
    """Holds what stands before the entries of a list: how it is signed and by whom, in DER, and when it is valid; and
    the `size` of the whole."""

    size: int
    algorithm: bytes
    issuer: bytes
    span: Span


def blocks_of_lists(content: bytes) -> Iterator[tuple[int, int]]:
    """Returns where the lists in PEM begin and end. Looks at each byte once: a regular expression would look for the
    end again from each beginning, for hours where there is none."""
    end = 0
    while (start := content.find(BEGINS, end)) >= 0 and (last := content.find(ENDS, start)) >= 0:
        end = last + len(ENDS)
        yield start, end


def decoded(content: bytes, block: tuple[int, int]) -> Iterator[bytes]:
    """Decodes a list in PEM to pieces of DER. Raises ValueError for what is no base64."""
    left = b""
    start, end = block[0] + len(BEGINS), block[1] - len(ENDS)
    for at in range(start, end, _PIECE):
        left += content[at : min(at + _PIECE, end)].translate(None, b" \t\r\n")
        whole = left[: len(left) & ~3]
        piece = a2b_base64(whole)
        # It leaves out what is no base64, and all that follows a group with "=", which ends the text.
        if len(piece) != len(whole) // 4 * 3 - whole.count(b"="):
            raise ValueError("there is something else than base64")
        yield piece
        left = left[len(whole) :]
    if left:
        raise ValueError("the last group of base64 is cut off")


def head_in(first: bytes) -> Head:
    """Returns what the first bytes of a list in DER say. Raises ValueError, also where what stands before the entries
    is not all there."""
    parts = parts_in(first)
    return Head(
        parts.whole.end,
        first[parts.algorithm.start : parts.algorithm.end],
        first[parts.issuer.start : parts.issuer.end],
        (
            time_in(first, parts.since).timestamp(),
            None if parts.until is None else time_in(first, parts.until).timestamp(),
        ),
    )


def parts_in(first: bytes) -> Parts:
    """Finds the parts of a list of which the first bytes are there, as far as the entries at least. Raises
    ValueError."""
    whole = next(elements(first), None)
    signed = None if whole is None else next(elements(first, whole.content, whole.end), None)
    if whole is None or signed is None or not whole.tag == signed.tag == SEQUENCE:
        raise ValueError("it is no list")
    found = [*islice(elements(first, signed.content, signed.end), _MOST_BEFORE)]
    if found and found[0].tag == INTEGER:  # its version, which lists of version 1 do not say
        del found[0]
    if len(found) < 3 or found[2].end > len(first):
        raise ValueError("a part before the entries is missing")
    algorithm, issuer, since, *rest = found
    until = rest.pop(0) if rest and rest[0].tag in (UTC_TIME, GENERALIZED_TIME) else None
    entries = rest[0] if rest and rest[0].tag == SEQUENCE else None
    return Parts(whole, signed, algorithm, issuer, since, until, entries)


def whole_parts_in(der: bytes) -> Parts:
    """Finds the parts of a list that is all there. Raises ValueError, also where it does not end with its signature, or
    says in two ways how it is signed (RFC 5280 section 5.1.1.2)."""
    parts = parts_in(der)
    outer = [*islice(elements(der, parts.whole.content, parts.whole.end), 3)]
    if len(outer) < 3 or not parts.whole.end == outer[2].end == len(der):
        raise ValueError("it does not end with its signature")
    if der[outer[1].start : outer[1].end] != der[parts.algorithm.start : parts.algorithm.end]:
        raise ValueError("it says in two ways how it is signed")
    return parts


def without_entries(der: bytes, parts: Parts) -> bytes:
    """Returns a list as it would be without its entries, with the signature of the one that has them."""
    signed, entries = parts.signed, parts.entries
    if entries is None:
        return der
    rest = der[signed.content : entries.start] + der[entries.end : signed.end]
    return encoded(SEQUENCE, encoded(SEQUENCE, rest) + der[signed.end :])


def entries_in(der: bytes, parts: Parts) -> Iterator[tuple[int, datetime]]:
    """Returns the numbers of the certificates that are revoked, and since when. Raises ValueError."""
    if parts.entries is None:
        return
    for each in elements(der, parts.entries.content, parts.entries.end):
        found = [*islice(elements(der, each.content, each.end), 2)]
        if len(found) < 2:
            raise ValueError("an entry has no time")
        number, since = found
        yield int.from_bytes(der[number.content : number.end], "big", signed=True), time_in(der, since)


def counts_of_entries(der: bytes, parts: Parts) -> Iterator[int]:
    """Counts the entries, some at a time. Raises ValueError where they are no sequences that fill their place."""
    at, end = (parts.entries.content, parts.entries.end) if parts.entries is not None else (0, 0)
    while at < end:
        count = 0
        while at < end and count < _ENTRIES:
            if der[at] != SEQUENCE:
                raise ValueError("an entry is no sequence")
            size = der[at + 1]
            at = at + 2 + size if size < 0x80 else next(elements(der, at)).end
            count += 1
        yield count
    if at != end:
        raise ValueError("the last entry is cut off")


def encoded_block(der: bytes) -> Iterator[bytes]:
    """Returns a list in PEM (RFC 7468 section 6), in pieces, without the end of its last line."""
    yield BEGINS + b"\n"
    for at in range(0, len(der), _ROWS * _ROW):
        text = b2a_base64(der[at : at + _ROWS * _ROW], newline=False)
        yield b"".join([text[start : start + 64] + b"\n" for start in range(0, len(text), 64)])
    yield ENDS
