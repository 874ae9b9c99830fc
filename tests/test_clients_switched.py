"""Clients of a frontend in mode tcp whose bytes are read as requests: a backend in mode http was chosen for them, or a
rule has said `switch-mode http`. tests/integration/test_streams_beside_haproxy.py compares with HAProxy."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.stream import StreamConnection
from reusedproxy.clients.switched import SwitchedConnection
from tests.clientfakes import OK, Wire, get
from tests.streamfakes import StreamWorld
from tests.test_exchanges_steering import Zone

BACKENDS = (
    "backend web\n mode http\n http-request deny if { path /denied }\n"
    " http-request set-header X-Seen %[var(txn.seen)]\n server w 192.0.2.1:1\n"
    "backend raw\n server r 192.0.2.2:1\n"
    "backend counts\n stick-table type ip size 10 store http_req_cnt,conn_cur\n"
)
#: What the first bytes are decides; of requests nobody is asked again but by these rules.
LOOKS = (
    "frontend f\n bind :1\n tcp-request inspect-delay 5s\n"
    " tcp-request content track-sc0 src table counts\n"
    " tcp-request content reject if { path /refused }\n"
    " tcp-request content set-var(txn.seen) req.len\n"
    " tcp-request content accept if { req.len gt 0 }\n"
    " use_backend raw if { req.payload(0,3) -m str RAW }\n use_backend raw if { path /raw }\n default_backend web\n"
)
SWITCHES = (
    "frontend f\n bind :1\n tcp-request inspect-delay 5s\n"
    " tcp-request content switch-mode http if HTTP\n"
    " http-request deny if { path /front }\n http-request set-header X-Front yes\n"
    " use_backend web if { path_beg / }\n default_backend raw\n"
)
SENT = get("/a")


class SwitchedTests(SynchronousTestCase):
    def world(self, front: str, backends: str = BACKENDS) -> StreamWorld:
        return StreamWorld(self, front + backends)

    def asked(self, world: StreamWorld, *pieces: bytes) -> tuple[Wire, Wire]:
        """A client that has sent this, and the server that has got it."""
        client = world.client()
        for piece in pieces:
            client.feed(piece)
        return client, world.connect("w")

    def end(self, world: StreamWorld, client: Wire, *servers: Wire) -> None:
        """The client leaves, and nothing is left of it."""
        if client.end is None:
            client.eof()
        world.check_rest()

    def test_a_backend_in_mode_http_gets_requests(self) -> None:
        """One after the other, on one connection to the server, each with a line in the log."""
        world = self.world("frontend f\n bind :1\n default_backend web\n")
        client, server = self.asked(world, SENT[:9], SENT[9:])
        self.assertEqual(server.take(), SENT.replace(b"\r\n\r\n", b"\r\nX-Seen: \r\n\r\n"))
        server.feed(OK)
        self.assertEqual(client.take(), OK)
        client.feed(get("/b"))
        self.assertTrue(server.take().startswith(b"GET /b HTTP/1.1\r\n"))
        server.feed(OK)
        client.feed(get("/denied"))
        self.assertTrue(client.take().startswith(OK + b"HTTP/1.1 403 "))
        self.assertEqual([each.flags for each in world.requests], ["--", "--", "PR"])
        self.assertEqual([each.backend_name for each in world.requests], ["web"] * 3)
        self.assertEqual((world.log, world.backends["web"].traffic.stot), ([], 3))
        self.end(world, client)

    def test_who_has_announced_the_client_is_known_to_its_requests(self) -> None:
        """As a PROXY protocol header has said before the first byte."""
        world = self.world(LOOKS)
        client = world.client()
        (before,) = world.frontend.connections
        assert isinstance(before, StreamConnection)
        before.destination, before.announced, before.peer = ("192.0.2.3", 443), {}, ("192.0.2.4", 5)
        client.feed(SENT)
        server = world.connect("w")
        (connection,) = world.frontend.connections
        assert isinstance(connection, ClientConnection) and connection.exchange is not None
        facts = connection.exchange
        self.assertEqual((facts.source, facts.connection_source), (("192.0.2.7", 4711), ("192.0.2.4", 5)))
        self.assertEqual((facts.destination, facts.announced), (("192.0.2.3", 443), {}))
        server.feed(OK)
        self.end(world, client)

    def test_who_is_read_as_requests_while_the_proxy_stops_has_to_hurry(self) -> None:
        """As every client that has not asked yet: it is not waited for as long as its time-outs last."""
        world = self.world(LOOKS)
        client = world.client()
        world.frontend.stop()
        world.advance(5)
        self.assertEqual(client.end, None)
        world.advance(2)
        self.assertNotEqual(client.end, None)
        world.check_rest()

    def test_what_is_no_request_is_refused(self) -> None:
        world = self.world("frontend f\n bind :1\n default_backend web\n")
        for data in (
            b"hello there\r\n\r\n",
            b"\x16\x03\x01\x00\x05hello",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ):
            client = world.client()
            client.feed(data)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "), data)
            self.assertIsNotNone(client.end)
            client.reset()
        self.assertEqual([each.flags for each in world.requests], ["PR"] * 3)
        world.check_rest()

    def test_a_client_that_says_nothing_is_told_so(self) -> None:
        """The time for a head runs from where requests are read."""
        world = self.world("timeout http-request 2s\nfrontend f\n bind :1\n default_backend web\n")
        client = world.client()
        world.advance(2)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))
        client.reset()
        world.check_rest()

    def test_a_client_that_has_left_before_is_answered_nothing(self) -> None:
        world = self.world(LOOKS)
        client = world.client()
        client.eof()
        self.assertEqual((client.take(), [each.flags for each in world.log], world.requests), (b"", ["CR"], []))
        world.check_rest()

    def test_the_first_bytes_choose(self) -> None:
        world = self.world(LOOKS)
        client = world.client()
        client.feed(b"RAW data")
        world.advance(5)  # it could become a request
        self.assertEqual(world.connect("r").take(), b"RAW data")
        client, server = self.asked(world, SENT)
        self.assertTrue(server.take().startswith(b"GET /a "))
        self.assertEqual((world.backends["raw"].traffic.scur, world.backends["web"].traffic.scur), (1, 1))

    def test_rules_for_contents_judge_the_first_request_once_and_the_others_too(self) -> None:
        """What they set and track goes on with the request; they see those that follow, and their use_backend, too."""
        world = self.world(LOOKS)
        client, server = self.asked(world, SENT)
        self.assertIn(b"\r\nX-Seen: 28\r\n", server.take())
        entry = self.entry(world)
        self.assertEqual((entry("http_req_cnt"), entry("conn_cur")), (1, 1))
        server.feed(OK)
        client.take()
        self.assertEqual(entry("conn_cur"), 0)
        client.feed(get("/another"))
        self.assertIn(b"\r\nX-Seen: 34\r\n", server.take())
        server.feed(OK)
        client.take()
        client.feed(get("/refused"))
        self.assertEqual((client.take(), client.end is not None), (b"", True))
        self.assertEqual([each.flags for each in world.requests], ["--", "--", "PR"])
        self.assertEqual((entry("http_req_cnt"), entry("conn_cur")), (2, 0))
        world.check_rest()

    def entry(self, world: StreamWorld) -> Callable[[str], int]:
        """What the table has counted of the only client."""
        table = world.frontend.tables["counts"]

        def value(what: str) -> int:
            (row,) = [row for keys in table.by_key for row in keys.values()]
            return table.value(row, table.slots[what])

        return value

    def test_a_request_for_a_backend_in_mode_tcp_ends_the_connection(self) -> None:
        """As HAProxy's: an answer would be ours, and the server's bytes no answer."""
        world = self.world(LOOKS)
        client, server = self.asked(world, SENT)
        server.feed(OK)
        client.take()
        client.feed(get("/raw"))
        self.assertEqual((client.take(), client.end), (b"", ("close", "led to a backend in mode tcp")))
        self.assertEqual([each.flags for each in world.requests], ["--", "IR"])
        self.assertEqual(world.dialled("r"), 0)
        world.check_rest()

    def test_a_name_of_a_backend_in_mode_tcp_that_is_made_for_a_request_ends_the_connection_too(self) -> None:
        """Wherever the request is led from: it does not go to the default backend."""
        for lines, default in (
            (" tcp-request content accept if { path -m found }\n", "web"),
            (" tcp-request content switch-mode http if HTTP\n", "web"),
            (" tcp-request content switch-mode http if HTTP\n", "raw"),
        ):
            for second in (False, True):
                world = self.world(
                    f"frontend f\n bind :1\n tcp-request inspect-delay 5s\n{lines}"
                    f" use_backend %[path,field(2,/)]\n default_backend {default}\n"
                )
                if not second and "accept" in lines:
                    client = world.client()
                    client.feed(get("/raw"))
                    self.assertTrue(world.connect("r").take().startswith(b"GET /raw "))  # as bytes, so far
                    continue
                client = world.client()
                if second:
                    client.feed(get("/web"))
                    server = world.connect("w")
                    server.feed(OK)
                    self.assertEqual(client.take(), OK)
                client.feed(get("/raw"))
                self.assertEqual((client.take(), client.end is not None), (b"", True), (lines, default, second))
                self.assertEqual((world.dialled("r"), world.dialled("w")), (0, 0))
                world.check_rest()

    def test_what_the_first_bytes_have_decided_holds(self) -> None:
        """Requests have no bytes, as in HAProxy: asked again, either line would end the first, as it does others."""
        for lines in (
            " tcp-request content reject unless { req.payload(0,3) -m str GET }\n default_backend web\n",
            " tcp-request content accept if { req.len gt 2 }\n"
            " use_backend web if { req.payload(0,3) -m str GET }\n default_backend raw\n",
        ):
            world = self.world(f"frontend f\n bind :1\n tcp-request inspect-delay 5s\n{lines}")
            client, server = self.asked(world, SENT)
            server.feed(OK)
            self.assertEqual(client.take(), OK)
            client.feed(SENT)
            self.assertEqual((client.take(), client.end is not None), (b"", True))
            world.check_rest()

    def test_rules_for_contents_may_wait_for_a_name_of_each_request(self) -> None:
        """Those before have done what they do, and do it once; those behind go on when it is known."""
        world = self.world(
            "resolvers dns\n nameserver n 192.0.2.53:53\nfrontend f\n bind :1\n tcp-request inspect-delay 5s\n"
            " tcp-request content track-sc0 src table counts\n"
            " tcp-request content do-resolve(txn.seen,dns,ipv4) path\n"
            " tcp-request content reject if !{ var(txn.seen) -m found }\n default_backend web\n"
        )
        zone: Any = Zone()
        world.frontend.lookups = zone
        client = world.client()
        client.feed(get("/first"))
        zone.asked[0][3]("192.0.2.9")
        server = world.connect("w")
        self.assertIn(b"X-Seen: 192.0.2.9", server.take())
        server.feed(OK)
        client.take()
        client.feed(get("/second"))
        self.assertEqual((server.take(), [each[1] for each in zone.asked]), (b"", ["/first", "/second"]))
        zone.asked[1][3]("192.0.2.10")
        self.assertIn(b"X-Seen: 192.0.2.10", server.take())
        server.feed(OK)
        self.assertEqual((client.take()[-len(OK) :], self.entry(world)("http_req_cnt")), (OK, 2))
        client.feed(get("/third"))
        zone.asked[2][3](None)
        self.assertEqual((client.take(), client.end is not None), (b"", True))
        world.check_rest()

    def test_pipelined_requests_are_all_answered(self) -> None:
        world = self.world(LOOKS)
        client, server = self.asked(world, get("/1") + get("/2"))
        for number in (1, 2):
            self.assertTrue(server.take().startswith(b"GET /%d " % number))
            server.feed(OK)
        self.assertEqual(client.take(), OK + OK)
        self.end(world, client)

    def test_a_client_that_closes_its_side_gets_its_answer(self) -> None:
        world = self.world(LOOKS)
        client, server = self.asked(world, SENT[:20], SENT[20:])
        client.eof()
        server.feed(OK)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200 OK\r\n"))
        client.reset()
        world.check_rest()

    def test_switch_mode_has_the_frontends_rules_for_requests_run(self) -> None:
        """And leaves alone what is no request."""
        world = self.world(SWITCHES)
        client, server = self.asked(world, SENT)
        self.assertIn(b"\r\nX-Front: yes\r\n", server.take())
        server.feed(OK)
        client.take()
        client.feed(get("/front"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 403 "))
        self.end(world, client)
        world = self.world(SWITCHES)
        world.client().feed(b"\x00\x01\x02")
        self.assertEqual(world.connect("r").take(), b"\x00\x01\x02")

    def test_rules_for_contents_see_the_request_that_the_server_gets(self) -> None:
        """Else a client says what lets it in, or hides what keeps it out, and the server gets another request."""
        rules = (
            "frontend f\n bind :1\n tcp-request inspect-delay 5s\n"
            " tcp-request content reject if { hdr(host) -m beg secret }\n"
            " tcp-request content reject if { url * }\n"
            " tcp-request content accept if { hdr(x-key) right }\n"
            " tcp-request content accept if { path /open } { req.ver 1.1 }\n tcp-request content reject\n"
        )
        world = self.world(f"{rules} default_backend web\n")
        for sent in (
            b"CONNECT secret:443 HTTP/1.0\r\n\r\n",
            b"OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Key: right\r\nConnection: x-key\r\n\r\n",
        ):
            client = world.client()
            client.feed(sent)
            self.assertEqual((client.take(), world.log.pop().flags), (b"", "PR"), sent)
        for sent in (b"GET / HTTP/1.1\r\nHost: h\r\nX-Key: right\r\n\r\n", b"GET /open HTTP/1.2\r\nHost: h\r\n\r\n"):
            world = self.world(f"{rules} default_backend web\n")
            client, server = self.asked(world, sent)
            server.feed(OK)
            self.assertEqual(client.take(), OK)
            self.end(world, client)

    def test_a_request_that_comes_after_the_rules_have_decided_is_judged_as_well(self) -> None:
        """Their delay was over, or as much was held as may be: of empty lines, for one, which a server passes over."""
        rules = (
            "frontend f\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content reject if { path_beg /admin }\n"
            " use_backend raw if { path_beg /raw }\n default_backend web\n"
        )
        asked = b"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n"
        for before, pieces in ((0, [b"\r\n" * 8192, asked]), (5, [asked]), (5, [asked[:9], asked[9:]])):
            world = self.world(rules)
            client = world.client()
            world.advance(before)
            for piece in pieces:
                client.feed(piece)
            self.assertEqual((client.take(), world.dialers["w"].open), (b"", []), pieces)
            self.assertEqual([each.flags for each in world.requests], ["PR"], pieces)
            world.check_rest()
        world = self.world(rules)
        client = world.client()
        world.advance(5)
        client.feed(get("/raw"))
        server = world.connect("w")  # its backend is the one that was chosen then
        server.feed(OK)
        self.assertEqual(client.take(), OK)
        self.end(world, client)

    def test_a_rule_that_counts_counts_a_late_client_once(self) -> None:
        """Its rules judge the request that comes behind the delay, too. One that needs the request counts it then; and
        one that a backend has from the same line as its frontend counts for both, as ever."""
        text = (
            "listen f\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content track-sc0 src table counts\n"
            " tcp-request content sc-inc-gpc0(0)\n tcp-request content sc-inc-gpc1(0) if { path /a }\n"
            " tcp-request content sc-inc-gpc1(0) if { path /b }\n use_backend web if { path_beg / } or TRUE\n"
            "defaults\n mode tcp\ndefaults both\n mode http\n tcp-request content sc-inc-gpc0(0) if { always_true }\n"
        )
        backends = BACKENDS.replace("backend web", "backend web from both").replace("conn_cur", "gpc0,gpc1")
        backends = backends.replace("backend raw", "defaults\n mode tcp\n timeout server 20s\nbackend raw")
        for late, counts in ((True, (1, 2, 1)), (False, (1, 2, 1))):
            world = self.world(text, backends)
            client = world.client()
            if late:
                world.advance(5)
            client.feed(SENT)
            server = world.connect("w")
            server.feed(OK)
            client.take()
            entry = self.entry(world)
            self.assertEqual((entry("http_req_cnt"), entry("gpc0"), entry("gpc1")), counts, late)
            client.feed(SENT)
            self.assertEqual((entry("http_req_cnt"), entry("gpc0"), entry("gpc1")), (2, 4, 2), late)
            client.reset()

    def test_where_bytes_may_go_on_as_they_are_nobody_is_judged_by_what_only_one_would_see(self) -> None:
        """What the connection alone is told of is no such thing."""
        rules = (
            "frontend f\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content reject if { hdr(x-bad) yes }\n"
            " tcp-request content accept if { hdr(x-key) right }\n tcp-request content reject if { path /a }\n"
            " use_backend raw if { path_beg /raw }\n default_backend web\n"
        )
        world = self.world(rules)
        for sent in (
            b"GET /a HTTP/1.1\r\nHost: h\r\nX-Key: right\r\nConnection: x-key\r\n\r\n",
            b"GET /raw HTTP/1.1\r\nHost: h\r\nX-Bad: yes\r\nConnection: x-bad\r\n\r\n",
        ):
            client = world.client()
            client.feed(sent)
            self.assertEqual((client.take(), world.log.pop().flags), (b"", "PR"), sent)
        told = b"GET /raw HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, TE\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n"
        client = world.client()
        client.feed(told)
        self.assertEqual(world.connect("r").take(), told)
        client.reset()
        world.check_rest()

    def test_the_connection_counts_once(self) -> None:
        world = self.world("frontend f\n bind :1\n default_backend web\n")
        client = world.client()
        (connection,) = world.frontend.connections
        self.assertIsInstance(connection, SwitchedConnection)
        self.assertEqual((world.places.taken, world.listener.connections), (1, 1))
        client.reset()
        world.check_rest()

    def test_what_is_tracked_is_left_with_a_client_that_asks_for_nothing(self) -> None:
        world = self.world(LOOKS)
        client = world.client()
        client.feed(SENT[:9])
        world.advance(5)
        self.assertEqual(self.entry(world)("conn_cur"), 1)
        client.reset()
        self.assertEqual(self.entry(world)("conn_cur"), 0)
        world.check_rest()

    def test_a_reload_hands_idle_clients_over(self) -> None:
        """To one that reads requests, whose rules judge them; a frontend of streams alone gets none."""
        for text, taken in ((LOOKS, True), ("listen f\n bind :1\n server r 192.0.2.2:1\n", False)):
            world = self.world(LOOKS)
            client: Any
            client, server = self.asked(world, SENT)
            client.socket = SimpleNamespace(getpeername=lambda: ("192.0.2.7", 4711))
            server.feed(OK)
            client.take()
            new = world.reload(text + BACKENDS)
            new.frontend.places = world.places
            world.frontend.stop({world.listener: new.frontend})  # type: ignore[dict-item]
            self.assertEqual((client.end is None, len(new.frontend.connections)), (taken, int(taken)), text)
            if taken:
                client.feed(get("/refused"))
                self.assertEqual(client.take(), b"")
                self.assertEqual([each.flags for each in new.requests], ["PR"])
                self.assertEqual(world.places.taken, 0)

    def test_a_connection_that_has_asked_for_nothing_is_judged_anew(self) -> None:
        world = self.world(LOOKS)
        client = world.client()
        client.feed(SENT[:9])
        world.advance(5)
        (connection,) = world.frontend.connections
        assert isinstance(connection, ClientConnection)
        new = self.world(LOOKS.replace("/refused", "/a"))
        connection.move(new.frontend, False)
        self.assertEqual(self.entry(world)("conn_cur"), 0)
        client.feed(SENT[9:])
        self.assertEqual((client.take(), [each.flags for each in new.requests]), (b"", ["PR"]))
