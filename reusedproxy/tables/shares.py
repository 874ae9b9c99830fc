"""Keeps a stick table and its copy in another process alike while both count.

Each tells the other what it has counted since the last time, and adds what it hears to its own. Values that are no
counts (`gpt`, the server of an entry) are told as they are; the last one holds. Who tracks an entry in the other
process uses it here, too, and counts in `conn_cur`, until that process ends. It must never know how anything is sent.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from reusedproxy.tables.journal import Journal, Key
from reusedproxy.tables.layout import Counted, Slot
from reusedproxy.tables.said import NotUnderstood, key_said, listed, plain_keys
from reusedproxy.tables.table import Table

#: Entries of which is told at once.
AT_ONCE = 400
#: Values that are not added up.
_SAID = ("gpt", "server_id", "server_key")
_TRACKED = "conn_cur"


class Shares:
    """Knows by how many of another process each entry is tracked: it is in use by these, too."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._there: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._there)

    def __contains__(self, row: int) -> bool:
        return row in self._there

    def of(self, row: int) -> int:
        return self._there.get(row, 0)

    def put(self, row: int, there: int) -> None:
        """Sets how many they are, in an entry whose `conn_cur` does not have them."""
        before = self._there.get(row, 0)
        self._set(row, there)
        self._table.track_elsewhere(row, there - before, there)

    def add(self, row: int, more: int) -> None:
        """Adds to how many they are."""
        before = self._there.get(row, 0)
        more = max(more, -before)
        self._set(row, before + more)
        self._table.track_elsewhere(row, more, more)

    def _set(self, row: int, there: int) -> None:
        if there:
            self._there[row] = there
        else:
            self._there.pop(row, None)

    def release(self) -> None:
        """Forgets them: that process has ended."""
        for row in [*self._there]:
            self.add(row, -self._there[row])


class Sharer:
    """Tells another process what is counted in a table here, and counts what was counted there."""

    def __init__(self, table: Table, journal: Journal | None = None, shares: Shares | None = None) -> None:
        self.table = table
        self.journal = Journal() if journal is None else journal
        self.shares = Shares(table) if shares is None else shares
        if self.journal not in table.journals:
            table.journals.append(self.journal)

    def stop(self) -> None:
        """Neither tells nor counts any more: the other process has ended."""
        if self.journal in self.table.journals:
            self.table.journals.remove(self.journal)
        self.shares.release()

    def changes(self) -> dict[str, Any] | None:
        """Returns what some entries have counted since the last time; None if none has."""
        if not self.journal:
            return None
        noted, kind = self.journal.rows, self.table.settings.type
        some = [noted.popitem() for _ in range(min(len(noted), AT_ONCE))]
        entries = [self._change(row, *before) for row, before in some]
        said: dict[str, Any] = {"changes": self.table.name, "entries": entries}
        if self.journal.removed:
            said["removed"], self.journal.removed = plain_keys(self.journal.removed, kind), []
        return said

    def _change(self, row: int, key: Key, uses: int, before: array[int]) -> list[Any]:
        table = self.table
        (plain,) = plain_keys([key], table.settings.type)
        if table.key_of(row) != key or not table.holds(row):
            return [plain, -uses, {}]
        _, _, tracked, now = table.content([row])
        said: dict[str, int | str] = {}
        for name, slot in table.slots.items():
            if name == _TRACKED:
                continue
            if _is_said(name):
                if now[slot.at] != before[slot.at]:
                    said[name] = table.name_in(row, slot) if slot.names else now[slot.at]
            elif events := _events(now, before, slot):
                said[name] = events
        return [plain, tracked[0] - uses, said]

    def take(self, said: Mapping[str, Any]) -> None:
        """Counts what was counted there. Raises NotUnderstood."""
        table, journals = self.table, self.table.journals
        table.journals = [each for each in journals if each is not self.journal]
        try:
            for key in listed(said, "removed"):  # before others: it may have come again
                row = table.find(key_said(key, table.settings))
                if row:
                    table.remove(row)
            for entry in listed(said, "entries"):
                try:
                    key, uses, values = entry
                    self._count(key_said(key, table.settings), int(uses), dict(values))
                except (TypeError, ValueError, OverflowError) as error:
                    raise NotUnderstood(f"what a table has counted: {error}") from None
        finally:
            table.journals = journals

    def _count(self, key: Key, uses: int, values: Mapping[str, Any]) -> None:
        table = self.table
        row = table.obtain(key) if uses > 0 or values else table.find(key)
        if not row:
            return
        noted = self.journal.rows.get(row)
        before = None if noted is None or noted[0] != key else noted[2]
        if uses:
            more = -self.shares.of(row) if uses < -self.shares.of(row) else uses
            self.shares.add(row, more)
            if before is not None and noted is not None:
                self.journal.rows[row] = key, max(0, noted[1] + more), before
        for name, value in values.items():
            slot = table.slots.get(name)
            if slot is None:
                continue
            if slot.names:
                table.put_name(row, slot, str(value))
            elif _is_said(name):
                table.put(row, slot, max(0, int(value)))
            elif slot.period:
                self._count_rate(row, slot, int(value), before)
            else:
                held = table.value(row, slot)
                counted = _sum(held, int(value), slot.mask)
                table.put(row, slot, counted)
                if before is not None:
                    # It is not to be told the process that has told it.
                    before[slot.at] = (before[slot.at] + counted - held) & slot.mask
            if before is not None and slot.names:
                before[slot.at] = table.number_of(str(value))
            elif before is not None and _is_said(name):
                before[slot.at] = max(0, int(value))
        table.touch(row, table.now())

    def _count_rate(self, row: int, slot: Slot, events: int, before: array[int] | None) -> None:
        """Counts events of a rate. What is to be told of it stays what was counted here."""
        ours = 0 if before is None else _events(self.table.content([row])[3], before, slot)
        self.table.count(row, Counted(-1, slot.at, slot.period, slot.mask), events)
        if before is not None:
            now, at = self.table.content([row])[3], slot.at
            before[at], before[at + 1], before[at + 2] = now[at], (now[at + 1] - ours) & slot.mask, now[at + 2]


def _is_said(name: str) -> bool:
    return name.startswith(_SAID)


def _events(now: array[int], before: array[int], slot: Slot) -> int:
    """Returns what was counted between two contents of a row; see `_sum` for a counter that is below 0 now."""
    at, mask = slot.at, slot.mask
    if not slot.period:
        counted = _signed(now[at] - before[at], mask)
        return counted - (mask + 1) if counted and _signed(now[at], mask) < 0 else counted
    if now[at] == before[at]:
        return _signed(now[at + 1] - before[at + 1], mask)
    events = _signed(now[at + 1], mask)
    if now[at] - before[at] < 2 * slot.period:
        return events + max(0, _signed(now[at + 2] - before[at + 1], mask))
    return events


def _sum(held: int, told: int, mask: int) -> int:
    """Adds what was counted in the other process to a counter. Two processes that set one to 0 both tell what they have
    taken away: together that leads to 0, not below. What has gone below 0 in the other process is told by a
    number that is smaller by the whole circle of the counter, and leads below 0 here, too."""
    own, taken = _signed(held, mask), told < -(mask // 2 + 1)
    made = own + told
    return made & mask if made >= 0 or own < 0 or taken else 0


def _signed(number: int, mask: int) -> int:
    """Returns the number nearest to 0 that a counter with this mask shows as this one."""
    half = mask // 2 + 1
    return ((number + half) & mask) - half
