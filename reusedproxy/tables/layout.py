"""Lays out the row of a stick table's entry: where each of the stored values is in it.

A row is some numbers of 64 bits. What is a plain value takes one of them; a rate takes three: when its present period
began, the events of that one, and those of the period before (`table`). It must never know what the values mean.
"""

from __future__ import annotations

from array import array

from attrs import field, frozen

from reusedproxy.config.model.tables import ARRAYS, NAME, RATE, StickTable
from reusedproxy.config.model.tables import DATA_TYPES as KINDS

#: Numbers that a rate takes.
_OF_A_RATE = 3
#: The largest number of 32 bits, where HAProxy's counters and rates begin again; those of bytes have 64.
MASK = 0xFFFFFFFF
_MASK_OF_BYTES = (1 << 64) - 1


@frozen
class Slot:
    """Tells where one value is in a row; `period` is in milliseconds, 0 for what is no rate. `names`: the value is the
    number of a name. A count begins again behind `mask`."""

    at: int
    period: int = 0
    names: bool = False
    mask: int = field(default=MASK, eq=False)


@frozen
class Counted:
    """Tells where one kind of event is counted: the places of a number and of a rate, -1 for what is not stored. Both
    begin again behind `mask`, so that a number below 0 takes away."""

    total: int
    rate: int = -1
    period: int = 0
    mask: int = MASK


class Layout:
    """Has the places of all values that a table stores, by the name under which each is shown: those of an array are
    "gpc0", "gpc1" and so on."""

    def __init__(self, settings: StickTable) -> None:
        self.slots: dict[str, Slot] = {}
        width = 0
        order = list(KINDS)
        for stored in sorted(settings.stored, key=lambda each: order.index(each.type)):
            kind = KINDS[stored.type]
            first, line, last = stored.type.partition("_")
            period, mask = stored.period if kind == RATE else 0, _MASK_OF_BYTES if first == "bytes" else MASK
            for number in range(stored.count):
                shown = f"{first}{number}{line}{last}" if stored.type in ARRAYS else stored.type
                self.slots[shown] = Slot(width, period, kind == NAME, mask)
                width += _OF_A_RATE if kind == RATE else 1
        #: The row of a new entry.
        self.blank = array("Q", [0] * width)

    def counted(self, total: str, rate: str) -> Counted | None:
        """Returns where the events are counted whose number and rate have these names; None if neither is stored."""
        number, frequency = self.slots.get(total), self.slots.get(rate)
        if number is None and frequency is None:
            return None
        where = -1 if number is None else number.at
        if frequency is None:
            assert number is not None
            return Counted(where, mask=number.mask)
        return Counted(where, frequency.at, frequency.period, frequency.mask)
