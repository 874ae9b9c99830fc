"""Reads fields of a certificate, in HAProxy's formats, from the DER that OpenSSL has accepted already.

HAProxy shows names as the bytes in the certificate, whatever ASN.1 type they have. A library that decodes names (and
refuses some) could not do that. So the few fields are found by walking the DER. Nothing is validated here, and a field
that is not where RFC 5280 has it counts as missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from attrs import frozen

from reusedproxy.rules.samples.object_names import SHORT_NAMES

_BITS, _UTF8, _NUMERIC, _PRINTABLE, _T61, _IA5 = 0x03, 0x0C, 0x12, 0x13, 0x14, 0x16
_UTC, _GENERALIZED, _VISIBLE, _UNIVERSAL, _BMP = 0x17, 0x18, 0x1A, 0x1C, 0x1E
#: The types whose text OpenSSL shows (`tag2nbyte` in crypto/asn1/a_strex.c); the DER of others.
_STRINGS = {
    _UTF8: "utf-8",
    **dict.fromkeys((_NUMERIC, _PRINTABLE, _T61, _IA5, _UTC, _GENERALIZED, _VISIBLE), "latin-1"),
    _UNIVERSAL: "utf-32-be",
    _BMP: "utf-16-be",
}
#: The tag of the extensions within a TBSCertificate.
_EXTENSIONS = 0xA3


class NotThere(Exception):
    """Says that the DER ends before the field that was looked for."""


@frozen
class Part:
    """Holds one element of DER: its tag, its content, and the whole element."""

    tag: int
    content: bytes
    whole: bytes


def parts(data: bytes) -> Iterator[Part]:
    """Yields the elements that follow one another in `data` (X.690 section 8.1). Raises NotThere if one is cut off."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise NotThere
        tag, length, begin = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[begin : begin + size], "big")
            begin += size
        end = begin + length
        if end > len(data):
            raise NotThere
        yield Part(tag, data[begin:end], data[at:end])
        at = end


@frozen
class Attribute:
    """Holds one attribute of a name: its short name, the bytes of its value, and the value's tag and DER.

    `group` is the number of its RDN.
    """

    name: str
    value: bytes
    tag: int
    whole: bytes
    group: int


class Certificate:
    """Gives access to one certificate, which is parsed at the first access."""

    def __init__(self, der: bytes) -> None:
        self.der = der
        self._fields: list[Part] | None = None
        self._version = 1

    def subject(self) -> list[Attribute]:
        return name_attributes(self._field(4))

    def issuer(self) -> list[Attribute]:
        return name_attributes(self._field(2))

    def serial(self) -> bytes:
        """Returns the serial number without a sign or leading zeros, as OpenSSL holds it."""
        content = self._field(0).content
        number = int.from_bytes(content, "big", signed=True)
        return abs(number).to_bytes(max(1, (abs(number).bit_length() + 7) // 8), "big")

    def sha1(self) -> bytes:
        return hashlib.sha1(self.der).digest()

    def not_before(self) -> bytes | None:
        return _time(next(iter(parts(self._field(3).content))))

    def not_after(self) -> bytes | None:
        return _time(list(parts(self._field(3).content))[1])

    def signature_algorithm(self) -> bytes:
        return _algorithm(self._field(1))

    def key_algorithm(self) -> bytes:
        return _algorithm(next(parts(self._field(5).content)))

    def key(self) -> bytes:
        """Returns the SubjectPublicKeyInfo in DER. Raises NotThere."""
        return self._field(5).whole

    def version(self) -> int:
        self._field(0)
        return self._version

    def extension(self, oid: str) -> bytes | None:
        """Returns the value of an extension (RFC 5280 section 4.2), by its object identifier in numbers; None without
        it. Raises NotThere."""
        self._field(0)
        assert self._fields is not None
        for field in self._fields[6:]:
            if field.tag == _EXTENSIONS:
                for each in parts(next(parts(field.content)).content):
                    kind, *_, value = parts(each.content)
                    if dotted(kind.content) == oid:
                        return value.content
        return None

    def _field(self, number: int) -> Part:
        """Returns a field of the TBSCertificate (RFC 5280 section 4.1) by number. Raises NotThere.

        0 is the serial number, 1 the signature, 2 the issuer, 3 the validity, 4 the subject, 5 the key.
        """
        if self._fields is None:
            fields = list(parts(next(parts(next(parts(self.der)).content)).content))
            if fields and fields[0].tag == 0xA0:
                self._version = int.from_bytes(next(parts(fields[0].content)).content, "big") + 1
                del fields[0]
            self._fields = fields
        if number >= len(self._fields):
            raise NotThere
        return self._fields[number]


def name_attributes(name: Part) -> list[Attribute]:
    """Returns the attributes of a Name (RFC 5280 section 4.1.2.4). Raises NotThere."""
    found = []
    for group, rdn in enumerate(parts(name.content)):
        for attribute in parts(rdn.content):
            kind, value = parts(attribute.content)
            # A BIT STRING begins with the number of its unused bits, which OpenSSL leaves out.
            text = value.content[1:] if value.tag == _BITS else value.content
            found.append(Attribute(short_name(kind.content), text, value.tag, value.whole, group))
    return found


def _algorithm(identifier: Part) -> bytes:
    return short_name(next(parts(identifier.content)).content).encode()


def short_name(oid: bytes) -> str:
    written = dotted(oid)
    return SHORT_NAMES.get(written, written)


def dotted(oid: bytes) -> str:
    """Returns an object identifier as numbers with dots."""
    numbers: list[int] = []
    number = 0
    for byte in oid:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            if not numbers:
                first = min(number // 40, 2)
                numbers += [first, number - 40 * first]
            else:
                numbers.append(number)
            number = 0
    return ".".join(map(str, numbers))


def _time(part: Part) -> bytes | None:
    """Returns a time as YYMMDDhhmmssZ; None where HAProxy shows none.

    HAProxy shows the years from 2000 to 2049 of UTCTime, and this century's of GeneralizedTime.
    """
    text = part.content
    if part.tag == _GENERALIZED:
        return text[2:] if text.startswith(b"20") and len(text) >= 12 else None
    return text if len(text) >= 10 and text[:1] < b"5" else None


# Names as text.


def one_line(attributes: list[Attribute]) -> bytes:
    """Returns a name as /C=FR/O=x/CN=y, with the bytes of the values as they are."""
    return b"".join(b"/%b=%b" % (each.name.encode(), each.value) for each in attributes)


def rfc2253(attributes: list[Attribute]) -> bytes:
    """Returns a name as CN=y,O=x,C=FR, as OpenSSL writes it (XN_FLAG_RFC2253).

    The last attribute comes first, and all characters but plain ASCII are escaped.
    """
    groups: dict[int, list[bytes]] = {}
    for each in reversed(attributes):
        groups.setdefault(each.group, []).append(b"%b=%b" % (each.name.encode(), _escaped(each)))
    return b",".join(b"+".join(group) for group in groups.values())


def spaced(attributes: list[Attribute]) -> bytes:
    """Returns a name as C = FR, O = x, CN = y, as OpenSSL writes it within other text (XN_FLAG_ONELINE)."""
    groups: dict[int, list[bytes]] = {}
    for each in attributes:
        groups.setdefault(each.group, []).append(b"%b = %b" % (each.name.encode(), _escaped(each, quotes=True)))
    return b", ".join(b" + ".join(group) for group in groups.values())


def entry(attributes: list[Attribute], name: str, occurrence: int) -> bytes | None:
    """Returns the value of the n-th attribute of this name, -1 being the last."""
    values = [each.value for each in attributes if each.name.lower() == name.lower()]
    index = occurrence - 1 if occurrence > 0 else occurrence
    return values[index] if occurrence and -len(values) <= index < len(values) else None


def _escaped(attribute: Attribute, *, quotes: bool = False) -> bytes:
    """Returns a value in which nothing looks like the end of it. With `quotes`, what has signs is in quotes, and only
    quotes and backslashes within have a backslash before them."""
    encoding = _STRINGS.get(attribute.tag)
    if encoding is None or attribute.name[0].isdigit():
        return b"#" + attribute.whole.hex().upper().encode()
    try:
        text = attribute.value.decode(encoding).encode()
    except UnicodeError:
        text = attribute.value
    out, quoted = bytearray(), False
    for at, byte in enumerate(text):
        edge = (at == 0 and byte in b" #") or (at == len(text) - 1 and byte == 0x20)
        if byte < 0x20 or byte >= 0x7F:
            out += b"\\%02X" % byte
        elif byte in b'"\\' or ((byte in b",+<>;" or edge) and not quotes):
            out += b"\\%c" % byte
        else:
            quoted = quoted or byte in b",+<>;" or edge
            out.append(byte)
    return b'"%b"' % bytes(out) if quoted else bytes(out)
