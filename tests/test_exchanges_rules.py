"""Rules at work: what reaches the server, what the client is told, and in which order things are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.config.model.proxies import ForwardFor
from reusedproxy.exchanges.serving import Made
from reusedproxy.measures.traffic import Traffic
from reusedproxy.wire.heads import Limits, RequestHead
from tests.clientfakes import GET, OK, World, get, response
from tests.rulefakes import ruled


def head_of(data: bytes) -> list[bytes]:
    return data.partition(b"\r\n\r\n")[0].split(b"\r\n")


class RequestTests(SynchronousTestCase):
    """`http-request`."""

    def asked(self, rules: str, request: bytes, answer: bytes = OK, **world: Any) -> list[bytes]:
        """The lines that reach the server."""
        made = ruled(self, rules, warm=1, **world)
        made.client().send(request)
        asked = made.server.asked()
        self.assertTrue(asked, made.flags())
        made.server.answer(answer)
        made.check_rest()
        return head_of(asked)

    def answered(self, rules: str, request: bytes, **world: Any) -> tuple[bytes, World]:
        """What the client is told without a server."""
        made = ruled(self, rules, warm=1, **world)
        client = made.client()
        client.send(request)
        self.assertEqual(made.server.asked(), b"")
        data = client.take()
        made.check_rest()
        return data, made

    def test_a_client_of_http_1_0_that_asks_for_it_is_kept(self) -> None:
        """And told so once; http-after-response has its say in that, too."""
        for rule in (
            "deny",
            "return status 204",
            "return status 200 content-type text/plain string a",
            "redirect location /",
            "return status 503",
        ):
            made = ruled(self, f"http-request {rule}\n http-after-response set-header X-A 1", warm=1)
            client = made.client()
            for method in ("GET", "HEAD") * 2:
                client.send(get("/", "Connection: keep-alive", method=method, version="1.0"))
                head = client.take().partition(b"\r\n\r\n")[0] + b"\r\n"
                self.assertEqual(head.count(b"\r\nconnection: keep-alive\r\n"), 1, rule)
                self.assertEqual(head.lower().count(b"connection"), 1, rule)
                self.assertIn(b"X-A: 1\r\n", head)
            client.wire.eof()
            made.check_rest()

    def test_headers_are_set_added_and_deleted(self) -> None:
        """In order; a later rule sees what an earlier one has done."""
        rules = (
            "http-request set-header X-A one\n http-request add-header X-A two\n"
            " http-request set-header X-B %[req.hdr(x-a,1)]\n"
            " http-request del-header X-C\n http-request del-header x-d -m beg"
        )
        asked = self.asked(rules, get("/", "x-a: client", "X-C: 1", "X-Dx: 1", "X-E: 1"))
        self.assertEqual(asked, [b"GET / HTTP/1.1", b"Host: a", b"X-E: 1", b"X-A: one", b"X-A: two", b"X-B: one"])

    def test_host_goes_on_until_a_rule_sets_another(self) -> None:
        """Also where one sets what the client's TLS connection says, which no client may say in other headers."""
        rules = (
            "http-request set-header X-Was %[req.hdr(host)]\n"
            " http-request set-header Host %[ssl_fc_sni] if { ssl_fc }\n"
            " http-request set-header X-SNI %[ssl_fc_sni] if { ssl_fc }"
        )
        asked = self.asked(rules, get("/", "X-SNI: a"))
        self.assertEqual(asked, [b"GET / HTTP/1.1", b"Host: a", b"X-Was: a"])

    def test_that_connections_are_kept_alive_goes_without_saying(self) -> None:
        rules = "http-request set-header Connection keep-alive\n http-request set-header Keep-Alive timeout=5"
        for fields in ((), ("Connection: keep-alive, x", "X: 1", "Keep-Alive: max=2")):
            self.assertEqual(self.asked(rules, get("/", *fields)), [b"GET / HTTP/1.1", b"Host: a"])

    def test_what_is_no_name_deletes_nothing(self) -> None:
        """As in HAProxy, of expressions that `rspidel` took."""
        asked = self.asked("http-request del-header ^X-A:.*", get("/", "X-A: 1", "-X-A---: 1", "X-AB: 1"))
        self.assertEqual(asked[2:], [b"X-A: 1", b"-X-A---: 1", b"X-AB: 1"])

    def test_a_deleted_host_is_added_again(self) -> None:
        """As in HAProxy; rules between see none."""
        for verb in ("add", "set"):
            rules = "http-request del-header Host\n http-request set-header X-Was <%[req.hdr(host)]>"
            asked = self.asked(f"{rules}\n http-request {verb}-header Host other", get("/", "X: 1"))
            self.assertEqual(asked, [b"GET / HTTP/1.1", b"X: 1", b"X-Was: <>", b"Host: other"])

    def test_headers_are_replaced(self) -> None:
        """All of a value, or of a part of it, in which the expression is found, as in HAProxy."""
        rules = (
            r"http-request replace-header Cookie foo=([^;]*);(.*) 'foo=\1;ip=%[src];\2'" + "\n"
            r" http-request replace-value X-List b+ <\0>"
        )
        asked = self.asked(rules, get("/", "Cookie: foo=foobar; expires=1", "X-List: a, bbb ,bb"))
        self.assertEqual(asked[2:], [b"Cookie: foo=foobar;ip=192.0.2.7; expires=1", b"X-List: a,<bbb>,<bb>"])
        asked = self.asked("http-request replace-value X-List ^b.* '<\\0>'", get("/", 'X-List: "a,b" , b"c,d", e'))
        self.assertEqual(asked[2:], [b'X-List: "a,b" ,<b"c,d">, e'])

    def test_the_first_line(self) -> None:
        """Path, query and target; what cannot stand there is escaped."""
        for rules, target, expected in (
            ("set-path /new%[path]", "/old?q=1", "/new/old?q=1"),
            ("set-path '/a b#c'", "/old?q=1", "/a%20b%23c?q=1"),
            ("set-path /a?b=%[path]", "/old", "/a?b=/old"),
            ("set-path /a?b", "/old?q=1", "/a?b?q=1"),
            ("set-path /a/%[query]", "/old?q=b?c", "/a/q=b%3Fc?q=b?c"),
            ("set-pathq /a?b=%[query]", "/old?q=1", "/a?b=q=1"),
            ("set-query x=%[path]", "/old?q=1", "/old?x=/old"),
            ("set-query %[req.hdr(none)]", "/old?q=1", "/old?"),
            ("set-query %[req.hdr(none)]", "/old?", "/old?"),
            ("set-query %[req.hdr(none)]", "/old", "/old"),
            ("set-query %[query]", "http://a/old?", "http://a/old?"),
            ("set-uri /all", "/old?q=1", "/all"),
            (r"replace-path (.*) /foo\1", "/bar?q=1", "/foo/bar?q=1"),
            (r"replace-path /([^/]*)/(.*) /\2/\1", "/a/b", "/b/a"),
            (r"replace-path /api(.*) \1", "/api/v1?q", "/v1?q"),
            (r"replace-path /api(.*) \1", "/api", "/"),
            (r"replace-path /api(.*) \1", "/api?q", "/?q"),
            (r"replace-path /api(.*) \1", "http://a/api", "http://a/"),
            ("set-path %[path,regsub(^/api,)]", "/api?q", "/?q"),
            ("set-pathq %[req.hdr(none)]", "/a?b", "/"),
            (r"replace-path ^/item/(.*) /show?id=\1", "/item/7", "/show?id=7"),
            (r"replace-path .* /%[query]", "/a?q=b?c", "/q=b%3Fc?q=b?c"),
            (r"replace-path .* /%[req.hdr(x)]", "/a?q", r"/?/a%3F\x3f?q"),
            (r"replace-pathq ([^?]*)(\?(.*))? \1/x\2", "/a?b", "/a/x?b"),
            (r"replace-uri ^/api/(.*) /\1", "/api/v1?x", "/v1?x"),
            (r"replace-uri ^/api/(.*) /\1", "/other", "/other"),
            ("set-path /new", "http://a/old?q", "http://a/new?q"),
            ("set-path /new?x", "*", "/new?x"),
            ("set-pathq /new?x", "*", "/new?x"),
            ("set-query x", "*", "*"),
            ("set-uri /new", "*", "/new"),
            ("replace-path (.*) /new", "*", "*"),
            ("set-uri *", "*", "*"),
        ):
            method = "OPTIONS" if target == "*" else "GET"
            asked = self.asked(f"http-request {rules}", get(target, r"X: \x3f\0?\\x3f", method=method))
            self.assertEqual(asked[0].decode(), f"{method} {expected} HTTP/1.1", rules)

    def test_host_is_replaced_where_it_stands(self) -> None:
        """And in an absolute target, which must say the same."""
        rules = "http-request set-header Host new.example"
        self.assertEqual(self.asked(rules, get("/")), [b"GET / HTTP/1.1", b"Host: new.example"])
        self.assertEqual(
            self.asked(rules, get("http://a/x")), [b"GET http://new.example/x HTTP/1.1", b"Host: new.example"]
        )
        for host, asked, sent in (
            ("new", "a:443", (b"CONNECT new:443", b"Host: new")),
            ("new", "a:8080", (b"CONNECT new:8080", b"Host: new:8080")),
            ("new:", "a:8080", (b"CONNECT new:8080", b"Host: new:8080")),
            ("new:1", "a:8080", (b"CONNECT new:1", b"Host: new:1")),
        ):
            request = f"CONNECT {asked} HTTP/1.1\r\nHost: {asked}\r\n\r\n".encode()
            refusal = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
            line, *fields = self.asked(f"http-request set-header Host {host}", request, refusal)
            self.assertEqual((line, fields), (sent[0] + b" HTTP/1.1", [sent[1]]))
        rules = "http-request set-uri http://b/x"
        self.assertEqual(self.asked(rules, get("/y")), [b"GET http://b/x HTTP/1.1", b"Host: b"])
        for uri, target, path, authority in (
            ("HTTP://Q:80", "HTTP://Q/", "/", "Q"),
            ("http://q?x", "http://q/?x", "/", "q"),
            ("https://q:443/z", "https://q/z", "/z", "q"),
            ("http://q:443/z", "http://q:443/z", "/z", "q:443"),
        ):
            rules = f"http-request set-uri {uri}\n http-request set-header Seen %[path]"
            expected = [f"GET {target} HTTP/1.1", f"Host: {authority}", f"Seen: {path}"]
            self.assertEqual([line.decode() for line in self.asked(rules, get("/y"))], expected)
        rules = "http-request replace-header Host (.*):.* \\1"
        self.assertEqual(self.asked(rules, get("/").replace(b"Host: a", b"Host: a:8080"))[1], b"Host: a")

    def test_what_cannot_be_sent_is_refused(self) -> None:
        """A Host that is none would be the server's problem to guess at."""
        data, world = self.answered("http-request set-header Host %[req.hdr(x)]", get("/", "X: a b"))
        self.assertEqual((data[:12], world.flags()), (b"HTTP/1.1 400", [(400, "PR")]))
        data, world = self.answered("", get("/", "X: a"), backend="http-request set-path %[req.hdr(x)]")
        self.assertEqual((data[:12], world.flags()), (b"HTTP/1.1 400", [(400, "PR")]))

    def test_deny(self) -> None:
        """403, or the status that is asked for; the client may ask again, and the server is spared."""
        world = ruled(self, "http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 }", warm=1)
        client = world.client()
        client.send(get("/admin/x"))
        self.assertEqual(
            client.take(),
            b"HTTP/1.1 403 Forbidden\r\ncontent-length: 93\r\n"
            b"cache-control: no-cache\r\ncontent-type: text/html\r\n\r\n"
            b"<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n",
        )
        client.send(get("/other"))
        world.server.answer()
        self.assertEqual(client.take(), OK)
        office = world.client(("10.1.2.3", 99))
        office.send(get("/admin/x"))
        world.server.answer()
        self.assertEqual(office.take(), OK)
        self.assertEqual(world.flags(), [(403, "PR"), (200, "--"), (200, "--")])
        self.assertEqual((world.frontend.traffic.dreq, world.frontend.traffic.intercepted), (1, 0))
        world.check_rest()

    def test_deny_of_a_backend(self) -> None:
        """It counts at both, and the log names the backend."""
        data, world = self.answered("", get("/"), backend="http-request deny deny_status 429")
        self.assertTrue(data.startswith(b"HTTP/1.1 429 Too Many Requests\r\n"))
        self.assertEqual((world.frontend.traffic.dreq, world.backend.traffic.dreq), (1, 1))
        self.assertEqual((world.frontend.traffic.bin, world.backend.traffic.bin), (len(get("/")), len(get("/"))))
        self.assertEqual((world.backend.traffic.stot, world.log[0].backend), (1, world.backend))

    def test_a_service_answers_in_place_of_a_server(self) -> None:
        """In a frontend and in a backend."""

        class Service:
            log_name = "<ONE>"

            def answer(self, head: RequestHead) -> Made:
                return Made(200, "text/plain", iter([b"all ", b"of it"]))

        rule = "http-request use-service prometheus-exporter if { path_beg /metrics }"
        for rules, backend in ((rule, ""), ("", rule)):
            world = ruled(self, rules, backend, warm=1)
            world.frontend.services = {"prometheus-exporter": Service()}
            client = world.client()
            client.send(get("/metrics"))
            self.assertTrue(client.take().endswith(b"content-type: text/plain\r\n\r\nall of it"))
            client.send(get("/other"))
            world.server.answer()
            self.assertEqual(client.take(), OK)
            self.assertEqual(world.flags(), [(200, "LR"), (200, "--")])
            self.assertEqual([each.course.server_label for each in world.log], ["<ONE>", "s1"])
            client.wire.eof()
            world.check_rest()

    def test_what_is_dropped_has_been_received(self) -> None:
        """As in HAProxy its bytes count, and its status is one of the others, of a backend, too."""
        for rule in ("silent-drop", "reject"):
            for rules, backend in ((rule, ""), ("", rule)):
                said = [f"http-request {each}" if each else "" for each in (rules, backend)]
                world = ruled(self, said[0], said[1])
                client = world.client()
                client.send(get("/"))
                self.assertEqual(client.take(), b"")
                self.assertEqual(world.log[0].course.bytes_in, len(get("/")))
                traffic = world.backend.traffic if backend else world.frontend.traffic
                self.assertEqual((traffic.bin, traffic.hrsp), (len(get("/")), [1, 0, 0, 0, 0, 0]))
                client.wire.eof()
                world.check_rest()

    def test_a_server_has_answered_what_it_has_whatever_rules_make_of_that(self) -> None:
        """As in HAProxy its counters have its own status; and nobody else's are of requests answered here."""
        for rule, status in (("deny deny_status 502", 502), ("return status 200", 200), ("set-status 298", 298)):
            for length in (2, 70_000):
                world = ruled(self, f"http-response {rule} if {{ status 404 }}", warm=1)
                client = world.client()
                client.send(get("/"))
                world.server.answer(response(status="404 Not Found", body=b"x" * length))
                self.assertTrue(client.take().startswith(b"HTTP/1.1 %d" % status))
                server = world.log[0].server
                assert server is not None
                self.assertEqual(server.traffic.hrsp, [0, 0, 0, 0, 1, 0], rule)
                self.assertEqual(world.backend.traffic.hrsp[status // 100], 1)
                self.assertEqual(world.frontend.traffic.intercepted, 0)
                client.wire.eof()
                world.check_rest()

    def test_rules_for_responses_apply_to_an_answer_of_a_service(self) -> None:
        """As in HAProxy, whether it goes out whole or in chunks: they edit it, answer in its place, or drop it."""

        class Service:
            log_name = "<ONE>"
            pieces: tuple[bytes, ...] = ()
            clock = Clock()

            def answer(self, head: RequestHead) -> Made:
                return Made(200, "text/plain", self.slowly())

            def slowly(self) -> Iterator[bytes]:
                for piece in self.pieces:
                    self.clock.advance(0.01 * (len(self.pieces) - 1))
                    yield piece

        service = Service()
        use = "http-request use-service prometheus-exporter"
        after = "http-after-response set-header X-After %[status]"

        def answered(rules: str, backend: str = "", method: str = "GET") -> tuple[bytes, str]:
            world = ruled(self, f"{rules}\n{after}", backend)
            world.frontend.services = {"prometheus-exporter": service}
            service.clock = world.clock
            client = world.client()
            client.send(get("/").replace(b"GET", method.encode()))
            for _ in service.pieces:
                world.advance(0)
            data = client.take()
            client.wire.eof()
            world.check_rest()
            (flags,) = world.flags()
            return data, f"{flags[0]} {flags[1]} {world.frontend.traffic.dresp}"

        for service.pieces, framed in (((b"all of it",), b"content-length"), ((b"a" * 16384, b"b"), b"chunked")):
            data, said = answered(f"{use}\nhttp-response set-header X-Res 1\nhttp-response set-status 298")
            self.assertTrue(data.startswith(b"HTTP/1.1 298 "), data[:100])
            self.assertIn(b"\r\nX-Res: 1\r\nX-After: 298\r\n\r\n", data)
            self.assertIn(framed, data)
            self.assertIn(service.pieces[-1], data)
            self.assertEqual(said, "298 LR 0")
            data, said = answered("", f"{use}\nhttp-response deny deny_status 502 if {{ status 200 }}")
            self.assertTrue(data.startswith(b"HTTP/1.1 502 "), data[:100])
            self.assertIn(b"\r\nX-After: 502\r\n", data)
            self.assertNotIn(service.pieces[0], data)
            self.assertEqual(said, "502 LR 1")
            self.assertEqual(answered(f"{use}\nhttp-response silent-drop"), (b"", "200 LR 0"))
            for test in ("res.body -m beg a", "res.body -m sub a", "res.body_len ge 9", "res.body_size ge 9"):
                data, said = answered(f"{use}\nhttp-response wait-for-body time 1s\nhttp-response deny if {{ {test} }}")
                self.assertEqual((data[:12], said), (b"HTTP/1.1 502", "502 LR 1"), test)
                # As in HAProxy, what is not sent is there for rules.
                data, said = answered(f"{use}\nhttp-response deny if {{ {test} }}", method="HEAD")
                self.assertEqual((data[:12], said), (b"HTTP/1.1 502", "502 LR 1"), test)
            data, said = answered(f"{use}\nhttp-response set-header X-Length %[res.body_len]", method="HEAD")
            self.assertEqual((data[:12], data[-4:], said), (b"HTTP/1.1 200", b"\r\n\r\n", "200 LR 0"))

    def test_a_body_that_is_still_coming_ends_the_connection(self) -> None:
        """It must not be read as the next request."""
        world = ruled(self, "http-request deny", warm=1)
        client = world.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nGET /")
        self.assertIn(b"\r\nconnection: close\r\n", client.take())
        self.assertTrue(client.connection.state >= 3)
        client.wire.eof()
        world.check_rest()

    def test_head_gets_no_body(self) -> None:
        """RFC 9110 section 9.3.2."""
        for rule in ("deny", "return status 200 content-type text/plain string ok"):
            data, _ = self.answered(f"http-request {rule}", get("/", method="HEAD"))
            self.assertTrue(data.endswith(b"\r\n\r\n"), data)

    def test_an_old_client_is_told_that_its_connection_ends(self) -> None:
        """HTTP/1.0."""
        data, _ = self.answered("http-request deny", get("/", version="1.0"))
        self.assertIn(b"\r\nconnection: close\r\n", data)

    def test_return(self) -> None:
        """An answer of our own, in HAProxy's form."""
        for rule, expected in (
            ("status 200 content-type text/plain string ok",
             b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok"),
            ("content-type text/plain lf-string 'm=%[method] %HQ' hdr X-Foo %[path] hdr X-Bar %[req.hdr(none)]",
             b"HTTP/1.1 200 OK\r\nX-Foo: /x\r\ncontent-length: 8\r\ncontent-type: text/plain\r\n\r\nm=GET ?q"),
            ("", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            ("status 204", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("status 404", b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        ):  # fmt: skip
            data, world = self.answered(f"http-request return {rule} if {{ path /x }}", get("/x?q"))
            self.assertEqual(data, expected)
            self.assertEqual(world.flags()[0][1], "LR")
            self.assertEqual(world.frontend.traffic.intercepted, 1)

    def test_redirect(self) -> None:
        """Each kind, as HAProxy writes it."""
        for rule, target, code, location, more in (
            ("location /x", "/", 302, "/x", b"cache-control: no-cache\r\n"),
            ("location /x?a=%[path] code 303", "/p", 303, "/x?a=/p", b"cache-control: no-cache\r\n"),
            ("prefix http://h code 301", "/p?x=1", 301, "http://h/p?x=1", b""),
            ("prefix http://h drop-query append-slash", "/p?x=1", 302, "http://h/p/", b"cache-control: no-cache\r\n"),
            ("prefix /", "/q?a", 302, "/q?a", b"cache-control: no-cache\r\n"),
            ("scheme https code 308", "/s?a", 308, "https://a/s?a", b""),
            ("location / set-cookie SEEN=1", "/", 302, "/",
                b"cache-control: no-cache\r\nset-cookie: SEEN=1; path=/;\r\n"),
            ("location / clear-cookie A=", "/", 302, "/",
             b"cache-control: no-cache\r\nset-cookie: A=; path=/; Max-Age=0;\r\n"),
        ):  # fmt: skip
            data, world = self.answered(f"http-request redirect {rule}", get(target))
            status, *fields = data.split(b"\r\n", 1)
            self.assertTrue(status.startswith(b"HTTP/1.1 %d " % code), data)
            self.assertEqual(
                fields[0], b"location: %b\r\n%bcontent-length: 0\r\n\r\n" % (location.encode(), more), rule
            )
            self.assertEqual(world.flags(), [(code, "LR")])

    def test_redirect_as_a_word_of_its_own(self) -> None:
        """`redirect scheme https code 301 if !{ ssl_fc }`, behind all `http-request` rules."""
        rules = "http-request set-header Host b\n redirect scheme https code 301 if !{ ssl_fc }"
        data, _ = self.answered(rules, get("/p"))
        self.assertIn(b"\r\nlocation: https://b/p\r\n", data)

    def test_an_empty_redirect_is_none(self) -> None:
        """With `ignore-empty`; as in HAProxy, to a location only: a prefix that is empty is one to a path."""
        rules = "http-request redirect location %[req.hdr(x)] ignore-empty"
        self.assertEqual(len(self.asked(rules, get("/"))), 2)
        data, _ = self.answered(rules.replace("location", "prefix"), get("/p"))
        self.assertIn(b"\r\nlocation: /p\r\n", data)

    def test_allow_ends_the_section(self) -> None:
        """And no other: the backend's rules count all the same."""
        rules = "http-request allow if { path /in }\n http-request deny"
        self.assertEqual(len(self.asked(rules, get("/in"))), 2)
        self.answered(rules, get("/out"))
        self.answered(rules, get("/in"), backend="http-request deny")

    def test_variables(self) -> None:
        """`txn` is the exchange's, `sess` the connection's."""
        rules = (
            "http-request set-var(txn.path) path\n http-request set-var-fmt(sess.n) '%[var(sess.n)]+' if TRUE\n"
            " http-request set-header X-V %[var(txn.path)]%[var(sess.n)]%[var(txn.none)]%[var(txn.none,x)]\n"
            " http-request unset-var(txn.path)\n http-request set-header X-U 1 if { var(txn.path) -m found }"
        )
        world = ruled(self, rules, warm=1)
        client = world.client()
        for path, value in (("/a", b"X-V: /a+x"), ("/b", b"X-V: /b++x")):
            client.send(get(path))
            self.assertEqual(head_of(world.server.asked())[2:], [value])
            world.server.answer()
        world.check_rest()

    def test_conditions_see_what_ends_at_this_hop(self) -> None:
        """`hdr(Upgrade) -i websocket` of published configurations."""
        rules = "http-request set-header X-WS 1 if { hdr(Upgrade) -i WebSocket } { hdr(Connection) -i upgrade }"
        asked = self.asked(rules, get("/", "Connection: keep-alive, Upgrade", "Upgrade: websocket"))
        self.assertIn(b"X-WS: 1", asked)

    def test_fields_of_the_connection_are_seen_as_far_as_the_server_gets_them(self) -> None:
        """No rule lets anything in by one that it does not get. HAProxy shows no `close` and `keep-alive` either."""
        rules = "http-request set-header N %[req.hdr_names]"
        for fields, names in (
            (("TE: gzip", "Keep-Alive: 1", "Proxy-Connection: a", "Connection: keep-alive"), ()),
            (("TE: gzip, trailers",), ("te", "connection")),
            (("Connection: Upgrade", "Upgrade: a", "Upgrade: b", "Connection: close"), ("upgrade", "connection")),
            (("Content-Length: 0", "Content-Length: 0"), ("content-length",)),
        ):
            asked = self.asked(rules, get("/", *fields))
            sent = [line.partition(b":")[0].decode().lower() for line in asked[1:]]
            self.assertEqual(sorted(sent), sorted(("host", "n", *names)))
            self.assertIn(",".join(("N: host", *names)).encode(), asked)
        for rule, left in (
            ("Connection", []),
            ("TE", [b"upgrade: a", b"connection: upgrade"]),
            ("Upgrade", [b"te: trailers", b"connection: te"]),
            ("^(te|expect)$ -m reg", [b"upgrade: a", b"connection: upgrade"]),
        ):
            request = get("/", "Connection: TE, upgrade", "TE: trailers", "Upgrade: a")
            asked = self.asked(f"http-request del-header {rule}\n http-request set-header N %[req.hdr_names]", request)
            found = b",".join(line.partition(b":")[0] for line in left)
            self.assertEqual(asked[2:], [b"N: host" + b"," * bool(found) + found, *left])
        asked = self.asked(
            "http-request set-header N %[req.hdr_cnt(expect)]", get("/", "Expect: 100-continue", version="1.0")
        )
        self.assertEqual(asked[2:], [b"N: 0"])

    def test_a_body_whose_upgrade_its_backend_does_not_take_is_refused(self) -> None:
        """Rules of the frontend have seen it, for the sake of another backend."""
        request = get("/", "Upgrade: a", "Connection: upgrade", "Content-Length: 2", method="POST") + b"ab"
        rules = "http-request deny unless { req.hdr(upgrade) a }"
        data, world = self.answered(rules, request, limits=Limits(upgrade_with_body=True))
        self.assertEqual((data[:12], world.flags()), (b"HTTP/1.1 501", [(501, "PR")]))

    def test_rules_see_what_the_server_gets(self) -> None:
        """RFC 9110 7.6.1: nothing that Connection names, whatever it is; what a rule sets goes on all the same."""
        client = get("/", "X-A: 1", "X-B: 1", "x-c: 1", "Cookie: s=1", "Connection: close, X-A, x-b, X-C, cookie, X-D")
        rules = (
            "http-request set-header X-A ours unless { req.hdr(X-A) -m found }\n http-request replace-header X-B 1 2\n"
            " http-request add-header X-C more\n http-request set-header X-D %[req.hdr_cnt(x-c)]%[req.cook(s)]\n"
            " http-request set-header X-N %[req.hdr_names]"
        )
        names = b"X-N: host,x-a,x-c,x-d"
        self.assertEqual(self.asked(rules, client)[2:], [b"X-A: ours", b"X-C: more", b"X-D: 1", names])
        _, world = self.answered("http-request deny unless { req.hdr(X-A) 1 }", client)
        self.assertEqual(world.flags(), [(403, "PR")])

    def test_what_connection_cannot_take_out_is_there_for_rules_too(self) -> None:
        """Host, what frames the body, and what each hop says for itself."""
        rules = (
            "http-request set-header X-N %[req.hdr(host)]:%[req.hdr(content-length)]:%[req.hdr(upgrade)]:%[req.hdr(te)]"
        )
        asked = self.asked(
            rules,
            get(
                "/", "TE: trailers", "Upgrade: x", "Content-Length: 0",
                "Connection: Host, Content-Length, Connection, TE, Upgrade",
            ),
        )  # fmt: skip
        self.assertEqual(asked[1:4], [b"Host: a", b"Content-Length: 0", b"X-N: a:0:x:trailers"])

    def test_deleting_a_wish_takes_it_back(self) -> None:
        """Upgrade and Expect are read out of the head before rules run."""
        for names in (
            ("Upgrade", "Expect"),
            ("up -m beg", "pect -m end"),
            ("pgrad -m sub", "^(x-|expect$) -m reg"),
            ("^(x-|upgrade$) -m reg", ".* -m reg"),
        ):
            rules = "\n ".join(f"http-request del-header {each}" for each in names)
            self.assertEqual(
                self.asked(rules, get("/", "Connection: Upgrade", "Upgrade: websocket")),
                [b"GET / HTTP/1.1", b"Host: a"],
            )
            world = ruled(self, rules, warm=1)
            client = world.client()
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            self.assertNotIn(b"Expect", world.server.asked())
            (connection,) = world.frontend.connections
            assert isinstance(connection, ClientConnection) and connection.exchange is not None
            self.assertFalse(connection.exchange.expects)
            client.send(b"ok")
            world.server.answer()
            world.check_rest()

    def test_forwardfor_comes_behind_the_rules(self) -> None:
        """As in HAProxy: what the client said there can be deleted."""
        world = ruled(self, "http-request del-header X-Forwarded-For", warm=1, frontend={"forwardfor": ForwardFor()})
        world.client().send(get("/", "X-Forwarded-For: 6.6.6.6"))
        self.assertEqual(head_of(world.server.asked())[2:], [b"X-Forwarded-For: 192.0.2.7"])
        world.server.answer()
        world.check_rest()

    def test_a_mapped_address_is_the_same_to_rules_and_servers(self) -> None:
        """Of an IPv4 client of an IPv6 socket, or from a PROXY protocol header;
        it is within IPv4 networks all the same."""
        rules = (
            "http-request set-header X-Src %[src] if { src 10.1.0.0/16 }\n"
            " http-request set-header X-Net %[src,ipmask(16)]"
        )
        world = ruled(self, rules, warm=1, frontend={"forwardfor": ForwardFor()})
        client = world.client()
        client.connection.address = ("::ffff:10.1.1.1", 4711)
        client.connection.forwarded = world.frontend.forwarded(client.connection.address)
        client.send(GET)
        mapped = b"::ffff:10.1.1.1"
        expected = [b"X-Src: " + mapped, b"X-Net: 10.1.0.0", b"X-Forwarded-For: " + mapped]
        self.assertEqual(head_of(world.server.asked())[2:], expected)
        world.server.answer()
        world.check_rest()

    def test_forwardfor_counts_what_goes_on(self) -> None:
        """A header that Connection names does not, so `if-none` adds ours; one that a rule has set does."""
        for rules, expected in (
            ("", b"X-Forwarded-For: 192.0.2.7"),
            ("http-request set-header X-Forwarded-For 9.9.9.9", b"X-Forwarded-For: 9.9.9.9"),
        ):
            world = ruled(self, rules, warm=1, frontend={"forwardfor": ForwardFor(if_none=True)})
            world.client().send(get("/", "X-Forwarded-For: 6.6.6.6", "Connection: X-Forwarded-For"))
            self.assertEqual(head_of(world.server.asked())[2:], [expected])
            world.server.answer()
            world.check_rest()


class BackendTests(SynchronousTestCase):
    """`use_backend`."""

    def test_the_first_that_is_true(self) -> None:
        """Then the default."""
        rules = (
            "acl api path_beg /api/\n use_backend api if api { method GET }\n"
            " use_backend %[req.hdr(x-to)] if { req.hdr(x-to) -m found }"
        )
        world = ruled(self, rules, others={"api": "http-request set-header X-At api", "more": ""}, warm=1)
        client = world.client()
        for request, where in (
            (get("/api/x"), world.others["api"]),
            (get("/x"), world),
            (get("/x", "X-To: more"), world.others["more"]),
            (get("/x", "X-To: nowhere"), world),
        ):
            client.send(request)
            self.assertTrue(where.server.asked(), request)
            where.server.answer()
            self.assertEqual(client.take(), OK)
        self.assertEqual(
            [exchange.backend and exchange.backend.name for exchange in world.log], ["api", "be", "more", "be"]
        )
        for other in world.others.values():
            other.log = []
            other.check_rest()
        world.check_rest()

    def test_a_name_made_of_the_request_that_is_of_a_backend_in_mode_tcp_ends_it(self) -> None:
        """Without an answer, as in HAProxy, and not at the default backend."""
        world = ruled(self, "use_backend %[req.hdr(x-to)]", warm=1)
        routing: Any = world.frontend.routing
        routing._other_mode = frozenset({"raw"})
        client = world.client()
        client.send(get("/x", "X-To: raw"))
        self.assertEqual((client.take(), client.gone), (b"", True))
        self.assertEqual([exchange.flags for exchange in world.log], ["IR"])
        world.check_rest()


class ResponseTests(SynchronousTestCase):
    """`http-response`."""

    def answered(self, rules: str, answer: bytes, backend: str = "", request: bytes = get("/")) -> tuple[bytes, World]:
        world = ruled(self, rules, backend, warm=1)
        client = world.client()
        client.send(request)
        world.server.answer(answer)
        data = client.take()
        if not client.gone:
            client.wire.eof()
        world.check_rest()
        return data, world

    def test_rules_for_contents_decide_about_answers(self) -> None:
        """Those of the request's backend, by the head; what the client gets, what the log says, and who counts it."""
        bad = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno"
        content = "tcp-response content"
        for lines, answer, got, flags, denied in (
            (f"{content} reject if {{ status 404 }}", bad, b"", (404, "PD"), 1),
            (f"{content} reject if {{ status 404 }}", OK, b"HTTP/1.1 200 ", (200, "--"), 0),
            (f"{content} silent-drop if {{ status 404 }}", bad, b"", (404, "PR"), 0),
            (f"{content} close if {{ status 404 }}", bad, b"HTTP/1.1 502 ", (502, "SH"), 0),
            (f"{content} accept if {{ status 200 }}\n {content} reject", OK, b"HTTP/1.1 200 ", (200, "--"), 0),
            (f"{content} accept if {{ status 200 }}\n {content} reject", bad, b"", (404, "PD"), 1),
            (f"{content} reject if WAIT_END", OK, b"", (200, "PD"), 1),
            (
                f"http-response set-status 404\n {content} reject if {{ status 404 }}",
                OK,
                b"HTTP/1.1 404 ",
                (404, "--"),
                0,
            ),
            (f"http-response deny\n {content} accept", OK, b"HTTP/1.1 502 ", (502, "PH"), 1),
        ):
            data, world = self.answered("", answer, lines)
            self.assertEqual(data[:13], got, lines)
            self.assertEqual([(each.status, each.flags) for each in world.log], [flags], lines)
            sections = world.frontend.traffic, world.backend.traffic, world.backend.servers[0].traffic
            counted = [each.dresp for each in sections]
            self.assertEqual(counted, [denied] * 3, lines)
            self.assertEqual([each.dreq for each in sections], [int(flags[1] == "PR")] * 2 + [0], lines)
            self.assertEqual(world.backend.traffic.eresp, int(flags[1] == "SH"), lines)

    def test_rules_for_contents_set_what_those_behind_them_see(self) -> None:
        """Variables of the answer among it; those of the request are gone."""
        data, _ = self.answered(
            "http-request set-var(req.a) int(1)\n http-response set-header X-F %[var(txn.s)]-%[var(res.s)]",
            OK,
            "tcp-response content set-var(txn.s) status\n tcp-response content set-var(res.s) str(r)\n"
            " tcp-response content set-var(txn.q) var(req.a)\n tcp-response content set-log-level silent\n"
            " http-response set-header X-B %[var(txn.s)]%[var(txn.q)]",
        )
        self.assertIn(b"\r\nX-B: 200\r\nX-F: 200-r\r\n", data)

    def test_rules_for_contents_are_of_the_backend_that_has_answered(self) -> None:
        world = ruled(
            self,
            "use_backend other if { path /other }",
            "tcp-response content reject",
            others={"other": "http-response set-header X-B 1"},
            warm=1,
        )
        client = world.client()
        client.send(get("/other"))
        world.others["other"].server.answer(OK)
        self.assertIn(b"X-B: 1", client.take())
        client.send(get("/"))
        world.server.answer(OK)
        self.assertEqual((client.take(), client.gone), (b"", True))

    def test_headers(self) -> None:
        """The backend's rules come first."""
        frontend = (
            'http-response set-header Strict-Transport-Security "max-age=63072000"\n http-response add-header X-By fe\n'
            " http-response set-header X-Status %[status] if { res.hdr(x-by) -m found }"
        )
        backend = "http-response del-header Server\n http-response set-header X-By be"
        data, _ = self.answered(frontend, response(b"ok", "Server: x", "X-By: s"), backend)
        self.assertEqual(
            head_of(data)[1:],
            [
                b"Content-Length: 2",
                b"X-By: be",
                b"Strict-Transport-Security: max-age=63072000",
                b"X-By: fe",
                b"X-Status: 200",
            ],
        )

    def test_rules_see_what_the_client_gets(self) -> None:
        """Nothing that the server's Connection names, but for what an answer must have."""
        rules = (
            "http-response set-header X-A ours unless { res.hdr(X-A) -m found }\n"
            " http-response set-header X-N %[res.hdr_names]"
        )
        data, _ = self.answered(rules, response(b"ok", "X-A: 1", "Set-Cookie: s=1", "Connection: X-A, set-cookie"))
        self.assertEqual(head_of(data)[1:], [b"Content-Length: 2", b"X-A: ours", b"X-N: content-length,x-a"])

    def test_location_is_replaced(self) -> None:
        """A classic of published configurations."""
        rules = r"http-response replace-header Location http://(.*) https://\1"
        data, _ = self.answered(rules, response(b"", "Location: http://a/b", status="302 Found"))
        self.assertIn(b"\r\nLocation: https://a/b\r\n", data)

    def test_status(self) -> None:
        """Not of what has no body: a 200 would have one."""
        rules = "http-response set-status 202 reason 'Foo bar'"
        self.assertTrue(self.answered(rules, OK)[0].startswith(b"HTTP/1.1 202 Foo bar\r\n"))
        untouched = self.answered(rules, b"HTTP/1.1 304 Not Modified\r\n\r\n")[0]
        self.assertTrue(untouched.startswith(b"HTTP/1.1 304 Not Modified\r\n"))

    def test_deny(self) -> None:
        """502 in place of the answer; its connection is as good as before, since all of that had come."""
        data, world = self.answered("http-response deny if { status 418 }", response(b"tea", status="418 T"))
        self.assertTrue(data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertEqual(world.flags(), [(502, "PH")])
        counted = (world.frontend, world.backend, world.server.server)
        self.assertEqual([each.traffic.dresp for each in counted], [1, 1, 1])
        self.assertNotIn("answer replaced by a rule", world.server.pool.closed)

    def test_fields_of_the_connection_are_seen_as_far_as_the_client_gets_them(self) -> None:
        rules = "http-response set-header N %[res.hdr_names]"
        for fields, status, sent in (
            (("Connection: close, Upgrade", "Upgrade: h2", "Keep-Alive: 1"), "200 OK", []),
            (("Connection: close", "Upgrade: h2"), "426 No", [b"Upgrade: h2", b"connection: upgrade"]),
        ):
            data, _ = self.answered(rules, response(b"", *fields, status=status))
            names = b",".join(line.partition(b":")[0].lower() for line in sent)
            expected = [b"Content-Length: 0", *sent[:1], b"N: content-length" + b"," * bool(names) + names, *sent[1:]]
            self.assertEqual(head_of(data)[1:], expected)
            data, _ = self.answered(
                "http-response del-header Upgrade\n " + rules, response(b"", *fields, status=status)
            )
            self.assertEqual(head_of(data)[1:], [b"Content-Length: 0", b"N: content-length"])

    def test_return_and_redirect(self) -> None:
        """While the answer's body is still coming: its connection has to go."""
        started = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        data, world = self.answered("http-response return status 200 content-type text/plain string ours", started)
        self.assertTrue(data.endswith(b"\r\n\r\nours"))
        self.assertEqual(world.flags(), [(200, "LH")])
        self.assertEqual(world.server.pool.closed, {"answer replaced by a rule": 1})
        data, world = self.answered("http-response redirect location /y", started)
        self.assertIn(b"\r\nlocation: /y\r\n", data)
        self.assertEqual(world.flags(), [(302, "LH")])

    def test_allow_ends_the_section(self) -> None:
        """The frontend's rules count all the same."""
        data, _ = self.answered("http-response set-header X-Fe 1", OK, "http-response allow\n http-response deny")
        self.assertIn(b"\r\nX-Fe: 1\r\n", data)

    def test_a_switch_of_protocols_is_looked_at_too(self) -> None:
        """101 is an answer."""
        request = get("/", "Connection: Upgrade", "Upgrade: websocket")
        switching = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        data, world = self.answered("http-response deny if { status 101 }", switching, request=request)
        self.assertTrue(data.startswith(b"HTTP/1.1 502"))
        self.assertEqual(world.flags(), [(502, "PH")])

    def test_a_variable_of_the_request(self) -> None:
        """Is how a rule for answers learns of the request."""
        rules = "http-request set-var(txn.path) path\n http-response set-header X-Path %[var(txn.path)]"
        self.assertIn(b"\r\nX-Path: /p\r\n", self.answered(rules, OK, request=get("/p"))[0])


class AfterResponseTests(SynchronousTestCase):
    """`http-after-response`: whatever is answered."""

    RULE = "http-after-response set-header X-After %[status]"

    def answered(self, rules: str, request: bytes = get("/"), **world: Any) -> tuple[bytes, World]:
        made = ruled(self, f"{self.RULE}\n {rules}", warm=1, **world)
        client = made.client()
        client.send(request)
        if made.server.busy:
            made.server.answer()
        data = client.take()
        if not client.gone:
            client.wire.eof()
        made.check_rest()
        return data, made

    def test_a_servers_answer(self) -> None:
        """Behind `http-response`, backend's before frontend's."""
        backend = "http-after-response set-header X-After be\n http-after-response add-header X-Other 1"
        data, _ = self.answered("http-response set-status 202", backend=backend)
        self.assertEqual(head_of(data)[1:], [b"Content-Length: 2", b"X-Other: 1", b"X-After: 202"])

    def test_our_own_answers(self) -> None:
        """Those of rules, and errors; but for what could not be read."""
        for rule, status in (
            ("http-request deny", 403),
            ("http-request return status 200 content-type text/plain string ok", 200),
            ("http-request redirect location /", 302),
            ("http-response deny", 502),
            ("http-request set-header Host %[req.hdr(none)]", 400),
        ):
            data, world = self.answered(rule)
            self.assertIn(b"\r\nX-After: %d\r\n" % status, data)
            self.assertEqual(world.log[0].bytes_out, len(data))
        self.assertNotIn(b"X-After", self.answered("", b"nonsense\r\n\r\n")[0])

    def test_an_error_where_no_server_could(self) -> None:
        """503, with the backend's rules, too."""
        world = ruled(self, self.RULE, "http-after-response set-status 500")
        client = world.client()
        client.send(get("/"))
        for _ in range(4):
            world.server.refuse()
            world.advance(1)
        data = client.take()
        self.assertTrue(data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n"), data)
        self.assertIn(b"\r\nX-After: 500\r\n", data)
        self.assertEqual(world.flags(), [(500, "SC")])
        world.check_rest()


class UnevaluatedTests(SynchronousTestCase):
    """What a rule could not find out within its bounds is refused, whatever the rule would have done."""

    catastrophe = "/" + "a" * 40 + "!"
    hard = "^/(?!x)(a+)+$"

    def refused(self, made: World) -> None:
        """The client is told 500, nothing reaches the server, and the log names the line."""
        client = made.client()
        client.send(get(self.catastrophe))
        self.assertTrue(client.take().startswith(b"HTTP/1.1 500 "))
        self.assertEqual(made.server.asked(), b"")
        ((level, text),) = made.announced
        self.assertEqual(level, "alert")
        for part in ("t.cfg:", self.hard, "took more than 50 ms"):
            self.assertIn(part, text)
        self.assertEqual(made.frontend.traffic.eint, 1)
        made.check_rest()

    def test_a_request_that_may_not_pass_does_not_pass(self) -> None:
        """Neither where a match denies, nor where one allows, nor where it changes the request."""
        for rule in (
            f"http-request deny if {{ path_reg {self.hard} }}",
            f"http-request deny unless {{ path_reg {self.hard} }}",
            f"http-request replace-path {self.hard} /x",
            f"http-request set-header X '%[path,regsub(\"{self.hard}\",x)]'",
            f"redirect location / if {{ path_reg {self.hard} }}",
            f"use_backend be if {{ path_reg {self.hard} }}",
        ):
            self.refused(ruled(self, rule, warm=1))
        self.refused(ruled(self, "", f"http-request deny if {{ path_reg {self.hard} }}", warm=1))

    def test_what_is_easy_passes(self) -> None:
        """The same rule, another request."""
        made = ruled(self, f"http-request deny if {{ path_reg {self.hard} }}", warm=1)
        made.client().send(get("/b"))
        self.assertTrue(made.server.asked())
        made.server.answer()
        self.assertEqual(made.announced, [])

    def test_an_answer_that_may_not_pass_does_not_pass(self) -> None:
        """Of a server."""
        for kind in ("http-response", "http-after-response"):
            made = ruled(self, f"{kind} del-header Secret if {{ res.hdr(x) -m reg {self.hard} }}", warm=1)
            client = made.client()
            client.send(get("/"))
            made.server.asked()
            made.server.answer(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSecret: 1\r\nX: %b\r\n\r\nok" % self.catastrophe.encode()
            )
            told = client.take()
            self.assertTrue(told.startswith(b"HTTP/1.1 500 "), told)
            self.assertNotIn(b"Secret", told)
            self.assertEqual(made.frontend.traffic.eint, 1)

    def test_its_listener_counts_it_too(self) -> None:
        """Where it counts (`option socket-stats`)."""
        made = ruled(self, f"http-request deny if {{ path_reg {self.hard} }}", warm=1)
        client = made.client()
        client.connection.listener.traffic = Traffic()
        client.send(get(self.catastrophe))
        self.assertEqual(client.connection.listener.traffic.eint, 1)

    def test_one_line_of_the_log_is_for_many(self) -> None:
        """A client that asks again and again writes no more than one line in a while."""
        made = ruled(self, f"http-request deny if {{ path_reg {self.hard} }}", warm=1)
        for _ in range(3):
            made.client().send(get(self.catastrophe))
        self.assertEqual((len(made.announced), made.frontend.traffic.eint), (1, 3))


class ScopeTests(SynchronousTestCase):
    """How long variables live (HAProxy's manual, section 2.8)."""

    SHOW = "|".join(f"{scope}=%[var({scope}.a)]%[var({scope}.b)]" for scope in ("sess", "txn", "req", "res"))

    def lines(self, data: bytes) -> dict[bytes, bytes]:
        return dict(line.split(b": ", 1) for line in head_of(data) if line.startswith(b"X-"))

    def rules(self, keyword: str, value: str) -> str:
        return "".join(f" http-{keyword} set-var({scope}.a) str({value})\n" for scope in ("sess", "txn", "req", "res"))

    def test_each_scope_ends_where_haproxy_ends_it(self) -> None:
        """`req` with the rules for requests, `res` begins with those for responses, `txn` is both,
        `sess` the connection."""
        show, rules = self.SHOW, self.rules
        frontend = (
            f"http-request set-header X-0 {show}\n{rules('request', 'q')} http-request return status 200 hdr X-1 {show}"
            f" content-type a/b string ok if {{ path /own }}\n"
            f"{rules('response', 's')} http-response set-header X-4 {show}\n"
            f" http-after-response set-header X-5 {show}\n"
        )
        backend = f" http-request set-header X-2 {show}\n http-response set-header X-3 {show}\n"
        made = ruled(self, frontend, backend, warm=1)
        client = made.client()
        client.send(get("/"))
        asked = self.lines(made.server.asked())
        made.server.answer(response(b"x"))
        told = self.lines(client.take())
        self.assertEqual(asked, {b"X-0": b"sess=|txn=|req=|res=", b"X-2": b"sess=q|txn=q|req=q|res="})
        after = b"sess=s|txn=s|req=|res=s"
        self.assertEqual(told, {b"X-3": b"sess=q|txn=q|req=|res=", b"X-4": after, b"X-5": after})
        client.send(get("/own"))
        told = self.lines(client.take())
        self.assertEqual(told, {b"X-1": b"sess=q|txn=q|req=q|res=", b"X-5": b"sess=q|txn=q|req=|res="})
        client.send(get("/"))
        self.assertEqual(self.lines(made.server.asked())[b"X-0"], b"sess=q|txn=|req=|res=")
        made.server.answer(response(b"x"))
        client.take()

    def test_what_is_logged_of_the_request_outlives_its_rules(self) -> None:
        """The first line as it came; the method, the version and whether it was the first are kept, too."""
        made = ruled(
            self,
            "http-request set-path /new\n http-request set-query z\n http-request set-header X-1 %HU|%HP|%HPO|%HQ\n"
            " http-response set-header X-2 %HU|%[req.ver]|%[http_first_req]\n"
            " http-after-response set-header X-3 %r|%[method]|%[http_first_req]",
            warm=1,
        )
        client = made.client()
        for first in (b"1", b"0"):
            client.send(get("/old?q"))
            self.assertEqual(self.lines(made.server.asked())[b"X-1"], b"/old?q|/old|/old|?q")
            made.server.answer(response(b"x"))
            told = self.lines(client.take())
            self.assertEqual(told, {b"X-2": b"/old?q|1.1|" + first, b"X-3": b"GET /old?q HTTP/1.1|GET|" + first})
