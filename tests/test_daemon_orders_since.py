"""What is ordered of a process after it has told the next one what stands: taken over as far as the files allow, and
otherwise told."""

from __future__ import annotations

import json
from typing import Any

from reusedproxy.backends.server import DRAIN, UP
from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.replacing.since import differences, obey, orders_of
from reusedproxy.daemon.replacing.standing import stand, standing
from reusedproxy.daemon.service import ProxyService
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, Context
from tests.services import HEAD, ServiceTestCase

BEFORE = "as was ordered in the process before"
LOST = "does not get what was ordered in the process before"
SERVERS = """\
 server s 192.0.2.1:80 weight 10 check port 80
 server t 192.0.2.2:80 agent-check agent-port 1 agent-send a
 server u names.test:80 resolvers r init-addr 192.0.2.3 weight 10
"""


class SinceTests(ServiceTestCase):
    def begin(self, servers: str = SERVERS) -> None:
        lines = f"frontend f\n bind unix@{self.folder}/f\n maxconn 9\n default_backend b\nbackend b\n{servers}"
        names = "resolvers r\n nameserver n 192.0.2.53:53\n"
        path = self.text("proxy.cfg", f"global\n stats socket ipv4@127.0.0.1:0 level admin\n{names}{HEAD}{lines}")
        self.service = ProxyService(self.reactor, [path])
        self.patch(self.service, "announce", lambda *said, **more: None)
        self.service.assemble(bind=False)
        self.calls: list[str] = []

    @property
    def proxy(self) -> Proxy:
        assert self.service.proxy is not None
        return self.service.proxy

    def tell(self, *orders: str) -> None:
        for order in orders:
            answer = run(Context(self.service, ADMIN, 10.0), order.split())
            self.assertNotRegex("".join(answer), "No such|nvalid|Require|was ", order)

    def given(self, *orders: str) -> Any:
        """What goes to the other process when these orders are given."""
        before = orders_of(self.proxy)
        self.tell(*orders)
        return json.loads(json.dumps(differences(before, orders_of(self.proxy))))

    def said(self, changes: Any, servers: str = SERVERS) -> list[tuple[str, str, str]]:
        """What is said when they are obeyed by a process with these servers."""
        self.begin(servers)
        return obey(self.proxy, changes)

    def count_calls(self, of: Any, name: str) -> None:
        """Have `calls` tell of each call of a method."""
        method = getattr(of, name)

        def called(*arguments: Any) -> Any:
            self.calls.append(name)
            return method(*arguments)

        self.patch(of, name, called)

    def test_nothing_is_sent_where_nothing_was_ordered(self) -> None:
        self.begin()
        self.assertEqual(self.given(), {})
        self.assertEqual(self.given("set weight b/s 4", "set weight b/s 10"), {})

    def test_what_is_ordered_is_done(self) -> None:
        self.begin()
        changes = self.given("set weight b/s 4", "disable agent b/t", "set maxconn frontend f 3")
        self.assertEqual(
            self.said(changes),
            [
                ("notice", f"Frontend f has maxconn 3, {BEFORE}", "frontend f"),
                ("notice", f"Server b/s has weight 4, {BEFORE}", "backend b"),
                ("notice", f"Server b/t has its agent paused, {BEFORE}", "backend b"),
            ],
        )
        self.assertEqual((self.proxy.lines["b/s"].server.weight, self.proxy.frontends[0].maxconn), (4, 3))
        self.assertEqual(orders_of(self.proxy)["server b/t"], changes["server b/t"][1])

    def test_what_is_taken_back_is_taken_back(self) -> None:
        back = ["set server b/s check-port 80", "set server b/t agent-port 1", "set server b/t agent-send a"]
        back += ("set server b/u fqdn names.test", "enable agent b/t", "set server b/s addr 192.0.2.1 port 80")
        ordered = ["set server b/s check-port 81", "set server b/t agent-port 2", "set server b/t agent-send b"]
        ordered += ("set server b/u fqdn other.test", "set server b/s addr 192.0.2.9 port 81")
        self.begin()
        self.tell(*ordered)
        changes = self.given(*back)
        self.begin()
        self.tell(*ordered)
        said = [text for _, text, _ in obey(self.proxy, changes)]
        self.assertIn(f"Server b/s is checked where its line says, {BEFORE}", said)
        self.assertIn(f"Server b/s goes to 192.0.2.1:80, {BEFORE}", said)
        self.assertIn(f"Server b/t has its agent asked where its line says, {BEFORE}", said)
        self.assertIn(f"Server b/u follows the name of its line, {BEFORE}", said)
        self.assertEqual(orders_of(self.proxy), orders_of(self.proxy) | {n: now for n, (_, now) in changes.items()})

    def test_thousands_of_orders_are_obeyed_at_once(self) -> None:
        """Each has its backend choose among all its servers, which would hold the event loop for half a minute: it is
        done once for all of them, before anybody is served by what was ordered otherwise."""
        servers = "".join(f" server s{at} 192.0.2.1:80 weight 10\n" for at in range(40))
        self.begin(servers)
        changes = self.given(
            *(f"set server b/s{at} {order}" for at in range(40) for order in ("weight 4", "state drain")),
            *(f"set maxconn server b/s{at} 7" for at in range(40)),
        )
        self.begin(servers)
        (backend,) = self.proxy.backends
        self.count_calls(backend._balance, "use")
        said = obey(self.proxy, changes)
        self.assertEqual((self.calls, len(said), backend.usable), (["use"], 120, False))
        self.assertEqual({(each.weight, each.admin, each.limit) for each in backend.servers}, {(4, DRAIN, 7)})

    def test_what_was_ordered_before_of_thousands_of_servers_holds_at_once(self) -> None:
        names = "".join(f" server s{at} names.test:80 resolvers r init-addr 192.0.2.3\n" for at in range(40))
        self.begin(names)
        self.tell(*(f"set maxconn server b/s{at} 7" for at in range(40)))
        self.tell(*(f"set server b/s{at} fqdn n{at}.test" for at in range(40)))
        there = json.loads(json.dumps(standing(self.proxy)))
        self.begin(names)
        (backend,) = self.proxy.backends
        self.count_calls(backend._balance, "use")
        self.count_calls(backend, "make_groups")
        self.assertEqual((len(stand(self.proxy, there)), self.calls), (80, ["use", "make_groups"]))
        self.assertEqual([each.ordered_name for each in backend.servers], [f"n{at}.test" for at in range(40)])
        self.assertEqual(len(backend.groups), 41)

    def test_health_is_what_checks_find_where_the_file_has_some_by_now_and_that_is_said(self) -> None:
        self.begin(" server s 192.0.2.1:80\n")
        changes = self.given("set server b/s health down")
        said = self.said(changes, " server s 192.0.2.1:80 check\n")
        text = f"Server b/s {LOST}: DOWN, as checks find that out here, or a server that it tracks"
        self.assertEqual(said, [("warning", text, "backend b")])
        self.assertEqual(self.proxy.lines["b/s"].server.health, UP)
        self.assertEqual(self.said(changes, " server s 192.0.2.1:80\n")[0][1], f"Server b/s is DOWN, {BEFORE}")

    def test_the_files_word_counts_if_it_is_another_and_that_is_said(self) -> None:
        self.begin()
        changes = self.given(
            "set weight b/s 4", "set server b/s addr 192.0.2.9", "set server b/s check-port 81", "disable server b/t"
        )
        other = " server s 192.0.2.7:80 weight 20 check port 99\n"
        self.assertEqual(
            self.said(changes, other),
            [
                ("warning", f"Server b/s {LOST}: weight 4, as the file has another word for it", "backend b"),
                (
                    "warning",
                    f"Server b/s {LOST}: where its checks or its agent are, as the file has other words for it",
                    "backend b",
                ),
                ("warning", f"Server b/s {LOST}: its address, as the file has another one", "backend b"),
                ("warning", f"Server b/t {LOST}, as no file names it any more", "backend b"),
            ],
        )
