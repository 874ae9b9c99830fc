"""The failed attempts of one request: how each failed, whether another is allowed, and what became of that.

An exchange has this only from its first failure on. Every attempt after the first is granted in one place, `grant`. It must
never know how a request is sent.
"""

from __future__ import annotations

from typing import Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.exchanges.retry import IDEMPOTENT, UNSEEN, may_retry
from reusedproxy.pool import counters as records
from reusedproxy.pool.connection import SERVER_GONE, UNTOUCHED
from reusedproxy.pool.counters import Counters


class Repeatable(Protocol):
    """The request, as far as its failures know it."""

    backend: Backend | None
    server: Server | None
    method: bytes
    #: The attempts after the first; and whether one of them went to another server on purpose.
    retries: int
    redispatched: bool
    #: All of the request that has come is still held.
    held: bool

    def count(self, what: str) -> None:
        """Adds one to this count of the backend, and of the server if one is chosen."""


class Failures:
    """The failed attempts of one request.

    `raced`: an attempt's connection ended without an answer; `repeated`: one of those had been written to; `avoided` is the
    server that the next attempt does not go to.
    """

    def __init__(self, request: Repeatable) -> None:
        self.raced = self.repeated = False
        self.avoided: Server | None = None
        self._request = request
        #: Idle-close races, by the counters of the server that each was lost at.
        self._races: tuple[Counters, ...] = ()
        #: The last retry, until its result is known: the server's counters, and what allowed it.
        self._retry: tuple[Counters, str] | None = None

    def may_retry(self, failure: str, answered: bool, was_idle: bool) -> bool:
        """Tells whether another attempt is allowed by what happened, and by how many there were. `was_idle`: the connection
        had stood idle."""
        request = self._request
        assert request.backend is not None
        settings = request.backend.settings
        again = may_retry(
            failure,
            retry_on=settings.retry_on,
            method=request.method,
            answered=answered,
            held=request.held,
            retried=self.repeated,
        )
        return again and (
            request.retries < settings.retries or (was_idle and not answered and self._is_first_race(failure))
        )

    def _is_first_race(self, failure: str) -> bool:
        """Tells whether an idle connection that ended so is the idle-close race (or its harmless twin, nothing written yet),
        for the first time."""
        idempotent = self._request.method in IDEMPOTENT
        return not self.raced and (failure == UNTOUCHED or (failure == SERVER_GONE and idempotent))

    def grant(self, failure: str, answered: bool, was_idle: bool) -> bool:
        """Grants one more attempt, if it is allowed, and counts it. The request has no `server` then if it goes to another."""
        request = self._request
        backend, server = request.backend, request.server
        assert backend is not None and server is not None
        self._settle_retry(records.FAILED)
        if not self.may_retry(failure, answered, was_idle):
            return False
        self._retry = server.pool.counters, self._proof(failure, answered)
        if not answered and failure in (SERVER_GONE, UNTOUCHED):
            self.raced = True
            self.repeated = self.repeated or failure == SERVER_GONE
        request.retries += 1
        elsewhere = backend.redispatches(request.retries)
        # HAProxy counts an attempt as one or the other.
        request.count("wredis" if elsewhere else "wretr")
        request.redispatched = request.redispatched or elsewhere
        self.avoided = server if request.redispatched else None
        if elsewhere or not server.usable:
            request.server = None
            backend.done(server)
        return True

    def _proof(self, failure: str, answered: bool) -> str:
        """Names what allows the request to be sent once more, the strongest first."""
        if failure in UNSEEN:
            return records.UNSENT
        idempotent = self._request.method in IDEMPOTENT
        by_method = failure == SERVER_GONE and not answered and not self.repeated and idempotent
        return records.IDEMPOTENT if by_method else records.OPT_IN

    def lost_race(self, server: Server) -> None:
        """Notes a connection that had stood idle, and ended before a byte of the answer came."""
        self._races += (server.pool.counters,)

    def settle(self, answered: bool, left: bool) -> None:
        """Counts how the request has ended: a server has `answered` it, or its client has `left` before, or it is lost."""
        self._settle_retry(records.OK if answered else records.LEFT if left else records.FAILED)
        outcome = records.RETRIED_OK if answered else records.LEFT if left else records.LOST
        for counters in self._races:
            counters.race(race_class(self._request.method), outcome)

    def _settle_retry(self, result: str) -> None:
        if self._retry is not None:
            counters, proof = self._retry
            counters.retries[proof, result] += 1
            self._retry = None


def race_class(method: bytes) -> str:
    """Returns the class of requests that a race of this method is counted under."""
    return records.IDEMPOTENT if method in IDEMPOTENT else records.UNSAFE
