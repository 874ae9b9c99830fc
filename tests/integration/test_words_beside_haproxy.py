"""Words of the configuration through reusedproxy and through HAProxy: the same lines, requests and servers, and the
same answers, ends and requests at the server."""

from __future__ import annotations

import os
import socket
import zlib
from pathlib import Path
from unittest import TestCase

from tests.integration.beside import HOST, HAProxy
from tests.integration.daemon import Daemon
from tests.integration.names import NameServerThread
from tests.integration.peers import LOOPBACK, accept_each, temporary_directory, wait_for
from tests.integration.test_beside_haproxy import why_not
from tests.integration.wordcases import Case, Server, both
from tests.ports import free_port, free_ports

GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"


class WordsTestCase(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def same(self, cases: list[Case], settings: str = "") -> None:
        outcomes = both(temporary_directory(self), cases, settings)
        self.assertEqual(
            "", "\n".join(f"{name}: {ours}\n  but {theirs}" for name, ours, theirs in outcomes if ours != theirs)
        )

    def daemons(self, directory: Path, text: str) -> list[Daemon]:
        made = [make(directory / name, text) for name, make in (("ours", Daemon), ("theirs", HAProxy))]
        for daemon in made:
            self.addCleanup(daemon.stop)
        return made


class SocketTests(WordsTestCase):
    """What `bind` and `server` lines say of sockets."""

    def test_unix_bind_says_where_unix_sockets_are_and_who_may_connect(self) -> None:
        directory = temporary_directory(self)
        for daemon in self.daemons(directory, ""):
            at = daemon.file.parent
            daemon.write(
                f"backend servers\n http-request return status 200 content-type text/plain string x\n"
                f"global\n unix-bind prefix {at}/ mode 640 gid {os.getgid()}\n"
                "listen own\n bind unix@one.sock\n bind unix@two.sock mode 606\n default_backend servers\n"
            )
            daemon.start()
            wait_for((at / "two.sock").exists, "the sockets")
            modes = [oct((at / name).stat().st_mode & 0o777) for name in ("one.sock", "two.sock")]
            self.assertEqual(["0o640", "0o606"], modes)
            daemon.stop()

    def test_either_reaches_the_other_by_a_name_in_the_abstract_namespace(self) -> None:
        directory = temporary_directory(self)
        name = f"reusedproxy-{free_port()}"
        text = "backend servers\n server s abns@{}\n"
        own = "backend own\n http-request return status 200 content-type text/plain string {}\n"
        listens = own + "frontend named\n bind abns@{}\n default_backend own\n"
        for listening, asking in ((Daemon, HAProxy), (HAProxy, Daemon)):
            here = directory / listening.__name__
            one = listening(here / "one", text.format("nobody") + listens.format(listening.__name__, name))
            other = asking(here / "other", text.format(name))
            for daemon in (one, other):
                self.addCleanup(daemon.stop)
                daemon.start()
            with socket.create_connection(("127.0.0.1", other.port), timeout=20) as client:
                client.sendall(GET)
                self.assertTrue(client.recv(4096).endswith(listening.__name__.encode()))
            other.stop()
            one.stop()

    def test_a_server_without_a_port_has_that_of_the_client_and_one_with_a_sign_is_beside_it(self) -> None:
        """In both modes; an address that is everybody's is that to which the client has connected."""
        servers = [Server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number) for number in range(2)]
        for server in servers:
            self.addCleanup(server.stop)
            server.start()
        one, two = (server.port for server in servers)
        # What is said, the address and port of the proxy (the servers are at HOST), and whose answer comes.
        cases = []
        for number, mode in enumerate(("http", "tcp")):
            free = free_ports(2)
            cases += [
                (mode, HOST, f"127.0.0.{3 + number}", one, b"0"),
                (mode, f"{HOST}:{two - one:+d}", f"127.0.0.{5 + number}", one, b"1"),
                (mode, f"*:{two}", HOST, free[0], b"1"),
                (mode, f"0.0.0.0:{one - free[1]:+d}", HOST, free[1], b"0"),
            ]
        text = "backend servers\n"
        for number, (mode, address, host, port, _) in enumerate(cases):
            text += f"listen l{number}\n mode {mode}\n bind {host}:{port}\n server s {address}\n"
        for daemon in self.daemons(temporary_directory(self), text):
            daemon.start()
            for mode, address, host, port, expected in cases:
                with socket.create_connection((host, port), timeout=20) as client:
                    client.sendall(GET)
                    self.assertEqual(client.recv(4096)[-1:], expected, (type(daemon), mode, address))
            daemon.stop()


POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTS = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
WAIT = (
    "http-request wait-for-body time {}\n http-request set-header X-Body %[req.body]-%[req.body_len]-%[req.body_size]"
)
PLAIN = "content-type text/plain string no"
SHOW = "http-request set-header X-{0} %[{0}]:%[{0}_port]:%[fc_{0}]"


def asking(target: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"GET %b HTTP/1.1" % target, b"Host: a", *lines, b"", b""))


class ActionTests(WordsTestCase):
    """Actions that change how a request is carried."""

    def test_a_request_waits_for_its_body_where_rules_say_so(self) -> None:
        buffers = "option http-buffer-request\n http-request set-header X-Body %[req.body]"
        self.same(
            [
                Case("in time", WAIT.format("2s"), [POST + b"12345", b"67890"]),
                Case("at once", WAIT.format("2s"), [POST + b"1234567890" + GET]),
                Case("too late", WAIT.format("100ms"), [POST + b"12345", b"", b"", b"67890"]),
                Case("enough", WAIT.format("2s at-least 3"), [POST + b"1", b"2345", b"67890"]),
                Case("100 (Continue)", WAIT.format("2s"), [EXPECTS, b"1234567890"]),
                Case("no body", WAIT.format("2s"), [GET]),
                Case("the option", buffers, [POST + b"1", b"2345", b"67890"]),
                Case("chunks", buffers, [CHUNKED + b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n" + GET]),
                Case(
                    "too late for the option", f"timeout http-request 300ms\n {buffers}", [POST + b"1", b"", b"", b""]
                ),
                Case(
                    "two waits",
                    f"{WAIT.format('2s at-least 2')}\n http-request wait-for-body time 2s\n"
                    " http-request set-header X-Then %[req.body]",
                    [POST + b"1", b"2", b"34", b"567890"],
                ),
            ]
        )

    def test_a_connection_ends_without_an_answer(self) -> None:
        self.same(
            [
                Case("reject", "http-request reject if { path /a }", [GET + GET]),
                Case("reject with a body", "http-request reject", [POST + b"123"]),
                Case("silent-drop", "http-request silent-drop", [GET]),
                Case(
                    "silent-drop of the next request", "http-request silent-drop if { path /b }", [GET, asking(b"/b")]
                ),
                Case(
                    "silent-drop of one behind another",
                    "http-request silent-drop if { path /b }",
                    [GET + asking(b"/b")],
                ),
                Case("silent-drop of an answer", "http-response silent-drop if { status 200 }", [GET]),
            ]
        )

    def test_a_tarpit_answers_late(self) -> None:
        time = "timeout tarpit 300ms\n http-request tarpit"
        self.same(
            [
                Case("tarpit", time, [GET + GET]),
                Case("status", f"{time} deny_status 429", [GET]),
                Case("answer", f"{time} status 403 {PLAIN} hdr X-A b", [GET]),
                Case("body", f"{time} status 403 {PLAIN}", [POST + b"123"]),
                Case("without its time", "timeout connect 200ms\n http-request tarpit", [GET]),
            ]
        )

    def test_what_is_said_of_the_connection_is_changed(self) -> None:
        self.same(
            [
                Case(
                    "source",
                    "option forwardfor\n http-request set-src req.hdr(x)\n http-request set-src-port int(99)\n "
                    + SHOW.format("src"),
                    [asking(b"/", b"X: 192.0.2.1"), asking(b"/", b"X: no"), asking(b"/", b"X: 2001:db8::1")],
                ),
                Case(
                    "destination",
                    f"http-request set-dst req.hdr(x)\n http-request set-dst-port int(99)\n {SHOW.format('dst')}",
                    [asking(b"/", b"X: 192.0.2.1"), asking(b"/", b"X: 2001:db8::1")],
                ),
                Case(
                    "the connection's source and destination",
                    "tcp-request connection set-src ipv4(192.0.2.1)\n tcp-request connection set-src-port int(5)\n"
                    " tcp-request connection set-dst ipv6(2001:db8::1)\n tcp-request connection set-dst-port int(99)\n"
                    " tcp-request connection reject unless { fc_dst 2001:db8::1 } { fc_src 192.0.2.1 }\n"
                    f" option forwardfor\n option originalto\n {SHOW.format('src')}\n {SHOW.format('dst')}",
                    [GET, GET],
                ),
                Case(
                    "the session's source and destination",
                    "tcp-request session set-src ipv6(2001:db8::1)\n tcp-request session set-src-port int(5)\n"
                    " tcp-request session set-dst ipv4(192.0.2.1)\n tcp-request session set-dst-port int(99)\n"
                    " tcp-request session reject unless { src 2001:db8::1 } { dst_port 99 } { fc_src 127.0.0.0/8 }\n"
                    " option forwardfor\n option originalto\n"
                    " http-request set-header X-A %[src]:%[src_port]-%[fc_src]-%[dst]:%[dst_port]-%[fc_dst]\n"
                    " http-request set-dst ipv4(192.0.2.7) if { path /a }",
                    [GET, asking(b"/a"), GET],
                ),
                Case("method", "http-request set-method PUT", [GET]),
                Case("tos", "http-request set-tos 0x10\n http-request set-mark 7\n http-request set-nice 3", [GET]),
            ]
        )

    def test_rules_for_contents_of_answers_come_before_the_others(self) -> None:
        """HAProxy sees the head where a condition waits for it; without a delay it decides before anything has come."""
        answer = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nno"
        content = "tcp-response content"
        self.same(
            [
                Case(name, f"tcp-response inspect-delay 2s\n {lines}", [GET, GET], answer, either_end=True)
                for name, lines in (
                    ("reject", f"{content} reject if {{ status 404 }}"),
                    ("reject another", f"{content} reject if {{ status 200 }}"),
                    ("reject whatever comes", f"{content} reject"),
                    ("silent-drop", f"{content} silent-drop if {{ res.hdr(x-a) 1 }}"),
                    ("close", f"{content} close if {{ status 200 }}"),
                    ("accept", f"{content} accept if {{ status 404 }}\n {content} reject"),
                    ("accept another", f"{content} accept if {{ status 200 }}\n {content} reject"),
                    (
                        "variables",
                        f"{content} reject if {{ status 500 }}\n {content} set-var(txn.a) status\n"
                        f" {content} set-var(res.b) res.hdr(x-a)\n"
                        f" {content} set-var-fmt(proc.content) %[status]\n {content} unset-var(res.c)\n"
                        f" http-response set-header X-V %[var(txn.a)]-%[var(res.b)]-%[var(proc.content)]",
                    ),
                    ("the others", f"http-response set-status 200\n {content} reject if {{ status 200 }}"),
                    (
                        "what counts",
                        f"{content} sc-inc-gpc0(0)\n {content} set-log-level silent\n {content} set-nice 9",
                    ),
                    ("a page", f"http-request return status 200 if {{ path / }}\n {content} reject"),
                )
            ]
        )

    def test_variables_of_the_process_are_the_same_for_all_clients(self) -> None:
        """Each case has its own. What one request sets the next one sees, on whatever connection."""
        shows = "http-request set-header X-{0} '%[var(proc.{0},none)]'"
        self.same(
            [
                Case(
                    "set by the file",
                    f"{shows.format('n')}\n {shows.format('text')}\n {shows.format('first')}\n {shows.format('no')}",
                    [GET],
                ),
                Case(
                    "set by rules",
                    "tcp-request connection set-var(proc.b) int(3)\n tcp-request session set-var-fmt(proc.d) a%[src]\n"
                    f" {shows.format('a')}\n {shows.format('b')}\n {shows.format('c')}\n {shows.format('d')}\n"
                    " http-request set-var(proc.a) path\n http-response set-var(proc.c) status\n"
                    " http-after-response set-header X-C %[var(proc.c),add(proc.b)]\n"
                    " http-request unset-var(proc.c) if { path /unset }",
                    [asking(b"/1"), asking(b"/2"), asking(b"/unset"), asking(b"/3")],
                ),
                Case(
                    "conditions",
                    "http-request set-var(proc.e,ifexists) str(e)\n http-request set-var(proc.f,ifnotexists) str(f)\n"
                    " http-request set-var(proc.g,ifset) str(g)\n http-request set-var(proc.h,ifnotset) str(h)\n"
                    f" {shows.format('e')}\n {shows.format('f')}\n {shows.format('g')}\n {shows.format('h')}",
                    [GET, GET],
                ),
                Case("decides", "http-request deny unless { var(proc.n) -m int 195 }", [GET]),
            ],
            "global\n set-var proc.m int(5)\n set-var proc.n int(200),sub(proc.m)\n"
            ' set-var-fmt proc.text "n is %[var(proc.n)]"\n set-var proc.first,ifnotset str(x)\n'
            " set-var proc.first,ifnotset str(y)\n set-var proc.no,ifnotexists str(x)\n",
        )

    def test_a_server_may_be_where_a_rule_says(self) -> None:
        server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere")
        self.addCleanup(server.stop)
        server.start()
        lines = f"http-request set-dst str({HOST})\n http-request set-dst-port int({server.port})\n server o 0.0.0.0:+0"
        tcp = "mode tcp\n " + lines.replace("http-request", "tcp-request content")
        self.same([Case(each[:8], f"balance first\n {each} id 1", [GET]) for each in (lines, tcp)])

    def test_connections_to_servers_come_from_where_is_said(self) -> None:
        """As a section says, and its servers in its place; checks, too."""
        heard: list[list[set[str]]] = []
        for make in (Daemon, HAProxy):
            servers = [socket.create_server((HOST, 0)) for _ in range(3)]
            found: list[set[object]] = [set() for _ in servers]
            for server, peers in zip(servers, found, strict=True):
                self.addCleanup(server.close)
                accept_each(server, lambda connection, peers=peers: _note_peer(connection, peers))  # type: ignore[misc]
            ports = free_ports(len(servers), HOST)
            text = "backend servers\n" + "".join(
                f"listen l{number}\n bind {HOST}:{ports[number]}\n option httpchk GET /\n source 127.0.0.11\n"
                f" server s {HOST}:{server.getsockname()[1]} check inter 200ms {words}\n"
                for number, (server, words) in enumerate(
                    zip(servers, ("", "source 127.0.0.12", "source 127.0.0.13:0"), strict=True)
                )
            )
            daemon = make(temporary_directory(self), text)
            self.addCleanup(daemon.stop)
            daemon.start()
            for port in ports:
                with socket.create_connection((HOST, port), timeout=20) as client:
                    client.sendall(GET)
                    self.assertIn(b"200", client.recv(4096))
            wait_for(lambda: all(b"check" in peers and b"/a" in peers for peers in found), "checks")  # noqa: B023
            heard.append([{each for each in peers if isinstance(each, str)} for peers in found])
            daemon.stop()
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(heard[0], [{f"127.0.0.{number}"} for number in (11, 12, 13)])

    def test_a_server_is_down_when_the_address_is_gone_from_which_it_is_reached(self) -> None:
        """As one is that two machines share, and the other one has now: nobody waits for the server."""
        for make in (HAProxy, Daemon):
            with socket.create_server((HOST, 0)) as server:
                accept_each(server, lambda connection: _note_peer(connection, set()))
                at = f"{HOST}:{server.getsockname()[1]}"
                text = (
                    f"backend servers\n option httpchk GET /\n server gone {at} check inter 200ms fall 2 source"
                    f" 192.0.2.77\n server there {at} backup\n"
                )
                daemon = make(temporary_directory(self), text)
                self.addCleanup(daemon.stop)
                daemon.start()
                wait_for(lambda: daemon.server("gone")["status"].startswith("DOWN"), "the checks")  # noqa: B023
                with socket.create_connection((LOOPBACK, daemon.port), timeout=20) as client:
                    client.sendall(GET)
                    self.assertIn(b"200", client.recv(4096), make)
                daemon.stop()

    def test_time_outs_are_those_of_a_rule(self) -> None:
        slow = b""  # it never answers
        self.same(
            [
                Case("server", "http-request set-timeout server 300ms", [GET], slow),
                Case(
                    "server, by an expression",
                    "http-request set-timeout server req.hdr(x)",
                    [asking(b"/", b"X: 300")],
                    slow,
                ),
            ]
        )

    def test_options_change_what_servers_hear(self) -> None:
        odd = [asking(b"/", b"X-A: 1", b"X_B: 2", b"X.C: 3"), asking(b"/", b"X-A: 1")]
        names = "option http-restrict-req-hdr-names"
        self.same(
            [
                Case("names as they are", f"{names} preserve", odd),
                Case("names deleted", f"{names} delete", odd),
                Case("names refused", f"{names} reject", odd),
                Case("names made by a rule", f"{names} reject\n http-request set-header X_D 1", [GET]),
                Case("names behind allow", f"{names} reject\n http-request allow", odd),
                Case("the server's name", "http-send-name-header X-Server", [asking(b"/", b"x-server: me"), GET]),
                Case("the destination", "option originalto", [GET]),
                Case("by another header", "option originalto header X-To", [asking(b"/", b"X-To: a")]),
                Case("but for some", "option originalto except 127.0.0.0/8", [GET]),
                Case("a close that is not told", "option http-server-close\n option http-pretend-keepalive", [GET]),
                Case("nothing sent", "timeout http-request 300ms\n option http-ignore-probes", [b"", b"", b""]),
                Case("a part sent", "timeout http-request 300ms\n option http-ignore-probes", [b"GET /", b"", b""]),
                # The client says nothing: the kernel tells it of the end once it says something after the drop.
                Case("silently dropped", "tcp-request connection silent-drop", [b"", b""]),
                Case("content silently dropped", "tcp-request content silent-drop if { path /a }", [GET]),
                Case("content rejected", "tcp-request content reject if { path /a }", [GET]),
                Case(
                    "content accepted",
                    "tcp-request inspect-delay 2s\n tcp-request content accept if HTTP\n tcp-request content reject",
                    [GET],
                ),
                Case("content at its end", "tcp-request content reject if WAIT_END { path /b }", [GET]),
            ]
        )

    def test_what_another_proxy_announces_is_fetched(self) -> None:
        """Of version 2, with and without extensions, and of version 1."""

        def header(*extensions: tuple[int, bytes]) -> bytes:
            rest = bytes((192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0, 80))
            rest += b"".join(bytes((kind, 0, len(value))) + value for kind, value in extensions)
            return b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0" + bytes((len(rest),)) + rest

        shown = "<%[fc_rcvd_proxy]><%[fc_pp_authority]><%[fc_pp_unique_id]><%[src]>"
        lines = f"tcp-request connection expect-proxy layer4\n http-request set-header Y {shown}"
        sent = {
            "both": header((2, b"a.example"), (5, b"id-1")) + GET,
            "neither": header() + GET,
            "others": header((4, b"xx"), (5, b"id-2"), (0xE0, b"y")) + GET,
            "two of a kind": header((2, b"a.example"), (2, b"b.example"), (5, b"one"), (5, b"two")) + GET,
            "version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n" + GET,
            "too long": header((5, b"x" * 129)) + GET,
        }
        cases = [Case(name, lines, [each]) for name, each in sent.items()]
        self.same([*cases, Case("none", lines.partition("\n ")[2], [GET])])

    def test_names_of_headers_are_spelled_as_is_said(self) -> None:
        """For servers and for clients, of all that they are told, pages of the proxy's own among it."""
        server = Server(b"HTTP/1.1 200 OK\r\nx-two: 2\r\ncontent-length: 2\r\n\r\nok")
        self.addCleanup(server.stop)
        server.start()
        directory = temporary_directory(self)
        (directory / "names").write_text("# c\n\n x-one  X-ONE\nconnection ConNection\n")
        for daemon in self.daemons(directory, ""):
            server.requests.clear()
            port = free_port()
            daemon.write(
                f"backend servers\nglobal\n h1-case-adjust content-length Content-LENGTH\n h1-case-adjust x-two X-Two\n"
                f" h1-case-adjust x-forwarded-for X-FORWARDED-For\n h1-case-adjust-file {directory}/names\n"
                f"listen l\n bind {HOST}:{port}\n option forwardfor\n option h1-case-adjust-bogus-client\n"
                " option h1-case-adjust-bogus-server\n http-request deny if { path /no }\n"
                f" server s {HOST}:{server.port}\n"
            )
            daemon.start()
            answers = []
            for target in (b"/", b"/no"):
                with socket.create_connection((HOST, port), timeout=5) as client:
                    client.sendall(asking(target, b"x-one: 1", b"Connection: close"))
                    answers.append(b"".join(iter(lambda: client.recv(4096), b"")))
            daemon.stop()
            (asked,) = server.requests
            for part in (b"\r\nX-ONE: 1\r\n", b"\r\nX-FORWARDED-For: 127."):
                self.assertIn(part, asked)
            for part in (b"\r\nX-Two: 2\r\n", b"\r\nContent-LENGTH: 2\r\n", b"\r\nConNection: close\r\n"):
                self.assertIn(part, answers[0])
            self.assertRegex(answers[1], b"\r\nContent-LENGTH: [0-9]+\r\n")

    def test_clients_are_rejected_by_what_the_process_is_at(self) -> None:
        """Its connections, queues and servers. A client counts from the moment at which it has connected."""
        figures = ["fe_conn ge 1", "fe_conn ge 2", "be_conn(other) ge 0", "nbsrv(other) lt 2"]
        figures += ["queue(other) 0", "avg_queue(other) ge 1", "srv_is_up(other/s)", "env(HOME) -m found"]
        self.same(
            [
                # Both reset whom a rule for connections rejects; whom one for sessions rejects, we alone.
                Case(
                    f"{rule} {figure}",
                    f"tcp-request {rule} reject if {{ {figure} }}",
                    sent,
                    either_end=rule != "connection",
                )
                for rule, sent in (("connection", [b"", b""]), ("session", [b"", b""]), ("content", [GET]))
                for figure in figures
            ],
            f"backend other\n server s {HOST}:1\n",
        )

    def test_early_hints_come_before_the_answer(self) -> None:
        hints = "http-request early-hint Link </a>\n http-request early-hint Link </%[method]>"
        self.same(
            [
                Case("hints", hints, [GET]),
                Case("and a refusal", f"{hints}\n http-request deny", [GET]),
                Case("to a client of HTTP/1.0", hints, [b"GET / HTTP/1.0\r\n\r\n"]),
            ]
        )

    def test_targets_are_normalized(self) -> None:
        """Each normalizer with each of these targets."""
        targets = (
            b"/a/./b/.", b"/.", b"/./bar/", b"/.well-known/", b"/foo/../", b"/foo/../bar/", b"/foo/bar/../",
            b"/../bar/",
            b"/bar/../../", b"/foo//../", b"/foo/%2E%2E/x", b"//", b"/foo//bar///", b"/%61dmin%3Fb%2e", b"/%%36%36",
            b"/%ZZ",
            b"/%6f?%6fa=%e1", b"/?c=3&a=1&b=2", b"/?aaa=3&a=1&aa=2", b"/?a=3&b=4&a=1&b=5&a=2&&", b"/a?/../b", b"/a/..",
            b"/a/b/..", b"/..", b"/%", b"/a?x=%zz",
        )  # fmt: skip
        cases = []
        for name in (
            "path-strip-dot", "path-strip-dotdot", "path-strip-dotdot full", "path-merge-slashes",
            "percent-decode-unreserved", "percent-decode-unreserved strict", "percent-to-uppercase",
            "percent-to-uppercase strict", "query-sort-by-name", "fragment-encode", "fragment-strip",
        ):  # fmt: skip
            if "strict" in name:
                cases += [
                    Case(f"{name} {each!r}", f"http-request normalize-uri {name}", [asking(each)]) for each in targets
                ]
            else:
                sent = b"".join(asking(each) for each in targets)
                cases.append(Case(name, f"http-request normalize-uri {name}", [sent]))
        self.same(cases, "global\n expose-experimental-directives\n")


#: A map of texts, as it stands in a file.
TEXTS = "# c\n\na one\nab  two words  \n a.example lead\nnoval\nab dup\n/a/b dirval\nexample.com domval\n#x y\n"
ADDRESSES = "10.0.0.0/8 net8\n10.1.0.0/16 net16\n10.1.2.3 host\n2001:db8::/32 v6\n"
NUMBERS = "1:5 low\n7 seven\n10:20 ten\n"
ASKED = (
    b"a", b"ab", b"abc", b"a.example", b"noval", b"zz", b"/a/b/c", b"www.example.com", b"x/a/b", b"#x", b"two", b"xab",
)  # fmt: skip


class MapTests(WordsTestCase):
    """Converters that look something up in a file."""

    def maps(self, directory: Path, asked: list[tuple[str, str, tuple[bytes, ...]]]) -> list[Case]:
        """Each with a map of its own: HAProxy 2.6 mixes those up that are looked up by several methods."""
        cases = []
        for number, (call, text, values) in enumerate(asked):
            file = directory / f"{number}.map"
            file.write_text(text)
            lines = f"http-request set-header Y <%[req.hdr(x),{call.format(file)}]>"
            cases.append(Case(call, lines, [b"".join(asking(b"/", b"X: " + value) for value in values)]))
        return cases

    def test_each_way_of_matching(self) -> None:
        texts = [f"map{way}({{}},def)" for way in ("", "_str", "_beg", "_end", "_sub", "_dir", "_dom")]
        addresses = (b"10.1.2.3", b"10.1.9.9", b"10.9.9.9", b"2001:db8::1", b"x", b"::ffff:10.1.2.3")
        regular = "^/a/(.*)$ /b/\\1\n^/c x\n"
        paths = (b"/a/q", b"/c/d", b"c")
        self.same(
            self.maps(
                temporary_directory(self),
                [
                    *((call, TEXTS, ASKED) for call in texts),
                    ("map({})", TEXTS, ASKED),
                    ("map_ip({},def)", ADDRESSES, addresses),
                    ("map_int({},def)", NUMBERS, (b"1", b"5", b"6", b"7", b"15", b"x")),
                    ("map_str_int({},9),add(1)", "a 5\nb -7\n", (b"a", b"b", b"c")),
                    ("map_str_ip({},9.9.9.9)", "a 1.2.3.4\nb 2001::1\n", (b"a", b"b", b"c")),
                    ("map_reg({},def)", regular, paths),
                    ("map_regm({},def)", regular, paths),
                ],
            )
        )

    def test_relative_names_of_files_begin_where_is_said(self) -> None:
        directory = temporary_directory(self)
        (directory / "a.map").write_text("a one\n")
        (directory / "list").write_text("a\n")
        (directory / "page").write_text("seen\n")
        lines = (
            "acl known req.hdr(x) -f list\n http-request set-header Y %[req.hdr(x),map(a.map)] if known\n"
            " http-request return status 200 content-type text/plain file page if { req.hdr(x) b }"
        )
        sent = asking(b"/", b"X: a") + asking(b"/", b"X: b") + asking(b"/", b"X: c")
        self.same([Case("origin", lines, [sent])], f"global\n default-path origin {directory}\n")

    def test_rules_change_a_map(self) -> None:
        file = temporary_directory(self) / "a.map"
        file.write_text(TEXTS)
        lines = (
            f"http-request set-map({file}) %[req.hdr(x)] new if {{ path /set }}\n"
            f" http-request del-map({file}) %[req.hdr(x)] if {{ path /del }}\n"
            f" http-response set-map({file}) a %[res.hdr(content-length)] if {{ status 200 }}\n"
            f" http-request set-header Y <%[req.hdr(x),map({file})]>"
        )
        steps = [(b"/", b"q"), (b"/set", b"q"), (b"/", b"q"), (b"/set", b"ab"), (b"/", b"ab"), (b"/del", b"ab")]
        steps += [(b"/", b"ab"), (b"/", b"a")]
        self.same([Case("set-map", lines, [b"".join(asking(path, b"X: " + value) for path, value in steps)])])

    def test_rules_change_a_list(self) -> None:
        """The lists of one file are one list, whatever it is compared by."""
        file = temporary_directory(self) / "a.lst"
        file.write_text("q\n")
        lines = (
            f"http-request add-acl({file}) %[req.hdr(x)] if {{ path /add }}\n"
            f" http-request del-acl({file}) %[req.hdr(x)] if {{ path /del }}\n"
            f" http-response add-acl({file}) k%[res.hdr(content-length)] if {{ status 200 }}\n"
            f" http-request set-header A 1 if {{ req.hdr(x) -f {file} }}\n"
            f" http-request set-header B 1 if {{ req.hdr(x) -i -f {file} }}\n"
            f" http-request set-header C 1 if {{ req.hdr(x) -m beg -f {file} }}\n"
            f" http-request set-header D 1 if {{ req.hdr(x) -m sub -i -f {file} }}"
        )
        steps = [(b"/", b"ab"), (b"/add", b"Ab"), (b"/", b"ab"), (b"/", b"Ab"), (b"/", b"xAbc"), (b"/del", b"ab")]
        steps += [(b"/", b"ab"), (b"/del", b"Ab"), (b"/", b"Ab"), (b"/", b"q"), (b"/del", b"q"), (b"/", b"Q")]
        self.same([Case("add-acl", lines, [b"".join(asking(path, b"X: " + value) for path, value in steps)])])

    def test_an_answer_waits_for_its_body_where_rules_say_so(self) -> None:
        show = "http-response set-header X-Len %[res.body_len]-%[res.body_size]"
        self.same(
            [
                Case("all of it", f"http-response wait-for-body time 2s\n {show}", [GET + GET]),
                Case("a part of it", f"http-response wait-for-body time 2s at-least 1\n {show}", [GET]),
                Case("none", f"http-response wait-for-body time 2s if FALSE\n {show}", [GET]),
            ]
        )


class FigureTests(WordsTestCase):
    """Fetches that look at whole sections, and at this process."""

    def test_they_give_what_haproxy_gives(self) -> None:
        names = (
            "be_conn", "fe_conn,bool", "queue", "avg_queue", "connslots", "be_conn(other)",
            "srv_is_up(case0/s)", "nbsrv",
            "env(HOME)", "env(NONE-SUCH)", "rand(1)", "srv_is_up(case0/s),iif(up,down)",
            "str(a),set-var(txn.q),upper,concat(,txn.q)", "str(a),set-var(txn.q),unset-var(txn.q),concat(-,txn.q)",
            "hostname", "nbproc", "proc", "srv_conn(other/s)", "srv_queue(other/s)", "srv_weight(other/s)",
            "srv_iweight(other/s)", "srv_uweight(other/s)", "srv_conn_free(other/s)", "be_conn_free(other)",
            "be_server_timeout", "be_tunnel_timeout", "fe_client_timeout", "fe_defbe", "stopping", "fc_lost",
            "fc_sacked", "fc_reordering", "fc_retrans", "fc_fackets", "fc_err", "dst_conn", "be_id,bool", "fe_id,bool",
            "fe_sess_rate", "fe_req_rate", "be_sess_rate(other)", "srv_sess_rate(other/s)",
            "src_is_local", "dst_is_local", "str(other),nbsrv", "str(none),nbsrv", "str(other/s),srv_queue",
        )  # fmt: skip
        self.same(
            [Case(name, f"http-request set-header Y <%[{name}]>", [GET]) for name in names],
            f"backend other\n server s {HOST}:1 weight 7 maxconn 5\n",
        )


def compressed(body: bytes = b"hello " * 50, *lines: str, status: str = "200 OK") -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""))
    return head.encode() + body


def expanded(message: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """A message with its body as it was before compression, and how it was compressed."""
    for window, name in ((31, b"gzip"), (15, b"zlib"), (-15, b"raw")):
        try:
            return (*message[:-1], name, zlib.decompress(message[-1], window))
        except zlib.error:
            continue
    return message


class CompressionTests(WordsTestCase):
    """Which answers are compressed, how, and what is said of it."""

    def test_answers_are_compressed_alike(self) -> None:
        gzip, accepts = "compression algo gzip", asking(b"/", b"Accept-Encoding: gzip")
        text = f"{gzip}\n compression type text/ application/json"

        def client(accepted: str, *lines: bytes) -> bytes:
            return asking(b"/", b"Accept-Encoding: " + accepted.encode(), *lines)

        html = "Content-Type: text/html; charset=utf-8"
        cases = [
            Case("gzip", gzip, [accepts], compressed()),
            Case("of a type", text, [accepts], compressed(b"x" * 99, html)),
            Case("of another type", text, [accepts], compressed(b"x" * 99, "Content-Type: image/png")),
            Case("of no type", text, [accepts], compressed()),
            Case("several parts", gzip, [accepts], compressed(b"x" * 99, "Content-Type: multipart/mixed")),
            *(
                Case(line, gzip, [accepts], compressed(b"x" * 99, *line.split("; ")))
                for line in (
                    'ETag: "a"', 'ETag: W/"a"', "ETag: a", 'ETag: "a"; ETag: "b"', "Vary: Cookie",
                    "Cache-Control: no-transform", "Cache-Control: max-age=1, No-Transform", "Content-Encoding: br",
                    "Accept-Ranges: bytes",
                )
            ),
            *(
                Case(f"status {status}", gzip, [accepts], compressed(status=status))
                for status in ("201 Created", "203 x", "206 Partial Content", "404 Not Found", "500 x")
            ),
            Case("304", gzip, [accepts], b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
            Case("empty", gzip, [accepts], compressed(b"")),
            Case("HEAD", gzip, [accepts.replace(b"GET", b"HEAD")], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            Case("a star", gzip, [client("*")], compressed()),
            *(
                Case(f"accepts {each}", "compression algo gzip deflate", [client(each)], compressed())
                for each in ("", "br", "gzip;q=0", "deflate;q=0.9, gzip;q=0.5", "gzip;q=0.1, deflate", "GZIP")
            ),
            Case("raw-deflate", "compression algo raw-deflate", [client("deflate")], compressed()),
            Case("offload", f"{gzip}\n compression offload", [accepts], compressed()),
            Case("offload for nothing", f"{gzip}\n compression offload", [client("br")], compressed()),
            Case("chunks", gzip, [accepts],
                 b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
            Case("an old browser", gzip, [client("gzip", b"User-Agent: Mozilla/4.0 (x)")], compressed()),
            Case("a rule's type", f"http-response set-header Content-Type text/x\n {text}", [accepts], compressed()),
        ]  # fmt: skip
        different = self.differing(cases)
        # HAProxy 2.6 reads on behind these values: what an earlier request has left there may be taken for a coding.
        alone = {"accepts ", "accepts gzip;q=0"} & different.keys()
        for case in cases:
            if case.name in alone:
                del different[case.name]
                different.update(self.differing([case]))
        self.assertEqual("", "\n".join(different.values()))

    def differing(self, cases: list[Case]) -> dict[str, str]:
        """By case: what is answered by the one program, and by the other."""
        different = {}
        for name, ours, theirs in both(temporary_directory(self), cases):
            one, other = ([expanded(each) for each in seen.answers] for seen in (ours, theirs))
            if one != other or ours.requests != theirs.requests:
                different[name] = f"{name}: {ours}\n  but {theirs}"
        return different


class NameTests(WordsTestCase):
    def test_rules_ask_name_servers(self) -> None:
        """For both families, for one, and for what is no name."""
        server = NameServerThread()
        self.addCleanup(server.stop)
        server.zone.records["both.test"] = (("A", "192.0.2.7"), ("AAAA", "2001:db8::7"))
        server.zone.records["four.test"] = (("A", "192.0.2.4"),)
        names = (b"both.test", b"four.test", b"none.test", b"", b"192.0.2.9", b"::1", b"0.0.0.0")
        sent = [b"".join(asking(b"/", b"X: " + name) for name in names)]
        settings = f"resolvers dns\n nameserver one 127.0.0.1:{server.port}\n timeout retry 500ms\n"
        lines = "http-request do-resolve(txn.a,dns{}) req.hdr(x)\n http-request set-header Y <%[var(txn.a)]>"
        self.same(
            [Case(family or "any", lines.format(family), sent) for family in ("", ",ipv4", ",ipv6")],
            settings,
        )


def _note_peer(connection: socket.socket, peers: set[object]) -> None:
    """Answers requests, and notes from where they come, and of which kind they were."""
    with connection:
        try:
            while request := connection.recv(65536):
                peers |= {connection.getpeername()[0], b"/a" if b"GET /a" in request else b"check"}
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            pass
