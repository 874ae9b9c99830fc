"""Holds the connections of one pool in lists, and alone moves them between these.

Each connection is in exactly one list, and its `state` says in which; both change together, in one method here.
Holdings choose the idle connection that fits a request, count uses and ends, and close what leaves. A
`HoldingsWatcher` is told of each move. They know connections and a clock; they must never know waiters, floors, limits
or the causes of dials.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from math import inf
from operator import attrgetter
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

from reusedproxy.measures.histogram import IDLE_AGES
from reusedproxy.net.backlog import Backlog
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dial
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.transport import CLOSED
from reusedproxy.pool.connection import FLUSH, IDLE, IN_USE, PRIVATE, RETIRING, WATCHED, ServerConnection
from reusedproxy.pool.counters import REMEMBERED, Counters, Ended
from reusedproxy.pool.kinds import ANY, FRESH, SAFE
from reusedproxy.pool.learning.stale_idle import StaleIdleGuard
from reusedproxy.pool.reasons import PROXY, word_for

#: Idle seconds up to which a connection is thought alive, whatever the server's time-out.
FRESH_FOR: Final = 0.5
#: Up to this many idle connections are searched for a safe one without taking the time (30 ns for each).
QUICKLY_SEARCHED: Final = 250


class HoldingsWatcher(Protocol):
    """Hears of each move of a connection, when it is done."""

    def taken(self, connection: ServerConnection) -> None:
        """Notes that a request uses the connection. Not told while no more are in use than `Holdings.most_usual`."""

    def rested(self, connection: ServerConnection) -> None:
        """Notes that the connection is idle."""

    def kept_apart(self, connection: ServerConnection) -> None:
        """Notes that the connection is idle and private."""

    def withdrawn(self, connection: ServerConnection) -> None:
        """Notes that the connection has left the idle list without a request: it is about to be
        pinged, watched or retired."""

    def gone(self, connection: ServerConnection, was: int) -> None:
        """Notes that the connection has been retired; `was` is its state before."""


class Holdings:
    """Holds the connections of one pool. A connection is in the list that its state names:

    (a dial)   `connecting`  with the cause of each; there is no connection yet
    IDLE       `idle`        may be given to any request, the longest idle first
    IN_USE     `in_use`      carries a request, or a ping of our own
    PRIVATE    `private`     idle, and kept for the one client that it has served
    WATCHED    `watched`     given to nobody any more, to see when its server closes it
    RETIRING   `retiring`    out of the pool; its socket is being closed

    Some are also marked: `due` are idle ones whose life is over, which leave when others stand in their place;
    `last_use` are those in use for the last time; `pinged` are those that carry a ping, and since when. `closed` counts
    ends by their reason.
    """

    #: For mypyc: what `pool.apart` drops at the end.
    __deletable__ = ("backlog", "guard", "watcher")

    def __init__(self, clock: IReactorTime, deadlines: Deadlines, backlog: Backlog) -> None:
        """Leaves the sockets of those that are retired `later` to `backlog`."""
        #: Set before the first connection.
        self.watcher: HoldingsWatcher
        self.connecting: dict[Dial, str] = {}
        self.idle: list[ServerConnection] = []
        self.in_use: set[ServerConnection] = set()
        self.private: set[ServerConnection] = set()
        self.watched: set[ServerConnection] = set()
        self.retiring: set[ServerConnection] = set()
        self.due: set[ServerConnection] = set()
        self.last_use: set[ServerConnection] = set()
        self.pinged: dict[ServerConnection, float] = {}
        #: The watcher hears of connections in use only where there are more than these, or some are due: it has nothing
        #: to do for nearly all requests. It sets this itself; below 0 it hears of all.
        self.most_usual: float = -1.0
        self.counters = Counters()
        self.closed: dict[str, int] = {}
        self.ended: deque[Ended] = deque(maxlen=REMEMBERED)
        #: Tells which idle connections may be dead.
        self.guard = StaleIdleGuard(clock, lambda: self.counters.requests)
        self.backlog = backlog
        self._deadlines = deadlines
        #: Retired connections whose sockets are closed in their turn, with the reasons.
        self._ending: deque[tuple[ServerConnection, str]] = deque()

    def count_with(self, other: Holdings) -> None:
        """Shares the counters and the backlog of `other`, which is of the same server."""
        self.counters, self.closed, self.ended = other.counters, other.closed, other.ended
        self.backlog = other.backlog

    @property
    def standing(self) -> int:
        """Returns how many connections the server has with this pool, including those being opened and closed."""
        return sum(map(len, (self.connecting, self.idle, self.in_use, self.private, self.watched, self.retiring)))

    @property
    def open(self) -> int:
        """Returns how many connections the server has accepted and may still count."""
        return self.standing - len(self.connecting)

    @property
    def suspect(self) -> int:
        """Returns how many idle connections are kept back as suspect."""
        since = self.guard.suspected_at
        return 0 if since == -inf else sum(each.idle_since < since for each in self.idle)

    @property
    def rested(self) -> int:
        """Returns how many idle connections, from the front of the list, have outlived the moments in which a hasty
        server closes some behind its answers. For requests that cannot be repeated the others are as good as in use."""
        haste = self.guard.haste
        if not haste.hasty:
            return len(self.idle)
        return bisect_right(self.idle, self._deadlines.now() - haste.rest, key=attrgetter("idle_since"))

    @property
    def returned_fits(self) -> int:
        """Returns the largest kind for which every connection is fit that has just come back."""
        return ANY if self.guard.hasty else FRESH

    @property
    def least_wanted(self) -> ServerConnection:
        """Returns the idle connection to end first: one that is due, else the longest idle.
        There must be an idle one."""
        return min(self.due, key=attrgetter("idle_since", "number")) if self.due else self.idle[0]

    # Moves.

    def lend(self, kind: int, now: float) -> ServerConnection | None:
        """Takes into use an idle connection fit for this kind of request, and returns it; None if there is none."""
        idle = self.idle
        if not idle or idle[-1].idle_since < self.guard.suspected_at:
            return None
        connection = idle.pop() if kind == ANY else self._pick(kind)
        if connection is None:
            return None
        # `counters.borrowed` and `use`, without their two calls for each request.
        counters, in_use = self.counters, self.in_use
        age = now - connection.idle_since
        ages = counters.idle_at_borrow
        ages.counts[bisect_left(IDLE_AGES, age)] += 1
        ages.sum += age
        connection.idle_last = age
        if age > connection.idle_longest:
            connection.idle_longest = age
        counters.requests += 1
        connection.state = IN_USE
        connection.deadline = inf
        in_use.add(connection)
        if self.due or len(in_use) > self.most_usual:
            self.watcher.taken(connection)
        return connection

    def take_private(self, connection: ServerConnection) -> None:
        """Takes a private connection into use for the client that it is kept for."""
        self.private.discard(connection)
        self.counters.borrowed(connection, self._deadlines.now())
        self.use(connection)

    def use(self, connection: ServerConnection) -> None:
        """Puts a connection in use by a request: a new one, one that has just come back, or
        one taken out of its list."""
        connection.state = IN_USE
        connection.deadline = inf
        self.in_use.add(connection)
        self.counters.requests += 1
        if self.due or len(self.in_use) > self.most_usual:
            self.watcher.taken(connection)

    def adopt(self, connection: ServerConnection) -> None:
        """Takes in a connection that somebody else has opened and is using."""
        connection.state = IN_USE
        self.in_use.add(connection)

    def rest(self, connection: ServerConnection) -> None:
        """Puts a connection, new or in use until now, into the idle list, as of its `idle_since`."""
        self.in_use.discard(connection)
        connection.state = IDLE
        self.idle.append(connection)
        self.watcher.rested(connection)

    def keep_apart(self, connection: ServerConnection) -> None:
        """Keeps a connection idle for the one client that it has served."""
        self.in_use.discard(connection)
        connection.state = PRIVATE
        self.private.add(connection)
        self.watcher.kept_apart(connection)

    def set_aside(self, connection: ServerConnection) -> None:
        """Watches an idle connection: no request gets it, and only its server or `retire` ends it."""
        self._leave_idle(connection)
        connection.state = WATCHED
        self.watched.add(connection)

    def take_for_ping(self, connection: ServerConnection) -> None:
        """Takes an idle connection into use for a ping."""
        self._leave_idle(connection)
        connection.state = IN_USE
        self.in_use.add(connection)
        self.counters.pings += 1
        self.pinged[connection] = self._deadlines.now()

    def retire(
        self, connection: ServerConnection, reason: str, *, at_once: bool = False, later: bool = False, by: str = PROXY
    ) -> None:
        """Ends a connection; there is no other way out of a pool. `reason` is counted; `at_once` drops what is unsent
        and resets the connection; `later` leaves its socket to the backlog; `by` is who ends it, PROXY or SERVER."""
        was = connection.state
        if was == RETIRING:
            return
        if was == IN_USE and connection.requests == 1 and not at_once:
            remember_session(connection)  # its server closes after each answer, say: none needs it more
        word = word_for(reason, by, idle=was != IN_USE, pinged=connection in self.pinged)
        if was == IDLE:
            self._leave_idle(connection)
        else:
            {IN_USE: self.in_use, PRIVATE: self.private, WATCHED: self.watched}[was].discard(connection)
        connection.state = RETIRING
        self.retiring.add(connection)
        self.closed[reason] = self.closed.get(reason, 0) + 1
        self.ended.append(self.counters.end(connection, self._deadlines.now(), reason, by, word))
        if at_once:
            connection.transport.abort(reason)
        elif later:
            connection.deadline = inf
            connection.transport.pause_reading()  # nobody is there to be told of anything
            self._ending.append((connection, reason))
        else:
            self._end(connection, reason)
        self.watcher.gone(connection, was)

    def end_later(self) -> None:
        """Queues the closing of the sockets of those that were retired `later`."""
        if self._ending:
            self.backlog.add(self._end_one)

    def forget(self, connection: ServerConnection) -> None:
        """Drops a retired connection whose socket is closed."""
        self.retiring.discard(connection)

    def _end(self, connection: ServerConnection, reason: str) -> None:
        connection.transport.close(reason)
        if connection.transport.state != CLOSED:
            self._deadlines.watch(connection, self._deadlines.now() + FLUSH)

    def _end_one(self) -> bool:
        if self._ending:
            self._end(*self._ending.popleft())
        return bool(self._ending)

    def _leave_idle(self, connection: ServerConnection) -> None:
        """Takes a connection out of the idle list, which is in the order of `idle_since`.

        A search from the front, for each of 5,000 that a server closes at once, takes 160 ms in all; this takes 20 ms.
        """
        idle = self.idle
        at = bisect_left(idle, connection.idle_since, key=attrgetter("idle_since"))
        if at == len(idle) or idle[at] is not connection:
            at = idle.index(connection)  # it is one of several of that moment, or the clock was set back
        del idle[at]
        self.watcher.withdrawn(connection)

    # Choosing.

    def _pick(self, kind: int) -> ServerConnection | None:
        """Takes the newest idle connection fit for `kind` out of the list, which is not empty."""
        idle, suspected_at = self.idle, self.guard.suspected_at
        if kind == FRESH:
            rested = self.rested
            if rested and idle[rested - 1].idle_since >= suspected_at and self._fresh(idle[rested - 1]):
                return idle.pop(rested - 1)
            return None
        if kind == SAFE:
            began = self._deadlines.now() if len(idle) > QUICKLY_SEARCHED else None
            for index in range(len(idle) - 1, -1, -1):
                if idle[index].idle_since < suspected_at:
                    break  # and so are all that have stood longer
                if idle[index].safe:
                    if began is not None:
                        self.counters.warm_took(self._deadlines.now() - began)
                    return idle.pop(index)
        return None

    def _fresh(self, newest: ServerConnection) -> bool:
        """Tells whether the server is unlikely to have closed a connection yet: it was used within the last `FRESH_FOR`
        seconds, or has stood idle for at most a quarter of the longest idle time.

        The longest idle one still stands, so the server's time-out is at least that long. This holds only among
        connections that have all carried requests, or all have not: servers wait shorter, or longer, for a next request
        than for the first.
        """
        now = self._deadlines.now()
        age = now - newest.idle_since
        oldest = self.idle[0]
        return age <= FRESH_FOR or (
            (oldest.requests > 0) == (newest.requests > 0) and age <= (now - oldest.idle_since) / 4
        )


def remember_session(connection: ServerConnection) -> None:
    """Keeps the TLS session of a connection for the next one. A server of TLS 1.3 has sent it by the
    time of its first answer."""
    if isinstance(connection.transport, ClientTLSTransport):
        connection.transport.remember_session()
