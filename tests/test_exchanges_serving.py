"""Answers of the proxy's own that take long to make: others have their turn, and the client gets all of it, or sees
that it did not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.own_answers import answer
from reusedproxy.exchanges.serving import CHUNK, Made
from reusedproxy.net.transport import HIGH_WATER
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.bodies import ChunkedBody
from reusedproxy.wire.heads import RequestHead
from tests.clientfakes import GET, World

HEAD = GET.replace(b"GET", b"HEAD")


class Page:
    """Has these pieces to say."""

    rules: Steps = []
    admin = ()
    answer_rules = None
    users: Sequence[str] = ()

    def __init__(self, pieces: Callable[[], Iterator[bytes]]) -> None:
        self.pieces = pieces

    def wants(self, target: bytes) -> bool:
        return True

    def answer(self, head: RequestHead, admin: bool) -> Made:
        return Made(200, "text/plain", self.pieces(), b"x-more: 1\r\n")

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        raise NotImplementedError


class ServingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made = 0
        self.closed = False

    def world(self, pieces: Callable[[], Iterator[bytes]]) -> World:
        self.last = world = World(self)
        world.frontend.pages.append(Page(pieces))
        return world

    def slowly(self, *pieces: bytes) -> Callable[[], Iterator[bytes]]:
        """Pieces of which each takes a turn."""

        def make() -> Iterator[bytes]:
            try:
                for piece in pieces:
                    self.last.clock.advance(0.01)
                    self.made += 1
                    yield piece
            finally:
                self.closed = True

        return make

    def test_what_is_made_at_once_goes_out_whole(self) -> None:
        world = self.world(lambda: iter([b"a", b"", b"bc"]))
        client = world.client()
        client.send(GET)
        self.assertEqual(client.take(), answer(200, b"abc", "text/plain", extra=b"x-more: 1\r\n", close=False))
        self.assertEqual(world.flags(), [(200, "LR")])
        self.assertEqual(world.frontend.traffic.intercepted, 1)
        world.check_rest()

    def test_to_head_nothing_but_the_head_goes_out(self) -> None:
        world = self.world(lambda: iter([b"abc"]))
        client = world.client()
        client.send(HEAD)
        self.assertEqual(
            client.take(), answer(200, b"abc", "text/plain", extra=b"x-more: 1\r\n", close=False)[: -len("abc")]
        )
        world.check_rest()

    def test_what_takes_long_goes_out_in_chunks_and_others_have_their_turn(self) -> None:
        large, small = bytes(CHUNK), b"and so on"
        world = self.world(self.slowly(large, b"", small, large, b""))
        client = world.client()
        client.send(GET + GET)
        self.assertEqual(self.made, 1)
        head, _, body = client.take().partition(b"\r\n\r\n")
        self.assertIn(b"transfer-encoding: chunked", head)
        self.assertNotIn(b"content-length", head)
        self.assertNotIn(b"connection:", head)
        for made in range(2, 6):
            world.advance(0)
            self.assertEqual(self.made, made)
        body += client.take()
        self.assertEqual(world.log, [])
        world.advance(0)
        body += client.take()
        reader = ChunkedBody(framed=False)
        self.assertEqual(reader.feed(body)[0], large + small + large)
        self.assertTrue(reader.complete)
        self.assertEqual(world.flags(), [(200, "LR")])
        self.assertGreater(world.log[0].bytes_out, 2 * CHUNK)
        for _ in range(12):
            world.advance(0)
        self.assertEqual(world.flags(), [(200, "LR")] * 2)
        self.assertEqual(world.frontend.traffic.intercepted, 2)
        world.check_rest()

    def test_what_takes_long_and_is_short_is_whole_all_the_same(self) -> None:
        world = self.world(self.slowly(b"a", b"", b"b"))
        client = world.client()
        client.send(GET)
        for _ in range(3):
            self.assertEqual(client.take(), b"")
            world.advance(0)
        self.assertIn(b"content-length: 2\r\n", client.take())
        world.check_rest()

    def test_a_client_of_http_1_0_gets_it_up_to_the_end_of_the_connection(self) -> None:
        world = self.world(self.slowly(bytes(CHUNK), b"end"))
        client = world.client()
        client.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
        for _ in range(3):
            world.advance(0)
        head, _, body = client.take().partition(b"\r\n\r\n")
        self.assertIn(b"connection: close", head)
        self.assertNotIn(b"chunked", head)
        self.assertEqual(body, bytes(CHUNK) + b"end")
        self.assertTrue(client.gone)
        world.check_rest()

    def test_head_of_what_takes_long_ends_with_the_first_piece(self) -> None:
        world = self.world(self.slowly(bytes(CHUNK), b"end"))
        client = world.client()
        client.send(HEAD)
        self.assertTrue(client.take().endswith(b"chunked\r\n\r\n"))
        self.assertEqual((self.made, self.closed), (1, True))
        self.assertEqual(world.flags(), [(200, "LR")])
        world.advance(0)
        self.assertEqual(client.take(), b"")
        world.check_rest()

    def test_no_more_is_made_than_the_client_takes(self) -> None:
        world = self.world(self.slowly(*[bytes(HIGH_WATER)] * 50))
        client = world.client()
        client.wire.stall()
        client.send(GET)
        for _ in range(20):
            world.advance(0)
        self.assertLess(self.made, 4)
        client.wire.go_on()
        for _ in range(60):
            world.advance(0)
        self.assertEqual((self.made, world.flags()), (50, [(200, "LR")]))
        world.check_rest()

    def test_a_client_that_leaves_ends_it(self) -> None:
        for pieces, flags in (([b""] * 9, (-1, "CQ")), ([bytes(CHUNK)] * 9, (200, "CD"))):
            self.setUp()
            world = self.world(self.slowly(*pieces))
            client = world.client()
            client.send(GET)
            client.wire.reset()
            self.assertEqual((self.made, self.closed), (1, True))
            world.advance(0)
            self.assertEqual((self.made, world.flags()), (1, [flags]))
            world.check_rest()

    def test_one_that_takes_nothing_is_given_up_after_its_time(self) -> None:
        world = self.world(self.slowly(*[bytes(HIGH_WATER)] * 50))
        client = world.client()
        client.wire.stall()
        client.send(GET)
        for _ in range(10):
            world.advance(10)
        self.assertTrue(client.gone)
        self.assertTrue(self.closed)
        world.check_rest()

    def test_a_fault_before_the_head_is_an_error(self) -> None:
        def fail() -> Iterator[bytes]:
            yield b""
            raise ValueError("ours")

        world = self.world(fail)
        client = world.client()
        client.send(GET)
        self.assertIn(b"HTTP/1.1 500 ", client.take())
        self.assertEqual([status for status, _ in world.flags()], [500])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        world.advance(15)
        world.check_rest()

    def test_a_fault_behind_the_head_shows_as_a_cut(self) -> None:
        def fail() -> Iterator[bytes]:
            world.clock.advance(0.01)
            yield bytes(CHUNK)
            raise ValueError("ours")

        world = self.world(fail)
        client = world.client()
        client.send(GET)
        world.advance(0)
        self.assertFalse(client.take().endswith(b"0\r\n\r\n"))
        world.advance(15)
        self.assertTrue(client.gone)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        world.check_rest()

    def test_it_closes_for_a_client_that_wishes_it_or_whose_body_is_still_coming(self) -> None:
        for request in (
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123",
        ):
            world = self.world(self.slowly(bytes(CHUNK), b"end"))
            client = world.client()
            client.send(request)
            for _ in range(3):
                world.advance(0)
            said = client.take()
            self.assertIn(b"connection: close\r\n", said)
            self.assertTrue(said.endswith(b"0\r\n\r\n"))
            client.wire.eof()
            self.assertTrue(client.gone)
            world.check_rest()
