"""Configuration files and directories of them: which are read, and in which order everything that is wrong is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.daemon.findings import FileFault, report_in_json
from reusedproxy.daemon.load import Refused, load, loading
from reusedproxy.net import files
from reusedproxy.net.files import LARGEST_TEXT
from reusedproxy.net.slices import run_through
from tests.integration.peers import temporary_directory

LISTEN = "listen {}\n mode http\n bind :{}\n server a h:1\n"


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.first = self.file("1.cfg", LISTEN.format("l", 80))
        self.second = self.file("2.cfg", LISTEN.format("m", 81))

    def file(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def refused(self, *paths: str) -> list[str]:
        lines: list[str] = self.assertRaises(Refused, load, list(paths)).lines
        return lines

    def test_all_files_are_one_configuration(self) -> None:
        self.assertEqual(list(load([str(self.directory)]).frontends), ["l", "m"])
        self.assertEqual(list(load([self.second, self.first]).frontends), ["m", "l"])

    def test_a_file_that_is_named_twice_is_said_to_be(self) -> None:
        """Instead of that each of its sections has the same name as itself."""
        twice = f"[ALERT] {self.first}: this file is named twice: by '--config {self.first}' and by '--config "
        self.assertEqual(self.refused(self.first, self.first), [f"{twice}{self.first}'"])
        self.assertEqual(self.refused(self.first, str(self.directory)), [f"{twice}{self.directory}'"])

    def test_a_file_that_has_two_names_is_said_to_be_the_same(self) -> None:
        (self.directory / "3.cfg").symlink_to(self.first)
        expected = f"[ALERT] {self.directory}/3.cfg: this is the same file as {self.first}, which is read already"
        self.assertEqual(self.refused(str(self.directory)), [expected])

    def test_what_a_terminal_would_obey_is_not_printed(self) -> None:
        """Others may choose the names of files, and root reads the lines."""
        (self.directory / "\x1b[2J\x9b\u202eä\udcff.cfg").symlink_to("nowhere")
        (line,) = self.refused(str(self.directory))
        self.assertEqual(line, f"[ALERT] {self.directory}/?[2J??ä?.cfg: cannot be read: No such file or directory")
        notice = Notice("warning", Place("\x9b.cfg", 1), "a\x07")
        self.assertEqual(Refused([], [notice]).lines, ["[WARNING] ?.cfg:1: a?"])

    def test_of_a_directory_hidden_files_are_not_read(self) -> None:
        """As in HAProxy: a dot puts a file out of action, and editors leave locks, which lead nowhere. Nor are
        directories, whatever their name; what can be meant and not be read is a fault."""
        self.file(".old.cfg", "nonsense\n")
        (self.directory / ".#1.cfg").symlink_to("somebody@host.1234")
        (self.directory / "more.cfg").mkdir()
        self.assertEqual(sorted(load([str(self.directory)]).frontends), ["l", "m"])
        (self.directory / "3.cfg").symlink_to("nowhere")
        (line,) = self.refused(str(self.directory))
        self.assertEqual(line, f"[ALERT] {self.directory}/3.cfg: cannot be read: No such file or directory")

    def test_a_pipe_is_read_at_the_start_and_not_waited_for_at_a_reload(self) -> None:
        """Whoever is served meanwhile would wait, too."""
        pipe = str(self.directory / "pipe")
        os.mkfifo(pipe)
        error = self.assertRaises(Refused, run_through, loading([pipe], again=True))
        self.assertIn("cannot be read: it is a pipe, and a reload needs a file", error.lines[0])
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.write(writer, LISTEN.format("l", 80).encode())
        os.close(writer)
        self.assertEqual(list(load([f"/proc/self/fd/{reader}"]).frontends), ["l"])

    def test_a_pipe_that_nobody_writes_to_is_not_waited_for_without_end(self) -> None:
        """Neither one that nobody has opened, nor one whose writer says nothing."""
        self.patch(files, "PATIENCE", 0.01)
        pipe = str(self.directory / "pipe")
        os.mkfifo(pipe)
        told = f"[ALERT] {pipe}: cannot be read: it is a pipe, and nobody has written to it for 0.01 s"
        self.assertEqual(self.refused(pipe), [told])
        kept = os.open(pipe, os.O_RDWR)
        self.addCleanup(os.close, kept)
        os.write(kept, b"global\n")
        self.assertEqual(self.refused(pipe), [told])

    def test_a_pipe_in_a_directory_is_waited_for_by_nobody(self) -> None:
        os.mkfifo(self.directory / "3.cfg")
        (line,) = self.refused(str(self.directory))
        self.assertIn("3.cfg: cannot be read: it is a pipe, and a reload needs a file", line)

    def test_a_file_without_end_is_read_up_to_a_bound(self) -> None:
        os.truncate(self.first, LARGEST_TEXT + 1)
        end = "more than the 16 MiB that are read of such a file"
        self.assertEqual(
            self.refused(self.first), [f"[ALERT] {self.first}: cannot be read: it has 16777217 bytes, {end}"]
        )
        self.assertEqual(self.refused("/dev/zero"), ["[ALERT] /dev/zero: cannot be read: it is a device, and no file"])
        error = self.assertRaises(Refused, run_through, loading(["/dev/zero"], again=True))
        self.assertIn("it is a device", error.lines[0])

    def test_files_that_are_alike_are_two(self) -> None:
        lines = self.refused(self.first, self.file("3.cfg", Path(self.first).read_text()))
        self.assertIn(f"listen 'l' has the same name as listen 'l' at {self.first}:1", lines[2])

    def test_everything_is_said_in_the_order_of_the_lines(self) -> None:
        """Files in the order of reading; warnings, notices and faults as one comes upon them."""
        self.file(
            "1.cfg",
            "listen l\n mode http\n bind :80\n balance x\n server a h:1 maxqueue 2\nbackend x\n mode http\n bogus\n",
        )
        self.file("2.cfg", "global\n nbthread 2\nbackend m\n mode http\n server a h:1 maxqueue 3\n retries x\n")
        found = [
            ("ALERT", "1.cfg", 4), ("ALERT", "1.cfg", 8), ("ALERT", "2.cfg", 6), ("NOTICE", "2.cfg", 2),
            ("WARNING", "1.cfg", 1), ("WARNING", "1.cfg", 5), ("WARNING", "1.cfg", 6), ("WARNING", "2.cfg", 3),
            ("WARNING", "2.cfg", 5),
        ]  # fmt: skip
        for names in (["1.cfg", "2.cfg"], ["2.cfg", "1.cfg"]):
            lines = self.refused(*(str(self.directory / name) for name in names))
            expected = sorted(found, key=lambda each: (names.index(each[1]), each[2]))
            starts = [f"[{level}] {self.directory}/{file}:{line}: " for level, file, line in expected]
            self.assertEqual([line[: len(start)] for line, start in zip(lines, starts, strict=True)], starts)

    def test_what_is_about_no_line_is_said_first(self) -> None:
        """And a warning before the fault of its line."""
        place = Place("a.cfg", 3)
        refused = Refused([Fault(place, "b"), "no file"], [Notice("warning", place, "a")])
        self.assertEqual(refused.lines, ["[ALERT] no file", "[WARNING] a.cfg:3: a", "[ALERT] a.cfg:3: b"])

    def test_findings_have_their_place_for_programs(self) -> None:
        """A fault of a whole file has no line, and one of none no file."""
        faults = [Fault(Place("a.cfg", 3), "b"), FileFault("b.cfg", "cannot be read"), "nothing"]
        said = json.loads(
            report_in_json(Refused(faults, [Notice("notice", Place("a.cfg", 2), "\x07")]).findings, "2 words")
        )
        self.assertEqual((said["valid"], said["summary"]), (False, "2 words"))
        self.assertEqual(
            [tuple(each.values()) for each in said["faults"]],
            [
                ("b.cfg", None, "alert", "cannot be read"),
                (None, None, "alert", "nothing"),
                ("a.cfg", 2, "notice", "?"),
                ("a.cfg", 3, "alert", "b"),
            ],
        )
