"""Reads the actions that concern stick tables: `track-sc0` and its like, and those that count, or set a tag, in what is
tracked. They are the same in all rules that have them."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.rules import Action
from reusedproxy.config.model.tables import MOST
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import type_of
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CASTS

_NUMBERS = re.compile(r"\(([0-9]{1,9})(?:,([0-9]{1,9}))?\)\Z")
_NUMBER = re.compile(r"-?[0-9]{1,19}\Z")


@frozen
class Track(Action):
    """Holds `track-sc<counter> <key> [table <table>]`; `table` "": that of the section."""

    counter: int
    key: Expression
    table: str = ""


@frozen
class CountGeneral(Action):
    """Holds `sc-inc-gpc` (by 1) or `sc-add-gpc`: the general purpose counter `number` of what `counter` tracks."""

    number: int
    counter: int
    by: int | Expression = 1


@frozen
class SetTag(Action):
    """Holds `sc-set-gpt`: the general purpose tag `number` of what `counter` tracks."""

    number: int
    counter: int
    value: int | Expression


def read_track(reading: Reading) -> Action:
    rest, counter = list(reading.words), reading.action.removeprefix("track-sc")
    if not counter:
        raise Wrong(f"{reading.what}: the number of a counter is missing: track-sc0, say")
    if not rest:
        raise Wrong(f"{reading.what} needs what is counted: {reading.action} src, say")
    key, table = reading.expression(rest.pop(0)), ""
    if rest:
        if rest[0] != "table":
            raise Wrong(f"{reading.what}: 'table' and a name can follow, not '{rest[0]}'")
        if len(rest) != 2:
            raise Wrong(f"{reading.what}: 'table' needs one name")
        table = rest[1]
    return Track(int(counter), key, table)


def read_general(reading: Reading) -> Action:
    """Reads `sc-inc-gpc(number,counter)`, `sc-inc-gpc0(counter)` and `sc-inc-gpc1(counter)`."""
    fixed = reading.action.removeprefix("sc-inc-gpc")
    number, counter, rest = _numbers(reading, fixed)
    if rest:
        raise Wrong(f"{reading.what}: '{rest[0]}' is too much: 'if' or 'unless' can follow")
    return CountGeneral(number, counter)


def read_add(reading: Reading) -> Action:
    """Reads `sc-add-gpc(number,counter) <number or expression>`."""
    number, counter, rest = _numbers(reading, "")
    return CountGeneral(number, counter, _amount(reading, rest))


def read_tag(reading: Reading) -> Action:
    """Reads `sc-set-gpt(number,counter)` or `sc-set-gpt0(counter)`, each with a number or an expression."""
    number, counter, rest = _numbers(reading, reading.action.removeprefix("sc-set-gpt"))
    return SetTag(number, counter, _amount(reading, rest))


def _numbers(reading: Reading, fixed: str) -> tuple[int, int, tuple[str, ...]]:
    """Returns the number of the value and that of the counter, and the words that follow. `fixed` is the former where
    the action's name has it."""
    rest = reading.words
    said = rest[0] if rest and rest[0].startswith("(") else ""
    if said:
        rest = rest[1:]
    elif fixed:
        return int(fixed), 0, rest
    found = _NUMBERS.match(said)
    if found is None or (found[2] is None) is not bool(fixed):
        form = "(<counter>)" if fixed else "(<number>,<counter>)"
        raise Wrong(f"{reading.what}: write {reading.action}{form}")
    if fixed:
        return int(fixed), int(found[1]), rest
    if int(found[1]) >= MOST:
        raise Wrong(f"{reading.what}: an entry has at most {MOST} of them, from 0 to {MOST - 1}")
    return int(found[1]), int(found[2]), rest


def _amount(reading: Reading, rest: tuple[str, ...]) -> int | Expression:
    if len(rest) != 1:
        raise Wrong(f"{reading.what} needs one number or expression" + (f", not '{rest[1]}', too" if rest else ""))
    if _NUMBER.match(rest[0]):
        return int(rest[0])
    value = reading.expression(rest[0])
    if "int" not in CASTS[type_of(value)]:
        raise Wrong(f"{reading.what}: '{rest[0]}' is no number and cannot become one")
    return value


#: Those that count in what is tracked, by their words.
COUNTING: dict[str, Callable[[Reading], Action]] = {
    **dict.fromkeys(("sc-inc-gpc", "sc-inc-gpc0", "sc-inc-gpc1"), read_general),
    "sc-add-gpc": read_add,
    **dict.fromkeys(("sc-set-gpt", "sc-set-gpt0"), read_tag),
}
#: All of them; `track-sc` stands for the word with any number (`haproxy_words.without_number`).
TABLE_ACTIONS: dict[str, Callable[[Reading], Action]] = {**COUNTING, "track-sc": read_track}
#: The values of all of them.
ON_TABLES = (Track, CountGeneral, SetTag)
