"""Sample expressions (manual, section 7.3): `fetch(arguments),converter(arguments),…`, read into values and judged.

Knows which fetches and converters there are and how many arguments each takes; what they do is `reusedproxy.rules`' affair,
and a test holds that both know the same.
"""

from __future__ import annotations

import re

from attrs import evolve

from reusedproxy.config.haproxy_samples import CONVERTERS as HAPROXY_CONVERTERS
from reusedproxy.config.haproxy_samples import FETCHES as HAPROXY_FETCHES
from reusedproxy.config.model import Call, Expression
from reusedproxy.config.report import Wrong, did_you_mean, not_done

#: What we do: the fewest and the most arguments of each.
FETCHES: dict[str, tuple[int, int]] = {
    "str": (1, 1),
    "hdr": (1, 2),
    "req.hdr": (1, 2),
    "req.fhdr": (1, 2),
}
CONVERTERS: dict[str, tuple[int, int]] = {
    "lower": (0, 0),
    "upper": (0, 0),
    "field": (2, 3),
    "word": (2, 3),
    "host_only": (0, 0),
    "port_only": (0, 0),
}
#: Arguments that are whole numbers: of which call, in which places.
NUMBERS = {"hdr": (1,), "req.hdr": (1,), "req.fhdr": (1,), "field": (0, 2), "word": (0, 2)}

_NAME = re.compile(r"[A-Za-z0-9_.-]*")
#: HAProxy's own: a fetch whose answer is the client's business, under several names.
_SAME = {"hdr": "req.hdr"}


def read_expression(text: str, what: str) -> Expression:
    """The expression that all of `text` is; `what` begins each message. Raises Wrong."""
    calls: list[Call] = []
    at = 0
    while True:
        name = _NAME.match(text, at)
        assert name is not None
        at = name.end()
        arguments: tuple[str, ...] = ()
        if text[at : at + 1] == "(":
            arguments, at = _arguments(text, at + 1, what)
        calls.append(_judged(name[0], arguments, first=not calls, what=what))
        if at == len(text):
            break
        if text[at] != ",":
            raise Wrong(f"{what}: '{text[at:]}' in the expression '{text}' is too much: converters follow a ','")
        at += 1
    return Expression(calls[0], tuple(calls[1:]))


def _arguments(text: str, at: int, what: str) -> tuple[tuple[str, ...], int]:
    """What stands between parentheses, from behind the opening one, and where it ends. Quotes and \\ work as in HAProxy."""
    arguments, argument, quote = [], "", ""
    while at < len(text):
        character = text[at]
        at += 1
        if character == quote:
            quote = ""
        elif character == "\\" and quote != "'" and at < len(text):
            argument += text[at]
            at += 1
        elif quote:
            argument += character
        elif character in "'\"":
            quote = character
        elif character in ",)":
            arguments.append(argument)
            argument = ""
            if character == ")":
                return (() if arguments == [""] else tuple(arguments)), at
        else:
            argument += character
    raise Wrong(f"{what}: in the expression '{text}' a '{quote or ')'}' is missing")


def _judged(name: str, arguments: tuple[str, ...], *, first: bool, what: str) -> Call:
    kind, done, known = (
        ("sample fetch", FETCHES, HAPROXY_FETCHES) if first else ("converter", CONVERTERS, HAPROXY_CONVERTERS)
    )
    if name not in done:
        if name in known or re.match(r"sc[0-2]_", name):
            raise Wrong(f"{what}: {not_done(name, kind)}")
        if not name:
            raise Wrong(f"{what}: a {kind} is missing in the expression")
        raise Wrong(f"{what}: unknown {kind} '{name}'{did_you_mean(name, {*done, *known})}")
    least, most = done[name]
    if not least <= len(arguments) <= most:
        takes = f"{least} to {most}" if least != most else f"{least}" if least else "no"
        raise Wrong(f"{what}: '{name}' takes {takes} argument{'' if most == 1 else 's'}, not {len(arguments)}")
    for place in NUMBERS.get(name, ()):
        if place < len(arguments) and not re.match(r"-?[0-9]+\Z", arguments[place]):
            raise Wrong(f"{what}: '{name}' takes a number in place {place + 1}, not '{arguments[place]}'")
    call = Call(name, arguments)
    return evolve(call, name=_SAME.get(name, name))
