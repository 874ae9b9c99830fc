"""The daemon's own log: nothing that it is written to can hold the daemon up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Callable
from io import StringIO
from tempfile import TemporaryFile
from typing import Any
from unittest import mock

from twisted.application.app import AppLogger
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatTime
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.operators.logs.own import AGAIN, KEPT, LogStream, OwnLog, _syslog, log_file_observer, never_block
from tests.fulldisk import room_in_files
from tests.integration.peers import temporary_directory


class LogStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[int] = []

    def stream(self, fd: int) -> LogStream:
        made = LogStream(fd, self.clock.callLater)
        # As Twisted's log does, which writes what is said to it to this stream.
        self.patch(
            LogStream,
            "_log",
            type("Log", (), {"warn": lambda _, text, **said: made.write(f"{text.format(**said)}\n")})(),
        )
        return made

    def pipe(self) -> tuple[int, LogStream]:
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        self.write_end = write
        os.set_blocking(read, False)
        return read, self.stream(write)

    def taken(self, read: int) -> bytes:
        """All that comes, the clock going on."""
        data = b""
        for _ in range(200):
            try:
                data += os.read(read, 1 << 20)
            except BlockingIOError:
                pass
            self.clock.advance(AGAIN)
        return data

    def test_what_is_read_comes_at_once(self) -> None:
        """Line by line, and no timer is left."""
        read, stream = self.pipe()
        stream.write("one\n")
        self.assertEqual(os.read(read, 100), b"one\n")
        stream.write("tw\xf6\n")
        self.assertEqual(os.read(read, 100), "tw\xf6\n".encode())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_a_terminal_would_obey_is_not_written(self) -> None:
        """By whatever way it has come into a message: the text of an exception, for example."""
        read, stream = self.pipe()
        stream.write("a\x1b[2J\x9b\u202e\udc9b\tb\n\tc\r\n")
        self.assertEqual(os.read(read, 100), b"a?[2J???\tb\n\tc?\n")
        file = StringIO()
        event = {"log_time": 0.0, "log_format": "{text}", "text": "a\x1b[2J\x9b\nb", "log_namespace": "-"}
        log_file_observer(file)({**event, "log_level": LogLevel.info})
        self.assertEqual(file.getvalue(), f"{formatTime(0.0)} reusedproxy[{os.getpid()}] info: a?[2J?\n\tb\n")

    def test_what_nobody_reads_is_kept(self) -> None:
        """In order, without a loss, when somebody does."""
        read, stream = self.pipe()
        lines = [f"{number} {'x' * 90}\n" for number in range(5000)]
        for line in lines:
            stream.write(line)
        self.assertEqual(self.taken(read), "".join(lines).encode())
        self.assertEqual((stream.dropped, self.clock.getDelayedCalls()), (0, []))

    def test_what_is_too_much_is_lost_counted_and_said(self) -> None:
        """Whole lines: the first ones come, and then how many did not."""
        read, stream = self.pipe()
        line = "x" * 99 + "\n"
        count = (KEPT + 200_000) // 100
        for _ in range(count):
            stream.write(line)
        self.assertGreater(stream.dropped, 0)
        lines = self.taken(read).decode().splitlines()
        told = rf"^{stream.dropped} lines of this log were lost since [-0-9]+ [0-9:]+: nobody read them in time$"
        self.assertRegex(lines.pop(), told)
        self.assertEqual((len(lines), set(lines)), (count - stream.dropped, {line[:-1]}))

    def test_nobody_else_is_made_not_to_block(self) -> None:
        """The descriptor is shared with whoever started us."""
        _, stream = self.pipe()
        stream.write("one\n")
        self.assertFalse(fcntl.fcntl(self.write_end, fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_another_process_fills_the_pipe(self) -> None:
        """It is ready when it is asked, and full when it is written to."""
        read, stream = self.pipe()
        stream.write("one\n")
        self.patch(stream._outlet, "is_ready", lambda seconds=0: True)
        other = os.open(f"/proc/self/fd/{self.write_end}", os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, other)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(other, b"x" * 4096)
        stream.write("two\n")
        self.assertTrue(self.taken(read).endswith(b"xtwo\n"))

    def test_a_socket(self) -> None:
        """As systemd gives one."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.setblocking(False)
        stream = self.stream(ours.fileno())
        for _ in range(20000):
            stream.write("x" * 99 + "\n")
        told = rb"lines of this log were lost since [-0-9]+ [0-9:]+: nobody read them in time\n$"
        self.assertRegex(self.taken(theirs.fileno()), told)

    def test_a_file(self) -> None:
        """Takes all."""
        with TemporaryFile() as file:
            stream = self.stream(file.fileno())
            stream.write("x" * 100_000 + "\n")
            self.assertEqual(os.fstat(file.fileno()).st_size, 100_001)

    def test_a_full_disk(self) -> None:
        """Lines wait for room; the end of the process does not. What is too much is told of."""
        with TemporaryFile() as file:
            stream = self.stream(file.fileno())
            line = "x" * 99 + "\n"
            with room_in_files(150):
                for _ in range(3):
                    stream.write(line)
                stream.last_lines(60.0)
                self.assertEqual((os.fstat(file.fileno()).st_size, stream.dropped), (150, 0))
                for _ in range(KEPT // 100):
                    stream.write(line)
            self.clock.advance(AGAIN)
            file.seek(0)
            lines = file.read().decode().splitlines()
            self.assertGreater(stream.dropped, 0)
            told = rf"^{stream.dropped} lines of this log were lost since [-0-9]+ [0-9:]+: File too large$"
            self.assertRegex(lines.pop(), told)
            self.assertEqual((len(lines), set(lines)), (3 + KEPT // 100 - stream.dropped, {line[:-1]}))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_reader_that_has_gone(self) -> None:
        """Costs the lines, and nothing else."""
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        stream = self.stream(write)
        os.close(read)
        stream.write("one\n")
        self.assertEqual((stream.dropped, self.clock.getDelayedCalls()), (1, []))

    def test_the_last_lines(self) -> None:
        """Are waited for, not for long."""
        read, stream = self.pipe()
        for _ in range(1000):
            stream.write("x" * 99 + "\n")
        stream.last_lines(0.01)
        os.read(read, 1 << 20)
        stream.last_lines(1.0)
        self.assertTrue(os.read(read, 1 << 20).endswith(b"x\n"))


class SyslogTests(SynchronousTestCase):
    """`twistd --syslog`."""

    def test_a_server_that_does_not_read(self) -> None:
        """Costs lines, which are counted and said when it does."""
        path = str(temporary_directory(self) / "log")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        self.addCleanup(os.unlink, path)
        server.settimeout(5)
        own_log = OwnLog()
        emit: Callable[[dict[str, Any]], None] = _syslog("proxy", own_log, path).emit
        event = {"isError": 0, "system": "-", "message": ("x" * 200,), "format": None}
        for _ in range(6000):
            emit(event)
        server.setblocking(False)
        got: list[bytes] = []
        while not got or b"lost" not in got[-1]:
            with contextlib.suppress(BlockingIOError):
                while True:
                    got.append(server.recv(4096))
            if b"lost" not in got[-1]:
                emit(event)
                self.assertLess(len(got), 6000)
        self.assertRegex(got[0], rb"^<14>[A-Z][a-z]{2} [ 0-9]{2} [0-9:]{8} proxy\[\d+\]: \[-\] x+\n$")
        self.assertRegex(
            got[-1],
            rb"^<12>.* proxy\[\d+\]: %d lines of this log were lost since [-0-9]+ [0-9:]+: it takes lines too slowly\n$"
            % own_log.dropped(),
        )
        emit({**event, "message": ("a\x1b\x9b",)})
        self.assertTrue(server.recv(4096).endswith(b": [-] a??\n"))


class PlaceTests(SynchronousTestCase):
    """Where it is put."""

    def test_twist(self) -> None:
        """Takes the file from its options."""
        with TemporaryFile("w") as file:
            options = {"logFile": file}
            never_block(options, Clock(), OwnLog())
            self.assertIsInstance(options["logFile"], LogStream)

    def test_twistd_with_a_pipe_for_a_file(self) -> None:
        """Gets a log of ours, as on a disk, where ours can be renamed by others."""
        path = str(temporary_directory(self) / "log")
        os.mkfifo(path)
        with open(path + "x", "w"):
            pass
        for file in (path, "/dev/null", path + "x"):
            options = ServerOptions()
            with mock.patch.object(sys, "stderr"):  # what --check would print goes nowhere
                options.parseOptions(["--logfile", file, "reusedproxy", "--config", "none.cfg"])
            self.assertTrue(callable(options["logger"]), file)
            AppLogger(options)

    def test_twistd_with_syslog(self) -> None:
        """Where there is a server; else twistd's own, which does not wait for one."""
        path = str(temporary_directory(self) / "log")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        for there in (False, True):
            if there:
                server.bind(path)
            options = ServerOptions()
            with mock.patch("reusedproxy.operators.logs.own.SYSLOG", path):
                options.parseOptions(["--syslog", "reusedproxy", "--config", "none.cfg"])
            self.assertEqual(callable(options["logger"]), there)
