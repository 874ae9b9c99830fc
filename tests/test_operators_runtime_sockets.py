"""The sockets of the runtime API: bound, refused, kept through reloads, full and closed."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Global
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.net.binding import ListenError
from reusedproxy.net.listener import LISTENING, PAUSED
from reusedproxy.net.poller import READ, Poller
from reusedproxy.operators.runtime import sockets
from reusedproxy.operators.runtime.proxy import LEVELS
from reusedproxy.operators.runtime.session import OPEN
from reusedproxy.operators.runtime.sockets import IDLE, LATE, RuntimeAPI
from tests.integration.peers import temporary_directory


class SocketsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.directory = temporary_directory(self)
        self.said: list[str] = []
        service: Any = None
        poller = Poller(self.clock)
        self.addCleanup(poller.stop)
        self.api = RuntimeAPI(service, self.clock, poller, lambda level, text: self.said.append(f"{level}: {text}"))
        self.addCleanup(self.api.stop)

    def settings(self, *lines: str, more: str = "") -> Global:
        text = "global\n" + "".join(f" stats socket {self.directory}/{line}\n" for line in lines) + more
        return read_configuration([Source("t.cfg", text)], {}).global_

    def use(self, settings: Global) -> None:
        prepared = self.api.prepare(settings, bind=True)
        self.assertEqual(prepared.faults, [])
        self.api.adopt(prepared)

    def faults(self, settings: Global, *, bind: bool = True) -> list[str]:
        return [str(fault) for fault in self.api.prepare(settings, bind=bind).faults]

    def connect(self, name: str) -> socket.socket:
        """A client, who may have to wait."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect(f"{self.directory}/{name}")
        return client

    def take(self) -> None:
        """As when the poller finds the sockets ready."""
        for each in self.api.sockets:
            if each.listener.state == LISTENING:
                each.listener.on_ready(READ)

    def levels(self) -> list[str]:
        """Of the sessions that take commands."""
        return sorted(LEVELS[each.context.level] for each in self.api.sessions if each.state == OPEN)

    def mode(self, name: str) -> int:
        return stat.S_IMODE(os.stat(self.directory / name).st_mode)


class BindTests(SocketsTestCase):
    def test_a_socket_has_the_mode_of_its_line(self) -> None:
        self.use(self.settings("a mode 660 level admin", "b"))
        self.assertEqual(self.mode("a"), 0o660)
        self.api.start()
        self.assertEqual([each.listener.state for each in self.api.sockets], [LISTENING, LISTENING])
        self.assertEqual(self.said[0], f"notice: Runtime API listens on unix@{self.directory}/a (level admin)")

    def test_a_session_knows_who_gives_its_orders(self) -> None:
        self.use(self.settings("a"))
        self.api.start()
        self.connect("a")
        self.take()
        (session,) = self.api.sessions
        who = f"at unix@{self.directory}/a by uid {os.geteuid()}, pid {os.getpid()}"
        self.assertEqual(str(session.context.orderer), who)

    def test_its_file_goes_with_it(self) -> None:
        self.use(self.settings("a"))
        self.api.stop()
        self.assertFalse((self.directory / "a").exists())

    def test_what_cannot_be_listened_on_is_told_with_its_line(self) -> None:
        """And nothing of the others is left."""
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(f"{self.directory}/taken")
            other.listen()
            (fault,) = self.faults(self.settings("a", "taken"))
        self.assertEqual(
            fault, f"t.cfg:3: stats socket: cannot listen on unix@{self.directory}/taken: Address already in use"
        )
        self.assertFalse((self.directory / "a").exists())
        (fault,) = self.faults(self.settings("none/a"))
        self.assertIn(f": No such file or directory: its directory {self.directory}/none is not there: make it", fault)
        for bind in (True, False):
            (fault,) = self.faults(self.settings("a user nobody-at-all"), bind=bind)
            self.assertIn("there is no user 'nobody-at-all'", fault)
        (fault,) = self.faults(self.settings("a", "a"))
        self.assertIn("stands already before", fault)
        self.patch(os, "access", lambda path, mode, **words: False)
        self.patch(sockets, "bind_socket", mock.Mock(side_effect=ListenError("cannot listen: Permission denied")))
        (fault,) = self.faults(self.settings("a"))
        self.assertIn("Permission denied: the user that starts the daemon (number ", fault)

    def test_a_check_finds_paths_where_no_socket_can_be(self) -> None:
        """The init script stops the old daemon when a check has found nothing wrong."""
        (self.directory / "file").write_text("")
        (self.directory / "directory").mkdir()
        (self.directory / "link").symlink_to(self.directory / "elsewhere")
        for path, why in (
            ("none/a", "No such file or directory: its directory"),
            ("file/a", "Not a directory"),
            ("file", "Address already in use: what stands there is no socket"),
            ("directory", "Address already in use: what stands there is no socket"),
            ("link", "Address already in use: what stands there is no socket"),
        ):
            for bind in (False, True):
                (fault,) = self.faults(self.settings(path), bind=bind)
                self.assertIn(f": cannot listen on unix@{self.directory}/{path}: {why}", fault)
        with socket.socket(socket.AF_UNIX) as running:
            running.bind(f"{self.directory}/a")
            running.listen()
            self.assertEqual(self.faults(self.settings("a"), bind=False), [])

    def test_a_check_by_somebody_who_may_not_look_there_finds_nothing(self) -> None:
        with mock.patch("os.lstat", side_effect=PermissionError(13, "Permission denied")):
            self.assertEqual(self.faults(self.settings("a"), bind=False), [])

    def test_a_check_opens_nothing(self) -> None:
        self.assertEqual(self.faults(self.settings("a"), bind=False), [])
        self.assertFalse((self.directory / "a").exists())


class ReloadTests(SocketsTestCase):
    def test_a_socket_that_stays_goes_on(self) -> None:
        """With what its line says by now; others come and go."""
        self.use(self.settings("a mode 600", "b"))
        self.api.start()
        kept = self.api.sockets[0].listener
        self.use(self.settings("a mode 660 level admin", "c"))
        self.assertIs(self.api.sockets[0].listener, kept)
        self.assertEqual(self.api.sockets[0].settings.level, "admin")
        self.assertEqual(self.mode("a"), 0o660)
        self.assertEqual(sorted(path.name for path in Path(self.directory).iterdir()), ["a", "c"])
        self.assertEqual([each.listener.state for each in self.api.sockets], [LISTENING, LISTENING])

    def test_a_reload_that_is_refused_leaves_all_as_it_was(self) -> None:
        self.use(self.settings("a"))
        self.api.start()
        prepared = self.api.prepare(self.settings("b"), bind=True)
        self.assertTrue((self.directory / "b").exists())
        prepared.give_up()
        self.assertEqual([path.name for path in Path(self.directory).iterdir()], ["a"])
        self.assertEqual(self.api.sockets[0].listener.state, LISTENING)

    def test_a_socket_whose_file_is_gone_is_made_again(self) -> None:
        self.use(self.settings("a"))
        self.api.start()
        os.unlink(self.directory / "a")
        self.use(self.settings("a"))
        self.assertTrue((self.directory / "a").exists())
        self.assertEqual(len(self.api.sockets), 1)


class NobodyGainsTests(SocketsTestCase):
    """By a reload."""

    def begin(self, *lines: str, more: str = "") -> None:
        self.use(self.settings(*lines, more=more))
        self.api.start()

    def test_a_socket_whose_mode_or_owner_cannot_be_set_refuses_the_reload(self) -> None:
        """As when root has made it, and the daemon is another by now: all who could connect would get the new level."""
        self.begin("a mode 666 level user")
        own, text = os.geteuid(), f"t.cfg:2: stats socket: cannot change unix@{self.directory}/a as its line says: "
        self.patch(os, "geteuid", lambda: own + 1)
        (fault,) = self.faults(self.settings("a mode 600 level admin"))
        self.assertEqual(
            fault,
            f"{text}the socket is user {own}'s, and the daemon is user {own + 1} by now: a restart makes it anew",
        )
        self.assertEqual((self.mode("a"), self.api.sockets[0].settings.level), (0o666, "user"))
        self.assertEqual(self.faults(self.settings("a mode 666 level operator")), [])
        self.patch(os, "geteuid", lambda: own or 1)
        self.patch(os, "fstat", lambda fd, look=os.fstat: _owned(look(fd), own or 1))
        self.patch(os, "getgroups", lambda: [])
        for words, why in (
            ("user 4321", "to another 'user'"),
            ("group 4321", "to a 'group' that the daemon is not in"),
        ):
            (fault,) = self.faults(self.settings(f"a mode 600 {words}"))
            self.assertEqual(fault, f"{text}only root can give it {why}")

    def test_one_that_fails_nevertheless_keeps_the_lower_level(self) -> None:
        self.begin("a mode 666 level user")
        with mock.patch("os.chown", side_effect=PermissionError(1, "Operation not permitted")):
            self.use(self.settings("a mode 600 level admin"))
        self.assertEqual(self.api.sockets[0].settings.level, "user")
        self.assertIn("Operation not permitted; its level is user until a further reload", self.said[-1])
        self.use(self.settings("a mode 600 level admin"))
        self.assertEqual((self.mode("a"), self.api.sockets[0].settings.level), (0o600, "admin"))

    def test_who_waits_gets_the_lower_level(self) -> None:
        for before, after in (("user", "admin"), ("admin", "user")):
            self.begin(f"a level {before}")
            self.connect("a")
            self.use(self.settings(f"a level {after}"))
            self.assertEqual(self.levels(), ["user"], before)
            self.connect("a")
            self.take()
            self.assertEqual(self.levels(), sorted(["user", after]), before)
            for session in [*self.api.sessions]:
                session.stop()

    def test_who_waits_at_a_socket_that_lets_in_fewer_is_turned_away(self) -> None:
        """And whoever waits for a place, where there is none."""
        self.begin("a mode 666", more=" stats maxconn 1\n")
        for line in ("a mode 600", "a mode 600 level admin"):
            client = self.connect("a")
            if "admin" in line:
                self.take()
                client = self.connect("a")
            self.use(self.settings(line, more=" stats maxconn 1\n"))
            self.assertEqual(client.recv(1), b"", line)
            self.assertEqual(self.api.sockets[0].listener.connections, len(self.api.sessions))

    def test_who_had_passed_the_kernel_when_a_line_let_in_fewer_is_turned_away_too(self) -> None:
        """And for a moment only: the kernel asks all others by itself."""
        self.begin("a mode 666")
        self.use(self.settings("a mode 600"))
        with mock.patch.object(sockets, "may_connect", side_effect=[False, True]) as asked:
            for there in (0, 1):
                client = self.connect("a")
                self.take()
                self.assertEqual((len(self.levels()), self.api.sockets[0].listener.connections), (there, there))
            self.clock.advance(LATE)
            client = self.connect("a")
            self.take()
            self.assertEqual((len(self.levels()), asked.call_count), (1, 2))  # the other was idle for too long
            self.assertRaises(BlockingIOError, client.recv, 1)

    def test_a_session_ends_with_what_its_line_allowed(self) -> None:
        for before, after, left in (
            ("a level admin", "a level operator", []),
            ("a level admin", "b level admin", []),
            ("a level admin mode 660", "a level admin mode 600", []),
            ("a level admin mode 600", f"a level admin mode 600 group {os.getegid()}", []),
            ("a level admin mode 600", "a level admin mode 660", ["admin"]),
            ("a level user", "a level admin", ["user"]),
        ):
            self.begin(before)
            self.connect("a")
            self.take()
            self.use(self.settings(after))
            self.assertEqual(self.levels(), left, (before, after))
            for session in [*self.api.sessions]:
                session.stop()

    def test_a_session_is_given_no_sockets_that_its_line_does_not_expose_any_more(self) -> None:
        """Nor those of a line that has not exposed them when it began, nor when its client connected."""
        self.api._hand_over = lambda channel: channel.close()
        without, exposing = "a level admin", "a level admin expose-fd listeners"
        for lines in ((exposing, without), (exposing, without, exposing), (without, exposing)):
            self.begin(lines[0])
            self.connect("a")
            self.take()
            for line in lines[1:]:
                self.connect("a")
                self.use(self.settings(line))
            may = {each.context.exposes for each in self.api.sessions}
            self.assertEqual((may, len(self.api.sessions)), ({False}, len(lines)), lines)
            for session in [*self.api.sessions]:
                session.stop()
        self.connect("a")
        self.take()
        self.assertEqual([each.context.exposes for each in self.api.sessions], [True])

    def test_one_that_has_given_up_its_rights_stays(self) -> None:
        self.begin("a level admin")
        self.connect("a")
        self.take()
        next(iter(self.api.sessions)).context.level = 0
        self.use(self.settings("a level user"))
        self.assertEqual(self.levels(), ["user"])

    def test_a_session_at_a_file_that_is_gone_ends_if_the_new_one_has_a_lower_level(self) -> None:
        self.begin("a level admin")
        self.connect("a")
        self.take()
        os.unlink(self.directory / "a")
        self.use(self.settings("a level user"))
        self.assertEqual(self.levels(), [])


def _owned(status: os.stat_result, uid: int) -> os.stat_result:
    return os.stat_result((*status[:4], uid, *status[5:10]))


class DisplacedTests(SocketsTestCase):
    """Where there are as many sessions as `stats maxconn` says."""

    def setUp(self) -> None:
        super().setUp()
        self.use(self.settings("low level user", "high level admin", more=" stats maxconn 2\n stats timeout 1h\n"))
        self.api.start()

    def states(self) -> list[str]:
        return [each.listener.state for each in self.api.sockets]

    def test_a_lower_level_gives_way_at_once(self) -> None:
        """A higher one never does: whoever holds all sessions does not shut the operator out."""
        for name in ("low", "low", "high", "high"):
            self.connect(name)
            self.take()
        self.assertEqual(self.levels(), ["admin", "admin"])
        self.assertEqual(self.states(), [PAUSED, PAUSED])
        (text,) = (line for line in self.said if "ends one" in line)
        self.assertEqual(
            text,
            "warning: Runtime API has as many sessions as 'stats maxconn 2' allows, and ends one for another: level"
            f" user, idle for 0 s, at unix@{self.directory}/low",
        )
        self.clock.advance(IDLE + 0.1)
        self.assertEqual(self.states(), [PAUSED, LISTENING])
        with mock.patch.object(self.api, "_fill") as looked:
            self.clock.pump([0.1] * 100)
        self.assertEqual(looked.call_count, 0)

    def test_the_bound_of_a_line_concerns_its_own_sessions(self) -> None:
        self.use(self.settings("low level user", "high level admin maxconn 1", more=" stats maxconn 9\n"))
        self.connect("low")
        first = self.connect("high")
        self.take()
        self.assertEqual(self.states(), [LISTENING, PAUSED])
        self.connect("high")
        self.clock.advance(IDLE + 0.1)
        self.assertEqual(self.states(), [LISTENING, LISTENING])
        self.take()
        self.assertEqual((first.recv(1), self.levels()), (b"", ["admin", "user"]))
        self.assertIn(
            "has as many sessions as 'maxconn 1' of a line allows, and ends one for another: level admin", self.said[-1]
        )

    def test_of_one_level_the_longest_idle_gives_way(self) -> None:
        """Who waits is taken as soon as one has been idle for long enough, and looking at it costs next to nothing."""
        first = self.connect("low")
        self.take()
        self.clock.advance(1)
        second = self.connect("low")
        self.take()
        third = self.connect("low")
        self.clock.advance(IDLE - 1.5)
        self.assertEqual(self.states(), [PAUSED, LISTENING])
        with mock.patch.object(self.api, "_fill", side_effect=self.api._fill) as looked:
            self.clock.advance(0.6)
        self.assertEqual((looked.call_count, self.states()), (1, [LISTENING, LISTENING]))
        self.take()
        self.assertEqual(first.recv(1), b"")
        for each in (second, third):
            self.assertRaises(BlockingIOError, each.recv, 1)
        self.assertEqual(self.levels(), ["user", "user"])


class BoundTests(SocketsTestCase):
    def test_as_many_may_be_connected_as_is_said(self) -> None:
        """`stats maxconn`, of all sockets together; the others wait in the kernel."""
        self.use(self.settings("a", "b", more=" stats maxconn 2\n"))
        self.api.start()
        first, second = self.api.sockets
        ends = []
        for _ in range(2):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            ends.append(theirs)
            self.addCleanup(theirs.close)
            first.listener.connections += 1
            self.api.accept(first, ours)
        self.assertEqual((first.listener.state, second.listener.state), (PAUSED, PAUSED))
        session = next(iter(self.api.sessions))
        session.stop()
        self.assertEqual((first.listener.state, second.listener.state), (LISTENING, LISTENING))
        self.assertEqual(first.listener.connections, 1)


class LineTests(SynchronousTestCase):
    def test_each_wrong_line_says_why(self) -> None:
        for line, why in (
            ("stats socket /a level root", "'stats socket': 'level' is one of 'user', 'operator', 'admin', not 'root'"),
            ("stats socket /a mode 999", "'stats socket': 'mode' needs the permissions of a socket in octal"),
            ("stats socket /a mode", "'stats socket': 'mode' needs a value after it"),
            ("stats socket /a ssl", "'ssl' is a HAProxy word of a socket that reusedproxy does not do yet"),
            ("stats timeout", "'stats timeout' needs a time"),
            ("stats timeout soon", "'stats timeout'"),
            ("stats timeout 0", "'stats timeout' has to be longer than 0"),
            ("stats maxconn 0", "'stats maxconn'"),
            ("stats maxconn x", "'stats maxconn'"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                read_configuration([Source("t.cfg", f"global\n {line}\n")], {})
            (fault,) = raised.exception.faults
            self.assertIn(why, fault.text)

    def test_a_port_that_others_reach_is_warned_of(self) -> None:
        for line, count in (
            ("stats socket :9999 level admin", 1),
            ("stats socket 192.0.2.1:9999", 1),
            ("stats socket :9999 level user", 0),
            ("stats socket 127.0.0.1:9999 level admin", 0),
            ("stats socket ipv6@[::1]:9999 level admin", 0),
        ):
            notices = read_configuration([Source("t.cfg", f"global\n {line}\n")], {}).notices
            self.assertEqual(len(notices), count, line)
