"""`add server` and `del server`: servers that come and go while the proxy runs, in all places where servers are."""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from copy import copy
from types import SimpleNamespace
from typing import Any

from reusedproxy.backends.balance import RoundRobin
from reusedproxy.backends.joining import still_there
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP
from reusedproxy.build.in_place import in_place
from reusedproxy.config import added_servers
from reusedproxy.config.added_servers import NOT_ADDED
from reusedproxy.config.language import haproxy_words
from reusedproxy.daemon.forgotten import back_again, deleted
from reusedproxy.daemon.replacing.counts import count_on, counts_of
from reusedproxy.daemon.replacing.since import differences, obey, orders_of
from reusedproxy.daemon.replacing.standing import stand, standing, states_as_said, states_in_place
from reusedproxy.daemon.service import ProxyService
from reusedproxy.exchanges.egress import Partners
from reusedproxy.net.listener import LISTENING
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.view.reading import Reader
from reusedproxy.sessions.sticking import Sticking
from tests.fakes import Asks
from tests.garbage import Census
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, OrdersTestCase
from tests.test_backends_algorithms import servers_of
from tests.test_net_tls_server import revocations

NEW = "New server registered.\n"
GONE = "was added, and no file names it any more: it is gone"


class AddedTestCase(OrdersTestCase):
    """The whole service on a clock; its servers are not there, and are not waited for."""

    step, steps = 0.05, 200
    text_of = (
        f"global\n stats socket {{folder}}/admin.sock level admin\n{{more}}{HEAD}"
        f"frontend f\n bind {LOOPBACK}:0\n default_backend b\n"
        f"backend b\n cookie SRV insert\n server s {LOOPBACK}:1 id 2\n{{servers}}"
        f"backend static\n balance static-rr\n server s {LOOPBACK}:1\n"
        f"backend tracked\n balance leastconn\n server t {LOOPBACK}:1 check inter 60s\n server u {LOOPBACK}:1\n"
        f" use-server u if {{{{ srv_is_up(t) }}}}\n"
    )

    def setUp(self) -> None:
        super().setUp()
        self.config = self.configure()
        self.start_with(self.config)

    @property
    def said(self) -> list[str]:
        return [text for _, text in self.announced]

    def configure(self, more: str = "", servers: str = "") -> str:
        return self.text("proxy.cfg", self.text_of.format(folder=self.folder, more=more, servers=servers))

    def add(self, words: str) -> Any:
        """Adds a server that has nothing to be said of, and returns it."""
        self.assertEqual(self.tell(f"add server {words}"), NEW, words)
        return self.context.server(words.split()[0])[1]

    def delete(self, path: str) -> None:
        self.tell(f"disable server {path}")
        self.assertEqual(self.tell(f"del server {path}"), "Server deleted.", path)

    def backend(self, name: str = "b") -> Any:
        return self.context.backend(name)

    def reload(self) -> None:
        before = self.service.proxy
        self.service.reload()
        self.reactor.pump([0.05] * 160)
        self.assertIsNot(self.service.proxy, before)


class AddTests(AddedTestCase):
    def test_a_frontend_that_was_shut_down_opens_at_a_reload_and_not_by_other_orders(self) -> None:
        """Its socket is closed, and is not to be taken for one that can be gone on with."""
        self.assertEqual(self.tell("shutdown frontend f"), "")
        for order in (lambda: self.add(f"b/new {LOOPBACK}:1"), self.reload):
            self.assertTrue(self.frontend.shut)
            order()
        self.assertFalse(self.frontend.shut)
        self.assertEqual([each.state for each in self.frontend.listeners], [LISTENING])
        self.reload()
        self.assertEqual([each.state for each in self.frontend.listeners], [LISTENING])

    @property
    def frontend(self) -> Any:
        (found,) = [each for each in self.context.proxy.frontends if each.name == "f"]
        return found

    def test_a_new_server_is_in_maintenance_and_ordered_out_of_it(self) -> None:
        server = self.add(f"b/new {LOOPBACK}:9 weight 7")
        self.assertEqual((server.state, server.admin, server.settings.disabled), (MAINT, MAINT, False))
        self.assertFalse(self.backend().uses(server))
        self.tell("enable server b/new")
        self.assertEqual(server.state, UP)
        self.assertTrue(self.backend().uses(server))
        self.assertEqual(self.tell("get weight b/new"), "7 (initial 7)\n")

    def test_it_is_where_servers_are(self) -> None:
        self.add(f"b/new {LOOPBACK}:9 cookie c pool-min-conn 3")
        self.tell("enable server b/new")
        state, conn, shown = (self.tell(f"show {what}") for what in ("servers state b", "servers conn b", "pool b"))
        self.assertIn(" b 1 new 127.0.0.1 1 0 1 1 ", state)  # the lowest number that is free
        self.assertIn("b/new 1/1 127.0.0.1 9", conn.replace(" 3/1 ", " 1/1 "))
        self.assertIn("b/new", shown)
        rows = [row.split(",") for row in self.tell("show stat").splitlines()]
        self.assertEqual(
            [(row[1], row[28]) for row in rows if row[0] == "b"], [("s", "2"), ("new", "1"), ("BACKEND", "0")]
        )
        self.assertEqual(self.tell("show servers state").count(" new "), 1)
        self.assertEqual([each.name for each in self.backend().settings.servers], ["s", "new"])
        self.assertIs(self.proxy.configuration.backends["b"], self.backend().settings)

    def test_words_are_read_as_those_of_a_server_line(self) -> None:
        for words, wrong in (
            ("b/new", "'server' expects <name> and <addr>[:<port>] as arguments.\n"),
            (f"b/new {LOOPBACK}:9 enabled", "'enabled' option is not accepted for dynamic server\n"),
            (f"b/new {LOOPBACK}:9 weight 7 resolvers r", "'resolvers' option is not accepted for dynamic server\n"),
            (f"b/new {LOOPBACK}:9 wieght 7", "unknown keyword 'wieght'; did you mean 'weight' maybe ?\n"),
            (f"b/new {LOOPBACK}:9 weight", "server 'new': 'weight' needs a value after it\n"),
            (f"b/new {LOOPBACK}:9 weight 257", "server 'new': 'weight': 257 is out of range: it has to be between 0 and"
             " 256\n"),
            (f"b/n/w {LOOPBACK}:9", "character '/' is not permitted in server name 'n/w'.\n"),
            (f"b/new {LOOPBACK}:9 id 2", f"'id' : custom id 2 already used at {self.config}:13 ('server s').\n"),
            (f"b/s {LOOPBACK}:9", "Already exists a server with the same name in backend.\n"),
            (f"no/new {LOOPBACK}:9", "No such backend."),
            ("b", "Require 'backend/server'."),
            ("", "Require 'backend/server'."),
            (f"static/new {LOOPBACK}:9", "Backend must use a dynamic load balancing to support dynamic servers."),
            (f"b/new {LOOPBACK}:9 track b/s", "unable to use b/s for tracking as it does not have any check nor agent"
             " enabled.\n"),
            (f"b/new {LOOPBACK}:9 track b/no", "unable to find required server 'no' for tracking.\n"),
            (f"b/new {LOOPBACK}:9 track no/s", "unable to find required proxy 'no' for tracking.\n"),
        ):  # fmt: skip
            self.assertEqual(self.tell(f"add server {words}"), wrong)
        for words, wrong in (
            (f"b/new {LOOPBACK}:9 pool-min-conn auto 3 2", "'pool-min-conn': 'auto 3 2' is from the least to the most"),
            (f"b/new {LOOPBACK}:9 ssl", "'ssl' verifies the server"),
            (f"b/new {LOOPBACK}:9 pin-sha256 x", "pin-sha256"),
            (f"b/new {LOOPBACK}:9 ssl ca-file /no/such sni str(a.b)", "/no/such"),
            (f"b/new {LOOPBACK}:9 check check-ssl ca-file /no/such verifyhost a.b", "/no/such"),
            (f"b/new {LOOPBACK}:9 check addr no-such-host.invalid", "could not resolve address 'no-such-host.invalid'"),
        ):  # fmt: skip
            self.assertIn(wrong, self.tell(f"add server {words}"))
        self.assertEqual(len(self.proxy.lines), 4)
        self.assertEqual(self.backend().checkers, [])
        self.assertEqual([each.name for each in self.backend().servers], ["s"])

    def test_what_is_to_be_said_of_words_that_are_taken_comes_first(self) -> None:
        said = self.tell(f"add server b/new {LOOPBACK}:9 strict-maxconn")
        self.assertEqual(said, f"server 'new': 'strict-maxconn' does nothing without 'maxconn'\n{NEW}")

    def test_words_for_added_servers_are_words_of_servers(self) -> None:
        self.assertLess(NOT_ADDED, haproxy_words.SERVER.keys())
        title, *words = self.tell("add server help").splitlines()
        self.assertEqual(title, "List of keywords supported for dynamic server:")
        self.assertEqual(words, sorted(words))
        self.assertLess({"pool-min-conn", "pin-sha256", "weight", "tls-tickets"}, {*words})
        self.assertFalse({"enabled", "resolvers", "cc"} & {*words})

    def test_the_section_counts_and_its_default_server_does_not(self) -> None:
        """As in HAProxy."""
        more = f"backend d\n option httpchk GET /up\n default-server weight 9 check\n server a {LOOPBACK}:1\n"
        self.text("proxy.cfg", self.text_of.format(folder=self.folder, more="", servers="") + more)
        self.reload()
        server = self.add(f"d/new {LOOPBACK}:9 check")
        self.assertEqual(server.weight, 1)
        (line,) = [each for name, each in self.proxy.lines.items() if name == "d/new"]
        self.assertEqual(line.ping_request[:8], b"GET /up ")
        self.assertEqual(line.asks, self.proxy.lines["d/a"].asks)

    def test_checks_and_agents_wait_until_they_are_ordered(self) -> None:
        self.add(f"b/new {LOOPBACK}:9 check inter 1s agent-check agent-port 8 agent-inter 1s")
        backend = self.backend()
        self.tell("enable server b/new")
        (checker,), (agent,) = backend.checkers, backend.agents
        self.reactor.pump([0.5] * 8)
        self.assertEqual((checker.last.status, agent.last.status), ("INI", "INI"))
        self.tell("enable health b/new")
        self.tell("enable agent b/new")
        self.reactor.pump([0.5] * 8)
        self.assertNotEqual(checker.last.status, "INI")
        self.assertNotEqual(agent.last.status, "INI")

    def test_one_follows_the_state_of_another(self) -> None:
        """A server of the file, which cannot be deleted then."""
        new = self.add(f"b/new {LOOPBACK}:9 track tracked/t")
        self.tell("enable server b/new")
        self.tell("set server tracked/t state drain")
        self.assertEqual(new.state, DRAIN)
        said = self.tell(f"add server b/other {LOOPBACK}:9 track b/new")
        self.assertEqual(said, "unable to use b/new for tracking as it is a dynamic server.\n")
        self.tell("disable server tracked/t")
        pointed = "This server cannot be removed at runtime due to other configuration elements pointing to it."
        self.assertEqual(self.tell("del server tracked/t"), pointed)
        self.delete("b/new")
        self.assertEqual(self.proxy.lines["tracked/t"].server.trackers, [])
        self.assertEqual(self.tell("del server tracked/t"), pointed)  # a condition asks for it, too

    def test_there_is_a_bound(self) -> None:
        self.patch(added_servers, "MOST_ADDED", 2)
        self.add(f"b/a {LOOPBACK}:9")
        self.add(f"tracked/b {LOOPBACK}:9")
        self.assertIn("2 servers have been added", self.tell(f"add server b/c {LOOPBACK}:9"))
        self.delete("b/a")
        self.add(f"b/c {LOOPBACK}:9")

    def test_a_name_is_resolved(self) -> None:
        """In HAProxy it would stay without an address."""
        server = self.add("b/new localhost:9")
        self.assertEqual(str(server.target).rpartition(":")[2], "9")
        self.assertIn("no-such-host.invalid", self.tell("add server b/other no-such-host.invalid:9"))

    def test_it_comes_up_as_its_words_say(self) -> None:
        server = self.add(f"b/new {LOOPBACK}:9 pool-min-conn 4 pool-warm-up 5s slowstart 10s")
        backend = self.backend()
        self.assertEqual(server.pool.state, "suspended")
        self.tell("enable server b/new")
        self.assertEqual(server.pool.state, "running")
        self.assertEqual(server.warmth, 0)
        self.assertIn(server, backend.coming_up)
        self.assertIn(server, backend.slow_starts)
        self.delete("b/new")
        self.assertEqual((backend.coming_up, backend.slow_starts), ({}, {}))

    def test_a_backup_stands_by(self) -> None:
        server = self.add(f"b/new {LOOPBACK}:9 backup pool-min-conn 4 pool-standby-conn 1")
        self.tell("enable server b/new")
        self.assertEqual(server.pool.floor, 1)
        self.tell("disable server b/s")
        self.assertEqual(server.pool.floor, 4)
        self.tell("enable server b/s")
        self.delete("b/new")
        self.assertEqual(self.backend().standbys, [])

    def test_its_address_may_be_ordered(self) -> None:
        server = self.add(f"b/new {LOOPBACK}:9")
        said = self.tell("set server b/new addr 127.0.0.7 port 5")
        self.assertIn("IP changed from '127.0.0.1' to '127.0.0.7'", said)
        self.reactor.pump([0.5] * 30)
        self.assertEqual(str(server.target), "127.0.0.7:5")


class DeleteTests(AddedTestCase):
    def test_only_from_maintenance_and_without_connections(self) -> None:
        server = self.add(f"b/new {LOOPBACK}:9")
        self.tell("enable server b/new")
        self.assertEqual(self.tell("del server b/new"), "Only servers in maintenance mode can be deleted.")
        self.tell("disable server b/new")
        still = "Server still has connections attached to it, cannot remove it."
        server.served = 1
        self.assertEqual(self.tell("del server b/new"), still)
        self.assertEqual(self.tell("wait 100ms srv-removable b/new"), f"Wait delay expired. {still}\n")
        server.served = 0
        self.assertEqual(self.tell("wait 100ms srv-removable b/new"), "Done.\n")
        self.assertEqual(self.tell("del server b/new"), "Server deleted.")
        for line, said in (
            ("b/new", "No such server."),
            ("b", "Require 'backend/server'."),
            ("no/s", "No such backend."),
        ):
            self.assertEqual(self.tell(f"del server {line}"), said)

    def test_a_server_of_the_file_may_go_and_one_that_a_rule_names_may_not(self) -> None:
        self.delete("b/s")
        self.assertFalse(self.backend().usable)
        self.tell("disable server tracked/u")
        self.assertIn("other configuration elements", self.tell("del server tracked/u"))
        self.assertEqual(self.tell("wait 1s srv-removable tracked/u")[:35], "Failed. This server cannot be remov")
        self.reload()
        self.assertIn("b/s", self.proxy.lines)

    def test_one_that_another_follows_stays(self) -> None:
        more = f"backend d\n server a {LOOPBACK}:1 check\n"
        self.text("proxy.cfg", self.text_of.format(folder=self.folder, more="", servers="") + more)
        self.reload()
        self.add(f"b/new {LOOPBACK}:9 track d/a")
        self.tell("disable server d/a")
        self.assertIn("other configuration elements", self.tell("del server d/a"))
        self.delete("b/new")
        self.delete("d/a")

    def test_one_that_is_on_its_way_to_another_address_does_not_arrive(self) -> None:
        self.add(f"b/new {LOOPBACK}:9 pool-min-conn 2")
        self.tell("set server b/new addr 127.0.0.7")
        self.assertFalse(self.backend().addresses.settled)
        self.delete("b/new")
        self.assertTrue(self.backend().addresses.settled)

    def test_what_a_proxy_before_still_uses_is_left_to_it(self) -> None:
        """Its last requests may look for a connection there."""
        self.add(f"b/new {LOOPBACK}:9")
        pool, former, before = self.proxy.lines["b/new"].pool, self.service.reloads.former, copy(self.proxy)
        before.lines = {**self.proxy.lines}
        former.proxies.append(before)
        former._clearing = before
        self.delete("b/new")
        self.reactor.pump([0.5] * 8)
        self.assertEqual((pool.state, len([*pool.family])), ("closed", 1))
        former.proxies.clear()

    def test_nothing_of_it_is_shown_any_more(self) -> None:
        self.add(f"b/new {LOOPBACK}:9 cookie c check agent-check agent-port 7 observe layer4")
        backend = self.backend()
        self.delete("b/new")
        for what in ("stat", "servers state", "servers conn", "pool"):
            self.assertNotIn("new", self.tell(f"show {what}"), what)
        self.assertEqual((backend.checkers, backend.agents, backend.observers, backend.cookies), ([], [], {}, {}))
        self.assertEqual([each.name for each in self.proxy.configuration.backends["b"].servers], ["s"])
        self.assertIsNotNone(self.proxy.rates)
        assert self.proxy.rates is not None
        self.assertEqual(len(self.proxy.rates._times), 4)

    def test_one_that_is_added_again_counts_from_nought(self) -> None:
        server = self.add(f"b/new {LOOPBACK}:9")
        server.traffic.stot = server.traffic.hrsp[2] = 5
        number = server.settings.id
        self.delete("b/new")
        again = self.add(f"b/new {LOOPBACK}:9")
        self.assertEqual((again.traffic.stot, again.settings.id), (0, number))
        self.assertIsNot(again.pool, server.pool)

    def test_it_is_freed(self) -> None:
        """Also where the collector looks at nothing, as after a reload."""
        crt, ca_file = self.write("client.pem", client=True), self.authority.write(self.folder / "ca.pem")
        words = f"ssl ca-file {ca_file} crt {crt} sni str(s.test) pool-min-conn 2 check agent-check agent-port 5"
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        census = Census()
        server = self.add(f"b/new {LOOPBACK}:9 {words} slowstart 5s observe layer4")
        line = self.proxy.lines["b/new"]
        made = {"Server", "HTTPConnectionPool", "Checker", "Agent", "ClientContext"}
        self.assertLessEqual(made, {each.rpartition(".")[2] for each in census.more()})
        self.tell("enable server b/new")
        self.tell("enable health b/new")
        self.tell("show stat")
        self.reactor.pump([0.1] * 20)
        del server, line
        self.tell("disable server b/new")
        self.reactor.pump([0.1] * 20)
        self.delete("b/new")
        self.reactor.pump([0.5] * 8)
        self.assertEqual([each for each in census.more() if each.endswith((*made,))], [])

    def test_wait_says_what_is_wrong_with_it(self) -> None:
        for line, said in (
            ("wait", "Expects a duration in milliseconds.\n"),
            ("wait x", "Invalid duration.\n"),
            ("wait 0", "Invalid duration.\n"),
            ("wait 1s srv-removable", "Missing server name (<backend>/<server>).\n"),
            ("wait 1s srv-removable b", "Require 'backend/server'.\n"),
            ("wait 1s srv-removable b/no", "Failed. No such server.\n"),
            ("wait 1s srv-removable b/s", "Failed. Only servers in maintenance mode can be deleted.\n"),
            ("wait 20ms", "Done.\n"),
        ):
            self.assertEqual(self.tell(line), said, line)
        self.assertEqual(self.tell("wait -h"), self.tell("wait 1s sv-removable"))


class TrackingTests(AddedTestCase):
    def test_one_that_tracks_comes_out_of_maintenance_as_that_is(self) -> None:
        """As in HAProxy; not as UP, until that changes its state."""
        follower = self.add(f"b/new {LOOPBACK}:9 track tracked/t")
        for state in ("down", "up", "stopping"):
            self.tell(f"set server tracked/t health {state}")
            self.tell("set server b/new state maint")
            self.tell("enable server b/new")
            self.assertEqual(follower.health, self.context.server("tracked/t")[1].health, state)


class NumberTests(AddedTestCase):
    def test_sections_and_servers_are_called_by_their_numbers_too(self) -> None:
        """As HAProxy's management guide says (9.3): "#" and the number that `show stat` has."""
        f, b = (f"#{self.context.numbers[each]}" for each in "fb")
        server = self.context.server("b/s")[1]
        for path in (f"{b}/#2", f"{b}/s", "b/#2"):
            for order, state in (("disable server", MAINT), ("enable server", UP)):
                self.assertEqual(self.tell(f"{order} {path}"), "")
                self.assertEqual(server.state, state)
        self.assertEqual(self.tell(f"get weight {b}/#2"), "1 (initial 1)\n")
        self.assertEqual(self.tell(f"set maxconn frontend {f} 77"), "")
        self.assertEqual(self.context.frontend("f").settings.maxconn, 77)
        self.assertEqual(self.tell(f"disable frontend {f}"), "")
        self.assertEqual(self.tell(f"shutdown sessions server {b}/#2"), "")
        self.assertIn("b/s", self.tell(f"show pool {b}/#2"))
        self.assertEqual(self.tell(f"add server {b}/new {LOOPBACK}:9"), NEW)
        number = self.context.server("b/new")[1].settings.id
        self.assertEqual(self.tell(f"wait 1s srv-removable {b}/#{number}"), "Done.\n")
        self.assertEqual(self.tell(f"del server {b}/#{number}"), "Server deleted.")

    def test_a_number_that_nobody_has_is_told(self) -> None:
        for line, said in (
            ("disable server #99/#1", "No such backend.\n"),
            ("disable server b/#99", "No such server.\n"),
            ("disable server b/#", "No such server.\n"),
            ("disable server b/#2x", "No such server.\n"),
            ("disable frontend #99", "No such frontend.\n"),
            ("show pool #99", "No such backend.\n"),
            ("show pool b/#99", "No such server.\n"),
        ):
            self.assertEqual(self.tell(line), said, line)


class BalanceTests(AddedTestCase):
    """Each algorithm that a server may be added to chooses among them as if they had been in the file."""

    def test_the_same_servers_are_chosen(self) -> None:
        names, words = "abcdefg", "weight 3"
        for at, balance in enumerate(
            ("roundrobin", "leastconn", "first", "random(1)", "source\n hash-type consistent",
             "uri\n hash-type consistent\n hash-balance-factor 150", "hdr(x)\n hash-type consistent sdbm avalanche")
        ):  # fmt: skip
            servers = "".join(f" server {each} {LOOPBACK}:{ord(each)} {words}\n" for each in names)
            more = f"backend one\n balance {balance}\nbackend all\n balance {balance}\n{servers}"
            self.text("proxy.cfg", self.text_of.format(folder=self.folder, more="", servers="") + more)
            self.reload()
            for each in "axbycdzefg":  # three of them go again
                self.add(f"one/{each} {LOOPBACK}:{ord(each)} {words} id {ord(each) - 96}")
                self.tell(f"enable server one/{each}")
            one, every = self.backend("one"), self.backend("all")
            hashed = one._by_hash is not None
            if not hashed:
                self.picks(one, 20)
            census = Census()
            for each in "xyz":
                self.delete(f"one/{each}")
            self.reactor.pump([0.5] * 8)
            self.assertEqual(census.fewer()["reusedproxy.backends.server.Server"], 3, balance)
            if hashed:
                ours, theirs = ([self.bound(each, number) for number in range(500)] for each in (one, every))
                self.assertEqual(ours, theirs, balance)
            else:
                counts = Counter(self.picks(one, 700))
                self.assertEqual([*counts], ["a"]) if at == 2 else self.assertEqual({*counts}, {*names}, balance)
                if at < 2:
                    self.assertEqual({*counts.values()}, {100}, balance)

    def test_turns_keep_their_order_when_one_is_forgotten(self) -> None:
        """Whoever comes after that has a place of its own."""
        a, b, c, d, e = servers_of([1, 1, 1, 1, 2])
        balance = RoundRobin()
        balance.use([a, b, c])
        balance.use([b, c])
        balance.forget(a)
        balance.use([b, c, d])
        balance.use([b, c, d, e])
        turns = [turn.place for turn in balance._turns.values()]
        self.assertEqual(len({*turns}), 4)
        self.assertEqual({balance.pick() for _ in range(5)}, {b, c, d, e})

    def picks(self, backend: Any, count: int) -> list[str]:
        """Whom so many requests are given to, one after the other."""
        found = []
        for _ in range(count):
            asks = Asks()
            self.assertTrue(backend.choose(asks))
            found += asks.servers
            backend.done(backend.named[found[-1]])
        return found

    def bound(self, backend: Any, number: int) -> str:
        ring = backend._balance
        self.patch(ring, "_hash_of", lambda asks: asks)
        name: str = ring.bound((number * 2654435761) & 0xFFFFFFFF).name
        return name


class OthersTests(AddedTestCase):
    """Who knows servers by something else than the backend's list of them."""

    def test_a_table_leads_to_a_server_by_its_number(self) -> None:
        table: Any = SimpleNamespace(slots={"server_id": 0}, value=lambda row, slot: 9, settings=None)
        sticking = Sticking(self.backend(), ())
        self.assertIsNone(sticking._server(table, 1))
        new = self.add(f"b/new {LOOPBACK}:9 id 9")
        self.assertIs(sticking._server(table, 1), new)
        self.delete("b/new")
        self.assertIsNone(sticking._server(table, 1))

    def test_a_request_names_a_partner_that_was_added(self) -> None:
        more = f"backend out\n option egress\n server one localhost:80 egress-net {LOOPBACK}\n"
        self.text("proxy.cfg", self.text_of.format(folder=self.folder, more="", servers="") + more)
        self.reload()
        partners = Partners(self.backend("out"), lambda text: None)
        head: Any = SimpleNamespace(host=f"{LOOPBACK}:81".encode(), target=b"http://x/")
        self.assertIsNone(partners._named(head))
        new = self.add(f"out/new {LOOPBACK}:81 egress-net {LOOPBACK}")
        self.assertIs(partners._named(head), new)
        said = self.tell(f"add server out/other {LOOPBACK}:81 egress-net {LOOPBACK}")
        self.assertEqual(said, "requests for 127.0.0.1:81 go to server 'new' already\n")
        self.assertIn("is an address: add 'egress-net", self.tell(f"add server out/other {LOOPBACK}:82"))
        self.delete("out/new")
        self.assertIsNone(partners._named(head))

    def test_lists_of_revoked_certificates_are_fetched_as_long_as_it_is_there(self) -> None:
        ca_file, crl_file = self.authority.write(self.folder / "ca.pem"), self.folder / "ca.crl"
        crl_file.write_bytes(revocations(self.authority))
        words = f"ssl ca-file {ca_file} sni str(s.test) crl-file {crl_file} crl-url http://{LOOPBACK}:9/ca.crl"
        self.add(f"b/new {LOOPBACK}:9 {words}")
        self.assertEqual([*self.proxy.list_fetches], [f"http://{LOOPBACK}:9/ca.crl"])
        self.assertEqual([*self.service._lists._tasks], [str(crl_file)])
        said = self.tell(f"add server b/other {LOOPBACK}:9 {words}x")
        self.assertIn("is fetched for other servers with other 'crl-url' words", said)
        self.assertNotIn("b/other", self.proxy.lines)
        self.delete("b/new")
        self.assertEqual(([*self.proxy.list_fetches], [*self.service._lists._tasks]), ([], []))

    def test_its_list_of_revoked_certificates_is_read_ahead(self) -> None:
        """A large one would hold up the event loop."""
        ca_file, crl_file = self.authority.write(self.folder / "ca.pem"), self.folder / "ca.crl"
        crl_file.write_bytes(revocations(self.authority))
        ahead: list[str] = []

        def reading(crl_files: list[str], reactor: Any, beside: list[str]) -> Any:
            ahead.extend((*crl_files, *beside))
            yield from ()

        self.patch(self.proxy.trusts, "reading", reading)
        self.add(f"b/new {LOOPBACK}:9 ssl ca-file {ca_file} sni str(s.test) crl-file {crl_file}")
        self.assertEqual(ahead, [str(crl_file), str(ca_file)])  # which may have lists, too

    def test_ends_of_its_certificates_are_watched_as_long_as_it_is_there(self) -> None:
        crt, ca_file = self.write("client.pem", client=True), self.authority.write(self.folder / "ca.pem")
        words = f"ssl ca-file {ca_file} sni str(s.test) crt {crt}"
        self.add(f"b/new {LOOPBACK}:9 {words}")
        self.assertIn(f"crt {crt}", [each.what for each in self.service._expiry._endings])
        self.add(f"b/other {LOOPBACK}:9 {words}")
        self.delete("b/new")
        self.assertIn(f"crt {crt}", [each.what for each in self.service._expiry._endings])
        self.delete("b/other")
        self.assertEqual(self.service._expiry._endings, [])

    def test_mode_tcp(self) -> None:
        more = f"backend db\n mode tcp\n server one {LOOPBACK}:80\n"
        self.text("proxy.cfg", self.text_of.format(folder=self.folder, more="", servers="") + more)
        self.reload()
        said = self.tell(f"add server db/new {LOOPBACK}:81 observe layer7 check")
        self.assertEqual(said, "server 'new': 'observe layer7' needs 'mode http'\n")
        new = self.add(f"db/new {LOOPBACK}:81 pool-min-conn 2 check")
        self.assertFalse(new.pool.carries_requests)

    def test_whoever_reads_servers_by_and_by_goes_on(self) -> None:
        """When one is deleted that he has not come to, and when one is added."""
        for number in range(40):
            self.add(f"b/s{number} {LOOPBACK}:{number + 1}")
        steps, state = Reader(self.proxy, self.proxy.rates).viewing(), run(self.context, ["show", "servers", "state"])
        conn = run(self.context, ["show", "servers", "conn"])
        next(steps)
        pieces = [iter(state), iter(conn)]
        said = [next(each) + next(each) for each in pieces]
        self.delete("b/s30")
        self.add(f"b/other {LOOPBACK}:9")
        self.add(f"tracked/other {LOOPBACK}:9")
        view = None
        try:
            while True:
                next(steps)
        except StopIteration as end:
            view = end.value
        names = [each.name for each in view.backends[0].servers]
        self.assertEqual(names, ["s", *(f"s{number}" for number in range(40) if number != 30)])
        for text, rest in zip(said, pieces, strict=True):
            text += "".join(rest)
            self.assertIn("s29", text)
            self.assertNotIn("other", text)
            self.assertNotIn("s30", text)


class GenerationTests(AddedTestCase):
    """What reloads, renewals and replacements do to servers that were added."""

    def test_a_reload_forgets_those_that_no_file_names(self) -> None:
        self.add(f"b/gone {LOOPBACK}:9")
        pool = self.add(f"b/kept {LOOPBACK}:8 weight 5 pool-min-conn 2").pool
        self.tell("enable server b/kept")
        self.configure(servers=f" server kept {LOOPBACK}:8 weight 5 pool-min-conn 2\n")
        self.reload()
        now = self.proxy.lines["b/kept"].server
        self.assertIs(now.pool, pool)
        self.assertEqual((now.state, now.admin, now.settings.added), (UP, READY, False))
        self.assertNotIn("b/gone", self.proxy.lines)
        self.assertIn("server b/gone was added, and no file names it: it is gone by this reload", self.said)
        self.assertNotIn("b/kept was added", " ".join(self.said))

    def delete_of_file(self, count: int) -> list[str]:
        """Have a file with so many servers read, and delete them all."""
        self.configure(servers="".join(f" server f{at} {LOOPBACK}:{at + 1} disabled\n" for at in range(count)))
        self.reload()
        names = [f"b/f{at}" for at in range(count)]
        for name in names:
            self.assertEqual(self.tell(f"del server {name}"), "Server deleted.", name)
        return names

    def warnings(self) -> list[tuple[str, str]]:
        return [each for each in self.announced if "'del server'" in each[1]]

    def test_a_reload_tells_which_of_those_that_were_deleted_are_back(self) -> None:
        names = self.delete_of_file(5)
        self.add(f"b/gone {LOOPBACK}:9")
        self.delete("b/gone")
        self.add(f"{names[4]} {LOOPBACK}:9")
        self.reload()
        self.assertIn(names[0], self.proxy.lines)
        text = f"what 'del server' has taken out of backend b is back: {', '.join(names[:3])} and 1 more"
        self.assertEqual(self.warnings(), [("warning", f"{text}; the file counts")])
        text = f"server {names[4]} is the one of the file again, at {LOOPBACK}:5: it was deleted, and the one that was"
        self.assertIn(("warning", f"{text} added under its name is gone; the file counts"), self.announced)
        self.announced.clear()
        self.delete(names[0])
        self.configure(servers=f" server f1 {LOOPBACK}:2 disabled\n")
        self.reload()
        self.configure(servers=f" server f0 {LOOPBACK}:1 disabled\n")
        self.reload()
        self.assertEqual(self.warnings(), [])  # it was taken out of the file, and written there again

    def in_place_of_file(self, *orders: str) -> str:
        """Have one of the file deleted, and another one added under its name."""
        self.configure(servers=f" server f0 {LOOPBACK}:1 weight 3\n")
        self.reload()
        self.delete("b/f0")
        self.add(f"b/f0 {LOOPBACK}:9 weight 3")
        for order in (*orders, "set weight b/f0 77", "set maxconn server b/f0 5", "set server b/f0 health down"):
            self.assertEqual(self.tell(order), "", order)
        return "b/f0"

    def orders_of(self, name: str, proxy: Any = None) -> tuple[object, ...]:
        server = (proxy or self.proxy).lines[name].server
        return str(server.target), server.admin, server.weight, server.limit

    def test_what_was_ordered_of_another_under_its_name_is_not_ordered_of_one_that_is_back(self) -> None:
        for order, admin in (("enable server b/f0", READY), ("set server b/f0 state drain", DRAIN)):
            name = self.in_place_of_file(order)
            self.service.renew(["x.pem"])
            self.reactor.pump([0.5] * 10)
            self.assertEqual(self.orders_of(name), (f"{LOOPBACK}:9", admin, 77, 5))
            self.announced.clear()
            self.reload()
            self.assertEqual(self.orders_of(name), (f"{LOOPBACK}:1", READY, 3, 0))
            self.assertEqual(self.proxy.lines[name].server.health, UP)
            self.assertNotIn("as was ordered", f"{self.said}")
            self.assertEqual(len([each for each in self.said if "is the one of the file again" in each]), 1)

    def test_a_file_that_names_what_was_added_under_the_name_of_another_has_nothing_back(self) -> None:
        name = self.in_place_of_file("set server b/f0 state drain")
        self.configure(servers=f" server f0 {LOOPBACK}:9 weight 3\n")
        self.announced.clear()
        self.reload()
        self.assertEqual(self.orders_of(name), (f"{LOOPBACK}:9", DRAIN, 77, 5))
        self.assertEqual([each for each in self.announced if each[0] == "warning"], [])

    def test_one_that_no_file_names_is_gone_with_the_one_whose_name_it_had(self) -> None:
        name = self.in_place_of_file()
        self.configure()
        self.announced.clear()
        self.reload()
        self.assertEqual([each for each in self.said if name in each], [f"server {name} {GONE}"])

    def test_another_process_takes_what_was_added_under_the_name_of_one_for_that_where_its_file_says_so(self) -> None:
        """With its state and its orders, also those of the last moment."""
        name = self.in_place_of_file("set server b/f0 state drain")
        states = self.tell("show servers state")
        said = json.loads(json.dumps(standing(self.proxy, states)))
        sent, before = states_as_said(states, self.proxy), orders_of(self.proxy)
        self.tell("set weight b/f0 78")
        since = json.loads(json.dumps(differences(before, orders_of(self.proxy))))
        told = json.loads(json.dumps([deleted(self.proxy), in_place(self.proxy.lines, self.proxy.deleted)]))
        is_back = f"server {name} is the one of the file again, at {LOOPBACK}:1: it was deleted, and the one that was"
        for port, expected, warned in (
            (9, (f"{LOOPBACK}:9", DRAIN, 78, 5), []),
            (1, (f"{LOOPBACK}:1", READY, 3, 0), [f"{is_back} added under its name is gone; the file counts"]),
            (None, None, [f"server {name} {GONE}"]),
        ):
            self.configure(servers=f" server f0 {LOOPBACK}:{port} weight 3\n" if port else "")
            service = ProxyService(self.reactor, [self.config])
            service._takeover = SimpleNamespace(  # type: ignore[assignment]
                states=sent, standing=said, tables=(), take=lambda bind, at=None: None
            )
            other = service.assemble(bind=False)
            stand(other, said)
            obeyed = [text for _, text, _ in obey(other, since)]
            self.assertEqual(len(obeyed), int(port == 9))
            if expected is not None:
                self.assertEqual(self.orders_of(name, other), expected)
                self.assertEqual(other.lines[name].server.health, DOWN if port == 9 else UP)
            self.assertEqual([text for _, text, _ in back_again(told[0], other, told[1])], warned)

    def test_what_is_no_state_of_such_a_server_is_not_taken(self) -> None:
        self.in_place_of_file()
        configuration = self.proxy.configuration
        there: dict[str, Any] = standing(self.proxy, self.tell("show servers state"))["in_place"]  # type: ignore[assignment]
        ours = there["b/f0"]
        self.assertEqual(states_in_place({"in_place": there}, configuration), f"{ours['state']}\n")
        for other in ("", "x", f"{ours['state']}\n{ours['state']}", ours["state"].replace(" f0 ", " s "), 7, None):
            said = {"in_place": {"b/f0": {**ours, "state": other}}}
            self.assertEqual(states_in_place(said, configuration), "", other)
        nonsenses: list[object] = [None, [], {"in_place": 1}, {"in_place": {"b/f0": 1, "x": {}, "": {}}}]
        for nonsense in nonsenses:
            self.assertEqual(states_in_place(nonsense, configuration), "")

    def test_one_that_was_deleted_stays_so_when_files_of_tls_are_renewed(self) -> None:
        (name,) = self.delete_of_file(1)
        self.service.renew(["x.pem"])
        self.reactor.pump([0.5] * 10)
        self.assertNotIn(name, self.proxy.lines)
        self.assertEqual(self.warnings(), [])
        self.reload()
        self.assertEqual(len(self.warnings()), 1)

    def test_another_process_tells_which_of_those_that_were_deleted_its_file_has_back(self) -> None:
        names = self.delete_of_file(2)
        told = json.loads(json.dumps(deleted(self.proxy)))
        self.configure(servers=f" server f1 {LOOPBACK}:2 disabled\n")
        other = ProxyService(self.reactor, [self.config]).assemble(bind=False)
        text = f"what 'del server' has taken out of backend b is back: {names[1]}; the file counts"
        self.assertEqual([*back_again(told, other)], [("warning", text, "backend b")])
        self.add(f"{names[1]} {LOOPBACK}:9")  # somewhere else
        self.assertEqual(deleted(self.proxy), names)
        self.assertNotIn(names[1], standing(self.proxy)["servers"])
        self.assertNotIn(f"server {names[1]}", orders_of(self.proxy))
        states = self.tell("show servers state")
        self.assertIn(" f1 ", states)
        self.assertNotIn(" f1 ", states_as_said(states, self.proxy))
        nonsense: list[object] = [None, 1, {}, "b/f1", [1, None, []]]
        self.assertEqual([[*back_again(each, other)] for each in nonsense], [[]] * 5)

    def test_files_that_are_renewed_leave_them_where_they_are(self) -> None:
        crt = self.write("client.pem", client=True)
        ca_file = self.authority.write(self.folder / "ca.pem")
        self.configure(more=" ssl-watch 1s\n")
        self.reload()
        plain = self.add(f"b/plain {LOOPBACK}:8").pool
        self.tell("enable server b/plain")
        words = f"ssl ca-file {ca_file} crt {crt} sni str(s.test)"
        first = self.add(f"b/new {LOOPBACK}:9 {words}")
        context = first.pool.context
        self.reactor.pump([0.5] * 10)
        self.assertIs(self.proxy.lines["b/new"].server, first)  # no change has been found
        self.write("client.pem", client=True)
        stamp = os.stat(crt)
        os.utime(crt, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000_000))
        self.reactor.pump([0.5] * 40)
        now = self.proxy.lines["b/new"].server
        self.assertIsNot(now, first)
        self.assertIsNot(now.pool.context, context)
        self.assertEqual(now.state, MAINT)
        self.assertIs(self.proxy.lines["b/plain"].pool, plain)
        self.assertEqual(self.proxy.lines["b/plain"].server.state, UP)
        self.delete("b/new")
        os.unlink(crt)
        self.announced.clear()
        self.reactor.pump([0.5] * 10)
        self.assertEqual(self.said, [])  # nobody uses the file any more

    def test_a_change_of_a_file_is_found_that_came_before_an_order(self) -> None:
        crt, ca_file = self.write("client.pem", client=True), self.authority.write(self.folder / "ca.pem")
        self.configure(more=" ssl-watch 1s\n")
        self.reload()
        words = f"ssl ca-file {ca_file} crt {crt} sni str(s.test)"
        first = self.add(f"b/one {LOOPBACK}:9 {words}")
        self.write("client.pem", client=True)
        self.add(f"b/two {LOOPBACK}:8 {words}")
        self.reactor.pump([0.5] * 40)
        self.assertIsNot(self.proxy.lines["b/one"].server, first)

    def test_orders_wait_while_a_reload_is_under_way(self) -> None:
        self.add(f"b/old {LOOPBACK}:8")
        self.configure(servers=f" server tried {LOOPBACK}:1 pool-min-conn 1\n")
        self.service.reload()
        self.assertTrue(self.service.reloads.under_way)
        self.assertEqual(self.tell("del server b/old"), "No such server.")  # the reload has forgotten it
        self.configure(servers=f" server tried {LOOPBACK}:2 pool-min-conn 1\n")
        self.service.reload()
        self.assertTrue(self.service.reloads.under_way)
        self.assertEqual(self.tell(f"add server b/new {LOOPBACK}:9"), NEW)
        self.assertIn("b/new", self.proxy.lines)

    def test_another_process_and_a_file_of_states_know_what_its_file_names(self) -> None:
        """As in HAProxy: what is said of other servers is of no use there."""
        new = self.add(f"b/new {LOOPBACK}:9 maxconn 5")
        new.traffic.stot = 3
        self.tell("set maxconn server b/new 7")
        states, ordered, counts = self.tell("show servers state"), standing(self.proxy), counts_of(self.proxy)
        self.assertIn(" new ", states)
        (self.folder / "states").write_text(states)
        for servers in ("", f" server new {LOOPBACK}:9 maxconn 5\n"):
            more = f" server-state-file {self.folder}/states\n"
            self.configure(more, servers + " load-server-state-from-file global\n")
            other = ProxyService(self.reactor, [self.config])
            proxy = other.assemble(bind=False)
            self.assertEqual("b/new" in proxy.lines, bool(servers))
            said = [text for text, _ in stand(proxy, ordered)]
            count_on(proxy, counts)
            gone = "server b/new was added in the process before, and no file names it: it is gone"
            kept = "Server b/new keeps maxconn 7, as was ordered in the process before"
            self.assertEqual(said, [kept if servers else gone])
            self.assertEqual([text for text in map(str, proxy.notices) if "b/new" in text], [])
        there = proxy.lines["b/new"].server
        self.assertEqual((there.admin, there.limit, there.traffic.stot), (MAINT, 7, 3))
        self.assertFalse(still_there(there))

    def test_one_may_show_a_certificate_that_is_in_memory_only(self) -> None:
        """And that is in use then."""
        made, ca_file = self.authority.issue("mine", client=True), self.authority.write(self.folder / "ca.pem")
        name = str(self.folder / "no-such-file.pem")
        self.tell(f"new ssl cert {name}")
        payload = (made.certificate_pem + made.key_pem).decode()
        self.tell(f"set ssl cert {name}", payload)
        self.assertIn("Success!", self.tell(f"commit ssl cert {name}"))
        new = self.add(f"b/new {LOOPBACK}:9 ssl ca-file {ca_file} crt {name} sni str(s.test)")
        self.assertIn("CN=mine", new.pool.context.ours.subject.rfc4514_string())
        self.assertIn("in use, can't be deleted!", self.tell(f"del ssl cert {name}"))
        self.delete("b/new")
        self.assertEqual(self.tell(f"del ssl cert {name}"), f"Certificate '{name}' deleted!\n")

    def test_a_certificate_can_be_committed_beside_them(self) -> None:
        """The transaction does not end because a server is added meanwhile."""
        crt, ca_file = self.write("client.pem", client=True), self.authority.write(self.folder / "ca.pem")
        self.add(f"b/new {LOOPBACK}:9 ssl ca-file {ca_file} crt {crt} sni str(s.test)")
        payload = (self.folder / "client.pem").read_text()
        self.assertIn("Transaction created", self.tell(f"set ssl cert {crt}", payload))
        self.add(f"b/other {LOOPBACK}:8")
        self.assertIn("Success!", self.tell(f"commit ssl cert {crt}"))
        self.assertLess({"b/new", "b/other"}, {*self.proxy.lines})


class ActivityTests(AddedTestCase):
    def test_the_loop_is_counted(self) -> None:
        said = dict(line.split(": ") for line in self.tell("show activity").splitlines())
        names = ["thread_id", "date_now", "uptime_now", "loops", "poll_io", "avg_cpu_pct", "accepted"]
        self.assertEqual([*said], names)
        self.assertEqual(said["thread_id"], "1 (1..1)")
        self.proxy.poller.doRead()
        self.assertEqual(int(dict(line.split(": ") for line in self.tell("show activity").splitlines())["loops"]), 1)
        self.tell("clear counters")
        self.assertIn("\nloops: 0\n", self.tell("show activity"))
