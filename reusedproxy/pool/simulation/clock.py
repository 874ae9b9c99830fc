"""Counts simulated time: a clock that calls what is due when it is advanced."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from twisted.internet.base import DelayedCall


class HeapClock:
    """Keeps calls in a heap. Twisted's `Clock` sorts all its calls at each new one, which takes minutes where a
    thousand pools have timers."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._calls: list[tuple[float, int, DelayedCall]] = []
        self._number = count()

    def seconds(self) -> float:
        return self._now

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> DelayedCall:
        call = DelayedCall(self._now + delay, callable, args, kw, lambda call: None, self._push, self.seconds)
        self._push(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        return [call for _, _, call in self._calls if call.active()]

    def advance(self, seconds: float) -> None:
        """Lets so many seconds pass, and makes each call at its own time."""
        end = self._now + seconds
        while self._calls and self._calls[0][0] <= end:
            at, _, call = heappop(self._calls)
            if call.active() and call.getTime() > at:
                self._push(call)  # it was put off
            elif call.active():
                self._now = max(self._now, at)
                call.called = 1
                call.func(*call.args, **call.kw)
        self._now = end

    def _push(self, call: DelayedCall) -> None:
        heappush(self._calls, (call.getTime(), next(self._number), call))
