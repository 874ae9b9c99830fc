"""
The Debian package on a machine of its own: installed, asked, reloaded, upgraded under load, removed, purged; with
systemd as its first process, and with init scripts.

`make test-deb` makes the package and the tree of Debian's, which take minutes, and says in the environment where both
are. Without these, the tests say so and are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest

import pytest
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__

from .machines import Machine, impediment
from .peers import temporary_directory, wait_for

PACKAGE, TREE = os.environ.get("REUSEDPROXY_DEB", ""), os.environ.get("REUSEDPROXY_DEB_TREE", "")
NEWER = f"{__version__}+newer"
CONFIGURATION = "/etc/reusedproxy/reusedproxy.cfg"
PLACE = "/usr/lib/reusedproxy"

#: What the configuration as it comes expects at 127.0.0.1:8080.
SERVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.do_GET()
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *words): pass
ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""
#: One client, until its standard input says something. Each request is a POST, which the proxy never sends twice, on a
#: connection of its own.
CLIENT = """
import collections, http.client, json, select, sys, time
counted, slowest = collections.Counter(), 0.0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    began = time.monotonic()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=10)
        connection.request("POST", "/", b"once")
        counted[str(connection.getresponse().status)] += 1
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        counted[repr(error)] += 1
    slowest = max(slowest, time.monotonic() - began)
print(json.dumps({"counted": counted, "slowest": slowest}))
"""


def newer(package: Path, directory: Path) -> Path:
    """The same package with a higher version, which the program says, too."""
    subprocess.run(["dpkg-deb", "-R", str(package), str(directory / "newer")], check=True)
    (program,) = directory.glob(f"newer{PLACE}/lib/python3*/site-packages/reusedproxy/__init__.py")
    for path in (program, directory / "newer/DEBIAN/control"):
        text = path.read_text()
        assert __version__ in text
        path.write_text(text.replace(__version__, NEWER))
    made = directory / "newer.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "-b", str(directory / "newer"), str(made)], check=True, stdout=-3)
    return made


@pytest.mark.timeout(600)
class DebTestCase(SynchronousTestCase):
    """One machine for one life of the package, since each step begins where the one before ends."""

    boots: bool

    def setUp(self) -> None:
        if not (PACKAGE and TREE):
            raise SkipTest("no package: make test-deb makes it, and runs this")
        if why := impediment():
            raise SkipTest(why)
        directory = temporary_directory(self)
        self.machine = Machine(self, Path(TREE), boots=self.boots)
        (self.machine.root / "srv/packages").mkdir(parents=True)
        shutil.copy(PACKAGE, self.machine.root / "srv/packages/first.deb")
        shutil.copy(newer(Path(PACKAGE), directory), self.machine.root / "srv/packages/newer.deb")
        self.machine.start("python3", "-c", SERVER)

    def pid(self) -> int:
        raise NotImplementedError

    def log(self) -> str:
        raise NotImplementedError

    def service(self, action: str) -> str:
        raise NotImplementedError

    def refused(self, action: str) -> str:
        raise NotImplementedError

    def ask(self, port: int = 80) -> str:
        return self.machine.run("curl", "-sS", "-m", "5", f"http://127.0.0.1:{port}/").stdout

    def running(self) -> str:
        """The version of the process that serves, as the runtime API says it."""
        talk = (
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/reusedproxy/admin.sock');"
            " s.sendall(b'show info\\n'); print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
        )
        said = self.machine.check("python3", "-c", talk)
        return next(line.partition(" ")[2] for line in said.splitlines() if line.startswith("Version: "))

    def configure(self, old: str, new: str) -> None:
        path = Path(f"{self.machine.root}{CONFIGURATION}")
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new))

    def live(self) -> None:
        """The life of the package."""
        self.install()
        self.reload()
        self.upgrade()
        self.remove()

    def install(self) -> None:
        said = self.machine.check("dpkg", "-i", "/srv/packages/first.deb")
        self.assertEqual("hello", self.ask(), f"dpkg: {said}; the log: {self.log()}")
        self.assertEqual(f"reusedproxy {__version__}\n", self.machine.check("reusedproxy", "--version"))
        self.assertEqual(__version__, self.running().partition("+")[0])
        owner = self.machine.check("stat", "-c", "%U %G", f"/proc/{self.pid()}").split()
        self.assertEqual(["reusedproxy", "reusedproxy"], owner)
        for page in ("reusedproxy", "reusedproxy.cfg"):
            self.machine.check("man", "-w", page)
        self.machine.check("logrotate", "-d", "/etc/logrotate.d/reusedproxy")
        # Nothing is written into the program's place but what Python and Twisted make of it.
        self.assertEqual("", self.machine.check("find", PLACE, "!", "-user", "root"))

    def reload(self) -> None:
        pid = self.pid()
        self.configure("    bind :80\n", "    bind :80\n    bind :8081\n")
        self.service("reload")
        self.assertEqual("hello", self.ask(8081))
        self.configure("    bind :8081\n", "    bind :8081 nonsense\n")
        self.assertIn("nonsense", self.refused("reload"))
        self.assertEqual("hello", self.ask(8081))
        self.configure("    bind :8081 nonsense\n", "    bind :8081\n")
        self.assertEqual(pid, self.pid())

    def upgrade(self) -> None:
        """Under load; the configuration has been changed, so dpkg keeps it."""
        pid = self.pid()
        client = self.machine.start("python3", "-c", CLIENT)
        said = self.machine.check("dpkg", "--force-confold", "-i", "/srv/packages/newer.deb")
        wait_for(lambda: self.pid() not in (0, pid), f"another process; dpkg: {said}; the log: {self.log()}")
        self.assertEqual(NEWER, self.running())
        told, _ = client.communicate("\n", timeout=30)
        found = json.loads(told)
        print(f"{type(self).__name__}: upgrade: {found}")
        self.assertEqual(["200"], [*found["counted"]], (found, said))
        self.assertGreater(found["counted"]["200"], 100)
        wait_for(lambda: not Path(f"{self.machine.root}/proc/{pid}").exists(), "the old process to end")
        self.assertEqual("hello", self.ask(8081))
        self.service("reload")

    def remove(self) -> None:
        pid = self.pid()
        self.machine.check("dpkg", "-r", "reusedproxy")
        self.assertNotEqual(0, self.machine.run("kill", "-0", str(pid)).returncode)
        self.assertEqual("", self.ask())
        root = self.machine.root
        # Files of the configuration, the daemon's own, and its user outlive a removal.
        self.assertTrue(Path(f"{root}{CONFIGURATION}").exists())
        self.assertTrue((root / "var/log/reusedproxy").is_dir())
        self.assertFalse(Path(f"{root}{PLACE}").exists(), self.machine.run("find", PLACE).stdout)
        self.machine.check("dpkg", "-P", "reusedproxy")
        gone = ("etc/reusedproxy", "etc/default/reusedproxy", "etc/init.d/reusedproxy", "var/log/reusedproxy")
        self.assertEqual([], [name for name in (*gone, "var/lib/reusedproxy") if (root / name).exists()])
        self.machine.check("id", "reusedproxy")


class InitScriptTests(DebTestCase):
    """No systemd runs."""

    boots = False

    def pid(self) -> int:
        return int(self.machine.check("cat", "/run/reusedproxy.pid"))

    def log(self) -> str:
        return self.machine.run("/etc/init.d/reusedproxy", "status").stdout

    def service(self, action: str) -> str:
        return self.machine.check("service", "reusedproxy", action)

    def refused(self, action: str) -> str:
        done = self.machine.run("service", "reusedproxy", action)
        self.assertEqual(1, done.returncode, done.stdout)
        return done.stdout

    def test_its_life(self) -> None:
        self.live()


class UnitTests(DebTestCase):
    """systemd is the first process."""

    boots = True

    def pid(self) -> int:
        return int(self.machine.check("systemctl", "show", "-p", "MainPID", "--value", "reusedproxy"))

    def log(self) -> str:
        return self.machine.run("journalctl", "-u", "reusedproxy").stdout

    def service(self, action: str) -> str:
        return self.machine.check("systemctl", action, "reusedproxy")

    def refused(self, action: str) -> str:
        self.assertNotEqual(0, self.machine.run("systemctl", action, "reusedproxy").returncode)
        return self.log()

    def test_its_life(self) -> None:
        self.live()
