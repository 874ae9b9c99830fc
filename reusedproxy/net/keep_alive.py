"""Tells the kernel how it probes silent TCP connections.

Knows sockets and what the configuration says of them; must never know whose they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from socket import IPPROTO_TCP, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, socket

from reusedproxy.config.model.sockets import KeepAlive

#: An option of TCP and its value.
Option = tuple[int, int]
#: How silent connections are probed.
PROBING = (TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL)


def set_options(on: socket, options: Iterable[Option]) -> None:
    """Raises OSError."""
    for option, value in options:
        on.setsockopt(IPPROTO_TCP, option, value)


def probing(said: KeepAlive) -> list[Option]:
    """Returns the options that are said; the others are the system's."""
    values = zip(PROBING, (said.count, said.idle, said.interval), strict=True)
    return [(option, value) for option, value in values if value]
