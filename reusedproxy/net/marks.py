"""Marks the packets of a socket, for routing tables and queues of the kernel (socket(7), ip(7), ipv6(7))."""

from __future__ import annotations

from socket import (
    AF_INET,
    AF_INET6,
    IP_TOS,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_TCLASS,
    SO_MARK,
    SOL_SOCKET,
    socket,
)
from struct import pack


def mark_packets(sock: socket, what: str, value: int) -> str:
    """Sets the mark ("mark") or the type of service ("tos") of what the socket sends; one of a unix socket has none.
    Returns why that could not be done, "" if it was."""
    if sock.family not in (AF_INET, AF_INET6):
        return ""
    try:
        if what == "mark":
            sock.setsockopt(SOL_SOCKET, SO_MARK, pack("=I", value))
        elif sock.family == AF_INET:
            sock.setsockopt(IPPROTO_IP, IP_TOS, value)
        else:
            sock.setsockopt(IPPROTO_IPV6, IPV6_TCLASS, value)
    except OSError as error:
        return f"'set-{what}': {error.strerror}"
    return ""
