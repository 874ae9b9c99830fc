"""What twistd would stumble over, or do as root: paths that it cannot use, and its log."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from unittest import SkipTest, mock

from twisted.internet.task import Clock
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.load import loading
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.starting.account import Account
from reusedproxy.daemon.starting.launch import UsersLogFile, unusable
from reusedproxy.net.slices import run_through
from reusedproxy.net.trusted_paths import open_file
from tests.fulldisk import room_in_files
from tests.integration.peers import temporary_directory


class UnusableTests(SynchronousTestCase):
    """Options of twistd that it meets with a traceback."""

    def test_paths_that_can_be_used(self) -> None:
        """Also those that are not there yet, and what stands for no file."""
        directory = temporary_directory(self)
        there = directory / "there"
        there.write_text("")
        for options in (
            {},
            {"pidfile": "", "logfile": "-", "rundir": ".", "chroot": None},
            {"pidfile": str(there), "logfile": str(directory / "new"), "rundir": str(directory)},
        ):
            self.assertEqual(unusable(options), [], options)

    def test_paths_that_cannot(self) -> None:
        """Each with the option's name and the reason."""
        directory = temporary_directory(self)
        file = directory / "file"
        file.write_text("")
        for name, path, reason in (
            ("pidfile", directory, "is a directory, a file is needed"),
            ("logfile", directory, "is a directory, a file is needed"),
            ("pidfile", directory / "none" / "x.pid", "its directory cannot be used: No such file or directory"),
            ("logfile", file / "x.log", f"{file} is not a directory"),
            ("chroot", file, "there is no such directory"),
            ("rundir", directory / "none", "there is no such directory"),
        ):
            self.assertEqual(unusable({name: str(path)}), [f"--{name} {path}: {reason}"])
        wrong = {name: str(directory / "none" / "none") for name in ("pidfile", "logfile", "chroot", "rundir")}
        self.assertEqual(len(unusable(wrong)), 4)

    def test_root_that_only_seems_to_become_another_user(self) -> None:
        """It could come back at any time, as `--euid` means it."""
        for root in (0, 1000):
            self.patch(os, "geteuid", lambda root=root: root)
            faults = unusable({"euid": True, "gid": 1})
            self.assertEqual([each.partition(":")[0] for each in faults], [] if root else ["--euid"])
            self.assertEqual(unusable({"euid": True}), [])

    def test_what_may_not_be_written(self) -> None:
        """A directory, or a file in one that would do."""
        if os.geteuid() == 0:
            raise SkipTest("root may write everywhere")
        for path in ("/x.pid", "/etc/passwd"):
            self.assertEqual(unusable({"pidfile": path}), [f"--pidfile {path}: cannot be written: Permission denied"])

    def test_a_file_system_that_takes_no_writes_is_called_that(self) -> None:
        """Root is told the same, who lacks no permission."""
        self.patch(os, "access", lambda path, mode, effective_ids: False)
        for flags, why in ((os.ST_RDONLY | os.ST_NOSUID, "Read-only file system"), (0, "Permission denied")):
            self.patch(os, "statvfs", lambda path, flags=flags: SimpleNamespace(f_flag=flags))
            self.assertEqual(unusable({"pidfile": "/x.pid"}), [f"--pidfile /x.pid: cannot be written: {why}"])


class BackgroundTests(SynchronousTestCase):
    def test_the_word_daemon_needs_no_comment_where_twistd_does_it(self) -> None:
        """Nor at a reload; without twistd, and with its --nodaemon, it is said that nothing comes of it."""
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(
            "global\n daemon\ndefaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\n"
            "listen a\n bind 127.0.0.1:0\n server s 127.0.0.1:1\n"
        )
        for options, said in (({"nodaemon": 0}, 0), ({"nodaemon": True}, 1), ({}, 1)):
            proxy = ProxyService(Clock(), [str(file)], options).assemble(bind=False)
            self.assertEqual(len(proxy.notices), said, options)
        self.assertEqual(run_through(loading([str(file)], again=True)).notices, ())


class InheritedTests(SynchronousTestCase):
    def test_root_hands_nothing_to_whom_it_becomes(self) -> None:
        """In the foreground, too; who stays the same user keeps what his caller had open."""
        for euid, options, leaves in (
            (0, {"uid": 5}, True),
            (0, {"uid": 0}, False),
            (0, {}, False),
            (5, {"uid": 5}, False),
        ):
            with mock.patch("os.geteuid", return_value=euid):
                self.assertIs(ProxyService(Clock(), ["x"], options).leaves_root, leaves, (euid, options))

    def test_what_the_caller_had_open_is_closed(self) -> None:
        """But for what is to be kept; nor what the program has opened itself."""
        program = (
            "import os\n"
            "from reusedproxy.daemon.starting.launch import close_inherited\n"
            "own = os.open('/dev/null', os.O_RDONLY)\n"
            "close_inherited({150})\n"
            "print(*[fd for fd in (0, 1, 2, 123, 150, 300, own) if os.path.exists(f'/proc/self/fd/{fd}')], own)\n"
        )
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        os.close(write)
        given = (123, 150, 300)
        for descriptor in given:
            os.dup2(read, descriptor)
            self.addCleanup(os.close, descriptor)
        done = subprocess.run(
            [sys.executable, "-c", program], pass_fds=given, capture_output=True, text=True, check=True, timeout=60
        )
        *left, own = done.stdout.split()
        self.assertEqual(left, ["0", "1", "2", "150", own])

    def test_closed_standard_descriptors_lead_to_no_others(self) -> None:
        """Whichever are closed: the event loop gets none of their numbers, and what is printed harms nobody."""
        program = (
            "import os, sys\n"
            "from reusedproxy.command import Options\n"
            "Options()\n"
            "from twisted.internet import reactor\n"
            "print('said')\n"
            "print('wrong', file=sys.stderr, flush=True)\n"
            "for each in sys.__stdout__, sys.__stderr__:\n"
            "    each.flush()\n"
            "taken = [fd for fd in (0, 1, 2) if os.readlink(f'/proc/self/fd/{fd}').startswith(('anon', 'socket'))]\n"
            "sys.exit(100 * len(taken) + (os.get_inheritable(0) and 7))\n"
        )
        for closed, expected in (
            ("0<&-", ("said\n", "wrong\n")), ("1>&-", ("", "wrong\n")), ("2>&-", ("said\nwrong\n", "")),
            ("0<&- 1>&- 2>&-", ("", "")),
        ):  # fmt: skip
            shell = f'exec "$0" -c "$1" {closed}'
            done = subprocess.run(
                ["sh", "-c", shell, sys.executable, program], capture_output=True, text=True, check=False, timeout=60
            )
            self.assertEqual((done.returncode, (done.stdout, done.stderr)), (7, expected), closed)

    def test_descriptors_that_the_configuration_names_are_kept(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(
            f"global\n stats socket fd@{server.fileno()}\ndefaults\n mode http\n timeout connect 1s\n"
            " timeout client 1s\n timeout server 1s\nfrontend f\n bind fd@77\n bind 127.0.0.1:0\n"
        )
        service = ProxyService(Clock(), [str(file)])
        service.assemble(bind=False)
        self.assertEqual(service.given_descriptors, {server.fileno(), 77})


class UsersLogFileTests(SynchronousTestCase):
    def test_it_is_rotated_by_its_owner_only(self) -> None:
        """Root's lines at the start would leave a file of root's, which the user cannot open at the next."""
        log_file: Any = UsersLogFile
        file = log_file.fromFullPath(str(temporary_directory(self) / "x.log"), rotateLength=10)
        self.addCleanup(file.close)
        owner = os.geteuid()
        self.patch(os, "geteuid", lambda: owner + 1)
        file.write("x" * 20)
        self.assertEqual((file.shouldRotate(), file.listLogs()), (False, []))
        self.patch(os, "geteuid", lambda: owner)
        file.write("y")
        self.assertEqual(file.listLogs(), [1])

    def test_the_next_file_has_the_permissions_of_the_one_before(self) -> None:
        """Not of what stands at the path before it is opened, nor its setuid bit; older files keep their order."""
        directory = temporary_directory(self)
        path = directory / "x.log"
        path.write_text("first")
        path.chmod(0o4640)
        log_file: Any = UsersLogFile
        file = log_file.fromFullPath(str(path), rotateLength=5)
        self.addCleanup(lambda: file.close())
        for word in ("second", "third"):
            file.write(word)
        kept = {each.name: (each.read_text(), each.stat().st_mode & 0o7777) for each in directory.iterdir()}
        self.assertEqual(kept.pop("x.log"), ("third", 0o640))
        self.assertEqual(kept, {"x.log.1": ("second", 0o640), "x.log.2": ("first", 0o4640)})

    def test_a_file_that_cannot_be_renamed_grows_on(self) -> None:
        directory = temporary_directory(self)
        log_file: Any = UsersLogFile
        file = log_file.fromFullPath(str(directory / "x.log"), rotateLength=5)
        self.addCleanup(file.close)
        (directory / "x.log").rename(directory / "moved")
        (directory / "x.log").write_text("another's")
        for word in ("first ", "second ", "third"):
            file.write(word)
        self.assertEqual((directory / "x.log").read_text(), "another's")
        self.assertEqual((directory / "moved").read_text(), "first second third")

    def test_a_file_that_somebody_has_renamed_is_left(self) -> None:
        """logrotate: lines go on in a new file, a moment later, and none is lost."""
        directory = temporary_directory(self)
        log_file: Any = UsersLogFile
        file = log_file.fromFullPath(str(directory / "x.log"))
        self.addCleanup(lambda: file.close())
        seconds = [file.now()]
        file.now = lambda: seconds[0]
        file.write("one ")
        (directory / "x.log").rename(directory / "x.log.1")
        file.write("two ")
        seconds[0] += 1.5
        file.write("three ")
        seconds[0] += 1.5
        file.write("four")
        kept = {each.name: each.read_text() for each in directory.iterdir()}
        self.assertEqual(kept, {"x.log.1": "one two ", "x.log": "three four"})

    def test_a_full_disk_costs_lines_and_tears_none_that_follows(self) -> None:
        """How many, since when and why is told as soon as there is room; so it is where another process has left a
        part of a line."""
        path = temporary_directory(self) / "x.log"
        path.write_text("left by another")
        log_file: Any = UsersLogFile
        file = log_file.fromFullPath(str(path))
        self.addCleanup(file.close)
        file.write("one\n")
        with room_in_files(30):
            for number in (2, 3, 4):
                file.write(f"{number:020d}\n")
        for word in ("five", "six"):
            file.write(f"{word}\n")
        left, one, torn, told, *rest = path.read_text().splitlines()
        self.assertEqual((left, one, torn, rest), ("left by another", "one", "0" * 10, ["five", "six"]))
        lost = r"warn: 3 lines of this log were lost since [-0-9]+ [0-9:]+: File too large$"
        self.assertRegex(told, rf"reusedproxy\[{os.getpid()}\] {lost}")
        self.assertEqual(file.dropped, 3)


class LogTests(SynchronousTestCase):
    """twistd looks at its options at first, and opens its log when everything is bound.

    Whose directory it is can put something else there in between.
    """

    def setUp(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can become another user")
        self.directory = temporary_directory(self)
        self.directory.chmod(0o755)
        self.account = Account(12345, 12345, (12345,))
        self.log = self.directory / "log" / "daemon.log"
        self.log.parent.mkdir()
        os.chown(self.log.parent, 12345, 12345)
        self.precious = self.directory / "shadow"
        self.precious.write_text("precious")
        self.precious.chmod(0o600)

    def options(self, uid: int | None) -> ServerOptions:
        """twistd's, when it has parsed its command line."""
        options = ServerOptions()
        arguments = ["--logfile", str(self.log), "reusedproxy", "--config", "none.cfg"]
        if uid is not None:
            arguments[:0] = [f"--uid={uid}", f"--gid={uid}"]
        with mock.patch.object(sys, "stderr"):
            options.parseOptions(arguments)
        return options

    def refusal(self, options: ServerOptions) -> str:
        """What is said when the log is opened."""
        with mock.patch("sys.stderr", io.StringIO()) as said:
            self.assertRaises(SystemExit, options["logger"])
        self.assertEqual(self.precious.read_text(), "precious")
        return said.getvalue()

    def become_a_link(self) -> None:
        self.log.unlink(missing_ok=True)
        self.log.symlink_to(self.precious)
        os.chown(self.log, 12345, 12345, follow_symlinks=False)

    def test_a_pipe_that_becomes_a_link_leads_to_no_file_of_roots(self) -> None:
        os.mkfifo(self.log)
        os.chown(self.log, 12345, 12345)
        options = self.options(12345)
        self.become_a_link()
        text = f"[ALERT] --logfile {self.log}: cannot be opened: Permission denied\n"
        self.assertEqual(self.refusal(options), text)
        self.precious.chmod(0o666)
        self.assertIn("it was a pipe or a terminal, and has become another file", self.refusal(options))

    def test_a_file_that_becomes_a_link_leads_to_none_either(self) -> None:
        """Nor what was no file at first."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(str(self.log))
            os.chown(self.log, 12345, 12345)
            options = [self.options(12345)]
            self.log.unlink()
        options.append(self.options(12345))
        self.become_a_link()
        for each in options:
            self.assertIn("cannot be opened: Permission denied", self.refusal(each))

    def test_root_follows_no_link_of_anothers_where_no_option_says_whom_it_becomes(self) -> None:
        """The configuration may, or nobody."""
        options = self.options(None)
        self.become_a_link()
        text = "'daemon.log' is a link that another user can change, which root does not follow"
        self.assertIn(text, self.refusal(options))
        self.log.unlink()
        os.link(self.precious, self.log)
        self.assertIn("it has another name, too", self.refusal(options))
        self.log.unlink()
        os.mkfifo(self.log)
        options = self.options(None)
        self.become_a_link()
        self.assertIn(text, self.refusal(options))

    def test_permissions_that_another_has_put_in_place_come_to_no_file_of_roots(self) -> None:
        """He has a setuid file there until root opens the log, and none then."""
        self.log.write_text("")
        os.chown(self.log, 12345, 12345)
        self.log.chmod(0o6777)
        options = self.options(None)

        def open_too_late(path: str, flags: int, mode: int = 0o666) -> int:
            self.log.unlink()
            return open_file(path, flags, mode)

        with (
            mock.patch("reusedproxy.daemon.starting.launch.open_file", open_too_late),
            mock.patch("reusedproxy.daemon.starting.launch.log_file_observer", lambda file: file),
        ):
            file = options["logger"]()
        self.addCleanup(file.close)
        status = os.fstat(file._file.fileno())
        self.assertEqual((status.st_uid, status.st_mode & 0o7133), (0, 0))

    def test_roots_log_in_anothers_directory_is_rotated_there_and_nowhere_else(self) -> None:
        """Its owner may put a link in place of the directory."""
        with mock.patch("reusedproxy.daemon.starting.launch.log_file_observer", lambda file: file):
            file = self.options(None)["logger"]()
        self.addCleanup(file.close)
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "daemon.log").write_text("root's")
        self.log.parent.rename(self.directory / "away")
        self.log.parent.symlink_to(elsewhere)
        os.chown(self.log.parent, 12345, 12345, follow_symlinks=False)
        file.size = file.rotateLength
        file.write("on\n")
        self.assertEqual([each.name for each in elsewhere.iterdir()], ["daemon.log"])
        self.assertTrue((self.directory / "away" / "daemon.log").read_text().endswith("on\n"))

    def test_what_is_written_stands_behind_what_was_there(self) -> None:
        self.log.write_text("before\n")
        os.chown(self.log, 12345, 12345)
        for uid in (12345, None):
            with mock.patch("reusedproxy.daemon.starting.launch.log_file_observer", lambda file: file):
                file = self.options(uid)["logger"]()
            self.addCleanup(file.close)
            file.write(f"of {uid}\n")
        self.assertEqual(self.log.read_text(), "before\nof 12345\nof None\n")
