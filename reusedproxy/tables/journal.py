"""Notes what changes in a stick table, so that a copy of it in another process can follow.

A journal keeps of each row its key, by how many it was tracked, and its values as they were before its first change.
What has changed since is found by comparing; the table's own work is one copy of a row for each that changes between
two looks. It must never know what is done with it.
"""

from __future__ import annotations

from array import array

#: By its text, its number or its bytes (`tables.table.Key`).
Key = str | int | bytes


class Journal:
    """Holds what has changed since somebody last looked: `rows` by their numbers, and the keys of entries that were
    `removed` by order. What has gone because its time was over is not among it: any copy sees that by itself."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Key, int, array[int]]] = {}
        self.removed: list[Key] = []

    def __len__(self) -> int:
        return len(self.rows) + len(self.removed)

    def note(self, row: int, key: Key, uses: int, values: array[int]) -> None:
        """Notes a row before it changes, unless that was noted."""
        noted = self.rows.get(row)
        if noted is None or noted[0] != key:
            self.rows[row] = key, uses, values

    def begin(self, row: int, key: Key, blank: array[int]) -> None:
        """Notes a row that has just been made."""
        self.rows[row] = key, 0, blank

    def remove(self, key: Key) -> None:
        """Notes that an entry was removed by order."""
        self.removed.append(key)
