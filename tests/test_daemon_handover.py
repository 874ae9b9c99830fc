"""Listening sockets that one process hands to another: who gets them, and what becomes of both."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from twisted.internet.task import Clock

from reusedproxy.config.model.proxies import Bind, SocketOptions
from reusedproxy.config.model.values import ListenAddress, Place
from reusedproxy.daemon import handover
from reusedproxy.daemon.handover import Handover, HandoverError, key_of, take_over
from reusedproxy.daemon.pid_file import PidFile
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.spawned import command_line
from reusedproxy.daemon.supervision import RUNNING, Manager, StatusFile, Supervision
from reusedproxy.net.binding import ListenError, bind_socket, given_socket
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, Context, Refusal
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, FilesTestCase, ServiceTestCase

PORT = ListenAddress("tcp", LOOPBACK, 0)


class Poller:
    """Calls back when it is told to."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[int], None]] = {}
        self.short: list[Any] = []

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self.watched[fd] = callback

    def forget(self, fd: int) -> None:
        del self.watched[fd]

    def ready(self) -> None:
        for callback in [*self.watched.values()]:
            callback(1)


class HandoverTestCase(FilesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock, self.poller = Clock(), Poller()
        self.path = str(self.folder / "admin.sock")
        self.happened: list[Any] = []

    def listener(self, address: ListenAddress) -> Listener:
        poller: Any = self.poller
        bind = Bind(Place("a.cfg", 1), address)
        listener = Listener(poller, Deadlines(self.clock), bind, bind_socket(bind, 5), self.happened.append)
        self.addCleanup(listener.close)
        return listener

    def answered(self, answer: Callable[[socket.socket], None]) -> None:
        """Has somebody answer at the path."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(self.path)
        listening.listen()

        def serve() -> None:
            with listening.accept()[0] as accepted:
                accepted.recv(100)
                answer(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.thread = thread

    def refused(self, users: set[int] | None = None) -> str:
        with self.assertRaises(HandoverError) as raised:
            take_over([self.path], {os.geteuid()} if users is None else users)
        return str(raised.exception)


class TakingTests(HandoverTestCase):
    """The new process believes nobody."""

    def test_nobody_there(self) -> None:
        self.assertIn("No such file", self.refused())
        with self.assertRaises(HandoverError) as raised:
            take_over([], set())
        self.assertIn("no 'stats socket'", str(raised.exception))

    def test_another_user(self) -> None:
        self.patch(handover, "peer_of", lambda channel: (1, 12345))
        self.answered(lambda channel: None)
        self.assertIn("user 12345 listens", self.refused())

    def test_a_link(self) -> None:
        """Whoever has made it must not have root write to another program's socket."""
        real = str(self.folder / "real.sock")
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(real)
        listening.listen()
        listening.setblocking(False)
        os.symlink(real, self.path)
        self.assertIn("nobody hands over anything", self.refused())
        with self.assertRaises(BlockingIOError):
            listening.accept()

    def test_a_refusal_is_repeated(self) -> None:
        self.answered(lambda channel: channel.sendall(b"Permission denied\n\n"))
        self.assertIn("Permission denied", self.refused())

    def test_a_name_without_a_socket(self) -> None:
        self.answered(lambda channel: channel.sendall(b'\n{"socket": "tcp *:1", "file": null}\n'))
        self.assertIn("no socket", self.refused())

    def test_what_is_no_answer(self) -> None:
        for line in (
            b"[" * 100_000, b"[]", b"7", b"null", b'"end"', b'{"end": [1]}', b'{"end": "x"}', b'{"end": 1e999}',
            b'{"socket": "tcp *:1", "file": 7}', b'{"socket": "tcp *:1", "file": {"a": 1}}', b'{"a": 1}',
        ):  # fmt: skip
            self.answered(lambda channel, line=line: channel.sendall(line + b"\n"))  # type: ignore[misc]
            self.assertIn("does not hand over its sockets", self.refused(), line)
            self.thread.join()
            os.unlink(self.path)

    def test_one_that_never_ends(self) -> None:
        """With a byte now and then, or with bytes without an end of the line."""

        def slowly(channel: socket.socket) -> None:
            while not select.select([channel], [], [], 0.01)[0]:
                channel.sendall(b"\n")

        self.patch(handover, "WHOLE", 0.1)
        self.answered(slowly)
        self.assertIn("timed out", self.refused())

        def endlessly(channel: socket.socket) -> None:
            try:
                while True:
                    channel.sendall(b"[" * 1000)
            except OSError:
                return

        os.unlink(self.path)
        self.patch(handover, "WHOLE", 60.0)
        self.patch(handover, "LONGEST", 1_000_000)
        self.answered(endlessly)
        self.assertIn("does not hand over its sockets", self.refused())

    def test_what_does_not_listen(self) -> None:
        def answer(channel: socket.socket) -> None:
            with socket.socket() as other:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [other.fileno()]))]
                channel.sendmsg([b'{"socket": "tcp *:1", "file": null}\n'], rights)

        before = len(os.listdir("/proc/self/fd"))
        self.answered(answer)
        self.assertIn("does not listen", self.refused())
        self.thread.join()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)  # the one that this test listens on


class BothTests(HandoverTestCase):
    """Both sides in one process."""

    def setUp(self) -> None:
        super().setUp()
        self.port = self.listener(PORT)
        self.unix = self.listener(ListenAddress("unix", path=str(self.folder / "clients.sock")))
        self.states = "1\n" + "x" * 500_000
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(theirs.close)
        poller: Any = self.poller
        self.taken: Any = None

        def received() -> None:
            theirs.settimeout(5)
            self.taken = handover._received(theirs, self.path)

        thread = threading.Thread(target=received)
        thread.start()
        self.handover = Handover(
            self.ours,
            poller,
            self.clock,
            [self.port, self.unix],
            self.states,
            lambda keys, pid: self.happened.append((keys, pid)),
            self.happened.append,
        )
        while thread.is_alive():
            self.clock.advance(0.05)
            thread.join(0.01)

    def given(self, **words: Any) -> socket.socket:
        bound = given_socket(self.taken, attrs.evolve(self.unix.bind, **words), 5)
        assert bound is not None
        return bound

    def test_a_line_that_lets_in_others_is_refused(self) -> None:
        """The file is not the new process's to change."""
        for words in ({"mode": 0o600}, {"user": "12345"}, {"group": "12345"}):
            with self.assertRaises(ListenError) as raised:
                self.given(**words)
            self.assertIn(f"another '{next(iter(words))}'", str(raised.exception))
            self.taken._taken.clear()
            # It was closed; take another copy of it.
            self.taken._given[key_of(self.unix.bind.address)] = handover._Given(self.unix.socket.dup(), self.unix.file)
        self.assertTrue(os.path.exists(self.unix.bind.address.path))
        self.taken.give_up()

    def test_all_of_it_arrives(self) -> None:
        self.assertEqual((self.taken.pid, self.taken.states), (os.getpid(), self.states))
        again, _ = self.taken.take(self.port.bind)
        self.assertEqual(again.getsockname(), self.port.socket.getsockname())
        self.assertIsNone(self.taken.take(self.port.bind))
        self.assertIsNone(self.taken.take(Bind(Place("a.cfg", 1), ListenAddress("tcp", LOOPBACK, 1))))
        again.close()
        self.assertEqual(self.handover.state, "waiting")
        self.taken.give_up()

    def test_a_socket_that_listens_elsewhere_than_it_is_said_to_is_not_taken(self) -> None:
        """The process that gives it may not be ours any more."""
        name = ListenAddress("abns", path=f"reusedproxy-{os.getpid()}")
        given = {"tcp": self.port, "unix": self.unix, "abns": self.listener(name)}
        at = ListenAddress("tcp", LOOPBACK, self.port.socket.getsockname()[1])
        for address, kind, well in (
            (at, "tcp", True),
            (attrs.evolve(at, host="127.0.0.2"), "tcp", False),
            (attrs.evolve(at, host=""), "tcp", False),
            (attrs.evolve(at, port=at.port + 1), "tcp", False),
            (attrs.evolve(at, host="::1", v6=True), "tcp", False),
            (at, "unix", False),
            (self.unix.bind.address, "unix", True),
            (self.unix.bind.address, "tcp", False),
            (name, "abns", True),
            (name, "unix", False),
            (attrs.evolve(name, path="x"), "abns", False),
        ):
            file = self.unix.file if address.kind == "unix" else None
            self.taken._given[key_of(address)] = handover._Given(given[kind].socket, file)
            self.taken._taken.clear()
            found = self.taken.take(Bind(Place("a.cfg", 1), address))
            self.assertEqual(found is not None, well, (address, kind))
        bind = Bind(Place("a.cfg", 1), at, options=SocketOptions(interface="lo9"))
        self.assertIsNone(self.taken.take(bind))
        self.ours.close()

    def test_one_that_serves_is_told_when_it_is_alone(self) -> None:
        self.addCleanup(self.taken.take(self.port.bind)[0].close)
        poller: Any = self.poller
        self.taken.serve(poller, self.clock, self.happened.append)
        self.poller.ready()
        self.assertEqual(self.happened, [({key_of(PORT)}, os.getpid())])
        counts = {"frontends": {"f": ["x" * 1000] * 1000}}
        self.handover.released(counts)
        while len(self.happened) < 2:
            self.poller.ready()
            self.clock.advance(0.05)
        self.assertEqual(self.happened[1:], [counts])
        self.assertEqual(self.poller.watched, {})

    def test_one_that_ends_changes_nothing(self) -> None:
        self.taken.give_up()
        self.poller.ready()
        self.assertEqual(self.happened, ["it ended before it served"])
        self.assertTrue(self.unix.stands)

    def test_nobody_waits_for_one_that_is_silent(self) -> None:
        poller: Any = self.poller
        self.taken.serve(poller, self.clock, self.happened.append)
        self.clock.advance(handover.PATIENCE)
        self.assertEqual(self.happened, [None])
        self.handover.stop()

    def test_the_file_of_a_socket_is_whose_it_is(self) -> None:
        """Until the old process has left, the new one leaves it where it is; then the other way round."""
        address = self.unix.bind.address
        poller: Any = self.poller
        new = Listener(poller, Deadlines(self.clock), self.unix.bind, self.given(), self.happened.append)
        new.close()
        self.assertTrue(os.path.exists(address.path))
        self.unix.leave()
        self.assertTrue(os.path.exists(address.path))
        self.taken.give_up()

    def test_the_new_one_removes_what_it_owns(self) -> None:
        address = self.unix.bind.address
        poller: Any = self.poller
        new = Listener(poller, Deadlines(self.clock), self.unix.bind, self.given(), self.happened.append)
        self.unix.leave()
        new.own()
        new.close()
        self.assertFalse(os.path.exists(address.path))
        self.taken.give_up()

    def test_a_path_at_which_another_socket_stands_is_not_taken(self) -> None:
        address = self.unix.bind.address
        os.unlink(address.path)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(address.path)
            self.assertIsNone(self.taken.take(self.unix.bind))
        self.taken.give_up()

    def test_a_name_that_leads_elsewhere_now_is_not_taken(self) -> None:
        self.assertIsNone(self.taken.take(self.port.bind, ("127.0.0.2", 0)))
        self.taken.give_up()


class TableTests(ServiceTestCase):
    def test_each_table_that_begins_empty_has_a_warning(self) -> None:
        lines = f"frontend f\n bind unix@{self.folder}/f\n stick-table type ip size 10 store gpc0\n default_backend b\n"
        path = self.text("proxy.cfg", f"{HEAD}{lines}backend b\n server s 192.0.2.1:80\n")
        for takeover, count in ((None, 0), (handover.Takeover(7, "", mock.Mock(), {}), 1)):
            service = ProxyService(self.reactor, [path])
            service._takeover = takeover
            service.assemble(bind=False)
            assert service.proxy is not None
            warnings = [each for each in service.proxy.notices if "the table begins empty" in each.text]
            self.assertEqual(len(warnings), count)
            self.assertTrue(all(each.level == "warning" and each.place.line for each in warnings))


class AroundTests(FilesTestCase):
    """What else belongs to the process that leaves."""

    def test_who_may_ask(self) -> None:
        service: Any = None
        for level, exposes, well in ((ADMIN, True, True), (ADMIN, False, False), (OPERATOR, True, False)):
            context = Context(service, level, 10.0, exposes=exposes)
            if well:
                self.assertEqual(run(context, ["hand", "over"]), "")
            else:
                with self.assertRaises(Refusal):
                    run(context, ["hand", "over"])
            self.assertEqual(context.takes_over, well)

    def test_a_pid_file_of_a_daemon_that_runs_is_in_nobodys_way_who_replaces_it(self) -> None:
        path = self.text("pid", str(os.getppid()))
        proc = self.folder / "proc"
        (proc / str(os.getppid())).mkdir(parents=True)
        (proc / str(os.getppid()) / "cmdline").write_bytes(b"twist\0reusedproxy\0")
        with self.assertRaises(OSError):
            PidFile(path, proc).make_way()
        PidFile(path, proc, replaces=True).make_way()
        self.assertTrue(os.path.exists(path))

    def test_a_status_file_changes_hands(self) -> None:
        for user in (os.geteuid(), 0, 1000):
            with self.subTest(user=user):
                self.patch(os, "geteuid", lambda user=user: user)
                self.change_hands(str(self.folder / f"status-{user}"))

    def change_hands(self, path: str) -> None:
        messages: list[str] = []

        class Told(Manager):
            def tell(self, *words: str) -> None:
                messages.extend(words)

        old = Supervision(Told({}, Clock()), StatusFile(path, lambda: 7))
        old.ready("serves")
        new = Supervision(Manager({}, Clock()), StatusFile(path, lambda: 8, replaces=True))
        self.assertEqual(json.loads(Path(path).read_text())["pid"], 7)
        if os.geteuid():
            with self.assertRaises(OSError):
                StatusFile(path)
        old.hand_over(8)
        old.stopping("")
        self.assertEqual(messages[-1], "MAINPID=8")
        new.takes_over()
        new.ready("serves")
        said = json.loads(Path(path).read_text())
        self.assertEqual((said["pid"], said["state"]), (8, RUNNING))
        if os.geteuid():
            with self.assertRaises(OSError):
                StatusFile(path)
        new.stopped()

    def test_the_command_line_says_it_once(self) -> None:
        words = ["python", "-m", "twisted", "reusedproxy", "--config", "a.cfg"]
        self.assertEqual(command_line(words), [*words, "--replace"])
        self.assertEqual(command_line(command_line(words)), [*words, "--replace"])
