"""Answers that come before their request has ended (RFC 9112 section 9.3): the client has its answer at once, the
server gets the rest of the request, and both connections carry the next exchange; or, where the rest has nowhere to go,
nobody loses the answer by it."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import DRAIN_FOR, DRAIN_SILENCE
from reusedproxy.net.transport import HALF, OPEN
from tests.clientfakes import GET, OK, TIMEOUTS, World, get, response
from tests.faultwire import WHOLE, FaultWire, answers, settle

NO = response(b"no", status="403 Forbidden")
NO_AND_CLOSE = response(b"no", "Connection: close", status="403 Forbidden")
LENGTH = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"
CHUNKED = (
    b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n012\r\n7\r\n3456789\r\n0\r\nT: 1\r\n\r\n"
)


def begin_of_body(request: bytes) -> int:
    return request.index(b"\r\n\r\n") + 4


class Upload:
    """A world in which one upload is under way that lacks its last `missing` bytes."""

    def __init__(
        self,
        test: SynchronousTestCase,
        request: bytes = LENGTH,
        missing: int = 7,
        answer: bytes = NO,
        **settings: Any,
    ) -> None:
        self.world = World(test, warm=1, **settings)
        self.client = self.world.client()
        self.request = request
        self.rest = request[-missing:]
        self.client.send(request[:-missing])
        (self.wire,) = self.world.server.wires
        self.pool = self.world.server.pool
        if answer:
            self.wire.feed(answer)


class KeptTests(SynchronousTestCase):
    """The server reads on."""

    def test_both_connections_stay(self) -> None:
        """The answer goes to the client at once, without `close`; the rest of the request to the server;
        then the next."""
        for request in (LENGTH, CHUNKED):
            upload = Upload(self, request)
            self.assertEqual(upload.client.take(), NO)
            self.assertEqual((upload.world.log, upload.pool.idle), ([], []), "the exchange is not over yet")
            self.assertEqual(upload.world.server.server.served, 1)
            upload.client.send(upload.rest)
            self.assertEqual(upload.wire.take(), request)
            self.assertEqual(upload.world.flags(), [(403, "--")])
            (exchange,) = upload.world.log
            self.assertEqual((exchange.bytes_in, exchange.bytes_out), (len(request), len(NO)))
            self.assertEqual(len(upload.pool.idle), 1)
            upload.client.send(GET)
            self.assertEqual(upload.wire.take(), GET)
            upload.wire.feed(OK)
            self.assertEqual(upload.client.take(), OK)
            upload.world.check_rest()

    def test_at_every_byte_of_the_upload(self) -> None:
        """And of the answer: it is whole, the next answer is the next request's,
        and the server reads one request after another."""
        for request in (LENGTH, CHUNKED):
            for at in range(begin_of_body(request), len(request)):
                for cut in (len(NO), len(NO) - 1, 5):
                    for behind in (b"", get("/next")):
                        with self.subTest(request=request, at=at, cut=cut, behind=behind):
                            self.check_cut(request, at, cut, behind)

    def check_cut(self, request: bytes, at: int, cut: int, behind: bytes) -> None:
        world = World(self, warm=1, wire=FaultWire)
        client = world.client()
        (wire,) = world.server.wires
        client.send(request[:at])
        wire.feed(NO[:cut])
        for index in range(at, len(request)):
            client.send(request[index : index + 1] if index < len(request) - 1 else request[index:] + behind)
            if index == at and NO[cut:]:
                wire.feed(NO[cut:])
        self.assertTrue(wire.take().startswith(request))
        if behind:
            world.server.answer(OK)
        found = answers(client.wire.written, client.wire.far_end, ["POST", "GET"])
        self.assertEqual([(each.how, each.body) for each in found], [(WHOLE, b"no"), (WHOLE, b"ok")][: len(found)])
        self.assertEqual(len(found), 1 + bool(behind))
        self.assertEqual((len(world.server.wires), len(world.server.pool.idle)), (1, 1))
        settle(world)
        world.check_rest()

    def test_what_is_pipelined_waits_for_the_end_of_the_upload(self) -> None:
        """Several requests, the last one cut."""
        upload = Upload(self)
        upload.client.send(upload.rest + get("/1") + get("/2")[:9])
        self.assertEqual(upload.wire.take(), LENGTH + get("/1"))
        upload.wire.feed(OK)
        upload.client.send(get("/2")[9:])
        self.assertEqual(upload.wire.take(), get("/2"))
        upload.wire.feed(OK)
        self.assertEqual(upload.client.take(), NO + OK + OK)
        upload.world.check_rest()

    def test_uploads_that_are_refused_open_no_connection(self) -> None:
        """Each of many, on the one connection that stands."""
        world = World(self, warm=1)
        client = world.client()
        (wire,) = world.server.wires
        for _ in range(40):
            client.send(LENGTH[:-7])
            wire.feed(NO)
            client.send(LENGTH[-7:])
        self.assertEqual((wire.take(), client.take()), (LENGTH * 40, NO * 40))
        self.assertEqual(world.server.pool.counters.dials, 1)  # the one that made it warm
        world.check_rest()

    def test_a_streamed_answer(self) -> None:
        """Its end comes while the request goes on."""
        upload = Upload(self, answer=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n")
        upload.wire.feed(b"0\r\n\r\n")
        self.assertTrue(upload.client.take().endswith(b"2\r\nno\r\n0\r\n\r\n"))
        upload.client.send(upload.rest)
        self.assertEqual((upload.wire.take(), len(upload.pool.idle)), (LENGTH, 1))
        self.assertFalse(upload.client.gone)
        upload.world.check_rest()

    def test_what_the_server_has_not_taken_yet_counts(self) -> None:
        """All has come from the client, but waits for the server:
        neither connection begins anything before it is gone."""
        world = World(self, warm=1)
        client = world.client()
        (wire,) = world.server.wires
        client.send(LENGTH[:-7])
        wire.stall()
        client.send(LENGTH[-7:] + GET)
        wire.feed(NO)
        self.assertEqual((client.take(), world.log, world.server.pool.idle), (NO, [], []))
        wire.pass_some(6)
        self.assertEqual(world.log, [])
        wire.go_on()
        self.assertEqual((world.flags(), wire.take()), ([(403, "--")], LENGTH + GET))
        wire.feed(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_slow_server_slows_the_client(self) -> None:
        """As before the answer; and `timeout server` counts while it takes nothing."""
        for answer in (NO, b""):
            upload = Upload(
                self, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + bytes(900_000), 900_000, answer
            )
            upload.wire.stall()
            upload.client.send(bytes(100_000))
            self.assertFalse(upload.client.wire.reading)
            if not answer:
                upload.wire.feed(NO)
            self.assertEqual(upload.client.take(), NO)
            upload.world.advance(15)
            upload.wire.pass_some(97_000)
            self.assertTrue(upload.client.wire.reading)
            upload.client.send(bytes(100_000))
            upload.world.advance(19)
            self.assertEqual(upload.world.log, [])
            upload.world.advance(2)
            self.assertEqual(upload.world.flags(), [(403, "sD")])
            self.assertEqual(upload.client.wire.end, ("drain", "body not read"))
            self.assertEqual(upload.pool.closed, {"timeout server": 1})
            upload.client.wire.eof()
            upload.world.check_rest()

    def test_a_server_that_says_close_and_reads_on(self) -> None:
        """It gets the rest, as behind HAProxy; the client is told, and sees the end, before it has sent everything."""
        upload = Upload(self, answer=NO_AND_CLOSE)
        self.assertIn(b"\r\nconnection: close\r\n", upload.client.take())
        self.assertEqual((upload.client.wire.state, upload.client.wire.half_closed), (HALF, True))
        upload.client.send(upload.rest)
        self.assertEqual(upload.wire.take(), LENGTH)
        self.assertEqual(upload.world.flags(), [(403, "--")])
        self.assertTrue(upload.client.gone)
        self.assertEqual(upload.pool.closed, {"server asked to close": 1})
        upload.world.check_rest()

    def test_over_tls_the_client_is_told_at_the_end(self) -> None:
        """What it has not sent yet it would give up otherwise (RFC 5246 section 7.2.1)."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.secure = True
        client.send(LENGTH[:-7].replace(b"Host", b"Connection: close\r\nHost"))
        world.server.answer(NO)
        self.assertEqual((client.wire.state, world.log), (OPEN, []))
        client.send(LENGTH[-7:])
        self.assertTrue(client.gone)
        self.assertEqual((world.flags(), len(world.server.pool.idle)), ([(403, "--")], 1))
        world.check_rest()

    def test_a_proxy_that_stops(self) -> None:
        """The upload is the client's last exchange."""
        upload = Upload(self)
        upload.world.frontend.stop()
        upload.client.send(upload.rest)
        self.assertEqual(upload.wire.take(), LENGTH)
        self.assertTrue(upload.client.gone)
        upload.world.check_rest()

    def test_a_client_of_http10(self) -> None:
        """Where only the end of its connection tells the end of the answer, it is not made to wait for it."""
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"
        for cut in (len(answer), 50):
            upload = Upload(self, LENGTH.replace(b"1.1", b"1.0"), answer=answer[:cut])
            if answer[cut:]:
                upload.wire.feed(answer[cut:])
            self.assertTrue(upload.client.take().endswith(b"\r\n\r\nno"))
            self.assertTrue(upload.client.wire.half_closed)
            upload.client.send(upload.rest)
            self.assertTrue(upload.client.gone)
            self.assertEqual((upload.world.flags(), len(upload.pool.idle)), ([(200, "--")], 1))
            upload.world.check_rest()


class BrokenOffTests(SynchronousTestCase):
    """The rest does not come, or has nowhere to go."""

    def check(self, upload: Upload, flags: str, reason: str) -> None:
        self.assertEqual(upload.client.take(), NO, "nothing follows the answer")
        self.assertEqual(upload.world.flags(), [(403, flags)])
        self.assertEqual((upload.pool.closed, upload.pool.idle), ({reason: 1}, []))
        self.assertEqual(upload.wire.state != OPEN, True)
        traffic = upload.world.server.server.traffic
        self.assertEqual((traffic.cli_abrt, traffic.srv_abrt), (int(flags[0] in "Cc"), int(flags[0] in "sSP")))
        upload.world.advance(DRAIN_SILENCE)
        upload.world.check_rest()

    def test_the_server_closes(self) -> None:
        """It has answered and said nothing of it: the client is read on, so that it gets its answer."""
        for end in ("eof", "reset"):
            upload = Upload(self)
            getattr(upload.wire, end)()
            self.assertEqual(upload.client.wire.end, ("drain", "body not read"))
            self.check(upload, "SD", "response before the end of the request")

    def test_the_server_closes_as_it_said(self) -> None:
        """Then that is nobody's fault, and no count of the server's."""
        upload = Upload(self, answer=NO_AND_CLOSE)
        upload.wire.eof()
        self.assertEqual(upload.world.flags(), [(403, "--")])
        self.assertEqual(upload.world.server.server.traffic.srv_abrt, 0)
        self.assertEqual(upload.client.wire.end, ("drain", "answered before its body"))
        upload.client.send(upload.rest)
        upload.client.wire.eof()
        self.assertTrue(upload.client.gone)
        upload.world.check_rest()

    def test_the_server_had_closed_behind_its_answer(self) -> None:
        """Nothing more is sent to it."""
        upload = Upload(self, answer=b"")
        upload.wire.hung_up = True
        upload.wire.feed(NO)
        self.assertIn(b"\r\nconnection: close\r\n", upload.client.take())
        self.assertEqual(upload.world.flags(), [(403, "--")])
        upload.client.wire.eof()
        upload.world.check_rest()

    def test_an_answer_that_the_servers_end_completes(self) -> None:
        """It takes nothing more then."""
        upload = Upload(self, answer=b"HTTP/1.1 200 OK\r\n\r\nno")
        upload.wire.eof()
        self.assertTrue(upload.client.take().endswith(b"\r\n2\r\nno\r\n0\r\n\r\n"))
        self.assertEqual(upload.world.flags(), [(200, "--")])
        self.assertEqual(upload.pool.closed, {"response before the end of the request": 1})
        self.assertEqual(upload.client.wire.end, ("drain", "body not read"))
        upload.client.wire.eof()
        upload.world.check_rest()

    def test_the_server_says_more(self) -> None:
        """What it is cannot be known; the connection is not used again."""
        upload = Upload(self)
        upload.wire.feed(OK)
        self.check(upload, "PD", "bytes beyond the response")

    def test_the_client_stops_sending(self) -> None:
        """`timeout client`; there is no second answer."""
        upload = Upload(self)
        upload.world.advance(29)
        self.assertEqual(upload.world.log, [])
        upload.world.advance(1)
        self.check(upload, "cD", "exchange failed")

    def test_the_client_ends_its_side(self) -> None:
        """It may still be reading its answer: it sees an end and no reset."""
        upload = Upload(self)
        upload.client.wire.eof()
        self.assertEqual(upload.client.wire.end, ("drain", "client closed its side"))
        self.check(upload, "CD", "client gone")

    def test_the_client_is_gone(self) -> None:
        """The server, which lacks the rest of a request, is not used again."""
        upload = Upload(self)
        upload.client.wire.reset()
        self.check(upload, "CD", "client gone")

    def test_the_client_breaks_its_chunks(self) -> None:
        """Nothing more goes on, and there is no second answer."""
        upload = Upload(self, CHUNKED, missing=len(b"3\r\n012\r\n7\r\n3456789\r\n0\r\nT: 1\r\n\r\n"))
        upload.client.send(b"zz\r\n")
        self.assertEqual(upload.client.wire.end, ("drain", "answer broken off"))
        self.assertEqual((upload.client.take(), upload.world.flags()), (NO, [(403, "PD")]))
        self.assertEqual((upload.pool.closed, upload.wire.end), ({"exchange failed": 1}, ("abort", "exchange failed")))
        upload.client.wire.eof()
        upload.world.check_rest()

    def test_the_client_takes_nothing(self) -> None:
        """Not even its answer, though it sends on."""
        upload = Upload(self, answer=b"")
        upload.client.wire.stall()
        upload.wire.feed(response(bytes(100_000)))
        self.assertTrue(upload.wire.reading, "the server's end is looked for")
        upload.world.advance(31)
        self.assertEqual(upload.world.flags(), [(200, "cD")])
        self.assertTrue(upload.client.gone)
        upload.world.check_rest()

    def test_an_answer_in_place_of_100_is_the_last(self) -> None:
        """Nobody knows whether the body follows; servers that then take it for their next request exist,
        so none goes there."""
        request = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\nGET / "
        for cut in (len(NO), len(NO) - 1):
            upload = Upload(self, request, 6, NO[:cut])
            upload.wire.take()
            if NO[cut:]:
                upload.client.send(b"GET")
                upload.wire.feed(NO[cut:])
                upload.client.send(b" / ")
            self.assertIn(b"\r\nconnection: close\r\n", upload.client.take())
            self.assertEqual(upload.wire.take(), b"")
            self.assertEqual(upload.pool.closed, {"response before the end of the request": 1})
            self.assertEqual(upload.world.flags(), [(403, "--")])
            upload.client.wire.eof()
            upload.world.check_rest()

    def test_nor_when_the_body_ends_before_the_answer(self) -> None:
        """The server was not sent it."""
        request = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\nGET / "
        upload = Upload(self, request, 6, NO[:-1])
        upload.wire.take()
        upload.client.send(b"GET / ")
        upload.wire.feed(NO[-1:])
        self.assertEqual(upload.wire.take(), b"")
        self.assertEqual(upload.pool.idle, [])
        upload.client.wire.eof()
        upload.world.check_rest()


class DrainTests(SynchronousTestCase):
    """A client whose request is not wanted to its end gets its answer,
    if it reads that only when it has sent everything."""

    def drained(self) -> Upload:
        upload = Upload(self, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000000\r\n\r\n123", 3, b"")
        upload.wire.hung_up = True
        upload.wire.feed(NO)
        self.assertEqual(upload.client.wire.end, ("drain", "answered before its body"))
        return upload

    def test_it_may_send_on(self) -> None:
        """For half a minute; then it sees the end."""
        upload = self.drained()
        for _ in range(9):
            upload.client.send(bytes(5000))
            self.assertEqual(upload.client.wire.incoming, b"", "it is read")
            upload.world.advance(3)
        upload.client.wire.eof()
        self.assertEqual(upload.client.wire.end, ("drain", "answered before its body"))
        self.assertTrue(upload.client.gone)
        self.assertEqual(upload.world.flags(), [(403, "--")])
        upload.world.check_rest()

    def test_but_must_not_be_silent(self) -> None:
        """Within seconds, whatever `timeout client` says."""
        upload = self.drained()
        upload.world.advance(DRAIN_SILENCE)
        self.assertEqual(upload.client.wire.end, ("abort", "client did not take the end"))
        upload.world.check_rest()

    def test_nor_go_on_for_ever(self) -> None:
        """In time, and in bytes."""
        upload = self.drained()
        for _ in range(int(DRAIN_FOR / 3)):
            self.assertFalse(upload.client.gone)
            upload.client.send(bytes(5000))
            upload.world.advance(3)
        upload.client.send(bytes(5000))
        upload.world.advance(5)
        self.assertTrue(upload.client.gone)
        upload = self.drained()
        upload.client.wire.drained = 1 << 31
        upload.world.advance(DRAIN_SILENCE)
        self.assertTrue(upload.client.gone)
        upload.world.check_rest()

    def test_nor_send_only_to_hold_its_place(self) -> None:
        """One that was refused could do so for ever at a byte a second."""
        upload = self.drained()
        for _ in range(10):
            upload.client.send(b"x")
            upload.world.advance(1)
        self.assertEqual(upload.client.wire.end, ("abort", "client did not take the end"))
        upload.world.check_rest()

    def test_a_stop_does_not_wait_for_it(self) -> None:
        """For longer than a few seconds, however much it sends; also for one whose answer comes after that."""
        for before in (True, False):
            if before:
                upload = self.drained()
                upload.world.frontend.stop()
            else:
                upload = Upload(self, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000000\r\n\r\n123", 3, b"")
                upload.world.frontend.stop()
                upload.wire.hung_up = True
                upload.wire.feed(NO)
            for _ in range(2):
                self.assertFalse(upload.client.gone)
                upload.client.send(bytes(50_000))
                upload.world.advance(2)
            upload.client.send(bytes(50_000))
            upload.world.advance(2)
            self.assertTrue(upload.client.gone)
            upload.world.check_rest()

    def test_one_that_takes_nothing_while_it_sends(self) -> None:
        """It reads its answer later: as long as it sends, it is not late."""
        upload = Upload(
            self,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n123",
            3,
            b"",
            timeouts=evolve(TIMEOUTS, client=6.0),
        )
        upload.client.wire.stall()
        upload.wire.hung_up = True
        upload.wire.feed(response(bytes(100_000)))
        for _ in range(14):
            upload.client.send(bytes(5000))
            upload.world.advance(2)
        self.assertFalse(upload.client.gone)
        upload.client.wire.go_on()
        upload.client.wire.eof()
        self.assertTrue(upload.client.take().endswith(bytes(100_000)))
        upload.world.check_rest()
