"""Runs many small jobs in short time slices, with other work of the event loop in between.

Unlike the generators of `net.slices`, jobs can be added while others are under way, and all that are left can be
finished at once. It knows a clock; it must never know what the jobs are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.net.slices import PAUSE, SLICE


class Backlog:
    """Calls jobs, first come first served, for the length of one slice, then again after a pause.

    A job does one unit of work per call and returns whether it has to be called again. A job that raises is called
    again, too.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._jobs: deque[Callable[[], bool]] = deque()
        self._call: IDelayedCall | None = None

    def add(self, job: Callable[[], bool]) -> None:
        """Queues a job. It is not called before the next `go_on` or `finish`."""
        self._jobs.append(job)

    def go_on(self) -> None:
        """Calls jobs for the length of one slice, unless a next slice is scheduled already."""
        if self._call is None:
            self._work(self._clock.seconds() + SLICE)

    def finish(self) -> None:
        """Calls all jobs until none is left, and cancels the timer."""
        self._work(inf)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _turn(self) -> None:
        self._call = None
        self.go_on()

    def _work(self, until: float) -> None:
        jobs = self._jobs
        try:
            while jobs:
                job = jobs[0]
                # The job may have called `finish` or `go_on`, which may have completed and removed it meanwhile.
                if not job() and jobs and jobs[0] is job:
                    jobs.popleft()
                if self._clock.seconds() >= until:
                    return
        finally:
            if jobs and self._call is None:
                self._call = self._clock.callLater(PAUSE, self._turn)
