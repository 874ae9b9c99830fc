"""Answers that are held back while their rules wait for more of them, or for a time."""

from __future__ import annotations

from gzip import decompress
from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.compression import Compressor
from reusedproxy.wire.bodies import ChunkedBody, chunk, payload
from reusedproxy.wire.heads import Limits
from tests.clientfakes import GET, OK, get
from tests.rulefakes import ruled

WAIT = "http-response wait-for-body time 2s"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SHOW = "http-response set-header X-Body %[res.body]-%[res.body_len]-%[res.body_size]"


class WithheldTests(SynchronousTestCase):
    def asked(self, rules: str = "", backend: str = f"{WAIT}\n {SHOW}", request: bytes = GET, **how: Any) -> Any:
        world = ruled(self, rules, backend=backend, warm=1, **how)
        client = world.client()
        client.send(request)
        self.assertNotEqual(world.server.asked(), b"")
        return world, client

    def test_rules_see_as_much_of_a_body_as_a_buffer_holds(self) -> None:
        """`tune.bufsize` is 64k."""
        rules = f"{WAIT}\n http-response deny if {{ res.body -m sub bad }}"
        world, client = self.asked(backend=rules, limits=Limits(buffer=1 << 16))
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 40003\r\n\r\n" + b"x" * 40_000)
        self.assertEqual(client.take(), b"")
        world.server.answer(b"bad")
        self.assertIn(b" 502 ", client.take())
        world.check_rest()

    def test_rules_behind_a_wait_see_the_body_and_those_before_it_are_run_once(self) -> None:
        before = "http-response add-header X-Before 1"
        world, client = self.asked("http-response add-header X-Front 1", f"{before}\n {WAIT}\n {SHOW}")
        world.server.answer(HEAD + b"ab")
        self.assertEqual(client.take(), b"")
        world.server.answer(b"cd")
        self.assertEqual(client.take(), b"")
        world.server.answer(b"ef")
        answer = client.take()
        self.assertEqual((answer.count(b"X-Before"), answer.count(b"X-Front")), (1, 1))
        self.assertIn(b"X-Body: abcdef-6-6\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nabcdef"))
        self.assertEqual(world.flags(), [(200, "--")])
        client.send(GET)  # on the same connections
        world.server.answer(HEAD + b"abcdef")
        self.assertTrue(client.take().endswith(b"abcdef"))
        world.check_rest()

    def test_what_has_come_with_its_head_is_not_waited_for(self) -> None:
        for answer in (HEAD + b"abcdef", b"HTTP/1.1 204 No Content\r\n\r\n", OK):
            world, client = self.asked()
            world.server.answer(answer)
            self.assertNotEqual(client.take(), b"", answer)
            world.check_rest()

    def test_so_much_of_it_may_be_enough(self) -> None:
        """Bytes of the body are counted, not those that frame it; and never more are waited for than may be held."""
        world, client = self.asked(backend=f"{WAIT} at-least 4\n {SHOW}")
        world.server.answer(CHUNKED + b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n")
        self.assertEqual(client.take(), b"")
        world.server.answer(b"1\r\nd\r\n")
        self.assertIn(b"X-Body: abcd-4-4\r\n", client.take())
        world.server.answer(b"1\r\ne\r\n0\r\n\r\n")
        self.assertTrue(client.take().endswith(b"1\r\ne\r\n0\r\n\r\n"))
        world.check_rest()
        world, client = self.asked()
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"a" * 10000)
        self.assertEqual(client.take(), b"")
        world.server.answer(b"b" * 10000)
        self.assertEqual(len(client.take().partition(b"\r\n\r\n")[2]), 20000)
        world.server.answer(b"c" * 20000)
        world.check_rest()

    def test_a_body_that_does_not_come_in_time_is_answered_for(self) -> None:
        world, client = self.asked()
        world.server.answer(HEAD + b"ab")
        world.advance(1)
        self.assertEqual(client.take(), b"")
        world.advance(1)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 504 "))
        self.assertEqual(world.flags(), [(504, "sH")])
        world.check_rest()

    def test_a_server_that_leaves_meanwhile_has_not_answered(self) -> None:
        world, client = self.asked()
        world.server.answer(HEAD + b"ab")
        world.server.reset()
        self.assertTrue(client.take().startswith(b"HTTP/1.1 502 "))
        world.advance(5)
        self.assertEqual([status for status, _ in world.flags()], [502])
        world.check_rest()

    def test_a_client_that_leaves_meanwhile_leaves_nothing_behind(self) -> None:
        for rule in (WAIT, "http-response pause 3s"):
            world, client = self.asked(backend=rule)
            world.server.answer(HEAD + b"ab")
            client.wire.reset()
            world.advance(20)
            self.assertEqual(len(world.log), 1)
            world.check_rest()

    def test_a_pause_goes_on_by_itself(self) -> None:
        """With an answer that has come as a whole, and with one that comes meanwhile."""
        for first, rest in ((HEAD + b"abcdef", b""), (HEAD + b"abc", b"def")):
            world, client = self.asked(backend=f"http-response pause 3s\n {SHOW}")
            world.server.answer(first)
            if rest:
                world.server.answer(rest)
            world.advance(2)
            self.assertEqual(client.take(), b"")
            world.advance(1)
            answer = client.take()
            self.assertIn(b"X-Body: abcdef-6-6", answer)
            self.assertTrue(answer.endswith(b"\r\n\r\nabcdef"))
            world.check_rest()

    def test_what_comes_during_a_pause_is_bounded(self) -> None:
        world, client = self.asked(backend="http-response pause 3s")
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"a" * 10000)
        exchange = world.frontend.connections.copy().pop().exchange
        transport = exchange.connection.transport
        self.assertTrue(transport.reading)
        world.server.answer(b"b" * 10000)
        self.assertFalse(transport.reading)
        world.advance(3)
        self.assertTrue(transport.reading)
        world.server.answer(b"c" * 80000)
        self.assertEqual(len(client.take().partition(b"\r\n\r\n")[2]), 100000)
        world.check_rest()

    def test_a_rule_behind_a_wait_may_answer_in_its_place(self) -> None:
        rules = f"{WAIT}\n http-response deny deny_status 502 if {{ res.body -m sub secret }}"
        world, client = self.asked(backend=rules)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nmy se")
        world.server.answer(b"cre")
        self.assertTrue(client.take().endswith(b"my secre"))
        world, client = self.asked(backend=rules)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nmy se")
        world.server.answer(b"cret")
        answer = client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 502 "), answer)
        self.assertNotIn(b"secre", answer)
        world.check_rest()

    def test_one_wait_may_follow_another(self) -> None:
        world, client = self.asked(f"{WAIT} at-least 3\n http-response add-header X-Two 1", f"{WAIT} at-least 2")
        world.server.answer(HEAD + b"a")
        world.server.answer(b"b")
        self.assertEqual(client.take(), b"")
        world.server.answer(b"c")
        self.assertIn(b"X-Two: 1\r\n", client.take())
        world.server.answer(b"def")
        world.check_rest()

    def test_an_answer_that_overtakes_its_request_is_held_back_as_well(self) -> None:
        """The rest of the request is sent meanwhile; and if all of it is, the exchange still waits for the rules."""
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab"
        for rest in (b"", b"cd"):
            world, client = self.asked(backend="http-response pause 3s", request=post)
            world.server.answer(HEAD + b"abcdef")
            if rest:
                client.send(rest)
                self.assertTrue(world.server.asked().endswith(b"cd"))
            world.advance(2)
            self.assertEqual(client.take(), b"")
            world.advance(1)
            self.assertTrue(client.take().endswith(b"abcdef"))
            if not rest:
                client.send(b"cd")
            world.check_rest()

    def test_an_answer_that_is_compressed_is_so_when_it_goes_on(self) -> None:
        world = ruled(self, "", backend=f"{WAIT}\n {SHOW}", warm=1)
        route = world.frontend.default_route
        assert route is not None
        route.compressor = Compressor(("gzip",), (), False, 0)
        client = world.client()
        client.send(get("/", "Accept-Encoding: gzip"))
        world.server.answer(HEAD + b"abc")
        world.server.answer(b"def")
        answer = client.take()
        self.assertIn(b"X-Body: abcdef-6", answer)
        self.assertIn(b"content-encoding: gzip", answer)
        world.check_rest()

    def test_rules_see_the_content_however_the_server_frames_it_and_whatever_the_client_is_sent(self) -> None:
        """As in HAProxy, where rules see no framing: neither the server's chunks nor those in which a client of 1.1
        is sent a body that ends with its connection, nor what compression makes of it."""
        text = b"Content-Type: text/plain\r\n"
        forms = (
            ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n" + text, lambda data: data, b""),
            ("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + text, chunk, b"0\r\n\r\n"),
            ("close", b"HTTP/1.1 200 OK\r\n" + text, lambda data: data, None),
            ("close of 1.0", b"HTTP/1.0 200 OK\r\n" + text, lambda data: data, None),
        )
        splits = ((b"secret",), (b"sec", b"ret"), (b"s", b"e", b"c", b"r", b"e", b"t"))
        for (form, head, framed, last), pieces, with_head, version, coded in product(
            forms, splits, (False, True), ("1.1", "1.0"), (False, True)
        ):
            case = (form, pieces, with_head, version, coded)
            world = ruled(self, SHOW, backend=f"{WAIT}\n {SHOW}", warm=1)
            if coded:
                route = world.frontend.default_route
                assert route is not None
                route.compressor = Compressor(("gzip",), (), False, 0)
            client = world.client()
            client.send(get("/", "Accept-Encoding: gzip", version=version))
            if not with_head:
                world.server.answer(head + b"\r\n")
            for number, piece in enumerate(pieces):
                world.server.answer((head + b"\r\n" if with_head and not number else b"") + framed(piece))
            if last is None:
                world.server.eof()
            elif last:
                world.server.answer(last)
            answer = client.take()
            self.assertIn(b"X-Body: secret-6-6\r\n", answer, case)
            self.assertEqual(answer.count(b"X-Body"), 1, case)
            sent, (_, body) = answer.lower(), answer.split(b"\r\n\r\n", 1)
            if b"transfer-encoding: chunked" in sent:
                body = payload(ChunkedBody(framed=False), body)
            if b"content-encoding: gzip" in sent:
                body = decompress(body)
            self.assertEqual(body, b"secret", case)
            world.check_rest()

    def test_an_answer_with_what_a_rule_looks_for_is_denied_however_it_ends(self) -> None:
        for test, at_least in product(("-m sub secret", "-m beg sec", "-m reg ^secret$"), ("", " at-least 6")):
            rules = f"{WAIT}{at_least}\n http-response deny if {{ res.body {test} }}"
            world, client = self.asked(backend=rules)
            world.server.answer(b"HTTP/1.1 200 OK\r\n\r\n")
            world.server.answer(b"sec")
            self.assertEqual(client.take(), b"", test)
            world.server.answer(b"ret")
            if not at_least:
                world.server.eof()
            self.assertIn(b" 502 ", client.take(), test)
            world.check_rest()

    def test_what_frames_a_body_that_ends_with_its_connection_is_not_waited_for(self) -> None:
        world, client = self.asked(backend=f"{WAIT} at-least 9\n {SHOW}")
        world.server.answer(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(8):
            world.server.answer(b"a")
            self.assertEqual(client.take(), b"")
        world.server.answer(b"a")
        self.assertIn(b"X-Body: aaaaaaaaa-9-9\r\n", client.take())
        world.server.eof()
        world.check_rest()

    def test_another_protocol_is_not_waited_for(self) -> None:
        upgrade = get("/", "Connection: upgrade", "Upgrade: chat")
        world, client = self.asked(backend=f"{WAIT}\n http-response pause 5s", request=upgrade)
        world.server.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhi")
        self.assertTrue(client.take().endswith(b"\r\n\r\nhi"))
