"""A limit by source in the running daemon: it holds for each of a thousand addresses, and through a reload."""

from __future__ import annotations

import re
import signal
import socket
from collections import Counter
from unittest import TestCase

from tests.integration.beside import HOST, Recorder
from tests.integration.daemon import Daemon
from tests.integration.peers import temporary_directory, wait_for
from tests.integration.test_runtime_beside_haproxy import ask as command
from tests.ports import free_ports

TEXT = """
global
    stats socket {d}/admin.sock mode 600 level admin
frontend limited
    bind {host}:{port}
    stick-table type ip size 1200 expire 5m store http_req_rate(5m),conn_cur,conn_cnt
    tcp-request connection track-sc0 src
    http-request deny deny_status 429 if {{ sc0_http_req_rate gt 3 }}
    default_backend servers
backend servers
    server s {host}:{server}
"""
CLIENTS = [f"127.0.{number >> 8}.{number & 255}" for number in range(256, 1256)]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class LimitTests(TestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        recorder = Recorder()
        self.addCleanup(recorder.listening.close)
        (self.port,) = free_ports(1, HOST)
        text = TEXT.format(d=self.directory, host=HOST, port=self.port, server=recorder.port)
        self.daemon = Daemon(self.directory, text)
        self.daemon.start()
        self.addCleanup(self.daemon.stop)

    def ask(self, source: str, requests: int) -> list[int]:
        """The statuses that a client at this address is answered."""
        found = []
        with socket.create_connection((HOST, self.port), timeout=8, source_address=(source, 0)) as client:
            for _ in range(requests):
                client.sendall(GET)
                found.append(int(client.recv(1000).split(b" ")[1]))
        return found

    def show(self) -> str:
        return command(self.directory / "admin.sock", "show table limited")

    def test_a_limit_holds_for_each_of_many_addresses_and_through_a_reload(self) -> None:
        """Three requests each, in however many connections; whom nobody has seen yet comes in."""
        before = Counter(status for source in CLIENTS for status in self.ask(source, 2))
        self.assertEqual(before, {200: 2000})
        self.daemon.signal(signal.SIGHUP)
        wait_for(lambda: self.daemon.has_said("reloaded:"), "the reload")
        after = [self.ask(source, 2) for source in CLIENTS]
        self.assertEqual(Counter(map(tuple, after)), {(200, 429): 1000})
        self.assertEqual(self.ask("127.0.200.1", 4), [200, 200, 200, 429])
        wait_for(lambda: "use=1" not in self.show(), "all to be gone")
        shown = self.show()
        self.assertIn("used:1001\n", shown)
        rows = re.findall(r"key=\S+ use=0 exp=\d+ conn_cnt=2 conn_cur=0 http_req_rate\(300000\)=4\n", shown)
        self.assertEqual(len(rows), 1000)
