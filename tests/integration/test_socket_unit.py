"""The lines of the socket unit, and those that it says for the configuration: a supervisor listens, by systemd's own
program for that, and the daemon of the service unit's command line serves."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import ROOT, START
from tests.integration.peers import LOOPBACK, Process, missing, temporary_directory, wait_for
from tests.integration.test_replace import _others
from tests.ports import free_port

UNITS = ROOT / "etc" / "systemd"
REST = """\
    http-request return status 200 content-type text/plain string ok
global
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout client 10s
    timeout connect 2s
    timeout server 10s
"""


def of_unit(name: str, section: str, word: str) -> list[str]:
    """The values of a word in one of the units."""
    found: list[str] = []
    inside = ""
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
        elif inside == section and line.startswith(f"{word}="):
            found.append(line.partition("=")[2])
    return found


class SocketUnitTests(SynchronousTestCase):
    skip = missing("systemd-socket-activate") or None

    def setUp(self) -> None:
        self.folder = temporary_directory(self)
        authority = Authority("test CA")
        crt = authority.issue("site.test", hosts=["site.test"]).write(self.folder / "site.pem")
        self.ca = authority.certificate_pem.decode()
        # The lines that the unit's comment says, for the sockets that it opens.
        lines = re.findall(r"^#   (.*)$", (UNITS / "reusedproxy.socket").read_text(), re.M)
        self.assertEqual(lines[0], "frontend www")
        text = "\n".join(lines).replace("/etc/reusedproxy/site.pem", str(crt))
        self.config = self.folder / "proxy.cfg"
        head, _, rest = REST.format(folder=self.folder).partition("global\n")
        self.config.write_text(f"global\n{rest}{text}\n{head}")
        self.process = Process(self.folder)
        self.addCleanup(self.process.stop)

    def begin(self, *words: str) -> None:
        """Has systemd's program listen at as many ports as the unit does, and start the daemon for the first client."""
        wanted = of_unit("reusedproxy.socket", "Socket", "ListenStream")
        self.assertEqual(wanted, ["80", "443"])
        self.ports = [free_port() for _ in wanted]
        (command,) = of_unit("reusedproxy.service", "Service", "ExecStart")
        command = command.replace("${CONFIG}", str(self.config)).replace("/run/reusedproxy", str(self.folder))
        program, *arguments = command.split()
        self.assertEqual(program, "twistd")
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'twistd'\n"
        code += "from twisted.scripts.twistd import run; run()\n"
        listening = [word for port in self.ports for word in ("--listen", f"{LOOPBACK}:{port}")]
        self.process.spawn(
            ["systemd-socket-activate", *listening, *words, "-E", "PATH", sys.executable, "-c", code, *arguments]
        )
        wait_for(lambda: "Listening on" in self.process.output, "the sockets")

    def ask(self, port: int, trusted: str = "") -> bytes:
        if trusted:
            context = ssl.create_default_context(cadata=trusted)
            client = socket.create_connection((LOOPBACK, port), timeout=START)
            with client, context.wrap_socket(client, server_hostname="site.test") as over_tls:
                over_tls.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
                return b"".join(iter(lambda: over_tls.recv(65536), b""))[-2:]
        client_ = http.client.HTTPConnection(LOOPBACK, port, timeout=START)
        client_.request("GET", "/")
        answer = client_.getresponse().read()
        client_.close()
        return answer

    def assert_served(self) -> None:
        self.assertEqual([self.ask(self.ports[0]), self.ask(self.ports[1], self.ca)], [b"ok", b"ok"])

    def test_the_first_client_starts_it_and_it_serves_all_sockets(self) -> None:
        self.begin()
        self.assert_served()
        self.assertEqual(json.loads((self.folder / "status").read_text())["state"], "running")
        assert self.process.running is not None
        pid = self.process.running.pid
        self.config.write_text(self.config.read_text().replace("string ok", "string no"))
        self.process.running.send_signal(signal.SIGHUP)
        wait_for(lambda: self.ask(self.ports[0]) == b"no", "the reload")
        self.config.write_text(self.config.read_text().replace("string no", "string ok"))
        # Another process has the sockets from this one, and not from a supervisor.
        self.process.running.send_signal(signal.SIGUSR2)
        wait_for(self.process.died, "the first process to end", START)
        (new,) = _others(self.config, pid)
        self.addCleanup(_end, new)
        self.assert_served()
        self.assertNotIn("Traceback", self.process.output)

    def test_a_socket_with_a_name(self) -> None:
        self.config.write_text(self.config.read_text().replace("fd@3", "fd@web").replace("fd@4", "fd@tls"))
        self.begin("--fdname=web:tls")
        self.assert_served()
        self.process.stop()

    def test_sockets_that_are_not_there_are_named(self) -> None:
        self.config.write_text(self.config.read_text().replace("fd@4", "fd@nobody"))
        self.begin("--fdname=web:tls")
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.ask(self.ports[0])
        wait_for(self.process.died, "it to end")
        self.assertIn("nobody has handed over a socket called 'nobody'", self.process.output)


def _end(pid: int) -> None:
    subprocess.run(["kill", str(pid)], check=False)
    wait_for(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "it to end")
