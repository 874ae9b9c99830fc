"""Opens files that are read while clients are served.

A pipe in place of a file would block the event loop, so it is refused.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import AbstractContextManager

from reusedproxy.net.acting import acting
from reusedproxy.net.trusted_paths import LinkOfAnother, open_file


def unless_pipe(path: str, flags: int) -> int:
    """Opens a file for `open(path, opener=unless_pipe)`.

    Where another user's link leads root, it leads to what that user may read: else the daemon's user could have root
    read a private key of anybody's into the daemon. Raises OSError for a pipe, which could not be read again at a
    reload anyway.
    """
    try:
        fd = open_file(path, flags)
    except LinkOfAnother as link:
        with _acting_as(link.owner):
            fd = open_file(path, flags)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is a pipe, and a reload needs a file that can be read again", path)
    return fd


def _acting_as(uid: int) -> AbstractContextManager[None]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return acting(uid, uid, [uid])
    return acting(uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid))
