"""
The init script as an operator uses it: start, status, reload, restart, stop, and what it refuses.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import SkipTest

from tests.integration.initscript import GENERATOR, SCRIPT, InitScriptTestCase
from tests.ports import free_port

from .peers import LOOPBACK, accepts_connections, wait_for


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

    def test_a_caller_without_input_and_output_can_have_it_restarted(self) -> None:
        """Files and pipes would be opened in their place."""
        self.expect(0, "start")
        pid = self.pid
        closed = subprocess.run(
            ["/bin/sh", "-c", 'exec /bin/sh "$0" restart <&- >&- 2>&-', str(SCRIPT)],
            env={**os.environ, "REUSEDPROXY_DEFAULTS": str(self.settings)},
            timeout=60,
            check=False,
        )
        self.assertEqual((closed.returncode, self.pid != pid), (0, True))
        self.expect(0, "status")

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

    def replaced_slowly(self) -> int:
        """Starts it with a floor that a full server does not let another process open. Returns its number."""
        full = socket.create_server((LOOPBACK, 0), backlog=0)
        self.addCleanup(full.close)
        self.nobody = full.getsockname()[1]
        for _ in range(3):
            filling = socket.socket()
            filling.setblocking(False)
            filling.connect_ex((LOOPBACK, self.nobody))
            self.addCleanup(filling.close)
        self.expose()
        text = self.configuration.read_text().replace(f":{self.nobody}\n", f":{self.nobody} pool-min-conn 1\n")
        self.configuration.write_text(text.replace("connect 1s", "connect 20s"))
        self.expect(0, "start")
        return self.pid

    def announced(self, said: list[str]) -> int:
        """The number of the process that is to take its place; `said` gets what statuses say until then."""

        def found() -> re.Match[str] | None:
            said.append(self.expect(0, "status"))
            return re.search(r"process (\d+) is to take its place", said[-1])

        return int(wait_for(found, "the other process", seconds=20)[1])

    def test_while_another_process_waits_to_take_its_place_it_is_the_one_that_runs(self) -> None:
        """The other one is in the pid file already."""
        old = self.replaced_slowly()
        said: list[str] = []
        with ThreadPoolExecutor() as pool:
            replaced = pool.submit(self.script, "replace")
            os.kill(self.announced(said), signal.SIGTERM)
            status, output = replaced.result()
        self.assertEqual((status, f"process {old} goes on" in output), (1, True), output)
        self.assertEqual(
            [each for each in said if f"runs, as process {old}" not in each or "before 'replace'" in each], []
        )

    def test_stop_and_restart_end_both_where_another_process_waits_to_take_its_place(self) -> None:
        """Whoever had it replaced has broken that off."""
        pid = self.replaced_slowly()
        for action in ("restart", "stop"):
            replacing = subprocess.Popen(
                ["/bin/sh", str(SCRIPT), "replace"],
                env={**os.environ, "REUSEDPROXY_DEFAULTS": str(self.settings)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            other = self.announced([])
            replacing.kill()
            replacing.wait(20)
            self.assertNotIn("before 'replace'", self.expect(0, action))
            for each in (Path(f"/proc/{pid}"), Path(f"/proc/{other}")):
                wait_for(lambda each=each: not each.exists(), f"{each} to end by {action}")  # type: ignore[misc]
            if action == "restart":
                pid = self.pid
                self.assertIn(f"runs, as process {pid}\n", self.expect(0, "status"))
        self.expect(3, "status")
        self.assertFalse(accepts_connections(self.port))

    def test_a_process_that_does_not_get_ready_in_time_gives_up_by_itself(self) -> None:
        """Only it knows that it has not just taken the place."""
        old = self.replaced_slowly()
        self.set(REPLACE_TIMEOUT=1)
        self.assertIn(f"not replaced, process {old} goes on", self.expect(1, "replace"))
        self.assertIn("it has not got ready in 1 s (--replace-timeout)", self.log.read_text())
        self.assertEqual(self.pid, old)
        self.assertIn(f"runs, as process {old}\n", self.expect(0, "status"))
        self.assertTrue(accepts_connections(self.port))

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
        self.set(REPLACE_TIMEOUT=0)
        self.assertIn("REPLACE_TIMEOUT=0: no process gets ready in no time", self.expect(1, "replace"))
        self.set(REPLACE_TIMEOUT=1)
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
