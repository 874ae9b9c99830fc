"""
Runs the init script for tests. Everything that it would keep in /etc, /run and /var is in a directory of the test's
own, by its file of settings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import free_port

from .peers import LOOPBACK, run_curl, temporary_directory, wait_for

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "etc" / "init.d" / "reusedproxy"
GENERATOR = Path("/lib/systemd/system-generators/systemd-sysv-generator")
TWISTD = Path(sys.executable).with_name("twistd")

CONFIGURATION = """\
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    retries 0
"""
FRONTEND = """\
frontend at-{port}
    bind {host}:{port}
    default_backend nobody
"""
BACKEND = """\
backend nobody
    server none {host}:{port}
"""


class InitScriptTestCase(SynchronousTestCase):
    user = ""

    def setUp(self) -> None:
        if not TWISTD.exists():
            raise SkipTest(f"no twistd beside {sys.executable}: pip install twisted")
        self.directory = temporary_directory(self)
        # For the user that the daemon becomes; the directory is made for its owner alone.
        self.directory.chmod(0o755)
        self.pidfile = self.directory / "daemon.pid"
        self.log = self.directory / "log" / "daemon.log"
        self.log.parent.mkdir()
        if self.user:
            shutil.chown(self.log.parent, self.user)
        self.port, self.nobody = free_port(), free_port()
        self.configuration = self.directory / "a.cfg"
        self.configure(self.port)
        self.settings = self.directory / "settings"
        self.settings.write_text(
            f"CONFIG={self.configuration}\nTWISTD={TWISTD}\nPIDFILE={self.pidfile}\nLOGFILE={self.log}\n"
            f"USER={self.user}\nRUNDIR=\nSTOP_TIMEOUT=10\nexport PYTHONPATH={ROOT}\n"
        )
        self.addCleanup(self.clean_up)

    def configure(self, *ports: int, more: str = "") -> None:
        """Write a configuration that listens on `ports`, whose only server is one that nobody has started."""
        frontends = "".join(FRONTEND.format(host=LOOPBACK, port=port) for port in ports)
        text = CONFIGURATION + frontends + BACKEND.format(host=LOOPBACK, port=self.nobody) + more
        self.configuration.write_text(text)

    def script(self, action: str, user: int | None = None, **more: str) -> tuple[int, str]:
        """The exit status of an action, and all it printed; `more` are variables of its environment."""
        environment = {**os.environ, **more, "REUSEDPROXY_DEFAULTS": str(self.settings)}
        done = subprocess.run(
            ["/bin/sh", str(SCRIPT), action],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=60,
            check=False,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        return done.returncode, done.stdout

    def set(self, **settings: object) -> None:
        """Add these to the file of settings."""
        with self.settings.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings.items())

    def birth_of(self, pid: int) -> str:
        """What the script notes of a process."""
        start = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()[19].decode()
        return f"{pid} {start} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}\n"

    def expect(self, status: int, action: str, user: int | None = None) -> str:
        """Run an action, as another user or as ourselves, that ends with `status`; what it printed."""
        got, output = self.script(action, user)
        log = self.log.read_text() if self.log.exists() else ""
        self.assertEqual(status, got, f"{action} said:\n{output}\nthe log:\n{log}")
        return output

    def expose(self) -> None:
        socket = self.directory / "run" / "admin.sock"
        socket.parent.mkdir(exist_ok=True)
        if self.user:
            shutil.chown(socket.parent, self.user)
        words = "mode 600 level admin expose-fd listeners"
        if self.user:
            words += f" user {self.user}"
        self.configure(self.port, more=f"global\n    stats socket {socket} {words}\n")

    def replace_it(self) -> None:
        """Start it, and replace it twice."""
        self.expose()
        self.expect(0, "start")
        for _ in range(2):
            pid = self.pid
            self.expect(0, "replace")
            # It was back only when the new process served.
            self.assertNotEqual(pid, self.pid)
            self.assertEqual(503, self.status_of_a_request(self.port))
            self.assertIn(str(self.pid), self.expect(0, "status"))
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the old one to end")
        self.expect(0, "reload")
        self.assertIn(f"has taken the place of process {pid}", self.log.read_text())

    def words(self) -> list[str]:
        """With which the script starts the daemon, so that what else has them may be taken for it."""
        return [f"--pidfile={self.pidfile}", "--syslog", "reusedproxy", "--config", str(self.configuration)]

    def twistd(self, code: str) -> str:
        """The path of a program of that name, which does something else."""
        program = self.directory / "twistd"
        program.write_text(code)
        return str(program)

    def clean_up(self) -> None:
        self.script("stop")

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def status_of_a_request(self, port: int) -> int:
        return run_curl(f"http://{LOOPBACK}:{port}/").status
