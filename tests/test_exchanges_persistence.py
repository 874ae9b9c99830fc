"""Clients that come back to their server by a cookie, what they get when it is not there, and what the log says.

What is edited in which mode is compared with HAProxy in `tests/integration/test_cookies_beside_haproxy.py`; here is
what takes time: servers that fall and rise, queues, retries, reloads.
"""

from __future__ import annotations

import socket
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.binding import Binding
from reusedproxy.backends.dynamic_cookies import dynamic_cookie, xxh64
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, UP
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.config.model.persistence import Cookie
from reusedproxy.exchanges.facts import ExchangeFacts
from reusedproxy.exchanges.own_answers import KEEPING
from reusedproxy.net.dial import Target
from reusedproxy.net.slices import run_through
from reusedproxy.wire.cookies import write_date
from tests.clientfakes import FarServer, World, get, response
from tests.fakes import Asks
from tests.rulefakes import sections

INSERT = Cookie("S", mode="insert", indirect=True)


def named(name: str) -> bytes:
    return get("/", f"Cookie: S={name}")


class PersistenceTestCase(SynchronousTestCase):
    def world(self, cookie: Cookie = INSERT, servers: int = 2, rules: str = "", **more: Any) -> World:
        """Servers s1 and so on, whose cookies are their names; `more` goes to the backend's settings."""
        world_of: dict[str, Any] = {"servers": servers, "maxconn": more.pop("maxconn", 0)}
        world_of["backend"] = {"cookie": cookie, "retries": 0, **more}
        world = World(self, **world_of)
        if rules:
            said = sections("", rules).backends["be"]
            world.backend.settings = evolve(world.backend.settings, place=said.place, rules=said.rules)
            world.frontend.settings = evolve(world.frontend.settings, default_backend="be")
            world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        for each in world.servers:
            each.server.cookie = each.server.name.encode()
        world.backend.learn_cookies()
        return world

    def letters(self, world: World) -> list[str]:
        """The termination state of each line in the log."""
        said = []
        for each in world.log:
            assert each.cookie is not None
            said.append(each.flags + each.cookie.letters(each.binding, each.server))
        return said

    def down(self, far: FarServer, world: World) -> None:
        world.backend.server_changed(far.server, DOWN, "test")

    def serve(self, far: FarServer, answer: bytes | None = None) -> bytes:
        """The server is connected to if it need be, and answers; what it has been asked."""
        if far.dialer.open:
            far.connect()
        asked = far.asked()
        far.answer(answer if answer is not None else response())
        return asked


class BindingTests(PersistenceTestCase):
    """Where a request goes."""

    def test_a_client_comes_back_to_its_server(self) -> None:
        """The first request gets the cookie; who has it gets no other, and the server does not see it."""
        world = self.world()
        first, second = world.servers
        client = world.client()
        client.send(get("/"))
        self.serve(first)
        self.assertIn(b"\r\nset-cookie: S=s1; path=/\r\n", client.take())
        for _ in range(3):
            client.send(named("s2"))
            self.assertNotIn(b"ookie", self.serve(second))
            self.assertNotIn(b"ookie", client.take())
        self.assertEqual(self.letters(world), ["--NI", *["--VN"] * 3])
        world.check_rest()

    def test_the_way_of_a_backend_without_a_cookie_is_as_before(self) -> None:
        """Nothing of the cookie's machinery is made."""
        world = World(self)
        client = world.client()
        client.send(named("s1"))
        self.assertIn(b"Cookie: S=s1\r\n", self.serve(world.server))
        (exchange,) = world.log
        self.assertIsNone(exchange.cookie)
        self.assertIsNone(exchange.answer_rules)
        self.assertEqual(world.backend.cookie_letters, "--")
        world.check_rest()

    def test_a_draining_server_keeps_its_clients(self) -> None:
        """And gets no new ones: by an order, or because its checks say so (`disable-on-404`)."""
        for state in (DRAIN, NOLB):
            world = self.world()
            first, second = world.servers
            if state == DRAIN:
                world.backend.set_state(first.server, DRAIN)
            else:
                world.backend.server_changed(first.server, NOLB, "test")
            self.assertEqual(first.server.state, state)
            client = world.client()
            client.send(named("s1"))
            self.serve(first)
            client.send(get("/"))
            self.serve(second)
            self.assertEqual(self.letters(world), ["--VN", "--NI"])
            world.check_rest()

    def test_who_has_the_cookie_of_a_fallen_server_gets_another(self) -> None:
        for state in (DOWN, MAINT):
            world = self.world()
            first, second = world.servers
            if state == DOWN:
                self.down(first, world)
            else:
                world.backend.set_state(first.server, MAINT)
            client = world.client()
            client.send(named("s1"))
            self.serve(second)
            self.assertIn(b"set-cookie: S=s2; path=/", client.take())
            self.assertEqual(self.letters(world), ["--DI"])
            world.check_rest()

    def test_two_servers_with_one_cookie(self) -> None:
        """The first that serves is meant, such as a backup while its server is down."""
        world = self.world(servers=3)
        first, _, third = world.servers
        third.server.cookie = b"s1"
        world.backend.learn_cookies()
        client = world.client()
        client.send(named("s1"))
        self.serve(first)
        self.down(first, world)
        client.send(named("s1"))
        self.serve(third)
        self.assertEqual(self.letters(world), ["--VN", "--VN"])
        world.check_rest()

    def test_a_server_at_another_address_has_another_dynamic_cookie(self) -> None:
        """And the one before leads nowhere; a server's own cookie stays."""
        world = self.world(evolve(INSERT, dynamic=True), dynamic_cookie_key="key")
        first, second = (each.server for each in world.servers)
        second.settings = evolve(second.settings, cookie="s2")
        first.target = before = Target(socket.AF_INET, ("192.0.2.1", 80))
        world.backend.learn_cookies()
        old = first.cookie
        assert old is not None
        first.target = second.target = Target(socket.AF_INET, ("192.0.2.9", 80))
        for each in (first, second):
            world.backend.located(each, before, "dns/ns1")
        new = first.cookie
        assert new is not None
        self.assertEqual(second.cookie, b"s2")
        client = world.client()
        client.send(named(new.decode()))
        self.serve(world.server)
        client.send(named("s2"))
        self.serve(world.servers[1])
        client.send(named(old.decode()))
        self.serve(world.server)
        self.assertEqual(self.letters(world), ["--VN", "--VN", "--II"])
        world.check_rest()


class OrderedCookiesTests(PersistenceTestCase):
    """Dynamic cookies that an operator switches on and off, and whose key he changes."""

    def test_cookies_are_made_and_forgotten(self) -> None:
        world = self.world(INSERT)
        backend = world.backend
        first, second = (each.server for each in world.servers)
        second.settings = evolve(second.settings, cookie="s2")
        first.settings = evolve(first.settings, cookie=None)
        second.cookie, first.target = b"s2", Target(socket.AF_INET, ("192.0.2.1", 80))
        backend.make_cookies(True, "")
        self.assertEqual((first.cookie, [*backend.cookies]), (None, [b"s2"]))  # as there is no key
        seen = []
        for key in ("one", "two"):
            backend.make_cookies(backend.makes_cookies, key)
            made = dynamic_cookie(key, socket.AF_INET, ("192.0.2.1", 80))
            self.assertEqual((first.cookie, {*backend.cookies}), (made, {made, b"s2"}))
            seen.append(made)
        client = world.client()
        client.send(named((seen[1] or b"").decode()))
        self.serve(world.server)
        client.send(named((seen[0] or b"").decode()))
        self.serve(world.server)
        self.assertEqual(self.letters(world), ["--VN", "--II"])
        backend.make_cookies(False, "two")
        self.assertEqual((first.cookie, second.cookie, [*backend.cookies]), (None, b"s2", [b"s2"]))
        world.check_rest()


class OutOfServiceTests(PersistenceTestCase):
    """`option persist` and `force-persist`: a server gets its clients though it is out of service."""

    def test_option_persist_tries_a_fallen_server(self) -> None:
        """On a connection that is opened for the request, and not kept."""
        world = self.world(persist=True)
        _, second = world.servers
        self.down(second, world)
        client = world.client()
        client.send(named("s2"))
        self.serve(second)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200"))
        self.assertEqual((len(second.pool.idle), len(second.pool.in_use)), (0, 0))
        self.assertEqual(second.pool.counters.handshakes_on_request_path, 1)
        self.assertEqual(self.letters(world), ["--DN"])
        world.check_rest()

    def test_a_rule_forces_who_comes_from_the_right_place(self) -> None:
        """Into maintenance, say, to look at the server before the others do."""
        world = self.world(rules="force-persist if { req.hdr(X-Admin) yes }")
        first, second = world.servers
        world.backend.set_state(second.server, MAINT)
        client = world.client()
        client.send(get("/", "X-Admin: yes", "Cookie: S=s2"))
        self.serve(second)
        client.send(get("/", "X-Admin: no", "Cookie: S=s2"))
        self.serve(first)
        self.assertEqual(self.letters(world), ["--DN", "--DI"])
        world.check_rest()

    def test_a_rule_lets_persistence_be_ignored(self) -> None:
        """The first rule counts; neither the client's cookie nor the server's is touched, but that the server does not
        see the client's."""
        world = self.world(rules="ignore-persist if { path_beg /static }\nforce-persist if { path_beg / }")
        first, _ = world.servers
        client = world.client()
        client.send(get("/static", "Cookie: S=s2"))
        self.assertNotIn(b"ookie", self.serve(first, response(b"", "Set-Cookie: S=x")))
        self.assertIn(b"Set-Cookie: S=x\r\n", client.take())
        self.assertEqual(self.letters(world), ["--UN"])
        world.check_rest()

    def test_a_forced_request_that_is_refused(self) -> None:
        """It is tried again as often as any other, and goes nowhere else, whatever `option redispatch` says."""
        world = self.world(rules="force-persist if { path_beg / }", redispatch=-1, retries=2)
        _, second = world.servers
        self.down(second, world)
        client = world.client()
        client.send(named("s2"))
        for _ in range(3):
            second.refuse()
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(self.letters(world), ["SCDN"])
        self.assertEqual(second.pool.counters.dials_failed, 3)
        world.check_rest()

    def test_a_persistent_request_that_is_refused_is_redispatched(self) -> None:
        """With `option redispatch`, at once: its server is known to be down."""
        world = self.world(persist=True, redispatch=-1, retries=3)
        first, second = world.servers
        self.down(second, world)
        client = world.client()
        client.send(named("s2"))
        second.refuse()
        self.serve(first)
        self.assertIn(b"set-cookie: S=s1; path=/", client.take())
        self.assertEqual(self.letters(world), ["--DI"])
        self.assertEqual((world.log[0].retries, world.log[0].redispatched), (1, True))
        world.check_rest()

    def test_a_client_that_leaves_takes_its_dial_along(self) -> None:
        world = self.world(persist=True)
        _, second = world.servers
        self.down(second, world)
        client = world.client()
        client.send(named("s2"))
        self.assertEqual(len(second.dialer.open), 1)
        client.wire.reset()
        self.assertEqual(second.dialer.open, [])
        self.assertEqual(self.letters(world), ["CCDN"])
        world.check_rest()

    def test_a_server_that_does_not_answer_the_dial(self) -> None:
        """`timeout connect` bounds it."""
        world = self.world(persist=True)
        _, second = world.servers
        self.down(second, world)
        client = world.client()
        client.send(named("s2"))
        world.advance(6)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(second.dialer.open, [])
        self.assertEqual(self.letters(world), ["sCDN"])
        world.check_rest()


class RedispatchTests(PersistenceTestCase):
    """A cookie's server that is up, and fails."""

    def test_without_the_option_it_stays(self) -> None:
        """All retries go to the cookie's server, and the client gets 503."""
        world = self.world(retries=2)
        _, second = world.servers
        client = world.client()
        client.send(named("s2"))
        for _ in range(3):
            world.advance(2)
            second.refuse()
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(self.letters(world), ["SCVN"])
        self.assertEqual(second.server.traffic.wretr, 2)
        world.check_rest()

    def test_it_stays_though_its_server_falls_meanwhile(self) -> None:
        """As in HAProxy: it is tried again there."""
        world = self.world(retries=1)
        _, second = world.servers
        client = world.client()
        client.send(named("s2"))
        self.down(second, world)
        world.advance(1)
        self.serve(second)
        self.assertEqual(self.letters(world), ["--VN"])
        world.check_rest()

    def test_with_the_option_its_last_retry_goes_elsewhere(self) -> None:
        """And the client gets the cookie of the other server."""
        world = self.world(retries=2, redispatch=-1)
        first, second = world.servers
        client = world.client()
        client.send(named("s2"))
        for _ in range(2):
            world.advance(2)
            self.assertEqual(first.dialer.open, [])
            second.refuse()
        self.serve(first)
        self.assertIn(b"set-cookie: S=s1; path=/", client.take())
        self.assertEqual(self.letters(world), ["--DI"])
        self.assertEqual((second.server.traffic.wretr, second.server.traffic.wredis), (1, 1))
        world.check_rest()

    def test_with_an_interval_of_one_the_first_does(self) -> None:
        world = self.world(retries=2, redispatch=1)
        first, second = world.servers
        client = world.client()
        client.send(named("s2"))
        second.refuse()
        self.serve(first)
        self.assertEqual(self.letters(world), ["--DI"])
        world.check_rest()

    def test_a_server_that_falls_is_left_at_the_next_retry(self) -> None:
        """Whatever the interval."""
        world = self.world(retries=3, redispatch=-1)
        first, second = world.servers
        client = world.client()
        client.send(named("s2"))
        self.down(second, world)
        world.advance(1)
        self.serve(first)
        self.assertEqual(self.letters(world), ["--DI"])
        world.check_rest()


class QueueTests(PersistenceTestCase):
    """A cookie's server that is full."""

    def full(self, **more: Any) -> tuple[World, Any]:
        """A world whose s2 has its one request."""
        world = self.world(maxconn=1, **more)
        busy = world.client()
        busy.send(named("s2"))
        world.servers[1].connect()
        world.servers[1].asked()
        return world, busy

    def test_it_waits_there_though_others_are_free(self) -> None:
        world, _ = self.full()
        first, second = world.servers
        client = world.client()
        client.send(named("s2"))
        self.assertEqual((len(second.server.queue), first.dialer.open), (1, []))
        second.answer()
        self.serve(second)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 200"))
        self.assertEqual(self.letters(world), ["--VN", "--VN"])
        world.check_rest()

    def test_beyond_maxqueue_it_is_refused_or_goes_elsewhere(self) -> None:
        """Elsewhere only with `option redispatch`; SQ in the log, as in HAProxy."""
        for redispatch in (0, -1):
            world, _ = self.full(redispatch=redispatch)
            first, second = world.servers
            settings = second.server.settings
            second.server.settings = evolve(settings, maxqueue=1)
            waiting, client = world.client(), world.client()
            waiting.send(named("s2"))
            client.send(named("s2"))
            if redispatch:
                self.serve(first)
                self.assertIn(b"set-cookie: S=s1; path=/", client.take())
            else:
                self.assertEqual(client.take(), KEEPING[503])
                self.assertEqual(second.server.traffic.econ, 1)
            self.assertEqual(self.letters(world), ["--DI" if redispatch else "SQVN"])
            second.answer()
            self.serve(second)
            world.check_rest()

    def test_when_the_server_falls_those_who_may_leave_its_queue(self) -> None:
        """With `option redispatch`, unless `option persist` or a rule keeps them there; they wait on for it."""
        for more, letters in (
            ({"redispatch": -1}, "--DI"),
            ({}, "--VN"),
            ({"redispatch": -1, "persist": True}, "--VN"),
            ({"redispatch": -1, "rules": "force-persist if { path_beg / }"}, "--VN"),
        ):
            world, _ = self.full(**more)
            first, second = world.servers
            client = world.client()
            client.send(named("s2"))
            self.down(second, world)
            second.answer()
            if letters == "--DI":
                self.serve(first)
            else:
                self.assertEqual(first.dialer.open, [])
                self.serve(second)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 200"))
            self.assertEqual(self.letters(world)[-1], letters, more)
            world.check_rest()

    def test_who_waits_for_a_fallen_server_gets_it_when_it_rises(self) -> None:
        world, busy = self.full()
        _, second = world.servers
        client = world.client()
        client.send(named("s2"))
        self.down(second, world)
        self.assertEqual(len(second.server.queue), 1)
        world.backend.server_changed(second.server, UP, "test")
        busy.wire.reset()
        self.serve(second)
        self.assertEqual(self.letters(world)[-1], "--VN")
        world.check_rest()

    def test_a_wait_ends_with_timeout_queue(self) -> None:
        world, busy = self.full()
        client = world.client()
        client.send(named("s2"))
        world.advance(8)
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(self.letters(world)[-1], "sQVN")
        busy.wire.reset()
        world.check_rest()


class ReloadTests(PersistenceTestCase):
    """Requests that wait while another configuration takes over."""

    def test_a_binding_goes_on_to_the_server_of_the_same_name(self) -> None:
        """Else it is none any more."""
        world = self.world()
        bound = Binding.of(world.servers[1].server, world.backend.settings)
        servers = [each.server for each in self.world(servers=3).servers]
        found = bound.at(servers)
        assert found is not None
        self.assertEqual((found.server, found.leaves), (servers[1], bound.leaves))
        self.assertIsNone(bound.at(servers[:1]))

    def test_a_waiting_request_waits_on_for_its_server(self) -> None:
        """At the backend that has taken the place of its own."""
        world = self.world(maxconn=1)
        busy, client = world.client(), world.client()
        busy.send(named("s2"))
        world.servers[1].connect()
        client.send(named("s2"))
        other = self.world(maxconn=1)
        new, second = other.backend, other.servers[1].server
        new.choose(Asks(), bound=second)
        for _ in world.backend.handing_over(new):
            pass
        self.assertEqual((len(world.servers[1].server.queue), len(second.queue)), (0, 1))
        (waiting,) = second.queue.waiting
        self.assertIs(waiting.request.backend, new)
        self.assertIs(waiting.binding.server, second)
        for each in (client, busy):
            each.wire.reset()


class DateTests(PersistenceTestCase):
    """`maxidle` and `maxlife`, by the time of day."""

    NOW = 1_800_000_000

    def ask(self, cookie: Cookie, sent: bytes) -> tuple[bytes, str]:
        """The Set-Cookie that comes back from s2, if any, and the letters."""
        world = self.world(cookie)
        client = world.client()
        self.patch(ExchangeFacts, "wall", lambda exchange: float(self.NOW))
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: S=" + sent + b"\r\n\r\n")
        far = next(each for each in world.servers if each.dialer.open)
        self.serve(far)
        found = [line for line in client.take().split(b"\r\n") if line.startswith(b"set-cookie")]
        world.check_rest()
        return b"".join(found), self.letters(world)[0]

    def at(self, before: int) -> bytes:
        return b"|" + write_date(self.NOW - before)

    def test_an_idle_cookie(self) -> None:
        """It is renewed while it is used, given up when it is too old, and accepted without a date."""
        cookie = evolve(INSERT, maxidle=60)
        fresh = b"set-cookie: S=s2" + b"|" + write_date(self.NOW + 3) + b"; path=/"
        self.assertEqual(self.ask(cookie, b"s2" + self.at(40)), (fresh, "--VU"))
        self.assertEqual(self.ask(cookie, b"s2"), (fresh, "--VU"))
        self.assertEqual(self.ask(cookie, b"s2" + self.at(-8)), (b"", "--VN"))
        self.assertEqual(self.ask(cookie, b"s2" + self.at(64))[1], "--EI")
        self.assertEqual(self.ask(cookie, b"s2" + self.at(-90000))[1], "--EI")

    def test_an_old_cookie(self) -> None:
        """Its first date stays, however often it is sent."""
        cookie = evolve(INSERT, maxlife=3600)
        first = self.at(1000)
        self.assertEqual(
            self.ask(cookie, b"s2" + self.at(40) + first)[0],
            b"set-cookie: S=s2" + b"|" + write_date(self.NOW + 3) + first + b"; path=/",
        )
        self.assertEqual(self.ask(cookie, b"s2" + self.at(40) + self.at(3604))[1], "--OI")
        self.assertEqual(self.ask(cookie, b"s2")[1], "--VU")

    def test_dates_that_nobody_wants_any_more(self) -> None:
        """They are taken out of the cookie."""
        self.assertEqual(self.ask(INSERT, b"s2" + self.at(40)), (b"set-cookie: S=s2; path=/", "--VU"))


class DynamicCookieTests(SynchronousTestCase):
    """Cookies made of a key and the server's address."""

    def test_the_hash(self) -> None:
        """By the test values of XXH64's own."""
        self.assertEqual(xxh64(b""), 0xEF46DB3751D8E999)
        self.assertEqual(xxh64(b"abc"), 0x44BC2CF5AD770999)
        self.assertEqual(xxh64(b"Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1)

    def test_which_servers_have_one(self) -> None:
        """Those with an IP address; its port and the key make a difference."""
        one = dynamic_cookie("key", socket.AF_INET, ("192.0.2.1", 80))
        assert one is not None
        self.assertEqual(len(one), 16)
        others = [
            dynamic_cookie("other", socket.AF_INET, ("192.0.2.1", 80)),
            dynamic_cookie("key", socket.AF_INET, ("192.0.2.1", 81)),
            dynamic_cookie("key", socket.AF_INET6, ("2001:db8::1", 80, 0, 0)),
        ]
        self.assertEqual(len({one, *others}), 4)
        self.assertIsNone(dynamic_cookie("key", socket.AF_UNIX, "/run/s"))
