"""Bounds the values that rules look at for one request, or one session: a client may send thousands in one header, and
each rule about it looks at all of them.

A request that exceeds the bound is refused as one that cannot be judged (`rules.regular.Unevaluated`). It must never
know what the values are.
"""

from __future__ import annotations

from typing import Final

from reusedproxy.rules.facts import Facts
from reusedproxy.rules.regular import Unevaluated

#: The most values for one request. Nearly all take 0.3 to 1 µs each; HAProxy has no such bound, and needs 0.05.
MOST: Final = 20_000
#: Lists of so many are not counted.
FEW: Final = 16
#: How many values one stands for that is searched and written anew (`replace-value`: 3 µs).
REPLACED: Final = 4


def look_at(facts: Facts, values: int) -> None:
    """Counts so many values. Raises Unevaluated if these are too many."""
    facts.compared += values
    if facts.compared > MOST:
        raise Unevaluated(f"the rules for one request look at more than {MOST} values of its lists")
