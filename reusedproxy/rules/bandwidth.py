"""Compiles `set-bandwidth-limit`: makes the allowance of one transfer, and gives it to that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.bandwidth import SetBandwidthLimit
from reusedproxy.rules.counters import key_for
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.casts import to_int
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.tables.allowances import Own, Share

Act = Callable[[Facts], None]


def set_bandwidth_limit(action: SetBandwidthLimit, where: str) -> Act:
    """Compiles it for requests, or answers."""
    said = action.filter
    assert said is not None
    if said.key is None:
        limit, period = _number(action.limit, where), _number(action.period, where, 1000)

        def set_own(facts: Any) -> None:
            facts.limit_bandwidth(said, Own(int(limit(facts) or said.limit), period(facts) or said.period, said.least))

        return set_own
    key, name = key_for(said.key, where), said.table

    def set_shared(facts: Any) -> None:
        table = facts.table(name)
        made = None if table is None else key(facts, table)
        if made is not None and table is not None:
            slot = table.slots[said.counted]
            facts.limit_bandwidth(said, Share(table, slot, made, said.limit, said.least))

    return set_shared


def _number(said: float | Expression | None, where: str, parts: int = 1) -> Callable[[Facts], float | None]:
    """Returns a function that finds a number; one that is fetched is in so many `parts` of it. None: there is none, or
    none above 0."""
    if not isinstance(said, Expression):
        return lambda facts: said
    fetch = compiled(said, where)

    def found(facts: Facts) -> float | None:
        number = to_int(fetch(facts))
        return number / parts if number is not None and number > 0 else None

    return found
