"""Ties connections and requests to the entries that count them, by the numbers of their counters (`track-sc0`).

A request has counters of its own, and where it has none of a number those of its connection count it, too. It must
never know connections or requests.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.tables.layout import Counted
from reusedproxy.tables.table import Table

# Kinds of events, by the attribute of a table that says where they are counted.
SESSIONS = "sessions"
REQUESTS = "requests"
ERRORS = "errors"
FAILURES = "failures"
BYTES_IN = "bytes_in"
BYTES_OUT = "bytes_out"

#: An entry that is tracked: its table, and its row there.
Tracked = tuple[Table, int]
#: By the number of the counter.
Counters = dict[int, Tracked]


def count(own: Counters | None, shared: Counters | None, kind: str, events: int = 1) -> None:
    """Counts events of this kind in each of the counters `own`, and in those of `shared` that have other numbers."""
    for table, row in _all(own, shared):
        counted: Counted | None = getattr(table, kind)
        if counted is not None:
            table.count(row, counted, events)


def count_answer(tracked: Tracked, status: int) -> None:
    """Counts what an answer with this status says of the client, or of the server."""
    table, row = tracked
    judged = table.settings.judged
    if status in judged.errors:
        table.count(row, table.errors)
    if status in judged.failures:
        table.count(row, table.failures)


def count_status(own: Counters | None, shared: Counters | None, status: int) -> None:
    """Does so in all counters in which `count` counts."""
    for tracked in _all(own, shared):
        count_answer(tracked, status)


def count_bytes(own: Counters, shared: Counters | None, received: int, sent: int) -> None:
    """Counts the bytes of what has ended."""
    for table, row in _all(own, shared):
        if table.counts_bytes:
            table.count(row, table.bytes_in, received)
            table.count(row, table.bytes_out, sent)


def leave(counters: Counters) -> None:
    """Tracks the entries of these counters no more. They can still be asked, by who writes a log."""
    for table, row in counters.values():
        table.leave(row)


def _all(own: Counters | None, shared: Counters | None) -> Iterator[Tracked]:
    if own:
        yield from own.values()
    if shared:
        for number, tracked in shared.items():
            if not own or number not in own:
                yield tracked
