"""Reports the daemon's state to its supervisor: ready, result of a reload, stopping, and that its event loop still
runs.

There are two receivers, and each may be absent. systemd gives a socket (sd_notify(3), `Type=notify` and
`WatchdogSec=`). An init script has a file, `--status-file`: one line of JSON with the daemon's process, the number of
the last reload and its result, for which `--reload` waits. Knows environment variables, a datagram socket and that
file; must never know what a reload does.

sd_notify is implemented here because it is one datagram: on PyPI `sdnotify` was last released in 2017 and hides every
error, and `systemd-python` has to be compiled against systemd.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
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

#: Largest size of a refusal's lines in the file, in characters, and of the text for systemd.
KEPT = 16 * 1024
STATUS_LENGTH = 200
#: Seconds that `ask_to_reload` waits (resolving names may take 15 s, new connections 5 s), and seconds between two
#: looks.
PATIENCE = 60.0
LOOK = 0.05


class Manager:
    """Talks to systemd, or another manager that set $NOTIFY_SOCKET. Messages that cannot be sent are lost; the
    failure is logged once."""

    _log = Logger()

    def __init__(self, environment: Mapping[str, str], clock: IReactorTime, pid: Callable[[], int] = os.getpid) -> None:
        self._environment = environment
        self.clock = clock
        self._pid = pid
        self._call: IDelayedCall | None = None
        self._failed = False
        path = environment.get("NOTIFY_SOCKET", "")
        # Abstract socket names are written with an @ in place of their first byte, which is 0.
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def tell(self, *words: str) -> None:
        """Sends all words in one message; each is NAME=value."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(words).encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            if not self._failed:
                self._log.warn("$NOTIFY_SOCKET cannot be written to: {error}", error=error)
            self._failed = True
        else:
            self._failed = False

    def feed(self) -> None:
        """Begins to report, twice in each $WATCHDOG_USEC, that the event loop runs; a timer of the loop does it."""
        every = self._every()
        if every is not None:
            self.tell("WATCHDOG=1")
            self._call = self.clock.callLater(every, self.feed)

    def stop(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _every(self) -> float | None:
        """Returns the seconds between two signs of life; None when they are not requested from this process
        (sd_watchdog_enabled(3))."""
        words = self._environment
        usec = words.get("WATCHDOG_USEC", "")
        ours = words.get("WATCHDOG_PID", "") in ("", str(self._pid()))
        said = re.fullmatch("[0-9]{1,18}", usec) is not None and int(usec)
        return said / 2e6 if self._address and ours and said else None


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
            # A reader in between sees a part of the line, which is no valid JSON.
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode("ascii"), 0)
        except OSError as error:
            self._log.error("--status-file cannot be written: {error}", error=error)

    def close(self) -> None:
        os.close(self._file)


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


class Supervision:
    """Reports the daemon's life to both receivers. Reloads are counted from 1."""

    def __init__(self, manager: Manager, file: StatusFile | None = None) -> None:
        self._manager = manager
        self._file = file
        self._reloads = 0
        #: The daemon has served: a reload is not part of its start.
        self._served = False
        self._write(STARTING)

    def begin(self) -> None:
        """Starts reporting: the event loop will run from now on, in the process that stays, after
        twistd has become a daemon."""
        self._write(STARTING)
        self._manager.feed()

    def starting(self, seconds: float) -> None:
        """Asks the manager not to give up the start for so many seconds."""
        self._manager.tell(f"EXTEND_TIMEOUT_USEC={int((seconds + 30) * 1e6)}")

    def ready(self, text: str) -> None:
        """Reports that the daemon serves."""
        self._served = True
        self._manager.tell("READY=1", _status(text))
        self._write(RUNNING)

    def reloading(self) -> None:
        self._reloads += 1
        self._write(RELOADING)
        if self._served:
            # From this time systemd's `Type=notify-reload` knows which signal this answers.
            self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self, text: str) -> None:
        """Reports that the daemon serves with the new configuration."""
        self._served = True
        self._manager.tell("READY=1", _status(text))
        self._write(RELOADED, [text])

    def refused(self, lines: Sequence[str]) -> None:
        """Reports that the reload has changed nothing, and the reasons."""
        words = ["READY=1"] if self._served else []
        self._manager.tell(*words, _status(f"reload refused, all stays as it was: {lines[0] if lines else ''}"))
        self._write(REFUSED, lines)

    def takes_over(self) -> None:
        """Notes that the daemon whose place this one takes has let go of the file."""
        if self._file is not None:
            self._file.take()

    def hand_over(self, pid: int) -> None:
        """Reports that process `pid` has taken the place of this one, which reports nothing any more."""
        self._manager.tell(f"MAINPID={pid}")
        self._manager.stop()
        self._manager = Manager({}, self._manager.clock)
        self._close()

    def stopping(self, text: str) -> None:
        self._manager.tell("STOPPING=1", _status(text))
        self._write(STOPPING)
        self._close()  # the file is free for a daemon that is started meanwhile

    def stopped(self) -> None:
        """Ends all reports."""
        self._manager.stop()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, state: str, lines: Sequence[str] = ()) -> None:
        if self._file is not None:
            self._file.write(state, self._reloads, lines)


def _status(text: str) -> str:
    """Returns the one-line text that `systemctl status` shows."""
    return "STATUS=" + printable(" ".join(text.split())[:STATUS_LENGTH])


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


@frozen
class Outcome:
    """Holds the result of a requested reload: success or failure, and messages."""

    well: bool
    lines: list[str]


@frozen
class _Said:
    """Holds the contents of a status file."""

    pid: int
    state: str
    reloads: int
    lines: list[str]


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


def ask_to_reload(
    pid: int,
    path: str,
    kill: Callable[[int, int], None] = os.kill,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    ours: Callable[[int], bool | None] = is_daemon,
) -> Outcome:
    """Makes process `pid`, whose `--status-file` is at `path`, reload, and waits for the outcome.

    No other process gets the signal, which would end most programs. The number of reloads is read first. A reload with
    a higher number began later, and so has read the present configuration, whoever asked for it; one that was running
    at that time may have read it before it was changed.
    """
    from signal import SIGHUP

    before = _read(path)
    if before is None:
        text = f"{path}: is not the status file of a daemon that runs: start it with --status-file {path}"
        return Outcome(False, [text])
    if before.pid != pid:
        return Outcome(False, [f"not reloaded: {path} is the status file of process {before.pid}, not of {pid}"])
    if ours(pid) is False:
        return Outcome(
            False, [f"not reloaded: process {pid} is another program; the daemon that wrote {path} has ended"]
        )
    try:
        kill(pid, SIGHUP)
    except OSError as error:
        return Outcome(False, [f"process {pid} cannot be told to reload: {error.strerror}"])
    until = now() + PATIENCE
    while now() < until:
        found = _read(path)
        if found is not None:
            if found.state == STOPPING:
                return Outcome(False, ["not reloaded: the daemon is stopping"])
            if found.reloads > before.reloads and found.state in (RELOADED, REFUSED):
                return Outcome(found.state == RELOADED, found.lines)
        try:
            kill(pid, 0)
        except OSError as error:
            return Outcome(False, [f"not reloaded: process {pid} has ended ({error.strerror})"])
        sleep(LOOK)
    return Outcome(False, [f"the reload had not ended after {PATIENCE:g} s; the log tells how it goes on"])


def _read(path: str) -> _Said | None:
    """Reads the status file; returns None while it is not complete."""
    try:
        descriptor = open_file(path, os.O_RDONLY)
        with open(descriptor, encoding="ascii", errors="replace") as file:
            demand_plain(descriptor)
            said = json.loads(file.read(16 * KEPT))
        lines = [printable(str(line)) for line in said["lines"]]
        return _Said(int(said["pid"]), str(said["state"]), int(said["reloads"]), lines)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None
