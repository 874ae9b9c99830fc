"""Unix sockets: who may connect, and whose file stands at their path."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

from reusedproxy.config.model.values import ListenAddress
from reusedproxy.net import unix_sockets
from reusedproxy.net.binding import ListenError
from reusedproxy.net.listener import CLOSED
from tests.listeners import ListenerCase
from tests.wire import scratch


class UnixTests(ListenerCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = str(scratch(self) / "socket")
        self.address = ListenAddress("unix", path=self.path)

    def test_accepts_and_removes_its_path_at_the_end(self) -> None:
        """A unix socket serves like a port, and its path goes with it."""
        listener = self.listener(self.address)
        self.loop.connect(self.path)
        self.taken(1)
        self.assertEqual(listener.port, 0)
        listener.close()
        self.assertFalse(os.path.exists(self.path))

    def test_a_path_that_somebody_removed(self) -> None:
        """Closing does not mind."""
        listener = self.listener(self.address)
        os.unlink(self.path)
        listener.close()
        self.assertEqual(listener.state, CLOSED)

    def test_a_path_that_is_anothers_by_now(self) -> None:
        """Stays his."""
        listener = self.listener(self.address)
        self.assertTrue(listener.stands)
        os.unlink(self.path)
        self.assertFalse(listener.stands)
        other = self.listener(self.address)
        listener.close()
        self.assertTrue(other.stands)

    def test_a_stale_socket_is_replaced(self) -> None:
        """What a crash left behind is in nobody's way."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        self.listener(self.address)
        self.loop.connect(self.path)
        self.taken(1)

    def test_a_live_socket_is_refused(self) -> None:
        """Somebody listens there; it stays his."""
        self.listener(self.address)
        self.assertEqual(self.refused(self.address), f"cannot listen on unix@{self.path}: Address already in use")
        self.loop.connect(self.path)
        self.taken(2)  # the knock of the one refused, and this one

    def test_a_live_socket_whose_queue_is_full_is_refused_at_once(self) -> None:
        """Whoever is too busy to accept is alive; knocking must not wait for him."""
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
            busy.bind(self.path)
            busy.listen(0)
            waiting.connect(self.path)
            self.assertIn("Address already in use", self.refused(self.address))
        os.unlink(self.path)

    def test_a_datagram_socket_is_not_removed(self) -> None:
        """Another kind of socket (a log's, say) is in use, too."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.bind(self.path)
            self.assertIn("Address already in use", self.refused(self.address))
        self.assertTrue(os.path.exists(self.path))

    def test_a_stale_sockets_path_is_never_without_a_socket(self) -> None:
        """What replaces it does so in one step, and takes clients already."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
        seen: list[bool] = []

        def rename(*names: str, **directories: Any) -> None:
            seen.append(stat.S_ISSOCK(os.lstat(self.path).st_mode))
            real(*names, **directories)
            self.loop.connect(self.path)

        real = os.rename
        with mock.patch("os.rename", rename):
            self.listener(self.address)
        self.assertEqual(seen, [True])
        self.taken(1)

    def test_a_link_is_not_removed_wherever_it_leads(self) -> None:
        """Not even to a socket that nobody holds any more."""
        target = self.path + ".dead"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(target)
        os.symlink(target, self.path)
        self.assertIn("Address already in use", self.refused(self.address))
        self.assertEqual(os.readlink(self.path), target)
        self.assertTrue(os.path.exists(target))

    def test_whoever_comes_first_to_a_path_keeps_it(self) -> None:
        """Also where he comes after it was looked at."""
        with socket.socket(socket.AF_UNIX) as other:

            def is_dead(parent: int, name: str) -> bool:
                other.bind(self.path)
                return False

            with mock.patch.object(unix_sockets, "_is_dead", is_dead):
                self.assertIn("Address already in use", self.refused(self.address))
        self.assertTrue(os.path.exists(self.path))

    def test_where_there_are_no_hard_links(self) -> None:
        """It is renamed into its place; other faults are faults."""
        with mock.patch("os.link", side_effect=PermissionError(errno.EPERM, "Operation not permitted")):
            self.listener(self.address)
        self.loop.connect(self.path)
        self.taken(1)
        os.unlink(self.path)
        with mock.patch("os.link", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            self.assertIn("No space left on device", self.refused(self.address))
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])

    def test_a_file_is_not_removed(self) -> None:
        """Nor is anything that is no socket at all."""
        Path(self.path).write_text("precious")
        self.assertIn("Address already in use", self.refused(self.address))
        self.assertEqual(Path(self.path).read_text(), "precious")

    def test_permissions(self) -> None:
        """`mode`, `user` and `group` are set before anybody can connect."""
        self.bind(self.address, mode=0o640, user=str(os.getuid()), group=str(os.getgid()))
        status = os.stat(self.path)
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o640)
        self.assertEqual((status.st_uid, status.st_gid), (os.getuid(), os.getgid()))

    def test_permissions_are_set_where_nobody_else_can_put_another_file(self) -> None:
        """Else whoever owns the directory could have root give him any file, through a link in the socket's place."""
        around = os.path.dirname(self.path)
        seen: list[object] = []

        def look(change: Callable[..., None], name: str, *values: int, dir_fd: int) -> None:
            (draft,) = os.listdir(around)
            status = os.lstat(os.path.join(around, draft))
            seen.append((stat.filemode(status.st_mode), os.path.samestat(status, os.fstat(dir_fd))))
            change(name, *values, dir_fd=dir_fd)

        with mock.patch("os.chmod", partial(look, os.chmod)), mock.patch("os.chown", partial(look, os.chown)):
            self.bind(self.address, mode=0o640, user=str(os.getuid()))
        self.assertEqual(seen, [("drwx------", True)] * 2)
        self.assertEqual(os.listdir(around), ["socket"])

    def test_a_directory_put_in_place_of_the_private_one(self) -> None:
        """Is refused; what it holds, and what a link leads to, is left alone."""
        around = Path(self.path).parent
        victim = around / "victim"
        victim.mkdir(mode=0o755)
        (victim / "socket").write_text("precious")

        def theirs(draft: str) -> None:
            os.mkdir(draft)
            os.chmod(draft, 0o777)

        for number, put in enumerate((lambda draft: os.symlink(victim, draft), theirs)):

            def swapped(prefix: str, dir: str, number: int = number, put: Callable[[str], None] = put) -> str:
                draft = mkdtemp(prefix=prefix, dir=dir)
                os.rename(draft, around / f"moved{number}")
                put(draft)
                return draft

            with mock.patch.object(unix_sockets, "mkdtemp", swapped):
                fault = self.refused(self.address, mode=0o666)
            self.assertRegex(fault, "was replaced in it by somebody else|Not a directory|symbolic links")
        self.assertEqual(stat.S_IMODE((victim / "socket").stat().st_mode), 0o644)
        self.assertEqual((victim / "socket").read_text(), "precious")

    def test_a_line_that_has_changed_changes_the_file(self) -> None:
        """As after a reload; what it does not say any more is as if it had never been said."""
        listener = self.listener(self.address, mode=0o600)
        listener.adopt(self.line(self.address, mode=0o640, group=str(os.getgid())), 10)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.patch(unix_sockets._Creation, "umask", 0o027)
        listener.adopt(self.line(self.address), 10)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o750)

    def test_nobody_comes_in_by_the_old_owner_and_the_new_mode(self) -> None:
        listener = self.listener(self.address, mode=0o600)
        seen = []

        def chown(path: str, uid: int, gid: int) -> None:
            seen.append((stat.S_IMODE(os.stat(path).st_mode), uid, gid))

        self.patch(os, "chown", chown)
        line = self.line(self.address, mode=0o660, group=str(os.getegid()))
        listener.may_adopt(line)
        self.assertEqual(seen, [])
        listener.adopt(line, 10)
        self.assertEqual(seen, [(0, os.geteuid(), os.getegid())])
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o660)

    def test_a_line_that_cannot_be_done_is_known_before(self) -> None:
        """As when root has made the socket, and the daemon is another by now; the rest of the line can."""
        listener = self.listener(self.address, mode=0o666)
        own = os.geteuid()
        self.patch(os, "geteuid", lambda: own + 1)
        listener.may_adopt(self.line(self.address, mode=0o666, maxconn=7))
        error: Exception = self.assertRaises(ListenError, listener.may_adopt, self.line(self.address, mode=0o600))
        self.assertIn(f"the socket is user {own}'s, and the daemon is user {own + 1} by now", str(error))

    def test_a_change_that_has_failed_is_tried_again(self) -> None:
        listener = self.listener(self.address, mode=0o666)
        line = self.line(self.address, mode=0o600, maxconn=7)
        with mock.patch("os.chmod", side_effect=PermissionError(1, "Operation not permitted")):
            self.assertRaises(ListenError, listener.adopt, line, 10)
        self.assertEqual((listener.bind.mode, listener.bind.maxconn), (0o666, 7))
        listener.adopt(line, 10)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_without_a_mode_the_umask_of_the_start_counts(self) -> None:
        """Whatever it is by now: twistd sets 077 in the background, and a reload makes sockets like the first ones."""
        self.patch(unix_sockets._Creation, "umask", 0o022)
        self.addCleanup(os.umask, os.umask(0o077))
        self.listener(self.address)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o755)

    def test_a_umask_of_the_command_line_counts_more(self) -> None:
        """For the first sockets and for those of a reload."""
        self.patch(unix_sockets._Creation, "umask", 0)
        self.addCleanup(os.umask, os.umask(0))
        unix_sockets.set_umask(0o027)
        self.listener(self.address)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o750)

    def test_a_link_in_its_place_does_not_lead_a_change_to_another_file(self) -> None:
        """Nor does the file of somebody else that was moved there."""
        listener = self.listener(self.address, mode=0o600)
        victim = Path(self.path + ".victim")
        victim.write_text("precious")
        victim.chmod(0o600)
        os.rename(self.path, self.path + ".moved")
        for put in (os.symlink, os.link):
            put(victim, self.path)
            with self.assertRaises(ListenError) as caught:
                listener.adopt(self.line(self.address, mode=0o666 + (put is os.link)), 10)
            self.assertEqual(
                str(caught.exception),
                f"cannot change unix@{self.path} as its line says: another file stands there by now",
            )
            os.unlink(self.path)
        self.assertEqual(stat.S_IMODE(victim.stat().st_mode), 0o600)

    def test_without_proc_it_says_what_is_missing(self) -> None:
        """There is no other way to such a file that somebody else could not bend."""
        with mock.patch("os.path.lexists", lambda path: False):
            fault = self.refused(self.address)
        self.assertEqual(fault, f"cannot listen on unix@{self.path}: this needs /proc, which is not mounted")

    def test_the_longest_path_that_clients_can_connect_to(self) -> None:
        """Its private place does not make it longer."""
        path = self.path + "x" * (107 - len(self.path))
        self.listener(ListenAddress("unix", path=path))
        self.loop.connect(path)
        self.taken(1)

    def test_an_unknown_user(self) -> None:
        """Said with the name; nothing is left in the file system."""
        fault = self.refused(self.address, user="nobody-of-this-name")
        self.assertIn(f"cannot listen on unix@{self.path}: ", fault)
        self.assertIn("nobody-of-this-name", fault)
        fault = self.refused(self.address, group="no-group-of-this-name")
        self.assertIn("no-group-of-this-name", fault)
        self.assertFalse(os.path.exists(self.path))

    def test_a_directory_that_is_missing(self) -> None:
        """The system's words."""
        fault = self.refused(ListenAddress("unix", path="/does/not/exist"))
        self.assertEqual(fault, "cannot listen on unix@/does/not/exist: No such file or directory")

    def test_a_path_that_is_too_long(self) -> None:
        """The kernel has room for 107 bytes."""
        self.assertIn("AF_UNIX path too long", self.refused(ListenAddress("unix", path="x" * 200)))
