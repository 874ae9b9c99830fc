"""The chaos run's clients: each connects, sends one numbered request, reads one answer and leaves.

They come in bursts with pauses between them, many of which end just about when the server's idle time-out does. They
know ports and numbers; they must never know which proxy serves them, nor judge what is lost.
"""

from __future__ import annotations

import asyncio
import random
import time
from itertools import count

from attrs import define

from benchmarks.chaos_server import IDLE, LOOPBACK

#: Seconds that a client waits for its answer.
PATIENCE = 20.0
#: Clients at once in one burst at most, and requests of each.
WIDTH, DEPTH = 16, 56


@define(slots=True)
class Asked:
    """One request: `status` is 0 when no whole answer came."""

    number: int
    site: int
    unsafe: bool
    begin: float
    end: float = 0.0
    status: int = 0


class Client(asyncio.Protocol):
    """One request on a connection of its own."""

    def __init__(self, asked: Asked, done: asyncio.Future[None]) -> None:
        self._asked = asked
        self._done = done
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        number = b"%d" % self._asked.number
        if self._asked.unsafe:
            rest = b"Content-Length: %d\r\n\r\n%b" % (len(number), number)
            transport.write(b"POST /%b HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\n%b" % (number, rest))
        else:
            transport.write(b"GET /%b HTTP/1.1\r\nHost: chaos\r\nConnection: close\r\n\r\n" % number)

    def data_received(self, data: bytes) -> None:
        self._data += data

    def connection_lost(self, error: Exception | None) -> None:
        asked = self._asked
        head, _, body = self._data.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 "):
            asked.status = int(head[9:12])
            if asked.status == 200 and body != b"%d" % asked.number:
                asked.status = 0
        if not self._done.done():
            self._done.set_result(None)


class Clients:
    """All that is asked of one proxy, in order of its end."""

    def __init__(self, ports: list[int]) -> None:
        self.asked: list[Asked] = []
        self._ports = ports
        self._numbers = count(1)

    async def run(self, seconds: float) -> None:
        """Ask at all sites for so long."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._site(site, until) for site in range(len(self._ports))))

    async def _site(self, site: int, until: float) -> None:
        await asyncio.sleep(random.uniform(0, 1))
        while time.monotonic() < until:
            width = random.randint(1, WIDTH)
            await asyncio.gather(*(self._client(site, until) for _ in range(width)))
            around = random.gauss(IDLE, 0.01)
            await asyncio.sleep(random.choice((around, around, random.uniform(0, 0.5), random.uniform(0.5, 2.5))))

    async def _client(self, site: int, until: float) -> None:
        for _ in range(random.randint(1, DEPTH)):
            await self._ask(site)
            if time.monotonic() > until:
                return

    async def _ask(self, site: int) -> None:
        loop = asyncio.get_running_loop()
        asked = Asked(next(self._numbers), site, random.random() < 0.5, time.monotonic())
        done = loop.create_future()
        transport = None
        try:
            transport, _ = await loop.create_connection(lambda: Client(asked, done), LOOPBACK, self._ports[site])
            await asyncio.wait_for(done, PATIENCE)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            if transport is not None:
                transport.close()
        asked.end = time.monotonic()
        self.asked.append(asked)
