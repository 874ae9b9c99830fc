"""
The server behind a relay (`relay.py`): with a round trip and, if asked for, a limit to the silence of a connection. It
can go away, and come back at the same address.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.backend import Backend
from benchmarks.contenders import Target
from tests.ports import free_ports


class Delayed:
    """
    A relay with a port for each contender, so that their connections are counted apart.

    @ivar servers: what each contender is to take for its server.
    """

    def __init__(
        self, backend: Backend, keys: Sequence[str], round_trip: float, *, tls: bool = True, idle: float = 0.0
    ) -> None:
        """
        @param round_trip: in seconds.
        @param idle: seconds of silence after which a connection is ended; 0: never.
        """
        server = backend.port if tls else backend.plain_port
        self._status, *ports = free_ports(1 + len(keys))
        self._ports = dict(zip(keys, ports, strict=True))
        self._command = [
            *(sys.executable, str(Path(__file__).with_name("relay.py"))),
            *("--round-trip", str(round_trip), "--idle", str(idle), "--status", str(self._status)),
            *(f"{port}:{server}" for port in ports),
        ]
        self._directory = backend.site.directory
        self.servers = {key: Target(port, tls) for key, port in self._ports.items()}
        self.start()

    def start(self) -> None:
        """Run it, again where it was stopped; it counts from nothing."""
        self._daemon = machine.Daemon(f"relay-{self._status}", self._command, machine.LOAD_CORE, self._directory)
        self._daemon.wait_listening(self._status)

    def stop(self) -> None:
        """End it, and with it all connections; new ones are refused."""
        self._daemon.stop()

    def accepted(self, key: str) -> int:
        """How many connections have come for this contender so far."""
        return self._counts(key)[0]

    def standing(self, key: str) -> int:
        """How many of them are open."""
        return self._counts(key)[1]

    def _counts(self, key: str) -> tuple[int, int]:
        with socket.create_connection((machine.LOOPBACK, self._status), timeout=5.0) as asker:
            lines = [[int(word) for word in line.split()] for line in asker.makefile()]
        ((accepted, standing),) = ((first, second) for port, first, second in lines if port == self._ports[key])
        return accepted, standing
