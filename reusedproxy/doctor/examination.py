"""Examines one server: opens a few connections as the daemon does, asks a few harmless requests, and waits how long
idle connections stand.

An examination tells what it has seen (`Observed`) and judges nothing. It must never know clients or frontends.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.checks.requests import request as request_of_check
from reusedproxy.config.model.checks import HTTPCheck
from reusedproxy.doctor.bench import Bench, NotOpened
from reusedproxy.doctor.inquiry import Inquiry, acknowledge_at_once, request_for
from reusedproxy.doctor.observations import HEAD, OPTIONS, USUAL, Asked, Observed, Opened, Refusal, Stood
from reusedproxy.net.dial import Dial, Dialer
from reusedproxy.net.tls.observed import ObservedContext
from reusedproxy.pool.connection import IDLE, ServerConnection
from reusedproxy.pool.holdings import remember_session
from reusedproxy.pool.reasons import SERVER
from reusedproxy.pool.spread import printable
from reusedproxy.wire.heads import Limits

#: Seconds in which a server shows that it refuses our certificate after the handshake (TLS 1.3), or greets, and in
#: which session tickets come.
SETTLE = 0.5
#: Seconds for each answer, at most: `timeout server` may be longer, and may be none.
ANSWER = 5.0
#: Connections that are opened at the same time when it is tried how many the server bears.
AT_ONCE = 2
#: Seconds from which on a body counts as held back: Linux delays an acknowledgement by 40 ms, others by more. And the
#: seconds within which a server has to answer to be asked again for that.
HELD_BACK, SWIFT = 0.03, 0.5
#: Methods that change nothing (RFC 9110 section 9.2.1).
SAFE = ("GET", "HEAD", "OPTIONS")


@frozen
class Subject:
    """Holds what is known of a server before it is examined. `http` tells that it is asked requests, `check` being the
    one of its health check; `host` is the name that requests are for."""

    name: str
    dialer: Dialer
    connections: type[ServerConnection]
    limits: Limits
    http: bool
    check: HTTPCheck | None
    host: str
    #: The header by which `pool-spread` tells nodes apart, "" for none.
    node_header: str = ""


@frozen
class Bounds:
    """Bounds an examination. `idle` is for how many seconds idle connections are watched; `connections` how many are to
    stand at once (None: as many as the floor, but `FLOOR_TRIED` at most)."""

    idle: float = 10.0
    connections: int | None = None


#: The most connections of a floor that are tried unless more are asked for.
FLOOR_TRIED = 8


def wanted(bounds: Bounds, floor: int) -> int:
    """Returns how many connections are to stand at once; less than three: it is not tried."""
    return min(floor, FLOOR_TRIED) if bounds.connections is None else bounds.connections


def requests_of(subject: Subject) -> list[tuple[str, bytes]]:
    """Returns the requests that are sent, each with its role: `OPTIONS *`; HEAD of the check's URI, or of /; and twice
    the check's request, or `GET /`, whose connection is then watched."""
    check = subject.check
    uri, usual = "/", request_for("GET", "/", subject.host)
    if check is not None and check.method in SAFE and not check.body:
        uri, usual = check.uri, request_of_check(check, keep=True)
    found = [(OPTIONS, request_for("OPTIONS", "*", subject.host))] if not usual.startswith(b"OPTIONS *") else []
    found += [(HEAD, request_for("HEAD", uri, subject.host))] if not usual.startswith(b"HEAD ") else []
    return [*found, (USUAL, usual), (USUAL, usual)]


def most_connections(subject: Subject, bounds: Bounds, floor: int) -> int:
    """Returns how many connections an examination opens at most."""
    again = len(requests_of(subject)) if subject.http else 0
    return 2 + again + max(0, wanted(bounds, floor) - 2)


class Examination:
    """Runs one examination; `observed` holds what it has seen so far, also when it is broken off."""

    def __init__(self, subject: Subject, observed: Observed, floor: int, bounds: Bounds, clock: IReactorTime) -> None:
        self.observed = observed
        self._subject = subject
        self._bounds = bounds
        self._wanted = wanted(bounds, floor)
        self._clock = clock
        self._bench = Bench(subject.name, subject.dialer, subject.connections, subject.limits)
        self._context = subject.dialer.context

    async def look(self) -> tuple[ServerConnection | None, ServerConnection | None]:
        """Does all that is done at once. Returns a connection that has carried requests, and one that has not, to be
        watched by `watch`; None for each that does not stand."""
        observed, bench = self.observed, self._bench
        first = await self._open_first()
        if first is None:
            return None, None
        used: ServerConnection | None = None
        if self._subject.http:
            used = await self._ask_all(first)
        else:
            await self._pause()
            if first.state == IDLE:
                remember_session(first)
                observed.greeting = getattr(first, "greeting", b"")
        if self._refused_late(first):
            return None, None
        if used is not None:
            await self._look_for_stalls(used)
        unused = await self._open_second()
        if unused is None:
            return used, None
        if used is not None and used.state != IDLE:
            used = None
        if not self._subject.http:
            bench.retire(first, "examined")
        if self._wanted > 2:
            await self._bear(used, unused)
        return used, unused

    async def watch(self, used: ServerConnection | None, unused: ServerConnection | None) -> None:
        """Waits until the server has closed these idle connections, or the time for that is over."""
        until = self._clock.seconds() + self._bounds.idle
        watched = [each for each in (used, unused) if each is not None]
        while any(each.state == IDLE for each in watched) and (left := until - self._clock.seconds()) > 0:
            await self._until_end(left)
        if self._bounds.idle:
            self.observed.used = self._stood(used)
            self.observed.unused = self._stood(unused)

    def close(self) -> None:
        """Ends all connections; leaves no timer."""
        self.observed.advertised = self._bench.keep_alive
        self.observed.serials = self._bench.serials
        self._bench.close()

    # Connections.

    async def _open_first(self) -> ServerConnection | None:
        try:
            dial, connection = await self._bench.open()
        except NotOpened as failed:
            self._note_refusal(failed)
            return None
        self.observed.first = _opened(dial, connection)
        if isinstance(self._context, ObservedContext):
            self.observed.handshake = self._context.handshake
        return connection

    async def _open_second(self) -> ServerConnection | None:
        try:
            dial, connection = await self._bench.open()
        except NotOpened as failed:
            self.observed.short = str(failed.failure)
            self.observed.wanted, self.observed.stood = 2, len(self._bench.standing)
            return None
        self.observed.second = _opened(dial, connection)
        return connection

    def _note_refusal(self, failed: NotOpened) -> None:
        context = self._context
        if isinstance(context, ObservedContext):
            self.observed.refusal = Refusal(
                failed.failure,
                context.fault,
                context.for_other_names,
                context.asked,
                context.is_unpinned,
                context.is_unvouched,
            )
        else:
            self.observed.refusal = Refusal(failed.failure)

    def _refused_late(self, connection: ServerConnection) -> bool:
        """Notes if the server has ended a connection that nothing was asked on, or refused our certificate on it."""
        end = self._bench.ended.get(connection)
        if end is None or end.by != SERVER or (connection.requests and not end.refused):
            return False
        self.observed.late = end.reason
        return True

    # Requests.

    async def _ask_all(self, connection: ServerConnection) -> ServerConnection | None:
        """Sends the requests one after the other, on the same connection as long as it is kept. Returns it if it
        stands."""
        observed = self.observed
        for role, request in requests_of(self._subject):
            if connection.state != IDLE:
                if self._refused_late(connection):
                    return None
                try:
                    _, connection = await self._bench.open()
                except NotOpened as failed:
                    what = request.partition(b" HTTP/")[0].decode("latin-1")
                    observed.requests.append(Asked(role, what, None, False, str(failed.failure), 0.0))
                    return None
            asked = await self._ask(connection, role, request)
            if asked.kept:
                # A server may close right behind an answer that has not announced it.
                await self._pause(SETTLE / 5)
                if (end := self._bench.ended.get(connection)) is not None:
                    asked = evolve(asked, kept=False, reason=end.reason)
            observed.requests.append(asked)
        return connection if connection.state == IDLE else None

    async def _look_for_stalls(self, connection: ServerConnection) -> None:
        """Finds out whether bodies come late because their heads are not acknowledged at once: a server that writes
        both apart, and has not set TCP_NODELAY, waits for that (Nagle's algorithm, RFC 9293 section 3.7.4). The first
        answers on a connection are acknowledged at once, and so are those after a pause; so it asks in a row, and then
        with acknowledgements without delay. Only where all of the former are late, and none of the latter, it is
        that."""
        role, request = requests_of(self._subject)[-1]
        if self.observed.requests[-1].took >= SWIFT:
            return
        gaps: dict[bool, list[float]] = {False: [], True: []}
        for quick in (False, False, False, True, True):
            if connection.state != IDLE or (quick and min(gaps[False][1:]) < HELD_BACK):
                return
            asked = await self._ask(connection, role, request, quick=quick)
            gaps[quick].append(asked.gap)
        late = min(gaps[False][1:])
        if max(gaps[True]) < late / 2:
            self.observed.held_back = late

    async def _ask(self, connection: ServerConnection, role: str, request: bytes, *, quick: bool = False) -> Asked:
        inquiry = Inquiry(self._bench, connection, role, request, ANSWER)
        if quick:  # not before the request is sent, at the end of the poller's batch
            self._clock.callLater(0, acknowledge_at_once, connection)
        asked = await inquiry.told
        if self._subject.node_header and inquiry.head is not None and role == USUAL:
            found = [printable(each) for each in inquiry.head.values(self._subject.node_header.encode("ascii"))]
            self.observed.named.append(found[0] if found else "")
        return asked

    # How many it bears.

    async def _bear(self, used: ServerConnection | None, unused: ServerConnection) -> None:
        """Opens connections until as many stand as are wanted, or the server takes no more; and asks on the newest."""
        observed, bench = self.observed, self._bench
        observed.wanted = self._wanted
        newest = unused
        more: list[ServerConnection] = []
        while not observed.short and len(bench.standing) < self._wanted:
            dials = [bench.open() for _ in range(min(AT_ONCE, self._wanted - len(bench.standing)))]
            for dial in dials:
                try:
                    _, newest = await dial
                    more.append(newest)
                except NotOpened as failed:
                    observed.short = str(failed.failure)
        await self._pause()
        observed.stood = len(bench.standing)
        gone = [end for connection in more if (end := bench.ended.get(connection)) is not None]
        if gone and not observed.short:
            observed.short = f"the connection ended: {gone[0].reason}"
        if self._subject.http and newest.state == IDLE and newest is not unused:
            asked = await self._ask(newest, *requests_of(self._subject)[-1])
            observed.served = asked.status is not None
        for each in more:
            bench.retire(each, "examined")

    # Time.

    def _pause(self, seconds: float = SETTLE) -> Deferred[None]:
        passed: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(seconds, passed.callback, None)
        return passed

    async def _until_end(self, seconds: float) -> None:
        """Waits until a connection ends, or the time has passed."""
        over: Deferred[None] = Deferred()

        def fire() -> None:
            if not over.called:
                over.callback(None)

        call = self._clock.callLater(seconds, fire)
        # What the end is a part of goes on first.
        self._bench.on_end = lambda: self._after_this_turn(fire)
        try:
            await over
        finally:
            self._bench.on_end = _nothing
            if call.active():
                call.cancel()

    def _after_this_turn(self, function: Callable[[], None]) -> None:
        self._bench.on_end = _nothing
        self._clock.callLater(0, function)

    def _stood(self, connection: ServerConnection | None) -> Stood | None:
        if connection is None:
            return None
        end = self._bench.ended.get(connection)
        if end is not None:
            return Stood(end.idle, end.reason)
        return Stood(self._clock.seconds() - connection.idle_since)


def _opened(dial: Dial, connection: ServerConnection) -> Opened:
    secure = connection.transport.secure
    return Opened(dial.tcp_took, dial.took - dial.tcp_took if secure else 0.0, connection.transport.resumed)


def _nothing() -> None:
    """Waits for nothing."""
