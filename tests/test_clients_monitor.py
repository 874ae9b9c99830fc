"""`monitor-uri` and `monitor fail`: who asks whether the proxy is there is answered behind rules for contents and
before any other, without a log line."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, UP
from reusedproxy.config.reader import ConfigurationError
from reusedproxy.net.passwords import Passwords
from reusedproxy.wire.whole_answers import WholeAnswer
from tests.clientfakes import OK, get
from tests.rulefakes import ruled, sections
from tests.test_net_passwords import Loop, same

#: As HAProxy 2.6 answers.
READY = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 58\r\ncache-control: no-cache\r\ncontent-type: text/html\r\n\r\n"
    b"<html><body><h1>200 OK</h1>\nService ready.\n</body></html>\n"
)
FAILING = b"HTTP/1.1 503 Service Unavailable\r\n"


class MonitorTests(SynchronousTestCase):
    def test_answered_before_any_rule_and_not_logged(self) -> None:
        world = ruled(self, " monitor-uri /alive\n http-request deny", warm=1)
        client = world.client()
        client.send(get("/alive"))
        self.assertEqual(client.take(), READY)
        client.send(get("http://a/alive"))
        self.assertEqual(client.take(), READY)
        client.send(get("/alive?x"))
        self.assertIn(b"403", client.take())
        self.assertEqual((world.flags(), world.server.asked()), ([(403, "PR")], b""))
        world.check_rest()

    def test_rules_for_contents_come_first(self) -> None:
        """As in HAProxy: they may keep a client out, whose request is logged then, and `monitor fail` sees what they
        set and track."""
        rules = (
            " stick-table type ip size 9 store http_req_cnt,gpc0\n monitor-uri /alive\n"
            " tcp-request content track-sc0 src\n tcp-request content set-var(txn.a) str(seen)\n"
            " tcp-request content reject if { req.hdr(x-from) far } or { sc0_http_req_cnt gt 2 }\n"
            " monitor fail if { sc0_tracked } { var(txn.a) -m str seen } { req.hdr(x-fail) 1 }\n http-request deny"
        )
        world = ruled(self, rules, warm=1)
        client = world.client()
        client.send(get("/alive"))
        self.assertEqual(client.take(), READY)
        client.send(get("/alive", "X-Fail: 1"))
        self.assertTrue(client.take().startswith(FAILING))
        self.assertEqual(world.log, [])
        (table,) = world.frontend.tables.values()
        (row,) = table.each()
        self.assertEqual(table.value(row, table.slots["http_req_cnt"]), 2)
        other = world.client()
        other.send(get("/alive", "X-From: far"))
        self.assertEqual((other.take(), other.gone), (b"", True))
        self.assertEqual(world.flags(), [(-1, "PR")])
        client.send(get("/alive"))
        self.assertEqual(client.take(), READY)
        client.send(get("/alive"))
        self.assertEqual((client.take(), client.gone), (b"", True))
        traffic = world.frontend.traffic
        self.assertEqual((traffic.req_tot, traffic.intercepted, traffic.dreq), (3, 3, 2))
        world.check_rest()

    def test_a_password_that_takes_long_is_waited_for(self) -> None:
        """As for rules: a hash that has yet to be checked is no failure."""
        loop = Loop()
        for said, begins in (("bob:hashed", READY), ("bob:wrong", FAILING), ("nobody:hashed", FAILING)):
            passwords = Passwords(loop, same)
            rules = " monitor-uri /alive\n monitor fail unless { http_auth(L) }"
            world = ruled(self, rules, users="user bob password hashed", passwords=passwords, warm=1)
            client = world.client()
            client.send(get("/alive", f"Authorization: Basic {b64encode(said.encode()).decode()}"))
            self.assertEqual(client.take(), b"", said)
            loop.run()
            self.assertTrue(client.take().startswith(begins), said)
            self.assertEqual(world.log, [])
            world.check_rest()

    def test_rules_for_all_answers_count(self) -> None:
        """`http-after-response` alone, as in HAProxy; whatever the answer is."""
        rules = (
            " monitor-uri /alive\n monitor fail if { nbsrv(be) lt 1 }\n http-response set-header X-B 1\n"
            " http-after-response set-header X-A %[status]"
        )
        world = ruled(self, rules, backend="http-after-response set-header X-C 1", warm=1)
        client = world.client()
        client.send(get("/alive"))
        self.assertEqual(client.take(), READY.replace(b"\r\n\r\n", b"\r\nX-A: 200\r\n\r\n"))
        world.backend.server_changed(world.server.server, DOWN, "test")
        client.send(get("/alive"))
        self.assertIn(b"\r\nX-A: 503\r\n\r\n", client.take())
        world.check_rest()

    def test_head_has_no_body_and_a_client_of_http_1_0_is_left(self) -> None:
        world = ruled(self, " monitor-uri /alive", warm=1)
        client = world.client()
        client.send(get("/alive", method="HEAD", version="1.0"))
        self.assertTrue(client.take().endswith(b"text/html\r\nconnection: close\r\n\r\n"))
        world.check_rest()

    def test_a_body_that_has_not_come_ends_the_connection(self) -> None:
        world = ruled(self, " monitor-uri /alive", warm=1)
        client = world.client()
        client.send(get("/alive", "Content-Length: 3", method="POST") + b"a")
        self.assertIn(b"connection: close", client.take())
        world.check_rest()

    def test_monitor_fail(self) -> None:
        """The usual condition: too few servers are left."""
        lines = (
            " monitor-uri /alive\n acl dead nbsrv(be) lt 1\n monitor fail if dead\n monitor fail unless { always_true }"
        )
        world = ruled(self, lines, warm=1)
        client = world.client()
        server = world.server.server
        for health, begins in ((UP, READY), (DOWN, FAILING), (UP, READY)):
            if server.health != health:
                world.backend.server_changed(server, health, "test")
            client.send(get("/alive"))
            self.assertTrue(client.take().startswith(begins), health)
        self.assertEqual(world.log, [])
        world.check_rest()

    def test_what_has_come_of_a_body_counts(self) -> None:
        """As in HAProxy: what comes later does not."""
        world = ruled(self, " monitor-uri /alive\n monitor fail if { req.body -m sub bad }", warm=1)
        head = get("/alive", "Content-Length: 3", method="POST")
        for pieces, begins in (([head + b"bad"], FAILING), ([head + b"god"], READY), ([head, b"bad"], READY[:17])):
            client = world.client()
            for piece in pieces:
                client.send(piece)
            self.assertEqual(client.take()[: len(begins)], begins, pieces)
        world.check_rest()

    def test_pages_of_the_operators_own(self) -> None:
        """`errorfile 200` and `errorfile 503` are what it answers, as in HAProxy."""
        world = ruled(self, " monitor-uri /alive\n monitor fail if { nbsrv(be) lt 1 }", warm=1)
        world.frontend.errors = {
            200: WholeAnswer(200, b"HTTP/1.1 200 Fine\r\ncontent-length: 2\r\n", b"ok", ends=False),
            503: WholeAnswer(503, b"HTTP/1.1 503 Gone\r\ncontent-length: 2\r\n", b"no", ends=True),
        }
        client = world.client()
        client.send(get("/alive"))
        self.assertEqual(client.take(), b"HTTP/1.1 200 Fine\r\ncontent-length: 2\r\n\r\nok")
        client.send(get("/alive", method="HEAD"))
        self.assertEqual(client.take(), b"HTTP/1.1 200 Fine\r\ncontent-length: 2\r\n\r\n")
        world.backend.server_changed(world.server.server, DOWN, "test")
        client.send(get("/alive"))
        self.assertEqual(client.take(), b"HTTP/1.1 503 Gone\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        self.assertEqual(world.log, [])
        world.check_rest()

    def test_a_frontend_without_a_monitor_does_not_ask_for_one(self) -> None:
        world = ruled(self, "", warm=1)
        self.assertIsNone(world.frontend.monitor)
        client = world.client()
        client.send(get("/alive"))
        world.server.answer(OK)
        world.check_rest()

    def test_what_is_refused(self) -> None:
        for line, text in (
            ("monitor", "'monitor' is followed by 'fail' and a condition: monitor fail if { nbsrv(web) lt 1 }"),
            ("monitor fail", "'monitor fail' needs a condition: monitor fail if { nbsrv(web) lt 1 }, say"),
            ("monitor-uri", "'monitor-uri' needs the path that is asked for: monitor-uri /alive, say"),
            ("monitor fail if { nbsrv(bee) lt 1 }", "there is no backend 'bee': did you mean 'be'?"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                sections(f" {line}")
            self.assertEqual([fault.text for fault in raised.exception.faults], [text])
