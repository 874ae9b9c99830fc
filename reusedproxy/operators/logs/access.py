"""Writes the access log: one line for each exchange, as HAProxy writes it (its manual, section 8.2).

Knows the facts that an exchange records, and HAProxy's two formats. Must never know where lines go: that is the task of
`targets`. It runs for every request, so the date of a second is formatted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from reusedproxy.clients.frontend import ConnectionLimit, Frontend
from reusedproxy.clients.pending import PendingClient
from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.exchanges.client import ClientFacts
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.net import preface
from reusedproxy.net.listener import Listener
from reusedproxy.net.tls import handshake
from reusedproxy.net.tls.handshake import HandshakeFailure
from reusedproxy.operators.logs.targets import MONTHS, Send, Target, escaped
from reusedproxy.streams.stream import Stream

BAD_REQUEST = "<BADREQ>"
#: Failures of connections on which no data or hardly any has come (`option dontlognull`).
_WITHOUT_DATA = (handshake.EMPTY, handshake.ABORTED, preface.EMPTY, preface.ABORTED)
#: Number of seconds whose dates are cached: exchanges do not end in the order in which they began.
_DATES = 64


def access_log(
    frontend: Frontend, places: ConnectionLimit, targets: list[Target], cookies: str = NO_COOKIES
) -> Callable[[Exchange], None] | None:
    """Returns the function that writes a frontend's log lines to its targets; None when no target takes them.
    `cookies` are the letters about cookies where no backend has been chosen yet: a `listen` section has those of its
    own."""
    sends = [send for send in (target.sender("info") for target in targets) if send is not None]
    if not sends:
        return None
    send = sends[0] if len(sends) == 1 else _to_all(sends)
    if frontend.settings.log_format == "httplog":
        return HTTPLog(frontend, places, send, cookies=cookies)
    if frontend.settings.log_format == "tcplog":
        return TCPLog(frontend, places, send)
    return ConnectLog(frontend, send)


def stream_log(frontend: Frontend, places: ConnectionLimit, targets: list[Target]) -> Callable[[Stream], None] | None:
    """Returns the function that writes a line for each stream of a frontend in mode tcp; None when no target takes
    them."""
    sends = [send for send in (target.sender("info") for target in targets) if send is not None]
    if not sends:
        return None
    send = sends[0] if len(sends) == 1 else _to_all(sends)
    log: Callable[[Stream], None]
    if frontend.settings.log_format == "tcplog":
        log = TCPLog(frontend, places, send)
    else:
        log = ConnectLog(frontend, send)
    if frontend.settings.dontlognull:
        return lambda stream: log(stream) if stream.received else None
    return log


class HandshakeLog:
    """Logs a client's failed handshake: HAProxy's own short line, whatever the format of others (section 8.2.5)."""

    def __init__(self, frontend: Frontend, send: Send, wall: Callable[[], float] = time.time) -> None:
        self._frontend = frontend
        self._send = send
        self._wall = wall

    def __call__(self, pending: PendingClient, failure: HandshakeFailure) -> None:
        if self._frontend.settings.dontlognull and failure.kind in _WITHOUT_DATA:
            return
        host, port = pending.address
        number = _bind_number(self._frontend, pending.listener)
        began = pending.began + self._wall() - self._frontend.deadlines.now()
        date = f"{_date(int(began))}{int(began % 1 * 1000):03d}"
        bind = pending.listener.bind.name or number
        self._send(f"{host}:{port or number} [{date}] {self._frontend.name}/{bind}: {failure.kind}")


def handshake_log(frontend: Frontend, targets: list[Target]) -> HandshakeLog | None:
    """Returns the function that logs failed handshakes; None when no target takes the lines, or no listener has
    handshakes."""
    sends = [send for send in (target.sender("info") for target in targets) if send is not None]
    if not sends or not any(bind.tls or bind.accept_proxy for bind in frontend.settings.binds):
        return None
    return HandshakeLog(frontend, sends[0] if len(sends) == 1 else _to_all(sends))


def _to_all(sends: list[Send]) -> Send:
    def send(line: str) -> None:
        for each in sends:
            each(line)

    return send


class HTTPLog:
    """Writes the lines of `option httplog`:

        %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %{+Q}r

    Where HAProxy's lines differ from its manual, the manual is followed: a 503 of a frontend without a backend has its
    TR (HAProxy 2.6: -1), and an error before any backend has the number of bytes sent (2.6: 0). Measured (Python 3.11):
    2.5 µs a line, 2.8 µs with its share of `log stdout format raw`; a datagram costs 4 to 8 µs more, all of it in the
    kernel.
    """

    def __init__(
        self,
        frontend: Frontend,
        places: ConnectionLimit,
        send: Send,
        wall: Callable[[], float] = time.time,
        cookies: str = NO_COOKIES,
    ) -> None:
        """Takes `cookies` as `access_log` does, and `wall`, which returns the time of day; exchanges have the clock's
        time, whose zero may be anywhere."""
        self._frontend = frontend
        self._places = places
        self._send = send
        self._wall = wall
        self._cookies = cookies
        self._dates: dict[int, str] = {}
        self._offset = wall() - frontend.deadlines.now()
        # One %-format: an f-string of so many parts took 1.3 µs where this takes 0.8.
        # HAProxy marks a frontend's TLS clients with "~".
        self._format, self._format_tls = map(self._format_for, (frontend.name, frontend.name + "~"))

    @staticmethod
    def _format_for(name: str) -> str:
        name = name.replace("%", "%%")
        return f'%s:%s [%s%03d] {name} %s/%s %s/%s/%s/%s/%s %s %s - - %s%s %s/%s/%s/%s/%s%s %s/%s "%s"'

    def __call__(self, exchange: Exchange) -> None:
        frontend, server, backend = self._frontend, exchange.server or exchange.waited_for, exchange.backend
        host, port = exchange.client.address
        began, read, ended = exchange.began, exchange.read, exchange.ended
        placed, connected, answered = exchange.placed_at, exchange.connected, exchange.answered
        request = _request_line(exchange)
        received = int((read - began) * 1000) if request != BAD_REQUEST else -1
        waited = int((placed - read) * 1000) if placed else -1
        connecting = int((connected - placed) * 1000) if connected else -1
        answering = int((answered - connected) * 1000) if answered else -1
        server_name = server.name if server is not None else "<NOSRV>"
        if exchange.by_page:
            server_name, waited, connecting, answering = "<STATS>", 0, 0, 0
        elif not placed and exchange.flags[1] == "Q":
            waited = int((ended - read) * 1000)
        if exchange.cookie is not None:
            cookies = exchange.cookie.letters(exchange.binding, exchange.server)
        elif backend is not None:
            cookies = backend.cookie_letters
        else:
            cookies = NO_COOKIES if exchange.head is None else self._cookies
        clients = len(frontend.connections) + frontend.connections_before
        began_at = began + self._offset
        second = int(began_at)
        # fmt: off
        self._send((self._format_tls if exchange.client.transport.secure else self._format) % (
            host, port or _bind_number(self._frontend, exchange.client.listener),
            self._dates.get(second) or self._date(second), int((began_at - second) * 1000),
            backend.name if backend is not None else frontend.name, server_name,
            received, waited, connecting, answering, int((ended - began) * 1000),
            exchange.status or -1, exchange.bytes_out, exchange.flags, cookies,
            self._places.taken, clients, backend.traffic.scur if backend is not None else 0,
            server.served if server is not None else 0, "+" if exchange.redispatched else "", exchange.retries,
            exchange.srv_queue, exchange.backend_queue, request,
        ))
        # fmt: on

    def _date(self, second: int) -> str:
        """Returns the date of this second, up to the dot before the milliseconds."""
        self._offset = self._wall() - self._frontend.deadlines.now()
        if len(self._dates) >= _DATES:
            self._dates.clear()
        self._dates[second] = text = _date(second)
        return text


class TCPLog:
    """Writes the lines of `option tcplog`:

    %ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq
    """

    def __init__(
        self, frontend: Frontend, places: ConnectionLimit, send: Send, wall: Callable[[], float] = time.time
    ) -> None:
        self._frontend = frontend
        self._places = places
        self._send = send
        self._wall = wall
        self._name = frontend.name

    def __call__(self, logged: Stream | Exchange) -> None:
        frontend, server, backend = self._frontend, logged.server or logged.waited_for, logged.backend
        host, port = logged.client.address
        began, ended, placed, connected = logged.began, logged.ended, logged.placed_at, logged.connected
        waited = int((placed - began) * 1000) if placed else -1
        if not placed and logged.flags[1] == "Q":
            waited = int((ended - began) * 1000)
        connecting = int((connected - placed) * 1000) if connected else -1
        began_at = began + self._wall() - frontend.deadlines.now()
        second = int(began_at)
        name = f"{self._name}~" if logged.client.transport.secure else self._name
        backend_name = backend.name if backend is not None else frontend.name
        server_name = server.name if server is not None else "<NOSRV>"
        sent = logged.sent if isinstance(logged, Stream) else logged.bytes_out
        counts = (
            f"{self._places.taken}/{frontend.clients}/{backend.traffic.scur if backend is not None else 0}"
            f"/{server.served if server is not None else 0}/{'+' if logged.redispatched else ''}{logged.retries}"
        )
        self._send(
            f"{host}:{port or _bind_number(frontend, logged.client.listener)}"
            f" [{_date(second)}{int((began_at - second) * 1000):03d}] {name} {backend_name}/{server_name}"
            f" {waited}/{connecting}/{int((ended - began) * 1000)} {sent} {logged.flags} {counts}"
            f" {logged.srv_queue}/{logged.backend_queue}"
        )


class ConnectLog:
    """Writes the format without any option: "Connect from" for each request that could be parsed, or each stream
    (HAProxy's manual, section 8.2.1).

    HAProxy writes the line when the request has arrived, or the client; here it is written when all is over.
    """

    def __init__(self, frontend: Frontend, send: Send) -> None:
        self._frontend = frontend
        self._send = send

    def __call__(self, exchange: Exchange | Stream) -> None:
        if isinstance(exchange, Exchange) and exchange.head is None:
            return
        host, port = exchange.client.address
        if host == "unix":
            ends = f"to unix:{_bind_number(self._frontend, exchange.client.listener)}"
        else:
            ends = f"from {host}:{port} to {self._came_to(exchange.client)}"
        mode = "HTTP" if isinstance(exchange, Exchange) else "TCP"
        self._send(f"Connect {ends} ({self._frontend.name}/{mode})")

    def _came_to(self, client: ClientFacts) -> str:
        try:
            host, port = client.transport.socket.getsockname()[:2]
        except OSError:  # the socket is closed already
            listener = client.listener
            host, port = listener.bind.address.host or "0.0.0.0", listener.port
        return f"{host}:{port}"


def _request_line(exchange: Exchange) -> str:
    head = exchange.head
    if head is None:
        return BAD_REQUEST
    # ISO 8859-1: each byte is a character. Of the bytes that must be escaped, the grammar admits these two only.
    line = (exchange.line or head.head[: head.head.find(b"\r")]).decode("latin-1")
    return escaped(line) if '"' in line or "#" in line else line


def _date(second: int) -> str:
    """Formats the date of a line, without its milliseconds."""
    at = time.localtime(second)
    return f"{at.tm_mday:02d}/{MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}."


def _bind_number(frontend: Frontend, listener: Listener) -> int:
    """Returns the listener's number, counted from 1; as in HAProxy it stands for the port of a unix socket's client."""
    return next((number for number, each in enumerate(frontend.listeners, 1) if each is listener), 0)
