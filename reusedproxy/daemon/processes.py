"""Tells whether a process is a daemon of this program, as which user it runs, and whether it has ended."""

from __future__ import annotations

import os
import sys
from getopt import GetoptError, getopt
from pathlib import Path

from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

#: What twist is called: in Debian it is twist3, and twistd is twistd3.
_TWIST = frozenset((b"twist", b"twist3", b"twisted"))
#: Programs that run the daemon, beside the one that asks.
_PROGRAMS = _TWIST | {b"twistd", b"twistd3", b"reusedproxy"}
#: Options of Python's that take the next word.
_WITH_VALUE = (b"-W", b"-X")
#: Options of twist's.
_OF_TWIST = ["reactor=", "log-level=", "log-file=", "log-format="]


def is_daemon(pid: int, proc: Path = Path("/proc")) -> bool | None:
    """Tells whether process `pid` is one of this program, by its command line: the interpreter, one of the programs
    that run the daemon, and its words. Words behind another program's own are what that one runs, or looks for (`strace
    twistd reusedproxy`), and a process in a container, or one that was started in another root, is another machine's.

    Returns None if that cannot be known, as there is no such process, or no /proc. Zombies and kernel threads have an
    empty command line.
    """
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    name = os.path.basename(words.pop(0))
    if b"python" in name or name.startswith(b"pypy"):
        name = _script(words)
    if not name or (name not in _PROGRAMS and name != os.fsencode(os.path.basename(sys.argv[0]))):
        return False
    ours = words[:1] != [b"doctor"] if name == b"reusedproxy" else _runs_our_plugin(name, words)
    return ours and _numbers(pid, proc) == _numbers("self", proc) and not _has_other_root(pid, proc)


def _runs_our_plugin(name: bytes, words: list[bytes]) -> bool:
    """Tells whether the word behind the options of twist or twistd, and what they are given, is our plugin's name."""
    short, known = "", _OF_TWIST
    if name not in _TWIST:
        twistd = ServerOptions()
        short, known = twistd.shortOpt, twistd.longOpt
    try:
        return getopt([os.fsdecode(word) for word in words], short, known)[1][:1] == ["reusedproxy"]
    except GetoptError:
        return False


def _has_other_root(pid: int, proc: Path) -> bool:
    """Tells whether a process was started in another root than ours. One that has been given another since (twistd's
    `--chroot`) runs a program from outside of it."""
    try:
        root, program = os.readlink(proc / str(pid) / "root"), os.readlink(proc / str(pid) / "exe")
        return program.startswith(root.rstrip("/") + "/") and not os.path.samefile(proc / str(pid) / "root", "/")
    except OSError:  # it may not be looked at
        return False


def _script(words: list[bytes]) -> bytes:
    """Takes what Python runs off its words, with the options before that, and returns its name; nothing for a text."""
    while words:
        word = words.pop(0)
        if word in _WITH_VALUE:
            del words[:1]
        elif word[:2] == b"-m":
            return word[2:] or (words.pop(0) if words else b"")
        elif word == b"-" or word[:2] == b"-c":
            return b""
        elif word[:1] != b"-":
            return os.path.basename(word)
    return b""


def _numbers(pid: int | str, proc: Path) -> int:
    """Returns how many numbers a process has: one, and one for each container that it is in, of those that are seen
    from here (proc(5), NSpid); 0 where that is not known."""
    try:
        lines = (proc / str(pid) / "status").read_bytes().split(b"\n")
    except OSError:
        return 0
    return next((len(line.split()) - 1 for line in lines if line.startswith(b"NSpid:")), 0)


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
