"""What is counted of requests whose connection ended under them, or might have: races and retries, when all is over."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.own_answers import KEEPING
from reusedproxy.exchanges.retry import EMPTY_RESPONSE
from tests.clientfakes import GET, OK, POST, Client, World


class RaceCase(SynchronousTestCase):
    """One client, and a server with connections that stand idle."""

    def asking(self, request: bytes = GET, *, warm: int = 1, idle: float = 0, **world: object) -> tuple[World, Client]:
        made = World(self, warm=warm, **world)  # type: ignore[arg-type]
        made.advance(idle)
        client = made.client()
        client.send(request)
        return made, client

    def counted(self, world: World) -> tuple[dict[tuple[str, str], int], dict[tuple[str, ...], int]]:
        """Races and retries, in the end."""
        world.check_rest()
        counters = world.server.pool.counters
        return dict(counters.races), dict(counters.retries)


class RaceTests(RaceCase):
    """The idle-close race: avoided, lost, or mended."""

    def test_repeated_with_success(self) -> None:
        world, client = self.asking()
        world.server.eof()
        world.server.connect()
        self.assertEqual(world.server.pool.counters.races, {})  # nobody knows yet
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(self.counted(world), ({("idempotent", "retried_ok"): 1}, {("idempotent", "ok"): 1}))

    def test_repeated_and_lost_again_is_lost(self) -> None:
        world, client = self.asking()
        world.server.eof()
        world.server.connect()
        world.server.eof()
        self.assertEqual(client.take(), KEEPING[502])
        self.assertEqual(world.server.pool.counters.races_lost, 1)
        self.assertEqual(self.counted(world), ({("idempotent", "lost"): 1}, {("idempotent", "failed"): 1}))

    def test_what_may_not_be_repeated_is_lost_at_once(self) -> None:
        world, client = self.asking(POST + b"body")
        world.server.eof()
        self.assertEqual(client.take(), KEEPING[502])
        self.assertEqual(self.counted(world), ({("unsafe", "lost"): 1}, {}))

    def test_a_client_that_leaves_before_the_end(self) -> None:
        """Nothing is lost that somebody waits for."""
        world, client = self.asking()
        world.server.eof()
        client.wire.reset()
        self.assertEqual(self.counted(world), ({("idempotent", "left"): 1}, {("idempotent", "left"): 1}))

    def test_unsafe_and_not_yet_sent(self) -> None:
        """No server has seen a byte of it."""
        world = World(self, warm=1)
        world.server.wires[0].stall()
        client = world.client()
        client.send(POST + b"body")
        world.server.eof()
        world.server.connect()
        world.server.answer()
        self.assertEqual(self.counted(world), ({("unsafe", "retried_ok"): 1}, {("unsent", "ok"): 1}))

    def test_each_loss_of_one_request_counts(self) -> None:
        """With the same outcome, that of the request."""
        world = World(self, warm=1, backend={"retries": 2})
        world.server.wires[0].stall()
        client = world.client()
        client.send(GET)
        world.server.eof()  # not sent yet
        world.server.connect()
        world.server.answer()
        client.send(GET)
        world.server.eof()  # sent
        world.server.connect()
        world.server.answer()
        self.assertEqual(
            self.counted(world),
            ({("idempotent", "retried_ok"): 2}, {("unsent", "ok"): 1, ("idempotent", "ok"): 1}),
        )


class AvoidedTests(RaceCase):
    """Selection instead of a retry: what may not be repeated is given a surer connection
    than one that has stood for long."""

    def test_a_new_one(self) -> None:
        world, client = self.asking(POST + b"body", idle=2)
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(self.counted(world), ({("unsafe", "avoided"): 1}, {}))

    def test_one_that_has_just_come_back(self) -> None:
        world = World(self, warm=2)
        world.advance(2)
        other, client = world.client(), world.client()
        other.send(GET)
        client.send(POST + b"body")
        world.server.answer()
        world.server.answer()
        self.assertEqual((other.take(), client.take()), (OK, OK))
        self.assertEqual(self.counted(world)[0], {("unsafe", "avoided"): 1})

    def test_one_that_is_fresh_is_no_reason_to_wait(self) -> None:
        world, _ = self.asking(POST + b"body")
        world.server.answer()
        self.assertEqual(self.counted(world)[0], {})

    def test_nothing_stood_idle(self) -> None:
        world, _ = self.asking(POST + b"body", warm=0)
        world.server.connect()
        world.server.answer()
        self.assertEqual(self.counted(world)[0], {})

    def test_none_is_given(self) -> None:
        """It was spared a race and got nothing for it."""
        world, client = self.asking(POST + b"body", idle=2, backend={"retries": 0})
        world.server.refuse()
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(self.counted(world)[0], {})

    def test_all_that_stood_with_a_lost_one_are_spared(self) -> None:
        """They are suspect for a moment, also for what may be repeated."""
        world, client = self.asking(warm=2)
        world.server.answer()
        client.take()
        client.send(GET)
        world.server.eof()
        other = world.client()
        other.send(GET)
        world.server.connect()
        world.server.answer()
        world.server.answer()
        self.assertEqual((client.take(), other.take()), (OK, OK))
        self.assertEqual(self.counted(world)[0], {("idempotent", "retried_ok"): 1, ("idempotent", "avoided"): 1})


class RetryTests(RaceCase):
    """Attempts after the first: what allowed them, and what became of each."""

    def test_each_dial(self) -> None:
        """That fails, but for the last one."""
        world, client = self.asking(warm=0, backend={"retries": 2})
        for _ in range(2):
            world.server.refuse()
            world.advance(1.1)
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(self.counted(world)[1], {("unsent", "failed"): 1, ("unsent", "ok"): 1})

    def test_at_the_server_that_caused_it(self) -> None:
        """Wherever the next attempt goes."""
        world = World(self, servers=2, backend={"retries": 1, "redispatch": -1})
        client = world.client()
        client.send(GET)
        first, second = world.servers
        first.refuse()
        second.connect()
        second.answer()
        self.assertEqual(second.pool.counters.retries, {})
        self.assertEqual(self.counted(world)[1], {("unsent", "ok"): 1})

    def test_by_the_operators_word(self) -> None:
        """`retry-on`, of what a server may have carried out."""
        words = frozenset({EMPTY_RESPONSE, "503"})
        world, client = self.asking(POST + b"body", backend={"retries": 3, "retry_on": words})
        world.server.eof()
        world.server.connect()
        world.server.answer(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        world.server.connect()  # what has stood idle is not trusted after a loss
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(
            self.counted(world), ({("unsafe", "retried_ok"): 1}, {("opt_in", "failed"): 1, ("opt_in", "ok"): 1})
        )
