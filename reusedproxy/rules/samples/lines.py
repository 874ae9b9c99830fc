"""Compiles log-format strings to lines of the log (manual, section 8.2.6).

Blanks separate items: several of them are one, and there is none at the beginning. No line has a control character of a
sample: HAProxy copies what an expression gives, here it is written as "#XX" (section 8.6).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter

from reusedproxy.config.language.secrets import quotable
from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.rules.samples import LOG
from reusedproxy.rules.facts import Course, Facts, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.aliases import Show, enclosed, json_number, nothing, plain, printed, show
from reusedproxy.rules.samples.casts import to_bool, to_int, to_text
from reusedproxy.rules.samples.compile import compiled

Line = Callable[[Course], str]
Fetch = Callable[[Facts], Sample]

_BLANK = " "
_BLANKS = re.compile("( +)")


def line_of(made: Format, shown: Callable[[str], bool] = lambda name: True) -> Line:
    """Compiles a format to a function that returns its line. `shown` tells whether anything is ever captured for an
    alias that shows what was."""
    pieces = _Pieces()
    if made.json:
        for number, hole in enumerate(part for part in made.parts if isinstance(part, Hole)):
            pieces.template += f'{", " if number else "{"}"{hole.name}": '
            pieces.add_item(hole)
        pieces.template += "}"
        return pieces.joined()
    blank = True  # what comes next is at the beginning, or behind a blank
    for part in made.parts:
        if isinstance(part, Hole):
            name = part.expression.fetch.name.removeprefix("%")
            said = None if shown(name) else nothing(name, part)
            if said is None:
                pieces.add_item(part)
            else:
                pieces.template += said.replace("%", "%%")
            blank = blank and said == ""
            continue
        for text in _BLANKS.split(part):
            if text and not (blank and text.startswith(_BLANK)):
                blank = text.startswith(_BLANK)
                pieces.template += _BLANK if blank else text.replace("%", "%%")
    return pieces.joined()


class _Pieces:
    """Gathers the pieces of a line: functions that show something, and between them %-templates, each filled with
    attributes of the course by one call. That takes less than half the time of a function for each item."""

    def __init__(self) -> None:
        self.template = ""
        self._attributes: list[str] = []
        self._shows: list[Show] = []

    def add_item(self, hole: Hole) -> None:
        name = hole.expression.fetch.name
        simple = plain(name[1:], hole) if name.startswith("%") else None
        if simple is None:
            self._end_template()
            self._shows.append(_item(hole))
        else:
            self.template += simple[0]
            self._attributes += simple[1]

    def joined(self) -> Line:
        self._end_template()
        shows = self._shows
        return shows[0] if len(shows) == 1 else lambda course: "".join([show(course) for show in shows])

    def _end_template(self) -> None:
        if self._attributes:
            template, get = self.template, attrgetter(*self._attributes)
            self._shows.append(lambda course: template % get(course))
        elif self.template:
            text = self.template % ()
            self._shows.append(lambda course: text)
        self.template, self._attributes = "", []


def _item(hole: Hole) -> Show:
    name = hole.expression.fetch.name
    return show(name[1:], hole) if name.startswith("%") else _expression(hole)


def _fetch(hole: Hole) -> Fetch:
    """Returns what finds the value. Where it cannot be evaluated (`rules.regular`) there is none: no line is lost. A
    fault of the program is reported."""
    evaluated = compiled(hole.expression, LOG)

    def fetch(facts: Facts) -> Sample:
        try:
            return evaluated(facts)
        except Unevaluated:
            return None
        except Exception as error:
            facts.not_done(f"'%[{quotable(str(hole.expression))}]' of a log line is empty: {Unevaluated.by(error)}")
            return None

    return fetch


def _expression(hole: Hole) -> Show:
    fetch = _fetch(hole)
    if hole.json:
        return _json(hole)

    def text(course: Course) -> str:
        value = to_text(fetch(course.facts))
        return enclosed("" if value is None else printed(value), hole)

    return text


def _json(hole: Hole) -> Show:
    """Shows a value of JSON: of the type that the item says, or a number, true and false as they are; all else is a
    text."""
    fetch, kind = _fetch(hole), hole.kind

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
