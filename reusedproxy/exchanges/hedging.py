"""Sends a request a second time when its answer is late, on another connection that stands ready (`hedge`).

The first answer goes to the client, the other is dropped (`losers`). A `Race` stands between a request and the
connections that carry it, until an answer has begun; then the request speaks to its connection as ever. When that may
be is decided by `backends.hedging`. It must never know clients' bytes.
"""

from __future__ import annotations

from math import inf
from typing import Final, Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.hedging import LOST, NEITHER, NO_CONNECTION, WON, Hedging
from reusedproxy.backends.server import Server
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.exchanges.client import Client, ClientFrontend
from reusedproxy.exchanges.heads import naming_server, respelled
from reusedproxy.exchanges.losers import Losing
from reusedproxy.exchanges.retry import UNSEEN
from reusedproxy.exchanges.reuse import kind_of_connection
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.kinds import ANY, NEW
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import NOT_AWAITED
from reusedproxy.pool.served import Exchange as Served
from reusedproxy.sessions.client import session_of
from reusedproxy.tables.allowances import Allowance
from reusedproxy.wire.heads import RequestHead, ResponseHead

#: Methods of requests that may be sent twice at the same time: nothing is changed by them (RFC 9110 section 9.2.1).
SAFE_METHODS: Final = frozenset((b"GET", b"HEAD", b"OPTIONS"))

# What a request has come to.
NOT_HEDGED, HEDGED, HEDGE_WON = 0, 1, 2


class Hedged(Served, Protocol):
    """Defines the request as its race knows it."""

    client: Client[ClientFrontend]
    head: RequestHead | None
    backend: Backend | None
    server: Server | None
    connection: ServerConnection | None
    complete: bool
    held: bool
    more: list[bytes] | None
    head_and_body: bytes
    binding: Binding | None
    limits_in: dict[Bandwidth, Allowance] | None
    own_timeouts: dict[str, float] | None
    #: NOT_HEDGED, HEDGED (sent twice), or HEDGE_WON (the second answer came first).
    hedged: int


def may_be_hedged(request: Hedged, connection: ServerConnection) -> bool:
    """Tells whether a request that was just sent on this connection may be sent a second time: it is safe, has no body,
    is held whole, and is bound to no server and no connection."""
    head, session = request.head, request.client.session
    return (
        request.method in SAFE_METHODS
        and request.connection is connection
        and connection.exchange is request
        and head is not None
        and not head.length
        and head.upgrade is None
        and request.complete
        and request.held
        and not request.more
        and request.binding is None
        and request.limits_in is None
        and not connection.private
        and (session is None or not session.private)
    )


class Race:
    """Carries one request on one connection, and perhaps on another; until the first answer begins, or all is over.

    `runners` are those that may still answer: none after that, when it lets go of the request, too, because it may have
    been answered long before it would be late.
    """

    def __init__(self, hedging: Hedging, request: Hedged, pool: HTTPConnectionPool, now: float) -> None:
        connection, server, backend = request.connection, request.server, request.backend
        assert connection is not None and server is not None and backend is not None
        self._hedging = hedging
        self._backend = backend
        self._pool = pool
        self._began = now
        self._is_hedged = False
        self._first: ServerConnection | None = connection
        self.runners = [Runner(self, request, connection, server)]
        connection.exchange = self.runners[0]
        hedging.watch(self, now)

    def late(self) -> None:
        """Sends the request a second time, unless something is against it."""
        if not self.runners or self._is_hedged or self.runners[0].connection.answered:
            return
        now = self._pool.deadlines.now()
        why = self._hedging.withholds(self._backend, now) or self._begin_second(self.runners[0], now)
        if why:
            self._hedging.withheld[why] += 1

    def _begin_second(self, first: Runner, now: float) -> str:
        """Sends the request on another connection. Returns why not, if there is none."""
        request, backend = first.request, self._backend
        settings = backend.settings
        kind = ANY
        if settings.http_reuse is not None:
            asked = request.client.requests == 1
            kind = kind_of_connection(settings.http_reuse, settings.retry_on, request.method, first=asked, raced=False)
        for server in backend.seconds(first.server) if kind != NEW else ():
            pool = self._pool if server is first.server else server.pool
            connection = pool.acquire(kind, now)
            if connection is not None:
                break
        else:
            return NO_CONNECTION
        backend.take_place(server)
        self._is_hedged = True
        self._hedging.began()
        request.hedged = HEDGED
        second = Runner(self, request, connection, server)
        self.runners.append(second)
        data = request.head_and_body
        if settings.name_header:
            data = naming_server(data, settings.name_header, server.name)
        if backend.spelling is not None:
            data = respelled(data, backend.spelling)
        if connection.requests:
            connection.safe = True  # as for any request
        if first.connection.retire_at == -inf:
            connection.retire_at = -inf  # `option http-server-close`
        timeout = settings.timeouts.server
        if request.own_timeouts is not None:
            timeout = request.own_timeouts.get("server", timeout)
        connection.send(second, data, True, timeout, now)
        return ""

    # What runners say.

    def won(self, runner: Runner, now: float) -> None:
        """Gives the request to the connection whose answer begins, and ends the other. Does nothing if it has won
        before."""
        if runner not in self.runners:
            return
        losers = [each for each in self.runners if each is not runner]
        second = runner.connection is not self._first
        self.runners, self._first = [], None
        request, hedging = runner.request, self._hedging
        request.connection, request.server = runner.connection, runner.server
        hedging.answered(now - self._began)
        if self._is_hedged:
            hedging.results[WON if second else LOST] += 1
        if second:
            request.hedged = HEDGE_WON
            if self._backend.settings.prefer_last:
                session_of(request.client).last = runner.server.full_name
        for loser in losers:
            self._let_lose(loser)

    def lost(self, runner: Runner, failed: bool) -> bool:
        """Drops a runner that gets no answer, if another may; its connection is free or gone. `failed` tells that its
        server is to blame. Returns False for the last one, which the request hears of itself."""
        if runner not in self.runners:
            return False
        request = runner.request
        self.runners.remove(runner)
        left = self.runners[0] if self.runners else runner
        request.connection, request.server = left.connection, left.server
        if left is runner:
            self._first = None
            self._hedging.results[NEITHER] += self._is_hedged
            return False
        if failed:
            runner.server.traffic.add("eresp")
        self._backend.done(runner.server)
        return True

    def abandon(self) -> None:
        """Ends all but the connection that the request has, which ends that itself: its client has left, say."""
        runners, self.runners, self._first = self.runners, [], None
        if self._is_hedged and runners:
            self._hedging.results[NEITHER] += 1
        for each in runners:
            if each.connection is not each.request.connection:
                each.connection.give_up(NOT_AWAITED)
                self._backend.done(each.server)

    def _let_lose(self, runner: Runner) -> None:
        hedging, backend, server = self._hedging, self._backend, runner.server

        def over(loser: Losing) -> None:
            hedging.losers.discard(loser)
            backend.done(server)

        hedging.losers.add(Losing(runner.method, runner.connection, over))


class Runner:
    """Is what one of the connections of a race serves, until its answer begins."""

    expects = False

    def __init__(self, race: Race, request: Hedged, connection: ServerConnection, server: Server) -> None:
        self.request = request
        self.connection = connection
        self.server = server
        self.method = request.method
        self.framed = request.framed
        self._race = race

    def _wins(self, now: float | None = None) -> Hedged:
        """Notes that an answer begins. Returns the request, which is on this connection from now on."""
        self._race.won(self, self.connection.pool.deadlines.now() if now is None else now)
        return self.request

    def _leaves(self) -> Hedged:
        """Notes that an answer begins of which there is more to come: that goes to the request."""
        request, connection = self._wins(), self.connection
        if connection.exchange is self:
            connection.exchange = request
        if connection.uploader is self:
            connection.uploader = request
        return request

    # What its connection calls (`pool.served.Exchange`).

    def may_repeat(self) -> bool:
        return len(self._race.runners) > 1 or self.request.may_repeat()

    def response_interim(self, head: ResponseHead) -> None:
        self._wins().response_interim(head)

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        self._leaves().response_switched(head, data)

    def unwanted(self, status: int) -> bool:
        return self.request.unwanted(status)

    def answer_unwanted(self, status: int) -> None:
        if not self._race.lost(self, failed=False):
            self.request.answer_unwanted(status)

    def challenged(self) -> bool:
        return self._wins().challenged()

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        self._wins(now).response_whole(head, body, now)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        self._leaves().response_started(head, data)

    def response_data(self, data: bytes) -> None:
        self.request.response_data(data)

    def response_ended(self) -> None:
        self.request.response_ended()

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        self._leaves().response_early(head, body)

    def request_sent(self) -> None:
        self.request.request_sent()

    def request_refused(self, whose: str | None) -> None:
        self.request.request_refused(whose)

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        if not self._race.lost(self, failed=whose not in UNSEEN):
            self.request.server_lost(whose, reason, answered)

    def break_off(self) -> None:
        self._wins().break_off()

    def pause_request(self) -> None:
        self.request.pause_request()

    def resume_request(self) -> None:
        self.request.resume_request()
