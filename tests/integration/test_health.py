"""What watches the servers, and the proxy itself, as a user sees it: an agent, a server that follows another, requests
that fail, the monitor; and clients that leave, here and through the real HAProxy."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from unittest import TestCase

from tests.integration.beside import HOST, HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, accept_each, end_accepting, temporary_directory, wait_for
from tests.ports import free_port, free_ports

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: One that fails is enough, so it has the time of a busy machine: `inter` bounds it, too.
CHECKED = "check inter 1s downinter 100ms fall 1 rise 1"
FAULT = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"


class Peer:
    """Answers what comes on each connection: `says` is what it says to each piece; None closes without a word."""

    def __init__(self, says: Callable[[bytes], bytes | None]) -> None:
        self.says = says
        self.asked: list[bytes] = []
        self._listening = socket.create_server((HOST, 0), backlog=64)
        accept_each(self._listening, self._serve)

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def stop(self) -> None:
        end_accepting(self._listening)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                self.asked.append(data)
                answer = self.says(data)
                if answer is None:
                    return
                connection.sendall(answer)


class Agent(Peer):
    """Says its line to whoever connects, and ends."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(lambda data: None)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(f"{self.line}\n".encode())


class Leaving(Peer):
    """The server of a section of its own: it begins its first answer at once, or is `held`; others it gives whole."""

    def __init__(self, name: str, begun: bool) -> None:
        self.name = name
        self.begun = begun
        self.held = threading.Event()
        super().__init__(self._answer)

    def _answer(self, data: bytes) -> bytes:
        if len(self.asked) == 1:
            if self.begun:
                return OK[:-1]
            self.held.wait(20)
        return OK


def ask(port: int, path: str = "/") -> bytes:
    """Returns the status line and the body of an answer."""
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := connection.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0][9:] + b" | " + body


class HealthTests(TestCase):
    """One daemon each, and servers that do as they are told."""

    def server(self, says: Callable[[bytes], bytes | None] = lambda data: OK) -> Peer:
        peer = Peer(says)
        self.addCleanup(peer.stop)
        return peer

    def daemon(self, text: str, make: type[Daemon] = Daemon) -> Daemon:
        made = make(temporary_directory(self) / "proxy", text)
        made.start()
        self.addCleanup(made.stop)
        return made

    def wait_for_status(self, daemon: Daemon, server: str, status: str, proxy: str = "servers") -> None:
        wait_for(lambda: daemon.server(server, proxy)["status"].startswith(status), f"{server} to be {status}")

    def test_an_agent_orders_states_and_weights_and_others_track_them(self) -> None:
        server, agent = self.server(), Agent("up 50%")
        self.addCleanup(agent.stop)
        daemon = self.daemon(
            f"backend servers\n    server a {HOST}:{server.port} weight 20 {CHECKED}"
            f" agent-check agent-port {agent.port} agent-addr {HOST} agent-inter 100ms\n"
            f"    server b {HOST}:{server.port} track a\n"
            f"backend other\n    server c {HOST}:{server.port} track servers/b\n"
        )
        wait_for(lambda: daemon.server("a")["weight"] == "10", "the weight")
        for line, status, tracking in (
            ("down # broken", "DOWN (agent)", "DOWN"),
            ("up", "UP", "UP"),
            ("drain", "DRAIN", "DRAIN"),
            ("maint", "MAINT", "MAINT"),
            ("ready up 100%", "UP", "UP"),
        ):
            agent.line = line
            self.wait_for_status(daemon, "a", status)
            self.wait_for_status(daemon, "b", tracking)
            self.wait_for_status(daemon, "c", tracking, "other")
        self.assertEqual(daemon.server("a")["weight"], "20")
        self.assertEqual(ask(daemon.port), b"200 OK | ok")
        for words in ("Server servers/a is DOWN", "Server servers/b is DOWN", "Server other/c is UP"):
            daemon.says(words)
        server.stop()
        self.wait_for_status(daemon, "c", "DOWN", "other")
        self.assertTrue(ask(daemon.port).startswith(b"503 "))

    def test_requests_that_fail_mark_a_server_down(self) -> None:
        """`observe` with each `on-error`. Its checks bring it back; after a sudden death one that fails is enough."""
        for on_error, fall in (("mark-down", 2), ("fail-check", 2), ("sudden-death", 100)):
            broken: list[str] = []
            server = self.server(partial(_answer, broken))
            daemon = self.daemon(
                "backend servers\n    option httpchk\n    retries 0\n"
                f"    server a {HOST}:{server.port} check inter 300ms fall {fall} rise 2 observe layer7 error-limit 3"
                f" on-error {on_error}\n"
            )
            # Not its status alone: it is UP before its first check, which takes it down if it fails.
            wait_for(lambda daemon=daemon: daemon.server("a")["check_status"] == "L7OK", "a check that has passed")  # type: ignore[misc]
            broken.append(on_error)

            def down(daemon: Daemon = daemon) -> bool:
                ask(daemon.port)
                return daemon.has_said("Server servers/a is DOWN")

            wait_for(down, f"a server that is down by {on_error}")
            # Figures are shared by pages that are asked for at nearly the same time.
            wait_for(lambda daemon=daemon: int(daemon.server("a")["hanafail"]) > 0, f"the count of {on_error}")  # type: ignore[misc]
            broken.clear()
            self.wait_for_status(daemon, "a", "UP")
            self.assertEqual(ask(daemon.port), b"200 OK | ok")
            daemon.stop()

    def test_connections_that_fail_mark_a_server_down_though_its_checks_pass(self) -> None:
        server, checked = self.server(), self.server()
        daemon = self.daemon(
            f"backend servers\n    retries 0\n    server a {HOST}:{server.port} check port {checked.port} inter 10s"
            " observe layer4 error-limit 2 on-error mark-down\n"
        )
        self.wait_for_status(daemon, "a", "UP")
        server.stop()
        wait_for(lambda: ask(daemon.port) and daemon.has_said("Server servers/a is DOWN"), "the server to be down")

    def test_the_monitor_answers_for_the_proxy_and_fails_with_its_servers(self) -> None:
        server = self.server()
        port = free_port()
        daemon = self.daemon(
            f"backend servers\n    server a {HOST}:{server.port} {CHECKED}\n"
            f"frontend monitored\n    bind {LOOPBACK}:{port}\n"
            "    monitor-uri /alive\n    acl dead nbsrv(servers) lt 1\n    monitor fail if dead\n"
            "    http-request deny if { path /denied }\n    default_backend servers\n"
        )
        self.assertTrue(ask(port, "/alive").startswith(b"200 OK | <html>"))
        self.assertTrue(ask(port, "/denied").startswith(b"403 "))
        self.assertEqual(ask(port), b"200 OK | ok")
        server.stop()
        wait_for(lambda: ask(port, "/alive").startswith(b"503 "), "the monitor to fail")
        self.assertFalse([line for line in daemon.output.splitlines() if "/alive" in line])


class LeavingClientTests(TestCase):
    """`option abortonclose`: a client has left, or ended its side. The same here and through HAProxy."""

    def of(self, proxy: Daemon, port: int, server: Leaving, option: str, half: bool) -> tuple[list[str], bytes, bool]:
        """Returns the flags in the log of a request whose client leaves and of the one that waits for its place, what
        the first one was told, and whether the server's first connection ended before it was answered."""
        begun, before = server.begun, len(proxy.output)
        with socket.create_connection((LOOPBACK, port), timeout=10) as first:
            first.sendall(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: server.asked, "the first request")
            told = first.recv(65536) if begun else b""
            with socket.create_connection((LOOPBACK, port), timeout=10) as second:
                second.sendall(b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                wait_for(lambda: proxy.server("BACKEND", server.name)["qcur"] == "1", "the second one to wait")
                if half:
                    first.shutdown(socket.SHUT_WR)
                else:
                    first.close()
                early = b"" if option.startswith("no") else second.recv(65536)
                server.held.set()
                if half:
                    told += _all(first)
                if not early:
                    second.recv(65536)
        lines = wait_for(lambda: _flags(proxy.output[before:]), "two lines of the log")
        return lines, told[9:12], bool(early)

    def test_a_request_that_a_server_has(self) -> None:
        """Its place is free at once with the option, and only with its answer without."""
        if not haproxy_version():
            self.skipTest("needs haproxy")
        cases = (
            ("option abortonclose", False, True, (["CH--", "----"], b"400", True)),
            ("option abortonclose", False, False, (["CH--", "----"], b"", True)),
            ("option abortonclose", True, False, (["CD--", "----"], b"200", True)),
            ("no option abortonclose", False, True, (["----", "----"], b"200", False)),
        )
        for make in (Daemon, HAProxy):
            servers = [Leaving(f"leaving{number}", case[1]) for number, case in enumerate(cases)]
            ports = free_ports(len(cases))
            text = (
                "defaults leaving\n    mode http\n    log global\n    option httplog\n"
                "    timeout connect 9s\n    timeout client 9s\n    timeout server 9s\n    timeout queue 9s\n"
            )
            for (option, *_), server, port in zip(cases, servers, ports, strict=True):
                self.addCleanup(server.stop)
                text += (
                    f"listen {server.name} from leaving\n    bind {LOOPBACK}:{port}\n    {option}\n"
                    f"    server a {HOST}:{server.port} maxconn 1\n"
                )
            proxy = make(temporary_directory(self) / "proxy", f"backend servers\n{text}")
            self.addCleanup(proxy.stop)
            proxy.start()
            for (option, begun, half, expected), server, port in zip(cases, servers, ports, strict=True):
                found = self.of(proxy, port, server, option, half)
                self.assertEqual(found, expected, (option, begun, half, make))


def _answer(broken: list[str], data: bytes) -> bytes | None:
    """Answers a request or a check, as long as nothing is `broken` (the word of `on-error`)."""
    if "sudden-death" in broken:
        return None
    return FAULT if broken and not data.startswith(b"OPTIONS") else OK


def _all(connection: socket.socket) -> bytes:
    data = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


def _flags(output: str) -> list[str]:
    """Returns the termination states of the two requests, in their order."""
    found = {}
    for line in output.splitlines():
        for name in ("/first", "/second"):
            if f"GET {name} " in line:
                found[name] = next(word for word in line.split() if len(word) == 4 and word.endswith("--"))
    return [found["/first"], found["/second"]] if len(found) == 2 else []
