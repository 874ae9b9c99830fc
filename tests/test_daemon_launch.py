"""What twistd would stumble over: paths that it cannot use, and pid files that a crash has left."""

from __future__ import annotations

import os
from typing import Any
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.launch import UsersLogFile, remove_stale, unusable
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
            self.assertEqual(unusable(options), "", options)

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
            self.assertEqual(unusable({name: str(path)}), f"--{name} {path}: {reason}")

    def test_what_may_not_be_written(self) -> None:
        """A directory, or a file in one that would do."""
        if os.geteuid() == 0:
            raise SkipTest("root may write everywhere")
        self.assertEqual(unusable({"pidfile": "/x.pid"}), "--pidfile /x.pid: cannot be written: Permission denied")
        self.assertEqual(
            unusable({"pidfile": "/etc/passwd"}), "--pidfile /etc/passwd: cannot be written: Permission denied"
        )


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


class PidFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proc = temporary_directory(self) / "here"
        self.file = temporary_directory(self) / "here"

    def is_removed(self, text: bytes, *words: str) -> bool:
        """Whether a file of this text is, process 77 being the one with these words."""
        (self.proc / "77").mkdir(parents=True, exist_ok=True)
        (self.proc / "77" / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
        self.file.write_bytes(text)
        remove_stale(str(self.file), self.proc)
        return not self.file.exists()

    def test_what_names_nobody(self) -> None:
        """Nothing, blanks, numbers that no process has, and the zeros of a file whose text was not on the disk yet."""
        for text in (b"", b" \n", b"\0" * 5, b"0", b"-77", b"9" * 40):
            self.assertTrue(self.is_removed(text, "python", "twistd", "reusedproxy"), text)

    def test_the_number_of_another_process(self) -> None:
        """Also when it is a zombie, or ourselves."""
        self.assertTrue(self.is_removed(b"77", "sleep", "60"))
        self.assertTrue(self.is_removed(b"77"))
        self.assertTrue(self.is_removed(b"%d" % os.getpid()))

    def test_a_daemon_that_runs(self) -> None:
        """Keeps its file."""
        self.assertFalse(self.is_removed(b"77\n", "/usr/bin/python3", "/usr/bin/twistd", "reusedproxy", "-f", "x"))

    def test_what_may_be_no_pid_file(self) -> None:
        """Is not ours to remove; nor is the number of nobody, which twistd takes care of itself."""
        for text in (b"hello", b"77 78", b"9" * 100, b"78"):
            self.assertFalse(self.is_removed(text, "sleep"), text)

    def test_no_file(self) -> None:
        """Is no fault."""
        remove_stale(None, self.proc)
        remove_stale("", self.proc)
        remove_stale("/nowhere/at/all", self.proc)
