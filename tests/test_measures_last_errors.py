"""What is kept and said of messages that could not be taken."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.measures.last_errors import CAPTURED, LastErrors
from reusedproxy.measures.log_throttle import TELL_EVERY
from tests.clientfakes import GET, World, get

BAD = b"HTTP/1.1 2x0 OK\r\n"


class CaptureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.captures = LastErrors("Proxy fe", "request", self.clock.seconds, self.said.append)

    def test_the_last_is_kept(self) -> None:
        """With its time, and as much of it as is useful."""
        self.captures.note("1.2.3.4:5", "no Host header", b"first")
        self.clock.advance(3)
        self.captures.note("1.2.3.4:6", "bare LF", b"x" * CAPTURED * 2)
        last = self.captures.last
        assert last is not None
        self.assertEqual((last.at, last.source, last.reason), (3.0, "1.2.3.4:6", "bare LF"))
        self.assertEqual((len(last.data), self.captures.count), (CAPTURED, 2))

    def test_each_trouble_is_said_now_and_then(self) -> None:
        """Another one is news; the same is counted into the next line."""
        for reason in ("bare LF", "bare LF", "no Host header", "bare LF"):
            self.captures.note("c", reason, b"")
        self.assertEqual(
            self.said,
            [
                "Proxy fe: invalid request from c: bare LF",
                "Proxy fe: invalid request from c: no Host header (2 invalid requests since the last line)",
            ],
        )
        self.clock.advance(TELL_EVERY)
        self.captures.note("d", "bare LF", b"")
        self.assertEqual(
            self.said[2:], ["Proxy fe: invalid request from d: bare LF (2 invalid requests since the last line)"]
        )


class WhoseFaultTests(SynchronousTestCase):
    """It is said where it is seen."""

    def test_a_client(self) -> None:
        """Heads and bodies, with its address."""
        world = World(self, warm=1)
        world.client().send(b"GET / HTTP/1.1\r\n\r\n")
        world.client().send(get("/", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n")
        body = world.client()
        body.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        body.send(b"0x5")
        self.assertEqual(
            [text.partition(": ")[2] for level, text in world.announced if level == "notice"],
            [f"invalid request from 192.0.2.7:4711: {why}"
                for why in ("no Host header", "a malformed chunk size line", "a malformed chunk size")],
        )  # fmt: skip
        last = world.frontend.invalid.last
        assert last is not None
        self.assertEqual((world.frontend.invalid.count, last.data), (3, b"0x5"))

    def test_a_server(self) -> None:
        """Which one, and what it said."""
        world = World(self, warm=3)
        for said, why in (
            (BAD, "the status is not a number from 100 to 999"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "a malformed chunk size line"),
            (b"HTTP/1.1 101 Ok\r\nUpgrade: x\r\n\r\n", "unasked 101"),
        ):
            world.client().send(GET)
            world.server.answer(said)
            self.assertIn(
                ("warning", f"Server be/s1: invalid response: {why}"),
                [(level, text.partition(" (")[0]) for level, text in world.announced],
            )
            last = world.server.pool.invalid.last
            assert last is not None
            self.assertEqual((last.reason, last.data), (why, said))

    def test_a_head_in_pieces(self) -> None:
        """All of it that came is kept."""
        world = World(self, warm=1)
        world.client().send(GET)
        for piece in (b"HTTP/1.1 200 OK\r\nA: b\r\n", b"C", b" : d\r\n"):
            world.server.answer(piece)
        last = world.server.pool.invalid.last
        assert last is not None
        self.assertEqual(last.data, b"HTTP/1.1 200 OK\r\nA: b\r\nC : d\r\n")
