"""Makes what a guard does for rules about stick tables: it tracks, and compares what an entry counts.

Each request passes it, so it takes fewer calls than the rules themselves (`counters`, `matching`): the table is known,
nothing has said that a request comes from elsewhere, and only where a request is not like most are the functions called
that are made of any rules. It knows exchanges only, as `Asked` says, and what they are before any rule has been run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from reusedproxy.config.model.rules import Criterion
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.patterns import ranges
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.rules.counters import SOURCE, key_for
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.casts import MAX, MIN
from reusedproxy.rules.samples.keys import UNIX
from reusedproxy.rules.samples.table_fetches import plain_value
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters


class _Session(Protocol):
    @property
    def counters(self) -> Counters | None: ...


class _Client(Protocol):
    address: tuple[str, int]

    @property
    def session(self) -> _Session | None: ...


class Asked(Facts, Protocol):
    """Defines an exchange as a guard knows it. `passed` is the number of rules that it has passed, and `found` that of
    the rule which changes what it asks for, and whose condition the guard has found true; 0: none."""

    passed: int
    found: int

    @property
    def client(self) -> _Client: ...


def tracking(action: Track, table: Table) -> Callable[[Any], bool]:
    """Returns a function that does what `track-sc0` and its like do for a request, and returns False."""
    number, of_source = action.counter, table.by_address and str(action.key) == SOURCE
    key = key_for(action.key, REQUEST, table.settings)

    def track(facts: Asked) -> bool:
        own, session = facts.counters, facts.client.session
        if own is not None and number in own:
            return False
        if session is not None and session.counters is not None and number in session.counters:
            return False
        # The usual key is made without another call.
        host = facts.client.address[0] if of_source else ":"
        made = key(facts, table) if ":" in host or host == UNIX else host
        row = 0 if made is None else table.track(made, table.requests)
        if row:
            facts.counters = {number: (table, row)} if own is None else {**own, number: (table, row)}
        return False

    return track


def comparing(said: Criterion, number: int, table: Table, test: Callable[[Facts], bool]) -> Callable[[Any], bool]:
    """Returns a function that compares as `test` does, which is made of this criterion; -1 in place of the number of a
    counter asks the client's address. It is `test` where the criterion is not one of the usual ones."""
    name, more = plain_value(said.expression.fetch)
    slot, counted = table.slots.get(name), table.general(more) if more >= 0 else None
    between = ranges(said.patterns, "int") if said.method == "int" else ()
    if slot is None or slot.names or len(between) != 1:
        return test
    low, high = between[0]
    least, most = MIN if low is None else low, MAX if high is None else high
    place, at, is_rate, width, values = slot, slot.at, slot.period > 0, table.width, table.values

    def has_counted(facts: Asked) -> bool:
        own, session = facts.counters, facts.client.session
        if own is not None and number in own:
            found, row = own[number]
        elif session is not None and session.counters is not None and number in session.counters:
            found, row = session.counters[number]
        else:
            return False
        if found is not table:
            return test(facts)
        if counted is not None:
            table.count(row, counted)
        return least <= (table.value(row, place) if is_rate else values[row * width + at]) <= most

    def has_counted_of_source(facts: Asked) -> bool:
        host = facts.client.address[0]
        if ":" in host or host == UNIX:
            return test(facts)
        row = table.find(host)
        return least <= (table.value(row, place) if row else 0) <= most

    if number >= 0:
        return has_counted
    return has_counted_of_source if table.by_address and counted is None else test
