"""Sample fetches and converters, compiled: from an expression of the configuration to a function of one exchange.

A sample is bytes, or None when there is nothing to fetch; then nothing is converted either, as in HAProxy. It knows heads;
it must never know connections, or what a sample is wanted for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from reusedproxy.config.model import Expression
from reusedproxy.wire.heads import RequestHead


class Facts(Protocol):
    """What can be fetched from: one exchange, as far as it has come."""

    @property
    def head(self) -> RequestHead | None: ...


Sample = bytes | None
Fetch = Callable[[Facts], Sample]
Convert = Callable[[bytes], Sample]

_HOST_PORT = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?\Z")


def compiled(expression: Expression) -> Fetch:
    """The function that an expression is."""
    fetch = FETCHES[expression.fetch.name](*expression.fetch.arguments)
    for call in expression.converters:
        fetch = _converted(fetch, CONVERTERS[call.name](*call.arguments))
    return fetch


def constant(expression: Expression) -> bytes | None:
    """The value of an expression that is the same for all exchanges; None: it is not."""
    return compiled(expression)(_Nothing()) if expression.fetch.name == "str" else None


class _Nothing:
    head = None


def _converted(fetch: Fetch, convert: Convert) -> Fetch:
    def both(facts: Facts) -> Sample:
        sample = fetch(facts)
        return None if sample is None else convert(sample)

    return both


# Fetches.


def _str(text: str) -> Fetch:
    value = text.encode()
    return lambda facts: value


def _header(name: str, occurrence: str = "-1") -> Fetch:
    """`req.hdr`: values are lists whose commas part them; the last one, unless a number says which (manual, 7.3.6)."""
    wanted, number = name.encode("latin-1", "replace"), int(occurrence)

    def fetch(facts: Facts) -> Sample:
        if facts.head is None:
            return None
        values = facts.head.values(wanted)
        return _nth([part for value in values for part in _list_of(value)], number)

    return fetch


def _full_header(name: str, occurrence: str = "-1") -> Fetch:
    """`req.fhdr`: commas part nothing."""
    wanted, number = name.encode("latin-1", "replace"), int(occurrence)
    return lambda facts: None if facts.head is None else _nth(facts.head.values(wanted), number)


def _list_of(value: bytes) -> list[bytes]:
    """The parts of a list; a comma within a quoted string parts nothing (RFC 9110 section 5.6.1)."""
    if b'"' not in value:
        return [part.strip(b" \t") for part in value.split(b",")]
    return [part.strip(b" \t") for part in re.findall(rb'(?:[^,"]|"(?:\\.|[^"\\])*"?)+', value)]


def _nth(values: list[bytes], number: int) -> Sample:
    """1 is the first, -1 the last; 0 is the last, too."""
    index = number - 1 if number > 0 else number or -1
    return values[index] if -len(values) <= index < len(values) else None


FETCHES: dict[str, Callable[..., Fetch]] = {"str": _str, "req.hdr": _header, "req.fhdr": _full_header}


# Converters.


def _lower() -> Convert:
    return bytes.lower


def _upper() -> Convert:
    return bytes.upper


def _field(index: str, delimiters: str, count: str = "1") -> Convert:
    return lambda sample: _part(sample, _cuts(sample, delimiters), int(index), int(count))


def _word(index: str, delimiters: str, count: str = "1") -> Convert:
    """As `field`, but fields without a character in them do not count."""

    def convert(sample: bytes) -> Sample:
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
    return lambda sample: _host_port(sample)[0]


def _port_only() -> Convert:
    """0 where there is none, as in HAProxy."""
    return lambda sample: _host_port(sample)[1] or b"0"


def _host_port(sample: bytes) -> tuple[bytes, bytes]:
    found = _HOST_PORT.match(sample)
    return (found[1], found[2] or b"") if found else (sample, b"")


CONVERTERS: dict[str, Callable[..., Convert]] = {
    "lower": _lower,
    "upper": _upper,
    "field": _field,
    "word": _word,
    "host_only": _host_only,
    "port_only": _port_only,
}
