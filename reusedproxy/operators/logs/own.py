"""Writes the daemon's own log: a file object for Twisted's log that never blocks.

Lines that nobody reads are kept up to a limit; further lines are dropped and counted, and the number is logged when
there is room again. A log that blocks on its reader would stop all traffic, and keep the signal that is to end the
daemon from being handled.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import socket
import stat
import sys
import syslog
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from attrs import frozen
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    formatTime,
)
from twisted.python.syslog import SyslogObserver

from reusedproxy.config.language.printable import printable_lines
from reusedproxy.net.trusted_paths import open_file
from reusedproxy.operators.logs.lost import Lost, since
from reusedproxy.operators.logs.outlet import Ended, Outlet
from reusedproxy.operators.logs.sinks import UNREAD, Datagrams
from reusedproxy.rules.samples.aliases import MONTHS

#: The socket of syslog(3).
SYSLOG = "/dev/log"
#: Most bytes kept for a reader that takes none.
KEPT = 1024 * 1024
#: The loss is logged when no more bytes than this are kept.
ROOM = 32 * 1024
#: Seconds until the next attempt, and seconds that the end of the process waits for the last lines.
AGAIN = 0.1
LAST_LINES = 1.0

Later = Callable[[float, Callable[[], None]], object]
#: The message about lost lines: how many, the local time of the first, and why.
LOST = "{lines} lines of this log were lost since {since}: {why}"


class Writer(Protocol):
    """Writes the daemon's own log."""

    @property
    def dropped(self) -> int:
        """Returns the number of lines lost."""


class OwnLog:
    """Knows what writes the daemon's own log, once that is opened."""

    def __init__(self) -> None:
        self._writers: list[Writer] = []

    def is_written_by(self, writer: Writer) -> None:
        self._writers.append(writer)

    def dropped(self) -> int:
        """Returns the number of lines lost."""
        return sum(each.dropped for each in self._writers)


class LogStream(io.TextIOBase):
    """A text file whose `write` returns at once. `dropped` is the number of lines lost."""

    _log = Logger("reusedproxy")

    def __init__(self, fd: int, later: Later) -> None:
        """Takes `later(seconds, function)`, which calls the function then; the descriptor `fd` stays open and
        unchanged."""
        self.dropped = 0
        self._fd = fd
        self._outlet = Outlet(fd)
        self._later = later
        self._kept = bytearray()
        self._untold = 0
        self._since = self._why = ""
        self._waiting = False

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, text: str) -> int:
        """Writes the text, or keeps it until it is taken."""
        data = printable_lines(text).encode()
        if len(self._kept) + len(data) > KEPT:
            self._put_out()
        if len(self._kept) + len(data) > KEPT:
            self._lose(data)
        else:
            self._kept += data
            self._put_out()
        if self._kept and not self._waiting:
            self._waiting = True
            self._later(AGAIN, self._again)
        return len(text)

    def flush(self) -> None:
        """Does nothing: no data is held back that would be taken."""

    def last_lines(self, seconds: float = LAST_LINES) -> None:
        """Gives the reader a moment for the lines still kept, at the end of the process."""
        until = time.monotonic() + seconds
        try:
            while (self._kept or self._untold) and self._outlet.is_ready(max(0.0, until - time.monotonic())):
                self._put_out()
                if self._outlet.refused:
                    break  # a file on a full disk is always ready
        except OSError:
            pass

    def _again(self) -> None:
        self._waiting = False
        self._put_out()
        if self._kept:
            self._waiting = True
            self._later(AGAIN, self._again)

    def _put_out(self) -> None:
        try:
            del self._kept[: self._outlet.put_out(self._kept)]
        except Ended as ended:
            self._lose(self._kept[ended.taken :])
            self._kept.clear()
            self._untold = 0  # there is nobody to tell
        if self._untold and len(self._kept) <= ROOM:
            lines, self._untold = self._untold, 0
            # Logged like any other line, whatever the log's format.
            self._log.warn(LOST, lines=lines, since=self._since, why=self._why)

    def _lose(self, data: bytes | bytearray) -> None:
        if not self._untold:
            self._since = since(0.0)
        self._why = self._outlet.refused or UNREAD
        lines = data.count(b"\n")
        self.dropped += lines
        self._untold += lines


def _made(fd: int, reactor: Any, own_log: OwnLog) -> LogStream:
    stream = LogStream(fd, reactor.callLater)
    atexit.register(stream.last_lines)
    own_log.is_written_by(stream)
    return stream


def never_block(options: MutableMapping[str, Any], reactor: Any, own_log: OwnLog) -> None:
    """Puts such a stream between Twisted's log and standard output, or the file that `twist` has opened.

    `options` are those of `twist` or `twistd`. Both take their file from there only after the service has been made.
    Files of twistd's own (`--logfile`) are on a disk, unless `log_to_pipe` has found otherwise.
    """
    file = options.get("logFile")
    if isinstance(file, io.TextIOBase) and not isinstance(file, LogStream):
        file.flush()
        options["logFile"] = _made(file.fileno(), reactor, own_log)
    elif options.get("nodaemon") and options.get("logfile") in (None, "", "-") and not options.get("syslog"):
        try:
            fd = sys.stdout.fileno()
        except (OSError, AttributeError):
            return  # standard output has been replaced already
        sys.stdout.flush()
        sys.stdout = _made(fd, reactor, own_log)


@frozen
class Output:
    """Identifies the file, pipe or terminal that the daemon's own log goes to."""

    device: int
    inode: int

    @classmethod
    def of(cls, options: Any) -> Output | None:
        """Finds it by the options of `twist` or `twistd`; None: the log goes elsewhere, or that is not known."""
        file, path = options.get("logFile"), options.get("logfile")
        try:
            if options.get("syslog"):
                return None
            if isinstance(file, io.TextIOBase):
                status = os.fstat(file.fileno())
            elif path not in (None, "", "-"):
                status = os.stat(path)
            elif options.get("nodaemon"):
                status = os.fstat(sys.stdout.fileno())
            else:
                return None
        except (OSError, AttributeError):
            return None
        return cls(status.st_dev, status.st_ino)

    def is_at(self, descriptor: int) -> bool:
        """Tells whether what is written to a descriptor of this process goes there."""
        try:
            status = os.fstat(descriptor)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.inode)


def _syslog(
    prefix: str, own_log: OwnLog, path: str = SYSLOG, now: Callable[[], float] = time.monotonic
) -> SyslogObserver:
    """Returns Twisted's syslog observer, with its lines sent through a datagram socket that never blocks."""
    observer = SyslogObserver(prefix)
    server = Datagrams(socket.AF_UNIX, path, now)
    own_log.is_written_by(server)

    def line(priority: int, text: str) -> str:
        at = time.localtime()
        when = f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
        tag = f"<{priority if priority > 7 else priority | syslog.LOG_USER}>{when} {prefix}[{os.getpid()}]"
        return f"{tag}: {printable_lines(text)}"

    def lost(lost: Lost) -> str:
        return line(syslog.LOG_WARNING, LOST.format(lines=lost.lines, since=since(lost.ago), why=lost.why))

    server.lost_line = lost

    def send(priority: int, text: str) -> None:
        server.write(line(priority, text))

    observer.syslog = send
    return observer


def log_as_text(options: Any, words: Sequence[str]) -> None:
    """Has `twist` write a line for each event, in pipes and files as on a terminal, unless the `words` of its command
    line ask for JSON. To be called while it parses them into `options`."""
    asked = any(each.startswith("--log-fo") for each in words)
    if "fileLogObserverFactory" in options and not (asked and options["logFormat"] == "json"):
        options["fileLogObserverFactory"], options["logFormat"] = log_file_observer, "text"


def log_to_pipe(
    options: Any,
    reactor: Callable[[], Any],
    own_log: OwnLog,
    acting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bool:
    """Replaces twistd's log when `--logfile` is a pipe or a terminal (/dev/stdout in a container), or with `--syslog`.

    twistd would block on a pipe's reader, and rename the file at a megabyte; syslog(3) blocks on a server that does not
    read. To be called while twistd parses its command line: `options` are its own. The log is opened in the context
    `acting()`, as the user that the daemon becomes. Returns False where the log is left as it is.
    """
    path = options.get("logfile")
    if options.get("logger"):
        return False
    if options.get("syslog"):
        there = os.path.exists(SYSLOG)
        if there:
            emit: Any = _syslog(str(options.get("prefix") or ""), own_log).emit  # an observer of Twisted's legacy kind
            use_observer(options, lambda: LegacyLogObserverWrapper(emit))
        return there
    if not path or path == "-":
        return False
    try:
        if not _is_stream(os.stat(path).st_mode):
            return False
    except OSError:
        return False

    def observer() -> ILogObserver:
        with acting(), refusing(path):
            fd = open_file(path, os.O_RDWR)
            # Time has passed since the look at the path, and it may be in a directory of another user's.
            if not _is_stream(os.fstat(fd).st_mode):
                os.close(fd)
                raise OSError(errno.ESTALE, "it was a pipe or a terminal, and has become another file")
        # Twisted needs no more of a file than a LogStream has.
        return log_file_observer(_made(fd, reactor(), own_log))

    use_observer(options, observer)
    return True


def log_file_observer(file: Any) -> ILogObserver:
    """Returns what writes the log to a file, a line for each event."""
    return FileLogObserver(file, line_of)


def line_of(event: LogEvent) -> str | None:
    """Returns an event as it is read: "2026-11-29T23:06:34+0000 reusedproxy[5788] info: …"; None if it says nothing.

    Twisted's own text names classes of the program, and no process. What a terminal would obey is left out: messages of
    exceptions may hold what clients have sent."""
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return None
    level = event.get("log_level")
    name = "info" if level is None else level.name
    begin = f"{formatTime(event.get('log_time'))} reusedproxy[{os.getpid()}] {name}: "
    return printable_lines(begin + text.rstrip("\n").replace("\n", "\n\t") + "\n")


def lost_line(lines: int, since: str, why: str) -> str:
    """Returns the line that tells how many are lost, since when and why."""
    event = {"lines": lines, "since": since, "why": why, "log_format": LOST, "log_level": LogLevel.warn}
    return line_of({**event, "log_time": time.time(), "log_namespace": "reusedproxy"}) or ""


def _is_stream(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def refusing(path: str) -> Iterator[None]:
    """Ends the program with one line if the log file at `path` cannot be opened."""
    try:
        yield
    except OSError as error:
        print(f"[ALERT] --logfile {path}: cannot be opened: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def use_observer(options: Any, observer: Callable[[], ILogObserver]) -> None:
    """Makes twistd log to this observer.

    twistd takes the option `logger` for a module's name when it has parsed its command line, so the observer is set
    after that.
    """
    finish = options.postOptions

    def finish_and_use() -> None:
        finish()
        options["logger"] = observer

    options.postOptions = finish_and_use
