"""Requests that a `use-server` rule sends to a server, whatever cookies and the algorithm say."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, DRAIN, MAINT
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.config.model.persistence import Cookie
from reusedproxy.net.slices import run_through
from tests.clientfakes import World, get
from tests.rulefakes import sections


class UseServerTests(SynchronousTestCase):
    def world(self, rules: str, servers: int = 3, maxconn: int = 0, **more: Any) -> World:
        world = World(self, servers=servers, warm=2, maxconn=maxconn, backend=more)
        said = sections("", rules).backends["be"]
        settings = evolve(world.backend.settings, place=said.place, rules=said.rules, use_servers=said.use_servers)
        world.backend.settings = settings
        world.frontend.settings = evolve(world.frontend.settings, default_backend="be")
        world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        return world

    def asked(self, world: World, *requests: bytes) -> list[str]:
        client, found = world.client(), []
        for request in requests:
            client.send(request)
            (each,) = [each for each in world.servers if each.busy]
            found.append(each.server.name)
            each.answer()
            client.take()
        return found

    RULES = "use-server s3 if { path /3 }\nuse-server s2 unless { path_beg /any }\nserver s2 h:1\nserver s3 h:1"

    def test_the_first_that_is_true_counts(self) -> None:
        world = self.world(self.RULES)
        self.assertEqual(
            self.asked(world, get("/3"), get("/x"), get("/any"), get("/3"), get("/any")), ["s3", "s2", "s1", "s3", "s2"]
        )
        world.check_rest()

    def test_one_out_of_service_is_passed_over(self) -> None:
        world = self.world(self.RULES)
        world.backend.server_changed(world.servers[2].server, DOWN, "test")
        self.assertEqual(self.asked(world, get("/3")), ["s2"])
        world.backend.set_state(world.servers[1].server, MAINT)
        self.assertEqual(self.asked(world, get("/3")), ["s1"])
        world.check_rest()

    def test_one_in_drain_is_used(self) -> None:
        """So that servers of weight 0 serve nothing else."""
        world = self.world(self.RULES)
        world.backend.set_state(world.servers[2].server, DRAIN)
        self.assertEqual(self.asked(world, get("/3"), get("/any"), get("/any"), get("/any")), ["s3", "s1", "s2", "s1"])
        world.check_rest()

    def test_a_name_may_depend_on_the_request(self) -> None:
        """One that is no server's ends the search."""
        world = self.world(
            "use-server %[path,field(2,/)] if { always_true }\nuse-server s3 unless { path /x }\nserver s3 h:1"
        )
        self.assertEqual(
            self.asked(world, get("/s2"), get("/s2"), get("/nobody"), get("/s3")), ["s2", "s2", "s1", "s3"]
        )
        world.check_rest()

    def test_it_comes_before_the_cookie(self) -> None:
        world = self.world(self.RULES, cookie=Cookie("S", mode="insert", indirect=True))
        for each in world.servers:
            each.server.cookie = each.server.name.encode()
        world.backend.learn_cookies()
        self.assertEqual(self.asked(world, get("/3", "Cookie: S=s1"), get("/any", "Cookie: S=s3")), ["s3", "s3"])
        world.check_rest()

    def test_it_waits_for_a_full_server(self) -> None:
        world = self.world(self.RULES, maxconn=1)
        first, second = world.client(), world.client()
        first.send(get("/3"))
        second.send(get("/3"))
        self.assertEqual([len(each.busy) for each in world.servers], [0, 0, 1])
        world.servers[2].answer()
        world.servers[2].answer()
        self.assertIn(b"200 OK", second.take())
        world.check_rest()

    def test_what_cannot_be_found_out_is_refused(self) -> None:
        world = self.world("use-server s2 if { path_reg ^/(?!x)(a+)+$ }\nserver s2 h:1")
        client = world.client()
        client.send(get("/" + "a" * 40 + "!"))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 500 "))
        self.assertEqual([each.asked() for each in world.servers], [b""] * 3)
        world.check_rest()
