"""Where log lines go: headers as HAProxy's, gathering, and what happens when nobody takes them."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.logs.targets import (
    ENOUGH,
    KEPT,
    REOPEN,
    TELL_EVERY,
    Datagrams,
    Descriptor,
    LogTargets,
    Target,
    UnknownHost,
)

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

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.write = self.lines.append


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
            "rfc3164": f"<158>Nov  5 10:12:48 haproxy[{os.getpid()}]: ",
            "rfc5424": f"<158>1 2026-11-05T10:12:48.250000+00:00 - haproxy {os.getpid()} - - ",
        }
        for name, header in headers.items():
            send(self.target(format=name, facility="local3"), "info", "line")
            self.assertEqual(self.sink.lines.pop(), header + "line")

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

    def test_a_server_that_is_away_costs_lines_and_is_found_again(self) -> None:
        path = self.path()
        datagrams = Datagrams(socket.AF_UNIX, path, self.clock.seconds)
        datagrams.write("lost")
        self.assertEqual(datagrams.dropped, 1)
        server = self.syslog(path)
        self.clock.advance(1.5)
        datagrams.write("heard")
        self.assertEqual(server.recv(100), b"heard\n")

    def test_a_server_that_takes_no_more_costs_lines(self) -> None:
        path = self.path()
        self.syslog(path)
        datagrams = Datagrams(socket.AF_UNIX, path, self.clock.seconds)
        for _ in range(5000):
            datagrams.write("x" * 1000)
        self.assertGreater(datagrams.dropped, 0)

    def test_what_is_lost_is_told_now_and_then(self) -> None:
        """With the reason, and how many since it was told last."""
        path = self.path()
        told: list[tuple[str, int]] = []
        datagrams = Datagrams(socket.AF_UNIX, path, self.clock.seconds, lambda *said: told.append(said))
        for _ in range(5):
            datagrams.write("x")
        self.assertEqual(told, [("No such file or directory", 1)])
        self.clock.advance(TELL_EVERY)
        datagrams.write("x")
        self.assertEqual(told[1:], [("No such file or directory", 5)])
        server = self.syslog(path)
        self.clock.advance(REOPEN)
        datagrams.write("heard")
        server.close()
        self.clock.advance(TELL_EVERY)
        datagrams.write("x")
        self.assertEqual(told[2:], [("Connection refused", 1)])

    def test_udp_is_sent_to_its_address(self) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        targets = LogTargets("tag", Deadlines(self.clock), lambda: NOW)
        target = targets.open(LogTarget(Place("x", 1), "udp", host="127.0.0.1", port=server.getsockname()[1]))
        send(target, "alert", "down")
        self.assertTrue(server.recv(200).endswith(b": down\n"))


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
