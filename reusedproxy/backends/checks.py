"""Checks the health of servers: one checker for each server, one check at a time.

A check opens its own connection (and handshake), so that it proves that new ones can be made; it may send an HTTP
request and judge the status. Its connection may then go to the server's pool, where one is missing. A checker knows a
dialer, a clock and a server's thresholds; it reports UP or DOWN to a callback.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.server import DOWN, MAINT, UP, Server
from reusedproxy.config.model.proxies import Check, HTTPCheck
from reusedproxy.net.dial import Dial, Dialer, DialFailure, Target
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.transport import CLOSED, Transport
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.probe import Probe
from reusedproxy.wire.heads import Limits, ResponseFault, ResponseHead, find_head_end, read_response

#: What a check has found, in HAProxy's words (manual, "check_status"); the sentence is its log line's.
WORDS = {
    "INI": "Initializing",
    "SOCKERR": "Socket error",
    "L4OK": "Layer4 check passed",
    "L4TOUT": "Layer4 timeout",
    "L4CON": "Layer4 connection problem",
    "L6OK": "Layer6 check passed",
    "L6TOUT": "Layer6 timeout",
    "L6RSP": "Layer6 invalid response",
    "L7OK": "Layer7 check passed",
    "L7TOUT": "Layer7 timeout",
    "L7RSP": "Layer7 invalid response",
    "L7STS": "Layer7 wrong status",
}


@frozen
class Result:
    """Holds the result of one check. `code` is the HTTP status, if there was one; `duration` is in seconds."""

    status: str
    info: str = ""
    code: int | None = None
    duration: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status in ("L4OK", "L6OK", "L7OK")

    def __str__(self) -> str:
        code = f", code: {self.code}" if self.code is not None else ""
        info = f', info: "{self.info}"' if self.info else ""
        return f"{WORDS[self.status]}{code}{info}, check duration: {self.duration * 1000:.0f}ms"


class Checker:
    """Checks one server, from `start` to `stop`.

    `health` is HAProxy's counter: from `rise` on the server is UP; the counter goes to the top when the server rises,
    or is found well, and to 0 when it falls. A server begins UP, and the first check may take it down. One in MAINT
    is not checked.
    """

    def __init__(
        self,
        server: Server,
        settings: Check,
        http: HTTPCheck | None,
        dialer: Dialer,
        clock: IReactorTime,
        limits: Limits,
        timeout: float | None,
        first_after: float,
        changed: Callable[[Server, str, str], None],
        feeds: bool = False,
    ) -> None:
        """Takes the settings. `timeout` is `timeout check` in seconds; `first_after` seconds pass before the first
        check, so that servers' checks are spread; `feeds` tells that an HTTP check's connection is like those of the
        server's pool, and may be left to it."""
        self.server = server
        self.settings = settings
        self.health = settings.rise
        self.last = Result("INI")
        #: Checks that failed while the server was UP (HAProxy's chkfail).
        self.failures = 0
        self._http = http
        self._dialer = dialer
        self._clock = clock
        self._limits = limits
        self._timeout = timeout
        self._first_after = first_after
        self._changed = changed
        self._feeds = feeds
        self._donated: ServerConnection | None = None
        self._call: IDelayedCall | None = None
        self._dial: Dial | None = None
        self._transport: Transport | None = None
        self._received = b""
        self._began = 0.0
        self.deadline = inf
        self.slot = 0.0

    def move(self, target: Target, own: ClientContext | None) -> None:
        """Checks another address from the next check on, with `own` as its TLS settings if the checks have those of the
        server's pool (see `feeds`)."""
        context = self._dialer.context
        if self._feeds:
            context = own
        elif context is not None:
            context = context.elsewhere()
        self._dialer = self._dialer.elsewhere(target, context)

    def start(self) -> None:
        self._call = self._clock.callLater(self._first_after, self._check)

    def begin_again(self) -> None:
        """Begins from the server's current state, decided elsewhere: one failure takes it down, if it is UP, as in
        HAProxy after MAINT."""
        self.health = 0 if self.server.health == DOWN else self.settings.rise

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._let_go()

    # One check.

    def _check(self) -> None:
        if self.server.state == MAINT:
            self._check_in(self.settings.inter)
            return
        self._call = None
        self._began = self._dialer.deadlines.now()
        self._received = b""
        self._dial = self._dialer.dial(self)

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        self._dial = None
        layer = "L6" if "TLS" in failure.phase else "L4"
        if failure.ours:
            # HAProxy counts it as a failure; but a server must not go DOWN because we are out of descriptors.
            self.last = Result("SOCKERR", failure.reason)
            self._check_in(self._interval())
        elif failure.timed_out:
            self._end(f"{layer}TOUT", "")
        else:
            self._end("L6RSP" if layer == "L6" else "L4CON", failure.reason)

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        self._dial = None
        self._transport = transport
        transport.owner = self
        if self._http is None:
            self._end("L6OK" if transport.secure else "L4OK", "")
            return
        deadlines = self._dialer.deadlines
        if self._timeout is not None:
            # HAProxy: "additional read timeout, but only after a connection has been already established".
            deadlines.watch(self, deadlines.now() + self._timeout)
        else:
            deadlines.watch(self, self._began + self.settings.inter)
        if self._feeds and self.server.pool.wants_one:
            self._transport = None
            self._donated = self.server.pool.adopt(dial, transport)
            self._donated.send(
                Probe(self._http.method.encode(), self._probed), request(self._http, keep=True), True, None
            )
            return
        transport.resume_reading()
        transport.write(request(self._http))

    def data_received(self, data: bytes) -> None:
        http = self._http
        assert http is not None
        self._received += data
        end = find_head_end(self._received)
        if end < 0:
            if len(self._received) > self._limits.max_head:
                self._end("L7RSP", "response head too long")
            return
        try:
            head = read_response(self._received[:end], http.method.encode(), self._limits)
        except ResponseFault as fault:
            self._end("L7RSP", str(fault))
            return
        self._look_at(head)

    def _probed(self, head: ResponseHead | None, reason: str, slow: bool) -> None:
        """Ends a check whose connection is its pool's again, or gone."""
        self._donated = None
        if head is None:
            self._end("L7RSP", reason)
        else:
            self._look_at(head)

    def _look_at(self, head: ResponseHead) -> None:
        if self._expects(head.status):
            self._end("L7OK", "", head.status)
        else:
            self._end("L7STS", head.reason.decode("latin-1"), head.status)

    def _expects(self, status: int) -> bool:
        http = self._http
        assert http is not None
        return any(low <= status <= high for low, high in http.expect) != http.expect_not

    def asks_as(self, other: Checker) -> bool:
        """Tells whether both send the same request, and expect the same, on connections like those of their pools."""
        return self._feeds and other._feeds and self._http is not None and self._http == other._http

    def try_on(self, connection: ServerConnection, told: Callable[[str], None]) -> None:
        """Sends one check on a connection of the pool, independently of the regular checks. Calls `told` with the
        reason why the answer is not as expected, or ""."""
        http = self._http
        assert http is not None

        def ended(head: ResponseHead | None, reason: str, slow: bool) -> None:
            if head is None:
                told(f"no answer to its check: {reason}")
            else:
                well = self._expects(head.status)
                told(
                    "" if well else f"it answers its check with {head.status} {head.reason.decode('latin-1')}".rstrip()
                )

        probe = Probe(http.method.encode(), ended)
        probe.ask(connection, request(http, keep=True), self._timeout or self.settings.inter)

    def eof_received(self) -> None:
        self._end("L7RSP", "connection closed before the end of the response head")

    def connection_lost(self, reason: str) -> None:
        if self._transport is not None:
            self._end("L7RSP", reason)

    def pause_writing(self) -> None:
        """Does nothing: a check's request is too small to be paused."""

    def resume_writing(self) -> None:
        """Does nothing; see `pause_writing`."""

    def deadline_passed(self) -> None:
        self._end("L7TOUT", "")

    def _let_go(self) -> None:
        self._dialer.deadlines.cancel(self)
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        donated, self._donated = self._donated, None
        if donated is not None:
            donated.give_up("check timed out")
        transport, self._transport = self._transport, None
        if transport is not None and transport.state != CLOSED:
            # As HAProxy does: a reset leaves nothing behind in TIME_WAIT on either side.
            transport.abort("check done")

    # Its meaning.

    def _end(self, status: str, info: str, code: int | None = None) -> None:
        self._let_go()
        self.last = Result(status, info, code, self._dialer.deadlines.now() - self._began)
        health = self._judge(self.last.passed)
        self._check_in(self._interval())
        if self.server.state != MAINT and self.server.health != health:
            self._changed(self.server, health, str(self.last))

    def _check_in(self, wait: float) -> None:
        self._call = self._clock.callLater(wait, self._check)

    def _judge(self, passed: bool) -> str:
        rise, top = self.settings.rise, self.settings.rise + self.settings.fall - 1
        if not passed:
            self.failures += self.health >= rise
            self.health = self.health - 1 if self.health > rise else 0
        elif self.health < top:
            self.health += 1
            if self.health >= rise:
                self.health = top
        return UP if self.health >= rise else DOWN

    def _interval(self) -> float:
        """Returns the seconds to the next check: `inter` while the server is UP for sure, `fastinter` in transition,
        `downinter` while DOWN; `inter` in place of either that is not set."""
        settings = self.settings
        if self.health == 0 and settings.downinter is not None:
            return settings.downinter
        if 0 < self.health < settings.rise + settings.fall - 1 and settings.fastinter is not None:
            return settings.fastinter
        return settings.inter


def request(http: HTTPCheck, *, keep: bool = False) -> bytes:
    """Returns the bytes of a check's request, as HAProxy 2.6 sends them.

    In HTTP/1.1 the connection ends after it, unless a header says otherwise or it is to be kept (`keep`). The length is
    the body's, whatever was configured.
    """
    body = http.body.encode()
    headers = [(name.lower(), value) for name, value in http.headers if name.lower() != "content-length"]
    if body:
        headers.append(("content-length", str(len(body))))
    if not any(name == "connection" for name, _ in headers):
        if http.version == "HTTP/1.1" and not keep:
            headers.append(("connection", "close"))
        elif http.version == "HTTP/1.0" and keep:
            headers.append(("connection", "keep-alive"))
    lines = [f"{http.method} {http.uri} {http.version}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
