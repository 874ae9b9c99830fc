"""
A server that misbehaves as its path says, and the answers to the checks that flap. It runs in a process of its own and
must never know who asks.
"""

from __future__ import annotations

import asyncio
import time

#: A bound for each answer that goes on for ever, in seconds.
LONGEST = 60.0

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
_FLAPPING = b"HTTP/1.1 500 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_BIG = 500_000_000


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    until = time.monotonic() + LONGEST
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if path == b"/hostile/check":
                writer.write(_FLAPPING if int(time.time() * 4) % 2 else _OK)
            elif path == b"/hostile/interim":
                await _repeat(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500, until)
            elif path == b"/hostile/chunks":
                writer.write(_CHUNKED)
                await _repeat(writer, b"1\r\nx\r\n" * 2000, until)
            elif path == b"/hostile/bytes":
                writer.write(_CHUNKED)
                while time.monotonic() < until:
                    for byte in b"1\r\nx\r\n":
                        writer.write(bytes((byte,)))
                        await writer.drain()
                        await asyncio.sleep(0)
            elif path == b"/hostile/big":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _BIG)
                for _ in range(_BIG // 100_000):
                    writer.write(b"x" * 100_000)
                    await writer.drain()
            else:
                if b"chunked" in head.lower():
                    while await reader.read(1 << 18):
                        pass
                writer.write(_OK)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def _repeat(writer: asyncio.StreamWriter, data: bytes, until: float) -> None:
    while time.monotonic() < until:
        writer.write(data)
        await writer.drain()


def run(port: int) -> None:
    """Serve until the process ends."""

    async def forever() -> None:
        server = await asyncio.start_server(_serve, "127.0.0.1", port, limit=1 << 18, backlog=1000)
        await server.serve_forever()

    asyncio.run(forever())
