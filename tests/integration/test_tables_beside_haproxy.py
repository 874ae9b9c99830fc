"""Stick tables of reusedproxy and of HAProxy under the same traffic: what is counted, who is kept out, which server."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from unittest import TestCase

from tests.integration.beside import HOST, HAProxy, Recorder, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import temporary_directory, wait_for
from tests.integration.test_runtime_beside_haproxy import ask as command
from tests.ports import free_ports

SAID = "%[sc0_get_gpc0] %[src_http_req_cnt] %[sc0_get_gpt0] %[src,table_http_err_cnt(limited)] %[sc_tracked(1)]"
SAID += " %[src,in_table(keys)]"
COUNTED = "conn_cnt,conn_cur,conn_rate(1m),sess_cnt,sess_rate(1m),http_req_cnt,http_req_rate(1m),http_err_cnt"
COUNTED += ",http_err_rate(1m),http_fail_cnt,http_fail_rate(1m),gpc0,gpc0_rate(1m),gpc1,gpt0"

TEXT = """
global
    stats socket {d}/admin.sock mode 600 level admin

frontend limited
    bind {host}:{p[0]}
    stick-table type ip size 1k expire 1m store {counted}
    http-request track-sc0 src
    http-request sc-inc-gpc0(0) if {{ path /inc }}
    http-request sc-set-gpt0(0) 7 if {{ path /tag }}
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 6 }}
    http-request deny if {{ path /denied }}
    http-request return status 200 content-type text/plain lf-string "{said}" if {{ path /said }}
    http-response track-sc1 str(late) table keys
    default_backend servers

frontend connections
    bind {host}:{p[1]}
    stick-table type ip size 1k expire 1m store {counted}
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc0_conn_cur gt 2 }}
    tcp-request session sc-inc-gpc0(0)
    default_backend servers

frontend sessions
    bind {host}:{p[2]}
    stick-table type ip size 1k expire 1m store {counted}
    tcp-request session reject if {{ src_get_gpt0 gt 0 }}
    tcp-request session track-sc0 src
    http-request set-header X-Count %[sc0_sess_cnt]
    default_backend servers

listen stream
    mode tcp
    bind {host}:{p[3]}
    stick-table type ip size 1k expire 1m store conn_cnt,conn_cur,sess_cnt,gpc0,bytes_in_cnt,bytes_out_cnt
    tcp-request inspect-delay 2s
    tcp-request content track-sc0 src
    tcp-request content sc-inc-gpc0(0)
    tcp-request content reject if {{ sc0_conn_cur gt 1 }}
    tcp-request content accept if {{ req.len gt 10 }}
    server s {host}:{server}

frontend sticks
    bind {host}:{p[4]}
    default_backend stuck

backend stuck
    balance roundrobin
    stick-table type string len 16 size 1k expire 1m
    stick on url_param(id)
    stick store-response res.hdr(x-session)
    server s1 {host}:{server} id 11
    server s2 {host}:{second} id 12
    server s3 {host}:{server} id 13 non-stick

backend keys
    stick-table type string len 8 size 10 store http_req_cnt,http_err_cnt,http_fail_cnt,gpc(3),gpc_rate(2,1m),gpt(2)

backend numbers
    stick-table type integer size 10 expire 1m store gpc0

backend six
    stick-table type ipv6 size 10 expire 1m store gpc0

backend plain
    stick-table type string size 10 expire 1m store gpc0

backend blocks
    stick-table type binary len 4 size 10 expire 1m store gpc0

backend servers
    server s {host}:{server}
"""

#: What changes from one to the next, and is the same to the byte but for the row's number and its time.
ORDERS = (
    "show table keys",
    "set table keys key abc",
    "set table keys key abc data.http_req_cnt 5 data.http_err_cnt 7",
    "set table keys key abc data.gpc 3",
    "set table keys key abc data.gpc_rate 9",
    "set table keys key abc data.gpc0 3",
    "set table keys key abc data.conn_cnt 3",
    "set table keys key abc data.nothing 3",
    "set table keys key abc data.http_req_cnt",
    "set table keys key abc data.http_req_cnt x",
    "set table keys key abc data.http_req_cnt -1",
    "set table keys key abc http_req_cnt 1",
    "set table keys key 123456789012345",
    "set table keys key b\\ c\\=d",
    "set table",
    "set table no key a",
    "set table keys data.gpc 3",
    "show table keys",
    "show table keys key abc",
    "show table keys key none",
    "show table keys key",
    "show table keys data.http_req_cnt gt 4",
    "show table keys data.http_req_cnt gt 4 data.http_err_cnt lt 7",
    "show table keys data.http_req_cnt le 4 data.http_err_cnt ne 7",
    "show table keys data.http_req_cnt",
    "show table keys data.http_req_cnt xx 3",
    "show table keys data.http_req_cnt gt",
    "show table keys data.http_req_cnt gt x",
    "show table keys data.conn_cnt gt 1",
    "show table keys data.none gt 1",
    "show table keys something",
    "show table no",
    "clear table keys data.http_req_cnt eq 5",
    "show table keys",
    "clear table keys key abc",
    "clear table keys key abc",
    "clear table keys",
    "show table keys",
    "clear table",
    "clear table no",
    "clear table keys wrong",
    "set table numbers key 5 data.gpc0 1",
    "set table numbers key -5 data.gpc0 1",
    "set table numbers key x data.gpc0 1",
    "set table numbers key 4294967296 data.gpc0 1",
    "show table numbers",
    "set table six key 2001:db8::1 data.gpc0 4",
    "set table six key ::ffff:192.0.2.1 data.gpc0 5",
    "set table six key x",
    "show table six key 2001:DB8:0::1",
    "show table six key ::ffff:192.0.2.1",
    "set table plain key 0123456789012345678901234567890123456789 data.gpc0 1",
    "show table plain",
    "set table blocks key abcd data.gpc0 1",
    "show table blocks key abcd",
    "clear table blocks key abcd",
    "show table blocks",
)  # fmt: skip


def plain(text: str) -> str:
    """An answer without the numbers of rows and their times, and with the rows in the order of their keys."""
    text = re.sub(r"(?m)^0x[0-9a-f]+: ", "", text)
    text = re.sub(r" exp=[0-9]+", " exp=N", text)
    lines = text.split("\n")
    rows = sorted(line for line in lines if line.startswith("key="))
    return "\n".join([rows.pop(0) if line.startswith("key=") else line for line in lines])


def said_to(address: tuple[str, int]) -> bytes:
    """What a client is told that says nothing; nothing where it is turned away."""
    try:
        with socket.create_connection(address, timeout=8) as client:
            return client.recv(1)
    except ConnectionResetError:  # maybe before it knows that it is connected
        return b""


class Both:
    """One of the two, with its servers and ports."""

    def __init__(self, make: Callable[[Path, str], Daemon], directory: Path) -> None:
        self.directory = directory
        self.servers = [Recorder(), Recorder()]
        self.ports = free_ports(5, HOST)
        one, other = (server.port for server in self.servers)
        text = TEXT.format(d=directory, host=HOST, p=self.ports, server=one, second=other, counted=COUNTED, said=SAID)
        self.daemon = make(directory, text)

    def ask(self, port: int, path: str, *, source: str = "127.0.0.1") -> tuple[int, str]:
        client = http.client.HTTPConnection(HOST, self.ports[port], timeout=8, source_address=(source, 0))
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        finally:
            client.close()

    def all_gone(self, table: str) -> None:
        """Waits until nobody is connected any more of whom this table knows."""

        def gone() -> bool:
            uses = re.findall(r" use=(\d+)", self.command(f"show table {table}"))
            return bool(uses) and not any(map(int, uses))

        wait_for(gone, "all to be gone")

    def command(self, text: str) -> str:
        return plain(command(self.directory / "admin.sock", text))


class TablesBesideHAProxyTests(TestCase):
    """The same configuration, the same clients, the same tables."""

    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("HAProxy is not installed")
        self.both = []
        for make in (Daemon, HAProxy):
            directory = temporary_directory(self)
            one = Both(make, directory)
            one.daemon.start()
            self.addCleanup(one.daemon.stop)
            for server in one.servers:
                self.addCleanup(server.listening.close)
            self.both.append(one)

    def same(self, ask: Callable[[Both], object], what: object = "") -> object:
        ours, theirs = (ask(one) for one in self.both)
        self.assertEqual(ours, theirs, what)
        return ours

    def test_every_order_has_the_same_answer(self) -> None:
        for order in ORDERS:
            with self.subTest(order):
                self.same(lambda one, order=order: one.command(order), order)  # type: ignore[misc]

    def test_all_tables_are_listed(self) -> None:
        self.same(lambda one: sorted(one.command("show table").split("\n")))

    def test_requests_are_counted_and_limited_by_their_source(self) -> None:
        """And what is asked of the table in rules is the same."""

        def traffic(one: Both) -> object:
            seen: list[object] = [one.ask(0, path) for path in ("/", "/inc", "/inc", "/tag", "/denied", "/said")]
            seen += [one.ask(0, "/")[0] for _ in range(4)]
            seen += [one.ask(0, "/said", source="127.0.0.9")]
            one.all_gone("limited")
            return seen, one.command("show table limited"), one.command("show table keys")

        self.same(traffic)

    def test_answers_of_servers_are_counted(self) -> None:
        """4xx against the client, 5xx and silence against the server."""
        answers = [b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status for status in (404, 500, 501, 503)]

        def traffic(one: Both) -> object:
            seen = []
            for answer in (*answers, b""):
                one.servers[0].script(answer, not answer)
                seen.append(one.ask(0, "/")[0])
            one.all_gone("limited")
            return seen, one.command("show table limited")

        self.same(traffic)

    def test_connections_are_counted_while_they_last(self) -> None:
        """The third at once is turned away before it has said anything; an invalid request counts for all that."""

        def traffic(one: Both) -> object:
            address = (HOST, one.ports[1])
            clients = [socket.create_connection(address, timeout=8) for _ in range(2)]
            with clients[0], clients[1]:
                for client in clients:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    self.assertIn(b"200", client.recv(1000))
                gone = said_to(address)
                wait_for(lambda: "conn_cur=2" in one.command("show table connections"), "the third to be gone")
                during = one.command("show table connections")
                clients[1].sendall(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
                status = clients[1].recv(1000).split(b" ")[1]
            one.all_gone("connections")
            return gone, during, status, one.command("show table connections")

        self.same(traffic)

    def test_sessions_are_counted_and_kept_out(self) -> None:
        def traffic(one: Both) -> object:
            seen: list[object] = [one.ask(2, "/")[0] for _ in range(2)]
            one.command("set table sessions key 127.0.0.1 data.gpt0 1")
            try:
                seen.append(one.ask(2, "/"))
            except (OSError, http.client.HTTPException):
                seen.append("closed")
            one.all_gone("sessions")
            return seen, one.command("show table sessions")

        self.same(traffic)

    def test_streams_are_counted(self) -> None:
        """With their bytes, once they end; each rule acts once, however often it waits for more."""

        def traffic(one: Both) -> object:
            with socket.create_connection((HOST, one.ports[3]), timeout=8) as client:
                client.sendall(b"GET / ")
                time.sleep(0.2)
                client.sendall(b"HTTP/1.1\r\nHost: a\r\n\r\n")
                answer = client.recv(1000)
                gone = said_to((HOST, one.ports[3]))
            one.all_gone("stream")
            return answer, gone, one.command("show table stream")

        ours, theirs = (traffic(one) for one in self.both)
        # HAProxy runs the rules before the one that waits again when more comes: see docs/differences.md.
        self.assertEqual(repr(ours), re.sub(r"gpc0=\d+", "gpc0=2", repr(theirs)))

    def test_clients_stick_to_their_servers(self) -> None:
        """By what they ask for, or what the server has called them."""

        def traffic(one: Both) -> object:
            with_name = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Session: %b\r\n\r\nok"
            for server, name in zip(one.servers, (b"one", b"two"), strict=True):
                server.script(with_name % name, False)
            for path in ("/?id=a", "/?id=b", "/?id=c", "/?id=a", "/?id=b", "/?id=c", "/?id=one", "/?id=two"):
                self.assertEqual(one.ask(4, path)[0], 200)
            one.all_gone("stuck")
            lines = [[line for _, line in server.seen] for server in one.servers]
            return lines, one.command("show table stuck")

        self.same(traffic)
