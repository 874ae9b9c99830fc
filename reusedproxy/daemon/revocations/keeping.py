"""Keeps a file on disk that is written by the daemon itself: each time as a whole, by a rename.

So a reader finds the old content or the new one, and a restart finds the last. It is not waited for the disk, while the
event loop would stand still: after a loss of power the file may be empty. It must never know what is in it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from reusedproxy.net.trusted_paths import parent_of


def keep(path: str, content: bytes) -> None:
    """Writes the file, readable by all, in place of the one that may be there. Raises OSError."""
    with parent_of(path) as (directory, name):
        draft = f".{name}.{os.getpid()}.new"
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o644, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=directory)
            raise
