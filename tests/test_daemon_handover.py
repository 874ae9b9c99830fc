"""Listening sockets that one process hands to another: who gets them, and what becomes of both."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Bind, SocketOptions
from reusedproxy.config.model.tables import StickTable, Stored
from reusedproxy.config.model.values import ListenAddress, Place
from reusedproxy.daemon.replacing import handover, takeover
from reusedproxy.daemon.replacing.departure import Departure
from reusedproxy.daemon.replacing.handover import Handover, key_of
from reusedproxy.daemon.replacing.sharing import TAKES_NOTHING, Giving
from reusedproxy.daemon.replacing.spawned import command_line
from reusedproxy.daemon.replacing.takeover import HandoverError, take_over
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.starting.pid_file import PidFile
from reusedproxy.daemon.supervision.manager import Manager
from reusedproxy.daemon.supervision.reports import Supervision
from reusedproxy.daemon.supervision.status_file import RUNNING, StatusFile
from reusedproxy.net.binding import ListenError, bind_socket, given_socket
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import BLOCKED, HELD, LISTENING, SUSPENDED, Listener
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, Context, Refusal
from reusedproxy.tables.table import Table
from tests.integration.peers import LOOPBACK
from tests.ports import free_port
from tests.services import HEAD, FilesTestCase, ServiceTestCase

PORT = ListenAddress("tcp", LOOPBACK, 0)


class Poller:
    """Calls back when it is told to."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[int], None]] = {}
        self.short: list[Any] = []

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        self.watched[fd] = callback

    def change(self, fd: int, events: int) -> None:
        assert fd in self.watched

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

    def listener(self, address: ListenAddress, shared: bool = False) -> Listener:
        poller: Any = self.poller
        bind = Bind(Place("a.cfg", 1), address)
        bound = bind_socket(bind, 5, shared=shared)
        listener = Listener(poller, Deadlines(self.clock), bind, bound, self.happened.append)
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
        self.patch(takeover, "peer_of", lambda channel: (1, 12345))
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

    def test_states_that_cannot_be_read(self) -> None:
        """They would be used when it is too late to say so."""
        for states, why in (("x", "its first line"), ("1\n1 b 1 s", "has no end"), ("1\n1 b 1 s\n", "4 columns")):
            line = json.dumps({"end": 7, "states": states}).encode()
            self.answered(lambda channel, line=line: channel.sendall(line + b"\n"))  # type: ignore[misc]
            self.assertRegex(self.refused(), f"says states of servers that cannot be read: .*{why}")
            self.thread.join()
            os.unlink(self.path)

    def test_one_that_has_given_it_up_before_it_read_all(self) -> None:
        """It was stopped for a while, and would serve beside that one."""
        self.answered(lambda channel: channel.sendall(b'\n{"end": 7}\n{"given up": "it was silent for 60 s"}\n'))
        self.assertIn("has given this one up: it was silent for 60 s", self.refused())

    def test_one_that_never_ends(self) -> None:
        """With a byte now and then, or with bytes without an end of the line."""

        def slowly(channel: socket.socket) -> None:
            while not select.select([channel], [], [], 0.01)[0]:
                channel.sendall(b"\n")

        self.patch(takeover, "WHOLE", 0.1)
        self.answered(slowly)
        self.assertIn("timed out", self.refused())

        def endlessly(channel: socket.socket) -> None:
            try:
                while True:
                    channel.sendall(b"[" * 1000)
            except OSError:
                return

        os.unlink(self.path)
        self.patch(takeover, "WHOLE", 60.0)
        self.patch(takeover, "LONGEST", 1_000_000)
        self.answered(endlessly)
        self.assertIn("does not hand over its sockets", self.refused())

    def test_what_does_not_listen(self) -> None:
        """A port that is closed for a while does not either, but it is bound, and connected to nobody."""
        unbound, unix = socket.socket(), socket.socket(socket.AF_UNIX)
        listening = socket.create_server((LOOPBACK, 0))
        connected = socket.create_connection(listening.getsockname())
        for each in (unbound, unix, listening, connected):
            self.addCleanup(each.close)
        closed = b', "suspended": true'
        for said, wrong in ((b"", unbound), (closed, unbound), (closed, unix), (closed, connected)):

            def answer(channel: socket.socket, said: bytes = said, wrong: socket.socket = wrong) -> None:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [wrong.fileno()]))]
                channel.sendmsg([b'{"socket": "tcp *:1", "file": null%s}\n' % said], rights)

            before = len(os.listdir("/proc/self/fd"))
            self.answered(answer)
            self.assertIn("does not listen", self.refused())
            self.thread.join()
            self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)  # the one that this test listens on
            os.unlink(self.path)


class BothTestCase(HandoverTestCase):
    """Both sides in one process."""

    def setUp(self) -> None:
        super().setUp()
        self.port = self.listener(PORT)
        self.unix = self.listener(ListenAddress("unix", path=str(self.folder / "clients.sock")))
        self.states = "1\n# " + "x" * 500_000 + "\n"
        self.tables: dict[str, Table] = {}
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(theirs.close)
        poller: Any = self.poller
        self.taken: Any = None

        def received() -> None:
            theirs.settimeout(5)
            self.taken = takeover._received(theirs, self.path)

        thread = threading.Thread(target=received)
        thread.start()
        self.handover = Handover(
            self.ours,
            poller,
            self.clock,
            self.listening(),
            lambda keys, pid: self.happened.append((keys, pid)),
            self.happened.append,
            self.tables,
        )
        self.handover.give(self.states)
        while thread.is_alive():
            self.poller.ready()
            thread.join(0.01)

    def listening(self) -> list[Listener]:
        return [self.port, self.unix]

    def prepare(self, tables: dict[str, Table] | None = None, needs: float = 0.0) -> None:
        poller: Any = self.poller
        self.taken.prepare(
            *(poller, self.clock, tables or {}, lambda *said: self.happened.append(said)),
            *(needs, lambda why: self.happened.append(f"given up: {why}")),
        )


class BothTests(BothTestCase):
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
            self.taken._given[key_of(self.unix.bind.address)] = [
                takeover._Given(self.unix.socket.dup(), self.unix.file)
            ]
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
            self.taken._given[key_of(address)] = [takeover._Given(given[kind].socket, file)]
            self.taken._taken.clear()
            found = self.taken.take(Bind(Place("a.cfg", 1), address))
            self.assertEqual(found is not None, well, (address, kind))
        bind = Bind(Place("a.cfg", 1), at, options=SocketOptions(interface="lo9"))
        self.assertIsNone(self.taken.take(bind))
        self.ours.close()

    def test_one_that_serves_is_told_when_it_is_alone(self) -> None:
        self.addCleanup(self.taken.take(self.port.bind)[0].close)
        self.prepare()
        self.taken.serve(self.happened.append)
        self.poller.ready()
        self.assertEqual(self.happened, [({key_of(PORT)}, os.getpid())])
        counts = {"frontends": {"f": ["x" * 1000] * 1000}}
        self.handover.released(counts)
        while len(self.happened) < 2 or self.poller.watched:
            self.poller.ready()
        self.assertEqual(self.happened[1:], [counts])
        self.assertEqual(self.poller.watched, {})

    def ask(self) -> list[Any]:
        """Have what was ordered be told, and return what has come of it, and that it is over."""
        came: list[Any] = []
        self.prepare()
        self.taken._ordered = came.append
        self.taken.ask_orders(lambda: came.append("told"))
        return came

    def test_what_is_ordered_is_told_as_often_as_it_is_asked_and_before_it_may_accept(self) -> None:
        orders = [{"server b/s": 1}, {"server b/s": 2}]
        self.handover._since = lambda: orders.pop(0)
        came = self.ask()
        self.assertEqual(came, [])
        self.poller.ready()
        self.poller.ready()
        self.assertEqual(came, [{"server b/s": 1}, "told"])
        self.taken.when_ready(lambda: came.append("go"))
        self.poller.ready()
        self.poller.ready()
        self.assertEqual(came[2:], [{"server b/s": 2}, "go"])
        self.assertEqual(self.clock.getDelayedCalls(), [self.handover._silent])
        self.taken.give_up()

    def test_nobody_waits_for_what_an_old_one_does_not_tell(self) -> None:
        """It is of an earlier version, or silent."""
        self.taken.answers = False
        self.assertEqual(self.ask(), ["told"])
        self.taken.state, self.taken.answers = "preparing", True
        came: list[Any] = []
        self.taken.ask_orders(lambda: came.append("told"))
        self.clock.advance(takeover.PATIENCE - 0.1)
        self.assertEqual(came, [])
        self.clock.advance(0.1)
        self.assertEqual(came, ["told"])
        self.assertIn("since this one has begun has not come: it was silent", self.happened[-1][1])
        self.taken.when_ready(lambda: came.append("go"))
        self.assertEqual(came, ["told", "go"])
        self.taken.give_up()

    def test_an_old_one_that_has_been_silent_for_too_long_is_heard_all_the_same(self) -> None:
        """What was ordered there, and what it has counted."""
        orders = [{"server b/s": 1}, {"server b/s": 2}]
        self.handover._since = lambda: orders.pop(0)
        came = self.ask()
        self.clock.advance(takeover.PATIENCE)
        self.assertEqual(came, ["told"])
        self.addCleanup(self.taken.take(self.port.bind)[0].close)
        counts = {"frontends": {}, "ordered": {"server b/s": 3}}
        self.handover._taken = lambda keys, pid: self.handover.released(counts)
        self.taken.serve(came.append)
        while len(came) < 3:
            self.poller.ready()
        self.assertEqual((came, self.taken.state), (["told", {"server b/s": 1}, counts], "over"))

    def test_one_that_ends_changes_nothing(self) -> None:
        self.taken.give_up()
        self.poller.ready()
        self.assertEqual(self.happened, ["it ended before it served"])
        self.assertTrue(self.unix.stands)

    def test_one_that_takes_too_long_is_given_up_and_told_so(self) -> None:
        """Else it would take the old one for dead, and serve beside it."""
        self.clock.advance(handover.PATIENCE - 1)
        self.prepare()
        self.poller.ready()  # it says that it needs no more
        self.clock.advance(handover.PATIENCE - 1)
        self.assertEqual((self.happened, self.handover.left), ([], 1.0))
        self.clock.advance(1)
        self.assertEqual(self.happened, ["it was silent for 60 s"])
        self.poller.ready()
        self.assertEqual(self.happened[1:], ["given up: it was silent for 60 s"])
        self.assertTrue(self.taken.is_alone)
        self.assertEqual((self.handover.state, self.handover.left), ("failed", 0.0))
        self.taken.give_up()

    def test_one_that_waits_for_its_floors_is_waited_for(self) -> None:
        self.prepare(needs=300.0)
        self.poller.ready()
        self.clock.advance(handover.PATIENCE + 299)
        self.assertEqual(self.happened, [])
        self.taken.give_up()
        self.poller.ready()

    def test_nor_for_ever(self) -> None:
        for needs in (1e300, float("nan"), -5.0):
            self.handover._needs = 0.0
            self.handover._received({"needs": needs}, b"")
            self.assertLessEqual(self.handover.left, handover.PATIENCE + handover.MOST_PATIENCE)
            self.assertEqual(self.handover.state, "waiting")
        self.taken.give_up()
        self.poller.ready()

    def test_nobody_waits_for_one_that_is_silent(self) -> None:
        self.prepare()
        self.taken.serve(self.happened.append)
        self.clock.advance(takeover.PATIENCE)
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


@contextmanager
def listening_at(closed: Listener) -> Iterator[None]:
    """Another program, which has got the port of a listener that is closed for a while."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(closed.socket.getsockname())
        other.listen()
        yield


class SuspendedTests(BothTestCase):
    """An operator has disabled a frontend of the old process."""

    def listening(self) -> list[Listener]:
        at = ListenAddress("tcp", LOOPBACK, free_port())
        self.closed = self.listener(at)
        self.closed.suspend()
        return [self.port, self.unix, self.closed]

    def refuses(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(self.closed.socket.getsockname()) == errno.ECONNREFUSED

    def test_its_port_is_taken_and_is_closed_until_the_new_process_serves(self) -> None:
        poller: Any = self.poller
        bound = given_socket(self.taken, self.closed.bind, 5)
        assert bound is not None
        listener = Listener(poller, Deadlines(self.clock), self.closed.bind, bound, self.happened.append)
        self.addCleanup(listener.close)
        self.assertTrue(self.refuses())
        listener.listen(mock.Mock())
        self.assertFalse(self.refuses())
        self.taken.give_up()

    def test_a_port_that_another_program_has_got_is_not_taken(self) -> None:
        """As the new process of HAProxy could not bind it."""
        with listening_at(self.closed):
            with self.assertRaisesRegex(ListenError, "Address already in use"):
                given_socket(self.taken, self.closed.bind, 5)
            with self.assertRaisesRegex(ListenError, "Address already in use"):
                self.closed.may_adopt(self.closed.bind)
            self.closed.may_adopt(self.closed.bind, opens=False)
        self.closed.may_adopt(self.closed.bind)
        self.assertTrue(self.refuses())
        self.taken.give_up()

    def test_a_port_that_another_program_gets_is_tried_again(self) -> None:
        with listening_at(self.closed):
            for _ in range(2):
                with self.assertRaises(OSError):
                    self.closed.restore()
            self.assertEqual((self.closed.state, self.closed.shut), (BLOCKED, True))
            self.closed.suspend()
            self.assertEqual(self.closed.state, SUSPENDED)
        self.closed.restore()
        self.assertEqual((self.closed.state, self.closed.shut), (LISTENING, False))
        self.taken.give_up()


class SuspendedMeanwhileTests(BothTestCase):
    """An operator disables a frontend of the old process when the new one has its socket."""

    def listening(self) -> list[Listener]:
        self.closed = self.listener(ListenAddress("tcp", LOOPBACK, free_port()))
        return [self.closed]

    def test_its_port_is_opened_whether_the_new_process_serves_before_or_after(self) -> None:
        poller: Any = self.poller
        bound = given_socket(self.taken, self.closed.bind, 5)
        assert bound is not None
        listener = Listener(poller, Deadlines(self.clock), self.closed.bind, bound, self.happened.append)
        self.addCleanup(listener.close)
        acts: list[Callable[[], None]] = [lambda: listener.listen(mock.Mock()), listener.own]
        for act in acts:
            self.closed.restore()
            self.closed.suspend()
            act()
            with socket.create_connection(self.closed.socket.getsockname()[:2], 5):
                pass
        self.taken.give_up()


class OneAddressTests(BothTestCase):
    """Two sections listen at one address, each on a socket with a queue of its own."""

    def listening(self) -> list[Listener]:
        one = self.listener(PORT, shared=True)
        self.at = ListenAddress("tcp", LOOPBACK, one.port)
        self.shared = [self.listener(self.at, shared=True) for _ in "ab"]
        return [self.port, self.unix, *self.shared]

    def test_each_socket_of_the_address_is_taken(self) -> None:
        """Who waits in the queue of one that is not would be refused when the old process ends."""
        bind = Bind(Place("a.cfg", 1), self.at)
        taken = [self.taken.take(bind) for _ in "abc"]
        inodes = [os.fstat(each[0].fileno()).st_ino for each in taken if each is not None]
        self.assertEqual(inodes, [os.fstat(each.socket.fileno()).st_ino for each in self.shared])
        for each in taken[:2]:
            each[0].close()
        self.taken.give_up()

    def test_one_that_is_not_wanted_is_closed(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        self.taken.take(Bind(Place("a.cfg", 1), self.at))[0].close()
        self.taken.give_up()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 5)  # four sockets, and the channel


class SharedTableTests(HandoverTestCase):
    """Stick tables go to the new process, and both know what either counts until the old one ends."""

    def table(self, *stored: Stored) -> Table:
        said = StickTable("t", Place("a.cfg", 1), "ip", 10_000, stored=stored or (Stored("gpc0"), Stored("conn_cur")))
        return Table(said, self.clock.seconds)

    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(1000)
        self.old, self.new = self.table(), self.table()
        for number in range(3000):
            self.old.obtain(f"k{number}")
        self.port = self.listener(PORT)
        self.port.listen(mock.Mock())
        self.begin({"t": self.old})

    def begin(self, tables: dict[str, Table]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        poller: Any = self.poller
        self.handover = Handover(
            ours,
            poller,
            self.clock,
            [self.port],
            lambda keys, pid: self.happened.append("taken"),
            self.happened.append,
            tables,
        )
        theirs.settimeout(5)
        self.handover.give("")
        self.taken = takeover._received(theirs, self.path)
        self.addCleanup(self.taken.give_up)
        self.addCleanup(self.handover.stop)

    def prepare(self, *tables: Table) -> None:
        poller: Any = self.poller
        named = {table.name: table for table in tables or (self.new,)}
        self.taken.prepare(
            *(poller, self.clock, named, lambda level, text: self.happened.append(text)),
            *(0.0, lambda why: self.happened.append(f"given up: {why}")),
        )

    def go_on(self, seconds: float = 0.1) -> None:
        for _ in range(int(seconds / 0.005)):
            self.poller.ready()
            self.clock.advance(0.005)

    def value(self, table: Table, key: str, name: str = "gpc0") -> int:
        return table.value(table.obtain(key), table.slots[name])

    def serve(self) -> None:
        self.prepare()
        self.taken.when_ready(lambda: self.happened.append(self.port.state))
        self.go_on(0.5)
        self.assertEqual(self.happened, [HELD])
        self.taken.serve(self.happened.append)
        self.go_on()
        self.port.leave()
        self.handover.released({"frontends": {}})
        self.go_on()
        self.assertEqual(self.happened[1:], ["taken", {"frontends": {}}])

    def test_the_new_one_has_all_before_it_accepts(self) -> None:
        """Clients wait for the moment of the change in the kernel's queue."""
        self.prepare()
        self.go_on(0.5)
        self.old.count(self.old.obtain("k7"), self.old.general(0), 5)
        self.assertEqual(self.port.state, LISTENING)
        self.taken.when_ready(
            lambda: self.happened.append((self.port.state, self.value(self.new, "k7"), len(self.new)))
        )
        self.go_on()
        self.assertEqual(self.happened, [(HELD, 5, 3000)])

    def test_both_know_what_either_counts(self) -> None:
        self.serve()
        self.old.count(self.old.obtain("k1"), self.old.general(0), 2)
        self.new.count(self.new.obtain("k1"), self.new.general(0), 3)
        self.go_on()
        self.assertEqual([self.value(each, "k1") for each in (self.old, self.new)], [5, 5])

    def test_connections_of_the_old_one_count_until_they_end_or_it_dies(self) -> None:
        rows = [self.old.track("k1"), self.old.track("k1")]
        self.serve()
        self.new.track("k1")
        self.go_on()
        self.assertEqual([self.value(each, "k1", "conn_cur") for each in (self.old, self.new)], [3, 3])
        self.old.leave(rows[0])
        self.go_on()
        self.assertEqual([self.value(each, "k1", "conn_cur") for each in (self.old, self.new)], [2, 2])
        self.handover._channel._socket.shutdown(socket.SHUT_RDWR)
        self.go_on()
        self.assertEqual(self.value(self.new, "k1", "conn_cur"), 1)
        self.assertEqual(self.new.journals, [])

    def test_the_last_that_it_counts_goes_over_when_it_ends(self) -> None:
        self.serve()
        self.old.count(self.old.obtain("k1"), self.old.general(0), 2)
        self.handover.stop()
        self.go_on()
        self.assertEqual(self.value(self.new, "k1"), 2)
        self.assertEqual(
            (self.old.journals, self.new.journals, self.poller.watched.keys() - self.listening), ([], [], set())
        )

    @property
    def listening(self) -> set[int]:
        return {self.port.socket.fileno()}

    def test_one_that_dies_before_it_serves_leaves_all_as_it_was(self) -> None:
        for wait in (0.02, 0.5):
            self.prepare()
            if wait > 0.1:
                self.taken.when_ready(lambda: None)
            self.go_on(wait)
            self.taken.give_up()
            self.go_on()
            self.assertEqual(self.happened, ["it ended before it served"])
            self.assertEqual((self.port.state, self.old.journals), (LISTENING, []))
            self.happened.clear()
            self.begin({"t": self.old})

    def test_listeners_are_not_held_for_ever(self) -> None:
        self.prepare()
        self.taken.when_ready(lambda: None)
        self.go_on(0.5)
        self.assertEqual(self.port.state, HELD)
        self.clock.advance(handover.HELD)
        self.assertEqual(self.port.state, LISTENING)

    def test_an_old_one_that_dies_or_is_silent_is_not_waited_for(self) -> None:
        for dies in (True, False):
            self.prepare()
            self.taken.when_ready(lambda: self.happened.append("go"))
            if dies:
                self.handover.stop()
                self.go_on()
            else:
                self.clock.advance(takeover.PATIENCE)
            self.assertEqual(self.happened.pop(), "go")
            self.assertIn("since this one has begun has not come: it ", self.happened.pop())
            self.assertIn("have not come from process", self.happened.pop())
            self.taken.serve(self.happened.append)
            self.handover.stop()
            self.go_on()
            self.assertEqual(self.happened.pop(0), None)
            self.assertEqual((self.happened, self.new.journals), ([], []))
            self.begin({"t": self.old})

    def test_a_process_that_takes_nothing_is_given_up(self) -> None:
        """What it is to be told would be kept without a bound."""
        self.serve()
        self.old.track("k1")
        self.go_on()
        for number in range(20_000):  # and nobody reads
            self.new.count(self.new.obtain(f"k{number % 3000}"), self.new.general(0))
            if not number % 100:
                self.clock.advance(0.01)
                self.assertLessEqual(len(self.new.journals), 1)
        self.clock.pump([1.0] * 11)
        self.assertEqual((self.new.journals, self.value(self.new, "k1", "conn_cur")), ([], 0))

    def test_nor_is_one_waited_for_that_takes_no_tables(self) -> None:
        self.prepare()
        big = self.table()
        for number in range(10_000):
            big.obtain(f"k{number}")
        self.handover._giving = Giving(self.handover._channel, self.clock, [big])
        for _ in range(50):
            self.handover._giving.go_on()
        self.clock.pump([1.0] * 21)
        self.assertEqual(self.happened, [TAKES_NOTHING])
        self.assertEqual((self.handover.state, big.journals), ("failed", []))

    def test_what_has_no_place_is_said(self) -> None:
        self.prepare(self.table(Stored("gpt0"), Stored("conn_cur")))
        self.go_on()
        self.assertEqual(self.happened, ["table 't' does not get from the process before: gpc0"])
        self.handover.stop()
        self.go_on()
        self.happened.clear()
        said = StickTable("t", Place("a.cfg", 1), "string", 10)
        self.begin({"t": Table(said, self.clock.seconds)})
        self.prepare()
        self.assertEqual(self.happened, ["table 't' begins empty: in the process before its keys are of type string"])
        self.taken.when_ready(lambda: self.happened.append("go"))
        self.go_on()
        self.assertEqual(self.happened[1:], ["go"])

    def test_nonsense_of_either_side_ends_it(self) -> None:
        self.prepare()
        self.taken.when_ready(lambda: self.happened.append("go"))
        self.handover._channel.send({"rows": "t", "keys": [7]})
        self.go_on()
        self.assertIn("not understood", self.happened.pop(0))
        self.assertEqual(self.happened[1:], ["go", "it ended before it served"])


class TableTests(ServiceTestCase):
    def test_each_table_that_a_process_cannot_hand_over_has_a_warning(self) -> None:
        lines = f"frontend f\n bind unix@{self.folder}/f\n stick-table type ip size 10 store gpc0\n default_backend b\n"
        path = self.text("proxy.cfg", f"{HEAD}{lines}backend b\n server s 192.0.2.1:80\n")
        for taken, count in (
            (None, 0),
            (takeover.Takeover(7, "", mock.Mock(), {}), 1),
            (takeover.Takeover(7, "", mock.Mock(), {}, []), 0),
        ):
            service = ProxyService(self.reactor, [path])
            service._takeover = taken
            service.assemble(bind=False)
            assert service.proxy is not None
            warnings = [each for each in service.proxy.notices if "the table begins empty" in each.text]
            self.assertEqual(len(warnings), count)
            self.assertTrue(all(each.level == "warning" and each.place.line for each in warnings))


class StopTests(ServiceTestCase):
    """A process that ends while another is about to take its place; and what that makes of it."""

    def begin(self) -> None:
        lines = f"frontend f\n bind unix@{self.folder}/f\n default_backend b\nbackend b\n server s 192.0.2.1:80\n"
        sockets = f"global\n stats socket {self.folder}/admin level admin expose-fd listeners\n"
        self.service = ProxyService(self.reactor, [self.text("proxy.cfg", f"{sockets}{HEAD}{lines}")])
        self.said: list[str] = []
        self.patch(self.service, "announce", lambda level, text, section="": self.said.append(text))
        self.service.assemble(bind=True)
        self.service.startService()
        self.addCleanup(self.stop)

    @property
    def files(self) -> list[str]:
        return sorted(each.name for each in self.folder.iterdir() if each.is_socket())

    def hand_over(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.service._hand_over(ours)
        return theirs

    def test_it_leaves_the_files_of_sockets_to_that_one(self) -> None:
        self.begin()
        self.hand_over()
        self.service.stopService()
        self.assertEqual(self.files, ["admin", "f"])

    def test_and_removes_them_where_there_is_none(self) -> None:
        self.begin()
        self.hand_over().close()
        self.reactor.advance(handover.PATIENCE)
        self.service.stopService()
        self.assertEqual(self.files, [])

    def test_a_reload_waits_and_says_why_once(self) -> None:
        self.begin()
        self.hand_over()
        self.said.clear()
        self.service.reload()
        self.service.reload()
        (line,) = self.said
        self.assertRegex(
            line, "^reload: waits, since a new process is about to take the place of this one; for 60 s, if"
        )
        self.reactor.advance(handover.PATIENCE)
        self.reactor.pump([0.01] * 100)
        self.assertIn("it was silent for 60 s; this one goes on", " ".join(self.said))
        self.assertIn("configuration reloaded: 1 of 1 pools kept as they are", self.said)

    def test_a_second_one_is_told_why_it_gets_nothing(self) -> None:
        self.begin()
        self.hand_over()
        self.assertEqual(self.hand_over().recv(1000), b"a new process is about to get them\n")

    def test_without_a_descriptor_to_give_it_is_refused_and_told(self) -> None:
        """And nothing waits for it: a reload is done."""
        self.begin()
        with mock.patch("os.dup", side_effect=OSError(24, "Too many open files")):
            theirs = self.hand_over()
        self.assertIn(b'"given up": "no descriptor is left', theirs.recv(1000))
        self.assertIn(
            "does not take the place of this one: no descriptor is left to give it sockets (Too many", self.said[-1]
        )
        self.assertFalse(self.service._successor.is_coming)
        self.service.reload()
        self.reactor.pump([0.01] * 100)
        self.assertIn("configuration reloaded: 1 of 1 pools kept as they are", self.said)

    def test_the_process_is_named_when_it_has_said_its_number(self) -> None:
        """What connects is not yet the daemon, if that goes into the background."""
        self.begin()
        self.hand_over()
        (line,) = [each for each in self.said if "is about to take the place" in each]
        self.assertTrue(line.startswith("a new process is about to"), line)
        self.service._successor._handover._received({"needs": 10.0, "pid": 4711}, b"")  # type: ignore[union-attr]
        self.assertEqual(self.hand_over().recv(1000), b"process 4711 is about to get them\n")
        self.reactor.advance(handover.PATIENCE + 10.0)
        self.assertIn(
            "process 4711 does not take the place of this one: it was silent for 70 s; this one goes on", self.said
        )

    def test_an_older_version_that_does_not_ask_what_is_ordered_meanwhile_has_a_warning(self) -> None:
        self.begin()
        for asks in ({}, {"orders": True}):
            self.hand_over()
            handed: Any = self.service._successor._handover
            handed._received({"needs": 1.0, "pid": 7, **asks}, b"")
            (backend,) = self.service.proxy.backends  # type: ignore[union-attr]
            backend.set_weight(backend.servers[0], 5 + len(asks))
            self.said.clear()
            self.service._successor._handover.pid = 7  # type: ignore[union-attr]
            self.service._successor.released({})
            warned = "what was ordered since process 7 has come is not known to it, an older version: server b/s"
            self.assertEqual(self.said, [] if asks else [warned])
            handed.drain()

    def test_what_has_gone_from_its_path_is_made_again(self) -> None:
        self.begin()
        self.service._takeover = mock.Mock(pid=7)
        os.unlink(self.folder / "f")
        self.service._released(None)
        self.reactor.pump([0.01] * 100)
        self.assertEqual(self.files, ["admin", "f"])
        (line,) = [each for each in self.said if "process 7 has given" in each]
        self.assertIn("is not at its path any more", line)

    def test_one_that_was_given_up_ends(self) -> None:
        self.begin()
        self.service._takeover = mock.Mock(pid=7)
        stopped: list[object] = []
        self.patch(self.reactor, "stop", lambda: stopped.append("stopped"))
        self.service.end_with = stopped.append
        self.service._given_up("it was silent")
        self.assertEqual(
            (stopped, self.said[-1]), ([1, "stopped"], "process 7 goes on, and this one ends: it was silent")
        )


class BetweenTests(SynchronousTestCase):
    def test_a_process_between_two_others_stays_as_long_as_it_has_to_tell(self) -> None:
        clock, over, between = Clock(), list[str](), [True]
        departure = Departure(clock, list, lambda: between[0], lambda: over.append("over"))
        departure.start(None)
        clock.advance(1.0)
        self.assertEqual(over, [])
        between[0] = False
        clock.advance(1.0)
        self.assertEqual(over, ["over"])
        departure.stop()


class AroundTests(FilesTestCase):
    """What else belongs to the process that leaves."""

    def test_who_may_ask(self) -> None:
        log = mock.Mock(caveat="")
        service = mock.Mock()
        service.proxy.order_log = log
        for level, exposes, is_last, why_not, well in (
            (ADMIN, True, True, "", True),
            (ADMIN, False, True, "", False),
            (OPERATOR, True, True, "", False),
            (ADMIN, True, False, "", False),
            (ADMIN, True, True, "a reload is under way", False),
        ):
            context = Context(service, level, 10.0, exposes=exposes, is_last=is_last)
            service.why_not_handed_over = why_not
            if well:
                self.assertEqual(run(context, ["hand", "over"]), "")
            else:
                with self.assertRaises(Refusal):
                    run(context, ["hand", "over"])
            self.assertEqual(context.takes_over, well)
        log.tell.assert_called_once()

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
