"""Checks twistd's options before it starts: unusable paths, on which it fails with a traceback, and stale pid files.

twistd refuses to start when the pid file names a live process, whichever it is, and when the file is empty. It reads
the file after the command line, so a plugin can remove it before. Two kinds are removed: an empty one (a crash before
it was written, a full disk), and one whose number belongs to another program now. The latter is likely, since numbers
are reused, and in containers begin at 1. A file with other text is left for twistd to refuse: it may be no pid file at
all.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, textFileLogObserver
from twisted.python.logfile import LogFile

from reusedproxy.daemon.account import Account
from reusedproxy.daemon.supervision import is_daemon
from reusedproxy.operators.logs.own import use_observer

#: Largest size of a pid file in bytes, and an upper bound for process numbers (Linux: PID_MAX_LIMIT).
LONGEST = 64
MOST = 2**22 + 1


#: twistd's options with a file that it writes, and those with a directory that it enters.
WRITTEN = ("pidfile", "logfile")
ENTERED = ("chroot", "rundir")


def unusable(options: Mapping[str, object]) -> str:
    """Returns the fault of the first unusable path among twistd's `options`, "" if all can be used."""
    for name in ENTERED:
        path = options.get(name)
        if isinstance(path, str) and path != "." and not os.path.isdir(path):
            return f"--{name} {path}: there is no such directory"
    account = _becoming(options)
    for name in WRITTEN:
        path = options.get(name)
        if not isinstance(path, str) or path in ("", "-"):
            continue
        # The pid file is written by root, the log file by the user.
        if account is None or name == "pidfile":
            reason = _cannot_write(path)
        else:
            with account.acting():
                reason = _cannot_write(path)
            reason += f" for user {account.name}, whom the daemon becomes" if reason else ""
        if reason:
            return f"--{name} {path}: {reason}"
    return ""


def _cannot_write(path: str) -> str:
    directory = os.path.dirname(os.path.abspath(path))
    try:
        mode = os.stat(directory).st_mode
    except OSError as error:
        return f"its directory cannot be used: {error.strerror}"
    if not stat.S_ISDIR(mode):
        return f"{directory} is not a directory"
    if os.path.isdir(path):
        return "is a directory, a file is needed"
    if not os.access(path if os.path.exists(path) else directory, os.W_OK, effective_ids=True):
        return "cannot be written: Permission denied"
    return ""


class UsersLogFile(LogFile):
    """Writes a log file that only its owner rotates: twistd writes the first lines as root, who
    would own the new file."""

    def shouldRotate(self) -> bool:
        return os.geteuid() == os.fstat(self._file.fileno()).st_uid and bool(super().shouldRotate())


def log_as_user(options: Any) -> None:
    """Opens the log file as the user of twistd's --uid, instead of as root.

    In a directory of his own, that user could have put a symbolic link to any of root's files in its place.
    """
    account, path = _becoming(options), options.get("logfile")
    if account is None or not path or path == "-" or options.get("syslog") or options.get("logger"):
        return
    whole = os.path.abspath(path)
    if os.path.exists(whole) and not os.path.isfile(whole):
        return  # a pipe, /dev/null

    def observer() -> ILogObserver:
        with account.acting():
            file: Any = UsersLogFile.fromFullPath(whole)
        return textFileLogObserver(file)

    use_observer(options, observer)


def _becoming(options: Mapping[str, object]) -> Account | None:
    """Returns the account that root becomes by twistd's options; None for nobody, or if it cannot."""
    uid, gid = options.get("uid"), options.get("gid")
    if os.geteuid() != 0 or not isinstance(uid, int) or uid == 0:
        return None
    account = Account.of(uid, gid if isinstance(gid, int) else None)
    return None if account.impediment() else account  # an impediment is reported later


def remove_stale(path: str | None, proc: Path = Path("/proc")) -> None:
    """Removes the pid file at `path` if it names no daemon of this program."""
    if not path or not _is_stale(path, proc):
        return
    try:
        os.remove(path)
    except OSError:
        return  # twistd reports the obstacle
    print(f"[NOTICE] {path}: removed, it named no running reusedproxy", file=sys.stderr)


def _is_stale(path: str, proc: Path) -> bool:
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > LONGEST:
            return False
        with open(path, "rb") as file:
            text = file.read().strip(b" \t\r\n\0")  # after a power failure a file may contain zeros
    except OSError:
        return False
    if not text:
        return True
    if not text.lstrip(b"-").isdigit():
        return False
    if not 0 < int(text) < MOST or int(text) == os.getpid():
        return True
    return is_daemon(int(text), proc) is False  # None, no such process: twistd handles that itself
