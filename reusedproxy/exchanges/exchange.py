"""One request and its response: from a client's head to the last byte of its answer, through one server or several tries.

An exchange stands between one client connection and one server connection. It asks its backend for a server, the
server's pool for a connection, sends the request, passes the answer on, tries again where `retry` allows it, and ends in
exactly one place, `_end`, with its numbers counted and one access-log line. It must never know sockets or grammar.
"""

from __future__ import annotations

from math import inf

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.queue import Queue
from reusedproxy.backends.server import Server
from reusedproxy.exchanges.attempt import ATTEMPTS_AT_ONCE, HELD_MAX, Attempts
from reusedproxy.exchanges.client import Client
from reusedproxy.exchanges.facts import ExchangeFacts
from reusedproxy.exchanges.heads import (
    ends_with_connection,
    request_head,
    response_head,
    switch_head,
    switches_as_asked,
)
from reusedproxy.exchanges.outcomes import ABORTS, CONNECTION, DATA, GONE, HEAD, QUEUE, client_lost, server_lost
from reusedproxy.exchanges.own_answers import KEEPING, error_answer
from reusedproxy.exchanges.retry import DIAL_FAILED, UNSEEN
from reusedproxy.exchanges.reuse import kind_of_connection
from reusedproxy.exchanges.route import Way
from reusedproxy.exchanges.tunnel import Tunnel, TunnelTimeouts
from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.connection import SERVER_FAULT, SERVER_GONE, UNTOUCHED, ServerConnection
from reusedproxy.pool.kinds import FRESH, NEW
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import RequestHead, ResponseHead

# The states of an exchange.
QUEUED = "queued"  # all servers are full
CONNECTING = "connecting"  # a server is chosen; its pool will give a connection
SENT = "sent"  # the request is going out; no answer yet
ANSWERING = "answering"  # the answer's head has gone to the client
ANSWERED = "answered"  # all of the answer has, and the rest of the request goes on to the server
TUNNEL = "tunnel"  # both sides have left HTTP
ENDED = "ended"

#: Seconds beyond `timeout connect` that a wait for a connection may last, so that a dial's own failure is heard first.
CONNECT_SLACK = 0.5


class Exchange(Attempts, ExchangeFacts):
    """One request and its response. `state` is QUEUED, CONNECTING, SENT, ANSWERING, ANSWERED, TUNNEL or ENDED.

    `flags` are the first two letters of HAProxy's termination state. Times are the clock's seconds, 0 when that point
    was not reached: `began` (first byte of the request), `read` (its head complete), `placed` (a server was chosen),
    `connected`, `answered` (head of the response), `ended`.
    """

    # Most exchanges never touch most of these; as class attributes they cost nothing.
    state = QUEUED
    connection: ServerConnection | None = None
    #: Of the connection that it uses, or waits for.
    pool: HTTPConnectionPool | None = None
    framed = True
    expects = False
    status = 0
    flags = "--"
    bytes_in = 0
    bytes_out = 0
    #: How it goes from its frontend to its backend.
    way: Way | None = None
    # Of `servers.queue.Placed`; and the server in whose own queue it ended its wait in vain.
    queue: Queue | None = None
    srv_queue = 0
    backend_queue = 0
    waited_for: Server | None = None
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
    _tunnel: Tunnel | None = None
    #: There are idle connections, but none that it may be given, so that it waits for a surer one.
    _spared = False

    def __init__(self, client: Client, head: RequestHead | None, began: float, read: float) -> None:
        """`head` is None for what could not be read; such an exchange is only `refused`."""
        self.client = client
        self.head = head
        self.began = began
        self.read = read
        if head is not None:
            self.method = head.method
            self.framed = head.minor > 0

    # What its client connection calls.

    def begin(self, way: Way, body: bytes, ended: bool) -> None:
        """Find a server for it. `body` is what has come of the body, `ended` whether that is all of it."""
        head = self.head
        assert head is not None
        self.way = way
        if head.upgrade is not None and head.length and not way.backend.settings.upgrade_with_body:
            # As HAProxy. uvicorn (httptools) takes such a body for its next request, which no rule has seen.
            head.upgrade = None
        client = self.client
        self.expects = head.expect_continue and not body
        forwarded = client.forwarded if way is client.frontend.way else way.forwarded(client.address)
        if forwarded and way.forward_unless and way.forwards_already(head):
            forwarded = b""
        self._request = request = request_head(head, forwarded, way.server_closes, body)
        self.bytes_in = len(request)
        if not ended:
            self._request_ended = False
        if self.backend is None:
            self.enter(way.backend)
        self._choose(None)

    def request_data(self, data: bytes) -> None:
        """More of the request's body."""
        self.bytes_in += len(data)
        self.expects = False
        connection = self.connection
        if self.held:
            self.hold(data)
            if self.bytes_in > HELD_MAX:
                if connection is None:
                    self.client.pause_request()
                else:
                    self.drop()
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
        # A client that sends no more has its answer, and may still be reading it.
        whole = self.state == ANSWERED and flag == "C"
        self._let_go("client gone")
        self._end(broken=not whole)

    def client_slow(self) -> None:
        """The client has not sent what is missing of its request in time."""
        self.fail(408, self._client_aborts("c"))

    def fail(self, status: int, flags: str) -> None:
        """Answer with an error of our own; an answer that has begun is broken off, and the client can tell."""
        if self.state == ENDED:
            return
        self._let_go("exchange failed")
        self.flags = flags
        if self.state in (ANSWERING, ANSWERED):
            self.client.end_after("answer broken off")
            self._end(broken=self._until_close and self.state == ANSWERING)
            return
        self.status = status
        keeps = status in KEEPING and self.framed and self.client.may_ask_again
        self._end(last=self._own(error_answer(status, self.method, close=not keeps)), error=0 if keeps else status)

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
        return {QUEUED: QUEUE, CONNECTING: CONNECTION, SENT: HEAD}.get(self.state, DATA)

    # What its backend and its pool call.

    def placed(self, server: Server) -> None:
        self.server = server
        now = self.client.deadlines.now()
        if not self.placed_at:  # what further attempts take counts as connecting, as in HAProxy's %Tc
            self.placed_at = now
        server.last_placed = now
        assert self.backend is not None
        settings = self.backend.settings
        kind = kind_of_connection(
            settings.http_reuse, settings.retry_on, self.method, first=self.client.requests == 1, raced=self.raced
        )
        pool = server.pool
        if server.naming is not None:
            self.state = CONNECTING
            named = server.pool_for(self)
            if isinstance(named, DialFailure):
                self.connection_failed(named)
                return
            pool = named
        self.pool = pool
        session = self.client.session
        connection = session.take(pool) if session is not None and session.private else None
        if connection is None and kind != NEW:
            connection = pool.acquire(kind)
        if connection is not None:
            self.was_idle = True
            self.connected = now
            self._send(connection)
        else:
            self.was_idle = False
            if pool.paused and not self.redispatched and self.backend.redispatches(1):
                # Its server refuses, and is tried again in a while; another one may take it now.
                self.state = CONNECTING
                self.connection_failed(DialFailure("connection", pool.trouble))
                return
            self.state = CONNECTING
            timeout = settings.timeouts.connect
            self._await(None if timeout is None else timeout + CONNECT_SLACK)
            self._spared = kind <= FRESH and bool(pool.idle)
            pool.wait(self, kind)

    def unplaceable(self) -> None:
        self._unplaced("SC")

    def go_to(self, backend: Backend) -> None:
        """`timeout queue` counts on from when it began to wait."""
        self._move(backend)
        if not backend.choose(self, None, self._bound_to()):
            if self.slot:
                backend.wait(self)
            else:
                self._unplaced("SC")

    def connection_ready(self, connection: ServerConnection) -> None:
        self.was_idle = connection.requests > 0
        self.connected = self.client.deadlines.now()
        if self._spared:
            self.avoided_race()
        self._send(connection)

    def connection_failed(self, failure: DialFailure) -> None:
        if self._try_again(DIAL_FAILED, False):
            return
        if failure.ours:  # HAProxy's manual, section 8.5: a local resource has been exhausted
            self.fail(503, "RC")
        else:
            self.count("econ")
            self.fail(503, "sC" if failure.timed_out else "SC")

    def deadline_passed(self) -> None:
        """`timeout queue` is over, or `timeout connect` while too many waited for connections; or it is its next turn to try."""
        if self.again:
            self._attempt()
        elif self.state == QUEUED:
            self._unplaced("sQ")
        elif self.state == CONNECTING and self.pool is not None:
            self.pool.leave(self, timed_out=True)
            self.connection_failed(DialFailure("connection", "others wait, too", timed_out=True))

    # What its server connection calls.

    def may_repeat(self) -> bool:
        return self.was_idle and self.may_retry(SERVER_GONE, False)

    def response_interim(self, head: ResponseHead) -> None:
        # RFC 9110 section 15.2: never to an HTTP/1.0 client.
        if self.framed:
            data = head.block + b"\r\n"
            self.bytes_out += len(data)
            if head.status == 100:
                self.expects = False
                self.client.continue_came()
            self.client.write(data)

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        request, connection, backend = self.head, self.connection, self.backend
        assert request is not None and connection is not None and backend is not None
        if head.status == 101 and not switches_as_asked(head, request):
            text = "unasked 101"
            if request.length and request.values(b"Upgrade"):
                text += " (Upgrade was not passed on, since there is a body: option http-upgrade-with-body)"
            connection.pool.invalid.note("", text, head.head)
            connection.give_up("unasked 101")
            self.server_lost(SERVER_FAULT, "unasked 101", True)
            return
        if self.answer_rules is not None and self._replaced(head):
            return
        self.state = TUNNEL
        client = self.client
        timeouts = TunnelTimeouts.of(client.frontend.timeouts, backend.settings.timeouts)
        self._count_answer(head)
        answer = switch_head(head)
        self.bytes_out += len(answer)
        client.write(answer)
        if self.state != TUNNEL:
            return  # the client was found gone
        early, ended = client.lend()
        self._tunnel = Tunnel(client.transport, connection.transport, timeouts, client.deadlines, self.tunnel_over)
        self._tunnel.start(early, data, ended)

    def tunnel_over(self, flags: str, broken: bool) -> None:
        """Both sides have ended, or one is gone."""
        tunnel, connection = self._tunnel, self.connection
        assert tunnel is not None and connection is not None
        self.bytes_in += tunnel.client.sent
        self.bytes_out += tunnel.server.sent
        self.flags = flags
        if flags[0] in ABORTS:
            self.count(ABORTS[flags[0]])
        self.connection = self._tunnel = None
        connection.take_back("tunnel over", at_once=broken)
        self.client.take_back()
        self._end(broken=broken)

    def unwanted(self, status: int) -> bool:
        assert self.backend is not None
        return str(status) in self.backend.settings.retry_on and self.may_retry(str(status), True)

    def answer_unwanted(self, status: int) -> None:
        self.connection = None
        self._try_again(str(status), True)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        if not self._request_ended:
            self.client.end_after("answered before its body")
        if self.answer_rules is not None and self._replaced(head, whole=True):
            return
        data = self._response(head) + body
        self.connection = None
        self._end(last=data)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        if self.expects and not self._request_ended:
            self.client.end_after("answered in place of 100")  # the body is not passed on any more
        if self.answer_rules is not None and self._replaced(head):
            return
        self.state = ANSWERING
        data = self._response(head) + data
        self.bytes_out += len(data)
        self.client.write(data)

    def response_data(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.client.write(data)

    def response_ended(self) -> None:
        self.connection = None
        self._end()

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        if head is not None and not head.keep_alive:
            # The server may close before it has taken all, and the rest has nowhere to go then.
            self.client.end_after("answered before its body")
        if head is None:
            self.state = ANSWERED
        elif self.answer_rules is None or not self._replaced(head):
            data = self._response(head) + body
            self.bytes_out += len(data)
            self.state = ANSWERED
            self.client.write(data)
        client = self.client
        if self.state == ANSWERED and client.last and (self._until_close or not client.transport.secure):
            # Who reads to the end need not send to the end first. But close_notify makes clients of TLS 1.2 give up what they
            # have not sent (RFC 5246 section 7.2.1), so that is said early only where the answer's end needs it.
            client.transport.end_writing()

    def request_sent(self) -> None:
        self.connection = None
        self._end()

    def request_refused(self, whose: str | None) -> None:
        self.connection = None
        if whose is not None:
            self.count("eresp")
            self.count("srv_abrt")
            _, self.flags = server_lost(whose, DATA, False)
        self._end()

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        self.connection = None
        server = self.server
        assert server is not None
        if whose not in UNSEEN:
            self.count("eresp")
        raced = self.was_idle and not answered and whose in (SERVER_GONE, UNTOUCHED)
        if raced:
            self.lost_race()
        if self.state != ANSWERING and self._try_again(whose, answered):
            server.pool.counters.races_repeated += raced
            return
        if whose in UNSEEN:
            self.count("econ")
        if self.state == ANSWERING:
            self.count("srv_abrt")
        self.fail(*server_lost(whose, self.phase, self._request_ended))

    def break_off(self) -> None:
        try:
            self.fail(500, "ID" if self.state in (ANSWERING, ANSWERED) else "IH")
        finally:
            self.client.abort_exchange(self)

    def pause_request(self) -> None:
        self.client.pause_request()

    def resume_request(self) -> None:
        self.client.resume_request()

    # Its own affairs.

    def _client_aborts(self, who: str) -> str:
        """Count an exchange that its client does not let end; its letters in the log."""
        if who in ABORTS:
            self.count(ABORTS[who])
        return client_lost(who, self.phase, self._request_ended)

    def _choose(self, avoid: Server | None) -> None:
        self.state = QUEUED
        assert self.backend is not None
        if not self.backend.choose(self, avoid, self._bound_to()):
            self._choose_later_one()
        elif self.state == QUEUED:
            self._await(self.backend.settings.timeouts.queue)

    def _choose_later_one(self) -> None:
        """Its backend has no server any more; a reload may have put another one in its place."""
        assert self.backend is not None
        successor = self.backend.successor
        if successor is None:
            self._unplaced("SC")
        else:
            self._move(successor)
            self._choose(None)

    def _move(self, backend: Backend) -> None:
        assert self.backend is not None
        self.backend.traffic.scur -= 1
        self.enter(backend)

    def _bound_to(self) -> Server | None:
        """The server that this client has authenticated a connection to: its next request must go there, too."""
        session, backend = self.client.session, self.backend
        if session is None or not session.private or backend is None or backend.settings.http_reuse == "never":
            return None
        return next((server for server in backend.servers if session.has_one_of(server.pool)), None)

    def _unplaced(self, flags: str) -> None:
        """No server has taken it."""
        if self.queue is not None and self.queue.server is not None:
            self.queue.server.traffic.add("econ")
        self.count("econ")
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
        request = self.all_held()
        if connection.requests:
            connection.safe = True  # HAProxy's manual: it has been reused, so the server is known to bear it
        if self.way is not None and self.way.server_closes:
            connection.retire_at = -inf
        elif (
            backend.settings.http_reuse == "never"
            or connection.pool.solo
            or (self.head is not None and self.head.binds_connection)
        ):
            connection.private = True
            if self.head is not None and self.head.upgrade is not None and self.head.length:
                connection.retire_at = -inf  # see `RequestHead.binds_connection`
        if connection.private:
            self._session().keep(connection)
        if not self._request_ended:
            self.client.resume_request()  # before sending, which may pause it
        connection.send(self, request, self._request_ended, backend.settings.timeouts.server)

    def _try_again(self, failure: str, answered: bool) -> bool:
        """Whether there is another attempt."""
        server = self.server
        if not self.grant(failure, answered):
            return False
        self.connected = 0.0
        self.avoided = server if self.redispatched else None
        if self.again is None:
            self._attempt()
        else:
            self.again = True  # one that has failed at once, within `_attempt`
        return True

    def _attempt(self) -> None:
        """Make another attempt, and further ones as long as each fails at once: here, and not each within the one before."""
        for _ in range(ATTEMPTS_AT_ONCE):
            self.again = False
            if self.server is None:
                self._choose(self.avoided)
            else:
                self.placed(self.server)
            if not self.again:
                self.again = None
                return
        self.state = CONNECTING
        self.pool = None
        self._await(0)  # others have their turn

    def _replaced(self, head: ResponseHead, whole: bool = False) -> bool:
        """Whether a rule answers in place of this, which goes nowhere then. `whole`: its connection is free already."""
        assert self.answer_rules is not None
        self.answer = head
        verdict = self.answer_rules(self)
        if verdict is None:
            return False
        if whole:
            self.connection = None
        self._let_go("answer replaced by a rule")
        self.answered_here(*verdict)
        return True

    def _response(self, head: ResponseHead) -> bytes:
        """The head for the client."""
        self._count_answer(head)
        client, framed = self.client, self.framed
        if ends_with_connection(head, framed):
            self._until_close = True
            client.end_after("answer without a length")
        return response_head(head, framed, client.last)

    def _count_answer(self, head: ResponseHead) -> None:
        self.status = status = head.status
        self.answered = self.client.deadlines.now()
        if status in (401, 407) and self.connection is not None and self.connection.private:
            self._session().keep(self.connection)
        server = self.server
        assert server is not None
        server.traffic.hrsp[status // 100 if status < 600 else 0] += 1

    def _let_go(self, reason: str) -> None:
        """Leave wherever it waits, and the connection it uses."""
        if self.queue is not None:
            self.waited_for = self.queue.server
            self.queue.leave(self)
        elif self.state == CONNECTING and self.pool is not None:
            self.pool.leave(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.give_up(reason)

    def refused(self, status: int, flags: str, heard: bool) -> None:
        """The one step of an exchange that never begins: its request cannot be taken. `heard`: the client is there yet."""
        self.status = status
        self.flags = flags
        self._end(last=error_answer(status, self.method) if heard else b"", error=status)

    def answered_here(self, status: int, data: bytes, flags: str = "LR") -> None:
        """The last step of an exchange that needs no server, or no more: the proxy itself has the answer, whole in `data`."""
        self.status = status
        self.flags = flags
        if flags[0] == "L":
            self.client.frontend.traffic.intercepted += 1
        self._end(last=self._own(data))

    def _own(self, answer: bytes) -> bytes:
        """With what rules make of it."""
        return answer if self.own_rules is None else self.own_rules(self, answer)

    def _end(self, last: bytes = b"", error: int = 0, broken: bool = False) -> None:
        """The only end. `last` are the answer's last bytes, `error` their status if they are our own, `broken`: the answer
        cannot be completed, and only a reset can tell the client."""
        self.state = ENDED
        client = self.client
        self.ended = client.deadlines.now()
        if self.slot:
            client.deadlines.cancel(self)
        if self.unsettled:
            self.settle(self.answered > 0, self.flags[0] in GONE)
        if last:
            self.bytes_out += len(last)
        client.frontend.count(self)
        if self.backend is not None:
            self.backend.count(self)
        client.exchange_ended(last, error, broken)
