"""Opens files as root without following links that another user could have made.

Root may be told to use a path in a directory of the daemon's user. Whoever has that directory may put a link to any of
root's files there, at any moment. So root resolves a path directory by directory, each of them held open, and follows
only links of root's own that stand where nobody else can replace them: in a directory of root's to which others cannot
write, or which is sticky (as the volumes of Kubernetes' secrets are). A process that is not root follows all links: it
gains nothing by them. Knows paths and descriptors; must never know what the files are for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST, EINVAL, ELOOP

#: Most links on one path, as in Linux (path_resolution(7)).
MOST_LINKS = 40


class LinkOfAnother(OSError):
    """Reports a link that root does not follow, and who can change it: a user, or the members of a group (`owner` is
    None), or anybody (both are)."""

    def __init__(self, name: str, owner: int | None, group: int | None) -> None:
        super().__init__(ELOOP, f"'{name}' is a link that another user can change, which root does not follow")
        self.owner = owner
        self.group = group


_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def parent_of(path: str) -> Iterator[tuple[int, str]]:
    """Opens the directory of `path` and yields it with the name in it, which is not resolved. Raises OSError.

    Check and change of the name then concern the same directory.
    """
    directory, name = os.path.split(path)
    parent = _open(directory or ".", _DIRECTORY)
    try:
        yield parent, name
    finally:
        os.close(parent)


def open_file(path: str, flags: int, mode: int = 0o666) -> int:
    """Opens or creates a file, without waiting for a pipe's other end and without a controlling terminal.

    Raises OSError, also for a link in the way that root does not follow.
    """
    return _open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)


def _open(path: str, flags: int, mode: int = 0) -> int:
    if os.geteuid() != 0:
        return os.open(path, flags, mode)
    try:
        parent, name = _walk(path)
        try:
            if not _is_magic(parent):
                flags |= os.O_NOFOLLOW
            return os.open(name or ".", flags, mode, dir_fd=parent)
        finally:
            os.close(parent)
    except OSError as error:
        error.filename = path  # not the one name at which it failed
        raise


def demand_plain(descriptor: int) -> None:
    """Checks that an open file is a regular one that has no other name. Raises OSError.

    A hard link in a directory of another user's may lead to any file, unless the kernel forbids that (proc(5),
    protected_hardlinks).
    """
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(EINVAL, "it is no regular file")
    if status.st_nlink > 1:
        raise OSError(EEXIST, "it has another name, too, so it may be another file")


def _walk(path: str) -> tuple[int, str]:
    """Resolves all links on a path that are trusted. Returns its last directory, open, and the name in it.

    Raises OSError.
    """
    rest, links = _parts(path), 0
    at = os.open("/" if path.startswith("/") else ".", _DIRECTORY)
    try:
        while rest:
            name = rest.pop()
            target = None if _is_magic(at) else _target(at, name)
            if target is not None:
                links += 1
                if links > MOST_LINKS:
                    raise OSError(ELOOP, os.strerror(ELOOP))
                rest += _parts(target)
                step = os.open("/", _DIRECTORY) if target.startswith("/") else os.dup(at)
            elif not rest:
                return at, name
            else:
                step = os.open(name, _DIRECTORY | (0 if _is_magic(at) else os.O_NOFOLLOW), dir_fd=at)
            os.close(at)
            at = step
        return at, ""
    except BaseException:
        os.close(at)
        raise


def _parts(path: str) -> list[str]:
    """Returns the names of a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _target(parent: int, name: str) -> str | None:
    """Returns what a link leads to; None if there is no link. Raises OSError for one that root does not follow."""
    try:
        link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(link)
        if not stat.S_ISLNK(status.st_mode):
            return None
        around = os.fstat(parent)
        if owner := status.st_uid or around.st_uid:
            raise LinkOfAnother(name, owner, None)
        if around.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not around.st_mode & stat.S_ISVTX:
            raise LinkOfAnother(name, None, None if around.st_mode & stat.S_IWOTH else around.st_gid)
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _is_magic(directory: int) -> bool:
    """Tells whether a directory is in /proc, whose links lead to open files (/dev/stdout) and cannot be resolved by
    name."""
    try:
        return os.fstat(directory).st_dev == os.stat("/proc/self").st_dev
    except FileNotFoundError:
        return False
