"""Carries DNS messages to one name server and back, over UDP or TCP, on the reactor.

A channel has a socket only while somebody waits for an answer: so each round of questions comes from a new port, which
whoever would forge an answer has to guess, as well as its number. It must never know what is in a message.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET, AF_INET6, SOCK_DGRAM, socket
from typing import Any
from typing import Protocol as Definition

from attrs import frozen
from twisted.internet.interfaces import IAddress, IDelayedCall, IReadDescriptor
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.protocols.basic import Int16StringReceiver
from zope.interface import implementer

#: Seconds that a connection to a name server stays open after the last answer.
_IDLE = 5.0
#: Answers that are read in one turn of the loop.
_AT_ONCE = 10
#: Largest message over UDP.
_LARGEST = 65535


@frozen
class Place:
    """Names where a name server is: a literal address and a port. `name` is its name in the configuration."""

    name: str
    host: str
    port: int
    stream: bool = False


class Channel(Definition):
    """Defines what the other modules need of a channel."""

    def send(self, message: bytes) -> None:
        """Sends a message, or loses it."""

    def rest(self) -> None:
        """Notes that nobody waits for an answer any more."""

    def close(self) -> None:
        """Ends at once; leaves no timer."""


#: Opens a channel, whose answers go to the given function.
Opener = Callable[[Place, Callable[[bytes], None]], Channel]


class Datagrams:
    """Asks over UDP. Its socket is connected, so that only the name server's own messages come in."""

    def __init__(self, reactor: Any, place: Place, answered: Callable[[bytes], None]) -> None:
        self.answered = answered
        self._reactor = reactor
        self._place = place
        self._socket: _Socket | None = None

    def send(self, message: bytes) -> None:
        try:
            if self._socket is None:
                self._socket = _Socket(self._reactor, self._place, self)
            self._socket.send(message)
        except OSError:
            self.rest()  # no descriptor, no route: as good as no answer

    def rest(self) -> None:
        self.close()

    def close(self) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            made.close()


@implementer(IReadDescriptor)
class _Socket:
    """Reads one UDP socket. `listenUDP` would do, but writes two lines into the log for each."""

    def __init__(self, reactor: Any, place: Place, channel: Datagrams) -> None:
        """Raises OSError."""
        self._reactor = reactor
        self._channel = channel
        self._socket = socket(AF_INET6 if ":" in place.host else AF_INET, SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect((place.host, place.port))
        except BaseException:
            self._socket.close()
            raise
        self._fd = self._socket.fileno()
        self._open = True
        reactor.addReader(self)

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._reactor.removeReader(self)
            self._socket.close()

    # What the reactor asks. It compares the descriptor after each call, so that stays what it was.

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._open:
                return
            try:
                data = self._socket.recv(_LARGEST)
            except OSError:
                return  # that was all; or nobody listens there, which the time-out tells
            self._channel.answered(data)

    def connectionLost(self, reason: object) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "name server"


class Stream(ClientFactory):
    """Asks over TCP, on one connection for all questions (RFC 7766)."""

    noisy = False

    def __init__(self, reactor: Any, place: Place, answered: Callable[[bytes], None], timeout: float) -> None:
        self._reactor = reactor
        self._place = place
        self.answered = answered
        self._timeout = timeout
        self._connector: Any = None
        self._connection: Any = None
        self._waiting: list[bytes] = []
        self._idle: IDelayedCall | None = None

    def send(self, message: bytes) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._connection is not None:
            self._connection.sendString(message)
            return
        self._waiting.append(message)
        if self._connector is None:
            self._connector = self._reactor.connectTCP(self._place.host, self._place.port, self, self._timeout)

    def rest(self) -> None:
        self._waiting.clear()
        if self._connector is not None and self._idle is None:
            self._idle = self._reactor.callLater(_IDLE, self._leave)

    def close(self) -> None:
        self._waiting.clear()
        if self._idle is not None:
            self._idle.cancel()
        self._leave()

    def _leave(self) -> None:
        self._idle = None
        connector, self._connector, self._connection = self._connector, None, None
        if connector is not None:
            connector.disconnect()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        made = _Connection()
        made.factory = self
        return made

    def connected(self, connection: Any) -> None:
        self._connection = connection
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            connection.sendString(message)

    def clientConnectionFailed(self, connector: object, reason: object) -> None:
        self._lost(connector)

    def clientConnectionLost(self, connector: object, reason: object) -> None:
        self._lost(connector)

    def _lost(self, connector: object) -> None:
        if connector is not self._connector:
            return  # it has left already, and another one may be there
        self._connector = self._connection = None
        self._waiting.clear()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class _Connection(Int16StringReceiver):
    factory: Stream

    def connectionMade(self) -> None:
        self.factory.connected(self)

    def stringReceived(self, string: bytes) -> None:
        self.factory.answered(string)


def opener(reactor: Any, timeout: float) -> Opener:
    """Returns the function that opens channels on the reactor. `timeout` in seconds bounds a connection's beginning."""

    def open_channel(place: Place, answered: Callable[[bytes], None]) -> Channel:
        if place.stream:
            return Stream(reactor, place, answered, timeout)
        return Datagrams(reactor, place, answered)

    return open_channel
