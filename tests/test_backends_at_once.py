"""Changes of many servers that count at once: what follows is what follows from each alone, and the servers of a
backend are chosen among anew only once."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.at_once import at_once
from reusedproxy.backends.backend import Backend
from reusedproxy.backends.orders import order_health
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP, Server
from reusedproxy.config import model
from tests.fakes import Asks, PoolBench
from tests.test_backends_standby import BACKUP
from tests.test_backends_standby import World as StandbyWorld

PLACE = model.Place("test.cfg", 1)


class World:
    """Backends a and b in memory. Each server of b tracks the one of the same name in a; a's servers have a place."""

    def __init__(self, count: int = 4, balance: str = "roundrobin") -> None:
        self.clock = Clock()
        self.said: list[str] = []
        self.renewals: list[str] = []
        self.a, self.b = (self.backend(name, count, balance) for name in "ab")
        self.backends = [self.a, self.b]
        for server, tracked in zip(self.b.servers, self.a.servers, strict=True):
            server.track(tracked, 0.0)
        for backend in self.backends:
            backend.tell_tracker = self.b.tracked_changed

    def backend(self, name: str, count: int, balance: str) -> Backend:
        servers = [
            Server(
                name,
                model.Server(name=f"s{at}", place=PLACE, host="h", weight=8, maxconn=1),
                PoolBench(resume=False).pool,
                0.0,
            )
            for at in range(count)
        ]
        settings = model.Backend(name, PLACE, mode="http", balance=model.Balance(balance))
        backend = Backend(settings, servers, self.clock.seconds, lambda level, text: self.said.append(text))
        use = backend._balance.use

        def used(servers: Sequence[Server]) -> None:
            self.renewals.append(name)
            use(servers)

        backend._balance.use = used  # type: ignore[method-assign]
        return backend

    def order(self, backend: Backend, server: Server, what: str, value: Any) -> None:
        if what == "state":
            backend.set_state(server, value)
        elif what == "weight":
            backend.set_weight(server, value)
        elif what == "maxconn":
            backend.set_maxconn(server, value)
        else:
            order_health(backend, server, value, None)

    @property
    def standing(self) -> list[object]:
        """What has become of all servers, and which of them may be chosen."""
        states = [
            (each.full_name, each.state, each.weight, each.maxconn, each.pool.state)
            for backend in self.backends
            for each in backend.servers
        ]
        return [states, [(each.usable_servers, each.free) for each in self.backends]]


ORDERS: list[tuple[str, list[Any]]] = [
    ("state", [READY, DRAIN, MAINT]),
    ("weight", [0, 1, 9]),
    ("maxconn", [0, 2, 5]),
    ("health", [UP, NOLB, DOWN]),
]


class AtOnceTests(SynchronousTestCase):
    def test_all_is_as_if_each_had_counted_alone(self) -> None:
        """Though messages may say at once what is left at the end."""
        for seed in range(60):
            random = Random(seed)
            orders = []
            for _ in range(random.randrange(1, 12)):
                number = random.choice([0, 0, 1])
                what, values = random.choice(
                    ORDERS if number == 0 else ORDERS[:-1]
                )  # one that tracks has no own health
                orders.append((number, random.randrange(4), what, random.choice(values)))
            alone, together = World(), World()
            for world in (alone, together):
                for number, at, what, value in orders[:3]:  # nothing is as it was in the beginning
                    world.order(world.backends[number], world.backends[number].servers[at], what, value)
            for number, at, what, value in orders[3:]:
                alone.order(alone.backends[number], alone.backends[number].servers[at], what, value)
            with at_once(together.backends):
                for number, at, what, value in orders[3:]:
                    together.order(together.backends[number], together.backends[number].servers[at], what, value)
            self.assertEqual(together.standing, alone.standing, (seed, orders))
            for name in "ab":
                none_left = f"backend {name} has no server available!"
                self.assertLessEqual(together.said.count(none_left), alone.said.count(none_left), (seed, orders))

    def test_servers_are_chosen_among_once_for_all_changes_and_once_for_those_that_follow(self) -> None:
        """A choice looks at all servers: with one for each change, thousands of changes would take half a minute."""
        world = World(count=50)
        world.renewals.clear()
        with at_once(world.backends):
            for server in world.a.servers:
                world.a.set_weight(server, 3)
                world.a.set_maxconn(server, 7)
                world.a.set_state(server, DRAIN)
            self.assertEqual(world.renewals, [])
        self.assertEqual(world.renewals, ["a", "b"])
        self.assertEqual({each.state for each in world.b.servers}, {DRAIN})

    def test_each_change_is_announced_and_that_no_server_is_left_once(self) -> None:
        world = World()
        with at_once(world.backends):
            for server in world.a.servers:
                world.a.set_state(server, MAINT)
        for name in ("s0", "s1", "s2", "s3"):
            left = "0 active and 0 backup servers left."
            for text in (
                f"Server a/{name} is going DOWN for maintenance. {left}",
                f"Server b/{name} is going DOWN for maintenance via a/{name}. {left}",
            ):
                self.assertEqual(sum(said.startswith(text) for said in world.said), 1, text)
        for name in "ab":
            self.assertEqual(world.said.count(f"backend {name} has no server available!"), 1)

    def test_what_tracks_a_server_changes_with_it(self) -> None:
        """Or its backend would be said to have none, between the one that goes and the one that comes."""
        world = World()
        for server in world.a.servers[1:]:
            world.a.set_state(server, MAINT)
        self.assertEqual(world.b.usable_servers, 1)
        with at_once(world.backends):
            world.b.set_state(world.b.servers[0], MAINT)
            world.a.set_state(world.a.servers[1], READY)
        self.assertEqual((world.b.usable_servers, world.b.servers[1].state), (1, UP))
        self.assertNotIn("backend b has no server available!", world.said)

    def test_who_waits_for_a_server_that_goes_is_given_one_that_stays(self) -> None:
        """And not another one that goes with it."""
        for balance in ("roundrobin", "leastconn", "first"):
            world = World(balance=balance)
            taken = [Asks() for _ in world.a.servers]
            for each in taken:
                world.a.choose(each)
            waiting = [Asks() for _ in range(3)]
            for asks, server in zip(waiting, world.a.servers, strict=False):
                world.a.choose(asks, bound=server)
            self.assertEqual([len(each.queue) for each in world.a.servers], [1, 1, 1, 0])
            with at_once(world.backends):
                for server in world.a.servers[:3]:
                    world.a.set_state(server, MAINT)
                world.a.set_maxconn(world.a.servers[3], 0)
                self.assertEqual([each.servers for each in waiting], [[], [], []])
            self.assertEqual([each.servers for each in waiting], [["s3"]] * 3, balance)

    def test_a_fault_leaves_each_change_to_count_when_it_is_made(self) -> None:
        world = World()
        with self.assertRaises(ZeroDivisionError), at_once(world.backends):
            world.a.set_state(world.a.servers[0], MAINT)
            raise ZeroDivisionError
        self.assertEqual(world.a.usable_servers, 3)
        world.a.set_state(world.a.servers[1], MAINT)
        self.assertEqual((world.a.usable_servers, world.b.usable_servers), (2, 2))

    def test_who_stands_by_is_told(self) -> None:
        world = StandbyWorld(BACKUP)
        backend = world.backends["b"]
        self.assertEqual(world.floors("b")[2], 1)
        with at_once([backend]):
            backend.set_state(backend.named["s1"], MAINT)
        self.assertEqual(world.floors("b")[2], 6)
