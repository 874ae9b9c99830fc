"""Tells the kernel how it probes silent TCP connections, and how long sent bytes may be unacknowledged.

Knows sockets and what the configuration says of them; must never know whose they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT, socket

from reusedproxy.config.model.sockets import KeepAlive, ServerSocket

#: An option of TCP and its value.
Option = tuple[int, int]


def options_of(said: ServerSocket) -> tuple[Option, ...]:
    """Returns the options to set on connections to a server; () where it is all as the system has it."""
    timeout = round(said.user_timeout * 1000)
    return (*_probing(said.keep_alive), *([(TCP_USER_TIMEOUT, timeout)] if timeout else ()))


def set_options(on: socket, options: Iterable[Option]) -> None:
    """Raises OSError."""
    for option, value in options:
        on.setsockopt(IPPROTO_TCP, option, value)


def probe(listening: socket, said: KeepAlive, was: KeepAlive) -> None:
    """Sets how connections accepted from a socket are probed, and takes back what was said before. Sockets that are not
    of TCP have nothing to probe. Raises OSError.

    Accepted sockets inherit it on Linux. There is no value that stands for the system's: a new socket has it.
    """
    if listening.family not in (AF_INET, AF_INET6):
        return
    options = dict(_probing(said))
    gone = [option for option, _ in _probing(was) if option not in options]
    if gone:
        with socket(listening.family) as fresh:
            options |= {option: fresh.getsockopt(IPPROTO_TCP, option) for option in gone}
    set_options(listening, options.items())


def _probing(said: KeepAlive) -> list[Option]:
    values = ((TCP_KEEPCNT, said.count), (TCP_KEEPIDLE, said.idle), (TCP_KEEPINTVL, said.interval))
    return [(option, value) for option, value in values if value]
