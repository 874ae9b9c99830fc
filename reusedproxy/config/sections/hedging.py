"""Parses `hedge`, a keyword of reusedproxy's own. Must never know other keywords."""

from __future__ import annotations

import re

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Line, Wrong
from reusedproxy.config.model.hedging import Hedge

#: Least and most seconds of `after`, and shares of `budget` and percentiles.
AFTER_LEAST, AFTER_MOST = 0.001, 60.0
BUDGET_MOST = 0.5
PERCENTILES = (0.5, 0.999)

_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,2})?)\Z")
_SHARE = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,2})?)%\Z")


def read_hedge(line: Line) -> Hedge | None:
    """Reads `hedge [after p95|TIME] [budget N%]`, or `hedge off` (None). Raises Wrong."""
    words = [*line.arguments]
    if words == ["off"]:
        return None
    hedge: dict[str, float | None] = {}
    while words:
        word = words.pop(0)
        if word not in ("after", "budget"):
            raise Wrong(f"'hedge' takes 'after p95' (or a time), 'budget 5%', or 'off' alone, not '{word}'")
        if word in hedge:
            raise Wrong(f"'hedge': '{word}' is said twice")
        if not words:
            raise Wrong(f"'hedge {word}' needs {'p95, or a time' if word == 'after' else 'a share such as 5%'}")
        value = words.pop(0)
        if word == "budget":
            hedge["budget"] = _share(value)
        elif found := _PERCENTILE.match(value):
            hedge["after"] = None
            hedge["percentile"] = _percentile(value, float(found[1]) / 100)
        else:
            hedge["after"] = _after(value)
    return Hedge(**hedge)  # type: ignore[arg-type]


def _share(value: str) -> float:
    found = _SHARE.match(value)
    share = float(found[1]) / 100 if found else 0.0
    if not 0 < share <= BUDGET_MOST:
        raise Wrong(f"'hedge budget' needs a share of requests above 0% and up to {BUDGET_MOST:.0%}, not '{value}'")
    return share


def _percentile(value: str, share: float) -> float:
    least, most = PERCENTILES
    if not least <= share <= most:
        raise Wrong(f"'hedge after {value}': the percentile has to be between p{least * 100:g} and p{most * 100:g}")
    return share


def _after(value: str) -> float:
    if value.startswith("p"):
        raise Wrong(f"'hedge after' needs a percentile such as p95 or p99.5, or a time, not '{value}'")
    seconds = units.positive_seconds(value, "'hedge after'")
    if not AFTER_LEAST <= seconds <= AFTER_MOST:
        raise Wrong(f"'hedge after': '{value}' is too long: at most {AFTER_MOST:g}s")
    return seconds
