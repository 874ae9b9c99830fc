"""The first message of a TLS client, read before OpenSSL sees it: which name is asked for, and what the client can take.

The certificate is chosen by it, so each has a context of its own and a session can never be resumed under another name's
rules. OpenSSL's call-back for the name comes too late for that: it has looked at tickets by then, and pyOpenSSL has none
that comes earlier. It also tells what came instead of TLS before anything is spent on it. Pure: bytes in, a value out; it
must never know a socket. What it cannot read is left to OpenSSL to refuse.
"""

from __future__ import annotations

import re
from struct import Struct, error, unpack

from attrs import frozen

#: Bytes of a client's first message that are looked at; today's have 200 to 2000. Of a longer one OpenSSL reads the rest, up to its
#: own bound of 128 KiB, and answers or sends its alert; the kernel's buffer need not have room for more while nobody reads.
MOST = 32 * 1024

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME, _SIGNATURE_ALGORITHMS, _SUPPORTED_VERSIONS = _WANTED = (0, 13, 43)
#: Its kind and its length.
_EXTENSION = Struct(">HH")

#: Suites of TLS 1.2 and before that an ECDSA certificate is used with (the IANA's registry: TLS_ECDHE_ECDSA_…).
_ECDSA_SUITES = frozenset(
    (0xC006, 0xC007, 0xC008, 0xC009, 0xC00A, 0xC023, 0xC024, 0xC02B, 0xC02C, 0xC048, 0xC049, 0xC05C, 0xC05D)
    + (0xC072, 0xC073, 0xC086, 0xC087, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF, 0xCCA9)
)
_NAMES = {0x0300: "SSLv3", 0x0301: "TLSv1.0", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}
_HTTP = re.compile(rb"[A-Z]{3,20} [^ \r\n]*")


class NotTLS(Exception):
    """What came is no TLS; the message says what it looks like, `kind` in one word."""

    def __init__(self, kind: str, text: str) -> None:
        Exception.__init__(self, text)
        self.kind = kind


@frozen
class ClientHello:
    """What of the message matters here. `version` is the highest that is offered, 0 if that could not be read.

    `rsa` and `ecdsa`: the client takes certificates with such keys. `suites` are the ciphers' numbers.
    """

    server_name: str | None = None
    version: int = 0
    rsa: bool = True
    ecdsa: bool = False
    suites: tuple[int, ...] = ()

    @property
    def version_name(self) -> str:
        return _NAMES.get(self.version, f"version {self.version:#06x}")


def read_hello(data: bytes) -> ClientHello | int:
    """The message that `data` begins with; or how many more bytes there must be, at least, before it is whole.

    Of one that goes beyond MOST bytes, what these say. Raises NotTLS.
    """
    if not data:
        return 1
    if data[0] != _HANDSHAKE or (len(data) > 1 and data[1] != 3):
        raise _what_came(data)
    if len(data) == 1:
        return 1
    message = bytearray()
    at, length = 0, 4
    # It may be cut into several records (RFC 8446 section 5.1).
    while len(message) < length:
        if message and message[0] != _CLIENT_HELLO:
            return ClientHello()
        if len(data) < at + 5:
            if len(data) >= MOST:
                return _beginning(message)
            return _missing(data, at + 5 + length - len(message))
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE or not size:
            return ClientHello()
        if len(data) < at + 5 + size:
            if len(data) >= MOST:
                return _beginning(message + data[at + 5 :])
            return _missing(data, at + 5 + max(size, length - len(message)))
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if len(message) >= 4:
            length = 4 + int.from_bytes(message[1:4], "big")
    try:
        return _read_message(bytes(message[4:length]))
    except (IndexError, error):
        return ClientHello()


def _missing(data: bytes, least: int) -> int:
    """Looking again at each byte that comes would cost 4 ms each time of whoever cuts his message into records of one."""
    return min(least, MOST) - len(data)


def _beginning(message: bytearray) -> ClientHello:
    """What stands behind it is as if it were not said: a name there gets the certificate of those who say none."""
    try:
        return _read_message(bytes(message[4:]), whole=False)
    except (IndexError, error):
        return ClientHello()


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
    """RFC 8446 section 4.1.2. Of some twelve extensions three matter here. One that is not `whole` is cut off somewhere."""
    version = int.from_bytes(message[:2], "big")
    _, at = _vector(message, 34, 1)
    numbers, at = _vector(message, at, 2)
    suites = _numbers(numbers)
    _, at = _vector(message, at, 1)
    extensions: dict[int, bytes] = {}
    if at < len(message):
        listed = _vector(message, at, 2)[0] if whole else message[at + 2 :]
        at = 0
        while at < len(listed):
            if not whole and len(listed) - at < 4:
                break
            kind, size = _EXTENSION.unpack_from(listed, at)
            at += 4 + size
            if at > len(listed):
                if whole:
                    raise IndexError
                break
            if kind in _WANTED:
                extensions[kind] = listed[at - size : at]
    if _SUPPORTED_VERSIONS in extensions:
        # Some are there only to see whether we bear unknown ones (RFC 8701).
        offered = _numbers(_vector(extensions[_SUPPORTED_VERSIONS], 0, 1)[0])
        version = max((each for each in offered if each in _NAMES), default=version)
    rsa, ecdsa = True, False
    if _SIGNATURE_ALGORITHMS in extensions:
        rsa, ecdsa = _signatures(_numbers(_vector(extensions[_SIGNATURE_ALGORITHMS], 0, 2)[0]))
        ecdsa = ecdsa and any(suite in _ECDSA_SUITES or suite >> 8 == 0x13 for suite in suites)
    return ClientHello(_server_name(extensions.get(_SERVER_NAME)), version, rsa, ecdsa, suites)


def _server_name(extension: bytes | None) -> str | None:
    """RFC 6066 section 3: a list, of which only one kind was ever defined."""
    if not extension:
        return None
    names, _ = _vector(extension, 0, 2)
    if names[0] != 0:
        return None
    return _vector(names, 1, 2)[0].decode("latin-1").lower() or None


def _signatures(algorithms: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether RSA and ECDSA are among them: by TLS 1.2's pairs of hash and key, and by TLS 1.3's RSA-PSS."""
    rsa = any(each & 0xFF == 1 or each in (0x0804, 0x0805, 0x0806) for each in algorithms)
    return rsa, any(each & 0xFF == 3 for each in algorithms)


def _vector(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """What follows a length of `size` bytes (RFC 8446 section 3.4), and where it ends. Raises IndexError if it is cut off."""
    begin = at + size
    end = begin + int.from_bytes(data[at:begin], "big")
    if end > len(data) or begin > len(data):
        raise IndexError
    return data[begin:end], end


def _numbers(vector: bytes) -> tuple[int, ...]:
    count = len(vector) // 2
    return unpack(f">{count}H", vector[: 2 * count])
