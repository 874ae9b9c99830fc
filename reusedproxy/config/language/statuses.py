"""Parses lists of statuses: `400-499 -404 +500,502`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reusedproxy.config.language.report import Line, Wrong

LEAST, MOST = 100, 599
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z")


def read_statuses(line: Line, before: frozenset[int]) -> frozenset[int]:
    """Returns the statuses that a line makes of those `before`: a word with `+` adds its ranges, one with `-` takes
    them out, and one without a sign puts them in the place of all. Raises Wrong."""
    what, statuses = f"'{line.keyword}'", before
    if not line.arguments:
        raise Wrong(f"{what} needs ranges of statuses after it: 400-499 -404, say")
    for word in line.arguments:
        sign = word[0] if word[:1] in ("+", "-") else ""
        said = frozenset(_statuses(word[len(sign) :], f"{what}: '{word}'"))
        statuses = statuses | said if sign == "+" else statuses - said if sign == "-" else said
    return statuses


def _statuses(text: str, what: str) -> Iterator[int]:
    for each in text.split(","):
        found = _RANGE.match(each)
        if found is None:
            raise Wrong(f"{what} is no list of statuses and ranges of them, such as 400,402-444")
        first, last = int(found[1]), int(found[2] or found[1])
        if not LEAST <= first <= last <= MOST:
            raise Wrong(f"{what}: statuses are from {LEAST} to {MOST}, the smaller one of a range first")
        yield from range(first, last + 1)
