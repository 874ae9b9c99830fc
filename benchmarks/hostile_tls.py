"""
A TLS client that misuses the protocol: libssl by ctypes, because Python's ssl has no KeyUpdate,
and hellos cut into records.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import ssl
from functools import cache

_TLS_1_2 = 0x0303
#: SSL_CTRL_SET_MAX_PROTO_VERSION (openssl/ssl.h).
_SET_MAX_VERSION = 124


class RawTLS:
    """A connection on which a handshake was made; its receive buffer is small, and nobody reads unless told."""

    def __init__(self, port: int, *, old: bool = False) -> None:
        """C{old}: TLS 1.2."""
        self._lib = library = _library()
        self._context = library.SSL_CTX_new(library.TLS_client_method())
        if old:
            library.SSL_CTX_ctrl(self._context, _SET_MAX_VERSION, _TLS_1_2, None)
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(None)
        self.socket.connect(("127.0.0.1", port))
        self._ssl = library.SSL_new(self._context)
        library.SSL_set_fd(self._ssl, self.socket.fileno())
        if library.SSL_connect(self._ssl) != 1:
            raise OSError("no TLS handshake")
        self.socket.setblocking(False)

    def write(self, data: bytes) -> None:
        """Send application data."""
        self._lib.SSL_write(self._ssl, data, len(data))

    def update_key(self) -> bool:
        """Send KeyUpdate(update_requested); false: not all of it could be sent now."""
        self._lib.SSL_key_update(self._ssl, 1)
        return bool(self._lib.SSL_do_handshake(self._ssl) == 1)

    def renegotiate(self) -> bool:
        """Ask for another handshake on this connection; false: refused, or not finished."""
        self._lib.SSL_renegotiate(self._ssl)
        return bool(self._lib.SSL_do_handshake(self._ssl) == 1)

    def close(self) -> None:
        """End it."""
        self._lib.SSL_free(self._ssl)
        self._lib.SSL_CTX_free(self._context)
        self.socket.close()


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, arguments, result in (
        ("TLS_client_method", [], pointer),
        ("SSL_CTX_new", [pointer], pointer),
        ("SSL_CTX_free", [pointer], None),
        ("SSL_CTX_ctrl", [pointer, number, ctypes.c_long, pointer], ctypes.c_long),
        ("SSL_new", [pointer], pointer),
        ("SSL_free", [pointer], None),
        ("SSL_set_fd", [pointer, number], number),
        ("SSL_connect", [pointer], number),
        ("SSL_write", [pointer, ctypes.c_char_p, number], number),
        ("SSL_key_update", [pointer, number], number),
        ("SSL_renegotiate", [pointer], number),
        ("SSL_do_handshake", [pointer], number),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


@cache
def anybody() -> ssl.SSLContext:
    """For a client that trusts whoever it talks to;
    made once, since it would cost the attacker more than the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@cache
def hello() -> bytes:
    """A client's first record."""
    outgoing = ssl.MemoryBIO()
    connection = anybody().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="server.test")
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@cache
def hello_in_pieces() -> bytes:
    """The same hello, each byte in a record of its own."""
    return b"".join(b"\x16\x03\x01\x00\x01" + bytes((byte,)) for byte in hello()[5:])
