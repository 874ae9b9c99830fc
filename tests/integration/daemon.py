"""
The daemon as a user runs it: C{twist reusedproxy --config FILE} in a process of its own.

It knows the command line and nothing of the inside: what tests see is what a user sees.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.integration.peers import LOOPBACK, Process, accepts_connections, listening, wait_for
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "twisted", "reusedproxy"]
#: Seconds for a start. It is 2 s of computing; eight processes beside it on two processors made that more than 10 s.
START = 40.0


def run_once(*arguments: str, seconds: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run C{twist reusedproxy} with C{arguments}, which must make it end by itself."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=seconds
    )


class Daemon:
    """
    One daemon with one frontend on C{port} and a statistics page on C{stats_port}.

    Its figures are those of the moment at which they are asked for. (A user may be shown those of up to a second
    before, see L{reusedproxy.operators.stats.moment}: a test that waits for one figure would be shown old others.)

    @ivar file: its configuration, made of C{text} with these two in front.
    """

    HEAD = """\
global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    timeout connect 2s
    timeout client 10s
    timeout server 10s
frontend statistics
    bind {host}:{stats_port}
    stats enable
    stats uri /
frontend main
    bind {host}:{port}
    default_backend servers
"""

    #: Lines of Python that the daemon's process runs first, to make a fault in it.
    changes = ""
    #: Further words of the command line.
    more: Sequence[str] = ()

    def __init__(self, directory: Path, text: str, descriptors: int | None = None) -> None:
        """
        @param descriptors: how many it may have open (C{ulimit -n}).
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self.stats_port = free_port(), free_port()
        self.file = directory / "reusedproxy.cfg"
        self._process = Process(directory)
        self._limit = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"]
        self.write(text)

    def write(self, text: str) -> None:
        """Write the configuration (again)."""
        self.file.write_text(self.HEAD.format(host=LOOPBACK, port=self.port, stats_port=self.stats_port) + text)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process.running is not None
        return self._process.running.pid

    @property
    def output(self) -> str:
        """All it has printed: notices, its log, and the access log."""
        return self._process.output

    def has_said(self, words: str) -> bool:
        """Whether it has printed these."""
        return words in self.output

    def says(self, words: str) -> None:
        """Wait until it has printed these: what it does can be seen before its line is read."""
        wait_for(lambda: self.has_said(words), f"{words!r} in:\n{self.output}")

    def command(self) -> list[str]:
        """What is run."""
        # Twisted looks for plugins in the path, so this serves an uninstalled checkout, too.
        return [
            *self._limit,
            sys.executable,
            "-c",
            _FROM_CHECKOUT + self.changes + _CURRENT_FIGURES + "Twist.main()\n",
            str(ROOT),
            "--log-format=text",
            "reusedproxy",
            "--config",
            str(self.file),
            *self.more,
        ]

    def start(self) -> None:
        """Start, and return when it accepts at all ports of its `bind` lines."""
        self._start(self.command(), "the daemon")

    def _start(self, command: Sequence[str], what: str) -> None:
        self._process.spawn(command)
        text = self.file.read_text()
        binds = {(host, int(port)) for host, port in _BIND.findall(text)}
        sockets = [Path(each) for each in _UNIX.findall(text)]

        def accepting() -> bool:
            if self._process.died():
                raise AssertionError(f"{what} did not start: {self.output}")
            # One port is bound after the other, and that of C{main} is not the last.
            return binds <= listening() and all(each.exists() for each in sockets) and accepts_connections(self.port)

        try:
            wait_for(accepting, f"{what} to accept", START, every=0.05)
        except BaseException:
            self.stop()
            raise

    def start_alone(self) -> None:
        """Start one that is to end by itself, where another process accepts on its port."""
        self._process.spawn(self.command())
        wait_for(self._process.died, "the daemon to end", START)
        raise AssertionError(f"the daemon did not start: {self.output}")

    def cpu_seconds(self) -> float:
        """CPU time that it has used so far."""
        # utime and stime are fields 14 and 15 of proc(5); the second is the name, which may contain anything.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Its resident bytes."""
        (line,) = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmRSS" in line]
        return int(line.split()[1]) * 1024

    def descriptors(self) -> int:
        """How many it has open, but for the poller's eventfd:
        that one is opened when a turn is first waited for, and kept."""
        count = 0
        for entry in os.scandir(f"/proc/{self.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += os.readlink(entry.path) != "anon_inode:[eventfd]"
        return count

    def signal(self, number: int) -> None:
        assert self._process.running is not None
        self._process.running.send_signal(number)

    def stop(self) -> None:
        """Stop it as an init script does. Safe to call twice."""
        self._process.stop(signal.SIGTERM)

    def ended(self) -> bool:
        """Whether its process is over."""
        return self._process.died()

    def statistics(self) -> list[dict[str, str]]:
        """The rows of its CSV."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.stats_port}/;csv", timeout=20) as answer:
            text = answer.read().decode()
        return list(csv.DictReader(io.StringIO(text.removeprefix("# "))))

    def page(self) -> str:
        """Its page, with all of the pools."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.stats_port}/;unfold", timeout=20) as answer:
            return str(answer.read().decode())

    def server(self, name: str, proxy: str = "servers") -> dict[str, str]:
        """The row of one server."""
        (row,) = [each for each in self.statistics() if each["pxname"] == proxy and each["svname"] == name]
        return row

    def pool(self, name: str, *fields: str) -> Sequence[int]:
        """Numbers of one server's pool, by the ends of their columns' names."""
        row = self.server(name)
        return [int(row[f"pool_{field}"]) for field in fields]


_FROM_CHECKOUT = """\
import os, sys
root = sys.argv.pop(1)
sys.path.insert(0, root)
sys.argv[0] = "twist"
from twisted.application.twist._twist import Twist
"""
_CURRENT_FIGURES = """\
import reusedproxy.operators.stats.moment
reusedproxy.operators.stats.moment.REST = 0
"""
#: Addresses and ports in lines of a configuration.
_BIND = re.compile(r"(?m)^\s*bind\s+(\d+\.\d+\.\d+\.\d+):(\d+)(?![\d,-])")
#: The paths of unix sockets, at which HAProxy listens last.
_UNIX = re.compile(r"^\s*(?:stats socket|bind) (?:unix@)?(/[^\s,]+)", re.MULTILINE)
