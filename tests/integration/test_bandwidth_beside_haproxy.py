"""Bandwidth limits through reusedproxy and through HAProxy: how long a download, an upload, and two downloads that
share a limit take."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import TestCase

import pytest

from tests.integration.beside import HAProxy, Recorder, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory

SIZE = 240_000
#: Bytes in a second, of each limit.
RATE = 200_000
#: How far the measured rate may be from that.
TOLERANCE = 0.2
RULES = f"""
    filter bwlim-out down default-limit {RATE} default-period 1s
    filter bwlim-in up default-limit {RATE} default-period 1s
    filter bwlim-out shared limit {RATE} key src
    stick-table type ip size 100 expire 1m store bytes_out_rate(1s)
    http-request set-bandwidth-limit up if METH_POST
    http-request set-bandwidth-limit down if {{{{ path /down }}}}
    http-request set-bandwidth-limit shared if {{{{ path /shared }}}}
    server s1 {{}}:{{}}
"""


@pytest.mark.alone
class BandwidthBesideHAProxyTests(TestCase):
    def rates(self, make: type[Daemon]) -> list[float]:
        """Bytes in a second, downward, upward, and downward of two together; `timeout client` and `server` are shorter
        than any of them takes."""
        far = Recorder()
        self.addCleanup(far.listening.close)
        host, port = far.listening.getsockname()
        times = "    timeout client 500ms\n    timeout server 500ms\n"
        daemon = make(
            temporary_directory(self) / make.__name__, f"{times}backend servers\n{times}{RULES.format(host, port)}"
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        far.script(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE), closes=False)
        down = SIZE / self.seconds(daemon, b"GET /down HTTP/1.1\r\nHost: a\r\n\r\n", SIZE)
        with ThreadPoolExecutor(2) as threads:
            request = b"GET /shared HTTP/1.1\r\nHost: a\r\n\r\n"
            both = [threads.submit(self.seconds, daemon, request, SIZE) for _ in range(2)]
            shared = 2 * SIZE / max(each.result() for each in both)
        far.script(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", closes=False)
        upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE)
        return [down, SIZE / self.seconds(daemon, upload, 2), shared]

    def seconds(self, daemon: Daemon, request: bytes, size: int) -> float:
        """Seconds until the body of this size has come."""
        with socket.create_connection((LOOPBACK, daemon.port), timeout=20) as client:
            began = time.monotonic()
            client.sendall(request)
            received = b""
            while len(received.partition(b"\r\n\r\n")[2]) < size:
                piece = client.recv(65536)
                self.assertTrue(piece, received[:200])
                received += piece
            return time.monotonic() - began

    def test_each_limit_holds_and_is_used(self) -> None:
        """Without a HAProxy that has these filters, our own rate is measured alone."""
        version = tuple(map(int, haproxy_version().split(".")[:2])) if haproxy_version() else ()
        for make in (Daemon, HAProxy) if version >= (2, 7) else (Daemon,):
            for name, rate in zip(("download", "upload", "shared"), self.rates(make), strict=True):
                self.assertLessEqual(abs(rate / RATE - 1), TOLERANCE, f"{make.__name__}: {name} at {rate:.0f} B/s")
