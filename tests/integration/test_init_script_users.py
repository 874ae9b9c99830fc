"""
The init script and the user that the daemon becomes; and what other users may do.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from tests.integration.initscript import ROOT, SCRIPT, TWISTD, InitScriptTestCase


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
        """A process of another user's that calls itself the daemon, and has its number in our pid file."""
        code += f"; import os; os.setuid({pwd.getpwnam('daemon').pw_uid}); print(flush=True); input()"
        forged = subprocess.Popen(
            [sys.executable, self.twistd(code.lstrip("; ")), *self.words()],
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
