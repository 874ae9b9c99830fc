"""Looks a value up in JSON by a path: `json_query`, `jwt_header_query` and `jwt_payload_query`.

A text comes from a client, so it is read once, from its beginning to the value, and never made into objects. As in
HAProxy, the first of two equal keys counts, what follows the value is not looked at, and a text is nested 20 times at
most. It must never know where the text comes from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from reusedproxy.config.rules.json_paths import Path, read_path
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.encodings import part_decoded

Convert = Callable[[Any, Facts], Sample]

_DEEPEST = 20
#: Numbers beyond are not the same in each program that reads JSON (RFC 8259 section 6).
_LARGEST = 2**53 - 1
_BLANKS = re.compile(rb"[ \t\n\r]*")
_TEXT = re.compile(rb'"(?:[^"\\\0]|\\.)*"', re.DOTALL)
_SIMPLE = re.compile(rb"true|false|null|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
#: The group of a text without its end is empty: were such a text skipped, each quote behind it would be tried, too, up
#: to the end (16 KB of them: 1.6 s).
_NESTING = re.compile(rb'"(?:[^"\\\0]|\\.)*("?)|[\[\]{}]', re.DOTALL)
_INTEGER = re.compile(rb"-?[0-9]+")


class _Invalid(Exception):
    """Says that the text is no JSON."""


def find(text: bytes, path: Path) -> bytes | None:
    """Returns the value at `path` as it is written; None if there is none, or the text is no JSON up to there."""
    try:
        at = _behind_blanks(text, 0)
        for step in path:
            found = _entry(text, at, step)
            if found is None:
                return None
            at = found
        return text[at : _end_of(text, at)]
    except _Invalid:
        return None


def _entry(text: bytes, at: int, step: bytes | int) -> int | None:
    """Returns where the value of a key, or the item of a number, begins."""
    opens, closes = (b"{", b"}") if isinstance(step, bytes) else (b"[", b"]")
    if text[at : at + 1] != opens:
        return None
    at, number = _behind_blanks(text, at + 1), 0
    if text[at : at + 1] == closes:
        return None
    while True:
        if isinstance(step, bytes):
            key = _TEXT.match(text, at)
            if key is None:
                raise _Invalid
            at = _behind_blanks(text, key.end())
            if text[at : at + 1] != b":":
                raise _Invalid
            at = _behind_blanks(text, at + 1)
            if key[0][1:-1] == step:
                return at
        elif number == step:
            return at
        at, number = _behind_blanks(text, _end_of(text, at)), number + 1
        if text[at : at + 1] == closes:
            return None
        if text[at : at + 1] != b",":
            raise _Invalid
        at = _behind_blanks(text, at + 1)


def _behind_blanks(text: bytes, at: int) -> int:
    found = _BLANKS.match(text, at)
    assert found is not None
    return found.end()


def _end_of(text: bytes, at: int) -> int:
    """Returns where the value that begins at `at` ends."""
    if text[at : at + 1] not in (b"{", b"["):
        found = _TEXT.match(text, at) or _SIMPLE.match(text, at)
        if found is None:
            raise _Invalid
        return found.end()
    depth = 0
    for part in _NESTING.finditer(text, at):
        if part[0] in (b"{", b"["):
            depth += 1
            if depth > _DEEPEST:
                raise _Invalid
        elif part[0] in (b"}", b"]"):
            depth -= 1
            if not depth:
                return part.end()
        elif not part[1]:
            break
    raise _Invalid


def _value(written: bytes, of_integer: bool) -> Sample:
    """Returns a text without its quotes, a truth, a number, or an array as it is written; None for what is no sample.

    Numbers are texts with six digits, as of printf(3)'s %g, unless integers are asked for.
    """
    first = written[:1]
    if first == b'"':
        try:
            text = json.loads(written.decode("utf-8", "surrogateescape"), strict=False)
            return str(text).encode("utf-8", "surrogateescape")
        except ValueError:
            return None  # an escape that is none, or half a character
    if first == b"[":
        return written
    if first in (b"t", b"f"):
        return first == b"t"
    if first in (b"{", b"n"):
        return None
    if of_integer:
        digits = _INTEGER.match(written)
        if digits is None or len(digits[0]) > 17:
            return None
        number = int(digits[0])
        return number if -_LARGEST <= number <= _LARGEST else None
    try:
        return b"%g" % float(written)
    except ValueError:
        return None


def _query(path: str, output: str = "") -> Convert:
    steps, of_integer = read_path(path), output == "int"

    def convert(sample: bytes, facts: Facts) -> Sample:
        written = find(sample, steps)
        return None if written is None else _value(written, of_integer)

    return convert


def _part_of_token(number: int) -> Callable[..., Convert]:
    """Makes a converter that decodes one part of a JSON Web Token (RFC 7519, RFC 7515 section 7.1), or queries it."""

    def make(path: str = "", output: str = "") -> Convert:
        query = _query(path, output) if path else None

        def convert(sample: bytes, facts: Facts) -> Sample:
            parts = sample.split(b".")
            decoded = part_decoded(parts[number]) if number < len(parts) else None
            if decoded is None or query is None:
                return decoded
            return query(decoded, facts)

        return convert

    return make


JSON_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "json_query": _query,
    "jwt_header_query": _part_of_token(0),
    "jwt_payload_query": _part_of_token(1),
}
