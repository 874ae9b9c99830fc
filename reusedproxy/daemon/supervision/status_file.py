"""Writes the status file of an init script (`--status-file`), and reads it for `--reload`.

It is one line of JSON: the daemon's process, its state, the number of the last reload and what that said. The daemon
keeps it open and locked; root must neither write to another user's file nor be kept from its own. Must never know what
a reload does.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from attrs import frozen
from twisted.logger import Logger

from reusedproxy.config.language.printable import printable
from reusedproxy.net.trusted_paths import demand_plain, open_file, parent_of

# States in the status file.
STARTING = "starting"
RUNNING = "running"
RELOADING = "reloading"
RELOADED = "reloaded"
REFUSED = "refused"
STOPPING = "stopping"

#: Largest size of a refusal's lines in the file, in characters.
KEPT = 16 * 1024
#: How a status file begins.
_BEGINNING = b'{"pid": '


class StatusFile:
    """Writes one line of JSON that is always complete or absent.

    It is opened before the daemon becomes its user, who may not be allowed to open it. That user has it open then, and
    may leave anything in it, and processes that hold its lock: root begins a new file each time, and whatever that user
    can have left is in nobody's way.
    """

    _log = Logger()

    def __init__(self, path: str, pid: Callable[[], int] = os.getpid, replaces: bool = False) -> None:
        """Opens the file; one that `replaces` another daemon's writes nothing before `take` is called. Raises
        OSError."""
        self._pid = pid
        self._path = path
        self._waits = replaces
        with parent_of(path) as (parent, name):
            if replaces or os.geteuid() != 0:
                self._file = _taken(parent, name, wait=replaces)
            else:
                self._file = _begun(parent, name, path)

    def take(self) -> None:
        """Begins to write: the daemon has let go of it whose place this one takes."""
        if self._waits:
            self._waits = False
            _locked(self._file)

    def write(self, state: str, reloads: int, lines: Sequence[str]) -> None:
        if self._waits:
            return
        said = {"pid": self._pid(), "state": state, "reloads": reloads, "lines": _bounded(lines)}
        text = json.dumps(said) + "\n"
        try:
            # A reader in between sees two lines, or parts of them, which is no valid JSON. The file keeps its room on
            # the disk, which might be somebody else's once it was given back.
            data = text.encode("ascii")
            if os.pwrite(self._file, data, 0) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.ftruncate(self._file, len(data))
        except OSError as error:
            text = "--status-file {path}: cannot be written: {error}"
            self._log.error(text, path=printable(self._path), error=error.strerror)

    def close(self) -> None:
        os.close(self._file)


@frozen
class Said:
    """Holds the contents of a status file."""

    pid: int
    state: str
    reloads: int
    lines: list[str]


def read(path: str) -> Said | None:
    """Reads the status file; returns None while it is not complete."""
    try:
        descriptor = open_file(path, os.O_RDONLY)
        with open(descriptor, encoding="ascii", errors="replace") as file:
            demand_plain(descriptor)
            said = json.loads(file.read(16 * KEPT))
        lines = [printable(str(line)) for line in said["lines"]]
        return Said(int(said["pid"]), str(said["state"]), int(said["reloads"]), lines)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None


def _bounded(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line)
        if size > KEPT:
            kept.append(f"and {len(lines) - len(kept)} more, of which the log tells")
            break
        kept.append(line)
    return kept


#: Flags for opening a status file, which may be a link or a pipe that somebody has put there.
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
#: Permissions of a file of root's: the sticky bit, which nobody else can set or take away, says that it was made here.
_OURS = 0o1644


def _taken(parent: int, name: str, wait: bool) -> int:
    """Opens the file, which must not be anybody else's, nor, unless its end is to be awaited, another daemon's, which
    holds a lock on its own. Raises OSError."""
    file = os.open(name, os.O_RDWR | os.O_CREAT | _SAFELY, 0o644, dir_fd=parent)
    try:
        demand_plain(file)
        if not wait and not _locked(file):
            raise OSError(errno.EBUSY, "another daemon, which runs, has its status there")
        if _is_roots(os.fstat(file)):
            return file
        if not _is_status(file):
            raise OSError(errno.EEXIST, "it holds something else, which would be lost")
        os.fchmod(file, _OURS if os.geteuid() == 0 else 0o644)  # whatever the umask: readers are not always root
    except OSError:
        os.close(file)
        raise
    return file


def _is_roots(about: os.stat_result) -> bool:
    """Tells whether it is a status file that root has made, whatever the daemon's user has written there."""
    return about.st_uid == 0 and stat.S_IMODE(about.st_mode) == _OURS


def _begun(parent: int, name: str, path: str) -> int:
    """Puts a new file in the place of the one that is there. Raises OSError if that is neither a status file nor what
    others than root can have left."""
    aside = _in_the_way(parent, name, path)
    draft = f".{name}.{os.getpid()}.new"
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=parent)  # of a process that had this number, and has crashed
    file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600, dir_fd=parent)
    try:
        os.fchmod(file, _OURS)
        _locked(file)
        if aside:
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
            print(f"[NOTICE] --status-file {path}: what was there is in {aside} now", file=sys.stderr)
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.close(file)
        os.unlink(draft, dir_fd=parent)
        raise
    return file


def _in_the_way(parent: int, name: str, path: str) -> str:
    """Looks at what is there. Returns the name to which it has to be moved; "" if nothing would be lost with it.

    Raises OSError if it has to be left in its place.
    """
    try:
        there = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return ""
    around = os.fstat(parent)
    if there.st_uid != 0 and (around.st_uid != 0 or around.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return f"{name}.{os.getpid()}.old"  # anybody may have put it there
    file = os.open(name, os.O_RDONLY | _SAFELY, dir_fd=parent)
    try:
        demand_plain(file)
        if not _is_roots(there) and not _is_status(file):
            raise OSError(errno.EEXIST, "it holds something else, which would be lost")
        if not _locked(file):
            text = (
                "a process has it open that nobody hears of any more: a daemon, if it is one, needs a file of its own"
            )
            print(f"[WARNING] --status-file {path}: {text}", file=sys.stderr)
    finally:
        os.close(file)
    return ""


def _locked(file: int) -> bool:
    """Locks the file; False if another process has done so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # some network file systems have no locks
    return True


def _is_status(file: int) -> bool:
    """Tells whether it is empty or begins as a status file does; a crash may have left zeros for its text."""
    found = os.pread(file, 16 * KEPT, 0).strip(b"\0")
    return os.fstat(file).st_size < 16 * KEPT and (not found or found.startswith(_BEGINNING))
