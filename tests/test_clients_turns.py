"""How much is done for one client, or for one server's answer, in one turn: pieces without end leave others theirs."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ANSWERS_AT_ONCE
from reusedproxy.exchanges.serving import Made
from reusedproxy.pool.connection import INTERIMS_AT_ONCE
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.bodies import CHUNKS_AT_ONCE, LAST_CHUNK, ChunkedBody
from reusedproxy.wire.heads import RequestHead
from tests.clientfakes import GET, OK, Wire, World

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"1\r\nx\r\n"
MANY = 5 * CHUNKS_AT_ONCE
PAGE = b"GET /statistics HTTP/1.1\r\nHost: a\r\n\r\n"


class Statistics:
    """A page of our own."""

    rules: Steps = []
    admin = ()
    answer_rules = None
    users = ()

    def wants(self, target: bytes) -> bool:
        return target == b"/statistics"

    def answer(self, head: RequestHead, admin: bool) -> Made:
        return Made(200, "text/plain", iter([b"page"]))

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        raise NotImplementedError


def payload(framed: bytes) -> bytes:
    """What a chunked body says."""
    body, out = ChunkedBody(framed=False), b""
    while framed:
        out += body.feed(framed)[0]
        framed, body.held = body.held, b""
    assert body.complete
    return out


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(self, warm=1)
        self.client = self.world.client()
        (self.server,) = self.world.server.wires
        self.given: list[int] = []

    def watch(self, wire: Wire) -> None:
        """Note in `given` how much is given back, each time that a turn was enough."""
        give_back = wire.give_back

        def noted(data: bytes) -> None:
            self.given.append(len(data))
            give_back(data)

        wire.give_back = noted  # type: ignore[method-assign]

    def test_an_upload_in_the_smallest_chunks(self) -> None:
        """So many of them a turn; all of it arrives, then the answer comes and the client may ask again."""
        self.watch(self.client.wire)
        self.client.send(POST + CHUNK * MANY + LAST_CHUNK)
        self.client.wire.pump()
        self.assertEqual(len(self.given), MANY // CHUNKS_AT_ONCE)
        body = self.world.server.asked().partition(b"\r\n\r\n")[2]
        self.assertEqual(payload(body), b"x" * MANY)
        self.world.server.answer()
        self.assertEqual(self.client.take(), OK)
        self.client.send(GET)
        self.world.server.answer()
        self.assertEqual(self.client.take(), OK)
        self.world.check_rest()

    def test_its_end_comes_behind_what_is_held(self) -> None:
        """A client that sent all of it and then shut its side is served; one whose body is cut off is not."""
        for end, served in ((LAST_CHUNK, True), (b"", False)):
            client = self.world.client()
            client.wire.incoming = POST + CHUNK * MANY + end
            client.wire._ended = True
            client.wire.pump()
            if served:
                self.world.server.answer()
                self.assertTrue(client.take().endswith(b"close\r\n\r\nok"))
            self.assertEqual(client.gone, True)

    def test_a_pipelined_upload_behind_the_end(self) -> None:
        """It came whole before the client shut its side, and is read in turns all the same."""
        world = World(self, warm=2)  # a POST wants a connection that is fresh
        client = world.client()
        client.send(GET + POST + CHUNK * (CHUNKS_AT_ONCE + 100) + LAST_CHUNK)
        client.wire.eof()
        world.server.answer()
        client.wire.pump()
        self.assertTrue(world.server.asked().endswith(LAST_CHUNK))
        world.server.answer()
        self.assertEqual(client.take().count(b"200 OK"), 2)

    def test_an_answer_in_the_smallest_chunks(self) -> None:
        """The same from a server; a client that takes nothing pauses what is held, too."""
        self.client.send(GET)
        self.watch(self.server)
        self.server.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK * MANY + LAST_CHUNK)
        self.assertEqual(len(self.given), MANY // CHUNKS_AT_ONCE)
        self.assertEqual(payload(self.client.take().partition(b"\r\n\r\n")[2]), b"x" * MANY)
        self.assertEqual(self.world.server.server.pool.idle[0].transport, self.server)

    def test_many_that_ask_for_our_own_answers(self) -> None:
        """Each stands once in the line of those who have work left, and gets so many answers a turn,
        not all in one tick of a clock."""
        world = World(self, without_backend=True)
        clients = [world.client() for _ in range(3)]
        for client in clients:
            client.send(GET * (3 * ANSWERS_AT_ONCE))
        self.assertEqual(list(world.turns), [client.connection for client in clients])
        for client in clients:
            world.turns.popleft().take_turn()
            self.assertEqual(client.take().count(b"HTTP/1.1 503 "), 2 * ANSWERS_AT_ONCE)
        self.assertEqual(list(world.turns), [client.connection for client in clients])
        world.clock.advance(14)
        world.advance(0)
        for client in clients:
            self.assertEqual(client.take().count(b"HTTP/1.1 503 "), ANSWERS_AT_ONCE)
            self.assertEqual(client.gone, False)
        self.assertEqual(list(world.turns), [])

    def test_one_that_asks_for_our_pages_without_end(self) -> None:
        """To make one may take milliseconds: one a turn, and the last of them is followed by what else it has asked."""
        world = World(self, without_backend=True)
        world.frontend.pages.append(Statistics())
        client = world.client()
        client.send(PAGE * 3 + GET * 2)
        for _ in range(2):
            self.assertTrue(client.take().endswith(b"\r\n\r\npage"))
            self.assertEqual(list(world.turns), [client.connection])
            world.turns.popleft().take_turn()
        self.assertTrue(client.take().endswith(b"\r\n\r\npage"))
        world.turns.popleft().take_turn()
        self.assertEqual(client.take().count(b"HTTP/1.1 503 "), 2)
        self.assertEqual(list(world.turns), [])

    def test_answers_of_our_own_that_take_long(self) -> None:
        """A turn ends after a time, too: rules may need milliseconds for one request."""
        world = World(self, without_backend=True)
        route = world.frontend.route

        def slow(*arguments: Any) -> None:
            world.clock.advance(0.003)
            route(*arguments)

        self.patch(world.frontend, "route", slow)
        client = world.client()
        client.send(GET * 6)
        for _ in range(3):
            self.assertEqual(client.take().count(b"HTTP/1.1 503 "), 2)
            if world.turns:
                world.turns.popleft().take_turn()
        self.assertEqual(list(world.turns), [])

    def test_a_turn_that_comes_when_nothing_waits(self) -> None:
        """It may come late: the client is gone, or takes nothing."""
        world = World(self, without_backend=True)
        client = world.client()
        client.send(GET * (2 * ANSWERS_AT_ONCE))
        client.wire.stall()
        client.connection.pause_writing()
        world.turns[0].take_turn()
        self.assertEqual(client.take().count(b"HTTP/1.1 503 "), ANSWERS_AT_ONCE)
        client.wire.reset()
        world.turns[0].take_turn()
        self.assertTrue(client.gone)

    def test_interim_answers_without_end(self) -> None:
        """So many of them a turn; the final one comes behind."""
        self.client.send(GET)
        self.watch(self.server)
        interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        self.server.feed(interim * (3 * INTERIMS_AT_ONCE) + OK)
        self.assertEqual(len(self.given), 3)
        self.assertTrue(self.client.take().endswith(OK))
