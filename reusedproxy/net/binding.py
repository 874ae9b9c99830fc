"""Makes listening sockets of `bind` lines, or takes those that another process gives. It must never know who accepts
from them."""

from __future__ import annotations

import errno
import os
import socket as sockets
import stat
from contextlib import suppress
from typing import Protocol

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.net.addresses import abstract
from reusedproxy.net.listening_options import BACKLOG, demand_free, set_options, set_privileged
from reusedproxy.net.named_sockets import Unnamed, descriptor_named
from reusedproxy.net.unix_sockets import Identity, UnixSocket, bind_path, demand_access, owner_of


class ListenError(Exception):
    """Says that an address cannot be listened on; the message says which and why."""


class Given(Protocol):
    """Defines who has sockets that listen already, of a process whose place this one takes."""

    def take(self, bind: Bind, at: sockets._Address | None = None) -> tuple[sockets.socket, Identity | None] | None:
        """Returns the one at the address of this line, `at` what its name was resolved to, and what identifies its
        file, if it has one; None if there is none."""


def bind_socket(
    bind: Bind, backlog: int, v6_only: bool = False, at: sockets._Address | None = None, *, shared: bool = False
) -> sockets.socket:
    """Returns a bound, listening and non-blocking socket for `bind`. Raises ListenError.

    An IPv6 wildcard takes IPv4 clients, too, unless `v6_only`. `at` is the address that the host's name was resolved
    to. `shared` lets other such sockets of the same user listen at this port (SO_REUSEPORT, socket(7)).
    """
    address = bind.address
    try:
        if address.kind == "fd":
            bound = _inherited_socket(bind)
        elif address.kind == "unix":
            bound = bind_path(bind, bind.backlog or backlog)
        elif address.kind == "abns":
            bound = _bind_abstract(address.path)
        else:
            bound = _bind_port(bind, v6_only, at, shared)
        try:
            bound.listen(bind.backlog or backlog)
        except OSError:
            bound.close()
            raise
    except Unnamed as unnamed:
        raise ListenError(f"cannot listen on {address}: {unnamed}") from None
    except OSError as error:
        hint = ""
        if isinstance(error, PermissionError) and address.kind == "tcp" and address.port < 1024:
            hint = " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        elif isinstance(error, PermissionError) and (bind.user is not None or bind.group is not None):
            hint = " (only root can give it to another 'user', and to a 'group' that the daemon is not in)"
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}{hint}") from None
    bound.setblocking(False)
    return bound


def inherited(address: ListenAddress) -> int:
    """Returns the number of the descriptor that an address of kind "fd" stands for. Raises Unnamed."""
    return descriptor_named(address.path) if address.path else address.fd


def given_socket(
    given: Given | None, bind: Bind, backlog: int, at: sockets._Address | None = None
) -> sockets.socket | None:
    """Returns the socket for `bind` that another process has given; None if there is none. Raises ListenError if it
    lets in others than the line says, or an option of the line cannot be set.

    `Listener.adopt` sets the other options: until this process serves, they are those of the other one. A port that is
    closed there for a while (`disable frontend`) stays so until then, too; that another program listens there is an
    error."""
    found = None if given is None else given.take(bind, at)
    if found is None:
        return None
    bound, file = found
    bound.setblocking(False)
    if file is not None:
        bound = UnixSocket(fileno=bound.detach())
        bound.file, bound.borrowed = file, True
    try:
        set_privileged(bound, bind)
        if bound.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN):
            bound.listen(bind.backlog or backlog)
        demand_free(bound)
        if file is not None:
            demand_access(bind)
    except OSError as error:
        bound.close()
        raise ListenError(f"cannot listen on {bind.address}: {error.strerror or error}") from None
    return bound


def backlog_of(bind: Bind, clients: int) -> int:
    """Returns the length of the kernel's queue of connections.

    It is the `backlog` of the line, else the number of `clients` allowed, else BACKLOG.
    """
    return bind.backlog or clients or BACKLOG


def demand_bindable(bind: Bind) -> None:
    """Checks what can be known of a line without opening anything: its owner, and what stands at the path of a unix
    socket. Raises OSError.

    A socket may stand there, even one that is listened on: that of the daemon that runs while its configuration is
    checked. Where this user may not look, nothing is known.
    """
    owner_of(bind)
    if bind.address.kind != "unix":
        return
    path = bind.address.path
    with suppress(PermissionError):
        if not stat.S_ISDIR(os.stat(os.path.dirname(path) or ".").st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: what stands there is no socket")


def _bind_abstract(name: str) -> sockets.socket:
    bound = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        bound.bind(abstract(name))
    except OSError:
        bound.close()
        raise
    return bound


def _inherited_socket(bind: Bind) -> sockets.socket:
    """Returns a socket of the open file that the line names, with the line's options. Raises OSError and Unnamed."""
    bound = sockets.socket(fileno=os.dup(inherited(bind.address)))
    try:
        set_options(bound, bind)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_port(bind: Bind, v6_only: bool, at: sockets._Address | None, shared: bool) -> sockets.socket:
    address = bind.address
    family = sockets.AF_INET6 if address.v6 else sockets.AF_INET
    bound = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        bound.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEPORT, 1)
        if address.v6:
            bound.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, v6_only)
        set_options(bound, bind)
        bound.bind((address.host, address.port) if at is None else at)
    except OSError:
        bound.close()
        raise
    return bound
