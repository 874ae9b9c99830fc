"""Queues: who waits for one server, who for any, and whose turn it is when a place is free."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP, Server
from reusedproxy.config import model
from reusedproxy.net.slices import run_through
from tests.fakes import Asks, PoolBench

PLACE = model.Place("test.cfg", 1)


def server(name: str, maxconn: int = 1, **words: Any) -> Server:
    settings = model.Server(name=name, place=PLACE, host="127.0.0.1", maxconn=maxconn, **words)
    return Server("be", settings, PoolBench(resume=False).pool, 1000.0)


class QueueCase(SynchronousTestCase):
    def backend(self, *servers: Server, **words: Any) -> Backend:
        self.announced: list[tuple[str, str]] = []
        settings = model.Backend(name="be", place=PLACE, **words)
        return Backend(
            settings, list(servers), lambda: 1000.0, lambda level, text: self.announced.append((level, text))
        )

    def ask(self, backend: Backend, *bound: Server | None) -> list[Asks]:
        """One for each, bound to that server or to none."""
        asking = []
        for each in bound:
            asks = Asks()
            backend.traffic.scur += 1  # as its exchange counts
            self.assertTrue(backend.choose(asks, bound=each))
            asking.append(asks)
        return asking


class BoundTests(QueueCase):
    """A request that is bound to one server."""

    def test_it_goes_there_whoevers_turn_it_is(self) -> None:
        s1, s2 = server("s1", 9), server("s2", 9)
        backend = self.backend(s1, s2)
        self.assertEqual([asks.servers for asks in self.ask(backend, s2, s2, s2)], [["s2"]] * 3)

    def test_it_waits_there_when_that_is_full_though_another_is_free(self) -> None:
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        _, waiting = self.ask(backend, s1, s1)
        self.assertEqual((waiting.servers, len(s1.queue), len(backend.queue)), ([], 1, 0))
        backend.done(s1)
        self.assertEqual((waiting.servers, s1.served, len(s1.queue)), (["s1"], 1, 0))

    def test_a_place_goes_to_whoever_has_waited_longest_in_either_queue(self) -> None:
        """HAProxy 2.6 served the same six in the same order, and logged these numbers."""
        s1 = server("s1")
        backend = self.backend(s1)
        asking = self.ask(backend, None, s1, None, s1, None, s1)
        for number, asks in enumerate(asking):
            self.assertEqual([each.servers for each in asking].count(["s1"]), number + 1)
            self.assertEqual(asks.servers, ["s1"])
            backend.done(s1)
        self.assertEqual(
            [(asks.srv_queue, asks.backend_queue) for asks in asking], [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (3, 0)]
        )
        self.assertEqual((s1.queue.most, backend.queue.most, s1.served), (3, 2, 0))

    def test_the_place_of_another_server_is_no_use_to_it(self) -> None:
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        _, _, bound, free = self.ask(backend, s1, s2, s1, None)
        backend.done(s2)
        self.assertEqual((bound.servers, free.servers), ([], ["s2"]))

    def test_maxqueue_others_wait_already(self) -> None:
        """Then it is balanced like any other, which may mean that it waits for any server."""
        s1, s2 = server("s1", maxqueue=1), server("s2")
        backend = self.backend(s1, s2)
        _, waits, balanced, queued = self.ask(backend, s1, s1, s1, s1)
        self.assertEqual((waits.servers, balanced.servers, queued.servers), ([], ["s2"], []))
        self.assertIs(queued.queue, backend.queue)
        self.assertEqual([asks.redispatched for asks in (waits, balanced, queued)], [False, True, True])
        self.assertEqual((s1.traffic.wredis, backend.traffic.wredis), (2, 2))

    def test_one_that_leaves_gives_its_place_in_the_queue_back(self) -> None:
        """The next is served, and may count on `maxqueue`."""
        s1 = server("s1", maxqueue=1)
        backend = self.backend(s1)
        _, leaver = self.ask(backend, s1, s1)
        s1.queue.leave(leaver)
        (stayer,) = self.ask(backend, s1)
        backend.done(s1)
        self.assertEqual((leaver.servers, leaver.queue, stayer.servers), ([], None, ["s1"]))
        self.assertEqual((leaver.srv_queue, stayer.srv_queue), (1, 1))

    def test_a_server_that_is_avoided_is_not_waited_for(self) -> None:
        """A redispatch leaves it."""
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        self.ask(backend, s1)
        asks = Asks()
        backend.choose(asks, s1, s1)
        self.assertEqual(asks.servers, ["s2"])

    def test_a_backup_server_serves_and_keeps_waiting_those_that_are_bound_to_it(self) -> None:
        """But no others, as long as there are active servers."""
        s1, b1 = server("s1"), server("b1", backup=True)
        backend = self.backend(s1, b1)
        first, second, _, unbound = self.ask(backend, b1, b1, None, None)
        self.assertEqual((first.servers, second.servers, unbound.servers), (["b1"], [], []))
        backend.done(b1)
        backend.done(b1)
        self.assertEqual((second.servers, unbound.servers), (["b1"], []))


class RedistributionTests(QueueCase):
    """A server that goes away hands on those who wait for it alone."""

    def queues(self) -> tuple[Backend, Server, Server, list[Asks]]:
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        return backend, s1, s2, self.ask(backend, s1, s2, s1, None, s1)

    def test_they_stand_among_the_others_as_they_came(self) -> None:
        """And are not bound any more; each gets a place in turn."""
        backend, s1, s2, (_, _, *waiting) = self.queues()
        backend.server_changed(s1, DOWN, "x")
        self.assertEqual((len(backend.queue), len(s1.queue)), (3, 0))
        for number in range(3):
            backend.done(s2)
            self.assertEqual([asks.servers for asks in waiting].count(["s2"]), number + 1)
            self.assertEqual(waiting[number].servers, ["s2"])
        self.assertEqual([(asks.srv_queue, asks.backend_queue) for asks in waiting], [(1, 1), (0, 2), (1, 3)])
        self.assertEqual([asks.redispatched for asks in waiting], [True, False, True])
        self.assertEqual((s1.traffic.wredis, s2.traffic.wredis, backend.traffic.wredis), (2, 0, 2))

    def test_the_log_counts_them(self) -> None:
        """HAProxy's words; what remains is what its own queue has."""
        for order in ("down", "maint"):
            backend, s1, _, _ = self.queues()
            if order == "down":
                backend.server_changed(s1, DOWN, "x")
            else:
                backend.set_state(s1, MAINT)
            self.assertTrue(
                self.announced[0][1].endswith(
                    "1 active and 0 backup servers left. 1 sessions active, 2 requeued, 0 remaining in queue."
                ),
                self.announced,
            )

    def test_they_are_placed_at_once_where_there_is_room(self) -> None:
        """Spread by the algorithm, not heaped on one."""
        s1, s2, s3 = server("s1"), server("s2", 9), server("s3", 9)
        backend = self.backend(s1, s2, s3)
        _, *waiting = self.ask(backend, s1, s1, s1, s1, s1)
        backend.set_state(s1, MAINT)
        self.assertEqual(sorted(name for asks in waiting for name in asks.servers), ["s2", "s2", "s3", "s3"])

    def test_without_any_server_they_wait_with_the_others_for_one_to_come(self) -> None:
        """`timeout queue` bounds that."""
        s1 = server("s1")
        backend = self.backend(s1)
        _, bound, free = self.ask(backend, s1, s1, None)
        backend.server_changed(s1, DOWN, "x")
        backend.done(s1)
        self.assertEqual((bound.servers, free.servers), ([], []))
        backend.server_changed(s1, UP, "x")
        self.assertEqual((bound.servers, free.servers), (["s1"], []))

    def test_what_a_server_takes_when_it_comes_up_is_said_too(self) -> None:
        """As many as it has room for, of those who wait for any."""
        s1, s2 = server("s1", 2), server("s2")
        backend = self.backend(s1, s2)
        backend.server_changed(s1, DOWN, "x")
        self.ask(backend, None, None, None, None)
        backend.server_changed(s1, UP, "x")
        self.assertIn("2 sessions requeued, 0 total in queue.", self.announced[-1][1])
        self.assertEqual((s1.served, len(backend.queue)), (2, 1))

    def test_in_drain_they_go_on_waiting(self) -> None:
        """What they are bound by is at that server; those who wait for any go elsewhere."""
        backend, s1, s2, (_, _, first, free, second) = self.queues()
        backend.set_state(s1, DRAIN)
        backend.done(s1)
        backend.done(s1)
        backend.done(s1)
        self.assertEqual([asks.servers for asks in (first, free, second)], [["s1"], [], ["s1"]])
        backend.done(s2)
        self.assertEqual(free.servers, ["s2"])

    def test_ready_again_it_takes_from_both_queues(self) -> None:
        backend, s1, s2, (_, _, first, free, second) = self.queues()
        backend.set_state(s1, DRAIN)
        backend.set_state(s1, READY)
        backend.done(s1)
        backend.done(s1)
        self.assertEqual([asks.servers for asks in (first, free, second)], [["s1"], ["s1"], []])
        self.assertEqual(s2.served, 1)

    def test_after_a_reload_nobody_waits_for_a_server_that_does_not_come_back(self) -> None:
        """Those of the replaced backend are told; those bound to a server in DRAIN are served."""
        backend, s1, s2, (_, _, first, free, second) = self.queues()
        drained, gone = server("s1"), server("s2", disabled=True)
        drained.administer(DRAIN, 0.0)
        backend.follow(s2, gone)
        s2.pool.resume()  # its successor has come back meanwhile, and the pool is that one's
        backend.server_replaced(s2)
        self.assertEqual((free.refused, s2.pool.state), (0, "running"))
        backend.follow(s1, drained)
        backend.server_replaced(s1)
        self.assertEqual((first.refused, free.refused, second.refused), (0, 1, 0))
        backend.done(s1)
        self.assertEqual((first.servers, second.servers, self.announced), (["s1"], [], []))


class MinconnTests(QueueCase):
    """`minconn` and `fullconn`: the limit follows the load of the backend."""

    def test_the_limit_is_on_haproxys_line(self) -> None:
        """At least `minconn`, at `fullconn` and beyond `maxconn`, in between in proportion."""
        s1 = server("s1", 20, minconn=5)
        backend = self.backend(s1, fullconn=100)
        limits = []
        for load in (0, 1, 25, 30, 50, 99, 100, 101):
            backend.traffic.scur = load
            backend.choose(Asks())
            limits.append(s1.maxconn)
        self.assertEqual(limits, [5, 5, 5, 6, 10, 19, 20, 20])

    def test_more_load_opens_places_for_those_who_wait(self) -> None:
        """The one whose coming opened it is not before them."""
        s1 = server("s1", 4, minconn=1)
        backend = self.backend(s1, fullconn=8)
        asking = self.ask(backend, None, None, None)
        self.assertEqual([asks.servers for asks in asking], [["s1"], [], []])
        (fourth,) = self.ask(backend, None)
        self.assertEqual([asks.servers for asks in (*asking, fourth)], [["s1"], ["s1"], [], []])

    def test_less_load_takes_them_away(self) -> None:
        """What is served above the limit ends; nobody is placed until it is kept again."""
        s1 = server("s1", 4, minconn=1)
        backend = self.backend(s1, fullconn=4)
        asking = self.ask(backend, *[None] * 5)
        self.assertEqual(s1.served, 4)
        backend.traffic.scur = 2
        backend.done(s1)
        backend.done(s1)
        self.assertEqual((s1.served, asking[4].servers), (2, []))
        backend.done(s1)
        self.assertEqual((s1.served, asking[4].servers), (2, ["s1"]))


class HandOverTests(QueueCase):
    """A reload puts another backend in the place of this one, and those who wait go over to it one by one."""

    def setUp(self) -> None:
        self.old, self.new = self.backend(server("s1")), self.backend(server("s1", maxconn=9))
        self.waiting = self.ask(self.old, None, self.old.servers[0], None, None)[1:]

    def test_the_first_step_moves_nobody(self) -> None:
        """But everybody who asks from now on does so at the new one."""
        next(self.old.handing_over(self.new))
        self.assertIs(self.old.successor, self.new)
        self.assertEqual([asks.servers for asks in self.waiting], [[]] * 3)

    def test_each_step_moves_the_one_that_has_waited_longest(self) -> None:
        """In whichever queue it was."""
        steps = self.old.handing_over(self.new)
        next(steps)
        for moved in (1, 2, 3):
            next(steps)
            self.assertEqual([len(asks.servers) for asks in self.waiting], [1] * moved + [0] * (3 - moved))
        self.assertEqual([*steps], [])

    def test_who_leaves_meanwhile_is_not_moved(self) -> None:
        """A place that becomes free here is the new server's, and nobody is given it here."""
        steps = self.old.handing_over(self.new)
        next(steps)
        self.old.done(self.old.servers[0])
        self.assertEqual([len(asks.servers) for asks in self.waiting], [0, 0, 0])
        queue = self.waiting[1].queue
        assert queue is not None
        queue.leave(self.waiting[1])
        self.assertEqual(len([*steps]), 2)
        self.assertEqual([len(asks.servers) for asks in self.waiting], [1, 0, 1])
        self.assertEqual((self.old.servers[0].served, self.new.servers[0].served), (0, 2))

    def test_who_moves_to_another_queue_meanwhile_goes_over_all_the_same(self) -> None:
        """Its server has fallen, so it waits for any."""
        steps = self.old.handing_over(self.new)
        next(steps)
        self.old.server_changed(self.old.servers[0], DOWN, "down")
        self.assertEqual(len(self.old.queue), 3)
        self.assertEqual(len([*steps]), 3)
        self.assertEqual([len(asks.servers) for asks in self.waiting], [1, 1, 1])

    def test_all_at_once(self) -> None:
        """Where nobody has to be spared."""
        run_through(self.old.handing_over(self.new))
        self.assertEqual([len(asks.servers) for asks in self.waiting], [1, 1, 1])
        self.assertEqual((len(self.old.queue), len(self.old.servers[0].queue)), (0, 0))


class PriorityTests(QueueCase):
    """`set-priority-class` and `set-priority-offset`: who waits is ordered by class, then by a time that is shifted."""

    def backend(self, *servers: Server, **words: Any) -> Backend:
        backend = super().backend(*servers, **words)
        self.now = 1000.0
        backend.now = lambda: self.now
        return backend

    def waiting(self, backend: Backend, *said: tuple[float, int, int], bound: Server | None = None) -> list[Asks]:
        """Each comes so many seconds after the one before, with a class and an offset."""
        asking = []
        for after, kind, offset in said:
            self.now += after
            asks = Asks()
            asks.priority = kind, offset
            self.assertTrue(backend.choose(asks, bound=bound))
            asking.append(asks)
        return asking

    def served(self, backend: Backend, server: Server, asking: list[Asks]) -> list[int]:
        """Their numbers, in the order in which they get a place."""
        order: list[int] = []
        for _ in asking:
            backend.done(server)
            order += [number for number, each in enumerate(asking) if each.servers and number not in order]
        return order

    def test_a_lower_class_comes_first(self) -> None:
        """However late; within a class the order is that of arrival."""
        s1 = server("s1")
        backend = self.backend(s1)
        self.ask(backend, None)
        asking = self.waiting(backend, (0, 0, 0), (1, 5, 0), (1, -2047, 0), (1, 0, 0), (1, -2047, 0))
        self.assertEqual(self.served(backend, s1, asking), [2, 4, 0, 3, 1])

    def test_an_offset_shifts_a_wait_within_its_class(self) -> None:
        """In milliseconds."""
        s1 = server("s1")
        backend = self.backend(s1)
        self.ask(backend, None)
        asking = self.waiting(backend, (0, 0, 1500), (1, 0, 0), (1, 0, 0), (0, 0, -1001), (0, -1, 524287))
        self.assertEqual(self.served(backend, s1, asking), [4, 3, 1, 0, 2])

    def test_they_count_between_the_queues_too(self) -> None:
        """A free place goes to the first of the server's own queue and the backend's."""
        s1 = server("s1")
        backend = self.backend(s1)
        self.ask(backend, None)
        asking = self.waiting(backend, (0, 0, 0), (1, 1, 0))
        asking += self.waiting(backend, (1, 0, 0), (1, -1, 0), bound=s1)
        self.assertEqual(self.served(backend, s1, asking), [3, 0, 2, 1])

    def test_they_stay_when_a_server_falls(self) -> None:
        s1, s2 = server("s1"), server("s2")
        backend = self.backend(s1, s2)
        self.ask(backend, None, None)
        asking = self.waiting(backend, (0, 1, 0), (1, 0, 0), bound=s1)
        asking += self.waiting(backend, (1, 0, 0), (1, -1, 0))
        backend.server_changed(s1, DOWN, "x")
        self.assertEqual(self.served(backend, s2, asking), [3, 1, 2, 0])

    def test_many_that_leave_cost_no_memory(self) -> None:
        """Their places are not kept."""
        s1 = server("s1")
        backend = self.backend(s1)
        self.ask(backend, None)
        for _ in range(1000):
            (asks,) = self.waiting(backend, (1, 0, 0))
            backend.queue.leave(asks)
        self.assertLess(len(backend.queue._order), 100)
