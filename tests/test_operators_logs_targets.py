"""Where log lines go: headers as HAProxy's, gathering, and what happens when nobody takes them."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.logs.sinks import ENOUGH, KEPT, TELL_EVERY, Datagrams, Descriptor, Stream
from reusedproxy.operators.logs.targets import LogTargets, Target, UnknownHost
from tests.fulldisk import room_in_files

#: 5 November 2026, 10:12:48.25 UTC.
NOW = 1793873568.25


def in_utc(test: SynchronousTestCase) -> None:
    """Local time is UTC during this test."""
    before = os.environ.get("TZ")

    def set_to(zone: str | None) -> None:
        os.environ.pop("TZ", None)
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()

    set_to("UTC")
    test.addCleanup(set_to, before)


class Sink:
    """Takes lines."""

    dropped = 0
    lost_line = None

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.write = self.lines.append
        self.write_all = self.lines.extend


def send(target: Target, level: str, line: str) -> None:
    """A line of this level, which the target takes."""
    sender = target.sender(level)
    assert sender is not None
    sender(line)


class HeaderTests(SynchronousTestCase):
    """What is written before each line."""

    def setUp(self) -> None:
        in_utc(self)
        self.sink = Sink()

    def target(self, **settings: Any) -> Target:
        sink: Any = self.sink
        return Target(LogTarget(Place("x", 1), "stdout", **settings), "haproxy", sink, lambda: NOW)

    def test_each_format_has_haproxys_header(self) -> None:
        """Taken from HAProxy 2.6; the length of the day is that of RFC 3164."""
        headers = {
            "raw": "",
            "short": "<6>",
            "priority": "<158>",
            "timed": "<6>2026-11-05T10:12:48.250000+00:00 ",
            "iso": "2026-11-05T10:12:48.250000+00:00 ",
            "local": f"<158>Nov  5 10:12:48 haproxy[{os.getpid()}]: ",
            "": f"<158>Nov  5 10:12:48 haproxy[{os.getpid()}]: ",
            "rfc3164": f"<158>Nov  5 10:12:48 localhost haproxy[{os.getpid()}]: ",
            "rfc5424": f"<158>1 2026-11-05T10:12:48.250000+00:00 - haproxy {os.getpid()} - - ",
        }
        for name, header in headers.items():
            send(self.target(format=name, facility="local3"), "info", "line")
            self.assertEqual(self.sink.lines.pop(), header + "line")

    def test_a_host_has_its_name_where_that_is_said(self) -> None:
        """`log-send-hostname`: in the formats of syslog, which then is rfc3164 unless another one is said."""
        sink: Any = self.sink
        for name, part in (("", " node haproxy["), ("rfc3164", " node haproxy["), ("rfc5424", " node haproxy ")):
            target = Target(LogTarget(Place("x", 1), "stdout", format=name), "haproxy", sink, lambda: NOW, "node")
            send(target, "info", "line")
            self.assertIn(part, self.sink.lines.pop())
        target = Target(LogTarget(Place("x", 1), "stdout", format="local"), "haproxy", sink, lambda: NOW, "node")
        send(target, "info", "line")
        self.assertNotIn("node", self.sink.lines.pop())

    def test_structured_data(self) -> None:
        """Of RFC 5424; other formats have none."""
        for name, expected in (("rfc5424", ' - [a@1 b="c"] line'), ("short", "<6>line")):
            with_data = self.target(format=name).sender_with_data("info")
            assert with_data is not None
            with_data("line", '[a@1 b="c"]')
            self.assertTrue(self.sink.lines.pop().endswith(expected), name)
        self.assertIsNone(self.target(level="err").sender_with_data("info"))

    def test_a_sample_of_the_lines(self) -> None:
        """As HAProxy counts them: from 1, again and again."""
        sender = self.target(format="raw", sample=((2, 3), (8, 8)), period=10).sender("info")
        assert sender is not None
        for number in range(1, 24):
            sender(str(number))
        self.assertEqual(self.sink.lines, ["2", "3", "8", "12", "13", "18", "22", "23"])

    def test_a_length_is_of_bytes_and_cuts_no_character(self) -> None:
        """Receivers take so many bytes."""
        text = "\u00e4\u20ac\U0001f600" * 100
        for form in ("raw", "short", "local", "rfc3164", "rfc5424", "iso", "timed"):
            for length in range(200, 205):
                self.sink.lines.clear()
                target = self.target(format=form, length=length)
                send(target, "info", text)
                several = target.sender_of_several("info")
                assert several is not None
                several([text, text])
                for line in self.sink.lines:
                    self.assertTrue(length - 5 < len(line.encode()) < length, (form, length, line))
                self.assertEqual(len(self.sink.lines), 3)

    def test_a_line_is_cut_with_its_header_and_its_end_counted(self) -> None:
        """`len 100` gives 100 bytes, the newline among them."""
        send(self.target(format="raw", length=100), "info", "x" * 200)
        send(self.target(format="short", length=100), "info", "x" * 200)
        self.assertEqual([len(line) for line in self.sink.lines], [99, 99])

    def test_less_urgent_lines_than_its_level_have_no_sender(self) -> None:
        target = self.target(level="notice")
        self.assertIsNone(target.sender("info"))
        self.assertIsNotNone(target.sender("notice"))
        self.assertIsNotNone(target.sender("emerg"))

    def test_lines_more_severe_than_the_second_level_are_sent_as_of_that_level(self) -> None:
        target = self.target(format="short", level="info", cap="warning")
        for level in ("emerg", "warning", "notice"):
            send(target, level, "line")
        self.assertEqual(self.sink.lines, ["<4>line", "<4>line", "<5>line"])


class DescriptorTests(SynchronousTestCase):
    """Standard output, here a pipe."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.reader: int | None
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.addCleanup(os.close, self.writer)
        self.addCleanup(self.close_reader)
        self.descriptor = Descriptor(self.writer, Deadlines(self.clock))

    def close_reader(self) -> None:
        if self.reader is not None:
            os.close(self.reader)
            self.reader = None

    def read(self) -> bytes:
        assert self.reader is not None
        try:
            return os.read(self.reader, 4 * KEPT)
        except BlockingIOError:
            return b""

    def test_lines_are_gathered_for_a_moment(self) -> None:
        self.descriptor.write("one")
        self.descriptor.write("two")
        self.assertEqual(self.read(), b"")
        self.clock.advance(0.1)
        self.assertEqual(self.read(), b"one\ntwo\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_lines_are_not_kept_waiting(self) -> None:
        for _ in range(ENOUGH // 100 + 1):
            self.descriptor.write("x" * 99)
        self.assertGreaterEqual(len(self.read()), ENOUGH)

    def test_what_is_kept_is_written_at_the_end(self) -> None:
        self.descriptor.write("last words")
        self.descriptor.close()
        self.descriptor.write("and one more")
        self.assertEqual(self.read(), b"last words\nand one more\n")

    def test_a_full_pipe_blocks_nobody_and_loses_nothing_within_the_bound(self) -> None:
        lines = [f"{number:099d}" for number in range(3000)]
        for line in lines:
            self.descriptor.write(line)
        received = b""
        for _ in range(100):
            self.clock.advance(0.1)
            received += self.read()
        self.assertEqual(received.decode().split(), lines)
        self.assertEqual(self.descriptor.dropped, 0)

    def test_beyond_the_bound_lines_are_dropped_counted_and_told(self) -> None:
        count = KEPT // 100 + 2000
        for number in range(count):
            self.descriptor.write(f"{number:099d}")
        self.assertGreater(self.descriptor.dropped, 0)
        received = b""
        for _ in range(200):
            self.clock.advance(0.1)
            received += self.read()
        self.assertEqual(len(received.splitlines()), count - self.descriptor.dropped + 1)
        self.assertIn(b"%d log lines were dropped" % self.descriptor.dropped, received.splitlines()[-1])

    def test_a_reader_that_has_gone_costs_lines_only(self) -> None:
        self.close_reader()
        self.descriptor.write("nobody hears")
        self.clock.advance(0.1)
        self.assertEqual(self.descriptor.dropped, 1)


class FullDiskTests(SynchronousTestCase):
    """Standard output is a file, and its disk is full for a while."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 (it is closed at the end of the test)
        self.addCleanup(self.file.close)
        self.descriptor = Descriptor(self.file.fileno(), Deadlines(self.clock))

    def text(self) -> str:
        return os.pread(self.file.fileno(), 4 * KEPT, 0).decode()

    def write(self, *lines: str) -> None:
        for line in lines:
            self.descriptor.write(line)
        self.clock.advance(0.1)

    def test_lines_wait_for_room_and_none_is_torn(self) -> None:
        lines = [f"{number:099d}" for number in range(5)]
        with room_in_files(250):
            self.write(*lines)
            self.assertEqual(len(self.text()), 250)
            self.write("more")
        self.clock.advance(0.1)
        self.assertEqual(self.text().splitlines(), [*lines, "more"])
        self.assertEqual((self.descriptor.dropped, self.clock.getDelayedCalls()), (0, []))

    def test_what_is_too_much_is_dropped_counted_and_told(self) -> None:
        """By one line, with the time of the first and the reason."""
        settings = LogTarget(Place("x", 1), "stderr", format="raw")
        target = Target(settings, "tag", self.descriptor, lambda: NOW + self.clock.seconds())
        send = target.sender("info")
        assert send is not None
        count = KEPT // 100 + 2000
        with room_in_files(250):
            for number in range(count):
                send(f"{number:099d}")
            self.clock.advance(3600)
        self.clock.advance(0.1)
        first, *_, told = self.text().splitlines()
        self.assertEqual(first, f"{0:099d}")
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW + 1000))
        self.assertEqual(told, f"{self.descriptor.dropped} log lines were dropped since {began}: File too large")
        self.assertEqual({len(line) for line in self.text().splitlines()[:-1]}, {99})
        self.assertEqual(len(self.text().splitlines()), count - self.descriptor.dropped + 1)
        self.assertGreater(self.descriptor.dropped, 0)
        self.write("further")
        self.assertEqual(self.text().splitlines()[-1], "further")

    def test_a_line_is_written_anew_where_the_file_has_changed(self) -> None:
        """Somebody has emptied it, or written to it meanwhile."""
        with room_in_files(150):
            self.write("x" * 99, "y" * 99)
        os.ftruncate(self.file.fileno(), 0)
        os.lseek(self.file.fileno(), 0, os.SEEK_SET)
        self.clock.advance(0.1)
        self.assertEqual(self.text(), "y" * 99 + "\n")

    def test_what_an_ended_process_has_left_is_no_part_of_the_first_line(self) -> None:
        self.file.write(b"torn")
        self.file.flush()
        self.write("whole")
        self.assertEqual(self.text(), "torn\nwhole\n")

    def test_the_number_has_those_of_the_own_log(self) -> None:
        targets = LogTargets("tag", Deadlines(self.clock))
        targets.own_dropped = lambda: 3
        self.assertEqual(LogTargets("tag", Deadlines(self.clock), before=targets).dropped, 3)


class DatagramTests(SynchronousTestCase):
    """Syslog."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)

    def path(self) -> str:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return os.path.join(directory.name, "log")

    def syslog(self, path: str) -> socket.socket:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(path)
        server.setblocking(False)
        return server

    def test_a_line_is_a_datagram(self) -> None:
        path = self.path()
        server = self.syslog(path)
        Datagrams(socket.AF_UNIX, path, self.clock.seconds).write("hello")
        self.assertEqual(server.recv(100), b"hello\n")

    def datagrams(self, path: str, **more: Any) -> Datagrams:
        return Datagrams(socket.AF_UNIX, path, self.clock.seconds, deadlines=Deadlines(self.clock), **more)

    def test_lines_wait_for_a_server_that_is_away(self) -> None:
        """Before it is there, and while it is started again."""
        path = self.path()
        datagrams = self.datagrams(path)
        datagrams.write("one")
        server = self.syslog(path)
        datagrams.write("two")
        self.clock.pump([0.1] * 20)
        self.assertEqual([server.recv(100), server.recv(100)], [b"one\n", b"two\n"])
        server.close()
        os.unlink(path)
        datagrams.write("three")
        server = self.syslog(path)
        datagrams.write("four")
        self.clock.pump([0.1] * 20)
        datagrams.write("five")
        self.assertEqual([server.recv(100) for _ in range(3)], [b"three\n", b"four\n", b"five\n"])
        self.assertEqual((datagrams.dropped, self.clock.getDelayedCalls()), (0, []))

    def test_a_server_that_comes_back_at_once_gets_the_line_at_once(self) -> None:
        path = self.path()
        server = self.syslog(path)
        datagrams = self.datagrams(path)
        datagrams.write("one")
        server.close()
        os.unlink(path)
        server = self.syslog(path)
        datagrams.write("two")
        self.assertEqual(server.recv(100), b"two\n")

    def test_a_server_that_is_slow_gets_its_lines_later(self) -> None:
        """Beyond the bound they are dropped, counted, and told of in the log itself."""
        path = self.path()
        server = self.syslog(path)
        datagrams = self.datagrams(path)
        datagrams.lost_line = lambda lost: f"{lost.lines} lost"
        count = KEPT // 1000 + 500
        for number in range(count):
            datagrams.write(f"{number:0999d}")
        self.assertGreater(datagrams.dropped, 0)
        received: list[bytes] = []
        for _ in range(1000):
            try:
                while True:
                    received.append(server.recv(2000))
            except BlockingIOError:
                self.clock.advance(0.1)
        self.assertEqual(len(received), count - datagrams.dropped + 1)
        self.assertEqual(received[-1], b"%d lost\n" % datagrams.dropped)

    def received(self, server: socket.socket) -> list[bytes]:
        found = []
        try:
            while True:
                found.append(server.recv(2000))
        except BlockingIOError:
            return found

    def test_each_of_several_lines_is_a_datagram(self) -> None:
        """Whatever characters are in it."""
        path = self.path()
        server = self.syslog(path)
        datagrams = self.datagrams(path)
        datagrams.write_all(["first"])  # opens it
        datagrams.write_all(["one", "", "\u00e9", "two\udc80"])
        expected = [b"first\n", b"one\n", b"\n", "\u00e9\n".encode(), b"two\\udc80\n"]
        self.assertEqual(self.received(server), expected)

    def test_of_several_lines_a_slow_server_gets_the_rest_later(self) -> None:
        """In their order, with those that have come since."""
        path = self.path()
        server = self.syslog(path)
        datagrams = self.datagrams(path)
        count = 400
        lines = [f"{number:0900d}" for number in range(count)]
        for at in range(0, count, 8):
            datagrams.write_all(lines[at : at + 8])
        received: list[bytes] = []
        while len(received) < count and (more := self.received(server)):
            received += more
            self.clock.pump([0.1] * 2)
        self.assertEqual(received, [f"{line}\n".encode() for line in lines])
        self.assertEqual((datagrams.dropped, self.clock.getDelayedCalls()), (0, []))

    def test_several_lines_wait_for_a_server_that_is_away(self) -> None:
        """None is lost, nor sent twice, whenever it goes."""
        path = self.path()
        server = self.syslog(path)
        datagrams = self.datagrams(path)
        datagrams.write_all(["one", "two"])
        self.assertEqual(self.received(server), [b"one\n", b"two\n"])
        server.close()
        os.unlink(path)
        datagrams.write_all(["three", "four"])
        server = self.syslog(path)
        datagrams.write_all(["five", "six"])
        self.clock.pump([0.1] * 20)
        datagrams.write_all(["seven", "eight"])
        words = ("three", "four", "five", "six", "seven", "eight")
        self.assertEqual(self.received(server), [f"{word}\n".encode() for word in words])
        server.close()
        os.unlink(path)
        server = self.syslog(path)
        datagrams.write_all(["nine", "ten"])
        self.assertEqual(self.received(server), [b"nine\n", b"ten\n"])

    def test_a_line_that_is_too_long_costs_no_other(self) -> None:
        """It is counted."""
        path = self.path()
        server = self.syslog(path)
        datagrams = self.datagrams(path)
        datagrams.write_all(["one"])
        datagrams.write_all(["two", "x" * (1 << 20), "three"])
        self.assertEqual((self.received(server), datagrams.dropped), ([b"one\n", b"two\n", b"three\n"], 1))

    def test_by_udp_lines_that_nobody_takes_are_counted(self) -> None:
        """The kernel tells of each at the next one."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            address = server.getsockname()
        datagrams = Datagrams(socket.AF_INET, address, self.clock.seconds)
        datagrams.write_all(["x"] * 8)
        time.sleep(0.01)
        datagrams.write_all(["x"] * 8)
        self.assertEqual(datagrams.dropped, 15)

    def test_what_is_lost_is_told_now_and_then(self) -> None:
        """With the reason, and how many since it was told last; here by UDP, where a line is not kept."""
        told: list[tuple[str, int]] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            address = server.getsockname()
        datagrams = Datagrams(socket.AF_INET, address, self.clock.seconds, lambda *said: told.append(said))
        for _ in range(5):
            datagrams.write("x")
            time.sleep(0.01)  # the kernel tells of the one before
        self.assertEqual(told, [("Connection refused", 1)])
        self.clock.advance(TELL_EVERY)
        datagrams.write("x")
        self.assertEqual(told[1:], [("Connection refused", datagrams.dropped - 1)])

    def test_udp_is_sent_to_its_address(self) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        targets = LogTargets("tag", Deadlines(self.clock), lambda: NOW)
        target = targets.open(LogTarget(Place("x", 1), "udp", host="127.0.0.1", port=server.getsockname()[1]))
        send(target, "alert", "down")
        self.assertTrue(server.recv(200).endswith(b": down\n"))


class StreamTests(SynchronousTestCase):
    """A server that takes lines as a stream."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.listening.settimeout(5)

    def stream(self, **more: Any) -> Stream:
        return Stream(socket.AF_INET, self.listening.getsockname(), Deadlines(self.clock), **more)

    def accept(self) -> socket.socket:
        accepted, _ = self.listening.accept()
        self.addCleanup(accepted.close)
        accepted.settimeout(5)
        return accepted

    def test_lines_are_gathered(self) -> None:
        stream = self.stream()
        stream.write("one")
        stream.write("two")
        self.clock.pump([0.1] * 3)
        self.assertEqual(self.accept().recv(100), b"one\ntwo\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_lines_go_in_few_pieces(self) -> None:
        """Also where the server takes only a part of each: none is lost, or sent twice."""
        stream = self.stream()
        lines = [f"{number} {'x' * (number % 300)}" for number in range(6000)]
        stream.write_all(lines)
        pieces: list[int] = []
        send = socket.socket.send

        def counting(connected: socket.socket, data: bytes) -> int:
            pieces.append(send(connected, data))
            return pieces[-1]

        with mock.patch("socket.socket.send", counting):
            self.clock.pump([0.1] * 3)
            accepted, received = self.accept(), b""
            while not received.endswith(lines[-1].encode() + b"\n"):
                received += accepted.recv(20_000)
                self.clock.pump([0.1])
        self.assertEqual(received.decode().splitlines(), lines)
        self.assertEqual(sum(pieces), len(received))
        self.assertLess(len(pieces), 300)

    def test_lines_may_begin_with_their_size(self) -> None:
        stream = self.stream(octets=True)
        stream.write("h\u00e9")
        self.clock.pump([0.1] * 3)
        self.assertEqual(self.accept().recv(100), b"3 h\xc3\xa9")

    def test_lines_wait_for_a_server_that_is_away(self) -> None:
        """And those that it did not read when it ended the connection, as far as that can be known."""
        address = self.listening.getsockname()
        stream = self.stream()
        stream.write("one")
        self.clock.pump([0.1] * 3)
        accepted = self.accept()
        self.assertEqual(accepted.recv(100), b"one\n")
        accepted.close()
        self.listening.close()
        stream.write("two")
        self.clock.pump([0.1] * 30)
        stream.write("three")
        self.assertEqual(stream.dropped, 0)
        self.listening = socket.create_server(address)
        self.listening.settimeout(5)
        self.addCleanup(self.listening.close)
        self.clock.pump([0.1] * 30)
        self.assertEqual(self.accept().recv(100), b"two\nthree\n")

    def test_beyond_the_bound_lines_are_dropped_and_told_of(self) -> None:
        told: list[tuple[str, int]] = []
        stream = self.stream(most=20, tell=lambda *said: told.append(said))
        stream.lost_line = lambda lost: f"{lost.lines} lost"
        for _ in range(4):
            stream.write("123456789")
        self.clock.pump([0.1] * 3)
        self.assertEqual(self.accept().recv(100), b"123456789\n123456789\n2 lost\n")
        self.assertEqual((stream.dropped, told), (2, [("it takes lines too slowly", 1)]))


class LogTargetsTests(SynchronousTestCase):
    """All targets together."""

    def setUp(self) -> None:
        self.targets = LogTargets("tag", Deadlines(Clock()), lambda: NOW)

    def test_the_same_line_twice_is_one_target(self) -> None:
        """`log global` in every section."""
        first = self.targets.open(LogTarget(Place("x", 1), "stderr", format="raw"))
        self.assertIs(self.targets.open(LogTarget(Place("x", 9), "stderr", format="raw")), first)

    def test_one_descriptor_keeps_the_order_of_its_targets(self) -> None:
        first = self.targets.open(LogTarget(Place("x", 1), "stderr", format="raw"))
        second = self.targets.open(LogTarget(Place("x", 1), "stderr", format="short"))
        self.assertIs(first.sink, second.sink)

    def test_an_unknown_host_is_said_at_start(self) -> None:
        with self.assertRaises(UnknownHost) as raised:
            self.targets.open(LogTarget(Place("x", 1), "udp", host="no-such-host.invalid"))
        self.assertIn("could not resolve address 'no-such-host.invalid'", str(raised.exception))

    def test_events_go_by_level_and_cannot_move_the_cursor(self) -> None:
        target = self.targets.open(LogTarget(Place("x", 1), "stderr", format="short", level="alert"))
        sink: Any = Sink()
        target.sink = sink
        self.targets.take_events_to([target])
        self.targets.event("notice", "Server b/s is UP")
        self.targets.event("alert", "Server b/s is DOWN, reason: \x1b[2J\nfake")
        self.assertEqual(sink.lines, ["<1>Server b/s is DOWN, reason: #1B[2J#0Afake"])

    def test_an_event_is_not_written_where_the_own_log_says_it(self) -> None:
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as other:
            for each in (file, other):
                sink = Descriptor(each.fileno(), Deadlines(Clock()))
                self.targets.take_events_to([Target(LogTarget(Place("x", 1), "stderr", format="raw"), "haproxy", sink)])
                self.targets.event("alert", "Server b/s is DOWN", "", lambda fd: fd == file.fileno())
                sink.flush()
                each.seek(0)
            self.assertEqual((file.read(), other.read()), (b"", b"Server b/s is DOWN\n"))
