"""Keeps a file on disk that is written by the daemon itself: each time as a whole, by a rename.

So a reader finds the old content or the new one, and a restart finds the last. It is not waited for the disk, while the
event loop would stand still: after a loss of power the file may be empty. It must never know what is in it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EBUSY

from reusedproxy.net.slices import Steps
from reusedproxy.net.trusted_paths import parent_of

#: Bytes that are written at once, in 0.1 ms.
PIECE = 1 << 17


def keeping(path: str, content: bytes, before: os.stat_result | None) -> Steps[None]:
    """Writes the file, in steps, readable by all, in place of the one that was there `before`, None: there was none.

    Abandoned before the end, it leaves that as it was. Raises OSError, also where another one is there by now."""
    with parent_of(path) as (directory, name):
        draft = f".{name}.{os.getpid()}.new"
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o644, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for at in range(0, len(content), PIECE):
                    file.write(content[at : at + PIECE])
                    yield
            if _stamp(_status(name, directory)) != _stamp(before):
                raise OSError(EBUSY, "somebody else has changed it meanwhile", path)
            os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=directory)
            raise


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory)
    except FileNotFoundError:
        return None


def _stamp(status: os.stat_result | None) -> tuple[int, ...]:
    """Returns what tells one content of a file from another."""
    return () if status is None else (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
