"""Servers that an operator sends to another address."""

from __future__ import annotations

import json
from typing import Any

from reusedproxy.backends.moving import PATIENCE
from reusedproxy.backends.names import target_of
from reusedproxy.backends.ordered import OrderedAddresses
from reusedproxy.config import model
from reusedproxy.daemon.replacing.standing import stand, states_as_said
from reusedproxy.daemon.replacing.standing import standing as standing_of
from reusedproxy.daemon.service import ProxyService
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, Context, Refusal
from reusedproxy.operators.runtime.servers import show_servers_state
from tests.fakes import RecordingExchange
from tests.integration.peers import LOOPBACK
from tests.services import HEAD
from tests.test_backends_names import BenchTestCase, NamesBench
from tests.test_generations import GenerationTestCase

BY = "stats socket command"


class OrderedTests(BenchTestCase):
    """One server with a floor, in memory."""

    def begin_at(self, **limits: Any) -> tuple[NamesBench, OrderedAddresses]:
        bench = self.begin(1, at=["192.0.2.1"], limits=model.PoolLimits(**limits))
        addresses = OrderedAddresses(bench.backend, bench.clock, bench.departed)
        bench.backend.addresses, bench.backend.groups = addresses, [addresses]
        bench.start()
        bench.said.clear()
        return bench, addresses

    def order(self, bench: NamesBench, number: int, port: int = 80) -> None:
        bench.backend.order_address(bench.servers[0], target_of(f"192.0.2.{number}", port), BY)

    def test_connections_stand_there_before_requests_go_there(self) -> None:
        bench, addresses = self.begin_at(min_conn=3)
        (server,) = bench.servers
        before = server.pool
        connection = before.acquire()
        assert connection is not None
        transport: Any = connection.transport
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None)
        self.order(bench, 2)
        self.assertIs(server.pool, before)
        self.assertFalse(addresses.settled)
        bench.pass_time(1.0)
        self.assertEqual((bench.at, len(server.pool.idle), addresses.settled), (["192.0.2.2"], 3, True))
        self.assertEqual(bench.said, [("notice", f"b/s1 changed its IP from 192.0.2.1 to 192.0.2.2 by {BY}.")])
        self.assertEqual((len(before.in_use), len(before.idle)), (1, 0))
        transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
        bench.pass_time(2.5)
        self.assertEqual(before.state, "closed")

    def test_who_must_not_wait_goes_there_at_once_and_its_floor_is_opened_then(self) -> None:
        for turned in (False, True):
            bench, addresses = self.begin_at(min_conn=3)
            (server,) = bench.servers
            relocation: Any = server.relocation
            self.order(bench, 2)
            if turned:  # as `set server … ssl` does: what was opened for the move is of the other kind
                before = bench.backend.take_pool(server, relocation.pool_at(target_of("192.0.2.1", 80)))
                addresses.departed.add(before)
            addresses.arrive_now()
            self.assertEqual((bench.at, len(server.pool.idle), addresses.settled), (["192.0.2.2"], 0, True))
            bench.pass_time(1.0)
            self.assertEqual((bench.at, len(server.pool.idle)), (["192.0.2.2"], 3))

    def test_another_port(self) -> None:
        bench, _ = self.begin_at()
        self.order(bench, 1, 8080)
        bench.pass_time(1.0)
        self.assertEqual(str(bench.servers[0].target), "192.0.2.1:8080")
        self.assertEqual(bench.said, [("notice", f"b/s1 changed its port from 80 to 8080 by {BY}.")])

    def test_one_where_nobody_answers_is_gone_to_after_a_while(self) -> None:
        """The operator has said so, and checks find what is there."""
        bench, _ = self.begin_at(min_conn=1)
        bench.answers = False
        self.order(bench, 2)
        bench.pass_time(PATIENCE - 0.5)
        self.assertEqual(bench.at, ["192.0.2.1"])
        bench.pass_time(1.0)
        self.assertEqual(bench.at, ["192.0.2.2"])

    def test_the_last_order_counts(self) -> None:
        bench, _ = self.begin_at(min_conn=1)
        bench.answer = lambda dial: None  # type: ignore[method-assign]
        self.order(bench, 2)
        self.order(bench, 3)
        self.order(bench, 1)
        bench.pass_time(PATIENCE + 1)
        self.assertEqual((bench.at, bench.said), (["192.0.2.1"], []))

    def test_while_a_reload_is_under_way_nobody_moves(self) -> None:
        bench, _ = self.begin_at(min_conn=1)
        self.order(bench, 2)
        bench.backend.hold_addresses()
        bench.pass_time(PATIENCE + 1)
        self.assertEqual(bench.at, ["192.0.2.1"])
        self.order(bench, 3)
        bench.backend.release_addresses()
        bench.pass_time(1.0)
        self.assertEqual(bench.at, ["192.0.2.3"])


class OrderTests(GenerationTestCase):
    """What the runtime API says, and what reloads make of it."""

    def says(self, command: str) -> str:
        answer = run(Context(self.service, ADMIN, 10.0), command.split())
        return answer if isinstance(answer, str) else "".join(answer)

    def refused(self, command: str) -> str:
        with self.assertRaises(Refusal) as raised:
            self.says(command)
        return str(raised.exception)

    @property
    def target(self) -> str:
        return str(self.proxy.lines["b/s"].server.target)

    def reload(self) -> None:
        self.service.reload()
        self.reactor.pump([0.05] * 150)

    def test_an_order_holds_through_reloads_until_the_file_says_another_address(self) -> None:
        self.begin()
        answer = self.says("set server b/s addr 127.0.0.9 port 7")
        self.assertEqual(
            answer, f"IP changed from '127.0.0.1' to '127.0.0.9', port changed from '1' to '7' by '{BY}'\n"
        )
        self.reactor.pump([0.05] * 150)
        self.assertEqual(self.target, "127.0.0.9:7")
        pool = self.proxy.lines["b/s"].pool
        self.configure(" timeout queue 3s\n")
        self.reload()
        self.assertEqual((self.target, self.proxy.lines["b/s"].pool), ("127.0.0.9:7", pool))
        self.assertIn("Server b/s stays at 127.0.0.9:7, as was ordered before the reload", self.said)
        self.says("set server b/s addr 127.0.0.8")
        self.reload()  # before it is there
        self.assertEqual(self.target, "127.0.0.8:7")
        text = (self.folder / "proxy.cfg").read_text()
        self.text("proxy.cfg", text.replace(f"server s {LOOPBACK}:1", f"server s {LOOPBACK}:2"))
        self.reload()
        self.assertEqual(self.target, f"{LOOPBACK}:2")

    def test_an_order_goes_on_in_another_process(self) -> None:
        self.begin(global_=" stats socket ipv4@127.0.0.1:0\n")
        self.says("set server b/s addr 127.0.0.9 port 7")
        standing = json.loads(json.dumps(standing_of(self.proxy)))
        self.reactor.pump([0.05] * 150)
        states = "".join(show_servers_state(Context(self.service, ADMIN, 10.0), ()))
        self.assertIn(" 127.0.0.9 ", states)
        self.assertIn(" - 7 - ", states)
        # A port that is saved counts whatever the file says.
        self.assertIn(" - 1 - ", states_as_said(states, self.proxy))
        self.service.stopService()
        self.reactor.advance(5)
        self.service = ProxyService(self.reactor, [self.config])
        self.service.assemble(bind=False)
        said = [text for text, _ in stand(self.proxy, standing)]
        self.assertEqual(said, ["Server b/s goes to 127.0.0.9:7, as was ordered in the process before"])
        self.service.startService()
        self.reactor.pump([0.05] * 150)
        self.assertEqual(self.target, "127.0.0.9:7")

    def test_words(self) -> None:
        self.begin()
        for words, said in (
            ("127.0.0.1", "no need to change the addr"),
            ("127.0.0.1 port 1", "no need to change the addr, no need to change the port"),
            ("127.0.0.1 port 70000", "no need to change the addr, problem converting port '70000' to an int"),
            ("::1", "IP changed from '127.0.0.1' to '::1'"),
            ("::1 port", "no need to change the addr, problem converting port '' to an int"),
        ):
            self.assertEqual(self.says(f"set server b/s addr {words}"), f"{said} by '{BY}'\n")
        self.assertIn("requires an address", self.refused("set server b/s addr"))
        self.assertEqual(self.refused("set server b/s addr x"), f"Invalid addr 'x' by '{BY}'")

    def test_one_without_an_address_of_its_own(self) -> None:
        self.begin()
        self.text(
            "proxy.cfg", f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n server s 0.0.0.0:1\n"
        )
        self.reload()
        self.assertIn("told by name servers or by its clients", self.refused("set server b/s addr 127.0.0.1"))
