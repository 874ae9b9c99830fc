"""Clients that stick to their servers by a table (`stick`), in requests and in sessions of mode tcp."""

from __future__ import annotations

import socket
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, DRAIN
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.build.tables import tables_of
from reusedproxy.config.model.persistence import Cookie
from reusedproxy.exchanges.route import Route
from reusedproxy.net.dial import Target
from reusedproxy.net.slices import run_through
from tests.clientfakes import FarServer, World, get
from tests.rulefakes import sections
from tests.streamfakes import StreamWorld

TABLE = "stick-table type string len 8 size 10 expire 1m\n"
STICK = f"{TABLE}stick on url_param(id)\n"


class RequestTests(SynchronousTestCase):
    def world(self, rules: str, servers: int = 3, maxconn: int = 0, **more: Any) -> World:
        world = World(self, servers=servers, warm=2, maxconn=maxconn, backend=more)
        said = sections("", f"{rules}\nserver s2 h:1\nserver s3 h:1")
        own = said.backends["be"]
        world.backend.settings = evolve(world.backend.settings, place=own.place, rules=own.rules)
        world.frontend.settings = evolve(world.frontend.settings, default_backend="be")
        world.frontend.tables = tables_of(said.tables, {}, world.clock.seconds, [])
        world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        return world

    def asked(self, world: World, *requests: bytes, answer: bytes = b"") -> list[str]:
        found = []
        for request in requests:
            client = world.client()
            client.send(request)
            (each,) = self.serving(world)
            found.append(each.server.name)
            each.answer(*((answer,) if answer else ()))
            client.take()
        return found

    def serving(self, world: World) -> list[FarServer]:
        """Servers that have a request; a connection that one of them is asked for succeeds."""
        for each in world.servers:
            if each.dialer.open and not any(other.busy for other in world.servers):
                each.connect()
        return [each for each in world.servers if each.busy]

    def stored(self, world: World) -> dict[object, str]:
        table = world.frontend.tables["be"]
        return {table.key_of(row): table.name_in(row, table.slots["server_key"]) for row in table.each()}

    def test_a_client_comes_back_to_its_server(self) -> None:
        world = self.world(STICK)
        first = self.asked(world, get("/?id=a"), get("/?id=b"), get("/?id=c"), get("/"))
        self.assertEqual(first, ["s1", "s2", "s3", "s1"])
        again = self.asked(world, get("/?id=c"), get("/?id=a"), get("/?id=a"), get("/?id=b"))
        self.assertEqual(again, ["s3", "s1", "s1", "s2"])
        self.assertEqual(self.stored(world), {b"a": "s1", b"b": "s2", b"c": "s3"})

    def test_an_entry_lasts_while_it_is_used(self) -> None:
        world = self.world(STICK)
        self.asked(world, get("/?id=a"))
        for _ in range(3):
            world.advance(50)
            self.assertEqual(self.asked(world, get("/?id=a")), ["s1"])
        world.advance(61)
        self.assertEqual(self.asked(world, get("/?id=a")), ["s2"])

    def test_a_server_that_is_down_loses_its_clients(self) -> None:
        """To the one that takes them then, unless `option persist` keeps them; one in DRAIN keeps them anyhow."""
        world = self.world(STICK)
        self.asked(world, get("/?id=a"))
        world.backend.set_state(world.servers[0].server, DRAIN)
        self.assertEqual(self.asked(world, get("/?id=a")), ["s1"])
        world.backend.server_changed(world.servers[0].server, DOWN, "test")
        (other,) = self.asked(world, get("/?id=a"))
        self.assertNotEqual(other, "s1")
        self.assertEqual(self.stored(world), {b"a": other})
        world.backend.server_changed(world.servers[0].server, "UP", "test")
        self.assertEqual(self.asked(world, get("/?id=a")), [other])

    def test_what_is_redispatched_is_stored_where_it_was_answered(self) -> None:
        world = self.world(STICK, redispatch=-1, retries=1, http_reuse="never")
        self.asked(world, get("/?id=a"))
        client = world.client()
        client.send(b"POST /?id=a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        world.servers[0].refuse()
        (each,) = self.serving(world)
        self.assertNotEqual(each.server.name, "s1")
        each.answer()
        self.assertEqual(self.stored(world), {b"a": each.server.name})

    def test_nobody_sticks_to_a_server_that_does_not_stick(self) -> None:
        world = self.world(STICK)
        server = world.servers[0].server
        server.settings = evolve(server.settings, non_stick=True)
        self.assertEqual(self.asked(world, get("/?id=a"), get("/?id=a"), get("/?id=a")), ["s1", "s2", "s2"])

    def test_servers_may_be_known_by_their_addresses(self) -> None:
        """So that a client follows its server to another name, and not the name to another server."""
        world = self.world(STICK.replace("expire", "srvkey addr expire"))
        for number, each in enumerate(world.servers):
            each.server.target = Target(socket.AF_INET, (f"192.0.2.{number}", 80))
        self.assertEqual(self.asked(world, get("/?id=a"), get("/?id=a")), ["s1", "s1"])
        self.assertEqual(self.stored(world), {b"a": "192.0.2.0:80"})

    def test_a_cookie_comes_first(self) -> None:
        """As in HAProxy, and what it leads to is stored."""
        world = World(self, servers=3, warm=2, backend={"cookie": Cookie("SRV", "insert")})
        said = sections("", f"{STICK}\nserver s2 h:1\nserver s3 h:1")
        own = said.backends["be"]
        for each in world.servers:
            each.server.cookie = each.server.name.encode()
        world.backend.learn_cookies()
        world.backend.settings = evolve(world.backend.settings, place=own.place, rules=own.rules)
        world.frontend.settings = evolve(world.frontend.settings, default_backend="be")
        world.frontend.tables = tables_of(said.tables, {}, world.clock.seconds, [])
        world.frontend.default_route = Route(world.frontend.settings, world.backend)
        world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        with_cookie = get("/?id=a").replace(b"\r\n\r\n", b"\r\nCookie: SRV=s3\r\n\r\n")
        self.assertEqual(self.asked(world, get("/?id=a"), with_cookie, get("/?id=a")), ["s1", "s3", "s3"])

    def test_an_answer_may_have_the_key(self) -> None:
        """Of several rules for one table the first that finds a key counts, for requests and for answers."""
        world = self.world(
            f"{TABLE}stick match url_param(id)\nstick store-response res.hdr(x-none)\n"
            "stick store-response res.hdr(x-id)\nstick store-response res.hdr(x-id),upper\n"
            "stick store-request url_param(name) if { path /named }\nstick store-request url_param(id)"
        )
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Id: %b\r\n\r\n"
        self.asked(world, get("/"), answer=answer % b"one")
        self.asked(world, get("/named?name=n&id=x"), answer=answer % b"two")
        self.assertEqual(self.stored(world), {b"one": "s1", b"n": "s2", b"two": "s2"})
        self.assertEqual(self.asked(world, get("/?id=two"), get("/?id=one")), ["s2", "s1"])

    def test_a_rule_that_stores_is_left_out_where_a_key_waits_for_its_table(self) -> None:
        """Its match, too, as in HAProxy: those whom two rules know differently are not all sent where one of them is.
        `stick match` is not left out."""
        world = self.world(f"{TABLE}stick on req.hdr(x)\nstick on url_param(id)\nstick match url_param(last)")
        known = self.asked(world, get("/?id=a"), get("/?id=b"))
        self.assertEqual(known, ["s1", "s2"])
        self.assertEqual(self.asked(world, get("/?id=a", "X: new"), get("/?id=a", "X: new")), ["s3", "s3"])
        self.assertEqual(self.asked(world, get("/?id=b", "X: a"), get("/?id=b")), ["s1", "s2"])
        self.assertEqual(self.asked(world, get("/?id=a&last=b", "X: newer")), ["s2"])
        expected = {b"a": "s1", b"b": "s2", b"new": "s3", b"newer": "s2"}
        self.assertEqual(self.stored(world), expected)

    def test_a_condition_is_asked_once_and_of_a_rule_that_is_left_out_not_at_all(self) -> None:
        for rules, counted in (
            ("stick on url_param(id) if { src_inc_gpc0(be) gt 0 }", 1),
            ("stick match url_param(id) if { src_inc_gpc0(be) gt 0 }", 1),
            ("stick on url_param(id)\nstick on path if { src_inc_gpc0(be) gt 0 }", 0),
            ("stick store-request url_param(id)\nstick store-request path if { src_inc_gpc0(be) gt 0 }", 0),
            ("stick store-response status\nstick store-response status if { src_inc_gpc0(be) gt 0 }", 0),
        ):
            world = self.world(f"stick-table type string len 20 size 10 store gpc0\n{rules}")
            self.asked(world, get("/?id=a"))
            table = world.frontend.tables["be"]
            row = table.find(b"192.0.2.7")
            self.assertEqual(table.value(row, table.slots["gpc0"]) if row else 0, counted, rules)

    def test_nothing_is_stored_without_an_answer(self) -> None:
        world = self.world(STICK, retries=0, retry_on=frozenset(("none",)))
        client = world.client()
        client.send(b"POST /?id=a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        (each,) = self.serving(world)
        each.reset()
        self.assertIn(b"502", client.take())
        self.assertEqual(self.stored(world), {})


class StreamTests(SynchronousTestCase):
    def test_a_client_comes_back_to_its_server(self) -> None:
        world = StreamWorld(
            self,
            "listen l\n stick-table type ip size 10 expire 1m store conn_cnt,conn_cur,bytes_in_cnt,bytes_out_cnt\n"
            " tcp-request content track-sc0 src\n stick on src\n server s1 h:1\n server s2 h:1\n server s3 h:1\n",
        )
        table = world.frontend.tables["l"]
        for address, name in (("192.0.2.1", "s1"), ("192.0.2.2", "s2"), ("192.0.2.1", "s1"), ("192.0.2.2", "s2")):
            client = world.client((address, 1))
            client.feed(b"hello")
            server = world.connect(name)
            row = table.find(address)
            self.assertEqual(table.value(row, table.slots["conn_cur"]), 1)
            server.feed(b"welcome")
            server.eof()
            client.eof()
            self.assertEqual(table.name_in(row, table.slots["server_key"]), name)
        names = ("conn_cnt", "conn_cur", "bytes_in_cnt", "bytes_out_cnt")
        self.assertEqual([table.value(row, table.slots[name]) for name in names], [2, 0, 10, 14])
        world.check_rest()

    def test_a_rule_acts_once_however_often_it_waits(self) -> None:
        world = StreamWorld(
            self,
            "listen l\n stick-table type ip size 10 store gpc0\n tcp-request inspect-delay 5s\n"
            " tcp-request content track-sc0 src\n tcp-request content sc-inc-gpc0(0)\n"
            " tcp-request content accept if { req.len gt 3 }\n server s1 h:1\n",
        )
        table = world.frontend.tables["l"]
        client = world.client()
        for _ in range(4):
            client.feed(b"x")
        row = table.find("192.0.2.7")
        self.assertEqual(table.value(row, table.slots["gpc0"]), 1)
        world.connect("s1")
        client.reset()
        self.assertEqual(table.uses[row], 0)
        world.check_rest()

    def test_what_a_server_says_first_may_have_the_key(self) -> None:
        world = StreamWorld(
            self,
            f"listen l\n {TABLE} tcp-request inspect-delay 1s\n tcp-request content accept if {{ req.len gt 0 }}\n"
            " tcp-response inspect-delay 1s\n tcp-response content accept if { res.len gt 2 }\n"
            " stick match req.payload(0,3)\n stick store-response res.payload(0,3)\n server s1 h:1\n server s2 h:1\n",
        )
        client = world.client()
        client.feed(b"abc")
        server = world.connect("s1")
        server.feed(b"key is this")
        table = world.frontend.tables["l"]
        self.assertEqual(table.name_in(table.find(b"key"), table.slots["server_key"]), "s1")
        client.reset()
        for name in ("s1", "s1"):
            again = world.client()
            again.feed(b"key")
            world.connect(name)
            again.reset()
        world.check_rest()
