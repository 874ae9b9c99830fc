"""Reads a TLS client's first message before OpenSSL does: the name that is asked for, and what the client supports.

The certificate is chosen by it, so each certificate has a context of its own, and a session can never be resumed under
the rules of another name. OpenSSL's callback for the name comes too late for that: OpenSSL has read session tickets by
then, and pyOpenSSL offers no earlier callback. This module also recognises other protocols than TLS before anything is
spent on the connection. It is pure: bytes in, a value out; it must never know a socket. A message that it cannot read
is left to OpenSSL to refuse; where OpenSSL reads another name in it, for which other terms hold, the `Handshake` ends.
"""

from __future__ import annotations

import re
from struct import Struct, error, unpack

from attrs import frozen

#: Bytes of a client's first message that are looked at; today's have 200 to 2000. The rest of a longer one is read by
#: OpenSSL, up to its own bound of 128 KiB, which answers or sends its alert; the kernel's buffer need not have room for
#: more while nobody reads.
MOST = 32 * 1024

#: Records without content in a row, which OpenSSL passes over (MAX_EMPTY_RECORDS in its ssl/record/).
_EMPTY_RECORDS = 32

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME, _SIGNATURE_ALGORITHMS, _SUPPORTED_VERSIONS = 0, 13, 43
#: The header of a record (type, major and minor version, length), and of the message in it (type, length).
_BEGINNING = Struct(">BBBHBBH")
#: The header of an extension: its type and its length.
_EXTENSION = Struct(">HH")

#: Cipher suites of TLS 1.2 and earlier that use an ECDSA certificate (IANA's registry: TLS_ECDHE_ECDSA_…).
_ECDSA_SUITES = frozenset(
    (0xC006, 0xC007, 0xC008, 0xC009, 0xC00A, 0xC023, 0xC024, 0xC02B, 0xC02C, 0xC048, 0xC049, 0xC05C, 0xC05D)
    + (0xC072, 0xC073, 0xC086, 0xC087, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF, 0xCCA9)
)
#: A suite of TLS 1.3, which says nothing of the certificate's key.
_SUITE_OF_1_3 = re.compile(rb"(?s)(?:..)*?\x13.")
#: Among signature algorithms: TLS 1.2's pairs of hash and signature, and TLS 1.3's RSA-PSS.
_RSA = re.compile(rb"(?s)(?:..)*?(?:.\x01|\x08[\x04-\x06])")
_ECDSA = re.compile(rb"(?s)(?:..)*?.\x03")
_NAMES = {0x0300: "SSLv3", 0x0301: "TLSv1.0", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_HTTP = re.compile(rb"[A-Z]{3,20} [^ \r\n]*")


class NotTLS(Exception):
    """Says that the first bytes are not TLS. The message says what they look like, `kind` in one word."""

    def __init__(self, kind: str, text: str) -> None:
        Exception.__init__(self, text)
        self.kind = kind


@frozen
class ClientHello:
    """Holds the parts of the message that matter here.

    `rsa` and `ecdsa` say whether the client accepts certificates with such keys. `legacy` is the version as TLS 1.2 and
    earlier say it. `versions`, of the extension for TLS 1.3, and `ciphers` are as they were sent, since only the words
    about a refusal need them.
    """

    server_name: str | None = None
    rsa: bool = True
    ecdsa: bool = False
    legacy: int = 0
    versions: bytes = b""
    ciphers: bytes = b""

    @property
    def version(self) -> int:
        """Returns the highest version that is offered; 0 if it could not be read."""
        # Clients send unknown versions to test whether servers ignore them (RFC 8701).
        offered = _numbers(self.versions[1:])
        return max((each for each in offered if each in _NAMES), default=self.legacy)

    @property
    def version_name(self) -> str:
        return _NAMES.get(self.version, f"version {self.version:#06x}")

    @property
    def suites(self) -> tuple[int, ...]:
        """Returns the numbers of the cipher suites."""
        return _numbers(self.ciphers)


#: What is known of a message that cannot be read.
UNREAD = ClientHello()


def read_hello(data: bytes) -> ClientHello | int:
    """Returns the message that `data` begins with. Raises NotTLS.

    If the message is incomplete, returns the number of bytes that must come at least before it is complete. Of a
    message longer than MOST bytes, the beginning is read.
    """
    if len(data) > 9:
        # Nearly all messages come at once, and as one record.
        kind, major, _, size, message_kind, high, low = _BEGINNING.unpack_from(data)
        usual = kind == _HANDSHAKE and major == 3 and message_kind == _CLIENT_HELLO and not high
        if usual and size == low + 4 and len(data) >= size + 5:
            return _read_message(data[9 : size + 5])
    return _read_records(data)


def _read_records(data: bytes) -> ClientHello | int:
    """Does what `read_hello` does with a message that is incomplete, or was split into records."""
    if not data:
        return 1
    if data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3):
        raise _what_came(data)
    if len(data) == 1:
        return 1
    message = bytearray()
    at, length, empty = 0, 4, 0
    # The message may be split into several records (RFC 8446 section 5.1).
    while len(message) < length:
        if message and message[0] != _CLIENT_HELLO:
            return UNREAD
        if len(data) < at + 5:
            if len(data) >= MOST:
                return _read_message(bytes(message[4:]), whole=False)
            return _missing(data, at + 5 + length - len(message))
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE or empty > _EMPTY_RECORDS:
            return UNREAD
        empty = 0 if size else empty + 1
        if len(data) < at + 5 + size:
            if len(data) >= MOST:
                return _read_message(bytes(message[4:] + data[at + 5 :]), whole=False)
            return _missing(data, at + 5 + max(size, length - len(message)))
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if len(message) >= 4:
            length = 4 + int.from_bytes(message[1:4], "big")
    return _read_message(bytes(message[4:length]))


def _missing(data: bytes, least: int) -> int:
    """Returns how many bytes must still come before the next look, MOST in all at the most.

    It asks for a whole record or message. To look again at every byte would cost 4 ms each time where a client splits
    its message into records of one byte.
    """
    return min(least, MOST) - len(data)


def _what_came(data: bytes) -> NotTLS:
    if data.startswith((b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")):
        return NotTLS("PROXY", "a PROXY protocol header came, which this 'bind' does not take")
    if found := _HTTP.match(data):
        asked = found[0][:80].decode("latin-1").encode("unicode_escape").decode("ascii")
        return NotTLS("HTTP", f"a plain HTTP request came ({asked}): the client must say https:// for this port")
    if len(data) > 2 and data[0] & 0x80 and data[2] == _CLIENT_HELLO:
        return NotTLS("SSLv2", "a hello of SSLv2 came")
    return NotTLS("bytes", f"no TLS came, but bytes that begin with {data[:16]!r}")


def _read_message(message: bytes, whole: bool = True) -> ClientHello:
    """Reads a ClientHello (RFC 8446 section 4.1.2); of some twelve extensions three matter here.

    One that is not `whole` is cut off somewhere, since it is too long. The rest is ignored: a client whose server name
    is in the rest is shown the certificate for clients that send none.
    """
    try:
        return _parsed(message, whole)
    except (IndexError, error):
        return UNREAD


def _parsed(message: bytes, whole: bool) -> ClientHello:
    """Does what `_read_message` does; raises IndexError or struct.error for a malformed message.

    It finds its way by offsets, without a call for each field (of OpenSSL's client, just after
    a step of another handshake: 24 µs with, 14 µs without).
    """
    at = 37 + message[34]  # behind version, random, session, and the length of the cipher suites
    end = at + int.from_bytes(message[at - 2 : at], "big")
    ciphers = message[at:end]
    at = stop = end + 1 + message[end]  # behind the compression methods
    names = algorithms = versions = None
    if at != len(message):
        at, stop = at + 2, at + 2 + int.from_bytes(message[at : at + 2], "big")
        if not whole:
            stop = len(message)
        elif stop > len(message):
            raise IndexError
    unpack = _EXTENSION.unpack_from
    while at + 4 <= stop:
        kind, size = unpack(message, at)
        at += 4 + size
        if at > stop:
            break
        if kind == _SERVER_NAME:
            names = message[at - size : at]
        elif kind == _SIGNATURE_ALGORITHMS:
            algorithms = message[at - size : at]
        elif kind == _SUPPORTED_VERSIONS:
            versions = message[at - size : at]
    if whole and at != stop:
        raise IndexError
    rsa, ecdsa = (True, False) if algorithms is None else _keys(algorithms, ciphers)
    name = _server_name(names) if names else None
    return ClientHello(name, rsa, ecdsa, message[0] << 8 | message[1], versions or b"", ciphers)


def _server_name(extension: bytes) -> str | None:
    """Returns the host name in lower case; None if there is none. Raises IndexError for a malformed list.

    It is in a list of names, for which only one type was ever defined (RFC 6066 section 3).
    """
    names = 2 + int.from_bytes(extension[:2], "big")
    if not 2 < names <= len(extension):
        raise IndexError
    if extension[2] != 0:
        return None
    end = 5 + int.from_bytes(extension[3:5], "big")
    if end > names:
        raise IndexError
    return extension[5:end].decode("latin-1").lower() or None


def _keys(extension: bytes, ciphers: bytes) -> tuple[bool, bool]:
    """Returns whether a client with these signature algorithms and cipher suites accepts RSA keys, and ECDSA keys.
    Raises IndexError for a malformed list."""
    end = 2 + int.from_bytes(extension[:2], "big")
    if end > len(extension):
        raise IndexError
    algorithms = extension[2:end]
    ecdsa = _ECDSA.match(algorithms) is not None and (
        _SUITE_OF_1_3.match(ciphers) is not None or not _ECDSA_SUITES.isdisjoint(_numbers(ciphers))
    )
    return _RSA.match(algorithms) is not None, ecdsa


def _numbers(vector: bytes) -> tuple[int, ...]:
    count = len(vector) // 2
    return unpack(f">{count}H", vector[: 2 * count])
