"""One persistent connection to a server: it carries one exchange at a time and judges itself at the end of each.

It turns bytes into a response head and body with `wire`, hands them to the exchange it serves, and knows when both
messages are over. Whether it then goes back to its pool or away is decided here, by what was seen on this connection
alone. It must never know clients, balancing or retries.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from reusedproxy.net.transport import BROKEN, OPEN, PEER_CLOSED, Transport
from reusedproxy.servers.reasons import LEFT_BEHIND, SERVER
from reusedproxy.wire.bodies import BodyFault, ChunkedBody, LengthBody, UntilCloseBody
from reusedproxy.wire.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    Limits,
    ResponseFault,
    ResponseHead,
    check_partial_response,
    find_head_end,
    read_response,
)

if TYPE_CHECKING:
    from reusedproxy.servers.pool import HTTPConnectionPool

# Where a connection stands with its pool; each is one of the pool's lists.
IDLE = 0
IN_USE = 1
RETIRING = 2
WATCHED = 3
PRIVATE = 4

# Whose doing it was that an exchange lost its connection.
SERVER_FAULT = "server"  # it broke the protocol: the answer cannot be trusted
SERVER_GONE = "gone"  # the connection ended
SERVER_SLOW = "slow"  # `timeout server` passed
REFUSED_LATE = "refused"  # TLS: the server refused our certificate after the handshake; it has processed nothing
UNTOUCHED = "untouched"  # it ended, or said something unasked, before any byte of the request had left us


class Exchange(Protocol):
    """What a connection serves. After `response_whole`, `response_ended` or `server_lost` it is not used any more."""

    method: bytes
    #: Whether the client takes chunked coding; if not, it gets the bare payload.
    framed: bool
    #: The client sends its body only when the server says 100, or after a while without.
    expects: bool

    def may_repeat(self) -> bool:
        """Whether it would be sent once more if the connection, which had stood idle, were lost without an answer."""

    def response_interim(self, head: ResponseHead) -> None:
        """A 1xx head has come; the real one follows."""

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        """From here on the server speaks another protocol, or for another (101, 2xx to CONNECT); `data` is of that."""

    def unwanted(self, status: int) -> bool:
        """Whether an answer with this status is as good as none, and the request will be sent once more."""

    def answer_unwanted(self, status: int) -> None:
        """Such an answer has come. The connection is free again already, or gone."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Head and all of the body came at once. The connection is free again already."""

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        """Head and the first of the body; more follows."""

    def response_data(self, data: bytes) -> None: ...

    def response_ended(self) -> None:
        """The body is complete. The connection is free again already."""

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        """The connection is no more. `answered`: some byte of a response had come on it for this request."""

    def break_off(self) -> None:
        """One of these calls has failed by our own fault; the connection has nothing to do with it any more."""

    def pause_request(self) -> None:
        """The server takes no more bytes for now."""

    def resume_request(self) -> None: ...


class ServerConnection:
    """One connection of a pool. `state` is IDLE, IN_USE, WATCHED, PRIVATE or RETIRING, and moved by the pool only.

    `requests` counts those sent on it; `idle_since` is when it became idle, `idle_last` and `idle_longest` for how long it had
    been when it was taken for its last request, and at most; `safe` says that it has been reused once, so that its server is known to bear it (HAProxy's `http-reuse aggressive`); `retire_at` is when
    its life is over (-inf: after this one request).
    """

    _log = Logger()

    __slots__ = (
        "_answered",
        "_body",
        "_continue_due",
        "_given",
        "_head",
        "_left",
        "_limits",
        "_received",
        "_request_ended",
        "_rested",
        "_searched",
        "_timeout",
        "born",
        "deadline",
        "exchange",
        "idle_last",
        "idle_longest",
        "idle_since",
        "number",
        "pool",
        "private",
        "proof_at",
        "requests",
        "retire_at",
        "safe",
        "slot",
        "state",
        "took",
        "transport",
        "watch_until",
    )

    def __init__(
        self, pool: HTTPConnectionPool, transport: Transport, now: float, limits: Limits, number: int, took: float
    ) -> None:
        """`number` is its place among those of its pool, `took` how many seconds it was opened in."""
        self.pool = pool
        self.number = number
        self.took = took
        self.transport = transport
        self.state = IDLE
        self.born = self.idle_since = now
        self.idle_last = self.idle_longest = 0.0
        self.retire_at = inf
        self.requests = 0
        self.safe = False
        #: It serves one client only, from now to its end.
        self.private = False
        #: The idle age beyond which nothing more is learned from watching it.
        self.watch_until = inf
        #: When it will have stood long enough for its handshake not to be refused any more.
        self.proof_at = now
        self.exchange: Exchange | None = None
        self.slot = 0.0
        self.deadline = inf
        self._limits = limits
        self._timeout: float | None = None
        self._received = b""
        self._searched = 0
        self._head: ResponseHead | None = None
        self._body: LengthBody | ChunkedBody | UntilCloseBody | None = None
        self._request_ended = False
        #: The server's 100 is waited for, with the request's body.
        self._continue_due = False
        #: The poller's batch in which its last answer ended.
        self._rested = -1
        self._answered = False
        #: Bytes of the request that the transport was given; those that it had not sent when it was last the server's turn
        #: to take them.
        self._given = self._left = 0
        transport.peer = self
        transport.resume_reading()

    @property
    def answered(self) -> bool:
        """Whether some byte has come for the last request that it carried."""
        return self._answered

    # What an exchange calls.

    def send(self, exchange: Exchange, data: bytes, ended: bool, timeout: float | None) -> None:
        """Begin an exchange: `data` is its head with the first of its body; `ended`: that is all of the request.

        `timeout` (`timeout server`, seconds; None: none) bounds each silence of the server when it is its turn.
        """
        self.exchange = exchange
        if self._rested == self.transport.batch and not self.transport.silent():
            # It was freed a moment ago, in this batch of events, so what came behind its last answer was not seen yet: it
            # must not be read as the next one's. (Later than in the same batch it would have been delivered.)
            self._answered = False
            self._given = 0
            self._lose(UNTOUCHED, "not silent when taken")
            return
        self.requests += 1
        self._request_ended = ended
        self._answered = False
        self._given = len(data)
        self._left = 0
        self._timeout = timeout
        self._continue_due = exchange.expects and not ended
        if ended or self._continue_due:
            self._expect()
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """More of the request's body."""
        self._given += len(data)
        if self._continue_due:
            self._continue_came()  # the client does not wait for it any more
        self.transport.write(data)

    def end_request(self) -> None:
        """All of the request has been written; the server's silence counts from here."""
        self._request_ended = True
        self._left = self.transport.unsent()
        self._expect()

    def pause_response(self) -> None:
        """Read no more for now; the server is not to blame for the silence."""
        self.deadline = inf
        self.transport.pause_reading()

    def resume_response(self) -> None:
        if self._request_ended or self._body is not None or self._continue_due:
            self._expect()
        self.transport.resume_reading()

    def take_back(self, reason: str, *, at_once: bool) -> None:
        """What was spoken in another protocol is over, and so is the connection."""
        self.transport.peer = self
        self.exchange = None
        self.pool.retire(self, reason, at_once=at_once)

    def give_up(self, reason: str) -> None:
        """The exchange wants no more of it, in the middle of whatever it was; it hears nothing further."""
        self.exchange = None
        self.pool.retire(self, reason, at_once=True)

    def _continue_came(self) -> None:
        """The client's turn to send its body."""
        self._continue_due = False
        self.deadline = inf

    def _expect(self) -> None:
        """It is the server's turn, for at most `timeout server`."""
        if self._timeout is not None:
            deadlines = self.pool.deadlines
            deadlines.watch(self, deadlines.now() + self._timeout)

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._unasked(data)
            return
        if not self._answered:
            if self._untouched():
                self._lose(UNTOUCHED, "unasked bytes")
                return
            self._answered = True
        if self._request_ended:
            if self._timeout is not None:
                self.deadline = self.pool.deadlines.now() + self._timeout
        elif self._body is not None or self._continue_due:
            self._expect()
        try:
            if self._body is None:
                self._read_head(exchange, data)
            else:
                self._read_body(exchange, data)
        except (ResponseFault, BodyFault) as fault:
            self.pool.invalid.note("", fault.reason, self._received or data)
            self._lose(SERVER_FAULT, str(fault))
        except Exception:
            # A programming error in one exchange is that one's end, not its client's endless wait.
            self._log.failure("an exchange ends by our own fault")
            if self.exchange is exchange:
                self.exchange = None
                self.pool.retire(self, BROKEN, at_once=True)
            exchange.break_off()

    def eof_received(self) -> None:
        """A server that has ended its side ends the connection: nothing more can be asked on it."""
        self._ended(PEER_CLOSED)

    def connection_lost(self, reason: str) -> None:
        try:
            if self.state != RETIRING:
                self._ended(reason)
        finally:
            # Whatever an exchange makes of it.
            self.pool.deadlines.cancel(self)
            self.pool.connection_gone(self)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self._left = self.transport.unsent()
            self._expect()
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            if not self._request_ended and self._body is None:
                self.deadline = inf
            self.exchange.resume_request()

    def deadline_passed(self) -> None:
        left = self.transport.unsent()
        if self.state == RETIRING:
            self.transport.abort("peer did not take the end")
        elif self.state == IDLE:
            self.pool.keeper.time_passed(self)
        elif self.state == WATCHED:
            self.pool.keeper.watched(self)
        elif 0 < left < self._left:
            # Slowly, but it takes what it is sent.
            self._left = left
            self._expect()
        elif self.exchange is not None:
            self._lose(SERVER_SLOW, "timeout server")

    # Reading a response.

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        if self._received:
            data = self._received = self._received + data
        while True:
            end = find_head_end(data, self._searched)
            if end < 0:
                self._received = data
                self._searched = len(data)
                check_partial_response(data, self._limits)
                return
            self._searched = 0
            head = read_response(data[:end], exchange.method, self._limits)
            self._received = b""
            if head.status >= 200:
                break
            data = data[end:]
            if head.status == 101:
                self._switch(exchange, head, data)
                return
            if head.status == 100 and self._continue_due:
                self._continue_came()
            exchange.response_interim(head)
            if self.exchange is not exchange:
                return
            if not data:
                self._received = data
                return
        if head.keep_alive_timeout is not None and self.pool.keeper.advertised(head.keep_alive_timeout) == 0:
            self.retire_at = -inf  # it will not take another request
        if head.status in (401, 407) and head.binds_connection:
            self.private = True
        if head.status == 408 and not head.keep_alive and self._request_ended and exchange.may_repeat():
            # RFC 9110 section 15.5.9: this is how servers end an idle connection, too; it has crossed our request.
            self._answered = False
            self._lose(SERVER_GONE, "server timed it out")
            return
        if head.status > 400 and exchange.unwanted(head.status):
            self._refuse(exchange, head, data, end)
            return
        length = head.length
        if length >= 0 and len(data) - end >= length:
            self._read_whole(exchange, head, data, end)
        else:
            self._start_body(exchange, head, data[end:])

    def _read_whole(self, exchange: Exchange, head: ResponseHead, data: bytes, end: int) -> None:
        whole = end + head.length
        self._finish(head.keep_alive, len(data) > whole)
        exchange.response_whole(head, data[end:whole])

    def _switch(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        """RFC 9110 sections 7.8 and 9.3.6. Nobody can say what belongs to which protocol if the request is not over."""
        if not self._request_ended or self.transport.unsent():
            raise ResponseFault("another protocol before the end of the request")
        self.deadline = inf
        exchange.response_switched(head, rest)

    def _refuse(self, exchange: Exchange, head: ResponseHead, data: bytes, end: int) -> None:
        """This answer goes nowhere; if all of it is here, its connection is as good as before."""
        if 0 <= head.length <= len(data) - end:
            self._finish(head.keep_alive, len(data) > end + head.length)
        else:
            self.exchange = None
            self.pool.retire(self, "answer not wanted", at_once=True)
        exchange.answer_unwanted(head.status)

    def _start_body(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        body: LengthBody | ChunkedBody | UntilCloseBody
        if head.length == CHUNKED:
            body = ChunkedBody(self._limits, framed=exchange.framed)
        elif head.length == UNTIL_CLOSE:
            if exchange.method == b"CONNECT":
                self._switch(exchange, head, rest)
                return
            body = UntilCloseBody(framed=exchange.framed)
        else:
            body = LengthBody(head.length)
        data, rest = body.feed(rest)
        if body.complete:
            self._finish(head.keep_alive, bool(rest))
            exchange.response_whole(head, data)
        else:
            self._head = head
            self._body = body
            if not self._request_ended:
                self._expect()
            exchange.response_started(head, data)

    def _read_body(self, exchange: Exchange, data: bytes) -> None:
        body, head = self._body, self._head
        assert body is not None and head is not None
        data, rest = body.feed(data)
        if body.complete:
            if data:
                # Before the connection is another's: the exchange may still pause it, or give it up.
                exchange.response_data(data)
                if self.exchange is not exchange:
                    return
            self._finish(head.keep_alive, bool(rest))
            exchange.response_ended()
        elif data:
            exchange.response_data(data)

    # Ends.

    def _finish(self, keep_alive: bool, more: bool) -> None:
        """The response is complete: go back to the pool, or away with the reason why not."""
        self.exchange = None
        self._body = self._head = None
        self.deadline = inf
        transport = self.transport
        # A request that still waits in our buffer has not ended either: the server has answered before it had all of it.
        request_ended = self._request_ended and not (transport.unsent() or transport.lost)
        if keep_alive and request_ended and not more and not transport.hung_up and transport.state == OPEN:
            transport.resume_reading()  # the client may have had it paused to the last
            self._rested = transport.batch
            self.pool.release(self)
        elif more:
            self.pool.retire(self, "bytes beyond the response")
        elif not request_ended:
            self.pool.retire(self, "response before the end of the request")
        elif keep_alive:
            self.pool.retire(self, LEFT_BEHIND, by=SERVER)
        else:
            self.pool.retire(self, "server asked to close")

    def _untouched(self) -> bool:
        """Whether all of the request is still with us, so that the server can have seen none of it."""
        return self.transport.unsent() + self.transport.lost == self._given

    def _unasked(self, data: bytes) -> None:
        """A server speaks on an idle connection only to say goodbye (RFC 9110 section 15.5.9: a 408, say), or in error."""
        if self.requests == 0 and data.startswith((b"HTTP/1.1 408", b"HTTP/1.0 408", b"HTTP/1.1 400", b"HTTP/1.0 400")):
            self.pool.keeper.closed_by_peer(self)
            self.pool.retire(self, "server timed it out unused", by=SERVER)
        else:
            self.pool.retire(self, "unasked bytes")

    def _ended(self, reason: str) -> None:
        """The server has ended the connection: the normal end of some bodies, otherwise a loss."""
        exchange = self.exchange
        if exchange is None:
            self.pool.lost(self, reason, self._answered)
            return
        body = self._body
        if isinstance(body, UntilCloseBody) and reason == PEER_CLOSED:
            last = body.finish()
            if last:
                exchange.response_data(last)
            if self.exchange is exchange:
                self._finish(False, False)
                exchange.response_ended()
        else:
            self._lose(SERVER_GONE, reason)

    def _lose(self, whose: str, reason: str) -> None:
        exchange = self.exchange
        assert exchange is not None
        self.exchange = None
        if whose == SERVER_GONE:
            untouched = self._untouched()
            if self.pool.lost(self, reason, self._answered):
                whose = REFUSED_LATE
            elif untouched:
                whose = UNTOUCHED
        else:
            self.pool.retire(self, reason, at_once=True)
        exchange.server_lost(whose, reason, self._answered)
