"""Takes over from twistd what it would do with its options: paths that cannot be used, on which it fails with a
traceback, its log and its pid file, which it would open as root through any link. Replaces or closes descriptors that
whoever started the program had closed or open."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Container, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import count
from typing import Any, BinaryIO

from twisted.logger import ILogObserver
from twisted.python.logfile import LogFile

from reusedproxy.daemon.starting.account import Account
from reusedproxy.daemon.starting.pid_file import PidFile
from reusedproxy.net.trusted_paths import demand_plain, open_file, parent_of
from reusedproxy.operators.logs.lost import since
from reusedproxy.operators.logs.own import OwnLog, log_file_observer, lost_line, refusing, use_observer

#: Seconds between two looks whether a log file still stands where it was.
LOOK_EVERY = 1.0
#: Where twistd logs when it goes into the background and no option says where.
DEFAULT_LOG = "twistd.log"
#: twistd's options with a file that it writes, and those with a directory that it enters.
WRITTEN = ("pidfile", "logfile")
ENTERED = ("chroot", "rundir")


def unusable(options: Mapping[str, object]) -> list[str]:
    """Returns the faults of those of twistd's `options` that cannot be obeyed, most of them paths."""
    faults = []
    if options.get("euid") and os.geteuid() == 0 and (options.get("uid") or options.get("gid")) is not None:
        faults.append(
            "--euid: the daemon would stay root in secret, and so would who takes it over: leave that option out"
        )
    for name in ENTERED:
        path = options.get(name)
        if isinstance(path, str) and path != "." and not os.path.isdir(path):
            faults.append(f"--{name} {path}: there is no such directory")
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
            faults.append(f"--{name} {path}: {reason}")
    return faults


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
        return f"cannot be written: {os.strerror(errno.EROFS if _is_read_only(directory) else errno.EACCES)}"
    return ""


def _is_read_only(directory: str) -> bool:
    """Tells whether the file system of a directory, or its mount, takes no writes from anybody."""
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


class UsersLogFile(LogFile):
    """Writes a log file that only its owner rotates: twistd writes the first lines as root, who
    would own the new file. If somebody else has renamed it (logrotate), its owner goes on in the file at the path, or
    in a new one.

    It is opened, and renamed, without following links that another user could have made, see `trusted_paths`. A new
    file gets the permissions of the one before it, which was open: Twisted would take them from whatever stands at the
    path before anything is opened, a setuid bit included.

    A disk that is full costs lines, which are counted and told of when there is room again. A line that it took a part
    of is left so, and the next begins on a line of its own.
    """

    _file: BinaryIO
    #: Number of lines lost, and of those that no line has told of; when the first of these was lost, and why the last.
    dropped = 0
    _untold = 0
    _since = _why = ""
    #: The last line in the file has no end.
    _cut = False
    #: Permissions of the file that was opened last; None before the first one.
    _mode: int | None = None
    #: Returns seconds; when it next looks whether its file has been renamed.
    now = staticmethod(time.monotonic)
    _look_after = 0.0

    def __init__(self, *arguments: Any, **words: Any) -> None:
        # Any value keeps Twisted from looking at the path.
        super().__init__(*arguments, **{"defaultMode": 0o666, **words})

    def _openFile(self) -> None:
        self.closed = False
        self._look_after = self.now() + LOOK_EVERY
        mode = 0o666 if self._mode is None else self._mode
        # Appended, because the process whose place this one takes writes there, too.
        descriptor = open_file(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)
        try:
            if os.geteuid() == 0:
                demand_plain(descriptor)
            status = os.fstat(descriptor)
            if self._mode is not None and status.st_uid == os.geteuid():
                os.fchmod(descriptor, self._mode)  # whatever the umask
            else:
                self._mode = status.st_mode & 0o777
            self.size = os.lseek(descriptor, 0, os.SEEK_END)
            self._cut = self.size > 0 and os.pread(descriptor, 1, self.size - 1) != b"\n"
            self._file = os.fdopen(descriptor, "rb+", 0)
        except OSError:
            os.close(descriptor)
            raise

    def write(self, data: str | bytes) -> None:
        now = self.now()
        if now >= self._look_after:
            self._look_after = now + LOOK_EVERY
            self._follow()
        if self.shouldRotate():
            self.rotate()
        if self._untold and self._put(lost_line(self._untold, self._since, self._why).encode()):
            self._untold = 0
        whole = data.encode() if isinstance(data, str) else data
        if not self._put(whole):
            lines = whole.count(b"\n")
            self._since = self._since if self._untold else since(0.0)
            self._untold += lines
            self.dropped += lines

    def _put(self, data: bytes) -> bool:
        """Writes lines, and tells whether they have been written to their end."""
        data = b"\n" + data if self._cut else data
        at = 0
        try:
            while at < len(data):
                at += self._file.write(data[at:])
        except OSError as error:
            self._why = error.strerror or str(error)
            if at:
                self._cut = data[at - 1 : at] != b"\n"
            return False
        finally:
            self.size += at
        self._cut = False
        return True

    def _follow(self) -> None:
        """Opens the file at the path, if the one that is open does not stand there any more. Where that cannot be done,
        the present one grows on."""
        before = self._file
        ours = os.fstat(before.fileno())
        if os.geteuid() != ours.st_uid:
            return
        with suppress(OSError):
            with parent_of(self.path) as (parent, name):
                if _is_there(parent, name):
                    there = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                        return
            self._openFile()
            before.close()

    def shouldRotate(self) -> bool:
        return os.geteuid() == os.fstat(self._file.fileno()).st_uid and bool(super().shouldRotate())

    def rotate(self) -> None:
        """Renames the file to FILE.1, older ones to the next number that is free, and begins another.

        If the directory does not allow that, or another file stands at the path, the present one grows on.
        """
        before = self._file
        with suppress(OSError):
            with parent_of(self.path) as (parent, name):
                there, ours = os.stat(name, dir_fd=parent, follow_symlinks=False), os.fstat(before.fileno())
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
                    return
                last = next(n for n in count(1) if not _is_there(parent, f"{name}.{n}"))
                for number in range(last, 0, -1):
                    old = f"{name}.{number - 1}" if number > 1 else name
                    os.rename(old, f"{name}.{number}", src_dir_fd=parent, dst_dir_fd=parent)
            self._openFile()
            before.close()


def _is_there(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def open_standard() -> None:
    """Opens /dev/null in place of standard descriptors that are closed.

    To be called before there is an event loop. Else it would get their numbers: twistd replaces what has them when it
    goes into the background, and a log to standard output would be written into the loop's own pipe. What would go to
    standard error goes to standard output then.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    streams: Any = sys
    for name in ("stdout", "stderr"):
        for each in (name, f"__{name}__"):
            if getattr(sys, each) is None:  # Python found it closed
                setattr(streams, each, sys.stdout or open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def close_inherited(kept: Container[int]) -> None:
    """Closes the descriptors that whoever started the program had open, but for standard ones and those in `kept`.

    They would be open for the daemon's user. What Python opens is not handed on to programs (PEP 446), so what would
    be was there before.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with suppress(OSError):  # that of the list itself is closed already
            if descriptor > 2 and descriptor not in kept and os.get_inheritable(descriptor):
                os.close(descriptor)


def acting_for(options: Mapping[str, object]) -> Callable[[], AbstractContextManager[None]]:
    """Returns the context in which files of the daemon's user are opened: root acts as the user of twistd's --uid."""
    account = _becoming(options)
    return nullcontext if account is None else account.acting


def log_safely(options: Any, own_log: OwnLog) -> None:
    """Opens the log file as the user of twistd's --uid, or without following links that another user made to root's.

    In a directory of his own, that user could put a symbolic link to any of root's files in its place, at any moment:
    so twistd itself never opens it, whatever stands there now.
    """
    path = options.get("logfile")
    if path == "-" or options.get("syslog") or options.get("logger"):
        return
    if not path and os.geteuid() != 0:
        return  # twistd's own choice of a file
    if not path and (options.get("nodaemon") or options.get("debug")):
        return  # standard output
    whole, acting = os.path.abspath(path or DEFAULT_LOG), acting_for(options)

    def observer() -> ILogObserver:
        with acting(), refusing(whole):
            file: Any = UsersLogFile.fromFullPath(whole)
        own_log.is_written_by(file)
        return log_file_observer(file)

    use_observer(options, observer)


def _becoming(options: Mapping[str, object]) -> Account | None:
    """Returns the account that root becomes by twistd's options; None for nobody, or if it cannot."""
    uid, gid = options.get("uid"), options.get("gid")
    if os.geteuid() != 0 or not isinstance(uid, int) or uid == 0:
        return None
    account = Account.of(uid, gid if isinstance(gid, int) else None)
    return None if account.impediment() else account  # an impediment is reported later


def done_by(options: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the words of section `global` that these options of twistd do: it goes into the background by itself."""
    return () if options.get("nodaemon", True) else ("daemon",)


def take_pid_file(options: Any, replaces: bool = False) -> PidFile | None:
    """Returns the pid file of twistd's `options`, which twistd itself then leaves alone; None if there is none.

    To be called while twistd parses its command line. Raises OSError if a file is in the way.
    """
    path = options.get("pidfile")
    if not path:
        return None
    taken = PidFile(path, replaces=replaces)
    taken.make_way()
    options["pidfile"] = ""
    return taken
