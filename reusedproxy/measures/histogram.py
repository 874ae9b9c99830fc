"""Counts values by size: the distribution of waits, handshakes and ages is kept instead of the values themselves.

Only plain numbers are kept. To count a value costs a search among the bounds and two additions, however many came
before. It knows nothing of what it counts.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from attrs import define, field

Bounds = tuple[float, ...]

#: Upper bounds, in seconds, for what takes as long as a network does.
DURATIONS = (50e-6, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Upper bounds, in seconds, for what servers take to answer.
ANSWERS = (*(2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),)
#: Upper bounds, in seconds, for what may take minutes: a pool that fills up to its floor.
PATIENCES = (1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Upper bounds of idle times, in seconds. Servers' time-outs are among them: gunicorn 2, Apache and Node 5, HAProxy's
#: samples 10, nginx 60 and 75. (Were they not of any number for mypyc, compiled code would take all of them apart and
#: together for each request.)
IDLE_AGES: Bounds = (1e-3, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 75.0, 120.0, 300.0, 900.0, 3600.0)
#: Upper bounds of the lifetime of a connection, in seconds.
LIVES = (0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0)
#: Upper bounds of the number of requests that one connection has carried.
REQUESTS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10000.0, 100000.0)


@define
class Histogram:
    """Counts values between bounds.

    `counts[i]` is the number of values at most `bounds[i]` and above the bound before it; the last of `counts` is the
    number of values above all bounds. `sum` is the sum of all values.
    """

    bounds: Bounds
    counts: list[int] = field()
    sum: float = 0.0

    @counts.default
    def _none_yet(self) -> list[int]:
        return [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Returns the mean of all values; None if there is none."""
        count = self.count
        return self.sum / count if count else None

    def cumulative(self) -> list[tuple[float, int]]:
        """Returns for each bound, and for inf at last, how many values were at most that."""
        total, steps = 0, []
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            total += count
            steps.append((bound, total))
        return steps

    def quantile(self, share: float) -> float | None:
        """Returns the smallest bound that this share of the values does not exceed.

        Returns inf if that is above all bounds, and None without values.
        """
        steps = self.cumulative()
        count = steps[-1][1]
        return next((bound for bound, total in steps if total >= share * count), inf) if count else None

    def estimate(self, share: float) -> float | None:
        """Returns the value that this share of the values does not exceed, if those between two bounds lie evenly (as
        histogram_quantile of Prometheus has it); None without values. What is above all bounds counts as the last."""
        wanted = share * self.count
        if not wanted:
            return None
        below, total = 0.0, 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and total + count >= wanted:
                return below + (bound - below) * (wanted - total) / count
            below, total = bound, total + count
        return below

    def joined(self, other: Histogram) -> Histogram:
        """Returns the sum of two histograms of the same bounds."""
        assert self.bounds == other.bounds
        counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.bounds, counts, self.sum + other.sum)
