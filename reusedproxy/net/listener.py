"""Accepts connections on one listening socket and hands them to a taker.

A listener knows its socket and one taker; it must never know frontends. It pauses when told to (at `maxconn`). It also
pauses by itself when accepting fails, because a listening socket that cannot be accepted from stays ready and would
spin the loop, and when the process has only those descriptors left that clients may not have. It goes on as soon as one
of these is free.
"""

from __future__ import annotations

import errno
import os
import socket as sockets
from collections.abc import Callable, Iterator
from math import inf
from typing import Protocol

from attrs import evolve
from twisted.logger import Logger

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.sockets import AS_THE_SYSTEM, KeepAlive
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.binding import ListenError, backlog_of
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.descriptors import EXHAUSTED as NONE_LEFT
from reusedproxy.net.listening_options import BACKLOG, demand_free, demand_v6_only, probe, set_options
from reusedproxy.net.poller import READ, Poller
from reusedproxy.net.tls.server import Certificates
from reusedproxy.net.unix_sockets import (
    UnixSocket,
    change_access,
    demand_changeable,
    is_at,
    owner_of,
    remove,
    same_access,
)

#: Connections accepted before other events get their turn: each costs some 20 us, and as much again where its request
#: or its end is there already.
ACCEPTS_AT_ONCE = 16
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

_STREAM = int(sockets.SOCK_STREAM)

# The states of a listener.
BOUND = "bound"  # connections queue up in the kernel
LISTENING = "listening"
PAUSED = "paused"  # by its taker
SUSPENDED = "suspended"  # by an operator: a port is closed to clients, a unix socket lets them wait
BLOCKED = "blocked"  # another program listens at its port; closed to clients until it is tried again
HELD = "held"  # for as long as another process needs to begin
EXHAUSTED = "exhausted"  # out of descriptors, or accepting fails; goes on by itself
CLOSED = "closed"


class Taker(Protocol):
    #: Whether the taker wants no more connections for now.
    full: bool

    def connection_made(self, accepted: sockets.socket, address: object, listener: Listener) -> None:
        """Takes a connection of a client at `address`.

        The socket is non-blocking and belongs to the taker from here on.
        """


class Listener:
    """Accepts connections on one bound socket; `state` is BOUND, LISTENING, PAUSED, SUSPENDED, BLOCKED,
    HELD, EXHAUSTED or CLOSED."""

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
        # Another process may have given one that is suspended there.
        self.state = BOUND if self._listens else SUSPENDED
        #: Length of the kernel's queue of connections, if the code that made the listener has set it.
        self.backlog: int | None = None
        self.deadline = 0.0
        self.slot = 0.0
        self._warn_again = 0.0
        #: The file of a unix socket.
        self._file = bound.file if isinstance(bound, UnixSocket) else None
        self.taker: Taker | None = None
        #: Certificates for the clients of this listener; None: they are served without TLS. The taker sets and uses
        #: them.
        self.certificates: Certificates | None = None
        #: Tells that it must wait until other listeners have fewer clients of its kind; the taker sets it.
        self.crowded = False
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
        return self._file is None or is_at(self.bind.address.path, self._file)

    @property
    def shut(self) -> bool:
        """Tells whether it accepts nobody until `restore`."""
        return self.state in (SUSPENDED, BLOCKED)

    @property
    def full(self) -> bool:
        """Tells whether there are as many connections as its `maxconn`, or what counts for other listeners, too,
        allows."""
        return self.crowded or 0 < self.bind.maxconn <= self.connections

    def listen(self, taker: Taker) -> None:
        """Starts to accept connections for `taker`. Raises OSError, and is BLOCKED, if its port was closed and another
        program has got it."""
        self.taker = taker
        if self.state != LISTENING:
            self._move(LISTENING)

    def stay_shut(self, taker: Taker) -> None:
        """Leaves a listener that accepts nobody as it is; `restore` will have it accept for `taker`."""
        self.taker = taker

    def adopt(self, bind: Bind, clients: int) -> None:
        """Takes over the settings of a `bind` line with the same address. Raises ListenError.

        It is for a listener that was made by another reading of the configuration, or by another process. `clients` is
        the backlog where `bind` gives none.
        """
        was, self.bind = self.bind, bind
        try:
            set_options(self.socket, bind)
            backlog = backlog_of(bind, clients)
            if self.backlog not in (None, backlog):
                self.socket.listen(backlog)
                self.backlog = backlog
            if self._file is not None and not same_access(was, bind):
                change_access(bind, self._file)
        except OSError as error:
            # The next reload tries again.
            self.bind = evolve(bind, mode=was.mode, user=was.user, group=was.group)
            raise ListenError(_unchangeable(bind, error)) from None

    def may_adopt(self, bind: Bind, opens: bool = True) -> None:
        """Checks that `adopt` will be able to do what this line says, and `listen` then, if it is to accept. Raises
        ListenError.

        What cannot be done has to refuse the reload: the socket would stay open to those whom the line shuts out.
        """
        try:
            if bind.options.interface != self.bind.options.interface:
                raise OSError(errno.EPERM, "another 'interface' needs another socket: a restart makes it")
            demand_v6_only(self.socket, bind)
            owner_of(bind)
            if self._file is not None and not same_access(self.bind, bind):
                demand_changeable(bind, self._file)
        except OSError as error:
            raise ListenError(_unchangeable(bind, error)) from None
        try:
            if opens:
                demand_free(self.socket)
        except OSError as error:
            raise ListenError(f"cannot listen on {bind.address} again: {error.strerror or error}") from None

    def waiting(self) -> Iterator[sockets.socket]:
        """Accepts the connections that wait in the kernel's queue now, whatever the state. Raises OSError.

        They belong to the caller, and are not among `connections`.
        """
        if self.shut:
            return
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

    def keep_alive(self, on: bool, said: KeepAlive = AS_THE_SYSTEM) -> None:
        """Switches TCP keep-alive on or off, by which the kernel probes whether a silent client is still there, and
        says how it does. Raises OSError.

        Accepted sockets inherit it on Linux.
        """
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, on)
        probe(self.socket, said)

    def pause(self) -> None:
        """Stops accepting; new connections stay in the kernel's queue."""
        if self.state in (LISTENING, EXHAUSTED, HELD):
            self._move(PAUSED)

    def resume(self) -> None:
        if self.state == PAUSED:
            self._move(LISTENING)

    def suspend(self) -> None:
        """Stops accepting until `restore`. A port of its own refuses clients, and those who wait in its queue, but
        stays bound; a socket that is a file, or that others may have, too, lets them wait, as in HAProxy. Raises
        OSError."""
        if self.state in (SUSPENDED, CLOSED):
            return
        was = self.state
        self._move(SUSPENDED)
        if (
            was != BLOCKED and self.bind.address.kind == "tcp" and self.bind.address.port
        ):  # one that the kernel chose would be lost
            self.socket.shutdown(sockets.SHUT_RD)

    def restore(self) -> None:
        """Accepts again after `suspend`, or where another program had its port. Raises OSError, and is BLOCKED, if one
        has it."""
        if self.shut:
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
        if self._file is not None and isinstance(self.socket, UnixSocket) and not self.socket.borrowed:
            # Before the socket is closed: as long as it is open, no other file can get its inode number.
            remove(self.bind.address.path, self._file)
        self.socket.close()

    def own(self) -> None:
        """Notes that the process that has given the socket has left: `close` removes the file of a unix socket. Raises
        OSError, and is BLOCKED, if that process had closed the port, and another program has got it."""
        if isinstance(self.socket, UnixSocket):
            self.socket.borrowed = False
        if self.state not in (BOUND, SUSPENDED, BLOCKED, CLOSED) and not self._listens:
            self._listen_again()

    def leave(self) -> None:
        """Closes the socket, which another process listens on, and leaves its file."""
        if isinstance(self.socket, UnixSocket):
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
        # The process that has given one that is BOUND may have suspended it since.
        if state not in (SUSPENDED, CLOSED) and (self.shut or (self.state == BOUND and not self._listens)):
            self._listen_again()
        self._enter(state)

    def _enter(self, state: str) -> None:
        was, self.state = self.state, state
        if was == EXHAUSTED:
            self._deadlines.cancel(self)
            if self in self._poller.short:
                self._poller.short.remove(self)
        if state == LISTENING:
            self._poller.watch(self.socket.fileno(), READ, self.on_ready)
        elif was == LISTENING:
            self._poller.forget(self.socket.fileno())

    @property
    def _listens(self) -> bool:
        return bool(self.socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_ACCEPTCONN))

    def _listen_again(self) -> None:
        try:
            set_options(self.socket, self.bind)  # Linux forgets the `mss` of a socket that was shut down
            self.socket.listen(self.backlog or BACKLOG)
        except OSError:
            self._enter(BLOCKED)
            raise


def _unchangeable(bind: Bind, error: OSError) -> str:
    return f"cannot change {bind.address} as its line says: {error.strerror or error}"
