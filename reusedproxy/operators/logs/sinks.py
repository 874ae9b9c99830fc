"""Takes the lines of logs to where they are read: descriptors, syslog sockets, streams.

A sink never blocks, and never knows what a line says. What cannot be taken at once is kept up to a limit; lines beyond
it are dropped and counted, and the number is said in a line of its own when there is room again.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.logs.lost import Lost, LostLine, lost_text
from reusedproxy.operators.logs.outlet import Ended, Outlet

#: Seconds that a line for standard output, or for a connection, may wait for others; and the number of bytes at which
#: those for standard output are written, and which those for a connection are put together to.
GATHER = 0.05
ENOUGH = 32 * 1024
#: Most bytes kept for whoever takes none; further lines are dropped.
KEPT = 1024 * 1024
#: Seconds until a server that was not there is tried again, and seconds between two messages about lost lines.
REOPEN = 1.0
TELL_EVERY = 60.0
#: Seconds until lines are tried again that a server took too slowly.
AGAIN = 0.1
#: Seconds that a connection is waited for where nothing is said.
CONNECT = 5.0

#: Reports lost lines to the daemon's own log: a reason, and how many.
Tell = Callable[[str, int], None]
#: Why lines are lost at a pipe or a terminal.
UNREAD = "nobody read them in time"


class Sink(Protocol):
    """Takes lines. `dropped` is the number of those that are lost; `lost_line` makes a line that says so, None: none
    is said."""

    lost_line: LostLine | None

    @property
    def dropped(self) -> int: ...

    def write(self, line: str) -> None:
        """Takes a line, without its end."""

    def write_all(self, lines: Sequence[str]) -> None:
        """Takes several lines, without their ends."""

    def close(self) -> None:
        """Writes what is kept, as far as it is taken now."""


class Descriptor:
    """Gathers lines for standard output or error, and writes them when there are enough or some time has passed.

    It never blocks, see `Outlet`.
    """

    def __init__(self, fd: int, deadlines: Deadlines) -> None:
        self.fd = fd
        self.deadline = inf
        self.slot = 0.0
        self._deadlines = deadlines
        self._lines: list[str] = []
        self._size = 0
        self._unwritten = b""
        self._losses = _Losses(deadlines.now, None)
        self._closed = False
        self._outlet = Outlet(fd)
        self.lost_line: LostLine | None = None

    @property
    def dropped(self) -> int:
        return self._losses.dropped

    def write(self, line: str) -> None:
        """Takes a line, without its end."""
        size = self._size
        if not size and not self._closed:
            self._deadlines.watch(self, self._deadlines.now() + GATHER)
        elif size > KEPT:
            self._losses.add(self._outlet.refused or UNREAD)
            return
        self._lines.append(line)
        self._size = size = size + len(line) + 1
        # While the descriptor takes nothing, only the deadline tries again, so that not every line polls it.
        if (size >= ENOUGH and not self._unwritten) or self._closed:
            self.flush()

    def write_all(self, lines: Sequence[str]) -> None:
        """Takes several lines, without their ends."""
        for line in lines:
            self.write(line)

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
        if self._losses.untold and len(self._unwritten) < ENOUGH:
            said = (self.lost_line or lost_text)(self._losses.take())
            self._unwritten += said.encode("utf-8", "backslashreplace") + b"\n"
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
            # The daemon goes on without its reader, who is told nothing.
            self._losses.add(UNREAD, self._unwritten.count(b"\n", ended.taken))
            self._losses.take()
            self._unwritten = b""


class _Losses:
    """Counts lines that were not taken, and tells of them now and then."""

    def __init__(self, now: Callable[[], float], tell: Tell | None) -> None:
        self.dropped = 0
        #: Those that no line has said so far.
        self.untold = 0
        self._now = now
        self._tell = tell
        self._told = 0
        self._tell_after = -inf
        #: When the first of the untold ones was lost, and why the last was.
        self._since = 0.0
        self._why = ""

    def take(self) -> Lost:
        """Returns what no line has said so far, which one is to say now."""
        lines, self.untold = self.untold, 0
        return Lost(lines, self._now() - self._since, self._why)

    def add(self, reason: str, lines: int = 1) -> None:
        now = self._now()
        if not self.untold:
            self._since = now
        self._why = reason
        self.dropped += lines
        self.untold += lines
        if self._tell is not None and now >= self._tell_after:
            self._tell_after = now + TELL_EVERY
            lost, self._told = self.dropped - self._told, self.dropped
            self._tell(reason, lost)


class Datagrams:
    """Sends a datagram for each line to one syslog server.

    Lines for one at a unix socket that is away, or takes them too slowly, wait until it is there again. By UDP nobody
    says whether a datagram was taken.
    """

    def __init__(
        self,
        family: int,
        address: str | tuple[str | int | bytes, ...],
        now: Callable[[], float],
        tell: Tell | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """Takes `tell(reason, lines)`, which is called with the number of lost lines, once a minute at most.
        `deadlines` None: what is kept waits for the next line."""
        self.lost_line: LostLine | None = None
        self.deadline = inf
        self.slot = 0.0
        self._losses = _Losses(now, tell)
        self._family = family
        self._address = address
        self._now = now
        self._deadlines = deadlines
        self._socket: socket.socket | None = None
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._why = ""
        self._try_after = -inf

    @property
    def dropped(self) -> int:
        return self._losses.dropped

    def write(self, line: str) -> None:
        """Sends a line, with a newline added as in HAProxy."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        opened = self._socket
        if opened is not None and not self._kept:
            try:
                opened.send(data)
            except OSError as error:
                if not self._sends_after(error, data):
                    self._keep(data)
        elif self._kept or not self._sends(data):
            self._keep(data)
            if self._now() >= self._try_after:
                self._send_kept()

    def write_all(self, lines: Sequence[str]) -> None:
        """Sends several lines, as `write` does each."""
        opened = self._socket
        if opened is None or self._kept:
            for line in lines:
                self.write(line)
            return
        send, at = opened.send, 0
        try:
            for line in lines:
                send(line.encode("utf-8", "backslashreplace") + b"\n")
                at += 1
        except OSError as error:
            data = lines[at].encode("utf-8", "backslashreplace") + b"\n"
            if not self._sends_after(error, data):
                self._keep(data)
            for line in lines[at + 1 :]:
                self.write(line)

    def deadline_passed(self) -> None:
        """Tries again to send what is kept."""
        self._send_kept()

    def close(self) -> None:
        """Sends what is kept, if that is taken now."""
        self._try_after = -inf
        self._send_kept()

    def _send_kept(self) -> None:
        while self._kept and self._sends(self._kept[0]):
            self._size -= len(self._kept.popleft())
        if not self._kept and self._losses.untold and self.lost_line is not None:
            self._sends(self.lost_line(self._losses.take()).encode("utf-8", "backslashreplace") + b"\n")
        self._watch()

    def _watch(self) -> None:
        if self._deadlines is not None and self._kept:
            self._deadlines.watch(self, max(self._try_after, self._now() + AGAIN))

    def _keep(self, data: bytes) -> None:
        if self._size + len(data) > KEPT:
            self._losses.add(self._why)
            return
        self._kept.append(data)
        self._size += len(data)
        if len(self._kept) == 1:
            self._watch()

    def _sends(self, data: bytes) -> bool:
        """Sends a datagram, and returns whether it need not be sent again."""
        opened = self._socket or self._open()
        if opened is None:
            return self._loses()
        try:
            opened.send(data)
        except OSError as error:
            return self._sends_after(error, data)
        return True

    def _sends_after(self, error: OSError, data: bytes) -> bool:
        """Sends a datagram once more after this error, if that may help, and returns whether it need not be sent again.
        By UDP, the error is about an earlier one, which nobody took; the server of a unix socket has gone, or been
        started again."""
        self._why = error.strerror or str(error)
        if isinstance(error, BlockingIOError):
            self._why = "it takes lines too slowly"
            return self._loses()
        if error.errno == errno.EMSGSIZE:
            self._losses.add(self._why)
            return True
        if self._family != socket.AF_UNIX and error.errno == errno.ECONNREFUSED:
            self._losses.add(self._why)
        else:
            self._close()
            self._open()
        try:
            if self._socket is not None:
                self._socket.send(data)
                return True
        except OSError as again:
            self._why = again.strerror or str(again)
            self._close()
        self._try_after = self._now() + REOPEN
        return self._loses()

    def _loses(self) -> bool:
        """Counts a datagram that was not sent, and returns True, by UDP; at a unix socket it is kept, and False is
        returned."""
        if self._family == socket.AF_UNIX:
            return False
        self._losses.add(self._why)
        return True

    def _open(self) -> socket.socket | None:
        now = self._now()
        if now < self._try_after:
            return None
        self._try_after = now + REOPEN
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
        self._try_after = -inf
        self._socket = opened
        return opened

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Stream:
    """Sends lines over a connection to one server, by TCP or at a unix socket: each ends with a newline, or, with
    `octets`, begins with its size (RFC 6587 section 3.4.1).

    Lines wait for a server that is away; the one under way when a connection ends is sent again. What the kernel has
    taken by then may be lost. It has no events of the poller: lines are gathered for a moment anyhow.
    """

    def __init__(
        self,
        family: int,
        address: str | tuple[str | int | bytes, ...],
        deadlines: Deadlines,
        tell: Tell | None = None,
        *,
        most: int = KEPT,
        octets: bool = False,
        connect: float | None = None,
    ) -> None:
        """Keeps at most so many bytes, and waits so many seconds for a connection."""
        self.lost_line: LostLine | None = None
        self.deadline = inf
        self.slot = 0.0
        self._losses = _Losses(deadlines.now, tell)
        self._family = family
        self._address = address
        self._deadlines = deadlines
        self._most = most
        self._octets = octets
        self._patience = connect or CONNECT
        self._lines: deque[bytes] = deque()
        self._size = 0
        #: Bytes of the first line that this connection has taken.
        self._sent = 0
        self._socket: socket.socket | None = None
        self._connected = False
        self._poll = select.poll()
        #: When it is tried again; while it connects, when that is given up.
        self._then = -inf
        self._why = ""

    @property
    def dropped(self) -> int:
        return self._losses.dropped

    def write(self, line: str) -> None:
        """Takes a line, without its end."""
        data = self._framed(line)
        if self._size + len(data) > self._most:
            self._losses.add(self._why or "it takes lines too slowly")
            return
        if not self._lines:
            self._deadlines.watch(self, self._deadlines.now() + GATHER)
        self._lines.append(data)
        self._size += len(data)

    def write_all(self, lines: Sequence[str]) -> None:
        """Takes several lines, without their ends."""
        for line in lines:
            self.write(line)

    def deadline_passed(self) -> None:
        """Sends what is taken."""
        self._put_out()
        if self._lines:
            wait = GATHER if self._socket is not None else max(GATHER, self._then - self._deadlines.now())
            self._deadlines.watch(self, self._deadlines.now() + wait)

    def close(self) -> None:
        """Sends what is taken now."""
        self._put_out()

    def _framed(self, line: str) -> bytes:
        data = line.encode("utf-8", "backslashreplace")
        return b"%d %b" % (len(data), data) if self._octets else data + b"\n"

    def _put_out(self) -> None:
        try:
            if not self._is_connected():
                return
            assert self._socket is not None
            if self._ended():
                raise ConnectionResetError(errno.ECONNRESET, "it has ended the connection")
            while self._lines:
                # Many in one piece: each call would cost as much as it takes to make a line.
                self._sent += self._socket.send(self._next())
                while self._lines and self._sent >= len(self._lines[0]):
                    taken = len(self._lines.popleft())
                    self._size -= taken
                    self._sent -= taken
                if not self._lines and self._losses.untold and self.lost_line is not None:
                    self._lines.append(self._framed(self.lost_line(self._losses.take())))
                    self._size += len(self._lines[0])
        except BlockingIOError:
            self._why = ""
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _next(self) -> bytes:
        """Returns the next lines, some kilobytes of them, from where the last call ended."""
        pieces, size = [], 0
        for line in self._lines:
            pieces.append(line)
            size += len(line)
            if size >= ENOUGH:
                break
        joined = b"".join(pieces)
        return joined[self._sent :] if self._sent else joined

    def _is_connected(self) -> bool:
        """Tells whether there is a connection, and opens one if it is time to. Raises OSError."""
        now = self._deadlines.now()
        if self._socket is None:
            if now < self._then:
                return False
            self._socket = opened = socket.socket(self._family, socket.SOCK_STREAM)
            opened.setblocking(False)
            self._then = now + self._patience
            self._poll = select.poll()
            self._poll.register(opened, select.POLLOUT)
            wrong = opened.connect_ex(self._address)
            if wrong not in (0, errno.EINPROGRESS):
                raise OSError(wrong, os.strerror(wrong))
        if not self._connected:
            if not self._poll.poll(0):
                if now >= self._then:
                    raise TimeoutError(errno.ETIMEDOUT, "it takes no connection")
                return False
            wrong = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if wrong:
                raise OSError(wrong, os.strerror(wrong))
            self._connected = True
        return True

    def _ended(self) -> bool:
        """Tells whether the server has ended the connection; what it says is read and dropped."""
        assert self._socket is not None
        try:
            return not self._socket.recv(4096)
        except BlockingIOError:
            return False

    def _give_up(self, why: str) -> None:
        self._why = why
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._connected = False
        self._sent = 0
        self._then = self._deadlines.now() + REOPEN
