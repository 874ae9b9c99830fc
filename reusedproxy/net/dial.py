"""Opens one connection to a server: TCP, then TLS, then the check of the certificate's name.

Only a connection that has passed all of these becomes a transport.

A `Dialer` knows where one server is and how to speak TLS to it. A `Dial` is one attempt, with one deadline over all of
its steps. It tells its owner exactly once: either a transport that is ready for use, or a failure in words. It must
never know why the connection is wanted, nor whether another attempt will follow.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from math import inf
from socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    socket,
)
from typing import Any, Protocol

from attrs import frozen
from OpenSSL import SSL
from twisted.logger import Logger

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.descriptors import EXHAUSTED
from reusedproxy.net.outgoing import USUAL, AddressMissing, Outgoing
from reusedproxy.net.poller import READ, WRITE, Poller
from reusedproxy.net.reach import Reach
from reusedproxy.net.tls.bounded import Bounded, Endless, OnSocket, bounded
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.openssl import COMPLETE, WANTS_READ, error_of
from reusedproxy.net.tls.words import MISNAMED, MISTRUSTED, UNSEEN
from reusedproxy.net.transport import BROKEN, Transport

# The states of a dial.
CONNECTING = "connecting"  # TCP
HANDSHAKING = "handshaking"  # TLS
DONE = "done"  # its owner has been told, or has cancelled it

#: The phases of a dial: before any handshake, and in it.
TCP_CONNECT = "TCP connect"
TLS_HANDSHAKE = "TLS handshake"

#: Python's address for `socket.connect`: (host, port) and more for IPv6, or a path.
SocketAddress = Any


@frozen
class Target:
    """Holds the place to connect to: a socket family and a literal address, resolved beforehand."""

    family: int
    address: SocketAddress

    @property
    def host(self) -> str:
        """Returns the literal address without a port and a zone; of a unix socket, its path."""
        return str(self.address) if self.family == AF_UNIX else str(self.address[0]).partition("%")[0]

    def __str__(self) -> str:
        if self.family == AF_UNIX:
            if isinstance(self.address, bytes):
                return f"abns@{self.address.strip(bytes(1)).decode(errors='replace')}"
            return f"unix@{self.address}"
        host, port = self.address[:2]
        return f"[{host}]:{port}" if self.family == AF_INET6 else f"{host}:{port}"


@frozen
class DialFailure:
    """Describes why an attempt to connect failed.

    `phase` is TCP_CONNECT or "TLS handshake". `timed_out` says that the deadline passed in that phase. `ours` says that
    this process had no resources left, descriptors for instance, so that the failure says nothing about the server.
    `certificate` says what was found of the server's certificate before, as `net.tls.words` has it; of a server that
    need not prove anything nothing is found. `openssl` are number and text of OpenSSL's error in the handshake; None:
    there was none, or it is not known. `final` says that the request must not be sent to any other server either.
    """

    phase: str
    reason: str
    timed_out: bool = False
    ours: bool = False
    certificate: str = UNSEEN
    final: bool = False
    openssl: tuple[int, bytes] | None = None

    @property
    def unverified(self) -> bool:
        """Tells whether the server's certificate was not accepted."""
        return self.certificate in (MISNAMED, MISTRUSTED)

    def __str__(self) -> str:
        return f"{self.phase} timed out" if self.timed_out else f"{self.phase} failed: {self.reason}"


class DialOwner(Protocol):
    """Receives the result of a dial. Exactly one of the two methods is called, unless the dial was cancelled."""

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        """Takes over the transport, which has no `owner` yet and is not reading: sets it and starts reading."""

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None: ...


class Dialer:
    """Knows how to reach one server.

    `timeout` in seconds bounds TCP and TLS together; with None only the kernel's own limit applies. `last` is the first
    descriptor number that a dial may not use: one that gets it, or a higher one, fails as if there were no descriptor
    left.
    """

    def __init__(
        self,
        poller: Poller,
        deadlines: Deadlines,
        target: Target,
        context: ClientContext | None,
        timeout: float | None,
        last: float = inf,
        preface: Callable[[socket], bytes] | None = None,
        brief: bool = False,
        reach: Reach | None = None,
        options: Outgoing = USUAL,
    ) -> None:
        """Keeps the settings of all dials to this server. `brief`: their connections carry one question each, so they
        are spared what is for a longer life (`Dial.keep`): two of the ten system calls of a check of TCP. `options` are
        those of all their sockets.

        `preface` returns the bytes that are sent first, unencrypted, on the connected socket that it is given. They
        must be few, because they are sent in one call. `reach` says which addresses may be dialled; None: any.
        """
        self.reach = reach
        self.options = options
        self.preface = preface
        self.poller = poller
        self.deadlines = deadlines
        self.target = target
        self.context = context
        self.timeout = timeout
        self.last = last
        self.brief = brief

    def elsewhere(self, target: Target, context: ClientContext | None) -> Dialer:
        """Returns the dialer that does the same with another address."""
        return Dialer(
            *(self.poller, self.deadlines, target, context, self.timeout, self.last, self.preface, self.brief),
            reach=self.reach,
            options=self.options,
        )

    def saying(self, preface: bytes) -> Dialer:
        """Returns the dialer that does the same, and sends these bytes first."""
        return Dialer(
            *(self.poller, self.deadlines, self.target, self.context, self.timeout, self.last),
            preface=lambda connected: preface,
            reach=self.reach,
            options=self.options,
        )

    def dial(self, owner: DialOwner) -> Dial:
        """Begins to connect. The owner is told later, never within this call."""
        return Dial(self, owner)


class Dial:
    """Makes one attempt to connect; `state` is CONNECTING, HANDSHAKING or DONE.

    `took` is the duration of the whole attempt in seconds, and `tcp_took` that until TCP was connected (0: it never
    was).
    """

    __slots__ = (
        "_certificate",
        "_dialer",
        "_error",
        "_fd",
        "_openssl",
        "_ours",
        "_owner",
        "_steps",
        "_tls",
        "_watched",
        "born",
        "deadline",
        "slot",
        "socket",
        "state",
        "tcp_took",
        "took",
    )

    _log = Logger()

    def __init__(self, dialer: Dialer, owner: DialOwner) -> None:
        self._dialer = dialer
        self._owner = owner
        self._tls: SSL.Connection | None = None
        self._steps: Bounded | OnSocket | None = None
        self._watched = 0
        self.slot = 0.0
        self.deadline = inf
        self._error = ""
        self._ours = False
        self._certificate = UNSEEN
        self._openssl: tuple[int, bytes] | None = None
        self.took = self.tcp_took = 0.0
        self.born = dialer.deadlines.now()
        self.state = CONNECTING
        self.socket: socket | None = None
        try:
            self._connect(dialer.target)
        except OSError as error:
            # The owner is never called within `dial`: a deadline that has passed already tells it in the next turn.
            self._error = error.strerror or str(error)
            self._ours = error.errno in EXHAUSTED and not isinstance(error, AddressMissing)
            dialer.deadlines.watch(self, self.born)
            return
        dialer.deadlines.watch(self, inf if dialer.timeout is None else self.born + dialer.timeout)
        self._watch(WRITE)

    def _connect(self, target: Target) -> None:
        reach = self._dialer.reach
        if reach is not None and (barred := reach.why_not(target.host)):
            raise OSError(errno.EACCES, barred)
        self.socket = socket(target.family, SOCK_STREAM | SOCK_NONBLOCK)
        self._fd = self.socket.fileno()
        if self._fd >= self._dialer.last:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if self._dialer.options is not USUAL:
            self._dialer.options.begin(self.socket)
        if not self._dialer.brief:
            self.keep()
        error = self.socket.connect_ex(target.address)
        if error not in (0, errno.EINPROGRESS):
            raise OSError(error, os.strerror(error))

    def keep(self) -> None:
        """Prepares the connection for a longer life: small messages go at once, and TCP looks whether the server is
        still there. Raises OSError."""
        assert self.socket is not None
        if self._dialer.target.family in (AF_INET, AF_INET6):
            self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            self.socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            self._dialer.options.keep(self.socket)

    def cancel(self) -> None:
        """Ends the attempt. Its owner is told nothing."""
        if self.state != DONE:
            self._stop()
            self._close()

    def deadline_passed(self) -> None:
        if self._error:
            self._fail(self._error)
        else:
            self._fail("", timed_out=True)

    def on_ready(self, events: int) -> None:
        assert self.socket is not None
        if self.state == CONNECTING:
            # The state is asked by connecting again, not by SO_ERROR. The event may have been meant for another
            # connection, whose descriptor this one got within the same batch, and SO_ERROR reads 0 both for a connect
            # that is under way and for one that has succeeded.
            error = self.socket.connect_ex(self._dialer.target.address)
            if error == errno.EALREADY:
                return
            if error not in (0, errno.EISCONN):
                self._fail(os.strerror(error))
                return
            self.tcp_took = self._dialer.deadlines.now() - self.born
            if not self._introduce():
                return
            if self._dialer.context is None:
                self._succeed()
                return
            self.state = HANDSHAKING
        if self.state == HANDSHAKING:
            if not self._dialer.poller.take_costly():
                # The socket stays ready, so the next batch calls again.
                return
            try:
                fault = self._handshake()
            except Exception:
                self._log.failure("a handshake with {target} ends by our own fault", target=self._dialer.target)
                fault = BROKEN
            if fault is None:
                self._succeed()
            elif fault:
                self._fail(fault)

    def _introduce(self) -> bool:
        """Sends the preface, if there is one. Returns whether the dial goes on; if not, it has failed."""
        assert self.socket is not None
        if self._dialer.preface is None:
            return True
        try:
            data = self._dialer.preface(self.socket)
            sent = self.socket.send(data)
        except OSError as error:
            self._fail(error.strerror or str(error))
            return False
        if sent < len(data):  # the socket's buffer is still empty, so this is not expected for some two hundred bytes
            self._fail("no room for the PROXY protocol header")
            return False
        return True

    def _handshake(self) -> str | None:
        """Takes one step of the TLS handshake.

        Returns None when it is complete and verified, "" when it needs more time, and otherwise the fault in words.
        """
        context = self._dialer.context
        assert context is not None and self.socket is not None
        if self._tls is None or self._steps is None:
            self._tls = context.connection(self.socket)
            self._steps = bounded(self._tls, self.socket)
        try:
            waits_for = self._steps.step()
        except Endless as error:
            return str(error)
        except SSL.Error as error:
            self._certificate = context.judgement(self._tls)
            self._openssl = error_of(error)
            return context.explain(self._tls, error)
        if waits_for != COMPLETE:
            self._watch(READ if waits_for == WANTS_READ else WRITE)
            return ""
        fault = context.verify(self._tls)
        if fault is not None:
            self._certificate = MISNAMED if context.judgement(self._tls) == MISNAMED else MISTRUSTED
        return fault

    def _succeed(self) -> None:
        dialer, tls = self._dialer, self._tls
        assert self.socket is not None
        self._stop()
        self.took = dialer.deadlines.now() - self.born
        # The owner sets the transport's peer. Until then no event can reach it, because it watches none.
        nobody: Any = None
        if tls is None:
            transport = Transport(dialer.poller, self.socket, nobody)
        else:
            assert dialer.context is not None
            transport = ClientTLSTransport(dialer.poller, self.socket, nobody, tls, dialer.context)
        self._owner.dial_ready(self, transport)

    def _fail(self, reason: str, timed_out: bool = False) -> None:
        phase = TCP_CONNECT if self.state == CONNECTING else TLS_HANDSHAKE
        self._stop()
        self._close()
        failure = DialFailure(phase, reason, timed_out, self._ours, self._certificate, openssl=self._openssl)
        self._owner.dial_failed(self, failure)

    def _stop(self) -> None:
        self.state = DONE
        self._dialer.deadlines.cancel(self)
        if self._watched:
            self._watched = 0
            self._dialer.poller.forget(self._fd)

    def _close(self) -> None:
        if self.socket is not None:
            self.socket.close()

    def _watch(self, events: int) -> None:
        if events != self._watched:
            self._watched = self._dialer.poller.turn(self._fd, self._watched, events, self.on_ready)
