"""Defines the actions of rules that are about the log: `set-log-level` and `capture`. `actions` and `inspection` have
them in their tables."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.language import units
from reusedproxy.config.language.haproxy_words import LOG_LEVELS
from reusedproxy.config.language.report import Wrong, one_of
from reusedproxy.config.model.rules import Action
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST

#: No line is written.
SILENT = "silent"


@frozen
class SetLogLevel(Action):
    """Holds `set-log-level`; `level` "silent": no line is written."""

    level: str


@frozen
class Capture(Action):
    """Holds `capture EXPRESSION len N`, or `id N`: the value goes to a slot of the frontend. `length` 0: it goes to the
    one that `slot` numbers, which others have declared; else to one of its own, which is numbered when all lines of its
    section are read."""

    value: Expression
    length: int = 0
    slot: int = -1
    of_response: bool = False


def read_log_level(reading: Reading) -> Action:
    (level,) = reading.exactly("a level such as 'warning', or 'silent'")
    return SetLogLevel(one_of(level, (*LOG_LEVELS, SILENT), f"{reading.what}: the level"))


def read_capture_rule(reading: Reading) -> Action:
    words = reading.words
    of_request = reading.where in (REQUEST, CLIENT_BYTES)
    how = "'len' or 'id'" if of_request else "'id'"
    if len(words) != 3 or words[1] not in (("len", "id") if of_request else ("id",)):
        raise Wrong(f"{reading.what} needs an expression, {how} and a number")
    value = reading.expression(words[0])
    if words[1] == "len":
        return Capture(value, units.integer(words[2], f"{reading.what}: 'len'", least=1))
    return Capture(value, slot=units.integer(words[2], f"{reading.what}: 'id'"), of_response=not of_request)
