"""Pid files that a crash has left: which are taken away before twistd looks at them."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pidfile import remove_stale
from tests.integration.peers import temporary_directory


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
