"""Converts texts: takes parts of them, joins them, turns them round (manual, section 7.3.1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.casts import to_text

Convert = Callable[[Any, Facts], Sample]

_LINE_END = re.compile(rb"[\r\n]")


def _add_item(delimiter: str, name: str = "", suffix: str = "") -> Convert:
    """Makes `add_item`: appends a variable and a constant, behind the delimiter if there is something on both sides."""
    between, end = delimiter.encode("utf-8", "surrogateescape"), suffix.encode("utf-8", "surrogateescape")

    def convert(sample: bytes, facts: Facts) -> Sample:
        item = ((to_text(facts.variable(name)) or b"") if name else b"") + end
        return sample + between + item if sample and item else sample + item

    return convert


def _cut_crlf() -> Convert:
    def convert(sample: bytes, facts: Facts) -> Sample:
        found = _LINE_END.search(sample)
        return sample if found is None else sample[: found.start()]

    return convert


def _param(name: str, delimiter: str = "&") -> Convert:
    """Makes `param`: the value of the first parameter of this name; b"" if there is no `=` behind it."""
    wanted, between = name.encode("utf-8", "surrogateescape"), delimiter_of(delimiter)

    def convert(sample: bytes, facts: Facts) -> Sample:
        for part in sample.split(between):
            found, _, value = part.partition(b"=")
            if found == wanted and part:
                return value
        return None

    return convert


def delimiter_of(text: str) -> bytes:
    """Returns the byte that `0x26` or a single character stands for."""
    if len(text) == 4 and text.startswith("0x"):
        return bytes([int(text, 16)])
    return text.encode("utf-8", "surrogateescape")


def _reverse() -> Convert:
    return lambda sample, facts: sample[::-1]


def _reverse_dom() -> Convert:
    """Makes `reverse_dom`: a host name with its labels turned round; nothing where one is empty, but for a last dot."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        labels = sample.removesuffix(b".").split(b".")
        return b".".join(reversed(labels)) if all(labels) else None

    return convert


TEXT_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "add_item": _add_item,
    "cut_crlf": _cut_crlf,
    "param": _param,
    "reverse": _reverse,
    "reverse_dom": _reverse_dom,
}
