"""A client's handshake: from an accepted socket to a transport, or to a reason in words.

A `Handshake` looks at the client's first message where it lies in the kernel, chooses the certificate, lets OpenSSL do the
rest, and tells its owner exactly once. Until the message is whole it costs no more than its socket, so that a flood of
half handshakes is cheap; how many steps one batch of events may take is bounded (`Turns`), because one costs as much as
twenty requests, and those who are served already must not wait for a crowd of newcomers. It must never know what a
frontend is, or what the client will ask.
"""

from __future__ import annotations

from collections import deque
from math import inf
from socket import MSG_PEEK, SHUT_WR, socket
from typing import Any, Protocol

from attrs import frozen
from OpenSSL import SSL
from twisted.logger import Logger

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.poller import FAILED, HUNG_UP, ON_CHANGE, READ, WRITE, Poller
from reusedproxy.net.tls.hello import MOST, ClientHello, NotTLS, read_hello
from reusedproxy.net.tls.refusals import UNRECOGNIZED_NAME, explain
from reusedproxy.net.tls.server import Certificates, ServerContext, ServerTLSTransport, Shown
from reusedproxy.net.tls.transport import openssl_reason
from reusedproxy.net.tls.words import LONGEST_NAME

#: Steps of handshakes in one batch of events: with RSA-2048 one takes 0.7 ms, and 3 ms where its first message comes in records of a
#: byte.
STEPS_AT_ONCE = 1

#: Seconds that are left when the proxy stops or reloads.
FINISH_FOR = 1.0

# The states of a handshake.
WAITING = "waiting"  # for the whole of the client's first message
IN_LINE = "in line"  # something has come that OpenSSL can work on, and others were there before
SHAKING = "shaking"  # OpenSSL waits for the client
ENDING = "ending"  # it has failed, and the client must read why before the socket is closed
DONE = "done"  # its owner has been told, or has given it up

# Why it failed, as HAProxy tells the reasons apart.
EMPTY = "Connection closed during SSL handshake"
ABORTED = "Connection error during SSL handshake"
TIMED_OUT = "Timeout during SSL handshake"
CA_NOT_TRUSTED = "SSL client CA chain cannot be verified"
CRT_NOT_TRUSTED = "SSL client certificate not trusted"
REFUSED = "SSL handshake failure"


_LATE = {
    WAITING: "the client did not send its first message in time",
    SHAKING: "the client did not send its next message in time",
    IN_LINE: "so many handshakes are under way that its turn did not come in time",
}


@frozen
class HandshakeFailure:
    """`kind` is one of the sentences above; `reason` says more, `trouble` is the same for all that have it in common."""

    kind: str
    reason: str
    trouble: str


class HandshakeOwner(Protocol):
    """Who is told: exactly one of the two is called, once."""

    def handshake_done(self, handshake: Handshake, transport: ServerTLSTransport) -> None:
        """The transport has no peer yet and is not reading: set `peer` and start it."""

    def handshake_failed(self, handshake: Handshake, failure: HandshakeFailure) -> None:
        """The socket is closed."""


class Turns:
    """Who may take a step in the present batch of events: so many, the others in the order of their coming.

    Those that wait are not watched, but for the first, whose event brings the next batch: left ready in the kernel, a crowd
    of them would stand in line before everybody's events (1200 first messages at once: another client's answers took 50 to
    80 ms, its events 40 ms apart).
    """

    def __init__(self, poller: Poller) -> None:
        self.waiting: deque[Handshake] = deque()
        self._poller = poller
        self._batch = -1
        self._left = 0

    def ask(self, handshake: Handshake) -> None:
        """It can take a step: it does so now, or when its turn has come."""
        if handshake.state != IN_LINE:
            handshake.state = IN_LINE
            self.waiting.append(handshake)
        if self._batch != self._poller.batch:
            self._batch = self._poller.batch
            self._left = STEPS_AT_ONCE
        while self.waiting and self._left:
            self._left -= 1
            self.waiting.popleft().take_step()
        self._watch_first()
        if handshake.state == IN_LINE and handshake is not self.waiting[0]:
            handshake.watch(0)

    def forget(self, handshake: Handshake) -> None:
        """It stands in line no longer."""
        self.waiting.remove(handshake)
        self._watch_first()

    def _watch_first(self) -> None:
        if self.waiting:
            self.waiting[0].watch(self.waiting[0].wants)


class Handshake:
    """One client's; `state` is WAITING, IN_LINE, SHAKING, ENDING or DONE. `began` is when it was accepted."""

    __slots__ = (
        "_certificates",
        "_context",
        "_deadlines",
        "_events",
        "_failure",
        "_fd",
        "_least",
        "_owner",
        "_poller",
        "_shown",
        "_socket",
        "_tls",
        "_turns",
        "address",
        "began",
        "deadline",
        "listener",
        "slot",
        "state",
        "wants",
    )

    _log = Logger()

    def __init__(
        self,
        poller: Poller,
        deadlines: Deadlines,
        turns: Turns,
        certificates: Certificates,
        accepted: socket,
        owner: HandshakeOwner,
        address: tuple[str, int],
        listener: Any,
    ) -> None:
        """`address` and `listener` are its owner's: where the client comes from, and what it came to."""
        self.address = address
        self.listener = listener
        self.state = WAITING
        self.deadline = inf
        self.slot = 0.0
        self.began = deadlines.now()
        self._poller = poller
        self._deadlines = deadlines
        self._turns = turns
        self._certificates = certificates
        self._socket = accepted
        self._fd = accepted.fileno()
        self._owner = owner
        self._shown = Shown(ClientHello())
        self._context: ServerContext | None = None
        self._tls: SSL.Connection | None = None
        self._events = 0
        #: Bytes that must have come before it is worth a look.
        self._least = 1
        #: What OpenSSL waits for.
        self.wants = READ
        self._failure: HandshakeFailure | None = None

    def start(self, timeout: float) -> None:
        """Wait for the client, for at most this many seconds all in all. The owner hears of it later."""
        self._deadlines.watch(self, self.began + timeout)
        # What was looked at stays in the kernel, and must not be told of again before more has come.
        self.watch(READ | ON_CHANGE)

    def abort(self, reason: str) -> None:
        """Close now; its owner is told that it failed."""
        if self.state != DONE:
            self._fail(ABORTED, reason)

    def finish(self) -> None:
        """Its owner stops: there is a moment left."""
        self._deadlines.watch(self, min(self.deadline, self._deadlines.now() + FINISH_FOR))

    def deadline_passed(self) -> None:
        if self.state == ENDING:
            self._close()
        else:
            self._fail(TIMED_OUT, _LATE[self.state])

    def on_ready(self, events: int) -> None:
        try:
            if self.state == WAITING:
                self._look(events)
            elif self.state == ENDING:
                self._drain()
            elif self.state != DONE:
                self._turns.ask(self)
        except Exception:
            self._broken()

    # What its turn calls.

    def take_step(self) -> None:
        """Go on with it, as far as the client has come."""
        self.state = SHAKING
        try:
            self._go_on()
        except Exception:
            self._broken()

    def watch(self, events: int) -> None:
        """Wait for `events`; for none at all with 0."""
        if events != self._events:
            self._events = self._poller.turn(self._fd, self._events, events, self.on_ready)

    # Its own affairs.

    def _look(self, events: int) -> None:
        """Whether the client's first message is there."""
        try:
            data = self._socket.recv(MOST, MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(ABORTED, f"{error.strerror or error}, before the client's first message", "before")
            return
        if len(data) < self._least and not events & (HUNG_UP | FAILED) and data:
            return
        try:
            hello = read_hello(data)
        except NotTLS as error:
            self._fail(REFUSED, str(error), error.kind)
            return
        if not isinstance(hello, int):
            self._choose(hello)
        elif not data:
            self._fail(EMPTY, "the client closed without a word")
        elif events & (HUNG_UP | FAILED):
            self._fail(EMPTY, f"the client closed after {len(data)} bytes of its first message", "cut off")
        else:
            self._least = len(data) + hello

    def _choose(self, hello: ClientHello) -> None:
        self._shown.hello = hello
        self._context = self._certificates.choose(hello)
        if self._context is None:
            asked = f"asks for {hello.server_name[:LONGEST_NAME]!r}" if hello.server_name else "sends no name (SNI)"
            reason = f"the client {asked}, for which no 'crt' is (strict-sni); alert unrecognized name sent"
            try:
                self._socket.send(UNRECOGNIZED_NAME)
            except OSError:
                pass  # it is gone already, and needs no alert
            self._refuse(REFUSED, reason, "strict-sni")
            return
        self._turns.ask(self)

    def _go_on(self) -> None:
        context, shown = self._context, self._shown
        assert context is not None
        if self._tls is None:
            self._tls = context.connection(self._socket)
        try:
            context.step(self._tls, shown)
        except SSL.WantReadError:
            self.wants = READ
            self.watch(READ)
        except SSL.WantWriteError:
            self.wants = WRITE
            self.watch(WRITE)
        except SSL.ZeroReturnError:
            self._fail(EMPTY, "closed by the client in the middle of the handshake", "in the middle")
        except SSL.SysCallError as error:
            kind = EMPTY if error.args[0] == -1 else ABORTED
            self._fail(kind, f"{openssl_reason(error)} in the middle of the handshake", "in the middle")
        except SSL.Error as error:
            kind = REFUSED
            if shown.refused is not None:
                kind = CA_NOT_TRUSTED if shown.refused.depth else CRT_NOT_TRUSTED
            reason = openssl_reason(error)
            self._refuse(kind, explain(reason, shown, context), f"{reason} {shown.refused and shown.refused.error}")
        else:
            self._succeed(self._tls)

    def _succeed(self, tls: SSL.Connection) -> None:
        # Whoever is told gives the transport its peer; until then nothing can happen to it, as it watches nothing.
        nobody: Any = None
        transport = ServerTLSTransport(self._poller, self._socket, nobody, tls, self._shown)
        self._stop()
        self._owner.handshake_done(self, transport)

    def _refuse(self, kind: str, reason: str, trouble: str) -> None:
        """The client has been sent an alert. It may be sending still, and a reset would keep it from reading that."""
        self._failure = HandshakeFailure(kind, reason, trouble)
        self.state = ENDING
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            self._close()  # it is gone already
            return
        self._deadlines.watch(self, min(self.deadline, self._deadlines.now() + FINISH_FOR))
        self.watch(READ)
        self._drain()

    def _drain(self) -> None:
        """Read to the client's end, at most so much as it may have on its way."""
        try:
            data = self._socket.recv(MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()

    def _fail(self, kind: str, reason: str, trouble: str = "") -> None:
        self._failure = self._failure or HandshakeFailure(kind, reason, trouble or reason)
        try:
            # With bytes unread the kernel would send a reset for our close.
            self._socket.recv(MOST)
        except OSError:
            pass  # nothing is there
        self._close()

    def _close(self) -> None:
        assert self._failure is not None
        self._stop()
        self._socket.close()
        self._owner.handshake_failed(self, self._failure)

    def _stop(self) -> None:
        was, self.state = self.state, DONE
        self._deadlines.cancel(self)
        if was == IN_LINE:
            self._turns.forget(self)
        self.watch(0)

    def _broken(self) -> None:
        self._log.failure("a handshake with {address} ends by our own fault", address=self.address)
        if self.state != DONE:
            self._fail(ABORTED, "internal error")
