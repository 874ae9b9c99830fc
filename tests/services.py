"""The whole service on a clock, for tests in memory: nothing comes in, and nobody is waited for."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Credential
from reusedproxy.net.resolver import Answers, Query, resolve
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, BUSY, Context, Refusal
from tests.wire import certificates, scratch

HEAD = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"


class Reactor(Clock):
    """A clock that listeners can be given; nothing comes in."""

    def addReader(self, reader: object) -> None:
        pass

    def removeReader(self, reader: object) -> None:
        pass

    def stop(self) -> None:
        pass

    def callWhenRunning(self, function: Callable[[], None]) -> None:
        function()


class ImmediateResolver:
    """Answers at once, as a clock has no threads."""

    def resolve(self, queries: Iterable[Query]) -> Deferred[Answers]:
        return succeed(resolve(queries))


def keep_signals(test: SynchronousTestCase) -> None:
    """Give a service's signals back to whom they belong when the test is over."""
    for number in (
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGQUIT,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGALRM,
    ):
        test.addCleanup(signal.signal, number, signal.getsignal(number))


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = scratch(self)
        self.authority = certificates().authority

    def write(self, path: str, name: str = "", client: bool = False) -> str:
        made: Credential = self.authority.issue(name or path, key="ecdsa", client=client)
        return str(made.write(self.folder / path))

    def text(self, path: str, text: str) -> str:
        (self.folder / path).write_text(text)
        return str(self.folder / path)


class ServiceTestCase(FilesTestCase):
    """Whoever sets `service` and starts it adds `stop` to the cleanups; `start_with` does all of that. `announced` has
    the levels and texts of the events since then."""

    service: ProxyService
    announced: list[tuple[str, str]]

    def setUp(self) -> None:
        super().setUp()
        self.reactor = Reactor()
        keep_signals(self)

    def start_with(self, config: str) -> None:
        """Starts the service with this file, until the end of the test."""
        self.announced = []
        self.service = ProxyService(self.reactor, [config])
        self.patch(self.service, "announce", lambda level, text, section="": self.announced.append((level, text)))
        self.patch(self.service.reloads, "resolver", ImmediateResolver())
        self.patch(self.service.stalls.watchdog, "_timer", lambda seconds: None)
        self.service.assemble(bind=True)
        self.service.startService()
        self.addCleanup(self.stop)
        self.announced.clear()

    def stop(self) -> None:
        self.service.stopService()
        self.reactor.advance(0.1)
        self.assertEqual(self.service.state, "stopped")

    @property
    def proxy(self) -> Proxy:
        assert self.service.proxy is not None
        return self.service.proxy


class OrdersTestCase(ServiceTestCase):
    """Whoever has started the service gives orders to it by the runtime API, as an admin."""

    context: Context
    #: Seconds by which the clock goes on, and how often, while an order has no answer.
    step, steps = 0.5, 20

    def start_with(self, config: str) -> None:
        super().start_with(config)
        self.context = Context(self.service, ADMIN, 10.0)

    def tell(self, line: str, payload: str | None = None) -> str:
        """The whole answer, or the refusal."""
        self.context.payload = payload
        said = ""
        try:
            for piece in run(self.context, line.split()):
                if piece is BUSY:
                    self.reactor.pump([self.step] * self.steps)
                else:
                    said += piece
        except Refusal as refusal:
            return said + refusal.written
        return said
