"""`hedge` and `pool-record` as a user has them: the real daemon, servers that hold answers back, the runtime API."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from unittest import TestCase

from tests.integration.daemon import ROOT, Daemon
from tests.integration.peers import LOOPBACK, accept_each, run_curl, temporary_directory, wait_for

TEXT = """\
    log-format "hedged=%[txn.hedged] %ST %tsc %s"
backend servers
    balance roundrobin
    hedge after 100ms budget 50%
{servers}"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class HoldingServer:
    """Answers each request, but holds back as many answers to a path as it has "slow" in it, until it is released."""

    #: Paths that some server has been asked for.
    asked: dict[bytes, int]

    def __init__(self, asked: dict[bytes, int], released: threading.Event) -> None:
        self.asked = asked
        self._released = released
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]
        accept_each(self._listening, self._serve)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(ConnectionError), connection, connection.makefile("rb") as file:
            while line := file.readline():
                path = line.split()[1]
                body = 0
                while (field := file.readline()) not in (b"\r\n", b""):
                    name, _, value = field.lower().partition(b":")
                    body = int(value) if name == b"content-length" else body
                file.read(body)
                self.asked[path] = count = self.asked.get(path, 0) + 1
                if count <= path.count(b"slow"):
                    self._released.wait(20)
                connection.sendall(OK)

    def close(self) -> None:
        self._listening.close()


class HedgingTests(TestCase):
    def setUp(self) -> None:
        self.asked: dict[bytes, int] = {}
        self.released = threading.Event()
        self.addCleanup(self.released.set)
        servers = [HoldingServer(self.asked, self.released) for _ in range(2)]
        for each in servers:
            self.addCleanup(each.close)
        self.folder = temporary_directory(self)
        self.lines = "".join(
            f"    server s{number} {LOOPBACK}:{each.port} pool-min-conn 2 pool-record 1h\n"
            for number, each in enumerate(servers)
        )
        self.daemon = Daemon(self.folder / "daemon", "")
        self.write(TEXT)
        self.daemon.start()
        self.addCleanup(self.daemon.stop)
        for _ in range(8):  # half a request each may be sent twice
            self.assertEqual(run_curl(f"{self.daemon.url}/").status, 200)

    def write(self, text: str) -> None:
        self.daemon.write(text.format(servers=self.lines))
        self.socket = self.folder / "s.sock"
        line = f"global\n    stats socket {self.socket} level admin\n"
        self.daemon.file.write_text(self.daemon.file.read_text().replace("global\n", line, 1))

    def says(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.socket))
            client.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def test_a_late_request_is_answered_by_another_connection(self) -> None:
        """And the log says so. The first answer is dropped when it comes, and its connection goes on."""
        self.assertEqual(run_curl(f"{self.daemon.url}/slow/a").status, 200)
        wait_for(lambda: self.daemon.has_said("hedged=2 200 --"), "the line in the log")
        self.assertEqual(self.asked[b"/slow/a"], 2)
        self.released.set()
        wait_for(lambda: {self.daemon.server(name)["scur"] for name in ("s0", "s1")} == {"0"}, "the connection back")
        self.assertEqual([self.daemon.server(name)["eresp"] for name in ("s0", "s1")], ["0", "0"])
        self.assertEqual(run_curl("-X", "POST", "-d", "x", f"{self.daemon.url}/").status, 200)

    def test_a_reload_while_two_connections_have_it(self) -> None:
        """One answer, no error, and the daemon ends when it is told to."""
        answers: list[int] = []
        client = threading.Thread(target=lambda: answers.append(run_curl(f"{self.daemon.url}/slow/slow").status))
        client.start()
        wait_for(lambda: self.asked.get(b"/slow/slow") == 2, "both requests")
        self.write(TEXT.replace("100ms", "200ms"))
        self.daemon.signal(signal.SIGHUP)
        wait_for(lambda: self.daemon.has_said("configuration reloaded"), "the reload")
        self.released.set()
        client.join(20)
        self.assertEqual(answers, [200], self.daemon.output)
        self.assertEqual(run_curl(f"{self.daemon.url}/").status, 200)
        wait_for(lambda: {self.daemon.server(name)["scur"] for name in ("s0", "s1")} == {"0"}, "all places")
        self.assertNotIn("Traceback", self.daemon.output)
        self.daemon.signal(signal.SIGTERM)
        wait_for(self.daemon.ended, "its end")

    def test_what_was_recorded_is_asked_here_and_there(self) -> None:
        """The runtime API and the doctor say the same of it."""
        here = self.says("what-if servers/s0 floor=1")
        self.assertIn("4 requests and 2 handshakes", here)
        saved = self.folder / "record"
        saved.write_text(self.says("show pool record servers/s0"))
        command = [sys.executable, "-m", "reusedproxy", "doctor", "--record", str(saved), "floor=1"]
        there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((there.returncode, there.stderr), (0, ""))
        words = [line.partition("  ")[0] for line in there.stdout.splitlines()]
        self.assertEqual(words[1:5], ["settings", "recorded", "in force: floor=2", "floor=1"])
        self.assertEqual(here.splitlines()[3].split()[:6], there.stdout.splitlines()[3].split()[:6])
