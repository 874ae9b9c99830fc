"""Decides how many bytes may pass by now, so that they come at a given rate: a bandwidth limit (`filter bwlim-in`,
`bwlim-out`).

A limit of one's own is an `Own`, one that all with the same key of a stick table have in common is a `Share` of a
`Pot`. As with HAProxy's filter, the first bytes may pass at once, as many as it has in a buffer or, where that is
less, as the limit allows for a whole period; from there on they come evenly. What has not been used is lost, but
for an eighth of a second. Times are seconds by any clock. It must never know what the bytes are, or who waits for them.
"""

from __future__ import annotations

from typing import Final, Protocol

from reusedproxy.tables.journal import Key
from reusedproxy.tables.layout import Counted, Slot
from reusedproxy.tables.table import Table

#: Bytes that may pass at the beginning: one of HAProxy's buffers.
FIRST: Final = 16 * 1024
#: How often a second those who wait look again; not more often, or what they may send then is too little to be worth a
#: turn of the event loop.
TURNS: Final = 64
#: Seconds after which one of several who wait looks again, whatever the others do.
PATIENCE: Final = 1 / 16
#: Seconds for which unused bytes are kept: a loop that comes late catches up.
KEPT_FOR: Final = 1 / 8
#: Parts of a byte that are missing by rounding alone.
_ROUNDING: Final = 1e-6


class Allowance(Protocol):
    """Allows the bytes of one transfer to pass. Whoever carries it calls `enter` and `leave` once each, in between
    `offer` and, with no more than that has returned, `spend`; `wait` where that was not all, and `rest` where nothing
    could be sent for now even if it were allowed."""

    def enter(self, now: float) -> None: ...

    def offer(self, wanted: int, now: float) -> int:
        """Returns how many of so many bytes may pass now."""

    def spend(self, size: int, now: float) -> None: ...

    def wait(self, wanted: int, now: float) -> float:
        """Returns the seconds after which some of so many bytes may pass."""

    def rest(self, now: float) -> None:
        """Waits no more, so that others have what comes, until `wait` is called again."""

    def leave(self, now: float) -> None: ...


class Own:
    """Allows one transfer `limit` bytes in `period` seconds, and no fewer than `least` bytes at once, but for the
    last."""

    __slots__ = ("_at", "_level", "_most", "_piece", "_rate", "least")

    def __init__(self, limit: int, period: float, least: int = 0) -> None:
        first = max(1, min(limit, max(FIRST, least)))
        self._rate = limit / period
        self.least = max(1, min(least, first))
        self._piece = max(self.least, self._rate / TURNS)
        self._most = max(first, self._rate * KEPT_FOR)
        self._level: float = first
        self._at = 0.0

    def enter(self, now: float) -> None:
        if not self._at:  # a request that is sent again goes on with what it had left
            self._at = now

    def offer(self, wanted: int, now: float) -> int:
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        size = min(wanted, int(self._level + _ROUNDING))
        return size if size >= min(wanted, self.least) else 0

    def spend(self, size: int, now: float) -> None:
        self._level -= size

    def wait(self, wanted: int, now: float) -> float:
        return max(0.0, min(wanted, self._piece) - self._level) / self._rate

    def rest(self, now: float) -> None:
        """Does nothing: nobody else has a part in it."""

    def leave(self, now: float) -> None:
        """Does nothing, for the same reason."""


class Pot:
    """Divides a rate among all who wait at a moment, in equal parts; what comes while nobody waits is for the next."""

    __slots__ = ("_at", "_most", "_rate", "credit", "spare", "users", "waiting")

    def __init__(self, rate: float, first: float, most: float, now: float) -> None:
        self._rate = rate
        self._most = most
        self._at = now
        #: Bytes that nobody has a claim to; and those that each has got who has waited since the beginning.
        self.spare = first
        self.credit = 0.0
        self.users = 0
        self.waiting = 0

    def fill(self, now: float) -> None:
        """Adds what the time since the last call has brought."""
        came, self._at = (now - self._at) * self._rate, now
        if self.waiting:
            self.credit += came / self.waiting
            self.spare = min(self._most, self.spare)
        else:
            self.spare = min(self._most, self.spare + came)


class Share:
    """Takes part in what all transfers with this key may pass together: `limit` bytes in the period of the rate that
    the table counts. They are counted there, as in HAProxy, so that rules and `show table` see them, and so that a
    client cannot have a new beginning for each of many short transfers."""

    __slots__ = (
        "_claimed",
        "_entered",
        "_first",
        "_key",
        "_least",
        "_limit",
        "_pot",
        "_rate",
        "_row",
        "_slot",
        "_table",
    )

    def __init__(self, table: Table, slot: Slot, key: Key, limit: int, least: int = 0) -> None:
        """Takes where the table counts the rate."""
        self._table = table
        self._slot = slot
        self._key = key
        self._limit = limit
        self._first = max(1, min(limit, max(FIRST, least)))
        self._least = max(1, min(least, self._first))
        self._rate = limit * 1000 / slot.period
        self._pot: Pot | None = None
        self._row = 0
        self._entered = 0
        #: The pot's `credit` when it began to wait; None: it does not wait.
        self._claimed: float | None = None

    def enter(self, now: float) -> None:
        self._entered += 1
        table = self._table
        if self._entered > 1 or not (row := table.obtain(self._key)):
            return  # a full table takes no more: as in HAProxy, nothing is limited then
        self._row = row
        table.uses[row] += 1
        self._pot = pot = table.lent.get(self._name)
        if pot is None:
            first = min(self._first, max(0, self._limit - table.value(row, self._slot)))
            self._pot = pot = table.lent[self._name] = Pot(
                self._rate, first, max(self._first, self._rate * KEPT_FOR), now
            )
        pot.users += 1

    def offer(self, wanted: int, now: float) -> int:
        pot = self._pot
        if pot is None:
            return wanted
        pot.fill(now)
        # Others may use up the same entry, by another filter.
        left = self._limit + self._first - self._table.value(self._row, self._slot)
        size = min(wanted, int(pot.spare + self._claim(pot) + _ROUNDING), max(0, left))
        return size if size >= min(wanted, self._least) else 0

    def spend(self, size: int, now: float) -> None:
        pot = self._pot
        if pot is not None:
            self._stop_waiting(pot)
            pot.spare -= size
            self._table.count(self._row, Counted(-1, self._slot.at, self._slot.period, self._slot.mask), size)

    def wait(self, wanted: int, now: float) -> float:
        pot = self._pot
        if pot is None:
            return 0.0
        if self._claimed is None:
            pot.waiting += 1
            self._claimed = pot.credit
        piece = min(wanted, max(self._least, self._rate / TURNS))
        needed = (piece - self._claim(pot) - pot.spare) * pot.waiting / self._rate
        return needed if needed > 0 and pot.waiting == 1 else max(1 / TURNS, min(needed, PATIENCE))

    def rest(self, now: float) -> None:
        pot = self._pot
        if pot is not None:
            pot.fill(now)
            self._stop_waiting(pot)

    def leave(self, now: float) -> None:
        self._entered -= 1
        pot = self._pot
        if self._entered or pot is None:
            return
        pot.fill(now)
        self._stop_waiting(pot)
        self._pot = None
        pot.users -= 1
        if not pot.users:
            del self._table.lent[self._name]
        self._table.uses[self._row] -= 1

    @property
    def _name(self) -> tuple[Key, int, int, int]:
        """Returns what those have in common who share a pot."""
        return self._key, self._slot.at, self._limit, self._least

    def _claim(self, pot: Pot) -> float:
        return 0.0 if self._claimed is None else pot.credit - self._claimed

    def _stop_waiting(self, pot: Pot) -> None:
        """Gives what it has got while it waited to all, before it takes what it may."""
        if self._claimed is not None:
            pot.spare += self._claim(pot)
            pot.waiting -= 1
            self._claimed = None
