"""Compiles the usual limit on requests, `track-sc0 src` and a condition such as `{ sc_http_req_rate(0) gt 100 }`, to
one function for both.

The two rules do what `counters` and `matching` make of them. Each request passes them, so the entry is looked up once,
or not at all (`tables.limiting`), the clock is read once, and a guard does all of it in one call; as two rules it was
seven, a tenth of a request's time. Wherever a request is not like most (its client has an IPv6 address or none, or is
new to the table; it tracks something already) the functions are called that are made of any rules. A limit can be a
guard, too (`guards`): where no other rule has to be run, a request within its limit passes none at all. This module
knows exchanges only, as `Counted` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from reusedproxy.config.model.rules import Criterion, Rule
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.patterns import ranges
from reusedproxy.rules.counters import SOURCE
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.table_fetches import value_of_counter
from reusedproxy.tables.limiting import Request, counting
from reusedproxy.tables.table import Table


class Counted(Facts, Request, Protocol):
    """Defines an exchange as a limit knows it."""

    own_source: tuple[str, int] | None


class Limit:
    """Combines the two rules of a limit. `test` does what both do, up to whether the second applies. `guard` is for a
    request that no rule has seen so far: it tracks the request, and returns False if the second rule does not apply for
    sure. Otherwise `test` has to be called, which counts nothing twice."""

    # Not of attrs, which would leave it interpreted where the rest of what a request passes is compiled.
    def __init__(self, test: Callable[[Any], bool], guard: Callable[[Any], bool]) -> None:
        self.test = test
        self.guard = guard


def limit(
    tracking: Rule,
    limiting: Rule,
    tables: Mapping[str, Table],
    track: Callable[[Facts], object],
    test: Callable[[Facts], bool],
    rest: Callable[[Facts], bool] | None,
    first: bool,
) -> Limit | None:
    """Returns what does what `track` and then `test` do, which are made of these two rules, one behind the other; None
    where they are not the usual ones. `rest` tests what the condition says behind its first criterion (None:
    nothing). `first`: nothing has been tracked for a request when the guard is asked."""
    action, criterion = tracking.action, _first_criterion(limiting)
    if not isinstance(action, Track) or tracking.condition is not None or str(action.key) != SOURCE:
        return None
    if criterion is None or criterion.method != "int" or criterion.files or criterion.expression.converters:
        return None
    between = ranges(criterion.patterns, "int")
    table, asked = tables.get(action.table), value_of_counter(criterion.expression.fetch, action.counter)
    if table is None or not table.by_address or not asked or asked != table.alone_counted or len(between) != 1:
        return None

    def tracked_first(facts: Counted) -> bool:
        track(facts)
        return rest is not None or test(facts)

    may_be_beyond = counting(table, action.counter, *between[0], tracked_first)

    def is_beyond(facts: Counted) -> bool:
        if facts.counters is None:
            own = facts.own_source
            return may_be_beyond(facts, table.seconds(), None if own is None else own[0]) and (
                rest is None or test(facts)
            )
        track(facts)
        return test(facts)

    # What another limit has tracked must be told of its end, too.
    return Limit(is_beyond, may_be_beyond if first else tracked_first)


def _first_criterion(rule: Rule) -> Criterion | None:
    """Returns the criterion that is looked at first, and without which the rule's condition is not true, whatever else
    it says; None if there is no such one."""
    said = rule.condition
    if said is None or said.unless or len(said.alternatives) != 1:
        return None
    term = said.alternatives[0][0]
    return None if term.negated or len(term.criteria) != 1 else term.criteria[0]
