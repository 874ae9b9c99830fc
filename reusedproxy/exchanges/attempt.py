"""Tries to carry a request at one server: from the wait for a place there to the connection that carries it, or
to the failure.

An attempt asks the backend for a server and the server's pool for a connection, waits for either, and sends the
request. The answer goes to the exchange itself; the attempt only decides whether a failure is followed by another
attempt. It knows its exchange by the base of that, `Request`, into which it writes its progress. It must never know
answers or clients' bytes.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.queue import Queue
from reusedproxy.backends.server import Server
from reusedproxy.config.model.proxies import UNIQUE_ID
from reusedproxy.exchanges.facts import ExchangeFacts
from reusedproxy.exchanges.failures import Failures, race_class
from reusedproxy.exchanges.heads import naming_server, respelled
from reusedproxy.exchanges.retry import DIAL_FAILED, IDEMPOTENT
from reusedproxy.exchanges.reuse import kind_of_connection
from reusedproxy.exchanges.route import Route
from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.connection import REFUSED_LATE, SERVER_GONE, UNTOUCHED, ServerConnection
from reusedproxy.pool.counters import AVOIDED
from reusedproxy.pool.kinds import ANY, FRESH, NEW
from reusedproxy.pool.lone import LoneDial
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.served import Exchange as Served
from reusedproxy.rules.facts import TLS_REFUSED_LATE
from reusedproxy.sessions.client import session_of
from reusedproxy.sessions.retries import CONNECT_SLACK, TRIES_AT_ONCE
from reusedproxy.sessions.server_errors import note_failure
from reusedproxy.sessions.session import Session
from reusedproxy.sessions.termination import CONNECTION, HEAD, QUEUE
from reusedproxy.wire.heads import EMPTY_LINE

#: Bytes of a request kept in any case so that it can be sent again, and kept back while there is no connection;
#: `Limits.buffer` may be more. As in HAProxy, whose buffers bound its retries alike.
HELD_MAX: Final = 16 * 1024
#: By a name, because mypyc leaves out the default `None` of an attribute that may be one of several classes.
NO_POOL: Final = None

# The states of an attempt.
QUEUED: Final = "queued"
CONNECTING: Final = "connecting"
SENT: Final = "sent"
FAILED: Final = "failed"

#: Where an attempt stands, in the second letter of HAProxy's termination state.
PHASES: Final = {QUEUED: QUEUE, CONNECTING: CONNECTION, SENT: HEAD, FAILED: CONNECTION}


class Request(ExchangeFacts, Served):
    """Holds what attempts know of their exchange; its base. They write `attempt`, `failures`, `server`, `connection`,
    and all times and numbers; they only read the rest.

    It is a base class and no Protocol, because compiled code finds the attributes of its own classes without a look-up:
    an attempt needs thirty of them.
    """

    route: Route | None
    #: All of the request has come; all of that is still held, so that it can be sent again.
    complete: bool
    held: bool
    #: The head for the server with the first of the body, and the rest of the body, as far as they are held; and how
    #: many bytes have come.
    head_and_body: bytes
    more: list[bytes] | None
    bytes_in: int
    attempt: Attempt | None
    #: None: no attempt has failed.
    failures: Failures | None
    #: The attempts after the first; and whether one of them went to another server on purpose.
    retries: int
    redispatched: bool
    #: Of `backends.places.Placed`; and the server in whose own queue a wait has ended in vain.
    srv_queue: int
    backend_queue: int
    waited_for: Server | None
    #: Whether it was sent twice at once (`hedging`).
    hedged: int
    #: Whether the attempt under way has had an answer of 1xx.
    interims: bool

    def all_held(self) -> bytes:
        """Returns what has come of the request so far."""
        raise NotImplementedError

    def move(self, backend: Backend) -> None:
        """Moves the request to another backend."""
        raise NotImplementedError

    def count(self, what: str) -> None:
        """Adds one to this count of the backend, and of the server if one is chosen."""
        raise NotImplementedError

    def pace_request(self, connection: ServerConnection, free: int) -> None:
        """Paces what goes to the server, but for the next `free` bytes."""
        raise NotImplementedError

    def fail(self, status: int, flags: str) -> None:
        """Ends the exchange with an error response of the proxy's own."""
        raise NotImplementedError


class Attempt:
    """Carries one try of a request at one server. `state` is one of these:

    QUEUED      the server, or every server, is full: it waits for a place
    CONNECTING  a server is chosen, whose pool will give a connection
    SENT        the request is being sent or has been, and the exchange gets the answer
    FAILED      it has failed, and another attempt follows: at once, or when other requests have had their turn

    An attempt that fails without another to follow stays in its state, and the exchange ends.
    """

    # Most attempts never touch most of these; as class attributes they cost nothing. Whoever makes one sets `request`,
    # since one call of `__init__` for each request costs more than all of that.
    request: Request
    state = QUEUED
    #: The queue that it waits in; only queues change that.
    queue: Queue[Server, Any] | None = None
    #: The pool that it uses, or waits at.
    pool: HTTPConnectionPool | LoneDial | None = NO_POOL
    #: Tells that its connection had stood idle.
    was_idle = False
    #: The deadline of the queue or of the wait for a connection; `Deadlines` needs both attributes.
    deadline = inf
    slot = 0.0
    #: Tells that `_make_another` is starting it, which goes on if it fails at once.
    _in_a_row = False
    #: Tells that there are idle connections, but none that it may be given, so that it waits for a fresher one.
    _spared = False

    # Finding a server.

    def start(self, avoid: Server | None = None) -> None:
        """Asks the backend for a server, and waits for a place if all are full. `avoid` is chosen
        only if there is no other."""
        request = self.request
        backend, session = request.backend, request.client.session
        assert backend is not None
        if backend.successor is not None:
            self._start_at_successor(backend)
            return
        if session is None and request.binding is None:
            chosen = backend.choose(self, avoid)
        else:
            chosen = self._choose(backend, avoid)
        if not chosen:
            self._unplaced("SC")
        elif self.queue is not None and request.backend is backend:
            self._await(self._timeout("queue", backend.settings.timeouts.queue))
        # Else it has been sent, has ended, or has been started at its backend's successor, whose time-out counts then.

    def _start_at_successor(self, backend: Backend) -> None:
        """Starts at the backend that a reload has put in the place of this one."""
        assert backend.successor is not None
        self.request.move(backend.successor)
        self.start()

    def _choose(self, backend: Backend, avoid: Server | None = None) -> bool:
        """Asks the backend for a server, preferably the one to which the client is bound. Returns
        False if there is none."""
        binding = self.request.binding
        if binding is not None:
            return backend.choose_bound(self, binding)
        session = self.request.client.session
        bound = None if session is None else _bound_to(session, backend)
        if bound is None and session is not None and backend.settings.prefer_last:
            bound = _preferred(session, backend)
        return backend.choose(self, avoid, bound)

    # What the backend calls (`backends.places.Placed`).

    @property
    def srv_queue(self) -> int:
        return self.request.srv_queue

    @srv_queue.setter
    def srv_queue(self, passed: int) -> None:
        self.request.srv_queue = passed

    @property
    def backend_queue(self) -> int:
        return self.request.backend_queue

    @backend_queue.setter
    def backend_queue(self, passed: int) -> None:
        self.request.backend_queue = passed

    @property
    def redispatched(self) -> bool:
        return self.request.redispatched

    @redispatched.setter
    def redispatched(self, redispatched: bool) -> None:
        self.request.redispatched = redispatched

    @property
    def binding(self) -> Binding | None:
        return self.request.binding

    @binding.setter
    def binding(self, binding: Binding | None) -> None:
        self.request.binding = binding

    @property
    def priority(self) -> tuple[int, int]:
        return self.request.priority

    def placed(self, server: Server) -> None:
        """Takes a connection of this server's pool and sends the request, or waits for a connection."""
        request = self.request
        client, backend, failures = request.client, request.backend, request.failures
        assert backend is not None
        request.server = server
        now = client.deadlines.now()
        if not request.placed_at:  # what further attempts take counts as connecting, as in HAProxy's %Tc
            request.placed_at = now
        server.last_placed = now
        if backend.prefers_last:
            session_of(client).last = server.full_name
        pool = server.pool
        if server.naming is not None:
            self.state = CONNECTING
            named = server.pool_for(request)
            if isinstance(named, DialFailure):
                self.connection_failed(named)
                return
            pool = named
        self.pool = pool
        raced = failures is not None and failures.raced
        if backend.http_reuse is None and not raced and request.method in IDEMPOTENT:
            kind = ANY
        else:
            kind = kind_of_connection(
                backend.http_reuse, backend.settings.retry_on, request.method, first=client.requests == 1, raced=raced
            )
        session = client.session
        connection = session.take(pool) if session is not None and session.private else None
        if connection is None and kind != NEW:
            connection = pool.acquire(kind, now)
        if connection is None:
            self._wait_for_connection(pool, kind)
            return
        self.was_idle = True
        request.connected = now
        self._send(connection, now)

    def _wait_for_connection(self, pool: HTTPConnectionPool, kind: int) -> None:
        backend, binding = self.request.backend, self.request.binding
        assert backend is not None
        self.state = CONNECTING
        timeout = self._timeout("connect", backend.settings.timeouts.connect)
        if pool.state != "running":
            if backend.successor is not None:
                self._leave_for(backend.successor)
                return
            if binding is not None and binding.dials and pool.state == "suspended":
                self._await(None if timeout is None else timeout + CONNECT_SLACK)
                self.pool = LoneDial(pool, self)
                return
        if pool.paused and not self.request.redispatched and backend.redispatches(1, binding):
            # Its server refuses, and is tried again in a while; another one may take it now.
            self.connection_failed(DialFailure("connection", pool.trouble))
            return
        self._await(None if timeout is None else timeout + CONNECT_SLACK)
        self._spared = kind <= FRESH and bool(pool.idle)
        pool.wait(self, kind)

    def _go_on_at(self, backend: Backend, server: Server) -> None:
        """Asks for a connection of this server, at which the request has a place; after a reload, of whatever is in its
        place."""
        if (place := backend.place_of_retries(server)) is not backend:
            self._leave_for(place)
        else:
            self.placed(server)

    def _leave_for(self, successor: Backend) -> None:
        """Starts again at the backend that a reload has put in the place of this one, or waits on there if it has
        waited: its server's pool is not to be used any more."""
        request = self.request
        backend, server = request.backend, request.server
        assert backend is not None and server is not None
        request.server = self.pool = None
        self.state = QUEUED
        backend.done(server)
        if self.slot:
            self.go_to(successor)
        else:
            request.move(successor)
            self.start()

    def unplaceable(self) -> None:
        """Ends the exchange, because no server is left."""
        self._unplaced("SC")

    def go_to(self, backend: Backend) -> None:
        """Waits on at the backend that a reload has put in the place of this one. `timeout queue` goes on counting."""
        self.request.move(backend)
        if not self._choose(backend):
            if self.slot and not backend.settings.egress:  # any of its servers may take whoever waits there
                backend.wait(self)
            else:
                self._unplaced("SC")

    def crowded_out(self, server: Server) -> None:
        """Ends the exchange with 503, because it may neither wait at this server nor go to another one."""
        self.request.waited_for = server
        server.traffic.add("econ")
        self._unplaced("SQ")

    def _unplaced(self, flags: str) -> None:
        """Ends the exchange with 503, because no server has taken it."""
        if self.queue is not None and self.queue.server is not None:
            self.queue.server.traffic.add("econ")
        self.request.count("econ")
        self.request.fail(503, flags)

    # What the pool calls (`pool.waiters.Waiter`), and the clock.

    def connection_ready(self, connection: ServerConnection) -> None:
        """Sends the request on the connection for which it has waited."""
        request = self.request
        self.was_idle = connection.requests > 0
        request.connected = now = request.client.deadlines.now()
        if self._spared:
            assert request.server is not None
            request.server.pool.counters.race(race_class(request.method), AVOIDED)
        self._send(connection, now)

    def connection_failed(self, failure: DialFailure) -> None:
        """Makes another attempt, or ends the exchange, because there is no connection."""
        request = self.request
        note_failure(request.note(), failure, request.server)
        if failure.final:
            request.fail(503, "PC")
            return
        if self.fails(DIAL_FAILED, False):
            return
        if failure.ours:  # HAProxy's manual, section 8.5: a local resource has been exhausted
            request.fail(503, "RC")
        else:
            request.count("econ")
            request.fail(503, "sC" if failure.timed_out else "SC")

    def pool_replaced(self) -> None:
        """Asks the pool that its server has now, or after a reload whatever is in the server's place."""
        request = self.request
        backend, server = request.backend, request.server
        assert backend is not None and server is not None
        request.client.deadlines.cancel(self)
        self._go_on_at(backend, server)

    def deadline_passed(self) -> None:
        """Ends a wait: for a place (`timeout queue`), for a connection (`timeout connect`, while too many others
        waited), or for its next turn to try."""
        if self.state == FAILED:
            self._make_another()
        elif self.state == QUEUED:
            self._unplaced("sQ")
        elif self.state == CONNECTING and self.pool is not None:
            pool = self.pool
            pool.leave(self, timed_out=True)
            self.connection_failed(pool.in_vain)

    def leave(self) -> None:
        """Stops waiting, for a place or for a connection, because the exchange ends."""
        if self.queue is not None:
            self.request.waited_for = self.queue.server
            self.queue.leave(self)
        elif self.state == CONNECTING and self.pool is not None:
            self.pool.leave(self)

    def _timeout(self, which: str, said: float | None) -> float | None:
        own = self.request.own_timeouts
        return said if own is None else own.get(which, said)

    def _await(self, timeout: float | None) -> None:
        deadlines = self.request.client.deadlines
        if timeout is None:
            deadlines.cancel(self)
        else:
            deadlines.watch(self, deadlines.now() + timeout)

    # Sending, and what the exchange asks when that came to nothing.

    def _send(self, connection: ServerConnection, now: float) -> None:
        request = self.request
        client, backend, route, head = request.client, request.backend, request.route, request.head
        assert backend is not None
        if self.slot:
            client.deadlines.cancel(self)
        self.state = SENT
        request.connection = connection
        if route is not None and route.notes_connection:
            request.note_connection()
            request.note().reused = connection.requests > 0
        data = request.head_and_body if request.bytes_in <= HELD_MAX and not request.more else request.all_held()
        if connection.requests:
            connection.safe = True  # HAProxy's manual: it has been reused, so the server is known to bear it
        if route is not None and route.server_closes:
            connection.retire_at = -inf
        elif (
            backend.http_reuse == "never"
            or connection.pool.solo
            or (
                head is not None
                # Not `in`, which takes the bytes for a number first, and an exception for the answer (0.4 µs).
                and (head.upgrade is not None or head.head.lower().find(b"authorization:") >= 0)
                and head.binds_connection
            )
        ):
            connection.private = True
            if head is not None and head.upgrade is not None and head.length:
                connection.retire_at = -inf  # see `RequestHead.binds_connection`
            elif connection.pool.solo:
                assert request.server is not None
                if UNIQUE_ID in request.server.settings.proxy_options:
                    connection.retire_at = -inf  # no other request has the ID with which it has begun
        if connection.private:
            session_of(client).keep(connection)
        if not request.complete:
            client.resume_request()  # before sending, which may pause it
        if backend.name_header:
            assert request.server is not None
            data = naming_server(data, backend.name_header, request.server.name)
        if backend.spelling is not None:
            data = respelled(data, backend.spelling)
        timeout = backend.server_timeout
        if request.own_timeouts is not None:
            timeout = request.own_timeouts.get("server", timeout)
        if request.limits_in is not None:
            self._send_paced(connection, data, timeout, now)
        else:
            connection.send(request, data, request.complete, timeout, now)

    def _send_paced(self, connection: ServerConnection, data: bytes, timeout: float | None, now: float) -> None:
        """Sends the request with its body at the pace that rules have set."""
        request, head = self.request, data.find(EMPTY_LINE) + len(EMPTY_LINE)
        paces = len(data) > head or not request.complete
        if paces:
            request.pace_request(connection, head)
        connection.send(request, data, request.complete, timeout, now)
        if paces and request.complete and request.connection is connection:
            connection.end_pace()

    @property
    def phase(self) -> str:
        """Returns the second letter of HAProxy's termination state."""
        return PHASES[self.state]

    def may_retry(self, failure: str, answered: bool) -> bool:
        """Tells whether another attempt would follow if this one failed in this way."""
        return self._failures().may_retry(failure, answered, self.was_idle)

    def lost(self, loss: str, answered: bool) -> bool:
        """Makes another attempt, if one is allowed after the connection was lost before the answer's head.
        Returns whether it did."""
        request = self.request
        server = request.server
        assert server is not None
        raced = self.was_idle and not answered and loss in (SERVER_GONE, UNTOUCHED)
        if raced:
            self._failures().lost_race(server)
        if not self.fails(loss, answered):
            if loss == REFUSED_LATE:
                request.note().server_error = TLS_REFUSED_LATE
            return False
        server.pool.counters.races_repeated += raced
        return True

    def fails(self, failure: str, answered: bool) -> bool:
        """Makes another attempt, if one is allowed after this failure. Returns whether it did."""
        request = self.request
        if not self._failures().grant(failure, answered, self.was_idle):
            return False
        request.connected = 0.0
        request.interims = False
        request.client.deadlines.cancel(self)
        self.state = FAILED
        if not self._in_a_row:
            self._make_another()
        return True

    def _make_another(self) -> None:
        """Makes another attempt, and further ones as long as each fails at once. The loop is here so
        that attempts do not nest."""
        request, failures = self.request, self._failures()
        for _ in range(TRIES_AT_ONCE):
            request.attempt = attempt = Attempt()
            attempt.request = request
            attempt._in_a_row = True
            backend, server = request.backend, request.server
            assert backend is not None
            if server is None:
                attempt.start(failures.avoided)
            else:
                attempt._go_on_at(backend, server)
            attempt._in_a_row = False
            if attempt.state != FAILED:
                return
        attempt._await(0)  # others have their turn

    def _failures(self) -> Failures:
        request = self.request
        if request.failures is None:
            request.failures = Failures(request)
        return request.failures


def _preferred(session: Session, backend: Backend) -> Server | None:
    """Returns the server of the client's last request, if it is one of this backend's and can take this one on a
    connection that it has (`option prefer-last-server`). One of the client's own is worth a wait in the server's queue,
    where fewer wait than `max-keep-alive-queue` says, as in HAProxy; another is not."""
    of, _, name = session.last.rpartition("/")
    server = backend.named.get(name) if of == backend.name else None
    if server is None or not backend.uses(server):
        return None
    if session.has_one_of(server.pool):
        most = backend.settings.max_keep_alive_queue
        return server if most < 0 or not server.full or len(server.queue) < most else None
    return server if server.pool.idle and not server.full else None


def _bound_to(session: Session, backend: Backend) -> Server | None:
    """Returns the server to which the client has an authenticated connection, None if there is none: its next request
    must go there, too."""
    if not session.private or backend.settings.http_reuse == "never":
        return None
    return next((server for server in backend.servers if session.has_one_of(server.pool)), None)
