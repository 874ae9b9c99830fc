"""Reads requests from one client connection in order, and has at most one of them under way.

A connection turns bytes into request heads and bodies with `wire`, makes an exchange of each, writes what the exchange
answers, and decides whether the client may send another request. It owns the client's deadlines. Upward it knows
`owner.Owner` alone; exchanges know it as `exchanges.client.Client`. It must never know servers or pools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import ClassVar, Final

from twisted.logger import Logger

from reusedproxy.clients.owner import Owner
from reusedproxy.exchanges.client import Client
from reusedproxy.exchanges.error_pages import unasked
from reusedproxy.exchanges.exchange import ANSWERED, ANSWERING, Exchange
from reusedproxy.net.deadlines import SLOTS
from reusedproxy.net.listener import Listener
from reusedproxy.net.transport import BROKEN, HIGH_WATER, PEER_RESET, Transport, TransportOwner
from reusedproxy.sessions.session import Session
from reusedproxy.sessions.termination import STOPPED
from reusedproxy.tables.limiting import KnownEntry
from reusedproxy.tables.tracking import ERRORS, REQUESTS, count
from reusedproxy.wire.bodies import BodyFault, ChunkedBody, LengthBody
from reusedproxy.wire.heads import (
    EMPTY_LINE,
    RequestFault,
    RequestHead,
    check_partial,
    read_request,
    skip_empty_lines,
)

# The states of a client connection.
WAITING: Final = 0
READING: Final = 1
BUSY: Final = 2
ENDING: Final = 3
GONE: Final = 4

#: Most requests of one client that the proxy answers itself before other clients have their turn: a quarter of
#: a megabyte of pipelined requests for the statistics page kept everybody waiting for 1.5 s. A page ends the
#: turn: it takes milliseconds.
ANSWERS_AT_ONCE: Final = 8
#: Seconds of such answers after which other clients have their turn: rules that take long (`regsub` of a large header)
#: are at the expense of the client that sends such requests.
ANSWERS_FOR: Final = 0.002
#: Seconds that a client may take to notice our end.
NOTICE_FOR: Final = 2.0
#: A client whose request is not wanted to its end is read on nevertheless, because many read their answer only when
#: they have sent everything, and closing would destroy it (RFC 9112 section 9.6): for no longer than these seconds in
#: all (nginx's lingering_time and lingering_timeout), as long as it sends at least so many bytes within each of the
#: shorter times, and no more bytes than these in all. One that sends few is there to hold a place. Once the proxy
#: stops, the shorter time is all.
DRAIN_FOR: Final = 30.0
DRAIN_SILENCE: Final = 5.0
DRAIN_LEAST: Final = 4096
DRAIN_MAX: Final = 1 << 30
#: Seconds that a client which has just connected has for its request when the proxy stops or reloads.
FIRST_FOR: Final = 1.0


class ClientConnection(Client[Owner], TransportOwner):
    """Handles one connection from a client. `state` is one of these:

    WAITING  for a request, of which nothing has come
    READING  a head, of which some has come
    BUSY     an exchange is under way
    ENDING   what is left to send goes out, then the connection is closed
    GONE     the connection is closed

    `requests` counts the heads. `last` tells that the connection ends after the current exchange, and `last_because`
    why. In any state the connection may be blocked: the client does not take what it was sent, so none of its further
    requests is begun.
    """

    __slots__ = (
        "_began",
        "_blocked",
        "_body",
        "_buffer",
        "_drain_until",
        "_drained",
        "_eof",
        "_left",
        "_request_paused",
        "_searched",
        "_taking",
        "_turn_ends_at",
        "accepted",
        "address",
        "announced",
        "deadline",
        "deadlines",
        "destination",
        "exchange",
        "forwarded",
        "frontend",
        "handshake",
        "known_entry",
        "last",
        "last_because",
        "listener",
        "over_tls",
        "peer",
        "requests",
        "session",
        "since",
        "slot",
        "state",
        "straight",
        "transport",
    )

    _log: ClassVar[Logger] = Logger()

    def __init__(self, frontend: Owner, transport: Transport, address: tuple[str, int], listener: Listener) -> None:
        self.frontend = frontend
        self.transport = transport
        self.address = address
        self.deadlines = deadlines = frontend.deadlines
        self.state = WAITING
        self.requests = 0
        self.last = False
        self.last_because = ""
        self.exchange: Exchange | None = None
        #: The header line that tells servers who asks, or nothing.
        self.forwarded = frontend.forwarded(address) if frontend.forwards else b""
        self.slot = 0.0
        self.listener = listener
        #: The route of all its requests, where no rule and no page decides about them; None: its frontend is asked.
        passes = (
            frontend.pages or frontend.monitor is not None or frontend.routing is not None or frontend.counts_requests
        )
        self.straight = None if passes else frontend.default_route
        #: What its exchanges keep for those that follow; None: nothing so far.
        self.session: Session | None = None
        self.known_entry: KnownEntry | None = None
        #: The destination that a PROXY protocol header or a rule has named; None: the proxy itself.
        self.destination: tuple[str, int] | None = None
        self.announced: Mapping[int, Sequence[bytes]] | None = None
        self.peer: tuple[str, int] | None = None
        #: Seconds that its PROXY header and its TLS handshake have taken.
        self.handshake = 0.0
        #: It counts among the clients over TLS.
        self.over_tls = False
        self._buffer = b""
        self._searched = 0
        self._body: LengthBody | ChunkedBody | None = None
        self._eof = False
        self._taking = False
        #: The number of `requests` at which other clients have their turn.
        self._turn_ends_at = 0
        self._blocked = False
        #: The exchange takes no more of the body for now.
        self._request_paused = False
        #: Bytes that the client had not taken when its deadline was set.
        self._left = 0
        #: While draining: bytes drained when the deadline was set, and the time by which draining must end.
        self._drained = 0
        self._drain_until = 0.0
        self.accepted = self.since = self._began = now = deadlines.now()
        timeout = frontend.timeouts.http_request
        deadlines.watch(self, inf if timeout is None else now + timeout)
        transport.owner = self
        transport.resume_reading()

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Reads heads, as long as there are whole ones and each exchange has ended; or more of a body.

        What every request needs is in this one method, because each call costs as much as a small step here.
        """
        if self.state == WAITING and not self._blocked:
            now = self._began = self.deadlines.now()
        elif self.state == READING:
            now = self.deadlines.now()
            data = self._buffer + data
        else:
            if self._body is not None:
                self._read_body(data)
            elif self.state < ENDING:
                self._keep_early(self._buffer + data)
            return
        frontend = self.frontend
        limits = frontend.limits
        self._taking = True
        self._turn_ends_at = self.requests + ANSWERS_AT_ONCE
        until = 0.0
        try:
            while data and self.state < BUSY and not self._blocked and self.requests < self._turn_ends_at:
                if data[0] == 13:
                    data = data[skip_empty_lines(data) :]
                searched = self._searched
                end = data.find(EMPTY_LINE, searched - 3 if searched > 3 else 0) + 4
                if end < 4:
                    self._keep_partial(data)
                    return
                self._searched = 0
                self._buffer = b""
                head = read_request(data[:end], limits)
                self.state = BUSY
                self.requests += 1
                self.deadline = inf
                self.exchange = exchange = Exchange(self, head, self._began, now)
                frontend = self.frontend
                closing = frontend.closing
                # What a client sends behind CONNECT is for the tunnel, and is no request if there is none.
                if (closing or not head.keep_alive or head.method == b"CONNECT") and not self.last:
                    self.last = True
                    self.last_because = "frontend closes" if closing else "asked for by the request"
                rest = data[end:]
                body = b""
                if head.length:
                    body, rest = self._start_body(head, rest)
                if self._eof and not rest:
                    self.end_after("client closed its side")
                self._buffer = rest
                if self.straight is not None:
                    exchange.begin(self.straight, body, self._body is None)
                else:
                    try:
                        passes = (guard := frontend.guard) is not None and not guard(exchange)
                    except Exception:
                        passes = False  # the rules are run, and tell which of them fails
                    if passes:
                        default = frontend.default_route
                        assert default is not None
                        exchange.begin(default, body, self._body is None)
                    else:
                        frontend.route(exchange, body, self._body is None)
                if self.state != WAITING:
                    if self._buffer and len(self._buffer) > limits.max_head:
                        self.transport.pause_reading()
                    return
                data, self._buffer = self._buffer, b""
                if data:
                    now = self._began = self.deadlines.now()
                    if self.transport.unsent > HIGH_WATER:
                        # Many answers of our own in one batch: whether the client takes them must be known before the
                        # next.
                        self.transport.send_now()
                    until = until or now + ANSWERS_FOR
                    if now >= until:
                        self._turn_ends_at = self.requests
        except RequestFault as fault:
            self._capture(fault.reason, data)
            self._refuse(fault.status, "PR")
        else:
            if data and self._blocked:
                self._keep_early(data)
            elif data and self.state < BUSY:
                self._buffer = data
                self.transport.pause_reading()
                self.transport.line_up(self)
        finally:
            self._taking = False

    def eof_received(self) -> None:
        """Notes that the client will send nothing more. Whether its current request goes on, because it may have closed
        only its side, is for `option abortonclose` to say."""
        self._eof = True
        exchange = self.exchange
        if exchange is not None:
            if self._body is not None:
                self.end_after("client closed its side")
                exchange.client_ended()
            elif exchange.abandoned_with_the_client:
                self.end_after("client closed its side")
                exchange.client_left()
            elif not self._buffer:
                self.end_after("client closed its side")
        elif self.state == READING or not self._buffer:
            self._end_after_eof()

    def connection_lost(self, reason: str) -> None:
        was, self.state = self.state, GONE
        self.deadlines.cancel(self)
        if was == BUSY and self.exchange is not None:
            self.exchange.client_lost("K" if reason == STOPPED else "C")
        elif was == READING or (was == WAITING and reason == PEER_RESET and self._silence_counts):
            self._refuse(400, "CR")
        if self.session is not None:
            self.session.end()
        self.frontend.connection_gone(self, self.listener)

    def pause_writing(self) -> None:
        self._blocked = True
        self._left = self.transport.unsent
        self._give_time(self._patience)
        if self.exchange is not None:
            self.exchange.pause_response()

    def resume_writing(self) -> None:
        self._blocked = False
        timeouts = self.frontend.timeouts
        self.deadline = inf
        if self.exchange is not None:
            self._give_body_time()
            self.exchange.resume_response()
        elif self.state < BUSY:
            self._give_time(timeouts.http_keep_alive if self.state == WAITING else timeouts.http_request)
            self._go_on()

    def deadline_passed(self) -> None:
        if self._blocked or self.state == ENDING:
            self._look_at_reader()
        elif self.state == WAITING and self._buffer:
            pass  # its next request is here already, and is read when other clients have had their turn
        elif self.state == READING or (self.state == WAITING and self._silence_counts):
            self._refuse(408, "cR")
        elif self.state == WAITING:
            self._end("client silent", self._unlogged(408))
        elif self.exchange is not None:
            self.exchange.client_slow()

    def take_turn(self) -> None:
        """Goes on with the requests that have come, now that other clients have had their turn."""
        if self.state == WAITING and self._buffer and not self._blocked:
            self._go_on()

    # What its exchange calls.

    def end_after(self, reason: str) -> None:
        """Makes the current exchange, or the next one, the last: the client is told so, and the connection closed after
        its answer. The first reason counts."""
        if not self.last:
            self.last = True
            self.last_because = reason

    def log_early(self) -> None:
        """Writes the line of the log before the exchange has ended."""
        log, exchange = self.frontend.log, self.exchange
        if log is not None and exchange is not None:
            try:
                log(exchange)
            except Exception:
                # As at the end of an exchange, which does the same without a call.
                self._log.failure("a line of the access log failed")

    def count_unread(self) -> None:
        """Counts a request that could not be read."""
        self.frontend.traffic.ereq += 1
        if self.listener.traffic is not None:
            self.listener.traffic.ereq += 1

    def hide(self) -> None:
        """Makes the connection one of whose end the client will not hear."""
        self.transport.hide()

    def write(self, data: bytes) -> None:
        """Sends a part of the answer."""
        self.transport.write(data)

    def exchange_ended(self, last: bytes, error: int, broken: bool) -> None:
        """Ends the current exchange: writes its line of the access log, sends the answer's `last` bytes, and goes on
        with the client's next request. `error` is their status if the error is the proxy's own (0: none). `broken`
        tells that the client gets a reset."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        traffic = self.listener.traffic
        if traffic is not None:
            traffic.bin += exchange.bytes_in
            traffic.bout += exchange.bytes_out
        frontend = self.frontend
        log = frontend.log
        if log is not None:
            try:
                log(exchange)
            except Exception:
                # Whatever keeps a line from being written, the client gets its answer.
                self._log.failure("a line of the access log failed")
        if self.state != BUSY:
            return
        if broken:
            self.state = ENDING
            self.transport.abort("exchange broken off")
            return
        unread = self._body is not None
        if error or unread or self.last:
            # More may be on its way to us, also after a request that was refused: it must not reset the answer.
            coming = bool(self._buffer) or (error > 0 and error not in (502, 503, 504))
            drain = DRAIN_SILENCE if unread else NOTICE_FOR if coming else 0.0
            self._end("error" if error else self.last_because or "body not read", last, drain=drain)
            return
        self.state = WAITING
        self.since = exchange.ended
        if frontend.stopped:
            if last:
                self.transport.write(last)
                last = b""
            self._turn_ends_at = self.requests
            frontend.settle(self)
            if self.state != WAITING:
                return
        if exchange.applet:
            self._turn_ends_at = self.requests
        timeout = self.frontend.timeouts.http_keep_alive
        deadline = inf if timeout is None else exchange.ended + timeout
        if 0 < self.slot <= deadline * SLOTS:
            self.deadline = deadline
        else:
            self.deadlines.watch(self, deadline)
        if last:
            self.transport.write(last)
        if self.transport.pace is not None:
            self._await_pace()
        if self._buffer and not self._taking:
            self._go_on()

    def _await_pace(self) -> None:
        """Waits until all of the answer has been sent at its pace, before the next request is taken."""
        transport = self.transport
        transport.end_pace()
        transport.send_now()
        if transport.unsent and self.state == WAITING:
            transport.tell_when_sent()
            if not self._blocked:
                self.pause_writing()

    def abort_exchange(self, exchange: object) -> None:
        """Resets the connection if it is still busy with `exchange`, which has failed by an error of the proxy."""
        if self.state == BUSY and self.exchange in (exchange, None):
            self.transport.abort(BROKEN)

    @property
    def is_answered(self) -> bool:
        """Tells whether an answer is under way whose head is written: the client can be told nothing by it any more."""
        return self.exchange is not None and self.exchange.state in (ANSWERING, ANSWERED)

    @property
    def ended(self) -> bool:
        """Tells whether the client has closed its side."""
        return self._eof

    @property
    def may_ask_again(self) -> bool:
        """Tells whether another request may follow: all of this one has come, and it was not to be the last."""
        return self._body is None and not self.last

    def pause_request(self) -> None:
        """Stops reading the request's body, because the exchange takes no more for now. No time-out of the
        client's runs meanwhile."""
        if self._body is not None:
            self._request_paused = True
            self.transport.pause_reading(self._ended_ahead)
            if not self._blocked:
                self.deadline = inf

    def _ended_ahead(self, unread: int) -> None:
        """Handles the end of the client's side while its body is not read. A client that has left must not wait for a
        connection, nor use one up. So it counts as gone if the `unread` bytes cannot complete the body."""
        body, exchange = self._body, self.exchange
        if body is not None and unread < body.least and exchange is not None:
            self._eof = True
            exchange.client_lost("C")

    def resume_request(self) -> None:
        """Reads the request's body again."""
        self._request_paused = False
        if self._body is not None and not self._eof:
            self._give_body_time()
            self.transport.resume_reading()

    def continue_came(self) -> None:
        """Starts the client's time for the body, which the server asks for."""
        if not self._blocked:
            self._give_body_time()

    def lend(self) -> tuple[bytes, bool]:
        """Lends the transport to a tunnel. Returns the bytes that have come after the request, and whether the client
        has ended its side."""
        early, self._buffer = self._buffer, b""
        self.deadline = inf
        self.end_after("tunnel")
        return early, self._eof

    def take_back(self) -> None:
        """Takes the transport back from a tunnel, before the exchange ends."""
        self.transport.owner = self

    def finish(self, admitted: bool = True) -> None:
        """Ends the connection after the current exchange, or after that of a head that is coming. An idle one ends now;
        one that has not sent a request yet has `FIRST_FOR` seconds for it. One whose client would not be `admitted` any
        more ends now if no whole head has come: with Upgrade or CONNECT that head could be a tunnel without end."""
        self.end_after("proxy stopping")
        if self.state == READING and not admitted:
            self._refuse(408, "KR")
        elif self.state == WAITING and (self.requests or not admitted):
            self._end("proxy stopping")
        elif self.state == WAITING:
            # Its request is probably on its way, and closing now would answer it with a reset.
            self._give_time(FIRST_FOR)
        elif self.state == ENDING:
            self._drain_until = min(self._drain_until, self.deadlines.now() + DRAIN_SILENCE)

    def stand_for(self, address: tuple[str, int]) -> None:
        """Puts another address in the place of the client's, for all that it asks (`tcp-request session set-src`)."""
        if self.peer is None:
            self.peer = self.address
        self.address = address
        if self.frontend.forwards:
            self.forwarded = self.frontend.forwarded(address)

    def turn_away(self) -> None:
        """Ends the connection of a client that may not connect any more: after the current exchange, or now. Its last
        answer may still be on its way, and is not destroyed."""
        self.end_after("not let in any more")
        if self.state < BUSY and self.requests:
            self._end("not let in any more")
        elif self.state < BUSY:
            self.transport.abort("not let in any more")

    def move(self, frontend: Owner, once: bool) -> None:
        """Moves the connection to `frontend`, from the one that accepted it; with `once` for one more request. A partly
        received head is read on, and judged, there. While an exchange is under way nothing is moved: when it has ended,
        `settle` of the frontend that accepted it is asked."""
        if self.state not in (WAITING, READING):
            return
        if once:
            self.end_after("other certificates are shown now")
        self.frontend.let_go(self)
        self.frontend = frontend
        self.known_entry = None
        passes = (
            frontend.pages or frontend.monitor is not None or frontend.routing is not None or frontend.counts_requests
        )
        self.straight = None if passes else frontend.default_route
        self.forwarded = frontend.forwarded(self.address)
        frontend.take_over(self)

    def abort(self, reason: str) -> None:
        """Ends the connection now, whatever is under way."""
        self.transport.abort(reason)

    # Reading requests.

    def _keep_early(self, data: bytes) -> None:
        """Keeps requests that came while another was under way. Beyond a head's size of them, the client is not read
        from."""
        self._buffer = data
        if len(data) > self.frontend.limits.max_head:
            self.transport.pause_reading()

    def _keep_partial(self, data: bytes) -> None:
        if data:
            check_partial(data, self.frontend.limits, self._searched)
        else:
            self.state = WAITING
        if self.state == WAITING and data:
            self.state = READING
            timeout = self.frontend.timeouts.http_request
            # The first head's time counts from the connection: silence before it prolongs nothing.
            since = self._began if self.requests else self.accepted
            self.deadlines.watch(self, inf if timeout is None else since + timeout)
        self._buffer = data
        self._searched = len(data)

    def _go_on(self) -> None:
        """Reads the requests that came while another was under way."""
        data, self._buffer = self._buffer, b""
        if not self._eof:
            self.transport.resume_reading()
        self.data_received(data)
        if self._eof and not (self._buffer and self.state == WAITING):
            self._end_after_eof()

    # Reading bodies.

    def _start_body(self, head: RequestHead, data: bytes) -> tuple[bytes, bytes]:
        """Begins to read a body. Returns what has come of it, and what lies beyond its end."""
        length = head.length
        body = LengthBody(length) if length > 0 else self.frontend.chunked_body()
        try:
            data, rest = body.feed(data)
        except BodyFault as fault:
            raise RequestFault(str(fault)) from None
        if body.held:
            self._eof = False  # it is told again, behind what is held
            self._give_back(body)
        if not body.complete:
            if self._eof:
                raise RequestFault("ended in its body")
            self._body = body
            if data or not head.expect_continue:
                self._give_time(self._patience)
        return data, rest

    def _read_body(self, data: bytes) -> None:
        body, exchange = self._body, self.exchange
        assert body is not None and exchange is not None
        try:
            data, rest = body.feed(data)
        except BodyFault as fault:
            self._capture(fault.reason, data)
            self.count_unread()
            exchange.fail(400, "P" + exchange.phase)
            return
        if body.complete:
            self._body = None
            self._keep_early(rest)
            if not self._blocked:
                self.deadline = inf
        else:
            self._give_time(self._patience)
            if body.held:
                self._give_back(body)
        if data:
            exchange.request_data(data)
        if body.complete and self.exchange is exchange:
            exchange.request_ended()

    def _give_back(self, body: LengthBody | ChunkedBody) -> None:
        """Leaves the rest of many small chunks to the next turn."""
        assert isinstance(body, ChunkedBody)
        self.transport.give_back(body.held)
        body.held = b""

    # Ends.

    @property
    def _patience(self) -> float | None:
        """Returns for how many seconds the client may be silent within its request (`timeout client`)."""
        own = None if self.exchange is None else self.exchange.own_timeouts
        timeout = self.frontend.timeouts.client
        return timeout if own is None else own.get("client", timeout)

    @property
    def _time_to_take(self) -> float | None:
        """Returns for how many seconds the client may take nothing of what it was sent; while the connection ends, this
        is `client-fin` if that is set."""
        timeouts = self.frontend.timeouts
        return timeouts.client_fin if self.state == ENDING and timeouts.client_fin else self._patience

    @property
    def _silence_counts(self) -> bool:
        """Tells whether a client that sends nothing at all is logged."""
        settings = self.frontend.settings
        return self.requests == 0 and not self.last and not (settings.dontlognull or settings.ignores_probes)

    def _unlogged(self, status: int) -> bytes:
        """Returns the answer to a client that has sent nothing and is not logged. As HAProxy, the proxy answers on a
        new connection, not later."""
        settings = self.frontend.settings
        return b"" if self.requests or self.last or settings.ignores_probes else unasked(self.frontend.errors, status)

    def _give_time(self, timeout: float | None) -> None:
        """Sets the time by which the client must act, `timeout` seconds from now; None changes nothing."""
        if timeout is not None:
            self.deadlines.watch(self, self.deadlines.now() + timeout)

    def _give_body_time(self) -> None:
        """Sets the time for more of the body, if more is to come, the proxy reads it, and the client need not wait for
        the server's 100."""
        exchange = self.exchange
        if self._body is not None and not self._request_paused and not (exchange is not None and exchange.expects):
            self._give_time(self._patience)

    def _look_at_reader(self) -> None:
        """Gives more time to a client that has taken some of the answer, or sent what is drained; ends it otherwise."""
        left, drained = self.transport.unsent, self.transport.drained
        if 0 < left < self._left or self.transport.waits_for_pace:
            self._left = left
            self._drained = drained
            self._give_time(self._time_to_take or DRAIN_SILENCE)
        elif self._drained + DRAIN_LEAST <= drained < DRAIN_MAX and self.deadlines.now() < self._drain_until:
            self._drained = drained
            self._give_time(DRAIN_SILENCE)
        elif self.exchange is not None:
            self.exchange.client_lost("c")
        else:
            self.transport.abort("client did not take the end")

    def _end_after_eof(self) -> None:
        """Ends the connection after the client has closed its side: no exchange is under way, and no further
        request can come."""
        if self.state == READING or (self.state == WAITING and self._silence_counts):
            self._refuse(400, "CR")
        elif self.state == WAITING:
            self._end("client closed", self._unlogged(400))

    def _refuse(self, status: int, flags: str) -> None:
        """Refuses an invalid request, and ends the connection. A client that is gone is only logged."""
        heard = self.state != GONE
        if heard:
            self.state = BUSY
        self.end_after("request refused")
        self.count_unread()
        if self.session is not None and self.session.counters:
            count(None, self.session.counters, REQUESTS)
            if flags[0] in "PC":  # as in HAProxy, not for those that were only slow
                count(None, self.session.counters, ERRORS)
        self.exchange = exchange = self.exchange or Exchange(self, None, self._began, self.deadlines.now())
        exchange.refused(status, flags, heard)

    def _capture(self, reason: str, data: bytes) -> None:
        """Keeps what could not be read, for the operator."""
        host, port = self.address
        self.frontend.invalid.note(f"{host}:{port}" if port else host, reason, data)

    def _end(self, reason: str, data: bytes = b"", *, drain: float = 0.0) -> None:
        """Sends `data` and closes the connection. The client may take its time for it, within its time-out, as
        long as it goes on taking. With `drain`, what it sends meanwhile is read and dropped, and it may send
        nothing for so many seconds."""
        self.state = ENDING
        self._buffer = b""
        self._body = None
        transport = self.transport
        if data:
            transport.write(data)
        transport.close(reason, drain=drain > 0)
        if self.state != ENDING:
            return
        self._left = transport.unsent
        now = self.deadlines.now()
        self._drain_until = now + (DRAIN_SILENCE if self.frontend.closing else DRAIN_FOR)
        if drain and not self._blocked:
            timeout: float | None = drain
        else:
            timeouts = self.frontend.timeouts
            timeout = timeouts.client_fin or timeouts.client
        if timeout is None:
            return
        if 0 < self.slot <= (now + timeout) * SLOTS:
            self.deadline = now + timeout
        else:
            self.deadlines.watch(self, now + timeout)
