"""Watches all descriptors that carry traffic with one epoll instance, which is a single descriptor for the reactor.

Listeners, dials and transports are watched here. The reactor sees one readable descriptor; when it is readable, one
call takes all events and hands each to its callback. Twisted's own dispatch passes a logging context and two method
lookups through every event; it stays in charge of everything that is not traffic (timers, signals, manhole, checks of
files). It knows descriptors and callbacks, and must never know what they carry.

Measured, 150 events a batch, one core: 2.6 µs an event through EPollReactor._doReadOrWrite, 0.35 µs here.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from os import eventfd
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll, poll
from time import monotonic
from typing import ClassVar, Final, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from zope.interface import classImplements

#: The peer has ended its side: bytes sent before can still be read, and nothing will follow.
HUNG_UP: Final = EPOLLRDHUP
DATA: Final = EPOLLIN
READ: Final = DATA | HUNG_UP
WRITE: Final = EPOLLOUT
#: Edge-triggered: one event for each arrival of data, not repeated while the data is unread. It is for callbacks that
#: only peek.
ON_CHANGE: Final = EPOLLET
#: The kernel reports these whether asked for or not.
FAILED: Final = EPOLLERR | EPOLLHUP

#: Events taken in one batch; the rest stays ready in the kernel, so that timers and signals get their turn in between.
BATCH: Final = 256
#: Seconds in which a batch may be followed by another without a turn of the reactor's loop, which costs 10 to 15 µs,
#: where more is likely to be ready already: after so many events, or where one was called for (`call_again`). With 32
#: clients a request costs 46.5 µs of CPU with this and 48.2 without, one that closes 76.3 and 78.4.
AGAIN_FOR: Final = 0.001
AGAIN_AFTER: Final = 8
#: Seconds of a batch for bulk work: long reads, and what a read left to a later turn. Callers that come later line up
#: for the next batch. So a request in between waits for this time and one piece of work at most, at each of its two or
#: three steps (measured with 40 slow readers of large answers: the largest batches were 21 ms without, 1.9 ms with it).
SLICE: Final = 0.001
#: Steps of TLS handshakes with servers in one batch. One costs 1 to 2 ms, as much as all bulk work of a batch, and
#: after a reload the pools of all servers are filled to their floors.
COSTLY_AT_ONCE: Final = 1

Callback = Callable[[int], None]


class Sender:
    """Sends what was written during a batch, at its end. It is a base class, so that the call needs no look-up when
    compiled."""

    __slots__ = ()

    def send_now(self) -> None:
        """Sends now."""
        raise NotImplementedError


class Taker(Protocol):
    """Does work that is left over, in a later batch and without an event of its own."""

    def take_turn(self) -> None: ...


class Short(Protocol):
    """Waits for a free file descriptor."""

    def descriptor_may_be_free(self) -> None: ...


class Poller:
    """Watches descriptors, level-triggered, and calls back with the events seen: bits of READ, WRITE and FAILED.

    An event is a hint. Within one batch a callback may close a descriptor whose number another connection then gets, so
    a callback must cope with being called when nothing happened. A callback must not raise: if it does, the failure is
    logged, its descriptor is watched no longer, and the others go on.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(self, reactor: IReactorFDSet, now: Callable[[], float] = monotonic) -> None:
        self._reactor = reactor
        self._now = now
        self._epoll = epoll()
        #: Looks at one descriptor at a time.
        self._look = poll()
        self._callbacks: dict[int, Callback] = {}
        #: Takers that wait for a turn. While there are any, a descriptor that is always ready brings the next batch.
        self._turns: deque[Taker] = deque()
        self._bell = -1
        #: The time until which this batch does bulk work; 0: it has not done any yet.
        self._bulk_until = 0.0
        #: The number of batches so far. A caller compares it to know whether ready descriptors have been looked at
        #: since.
        self.batch = 0
        #: The same since `begin_count`, and how many of them had something to do.
        self.loops = self.busy_loops = 0
        #: For how long batches may follow one another, see `AGAIN_FOR`; and whether another has been called for.
        self.again_for = AGAIN_FOR
        self._called = False
        #: Steps of handshakes that may still be taken in this batch, see `take_costly`.
        self._costly_left = COSTLY_AT_ONCE
        #: Senders with something to send at the end of the batch that is being handed out; None: send at once. Sending
        #: all in a row wakes the receiving process once instead of for every message, and joins what one transport
        #: sends in pieces (measured, 32 keep-alive clients: 45.9 µs of CPU a request sending at once, 38.8 µs in a
        #: row).
        self.senders: list[Sender] | None = None
        #: Those that send when all others have: clients and servers need not wait for lines of a log.
        self.late: list[Sender] = []
        #: Those that wait for a descriptor. At the end of each batch, which may have closed some, one of them looks
        #: again.
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
        """Calls `callback` whenever `fd` is ready for one of `events`."""
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def change(self, fd: int, events: int) -> None:
        """Changes the events for which a watched descriptor is watched."""
        self._epoll.modify(fd, events)

    def call_again(self, fd: int, events: int) -> None:
        """Changes the events for which a watched descriptor is watched, and has the next batch come at once: it is
        ready for them already."""
        self._called = True
        self._epoll.modify(fd, events)

    def turn(self, fd: int, was: int, events: int, callback: Callback) -> int:
        """Watches `fd` for `events` from now on, where `was` was watched until now; 0 stands for nothing.

        Returns `events`, which the caller passes as `was` the next time.
        """
        if not was:
            self.watch(fd, events, callback)
        elif events:
            self.change(fd, events)
        else:
            self.forget(fd)
        return events

    def line_up(self, taker: Taker) -> None:
        """Calls `taker.take_turn` once, in the next batch, or in a later one if others wait."""
        self._turns.append(taker)
        if self._bell < 0:
            self._bell = eventfd(1)
            self._epoll.register(self._bell, 0)
        if len(self._turns) == 1:
            self._callbacks[self._bell] = self._take_turns
            self._epoll.modify(self._bell, EPOLLIN)

    def take_bulk(self) -> bool:
        """Tells whether a long piece of work may be done in this batch.

        If not, the caller has to line up behind those who wait already.
        """
        if self._turns:
            return False
        if not self._bulk_until:
            self._bulk_until = self._now() + SLICE
            return True
        return self._now() < self._bulk_until

    def _take_turns(self, _: int) -> None:
        turns = self._turns
        self._bulk_until = until = self._bulk_until or self._now() + SLICE
        for _ in range(len(turns)):  # a taker that lines up anew waits for the next batch
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

    def hand_over(self, fd: int, callback: Callback) -> None:
        """Calls `callback`, in place of another one, when a watched descriptor is ready."""
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Stops watching `fd`. Call it before the descriptor is closed."""
        del self._callbacks[fd]
        self._epoll.unregister(fd)

    def forget_closing(self, fd: int) -> None:
        """Stops watching `fd`, which the caller closes immediately: the kernel then removes it from epoll by itself."""
        del self._callbacks[fd]

    def is_ready(self, fd: int) -> bool:
        """Tells whether something can be read of `fd` at this moment, the peer's end or a failure included.

        Nearly always there is nothing, which a read would report by an exception (1.1 µs, this 0.6).
        """
        self._look.register(fd, READ)
        ready = self._look.poll(0)
        self._look.unregister(fd)
        return bool(ready)

    def take_costly(self) -> bool:
        """Tells whether one more step of a handshake may be taken in this batch.

        If not, the socket is still ready in the next one.
        """
        self._costly_left -= 1
        if not self._bulk_until:
            self._bulk_until = self._now() + SLICE  # the step uses up the time for bulk work
        return self._costly_left >= 0

    def begin_count(self) -> None:
        """Counts batches anew."""
        self.loops = self.busy_loops = 0

    def watching(self) -> int:
        """Returns the number of watched descriptors."""
        return len(self._callbacks) - (self._bell in self._callbacks)

    def waiting(self) -> int:
        """Returns the number of those that wait for a turn."""
        return len(self._turns)

    def doRead(self) -> None:
        until = self._now() + self.again_for
        while self._hand_out() >= AGAIN_AFTER or self._called:
            if self._now() >= until:
                return

    def _hand_out(self) -> int:
        """Hands out the events of one batch, and returns how many there were."""
        callbacks = self._callbacks
        self._called = False
        self.batch += 1
        self.loops += 1
        self._costly_left = COSTLY_AT_ONCE
        self._bulk_until = 0.0
        senders: list[Sender] = []
        self.senders = senders
        ready = self._epoll.poll(0, BATCH)
        if ready:
            self.busy_loops += 1
        for fd, events in ready:
            try:
                callback = callbacks[fd]
            except KeyError:
                continue  # it was closed in this batch
            try:
                callback(events)
            except Exception:
                self._log.failure("a callback of descriptor {fd} failed", fd=fd)
                if callbacks.get(fd) is callback:
                    self.forget(fd)
        self.senders = None
        if self.late:
            senders += self.late
            self.late.clear()
        for sender in senders:
            try:
                sender.send_now()
            except Exception:
                # An exception that reached the reactor would make it drop the one descriptor of all traffic.
                self._log.failure("sending at the end of a batch failed")
        if self.short:
            self.short.rotate(-1)
            self.short[-1].descriptor_may_be_free()
        return len(ready)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        return "reusedproxy"

    def connectionLost(self, reason: object) -> None:
        """Does nothing: the reactor drops its descriptors at the end of its run, and nothing is left to do then."""


# In place of the decorator, for which mypyc would leave the class interpreted.
classImplements(Poller, IReadDescriptor)
