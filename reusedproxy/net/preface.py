"""The PROXY protocol header that a client's connection begins with: who the client is, said by another proxy before it.

A `Preface` waits for the header, takes it out of the kernel and not one byte more, for what follows may be a TLS handshake,
and tells its owner exactly once. It must never know what a frontend is.
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

# Why there is none, in HAProxy's sentences.
EMPTY = "Connection closed while waiting for PROXY protocol header"
ABORTED = "Connection error while waiting for PROXY protocol header"
TIMED_OUT = "Timeout while waiting for PROXY protocol header"
TRUNCATED = "Truncated PROXY protocol header received"
INVALID = "Received something which does not look like a PROXY protocol header"


class PrefaceOwner(Protocol):
    """Who is told: exactly one of the two is called, once."""

    def preface_read(self, preface: Preface, header: ProxyHeader) -> None:
        """`preface.socket` stands just behind the header."""

    def preface_failed(self, preface: Preface, failure: HandshakeFailure) -> None:
        """The socket is closed."""


class Preface:
    """One client's; `state` is WAITING or DONE. `began` is when it was accepted."""

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
        """`address` and `listener` are its owner's: where the connection comes from, and what it came to."""
        self.address = address
        self.listener = listener
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
        """Wait for the header, for at most this many seconds. The owner hears of it later."""
        self._deadlines.watch(self, self.began + timeout)
        self._poller.watch(self._fd, READ, self.on_ready)

    def abort(self, reason: str) -> None:
        """Close now; its owner is told that it failed."""
        if self.state != DONE:
            self._fail(ABORTED, reason)

    def finish(self) -> None:
        """Its owner stops: who has not even said who it is has nothing to lose."""
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
            # All of what has come belongs to a header that is not complete: left there it would make us look for ever.
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
