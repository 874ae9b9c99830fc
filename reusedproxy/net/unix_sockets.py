"""Makes unix sockets that listen, gives their files an owner and a mode, and removes them.

A unix socket may stand in a directory that another user owns, while this process runs as root. A name in such a
directory may belong to another file the next moment. So no operation on such a name follows a link, and none can harm
the wrong file.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket as sockets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import mkdtemp

from reusedproxy.config.model.proxies import Bind
from reusedproxy.net.trusted_paths import parent_of

#: Errors that say that the file system has no hard links, or that this process may not make one to a file of another
#: owner (proc(5), protected_hardlinks).
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))

#: Device and inode number of a file, which identify it whatever its name.
Identity = tuple[int, int]
#: Longest path of a unix socket, in bytes, that clients can connect to (unix(7)).
_LONGEST_PATH = 107


class UnixSocket(sockets.socket):
    """Adds the identity of its file to a listening unix socket.

    `getsockname` tells where the socket was bound, and not where its file is now.
    """

    file: Identity | None = None
    #: Another process listens on it, too, whose file it is.
    borrowed = False


def bind_path(bind: Bind, backlog: int) -> UnixSocket:
    """Returns a listening unix socket at the path of `bind`.

    It may replace a dead socket, but none that a process listens on.

    The socket gets its owner and mode in a directory that no other user can enter, and is moved to its path when it is
    complete. (HAProxy makes it beside its path, under another name.) The owner of the path's directory may rename the
    new directory, but gains nothing by it.
    """
    path = bind.address.path
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, "AF_UNIX path too long")
    with parent_of(path) as (parent, name), _draft_directory(parent) as draft:
        bound = UnixSocket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            # `ss -xl` shows this name, cut to 64 bytes so that the path below /proc fits.
            drafted = os.fsdecode(os.fsencode(name)[:64])
            bound.bind(f"{_through(draft)}/{drafted}")
            try:
                bound.file = _identity(os.stat(drafted, dir_fd=draft, follow_symlinks=False))
                os.chmod(drafted, _mode_of(bind), dir_fd=draft)
                if bind.user is not None or bind.group is not None:
                    os.chown(drafted, *owner_of(bind), dir_fd=draft)
                bound.listen(backlog)  # until it listens, it would look like a dead socket
                _put_in_place(draft, drafted, parent, name)
            finally:
                with suppress(FileNotFoundError):  # it was moved into place
                    os.unlink(drafted, dir_fd=draft)
        except OSError:
            bound.close()
            raise
    return bound


def is_at(path: str, file: Identity) -> bool:
    """Tells whether this very file stands at `path`."""
    try:
        return _identity(os.lstat(path)) == file
    except OSError:
        return False


def remove(path: str, file: Identity) -> None:
    """Removes a unix socket's file from `path`, unless another one stands there, or this process may not."""
    with suppress(OSError), parent_of(path) as (parent, name):
        if _identity(os.stat(name, dir_fd=parent, follow_symlinks=False)) == file:
            os.unlink(name, dir_fd=parent)


def _put_in_place(draft: int, drafted: str, parent: int, name: str) -> None:
    """Moves the socket from its draft directory to its name.

    A dead socket may stand there until then, but no other file.
    """
    if _is_dead(parent, name):
        os.rename(drafted, name, src_dir_fd=draft, dst_dir_fd=parent)
        return
    try:
        # Unlike a rename, a link never replaces a file, even one that appeared since the check.
        os.link(drafted, name, src_dir_fd=draft, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(drafted, name, src_dir_fd=draft, dst_dir_fd=parent)


def _is_dead(parent: int, name: str) -> bool:
    """Tells whether `name` is a socket that no process holds any more. Only the answer "connection refused" says so.

    Any other file in the way (a regular file, a link, a datagram socket, a listener whose queue is full) counts as in
    use.
    """
    try:
        with _opened(name, os.O_PATH | os.O_NOFOLLOW, parent) as file:
            if not stat.S_ISSOCK(os.fstat(file).st_mode):
                return False
            with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as knocking:
                knocking.setblocking(False)
                return knocking.connect_ex(_through(file)) == errno.ECONNREFUSED
    except FileNotFoundError:
        return False


@contextmanager
def _draft_directory(parent: int) -> Iterator[int]:
    """Makes a directory in `parent` that only this user can enter, yields it open, and removes it at the end."""
    path = mkdtemp(prefix=".reusedproxy-", dir=_through(parent))
    try:
        with _opened(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) as draft:
            status = os.fstat(draft)
            # The owner of the parent directory may have replaced it already.
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise OSError(errno.ESTALE, "a directory was replaced in it by somebody else meanwhile")
            yield draft
    finally:
        with suppress(OSError):  # somebody has moved it away, so it is left where it is
            os.rmdir(path)


@contextmanager
def _opened_as(path: str, file: Identity) -> Iterator[int]:
    """Opens this very file (without the right to read it). Raises OSError if another one stands at its path."""
    with _opened(path, os.O_PATH | os.O_NOFOLLOW) as descriptor:
        if _identity(os.fstat(descriptor)) != file:
            raise OSError(errno.ESTALE, "another file stands there by now")
        yield descriptor


@contextmanager
def _opened(path: str, flags: int, parent: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _through(descriptor: int) -> str:
    """Returns a path to an open file, however it has been renamed since. Raises OSError where /proc is not mounted."""
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.lexists(path):
        raise OSError(errno.ENOENT, "this needs /proc, which is not mounted")
    return path


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino


def _number_of(said: str | None, what: str, look_up: Callable[[str], int]) -> int:
    if said is None:
        return -1
    if said.isascii() and said.isdigit():
        if int(said) >= 2**32 - 1:  # the largest one stands for none
            raise OSError(errno.EINVAL, f"'{said}' is no number of a {what}")
        return int(said)
    try:
        return look_up(said)
    except KeyError:
        raise OSError(errno.EINVAL, f"there is no {what} '{said}'") from None


def owner_of(bind: Bind) -> tuple[int, int]:
    """Returns user and group ID of a unix socket, given by name or number; -1 where the line gives none (chown(2)).

    Raises OSError for names that do not exist.
    """
    found, wrong = [], []
    for said, what, look_up in (
        (bind.user, "user", lambda name: pwd.getpwnam(name).pw_uid),
        (bind.group, "group", lambda name: grp.getgrnam(name).gr_gid),
    ):
        try:
            found.append(_number_of(said, what, look_up))
        except OSError as error:
            wrong.append(f"{error.strerror}")
    if wrong:
        raise OSError(errno.EINVAL, ", and ".join(wrong))
    return found[0], found[1]


def _owner_to_be(bind: Bind) -> tuple[int, int]:
    """Returns user and group ID of a unix socket; those of the process where the line gives none. Raises OSError."""
    uid, gid = owner_of(bind)
    return os.geteuid() if uid < 0 else uid, os.getegid() if gid < 0 else gid


def same_access(one: Bind, other: Bind) -> bool:
    """Tells whether both lines let the same users connect to a unix socket."""
    return (one.mode, one.user, one.group) == (other.mode, other.user, other.group)


def change_access(bind: Bind, file: Identity) -> None:
    """Gives the unix socket at the line's path its mode and owner. Raises OSError, and changes nothing, if that is
    another `file` by now."""
    with _opened_as(bind.address.path, file) as descriptor:
        # Linux cannot change a mode without following links, but a path below /proc leads to the very file that is
        # open.
        path = _through(descriptor)
        os.chmod(path, 0)  # nobody comes in by the old owner and the new mode
        os.chown(path, *_owner_to_be(bind))
        os.chmod(path, _mode_of(bind))


def demand_changeable(bind: Bind, file: Identity) -> None:
    """Checks that `change_access` would succeed: that this process may set the mode of the file, and give it to the
    owner that the line says (chown(2)). Raises OSError."""
    with _opened_as(bind.address.path, file) as descriptor:
        status = os.fstat(descriptor)
    own = os.geteuid()
    if own == 0:
        return
    uid, gid = _owner_to_be(bind)
    if status.st_uid != own:
        text = f"the socket is user {status.st_uid}'s, and the daemon is user {own} by now: a restart makes it anew"
        raise OSError(errno.EPERM, text)
    if uid != own:
        raise OSError(errno.EPERM, "only root can give it to another 'user'")
    if gid not in (status.st_gid, os.getegid(), *os.getgroups()):
        raise OSError(errno.EPERM, "only root can give it to a 'group' that the daemon is not in")


def demand_access(bind: Bind) -> None:
    """Checks that the unix socket of another process has the mode and the owner that this line says. Raises OSError."""
    status = os.lstat(bind.address.path)
    said = (bind.mode, *(number if number >= 0 else None for number in owner_of(bind)))
    for what, wanted, has in zip(
        ("mode", "user", "group"), said, (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid), strict=True
    ):
        if wanted is not None and wanted != has:
            text = f"the process that runs has it with another '{what}': reload that one before it is replaced"
            raise OSError(errno.EPERM, text)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class _Creation:
    """Holds the umask for unix sockets whose line gives no `mode`: the one with which the program was started, unless
    `set_umask` was called. twistd sets another one when it goes into the background, after the first sockets have been
    made."""

    umask = _umask()


def set_umask(mask: int) -> None:
    """Sets the umask of the process, and that for unix sockets, also of reloads."""
    os.umask(mask)
    _Creation.umask = mask


def _mode_of(bind: Bind) -> int:
    """Returns the permissions of a unix socket: 0777 without the umask's bits where no `mode` is given."""
    return 0o777 & ~_Creation.umask if bind.mode is None else bind.mode


def admits_as_many(bind: Bind, before: Bind) -> bool:
    """Tells whether all who may connect to a unix socket by the line `before` may connect by this one, too."""
    same_owner = (bind.user, bind.group) == (before.user, before.group)
    return same_owner and not _mode_of(before) & ~_mode_of(bind)
