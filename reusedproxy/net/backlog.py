"""Many small jobs, done in short slices: some of them at once, the rest while other work goes on in between.

Unlike the generators of `net.slices`, jobs can be added while others are under way, and all that are left can be finished
at once. It knows a clock; it must never know what the jobs are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.net.slices import PAUSE, SLICE


class Backlog:
    """Calls jobs in the order of their coming, for as long as a slice lasts, then again after a pause.

    A job does one thing each time that it is called, and returns whether it has to be called again. One that raises is
    called again, too.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._jobs: deque[Callable[[], bool]] = deque()
        self._call: IDelayedCall | None = None

    def add(self, job: Callable[[], bool]) -> None:
        """Queues a job. It is not called before the next `go_on` or `finish`."""
        self._jobs.append(job)

    def go_on(self) -> None:
        """Calls jobs for the length of one slice, unless they are under way."""
        if self._call is None:
            self._work(self._clock.seconds() + SLICE)

    def finish(self) -> None:
        """Calls all jobs until none is left, nor a timer."""
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
                # Whoever is called may call us: then the job has perhaps come to its end meanwhile.
                if not job() and jobs and jobs[0] is job:
                    jobs.popleft()
                if self._clock.seconds() >= until:
                    return
        finally:
            if jobs and self._call is None:
                self._call = self._clock.callLater(PAUSE, self._turn)
