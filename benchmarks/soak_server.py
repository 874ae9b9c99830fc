"""The soak's server that misbehaves: it answers each request as its path, `/<behaviour>/<size>/<number>`, tells it to.

    python -m benchmarks.soak_server DIRECTORY TLS_PORT PLAIN_PORT

It serves until it is killed; DIRECTORY holds server.pem and ca.pem.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from attrs import define

LOOPBACK = "127.0.0.1"
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSTOLEN"


def payload(number: str, size: int) -> bytes:
    """The answer to request `number`: nobody else's has the same bytes anywhere."""
    word = f"<{number}>".encode()
    return (word * (size // len(word) + 1))[: max(size, len(word))]


def reset(writer: asyncio.StreamWriter) -> None:
    """End it so that the peer sees a reset."""
    connected = writer.get_extra_info("socket")
    with suppress(OSError, AttributeError):  # it has ended before
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@define
class Answer:
    """One request and the answer to it; each behaviour says whether the connection goes on."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes
    body: bytes
    #: What of the body is sent: nothing to HEAD.
    shown: bytes
    ok: bytes
    length: bytes

    async def read_body(self) -> None:
        for line in self.head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self.reader.readexactly(int(line.split(b":")[1]))
            elif line.startswith(b"transfer-encoding:"):
                while size := int(await self.reader.readline(), 16):
                    await self.reader.readexactly(size + 2)
                await self.reader.readline()

    # Right answers.

    async def by_length(self) -> bool:
        self.writer.write(self.ok + self.length + b"\r\n" + self.shown)
        return True

    async def in_chunks(self) -> bool:
        pieces = [self.body[at : at + 5000] for at in range(0, len(self.body), 5000)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        self.writer.write(self.ok + b"Transfer-Encoding: chunked\r\n\r\n" + (chunks if self.shown else b""))
        return True

    async def in_pieces(self) -> bool:
        data = self.ok + b"Transfer-Encoding: chunked\r\n\r\n"
        if self.shown:
            octets = [self.body[at : at + 1] for at in range(min(300, len(self.body)))]
            data += b"".join(b'1;ext="x"\r\n%b\r\n' % octet for octet in octets) + b"0\r\nX-Trailer: yes\r\n\r\n"
        while data:
            step = random.randint(1, 700)
            self.writer.write(data[:step])
            data = data[step:]
            await asyncio.sleep(random.choice((0, 0, 0.002)))
        return True

    async def until_close(self) -> bool:
        self.writer.write(self.ok + b"\r\n" + self.shown)
        return False

    async def slow_head(self) -> bool:
        whole = self.ok + self.length + b"\r\n"
        for at in range(0, len(whole), 9):
            self.writer.write(whole[at : at + 9])
            await asyncio.sleep(0.003)
        self.writer.write(self.shown)
        return True

    async def interim(self) -> bool:
        hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Fill: %b\r\n\r\n" % (b"x" * random.randint(0, 9000))
        self.writer.write(hint * random.randint(1, 3))
        return await self.by_length()

    async def early(self) -> bool:
        await self.by_length()
        await self.read_body()
        return True

    async def early_close(self) -> bool:
        self.writer.write(self.ok + self.length + b"Connection: close\r\n\r\n" + self.shown)
        return False

    async def hang_up(self) -> bool:
        await self.by_length()
        return False

    async def goodbye(self) -> bool:
        await self.by_length()
        await self.writer.drain()
        await asyncio.sleep(random.uniform(0, 0.02))
        self.writer.write(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return False

    async def extra(self) -> bool:
        # In one TLS record with the answer: what comes later can be told from the next answer by nobody.
        self.writer.write(self.ok + self.length + b"\r\n" + self.shown + (STOLEN if len(self.shown) < 8000 else b""))
        return True

    # Wrong ones.

    async def at_once_reset(self) -> bool:
        reset(self.writer)
        return False

    async def reset_in_head(self) -> bool:
        self.writer.write(self.ok[: random.randint(1, len(self.ok))])
        await self.writer.drain()
        await asyncio.sleep(random.choice((0, 0.005)))
        return await self.at_once_reset()

    async def half_body(self) -> bool:
        self.writer.write(self.ok + self.length + b"\r\n" + self.body[: len(self.body) // 2])
        return False

    async def reset_in_body(self) -> bool:
        await self.half_body()
        await self.writer.drain()
        return await self.at_once_reset()

    async def half_chunk(self) -> bool:
        size = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(self.body)
        self.writer.write(self.ok + size + self.body[: len(self.body) // 2])
        return False

    async def garbage(self) -> bool:
        self.writer.write(os.urandom(random.randint(1, 3000)))
        return True

    async def two_lengths(self) -> bool:
        self.writer.write(self.ok + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + self.shown)
        return True

    async def bad_status(self) -> bool:
        self.writer.write(b"HTTP/1.1  200 OK\r\n\r\n")
        return True

    async def silent(self) -> bool:
        await asyncio.sleep(5)
        return False


Behaviour = Callable[[Answer], Awaitable[bool]]

#: Those whose answer is complete and right, and the others.
HONEST: dict[str, Behaviour] = {
    each.__name__: each
    for each in (
        Answer.by_length, Answer.in_chunks, Answer.in_pieces, Answer.until_close, Answer.slow_head, Answer.interim,
        Answer.early, Answer.early_close, Answer.hang_up, Answer.goodbye, Answer.extra,
    )
}  # fmt: skip
BROKEN: dict[str, Behaviour] = {
    each.__name__: each
    for each in (
        Answer.at_once_reset, Answer.reset_in_head, Answer.half_body, Answer.reset_in_body, Answer.half_chunk,
        Answer.garbage, Answer.two_lengths, Answer.bad_status, Answer.silent,
    )
}  # fmt: skip
BEHAVIOURS = HONEST | BROKEN
#: Those that answer before they have read the request.
EARLY = ("early", "early_close")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        while await _answer(reader, writer):
            await writer.drain()
    except Exception:
        pass  # what clients meant as garbage arrives here, too, and this server may do with it what it likes
    finally:
        writer.close()
        with suppress(Exception):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    _, behaviour, size, number = target.split("/")
    body = payload(number, int(size))
    shown = b"" if method == "HEAD" else body
    ok = b"HTTP/1.1 200 OK\r\nX-Number: %b\r\n" % number.encode()
    answer = Answer(reader, writer, head, body, shown, ok, b"Content-Length: %d\r\n" % len(body))
    if behaviour not in EARLY:
        await answer.read_body()
    return await BEHAVIOURS[behaviour](answer)


async def run(directory: Path, tls_port: int, plain_port: int) -> None:
    """Serve, with and without TLS."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    servers = [
        await asyncio.start_server(serve, LOOPBACK, tls_port, ssl=context),
        await asyncio.start_server(serve, LOOPBACK, plain_port),
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
