"""Compiles sample expressions of the configuration, each to a function of one exchange.

A sample has one of HAProxy's types, and is cast to another where that is required (manual, section 7.3). None means
that there is nothing to fetch, and then nothing is converted either. It must never know connections, or what a sample
is used for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.rules.samples import AT_HAND, AT_LOG, BY_PLACE, LOG, MAPS, REQUEST, RESPONSE, SERVER_BYTES
from reusedproxy.config.rules.samples import CONVERTERS as SIGNATURES
from reusedproxy.config.rules.samples import FETCHES as FETCH_SIGNATURES
from reusedproxy.rules import regular
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.bounds import in_bounds
from reusedproxy.rules.samples.casts import CASTS, to_bytes, to_text
from reusedproxy.rules.samples.converters import CONVERTERS as OTHER_CONVERTERS
from reusedproxy.rules.samples.converters import Convert
from reusedproxy.rules.samples.fetches import ALL, FETCHES, PARAMETERS, Fetch, FetchAll
from reusedproxy.rules.samples.table_fetches import TABLE_CONVERTERS
from reusedproxy.wire.heads import Limits

__all__ = [
    "Facts",
    "Fetch",
    "Sample",
    "compiled",
    "compiled_all",
    "compiled_alone",
    "compiled_text",
    "constant_text",
    "to_text",
]

CONVERTERS: dict[str, Callable[..., Convert]] = {**OTHER_CONVERTERS, **TABLE_CONVERTERS}
#: Those that match regular expressions.
_REGULAR = frozenset(("regsub", *(name for name, (method, _) in MAPS.items() if method in ("reg", "regm"))))


def compiled(expression: Expression, where: str = REQUEST) -> Fetch:
    """Compiles an expression. `where` says whether it stands in rules for requests or for responses, say."""
    call = expression.fetch
    if not _is_at_hand(call, where):
        return lambda facts: None
    fetch = FETCHES[_name(call, where)](*call.arguments)
    if not expression.converters:
        return fetch
    convert = _chain(expression.converters)
    return lambda facts: convert(fetch(facts), facts)


def compiled_all(expression: Expression, where: str = REQUEST) -> FetchAll | None:
    """Compiles an expression for an ACL, which tries all values: those of a header, say, unless it asks for one.

    Returns None for an expression that has one value at most, which `compiled` compiles.
    """
    call = expression.fetch
    name = _name(call, where)
    if name not in ALL or _says_which(name, call.arguments) or not _is_at_hand(call, where):
        return None
    every = ALL[name](*(call.arguments if name in PARAMETERS else call.arguments[:1]))
    if not expression.converters:
        return every
    convert = _chain(expression.converters)

    def converted(facts: Facts) -> list[Sample]:
        """Converts all values up to the first that cannot be converted: HAProxy looks no further. Of equal values only
        the first is converted: a client may send thousands."""
        made = (convert(sample, facts) for sample in dict.fromkeys(every(facts)) if sample is not None)
        return [*takewhile(lambda sample: sample is not None, made)]

    return converted


def _says_which(name: str, arguments: tuple[str, ...]) -> bool:
    """Tells whether the expression asks for one value by its number; number 0 stands for all of them."""
    return name not in PARAMETERS and len(arguments) > 1 and int(arguments[1]) != 0


def compiled_text(expression: Expression, where: str = REQUEST) -> Callable[[Facts], bytes | None]:
    """Compiles an expression whose value is cast to text."""
    fetch = compiled(expression, where)
    return lambda facts: to_text(fetch(facts))


def compiled_alone(expression: Expression, where: str = REQUEST) -> Fetch:
    """Compiles an expression that is evaluated by itself, outside of rules: its regular expressions have the processor
    time of a request for themselves, so that no other client's request can have spent it."""
    fetch = compiled(expression, where)
    if not any(call.name in _REGULAR for call in expression.converters):
        return fetch

    def bounded(facts: Facts) -> Sample:
        regular.begin()
        return fetch(facts)

    return bounded


def constant_text(expression: Expression) -> bytes | None:
    """Returns the value, as text, of an expression that is the same for all exchanges; None for other expressions."""
    if expression.fetch.name != "str":
        return None
    nothing: Facts = _Nothing()  # type: ignore[assignment]  # `str` looks at none of it
    return compiled_text(expression)(nothing)


class _Nothing:
    head = None
    longest = Limits().buffer - 1


def _name(call: Call, where: str) -> str:
    if call.name in BY_PLACE:
        return f"{'res' if where in (RESPONSE, SERVER_BYTES) else 'req'}.{BY_PLACE[call.name]}"
    return call.name


def _is_at_hand(call: Call, where: str) -> bool:
    return FETCH_SIGNATURES[call.name].where in AT_HAND[where] or (where == LOG and call.name in AT_LOG)


def _cast(converter: str) -> Callable[[Sample], Sample]:
    return to_bytes if converter == "bytes" else CASTS[SIGNATURES[converter].takes]


def _chain(calls: tuple[Call, ...]) -> Convert:
    """Joins converters, each of which is given the type that it takes."""
    steps = [(_cast(call.name), in_bounds(call.name, CONVERTERS[call.name](*call.arguments))) for call in calls]

    def convert(sample: Sample, facts: Facts) -> Sample:
        for cast, step in steps:
            sample = cast(sample)
            if sample is None:
                return None
            sample = step(sample, facts)
        return sample

    return convert
