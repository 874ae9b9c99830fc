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
_SERVER_NAME, _SIGNATURE_ALGORITHMS, _SUPPORTED_VERSIONS = _WANTED = (0, 13, 43)
#: The header of an extension: its type and its length.
_EXTENSION = Struct(">HH")

#: Cipher suites of TLS 1.2 and earlier that use an ECDSA certificate (IANA's registry: TLS_ECDHE_ECDSA_…).
_ECDSA_SUITES = frozenset(
    (0xC006, 0xC007, 0xC008, 0xC009, 0xC00A, 0xC023, 0xC024, 0xC02B, 0xC02C, 0xC048, 0xC049, 0xC05C, 0xC05D)
    + (0xC072, 0xC073, 0xC086, 0xC087, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF, 0xCCA9)
)
#: Those, and all of TLS 1.3, which say nothing of the certificate's key.
_WITH_ECDSA = _ECDSA_SUITES | frozenset(range(0x1300, 0x1400))
#: Signature algorithms: TLS 1.2's pairs of hash and signature, and TLS 1.3's RSA-PSS.
_RSA_SIGNATURES = frozenset(range(0x0001, 0x10000, 0x100)) | {0x0804, 0x0805, 0x0806}
_ECDSA_SIGNATURES = frozenset(range(0x0003, 0x10000, 0x100))
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

    `version` is the highest version that is offered, 0 if it could not be read. `rsa` and `ecdsa` say whether the
    client accepts certificates with such keys. `suites` are the numbers of the cipher suites.
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
    """Returns the message that `data` begins with. Raises NotTLS.

    If the message is incomplete, returns the number of bytes that must come at least before it is complete. Of a
    message longer than MOST bytes, the beginning is read.
    """
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
            return ClientHello()
        if len(data) < at + 5:
            if len(data) >= MOST:
                return _beginning(message)
            return _missing(data, at + 5 + length - len(message))
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE or empty > _EMPTY_RECORDS:
            return ClientHello()
        empty = 0 if size else empty + 1
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
    """Returns how many bytes must still come before the next look, MOST in all at the most.

    It asks for a whole record or message. To look again at every byte would cost 4 ms each time where a client splits
    its message into records of one byte.
    """
    return min(least, MOST) - len(data)


def _beginning(message: bytearray) -> ClientHello:
    """Reads the beginning of a message that is too long.

    The rest is ignored: a client whose server name is in the rest is shown the certificate for clients that send none.
    """
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
    """Reads a ClientHello (RFC 8446 section 4.1.2); of some twelve extensions three matter here.

    A message that is not `whole` is cut off somewhere. Raises IndexError or struct.error for a malformed one.
    """
    version = int.from_bytes(message[:2], "big")
    _, at = _vector(message, 34, 1)
    numbers, at = _vector(message, at, 2)
    suites = _numbers(numbers)
    _, at = _vector(message, at, 1)
    extensions: dict[int, bytes] = {}
    if at < len(message):
        listed = _vector(message, at, 2)[0] if whole else message[at + 2 :]
        at, end = 0, len(listed)
        while at < end:
            if not whole and end - at < 4:
                break
            kind, size = _EXTENSION.unpack_from(listed, at)
            at += 4 + size
            if at > end:
                if whole:
                    raise IndexError
                break
            if kind in _WANTED:
                extensions[kind] = listed[at - size : at]
    if _SUPPORTED_VERSIONS in extensions:
        # Clients send unknown versions to test whether servers ignore them (RFC 8701).
        offered = _numbers(_vector(extensions[_SUPPORTED_VERSIONS], 0, 1)[0])
        version = max((each for each in offered if each in _NAMES), default=version)
    rsa, ecdsa = True, False
    if _SIGNATURE_ALGORITHMS in extensions:
        algorithms = _numbers(_vector(extensions[_SIGNATURE_ALGORITHMS], 0, 2)[0])
        rsa = not _RSA_SIGNATURES.isdisjoint(algorithms)
        ecdsa = not (_ECDSA_SIGNATURES.isdisjoint(algorithms) or _WITH_ECDSA.isdisjoint(suites))
    return ClientHello(_server_name(extensions.get(_SERVER_NAME)), version, rsa, ecdsa, suites)


def _server_name(extension: bytes | None) -> str | None:
    """Returns the host name in lower case; None if there is none.

    It is in a list of names, for which only one type was ever defined (RFC 6066 section 3).
    """
    if not extension:
        return None
    names, _ = _vector(extension, 0, 2)
    if names[0] != 0:
        return None
    return _vector(names, 1, 2)[0].decode("latin-1").lower() or None


def _vector(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    """Returns what follows a length of `size` bytes (RFC 8446 section 3.4), and where it ends.

    Raises IndexError if it is cut off.
    """
    begin = at + size
    end = begin + int.from_bytes(data[at:begin], "big")
    if end > len(data) or begin > len(data):
        raise IndexError
    return data[begin:end], end


def _numbers(vector: bytes) -> tuple[int, ...]:
    count = len(vector) // 2
    return unpack(f">{count}H", vector[: 2 * count])
