"""Writes lines to a descriptor without ever blocking on its reader: a pipe, a terminal, a socket or a file.

Descriptors 1 and 2 are shared with other processes (a terminal with its shell). O_NONBLOCK is never set on them: it
belongs to the open file description, and would apply to all of them. Must never know what a line says, nor what happens
to lines that are not taken.
"""

from __future__ import annotations

import os
import select
import socket
import stat

#: A writable pipe takes this many bytes without blocking, and in one piece (POSIX: PIPE_BUF).
ATOMIC = select.PIPE_BUF
#: Bytes that are written to a file in one piece. While it is full, a piece is tried again and again.
PIECE = 64 * 1024


class Outlet:
    """Writes to one descriptor. A file takes everything at once; writing to it may wait for the disk.

    A file on a full disk takes nothing for a while, or a part of a line. That line is completed when there is room
    again; if somebody else has written to the file since, or emptied it, all of the line is written once more.
    """

    def __init__(self, fd: int) -> None:
        #: Why a file takes nothing now, such as "No space left on device"; "" if it does, and for other descriptors.
        self.refused = ""
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._opened = False
        self._socket: socket.socket | None = None
        self._own: int | None = None
        self._piece = ATOMIC
        self._is_file = False
        #: A process that ended while the disk was full has left a line without an end.
        self._cut = False
        #: Bytes of the next line that a file has taken, and its size then.
        self._begun, self._size = 0, 0

    def put_out(self, data: bytes | bytearray) -> int:
        """Writes whole lines as long as they are taken, and returns the number of bytes written; of a line that a file
        has taken in part all bytes are to come again. Raises Ended when the reader is gone."""
        start = 0
        try:
            if not self._opened:
                self._open()
            if self._is_file:
                return self._put_in_file(data)
            while start < len(data) and self.is_ready():
                start += self._write(data[start : _end_of_piece(data, start, self._piece)])
        except BlockingIOError:
            pass
        except OSError as error:
            raise Ended(start) from error
        return start

    def is_ready(self, seconds: float = 0) -> bool:
        """Tells whether the descriptor takes data within this time. Raises OSError when the reader is gone."""
        events = self._poll.poll(seconds * 1000)
        if events and not events[0][1] & select.POLLOUT:
            raise OSError("closed")
        return bool(events)

    def close(self) -> None:
        """Closes the descriptors that were opened here, but not the one that was given."""
        if self._socket is not None:
            self._socket.close()
        if self._own is not None:
            os.close(self._own)
        self._socket = self._own = None

    def __del__(self) -> None:
        self.close()

    def _open(self) -> None:
        """Prepares the descriptor at the first write: a process that has become a daemon since has /dev/null there."""
        self._opened = True
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISREG(mode):
            self._is_file, self._cut = True, _ends_within_line(self._fd)
        elif stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(self._fd))
        else:
            # A second open file description of the same pipe or terminal may have O_NONBLOCK. Without /proc, or when it
            # belongs to a user that this process no longer is, the descriptor is polled first and given only what it
            # then surely takes.
            try:
                self._own = os.open(
                    f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                )
            except OSError:
                pass

    def _put_in_file(self, data: bytes | bytearray) -> int:
        at = self._begun if self._begun and os.fstat(self._fd).st_size == self._size else 0
        try:
            if self._cut:
                os.write(self._fd, b"\n")
                self._cut = False
            while at < len(data):
                at += os.write(self._fd, data[at : at + PIECE])
        except OSError as error:
            self.refused = error.strerror or str(error)
            whole = data.rfind(b"\n", 0, at) + 1
            self._begun, self._size = at - whole, os.fstat(self._fd).st_size
            return whole
        self.refused, self._begun = "", 0
        return at

    def _write(self, data: bytes | bytearray) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self._fd if self._own is None else self._own, data)


class Ended(OSError):
    """Raised when the reader is gone (a closed pipe). `taken` bytes were written before."""

    def __init__(self, taken: int) -> None:
        super().__init__("closed")
        self.taken = taken


def _ends_within_line(fd: int) -> bool:
    """Tells whether the last line in a file has no end. Of a file that cannot be read nothing is known, and False
    returned."""
    size = os.fstat(fd).st_size
    if not size:
        return False
    try:
        reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.pread(reader, 1, size - 1) != b"\n"
    finally:
        os.close(reader)


def _end_of_piece(data: bytes | bytearray, start: int, most: int) -> int:
    """Returns the end of as many whole lines as fit into `most` bytes, or of a part of a longer line."""
    if len(data) - start <= most:
        return len(data)
    return data.rfind(b"\n", start, start + most) + 1 or start + most
