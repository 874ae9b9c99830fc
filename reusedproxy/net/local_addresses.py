"""Tells whether an address is one of this machine's, as HAProxy finds out: by binding a socket to it."""

from __future__ import annotations

import errno
import socket


def is_local(host: str) -> bool | None:
    """Tells whether this IP address is one of the machine's own; None for what is no IP address. Nothing is sent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        address = socket.inet_pton(family, host.partition("%")[0])
    except OSError:
        return None
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((socket.inet_ntop(family, address), 0))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return True
