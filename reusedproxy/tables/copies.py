"""Copies stick tables to another process, and keeps both alike while both count: what is said, and what is made of it.

First all entries go over as they are, in blocks of rows; then, again and again, those that have changed meanwhile. From
the moment on in which both count (`Giver.switch`), each tells the other what it has counted, and each adds that to its
own: `Sharer`. Values that are no counts (`gpt`, the server of an entry) are told as they are; the last one holds. Who
tracks an entry in the other process uses it here, too, and counts in `conn_cur`, until that process ends.

A table takes what it has a place for: keys of its type that are not too long, values of the same name, rates of the
same period. It knows tables; it must never know how anything is sent.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from reusedproxy.config.model.tables import StickTable
from reusedproxy.tables.journal import Journal, Key
from reusedproxy.tables.table import Counted, Slot, Table

#: Rows in one block.
AT_ONCE = 400
#: Milliseconds by which the clocks of two processes may seem to differ because they were read one after another.
SAME = 2
#: Values that are not added up.
_SAID = ("gpt", "server_id", "server_key")
_TRACKED = "conn_cur"
_BYTES = ("string", "binary")


class NotUnderstood(ValueError):
    """Says that the other process has said what is not understood."""


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise NotUnderstood(what)


@frozen
class Description:
    """Says what a table is: its name, the type and the most bytes of its keys, its size, what server names are made of,
    its values: their names, places and periods, and what its clock
    shows beyond one that all processes have in common."""

    name: str
    type: str
    length: int
    size: int
    server_key: str
    width: int
    slots: Mapping[str, Slot]
    clock: int

    @classmethod
    def of(cls, table: Table, common: float) -> Description:
        """Describes a table at a time of a clock, in seconds, that the other process has, too."""
        said = table.settings
        return cls(
            *(table.name, said.type, said.length, said.size, said.server_key, table.width, dict(table.slots)),
            table.now() - int(common * 1000),
        )

    def plain(self) -> dict[str, object]:
        """Returns it as it is sent."""
        slots = {name: [slot.at, slot.period, slot.names] for name, slot in self.slots.items()}
        return {
            **{"name": self.name, "type": self.type, "length": self.length, "size": self.size},
            **{"server_key": self.server_key, "width": self.width, "slots": slots, "clock": self.clock},
        }

    @classmethod
    def read(cls, said: Any) -> Description:
        """Reads what was sent. Raises NotUnderstood."""
        try:
            slots = {str(name): Slot(int(at), int(period), bool(n)) for name, (at, period, n) in said["slots"].items()}
            read = cls(
                *(str(said["name"]), str(said["type"]), int(said["length"]), int(said["size"])),
                *(str(said["server_key"]), int(said["width"]), slots, int(said["clock"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise NotUnderstood("a description of a table") from None
        widest = max((slot.at + (3 if slot.period else 1) for slot in slots.values()), default=0)
        _demand(widest <= read.width <= 10_000 and all(slot.at >= 0 for slot in slots.values()), "a table's values")
        return read

    def without_place(self, table: Table) -> list[str]:
        """Returns what of this one has no place in a table, in words; ["type"] alone if nothing has."""
        said = table.settings
        if self.type != said.type:
            return [f"its keys are of type {self.type}"]
        words = []
        if self.type == "binary" and self.length != said.length:
            return [f"its keys have {self.length} bytes"]
        if self.type == "string" and self.length > said.length:
            words.append(f"keys of more than {said.length} bytes")
        values = [name for name in self.slots if not self._has_place(name, table)]
        return [*words, *values]

    def suits(self, table: Table) -> bool:
        """Tells whether anything of this one has a place in a table."""
        said = table.settings
        return self.type == said.type and (self.type != "binary" or self.length == said.length)

    def _has_place(self, name: str, table: Table) -> bool:
        ours, theirs = table.slots.get(name), self.slots[name]
        if ours is None or ours.period != theirs.period or ours.names != theirs.names:
            return False
        return not theirs.names or self.server_key == table.settings.server_key

    def places(self, table: Table) -> list[tuple[Slot, Slot]]:
        """Returns the places of what both have: there, and here."""
        return [(slot, table.slots[name]) for name, slot in self.slots.items() if self._has_place(name, table)]


# Blocks of rows.


@frozen
class Block:
    """Holds some entries as they are: what is said of them, and their numbers."""

    said: Mapping[str, Any]
    content: bytes = b""


def _plain(keys: Iterable[Key], kind: str) -> list[Any]:
    return [key.decode("latin-1") for key in keys if isinstance(key, bytes)] if kind in _BYTES else list(keys)


def _key(said: Any, settings: StickTable) -> Key:
    if settings.type in _BYTES:
        _demand(isinstance(said, str), "a key")
        return str(said).encode("latin-1")
    _demand(type(said) is (int if settings.type == "integer" else str), "a key")
    key: Key = said
    return key


class Giver:
    """Gives the entries of one table: all of them, and then what changes, until `stop`."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.journal = Journal()
        self._next = 1
        self._names = 0
        #: Rows that have changed, and are to be given again.
        self._again: list[int] = []
        table.journals.append(self.journal)

    def stop(self) -> None:
        if self.journal in self.table.journals:
            self.table.journals.remove(self.journal)

    def shared(self) -> Sharer:
        """Returns who tells from now on what is counted: the other process counts, too."""
        self.journal.rows.clear()
        return Sharer(self.table, self.journal)

    @property
    def copied(self) -> bool:
        """Tells whether all rows have been given once."""
        return self._next >= self.table.rows

    def block(self) -> Block | None:
        """Returns the next entries; None if there is nothing to say at the moment."""
        table = self.table
        if not self.copied:
            rows: Sequence[int] = range(self._next, min(self._next + AT_ONCE, table.rows))
            self._next = rows[-1] + 1
            return self._of(rows)
        removed: list[Key] = []
        if not self._again and self.journal:
            self._again, self.journal.rows = [*self.journal.rows], {}
            removed, self.journal.removed = self.journal.removed, []
        if not self._again and not removed:
            return None
        rows, self._again = self._again[-AT_ONCE:], self._again[:-AT_ONCE]
        return self._of(rows, removed)

    def _of(self, rows: Sequence[int], removed: Sequence[Key] = ()) -> Block:
        table, kind = self.table, self.table.settings.type
        keys, used, uses, values = table.content(rows)
        said: dict[str, Any] = {"rows": table.name, "keys": _plain(keys, kind)}
        if removed:
            said["removed"] = _plain(removed, kind)
        if len(table.names) > self._names:
            said["names"] = table.names[self._names :]
            self._names = len(table.names)
        return Block(said, b"".join((used.tobytes(), uses.tobytes(), values.tobytes())))


class Taker:
    """Takes the entries of a table in another process."""

    def __init__(self, table: Table, theirs: Description, common: float) -> None:
        """Takes the time of the clock that both have in common."""
        self.table = table
        self.theirs = theirs
        self.taken = 0
        self.shares = Shares(table)
        self._places = theirs.places(table)
        whole = len(self._places) == len(theirs.slots) == len(table.slots)
        self._alike = whole and theirs.width == table.width and dict(theirs.slots) == table.slots
        offset = table.now() - int(common * 1000) - theirs.clock
        self._offset = 0 if abs(offset) <= SAME else offset
        self._names: list[int] = []
        self._most = max(theirs.size, table.settings.size)

    def take(self, said: Mapping[str, Any], content: bytes) -> None:
        """Takes a block. Raises NotUnderstood."""
        settings = self.table.settings
        keys = [_key(each, settings) for each in _listed(said, "keys")]
        count, width = len(keys), self.theirs.width
        _demand(len(content) == count * (8 + 4 + 8 * width), "a block of rows")
        for name in _listed(said, "names"):
            self._names.append(self.table.number_of(str(name)))
        used, uses, values = array("Q"), array("I"), array("Q")
        used.frombytes(content[: 8 * count])
        uses.frombytes(content[8 * count : 12 * count])
        values.frombytes(content[12 * count :])
        for key in _listed(said, "removed"):
            self._remove(_key(key, settings))
        if self._offset:
            used = array("Q", [max(0, each + self._offset) for each in used])
        if settings.type in _BYTES and self.theirs.length > settings.length:
            fit = [at for at, key in enumerate(keys) if len(key) <= settings.length]  # type: ignore[arg-type]
            keys, used = [keys[at] for at in fit], array("Q", [used[at] for at in fit])
            uses = array("I", [uses[at] for at in fit])
            values = array("Q", [each for at in fit for each in values[at * width : (at + 1) * width]])
        values = self._placed(values, len(keys))
        _demand(len(self.table) + len(keys) <= self._most + AT_ONCE, "more entries than it has")
        rows = self.table.load(keys, used, values)
        self.taken += len(keys)
        for row, count in zip(rows, uses, strict=True):
            if row and (count or row in self.shares):
                self.shares.put(row, count)

    def shared(self) -> Sharer:
        """Returns who tells the other process from now on what is counted here."""
        return Sharer(self.table, Journal(), self.shares)

    def _placed(self, values: array[int], count: int) -> array[int]:
        """Returns the values of rows where this table has them."""
        table, theirs = self.table, self.theirs.width
        width, names = table.width, self._names
        if not self._alike:
            moved = array("Q", bytes(8 * count * width))
            for there, here in self._places:
                for place in range(3 if here.period else 1):
                    moved[here.at + place :: width] = values[there.at + place :: theirs]
            values = moved
        if self._offset:
            for _, here in self._places:
                if here.period:
                    values[here.at :: width] = array(
                        "Q", [each and max(0, each + self._offset) for each in values[here.at :: width]]
                    )
        for _, here in self._places:
            if here.names:
                numbers = values[here.at :: width]
                values[here.at :: width] = array("Q", [names[n] if n < len(names) else 0 for n in numbers])
        if table.current >= 0 and count:
            values[table.current :: width] = array("Q", bytes(8 * count))
        return values

    def _remove(self, key: Key) -> None:
        row = self.table.find(key)
        if row:
            self.shares.put(row, 0)
            self.table.remove(row)


class Shares:
    """Knows by how many of another process each entry is tracked: it is in use by these, too."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._there: dict[int, int] = {}

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


# What both have counted.


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
            said["removed"], self.journal.removed = _plain(self.journal.removed, kind), []
        return said

    def _change(self, row: int, key: Key, uses: int, before: array[int]) -> list[Any]:
        table = self.table
        (plain,) = _plain([key], table.settings.type)
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
            for entry in _listed(said, "entries"):
                try:
                    key, uses, values = entry
                    self._count(_key(key, table.settings), int(uses), dict(values))
                except (TypeError, ValueError, OverflowError) as error:
                    raise NotUnderstood(f"what a table has counted: {error}") from None
            for key in _listed(said, "removed"):
                row = table.find(_key(key, table.settings))
                if row:
                    table.remove(row)
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
                self._count_rate(row, slot, max(0, int(value)), before)
            else:
                table.put(row, slot, max(0, table.value(row, slot) + int(value)))
            if before is not None and not slot.period:
                # It is not to be told the process that has told it.
                if slot.names:
                    before[slot.at] = table.number_of(str(value))
                else:
                    before[slot.at] = max(0, int(value) + (0 if _is_said(name) else before[slot.at]))
        table.touch(row, table.now())

    def _count_rate(self, row: int, slot: Slot, events: int, before: array[int] | None) -> None:
        """Counts events of a rate. What is to be told of it stays what was counted here."""
        ours = 0 if before is None else _events(self.table.content([row])[3], before, slot)
        self.table.count(row, Counted(-1, slot.at, slot.period), events)
        if before is not None:
            now, at = self.table.content([row])[3], slot.at
            before[at], before[at + 1], before[at + 2] = now[at], max(0, now[at + 1] - ours), now[at + 2]


def _is_said(name: str) -> bool:
    return name.startswith(_SAID)


def _events(now: array[int], before: array[int], slot: Slot) -> int:
    """Returns what was counted between two contents of a row."""
    at = slot.at
    if not slot.period:
        return now[at] - before[at]
    if now[at] == before[at]:
        return max(0, now[at + 1] - before[at + 1])
    if now[at] - before[at] < 2 * slot.period:
        return now[at + 1] + max(0, now[at + 2] - before[at + 1])
    return now[at + 1]


def _listed(said: Mapping[str, Any], name: str) -> list[Any]:
    found = said.get(name, [])
    _demand(isinstance(found, list), name)
    listed: list[Any] = found
    return listed
