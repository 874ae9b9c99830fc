#!/usr/bin/env python3
"""
What clients cost that are connected and say nothing: 10,000 of them, before ours and before HAProxy, in one run.

Three kinds: they have never said anything; they have asked once and stay; they have stopped within a head. Memory is
the growth of resident memory by them, in a fresh process for each kind; CPU is what the process uses while all of them
are silent. The kernel's memory for sockets is not counted. The table goes to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from attrs import frozen

    from benchmarks import load, machine
    from benchmarks.backend import Backend, Site
    from benchmarks.contenders import PLAIN, HAProxyTuned, Ours, Running, Target
except ImportError as error:
    sys.exit(f"{error}: run it by a Python that has the package's dependencies (pip install .)")

HALF = b"GET /tiny HTTP/1.1\r\nHost: server.test\r\nX-Slowly: "
#: Descriptors that clients and proxy need besides one for each client.
SPARE = 300


@frozen
class OursForMany(Ours):
    """With a `maxconn` that lets them all in."""

    clients: int

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        text = super().configuration(site, port, server, floor, front)
        return text.replace("global\n", f"global\n    maxconn {self.clients + 50}\n")


@frozen
class HAProxyForMany(HAProxyTuned):
    """The same. It would not start with fewer descriptors than two for each client: `no strict-limits`."""

    clients: int

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        text = super().configuration(site, port, server, floor, front)
        return text.replace("global\n", f"global\n    maxconn {self.clients + 50}\n    no strict-limits\n")


def silent(client: socket.socket) -> None:
    """Says nothing."""


def stopped(client: socket.socket) -> None:
    """Stops within a head."""
    client.sendall(HALF)


KINDS: dict[str, tuple[str, Callable[[socket.socket], None]]] = {
    "silent": ("has said nothing", silent),
    "kept": ("has asked once, and stays", load.ask),
    "stopped": ("has stopped within a head", stopped),
}


def client(port: int, number: int) -> socket.socket:
    """One more, from one of many addresses: a single one has some 28,000 ports."""
    return socket.create_connection(
        (machine.LOOPBACK, port), timeout=15.0, source_address=(f"127.0.1.{1 + number % 50}", 0)
    )


def measured(running: Running, count: int, seconds: float, do: Callable[[socket.socket], None]) -> tuple[float, float]:
    """Bytes per client, and the share of a core used while all are silent."""
    for warm in load.kept_clients(running.port, 50):
        warm.close()
    before = running.memory()
    clients = []
    try:
        for number in range(count):
            clients.append(client(running.port, number))
            do(clients[-1])
        # Who was let in is let in, and what it has said has been read, when one who came later is answered.
        load.one_client(running.port)
        grown = running.memory() - before
        used, began = running.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        share = (running.cpu_seconds() - used) / (time.monotonic() - began)
        load.one_client(running.port)
        return grown / count, share
    finally:
        for each in clients:
            each.close()


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of silence that are watched (10)")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < chosen.clients + SPARE:
        sys.exit(f"{chosen.clients} clients need {chosen.clients + SPARE} descriptors; ulimit -n is {hard}")
    contenders = [each for each in (OursForMany(chosen.clients), HAProxyForMany(chosen.clients)) if not each.missing()]
    print(f"| a client that | {' | '.join(f'{each.title}: KiB each | CPU' for each in contenders)} |")
    print("|---" * (1 + 2 * len(contenders)) + "|")
    with tempfile.TemporaryDirectory(prefix="reusedproxy-benchmark-", ignore_cleanup_errors=True) as directory:
        backend = Backend(Path(directory), "1.3")
        try:
            for words, do in KINDS.values():
                cells = [words]
                for contender in contenders:
                    running = Running(contender, backend.site, Target(backend.port))
                    try:
                        size, share = measured(running, chosen.clients, chosen.seconds, do)
                    finally:
                        running.stop()
                    cells += [f"{size / 1024:.2f}", f"{share:.2%}"]
                print(f"| {' | '.join(cells)} |", flush=True)
        finally:
            backend.stop()


if __name__ == "__main__":
    main()
