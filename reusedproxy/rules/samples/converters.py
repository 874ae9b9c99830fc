"""Implements the converters (manual, section 7.3.1).

Each function here takes a converter's arguments and returns a function of a sample and of the facts. The sample has
already the type that the converter takes; the facts are for converters that use variables. Integers have 64 bits with a
sign; a result beyond that stays at the limit that it exceeds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from reusedproxy.rules.facts import Address, Binary, Facts, Sample
from reusedproxy.rules.regular import Found, replacing
from reusedproxy.rules.samples.bounds import to_keep
from reusedproxy.rules.samples.casts import MAX, bounded, to_binary, to_int, to_text
from reusedproxy.rules.samples.ciphers import CIPHER_CONVERTERS
from reusedproxy.rules.samples.dates import DATE_CONVERTERS
from reusedproxy.rules.samples.encodings import url_decoded
from reusedproxy.rules.samples.encrypted_tokens import ENCRYPTED_TOKEN_CONVERTERS
from reusedproxy.rules.samples.fix_messages import FIX_CONVERTERS
from reusedproxy.rules.samples.forwarded_values import FORWARDED_CONVERTERS
from reusedproxy.rules.samples.hashes import HASH_CONVERTERS
from reusedproxy.rules.samples.json_paths import JSON_CONVERTERS
from reusedproxy.rules.samples.languages import LANGUAGE_CONVERTERS
from reusedproxy.rules.samples.maps import MAP_CONVERTERS
from reusedproxy.rules.samples.mqtt_packets import MQTT_CONVERTERS
from reusedproxy.rules.samples.numbers import NUMBER_CONVERTERS
from reusedproxy.rules.samples.outcomes import OUTCOME_CONVERTERS
from reusedproxy.rules.samples.process_fetches import SECTION_CONVERTERS
from reusedproxy.rules.samples.protobufs import PROTOBUF_CONVERTERS
from reusedproxy.rules.samples.texts import TEXT_CONVERTERS
from reusedproxy.rules.samples.tokens import TOKEN_CONVERTERS
from reusedproxy.rules.variables import met

#: The sample has the type that the table of converters says; a variable's value may have any type.
Convert = Callable[[Any, Facts], Sample]

_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_DIGITS = re.compile(rb"[0-9]*")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)*\Z")
_BASE64_PIECE = re.compile(rb"[^=]+=*")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]*\Z")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_BACKWARDS = re.compile(rb"\\(?:([0-9])|x(..)|(.))", re.DOTALL)


# Text.


def _lower() -> Convert:
    return lambda sample, facts: sample.lower()


def _upper() -> Convert:
    return lambda sample, facts: sample.upper()


def _field(index: str, delimiters: str, count: str = "1") -> Convert:
    first, most, signs = int(index), int(count), delimiters.encode()
    return lambda sample, facts: _part(sample, _cuts(sample, signs), first, most)


def _word(index: str, delimiters: str, count: str = "1") -> Convert:
    """Makes `word`, which is `field` without counting empty fields."""

    first, most, signs = int(index), int(count), delimiters.encode()

    def convert(sample: bytes, facts: Facts) -> Sample:
        cuts = [(begin, end) for begin, end in _cuts(sample, signs) if begin != end]
        return _part(sample, cuts, first, most)

    return convert


def _cuts(sample: bytes, delimiters: bytes) -> list[tuple[int, int]]:
    """Returns the begin and the end of each field."""
    begin, cuts = 0, []
    for at, byte in enumerate(sample):
        if byte in delimiters:
            cuts.append((begin, at))
            begin = at + 1
    return [*cuts, (begin, len(sample))]


def _part(sample: bytes, cuts: list[tuple[int, int]], index: int, count: int) -> Sample:
    """Returns `count` fields from the `index`th on (0 or less: all), towards the end.

    A negative index counts from the end, and the fields are taken towards the front. Where there are not so many
    fields, the delimiters at that end of the text are included, as in HAProxy.
    """
    first = index - 1 if index > 0 else len(cuts) + index
    if not index or not 0 <= first < len(cuts):
        return None
    if index < 0:
        last = first - count + 1
        return sample[cuts[last][0] if count > 0 and last >= 0 else 0 : cuts[first][1]]
    last = first + count - 1
    return sample[cuts[first][0] : cuts[last][1] if count > 0 and last < len(cuts) else len(sample)]


def _host_only() -> Convert:
    return lambda sample, facts: _host_port(sample)[0].lower()


def _port_only() -> Convert:
    """Makes `port_only`, which returns 0 where there is no port, and the port modulo 2**32, as in HAProxy."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        found = _DIGITS.match(_host_port(sample)[1])
        assert found is not None
        return int(found[0][-32:] or b"0") % 2**32  # 10**32 is a multiple of 2**32

    return convert


def _host_port(sample: bytes) -> tuple[bytes, bytes]:
    """Splits at the last colon, unless that is within brackets, as HAProxy does."""
    host, colon, port = sample.rpartition(b":")
    return (host, port) if colon and b"]" not in port else (sample, b"")


def _ltrim(characters: str) -> Convert:
    return lambda sample, facts: sample.lstrip(characters.encode())


def _rtrim(characters: str) -> Convert:
    return lambda sample, facts: sample.rstrip(characters.encode())


def _regsub(pattern: str, instead: str, flags: str = "") -> Convert:
    template = instead.encode()
    constant = None if b"\\" in template else template
    replace = replacing(pattern, references(template), "i" in flags, "g" in flags, constant)
    return lambda sample, facts: replace(sample)


def references(template: bytes) -> Callable[[Found], bytes]:
    r"""Compiles a replacement text to a function of a match.

    \1 to \9 are the groups, \0 is the whole match, \x41 is a byte. A backslash before another character stands for that
    character.
    """
    parts: list[bytes | int] = []
    at = 0
    for found in _BACKWARDS.finditer(template):
        parts += [template[at : found.start()], int(found[1]) if found[1] else _escaped(found)]
        at = found.end()
    parts.append(template[at:])
    return lambda match: b"".join([_group(match, part) if isinstance(part, int) else part for part in parts])


def _escaped(found: re.Match[bytes]) -> bytes:
    if not found[2]:
        return found[3]
    return bytes.fromhex(found[2].decode()) if _HEXADECIMAL.match(found[2]) else found[2]


def _group(found: Found, number: int) -> bytes:
    try:
        return found[number] or b""
    except IndexError:
        return b""


def _url_dec(in_form: str = "0") -> Convert:
    """Makes `url_dec`. It returns nothing where a `%` is not followed by two hexadecimal digits.

    A plus is a blank after the question mark only, or everywhere in data of a form.
    """

    def convert(sample: bytes, facts: Facts) -> Sample:
        if _BAD_PERCENT.search(sample):
            return None
        path, mark, query = (b"", b"", sample) if int(in_form) else sample.partition(b"?")
        return _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), path + mark + query.replace(b"+", b" "))

    return convert


def _url_enc(kind: str = "query") -> Convert:
    return lambda sample, facts: b"".join(b"%c" % byte if byte in _UNRESERVED else b"%%%02X" % byte for byte in sample)


def _concat(start: str = "", name: str = "", end: str = "") -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        value = (to_text(facts.variable(name)) or b"") if name else b""
        return b"".join((sample, start.encode(), value, end.encode()))

    return convert


def _length() -> Convert:
    return lambda sample, facts: len(sample)


def _strcmp(name: str) -> Convert:
    """Makes `strcmp`, which compares as strncmp(3) does: the result is below 0, 0 or above 0.

    It is the difference of the first bytes that differ. Without the variable it returns nothing.
    """

    def convert(sample: bytes, facts: Facts) -> Sample:
        other = to_text(facts.variable(name))
        if other is None:
            return None
        for one, two in zip(sample, other, strict=False):
            if one != two:
                return one - two
        return (len(sample) > len(other)) - (len(sample) < len(other))

    return convert


def _secure_memcmp(name: str) -> Convert:
    """Makes `secure_memcmp`, which compares all bytes, NUL among them."""

    def convert(sample: Binary, facts: Facts) -> Sample:
        other = to_binary(facts.variable(name))
        return None if other is None else hmac.compare_digest(bytes(sample), bytes(other))

    return convert


# Bytes.


def _hex() -> Convert:
    return lambda sample, facts: sample.hex().upper().encode()


def _hex2i() -> Convert:
    """Makes `hex2i`, which reads the last 16 digits as a number with a sign.

    It returns nothing for a text that has other characters than hexadecimal digits.
    """

    def convert(sample: bytes, facts: Facts) -> Sample:
        if not _HEXADECIMAL.match(sample):
            return None
        number = int(sample[-16:] or b"0", 16)
        return number - 2**64 if number > MAX else number

    return convert


def _base64() -> Convert:
    return lambda sample, facts: b64encode(sample)


def _ub64enc() -> Convert:
    return lambda sample, facts: urlsafe_b64encode(sample).rstrip(b"=")


def _b64dec() -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        # As in HAProxy, each group of four characters is decoded by itself; Python would accept one = too many, and
        # nothing after the first.
        if not _BASE64.match(sample):
            return None
        return Binary(b"".join(map(b64decode, _BASE64_PIECE.findall(sample))))

    return convert


def _ub64dec() -> Convert:
    return lambda sample, facts: url_decoded(sample)


def _bytes(offset: str, length: str = "") -> Convert:
    begin, size = _number(offset), _number(length) if length else None

    def convert(sample: bytes, facts: Facts) -> Sample:
        first, count = begin(facts), None if size is None else size(facts)
        if first is None or first < 0 or (size is not None and (count is None or count < 0)):
            return None
        found = sample[first:] if count is None else sample[first : first + count]
        return Binary(found) if isinstance(sample, Binary) else found

    return convert


def _sha1() -> Convert:
    return _digest("sha1")


def _sha2(bits: str = "256") -> Convert:
    return _digest(f"sha{bits}")


def _digest(algorithm: str) -> Convert:
    return lambda sample, facts: Binary(hashlib.new(algorithm.lower(), sample).digest())


def _hmac(algorithm: str, key: str) -> Convert:
    """Makes `hmac(algorithm,key)`; the key is in base64, or in a variable, in base64 too."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        said = to_text(facts.variable(key)) if "." in key else key.encode()
        if said is None:
            return None
        try:
            secret = b64decode(said, validate=True)
        except BadBase64:
            return None
        return Binary(hmac.new(secret, sample, algorithm.lower()).digest())

    return convert


def _set_var(name: str, *conditions: str) -> Convert:
    """Makes `set-var(name[,condition…])`. Where a condition is not met, nothing comes of the expression, as in
    HAProxy."""
    allows = met(conditions, name) if conditions else None

    def convert(sample: Sample, facts: Facts) -> Sample:
        if allows is not None and not allows(facts.variable(name), sample):
            return None
        facts.set_variable(name, to_keep(sample, facts))
        return sample

    return convert


def _unset_var(name: str) -> Convert:
    def convert(sample: Sample, facts: Facts) -> Sample:
        facts.set_variable(name, None)
        return sample

    return convert


# Numbers and truth.


def _number(argument: str) -> Callable[[Facts], int | None]:
    """Returns a function that gives a number: the argument itself, or the value of the variable that it names."""
    if _INTEGER.match(argument):
        value = int(argument)
        return lambda facts: value

    return lambda facts: to_int(facts.variable(argument))


def _arithmetic(operation: Callable[[int, int], int]) -> Callable[[str], Convert]:
    """Makes a converter of two numbers (`add` and its like). It returns nothing where the other one is not set."""

    def make(argument: str) -> Convert:
        other = _number(argument)

        def convert(sample: int, facts: Facts) -> Sample:
            value = other(facts)
            return None if value is None else bounded(operation(sample, value))

        return convert

    return make


def _divided(one: int, other: int) -> int:
    """Returns the quotient, rounded towards 0. Divided by 0 it is the greatest number."""
    return MAX if not other else abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1)


def _rest(one: int, other: int) -> int:
    """Returns the remainder, with the sign of the first number. Divided by 0 it is 0."""
    return 0 if not other else abs(one) % abs(other) * (-1 if one < 0 else 1)


def _unary(operation: Callable[[int], Sample]) -> Callable[[], Convert]:
    return lambda: lambda sample, facts: operation(sample)


def _iif(true: str, false: str) -> Convert:
    return lambda sample, facts: (true if sample else false).encode()


def _ipmask(mask4: str, mask6: str = "") -> Convert:
    """Makes `ipmask`. An IPv4-mapped address is masked as an IPv4 address.

    Without a mask for IPv6 it returns nothing for other IPv6 addresses.
    """
    four = int(IPv4Address(mask4)) if "." in mask4 else 2**32 - 2 ** (32 - int(mask4))
    six = int(IPv6Address(mask6)) if ":" in mask6 else 2**128 - 2 ** (128 - int(mask6)) if mask6 else None

    def convert(sample: Address, facts: Facts) -> Sample:
        inner = sample.ipv4_mapped if isinstance(sample, IPv6Address) else sample
        if inner is not None:
            return IPv4Address(int(inner) & four)
        return None if six is None else IPv6Address(int(sample) & six)

    return convert


#: A character of ASCII; a sequence of UTF-8, as long as its first byte says; or a byte that begins neither.
_SEQUENCE = re.compile(
    rb"[\x00-\x7f]|[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}|(.)", re.DOTALL
)
_JSON = {
    **{code: chr(code) for code in range(32, 127)},
    **{ord(sign): f"\\{sign}" for sign in '"\\/'},
    **{8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"},
}


def _json(code: str = "") -> Convert:
    """Makes a converter that escapes a text for JSON, as HAProxy does (src/sample.c, sample_conv_json): `code` says how
    it is read, and whether what cannot be is left out (an "s" at its end) or ends the expression."""
    of_utf8, permits, skips = code.startswith("utf8"), "p" in code, code.endswith("s")

    def convert(sample: Sample, facts: Facts) -> Sample:
        assert isinstance(sample, bytes)
        made = []
        for found in _SEQUENCE.finditer(sample) if of_utf8 else ():
            value = _value_of(found[0], permits) if found[1] is None else None
            if value is not None:
                made.append(value)
            elif not skips:
                return None
        values = made if of_utf8 else sample
        return "".join([_JSON.get(each) or f"\\u{each:04x}" for each in values]).encode()

    return convert


def _value_of(sequence: bytes, permits: bool) -> int | None:
    """Returns the character of a sequence of UTF-8; None if JSON has none, or it is longer than it needs to be, unless
    that is permitted."""
    size = len(sequence)
    if size == 1:
        return sequence[0]
    value = sequence[0] & (0x1F, 0x0F, 0x07)[size - 2]
    for each in sequence[1:]:
        value = value << 6 | each & 0x3F
    if value > 0xFFFF or 0xD800 <= value <= 0xDFFF or value >= 0xFFFE:
        return None
    return value if permits or value >= (0x80, 0x800, 0x10000)[size - 2] else None


def _capturing(of_response: bool) -> Callable[[str], Convert]:
    """Makes a converter that captures the text and passes it on, if there is such a slot."""

    def make(slot: str) -> Convert:
        number = int(slot)

        def convert(sample: Sample, facts: Facts) -> Sample:
            assert isinstance(sample, bytes)
            return sample if facts.note().capture(sample, number, of_response) else None

        return convert

    return make


CONVERTERS: dict[str, Callable[..., Convert]] = {
    "json": _json,
    "capture-req": _capturing(False),
    "capture-res": _capturing(True),
    **MAP_CONVERTERS,
    "set-var": _set_var,
    "unset-var": _unset_var,
    "hmac": _hmac,
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
    "not": _unary(lambda sample: not sample),
    "bool": _unary(bool),
    "odd": _unary(lambda sample: sample % 2 == 1),
    "even": _unary(lambda sample: sample % 2 == 0),
    "cpl": _unary(lambda sample: ~sample),
    "neg": _unary(lambda sample: bounded(-sample)),
    "add": _arithmetic(lambda one, other: one + other),
    "sub": _arithmetic(lambda one, other: one - other),
    "mul": _arithmetic(lambda one, other: one * other),
    "div": _arithmetic(_divided),
    "mod": _arithmetic(_rest),
    "and": _arithmetic(lambda one, other: one & other),
    "or": _arithmetic(lambda one, other: one | other),
    "xor": _arithmetic(lambda one, other: one ^ other),
    "iif": _iif,
    **CIPHER_CONVERTERS,
    **DATE_CONVERTERS,
    **ENCRYPTED_TOKEN_CONVERTERS,
    **FIX_CONVERTERS,
    **FORWARDED_CONVERTERS,
    **HASH_CONVERTERS,
    **JSON_CONVERTERS,
    **LANGUAGE_CONVERTERS,
    **MQTT_CONVERTERS,
    **NUMBER_CONVERTERS,
    **OUTCOME_CONVERTERS,
    **PROTOBUF_CONVERTERS,
    **SECTION_CONVERTERS,
    **TEXT_CONVERTERS,
    **TOKEN_CONVERTERS,
    "ipmask": _ipmask,
}
