"""The attempts at one request: what is still held of it, how it has failed so far, and whether it may be tried again.

`Exchange` begins with this. It does what is decided here; here is only the bookkeeping, and every attempt after the first
is granted in one place, `grant`. It must never know how a request is sent.
"""

from __future__ import annotations

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.exchanges.retry import IDEMPOTENT, UNSEEN, may_retry
from reusedproxy.pool import counters as records
from reusedproxy.pool.connection import SERVER_GONE, UNTOUCHED
from reusedproxy.pool.counters import Counters

#: Bytes of a request kept so that it can be sent again, and kept back while there is no connection; as much as one of
#: HAProxy's buffers, which bounds its retries alike.
HELD_MAX = 16 * 1024
#: Attempts that fail at once, of one request, before others get their turn.
ATTEMPTS_AT_ONCE = 50


class Attempts:
    """`retries` counts the attempts after the first; `redispatched`: one of them went to another server on purpose."""

    # Most requests never touch most of these; as class attributes they cost nothing.
    backend: Backend | None = None
    server: Server | None = None
    method = b""
    retries = 0
    redispatched = False
    #: The connection of this attempt had stood idle.
    was_idle = False
    #: An attempt's connection ended without an answer; and one of those had been written to.
    raced = repeated = False
    #: While an attempt is being made that may fail at once: whether it has, and another is due; None: none is being made.
    again: bool | None = None
    #: The server that the next attempt is not to go to.
    avoided: Server | None = None
    #: All of the request that has come is still held.
    held = True
    #: Something of these two is to be counted when it is known how the request ended.
    unsettled = False
    #: Races, by the counters of the server that each was lost at; the last retry, with what allowed it.
    _races: tuple[Counters, ...] = ()
    _retry: tuple[Counters, str] | None = None
    _request = b""
    _more: list[bytes] | None = None

    def enter(self, backend: Backend) -> None:
        """It is this backend's from now on."""
        self.backend = backend
        traffic = backend.traffic
        traffic.stot += 1
        traffic.req_tot += 1
        traffic.scur += 1
        if traffic.scur > traffic.smax:
            traffic.smax = traffic.scur

    def hold(self, data: bytes) -> None:
        """Keep this piece of the body, to send it later or perhaps again."""
        if self._more is None:
            self._more = []
        self._more.append(data)

    def all_held(self) -> bytes:
        """What has come of the request. If it is too much to be held on, this was the last time."""
        request = self._request
        if self._more:
            request += b"".join(self._more)
        if len(request) > HELD_MAX:
            self.drop()
        return request

    def drop(self) -> None:
        """It is too much to be held: from now on it cannot be sent again."""
        self.held = False
        self._more = None
        self._request = b""

    def may_retry(self, failure: str, answered: bool) -> bool:
        """Whether another attempt is allowed by what happened, and by how many there were."""
        assert self.backend is not None
        settings = self.backend.settings
        again = may_retry(
            failure,
            retry_on=settings.retry_on,
            method=self.method,
            answered=answered,
            held=self.held,
            retried=self.repeated,
        )
        return again and (self.retries < settings.retries or self._is_race(failure, answered))

    def _is_race(self, failure: str, answered: bool) -> bool:
        """Whether this is the idle-close race (or its harmless twin, nothing written yet), for the first time."""
        return (
            self.was_idle
            and not self.raced
            and not answered
            and (failure == UNTOUCHED or (failure == SERVER_GONE and self.method in IDEMPOTENT))
        )

    def grant(self, failure: str, answered: bool) -> bool:
        """Whether there is one more attempt; if so it is counted, and `server` is None if it goes to another one."""
        backend, server = self.backend, self.server
        assert backend is not None and server is not None
        self._settle_retry(records.FAILED)
        if not self.may_retry(failure, answered):
            return False
        self.unsettled = True
        self._retry = server.pool.counters, self._proof(failure, answered)
        if not answered and failure in (SERVER_GONE, UNTOUCHED):
            self.raced = True
            self.repeated = self.repeated or failure == SERVER_GONE
        self.retries += 1
        elsewhere = backend.redispatches(self.retries)
        # HAProxy counts an attempt as one or the other.
        self.count("wredis" if elsewhere else "wretr")
        self.redispatched = self.redispatched or elsewhere
        if elsewhere or not server.usable:
            self.server = None
            backend.done(server)
        return True

    def _proof(self, failure: str, answered: bool) -> str:
        """What allows to send it once more, the strongest first."""
        if failure in UNSEEN:
            return records.UNSENT
        by_method = failure == SERVER_GONE and not answered and not self.repeated and self.method in IDEMPOTENT
        return records.IDEMPOTENT if by_method else records.OPT_IN

    @property
    def _class(self) -> str:
        return records.IDEMPOTENT if self.method in IDEMPOTENT else records.UNSAFE

    def lost_race(self) -> None:
        """Its connection had stood idle, and ended before a byte of the answer came."""
        assert self.server is not None
        self.unsettled = True
        self._races += (self.server.pool.counters,)

    def avoided_race(self) -> None:
        """It was given a connection that is surer than what stood idle."""
        assert self.server is not None
        self.server.pool.counters.race(self._class, records.AVOIDED)

    def settle(self, answered: bool, left: bool) -> None:
        """The request has ended: a server has `answered` it, or its client has `left` before, or it is lost."""
        self._settle_retry(records.OK if answered else records.LEFT if left else records.FAILED)
        outcome = records.RETRIED_OK if answered else records.LEFT if left else records.LOST
        for counters in self._races:
            counters.race(self._class, outcome)

    def _settle_retry(self, result: str) -> None:
        if self._retry is not None:
            counters, proof = self._retry
            counters.retries[proof, result] += 1
            self._retry = None

    def count(self, what: str) -> None:
        """One more of `what`, at the backend and at the server if one is chosen."""
        for counted in (self.backend, self.server):
            if counted is not None:
                counted.traffic.add(what)
