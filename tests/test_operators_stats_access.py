"""Who may see the statistics page, and who may change something with it: nobody else, by whatever way."""

from __future__ import annotations

import os
import re
import socket
from base64 import b64encode
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP
from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.clients.connection import ClientConnection
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.exchanges.attempt import HELD_MAX
from reusedproxy.net.poller import Poller
from reusedproxy.operators.runtime.form import ACTIONS
from reusedproxy.operators.stats import page as statspage
from reusedproxy.operators.stats.moment import Moment
from tests.clientfakes import FakeListener, Wire

BASE = """
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
backend app
  server one 127.0.0.1:1 check inter 10s
  server two 127.0.0.1:2 agent-check agent-port 9
  server three 127.0.0.1:3 track app/one
backend other
  cookie SRV insert
  server four 127.0.0.1:4 cookie c4
userlist team
  group admins
  user root insecure-password r00t groups admins
  user guest insecure-password look
"""
CLOSED = """
frontend web
  bind 127.0.0.1:0
  stats uri /st
  stats auth a:b:c
  default_backend app
"""
ADMIN = """
listen status
  bind 127.0.0.1:0
  stats uri /
  stats http-request deny if { src 192.0.2.66 }
  stats http-request auth realm Ops unless { http_auth(team) }
  stats admin if { http_auth_group(team) admins }
"""
#: Ways to the page of CLOSED.
WAYS = (
    b"GET /st",
    b"HEAD /st",
    b"POST /st",
    b"PUT /st",
    b"OPTIONS /st",
    b"GET /st;csv",
    b"GET /st;json",
    b"GET /st;typed",
    b"GET /st;norefresh",
    b"GET /st;unfold",
    b"GET /st?x",
    b"GET /st/../x",
    b"GET /status",
    b"GET http://a/st",
    b"GET HTTP://a/st;csv",
)
#: Where names of sections are in each form.
PLACES = {
    ";csv": rb"(?m)^(\w+),(?:FRONTEND|BACKEND)",
    ";json": rb'"pxname".*?"value":"(\w+)"',
    ";typed": rb"\.pxname\.1:\w+:str:(\w+)",
    "": rb"<h2 id='(\w+)'",
}
#: What does not lead there; the server is asked.
OTHERS = (b"GET //st", b"GET /%73t", b"GET /x/st", b"GET /ST", b"GET http://a/x/st", b"OPTIONS *")


def basic(text: str) -> bytes:
    return b"Authorization: Basic %b\r\n" % b64encode(text.encode())


class AccessCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(self.poller.stop)

    def build(self, text: str) -> Proxy:
        configuration = read_configuration([Source("x.cfg", BASE + text)], {})
        announce = lambda level, text, section="": None  # noqa: E731
        self.proxy = Assembly(configuration, self.clock, self.poller, Random(1), announce).build(bind=False)
        return self.proxy

    def connect(self, source: str = "192.0.2.7") -> Wire:
        wire: Any = Wire()
        ClientConnection(self.proxy.frontends[0], wire, (source, 1), FakeListener())  # type: ignore[arg-type]
        return wire  # type: ignore[no-any-return]

    def ask(
        self, line: bytes, fields: bytes = b"", body: bytes = b"", source: str = "192.0.2.7", host: bytes = b"a"
    ) -> bytes:
        """All that is answered; the server is never reached, so what is for it has no answer."""
        wire = self.connect(source)
        length = b"Content-Length: %d\r\n" % len(body) if body or line.startswith(b"POST") else b""
        wire.feed(line + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + fields + length + b"\r\n" + body)
        return wire.take()

    def status(self, *request: Any, **more: Any) -> int:
        said = self.ask(*request, **more)
        return int(said.split()[1]) if said else 0


class PasswordTests(AccessCase):
    """`stats auth`."""

    def test_without_it_no_way_leads_to_the_page(self) -> None:
        self.build(CLOSED)
        for way in WAYS:
            for fields in (b"", basic("a:b"), basic("a:b:c:d"), basic("x:b:c"), b"Authorization: Bearer x\r\n"):
                said = self.ask(way, fields)
                self.assertTrue(said.startswith(b"HTTP/1.1 401 "), (way, said[:60]))
                self.assertIn(b'\r\nwww-authenticate: Basic realm="HAProxy Statistics"\r\n', said)
                self.assertNotIn(b"app", said)
                self.assertNotIn(b"pxname", said)

    def test_what_is_not_its_address_goes_to_the_server(self) -> None:
        """Which is none of the page's ways in: it looks at the target as it came."""
        self.build(CLOSED)
        for way in OTHERS:
            self.assertIn(self.status(way), (0, 503), way)

    def test_with_it_all_is_there(self) -> None:
        self.build(CLOSED)
        for way, begins in ((b"GET /st;csv", b"# pxname,"), (b"GET /st;json", b"[["), (b"GET /st", b"<!DOCTYPE")):
            self.assertTrue(self.ask(way, basic("a:b:c")).partition(b"\r\n\r\n")[2].startswith(begins))
        self.assertTrue(self.ask(b"HEAD /st;csv", basic("a:b:c")).endswith(b"\r\n\r\n"))
        self.assertEqual(self.status(b"GET http://a/st", basic("a:b:c")), 200)

    def test_a_backend_s_page_is_closed_too(self) -> None:
        """Whether its frontend has rules or none."""
        page = "backend pages\n stats uri /st\n stats auth a:b:c\n server five 127.0.0.1:5\n"
        for rule in ("", " http-request deny if FALSE\n"):
            self.build(f"frontend web\n bind :0\n{rule} default_backend pages\n{page}")
            self.assertEqual([self.status(way) for way in WAYS], [401] * len(WAYS))
            self.assertEqual(self.status(b"GET /st", basic("a:b:c")), 200)

    def test_nobody_changes_anything_without_stats_admin(self) -> None:
        self.build(CLOSED)
        said = self.ask(b"POST /st", basic("a:b:c"), b"s=one&b=app&action=maint")
        self.assertIn(b"303 See Other\r\n", said)
        self.assertIn(b"\r\nlocation: /st;st=DENY\r\n", said)
        self.assertEqual(self.proxy.lines["app/one"].server.admin, READY)
        self.assertNotIn(b"<form method='post'", self.ask(b"GET /st", basic("a:b:c")))


class RuleTests(AccessCase):
    """`stats http-request`, `stats scope` and what a page shows."""

    def test_rules_decide_in_their_order(self) -> None:
        self.build(ADMIN)
        self.assertEqual(self.status(b"GET /", basic("guest:look"), source="192.0.2.66"), 403)
        self.assertIn(b'realm="Ops"', self.ask(b"GET /"))
        self.assertEqual(self.status(b"GET /", basic("guest:look")), 200)
        self.assertEqual(self.proxy.frontends[0].traffic.dreq, 1)

    def test_a_rule_that_fails_by_our_fault_shows_nothing_and_changes_nothing(self) -> None:
        """Of `stats http-request` as of `stats admin`."""
        failing = patch("reusedproxy.rules.samples.process_fetches.uuid4", side_effect=RuntimeError("a bug"))
        for line in ("stats http-request deny if { uuid -m str x }", "stats admin if { uuid -m str x }"):
            self.build(f"frontend f\n bind :0\n stats uri /\n {line}\n")
            told: list[str] = []
            self.proxy.frontends[0]._unevaluated._say = told.append
            with failing:
                self.assertEqual((self.status(b"GET /"), self.status(b"POST /", body=b"s=one&b=app")), (500, 500))
            self.assertEqual(self.proxy.frontends[0].traffic.eint, 2)
            self.assertIn(f"x.cfg:{BASE.count(chr(10)) + 4}: a rule could not be evaluated", told[0])
            self.assertEqual((len(told), self.status(b"GET /")), (1, 200))

    def test_hashes_count_here_too(self) -> None:
        """A page whose rules ask for a hash waits for it, with no other rule in the section."""
        hashed = (
            "userlist hashed\n user h password $5$rounds=1000$abcdefgh$okyjw/83AAX.UipXCtjVrkKTDWdqFQkp6Bg/O6/KuPB\n"
        )
        self.build(
            f"{hashed}frontend f\n bind :0\n stats uri /\n stats http-request auth unless {{ http_auth(hashed) }}\n"
        )
        calls: list[Any] = []
        self.proxy.passwords.check = lambda *args: calls.append(args) or True  # type: ignore[method-assign,func-returns-value]
        self.assertEqual(self.ask(b"GET /", basic("h:hello")), b"")
        password, _, source, *_ = calls[0]
        self.proxy.passwords.known = lambda *args: True  # type: ignore[method-assign]
        self.assertEqual((password, source), (b"hello", "192.0.2.7"))
        self.assertEqual(self.status(b"GET /", basic("h:hello")), 200)

    def test_rules_for_contents_of_answers_keep_it(self) -> None:
        """The page is an answer to them, like a server's, as in HAProxy; other rules for answers do not see it."""
        page = (
            "listen f\n bind :0\n stats uri /st\n stats admin if TRUE\n http-response deny\n tcp-response content {}\n"
        )
        for action, got in (("reject", b""), ("silent-drop", b""), ("close", b"HTTP/1.1 502 ")):
            self.build(page.format(f"{action} unless {{ src 10.0.0.0/8 }}"))
            for way in (each for each in WAYS if each != b"GET /status" and not each.startswith((b"PUT", b"OPTIONS"))):
                said = self.ask(way)
                self.assertEqual((said[:13], b"pxname" in said), (got, False), (action, way))
                self.assertEqual(
                    self.ask(way, source="10.1.1.1")[:10], b"HTTP/1.1 2" if b"POST" not in way else b"HTTP/1.1 3"
                )

    def test_without_a_realm_browsers_are_asked_for_haproxys(self) -> None:
        """By a rule as by `stats auth`: a browser keeps passwords by it."""
        team = "userlist readers\n user h insecure-password p\n"
        for line in ("stats auth a:b", "stats http-request auth unless { http_auth(readers) }"):
            self.build(f"{team}frontend f\n bind :0\n stats uri /\n {line}\n")
            self.assertIn(b'Basic realm="HAProxy Statistics"', self.ask(b"GET /"), line)

    def test_scope_in_the_address_chooses_sections_by_their_names(self) -> None:
        """Of those that `stats scope` lets through; links and forms keep it, and so does where a form leads."""
        page = "listen status\n bind :0\n stats uri {}\n stats admin if TRUE\n{}backend Apples\n server a 127.0.0.1:9\n"
        for uri, scope, address, shown in (
            ("/st", "", "?scope=app", {"app", "Apples"}),
            ("/st", "", ";csv;scope=APP", {"app", "Apples"}),
            ("/st", "", ";json?scope=app&x", {"app", "Apples"}),
            ("/st", "", ";typed?scope=app;x", {"app", "Apples"}),
            ("/st", "", "?scope=p", {"app", "Apples"}),
            ("/st", "", "?scope=nobody", set()),
            ("/st", "", "?scope=", {"app", "Apples", "other", "status"}),
            ("/st", "", "?scope=%61pp", {"app", "Apples", "other", "status"}),
            ("/st", "", "?scope=app<b>", {"app", "Apples", "other", "status"}),
            ("/st", "", "?scope=" + 21 * "a", set()),
            ("/st", " stats scope app\n stats scope other\n", "?scope=app", {"app"}),
            ("/st", " stats scope app\n stats scope other\n", ";csv?scope=Apples", set()),
            ("/st?all", "", ";up;scope=app", {"app", "Apples"}),
        ):
            self.build(page.format(uri, scope))
            said = self.ask(b"GET " + (uri + address).encode())
            self.assertTrue(said.startswith(b"HTTP/1.1 200 "), said[:60])
            known = next((each for each in PLACES if each in address), "")
            found = {name.decode() for name in re.findall(PLACES[known], said)}
            self.assertEqual(found, shown, (uri, address))
        self.build(page.format("/st", ""))
        said = self.ask(b"GET /st;norefresh;up?scope=Apples")
        for link in (b";csv?scope=Apples'", b";json?scope=Apples'", b";unfold;up?scope=Apples'"):
            self.assertIn(link, said)
        self.assertIn(b"<form method='post' action='/st;norefresh;up?scope=Apples'>", said)
        self.assertIn(b"name='scope' value='Apples'", said)
        said = self.ask(b"POST /st;norefresh;up?scope=Apples", body=b"s=one&b=app&action=drain")
        self.assertIn(b"\r\nlocation: /st;st=DONE;norefresh;up?scope=Apples\r\n", said)

    def test_the_box_for_the_scope_leads_to_the_page(self) -> None:
        """Also where its address has a query, whose place the form's takes; it is left out where that cannot be."""
        for uri, form in (
            ("/st", b"<form class='menu' method='get' action='/st;norefresh;up'><label>"),
            ("/st?all", b"<form class='menu' method='get' action='/st'><input type='hidden' name='all' value=''>"),
            ("/st?a=b", b"<form class='menu' method='get' action='/st'><input type='hidden' name='a' value='b'>"),
            ("/st?a&b=c", None),
        ):
            self.build(f"frontend web\n bind :0\n stats uri {uri}\n default_backend app\n")
            said = self.ask(b"GET %b;up" % uri.encode())
            if form is None:
                self.assertNotIn(b"<form", said)
            else:
                self.assertIn(form, said)
        self.assertEqual(self.status(b"GET /st?a&b=c"), 200)

    def test_a_form_that_comes_while_a_password_is_checked_is_obeyed_as_a_whole(self) -> None:
        """And one that is too long then is refused, as ever."""
        hashed = (
            "userlist hashed\n user h password $5$rounds=1000$abcdefgh$okyjw/83AAX.UipXCtjVrkKTDWdqFQkp6Bg/O6/KuPB\n"
        )
        self.build(f"{hashed}frontend f\n bind :0\n stats uri /\n stats admin if {{ http_auth(hashed) }}\n")
        calls: list[Any] = []
        self.proxy.passwords.known = lambda *args: True if calls else None  # type: ignore[method-assign]
        self.proxy.passwords.check = lambda *args: calls.append(args) or True  # type: ignore[method-assign,func-returns-value]
        for body, code in ((b"s=one&s=two&b=app&action=maint", b"DONE"), (b"s=" + b"x" * HELD_MAX, b"EXCD")):
            calls.clear()
            wire = self.connect()
            head = b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (basic("h:hello"), len(body))
            wire.feed(head + body[:5])
            for at in range(5, len(body), 1000):
                wire.feed(body[at : at + 1000])
            calls[0][3]()
            self.assertIn(b";st=%b" % code, wire.take())
        self.assertEqual([self.proxy.lines[f"app/{name}"].server.admin for name in ("one", "two")], [MAINT, MAINT])

    def test_a_form_may_come_in_chunks(self) -> None:
        """Of any size, and however they come: what frames them is no part of it."""
        self.build("listen status\n bind :0\n stats uri /\n stats admin if TRUE\n")
        for form, name in ((b"s=one&b=app&action=maint", "one"), (b"s=two&b=app&action=maint", "two")):
            for size in (3, 100):
                chunks = [form[at : at + size] for at in range(0, len(form), size)]
                body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
                for cut in (0, 10):
                    self.proxy.lines[f"app/{name}"].server.administer(READY, 0.0)
                    wire = self.connect()
                    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    wire.feed(head + body[:cut])
                    wire.feed(body[cut:])
                    self.assertIn(b";st=DONE", wire.take(), (size, cut))

    def test_what_is_out_of_scope_is_nowhere(self) -> None:
        self.build("listen status\n bind :0\n stats uri /\n stats scope .\n stats scope other\n stats admin if TRUE\n")
        for target in (b"/", b"/;csv", b"/;json", b"/;typed", b"/;unfold"):
            said = self.ask(b"GET " + target)
            self.assertIn(b"four", said)
            for hidden in (b"app/", b">app<", b",one,", b"127.0.0.1"):
                self.assertNotIn(hidden, said, target)
        self.assertIn(b"st=ERRP", self.ask(b"POST /", body=b"s=one&b=app&action=maint"))
        self.assertEqual(self.proxy.lines["app/one"].server.admin, READY)

    def test_a_page_shows_nothing_that_was_written_for_another(self) -> None:
        """Whatever the sections of its scope are called, and whoever looked at the other a moment ago."""
        self.patch(Moment, "fresh", True)
        for name, word in (("admin", "admin if TRUE"), ("legends", "show-legends"), ("detailed", "enable")):
            front = f"frontend web\n bind :0\n stats uri /f\n stats scope {name}\n default_backend {name}\n"
            back = f"backend {name}\n stats uri /b\n stats {word}\n server six 127.0.0.1:6\n"
            self.build(front + back)
            for words in (b"", b";unfold"):
                self.assertIn(b">app<", self.ask(b"GET /b" + words))
                said = self.ask(b"GET /f" + words)
                self.assertIn(b"six", said)
                for hidden in (b">app<", b"<form method='post'", b"127.0.0.1"):
                    self.assertNotIn(hidden, said, name)

    def test_a_form_leads_to_its_own_page(self) -> None:
        """Of two pages with the same figures."""
        self.patch(Moment, "fresh", True)
        page = " stats uri /{0}\n stats admin if TRUE\n"
        front = "frontend web\n bind :0\n default_backend pages\n" + page.format("f")
        self.build(front + "backend pages\n server five 127.0.0.1:5\n" + page.format("b"))
        for target in (b"/f", b"/b"):
            self.assertIn(b"action='%b;norefresh'" % target, self.ask(b"GET " + target))

    def test_addresses_and_cookies_are_shown_with_legends_only(self) -> None:
        self.build("listen status\n bind :0\n stats uri /\n")
        for target in (b"/", b"/;csv", b"/;json"):
            self.assertNotIn(b"127.0.0.1:4", self.ask(b"GET " + target))
        self.build("listen status\n bind :0\n stats uri /\n stats show-legends\n")
        for target in (b"/", b"/;csv", b"/;json"):
            said = self.ask(b"GET " + target)
            for shown in (b"127.0.0.1:4", b"c4", b"roundrobin"):
                self.assertIn(shown, said, target)

    def test_the_machine_s_name_and_description(self) -> None:
        text = "listen status\n bind :0\n stats uri /\n stats show-node n<1\n stats show-desc the <first>\n"
        self.build(text)
        said = self.ask(b"GET /")
        self.assertIn(b"n&lt;1", said)
        self.assertIn(b"the &lt;first&gt;", said)


class OrderTests(AccessCase):
    """`stats admin`."""

    def setUp(self) -> None:
        super().setUp()
        self.build(ADMIN)
        self.one, self.two, self.three, self.four = (line.server for line in self.proxy.lines.values())
        self.app = self.proxy.backends[0]

    def order(self, form: str, fields: bytes = b"", user: str = "root:r00t") -> str:
        """The code that the answer has."""
        said = self.ask(b"POST /", basic(user) + fields, form.encode())
        self.assertTrue(said.startswith(b"HTTP/1.1 303 "), said)
        return said.partition(b"\r\nlocation: /;st=")[2].partition(b"\r\n")[0].decode()

    def test_only_who_may_sees_the_form(self) -> None:
        self.assertIn(b"<form method='post'", self.ask(b"GET /", basic("root:r00t")))
        self.assertNotIn(b"<form method='post'", self.ask(b"GET /", basic("guest:look")))

    def test_only_who_may_is_obeyed(self) -> None:
        form = "s=one&b=app&action=maint"
        self.assertEqual(self.order(form, user="guest:look"), "DENY")
        self.assertEqual(self.status(b"POST /", body=form.encode()), 401)
        self.assertEqual(self.one.admin, READY)
        self.assertEqual(self.order(form), "DONE")
        self.assertEqual(self.one.admin, MAINT)

    def test_a_form_of_another_site_is_not_obeyed(self) -> None:
        """Which a browser sends with the password that it has for us."""
        form = "s=one&b=app&action=maint"
        for fields in (
            b"Origin: http://evil.example\r\n",
            b"Origin: null\r\n",
            b"Origin: http://a.evil\r\n",
            b"Origin: http://a:8080\r\n",
            b"Referer: http://evil.example/a\r\n",
            b"Sec-Fetch-Site: cross-site\r\n",
            b"Sec-Fetch-Site: same-site\r\nOrigin: http://a\r\n",
            b"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n",
        ):
            self.assertEqual(self.order(form, fields), "DENY", fields)
        self.assertEqual(self.one.admin, READY)
        for fields in (
            b"Origin: http://a\r\n",
            b"Origin: https://A\r\n",
            b"Referer: http://a/x\r\n",
            b"Sec-Fetch-Site: same-origin\r\nOrigin: https://behind.another.proxy\r\n",
        ):
            self.assertEqual(self.order(form, fields), "DONE", fields)

    def test_a_page_under_a_strangers_name_is_not_obeyed_without_a_password(self) -> None:
        """He may bind his name to this address when his page is open; then all of it has one origin (DNS rebinding).
        Where TLS, a password or a rule tells whose the name is, it may be any; a script has no page."""
        real = socket.getaddrinfo
        self.patch(socket, "getaddrinfo", lambda host, *more, **words: real("127.0.0.1", *more, **words))
        self.patch(os, "uname", lambda: SimpleNamespace(nodename="Box.example"))
        form, page = (
            b"s=one&b=app&action=maint",
            "listen status\n bind 127.0.0.1:0\n bind localhost.me:0\n stats uri /\n",
        )
        strangers = (
            b"evil.example",
            b"evil.example:8404",
            b"127.0.0.1.evil.example",
            b"notlocalhost.me",
            b"x.box.example",
        )
        ours = (b"127.0.0.1:81", b"10.0.0.7", b"[::1]:81", b"localhost", b"a.localhost:1", b"proxy", b"LOCALHOST.me:9",
                b"box.example", b"box.example.", b"node.example:81")  # fmt: skip
        node = "global\n node node.example\n"
        for lines, hosts, code in (
            (" stats admin if LOCALHOST\n", strangers, b"DENY"),
            (" stats admin if LOCALHOST\n", ours, b"DONE"),
            (" stats admin if LOCALHOST { hdr(host) -m reg . }\n", strangers, b"DONE"),
            (" stats http-request deny if !{ hdr(host) -m found }\n stats admin if TRUE\n", strangers, b"DONE"),
            (" stats admin if LOCALHOST { http_auth(team) }\n", strangers, b"DONE"),
            (" stats admin if TRUE or { http_auth(team) }\n", strangers, b"DONE"),
        ):
            self.build(node + page + lines)
            for host in hosts:
                said = self.ask(
                    b"POST /", basic("root:r00t") + b"Origin: http://%b\r\n" % host, form, "127.0.0.1", host
                )
                self.assertIn(b"\r\nlocation: /;st=%b\r\n" % code, said, (lines, host))
                for site in (b"same-origin", b"none"):
                    fields = b"Sec-Fetch-Site: %b\r\nOrigin: http://%b\r\n" % (site, host)
                    said = self.ask(b"POST /", basic("root:r00t") + fields, form, "127.0.0.1", host)
                    self.assertIn(b"\r\nlocation: /;st=%b\r\n" % code, said, (lines, host))
        self.build(node + page + " stats admin if TRUE or { http_auth(team) }\n")
        for fields in (b"", basic("root:wrong")):
            said = self.ask(b"POST /", fields + b"Origin: http://evil.example\r\n", form, host=b"evil.example")
            self.assertIn(b";st=DENY\r\n", said)
        self.assertIn(b";st=DONE\r\n", self.ask(b"POST /", b"", form, host=b"evil.example"))

    def test_the_page_cannot_be_put_into_a_frame(self) -> None:
        head = self.ask(b"GET /", basic("root:r00t")).partition(b"\r\n\r\n")[0]
        self.assertIn(b"frame-ancestors 'none'", head)
        self.assertIn(b"form-action 'self'", head)
        self.assertIn(b"\r\nx-frame-options: DENY", head)

    def test_states(self) -> None:
        for action, admin in (("drain", DRAIN), ("maint", MAINT), ("ready", READY), ("stop", DRAIN), ("start", READY)):
            self.assertEqual(self.order(f"s=one&s=two&b=app&action={action}"), "DONE")
            self.assertEqual((self.one.admin, self.two.admin), (admin, admin), action)
        self.assertEqual(self.order("s=one&b=app&action=enable"), "NONE")
        self.assertEqual(self.order("s=one&b=app&action=disable"), "DONE")
        self.assertEqual(self.order("s=one&b=app&action=enable"), "DONE")
        self.assertEqual(self.one.admin, READY)

    def test_a_section_is_called_by_its_number_too(self) -> None:
        """As by the form of HAProxy's own page: "#" and the number, of a backend (`id`); a scope holds all the same."""
        self.build(f"{ADMIN} id 7\n stats scope app\nbackend third\n server five 127.0.0.1:5\n")
        ids = {backend.name: backend.settings.id for backend in self.proxy.backends}
        self.assertEqual(self.order(f"s=one&b=%23{ids['app']}&action=drain"), "DONE")
        self.assertEqual(self.proxy.lines["app/one"].server.admin, DRAIN)
        for number in (ids["other"], 7, 99, 0, "", "app"):
            self.assertEqual(self.order(f"s=one&s=four&b=#{number}&action=maint"), "ERRP", number)
        self.assertEqual(self.proxy.lines["other/four"].server.admin, READY)

    def test_health(self) -> None:
        """Until a check finds something else; one that tracks another has that one's."""
        for action, health in (("hdown", DOWN), ("hrunn", UP), ("hnolb", NOLB), ("hrunn", UP)):
            self.assertEqual(self.order(f"s=one&s=two&b=app&action={action}"), "DONE")
            self.assertEqual((self.one.health, self.two.health, self.three.health), (health,) * 3, action)
        self.assertEqual(self.order("s=three&b=app&action=hdown"), "NONE")
        (checker,) = self.app.checkers
        self.assertTrue(checker.judge.sure)

    def test_checks_and_agents_pause(self) -> None:
        (checker,), (agent,) = self.app.checkers, self.app.agents
        for action, paused in (("dhlth", True), ("ehlth", False)):
            self.assertEqual(self.order(f"s=one&b=app&action={action}"), "DONE")
            self.assertIs(checker.paused, paused)
            self.assertEqual(self.order(f"s=two&b=app&action={action}"), "NONE")
        self.order("s=one&b=app&action=dhlth")
        checker._check()
        self.assertIsNone(checker._run)
        self.order("s=one&b=app&action=ehlth")
        for action, down in (("adown", True), ("arunn", False)):
            self.assertEqual(self.order(f"s=two&b=app&action={action}"), "DONE")
            self.assertEqual((self.two.agent_down, self.two.health), (down, DOWN if down else UP))
        self.assertEqual(self.order("s=two&b=app&action=dagent"), "DONE")
        agent._ask()
        self.assertIsNone(agent._run)
        self.assertEqual(self.order("s=two&b=app&action=adown"), "NONE")
        self.assertEqual(self.order("s=two&b=app&action=eagent"), "DONE")
        self.assertEqual(self.order("s=one&b=app&action=dagent"), "NONE")
        for call in self.clock.getDelayedCalls():
            call.cancel()

    def test_sessions_are_ended(self) -> None:
        ended: list[Any] = []
        self.patch(self.proxy.frontends[0], "end_sessions", lambda server, letter: ended.append((server, letter)))
        self.assertEqual(self.order("s=one&b=app&action=shutdown"), "DONE")
        self.assertEqual(ended, [(self.one, "K")])

    def test_what_makes_no_sense_changes_nothing(self) -> None:
        """HAProxy's codes."""
        for form, code in (
            ("", "NONE"),
            ("x=y", "NONE"),
            ("s=one&action=maint", "NONE"),
            ("b=app&action=maint", "NONE"),
            ("s=one&b=app", "NONE"),
            ("s=no&b=app&action=maint", "ERRP"),
            ("s=one&b=no&action=maint", "ERRP"),
            ("s=one&b=status&action=no", "ERRP"),
            ("s=one&b=app&action=no", "ERRP"),
            ("s=%ff%fe&b=app&action=maint", "ERRP"),
            ("s=no&s=one&b=app&action=ready", "PART"),
            ("action=ready&b=app&s=o%6ee", "DONE"),
            ("s=one&b=app&action=maint&action=ready", "DONE"),
        ):
            self.assertEqual(self.order(form), code, form)
        self.assertEqual(self.one.admin, READY)

    def test_a_form_comes_in_pieces(self) -> None:
        """With 100 (Continue) for who waits for that; and the next request is answered, too."""
        wire = self.connect()
        form = b"s=one&b=app&action=drain"
        length = b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(form)
        wire.feed(b"POST /;norefresh HTTP/1.1\r\nHost: a\r\n" + basic("root:r00t") + length)
        self.assertEqual(wire.take(), b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.feed(form[:9])
        wire.feed(form[9:] + b"GET /;csv HTTP/1.1\r\nHost: a\r\n" + basic("root:r00t") + b"\r\n")
        said = wire.take()
        self.assertIn(b"location: /;st=DONE;norefresh\r\n", said)
        self.assertEqual(self.one.admin, DRAIN)

    def test_a_form_without_end_is_refused(self) -> None:
        wire = self.connect()
        head = b"POST / HTTP/1.1\r\nHost: a\r\n" + basic("root:r00t") + b"Content-Length: 99999\r\n\r\n"
        wire.feed(head + b"s=one&")
        wire.feed(b"s=" + b"x" * HELD_MAX)
        said = wire.take()
        self.assertIn(b"location: /;st=EXCD\r\n", said)
        self.assertIn(b"connection: close\r\n", said)

    def test_after_a_reload_old_servers_are_left_alone(self) -> None:
        self.proxy.frontends[0].stopped = True
        form = b"s=one&b=app&action=maint"
        said = self.ask(b"POST /", basic("root:r00t"), form)
        self.assertIn(b"location: /;st=NONE\r\n", said)
        self.assertEqual(self.one.admin, READY)

    def test_the_page_offers_what_is_understood(self) -> None:
        offered = [*statspage.ACTIONS]
        self.assertEqual(offered, [*ACTIONS][: len(offered)])
        self.assertIn(b"Done.", self.ask(b"GET /;st=DONE", basic("root:r00t")))
