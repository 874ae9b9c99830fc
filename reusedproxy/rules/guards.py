"""Makes the guard of a section's rules for requests: one test that tells, before any of them is run, that none applies.

To run rules of which none applies takes five calls more than to ask. The guard asks what each rule asks first, or each
group of them (`grouping`), if that cannot fail, and does what a rule only counts. Where one may apply, the rules are
run from that one on: what was asked or done before it may have changed something, and is not asked or done again. It
must never know exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from reusedproxy.config.model.rules import Action, Criterion, Rule
from reusedproxy.config.rules.counters import CountGeneral, SetTag, Track
from reusedproxy.rules.ahead import Asked, comparing, tracking
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.grouping import MOST_TESTS, asks_alike, guard, is_safe, kind_of
from reusedproxy.rules.samples.compile import compiled_all
from reusedproxy.rules.samples.table_fetches import asked_of, changes
from reusedproxy.tables.table import Table

Test = Callable[[Any], bool]

#: The methods by which what a stick table knows is compared, and that never fail.
_COMPARED = frozenset(("int", "bool", "found"))


class AboutTables:
    """Finds, among rules in their order, those about stick tables that a guard can ask, or do."""

    def __init__(self, tables: Mapping[str, Table], before: Iterable[Rule] = ()) -> None:
        """Takes the tables, by name, and rules that may have tracked something before: those for connections."""
        self._tables = tables
        #: The names of the tables that counters track.
        self._names: dict[int, str] = {}
        #: How many rules have changed what they ask for.
        self._changing = 0
        for rule in before:
            self._note(rule.action)

    def _note(self, action: Action) -> None:
        if isinstance(action, Track):
            self._names.setdefault(action.counter, action.table)

    def ahead(self, rule: Rule, act: Callable[[Facts], object], test: Test | None) -> tuple[Test | None, Test | None]:
        """Returns what a guard asks for the next rule, which these two are made of, and the rule's test behind such a
        guard. There is nothing to ask if the rule is about no table, or cannot be taken ahead."""
        action, criteria = rule.action, _criteria(rule)
        self._note(action)
        asked = [each for each in criteria if _of_table(each) is not None]
        if not all(each in asked or asks_alike(each) for each in criteria):
            return None, test
        if isinstance(action, Track) and not is_safe(action.key):
            return None, test
        if _only_counts(action):
            table = self._tables.get(action.table) if isinstance(action, Track) else None
            if isinstance(action, Track) and table is not None:
                tracks = tracking(action, table)
                return tracks if test is None else _done(tracks, test), test
            return _done(act, test), test
        if test is None or not asked:
            return None, test
        if any(changes(each.expression.fetch) for each in asked):
            self._changing += 1
            return _asking_once(self._compared(rule, asked[0], test), self._changing, test)
        return self._compared(rule, asked[0], test), test

    def _compared(self, rule: Rule, said: Criterion, test: Test) -> Test:
        """Returns what asks the same as the test of a rule, in fewer calls if it is all about one value."""
        condition = rule.condition
        if condition is None or condition.unless or len(_criteria(rule)) != 1 or condition.alternatives[0][0].negated:
            return test
        number, named = _of_table(said) or (-1, "")
        if number >= 0 and named:
            return test  # that of another table with the same key
        table = self._tables.get(named or self._names.get(number, ""))
        return test if table is None else comparing(said, number, table, test)


def _criteria(rule: Rule) -> list[Criterion]:
    said = rule.condition
    return [] if said is None else [each for terms in said.alternatives for term in terms for each in term.criteria]


def _only_counts(action: Action) -> bool:
    """Tells whether an action concerns tables alone, and cannot fail."""
    if isinstance(action, CountGeneral):
        return isinstance(action.by, int)
    return isinstance(action, Track) or (isinstance(action, SetTag) and isinstance(action.value, int))


def _asking_once(first: Test, number: int, test: Test) -> tuple[Test, Test]:
    """Returns what a guard asks, and what the rule asks then, of a test that changes what it asks for. The guard asks
    `first`, which does the same."""

    def ask_first(facts: Asked) -> bool:
        if first(facts):
            facts.found = number
            return True
        return False

    def ask(facts: Asked) -> bool:
        if facts.found == number:
            facts.found = 0
            return True
        return test(facts)

    return ask_first, ask


def _of_table(said: Criterion) -> tuple[int, str] | None:
    expression = said.expression
    if expression.converters or said.files or said.method not in _COMPARED:
        return None
    return asked_of(expression.fetch)


def _done(act: Callable[[Facts], object], test: Test | None) -> Test:
    """Returns what a guard does for a rule that decides nothing."""

    def is_done(facts: Facts) -> bool:
        if test is None or test(facts):
            act(facts)
        return False

    return is_done


def guard_of(known: Sequence[Test | None], asked: Sequence[tuple[Criterion, ...]], where: str) -> Test | None:
    """Returns a test that is false if each of the `known` ones is, and none of what the other steps ask first is true;
    None where that does not tell. Where it is true, it notes from which step on they have to be run."""
    tests: list[Test] = []
    for test, criteria in zip(known, asked, strict=True):
        if test is None and not 0 < len({*map(kind_of, criteria)}) <= MOST_TESTS:
            return None
        tests.append(guard(criteria, where) if test is None else test)
    if not tests:
        return None
    if len(tests) == 1 and not any(compiled_all(each.expression, where) for criteria in asked for each in criteria):
        return tests[0]

    def may_apply(facts: Asked) -> bool:
        at = 0
        try:
            for test in tests:
                if test(facts):
                    facts.passed = at
                    return True
                at += 1
        except Exception:  # too many values of a list (`rules.many`), say: where the rule is run, it says so
            facts.passed = at
            return True
        return False

    return may_apply
