"""Provides the two calls that every encrypted byte goes through, as short as pyOpenSSL lets them be.

pyOpenSSL's `recv` makes a new buffer of the size asked for and copies out of it, and both it and `send` ask OpenSSL for
an error after each success. Called directly, with one buffer for all reads, a request over TLS costs a tenth less
(measured, 32 keep-alive clients: 37.3 µs of CPU a request through pyOpenSSL's methods, 33.8 this way). This uses
private names of pyOpenSSL. Where they have changed, pyOpenSSL's own methods are used. No other module but
`openssl_server` uses such names.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

#: The largest plaintext of one TLS record (RFC 8446 section 5.1); a read of this size takes a record whole.
RECORD = 16 * 1024


def send_by_method(connection: SSL.Connection, data: bytes | memoryview) -> int:
    """Writes some of `data`, which is not empty, and returns how many bytes were taken.

    Raises SSL.Error and its subclasses.
    """
    return connection.send(data)


def receive_by_method(connection: SSL.Connection) -> bytes:
    """Reads what is there, at most one record. Raises SSL.Error and its subclasses."""
    return connection.recv(RECORD)


def take_records_alone(connection: Any) -> None:
    """Makes a read return after each record that carries no data, where OpenSSL would go on as long as more come.

    It is for connections of clients: a client that sends nothing but KeyUpdates would keep the call from returning (a
    full buffer of them: 80 ms). It is not for connections to servers: these send session tickets, and what comes after
    a ticket must be read at once. pyOpenSSL sets the opposite for each connection; where pyOpenSSL's private names have
    changed, that stays so.
    """
    try:
        SSL._lib.SSL_clear_mode(connection._ssl, SSL._lib.SSL_MODE_AUTO_RETRY)  # type: ignore[attr-defined]
    except AttributeError:
        pass


def _direct_calls() -> Any:
    """Returns functions that send and receive by direct calls.

    Returns None where pyOpenSSL's private names are not those known here.
    """
    try:
        library, foreign = SSL._lib, SSL._ffi  # type: ignore[attr-defined]
        read, write, from_buffer = library.SSL_read, library.SSL_write, foreign.from_buffer
        raise_error = SSL.Connection._raise_ssl_error
        # One buffer is enough: the reactor has one thread, and data is copied out before the next read.
        buffer = foreign.new("char[]", RECORD)
        view = foreign.buffer(buffer)
        known = hasattr(SSL.Connection(SSL.Context(SSL.TLS_METHOD)), "_ssl")
    except (AttributeError, TypeError):
        return None
    if not known:
        return None

    def send(connection: Any, data: bytes | memoryview) -> int:
        handle = connection._ssl
        sent: int = write(handle, data if type(data) is bytes else from_buffer(data), len(data))
        if sent <= 0:
            raise_error(connection, handle, sent)
        return sent

    def receive(connection: Any) -> bytes:
        handle = connection._ssl
        size = read(handle, buffer, RECORD)
        if size <= 0:
            raise_error(connection, handle, size)
        data: bytes = view[:size]
        return data

    return send, receive


send, receive = _direct_calls() or (send_by_method, receive_by_method)
