"""Converters (manual, section 7.3.1), each made of its arguments: a function of a sample, already of the type that it takes,
and of the facts, which those need that take variables.

Integers are of 64 bits with a sign; what would be more stays at the limit, as in HAProxy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections.abc import Callable
from datetime import datetime, timezone
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from zlib import crc32

from reusedproxy.rules.facts import Address, Binary, Facts, Sample
from reusedproxy.rules.regular import Found, replaced, searching

#: The sample is of the type that the table says; a variable's value is whatever it holds.
Convert = Callable[[Any, Facts], Sample]

MAX, MIN = 2**63 - 1, -(2**63)

_HOST_PORT = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?\Z")
_INTEGER = re.compile(r"-?[0-9]+\Z")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_BACKWARDS = re.compile(rb"\\([0-9])")
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


# Text.


def _lower() -> Convert:
    return lambda sample, facts: sample.lower()


def _upper() -> Convert:
    return lambda sample, facts: sample.upper()


def _field(index: str, delimiters: str, count: str = "1") -> Convert:
    return lambda sample, facts: _part(sample, _cuts(sample, delimiters), int(index), int(count))


def _word(index: str, delimiters: str, count: str = "1") -> Convert:
    """As `field`, but fields without a character in them do not count."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        cuts = [(begin, end) for begin, end in _cuts(sample, delimiters) if begin != end]
        return _part(sample, cuts, int(index), int(count))

    return convert


def _cuts(sample: bytes, delimiters: str) -> list[tuple[int, int]]:
    """Where each field begins and ends."""
    begin, cuts = 0, []
    for at, byte in enumerate(sample):
        if byte in delimiters.encode():
            cuts.append((begin, at))
            begin = at + 1
    return [*cuts, (begin, len(sample))]


def _part(sample: bytes, cuts: list[tuple[int, int]], index: int, count: int) -> Sample:
    """`count` fields from the `index`th on (0: all), towards the end; a negative index counts from it, towards the front."""
    first = index - 1 if index > 0 else len(cuts) + index
    if not index or not 0 <= first < len(cuts):
        return None
    if index > 0:
        last = len(cuts) - 1 if count == 0 else min(first + count - 1, len(cuts) - 1)
    else:
        first, last = (0 if count == 0 else max(first - count + 1, 0)), first
    return sample[cuts[first][0] : cuts[last][1]]


def _host_only() -> Convert:
    return lambda sample, facts: _host_port(sample)[0]


def _port_only() -> Convert:
    """0 where there is none, as in HAProxy."""
    return lambda sample, facts: int(_host_port(sample)[1][:20] or b"0")


def _host_port(sample: bytes) -> tuple[bytes, bytes]:
    found = _HOST_PORT.match(sample)
    return (found[1], found[2] or b"") if found else (sample, b"")


def _ltrim(characters: str) -> Convert:
    return lambda sample, facts: sample.lstrip(characters.encode())


def _rtrim(characters: str) -> Convert:
    return lambda sample, facts: sample.rstrip(characters.encode())


def _regsub(pattern: str, instead: str, flags: str = "") -> Convert:
    search, make = searching(pattern, "i" in flags), references(instead.encode())
    return lambda sample, facts: replaced(search, make, sample, "g" in flags)


def references(template: bytes) -> Callable[[Found], bytes]:
    r"""What a replacement is made of: \1 to \9 are the groups, \0 is all that matched."""
    return lambda found: _BACKWARDS.sub(lambda number: _group(found, int(number[1])), template)


def _group(found: Found, number: int) -> bytes:
    try:
        return found[number] or b""
    except IndexError:
        return b""


def _url_dec(in_form: str = "0") -> Convert:
    """A plus is a blank behind the question mark only, or everywhere in what comes from a form."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        path, mark, query = (b"", b"", sample) if in_form not in ("", "0") else sample.partition(b"?")
        return _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), path + mark + query.replace(b"+", b" "))

    return convert


def _url_enc(kind: str = "query") -> Convert:
    return lambda sample, facts: b"".join(b"%c" % byte if byte in _UNRESERVED else b"%%%02X" % byte for byte in sample)


def _concat(start: str = "", name: str = "", end: str = "") -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        value = _text(facts.variable(name)) if name else b""
        return b"".join((sample, start.encode(), value, end.encode()))

    return convert


def _text(sample: Sample) -> bytes:
    if sample is None:
        return b""
    if isinstance(sample, bytes):
        return bytes(sample)
    return str(int(sample) if isinstance(sample, bool) else sample).encode()


def _length() -> Convert:
    return lambda sample, facts: len(sample)


def _strcmp(name: str) -> Convert:
    """Below 0, 0 or above it."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        other = facts.variable(name)
        return (sample > other) - (sample < other) if isinstance(other, bytes) else None

    return convert


def _secure_memcmp(name: str) -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        other = facts.variable(name)
        return hmac.compare_digest(bytes(sample), bytes(other)) if isinstance(other, bytes) else None

    return convert


# Bytes.


def _hex() -> Convert:
    return lambda sample, facts: sample.hex().upper().encode()


def _hex2i() -> Convert:
    """HAProxy reads as far as there are digits."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        found = re.match(rb"[0-9A-Fa-f]{1,16}", sample)
        return _bounded(int(found[0], 16)) if found else 0

    return convert


def _base64() -> Convert:
    return lambda sample, facts: b64encode(sample)


def _ub64enc() -> Convert:
    return lambda sample, facts: urlsafe_b64encode(sample).rstrip(b"=")


def _b64dec() -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        try:
            return Binary(b64decode(sample, validate=True))
        except BadBase64:
            return None

    return convert


def _ub64dec() -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        if sample.translate(None, b"+/") != sample:
            return None
        try:
            return Binary(urlsafe_b64decode(sample + b"=" * (-len(sample) % 4)))
        except BadBase64:
            return None

    return convert


def _bytes(offset: str, length: str = "") -> Convert:
    begin, size = _number(offset), _number(length) if length else None

    def convert(sample: bytes, facts: Facts) -> Sample:
        first, count = begin(facts), None if size is None else size(facts)
        if first is None or not 0 <= first < len(sample) or (size is not None and (count is None or count < 0)):
            return None
        return Binary(sample[first:] if count is None else sample[first : first + count])

    return convert


def _sha1() -> Convert:
    return _digest("sha1")


def _sha2(bits: str = "256") -> Convert:
    return _digest(f"sha{bits}")


def _digest(algorithm: str) -> Convert:
    return lambda sample, facts: Binary(hashlib.new(algorithm.lower(), sample).digest())


def _crc32() -> Convert:
    return lambda sample, facts: crc32(sample)


# Numbers and truth.


def _number(argument: str) -> Callable[[Facts], int | None]:
    """A number, or the variable that holds one."""
    if _INTEGER.match(argument):
        value = int(argument)
        return lambda facts: value

    def fetch(facts: Facts) -> int | None:
        held = facts.variable(argument)
        if isinstance(held, int):
            return int(held)
        return int(held) if isinstance(held, bytes) and re.match(rb"-?[0-9]{1,18}\Z", held) else None

    return fetch


def _bounded(number: int) -> int:
    return MAX if number > MAX else MIN if number < MIN else number


def _arithmetic(operation: Callable[[int, int], int]) -> Callable[[str], Convert]:
    def make(argument: str) -> Convert:
        other = _number(argument)

        def convert(sample: int, facts: Facts) -> Sample:
            value = other(facts)
            return None if value is None else _bounded(operation(sample, value))

        return convert

    return make


def _divided(one: int, other: int) -> int:
    """Towards 0; by 0 it is the greatest there is."""
    return MAX if not other else abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)


def _rest(one: int, other: int) -> int:
    """With the sign of the first; by 0 it is 0."""
    return 0 if not other else abs(one) % abs(other) * (-1 if one < 0 else 1)


def _unary(operation: Callable[[int], Sample]) -> Callable[[], Convert]:
    return lambda: lambda sample, facts: operation(sample)


def _iif(true: str, false: str) -> Convert:
    return lambda sample, facts: (true if sample else false).encode()


def _http_date(offset: str = "0", unit: str = "s") -> Convert:
    """RFC 9110 section 5.6.7."""
    scale = {"s": 1, "ms": 1000, "us": 1000000}.get(unit, 1)

    def convert(sample: int, facts: Facts) -> Sample:
        try:
            at = datetime.fromtimestamp(sample // scale + int(offset), timezone.utc)
        except (ValueError, OverflowError, OSError):
            return None
        return f"{_DAYS[at.weekday()]}, {at:%d} {_MONTHS[at.month - 1]} {at:%Y %H:%M:%S} GMT".encode()

    return convert


def _ipmask(mask4: str, mask6: str = "") -> Convert:
    four = int(IPv4Address(mask4)) if "." in mask4 else 2**32 - 2 ** (32 - int(mask4))
    six = 2**128 - 2 ** (128 - int(mask6)) if mask6 else None

    def convert(sample: Address, facts: Facts) -> Sample:
        if isinstance(sample, IPv4Address):
            return IPv4Address(int(sample) & four)
        return None if six is None else IPv6Address(int(sample) & six)

    return convert


CONVERTERS: dict[str, Callable[..., Convert]] = {
    "lower": _lower,
    "upper": _upper,
    "field": _field,
    "word": _word,
    "host_only": _host_only,
    "port_only": _port_only,
    "ltrim": _ltrim,
    "rtrim": _rtrim,
    "regsub": _regsub,
    "url_dec": _url_dec,
    "url_enc": _url_enc,
    "concat": _concat,
    "length": _length,
    "strcmp": _strcmp,
    "secure_memcmp": _secure_memcmp,
    "hex": _hex,
    "hex2i": _hex2i,
    "base64": _base64,
    "ub64enc": _ub64enc,
    "b64dec": _b64dec,
    "ub64dec": _ub64dec,
    "bytes": _bytes,
    "sha1": _sha1,
    "sha2": _sha2,
    "digest": _digest,
    "crc32": _crc32,
    "not": _unary(lambda sample: not sample),
    "bool": _unary(bool),
    "odd": _unary(lambda sample: sample % 2 == 1),
    "even": _unary(lambda sample: sample % 2 == 0),
    "cpl": _unary(lambda sample: ~sample),
    "neg": _unary(lambda sample: _bounded(-sample)),
    "add": _arithmetic(lambda one, other: one + other),
    "sub": _arithmetic(lambda one, other: one - other),
    "mul": _arithmetic(lambda one, other: one * other),
    "div": _arithmetic(_divided),
    "mod": _arithmetic(_rest),
    "and": _arithmetic(lambda one, other: one & other),
    "or": _arithmetic(lambda one, other: one | other),
    "xor": _arithmetic(lambda one, other: one ^ other),
    "iif": _iif,
    "http_date": _http_date,
    "ipmask": _ipmask,
}
