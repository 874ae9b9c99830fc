"""
TCP ports for programs that tests and benchmarks start, which no other process gets meanwhile.

A port that the kernel gave a moment ago is no such port: it is one of those that outgoing connections, and everybody
else who asks the kernel, are given next. These lie below the kernel's range, in blocks; the block that a process takes
its ports from is its own for as long as it lives (an abstract unix socket of that name is), and no port of it is given
twice before all others were.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

#: Where the blocks begin, above the ports of known services, and how many ports each has.
LOWEST = 10000
BLOCK = 200

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """
    The block of this process.

    Nothing stands before the first port is asked for. A process forked since takes a block of its own.
    Any thread may ask.
    """

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._pid = 0
        self._lock: socket.socket | None = None
        self._first = 0
        self._next = 0

    def free(self, count: int, host: str = "127.0.0.1") -> list[int]:
        """
        Ports that nobody has on C{host}, all different.

        @raise AssertionError: when the block has no so many, or all blocks are taken.
        """
        with self._one_at_a_time:
            return self._free(count, host)

    def _free(self, count: int, host: str) -> list[int]:
        if self._pid != os.getpid():
            self._take_block()
        found: list[int] = []
        for _ in range(BLOCK):
            if len(found) == count:
                break
            port = self._first + self._next
            self._next = (self._next + 1) % BLOCK
            if _is_free(host, port):
                found.append(port)
        if len(found) < count:
            raise AssertionError(f"{count} ports asked for, {len(found)} of {BLOCK} are free")
        return found

    def _take_block(self) -> None:
        try:
            highest = int(_RANGE.read_text().split()[0])
        except OSError:
            highest = 32768
        if highest < LOWEST + BLOCK:
            highest = 65536  # the kernel's range covers all: better there than nowhere
        for first in range(LOWEST, highest - BLOCK + 1, BLOCK):
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                lock.bind(f"\0reusedproxy-tests-ports-{first}")
            except OSError:
                lock.close()
                continue
            self._pid, self._lock, self._first, self._next = os.getpid(), lock, first, 0
            return
        raise AssertionError("all blocks of ports are taken: are there so many runs of the tests at once?")


def _is_free(host: str, port: int) -> bool:
    with contextlib.closing(socket.socket()) as each:
        # As servers do: a port on which old connections are still dying can be listened on.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            each.bind((host, port))
        except OSError:
            return False
    return True


_PORTS = Ports()
free_ports = _PORTS.free


def free_port() -> int:
    """One of L{free_ports}."""
    return free_ports(1)[0]
