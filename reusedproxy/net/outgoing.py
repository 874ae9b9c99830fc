"""Sets what is said of the sockets of connections to servers: from where these come, how the kernel sends, and how it
probes those that are silent.

Knows sockets and what the configuration says of them; must never know whose they are.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_TCP,
    SO_BINDTODEVICE,
    SO_REUSEADDR,
    SOL_SOCKET,
    TCP_CONGESTION,
    TCP_USER_TIMEOUT,
    socket,
)

from attrs import frozen

from reusedproxy.config.model.sockets import ANYWHERE, OwnEnd, ServerSocket
from reusedproxy.net.keep_alive import Option, probing, set_options

#: linux/in.h: Python's socket module does not have it. The kernel chooses the port when the socket is connected, and so
#: among those that are free for that server; a bound port would be taken for all of them.
_IP_BIND_ADDRESS_NO_PORT = 24

#: How messages of a socket begin that cannot be bound as `source` has it.
FROM_NOWHERE = "no connection can come from there"


class AddressMissing(OSError):
    """Tells that this machine does not have the address that `source` names: another machine may have taken it. The
    error's number is that of a connection for which no port is left, which says nothing of the server."""


@frozen
class Outgoing:
    """Holds the options of TCP of connections that live longer, and what is said of all."""

    options: tuple[Option, ...] = ()
    source: OwnEnd = ANYWHERE
    congestion: str = ""

    def begin(self, on: socket) -> None:
        """Prepares a socket that is to be connected. Raises OSError."""
        if on.family not in (AF_INET, AF_INET6):
            return
        if self.congestion:
            with suppress(OSError):  # as in HAProxy, the system's counts then
                on.setsockopt(IPPROTO_TCP, TCP_CONGESTION, self.congestion.encode())
        try:
            self._bind(on)
        except OSError as error:
            text = f"{FROM_NOWHERE} ({' '.join(self._words())}): {error.strerror or error}"
            raise (AddressMissing if error.errno == errno.EADDRNOTAVAIL else OSError)(error.errno, text) from None

    def _bind(self, on: socket) -> None:
        source = self.source
        if source.interface:
            on.setsockopt(SOL_SOCKET, SO_BINDTODEVICE, source.interface.encode() + b"\0")
        if source.port:
            on.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        elif source.host:
            on.setsockopt(IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        if source.port or source.host:
            on.bind((source.host, source.port))

    def _words(self) -> Iterator[str]:
        source = self.source
        if source.host or source.port:
            host = f"[{source.host}]" if ":" in source.host else source.host or "*"
            yield f"source {host}:{source.port}" if source.port else f"source {source.host}"
        if source.interface:
            yield f"interface {source.interface}"

    def keep(self, on: socket) -> None:
        """Prepares a connection for a longer life. Raises OSError."""
        if self.options:
            set_options(on, self.options)


USUAL = Outgoing()


def options_of(said: ServerSocket) -> Outgoing:
    """Returns what is to be set on connections to a server; USUAL where it is all as the system has it."""
    timeout = round(said.user_timeout * 1000)
    options = (*probing(said.keep_alive), *([(TCP_USER_TIMEOUT, timeout)] if timeout else ()))
    made = Outgoing(options, said.source, said.congestion)
    return USUAL if made == USUAL else made


def is_known(congestion: str) -> bool:
    """Tells whether the kernel has this algorithm of congestion control, for the user that the daemon has now."""
    with socket(AF_INET) as tried:
        try:
            tried.setsockopt(IPPROTO_TCP, TCP_CONGESTION, congestion.encode())
        except OSError:
            return False
    return True
