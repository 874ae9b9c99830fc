"""Copies stick tables to another process: what is said, and what is made of it.

First all entries go over as they are, in blocks of rows; then, again and again, those that have changed meanwhile,
until both count (`shares`).

A table takes what it has a place for: keys of its type that are not too long, values of the same name, rates of the
same period. It knows tables; it must never know how anything is sent.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from reusedproxy.tables.journal import Journal, Key
from reusedproxy.tables.layout import Slot
from reusedproxy.tables.said import NotUnderstood, demand, key_said, listed, plain_keys
from reusedproxy.tables.shares import Sharer, Shares
from reusedproxy.tables.table import Table

#: Rows in one block.
AT_ONCE = 400
#: Milliseconds by which the clocks of two processes may seem to differ because they were read one after another.
SAME = 2
_BYTES = ("string", "binary")


@frozen
class Description:
    """Says what a table is: its name, the type and the most bytes of its keys, its size, what server names are made of,
    its values (their names, places and periods), and how many milliseconds its clock is ahead of one that all processes
    have in common."""

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
        demand(widest <= read.width <= 10_000 and all(slot.at >= 0 for slot in slots.values()), "a table's values")
        return read

    def without_place(self, table: Table) -> list[str]:
        """Returns what of this one has no place in a table, in words: the only one where it does not suit it."""
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
        said: dict[str, Any] = {"rows": table.name, "keys": plain_keys(keys, kind)}
        if removed:
            said["removed"] = plain_keys(removed, kind)
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
        keys = [key_said(each, settings) for each in listed(said, "keys")]
        count, width = len(keys), self.theirs.width
        demand(len(content) == count * (8 + 4 + 8 * width), "a block of rows")
        for name in listed(said, "names"):
            self._names.append(self.table.number_of(str(name)))
        used, uses, values = array("Q"), array("I"), array("Q")
        used.frombytes(content[: 8 * count])
        uses.frombytes(content[8 * count : 12 * count])
        values.frombytes(content[12 * count :])
        for key in listed(said, "removed"):
            self._remove(key_said(key, settings))
        if self._offset:
            used = array("Q", [max(0, each + self._offset) for each in used])
        if settings.type in _BYTES and self.theirs.length > settings.length:
            fit = [at for at, key in enumerate(keys) if len(key) <= settings.length]  # type: ignore[arg-type]
            keys, used = [keys[at] for at in fit], array("Q", [used[at] for at in fit])
            uses = array("I", [uses[at] for at in fit])
            values = array("Q", [each for at in fit for each in values[at * width : (at + 1) * width]])
        values = self._placed(values, len(keys))
        demand(len(self.table) + len(keys) <= self._most + AT_ONCE, "more entries than it has")
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
