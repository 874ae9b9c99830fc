"""Takes a handshake with a server on records that are read from the socket here, so that no step of it goes on for as
long as the server sends.

OpenSSL passes over some messages of a server (HelloRequest, four zero bytes) within one call, before anything of it is
verified, and reads on while the kernel has more. So it is given one record after the other in memory while the
handshake lasts. No record is read beyond the last one of the handshake, and OpenSSL gets the socket itself afterwards:
memory costs what follows a tenth more (`transport`). This uses private names of pyOpenSSL. Where they have changed,
the handshake is made on the socket, and has no bound.
"""

from __future__ import annotations

from contextlib import suppress
from socket import socket
from typing import Any, Final

from OpenSSL import SSL

from reusedproxy.net.tls.openssl import COMPLETE, RECORD, WANTS_READ, WANTS_WRITE, shake

#: Bytes of a record's header, and the most that may follow (RFC 5246 section 6.2.3).
HEADER: Final = 5
LONGEST: Final = RECORD + 2048
#: Records that one step takes, and bytes and records of a whole handshake. The longest one that OpenSSL takes has
#: certificates of 100 KB, which are 200 records where these are as small as they may be (RFC 6066 section 4).
AT_ONCE: Final = 16
MOST_BYTES: Final = 512 * 1024
MOST_RECORDS: Final = 1024
#: Content types of records: change_cipher_spec, alert, handshake, application_data.
_TYPES: Final = range(20, 24)


class Endless(Exception):
    """Says that a server's part of the handshake is longer than any can be."""


def bounded(connection: SSL.Connection, connected: socket) -> Bounded | OnSocket:
    """Returns what takes the steps of the handshake of this connection, which has begun nothing yet."""
    try:
        return Bounded(connection, connected)
    except (AttributeError, TypeError):
        return OnSocket(connection)


def _library() -> Any:
    """Returns OpenSSL's functions that are called here. Raises AttributeError if one is missing."""
    library = SSL._lib  # type: ignore[attr-defined]
    for name in ("BIO_new", "BIO_s_mem", "BIO_read", "BIO_write", "SSL_set_bio", "SSL_set_fd"):
        getattr(library, name)
    return library


class OnSocket:
    """Takes the steps of a handshake on the socket itself."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def step(self) -> int:
        """Does what `Bounded.step` does, without a bound."""
        return shake(self._connection)


class Bounded:
    """Takes the steps of one handshake."""

    __slots__ = (
        *("_begun", "_buffer", "_bytes", "_connection", "_done", "_handle", "_in", "_length", "_library", "_out"),
        *("_record", "_records", "_socket", "_unsent"),
    )

    def __init__(self, connection: SSL.Connection, connected: socket) -> None:
        """Raises AttributeError or TypeError where pyOpenSSL's private names are not those known here."""
        self._library = library = _library()
        self._handle = handle = connection._ssl
        self._buffer = SSL._ffi.new("char[]", RECORD)  # type: ignore[attr-defined]
        self._connection = connection
        self._socket = connected
        self._in, self._out = library.BIO_new(library.BIO_s_mem()), library.BIO_new(library.BIO_s_mem())
        library.SSL_set_bio(handle, self._in, self._out)
        #: What has come of the record that is being read, and the length that its header says.
        self._record = b""
        self._length = 0
        #: What OpenSSL has said, and the kernel has not taken yet.
        self._unsent = b""
        self._begun = self._done = False
        self._bytes = self._records = 0

    def step(self) -> int:
        """Takes a step. Returns WANTS_READ or WANTS_WRITE if the handshake has to go on, else COMPLETE: OpenSSL has the
        socket then. Where WANTS_READ is returned, something may have come already.

        Raises SSL.Error and its subclasses, and Endless.
        """
        if not self._send():
            return WANTS_WRITE
        for _ in range(AT_ONCE):
            if self._done:
                break
            if self._begun and not self._feed():
                return WANTS_READ
            self._begun = True
            try:
                self._done = shake(self._connection) == COMPLETE
            except SSL.Error:
                with suppress(SSL.Error):
                    self._send()  # the alert
                raise
            if not self._send():
                return WANTS_WRITE
        if not self._done:
            return WANTS_READ
        self._library.SSL_set_fd(self._handle, self._socket.fileno())
        return COMPLETE

    def _feed(self) -> bool:
        """Gives OpenSSL the next record, or what cannot be the header of one, for it to refuse. Returns False if that
        is still to come."""
        missing = HEADER - len(self._record)
        if missing > 0:
            self._record += self._receive(missing)
            if len(self._record) < HEADER:
                return False
            self._length = int.from_bytes(self._record[3:5], "big")
            if self._record[0] not in _TYPES or self._record[1] != 3 or self._length > LONGEST:
                self._length = 0
        missing = HEADER + self._length - len(self._record)
        if missing:
            self._record += self._receive(missing)
            if len(self._record) < HEADER + self._length:
                return False
        record, self._record = self._record, b""
        self._records += 1
        self._bytes += len(record)
        if self._records > MOST_RECORDS or self._bytes > MOST_BYTES:
            raise Endless(f"the server's handshake is longer than {MOST_BYTES >> 10} KiB or {MOST_RECORDS} records")
        self._library.BIO_write(self._in, record, len(record))
        return True

    def _receive(self, size: int) -> bytes:
        """Reads at most so many bytes; none if nothing has come."""
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise SSL.SysCallError(error.errno, error.strerror) from None
        if not data:
            raise SSL.SysCallError(-1, "Unexpected EOF")
        return data

    def _send(self) -> bool:
        """Sends what OpenSSL has to say. Returns False if the kernel has not taken all of it."""
        while (size := self._library.BIO_read(self._out, self._buffer, len(self._buffer))) > 0:
            self._unsent += SSL._ffi.buffer(self._buffer, size)[:]  # type: ignore[attr-defined]
        if not self._unsent:
            return True
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SSL.SysCallError(error.errno, error.strerror) from None
        self._unsent = self._unsent[sent:]
        return not self._unsent
