"""Counts what is known of clients, or of anything else that rules find in requests, by a key: a stick table.

Its entries, their order and their bound are in `entries`, where each value is in `layout`; this module tracks and
counts. It must never know what a key stands for, or who counts.

Rates are HAProxy's (include/haproxy/freq_ctr.h): the events of the present period, and those of the one before it in
proportion to what is left of this one. They are three numbers, whatever the rate: when the period began, its events,
and those of the period before. Times are whole milliseconds, so that rates are those that HAProxy counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reusedproxy.config.model.tables import StickTable
from reusedproxy.tables.entries import Entries
from reusedproxy.tables.journal import Key as Key
from reusedproxy.tables.layout import MASK as MASK
from reusedproxy.tables.layout import Counted, Layout, Slot


class Table(Entries):
    """Runs one `stick-table`."""

    def __init__(self, settings: StickTable, seconds: Callable[[], float]) -> None:
        """Takes its settings, and a clock."""
        layout = Layout(settings)
        super().__init__(settings, layout.blank, seconds)
        self.name = settings.name
        #: Its keys are IPv4 addresses.
        self.by_address = settings.type == "ip"
        #: Where each value is, by the name under which it is shown.
        self.slots = layout.slots
        self._layout = layout
        self.connections = layout.counted("conn_cnt", "conn_rate")
        self.sessions = layout.counted("sess_cnt", "sess_rate")
        self.requests = layout.counted("http_req_cnt", "http_req_rate")
        self.errors = layout.counted("http_err_cnt", "http_err_rate")
        self.failures = layout.counted("http_fail_cnt", "http_fail_rate")
        self.bytes_in = layout.counted("bytes_in_cnt", "bytes_in_rate")
        self.bytes_out = layout.counted("bytes_out_cnt", "bytes_out_rate")
        self._general: dict[int, Counted | None] = {}
        current = self.slots.get("conn_cur")
        #: The place of `conn_cur` in a row, -1 if it is not stored.
        self._current = -1 if current is None else current.at
        #: "http_req_rate" where that is the only value that `track` changes for a request, else "".
        self.alone_counted = self._alone_counted()
        #: The end of what is tracked changes more than the number of those who track.
        self.counts_ends = current is not None or self.bytes_in is not None or self.bytes_out is not None
        #: It counts more of a request than that it has come.
        self.counts_exchanges = bool(self.errors or self.failures or self.bytes_in or self.bytes_out)
        self.counts_bytes = bool(self.bytes_in or self.bytes_out)
        #: Names of servers, which entries know by number.
        self._names: list[str] = [""]
        self._numbers: dict[str, int] = {"": 0}
        #: What those have in common who use an entry, under names of their own, for as long as they do (`allowances`).
        self.lent: dict[object, Any] = {}

    def _alone_counted(self) -> str:
        requests = self.requests
        alone = self.connections is None and self._current < 0
        return "http_req_rate" if alone and requests is not None and requests.total < 0 else ""

    def general(self, number: int) -> Counted | None:
        """Returns where the general purpose counter of this number is counted; None if it is not."""
        if number not in self._general:
            self._general[number] = self._layout.counted(f"gpc{number}", f"gpc{number}_rate")
        return self._general[number]

    # Tracking, and counting.

    def track(self, key: Key, also: Counted | None = None) -> int:
        """Begins to track the entry of this key, and makes it if there is none yet: counts a connection, which lasts
        until `leave` is called, and an event of one more kind. Returns 0 where a full table takes no more."""
        row = self.by_key[hash(key) & self.mask].get(key, 0)
        now = int(self.seconds() * 1000)
        if not row or (self.expire and self.used[row] + self.expire <= now and not self.uses[row]):
            row = self.obtain(key)
            if not row:
                return 0
        if self.journals:
            self._tell(row)
        self.uses[row] += 1
        if self._current >= 0:
            self.values[row * self.width + self._current] += 1
        if self.connections is not None:
            self._add(row, self.connections, now, 1)
        if also is not None:
            at, values = row * self.width, self.values
            if also.total >= 0:
                values[at + also.total] = (values[at + also.total] + 1) & MASK
            at += also.rate
            if also.rate >= 0 and now - values[at] < also.period:  # as nearly always
                values[at + 1] += 1
            elif also.rate >= 0:
                self._begin_period(at, also.period, now, 1)
        # `touch`, without a call for each request.
        self.used[row] = now
        if now - self._placed[row] >= self.lazy:
            self._unlink(row)
            self._link(row, now)
        return row

    def leave(self, row: int) -> None:
        """Ends what `track` has begun."""
        if self.journals:
            self._tell(row)
        self.uses[row] -= 1
        if self._current >= 0:
            at, now = row * self.width + self._current, int(self.seconds() * 1000)
            if self.values[at]:
                self.values[at] -= 1
            # `touch`, without a call for each request.
            self.used[row] = now
            if now - self._placed[row] >= self.lazy:
                self._unlink(row)
                self._link(row, now)

    def count(self, row: int, counted: Counted | None, events: int = 1) -> None:
        """Counts events, if this table does, and notes that the entry is used. A number of events below 0 takes away;
        what goes below 0 goes on at the largest number, as in HAProxy."""
        if counted is not None:
            now = int(self.seconds() * 1000)
            if self.journals:
                self._tell(row)
            self._add(row, counted, now, events)
            self.used[row] = now
            if now - self._placed[row] >= self.lazy:
                self._unlink(row)
                self._link(row, now)

    def _add(self, row: int, counted: Counted, now: int, events: int) -> None:
        at, values, mask = row * self.width, self.values, counted.mask
        if counted.total >= 0:
            values[at + counted.total] = (values[at + counted.total] + events) & mask
        if counted.rate < 0:
            return
        at += counted.rate
        if now - values[at] < counted.period:
            values[at + 1] = (values[at + 1] + events) & mask
        else:
            self._begin_period(at, counted.period, now, events & mask)

    def _begin_period(self, at: int, period: int, now: int, events: int) -> None:
        """Begins another period of the rate at this place, with these events."""
        values = self.values
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
        at, values, period = row * self.width + slot.at, self.values, slot.period
        if not period:
            return values[at]
        left, events, before = values[at] + period - int(self.seconds() * 1000), values[at + 1], values[at + 2]
        if left < 0:
            left += period
            before = events if left >= 0 else 0
            events = 0
        if not events and before <= 1:
            return before
        return ((before * left + events * period) // period) & slot.mask

    def events(self, row: int, slot: Slot) -> int:
        """Returns what a rate has counted in its present period."""
        return self.values[row * self.width + slot.at + 1]

    def put(self, row: int, slot: Slot, value: int) -> None:
        """Sets a value, and notes that the entry is used."""
        now, at = self.now(), row * self.width + slot.at
        if self.journals:
            self._tell(row)
        if slot.period:
            self.values[at], self.values[at + 1], self.values[at + 2] = now & ~1, value, 0
        else:
            self.values[at] = value
        self.touch(row, now)

    def put_name(self, row: int, slot: Slot, name: str) -> None:
        """Sets a value that is a name."""
        if self.journals:
            self._tell(row)
        self.values[row * self.width + slot.at] = self.number_of(name)

    def number_of(self, name: str) -> int:
        """Returns the number under which entries know a name."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def name_in(self, row: int, slot: Slot) -> str:
        """Returns a value that is a name, "" if it is none."""
        return self._names[self.values[row * self.width + slot.at]]

    # What copies in other processes know, and say (`copies`).

    @property
    def names(self) -> list[str]:
        """Returns all names that entries know, by their numbers."""
        return self._names

    @property
    def current(self) -> int:
        """Returns the place of `conn_cur` in a row, -1 if it is not stored."""
        return self._current

    def track_elsewhere(self, row: int, more: int, current: int) -> None:
        """Adds `more` (or less) to how many track an entry, and `current` to its `conn_cur`, for another process."""
        if self.journals:
            self._tell(row)
        self.uses[row] = max(0, self.uses[row] + more)
        if self._current >= 0:
            at = row * self.width + self._current
            self.values[at] = max(0, self.values[at] + current)
