"""Tells the log who has ordered what, at the runtime API, on the statistics page, or in the manhole.

What becomes of an order is told elsewhere, in HAProxy's words, which say nothing of who gave it; and of many orders
nothing is told at all. An order that changes something is a line of its own here, up to a bound: a program may give
thousands in a second. It must never know commands, and is given no secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, frozen

#: The most lines in `PERIOD` seconds; the orders beyond that are counted, and their numbers told at its end.
AT_MOST = 100
PERIOD = 10.0
#: The most lines of such numbers, one for each who has given orders, and the most kinds of orders in one of them.
SOURCES = 5
KINDS = 10
#: The most characters of an order in a line.
LONGEST = 300


@frozen
class Orderer:
    """Identifies who gives orders: `place` is where, such as "unix@/run/admin.sock", `who` is a user or an address, and
    `process` is the number of the process that has connected, 0 if it is not known."""

    place: str
    who: str
    process: int = 0

    @property
    def source(self) -> str:
        """Returns what its orders have in common with those of other processes of the same user."""
        return f"at {self.place} by {self.who}"

    def __str__(self) -> str:
        return f"{self.source}, pid {self.process}" if self.process else self.source


@define
class _Period:
    """Counts the orders of `PERIOD` seconds that began at `began`: lines that were written, and by source and kind the
    orders that were not."""

    began: float
    lines: int
    untold: dict[str, Counter[str]]


class OrderLog:
    """Writes a line for each order, and one with numbers where there are too many."""

    def __init__(self, clock: Any, announce: Callable[[str, str], object]) -> None:
        """Takes what tells the time and calls later (IReactorTime), and what takes a level and a line."""
        self._clock = clock
        self._announce = announce
        self._period = _Period(-PERIOD, 0, {})
        #: What is to be said of each order, as not all do what who gives them expects.
        self.caveat = ""

    def tell(self, orderer: Orderer, kind: str, rest: str = "") -> None:
        """Notes an order that has changed something: `kind` are the words that all such orders have in common, `rest`
        the others."""
        now = self._clock.seconds()
        if now - self._period.began >= PERIOD and not self._period.untold:
            self._period = _Period(now, 0, {})
        period = self._period
        if period.lines < AT_MOST:
            period.lines += 1
            order = f"{kind} {rest}".rstrip()
            order = order if len(order) <= LONGEST else f"{order[:LONGEST]}..."
            but = f" ({self.caveat})" if self.caveat else ""
            self._announce("warning" if but else "notice", f"Order {orderer}: {order}{but}")
            return
        if not period.untold:
            self._clock.callLater(max(0.0, period.began + PERIOD - now), self.tell_numbers)
        source = orderer.source if orderer.source in period.untold or len(period.untold) < SOURCES else "by others"
        counts = period.untold.setdefault(source, Counter())
        counts[kind if kind in counts or len(counts) < KINDS else "others"] += 1

    def tell_numbers(self) -> None:
        """Tells the numbers of orders that have no lines of their own, at the end of a period or of the daemon."""
        untold, self._period.untold = self._period.untold, {}
        for source, counts in untold.items():
            kinds = ", ".join(f"{number} '{kind}'" for kind, number in counts.most_common())
            text = f"{sum(counts.values())} more in {PERIOD:.0f} s, which have no lines of their own: {kinds}"
            self._announce("notice", f"Orders {source}: {text}")
