"""Reads the arguments of `protobuf` and `ungrpc`: a path of field numbers, and the type of a number. Data and syntax
only; messages are read by `reusedproxy.rules.samples.protobufs`."""

from __future__ import annotations

import re

from reusedproxy.config.language.report import Wrong

#: Types of numbers, with the kind of field that holds each (the "wire type").
TYPES = {
    **dict.fromkeys(("int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "enum"), 0),
    **dict.fromkeys(("fixed64", "sfixed64", "double"), 1),
    **dict.fromkeys(("fixed32", "sfixed32", "float"), 5),
}
_PATH = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,15}\Z")
#: The largest number of a field.
_LARGEST = 2**29 - 1


def field_numbers(text: str) -> tuple[int, ...]:
    """Returns the numbers of a path such as 48.59.1. Raises Wrong."""
    numbers = tuple(map(int, text.split("."))) if _PATH.match(text) else ()
    if not numbers or not all(1 <= number <= _LARGEST for number in numbers):
        raise Wrong(f"'{text}' is no path of field numbers, such as 48.59.1 (each from 1 to {_LARGEST})")
    return numbers
