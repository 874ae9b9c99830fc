"""Access-log lines, against what HAProxy 2.6 wrote in the same situations (its count of bytes
for bad requests, 0, apart)."""

from types import SimpleNamespace
from typing import Any

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Frontend
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.formats import STANDARD, read_format
from reusedproxy.exchanges.cookie_state import CookieState
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.logs.access import ConnectLog, FormattedLog, HTTPLog, access_log
from reusedproxy.operators.logs.gathering import Gathering
from reusedproxy.sessions import facts
from reusedproxy.wire.heads import Limits, read_request
from tests.test_operators_logs_targets import in_utc

#: 20 November 2026, 10:12:48 UTC.
BEGAN = 1795169568.0


@define
class Case:
    """A situation, and HAProxy's line from the frontend's name on."""

    name: str
    line: str
    request: bytes | None = b"GET /ok HTTP/1.1"
    #: Milliseconds from the first byte on to each point, None: not reached.
    placed: int | None = 0
    connected: int | None = 0
    answered: int | None = 0
    ended: int = 0
    status: int = 200
    sent: int = 52
    flags: str = "--"
    backend: str | None = "b"
    server: str | None = "s1"
    retries: int = 0
    redispatched: bool = False
    srv_queue: int = 0
    backend_queue: int = 0
    waited_for: str | None = None
    applet: str = ""
    #: The cookie's two letters; None: none was looked for.
    cookie: str | None = None
    #: What the log says of it if none was looked for.
    unseen: str = "--"


CASES = [
    Case("a request", 'f b/s1 0/0/0/0/0 200 52 - - ---- 1/1/0/0/0 0/0 "GET /ok HTTP/1.1"'),
    Case("HTTP/1.0", 'f b/s1 0/0/0/1/1 200 49 - - ---- 1/1/0/0/0 0/0 "HEAD /ok HTTP/1.0"', b"HEAD /ok HTTP/1.0",
         answered=1, ended=1, sent=49),
    Case("a bad request", 'f f/<NOSRV> -1/-1/-1/-1/0 400 207 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>"', None,
         None, None, None, status=400, sent=207, flags="PR", backend=None, server=None),
    Case("a slow request", 'f f/<NOSRV> -1/-1/-1/-1/1001 408 233 - - cR-- 1/1/0/0/0 0/0 "<BADREQ>"', None,
         None, None, None, 1001, status=408, sent=233, flags="cR", backend=None, server=None),
    Case("a client that left in its request", 'f f/<NOSRV> -1/-1/-1/-1/50 400 207 - - CR-- 1/1/0/0/0 0/0 "<BADREQ>"',
         None, None, None, None, 50, status=400, sent=207, flags="CR", backend=None, server=None),
    Case("a server too slow", 'f b/s1 0/0/0/-1/1001 504 198 - - sH-- 1/1/0/0/0 0/0 "GET /slow HTTP/1.1"',
         b"GET /slow HTTP/1.1", answered=None, ended=1001, status=504, sent=198, flags="sH"),
    Case("a server that left", 'f b/s1 0/0/0/-1/0 502 209 - - SH-- 1/1/0/0/0 0/0 "GET /gone HTTP/1.1"',
         b"GET /gone HTTP/1.1", answered=None, status=502, sent=209, flags="SH"),
    Case("an answer cut short", 'f b/s1 0/0/0/0/1 200 53 - - SD-- 1/1/0/0/0 0/0 "GET /short HTTP/1.1"',
         b"GET /short HTTP/1.1", ended=1, sent=53, flags="SD"),
    Case("a server that refuses", 'f refused/r1 0/0/-1/-1/2002 503 217 - - SC-- 1/1/0/0/2 0/0 "GET /refused HTTP/1.1"',
         b"GET /refused HTTP/1.1", 0, None, None, 2002, 503, 217, "SC", "refused", "r1", 2),
    Case("a redispatch", 'f redis/r2 0/0/0/1/1 200 52 - - ---- 1/1/0/0/+1 0/0 "GET /redis HTTP/1.1"',
         b"GET /redis HTTP/1.1", answered=1, ended=1, backend="redis", server="r2", retries=1, redispatched=True),
    Case("no server", 'f none/<NOSRV> 0/-1/-1/-1/0 503 217 - - SC-- 1/1/0/0/0 0/0 "GET /none HTTP/1.1"',
         b"GET /none HTTP/1.1", None, None, None, 0, 503, 217, "SC", "none", None),
    Case("a queue too long", 'f b/<NOSRV> 0/1000/-1/-1/1000 503 217 - - sQ-- 1/1/0/0/0 0/1 "GET /slow3 HTTP/1.1"',
         b"GET /slow3 HTTP/1.1", None, None, None, 1000, 503, 217, "sQ", "b", None, backend_queue=1),
    Case("a server's own queue", 'f b/s1 0/260/1/302/563 200 122 - - ---- 1/1/0/0/0 1/0 "GET /slow.3 HTTP/1.1"',
         b"GET /slow.3 HTTP/1.1", 260, 261, 563, 563, 200, 122, srv_queue=1),
    Case("a server's own queue too long",
         'f b/s1 0/2004/-1/-1/2004 503 217 - - sQ-- 1/1/0/0/0 1/0 "GET /slow3 HTTP/1.1"',
         b"GET /slow3 HTTP/1.1", None, None, None, 2004, 503, 217, "sQ", "b", None, srv_queue=1, waited_for="s1"),
    Case("moved to the backend's queue",
         'f b/s2 0/81/0/1001/1082 200 122 - - ---- 1/1/0/0/+0 1/1 "GET /slow1 HTTP/1.1"',
         b"GET /slow1 HTTP/1.1", 81, 81, 1082, 1082, 200, 122, "--", "b", "s2", 0, True, 1, 1),
    Case("the statistics", 'f f/<STATS> 0/0/0/0/0 200 54280 - - LR-- 1/1/0/0/0 0/0 "GET /stats HTTP/1.1"',
         b"GET /stats HTTP/1.1", None, None, None, sent=54280, flags="LR", backend=None, server=None, applet="<STATS>"),
    Case("answered by a rule", 'f f/<NOSRV> 0/-1/-1/-1/0 200 66 - - LR-- 1/1/0/0/0 0/0 "GET /health HTTP/1.1"',
         b"GET /health HTTP/1.1", None, None, None, sent=66, flags="LR", backend=None, server=None),
    Case("refused by a rule", 'f b/<NOSRV> 0/-1/-1/-1/0 403 189 - - PR-- 1/1/0/0/0 0/0 "GET /d HTTP/1.1"',
         b"GET /d HTTP/1.1", None, None, None, status=403, sent=189, flags="PR", server=None),
    Case("times", 'f b/s1 0/5/6/7/20 200 52 - - ---- 1/1/0/0/0 0/0 "GET /ok HTTP/1.1"',
         placed=5, connected=11, answered=18, ended=20),
]  # fmt: skip


class LogCase(SynchronousTestCase):
    """A frontend, one client connection, and the lines that were written."""

    def setUp(self) -> None:
        in_utc(self)
        self.clock = Clock()
        self.clock.advance(BEGAN)
        self.deadlines = Deadlines(self.clock)
        self.frontend: Any = SimpleNamespace(
            name="f",
            settings=Frontend("f", Place("x", 1)),
            deadlines=self.deadlines,
            cookie_letters="--",
            lines=0,
            connections={1},
            connections_before=0,
            clients=1,
            listeners=[
                Case(
                    "a client without a cookie",
                    'f b/s1 0/0/0/0/0 200 52 - - --NI 1/1/0/0/0 0/0 "GET /ok HTTP/1.1"',
                    cookie="NI",
                ),
                Case(
                    "a client that could not come back",
                    'f b/s1 0/0/0/0/0 200 52 - - --DI 1/1/0/0/0 0/0 "GET /ok HTTP/1.1"',
                    cookie="VI",
                ),
                Case(
                    "a redirect",
                    'f b/<NOSRV> 0/-1/-1/-1/0 302 83 - - LRNN 1/1/0/0/0 0/0 "GET /ok HTTP/1.1"',
                    placed=None,
                    connected=None,
                    answered=None,
                    status=302,
                    sent=83,
                    flags="LR",
                    server=None,
                    unseen="NN",
                ),
            ],
        )
        self.local = ("127.0.0.1", 24003)
        socket = SimpleNamespace(getsockname=lambda: self.local)
        self.places: Any = SimpleNamespace(taken=1)
        self.client: Any = SimpleNamespace(
            address=("127.0.0.1", 36304),
            destination=None,
            session=None,
            frontend=self.frontend,
            listener=SimpleNamespace(bind=SimpleNamespace(address=SimpleNamespace(host=None), id=0), port=24003),
            transport=SimpleNamespace(secure=False, socket=socket),
        )
        self.lines: list[str] = []
        self.batches: Any = SimpleNamespace(senders=None, late=[])

    def exchange(self, case: Case) -> Exchange:
        def at(milliseconds: int | None, order: int) -> float:
            return 0.0 if milliseconds is None else began + milliseconds / 1000 + order / 10000

        began = BEGAN + 0.7022
        head = None
        if case.request is not None:
            head = read_request(case.request + b"\r\nHost: a\r\n\r\n", Limits())
        exchange = Exchange(self.client, head, began, began)
        stands_in: Any = SimpleNamespace
        exchange.placed_at, exchange.connected = at(case.placed, 1), at(case.connected, 2)
        exchange.answered, exchange.ended = at(case.answered, 3), at(case.ended, 4)
        exchange.status, exchange.bytes_out, exchange.flags = case.status, case.sent, case.flags
        exchange.retries, exchange.redispatched = case.retries, case.redispatched
        exchange.srv_queue, exchange.backend_queue = case.srv_queue, case.backend_queue
        if case.waited_for:
            exchange.waited_for = stands_in(name=case.waited_for, served=0)
        exchange.applet = case.applet
        if case.backend:
            exchange.backend = stands_in(name=case.backend, traffic=Traffic(), cookie_letters=case.unseen)
        if case.cookie is not None:
            exchange.cookie = CookieState(True, *case.cookie)
        if case.server:
            exchange.server = stands_in(name=case.server, served=0)
        return exchange

    def http_log(self) -> HTTPLog:
        return HTTPLog(self.frontend, self.places, self.lines.extend, Gathering(self.batches), self.clock.seconds)


class HTTPLogTests(LogCase):
    """`option httplog`."""

    def test_lines_are_haproxys(self) -> None:
        """The same situation gives the same line."""
        log = self.http_log()
        for case in CASES:
            log(self.exchange(case))
            self.assertEqual(self.lines[-1], f"127.0.0.1:36304 [20/Nov/2026:10:12:48.702] {case.line}", case.name)

    def test_the_format_of_the_manual_gives_the_same_lines(self) -> None:
        """`log-format` with the string that `option httplog` stands for; only the faster way is another one."""
        made = read_format(STANDARD["httplog"], "", of_log=True)
        self.patch(facts, "time", SimpleNamespace(time=self.clock.seconds))
        self.frontend.process_clients = self.frontend.clients = 1
        self.frontend.own_backend = None
        self.client.since, self.client.handshake, self.client.requests = BEGAN, 0.0, 1
        self.client.deadlines = self.deadlines
        log = FormattedLog(self.frontend, made, self.lines.append)
        for case in CASES:
            log(self.exchange(case))
            self.assertEqual(self.lines[-1], f"127.0.0.1:36304 [20/Nov/2026:10:12:48.702] {case.line}", case.name)

    def test_no_status_is_minus_one(self) -> None:
        """A connection reset before anything was answered."""
        self.http_log()(self.exchange(Case("", "", None, None, None, None, status=0, sent=0, flags="CR")))
        self.assertIn(" -1 0 - - CR-- ", self.lines[0])

    def test_what_could_mislead_a_reader_is_escaped(self) -> None:
        """HAProxy's manual, section 8.6: quotes and number signs become #XX."""
        self.http_log()(self.exchange(Case("", "", b'#G /a"b|{~} HTTP/1.1')))
        self.assertTrue(self.lines[0].endswith('"#23G /a#22b|{~} HTTP/1.1"'), self.lines[0])

    def test_the_date_is_the_time_of_day_whatever_the_clock_counts_from(self) -> None:
        """A monotonic clock begins anywhere."""
        clock = Clock()
        clock.advance(5)
        self.frontend.deadlines = Deadlines(clock)
        log = HTTPLog(self.frontend, self.places, self.lines.extend, Gathering(), lambda: BEGAN + 60)
        exchange = Exchange(self.client, None, 3.5, 3.5)
        exchange.ended = 4.0
        log(exchange)
        self.assertIn("[20/Nov/2026:10:13:46.500]", self.lines[0])

    def test_dates_of_many_seconds_are_not_kept(self) -> None:
        """The memory of dates is bounded, and each line has its own."""
        log = self.http_log()
        for second in range(200):
            exchange = Exchange(self.client, None, BEGAN + second, BEGAN + second)
            exchange.ended = BEGAN + second
            log(exchange)
        self.assertIn("10:16:07.000]", self.lines[-1])
        self.assertLessEqual(len(log._dates), 64)

    def test_a_client_of_a_unix_socket_shows_its_listener(self) -> None:
        """It has no port; HAProxy puts the number of the `bind` there."""
        self.client.address = ("unix", 0)
        others = [SimpleNamespace(bind=SimpleNamespace(name="", id=0)) for _ in range(2)]
        self.frontend.listeners = others
        self.client.listener = self.frontend.listeners[1]
        self.http_log()(self.exchange(CASES[0]))
        self.assertTrue(self.lines[0].startswith("unix:2 ["), self.lines[0])

    def ended_in_a_batch(self, *cases: Case) -> list[Exchange]:
        """Exchanges that have ended in a batch, which then ends."""
        self.batches.senders = []
        log, exchanges = self.http_log(), [self.exchange(each) for each in cases]
        for exchange in exchanges:
            log(exchange)
        self.assertEqual(self.lines, [])
        return exchanges

    def test_lines_have_the_numbers_of_the_moment_when_they_were_due(self) -> None:
        """Whatever has become of them when the lines are written."""
        (exchange,) = self.ended_in_a_batch(CASES[0])
        self.places.taken = 9
        self.frontend.connections.clear()
        backend: Any = exchange.backend
        server: Any = exchange.server
        backend.traffic.scur, server.served = 7, 8
        self.batches.late[0].send_now()
        self.assertIn(" 1/1/0/0/0 0/0 ", self.lines[0])

    def test_a_line_that_fails_costs_no_other(self) -> None:
        exchange, _ = self.ended_in_a_batch(CASES[0], CASES[1])
        exchange.began = None  # type: ignore[assignment]
        self.batches.late[0].send_now()
        self.assertEqual([len(self.flushLoggedErrors(TypeError)), len(self.lines)], [1, 1])
        self.assertIn("HEAD /ok", self.lines[0])


class ConnectLogTests(LogCase):
    """No format."""

    def test_the_short_line_says_who_connected_where(self) -> None:
        """As HAProxy without `option httplog`."""
        ConnectLog(self.frontend, self.lines.append)(self.exchange(CASES[0]))
        self.assertEqual(self.lines, ["Connect from 127.0.0.1:36304 to 127.0.0.1:24003 (f/HTTP)"])

    def test_a_client_that_was_reset_after_a_reload(self) -> None:
        """Its socket is closed, and its frontend has no listeners any more."""

        def closed() -> None:
            raise OSError("Bad file descriptor")

        self.client.transport.socket.getsockname = closed
        ConnectLog(self.frontend, self.lines.append)(self.exchange(CASES[0]))
        self.assertEqual(self.lines, ["Connect from 127.0.0.1:36304 to 0.0.0.0:24003 (f/HTTP)"])

    def test_the_destination_is_that_of_a_proxy_header(self) -> None:
        """As in HAProxy, also where that came to a unix socket."""
        self.client.destination = ("192.0.2.8", 443)
        ConnectLog(self.frontend, self.lines.append)(self.exchange(CASES[0]))
        self.client.transport.socket.getsockname = lambda: "/run/f.sock"
        ConnectLog(self.frontend, self.lines.append)(self.exchange(CASES[0]))
        self.assertEqual(self.lines, ["Connect from 127.0.0.1:36304 to 192.0.2.8:443 (f/HTTP)"] * 2)

    def test_what_is_no_request_is_not_logged(self) -> None:
        """HAProxy writes the short line when a request has been read."""
        ConnectLog(self.frontend, self.lines.append)(self.exchange(CASES[2]))
        self.assertEqual(self.lines, [])

    def test_a_unix_socket_has_no_addresses(self) -> None:
        self.client.address = ("unix", 0)
        self.frontend.listeners = [self.client.listener]
        ConnectLog(self.frontend, self.lines.append)(self.exchange(CASES[0]))
        self.assertEqual(self.lines, ["Connect to unix:1 (f/HTTP)"])


class ChoiceTests(LogCase):
    """Which log a frontend gets."""

    def test_no_target_is_no_log(self) -> None:
        """It then costs nothing."""
        self.assertIsNone(access_log(self.frontend, self.places, []))

    def test_targets_that_want_less_than_info_get_no_access_lines(self) -> None:
        """`log … notice` leaves ordinary requests out."""
        target: Any = SimpleNamespace(sender_of_several=lambda level: None)
        self.assertIsNone(access_log(self.frontend, self.places, [target]))

    def test_each_target_gets_each_line(self) -> None:
        others: list[str] = []
        targets: list[Any] = [
            SimpleNamespace(sender_of_several=lambda level, to=to: to.extend) for to in (self.lines, others)
        ]
        log = access_log(self.frontend, self.places, targets)
        assert log is not None
        log(self.exchange(CASES[0]))
        self.assertEqual(self.lines, others)
        self.assertEqual(len(others), 1)
