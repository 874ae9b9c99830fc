"""Reads files that are named by the configuration, also while clients are served.

A pipe in place of a file would block the event loop, so it is refused; a file without end (/dev/zero), or a huge one,
would fill the memory, so each is read up to a bound. Libraries get what was read, and no path.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from io import BufferedReader, RawIOBase
from typing import BinaryIO

from reusedproxy.net.acting import NOBODY, acting, groups_of, is_private_group
from reusedproxy.net.trusted_paths import LinkOfAnother, open_file

MEBIBYTE = 1 << 20
#: Bytes that are read at once of what does not say its size.
_PIECE = 1 << 16
#: Most bytes of a file that is read line by line into values, such as a configuration. (HAProxy reads at most 10 MiB of
#: a configuration.)
LARGEST_TEXT = 16 * MEBIBYTE
#: Seconds that a pipe, where one may stand in place of a file, may say nothing.
PATIENCE = 10.0


def read_file(path: str, most: int) -> bytes:
    """Returns the content of a file. Raises OSError, also if it has more than `most` bytes."""
    with open_bounded(path, most) as file:
        return file.read()


def open_bounded(path: str, most: int) -> BinaryIO:
    """Opens a file like `unless_pipe`; reading on raises OSError if it has more than `most` bytes."""
    return bounded(unless_pipe(path, os.O_RDONLY), path, most)


def bounded(descriptor: int, path: str, most: int) -> BinaryIO:
    """Returns what reads an open file, and closes it.

    Raises OSError if the file has more than `most` bytes: at once if its size is known, else when so many were read.
    """
    status = os.fstat(descriptor)
    if status.st_size > most and stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _too_large(path, f"{status.st_size} bytes, more than", most)
    return BufferedReader(_Bounded(descriptor, path, most))  # type: ignore[type-var]


def open_or_pipe(path: str) -> int:
    """Opens a file, or a pipe (`<(command)` of a shell), without waiting for who writes to that: reading it by
    `bounded` raises OSError when nothing has come for PATIENCE seconds. Only for a program that serves nobody yet, and
    a path that its operator has named. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


class _Bounded(RawIOBase):
    """Reads an open file up to a bound."""

    def __init__(self, descriptor: int, path: str, most: int) -> None:
        self._descriptor = descriptor
        self._path = path
        self._most = most
        self._left = most
        #: Tells of a pipe when something has come, or the last writer has gone.
        self._poll = select.poll() if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None
        if self._poll is not None:
            self._poll.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """Reads what fits, as `RawIOBase` says. A terminal where nobody has typed anything raises BlockingIOError."""
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Reads to the end: a file of known size at once, since a copy of a large one would hold the interpreter, and
        the pieces of RawIOBase's own are of 8 KiB."""
        size = max(os.fstat(self._descriptor).st_size + 1, _PIECE)
        pieces = [*iter(partial(self._next, size), b"")]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next(self, size: int) -> bytes:
        """Reads at most so many bytes."""
        if self._poll is not None and not self._poll.poll(PATIENCE * 1000):
            text = f"it is a pipe, and nobody has written to it for {PATIENCE:g} s"
            raise OSError(errno.ETIMEDOUT, text, self._path)
        try:
            data = os.read(self._descriptor, size)
        except OSError as error:
            error.filename = self._path
            raise
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._path, "more than", self._most)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def _too_large(path: str, found: str, most: int) -> OSError:
    bound = f"{most // MEBIBYTE} MiB" if most % MEBIBYTE == 0 else f"{most} bytes"
    return OSError(errno.EFBIG, f"it has {found} the {bound} that are read of such a file", path)


def unless_pipe(path: str, flags: int) -> int:
    """Opens a file for `open(path, opener=unless_pipe)`.

    Where another user's link leads root, it leads to what that user may read: else the daemon's user could have root
    read a private key of anybody's into the daemon. Raises OSError for a pipe, which could not be read again at a
    reload anyway.
    """
    return _opened(path, flags)[0]


def why_unread(path: str, error: OSError) -> str:
    """Returns why a file that the configuration names cannot be read: of a relative name, where it was looked for."""
    if error.errno != errno.ENOENT or os.path.isabs(path):
        return f"{error.strerror}"
    return (
        f"{error.strerror} in {os.getcwd()}, where the daemon is started ('default-path config' in section 'global'"
        " has relative names begin beside the configuration)"
    )


class Writers:
    """Those who have the say on a file: its owner, who may write to it, who can change a link on the way.

    Root gains nothing for them: it may be led by the file to what all of them may read.
    """

    def __init__(self, status: os.stat_result, link: LinkOfAnother | None, listed: bool) -> None:
        """Takes `listed`, whether there is a list of further users and groups with rights (acl(5))."""
        #: Users and groups; None: somebody who has no rights but those of everybody.
        self._who: list[tuple[int | None, int | None]] = []
        if link is not None:
            self._who.append((link.owner, link.group))
        if status.st_uid:
            self._who.append((status.st_uid, None))
        if status.st_mode & stat.S_IWGRP and not (status.st_uid and is_private_group(status.st_gid, status.st_uid)):
            self._who.append((None, None if listed else status.st_gid))
        if status.st_mode & stat.S_IWOTH or (listed and status.st_mode & stat.S_IWGRP):
            self._who.append((None, None))

    def __bool__(self) -> bool:
        return bool(self._who)

    def acting(self) -> AbstractContextManager[None]:
        """Looks at files, in the context, as one of them does."""
        return _acting_as(*self._who[0])

    def trouble_with(self, path: str) -> str:
        """Returns why one of them cannot read a file, as he would be told, whether or not it exists; "" if all can."""
        for each in self._who:
            with _acting_as(*each):
                if not os.access(path, os.R_OK, effective_ids=True):
                    try:
                        os.stat(path)
                    except OSError as error:
                        return str(error.strerror)
                    return os.strerror(errno.EACCES)
        return ""


def open_list(path: str) -> tuple[int, Writers | None]:
    """Opens a file with names of further files, like `unless_pipe`.

    Returns the descriptor, and who has the say on the file; None where we gain nothing for them by reading what stands
    in it. Else the daemon's user could have root read anything into the daemon by a list, as by a link.
    """
    fd, link = _opened(path, os.O_RDONLY)
    if os.geteuid() != 0:
        return fd, None
    try:
        listed = bool(os.getxattr(fd, "system.posix_acl_access"))
    except OSError:
        listed = False
    return fd, Writers(os.fstat(fd), link, listed) or None


def _opened(path: str, flags: int) -> tuple[int, LinkOfAnother | None]:
    """Opens a file, and returns the link of another user's by which it was reached."""
    found = None
    try:
        fd = open_file(path, flags)
    except LinkOfAnother as link:
        found = link
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
    return fd, found


def names_in(path: str) -> list[str]:
    """Returns the names in a directory, in order, which is opened like any file. Raises OSError."""
    directory, _ = _opened(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return sorted(os.listdir(directory))
    finally:
        os.close(directory)


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
