"""
The init script and its files: whose pid file, note and status these are, and what else may stand there.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from tests.integration.initscript import ROOT, SCRIPT, TWISTD, InitScriptTestCase

from .peers import accepts_connections, wait_for

#: Says that it runs, and ends with its input.
WAITS = "import sys; print('waits', flush=True); sys.stdin.read()"


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

    def test_a_status_file_that_is_large_is_not_read_whole(self) -> None:
        """The daemon's user has it open, and may write what he wants."""
        self.expect(0, "start")
        status = self.pidfile.with_suffix(".status")
        beginning = status.read_bytes()[:12]
        for end in (b"", b"x" * 100, b"x" * (32 << 20)):
            status.write_bytes(beginning + end)
            os.truncate(status, 1 << 40)
            ran = subprocess.run(
                ["/bin/sh", "-c", '/bin/sh "$0" status || exit; grep rchar "/proc/$$/io" >&2', str(SCRIPT)],
                env={**os.environ, "REUSEDPROXY_DEFAULTS": str(self.settings)},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            self.assertEqual(ran.stdout.count("\n"), 1, ran.stdout)
            self.assertLess(int(ran.stderr.split()[1]), 16 << 20)  # bytes that the script and its programs have read

    def test_a_configuration_whose_name_ends_with_a_blank_is_reloaded(self) -> None:
        self.configuration = self.configuration.rename(f"{self.configuration} ")
        self.set(CONFIG=f"'{self.configuration}'")
        self.expect(0, "start")
        self.expect(0, "reload")

    def test_what_the_daemon_calls_itself_is_no_order_to_a_terminal(self) -> None:
        """Taken over, it may execute another program in its place."""
        words = [self.twistd(WAITS), *self.words()[:-1], "/x\x1b[2J\\033[31m\u202ey"]
        with subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE) as other:
            self.pidfile.write_text(str(other.pid))
            said = self.expect(1, "reload")
            other.communicate(b"\n", 30)
        self.assertRegex(said, r"reads /x\?\[2J\?033\[31m\?+y, not CONFIG=")

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

    def stand_in(self, *command: str) -> subprocess.Popen[bytes]:
        """A process with this command line, which ends when it is told to, or when the test does; the pid file has the
        number of it, or of the one that it runs."""
        self.pidfile.unlink(missing_ok=True)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=self.directory)
        self.addCleanup(process.communicate)
        self.pidfile.write_text(str(process.pid))
        return process

    def test_a_process_that_runs_the_daemon_or_looks_for_it_is_not_the_daemon(self) -> None:
        """The words with which the daemon is started stand behind its own, as of strace, sudo or what supervises it."""
        python, waits, program, words = sys.executable, WAITS, self.twistd(WAITS), self.words()
        watcher = self.directory / "watcher"
        watcher.write_text(waits)
        debians = shutil.copy(program, f"{program}3")
        for command, ours in (
            ([python, program, *words], True),
            ([python, "-E", "-W", "ignore", program, *words], True),
            ([python, program, "-n", "--uid", "reusedproxy", *words], True),
            ([python, program, "-l", "reusedproxy", *words[:2], *words[2:]], True),
            ([python, program, "--spew", *words], True),
            ([python, debians, *words], True),
            ([python, program, *words[:2], " reusedproxy", *words[3:]], False),
            ([python, "-c", waits, *words], False),
            ([python, "-c", waits, program, *words], False),
            ([python, str(watcher), program, *words], False),
            (["/bin/sh", "-c", "read x", program, *words], False),
            (["/bin/sh", "-c", "read x", python, program, *words], False),
            ([python, program, "web", *words], False),
            ([python, program, "-n", "web", *words], False),
            ([python, program, f"--pidfile={self.pidfile}.other", *words[1:], words[0]], False),
        ):
            process = self.stand_in(*command)
            self.expect(0 if ours else 1, "status")
            if not ours:
                self.expect(7, "reload")
            self.expect(0, "stop")
            self.assertEqual(process.poll() is not None, ours, command)
            process.communicate()

    def test_a_program_that_python_reads_from_its_input_is_not_the_daemon(self) -> None:
        """As of a shell's here-document, with what it looks for behind it."""
        process = self.stand_in(sys.executable, "-", self.twistd(WAITS), *self.words())
        self.expect(1, "status")
        self.expect(0, "stop")
        self.assertIsNone(process.poll())

    def test_who_was_started_in_another_root_is_not_the_daemon_and_who_has_gone_there_since_is(self) -> None:
        """The daemon's own program is outside of the root that twistd's --chroot gives it."""
        if os.geteuid():
            self.skipTest("only root can give a process another root")
        before = self.directory / "before"
        before.mkdir()
        for root, ours in ((Path(os.path.realpath(sys.executable)).parent, False), (before, True)):
            code = f"import os, sys; os.chroot({str(root)!r}); print('waits', flush=True); sys.stdin.read()"
            command = [sys.executable, self.twistd(code), *self.words()]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.addCleanup(process.communicate)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"waits\n")
            self.pidfile.write_text(str(process.pid))
            self.expect(0 if ours else 1, "status")
            self.expect(0, "stop")
            self.assertEqual(process.poll() is not None, ours, root)
            process.communicate()

    def test_a_process_in_a_container_is_not_the_daemon(self) -> None:
        """It has the same words, and its pid file is another file of the same name."""
        apart = ["unshare", "--fork", "--kill-child", "--mount"]
        if subprocess.run([*apart, "--pid", "true"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no namespaces of one's own can be made here")
        hide = f"mount -t tmpfs none {self.directory}/hidden && mount --bind {self.directory}/hidden {self.directory}"
        keep = "true"
        (self.directory / "hidden").mkdir()
        program = Path(self.twistd(WAITS))
        elsewhere = self.directory.with_name(f"{self.directory.name}-programs")
        elsewhere.mkdir()
        self.addCleanup(shutil.rmtree, elsewhere)
        program = program.rename(elsewhere / "twistd")
        # As /var/run is a link to /run, by its whole path.
        (elsewhere / "link").symlink_to(self.directory)
        plain, linked = self.pidfile, elsewhere / "link" / self.pidfile.name
        for options, before, pidfile, ours in (
            ([], keep, plain, True),
            ([], hide, plain, False),
            (["--pid"], keep, plain, False),
            (["--pid"], hide, plain, False),
            ([], keep, linked, True),
            ([], hide, linked, False),
        ):
            self.pidfile = pidfile
            self.set(PIDFILE=pidfile)
            command = shlex.join([sys.executable, str(program), *self.words()])
            process = subprocess.Popen(
                [*apart, *options, "/bin/sh", "-c", f"{before} && exec {command}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self.addCleanup(process.communicate)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"waits\n")
            inside = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
            self.pidfile.write_text(inside)
            self.expect(0 if ours else 1, "status")
            self.expect(0, "stop")
            self.assertEqual(Path(f"/proc/{inside}/cmdline").exists(), not ours, (options, before))
            process.communicate()

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
            [sys.executable, self.twistd(WAITS), *self.words()],
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
