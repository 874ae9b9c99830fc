"""Reads what a TLS client says first, without decrypting anything: versions, server name, protocols (RFC 8446 section
4.1.2, RFC 6066 section 3, RFC 7301).

The message may be cut into records at any place (RFC 8446 section 5.1). Lengths are checked against each other, and
nothing beyond the message is looked at.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

HANDSHAKE: Final = 22
CLIENT_HELLO: Final = 1
#: The largest payload of a record (RFC 5246 section 6.2.3), and the largest message that is read.
RECORD_MAX: Final = (1 << 14) + 2048
HELLO_MAX: Final = 1 << 16

_SERVER_NAME: Final = 0
_ALPN: Final = 16


class NotHello(Exception):
    """Says that the bytes do not begin with the message, whatever follows."""


@frozen
class ClientHello:
    """Holds what a client has said. `version` is the one in the message (0x0303 from TLS 1.2 on); `server_name` is None
    where it names no server; `protocol` is the first of ALPN's."""

    version: int
    server_name: bytes | None = None
    protocol: bytes | None = None


def read_client_hello(data: bytes) -> ClientHello | None:
    """Returns the message that `data` begins with; None while it is incomplete. Raises NotHello."""
    return HelloReader().read(data)


class HelloReader:
    """Reads the message from bytes that are still coming, and are asked about again and again: each record is put in
    its place once, and the message is read once."""

    __slots__ = ("_at", "_found", "_message", "_refused")

    def __init__(self) -> None:
        #: The bytes of whole records, and what stands in them.
        self._at = 0
        self._message = bytearray()
        self._found: ClientHello | None = None
        self._refused = False

    def read(self, data: bytes) -> ClientHello | None:
        """Returns the message that `data` begins with, which has all bytes of the call before; None while it is
        incomplete. Raises NotHello."""
        if self._refused:
            raise NotHello
        if self._found is None:
            try:
                message = self._whole(data)
                if message is not None and message[0] != CLIENT_HELLO:
                    raise NotHello
                self._found = None if message is None else _client_hello(_Reader(message[4:]))
            except NotHello:
                self._refused = True
                raise
        return self._found

    def _whole(self, data: bytes) -> bytes | None:
        """Returns the first handshake message, header included, put together from its records; None while it is
        incomplete."""
        message = self._message
        while True:
            at = self._at
            if len(data) < at + 5:
                if data[at : at + 1] not in (b"", b"\x16") or data[at + 1 : at + 2] not in (b"", b"\x03"):
                    raise NotHello
                return None
            length = int.from_bytes(data[at + 3 : at + 5], "big")
            if data[at] != HANDSHAKE or data[at + 1] != 3 or not 0 < length <= RECORD_MAX:
                raise NotHello
            begin, end = at + 5, min(at + 5 + length, len(data))
            size = len(message) + end - begin
            if size >= 4:
                whole = 4 + int.from_bytes((message[:4] + data[begin : begin + 4])[1:4], "big")
                if whole > HELLO_MAX:
                    raise NotHello
                if size >= whole:
                    return bytes(message + data[begin:end])[:whole]
            if at + 5 + length > len(data):
                return None
            message += data[begin:end]
            self._at = end


class _Reader:
    """Takes values from the front of a message; raises NotHello where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise NotHello
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Takes as many bytes as the number before them says, which has `size` bytes."""
        return self.take(self.number(size))


def _client_hello(reader: _Reader) -> ClientHello:
    version = reader.number(2)
    reader.take(32)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    if not reader.left:
        return ClientHello(version)
    extensions = _Reader(reader.vector(2))
    name: bytes | None = None
    protocol: bytes | None = None
    while extensions.left:
        kind = extensions.number(2)
        extension = _Reader(extensions.vector(2))
        if kind == _SERVER_NAME and name is None:
            name = _host_name(extension)
        elif kind == _ALPN and protocol is None:
            names = _Reader(extension.vector(2))
            while names.left:
                said = names.vector(1)
                protocol = said if protocol is None else protocol
    return ClientHello(version, name, protocol)


def _host_name(extension: _Reader) -> bytes | None:
    names = _Reader(extension.vector(2))
    while names.left:
        kind, name = names.number(1), names.vector(2)
        if kind == 0 and name:  # an empty one is none, as in HAProxy
            return name
    return None
