"""Holds the words of one rule while its action is read, and what all actions ask of names, values and formats."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Line, Report, Wrong
from reusedproxy.config.model.rules import Format
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import read_expression, where_of
from reusedproxy.config.rules.formats import read_format, read_format_of_line
from reusedproxy.config.rules.samples import AT_HAND, NEEDED

#: Headers that frame a message: another value would make its end ambiguous.
FRAMING = words("content-length transfer-encoding trailer")
#: Hop-by-hop headers: those received are removed, and the proxy's own are added after all rules.
HOP = words("connection keep-alive proxy-connection te upgrade")


@frozen
class Reading:
    """Holds the words of one rule between its action and its condition; `what` begins each message."""

    words: tuple[str, ...]
    what: str
    where: str
    action: str
    place_words: str
    line: Line
    report: Report

    def exactly(self, *names: str) -> tuple[str, ...]:
        """Returns the words when there are as many as `names`. Raises Wrong for a missing or an extra word."""
        if len(self.words) < len(names):
            raise Wrong(f"{self.what} needs {names[len(self.words)]}")
        if len(self.words) > len(names):
            raise Wrong(f"{self.what}: '{self.words[len(names)]}' is too much: 'if' or 'unless' can follow")
        return self.words

    def format(self, text: str) -> Format:
        made = read_format_of_line(text, self.what, self.line.place, self.report)
        return _all_at_hand(made, self.what, self.where, self.place_words)

    def expression(self, text: str) -> Expression:
        return self.has_something_to_say(read_expression(text, self.what))

    def has_something_to_say(self, expression: Expression) -> Expression:
        return _at_hand(expression, self.what, self.where, self.place_words)


def read_format_for(text: str, what: str, where: str, place_words: str) -> Format:
    """Parses a log-format string whose expressions must have a value in requests or in responses (`where`). Raises
    Wrong."""
    return _all_at_hand(read_format(text, what), what, where, place_words)


def _all_at_hand(made: Format, what: str, where: str, place_words: str) -> Format:
    for expression in made.expressions:
        _at_hand(expression, what, where, place_words)
    return made


def _at_hand(expression: Expression, what: str, where: str, place_words: str) -> Expression:
    needed = where_of(expression)
    if needed not in AT_HAND[where]:
        raise Wrong(f"{what}: '{expression}' needs {NEEDED[needed]}, which is not at hand in {place_words}")
    return expression


def printable(reading: Reading, value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise Wrong(f"{reading.what}: '{value}' has a character that cannot stand in a header")
    return value
