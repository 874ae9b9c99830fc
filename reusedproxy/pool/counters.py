"""Counts what happens to a pool, and records each connection that has ended, so that an operator can be told why.

Holds values only: callers call one method here for each event, and read the clock themselves.
"""

from __future__ import annotations

from collections import Counter

from attrs import Factory, define, frozen

from reusedproxy.measures.histogram import DURATIONS, IDLE_AGES, LIVES, PATIENCES, REQUESTS, Histogram
from reusedproxy.net.dial import TCP_CONNECT, Dial, DialFailure
from reusedproxy.net.transport import Transport
from reusedproxy.pool.cold import Cold
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.losses import Losses
from reusedproxy.pool.reasons import CLIENT_GONE, ERROR

#: Number of ended connections that each pool remembers.
REMEMBERED = 50

# Why a connection is opened.
FLOOR = "floor"  # one is missing
DEMAND = "demand"  # somebody waits
REPLACE = "replace"  # one that stands has to leave, or has just left, because its life is over
RECOVERY = "recovery"  # the server had refused, or was not to be used
ROTATION = "rotation"  # a reload has changed how its server is reached: its certificates, say
PROBE = "probe"  # a health check has opened it, and leaves it to the pool

# Results of dials.
OK = "ok"
REFUSED = "refused"  # no TCP connection
TIMEOUT = "timeout"
TLS = "tls"  # the handshake failed
VERIFY = "verify"  # we do not take the server's certificate
LOCAL = "local"  # we had no descriptor; the server was not asked
CANCELLED = "cancelled"  # nobody wants it any more

# Results of waits for a connection.
WARM = "warm"  # it stood idle
FRESH = "fresh"  # it was opened meanwhile
QUEUED = "queued"  # another has given it back
LEFT = "left"  # who asked has gone
ACQUIRED = (WARM, FRESH, QUEUED, TIMEOUT, REFUSED, LEFT)

# Outcomes of races, and of requests for which a race was avoided.
AVOIDED = "avoided"  # it could not have been repeated, and was given a fresher connection than stood idle, or a new one
RETRIED_OK = "retried_ok"
LOST = "lost"
RACES = (AVOIDED, RETRIED_OK, LOST, LEFT)
IDEMPOTENT = "idempotent"
UNSAFE = "unsafe"
METHODS = (IDEMPOTENT, UNSAFE)

# What allowed a request to be sent once more, and the result.
UNSENT = "unsent"  # no server has seen a byte of it
# (the class of its method: IDEMPOTENT)
OPT_IN = "opt_in"  # `retry-on` says so
FAILED = "failed"


def _durations() -> Histogram:
    return Histogram(DURATIONS)


@define
class Counters:
    """Counts what has happened to a pool since the start. A handshake is a connection made ready, with or without TLS.

    A race is a request whose idle connection ended under it before a byte of the answer came: repeated on another
    connection, or lost (RFC 9112 section 9.3.1), if need be after that. A ping is a request of the pool's own;
    `donated` connections came from health checks; `overdue` ones were in use by nobody. `dials_for_requests` began
    because a request waited. Of all waits, some ended with a new connection (`handshakes_on_request_path`), some with
    one that came back, some in vain.
    """

    dials: int = 0
    dials_for_requests: int = 0
    dials_failed: int = 0
    handshakes: int = 0
    handshakes_on_request_path: int = 0
    waits_queued: int = 0
    waits_failed: int = 0
    requests: int = 0
    reuses: int = 0
    races_repeated: int = 0
    races_lost: int = 0
    pings: int = 0
    pings_failed: int = 0
    donated: int = 0
    overdue: int = 0
    used_max: int = 0
    #: The last request that found no connection (see `cold`).
    cold: Cold | None = None
    #: The connections that have ended under a request in the last hour.
    losses: Losses = Factory(Losses)
    #: Dials that have ended, and donations, by cause and result.
    connects: Counter[tuple[str, ...]] = Factory(Counter)
    #: By protocol, whether resumed, and whether we have a certificate to show.
    tls_handshakes: Counter[tuple[str, bool, bool]] = Factory(Counter)
    #: By who ended the connection, and the word of `reasons`.
    closed: Counter[tuple[str, str]] = Factory(Counter)
    #: By class of method and outcome.
    races: Counter[tuple[str, str]] = Factory(Counter)
    #: By what allowed the request to be sent once more, and the result.
    retries: Counter[tuple[str, ...]] = Factory(Counter)
    #: Seconds waited for a connection, by result. WARM has only the waits above the first bound.
    waits: dict[str, Histogram] = Factory(lambda: {result: _durations() for result in ACQUIRED})
    connect_seconds: Histogram = Factory(_durations)
    #: By whether the session was resumed.
    handshake_seconds: dict[bool, Histogram] = Factory(lambda: {False: _durations(), True: _durations()})
    ages: Histogram = Factory(lambda: Histogram(LIVES))
    carried: Histogram = Factory(lambda: Histogram(REQUESTS))
    idle_at_borrow: Histogram = Factory(lambda: Histogram(IDLE_AGES))
    idle_at_peer_close: Histogram = Factory(lambda: Histogram(IDLE_AGES))
    warm_up: Histogram = Factory(lambda: Histogram(PATIENCES))

    @property
    def warm(self) -> int:
        """Returns how many requests were given a connection at once."""
        return self.requests - self.handshakes_on_request_path - self.waits_queued

    @property
    def acquired(self) -> dict[str, Histogram]:
        """Returns the seconds waited for a connection, by result.

        Requests that got a connection at once are counted in the first bucket without a look at the clock: this
        takes far less than its bound of 50 µs (0.7 µs; see benchmarks/pool.py). Where it may take longer,
        `warm_took` is called.
        """
        slow = self.waits[WARM]
        quick = Histogram(slow.bounds)
        quick.counts[0] = self.warm - slow.count
        return {**self.waits, WARM: quick.joined(slow)}

    def warm_took(self, seconds: float) -> None:
        """Counts a connection that was found at once, but with more work than usual."""
        slow = self.waits[WARM]
        if seconds > slow.bounds[0]:
            slow.observe(seconds)

    def borrowed(self, connection: ServerConnection, now: float) -> None:
        """Counts an idle connection that is taken for a request."""
        age = now - connection.idle_since
        self.idle_at_borrow.observe(age)
        connection.idle_last = age
        if age > connection.idle_longest:
            connection.idle_longest = age

    def opened(self, cause: str, dial: Dial, transport: Transport, certificate: bool) -> None:
        """Counts a connection that is ready. `certificate` tells that a client certificate is configured."""
        self.handshakes += 1
        self.connects[cause, OK] += 1
        self.connect_seconds.observe(dial.tcp_took)
        if transport.secure:
            resumed = transport.resumed
            self.tls_handshakes[transport.version, resumed, certificate] += 1
            self.handshake_seconds[resumed].observe(dial.took - dial.tcp_took)

    def not_opened(self, cause: str, dial: Dial, failure: DialFailure) -> None:
        """Counts a failed dial of the pool."""
        self.connects[cause, result_of(failure)] += 1
        if failure.phase != TCP_CONNECT:
            self.connect_seconds.observe(dial.tcp_took)

    def wait_failed(self, failure: DialFailure, seconds: float) -> None:
        """Counts a waiter that was refused with `failure` after `seconds`."""
        self.waits_failed += 1
        self.waits[TIMEOUT if failure.timed_out else REFUSED].observe(seconds)

    def end(self, connection: ServerConnection, now: float, reason: str, by: str, word: str) -> Ended:
        """Counts a connection that has left its pool, and returns its record. `word` is one of
        `reasons.WORDS`, for `reason`."""
        age, transport = now - connection.born, connection.transport
        self.closed[by, word] += 1
        if word in (ERROR, CLIENT_GONE):
            self.losses.note(now, reason)
        self.ages.observe(age)
        self.carried.observe(connection.requests)
        return Ended(
            connection.number,
            now,
            age,
            connection.took,
            transport.version,
            transport.resumed,
            connection.requests,
            by,
            reason,
            connection.idle_last,
            connection.idle_longest,
        )

    def race(self, method: str, outcome: str) -> None:
        """Counts a request whose connection ended under it, by class of method and outcome."""
        self.races[method, outcome] += 1
        self.races_lost += outcome == LOST


def result_of(failure: DialFailure) -> str:
    """Returns the word for a failed dial."""
    if failure.ours:
        return LOCAL
    if failure.timed_out:
        return TIMEOUT
    if failure.phase == TCP_CONNECT:
        return REFUSED
    return VERIFY if failure.unverified else TLS


@frozen
class Ended:
    """Records the life of one connection. Times are in seconds: `at` the clock's time of its end, `age` its life,
    `took` its TCP connect and handshake.

    `tls` is the protocol ("" without TLS); `resumed` tells of an abbreviated handshake. `by` is who closed it, "server"
    or "proxy", for `reason`. `idle_last` and `idle_longest` are how long it had stood idle when it was last taken for a
    request, and at most (0: it never had); these two ages show why it was lost.
    """

    number: int
    at: float
    age: float
    took: float
    tls: str
    resumed: bool
    requests: int
    by: str
    reason: str
    idle_last: float = 0.0
    idle_longest: float = 0.0
