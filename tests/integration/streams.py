"""
Scenarios of `mode tcp` that two programs play alike: clients, servers that are told what to do, and the line that the
proxy logs.

A scenario is a list of steps, done one after the other. `c` and `d` are clients, `s` and `t` the servers' ends of their
next connection (accepted when first named; `s2` after that is the one after it). Behind the letter:

    :text     sends it             <text   reads exactly this
    ~text     sends it, if the other side still takes it
    !name     sends what a TLS client says first to a server of this name
    .fin      ends its side        .rst    resets             .open  connects, or accepts
    .done     ends its side, if the other one is still there
    .end      notes how the other side ends: eof, reset, or open (nothing within a moment)
    .none     notes whether anybody has connected to that server
    .got      notes what has come there so far, if anybody has connected
    .line     notes a line, its numbers left out
    .hello    notes whether such a first message comes

`wait=0.5` waits; `_` is a blank. What is noted, and what the log says, is the outcome; those of two programs are
compared.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import TestCase

from attrs import Factory, define, frozen

from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, missing, temporary_directory
from tests.ports import free_ports
from tests.test_wire_client_hello import hello_of

#: Seconds for whatever is to come; and after which nothing is said to come.
PATIENCE = 5.0
MOMENT = 0.4

_STEP = re.compile(r"([cd]|[st]\d?)([:<!.~])(.*)")
_LINE = re.compile(
    r"\[[^]]+\] (?P<name>sc\d+)~? (?P<backend>\S+)/(?P<server>\S+) [-\d]+/[-\d]+/\+?\d+ (?P<bytes>\+?\d+)"
    r" (?P<flags>\S\S) \d+/\d+/\d+/\d+/(?P<retries>\+?\d+) (?P<queues>\d+/\d+)"
)


@frozen
class Scenario:
    """
    What is configured and what is done.

    @ivar lines: of a `listen` section whose server `s` is on port {s}; {t} is the second server's, {dead} nobody's.
    @ivar beside: sections beside it.
    @ivar server: whether the section gets a line for `s`.
    """

    name: str
    lines: str
    steps: str
    beside: str = ""
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
            if who in "cd":
                self.ends[who] = socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE)
            else:
                listening = self.listening[who[0]]
                listening.settimeout(PATIENCE)
                self.ends[who] = listening.accept()[0]
            self.ends[who].settimeout(PATIENCE)
            self.ends[who].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.ends[who]

    def _do(self, step: str) -> None:
        if step.startswith("wait="):
            time.sleep(float(step[5:]))
            return
        found = _STEP.match(step)
        assert found is not None, step
        who, verb, text = found[1], found[2], found[3].replace("_", " ").encode().decode("unicode_escape")
        if (verb, text) == (".", "none"):
            came = select.select([self.listening[who]], [], [], MOMENT)[0]
            self.seen.append(f"{who}: {'somebody' if came else 'nobody'}")
            return
        if (verb, text) == (".", "got"):
            self._note_what_came(who)
            return
        end = self._end(who)
        if verb == ":":
            end.sendall(text.encode("latin-1"))
        elif verb == "~":
            with contextlib.suppress(OSError):
                end.sendall(text.encode("latin-1"))
        elif verb == "!":
            end.sendall(hello_of(text.encode()))
        elif verb == "<":
            self._read(who, end, text.encode("latin-1"))
        elif text == "fin":
            end.shutdown(socket.SHUT_WR)
        elif text == "done":
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_WR)
        elif text == "rst":
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.ends.pop(who).close()
        elif text == "end":
            self.seen.append(f"{who} sees {self._how_it_ends(end)}")
        elif text == "line":
            self.seen.append(f"{who} gets {self._line(end)}")
        elif text == "hello":
            data = end.recv(65536)
            self.seen.append(f"{who} gets {'a hello' if data[:1] == bytes([22]) else repr(data)}")

    def _read(self, who: str, end: socket.socket, expected: bytes) -> None:
        data = b""
        try:
            while len(data) < len(expected) and (piece := end.recv(len(expected) - len(data))):
                data += piece
        except ConnectionError:
            data += b"(reset)"
        self.seen.append(f"{who}<{data.decode('latin-1')}")

    def _note_what_came(self, who: str) -> None:
        if who not in self.ends and not select.select([self.listening[who[0]]], [], [], 0)[0]:
            self.seen.append(f"{who}: nobody")
        else:
            self.seen.append(f"{who} sees {self._how_it_ends(self._end(who))}")

    def _line(self, end: socket.socket) -> str:
        data = b""
        while not data.endswith(b"\n") and (piece := end.recv(1)):
            data += piece
        return re.sub(rb"\d+", b"N", data).decode().strip()

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
    """A daemon whose sections are in mode tcp; its C{port} only tells that it accepts."""

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


class TCPHAProxy(TCPDaemon, HAProxy):
    """HAProxy with the same file."""

    start = HAProxy.start


class BesideTestCase(TestCase):
    """Plays scenarios with both programs, all at a time."""

    skip = missing("haproxy")

    def setUp(self) -> None:
        if self.skip:
            self.skipTest(self.skip)

    def differing(self, scenarios: list[Scenario], expected: Collection[str] = ()) -> dict[str, str]:
        """What comes of it with one program, and with the other, by the names of those scenarios in which that differs.
        Where it is not `expected` they are played again: those whose moments a busy machine has stretched are alike
        when there are few of them."""
        self.assertEqual(len(scenarios), len({each.name for each in scenarios}), "two scenarios of one name")
        different = self._differences(scenarios)
        for _ in range(2):
            doubted = [each for each in scenarios if each.name in different.keys() - {*expected}]
            if doubted:
                again = self._differences(doubted)
                different = {name: said for name, said in different.items() if name in again or name in expected}
        return different

    def _differences(self, scenarios: list[Scenario]) -> dict[str, str]:
        directory = temporary_directory(self)
        theirs = outcomes(TCPHAProxy, directory / "haproxy", scenarios)
        ours = outcomes(TCPDaemon, directory / "ours", scenarios)
        return {
            name: f"{name}:\n  ours   {ours[name]}\n  theirs {theirs[name]}"
            for name in ours
            if ours[name] != theirs[name]
        }


def outcomes(make: type[Daemon], directory: Path, scenarios: list[Scenario]) -> dict[str, list[str]]:
    """What becomes of each scenario with a proxy of this kind."""
    sockets = [{who: socket.create_server((LOOPBACK, 0)) for who in "st"} for _ in scenarios]
    # After them, or the kernel might give one of these to a server.
    ports = free_ports(2 * len(scenarios))
    stages, text = [], ""
    for number, scenario in enumerate(scenarios):
        port, dead = ports[2 * number : 2 * number + 2]
        s, t = (listening.getsockname()[1] for listening in sockets[number].values())
        said = {"s": s, "t": t, "dead": dead, "name": f"sc{number}", "port": port}
        server = f" server s {LOOPBACK}:{s}\n" if scenario.server else ""
        body = "".join(f" {line.strip()}\n" for line in scenario.lines.format(**said).splitlines() if line.strip())
        beside = scenario.beside.format(**said)
        text += f"listen sc{number}\n bind {LOOPBACK}:{port}\n{body}{server}{beside}\n"
        stages.append(_Stage(port, sockets[number]))
    proxy = make(directory, text)
    proxy.start()
    try:
        pairs = zip(stages, scenarios, strict=True)
        with ThreadPoolExecutor(len(scenarios)) as threads:
            played = list(threads.map(lambda pair: pair[0].play(pair[1].steps), pairs))
        time.sleep(MOMENT)
        lines: dict[str, list[str]] = {}
        of_requests = {f"sc{number}" for number, each in enumerate(scenarios) if "mode http" in each.beside}
        for found in _LINE.finditer(proxy.output):
            name = found["name"]
            server = re.sub(rf"\b{name}\b", "own", found["backend"]) + "/" + found["server"]
            # HAProxy counts those of a head in its own form, which has another length.
            size = found["bytes"] if name not in of_requests or found["bytes"] == "0" else "some"
            counts = f"{size} {found['flags']} retries {found['retries']} queued {found['queues']}"
            lines.setdefault(name, []).append(f"log: {server} {counts}")
    finally:
        proxy.stop()
        for stage in stages:
            for each in stage.listening.values():
                each.close()
    return {
        scenario.name: [*seen, *lines.get(f"sc{number}", [])]
        for number, (scenario, seen) in enumerate(zip(scenarios, played, strict=True))
    }
