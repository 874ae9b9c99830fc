"""Programs that people have for HAProxy's runtime API read the running daemon, and give it orders, under load."""

from __future__ import annotations

import fcntl
import http.client
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from unittest import TestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, find_program, temporary_directory, wait_for
from tests.ports import free_port

TEXT = """
backend servers
    server s1 {host}:{port} weight 10
    server s2 {host}:{port} weight 20
frontend itself
    bind {host}:{port}
    http-request return status 200 content-type text/plain string ok
frontend other
    bind {d}/other.client.sock
    use_backend servers if {{ path,map_str({d}/paths.map) -m found }}
    http-request deny if {{ src -f {d}/refused.lst }}
    default_backend servers
global
    stats socket {d}/sockets/admin mode 600 level admin product-name HAProxy
"""
#: What only HAProxy can say of itself: caches and memory of its own, and rates of servers' keys.
UNKNOWN = {
    *("SslCacheLookups", "SslCacheMisses", "ZlibMemUsage", "MaxZlibMemUsage"),
    *("SslBackendKeyRate", "SslBackendMaxKeyRate"),
}
#: Seconds that a program may take.
SECONDS = 20.0


class RuntimeClientsTests(TestCase):
    def setUp(self) -> None:
        self.directory = directory = temporary_directory(self)
        (directory / "sockets").mkdir()
        self.socket, self.map, self.list = (
            directory / "sockets/admin",
            directory / "paths.map",
            directory / "refused.lst",
        )
        self.map.write_text("/a servers\n")
        self.list.write_text("10.0.0.1\n")
        self.daemon = daemon = Daemon(directory, "")
        daemon.write(TEXT.format(host=LOOPBACK, port=free_port(), d=directory))
        daemon.start()
        self.addCleanup(daemon.stop)
        self.statuses: list[int] = []
        self.stopping = threading.Event()
        thread = threading.Thread(target=self.ask)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.stopping.set)
        wait_for(lambda: bool(self.statuses), "the first answer", SECONDS)

    def ask(self) -> None:
        while not self.stopping.is_set():
            connection = http.client.HTTPConnection(LOOPBACK, self.daemon.port, timeout=SECONDS)
            connection.request("GET", "/a")
            self.statuses.append(connection.getresponse().status)
            connection.close()

    def check_clients(self) -> None:
        """No client has noticed anything."""
        self.assertEqual(set(self.statuses), {200})

    def run_program(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual(done.returncode, 0, (command, done.stdout, done.stderr))
        return done.stdout

    def script(self, name: str) -> str:
        """The path of a program that a package of PyPI's brings."""
        path = Path(sys.executable).with_name(name)
        if not path.exists():
            self.skipTest(f"needs {name} (PyPI)")
        return str(path)

    def test_haproxyadmin(self) -> None:
        try:
            from haproxyadmin import haproxy  # type: ignore[import-untyped]
            from haproxyadmin.server import SERVER_METRICS  # type: ignore[import-untyped]
        except ImportError:
            self.skipTest("needs haproxyadmin (PyPI)")
        found = haproxy.HAProxy(socket_dir=str(self.socket.parent))
        self.assertLessEqual({"main", "itself", "other"}, {each.name for each in found.frontends()})
        self.assertEqual([each.name for each in found.backends()], ["servers"])
        self.assertEqual({each.name for each in found.servers(backend="servers")}, {"s1", "s2"})
        self.assertGreater(found.totalrequests, 0)
        self.assertEqual([int(each) for each in found.processids], [self.daemon.pid])
        (server,) = found.server("s1", backend="servers")
        for metric in SERVER_METRICS:
            server.metric(metric)
        (said,) = found.info()
        self.assertEqual(set(haproxy.HAPROXY_METRICS) - set(said), UNKNOWN)
        self.assertTrue(server.setweight(7))
        self.assertEqual(int(server.weight), 7)
        self.assertTrue(server.setstate("maint"))
        self.assertEqual(server.status, "MAINT")
        self.assertTrue(server.setstate("ready"))
        self.assertEqual(server.status, "no check")
        frontend = found.frontend("other")
        self.assertTrue(frontend.setmaxconn(77))
        self.assertEqual(int(frontend.maxconn), 77)
        self.assertTrue(frontend.disable())
        self.assertEqual(frontend.status, "PAUSED")
        self.assertTrue(frontend.enable())
        self.assertEqual(frontend.status, "OPEN")
        path = str(self.map)
        self.assertTrue(found.add_map(path, "/b", "servers"))
        self.assertTrue(found.set_map(path, "/b", "nobody"))
        self.assertIn("nobody", found.get_map(path, "/b"))
        self.assertTrue(found.del_map(path, "/b"))
        self.assertTrue(found.add_acl(str(self.list), "10.0.0.2"))
        self.assertIn("match=yes", found.get_acl(str(self.list), "10.0.0.2"))
        self.assertTrue(found.del_acl(str(self.list), "10.0.0.2"))
        self.assertTrue(found.clearcounters())
        self.check_clients()

    def test_haproxytool(self) -> None:
        tool, where = self.script("haproxytool"), ("-D", str(self.socket.parent))
        self.assertIn("# backendname servername", self.run_program(tool, "server", *where, "-l"))
        self.assertIn("s1", self.run_program(tool, "server", *where, "-s"))
        self.run_program(tool, "server", *where, "-t", "--backend=servers", "s1")
        self.assertRegex(self.run_program(tool, "server", *where, "-s", "s1"), "s1 +MAINT")
        self.run_program(tool, "server", *where, "-R", "--backend=servers", "s1")
        self.run_program(tool, "server", *where, "-w", "5", "--backend=servers", "s1")
        self.assertRegex(self.run_program(tool, "server", *where, "-W", "s1"), "s1 +5")
        self.assertIn(str(self.map), self.run_program(tool, "map", *where, "-l"))
        self.assertIn("/a servers", self.run_program(tool, "map", *where, "-s", str(self.map)))
        self.assertIn(str(self.list), self.run_program(tool, "acl", *where, "-l"))
        self.assertEqual(self.run_program(tool, "haproxy", *where, "-a"), "OK\n")
        self.run_program(tool, "dump", *where)
        self.check_clients()

    def test_haproxy_cli(self) -> None:
        tool, where = self.script("haproxy-cli"), ("-k", str(self.socket))
        self.assertIn(f"Pid: {self.daemon.pid}", self.run_program(tool, *where, "-c", "info"))
        for order, status in (("disable", "MAINT"), ("enable", "no check")):
            self.run_program(tool, *where, "-c", order, "-b", "servers", "-s", "s1")
            self.assertIn(
                f"Name: s1 Status: {status}", self.run_program(tool, *where, "-c", "servers", "-b", "servers")
            )
        self.assertIn(
            "10 (initial 10)", self.run_program(tool, *where, "-c", "get-weight", "-b", "servers", "-s", "s1")
        )
        self.check_clients()

    def test_socat(self) -> None:
        if find_program("socat") is None:
            self.skipTest("needs socat (Debian)")
        script = f"echo 'show stat; get weight servers/s1' | socat -t 10 stdio UNIX-CONNECT:{self.socket}"
        said = self.run_program("sh", "-c", script)
        self.assertIn("\nservers,s2,", said)
        self.assertTrue(said.endswith("10 (initial 10)\n\n"), said[-100:])
        self.check_clients()

    def test_hatop(self) -> None:
        hatop = find_program("hatop")
        if hatop is None:
            self.skipTest("needs hatop (Debian)")
        terminal = Terminal(hatop, "-s", str(self.socket), "-i", "1")
        try:
            terminal.wait_for("s2", "servers", "BACKEND", "itself", "HAProxy")
            terminal.type("q")
            self.assertEqual(terminal.process.wait(SECONDS), 0)
        finally:
            terminal.close()
        self.check_clients()


class Terminal:
    """A program in a terminal of its own, of 120 columns and 40 lines."""

    def __init__(self, *command: str) -> None:
        self._at, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
        )
        os.close(theirs)
        self._shown = ""

    def wait_for(self, *words: str) -> None:
        """Reads what it shows until all these words have been among that."""
        end = time.monotonic() + SECONDS
        while missing := [each for each in words if each not in self._shown]:
            if time.monotonic() > end:
                raise AssertionError(f"{missing} are not shown: {self._shown}")
            if select.select([self._at], [], [], 0.1)[0]:
                try:
                    said = os.read(self._at, 65536).decode("utf-8", "replace")
                except OSError:  # so a terminal tells that its program has ended
                    raise AssertionError(f"it has ended: {self._shown}") from None
                self._shown += re.sub(r"\x1b[\[(][0-9;?]*[A-Za-z]", "", said)

    def type(self, keys: str) -> None:
        os.write(self._at, keys.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._at)
