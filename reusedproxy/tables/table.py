"""Keeps what is known of clients, or of anything else that rules find in requests, by a key: a stick table.

A table has at most `size` entries, whatever clients do. They are in the order of their last use: a full table drops
those that were not used for longest, and what was not used for `expire` milliseconds is gone. What is tracked is in
use, and stays. Every operation takes the same time, however many entries there are. Times are whole milliseconds, so
that rates are those that HAProxy counts. It must never know what a key stands for, or who counts.

Rates are HAProxy's (include/haproxy/freq_ctr.h): the events of the present period, and those of the one before it in
proportion to what is left of this one. They are three numbers, whatever the rate: when the period began, its events,
and those of the period before.

An entry is a row of arrays, and known by its number, of which 0 is none. A million of them take 190 bytes each; with an
object for each entry it was 370, and the garbage collector took 400 ms to look at them all.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

from reusedproxy.config.model.tables import ARRAYS, NAME, RATE, StickTable
from reusedproxy.config.model.tables import DATA_TYPES as KINDS
from reusedproxy.tables.journal import Journal
from reusedproxy.tables.journal import Key as Key

#: Entries in use that are passed over, at most, in the search for one that can be dropped. They are behind all others
#: then, so that the next search begins elsewhere.
PASSED_OVER = 1000
#: Entries that are looked at for being out of time, whenever another one is added.
LOOKED_AT = 2
#: Entries that are dropped from a full table at once: HAProxy drops a 256th, which would take 20 ms for a million.
DROPPED_AT_ONCE = 100
#: The largest number of 32 bits, where HAProxy's counters begin again.
MASK = 0xFFFFFFFF
#: Entries of a table that has one dictionary. Larger ones have several: to grow one takes 30 ms for a million.
ONE_DICTIONARY = 1 << 16
DICTIONARIES = 16
#: Places of a rate.
_OF_A_RATE = 3
#: An entry that is used gets its place in the order anew when that was last done before this part of its time; and at
#: most so many milliseconds before where no time is said. The place decides only what is dropped from a full table, in
#: which each use gives a new one; until there is room for an eighth of its size again.
LAZILY = 16
LAZY_MS = 1000
#: Entries that are given their place in one step where all are, and so many groups of them at most: within a group the
#: order is that in which they came.
PLACED_AT_ONCE = 500
GROUPS = 512


@frozen
class Slot:
    """Tells where one value is in a row; `period` is in milliseconds, 0 for what is no rate. `names`: the value is the
    number of a name."""

    at: int
    period: int = 0
    names: bool = False


@frozen
class Counted:
    """Tells where one kind of event is counted: the places of a number and of a rate, -1 for what is not stored."""

    total: int
    rate: int = -1
    period: int = 0


class Table:
    """Runs one `stick-table`."""

    def __init__(self, settings: StickTable, seconds: Callable[[], float]) -> None:
        """Takes its settings, and a clock."""
        self.settings = settings
        self.name = settings.name
        #: Its keys are IPv4 addresses.
        self.by_address = settings.type == "ip"
        self._seconds = seconds
        #: Where each value is, by the name under which it is shown: an array's are "gpc0", "gpc1" and so on.
        self.slots: dict[str, Slot] = {}
        self._blank = self._lay_out()
        self._width = len(self._blank)
        self.connections = self._counted("conn_cnt", "conn_rate")
        self.sessions = self._counted("sess_cnt", "sess_rate")
        self.requests = self._counted("http_req_cnt", "http_req_rate")
        self.errors = self._counted("http_err_cnt", "http_err_rate")
        self.failures = self._counted("http_fail_cnt", "http_fail_rate")
        self.bytes_in = self._counted("bytes_in_cnt", "bytes_in_rate")
        self.bytes_out = self._counted("bytes_out_cnt", "bytes_out_rate")
        self._general: dict[int, Counted | None] = {}
        current = self.slots.get("conn_cur")
        self._current = -1 if current is None else current.at
        #: The one value that `track` changes for a request, where there is but one: "" where there is another.
        self.alone_counted = self._alone_counted()
        #: Those that leave change more than the number of those who track.
        self.counts_ends = current is not None or self.bytes_in is not None or self.bytes_out is not None
        self._mask = 0 if settings.size <= ONE_DICTIONARY else DICTIONARIES - 1
        #: The rows by their keys; in the dictionary that the key's hash tells.
        self._rows: list[dict[Key, int]] = [{} for _ in range(self._mask + 1)]
        # The rows. The first stands for the end of the order, before the oldest and behind the newest.
        self._keys: list[Key] = [0]
        self._used = array("Q", [0])
        self._placed = array("Q", [0])
        #: How many track each.
        self.uses = array("I", [0])
        self._older = array("I", [0])
        self._newer = array("I", [0])
        self._values = array("Q", self._blank)
        #: Rows without an entry.
        self._free: list[int] = []
        self._count = 0
        #: Names of servers, which entries know by number.
        self._names: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        #: Keys and values of rows as they were before the first change since `remember`; None: nothing is noted.
        self._before: dict[int, tuple[Key, array[int]]] | None = None
        #: Those who follow what changes; each with what has changed since it last looked.
        self.journals: list[Journal] = []
        self.adopt(settings)

    def _lay_out(self) -> array[int]:
        width = 0
        order = list(KINDS)
        for stored in sorted(self.settings.stored, key=lambda each: order.index(each.type)):
            kind = KINDS[stored.type]
            first, line, last = stored.type.partition("_")
            for number in range(stored.count):
                shown = f"{first}{number}{line}{last}" if stored.type in ARRAYS else stored.type
                self.slots[shown] = Slot(width, stored.period if kind == RATE else 0, kind == NAME)
                width += _OF_A_RATE if kind == RATE else 1
        return array("Q", [0] * width)

    def _counted(self, total: str, rate: str) -> Counted | None:
        number, frequency = self.slots.get(total), self.slots.get(rate)
        if number is None and frequency is None:
            return None
        where = -1 if number is None else number.at
        return Counted(where) if frequency is None else Counted(where, frequency.at, frequency.period)

    def _alone_counted(self) -> str:
        requests = self.requests
        alone = self.connections is None and self._current < 0
        return "http_req_rate" if alone and requests is not None and requests.total < 0 else ""

    def general(self, number: int) -> Counted | None:
        """Returns where the general purpose counter of this number is counted; None if it is not."""
        if number not in self._general:
            self._general[number] = self._counted(f"gpc{number}", f"gpc{number}_rate")
        return self._general[number]

    def adopt(self, settings: StickTable) -> None:
        """Goes on with other settings, which its entries must fit. One that has become smaller drops the oldest when
        the next comes."""
        self.settings = settings
        self._expire, self._size = settings.expire, settings.size
        self._lazy = self._usually_lazy()

    def _usually_lazy(self) -> int:
        return self._expire // LAZILY if self._expire else LAZY_MS

    def now(self) -> int:
        """Returns the time in milliseconds."""
        return int(self._seconds() * 1000)

    def __len__(self) -> int:
        return self._count

    # Entries.

    def find(self, key: Key) -> int:
        """Returns the entry of this key; 0 if there is none, or none any more."""
        row = self._rows[hash(key) & self._mask].get(key, 0)
        if row and self._expire and not self.uses[row] and self._used[row] + self._expire <= self.now():
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
        elif not self._lazy and self._count < self._size - (self._size >> 3):
            self._lazy = self._usually_lazy()
        row = self._enter(key, now)
        for journal in self.journals:
            journal.begin(row, key, self._blank[:])
        return row

    def _enter(self, key: Key, used: int) -> int:
        """Makes a row for a new key."""
        if self._free:
            row = self._free.pop()
            self._keys[row] = key
            width = self._width
            self._values[row * width : (row + 1) * width] = self._blank
        else:
            row = len(self._keys)
            self._keys.append(key)
            for column in (self._used, self._placed, self.uses, self._older, self._newer):
                column.append(0)
            self._values.extend(self._blank)
        self._rows[hash(key) & self._mask][key] = row
        self._count += 1
        self._used[row] = used
        self._link(row, used)
        return row

    def key_of(self, row: int) -> Key:
        """Returns the key of an entry."""
        return self._keys[row]

    def idle(self, row: int) -> int:
        """Returns the milliseconds since an entry was last used."""
        return self.now() - self._used[row]

    def remains(self, row: int) -> int:
        """Returns the milliseconds after which an entry is gone if it is not used, 0 where none is ever gone."""
        return max(0, self._used[row] + self._expire - self.now()) if self._expire else 0

    def touch(self, row: int, now: int) -> None:
        """Notes that an entry is used now."""
        if self.journals:
            self._tell(row)
        self._used[row] = now
        if now - self._placed[row] >= self._lazy:
            self._unlink(row)
            self._link(row, now)

    def remove(self, row: int) -> bool:
        """Removes an entry, unless it is tracked. Returns whether it did."""
        if self.uses[row]:
            return False
        for journal in self.journals:
            journal.remove(self._keys[row])
        self._drop(row)
        return True

    def purge(self, most: int, now: int | None = None) -> int:
        """Looks at the oldest entries, `most` at once, and removes those that are out of time. Returns how many were
        looked at, less than `most` if no other is out of time for sure."""
        if not self._expire:
            return 0
        if now is None:
            now = self.now()
        for looked in range(most):
            row = self._newer[0]
            if not row or self._placed[row] + self._expire > now:
                return looked
            self._look_at(row, now)
        return most

    def _look_at(self, row: int, now: int) -> None:
        """Removes an entry that is out of time; any other gets its place in the order anew."""
        if self.uses[row] or self._used[row] + self._expire > now:
            self._unlink(row)
            self._link(row, now)
        else:
            self._drop(row)

    def _make_room(self) -> bool:
        """Drops some of the oldest entries of a full table. Returns whether there is room."""
        if self.settings.nopurge:
            return False
        drop = min(self._count - self._size + (self._size >> 8) + 1, DROPPED_AT_ONCE)
        self._lazy = 0
        self._place_anew(drop)
        passed = 0
        while drop > 0 and passed < PASSED_OVER and self._count:
            row = self._newer[0]
            if self.uses[row]:
                self._unlink(row)
                self._link(row, self._placed[row])
                passed += 1
            else:
                self._drop(row)
                drop -= 1
        return self._count < self._size

    def _place_anew(self, enough: int) -> None:
        """Places entries whose last use is newer than their place behind all others, in the order of that use, until
        so many that can be dropped are at the front. Without it, one in constant use would be dropped before those
        that were used once, and what it has counted be forgotten."""
        moved = []
        row = self._newer[0]
        for _ in range(PASSED_OVER):
            if not row or not enough:
                break
            if self._used[row] > self._placed[row]:
                moved.append(row)
            elif not self.uses[row]:
                enough -= 1
            row = self._newer[row]
        for row in sorted(moved, key=self._used.__getitem__):
            self._unlink(row)
            self._link(row, self._used[row])

    def _drop(self, row: int) -> None:
        key = self._keys[row]
        del self._rows[hash(key) & self._mask][key]
        self._keys[row] = 0
        self._unlink(row)
        self._free.append(row)
        self._count -= 1

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
        keys = [key for rows in self._rows for key in rows]
        return filter(None, map(self.find, keys))

    # Tracking, and counting.

    def track(self, key: Key, also: Counted | None = None) -> int:
        """Begins to track the entry of this key, and makes it if there is none yet: counts a connection, which lasts
        until `leave` is called, and an event of one more kind. Returns 0 where a full table takes no more."""
        row = self._rows[hash(key) & self._mask].get(key, 0)
        now = int(self._seconds() * 1000)
        if not row or (self._expire and self._used[row] + self._expire <= now and not self.uses[row]):
            row = self.obtain(key)
            if not row:
                return 0
        if self.journals:
            self._tell(row)
        self.uses[row] += 1
        if self._current >= 0:
            self._values[row * self._width + self._current] += 1
        if self.connections is not None:
            self._add(row, self.connections, now, 1)
        if also is not None:
            at, values = row * self._width, self._values
            if also.total >= 0:
                values[at + also.total] += 1
            at += also.rate
            if also.rate >= 0 and now - values[at] < also.period:  # as nearly always
                values[at + 1] += 1
            elif also.rate >= 0:
                self._begin_period(at, also.period, now, 1)
        # `touch`, without a call for each request.
        self._used[row] = now
        if now - self._placed[row] >= self._lazy:
            self._unlink(row)
            self._link(row, now)
        return row

    def limiting(self, low: int | None, high: int | None) -> Callable[[Key], int]:
        """Returns a function that does what `track` does for a request, and tells what the rate of requests is then:
        it returns the row if the rate is between these two, -row if it is not, or 0 where it has done nothing, because
        the entry is new, its period over, or somebody follows what changes. It is for tables of which `alone_counted`
        is that rate. What does not change is at hand in it, and it reads the clock once: half of the time of `track`
        and `value`."""
        counted = self.requests
        assert counted is not None
        place, period, width, mask = counted.rate, counted.period, self._width, self._mask
        least, most = -1 if low is None else low, 1 << 64 if high is None else high
        rows, values, used, placed, uses, seconds = (
            self._rows,
            self._values,
            self._used,
            self._placed,
            self.uses,
            self._seconds,
        )

        def track(key: Key) -> int:
            row = rows[hash(key) & mask].get(key)
            if row is None or self.journals:
                return 0
            at, now = row * width + place, int(seconds() * 1000)
            left = values[at] + period - now
            # An entry is used after its period has begun: it is out of time before that is over only if it is kept for
            # a shorter time.
            if left <= 0 or (0 < self._expire < period and self.find(key) != row):
                return 0
            uses[row] += 1
            values[at + 1] = events = values[at + 1] + 1
            used[row] = now
            if now - placed[row] >= self._lazy:
                self._unlink(row)
                self._link(row, now)
            before = values[at + 2]
            if before:
                events += before * left // period
            return row if least <= events <= most else -row

        return track

    def leave(self, row: int) -> None:
        """Ends what `track` has begun."""
        if self.journals:
            self._tell(row)
        self.uses[row] -= 1
        if self._current >= 0:
            at = row * self._width + self._current
            if self._values[at]:
                self._values[at] -= 1
            self.touch(row, self.now())

    def count(self, row: int, counted: Counted | None, events: int = 1) -> None:
        """Counts events, if this table does, and notes that the entry is used."""
        if counted is not None:
            now = self.now()
            if self._before is not None:
                self._note(row)
            if self.journals:
                self._tell(row)
            self._add(row, counted, now, events)
            self.touch(row, now)

    def _add(self, row: int, counted: Counted, now: int, events: int) -> None:
        at, values = row * self._width, self._values
        if counted.total >= 0:
            values[at + counted.total] += events
        if counted.rate < 0:
            return
        at += counted.rate
        if now - values[at] < counted.period:
            values[at + 1] += events
        else:
            self._begin_period(at, counted.period, now, events)

    def _begin_period(self, at: int, period: int, now: int, events: int) -> None:
        """Begins another period of the rate at this place, with these events."""
        values = self._values
        began = values[at] + period
        if now - began < period:
            values[at + 2] = values[at + 1]
        else:
            values[at + 2] = 0
            began = now
        values[at], values[at + 1] = began & ~1, events  # HAProxy has a lock in that bit

    # Values.

    def value(self, row: int, slot: Slot) -> int:
        """Returns a value: of a rate the events of the last period, rounded down. One event long past is not reported
        as none and one by turns: it counts until its period has passed twice."""
        at, values, period = row * self._width + slot.at, self._values, slot.period
        if not period:
            return values[at]
        left, events, before = values[at] + period - int(self._seconds() * 1000), values[at + 1], values[at + 2]
        if left < 0:
            left += period
            before = events if left >= 0 else 0
            events = 0
        if not events and before <= 1:
            return before
        return (before * left + events * period) // period

    def events(self, row: int, slot: Slot) -> int:
        """Returns what a rate has counted in its present period."""
        return self._values[row * self._width + slot.at + 1]

    def put(self, row: int, slot: Slot, value: int) -> None:
        """Sets a value, and notes that the entry is used."""
        now, at = self.now(), row * self._width + slot.at
        if self._before is not None:
            self._note(row)
        if self.journals:
            self._tell(row)
        if slot.period:
            self._values[at], self._values[at + 1], self._values[at + 2] = now & ~1, value, 0
        else:
            self._values[at] = value
        self.touch(row, now)

    def put_name(self, row: int, slot: Slot, name: str) -> None:
        """Sets a value that is a name."""
        if self.journals:
            self._tell(row)
        self._values[row * self._width + slot.at] = self.number_of(name)

    def number_of(self, name: str) -> int:
        """Returns the number under which entries know a name."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def name_in(self, row: int, slot: Slot) -> str:
        """Returns a value that is a name, "" if it is none."""
        return self._names[self._values[row * self._width + slot.at]]

    # Rules that may be broken off, and begin again.

    def remember(self) -> None:
        """Begins to note what `count` and `put` change."""
        self._before = {}

    def put_back(self) -> None:
        """Gives the entries the values that they had when that began. One that has been made since stays."""
        width = self._width
        for row, (key, values) in (self._before or {}).items():
            if self._keys[row] == key:
                if self.journals:
                    self._tell(row)
                self._values[row * width : (row + 1) * width] = values

    def forget(self) -> None:
        """Notes no more what is changed."""
        self._before = None

    def _note(self, row: int) -> None:
        before, width = self._before, self._width
        if before is not None and (row not in before or before[row][0] != self._keys[row]):
            before[row] = self._keys[row], self._values[row * width : (row + 1) * width]

    # What other processes know of it (`copies`).

    def _tell(self, row: int) -> None:
        """Has those who follow note a row before it changes."""
        key, width = self._keys[row], self._width
        for journal in self.journals:
            journal.note(row, key, self.uses[row], self._values[row * width : (row + 1) * width])

    @property
    def names(self) -> list[str]:
        """Returns all names that entries know, by their numbers."""
        return self._names

    @property
    def width(self) -> int:
        """Returns how many numbers a row has."""
        return self._width

    @property
    def rows(self) -> int:
        """Returns the number behind that of the last row."""
        return len(self._keys)

    @property
    def current(self) -> int:
        """Returns the place of `conn_cur` in a row, -1 if it is not stored."""
        return self._current

    def holds(self, row: int) -> bool:
        """Tells whether there is an entry in this row."""
        key = self._keys[row]
        return self._rows[hash(key) & self._mask].get(key, 0) == row

    def content(self, rows: Sequence[int]) -> tuple[list[Key], array[int], array[int], array[int]]:
        """Returns keys, times of the last use, numbers of trackers and values of these rows that have an entry."""
        keys, used, uses, values = list[Key](), array("Q"), array("I"), array("Q")
        width = self._width
        if isinstance(rows, range) and not self._free:
            first, end = rows.start, rows.stop
            values = self._values[first * width : end * width]
            return self._keys[first:end], self._used[first:end], self.uses[first:end], values
        for row in filter(self.holds, rows):
            keys.append(self._keys[row])
            used.append(self._used[row])
            uses.append(self.uses[row])
            values += self._values[row * width : (row + 1) * width]
        return keys, used, uses, values

    def load(self, keys: Sequence[Key], used: array[int], values: array[int]) -> list[int]:
        """Takes entries as they are in another process; those that are there already get these values. Returns their
        rows, 0 for what is out of time. They may be more than `size`; `settling` gives them their places."""
        limit = self.now() - self._expire if self._expire else -1
        found = [self._rows[hash(key) & self._mask].get(key, 0) for key in keys]
        if keys and not any(found) and not self._free and min(used) > limit:
            return self._append(keys, used, values)
        width = self._width
        for at, key in enumerate(keys):
            row, last = found[at], used[at]
            if not row and last > limit:
                row = found[at] = self._enter(key, last)
            if row:
                self._values[row * width : (row + 1) * width] = values[at * width : (at + 1) * width]
                self._used[row] = max(last, self._used[row])
        return found

    def _append(self, keys: Sequence[Key], used: array[int], values: array[int]) -> list[int]:
        """Adds entries that are new in new rows, all at once."""
        first, end = len(self._keys), len(self._keys) + len(keys)
        rows = list(range(first, end))
        for row, key in zip(rows, keys, strict=True):
            self._rows[hash(key) & self._mask][key] = row
        last = self._older[0]
        self._keys += keys
        self._used += used
        self._placed += used
        self.uses.frombytes(bytes(len(keys) * self.uses.itemsize))
        self._older.extend([last, *rows[:-1]])
        self._newer.extend([*rows[1:], 0])
        self._newer[last], self._older[0] = first, end - 1
        self._values += values
        self._count += len(keys)
        return rows

    def track_elsewhere(self, row: int, more: int, current: int) -> None:
        """Has an entry be in use by so many more, or less, of another process, and adds to `conn_cur`."""
        if self.journals:
            self._tell(row)
        self.uses[row] = max(0, self.uses[row] + more)
        if self._current >= 0:
            at = row * self._width + self._current
            self._values[at] = max(0, self._values[at] + current)

    def settling(self) -> Iterator[None]:
        """Gives all entries their places by their last use, in steps, and drops the oldest of too many."""
        used, now = self._used[:], self.now()
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
        for row in range(end, len(self._keys)):  # they have come since
            self._place(row, self._used[row])
        while self._count > self._size and not self.uses[self._newer[0]]:
            self._drop(self._newer[0])
            if not self._count % PLACED_AT_ONCE:
                yield

    def _place(self, row: int, placed: int) -> None:
        if self.holds(row):
            self._unlink(row)
            self._link(row, placed)
