"""Lets a server that has come back take its share by and by (`slowstart`): more weight and a higher limit at each step.

It must never know why the server was away.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.server import DRAIN, FULL_WEIGHT, UP, Server

#: Seconds within which the steps of several servers count as one.
WITHIN = 0.05


class SlowStart:
    """Raises the `throttle` of one server in the steps of HAProxy (src/server.c), which counts whole seconds: one step
    each twentieth of the time, and not more than one each second. A weight of 1 has a sixteenth at the beginning."""

    def __init__(self, server: Server, clock: IReactorTime, advanced: Callable[[Server], None]) -> None:
        """Calls `advanced` after each step, and at once if it has to begin with one."""
        self._server = server
        self._clock = clock
        self._advanced = advanced
        self._seconds = max(1, ceil(server.settings.slowstart))
        self._call: IDelayedCall | None = None

    @property
    def _elapsed(self) -> int:
        if self._server.warmth < FULL_WEIGHT:
            return 0  # its floor does not stand yet
        return max(0, int(self._clock.seconds() - self._server.risen_at))

    @property
    def starting(self) -> bool:
        """Tells whether another step will follow."""
        return self._call is not None

    @property
    def percent(self) -> int:
        """Returns how much of its share the server has, 100 when it is not starting."""
        server = self._server
        return 100 if server.throttle == FULL_WEIGHT else min(100, 100 * self._elapsed // self._seconds)

    def limit(self, most: int) -> int:
        """Returns what of the limit `most` the server may use now; 0 is no limit."""
        return most and max(1, most * self.percent // 100)

    def go_on(self) -> None:
        """Begins, or goes on, if the server has come back and is not at its full share; waits for nothing otherwise."""
        self.stop()
        server = self._server
        if server.throttle == FULL_WEIGHT or server.state not in (UP, DRAIN):
            return
        if self._elapsed >= self._seconds:
            server.throttle = FULL_WEIGHT
        else:
            server.throttle = (FULL_WEIGHT * self._elapsed + self._seconds) // self._seconds
            self._call = self._clock.callLater(max(1.0, self._seconds / 20), self._step)
        self._advanced(server)

    def stop(self) -> None:
        """Takes no further step."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _step(self) -> None:
        self._call = None
        self.go_on()


class Together:
    """Does one thing for all who ask for it within `WITHIN` seconds: a thousand servers that come back at once take
    their steps at about the same time, and choosing among them anew takes milliseconds."""

    def __init__(self, clock: IReactorTime, act: Callable[[], None]) -> None:
        self._clock = clock
        self._act = act
        self._call: IDelayedCall | None = None

    def ask(self) -> None:
        """Has it done in a moment."""
        if self._call is None:
            self._call = self._clock.callLater(WITHIN, self._do)

    def stop(self) -> None:
        """Does nothing any more of what was asked for."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _do(self) -> None:
        self._call = None
        self._act()
