"""Clients that mean no good, against the real daemon: each ends at its deadline, and others hardly notice."""

from __future__ import annotations

import re
import socket
import struct
import time

import pytest

from tests.integration.peers import LOOPBACK, Process, established, missing, wait_for
from tests.integration.test_main_job import MainJobTestCase, ask

#: Slow clients at once (each reader costs the server a megabyte or two of TLS, until all buffers are full),
#: and the seconds that they have for a head, and between two signs of life.
SLOW, READERS = 200, 60
TIMEOUT = 2.0
#: Seconds within which an honest client must be answered meanwhile; on an idle machine it takes some milliseconds.
HONEST = 6.0

#: nginx reads all of a request before it looks for whom to pass it to.
WAITS_FOR_BODIES = "location /up { proxy_pass http://127.0.0.1:1; }"

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class HostileClientTestCase(MainJobTestCase):
    """A daemon with short time-outs before nginx."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.nginx(keepalive_requests=100_000, extra_server=WAITS_FOR_BODIES)
        (self.server.documents / "large").write_bytes(bytes(4_000_000))
        self.server.start()
        text = f"    timeout client {TIMEOUT:g}s\nbackend servers\n"
        self.proxy = self.daemon(text + self.server_line(self.server.port, "pool-min-conn 2 pool-max-conn 2"))
        self.proxy.start()
        wait_for(lambda: self.proxy.pool("one", "idle") == [2], "the floor")
        self.before = self.proxy.descriptors()

    def all_gone(self) -> None:
        """Nothing is left of them: no connection, no descriptor, no complaint; and the daemon serves."""
        self.assertEqual(ask(self.proxy.port), 200)
        wait_for(lambda: established(self.proxy.port) == 0, "the clients to be gone")
        wait_for(lambda: self.proxy.descriptors() <= self.before, f"{self.before} descriptors again")
        wait_for(
            lambda: self.proxy.pool("one", "in_use", "connecting") == [0, 0], "the server's connections to be free"
        )
        self.assertNotIn("Traceback", self.proxy.output)

    def client(self) -> socket.socket:
        made = socket.create_connection((LOOPBACK, self.proxy.port), timeout=10)
        self.addCleanup(made.close)
        return made


@pytest.mark.alone
class SlowClientTests(HostileClientTestCase):
    """slowhttptest, as it comes with Debian."""

    skip = missing("slowhttptest", "nginx", "curl") or None

    def attack(self, path: str, logged: str, count: int, *arguments: str) -> None:
        """All of them are logged C{logged} when their time is over, and honest clients are served meanwhile."""
        attack = Process(self.directory)
        self.addCleanup(attack.stop)
        command = ["slowhttptest", *arguments, "-c", str(count), "-r", str(count), "-l", "15", "-p", "5"]
        attack.spawn([*command, "-u", self.proxy.url + path])
        line = re.compile(rf" \S+ -?\d+/-?\d+/-?\d+/-?\d+/(\d+) {logged}-- ")

        def all_ended() -> list[str]:
            began = time.monotonic()
            self.assertEqual(ask(self.proxy.port), 200)
            self.assertLess(time.monotonic() - began, HONEST)
            ended = line.findall(self.proxy.output)
            return ended if len(ended) >= count else []

        took = [int(each) / 1000 for each in wait_for(all_ended, f"{count} lines {logged}", seconds=20)]
        self.assertGreater(min(took), TIMEOUT - 0.5)
        self.assertLess(max(took), TIMEOUT + HONEST)
        attack.stop()
        self.all_gone()

    def test_slow_heads(self) -> None:
        """Slowloris: `timeout http-request`, which is `timeout client` here, bounds all of the head."""
        self.attack("/", r"408 \d+ - - cR", SLOW, "-H", "-i", "1", "-x", "10")

    def test_slow_bodies(self) -> None:
        """Nothing of the body for `timeout client`; the connections to the server are not used again."""
        self.attack("/up", r"408 \d+ - - cD", SLOW, "-B", "-i", "10", "-s", "8192", "-x", "10")

    def test_slow_readers(self) -> None:
        """Nothing taken for `timeout client`."""
        self.attack("/files/large", r"200 \d+ - - cD", READERS, "-X", "-w", "512", "-y", "1024", "-n", "30", "-z", "32")


@pytest.mark.alone
class RudeClientTests(HostileClientTestCase):
    """Others, of our own making."""

    def test_connect_and_reset_at_once(self) -> None:
        """5,000 times: no trace but a line each."""
        for _ in range(5000):
            with socket.create_connection((LOOPBACK, self.proxy.port), timeout=10) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.all_gone()

    def test_a_byte_at_a_time(self) -> None:
        """A request in as many packets as it has bytes is a request."""
        client = self.client()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REQUEST:
            client.sendall(bytes([byte]))
        self.assertEqual(client.recv(12), b"HTTP/1.1 200")
        client.close()
        self.all_gone()

    def test_many_pipelined_requests(self) -> None:
        """5,000 small ones at once: all answered, in order, one after the other to the server."""
        client = self.client()
        client.settimeout(20)
        client.sendall(REQUEST * 4999 + REQUEST[:-2] + b"Connection: close\r\n\r\n")
        answers = b""
        while data := client.recv(65536):
            answers += data
        self.assertEqual((answers.count(b"HTTP/1.1 200"), answers.count(b"\r\n\r\nok\n")), (5000, 5000))
        self.assertLessEqual(self.server.counts().accepted, 4)
        self.all_gone()

    def test_a_giant_pipeline_that_nobody_reads(self) -> None:
        """It is read no further than its answers are taken, in bounded memory, and ended by `timeout client`."""
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((LOOPBACK, self.proxy.port))
        client.settimeout(1)
        memory = self.proxy.memory()
        sent, most = 0, 0
        try:
            while sent < 100_000_000:
                sent += client.send(REQUEST * 1000)
                most = max(most, self.proxy.memory())
        except (TimeoutError, ConnectionError):
            pass
        self.assertLess(sent, 100_000_000)
        self.assertLess(most - memory, 20_000_000)
        wait_for(lambda: established(self.proxy.port) == 0, "the time-out", seconds=30)
        client.close()
        self.all_gone()
