"""Tells who has connected to a unix socket, and whether the permissions of its file let him.

The kernel looks at them when a client connects, and never again. Knows sockets and files; must never know what the
socket is for.
"""

from __future__ import annotations

import os
import socket
import stat
from struct import Struct

#: Of unix(7): process, user and group of the peer as they were when it connected; and its further groups, which Python
#: has no name for.
_CREDENTIALS = Struct("3i")
_SO_PEERGROUPS = 59
#: Most groups that Python's buffer has room for; of more, the kernel says none.
_MOST_GROUPS = 256


def may_connect(connected: socket.socket, path: str) -> bool:
    """Tells whether the peer of a connection to the socket at `path` may connect to it as its permissions are now.

    Looks at owner, group and mode, not at lists of further rights (acl(5)).
    """
    try:
        file = os.stat(path, follow_symlinks=False)
        user, groups = _peer(connected)
    except OSError:
        return False  # nobody may by now, or it has gone
    if user == 0:
        return True
    if user == file.st_uid:
        return bool(file.st_mode & stat.S_IWUSR)
    return bool(file.st_mode & (stat.S_IWGRP if file.st_gid in groups else stat.S_IWOTH))


def process_of(connected: socket.socket) -> tuple[int, int]:
    """Returns the numbers of the process at the other end of a connection to a unix socket, and of its user, as they
    were when it connected; a process that is not visible from here has the number 0. Raises OSError."""
    said = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(said)
    return process, user


def _peer(connected: socket.socket) -> tuple[int, set[int]]:
    """Returns user and groups of the peer. Raises OSError."""
    said = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, group = _CREDENTIALS.unpack(said)
    further = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    return user, {group, *(each for (each,) in Struct("I").iter_unpack(further))}
