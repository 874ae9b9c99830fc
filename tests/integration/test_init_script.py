"""
The init script as an operator uses it: start, status, reload, restart, stop, and what it refuses.

Everything that it would keep in /etc, /run and /var is in a directory of the test's own, by its file of settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import free_port

from .peers import LOOPBACK, accepts_connections, run_curl, temporary_directory, wait_for

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

    def clean_up(self) -> None:
        self.script("stop")

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    def status_of_a_request(self, port: int) -> int:
        return run_curl(f"http://{LOOPBACK}:{port}/").status


class LifeTests(InitScriptTestCase):
    def test_it_starts_reports_and_stops_the_daemon(self) -> None:
        self.expect(3, "status")
        self.expect(0, "start")
        # It was back only when the port was bound and the daemon served.
        self.assertEqual(503, self.status_of_a_request(self.port))
        pid = self.pid
        self.assertIn(str(pid), self.expect(0, "status"))
        self.expect(0, "start")
        self.assertEqual(pid, self.pid)
        self.expect(0, "stop")
        self.assertFalse(accepts_connections(self.port))
        self.assertFalse(self.pidfile.exists())
        self.expect(3, "status")
        self.expect(0, "stop")

    def test_two_at_once_are_done_one_after_the_other(self) -> None:
        """Or the second start would take away the pid file of the first, and a stop miss a daemon that is starting."""
        for actions in (("start", "start"), ("restart", "start"), ("restart", "restart")):
            with ThreadPoolExecutor(2) as pool:
                done = [*pool.map(self.script, actions)]
            self.assertEqual([status for status, _ in done], [0, 0], (actions, done))
            self.assertIn(str(self.pid), self.expect(0, "status"))
        with ThreadPoolExecutor(2) as pool:
            self.assertEqual([status for status, _ in pool.map(self.script, ("stop", "stop"))], [0, 0])
        self.expect(3, "status")

    def test_reload_takes_the_new_configuration_into_the_running_daemon(self) -> None:
        self.expect(0, "start")
        pid, other = self.pid, free_port()
        self.configure(self.port, other)
        self.expect(0, "reload")
        # It was back only when the new configuration was in use.
        self.assertTrue(accepts_connections(other))
        self.assertEqual(503, self.status_of_a_request(self.port))
        self.assertEqual(pid, self.pid)
        self.expect(0, "status")

    def test_a_reload_says_what_a_start_would(self) -> None:
        """What it takes with a warning; nothing where there is nothing to say."""
        self.expect(0, "start")
        self.assertEqual(1, self.expect(0, "reload").count("\n"))
        self.configure(self.port, more="backend w\n    server x 192.0.2.1:1 ssl verify none\n")
        self.assertIn("verify none", self.expect(0, "reload"))

    def test_restart_is_another_process(self) -> None:
        self.expect(0, "start")
        pid = self.pid
        self.expect(0, "restart")
        self.assertNotEqual(pid, self.pid)
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_replace_is_another_process_that_nobody_has_waited_for(self) -> None:
        self.replace_it()

    def test_a_process_whose_place_was_taken_is_told_of_while_it_has_clients(self) -> None:
        """Who has stopped the daemon, or asks for it, would not think of that one."""
        self.expose()
        # It has not been answered when all this is done, however slow this machine is.
        self.configuration.write_text(self.configuration.read_text().replace("server 5s", "server 60s"))
        with (
            socket.create_server((LOOPBACK, self.nobody)) as server,
            self.started_with_a_client() as client,
        ):
            server.settimeout(20)
            held, _ = server.accept()
            pid = self.pid
            self.expect(0, "replace")
            told = f"process {pid} still has clients from before 'replace'"
            self.assertIn(told, self.expect(0, "status"))
            self.assertIn(told, self.expect(0, "stop"))
            self.expect(3, "status")
            held.close()
            client.settimeout(20)
            self.assertTrue(client.recv(4096))
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the old one to end")

    def started_with_a_client(self) -> socket.socket:
        """Start it, and have a client ask."""
        self.expect(0, "start")
        client = socket.create_connection((LOOPBACK, self.port), timeout=20)
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        return client

    def test_a_process_that_cannot_be_replaced_goes_on(self) -> None:
        self.expect(7, "replace")
        self.expect(0, "start")
        pid = self.pid
        self.assertIn("expose-fd listeners", self.expect(1, "replace"))
        self.assertEqual((pid, 503), (self.pid, self.status_of_a_request(self.port)))
        self.expect(0, "reload")

    def test_without_a_daemon_there_is_nothing_to_reload(self) -> None:
        self.expect(7, "reload")
        self.expect(0, "try-restart")
        self.assertFalse(accepts_connections(self.port))

    def test_a_daemon_that_is_stopping_is_not_one_that_runs(self) -> None:
        """A start waits for its end, and does not call done what will not be there a moment later."""
        self.expect(0, "start")
        old = self.pid
        with socket.create_connection((LOOPBACK, self.port)) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
            wait_for(lambda: self.log.exists(), "the log")
            os.kill(old, signal.SIGUSR1)
            wait_for(lambda: '"stopping"' in self.pidfile.with_suffix(".status").read_text(), "it to be stopping")
            self.assertIn("is stopping, as process", self.expect(0, "status"))
            self.set(STOP_TIMEOUT=1)
            self.assertIn("is stopping, and has clients still", self.expect(1, "start"))
        self.set(STOP_TIMEOUT=10)
        self.expect(0, "start")
        self.assertNotEqual(self.pid, old)
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_a_daemon_that_does_not_finish_in_time_is_killed(self) -> None:
        self.expect(0, "start")
        with self.settings.open("a") as settings:
            settings.write("STOP_TIMEOUT=1\n")
        os.kill(self.pid, signal.SIGSTOP)
        self.assertIn(f"process {self.pid} had not finished after 1 s", self.expect(0, "stop"))
        self.expect(3, "status")


class RefusalTests(InitScriptTestCase):
    def test_a_time_that_is_none_is_refused_before_anything_is_done(self) -> None:
        """Its unit may be said; zeros in front do not make it octal."""
        self.expect(0, "start")
        pid = self.pid
        for setting, action in (("STOP_TIMEOUT", "restart"), ("STOP_TIMEOUT", "stop"), ("REPLACE_TIMEOUT", "replace")):
            for value in ("", "5m", "1.5", "0x5", "s", "100000"):
                self.set(**{setting: value})
                self.assertIn(f"{setting}={value}: say whole seconds", self.expect(1, action))
                self.assertIn(str(pid), self.expect(0, "status"))
            self.set(**{setting: "09s"})
        self.expect(0, "stop")
        self.expect(3, "status")

    def test_settings_that_no_shell_can_read_leave_the_status_unknown(self) -> None:
        """The shell would end with 2, which is "dead, with its lock file left" for a status, or with 0 even."""
        settings = self.settings.read_text()
        for wrong in ("CONFIG='abc\n", "if\n", "exit 0\n", "CONFIG=${NOTHING:?}\n", "set -e; false\n"):
            self.settings.write_text(settings + wrong)
            for status, action in ((4, "status"), (1, "stop"), (1, "start")):
                self.assertIn(f"{self.settings} cannot be read to its end", self.expect(status, action), wrong)

    def test_settings_for_the_daemon_do_not_mislead_the_script(self) -> None:
        """A PATH without id(1), and it was called gone while it ran; likewise with other ways to read words."""
        self.expect(0, "start")
        pid, settings = str(self.pid), self.settings.read_text()
        for mine in (
            "PATH=/nowhere",
            "PATH=",
            "IFS=0123456789",
            "set -eu",
            "set -f; set -- stop",
            "NAME=x ACTION=stop",
        ):
            self.settings.write_text(settings + mine + "\n")
            self.assertIn(pid, self.expect(0, "status"), mine)
        self.expect(0, "reload")
        self.assertEqual(pid, str(self.pid))

    wrong = "    balnce roundrobin\n"
    message = "unknown keyword 'balnce' in section 'backend': did you mean 'balance'?"

    def test_a_broken_configuration_does_not_start(self) -> None:
        self.configure(self.port, more=self.wrong)
        self.assertIn(self.message, self.expect(1, "configtest"))
        self.assertIn(self.message, self.expect(1, "start"))
        self.expect(3, "status")

    def test_a_broken_configuration_leaves_a_running_daemon_as_it_is(self) -> None:
        self.expect(0, "start")
        pid = self.pid
        self.configure(self.port, more=self.wrong)
        self.assertIn(self.message, self.expect(1, "reload"))
        self.assertIn(self.message, self.expect(1, "restart"))
        for action in ("reload", "restart", "replace"):
            self.assertIn(f"not {action.removesuffix('e')}ed, the configuration is not valid", self.expect(1, action))
        self.assertEqual(pid, self.pid)
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_a_reload_that_the_daemon_refuses_has_failed_and_says_why(self) -> None:
        """The check before it opens no port, and could not find this out."""
        self.expect(0, "start")
        with socket.socket() as taken:
            taken.bind((LOOPBACK, 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.configure(self.port, port)
            self.assertIn(f"cannot listen on {LOOPBACK}:{port}: Address already in use", self.expect(1, "reload"))
        self.assertEqual(503, self.status_of_a_request(self.port))
        self.expect(0, "reload")
        self.assertTrue(accepts_connections(port))

    def test_a_good_configuration_is_called_valid(self) -> None:
        self.assertIn("Configuration file is valid", self.expect(0, "configtest"))

    def test_a_file_that_cannot_be_written_is_named(self) -> None:
        missing = self.directory / "missing"
        for setting, file in (("LOGFILE", missing / "log"), ("PIDFILE", missing / "daemon.pid")):
            text = self.settings.read_text()
            with self.settings.open("a") as settings:
                settings.write(f"{setting}={file}\n")
            output = self.expect(1, "start")
            self.assertIn(f"{file}: its directory cannot be used: No such file or directory", output)
            self.assertNotIn("Traceback", output)
            self.settings.write_text(text)

    def test_a_program_that_is_missing_is_named(self) -> None:
        with self.settings.open("a") as settings:
            settings.write("TWISTD=no-such-program\n")
        for action in ("start", "restart", "configtest"):
            self.assertIn("there is no program 'no-such-program'", self.expect(1, action))

    def test_a_port_that_is_taken_is_said_at_once(self) -> None:
        with socket.socket() as taken:
            taken.bind((LOOPBACK, self.port))
            taken.listen()
            self.assertIn(f"cannot listen on {LOOPBACK}:{self.port}: Address already in use", self.expect(1, "start"))
        self.expect(3, "status")

    def test_an_unknown_action_is_told_the_known_ones(self) -> None:
        self.assertIn("configtest", self.expect(2, "explode"))


class SystemdTests(InitScriptTestCase):
    """Where systemd makes a unit of the script, as it does where there is no other."""

    def setUp(self) -> None:
        if not GENERATOR.exists():
            raise SkipTest(f"no {GENERATOR}: apt-get install systemd")
        InitScriptTestCase.setUp(self)
        scripts, levels, units = (self.directory / name for name in ("init.d", "levels", "units"))
        for directory in (scripts, levels / "rc3.d", units):
            directory.mkdir(parents=True)
        shutil.copy(SCRIPT, scripts)
        (levels / "rc3.d" / "S01reusedproxy").symlink_to(scripts / "reusedproxy")
        places = {"SYSTEMD_SYSVINIT_PATH": str(scripts), "SYSTEMD_SYSVRCND_PATH": str(levels)}
        subprocess.run([GENERATOR, units, units, units], env={**os.environ, **places}, timeout=30, check=True)
        self.unit = (units / "reusedproxy.service").read_text().splitlines()

    def test_a_daemon_that_has_died_is_not_called_active(self) -> None:
        self.assertIn("PIDFile=/run/reusedproxy.pid", self.unit)
        self.assertIn("RemainAfterExit=no", self.unit)

    def test_no_failure_is_taken_for_success(self) -> None:
        (successes,) = (line.partition("=")[2].split() for line in self.unit if line.startswith("SuccessExitStatus="))
        statuses = {int(status) for status in re.findall(r"\b(?:exit|fail) (\d)", SCRIPT.read_text())}
        self.assertLessEqual({0, 1, 2, 3, 4, 7}, statuses)
        self.assertEqual(set(), statuses & {int(status) for status in successes})


class PidFileTests(InitScriptTestCase):
    def test_a_restart_that_could_write_nothing_stops_nothing(self) -> None:
        """A disk is full."""
        run = self.directory / "run"
        run.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", run], check=False).returncode:
            raise SkipTest("nothing can be mounted here")
        self.addCleanup(lambda: subprocess.run(["umount", run], check=True))
        self.addCleanup(self.script, "stop")
        self.pidfile = run / "daemon.pid"
        self.set(PIDFILE=self.pidfile)
        self.expect(0, "start")
        pid = self.pid
        remains = f"not restarted, nothing can be written beside {self.pidfile}"
        with contextlib.suppress(OSError), open(run / "much", "wb", 0) as file:
            while True:
                file.write(bytes(4096))
        self.assertIn(remains, self.expect(1, "restart"))
        (run / "much").unlink()
        self.assertEqual((self.pid, self.status_of_a_request(self.port)), (pid, 503))
        self.expect(0, "restart")
        self.assertEqual({each.suffix for each in run.iterdir()}, {".pid", ".born", ".status", ".lock"})

    def test_a_daemon_that_is_killed_as_it_starts_is_not_waited_for(self) -> None:
        """By the kernel, where there is too little memory. Its first process would wait for it, and a boot for that."""
        twistd = self.directory / "twistd"
        twistd.write_text(
            f"#!{sys.executable}\n"
            "import os, signal, sys\n"
            "def forked(count=[0]):\n"
            "    count[0] += 1\n"
            "    if count[0] == 2:  # the daemon itself\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "os.register_at_fork(after_in_child=forked)\n"
            "from twisted.scripts.twistd import run\n"
            "run()\n"
        )
        twistd.chmod(0o755)
        self.set(TWISTD=twistd)
        for _ in range(2):
            self.assertIn("the daemon has ended before it could say whether it serves", self.expect(1, "start"))
        self.set(TWISTD=TWISTD)
        self.expect(0, "start")

    def test_another_root_is_refused(self) -> None:
        """There, the pid file would be another one."""
        for option in (
            f"--chroot={self.directory}",
            f"--chr={self.directory}",
            f"--umask=022\t--chroot={self.directory}",
        ):
            self.set(EXTRAOPTS=f"'{option}'")
            self.assertIn("in another root its pid file could not be found", self.expect(1, "start"))

    def test_a_restart_that_could_not_start_again_stops_nothing(self) -> None:
        """Its log cannot be written, or an option is mistyped."""
        self.expect(0, "start")
        pid = self.pid
        for name, value, said in (
            ("LOGFILE", self.directory / "none" / "log", "its directory cannot be used: No such file or directory"),
            ("EXTRAOPTS", "--umsk=022", "option --umsk not recognized"),
        ):
            settings = self.settings.read_text()
            self.set(**{name: value})
            for action in ("restart", "configtest"):
                self.assertIn(said, self.expect(1, action))
            self.settings.write_text(settings)
        self.assertEqual((self.pid, self.status_of_a_request(self.port)), (pid, 503))

    def test_a_reload_of_another_configuration_is_not_called_done(self) -> None:
        """The daemon reads again what it was started with."""
        self.expect(0, "start")
        other, same = self.directory / "b.cfg", self.directory / "link.cfg"
        other.write_text(self.configuration.read_text())
        same.symlink_to(self.configuration)
        self.set(CONFIG=same)
        self.expect(0, "reload")
        self.set(CONFIG=other)
        said = f"process {self.pid} reads {self.configuration}, not CONFIG={other}: 'restart' goes over to it"
        self.assertIn(said, self.expect(1, "reload"))
        self.expect(0, "restart")
        self.expect(0, "reload")

    def test_a_stop_is_done_where_a_file_cannot_be_removed(self) -> None:
        """The rest of a restart, too."""
        self.expect(0, "start")
        note = self.pidfile.with_suffix(".born")
        note.unlink()
        note.mkdir()
        self.expect(0, "restart")
        self.assertIn("not all of its files could be removed", self.expect(0, "stop"))
        self.assertFalse(accepts_connections(self.port))

    def test_a_pid_file_that_names_another_process_harms_nobody(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.addCleanup(other.communicate)
        self.pidfile.write_text(str(other.pid))
        self.expect(1, "status")
        self.expect(0, "start")
        self.assertNotEqual(other.pid, self.pid)
        self.expect(0, "stop")
        self.pidfile.write_text(str(other.pid))
        self.expect(0, "stop")
        self.assertIsNone(other.poll())

    def test_an_empty_pid_file_is_in_nobodys_way(self) -> None:
        self.pidfile.write_text("")
        self.expect(1, "status")
        self.expect(0, "start")
        self.expect(0, "status")

    def test_what_the_daemon_left_in_its_status_file_is_in_nobodys_way(self) -> None:
        """Its user has it open, and may have been taken over; so may a process of his that keeps it."""
        if os.geteuid() != 0:
            raise SkipTest("only root has a file that another user writes")
        status = self.pidfile.with_suffix(".status")
        self.expect(0, "start")
        with status.open("r+") as kept:
            kept.write("garbage" * 1000)
            kept.flush()
            os.kill(self.pid, signal.SIGKILL)
            self.expect(1, "status")
            fcntl.flock(kept, fcntl.LOCK_EX)
            self.assertIn("a process has it open", self.expect(0, "start"))
        self.expect(0, "reload")
        self.expect(0, "stop")

    def test_what_is_no_pid_file_is_left_and_named(self) -> None:
        """By a slip of the pen it may be any file. Nothing is called done, for the daemon may run."""
        self.pidfile.write_text("not a number\n")
        for action, status in (("status", 4), ("start", 1), ("stop", 1), ("restart", 1), ("reload", 1)):
            self.assertIn(f"{self.pidfile} is no pid file", self.expect(status, action))
        self.assertEqual("not a number\n", self.pidfile.read_text())
        self.pidfile.unlink()
        self.pidfile.mkdir()
        for action, status in (("status", 4), ("start", 1), ("stop", 1)):
            self.assertIn(f"{self.pidfile} is no pid file", self.expect(status, action))

    def test_a_path_that_is_not_whole_is_refused(self) -> None:
        """Whatever it would be relative to; the way to it would never end."""
        for name in ("PIDFILE", "STATUSFILE", "LOGFILE"):
            before = self.settings.read_text()
            self.set(**{name: "run/daemon.pid"})
            for action, status in (("start", 1), ("status", 4)):
                self.assertIn(f"{name}=run/daemon.pid: say the whole path", self.expect(status, action))
            self.settings.write_text(before)
        for line, words in (
            (f"PIDFILE={self.pidfile}\r", "PIDFILE has a control character"),
            (f"USER='{getpass.getuser()} '", "USER ends with a blank"),
            (f"STATUSFILE={self.directory}/", "say a file, not a directory"),
        ):
            self.settings.write_bytes(f"{before}{line}\n".encode())
            for action, status in (("start", 1), ("status", 4)):
                self.assertIn(words, self.expect(status, action))
        self.settings.write_text(before)
        done = subprocess.run(
            ["/bin/sh", str(SCRIPT), "status"],
            env={**os.environ, "REUSEDPROXY_DEFAULTS": self.settings.name},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 4)
        self.assertIn("REUSEDPROXY_DEFAULTS=settings: say the whole path", done.stderr)

    def test_a_pid_file_that_lost_its_text_with_the_power_is_in_nobodys_way(self) -> None:
        self.pidfile.write_bytes(bytes(8))
        self.expect(1, "status")
        self.expect(0, "start")
        self.expect(0, "status")

    def test_a_pid_file_that_lost_its_number_does_not_lose_the_daemon(self) -> None:
        """The note that was made at its start names it, too."""
        self.expect(0, "start")
        pid = self.pid
        for lose in (
            lambda: self.pidfile.write_text(""),
            lambda: self.pidfile.write_bytes(bytes(8)),
            self.pidfile.unlink,
        ):
            lose()
            self.assertIn(f"runs, as process {pid}", self.expect(0, "status"))
            self.assertIn(f"runs already, as process {pid}", self.expect(0, "start"))
            self.expect(0, "reload")
        self.expect(0, "restart")
        self.assertNotEqual(pid, self.pid)
        self.assertEqual(503, self.status_of_a_request(self.port))
        self.pidfile.write_text("")
        self.expect(0, "stop")
        self.assertFalse(accepts_connections(self.port))
        self.expect(3, "status")

    def test_who_was_given_the_number_of_a_daemon_that_died_is_not_the_daemon(self) -> None:
        """Whatever he has on his command line, and whoever may be meant: the note tells another birth."""
        other = subprocess.Popen(
            [sys.executable, "-c", "input()", f"--pidfile={self.pidfile}"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.addCleanup(other.communicate)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.pidfile.write_text(str(other.pid))
        self.expect(0, "status")
        self.pidfile.with_suffix(".born").write_text(f"{other.pid} 12345 {boot}\n")
        self.expect(1, "status")
        self.expect(0, "start")
        self.assertNotEqual(other.pid, self.pid)
        self.expect(0, "stop")
        self.assertIsNone(other.poll())

    def test_what_was_noted_of_a_daemon_that_is_gone_is_in_nobodys_way(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.addCleanup(other.communicate)
        note = self.pidfile.with_suffix(".born")
        for text in (f"{other.pid} 1 2\n", "1 1 2\n", "", "x", "0"):
            note.write_text(text)
            self.expect(3, "status")
        self.expect(0, "start")
        self.expect(0, "stop")
        self.assertFalse(note.exists())
        self.assertIsNone(other.poll())

    def test_the_process_that_was_noted_is_the_daemon_whatever_it_calls_itself(self) -> None:
        """It can write over its command line. Not when it has ended, though nobody has asked how."""
        other = subprocess.Popen(["sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        self.pidfile.with_suffix(".born").write_text(self.birth_of(other.pid))
        self.assertIn(f"runs, as process {other.pid}", self.expect(0, "status"))
        self.expect(0, "stop")
        self.assertFalse(self.pidfile.with_suffix(".born").exists())
        other.wait()
        ended = subprocess.Popen(["sleep", "60"])
        self.addCleanup(ended.wait)
        self.pidfile.with_suffix(".born").write_text(self.birth_of(ended.pid))
        ended.kill()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        self.expect(3, "status")

    def test_daemons_whose_pid_files_are_nearly_the_same_are_two(self) -> None:
        """With and without ".pid"; nor does it matter where others may make files for a while."""
        self.set(TMPDIR=self.directory / "none")
        with self.settings.open("a") as file:
            file.write("export TMPDIR\n")
        self.expect(0, "start")
        self.assertTrue(self.pidfile.with_suffix(".born").exists())
        self.set(PIDFILE=self.pidfile.with_suffix(""))
        for action, status in (("status", 3), ("stop", 0)):
            self.expect(status, action)
        self.set(PIDFILE=self.pidfile)
        self.expect(0, "status")
        self.expect(0, "stop")

    def test_no_process_of_the_script_itself_is_the_daemon(self) -> None:
        """Where numbers begin at 1, a crash may have left that of one."""
        command = ["unshare", "--pid", "--fork", "--mount-proc"]
        if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
            raise SkipTest("no namespaces of process numbers here")
        environment = {**os.environ, "REUSEDPROXY_DEFAULTS": str(self.settings)}
        for number in range(2, 16):
            self.pidfile.write_text(f"{number}\n")
            done = subprocess.run(
                [*command, "sh", str(SCRIPT), "status"], env=environment, capture_output=True, timeout=60
            )
            self.assertEqual((done.returncode, done.stderr), (1, b""), (number, done.stdout))

    def test_a_daemon_is_not_called_gone_where_nobody_can_look(self) -> None:
        """There is no /proc, or no process may be made any more."""
        self.expect(0, "start")
        environment = {**os.environ, "REUSEDPROXY_DEFAULTS": str(self.settings)}
        blind = ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$0" "$@"']
        if subprocess.run([*blind, "true"], check=False, capture_output=True).returncode:
            raise SkipTest("/proc cannot be taken away here")
        for shell in ("dash", "bash"):
            for action, status in (("status", 4), ("stop", 1), ("start", 1)) if shutil.which(shell) else ():
                for file in (self.pidfile, self.pidfile.with_suffix(".born")):
                    self.assertTrue(file.exists())
                done = subprocess.run(
                    [*blind, shell, str(SCRIPT), "--bare", "", action], env=environment, capture_output=True, timeout=60
                )
                self.assertEqual(done.returncode, status, done.stdout)
                self.assertIn(b"/proc cannot be read, so nobody knows whether it runs", done.stdout)
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_what_a_program_says_is_not_obeyed_by_the_terminal(self) -> None:
        """Names of files are in it, which others may have chosen."""
        program = self.directory / "twistd"
        # A control character, one in UTF-8, and one alone; marks of direction, and what cannot be seen.
        said = r"a\033[2J\007\302\233\tb\303\244\233\2332J\303 \342\200\256\342\201\246\330\234\342\200\213"
        said += r"\342\202\254\360\237\230\200\360\237\n"
        program.write_text(f"#!/bin/sh\nprintf '{said}'; exit 1\n")
        program.chmod(0o755)
        self.set(TWISTD=program)
        utf8 = "a?[2J??\tbä??2J? ????€\N{GRINNING FACE}??\n"
        ascii_ = "a?[2J???\tb????2J? " + "?" * 20 + "\n"
        for locale, expected in (
            ({"LC_ALL": "", "LANG": "xy_XY.UTF-8"}, utf8),
            ({"LC_ALL": "C.utf8"}, utf8),
            ({"LC_ALL": "xy_XY@euro", "LANG": "C.UTF-8"}, ascii_),
            ({"LC_ALL": "", "LC_CTYPE": "", "LANG": ""}, ascii_),
        ):
            for action in ("start", "configtest"):
                status, output = self.script(action, None, **locale)
                self.assertEqual(status, 1)
                self.assertIn(expected, output)

    def test_the_umask_is_not_the_callers(self) -> None:
        """Else who may connect to a unix socket without `mode` would depend on who has started the daemon."""
        program = self.directory / "twistd"
        program.write_text("#!/bin/sh\numask\nexit 1\n")
        program.chmod(0o755)
        self.set(TWISTD=program)
        self.addCleanup(os.umask, os.umask(0))
        for umask in (0, 0o077):
            os.umask(umask)
            self.assertEqual(self.expect(1, "configtest"), "0022\n")
        with self.settings.open("a") as file:
            file.write("umask 027\n")
        self.assertEqual(self.expect(1, "configtest"), "0027\n")

    def test_a_check_that_was_killed_is_not_called_a_wrong_configuration(self) -> None:
        self.expect(0, "start")
        program = self.directory / "twistd"
        program.write_text("#!/bin/sh\nkill -9 $$\n")
        program.chmod(0o755)
        self.set(TWISTD=program)
        output = self.expect(1, "reload")
        self.assertIn("not reloaded, the check of the configuration was ended by signal 9", output)

    def test_nothing_of_the_callers_is_handed_on(self) -> None:
        """Its user may read the daemon's environment, and has what it has open. What the settings export it gets."""
        self.set(**{"export MEANT": "yes"})
        secret = self.directory / "secret"
        secret.write_text("")
        environment = {**os.environ, "TOKEN": "precious\nPATH=/nowhere", "REUSEDPROXY_DEFAULTS": str(self.settings)}
        # bash takes functions from its environment; the first would be called in place of a program.
        for name in ("env", "sed", "unset", "[", "kill", "cd", "echo", "reusedproxy"):
            environment[f"BASH_FUNC_{name}%%"] = f'() {{ touch {secret}.touched; builtin {name} "$@"; }}'
        # A shell would drop such names from the environment.
        opened = f"import os, sys; [os.dup2(os.open({str(secret)!r}, os.O_RDWR), n) for n in (3, 9, 123)]; "
        opened += "os.execvp(sys.argv[1], sys.argv[1:])"
        bash = self.directory / "sh"
        bash.symlink_to(shutil.which("bash") or "/bin/sh")
        for shell in ("sh", "bash", str(bash)):
            if shutil.which(shell):
                command = [sys.executable, "-c", opened, shell, str(SCRIPT), "start"]
                done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr), (0, b""), done.stdout)
                variables = Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0")
                self.assertIn(b"MEANT=yes", variables)
                self.assertNotIn(b"precious", b"".join(variables))
                files = [os.readlink(each) for each in Path(f"/proc/{self.pid}/fd").iterdir() if each.is_symlink()]
                self.assertNotIn(str(secret), files)
                self.assertFalse(Path(f"{secret}.touched").exists(), shell)
                self.expect(0, "stop")

    def test_a_daemon_that_was_started_by_hand_is_known(self) -> None:
        """Whichever way it was told the pid file."""
        for words in (["--pidfile", str(self.pidfile)], [f"--pidf=//{self.pidfile}"], ["--pi", "daemon.pid"]):
            command = [str(TWISTD), *words, f"--logfile={self.log}", "reusedproxy", "--config", str(self.configuration)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            subprocess.run(command, cwd=self.directory, env=environment, check=True, timeout=60)
            wait_for(lambda: accepts_connections(self.port), "the daemon to serve")
            self.assertIn(str(self.pid), self.expect(0, "status"), words)
            self.expect(0, "start")
            self.expect(0, "stop")
            self.assertFalse(accepts_connections(self.port))
            self.expect(3, "status")

    def test_twistd_without_the_script_starts_over_what_a_crash_left(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.addCleanup(other.communicate)
        command = [str(TWISTD), f"--pidfile={self.pidfile}", f"--logfile={self.log}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        arguments = [*command, "reusedproxy", "--config", str(self.configuration)]
        for text in ("", str(other.pid)):
            self.pidfile.write_text(text)
            done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn(f"{self.pidfile}: removed", done.stderr)
            self.assertEqual(503, self.status_of_a_request(self.port))
            # One that runs keeps its file, and is in the way of another.
            again = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(1, again.returncode, again.stderr)
            self.expect(0, "stop")
        self.assertIsNone(other.poll())


class UserTests(InitScriptTestCase):
    user = "nobody"

    def setUp(self) -> None:
        if os.getuid() != 0:
            raise SkipTest("only root can become another user")
        InitScriptTestCase.setUp(self)
        self.other = pwd.getpwnam(self.user).pw_uid

    def test_settings_that_cannot_be_read_leave_the_status_unknown(self) -> None:
        """They may name another pid file."""
        self.settings.chmod(0o600)
        for action in ("status", "stop", "reload", "try-restart", "start"):
            self.assertIn("cannot be read, so nobody knows what is meant", self.expect(4, action, self.other))

    def forged(self, code: str = "") -> subprocess.Popen[bytes]:
        """A process of another user's that has our pid file on its command line, and its number in that file."""
        code += f"; import os; os.setuid({pwd.getpwnam('daemon').pw_uid}); print(flush=True); input()"
        forged = subprocess.Popen(
            [sys.executable, "-c", code.lstrip("; "), f"--pidfile={self.pidfile}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(forged.communicate, b"\n")
        assert forged.stdout is not None
        forged.stdout.readline()
        self.pidfile.write_text(f"{forged.pid}\n")
        return forged

    def test_a_directory_for_sockets_is_made_where_it_is_missing(self) -> None:
        """And is USER's; one that is there is left alone, and none is made where others could put a link."""
        made = self.directory / "sockets"
        self.directory.chmod(0o755)
        self.set(RUNDIR=made)
        self.configure(self.port, more=f"global\n    stats socket {made}/admin.sock mode 600 level admin\n")
        self.expect(0, "start")
        self.assertEqual(pwd.getpwnam(self.user).pw_uid, made.stat().st_uid)
        self.expect(0, "reload")
        made.chmod(0o711)
        self.expect(0, "restart")
        self.assertEqual(0o711, made.stat().st_mode & 0o777)
        self.expect(0, "stop")
        never = self.directory / "never"
        self.set(RUNDIR=never, GROUP="99999999999")
        self.assertIn(f"RUNDIR={never} cannot be given to {self.user}:99999999999", self.expect(1, "start"))
        self.assertFalse(never.exists())
        self.set(GROUP="")
        shared = self.directory / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        self.set(RUNDIR=shared / "sockets")
        self.assertIn("others than root can change the directory", self.expect(1, "start"))

    def test_a_process_of_somebody_else_is_not_the_daemon(self) -> None:
        """Whatever he calls it, and though a crash has left its number: the one that was noted is gone."""
        forged = self.forged()
        self.pidfile.with_suffix(".born").write_text(f"{forged.pid} 1 2\n")
        self.expect(1, "status")
        self.expect(7, "reload")
        self.expect(0, "start")
        self.assertNotEqual(forged.pid, self.pid)
        self.expect(0, "stop")
        self.assertIsNone(forged.poll())

    def test_a_note_of_somebody_else_is_none(self) -> None:
        """Where everybody may make files, it could name any process."""
        other = subprocess.Popen(["sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        self.directory.chmod(0o1777)
        self.set(USER="")
        note, asking = self.pidfile.with_suffix(".born"), pwd.getpwnam(self.user).pw_uid
        note.write_text(self.birth_of(other.pid))
        os.chown(note, 12345, 12345)
        self.assertEqual(self.script("status", user=asking)[0], 3)
        os.chown(note, asking, asking)
        self.assertEqual(self.script("status", user=asking)[0], 0)
        note.rename(self.directory / "elsewhere")
        note.symlink_to(self.directory / "elsewhere")
        self.assertEqual(self.script("status", user=asking)[0], 3)

    def test_a_process_with_a_name_of_shell_words_is_not_the_daemon_either(self) -> None:
        """Others choose what stands in /proc: it is compared, and never evaluated."""
        self.expect(0, "start")
        self.expect(0, "stop")
        forged = self.forged("open('/proc/self/comm', 'w').write('\\na[$(id)] )\\n 1 2')")
        note = self.pidfile.with_suffix(".born")
        for noted, status in (
            (f"{forged.pid} 1 2\n", 1),
            ("a[$(id)] 1 2\n", 4),
            ("* ; id\n", 4),
            ("", 4),
            ("\0 \0", 4),
        ):
            note.write_text(noted)
            for shell in ("sh", "bash"):
                if shutil.which(shell):
                    environment = {**os.environ, "REUSEDPROXY_DEFAULTS": str(self.settings)}
                    done = subprocess.run(
                        [shell, str(SCRIPT), "--bare", "C", "status"],
                        env=environment,
                        capture_output=True,
                        text=True,
                        timeout=60,
                    )
                    self.assertEqual((done.returncode, done.stderr), (status, ""), (noted, done.stdout))
                    self.assertNotIn("gid=", done.stdout)
        self.assertIsNone(forged.poll())

    def test_a_name_that_is_no_text_does_not_shift_the_start_of_a_process(self) -> None:
        """In a UTF-8 locale, whoever has the number of a dead daemon could call himself so as to have its birth."""
        code = "import ctypes; ctypes.CDLL(None).prctl(15, b') \\xff a b c d e', 0, 0, 0)"
        forged = self.forged(code)
        noted = self.birth_of(forged.pid).split()
        self.pidfile.with_suffix(".born").write_text(f"{forged.pid} 0 {noted[2]}\n")  # it has no children
        status, output = self.script("status", LC_ALL="C.UTF-8")
        self.assertEqual(status, 1, output)

    def test_a_directory_of_others_is_refused_for_what_root_writes(self) -> None:
        """They could have root write, read or signal something else, by a link or another number."""
        theirs = self.directory / "theirs"
        theirs.mkdir()
        theirs.chmod(0o755)
        (theirs / "roots").mkdir()
        (theirs / "link").symlink_to(self.directory)
        (self.directory / "through").symlink_to("theirs/link")
        sticky = self.directory / "sticky"
        sticky.mkdir()
        sticky.chmod(0o1777)
        shutil.chown(theirs, self.user)
        own = self.settings.read_text()
        actions = {"status": 4, "start": 1, "stop": 1, "restart": 1, "try-restart": 1, "reload": 1}
        for place in (theirs, theirs / "roots", theirs / "link", self.directory / "through", sticky):
            (place / "daemon.pid").write_text(f"{os.getpid()}\n")
            for name, file in (("PIDFILE", place / "daemon.pid"), ("STATUSFILE", place / "x")):
                self.settings.write_text(own)
                self.set(**{name: file})
                for action, status in actions.items() if name == "PIDFILE" else [("start", 1)]:
                    text = f"{name}={file}: others than root can change that directory, or the way to it"
                    self.assertIn(text, self.expect(status, action))
            (place / "daemon.pid").unlink()
        self.settings.write_text(own)
        (self.directory / "fine").symlink_to("../" + self.directory.name)
        self.set(PIDFILE=self.directory / "fine" / "daemon.pid")
        self.expect(0, "start")
        self.expect(0, "stop")

    def test_the_check_of_a_reload_acts_as_its_user_and_is_a_process_of_roots(self) -> None:
        """Its user cannot make it type into root's terminal, or stop it. What he may not read is told nevertheless."""
        self.expect(0, "start")
        program, calls = self.directory / "twistd", self.directory / "calls"
        program.write_text(f'#!/bin/sh\necho "$(id -ru) $*" >>{calls}\nexec {TWISTD} "$@"\n')
        program.chmod(0o755)
        self.set(TWISTD=program)
        self.expect(0, "reload")
        check, reload = calls.read_text().splitlines()
        self.assertTrue(check.startswith("0 --nodaemon --pidfile= --uid=nobody --gid=nogroup reusedproxy"), check)
        self.assertTrue(check.endswith(" --check"), check)
        self.assertTrue(reload.startswith("0 "), reload)
        self.configuration.chmod(0o600)
        self.assertIn(f"{self.configuration}: cannot be read: Permission denied", self.expect(1, "reload"))

    def test_what_may_be_the_daemon_of_a_user_before_is_named_and_let_be(self) -> None:
        """No note says who was started: neither is it stopped, nor called stopped, nor is another started beside it."""
        self.expect(0, "start")
        before = self.pid
        self.addCleanup(os.kill, before, signal.SIGKILL)
        self.pidfile.with_suffix(".born").unlink()
        with self.settings.open("a") as settings:
            settings.write("USER=daemon\nGROUP=daemon\n")
        owner = pwd.getpwnam(self.user).pw_uid
        message = (
            f"process {before} has --pidfile={self.pidfile} on its command line, but is uid {owner}'s, not daemon's"
        )
        actions = {"status": 4, "start": 1, "stop": 1, "restart": 1, "try-restart": 1, "reload": 1, "force-reload": 1}
        for action, status in actions.items():
            self.assertIn(message, self.expect(status, action))
        self.assertEqual(before, self.pid)
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_a_daemon_that_was_started_as_another_by_an_option_is_noted_too(self) -> None:
        shutil.chown(self.log.parent, "daemon")
        with self.settings.open("a") as settings:
            settings.write(f"EXTRAOPTS=--uid={pwd.getpwnam('daemon').pw_uid}\n")
        self.expect(0, "start")
        self.assertEqual(pwd.getpwnam("daemon").pw_uid, os.stat(f"/proc/{self.pid}").st_uid)
        self.assertIn(str(self.pid), self.expect(0, "status"))
        self.expect(0, "stop")
        self.expect(3, "status")

    def test_a_link_in_place_of_its_note_leads_to_no_other_file(self) -> None:
        """The directory of the pid file may be the daemon's, and root writes there."""
        precious = self.pidfile.with_name("precious")
        precious.write_text("precious")
        note = self.pidfile.with_suffix(".born")
        note.symlink_to(precious)
        self.expect(0, "start")
        self.assertEqual(precious.read_text(), "precious")
        self.assertFalse(note.is_symlink())
        self.assertRegex(note.read_text(), rf"^{self.pid} [0-9]+ [0-9a-f-]+\n$")
        self.expect(0, "stop")

    def test_a_daemon_of_the_user_before_is_still_the_daemon(self) -> None:
        """Its settings name another one since it was started: it is found, and a restart is one."""
        self.expect(0, "start")
        before = self.pid
        with self.settings.open("a") as settings:
            settings.write("USER=daemon\nGROUP=daemon\n")
        for path in (self.log.parent, self.log):
            shutil.chown(path, "daemon")
        self.assertIn(str(before), self.expect(0, "status"))
        self.expect(0, "restart")
        self.assertNotEqual(before, self.pid)
        self.assertEqual(pwd.getpwnam("daemon").pw_uid, os.stat(f"/proc/{self.pid}").st_uid)
        with self.settings.open("a") as settings:
            settings.write(f"USER={self.user}\nGROUP=\n")
        self.expect(0, "stop")
        self.assertFalse(self.pidfile.exists())

    def test_a_group_alone_is_not_ignored(self) -> None:
        with self.settings.open("a") as settings:
            settings.write("USER=\nGROUP=nogroup\n")
        self.assertIn("GROUP=nogroup has no effect without USER=", self.expect(1, "start"))

    def test_its_log_is_no_other_file_than_its_users(self) -> None:
        """Whose directory it is in, so that he could put a link there."""
        precious = self.directory / "precious"
        precious.write_text("of root's\n")
        precious.chmod(0o600)
        self.log.symlink_to(precious)
        self.assertIn(f"--logfile {self.log}: cannot be written", self.expect(1, "start"))
        self.assertEqual(precious.read_text(), "of root's\n")

    def use_a_python_for_everybody(self) -> None:
        """Ours may be below root's home, where the user may not go;
        the system's can load the same packages if it is as new."""
        for python in (sys.executable, "/usr/bin/python3"):
            code = f"import sys; sys.path[:0] = {[str(ROOT), *(each for each in sys.path if each)]!r}"
            try:
                tried = subprocess.run(
                    [python, "-c", f"{code}; import twisted, OpenSSL, attrs"],
                    user=self.other,
                    capture_output=True,
                    cwd="/",
                )
            except OSError:
                continue
            if tried.returncode == 0:
                break
        else:
            raise SkipTest(f"no Python here that {self.user} may run can load what the daemon needs")
        program = self.directory / "twistd"
        program.write_text(f"#!{python}\n{code}\nfrom twisted.scripts.twistd import run\nrun()\n")
        program.chmod(0o755)
        with self.settings.open("a") as settings:
            settings.write(f"TWISTD={program}\n")

    def test_another_user_is_told_what_he_cannot_know_or_do(self) -> None:
        """LSB: 4 where the status is unknown, or where privileges are missing. Nothing is called done."""
        self.settings.write_text(self.settings.read_text().replace(f"USER={self.user}", "USER="))
        self.expect(0, "start")
        self.pidfile.chmod(0o644)
        self.assertIn(str(self.pid), self.expect(0, "status", self.other))
        for action in ("stop", "reload"):
            self.assertIn("only root can do that", self.expect(4, action, self.other))
        self.pidfile.chmod(stat.S_IRUSR)
        for action in ("status", "stop", "reload", "try-restart", "start"):
            self.assertIn("ask as root", self.expect(4, action, self.other))
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_the_daemon_of_a_user_is_replaced_by_root(self) -> None:
        self.replace_it()

    def test_the_daemon_becomes_the_user_of_the_settings(self) -> None:
        self.expect(0, "start")
        self.assertEqual(pwd.getpwnam(self.user).pw_uid, os.stat(f"/proc/{self.pid}").st_uid)
        self.assertEqual(503, self.status_of_a_request(self.port))
        # Its user may not remove the pid file; the script does.
        self.expect(0, "stop")
        self.assertFalse(self.pidfile.exists())

    def test_what_a_start_takes_a_restart_and_a_check_take_too(self) -> None:
        """Files for root alone, and those of the manhole, which are the user's."""
        self.use_a_python_for_everybody()
        keys, host_key = self.directory / "keys", self.log.parent / "host-key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / "id")], check=True)
        keys.write_text((self.directory / "id.pub").read_text())
        more = f"global\n    manhole {self.log.parent}/manhole authorized-keys {keys} host-key {host_key}\n"
        self.configure(self.port, more=more)
        self.configuration.chmod(0o600)
        self.expect(0, "start")
        self.assertEqual(pwd.getpwnam(self.user).pw_uid, host_key.stat().st_uid)
        self.assertIn("Configuration file is valid", self.expect(0, "configtest"))
        self.expect(0, "restart")
        self.assertEqual(503, self.status_of_a_request(self.port))

    def test_without_one_the_configuration_says_whom_the_daemon_becomes(self) -> None:
        """After everything is bound: a unix socket stays root's. A reload works as that user."""
        self.use_a_python_for_everybody()
        with self.settings.open("a") as settings:
            settings.write("USER=\n")
        path = self.directory / "socket"
        self.configure(
            self.port, more=f"global\n    user {self.user}\nfrontend g\n    bind {path}\n    default_backend nobody\n"
        )
        self.expect(0, "start")
        account = pwd.getpwnam(self.user)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        self.assertEqual(
            ([str(account.pw_uid)] * 4, [str(account.pw_gid)] * 4), (status["Uid"].split(), status["Gid"].split())
        )
        self.assertNotIn("0", status["Groups"].split())
        self.assertEqual(0, path.stat().st_uid)
        self.expect(0, "reload")
        self.assertEqual(503, self.status_of_a_request(self.port))
        self.expect(0, "stop")
        patterns = self.directory / "patterns"
        patterns.write_text("/a\n")
        for file in (self.configuration, patterns):
            more = f"    http-request deny if {{ path -f {patterns} }}\nglobal\n    user {self.user}\n"
            self.configure(self.port, more=more)
            file.chmod(0o600)
            self.assertIn(
                f"user {self.user}, whom the daemon becomes, cannot read what a reload reads again: {file};",
                self.expect(0, "start"),
            )
            self.expect(0, "stop")
            file.chmod(0o644)
        self.configure(self.port, more="global\n    user no-such-user\n")
        self.assertIn(f"{self.configuration}:13: 'user': there is no user 'no-such-user'", self.expect(1, "configtest"))

    def test_a_user_that_does_not_exist_is_named(self) -> None:
        with self.settings.open("a") as settings:
            settings.write("USER=no-such-user\nGROUP=no-such-group\n")
        said = self.expect(1, "start")
        self.assertIn("there is no user 'no-such-user'", said)
        self.assertIn("there is no group 'no-such-group'", said)

    def test_a_group_that_does_not_exist_is_named(self) -> None:
        with self.settings.open("a") as settings:
            settings.write("USER=nobody\nGROUP=no-such-group\n")
        said = self.expect(1, "start")
        self.assertIn("there is no group 'no-such-group'", said)
        self.assertNotIn("Traceback", said)

    def test_what_its_user_may_not_read_is_not_reloaded(self) -> None:
        self.use_a_python_for_everybody()
        self.expect(0, "start")
        self.configuration.chmod(0o600)
        self.assertIn(f"{self.configuration}: cannot be read: Permission denied", self.expect(1, "reload"))
        self.assertEqual(503, self.status_of_a_request(self.port))
