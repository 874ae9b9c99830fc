"""Carries exchanges on one persistent connection to a server, one at a time, and decides after each whether the
connection can carry another.

A connection turns bytes into a response head and body with `wire`, hands them to its exchange, and knows when both
messages are over. By what was seen on this connection alone it then goes back to its pool or is retired.
`ConnectionOwner` is all that it knows of its pool; it must never know clients, balancing or retries.
"""

from __future__ import annotations

from math import inf
from typing import ClassVar, Final

from twisted.logger import Logger

from reusedproxy.net.deadlines import SLOTS
from reusedproxy.net.transport import BROKEN, OPEN, PEER_CLOSED, Transport, TransportOwner
from reusedproxy.pool.owner import ConnectionOwner
from reusedproxy.pool.reasons import EARLY, LEFT_BEHIND, SERVER
from reusedproxy.pool.served import Exchange
from reusedproxy.pool.unfinished import Unfinished
from reusedproxy.wire.bodies import BodyFault, ChunkedBody, LengthBody, UntilCloseBody
from reusedproxy.wire.heads import (
    CHUNKED,
    EMPTY_LINE,
    UNTIL_CLOSE,
    Limits,
    ResponseFault,
    ResponseHead,
    check_partial_response,
    read_response,
)

# Where a connection stands with its pool; each is one of the pool's lists.
IDLE: Final = 0
IN_USE: Final = 1
RETIRING: Final = 2
WATCHED: Final = 3
PRIVATE: Final = 4

#: Seconds of grace for a closing connection's last bytes.
FLUSH: Final = 5.0
#: Interim answers passed on before others get their turn.
INTERIMS_AT_ONCE: Final = 16

# Whose doing it was that an exchange lost its connection.
SERVER_FAULT: Final = "server"  # it broke the protocol: the answer cannot be trusted
SERVER_GONE: Final = "gone"  # the connection ended
SERVER_SLOW: Final = "slow"  # `timeout server` passed
REFUSED_LATE: Final = "refused"  # TLS: the server refused our certificate after the handshake; it has processed nothing
UNTOUCHED: Final = "untouched"  # it ended, or said something unasked, before any byte of the request had left us

#: Bytes that are quoted of what a server says unasked, as the log shows them.
QUOTED: Final = 20

#: Interim answers (1xx) that a server may give to one request. 100 is said once and 103 a few times; 102, which
#: is there to say that the answer takes its time (RFC 2518 section 10.1), may also come once a second for as long
#: as that is.
INTERIMS: Final = 100


class ServerConnection(Unfinished, TransportOwner):
    """Carries the exchanges of one connection. `state` is IDLE, IN_USE, WATCHED, PRIVATE or RETIRING; only
    `Holdings` change it.

    `requests` counts the requests sent on it. `idle_since` is the time at which it became idle; `idle_last` and
    `idle_longest` are the seconds it had been idle when it was taken for its last request, and at most. `safe` tells
    that it has been reused once, so that its server is known to accept reuse (HAProxy's `http-reuse aggressive`).
    `retire_at` is the time at which its life ends (inf: never; -inf: after the current request).
    """

    _log: ClassVar[Logger] = Logger()

    #: Tells that it carries requests, one after the other; without that, what one client says (`pool.raw`).
    carries_requests: ClassVar[bool] = True

    __slots__ = (
        "_answered",
        "_body",
        "_given",
        "_head",
        "_interims",
        "_limits",
        "_received",
        "_rested",
        "_searched",
        "_timeout",
        "born",
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
        "watch_until",
    )

    def __init__(
        self,
        pool: ConnectionOwner[ServerConnection],
        transport: Transport,
        now: float,
        limits: Limits,
        number: int,
        took: float,
    ) -> None:
        """Takes over an open transport. `number` is the connection's place among those of its pool; `took` is how many
        seconds it took to open."""
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
        #: Tells that it serves a single client, from now to its end.
        self.private = False
        #: The idle age in seconds beyond which nothing more is learned from watching it.
        self.watch_until = inf
        #: When it will have stood long enough for its handshake not to be refused any more.
        self.proof_at = now
        self.exchange: Exchange | None = None
        #: The exchange whose answer is over while its request is still being sent; `exchange` is None then.
        self.uploader: Exchange | None = None
        self.slot = 0.0
        self.deadline = inf
        self._limits = limits
        self._timeout: float | None = None
        self._received = b""
        self._searched = 0
        self._head: ResponseHead | None = None
        self._body: LengthBody | ChunkedBody | UntilCloseBody | None = None
        self._request_ended = False
        #: The server's 100 (Continue) is awaited, and the body held back; or the final answer has come instead.
        self._continue_due = False
        #: The request (by `requests`) that was last answered with 1xx, how often, and since when.
        self._interims = (0, 0, 0.0)
        #: For `uploader`: its answer did not announce the end of the connection.
        self._kept = True
        #: A switch to another protocol that came before the end of the request, for which it waits; and what
        #: came behind it.
        self._switched: tuple[ResponseHead, bytes] | None = None
        #: The poller's batch in which its last answer ended.
        self._rested = -1
        self._answered = False
        #: Bytes of the request that the transport was given; those that it had not sent when it was last the server's
        #: turn to take them.
        self._given = self._left = 0
        transport.owner = self
        transport.resume_reading()

    @property
    def answered(self) -> bool:
        """Tells whether any byte of an answer to its last request has come."""
        return self._answered

    # What an exchange calls.

    def send(
        self, exchange: Exchange, data: bytes, ended: bool, timeout: float | None, now: float | None = None
    ) -> None:
        """Begins an exchange. `data` is the head with the first of the body; `ended` tells that it is the
        whole request.

        `timeout` (`timeout server`, seconds; None: none) bounds each silence of the server when it is its turn. `now`
        is the clock's time, for a caller that knows it.
        """
        self.exchange = exchange
        transport = self.transport
        if (self._rested >= transport.poller.batch or transport.lined_up) and not transport.silent():
            # It was freed a moment ago, in this batch of events or while it waits for its turn, so what came behind its
            # last answer was not seen yet: it must not be read as the next one's. (Later it would have been delivered.)
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
        self._continue_due = False
        if ended and timeout is not None and now is not None and 0 < self.slot <= (now + timeout) * SLOTS:
            self.deadline = now + timeout  # `_expect`, without two calls for each request
        elif ended:
            self._expect()
        elif exchange.expects:
            self._continue_due = True
            self._expect()
        transport.write(data)

    def write(self, data: bytes) -> None:
        """Sends more of the request's body."""
        if self._continue_due:
            if self._head is not None:
                # It has answered instead of asking for the body. Servers that do not say so, and then take the body for
                # their next request, exist ("Expect-based desync"): nothing of it goes there.
                return
            self._continue_came()  # the client does not wait for it any more
        self._given += len(data)
        self.transport.write(data)

    def end_request(self) -> None:
        """Ends the request, all of which has been written; the server's silence counts from here."""
        if self._continue_due:
            return  # see `write`
        self._request_ended = True
        if self.transport.pace is not None:
            self.transport.end_pace()
        if self.uploader is not None or self._switched is not None:
            self.transport.send_now()
            self._look_at_sent()
            return
        self._left = self.transport.unsent
        self._expect()
        if self.transport.pace is not None:
            self.end_pace()

    def end_pace(self) -> None:
        """Ends the pace of a request that has ended with its last byte. The server's silence counts from there."""
        transport = self.transport
        transport.end_pace()
        transport.send_now()
        if transport.unsent:
            transport.tell_when_sent()

    def pause_response(self) -> None:
        """Stops reading for now; the server's silence does not count meanwhile."""
        if self.uploader is not None:
            return  # all of it has come; what is looked for is the server's end
        self.deadline = inf
        self.transport.pause_reading()

    def resume_response(self) -> None:
        """Reads on; the server's silence counts again."""
        if self.uploader is not None or self._switched is not None:
            return
        if self._request_ended or self._body is not None or self._continue_due:
            self._expect()
        self.transport.resume_reading()

    def take_back(self, reason: str, *, at_once: bool) -> None:
        """Ends the connection when what was spoken on it in another protocol is over."""
        self.transport.owner = self
        self.exchange = None
        self.pool.retire(self, reason, at_once=at_once)

    def give_up(self, reason: str) -> None:
        """Ends the connection, whatever is under way on it. Its exchange, which asks for
        this, hears nothing further."""
        self.exchange = self.uploader = None
        self._switched = None
        self.pool.retire(self, reason, at_once=True)

    def _continue_came(self) -> None:
        """Stops waiting for 100 (Continue): the client may send its body."""
        self._continue_due = False
        self.deadline = inf

    def _expect(self) -> None:
        """Gives the server `timeout server` from now on, because it is its turn."""
        if self._timeout is not None:
            deadlines = self.pool.deadlines
            deadlines.watch(self, deadlines.now() + self._timeout)

    def give(self, seconds: float) -> None:
        """Gives the server so long for each further piece of its answer."""
        self._timeout = seconds
        if self._request_ended:
            self._expect()

    def end_wait(self) -> None:
        """Gives the server as long as it takes, until something else is expected of it."""
        self.deadline = inf

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self._unasked(data)
            return
        transport = self.transport
        if not self._answered:
            if transport.unsent + transport.lost == self._given:  # see `_untouched`
                self._lose(UNTOUCHED, "unasked bytes")
                return
            self._answered = True
        now, due = self.pool.deadlines.now(), self.deadline
        if self._request_ended:
            if self._timeout is not None:
                self.deadline = now + self._timeout
        elif self._body is not None or self._continue_due:
            self._expect()
        try:
            if self._body is not None:
                self._read_body(exchange, data, now)
                return
            end = 0 if self._received else data.find(EMPTY_LINE) + 4
            if end < 4:
                self._read_head(exchange, data, now, due)
                return
            head = read_response(data[:end], exchange.method, self._limits)
            came = len(data) - end
            if head.status < 200:
                self._read_head(exchange, data, now, due)
            elif head.status > 400 or head.keep_alive_timeout is not None or not 0 <= head.length <= came:
                self._answer(exchange, head, data, end, now)
            else:
                # As `_answer` does, in the usual case.
                body = data[end : end + head.length]
                self._finish(exchange, head.keep_alive, came > head.length, now)
                if self.uploader is None:
                    exchange.response_whole(head, body, now)
                else:
                    exchange.response_early(head, body)
        except (ResponseFault, BodyFault) as fault:
            self.pool.invalid.note("", fault.reason, self._received or data)
            self._lose(SERVER_FAULT, str(fault))
        except Exception:
            # A programming error in one exchange is that one's end, not its client's endless wait.
            self._log.failure("an exchange ends by our own fault")
            if exchange in (self.exchange, self.uploader):
                self.give_up(BROKEN)
            exchange.break_off()

    def eof_received(self) -> None:
        """Ends the connection, because the server has ended its side: nothing more can be asked on it."""
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
        exchange = self.exchange or self.uploader
        if exchange is not None:
            self._left = self.transport.unsent
            self._expect()
            exchange.pause_request()

    def resume_writing(self) -> None:
        exchange = self.exchange or self.uploader
        if exchange is None:
            return
        if not self._request_ended and self._body is None:
            self.deadline = inf
        if self._request_ended and (self.uploader is not None or self._switched is not None):
            self._look_at_sent()
        else:
            if self._request_ended and self.transport.reading:
                self._expect()
            exchange.resume_request()

    def deadline_passed(self) -> None:
        left = self.transport.unsent
        if self.state == RETIRING and self.transport.waits_for_pace:
            self.pool.deadlines.watch(self, self.pool.deadlines.now() + FLUSH)
        elif self.state == RETIRING:
            self.transport.abort("peer did not take the end")
        elif self.state == IDLE or self.state == WATCHED:
            self.pool.deadline_passed(self)
        elif self.transport.waits_for_pace and (self.exchange is not None or self.uploader is not None):
            self._left = left
            self._expect()
        elif 0 < left < self._left:
            # Slowly, but it takes what it is sent.
            self._left = left
            self._expect()
        elif self.exchange is not None:
            self._lose(SERVER_SLOW, "timeout server")
        elif self.uploader is not None:
            self._refuse_rest(SERVER_SLOW, "timeout server")

    # Reading a response.

    def _read_head(self, exchange: Exchange, data: bytes, now: float, due: float) -> None:
        """Reads a head that comes in pieces, and interim answers before the final one. A head is `due` as a whole when
        the server's silence would have been too long: its bytes renew nothing, but each whole interim answer does."""
        if self._received:
            data = self._received = self._received + data
        interims = 0
        while True:
            searched = self._searched
            end = data.find(EMPTY_LINE, searched - 3 if searched > 3 else 0) + 4
            if end < 4:
                self._received = data
                self._searched = len(data)
                check_partial_response(data, self._limits, searched)
                if not interims and due < self.deadline:
                    self.deadline = due
                return
            self._searched = 0
            head = read_response(data[:end], exchange.method, self._limits)
            self._received = b""
            if head.status >= 200:
                self._answer(exchange, head, data, end, now)
                return
            data = data[end:]
            if head.status == 101:
                self._switch(exchange, head, data)
                return
            if head.status == 100 and self._continue_due:
                self._continue_came()
            self._count_interim(head.status)
            exchange.response_interim(head)
            if self.exchange is not exchange:
                return
            if not data:
                self._received = data
                return
            interims += 1
            if interims == INTERIMS_AT_ONCE:
                self.transport.give_back(data)
                return

    def _answer(self, exchange: Exchange, head: ResponseHead, data: bytes, end: int, now: float) -> None:
        """Hands the final answer to the exchange: all of it if it is here, or its head, and the body as it comes."""
        if head.keep_alive_timeout is not None and self.pool.advertised(head.keep_alive_timeout) == 0:
            self.retire_at = -inf  # it will not take another request
        if head.status == 408 and not head.keep_alive and self._request_ended and exchange.may_repeat():
            # RFC 9110 section 15.5.9: this is how servers end an idle connection, too; it has crossed our request.
            self._answered = False
            self._lose(SERVER_GONE, "server timed it out")
            return
        if head.status > 400 and exchange.unwanted(head.status):
            self._refuse(exchange, head, data, end, now)
            return
        if head.status in (401, 407) and head.binds_connection and exchange.challenged():
            self.private = True
        length = head.length
        if length >= 0 and len(data) - end >= length:
            whole = end + length
            self._finish(exchange, head.keep_alive, len(data) > whole, now)
            if self.uploader is None:
                exchange.response_whole(head, data[end:whole], now)
            else:
                exchange.response_early(head, data[end:whole])
        else:
            self._start_body(exchange, head, data[end:], now)

    def _count_interim(self, status: int) -> None:
        """Bounds the number of interim answers, because each renews `timeout server`."""
        now = self.pool.deadlines.now()
        request, count, since = self._interims
        if request != self.requests:
            count, since = 0, now
        self._interims = self.requests, count + 1, since
        if count >= INTERIMS + (now - since if status == 102 else 0):
            raise ResponseFault("interim answers without end")

    def _switch(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        """Switches to another protocol at the end of the request, for which it waits if need be: the client's side
        switches only there (RFC 9110 sections 7.8 and 9.3.6)."""
        if self._continue_due:
            raise ResponseFault("another protocol in place of 100 Continue")  # section 7.8: 100 comes before 101
        self.deadline = inf
        transport = self.transport
        if self._request_ended and not transport.unsent:
            exchange.response_switched(head, rest)
            return
        transport.pause_reading()
        self._switched = head, rest
        if self._request_ended:
            transport.send_now()
            self._look_at_sent()
        elif transport.full:
            self._await_taking()

    def _refuse(self, exchange: Exchange, head: ResponseHead, data: bytes, end: int, now: float) -> None:
        """Drops an unwanted answer. A connection whose answer is here in full stays usable."""
        if 0 <= head.length <= len(data) - end:
            self._finish(exchange, head.keep_alive, len(data) > end + head.length, now)
            if self.uploader is not None:
                self.give_up("answer not wanted")  # all of the request goes to another now
        else:
            self.give_up("answer not wanted")
        exchange.answer_unwanted(head.status)

    def _start_body(self, exchange: Exchange, head: ResponseHead, rest: bytes, now: float) -> None:
        body: LengthBody | ChunkedBody | UntilCloseBody
        if head.length == CHUNKED:
            body = ChunkedBody(self._limits, framed=exchange.framed)
        elif head.length == UNTIL_CLOSE:
            if exchange.method == b"CONNECT" and head.status < 300:  # another has refused (RFC 9110 section 9.3.6)
                self._switch(exchange, head, rest)
                return
            body = UntilCloseBody(framed=exchange.framed)
        else:
            body = LengthBody(head.length)
        data, rest = body.feed(rest)
        if body.complete:
            self._finish(exchange, head.keep_alive, bool(rest), now)
            if self.uploader is None:
                exchange.response_whole(head, data, now)
            else:
                exchange.response_early(head, data)
        else:
            self._head = head
            self._body = body
            if body.held:
                self._give_back(body)
            if not self._request_ended:
                self._expect()
            exchange.response_started(head, data)

    def _read_body(self, exchange: Exchange, data: bytes, now: float) -> None:
        body, head = self._body, self._head
        assert body is not None and head is not None
        data, rest = body.feed(data)
        if body.complete:
            if data:
                # Before the connection is another's: the exchange may still pause it, or give it up.
                exchange.response_data(data)
                if self.exchange is not exchange:
                    return
            self._finish(exchange, head.keep_alive, bool(rest), now)
            if self.uploader is None:
                exchange.response_ended()
            else:
                exchange.response_early(None, b"")
            return
        if body.held:
            self._give_back(body)
        if data:
            exchange.response_data(data)

    def _give_back(self, body: LengthBody | ChunkedBody | UntilCloseBody) -> None:
        """Leaves the rest of many small chunks to the next turn."""
        assert isinstance(body, ChunkedBody)
        self.transport.give_back(body.held)
        body.held = b""

    # Ends.

    def _finish(self, exchange: Exchange, keep_alive: bool, more: bool, now: float) -> None:
        """Ends a complete response. The connection goes back to its pool, now or at the end of the request, or is
        retired with the reason why not."""
        self.exchange = None
        self._body = self._head = None
        self.deadline = inf
        transport = self.transport
        # A request that still waits in our buffer has not ended either: the server has answered before it
        # had all of it.
        request_ended = self._request_ended and not (transport.unsent or transport.lost)
        if keep_alive and request_ended and not more and not transport.hung_up and transport.state == OPEN:
            if not transport.reading:
                transport.resume_reading()  # the client has had it paused to the last
            self._rested = transport.poller.batch
            self.pool.release(self, now)
        elif more:
            self.pool.retire(self, "bytes beyond the response")
        elif not request_ended:
            if not self._takes_rest(exchange, keep_alive):
                self.pool.retire(self, EARLY)
        elif keep_alive:
            self.pool.retire(self, LEFT_BEHIND, by=SERVER)
        else:
            self.pool.retire(self, "server asked to close")

    def _rest(self) -> None:
        """Goes back to the pool, or is retired, when both messages are over."""
        self.uploader = None
        self.deadline = inf
        self._rested = self.transport.poller.batch
        if self._kept:
            self.pool.release(self)
        else:
            self.pool.retire(self, "server asked to close")

    def _refuse_rest(self, loss: str, reason: str) -> None:
        """Retires the connection when the rest of the request cannot be sent. The server has answered, so this is not
        counted as its failure."""
        uploader, self.uploader = self.uploader, None
        assert uploader is not None
        self.pool.retire(self, reason, at_once=True, by=SERVER)
        uploader.request_refused(loss if self._kept or loss != SERVER_GONE else None)

    def _untouched(self) -> bool:
        """Tells whether no byte of the request has been sent, so that the server cannot have seen any."""
        return self.transport.unsent + self.transport.lost == self._given

    def _unasked(self, data: bytes) -> None:
        """Retires a connection on which the server speaks without a request: it announces its end (a 408, say; RFC 9110
        section 15.5.9), or is in error."""
        if self.uploader is not None:
            self._refuse_rest(SERVER_FAULT, "bytes beyond the response")
        elif self.requests == 0 and data.startswith(
            (b"HTTP/1.1 408", b"HTTP/1.0 408", b"HTTP/1.1 400", b"HTTP/1.0 400")
        ):
            self.pool.closed_by_peer(self)
            self.pool.retire(self, "server timed it out unused", by=SERVER)
        elif self.requests == 0:
            # It speaks another protocol, as at a wrong port, or turns us away: each dial would be another of these.
            self.pool.invalid.note("", f"unasked, on a new connection: {_quoted(data)}", data)
            self.pool.lost(self, "unasked bytes")
        else:
            self.pool.retire(self, "unasked bytes")

    def _ended(self, reason: str) -> None:
        """Handles the end of the connection by the server: the normal end of some bodies, otherwise a loss."""
        exchange = self.exchange
        if exchange is None:
            if self.uploader is not None:
                self._refuse_rest(SERVER_GONE, EARLY)
            else:
                self.pool.lost(self, reason, self._answered)
            return
        body = self._body
        if isinstance(body, UntilCloseBody) and reason == PEER_CLOSED:
            last = body.finish()
            if last:
                exchange.response_data(last)
            if self.exchange is exchange:
                self.transport.hung_up = True  # also where TLS alone has ended: it takes nothing more
                self._finish(exchange, False, False, self.pool.deadlines.now())
                exchange.response_ended()
        else:
            self._lose(SERVER_GONE, reason)

    def _lose(self, loss: str, reason: str) -> None:
        """Retires the connection, and tells its exchange what kind of loss it was."""
        exchange = self.exchange
        assert exchange is not None
        self.exchange = None
        if loss == SERVER_GONE:
            untouched = self._untouched()
            if self.pool.lost(self, reason, self._answered):
                loss = REFUSED_LATE
            elif untouched:
                loss = UNTOUCHED
        else:
            self.pool.retire(self, reason, at_once=True)
        exchange.server_lost(loss, reason, self._answered)


def _quoted(data: bytes) -> str:
    """Returns the beginning of what a server has said, for the log. It is short: what follows, such as MySQL's numbers,
    may differ each time, and each kind of trouble has a line."""
    return f"{data[:QUOTED]!r}{'...' if len(data) > QUOTED else ''}"
