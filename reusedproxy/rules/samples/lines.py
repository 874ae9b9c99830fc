"""Compiles log-format strings to lines of the log (manual, section 8.2.6).

Blanks separate items: several of them are one, and there is none at the beginning. No line has a control character of a
sample: HAProxy copies what an expression gives, here it is written as "#XX" (section 8.6).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.rules.samples import LOG
from reusedproxy.rules.facts import Course
from reusedproxy.rules.samples.aliases import Show, enclosed, json_number, printed, show, vanishes
from reusedproxy.rules.samples.casts import to_bool, to_int, to_text
from reusedproxy.rules.samples.compile import compiled

Line = Callable[[Course], str]

_BLANK = " "
_BLANKS = re.compile("( +)")


def line_of(made: Format, shown: Callable[[str], bool] = lambda name: True) -> Line:
    """Compiles a format to a function that returns its line. `shown` tells whether anything is captured for an alias
    that shows what was; one for which nothing is takes no place in the line."""
    if made.json:
        items = [part for part in made.parts if isinstance(part, Hole)]
        members = ", ".join([f'"{part.name}": %s' for part in items])
        return _filled(f"{{{members}}}", [_item(part) for part in items])
    texts: list[str] = []
    shows: list[Show] = []
    blank = True  # what comes next is at the beginning, or behind a blank
    for part in made.parts:
        if isinstance(part, Hole):
            name = part.expression.fetch.name.removeprefix("%")
            if not vanishes(name) or part.json or shown(name):
                texts.append("%s")
                shows.append(_item(part))
                blank = False
            continue
        for piece in _BLANKS.split(part):
            if piece and not (blank and piece.startswith(_BLANK)):
                blank = piece.startswith(_BLANK)
                texts.append(_BLANK if blank else piece.replace("%", "%%"))
    return _filled("".join(texts), shows)


def _filled(template: str, shows: list[Show]) -> Line:
    if not shows:
        text = template % ()
        return lambda course: text
    # One %-format, which takes less time than joining pieces: see `operators.logs.access.HTTPLog`.
    return lambda course: template % tuple([show(course) for show in shows])


def _item(hole: Hole) -> Show:
    name = hole.expression.fetch.name
    return show(name[1:], hole) if name.startswith("%") else _expression(hole)


def _expression(hole: Hole) -> Show:
    fetch = compiled(hole.expression, LOG)
    if hole.json:
        return _json(hole)

    def text(course: Course) -> str:
        value = to_text(fetch(course.facts))
        return enclosed("" if value is None else printed(value), hole)

    return text


def _json(hole: Hole) -> Show:
    """Shows a value of JSON: of the type that the item says, or a number, true and false as they are; all else is a
    text."""
    fetch, kind = compiled(hole.expression, LOG), hole.kind

    def text(course: Course) -> str:
        sample = fetch(course.facts)
        if kind == "sint" and not isinstance(sample, IPv6Address):
            number = to_int(sample)
            return '""' if number is None else str(number)
        if kind == "bool" and not isinstance(sample, (IPv4Address, IPv6Address)):
            truth = to_bool(sample)
            return '""' if truth is None else json_number(truth, hole)
        if kind != "str" and isinstance(sample, bool):
            return "true" if sample else "false"
        if kind != "str" and isinstance(sample, int):
            return str(sample)
        value = to_text(sample)
        return enclosed("" if value is None else printed(value), hole)

    return text
