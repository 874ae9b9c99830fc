"""Paces the dials of one pool: full speed while its server accepts, one trial at a time while it does not.

A pool's refill asks before each dial; the pool reports how each one ended. The governor knows a clock, the configured
rate, and the one connection that is on trial; it must never know who needs connections or how many.

In TLS 1.3 a server refuses a client certificate after the handshake looked complete to the client (RFC 8446 section
4.4.2), so after failures a dial that succeeded proves nothing yet: its connection is on trial until it has answered, or
has stood long enough. One that ends under a request proves nothing either way, since that request may be the cause: the
next is tried at once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.net.dial import TCP_CONNECT, DialFailure
from reusedproxy.net.tls.words import UNSEEN
from reusedproxy.pool.dialing.budget import Budget

#: Most dials under way at once, for the floor and in all. More do not finish sooner: a handshake
#: costs about 1 ms of CPU.
FLOOR_DIALS = 4
DIALS = 64
#: Seconds between dials while a server refuses: at random between BACKOFF_FIRST and three times the last wait,
#: at most BACKOFF_LAST. While somebody waits at most BACKOFF_LAST_WAITED, so that a request's few attempts do
#: not outlast its client.
BACKOFF_FIRST = 0.25
BACKOFF_LAST = 3.0
BACKOFF_LAST_WAITED = 1.0
#: A connection that has stood for this many seconds after its handshake, or twice as long as that took, will
#: not be refused any more.
PROOF = 0.25
#: Floor dials per second when nothing is configured.
CONNECT_RATE = 100.0
#: Seconds' worth of floor dials that may start at once: so in no second are there more than a tenth beyond the rate.
BURST = 0.1
#: This much of a token counts as a whole one: a remainder left by rounding would be waited for again and again, each
#: time for next to nothing.
WHOLE = 1 - 1e-6
#: Floor dials per second to a server that closes unused connections within a moment, and the seconds for
#: which that is remembered.
FLUTTER_RATE = 2.0
FLUTTER_FOR = 30.0


class Proven(Protocol):
    """Defines a connection that may be on trial. `born` is when its dial succeeded, `proof_at` when it will have stood
    long enough; `requests` counts the requests sent on it."""

    born: float
    proof_at: float
    requests: int


class Governor:
    """Decides when one server may be dialled. `failures` counts those in a row; `last` is the last of them, None while
    dials succeed.

    While there are failures, at most one of these exists: a dial under way, a connection on trial, a time to wait.
    """

    def __init__(
        self,
        name: str,
        rate: float | None,
        clock: IReactorTime,
        random: Random,
        announce: Callable[[str, str], None],
        go_on: Callable[[], None],
        budget: Budget,
        secure: bool,
        timeout: float | None = None,
    ) -> None:
        """Allows `rate` floor dials a second (None: `CONNECT_RATE`). `go_on()` is called when a dial that
        `wait` had forbidden may be possible; `budget` is shared by all servers; `secure` tells that each dial
        makes a handshake. `timeout` is that of dials, in seconds: as HAProxy's turn-around between two tries, nobody
        waits longer than that for the next one."""
        self.failures = 0
        self.last: DialFailure | None = None
        self._waited = BACKOFF_LAST_WAITED if timeout is None else min(BACKOFF_LAST_WAITED, timeout)
        self._name = name
        self._clock = clock
        self._random = random
        self._announce = announce
        self._go_on = go_on
        self._secure = secure
        self._budget = budget if secure or budget.plain is None else budget.plain
        #: Dials under way for which the budget was charged; True: for a request.
        self._paid: dict[object, bool] = {}
        self._now = clock.seconds
        self._backoff = 0.0
        self._failed_at = -inf
        self._next_dial = -inf
        self.rate = rate or CONNECT_RATE
        #: Tells that the server closes unused connections so soon that a floor costs more than it is worth.
        self.careful = False
        self._fluttered_at = -inf
        self._tokens = max(1.0, self.rate * BURST)
        self._tokens_at = self._now()
        self._trial: Proven | None = None
        self._trial_call: IDelayedCall | None = None
        self._later_call: IDelayedCall | None = None
        self._throttle = LogThrottle(self._now, lambda text: announce("alert", text))
        self._told = False
        #: The kind as which all troubles are reported, whatever they are; "": each is a kind of its own.
        self._alike = ""

    def share(self, other: Governor) -> None:
        """Reports the troubles of a server's names together with `other`: clients choose the names, so a line for each
        would flood the log."""
        self._throttle, self._alike = other._throttle, "a name"

    # What the pool asks.

    @property
    def trouble(self) -> str:
        """Returns why the last dial failed; "" while dials succeed."""
        return "" if self.last is None else str(self.last)

    @property
    def certificate(self) -> str:
        """Returns what the dial that failed last had found of the server's certificate, as `net.tls.words` has it."""
        return UNSEEN if self.last is None else self.last.certificate

    @property
    def tokens(self) -> float:
        """Returns how many dials for the floor the rate allows now; if less than 1, the next has to wait."""
        now, rate = self._now(), self._rate_now
        # Room for a second one: of a bucket that holds one, each moment that a timer is late would be lost.
        self._tokens = min(max(2.0, rate * BURST), self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        return self._tokens

    @property
    def _rate_now(self) -> float:
        careful = self.careful or self._now() - self._fluttered_at < FLUTTER_FOR
        return min(self.rate, FLUTTER_RATE) if careful else self.rate

    @property
    def backoff(self) -> float:
        """Returns the seconds between two dials while the server refuses; 0 while it does not."""
        return self._backoff

    def wait(self, demand: bool, connecting: int, filling: int = 0) -> float:
        """Returns the seconds until the next dial may start, for somebody who waits (`demand`) or for the floor.
        `connecting` dials are under way, `filling` of them for the floor: those for requests do not delay the floor.

        0: now. inf: the end of a dial or of a trial decides, and the pool or `go_on` will ask again then.
        """
        if self.failures:
            if connecting or self._trial is not None:
                return inf
            at, since = self._next_dial, self._failed_at
            if demand:  # of a dial that has failed before its time, the floor's next one may be near
                at = max(min(at, since + self._waited), since + min(BACKOFF_FIRST, self._waited))
            wait = max(0.0, at - self._now())
            return wait if demand or wait else self._budget.wait(self, self._go_on)
        if connecting >= DIALS:
            return inf
        if demand:
            return 0.0
        if filling >= FLOOR_DIALS:
            return inf
        tokens = self.tokens
        if tokens < WHOLE:
            return (1 - tokens) / self._rate_now
        return self._budget.wait(self, self._go_on)

    def later(self, wait: float) -> None:
        """Calls `go_on` in `wait` seconds, or sooner if that was asked for before."""
        call = self._later_call
        if call is not None:
            if call.getTime() <= self._now() + wait:
                return
            call.cancel()
        self._later_call = self._clock.callLater(wait, self._later)

    # What the pool reports.

    def began(self, dial: object, demand: bool) -> None:
        """Pays for a dial that has started."""
        if not demand:
            self._tokens -= 1
            self._budget.spend()
            self._paid[dial] = False
        elif self._secure and self._budget.spend_on_request():
            self._paid[dial] = True

    def succeeded(self, dial: object, connection: Proven, took: float) -> None:
        """Notes that a dial has succeeded after `took` seconds. After failures its connection is on trial."""
        self._paid.pop(dial, None)
        proof = max(PROOF, 2 * took)
        connection.proof_at = self._now() + proof
        if self.failures and self._trial is None:
            self._trial = connection
            self._trial_call = self._clock.callLater(proof, self._prove)

    def failed(self, dial: object, failure: DialFailure, waited: bool) -> None:
        """Backs off after a failed dial, or a late refusal of its connection (`dial` is None then). `waited` tells that
        somebody was waiting for it."""
        self.failures += 1
        for_request = self._paid.pop(dial, None)
        if for_request is not None and failure.phase == TCP_CONNECT:
            self._budget.give_back(for_request)
        now = self._failed_at = self._now()
        if now >= self._next_dial:
            # Decorrelated jitter. Of dials that were under way together only the first to fail makes the wait longer.
            most = BACKOFF_LAST_WAITED if waited else BACKOFF_LAST
            self._backoff = min(most, self._random.uniform(BACKOFF_FIRST, 3 * max(BACKOFF_FIRST, self._backoff)))
            self._next_dial = now + self._backoff
        self.last = failure
        trouble = str(failure)
        if self._throttle.tell(self._alike or trouble, f"{self._name}: {trouble}", "attempts"):
            self._told = True

    def fluttered(self) -> None:
        """Slows down: the server has closed an unused connection that it had accepted a moment ago."""
        self._fluttered_at = self._now()

    def answered(self, connection: Proven) -> None:
        """Ends the trial, because a connection has carried an exchange to its end. A connection older than the last
        failure proves nothing."""
        if connection is self._trial or connection.born > self._failed_at:
            self._prove()

    def ended(self, connection: Proven) -> None:
        """Notes that a connection has left the pool. A trial that carried no request delays the next
        dial as a failure does."""
        if connection is self._trial:
            self._end_trial()
            if not connection.requests:
                now = self._failed_at = self._now()
                self._next_dial = max(self._next_dial, now + self._backoff)

    def stop(self) -> None:
        """Ends the trial and all plans, because no dial is wanted for now; leaves no timer. Failures are remembered:
        the first dial afterwards is a trial."""
        self._end_trial()
        self._paid.clear()
        self._budget.leave(self)
        if self._later_call is not None:
            self._later_call.cancel()
            self._later_call = None

    # Its own affairs.

    def _prove(self) -> None:
        """Returns to full speed: the server has accepted a handshake for sure."""
        self._end_trial()
        failures, self.failures = self.failures, 0
        self._backoff = 0.0
        self._next_dial = -inf
        self.last = None
        if self._told:
            self._told = False
            self._announce("notice", f"{self._name}: connections succeed again after {failures} failed attempts")
        self._go_on()

    def _end_trial(self) -> None:
        self._trial = None
        call, self._trial_call = self._trial_call, None
        if call is not None and call.active():
            call.cancel()

    def _later(self) -> None:
        self._later_call = None
        self._go_on()
