"""Keeps a bounded number of entries by their keys, in the order of their last use: the memory of a stick table.

There are at most `size` of them, whatever clients do. A full table drops those that were not used for longest, and what
was not used for `expire` milliseconds is gone; an entry that is tracked stays. Every operation takes the same time,
however many entries there are. Times are whole milliseconds.

An entry is a row of arrays, and known by its number, of which 0 is none. A million of them take 190 bytes each; with an
object for each entry it was 370, and the garbage collector took 400 ms to look at them all.

It must never know what a key stands for, or what the values of a row mean.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from reusedproxy.config.model.tables import StickTable
from reusedproxy.tables.journal import Journal, Key

#: Entries in use that are passed over, at most, in the search for one that can be dropped. They are behind all others
#: then, so that the next search begins elsewhere.
PASSED_OVER = 1000
#: Entries that are looked at for being out of time, whenever another one is added.
LOOKED_AT = 2
#: Entries that are dropped from a full table at once: HAProxy drops a 256th, which would take 20 ms for a million.
DROPPED_AT_ONCE = 100
#: Entries of a table that has one dictionary. Larger ones have several: to grow one takes 30 ms for a million.
ONE_DICTIONARY = 1 << 16
DICTIONARIES = 16
#: An entry that is used moves to the end of the order only if it was last moved longer ago than this part of `expire`,
#: or than so many milliseconds where entries do not expire. The order decides only what a full table drops: so every
#: use moves the entry from when the table is full until an eighth of it is free again.
LAZILY = 16
LAZY_MS = 1000
#: Entries that `settling` puts in order in one step, and the groups that it sorts them into, at most: within a group
#: the order is that in which they came.
PLACED_AT_ONCE = 500
GROUPS = 512


class Entries:
    """Holds the rows of a table. `Table` adds what they count."""

    def __init__(self, settings: StickTable, blank: array[int], seconds: Callable[[], float]) -> None:
        """Takes the table's settings, the values of a new entry, and a clock."""
        self.settings = settings
        #: The clock, in seconds.
        self.seconds = seconds
        self._blank = blank
        #: How many numbers a row has.
        self.width = len(blank)
        self.mask = 0 if settings.size <= ONE_DICTIONARY else DICTIONARIES - 1
        #: The rows by their keys; in the dictionary that the key's hash tells.
        self.by_key: list[dict[Key, int]] = [{} for _ in range(self.mask + 1)]
        # The columns. Row 0 is no entry: it is the end of the order, before the oldest entry and behind the newest.
        self.keys: list[Key] = [0]
        #: When each was last used, and when it was last moved to the end of the order.
        self.used = array("Q", [0])
        self._placed = array("Q", [0])
        #: How many track each.
        self.uses = array("I", [0])
        self._older = array("I", [0])
        self._newer = array("I", [0])
        self.values = array("Q", blank)
        #: Rows without an entry.
        self._free: list[int] = []
        self._count = 0
        #: Those who follow what changes; each with what has changed since it last looked.
        self.journals: list[Journal] = []
        self.adopt(settings)

    def adopt(self, settings: StickTable) -> None:
        """Changes the settings to others that the entries fit. If `size` is smaller now, the oldest entries are dropped
        when the next one is added."""
        self.settings = settings
        #: Milliseconds after which an entry that is not used is gone; 0: none is ever gone.
        self.expire, self._size = settings.expire, settings.size
        self._move_lazily(True)

    def _move_lazily(self, lazily: bool) -> None:
        usual = self.expire // LAZILY if self.expire else LAZY_MS
        #: Milliseconds since its last move, from which on an entry that is used is moved; 0: each use moves it.
        self.lazy = usual if lazily else 0
        #: More is to be done for an entry that is used within the period of a rate than to note when (`used_again`).
        #: It is used when a period begins, so it is not out of time before that is over, unless it is kept for less.
        self.careful = not self.lazy or 0 < self.expire < max((each.period for each in self.settings.stored), default=0)

    def now(self) -> int:
        """Returns the time in milliseconds."""
        return int(self.seconds() * 1000)

    def __len__(self) -> int:
        return self._count

    # One entry.

    def find(self, key: Key) -> int:
        """Returns the entry of this key; 0 if there is none, or none any more."""
        row = self.by_key[hash(key) & self.mask].get(key, 0)
        if row and self.expire and not self.uses[row] and self.used[row] + self.expire <= self.now():
            self._drop(row)
            return 0
        return row

    def obtain(self, key: Key) -> int:
        """Returns the entry of this key, and makes it if there is none yet. Returns 0 where a full table takes no
        more."""
        row = self.find(key)
        if row:
            return row
        now = self.now()
        self.purge(LOOKED_AT, now)
        if self._count >= self._size:
            if not self._make_room():
                return 0
        elif not self.lazy and self._count < self._size - (self._size >> 3):
            self._move_lazily(True)
        row = self._enter(key, now)
        for journal in self.journals:
            journal.begin(row, key, self._blank[:])
        return row

    def _enter(self, key: Key, used: int) -> int:
        """Makes a row for a new key."""
        if self._free:
            row = self._free.pop()
            self.keys[row] = key
            width = self.width
            self.values[row * width : (row + 1) * width] = self._blank
        else:
            row = len(self.keys)
            self.keys.append(key)
            for column in (self.used, self._placed, self.uses, self._older, self._newer):
                column.append(0)
            self.values.extend(self._blank)
        self.by_key[hash(key) & self.mask][key] = row
        self._count += 1
        self.used[row] = used
        self._link(row, used)
        return row

    def key_of(self, row: int) -> Key:
        """Returns the key of an entry."""
        return self.keys[row]

    def idle(self, row: int) -> int:
        """Returns the milliseconds since an entry was last used."""
        return self.now() - self.used[row]

    def remains(self, row: int) -> int:
        """Returns the milliseconds after which an entry is gone if it is not used, 0 where none is ever gone."""
        return max(0, self.used[row] + self.expire - self.now()) if self.expire else 0

    def touch(self, row: int, now: int) -> None:
        """Notes that an entry is used now."""
        if self.journals:
            self._tell(row)
        self.used[row] = now
        if now - self._placed[row] >= self.lazy:
            self.place(row, now)

    def used_again(self, row: int, now: int) -> bool:
        """Returns False for an entry that is out of time; moves any other to the end of the order, if each use does."""
        if self.find(self.keys[row]) != row:
            return False
        if not self.lazy:
            self.place(row, now)
        return True

    def remove(self, row: int) -> bool:
        """Removes an entry, unless it is tracked. Returns whether it did."""
        if self.uses[row]:
            return False
        for journal in self.journals:
            journal.remove(self.keys[row])
        self._drop(row)
        return True

    # The order of use, and what is dropped by it.

    def purge(self, most: int, now: int | None = None) -> int:
        """Looks at the oldest entries, `most` at once, and removes those that are out of time. Returns how many were
        looked at, less than `most` if no other is out of time for sure."""
        if not self.expire:
            return 0
        if now is None:
            now = self.now()
        for looked in range(most):
            row = self._newer[0]
            if not row or self._placed[row] + self.expire > now:
                return looked
            self._look_at(row, now)
        return most

    def _look_at(self, row: int, now: int) -> None:
        """Removes an entry that is out of time; moves any other to the end of the order."""
        if self.uses[row] or self.used[row] + self.expire > now:
            self.place(row, now)
        else:
            self._drop(row)

    def _make_room(self) -> bool:
        """Drops some of the oldest entries of a full table. Returns whether there is room."""
        if self.settings.nopurge:
            return False
        drop = min(self._count - self._size + (self._size >> 8) + 1, DROPPED_AT_ONCE)
        self._move_lazily(False)
        self._place_anew(drop)
        passed = 0
        while drop > 0 and passed < PASSED_OVER and self._count:
            row = self._newer[0]
            if self.uses[row]:
                self.place(row, self._placed[row])
                passed += 1
            else:
                self._drop(row)
                drop -= 1
        return self._count < self._size

    def _place_anew(self, enough: int) -> None:
        """Moves entries that were used after they got their place to the end of the order, sorted by that use, until
        `enough` entries that can be dropped are at the front.

        Without this an entry in constant use, which is moved lazily, would be dropped before those that were used once,
        and what it has counted would be forgotten."""
        moved = []
        row = self._newer[0]
        for _ in range(PASSED_OVER):
            if not row or not enough:
                break
            if self.used[row] > self._placed[row]:
                moved.append(row)
            elif not self.uses[row]:
                enough -= 1
            row = self._newer[row]
        for row in sorted(moved, key=self.used.__getitem__):
            self.place(row, self.used[row])

    def _drop(self, row: int) -> None:
        key = self.keys[row]
        del self.by_key[hash(key) & self.mask][key]
        self.keys[row] = 0
        self._unlink(row)
        self._free.append(row)
        self._count -= 1

    def place(self, row: int, now: int) -> None:
        """Moves an entry behind all others."""
        self._unlink(row)
        self._link(row, now)

    def _link(self, row: int, now: int) -> None:
        """Puts an entry behind all others."""
        last = self._older[0]
        self._newer[last] = self._older[0] = row
        self._older[row], self._newer[row] = last, 0
        self._placed[row] = now

    def _unlink(self, row: int) -> None:
        older, newer = self._older[row], self._newer[row]
        self._newer[older], self._older[newer] = newer, older

    def each(self) -> Iterator[int]:
        """Returns all entries that are not out of time, mostly in the order in which they came. Others may come and go
        meanwhile."""
        # Not a list of all keys at once: of a million, that would take 100 ms.
        return filter(None, map(self.find, chain.from_iterable(map(list, self.by_key))))

    # What copies of the table in other processes are made of, and follow (`copies`).

    def _tell(self, row: int) -> None:
        """Has each journal note a row before it changes."""
        key, width = self.keys[row], self.width
        for journal in self.journals:
            journal.note(row, key, self.uses[row], self.values[row * width : (row + 1) * width])

    @property
    def rows(self) -> int:
        """Returns the number behind that of the last row."""
        return len(self.keys)

    def holds(self, row: int) -> bool:
        """Tells whether there is an entry in this row."""
        key = self.keys[row]
        return self.by_key[hash(key) & self.mask].get(key, 0) == row

    def content(self, rows: Sequence[int]) -> tuple[list[Key], array[int], array[int], array[int]]:
        """Returns keys, times of the last use, numbers of trackers and values of these rows that have an entry."""
        keys, used, uses, values = list[Key](), array("Q"), array("I"), array("Q")
        width = self.width
        if isinstance(rows, range) and not self._free:
            first, end = rows.start, rows.stop
            values = self.values[first * width : end * width]
            return self.keys[first:end], self.used[first:end], self.uses[first:end], values
        for row in filter(self.holds, rows):
            keys.append(self.keys[row])
            used.append(self.used[row])
            uses.append(self.uses[row])
            values += self.values[row * width : (row + 1) * width]
        return keys, used, uses, values

    def load(self, keys: Sequence[Key], used: array[int], values: array[int]) -> list[int]:
        """Adds entries as they are in another process; those that are there already get these values. Returns their
        rows, 0 for what is out of time. There may be more than `size` then, and in any order, until `settling`."""
        limit = self.now() - self.expire if self.expire else -1
        found = [self.by_key[hash(key) & self.mask].get(key, 0) for key in keys]
        if keys and not any(found) and not self._free and min(used) > limit:
            return self._append(keys, used, values)
        width = self.width
        for at, key in enumerate(keys):
            row, last = found[at], used[at]
            if not row and last > limit:
                row = found[at] = self._enter(key, last)
            if row:
                self.values[row * width : (row + 1) * width] = values[at * width : (at + 1) * width]
                self.used[row] = max(last, self.used[row])
        return found

    def _append(self, keys: Sequence[Key], used: array[int], values: array[int]) -> list[int]:
        """Adds entries that are new in new rows, all at once."""
        first, end = len(self.keys), len(self.keys) + len(keys)
        rows = list(range(first, end))
        for row, key in zip(rows, keys, strict=True):
            self.by_key[hash(key) & self.mask][key] = row
        last = self._older[0]
        self.keys += keys
        self.used += used
        self._placed += used
        self.uses.frombytes(bytes(len(keys) * self.uses.itemsize))
        self._older.extend([last, *rows[:-1]])
        self._newer.extend([*rows[1:], 0])
        self._newer[last], self._older[0] = first, end - 1
        self.values += values
        self._count += len(keys)
        return rows

    def settling(self) -> Iterator[None]:
        """Puts all entries in the order of their last use, in steps, and drops the oldest of more than `size`."""
        used, now = self.used[:], self.now()
        end, low, high = len(used), now, now
        for first in range(1, end, PLACED_AT_ONCE):
            some = used[first : first + PLACED_AT_ONCE]
            low, high = min(low, *some), max(high, *some)
            yield
        step = (high - low) // GROUPS + 1
        groups = [array("I") for _ in range(min(GROUPS, high - low + 1))]
        for first in range(1, end, PLACED_AT_ONCE):
            for row in range(first, min(first + PLACED_AT_ONCE, end)):
                groups[(used[row] - low) // step].append(row)
            yield
        for number, group in enumerate(groups):
            for at, row in enumerate(group, 1):
                self._place(row, low + number * step)
                if not at % PLACED_AT_ONCE:
                    yield
        for row in range(end, len(self.keys)):  # they have come since
            self._place(row, self.used[row])
        while self._count > self._size and not self.uses[self._newer[0]]:
            self._drop(self._newer[0])
            if not self._count % PLACED_AT_ONCE:
                yield

    def _place(self, row: int, placed: int) -> None:
        if self.holds(row):
            self.place(row, placed)
