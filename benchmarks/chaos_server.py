"""The chaos run's servers: several sites in one process, each over mutual TLS, that count every request by its number.

    python -m benchmarks.chaos_server DIRECTORY PORT...

DIRECTORY holds ca.pem and server-0.pem, server-1.pem. Commands come on standard input, a word a line: `calm` (each idle
connection is closed after two seconds, used or not), `wild` (idle ones are closed at random, sites restart, refuse,
stall and change their certificates), `report` (one line of JSON, as `Report` reads it, goes to standard output, and all
ends). It must never know which proxy asks.

When it closes an idle connection, it stops reading `NOTICE` seconds before the end is on the wire: what is sent in that
time crosses the close, as it would on a network with that much delay. On loopback alone the race would hardly be seen.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
#: The constant idle time-out, in seconds.
IDLE = 2.0
#: Seconds between the decision to close and the moment at which the peer may learn of it.
NOTICE = 0.005
#: Not even a wild server closes a connection that it has just accepted, sooner than in so many seconds.
UNUSED = 0.05
#: Seconds of quiet between two pieces of trouble at one site.
PEACE = (0.5, 4.0)
#: The share of requests that a wild site answers late, after so many seconds.
THINKING = (0.1, 0.005, 0.05)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class Connection(asyncio.Protocol):
    """One connection: it answers each request with the request's number."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport: Any = None
        self._data = b""
        self._rested = 0.0
        self._idle = max(UNUSED, site.idle())
        self._timer: asyncio.TimerHandle | None = None
        #: It has read a request that it has not answered.
        self._busy = False
        #: It will be closed, and reads nothing more.
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._site.connections.add(self)
        self._site.handshakes += 1
        self._rest()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._closing:
            return
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._data) < end + 4 + length:
                return
            number = self._data.split(b" ", 2)[1][1:]
            self._data = self._data[end + 4 + length :]
            self._site.seen[int(number)] += 1
            self._busy = True
            if self._site.stalled:
                self._site.stalled_answers.append(partial(self._answer, number))
            elif self._site.thinks and random.random() < THINKING[0]:
                self._site.loop.call_later(random.uniform(*THINKING[1:]), self._answer, number)
            else:
                self._answer(number)

    def _answer(self, number: bytes) -> None:
        self._busy = False
        self._transport.write(OK % (len(number), number))
        self._idle = self._site.idle()
        self._rest()

    def connection_lost(self, error: Exception | None) -> None:
        self._site.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _rest(self) -> None:
        """It is idle from now on. One timer a connection: it looks when it fires how long that has been."""
        self._rested = time.monotonic()
        timer = self._timer
        if timer is None or timer.when() > self._rested + self._idle:
            if timer is not None:
                timer.cancel()
            self._timer = self._site.loop.call_later(self._idle, self._look)

    def _look(self) -> None:
        left = self._rested + self._idle - time.monotonic()
        if left > 0.0005:
            self._timer = self._site.loop.call_later(left, self._look)
        elif self._data or self._busy:
            self._timer = self._site.loop.call_later(0.1, self._look)
        else:
            self._closing = True
            self._transport.pause_reading()
            self._timer = self._site.loop.call_later(NOTICE, self._transport.close)

    def abort(self) -> None:
        self._transport.abort()


class Site:
    """One server: a port, its connections, and what happens to it.

    `away` has the times (begin, end) at which it accepted or answered nothing.
    """

    def __init__(self, port: int, contexts: list[ssl.SSLContext]) -> None:
        self.loop = asyncio.get_running_loop()
        self.port = port
        self.connections: set[Connection] = set()
        self.seen: Counter[int] = Counter()
        self.handshakes = 0
        self.away: list[tuple[float, float]] = []
        self.trouble: Counter[str] = Counter()
        self.stalled = self.thinks = False
        self.stalled_answers: list[Callable[[], None]] = []
        self.idle: Callable[[], float] = lambda: IDLE
        self._contexts = contexts
        self._certificate = 0
        self._listener: asyncio.Server | None = None

    async def listen(self) -> None:
        context = self._contexts[self._certificate]
        self._listener = await self.loop.create_server(
            lambda: Connection(self), LOOPBACK, self.port, ssl=context, backlog=512, reuse_address=True
        )

    def _close_listener(self) -> None:
        assert self._listener is not None
        self._listener.close()

    async def go_wild(self) -> None:
        """From now on things happen."""
        self.idle = _at_random
        self.thinks = True
        await asyncio.sleep(random.uniform(0, PEACE[1]))
        while True:
            what = random.choice((self._restart, self._refuse, self._stall, self._rotate))
            self.trouble[what.__name__.strip("_")] += 1
            begin = time.monotonic()
            await what()
            if what != self._rotate:
                self.away.append((begin, time.monotonic()))
            await asyncio.sleep(random.uniform(*PEACE))

    async def _restart(self) -> None:
        """All connections end, and for a moment nobody listens."""
        self._close_listener()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(random.uniform(0, 0.4))
        await self.listen()

    async def _refuse(self) -> None:
        """Nobody listens; the connections stay."""
        self._close_listener()
        await asyncio.sleep(random.uniform(0, 0.4))
        await self.listen()

    async def _stall(self) -> None:
        """Requests are read, and answered late."""
        self.stalled = True
        await asyncio.sleep(random.uniform(0.1, 1.0))
        self.stalled = False
        answers, self.stalled_answers = self.stalled_answers, []
        for answer in answers:
            answer()

    async def _rotate(self) -> None:
        """New connections see another certificate."""
        self._close_listener()
        self._certificate = 1 - self._certificate
        await self.listen()


def _at_random() -> float:
    """How long a wild site leaves a connection idle: at times not at all."""
    return random.choices((0.0, IDLE, random.expovariate(1.5)), (1, 40, 59))[0]


def _context(directory: Path, number: int) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"server-{number}.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def run(directory: Path, ports: list[int]) -> None:
    """Serve until the report is asked for, or nobody is there to ask."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # connections that end in the middle of anything are the purpose
    contexts = [_context(directory, number) for number in range(2)]
    sites = [Site(port, contexts) for port in ports]
    for site in sites:
        await site.listen()
    print("ready", flush=True)
    tasks: list[asyncio.Task[None]] = []
    while (word := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) == "wild":
        tasks = [loop.create_task(site.go_wild()) for site in sites]
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    if word == "report":
        everything = {
            "seen": {number: count for site in sites for number, count in site.seen.items()},
            "away": [site.away for site in sites],
            "handshakes": sum(site.handshakes for site in sites),
            "trouble": dict(sum((site.trouble for site in sites), Counter())),
        }
        print(json.dumps(everything), flush=True)


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
