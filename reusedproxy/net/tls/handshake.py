"""Performs the TLS handshake with a client: it turns an accepted socket into a transport, or into a reason in words.

A `Handshake` peeks at the client's first message in the kernel's buffer, chooses the certificate, lets OpenSSL do the
rest, and tells its owner exactly once. Until that message is complete it costs no more than its socket, so that a flood
of half handshakes is cheap. The time for steps in one batch of events is bounded (`HandshakeQueue`): a step costs as
much as twenty requests, and clients that are served already must not wait for a crowd of new ones. It must never know
what a frontend is, or what the client will ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from socket import MSG_PEEK, SHUT_WR, socket
from typing import Any, Protocol

from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.logger import Logger

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.poller import FAILED, HUNG_UP, ON_CHANGE, READ, WRITE, Poller
from reusedproxy.net.tls.captured import captured
from reusedproxy.net.tls.hello import MOST, UNREAD, ClientHello, NotTLS, read_hello
from reusedproxy.net.tls.openssl import COMPLETE, WANTS_READ
from reusedproxy.net.tls.refusals import UNRECOGNIZED_NAME, explain
from reusedproxy.net.tls.server import Certificates, ServerContext, Shown
from reusedproxy.net.tls.server_transport import ServerTLSTransport
from reusedproxy.net.tls.transport import openssl_reason
from reusedproxy.net.tls.words import LONGEST_NAME

#: Seconds of a batch of events after which no further step of a handshake begins; there is always one. The first step
#: takes 0.7 ms with RSA-2048 (3 ms where the first message comes in records of one byte), 0.2 ms where a session is
#: resumed, and the last step 0.06 ms. A batch for each step costs 15 µs more.
STEPS_FOR = 0.0003

#: Seconds that a handshake may still take when the proxy stops or reloads.
FINISH_FOR = 1.0

# The states of a handshake.
WAITING = "waiting"  # for the client's first message to be complete
IN_LINE = "in line"  # for its turn: something has come that OpenSSL can work on, and other handshakes were there before
SHAKING = "shaking"  # OpenSSL waits for the client's next message
ENDING = "ending"  # it has failed, and the client must read the alert before the socket is closed
DONE = "done"  # its owner has been told

# The kinds of failure that HAProxy distinguishes.
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
class Verified:
    """Holds the X509_V_ERR numbers of the first faults that were found: `certificate` of the client's own, `authority`
    of one above it, whose place in the chain is `depth`; and of the one that ended the handshake (`last`). 0: none."""

    certificate: int = 0
    authority: int = 0
    depth: int = 0
    last: int = 0

    @classmethod
    def of(cls, shown: Shown) -> Verified:
        refused = shown.refused
        crt = shown.crt_fault or (refused if refused is not None and not refused.depth else None)
        ca, last = shown.ca_fault, 0 if refused is None else refused.error
        return cls(0 if crt is None else crt.error, 0 if ca is None else ca.error, 0 if ca is None else ca.depth, last)


@frozen
class HandshakeFailure:
    """Describes a failed handshake.

    `kind` is one of the sentences above, and `reason` says more. `trouble` is the same for all failures of the same
    cause. `verified` is what had been found of the client's certificate; None where it is no failure of TLS.
    """

    kind: str
    reason: str
    trouble: str
    verified: Verified | None = None


class HandshakeOwner(Protocol):
    """Receives the result of a handshake: exactly one of the two methods is called, once."""

    def handshake_done(self, handshake: Handshake, transport: ServerTLSTransport) -> None:
        """Takes over the transport, which has no `owner` yet and is not reading: sets it and starts reading."""

    def handshake_failed(self, handshake: Handshake, failure: HandshakeFailure) -> None:
        """Tells that the handshake has failed. The socket is closed."""


class HandshakeQueue:
    """Bounds the handshake steps of one batch of events; the other handshakes wait in the order in which they came.

    Each is told once that something has come (ON_CHANGE). Of those that wait only the first is told again, and its
    event brings the next batch. Left ready in the kernel, a crowd of them would stand in line before the events of all
    other connections (1200 first messages at once: another client's answers took 50 to 80 ms, its events were 40 ms
    apart).
    """

    def __init__(self, poller: Poller, now: Callable[[], float]) -> None:
        """`now` is a clock that goes on within a batch."""
        self.waiting: deque[Handshake] = deque()
        self.now = now
        self._poller = poller
        self._batch = -1
        #: The time from which on no step begins in this batch.
        self._until = 0.0
        #: The first of those that wait, whose event is on its way.
        self._told: Handshake | None = None

    def ask(self, handshake: Handshake) -> None:
        """Lets a handshake that is ready take its step: now, or when its turn has come."""
        if handshake.state != IN_LINE:
            handshake.state = IN_LINE
            self.waiting.append(handshake)
        first = self._batch != self._poller.batch
        if first:
            self._batch = self._poller.batch
            self._until = self.now() + STEPS_FOR
        while self.waiting and (first or self.now() < self._until):
            first = False
            self._told = None
            self.waiting.popleft().take_step()
        self._tell_first()

    def forget(self, handshake: Handshake) -> None:
        """Takes a handshake out of the line."""
        self.waiting.remove(handshake)
        self._tell_first()

    def _tell_first(self) -> None:
        if self.waiting and self.waiting[0] is not self._told:
            self._told = self.waiting[0]
            self._told.be_told_again()


class Handshake:
    """Performs one client's handshake; `state` is WAITING, IN_LINE, SHAKING, ENDING or DONE.

    `began` is the time when the connection was accepted.
    """

    __slots__ = (
        "_certificates",
        "_context",
        "_deadlines",
        "_events",
        "_failure",
        "_fd",
        "_first",
        "_least",
        "_owner",
        "_poller",
        "_shown",
        "_socket",
        "_stepped",
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
    over_tls = True

    def __init__(
        self,
        poller: Poller,
        deadlines: Deadlines,
        turns: HandshakeQueue,
        certificates: Certificates,
        accepted: socket,
        owner: HandshakeOwner,
        address: tuple[str, int],
        listener: Any,
    ) -> None:
        """Keeps `address` and `listener` for the owner: the client's address, and the listener that accepted it."""
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
        self._shown = Shown(UNREAD)
        self._context: ServerContext | None = None
        self._tls: SSL.Connection | None = None
        #: The client's first message, until OpenSSL has taken it; for the words about a refusal.
        self._first = b""
        self._events = 0
        #: The batch of events in which it has taken its last step.
        self._stepped = -1
        #: Number of bytes that must have come before the first message is parsed again.
        self._least = 1
        #: The event that OpenSSL waits for.
        self.wants = READ
        self._failure: HandshakeFailure | None = None

    def start(self, timeout: float) -> None:
        """Waits for the client, for at most `timeout` seconds since the connection was accepted.

        The owner is told later.
        """
        self._deadlines.watch(self, self.began + timeout)
        # The bytes stay in the kernel when they are peeked at, so only new bytes may cause an event. OpenSSL reads, or
        # writes, until the kernel refuses, so this does for its steps, too.
        self._watch(READ | ON_CHANGE)

    def abort(self, reason: str) -> None:
        """Closes the connection now and tells the owner that it failed."""
        if self.state != DONE:
            self._fail(ABORTED, reason)

    def finish(self) -> None:
        """Shortens the deadline to FINISH_FOR seconds, because the owner stops."""
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
            elif self.state != DONE and self._stepped != self._poller.batch:
                # Else its step, in the turn of another's event, has dealt with what this event tells of.
                self._turns.ask(self)
        except Exception:
            self._broken()

    # Called by `HandshakeQueue`.

    def take_step(self) -> None:
        """Takes one step of the handshake, with what the client has sent so far."""
        self.state = SHAKING
        self._stepped = self._poller.batch
        try:
            self._go_on()
        except Exception:
            self._broken()

    def be_told_again(self) -> None:
        """Has what is there already cause an event once more, in the next batch."""
        self._events = self.wants | ON_CHANGE
        self._poller.call_again(self._fd, self._events)

    # Its own affairs.

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._events = self._poller.turn(self._fd, self._events, events, self.on_ready)

    def _look(self, events: int) -> None:
        """Peeks at the client's first message and goes on if it is complete."""
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
            self._first = data
            if self._certificates.capture:
                self._shown.lists = captured(data, self._certificates.capture)
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
                pass  # the client is gone already, and needs no alert
            self._refuse(REFUSED, reason, "strict-sni")
            return
        self._turns.ask(self)

    def _go_on(self) -> None:
        context, shown = self._context, self._shown
        assert context is not None
        if self._tls is None:
            self._tls = context.connection(self._socket)
            if len(self._first) == MOST:
                self._first = b""
                context.tell_alerts(self._tls)
        try:
            waits_for = context.step(self._tls, shown)
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
            if self._first and shown.alert is None:
                context.refuse_again(self._first, shown)
            self._refuse(kind, explain(reason, shown, context), f"{reason} {shown.refused and shown.refused.error}")
        else:
            if waits_for != COMPLETE:
                self._first = b""  # a refusal will not be, or not only, that of the first message as it was peeked at
                self.wants = READ if waits_for == WANTS_READ else WRITE
                self._watch(self.wants | ON_CHANGE)
            elif self._certificates.by_name and self._is_under_wrong_terms(self._tls):
                # It may have been let in without the certificate that its name demands.
                name = self._tls.get_servername()
                text = f"the client names {name!r} where only OpenSSL reads it, and other terms hold for that name"
                self._refuse(REFUSED, text, "another name")
            else:
                self._succeed(self._tls)

    def _is_under_wrong_terms(self, tls: SSL.Connection) -> bool:
        """Tells whether OpenSSL, whose name rules are shown, has read one for which another context is chosen."""
        hello = self._shown.hello
        name = (tls.get_servername() or b"").decode("latin-1").lower() or None
        if name == hello.server_name:
            return False
        return self._certificates.choose(evolve(hello, server_name=name)) is not self._context

    def _succeed(self, tls: SSL.Connection) -> None:
        # The owner sets the transport's peer. No event can reach it before, because this is within one.
        nobody: Any = None
        context = self._context
        assert context is not None
        shown = self._shown
        transport = ServerTLSTransport(self._poller, self._socket, nobody, tls, shown, context.admission, context.token)
        transport.take_over_watch(self._events)
        self._stop()
        self._owner.handshake_done(self, transport)

    def _refuse(self, kind: str, reason: str, trouble: str) -> None:
        """Ends the handshake after an alert was sent, and reads on for a while.

        The client may be sending still, and a reset would keep it from reading the alert.
        """
        self._failure = HandshakeFailure(kind, reason, trouble, Verified.of(self._shown))
        self.state = ENDING
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            self._close()  # it is gone already
            return
        self._deadlines.watch(self, min(self.deadline, self._deadlines.now() + FINISH_FOR))
        self._watch(READ)
        self._drain()

    def _drain(self) -> None:
        """Reads until the client closes, or until the deadline."""
        try:
            data = self._socket.recv(MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()

    def _fail(self, kind: str, reason: str, trouble: str = "") -> None:
        self._failure = self._failure or HandshakeFailure(kind, reason, trouble or reason, Verified.of(self._shown))
        try:
            # With bytes unread, the kernel would send a reset at our close.
            self._socket.recv(MOST)
        except OSError:
            pass  # nothing is there
        self._close()

    def _close(self) -> None:
        assert self._failure is not None
        self._stop()
        if self._events:
            self._poller.forget_closing(self._fd)
        self._socket.close()
        self._owner.handshake_failed(self, self._failure)

    def _stop(self) -> None:
        was, self.state = self.state, DONE
        self._deadlines.cancel(self)
        if was == IN_LINE:
            self._turns.forget(self)

    def _broken(self) -> None:
        self._log.failure("a handshake with {address} ends by our own fault", address=self.address)
        if self.state != DONE:
            self._fail(ABORTED, "internal error")
