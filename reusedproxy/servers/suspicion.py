"""What a pool does not believe of its server's idle connections, and until when.

A request that was lost on one of them makes all that stood then suspect for a moment; a standstill of the process does for
good; a server that closes them again and again within moments of an answer makes none of them fit for what may not be
repeated. It knows a clock; it must never know connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds for which all that stood idle is suspect when one of them was lost under a request: those that have ended with it
#: are heard of in that time. And seconds between two such alarms, since a request that kills its connection must not cost
#: everybody theirs.
SUSPECT_FOR, SUSPECT_EVERY = 1.0, 10.0
#: A server that closes used connections which have stood for less than this, in seconds, in so many different seconds of the
#: last so many, does it again and again: it is no restart, and no time-out that could be learned.
HASTY_AGE, HASTY_TIMES, HASTY_WITHIN = 2.0, 4, 10.0


class Suspicion:
    """Of one pool. `since`: those that have been idle since then, or longer, are given to nobody; -inf: none is suspect."""

    def __init__(self, clock: IReactorTime, suspect: Callable[[float], None]) -> None:
        """`suspect(since)` is called with each change."""
        self._clock = clock
        self._now = clock.seconds
        self._suspect = suspect
        self._call: IDelayedCall | None = None
        self._lost_at = -inf
        self._hasty: deque[float] = deque(maxlen=HASTY_TIMES)
        #: What stood then stays suspect until it is gone.
        self.renewed_at = -inf

    def lost(self) -> None:
        """A connection that had stood idle was lost under a request: those that stand may have ended with it."""
        now = self._now()
        if now - self._lost_at < SUSPECT_EVERY:
            return
        self._lost_at = now
        self._suspect(now)
        self._call = self._clock.callLater(SUSPECT_FOR, self._trust)

    def stood_still(self) -> None:
        """All that stand idle may have ended without our hearing of it."""
        self.renewed_at = self._now()
        self._suspect(self.renewed_at)

    def stop(self) -> None:
        """There are none any more; no timer is left."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._suspect(-inf)

    def _trust(self) -> None:
        """What still stands has proven itself."""
        self._call = None
        self._suspect(self.renewed_at)

    def share(self, other: Suspicion) -> None:
        """Both are of the same server, which is hasty with all of its connections or with none."""
        self._hasty = other._hasty

    @property
    def hasty(self) -> bool:
        """The server closes idle connections at any moment: none that has stood is fit for what may not be repeated."""
        return len(self._hasty) == HASTY_TIMES and self._now() - self._hasty[0] <= HASTY_WITHIN

    def closed(self, age: float) -> bool:
        """The server has closed a used connection that had been idle for so long. True: it turns out hasty."""
        now = self._now()
        if age >= HASTY_AGE or (self._hasty and now - self._hasty[-1] < 1):
            return False
        self._hasty.append(now)
        return self.hasty
