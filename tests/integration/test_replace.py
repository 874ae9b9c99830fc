"""The configuration is read again and again, and the program is replaced by another process, under load.

`REUSEDPROXY_REPLACEMENTS` in the environment says how often the program is replaced (2); four times as often, but at
least five times, the configuration is read again.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from attrs import Factory, define
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, missing, temporary_directory, wait_for

NAME = "server.test"
TIMES = int(os.environ.get("REUSEDPROXY_REPLACEMENTS", "2"))
FLOOR = 6
CLIENTS = 4
#: Bytes of the download, and how many are read at once; between two reads its client rests.
LONG, PIECE, REST = 64 << 20, 1 << 16, 0.02


@define
class Load:
    """Clients that ask again and again: some connect for each request, others keep their connection as long as they
    may, and come again where the answer says that it ends."""

    port: int
    answered: int = 0
    failed: list[str] = Factory(list)
    #: Seconds of the slowest request.
    slowest: float = 0.0
    #: Seconds between two requests of one client.
    rest: float = 0.005
    _stopping: threading.Event = Factory(threading.Event)
    _threads: list[threading.Thread] = Factory(list)
    _lock: threading.Lock = Factory(threading.Lock)

    def start(self) -> None:
        for number in range(CLIENTS):
            thread = threading.Thread(target=self._run, args=(number % 2 == 0,))
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, keeps: bool) -> None:
        client = None
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                client = client or http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
                client.request("GET", "/", headers={} if keeps else {"Connection": "close"})
                answer = client.getresponse()
                answer.read()
                with self._lock:
                    self.answered += 1
                    self.slowest = max(self.slowest, time.monotonic() - began)
                if answer.status != 200:
                    self.failed.append(str(answer.status))
                if not keeps or answer.will_close:
                    client.close()
                    client = None
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                client = None
            time.sleep(self.rest)
        if client is not None:
            client.close()


class Echo:
    """A server of two kinds: `/long` is a download, and an upgrade gets back what it sends."""

    def __init__(self) -> None:
        self.listening = socket.create_server((LOOPBACK, 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listening.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = connection.recv(65536)
            if b"Upgrade:" in head or b"upgrade:" in head:
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                )
                while data := connection.recv(65536):
                    connection.sendall(data)
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LONG)
                for _ in range(LONG // PIECE):
                    connection.sendall(bytes(PIECE))


class Download(threading.Thread):
    """One that takes longer than the test, and its WebSocket."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.came = 0
        self.echoed = 0
        self.hurry = threading.Event()
        self.failed = ""
        self._port = port
        self.web = socket.create_connection((LOOPBACK, port), timeout=10)
        self.web.sendall(
            b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " in self.web.recv(65536)

    def run(self) -> None:
        try:
            client = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
            client.request("GET", "/long")
            answer = client.getresponse()
            while data := answer.read(PIECE):
                self.came += len(data)
                if not self.hurry.is_set():
                    time.sleep(REST)
            client.close()
        except (OSError, http.client.HTTPException) as error:
            self.failed = repr(error)

    def echo(self) -> None:
        """Asks whether the WebSocket lives."""
        said = b"%d" % self.echoed
        self.web.sendall(said)
        assert self.web.recv(100) == said
        self.echoed += 1


class ReplaceTests(SynchronousTestCase):
    """A server over mutual TLS with a floor, and one for what lasts."""

    skip = missing("nginx") or None

    def setUp(self) -> None:
        directory = self.directory = temporary_directory(self)
        authority = Authority("test CA")
        ca = authority.write(directory / "ca.pem")
        ours = authority.issue("proxy", client=True).write(directory / "proxy.pem")
        certificate = authority.issue(NAME, hosts=[NAME])
        # It would close connections that nobody has used, after 60 s.
        patient = "client_header_timeout 10m; keepalive_timeout 10m;"
        self.server = Nginx(
            directory / "server", authority, certificate, keepalive_requests=1_000_000, extra_server=patient
        )
        self.addCleanup(self.server.stop)
        self.server.start()
        self.echo = Echo()
        self.addCleanup(self.echo.listening.close)
        self.line = f"    server one {LOOPBACK}:{self.server.port} ssl ca-file {ca} crt {ours} sni str({NAME})"
        self.socket = directory / "admin.sock"
        self.running: list[Daemon] = []
        self.addCleanup(self.stop)
        first = self.daemon("first")
        first.start()
        self.running.append(first)
        self.port, self.stats_port = first.port, first.stats_port
        wait_for(lambda: first.pool("one", "idle") == [FLOOR], "the floor")

    def stop(self) -> None:
        for each in self.running:
            each.stop()

    def text(self, more: str = "") -> str:
        return (
            f"    use_backend lasting if {{ path /long /echo }}\n{more}"
            f"backend servers\n{self.line} pool-min-conn {FLOOR}\n"
            f"backend lasting\n    server echo {LOOPBACK}:{self.echo.port}\n"
            f"global\n    stats socket {self.socket} mode 600 level admin expose-fd listeners\n"
        )

    def daemon(self, name: str) -> Daemon:
        daemon = Daemon(self.directory / name, self.text())
        return daemon

    def replacing(self, name: str, text: str | None = None) -> Daemon:
        """Another process, on the same ports, that takes the place of the present one."""
        daemon = Daemon(self.directory / name, "")
        daemon.port, daemon.stats_port = self.port, self.stats_port
        daemon.write(self.text() if text is None else text)
        daemon.more = ["--replace"]
        return daemon

    def replace(self, name: str) -> Daemon:
        daemon = self.replacing(name)
        daemon.start()
        self.running.append(daemon)
        wait_for(lambda: daemon.has_said("has taken the place of process"), "the new process to serve", 30)
        return daemon

    def load(self) -> Load:
        load = Load(self.port)
        self.addCleanup(load.stop)
        load.start()
        return load

    def test_a_configuration_that_alternates_each_second(self) -> None:
        (daemon,) = self.running
        load, counted = self.load(), Counter[str]()
        handshakes = self.server.counts().accepted
        for number in range(max(5, 4 * TIMES)):
            daemon.write(self.text(f"    http-response set-header x {number % 2}\n"))
            daemon.signal(signal.SIGHUP)
            time.sleep(1.0)
            rows = {f"{row['pxname']}/{row['svname']}": row for row in daemon.statistics()}
            now = Counter(
                {f"{name} {column}": int(row[column]) for name, row in rows.items() for column in ("stot", "bout")}
            )
            self.assertEqual({name: (counted[name], value) for name, value in now.items() if value < counted[name]}, {})
            counted = now
        load.stop()
        self.assertEqual(load.failed, [])
        # The floor is of idle connections, so it may grow by as many as are in use at once; none is replaced.
        more = self.server.counts().accepted - handshakes
        self.assertLessEqual(more, CLIENTS)
        self.assertEqual((daemon.server("one")["pool_closed"], daemon.pool("one", "dials")), ("", [FLOOR + more]))
        self.assertEqual(daemon.pool("one", "handshakes_request_path"), [0])
        self.assertGreaterEqual(counted["servers/one stot"], load.answered - CLIENTS)
        print(f"{load.answered} answers, none failed, slowest {load.slowest:.3f} s; {more} connections more")

    def test_the_program_is_replaced(self) -> None:
        lasting = Download(self.port)
        self.addCleanup(lasting.web.close)
        lasting.start()
        self.addCleanup(lasting.hurry.set)
        load = self.load()
        counted = dialled = 0
        for number in range(TIMES):
            time.sleep(1.0)
            before = load.answered
            daemon = self.replace(f"next{number}")
            lasting.echo()
            wait_for(lambda before=before: load.answered > before + 100, "requests")  # type: ignore[misc]
            self.assertEqual(daemon.pool("one", "handshakes_request_path"), [0])
            was, counted = counted, int(daemon.server("one")["stot"])
            self.assertGreater(counted, was)
            dialled, before_it = daemon.pool("one", "dials")[0], dialled
            self.assertGreaterEqual(dialled, before_it + FLOOR)
            self.assertEqual(load.failed, [])
        load.stop()
        self.assertGreaterEqual(counted, before)  # all processes together
        self.assertEqual(load.failed, [])
        lasting.echo()
        self.assertEqual(lasting.failed, "")
        self.assertLess(lasting.came, LONG)
        lasting.hurry.set()
        lasting.join(30)
        self.assertEqual((lasting.failed, lasting.came), ("", LONG))
        lasting.web.close()
        # All but the last have ended by themselves, each when its last client had gone.
        wait_for(lambda: [each.ended() for each in self.running] == [True] * TIMES + [False], "the others to end", 30)
        self.assertTrue(self.socket.exists())
        for each in self.running:
            self.assertNotIn("Traceback", each.output)
        print(f"{load.answered} answers, none failed, slowest {load.slowest:.3f} s")

    def test_one_that_cannot_start_changes_nothing(self) -> None:
        (first,) = self.running
        load = self.load()
        for number, (text, said) in enumerate(
            (
                (self.text("    nonsense\n"), "nonsense"),
                (self.text().replace("expose-fd listeners", ""), "expose-fd listeners"),
                (self.text("    bind 192.0.2.1:81\n"), "192.0.2.1:81"),
            )
        ):
            daemon = self.replacing(f"wrong{number}", text)
            with self.assertRaises(AssertionError):
                daemon.start_alone()
            self.assertIn(said, daemon.output)
        self.assertTrue(self.socket.exists())
        load.stop()
        self.assertEqual(load.failed, [])
        first.says("this one goes on")
        self.replace("right")

    def test_the_signal_for_it(self) -> None:
        """SIGUSR2: the new process has the command line of the old one, and systemd is told so by that."""
        (before,) = self.running
        before.stop()
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(told.close)
        told.bind(str(self.directory / "notify"))
        told.settimeout(10)
        os.environ["NOTIFY_SOCKET"] = str(self.directory / "notify")
        self.addCleanup(os.environ.pop, "NOTIFY_SOCKET")
        first = self.replacing("signalled")
        first.more = []
        self.running[:] = [first]
        first.start()
        load = self.load()
        old = first.pid
        while b"READY=1" not in told.recv(4096):
            pass
        first.signal(signal.SIGUSR2)
        wait_for(lambda: first.has_said("has taken the place of process"), "the new process to serve", 30)
        load.stop()
        self.assertEqual(load.failed, [])
        wait_for(first.ended, "the old one to end", 30)
        (new,) = _others(first.file, old)
        self.addCleanup(os.kill, new, signal.SIGTERM)
        self.assertEqual(told.recv(4096), b"MAINPID=%d" % new)
        self.assertIn(b"READY=1", told.recv(4096))
        told.setblocking(False)
        # The old one has said nothing more: it would be taken for the end of the service.
        with self.assertRaises(BlockingIOError):
            self.fail(repr(told.recv(4096)))
        self.assertNotIn("Traceback", first.output)


@pytest.mark.alone
class LimitTests(SynchronousTestCase):
    """A limit by source, kept in a stick table, holds over processes that take one another's place."""

    MOST = 2000
    TEXT = """\
    timeout client 1m
    stick-table type ip size 100k expire 10m store conn_cur
    tcp-request connection track-sc0 src
    http-request track-sc1 src table requests
    http-request deny deny_status 429 if {{ sc_http_req_rate(1) gt {most} }}
    http-request return status 200 content-type text/plain string ok
backend servers
    server none {host}:1
backend requests
    stick-table type ip size 100k expire 10m store http_req_rate(1h)
global
    stats socket {socket} mode 600 level admin expose-fd listeners
"""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.socket = self.directory / "admin.sock"
        self.running: list[Daemon] = []
        self.addCleanup(self.stop)
        self.start()

    def stop(self) -> None:
        for each in self.running:
            each.stop()

    def start(self) -> None:
        daemon = Daemon(self.directory / f"{len(self.running)}", "")
        if self.running:
            daemon.port, daemon.stats_port = self.running[0].port, self.running[0].stats_port
            daemon.more = ["--replace"]
        daemon.write(self.TEXT.format(most=self.MOST, host=LOOPBACK, socket=self.socket))
        daemon.start()
        self.running.append(daemon)
        if daemon.more:
            wait_for(lambda: daemon.has_said("has taken the place of process"), "the new process to serve", 30)

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(command.encode() + b"\n")
            answer = b""
            while data := client.recv(65536):
                answer += data
        return answer.decode()

    def test_as_many_are_let_in_as_by_one_process(self) -> None:
        load = Load(self.running[0].port, rest=0.05)  # so that the limit is not reached before
        self.addCleanup(load.stop)
        load.start()

        def let_in() -> int:
            return load.answered - len(load.failed)

        for _ in range(TIMES):
            self.start()
            before = load.answered
            wait_for(lambda before=before: load.answered > before + 20, "requests")  # type: ignore[misc]
        load.rest = 0.005
        wait_for(lambda: len(load.failed) > 100, "the limit", 60)
        self.start()
        refused = len(load.failed)
        wait_for(lambda: len(load.failed) > refused + 100, "requests after it")
        load.stop()
        self.assertEqual({*load.failed}, {"429"})
        # While two processes serve, each hears within some 20 ms of what the other has let in.
        more = let_in() - self.MOST
        self.assertTrue(0 <= more <= 2 * CLIENTS, more)
        wait_for(lambda: [each.ended() for each in self.running[:-1]] == [True] * (TIMES + 1), "the others to end", 30)
        wait_for(lambda: "conn_cur=0\n" in self.ask("show table main"), "the connections to end")
        for each in self.running:
            self.assertNotIn("Traceback", each.output)
        print(f"{let_in()} let in of {self.MOST}, {len(load.failed)} refused, slowest {load.slowest:.3f} s")

    def test_connections_of_the_process_before_count_until_it_dies(self) -> None:
        (first,) = self.running
        staying = [socket.create_connection((LOOPBACK, first.port), timeout=5) for _ in range(3)]
        for each in staying:
            self.addCleanup(each.close)
            each.sendall(b"GET / HTTP/1.1\r\n")  # and no more, so that it stays where it is
        wait_for(lambda: "conn_cur=3\n" in self.ask("show table main"), "the connections")
        self.start()
        self.assertIn("conn_cur=3\n", self.ask("show table main"))
        staying[0].close()
        wait_for(lambda: "conn_cur=2\n" in self.ask("show table main"), "one to leave the process before")
        first.signal(signal.SIGKILL)
        wait_for(lambda: "conn_cur=0\n" in self.ask("show table main"), "the end of that process")

    def test_connections_of_the_first_of_three_count_in_the_last(self) -> None:
        """The one between has no clients, and stays only to tell of them."""
        (first,) = self.running
        staying = socket.create_connection((LOOPBACK, first.port), timeout=5)
        self.addCleanup(staying.close)
        staying.sendall(b"GET / HTTP/1.1\r\n")
        wait_for(lambda: "conn_cur=1\n" in self.ask("show table main"), "the connection")
        self.start()
        self.start()
        second = self.running[1]
        wait_for(lambda: second.has_said("of this one, whose clients left are: 0"), "the second to leave")
        self.assertIn("conn_cur=1\n", self.ask("show table main"))
        self.assertFalse(second.ended())
        staying.close()
        wait_for(lambda: "conn_cur=0\n" in self.ask("show table main"), "the end of the connection")
        wait_for(lambda: first.ended() and second.ended(), "both to end", 30)
        for each in self.running:
            self.assertNotIn("Traceback", each.output)


def _others(config: Path, old: int) -> list[int]:
    """Processes with this file on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != old:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if os.fsencode(config) in words and b"reusedproxy" in words:
                    found.append(int(entry.name))
    return found
