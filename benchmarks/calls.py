#!/usr/bin/env python3
"""
How many calls of Python functions, and of C functions, one request takes: a figure that no busy machine disturbs.

A whole proxy in this process, with real sockets, OpenSSL in front of and behind it, and a clock that stands still.
Calls are counted only while the poller hands out events; clients and servers are not counted. Sixteen requests come at
once, as under load, so that what is done once for a batch counts for a sixteenth. Rounds are repeated, and the least
counts: the kernel may deliver in two batches what was sent in one.

    python benchmarks/calls.py             the table
    python benchmarks/calls.py closing     which functions, of the cases that begin so

tests/test_calls.py holds the figures.
"""

from __future__ import annotations

import select
import socket
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from attrs import frozen
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Assembly
from reusedproxy.config.reader import Source, read_configuration
from tests.handshakes import TLSClient, client_tls
from tests.wire import HandReactor, Loop, certificates, scratch, server_context

AT_ONCE = 16
ROUNDS = 5
GET = b"GET /some/path?x=1 HTTP/1.1\r\nHost: server.test\r\nUser-Agent: calls\r\nAccept: */*\r\n%b\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: far\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
RULES = "".join(f" acl a{number} path_beg /no{number}\n http-request deny if a{number}\n" for number in range(10))
#: The rule that most limits are made of; braces stand for themselves when they are doubled.
LIMIT = (
    " stick-table type ip size 100k expire 1m store http_req_rate(10s)\n http-request track-sc0 src\n"
    " http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000 }}\n"
)


@frozen
class Calls:
    """Calls of one request."""

    python: float
    c: float


@frozen
class Case:
    """What is counted. `frontend` and `server` are added to the configuration; `{syslog}` is a port for datagrams."""

    name: str
    closing: bool = False
    tls: bool = False
    frontend: str = ""
    server: str = ""


CASES = tuple(
    Case(f"{'closing' if closing else 'kept alive'}, {where}{what}", closing, tls, frontend, server)
    for closing in (False, True)
    for tls, where in ((False, "clear"), (True, "TLS"))
    for what, frontend, server in (
        ("", "", ""),
        (", httplog", " option httplog\n log 127.0.0.1:{syslog} local0\n", ""),
        (", checks", "", "check"),
        (", 10 ACLs", RULES, ""),
        (", limit by source", LIMIT, ""),
    )
)


class CountingReactor(HandReactor):
    """Counts calls while it lets the poller read."""

    def __init__(self, clock: Any) -> None:
        HandReactor.__init__(self, clock)
        # Reading the clock is a call of a C function, as it is in the daemon.
        self.seconds = (1000.0).conjugate
        self.counted: Counter[str] | None = None

    def turn(self, patience: float = 0) -> bool:
        counted = self.counted
        if counted is None:
            return HandReactor.turn(self, patience)
        ready, _, _ = select.select(self.readers, (), (), patience)

        def note(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call":
                counted[f"python {_called(frame)}"] += 1
            elif event == "c_call":
                counted[f"c {getattr(argument, '__qualname__', argument)} in {_called(frame)}"] += 1

        for reader in ready:
            do_read = reader.doRead
            sys.setprofile(note)
            do_read()
            sys.setprofile(None)
            counted["c setprofile in calls.turn"] -= 1
        return bool(ready)


def _called(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"


class Bench:
    """One proxy, its server and its clients. `test` takes all of it down."""

    def __init__(self, test: SynchronousTestCase, case: Case) -> None:
        self.case = case
        self.loop = loop = Loop(test)
        loop.poller.stop()
        loop.reactor = self.reactor = CountingReactor(loop.clock)
        loop.poller = type(loop.poller)(self.reactor, self.reactor.seconds)  # type: ignore[arg-type]
        # One batch in each turn of the loop: that others save turns is not seen here.
        loop.poller.again_for = 0.0
        loop.poller.start()
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("127.0.0.1", 0))
        test.addCleanup(sink.close)
        self.server = loop.server(tls=server_context())
        folder = scratch(test)
        shown = certificates()
        front, ours = shown.server.write(folder / "front.pem"), shown.client.write(folder / "ours.pem")
        behind = f"ssl ca-file {shown.ca_file} crt {ours} sni str(server.test) pool-min-conn {AT_ONCE}"
        behind += f" pool-connect-rate 10000 {case.server}"
        text = (
            "global\n pool-connect-rate 10000\n"
            "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            f"frontend f\n bind 127.0.0.1:0{f' ssl crt {front}' if case.tls else ''}\n"
            f"{case.frontend.format(syslog=sink.getsockname()[1])} default_backend b\n"
            f"backend b\n server s {self.server.target.address[0]}:{self.server.target.address[1]} {behind}\n"
        )
        configuration = read_configuration([Source("calls.cfg", text)], {})
        reactor: Any = self.reactor
        assembly = Assembly(configuration, reactor, loop.poller, Random(1), lambda level, text, section="": None)
        self.proxy = assembly.build(bind=True)
        for backend in self.proxy.backends:
            backend.start()
        for frontend, listener in self.proxy.listeners:
            frontend.listen(listener)
        test.addCleanup(self._end)
        self.pool = self.proxy.backends[0].servers[0].pool
        self.port = self.proxy.listeners[0][1].port
        self.context = client_tls() if case.tls else None
        self.sessions: SSL.Session | None = None
        loop.until(lambda: len(self.pool.idle) == AT_ONCE)

    def connect(self) -> Any:
        context = self.context
        return self.loop.connect(
            ("127.0.0.1", self.port), None if context is None else TLSClient(context, "server.test")
        )

    def counts(self) -> Counter[str]:
        """The calls of a round, in which each of the clients asks once; of the round that has the fewest."""
        rounds = [self._closing() if self.case.closing else self._kept_alive() for _ in range(ROUNDS)]
        return min(rounds, key=Counter.total)

    def _kept_alive(self) -> Counter[str]:
        clients = [self.connect() for _ in range(AT_ONCE)]
        self._exchange(clients)  # the first request of a connection is another case
        counted = self._counting(lambda: self._exchange(clients))
        for client in clients:
            client.drop()
        self.loop.pump()
        return counted

    def _closing(self) -> Counter[str]:
        def round_() -> None:
            self._exchange([self.connect() for _ in range(AT_ONCE)])

        return self._counting(round_)

    def _counting(self, what: Callable[[], None]) -> Counter[str]:
        self.reactor.counted = counted = Counter[str]()
        what()
        self.reactor.counted = None
        return counted

    def _exchange(self, clients: list[Any]) -> None:
        """Each client asks once, and has its answer."""
        closing = self.case.closing
        for client in clients:
            client.unsent += GET % (b"Connection: close\r\n" if closing else b"")
        asked: list[Any] = []

        def all_asked() -> bool:
            asked[:] = [far for far in self.server.accepted if far.received.endswith(b"\r\n\r\n")]
            return len(asked) == len(clients)

        self.loop.until(all_asked)
        for far in asked:
            far.take()
            far.unsent += OK
        self.loop.until(lambda: all(client.received.endswith(b"hello") for client in clients))
        if closing:
            self.loop.until(lambda: all(client.end for client in clients))
        for client in clients:
            client.take()
            if closing:
                client.drop()
                self.loop.far.remove(client)
        self.loop.pump()

    def _end(self) -> None:
        for frontend, _ in self.proxy.listeners:
            frontend.stop()
            frontend.abort("over")
        for backend in self.proxy.backends:
            backend.stop("over")
        self.loop.pump()
        self.proxy.deadlines.stop()
        self.proxy.logs.close()


def calls_of(test: SynchronousTestCase, case: Case) -> tuple[Calls, Counter[str]]:
    """The calls of one request, and those of a whole round by function."""
    counted = Bench(test, case).counts()
    python = sum(count for name, count in counted.items() if name.startswith("python "))
    return Calls(python / AT_ONCE, (counted.total() - python) / AT_ONCE), counted


class _Owner(SynchronousTestCase):
    """What takes down a case."""

    def runTest(self) -> None:
        """Nothing: it is not run."""


def main(wanted: str = "") -> None:
    print(f"{'calls of a request':<32}{'Python':>8}{'C':>8}")
    for case in CASES:
        if case.name.startswith(wanted):
            owner = _Owner()  # type: ignore[no-untyped-call]
            try:
                calls, counted = calls_of(owner, case)
            finally:
                owner.doCleanups()
            print(f"{case.name:<32}{calls.python:>8.1f}{calls.c:>8.1f}")
            if wanted:
                for name, count in (+counted).most_common():
                    print(f"    {count / AT_ONCE:6.2f}  {name}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
