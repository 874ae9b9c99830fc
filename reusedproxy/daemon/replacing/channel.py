"""Sends and receives messages on a socket to another process of the program, without blocking.

A message is a line of JSON. If it has a member `bytes`, so many raw bytes follow the line. A descriptor may be sent
along (SCM_RIGHTS). Must never know what messages mean.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.net.poller import READ, WRITE, Poller

#: Seconds until another try where the kernel has a limit whose end it does not report, as on descriptors under way.
RETRY = 0.05
#: The most bytes of a line and of what is behind it; states of 100,000 servers are some 16 MB.
LONGEST = 64 << 20
READ_SIZE = 1 << 16

#: What is raised in reading a message that has another form than expected.
NOT_UNDERSTOOD = (ValueError, TypeError, LookupError, OverflowError, RecursionError, AttributeError)
#: Why it was lost, when the other side has closed it.
CLOSED = "it has closed the connection"
#: No room for these bytes, of which the poller tells the end; and other limits, of which nothing does.
_FULL, _SHORT = errno.EAGAIN, (errno.ENOBUFS, errno.ETOOMANYREFS)
_GONE = (errno.EPIPE, errno.ECONNRESET)


class Channel:
    """Carries messages both ways. `state` is "open" or "closed"."""

    def __init__(
        self,
        connected: socket.socket,
        poller: Poller,
        clock: IReactorTime,
        received: Callable[[Mapping[str, Any], bytes], None],
        lost: Callable[[str], None],
        empty: Callable[[], None] | None = None,
    ) -> None:
        """Calls `received(message, bytes)` for each message; `lost(why)` once, when the other side has closed it or it
        has failed, and not at `close`; and `empty()` each time that all that was to be sent is on its way."""
        self.state = "open"
        self._socket = connected
        self._poller = poller
        self._clock = clock
        self._received = received
        self._lost = lost
        self._empty = empty
        self._buffer = bytearray()
        #: How far no end of a line was found; the line whose bytes have not come as a whole, and how many these are.
        self._looked = 0
        self._head: tuple[Mapping[str, Any], int] | None = None
        #: What is still to be sent: bytes, and a descriptor that goes along with the first of them.
        self._left: deque[tuple[memoryview, int | None]] = deque()
        self._call: IDelayedCall | None = None
        self._sending = False
        self._gone = False
        connected.setblocking(False)
        poller.watch(connected.fileno(), READ, self._on_ready)
        self._events = READ

    @property
    def unsent(self) -> bool:
        """Tells whether something waits to be sent."""
        return bool(self._left)

    def send(self, said: object, content: bytes = b"", descriptor: int | None = None) -> None:
        """Sends a message, and with it a descriptor, which is closed when it has been sent."""
        if self._gone:
            if descriptor is not None:
                os.close(descriptor)
            return
        if content:
            assert isinstance(said, dict)
            said = {**said, "bytes": len(content)}
        self._left.append((memoryview(json.dumps(said).encode() + b"\n" + content), descriptor))
        if not self._sending:
            self._send()

    def close(self) -> None:
        """Closes the channel; what is unsent is dropped."""
        if self.state == "closed":
            return
        self.state = "closed"
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._poller.forget(self._socket.fileno())
        self._socket.close()
        self._hang_up()

    def fail(self, why: str) -> None:
        """Closes the channel, and calls `lost`."""
        if self.state == "open":
            self.close()
            self._lost(why)

    def _on_ready(self, events: int) -> None:
        if self._left and self._call is None:
            self._send()
        elif self._events != READ:
            self._watch(READ)
            if self._empty is not None:
                self._empty()
        if self.state == "open":
            self._receive()

    def _watch(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._poller.change(self._socket.fileno(), events)

    def _send(self) -> None:
        """Sends what there is room for."""
        self._call = None
        self._sending = True
        try:
            while self._left and self._send_one():
                pass
        finally:
            self._sending = False
        # Who has more to send is asked for it in a later turn of the event loop.
        more = self.state == "open" and self._call is None and (self._left or self._empty is not None)
        if self.state == "open":
            self._watch(READ | WRITE if more else READ)

    def _send_one(self) -> bool:
        data, descriptor = self._left[0]
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
        try:
            sent = self._socket.sendmsg([data[:READ_SIZE]], rights)
        except OSError as error:
            if error.errno in _SHORT:
                self._call = self._clock.callLater(RETRY, self._send)
            elif error.errno in _GONE:
                self._hang_up()
            elif error.errno != _FULL:
                self.fail(error.strerror or str(error))
            return False
        if descriptor is not None:
            os.close(descriptor)
        if sent == len(data):
            self._left.popleft()
        else:
            self._left[0] = data[sent:], None
        return True

    def _hang_up(self) -> None:
        """Stops sending, since the other side reads no more. What that has sent before is still to be read."""
        self._gone = True
        for _, descriptor in self._left:
            if descriptor is not None:
                os.close(descriptor)
        self._left.clear()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(CLOSED if error.errno in _GONE else error.strerror or str(error))
            return
        self._buffer += data
        while self.state == "open" and (message := self._message()) is not None:
            self._received(*message)
        if self.state == "open" and (not data or len(self._buffer) > LONGEST):
            self.fail(CLOSED if not data else "it said too much")

    def _message(self) -> tuple[Mapping[str, Any], bytes] | None:
        """Returns the next message that is complete, without members if it cannot be read; None if none is."""
        if self._head is None:
            end = self._buffer.find(b"\n", self._looked) + 1
            if not end:
                self._looked = len(self._buffer)
                return None
            self._head, self._looked = head_of(bytes(self._buffer[:end])), 0
            del self._buffer[:end]
        said, length = self._head
        if len(self._buffer) < length:
            return None
        self._head = None
        content = bytes(self._buffer[:length])
        del self._buffer[:length]
        return said, content


def head_of(line: bytes) -> tuple[Mapping[str, Any], int]:
    """Reads the line of a message: returns it, and how many bytes are behind it."""
    try:
        said = json.loads(line)
        length = int(said.get("bytes", 0))
    except NOT_UNDERSTOOD:
        return {}, 0
    return (said, length) if 0 <= length <= LONGEST else ({}, 0)
