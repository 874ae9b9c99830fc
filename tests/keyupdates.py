"""Ends of TLS 1.3 that can ask for new keys, which neither `ssl` nor pyOpenSSL can:
the system's OpenSSL, by ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from typing import Any

UPDATE_REQUESTED = 1
#: SSL_FILETYPE_PEM.
PEM = 1


def library() -> Any:
    """OpenSSL 3 of the system; None: it has none."""
    found = ctypes.util.find_library("ssl")
    if found is None:
        return None
    openssl = ctypes.CDLL(found)
    if not hasattr(openssl, "SSL_key_update"):
        return None
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("TLS_client_method", pointer, []),
        ("TLS_server_method", pointer, []),
        ("SSL_CTX_new", pointer, [pointer]),
        ("SSL_CTX_free", None, [pointer]),
        ("SSL_new", pointer, [pointer]),
        ("SSL_free", None, [pointer]),
        ("SSL_set_fd", ctypes.c_int, [pointer, ctypes.c_int]),
        ("SSL_connect", ctypes.c_int, [pointer]),
        ("SSL_accept", ctypes.c_int, [pointer]),
        ("SSL_CTX_use_certificate_chain_file", ctypes.c_int, [pointer, ctypes.c_char_p]),
        ("SSL_CTX_use_PrivateKey_file", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
        ("SSL_key_update", ctypes.c_int, [pointer, ctypes.c_int]),
        ("SSL_do_handshake", ctypes.c_int, [pointer]),
        ("SSL_read", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
        ("SSL_write", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
    ):
        function = getattr(openssl, name)
        function.restype, function.argtypes = result, arguments
    return openssl


class Updater:
    """A client's end, or that of a server with this certificate. It reads only when it is told to."""

    def __init__(self, openssl: Any, connected: socket.socket, crt: str | None = None) -> None:
        self._openssl = openssl
        self._shake = openssl.SSL_connect if crt is None else openssl.SSL_accept
        self._context = openssl.SSL_CTX_new(openssl.TLS_client_method() if crt is None else openssl.TLS_server_method())
        if crt is not None:
            assert openssl.SSL_CTX_use_certificate_chain_file(self._context, crt.encode()) == 1
            assert openssl.SSL_CTX_use_PrivateKey_file(self._context, crt.encode(), PEM) == 1
        self._tls = openssl.SSL_new(self._context)
        self._buffer = ctypes.create_string_buffer(16384)
        self.socket = connected
        connected.setblocking(False)
        openssl.SSL_set_fd(self._tls, connected.fileno())

    def close(self) -> None:
        self._openssl.SSL_free(self._tls)
        self._openssl.SSL_CTX_free(self._context)
        self.socket.close()

    def handshake(self) -> bool:
        """Go on with it; whether it is complete."""
        return bool(self._shake(self._tls) == 1)

    def ask_for_new_keys(self) -> bool:
        """Send KeyUpdate(update_requested); whether it has gone out."""
        self._openssl.SSL_key_update(self._tls, UPDATE_REQUESTED)
        return bool(self._openssl.SSL_do_handshake(self._tls) == 1)

    def write(self, data: bytes) -> bool:
        return bool(self._openssl.SSL_write(self._tls, data, len(data)) == len(data))

    def read(self) -> bytes:
        """What has come, at most one record; b"": nothing now."""
        size = self._openssl.SSL_read(self._tls, self._buffer, len(self._buffer))
        return self._buffer.raw[:size] if size > 0 else b""
