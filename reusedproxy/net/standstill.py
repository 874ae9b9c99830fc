"""Detects that the process, or the whole machine, has stood still for a while: suspended, stopped or blocked.

The time-outs of peers went on meanwhile, so connections that look alive may be dead without any notice of it. It knows
two clocks of the system; it must never know what depends on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two checks, and by how many seconds a check must be late to count as a standstill.
EVERY = 1.0
LATE = 10.0
#: Seconds of suspension from which on it counts as a standstill.
SLEPT = 1.0


def slept() -> float:
    """Returns the seconds that the machine has been suspended since it started.

    The clock BOOTTIME counts them and MONOTONIC does not (clock_gettime(2)).
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


class Standstill:
    """Checks once a second, from `start` to `stop`, and calls `tell(seconds, why)` for each standstill."""

    def __init__(
        self, clock: IReactorTime, tell: Callable[[float, str], None], slept: Callable[[], float] = slept
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._slept = slept
        self._call: IDelayedCall | None = None
        self._looked_at = 0.0
        self._slept_before = 0.0

    def start(self) -> None:
        self._slept_before = self._slept()
        self._again()

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _again(self) -> None:
        self._looked_at = self._clock.seconds()
        self._call = self._clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        self._call = None
        late = self._clock.seconds() - self._looked_at - EVERY
        slept = self._slept()
        asleep, self._slept_before = slept - self._slept_before, slept
        self._again()
        if asleep >= SLEPT:
            self._tell(asleep, "the machine was suspended")
        elif late >= LATE:
            self._tell(late, "the process stood still")
