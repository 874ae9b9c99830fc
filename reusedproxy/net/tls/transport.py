"""Implements the transport with encrypted bytes that both sides of TLS share, and errors in OpenSSL's words.

`client` makes handshakes with servers, `handshake` and `server` those with clients, and `files` reads certificates and
trusted CAs. OpenSSL reads and writes the socket itself: with memory BIOs, as Twisted uses it, every record crosses two
more buffers (measured for 300 bytes: write 7.2 µs and read 6.9 µs with memory BIOs, 6.2 µs and 5.3 µs on the socket).
"""

from __future__ import annotations

import os
from fcntl import ioctl
from socket import IPPROTO_TCP, MSG_PEEK, TCP_CORK, socket
from termios import FIONREAD
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from reusedproxy.net.poller import DATA, READ, WRITE, Poller
from reusedproxy.net.tls import openssl
from reusedproxy.net.tls.openssl import RECORD, RECORDS, receive, send
from reusedproxy.net.transport import (
    BULK_READ_SIZE,
    CLOSED,
    HALF,
    OPEN,
    PEER_CLOSED,
    PEER_RESET,
    PEER_TRUNCATED,
    READ_SIZE,
    Transport,
    TransportOwner,
)

#: Size of a write from which on the socket is checked for incoming data before each record. A check takes 0.6 µs, to
#: send a record 9 µs.
LOOK_FROM: Final = 4 * 1024
_NOTHING: Final = bytes(4)
#: How the reason of a lost connection begins if TLS has failed; OpenSSL's words follow.
TLS_FAILED: Final = "TLS: "

#: Bytes of the largest record with its header (RFC 5246 section 6.2.3). So many reads in a row may give no data, as
#: when each byte of a record comes alone; more are those of a peer that sends nothing but KeyUpdates.
LARGEST_RECORD: Final = 5 + RECORD + 2048
#: Records without data in a row that may lie before a request is sent: a server sends some session tickets.
TICKETS: Final = 32
#: The beginning of a record that can hold a KeyUpdate. Its length is that of the message (five bytes), its content
#: type, and the tag of all ciphers in use (RFC 8446 section 5.2).
_KEY_UPDATE: Final = b"\x17\x03\x03\x00\x16"

_library: Any = Binding().lib


class TLSTransport(Transport):
    """Carries a connection whose handshake is complete; its bytes are encrypted."""

    __slots__ = ("_empty_reads", "_half", "_handle", "_place", "_ssl_read", "_ssl_write", "_tls", "_view")

    secure = True
    #: The most bytes that OpenSSL may have read of an incomplete record.
    holds = LARGEST_RECORD
    #: Whether incoming data is read before anything long is sent.
    looks = False
    #: Whether the peer is a client.
    serves = False

    def __init__(self, poller: Poller, connected: socket, owner: TransportOwner, tls: SSL.Connection) -> None:
        Transport.__init__(self, poller, connected, owner)
        self._tls = tls
        self._handle = openssl.handle_of(tls)
        # What each request calls, without a look-up in the module.
        self._ssl_read, self._ssl_write = openssl.SSL_read, openssl.SSL_write
        self._place, self._view = openssl.places[0], openssl.view
        #: Whether a record of ours is half sent.
        self._half = False
        #: Reads since the last that gave data.
        self._empty_reads = 0

    @property
    def version(self) -> str:
        return self._tls.get_protocol_version_name()

    @property
    def resumed(self) -> bool:
        # pyOpenSSL has no function for it.
        return bool(_library.SSL_session_reused(self._tls._ssl))

    def silent(self) -> bool:
        if self._held:
            return False
        # No decrypted data is waiting, because whole records are read. What is in the kernel may be a session ticket,
        # which is not data. Records are taken one by one, and a failure after a ticket counts.
        for _ in range(TICKETS):
            if Transport.silent(self):
                return True
            try:
                receive(self._tls)
            except SSL.WantReadError:
                continue
            except SSL.Error as error:
                openssl_reason(error)
            return False
        return False

    # These two repeat those of `Transport`, with OpenSSL's calls in place of the socket's.

    def send_now(self) -> None:
        self._queued = False
        unsent = self._unsent
        if not unsent:
            return
        try:
            data = unsent[0]
            size = len(data)
            # An empty write is not given to OpenSSL, which would take it for a failure.
            usual = 0 < size == self.unsent and size < LOOK_FROM and type(data) is bytes
            if usual and not (self._blocked or self._half) and self.pace is None:
                if self.state != OPEN:
                    self._cork()
                try:
                    sent: int = self._ssl_write(self._handle, data, size)
                    if sent <= 0:
                        openssl.raise_error(self._tls, self._handle, sent)
                except SSL.Error as error:
                    if self._waits_for(error):
                        self._wait_to_send()
                    else:
                        openssl_reason(error)
                        self._send_failed()
                    return
                if sent == size:
                    self._unsent = []
                    self.unsent = 0
                    if self.state != OPEN:
                        self._all_sent(True)
                else:
                    # The peer takes small records only (max_fragment_length, RFC 6066 section 4): this was the first.
                    self.unsent -= sent
                    unsent[0] = data[sent:]
                    self._flush()
            else:
                self._flush()
        except Exception:
            self._broken()

    def on_ready(self, events: int) -> None:
        alone = self._events == READ and not (self._crossed or self._half)
        if alone and events == DATA and self._read_size == READ_SIZE and self.state <= HALF:
            try:
                try:
                    size: int = self._ssl_read(self._handle, self._place, RECORD)
                    if size <= 0:
                        openssl.raise_error(self._tls, self._handle, size)
                except SSL.WantReadError:
                    self._came_to(self._nothing_read())
                    return
                except SSL.Error as error:
                    self._came_to(self._failure(error))
                    return
                self._empty_reads = 0
                if size < RECORD:
                    data = self._view[:size]  # bytes already, of OpenSSL's own buffer
                    self.owner.data_received(data if type(data) is bytes else bytes(data))
                else:
                    self._read_on(size)
            except Exception:
                self._broken()
            return
        self._on_events(events)

    def _send(self, data: bytes | memoryview) -> int:
        sent = 0
        half, self._half = self._half, False
        # After a failed write a plain socket can still be read, but OpenSSL reads nothing more. So what a server
        # answers before it refuses the rest of an upload is read first: on_ready does that, before it sends again. This
        # is not done after half a record, whose rest OpenSSL must be given before it can do anything else.
        looks = len(data) >= LOOK_FROM and self.looks and self.reading and not half
        try:
            # An empty write is not given to OpenSSL, which would take it for a failure.
            while sent < len(data):
                if looks and ioctl(self._fd, FIONREAD, _NOTHING) != _NOTHING:
                    if not sent:
                        raise BlockingIOError
                    break
                sent += send(self._tls, memoryview(data)[sent:] if sent else data)
        except SSL.Error as error:
            if sent and not isinstance(error, SSL.WantWriteError):
                openssl_reason(error)  # the records before it have gone out, and the next try reports it
            elif not self._waits_for(error):
                raise ConnectionResetError(openssl_reason(error)) from None
            elif not sent:
                raise BlockingIOError from None
        return sent

    def _waits_for(self, error: SSL.Error) -> bool:
        """Tells whether writing has only to wait, and notes for what."""
        if isinstance(error, SSL.WantWriteError):
            self._half = True
        elif isinstance(error, SSL.WantReadError):
            self._crossed |= WRITE  # half a handshake message has come, TLS 1.3's KeyUpdate
        else:
            return False
        return True

    def _send_failed(self) -> None:
        # Unlike with a plain socket, nothing more can be read: after a failed write OpenSSL reads no more.
        self._lose(PEER_RESET)

    def _read(self) -> None:
        if self._half and self._key_update_may_come():
            # OpenSSL cannot answer a KeyUpdate while a record of ours is half sent, and would give up the connection
            # ("bad length"). So the KeyUpdate waits until that record has gone.
            self._cross(READ)
            return
        self._read_size = READ_SIZE
        try:
            size = self._record(0)
        except SSL.WantReadError:
            self._came_to(self._nothing_read())
        except SSL.Error as error:
            self._came_to(self._failure(error))
        else:
            self._empty_reads = 0
            self._read_on(size)

    def _record(self, place: int) -> int:
        """Reads a record into this place of the buffer, and returns its size. Raises SSL.Error and its subclasses."""
        size: int = openssl.SSL_read(self._handle, openssl.places[place], RECORD)
        if size <= 0:
            openssl.raise_error(self._tls, self._handle, size)
        return size

    def _read_on(self, size: int) -> None:
        """Delivers the record in the buffer, which has this size, with those that follow if it is a large one."""
        ended = None
        if size == RECORD:
            self._read_size = BULK_READ_SIZE  # the next reads need a turn of the batch's bulk work
            count = 1
            try:
                while count < RECORDS and size == count * RECORD:
                    size += self._record(count)
                    count += 1
            except SSL.Error as error:
                ended = self._failure(error)
        data = bytes(openssl.view[:size])
        if self.state <= HALF:
            self.owner.data_received(data)
        else:
            self.drained += len(data)
        self._came_to(ended)

    def _nothing_read(self) -> str | None:
        """Counts a read that gave no data. Returns the reason of the end for a peer that sends nothing but records
        without data; None if the connection goes on."""
        self._empty_reads += 1
        return f"{TLS_FAILED}nothing but records without data" if self._empty_reads > LARGEST_RECORD else None

    def _failure(self, error: SSL.Error) -> str | None:
        """Returns the reason of the end for which a read has failed; None if the connection goes on."""
        if isinstance(error, SSL.WantReadError):
            return None
        if isinstance(error, SSL.WantWriteError):
            # OpenSSL has to send first: the answer to a KeyUpdate of TLS 1.3.
            self._cross(READ)
            return None
        if isinstance(error, SSL.ZeroReturnError):
            return PEER_CLOSED
        if isinstance(error, SSL.SysCallError):
            forget_errors()
            return PEER_TRUNCATED if error.args[0] == -1 else PEER_RESET
        return self._broken_by(error)

    def _came_to(self, ended: str | None) -> None:
        """Ends the connection for this reason; None: it goes on."""
        if ended is None or self.state == CLOSED:
            return
        if ended is PEER_CLOSED:
            self._peer_ended(ended)
        else:
            self._lose(ended)

    def _broken_by(self, error: SSL.Error) -> str:
        """Returns the reason of the end of a connection that OpenSSL reports as failed."""
        return TLS_FAILED + openssl_reason(error)

    def _key_update_may_come(self) -> bool:
        """Tells whether the next record has the size of TLS 1.3's KeyUpdate. All others can be read meanwhile."""
        try:
            return self.socket.recv(5, MSG_PEEK) == _KEY_UPDATE
        except OSError:
            return False  # nothing has come, or a failure that the read will report

    def _cork(self) -> None:
        """Has the last bytes wait for close_notify and our end, which `_all_sent` sends with them: one packet, not
        three (12 µs of a client's 450)."""
        try:
            self.socket.setsockopt(IPPROTO_TCP, TCP_CORK, True)
        except OSError:
            pass  # a unix socket

    def _goodbye(self) -> None:
        try:
            self._tls.shutdown()
        except SSL.Error:
            forget_errors()  # the peer has gone or its buffer is full, so it would not read our close_notify either


def forget_errors() -> None:
    """Empties OpenSSL's error queue, which belongs to the whole thread. It must be called after every SysCallError.

    pyOpenSSL leaves in the queue what it made a SysCallError of, and looks there for errors of the next connection.
    OpenSSL before 4.0 does so, too (SSL_get_error(3)): one reset would end an innocent connection that has nothing to
    read.
    """
    _library.ERR_clear_error()


def openssl_reason(error: SSL.Error) -> str:
    """Returns OpenSSL's own words for an error."""
    if isinstance(error, SSL.SysCallError):
        forget_errors()
        return "closed by peer" if error.args[0] == -1 else f"{os.strerror(error.args[0])}"
    queue: Any = error.args[0] if error.args else None
    return str(queue[-1][-1]) if queue else "closed by peer"
