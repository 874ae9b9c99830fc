"""Provides the calls of each handshake and of each encrypted byte, as short as pyOpenSSL lets them be.

pyOpenSSL's `recv` makes a new buffer of the size asked for and copies out of it, and both it and `send` ask OpenSSL for
an error after each success. Called directly, with one buffer for all reads, a request over TLS costs a tenth less
(measured, 32 keep-alive clients: 37.3 µs of CPU a request through pyOpenSSL's methods, 33.8 this way). This uses
private names of pyOpenSSL. Where they have changed, pyOpenSSL's own methods are used. No other modules
but `openssl_server` and `bounded` use such names.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL

#: The largest plaintext of one TLS record (RFC 8446 section 5.1); a read of this size takes a record whole.
RECORD: Final = 16 * 1024
#: Records that the buffer has room for, so that large data is copied once.
RECORDS: Final = 8
#: What a handshake waits for, as SSL_get_error(3) has it; 0: for nothing, since it is complete.
COMPLETE: Final = 0
WANTS_READ: Final = 2
WANTS_WRITE: Final = 3


def take_records_alone(connection: Any) -> None:
    """Makes a read return after each record that carries no data, where OpenSSL would go on as long as more come.

    A peer that sends nothing but KeyUpdates, or session tickets, would else keep the call from returning for as long as
    it sends. What has come behind such a record stays in the kernel, and is told of in the next batch. pyOpenSSL sets
    the opposite for each connection; where pyOpenSSL's private names have changed, that stays so.
    """
    try:
        SSL._lib.SSL_clear_mode(connection._ssl, SSL._lib.SSL_MODE_AUTO_RETRY)  # type: ignore[attr-defined]
    except AttributeError:
        pass


def read_by_method(connection: Any, into: Any, size: int) -> int:
    """Does what OpenSSL's SSL_read does, by pyOpenSSL's method: raises where that returns an error."""
    data = connection.recv(size)
    into[: len(data)] = data
    return len(data)


def write_by_method(connection: Any, data: bytes, size: int) -> int:
    """Does what OpenSSL's SSL_write does, by pyOpenSSL's method: raises where that returns an error."""
    return int(connection.send(data))


def shake_by_method(connection: Any) -> int:
    """Does what OpenSSL's SSL_do_handshake does, by pyOpenSSL's method: raises where that returns an error, but returns
    0 less what it waits for."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return -WANTS_READ
    except SSL.WantWriteError:
        return -WANTS_WRITE
    return 1


def direct_calls() -> tuple[Any, ...] | None:
    """Returns OpenSSL's functions that read, write, take a step of a handshake and tell what such a step waits for, the
    places of a buffer to read records into, a view of all of its bytes, pyOpenSSL's function that raises an error, and
    the one that makes other data than bytes writable.

    Returns None where pyOpenSSL's private names are not those known here.
    """
    try:
        library, foreign = SSL._lib, SSL._ffi  # type: ignore[attr-defined]
        buffer = foreign.new("char[]", RECORDS * RECORD)
        found = (
            library.SSL_read,
            library.SSL_write,
            library.SSL_do_handshake,
            library.SSL_get_error,
            [buffer + number * RECORD for number in range(RECORDS)],
            foreign.buffer(buffer),
            SSL.Connection._raise_ssl_error,
            foreign.from_buffer,
        )
        known = hasattr(SSL.Connection(SSL.Context(SSL.TLS_METHOD)), "_ssl")
    except (AttributeError, TypeError):
        return None
    return found if known else None


def by_methods() -> tuple[Any, ...]:
    """Returns what `direct_calls` returns, made of pyOpenSSL's public methods."""
    buffer = memoryview(bytearray(RECORDS * RECORD))

    def raise_error(connection: Any, handle: Any, result: int) -> None:
        """Raises what OpenSSL means by reading or writing nothing."""
        raise SSL.ZeroReturnError

    places = [buffer[number * RECORD :] for number in range(RECORDS)]

    def waits_for(connection: Any, result: int) -> int:
        """Returns what a step of a handshake waits for."""
        return -result

    return read_by_method, write_by_method, shake_by_method, waits_for, places, buffer, raise_error, bytes


_direct = direct_calls()
#: `SSL_read(handle, place, size)` reads into one of the `places`, `SSL_write(handle, data, size)` writes; each returns
#: how many bytes, or, if that is less than 1, `raise_error(connection, handle, result)` says why. One buffer is enough:
#: the reactor has one thread, and data is copied out of `view` before the next read.
SSL_read, SSL_write, _SSL_do_handshake, _SSL_get_error, places, view, raise_error, _writable = _direct or by_methods()


def handle_of(connection: Any) -> Any:
    """Returns what `SSL_read` and `SSL_write` take for this connection."""
    return connection if _direct is None else connection._ssl


def shake(connection: SSL.Connection) -> int:
    """Takes a step of a handshake. Returns WANTS_READ or WANTS_WRITE if it has to go on, else COMPLETE.

    Raises SSL.Error and its subclasses but WantReadError and WantWriteError: nearly every handshake waits once, and to
    raise that and catch it takes as long as ten calls. `error_of` says which error that was.
    """
    handle = handle_of(connection)
    result = _SSL_do_handshake(handle)
    if result > 0:
        return COMPLETE
    wanted: int = _SSL_get_error(handle, result)
    if wanted not in (WANTS_READ, WANTS_WRITE):
        number = 0 if _direct is None else SSL._lib.ERR_peek_error()  # type: ignore[attr-defined]
        try:
            raise_error(connection, handle, result)
        except SSL.Error as error:
            error.number = number  # type: ignore[attr-defined]
            raise
    return wanted


def error_of(error: SSL.Error) -> tuple[int, bytes] | None:
    """Returns number and text of the first error that OpenSSL has put into its queue in a step of a handshake, as
    ERR_error_string(3) has it; None if there is none, or its number is not known."""
    number: int = getattr(error, "number", 0)
    queue: Any = error.args[0] if error.args else None
    if not number or not isinstance(queue, list) or not queue:
        return None
    library, function, reason = queue[0]
    return number, f"error:{number:08X}:{library}:{function}:{reason}".encode()


def send(connection: SSL.Connection, data: bytes | memoryview) -> int:
    """Writes some of `data`, which is not empty, and returns how many bytes were taken.

    Raises SSL.Error and its subclasses.
    """
    handle = handle_of(connection)
    sent: int = SSL_write(handle, data if type(data) is bytes else _writable(data), len(data))
    if sent <= 0:
        raise_error(connection, handle, sent)
    return sent


def receive(connection: SSL.Connection) -> bytes:
    """Reads what is there, at most one record. Raises SSL.Error and its subclasses."""
    handle = handle_of(connection)
    size = SSL_read(handle, places[0], RECORD)
    if size <= 0:
        raise_error(connection, handle, size)
    return bytes(view[:size])
