"""Listeners: what is accepted, and when not."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
from typing import Any
from unittest import mock

from reusedproxy.net import descriptors
from reusedproxy.net.listener import (
    ACCEPTS_AT_ONCE,
    BOUND,
    CLOSED,
    EXHAUSTED,
    EXHAUSTED_PAUSE,
    FAILED_PAUSE,
    HELD,
    LISTENING,
    PAUSED,
    Listener,
)
from reusedproxy.net.poller import READ
from tests.listeners import ListenerCase


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


class HeldTests(ListenerCase):
    """For the moment in which another process begins to accept."""

    def test_who_comes_meanwhile_waits(self) -> None:
        listener = self.listener()
        listener.hold()
        self.client(listener)
        self.taken(0)
        self.assertEqual(listener.state, HELD)
        listener.go_on()
        self.taken(1)

    def test_one_that_is_paused_meanwhile_stays_so(self) -> None:
        listener = self.listener()
        listener.hold()
        listener.pause()
        listener.go_on()
        self.client(listener)
        self.taken(0)
        self.assertEqual(listener.state, PAUSED)
        listener.hold()
        self.assertEqual(listener.state, PAUSED)


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
        listener = self.listener(last=self.first_of_a_row() + 4)  # three sockets of ours and the clients' come before
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
