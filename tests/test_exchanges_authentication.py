"""Who may pass: `http-request auth`, `http_auth`, `http_auth_group`, and passwords that take long to check."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.answers import Answers
from reusedproxy.exchanges.routing import CHECKS
from reusedproxy.net.passwords import WAITING_OF_ONE, Passwords
from reusedproxy.net.transport import OPEN
from reusedproxy.wire.whole_answers import read_whole_answer
from tests.clientfakes import OK, World, get
from tests.rulefakes import ruled, sections
from tests.test_net_passwords import Loop, same

#: With `same` in place of crypt(3), a hash is the password itself.
USERS = (
    "group admins users alice,carl\n group readers\n group others\n user alice insecure-password in:clear\n"
    " user bob password hashed groups readers\n user zo\xeb insecure-password p\xe4ss\n user carl password other"
)
RULES = "acl known http_auth(L)\n http-request auth realm Here unless known"


def login(text: str, field: str = "Authorization") -> str:
    return f"{field}: Basic {b64encode(text.encode()).decode()}"


class AuthenticationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop()
        self.hashed: list[bytes] = []

        def crypt(password: bytes, hashed: bytes) -> bytes:
            self.hashed.append(hashed)
            return same(password, hashed)

        self.passwords = Passwords(self.loop, crypt)

    def world(self, rules: str = RULES, **more: Any) -> World:
        return ruled(self, rules, users=USERS, passwords=self.passwords, warm=1, **more)

    def status(self, request: bytes, rules: str = RULES, checks: int = 0) -> int:
        """What a client is told, after as many passwords were checked."""
        world = self.world(rules)
        client = world.client()
        client.send(request)
        self.loop.run(checks)
        if world.server.asked():
            world.server.answer(OK)
        world.check_rest()
        return int(client.take().split()[1])

    def test_nobody_passes_without_a_name(self) -> None:
        """HAProxy's answer, to the byte."""
        world = self.world()
        client = world.client()
        client.send(get("/"))
        self.assertEqual(
            client.take(),
            b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 112\r\ncache-control: no-cache\r\n"
            b'content-type: text/html\r\nwww-authenticate: Basic realm="Here"\r\n\r\n'
            b"<html><body><h1>401 Unauthorized</h1>\nYou need a valid user and password to access this content.\n"
            b"</body></html>\n",
        )
        world.check_rest()

    def test_a_password_in_clear(self) -> None:
        self.assertEqual(self.status(get("/", login("alice:in:clear"))), 200)
        self.assertEqual(self.status(get("/", login("alice:in:clea"))), 401)
        self.assertEqual(self.status(get("/", login("zo\xeb:p\xe4ss"))), 200)
        self.assertEqual(self.hashed, [])

    def test_a_hash_is_checked_once(self) -> None:
        """The next request finds what was found out."""
        self.assertEqual(self.status(get("/", login("bob:hashed")), checks=1), 200)
        self.assertEqual(self.status(get("/", login("bob:hashed"))), 200)
        self.assertEqual(self.status(get("/", login("bob:guess")), checks=1), 401)
        self.assertEqual(self.status(get("/", login("bob:guess"))), 401)
        self.assertEqual(self.hashed, [b"hashed", b"hashed"])

    def test_a_name_that_nobody_has_costs_as_much(self) -> None:
        """As that of some user: hashes of all kinds, and passwords in clear, are asked for by such names, too."""
        asked = [self.asked(f"nobody{number}") for number in range(50)]
        self.assertEqual(set(asked), {(), (b"hashed",), (b"other",)})

    def test_a_name_that_nobody_has_is_not_known_by_another_one(self) -> None:
        """Each name costs a check of its own with the same password: an answer at once would tell that nobody has it,
        or that it is the one whose hash stands for those."""
        self.assertEqual([self.asked(name) for name in ("bob", "carl", "bob")], [(b"hashed",), (b"other",), ()])
        names = [f"nobody{number}" for number in range(50)]
        self.assertIn((b"hashed",), [self.asked(name) for name in names])
        self.passwords._wrong.clear()
        before = [self.asked(name) for name in names]
        self.passwords._wrong.clear()
        self.assertEqual([self.asked(name) for name in names], before)  # always the same, as for a user

    def asked(self, name: str) -> tuple[bytes, ...]:
        """The hashes for which the passwords of this name are checked, which is wrong for all."""
        self.hashed.clear()
        world = self.world()
        client = world.client()
        client.send(get("/", login(f"{name}:guess")))
        self.loop.run(self.passwords.waiting)
        self.assertEqual(client.take()[:12], b"HTTP/1.1 401")
        return tuple(self.hashed)

    def test_only_who_is_asked_waits(self) -> None:
        """Names and passwords that are meant for the server cost nothing where no rule asks for them."""
        rules = "http-request auth unless { path_beg /app } or { http_auth(L) }"
        self.assertEqual(self.status(get("/app", login("bob:else")), rules), 200)
        self.assertEqual(self.hashed, [])
        self.assertEqual(self.status(get("/", login("bob:else")), rules, checks=1), 401)

    def test_rules_that_are_broken_off_go_on(self) -> None:
        """What those before have done is done once, in the backend, too, which counts the request once."""
        world = self.world(
            "http-request add-header X-Front 1\n http-request set-path /a%[path]\n"
            " http-request set-var(sess.n) var(sess.n,0),add(1)\n http-request set-var(txn.n) var(txn.n,0),add(1)",
            backend="http-request add-header X-Back %[var(sess.n)]-%[var(txn.n)]\n"
            " http-request auth unless { http_auth(L) }",
        )
        client = world.client()
        client.send(get("/x", login("bob:hashed")))
        self.assertEqual((world.backend.traffic.stot, world.backend.traffic.scur), (1, 1))
        self.loop.run()
        self.assertTrue(world.server.asked().startswith(b"GET /a/x "))
        self.assertEqual(world.backend.traffic.stot, 1)
        world.server.answer(OK)
        client.send(get("/x", login("bob:hashed")))
        asked = world.server.asked()
        self.assertEqual(asked.count(b"\r\nX-Front: 1\r\n"), 1)
        self.assertIn(b"\r\nX-Back: 2-1\r\n", asked)
        world.server.answer(OK)
        world.check_rest()

    def test_each_list_that_is_asked_is_checked(self) -> None:
        """One after the other, where the same name is in several; but not without end."""
        world = self.world(RULES)
        known = self.patch(self.passwords, "known", lambda *asked: None)
        client = world.client()
        client.send(get("/", login("bob:hashed")))
        self.loop.run(CHECKS)
        self.assertEqual(int(client.take().split()[1]), 503)
        known.restore()

    def test_what_tracks_a_request_counts_it_once(self) -> None:
        """However often its rules run, and whichever section's rules for contents have begun to track it."""
        table, track = "stick-table type ip size 9 store http_req_cnt", "tcp-request content track-sc0 src table fe"
        auth = "http-request auth unless { http_auth(L) }"
        for front, back in ((f"{track}\n {auth}", ""), (auth, track), ("", f"{track}\n {auth}")):
            self.passwords = Passwords(self.loop, same)
            world = self.world(f"{table}\n {front}", backend=back)
            client = world.client()
            client.send(get("/", login("bob:hashed")))
            self.loop.run()
            self.assertTrue(world.server.asked())
            world.server.answer(OK)
            found = world.frontend.tables["fe"]
            self.assertEqual(found.value(found.find("192.0.2.7"), found.slots["http_req_cnt"]), 1, (front, back))
            world.check_rest()

    def test_what_is_counted_before_an_entry_is_tracked_does_not_undo_that(self) -> None:
        """Each guess of a password counts as a request, and who waits for its check among those who are there."""
        table = "stick-table type ip size 9 store http_req_cnt,http_req_rate(10s),conn_cur,gpc0,gpt0"
        for rules, counted in (
            ("http-request set-var(txn.n) src_inc_gpc0()\n http-request track-sc0 src", 1),
            (
                "http-request deny if { src_inc_gpc0() gt 9 }\n http-request track-sc0 src\n"
                " http-request track-sc1 src",
                2,
            ),
            ("tcp-request content track-sc0 src\n http-request sc-inc-gpc0(0)\n http-request track-sc1 src", 2),
            (
                "tcp-request content track-sc0 src\n http-request sc-set-gpt0(0) 5\n http-request sc-inc-gpc0(0)\n"
                " http-request track-sc1 src",
                2,
            ),
        ):
            self.passwords = Passwords(self.loop, same)
            world = self.world(f"{table}\n {rules}\n {RULES}")
            client = world.client()
            for guess in range(1, 4):
                client.send(get("/", login(f"bob:{guess}")))
                found = world.frontend.tables["fe"]
                row = found.find("192.0.2.7")
                waiting = found.value(row, found.slots["conn_cur"])
                self.assertEqual((waiting, found.uses[row]), (counted, counted), rules)
                self.loop.run()
                self.assertEqual(client.take()[:12], b"HTTP/1.1 401")
                values = [found.value(row, found.slots[name]) for name in ("http_req_cnt", "http_req_rate", "gpc0")]
                self.assertEqual(values, [guess * counted, guess * counted, guess], rules)
                self.assertEqual(found.value(row, found.slots["conn_cur"]), 0, rules)
            world.check_rest()

    def test_no_client_names_the_address_that_a_rule_before_asks_for(self) -> None:
        rules = (
            "http-request allow if { src 10.1.1.1 }\n http-request set-src hdr(x-forwarded-for)\n"
            " http-request auth unless { http_auth(L) }"
        )
        request = get("/", login("bob:wrong"), "X-Forwarded-For: 10.1.1.1")
        self.assertEqual(self.status(request, rules, checks=1), 401)

    def test_what_the_frontend_has_said_of_persistence_stays_where_its_backend_s_rules_begin_again(self) -> None:
        world = self.world(
            "http-request set-timeout client 7s",
            backend="http-request wait-for-body time 2s\n http-request auth unless { http_auth(L) }",
        )
        routing: Any = world.frontend.routing
        routing.routes["be"].persist_rules.append((None, "force", None))
        client = world.client()
        client.send(f"POST / HTTP/1.1\r\nHost: a\r\n{login('bob:hashed')}\r\nContent-Length: 1\r\n\r\n".encode())
        exchange: Any = client.connection.exchange
        self.assertEqual((exchange.persist, exchange.own_timeouts), ("force", {"client": 7.0}))
        client.send(b"x")
        self.assertEqual((exchange.persist, exchange.own_timeouts), ("force", {"client": 7.0}))
        self.loop.run()
        world.server.asked()
        world.server.answer(OK)
        world.check_rest()

    def test_a_page_that_asks_for_a_password_counts_its_refusal_once(self) -> None:
        page = "http-error status 403 content-type a/b lf-string <%[http_auth_group(L)]>"
        world = self.world(f"{page}\n http-request deny if {{ http_auth_user bob }}")
        client = world.client()
        client.send(get("/", login("bob:hashed")))
        self.loop.run()
        answer = client.take()
        self.assertEqual((answer[:12], answer[-5:], world.frontend.traffic.dreq), (b"HTTP/1.1 403", b"<bob>", 1))
        world.check_rest()

    def test_groups(self) -> None:
        """Named on either line; without a right password nobody is in any."""
        rules = "http-request auth unless { http_auth_group(L) admins others }"
        self.assertEqual(self.status(get("/", login("alice:in:clear")), rules), 200)
        self.assertEqual(self.status(get("/", login("alice:wrong")), rules), 401)
        self.assertEqual(self.status(get("/", login("bob:hashed")), rules, checks=1), 401)
        rules = "http-request deny unless { http_auth_group(L) readers }"
        self.assertEqual(self.status(get("/", login("bob:hashed")), rules), 200)

    def test_a_rule_about_the_scheme_sees_every_spelling(self) -> None:
        rules = "http-request deny deny_status 403 if { http_auth_type Basic Bearer }"
        for value, status in (
            ("Basic YTpi", 403), ("basic YTpi", 403), ("Basic OmI=", 403), ("BEARER abc", 403), ("Digest x", 200),
        ):  # fmt: skip
            self.assertEqual(self.status(get("/", f"Authorization: {value}"), rules), status, value)

    def test_the_name_goes_on_to_the_server(self) -> None:
        world = self.world(
            f"{RULES}\n http-request set-header X-User %[http_auth_group(L)]\n"
            " http-request set-header X-Said %[http_auth_user]/%[http_auth_pass]/%[http_auth_type]\n"
            " http-request del-header Authorization"
        )
        world.client().send(get("/", login("alice:in:clear"), "X-User: root"))
        asked = world.server.asked()
        self.assertIn(b"\r\nX-User: alice\r\nX-Said: alice/in:clear/Basic\r\n", asked)
        self.assertNotIn(b"Authorization", asked)
        self.assertNotIn(b"root", asked)

    def given(self, text: str) -> str:
        """The rule that puts this name and password in the place of the client's."""
        name, _, value = login(text).partition(": ")
        return f'http-request set-header {name} "{value}"'

    def test_who_asks_is_judged_by_what_rules_have_left_of_the_field(self) -> None:
        """As in HAProxy, which reads the field at each look: the server gets no other than the one that was judged."""
        look = "http-request set-var(txn.a) http_auth_user\n http-request set-var(txn.b) http_auth(L)\n"
        take, give = "http-request del-header Authorization", self.given("alice:no")
        token = "http-request set-header Authorization Bearer\\ x"
        for rules, status in (
            (f"{look} {take}\n {RULES}", 401),
            (f"{look} {RULES}\n {take}\n http-request deny unless known", 403),
            (f"{look} {RULES}\n {take}\n http-request deny unless {{ http_auth_group(L) admins }}", 403),
            (f"{look} {give}\n http-request deny if {{ http_auth_pass no }}", 403),
            (f"{look} {give}\n http-request deny unless {{ http_auth_pass in:clear }}", 403),
            (f"{look} {give}\n {RULES}", 401),
            (f"{look} {token}\n {RULES}", 401),
            (f"{look} {token}\n http-request deny if {{ http_auth_type Bearer }}", 403),
            (f"{look} {give}\n http-request replace-header Authorization .* Digest\\ x\n {RULES}", 401),
            (f"{look} {RULES}", 200),
        ):
            self.assertEqual(self.status(get("/", login("alice:in:clear")), rules), status, rules)

    def test_a_backend_judges_by_what_the_frontend_has_left_of_the_field(self) -> None:
        world = self.world(
            "http-request set-var(txn.a) http_auth_user\n http-request del-header Authorization",
            backend="http-request deny unless { http_auth(L) }",
        )
        client = world.client()
        client.send(get("/", login("alice:in:clear")))
        self.assertIn(b" 403 ", client.take())
        world.check_rest()

    def test_who_has_been_found_to_be_nobody_stays_so(self) -> None:
        """As in HAProxy: what a rule writes into the field then counts for nothing."""
        give = self.given("alice:in:clear")
        for look in ("http_auth_user", "http_auth_pass", "http_auth(L)", "http_auth_type", "http_auth_bearer"):
            rules = f"http-request set-var(txn.a) {look}\n {give}\n {RULES}"
            for value in ((), ("Authorization: Digest x",), ("Authorization: Basic x",)):
                self.assertEqual(self.status(get("/", *value), rules), 401, (look, value))
        self.assertEqual(self.status(get("/"), f"{give}\n {RULES}"), 200)
        bearer = "http-request deny unless { http_auth_bearer abc }"
        token = 'http-request set-header Authorization "Bearer abc"'
        self.assertEqual(self.status(get("/"), f"{token}\n {bearer}"), 200)
        self.assertEqual(self.status(get("/"), f"http-request set-var(txn.a) http_auth_user\n {token}\n {bearer}"), 403)

    def test_a_proxy_is_asked_by_the_target_that_the_client_has_sent(self) -> None:
        """`option http-use-proxy-header`, as in HAProxy, whatever rules make of the target."""
        as_proxy, usual = login("alice:in:clear", "Proxy-Authorization"), login("alice:in:clear")
        for rule, target in (
            ("replace-uri http://[^/]*(/.*) \\1", "http://a/x"),
            ("set-uri http://a/z", "/x"),
        ):
            rules = f"http-request {rule}\n {RULES}"
            judged, other, asks = (as_proxy, usual, 407) if target[0] == "h" else (usual, as_proxy, 401)
            for field, status in ((judged, b" 200 "), (other, b" %d " % asks)):
                world = self.world(rules)
                world.frontend.settings = evolve(world.frontend.settings, uses_proxy_header=True)
                client = world.client()
                client.send(get(target, field))
                if world.server.busy:
                    world.server.answer(OK)
                self.assertIn(status, client.take()[:14], (rule, field))
                world.check_rest()

    def test_a_field_that_a_rule_took_out_before_counts_for_nothing(self) -> None:
        rules = f"http-request del-header Authorization\n {RULES}"
        self.assertEqual(self.status(get("/", login("alice:in:clear")), rules), 401)

    def test_what_a_client_sends_meanwhile_is_kept(self) -> None:
        """Of the body, and of the next request."""
        world = self.world()
        client = world.client()
        head = f"POST /form HTTP/1.1\r\nHost: a\r\n{login('bob:hashed')}\r\nContent-Length: 6\r\n\r\n"
        client.send(head.encode() + b"ab")
        client.send(b"cd")
        client.send(b"ef" + get("/next", login("bob:hashed")))
        self.assertEqual(world.server.asked(), b"")
        self.loop.run()
        self.assertTrue(world.server.asked().endswith(b"\r\n\r\nabcdef"))
        world.server.answer(OK)
        self.assertTrue(world.server.asked().startswith(b"GET /next "))
        world.server.answer(OK)
        self.assertEqual(client.take().count(b"HTTP/1.1 200"), 2)

    def test_a_client_that_leaves_meanwhile_is_gone(self) -> None:
        world = self.world()
        client = world.client()
        client.send(get("/", login("bob:hashed")))
        client.wire.reset()
        self.loop.run()
        self.assertEqual(world.server.asked(), b"")
        world.check_rest()

    def test_a_client_that_closes_its_side_meanwhile_is_answered(self) -> None:
        """As where nothing takes time: what it has closed its side for is for the backend's `abortonclose` to say."""
        for abortonclose, password, answer in (
            (None, "hashed", b"HTTP/1.1 200"),
            (False, "hashed", b"HTTP/1.1 200"),
            (True, "hashed", b"HTTP/1.1 400"),
            (True, "guess", b"HTTP/1.1 401"),
        ):
            self.passwords = Passwords(self.loop, same)
            world = self.world()
            world.backend.settings = evolve(world.backend.settings, abortonclose=abortonclose)
            client = world.client()
            client.send(get("/", login(f"bob:{password}")))
            client.wire.eof()
            self.assertEqual((client.take(), client.wire.state), (b"", OPEN))
            self.loop.run()
            if answer.endswith(b"200"):
                world.server.answer(OK)
            self.assertEqual(client.take()[:12], answer, (abortonclose, password))
            world.check_rest()

    def test_guesses_without_end_are_refused(self) -> None:
        """More than may wait at once find an error, and let nobody in."""
        world = self.world()
        clients = [world.client() for _ in range(WAITING_OF_ONE + 1)]
        for number, client in enumerate(clients):
            client.send(get("/", login(f"bob:guess{number}")))
        self.assertEqual(int(clients[-1].take().split()[1]), 503)
        self.loop.run(WAITING_OF_ONE)
        self.assertEqual([int(client.take().split()[1]) for client in clients[:-1]], [401] * WAITING_OF_ONE)
        self.assertEqual(world.server.asked(), b"")

    def test_who_has_many_addresses_is_one_client(self) -> None:
        """All addresses of an IPv6 network; others have a share of their own."""
        world = self.world()
        addresses = [f"2001:db8::{number:x}:1" for number in range(1, WAITING_OF_ONE + 1)]
        for address in addresses:
            world.client((address, 1)).send(get("/", login(f"bob:{address}")))
        for address, waits in (
            ("2001:db8::1:0:0:1", False),
            ("2001:db8:0:1::1", True),
            ("::ffff:192.0.2.1", True),
            ("::ffff:192.0.2.2", True),
            ("fe80::1%eth0", True),
        ):
            client = world.client((address, 1))
            client.send(get("/", login(f"bob:{address}")))
            self.assertEqual(client.take()[:12], b"" if waits else b"HTTP/1.1 503", address)
        self.loop.run(WAITING_OF_ONE + 4)

    def test_an_error_page_may_ask_for_who_is_not_known(self) -> None:
        """A guess too many is answered with the proxy's own page then."""
        world = self.world()
        said = sections("http-error status 503 content-type a lf-string %[http_auth(L)]", users=USERS)
        world.frontend.errors = Answers().pages(said.frontends["fe"].errors)
        clients = [world.client() for _ in range(WAITING_OF_ONE + 1)]
        for number, client in enumerate(clients):
            client.send(get("/", login(f"bob:guess{number}")))
        self.assertEqual(int(clients[-1].take().split()[1]), 503)
        self.loop.run(WAITING_OF_ONE)

    def test_a_realm_of_its_own_is_the_section_s_name(self) -> None:
        world = self.world("http-request auth if { path /a }", backend="http-request auth")
        for path, name in (("/a", b"fe"), ("/b", b"be")):
            client = world.client()
            client.send(get(path))
            self.assertIn(b'\r\nwww-authenticate: Basic realm="%b"\r\n' % name, client.take())

    def test_an_error_page_says_it_too(self) -> None:
        """Once, whatever the page itself says."""
        page = b"HTTP/1.1 401 Own\r\nWWW-Authenticate: x\r\nContent-Length: 4\r\n\r\nwho?"
        world = self.world("http-request auth")
        world.frontend.errors = {401: read_whole_answer(page)}
        client = world.client()
        client.send(get("/"))
        said = client.take()
        self.assertEqual(
            said,
            b'HTTP/1.1 401 Own\r\ncontent-length: 4\r\nwww-authenticate: Basic realm="fe"\r\n\r\nwho?',
        )
