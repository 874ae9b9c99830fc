"""Tunnels between real ends: a WebSocket library on both sides, mutual TLS towards the server,
and the daemon between."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import struct
import threading
import time
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, wait_for
from tests.integration.test_main_job import NAME, MainJobTestCase


class WebSocketTests(MainJobTestCase):
    """A server that demands a client certificate, echoes messages, and ends when it is told so."""

    skip = None

    def setUp(self) -> None:
        super().setUp()
        crt = self.authority.issue(NAME, hosts=[NAME]).write(self.directory / "server.pem")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.directory / "ca.pem"))
        context.load_cert_chain(crt)
        context.verify_mode = ssl.CERT_REQUIRED
        self.ends: list[int] = []
        self.server = serve(self.echo, LOOPBACK, 0, ssl=context, max_size=None)
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(self.server.shutdown)
        self.port: int = self.server.socket.getsockname()[1]

    def echo(self, connection: ServerConnection) -> None:
        try:
            for message in connection:
                if message == "end":
                    connection.close(4001, "as you wish")
                    break
                connection.send(message)
        except ConnectionClosed:
            pass
        self.ends.append(connection.protocol.close_code or 0)

    def proxied(self, *lines: str) -> Daemon:
        text = "backend servers\n" + "".join(f"    {line}\n" for line in lines)
        daemon = self.daemon(text + self.server_line(self.port, "pool-min-conn 1"))
        daemon.start()
        wait_for(lambda: daemon.pool("one", "idle") == [1], "a warm connection")
        return daemon

    def connect(self, daemon: Daemon, **how: Any) -> ClientConnection:
        client: ClientConnection = connect(f"ws://{LOOPBACK}:{daemon.port}/chat", open_timeout=10, **how)
        return client

    def ended(self, daemon: Daemon, flags: str) -> re.Match[str]:
        """The line of the access log, which comes when the tunnel has ended."""
        pattern = rf' 101 (\d+) - - {flags}-- .* "GET /chat HTTP/1.1"'
        return wait_for(lambda: re.search(pattern, daemon.output), "the access log")

    def test_messages_both_ways(self) -> None:
        """Text, binary, fragments, pings and a large one, over the connection that was warm;
        the log tells of it at its end."""
        daemon = self.proxied()
        handshakes = daemon.pool("one", "handshakes_request_path")
        with self.connect(daemon, max_size=None) as client:
            for message in ("text", b"\x00\xff", "", os.urandom(5_000_000)):
                client.send(message)
                self.assertEqual(client.recv(timeout=20), message)
            client.send(iter(["in ", "three ", "pieces"]))
            self.assertEqual(client.recv(timeout=10), "in three pieces")
            self.assertTrue(client.ping().wait(10))
            self.assertEqual(daemon.server("one")["scur"], "1")
        line = self.ended(daemon, "--")
        self.assertGreater(int(line[1]), 5_000_000)
        self.assertEqual(wait_for(lambda: self.ends, "the server to notice"), [1000])
        self.assertEqual(
            (daemon.pool("one", "handshakes_request_path"), daemon.server("one")["scur"]), (handshakes, "0")
        )

    def test_the_server_ends(self) -> None:
        """Its code and reason reach the client."""
        daemon = self.proxied()
        with self.connect(daemon) as client:
            client.send("end")
            with self.assertRaises(ConnectionClosed) as caught:
                client.recv(timeout=10)
        self.assertEqual((caught.exception.rcvd.code, caught.exception.rcvd.reason), (4001, "as you wish"))
        self.ended(daemon, "--")

    def test_a_client_that_vanishes(self) -> None:
        """The server learns of its reset at once, and the log says who it was."""
        daemon = self.proxied()
        client = socket.create_connection((LOOPBACK, daemon.port), timeout=10)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(
            b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 101 "))
        client.close()
        self.assertEqual(wait_for(lambda: self.ends, "the server to notice"), [1006])
        self.ended(daemon, "CD")

    def test_refused(self) -> None:
        """A server that does not switch answers as any other."""
        daemon = self.proxied()
        with socket.create_connection((LOOPBACK, daemon.port), timeout=10) as client:
            client.sendall(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n")
            self.assertTrue(client.makefile("rb").readline().startswith(b"HTTP/1.1 4"))
        with self.assertRaises(InvalidStatus):
            connect(f"ws://{LOOPBACK}:{daemon.stats_port}/", open_timeout=10)

    def test_silence(self) -> None:
        """`timeout tunnel` ends both sides; other time-outs have no say."""
        daemon = self.proxied("timeout tunnel 2500ms", "timeout server 1s")
        with self.connect(daemon, ping_interval=None) as client:
            client.send("still here")
            client.recv(timeout=10)
            began = time.monotonic()
            with self.assertRaises(ConnectionClosed):
                client.recv(timeout=10)
        self.assertGreater(time.monotonic() - began, 2.2)
        self.ended(daemon, "cD")

    def test_a_reload_leaves_it_alone(self) -> None:
        """SIGHUP, with another time-out for the server: the conversation goes on."""
        daemon = self.proxied()
        with self.connect(daemon) as client:
            daemon.file.write_text(daemon.file.read_text().replace("timeout server 10s", "timeout server 9s"))
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: "reloaded" in daemon.output.lower(), "the reload")
            client.send("still here")
            self.assertEqual(client.recv(timeout=10), "still here")
        self.ended(daemon, "--")

    def test_a_stop_waits_for_it_and_says_so(self) -> None:
        """SIGTERM lets it go on; the next one ends it."""
        daemon = self.proxied()
        with self.connect(daemon) as client:
            daemon.signal(signal.SIGTERM)
            wait_for(
                lambda: "stopping: waiting for busy clients (1), without a bound" in daemon.output, "it to be said"
            )
            client.send("still here")
            self.assertEqual(client.recv(timeout=10), "still here")
            daemon.signal(signal.SIGTERM)
            with self.assertRaises(ConnectionClosed):
                client.recv(timeout=10)
        wait_for(daemon.ended, "the daemon to end")
        self.ended(daemon, "KD")


class AttachTests(MainJobTestCase):
    """A container runtime's way: POST with a body and `Upgrade: tcp`, then raw bytes;
    here over plain TCP to the server."""

    skip = None

    def check(self, daemon: Daemon, listening: socket.socket, request: bytes, early: bool) -> None:
        """The server answers 101 behind the body, or before it has read that, and says each byte again in capitals."""
        head, _, body = request.partition(b"\r\n\r\n")
        with socket.create_connection((LOOPBACK, daemon.port), timeout=10) as client:
            client.sendall(head + b"\r\n\r\n" + body[:3])
            server, _ = listening.accept()
            server.settimeout(10)
            with server, server.makefile("rb") as received:
                asked = b""
                while not asked.endswith(b"\r\n\r\n"):
                    asked += received.readline()
                self.assertIn(b"\r\nupgrade: tcp\r\nconnection: upgrade\r\n", asked)
                switched = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
                if early:
                    server.sendall(switched + b"> ")
                    time.sleep(0.2)
                client.sendall(body[3:])
                self.assertEqual(received.read(len(body)), body)
                if not early:
                    server.sendall(switched + b"> ")
                with client.makefile("rb") as answer:
                    self.assertEqual(answer.readline(), b"HTTP/1.1 101 UPGRADED\r\n")
                    while answer.readline() != b"\r\n":
                        pass
                    self.assertEqual(answer.read(2), b"> ")
                    client.sendall(b"ls\n")
                    self.assertEqual(received.read(3), b"ls\n")
                    server.sendall(b"LS\n")
                    self.assertEqual(answer.readline(), b"LS\n")

    def test_both_framings_in_both_orders(self) -> None:
        """The body goes to the server first, whatever came first from there."""
        listening = socket.create_server((LOOPBACK, 0))
        listening.settimeout(10)
        self.addCleanup(listening.close)
        daemon = self.daemon(
            "backend servers\n    option http-upgrade-with-body\n"
            f"    server one {LOOPBACK}:{listening.getsockname()[1]}\n"
        )
        daemon.start()
        head = b"POST /exec/1/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        for framed in (
            b'Content-Length: 13\r\n\r\n{"Tty":false}',
            b'Transfer-Encoding: chunked\r\n\r\nd\r\n{"Tty":false}\r\n0\r\n\r\n',
        ):
            for early in (False, True):
                self.check(daemon, listening, head + framed, early)
        pattern = r' 101 \d+ - - ---- .* "POST /exec/1/start HTTP/1.1"'
        wait_for(lambda: len(re.findall(pattern, daemon.output)) == 4, "the access log")
