"""What the daemon itself has open during a reload is freed when it ends: checks, dials, operators' sessions, and what
the configuration does not name any more."""

from __future__ import annotations

import os
from typing import Any

from tests.garbage import GarbageTestCase, NamesEnd, garbage
from tests.integration.peers import LOOPBACK
from tests.wire import certificates, server_context

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class DaemonTests(GarbageTestCase):
    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        self.server = self.ends.server()
        self.secure = self.ends.server(tls=server_context(client_certificate=False))
        self.mute = self.ends.server(tls=server_context(), mute=True)
        self.port, self.secure_port, self.mute_port = (
            each.target.address[1] for each in (self.server, self.secure, self.mute)
        )
        self.crt = self.write("front.pem", "server.test")
        self.ca_file = certificates().ca_file
        self.map = self.text("m.map", "a b\n")

    def backends(self, *servers: str, words: str = "") -> str:
        listed = "".join(f" server {each}\n" for each in servers)
        return f"frontend f\n mode http\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n mode http\n{words}{listed}"

    def ask(self, *lines: str) -> Any:
        """A session of the runtime API, which has said these lines."""
        far = self.ends.connect(f"{self.folder}/admin.sock")
        for line in lines:
            far.send(line.encode())
            self.ends.pump()
        return far

    def tell(self, line: str) -> str:
        far = self.ask(line + "\n")
        self.ends.until(lambda: far.end)
        self.ends.forget(far)
        return str(far.received, "ascii")

    def test_checks(self) -> None:
        """Under way at the reload, and whose servers it takes away."""
        plain, secure, mute = (f"{LOOPBACK}:{each}" for each in (self.port, self.secure_port, self.mute_port))
        tls = f"ssl verify required ca-file {self.ca_file} verifyhost server.test"
        words = (
            f"p {plain} check inter 1s agent-check agent-port {self.port} agent-inter 1s",
            f"q {secure} check inter 1s {tls}",
            f"r {mute} check inter 1s {tls}",
            f"s {LOOPBACK}:1 check inter 1s on-error mark-down observe layer4",
            f"t {plain} track b/p slowstart 9s pool-min-conn 2",
            f"u {mute} {tls} pool-min-conn 2",
        )
        kinds = (
            " option httpchk GET /c\n http-check expect status 200\n",
            " option tcp-check\n tcp-check connect\n tcp-check send x\n tcp-check expect string y\n",
            " option external-check\n external-check command /bin/true\n",
            "",
        )
        self.begin(self.backends(f"z {plain}"))
        left = {}
        for kind in kinds:
            with garbage() as found:
                self.configure(self.backends(*words, words=kind))
                self.reload()
                for far in self.server.accepted[::2]:
                    far.send(OK)
                    far.drop()
                self.reload()
                self.configure(self.backends(f"z {plain}"))
                self.reload()
                self.end()
                self.pass_time(5)
                far = None
            left[kind] = found
        self.assertFalse(any(left.values()), left)

    def test_operators_sessions(self) -> None:
        self.begin(self.backends(f"s {LOOPBACK}:{self.port}"))
        with garbage() as left:
            self.reload()
            for lines in (
                ("prompt\n", "show info\n"),
                ("show st",),
                ("show stat\n",),
                ("prompt\n", "add map #0 <<\n", "a b\n"),
                ("show events buf0 -w\n",),
                ("wait 1s\n",),
                ("set timeout cli 2s\n",),
                ("prompt\n", "reload\n"),
            ):
                self.ask(*lines)
            self.reload()
            self.pass_time(4)
            self.end()
        self.assertEqual(dict(left), {})

    def test_orders(self) -> None:
        """Servers that come and go, and files of TLS in memory."""
        bind = f"frontend g\n mode http\n bind {LOOPBACK}:0 ssl crt {self.crt}\n default_backend b\n"
        words = f" balance roundrobin\n http-request set-header a %[src,map({self.map})]\n"
        self.begin(self.backends(f"s {LOOPBACK}:{self.port}", words=words) + bind)
        with open(self.crt) as file:
            pem = file.read()
        for order, said, _ in self.orders(pem):  # what is made once is made
            self.assertIn(said, answer := self.tell(order), f"{order}: {answer}")
        with garbage() as left:
            self.reload()
            for order, said, reloads in self.orders(pem):
                self.assertIn(said, answer := self.tell(order), f"{order}: {answer}")
                if reloads:
                    self.reload()
            self.pass_time(5)
            self.end()
        self.assertEqual(dict(left), {})

    def orders(self, pem: str) -> list[tuple[str, str, bool]]:
        """Each with a part of the answer, and whether a reload follows."""
        added = f"add server b/n {LOOPBACK}:{self.port}"
        return [
            (added, "New server registered", False),
            ("enable server b/n", "", False),
            ("disable server b/n", "", False),
            ("del server b/n", "Server deleted", True),
            (added, "New server registered", True),
            (f"set server b/s addr {LOOPBACK} port {self.secure_port}", "port", True),
            (f"set server b/s addr {LOOPBACK} port {self.port}", "port", True),
            (f"add map {self.map} c d", "", True),
            (f"del map {self.map} c", "", False),
            (f"set ssl cert {self.crt} <<\n{pem}\n", "Transaction created", False),
            (f"commit ssl cert {self.crt}", "Success", True),
        ]

    def test_sections_that_go(self) -> None:
        """With their clients, listeners, certificates, tables and logs."""
        other = self.other_sections()
        text = self.backends(f"s {LOOPBACK}:{self.port}")
        self.begin(text)
        with garbage() as left:
            self.configure(text + other)
            self.reload()
            self.client("g", secure=True).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.client("t").send(b"hello")
            self.ends.until(lambda: len(self.server.accepted) >= 2)
            stamp = os.stat(self.crt)
            os.utime(self.crt, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000_000))
            self.reload()
            self.configure(text)
            self.reload()
            self.end()
            self.pass_time(5)
        self.assertEqual(dict(left), {})

    def other_sections(self) -> str:
        other = (
            f"frontend g\n mode http\n bind {LOOPBACK}:0 ssl crt {self.crt}\n log {LOOPBACK}:9 local0\n"
            f" option httplog\n stick-table type ip size 1k expire 1m store http_req_rate(10s)\n"
            f" http-request track-sc0 src\n use_backend c\nbackend c\n mode http\n hash-type consistent\n"
            f" balance uri\n server s {LOOPBACK}:{self.port}\n server t h.test:80 resolvers r init-addr none\n"
            f" server-template v 1-3 _h._tcp.a.test resolvers r init-addr none\n"
            f"frontend t\n mode tcp\n bind {LOOPBACK}:0\n default_backend tb\n"
            f"backend tb\n mode tcp\n server s {LOOPBACK}:{self.port}\n"
        )
        listed, page = self.text("list", "192.0.2.1\n"), self.text("503", "HTTP/1.0 503 Away\r\n\r\naway")
        kinds = (
            "balance leastconn",
            "balance first",
            "balance static-rr",
            "balance random",
            "balance uri; hash-type map-based",
            "balance uri; hash-type consistent; hash-balance-factor 150",
            f"http-request deny if {{ src -f {listed} }}",
            f"http-request set-header a %[path,map_beg({self.map})]",
            f"http-request set-header a %[path,map_reg({self.map})]",
            "use-server s if { path /s }",
            "http-response replace-header a b(.) c; http-request replace-path (.*) /x\\\\1",
            "default-server pool-min-conn auto slowstart 5s pool-max-conn 9",
            "default-server backup; option allbackups",
            "default-server send-proxy-v2 ssl verify none sni req.hdr(host)",
            "stick-table type string size 1k expire 1m store gpc0,http_err_rate(10s); stick on path",
            f"errorfile 503 {page}",
        )
        for number, kind in enumerate(kinds):
            lines = "".join(f" {line}\n" for line in kind.split("; "))
            other += f"backend k{number}\n mode http\n{lines} server s {LOOPBACK}:{self.port}\n"
            other += f" server t {LOOPBACK}:{self.port}\n"
        other += (
            f"ring r1\n size 32768\n server l {LOOPBACK}:9\nfrontend h\n mode http\n bind {LOOPBACK}:0\n"
            " log ring@r1 local0\n log stdout format raw local0 err\n log-format %ci\n rate-limit sessions 9\n"
            " monitor-uri /m\n stats enable\n default_backend k0\n"
        )
        return other

    def test_names(self) -> None:
        """Servers that name servers find, lose and move, sections whose lines change, and requests that wait."""
        names = NamesEnd()
        self.ends.far.append(names)  # type: ignore[arg-type]
        names.zone.records |= {
            "h.test": [("A", LOOPBACK)],
            "_s._tcp.a.test": [("SRV", f"v{each}.test", str(self.port), "1") for each in range(3)],
            **{f"v{each}.test": [("A", f"127.0.0.{each + 1}")] for each in range(3)},
        }
        servers = (
            f"h h.test:{self.port} resolvers r init-addr none pool-min-conn 1",
            f"t h.test:{self.secure_port} resolvers r init-addr none check inter 1s",
        )
        template = " server-template v 1-3 _s._tcp.a.test resolvers r init-addr none check inter 1s\n"
        words = " http-request do-resolve(txn.x,r,ipv4) req.hdr(host)\n"
        text = self.backends(*servers, words=words) + template
        self.begin(text, f"{LOOPBACK}:{names.port}")
        with garbage() as left:
            for number in range(3):
                self.retry = number + 1
                self.configure(text)
                self.reload()
                self.pass_time(4)
                names.zone.records["h.test"] = [("A", f"127.0.0.{number + 2}")]
                names.zone.records["_s._tcp.a.test"] = [("SRV", "v1.test", str(self.port), "1")]
                for each in range(3):
                    self.client("f").send(f"GET / HTTP/1.1\r\nHost: n{number}{each}.test\r\n\r\n".encode())
                self.pass_time(4)
            self.configure(self.backends(f"s {LOOPBACK}:{self.port}"))
            self.reload()
            self.pass_time(5)
            self.end()
        self.assertEqual(dict(left), {})
