"""One epoll instance of our own, standing as a single descriptor inside the reactor's.

Everything that carries traffic (listeners, dials, transports) is watched here. The reactor sees one readable descriptor;
when it is, one call takes all that happened and hands each event to its callback. Twisted's own dispatch passes a
logging context and two method lookups through every event, and stays in charge of everything that is not traffic
(timers, signals, manhole, checks of files). It knows descriptors and callbacks, and must never know what they carry.

Measured, 150 events a batch, one core: 2.6 µs an event through EPollReactor._doReadOrWrite, 0.35 µs here.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from os import eventfd
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from time import monotonic
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

#: The peer has ended its side: what it has sent before is there to be read, and nothing will follow.
HUNG_UP = EPOLLRDHUP
READ = EPOLLIN | HUNG_UP
WRITE = EPOLLOUT
#: Told of once for each piece that comes, and not for as long as it is not read: for whoever only looks at what is there.
ON_CHANGE = EPOLLET
#: These come unasked.
FAILED = EPOLLERR | EPOLLHUP

#: Events taken in one go; the rest stays ready in the kernel, so that timers and signals get their turn in between.
BATCH = 256
#: Seconds of a batch for work in bulk: long reads, and what is left of them when a turn was enough. Whoever comes too late lines
#: up and waits for the next batch, so that a request in between waits for so long and one piece of work, at each of its two or
#: three steps (measured with 40 slow readers of large answers: the largest batches were 21 ms without, 1.9 ms with it).
SLICE = 0.001
#: Steps of handshakes with servers in one batch: one costs 1 to 2 ms, as much as all the work in bulk, and after a reload the floors
#: of all servers are filled.
COSTLY_AT_ONCE = 1

Callback = Callable[[int], None]


class Sender(Protocol):
    """Who has something to send at the end of a batch."""

    def send_now(self) -> None: ...


class Taker(Protocol):
    """Who has something left to do in the next batch, without an event of its own."""

    def take_turn(self) -> None: ...


class Short(Protocol):
    """Who cannot go on for want of a descriptor."""

    def descriptor_may_be_free(self) -> None: ...


@implementer(IReadDescriptor)
class Poller:
    """Watches descriptors, level-triggered, for callbacks that take the events seen: bits of READ, WRITE and FAILED.

    An event is a hint: within one batch a callback may close a descriptor whose number another connection then gets,
    so a callback must bear being called when nothing happened. A callback must not raise; one that does is forgotten,
    with the failure logged, and the others go on.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorFDSet, now: Callable[[], float] = monotonic) -> None:
        self._reactor = reactor
        self._now = now
        self._epoll = epoll()
        self._callbacks: dict[int, Callback] = {}
        #: Who waits for a turn; while there is anybody, a descriptor that is always ready brings the next batch.
        self._turns: deque[Taker] = deque()
        self._bell = -1
        #: When this batch does no more work in bulk; 0: it has not done any yet.
        self._bulk_until = 0.0
        #: How many batches there were: what is ready has been looked at so often.
        self.batch = 0
        #: Steps of handshakes that may still be taken in this batch, see `take_costly`.
        self._costly_left = COSTLY_AT_ONCE
        #: While a batch is handed out: who has something to send at its end; None: send at once. Sending in a row wakes
        #: the receiving process once instead of for every message, and joins what one transport sends in pieces
        #: (measured, 32 keep-alive clients: 45.9 µs of CPU a request sending at once, 38.8 µs in a row).
        self.senders: list[Sender] | None = None
        #: Who waits for a descriptor: at the end of each batch, which may have closed some, one of them looks.
        self.short: deque[Short] = deque()

    def start(self) -> None:
        self._reactor.addReader(self)

    def stop(self) -> None:
        self._reactor.removeReader(self)
        self._epoll.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1
        self._turns.clear()
        self._callbacks.clear()

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` is ready for one of `events`."""
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Watch a descriptor that is watched already for other events."""
        self._epoll.modify(fd, events)

    def turn(self, fd: int, was: int, events: int, callback: Callback) -> int:
        """Watch for `events` from now on where `was` were watched, 0 being nothing; the events, to be `was` the next time."""
        if not was:
            self.watch(fd, events, callback)
        elif events:
            self.change(fd, events)
        else:
            self.forget(fd)
        return events

    def line_up(self, taker: Taker) -> None:
        """Call `taker.take_turn` in the next batch, once."""
        self._turns.append(taker)
        if self._bell < 0:
            self._bell = eventfd(1)
            self._epoll.register(self._bell, 0)
        if len(self._turns) == 1:
            self._callbacks[self._bell] = self._take_turns
            self._epoll.modify(self._bell, EPOLLIN)

    def take_bulk(self) -> bool:
        """Whether a long piece of work may be done in this batch; else whoever asks has to line up, behind those who wait already."""
        if self._turns:
            return False
        if not self._bulk_until:
            self._bulk_until = self._now() + SLICE
            return True
        return self._now() < self._bulk_until

    def _take_turns(self, _: int) -> None:
        turns = self._turns
        self._bulk_until = until = self._bulk_until or self._now() + SLICE
        for _ in range(len(turns)):  # whoever lines up anew waits for the next batch
            taker = turns.popleft()
            try:
                taker.take_turn()
            except Exception:
                self._log.failure("a turn failed")
            if self._now() >= until:
                break
        if not turns:
            del self._callbacks[self._bell]
            self._epoll.modify(self._bell, 0)

    def forget(self, fd: int) -> None:
        """Stop watching `fd`. Call it before the descriptor is closed."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def forget_closing(self, fd: int) -> None:
        """Stop watching `fd`, which the caller closes in the next moment: the kernel then forgets it by itself."""
        del self._callbacks[fd]

    def take_costly(self) -> bool:
        """Whether one more step of a handshake may be taken in this batch; else it is ready in the next one, too."""
        self._costly_left -= 1
        if not self._bulk_until:
            self._bulk_until = self._now() + SLICE  # it is spent on this
        return self._costly_left >= 0

    def watching(self) -> int:
        """How many descriptors are watched."""
        return len(self._callbacks) - (self._bell in self._callbacks)

    def doRead(self) -> None:
        callbacks = self._callbacks
        self.batch += 1
        self._costly_left = COSTLY_AT_ONCE
        self._bulk_until = 0.0
        senders: list[Sender] = []
        self.senders = senders
        for fd, events in self._epoll.poll(0, BATCH):
            callback = callbacks.get(fd)
            if callback is None:
                continue
            try:
                callback(events)
            except Exception:
                self._log.failure("a callback of descriptor {fd} failed", fd=fd)
                if callbacks.get(fd) is callback:
                    self.forget(fd)
        self.senders = None
        for sender in senders:
            try:
                sender.send_now()
            except Exception:
                # What escapes from here reaches the reactor, which would give up the one descriptor of all traffic.
                self._log.failure("sending at the end of a batch failed")
        if self.short:
            self.short.rotate(-1)
            self.short[-1].descriptor_may_be_free()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "reusedproxy"

    def connectionLost(self, reason: object) -> None:
        """The reactor gives up its descriptors at the end of its run; there is nothing left to do then."""
