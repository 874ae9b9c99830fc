"""Compiles the usual limit on requests, `track-sc0 src` and a condition such as `{ sc_http_req_rate(0) gt 100 }`, to
one function for both.

The two rules do what `counters` and `matching` make of them. Each request passes them, so the entry is looked up once,
the clock is read once, and all of it takes two calls; as two rules it was seven, a tenth of a request's time. Wherever
a request is not like most (its client has an IPv6 address or none, or is new to the table; it tracks something already)
the functions are called that are made of any rules. A limit can be a guard, too (`grouping`): where no other rule has
to be run, a request within its limit passes none at all. This module knows exchanges only, as `Counted` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from reusedproxy.config.model.rules import Criterion, Rule
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.patterns import ranges
from reusedproxy.rules.counters import SOURCES
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.table_fetches import value_of_counter
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters


class _Client(Protocol):
    address: tuple[str, int]


class Counted(Facts, Protocol):
    """Defines an exchange as a limit knows it."""

    counters: Counters | None
    own_source: tuple[str, int] | None
    #: When its head was complete.
    read: float

    @property
    def client(self) -> _Client: ...


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
) -> Limit | None:
    """Returns what does what `track` and then `test` do, which are made of these two rules, one behind the other; None
    where they are not the usual ones. `rest` tests what the condition says behind its first criterion (None:
    nothing)."""
    action, criterion = tracking.action, _first_criterion(limiting)
    if not isinstance(action, Track) or tracking.condition is not None or str(action.key) not in SOURCES:
        return None
    if criterion is None or criterion.method != "int" or criterion.files or criterion.expression.converters:
        return None
    between = ranges(criterion.patterns, "int")
    table, asked = tables.get(action.table), value_of_counter(criterion.expression.fetch, action.counter)
    if table is None or not table.by_address or asked != table.alone_counted or len(between) != 1:
        return None
    within, number = table.limiting(*between[0]), action.counter

    def is_beyond(facts: Counted) -> bool:
        if facts.counters is None:
            row = within((facts.own_source or facts.client.address)[0], table.seconds())
            if row > 0:
                facts.counters = {number: (table, row)}
                return rest is None or rest(facts)
            if row:
                facts.counters = {number: (table, -row)}
                return False
        track(facts)
        return test(facts)

    def may_be_beyond(facts: Counted) -> bool:
        if facts.counters is not None:  # another limit has tracked it, which must be told of its end, too
            track(facts)
            return rest is not None or test(facts)
        row = within(facts.client.address[0], facts.read)
        if row < 0:
            facts.counters = {number: (table, -row)}
            return False
        if row:
            facts.counters = {number: (table, row)}
            return True
        track(facts)
        return rest is not None or test(facts)

    return Limit(is_beyond, may_be_beyond)


def _first_criterion(rule: Rule) -> Criterion | None:
    """Returns the criterion that is looked at first, and without which the rule's condition is not true, whatever else
    it says; None if there is no such one."""
    said = rule.condition
    if said is None or said.unless or len(said.alternatives) != 1:
        return None
    term = said.alternatives[0][0]
    return None if term.negated or len(term.criteria) != 1 else term.criteria[0]
