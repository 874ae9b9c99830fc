"""Asks the kernel what it has measured of a TCP connection (tcp(7), TCP_INFO)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Any, Final

#: The names here, and the places in the kernel's list of numbers, behind eight bytes of others (linux/tcp.h). Times are
#: microseconds, those since something was sent or received milliseconds.
_PLACES: Final = {
    "unacked": 4,
    "sacked": 5,
    "lost": 6,
    "retrans": 7,
    "fackets": 8,
    "last_data_sent": 9,
    "last_data_recv": 11,
    "rtt": 15,
    "rttvar": 16,
    "reordering": 20,
}
_BEFORE: Final = 8
_SIZE: Final = _BEFORE + 4 * 21


def tcp_info(connection: Any, what: str) -> int | None:
    """Returns one of these numbers of a socket; None where it is closed, or not one of TCP."""
    found = tcp_infos(connection, (what,))
    return None if found is None else found[what]


def tcp_infos(connection: Any, names: Iterable[str]) -> dict[str, int] | None:
    """Returns these numbers of a socket, by their names; None where it is closed, or not one of TCP."""
    try:
        found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    return {name: struct.unpack_from("=I", found, _BEFORE + 4 * _PLACES[name])[0] for name in names}
