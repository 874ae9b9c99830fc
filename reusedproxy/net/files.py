"""Opens files that are read while clients are served.

A pipe in place of a file would block the event loop, so it is refused.
"""

from __future__ import annotations

import errno
import os
import stat


def unless_pipe(path: str, flags: int) -> int:
    """Opens a file for `open(path, opener=unless_pipe)`.

    Raises OSError for a pipe, which could not be read again at a reload anyway.
    """
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is a pipe, and a reload needs a file that can be read again", path)
    return fd
