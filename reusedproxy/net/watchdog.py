"""Whether the event loop turns: a look that comes too late is counted, and where the loop stands meanwhile is told.

A timer of the system (ITIMER_REAL, SIGALRM) is put off by each look; when no look comes, its handler runs in the main thread, between two
steps of whatever the loop stands in, and has its stack. A thread could not: it would wait for the interpreter's lock, which a regular
expression of Python's holds to its end. What is neither Python nor interrupted by signals (a look-up in the C library) is told when it
comes back, with the same stack. A process that was told to stop and does not turn any more ends itself here.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two looks, and how late one may be: what takes longer than both together is always seen.
EVERY = 0.5
BOUND = 1.0
#: While it stands, it is told again after this time.
AGAIN = 10.0
#: A timer that is this late says that the whole process did not run (stopped, or a machine without a processor to spare): wait this long.
LATE, WAIT = 0.5, 0.25
#: Calls of the stack that are told, from the innermost.
CALLS = 12

Timer = Callable[[float], object]


@define
class Standstills:
    """How often the loop went on late, by how many seconds in all and at most; it outlasts reloads."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class Watchdog:
    """From `start` to `stop`. What it sees is counted in `seen`.

    `tell(text)` may be called by a signal's handler; `over(text, seconds)` is called by the loop when it goes on. `die(text)` is called
    by a handler, too, `limit` seconds after the last turn of a loop that should end, see `ending`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tell: Callable[[str], None],
        over: Callable[[str, float], None],
        die: Callable[[str], None],
        timer: Timer = lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seen = Standstills()
        self._clock = clock
        self._tell = tell
        self._over = over
        self._die = die
        self._timer = timer
        self._now = now
        self._call: IDelayedCall | None = None
        self._looked_at = 0.0
        self._due = 0.0
        self._stack = ""
        #: Seconds after which a loop that should end and does not turn is ended; None: it should not end.
        self._limit: float | None = None
        self._told_at = 0.0

    def start(self) -> None:
        """The first look is the loop's first turn, so that what a start takes is no standstill."""
        signal.signal(signal.SIGALRM, self.alarm)
        self._looked_at = -1.0
        self._call = self._clock.callLater(0, self._look)

    def stop(self) -> None:
        self._timer(0)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def ending(self, limit: float) -> None:
        """The process was told to stop (by a signal, whose handler may call this): a loop that does not turn for `limit` seconds is
        ended; told once more while it stands, at once."""
        stood = self._now() - self._looked_at
        if self._limit is not None and self._looked_at >= 0 and stood > EVERY + BOUND:
            self._die(f"told to stop again while the event loop has stood still for {stood:.1f} s: ends at once")
            return
        self._limit = limit
        self._told_at = self._now()
        self._set(min(EVERY + BOUND, limit))

    def alarm(self, number: int, frame: FrameType | None) -> None:
        """No look has come in time."""
        now = self._now()
        stood = now - self._looked_at
        late, self._stack = now - self._due, _stack(frame)
        if late > LATE:
            self._set(WAIT)  # if the loop can turn, it will
            return
        self._tell(f"the event loop has stood still for {stood:.1f} s, in {self._stack}")
        if self._limit is None:
            self._set(AGAIN)
        elif (waited := now - max(self._looked_at, self._told_at)) < self._limit:
            self._set(min(AGAIN, self._limit - waited))
        else:
            self._die(f"told to stop, and the event loop does not turn: ends at once after {stood:.1f} s")

    def _look(self) -> None:
        now = self._now()
        late = now - self._looked_at - EVERY
        if self._looked_at >= 0 and late >= BOUND:
            seen = self.seen
            seen.count += 1
            seen.seconds += late
            seen.longest = max(seen.longest, late)
            self._over(self._stack, late)
        self._stack = ""
        self._looked_at = now
        self._set(EVERY + BOUND)
        self._call = self._clock.callLater(EVERY, self._look)

    def _set(self, seconds: float) -> None:
        self._due = self._now() + seconds
        self._timer(max(seconds, 0.001))


def _stack(frame: FrameType | None) -> str:
    """The calls in one line, the innermost first: `file:line function`."""
    calls: list[str] = []
    while frame is not None and len(calls) < CALLS:
        code = frame.f_code
        calls.append(f"{'/'.join(code.co_filename.split('/')[-2:])}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(calls)
