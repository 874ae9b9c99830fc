"""Carries one request and its response: from a client's head to the last byte of the answer, through one or
several attempts.

An exchange stands between one client connection and one server connection. Its way, from top to bottom of this file:

    begin               takes its route to a backend, and makes an `Attempt`, which finds a server and sends the request
    response_*          passes on what the server answers; or `server_lost`, and perhaps another attempt
    fail, answered_here answers in the proxy's own name, at any point
    _end                is the only end: it counts, and lets the client go on with its next request

`attempt` handles what happens before the answer's head, and `failures` decides whether another attempt follows a
failure. `pool.connection` calls the `response_*` methods, which `pool.served.Exchange` describes; what rules and the
log may ask is in `facts.ExchangeFacts`. Upward an exchange knows `client.Client` alone. It must never know sockets or
grammar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.exchanges.attempt import HELD_MAX, SENT, Attempt, Request
from reusedproxy.exchanges.client import Client, ClientFrontend
from reusedproxy.exchanges.compression import Encoder
from reusedproxy.exchanges.counting import count_answer, count_failure, end_counting
from reusedproxy.exchanges.error_pages import error_of
from reusedproxy.exchanges.facts import ExchangeFacts
from reusedproxy.exchanges.failures import Failures
from reusedproxy.exchanges.heads import (
    CRLF,
    LAST,
    ends_with_connection,
    request_head,
    respelled,
    response_head,
    switch_head,
    switches_as_asked,
)
from reusedproxy.exchanges.hedged import HedgedAttempt
from reusedproxy.exchanges.outcomes import client_lost, server_lost
from reusedproxy.exchanges.own_answers import KEEPING, kept_alive
from reusedproxy.exchanges.retry import UNSEEN
from reusedproxy.exchanges.route import Route
from reusedproxy.exchanges.serving import Made, Serving
from reusedproxy.exchanges.sticking import fails_to_stick
from reusedproxy.exchanges.tunnel import Tunnel, TunnelTimeouts
from reusedproxy.exchanges.waiting import RULES, Gathering, Wait
from reusedproxy.exchanges.withheld import Verdict, Withheld
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.pacing import pace
from reusedproxy.pool.connection import SERVER_FAULT, SERVER_GONE, ServerConnection
from reusedproxy.rules.actions import ErrorPage
from reusedproxy.rules.steering import Held
from reusedproxy.sessions.client import session_of
from reusedproxy.sessions.termination import ABORTS, CONNECTION, DATA, GONE, QUEUE
from reusedproxy.tables.allowances import Allowance
from reusedproxy.wire.bodies import ChunkedBody, payload
from reusedproxy.wire.heads import CHUNKED, RequestHead, ResponseHead

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
#: More than there are rules.
LET_PASS: Final = 1 << 30
# The states of an exchange.
TRYING: Final = "trying"
ANSWERING: Final = "answering"
ANSWERED: Final = "answered"
TUNNEL: Final = "tunnel"
ENDED: Final = "ended"


class Exchange(Request):
    """Carries one request and its response. `state` is one of these:

    TRYING     nothing of an answer has gone to the client; `attempt.state` tells more, once there is an attempt
    ANSWERING  the answer's head has gone to the client
    ANSWERED   all of the answer has, and the rest of the request goes on to the server
    TUNNEL     both sides have left HTTP
    ENDED      all is over, counted and logged

    `flags` are the first two letters of HAProxy's termination state. Times are the clock's seconds, 0 when that point
    was not reached: `began` (first byte of the request), `read` (its head complete, and the body for
    which rules wait), `placed_at` (a server was chosen),
    `connected`, `answered` (head of the response), `ended`. `retries` counts the attempts after the first;
    `redispatched` tells that one of them went to another server on purpose.
    """

    # Most exchanges never touch most of these; as class attributes they cost nothing.
    state = TRYING
    framed = True
    expects = False
    #: The route from its frontend to its backend.
    route: Route | None = None
    #: What was decided of its bytes in mode tcp: its route (None: that is still to be chosen), and the number of the
    #: rule for contents with which these go on, `LET_PASS` behind all of them.
    led_to: Route | None = None
    looked = 0
    backend: Backend | None = None
    server: Server | None = None
    connection: ServerConnection | None = None
    #: The attempt that is under way, or has led to the answer; None: before the first, and after the end.
    attempt: Attempt | None = None
    #: None: no attempt has failed.
    failures: Failures | None = None
    #: All of the request has come; all of that is held, so that it can be sent again.
    complete = True
    held = True
    # For the log.
    status = 0
    flags = "--"
    bytes_in = 0
    bytes_out = 0
    retries = 0
    redispatched = False
    #: Of `hedging`: whether it was sent twice, and whether the second answer came first.
    hedged = 0
    # Of `backends.places.Placed`; and the server in whose own queue a wait has ended in vain.
    srv_queue = 0
    backend_queue = 0
    waited_for: Server | None = None
    placed_at = 0.0
    connected = 0.0
    answered = 0.0
    ended = 0.0
    #: The head for the server with the first of the body, as far as they are held; the rest of the body is in `more`.
    head_and_body = b""
    #: Only the end of the client's connection tells it that the answer is complete, so that an answer which is cut off
    #: has to end with a reset.
    _until_close = False
    _tunnel: Tunnel | None = None
    #: Encodes the answer's body (`compression`); None: it goes on as it comes.
    encoder: Encoder | None = None
    #: Holds the request back while its rules are run; None: nothing does.
    waiting: Wait | None = None
    interims = False
    #: What its frontend's guard has found out (`rules.ahead.Asked`).
    passed = 0
    found = 0
    #: Makes an answer of the proxy's own that takes more than one turn.
    serving: Serving | None = None
    #: Takes the whole body of a request that goes to no server.
    _collecting: Callable[[bytes | None], None] | None = None

    def __init__(self, client: Client[ClientFrontend], head: RequestHead | None, began: float, read: float) -> None:
        """Takes a request head; None if it could not be read. Without a head the exchange is only `refused`."""
        self.client = client
        self.began = began
        self.read = read
        if head is not None:
            self.head = head
            self.method = head.method
            self.framed = head.minor > 0

    # What its client connection calls.

    def begin(self, route: Route, body: bytes, ended: bool) -> None:
        """Sends the request to a server of the backend to which `route` leads. `body` is what has come of the body;
        `ended` tells that it is all of it."""
        head = self.head
        assert head is not None
        self.route = route
        if route.persistence is not None:
            route.persistence.receive(self)
        if route.sticking is not None and fails_to_stick(self, route.sticking):
            return
        if route.compressor is not None:
            route.compressor.begin(self)
        if head.upgrade is not None and head.length and not route.backend.settings.upgrade_with_body:
            # uvicorn (httptools) takes such a body for its next request, which no rule has seen.
            if self.client.frontend.has_rules:
                # Rules may have let the request in because of what the server would not get.
                self.fail(501, "PR")
                return
            head.upgrade = None
        client = self.client
        self.expects = head.expect_continue and not body
        if self.own_source is not None:
            forwarded = route.forwarded(self.own_source)
        else:
            forwarded = client.forwarded if route is client.frontend.default_route else route.forwarded(client.address)
        if forwarded and route.forward_unless and route.forwards_already(head):
            forwarded = b""
        if route.original_to:
            forwarded += route.destined(self.destination)
        if route.server_closes or head.te_trailers or head.upgrade is not None or head.minor == 0:
            self.head_and_body = request = request_head(head, forwarded, route.announces_close, body)
        else:
            self.head_and_body = request = b"%b%b\r\n%b" % (head.block, forwarded, body)
        self.bytes_in += len(request)  # more of the body may have come while it waited
        if not ended:
            self.complete = False
        if self.backend is None:
            # `enter`, without a call for each request.
            self.backend = backend = route.backend
            traffic = backend.traffic
            traffic.stot += 1
            traffic.req_tot += 1
            traffic.scur += 1
            if traffic.scur > traffic.smax:
                traffic.smax = traffic.scur
        # Not each attempt looks at this: only the first may be sent a second time.
        self.attempt = attempt = Attempt() if route.backend.hedging is None else HedgedAttempt()
        attempt.request = self
        attempt.start()
        if self.early:
            self.early = b""  # what holds it is `head_and_body`, as long as that is needed

    def request_data(self, data: bytes) -> None:
        """Passes on more of the request's body, or holds it."""
        self.bytes_in += len(data)
        self.expects = False
        connection = self.connection
        if self.held:
            self.hold(data)
            if self.bytes_in > HELD_MAX and self.bytes_in > self.client.frontend.limits.buffer:
                if self._collecting is not None:
                    self._collected(None)
                elif connection is None:
                    if self.waiting is None or not self.waiting.reads_body:
                        self.client.pause_request()
                else:
                    self.drop()
        if self.waiting is not None:
            self.waiting.body_came(data)
        elif connection is not None:
            connection.write(data)

    def request_ended(self) -> None:
        """Ends the request's body."""
        self.complete = True
        if self.connection is not None:
            self.connection.end_request()
        elif self._collecting is not None:
            self._collected(self.all_held())
        elif self.waiting is not None:
            self.waiting.body_came()

    def collect(self, body: bytes, ended: bool, then: Callable[[bytes | None], None]) -> None:
        """Calls `then` with the whole body of the request, without its framing, in place of sending it anywhere; with
        None if that is more than may be held. `ended` tells that `body` is all of it."""
        self._collecting = then
        self.bytes_in += len(body)
        self.head_and_body = body
        most = self.client.frontend.limits.buffer
        if ended or self.bytes_in > most:
            whole = self.all_held()  # more may have come while a password was checked
            self._collected(whole if len(whole) <= most else None)
            return
        assert self.head is not None
        self.complete = False
        if self.head.expect_continue and not body and self.framed:
            self.client.write(CONTINUE)

    def _collected(self, body: bytes | None) -> None:
        then, self._collecting = self._collecting, None
        assert then is not None
        if body is None:
            self.client.end_after("form too long")
        elif self.head is not None and self.head.length == CHUNKED:
            body = payload(ChunkedBody(framed=False), body)
        then(body)

    def client_lost(self, flag: str) -> None:
        """Ends the exchange, because the client is gone. `flag` is C (it left) or c (its time was over)."""
        if self.state == ENDED:
            return
        self.status = self.status or (400 if flag == "C" and self._stops_reading() else -1)
        self.flags = self._client_aborts(flag)
        # A client that sends no more has its answer, and may still be reading it.
        whole = self.state == ANSWERED and flag == "C"
        self._let_go("client gone")
        self._end(broken=not whole)

    @property
    def abandoned_with_the_client(self) -> bool:
        """Tells whether a client that closes its side has given up the request (`option abortonclose`). One whose
        password is being checked has not, so far: it is its backend that decides (`Routing._go_on`)."""
        if self.backend is None:
            return False
        abortonclose = self.backend.settings.abortonclose
        return self.waits if abortonclose is None else abortonclose

    def client_left(self) -> None:
        """Ends the exchange, because the client has given up its request by closing its side. The server's connection
        is closed and its place free at once. As in HAProxy, the answer to a request that a server has is 400, should
        the client still be there to read it."""
        if self.state != TRYING or self.waits:
            self.client_lost("C")
        else:
            self.fail(400, self._client_aborts("C"))

    def client_ended(self) -> None:
        """Ends the exchange, because the client has closed its side within the request."""
        if self._stops_reading():
            self.fail(400, self._client_aborts("C"))
        else:
            self.client_lost("C")

    def wait_for_body(self, seconds: float | None, body: Gathering, then: Callable[[], None]) -> None:
        """Has rules wait for so much of the request's `body`, which is being read until then, and calls `then`."""
        self.read = 0.0
        Wait(self, seconds, partial(self._body_came, then), body=body, late=self._body_slow)

    def _body_came(self, then: Callable[[], None]) -> None:
        self.read = self.client.deadlines.now()
        then()

    def _stops_reading(self) -> bool:
        """Tells whether the request was still being read, because rules wait for its body; then it is over now."""
        if self.waiting is None or not self.waiting.reads_body:
            return False
        self.read = self.client.deadlines.now()
        return True

    def _body_slow(self) -> None:
        """Ends the exchange, because the body for which rules wait has not come in time."""
        self.client.count_unread()
        self.fail(408, f"c{RULES}")

    def client_slow(self) -> None:
        """Ends the exchange, because the client has not sent the rest of its request in time."""
        if self.waiting is not None and self.waiting.reads_body:
            self._body_slow()
            return
        flags = self._client_aborts("c")
        # As in HAProxy: before it has a route, a request that is held back is still being read (R), not queued.
        self.fail(408, flags if self.route is not None else "cR")

    def fail(self, status: int, flags: str) -> None:
        """Ends the exchange with an error response of the proxy's own. An answer that has begun is broken off so that
        the client can tell."""
        if self.state == ENDED:
            return
        self.may_wait = False
        self._let_go("exchange failed")
        self.flags = flags
        if self.state in (ANSWERING, ANSWERED):
            self.client.end_after("answer broken off")
            self._end(broken=self._until_close and self.state == ANSWERING)
            return
        self.status = status
        self._count_unsent()
        keeps = status in KEEPING and self.client.may_ask_again
        answer, keeps = error_of(self, self.page_of(status), status, keeps)
        self._end(last=self._own(answer, keeps), error=0 if keeps else status)

    def limit_bandwidth(self, limit: Bandwidth, allowance: Allowance) -> None:
        """Limits what passes from now on, also the rest of a request that is being sent."""
        ExchangeFacts.limit_bandwidth(self, limit, allowance)
        if limit.incoming and self.connection is not None and not self.complete:
            self.pace_request(self.connection, 0)

    def pace_request(self, connection: ServerConnection, free: int) -> None:
        """Paces what goes to the server, but for the next `free` bytes."""
        assert self.limits_in is not None
        pace(connection.transport, (*self.limits_in.values(),), self.client.deadlines, free)

    def _pace_answer(self, free: int) -> None:
        assert self.limits_out is not None
        pace(self.client.transport, (*self.limits_out.values(),), self.client.deadlines, free)

    def server_marked(self, letter: str) -> None:
        """Ends the exchange, because its server has been marked down ("D"), or one that is no backup up ("U")."""
        if self.state == TUNNEL:
            if self._tunnel is not None:
                self._tunnel.cut(letter + DATA)
        elif self.state != ENDED:
            self.fail(503 if self.phase == CONNECTION else 502, letter + self.phase)

    def pause_response(self) -> None:
        """Stops reading the answer, because the client takes no more for now."""
        if self.connection is not None:
            self.connection.pause_response()

    def resume_response(self) -> None:
        if self.connection is not None:
            self.connection.resume_response()
        elif self.serving is not None:
            self.serving.go_on()

    @property
    def waits(self) -> bool:
        """Tells whether nothing of the request has been sent to a server yet."""
        return self.state == TRYING and (self.attempt is None or self.attempt.state != SENT)

    @property
    def tunnel(self) -> Tunnel | None:
        """Returns what carries bytes once both sides have left HTTP; None: they have not."""
        return self._tunnel

    @property
    def phase(self) -> str:
        """Returns the second letter of HAProxy's termination state."""
        if self.state != TRYING:
            return DATA
        if self.waiting is not None:
            return self.waiting.phase
        return QUEUE if self.attempt is None else self.attempt.phase

    # What its attempts call (`attempt.Request`): its backend, and what is held of it.

    def set_timeout(self, which: str, seconds: float) -> None:
        """Sets a time-out of this exchange, by HAProxy's word; that of a server that is answering from now on."""
        ExchangeFacts.set_timeout(self, which, seconds)
        connection = self.connection
        if which == "server" and connection is not None and connection.exchange is self:
            connection.give(seconds)

    def enter(self, backend: Backend) -> None:
        """Begins the request at this backend, and counts it there."""
        self.backend = backend
        traffic = backend.traffic
        traffic.stot += 1
        traffic.req_tot += 1
        traffic.scur += 1
        if traffic.scur > traffic.smax:
            traffic.smax = traffic.scur

    def move(self, backend: Backend) -> None:
        """Moves the request to another backend, which a reload has put in the place of its own."""
        if self.backend is not None:  # both count in the same place
            traffic = self.backend.traffic
            traffic.stot -= 1
            traffic.req_tot -= 1
            traffic.scur -= 1
        self.enter(backend)
        if self.binding is not None:
            self.binding = self.binding.at(backend.servers)

    def hold(self, data: bytes) -> None:
        """Keeps this piece of the body, to send it later or perhaps again."""
        if self.more is None:
            self.more = []
        self.more.append(data)

    def all_held(self) -> bytes:
        """Returns what has come of the request so far. If that is too much to hold on to, it is returned only once."""
        request = self.head_and_body
        if self.more:
            request += b"".join(self.more)
        if len(request) > self.client.frontend.limits.buffer:
            self.drop()
        return request

    def drop(self) -> None:
        """Drops the held request, which cannot be sent again then."""
        self.held = False
        self.more = None
        self.head_and_body = b""

    def count(self, what: str) -> None:
        """Adds one to this count of the backend, and of the server if one is chosen."""
        for counted in (self.backend, self.server):
            if counted is not None:
                counted.traffic.add(what)

    # What its server connection calls (`pool.served.Exchange` says when).

    def may_repeat(self) -> bool:
        """Tells whether the request would be sent again if this connection, which had stood
        idle, were lost unanswered."""
        attempt = self.attempt
        assert attempt is not None
        return attempt.was_idle and attempt.may_retry(SERVER_GONE, False)

    def response_interim(self, head: ResponseHead) -> None:
        self.interims = True
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
            if request.length and not backend.settings.upgrade_with_body:
                text += " (with a body, Upgrade is passed on by option http-upgrade-with-body alone)"
            connection.pool.invalid.note("", text, head.block + CRLF)
            connection.give_up("unasked 101")
            self.server_lost(SERVER_FAULT, "unasked 101", True)
            return
        self._count_answer(head)
        if self.answer_rules is not None:
            if self._replaced(head, None):
                return
            connection.end_wait()  # a rule may have set it a time for its answer, which is over
        self.state = TUNNEL
        client = self.client
        timeouts = self._tunnel_timeouts(backend)
        self.status = head.status
        self.answered = client.deadlines.now()
        answer = self._spelled(switch_head(head))
        self.bytes_out += len(answer)
        if self.limits_out is not None:
            self._pace_answer(len(answer))
        if self.limits_in is not None:
            self.pace_request(connection, 0)
        client.write(answer)
        if self.state != TUNNEL:
            return  # the client was found gone
        early, ended = client.lend()
        self._tunnel = Tunnel(client.transport, connection.transport, timeouts, client.deadlines, self.tunnel_over)
        self._tunnel.start(early, data, ended)

    def _tunnel_timeouts(self, backend: Backend) -> TunnelTimeouts:
        client, server = self.client.frontend.timeouts, backend.settings.timeouts
        if self.own_timeouts is not None:
            client = client.changed(self.own_timeouts)
            server = server.changed(self.own_timeouts)
        return TunnelTimeouts.of(client, server)

    def tunnel_over(self, flags: str, broken: bool) -> None:
        """Ends the exchange after its tunnel: both sides have ended, or one is gone."""
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
        """Tells whether an answer with this status counts as a failure, so that the request is sent once more."""
        assert self.backend is not None and self.attempt is not None
        return str(status) in self.backend.settings.retry_on and self.attempt.may_retry(str(status), True)

    def answer_unwanted(self, status: int) -> None:
        assert self.attempt is not None
        self.connection = None
        self.attempt.fails(str(status), True)

    def challenged(self) -> bool:
        assert self.connection is not None
        session_of(self.client).keep(self.connection)
        return True

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        if not self.complete:
            self.client.end_after("answered before its body")
        status, server = head.status, self.server
        assert server is not None
        # As `_count_answer` and, below, `_response` have it in the usual case, without three calls for each request.
        server.traffic.hrsp[status // 100 if status < 600 else 0] += 1
        if self.answer_rules is not None:
            if self._replaced(head, body, over=True, whole=True):
                return
            if self.encoder is not None:
                body = self.encoder.finish(body)
        client = self.client
        plain = self.framed and head.length >= 0 and self.encoder is None
        if plain and head.upgrade is None and client.frontend.spelling is None:
            self.status = head.status
            self.answered = now
            data = head.block + (LAST if client.last else CRLF) + body
        else:
            data = self._response(head, now) + body
        if self.limits_out is not None and body:
            self._pace_answer(len(data) - len(body))
        self.connection = None
        self._end(last=data, now=now)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        if self.expects and not self.complete:
            self.client.end_after("answered in place of 100")  # the body is not passed on any more
        status, server = head.status, self.server
        assert server is not None
        server.traffic.hrsp[status // 100 if status < 600 else 0] += 1  # as `_count_answer`
        if self.answer_rules is not None and self._replaced(head, data):
            return
        self._begin_answer(head, data)

    def _begin_answer(self, head: ResponseHead, data: bytes) -> None:
        """Passes on the head of an answer, and the first of its body."""
        self.state = ANSWERING
        if self.encoder is not None:
            data = self.encoder.add(data)
        line_and_fields = self._response(head, self.client.deadlines.now())
        if self.limits_out is not None:
            self._pace_answer(len(line_and_fields))
        data = line_and_fields + data
        self.bytes_out += len(data)
        self.client.write(data)

    def response_data(self, data: bytes) -> None:
        if self.withheld is not None:
            self.withheld.add(data)
            return
        if self.encoder is not None:
            data = self.encoder.add(data)
        self.bytes_out += len(data)
        self.client.write(data)

    def response_ended(self) -> None:
        self.connection = None
        if self.withheld is not None:
            self.withheld.end()
            return
        self._end(last=b"" if self.encoder is None else self.encoder.finish())

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        if head is not None and not head.keep_alive:
            # The server may close before it has taken all, and the rest has nowhere to go then.
            self.client.end_after("answered before its body")
        if head is not None:
            self._count_answer(head)
        if head is None and self.withheld is not None:
            self.withheld.uploading = True
            self.withheld.end()
        elif head is None:
            self.state = ANSWERED
            if self.encoder is not None:
                end = self.encoder.finish()
                self.bytes_out += len(end)
                self.client.write(end)
            self._end_early()
        elif self.answer_rules is None or not self._replaced(head, body, over=True):
            self._answer_early(head, body)
        elif self.withheld is not None:
            self.withheld.uploading = True

    def _answer_early(self, head: ResponseHead, body: bytes) -> None:
        """Passes on a whole answer while the request is still being sent."""
        if self.encoder is not None:
            body = self.encoder.finish(body)
        data = self._response(head, self.client.deadlines.now()) + body
        if self.limits_out is not None and body:
            self._pace_answer(len(data) - len(body))
        self.bytes_out += len(data)
        self.state = ANSWERED
        self.client.write(data)
        self._end_early()

    def _end_early(self) -> None:
        """Ends the client's side, if only that tells it that the answer is over."""
        client = self.client
        if self.state == ANSWERED and client.last and (self._until_close or not client.transport.secure):
            # Who reads to the end need not send to the end first. But close_notify makes clients of TLS 1.2 give
            # up what they have not sent (RFC 5246 section 7.2.1), so that is said early only where the answer's
            # end needs it.
            client.transport.end_writing()

    def request_sent(self) -> None:
        self.connection = None
        if self.withheld is not None:
            self.withheld.uploading = False
            return
        self._end()

    def request_refused(self, loss: str | None) -> None:
        self.connection = None
        if loss is not None:
            self.count("eresp")
            self.count("srv_abrt")
            _, self.flags = server_lost(loss, DATA, False)
        if self.withheld is not None:
            self.withheld.uploading = False
            return
        self._end()

    def server_lost(self, loss: str, reason: str, answered: bool) -> None:
        """Makes another attempt, or ends the exchange, because its connection is gone."""
        self.connection = None
        if self.withheld is not None:
            self.withheld.leave()
            self.withheld = None
        if loss not in UNSEEN:
            self.count("eresp")
        assert self.attempt is not None
        if self.state != ANSWERING and self.attempt.lost(loss, answered):
            return
        if loss in UNSEEN:
            self.count("econ")
        elif self.counters is not None:
            count_failure(self)
        if self.state == ANSWERING:
            self.count("srv_abrt")
        self.fail(*server_lost(loss, self.phase, self.complete))

    def break_off(self) -> None:
        try:
            self.fail(500, "ID" if self.state in (ANSWERING, ANSWERED) else "IH")
        finally:
            self.client.abort_exchange(self)

    def pause_request(self) -> None:
        self.client.pause_request()

    def resume_request(self) -> None:
        self.client.resume_request()

    # Answers and ends.

    def _client_aborts(self, who: str) -> str:
        """Counts an exchange cut short by its client, and returns the two letters of the termination state."""
        if who in ABORTS:
            self.count(ABORTS[who])
        return client_lost(who, self.phase, self.complete)

    def _replaced(self, head: ResponseHead, data: bytes | None, over: bool = False, whole: bool = False) -> bool:
        """Runs the rules for responses. Returns True if one has answered in place of the server, whose answer is
        dropped then, or has it held back. `data` is what has come of the body (None: it is no answer that could be held
        back), `over` tells that it is all, `whole` that the connection is free already."""
        assert self.answer_rules is not None
        self.answer = head
        if not self.framed:
            head.drop_chunked()  # before rules see what the client does not get
        self.arrived, self.arrived_whole = data, over
        if self.counters is not None and head.status >= self.client.frontend.judged_from:
            count_answer(self, head.status)
        verdict = self.answer_rules(self)
        self.arrived = None
        if verdict is None:
            self.withheld = None
            return False
        if whole:
            self.connection = None
        if not isinstance(verdict, Held):
            self._replace(verdict)
        return True

    def _replace(self, verdict: tuple[int, bytes, str]) -> None:
        """Ends the exchange with what a rule answers in place of the server."""
        self.encoder = self.withheld = None
        self._let_go("answer replaced by a rule")
        self.answered_here(*verdict)

    def withholds(self, held: Held, rules: Callable[..., Verdict]) -> bool:
        """Holds the answer back, and goes on with these rules later. Returns False if what is waited for is there."""
        if self.withheld is None:
            if self.arrived is None:
                return False
            assert self.answer is not None
            self.withheld = Withheld(
                self, self.answer, self.arrived, self.arrived_whole, self.client.frontend.limits.buffer
            )
        return self.withheld.waits(held, rules)

    def answer_goes_on(self, rules: Callable[..., Verdict]) -> None:
        """Runs the rules that are left for an answer that was held back, and does what they decide."""
        withheld = self.withheld
        assert withheld is not None
        verdict = rules(self)
        if isinstance(verdict, Held):
            return
        if verdict is not None:
            self._replace(verdict)
            return
        self.withheld = None
        if withheld.over and withheld.uploading:
            self._answer_early(withheld.head, withheld.data)
            return
        self._begin_answer(withheld.head, withheld.data)
        if self.state != ANSWERING:
            return  # the client was found gone
        if withheld.over:
            self.response_ended()
        elif withheld.paused:
            self.resume_response()

    def answer_late(self) -> None:
        """Ends the exchange, because the server has not sent enough of its answer in time (`wait-for-body`)."""
        if self.counters is not None:
            count_failure(self)
        self.fail(504, "sH")

    def _response(self, head: ResponseHead, now: float) -> bytes:
        """Returns the answer's head for the client."""
        client, framed = self.client, self.framed
        self.status = head.status
        self.answered = now
        if self.encoder is not None:
            self.encoder.announce(head)
        if ends_with_connection(head, framed):
            self._until_close = True
            client.end_after("answer without a length")
        return self._spelled(response_head(head, framed, client.last))

    def _spelled(self, message: bytes) -> bytes:
        """Returns a message to the client with the names of its headers as the client wants them."""
        names = self.client.frontend.spelling
        return message if names is None or not message else respelled(message, names)

    def _count_answer(self, head: ResponseHead) -> None:
        """Counts what the server has answered, whatever rules make of that."""
        status, server = head.status, self.server
        assert server is not None
        server.traffic.hrsp[status // 100 if status < 600 else 0] += 1

    def _let_go(self, reason: str) -> None:
        """Stops any wait, and gives up the connection that it uses."""
        if self.attempt is not None:
            self.attempt.leave()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.give_up(reason)
        serving, self.serving = self.serving, None
        if serving is not None:
            serving.stop()

    def refused(self, status: int, flags: str, heard: bool) -> None:
        """Ends an exchange whose request cannot be read, so that it never begins. `heard` tells that
        the client is still there."""
        self.status = status
        self.flags = flags
        page = error_of(self, self.page_of(status), status, False)[0] if heard else b""
        self._end(last=self._spelled(page), error=status)

    def page_of(self, status: int) -> ErrorPage | None:
        """Returns the page for errors with this status: its backend's, or else its frontend's; None: it has none."""
        backend, frontend = self.backend, self.client.frontend
        return (backend.errors.get(status) if backend is not None else None) or frontend.errors.get(status)

    def answered_here(self, status: int, data: bytes, flags: str = "LR", *, content: bytes | None = None) -> None:
        """Ends the exchange with an answer of the proxy's own, whole in `data`; no server is needed, or no more.
        `content` is what rules see of a service's, where that is not sent (HEAD)."""
        if self.service_rules is not None:
            if content is None:
                content = data[data.index(b"\r\n\r\n") + 4 :]
            status, data, _ = self._of_service(status, data, content)
        self._count_unsent()
        self.status = status
        self.flags = flags
        if flags == "LR":  # not what has taken the place of a server's answer
            self.client.frontend.traffic.intercepted += 1
        self._end(last=self._own(data, not self.client.last))

    def cut(self, silently: bool, status: int = -1, flags: str = "PR") -> None:
        """Ends the exchange and its client's connection without an answer; `silently`: the client hears nothing of
        that. `status` is for the log."""
        if silently:
            self.client.hide()
            if self.state == ENDED:
                return  # it was found gone
        self.may_wait = False
        self.client.end_after("dropped by a rule")
        self._count_unsent()
        self.status = status
        self.flags = flags
        self._end(broken=silently)  # of whom nothing is read any more, either

    @property
    def traffic_of_sections(self) -> Sequence[Traffic]:
        assert self.backend is not None
        return self.client.frontend.traffic, self.backend.traffic

    def send_hints(self) -> None:
        """Sends the 103 answer that rules have made (RFC 8297); never to an HTTP/1.0 client."""
        hints, self.hints = self.hints, b""
        if self.framed:
            data = b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % hints
            self.bytes_out += len(data)
            self.client.write(data)

    @property
    def deadlines(self) -> Deadlines:
        return self.client.deadlines

    def serve(self, made: Made) -> None:
        """Answers with what is made in pieces, and sends it as it comes."""
        self.serving = serving = Serving(self, made)
        serving.take_turn()

    def answer_begins(self, status: int, head: bytes, first: bytes) -> None:
        """Sends the head of an answer of the proxy's own that is not whole yet. The rest follows as that of a server's
        answer does (`response_data`, `response_ended`); `first` is what rules see of it."""
        if self.service_rules is not None:
            status, head, replaced = self._of_service(status, head, first)
            if replaced:
                self._let_go("answer replaced by a rule")
                self.answered_here(status, head)
                return
        self.state = ANSWERING
        self._count_unsent()
        self.status = status
        self.flags = "LR"
        self.client.frontend.traffic.intercepted += 1
        self._until_close = not self.framed
        data = self._own(head, False)
        if self.limits_out is not None:
            self._pace_answer(len(data))
        self.bytes_out += len(data)
        self.client.write(data)

    def _of_service(self, status: int, data: bytes, body: bytes) -> tuple[int, bytes, bool]:
        """Runs the rules for responses on an answer of a service, or its head alone, once; they see so much of its
        `body`. Returns what goes to the client, and whether that is an answer in its place."""
        rules, self.service_rules = self.service_rules, None
        assert rules is not None
        self.status, self.arrived = status, body
        made = rules(self, data)
        self.arrived = None
        return made

    def _count_unsent(self) -> None:
        """Counts the head of a request that was meant for no server; that of another counts as it is sent."""
        if self.route is None and self.head is not None:
            self.bytes_in += len(self.head.head)

    def _own(self, answer: bytes, keeps: bool) -> bytes:
        """Applies `http-after-response` to an answer of the proxy's own. `keeps` tells that the connection goes on."""
        if keeps and not self.framed:
            answer = kept_alive(answer)
        if self.own_rules is not None and answer:
            answer = self.own_rules(self, answer)
        return self._spelled(answer)

    def _end(self, last: bytes = b"", error: int = 0, broken: bool = False, now: float | None = None) -> None:
        """Ends the exchange; there is no other end. `last` are the answer's last bytes; `error` is their status
        if they are an error of the proxy's own. `broken` tells that the answer cannot be completed, and only a
        reset can tell the client. `now` is the clock's time, if it is known."""
        self.state = ENDED
        client = self.client
        if self.counters is not None:
            known = client.known_entry
            judged = self.status >= client.frontend.judged_from
            if known is None or known.counters is not self.counters or judged or known.table.journals:
                end_counting(self, self.counters, len(last), judged)
            else:
                known.uses[known.row] -= 1  # what that does for a limit, without a call for each request
        self.ended = client.deadlines.now() if now is None else now
        # The attempt and the failures refer back to the exchange: left to the garbage collector, each request would
        # stand in memory for a while.
        if self.waiting is not None:
            self.waiting.leave()
        if self.withheld is not None:
            self.withheld.leave()
            self.withheld = None
        attempt, self.attempt = self.attempt, None
        if attempt is not None and attempt.slot:
            client.deadlines.cancel(attempt)
        if self.failures is not None:
            self.failures.settle(self.answered > 0, self.flags[0] in GONE)
            self.failures = None
        if last:
            self.bytes_out += len(last)
        client.frontend.count(self)
        try:
            if self.backend is not None:
                # Gives the place to whoever waits for it. That comes first, so that the log has HAProxy's numbers, and
                # that the client's next request does not overtake those who wait.
                self.backend.request_ended(self)
        finally:
            client.exchange_ended(last, error, broken)
