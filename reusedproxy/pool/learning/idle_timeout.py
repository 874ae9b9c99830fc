"""Estimates how long a server lets a connection stand idle before it closes it: advertised by the server, or learned
from its closes.

A connection that is used just as its server closes it loses a request, so connections leave ahead of that (RFC 9112
section 9.3.1, 9.5). A server has two time-outs: one for connections that have never carried a request (its header
time-out) and one for those that have (its keep-alive time-out); each has an `IdleTimeoutEstimate`. The estimate knows
ages and a clock; it must never know connections or pools.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from itertools import combinations
from math import inf

#: Number of closes remembered. Two that are alike make a time-out.
RECENT = 4
#: Seconds within which closes count as coming together.
SETTLE = 0.5
#: Share of the age, and seconds, by which ages may differ and still show the same time-out; the larger one counts.
ALIKE, ALIKE_WITHIN = 0.1, 0.25
#: Seconds below which a close is a refusal, a crash or a limit of requests, not a time-out.
SHORTEST = 0.75
#: Seconds, and share of the time-out, by which connections leave early; the larger counts, but at
#: most half of the time-out.
MARGIN, MARGIN_SHARE = 1.0, 0.1
#: Least seconds between two looks whether a server has become more patient; or LOOK_AFTER of its time-outs, if longer.
LOOK_EVERY, LOOK_AFTER = 60.0, 10

_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
_MAX = re.compile(rb"(?:^|[,;\s])max\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


def advertised(keep_alive: bytes) -> tuple[float | None, int | None]:
    """Parses a Keep-Alive field. Returns `timeout` in seconds and `max` in further requests; None for each
    that is missing.

    The field is described in RFC 2068 section 19.7.1.1; the parameters are those that Apache and Node send.
    """
    timeout, most = _TIMEOUT.search(keep_alive), _MAX.search(keep_alive)
    return (float(timeout[1]) if timeout else None, int(most[1]) if most else None)


class IdleTimeoutEstimate:
    """Estimates one of a server's two idle time-outs.

    `limit` is the idle age, in seconds, at which the server is thought to close, inf when nothing is known; `source` is
    "advertised", "learned" or "". `leave_after` is the age in seconds at which a connection must leave. Only the
    methods change these three.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.limit = inf
        self.source = ""
        self.leave_after = inf
        self._now = now
        self._advertised = inf
        self._learned = inf
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._unsettled: list[tuple[float, float]] = []
        self._look_at = -inf

    def advertise(self, seconds: float) -> None:
        """Takes the time-out that the server advertises, in seconds; its last word counts."""
        if seconds != self._advertised:
            self._advertised = seconds
            self._judge()

    def closed(self, age: float) -> None:
        """Notes that the server has closed a connection that had stood idle for `age` seconds.
        It counts after `settle`."""
        self.settle()
        if age >= SHORTEST:
            self._unsettled.append((self._now(), age))

    def failed(self) -> None:
        """Drops the latest closes: the server does not accept connections, so it closed them because it stopped."""
        self._unsettled.clear()

    @property
    def settled(self) -> bool:
        """Tells whether all closes have been judged."""
        return not self._unsettled

    def settle(self) -> None:
        """Judges closes that came together: alike in age they may be a time-out; otherwise the server was stopped."""
        if not self._unsettled or self._now() - self._unsettled[0][0] < SETTLE:
            return
        ages = [age for _, age in self._unsettled]
        self._unsettled = []
        if not _alike(min(ages), max(ages)):
            return
        self._recent.extend(ages)
        pairs = [min(pair) for pair in combinations(self._recent, 2) if _alike(*pair)]
        if pairs:
            self._learned = min(pairs)
            self._judge()

    def stood(self, age: float) -> None:
        """Raises the estimate: a connection still stands at this age, whatever the server did before."""
        if age > self._learned:
            self._learned = age
            self._recent.clear()
            self._judge()

    def may_look(self) -> bool:
        """Tells whether it is time to let one connection stand beyond the limit and watch it; if so, counts
        this as begun.

        No request goes over such a connection. What the server advertises is believed without a look.
        """
        if self.source != "learned" or self._now() < self._look_at:
            return False
        self._look_at = self._now() + max(LOOK_EVERY, LOOK_AFTER * self.limit)
        return True

    def known(self) -> list[object]:
        """Returns what is known as plain values: the time-out that is advertised, the one that was learnt, in seconds
        (0: there is none), and the ages of the latest closes."""
        found = [0.0 if each == inf else each for each in (self._advertised, self._learned)]
        return [*found, [*self._recent]]

    def know(self, advertised: float, learned: float, recent: Sequence[float]) -> None:
        """Begins with what `known` has returned."""
        self._advertised, self._learned = advertised or inf, learned or inf
        self._recent.extend(recent)
        self._judge()

    def _judge(self) -> None:
        self.limit = min(self._advertised, self._learned)
        if self.limit == inf:
            self.source = ""
        else:
            self.source = "advertised" if self._advertised <= self._learned else "learned"
        self.leave_after = self.limit - margin(self.limit) if self.limit != inf else inf


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= max(ALIKE_WITHIN, ALIKE * max(one, other))


def margin(limit: float) -> float:
    """Returns how many seconds before a server's time-out a connection leaves."""
    return min(limit / 2, max(MARGIN, MARGIN_SHARE * limit))
