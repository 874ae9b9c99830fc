"""What a client asks reaches a server, in whatever pieces it comes, and what the server says reaches the client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.exchanges.own_answers import answer
from reusedproxy.exchanges.serving import Made
from reusedproxy.net.transport import HIGH_WATER
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.heads import Limits, RequestHead
from tests.clientfakes import GET, OK, POST, World, get, response
from tests.wire import Loop

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
READ = 256 * 1024


class OneRequestTests(SynchronousTestCase):
    """A request and its answer."""

    def test_goes_to_the_server_and_back(self) -> None:
        """Over a warm connection, at once, with nothing changed."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        self.assertEqual(world.server.asked(), GET)
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(world.flags(), [(200, "--")])
        self.assertEqual(world.server.dialer.open, [])
        world.check_rest()

    def test_waits_for_a_connection_that_is_opened_for_it(self) -> None:
        """Without an idle connection the request goes out as soon as one is ready."""
        world = World(self)
        client = world.client()
        client.send(GET)
        world.server.connect()
        self.assertEqual(world.server.asked(), GET)
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_second_on_the_same_connection(self) -> None:
        """Keep-alive is what HTTP/1.1 says without a word."""
        world = World(self, warm=1)
        client = world.client()
        for _ in range(3):
            client.send(GET)
            world.server.answer()
        self.assertEqual(client.take(), OK * 3)
        self.assertEqual(client.connection.requests, 3)
        world.check_rest()

    def test_connection_close(self) -> None:
        """The client's wish ends its connection, says so, and does not touch the server's."""
        world = World(self, warm=1)
        client = world.client()
        client.send(get("/", "Connection: close"))
        self.assertNotIn(b"onnection", world.server.asked())
        world.server.answer()
        self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nok")
        self.assertTrue(client.gone)
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_empty_lines_before_it_are_skipped(self) -> None:
        """RFC 9112 section 2.2."""
        for before in (b"\r\n", b"\r\n\r\n"):
            world = World(self, warm=1)
            client = world.client()
            client.send(before + GET)
            self.assertEqual(world.server.asked(), GET)
            world.server.answer()
            world.check_rest()

    def test_an_empty_line_in_two_pieces_is_no_request(self) -> None:
        """After it, silence is the silence of a client that waits."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.take()
        client.send(b"\r")
        client.send(b"\n")
        world.advance(20)
        self.assertEqual(client.take(), b"")
        self.assertTrue(client.gone)
        world.check_rest()

    def test_http10_is_closed_after_the_answer(self) -> None:
        """An HTTP/1.0 client without a wish reads until the end."""
        world = World(self, warm=1)
        client = world.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual(world.server.asked(), b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        world.server.answer()
        self.assertIn(b"connection: close\r\n", client.take())
        self.assertTrue(client.gone)
        world.check_rest()

    def test_http10_with_keep_alive_stays(self) -> None:
        """And is told so, since HTTP/1.0 knows nothing of it otherwise."""
        world = World(self, warm=1)
        client = world.client()
        for _ in range(2):
            client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            world.server.answer()
            self.assertIn(b"\r\nconnection: keep-alive\r\n\r\nok", client.take())
        self.assertFalse(client.gone)
        world.check_rest()

    def test_head_has_no_body_whatever_its_length_says(self) -> None:
        """And the connection serves on, on both sides."""
        world = World(self, warm=1)
        client = world.client()
        client.send(get("/", method="HEAD") + GET)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        world.server.answer(head)
        world.server.answer()
        self.assertEqual(client.take(), head + OK)
        world.check_rest()

    def test_204_and_304_have_no_body(self) -> None:
        """The next answer follows them."""
        for status in ("204 No Content", "304 Not Modified"):
            world = World(self, warm=1)
            client = world.client()
            client.send(GET + GET)
            head = f"HTTP/1.1 {status}\r\nETag: x\r\n\r\n".encode()
            world.server.answer(head)
            world.server.answer()
            self.assertEqual(client.take(), head + OK)
            world.check_rest()

    def test_head_to_http10_says_nothing_of_chunks(self) -> None:
        """RFC 9112 section 6.1: no Transfer-Encoding to HTTP/1.0, not even where no body follows."""
        world = World(self, warm=1)
        client = world.client()
        client.send(b"HEAD / HTTP/1.0\r\n\r\n")
        world.server.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        world.check_rest()

    def test_until_close(self) -> None:
        """A body that the server ends by closing goes on chunked, and the client's connection stays."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\n\r\nsome")
        world.server.answer(b" more")
        world.server.eof()
        self.assertEqual(
            client.take(), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n5\r\n more\r\n0\r\n\r\n"
        )
        self.assertFalse(client.gone)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_until_close_to_http10(self) -> None:
        """It goes on as one that we end by closing."""
        world = World(self, warm=1)
        client = world.client()
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        world.server.answer(b"HTTP/1.1 200 OK\r\n\r\nsome")
        world.server.answer(b" more")
        world.server.eof()
        self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nsome more")
        self.assertEqual(client.wire.end, ("close", "answer without a length"))
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_chunked_to_http10_becomes_until_close(self) -> None:
        """The payload alone."""
        world = World(self, warm=1)
        client = world.client()
        client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        world.server.answer(CHUNKED_OK[:-9])
        world.server.answer(CHUNKED_OK[-9:])
        self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok")
        self.assertTrue(client.gone)
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_interim_answers_pass(self) -> None:
        """100 and 103, before the real one."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        world.server.answer(interim)
        world.server.answer(interim + OK)
        self.assertEqual(client.take(), interim * 2 + OK)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_interim_answers_do_not_pass_to_http10(self) -> None:
        """RFC 9110 section 15.2."""
        world = World(self, warm=1)
        client = world.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        world.server.answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        self.assertNotIn(b"100", client.take())
        world.check_rest()

    def test_an_unasked_101_is_a_fault(self) -> None:
        """Nobody asked to switch: 502, and that connection is not used again."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw")
        self.assertTrue(client.take().startswith(b"HTTP/1.1 502 "))
        self.assertEqual(world.flags(), [(502, "PH")])
        self.assertEqual(world.server.pool.idle, [])
        world.check_rest()


class PipelineTests(SynchronousTestCase):
    """Requests that come before the answers to those before them."""

    def test_the_order_is_kept(self) -> None:
        """One is under way at a time, the answers come in the order of the requests."""
        world = World(self, warm=3)
        client = world.client()
        client.send(b"".join(get(f"/{n}") for n in range(5)))
        for n in range(5):
            self.assertEqual(world.server.asked(), get(f"/{n}"))
            world.server.answer(response(b"%d" % n))
        self.assertEqual(client.take(), b"".join(response(b"%d" % n) for n in range(5)))
        world.check_rest()

    def test_five_hundred_at_once_do_not_recurse(self) -> None:
        """Neither through servers nor with answers of our own."""
        for pages in ([], [Page(b"page")]):
            world = World(self, warm=1)
            world.frontend.pages.extend(pages)
            client = world.client()
            client.send(GET * 500)
            while world.server.busy:
                world.server.answer()
            if pages:
                for _ in range(500):
                    world.advance(0)
            self.assertEqual(client.connection.requests, 500)
            self.assertEqual(len(world.log), 500)
            world.check_rest()

    def test_bodies_between_them(self) -> None:
        """A body ends where it ends, and the next request begins there."""
        world = World(self, warm=1)
        client = world.client()
        client.send(POST + b"body" + CHUNKED_POST + GET)
        for sent in (POST + b"body", CHUNKED_POST, GET):
            self.assertEqual(world.server.asked(), sent)
            world.server.answer()
        self.assertEqual(client.take(), OK * 3)
        world.check_rest()

    def test_what_waits_is_bounded(self) -> None:
        """While one is answered, about a head's size and one read of further requests is held, again and again."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.incoming = GET * 20_000  # 0.6 MB
        most = 0
        client.wire.pump()
        while world.server.busy:
            world.server.answer()
            client.wire.pump()
            most = max(most, len(client.connection._buffer))
        self.assertEqual(len(world.log), 20_000)
        self.assertLessEqual(most, Limits().max_head + READ)
        world.check_rest()

    def test_a_slow_reader_gets_no_further_answers(self) -> None:
        """Its next requests are not begun, and none of them is lost."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        answer = response(bytes(HIGH_WATER + 1))
        client.send(GET * 3)
        world.server.answer(answer)
        self.assertEqual(world.server.busy, [])
        client.send(GET * 2)
        self.assertEqual(world.server.busy, [])
        client.wire.go_on()
        for _ in range(4):
            world.server.answer()
        self.assertEqual(client.take(), answer + OK * 4)
        world.check_rest()

    def test_a_head_cut_by_a_slow_reader(self) -> None:
        """Bytes of a head that come while the client takes nothing are kept, at every cut."""
        for cut in range(1, len(GET)):
            world = World(self, warm=1)
            client = world.client()
            client.send(GET + GET[:cut])
            client.wire.stall()
            answer = response(bytes(HIGH_WATER + 1))
            world.server.answer(answer)
            client.send(GET[cut:])
            client.wire.go_on()
            world.server.answer()
            self.assertEqual(client.take(), answer + OK)
            world.check_rest()

    def test_our_own_answers_to_a_slow_reader_are_bounded(self) -> None:
        """A thousand requests for a page in one read make no thousand pages in memory; over real sockets."""
        loop = Loop(self)
        world = World(self)
        page = Page(bytes(50_000))
        world.frontend.pages.append(page)
        world.frontend._poller = loop.poller
        near, far = loop.pair(buffers=4096)
        far.stall()
        listener: Any = world.listener
        listener.connections += 1
        world.frontend.connection_made(near, ("192.0.2.7", 1), listener)
        far.send(GET * 100)
        loop.pump()
        (connection,) = world.frontend.connections
        self.assertLess(page.asked, 10)
        assert isinstance(connection, ClientConnection)
        self.assertLess(connection.transport.unsent, HIGH_WATER + 3 * 50_000)
        far.go_on()
        loop.pump()
        self.assertEqual(page.asked, 100)
        self.assertEqual(len(far.received), 100 * len(answer(200, page.body, "text/plain", close=False)))
        world.check_rest()

    def test_what_follows_a_last_request_is_dropped(self) -> None:
        """After `Connection: close` nothing is read; the client still gets its answer whole."""
        world = World(self, warm=1)
        client = world.client()
        client.send(get("/", "Connection: close") + GET)
        world.server.asked()
        world.server.answer()
        self.assertEqual(world.server.asked(), b"")
        self.assertEqual(client.wire.end, ("drain", "asked for by the request"))
        client.wire.eof()
        self.assertTrue(client.gone)
        world.check_rest()

    def test_a_client_that_ends_its_side_gets_all_it_asked_for(self) -> None:
        """Half-closed, with one request under way and another waiting."""
        for second in (GET, POST + b"body", GET + b"\r\n"):
            world = World(self, warm=1)
            client = world.client()
            client.send(GET + second)
            client.wire.eof()
            world.server.answer()
            world.server.answer()
            last = OK if second.endswith(b"\r\n\r\n\r\n") else response(b"ok", "connection: close")
            self.assertEqual(client.take(), OK + last)
            self.assertTrue(client.gone)
            world.check_rest()

    def test_half_a_request_at_the_end_of_a_pipeline(self) -> None:
        """The whole ones are answered, the half one is a 400, as HAProxy does."""
        for rest, flags in ((GET[:9], "CR"), (POST + b"bo", "PR")):
            world = World(self, warm=1)
            client = world.client()
            client.send(GET + rest)
            client.wire.eof()
            world.server.answer()
            answered = client.take()
            self.assertTrue(answered.startswith(OK + b"HTTP/1.1 400 "))
            self.assertEqual(world.flags(), [(200, "--"), (400, flags)])
            self.assertTrue(client.gone)
            world.check_rest()


class Page:
    """An answer of our own to every request."""

    rules: Steps = []
    admin = ()
    answer_rules = None
    users = ()

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.asked = 0

    def wants(self, target: bytes) -> bool:
        return True

    def answer(self, head: RequestHead, admin: bool) -> Made:
        self.asked += 1
        return Made(200, "text/plain", iter([self.body]))

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        raise NotImplementedError


class CutTests(SynchronousTestCase):
    """The network cuts where it likes."""

    def exchange(
        self, sent: bytes, pieces: Iterable[bytes], answered: Iterable[bytes] = (OK,), takes: bytes = OK
    ) -> None:
        world = World(self, warm=1)
        client = world.client()
        for piece in pieces:
            client.send(piece)
        self.assertEqual(world.server.asked(), sent)
        for piece in answered:
            world.server.answer(piece)
        self.assertEqual(client.take(), takes)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_requests_cut_at_every_byte(self) -> None:
        """A head, a body with a length, a chunked one."""
        for message in (GET, POST + b"body", CHUNKED_POST):
            for cut in range(1, len(message)):
                self.exchange(message, (message[:cut], message[cut:]))

    def test_requests_one_byte_at_a_time(self) -> None:
        """Nothing is lost, nothing is added."""
        for message in (GET, POST + b"body", CHUNKED_POST):
            self.exchange(message, [message[at : at + 1] for at in range(len(message))])

    def test_answers_cut_at_every_byte(self) -> None:
        """With a length, chunked, after an interim one."""
        for message in (OK, CHUNKED_OK, b"HTTP/1.1 100 Continue\r\n\r\n" + OK):
            for cut in range(1, len(message)):
                self.exchange(GET, [GET], (message[:cut], message[cut:]), message)

    def test_two_requests_cut_at_every_byte(self) -> None:
        """The end of one and the beginning of the next may come together."""
        both = POST + b"body" + GET
        for cut in range(1, len(both)):
            world = World(self, warm=1)
            client = world.client()
            client.send(both[:cut])
            client.send(both[cut:])
            world.server.answer()
            world.server.answer()
            self.assertEqual(world.server.asked(), both)
            self.assertEqual(client.take(), OK + OK)
            world.check_rest()
