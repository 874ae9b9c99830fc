"""Ties connections and requests to the entries that count them, by the numbers of their counters (`track-sc0`).

A request has counters of its own, and where it has none of a number those of its connection count it, too. It must
never know connections or requests.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.tables.table import Counted, Table

# Kinds of events, by the attribute of a table that says where they are counted.
SESSIONS = "sessions"
REQUESTS = "requests"
ERRORS = "errors"
FAILURES = "failures"
BYTES_IN = "bytes_in"
BYTES_OUT = "bytes_out"


class Tracked:
    """Holds an entry that is tracked, and its table."""

    __slots__ = ("row", "table")

    def __init__(self, table: Table, row: int) -> None:
        self.table = table
        self.row = row


#: By the number of the counter.
Counters = dict[int, Tracked]


def count(own: Counters | None, shared: Counters | None, kind: str, events: int = 1) -> None:
    """Counts events of this kind in each of the counters `own`, and in those of `shared` that have other numbers."""
    for tracked in _all(own, shared):
        counted: Counted | None = getattr(tracked.table, kind)
        if counted is not None:
            tracked.table.count(tracked.row, counted, events)


def count_answer(tracked: Tracked, status: int) -> None:
    """Counts what an answer with this status says of the client, or of the server."""
    kind = kind_of(status)
    if kind:
        table = tracked.table
        table.count(tracked.row, table.errors if kind == ERRORS else table.failures)


def kind_of(status: int) -> str:
    """Returns ERRORS for an answer that a client is to blame for, FAILURES for one that a server is, or ""."""
    if 400 <= status < 500:
        return ERRORS
    return FAILURES if 500 <= status < 600 and status not in (501, 505) else ""


def leave(counters: Counters) -> None:
    """Tracks the entries of these counters no more."""
    for tracked in counters.values():
        tracked.table.leave(tracked.row)
    counters.clear()


def _all(own: Counters | None, shared: Counters | None) -> Iterator[Tracked]:
    if own:
        yield from own.values()
    if shared:
        for number, tracked in shared.items():
            if not own or number not in own:
                yield tracked
