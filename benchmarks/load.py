"""
The clients: wrk for long loads, and sockets of our own where single clients matter.

It knows HTTP/1.1 as far as a client with short questions needs it. It must not know who is asked.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import subprocess
import time
from pathlib import Path

from attrs import frozen

from benchmarks.machine import LOOPBACK, Trouble, program

TINY = b"ok\n"
KEEP = b"GET /tiny HTTP/1.1\r\nHost: server.test\r\n\r\n"
CLOSE = b"GET /tiny HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n"


@frozen
class Load:
    """
    What wrk did.

    @ivar trouble: what went wrong, in words; empty when all was well.
    """

    requests: int
    received: int
    seconds: float
    trouble: str


#: Whoever answers is taken for the contender.
_ANYBODY = ssl.create_default_context()
_ANYBODY.check_hostname = False
_ANYBODY.verify_mode = ssl.CERT_NONE


def wrk(port: int, path: str, *, seconds: float, connections: int, close: bool = False, tls: bool = False) -> Load:
    """Load one proxy for C{seconds}, with one thread."""
    command = [program("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_name("wrk.lua"))]
    if close:
        # wrk opens a new connection when the *response* says close; every proxy here repeats the word.
        command += ["-H", "Connection: close"]
    command.append(f"{'https' if tls else 'http'}://{LOOPBACK}:{port}{path}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    found = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", done.stdout.partition("RESULT")[2])}
    if done.returncode or not found:
        raise Trouble(f"wrk failed: {(done.stderr or done.stdout).strip()[-200:]}")
    kinds = {"connect": "connect", "read": "read", "write": "write", "timeout": "time-out", "status": "not 2xx or 3xx"}
    trouble = ", ".join(f"{found[kind]} {words}" for kind, words in kinds.items() if found[kind])
    if not found["requests"] and not trouble:
        trouble = "no request finished"
    return Load(found["requests"], found["bytes"], found["microseconds"] / 1e6, trouble)


def ask(client: socket.socket, request: bytes = KEEP) -> None:
    """One request for the tiny body on an open connection; L{Trouble} unless it is answered rightly."""
    client.sendall(request)
    answer = b""
    while not finished(answer):
        piece = client.recv(65536)
        if not piece:
            raise Trouble(f"a connection ended within an answer: {answer[:200]!r}")
        answer += piece


def finished(answer: bytes) -> bool:
    """Whether this is the whole answer; L{Trouble} if it is another than it should be."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise Trouble(f"answered {head.splitlines()[0].decode(errors='replace')!r}")
    if b"chunked" in head.lower():
        raise Trouble("answered in chunks what has a length")
    return body == TINY


def connect(port: int) -> socket.socket:
    """A client's connection, with a bound on all that it waits for."""
    client = socket.create_connection((LOOPBACK, port), timeout=15.0)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def one_client(port: int, tls: bool = False) -> float:
    """Seconds that a client needs which connects, asks once, and closes."""
    start = time.perf_counter()
    with connect(port) as connected:
        client = _ANYBODY.wrap_socket(connected) if tls else connected
        ask(client, CLOSE)
        return time.perf_counter() - start


def kept_clients(port: int, count: int) -> list[socket.socket]:
    """Clients that connect and ask, one after the other, and stay."""
    clients = []
    for _ in range(count):
        clients.append(connect(port))
        ask(clients[-1])
    return clients


def at_once(port: int, count: int) -> list[float]:
    """
    Seconds that each of C{count} clients needs, all of which connect and ask within a millisecond or two, and close.
    """
    clients, starts = {}, {}
    try:
        for _ in range(count):
            start = time.perf_counter()
            client = connect(port)
            client.sendall(CLOSE)
            clients[client.fileno()], starts[client.fileno()] = client, start
        return list(_answers(clients, starts).values())
    finally:
        for client in clients.values():
            client.close()


def paced(port: int, rate: float, seconds: float, connections: int, directory: Path) -> list[tuple[float, float]]:
    """
    When each request was due, in seconds from the start, and the seconds from then to its answer, at a fixed rate for
    all C{seconds}.

    A request that is due while all connections are busy waits, and its wait counts: a proxy that stands still is not
    asked less (what wrk2 calls coordinated omission). L{Trouble} if this load cannot keep the rate. The load is a
    program in C, which is compiled into C{directory}.
    """
    load = directory / "paced"
    if not load.exists():
        source = Path(__file__).with_name("paced.c")
        made = subprocess.run(["cc", "-O2", "-o", str(load), str(source)], capture_output=True, text=True, check=False)
        if made.returncode:
            raise Trouble(f"paced: {made.stderr.strip()[-200:]}")
    command = [str(load), str(port), str(rate), str(seconds), str(connections)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * seconds + 30, check=False)
    if done.returncode:
        raise Trouble(f"paced: {done.stderr.strip()[-200:]}")
    both = (line.split() for line in done.stdout.splitlines())
    return [(float(due) / 1e6, float(took) / 1e6) for due, took in both]


def all_ask(clients: list[socket.socket]) -> None:
    """All these clients, which are connected, ask at the same time."""
    for client in clients:
        client.sendall(KEEP)
    _answers({client.fileno(): client for client in clients}, dict.fromkeys([c.fileno() for c in clients], 0.0))


def _answers(clients: dict[int, socket.socket], starts: dict[int, float]) -> dict[int, float]:
    poll = select.epoll()
    for descriptor in clients:
        poll.register(descriptor, select.EPOLLIN)
    answers = dict.fromkeys(clients, b"")
    took: dict[int, float] = {}
    deadline = time.monotonic() + 30
    while len(took) < len(clients):
        for descriptor, _ in poll.poll(1.0):
            piece = clients[descriptor].recv(65536)
            answers[descriptor] += piece
            if finished(answers[descriptor]):
                took[descriptor] = time.perf_counter() - starts[descriptor]
                poll.unregister(descriptor)
            elif not piece:
                raise Trouble(f"a connection ended within an answer: {answers[descriptor][:200]!r}")
        if time.monotonic() > deadline:
            raise Trouble(f"{len(clients) - len(took)} of {len(clients)} clients without an answer after 30 s")
    poll.close()
    return took
