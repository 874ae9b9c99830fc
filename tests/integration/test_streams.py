"""
`mode tcp` with real peers: TLS with certificates on both sides, a floor in front of a server that counts its
connections, greets first or closes what nobody uses, reloads and stops with sessions under way.
"""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from random import Random
from unittest import TestCase

from attrs import define, field

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import ROOT, Daemon
from tests.integration.peers import LOOPBACK, accepts_connections, end_accepting, missing, temporary_directory, wait_for
from tests.ports import free_port, free_ports


@define
class Echo:
    """
    A server that says what it hears, line by line; over TLS with C{context}.

    @ivar greeting: what it says first.
    @ivar patience: seconds after which it closes a connection on which it has heard nothing.
    """

    context: ssl.SSLContext | None = None
    greeting: bytes = b""
    patience: float | None = None
    name: bytes = b""
    accepted: int = 0
    listening: socket.socket = field(factory=lambda: socket.create_server((LOOPBACK, 0), backlog=64))

    def __attrs_post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def stop(self) -> None:
        end_accepting(self.listening)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            if self.greeting:
                connection.sendall(self.greeting)
            connection.settimeout(self.patience)
            while data := connection.recv(65536):
                connection.settimeout(60)
                connection.sendall(self.name + data)
        except OSError:
            pass
        finally:
            connection.close()


def ask(port: int, data: bytes = b"hello", context: ssl.SSLContext | None = None) -> bytes:
    """What a client gets that connects, says this and leaves."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as plain:
        client = plain if context is None else context.wrap_socket(plain, server_hostname="front.test")
        client.sendall(data)
        answer = client.recv(65536)
        client.close()
        return answer


class StreamTests(TestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.port = free_port()

    def start(self, text: str) -> Daemon:
        daemon = Daemon(self.directory / "daemon", text + "backend servers\n mode http\n")
        self.addCleanup(daemon.stop)
        daemon.start()
        return daemon

    def echo(self, **how: object) -> Echo:
        echo = Echo(**how)  # type: ignore[arg-type]
        self.addCleanup(echo.stop)
        return echo

    def warm(self, daemon: Daemon, count: int, proxy: str = "db") -> None:
        wait_for(lambda: daemon.server("s1", proxy)["pool_idle"] == str(count), "the floor")

    def test_certificates_on_both_sides(self) -> None:
        """The client's handshake with the proxy, and none with the server when it comes."""
        authority = Authority()
        ca = authority.write(self.directory / "ca.pem")
        files = {
            name: str(authority.issue(name, hosts=hosts, client=not hosts).write(self.directory / f"{name}.pem"))
            for name, hosts in (("front.test", ["front.test"]), ("db.test", ["db.test"]), ("proxy", []), ("client", []))
        }
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files["db.test"])
        server.load_verify_locations(ca)
        server.verify_mode = ssl.CERT_REQUIRED
        echo = self.echo(context=server)
        daemon = self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port} ssl crt {files['front.test']} verify required"
            f" ca-file {ca}\n server s1 {LOOPBACK}:{echo.port} ssl verify required ca-file {ca} crt {files['proxy']}"
            " sni str(db.test) pool-min-conn 2\n"
        )
        self.warm(daemon, 2)
        client = ssl.create_default_context(cafile=str(ca))
        client.load_cert_chain(files["client"])
        for _ in range(3):
            self.assertEqual(ask(self.port, b"select 1", client), b"select 1")
            self.warm(daemon, 2)
        wait_for(lambda: daemon.server("s1", "db")["bout"] == "24", "the figures")
        figures = daemon.server("s1", "db")
        self.assertEqual((figures["stot"], figures["pool_handshakes_request_path"], figures["mode"]), ("3", "0", "tcp"))
        client = ssl.create_default_context(cafile=str(ca))
        with self.assertRaises(OSError):
            ask(self.port, b"select 1", client)

    def test_what_the_clients_handshake_has_shown_decides(self) -> None:
        """Its certificate about whether it may come in, its name about the server's."""
        authority = Authority()
        ca = authority.write(self.directory / "ca.pem")
        names = ["a.test", "b.test", "front.test"]
        pem = authority.issue("a.test", hosts=names).write(self.directory / "server.pem")
        known = authority.issue("known", client=True).write(self.directory / "known.pem")
        unknown = authority.issue("unknown", client=True).write(self.directory / "unknown.pem")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pem)
        asked: list[str | None] = []
        server.sni_callback = lambda side, name, context: asked.append(name)
        echo = self.echo(context=server)
        self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port} ssl crt {pem} verify optional ca-file {ca}\n"
            " tcp-request content reject unless { ssl_c_s_dn(CN) known }\n"
            f" server s1 {LOOPBACK}:{echo.port} ssl verify required ca-file {ca} sni ssl_fc_sni\n"
        )
        for crt, name, admitted in ((known, "a.test", True), (known, "b.test", True), (unknown, "a.test", False)):
            client = ssl.create_default_context(cafile=str(ca))
            client.load_cert_chain(crt)
            plain = socket.create_connection((LOOPBACK, self.port), timeout=20)
            with client.wrap_socket(plain, server_hostname=name) as secure:
                secure.sendall(b"hello")
                self.assertEqual(secure.recv(100), b"hello" if admitted else b"")
        self.assertEqual(asked, ["a.test", "b.test"])

    def test_openssl_at_both_ends(self) -> None:
        """s_client and s_server, whose lines come back turned round."""
        if said := missing("openssl"):
            self.skipTest(said)
        authority = Authority()
        ca = authority.write(self.directory / "ca.pem")
        pem = authority.issue("db.test", hosts=["db.test"]).write(self.directory / "db.pem")
        port = free_port()
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"{LOOPBACK}:{port}", "-cert", str(pem), "-key", str(pem), "-rev"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port} ssl crt {pem}\n"
            f" server s1 {LOOPBACK}:{port} ssl verify required ca-file {ca} sni str(db.test)\n"
        )
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"{LOOPBACK}:{self.port}", "-CAfile", str(ca), "-quiet",
             "-verify_return_error", "-servername", "db.test"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        self.assertEqual(client.stdout.readline(), b"olleh\n")

    def test_a_greeting_that_came_long_ago(self) -> None:
        """Each client gets its own server's."""
        echo = self.echo(greeting=b"220 ready\r\n")
        daemon = self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port}\n server s1 {LOOPBACK}:{echo.port} pool-min-conn 1\n"
        )
        self.warm(daemon, 1)
        time.sleep(0.3)
        for _ in range(2):
            with socket.create_connection((LOOPBACK, self.port), timeout=20) as client:
                self.assertEqual(client.recv(100), b"220 ready\r\n")
                client.sendall(b"QUIT\r\n")
                self.assertEqual(client.recv(100), b"QUIT\r\n")

    def test_nothing_is_lost_where_idle_connections_are_closed_after_a_second(self) -> None:
        """That is found out, and they are replaced before."""
        echo = self.echo(patience=1.0)
        daemon = self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port}\n server s1 {LOOPBACK}:{echo.port} pool-min-conn 2\n"
        )
        wait_for(lambda: daemon.server("s1", "db")["pool_limit_unused"], "it to be found out")
        random = Random(1)
        for number in range(12):
            time.sleep(random.uniform(0.0, 1.2))
            self.assertEqual(ask(self.port, b"%d" % number), b"%d" % number)
        figures = daemon.server("s1", "db")
        self.assertEqual(round(float(figures["pool_limit_unused"])), 1)
        self.assertIn("ahead of the server's time-out", figures["pool_closed"])

    def test_sessions_outlive_a_reload(self) -> None:
        """New ones go where the new file says."""
        old, new = self.echo(name=b"old "), self.echo(name=b"new ")
        text = "listen db\n mode tcp\n bind {}:{}\n server s1 {}:{} pool-min-conn 1\n"
        daemon = self.start(text.format(LOOPBACK, self.port, LOOPBACK, old.port))
        with socket.create_connection((LOOPBACK, self.port), timeout=20) as client:
            client.sendall(b"1")
            self.assertEqual(client.recv(100), b"old 1")
            daemon.write(text.format(LOOPBACK, self.port, LOOPBACK, new.port) + "backend servers\n")
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.has_said("configuration reloaded"), "the reload")
            self.assertEqual(ask(self.port, b"2"), b"new 2")
            client.sendall(b"3")
            self.assertEqual(client.recv(100), b"old 3")

    def test_megabytes_each_way_and_an_end(self) -> None:
        """Through TLS to a server that sends back what it gets; the client has ended its side long before."""
        authority = Authority()
        ca = authority.write(self.directory / "ca.pem")
        pem = authority.issue("db.test", hosts=["db.test"]).write(self.directory / "db.pem")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pem)
        echo = self.echo(context=server)
        self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port}\n server s1 {LOOPBACK}:{echo.port} ssl verify required"
            f" ca-file {ca} sni str(db.test) pool-min-conn 1\n"
        )
        sent = Random(1).randbytes(5_000_000)
        with socket.create_connection((LOOPBACK, self.port), timeout=20) as client:

            def send() -> None:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            time.sleep(0.5)
            received = b""
            while data := client.recv(1 << 16):
                received += data
            sender.join()
        self.assertEqual(received, sent)

    def test_the_example_starts(self) -> None:
        """etc/examples/database.cfg, on other ports."""
        text = (ROOT / "etc" / "examples" / "database.cfg").read_text()
        found = re.findall(r"bind 127\.0\.0\.1:\d+", text)
        ports = free_ports(len(found))
        for bind, port in zip(found, ports, strict=True):
            text = text.replace(bind, f"bind {LOOPBACK}:{port}")
        self.start(text)
        for port in ports:
            wait_for(lambda: accepts_connections(port), f"port {port}")  # noqa: B023
        with socket.create_connection((LOOPBACK, ports[-1]), timeout=20) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(client.recv(100), b"")

    def test_a_section_may_change_its_mode_at_a_reload(self) -> None:
        """Its sessions go on, and what comes next is a request, and the other way round."""
        echo = self.echo()
        server = f" server s1 {LOOPBACK}:{echo.port} pool-min-conn 1\n"
        head = f"listen db\n bind {LOOPBACK}:{self.port}\n"
        daemon = self.start(f"{head} mode tcp\n{server}")
        with socket.create_connection((LOOPBACK, self.port), timeout=20) as client:
            client.sendall(b"1")
            self.assertEqual(client.recv(100), b"1")
            daemon.write(f"{head} mode http\n{server}backend servers\n")
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.has_said("configuration reloaded"), "the reload")
            self.assertIn(b"400 Bad request", ask(self.port, b"no request\r\n\r\n"))
            client.sendall(b"2")
            self.assertEqual(client.recv(100), b"2")
            daemon.write(f"{head} mode tcp\n{server}backend servers\n")
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.output.count("configuration reloaded") == 2, "the second reload")
            self.assertEqual(ask(self.port, b"no request\r\n\r\n"), b"no request\r\n\r\n")

    def test_a_stop_waits_for_sessions(self) -> None:
        """As long as hard-stop-after allows."""
        for limit, ends in (("", True), ("global\n hard-stop-after 500ms\n", False)):
            echo = self.echo()
            port = free_port()
            daemon = Daemon(
                self.directory / f"stop{ends}",
                f"{limit}listen db\n mode tcp\n bind {LOOPBACK}:{port}\n server s1 {LOOPBACK}:{echo.port}\n"
                "backend servers\n",
            )
            self.addCleanup(daemon.stop)
            daemon.start()
            with socket.create_connection((LOOPBACK, port), timeout=20) as client:
                client.sendall(b"1")
                self.assertEqual(client.recv(100), b"1")
                daemon.signal(signal.SIGTERM)
                wait_for(lambda: daemon.has_said("stopping"), "the stop")  # noqa: B023
                if ends:
                    client.sendall(b"2")
                    self.assertEqual(client.recv(100), b"2")
                else:
                    self.assertRaises(ConnectionError, client.recv, 100)
            wait_for(daemon.ended, "the end")

    def test_a_server_that_falls_ends_its_sessions_where_that_is_asked_for(self) -> None:
        """on-marked-down shutdown-sessions."""
        echo, check = self.echo(), self.echo()
        ports = free_ports(2)
        text = "".join(
            f"listen {name}\n mode tcp\n bind {LOOPBACK}:{port}\n server s1 {LOOPBACK}:{echo.port} check port"
            f" {check.port} inter 1s fall 1 {words}\n"
            for name, port, words in zip(("a", "b"), ports, ("on-marked-down shutdown-sessions", ""), strict=True)
        )
        self.start(text)
        ended, other = (socket.create_connection((LOOPBACK, port), timeout=20) for port in ports)
        for client in (ended, other):
            self.addCleanup(client.close)
            client.sendall(b"1")
            self.assertEqual(client.recv(100), b"1")
        check.stop()
        self.assertEqual(ended.recv(100), b"")
        other.sendall(b"2")
        self.assertEqual(other.recv(100), b"2")

    def test_a_client_that_says_who_it_is_for(self) -> None:
        """accept-proxy in front, send-proxy behind."""
        echo = self.echo()
        self.start(
            f"listen db\n mode tcp\n bind {LOOPBACK}:{self.port} accept-proxy\n"
            f" server s1 {LOOPBACK}:{echo.port} send-proxy\n"
        )
        header = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 5432\r\n"
        with socket.create_connection((LOOPBACK, self.port), timeout=20) as client:
            client.sendall(header + b"hello")
            data = b""
            while len(data) < len(header) + 5:
                data += client.recv(100)
            self.assertEqual(data, header + b"hello")
