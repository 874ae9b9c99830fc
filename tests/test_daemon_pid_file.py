"""The pid file: what is removed to make way for it, and where root does not write it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import SkipTest, mock

from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.starting.launch import take_pid_file
from reusedproxy.daemon.starting.pid_file import MOST, PidFile
from tests.integration.peers import temporary_directory


class PidFileTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.proc = temporary_directory(self) / "here"
        self.directory = temporary_directory(self)
        self.path = self.directory / "daemon.pid"

    @property
    def file(self) -> PidFile:
        return PidFile(str(self.path), self.proc)


class WayTests(PidFileTestCase):
    def is_removed(self, text: bytes, *words: str) -> bool:
        """Whether a file of this text is, process 77 being the one with these words."""
        (self.proc / "77").mkdir(parents=True, exist_ok=True)
        (self.proc / "77" / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
        self.path.write_bytes(text)
        try:
            self.file.make_way()
        except OSError:
            self.assertEqual(self.path.read_bytes(), text)
            return False
        self.assertFalse(self.path.exists())
        return True

    def test_what_names_nobody(self) -> None:
        """Nothing, blanks, numbers that no process has, and the zeros of a file whose text was not on the disk yet."""
        for text in (b"", b" \n", b"\0" * 5, b"0", b"-77", b"9" * 40, b"%d" % (MOST - 1)):
            self.assertTrue(self.is_removed(text, "python", "twistd", "reusedproxy"), text)

    def test_the_number_of_another_process(self) -> None:
        """Also when it is a zombie, or ourselves."""
        self.assertTrue(self.is_removed(b"77", "sleep", "60"))
        self.assertTrue(self.is_removed(b"77"))
        self.assertTrue(self.is_removed(b"%d" % os.getpid()))

    def test_a_daemon_that_runs(self) -> None:
        """Keeps its file."""
        self.assertFalse(self.is_removed(b"77\n", "/usr/bin/python3", "/usr/bin/twistd", "reusedproxy", "-f", "x"))

    def test_a_process_that_cannot_be_looked_at(self) -> None:
        """May be a daemon."""
        self.path.write_text(str(os.getppid()))
        error: OSError = self.assertRaises(OSError, self.file.make_way)
        self.assertEqual(error.strerror, f"process {os.getppid()} has written it, and runs")

    def test_what_may_be_no_pid_file(self) -> None:
        """Is not ours to remove."""
        for text in (b"hello", b"77 78", b"9" * 100, b"--5", b"-", b"5-5", b"+5", "٣".encode()):
            self.assertFalse(self.is_removed(text, "sleep"), text)

    def test_what_is_no_file(self) -> None:
        """Is left, and not waited for."""
        for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)):
            make(self.path)
            self.assertRaises(OSError, self.file.make_way)
            self.assertTrue(os.path.lexists(self.path))
            (os.rmdir if self.path.is_dir() else os.unlink)(self.path)
        error: OSError = self.assertRaises(OSError, PidFile("/dev/null").make_way)
        self.assertEqual(error.strerror, "it is no regular file")

    def test_no_file(self) -> None:
        """Is no fault."""
        self.file.make_way()

    def test_twistd_leaves_it_to_us(self) -> None:
        """It would open the path as root, whatever has been put there since it looked."""
        options = ServerOptions()
        options["pidfile"] = str(self.path)
        file = take_pid_file(options)
        assert file is not None
        self.assertEqual((file.path, options["pidfile"]), (str(self.path), ""))
        self.assertIsNone(take_pid_file(options))


class WritingTests(PidFileTestCase):
    def test_it_holds_our_number_and_is_removed_at_the_end(self) -> None:
        file = self.file
        self.path.write_text("of somebody who came meanwhile")
        file.write()
        self.assertEqual(self.path.read_text(), str(os.getpid()))
        file.remove()
        self.assertEqual(os.listdir(self.directory), [])
        file.remove()

    def test_anybody_may_read_it(self) -> None:
        """Whatever the umask, which twistd sets to 077 in the background."""
        self.addCleanup(os.umask, os.umask(0o077))
        file = self.file
        file.write()
        self.addCleanup(file.remove)
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)

    def test_another_daemons_is_not_removed(self) -> None:
        file = self.file
        file.write()
        self.path.unlink()
        self.path.write_text("77")
        file.remove()
        self.assertEqual(self.path.read_text(), "77")

    def test_a_link_that_has_come_since_the_look_leads_to_no_other_file(self) -> None:
        precious, new = self.directory / "shadow", self.directory / "nologin"
        precious.write_text("precious")
        for target in (precious, new):
            file = self.file
            file.make_way()
            self.path.symlink_to(target)
            file.write()
            self.assertEqual((precious.read_text(), new.exists()), ("precious", False))
            self.assertEqual((self.path.is_symlink(), self.path.read_text()), (False, str(os.getpid())))
            file.remove()

    def test_a_pipe_that_has_come_since_the_look_is_not_waited_for(self) -> None:
        file = self.file
        file.make_way()
        os.mkfifo(self.path)
        self.assertRaises(OSError, file.write)
        self.assertEqual(os.listdir(self.directory), ["daemon.pid"])

    def test_a_full_disk_is_told_with_the_path(self) -> None:
        """Nothing half written is left there."""
        file = self.file

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with mock.patch("os.write", full), self.assertRaises(OSError) as caught:
            file.write()
        said = f"--pidfile {self.path}: No space left on device"
        self.assertEqual((str(caught.exception), os.listdir(self.directory)), (said, []))

    def test_a_directory_that_has_become_a_link_is_none(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can give a link away")
        theirs, precious = self.directory / "theirs", self.directory / "precious"
        theirs.mkdir()
        precious.mkdir()
        os.chown(theirs, 12345, 12345)
        self.path: Path = theirs / "run" / "daemon.pid"
        self.path.parent.mkdir()
        file = self.file
        file.make_way()
        self.path.parent.rmdir()
        self.path.parent.symlink_to(precious)
        os.chown(self.path.parent, 12345, 12345, follow_symlinks=False)
        self.assertRaises(OSError, file.write)
        self.assertEqual(os.listdir(precious), [])
