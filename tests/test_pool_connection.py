"""One connection's dialogue with its server: every answer, in every cut,
and what becomes of the connection after it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import PEER_CLOSED, PEER_RESET, PEER_TRUNCATED
from reusedproxy.pool.connection import IDLE, IN_USE, RETIRING, ServerConnection
from reusedproxy.pool.reasons import EARLY, LEFT_BEHIND, SERVER
from tests.fakes import FakeTransport, PoolBench, RecordingExchange

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"

#: A response may end with the connection.
CLOSE = b"<the server closes>"

# (what, method, the client takes chunks, response, statuses, body that goes on, why it is not used again)
RESPONSES: list[tuple[str, bytes, bool, bytes, list[int], bytes, str]] = [
    ("length", b"GET", True, OK + b"Content-Length: 5\r\n\r\nhello", [200], b"hello", ""),
    ("no body", b"GET", True, OK + b"Content-Length: 0\r\n\r\n", [200], b"", ""),
    ("HEAD", b"HEAD", True, OK + b"Content-Length: 5\r\n\r\n", [200], b"", ""),
    ("204", b"GET", True, b"HTTP/1.1 204 No Content\r\n\r\n", [204], b"", ""),
    ("304", b"GET", True, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", [304], b"", ""),
    ("100 first", b"POST", True, b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", [100, 200],
        b"x", ""),
    ("103 twice", b"GET", True, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2 + b"HTTP/1.1 204 No\r\n\r\n",
        [103, 103, 204], b"", ""),
    ("chunked", b"GET", True, OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", [200],
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", ""),
    ("chunked with a trailer", b"GET", True, OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
        [200], b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", ""),
    ("chunked for HTTP/1.0", b"GET", False, OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [200],
        b"abc", ""),
    ("until close for HTTP/1.0", b"GET", False, OK + b"\r\nall of it" + CLOSE, [200], b"all of it",
        "server asked to close"),
    ("until close, empty", b"GET", True, OK + b"\r\n" + CLOSE, [200], b"0\r\n\r\n", "server asked to close"),
    ("HTTP/1.0", b"GET", True, b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", [200], b"x", "server asked to close"),
    ("HTTP/1.0 persistent", b"GET", True, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        [200], b"x", ""),
    ("close", b"GET", True, OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nx", [200], b"x",
        "server asked to close"),
    ("close in a list", b"GET", True, OK + b"connection: x-Y, CLOSE\r\nContent-Length: 1\r\n\r\nx", [200], b"x",
        "server asked to close"),
    ("an error", b"GET", True, b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", [503], b"no", ""),
]  # fmt: skip


class Dialogue:
    """A pool with one connection, in use by one exchange."""

    def __init__(
        self, exchange: RecordingExchange, request: bytes = GET, ended: bool = True, timeout: float | None = None
    ) -> None:
        self.bench = PoolBench(min_conn=1)
        self.transport: FakeTransport = self.bench.dialer.open[0].succeed()
        self.connection: ServerConnection = self.bench.borrow()
        self.exchange = exchange
        self.connection.send(exchange, request, ended, timeout)

    def says(self, data: bytes) -> None:
        """The server sends these bytes, and hangs up where CLOSE stands."""
        data, close, _ = data.partition(CLOSE)
        if data:
            self.transport.receive(data)
        if close:
            self.transport.peer_ends()

    @property
    def closed(self) -> dict[str, int]:
        return self.bench.pool.closed


def pieces(data: bytes, at: int) -> list[bytes]:
    """Cut in two, CLOSE always with the second half."""
    plain = data.removesuffix(CLOSE)
    return [plain[:at], data[at:]]


class ResponseTests(SynchronousTestCase):
    """Whole responses."""

    def check(self, case: tuple[Any, ...], parts: list[bytes]) -> None:
        what, method, framed, _, statuses, body, why_not = case
        dialogue = Dialogue(RecordingExchange(method, framed))
        for part in parts:
            dialogue.says(part)
        exchange = dialogue.exchange
        seen = [event[1] for event in exchange.events if event[0] in ("interim", "started", "whole")]
        self.assertEqual((seen, exchange.body), (statuses, body), (what, parts))
        self.assertIn(exchange.names[-1], ("whole", "ended"), (what, parts))
        self.assertEqual(exchange.names.count("whole") + exchange.names.count("ended"), 1, (what, parts))
        self.assertEqual(dialogue.closed, {why_not: 1} if why_not else {}, (what, parts))
        self.assertEqual(dialogue.connection.state, RETIRING if why_not else IDLE, (what, parts))

    def test_in_one_piece(self) -> None:
        """Every kind of response, as one read."""
        for case in RESPONSES:
            self.check(case, [case[3]])

    def test_cut_at_every_byte(self) -> None:
        """Wherever it is cut, the same goes on."""
        for case in RESPONSES:
            for at in range(1, len(case[3].removesuffix(CLOSE))):
                self.check(case, pieces(case[3], at))

    def test_byte_by_byte(self) -> None:
        """The slowest network."""
        for case in RESPONSES:
            plain = case[3].removesuffix(CLOSE)
            parts = [plain[at : at + 1] for at in range(len(plain))]
            if plain != case[3]:
                parts.append(CLOSE)
            self.check(case, parts)

    def test_whole_responses_are_told_as_one(self) -> None:
        """What came in one piece is one event, with the connection free already."""
        for body in (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"):
            dialogue = Dialogue(exchange := RecordingExchange())
            states: list[int] = []
            exchange.on["whole"] = lambda states=states, dialogue=dialogue: states.append(dialogue.connection.state)
            dialogue.says(OK + body)
            self.assertEqual((exchange.names, states), (["whole"], [IDLE]))

    def test_one_request_after_another(self) -> None:
        """The connection carries the next exchange, and nothing of the one before."""
        dialogue = Dialogue(first := RecordingExchange())
        dialogue.says(OK + b"Content-Length: 5\r\n\r\nhe")
        dialogue.says(b"llo")
        connection = dialogue.bench.borrow()
        self.assertIs(connection, dialogue.connection)
        connection.send(second := RecordingExchange(), GET, True, None)
        dialogue.says(OK[:7])
        dialogue.says(OK[7:] + b"Content-Length: 1\r\n\r\nx")
        self.assertEqual((first.body, second.body), (b"hello", b"x"))
        self.assertEqual(dialogue.transport.written, GET + GET)
        self.assertEqual((connection.requests, connection.state), (2, IDLE))


class UnfitTests(SynchronousTestCase):
    """After these, a connection is not used again."""

    def test_bytes_beyond_a_response(self) -> None:
        """They can belong to no request; the response itself is good."""
        for end in (b"Content-Length: 1\r\n\r\nxHTTP", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nHTTP"):
            for cut in (0, 45):
                dialogue = Dialogue(exchange := RecordingExchange())
                data = OK + end
                for part in filter(None, (data[:cut], data[cut:])):
                    dialogue.says(part)
                self.assertIn(exchange.names[-1], ("whole", "ended"))
                self.assertEqual(dialogue.closed, {"bytes beyond the response": 1})

    def test_a_body_to_head_is_beyond_the_response(self) -> None:
        """A server that sends one all the same has not understood what it was asked."""
        dialogue = Dialogue(RecordingExchange(b"HEAD"))
        dialogue.says(OK + b"Content-Length: 5\r\n\r\nhello")
        self.assertEqual(dialogue.closed, {"bytes beyond the response": 1})

    def test_a_response_when_a_write_had_failed(self) -> None:
        """The rest of the request will never arrive, though nothing of it waits any more."""
        dialogue = Dialogue(RecordingExchange(b"POST"))
        dialogue.transport.lost = 100
        dialogue.says(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(dialogue.closed, {"response before the end of the request": 1})

    def test_a_response_with_the_servers_end_behind_it(self) -> None:
        """Unannounced; its end has not been read yet, but the kernel knows of it."""
        for data in (OK + b"Content-Length: 1\r\n\r\nx", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            dialogue = Dialogue(exchange := RecordingExchange())
            dialogue.transport.hung_up = True
            dialogue.says(data)
            self.assertEqual((exchange.names, dialogue.closed), (["whole"], {LEFT_BEHIND: 1}))
            self.assertEqual(dialogue.bench.pool.ended[0].by, SERVER)

    def test_a_body_streamed_and_answered_after_its_end(self) -> None:
        """The usual upload, for comparison."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        dialogue.connection.write(b"body")
        dialogue.connection.end_request()
        dialogue.says(OK + b"Content-Length: 0\r\n\r\n")
        self.assertEqual((exchange.names, dialogue.closed), (["whole"], {}))
        self.assertEqual(dialogue.transport.written, GET + b"body")

    def test_what_cannot_be_framed(self) -> None:
        """The server's fault: the exchange hears it as that, and the connection is reset."""
        for data, reason in (
            (b"SSH-2.0-OpenSSH\r\n", "malformed HTTP version"),
            (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", None),
            (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "a malformed chunk size line"),
            (OK + b"X" * 20000, "the head is too large"),
        ):
            dialogue = Dialogue(exchange := RecordingExchange())
            dialogue.says(data)
            self.assertEqual(exchange.names[-1], "lost", data[:40])
            _, whose, told, answered = exchange.events[-1]
            self.assertEqual((whose, answered), ("server", True))
            if reason is not None:
                self.assertEqual(told, reason)
            self.assertEqual((dialogue.transport.end, dialogue.closed), (("abort", told), {told: 1}))


class EarlyTests(SynchronousTestCase):
    """A response before the end of the request, whose rest the server reads."""

    NO = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"

    def test_the_rest_goes_out(self) -> None:
        """Then the connection is free, and told so after that."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        exchange.on["sent"] = lambda: self.assertEqual(dialogue.connection.state, IDLE)
        dialogue.says(self.NO)
        self.assertEqual((exchange.names, dialogue.connection.state), (["early"], IN_USE))
        dialogue.connection.write(b"body")
        dialogue.connection.end_request()
        self.assertEqual((exchange.names, dialogue.transport.written), (["early", "sent"], GET + b"body"))
        self.assertEqual(dialogue.closed, {})

    def test_while_the_request_is_still_unsent(self) -> None:
        """Written to us is not written to the server."""
        for taken in (True, False):
            dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False, timeout=20.0)
            dialogue.connection.write(b"x" * 100)
            dialogue.connection.end_request()
            dialogue.transport.stuck = 100
            dialogue.says(self.NO)
            self.assertEqual((exchange.names, dialogue.connection.state), (["early"], IN_USE))
            if taken:
                dialogue.transport.take_stuck()
                self.assertEqual((exchange.names, dialogue.connection.state), (["early", "sent"], IDLE))
            else:
                dialogue.bench.clock.advance(20.1)
                self.assertEqual(exchange.events[1:], [("refused", "slow")])
                self.assertEqual(dialogue.closed, {"timeout server": 1})

    def test_the_connection_ends(self) -> None:
        """Whose fault it was depends on what it had said."""
        for close, whose in ((b"", "gone"), (b"Connection: close\r\n", None)):
            for reason in (PEER_CLOSED, PEER_RESET):
                dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
                dialogue.says(self.NO.replace(b"\r\n\r\n", b"\r\n" + close + b"\r\n"))
                dialogue.transport.peer_ends(reason)
                self.assertEqual(exchange.events[1:], [("refused", whose)])
                self.assertEqual(dialogue.closed, {EARLY: 1})
                self.assertEqual(dialogue.bench.pool.counters.dials_failed, 0)

    def test_it_is_given_up(self) -> None:
        """Nothing is told any more."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        dialogue.says(self.NO)
        dialogue.connection.give_up("client gone")
        self.assertEqual((exchange.names, dialogue.closed), (["early"], {"client gone": 1}))

    def test_it_is_not_taken_for_one_that_nobody_uses(self) -> None:
        """However long the upload takes."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        dialogue.says(self.NO)
        for _ in range(400):
            dialogue.bench.clock.advance(10)
        self.assertEqual((exchange.names, dialogue.closed), (["early"], {}))

    def test_an_exchange_that_fails_at_it(self) -> None:
        """By our own fault: the connection does not wait for its rest."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        exchange.on["early"] = lambda: 1 // 0
        exchange.on["broken off"] = lambda: None
        dialogue.says(self.NO)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((dialogue.connection.uploader, dialogue.closed), (None, {"internal error": 1}))


class UntouchedTests(SynchronousTestCase):
    """What a server says or does before any byte of the request has left us has nothing to do with the request."""

    def dialogue(self, exchange: RecordingExchange, unsent: int) -> Dialogue:
        dialogue = Dialogue(exchange)
        dialogue.transport.stuck = unsent
        return dialogue

    def test_bytes_are_not_its_answer(self) -> None:
        """They were meant for nobody, or for somebody before: a whole response would reach the wrong client."""
        for data in (OK + b"Content-Length: 5\r\n\r\nother", b"HTTP/1.1 408 Too Late\r\n\r\n", b"H"):
            dialogue = self.dialogue(exchange := RecordingExchange(), len(GET))
            dialogue.says(data)
            self.assertEqual(exchange.events, [("lost", "untouched", "unasked bytes", False)])
            self.assertEqual(dialogue.closed, {"unasked bytes": 1})

    def test_the_end_of_the_connection_is_no_loss_of_it(self) -> None:
        """The idle-close race, seen in time."""
        for reason in (PEER_CLOSED, PEER_RESET):
            dialogue = self.dialogue(exchange := RecordingExchange(), len(GET))
            dialogue.transport.peer_ends(reason)
            self.assertEqual(exchange.events, [("lost", "untouched", reason, False)])

    def test_after_a_write_that_failed_at_once(self) -> None:
        """It counts alike whether the bytes wait, or can never be sent."""
        dialogue = Dialogue(exchange := RecordingExchange())
        dialogue.transport.lost = len(GET)
        dialogue.transport.peer_ends(PEER_RESET)
        self.assertEqual(exchange.events, [("lost", "untouched", PEER_RESET, False)])

    def test_one_byte_is_enough_to_touch_it(self) -> None:
        """Nobody knows what the server makes of it."""
        dialogue = self.dialogue(exchange := RecordingExchange(), len(GET) - 1)
        dialogue.transport.peer_ends()
        self.assertEqual(exchange.events, [("lost", "gone", PEER_CLOSED, False)])

    def test_pieces_of_a_body_count(self) -> None:
        """The head has left; the piece behind it has not."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        dialogue.connection.write(b"x" * len(GET))
        dialogue.transport.stuck = len(GET)
        dialogue.transport.peer_ends()
        self.assertEqual(exchange.events, [("lost", "gone", PEER_CLOSED, False)])


class LossTests(SynchronousTestCase):
    """The connection ends under an exchange."""

    def test_before_the_first_byte(self) -> None:
        """The exchange hears that nothing of an answer had come; it decides about another try."""
        for reason in (PEER_CLOSED, PEER_RESET, PEER_TRUNCATED):
            dialogue = Dialogue(exchange := RecordingExchange())
            dialogue.transport.peer_ends(reason)
            self.assertEqual(exchange.events, [("lost", "gone", reason, False)])
            self.assertEqual((dialogue.connection.state, dialogue.bench.pool.in_use), (RETIRING, set()))
            self.assertEqual(dialogue.bench.pool.retiring, set())

    def test_after_the_first_byte(self) -> None:
        """One byte is enough to know that the server has taken the request."""
        for answer in (b"H", b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nhell"):
            dialogue = Dialogue(exchange := RecordingExchange())
            dialogue.says(answer)
            dialogue.transport.peer_ends()
            self.assertEqual(exchange.events[-1], ("lost", "gone", PEER_CLOSED, True))

    def test_each_request_is_looked_at_by_itself(self) -> None:
        """That the one before was answered says nothing about this one."""
        dialogue = Dialogue(RecordingExchange())
        dialogue.says(OK + b"Content-Length: 0\r\n\r\n")
        dialogue.bench.borrow().send(exchange := RecordingExchange(), GET, True, None)
        dialogue.transport.peer_ends()
        self.assertEqual(exchange.events, [("lost", "gone", PEER_CLOSED, False)])

    def test_an_unclean_end_truncates_a_body_until_close(self) -> None:
        """Without close_notify anybody could have ended it."""
        for reason in (PEER_RESET, PEER_TRUNCATED):
            dialogue = Dialogue(exchange := RecordingExchange())
            dialogue.says(OK + b"\r\nhalf of i")
            dialogue.transport.peer_ends(reason)
            self.assertEqual(exchange.events[-1], ("lost", "gone", reason, True))

    def test_given_up(self) -> None:
        """An exchange that wants no more hears no more; the connection is reset and replaced."""
        dialogue = Dialogue(exchange := RecordingExchange())
        dialogue.connection.give_up("client gone")
        self.assertEqual((exchange.events, dialogue.transport.end), ([], ("abort", "client gone")))
        self.assertEqual((dialogue.closed, len(dialogue.bench.dialer.open)), ({"client gone": 1}, 1))

    def test_given_up_in_the_middle_of_a_call(self) -> None:
        """Whoever is called may call back: at each event the exchange may leave, and nothing more comes."""
        data = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        for event in ("interim", "started", "data"):
            dialogue = Dialogue(exchange := RecordingExchange())
            exchange.on[event] = lambda dialogue=dialogue: dialogue.connection.give_up("client gone")
            for part in (data, b"1\r\nb\r\n", b"0\r\n\r\n"):
                if dialogue.connection.state == IN_USE:
                    dialogue.says(part)
            self.assertEqual(exchange.names[-1], event)
            self.assertEqual(dialogue.closed, {"client gone": 1})

    def test_given_up_at_the_last_piece(self) -> None:
        """A client that is lost while it is given the last bytes takes no other's connection with it."""
        dialogue = Dialogue(exchange := RecordingExchange())
        exchange.on["data"] = lambda: dialogue.connection.give_up("client gone")
        dialogue.says(OK + b"Content-Length: 5\r\n\r\nhe")
        dialogue.says(b"llo")
        self.assertEqual((exchange.names, dialogue.closed), (["started", "data"], {"client gone": 1}))
        self.assertEqual(dialogue.bench.pool.idle, [])

    def test_an_exchange_that_breaks_loses_its_connection_only(self) -> None:
        """A programming error in one exchange leaves no connection in a list."""

        def break_down() -> None:
            raise RuntimeError("a bug")

        dialogue = Dialogue(exchange := RecordingExchange())
        exchange.on["lost"] = break_down
        self.assertRaises(RuntimeError, dialogue.transport.peer_ends, PEER_RESET)
        pool = dialogue.bench.pool
        self.assertEqual((pool.idle, pool.in_use, pool.retiring), ([], set(), set()))


class SlownessTests(SynchronousTestCase):
    """`timeout server`: each silence of the server when it is its turn."""

    def silence(self, dialogue: Dialogue, seconds: float) -> None:
        dialogue.bench.pass_time(seconds)

    def test_no_answer(self) -> None:
        """The exchange hears whose fault it was."""
        dialogue = Dialogue(exchange := RecordingExchange(), timeout=3.0)
        self.silence(dialogue, 2.9)
        self.assertEqual(exchange.events, [])
        self.silence(dialogue, 0.2)
        self.assertEqual(exchange.events, [("lost", "slow", "timeout server", False)])
        self.assertEqual(dialogue.closed, {"timeout server": 1})

    def test_each_byte_of_a_body_gives_new_time(self) -> None:
        """It bounds silences, not the whole."""
        dialogue = Dialogue(exchange := RecordingExchange(), timeout=3.0)
        dialogue.says(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        data = b"3\r\nabc\r\n0\r\n\r\n"
        for at in range(len(data)):
            self.silence(dialogue, 2)
            dialogue.says(data[at : at + 1])
        self.assertEqual(exchange.names[-1], "ended")

    def test_a_head_is_due_as_a_whole(self) -> None:
        """Its bytes give no new time, as in HAProxy: a server could hold a request for days by a byte now and then."""
        dialogue = Dialogue(exchange := RecordingExchange(), timeout=3.0)
        for at in range(3):
            self.silence(dialogue, 0.9)
            dialogue.says(OK[at : at + 1])
        self.assertEqual(exchange.events, [])
        self.silence(dialogue, 0.4)
        self.assertEqual(exchange.events, [("lost", "slow", "timeout server", True)])

    def test_each_interim_answer_gives_new_time(self) -> None:
        """Also when the beginning of the next head has come with it."""
        dialogue = Dialogue(exchange := RecordingExchange(), timeout=3.0)
        for _ in range(4):
            dialogue.says(b"HTTP/1.1 102 Processing\r\n\r\nHTTP")
            self.silence(dialogue, 2)
            dialogue.says(b"/1.1 103 Early Hints\r\n\r\n")
            self.silence(dialogue, 2)
        self.assertEqual(exchange.names, ["interim"] * 8)
        dialogue.says(b"HTTP")
        self.silence(dialogue, 1.1)
        self.assertEqual(exchange.events[-1], ("lost", "slow", "timeout server", True))

    def test_in_the_middle_of_a_body(self) -> None:
        """Silence there is no better."""
        dialogue = Dialogue(exchange := RecordingExchange(), timeout=3.0)
        dialogue.says(OK + b"Content-Length: 3\r\n\r\na")
        self.silence(dialogue, 3.1)
        self.assertEqual(exchange.events[-1], ("lost", "slow", "timeout server", True))

    def test_not_while_the_client_uploads(self) -> None:
        """Until the request has ended it is the client's turn, also after a 100."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False, timeout=3.0)
        self.silence(dialogue, 10)
        dialogue.says(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.silence(dialogue, 10)
        dialogue.connection.end_request()
        self.silence(dialogue, 2.9)
        self.assertEqual(exchange.names, ["interim"])
        self.silence(dialogue, 0.2)
        self.assertEqual(exchange.events[-1], ("lost", "slow", "timeout server", True))

    def test_not_while_the_client_uploads_on_a_used_connection(self) -> None:
        """The deadline of the request before does not come back."""
        dialogue = Dialogue(RecordingExchange(), timeout=3.0)
        dialogue.says(OK + b"Content-Length: 0\r\n\r\n")
        dialogue.bench.borrow().send(exchange := RecordingExchange(b"POST"), GET, False, 3.0)
        dialogue.says(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.silence(dialogue, 10)
        self.assertEqual(exchange.names, ["interim"])

    def test_an_early_answer_is_timed(self) -> None:
        """A server that has begun to answer must go on, though the request has not ended."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False, timeout=3.0)
        dialogue.says(OK + b"Content-Length: 3\r\n\r\na")
        self.silence(dialogue, 2)
        dialogue.says(b"b")
        self.silence(dialogue, 2)
        self.assertEqual(exchange.names, ["started", "data"])
        self.silence(dialogue, 1.1)
        self.assertEqual(exchange.events[-1], ("lost", "slow", "timeout server", True))

    def test_a_server_that_takes_nothing(self) -> None:
        """While it does not read the request, it is its turn."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False, timeout=3.0)
        dialogue.connection.pause_writing()
        self.silence(dialogue, 2)
        dialogue.connection.resume_writing()
        self.silence(dialogue, 10)
        dialogue.connection.pause_writing()
        self.silence(dialogue, 3.1)
        self.assertEqual(exchange.names, ["pause", "resume", "pause", "lost"])

    def test_a_server_that_takes_a_little(self) -> None:
        """As with clients: as long as it takes any of what it was sent, it may go on."""
        for paused in (True, False):
            dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False, timeout=3.0)
            dialogue.transport.stuck = 1000
            if paused:
                dialogue.connection.pause_writing()
            else:
                dialogue.connection.end_request()
            for left in (900, 800, 1):
                dialogue.transport.stuck = left
                self.silence(dialogue, 3.1)
            self.assertNotIn("lost", exchange.names)
            self.silence(dialogue, 3.1)
            self.assertEqual(exchange.names[-1], "lost")

    def test_not_when_a_client_reads_again_that_is_uploading(self) -> None:
        """After interim answers that it did not take: the server waits for the client as before."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False, timeout=3.0)
        dialogue.says(b"HTTP/1.1 100 Continue\r\n\r\n")
        dialogue.connection.pause_response()
        dialogue.connection.resume_response()
        self.silence(dialogue, 10)
        self.assertEqual(exchange.names, ["interim"])

    def test_not_while_the_client_does_not_read(self) -> None:
        """A paused response is the client's silence; resumed, the server's time begins anew."""
        dialogue = Dialogue(exchange := RecordingExchange(), timeout=3.0)
        dialogue.says(OK + b"Content-Length: 3\r\n\r\na")
        dialogue.connection.pause_response()
        self.silence(dialogue, 60)
        dialogue.connection.resume_response()
        self.silence(dialogue, 2.9)
        self.assertEqual(exchange.names, ["started"])
        self.silence(dialogue, 0.2)
        self.assertEqual(exchange.names, ["started", "lost"])

    def test_an_idle_connection_is_not_timed(self) -> None:
        """Its exchange is over, and so is its deadline."""
        dialogue = Dialogue(RecordingExchange(), timeout=3.0)
        dialogue.says(OK + b"Content-Length: 0\r\n\r\n")
        self.silence(dialogue, 60)
        self.assertEqual(dialogue.connection.state, IDLE)


class BackpressureTests(SynchronousTestCase):
    """Each side pauses the other."""

    def test_the_server_takes_no_more(self) -> None:
        """The exchange is asked to pause its client, and to go on again."""
        dialogue = Dialogue(exchange := RecordingExchange(b"POST"), ended=False)
        dialogue.transport.owner.pause_writing()
        dialogue.transport.owner.resume_writing()
        self.assertEqual(exchange.names, ["pause", "resume"])

    def test_the_client_takes_no_more(self) -> None:
        """The server is not read until it does."""
        dialogue = Dialogue(RecordingExchange())
        dialogue.says(OK + b"Content-Length: 300\r\n\r\na")
        dialogue.connection.pause_response()
        self.assertFalse(dialogue.transport.reading)
        dialogue.connection.resume_response()
        self.assertTrue(dialogue.transport.reading)

    def test_a_pause_before_the_response_is_not_left_behind(self) -> None:
        """A client that does not take interim answers pauses them; the real one may come with the last of them."""
        dialogue = Dialogue(exchange := RecordingExchange())
        exchange.on["interim"] = dialogue.connection.pause_response
        dialogue.says(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n")
        self.assertEqual((exchange.names, dialogue.connection.state), (["interim", "whole"], IDLE))
        self.assertTrue(dialogue.transport.reading)

    def test_a_pause_at_the_last_piece_is_not_left_behind(self) -> None:
        """A slow client's pause must not stay on a connection that is idle, or another's, by then."""
        dialogue = Dialogue(exchange := RecordingExchange())
        exchange.on["data"] = dialogue.connection.pause_response
        dialogue.says(OK + b"Content-Length: 5\r\n\r\nhe")
        dialogue.says(b"llo")
        self.assertEqual((exchange.names, dialogue.connection.state), (["started", "data", "ended"], IDLE))
        self.assertTrue(dialogue.transport.reading)
        dialogue.transport.peer_ends()
        self.assertEqual(dialogue.bench.pool.idle, [])
