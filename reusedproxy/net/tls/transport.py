"""What both sides of TLS share: a transport whose bytes are encrypted, and errors in OpenSSL's words.

`tls_client` makes handshakes towards servers, `tls_server` takes those of clients, `tls_files` reads what they show and
trust. OpenSSL reads and writes the socket itself: with memory BIOs, as Twisted does it, every record crosses two more
buffers (measured for 300 bytes: write 7.2 µs and read 6.9 µs with memory BIOs, 6.2 µs and 5.3 µs on the socket).
"""

from __future__ import annotations

import os
from fcntl import ioctl
from socket import MSG_PEEK, socket
from termios import FIONREAD
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from reusedproxy.net.poller import READ, WRITE, Poller
from reusedproxy.net.tls.openssl import RECORD, receive, send
from reusedproxy.net.transport import (
    BULK_READ_SIZE,
    CLOSED,
    HALF,
    PEER_CLOSED,
    PEER_RESET,
    PEER_TRUNCATED,
    READ_SIZE,
    Peer,
    Transport,
)

#: Records read in one go before their plaintext is handed on and others get their turn.
RECORDS_AT_ONCE = 8
#: A write of so many bytes is worth a look at what has come, before each record: 0.6 µs beside the 9 µs of its sending.
LOOK_FROM = 4 * 1024
_NOTHING = bytes(4)
#: At the peer's word, the reason given for a lost connection starts with this, and OpenSSL's words follow.
TLS_FAILED = "TLS: "

#: How a record begins that can hold a KeyUpdate: five bytes, its kind, and the tag of all ciphers in use (RFC 8446 section 5.2).
_KEY_UPDATE = b"\x17\x03\x03\x00\x16"

_openssl: Any = Binding().lib


class CertificateRefused(str):
    """Why a connection ended whose server has refused our certificate when the handshake was complete for us.

    Only TLS 1.3 knows it, and an alert that came from the server says it (RFC 8446 sections 4.4.2.4 and 6.2): nobody has
    read what was sent. Whatever else breaks a connection is a plain reason, and the server may have read everything.
    """


class TLSTransport(Transport):
    """A transport whose handshake is complete; what passes is encrypted."""

    __slots__ = ("_half", "_tls")

    secure = True
    #: OpenSSL may have read all but the end of a record, the largest of which is this (RFC 5246 section 6.2.3).
    holds = 5 + RECORD + 2048
    #: What has come is read before anything long is sent.
    looks = False

    def __init__(self, poller: Poller, connected: socket, peer: Peer, tls: SSL.Connection) -> None:
        Transport.__init__(self, poller, connected, peer)
        self._tls = tls
        #: A record of ours is half sent.
        self._half = False

    @property
    def version(self) -> str:
        return self._tls.get_protocol_version_name()

    @property
    def resumed(self) -> bool:
        # pyOpenSSL offers no word for it.
        return bool(_openssl.SSL_session_reused(self._tls._ssl))

    def silent(self) -> bool:
        if self._held:
            return False
        # Nothing stands decrypted: whole records are read. What stands in the kernel may be a session ticket, which says
        # nothing; each is taken alone, and a failure behind it counts.
        while not Transport.silent(self):
            try:
                receive(self._tls)
            except SSL.WantReadError:
                continue
            except SSL.Error as error:
                openssl_reason(error)
            return False
        return True

    def _send(self, data: bytes | memoryview) -> int:
        sent = 0
        half, self._half = self._half, False
        # After a failed write a plain socket can be read on; OpenSSL reads nothing more. So what a server answers before it
        # refuses the rest of an upload is read first: on_ready does that, before it sends again. Not behind half a record,
        # whose rest OpenSSL must be given before it can do anything else.
        looks = len(data) >= LOOK_FROM and self.looks and self._reading and not half
        try:
            # No bytes at all are not given to OpenSSL, which takes them for a failure.
            while sent < len(data):
                if looks and ioctl(self._fd, FIONREAD, _NOTHING) != _NOTHING:
                    if not sent:
                        raise BlockingIOError
                    break
                sent += send(self._tls, memoryview(data)[sent:] if sent else data)
        except SSL.WantWriteError:
            self._half = True
            if not sent:
                raise BlockingIOError from None
        except SSL.WantReadError:
            if not sent:
                self._crossed |= WRITE  # half a handshake message has come, TLS 1.3's KeyUpdate
                raise BlockingIOError from None
        except SSL.Error as error:
            reason = openssl_reason(error)
            if not sent:  # the records before it have gone out: the next try will fail with none
                raise ConnectionResetError(reason) from None
        return sent

    def _send_failed(self) -> None:
        # Unlike a plain socket there is nothing more to hear: after a failed write OpenSSL reads no more.
        self._lose(PEER_RESET)

    def _read(self) -> None:
        if self._half and self._key_update_may_come():
            # OpenSSL cannot answer it behind a record of ours that is half sent, and would give up the connection ("bad
            # length"): it waits until that has gone.
            self._cross(READ)
            return
        tls, data, ended = self._tls, b"", None
        self._read_size = READ_SIZE
        try:
            data = receive(tls)
            if len(data) == RECORD:
                self._read_size = BULK_READ_SIZE  # the next ones wait for their turn
                records = [data]
                try:
                    while len(records) < RECORDS_AT_ONCE and len(records[-1]) == RECORD:
                        records.append(receive(tls))
                finally:
                    data = b"".join(records)
        except SSL.WantReadError:
            pass
        except SSL.WantWriteError:
            # OpenSSL has to answer first: a KeyUpdate, in TLS 1.3.
            self._cross(READ)
        except SSL.ZeroReturnError:
            ended = PEER_CLOSED
        except SSL.SysCallError as error:
            forget_errors()
            ended = PEER_TRUNCATED if error.args[0] == -1 else PEER_RESET
        except SSL.Error as error:
            ended = self._broken_by(error)
        if data and self.state <= HALF:
            self.peer.data_received(data)
        elif data:
            self.drained += len(data)
        if ended is None or self.state == CLOSED:
            return
        if ended is PEER_CLOSED:
            self._peer_ended(ended)
        else:
            self._lose(ended)

    def _broken_by(self, error: SSL.Error) -> str:
        """Why the connection ends that OpenSSL has found to be of no more use."""
        return TLS_FAILED + openssl_reason(error)

    def _key_update_may_come(self) -> bool:
        """Whether the record that comes next has the size of TLS 1.3's KeyUpdate; all others go on being read meanwhile."""
        try:
            return self.socket.recv(5, MSG_PEEK) == _KEY_UPDATE
        except OSError:
            return False  # nothing is there, or its end, which reading tells

    def _goodbye(self) -> None:
        try:
            self._tls.shutdown()
        except SSL.Error:
            forget_errors()  # the peer has gone or its buffer is full: then it will not read our close_notify either


def forget_errors() -> None:
    """Empty OpenSSL's queue of errors, which is the whole thread's. Due after every SysCallError.

    pyOpenSSL leaves there what it made a SysCallError of, and looks there for what ails the next connection. OpenSSL
    before 4.0 does so, too (SSL_get_error(3)): one reset would end an innocent connection that has nothing to read.
    """
    _openssl.ERR_clear_error()


def openssl_reason(error: SSL.Error) -> str:
    """OpenSSL's own words for what went wrong."""
    if isinstance(error, SSL.SysCallError):
        forget_errors()
        return "closed by peer" if error.args[0] == -1 else f"{os.strerror(error.args[0])}"
    queue: Any = error.args[0] if error.args else None
    return str(queue[-1][-1]) if queue else "closed by peer"
