"""Finds fields of messages in the encoding of Protocol Buffers (manual, section 7.3.1: `protobuf`, `ungrpc`).

The bytes come from a client, so each is looked at once, and nothing is copied but the value. What is no message has no
value. It must never know what a field means.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from reusedproxy.config.rules.protobufs import TYPES, field_numbers
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.samples.casts import wrapped

Convert = Callable[[Any, Facts], Sample]

#: Kinds of fields (Protocol Buffers, "Message Structure"): how many bytes a value has, -1: it says so itself.
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
_WIDTHS = {_EIGHT: 8, _FOUR: 4}
#: Bytes of a number of variable length, at most.
_LONGEST = 10
#: Bytes before a message of gRPC: one tells whether it is compressed, four its length.
_GRPC_HEAD = 5


class _Invalid(Exception):
    """Says that the bytes are no message."""


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Returns the number of variable length that begins at `at`, modulo 2**64, and where it ends. Raises _Invalid."""
    number = 0
    for count in range(min(_LONGEST, end - at)):
        byte = data[at + count]
        number |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return number & 2**64 - 1, at + count + 1
    raise _Invalid


def _value_at(data: bytes, at: int, end: int, kind: int) -> tuple[int, int]:
    """Returns where the value of a field begins and ends. Raises _Invalid, also for groups, which are out of use."""
    if kind == _VARINT:
        return at, _varint(data, at, end)[1]
    if kind == _DELIMITED:
        size, at = _varint(data, at, end)
    elif kind in _WIDTHS:
        size = _WIDTHS[kind]
    else:
        raise _Invalid
    if at + size > end:
        raise _Invalid
    return at, at + size


def find(data: bytes, at: int, end: int, path: tuple[int, ...]) -> tuple[bytes, int] | None:
    """Returns the bytes of the field at `path`, and their kind; None if there is none. Each number leads into the first
    message of that field."""
    depth = 0
    try:
        while at < end:
            key, at = _varint(data, at, end)
            kind = key & 7
            begin, behind = _value_at(data, at, end, kind)
            if key >> 3 & 0xFFFFFFFF != path[depth]:
                at = behind
            elif depth == len(path) - 1:
                return data[begin:behind], kind
            elif kind == _DELIMITED:
                at, end, depth = begin, behind, depth + 1
            else:
                return None
    except _Invalid:
        pass
    return None


def _number(value: bytes, name: str) -> int | None:
    """Returns a number of a type by its name; None for a fraction that 64 bits do not hold."""
    kind = TYPES[name]
    if kind != _VARINT:
        (number,) = struct.unpack(_FORMATS[name], value)
        try:
            return wrapped(int(number))
        except (OverflowError, ValueError):
            return None
    number, _ = _varint(value, 0, len(value))
    if name in ("sint32", "sint64"):
        number = number >> 1 ^ -(number & 1)
    return wrapped(number)


_FORMATS = {"fixed32": "<I", "sfixed32": "<i", "float": "<f", "fixed64": "<Q", "sfixed64": "<q", "double": "<d"}


def _sample(found: tuple[bytes, int], name: str) -> Sample:
    value, kind = found
    if not name:
        return Binary(value)
    return _number(value, name) if TYPES[name] == kind else None


def _protobuf(numbers: str, name: str = "") -> Convert:
    path = field_numbers(numbers)

    def convert(sample: bytes, facts: Facts) -> Sample:
        found = find(sample, 0, len(sample), path)
        return None if found is None else _sample(found, name)

    return convert


def _ungrpc(numbers: str, name: str = "") -> Convert:
    """Makes `ungrpc`, which looks into one message after the other, each behind its head, until one has the field."""
    path = field_numbers(numbers)

    def convert(sample: bytes, facts: Facts) -> Sample:
        at = 0
        while len(sample) - at > _GRPC_HEAD:
            begin = at + _GRPC_HEAD
            at = begin + int.from_bytes(sample[at + 1 : begin], "big")
            if at > len(sample):
                return None
            found = find(sample, begin, at, path)
            if found is not None and (value := _sample(found, name)) is not None:
                return value
        return None

    return convert


PROTOBUF_CONVERTERS: dict[str, Callable[..., Convert]] = {"protobuf": _protobuf, "ungrpc": _ungrpc}
