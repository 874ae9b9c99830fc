"""Requests of a section with `option egress`: each goes to the partner that it names, and to nobody else."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, MAINT
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.config import model
from reusedproxy.exchanges.egress import Partners, ToPartner
from reusedproxy.net.slices import run_through
from reusedproxy.wire.heads import Limits, read_request
from tests.clientfakes import World
from tests.test_config_servers import HEAD, faults, read

HOSTS = (("bank.example", 443), ("pay.example", 8443), ("bank.example", 8444))
#: What they are told to be.
NAMES = ("bank.example", "pay.example:8443", "bank.example:8444")
DENIES = f" http-request deny deny_status 429 if {{ hdr(host) {' '.join(NAMES)} }}\n"


def ask(target: str, host: str = "", method: str = "GET", *lines: str) -> bytes:
    host = host or target.partition("//")[2].partition("/")[0]
    return "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", "")).encode("latin-1")


def egress(test: SynchronousTestCase, rules: str = "", maxconn: int = 0, front: str = "") -> World:
    """A world with these partners, with `rules` of their backend, and those of the frontend in `front`."""
    world = World(test, servers=len(HOSTS), warm=2, maxconn=maxconn, backend={"egress": True})
    said = read(f" option egress\n{rules} server a bank.example:443").backends["b"]
    world.backend.settings = evolve(world.backend.settings, place=said.place, rules=said.rules)
    for far, (host, port) in zip(world.servers, HOSTS, strict=True):
        far.server.settings = evolve(far.server.settings, host=host, port=port, tls=model.ServerTLS())
    world.frontend.settings = evolve(world.frontend.settings, default_backend="be")
    if front:
        said = read(f"{front} server a bank.example:443").backends["b"]
        world.frontend.settings = evolve(world.frontend.settings, rules=said.rules)
    world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
    return world


class EgressTests(SynchronousTestCase):
    def asked(self, world: World, request: bytes) -> tuple[str, bytes]:
        """The server that got it, and what it got; or the status."""
        client = world.client()
        client.send(request)
        busy = [each for each in world.servers if each.busy]
        if not busy:
            return client.take().split(b" ")[1].decode(), b""
        (each,) = busy
        got = each.asked()
        each.answer()
        client.take()
        return each.server.name, got

    def test_each_request_goes_where_it_says(self) -> None:
        world = egress(self)
        for request, server in (
            (ask("/", "bank.example"), "s1"),
            (ask("/", "bank.example:443"), "s1"),
            (ask("/", "bank.example:80"), "s1"),
            (ask("/", "bank.example:8444"), "s3"),
            (ask("http://bank.example/x"), "s1"),
            (ask("https://bank.example/x"), "s1"),
            (ask("http://bank.example:8444/x"), "s3"),
            (ask("/", "BANK.example."), "s1"),
            (ask("/", "pay.example"), "s2"),
            (ask("/", "pay.example:8443"), "s2"),
            (ask("/", "pay.example:443"), "403"),
            (ask("https://bank.example:80/"), "403"),
            (ask("/", "bank.example:8443"), "403"),
            (ask("/", "other.example"), "403"),
            (ask("/", "bank.example.."), "403"),
            (ask("bank.example:443", "bank.example:443", "CONNECT"), "405"),
            (b"GET / HTTP/1.0\r\n\r\n", "400"),
        ):
            self.assertEqual(self.asked(world, request)[0], server, request)
        world.check_rest()

    def test_a_partner_at_an_ipv6_address(self) -> None:
        """However it is written, and told as the configuration has it."""
        world = egress(self)
        world.servers[0].server.settings = evolve(world.servers[0].server.settings, host="2001:db8::1", port=8443)
        for request, server in (
            (ask("/", "[2001:db8::1]:8443"), "s1"),
            (ask("http://[2001:DB8:0:0::1]:8443/"), "s1"),
            (ask("/", "[2001:db8::1]"), "s1"),
            (ask("/", "[2001:db8::2]:8443"), "403"),
            (ask("/", "[::ffff:1.2.3.4]:8443"), "403"),
        ):
            found, got = self.asked(world, request)
            self.assertEqual(found, server, request)
            if got:
                self.assertIn(b"\r\nHost: [2001:db8::1]:8443\r\n", got)

    def test_partners_are_told_their_own_name_and_a_path(self) -> None:
        """And not the password for this proxy."""
        world = egress(self)
        for request, line, host in (
            (ask("http://Bank.example./a?b"), b"GET /a?b HTTP/1.1", b"bank.example"),
            (ask("http://bank.example"), b"GET / HTTP/1.1", b"bank.example"),
            (ask("/", "PAY.example"), b"GET / HTTP/1.1", b"pay.example:8443"),
            (ask("/", "bank.example", "GET", "Proxy-Authorization: Basic eA=="), b"GET / HTTP/1.1", b"bank.example"),
        ):
            got = self.asked(world, request)[1]
            first, *lines = got.split(b"\r\n")
            self.assertEqual(first, line)
            self.assertEqual([each for each in lines if each.lower().startswith(b"host")], [b"Host: " + host])
            self.assertNotIn(b"proxy-auth", got.lower())
            said = request.partition(b"\r")[0].replace(b"example HTTP", b"example/ HTTP")
            self.assertEqual(world.log[-1].line, said)  # the log says what the client said
        world.check_rest()

    def test_rules_of_both_sections_see_what_the_partner_will_read(self) -> None:
        """Or a name that they refuse could be spelled in another way."""
        for world in (egress(self, front=DENIES), egress(self, DENIES)):
            for request in (
                ask("/", "bank.example"),
                ask("/", "BANK.example."),
                ask("/", "bank.example.:443"),
                ask("/", "bank.example:80"),
                ask("http://Bank.example.:8444/x"),
                ask("https://bank.example/x"),
                b"GET http://bank.example/ HTTP/1.0\r\n\r\n",
                ask("/", "pay.example"),
                ask("/", "pay.example.:08443"),
            ):
                self.assertEqual(self.asked(world, request)[0], "429", request)
            self.assertEqual(self.asked(world, ask("/", "other.example"))[0], "403")
            world.check_rest()

    def test_rules_see_a_path_where_the_partner_will(self) -> None:
        world = egress(self, front=" http-request deny deny_status 429 if { url /x }\n")
        self.assertEqual(self.asked(world, ask("http://bank.example/x"))[0], "429")

    def test_those_of_one_client_one_behind_the_other_go_each_to_their_own(self) -> None:
        world = egress(self)
        client = world.client()
        hosts = ("bank.example", "pay.example", "bank.example:8444", "other.example")
        client.send(b"".join(ask("/", host) for host in hosts))
        found = []
        for _ in range(3):
            busy = [each for each in world.servers if each.busy]
            found.append((busy[0].server.name, b"Host: bank.example\r\n" in busy[0].asked()))
            busy[0].answer()
        self.assertEqual(found, [("s1", True), ("s2", False), ("s3", False)])
        self.assertEqual([status for status, _ in world.flags()], [200, 200, 200, 403])
        world.check_rest()

    def test_what_rules_have_made_of_a_request_counts(self) -> None:
        world = egress(self, rules=" http-request set-header Host pay.example if { path /pay }\n")
        self.assertEqual(self.asked(world, ask("/pay", "bank.example"))[0], "s2")
        self.assertEqual(self.asked(world, ask("/pay", "other.example"))[0], "s2")
        self.assertEqual(self.asked(world, ask("/", "other.example"))[0], "403")

    def test_a_partner_out_of_service_has_no_stand_in(self) -> None:
        world = egress(self)
        world.backend.server_changed(world.servers[0].server, DOWN, "test")
        self.assertEqual(self.asked(world, ask("/", "bank.example"))[0], "503")
        world.backend.set_state(world.servers[1].server, MAINT)
        self.assertEqual(self.asked(world, ask("/", "pay.example"))[0], "503")
        self.assertEqual(self.asked(world, ask("/", "bank.example:8444"))[0], "s3")
        world.check_rest()

    def test_who_waits_for_a_partner_gets_no_other_when_it_falls(self) -> None:
        """It waits on for its own, up to `timeout queue`."""
        for state in (MAINT, DOWN):
            world = egress(self, maxconn=1)
            first, second, _ = world.servers
            clients = [world.client() for _ in range(3)]
            for client, host in zip(clients, ("bank.example", "bank.example", "pay.example"), strict=True):
                client.send(ask("/", host))
            self.assertEqual((len(first.server.queue), len(second.server.queue)), (1, 0))
            if state == MAINT:
                world.backend.set_state(first.server, MAINT)
            else:
                world.backend.server_changed(first.server, DOWN, "test")
            self.assertEqual((len(first.server.queue), len(world.backend.queue)), (1, 0))
            second.answer()
            self.assertFalse(second.busy, "it has a place, and nobody who waits for it")

    def test_who_waits_for_a_partner_that_a_reload_takes_away_is_refused(self) -> None:
        world = egress(self, maxconn=1)
        clients = [world.client() for _ in range(2)]
        for client in clients:
            client.send(ask("/", "bank.example"))
        (waiting,) = world.servers[0].server.queue.waiting
        world.servers[0].server.settings = evolve(world.servers[0].server.settings, host="other.example")
        moved = egress(self, maxconn=1)
        moved.servers[0].server.settings = evolve(moved.servers[0].server.settings, host="other.example")
        waiting.queue.leave(waiting)
        bound = waiting.request.binding
        assert bound is not None
        bound.server.settings = evolve(bound.server.settings, host="gone.example")
        waiting.go_to(moved.backend)
        self.assertEqual(clients[1].take().split(b" ")[1], b"503")
        self.assertEqual(len(moved.backend.queue), 0)

    def test_a_refusal_is_counted_and_told_why(self) -> None:
        world = egress(self)
        self.asked(world, ask("/", "other.example"))
        self.assertEqual((world.frontend.traffic.dreq, world.backend.traffic.dreq), (1, 1))
        self.assertIn(
            ("notice", "backend be: a request is refused: 'other.example' is none of its servers"), world.announced
        )
        self.assertEqual(world.flags()[-1], (403, "PR"))

    def test_after_a_reload_it_is_the_address_that_counts(self) -> None:
        """A server of the same name at another address is another partner."""
        world = egress(self)
        first, second = world.servers[0].server, world.servers[1].server
        binding = ToPartner(first, False, False, False)
        moved = binding.at([second, first])
        assert moved is not None
        self.assertIs(moved.server, first)
        first.settings = evolve(first.settings, host="moved.example")
        second.settings = evolve(second.settings, host="bank.example.", port=443)
        first.name, second.name = "s2", "s1"
        gone = ToPartner(world.servers[2].server, False, False, False)
        second.name = gone.server.name
        self.assertIsNone(gone.at([first, second]))

    @settings(deadline=None, max_examples=200)
    @given(st.text(st.sampled_from("bankpyexml.:0843[]@#?/\\%ABK-\u00e4"), max_size=24), st.booleans())
    def test_no_host_leads_anywhere_but_to_its_own_partner(self, host: str, absolute: bool) -> None:
        world = egress(self)
        found, got = self.asked(world, ask(f"http://{host}/" if absolute else "/", host or "x"))
        if found.startswith("s"):
            number = next(at for at, each in enumerate(world.servers) if each.server.name == found)
            self.assertIn(f"\r\nHost: {NAMES[number]}\r\n".encode(), got)
            self.assertIn(HOSTS[number][0], host.lower())
        guarded = egress(self, front=DENIES)
        self.assertNotIn("s", self.asked(guarded, ask(f"http://{host}/" if absolute else "/", host or "x"))[0])

    @given(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from([80, 443, 8443]), st.booleans()),
            min_size=1,
            unique_by=lambda each: each[:2],
        )
    )
    def test_the_name_that_a_partner_is_told_leads_to_it(self, places: list[tuple[str, int, bool]]) -> None:
        """Whatever else is at its host. Rules are shown that name, and the request is then led by it once more."""
        world = World(self, servers=len(places))
        for far, (host, port, is_tls) in zip(world.servers, places, strict=True):
            tls = model.ServerTLS() if is_tls else None
            far.server.settings = evolve(far.server.settings, host=host, port=port, tls=tls)
        partners = Partners(world.backend, world.backend.report)

        def told(host: str) -> str:
            head = read_request(ask("/", host), Limits())
            found = partners.authority(head)
            assert found is not None
            return found.decode()

        for host, port, is_tls in places:
            for asked in (f"{host}:{port}", host):
                self.assertEqual(told(told(asked)), told(asked))
            if told(f"{host}:{port}") == host:
                self.assertEqual(port, 443 if is_tls else 80)
            else:
                self.assertEqual(told(f"{host}:{port}"), f"{host}:{port}")


class ConfigurationTests(SynchronousTestCase):
    def test_partners_are_named_by_their_own_name_and_reached_at_public_addresses(self) -> None:
        made = read(
            " option egress\n default-server ssl verify required ca-file /ca pool-min-conn 2\n"
            " server a bank.example:443\n server b pay.example:8443 egress-net 10.0.0.0/8,public\n"
        ).backends["b"]
        self.assertTrue(made.egress)
        self.assertEqual([each.known_name for each in made.servers], ["bank.example", "pay.example"])
        self.assertEqual([each.reach for each in made.servers], [("public",), ("public", "10.0.0.0/8")])
        self.assertEqual([each.text for each in read(" server a h:1 egress-net 10.0.0.0/8").notices], [])

    def test_what_cannot_be_is_said(self) -> None:
        for lines, said in (
            (" server a bank.example", "write 'api.example.com:443', say"),
            (" server a 0.0.0.0:443", "its address is what requests name"),
            (" server a /run/socket", "its address is what requests name"),
            (" server a Bank.example:1\n server b bank.example.:1", "requests for bank.example:1 go to the server of"),
            (" server a bank.example:1 backup\n server b pay.example:1", "'backup' says nothing"),
            (" server a 10.0.0.1:443", "add 'egress-net 10.0.0.1' to allow it"),
            (" server a bank.example:1 egress-net bank.example", "takes networks such as 10.0.0.0/8"),
            (" use-server a if TRUE\n server a bank.example:1", "take out 'use-server'"),
            (" cookie C insert\n server a bank.example:1 cookie a", "take out 'cookie'"),
            (" stick-table type ip size 1k\n stick on src\n server a bank.example:1", "take out 'stick'"),
        ):
            self.assertTrue(any(said in text for text in faults(f" option egress\n{lines}")), (lines, said))
        head = HEAD.replace("mode http", "mode tcp")
        self.assertTrue(any("for 'mode http' only" in text for text in faults(" option egress\n server a b.c:1", head)))
