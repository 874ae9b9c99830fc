"""Counts what became of the fetches of a list of revoked certificates. It must never know who fetches."""

from __future__ import annotations

from attrs import Factory, define

# What a fetch may come to.
CHANGED = "changed"
UNCHANGED = "unchanged"
FAILED = "failed"


@define
class ListFetches:
    """Holds the fetches of one URL. `last` is when the server answered last with a list that counts, `until` the time
    of its next one (Unix time); None before the first. `trouble` is why the newest fetch has failed, "" if it has not.
    """

    url: str
    counts: dict[str, int] = Factory(lambda: dict.fromkeys((CHANGED, UNCHANGED, FAILED), 0))
    last: float | None = None
    until: float | None = None
    trouble: str = ""
