"""Where servers with a name begin, what a reload keeps of what name servers told, and what else moves with them."""

from __future__ import annotations

import json
import socket
from typing import Any
from unittest import mock

from reusedproxy.backends.backend import HELD
from reusedproxy.backends.server import MAINT, UP
from reusedproxy.build.servers.elsewhere import Elsewhere
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.replacing.standing import stand, standing, states_as_said
from reusedproxy.daemon.service import ProxyService
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, Context, Refusal
from reusedproxy.operators.runtime.servers import show_servers_state
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.named import Name
from tests.nameserver import SILENCE, MemoryNameServers, Zone
from tests.services import HEAD, ImmediateResolver, ServiceTestCase

DNS = "resolvers dns\n nameserver ns1 192.0.2.53:53\n"
NAME = "app.test"


class BuildTestCase(ServiceTestCase):
    """A daemon on a clock; the C library knows of `known` only, and `asked` is what it was asked for."""

    def setUp(self) -> None:
        super().setUp()
        self.known: dict[str, str] = {}
        self.asked: list[str] = []
        self.patch(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, host: str, port: int, **more: Any) -> list[Any]:
        self.asked.append(host)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.known[host], 0))]

    def configure(self, servers: str, head: str = DNS) -> str:
        listener = f"frontend f\n bind unix@{self.folder}/f\n default_backend b\n"
        return self.text("proxy.cfg", f"{head}{HEAD}{listener}backend b\n{servers}\n")

    def assemble(self, servers: str, head: str = DNS, bind: bool = False) -> ProxyService:
        self.service = ProxyService(self.reactor, [self.configure(servers, head)])
        self.service.reloads.resolver = ImmediateResolver()  # type: ignore[assignment]
        self.service.assemble(bind=bind)
        return self.service

    def targets(self) -> list[str]:
        return [str(each.target) for each in self.proxy.backends[0].servers]

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.reactor.advance(0.02)


class BeginningTests(BuildTestCase):
    """`init-addr`, as HAProxy 2.6 has it."""

    def test_what_is_tried_in_turn(self) -> None:
        """The words; the address of the C library; what comes of it, and a warning about it."""
        disabling = "could not resolve address 'app.test', disabling server"
        falling = "could not resolve address 'app.test', falling back to configured address"
        for words, known, target, warning in (
            ("", "192.0.2.7", "192.0.2.7:80", ""),
            ("resolvers dns", "192.0.2.7", "192.0.2.7:80", ""),
            ("resolvers dns", "", "None", disabling),
            ("resolvers dns init-addr none", "192.0.2.7", "None", ""),
            ("init-addr none", "192.0.2.7", "None", ""),
            ("init-addr last,libc,none", "", "None", disabling),
            ("init-addr libc,192.0.2.9", "", "192.0.2.9:80", falling),
            ("init-addr libc,2001:db8::9", "", "[2001:db8::9]:80", falling),
            ("init-addr 192.0.2.9,libc", "192.0.2.7", "192.0.2.9:80", ""),
        ):
            self.known = {NAME: known} if known else {}
            self.assemble(f" server s {NAME}:80 {words}")
            self.assertEqual(self.targets(), [target], words)
            texts = [each.text for each in self.proxy.notices if "could not resolve" in each.text]
            self.assertEqual(texts, [warning] if warning else [], words)
            (server,) = self.proxy.backends[0].servers
            self.assertEqual(server.state, MAINT if target == "None" else UP)

    def test_an_address_without_a_port_is_none_for_srv_records(self) -> None:
        """HAProxy has such a server UP at port 0."""
        self.assemble(f" server s _http._tcp.{NAME} resolvers dns init-addr 192.0.2.9")
        (server,) = self.proxy.backends[0].servers
        self.assertEqual((str(server.target), server.state), ("None", MAINT))
        text = f"'init-addr 192.0.2.9' has no port, which only SRV records tell: '_http._tcp.{NAME}' is waited for"
        self.assertIn(text, [each.text for each in self.proxy.notices])
        self.assemble(f" server s _http._tcp.{NAME}:8080 resolvers dns init-addr 192.0.2.9")
        self.assertEqual(self.targets(), ["192.0.2.9:8080"])

    def test_what_cannot_be_resolved_is_an_error_where_nothing_else_is_said(self) -> None:
        for words, text in (
            ("", "could not resolve address 'app.test'"),
            ("init-addr libc", "could not resolve address 'app.test'"),
            ("resolvers dns init-addr libc", "could not resolve address 'app.test'"),
            ("resolvers dns init-addr last", "no method found to resolve address 'app.test'"),
        ):
            refused = self.assertRaises(Refused, self.assemble, f" server s {NAME}:80 {words}")
            self.assertIn(text, str(refused), words)

    def test_the_c_library_is_not_asked_in_vain(self) -> None:
        """It may take 15 seconds to say that it does not know."""
        lines = f" server a {NAME}:80 resolvers dns init-addr none\n server b _http._tcp.{NAME} resolvers dns"
        self.assemble(lines)
        self.assertEqual((self.asked, self.targets()), ([], ["None", "None"]))

    def test_a_name_server_may_have_a_name(self) -> None:
        head = "resolvers dns\n nameserver ns1 dns.test:53\n"
        refused = self.assertRaises(Refused, self.assemble, f" server s {NAME}:80 resolvers dns init-addr none", head)
        self.assertIn("nameserver 'ns1': could not resolve address 'dns.test': Name or service", str(refused))
        self.known["dns.test"] = "192.0.2.53"
        self.assemble(f" server s {NAME}:80 resolvers dns init-addr none", head)

    def test_resolv_conf(self) -> None:
        """Without it the section is an error; the one that is there without a line, a warning."""
        path = "reusedproxy.build.resolution.nameservers_in"
        line = f" server s {NAME}:80 init-addr none resolvers "
        written = "resolvers dns\n parse-resolv-conf\n"
        with mock.patch(path, side_effect=FileNotFoundError(2, "No such file or directory")):
            refused = self.assertRaises(Refused, self.assemble, line + "dns", written)
            self.assertIn("proxy.cfg:2: 'parse-resolv-conf': /etc/resolv.conf cannot be read: No such", str(refused))
            self.assemble(line + "default", "")
            self.assertIn("cannot be read", self.proxy.notices[-1].text)
        with mock.patch(path, return_value=([("192.0.2.53", 53)], ["/etc/resolv.conf:2: 'x' is not an address"])):
            self.assemble(line + "dns", written)
            self.assertIn("'parse-resolv-conf': /etc/resolv.conf:2: 'x' is not", self.proxy.notices[-1].text)


class MovingTests(BuildTestCase):
    """A running daemon whose name servers are in memory."""

    def begin(self, servers: str, head: str = DNS) -> None:
        self.assemble(servers, head, bind=True)
        self.nameservers = MemoryNameServers(self.reactor)
        self.proxy.names._open = self.nameservers.open
        self.said: list[str] = []
        self.patch(self.service, "announce", lambda level, text, section="": self.said.append(text))
        self.addCleanup(self.stop)

    def start(self, address: str) -> None:
        """Starts; connections cannot be opened in memory, so each move takes its time."""
        self.service.startService()
        self.zone.records[NAME] = [("A", address)]
        self.pass_time(7.0)

    @property
    def zone(self) -> Any:
        return self.nameservers.zones.setdefault("ns1", Zone())

    def reload(self, servers: str) -> None:
        self.configure(servers)
        self.service.reload()
        self.pass_time(7.0)

    def order(self, name: str, server: str = "s") -> str:
        answer = run(Context(self.service, ADMIN, 10.0), ["set", "server", f"b/{server}", "fqdn", name])
        self.pass_time(7.0)
        assert isinstance(answer, str)
        return answer

    def states(self) -> str:
        return "".join(show_servers_state(Context(self.service, ADMIN, 10.0), ()))

    def test_a_name_that_is_ordered_is_followed_until_the_file_has_another(self) -> None:
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr libc,none"
        self.begin(line)
        self.start("192.0.2.1")
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        said = self.order("other.test")
        self.assertEqual(said, f"b/s changed its FQDN from {NAME} to other.test by 'stats socket command'\n")
        self.assertEqual(self.targets(), ["192.0.2.5:80"])
        self.assertRegex(self.states(), r" 192\.0\.2\.5 2 64 .* other\.test 80 ")
        pool = self.proxy.backends[0].servers[0].pool
        self.zone.records[NAME] = [("A", "192.0.2.2")]
        self.reload(f"{line} weight 7")
        self.assertIn("Server b/s follows the name other.test, as was ordered before the reload", self.said)
        self.assertEqual((self.targets(), self.proxy.backends[0].servers[0].pool), (["192.0.2.5:80"], pool))
        self.zone.records["other.test"] = [("A", "192.0.2.6")]
        self.pass_time(15.0)
        self.assertEqual(self.targets(), ["192.0.2.6:80"])
        self.reload(line.replace(NAME, "third.test"))
        self.zone.records["third.test"] = [("A", "192.0.2.9")]
        self.pass_time(15.0)
        self.assertEqual(self.targets(), ["192.0.2.9:80"])
        self.assertIn(" 2 0 ", self.states())

    def test_one_that_the_file_says_in_the_end_is_no_order_any_more(self) -> None:
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr libc,none"
        self.begin(line)
        self.start("192.0.2.1")
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        self.order("other.test")
        pool = self.proxy.backends[0].servers[0].pool
        self.reload(line.replace(NAME, "other.test"))
        self.assertEqual((self.targets(), self.proxy.backends[0].servers[0].pool), (["192.0.2.5:80"], pool))
        self.assertIn(" 2 0 ", self.states())

    def test_a_name_that_is_not_known_takes_no_address_away_at_once(self) -> None:
        self.begin(f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr libc,none")
        self.start("192.0.2.1")
        self.order("nowhere.test")
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.order(NAME)
        self.assertEqual((self.targets(), self.proxy.backends[0].servers[0].ordered_name), (["192.0.2.1:80"], ""))

    def test_a_server_with_an_address_and_resolvers_follows_the_name_that_is_ordered(self) -> None:
        """Through reloads, a state file and in another process; and goes back to the address of its line."""
        line = " server s 192.0.2.1:80 resolvers dns resolve-prefer ipv4"
        self.begin(f"{line}\n server t 0.0.0.0:80 resolvers dns\n server u 192.0.2.1:80")
        self.start("192.0.2.9")
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        self.assertEqual(self.order("192.0.2.1"), "no need to change the FDQN by 'stats socket command'\n")
        for name in ("192.0.2.7", "a/b", "::1"):
            self.assertEqual(self.order(name), f"invalid fqdn '{name}' by 'stats socket command'\n")
        for other in ("t", "u"):
            refused = self.assertRaises(Refusal, self.order, "other.test", other)
            self.assertIn("no resolution is configured", refused.written)
        said = self.order("other.test")
        self.assertEqual(said, "b/s changed its FQDN from (null) to other.test by 'stats socket command'\n")
        self.assertEqual(self.targets(), ["192.0.2.5:80", "0.0.0.0:80", "192.0.2.1:80"])
        self.assertRegex(self.states(), r" s 192\.0\.2\.5 2 64 .* other\.test 80 ")
        pool, states = self.proxy.backends[0].servers[0].pool, self.states()
        said_there = json.loads(json.dumps(standing(self.proxy)))
        self.reload(f"{line} weight 7")
        self.assertEqual((self.targets(), self.proxy.backends[0].servers[0].pool), (["192.0.2.5:80"], pool))
        self.zone.records["other.test"] = [("A", "192.0.2.6")]
        self.pass_time(15.0)
        self.assertEqual(self.targets(), ["192.0.2.6:80"])
        self.assertIn("changed its FQDN from other.test to 192.0.2.1 by", self.order("192.0.2.1"))
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.assertRegex(self.states(), r" s 192\.0\.2\.1 2 0 .* - 80 ")
        self.order("other.test")
        self.reload(line.replace(" resolvers dns resolve-prefer ipv4", ""))
        self.assertEqual((self.targets(), self.proxy.backends[0].servers[0].ordered_name), (["192.0.2.1:80"], ""))
        self.service.stopService()
        self.reactor.advance(5)
        self.assemble(line)
        self.assertIn("follows the name other.test", str([*stand(self.proxy, said_there)]))
        head = f"global\n server-state-file {self.text('states', states)}\n{DNS}"
        self.begin(f"{line}\n load-server-state-from-file global", head)
        self.start("192.0.2.9")
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        self.pass_time(15.0)
        self.assertEqual(self.targets(), ["192.0.2.5:80"])

    def test_the_address_of_a_server_may_be_ordered_as_long_as_no_name_server_tells_it(self) -> None:
        self.begin(" server s 192.0.2.1:80 resolvers dns resolve-prefer ipv4")
        self.start("192.0.2.9")
        order = ["set", "server", "b/s", "addr", "192.0.2.3"]
        self.assertIn("IP changed from '192.0.2.1' to '192.0.2.3'", str(run(Context(self.service, ADMIN, 10.0), order)))
        self.pass_time(7.0)
        self.assertEqual(self.targets(), ["192.0.2.3:80"])
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        self.order("other.test")
        self.reload(" server s 192.0.2.1:80 resolvers dns resolve-prefer ipv4 weight 7")
        self.assertEqual(self.targets(), ["192.0.2.5:80"])
        refused = self.assertRaises(Refusal, run, Context(self.service, ADMIN, 10.0), order)
        self.assertIn("told by name servers", refused.written)

    def test_servers_of_one_name_share_its_addresses_and_of_another_do_not(self) -> None:
        words = "resolvers dns resolve-prefer ipv4 init-addr none"
        self.begin(f" server-template s 2 {NAME}:80 {words}\n server t other.test:80 {words}")
        self.service.startService()
        self.zone.records[NAME] = [("A", "192.0.2.1"), ("A", "192.0.2.2")]
        self.zone.records["other.test"] = [("A", "192.0.2.5"), ("A", "192.0.2.6")]
        self.pass_time(7.0)
        self.order("other.test", "s1")
        self.assertEqual(sorted(self.targets()[i] for i in (0, 2)), ["192.0.2.5:80", "192.0.2.6:80"])
        self.assertEqual(self.targets()[1], "192.0.2.2:80")
        self.assertEqual(len(self.proxy.backends[0].groups), 3)  # one of them takes orders

    def test_an_order_that_comes_while_a_reload_is_under_way_holds(self) -> None:
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr libc,none"
        self.begin(line)
        self.start("192.0.2.1")
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        self.configure(f"{line} weight 7 pool-min-conn 1")
        self.service.reload()
        self.pass_time(1.0)  # it waits for the floor
        self.assertEqual(self.proxy.backends[0].names_are, HELD)
        self.order("other.test")
        self.assertFalse(self.service.reloads.under_way)
        self.assertEqual((self.targets(), self.proxy.backends[0].servers[0].weight), (["192.0.2.5:80"], 7))

    def test_a_state_file_has_it_and_another_process(self) -> None:
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr last,none"
        self.begin(line)
        self.start("192.0.2.1")
        self.zone.records["other.test"] = [("A", "192.0.2.5")]
        self.order("other.test")
        states, said = self.states(), json.loads(json.dumps(standing(self.proxy)))
        masked = states_as_said(states, self.proxy)
        self.assertRegex(masked, rf" 192\.0\.2\.5 2 0 .* {NAME} 80 ")
        self.service.stopService()
        self.reactor.advance(5)
        saved = self.text("states", states)
        head = f"global\n server-state-file {saved}\n{DNS}"
        for text, name, target in (
            (line, "other.test", "192.0.2.5:80"),
            (f" server s {NAME}:80 init-addr none", "", "None"),
        ):
            self.assemble(f"{text}\n load-server-state-from-file global", head)
            (server,) = self.proxy.backends[0].servers
            self.assertEqual((server.ordered_name, str(server.target)), (name, target))
            warned = [each.text for each in self.proxy.notices if "ordered, is not applied" in each.text]
            self.assertEqual(bool(warned), not name)
        for text, name in ((line, "other.test"), (line.replace(NAME, "third.test"), "")):
            self.assemble(text)
            words = [text for text, _ in stand(self.proxy, said)]
            self.assertEqual(self.proxy.backends[0].servers[0].ordered_name, name)
            self.assertEqual(any("follows the name other.test" in each for each in words), bool(name))

    def test_a_server_of_srv_records_goes_on_at_the_address_and_port_of_its_saved_state(self) -> None:
        """After a restart, and in a process that replaces this one, whether or not the name server answers."""
        record = f"_http._tcp.{NAME}"
        line = f" server-template s 2 {record} resolvers dns resolve-prefer ipv4 init-addr last,none"
        self.begin(line)
        self.service.startService()
        self.zone.records[record] = services = [
            *(("SRV", "a.test", "8001", "256"), ("SRV", "b.test", "8002", "512")),
            *(("A", "192.0.2.1", "of", "a.test"), ("A", "192.0.2.2", "of", "b.test")),
        ]
        self.pass_time(7.0)
        states, at = self.states(), ["192.0.2.1:8001", "192.0.2.2:8002"]
        self.assertEqual(self.targets(), at)
        self.assertRegex(states, rf" s1 192\.0\.2\.1 2 0 1 1 .* a\.test 8001 {record} ")
        saved, head = self.folder / "states", f"global\n server-state-file {self.folder}/states\n{DNS}"
        self.service.stopService()
        self.reactor.advance(5)
        for text, targets in (
            (states, at),
            (states.replace(" 2 0 1 1 ", " 2 64 1 1 "), at),  # as HAProxy writes it
            (states.replace(" 8001 ", " 0 "), ["None", at[1]]),
            (states.replace(" a.test ", " - "), ["None", at[1]]),
            (states.replace(record, "_other._tcp.test"), ["None", "None"]),
            (states.replace(" 192.0.2.2 ", " - "), [at[0], "None"]),
        ):
            saved.write_text(text)
            self.begin(f"{line}\n load-server-state-from-file global", head)
            self.assertEqual(self.targets(), targets, text)
            servers = self.proxy.backends[0].servers
            self.assertEqual([each.text for each in self.proxy.notices if "not applied" in each.text], [])
            self.assertEqual([each.state for each in servers], [MAINT if to == "None" else UP for to in targets])
            if text == states:
                self.assertEqual(
                    [each.split()[17:20] for each in self.states().split("\n")[2:-1]],
                    [each.split()[17:20] for each in states.split("\n")[2:-1]],
                )
            self.service.startService()
            self.zone.records[record] = SILENCE
            self.pass_time(1.0)
            self.assertEqual(self.targets(), targets, text)
            self.zone.records[record] = services[::-1]
            self.pass_time(12.0)
            if text == states:
                self.assertEqual((self.targets(), servers[0].was_at), (at, None))
            self.assertEqual({*self.targets()}, {*at})
            self.service.stopService()
            self.reactor.advance(5)

    def test_a_reload_keeps_pool_and_address(self) -> None:
        """Neither the C library nor a name server is waited for."""
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr libc,none"
        self.begin(line)
        self.start("192.0.2.1")
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        before = self.proxy
        pool, asked = before.backends[0].servers[0].pool, len(self.asked)
        self.zone.records[NAME] = SILENCE
        self.reload(f"{line} maxconn 9")
        self.assertIsNot(self.proxy, before)
        (server,) = self.proxy.backends[0].servers
        self.assertEqual((self.targets(), server.state), (["192.0.2.1:80"], UP))
        self.assertIs(server.pool, pool)
        self.assertEqual(len(self.asked), asked)
        self.zone.records[NAME] = [("A", "192.0.2.2")]
        self.pass_time(12.0)
        self.assertEqual(self.targets(), ["192.0.2.2:80"])

    def test_a_changed_line_begins_where_its_server_is(self) -> None:
        """With another port, or another certificate, it has another pool."""
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr none"
        self.begin(line)
        self.start("192.0.2.1")
        pool = self.proxy.backends[0].servers[0].pool
        self.reload(line.replace(":80", ":81"))
        (server,) = self.proxy.backends[0].servers
        self.assertEqual((self.targets(), server.state), (["192.0.2.1:81"], UP))
        self.assertIsNot(server.pool, pool)

    def test_another_name_begins_anew(self) -> None:
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr none"
        self.begin(line)
        self.start("192.0.2.1")
        self.configure(line.replace(NAME, "other.test"))
        self.service.reload()
        self.pass_time(0.5)
        self.assertEqual(self.targets(), ["None"])

    def test_clients_wait_for_the_first_answer(self) -> None:
        """With `pool-warm-start`: else they would be told that there is no server."""
        line = f" server s {NAME}:80 resolvers dns resolve-prefer ipv4 init-addr none"
        self.begin(line, f"global\n pool-warm-start 60s\n{DNS}")
        self.service.startService()
        self.zone.records[NAME] = SILENCE
        self.pass_time(1.0)
        self.assertNotIn("listens on", " ".join(self.said))
        self.zone.records[NAME] = [("A", "192.0.2.1")]
        self.pass_time(10.0)
        self.assertIn("listens on", " ".join(self.said))
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def test_checks_follow_their_server(self) -> None:
        """With a port of their own, if they have one; an address of their own stays."""
        for words, target in (("", "192.0.2.1:80"), ("port 99", "192.0.2.1:99"), ("addr 192.0.2.9", "192.0.2.9:80")):
            line = f" server s {NAME}:80 check {words} resolvers dns resolve-prefer ipv4 init-addr 192.0.2.5"
            self.assemble(line)
            made = self.proxy.lines["b/s"]
            relocation = made.server.relocation
            assert isinstance(relocation, Elsewhere) and made.checker is not None
            to = made.identity.target.__class__(socket.AF_INET, ("192.0.2.1", 80))
            made.server.move(relocation.pool_at(to), to)
            relocation.moved(to)
            self.assertEqual(str(made.checker._dialer.target), target, words)
            self.assertEqual(str(made.identity.target), "192.0.2.1:80")

    def test_names_that_clients_use_are_warmed_elsewhere(self) -> None:
        """Those that were asked for again; their connections count as wanted."""
        line = f" server s {NAME}:80 ssl verify none sni req.hdr(host) resolvers dns init-addr 192.0.2.5"
        self.assemble(line)
        made = self.proxy.lines["b/s"]
        before = made.pool
        assert isinstance(before, ConstantPool) and made.server.relocation is not None
        for name in (b"a.test", b"a.test", b"once.test"):
            before.named(Name(name, name))
        pool = made.server.relocation.pool_at(made.identity.target)
        assert isinstance(pool, ConstantPool)
        (warmed,) = pool.names.succeed(before.names)
        assert warmed.context is not None
        self.assertEqual((warmed.context.name, pool.known_names), ("a.test", 1))
        self.assertIs(pool.named(Name(b"a.test", b"a.test")), warmed)
        for each in (before, pool):
            each.close("test over")

    def test_the_name_in_the_certificate_is_the_configured_one(self) -> None:
        """Whatever the address; no session of another address is offered."""
        authority = self.authority.write(self.folder / "ca.pem")
        for words, name in (("sni str(s.test)", "s.test"), ("verifyhost v.test", "v.test")):
            tls = f"ssl verify required ca-file {authority} {words}"
            self.assemble(f" server s {NAME}:80 {tls} resolvers dns init-addr 192.0.2.5")
            made = self.proxy.lines["b/s"]
            assert made.context is not None and made.server.relocation is not None
            made.context.session = mock.sentinel.session
            pool = made.server.relocation.pool_at(made.identity.target)
            assert pool.context is not None
            self.assertEqual((pool.context.name, pool.context.session), (name, None))
            self.assertIsNot(pool.context, made.context)
