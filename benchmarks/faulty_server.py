"""The faulty run's server: a configurable share of its answers goes wrong, and it counts every request by its number.

    python -m benchmarks.faulty_server PORT SHARE SEED FAULTS NOTICE [CERTIFICATE AUTHORITY]

With the two files it speaks TLS and demands a client certificate. Each request's target is its number; the answer
repeats it. A share of the answers, drawn anew for each that is given, goes wrong in one of the ways of FAULTS (with
commas between them). A line on standard input has one line of JSON written to standard output (`report`); the end of
the input ends it. It must never know which proxy asks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import ssl
import struct
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

LOOPBACK = "127.0.0.1"
#: What goes wrong: the connection is closed before, within or just behind the answer, or reset instead of it; or the
#: answer is 500 and the connection's last; or it comes `SLOW` seconds late.
BEFORE, WITHIN, BEHIND, RESET, BROKEN, SLOW_ANSWER = FAULTS = ("before", "within", "behind", "reset", "500", "slow")
#: Two more, on demand: it is closed, or reset, up to NOTICE seconds after the answer,
#: unless a request has come meanwhile.
IDLE_CLOSE, IDLE_RESET = LATER = ("idle-close", "idle-reset")
SLOW = 0.5
#: An end behind the answer is on the wire at once, or after so many seconds at most, in which nothing is read any more:
#: what is sent in that time crosses the close, as it would on a network with that much delay.
NOTICE = 0.005
_LINGER = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """One connection: it answers each request with the request's number."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: Any = None
        self._data = b""
        #: An answer is under way, or none is given any more.
        self._busy = False
        self._answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.opened += 1
        self._server.standing += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._server.standing -= 1
        self._busy = True

    def data_received(self, data: bytes) -> None:
        self._data += data
        while not self._busy:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            method, target, _ = self._data.split(b" ", 2)
            self._data = self._data[end + 4 + length :]
            number = target[1:]
            self._server.seen[number] += 1
            self._answer(number, method == b"HEAD")

    def _answer(self, number: bytes, bare: bool) -> None:
        server, transport = self._server, self._transport
        self._answers += 1
        fault = random.choice(server.kinds) if random.random() < server.share else ""
        if fault:
            server.faults.setdefault(number, []).append(fault)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(number)
        if not bare:
            answer += number
        if fault == SLOW_ANSWER:
            self._busy = True
            asyncio.get_running_loop().call_later(SLOW, self._late, answer)
        elif not fault:
            transport.write(answer)
        elif fault in LATER:
            transport.write(answer)
            end = transport.close if fault == IDLE_CLOSE else self._reset
            asyncio.get_running_loop().call_later(random.uniform(0, server.notice), self._if_idle, end, self._answers)
        else:
            self._busy = True
            if fault == BROKEN:
                transport.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif fault == BEHIND:
                transport.write(answer)
                if random.random() < 0.5:
                    transport.pause_reading()
                    asyncio.get_running_loop().call_later(random.uniform(0, server.notice), transport.close)
                    return
            elif fault == WITHIN:
                transport.write(answer[: len(answer) // 2])
            elif fault == RESET:
                self._reset()
                return
            transport.close()

    def _reset(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._transport.abort()

    def _if_idle(self, end: Callable[[], None], answers: int) -> None:
        if self._answers == answers and not self._data:
            end()

    def _late(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._busy = False
            self._transport.write(answer)
            self.data_received(b"")


class Server:
    """What all connections count."""

    def __init__(self, share: float, kinds: list[str], notice: float) -> None:
        self.share = share
        self.kinds = kinds
        self.notice = notice
        self.seen: Counter[bytes] = Counter()
        self.faults: dict[bytes, list[str]] = {}
        self.opened = self.standing = 0

    def report(self) -> str:
        """Connections opened and standing, requests read more than once or not at all are told from `seen`."""
        everything = {
            "opened": self.opened,
            "standing": self.standing,
            "seen": {number.decode(): count for number, count in self.seen.items()},
            "faults": {number.decode(): faults for number, faults in self.faults.items()},
        }
        return json.dumps(everything)


async def run(port: int, share: float, kinds: list[str], notice: float, files: list[str]) -> None:
    """Serve until nobody asks for reports any more."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # connections that end in the middle of anything are the purpose
    context = None
    if files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[0])
        context.load_verify_locations(files[1])
        context.verify_mode = ssl.CERT_REQUIRED
    server = Server(share, kinds, notice)
    await loop.create_server(lambda: Connection(server), LOOPBACK, port, ssl=context, backlog=4096)
    print("ready", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(server.report(), flush=True)


if __name__ == "__main__":
    random.seed(int(sys.argv[3]))
    asyncio.run(run(int(sys.argv[1]), float(sys.argv[2]), sys.argv[4].split(","), float(sys.argv[5]), sys.argv[6:]))
