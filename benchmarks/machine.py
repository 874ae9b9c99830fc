"""
The machine that the benchmark runs on: its cores, its processes and what they cost, its ports.

It knows /proc (Linux) and nothing of what is measured.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
#: Where an nginx keeps its temporary files, for `format`: an ordinary user's would be in directories of root's.
NGINX_FILES = """\
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    access_log off;
"""

TICKS = os.sysconf("SC_CLK_TCK")

_CORES = sorted(os.sched_getaffinity(0))
#: The first core carries the load, the server and the relay; the second carries the proxy, one at a time.
LOAD_CORE, PROXY_CORE = _CORES[0], _CORES[min(1, len(_CORES) - 1)]


class Trouble(Exception):
    """Something that one contender or one work cannot go on with; the others can."""


def cores() -> int:
    """How many cores we may use."""
    return len(_CORES)


def program(name: str) -> str | None:
    """Where a program is; sbin, too, which is not in an ordinary user's PATH on Debian."""
    return shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def wait_for(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Until C{condition} is true; L{Trouble} when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Trouble(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody accepts there."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def connections_accepted() -> int:
    """Connections accepted on this machine so far, all programs together (the kernel's PassiveOpens)."""
    names, values = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Tcp:"]
    return int(values[names.index("PassiveOpens")])


class Daemon:
    """
    A program that runs until L{stop}, pinned to one core, its output in a file.

    @ivar name: for messages, and for the name of that file.
    """

    def __init__(
        self, name: str, command: Sequence[str], core: int, directory: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._output = directory / f"{name}.output"
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                # By taskset, which becomes the program: HAProxy counts the cores it may use when it starts.
                ["taskset", "-c", str(core), *command],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own, so that stopping reaches its children, and an interrupt key reaches only us.
                start_new_session=True,
            )

    def wait_listening(self, port: int) -> None:
        """Until it accepts connections; L{Trouble} with its last words if it ends instead."""

        def ready() -> bool:
            if self._process.poll() is not None:
                raise Trouble(f"{self.name} did not start: {self.last_words()}")
            return listens(port)

        wait_for(ready, f"{self.name} to listen; {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed."""
        lines = self._output.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-400:] or "it printed nothing"

    def cpu_seconds(self) -> float:
        """CPU time of the process, its children, and the children that have ended."""
        # utime, stime, cutime and cstime are fields 14 to 17 of proc(5); the list starts with field 3.
        return sum(sum(map(int, fields[11:15])) for fields in self._family().values()) / TICKS

    def memory(self) -> int:
        """
        Resident bytes of the process and its children, by smaps_rollup: the count in /proc/PID/stat goes in steps
        of 128 KiB here, an eighth of what 1000 idle clients need.
        """
        lines = [line for pid in self._family() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024

    def _family(self) -> dict[int, list[str]]:
        """/proc/PID/stat, from field 3 (state) on, of the process and all its descendants."""
        everybody = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                head, _, tail = path.read_text().rpartition(") ")
            except OSError:
                continue  # It ended while we looked.
            everybody[int(head.split(" ", 1)[0])] = tail.split()
        if self._process.pid not in everybody or self._process.poll() is not None:
            raise Trouble(f"{self.name} has ended: {self.last_words()}")
        family = [self._process.pid]
        for parent in family:
            family += [pid for pid, fields in everybody.items() if int(fields[1]) == parent]
        return {pid: everybody[pid] for pid in family}

    def signal(self, number: int) -> None:
        """Send a signal to the program, not to its children."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it, gently first."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            # Its own session holds it and its children, nobody else.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
