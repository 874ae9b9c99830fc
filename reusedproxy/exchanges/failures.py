"""Tracks the failed attempts of one request: how each failed, whether another is allowed, and how that one ended.

An exchange has this only from its first failure on. `grant` alone allows every attempt after the first. It must never
know how a request is sent.
"""

from __future__ import annotations

from typing import Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.exchanges.retry import DIAL_FAILED, IDEMPOTENT, UNSEEN, may_retry
from reusedproxy.pool import counters
from reusedproxy.pool.connection import SERVER_GONE, UNTOUCHED
from reusedproxy.pool.counters import Counters
from reusedproxy.sessions.retries import Retried, count_retry


class Repeatable(Retried, Protocol):
    """Defines the request as its failures know it."""

    backend: Backend | None
    method: bytes
    #: All of the request that has come is still held.
    held: bool
    #: What rules say of its retries: how many there may be (None: as many as its backend says), and that no server may
    #: have seen it before.
    most_retries: int | None
    no_late_retries: bool
    interims: bool

    def count(self, what: str) -> None:
        """Adds one to this count of the backend, and of the server if one is chosen."""


class Failures:
    """Tracks the failed attempts of one request.

    `raced` tells that an attempt's connection ended without an answer; `repeated`, that one of those had been written
    to. `avoided` is the server to which the next attempt does not go.
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
        """Tells whether another attempt is allowed, by this failure and by the number of earlier ones. `was_idle` tells
        that the connection had stood idle."""
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
            interims=request.interims,
        )
        if request.no_late_retries and failure not in UNSEEN:
            return False
        most = settings.retries if request.most_retries is None else request.most_retries
        return again and (request.retries < most or (was_idle and not answered and self._is_first_race(failure)))

    def _is_first_race(self, failure: str) -> bool:
        """Tells whether this end of an idle connection is the request's first idle-close race (or its harmless twin,
        before anything was written)."""
        idempotent = self._request.method in IDEMPOTENT
        return not self.raced and (failure == UNTOUCHED or (failure == SERVER_GONE and idempotent))

    def grant(self, failure: str, answered: bool, was_idle: bool) -> bool:
        """Grants one more attempt, if it is allowed, and counts it. If it goes to another server, the request has no
        `server` afterwards."""
        request = self._request
        backend, server = request.backend, request.server
        assert backend is not None and server is not None
        self._settle_retry(counters.FAILED)
        if not self.may_retry(failure, answered, was_idle):
            return False
        self._retry = server.pool.counters, self._proof(failure, answered)
        if not answered and failure in (SERVER_GONE, UNTOUCHED):
            self.raced = True
            self.repeated = self.repeated or failure == SERVER_GONE
        elif failure == DIAL_FAILED:
            backend.connection_failed(server)
        self.avoided = count_retry(request, backend, server)
        return True

    def _proof(self, failure: str, answered: bool) -> str:
        """Returns the strongest reason that allows the request to be sent once more."""
        if failure in UNSEEN:
            return counters.UNSENT
        idempotent = self._request.method in IDEMPOTENT
        by_method = failure == SERVER_GONE and not answered and not self.repeated and idempotent
        return counters.IDEMPOTENT if by_method else counters.OPT_IN

    def lost_race(self, server: Server) -> None:
        """Notes that a connection that had stood idle ended before a byte of the answer came."""
        self._races += (server.pool.counters,)

    def settle(self, answered: bool, left: bool) -> None:
        """Counts how the request has ended: `answered` by a server, `left` by its client before that, or lost."""
        self._settle_retry(counters.OK if answered else counters.LEFT if left else counters.FAILED)
        outcome = counters.RETRIED_OK if answered else counters.LEFT if left else counters.LOST
        for pool_counters in self._races:
            pool_counters.race(race_class(self._request.method), outcome)

    def _settle_retry(self, result: str) -> None:
        if self._retry is not None:
            counters, proof = self._retry
            counters.retries[proof, result] += 1
            self._retry = None


def race_class(method: bytes) -> str:
    """Returns the class of methods under which a race is counted."""
    return counters.IDEMPOTENT if method in IDEMPOTENT else counters.UNSAFE
