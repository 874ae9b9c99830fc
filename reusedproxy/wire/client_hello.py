"""Reads what a TLS client says first, without decrypting anything: versions, server name, protocols (RFC 8446 section
4.1.2, RFC 6066 section 3, RFC 7301).

The message may be cut into records at any place (RFC 8446 section 5.1). Lengths are checked against each other, and
nothing beyond the message is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import Final

from attrs import field, frozen

HANDSHAKE: Final = 22
CLIENT_HELLO: Final = 1
#: The largest payload of a record (RFC 5246 section 6.2.3), and the largest message that is read.
RECORD_MAX: Final = (1 << 14) + 2048
HELLO_MAX: Final = 1 << 16
#: The fewest bytes of a message: its version, the random bytes, and three empty lists.
_HELLO_LEAST: Final = 2 + 32 + 1 + 2 + 1
#: Records without content in a row, which OpenSSL passes over (MAX_EMPTY_RECORDS in its ssl/record/).
EMPTY_MAX: Final = 32
#: Extensions of a hello (clients have some twenty), and names in the one for names, that are looked at.
EXTENSIONS_MAX: Final = 256
NAMES_MAX: Final = 8
#: Protocols of ALPN that are looked at (clients offer three at most).
PROTOCOLS_MAX: Final = 256

_SERVER_NAME: Final = 0
_ALPN: Final = 16


class NotHello(Exception):
    """Says that the bytes do not begin with the message, whatever follows."""


class BrokenHello(NotHello):
    """Says that they do begin as the message does, and that it cannot be read; servers may do so all the same."""


@frozen
class ClientHello:
    """Holds what a client has said. `version` is the one in the message (0x0303 from TLS 1.2 on); `server_name` is None
    where it names no server; `protocols` are ALPN's, in the client's order; `message` is all of it, without its
    header."""

    version: int
    server_name: bytes | None = None
    protocols: tuple[bytes, ...] = ()
    message: bytes = field(default=b"", eq=False, repr=False)


def read_client_hello(data: bytes) -> ClientHello | None:
    """Returns the message that `data` begins with; None while it is incomplete. Raises NotHello."""
    return HelloReader().read(data)


class HelloReader:
    """Reads the message from bytes that are still coming, and are asked about again and again: each record is put in
    its place once, and the message is read once."""

    __slots__ = ("_at", "_empty", "_found", "_message", "_refusal")

    def __init__(self) -> None:
        #: The bytes of whole records, and what stands in them.
        self._at = 0
        self._message = bytearray()
        #: Records without content since the last one that had some.
        self._empty = 0
        self._found: ClientHello | None = None
        self._refusal: type[NotHello] | None = None

    def read(self, data: bytes) -> ClientHello | None:
        """Returns the message that `data` begins with, which has all bytes of the call before; None while it is
        incomplete. Raises NotHello and BrokenHello."""
        if self._refusal is not None:
            raise self._refusal
        if self._found is None:
            try:
                message = self._whole(data)
                self._found = None if message is None else _client_hello(message[4:])
            except NotHello as refusal:
                self._refusal = type(refusal)
                raise
        return self._found

    def _whole(self, data: bytes) -> bytes | None:
        """Returns the message, header included, put together from its records; None while it is incomplete.

        Whichever version a record says: it "MUST be ignored for all purposes" (RFC 8446 section 5.1), and some servers
        do ignore it. What the first record has instead tells a hello from other protocols whose first byte happens to
        be the same.
        """
        message = self._message
        while True:
            at = self._at
            unread = BrokenHello if at else NotHello
            if len(data) > at and data[at] != HANDSHAKE:
                raise unread
            if len(data) < at + 5:
                return None
            length = int.from_bytes(data[at + 3 : at + 5], "big")
            if length > RECORD_MAX:
                raise unread
            self._empty = 0 if length else self._empty + 1
            if self._empty > EMPTY_MAX:
                raise BrokenHello
            begin, end = at + 5, min(at + 5 + length, len(data))
            size = len(message) + end - begin
            if size and (message[:1] or data[begin : begin + 1])[0] != CLIENT_HELLO:
                raise NotHello
            if size >= 4:
                whole = 4 + int.from_bytes((message[:4] + data[begin : begin + 4])[1:4], "big")
                if whole < 4 + _HELLO_LEAST:
                    raise NotHello
                if whole > HELLO_MAX:
                    raise BrokenHello
                if size >= whole:
                    return bytes(message + data[begin:end])[:whole]
            if at + 5 + length > len(data):
                return None
            message += data[begin:end]
            self._at = end


def read_version(data: bytes, most: int) -> int | None:
    """Returns the version, its high byte first, that the first message in SSLv3's form says, of whichever type, or a
    hello in SSLv2's (RFC 5246 section E.2); None while the message is incomplete, or `most` bytes of it are. Raises
    NotHello. Reads what HAProxy's `req.ssl_ver` does."""
    if not data:
        return None
    if 0x14 <= data[0] <= 0x17 or data[0] == 0xFF:
        if len(data) < 11:
            return None
        length = int.from_bytes(data[3:5], "big")
        if data[1] < 3 or not 6 <= length <= RECORD_MAX:
            raise NotHello
        version, whole = int.from_bytes(data[9:11], "big"), 5 + length
    else:
        # A header of two bytes; or of three, the last of which says how much there is behind the message.
        short = data[0] >= 0x80
        at = 2 if short else 3
        if len(data) > at and data[at] != CLIENT_HELLO:
            raise NotHello
        if len(data) < at + 9:
            return None
        length = int.from_bytes(data[:2], "big") & (0x7FFF if short else 0x3FFF)
        version, suites, session, challenge = unpack_from(">4H", data, at + 1)
        if length != 9 + suites + session + challenge or suites % 3 or session not in (0, 16):
            raise NotHello
        if not 16 <= challenge <= 32:
            raise NotHello
        whole = at + length + (0 if short else data[2])
    return version if len(data) >= min(whole, most) else None


def _client_hello(message: bytes) -> ClientHello:
    """Reads the message, without its header. Raises BrokenHello."""
    version = int.from_bytes(message[:2], "big")
    at = 34
    for size in (1, 2, 1):  # session, cipher suites, compression methods
        at = _behind(message, at, size)
    if at == len(message):
        return ClientHello(version, message=message)
    end = _behind(message, at, 2)
    at += 2
    name: bytes | None = None
    protocols: tuple[bytes, ...] = ()
    for _ in range(EXTENSIONS_MAX):
        if at >= end:
            break
        kind, begin = int.from_bytes(message[at : at + 2], "big"), at + 4
        at = _behind(message, at + 2, 2)
        if at > end:
            raise BrokenHello
        if kind == _SERVER_NAME and name is None:
            name = _host_name(message[begin:at])
        elif kind == _ALPN and not protocols:
            protocols = tuple(_protocols(message[begin:at]))
    if at != end:
        raise BrokenHello
    return ClientHello(version, name, protocols, message)


def _host_name(extension: bytes) -> bytes | None:
    """Returns the first of the names that is a host's; there are no others (RFC 6066 section 3)."""
    if extension and _behind(extension, 0, 2) != len(extension):
        raise BrokenHello
    at = 2
    for _ in range(NAMES_MAX):
        if at >= len(extension):
            return None
        kind, name = extension[at], _vector(extension, at + 1, 2)
        if kind == 0 and name:  # an empty one is none, as in HAProxy
            return name
        at += 3 + len(name)
    raise BrokenHello


def _protocols(extension: bytes) -> Iterator[bytes]:
    """Returns the protocols of the list."""
    if extension and _behind(extension, 0, 2) != len(extension):
        raise BrokenHello
    at = 2
    for _ in range(PROTOCOLS_MAX):
        if at >= len(extension):
            return
        yield _vector(extension, at, 1)
        at = _behind(extension, at, 1)
    raise BrokenHello


def _vector(data: bytes, at: int, size: int) -> bytes:
    """Returns as many bytes as the number there says, which has `size` bytes. Raises BrokenHello."""
    return data[at + size : _behind(data, at, size)]


def _behind(data: bytes, at: int, size: int) -> int:
    """Returns where such a vector ends. Raises BrokenHello where that is beyond the data."""
    end = at + size + int.from_bytes(data[at : at + size], "big")
    if end > len(data) or at + size > len(data):
        raise BrokenHello
    return end
