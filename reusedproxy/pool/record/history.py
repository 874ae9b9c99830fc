"""Makes a history of a record: the requests that used one pool, the dials, and what became of them.

Pure: it knows events and plain values, so that a record can be read by another process as well as by the one that has
written it (`saved`). It must never know pools.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from math import inf
from operator import attrgetter
from typing import Final

from attrs import Factory, define, frozen

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.slices import Steps
from reusedproxy.pool import counters, reasons
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.record.ring import (
    BORROWED,
    CHANGED,
    ENDED,
    FAILED,
    FLOOR,
    OPENED,
    RETURNED,
    STATE,
    WAITED,
    Event,
    unpack_dial,
    unpack_end,
    unpack_floor,
    unpack_wait,
)

#: A reason for which a connection ends: by the configuration, or as the server has said, its request was the last.
ONLY_REQUEST: Final = "one request only"

# What numbers in events stand for. A record that was saved is read by the words, so these may be given others.
#: Results of waits: all that failed are alike.
WAITS: Final = {
    counters.FRESH: 0,
    counters.QUEUED: 1,
    counters.LEFT: 2,
    counters.TIMEOUT: 3,
    counters.REFUSED: 3,
}
WAIT_WORDS: Final = ("fresh", "queued", "left", "failed")
CAUSES: Final = (
    counters.FLOOR,
    counters.DEMAND,
    counters.REPLACE,
    counters.RECOVERY,
    counters.ROTATION,
    counters.PROBE,
)
FAILURES: Final = (
    counters.REFUSED,
    counters.TIMEOUT,
    counters.TLS,
    counters.VERIFY,
    counters.LOCAL,
    counters.CANCELLED,
)
ENDS: Final = (*sorted(reasons.WORDS), ONLY_REQUEST)

#: Ends of connections in use that come of the pool's own settings or state, and not of the request.
_OF_POOL: Final = frozenset(
    (
        reasons.IDLE,
        reasons.PEER_DEADLINE,
        reasons.MAX_AGE,
        reasons.MAX_REQUESTS,
        reasons.OVERFLOW,
        reasons.SUSPECT,
        reasons.DRAIN,
        reasons.RELOAD,
    )
)
#: A dial within so many seconds of one that has failed fails, too.
ALIKE: Final = 10.0
#: Events that are read in one step.
AT_ONCE: Final = 500
#: Seconds of a dial where none was seen.
USUAL_DIAL: Final = 0.02


@frozen(order=True)
class Arrival:
    """Holds one request: when it asked for a connection, in seconds since the history began, and for how long it held
    one. It needs a connection of this `kind` (`pool.kinds`); `ends` tells that the connection has ended with it.
    `leaves`: it gave up after so many seconds without one (inf: it did not).
    """

    at: float
    holds: float
    kind: int = ANY
    ends: bool = False
    leaves: float = inf


@frozen
class Dial:
    """Holds one dial: when it had ended, the seconds that it took, and whether well."""

    at: float
    took: float
    well: bool = True


@frozen
class Situation:
    """Holds what is known of a server and its pool besides the events: the settings in force, the idle time-outs and
    the seconds of a dial that the pool has learnt (see `IdleTimeoutEstimate.known`), how many requests it may have at
    once (0: any number), how many connections stand, the present floor, and whether the pool runs."""

    name: str
    limits: PoolLimits
    used: tuple[float, float, tuple[float, ...]] = (0.0, 0.0, ())
    unused: tuple[float, float, tuple[float, ...]] = (0.0, 0.0, ())
    dial: float = 0.0
    places: int = 0
    standing: int = 0
    floor: int = 0
    running: bool = True
    #: The wall clock's time at which this was said.
    wall: float = 0.0
    #: Its connections carry no requests, and are used once (mode tcp).
    raw: bool = False


@define
class Outcome:
    """Holds what became of some traffic with one pool: as it was recorded, or as it is simulated.

    `cold` requests found no connection ready; `waits` are the seconds of those that got one later; `failed` ones got
    none. `opened` are handshakes. `minutes` has for each minute the most requests at once, the most idle connections,
    and the floor; `most_dials` were under way at once.
    """

    requests: int = 0
    cold: int = 0
    failed: int = 0
    opened: int = 0
    connection_hours: float = 0.0
    waits: list[float] = Factory(list)
    minutes: list[tuple[int, int, int]] = Factory(list)
    most_dials: int = 0

    def wait(self, share: float) -> float:
        """Returns the wait that this share of all requests does not exceed."""
        beyond = int((1 - share) * self.requests)
        return sorted(self.waits, reverse=True)[beyond] if beyond < len(self.waits) else 0.0


@define
class History:
    """Holds what a record tells: times are in seconds since it began, and it lasts `seconds`. `states` are the changes
    of the pool's state; `changed` is when the settings were changed last (0: they were not)."""

    situation: Situation
    seconds: float
    arrivals: list[Arrival] = Factory(list)
    dials: list[Dial] = Factory(list)
    states: list[tuple[float, bool]] = Factory(list)
    changed: float = 0.0
    #: The floor when it began.
    floor: int = 0
    #: What has really happened.
    outcome: Outcome = Factory(Outcome)

    @property
    def ran(self) -> bool:
        """Tells whether the pool ran when the history began."""
        return not self.states[0][1] if self.states else self.situation.running

    def dial_at(self, at: float) -> Dial:
        """Returns how a dial that begins at this time ends: as the nearest one that was recorded."""
        dials = self.dials
        place = bisect_left(dials, at, key=lambda each: each.at)
        near = sorted(dials[max(0, place - 1) : place + 1], key=lambda each: abs(each.at - at))
        if near and (near[0].well or abs(near[0].at - at) <= ALIKE):
            return near[0]
        return Dial(at, self.usual_dial)

    @property
    def usual_dial(self) -> float:
        """Returns the seconds that a dial takes: the median of those that were recorded, or what the pool has learnt
        before."""
        took = sorted(each.took for each in self.dials if each.well)
        return took[len(took) // 2] if took else self.situation.dial or USUAL_DIAL


def history_of(events: Iterable[Event], since: float, until: float, situation: Situation) -> Steps[History]:
    """Returns, in steps, what the events tell of the time from `since` to `until`, by the clock of the record.

    Requests that were under way when it began are left out; those that are under way at its end count as over.
    """
    reading = _Reading(since, situation)
    for number, event in enumerate(events):
        if number % AT_ONCE == AT_ONCE - 1:
            yield
        reading.take(event)
    return reading.finished(until)


class _Reading:
    """Follows the events of a record, and adds up what they tell."""

    def __init__(self, since: float, situation: Situation) -> None:
        self._since = since
        self.history = History(situation, 0.0, floor=situation.floor)
        #: Connections in use, with when each was taken, and the wait before that: its kind and seconds.
        self._lent: dict[int, tuple[float, int, float]] = {}
        self._waited: tuple[int, float] | None = None
        self._floor_seen = False
        #: How many more (less, below 0) stand than when the record began, since when, and connection-seconds of that.
        self._more = 0
        self._more_since = 0.0
        self._area = 0.0

    def take(self, event: Event) -> None:
        history, at, number = self.history, event.at - self._since, event.number
        if event.kind == BORROWED:
            self._over(number, at, False)  # it was handed from one request to the next
            kind, seconds = self._waited or (ANY, 0.0)
            self._lent[number] = at - seconds, kind, seconds
            self._waited = None
        elif event.kind == RETURNED:
            self._over(number, at, False)
        elif event.kind == WAITED:
            self._take_wait(at, *unpack_wait(number))
        elif event.kind == OPENED:
            cause, took = unpack_dial(number)
            self._stand(at, 1)
            history.dials.append(Dial(at, took))
            history.outcome.opened += CAUSES[cause] != counters.PROBE
        elif event.kind == FAILED:
            failure, took = unpack_dial(number)
            if FAILURES[failure] != counters.CANCELLED:
                history.dials.append(Dial(at, took, False))
        elif event.kind == ENDED:
            connection, word, _ = unpack_end(number)
            self._stand(at, -1)
            self._over(connection, at, self._is_of_request(ENDS[word]))
        elif event.kind == STATE:
            history.states.append((at, bool(number)))
        elif event.kind == FLOOR and not self._floor_seen:
            self._floor_seen = True
            history.floor = unpack_floor(number)[0]
        elif event.kind == CHANGED:
            history.changed = at

    def finished(self, until: float) -> History:
        """Ends what is under way, and returns the whole."""
        history = self.history
        history.seconds = seconds = max(0.0, until - self._since)
        for number in [*self._lent]:
            self._over(number, seconds, False)
        self._stand(seconds, 0)
        history.arrivals.sort(key=attrgetter("at", "holds"))  # 24,000 in 8 ms; as they are they would take 270
        outcome = history.outcome
        outcome.requests = len(history.arrivals)
        at_first = max(0, history.situation.standing - self._more)
        outcome.connection_hours = max(0.0, at_first * seconds + self._area) / 3600
        return history

    def _take_wait(self, at: float, kind: int, result: int, seconds: float) -> None:
        outcome = self.history.outcome
        outcome.cold += 1
        if WAIT_WORDS[result] in (counters.FRESH, counters.QUEUED):
            self._waited = kind, seconds
            outcome.waits.append(seconds)
        else:
            outcome.failed += 1
            self.history.arrivals.append(Arrival(at - seconds, 0.0, kind, leaves=seconds))

    def _over(self, number: int, at: float, ends: bool) -> None:
        """Adds the request that has used this connection; does nothing if none has: it was taken before the record
        began, or carried a ping."""
        lent = self._lent.pop(number, None)
        if lent is not None:
            begun, kind, seconds = lent
            self.history.arrivals.append(Arrival(begun, max(0.0, at - begun - seconds), kind, ends))

    def _stand(self, at: float, more: int) -> None:
        self._area += self._more * (at - self._more_since)
        self._more_since = at
        self._more += more

    def _is_of_request(self, word: str) -> bool:
        if word == reasons.MAX_REQUESTS and self.history.situation.limits.max_reuse is None:
            return True  # the server has said so
        return word not in _OF_POOL
