"""Sums up the times of a server's requests, and averages them over the last ones: HAProxy's qtime, ctime, rtime and
ttime.

A request only adds to sums, which costs no call; whoever reads them now and then makes averages of what has been added
meanwhile. It must never know who counts.
"""

from __future__ import annotations

from typing import NamedTuple

#: Each request counts for a 512th, and the ones before it for the rest, as in HAProxy; that is about what an average of
#: the last 1024 would be.
WINDOW = 512


class Times:
    """Holds the number of requests that were answered, and the seconds that they took in all and at most: in queues,
    until connected, until answered, and altogether."""

    # No class of attrs, whose attributes a compiled caller would ask for through the interpreter: each request changes
    # five of them.
    __slots__ = (
        "connect",
        "connect_most",
        "count",
        "queue",
        "queue_most",
        "response",
        "response_most",
        "total",
        "total_most",
    )

    def __init__(self) -> None:
        self.count = 0
        self.queue = self.connect = self.response = self.total = 0.0
        self.queue_most = self.connect_most = self.response_most = self.total_most = 0.0

    def clear(self, everything: bool) -> None:
        """Forgets the most; with `everything` also the sums."""
        self.queue_most = self.connect_most = self.response_most = self.total_most = 0.0
        if everything:
            self.count = 0
            self.queue = self.connect = self.response = self.total = 0.0


class Means(NamedTuple):
    """Holds times in seconds, in the order in which they pass."""

    queue: float = 0.0
    connect: float = 0.0
    response: float = 0.0
    total: float = 0.0


class Sums(NamedTuple):
    """Holds a number of requests, and the seconds that they took in all."""

    number: int = 0
    queue: float = 0.0
    connect: float = 0.0
    response: float = 0.0
    total: float = 0.0

    @classmethod
    def of(cls, times: Times) -> Sums:
        return cls(times.count, times.queue, times.connect, times.response, times.total)

    def since(self, before: Sums) -> Sums:
        """Returns what was added. Counters that are less than before have begun anew."""
        if self.number < before.number:
            return self
        return Sums(
            self.number - before.number,
            self.queue - before.queue,
            self.connect - before.connect,
            self.response - before.response,
            self.total - before.total,
        )


class Averages:
    """The averages of one server, or of several together."""

    def __init__(self) -> None:
        self._means = Means()
        self._count = 0

    def add(self, added: Sums) -> None:
        """Takes in the requests that have ended meanwhile."""
        self._means = self.with_(added)
        self._count += added.number

    def with_(self, added: Sums) -> Means:
        """Returns the averages as they are with these requests, too."""
        if not added.number:
            return self._means
        if self._count + added.number <= WINDOW:
            kept = self._count / (self._count + added.number)
        else:
            kept = (1 - 1 / WINDOW) ** added.number
        new = (each / added.number for each in added[1:])
        return Means._make(old * kept + each * (1 - kept) for old, each in zip(self._means, new, strict=True))

    def clear(self) -> None:
        self._means, self._count = Means(), 0
