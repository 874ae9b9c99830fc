#!/usr/bin/env python3
"""
What `hedge` gives: answers of which one in a hundred takes 500 ms, and the others some milliseconds, with the word and
without it. Server, proxy and clients are processes of this machine; clients ask at a steady rate, so that slow answers
do not make fewer requests.

It prints the percentiles of the clients' times, and the share of requests that servers got twice.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.ports import free_ports

LOOPBACK = "127.0.0.1"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request after some milliseconds, and one in a hundred after half a second."""

    def __init__(self, seed: int, slow: float) -> None:
        self.requests = 0
        self._random = Random(seed)
        self._slow = slow

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                late = self._random.random() < self._slow
                await asyncio.sleep(0.5 if late else 0.003 + self._random.expovariate(1 / 0.002))
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def ask(port: int, idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> float:
    """Sends one request on a connection that is kept, and returns how many seconds its answer took."""
    reader, writer = idle.pop() if idle else await asyncio.open_connection(LOOPBACK, port)
    began = time.perf_counter()
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(2)
    took = time.perf_counter() - began
    idle.append((reader, writer))
    return took


async def measured(port: int, rate: float, seconds: float) -> list[float]:
    """Asks at a steady rate, and returns how many seconds each answer took."""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    asking: list[asyncio.Task[float]] = []
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        asking.append(asyncio.create_task(ask(port, idle)))
    took = [await each for each in asking]
    for _, writer in idle:
        writer.close()
    return took


async def run(words: str, chosen: argparse.Namespace) -> tuple[list[float], float]:
    """Returns the seconds of all answers with these words in the backend, and how many requests servers got for each
    of the clients'."""
    *ports, front = free_ports(3)
    servers = [Server(number, chosen.slow) for number in range(2)]
    listening = [
        await asyncio.start_server(each.serve, LOOPBACK, port) for each, port in zip(servers, ports, strict=True)
    ]
    lines = "".join(f" server s{at} {LOOPBACK}:{port} pool-min-conn 10\n" for at, port in enumerate(ports))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "proxy.cfg")
        file.write_text(
            "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
            f"frontend f\n bind {LOOPBACK}:{front}\n default_backend b\nbackend b\n {words}\n{lines}"
        )
        command = [sys.executable, "-m", "reusedproxy", "--config", str(file)]
        proxy = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            await ready(front)
            await measured(front, chosen.rate, 3.0)  # the percentile is learnt
            before = sum(each.requests for each in servers)
            took = await measured(front, chosen.rate, chosen.seconds)
            await asyncio.sleep(1.0)
            return took, (sum(each.requests for each in servers) - before) / len(took)
        finally:
            proxy.terminate()
            proxy.wait()
            await asyncio.sleep(0.2)  # connections end
            for each in listening:
                each.close()


async def ready(port: int) -> None:
    """Waits until the proxy listens."""
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            await asyncio.sleep(1.0)
            return
    raise RuntimeError("the proxy does not listen")


def row(words: str, took: Sequence[float], share: float) -> str:
    """Returns a line of the table."""
    ordered = sorted(took)
    shown = " | ".join(f"{ordered[int(len(ordered) * at)] * 1000:.1f}" for at in (0.5, 0.95, 0.99, 0.999))
    return f"| {words or 'without'} | {len(took):,} | {shown} | {share - 1:.2%} |"


def main() -> None:
    """Runs each setting, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (100)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each setting (60)")
    parser.add_argument("--slow", type=float, default=0.01, help="share of slow answers (0.01)")
    chosen = parser.parse_args()
    print("| | requests | p50 ms | p95 | p99 | p99.9 | sent twice |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for words in ("", "`hedge`", "`hedge after 50ms budget 2%`"):
        print(row(words, *asyncio.run(run(words.strip("`"), chosen))), flush=True)


if __name__ == "__main__":
    main()
