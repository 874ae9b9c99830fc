"""Servers that stand by for others: a low floor, which is raised when the first of the others goes."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import DOWN, MAINT, READY, UP, Server
from reusedproxy.backends.standby import LINGER
from reusedproxy.build.standbys import sides_of, stand_by
from reusedproxy.config import model
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer

HEAD = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"


class World:
    """The backends of a configuration, with real pools, on one clock; every dial succeeds."""

    def __init__(self, text: str) -> None:
        self.clock = clock = Clock()
        clock.advance(1000)
        self.configuration = read_configuration([Source("t.cfg", HEAD + text)], {})
        self.dialers: list[FakeDialer] = []
        self.backends = {
            each.name: Backend(each, [self.server(each.name, one) for one in each.servers], clock.seconds, self.say)
            for each in self.configuration.backends.values()
        }
        anything: Any = clock
        self.notices = [*stand_by(self.configuration, self.backends.values(), anything)]
        for backend in self.backends.values():
            backend.start()
        self.pass_time(1)

    def server(self, backend: str, settings: model.Server, pool: HTTPConnectionPool | None = None) -> Server:
        if pool is None:
            dialer = FakeDialer(self.clock)
            dialer.answer = dialer.accept
            self.dialers.append(dialer)
            arguments: Any = (dialer, settings.pool, self.clock, Random(1), self.say, Limits())
            pool = HTTPConnectionPool(settings.name, *arguments)
        return Server(backend, settings, pool, self.clock.seconds())

    def say(self, level: str, text: str) -> None:
        """Nobody listens."""

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))

    def floors(self, backend: str) -> list[int]:
        return [server.pool.floor for server in self.backends[backend].servers]

    def standing(self, backend: str) -> list[int]:
        return [len(server.pool.idle) for server in self.backends[backend].servers]

    def find(self, backend: str, server: str, health: str) -> None:
        self.backends[backend].server_changed(self.backends[backend].named[server], health, "x")


BACKUP = (
    "backend b\n server s1 192.0.2.1:80 check pool-min-conn 6\n server s2 192.0.2.2:80 check pool-min-conn 6\n"
    " server spare 192.0.2.3:80 check backup pool-min-conn 6 pool-standby-conn 1\n"
)
SIDES = (
    "frontend f\n bind :80\n acl gone nbsrv(near) lt 1\n use_backend far if gone\n default_backend near\n"
    "backend near\n server s1 192.0.2.1:80 check pool-min-conn 5\n server s2 192.0.2.2:80 check pool-min-conn 5\n"
    "backend far\n default-server check pool-min-conn 5 pool-standby-conn 2\n"
    " server t1 192.0.2.3:80\n server t2 192.0.2.4:80\n"
)


class StandbyTests(SynchronousTestCase):
    def test_a_backup_has_a_low_floor_until_the_first_server_goes(self) -> None:
        world = World(BACKUP)
        self.assertEqual((world.floors("b"), world.standing("b")), ([6, 6, 1], [6, 6, 1]))
        world.find("b", "s1", DOWN)
        world.pass_time(1)
        self.assertEqual((world.floors("b"), world.standing("b")), ([6, 6, 6], [0, 6, 6]))

    def test_it_is_low_again_when_all_have_been_back_for_a_while(self) -> None:
        """What is more than that is purged, and the pools of the others are as they were."""
        world = World(BACKUP)
        world.find("b", "s1", DOWN)
        world.pass_time(1)
        world.find("b", "s1", UP)
        world.pass_time(LINGER - 1)
        self.assertEqual(world.floors("b"), [6, 6, 6])
        world.pass_time(2)
        self.assertEqual(world.floors("b"), [6, 6, 1])
        world.pass_time(60)
        self.assertEqual(world.standing("b"), [6, 6, 1])

    def test_one_that_flaps_leaves_it_raised(self) -> None:
        world = World(BACKUP)
        for _ in range(3):
            world.find("b", "s1", DOWN)
            world.pass_time(20)
            world.find("b", "s1", UP)
            world.pass_time(40)
        self.assertEqual((world.standing("b")[2], world.dialers[2].dials[6:]), (6, []))

    def test_an_order_counts_as_well(self) -> None:
        world = World(BACKUP)
        backend = world.backends["b"]
        backend.set_state(backend.servers[0], MAINT)
        self.assertEqual(world.floors("b"), [6, 6, 6])
        backend.set_state(backend.servers[0], READY)
        world.pass_time(LINGER + 1)
        self.assertEqual(world.floors("b"), [6, 6, 1])

    def test_the_other_backend_of_use_backend(self) -> None:
        """Named by an ACL or between braces, and as the default."""
        for text in (
            SIDES,
            SIDES.replace(" acl gone nbsrv(near) lt 1\n use_backend far if gone\n default_backend near\n",
                          " use_backend near if { nbsrv(near) gt 0 }\n default_backend far\n"),
        ):  # fmt: skip
            world = World(text)
            self.assertEqual((world.notices, world.standing("near"), world.standing("far")), ([], [5, 5], [2, 2]))
            world.find("near", "s2", DOWN)
            world.pass_time(1)
            self.assertEqual(world.standing("far"), [5, 5])

    def test_sides_are_those_that_are_counted(self) -> None:
        self.assertEqual(sides_of(World(SIDES).configuration), {"far": {"near"}, "near": set()})

    def test_one_that_is_disabled_or_without_an_address_is_not_missed(self) -> None:
        """Before it has been there: then it is."""
        world = World(BACKUP.replace("s1 192.0.2.1:80", "s1 192.0.2.1:80 disabled"))
        self.assertEqual(world.floors("b"), [6, 6, 1])
        backend = world.backends["b"]
        backend.set_state(backend.servers[0], READY)
        backend.set_state(backend.servers[0], MAINT)
        self.assertEqual(world.floors("b"), [6, 6, 6])

    def test_a_floor_of_none_while_it_stands_by(self) -> None:
        world = World(BACKUP.replace("pool-standby-conn 1", "pool-standby-conn 0"))
        self.assertEqual(world.standing("b"), [6, 6, 0])
        world.find("b", "s2", DOWN)
        world.pass_time(1)
        self.assertEqual(world.standing("b"), [6, 0, 6])

    def test_without_purges_it_is_low_at_once(self) -> None:
        world = World(BACKUP.replace("pool-standby-conn 1", "pool-standby-conn 1 pool-purge-delay 0"))
        world.find("b", "s1", DOWN)
        world.pass_time(1)
        world.find("b", "s1", UP)
        world.pass_time(LINGER + 0.1)
        self.assertEqual(world.standing("b"), [6, 6, 1])

    def test_after_a_reload_without_the_word_the_floor_is_that_of_the_line(self) -> None:
        world = World(BACKUP)
        spare = world.backends["b"].servers[2]
        settings = read_configuration([Source("t.cfg", HEAD + BACKUP.replace(" pool-standby-conn 1", ""))], {})
        section = settings.backends["b"]
        new = Backend(section, [world.server("b", section.servers[2], spare.pool)], world.clock.seconds, world.say)
        world.backends["b"].stop_timers()
        new.start()
        world.pass_time(1)
        self.assertEqual((spare.pool.floor, len(spare.pool.idle)), (6, 6))

    def test_a_server_that_has_moved_has_the_floor_of_its_state(self) -> None:
        """Its pool at another address is a new one."""
        world = World(BACKUP)
        backend = world.backends["b"]
        spare = backend.servers[2]
        spare.pool = world.server("b", spare.settings).pool
        self.assertEqual(spare.pool.floor, 6)
        target: Any = None
        backend.located(spare, target, "DNS")
        self.assertEqual(spare.pool.floor, 1)

    def test_nothing_is_left_when_it_stops(self) -> None:
        world = World(BACKUP)
        world.find("b", "s1", DOWN)
        world.find("b", "s1", UP)
        world.backends["b"].stop("test over")
        for dialer in world.dialers:
            dialer.deadlines.stop()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_for_nobody_it_does_nothing_and_says_so(self) -> None:
        """Not where `default-server` says it for the backups."""
        alone = "backend b\n server s1 192.0.2.1:80 pool-min-conn 6 pool-standby-conn 1\n"
        world = World(alone)
        (notice,) = world.notices
        self.assertEqual((notice.level, notice.place.line, world.floors("b")), ("warning", 7, [6]))
        self.assertIn("'pool-standby-conn' does nothing: it is no 'backup', and no 'use_backend b if", notice.text)
        text = "backend b\n default-server pool-min-conn 6 pool-standby-conn 1\n server s1 192.0.2.1:80\n"
        world = World(f"{text} server s2 192.0.2.2:80 backup\n")
        self.assertEqual((world.notices, world.floors("b")), ([], [6, 1]))
