"""Tells which rules about bytes that are still coming do something once only, and which wait.

HAProxy runs all rules again, from the first one on, whenever more comes. So it is here, but that an action that counts
does so once for each session: as soon as its counter tracks something. Variables and whatever else is set are set again
(`set-var(sess.n) req.len`), or whoever sends late would get past a rule that asks for it. The key of an entry that is
tracked is waited for as long as it may change (src/tcp_rules.c, SMP_F_MAY_CHANGE). It must never know how bytes come.
"""

from __future__ import annotations

from collections.abc import Iterable

from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.values import Expression
from reusedproxy.config.model.within import values_in
from reusedproxy.config.rules.actions import SetVariable
from reusedproxy.config.rules.bandwidth import SetBandwidthLimit
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.samples import CLIENT_BYTES, EITHER_BYTES, SERVER_BYTES
from reusedproxy.config.rules.steering import Resolve
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.fetches import Fetch
from reusedproxy.rules.samples.table_fetches import asked_of, changes

#: Parts of the names of fetches and converters that count, or clear what was counted.
_COUNTING = ("inc_gpc", "clr_gpc", "updt_conn_cnt")


def done_once(rule: Rule, rules: Iterable[Rule]) -> bool:
    """Tells whether a rule among these does once what it does: it limits or looks up, or sets a variable by what
    counts, or one that another rule looks up, whose address stays. (`rules.counters` counts once by itself.)"""
    action = rule.action
    looked_up = {each.action.variable for each in rules if isinstance(each.action, Resolve)}
    if isinstance(action, SetVariable):
        return action.name in looked_up or counts(action)
    return isinstance(action, Resolve | SetBandwidthLimit)


def counters_of(rule: Rule) -> tuple[int, ...]:
    """Returns the counters (`sc0`) in whose entries a rule counts as it sets a variable. It has not done so before they
    track something."""
    if not isinstance(rule.action, SetVariable):
        return ()
    calls = [expression.fetch for expression in values_in(rule.action, Expression)]
    asked = [asked_of(call) for call in calls if changes(call)]
    return tuple({each[0] for each in asked if each is not None and each[0] >= 0})


def counts(said: object) -> bool:
    """Tells whether something is counted, or cleared, when this is evaluated."""
    return any(
        part in call.name
        for expression in values_in(said, Expression)
        for call in (expression.fetch, *expression.converters)
        for part in _COUNTING
    )


def waited_for(rule: Rule, where: str) -> Fetch | None:
    """Compiles the key of an entry that a rule tracks by bytes; None if it tracks none."""
    action = rule.action
    by_bytes = isinstance(action, Track) and where_of(action.key) in (CLIENT_BYTES, SERVER_BYTES, EITHER_BYTES)
    return compiled(action.key, where) if by_bytes and isinstance(action, Track) else None


def may_change(fetch: Fetch, facts: Facts) -> bool:
    """Tells whether a sample may become another one when more comes. Raises Incomplete."""
    inspected = facts.inspected
    if inspected is None or inspected.final:
        return False
    inspected.changes = False
    fetch(facts)
    return inspected.changes
