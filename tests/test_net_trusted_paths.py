"""What root opens, and where a link of another user's does not lead it."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.starting.account import Account
from reusedproxy.net.acting import NOBODY, groups_of
from reusedproxy.net.files import unless_pipe
from reusedproxy.net.trusted_paths import demand_plain, open_file, parent_of
from tests.integration.peers import temporary_directory

OTHER = 12345


class PathsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can give files away")
        self.directory = temporary_directory(self)
        self.directory.chmod(0o755)
        self.theirs = self.directory / "theirs"
        self.theirs.mkdir()
        os.chown(self.theirs, OTHER, OTHER)
        self.precious = self.directory / "precious"
        self.precious.mkdir()
        (self.precious / "file").write_text("precious")

    def link(self, path: Path, target: Path | str, owner: int) -> Path:
        path.symlink_to(target)
        os.chown(path, owner, owner, follow_symlinks=False)
        return path

    def content(self, path: Path | str) -> str:
        with open(open_file(str(path), os.O_RDONLY)) as file:
            return file.read()

    def refusal(self, path: Path) -> str:
        error: OSError = self.assertRaises(OSError, self.content, path)
        return str(error.strerror)


class LinkTests(PathsTestCase):
    def test_links_of_roots_are_followed(self) -> None:
        """One after the other, relative or not, with dots."""
        self.link(self.directory / "one", "./precious//", 0)
        self.link(self.directory / "two", self.directory / "one", 0)
        self.link(self.precious / "up", "../two/../precious/file", 0)
        for name in ("precious/file", "one/file", "two/./file", "two/up", "theirs/../two/file"):
            self.assertEqual(self.content(self.directory / name), "precious")
        with parent_of(str(self.directory / "two" / "new")) as (parent, name):
            self.assertEqual((os.fstat(parent).st_ino, name), (self.precious.stat().st_ino, "new"))

    def test_links_of_others_are_not(self) -> None:
        """On the way, at the end, behind one of root's; nor one of root's that another may have moved."""
        self.link(self.theirs / "way", self.precious, OTHER)
        self.link(self.theirs / "end", self.precious / "file", OTHER)
        self.link(self.theirs / "moved", self.precious / "file", 0)
        self.link(self.directory / "through", "theirs/way/file", 0)
        for path, name in (
            (self.theirs / "way" / "file", "way"),
            (self.theirs / "end", "end"),
            (self.theirs / "moved", "moved"),
            (self.directory / "through", "way"),
        ):
            text = f"'{name}' is a link that another user can change, which root does not follow"
            self.assertEqual(self.refusal(path), text)
        with self.assertRaises(OSError), parent_of(str(self.theirs / "way" / "new")):
            pass

    def test_a_link_of_roots_where_a_group_may_replace_it_is_not(self) -> None:
        """Nobody can in a sticky directory."""
        for mode in (0o775, 0o757, 0o2775):
            directory = self.directory / f"{mode:o}"
            directory.mkdir()
            directory.chmod(mode)
            link = self.link(directory / "link", self.precious / "file", 0)
            self.assertIn("is a link that another user can change", self.refusal(link))
            for safe in (0o755, 0o1777, 0o1775):
                directory.chmod(safe)
                self.assertEqual(self.content(link), "precious")

    def test_their_files_are_opened_nevertheless(self) -> None:
        (self.theirs / "file").write_text("theirs")
        self.assertEqual(self.content(self.theirs / "file"), "theirs")

    def test_links_in_a_circle_end(self) -> None:
        self.link(self.directory / "a", "b", 0)
        self.link(self.directory / "b", "a", 0)
        self.assertEqual(self.refusal(self.directory / "a"), "Too many levels of symbolic links")

    def test_what_is_not_there(self) -> None:
        self.assertEqual(self.refusal(self.directory / "none" / "file"), "No such file or directory")
        self.assertEqual(self.refusal(self.precious / "file" / "x"), "Not a directory")
        for path in (self.precious / "none", self.precious / "none" / "file"):
            error: OSError = self.assertRaises(FileNotFoundError, self.content, path)
            self.assertEqual(error.filename, str(path))

    def test_open_files_by_their_names_in_proc(self) -> None:
        """As /dev/stdout in a container, which is a link to one."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        again = open_file(f"/proc/self/fd/{write}", os.O_WRONLY)
        self.addCleanup(os.close, again)
        self.assertEqual(os.fstat(again).st_ino, os.fstat(write).st_ino)
        self.assertEqual(self.content("/dev/null"), "")

    def test_a_file_with_two_names_may_be_another(self) -> None:
        os.link(self.precious / "file", self.theirs / "hard")
        descriptor = open_file(str(self.theirs / "hard"), os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        self.assertRaises(OSError, demand_plain, descriptor)

    def test_no_descriptor_is_left(self) -> None:
        self.link(self.theirs / "way", self.precious, OTHER)
        before = len(os.listdir("/proc/self/fd"))
        self.refusal(self.theirs / "way" / "file")
        self.content(self.theirs / ".." / "precious" / "file")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class ReadingTests(PathsTestCase):
    """Certificates and the like, which root reads before it becomes the daemon's user."""

    def read(self, path: Path) -> str:
        with open(path, opener=unless_pipe) as file:
            return file.read()

    def test_a_link_of_anothers_leads_to_what_he_may_read(self) -> None:
        path = self.link(self.theirs / "certificate", self.precious / "file", OTHER)
        file = self.precious / "file"
        file.chmod(0o644)
        self.assertEqual(self.read(path), "precious")
        file.chmod(0o600)
        error = self.assertRaises(PermissionError, self.read, path)
        self.assertIn(f"for user {OTHER}, who can change a link on the way", str(error))
        self.assertEqual((os.geteuid(), os.getegid()), (0, 0))
        self.assertEqual(self.read(file), "precious")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)

    def test_a_link_that_a_group_can_replace_leads_to_what_that_group_may_read(self) -> None:
        path = self.link(self.theirs / "certificate", self.precious / "file", 0)
        os.chown(self.theirs, 0, OTHER)
        self.theirs.chmod(0o775)
        file = self.precious / "file"
        file.chmod(0o640)
        error = self.assertRaises(PermissionError, self.read, path)
        self.assertIn("for others than root, who can change a link on the way", str(error))
        os.chown(file, 0, OTHER)
        self.assertEqual(self.read(path), "precious")
        self.theirs.chmod(0o777)
        self.assertRaises(PermissionError, self.read, path)

    def test_a_user_without_an_entry_has_the_group_of_nobody_else(self) -> None:
        """His number may be that of a group which reads what he may not."""
        self.assertEqual(groups_of(OTHER), (OTHER, [OTHER]))
        self.patch(pwd, "getpwuid", mock.Mock(side_effect=KeyError))
        shadow = next(each.gr_gid for each in grp.getgrall() if each.gr_gid)
        self.assertEqual(groups_of(shadow), (NOBODY, [NOBODY]))
        self.assertEqual(Account.of(shadow), Account(shadow, NOBODY, (NOBODY,)))
        self.assertEqual(Account.of(shadow, 7), Account(shadow, 7, (7,)))
        path = self.link(self.theirs / "certificate", self.precious / "file", shadow)
        os.chown(self.precious / "file", 0, shadow)
        (self.precious / "file").chmod(0o640)
        self.assertRaises(PermissionError, self.read, path)
