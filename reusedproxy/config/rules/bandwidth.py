"""Reads the action that switches a bandwidth limit on, `set-bandwidth-limit`, and finds the filter that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import evolve, frozen

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Wrong, did_you_mean
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.config.model.rules import Action, Rule
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import type_of
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CASTS


@frozen
class SetBandwidthLimit(Action):
    """Holds `set-bandwidth-limit <name>`. `limit` (bytes) and `period` (seconds, an expression of milliseconds) take
    the place of the filter's own, where they are said. `filter` is there once the section is read to its end."""

    name: str
    limit: int | Expression | None = None
    period: float | Expression | None = None
    filter: Bandwidth | None = None


def read_bandwidth_limit(reading: Reading) -> Action:
    """Reads `set-bandwidth-limit NAME [limit SIZE|EXPRESSION] [period TIME|EXPRESSION]`. Raises Wrong."""
    rest = list(reading.words)
    if not rest:
        raise Wrong(f"{reading.what} needs the name of a 'filter bwlim-in' or 'filter bwlim-out'")
    name = rest.pop(0)
    limit: int | Expression | None = None
    period: float | Expression | None = None
    while rest:
        word = rest.pop(0)
        if word not in ("limit", "period"):
            raise Wrong(f"{reading.what}: unknown word '{word}'{did_you_mean(word, ('limit', 'period'))}")
        if not rest:
            raise Wrong(f"{reading.what}: '{word}' needs a value or an expression")
        text, what = rest.pop(0), f"{reading.what}: '{word}'"
        if not re.match(r"[0-9]", text):
            value = reading.expression(text)
            if "int" not in CASTS[type_of(value)]:
                raise Wrong(f"{what}: '{text}' is no number and cannot become one")
            limit, period = (value, period) if word == "limit" else (limit, value)
        elif word == "limit":
            limit = units.size(text, what) or None  # as in HAProxy, 0 leaves the filter's own
        else:
            period = units.seconds(text, what) or None
    return SetBandwidthLimit(name, limit, period)


def with_filter(rule: Rule, filters: Mapping[str, Bandwidth]) -> Rule:
    """Returns the rule with the filter that it names."""
    action = rule.action
    if not isinstance(action, SetBandwidthLimit):
        return rule
    return evolve(rule, action=evolve(action, filter=filters.get(action.name)))
