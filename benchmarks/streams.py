#!/usr/bin/env python3
"""
What `mode tcp` costs and saves beside HAProxy: clients of a database that connect for each query, an echo behind
mutual TLS.

* first byte: the time from a client's connect to the first byte of its answer, the server a round trip away;
* CPU of the proxy for each client that connects, asks and leaves, the server over TLS, and in the clear;
* bytes that go through one connection for each second of the proxy's CPU;
* memory for each session that stands idle;
* with a server that closes connections on which nothing was asked for a second: what of the clients' questions is lost.

HAProxy runs with one thread; both have the same file, ours with a floor. It takes about two minutes. What comes out
goes to standard output.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from attrs import frozen

    from benchmarks import machine
    from reusedproxy.demo.certificates import Authority
    from tests.ports import free_ports
except ImportError as error:
    sys.exit(f"{error}: run it by a Python that has the package's dependencies (pip install .)")

ROOT = Path(__file__).resolve().parent.parent
NAME = "db.test"
QUERY = b"select 1;" + b" " * 91
FLOOR = 16

_TEXT = """
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen db
    bind 127.0.0.1:{port}
    server one 127.0.0.1:{server} {words}
"""


def serve(directory: Path, port: int, tls: bool, patience: float) -> None:
    """Echo at this port, each connection in a thread; close one on which nothing is asked for `patience` seconds."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0

    def echo(connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                connection = context.wrap_socket(connection, server_side=True)
            connection.settimeout(patience or None)
            while data := connection.recv(1 << 18):
                connection.settimeout(None)
                if data[:1] != b"\0":  # of which nothing comes back
                    connection.sendall(data)
        except OSError:
            pass
        finally:
            connection.close()

    with socket.create_server((machine.LOOPBACK, port), backlog=1024) as listening:
        while True:
            threading.Thread(target=echo, args=(listening.accept()[0],), daemon=True).start()


@frozen
class Contender:
    """Who takes part: its name, its words for the server line, and its command."""

    name: str
    floor: int
    command: Sequence[str]

    def words(self, directory: Path, tls: bool) -> str:
        floor = f"pool-min-conn {self.floor} pool-connect-rate 1000" if self.floor else ""
        if not tls:
            return floor
        files = f"ca-file {directory}/ca.pem crt {directory}/client.pem"
        return f"ssl verify required {files} sni str({NAME}) {floor}"


OURS = Contender("reusedproxy", FLOOR, (sys.executable, "-m", "twisted", "reusedproxy", "--config"))
WITHOUT = Contender("reusedproxy without a floor", 0, OURS.command)
HAPROXY = Contender("HAProxy", 0, (machine.program("haproxy") or "haproxy", "-db", "-f"))


class Running:
    """A contender before a server at this port."""

    def __init__(self, contender: Contender, directory: Path, server: int, tls: bool) -> None:
        (self.port,) = free_ports(1)
        name = f"{contender.name.replace(' ', '-')}-{self.port}"
        file = directory / f"{name}.cfg"
        text = _TEXT.format(port=self.port, server=server, words=contender.words(directory, tls))
        file.write_text(text.replace("global\n", "global\n    nbthread 1\n") if contender is HAPROXY else text)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        command = [*contender.command, str(file)]
        self.daemon = machine.Daemon(name, command, machine.PROXY_CORE, directory, environment)
        try:
            self.daemon.wait_listening(self.port)
        except BaseException:
            self.daemon.stop()
            raise
        time.sleep(1.5)  # the floor stands


def ask(port: int, query: bytes = QUERY) -> tuple[float, bytes]:
    """The seconds to the first byte of the answer, and the answer."""
    began = time.perf_counter()
    with socket.create_connection((machine.LOOPBACK, port), timeout=10) as client:
        client.sendall(query)
        answer = client.recv(65536)
        took = time.perf_counter() - began
        while len(answer) < len(query) and (more := client.recv(65536)):
            answer += more
        return took, answer


def first_bytes(running: Running, seconds: float, pause: float) -> str:
    """Clients one after the other."""
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        times.append(ask(running.port)[0] * 1000)
        time.sleep(pause)
    times.sort()
    return f"p50 {times[len(times) // 2]:.1f} ms, p99 {times[len(times) * 99 // 100]:.1f} ms ({len(times)} clients)"


def cpu_per_client(running: Running, seconds: float) -> str:
    """Clients one after the other, as fast as they are served."""
    ask(running.port)
    count, before = 0, running.daemon.cpu_seconds()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ask(running.port)
        count += 1
    time.sleep(0.5)
    used = running.daemon.cpu_seconds() - before
    return f"{used / count * 1e6:.0f} µs a client ({count / seconds:.0f} a second)"


def bulk(running: Running, seconds: float) -> str:
    """One client that sends as fast as it can."""
    piece = bytes(1 << 18)
    sent, before = 0, running.daemon.cpu_seconds()
    with socket.create_connection((machine.LOOPBACK, running.port), timeout=10) as client:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.sendall(piece)
            sent += len(piece)
    used = running.daemon.cpu_seconds() - before
    return f"{sent / used / 1e6:.0f} MB for a second of CPU ({sent / seconds / 1e6:.0f} MB/s)"


def memory(running: Running, count: int) -> str:
    """Sessions that have asked once and stand."""
    clients = []
    ask(running.port)
    before = running.daemon.memory()
    for _ in range(count):
        client = socket.create_connection((machine.LOOPBACK, running.port), timeout=10)
        client.sendall(QUERY)
        client.recv(65536)
        clients.append(client)
    time.sleep(1)
    used = running.daemon.memory() - before
    for client in clients:
        client.close()
    return f"{used / count / 1024:.1f} KiB a session"


def losses(running: Running, seconds: float) -> str:
    """Clients now and then, where the server closes what it hears nothing on."""
    lost = asked = 0
    random = Random(1)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(random.uniform(0.0, 0.25))
        asked += 1
        try:
            lost += ask(running.port)[1] != QUERY
        except OSError:
            lost += 1
    return f"{lost} of {asked} lost"


def main() -> None:
    """Measure each, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each part (5)")
    parser.add_argument("--round-trip", type=float, default=0.02, help="seconds to the server and back (0.02)")
    parser.add_argument("--sessions", type=int, default=400, help="that stand idle (400)")
    parser.add_argument("--only", default="", help="a part: first, cpu, bulk, memory or losses")
    parser.add_argument("--serve", nargs=4, metavar=("DIRECTORY", "PORT", "TLS", "PATIENCE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        directory, port, tls, patience = chosen.serve
        serve(Path(directory), int(port), tls == "tls", float(patience))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    contenders = [OURS, WITHOUT, *([HAPROXY] if machine.program("haproxy") else [])]
    with tempfile.TemporaryDirectory(prefix="reusedproxy-benchmark-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        authority = Authority("benchmark CA")
        authority.write(directory / "ca.pem")
        authority.issue(NAME, hosts=[NAME]).write(directory / "server.pem")
        authority.issue("benchmark client", client=True).write(directory / "client.pem")
        daemons: list[machine.Daemon] = []

        def server(kind: str, patience: float = 0.0) -> int:
            (port,) = free_ports(1)
            arguments = ["--serve", name, str(port), kind, str(patience)]
            command = [sys.executable, str(Path(__file__).resolve()), *arguments]
            daemons.append(machine.Daemon(f"echo-{port}", command, machine.LOAD_CORE, directory))
            daemons[-1].wait_listening(port)
            return port

        def away(port: int) -> int:
            relay, status = free_ports(2)
            command = [sys.executable, str(ROOT / "benchmarks" / "relay.py"), "--round-trip", str(chosen.round_trip)]
            command += ["--status", str(status), f"{relay}:{port}"]
            daemons.append(machine.Daemon(f"relay-{relay}", command, machine.LOAD_CORE, directory))
            daemons[-1].wait_listening(status)
            return relay

        try:
            tls, clear, hasty = server("tls"), server("clear"), server("tls", 1.0)
            seconds = chosen.seconds
            parts: list[tuple[str, str, int, bool, Callable[[Running], str]]] = [
                ("first", "first byte, mutual TLS", away(tls), True, lambda one: first_bytes(one, seconds, 0.02)),
                ("cpu", "CPU, mutual TLS", tls, True, lambda one: cpu_per_client(one, seconds)),
                ("cpu", "CPU, clear", clear, False, lambda one: cpu_per_client(one, seconds)),
                ("bulk", "one connection, TLS", tls, True, lambda one: bulk(one, seconds)),
                ("bulk", "one connection, clear", clear, False, lambda one: bulk(one, seconds)),
                ("memory", "memory, TLS", tls, True, lambda one: memory(one, chosen.sessions)),
                ("memory", "memory, clear", clear, False, lambda one: memory(one, chosen.sessions)),
                ("losses", "server closes after 1 s", hasty, True, lambda one: losses(one, 2 * seconds)),
            ]
            for key, title, port, secure, measure in parts:
                if chosen.only not in ("", key):
                    continue
                print(title)
                for contender in contenders:
                    running = Running(contender, directory, port, secure)
                    try:
                        print(f"    {contender.name:30} {measure(running)}", flush=True)
                    finally:
                        running.daemon.stop()
        finally:
            for daemon in daemons:
                daemon.stop()


if __name__ == "__main__":
    main()
