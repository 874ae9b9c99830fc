"""Finds a connection to a server for a stream: a place at one of the backend's servers, a connection that stands ready
there or a new one, and further tries where that fails.

A search is asked once, and again if the connection that it has found turns out to be none. It must never know what is
sent on the connection.
"""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.queue import Queue
from reusedproxy.backends.server import Server
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.lone import LoneDial
from reusedproxy.pool.named import NameRefused
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import RawConnection, acquire, raw
from reusedproxy.rules.facts import Noted
from reusedproxy.sessions.retries import CONNECT_SLACK, NONE, TRIES_AT_ONCE, count_retry
from reusedproxy.sessions.server_errors import note_failure
from reusedproxy.sessions.termination import CONNECTION, QUEUE

#: The most seconds between two tries at a server that is not asked through its pool, which has a pace of its own
#: (HAProxy's turn-around).
TURN_AROUND = 1.0

# The states of a search.
QUEUED = "queued"
CONNECTING = "connecting"
FAILED = "failed"
FOUND = "found"


class Seeking(Protocol):
    """Defines the stream as its search knows it: it writes `server` and `placed_at`, and reads the rest."""

    backend: Backend | None
    server: Server | None
    placed_at: float
    #: The server in whose own queue a wait has ended in vain.
    waited_for: Server | None
    #: Its class and offset in queues.
    priority: tuple[int, int]
    #: What a rule has said of its retries; None: nothing.
    most_retries: int | None

    @property
    def deadlines(self) -> Deadlines: ...

    def enter(self, backend: Backend) -> None:
        """Goes to this backend, in place of the one before."""

    def count(self, what: str) -> None:
        """Adds one to this count of the backend, and of the server if one is chosen."""

    def note(self) -> Noted:
        """Returns what is noted of it for its log."""

    def found(self, connection: RawConnection) -> None:
        """Uses the connection, which is the stream's from now on."""

    def found_none(self, flags: str) -> None:
        """Ends the stream, because there is no connection."""


class Search:
    """Seeks a connection for one stream. `state` is one of these:

    QUEUED      the server, or every server, is full: it waits for a place
    CONNECTING  a server is chosen, whose pool will give a connection
    FAILED      a try has failed, and another follows
    FOUND       it is over: the stream has its connection, or has ended

    `retries` counts the tries after the first; `redispatched` tells that one of them went to another server. `was_idle`
    tells that the connection had stood ready.
    """

    __slots__ = (
        "_avoided",
        "_in_a_row",
        "backend_queue",
        "binding",
        "deadline",
        "pool",
        "queue",
        "redispatched",
        "request",
        "retries",
        "slot",
        "srv_queue",
        "state",
        "was_idle",
    )

    def __init__(self, stream: Seeking) -> None:
        #: The stream, by the name under which algorithms ask for what they hash.
        self.request = stream
        self.state = QUEUED
        self.queue: Queue[Server, Any] | None = None
        self.pool: HTTPConnectionPool | LoneDial | None = None
        self.srv_queue = self.backend_queue = 0
        self.binding: Binding | None = None
        self.redispatched = False
        self.retries = 0
        self.was_idle = False
        self.deadline = inf
        self.slot = 0.0
        self._avoided: Server | None = None
        #: Tells that `_go_on` is trying, which goes on if that fails at once.
        self._in_a_row = False

    @property
    def server(self) -> Server | None:
        """Returns the server at which it has a place, as the stream knows it."""
        return self.request.server

    @server.setter
    def server(self, server: Server | None) -> None:
        self.request.server = server

    @property
    def priority(self) -> tuple[int, int]:
        return self.request.priority

    @property
    def phase(self) -> str:
        """Returns the second letter of HAProxy's termination state."""
        return QUEUE if self.state == QUEUED else CONNECTION

    def start(self) -> None:
        """Asks the backend for a server, and waits for a place if all are full."""
        backend = self.request.backend
        assert backend is not None
        self.state = QUEUED
        if backend.successor is not None:
            self._move(backend.successor)
            self.start()
        elif not self._choose(backend):
            self._unplaced("SC")
        elif self.queue is not None and self.request.backend is backend:
            self._await(backend.settings.timeouts.queue)

    def again(self) -> None:
        """Asks the same server for another connection, because there was none or it had ended; after a reload, whatever
        is in its place."""
        backend, server = self.request.backend, self.request.server
        assert backend is not None and server is not None
        if (place := backend.place_of_retries(server)) is not backend:
            self._leave_for(backend, place)
        else:
            self.placed(server)

    def leave(self) -> None:
        """Stops seeking, because the stream ends."""
        self.request.deadlines.cancel(self)
        if self.queue is not None:
            self.request.waited_for = self.queue.server
            self.queue.leave(self)
        elif self.state == CONNECTING and self.pool is not None:
            self.pool.leave(self)

    def _choose(self, backend: Backend) -> bool:
        if self.binding is not None:
            return backend.choose_bound(self, self.binding)
        return backend.choose(self, self._avoided)

    def _move(self, backend: Backend) -> None:
        self.request.enter(backend)
        self._avoided = None
        if self.binding is not None:
            self.binding = self.binding.at(backend.servers)

    # What the backend calls (`backends.places.Placed`).

    def placed(self, server: Server) -> None:
        """Takes a connection that stands ready at this server, or waits for one."""
        stream = self.request
        backend = stream.backend
        assert backend is not None
        stream.server = server
        now = stream.deadlines.now()
        if not stream.placed_at:
            stream.placed_at = now
        server.last_placed = now
        self.state = CONNECTING
        pool = server.pool
        if server.naming is not None:
            named = server.pool_for(stream)
            if isinstance(named, DialFailure):
                self.connection_failed(named)
                return
            pool = named
        self.pool = pool
        connection = None if server.introduces is not None else acquire(pool, now)
        if connection is None:
            self._wait(backend, server, pool)
            return
        self.was_idle = True
        self._found(connection)

    def _wait(self, backend: Backend, server: Server, pool: HTTPConnectionPool) -> None:
        timeout = backend.settings.timeouts.connect
        forced = self.binding is not None and self.binding.dials and pool.state == "suspended"
        if pool.state != "running" and not forced:
            if backend.successor is not None:
                self._leave_for(backend, backend.successor)
                return
            pool.wait(self, ANY)  # which is refused at once
            return
        if pool.paused and not self.redispatched and backend.redispatches(1, self.binding):
            # Its server refuses, and is tried again in a while; another one may take it now.
            self.connection_failed(DialFailure("connection", pool.trouble))
            return
        self._await(None if timeout is None else timeout + CONNECT_SLACK)
        if server.introduces is not None or forced:
            try:
                preface = b"" if server.introduces is None else server.introduces(self.request)
            except NameRefused as refused:
                self.connection_failed(DialFailure("connection", str(refused)))
                return
            self.pool = LoneDial(pool, self, preface)
        else:
            pool.wait(self, ANY)

    def _leave_for(self, backend: Backend, successor: Backend) -> None:
        """Starts again at the backend that a reload has put in the place of this one, whose server's pool is not used
        any more."""
        stream = self.request
        server, stream.server, self.pool = stream.server, None, None
        assert server is not None
        self.state = QUEUED
        backend.done(server)
        if self.slot:
            self.go_to(successor)
        else:
            self._move(successor)
            self.start()

    def unplaceable(self) -> None:
        """Ends the stream, because no server is left."""
        self._unplaced("SC")

    def crowded_out(self, server: Server) -> None:
        """Ends the stream, because it may neither wait at this server nor go to another one."""
        self.request.waited_for = server
        server.traffic.add("econ")
        self._unplaced("SQ")

    def go_to(self, backend: Backend) -> None:
        """Waits on at the backend that a reload has put in the place of this one. `timeout queue` goes on counting."""
        self._move(backend)
        if not self._choose(backend):
            if self.slot:
                backend.wait(self)
            else:
                self._unplaced("SC")

    def _unplaced(self, flags: str) -> None:
        if self.queue is not None and self.queue.server is not None:
            self.queue.server.traffic.add("econ")
        self.request.count("econ")
        self.request.found_none(flags)

    # What the pool calls (`pool.waiters.Waiter`), and the clock.

    def connection_ready(self, connection: ServerConnection) -> None:
        """Hands over the connection for which it has waited."""
        self.was_idle = False
        self._found(connection)

    def connection_failed(self, failure: DialFailure) -> None:
        """Tries again, or ends the stream, because there is no connection."""
        note_failure(self.request.note(), failure, self.request.server)
        if self.fails():
            return
        if failure.ours:  # HAProxy's manual, section 8.5: a local resource has been exhausted
            self.request.found_none("RC")
        else:
            self.request.count("econ")
            self.request.found_none("sC" if failure.timed_out else "SC")

    def pool_replaced(self) -> None:
        """Asks the pool that its server has now, or after a reload whatever is in the server's place."""
        self.request.deadlines.cancel(self)
        self.again()

    def deadline_passed(self) -> None:
        """Ends a wait: for a place (`timeout queue`), for a connection (`timeout connect`, while too many others
        waited), or for the next try."""
        if self.state == FAILED:
            self._go_on()
        elif self.state == QUEUED:
            self._unplaced("sQ")
        elif self.state == CONNECTING and self.pool is not None:
            pool = self.pool
            pool.leave(self, timed_out=True)
            self.connection_failed(pool.in_vain)

    def _found(self, connection: ServerConnection) -> None:
        if self.slot:
            self.request.deadlines.cancel(self)
        self.state = FOUND
        self.request.found(raw(connection))

    def _await(self, timeout: float | None) -> None:
        deadlines = self.request.deadlines
        if timeout is None:
            deadlines.cancel(self)
        else:
            deadlines.watch(self, deadlines.now() + timeout)

    # Further tries.

    def fails(self) -> bool:
        """Tries again after a failure, if that is allowed. Returns whether it does."""
        stream = self.request
        backend, server = stream.backend, stream.server
        assert backend is not None and server is not None
        settings = backend.settings
        most = settings.retries if stream.most_retries is None else stream.most_retries
        if self.retries >= most or NONE in settings.retry_on:
            return False
        backend.connection_failed(server)
        self._avoided = count_retry(self, backend, server)
        stream.deadlines.cancel(self)
        self.state = FAILED
        if isinstance(self.pool, LoneDial) and stream.server is server:
            self._await(min(TURN_AROUND, settings.timeouts.connect or TURN_AROUND))
        elif not self._in_a_row:
            self._go_on()
        return True

    def _go_on(self) -> None:
        """Makes another try, and further ones as long as each fails at once. The loop is here so that they do not
        nest."""
        for _ in range(TRIES_AT_ONCE):
            self._in_a_row = True
            if self.request.server is None:
                self.start()
            else:
                self.again()
            self._in_a_row = False
            if self.state != FAILED or self.slot:
                return
        self._await(0)  # others have their turn
