"""Counts requests in a stick table, and compares their rate with a limit, in one function: what `Table.track` and
`Table.value` do, and the search for the entry, for the rules that nearly all limits are made of.

A request on a connection that is kept alive finds the entry of the one before it by its row: no text is hashed, and no
dictionary is asked, whose memory is not in the processor's cache when a thousand clients ask by turns. It must never
know what a key stands for, or what a limit is for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from reusedproxy.tables.journal import Key
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters


class KnownEntry:
    """Holds the entry in which the last request of a connection was counted, for those that follow. `counters` is what
    each of them has then. The entry is still there if this very `key` is in its row."""

    # Not of attrs, which would leave it interpreted where the rest of what a request passes is compiled.
    __slots__ = ("at", "counters", "key", "limit", "row", "table", "uses")

    def __init__(self, limit: object, table: Table, row: int, at: int, counters: Counters) -> None:
        """Takes the row, the place of its rate of requests, and a mark of the limit that has counted there."""
        self.limit = limit
        self.table = table
        self.row = row
        #: Where the rate of requests is.
        self.at = at
        self.key = table.keys[row]
        self.uses = table.uses
        self.counters = counters


class _Session(Protocol):
    @property
    def counters(self) -> Counters | None: ...


class _Client(Protocol):
    address: tuple[str, int]
    known_entry: KnownEntry | None

    @property
    def last(self) -> bool: ...
    @property
    def session(self) -> _Session | None: ...


class Request(Protocol):
    """Defines a request as a limit knows it."""

    counters: Counters | None
    #: When its head was complete, by the table's clock.
    read: float

    @property
    def client(self) -> _Client: ...


def counting(
    table: Table, number: int, low: int | None, high: int | None, otherwise: Callable[[Any], bool]
) -> Callable[..., bool]:
    """Returns a function that tracks a request with the counter `number`, as `Table.track` does, and tells whether its
    rate of requests is between `low` and `high` then. The function takes the request; the time by the table's clock, in
    seconds, if that is another than when the request was read; and a key, if that is another than its client's address.

    It returns what `otherwise` does where it has done nothing, because the entry is new, its period is over, the
    connection itself is tracked, or somebody follows what changes. It is for tables of which `alone_counted` is that
    rate. It moves an entry in the order of use only where every use does that: with the beginning of the next period
    `Table.track` will do so."""
    counted = table.requests
    assert counted is not None
    place, period, width, mask = counted.rate, counted.period, table.width, table.mask
    least, most = -1 if low is None else low, 1 << 64 if high is None else high
    by_key, keys, values, used, uses = table.by_key, table.keys, table.values, table.used, table.uses
    limit = object()

    def count(request: Request, seconds: float = 0.0, other: Key | None = None) -> bool:
        client = request.client
        known = client.known_entry
        if known is not None and known.limit is limit and keys[known.row] is known.key and other is None:
            row, at, counters = known.row, known.at, known.counters
        else:
            key, session = client.address[0] if other is None else other, client.session
            row = by_key[hash(key) & mask].get(key, 0)
            if not row or (session is not None and session.counters):
                return otherwise(request)
            at, counters = row * width + place, {number: (table, row)}
            if other is None and not client.last:
                client.known_entry = KnownEntry(limit, table, row, at, counters)
        now = int((seconds or request.read) * 1000)
        left = values[at] + period - now
        if left <= 0 or table.journals or (table.careful and not table.used_again(row, now)):
            return otherwise(request)
        uses[row] += 1
        values[at + 1] = events = values[at + 1] + 1
        used[row] = now
        request.counters = counters
        before = values[at + 2]
        if before:
            events += before * left // period
        return least <= events <= most

    return count
