"""Opens files that are read while clients are served.

A pipe in place of a file would block the event loop, so it is refused. Libraries get what was read, and no path.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from reusedproxy.net.acting import NOBODY, acting, groups_of
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
        try:
            with _acting_as(link.owner, link.group):
                fd = open_file(path, flags)
        except PermissionError:
            who = f"user {link.owner}" if link.owner is not None else "others than root"
            text = f"Permission denied for {who}, who can change a link on the way"
            raise PermissionError(errno.EACCES, text, path) from None
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is a pipe, and a reload needs a file that can be read again", path)
    return fd


def readable_for_author(descriptor: int) -> Callable[[str], bool] | None:
    """Returns what tells whether those who can change an open file may read a path that stands in it; None where we
    gain nothing for them by reading it.

    Else the daemon's user could have root read anything into the daemon by a list of his own, as by a link.
    """
    status = os.fstat(descriptor)
    if os.geteuid() != 0 or not (status.st_uid or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    group = None if status.st_mode & stat.S_IWOTH else status.st_gid

    def may_read(path: str) -> bool:
        with _acting_as(status.st_uid or None, group):
            return os.access(path, os.R_OK, effective_ids=True)

    return may_read


@contextmanager
def held_in_memory(content: bytes) -> Iterator[str]:
    """Yields the path of a nameless file with this content, for a library that takes nothing but paths.

    Given the path of the file that the content was read from, it would open it again by itself: as root through any
    link, and perhaps another file by then. Raises OSError.
    """
    with open(os.memfd_create("reusedproxy"), "wb") as file:
        file.write(content)
        file.flush()
        path = f"/proc/self/fd/{file.fileno()}"
        if not os.path.exists(path):
            raise OSError(errno.ENOENT, "this needs /proc, which is not mounted")
        yield path


def _acting_as(uid: int | None, gid: int | None) -> AbstractContextManager[None]:
    if uid is not None:
        return acting(uid, *groups_of(uid))
    group = NOBODY if gid is None else gid
    return acting(NOBODY, group, [group])
