"""
Scenarios of `mode tcp` that two programs play alike: one client, one server that is told what to do, and the line that
the proxy logs.

A scenario is a list of words, done one after the other. `c` is the client, `s` the server's end of the connection
(accepted when it is first named), `t` the second server's. After that letter:

    :text     sends it             <text   reads exactly this
    .fin      ends its side        .rst    resets
    .end      notes how the other side ends: eof, reset, or open (nothing within a moment)
    .none     notes whether anybody has connected to that server

`wait 0.5` waits. What is noted, and what the log says, is the outcome; the two programs' outcomes are compared.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import Factory, define, frozen

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, wait_for
from tests.ports import free_ports

#: Seconds for whatever is to come; and after which nothing is said to come.
PATIENCE = 5.0
MOMENT = 0.4

_LINE = re.compile(
    r"\[[^]]+\] (?P<name>sc\d+)~? (?P<backend>\S+)/(?P<server>\S+) (?P<times>[-\d]+/[-\d]+/\+?\d+) (?P<bytes>\+?\d+)"
    r" (?P<flags>\S\S) \d+/\d+/\d+/\d+/(?P<retries>\+?\d+) (?P<queues>\d+/\d+)"
)


@frozen
class Scenario:
    """
    What is configured and what is done.

    @ivar lines: of a `listen` section with a server on port {s}; {t} is the second server's, {dead} nobody's.
    @ivar steps: see above.
    """

    name: str
    lines: str
    steps: str
    #: Sections beside it; {name} is the scenario's own, as in `lines`.
    beside: str = ""
    #: Whether there is a `server` line of its own already.
    server: bool = True


@define
class _Stage:
    """The sockets of one scenario while it is played."""

    port: int
    listening: dict[str, socket.socket]
    ends: dict[str, socket.socket] = Factory(dict)
    seen: list[str] = Factory(list)

    def play(self, steps: str) -> list[str]:
        try:
            for step in steps.split():
                self._do(step)
        except TimeoutError:
            self.seen.append("nothing comes")
        except OSError:
            self.seen.append("refused")
        finally:
            for end in self.ends.values():
                end.close()
        return self.seen

    def _end(self, who: str) -> socket.socket:
        if who not in self.ends:
            if who == "c":
                self.ends[who] = socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE)
            else:
                self.listening[who].settimeout(PATIENCE)
                self.ends[who] = self.listening[who].accept()[0]
            self.ends[who].settimeout(PATIENCE)
            self.ends[who].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.ends[who]

    def _do(self, step: str) -> None:
        if step.startswith("wait="):
            time.sleep(float(step[5:]))
            return
        who, verb, text = step[0], step[1], step[2:].replace("_", " ").encode().decode("unicode_escape")
        if step[1:] == ".none":
            came = select.select([self.listening[who]], [], [], MOMENT)[0]
            self.seen.append(f"{who}: {'somebody' if came else 'nobody'}")
            return
        end = self._end(who)
        if verb == ":":
            end.sendall(text.encode("latin-1"))
        elif verb == "<":
            self._read(who, end, text.encode("latin-1"))
        elif text == "fin":
            end.shutdown(socket.SHUT_WR)
        elif text == "rst":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.ends.pop(who).close()
        elif text == "end":
            self.seen.append(f"{who} sees {self._how_it_ends(end)}")

    def _read(self, who: str, end: socket.socket, expected: bytes) -> None:
        data = b""
        try:
            while len(data) < len(expected) and (piece := end.recv(len(expected) - len(data))):
                data += piece
        except ConnectionError:
            data += b"(reset)"
        self.seen.append(f"{who}<{data.decode('latin-1')}")

    def _how_it_ends(self, end: socket.socket) -> str:
        end.settimeout(MOMENT)
        data = b""
        try:
            while piece := end.recv(65536):
                data += piece
            how = "eof"
        except ConnectionError:
            how = "reset"
        except TimeoutError:
            how = "open"
        end.settimeout(PATIENCE)
        return f"{data.decode('latin-1')!r} {how}" if data else how


class TCPDaemon(Daemon):
    HEAD = """\
global
    log stdout format raw local0
defaults
    mode tcp
    log global
    option tcplog
    timeout connect 2s
    timeout client 10s
    timeout server 10s
listen accepting
    bind {host}:{port}
    no log
    server none 127.0.0.1:1 disabled
# {stats_port}
"""


def outcomes(make: type[Daemon], directory: Path, scenarios: list[Scenario]) -> dict[str, list[str]]:
    """What becomes of each scenario with a proxy of this kind."""
    ports = free_ports(4 * len(scenarios))
    stages, text = [], ""
    for number, scenario in enumerate(scenarios):
        port, s, t, dead = ports[4 * number : 4 * number + 4]
        said = {"s": s, "t": t, "dead": dead, "name": f"sc{number}", "port": port}
        server = f" server s {LOOPBACK}:{s}\n" if scenario.server else ""
        body = "".join(f" {line.strip()}\n" for line in scenario.lines.format(**said).splitlines() if line.strip())
        text += f"listen sc{number}\n bind {LOOPBACK}:{port}\n{body}{server}{scenario.beside.format(**said)}\n"
        listening = {who: socket.create_server((LOOPBACK, at)) for who, at in (("s", s), ("t", t))}
        stages.append(_Stage(port, listening))
    proxy = make(directory, text)
    proxy.start()
    try:
        with ThreadPoolExecutor(len(scenarios)) as threads:
            played = list(threads.map(lambda pair: pair[0].play(pair[1].steps), zip(stages, scenarios, strict=True)))
        time.sleep(MOMENT)
        lines: dict[str, list[str]] = {}
        for found in _LINE.finditer(proxy.output):
            name = found["name"]
            server = found["backend"].replace(name, "own") + "/" + found["server"]
            counts = f"{found['bytes']} {found['flags']} retries {found['retries']} queued {found['queues']}"
            lines.setdefault(name, []).append(f"log: {server} {counts}")
    finally:
        proxy.stop()
        for stage in stages:
            for each in stage.listening.values():
                each.close()
    return {
        each.name: [*seen, *lines.get(f"sc{number}", [])]
        for number, (each, seen) in enumerate(zip(scenarios, played, strict=True))
    }


__all__ = ["Scenario", "TCPDaemon", "outcomes", "wait_for"]
