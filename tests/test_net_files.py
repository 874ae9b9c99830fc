"""Files that the configuration names: each is read up to a bound, whatever it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.files import MEBIBYTE, bounded, open_bounded, read_file
from tests.wire import scratch


class BoundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = str(scratch(self) / "file")

    def write(self, content: bytes) -> None:
        Path(self.path).write_bytes(content)

    def refusal(self, path: str, most: int) -> str:
        error = self.assertRaises(OSError, read_file, path, most)
        self.assertEqual((error.errno, error.filename), (errno.EFBIG, path))
        return str(error.strerror)

    def test_a_file_of_the_largest_size_is_read(self) -> None:
        for content in (b"", b"a", b"abc" * 100_000):
            self.write(content)
            self.assertEqual(read_file(self.path, len(content)), content)

    def test_it_is_read_in_few_calls(self) -> None:
        """A copy of a large one, made of pieces, would hold the interpreter; a pipe does not say its size."""
        self.write(bytes(3 * MEBIBYTE))
        ours, theirs = os.pipe()
        os.write(theirs, bytes(50_000))
        os.close(theirs)
        read, calls = os.read, list[int]()

        def counted(descriptor: int, size: int) -> bytes:
            calls.append(size)
            return read(descriptor, size)

        self.patch(os, "read", counted)
        self.assertEqual(len(read_file(self.path, 3 * MEBIBYTE)), 3 * MEBIBYTE)
        with bounded(ours, "pipe", MEBIBYTE) as file:
            self.assertEqual(len(file.read()), 50_000)
        self.assertEqual(len(calls), 4)  # two for each: the last says that it is the end

    def test_one_that_is_larger_is_refused_with_both_sizes(self) -> None:
        self.write(b"abc")
        self.assertEqual(
            self.refusal(self.path, 2), "it has 3 bytes, more than the 2 bytes that are read of such a file"
        )
        os.truncate(self.path, 10**10)  # it has no blocks
        expected = "it has 10000000000 bytes, more than the 16 MiB that are read of such a file"
        self.assertEqual(self.refusal(self.path, 16 * MEBIBYTE), expected)

    def test_one_without_end_is_read_up_to_the_bound(self) -> None:
        self.assertEqual(self.refusal("/dev/zero", MEBIBYTE), "it has more than the 1 MiB that are read of such a file")
        self.assertEqual(read_file("/dev/null", 1), b"")

    def test_one_that_grows_is_read_up_to_the_bound(self) -> None:
        self.write(b"abc")
        with open_bounded(self.path, 4) as file:
            self.write(b"abcde")
            error = self.assertRaises(OSError, file.read)
        self.assertEqual(error.errno, errno.EFBIG)

    def test_a_terminal_where_nobody_has_typed_anything_is_not_waited_for(self) -> None:
        ours, theirs = os.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        self.assertRaises(BlockingIOError, read_file, os.ttyname(theirs), 10)

    def test_a_directory_and_a_file_that_is_not_there_are_told_by_their_names(self) -> None:
        for path, number in ((os.path.dirname(self.path), errno.EISDIR), (self.path, errno.ENOENT)):
            error = self.assertRaises(OSError, read_file, path, 1)
            self.assertEqual((error.errno, error.filename), (number, path))

    def test_no_descriptor_is_left(self) -> None:
        self.write(b"abc")
        before = os.listdir("/proc/self/fd")
        for most in (2, 3):
            try:
                read_file(self.path, most)
            except OSError:
                continue
        self.assertRaises(OSError, bounded, os.open(self.path, os.O_RDONLY), self.path, 2)
        self.assertEqual(os.listdir("/proc/self/fd"), before)
