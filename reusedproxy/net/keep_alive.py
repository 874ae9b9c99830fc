"""Tells the kernel how it probes silent TCP connections, and how long sent bytes may be unacknowledged.

Knows sockets and what the configuration says of them; must never know whose they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from socket import IPPROTO_TCP, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT, socket

from reusedproxy.config.model.sockets import KeepAlive, ServerSocket

#: An option of TCP and its value.
Option = tuple[int, int]
#: How silent connections are probed.
PROBING = (TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL)


def options_of(said: ServerSocket) -> tuple[Option, ...]:
    """Returns the options to set on connections to a server; () where it is all as the system has it."""
    timeout = round(said.user_timeout * 1000)
    return (*probing(said.keep_alive), *([(TCP_USER_TIMEOUT, timeout)] if timeout else ()))


def set_options(on: socket, options: Iterable[Option]) -> None:
    """Raises OSError."""
    for option, value in options:
        on.setsockopt(IPPROTO_TCP, option, value)


def probing(said: KeepAlive) -> list[Option]:
    """Returns the options that are said; the others are the system's."""
    values = zip(PROBING, (said.count, said.idle, said.interval), strict=True)
    return [(option, value) for option, value in values if value]
