"""Has files of TLS that were refused read again, at growing intervals, until they are taken.

They change by themselves (`ssl-watch`, `crl-url`, `spiffe-workload-api`), so nobody is there who would order it again;
and what refuses them may be another file that somebody is writing, or one server that is ill for a while. Must never
know how they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IDelayedCall

#: Seconds until the first try after a refusal, and at most; each refusal doubles them.
AGAIN = 30.0
MOST_AGAIN = 3600.0
#: Seconds until they are tried where that cannot be now, because a reload is under way.
BUSY = 1.0


class Renewal:
    """Remembers the files that were refused since the last reload that was taken, as `refused`; each reload reads all
    files of TLS."""

    def __init__(self, clock: Any, renew: Callable[[list[str], str], bool]) -> None:
        """Takes `renew(files, word)`, which begins a reload of these files, which a `word` of the configuration has
        found, and returns False where it cannot now."""
        self.refused: dict[str, None] = {}
        self._clock = clock
        self._renew = renew
        self._word = ""
        self._pause = AGAIN
        self._next: IDelayedCall | None = None

    def was_refused(self, files: Iterable[str], word: str) -> float:
        """Plans the next try of these files, and returns the seconds until it."""
        self.refused |= dict.fromkeys(files)
        self._word = word
        pause, self._pause = self._pause, min(2 * self._pause, MOST_AGAIN)
        self._plan(pause)
        return pause

    def was_taken(self) -> None:
        """Forgets what was refused: a reload has read it."""
        self.refused = {}
        self._pause = AGAIN
        self.stop()

    def stop(self) -> None:
        """Tries nothing more; leaves no timer."""
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _plan(self, seconds: float) -> None:
        self.stop()
        self._next = self._clock.callLater(seconds, self._try)

    def _try(self) -> None:
        self._next = None
        if not self._renew([*self.refused], self._word):
            self._plan(BUSY)
