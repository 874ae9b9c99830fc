"""Sends log lines to where `log` lines say, with each target's header.

Must never know what a line says, nor how it is taken there: that is the task of `sinks`. Headers are HAProxy's, byte by
byte (compared with 2.6): a newline at the end of datagrams, too, and `len` counts all of it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from reusedproxy.config.language.haproxy_words import LOG_FACILITIES, LOG_LEVELS
from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.logs.gathering import Batches, Gathering
from reusedproxy.operators.logs.lost import Lost, lost_text
from reusedproxy.operators.logs.rings import Ring, RingSink
from reusedproxy.operators.logs.sinks import KEPT, Datagrams, Descriptor, Sink, Stream
from reusedproxy.rules.samples.aliases import MONTHS

Send = Callable[[str], None]
SendAll = Callable[[Sequence[str]], None]

_log = Logger("reusedproxy")

_NOWHERE = Place("", 0)
#: What of a `log` line says where lines go.
_OF_SINKS = ("kind", "host", "port", "path", "kept", "octets", "connect", "ring", "about")
_LEVELS = list(LOG_LEVELS)
#: The one fault of a syslog socket that starting its server later does not cure.
NO_SOCKET = "it is no socket, so no syslog server takes lines there (a file: 'log stdout' and a redirection)"
_FACILITIES = list(LOG_FACILITIES)
#: Where lines of these kinds go.
DESCRIPTORS = {"stdout": 1, "stderr": 2}
#: Bytes of a line of `debug`, and of all that its ring keeps.
_DEBUG_LENGTH, _DEBUG_KEPT = 16384, 1 << 20


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


def is_discarded(descriptor: int) -> bool:
    """Tells whether what is written to standard output or error is lost: it is /dev/null, as in the background, or
    closed."""
    try:
        status = os.fstat(descriptor)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        return True


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
        host: str = "",
        before: LogTargets | None = None,
        batches: Batches | None = None,
    ) -> None:
        """Takes `tag`, which is `log-tag`, `wall`, which returns the time of day, `addresses` of hosts already
        resolved, and the name of this host, if lines have it (`log-send-hostname`). Goes on with the rings of those
        `before`. `batches` is the poller, at the end of whose batches lines are sent; None: at once."""
        #: Has lines of requests sent together.
        self.gathering = Gathering(batches)
        self._host = host
        self._addresses = addresses or Addresses()
        self._tag = tag
        self._deadlines = deadlines
        self._wall = wall
        self._sinks: dict[tuple[object, ...], Sink] = {}
        self._rings: dict[str, RingSink] = {}
        #: Returns the number of lines lost of the daemon's own log, through all reloads.
        self.own_dropped: Callable[[], int] = (lambda: 0) if before is None else before.own_dropped
        #: Those of the configuration before, which go on.
        self._rings_before: Mapping[str, RingSink] = {} if before is None else before._rings
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
            self._targets[key] = Target(settings, tag or self._tag, sink, self._wall, self._host)
        return self._targets[key]

    def debugging(self, sink: str) -> Send:
        """Returns what writes the lines of the converter `debug` to this sink of HAProxy's: a descriptor, or the ring
        "buf0", whose lines begin with the time."""
        ring = {"ring": sink, "kept": _DEBUG_KEPT, "about": "in-memory ring buffer", "format": "timed"}
        said: dict[str, Any] = {"format": "raw"} if sink in ("stdout", "stderr") else ring
        target = LogTarget(_NOWHERE, sink if "ring" not in said else "ring", length=_DEBUG_LENGTH, **said)
        send = self.open(target).sender("emerg")
        assert send is not None  # of the first level
        return send

    def take_events_to(self, targets: list[Target], of_sections: Mapping[str, list[Target]] | None = None) -> None:
        """Sets the targets of `event`: `of_sections` for events of these sections, `targets` for all others."""
        self._event_targets = targets
        self._section_targets = of_sections or {}

    def event(
        self, level: str, text: str, section: str = "", said_at: Callable[[int], bool] = lambda descriptor: False
    ) -> None:
        """Logs an event of the proxy itself: a server is down, a pool has trouble. `section` is its section, such as
        "backend web". `said_at` tells of a descriptor of `log stdout` or `log stderr` whether the daemon's own log goes
        there, which says the same with its time and its level."""
        self.gathering.send_now()  # lines keep their order
        line = printable(text)
        for target in self._section_targets.get(section, self._event_targets):
            send, sink = target.sender(level), target.sink
            if send is not None and not (isinstance(sink, Descriptor) and said_at(sink.fd)):
                send(line)

    @property
    def dropped(self) -> int:
        """Returns the number of lines lost because their target did not take them, those of the daemon's own log among
        them."""
        return self.own_dropped() + sum(sink.dropped for sink in self._sinks.values())

    def close(self) -> None:
        """Writes the lines still kept. Later lines are written at once."""
        self.gathering.send_now()
        for sink in self._sinks.values():
            sink.close()

    def _sink(self, settings: LogTarget) -> Sink:
        """Returns what takes the lines of such a target; those that go to the same place share it."""
        key = tuple(getattr(settings, name) for name in _OF_SINKS)
        if key not in self._sinks:
            self._sinks[key] = self._ring_sink(settings) if settings.ring else self._new_sink(settings)
        return self._sinks[key]

    @property
    def rings(self) -> Mapping[str, tuple[Ring, int]]:
        """Returns the rings by name, each with how many lines its server has not got."""
        return {name: (sink.ring, sink.dropped) for name, sink in self._rings.items()}

    def _ring_sink(self, settings: LogTarget) -> RingSink:
        before = self._rings_before.get(settings.ring)
        if before is not None and before.ring.size == settings.kept:
            ring = before.ring
            ring.description = settings.about
        else:
            ring = Ring(settings.ring, settings.about, settings.kept)
        server = None if settings.kind == "ring" else self._new_sink(settings)
        sink = self._rings[settings.ring] = RingSink(ring, server)
        return sink

    def _new_sink(self, settings: LogTarget) -> Sink:
        kind, deadlines = settings.kind, self._deadlines
        if kind in DESCRIPTORS:
            return Descriptor(DESCRIPTORS[kind], deadlines)
        stream = kind in ("tcp", "stream")
        family: int
        address: str | tuple[str | int | bytes, ...]
        if kind in ("unix", "stream"):
            family, address = socket.AF_UNIX, settings.path
            tell = partial(_tell, settings.path)
        else:
            tell = partial(_tell, f"{settings.host}:{settings.port}")
            asked = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
            try:
                family, address = self._addresses.find("log", settings.host, settings.port, asked)
            except OSError as error:
                raise UnknownHost(f"could not resolve address '{settings.host}': {error.strerror}") from None
        if not stream:
            return Datagrams(family, address, deadlines.now, tell, deadlines)
        most = settings.kept or KEPT
        return Stream(family, address, deadlines, tell, most=most, octets=settings.octets, connect=settings.connect)


def _tell(where: str, reason: str, lines: int) -> None:
    """Reports lost lines to the daemon's own log, which has another output."""
    _log.warn("log {where}: {reason}; {lines} lines were lost", where=where, reason=reason, lines=lines)


class Target:
    """The running form of one `log` line."""

    def __init__(
        self, settings: LogTarget, tag: str, sink: Sink, wall: Callable[[], float] = time.time, host: str = ""
    ) -> None:
        self.settings = settings
        self.sink = sink
        self._lines = lines = _Lines(settings, tag, wall, host)
        #: Number of lines so far, modulo the period of `sample`.
        self._counted = 0
        if sink.lost_line is None:
            sink.lost_line = lines.lost_line

    def sender(self, level: str) -> Send | None:
        """Returns the function that sends a line of this level; None when the target does not take the level."""
        number = self._number(level)
        if number is None:
            return None
        send = self._lines.formatted(number, self.sink.write)
        if not self.settings.sample:
            return send
        counts = self._counts
        return lambda line: send(line) if counts() else None

    def sender_of_several(self, level: str) -> SendAll | None:
        """Returns the function that sends lines of this level in a row; None when the target does not take the
        level."""
        send, number = self.sender(level), self._number(level)
        if send is None or number is None:
            return None
        header, room, write_all = self._lines.header(number), self.settings.length - 1, self.sink.write_all
        if header is None or self.settings.sample:
            return partial(_one_by_one, send)

        def send_all(lines: Sequence[str]) -> None:
            before = header()
            if "".join((before, *lines)).isascii():  # asked once, and not of each line
                write_all([(before + line)[:room] for line in lines])
            else:
                write_all([cut(before + line, room) for line in lines])

        return send_all

    def sender_with_data(self, level: str) -> Callable[[str, str], None] | None:
        """Returns the function that sends a line of this level and its structured data, which are in RFC 5424 only;
        None when the target does not take the level."""
        if self._lines.format != "rfc5424":
            send = self.sender(level)
            return None if send is None else lambda line, data: send(line)
        number = self._number(level)
        if number is None:
            return None
        with_data = self._lines.rfc5424(number, self.sink.write)
        if not self.settings.sample:
            return with_data
        counts = self._counts
        return lambda line, data: with_data(line, data) if counts() else None

    def _number(self, level: str) -> int | None:
        """Returns the number with which lines of this level are sent; None: they are not."""
        number = _LEVELS.index(level)
        if number > _LEVELS.index(self.settings.level):
            return None
        return max(number, _LEVELS.index(self.settings.cap))

    def _counts(self) -> bool:
        """Counts a line, and tells whether it is one of those that are sent (`sample`)."""
        self._counted = number = self._counted % self.settings.period + 1
        return any(low <= number <= high for low, high in self.settings.sample)


class _Lines:
    """Writes lines in the format of one target. It knows no sink: a sink may have one of its own say what was lost, and
    they would refer to each other."""

    def __init__(self, settings: LogTarget, tag: str, wall: Callable[[], float], host: str) -> None:
        self.settings = settings
        self.format = settings.format or ("rfc3164" if host else "local")
        self._tag = tag
        self._wall = wall
        self._host = host
        self._second = -1
        self._when = ""

    def lost_line(self, lost: Lost) -> str:
        """Returns the line that says what was lost."""
        made: list[str] = []
        self.formatted(_LEVELS.index("warning"), made.append)(lost_text(lost, self._wall))
        return made[0]

    def formatted(self, number: int, write: Send) -> Send:
        """Returns a function that writes a line with the header of this target's format."""
        priority = _FACILITIES.index(self.settings.facility) * 8 + number
        room = self.settings.length - 1
        name = self.format
        header = self.header(number)
        if header is not None:
            return lambda line: write(cut(header() + line, room))
        if name == "rfc5424":
            send = self.rfc5424(number, write)
            return lambda line: send(line, "-")
        if name == "timed":
            return lambda line: write(cut(f"<{number}>{self._timestamp(self._wall())} {line}", room))
        if name == "iso":
            return lambda line: write(cut(f"{self._timestamp(self._wall())} {line}", room))
        if name in ("short", "priority"):
            before = f"<{number if name == 'short' else priority}>"
            return lambda line: write(cut(f"{before}{line}", room))
        return lambda line: write(cut(line, room))

    def header(self, number: int) -> Callable[[], str] | None:
        """Returns a function that returns the header of a line that is written now, which is made once a second; None
        for formats whose headers differ from line to line."""
        if self.format not in ("local", "rfc3164"):
            return None
        before = f"<{_FACILITIES.index(self.settings.facility) * 8 + number}>"
        wall, day_and_time = self._wall, self._day_and_time
        said, made = -1, ""

        def header() -> str:
            nonlocal said, made
            second = int(wall())
            if second != said:
                said, made = second, before + day_and_time(second)
            return made

        return header

    def rfc5424(self, number: int, write: Send) -> Callable[[str, str], None]:
        """Returns the function that writes a line and its structured data in RFC 5424."""
        priority = _FACILITIES.index(self.settings.facility) * 8 + number
        room, host = self.settings.length - 1, self._host or "-"

        def send(line: str, data: str) -> None:
            when = self._timestamp(self._wall())
            write(cut(f"<{priority}>1 {when} {host} {self._tag} {os.getpid()} - {data or '-'} {line}", room))

        return send

    def _day_and_time(self, second: int) -> str:
        """Returns the rest of an RFC 3164 header, formatted once a second."""
        if second != self._second:
            at = time.localtime(second)
            self._second = second
            # The host's name is mandatory there, as HAProxy has it; the process may have become a daemon, with another
            # process number, since the start.
            host = f"{self._host or 'localhost'} " if self.format == "rfc3164" else ""
            self._when = (
                f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} "
                f"{host}{self._tag}[{os.getpid()}]: "
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


def _one_by_one(send: Send, lines: Sequence[str]) -> None:
    for line in lines:
        send(line)


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


def cut(line: str, room: int) -> str:
    """Returns a line, or the whole characters of it that fit into `room` bytes of UTF-8."""
    if line.isascii():
        return line[:room]
    return line.encode("utf-8", "backslashreplace")[:room].decode("utf-8", "ignore")
