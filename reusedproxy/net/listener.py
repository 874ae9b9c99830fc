"""Accepting: one listening socket that turns each connection into a transport and hands it on.

A listener knows its socket and one taker; it must never know frontends. It pauses when told (at `maxconn`) and by
itself when accepting fails, because a listening socket that cannot be accepted from stays ready and would spin the loop; or
when the process has only those descriptors left that clients may not have. It goes on as soon as one of these is free.

A unix socket may stand in a directory of somebody else's, while we are root: whatever has a name there may be another file
the next moment. So nothing is done to such a name that would follow a link, or do harm to the wrong file.
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
from math import inf
from tempfile import mkdtemp
from typing import Protocol

from twisted.logger import Logger

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.descriptors import EXHAUSTED as NONE_LEFT
from reusedproxy.net.poller import READ, Poller
from reusedproxy.net.tls.server import Certificates

#: Connections accepted before the others get their turn: each costs some 20 us, and as much again where its request or end is there.
ACCEPTS_AT_ONCE = 16
#: Connections that may wait in the kernel's queue when neither `backlog` nor `maxconn` says.
BACKLOG = 4096
#: Seconds to wait after running out of memory or of the machine's descriptors; and of our own, which are looked for at the
#: end of each batch of events besides.
EXHAUSTED_PAUSE = 0.2
SHORT_PAUSE = 0.05
#: Seconds to wait when accepting fails for another reason, which will hardly pass: somebody has shut down a socket given to us.
FAILED_PAUSE = 1.0
#: Seconds between two warnings about it.
WARN_EVERY = 10.0

#: What concerns one client alone: it has gone again already, or the network says of it what Linux tells here (accept(2)).
_ONE_CLIENTS = frozenset(
    (errno.ECONNABORTED, errno.ECONNRESET, errno.EPROTO, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET)
    + (
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EOPNOTSUPP,
        errno.ETIMEDOUT,
        errno.EPERM,
        errno.EINTR,
    )
)

_FEW_LEFT = "Too many open files: the last few descriptors are not for clients (see ulimit -n, maxconn)"

#: What says that a file system has no hard links; or not for us, to what is another's already (proc(5), protected_hardlinks).
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))

_STREAM = int(sockets.SOCK_STREAM)
#: Bytes of a unix socket's path that clients can connect to (unix(7)).
_LONGEST_PATH = 107

# The states of a listener.
BOUND = "bound"  # connections queue up in the kernel
LISTENING = "listening"
PAUSED = "paused"  # by its taker
EXHAUSTED = "exhausted"  # out of descriptors, or accepting fails; goes on by itself
CLOSED = "closed"


class ListenError(Exception):
    """An address cannot be listened on; the message says which and why."""


class Taker(Protocol):
    #: It wants no more for now.
    full: bool

    def connection_made(self, accepted: sockets.socket, address: object, listener: Listener) -> None:
        """A client has connected from `address`. The socket is non-blocking and belongs to the taker from here on."""


class Listener:
    """One bound socket; `state` is BOUND, LISTENING, PAUSED, EXHAUSTED or CLOSED."""

    _log = Logger()

    def __init__(
        self,
        poller: Poller,
        deadlines: Deadlines,
        bind: Bind,
        bound: sockets.socket,
        warn: Callable[[str], None],
        last: float = inf,
    ) -> None:
        """`last`: the descriptor from which on it accepts no more."""
        self._poller = poller
        self._deadlines = deadlines
        self._warn = warn
        self._last = last
        self.bind = bind
        self.socket = bound
        self._family = int(bound.family)
        name = bound.getsockname()
        #: The port that the kernel gave, for one that was asked for as 0; 0 for a unix socket.
        self.port: int = name[1] if isinstance(name, tuple) else 0
        self.state = BOUND
        #: How many connections may wait in the kernel, where whoever made it has said so.
        self.backlog: int | None = None
        self.deadline = 0.0
        self.slot = 0.0
        self._warn_again = 0.0
        #: The file of a unix socket.
        self._file = bound.file if isinstance(bound, _UnixSocket) else None
        self.taker: Taker | None = None
        #: What clients are shown here; None: they are served in the clear. The taker sets it and makes use of it.
        self.certificates: Certificates | None = None
        #: Connections accepted here that are still open; the taker counts them down.
        self.connections = 0

    @property
    def stands(self) -> bool:
        """Whether clients can reach it: a unix socket's file may have been removed, or another put in its place."""
        if self._file is None:
            return True
        try:
            return self._file == _identity(os.lstat(self.bind.address.path))
        except OSError:
            return False

    @property
    def full(self) -> bool:
        """Whether there are as many connections as its `maxconn` allows."""
        return 0 < self.bind.maxconn <= self.connections

    def listen(self, taker: Taker) -> None:
        """Accept for `taker`, from now on."""
        self.taker = taker
        if self.state != LISTENING:
            self._move(LISTENING)

    def adopt(self, bind: Bind, clients: int) -> None:
        """Be as `bind` says, of the same address, from now on; `clients` is the backlog where it says none. Raises ListenError.

        For a listener that was made by another reading of the configuration.
        """
        was, self.bind = self.bind, bind
        try:
            backlog = backlog_of(bind, clients)
            if self.backlog not in (None, backlog):
                self.socket.listen(backlog)
                self.backlog = backlog
            if self._file is not None and (was.mode, was.user, was.group) != (bind.mode, bind.user, bind.group):
                self._give_to_others(bind)
        except OSError as error:
            raise ListenError(f"cannot change {bind.address} as its line says: {error.strerror or error}") from None

    def _give_to_others(self, bind: Bind) -> None:
        """Set mode and owner of its file, and of no other that was put in its place."""
        with _opened(bind.address.path, os.O_PATH | os.O_NOFOLLOW) as file:
            if _identity(os.fstat(file)) != self._file:
                raise OSError(errno.ESTALE, "another file stands there by now")
            # Linux changes no mode without following links, but leads from here to the very file that is open.
            path = _through(file)
            os.chmod(path, _unsaid_mode() if bind.mode is None else bind.mode)
            uid, gid = owner_of(bind)
            os.chown(path, os.geteuid() if uid < 0 else uid, os.getegid() if gid < 0 else gid)

    def keep_alive(self, on: bool) -> None:
        """Whether TCP looks now and then whether a silent client is still there; accepted sockets inherit it on Linux."""
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, on)

    def pause(self) -> None:
        """Leave new connections in the kernel's queue."""
        if self.state in (LISTENING, EXHAUSTED):
            self._move(PAUSED)

    def resume(self) -> None:
        if self.state == PAUSED:
            self._move(LISTENING)

    def close(self) -> None:
        """Close the socket; connections that wait in its queue are refused by the kernel. A unix path is removed."""
        if self.state == CLOSED:
            return
        self._move(CLOSED)
        if self._file is not None:
            # Before it is closed: its file's number is nobody else's so long.
            with suppress(OSError), _parent(self.bind.address.path) as (parent, name):
                if _identity(os.stat(name, dir_fd=parent, follow_symlinks=False)) == self._file:
                    os.unlink(name, dir_fd=parent)
        self.socket.close()

    def on_ready(self, events: int) -> None:
        taker = self.taker
        assert taker is not None
        fault = ""
        # What `socket.accept` does, without its looking up of enumerations: 2.7 us a connection instead of 5.2.
        accept, family, kind = self.socket._accept, self._family, _STREAM  # type: ignore[attr-defined]
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                fd, address = accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _ONE_CLIENTS:
                    pause = EXHAUSTED_PAUSE if error.errno in NONE_LEFT else FAILED_PAUSE
                    self._exhausted(error.strerror or str(error), pause)
                    return
                fault = error.strerror or str(error)
                continue
            fault = ""
            accepted = sockets.socket(family, kind, 0, fd)
            accepted.setblocking(False)
            scarce = fd >= self._last
            self.connections += 1
            try:
                taker.connection_made(accepted, address, self)
            except Exception:
                # The poller would forget the whole listening socket for it.
                self._log.failure("a connection to {address} could not be taken", address=self.bind.address)
            if self.state != LISTENING:
                return
            if scarce:
                self._exhausted(_FEW_LEFT, SHORT_PAUSE)
                return
        if fault:
            self._exhausted(fault, FAILED_PAUSE)  # for each of so many clients: it is not theirs

    def deadline_passed(self) -> None:
        if self.state == EXHAUSTED:
            if self._is_short():
                self._exhausted(_FEW_LEFT, SHORT_PAUSE)
            else:
                self._move(LISTENING)

    def descriptor_may_be_free(self) -> None:
        """What the poller calls while there is none for another client."""
        if not self._is_short():
            self._move(LISTENING)

    def _is_short(self) -> bool:
        """Whether the next connection would get one of the last descriptors, or none."""
        return self._next_descriptor() >= self._last

    def _next_descriptor(self) -> float:
        """The number that the next connection would get."""
        try:
            number = os.dup(self.socket.fileno())
        except OSError:
            return inf
        os.close(number)
        return number

    def _exhausted(self, reason: str, pause: float) -> None:
        if self.state != EXHAUSTED:
            self._move(EXHAUSTED)
        again = f"trying again every {pause} s"
        if self._is_short():
            pause, again = SHORT_PAUSE, "going on when some are free"
            if self not in self._poller.short:
                self._poller.short.append(self)
        now = self._deadlines.now()
        self._deadlines.watch(self, now + pause)
        if now >= self._warn_again:
            self._warn_again = now + WARN_EVERY
            self._warn(f"bind {self.bind.address}: cannot accept: {reason}; {again}")

    def _move(self, state: str) -> None:
        was, self.state = self.state, state
        if was == EXHAUSTED:
            self._deadlines.cancel(self)
            if self in self._poller.short:
                self._poller.short.remove(self)
        if state == LISTENING:
            self._poller.watch(self.socket.fileno(), READ, self.on_ready)
        elif was == LISTENING:
            self._poller.forget(self.socket.fileno())


def backlog_of(bind: Bind, clients: int) -> int:
    """How many connections may wait in the kernel: what `backlog` says, else as many as there may be `clients`."""
    return bind.backlog or clients or BACKLOG


def bind_socket(bind: Bind, backlog: int, v6_only: bool = False, at: sockets._Address | None = None) -> sockets.socket:
    """A bound and listening socket for `bind`. Raises ListenError.

    An IPv6 wildcard takes IPv4 clients, too, unless `v6_only`. `at` is what the host's name was resolved to.
    """
    address = bind.address
    try:
        if address.kind == "fd":
            bound = sockets.socket(fileno=os.dup(address.fd))
        elif address.kind == "unix":
            bound = _bind_path(bind, bind.backlog or backlog)
        else:
            bound = _bind_port(address, v6_only, at)
        try:
            bound.listen(bind.backlog or backlog)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        hint = ""
        if isinstance(error, PermissionError) and address.kind == "tcp" and address.port < 1024:
            hint = " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        elif isinstance(error, PermissionError) and (bind.user is not None or bind.group is not None):
            hint = " (only root can give it to another 'user', and to a 'group' that the daemon is not in)"
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}{hint}") from None
    bound.setblocking(False)
    return bound


def _bind_port(address: ListenAddress, v6_only: bool, at: sockets._Address | None) -> sockets.socket:
    family = sockets.AF_INET6 if address.v6 else sockets.AF_INET
    bound = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        bound.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        # Accepted sockets inherit it on Linux, which saves a call for each.
        bound.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        if address.v6:
            bound.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, v6_only)
        bound.bind((address.host, address.port) if at is None else at)
    except OSError:
        bound.close()
        raise
    return bound


class _UnixSocket(sockets.socket):
    """One that listens, and knows its file; `getsockname` tells where it was bound, and not where it stands."""

    file: tuple[int, int] | None = None


def _bind_path(bind: Bind, backlog: int) -> _UnixSocket:
    """A listening unix socket, in place of a dead one only: a path that somebody listens on is in use.

    It gets its owner and mode in a directory that nobody else can enter, and appears at its path when it is complete (HAProxy:
    beside its path, under another name). Whoever owns the directory of the path may rename ours, and gains nothing by it.
    """
    path = bind.address.path
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, "AF_UNIX path too long")
    with _parent(path) as (parent, name), _draft_directory(parent) as draft:
        bound = _UnixSocket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            # `ss -xl` shows this name, as far as there is room for it.
            drafted = os.fsdecode(os.fsencode(name)[:64])
            bound.bind(f"{_through(draft)}/{drafted}")
            try:
                bound.file = _identity(os.stat(drafted, dir_fd=draft, follow_symlinks=False))
                if bind.mode is not None:
                    os.chmod(drafted, bind.mode, dir_fd=draft)
                if bind.user is not None or bind.group is not None:
                    os.chown(drafted, *owner_of(bind), dir_fd=draft)
                bound.listen(backlog)  # as long as it did not, it would seem to be dead
                _put_in_place(draft, drafted, parent, name)
            finally:
                with suppress(FileNotFoundError):  # it was moved
                    os.unlink(drafted, dir_fd=draft)
        except OSError:
            bound.close()
            raise
    return bound


def _put_in_place(draft: int, drafted: str, parent: int, name: str) -> None:
    """Move the socket from its draft to its name, at which a dead socket may stand until then, but nothing else."""
    if _is_dead(parent, name):
        os.rename(drafted, name, src_dir_fd=draft, dst_dir_fd=parent)
        return
    try:
        # Unlike a rename, it replaces nothing, however late it comes.
        os.link(drafted, name, src_dir_fd=draft, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(drafted, name, src_dir_fd=draft, dst_dir_fd=parent)


def _is_dead(parent: int, name: str) -> bool:
    """Whether this is a socket that nobody holds any more: the one answer that says so is "connection refused".

    Anything else that is in the way (a file, a link, another's datagram socket, a listener whose queue is full) is in use.
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
    """A new directory in `parent`, which only we can enter, open; removed at the end."""
    path = mkdtemp(prefix=".reusedproxy-", dir=_through(parent))
    try:
        with _opened(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) as draft:
            status = os.fstat(draft)
            # In another's directory, it may be another one already.
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise OSError(errno.ESTALE, "a directory was replaced in it by somebody else meanwhile")
            yield draft
    finally:
        with suppress(OSError):  # somebody has moved it: let him keep it
            os.rmdir(path)


@contextmanager
def _parent(path: str) -> Iterator[tuple[int, str]]:
    """The directory of `path`, open, and the name in it: what is looked at and what is changed are in the same one then."""
    directory, name = os.path.split(path)
    with _opened(directory or ".", os.O_PATH | os.O_DIRECTORY) as parent:
        yield parent, name


@contextmanager
def _opened(path: str, flags: int, parent: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _through(descriptor: int) -> str:
    """A path to what is open, whatever its names have become. Raises OSError where /proc is not mounted."""
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.lexists(path):
        raise OSError(errno.ENOENT, "this needs /proc, which is not mounted")
    return path


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Which file it is, whatever its name."""
    return status.st_dev, status.st_ino


def owner_of(bind: Bind) -> tuple[int, int]:
    """Of a unix socket, by names or numbers; -1 is what was not said (chown(2)). Raises OSError for a name that nobody has."""
    user, group = bind.user, bind.group
    try:
        uid = -1 if user is None else int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
        gid = -1 if group is None else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise OSError(errno.EINVAL, str(error.args[0])) from None
    return uid, gid


def _unsaid_mode() -> int:
    """What a unix socket's permissions are where no `mode` says."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o777 & ~mask
