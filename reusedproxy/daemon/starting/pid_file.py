"""Writes and removes the pid file, in place of twistd, which would open it as root through any link.

The file may be in a directory of the daemon's user. twistd looks at it at first, and writes it when everything is
bound: whoever has the directory could put a link to any file there in between. This one is a new file, moved to its
name.

A file that names a running daemon of this program is in the way of another. Those of others are removed: an empty one
(a crash before it was written, a full disk), one whose process is gone, and one whose number belongs to another
program now. The latter is likely, since numbers are reused, and in containers begin at 1. A file with other text is
left, and refused: it may be no pid file at all.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path

from reusedproxy.daemon.processes import is_daemon
from reusedproxy.net.trusted_paths import parent_of

#: Largest size of a pid file in bytes, and an upper bound for process numbers (Linux: PID_MAX_LIMIT).
LONGEST = 64
MOST = 2**22 + 1

#: Anybody may ask whether the daemon runs (LSB's `status`). In the background twistd's umask would keep that from them.
MODE = 0o644
#: Flags for reading one, which may be a link or a pipe that somebody has put there.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class PidFile:
    """One pid file."""

    def __init__(self, path: str, proc: Path = Path("/proc"), replaces: bool = False) -> None:
        """`replaces`: it may be that of a daemon that runs, whose place this process takes."""
        self.path = os.path.abspath(path)
        self._proc = proc
        self._replaces = replaces

    def make_way(self) -> None:
        """Removes a file that names no running daemon. Raises OSError if there is one that is in the way."""
        with parent_of(self.path) as (parent, name):
            try:
                file = os.open(name, READING, dir_fd=parent)
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise OSError(errno.ELOOP, "it is a link: name the file itself") from None
                raise
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise OSError(errno.EEXIST, "it is no regular file")
                if not self._examine(os.read(file, LONGEST + 1)):
                    return
            finally:
                os.close(file)
            os.unlink(name, dir_fd=parent)
        print(f"[NOTICE] {self.path}: removed, it named no running reusedproxy", file=sys.stderr)

    def _examine(self, content: bytes) -> bool:
        """Tells whether the file can be removed now. Raises OSError if it has to be left in its place."""
        text = content.strip(b" \t\r\n\0")  # after a power failure a file may contain zeros
        if len(content) > LONGEST or not re.fullmatch(rb"(?:-?[0-9]+)?", text):
            raise OSError(errno.EEXIST, "it holds something else, which would be lost")
        if not text or not 0 < int(text) < MOST or int(text) == os.getpid():
            return True
        ours = is_daemon(int(text), self._proc)
        runs = ours or (ours is None and _exists(int(text)))
        if runs and not self._replaces:
            raise OSError(errno.EBUSY, f"process {int(text)} has written it, and runs")
        return not runs

    def write(self) -> None:
        """Writes this process's number. Raises OSError, with the option and the path."""
        try:
            self._write()
        except OSError as error:
            # In the background, twistd shows the first 100 bytes of it.
            raise OSError(f"--pidfile {self.path}: {error.strerror}") from None
        atexit.register(self.remove)

    def _write(self) -> None:
        with parent_of(self.path) as (parent, name):
            with suppress(FileNotFoundError):
                mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    raise OSError(errno.EEXIST, "it is no regular file")
            draft = f".{name}.{os.getpid()}.new"
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=parent)  # of a process that had this number, and has crashed
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(draft, flags, 0o666, dir_fd=parent)
            try:
                os.write(file, b"%d" % os.getpid())
                os.fchmod(file, MODE)
                os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                os.unlink(draft, dir_fd=parent)
                raise
            finally:
                os.close(file)

    def remove(self) -> None:
        """Removes the file that this process has written, if it may: its user may not have that directory."""
        with suppress(OSError), parent_of(self.path) as (parent, name):
            file = os.open(name, READING, dir_fd=parent)
            try:
                ours = os.read(file, LONGEST) == b"%d" % os.getpid()
            finally:
                os.close(file)
            if ours:
                os.unlink(name, dir_fd=parent)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
