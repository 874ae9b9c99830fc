"""The soak's clients: some behave, and judge what they get; others send half of it, or garbage, or leave.

Each request has its own number, which its answer must carry.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import suppress

from attrs import define, field

from benchmarks.soak_server import BEHAVIOURS, HONEST, LOOPBACK, payload, reset


class Wrong(Exception):
    """An answer that is not the one to the request."""


@define
class Tally:
    """What the clients have seen."""

    numbers: int = 0
    counts: Counter[str] = field(factory=Counter)
    wrong: list[str] = field(factory=list)

    def next(self) -> str:
        self.numbers += 1
        return f"n{self.numbers:09d}"


@define
class Request:
    method: str
    target: str
    expected: bytes
    honest: bool
    body: bytes = b""

    def head(self, last: bool, chunked: bool = False) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: soak.test"]
        if last:
            lines.append("Connection: close")
        if self.body:
            lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode()

    def whole(self, last: bool) -> bytes:
        if self.body and random.random() < 0.5:
            pieces = [self.body[at : at + 7000] for at in range(0, len(self.body), 7000)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            return self.head(last, chunked=True) + chunks + b"0\r\n\r\n"
        return self.head(last) + self.body


class Clients:
    """Makes clients of all kinds, for as long as it is told to."""

    def __init__(self, tally: Tally, nginx_port: int, other_ports: list[int], until: float) -> None:
        self.tally = tally
        self.nginx_port = nginx_port
        self.other_ports = other_ports
        self.until = until
        self.kinds = [self.keeping, self.keeping, self.closing, self.closing, self.pipelining, self.half_closing]
        self.kinds += [self.aborting, self.aborting, self.garbage, self.silent, self.slow, self.cut_upload]
        self.kinds += [self.half_reading, self.slow_reading]

    async def forever(self) -> None:
        while time.monotonic() < self.until:
            kind = random.choice(self.kinds)
            port = random.choice([self.nginx_port, self.nginx_port, *self.other_ports])
            try:
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                self.tally.counts["refused at connect"] += 1
                await asyncio.sleep(0.2)
                continue
            try:
                await asyncio.wait_for(kind(port, reader, writer), 30)
            except Wrong as error:
                self.tally.wrong.append(f"{kind.__name__}: {error}")
            except (OSError, EOFError, asyncio.IncompleteReadError):
                self.tally.counts["cut off"] += 1
            except asyncio.TimeoutError:
                self.tally.wrong.append(f"{kind.__name__} on {port}: nothing for 30 s")
            finally:
                self.tally.counts[kind.__name__] += 1
                writer.close()
                with suppress(Exception):
                    await writer.wait_closed()
            await asyncio.sleep(random.uniform(0, 0.05))

    def request(self, port: int, honest: bool = False) -> Request:
        number = self.tally.next()
        method = random.choice(("GET", "GET", "GET", "POST", "PUT", "HEAD"))
        if port == self.nginx_port:
            target = f"/echo/{number}"
            expected, good = f"{target}\n".encode(), True
        else:
            behaviour = random.choice(list(HONEST if honest or random.random() < 0.5 else BEHAVIOURS))
            size = random.choice((10, 100, 300, 5000, 40_000, 300_000))
            target = f"/{behaviour}/{size}/{number}"
            expected, good = payload(number, size), behaviour in HONEST
            if behaviour == "in_pieces":
                expected = expected[:300]
        body = os.urandom(random.choice((1, 100, 20_000, 200_000))) if method in ("POST", "PUT") else b""
        return Request(method, target, b"" if method == "HEAD" else expected, good, body)

    async def read(self, reader: asyncio.StreamReader, request: Request) -> bool:
        """Read an answer and judge it; whether the connection goes on."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            if status >= 200:
                break
        lines = [line.lower() for line in head.split(b"\r\n")]
        body, whole = await self._read_body(reader, lines, request)
        self.tally.counts[f"{'nginx' if '/echo/' in request.target else 'other'} {status}"] += 1
        if status != 200 and request.honest and "/echo/" not in request.target:
            self.tally.counts[f"an honest answer lost: {request.method} {status}"] += 1
        if status == 200 and whole:
            if body != request.expected:
                raise Wrong(f"{request.method} {request.target} got {body[:80]!r} ({len(body)} bytes)")
            self.tally.counts["right answers"] += 1
        elif status == 200:
            self.tally.counts["truncated"] += 1
            if not request.expected.startswith(body):
                raise Wrong(f"{request.target} got the beginning {body[:80]!r}")
            raise EOFError
        elif status not in (400, 408, 502, 503, 504):
            raise Wrong(f"{request.target} got status {status}")
        return b"connection: close" not in lines

    async def _read_body(
        self, reader: asyncio.StreamReader, lines: list[bytes], request: Request
    ) -> tuple[bytes, bool]:
        if request.method == "HEAD":
            return b"", True
        for line in lines:
            if line.startswith(b"content-length:"):
                try:
                    return await reader.readexactly(int(line.split(b":")[1])), True
                except asyncio.IncompleteReadError as error:
                    return error.partial, False
            if line.startswith(b"transfer-encoding:"):
                body = b""
                try:
                    while size := int((await reader.readuntil(b"\r\n")), 16):
                        body += (await reader.readexactly(size + 2))[:-2]
                    while await reader.readuntil(b"\r\n") != b"\r\n":
                        pass
                except asyncio.IncompleteReadError:
                    return body, False
                return body, True
        return await reader.read(-1), True

    # Well-behaved ones.

    async def keeping(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(random.randint(1, 12)):
            request = self.request(port, honest=random.random() < 0.7)
            writer.write(request.whole(last=False))
            if not await self.read(reader, request):
                return
            await asyncio.sleep(random.choice((0, 0, 0.01, 0.3)))

    async def closing(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.request(port)
        writer.write(request.whole(last=True))
        await self.read(reader, request)
        if await reader.read(1):
            raise Wrong(f"{request.target}: bytes behind the answer")

    async def pipelining(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = [self.request(port, honest=True) for _ in range(random.randint(2, 8))]
        writer.write(b"".join(request.whole(last=False) for request in requests))
        for request in requests:
            if not await self.read(reader, request):
                return

    async def half_closing(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.request(port)
        writer.write(request.whole(last=False))
        await writer.drain()
        writer.write_eof()
        await self.read(reader, request)

    async def slow_reading(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.request(port, honest=True)
        writer.write(request.whole(last=True))
        await asyncio.sleep(random.uniform(0, 1))
        await self.read(reader, request)

    # Others.

    async def aborting(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b"".join(self.request(port).whole(last=False) for _ in range(random.randint(1, 3)))
        writer.write(data[: random.randint(0, min(len(data), random.choice((200, 300_000))))])
        await asyncio.sleep(random.choice((0, 0, 0.001, 0.01, 0.1)))
        if random.random() < 0.7:
            reset(writer)

    async def garbage(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = bytearray(self.request(port).whole(last=False)[:2000])
        for _ in range(random.randint(1, 5)):
            data[random.randrange(min(200, len(data)))] = random.randrange(256)
        writer.write(
            random.choice((bytes(data), os.urandom(500), b"\x16\x03\x01\x02\x00" + os.urandom(50), b"\r\n" * 500))
        )
        if random.random() < 0.5:
            writer.write_eof()
        await reader.read(-1)

    async def silent(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(random.choice((0, 0.5, 5)))

    async def slow(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = self.request(port).whole(last=False)[:400]
        for at in range(0, len(data), 7):
            writer.write(data[at : at + 7])
            await asyncio.sleep(random.choice((0.001, 0.02, 0.1)))
        await reader.read(1000)

    async def cut_upload(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.request(port)
        request.body = os.urandom(300_000)
        writer.write(request.head(last=False) + request.body[: random.randint(0, 250_000)])
        await asyncio.sleep(random.choice((0, 0.05, 0.5, 4)))
        if random.random() < 0.5:
            reset(writer)

    async def half_reading(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(self.request(port).whole(last=False) for _ in range(3)))
        await reader.read(random.randint(1, 20_000))
        await asyncio.sleep(random.choice((0, 0.1, 4)))
        reset(writer)
