"""Sets the options of a listening TCP socket that a `bind` line says, and those that it leaves to the system.

A socket may come from systemd, from the process before this one, or have been bound for an earlier reading of the file:
somebody else may have set anything on it. So each option is set to what the line says, also where it says nothing.
Knows sockets and lines; must never know where a socket comes from.
"""

from __future__ import annotations

import errno
import socket as sockets
from collections.abc import Iterable, Iterator

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.sockets import KeepAlive
from reusedproxy.net.keep_alive import PROBING, probing

#: Length of the kernel's queue of connections when neither `backlog` nor `maxconn` gives one.
BACKLOG = 4096
#: linux/in.h, linux/in6.h: Python's socket module does not have them.
_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75
#: Errors of sockets that do not have an option at all: those of MPTCP have no `tcp-ut`, for instance.
_NO_OPTION = frozenset((errno.ENOPROTOOPT, errno.EOPNOTSUPP))
#: Longest name of a network interface, with its end (linux/if.h, IFNAMSIZ).
_INTERFACE_SIZE = 16

#: Longest name of an algorithm of congestion control, with its end (linux/tcp.h, TCP_CA_NAME_MAX).
_CONGESTION_SIZE = 16

#: Word, level, option and value of what is to be set.
_Wanted = tuple[str, int, int, int | bytes]


def set_options(bound: sockets.socket, bind: Bind) -> None:
    """Gives a TCP socket the options of its line, whatever it had before; other sockets have none. Raises OSError,
    which says what it was about.

    Without `transparent`, a socket that was inherited (`fd@`) stays as it was made: whoever has bound it to an address
    that is not this machine's had to say so.
    """
    if _is_tcp(bound):
        demand_v6_only(bound, bind)
        _set(bound, (*_privileged(bound, bind), *_plain(bound, bind)))


def set_privileged(bound: sockets.socket, bind: Bind) -> None:
    """Gives a TCP socket those options of its line that need privileges, which the daemon has at its start only. Raises
    OSError.

    It is for a socket that the process before this one still serves: what else is set on it is set there, too, and
    would stay if this process does not come to serve.
    """
    if _is_tcp(bound):
        _set(bound, _privileged(bound, bind))


def demand_free(bound: sockets.socket) -> None:
    """Checks that nobody else listens at the port of a socket that is bound and does not listen itself: an operator has
    closed it (`disable frontend`), and any program may have got it since. Raises OSError."""
    if not bound.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN):
        bound.listen(0)
        bound.shutdown(sockets.SHUT_RD)  # it stays closed


def demand_v6_only(bound: sockets.socket, bind: Bind) -> None:
    """Checks that an IPv6 socket takes no IPv4 clients if its line says so. Raises OSError: a socket that is bound
    cannot be changed (ipv6(7))."""
    if (
        bind.options.v6_only
        and bound.family == sockets.AF_INET6
        and not bound.getsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY)
    ):
        who = "whoever opens it has to say so (systemd: BindIPv6Only=ipv6-only)"
        remedy = who if bind.address.kind == "fd" else "a restart makes another one"
        raise OSError(errno.EINVAL, f"'v6only': the socket takes IPv4 clients, too; {remedy}")


def probe(listening: sockets.socket, said: KeepAlive) -> None:
    """Sets how connections accepted from a TCP socket are probed, whatever was set before; other sockets have nothing
    to probe. Raises OSError.

    Accepted sockets inherit it on Linux. There is no value that stands for the system's: a new socket has it.
    """
    if not _is_tcp(listening):
        return
    wanted = dict(probing(said))
    with sockets.socket(listening.family, listening.type, listening.proto) as fresh:
        for option in PROBING:
            stands = _value(listening, sockets.IPPROTO_TCP, option)
            value = wanted.get(option) or (stands and _value(fresh, sockets.IPPROTO_TCP, option))
            if value is not None and value != stands:
                listening.setsockopt(sockets.IPPROTO_TCP, option, value)


def interface_of(bound: sockets.socket) -> str:
    """Returns the network interface whose clients alone a socket takes; "" if it takes all."""
    return bound.getsockopt(sockets.SOL_SOCKET, sockets.SO_BINDTODEVICE, _INTERFACE_SIZE).rstrip(b"\0").decode()


def _privileged(bound: sockets.socket, bind: Bind) -> Iterator[_Wanted]:
    """Yields what the line says and the socket does not have yet."""
    said = bind.options
    if said.interface and said.interface != interface_of(bound):
        yield "interface", sockets.SOL_SOCKET, sockets.SO_BINDTODEVICE, said.interface.encode() + b"\0"
    if said.transparent and not _value(bound, *_transparency(bound)):
        yield "transparent", *_transparency(bound), 1


def _plain(bound: sockets.socket, bind: Bind) -> Iterator[_Wanted]:
    """Yields what everybody may set, and take back."""
    said = bind.options
    # Accepted sockets inherit it on Linux, which saves a call for each.
    yield "TCP_NODELAY", sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1
    # 0 stands for the system's. A socket whose `mss` is the usual 536 cannot be told from one without.
    yield "mss", sockets.IPPROTO_TCP, sockets.TCP_MAXSEG, said.mss
    yield "tcp-ut", sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT, round(said.user_timeout * 1000)
    congestion = said.congestion.encode() or _usual_congestion(bound)
    if congestion and congestion != _congestion(bound):
        yield "cc", sockets.IPPROTO_TCP, sockets.TCP_CONGESTION, congestion
    if said.fast_open:
        yield "tfo", sockets.IPPROTO_TCP, sockets.TCP_FASTOPEN, bind.backlog or BACKLOG
    elif _value(bound, sockets.IPPROTO_TCP, sockets.TCP_FASTOPEN):  # else it would get a queue of length 0
        yield "tfo", sockets.IPPROTO_TCP, sockets.TCP_FASTOPEN, 0
    if not said.transparent and bind.address.kind != "fd":
        yield "transparent", *_transparency(bound), 0


def _set(bound: sockets.socket, wanted: Iterable[_Wanted]) -> None:
    for word, level, option, value in wanted:
        try:
            bound.setsockopt(level, option, value)
        except OSError as error:
            if not value and error.errno in _NO_OPTION:
                continue  # there is nothing to take back
            raise OSError(error.errno, f"'{word}': {error.strerror}") from None


def _usual_congestion(bound: sockets.socket) -> bytes:
    """Returns the system's algorithm of congestion control; b"" where this kind of socket has none, or no file
    descriptor is left to ask for it."""
    try:
        with sockets.socket(bound.family, bound.type, bound.proto) as fresh:
            return _congestion(fresh)
    except OSError:
        return b""


def _congestion(of: sockets.socket) -> bytes:
    try:
        return of.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_CONGESTION, _CONGESTION_SIZE).rstrip(b"\0")
    except OSError as error:
        if error.errno in _NO_OPTION:
            return b""
        raise


def _transparency(bound: sockets.socket) -> tuple[int, int]:
    """Returns level and number of the option."""
    v6 = bound.family == sockets.AF_INET6
    return (sockets.IPPROTO_IPV6, _IPV6_TRANSPARENT) if v6 else (sockets.IPPROTO_IP, _IP_TRANSPARENT)


def _is_tcp(bound: sockets.socket) -> bool:
    return bound.family in (sockets.AF_INET, sockets.AF_INET6) and bound.type == sockets.SOCK_STREAM


def _value(of: sockets.socket, level: int, option: int) -> int | None:
    """Returns the value of an option; None if this socket does not have it. Raises OSError."""
    try:
        return of.getsockopt(level, option)
    except OSError as error:
        if error.errno in _NO_OPTION:
            return None
        raise
