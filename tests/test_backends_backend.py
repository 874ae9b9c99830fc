"""Backends: which server is next, who waits when all are full, and what is said when one goes or comes back."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.balance import ALGORITHMS, RoundRobin
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.balance import BALANCE
from tests.fakes import Asker, Asks, PoolBench

PLACE = model.Place("test.cfg", 1)


def server(name: str = "s1", bench: PoolBench | None = None, **words: Any) -> Server:
    bench = bench or PoolBench(resume=False)
    return Server("be", model.Server(name=name, place=PLACE, host="127.0.0.1", **words), bench.pool, 1000.0)


class RoundRobinTests(SynchronousTestCase):
    """`balance roundrobin`."""

    def turns(self, servers: list[Server], count: int) -> list[str]:
        balance = RoundRobin()
        balance.use(servers)
        return [chosen.name if (chosen := balance.pick()) else "-" for _ in range(count)]

    def test_each_in_turn(self) -> None:
        """In the order of the file."""
        self.assertEqual(self.turns([server("a"), server("b"), server("c")], 7), list("abcabca"))

    def test_weights_are_spread_evenly(self) -> None:
        """5 to 1 to 1 is no five in a row."""
        turns = self.turns([server("a", weight=5), server("b"), server("c")], 14)
        self.assertEqual(Counter(turns), {"a": 10, "b": 2, "c": 2})
        self.assertNotIn("aaaaa", "".join(turns))

    def test_large_weights_are_shortened(self) -> None:
        """100 and 200 turn as 1 and 2 do."""
        self.assertEqual(
            self.turns([server("a", weight=100), server("b", weight=200)], 6),
            self.turns([server("a"), server("b", weight=2)], 6),
        )

    def test_full_servers_are_skipped(self) -> None:
        """And when all are full there is none."""
        full, free = server("a", maxconn=1), server("b", maxconn=1)
        full.served = 1
        self.assertEqual(self.turns([full, free], 3), list("bbb"))
        free.served = 1
        self.assertEqual(self.turns([full, free], 1), ["-"])

    def test_avoided_if_there_is_another(self) -> None:
        """A redispatch goes elsewhere, and back to the same only when nothing else can take it."""
        a, b = server("a"), server("b", maxconn=1)
        balance = RoundRobin()
        balance.use([a, b])
        self.assertIs(balance.pick(a), b)
        self.assertIs(balance.pick(a), b)
        b.served = 1
        self.assertIs(balance.pick(a), a)
        a.maxconn = a.served = 1
        self.assertIsNone(balance.pick(a))

    def test_nobody(self) -> None:
        """No servers, no choice."""
        self.assertEqual(self.turns([], 1), ["-"])


class AlgorithmTests(SynchronousTestCase):
    def test_each_word_that_is_taken_has_its_algorithm(self) -> None:
        self.assertEqual(set(ALGORITHMS), set(BALANCE))


class BackendTests(SynchronousTestCase):
    """Placing, queueing, servers that come and go."""

    def backend(self, *servers: Server, allbackups: bool = False) -> Backend:
        self.announced: list[tuple[str, str]] = []
        settings = model.Backend(name="be", place=PLACE, allbackups=allbackups)
        self.now = 1000.0
        return Backend(
            settings, list(servers), lambda: self.now, lambda level, text: self.announced.append((level, text))
        )

    def ask(self, backend: Backend, times: int = 1) -> list[Asks]:
        asking = [Asks() for _ in range(times)]
        for asks in asking:
            self.assertTrue(backend.choose(asks))
        return asking

    def placed(self, backend: Backend, times: int) -> list[str]:
        return [name for asks in self.ask(backend, times) for name in asks.servers]

    def test_placed_at_once(self) -> None:
        """Within `choose`, and counted."""
        s1 = server("s1")
        backend = self.backend(s1)
        self.assertEqual(self.placed(backend, 2), ["s1", "s1"])
        self.assertEqual((s1.served, s1.traffic.scur, s1.traffic.smax, s1.traffic.stot), (2, 2, 2, 2))
        backend.done(s1)
        self.assertEqual((s1.served, s1.traffic.scur, s1.traffic.smax, s1.traffic.stot), (1, 1, 2, 2))

    def test_queued_when_all_are_full(self) -> None:
        """First come, first served, as places come free."""
        s1, s2 = server("s1", maxconn=1), server("s2", maxconn=1)
        backend = self.backend(s1, s2)
        self.ask(backend, 2)
        first, second, third = self.ask(backend, 3)
        self.assertEqual((len(backend.queue), backend.queue.most), (3, 3))
        backend.done(s2)
        self.assertEqual((first.servers, second.servers), (["s2"], []))
        backend.done(s1)
        backend.done(s2)
        self.assertEqual((second.servers, third.servers), (["s1"], ["s2"]))
        self.assertEqual((s1.served, s2.served, len(backend.queue)), (1, 1, 0))

    def test_who_leaves_the_queue_is_not_placed(self) -> None:
        """The next has its place."""
        s1 = server("s1", maxconn=1)
        backend = self.backend(s1)
        self.ask(backend)
        leaver, stayer = self.ask(backend, 2)
        backend.queue.leave(leaver)
        backend.done(s1)
        self.assertEqual((leaver.servers, stayer.servers), ([], ["s1"]))

    def test_no_server_at_all(self) -> None:
        """Nobody waits for a server that is DOWN, in MAINT, or of weight 0 (as in HAProxy)."""
        down = server("s1")
        backend = self.backend(down, server("s2", disabled=True), server("s3", weight=0))
        backend.server_changed(down, DOWN, "test")
        self.assertFalse(backend.choose(Asks()))
        self.assertFalse(backend.usable)

    def test_a_server_that_is_down_gets_nothing(self) -> None:
        """And gets its turns again when it is back."""
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        backend.server_changed(s1, DOWN, "test")
        self.assertEqual(self.placed(backend, 3), ["s2"] * 3)
        backend.server_changed(s1, UP, "test")
        self.assertEqual(Counter(self.placed(backend, 4)), {"s1": 2, "s2": 2})

    def test_a_free_place_at_a_server_that_is_down_is_none(self) -> None:
        """The queue waits for one that is UP."""
        s1, s2 = server("s1", maxconn=1), server("s2", maxconn=1)
        backend = self.backend(s1, s2)
        self.ask(backend, 2)
        (waiting,) = self.ask(backend)
        backend.server_changed(s1, DOWN, "test")
        backend.done(s1)
        self.assertEqual(waiting.servers, [])
        backend.server_changed(s1, UP, "test")
        self.assertEqual(waiting.servers, ["s1"])

    def test_the_queue_moves_when_a_server_comes_back(self) -> None:
        """As many as it has places for."""
        s1, s2 = server("s1", maxconn=1), server("s2", maxconn=2)
        backend = self.backend(s1, s2)
        backend.server_changed(s2, DOWN, "test")
        self.ask(backend)
        waiting = self.ask(backend, 3)
        backend.server_changed(s2, UP, "test")
        self.assertEqual([asks.servers for asks in waiting], [["s2"], ["s2"], []])

    def test_who_waits_for_a_connection_of_a_server_that_goes_down_goes_elsewhere(self) -> None:
        """When it is told that its wait was in vain, the server that has gone cannot be chosen any more."""
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        backend.start()
        again, asker = Asks(), Asker()
        asker.then = lambda: backend.choose(again)
        for _ in range(2):  # whichever would be next
            s1.pool.wait(asker)
            backend.server_changed(s1, DOWN, "test")
            backend.server_changed(s1, UP, "test")
        self.assertEqual(again.servers, ["s2", "s2"])

    def test_pools_follow_their_servers(self) -> None:
        """UP: kept; DOWN, MAINT: empty."""
        up, maintained = server("s1"), server("s2", disabled=True)
        backend = self.backend(up, maintained)
        backend.start()
        self.assertEqual((up.pool.state, maintained.pool.state), ("running", "suspended"))
        backend.server_changed(up, DOWN, "test")
        self.assertEqual(up.pool.state, "suspended")
        backend.server_changed(up, UP, "test")
        self.assertEqual(up.pool.state, "running")
        backend.stop("stopping")
        self.assertEqual((up.pool.state, maintained.pool.state), ("closed", "closed"))
        self.assertEqual(maintained.state, MAINT)

    def test_backup_servers(self) -> None:
        """The first of them when no other is left, and only as long as that lasts."""
        active, b1, b2 = server("s1"), server("b1", backup=True), server("b2", backup=True)
        backend = self.backend(active, b1, b2)
        self.assertEqual(self.placed(backend, 2), ["s1", "s1"])
        backend.server_changed(active, DOWN, "test")
        self.assertEqual(self.placed(backend, 2), ["b1", "b1"])
        backend.server_changed(b1, DOWN, "test")
        self.assertEqual(self.placed(backend, 1), ["b2"])
        backend.server_changed(active, UP, "test")
        self.assertEqual(self.placed(backend, 1), ["s1"])

    def test_allbackups(self) -> None:
        """`option allbackups`: all of them at once."""
        active = server("s1")
        backend = self.backend(active, server("b1", backup=True), server("b2", backup=True), allbackups=True)
        backend.server_changed(active, DOWN, "test")
        self.assertEqual(self.placed(backend, 4), ["b1", "b2", "b1", "b2"])

    def test_time_without_any_server_is_counted(self) -> None:
        """How often, and for how long."""
        s1 = server("s1")
        backend = self.backend(s1)
        self.now = 1010
        backend.server_changed(s1, DOWN, "test")
        self.now = 1013
        backend.server_changed(s1, UP, "test")
        self.assertEqual((backend.downs, backend.downtime, s1.downs, s1.downtime), (1, 3, 1, 3))

    # The lines of HAProxy 2.6, as it wrote them (captured from 2.6.12).

    def test_log_lines(self) -> None:
        """DOWN, the last one DOWN, UP: word for word."""
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2, server("s3", weight=0))
        backend.server_changed(s1, DOWN, 'Layer4 connection problem, info: "Connection refused", check duration: 0ms')
        backend.server_changed(s2, DOWN, 'Layer7 wrong status, code: 500, info: "Oops", check duration: 0ms')
        backend.server_changed(s1, UP, "Layer7 check passed, code: 200, check duration: 0ms")
        self.assertEqual(
            self.announced,
            [
                (
                    "alert",
                    "Server be/s1 is DOWN, reason: Layer4 connection problem,"
                    ' info: "Connection refused", check duration:'
                    " 0ms. 1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
                ),
                (
                    "alert",
                    'Server be/s2 is DOWN, reason: Layer7 wrong status, code: 500, info: "Oops", check duration: 0ms.'
                    " 0 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
                ),
                ("emerg", "backend be has no server available!"),
                (
                    "notice",
                    "Server be/s1 is UP, reason: Layer7 check passed, code: 200, check duration: 0ms."
                    " 1 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.",
                ),
            ],
        )

    def test_log_lines_about_backup_servers(self) -> None:
        """They are called by their kind, and running on them is said."""
        active, backup = server("s1"), server("b1", backup=True)
        backend = self.backend(active, backup)
        backend.server_changed(active, DOWN, "x")
        backend.server_changed(backup, DOWN, "x")
        texts = [text for _, text in self.announced]
        self.assertIn("0 active and 1 backup servers left. Running on backup. 0 sessions active", texts[0])
        self.assertTrue(texts[1].startswith("Backup Server be/b1 is DOWN, reason: x."), texts[1])

    def test_a_weight_that_is_ordered_counts_from_the_next_request_on(self) -> None:
        """Of 0 the server has only what is bound to it; the last one with a weight that loses it leaves none."""
        a, b = server("a"), server("b")
        backend = self.backend(a, b)
        backend.set_weight(a, 3)
        self.assertEqual(Counter(self.placed(backend, 8)), {"a": 6, "b": 2})
        backend.set_weight(a, 0)
        self.assertEqual((a.state, self.placed(backend, 2)), (DRAIN, ["b", "b"]))
        backend.set_weight(b, 0)
        self.assertFalse(backend.usable)
        self.assertEqual(self.announced, [("emerg", "backend be has no server available!")])
        backend.set_weight(a, 1)
        self.assertEqual(self.placed(backend, 2), ["a", "a"])

    def test_a_listen_section_without_servers_is_called_a_proxy(self) -> None:
        """As in HAProxy's log."""
        backend = self.backend(server("a"))
        backend.settings = evolve(backend.settings, of_listen=True)
        backend.set_weight(backend.servers[0], 0)
        self.assertEqual(self.announced, [("emerg", "proxy be has no server available!")])

    def test_a_limit_that_is_ordered_counts_at_once(self) -> None:
        """A higher one for those who wait; a lower one once so many have ended."""
        a = server("a", maxconn=1)
        backend = self.backend(a)
        first, second, third = self.ask(backend, 3)
        self.assertEqual([asks.servers for asks in (first, second, third)], [["a"], [], []])
        backend.set_maxconn(a, 2)
        self.assertEqual([asks.servers for asks in (first, second, third)], [["a"], ["a"], []])
        backend.set_maxconn(a, 1)
        backend.done(a)
        self.assertEqual(third.servers, [])
        backend.done(a)
        self.assertEqual(third.servers, ["a"])
        backend.set_maxconn(a, 0)
        self.assertEqual(self.placed(backend, 3), ["a", "a", "a"])

    def test_a_limit_that_is_ordered_bounds_one_that_follows_the_load(self) -> None:
        a = server("a", minconn=1, maxconn=4)
        backend = self.backend(a)
        backend.fullconn, backend.traffic.scur = 10, 10
        backend.set_maxconn(a, 2)
        self.assertEqual(len(self.placed(backend, 3)), 2)

    def test_usable_is_what_can_be_chosen(self) -> None:
        """`usable` of a server is HAProxy's: UP and of some weight."""
        said: dict[str, dict[str, Any]] = {"a": {}, "b": {"weight": 0}, "c": {"disabled": True}}
        states = {name: server(name, **words).usable for name, words in said.items()}
        self.assertEqual(states, {"a": True, "b": False, "c": False})

    def test_settings_can_be_evolved(self) -> None:
        """A server's `maxconn` bounds it; 0 does not."""
        settings = server("s1").settings
        self.assertFalse(Server("be", settings, PoolBench(resume=False).pool, 0.0).full)
        bounded = Server("be", evolve(settings, maxconn=1), PoolBench(resume=False).pool, 0.0)
        bounded.served = 1
        self.assertTrue(bounded.full)
