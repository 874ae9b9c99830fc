"""Writes the access log: one line for each exchange, or session of mode tcp, as HAProxy writes it (its manual, section
8.2).

Knows which lines are written, at which level, and in which format. Must never know where lines go: that is the task of
`targets`; nor what an item of a format shows (`rules.samples.lines`). It runs for every request, so the line of `option
httplog`, which most have, is put together here, and the date of a second is formatted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

from twisted.logger import Logger

from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.config.model.rules import Format
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.operators.logs.gathering import FIRST, Gathered, GatheredLines, Gathering
from reusedproxy.operators.logs.targets import Send, SendAll, Target, escaped
from reusedproxy.rules.samples.aliases import BAD_REQUEST, with_milliseconds
from reusedproxy.rules.samples.lines import line_of
from reusedproxy.sessions.course import NO_SERVER, destination_of, number_of
from reusedproxy.sessions.termination import went_wrong
from reusedproxy.streams.stream import ENDED, Stream

Logged = Exchange | Stream
Log = Callable[[Logged], None]
#: An exchange that has ended, and what only that moment knows: the numbers of clients of the process and of the
#: frontend, and of requests at the backend and at the server. (As an object of its own it takes 0.2 µs more.)
_Ended = tuple[Exchange, int, int, int, int]

#: The usual level, and that of lines about what went wrong (`option log-separate-errors`); no line at all.
INFO, ERROR, SILENT = "info", "err", "silent"
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
#: Number of seconds whose dates are cached: exchanges do not end in the order in which they began.
_DATES = 64


def access_log(
    frontend: Frontend,
    places: ConnectionLimit,
    targets: Sequence[Target],
    *,
    rules_set_levels: bool = False,
    gathering: Gathering | None = None,
) -> Log | None:
    """Returns the function that writes the line of an exchange, or a session of mode tcp, to the frontend's targets;
    None when no target takes any. `rules_set_levels` tells that there is a `set-log-level`; `gathering` has lines sent
    together (None: at once)."""
    settings = frontend.settings.log
    together = gathering or Gathering()

    def at(level: str, made: Format | None) -> Log | None:
        if made is settings.format and frontend.settings.log_format == "httplog" and _plain(frontend):
            send_all = sending_all(targets, level)
            # In mode tcp, `option httplog` counts as `option tcplog`.
            return None if send_all is None else cast(Log, HTTPLog(frontend, places, send_all, together))
        return _format_log(frontend, targets, level, made, together)

    levels = [INFO, *([ERROR] if settings.separate_errors else [])]
    if rules_set_levels:
        levels = [*LEVELS]
    logs = {level: log for level in levels if (log := at(level, settings.format)) is not None}
    if not logs:
        return None
    if not (rules_set_levels or settings.early or settings.separate_errors or settings.errors_only or settings.errors):
        return logs[INFO]
    refusals = at(ERROR if settings.separate_errors else INFO, settings.errors or settings.format)
    return ChoosingLog(frontend, logs, refusals)


def stream_log(
    frontend: Frontend,
    places: ConnectionLimit,
    targets: Sequence[Target],
    *,
    rules_set_levels: bool = False,
    gathering: Gathering | None = None,
) -> Callable[[Stream], None] | None:
    """Returns the function that writes a line for each stream of a frontend in mode tcp; None when no target takes
    any. With `option dontlognull` there is none for a client that has sent nothing; as in HAProxy, a line that comes
    early (`option logasap`) does not wait for that."""
    log = access_log(frontend, places, targets, rules_set_levels=rules_set_levels, gathering=gathering)
    if log is not None and frontend.settings.dontlognull:
        write = log
        return lambda stream: write(stream) if stream.received or stream.state != ENDED else None
    return log


def _plain(frontend: Frontend) -> bool:
    """Tells whether the lines of `option httplog` have neither captures, nor the sign of one that came early, nor
    structured data."""
    settings = frontend.settings
    return not settings.captures and not settings.log.early and settings.log.data is None


def sending(targets: Sequence[Target], level: str) -> Send | None:
    """Returns the function that sends a line of this level to all targets that take it; None when none does."""
    sends = [send for send in (target.sender(level) for target in targets) if send is not None]
    if not sends:
        return None

    def send(line: str) -> None:
        for each in sends:
            each(line)

    return sends[0] if len(sends) == 1 else send


def sending_all(targets: Sequence[Target], level: str) -> SendAll | None:
    """Returns the function that sends lines of this level to all targets that take them; None when none does."""
    sends = [send for send in (target.sender_of_several(level) for target in targets) if send is not None]
    if not sends:
        return None

    def send_all(lines: Sequence[str]) -> None:
        for each in sends:
            each(lines)

    return sends[0] if len(sends) == 1 else send_all


def _format_log(
    frontend: Frontend, targets: Sequence[Target], level: str, made: Format | None, gathering: Gathering
) -> Log | None:
    """Returns what writes lines of this format and level; None when no target takes them. The structured data of RFC
    5424 go with them."""
    send_all = sending_all(targets, level)
    if send_all is None:
        return None
    send = GatheredLines(gathering, send_all)
    if made is None:
        return ConnectLog(frontend, send)
    data = frontend.settings.log.data
    if data is None:
        return FormattedLog(frontend, made, send)
    sends = [each for each in (target.sender_with_data(level) for target in targets) if each is not None]
    return DataLog(frontend, made, data, sends)


class ChoosingLog:
    """Chooses the level of each line, or that there is none (`option dontlog-normal`, `set-log-level silent`), as
    HAProxy does (src/log.c, strm_log and sess_log)."""

    def __init__(self, frontend: Frontend, logs: dict[str, Log], refusals: Log | None) -> None:
        """Takes what writes a line of each level; `refusals` writes it of clients from which no request could be
        read."""
        self._settings = frontend.settings.log
        self._requests = frontend.settings.mode == "http"
        self._logs = logs
        self._refusals = refusals

    def __call__(self, logged: Logged) -> None:
        noted, settings = logged.noted, self._settings
        if noted is not None and noted.logged:
            return
        if self._requests and logged.head is None:
            log = self._refusals
        else:
            wrong = went_wrong(logged)
            if settings.errors_only and not wrong:
                return
            level = ERROR if wrong and settings.separate_errors else INFO
            log = self._logs.get((noted.level if noted is not None else "") or level)
        if settings.early:
            logged.note().logged = True
        if log is not None:
            log(logged)


class FormattedLog:
    """Writes lines of any format. Measured (Python 3.11): 6 µs for that of `option httplog`."""

    def __init__(self, frontend: Frontend, made: Format, send: Send) -> None:
        self._frontend = frontend
        self._send = send
        captures = frontend.settings.captures
        captured = {"hr": captures.request, "hs": captures.response, "CC": captures.cookie, "CS": captures.cookie}
        self._line = line_of(made, lambda name: bool(captured.get(name.removesuffix("l"))))
        #: Of a client without a request nothing is captured, and captures take no place, as in HAProxy.
        self._bare = line_of(made, lambda name: False)

    def __call__(self, logged: Logged) -> None:
        line = self._text(logged)
        self._frontend.lines += 1
        self._send(line)

    def _text(self, logged: Logged) -> str:
        bare = isinstance(logged, Exchange) and logged.head is None
        return (self._bare if bare else self._line)(logged.course)


class DataLog:
    """Writes lines of any format, to targets that have the structured data of RFC 5424 beside them."""

    def __init__(
        self, frontend: Frontend, made: Format, data: Format, sends: Sequence[Callable[[str, str], None]]
    ) -> None:
        self._frontend = frontend
        self._sends = sends
        self._line = FormattedLog(frontend, made, lambda line: None)
        self._data = FormattedLog(frontend, data, lambda line: None)

    def __call__(self, logged: Logged) -> None:
        line, data = self._line._text(logged), self._data._text(logged)
        self._frontend.lines += 1
        for send in self._sends:
            send(line, data)


class HTTPLog(Gathered):
    """Writes the lines of `option httplog`:

        %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %{+Q}r

    That is, without captures: `FormattedLog`, which writes the same, takes longer. Where HAProxy's lines differ from
    its manual, the manual is followed: a 503 of a frontend without a backend has its TR (HAProxy 2.6: -1), and an error
    before any backend has the number of bytes sent (2.6: 0). What a line takes is in `gathering`.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        frontend: Frontend,
        places: ConnectionLimit,
        send_all: SendAll,
        gathering: Gathering,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Takes `wall`, which returns the time of day; exchanges have the clock's time, whose zero may be
        anywhere."""
        Gathered.__init__(self, gathering)
        self._frontend = frontend
        self._places = places
        self._send_all = send_all
        self._wall = wall
        self._cookies = frontend.cookie_letters
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
        """Notes what others will have changed when the line is made."""
        frontend, server, backend = self._frontend, exchange.server or exchange.waited_for, exchange.backend
        ended = (
            exchange,
            self._places.taken,
            len(frontend.connections) + frontend.connections_before,
            backend.traffic.scur if backend is not None else 0,
            server.served if server is not None else 0,
        )
        # As `Gathered.__call__`, without a call for each request.
        self._held.append(ended)
        self._room = room = self._room - 1
        if room == FIRST:
            self._gathering.await_end(self)
        elif not room:
            self.send_now()

    def _write(self, held: list[_Ended]) -> None:
        self._send_all([line for each in held if (line := self._line(each))])

    def _line(self, ended: _Ended) -> str:
        """Returns the line of an exchange; nothing if that fails, which is logged: it costs no other its line."""
        exchange, taken, clients, requests, served = ended
        try:
            server, backend = exchange.server or exchange.waited_for, exchange.backend
            source = exchange.own_source
            host, port = exchange.client.address if source is None else source
            began, read, over = exchange.began, exchange.read, exchange.ended
            placed, connected, answered = exchange.placed_at, exchange.connected, exchange.answered
            head = exchange.head
            if head is None:
                request, received = BAD_REQUEST, -1
            else:
                # ISO 8859-1: each byte is a character. Of those to be escaped, the grammar admits these two only.
                request = (exchange.line or head.head[: head.head.find(b"\r")]).decode("latin-1")
                if '"' in request or "#" in request:
                    request = escaped(request)
                received = 0 if read == began else int((read - began) * 1000) if read else -1
            # What happens in one step has one time: a comparison takes a quarter of the calculation.
            waited = 0 if placed == read > 0 else int((placed - read) * 1000) if placed else -1
            connecting = 0 if connected == placed > 0 else int((connected - placed) * 1000) if connected else -1
            answering = int((answered - connected) * 1000) if answered else -1
            server_name = server.name if server is not None else NO_SERVER
            if exchange.applet:
                server_name, waited, connecting, answering = exchange.applet, 0, 0, 0
            elif not placed and exchange.flags[1] == "Q":
                waited = int((over - read) * 1000)
            if exchange.cookie is not None:
                cookies = exchange.cookie.letters(exchange.binding, exchange.server)
            elif backend is not None:
                cookies = backend.cookie_letters
            else:
                cookies = NO_COOKIES if head is None else self._cookies
            began_at = began + self._offset
            second, dates = int(began_at), self._dates
            # fmt: off
            return (self._format_tls if exchange.client.transport.secure else self._format) % (
                host, port or number_of(exchange.client.listener, self._frontend.listeners),
                dates[second] if second in dates else self._date(second), int((began_at - second) * 1000),
                backend.name if backend is not None else self._frontend.name, server_name,
                received, waited, connecting, answering, int((over - began) * 1000),
                exchange.status or -1, exchange.bytes_out, exchange.flags, cookies,
                taken, clients, requests, served, "+" if exchange.redispatched else "", exchange.retries,
                exchange.srv_queue, exchange.backend_queue, request,
            )
            # fmt: on
        except Exception:
            self._log.failure("a line of the access log failed")
            return ""

    def _date(self, second: int) -> str:
        """Returns the date of this second, up to the dot before the milliseconds."""
        self._offset = self._wall() - self._frontend.deadlines.now()
        if len(self._dates) >= _DATES:
            self._dates.clear()
        self._dates[second] = text = with_milliseconds(second)
        return text


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
        host, port = exchange.source
        if host == "unix":
            ends = f"to unix:{number_of(exchange.client.listener, self._frontend.listeners)}"
        else:
            came_to, its_port = destination_of(exchange)
            ends = f"from {host}:{port} to {came_to}:{its_port}"
        mode = "HTTP" if isinstance(exchange, Exchange) else "TCP"
        self._send(f"Connect {ends} ({self._frontend.name}/{mode})")
