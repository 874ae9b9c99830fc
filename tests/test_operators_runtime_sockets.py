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
from reusedproxy.net.listener import LISTENING, PAUSED, ListenError
from reusedproxy.net.poller import Poller
from reusedproxy.operators.runtime import sockets
from reusedproxy.operators.runtime.sockets import RuntimeAPI
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

    def mode(self, name: str) -> int:
        return stat.S_IMODE(os.stat(self.directory / name).st_mode)


class BindTests(SocketsTestCase):
    def test_a_socket_has_the_mode_of_its_line(self) -> None:
        self.use(self.settings("a mode 660 level admin", "b"))
        self.assertEqual(self.mode("a"), 0o660)
        self.api.start()
        self.assertEqual([each.listener.state for each in self.api.sockets], [LISTENING, LISTENING])
        self.assertEqual(self.said[0], f"notice: Runtime API listens on unix@{self.directory}/a (level admin)")

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
