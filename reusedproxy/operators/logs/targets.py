"""Sends log lines to standard output and error, and to syslog by datagram, with each target's header.

Knows `log` lines of the configuration, descriptors and datagram sockets; must never know what a line says. Never
blocks: data that cannot be taken at once is kept up to a limit, or dropped and counted. Headers are HAProxy's, byte by
byte (compared with 2.6): no host name, a newline at the end of datagrams, too, and `len` counts all of it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from reusedproxy.config.language.haproxy_words import LOG_FACILITIES, LOG_LEVELS
from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.logs.outlet import Ended, Outlet
from reusedproxy.rules.samples.aliases import MONTHS

Send = Callable[[str], None]

_log = Logger("reusedproxy")

#: Seconds that a line for standard output may wait for others, and the number of bytes at which they are written.
GATHER = 0.05
ENOUGH = 32 * 1024
#: Most bytes kept for a descriptor that takes none; further lines are dropped.
KEPT = 1024 * 1024
#: Seconds until a failed datagram socket is opened again, and seconds between two messages about lost lines.
REOPEN = 1.0
TELL_EVERY = 60.0

_NOWHERE = Place("", 0)
_LEVELS = list(LOG_LEVELS)
#: The one fault of a syslog socket that starting its server later does not cure.
NO_SOCKET = "it is no socket, so no syslog server takes lines there (a file: 'log stdout' and a redirection)"
_FACILITIES = list(LOG_FACILITIES)


def trouble_with(path: str) -> str:
    """Returns the reason why a unix socket takes no lines now, "" if it does."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return NO_SOCKET
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as trial:
            trial.connect(path)
    except FileNotFoundError:
        return "there is no such socket"
    except ConnectionRefusedError:
        return "nobody listens there"
    except OSError as error:
        wrong_type = error.errno == errno.EPROTOTYPE
        return "it takes streams, and lines go as datagrams" if wrong_type else error.strerror or str(error)
    return ""


class UnknownHost(Exception):
    """Raised when the name of a syslog server cannot be resolved."""


class LogTargets:
    """Holds all targets of a configuration. Sections that name the same target share it, so that its lines keep their
    order."""

    def __init__(
        self,
        tag: str,
        deadlines: Deadlines,
        wall: Callable[[], float] = time.time,
        addresses: Addresses | None = None,
    ) -> None:
        """Takes `tag`, which is `log-tag`, `wall`, which returns the time of day, and `addresses` of hosts already
        resolved."""
        self._addresses = addresses or Addresses()
        self._tag = tag
        self._deadlines = deadlines
        self._wall = wall
        self._descriptors: dict[int, Descriptor] = {}
        self._targets: dict[tuple[LogTarget, str], Target] = {}
        self._event_targets: list[Target] = []
        #: Targets by section.
        self._section_targets: Mapping[str, list[Target]] = {}

    def open(self, settings: LogTarget, tag: str = "") -> Target:
        """Returns the target for a `log` line, of a section with this `log-tag` ("": it has none of its own). Raises
        UnknownHost. Connects to nobody yet."""
        key = evolve(settings, place=_NOWHERE), tag or self._tag
        if key not in self._targets:
            sink = self._sink(settings)
            self._targets[key] = Target(settings, tag or self._tag, sink, self._wall)
        return self._targets[key]

    def take_events_to(self, targets: list[Target], of_sections: Mapping[str, list[Target]] | None = None) -> None:
        """Sets the targets of `event`: `of_sections` for events of these sections, `targets` for all others."""
        self._event_targets = targets
        self._section_targets = of_sections or {}

    def event(self, level: str, text: str, section: str = "") -> None:
        """Logs an event of the proxy itself: a server is down, a pool has trouble. `section` is its section, such as
        "backend web"."""
        line = printable(text)
        for target in self._section_targets.get(section, self._event_targets):
            send = target.sender(level)
            if send is not None:
                send(line)

    @property
    def dropped(self) -> int:
        """Returns the number of lines lost because their target did not take them."""
        sinks = {id(target.sink): target.sink for target in self._targets.values()}
        return sum(sink.dropped for sink in sinks.values())

    def close(self) -> None:
        """Writes the lines still kept. Later lines are written at once."""
        for descriptor in self._descriptors.values():
            descriptor.close()

    def _sink(self, settings: LogTarget) -> Descriptor | Datagrams:
        if settings.kind in ("stdout", "stderr"):
            fd = 1 if settings.kind == "stdout" else 2
            if fd not in self._descriptors:
                self._descriptors[fd] = Descriptor(fd, self._deadlines)
            return self._descriptors[fd]
        if settings.kind == "unix":
            return Datagrams(socket.AF_UNIX, settings.path, self._deadlines.now, partial(_tell, settings.path))
        try:
            family, address = self._addresses.find("log", settings.host, settings.port, socket.SOCK_DGRAM)
        except OSError as error:
            raise UnknownHost(f"could not resolve address '{settings.host}': {error.strerror}") from None
        return Datagrams(family, address, self._deadlines.now, partial(_tell, f"{settings.host}:{settings.port}"))


def _tell(where: str, reason: str, lines: int) -> None:
    """Reports lost lines to the daemon's own log, which has another output."""
    _log.warn("log {where}: {reason}; {lines} lines were lost", where=where, reason=reason, lines=lines)


class Target:
    """The running form of one `log` line."""

    def __init__(
        self, settings: LogTarget, tag: str, sink: Descriptor | Datagrams, wall: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.sink = sink
        self._tag = tag
        self._wall = wall
        self._second = -1
        self._when = ""

    def sender(self, level: str) -> Send | None:
        """Returns the function that sends a line of this level; None when the target does not take the level."""
        number = _LEVELS.index(level)
        if number > _LEVELS.index(self.settings.level):
            return None
        number = max(number, _LEVELS.index(self.settings.cap))
        write = self.sink.write
        priority = _FACILITIES.index(self.settings.facility) * 8 + number
        room = self.settings.length - 1

        def raw(line: str) -> None:
            write(line if len(line) <= room else line[:room])

        def short(line: str) -> None:
            write(f"<{number}>{line}"[:room])

        def rfc3164(line: str) -> None:
            write(f"<{priority}>{self._day_and_time(self._wall())}{line}"[:room])

        def rfc5424(line: str, data: str = "-") -> None:
            when = self._timestamp(self._wall())
            write(f"<{priority}>1 {when} - {self._tag} {os.getpid()} - {data or '-'} {line}"[:room])

        return {"raw": raw, "short": short, "rfc3164": rfc3164, "rfc5424": rfc5424}[self.settings.format]

    def sender_with_data(self, level: str) -> Callable[[str, str], None] | None:
        """Returns the function that sends a line of this level and its structured data, which are in RFC 5424 only;
        None when the target does not take the level."""
        send: Any = self.sender(level)
        if send is None or self.settings.format == "rfc5424":
            return send  # type: ignore[no-any-return]
        return lambda line, data: send(line)

    def _day_and_time(self, now: float) -> str:
        """Returns the rest of an RFC 3164 header, formatted once a second."""
        second = int(now)
        if second != self._second:
            at = time.localtime(second)
            self._second = second
            # The process may have become a daemon, with another process number, since the start.
            self._when = (
                f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} "
                f"{self._tag}[{os.getpid()}]: "
            )
        return self._when

    def _timestamp(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            at = time.localtime(second)
            self._second = second
            zone = time.strftime("%z", at)
            self._when = time.strftime("%Y-%m-%dT%H:%M:%S.%%06d", at) + f"{zone[:3]}:{zone[3:]}"
        return self._when % int((now - second) * 1e6)


class Descriptor:
    """Gathers lines for standard output or error, and writes them when there are enough or some time has passed.

    It never blocks, see `Outlet`.
    """

    def __init__(self, fd: int, deadlines: Deadlines) -> None:
        self.dropped = 0
        self.deadline = inf
        self.slot = 0.0
        self._deadlines = deadlines
        self._lines: list[str] = []
        self._size = 0
        self._unwritten = b""
        self._untold = 0
        self._closed = False
        self._outlet = Outlet(fd)

    def write(self, line: str) -> None:
        """Takes a line, without its end."""
        size = self._size
        if not size and not self._closed:
            self._deadlines.watch(self, self._deadlines.now() + GATHER)
        elif size > KEPT:
            self.dropped += 1
            self._untold += 1
            return
        self._lines.append(line)
        self._size = size = size + len(line) + 1
        # While the descriptor takes nothing, only the deadline tries again, so that not every line polls it.
        if (size >= ENOUGH and not self._unwritten) or self._closed:
            self.flush()

    def deadline_passed(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Writes as much as is taken now."""
        if self._lines:
            self._lines.append("")
            text = "\n".join(self._lines)
            self._lines.clear()
            self._unwritten += text.encode("utf-8", "backslashreplace")
        self._put_out()
        if self._untold and len(self._unwritten) < ENOUGH:
            self._unwritten += b"%d log lines were dropped: nobody read them in time\n" % self._untold
            self._untold = 0
            self._put_out()
        self._size = len(self._unwritten)
        if not self._size:
            self._deadlines.cancel(self)
        elif not self._closed:
            self._deadlines.watch(self, self._deadlines.now() + GATHER)

    def close(self) -> None:
        """Stops gathering: writes the lines kept, and each later line at once."""
        self._closed = True
        self.flush()

    def _put_out(self) -> None:
        try:
            self._unwritten = self._unwritten[self._outlet.put_out(self._unwritten) :]
        except Ended as ended:
            # The daemon goes on without its reader.
            self.dropped += self._unwritten.count(b"\n", ended.taken)
            self._unwritten = b""


class Datagrams:
    """Sends a datagram for each line to one syslog server. Lines for an absent server are lost; the socket is tried
    again."""

    def __init__(
        self,
        family: int,
        address: str | tuple[str | int | bytes, ...],
        now: Callable[[], float],
        tell: Callable[[str, int], None] | None = None,
    ) -> None:
        """Takes `tell(reason, lines)`, which is called with the number of lost lines, once a minute at most."""
        self.dropped = 0
        self._tell = tell
        self._told = 0
        self._tell_after = -inf
        self._family = family
        self._address = address
        self._now = now
        self._socket: socket.socket | None = None
        #: The reason why the socket could not be opened.
        self._why = ""
        self._open_after = -inf

    def write(self, line: str) -> None:
        """Sends a line, with a newline added as in HAProxy."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        opened = self._socket or self._open()
        if opened is None:
            self._lose(self._why)
            return
        try:
            opened.send(data)
        except BlockingIOError:
            self._lose("it takes lines too slowly")
        except OSError as error:
            # On UDP the error is about an earlier datagram; on a unix socket the server has gone or been restarted.
            self._close()
            self._lose(error.strerror or str(error))

    def _lose(self, reason: str) -> None:
        self.dropped += 1
        now = self._now()
        if self._tell is not None and now >= self._tell_after:
            self._tell_after = now + TELL_EVERY
            lines, self._told = self.dropped - self._told, self.dropped
            self._tell(reason, lines)

    def _open(self) -> socket.socket | None:
        now = self._now()
        if now < self._open_after:
            return None
        self._open_after = now + REOPEN
        try:
            opened = socket.socket(self._family, socket.SOCK_DGRAM)
        except OSError as error:
            self._why = error.strerror or str(error)
            return None
        opened.setblocking(False)
        try:
            opened.connect(self._address)
        except OSError as error:
            self._why = error.strerror or str(error)
            opened.close()
            return None
        self._socket = opened
        return opened

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_UNPRINTABLE = {code: f"#{code:02X}" for code in (*range(32), *range(127, 256))}
_ESCAPED = {**_UNPRINTABLE, ord('"'): "#22", ord("#"): "#23"}


def printable(text: str) -> str:
    """Replaces the characters that move a terminal's cursor or begin a new line; others beyond ASCII stay readable.

    Characters below 256 become "#" and their code in hexadecimal, others "?".
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def escaped(line: str) -> str:
    """Escapes a request line (each character is a byte) as HAProxy's manual, section 8.6, describes."""
    return line.translate(_ESCAPED)


def _shown(character: str) -> str:
    return character if character.isprintable() else _UNPRINTABLE.get(ord(character), "?")
