"""`show pool connections`, `drain pool` and `rewarm pool` of the runtime API, and what else shows such an order."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from reusedproxy.daemon.reloading.succession import _orders_kept
from reusedproxy.daemon.replacing.standing import stand, standing
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.form import obey
from reusedproxy.operators.runtime.pools import CONNECTIONS_AT_ONCE
from reusedproxy.operators.runtime.words import commands_of
from reusedproxy.operators.stats.page import _floor
from reusedproxy.operators.stats.troubles import troubles
from reusedproxy.operators.view.reading import Reader, server_view
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.kept import DRAINED, NO_ORDER
from tests.fakes import Asker, FakeDialer, RecordingExchange
from tests.test_operators_runtime import RuntimeTestCase


class PoolTestCase(RuntimeTestCase):
    """A proxy whose server be/s1 accepts all dials."""

    def setUp(self) -> None:
        super().setUp()
        self.live = self.server("be/s1")
        self.pool = self.live.pool
        dialer: Any = FakeDialer(self.clock)
        self.dialer = dialer
        self.dialer.deadlines = self.pool.deadlines
        self.dialer.answer = self.dialer.accept
        dialer.target = self.live.target
        self.pool._dialer = self.dialer
        self.pool.resume()

    def tearDown(self) -> None:
        self.pool.close("test over")

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.02] * round(seconds / 0.02))

    def connections(self, count: int) -> list[ServerConnection]:
        """So many connections in use."""
        askers = [Asker() for _ in range(count)]
        for each in askers:
            self.pool.wait(each)
        self.pass_time(0.2)
        found = [connection for each in askers for connection in each.connections]
        for connection in found:
            ours, theirs = socket.socketpair()
            self.addCleanup(ours.close)
            self.addCleanup(theirs.close)
            connection.transport.socket = ours
        return found

    def use(self, connection: ServerConnection) -> None:
        transport: Any = connection.transport
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None)
        transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")

    def warm(self, floor: int) -> None:
        self.pool.keep(floor)
        self.pass_time(1)
        self.assertEqual(len(self.pool.idle), floor)


class ConnectionsTests(PoolTestCase):
    """A line for each."""

    def test_what_is_shown_of_each(self) -> None:
        first, second = self.connections(2)
        self.use(first)
        self.pass_time(3)
        idle, used = self.says("show pool connections be/s1").splitlines()
        self.assertRegex(
            idle,
            r"^be/s1#1: state=idle age=3\.[0-9]s idle=3\.0s requests=1 local=unix remote=unix ssl=- exp=<NEVER>$",
        )
        self.assertRegex(used, r"^be/s1#2: state=in-use age=3\.[0-9]s requests=0 ")
        self.assertEqual(self.says("show pool connections"), self.says("show pool connections be"))
        self.assertEqual(self.says("show pool connections static"), "")
        self.assertEqual(self.says("show pool connections be/s2"), "")
        self.use(second)

    def test_when_each_will_leave(self) -> None:
        """And why: ahead of what its server has said of its idle time-out, at the end of its life, by an order."""
        first, second, third = self.connections(3)
        self.use(first)
        self.pool.advertised(b"timeout=10")
        self.use(second)
        self.assertRegex(self.says("show pool connections").splitlines()[1], r" exp=[89]\.[0-9]s why=peer_deadline$")
        second.retire_at = self.clock.seconds() + 2
        self.assertRegex(self.says("show pool connections").splitlines()[1], r" exp=2\.0s why=max_age$")
        third.retire_at = self.clock.seconds() - 1
        self.assertRegex(self.says("show pool connections").splitlines()[2], r" exp=<PAST> why=max_age$")
        self.dialer.answer = None
        self.says("rewarm pool be/s1")
        for dial in self.pool.connecting:
            dial.socket = None
        lines = self.says("show pool connections").splitlines()
        self.assertRegex(lines[0], r"^be/s1#-: state=connecting age=0\.0s cause=\w+ local=- remote=\S+$")
        self.assertRegex(lines[-2], r"state=due .* why=rewarm$")
        self.assertRegex(lines[-1], r"state=in-use .* exp=<PAST> why=rewarm$")
        third.retire_at = -float("inf")
        self.assertRegex(self.says("show pool connections").splitlines()[-1], r" exp=<PAST> why=max_requests$")

    def test_it_comes_in_pieces_in_which_connections_may_end(self) -> None:
        for each in self.connections(2 * CONNECTIONS_AT_ONCE + 1):
            self.use(each)
        pieces: Iterator[str] = iter(run(self.context, commands_of("show pool connections")[0]))
        self.assertEqual(len(next(pieces).splitlines()), CONNECTIONS_AT_ONCE)
        for each in self.pool.idle[-CONNECTIONS_AT_ONCE:]:
            self.pool.retire(each, "purged")
        self.assertEqual([len(each.splitlines()) for each in pieces], [1])

    def test_what_is_left_of_a_server_that_is_deleted_is_not_shown(self) -> None:
        for each in self.connections(CONNECTIONS_AT_ONCE + 5):
            self.use(each)
        pieces: Iterator[str] = iter(run(self.context, commands_of("show pool connections")[0]))
        next(pieces)
        backend, _ = self.context.server("be/s1")
        del backend.named["s1"]
        self.assertEqual([*pieces], [])


class OrderTests(PoolTestCase):
    """`drain pool`, `rewarm pool`."""

    def test_what_is_said_of_a_drain(self) -> None:
        self.warm(3)
        used = self.pool.acquire()
        assert used is not None
        self.assertEqual(
            self.says("drain pool be/s1"),
            "be/s1 is drained: 2 idle connections are closed, and 1 in use after their requests; its floor of 3 is"
            " withheld until 'rewarm pool be/s1'.\n",
        )
        self.pass_time(12)
        self.assertIn(
            "    drained by an operator for 12 s, the floor of 3 withheld; 0 idle and 1 in use are left of those"
            " before\n",
            self.says("show pool be/s1"),
        )
        self.assertIn(
            "An operator has drained its pool 12 s ago: its floor of 3 is withheld, and requests have to wait for new"
            " connections, until 'rewarm pool be/s1'; 0 idle and 1 in use are left of those before.\n",
            self.says("explain pool be/s1"),
        )
        self.assertIn("The floor is 3.\n", self.says("explain pool be/s1"))
        self.use(used)
        self.assertEqual(self.pool.standing, 0)

    def test_what_is_said_of_a_rewarm(self) -> None:
        self.assertEqual(self.says("rewarm pool be/s1"), "be/s1 has no connection to be replaced.\n")
        self.warm(3)
        self.assertEqual(
            self.says("rewarm pool be/s1"),
            "be/s1: 3 idle connections and 0 in use leave, each as a new one stands.\n",
        )
        self.assertIn("An operator has ordered 0 s ago that its", self.says("explain pool be/s1"))
        self.pass_time(1)
        self.assertNotIn("operator", self.says("explain pool be/s1") + self.says("show pool be/s1"))
        self.says("drain pool be/s1")
        self.assertEqual(self.says("rewarm pool be/s1"), "be/s1 is not drained any more: its floor of 3 is filled.\n")

    def test_all_servers_of_a_backend(self) -> None:
        """Of one in maintenance, too."""
        self.assertEqual(
            [line.partition(":")[0] for line in self.says("drain pool be").splitlines()],
            ["be/s1 is drained", "be/s2 is drained", "be/sure is drained"],
        )
        self.assertEqual({each.pool.order.state for each in self.context.backend("be").servers}, {DRAINED})
        said = self.says("rewarm pool be").splitlines()
        self.assertEqual(said[1], "be/s2 is MAINT: it has no floor to be filled when it serves.")
        self.assertEqual({each.pool.order.state for each in self.context.backend("be").servers}, {NO_ORDER})

    def test_an_order_is_done_to_its_end_though_its_client_leaves(self) -> None:
        turns: deque[Any] = deque()
        self.patch(self.context.proxy, "poller", SimpleNamespace(line_up=turns.append))
        servers = self.context.backend("be").servers
        answer: Any = run(self.context, commands_of("drain pool be")[0])
        next(answer)
        self.assertEqual([each.pool.order.state for each in servers], [DRAINED, NO_ORDER, NO_ORDER])
        answer.close()
        while turns:
            turns.popleft().take_turn()
        self.assertEqual({each.pool.order.state for each in servers}, {DRAINED})

    def test_nothing_shouts(self) -> None:
        """The page says that it is drained, and nothing of a pool below its floor."""
        self.warm(3)
        reader = Reader(self.context.proxy)
        self.says("drain pool be/s1")
        self.pass_time(100)
        view = reader.view()
        self.assertEqual([each.text for each in troubles(view, 0) if "floor" in each.text], [])
        (server,) = [each for each in view.servers if each.full_name == "be/s1"]
        assert server.pool.order is not None
        self.assertEqual((server.pool.floor, server.pool.usual_floor, server.pool.order.state), (0, 3, DRAINED))
        self.assertIn(">0<br><small>3 withheld</small>", _floor(server.pool))
        self.assertFalse(server.pool.below_floor)

    def test_a_request_that_found_none_is_told_why(self) -> None:
        self.says("drain pool be/s1")
        (connection,) = self.connections(1)
        self.assertIn("None is kept while its pool is drained", self.says("explain pool be/s1"))
        self.use(connection)

    def test_the_page_takes_both_orders(self) -> None:
        for action, state in ((b"dpool", DRAINED), (b"rpool", NO_ORDER)):
            self.assertEqual(obey(self.context.proxy, "fe", b"b=be&s=s1&action=" + action, (), "x"), "DONE")
            self.assertEqual(self.pool.order.state, state)

    def test_the_next_process_keeps_it_drained(self) -> None:
        self.says("drain pool be/s1")
        said = standing(self.service.proxy)  # type: ignore[arg-type]
        self.says("rewarm pool be/s1")
        texts = [text for text, _ in stand(self.service.proxy, said)]  # type: ignore[arg-type]
        self.assertEqual(texts, ["Server be/s1 keeps its pool drained, as was ordered in the process before"])
        self.assertEqual(self.pool.order.state, DRAINED)

    def test_a_reload_says_so(self) -> None:
        self.assertNotIn("keeps its pool drained", [*_orders_kept(self.live)])
        self.says("drain pool be/s1")
        self.assertIn("keeps its pool drained", [*_orders_kept(self.live)])

    def test_views_are_of_all_names(self) -> None:
        self.assertIsNone(server_view(self.live).pool.order)
