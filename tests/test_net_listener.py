"""Listeners: what is accepted, when not, and what is said about an address that cannot be had."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import stat
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Bind, SocketOptions
from reusedproxy.config.model.values import ListenAddress, Place
from reusedproxy.net import descriptors
from reusedproxy.net import listener as listener_module
from reusedproxy.net.listener import (
    ACCEPTS_AT_ONCE,
    BOUND,
    CLOSED,
    EXHAUSTED,
    EXHAUSTED_PAUSE,
    FAILED_PAUSE,
    LISTENING,
    PAUSED,
    Listener,
    ListenError,
    bind_socket,
)
from reusedproxy.net.named_sockets import Unnamed, descriptor_named
from reusedproxy.net.poller import READ
from tests.wire import Far, Loop, scratch

LOOPBACK = ListenAddress("tcp", "127.0.0.1")


class Taker:
    """Keeps what it is given."""

    full = False

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self.addresses: list[object] = []
        self.then: Callable[[], object] = lambda: None

    def connection_made(self, accepted: socket.socket, address: object, listener: Listener) -> None:
        self.taken.append(accepted)
        self.addresses.append(address)
        self.then()


class FailingSocket:
    """A listening socket that fails to accept the next times."""

    def __init__(self, real: socket.socket, *errors: int) -> None:
        self.real: Any = real
        self.errors = list(errors)
        self.accepts = 0

    def _accept(self) -> object:
        self.accepts += 1
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error))
        return self.real._accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


class ListenerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop(self)
        self.taker = Taker()
        self.warnings: list[str] = []

    def bind(self, address: ListenAddress, **words: object) -> socket.socket:
        bound = bind_socket(self.line(address, **words), 128)
        self.addCleanup(bound.close)
        return bound

    def line(self, address: ListenAddress, **words: object) -> Bind:
        return Bind(Place("test.cfg", 1), address, **words)  # type: ignore[arg-type]

    def refused(self, address: ListenAddress, **words: object) -> str:
        with self.assertRaises(ListenError) as caught:
            self.bind(address, **words)
        return str(caught.exception)

    def listener(
        self, address: ListenAddress = LOOPBACK, *, listening: bool = True, last: float = inf, **words: object
    ) -> Listener:
        bound = self.bind(address, **words)
        line = self.line(address, **words)
        listener = Listener(self.loop.poller, self.loop.deadlines, line, bound, self.warnings.append, last)
        self.addCleanup(listener.close)
        self.addCleanup(self.close_taken)
        if listening:
            listener.listen(self.taker)
        return listener

    def close_taken(self) -> None:
        for taken in self.taker.taken:
            taken.close()

    def client(self, listener: Listener) -> Far:
        far: Far = self.loop.connect(listener.socket.getsockname())
        return far

    def taken(self, count: int) -> None:
        """So many have been accepted, and not more."""
        self.loop.until(lambda: len(self.taker.taken) >= count)
        self.loop.pump()
        self.assertEqual(len(self.taker.taken), count)


class AcceptingTests(ListenerCase):
    def test_accepts(self) -> None:
        """A client's connection goes to the taker: non-blocking, without Nagle's delay, with the client's address."""
        listener = self.listener()
        client = self.client(listener)
        self.taken(1)
        (accepted,) = self.taker.taken
        self.assertFalse(accepted.getblocking())
        self.assertEqual((accepted.family, accepted.type), (client.socket.family, client.socket.type))
        self.assertTrue(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.assertEqual(self.taker.addresses, [client.socket.getsockname()])
        self.assertEqual((listener.state, listener.connections), (LISTENING, 1))
        self.assertEqual(listener.port, client.socket.getpeername()[1])

    def test_its_socket_has_the_options_of_its_line(self) -> None:
        """At a reload those of the new line; but another interface needs another socket."""
        said = SocketOptions(mss=900, user_timeout=2.5, fast_open=True)
        listener = self.listener(options=said)
        sock = listener.socket
        level = socket.IPPROTO_TCP
        self.assertEqual(sock.getsockopt(level, socket.TCP_USER_TIMEOUT), 2500)
        self.assertEqual(sock.getsockopt(level, socket.TCP_MAXSEG), 900)
        self.assertGreater(sock.getsockopt(level, socket.TCP_FASTOPEN), 0)
        listener.adopt(evolve(listener.bind, options=SocketOptions(user_timeout=1)), 0)
        self.assertEqual(sock.getsockopt(level, socket.TCP_USER_TIMEOUT), 1000)
        self.assertEqual(sock.getsockopt(level, socket.TCP_FASTOPEN), 0)
        listener.adopt(evolve(listener.bind, options=SocketOptions()), 0)
        self.assertEqual(sock.getsockopt(level, socket.TCP_USER_TIMEOUT), 0)
        other = evolve(listener.bind, options=SocketOptions(interface="lo"))
        self.assertIn("'interface'", str(self.assertRaises(ListenError, listener.may_adopt, other)))

    def test_an_option_that_cannot_be_set_is_named(self) -> None:
        said = SocketOptions(interface="no-such-one")
        self.assertIn("'interface': No such device", self.refused(LOOPBACK, options=said))

    def test_v6only_leaves_ipv4_to_others(self) -> None:
        bound = bind_socket(self.line(ListenAddress("tcp", v6=True)), 8, v6_only=True)
        self.addCleanup(bound.close)
        self.assertTrue(bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))

    def test_a_name_in_the_abstract_namespace_has_no_file_and_is_filled_up_with_zeros(self) -> None:
        """So HAProxy has it."""
        name = f"reusedproxy-test-{os.getpid()}"
        listener = self.listener(ListenAddress("abns", path=name))
        self.assertTrue(listener.stands)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect((b"\0" + name.encode()).ljust(108, b"\0"))
            self.taken(1)

    def test_before_it_listens_connections_wait(self) -> None:
        """Bound is bound: nothing is refused, nothing is accepted yet."""
        listener = self.listener(listening=False)
        self.client(listener)
        self.loop.pump()
        self.assertEqual((self.taker.taken, listener.state), ([], BOUND))
        listener.listen(self.taker)
        self.taken(1)

    def test_many_at_once(self) -> None:
        """More than one round of them."""
        listener = self.listener()
        for _ in range(ACCEPTS_AT_ONCE + 20):
            self.client(listener)
        self.taken(ACCEPTS_AT_ONCE + 20)

    def test_a_batch_takes_so_many(self) -> None:
        """However many wait, others have their turn between."""
        listener = self.listener()
        clients = []
        for _ in range(ACCEPTS_AT_ONCE + 3):
            clients.append(socket.create_connection(("127.0.0.1", listener.port)))
            self.addCleanup(clients[-1].close)
        self.loop.poller.doRead()
        self.assertEqual(len(self.taker.taken), ACCEPTS_AT_ONCE)
        self.taken(ACCEPTS_AT_ONCE + 3)

    def test_paused_and_resumed(self) -> None:
        """Connections queue up in the kernel meanwhile."""
        listener = self.listener()
        listener.pause()
        listener.pause()
        self.client(listener)
        self.loop.pump()
        self.assertEqual((self.taker.taken, listener.state), ([], PAUSED))
        listener.resume()
        listener.resume()
        self.taken(1)

    def test_paused_from_within_a_connection(self) -> None:
        """At `maxconn` not one more is taken, though others wait."""
        listener = self.listener()
        self.taker.then = listener.pause
        for _ in range(3):
            self.client(listener)
        self.taken(1)
        listener.resume()
        self.taken(2)

    def test_closed_from_within_a_connection(self) -> None:
        """The rest of the queue is refused."""
        listener = self.listener()
        self.taker.then = listener.close
        clients = [self.client(listener) for _ in range(3)]
        self.taken(1)
        self.loop.until(lambda: [client.end for client in clients].count("reset") == 2)
        self.assertEqual(self.loop.poller.watching(), 0)

    def test_close(self) -> None:
        """New clients are refused; closing again does no harm, and a closed one cannot be woken."""
        listener = self.listener()
        address = listener.socket.getsockname()
        listener.close()
        listener.close()
        listener.pause()
        listener.resume()
        self.assertEqual((listener.state, self.loop.poller.watching()), (CLOSED, 0))
        self.assertRaises(ConnectionRefusedError, self.loop.connect, address)

    def test_a_taker_that_raises(self) -> None:
        """It costs that connection; the listener goes on."""
        listener = self.listener()
        self.taker.then = lambda: 1 // 0
        self.client(listener)
        self.taken(1)
        self.taker.then = lambda: None
        self.client(listener)
        self.taken(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(listener.state, LISTENING)

    def test_tcp_keep_alive_is_inherited(self) -> None:
        """As it is asked for, and no more when it is not."""
        listener = self.listener()
        for number, on in enumerate((True, False)):
            listener.keep_alive(on)
            self.client(listener)
            self.loop.until(lambda number=number: len(self.taker.taken) > number)
            self.assertEqual(self.taker.taken[number].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), on)


class ExhaustionTests(ListenerCase):
    def failing(self, *errors: int) -> tuple[Listener, FailingSocket]:
        listener = self.listener()
        failing = FailingSocket(listener.socket, *errors)
        listener.socket = failing  # type: ignore[assignment]
        return listener, failing

    def test_out_of_descriptors(self) -> None:
        """It stops looking, so that the loop does not spin, says why, and goes on by itself."""
        listener, failing = self.failing(errno.EMFILE)
        self.client(listener)
        self.loop.until(lambda: listener.state == EXHAUSTED)
        self.loop.pump()
        self.assertEqual((failing.accepts, self.loop.poller.watching()), (1, 0))
        self.assertEqual(len(self.warnings), 1)
        self.assertIn("127.0.0.1:0: cannot accept: Too many open files", self.warnings[0])
        self.loop.advance(EXHAUSTED_PAUSE + 0.1)
        self.taken(1)
        self.assertEqual(listener.state, LISTENING)

    def test_really_out_of_descriptors(self) -> None:
        """The same with a kernel that has none left."""
        listener = self.listener()
        self.client(listener)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            self.loop.poller.doRead()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual((listener.state, self.taker.taken), (EXHAUSTED, []))
        self.loop.advance(EXHAUSTED_PAUSE + 0.1)
        self.taken(1)

    def test_the_last_descriptors_are_not_for_clients(self) -> None:
        """The one that got the first of them is served; the next ones wait until numbers below are free again."""
        gc.collect()
        lowest = os.dup(0)
        os.close(lowest)
        listener = self.listener(last=lowest + 4)  # three sockets of ours and the clients' come before
        clients = [self.client(listener) for _ in range(3)]
        self.loop.until(lambda: listener.state == EXHAUSTED)
        self.assertEqual(len(self.taker.taken), 1)
        for _ in range(60):
            self.loop.advance(0.25)
        self.assertEqual((listener.state, len(self.taker.taken)), (EXHAUSTED, 1))
        self.assertIn("the last few descriptors are not for clients", self.warnings[0])
        self.assertEqual(len(self.warnings), 2)
        for each in (clients[0].socket, clients[1].socket, self.taker.taken[0]):
            each.close()
        self.loop.advance(EXHAUSTED_PAUSE + 0.1)
        self.loop.until(lambda: len(self.taker.taken) > 1)

    def first_of_a_row(self) -> int:
        """The next descriptor, behind which all are free: what other tests have left open makes no holes any more."""
        gc.collect()
        highest = max(map(int, os.listdir("/proc/self/fd")))
        while (taken := os.dup(0)) < highest:
            self.addCleanup(os.close, taken)
        os.close(taken)
        return taken

    def test_it_goes_on_the_moment_a_descriptor_is_free(self) -> None:
        """No time has to pass: at the end of the batch in which another connection was closed,
        one more client has room."""
        ours, others = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(others.close)
        listener = self.listener(last=self.first_of_a_row() + 5)  # three sockets of ours and the clients' come before
        for _ in range(3):
            self.client(listener)
        self.loop.until(lambda: listener.state == EXHAUSTED)
        self.assertEqual(len(self.taker.taken), 2)

        def close_one(_: int) -> None:
            others.recv(1)
            self.taker.taken.pop(0).close()

        self.loop.poller.watch(others.fileno(), READ, close_one)
        ours.send(b"x")
        self.loop.until(lambda: len(self.taker.addresses) == 3)
        self.loop.poller.forget(others.fileno())

    def test_accepting_fails_for_good(self) -> None:
        """Somebody has shut down the socket: it says why and looks again once a second."""
        listener = self.listener()
        listener.socket.shutdown(socket.SHUT_RDWR)
        self.loop.pump()
        self.assertEqual((listener.state, self.loop.poller.watching()), (EXHAUSTED, 0))
        self.assertIn("cannot accept: Invalid argument; trying again every 1.0 s", self.warnings[0])
        self.loop.advance(FAILED_PAUSE + 0.1)
        self.assertEqual((listener.state, len(self.warnings)), (EXHAUSTED, 1))

    def test_clients_that_have_gone_without_end(self) -> None:
        """What is said of one client after another is hardly theirs: it rests as well."""
        listener, failing = self.failing(*[errno.ECONNABORTED] * (ACCEPTS_AT_ONCE + 1))
        self.client(listener)
        self.loop.until(lambda: listener.state == EXHAUSTED)
        self.loop.pump()
        self.assertEqual(failing.accepts, ACCEPTS_AT_ONCE)
        self.loop.advance(FAILED_PAUSE + 0.1)
        self.taken(1)

    def test_as_many_clients_as_descriptors_allow(self) -> None:
        """Two for each, some for the rest: whatever the limit, what is taken by default fits into it."""
        for limit, clients in ((128, 48), (100, 37), (1024, 462), (8, 3), (1 << 30, (2**20 - 100) // 2)):
            with mock.patch.object(descriptors, "limit", lambda limit=limit: limit):
                self.assertEqual(descriptors.clients(), clients)

    def test_long_out_of_descriptors_is_not_said_all_the_time(self) -> None:
        """It tries several times a second, and warns once in ten seconds."""
        listener, failing = self.failing(*[errno.EMFILE] * 100)
        self.client(listener)
        for _ in range(60):
            self.loop.advance(0.25)
        self.assertGreater(failing.accepts, 30)
        self.assertEqual(len(self.warnings), 2)
        self.assertEqual(listener.state, EXHAUSTED)

    def test_paused_and_resumed_while_exhausted(self) -> None:
        """The taker's word counts; no timer wakes a paused one."""
        listener, _ = self.failing(errno.ENFILE)
        self.client(listener)
        self.loop.until(lambda: listener.state == EXHAUSTED)
        listener.pause()
        self.loop.advance(10)
        self.assertEqual((listener.state, self.taker.taken), (PAUSED, []))
        listener.resume()
        self.taken(1)

    def test_closed_while_exhausted(self) -> None:
        """Nothing is left of it."""
        listener, _ = self.failing(errno.ENOMEM)
        self.client(listener)
        self.loop.until(lambda: listener.state == EXHAUSTED)
        listener.close()
        self.loop.advance(10)
        self.assertEqual((listener.state, self.loop.deadlines.watching()), (CLOSED, 0))

    def test_a_client_that_has_gone_already(self) -> None:
        """It is passed over, the next is accepted."""
        listener, _ = self.failing(errno.ECONNABORTED)
        self.client(listener)
        self.taken(1)
        self.assertEqual(self.warnings, [])


class AddressTests(ListenerCase):
    def test_a_port_in_use(self) -> None:
        """The message names the address and the reason."""
        taken = self.bind(LOOPBACK).getsockname()[1]
        expected = f"cannot listen on 127.0.0.1:{taken}: Address already in use"
        self.assertEqual(self.refused(ListenAddress("tcp", "127.0.0.1", taken)), expected)

    def test_an_address_that_is_not_ours(self) -> None:
        """192.0.2.1 belongs to nobody (RFC 5737)."""
        expected = "cannot listen on 192.0.2.1:8080: Cannot assign requested address"
        self.assertEqual(self.refused(ListenAddress("tcp", "192.0.2.1", 8080)), expected)

    def test_ipv6(self) -> None:
        """A wildcard takes clients of both kinds."""
        listener = self.listener(ListenAddress("tcp", "", 0, v6=True))
        self.loop.connect(("::1", listener.port))
        self.loop.connect(("127.0.0.1", listener.port))
        self.taken(2)

    def test_ipv6_beside_ipv4_on_the_same_port(self) -> None:
        """A wildcard that was told so leaves IPv4 to another socket."""
        v4 = self.bind(ListenAddress("tcp", "", 0))
        address = ListenAddress("tcp", "", v4.getsockname()[1], v6=True)
        self.addCleanup(bind_socket(self.line(address), 128, v6_only=True).close)
        self.assertEqual(str(address), f":::{v4.getsockname()[1]}")

    def test_an_inherited_descriptor(self) -> None:
        """fd@ takes a listening socket from whoever started us; closing ours leaves theirs alone."""
        theirs = self.bind(LOOPBACK)
        listener = self.listener(ListenAddress("fd", fd=theirs.fileno()))
        self.client(listener)
        self.taken(1)
        listener.close()
        self.assertEqual(theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1)

    def test_a_name_of_a_descriptor(self) -> None:
        """As sd_listen_fds_with_names(3) has it."""
        told = {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:two:two"}
        self.assertEqual(descriptor_named("web", told, 7), 3)
        for name, environment, pid, why in (
            ("two", told, 7, "2 sockets are called 'two': fd@4, fd@5 say which"),
            ("other", told, 7, "nobody has handed over a socket called 'other'"),
            ("web", told, 8, "nobody has handed over"),
            ("web", {**told, "LISTEN_FDS": "x"}, 7, "nobody has handed over"),
            ("two", {**told, "LISTEN_FDS": "1"}, 7, "nobody has handed over"),
            ("web", {}, 7, "nobody has handed over"),
        ):
            with self.assertRaises(Unnamed) as raised:
                descriptor_named(name, environment, pid)
            self.assertIn(why, str(raised.exception))
        self.assertIn("cannot listen on fd@nobody: nobody has", self.refused(ListenAddress("fd", path="nobody")))

    def test_descriptors_that_are_no_listening_sockets(self) -> None:
        """Closed, a file, a datagram socket."""
        descriptor = os.open(os.devnull, os.O_RDONLY)
        expected = f"cannot listen on fd@{descriptor}: Socket operation on non-socket"
        self.assertEqual(self.refused(ListenAddress("fd", fd=descriptor)), expected)
        os.close(descriptor)
        expected = f"cannot listen on fd@{descriptor}: Bad file descriptor"
        self.assertEqual(self.refused(ListenAddress("fd", fd=descriptor)), expected)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.assertIn("Operation not supported", self.refused(ListenAddress("fd", fd=datagrams.fileno())))

    def test_failures_leave_no_descriptor(self) -> None:
        """What was opened for a bind that failed is closed again."""
        taken = self.bind(LOOPBACK).getsockname()[1]
        gc.collect()  # what earlier tests left to it must not go just now
        before = sorted(os.listdir("/proc/self/fd"))
        self.refused(ListenAddress("tcp", "127.0.0.1", taken))
        self.refused(ListenAddress("unix", path="/does/not/exist"))
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.refused(ListenAddress("fd", fd=datagrams.fileno()))
        self.assertEqual(sorted(os.listdir("/proc/self/fd")), before)


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

            with mock.patch.object(listener_module, "_is_dead", is_dead):
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

            with mock.patch.object(listener_module, "mkdtemp", swapped):
                fault = self.refused(self.address, mode=0o666)
            self.assertRegex(fault, "was replaced in it by somebody else|Not a directory|symbolic links")
        self.assertEqual(stat.S_IMODE((victim / "socket").stat().st_mode), 0o644)
        self.assertEqual((victim / "socket").read_text(), "precious")

    def test_a_line_that_has_changed_changes_the_file(self) -> None:
        """As after a reload; what it does not say any more is as if it had never been said."""
        listener = self.listener(self.address, mode=0o600)
        listener.adopt(self.line(self.address, mode=0o640, group=str(os.getgid())), 10)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.patch(listener_module._Creation, "umask", 0o027)
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
        self.patch(listener_module._Creation, "umask", 0o022)
        self.addCleanup(os.umask, os.umask(0o077))
        self.listener(self.address)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o755)

    def test_a_umask_of_the_command_line_counts_more(self) -> None:
        """For the first sockets and for those of a reload."""
        self.patch(listener_module._Creation, "umask", 0)
        self.addCleanup(os.umask, os.umask(0))
        listener_module.set_umask(0o027)
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
