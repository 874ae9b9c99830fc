"""Tells which actions about bytes that are still coming have to be done again when more has come, or to wait.

HAProxy runs its rules from the first one on whenever more comes. Here each does once what it does, so that nothing is
counted twice. But a variable that is made of what has come so far (`set-var(sess.n) req.len`) has to be set again, or
whoever sends late would get past a rule that asks for it; and what may be kept once only, the key of an entry or a
captured value, is waited for (src/tcp_rules.c, SMP_F_MAY_CHANGE). It must never know how bytes come.
"""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.values import Expression
from reusedproxy.config.model.within import values_in
from reusedproxy.config.rules.actions import SetVariable
from reusedproxy.config.rules.counters import CountGeneral, SetTag, Track
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.log_actions import Capture
from reusedproxy.config.rules.samples import CLIENT_BYTES, EITHER_BYTES, SERVER_BYTES
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.fetches import Fetch

_OF_BYTES = (CLIENT_BYTES, SERVER_BYTES, EITHER_BYTES)
#: Parts of the names of fetches and converters that count, or clear what was counted.
_COUNTING = ("inc_gpc", "clr_gpc")


def set_again(rules: Sequence[Rule]) -> list[bool]:
    """Tells of each rule whether it sets a variable by bytes, or by a variable that is set so."""
    found: list[bool] = []
    names: set[str] = set()
    for rule in rules:
        action = rule.action
        expressions = [*values_in(action, Expression), *values_in(rule.condition, Expression)]
        calls = [call for each in expressions for call in (each.fetch, *each.converters)]
        changes = any(where_of(each) in _OF_BYTES for each in expressions) or any(
            argument in names for call in calls for argument in call.arguments
        )
        counts = any(part in call.name for call in calls for part in _COUNTING)
        again = isinstance(action, SetVariable) and changes and not counts
        if again and isinstance(action, SetVariable):
            names.add(action.name)
        found.append(again)
    return found


def waited_for(rule: Rule, where: str) -> Fetch | None:
    """Compiles what an action keeps for good of bytes; None if it keeps nothing of them."""
    action = rule.action
    kept: object = None
    if isinstance(action, Track):
        kept = action.key
    elif isinstance(action, Capture | SetTag):
        kept = action.value
    elif isinstance(action, CountGeneral):
        kept = action.by
    if not isinstance(kept, Expression) or where_of(kept) not in _OF_BYTES:
        return None
    return compiled(kept, where)


def may_change(fetch: Fetch, facts: Facts) -> bool:
    """Tells whether a sample may become another one when more comes. Raises Incomplete."""
    inspected = facts.inspected
    if inspected is None or inspected.final:
        return False
    inspected.changes = False
    fetch(facts)
    return inspected.changes
