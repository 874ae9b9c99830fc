"""One request and its response: from a client's head to the last byte of its answer, through one server or several tries.

An exchange stands between one client connection and one server connection. It asks its backend for a server, the
server's pool for a connection, sends the request, passes the answer on, tries again where `retry` allows it, and ends in
exactly one place, `_end`, with its numbers counted and one access-log line. It must never know sockets or grammar.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from reusedproxy.clients.answers import error_answer
from reusedproxy.net.dial import DialFailure
from reusedproxy.net.transport import BROKEN
from reusedproxy.servers.backend import Backend
from reusedproxy.servers.connection import (
    IDLE,
    REFUSED_LATE,
    SERVER_FAULT,
    SERVER_GONE,
    SERVER_SLOW,
    UNTOUCHED,
    ServerConnection,
)
from reusedproxy.servers.pool import ANY, FRESH, NEW, SAFE, HTTPConnectionPool
from reusedproxy.servers.retry import DIAL_FAILED, IDEMPOTENT, UNSEEN, may_retry
from reusedproxy.servers.server import Server
from reusedproxy.wire.heads import CHUNKED, RequestHead, ResponseHead

if TYPE_CHECKING:
    from reusedproxy.clients.connection import ClientConnection

# The states of an exchange.
QUEUED = "queued"  # all servers are full
CONNECTING = "connecting"  # a server is chosen; its pool will give a connection
SENT = "sent"  # the request is going out; no answer yet
ANSWERING = "answering"  # the answer's head has gone to the client
ENDED = "ended"

#: Bytes of a request kept so that it can be sent again, and kept back while there is no connection; as much as one of
#: HAProxy's buffers, which bounds its retries alike.
HELD_MAX = 16 * 1024

#: Seconds beyond `timeout connect` that a wait for a connection may last, so that a dial's own failure is heard first.
CONNECT_SLACK = 0.5

_WHOSE_FLAGS = {SERVER_GONE: "SH", SERVER_FAULT: "PH", SERVER_SLOW: "sH", REFUSED_LATE: "SC", UNTOUCHED: "SC"}
_WHOSE_STATUS = {SERVER_GONE: 502, SERVER_FAULT: 502, SERVER_SLOW: 504, REFUSED_LATE: 503, UNTOUCHED: 503}


class Exchange:
    """One request and its response. `state` is QUEUED, CONNECTING, SENT, ANSWERING or ENDED.

    `flags` are the first two letters of HAProxy's termination state. Times are the clock's seconds, 0 when that point
    was not reached: `began` (first byte of the request), `read` (its head complete), `placed` (a server was chosen),
    `connected`, `answered` (head of the response), `ended`.
    """

    # Most exchanges never touch most of these; as class attributes they cost nothing.
    state = QUEUED
    backend: Backend | None = None
    server: Server | None = None
    connection: ServerConnection | None = None
    method = b""
    framed = True
    status = 0
    flags = "--"
    bytes_in = 0
    bytes_out = 0
    retries = 0
    redispatched = False
    #: How many stood before it in the backend's queue.
    queued_behind = 0
    placed_at = 0.0
    connected = 0.0
    answered = 0.0
    ended = 0.0
    #: Of the queue or the wait for a connection: `Deadlines` wants these two.
    deadline = inf
    slot = 0.0
    _request_ended = True
    #: Only the connection's end completes the answer, so an end that is none must not look like one.
    _until_close = False
    _was_idle = False
    _raced = False
    _held = True
    _more: list[bytes] | None = None
    _request = b""

    def __init__(self, client: ClientConnection, head: RequestHead | None, began: float, read: float) -> None:
        """`head` is None for what could not be read; such an exchange is only `refused`."""
        self.client = client
        self.head = head
        self.began = began
        self.read = read
        if head is not None:
            self.method = head.method
            self.framed = head.minor > 0

    # What its client connection calls.

    def begin(self, backend: Backend, body: bytes, ended: bool) -> None:
        """Find a server for it. `body` is what has come of the body, `ended` whether that is all of it."""
        head = self.head
        assert head is not None
        self.backend = backend
        client = self.client
        pieces = [head.block]
        if client.forwarded and not (client.frontend.forward_unless and client.frontend.forwards_already(head)):
            pieces.append(client.forwarded)
        if client.frontend.server_closes:
            pieces.append(b"connection: close\r\n")
        elif head.minor == 0 and head.host is None:
            pieces.append(b"connection: keep-alive\r\n")
        pieces.append(b"\r\n")
        if body:
            pieces.append(body)
        self._request = request = b"".join(pieces)
        self.bytes_in = len(request)
        if not ended:
            self._request_ended = False
        traffic = backend.traffic
        traffic.stot += 1
        traffic.req_tot += 1
        traffic.scur += 1
        if traffic.scur > traffic.smax:
            traffic.smax = traffic.scur
        self._choose(None)

    def request_data(self, data: bytes) -> None:
        """More of the request's body."""
        self.bytes_in += len(data)
        connection = self.connection
        if self._held:
            self._hold(data, connection is None)
        if connection is not None:
            connection.write(data)

    def request_ended(self) -> None:
        """The body is complete."""
        self._request_ended = True
        if self.connection is not None:
            self.connection.end_request()

    def client_lost(self, flag: str) -> None:
        """The client is gone; `flag` is C (it left) or c (its time was over)."""
        if self.state == ENDED:
            return
        self.status = self.status or -1
        self.flags = self._client_aborts(flag)
        self._let_go("client gone")
        self._end(broken=True)

    def client_slow(self) -> None:
        """The client has not sent what is missing of its request in time."""
        self.fail(408, self._client_aborts("c"))

    def fail(self, status: int, flags: str) -> None:
        """Answer with an error of our own; an answer that has begun is broken off, and the client can tell."""
        if self.state == ENDED:
            return
        self._let_go("exchange failed")
        self.flags = flags
        if self.state == ANSWERING:
            self.client.last = True
            self._end(broken=self._until_close)
        else:
            self.status = status
            self._end(last=error_answer(status, self.method), error=status)

    def pause_response(self) -> None:
        """The client takes no more for now."""
        if self.connection is not None:
            self.connection.pause_response()

    def resume_response(self) -> None:
        if self.connection is not None:
            self.connection.resume_response()

    @property
    def waits(self) -> bool:
        """Whether nothing of it has reached a server yet."""
        return self.state in (QUEUED, CONNECTING)

    @property
    def phase(self) -> str:
        """Where it stands, in the second letter of HAProxy's termination state."""
        return {QUEUED: "Q", CONNECTING: "C", SENT: "H"}.get(self.state, "D")

    # What its backend and its pool call.

    def placed(self, server: Server) -> None:
        self.server = server
        head = self.head
        assert head is not None
        now = self.client.deadlines.now()
        if not self.placed_at:  # what further attempts take counts as connecting, as in HAProxy's %Tc
            self.placed_at = now
        server.last_placed = now
        kind = self._kind()
        pool = server.pool
        connection = pool.acquire(kind) if kind != NEW else self._own(pool)
        if connection is not None:
            self._was_idle = True
            self.connected = now
            self._send(connection)
        else:
            self._was_idle = False
            self.state = CONNECTING
            assert self.backend is not None
            timeout = self.backend.settings.timeouts.connect
            self._await(None if timeout is None else timeout + CONNECT_SLACK)
            pool.wait(self, kind)

    def connection_ready(self, connection: ServerConnection) -> None:
        self._was_idle = connection.requests > 0
        self.connected = self.client.deadlines.now()
        self._send(connection)

    def connection_failed(self, failure: DialFailure) -> None:
        server = self.server
        assert server is not None and self.backend is not None
        if not self._try_again(DIAL_FAILED, False):
            server.traffic.econ += 1
            self.backend.traffic.econ += 1
            self.fail(503, "sC" if failure.timed_out else "SC")

    def deadline_passed(self) -> None:
        """`timeout queue` is over, or `timeout connect` while too many waited for connections."""
        if self.state == QUEUED:
            self._unplaced("sQ")
        elif self.state == CONNECTING and self.server is not None:
            self.server.pool.leave(self)
            self.connection_failed(DialFailure("connection", "others wait, too", timed_out=True))

    # What its server connection calls.

    def may_repeat(self) -> bool:
        return self._may(SERVER_GONE, False)

    def response_interim(self, head: ResponseHead) -> None:
        # RFC 9110 section 15.2: never to an HTTP/1.0 client.
        if self.framed and head.status != 101:
            self.client.write(head.block + b"\r\n")
        elif head.status == 101:
            # Nobody asked to switch: Upgrade does not go on yet.
            connection = self.connection
            assert connection is not None
            connection.give_up("unasked 101")
            self.server_lost(SERVER_FAULT, "unasked 101", True)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        if not self._request_ended:
            self.client.last = True
        data = self._response(head, body)
        self.connection = None
        self._end(last=data)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        self.state = ANSWERING
        data = self._response(head, data)
        self.bytes_out = len(data)
        self.client.write(data)

    def response_data(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.client.write(data)

    def response_ended(self) -> None:
        self.connection = None
        self._end()

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        self.connection = None
        server = self.server
        assert server is not None and self.backend is not None
        if whose not in UNSEEN:
            server.traffic.eresp += 1
            self.backend.traffic.eresp += 1
        raced = self._was_idle and not answered and whose in (SERVER_GONE, UNTOUCHED)
        if self.state != ANSWERING and self._try_again(whose, answered):
            server.pool.counters.races_repeated += raced
            return
        server.pool.counters.races_lost += raced
        if whose in UNSEEN:
            server.traffic.econ += 1
            self.backend.traffic.econ += 1
        flags = _WHOSE_FLAGS[whose]
        if whose == SERVER_SLOW and not self._request_ended:
            flags = "sD"
        if self.state == ANSWERING:
            flags = flags[0] + "D"
            server.traffic.srv_abrt += 1
            self.backend.traffic.srv_abrt += 1
        self.fail(_WHOSE_STATUS[whose], flags)

    def break_off(self) -> None:
        client = self.client
        try:
            self.fail(500, "ID" if self.state == ANSWERING else "IH")
        finally:
            if client.is_left_by(self):
                client.transport.abort(BROKEN)

    def pause_request(self) -> None:
        self.client.pause_request()

    def resume_request(self) -> None:
        self.client.resume_request()

    # Its own affairs.

    def _client_aborts(self, flag: str) -> str:
        """Count an exchange that its client does not let end; its flags in the log."""
        assert self.backend is not None
        self.backend.traffic.cli_abrt += 1
        if self.server is not None:
            self.server.traffic.cli_abrt += 1
        return flag + ("D" if self.state == SENT and not self._request_ended else self.phase)

    def _kind(self) -> int:
        """What connection it may be given: HAProxy's table for `http-reuse`, and our own rule where that is unset."""
        backend = self.backend
        assert backend is not None
        mode = backend.settings.http_reuse
        if self._raced:
            # Whatever has stood idle may have ended with the first: a restart ends them all.
            return NEW
        if mode is None:
            return ANY if self.method in IDEMPOTENT else FRESH
        if mode == "always" or (mode != "never" and self.client.requests > 1):
            return ANY
        return SAFE if mode == "aggressive" else NEW

    def _own(self, pool: HTTPConnectionPool) -> ServerConnection | None:
        """`http-reuse never`: the connection that this client's last exchange there has left, if it stands yet."""
        for connection in self.client.kept or ():
            if connection.pool is pool and connection.state == IDLE:
                # The pool gives the newest to whoever takes any, which nobody else does in such a backend.
                pool.idle.remove(connection)
                pool.idle.append(connection)
                return pool.acquire(ANY)
        return pool.acquire(NEW)

    def _choose(self, avoid: Server | None) -> None:
        self.state = QUEUED
        assert self.backend is not None
        if not self.backend.choose(self, avoid):
            self._unplaced("SC")
        elif self.state == QUEUED:
            self.queued_behind += len(self.backend.queue) - 1
            self._await(self.backend.settings.timeouts.queue)

    def _unplaced(self, flags: str) -> None:
        """No server has taken it."""
        assert self.backend is not None
        self.backend.traffic.econ += 1
        self.fail(503, flags)

    def _await(self, timeout: float | None) -> None:
        deadlines = self.client.deadlines
        if timeout is None:
            deadlines.cancel(self)
        else:
            deadlines.watch(self, deadlines.now() + timeout)

    def _send(self, connection: ServerConnection) -> None:
        backend = self.backend
        assert backend is not None
        if self.slot:
            self.client.deadlines.cancel(self)
        self.state = SENT
        self.connection = connection
        request = self._request
        if self._more:
            request += b"".join(self._more)
        if connection.requests:
            connection.safe = True  # HAProxy's manual: it has been reused, so the server is known to bear it
        if self.client.frontend.server_closes:
            connection.retire_at = -inf
        elif backend.settings.http_reuse == "never":
            self.client.keep(connection)
        if len(request) > HELD_MAX:
            self._drop_held()
        if not self._request_ended:
            self.client.resume_request()  # before sending, which may pause it
        connection.send(self, request, self._request_ended, backend.settings.timeouts.server)

    def _hold(self, data: bytes, wait: bool) -> None:
        """Keep this piece of the body: to send it later (`wait`), or perhaps again."""
        if self._more is None:
            self._more = []
        self._more.append(data)
        if self.bytes_in > HELD_MAX:
            if wait:
                self.client.pause_request()
            else:
                self._drop_held()

    def _drop_held(self) -> None:
        self._held = False
        self._more = None
        self._request = b""

    def _may(self, failure: str, answered: bool) -> bool:
        return may_retry(
            failure,
            method=self.method,
            was_idle=self._was_idle,
            answered=answered,
            held=self._held,
            retried=self._raced,
        )

    def _try_again(self, failure: str, answered: bool) -> bool:
        """Whether another attempt has begun."""
        backend, server = self.backend, self.server
        assert backend is not None and server is not None
        again = self._may(failure, answered)
        race = failure == SERVER_GONE or (failure == UNTOUCHED and self._was_idle and not self._raced)
        if not again or (not race and self.retries >= backend.settings.retries):
            return False
        self.retries += 1
        self.connected = 0.0
        self._raced = self._raced or race
        avoid = None
        if backend.settings.redispatch and self.retries == backend.settings.retries:
            avoid = server
            self.redispatched = True
            server.traffic.wredis += 1
            backend.traffic.wredis += 1
        else:  # HAProxy counts an attempt as one or the other
            server.traffic.wretr += 1
            backend.traffic.wretr += 1
        if avoid is not None or not server.usable:
            self.server = None
            backend.done(server)
            self._choose(avoid)
        else:
            self.placed(server)
        return True

    def _response(self, head: ResponseHead, body: bytes) -> bytes:
        """The bytes for the client: the head with what this hop has to say, and the body."""
        self.status = status = head.status
        self.answered = self.client.deadlines.now()
        server = self.server
        assert server is not None
        number = status // 100 if status < 600 else 0
        server.traffic.hrsp[number] += 1
        client = self.client
        if not self.framed and head.length == 0 and head.values(b"Transfer-Encoding"):
            # An answer to HEAD, or a 304: RFC 9112 section 6.1, never to an HTTP/1.0 client.
            head.block = head.without_chunked()
        if head.length < 0 and (head.length != CHUNKED or not self.framed):
            client.last = self._until_close = True  # or chunked for one who cannot read it
            if head.length == CHUNKED:
                return b"".join((head.without_chunked(), b"connection: close\r\n\r\n", body))
        if client.last:
            return b"".join((head.block, b"connection: close\r\n\r\n", body))
        if not self.framed:
            return b"".join((head.block, b"connection: keep-alive\r\n\r\n", body))
        return b"".join((head.block, b"\r\n", body))

    def _let_go(self, reason: str) -> None:
        """Leave wherever it waits, and the connection it uses."""
        if self.state == QUEUED and self.backend is not None and self.server is None:
            if self in self.backend.queue:
                self.backend.leave(self)
        elif self.state == CONNECTING and self.server is not None:
            self.server.pool.leave(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.give_up(reason)

    def refused(self, status: int, flags: str, heard: bool) -> None:
        """The one step of an exchange that never begins: its request cannot be taken. `heard`: the client is there yet."""
        self.status = status
        self.flags = flags
        self._end(last=error_answer(status, self.method) if heard else b"", error=status)

    def answered_here(self, status: int, data: bytes) -> None:
        """The one step of an exchange that needs no server: the proxy itself has the answer, whole in `data`."""
        self.status = status
        self.flags = "LR"
        self.client.frontend.traffic.intercepted += 1
        self._end(last=data)

    def _end(self, last: bytes = b"", error: int = 0, broken: bool = False) -> None:
        """The only end. `last` are the answer's last bytes, `error` their status if they are our own, `broken`: the answer
        cannot be completed, and only a reset can tell the client."""
        self.state = ENDED
        client = self.client
        self.ended = client.deadlines.now()
        if self.slot:
            client.deadlines.cancel(self)
        if last:
            self.bytes_out = len(last)
        frontend, server, backend = client.frontend, self.server, self.backend
        frontend.count(self)
        if backend is not None:
            traffic = backend.traffic
            traffic.scur -= 1
            traffic.bin += self.bytes_in
            traffic.bout += self.bytes_out
            if self.status > 0:
                traffic.hrsp[self.status // 100 if self.status < 600 else 0] += 1
            if server is not None:
                server.traffic.bin += self.bytes_in
                server.traffic.bout += self.bytes_out
                backend.done(server)
        client.exchange_ended(self, last, error, broken)
