"""How often values of each size have come: what is kept of waits, handshakes and ages instead of the values themselves.

Plain numbers: to count one costs a search among the bounds and two additions, whatever has come before. It knows nothing of
what it counts.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from attrs import define, field

#: Upper bounds, in seconds, for what takes as long as a network does.
DURATIONS = (50e-6, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: The same for what may take minutes: a floor that fills.
PATIENCES = (1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Seconds of idleness. Servers' time-outs are among them: gunicorn 2, Apache and Node 5, HAProxy's samples 10, nginx 60 and 75.
IDLE_AGES = (1e-3, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 75.0, 120.0, 300.0, 900.0, 3600.0)
#: Seconds that a connection lives.
LIVES = (0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0)
#: Requests that one connection has carried.
REQUESTS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 10000.0, 100000.0)


@define
class Histogram:
    """`counts[i]` values were at most `bounds[i]` and above the bound before; the last of `counts` those above all bounds."""

    bounds: tuple[float, ...]
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
        """None: nothing has come."""
        count = self.count
        return self.sum / count if count else None

    def cumulative(self) -> list[tuple[float, int]]:
        """For each bound, and inf at last, how many values were at most that."""
        total, steps = 0, []
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            total += count
            steps.append((bound, total))
        return steps

    def quantile(self, share: float) -> float | None:
        """The smallest bound below or at which this share of the values lies; inf: above all bounds; None: nothing has come."""
        steps = self.cumulative()
        count = steps[-1][1]
        return next((bound for bound, total in steps if total >= share * count), inf) if count else None

    def joined(self, other: Histogram) -> Histogram:
        """Both in one, of the same bounds."""
        assert self.bounds == other.bounds
        counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.bounds, counts, self.sum + other.sum)
