"""Makes the guard of a section's rules for requests: one test that tells, before any of them is run, that none applies.

To run rules of which none applies takes five calls more than to ask. The guard asks what each rule asks first, or each
group of them (`grouping`), if that changes nothing and cannot fail. What rules only track it tracks itself: when they
are run after all, they find it tracked. It must never know exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from reusedproxy.config.model.rules import Condition, Criterion, Rule
from reusedproxy.config.rules.counters import Track
from reusedproxy.rules.ahead import comparing, tracking
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.grouping import MOST_TESTS, asks_alike, guard, kind_of
from reusedproxy.rules.samples.table_fetches import asked_of
from reusedproxy.tables.table import Table

Test = Callable[[Facts], bool]

#: The methods by which what a stick table knows is compared, and that never fail.
_COMPARED = frozenset(("int", "bool", "found"))
#: Stands for a table that is not known.
_ANY = "*"


class AboutTables:
    """Finds, among rules in their order, those about stick tables that a guard can ask, or run.

    A rule asks before others track. What it asked must not be changed by these: it is asked again when the rules are
    run after the guard, and they would refuse what they let pass before."""

    def __init__(self, tables: Mapping[str, Table], before: Iterable[Rule] = ()) -> None:
        """Takes the tables, by name, and rules that may have tracked something before: those for connections."""
        self._known = tables
        #: The table that each counter tracks; and the numbers of counters, and names of tables, that were asked so far.
        self._tables: dict[int, str] = {}
        self._asked: set[int | str] = set()
        for action in (rule.action for rule in before):
            if isinstance(action, Track):
                self._tables.setdefault(action.counter, action.table)

    def ahead(self, rule: Rule, act: Callable[[Facts], object], test: Test | None) -> Test | None:
        """Returns what a guard asks for the next rule, which these two are made of; None if the rule is about no table,
        or cannot be taken ahead. What only tracks something is done, and is false."""
        asked = set[int | str]() if rule.condition is None else self._asked_by(rule.condition)
        action = rule.action
        if asked is None or not (asked or isinstance(action, Track)):
            return None
        if isinstance(action, Track):
            if self._asked & {action.counter, action.table, _ANY}:
                return None
            self._tables.setdefault(action.counter, action.table)
        self._asked |= asked
        if not isinstance(action, Track):
            return None if test is None else self._compared(rule, test)
        table = self._known.get(action.table)
        if table is not None:
            act = tracking(action, table)
            if test is None:
                return act
        return _done(act, test)

    def _compared(self, rule: Rule, test: Test) -> Test:
        """Returns what asks the same as the test of a rule, in fewer calls if it is all about one value."""
        said = rule.condition
        criteria = [each for terms in said.alternatives for term in terms for each in term.criteria] if said else []
        asked = _of_table(criteria[0])
        if said is None or said.unless or len(criteria) != 1 or asked is None or said.alternatives[0][0].negated:
            return test
        number, named = asked
        if number >= 0 and named:
            return test  # that of another table with the same key
        table = self._known.get(named or self._tables.get(number, ""))
        return test if table is None else comparing(criteria[0], number, table, test)

    def _asked_by(self, said: Condition) -> set[int | str] | None:
        """Returns what a condition asks of tables; None if it asks what changes something, or can fail."""
        found = set[int | str]()
        for each in (each for terms in said.alternatives for term in terms for each in term.criteria):
            asked = _of_table(each)
            if asked is not None:
                number, table = asked
                found |= {number, table or self._tables.get(number, _ANY)}
            elif not asks_alike(each):
                return None
        return found


def _of_table(said: Criterion) -> tuple[int, str] | None:
    expression = said.expression
    if expression.converters or said.files or said.method not in _COMPARED:
        return None
    return asked_of(expression.fetch)


def _done(act: Callable[[Facts], object], test: Test | None) -> Test:
    def is_done(facts: Facts) -> bool:
        if test is None or test(facts):
            act(facts)
        return False

    return is_done


def guard_of(known: Sequence[Test | None], asked: Sequence[tuple[Criterion, ...]], where: str) -> Test | None:
    """Returns a test that is false if each of the `known` ones is, and none of what the other steps ask first is true;
    None where that does not tell."""
    tests: list[Test] = []
    for test, criteria in zip(known, asked, strict=True):
        if test is None and not 0 < len({*map(kind_of, criteria)}) <= MOST_TESTS:
            return None
        tests.append(guard(criteria, where) if test is None else test)
    if len(tests) < 2:
        return tests[0] if tests else None

    def may_apply(facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 (it is a third of the time of `any`)
            if test(facts):
                return True
        return False

    return may_apply
