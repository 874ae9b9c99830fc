"""Compiles the actions that concern stick tables (`config.rules.counters`): what is tracked, and what is counted in it.

Which events are counted besides, and when tracking ends, is known to those who carry requests and connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.counters import CountGeneral, SetTag, Track
from reusedproxy.config.rules.samples import CLIENT_BYTES, RESPONSE, SERVER_BYTES
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.casts import to_int
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.keys import UNIX, cast_for, key_of, source_key
from reusedproxy.tables.table import MASK, Key, Table
from reusedproxy.tables.tracking import count_answer

Act = Callable[[Facts], None]
#: The expression for the client's address.
SOURCE = "src"
#: Returns the key of a request, say, for a table; None if it has none.
MakeKey = Callable[[Facts, Table], "Key | None"]


def track(action: Track, where: str) -> Act:
    """Compiles `track-sc0` and its like. As in HAProxy, a counter tracks the first that it is told, until the end; what
    the client's connection tracks is the first for all its requests. A request, and an answer that is tracked late,
    count at once, but for rules for contents: what these let pass is counted behind them."""
    number, name, key = action.counter, action.table, key_for(action.key, where)
    counts = where != CLIENT_BYTES
    of_source = str(action.key) == SOURCE

    def act(facts: Facts) -> None:
        if facts.tracked(number) is not None:
            return
        own, table = facts.counters, facts.table(name)
        if table is None:
            return
        # The usual key is made without another call.
        host = facts.source[0] if of_source and table.by_address else ":"
        made = key(facts, table) if ":" in host or host == UNIX else host
        if made is None:
            return
        row = table.track(made, table.requests if counts and facts.head is not None else None)
        if not row:
            return
        # Another dictionary: the one before may be that of all requests of a connection (`tables.limiting`).
        facts.counters = {number: (table, row)} if own is None else {**own, number: (table, row)}
        if where == RESPONSE and facts.answer is not None:
            count_answer((table, row), facts.answer.status)

    return act


def key_for(expression: Expression, where: str, known: StickTable | None = None) -> MakeKey:
    """Compiles an expression to a function that returns its value as a key of a table, which may be `known`."""
    if str(expression) == SOURCE:
        return lambda facts, table: source_key(facts, table.settings)
    fetch = compiled(expression, where)
    if known is not None:
        cast, length = cast_for(known), known.length
        return lambda facts, table: cast(fetch(facts), length)
    return lambda facts, table: key_of(fetch(facts), table.settings)


def count_general(action: CountGeneral, where: str) -> Act:
    """Compiles `sc-inc-gpc` and `sc-add-gpc`."""
    number, counter, amount = action.number, action.counter, _amount(action.by, where)

    def act(facts: Facts) -> None:
        tracked = facts.tracked(counter)
        events = amount(facts)
        if tracked is not None and events is not None:
            table, row = tracked
            table.count(row, table.general(number), events)

    return _once(act, id(action), counter) if where in (CLIENT_BYTES, SERVER_BYTES) else act


def _once(act: Act, rule: int, counter: int) -> Act:
    """Has a rule for contents count once, as soon as the counter tracks something: it is run whenever more bytes come;
    and of who is judged as a session before a request came, the rules judge the first request, too."""

    def act_once(facts: Facts) -> None:
        if rule not in facts.counted and facts.tracked(counter) is not None:
            act(facts)
            facts.counted = (*facts.counted, rule)

    return act_once


def set_tag(action: SetTag, where: str) -> Act:
    """Compiles `sc-set-gpt`."""
    name, counter, amount = f"gpt{action.number}", action.counter, _amount(action.value, where)

    def act(facts: Facts) -> None:
        tracked, value = facts.tracked(counter), amount(facts)
        if tracked is not None and value is not None:
            table, row = tracked
            slot = table.slots.get(name)
            if slot is not None:
                table.put(row, slot, value & MASK)

    return act


def _amount(said: int | Expression, where: str) -> Callable[[Facts], int | None]:
    if isinstance(said, int):
        return lambda facts: said
    fetch = compiled(said, where)
    return lambda facts: to_int(fetch(facts))
