"""What a service manager and an init script hear of the daemon: systemd's datagrams,
and the file that `--reload` waits for."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import SkipTest, mock

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.command import Options
from reusedproxy.daemon.processes import has_ended, is_daemon
from reusedproxy.daemon.supervision.asking import LOOK, PATIENCE, TAKING_OVER, Outcome, ask_to_reload
from reusedproxy.daemon.supervision.manager import Manager
from reusedproxy.daemon.supervision.reports import Supervision
from reusedproxy.daemon.supervision.status_file import (
    REFUSED,
    RELOADED,
    RELOADING,
    RUNNING,
    STARTING,
    STOPPING,
    StatusFile,
    read,
)
from tests.fulldisk import room_in_files
from tests.integration.peers import temporary_directory
from tests.test_generations import GenerationTestCase

PID, NEXT = 4711, 4712


def listening(test: SynchronousTestCase, name: str | bytes) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    test.addCleanup(opened.close)
    opened.bind(name)
    opened.setblocking(False)
    return opened


def heard(opened: socket.socket) -> list[list[str]]:
    messages = []
    while True:
        try:
            messages.append(opened.recv(65536).decode().split("\n"))
        except BlockingIOError:
            return messages


class ManagerTests(SynchronousTestCase):
    """sd_notify(3), as systemd's manual page describes it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = str(temporary_directory(self) / "notify")
        self.socket = listening(self, self.path)

    def manager(self, **more: str) -> Manager:
        return Manager({"NOTIFY_SOCKET": self.path, **more}, self.clock, lambda: PID)

    def test_what_a_terminal_would_obey_is_not_told(self) -> None:
        """`systemctl status` shows it."""
        Supervision(self.manager()).ready("a\x1b[2J\x9b\u202eb\n c")
        self.assertEqual(heard(self.socket), [["READY=1", "STATUS=a?[2J??b c"]])

    def test_words_of_one_message_are_its_lines(self) -> None:
        self.manager().tell("READY=1", "STATUS=well")
        self.assertEqual(heard(self.socket), [["READY=1", "STATUS=well"]])

    def test_a_name_that_begins_with_an_at_sign_is_abstract(self) -> None:
        name = f"reusedproxy-test-{os.getpid()}"
        abstract = listening(self, b"\0" + name.encode())
        Manager({"NOTIFY_SOCKET": f"@{name}"}, self.clock).tell("READY=1")
        self.assertEqual(heard(abstract), [["READY=1"]])

    def test_without_a_socket_nobody_is_told(self) -> None:
        manager = Manager({"WATCHDOG_USEC": "1000000"}, self.clock)
        manager.tell("READY=1")
        manager.feed()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_socket_that_has_gone_costs_one_line_in_the_log(self) -> None:
        self.socket.close()
        os.unlink(self.path)
        manager = self.manager()
        manager._log = log = mock.Mock()
        for _ in range(3):
            manager.tell("WATCHDOG=1")
        log.warn.assert_called_once()

    def test_the_watchdog_is_fed_twice_in_its_time_and_only_while_the_loop_turns(self) -> None:
        manager = self.manager(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(PID))
        manager.feed()
        self.clock.pump([15.0] * 3)
        self.assertEqual(heard(self.socket), [["WATCHDOG=1"]] * 4)
        self.clock.rightNow += 1000.0  # the loop stands
        self.assertEqual(heard(self.socket), [])
        manager.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_watchdog_that_is_another_processs_or_makes_no_sense_is_not_fed(self) -> None:
        for words in (
            {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
            {"WATCHDOG_USEC": "0"},
            {"WATCHDOG_USEC": "x"},
            {"WATCHDOG_USEC": "²"},
            {"WATCHDOG_USEC": "9" * 400},
            {},
        ):
            self.manager(**words).feed()
        self.assertEqual((heard(self.socket), self.clock.getDelayedCalls()), ([], []))


class LifeTests(GenerationTestCase):
    """The service itself, on a clock: what it says, and when."""

    def setUp(self) -> None:
        super().setUp()
        self.socket = listening(self, str(self.folder / "notify"))
        self.path = self.folder / "status"
        self.told: list[list[str]] = []

    def start(self, global_: str = "", server: str = "") -> None:
        manager = Manager({"NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "60000000"}, self.reactor)
        supervision = Supervision(manager, StatusFile(str(self.path)))
        with mock.patch("reusedproxy.daemon.service.Supervision", lambda manager: supervision):
            self.begin(server, global_=global_)

    def states(self) -> list[str]:
        """Without the signs of life."""
        return [word for words in heard(self.socket) for word in words if word != "WATCHDOG=1"]

    def status(self) -> tuple[str, int, list[str]]:
        said = json.loads(self.path.read_text())
        return said["state"], said["reloads"], said["lines"]

    def test_a_life(self) -> None:
        self.start()
        self.assertEqual(self.states(), ["READY=1", "STATUS=serves (listeners: 1, servers: 1)"])
        self.assertEqual(self.status(), (RUNNING, 0, []))
        self.touch(self.client)
        self.service.reload()
        self.reactor.pump([0.05] * 160)
        text = "configuration reloaded: 0 of 1 pools kept as they are"
        reloading, when, *after = self.states()
        self.assertEqual((reloading, after), ("RELOADING=1", ["READY=1", f"STATUS={text}"]))
        self.assertRegex(when, "^MONOTONIC_USEC=[0-9]+$")
        self.assertEqual(self.status(), (RELOADED, 1, [text]))
        self.service.stopService()
        self.assertEqual(self.states(), ["STOPPING=1", "STATUS=stopping, clients connected: 0"])
        self.assertEqual(self.status()[0], STOPPING)

    def test_a_reload_that_is_refused_names_all_reasons(self) -> None:
        self.start()
        self.states()
        self.configure(" nonsense\n balnce\n")
        self.service.reload()
        self.reactor.pump([0.05] * 10)
        state, reloads, lines = self.status()
        self.assertEqual((state, reloads, len(lines)), (REFUSED, 1, 2))
        self.assertIn("unknown keyword 'nonsense'", lines[0])
        said = self.states()
        self.assertEqual((said[0], said[2]), ("RELOADING=1", "READY=1"))
        self.assertIn(f"STATUS=reload refused, all stays as it was: {self.config}:", said[3])

    def test_files_that_are_renewed_without_being_asked_are_no_reload(self) -> None:
        self.start(" ssl-watch 1s\n")
        self.states()
        self.touch(self.client)
        self.reactor.pump([1.0] * 8)
        self.assertIn("files of TLS", self.said[-1])
        self.assertEqual((self.states(), self.status()[:2]), ([], (RUNNING, 0)))

    def test_it_is_ready_when_it_listens(self) -> None:
        """Which `pool-warm-start` puts off; systemd must not give up meanwhile."""
        self.start(" pool-warm-start 100s\n", "verifyhost s.test pool-min-conn 1")
        self.assertEqual(self.states(), ["EXTEND_TIMEOUT_USEC=130000000"])
        self.configure(" nonsense\n")
        self.service.reload()
        self.reactor.pump([0.05] * 10)
        self.assertNotIn("READY=1", self.states())


class FullDiskTests(SynchronousTestCase):
    def test_the_log_names_the_file_that_cannot_be_written(self) -> None:
        file = StatusFile(path := str(temporary_directory(self) / "status"))
        self.addCleanup(file.close)
        said: list[str] = []

        def note(event: LogEvent) -> None:
            said.append(formatEvent(event))

        self.patch(StatusFile, "_log", Logger(observer=note))  # type: ignore[arg-type]
        with room_in_files(0):
            file.write("running", 0, [])
        self.assertEqual(said, [f"--status-file {path}: cannot be written: File too large"])

    def test_a_file_keeps_its_place_while_it_is_written(self) -> None:
        """Another writer might take what is given back for a moment, and the next line would have nowhere to go."""
        file = StatusFile(path := str(temporary_directory(self) / "status"))
        self.addCleanup(file.close)
        sizes: list[int] = []
        cut = os.ftruncate

        def note(descriptor: int, size: int) -> None:
            cut(descriptor, size)
            sizes.append(os.stat(path).st_size)

        file.write("running", 0, ["a long line that a shorter one follows"])
        self.patch(os, "ftruncate", note)
        for lines in (["short"], ["longer than that"], []):
            file.write("reloaded", 1, lines)
            found = read(path)
            assert found is not None
            self.assertEqual(found.lines, lines)
        self.assertNotIn(0, sizes)


class AskTests(SynchronousTestCase):
    """`--reload`: a signal, and the outcome of a reload that has begun after it was asked for."""

    def setUp(self) -> None:
        self.path = str(temporary_directory(self) / "status")
        self.pid = PID
        self.file = StatusFile(self.path, lambda: self.pid)
        self.addCleanup(self.file.close)
        self.other_program = False
        self.replaced_after = self.other_after = 10**9
        self.clock = Clock()
        self.signals: list[tuple[int, int]] = []
        #: What the daemon does after so many looks.
        self.script: dict[int, tuple[str, int, list[str]]] = {}
        self.looks = 0
        self.dead_after = self.zombie_after = 10**9

    def kill(self, pid: int, number: int) -> None:
        if self.looks >= self.dead_after:
            raise ProcessLookupError(3, "No such process")
        self.signals.append((pid, number))

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        self.clock.advance(seconds)
        if self.looks == self.replaced_after:
            self.pid = NEXT
        if self.looks in self.script:
            self.file.write(*self.script[self.looks])

    def ask(self) -> Outcome:
        return ask_to_reload(
            *(PID, self.path, self.kill, self.clock.seconds, self.sleep),
            lambda pid: not self.other_program and self.looks < self.other_after,
            lambda pid: pid == PID and self.looks >= self.zombie_after,
        )

    def test_a_reload_that_is_done(self) -> None:
        self.file.write(RELOADED, 3, ["an earlier one"])
        self.script = {1: (RELOADING, 4, []), 9: (RELOADED, 4, ["done"])}
        self.assertEqual(self.ask(), Outcome(True, ["done"]))
        self.assertEqual(self.signals[0], (PID, signal.SIGHUP))

    def test_a_reload_that_is_refused(self) -> None:
        self.file.write(RUNNING, 0, [])
        self.script = {5: (REFUSED, 1, ["a", "b"])}
        self.assertEqual(self.ask(), Outcome(False, ["a", "b"]))

    def test_what_a_terminal_would_obey_is_not_printed(self) -> None:
        """The file is the daemon's user's, and root asks."""
        self.file.write(RUNNING, 0, [])
        self.script = {5: (REFUSED, 1, ["\x1b]0;title\x07\x1b[2Jreloaded", "\x9b2J ä\n\r"])}
        self.assertEqual(self.ask().lines, ["?]0;title??[2Jreloaded", "?2J ä??"])

    def test_what_is_no_status_is_said(self) -> None:
        for text in (
            '{"pid": 1e999, "reloads": 0, "state": "", "lines": []}',
            '{"pid": 1, "lines":' + "[" * 9999,
            "[]",
            "1",
        ):
            with open(self.path, "w") as file:
                file.write(text)
            self.assertIn("is not the status file of a daemon that runs", self.ask().lines[0])

    def test_one_that_was_under_way_is_not_taken_for_ours(self) -> None:
        """It may have read the configuration before it was changed."""
        self.file.write(RELOADING, 4, [])
        self.script = {2: (RELOADED, 4, ["theirs"]), 3: (RELOADING, 5, []), 4: (REFUSED, 5, ["ours"])}
        self.assertEqual(self.ask(), Outcome(False, ["ours"]))

    def test_a_daemon_that_stops_or_dies_or_is_not_heard_of(self) -> None:
        self.file.write(RUNNING, 0, [])
        self.script = {2: (STOPPING, 0, [])}
        self.assertEqual(self.ask(), Outcome(False, ["not reloaded: the daemon is stopping"]))
        self.file.write(RUNNING, 0, [])
        self.script, self.dead_after = {}, self.looks + 2
        self.assertIn(f"process {PID}, the daemon that wrote {self.path}, has ended", self.ask().lines[0])
        self.dead_after = self.zombie_after = 10**9
        began = self.clock.seconds()
        self.assertIn("had not ended after 60 s", self.ask().lines[0])
        self.assertLess(abs(self.clock.seconds() - began - PATIENCE), 2 * LOOK)

    def test_a_file_that_no_daemon_writes(self) -> None:
        """Nobody is sent a signal: without the option a daemon could not answer."""
        for text in ("", "nonsense", "{}", "[1]"):
            Path(self.path).write_text(text)
            self.assertIn("is not the status file of a daemon", self.ask().lines[0])
        os.unlink(self.path)
        self.assertFalse(self.ask().well)
        self.assertEqual(self.signals, [])

    def test_another_process_is_sent_no_signal(self) -> None:
        """Neither one that the file is not of, nor one that was given the number of a daemon that died."""
        self.file.write(RUNNING, 0, [])
        outcome = ask_to_reload(PID + 1, self.path, self.kill)
        self.assertEqual(
            outcome.lines, [f"not reloaded: {self.path} is the status file of process {PID}, not of {PID + 1}"]
        )
        self.other_program = True
        self.assertIn(f"process {PID} is another program", self.ask().lines[0])
        self.assertEqual(self.signals, [])

    def test_a_daemon_that_was_killed_is_no_other_program(self) -> None:
        """Whether its number is free again, or its parent has not heard of its end yet; at once, or meanwhile."""
        said = [f"not reloaded: process {PID}, the daemon that wrote {self.path}, has ended"]
        self.file.write(RUNNING, 0, [])
        self.dead_after = 0
        self.assertEqual(self.ask().lines, said)
        self.dead_after, self.zombie_after, self.other_program = 10**9, 0, True
        self.assertEqual((self.ask().lines, self.signals), (said, []))
        self.other_program, self.zombie_after = False, 3
        self.assertEqual((self.ask().lines, self.looks), (said, 3 + TAKING_OVER / LOOK))

    def test_a_reload_that_is_done_by_the_process_that_takes_the_place(self) -> None:
        """It counts its reloads from 0, whatever the one before has had; that one ends before it says that it is there,
        or long after."""
        for before, ends in ((0, 1), (3, 1), (3, 10**9)):
            self.pid, self.looks, self.signals = PID, 0, []
            self.file.write(RELOADED, before, ["an earlier one"])
            self.zombie_after, self.replaced_after = ends, 5
            self.script = {5: (RUNNING, 0, []), 7: (RELOADING, 1, []), 9: (RELOADED, 1, ["done"])}
            self.assertEqual(self.ask(), Outcome(True, ["done"]))
            self.assertEqual([each for each in self.signals if each[1]], [(PID, signal.SIGHUP), (NEXT, signal.SIGHUP)])

    def test_no_signal_to_one_that_has_begun_to_start_or_is_no_daemon(self) -> None:
        """The first would end by it, and the file is the daemon's user's, who may write any number there."""
        self.replaced_after, self.zombie_after = 1, 1
        for state, self.other_after in ((STARTING, 10**9), (RUNNING, 1)):
            self.script = {1: (state, 0, [])}
            self.pid, self.looks, self.signals = PID, 0, []
            self.file.write(RUNNING, 0, [])
            self.assertIn(f"process {PID}, the daemon that wrote", self.ask().lines[0])
            self.assertEqual([each for each in self.signals if each[1]], [(PID, signal.SIGHUP)])

    def test_a_process_of_another_user_gets_no_signal(self) -> None:
        """Root asks, and the daemon's user writes into the file: it may name any process there is."""
        self.file.write(RUNNING, 0, [])
        self.replaced_after, self.script = 1, {1: (RUNNING, 0, [])}
        for user, signals in ((5, 2), (0, 1), (None, 1)):
            self.pid, self.signals, self.looks = PID, [], 0
            self.file.write(RUNNING, 0, [])
            ask_to_reload(
                *(PID, self.path, self.kill, self.clock.seconds, self.sleep, lambda pid: True, lambda pid: False),
                lambda pid, user=user: 5 if pid == PID else user,  # type: ignore[misc]
            )
            self.assertEqual(len([each for each in self.signals if each[1]]), signals, user)

    def test_a_file_that_changes_all_the_time_causes_few_signals(self) -> None:
        self.file.write(RUNNING, 0, [])
        looks = self.sleep

        def flap(seconds: float) -> None:
            looks(seconds)
            self.pid = PID if self.pid == NEXT else NEXT
            self.file.write(RUNNING, 0, [])

        ask_to_reload(*(PID, self.path, self.kill, self.clock.seconds, flap), lambda pid: True, lambda pid: False)
        self.assertLess(len([each for each in self.signals if each[1]]), 4)

    def test_what_has_ended_is_known_by_its_state(self) -> None:
        proc = temporary_directory(self)
        for pid, stat in ((7, b"7 (a) S 1"), (8, b"8 (b) Z) Z 1"), (9, b"9 (Z) R 1"), (10, b"")):
            (proc / str(pid)).mkdir()
            (proc / str(pid) / "stat").write_bytes(stat)
        self.assertEqual([has_ended(pid, proc) for pid in (7, 8, 9, 10, 11)], [False, True, False, False, False])

    def test_a_program_is_known_by_its_words(self) -> None:
        proc = temporary_directory(self)
        for pid, words in (
            (7, b"python\0twist\0reusedproxy\0-f\0x\0"),
            (8, b"sleep\0reusedproxy.cfg\0"),
            (9, b""),
            (11, b"/opt/r/bin/python3.11\0/opt/r/bin/reusedproxy\0--config\0x\0"),
            (12, b"vim\0/opt/r/bin/reusedproxy\0"),
            (13, b"python3\0-m\0reusedproxy\0-f\0x\0"),
        ):
            (proc / str(pid)).mkdir()
            (proc / str(pid) / "cmdline").write_bytes(words)
        self.assertEqual([is_daemon(pid, proc) for pid in (7, 8, 9, 10)], [True, False, False, None])
        self.assertEqual([is_daemon(pid, proc) for pid in (11, 12, 13)], [True, False, True])

    def test_words_behind_another_program_s_own_are_not_the_daemon(self) -> None:
        proc = temporary_directory(self) / "proc"
        (proc / "7").mkdir(parents=True)
        self.patch(sys, "argv", ["/opt/own-twistd"])
        daemon = "/usr/bin/python3 /usr/bin/twistd --pidfile=/run/a.pid reusedproxy --config /etc/a.cfg"
        for words, ours in (
            (daemon, True),
            (daemon.replace("/usr/bin/twistd", "-E -W ignore -Xutf8 /usr/bin/twistd"), True),
            ("/usr/bin/twistd -n reusedproxy", True),
            ("python -m twisted reusedproxy --config x", True),
            ("/opt/pypy3 /opt/twist reusedproxy", True),
            ("python /usr/bin/own-twistd --pidfile=a reusedproxy", True),
            ("python /usr/bin/other-twistd --pidfile=a reusedproxy", False),
            ("python /usr/bin/twistd -nu reusedproxy --spew --pidf a reusedproxy", True),
            ("python -m twisted --log-level debug reusedproxy", True),
            ("python3 /usr/bin/twistd3 -n --pidfile= reusedproxy", True),
            ("python3 /usr/bin/twist3 --log-level debug reusedproxy", True),
            ("python /usr/bin/twistd --uid reusedproxy web", False),
            ("python /usr/bin/twistd -n web --name reusedproxy", False),
            ("python /usr/bin/twistd --unknown reusedproxy", False),
            ("twist --log-file reusedproxy web", False),
            (f"python - {daemon}", False),
            ("python - /usr/bin/twistd reusedproxy", False),
            ("/opt/r/bin/python /opt/r/bin/reusedproxy doctor --config x", False),
            ("python /usr/bin/twistd web", False),
            (f"strace -f {daemon}", False),
            (f"sudo -E {daemon}", False),
            (f"sh -c {daemon}", False),
            (f"python -c pass {daemon}", False),
            (f"python /opt/watch.py {daemon}", False),
            ("python", False),
            ("python -m", False),
            ("grep -r reusedproxy", False),
        ):
            (proc / "7" / "cmdline").write_bytes(words.replace(" ", "\0").encode() + b"\0")
            self.assertIs(is_daemon(7, proc), ours, words)

    def test_a_process_in_a_container_is_not_the_daemon(self) -> None:
        proc = temporary_directory(self)
        for pid, numbers in (("7", b"7"), ("8", b"8\t1"), ("self", b"9")):
            (proc / pid).mkdir()
            (proc / pid / "cmdline").write_bytes(b"python\0twistd\0reusedproxy\0")
            (proc / pid / "status").write_bytes(b"Name:\tpython\nNSpid:\t" + numbers + b"\nUid:\t0\n")
        self.assertEqual((is_daemon(7, proc), is_daemon(8, proc)), (True, False))

    def test_who_was_started_in_another_root_is_not_the_daemon_and_who_has_gone_there_since_is(self) -> None:
        proc = temporary_directory(self)
        other = proc / "jail"
        (other / "bin").mkdir(parents=True)
        for pid, root, program in (
            (7, "/", "/usr/bin/python3"),
            (8, str(other), f"{other}/bin/python3"),
            (9, str(other), "/usr/bin/python3"),
            (10, str(other), f"{other}-2/bin/python3"),
        ):
            (proc / str(pid)).mkdir()
            (proc / str(pid) / "cmdline").write_bytes(b"python3\0twistd\0reusedproxy\0")
            (proc / str(pid) / "root").symlink_to(root)
            (proc / str(pid) / "exe").symlink_to(program)
        self.assertEqual([is_daemon(pid, proc) for pid in (7, 8, 9, 10)], [True, False, True, True])

    def test_a_line_that_is_half_written_is_read_again(self) -> None:
        self.file.write(RUNNING, 0, [])
        real = self.sleep

        def torn(seconds: float) -> None:
            real(seconds)
            if self.looks == 1:
                Path(self.path).write_text('{"state": "relo')
            elif self.looks == 2:
                self.file.write(RELOADED, 1, ["done"])

        self.sleep = torn  # type: ignore[method-assign]
        self.assertEqual(self.ask(), Outcome(True, ["done"]))


class FileTests(SynchronousTestCase):
    """Of a daemon that was not started by root."""

    def setUp(self) -> None:
        self.path = temporary_directory(self) / "status"
        self.patch(os, "geteuid", lambda: 1000)

    def test_everybody_may_read_it_whatever_the_umask(self) -> None:
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        StatusFile(str(self.path)).close()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)

    def test_a_shorter_line_leaves_nothing_of_the_longer_one(self) -> None:
        file = StatusFile(str(self.path))
        self.addCleanup(file.close)
        file.write(REFUSED, 1, ["x" * 1000])
        file.write(RELOADED, 2, [])
        expected = {"pid": os.getpid(), "state": RELOADED, "reloads": 2, "lines": []}
        self.assertEqual(json.loads(self.path.read_text()), expected)

    def test_a_thousand_faults_are_cut(self) -> None:
        file = StatusFile(str(self.path))
        self.addCleanup(file.close)
        file.write(REFUSED, 1, ["é" * 100] * 1000)
        lines = json.loads(self.path.read_text())["lines"]
        self.assertRegex(lines[-1], "^and [0-9]+ more, of which the log tells$")

    def test_a_file_of_a_daemon_that_runs_is_not_taken_from_it(self) -> None:
        """It is free when that daemon has said that it stops, or is gone."""
        first = Supervision(Manager({}, Clock()), StatusFile(str(self.path)))
        error = self.assertRaises(OSError, StatusFile, str(self.path))
        self.assertIn("another daemon, which runs, has its status there", str(error))
        first.stopping("stopping")
        second = StatusFile(str(self.path))
        second.write(RUNNING, 0, [])
        first.refused(["too late"])
        first.stopped()
        self.assertEqual(json.loads(self.path.read_text())["state"], RUNNING)
        second.close()
        StatusFile(str(self.path)).close()

    def test_a_file_that_holds_something_else_is_left_as_it_is(self) -> None:
        """A slip of the fingers must not cost a configuration, or show a key to everybody."""
        for text in ("frontend f\n", '{"name": 1}\n', "\0" * 4096 + "an image", "\0" * 2**20):
            self.path.write_text(text)
            self.path.chmod(0o600)
            error = self.assertRaises(OSError, StatusFile, str(self.path))
            self.assertIn("it holds something else, which would be lost", str(error))
            self.assertEqual((self.path.read_text(), self.path.stat().st_mode & 0o777), (text, 0o600))
        for text in ("", "\0" * 64, '{"pid": 4, "state": "stopp'):
            self.path.write_text(text)
            StatusFile(str(self.path)).close()

    def test_a_pipe_is_not_waited_for(self) -> None:
        os.mkfifo(self.path)
        self.assertRaises(OSError, StatusFile, str(self.path))
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertIn("no regular file", str(self.assertRaises(OSError, StatusFile, str(self.path))))
        self.assertFalse(ask_to_reload(PID, str(self.path), lambda *_: None).well)

    def test_a_link_is_not_followed(self) -> None:
        """Root opens it, and it may stand where others can write."""
        (self.path.parent / "target").write_text("precious")
        self.path.symlink_to(self.path.parent / "target")
        self.assertRaises(OSError, StatusFile, str(self.path))


class RootsFileTests(SynchronousTestCase):
    """Root's start depends on nothing that the daemon's user, who has the file open, can leave there."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root has a file that another user writes")
        self.directory = temporary_directory(self)
        self.path = self.directory / "status"
        self.said = io.StringIO()

    def begin(self) -> str:
        """What is printed at a start."""
        self.said.seek(0)
        self.said.truncate()
        with redirect_stderr(self.said):
            file = StatusFile(str(self.path))
        file.write(RUNNING, 0, [])
        file.close()
        status = self.path.stat()
        self.assertEqual(json.loads(self.path.read_text())["pid"], os.getpid())
        self.assertEqual((status.st_mode & 0o777, status.st_uid), (0o644, 0))
        self.assertEqual(sorted(each.name for each in self.directory.iterdir() if each.name.startswith(".")), [])
        return self.said.getvalue()

    def test_whatever_is_written_into_it_is_in_nobodys_way(self) -> None:
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        file = StatusFile(str(self.path))
        for text in (b"garbage", b"x" * 10**6, b""):
            os.pwrite(file._file, text, 0)
            file.close()
            self.assertEqual(self.begin(), "")
            file = StatusFile(str(self.path))
        file.close()

    def test_a_process_that_keeps_its_lock_is_in_nobodys_way_and_writes_into_nobodys_file(self) -> None:
        kept = StatusFile(str(self.path))
        self.addCleanup(kept.close)
        self.assertIn("[WARNING] --status-file", self.begin())
        kept.write(REFUSED, 9, ["forged"])
        self.assertEqual(json.loads(self.path.read_text())["state"], RUNNING)
        self.assertEqual(self.begin(), "")

    def test_what_others_put_into_a_directory_of_theirs_is_put_aside(self) -> None:
        os.chown(self.directory, 1000, 1000)

        def directory() -> None:
            self.path.mkdir()
            (self.path / "in it").touch()

        for make in (
            lambda: os.mkfifo(self.path),
            lambda: self.path.symlink_to("/etc/passwd"),
            lambda: self.path.write_text("something else"),
            directory,
        ):
            make()
            os.chown(self.path, 1000, 1000, follow_symlinks=False)
            self.assertEqual(
                self.begin(),
                f"[NOTICE] --status-file {self.path}: what was there is in status.{os.getpid()}.old now\n",
            )
            self.path.unlink()
            aside = self.directory / f"status.{os.getpid()}.old"
            if aside.is_dir():
                (aside / "in it").unlink()
                aside.rmdir()
            else:
                aside.unlink()

    def test_what_is_roots_and_no_status_file_is_left_as_it_is(self) -> None:
        """A slip of the fingers must not cost a configuration."""
        self.path.write_text("frontend f\n")
        for mode, owner in ((0o644, 0), (0o600, 0), (0o1644, 1000)):
            os.chown(self.path, owner, owner)
            self.path.chmod(mode)
            error = self.assertRaises(OSError, StatusFile, str(self.path))
            self.assertIn("it holds something else, which would be lost", str(error))
            self.assertEqual(self.path.read_text(), "frontend f\n")
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertIn("no regular file", str(self.assertRaises(OSError, StatusFile, str(self.path))))


UNIT = Path(__file__).parents[1] / "etc" / "systemd" / "reusedproxy.service"


class OptionTests(SynchronousTestCase):
    def test_the_systemd_unit_says_what_the_daemon_takes(self) -> None:
        """The file that is written is the one that a reload waits for, below the directory that the unit is given."""
        lines = [line.partition("=") for line in UNIT.read_text().splitlines() if line and line[0] not in "#["]
        said = [(name, value.replace("$MAINPID", "7").split()) for name, _, value in lines]
        parsed = []
        for name, words in said:
            if name.startswith("Exec"):
                options: Any = Options()
                options.parseOptions(words[words.index("reusedproxy") + 1 :])
                parsed.append((name, bool(options["check"]), options["reload"], options["status-file"]))
        path = "/run/reusedproxy/status"
        self.assertEqual(
            parsed,
            [
                ("ExecStart", False, None, path),
                ("ExecReload", True, None, None),
                ("ExecReload", False, "7", path),
            ],
        )
        for line in (("Type", ["notify"]), ("RuntimeDirectory", ["reusedproxy"])):
            self.assertIn(line, said)

    def test_a_file_alone_is_answered_with_the_option_for_it(self) -> None:
        complaint = str(self.assertRaises(UsageError, Options().parseOptions, ["--check", "haproxy.cfg"]))
        self.assertIn("a configuration is named with --config haproxy.cfg", complaint)

    def test_reload_needs_a_process_and_its_file(self) -> None:
        for words, complaint in (
            (["--reload", "x", "--status-file", "f"], "number of a process"),
            (["--reload", "0", "--status-file", "f"], "number of a process"),
            (["--reload", "7"], "needs the --status-file"),
            (["--reload", "7", "--status-file", "f", "--check"], "does not go with --check"),
        ):
            self.assertIn(complaint, str(self.assertRaises(UsageError, Options().parseOptions, words)))
        options: Any = Options()
        options.parseOptions(["--reload", "7", "--status-file", "f"])
