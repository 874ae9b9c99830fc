"""A descriptor that lines go out by, without ever waiting for whoever reads it: a pipe, a terminal, a socket or a file.

Descriptors 1 and 2 are shared with others (a terminal with its shell), so O_NONBLOCK is never set on them: it belongs to the open file
description, and would be set for all. It must never know what a line says, or what becomes of those that are not taken.
"""

from __future__ import annotations

import os
import select
import socket
import stat

#: A pipe that is ready takes this much without blocking (POSIX: PIPE_BUF), and keeps it in one piece.
ATOMIC = select.PIPE_BUF


class Outlet:
    """How one descriptor is written to. A file takes all at once; it may wait for its disk."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._opened = False
        self._socket: socket.socket | None = None
        self._own: int | None = None
        self._piece = ATOMIC

    def put_out(self, data: bytes | bytearray) -> int:
        """Write whole lines as long as they are taken; returns how many bytes were. Raises OSError when nobody will read."""
        start = 0
        try:
            if not self._opened:
                self._open()
            while start < len(data) and self.is_ready():
                start += self._write(data[start : _end_of_piece(data, start, self._piece)])
        except BlockingIOError:
            pass
        except OSError as error:
            raise Ended(start) from error
        return start

    def is_ready(self, seconds: float = 0) -> bool:
        """Whether it takes something within this time. Raises OSError when nobody will read."""
        events = self._poll.poll(seconds * 1000)
        if events and not events[0][1] & select.POLLOUT:
            raise OSError("closed")
        return bool(events)

    def close(self) -> None:
        """Give back what is ours; the descriptor itself is not."""
        if self._socket is not None:
            self._socket.close()
        if self._own is not None:
            os.close(self._own)
        self._socket = self._own = None

    def __del__(self) -> None:
        self.close()

    def _open(self) -> None:
        """Only now: whoever becomes a daemon first has /dev/null there when it writes."""
        self._opened = True
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISREG(mode):
            self._piece = 1 << 30
        elif stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(self._fd))
        else:
            # A description of our own of the same pipe or terminal, which may have O_NONBLOCK. Where there is no /proc, or
            # it belongs to a user that we are no more, the descriptor is asked first and given what it then takes for sure.
            try:
                self._own = os.open(
                    f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                )
            except OSError:
                pass

    def _write(self, data: bytes | bytearray) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self._fd if self._own is None else self._own, data)


class Ended(OSError):
    """Nobody will read any more (a closed pipe, a full disk). `taken` bytes were written before."""

    def __init__(self, taken: int) -> None:
        super().__init__("closed")
        self.taken = taken


def _end_of_piece(data: bytes | bytearray, start: int, most: int) -> int:
    """As many whole lines as go into `most` bytes; of a longer line, a part."""
    if len(data) - start <= most:
        return len(data)
    return data.rfind(b"\n", start, start + most) + 1 or start + most
