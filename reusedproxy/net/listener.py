"""Accepts connections on one listening socket and hands them to a taker.

A listener knows its socket and one taker; it must never know frontends. It pauses when told to (at `maxconn`). It also
pauses by itself when accepting fails, because a listening socket that cannot be accepted from stays ready and would
spin the loop, and when the process has only those descriptors left that clients may not have. It goes on as soon as one
of these is free.

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
from math import inf
from tempfile import mkdtemp
from typing import Protocol

from attrs import evolve
from twisted.logger import Logger

from reusedproxy.config.model.proxies import Bind, SocketOptions
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.addresses import abstract
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.descriptors import EXHAUSTED as NONE_LEFT
from reusedproxy.net.named_sockets import Unnamed, descriptor_named
from reusedproxy.net.poller import READ, Poller
from reusedproxy.net.tls.server import Certificates
from reusedproxy.net.trusted_paths import parent_of

#: Connections accepted before other events get their turn: each costs some 20 us, and as much again where its request
#: or its end is there already.
ACCEPTS_AT_ONCE = 16
#: Length of the kernel's queue of connections when neither `backlog` nor `maxconn` gives one.
BACKLOG = 4096
#: Seconds to wait after the system ran out of memory or descriptors, and after this process ran out of descriptors. For
#: its own descriptors it also looks at the end of each batch of events.
EXHAUSTED_PAUSE = 0.2
SHORT_PAUSE = 0.05
#: Seconds to wait when accepting fails for another reason. Such a reason will hardly pass: somebody has shut down a
#: socket given to this process, for instance.
FAILED_PAUSE = 1.0
#: Seconds between two warnings that accepting fails.
WARN_EVERY = 10.0

#: Errors of accept(2) that concern one client alone: it has gone again already, or Linux passes on a network error of
#: its connection.
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

#: Errors that say that the file system has no hard links, or that this process may not make one to a file of another
#: owner (proc(5), protected_hardlinks).
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))

_STREAM = int(sockets.SOCK_STREAM)
#: linux/in.h, linux/in6.h: Python's socket module does not have them.
_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75
#: Device and inode number of a file.
_Identity = tuple[int, int]
#: Longest path of a unix socket, in bytes, that clients can connect to (unix(7)).
_LONGEST_PATH = 107

# The states of a listener.
BOUND = "bound"  # connections queue up in the kernel
LISTENING = "listening"
PAUSED = "paused"  # by its taker
HELD = "held"  # for as long as another process needs to begin
EXHAUSTED = "exhausted"  # out of descriptors, or accepting fails; goes on by itself
CLOSED = "closed"


class ListenError(Exception):
    """Says that an address cannot be listened on; the message says which and why."""


class Given(Protocol):
    """Defines who has sockets that listen already, of a process whose place this one takes."""

    def take(self, bind: Bind, at: sockets._Address | None = None) -> tuple[sockets.socket, _Identity | None] | None:
        """Returns the one at the address of this line, `at` what its name was resolved to, and what identifies its
        file, if it has one; None if there is none."""


class Taker(Protocol):
    #: Whether the taker wants no more connections for now.
    full: bool

    def connection_made(self, accepted: sockets.socket, address: object, listener: Listener) -> None:
        """Takes a connection of a client at `address`.

        The socket is non-blocking and belongs to the taker from here on.
        """


class Listener:
    """Accepts connections on one bound socket; `state` is BOUND, LISTENING, PAUSED, HELD, EXHAUSTED or
    CLOSED."""

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
        """Keeps the bound socket.

        `last` is the descriptor number from which on the listener accepts no further connection.
        """
        self._poller = poller
        self._deadlines = deadlines
        self._warn = warn
        self._last = last
        self.bind = bind
        self.socket = bound
        self._family = int(bound.family)
        name = bound.getsockname()
        #: The port that the kernel chose where the configuration says 0; 0 for a unix socket.
        self.port: int = name[1] if isinstance(name, tuple) else 0
        self.state = BOUND
        #: Length of the kernel's queue of connections, if the code that made the listener has set it.
        self.backlog: int | None = None
        self.deadline = 0.0
        self.slot = 0.0
        self._warn_again = 0.0
        #: The file of a unix socket.
        self._file = bound.file if isinstance(bound, _UnixSocket) else None
        self.taker: Taker | None = None
        #: Certificates for the clients of this listener; None: they are served without TLS. The taker sets and uses
        #: them.
        self.certificates: Certificates | None = None
        #: Connections accepted here that are still open; the taker counts them down.
        self.connections = 0
        #: Counts what comes here (`option socket-stats`); None: nothing does. The taker sets it.
        self.traffic: Traffic | None = None

    @property
    def file(self) -> tuple[int, int] | None:
        """Returns device and inode number of a unix socket's file; None for a port."""
        return self._file

    @property
    def stands(self) -> bool:
        """Tells whether clients can reach the listener.

        They cannot when a unix socket's file was removed, or replaced by another.
        """
        if self._file is None:
            return True
        try:
            return self._file == _identity(os.lstat(self.bind.address.path))
        except OSError:
            return False

    @property
    def full(self) -> bool:
        """Tells whether there are as many connections as its `maxconn` allows."""
        return 0 < self.bind.maxconn <= self.connections

    def listen(self, taker: Taker) -> None:
        """Starts to accept connections for `taker`."""
        self.taker = taker
        if self.state != LISTENING:
            self._move(LISTENING)

    def adopt(self, bind: Bind, clients: int) -> None:
        """Takes over the settings of another `bind` line with the same address. Raises ListenError.

        It is for a listener that was made by another reading of the configuration. `clients` is the backlog where
        `bind` gives none.
        """
        was, self.bind = self.bind, bind
        try:
            if was.options != bind.options and bind.address.kind == "tcp":
                _set_options(self.socket, bind, was.options)
            backlog = backlog_of(bind, clients)
            if self.backlog not in (None, backlog):
                self.socket.listen(backlog)
                self.backlog = backlog
            if self._file is not None and _access(was) != _access(bind):
                self._give_to_others(bind)
        except OSError as error:
            # The next reload tries again.
            self.bind = evolve(bind, mode=was.mode, user=was.user, group=was.group)
            raise ListenError(_unchangeable(bind, error)) from None

    def may_adopt(self, bind: Bind) -> None:
        """Checks that `adopt` will be able to do what this line says. Raises ListenError.

        What cannot be done has to refuse the reload: the socket would stay open to those whom the line shuts out.
        """
        try:
            if bind.options.interface != self.bind.options.interface:
                raise OSError(errno.EPERM, "another 'interface' needs another socket: a restart makes it")
            owner_of(bind)
            if self._file is not None and _access(self.bind) != _access(bind):
                with self._own_file() as file:
                    _demand_changeable(os.fstat(file), *_owner_to_be(bind))
        except OSError as error:
            raise ListenError(_unchangeable(bind, error)) from None

    def _give_to_others(self, bind: Bind) -> None:
        """Sets mode and owner of the unix socket's file, and of no other file that was put in its place."""
        with self._own_file() as file:
            # Linux cannot change a mode without following links, but a path below /proc leads to the very file that is
            # open.
            path = _through(file)
            os.chmod(path, 0)  # nobody comes in by the old owner and the new mode
            os.chown(path, *_owner_to_be(bind))
            os.chmod(path, _mode_of(bind))

    @contextmanager
    def _own_file(self) -> Iterator[int]:
        """Opens the unix socket's file. Raises OSError if another one stands at its path."""
        with _opened(self.bind.address.path, os.O_PATH | os.O_NOFOLLOW) as file:
            if _identity(os.fstat(file)) != self._file:
                raise OSError(errno.ESTALE, "another file stands there by now")
            yield file

    def waiting(self) -> Iterator[sockets.socket]:
        """Accepts the connections that wait in the kernel's queue now, whatever the state. Raises OSError.

        They belong to the caller, and are not among `connections`.
        """
        # The queue has room for one more than its length; whoever comes meanwhile is behind these.
        for _ in range((self.backlog or BACKLOG) + 1):
            try:
                accepted, _address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _ONE_CLIENTS:
                    raise
                continue
            accepted.setblocking(False)
            yield accepted

    def keep_alive(self, on: bool) -> None:
        """Switches TCP keep-alive on or off, by which the kernel probes whether a silent client is still there.

        Accepted sockets inherit it on Linux.
        """
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, on)

    def pause(self) -> None:
        """Stops accepting; new connections stay in the kernel's queue."""
        if self.state in (LISTENING, EXHAUSTED, HELD):
            self._move(PAUSED)

    def resume(self) -> None:
        if self.state == PAUSED:
            self._move(LISTENING)

    def hold(self) -> None:
        """Leaves new connections in the kernel's queue, until `go_on`, or until another process accepts them."""
        if self.state in (LISTENING, EXHAUSTED):
            self._move(HELD)

    def go_on(self) -> None:
        if self.state == HELD:
            self._move(LISTENING)

    def close(self) -> None:
        """Closes the socket and removes the file of a unix socket.

        The kernel refuses connections that wait in its queue.
        """
        if self.state == CLOSED:
            return
        self._move(CLOSED)
        self.taker = None  # it may be taken apart while a frontend before it still has clients who came here
        if isinstance(self.socket, _UnixSocket) and not self.socket.borrowed:
            # The file is removed before the socket is closed: as long as it is open, no other file can get its inode
            # number.
            with suppress(OSError), parent_of(self.bind.address.path) as (parent, name):
                if _identity(os.stat(name, dir_fd=parent, follow_symlinks=False)) == self._file:
                    os.unlink(name, dir_fd=parent)
        self.socket.close()

    def own(self) -> None:
        """Takes the file of a unix socket from the process that has given it, so that `close` removes it."""
        if isinstance(self.socket, _UnixSocket):
            self.socket.borrowed = False

    def leave(self) -> None:
        """Closes the socket, which another process listens on, and leaves its file."""
        if isinstance(self.socket, _UnixSocket):
            self.socket.borrowed = True
        self.close()

    def on_ready(self, events: int) -> None:
        taker = self.taker
        assert taker is not None
        fault = ""
        # This is `socket.accept` without its look-ups of enumerations, 2.7 us a connection instead of 5.2, and with the
        # plain type of sockets, whose making and closing are no calls of Python functions.
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
            accepted: sockets.socket = sockets.SocketType(family, kind, 0, fd)  # type: ignore[assignment]
            accepted.setblocking(False)
            scarce = fd >= self._last
            self.connections += 1
            try:
                taker.connection_made(accepted, address, self)
            except Exception:
                # An exception that reaches the poller would make it forget the whole listening socket.
                self._log.failure("a connection to {address} could not be taken", address=self.bind.address)
            if self.state != LISTENING:
                return
            if scarce:
                self._exhausted(_FEW_LEFT, SHORT_PAUSE)
                return
        if fault:
            self._exhausted(fault, FAILED_PAUSE)  # every client of this batch failed, so the clients are not the cause

    def deadline_passed(self) -> None:
        if self.state == EXHAUSTED:
            if self._is_short():
                self._exhausted(_FEW_LEFT, SHORT_PAUSE)
            else:
                self._move(LISTENING)

    def descriptor_may_be_free(self) -> None:
        """Looks again for a free descriptor.

        The poller calls it at the end of a batch while there is none for another client.
        """
        if not self._is_short():
            self._move(LISTENING)

    def _is_short(self) -> bool:
        """Tells whether the next connection would get one of the last descriptors, or none."""
        return self._next_descriptor() >= self._last

    def _next_descriptor(self) -> float:
        """Returns the descriptor number that the next connection would get; inf if there is none."""
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
    """Returns the length of the kernel's queue of connections.

    It is the `backlog` of the line, else the number of `clients` allowed, else BACKLOG.
    """
    return bind.backlog or clients or BACKLOG


def bind_socket(bind: Bind, backlog: int, v6_only: bool = False, at: sockets._Address | None = None) -> sockets.socket:
    """Returns a bound, listening and non-blocking socket for `bind`. Raises ListenError.

    An IPv6 wildcard takes IPv4 clients, too, unless `v6_only`. `at` is the address that the host's name was resolved
    to.
    """
    address = bind.address
    try:
        if address.kind == "fd":
            bound = sockets.socket(fileno=os.dup(inherited(address)))
        elif address.kind == "unix":
            bound = _bind_path(bind, bind.backlog or backlog)
        elif address.kind == "abns":
            bound = _bind_abstract(address.path)
        else:
            bound = _bind_port(bind, v6_only, at)
        try:
            bound.listen(bind.backlog or backlog)
        except OSError:
            bound.close()
            raise
    except Unnamed as unnamed:
        raise ListenError(f"cannot listen on {address}: {unnamed}") from None
    except OSError as error:
        hint = ""
        if isinstance(error, PermissionError) and address.kind == "tcp" and address.port < 1024:
            hint = " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        elif isinstance(error, PermissionError) and (bind.user is not None or bind.group is not None):
            hint = " (only root can give it to another 'user', and to a 'group' that the daemon is not in)"
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}{hint}") from None
    bound.setblocking(False)
    return bound


def inherited(address: ListenAddress) -> int:
    """Returns the number of the descriptor that an address of kind "fd" stands for. Raises Unnamed."""
    return descriptor_named(address.path) if address.path else address.fd


def demand_bindable(bind: Bind) -> None:
    """Checks what can be known of a line without opening anything: its owner, and what stands at the path of a unix
    socket. Raises OSError.

    A socket may stand there, even one that is listened on: that of the daemon that runs while its configuration is
    checked. Where this user may not look, nothing is known.
    """
    owner_of(bind)
    if bind.address.kind != "unix":
        return
    path = bind.address.path
    with suppress(PermissionError):
        if not stat.S_ISDIR(os.stat(os.path.dirname(path) or ".").st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: what stands there is no socket")


def _bind_abstract(name: str) -> sockets.socket:
    bound = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        bound.bind(abstract(name))
    except OSError:
        bound.close()
        raise
    return bound


def _bind_port(bind: Bind, v6_only: bool, at: sockets._Address | None) -> sockets.socket:
    address = bind.address
    family = sockets.AF_INET6 if address.v6 else sockets.AF_INET
    bound = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        bound.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        # Accepted sockets inherit this option on Linux, which saves a call for each.
        bound.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        if address.v6:
            bound.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, v6_only)
        _set_options(bound, bind, SocketOptions())
        bound.bind((address.host, address.port) if at is None else at)
    except OSError:
        bound.close()
        raise
    return bound


def _set_options(bound: sockets.socket, bind: Bind, was: SocketOptions) -> None:
    """Sets what a line says of its TCP socket, and takes back what the line before it said (`was`). Raises OSError,
    which says what it was about."""
    said = bind.options
    wanted: list[tuple[str, int, int, int | bytes]] = []
    if said.interface:
        wanted.append(
            ("interface", sockets.SOL_SOCKET, sockets.SO_BINDTODEVICE, said.interface.encode() + b"\0"),
        )
    if said.transparent or was.transparent:
        level, option = (
            (sockets.IPPROTO_IPV6, _IPV6_TRANSPARENT) if bind.address.v6 else (sockets.IPPROTO_IP, _IP_TRANSPARENT)
        )
        wanted.append(("transparent", level, option, said.transparent))
    if said.mss or was.mss:
        wanted.append(("mss", sockets.IPPROTO_TCP, sockets.TCP_MAXSEG, abs(said.mss)))
    if said.user_timeout or was.user_timeout:
        milliseconds = round(said.user_timeout * 1000)
        wanted.append(("tcp-ut", sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT, milliseconds))
    if said.fast_open or was.fast_open:
        wanted.append(
            ("tfo", sockets.IPPROTO_TCP, sockets.TCP_FASTOPEN, (bind.backlog or BACKLOG) if said.fast_open else 0)
        )
    for word, level, option, value in wanted:
        try:
            bound.setsockopt(level, option, value)
        except OSError as error:
            raise OSError(error.errno, f"'{word}': {error.strerror}") from None


class _UnixSocket(sockets.socket):
    """Adds the identity of its file to a listening unix socket.

    `getsockname` tells where the socket was bound, and not where its file is now.
    """

    file: tuple[int, int] | None = None
    #: Another process listens on it, too, whose file it is.
    borrowed = False


def given_socket(
    given: Given | None, bind: Bind, backlog: int, at: sockets._Address | None = None
) -> sockets.socket | None:
    """Returns the socket for `bind` that another process has given; None if there is none. Raises ListenError if it
    lets in others than the line says."""
    found = None if given is None else given.take(bind, at)
    if found is None:
        return None
    bound, file = found
    bound.setblocking(False)
    if file is not None:
        bound = _UnixSocket(fileno=bound.detach())
        bound.file, bound.borrowed = file, True
    try:
        bound.listen(bind.backlog or backlog)
        if file is not None:
            _demand_access(bind)
    except OSError as error:
        bound.close()
        raise ListenError(f"cannot listen on {bind.address}: {error.strerror or error}") from None
    return bound


def _demand_access(bind: Bind) -> None:
    """Checks that the unix socket of another process has the mode and the owner that this line says. Raises OSError."""
    status = os.lstat(bind.address.path)
    said = (bind.mode, *(number if number >= 0 else None for number in owner_of(bind)))
    for what, wanted, has in zip(
        ("mode", "user", "group"), said, (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid), strict=True
    ):
        if wanted is not None and wanted != has:
            text = f"the process that runs has it with another '{what}': reload that one before it is replaced"
            raise OSError(errno.EPERM, text)


def _bind_path(bind: Bind, backlog: int) -> _UnixSocket:
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
        bound = _UnixSocket(sockets.AF_UNIX, sockets.SOCK_STREAM)
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


def _identity(status: os.stat_result) -> tuple[int, int]:
    """Returns device and inode number, which identify a file whatever its name."""
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

    Raises OSError for a name that does not exist.
    """
    return (
        _number_of(bind.user, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number_of(bind.group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _owner_to_be(bind: Bind) -> tuple[int, int]:
    """Returns user and group ID of a unix socket; those of the process where the line gives none. Raises OSError."""
    uid, gid = owner_of(bind)
    return os.geteuid() if uid < 0 else uid, os.getegid() if gid < 0 else gid


def _access(bind: Bind) -> tuple[int | None, str | None, str | None]:
    """Returns what decides who may connect to a unix socket."""
    return bind.mode, bind.user, bind.group


def _demand_changeable(status: os.stat_result, uid: int, gid: int) -> None:
    """Checks that this process may set the mode of a file, and give it to that owner (chown(2)). Raises OSError."""
    own = os.geteuid()
    if own == 0:
        return
    if status.st_uid != own:
        text = f"the socket is user {status.st_uid}'s, and the daemon is user {own} by now: a restart makes it anew"
        raise OSError(errno.EPERM, text)
    if uid != own:
        raise OSError(errno.EPERM, "only root can give it to another 'user'")
    if gid not in (status.st_gid, os.getegid(), *os.getgroups()):
        raise OSError(errno.EPERM, "only root can give it to a 'group' that the daemon is not in")


def _unchangeable(bind: Bind, error: OSError) -> str:
    return f"cannot change {bind.address} as its line says: {error.strerror or error}"


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
