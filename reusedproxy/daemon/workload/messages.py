"""Decodes the answer of the SPIFFE Workload API's FetchX509SVID: protocol buffers (their wire format, as documented in
"Encoding") around certificates and a key in DER.

A message of five fields needs neither generated code nor its library. Pure; must never know a connection.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

#: Numbers of fields in X509SVIDResponse and X509SVID (workload.proto of the SPIFFE standards).
_SVIDS = 1
_ID, _CHAIN, _KEY, _BUNDLE = 1, 2, 3, 4


class Malformed(ValueError):
    """Says that bytes are no answer of a Workload API."""


def svid_in(answer: bytes) -> dict[str, str]:
    """Returns the first SVID of an X509SVIDResponse, which is the default one: "id", and "chain", "key" and "bundle" in
    PEM. Raises Malformed."""
    svids = [value for number, value in _fields_in(answer) if number == _SVIDS]
    if not svids:
        raise Malformed("the answer has no SVID")
    fields = dict(_fields_in(svids[0]))
    parts = (("chain", _CHAIN), ("key", _KEY), ("bundle", _BUNDLE))
    if missing := [name for name, each in parts if not fields.get(each)]:
        raise Malformed(f"the SVID has no {missing[0]}")
    return {
        "id": fields.get(_ID, b"").decode("utf-8", "replace"),
        "chain": _certificates(fields[_CHAIN]),
        "key": _pem("PRIVATE KEY", fields[_KEY]),
        "bundle": _certificates(fields[_BUNDLE]),
    }


def _fields_in(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Returns the fields of a message that have a length, in order, by their numbers. Raises Malformed."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise Malformed(f"a field has the unknown wire type {kind}")
        if at + length > len(message):
            raise Malformed("a field is cut off")
        if kind == 2:
            yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Malformed("a number is cut off, or too long")


def _certificates(der: bytes) -> str:
    """Returns certificates that stand one behind the other, in PEM. Raises Malformed."""
    found = []
    at = 0
    while at < len(der):
        end = at + _size(der[at : at + 6])
        if end > len(der):
            raise Malformed("a certificate is cut off")
        found.append(_pem("CERTIFICATE", der[at:end]))
        at = end
    return "".join(found)


def _size(head: bytes) -> int:
    """Returns the size in bytes of an ASN.1 sequence in DER, with its head (X.690, 8.1.3). Raises Malformed."""
    if len(head) < 2 or head[0] != 0x30:
        raise Malformed("there is something else among the certificates")
    if head[1] < 0x80:
        return 2 + head[1]
    count = head[1] & 0x7F
    if not 1 <= count <= 4:
        raise Malformed("a certificate has no length")
    return 2 + count + int.from_bytes(head[2 : 2 + count], "big")


def _pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode("ascii")
    lines = (text[at : at + 64] for at in range(0, len(text), 64))
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))
