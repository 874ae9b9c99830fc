"""Listeners that a test drives by hand, and what they hand their clients to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from math import inf

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.values import ListenAddress, Place
from reusedproxy.net.binding import ListenError, bind_socket
from reusedproxy.net.listener import Listener
from tests.wire import Far, Loop

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
