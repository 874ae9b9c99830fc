"""Servers whose addresses come from name servers: who gets which, how they move, and what is said about it."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.moving import MOST, PATIENCE, Departed
from reusedproxy.backends.names import NameGroup, ServiceGroup, address_of, target_of
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.names import Holds
from reusedproxy.net.dial import Target
from reusedproxy.net.names.channels import Place
from reusedproxy.net.names.section import Asked, Names
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.fakes import Asker, Asks, FakeDialer, RecordingExchange
from tests.nameserver import NX, SERVFAIL, SILENCE, MemoryNameServers

LINE = model.Place("t.cfg", 1)
NAME = "app.test"
SERVICE = "_http._tcp.app.test"


class Somewhere:
    """Builds pools for one server, whose dials a test answers; see `backends.server.Relocation`."""

    def __init__(self, bench: NamesBench, name: str, limits: model.PoolLimits) -> None:
        self.bench = bench
        self.name = name
        self.limits = limits
        self.dialers: dict[str, FakeDialer] = {}
        self.moves: list[str] = []

    def pool_at(self, target: Target) -> HTTPConnectionPool:
        dialer = FakeDialer(self.bench.clock)
        dialer.answer = self.bench.answer
        self.dialers[str(target)] = dialer
        announce = self.bench.announce
        name = f"Server b/{self.name}"
        return HTTPConnectionPool(name, dialer, self.limits, self.bench.clock, Random(1), announce, Limits())  # type: ignore[arg-type]

    def moved(self, target: Target) -> None:
        self.moves.append(str(target))


class NamesBench:
    """One backend of servers with one name, a name server in memory, and a clock."""

    def __init__(
        self, count: int = 3, at: list[str] | None = None, name: str = NAME, limits: Any = None, **words: Any
    ) -> None:
        """`at`: the addresses at which servers begin; `limits`: of their pools."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.said: list[tuple[str, str]] = []
        self.answers = True
        self.nameservers = MemoryNameServers(self.clock)
        self.names = Names(self.clock, self.nameservers.open)
        self.departed = Departed(self.clock)
        holds = words.pop("holds", Holds())
        section = model.Resolvers("dns", LINE, holds=holds, retries=0, retry=0.2, payload=65535)
        asked = Asked(section, (Place("ns1", "192.0.2.53", 53),), ("ipv4", "ipv6"))
        self.names.section(asked)
        self.zone = self.nameservers.zones["ns1"]
        resolution = model.Resolution(resolvers="dns", **{"prefer": "ipv4", **words})
        self.places: dict[str, Somewhere] = {}
        self.servers = [
            self.server(f"s{number}", name, resolution, limits or model.PoolLimits()) for number in range(1, count + 1)
        ]
        for server, address in zip(self.servers, (at or []) + [""] * count, strict=False):
            server.stand_at(target_of(address, 80) if address else None, None)
        self.backend = Backend(model.Backend("b", LINE), self.servers, self.clock.seconds, self.announce)
        kind = ServiceGroup if name.startswith("_") else NameGroup
        self.group = kind(self.servers, lambda: self.names.section(asked), self.backend, self.clock, self.departed)
        self.backend.groups = [self.group]

    def server(self, name: str, host: str, resolution: model.Resolution, limits: model.PoolLimits) -> Server:
        place = self.places[name] = Somewhere(self, name, limits)
        made = model.Server(name, LINE, host, 80, resolution=resolution, pool=limits)
        server = Server("b", made, place.pool_at(target_of("192.0.2.254", 80)), 1000.0)
        server.relocation = place
        return server

    def announce(self, level: str, text: str) -> None:
        self.said.append((level, text))

    def answer(self, dial: Any) -> None:
        if self.answers:
            dial.succeed()
        else:
            dial.fail()

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.01)):
            self.clock.advance(0.01)

    def start(self) -> None:
        self.backend.start()
        self.pass_time(0.2)

    def change(self, *records: Any, word: str = "", wait: float = 1.5) -> None:
        self.zone.records[self.group.host] = word or list(records)
        self.pass_time(wait)

    @property
    def at(self) -> list[str]:
        """Where each server is, "-" without an address."""
        return ["-" if each.target is None else address_of(each.target) for each in self.servers]

    def stop(self) -> None:
        self.backend.stop("proxy stopped")
        self.departed.stop()
        self.names.stop()
        for place in self.places.values():
            for dialer in place.dialers.values():
                dialer.deadlines.stop()
        self.clock.advance(0.1)


class BenchTestCase(SynchronousTestCase):
    bench: NamesBench

    def begin(self, *arguments: Any, **words: Any) -> NamesBench:
        self.bench = NamesBench(*arguments, **words)
        self.addCleanup(self._stop, self.bench)
        return self.bench

    def _stop(self, bench: NamesBench) -> None:
        bench.stop()
        self.assertEqual(bench.clock.getDelayedCalls(), [])


def a(*numbers: int) -> list[tuple[str, str]]:
    return [("A", f"192.0.2.{number}") for number in numbers]


class SharingTests(BenchTestCase):
    """Which server gets which address."""

    def test_each_gets_one_of_its_own(self) -> None:
        """Who is left over is in maintenance, as HAProxy shows it."""
        bench = self.begin()
        bench.zone.records[NAME] = a(1, 2)
        bench.start()
        self.assertEqual(bench.at, ["192.0.2.1", "192.0.2.2", "-"])
        self.assertEqual([each.state for each in bench.servers], [UP, UP, MAINT])

    def test_an_address_that_stays_stays_with_its_server(self) -> None:
        """Whatever the order of the answers."""
        bench = self.begin()
        bench.zone.records[NAME] = a(1, 2, 3)
        bench.start()
        bench.change(*a(3, 2, 1))
        self.assertEqual(bench.at, ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        bench.change(*a(4, 3, 1))
        self.assertEqual(bench.at, ["192.0.2.1", "192.0.2.4", "192.0.2.3"])
        self.assertEqual([len(each.moves) for each in bench.places.values()], [1, 2, 1])

    def test_those_that_begin_at_the_same_address_part(self) -> None:
        """The C library has told all of them the same; the first one keeps it."""
        bench = self.begin(at=["192.0.2.2"] * 3)
        bench.zone.records[NAME] = a(1, 2)
        bench.start()
        self.assertEqual(bench.at, ["192.0.2.2", "192.0.2.1", "-"])

    def test_duplicates_are_allowed_where_it_is_said(self) -> None:
        """Addresses that nobody has come first."""
        bench = self.begin(duplicates=True)
        bench.zone.records[NAME] = a(1, 2)
        bench.start()
        self.assertEqual(bench.at, ["192.0.2.1", "192.0.2.2", "192.0.2.1"])
        bench.change(*a(1))
        self.assertEqual(bench.at, ["192.0.2.1"] * 3)

    def test_preferred_networks_come_first(self) -> None:
        bench = self.begin(1, networks=("198.51.100.0/24", "2001:db8::/32"))
        bench.zone.records[NAME] = [*a(1), ("A", "198.51.100.7"), ("A", "203.0.113.1")]
        bench.start()
        self.assertEqual(bench.at, ["198.51.100.7"])

    def test_the_preferred_family_is_asked_for_first(self) -> None:
        for prefer, found in (("ipv4", "192.0.2.1"), ("ipv6", "2001:db8::1")):
            bench = self.begin(1, prefer=prefer)
            bench.zone.records[NAME] = [*a(1), ("AAAA", "2001:db8::1")]
            bench.start()
            self.assertEqual(bench.at, [found])


class MovingTests(BenchTestCase):
    """How a server comes from one address to another."""

    def test_nothing_is_given_to_an_address_before_a_connection_stands(self) -> None:
        """The floor, or one connection without a floor."""
        for floor in (0, 2):
            bench = self.begin(1, at=["192.0.2.1"], limits=model.PoolLimits(min_conn=floor))
            bench.zone.records[NAME] = a(1)
            bench.start()
            server, place = bench.servers[0], bench.places["s1"]
            before = server.pool
            bench.answer = lambda dial: None  # type: ignore[method-assign]
            bench.change(*a(2), wait=2.0)
            self.assertIs(server.pool, before)
            self.assertEqual(before.state, "running")
            for dial in [*place.dialers["192.0.2.2:80"].open]:
                dial.succeed()
            bench.pass_time(0.2)
            if floor:
                for dial in [*place.dialers["192.0.2.2:80"].open]:
                    dial.succeed()
                bench.pass_time(0.2)
            self.assertIsNot(server.pool, before)
            self.assertEqual(len(server.pool.idle), max(floor, 1))
            self.assertIsNotNone(server.pool.acquire())
            self.assertEqual(place.moves, ["192.0.2.2:80"])

    def test_as_many_stand_as_recent_use_calls_for(self) -> None:
        """That of another server of the same name, if it does not serve yet; eight at most."""
        for used, stand in ((3, 3), (20, MOST)):
            bench = self.begin(2)
            bench.zone.records[NAME] = a(1)
            bench.start()
            pool = bench.servers[0].pool
            pool.upkeep.raise_peak(used)
            bench.change(*a(1, 2))
            self.assertEqual(len(bench.servers[1].pool.idle), stand)
            pool.upkeep.raise_peak(used)
            bench.change(*a(3, 2))
            self.assertEqual((bench.at[0], len(bench.servers[0].pool.idle)), ("192.0.2.3", stand))

    def test_an_address_that_does_not_answer_is_used_after_a_while(self) -> None:
        """As HAProxy does at once: checks and retries find out what it is worth."""
        bench = self.begin(1, at=["192.0.2.1"])
        bench.zone.records[NAME] = a(1)
        bench.start()
        bench.answers = False
        bench.change(*a(2), wait=PATIENCE - 0.5)
        self.assertEqual(bench.at, ["192.0.2.1"])
        bench.pass_time(2.0)
        self.assertEqual(bench.at, ["192.0.2.2"])

    def test_requests_in_flight_end_at_the_address_that_leaves(self) -> None:
        """What is idle there is closed; the pool is closed when the last connection has gone."""
        bench = self.begin(1)
        bench.zone.records[NAME] = a(1)
        bench.start()
        server = bench.servers[0]
        before = server.pool
        connection = before.acquire()
        assert connection is not None
        transport: Any = connection.transport
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None)
        bench.change(*a(2))
        self.assertEqual(bench.at, ["192.0.2.2"])
        self.assertEqual((before.state, len(before.in_use), server.former), ("running", 1, [before]))
        transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
        bench.pass_time(2.5)
        self.assertEqual((before.state, before.standing, bench.departed.pools), ("closed", 0, []))

    def test_who_waits_for_a_connection_there_asks_at_the_new_address(self) -> None:
        """Nobody may be at the old one any more, or somebody else."""
        bench = self.begin(1, at=["192.0.2.1"])
        bench.start()
        bench.pass_time(1)
        before, asker = bench.servers[0].pool, Asker()
        asker.pool_replaced = lambda: bench.servers[0].pool.wait(asker)  # type: ignore[method-assign]
        before._dialer.answer = None  # type: ignore[attr-defined]
        before.wait(asker)
        bench.change(*a(2))
        self.assertEqual((len(before.waiters), asker.failures), (0, []))
        (connection,) = asker.connections
        self.assertIs(connection.pool, bench.servers[0].pool)

    def test_a_move_that_is_overtaken_ends(self) -> None:
        bench = self.begin(1, at=["192.0.2.1"])
        bench.zone.records[NAME] = a(1)
        bench.start()
        bench.answer = lambda dial: None  # type: ignore[method-assign]
        bench.change(*a(2))
        bench.change(*a(1))
        place = bench.places["s1"]
        self.assertEqual((bench.at, place.dialers["192.0.2.2:80"].open), (["192.0.2.1"], []))
        bench.pass_time(PATIENCE + 1)
        self.assertEqual(place.moves, [])

    def test_while_a_reload_is_under_way_nobody_moves(self) -> None:
        bench = self.begin(1)
        bench.zone.records[NAME] = a(1)
        bench.start()
        bench.backend.hold_addresses()
        bench.change(*a(2), wait=3.0)
        self.assertEqual(bench.at, ["192.0.2.1"])
        bench.backend.release_addresses()
        bench.pass_time(0.3)
        self.assertEqual(bench.at, ["192.0.2.2"])

    def test_a_check_that_fails_has_the_name_asked_for_at_once(self) -> None:
        bench = self.begin(1)
        bench.zone.records[NAME] = a(1)
        bench.start()
        asked = len(bench.zone.asked)
        bench.backend.server_changed(bench.servers[0], DOWN, "Layer4 timeout")
        bench.pass_time(0.05)
        self.assertEqual(len(bench.zone.asked), asked + 1)

    def test_a_server_that_is_down_moves_without_being_used(self) -> None:
        bench = self.begin(1)
        bench.zone.records[NAME] = a(1)
        bench.start()
        bench.backend.server_changed(bench.servers[0], DOWN, "Layer4 timeout")
        bench.change(*a(2))
        server = bench.servers[0]
        self.assertEqual((bench.at, server.state, server.pool.state), (["192.0.2.2"], DOWN, "suspended"))


class StateTests(BenchTestCase):
    """Servers whose name comes to nothing, and HAProxy's own words about it."""

    def test_a_name_that_fails_takes_its_servers_out_when_its_hold_is_over(self) -> None:
        """The words are those of HAProxy 2.6 (src/server.c), because people grep for them."""
        for word, cause in (
            (NX, "DNS NX status"),
            (SERVFAIL, "unspecified DNS error"),
            (SILENCE, "DNS timeout status"),
        ):
            bench = self.begin(1, holds=Holds(nx=3.0, other=3.0, timeout=3.0))
            bench.zone.records[NAME] = a(1)
            bench.start()
            bench.said.clear()
            bench.change(word=word, wait=2.5)
            self.assertEqual(bench.servers[0].state, UP)
            bench.pass_time(3.0)
            self.assertEqual((bench.servers[0].state, bench.servers[0].pool.state), (MAINT, "suspended"))
            left = "0 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
            self.assertEqual(
                bench.said,
                [
                    ("alert", f"Server b/s1 is going DOWN for maintenance ({cause}). {left}"),
                    ("emerg", "backend b has no server available!"),
                ],
            )

    def test_a_name_that_resolves_again_brings_its_server_back(self) -> None:
        bench = self.begin(1)
        bench.zone.records[NAME] = NX
        bench.start()
        self.assertEqual(bench.servers[0].state, MAINT)
        bench.pass_time(3.0)
        text = "backend b: 'app.test' cannot be resolved by 'resolvers dns' (DNS NX status): its servers wait"
        self.assertEqual(bench.said, [("warning", text)])
        bench.said.clear()
        bench.change(*a(1))
        self.assertEqual(
            bench.said,
            [
                ("notice", "b/s1 changed its IP from (none) to 192.0.2.1 by dns/ns1."),
                ("notice", "Server b/s1 ('app.test') is UP/READY (resolves again)."),
                ("notice", "Server b/s1 administratively READY thanks to valid DNS answer."),
            ],
        )
        bench.said.clear()
        bench.change(*a(2))
        self.assertEqual(bench.said, [("notice", "b/s1 changed its IP from 192.0.2.1 to 192.0.2.2 by dns/ns1.")])

    def test_the_others_of_an_answer_are_said_to_have_it_from_the_cache(self) -> None:
        bench = self.begin(2)
        bench.zone.records[NAME] = a(1, 2)
        bench.start()
        texts = [text for _, text in bench.said if "changed its IP" in text]
        self.assertEqual(texts[1], "b/s2 changed its IP from (none) to 192.0.2.2 by DNS cache.")

    def test_a_server_whose_address_leaves_is_in_maintenance(self) -> None:
        bench = self.begin(2)
        bench.zone.records[NAME] = a(1, 2)
        bench.start()
        bench.said.clear()
        bench.change(*a(2))
        self.assertEqual([each.state for each in bench.servers], [MAINT, UP])
        left = "1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue."
        self.assertEqual(
            bench.said, [("alert", f"Server b/s1 is going DOWN for maintenance (No IP for server). {left}")]
        )

    def test_whoever_serves_gets_a_new_address_first(self) -> None:
        """It goes on at the old one meanwhile: nobody is without a server."""
        for name in (NAME, SERVICE):
            bench = self.begin(3, name=name)
            for number in (1, 2, 3):
                bench.zone.records[f"h{number}.test"] = a(number)
            answers = [a(1, 2, 3), a(3), a(1, 2)]
            if name == SERVICE:
                answers = [[("SRV", f"h{each[1][-1]}.test", "80") for each in some] for some in answers]  # type: ignore[misc]
            bench.zone.records[name] = answers[0]
            bench.start()
            for each in answers[1:]:
                bench.said.clear()
                bench.change(*each, wait=2.0)
                self.assertNotIn("emerg", [level for level, _ in bench.said])
            self.assertEqual(sum(server.state == UP for server in bench.servers), 2)

    def test_requests_that_wait_there_go_elsewhere(self) -> None:
        bench = self.begin(2)
        bench.zone.records[NAME] = a(1, 2)
        bench.start()
        bench.change(*a(2))
        for _ in range(4):
            asks = Asks()
            self.assertTrue(bench.backend.choose(asks))
            self.assertEqual(asks.servers, ["s2"])

    def test_what_its_operator_orders_holds(self) -> None:
        """In maintenance by order, it resolves and stays so; in drain it comes back in drain."""
        bench = self.begin(1)
        bench.zone.records[NAME] = NX
        bench.start()
        server = bench.servers[0]
        bench.backend.set_state(server, MAINT)
        bench.change(*a(1))
        self.assertEqual(bench.said[-1][1], "Server b/s1 ('app.test') resolves again but remains in maintenance.")
        bench.backend.set_state(server, DRAIN)
        self.assertEqual(server.state, DRAIN)
        bench.change(word=NX, wait=35.0)
        self.assertEqual(server.state, MAINT)
        bench.backend.set_state(server, MAINT)
        bench.backend.set_state(server, READY)
        text = "Server b/s1 is leaving forced maintenance but remains in maintenance."
        self.assertEqual((bench.said[-1][1], server.state), (text, MAINT))

    def test_what_is_known_from_elsewhere_is_kept_at_first(self) -> None:
        """The C library has told the address, and the name servers do not answer."""
        bench = self.begin(1, at=["192.0.2.1"])
        bench.zone.records[NAME] = SILENCE
        bench.start()
        bench.pass_time(25.0)
        self.assertEqual(bench.servers[0].state, UP)
        bench.pass_time(10.0)
        self.assertEqual(bench.servers[0].state, MAINT)


class ServiceTests(BenchTestCase):
    """Names of SRV records."""

    def test_each_server_gets_a_service(self) -> None:
        """Its port, its weight, and the address that has come with it, or that its host has."""
        bench = self.begin(name=SERVICE)
        bench.zone.records["b.test"] = a(2)
        bench.zone.records[SERVICE] = [
            ("SRV", "a.test", "8001", "1"),
            ("SRV", "b.test", "8002", "512"),
            ("A", "192.0.2.1", "of", "a.test"),
        ]
        bench.start()
        self.assertEqual([str(each.target) for each in bench.servers], ["192.0.2.1:8001", "192.0.2.2:8002", "None"])
        self.assertEqual([each.weight for each in bench.servers], [1, 2, 1])
        self.assertEqual([each.state for each in bench.servers], [UP, UP, MAINT])
        texts = [text for _, text in bench.said]
        self.assertIn("b/s1 changed its IP from (none) to 192.0.2.1 by DNS additional record.", texts)
        self.assertIn("b/s2 changed its IP from (none) to 192.0.2.2 by dns/ns1.", texts)
        self.assertIn("Server b/s2 ('b.test') is UP/READY (resolves again).", texts)

    def test_services_come_and_go(self) -> None:
        bench = self.begin(2, name=SERVICE)
        for name, number in (("a", 1), ("b", 2), ("c", 3)):
            bench.zone.records[f"{name}.test"] = a(number)
        bench.zone.records[SERVICE] = [("SRV", "a.test", "81"), ("SRV", "b.test", "82")]
        bench.start()
        bench.change(("SRV", "b.test", "82"))
        self.assertEqual([str(each.target) for each in bench.servers], ["None", "192.0.2.2:82"])
        self.assertIn("is going DOWN for maintenance (entry removed from SRV record).", bench.said[-1][1])
        bench.change(("SRV", "b.test", "82"), ("SRV", "c.test", "83"), wait=2.0)
        self.assertEqual([str(each.target) for each in bench.servers], ["192.0.2.3:83", "192.0.2.2:82"])

    def test_a_weight_follows_its_record(self) -> None:
        """Without one a server takes what is bound to it only; `ignore-weight` leaves the file's own."""
        for ignored, weights in ((False, [256, 0]), (True, [1, 1])):
            bench = self.begin(1, name=SERVICE, ignore_weight=ignored)
            bench.zone.records["a.test"] = a(1)
            bench.zone.records[SERVICE] = [("SRV", "a.test", "81", "65535")]
            bench.start()
            self.assertEqual(bench.servers[0].weight, weights[0])
            bench.change(("SRV", "a.test", "81", "0"))
            self.assertEqual(bench.servers[0].weight, weights[1])
            self.assertEqual(bench.servers[0].state, UP if ignored else DRAIN)

    def test_the_address_of_a_services_host_changes(self) -> None:
        bench = self.begin(1, name=SERVICE)
        bench.zone.records["a.test"] = a(1)
        bench.zone.records[SERVICE] = [("SRV", "a.test", "81")]
        bench.start()
        bench.zone.records["a.test"] = a(9)
        bench.pass_time(1.5)
        self.assertEqual(str(bench.servers[0].target), "192.0.2.9:81")

    def test_several_services_of_one_host(self) -> None:
        """They differ in their ports."""
        bench = self.begin(2, name=SERVICE)
        bench.zone.records["a.test"] = a(1)
        bench.zone.records[SERVICE] = [("SRV", "a.test", "81"), ("SRV", "a.test", "82")]
        bench.start()
        self.assertEqual([str(each.target) for each in bench.servers], ["192.0.2.1:81", "192.0.2.1:82"])

    def test_a_name_that_fails_takes_all_out_when_its_hold_is_over(self) -> None:
        bench = self.begin(1, name=SERVICE, holds=Holds(nx=2.0))
        bench.zone.records["a.test"] = a(1)
        bench.zone.records[SERVICE] = [("SRV", "a.test", "81")]
        bench.start()
        bench.change(word=NX, wait=1.5)
        self.assertEqual(bench.servers[0].state, UP)
        bench.pass_time(2.5)
        self.assertEqual(bench.servers[0].state, MAINT)
        bench.change(("SRV", "a.test", "81"), wait=2.0)
        self.assertEqual(bench.servers[0].state, UP)


class InvariantTests(BenchTestCase):
    """Whatever name servers answer, one after the other."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.one_of(st.sets(st.integers(1, 6), max_size=5), st.sampled_from((NX, SERVFAIL, SILENCE))), max_size=6
        ),
        st.booleans(),
        st.booleans(),
    )
    def test_servers_have_the_addresses_of_the_last_answer(
        self, answers: list[Any], duplicates: bool, services: bool
    ) -> None:
        """As many as there are, each its own (or all, where duplicates are allowed); who has one keeps it; nobody is
        without a server while the same name has an address; what fails changes nothing while it is held."""
        bench = NamesBench(3, duplicates=duplicates, name=SERVICE if services else NAME)
        try:
            bench.start()
            known: list[str] = []
            for answer in answers:
                before = bench.at
                if isinstance(answer, str):
                    bench.change(word=answer)
                elif services:
                    bench.change(
                        *(("SRV", f"h{each}.test", "80") for each in answer),
                        *(("A", f"192.0.2.{each}", "of", f"h{each}.test") for each in answer),
                        wait=2.0,
                    )
                else:
                    bench.change(*a(*answer), wait=2.0)
                known = known if isinstance(answer, str) or not answer else [f"192.0.2.{each}" for each in answer]
                have = [each for each in bench.at if each != "-"]
                self.assertLessEqual({*have}, {*known})
                wanted = 3 if duplicates and known and not services else min(3, len(known))
                self.assertEqual(len(have), wanted)
                if not duplicates or services:
                    self.assertEqual(len({*have}), len(have))
                for was, now in zip(before, bench.at, strict=True):
                    if was in known and (not duplicates or before.count(was) == 1):
                        self.assertEqual(was, now)
                for server, at in zip(bench.servers, bench.at, strict=True):
                    self.assertEqual(server.state, MAINT if at == "-" else UP)
            if any(known):
                levels = [level for level, _ in bench.said]
                self.assertNotIn("emerg", levels)
        finally:
            self._stop(bench)
