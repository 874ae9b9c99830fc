"""Runs long work in short time slices: work of a second in all holds the event loop for a few milliseconds at a time.

Work is a generator. Each `yield` without a value is a place where it may pause; a `yield` of a Deferred waits for it
and returns its result, or raises its exception. It knows a clock; it must never know what the work is. (A thread would
not do: while it computes in Python, each system call of the loop waits up to 5 ms to get the interpreter lock back,
several times for each request.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")
#: Work that returns a T.
Steps = Generator[Any, Any, T]

#: Seconds that one slice may take, exceeded by one step at most, and seconds that the loop then has for other work.
SLICE = 0.002
PAUSE = 0.002


def run_through(steps: Steps[T]) -> T:
    """Runs all steps at once and returns their result, where no client waits yet. The work must not yield Deferreds."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class Slices:
    """Runs `steps` from `start` to their end or to `stop`.

    `over` is called at their end, with a Failure if they failed.

    `longest` is the duration of the longest slice so far, in seconds.
    """

    def __init__(self, clock: IReactorTime, steps: Steps[None], over: Callable[[Failure | None], None]) -> None:
        self.longest = 0.0
        self._clock = clock
        self._steps = steps
        self._over = over
        self._call: IDelayedCall | None = None
        self._awaited: Deferred[Any] | None = None
        self._stopped = False

    def start(self) -> None:
        self._run(None)

    def stop(self) -> None:
        """Ends the work where it is. The generator may clean up (GeneratorExit); `over` is not called."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._awaited is not None:
            self._awaited.cancel()
        self._steps.close()

    def _run(self, value: object) -> None:
        """Goes on with the result, or the Failure, of what was waited for."""
        if self._stopped:
            return  # what it waited for comes too late
        self._call = self._awaited = None
        began = self._clock.seconds()
        try:
            while True:
                if isinstance(value, Failure):
                    assert value.value is not None
                    awaited = self._steps.throw(value.value)
                else:
                    awaited = self._steps.send(value)
                value = None
                if isinstance(awaited, Deferred):
                    self._awaited = awaited
                    awaited.addBoth(self._run)
                    return
                if self._stopped:
                    return
                if self._clock.seconds() - began >= SLICE:
                    self._call = self._clock.callLater(PAUSE, self._run, None)
                    return
        except StopIteration:
            self._over(None)
        except Exception:
            self._over(Failure())
        finally:
            self.longest = max(self.longest, self._clock.seconds() - began)


def in_slices(clock: IReactorTime, steps: Steps[T]) -> Deferred[T]:
    """Runs work in slices, and returns its result; cancelling the Deferred ends it where it is."""
    results: list[T] = []

    def collected() -> Steps[None]:
        results.append((yield from steps))

    def over(failure: Failure | None) -> None:
        if failure is None:
            done.callback(results[0])
        else:
            done.errback(failure)

    slices = Slices(clock, collected(), over)
    done: Deferred[T] = Deferred(lambda _: slices.stop())
    slices.start()
    return done


class Later:
    """Runs work in slices after a delay; at most one run is planned or under way.

    `over` is called at the end of each run as by `Slices`, and may plan the next one.
    """

    def __init__(
        self, clock: IReactorTime, work: Callable[[], Steps[None]], over: Callable[[Failure | None], None]
    ) -> None:
        self._clock = clock
        self._work = work
        self._over = over
        self._call: IDelayedCall | None = None
        self._slices: Slices | None = None

    def plan(self, seconds: float) -> None:
        """Starts the work after so many seconds, unless a run is planned or under way already."""
        if self._call is None and self._slices is None:
            self._call = self._clock.callLater(seconds, self._begin)

    def stop(self) -> None:
        """Cancels the planned run and ends the one under way."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._slices is not None:
            self._slices.stop()
            self._slices = None

    def _begin(self) -> None:
        self._call = None
        self._slices = Slices(self._clock, self._work(), self._ended)
        self._slices.start()

    def _ended(self, failure: Failure | None) -> None:
        self._slices = None
        self._over(failure)
