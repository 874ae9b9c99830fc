"""
A machine to install packages on, for tests: a tree of Debian's that stays as it is, a layer over it for all that is
written, and namespaces of its own for processes, files and the network, of which it has the loopback device only.

It boots systemd as its first process, or has a sleeper there: then it is a machine with init scripts. It knows
systemd-nspawn(1), nsenter(1) and overlays; it must not know what is installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from unittest import TestCase

from .peers import wait_for

#: Programs that are needed, and the Debian packages that bring them.
NEEDED = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "mount": "mount", "dpkg-deb": "dpkg"}


def impediment() -> str:
    """Why there can be no such machine, in words for C{skip}; empty if there can."""
    absent = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if absent:
        return f"apt-get install {' '.join(absent)}"
    return "" if os.geteuid() == 0 else "only root can mount a layer over the tree"


class Machine:
    """One machine, from its creation until the test is over."""

    def __init__(self, test: TestCase, tree: Path, *, boots: bool) -> None:
        self.boots = boots
        directory = Path(tempfile.mkdtemp(prefix="reusedproxy-machine-"))
        test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.root = directory / "root"
        for name in ("upper", "work", "root"):
            (directory / name).mkdir()
        layers = f"lowerdir={tree},upperdir={directory}/upper,workdir={directory}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(self.root)], check=True)
        test.addCleanup(subprocess.run, ["umount", str(self.root)], check=True)
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network"]
        command += [f"--machine=m{os.getpid()}", "--resolv-conf=off", "--timezone=off", f"--directory={self.root}"]
        command += ["--console=pipe", *(["--boot"] if boots else ["--as-pid2", "sleep", "infinity"])]
        self._output = (directory / "console").open("wb")
        test.addCleanup(self._output.close)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output)
        self._started: list[subprocess.Popen[str]] = []
        test.addCleanup(self._stop)
        self._first = wait_for(self._find_first, "the first process of the machine")
        wait_for(self._is_up, "the machine to come up", seconds=60)

    def _find_first(self) -> int | None:
        """The number, out here, of the process that is 1 in there: a child of systemd-nspawn's child, or that one."""
        if self._process.poll() is not None:
            raise AssertionError((self.root.parent / "console").read_text())
        found = [self._process.pid]
        for parent in found:
            listed = Path(f"/proc/{parent}/task/{parent}/children")
            found += map(int, listed.read_text().split() if listed.exists() else ())
        for pid in found:
            status = Path(f"/proc/{pid}/status")
            if status.exists() and any(line.split()[1:][1:] == ["1"] for line in _namespaced(status)):
                return pid
        return None

    def _is_up(self) -> bool:
        if self.boots:
            said = self.run("systemctl", "is-system-running").stdout.strip()
            return said in ("running", "degraded")
        return self.run("ip", "link", "set", "lo", "up").returncode == 0

    def _stop(self) -> None:
        if self._process.poll() is None:
            os.kill(self._first, signal.SIGKILL)  # all others go with it
            self._process.wait(30)
        for each in self._started:
            each.communicate()

    def command(self, *words: str | Path) -> list[str]:
        """What runs a command in there."""
        entered = ["nsenter", f"--target={self._first}", "--all", f"--root=/proc/{self._first}/root", "--wd=/"]
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        # What runlevel(8) says where nobody has booted.
        level = [] if self.boots else ["RUNLEVEL=2", "PREVLEVEL=N"]
        return [*entered, *clean, *level, "DEBIAN_FRONTEND=noninteractive", *map(str, words)]

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False
        )

    def check(self, *words: str | Path) -> str:
        """Runs what has to succeed; what it printed."""
        done = self.run(*words)
        if done.returncode:
            raise AssertionError(
                f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout + done.stderr

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Starts what goes on; the machine takes it along when it ends."""
        started = subprocess.Popen(
            self.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._started.append(started)
        return started


def _namespaced(status: Path) -> list[str]:
    """The line with the numbers of a process, out here first, in its own namespace last."""
    try:
        return [line for line in status.read_text().splitlines() if line.startswith("NSpid:")]
    except OSError:
        return []
