"""Keeps back idle connections that may be dead already.

A request that was lost on an idle connection makes all that stood idle then suspect for a moment; a standstill of the
process, until they are gone. Where a server closes too many connections within moments of an answer, only those that
have stood longer than such moments are given to requests that cannot be repeated. The guard knows a clock and how often
connections were used; it must never know connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds for which all that stood idle is suspect when one of them was lost under a request: those that have ended
#: with it are heard of in that time. And seconds between two such alarms, since a request that kills its connection
#: must not cost everybody theirs.
SUSPECT_FOR, SUSPECT_EVERY = 1.0, 10.0
#: Age in seconds below which the end of a used connection is no time-out that could be learned.
HASTY_AGE = 2.0
#: A server is hasty when it has closed connections younger than HASTY_AGE in HASTY_TIMES different seconds of the last
#: HASTY_WITHIN (fewer are a restart), and after at least HASTY_SHARE of the answers: of 1,000 requests sent on used
#: connections at most 10 meet such a close below this share, and those that cannot be repeated are lost. Below it, a
#: handshake for each of them costs more than it saves. The server is hasty no more when the share has fallen to half of
#: that, or when all such closes are in one second.
HASTY_TIMES, HASTY_WITHIN, HASTY_SHARE = 4, 10, 0.01
#: A connection has outlived such closes when it has stood for OUTLIVES times the age below which NEARLY_ALL of the last
#: ones came: of an exponential tail one in 400 is left. This is at least REST_LEAST seconds; above REST_MOST seconds it
#: is no moment, and no connection counts as having outlived them.
OUTLIVES, NEARLY_ALL = 2.0, 0.95
REST_LEAST, REST_MOST = 0.01, 0.25
REMEMBERED = 64


class Haste:
    """Counts how often one server closes used connections within moments of an answer. `hasty` tells that this happens
    too often, or has not become rare again."""

    def __init__(self, now: Callable[[], float], used: Callable[[], int]) -> None:
        """Asks `used()` how often connections have been given to requests so far."""
        self.hasty = False
        self._now = now
        self._used = used
        #: For each of the last seconds: its number, the uses before its first look, the closes in it.
        self._seconds: deque[list[int]] = deque()
        #: Idle ages in seconds of the last such closes.
        self._ages: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def over(self) -> bool:
        """Tells whether no such close is counted any more."""
        return not self.hasty and not any(each[2] for each in self._seconds)

    @property
    def rest(self) -> float:
        """Returns the idle seconds after which a connection has outlived such closes; inf if they come at any time."""
        ages = sorted(self._ages)
        rest = max(REST_LEAST, OUTLIVES * ages[int(NEARLY_ALL * len(ages))]) if ages else inf
        return rest if rest <= REST_MOST else inf

    def closed(self, age: float) -> bool:
        """Counts the close of a connection that had stood for `age` seconds. Returns True if this shows
        the server to be hasty."""
        self._ages.append(age)
        self._turn()
        self._seconds[-1][2] += 1
        was = self.hasty
        self._judge()
        return self.hasty and not was

    def look(self) -> None:
        """Judges anew after a second."""
        self._turn()
        self._judge()

    def _turn(self) -> None:
        second, seconds = int(self._now()), self._seconds
        if not seconds or seconds[-1][0] != second:
            seconds.append([second, self._used(), 0])
        while seconds[0][0] <= second - HASTY_WITHIN:
            seconds.popleft()

    def _judge(self) -> None:
        closes = sum(each[2] for each in self._seconds)
        times = sum(each[2] > 0 for each in self._seconds)
        share = closes / max(1, self._used() - self._seconds[0][1])
        if self.hasty:
            self.hasty = times > 1 and share > HASTY_SHARE / 2
        else:
            self.hasty = times >= HASTY_TIMES and share >= HASTY_SHARE


class StaleIdleGuard:
    """Guards one pool's requests from idle connections that may be dead.

    `suspected_at` is a time: connections idle since before then are given to nobody for now (-inf: none is suspect).
    """

    def __init__(self, clock: IReactorTime, used: Callable[[], int]) -> None:
        """Asks `used()` how often connections have been given to requests so far."""
        self.suspected_at = -inf
        self._clock = clock
        self._now = clock.seconds
        self._call: IDelayedCall | None = None
        self._lost_at = -inf
        self.haste = Haste(clock.seconds, used)
        #: Time of the last standstill: what stood idle then stays suspect until it is gone.
        self.renewed_at = -inf

    def lost(self) -> None:
        """Suspects all that stand idle: one of them was lost under a request, and they may have ended with it."""
        now = self._now()
        if now - self._lost_at < SUSPECT_EVERY:
            return
        self._lost_at = now
        self.suspected_at = now
        self._call = self._clock.callLater(SUSPECT_FOR, self._trust)

    def stood_still(self) -> None:
        """Suspects all that stand idle, for good: they may have ended unnoticed."""
        self.renewed_at = self._now()
        self.suspected_at = self.renewed_at

    def stop(self) -> None:
        """Suspects nothing any more, because nothing stands; leaves no timer."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.suspected_at = -inf

    def _trust(self) -> None:
        """Ends the alarm: what still stands has proven itself."""
        self._call = None
        self.suspected_at = self.renewed_at

    def share(self, other: StaleIdleGuard) -> None:
        """Counts hasty closes together with another pool of the same server."""
        self.haste = other.haste

    @property
    def hasty(self) -> bool:
        """Tells whether the server closes idle connections within moments. Then a connection that has just come back is
        not fit for a request that cannot be repeated."""
        return self.haste.hasty

    def closed(self, age: float) -> bool:
        """Notes that the server has closed a used connection that had been idle for `age` seconds. Returns True if this
        shows the server to be hasty."""
        return age < HASTY_AGE and self.haste.closed(age)
