"""Whatever clients and servers have open during a reload is freed when it ends. The reload makes permanent what is
alive then, so that the garbage collector, to which a reference cycle would be left, does not look at it any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from tests.garbage import GarbageTestCase, garbage
from tests.integration.peers import LOOPBACK
from tests.test_wire_client_hello import hello_of
from tests.wire import certificates, server_context

GET = b"GET /%s HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SWITCH = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"


@frozen
class Kind:
    """One kind of what may be open: its section's name, what each client sends, and what each server that is reached
    says then; lines of its frontend and its backend, with "; " between them, and words of its server, which is `at`
    this address, and of its `bind` line. `reached` tells that a server is."""

    word: str
    sent: bytes
    front: str = ""
    back: str = ""
    server: str = ""
    answer: bytes = field(default=b"", kw_only=True)
    reached: bool = field(default=True, kw_only=True)
    secure: bool = field(default=False, kw_only=True)
    tcp: bool = field(default=False, kw_only=True)
    bind: str = field(default="", kw_only=True)
    at: str = field(default=LOOPBACK, kw_only=True)

    @property
    def over_tls(self) -> bool:
        """Whether its server speaks TLS."""
        return "ca-file" in self.server

    def text(self, port: int, crt: str, ca_file: str) -> str:
        mode = "tcp" if self.tcp else "http"
        server = f"{self.at}:{port} {self.server}".format(ca_file=ca_file)
        return (
            f"frontend {self.word}\n mode {mode}\n bind {LOOPBACK}:0 {self.bind.format(crt=crt)}\n"
            + "".join(f" {each}\n" for each in self.front.split("; ") if each)
            + f" default_backend {self.word}.b\nbackend {self.word}.b\n mode {mode}\n"
            + "".join(f" {each}\n" for each in self.back.split("; ") if each)
            + f" server s {server}\n"
        )


HALF = OK[:-1]
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5\r\nhello\r\n"
PACKED = GET[:-2] % b"" + b"Accept-Encoding: gzip\r\n\r\n"
SOON = b"GET / HTTP/1.1\r\nHost: a.te"
BASIC = GET[:-2] % b"" + b"Authorization: Basic dTpw\r\n\r\n"
CRYPTED = "$5$rounds=1000$abc$OyOFYDHx1cjW1MtRPRXXAlPDQpsSLK0U0dYuBRb5tY5"
SEEN = "http-request set-header a %[ssl_fc_protocol]; option httpslog; log {log} local0"
LIMITED = (
    "stick-table type ip size 1k expire 1m store http_req_rate(10s); http-request track-sc0 src;"
    " http-request deny if { sc_http_req_rate(0) gt 100 }"
)
SHARED = (
    "stick-table type ip size 1k expire 1m store bytes_out_rate(1s); filter bwlim-out x key src limit 1000;"
    " http-response set-bandwidth-limit x"
)
KINDS = (
    Kind("idle", b"", reached=False),
    Kind("head", SOON, reached=False),
    Kind("answering", GET % b"", answer=HALF),
    Kind("answered", GET % b"", answer=OK),
    Kind("waiting", GET % b""),
    Kind("body", POST % b"", answer=HALF),
    Kind("early", POST % b"", answer=OK),
    Kind("pause", GET % b"", "http-request pause 1s", reached=False),
    Kind("tarpit", GET % b"", "http-request tarpit", reached=False),
    Kind("wait", POST % b"", "http-request wait-for-body time 1s", reached=False),
    Kind("resolve", GET % b"", "http-request do-resolve(txn.x,r,ipv4) req.hdr(host)", reached=False),
    Kind("hash", BASIC, "http-request auth unless { http_auth(u) }", reached=False),
    Kind("withheld", GET % b"", "http-response wait-for-body time 1s", answer=HALF),
    Kind("paused", GET % b"", "http-response pause 1s; http-after-response set-header a b", answer=OK),
    Kind("queue", GET % b"", server="maxconn 1", answer=HALF),
    Kind("switched", SWITCH, answer=SWITCHED),
    Kind("connect", b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", answer=b"HTTP/1.1 200 OK\r\n\r\nhi"),
    Kind("gzip", PACKED, "compression algo gzip", answer=CHUNKS),
    Kind(
        "slow",
        GET % b"",
        "filter bwlim-out x default-limit 10 default-period 1s; http-response set-bandwidth-limit x",
        answer=OK,
    ),
    Kind("hedge", GET % b"", back="hedge after 100ms"),
    Kind("retry", GET % b"", back="retry-on all-retryable-errors"),
    Kind("never", GET % b"", back="http-reuse never", answer=HALF),
    Kind(
        "tracked",
        GET % b"",
        "stick-table type ip size 1k expire 1m store http_req_rate(10s); http-request track-sc0 src",
        "stick-table type ip size 1k expire 1m; stick on src; cookie s insert",
        answer=HALF,
    ),
    Kind(
        "captured",
        GET % b"",
        "http-request capture req.hdr(host) len 10; http-request set-var(txn.a) src; option httplog; log {log} local0",
        answer=HALF,
    ),
    Kind("secure", GET % b"", server="ssl verify required ca-file {ca_file} sni str(server.test)", answer=HALF),
    Kind(
        "named",
        GET % b"",
        server="ssl verify required ca-file {ca_file} sni str(server.test) pool-conn-name req.hdr(host)",
        answer=HALF,
    ),
    Kind("client-tls", GET % b"", bind="ssl crt {crt}", secure=True, answer=HALF),
    Kind("handshake", b"\x16\x03", bind="ssl crt {crt}", reached=False),
    Kind("header", b"PROXY TCP4", bind="accept-proxy", reached=False),
    Kind("stats", GET % b"", "stats enable; stats uri /", reached=False),
    Kind("metrics", GET % b"", "http-request use-service prometheus-exporter", reached=False),
    Kind(
        "returned", GET % b"", "http-request return status 200 content-type text/plain lf-string %[src]", reached=False
    ),
    Kind("denied", GET % b"", "http-request deny", reached=False),
    Kind("hedged", GET % b"", back="hedge after 100ms", answer=OK),
    Kind("until-close", GET % b"", answer=b"HTTP/1.1 200 OK\r\n\r\nhello"),
    Kind("introduced", GET % b"", server="send-proxy", answer=HALF),
    Kind("elsewhere", GET % b"", "http-request set-dst dst", answer=HALF, at="0.0.0.0"),
    Kind("seen", GET % b"", front=SEEN, bind="ssl crt {crt}", secure=True, answer=HALF),
    Kind("failed", b"GET / HTTP/1.1\r\n\r\n", "option httplog; log {log} local0", bind="ssl crt {crt}", reached=False),
    Kind("monitored", GET % b"", "monitor-uri /; rate-limit sessions 100", reached=False),
    Kind("limited", GET % b"", LIMITED, answer=HALF),
    Kind("shared", GET % b"", SHARED, answer=HALF),
    Kind("relay", b"hello", tcp=True, answer=b"welcome"),
    Kind(
        "hello",
        hello_of(b"a.test")[:-9],
        "tcp-request inspect-delay 1s; tcp-request content accept if { req.ssl_sni a }",
        reached=False,
        tcp=True,
    ),
    Kind("alone", b"hello", server="send-proxy", tcp=True, answer=b"welcome"),
    Kind("relay-early", b"", tcp=True, answer=b"welcome"),
    Kind("relay-silent", b"hello", tcp=True),
    Kind(
        "relay-tls",
        b"hello",
        bind="ssl crt {crt}",
        secure=True,
        server="ssl verify required ca-file {ca_file} verifyhost server.test",
        tcp=True,
        answer=b"welcome",
    ),
    Kind("relay-queue", b"hello", server="maxconn 1", tcp=True),
    Kind(
        "relay-slow",
        b"hello",
        "filter bwlim-in x default-limit 1 default-period 1s; tcp-request content set-bandwidth-limit x",
        tcp=True,
    ),
    Kind(
        "relay-tracked",
        b"hello",
        "stick-table type ip size 1k expire 1m store conn_cur; tcp-request connection track-sc0 src",
        "stick-table type ip size 1k expire 1m; stick on src",
        tcp=True,
    ),
    Kind(
        "inspected",
        b"he",
        "tcp-request inspect-delay 1s; tcp-request content accept if { req.len gt 5 }",
        tcp=True,
        reached=False,
    ),
    Kind(
        "gated",
        b"hello",
        back="tcp-response inspect-delay 1s; tcp-response content accept if { res.len gt 50 }",
        tcp=True,
        answer=b"we",
    ),
    Kind(
        "looked-up",
        b"hello",
        "tcp-request inspect-delay 1s; tcp-request content do-resolve(sess.x,r,ipv4) str(a.test)",
        tcp=True,
        reached=False,
    ),
    Kind(
        "switching",
        SOON,
        "tcp-request inspect-delay 1s; tcp-request content switch-mode http if { req.len gt 5 }",
        tcp=True,
        reached=False,
    ),
    Kind(
        "switched-mode",
        GET % b"",
        "tcp-request inspect-delay 1s; tcp-request content switch-mode http if { req.len gt 5 }",
        tcp=True,
        answer=HALF,
        reached=False,
    ),
    Kind("relay-log", b"hello", "option tcplog; log {log} local0", tcp=True, answer=b"welcome"),
)


class KindsTests(GarbageTestCase):
    """Each kind of what is open is left in several ways: its client goes, sends the rest or ends its side, its server
    goes or answers, or time passes."""

    def begin_kinds(self) -> None:
        crt = self.write("front.pem", "server.test")
        ca_file = certificates().ca_file
        self.servers = {
            each.word: self.ends.server(tls=server_context(client_certificate=False) if each.over_tls else None)
            for each in KINDS
        }
        texts = [each.text(self.servers[each.word].target.address[1], crt, ca_file) for each in KINDS]
        users = f"userlist u\n user u password {CRYPTED}\n"
        self.begin("".join(texts).replace("{log}", f"{LOOPBACK}:9") + users)

    def left_of(self, kinds: Sequence[Kind]) -> Counter[str]:
        """What is garbage when the connections of these kinds have ended."""
        with garbage() as left:
            self.reload()
            opened = [(each, self.open(each)) for each in kinds]
            self.pass_time(0.5)
            for kind, _ in opened:
                if kind.reached:
                    self.assertTrue(self.servers[kind.word].accepted, kind.word)
                for far in self.servers[kind.word].accepted:
                    far.send(kind.answer)
            self.ends.pump()
            self.reload()
            for kind, clients in opened:
                self.finish(clients, self.servers[kind.word].accepted)
            del opened, clients
            self.pass_time(4)
            self.end()
        return left

    def open(self, kind: Kind) -> list[Any]:
        clients = [self.client(kind.word, kind.secure) for _ in range(4)]
        for each in clients:
            each.send(kind.sent)
        return clients

    def finish(self, clients: list[Any], servers: list[Any]) -> None:
        self.ends.forget(clients[0])
        if servers:
            self.ends.forget(servers[0])
        for far in servers[1:]:
            far.send(OK)
            if far.waiting():
                far.half_close()
        clients[1].send(b"cd\r\n\r\n")
        if clients[2].waiting():
            clients[2].half_close()

    def test_kinds(self) -> None:
        self.begin_kinds()
        if self.left_of(KINDS):
            left = {each.word: self.left_of([each]) for each in KINDS}
            self.fail({word: each for word, each in left.items() if each})
