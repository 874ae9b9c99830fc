"""What is left to the garbage collector. A reload makes permanent whatever is alive at its end (`gc.freeze`), so that a
reference cycle which outlives its use then is never freed.

    with garbage() as left:
        ...
    self.assertEqual(left, {})               # nothing of ours is in a cycle that nobody refers to any more
"""

from __future__ import annotations

import gc
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType, GeneratorType, MethodType
from typing import Any

from twisted.names import dns

from tests.handshakes import TLSClient, client_tls
from tests.integration.peers import LOOPBACK
from tests.nameserver import NameServer, Zone
from tests.services import Reactor, ServiceTestCase
from tests.wire import Far, HandReactor, Loop, Server

HEAD = """global
 stats socket {folder}/admin.sock level admin
 external-check
 insecure-fork-wanted
resolvers r
 nameserver n {names}
 timeout resolve 1s
 timeout retry {retry}s
defaults
 timeout connect 5s
 timeout client 30s
 timeout server 20s
 timeout queue 10s
 timeout http-request 10s
 timeout tarpit 10s
"""


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Counts, at the end, the objects of this program that were made meanwhile, are not used any more and were not
    freed at once, by their kinds."""
    left = Counter[str]()
    gc.collect()
    gc.freeze()  # what was there before is no concern of the test, and need not be traversed
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left.update(filter(None, map(_name_of_ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


class Census:
    """Counts the objects of this program that live. They are not remembered one by one: the address of one that is gone
    may be given to another, and one that is compiled takes no weak reference."""

    def __init__(self) -> None:
        self._before = _living()

    def more(self) -> Counter[str]:
        """Counts those that live beyond as many as there were at first, by their kinds."""
        return _living() - self._before

    def fewer(self) -> Counter[str]:
        """Counts those that have gone since, by their kinds."""
        return self._before - _living()


def _living() -> Counter[str]:
    return Counter(filter(None, map(_name_of_ours, gc.get_objects())))


def _name_of_ours(each: object) -> str | None:
    """The name of an object of this program; None: it is somebody else's, or a class, which attrs makes in place of
    another one as a module is loaded."""
    if isinstance(each, type):
        return None
    if isinstance(each, GeneratorType):
        return each.__qualname__ if "/reusedproxy/" in each.gi_code.co_filename else None
    named = each if isinstance(each, FunctionType | MethodType) else type(each)
    module = named.__module__ or ""
    return f"{module}.{named.__qualname__}" if module.startswith("reusedproxy.") else None


class LiveReactor(Reactor):
    """A clock with sockets: `turn` is one round of it."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(1000)
        self.readers: list[Any] = []
        self._from_threads: deque[Callable[[], object]] = deque()

    def callFromThread(self, function: Callable[..., object], *words: Any) -> None:
        self._from_threads.append(partial(function, *words))

    addReader = HandReactor.addReader
    removeReader = HandReactor.removeReader

    def turn(self, patience: float = 0) -> bool:
        """Has what is due called, and each ready reader read. Returns whether there was one."""
        while self._from_threads:
            self._from_threads.popleft()()
        self.advance(0)
        return HandReactor.turn(self, patience)  # type: ignore[arg-type]


class Ends(Loop):
    """The clients and servers of one test, on the reactor of its service."""

    def __init__(self, test: ServiceTestCase) -> None:
        self.clock = self.reactor = test.reactor  # type: ignore[assignment]
        self.far: list[Far | Server] = []
        self._test = test
        test.addCleanup(self._end)

    def _end(self) -> None:
        for far in self.far:
            far.socket.close()

    def forget(self, far: Far) -> None:
        far.socket.close()
        self.far.remove(far)


class NamesEnd:
    """A name server of the test, over UDP, as one of its ends; its names are in `zone`."""

    def __init__(self) -> None:
        self.zone = Zone()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((LOOPBACK, 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self._server = dns.DNSDatagramProtocol(NameServer(self.zone))
        self._server.transport = self  # type: ignore[assignment]
        self._server.startProtocol()

    def fileno(self) -> int:
        return self.socket.fileno()

    def waiting(self) -> bool:
        return True

    def pump(self) -> bool:
        try:
            message, address = self.socket.recvfrom(4096)
        except OSError:  # nothing has come, or the test is over
            return False
        self._server.datagramReceived(message, address)
        return True

    def write(self, data: bytes, address: Any) -> None:
        """Sends what the server writes."""
        self.socket.sendto(data, address)


class GarbageTestCase(ServiceTestCase):
    """The whole service on a clock, with sockets; `retry` is a line of its section of name servers."""

    retry = 1

    def setUp(self) -> None:
        super().setUp()
        self.reactor: LiveReactor = LiveReactor()
        self.ends = Ends(self)

    def begin(self, text: str, names: str = "127.0.0.1:1") -> None:
        self.names = names
        self.start_with(self.configure(text))

    def configure(self, text: str) -> str:
        """Writes the configuration, and returns its path."""
        return self.text("proxy.cfg", HEAD.format(folder=self.folder, names=self.names, retry=self.retry) + text)

    def client(self, name: str = "f", secure: bool = False) -> Any:
        (port,) = {each.socket.getsockname()[1] for owner, each in self.proxy.listeners if owner.name == name}
        return self.ends.connect((LOOPBACK, port), TLSClient(client_tls(), None) if secure else None)

    def reload(self) -> None:
        self.announced.clear()
        self.service.reload()
        for _ in range(100):
            if not self.service.reloads.under_way:
                break
            self.pass_time(0.1)
        self.assertIn("configuration reloaded", str(self.announced))
        self.pass_time(3)

    def stop(self) -> None:
        self.service.stopService()
        self.ends._end()
        self.pass_time(3)
        self.assertEqual(self.service.state, "stopped")

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.ends.advance(0.1)

    def end(self) -> None:
        """All clients and servers go, and what is left of them."""
        for far in [*self.ends.far]:
            if isinstance(far, Far):
                self.ends.forget(far)
        self.ends.pump()
        for far in self.ends.far:
            if isinstance(far, Server):
                far.accepted.clear()
        self.pass_time(3)
