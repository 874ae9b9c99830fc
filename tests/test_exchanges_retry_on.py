"""`retry-on` and `option redispatch`: who asks for more attempts gets them, with what is held and as often as said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config import model
from reusedproxy.exchanges.attempt import HELD_MAX
from tests.clientfakes import GET, OK, PLACE, POST, TIMEOUTS, World, response

BUSY = response(b"no", status="503 Busy")


class RetryOnTests(SynchronousTestCase):
    def world(self, *words: str, warm: int = 2, retries: int = 3, **settings: Any) -> World:
        return World(self, warm=warm, backend={"retry_on": frozenset(words), "retries": retries, **settings})

    def test_a_status(self) -> None:
        """The answer goes nowhere; its connection, which ended it cleanly, is as good as before."""
        world = self.world("503", warm=1)
        client = world.client()
        client.send(POST + b"body")
        world.server.answer(BUSY)
        world.server.answer(BUSY)
        self.assertEqual(client.take(), b"")
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        (line,) = world.log
        self.assertEqual((line.status, line.flags, line.retries), (200, "--", 2))
        self.assertEqual((len(world.server.wires), world.server.server.traffic.wretr), (1, 2))
        world.check_rest()

    def test_the_last_real_answer_is_the_clients(self) -> None:
        """When no attempt is left, it sees what the server said."""
        world = self.world("503", warm=1, retries=2)
        client = world.client()
        client.send(GET)
        for _ in range(3):
            world.server.answer(BUSY)
        self.assertEqual(client.take(), BUSY)
        self.assertEqual((world.flags(), world.log[0].retries), ([(503, "--")], 2))
        world.check_rest()

    def test_an_answer_that_is_not_here_yet(self) -> None:
        """Its rest is not waited for: that connection goes."""
        world = self.world("503", warm=2)
        client = world.client()
        client.send(GET)
        world.server.answer(BUSY[:-1])
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        self.assertEqual(world.server.pool.closed, {"answer not wanted": 1})
        world.check_rest()

    def test_other_answers_pass(self) -> None:
        """Only what is said."""
        world = self.world("503", warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(response(b"", status="500 No"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 500 "))
        world.check_rest()

    def test_a_request_too_large_to_be_held(self) -> None:
        """Then the answer is the client's."""
        world = self.world("503", warm=1)
        client = world.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % HELD_MAX + b"x" * HELD_MAX)
        world.server.answer(BUSY)
        self.assertEqual(client.take(), BUSY)
        world.check_rest()

    def test_while_the_body_still_comes(self) -> None:
        """What has come is sent again, and the rest after it."""
        world = self.world("503", warm=2)
        client = world.client()
        client.send(POST + b"bo")
        world.server.answer(BUSY)
        client.send(b"dy")
        (wire,) = [wire for wire in world.server.wires if wire.owner.exchange is not None]
        self.assertEqual(wire.take(), POST + b"body")
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_an_answer_before_the_whole_request_ends_its_connection(self) -> None:
        """All of the request goes to another, so none of the rest goes there."""
        world = self.world("503", warm=2)
        client = world.client()
        client.send(POST + b"bo")
        world.server.answer(BUSY)
        self.assertEqual(world.server.pool.closed, {"answer not wanted": 1})
        client.send(b"dy")
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_failures(self) -> None:
        """Each word, each failure: is the request, which is a POST, sent again?"""

        def half_a_head(world: World) -> None:
            world.server.answer(b"HTTP/1.1 20")
            world.server.reset()

        failures: dict[str, Callable[[World], object]] = {
            "empty": lambda world: world.server.reset(),
            "half a head": half_a_head,
            "no HTTP": lambda world: world.server.answer(b"SSH-2.0-x\r\n"),
            "silence": lambda world: world.advance(20),
        }
        table = {
            "conn-failure": set(),
            "empty-response": {"empty"},
            "junk-response": {"half a head", "no HTTP"},
            "response-timeout": {"silence"},
        }
        for word, expected in table.items():
            again = set()
            for what, fail in failures.items():
                world = self.world(word, "conn-failure", warm=1)
                client = world.client()
                client.send(POST + b"body")
                fail(world)
                if world.server.dialer.open:
                    again.add(what)
                    world.server.connect()
                    world.server.answer(OK)
                    self.assertEqual(client.take(), OK)
                world.check_rest()
            self.assertEqual(again, expected, word)

    def test_not_when_the_answer_has_begun(self) -> None:
        """What the client has seen cannot be taken back."""
        world = self.world("empty-response", "junk-response", "response-timeout", warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(OK[:-1])
        world.server.reset()
        self.assertEqual(client.take(), OK[:-1])
        self.assertEqual(world.flags(), [(200, "SD")])
        world.check_rest()

    def test_none(self) -> None:
        """Not even the idle-close race, nor a dial that failed."""
        world = self.world("none", warm=1)
        client = world.client()
        client.send(GET)
        world.server.reset()
        self.assertEqual(world.flags(), [(502, "SH")])
        client = world.client()
        client.send(GET)
        world.server.refuse()
        self.assertEqual(world.flags()[1:], [(503, "SC")])
        world.check_rest()

    def test_a_time_out_is_not_shortened_by_what_was_before(self) -> None:
        """Each attempt has `timeout server`."""
        world = World(
            self, warm=1, timeouts=evolve(TIMEOUTS, server=5.0), backend={"retry_on": frozenset({"response-timeout"})}
        )
        client = world.client()
        client.send(GET)
        world.advance(5)
        world.server.connect()
        world.advance(4)
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()


class RedispatchTests(SynchronousTestCase):
    def servers_tried(self, redispatch: int, retries: int = 4) -> str:
        """Which server each attempt of one request goes to."""
        world = World(self, servers=2, backend={"retries": retries, "redispatch": redispatch})
        client = world.client()
        client.send(GET)
        tried = ""
        while not client.take():
            while not any(each.dialer.open for each in world.servers):
                world.advance(0.1)  # a dial that follows failures waits a moment
            (number,) = [number for number, each in enumerate(world.servers) if each.dialer.open]
            tried += str(number + 1)
            world.servers[number].refuse()
        self.assertEqual(world.flags(), [(503, "SC")])
        world.check_rest()
        return tried

    def test_with_another_server_up_each_retry_goes_there(self) -> None:
        """As in HAProxy with roundrobin, whatever interval is said; 0 says never."""
        for interval, expected in ((0, "11111"), (1, "12121"), (-1, "12121"), (3, "12121")):
            self.assertEqual(self.servers_tried(interval), expected, interval)

    def test_a_server_that_has_just_refused_is_not_waited_for(self) -> None:
        """The pause before its next dial is for its own sake: a request that may go elsewhere does."""
        world = World(self, servers=2, backend={"retries": 3, "redispatch": -1})
        first, second = world.servers
        waiting = world.client()
        waiting.send(GET)
        first.refuse()
        second.connect()
        second.answer()
        self.assertEqual(waiting.take(), OK)
        for _ in range(4):
            client = world.client()
            client.send(GET)
            self.assertEqual(first.dialer.open, [])
            second.answer()
            self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_intervals(self) -> None:
        """Every n-th retry, or the n-th from the last: what counts when there is a reason to stay."""
        for interval, expected in (
            (0, "----"), (1, "1234"), (2, "-2-4"), (3, "--3-"), (9, "----"),
            (-1, "---4"), (-2, "--3-"), (-4, "1---"), (-5, "----"),
        ):  # fmt: skip
            settings = model.Backend("b", PLACE, retries=4, redispatch=interval)
            said = "".join(str(retry) if settings.redispatches(retry) else "-" for retry in range(1, 5))
            self.assertEqual(said, expected, interval)
