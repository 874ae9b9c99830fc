"""What the proxy answers in its own name, when, and how the log tells it: HAProxy's statuses, pages and flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.own_answers import ERRORS, KEEPING
from reusedproxy.wire.heads import Limits
from tests.clientfakes import GET, OK, POST, TIMEOUTS, Client, World, get

BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n123"


class RefusalTests(SynchronousTestCase):
    """Requests that cannot be taken: answered, closed, one line in the log, and no server hears of them."""

    def refused(self, sent: bytes | list[bytes], status: int) -> None:
        world = World(self, warm=1)
        client = world.client()
        for piece in sent if isinstance(sent, list) else [sent]:
            client.send(piece)
        answered = client.take()
        self.assertEqual(answered, ERRORS[status])
        self.assertIn(b"\r\nconnection: close\r\n", answered)
        self.assertEqual(world.server.asked(), b"")
        self.assertEqual(world.flags(), [(status, "PR")])
        self.assertEqual(world.frontend.traffic.ereq, 1)
        self.assertEqual(client.wire.end[0], "drain")
        client.wire.eof()
        self.assertTrue(client.gone)
        world.check_rest()

    def test_each_with_its_status(self) -> None:
        """The status says what is wrong."""
        cases = {
            400: b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            413: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            414: b"GET /" + b"x" * Limits().max_head,
            417: get("/", "Expect: wonders"),
            431: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * Limits().max_head,
            501: get("/", "Transfer-Encoding: gzip, chunked"),
            505: get("/", version="3.0"),
        }
        for status, sent in cases.items():
            self.refused(sent, status)

    def test_smuggling_is_refused(self) -> None:
        """RFC 9112 section 6.3: two lengths, or a length beside chunks."""
        self.refused(get("/", "Content-Length: 3", "Transfer-Encoding: chunked"), 400)
        self.refused(get("/", "Content-Length: 3", "Content-Length: 4"), 400)

    def test_a_body_that_is_bad_from_the_beginning(self) -> None:
        """It came with its head, so nothing has gone out yet."""
        self.refused(get("/", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n", 400)

    def test_junk_in_pieces(self) -> None:
        """It is refused as soon as no further byte can mend it."""
        self.refused([b"GE", b"T / HTTP/1.1\r\nHo", b"st : a\r\n"], 400)

    def test_after_good_requests(self) -> None:
        """Those before it are answered first."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET + b"\x16\x03\x01")
        world.server.answer()
        self.assertEqual(client.take(), OK + ERRORS[400])
        self.assertEqual(world.flags(), [(200, "--"), (400, "PR")])
        client.wire.eof()
        world.check_rest()

    def test_a_body_that_turns_bad(self) -> None:
        """Its head has gone to a server already, whose connection is not used again."""
        world = World(self, warm=1)
        client = world.client()
        client.send(get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n")
        client.send(b"zz\r\n")
        self.assertEqual(client.take(), ERRORS[400])
        self.assertEqual(world.flags(), [(400, "PH")])
        self.assertEqual(world.server.wires[0].end, ("abort", "exchange failed"))
        client.wire.eof()
        world.check_rest()


class ServerFaultTests(SynchronousTestCase):
    """What servers do wrong."""

    def answered(self, sent: bytes, do: Callable[..., object], status: int, flags: str, **settings: Any) -> None:
        world = World(self, warm=1, **settings)
        client = world.client()
        client.send(sent)
        do(world.server)
        self.assertEqual(client.take(), KEEPING[status])
        self.assertEqual(world.flags(), [(status, flags)])
        # All of its request was read, so the client may ask again, as behind HAProxy.
        client.send(GET)
        if world.server.dialer.open:
            world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_who_is_not_kept(self) -> None:
        """A client that has more to send of the request, or that is leaving."""
        for asks in (POST, get("/", "Connection: close"), get("/", version="1.0")):
            world = World(self, without_backend=True)
            client = world.client()
            client.send(asks)
            self.assertEqual(client.take(), ERRORS[503])
            client.wire.eof()
            self.assertTrue(client.gone)
            world.check_rest()

    def test_a_client_of_http_1_0_is_told_that_it_is_kept(self) -> None:
        """If it has asked for that; as in HAProxy."""
        world = World(self, without_backend=True)
        client = world.client()
        for _ in range(2):
            client.send(get("/", "Connection: keep-alive", version="1.0"))
            head, _, body = client.take().partition(b"\r\n\r\n")
            self.assertEqual((head[9:12], head.count(b"\r\nconnection: keep-alive")), (b"503", 1))
            self.assertTrue(body.startswith(b"<html>"))
        client.wire.eof()
        world.check_rest()

    def test_junk(self) -> None:
        """502, and whose fault it was."""
        self.answered(GET, lambda server: server.answer(b"SSH-2.0\r\n"), 502, "PH")

    def test_half_a_head(self) -> None:
        """The server closes, or is reset, in the middle of it."""
        for end in ("eof", "reset"):
            self.answered(GET, lambda server, end=end: (server.answer(OK[:9]), getattr(server, end)()), 502, "SH")

    def test_silence(self) -> None:
        """504 after `timeout server`."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.advance(19)
        self.assertEqual(client.take(), b"")
        world.advance(1)
        self.assertEqual(client.take(), KEEPING[504])
        self.assertEqual(world.flags(), [(504, "sH")])
        world.check_rest()

    def test_no_server(self) -> None:
        """503 at once, whether the frontend has no backend or the backend no server left."""
        world = World(self, without_backend=True)
        client = world.client()
        client.send(GET)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "SC")])
        world.check_rest()
        world = World(self)
        world.server.server.judge("DOWN", world.clock.seconds())
        world.backend.use_usable()
        client = world.client()
        client.send(GET)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "SC")])
        self.assertEqual((world.backend.traffic.econ, world.server.server.traffic.econ), (1, 0))
        world.check_rest()

    def test_head_gets_the_head_alone(self) -> None:
        """RFC 9110 section 9.3.2; HAProxy does so, too."""
        world = World(self, without_backend=True)
        client = world.client()
        client.send(get("/", method="HEAD"))
        answered = client.take()
        self.assertTrue(answered.startswith(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 107\r\n"))
        self.assertTrue(answered.endswith(b"\r\n\r\n"))
        self.assertEqual(world.log[0].bytes_out, len(answered))
        world.check_rest()

    def test_the_backend_counts_its_errors(self) -> None:
        """A 5xx of our own is one of the backend's, but not of the server's."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.eof()
        world.server.connect()
        world.server.answer(b"junk\r\n")
        self.assertEqual(world.backend.traffic.hrsp[5], 1)
        self.assertEqual(world.server.server.traffic.hrsp[5], 0)
        self.assertEqual(world.frontend.traffic.hrsp[5], 1)
        world.check_rest()


class BrokenAnswerTests(SynchronousTestCase):
    """An answer that has begun and cannot be completed."""

    def begun(self, head: bytes) -> tuple[World, Client]:
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(head)
        return world, client

    def test_with_a_length_what_came_is_passed_on(self) -> None:
        """The client sees that bytes are missing, as behind HAProxy."""
        for end, flags in (("eof", "SD"), ("reset", "SD")):
            world, client = self.begun(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
            getattr(world.server, end)()
            self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
            self.assertEqual(client.wire.end, ("close", "answer broken off"))
            self.assertEqual(world.flags(), [(200, flags)])
            world.check_rest()

    def test_chunked_the_last_chunk_is_missing(self) -> None:
        """And a chunk that is malformed ends it."""
        world, client = self.begun(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        world.server.answer(b"zz\r\n")
        self.assertTrue(client.take().endswith(b"2\r\nok\r\n"))
        self.assertEqual(client.wire.end, ("close", "answer broken off"))
        self.assertEqual(world.flags(), [(200, "PD")])
        world.check_rest()

    def test_until_close_the_last_chunk_is_missing(self) -> None:
        """It goes on chunked, so that the client can tell."""
        world, client = self.begun(b"HTTP/1.1 200 OK\r\n\r\nab")
        world.server.reset()
        self.assertTrue(client.take().endswith(b"\r\n\r\n2\r\nab\r\n"))
        self.assertEqual(client.wire.end, ("close", "answer broken off"))
        self.assertEqual(world.flags(), [(200, "SD")])
        world.check_rest()

    def test_until_close_to_http10_only_a_reset_can_tell(self) -> None:
        """A plain end would look like the answer's."""
        for head in (b"\r\nab", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"):
            world = World(self, warm=1)
            client = world.client()
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            world.server.answer(b"HTTP/1.1 200 OK\r\n" + head)
            world.server.reset()
            self.assertEqual(client.wire.end, ("abort", "exchange broken off"))
            self.assertEqual(world.flags(), [(200, "SD")])
            world.check_rest()

    def test_a_server_that_stops(self) -> None:
        """`timeout server` in the middle of a body."""
        world, client = self.begun(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        world.advance(15)
        world.server.answer(b"c")
        world.advance(15)
        self.assertEqual(world.log, [])
        world.advance(5)
        self.assertEqual(world.flags(), [(200, "sD")])
        self.assertTrue(client.gone)
        world.check_rest()


class TimeoutTests(SynchronousTestCase):
    """Every wait has its end, and the log says whose it was."""

    def test_a_client_that_says_nothing(self) -> None:
        """408 after `timeout http-request`, counted from its connection."""
        world = World(self)
        client = world.client()
        world.advance(9)
        self.assertFalse(client.gone)
        world.advance(1)
        self.assertEqual(client.take(), ERRORS[408])
        self.assertEqual(world.flags(), [(408, "cR")])
        client.wire.eof()
        world.check_rest()

    def test_a_first_head_that_comes_slowly(self) -> None:
        """Its time counts from the connection, too, and no byte prolongs it."""
        world = World(self)
        client = world.client()
        for byte in GET[:9]:
            world.advance(1)
            client.send(bytes([byte]))
        world.advance(1)
        self.assertEqual(client.take(), ERRORS[408])
        self.assertEqual(world.flags(), [(408, "cR")])
        client.wire.eof()
        world.check_rest()

    def test_a_silence_before_the_first_head(self) -> None:
        """It is part of the time that there is for the request,
        but in the log the request began with its first byte."""
        world = World(self, warm=1)
        asks, stops = world.client(), world.client()
        world.advance(6)
        asks.send(GET)
        stops.send(GET[:5])
        world.advance(1)
        world.server.answer()
        world.advance(3)
        self.assertEqual(stops.take(), ERRORS[408])
        served, cut = world.log
        self.assertEqual((served.read - served.began, round(served.ended - served.began)), (0, 1))
        self.assertEqual(round(cut.ended - cut.began), 4)
        stops.wire.eof()
        world.check_rest()

    def test_a_later_head_that_comes_slowly(self) -> None:
        """Its time counts from its first byte."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.take()
        world.advance(14)
        client.send(GET[:5])
        world.advance(9)
        self.assertFalse(client.gone)
        world.advance(1)
        self.assertEqual(client.take(), ERRORS[408])
        self.assertEqual(world.flags()[1:], [(408, "cR")])
        client.wire.eof()
        world.check_rest()

    def test_a_kept_client_that_says_nothing_more(self) -> None:
        """`timeout http-keep-alive` ends it without a word and without a line in the log."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.take()
        world.advance(14)
        self.assertFalse(client.gone)
        world.advance(1)
        self.assertEqual((client.take(), client.gone, len(world.log)), (b"", True, 1))
        world.check_rest()

    def test_dontlognull(self) -> None:
        """Connections on which nothing came leave no line, but are answered all the same: silence, an end, a reset."""
        for do in ("silence", "eof", "reset"):
            for quiet in (False, True):
                world = World(self, frontend={"dontlognull": quiet})
                client = world.client()
                if do == "silence":
                    world.advance(10)
                    self.assertEqual(client.take(), ERRORS[408])
                    client.wire.eof()
                else:
                    getattr(client.wire, do)()
                    self.assertEqual(client.take(), ERRORS[400] if do == "eof" else b"")
                self.assertTrue(client.gone)
                expected = [(408, "cR") if do == "silence" else (400, "CR")]
                self.assertEqual(world.flags(), [] if quiet else expected)
                world.check_rest()

    def test_a_body_that_comes_slowly(self) -> None:
        """408 when nothing of it comes for `timeout client`; each piece prolongs it."""
        world = World(self, warm=1)
        client = world.client()
        client.send(BODY)
        for _ in range(3):
            world.advance(29)
            client.send(b"x")
        world.advance(30)
        self.assertEqual(client.take(), ERRORS[408])
        self.assertEqual(world.flags(), [(408, "cD")])
        self.assertEqual((world.backend.traffic.cli_abrt, world.server.server.traffic.cli_abrt), (1, 1))
        self.assertEqual(world.server.pool.idle, [])
        client.wire.eof()
        world.check_rest()

    def test_a_reader_that_stops(self) -> None:
        """When it takes nothing for `timeout client`, it is cut off; the server is not to blame."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + bytes(200_000))
        self.assertFalse(world.server.wires[0].reading)
        world.advance(29)
        self.assertEqual(world.log, [])
        world.advance(1)
        self.assertEqual(world.flags(), [(200, "cD")])
        self.assertEqual(client.wire.end, ("abort", "exchange broken off"))
        world.check_rest()

    def test_a_reader_that_is_slow_but_reads(self) -> None:
        """As long as it takes something in each `timeout client`, it may go on."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000))
        for _ in range(3):
            world.advance(29)
            client.wire.pass_some(10)
        self.assertEqual(world.log, [])
        client.wire.go_on()
        world.server.answer(bytes(100_000))
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_a_slow_reader_of_a_whole_answer(self) -> None:
        """It is out of the server's way already, and is cut off alike, without a second line."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
        world.advance(30)
        self.assertTrue(client.gone)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_a_slow_reader_of_a_last_answer(self) -> None:
        """As long as it takes something it is not cut off, though we have closed."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(get("/", "Connection: close"))
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))
        for _ in range(3):
            world.advance(29)
            client.wire.pass_some(10)
            self.assertFalse(client.gone)
        world.advance(30)
        world.advance(30)
        self.assertTrue(client.gone)
        world.check_rest()

    def test_an_upload_that_stops_while_its_answer_is_read(self) -> None:
        """After a pause for the reader's sake the body's time runs again."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(BODY)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000))
        client.wire.go_on()
        world.advance(15)
        world.server.answer(bytes(10))
        world.advance(15)
        self.assertEqual(world.flags(), [(200, "cD")])
        client.wire.eof()
        world.advance(3)
        world.check_rest()

    def test_a_server_that_takes_no_body(self) -> None:
        """`timeout server` runs while we wait for it to read; the client's does not."""
        world = World(self, warm=1)
        client = world.client()
        world.server.wires[0].stall()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        client.send(bytes(200_000))
        world.advance(20)
        self.assertEqual(client.take(), ERRORS[504])
        self.assertEqual(world.flags(), [(504, "sD")])
        client.wire.eof()
        world.check_rest()

    def test_the_queue(self) -> None:
        """503 after `timeout queue`; the place goes to others."""
        world = World(self, maxconn=1, warm=1)
        first, second, third = (world.client() for _ in range(3))
        first.send(GET)
        second.send(GET)
        world.advance(8)
        self.assertEqual(second.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "sQ")])
        self.assertEqual((world.backend.traffic.econ, world.server.server.traffic.econ), (1, 0))
        third.send(GET)
        world.server.answer()
        world.server.answer()
        self.assertEqual((first.take(), third.take()), (OK, OK))
        world.check_rest()

    def test_a_dial_that_times_out(self) -> None:
        """503 with the flag of a time-out when no further attempt is allowed."""
        world = World(self, backend={"retries": 0})
        client = world.client()
        client.send(GET)
        world.server.refuse(timed_out=True)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "sC")])
        world.check_rest()

    def test_a_wait_behind_other_dials(self) -> None:
        """`timeout connect` bounds it although no dial of its own fails."""
        world = World(self, backend={"retries": 1})
        client = world.client()
        client.send(GET)
        world.advance(6)
        self.assertEqual(world.log, [])
        world.advance(6)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "sC")])
        world.check_rest()

    def test_a_wait_for_a_server_that_refuses_ends_in_its_refusal(self) -> None:
        """The time-out is not what is wrong, so the log does not say so."""
        world = World(self, backend={"retries": 1}, timeouts=evolve(TIMEOUTS, connect=0.0))
        client = world.client()
        client.send(GET)
        world.server.refuse()
        world.advance(0.51)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "SC")])
        world.check_rest()

    def test_without_time_outs_everything_waits(self) -> None:
        """As HAProxy, which warns of it at its start."""
        none = evolve(TIMEOUTS, connect=None, client=None, server=None, http_request=None)
        none = evolve(none, http_keep_alive=None, queue=None)
        world = World(self, warm=1, maxconn=1, timeouts=none)
        silent, head, body, queued = (world.client() for _ in range(4))
        head.send(GET[:9])
        body.send(POST + b"bo")
        queued.send(GET)
        world.advance(100_000)
        self.assertEqual([each.gone for each in (silent, head, body, queued)], [False] * 4)
        body.send(b"dy")
        if not world.server.busy:
            world.server.connect()
        world.server.answer()
        world.server.answer()
        head.wire.reset()
        self.assertEqual((body.take(), queued.take()), (OK, OK))
        world.check_rest()
