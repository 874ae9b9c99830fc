"""Watches whether the event loop turns: counts the times when it stood still, and reports the stack where it stood.

Each look from the loop restarts a timer of the system (ITIMER_REAL, SIGALRM). When no look comes, the signal's handler
runs in the main thread, between two steps of the code that blocks the loop, and has its stack. A thread could not do
this: it would wait for the interpreter's lock, which a regular expression of Python's holds to its end. Code that is
neither Python nor interrupted by signals (a look-up in the C library) is reported when it returns, with the same stack.
A process that was told to stop, and whose loop does not turn any more, is ended from here.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds between two looks, and by how many seconds a look must be late. A standstill longer than the sum of both is
#: always seen.
EVERY = 0.5
BOUND = 1.0
#: Seconds after which a standstill that lasts is reported again.
AGAIN = 10.0
#: A timer that is LATE seconds late shows that the whole process did not run (it was stopped, or the machine had no
#: processor to spare): the watchdog then waits for another WAIT seconds.
LATE, WAIT = 0.5, 0.25
#: Number of calls of the stack that are reported, from the innermost.
CALLS = 12

Timer = Callable[[float], object]


@define
class Standstills:
    """Counts how often the loop was late, and sums up by how many seconds in all and at most. It outlasts reloads."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0


class Watchdog:
    """Watches the loop from `start` to `stop`, and counts standstills in `seen`.

    `tell(text)` may be called by a signal's handler. `over(text, seconds)` is called by the loop when it goes on.
    `die(text)` is called by a handler, too, `limit` seconds after the last turn of a loop that should end, see
    `ending`.
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
        #: When it was started; None: it does not watch yet.
        self._began: float | None = None
        #: When it has looked last; -1: not yet.
        self._looked_at = -1.0
        self._due = 0.0
        self._stack = ""
        #: Seconds of standstill after which a process that was told to stop is ended; None: it was not told to stop.
        self._limit: float | None = None
        self._told_at = 0.0

    def start(self) -> None:
        """Starts to watch.

        The first look is the loop's first turn, so that the duration of the program's start is no standstill.
        """
        signal.signal(signal.SIGALRM, self.alarm)
        self._began = self._now()
        self._looked_at = -1.0
        self._call = self._clock.callLater(0, self._look)
        if self._limit is not None:
            self._told_at = self._began
            self._set(self._limit)

    def stop(self) -> None:
        self._timer(0)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def ending(self, limit: float) -> None:
        """Sets the limit for a process that was told to stop.

        The process is ended when its loop does not turn for `limit` seconds, and not sooner than a loop that turns
        would have been seen to. A signal's handler may call this. A second call while the loop stands still ends the
        process at once. Before the start the limit is only noted: it counts from then on.
        """
        limit = max(limit, EVERY + BOUND)
        if self._began is None:
            self._limit = limit
            return
        stood = self._now() - self._looked_at
        if self._limit is not None and self._looked_at >= 0 and stood > EVERY + BOUND:
            self._die(f"told to stop again while the event loop has stood still for {stood:.1f} s: ends at once")
            return
        self._limit = limit
        self._told_at = self._now()
        self._set(EVERY + BOUND)

    def alarm(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGALRM, which says that no look has come in time."""
        now = self._now()
        stood = now - (self._looked_at if self._looked_at >= 0 or self._began is None else self._began)
        late, self._stack = now - self._due, _stack(frame)
        if late > LATE:
            self._set(WAIT)  # gives the loop the time to turn, if it can
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
    """Returns the calls in one line, the innermost first: `file:line function`."""
    calls: list[str] = []
    while frame is not None and len(calls) < CALLS:
        code = frame.f_code
        calls.append(f"{'/'.join(code.co_filename.split('/')[-2:])}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(calls)
