"""Counts the connections that have ended under a request, for the last hour, by their reasons: a time-out of the
server, a client that left, a connection that broke.

Each leaves the next request one connection less, whatever the floor. It must never know connections or pools.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from math import inf

from reusedproxy.pool.learning.depth import BUCKET, BUCKETS

#: Reasons that are told apart in one bucket of time; some quote a peer.
REASONS = 20
OTHERS = "for other reasons"


class Losses:
    """Counts in buckets of `BUCKET` seconds. `last_at` is when the last one ended, for `last_reason`."""

    def __init__(self) -> None:
        self.last_at, self.last_reason = -inf, ""
        #: When each bucket began, and what it counts.
        self._buckets: deque[tuple[float, Counter[str]]] = deque(maxlen=BUCKETS + 1)

    def note(self, now: float, reason: str) -> None:
        self.last_at, self.last_reason = now, reason
        if not self._buckets or now >= self._buckets[-1][0] + BUCKET:
            self._buckets.append((now, Counter()))
        counts = self._buckets[-1][1]
        counts[reason if reason in counts or len(counts) < REASONS else OTHERS] += 1

    def counts(self, now: float) -> Counter[str]:
        """Returns how many there were in the last hour, and up to a bucket before."""
        found: Counter[str] = Counter()
        for began, counts in self._buckets:
            if began > now - BUCKET * (BUCKETS + 1):
                found.update(counts)
        return found

    def known(self, now: float) -> list[list[object]]:
        """Returns what was counted as plain values: how long ago each bucket began, and its reasons and numbers."""
        return [[now - began, [[*each] for each in counts.items()]] for began, counts in self._buckets]

    def know(self, now: float, said: Sequence[tuple[float, Sequence[tuple[str, int]]]]) -> None:
        """Counts on where another process does, of the same server."""
        self._buckets.extend((now - ago, Counter(dict(counts[: REASONS + 1]))) for ago, counts in said)
