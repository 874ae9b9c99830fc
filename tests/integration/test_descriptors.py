"""Out of file descriptors: clients wait, everything else goes on,
and when some are free again it is as if nothing had been."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, wait_for
from tests.integration.test_main_job import MainJobTestCase, ask

#: Seconds for which the exhausted daemon is watched, and the share of a core that it may use meanwhile. It wakes five
#: times a second for each listener; a loop that spins uses all of a core.
WATCHED, MOST_CPU = 2.0, 0.25
EXHAUSTED = "cannot accept: Too many open files"


class ExhaustionTests(MainJobTestCase):
    """`ulimit -n 100` and a `maxconn` of 1000."""

    def start(self, servers: str) -> Daemon:
        proxy = self.daemon(f"backend servers\n{servers}global\n    maxconn 1000\n", descriptors=100)
        proxy.start()
        return proxy

    def client(self, proxy: Daemon) -> socket.socket:
        made = socket.create_connection((LOOPBACK, proxy.port), timeout=10)
        self.addCleanup(made.close)
        return made

    def test_silent_clients_take_all_that_they_may_have(self) -> None:
        """The daemon says so and rests; warm connections, those who are in, checks and reloads go on;
        then all is well."""
        server = self.nginx(keepalive_requests=100_000)
        server.start()
        text = self.server_line(server.port, "pool-min-conn 4 check inter 200ms")
        proxy = self.start(text)
        wait_for(lambda: proxy.pool("one", "idle") == [4], "the floor")
        self.assertIn("maxconn 1000 may need 2100 file descriptors", proxy.output)
        before = proxy.descriptors()
        honest = http.client.HTTPConnection(LOOPBACK, proxy.port, timeout=10)
        self.addCleanup(honest.close)
        honest.connect()
        silent = [self.client(proxy) for _ in range(150)]
        wait_for(lambda: EXHAUSTED in proxy.output, "the daemon to say that it is out of descriptors")
        self.assertLess(proxy.descriptors(), 100)

        used, until = proxy.cpu_seconds(), time.monotonic() + WATCHED
        wait_for(lambda: time.monotonic() > until, "the observation to be over")
        self.assertLess(proxy.cpu_seconds() - used, MOST_CPU * WATCHED)
        for _ in range(20):
            honest.request("GET", "/")
            self.assertEqual(honest.getresponse().read(), b"ok\n")
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "1 of 1 pools kept as they are" in proxy.output, "the reload")

        for each in silent:
            each.close()
        self.assertEqual(ask(proxy.port), 200)
        self.assertEqual(list(proxy.pool("one", "handshakes", "handshakes_request_path", "dials_failed")), [4, 0, 0])
        honest.close()
        wait_for(lambda: proxy.descriptors() <= before + 1, "the descriptors to be free")
        self.assertNotIn("DOWN", proxy.output)
        self.assertNotIn("Traceback", proxy.output)

    def test_requests_share_the_connections_that_there_are(self) -> None:
        """Clients that are in ask all at once, and there is no descriptor for a connection each: none gets a 503."""
        handled = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                handled.wait(0.1)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # of five, the kernel lets the others wait for a second

        server = Server((LOOPBACK, 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        proxy = self.start(f"    server one {LOOPBACK}:{server.server_address[1]} check inter 200ms fall 2\n")
        clients = [self.client(proxy) for _ in range(50)]
        silent = [self.client(proxy) for _ in range(100)]
        wait_for(lambda: EXHAUSTED in proxy.output, "the daemon to say that it is out of descriptors")

        def asked(client: socket.socket) -> bytes:
            client.settimeout(20)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return client.recv(12)

        with ThreadPoolExecutor(len(clients)) as threads:
            self.assertEqual(set(threads.map(asked, clients)), {b"HTTP/1.1 200"})
        self.assertIn("Server servers/one: TCP connect failed: Too many open files", proxy.output)
        self.assertLess(proxy.output.count("TCP connect failed"), 10)
        for each in clients + silent:
            each.close()
        self.assertEqual(ask(proxy.port), 200)
        self.assertNotIn("DOWN", proxy.output)
        self.assertNotIn("Traceback", proxy.output)
