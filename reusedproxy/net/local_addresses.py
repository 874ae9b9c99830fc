"""Tells whether an address is one of this machine's, as HAProxy finds out: by binding a socket to it."""

from __future__ import annotations

import errno
import socket
from typing import Any

#: The host of an end at a unix socket.
_UNIX = "unix"


def is_local(host: str, connection: Any) -> bool | None:
    """Tells whether this IP address is one of the machine's own, as a unix socket is; None for what is neither. Nothing
    is sent.

    A link-local address is one of an interface's (RFC 4007): at an end of the client's `connection`, of the interface
    that this has come by. Another, as in a header, names no interface, and so is nobody's.
    """
    if host == _UNIX:
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host = socket.inet_ntop(family, socket.inet_pton(family, host))
    except OSError:
        return None
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((host, 0) if family == socket.AF_INET else (host, 0, 0, _interface(host, connection)))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return True


def _interface(host: str, connection: Any) -> int:
    """Returns the number of the interface whose address this is at an end of the connection; 0 for others."""
    try:
        ends = connection.getpeername(), connection.getsockname()
    except OSError:  # it is closed
        return 0
    return next((end[3] for end in ends if len(end) == 4 and end[0] == host), 0)
