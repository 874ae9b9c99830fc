"""Reads the PROXY protocol header of a client's connection, in which another proxy says who the client is.

A `Preface` waits for the header and takes exactly the header out of the kernel, because what follows may be a TLS
handshake. It tells its owner exactly once. It must never know what a frontend is.
"""

from __future__ import annotations

from math import inf
from socket import MSG_PEEK, socket
from typing import Any, Protocol

from twisted.logger import Logger

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.poller import READ, Poller
from reusedproxy.net.tls.handshake import HandshakeFailure
from reusedproxy.wire.proxy_protocol import V2_MAX, ProxyFault, ProxyHeader, read_proxy_header

# The states of a preface.
WAITING = "waiting"
DONE = "done"  # its owner has been told

# The reasons of a failure, in HAProxy's sentences.
EMPTY = "Connection closed while waiting for PROXY protocol header"
ABORTED = "Connection error while waiting for PROXY protocol header"
TIMED_OUT = "Timeout while waiting for PROXY protocol header"
TRUNCATED = "Truncated PROXY protocol header received"
INVALID = "Received something which does not look like a PROXY protocol header"


class PrefaceOwner(Protocol):
    """Receives the result of a preface: exactly one of the two methods is called, once."""

    def preface_read(self, preface: Preface, header: ProxyHeader) -> None:
        """Takes over `preface.socket`, of which everything up to the header's end has been read."""

    def preface_failed(self, preface: Preface, failure: HandshakeFailure) -> None:
        """Tells that there is no valid header. The socket is closed."""


class Preface:
    """Reads the header of one client; `state` is WAITING or DONE.

    `began` is the time when the connection was accepted.
    """

    __slots__ = (
        "_deadlines",
        "_fd",
        "_owner",
        "_poller",
        "_read",
        "address",
        "began",
        "deadline",
        "listener",
        "over_tls",
        "slot",
        "socket",
        "state",
    )

    _log = Logger()

    def __init__(
        self,
        poller: Poller,
        deadlines: Deadlines,
        accepted: socket,
        owner: PrefaceOwner,
        address: tuple[str, int],
        listener: Any,
    ) -> None:
        """Keeps `address` and `listener` for the owner: the client's address, and the listener that accepted it."""
        self.address = address
        self.listener = listener
        #: The owner counts it among the clients over TLS; it sets this.
        self.over_tls = False
        self.state = WAITING
        self.deadline = inf
        self.slot = 0.0
        self.began = deadlines.now()
        self.socket = accepted
        self._poller = poller
        self._deadlines = deadlines
        self._fd = accepted.fileno()
        self._owner = owner
        self._read = b""

    def start(self, timeout: float) -> None:
        """Waits for the header for at most `timeout` seconds since the connection was accepted.

        The owner is told later.
        """
        self._deadlines.watch(self, self.began + timeout)
        self._poller.watch(self._fd, READ, self.on_ready)

    def abort(self, reason: str) -> None:
        """Closes the connection now and tells the owner that it failed."""
        if self.state != DONE:
            self._fail(ABORTED, reason)

    def finish(self) -> None:
        """Closes the connection because the proxy stops: a client that has sent no header yet
        loses no request by it."""
        self.abort("proxy stopping")

    def deadline_passed(self) -> None:
        self._fail(TIMED_OUT, "its PROXY protocol header did not come in time")

    def on_ready(self, events: int) -> None:
        try:
            self._look()
        except Exception:
            self._log.failure("a connection from {address} ends by our own fault", address=self.address)
            if self.state != DONE:
                self._fail(ABORTED, "internal error")

    def _look(self) -> None:
        try:
            data = self.socket.recv(V2_MAX, MSG_PEEK)
            header = read_proxy_header(self._read + data)
            # An incomplete header is taken out of the kernel too: left there, it would keep the socket ready and spin
            # the loop.
            taken = self.socket.recv(len(data) if header is None else header.length - len(self._read))
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(ABORTED, f"{error.strerror or error}, before its PROXY protocol header")
            return
        except ProxyFault as fault:
            self._fail(INVALID, str(fault), "fault")
            return
        if header is not None:
            self._stop()
            self._owner.preface_read(self, header)
        elif not data and not self._read:
            self._fail(EMPTY, "closed without a word, where a PROXY protocol header was due")
        elif not data:
            self._fail(TRUNCATED, f"closed after {len(self._read)} bytes of its PROXY protocol header", "cut off")
        else:
            self._read += taken

    def _fail(self, kind: str, reason: str, trouble: str = "") -> None:
        self._stop()
        self.socket.close()
        self._owner.preface_failed(self, HandshakeFailure(kind, reason, trouble or reason))

    def _stop(self) -> None:
        self.state = DONE
        self._deadlines.cancel(self)
        self._poller.forget(self._fd)
