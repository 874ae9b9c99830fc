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
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__
from reusedproxy.demo.certificates import Authority

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
        self.upgrade_in_vain()
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

    def upgrade_in_vain(self) -> None:
        """With a configuration, or settings, that are just being edited: who runs goes on, and dpkg says so."""
        pid = self.pid()
        edits = {CONFIGURATION: "nonsense\n"}
        if not self.boots:  # systemd reads settings in its own way
            edits["/etc/default/reusedproxy"] = "X='abc\n"
        for path, more in edits.items():
            edited = Path(f"{self.machine.root}{path}")
            content = edited.read_text()
            edited.write_text(content + more)
            said = self.machine.check("dpkg", "--force-confold", "-i", "/srv/packages/first.deb")
            edited.write_text(content)
            self.assertEqual((pid, "hello"), (self.pid(), self.ask(8081)), said)
            self.assertIn("the version before goes on", said)

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
        # Nobody stopped it, so it is started when the package is there again.
        said = self.machine.check("dpkg", "--force-confold", "-i", "/srv/packages/first.deb")
        self.assertEqual("hello", self.ask(8081), said)
        self.machine.check("dpkg", "-r", "reusedproxy")
        self.machine.check("dpkg", "-P", "reusedproxy")
        gone = ("etc/reusedproxy", "etc/default/reusedproxy", "etc/init.d/reusedproxy", "var/log/reusedproxy")
        self.assertEqual([], [name for name in (*gone, "var/lib/reusedproxy") if (root / name).exists()])
        self.machine.check("id", "reusedproxy")


#: Both sides of TLS, names from the C library, a hash of crypt(3), and what the daemon writes.
CONFINED = """
global
    log /dev/log local0
    ssl-watch 1s
    pool-warm-start 10s
    stats socket /run/reusedproxy/admin.sock mode 660 group reusedproxy level admin expose-fd listeners
    manhole 127.0.0.1:2222 authorized-keys /etc/reusedproxy/keys host-key /var/lib/reusedproxy/host_key
userlist people
    user somebody password {hash}
defaults
    mode http
    log global
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend www
    bind :80
    bind :443 ssl crt /etc/reusedproxy/tls/server.pem ca-file /etc/reusedproxy/tls/ca.pem verify required
    http-request silent-drop if {{ path /drop }}
    http-request auth if {{ path /secret }} !{{ http_auth(people) }}
    default_backend application
backend application
    option httpchk GET /
    default-server ssl verify required ca-file /etc/reusedproxy/tls/ca.pem crt /etc/reusedproxy/tls/client.pem
    server s localhost:8443 check sni str(server.test) pool-min-conn 4
"""
#: The server that demands a client certificate.
TLS_SERVER = SERVER.replace("8080), Handler).serve_forever()", "8443), Handler)").replace(
    "ThreadingHTTPServer((", "server = ThreadingHTTPServer(("
)
TLS_SERVER += """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/reusedproxy/tls/server.pem")
context.load_verify_locations("/etc/reusedproxy/tls/ca.pem")
context.verify_mode = ssl.CERT_REQUIRED
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


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

    def test_what_cannot_be_replaced_is_started_again(self) -> None:
        """Nor does a port that another program has keep the package from being installed."""
        blocker = "import socket, time; s = socket.create_server(('', 80)); print(flush=True); time.sleep(1000)"
        other = self.machine.start("python3", "-c", blocker)
        assert other.stdout is not None
        other.stdout.readline()
        said = self.machine.check("dpkg", "-i", "/srv/packages/first.deb")
        self.assertIn("reusedproxy was not started", said)
        self.assertIn("Address already in use", said)
        self.machine.check("pkill", "-f", "s = socket.create_server")
        self.configure("    stats socket /run/reusedproxy/admin.sock mode 600 level admin expose-fd listeners\n", "")
        self.service("start")
        pid = self.pid()
        said = self.machine.check("dpkg", "--force-confold", "-i", "/srv/packages/newer.deb")
        self.assertNotIn(self.pid(), (0, pid), said)
        self.assertEqual("hello", self.ask())
        # Where it was stopped, it stays so.
        self.service("stop")
        self.machine.check("dpkg", "-i", "/srv/packages/first.deb")
        self.assertEqual(3, self.machine.run("service", "reusedproxy", "status").returncode)


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

    def test_the_unit_confines_the_daemon_and_hinders_it_in_nothing(self) -> None:
        """All that needs the system in some way does its work; a loop that stands is ended, and started again."""
        machine, etc = self.machine, self.machine.root / "etc"
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        authority = Authority("CA of the machine")
        (etc / "reusedproxy/tls").mkdir(parents=True)
        (etc / "reusedproxy/tls/ca.pem").write_bytes(authority.certificate_pem)
        authority.issue("server.test", hosts=["server.test"]).write(etc / "reusedproxy/tls/server.pem")
        authority.issue("somebody", client=True).write(etc / "reusedproxy/tls/client.pem")
        machine.start("python3", "-c", TLS_SERVER)
        public = Ed25519PrivateKey.generate().public_key()
        (etc / "reusedproxy/keys").write_bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
        hashed = machine.check("perl", "-e", r'print crypt("password", "\$6\$salt\$")')
        (etc / "reusedproxy/reusedproxy.cfg").write_text(CONFINED.format(hash=hashed))
        (etc / "systemd/system/reusedproxy.service.d").mkdir(parents=True)
        (etc / "systemd/system/reusedproxy.service.d/test.conf").write_text("[Service]\nWatchdogSec=5s\n")
        machine.check("groupadd", "--system", "reusedproxy")
        machine.check("chown", "-R", "root:reusedproxy", "/etc/reusedproxy")
        machine.check("chmod", "-R", "u=rwX,g=rX,o=", "/etc/reusedproxy")
        said = machine.check("dpkg", "--force-confold", "-i", "/srv/packages/first.deb")
        self.assertEqual("hello", self.ask(), f"{said}; {self.log()}")
        self.assertIn("all floors stand", self.log())
        self.assertEqual(("0", "200"), self.curl("https://localhost/", "--cert", "/etc/reusedproxy/tls/client.pem"))
        self.assertEqual(("56", "000"), self.curl("https://localhost/"))
        self.assertEqual(("0", "200"), self.curl("http://localhost/secret", "--user", "somebody:password"))
        self.assertEqual(("0", "401"), self.curl("http://localhost/secret", "--user", "somebody:else"))
        self.assertEqual("000", self.curl("http://localhost/drop")[1])
        renewed = authority.issue("renewed", hosts=["server.test"])
        (etc / "reusedproxy/tls/server.pem").write_bytes(renewed.pem)
        wait_for(lambda: "server.pem) reloaded" in self.log(), "ssl-watch")
        self.service("reload")
        self.assertTrue((self.machine.root / "var/lib/reusedproxy/host_key").exists())
        pid = self.pid()
        machine.check("systemctl", "kill", "--kill-whom=main", "--signal=SIGUSR2", "reusedproxy")
        wait_for(lambda: self.pid() != pid, f"another process; {self.log()}", seconds=60)
        self.assertEqual("hello", self.ask())
        machine.check("systemd-analyze", "security", "--no-pager", "--threshold=19", "reusedproxy")
        pid = self.pid()
        machine.check("kill", "-STOP", str(pid))
        wait_for(lambda: self.pid() not in (0, pid), f"another process; {self.log()}", seconds=60)
        wait_for(lambda: self.ask() == "hello", "an answer", seconds=60)
        self.assertIn("Watchdog timeout", self.log())

    def test_with_the_socket_unit_nobody_is_refused(self) -> None:
        """Neither by a restart nor by a crash. As docs/operations.md says, no capability is needed then."""
        machine, etc = self.machine, self.machine.root / "etc"
        machine.check("dpkg", "-i", "/srv/packages/first.deb")
        machine.check("systemctl", "stop", "reusedproxy")
        Authority("CA of the machine").issue("site.test", hosts=["site.test"]).write(etc / "reusedproxy/site.pem")
        machine.check("chown", "root:reusedproxy", "/etc/reusedproxy/site.pem")
        machine.check("chmod", "640", "/etc/reusedproxy/site.pem")
        self.configure("    bind :80\n", "    bind fd@3\n    bind fd@4 ssl crt /etc/reusedproxy/site.pem\n")
        (etc / "systemd/system/reusedproxy.service.d").mkdir(parents=True)
        (etc / "systemd/system/reusedproxy.service.d/test.conf").write_text(
            "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=\nPrivateUsers=yes\n"
        )
        machine.check("systemctl", "daemon-reload")
        machine.check("systemctl", "enable", "--now", "reusedproxy.socket")
        self.assertEqual(0, self.pid())
        self.assertEqual("hello", self.ask(), self.log())  # which starts it
        self.assertEqual(("0", "200"), self.curl("https://localhost/"))
        client = machine.start("python3", "-c", CLIENT)
        for action in (
            ("restart", "reusedproxy"),
            ("kill", "--kill-whom=main", "--signal=SIGUSR2", "reusedproxy"),
            ("kill", "--kill-whom=main", "--signal=SIGKILL", "reusedproxy"),
        ):
            pid = self.pid()
            machine.check("systemctl", *action)
            wait_for(lambda pid=pid: self.pid() not in (0, pid), f"another process; {self.log()}", seconds=60)  # type: ignore[misc]
            self.assertEqual("hello", self.ask(), self.log())
            self.service("reload")
        told, _ = client.communicate("\n", timeout=30)
        counted = json.loads(told)["counted"]
        print(f"UnitTests: socket unit: {told}")
        # One request at most was under way in the process that was killed.
        self.assertLessEqual(sum(number for said, number in counted.items() if said != "200"), 1, counted)
        self.assertNotIn("ConnectionRefusedError", told)
        self.assertEqual(("0", "200"), self.curl("https://localhost/"))

    def curl(self, url: str, *words: str) -> tuple[str, str]:
        """curl's exit status and that of the answer."""
        command = ["curl", "-sS", "-k", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *words, url]
        done = self.machine.run(*command)
        return str(done.returncode), done.stdout
