"""Sample expressions, compiled: from an expression of the configuration to a function of one exchange.

A sample has one of HAProxy's types, and is cast to another where that is asked (manual, section 7.3); None is nothing to
fetch, and then nothing is converted either. Must never know connections, or what a sample is wanted for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile

from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.rules.samples import BY_PLACE, LOGGED, REQUEST, RESPONSE
from reusedproxy.config.rules.samples import CONVERTERS as SIGNATURES
from reusedproxy.config.rules.samples import FETCHES as FETCH_SIGNATURES
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.casts import CASTS, to_text
from reusedproxy.rules.samples.converters import CONVERTERS, Convert
from reusedproxy.rules.samples.fetches import ALL, FETCHES, PARAMETERS, Fetch, FetchAll

__all__ = ["Facts", "Fetch", "Sample", "compiled", "compiled_all", "compiled_text", "constant_text", "to_text"]


def compiled(expression: Expression, where: str = REQUEST) -> Fetch:
    """The function that an expression is, `where` being whose rules it stands in."""
    call = expression.fetch
    if not _is_at_hand(call, where):
        return lambda facts: None
    fetch = FETCHES[_name(call, where)](*call.arguments)
    if not expression.converters:
        return fetch
    convert = _chain(expression.converters)
    return lambda facts: convert(fetch(facts), facts)


def compiled_all(expression: Expression, where: str = REQUEST) -> FetchAll:
    """What an ACL tries: all values of a header, say, where the expression does not say which."""
    call = expression.fetch
    name = _name(call, where)
    if name not in ALL or _says_which(name, call.arguments) or not _is_at_hand(call, where):
        one = compiled(expression, where)
        return lambda facts: (one(facts),)
    every = ALL[name](*(call.arguments if name in PARAMETERS else call.arguments[:1]))
    if not expression.converters:
        return every
    convert = _chain(expression.converters)

    def converted(facts: Facts) -> list[Sample]:
        """HAProxy looks no further than to the first value that cannot be converted."""
        made = (convert(sample, facts) for sample in every(facts) if sample is not None)
        return [*takewhile(lambda sample: sample is not None, made)]

    return converted


def _says_which(name: str, arguments: tuple[str, ...]) -> bool:
    """Whether the expression asks for one value by its number; number 0 is all of them."""
    return name not in PARAMETERS and len(arguments) > 1 and int(arguments[1]) != 0


def compiled_text(expression: Expression, where: str = REQUEST) -> Callable[[Facts], bytes | None]:
    """The same as text."""
    fetch = compiled(expression, where)
    return lambda facts: to_text(fetch(facts))


def constant_text(expression: Expression) -> bytes | None:
    """The value, as text, of an expression that is the same for all exchanges; None: it is not."""
    if expression.fetch.name != "str":
        return None
    nothing: Facts = _Nothing()  # type: ignore[assignment]  # `str` looks at none of it
    return compiled_text(expression)(nothing)


class _Nothing:
    head = None


def _name(call: Call, where: str) -> str:
    if call.name in BY_PLACE:
        return f"res.{call.name}" if where == RESPONSE else f"req.{call.name}"
    return call.name


def _is_at_hand(call: Call, where: str) -> bool:
    return call.name in LOGGED or FETCH_SIGNATURES[call.name].where in ("", where)


def _chain(calls: tuple[Call, ...]) -> Convert:
    """All of them, one after the other, each given the type that it takes."""
    steps = [(CASTS[SIGNATURES[call.name].takes], CONVERTERS[call.name](*call.arguments)) for call in calls]

    def convert(sample: Sample, facts: Facts) -> Sample:
        for cast, step in steps:
            sample = cast(sample)
            if sample is None:
                return None
            sample = step(sample, facts)
        return sample

    return convert
