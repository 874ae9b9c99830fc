"""The attempts at one request: what is still held of it, how it has failed so far, and whether it may be tried again.

`Exchange` begins with this. It does what is decided here; here is only the bookkeeping, and every attempt after the first
is granted in one place, `grant`. It must never know how a request is sent.
"""

from __future__ import annotations

from reusedproxy.servers.backend import Backend
from reusedproxy.servers.connection import SERVER_GONE, UNTOUCHED
from reusedproxy.servers.retry import IDEMPOTENT, may_retry
from reusedproxy.servers.server import Server

#: Bytes of a request kept so that it can be sent again, and kept back while there is no connection; as much as one of
#: HAProxy's buffers, which bounds its retries alike.
HELD_MAX = 16 * 1024


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
    #: All of the request that has come is still held.
    held = True
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
        if not self.may_retry(failure, answered):
            return False
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

    def count(self, what: str) -> None:
        """One more of `what`, at the backend and at the server if one is chosen."""
        for counted in (self.backend, self.server):
            if counted is not None:
                counted.traffic.add(what)
