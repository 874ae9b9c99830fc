"""Tells whether a process is a daemon of this program, as which user it runs, and whether it has ended."""

from __future__ import annotations

import os
from pathlib import Path


def is_daemon(pid: int, proc: Path = Path("/proc")) -> bool | None:
    """Tells whether process `pid` is one of this program, by its command line.

    Returns None if that cannot be known, as there is no such process, or no /proc. Zombies and kernel threads have an
    empty command line.
    """
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    names = [os.path.basename(word) for word in words[:2]]
    # A word of twist's, twistd's or python's; or the command, which is run by its interpreter.
    return b"reusedproxy" in words or (names[0].startswith(b"python") and names[1:] == [b"reusedproxy"])


def has_ended(pid: int, proc: Path = Path("/proc")) -> bool:
    """Tells whether process `pid` has ended, and only its number is left until its parent hears of it. Returns False
    as well if that cannot be known."""
    try:
        said = (proc / str(pid) / "stat").read_bytes()
    except OSError:
        return False
    # Behind the name, which may have any characters in it, stands the state (proc(5)).
    return said.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])


def user_of(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Returns the number of the user as whom process `pid` runs; None if that cannot be known."""
    try:
        lines = (proc / str(pid) / "status").read_bytes().split(b"\n")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(b"Uid:")), None)
