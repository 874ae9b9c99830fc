"""Implements a connected stream socket: bytes in, bytes out, and one notice of its end.

A transport writes at the end of each batch of events and buffers only what the kernel did not take. It tells its owner
when that is too much and when it is gone again, so that the producer can be stopped. It knows a socket and a poller,
and its `owner`, the object that it tells what happened; the peer is the other end of the connection. It must never know
what the bytes mean. `net.tls.transport` adds encryption by replacing the methods that carry bytes (`_send`, `_read`,
`_goodbye`), and those whose answer it changes.

Twisted's `transport.write` leaves even the first try to the reactor's next turn, at the price of two `epoll_ctl` calls
and one more turn (measured for one request and its answer in an early sketch: 41 µs of CPU; trying at once, 29 µs).
"""

from __future__ import annotations

from collections.abc import Callable
from fcntl import ioctl
from socket import (
    AF_INET6,
    IP_TTL,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_UNICAST_HOPS,
    MSG_MORE,
    SHUT_WR,
    SO_LINGER,
    SOL_SOCKET,
    TCP_QUICKACK,
    socket,
)
from struct import pack
from sys import byteorder
from termios import FIONREAD
from typing import ClassVar, Final, Protocol

from twisted.logger import Logger

from reusedproxy.net.poller import DATA, FAILED, HUNG_UP, READ, WRITE, Poller, Sender, Taker

#: Bytes asked for in one read: few as long as little comes (the buffer costs its size), many once a read came back
#: full. Data that the other side cannot send on stays in memory for as long as its reader likes: 400 clients that asked
#: for 20 MB and read nothing cost 259 KB each with 256 KiB, 131 with 128 KiB, 101 with 32 KiB. Smaller pieces cost CPU:
#: an upload of 2 MB to a TLS server 4.8 ms, 4.8 and 5.3 ms.
READ_SIZE: Final = 16 * 1024
BULK_READ_SIZE: Final = 128 * 1024
#: Unsent bytes above which the producer is asked to pause, and at or below which it may go on. The kernel's own buffer
#: is full by then, so little is needed here.
HIGH_WATER: Final = 16 * 1024
LOW_WATER: Final = 4 * 1024

#: Unsent bytes that are sent at once even within a batch, while they are still in the processor's cache.
BULK: Final = 32 * 1024

#: linux/tcp.h: a socket that is being repaired is closed without a word.
_TCP_REPAIR: Final = 19

# The states of a transport.
OPEN: Final = 0  # both directions in use
#: Its owner writes no more; our end is shut as soon as all is sent, and incoming data is still delivered.
HALF: Final = 1
CLOSING: Final = 2  # its owner writes no more; unsent bytes are still going out
#: Once all is sent and our end is shut, it reads to the peer's end, so that a reset does not destroy our last bytes.
DRAINING: Final = 3
CLOSED: Final = 4

# The reasons why a connection ended, as given to `connection_lost`; an owner gives its own with `close` and `abort`.
PEER_CLOSED: Final = "closed by peer"
PEER_RESET: Final = "reset by peer"
PEER_TRUNCATED: Final = "closed by peer without close_notify"
BROKEN: Final = "internal error"


class TransportOwner(Protocol):
    """Receives the events of a transport.

    `connection_lost` is called exactly once and last, also after `close`. The transport holds no reference to its
    owner after that.
    """

    __slots__ = ()

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> None:
        """Tells that the other side will send nothing more. The transport stops reading, but can still write."""

    def pause_writing(self) -> None:
        """Asks to pause: more than HIGH_WATER bytes wait to be sent."""

    def resume_writing(self) -> None:
        """Allows to go on: at most LOW_WATER bytes wait to be sent; none after `tell_when_sent`."""

    def connection_lost(self, reason: str) -> None: ...


class Pace(Protocol):
    """Says how fast a transport may send (`net.pacing`)."""

    moved_at: float

    def take(self, wanted: int) -> int:
        """Returns how many of so many bytes may be sent now. If that is not all, it calls `send_on` when others may."""

    def rest(self) -> None:
        """Notes that the kernel takes no more, whatever may be sent; `take` is called when it does again."""

    def leave(self) -> None:
        """Ends it: nothing more is sent at this pace."""


class Transport(Sender):
    """Owns one connected, non-blocking socket without TLS; no other code closes the socket.

    `state` is OPEN, HALF, CLOSING, DRAINING or CLOSED (see above). It is changed by `end_writing`, `close` and `abort`,
    and by the end of the socket. Methods may call back into the owner before they return, so call them last.
    """

    #: For mypyc: what `del` is for.
    __deletable__ = ("owner",)
    __slots__ = (
        "_allowed",
        "_blocked",
        "_crossed",
        "_events",
        "_fd",
        "_held",
        "_hidden",
        "_on_end",
        "_pace_ends",
        "_paused",
        "_peer_has_ended",
        "_queued",
        "_read_size",
        "_reason",
        "_resume_at",
        "_unsent",
        "drained",
        "hung_up",
        "lined_up",
        "lost",
        "owner",
        "pace",
        "poller",
        "reading",
        "socket",
        "state",
        "unsent",
        "waits_for_pace",
    )

    _log: ClassVar[Logger] = Logger()

    #: Whether the connection is encrypted; True in the TLS transport.
    secure = False
    #: The most bytes that may have been read from the socket and not delivered while reading is paused.
    holds = 0

    def __init__(self, poller: Poller, connected: socket, owner: TransportOwner) -> None:
        self.socket = connected
        self.owner = owner
        self.state = OPEN
        self._fd = connected.fileno()
        #: Its `batch` is the number of the present batch of events.
        self.poller = poller
        self._events = 0
        #: Directions that TLS has crossed. READ: reading waits until the socket takes bytes. WRITE: writing waits until
        #: some come.
        self._crossed = 0
        #: `_held`: bytes that the owner gave back, delivered before anything else is read. `lined_up`: the transport
        #: waits for its turn, before which nothing is read.
        self._held = b""
        self.lined_up = False
        #: The peer is to hear of no end.
        self._hidden = False
        self.reading = False
        #: While reading is paused: the function to call when the peer has ended its side.
        self._on_end: Callable[[int], None] | None = None
        self._read_size = READ_SIZE
        self._unsent: list[bytes | memoryview] = []
        #: The number of bytes that the kernel has not taken yet. Others only read it.
        self.unsent = 0
        #: Unsent bytes wait: for the end of the batch (`_queued`), for the kernel to take them (`_blocked`).
        self._queued = False
        self._blocked = False
        self._paused = False
        #: Unsent bytes at or below which a paused producer may go on.
        self._resume_at = LOW_WATER
        self._peer_has_ended = False
        #: Whether the kernel has seen the peer's end, though what came before it may not have been read yet.
        self.hung_up = False
        #: Bytes that were written but never taken by the kernel, because a write failed or the end came first.
        self.lost = 0
        #: Bytes that were read and discarded after the owner had closed.
        self.drained = 0
        #: What says how much may be sent, and when; None: nothing does. It is not asked about `_allowed` bytes;
        #: `_pace_ends`: those that are unsent are the last that it is asked about.
        self.pace: Pace | None = None
        self._allowed = 0
        self._pace_ends = False
        #: Unsent bytes wait for nothing but that.
        self.waits_for_pace = False
        #: The reason of the end: the owner's from `close`, or that of the first failed write.
        self._reason = ""

    @property
    def version(self) -> str:
        """Returns the version of TLS, for example "TLSv1.3"; "" without TLS."""
        return ""

    @property
    def resumed(self) -> bool:
        """Tells whether the TLS handshake resumed an earlier session."""
        return False

    # What its owner calls.

    def resume_reading(self) -> None:
        """Starts to deliver incoming data, or goes on with it. A new transport does not read."""
        if self.state <= HALF and not self.reading and (self._held or not self._peer_has_ended):
            self.reading = True
            self._on_end = None
            if self._held:
                self._line_up()
            if self._events or self._blocked or self._crossed or self.lined_up:
                self._watch()
            else:
                self.poller.watch(self._fd, READ, self.on_ready)
                self._events = READ

    def take_over_watch(self, events: int) -> None:
        """Takes over the socket as the poller watches it already, for these events of somebody else's. The owner calls
        it first, if at all."""
        self._events = events
        self.poller.hand_over(self._fd, self.on_ready)

    def pause_reading(self, on_end: Callable[[int], None] | None = None) -> None:
        """Leaves incoming data to the kernel, whose buffer fills up and stops the peer's sender.

        The peer's end goes unnoticed meanwhile, unless `on_end` is given. Then a reset ends the connection at once, and
        when the peer has ended its side `on_end` is called, once, with an upper bound of the bytes that can still be
        read: no fewer than are unread.
        """
        if self.reading:
            self.reading = False
            self._on_end = on_end
            self._watch()

    def give_back(self, data: bytes) -> None:
        """Takes back the last bytes that were delivered, and delivers them again in a later turn.

        It is for an owner that has done enough for one turn. Nothing is read before that, so the amount is bounded by
        the size of a read. The peer's end is told after these bytes, again if it was told already.
        """
        self._held = data + self._held
        if self._peer_has_ended and self.state <= HALF:
            self.reading = True
        if self.reading:
            self._line_up()
            self._watch()

    def line_up(self, owner: Taker) -> None:
        """Calls the owner's `take_turn` in the next batch, or a later one if others wait.

        It is for an owner that has work left and nothing to read.
        """
        self.poller.line_up(owner)

    def write(self, data: bytes) -> None:
        """Sends `data`, at the latest at the end of the poller's batch, or as soon as the kernel takes it.

        Once the transport has begun to close, data is silently dropped.
        """
        if self.state != OPEN:
            return
        if self._unsent:
            self._unsent.append(data)
            self.unsent += len(data)
        else:
            self._unsent = [data]
            self.unsent = len(data)
        if self._queued:
            return
        if self._blocked:
            self._check_high_water()
            return
        senders = self.poller.senders
        if senders is None or self.unsent >= BULK:
            self._flush()
        else:
            self._queued = True
            senders.append(self)

    def tell_when_sent(self) -> None:
        """Calls `resume_writing` when the kernel has taken all unsent bytes.

        It is for a transport of whose bytes the kernel has just refused some (see `send_now`).
        """
        self._paused = True
        self._resume_at = 0

    def set_pace(self, pace: Pace, free: int) -> None:
        """Has `pace` say how much of what is written from now on may be sent, and when, but for the first `free` bytes
        of that."""
        if self.state == CLOSED:
            pace.leave()
            return
        before, self.pace = self.pace, pace
        self._pace_ends = False
        self._allowed = free + (self.unsent if before is None else self._allowed)
        if before is not None:
            before.leave()

    def end_pace(self) -> None:
        """Ends the pace once what has been written by now is sent."""
        if self.unsent:
            self._pace_ends = True
        else:
            self._drop_pace()

    def send_on(self) -> None:
        """Sends on, because the pace allows it."""
        if not self.waits_for_pace:
            return
        try:
            self._flush()
        except Exception:
            self._broken()

    def end_writing(self) -> None:
        """Sends what is unsent, then shuts our end only: a half-close. What the peer sends is still delivered."""
        if self.state != OPEN:
            return
        self.state = HALF
        if not self._unsent:
            self._all_sent()

    def close(self, reason: str, *, drain: bool = False) -> None:
        """Sends what is unsent, then closes. With `drain`, shuts our end and reads to the peer's end before closing.

        Draining is for an answer given before the request was read to its end: closing with bytes unread makes the
        kernel send a reset, which may overtake the answer (RFC 9112 section 9.6). The owner bounds the wait by `abort`.
        """
        if self.state > HALF:
            return
        if self._hidden:
            self.abort(reason)  # our end is not shut either, which the peer would hear
            return
        shut = self.state == HALF and not self._unsent
        self._reason = reason
        self._held = b""
        self.state = DRAINING if drain else CLOSING
        if shut and (not drain or self._peer_has_ended):
            self._end(reason)
        elif shut:
            self.reading = True
            self._watch()
        elif not self._unsent:
            self._all_sent()
        elif self._blocked:
            # The peer may read nothing before it has sent all of its own data, so that is read meanwhile.
            self.reading = drain and not self._peer_has_ended
            self._watch()

    def hide(self) -> None:
        """Makes the connection one of whose end the peer hears nothing, but what was written before. That may find the
        peer gone."""
        if self._queued:
            self.send_now()
        hide(self.socket)
        self._hidden = True

    def abort(self, reason: str) -> None:
        """Closes at once; unsent bytes are lost and the peer sees a reset."""
        if self.state == CLOSED:
            return
        reset_at_close(self.socket)
        self._end(reason)

    def silent(self) -> bool:
        """Tells whether nothing is unread at this moment, neither data nor the peer's end.

        Unread data may be lost by the call.
        """
        return not self._held and not self.poller.is_ready(self._fd)

    @property
    def full(self) -> bool:
        """Tells whether the owner was asked to pause writing and not yet to go on."""
        return self._paused

    # What the poller calls.

    # The next two methods begin with what is done for nearly every request, in one call. What is rarer follows.

    def send_now(self) -> None:
        """Sends at the end of the batch what was written during it."""
        self._queued = False
        unsent = self._unsent
        if not unsent:
            return
        try:
            data = unsent[0]
            if len(data) == self.unsent and not self._blocked and self.pace is None:
                try:
                    # The last bytes wait for our end, which `_all_sent` sends with them: one packet, not two (of a
                    # client that closes: 74 µs of CPU, not 80).
                    sent = self.socket.send(data) if self.state == OPEN else self.socket.send(data, MSG_MORE)
                except BlockingIOError:
                    self._wait_to_send()
                    return
                except OSError:
                    self._send_failed()
                    return
                if sent == self.unsent:
                    self._unsent = []
                    self.unsent = 0
                    if self.state != OPEN:
                        self._all_sent(True)
                else:
                    self.unsent -= sent
                    unsent[0] = data[sent:]
                    self._wait_to_send()
            else:
                self._flush()
        except Exception:
            self._broken()

    def on_ready(self, events: int) -> None:
        # It waits for data alone, so it reads, nothing is blocked, and it is not in line.
        alone = self._events == READ and not self._crossed
        if alone and events == DATA and self._read_size == READ_SIZE and self.state <= HALF:
            try:
                try:
                    data = self.socket.recv(READ_SIZE)
                except OSError as error:
                    self._read_failed(error)
                    return
                if 0 < len(data) < READ_SIZE:
                    self.owner.data_received(data)
                else:
                    self._came(data)
            except Exception:
                self._broken()
            return
        self._on_events(events)

    def _on_events(self, events: int) -> None:
        """Handles any events, where more than reading may be due."""
        if events & HUNG_UP:
            self.hung_up = True
        try:
            # Reading comes before writing, so that data sent before the peer closed is delivered before a write fails.
            # The transport's own flags decide, not the events: a callback of another connection in this batch may have
            # paused this one since.
            if self._crossed:
                self._uncross()
                return
            if events & ~WRITE and self.reading and not self.lined_up:
                if self._read_size == READ_SIZE or self.poller.take_bulk():
                    self._read()
                else:
                    # The last read came back full: other connections have their turn first.
                    self._line_up()
                    self._watch()
            if events & WRITE and self._blocked:
                self._flush()
            if self._on_end is not None and events & (HUNG_UP | FAILED) and not self.reading:
                self._end_noticed(events)
        except Exception:
            self._broken()

    def take_turn(self) -> None:
        """Delivers what the owner gave back, or reads: the other connections have had their turn."""
        self.lined_up = False
        if not self.reading:
            return
        try:
            if not self._held:
                self._read()
            else:
                data, self._held = self._held, b""
                self.owner.data_received(data)
                if self._peer_has_ended and self.reading and not self._held:
                    self.reading = False
                    self.owner.eof_received()
            if self.state != CLOSED:
                self._watch()
        except Exception:
            self._broken()

    # What TLS replaces.

    def _send(self, data: bytes | memoryview) -> int:
        """Hands bytes to the kernel and returns how many it took.

        Raises BlockingIOError (none), OSError (connection lost).
        """
        return self.socket.send(data)

    def _read(self) -> None:
        """Reads what has come, at most one buffer, and delivers it."""
        try:
            data = self.socket.recv(self._read_size)
        except OSError as error:
            self._read_failed(error)
        else:
            self._came(data)

    def _read_failed(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            self._lose(PEER_RESET)

    def _came(self, data: bytes) -> None:
        """Delivers what was read, or takes note of the peer's end."""
        if not data:
            self._peer_ended(PEER_CLOSED)
            return
        self._read_size = READ_SIZE if len(data) < READ_SIZE else BULK_READ_SIZE
        if self.state <= HALF:
            self.owner.data_received(data)
        else:
            self.drained += len(data)

    def _goodbye(self) -> None:
        """Announces the end of sending to the peer; without TLS there is nothing to say."""

    # Its own affairs.

    def _cross(self, direction: int) -> None:
        """Notes that reading (READ) or writing (WRITE) can go on only when the socket is ready for the other direction.

        Watched for its own direction, which stays ready, the socket would cause event after event and take a whole
        core.
        """
        self._crossed |= direction
        self._watch()

    def _uncross(self) -> None:
        """Tries both directions again, since the socket has become ready.

        A direction that still waits for the other crosses anew.
        """
        self._crossed = 0
        if self._blocked:
            self._flush()
        if self.reading and not self._held:
            self._read()
        if self.state != CLOSED:
            self._watch()

    def _end_noticed(self, events: int) -> None:
        """Handles the peer's end while reading is paused. The event stays ready, so it is handled once."""
        on_end, self._on_end = self._on_end, None
        self._watch()
        if on_end is None or self.state != OPEN:
            return
        if events & FAILED:
            self._lose(PEER_RESET)
            return
        on_end(int.from_bytes(ioctl(self._fd, FIONREAD, bytes(4)), byteorder) + self.holds)

    def _line_up(self) -> None:
        if not self.lined_up:
            self.lined_up = True
            self.poller.line_up(self)

    def _peer_ended(self, reason: str) -> None:
        if self.state <= HALF and not self._reason:
            self._peer_has_ended = True
            self.pause_reading()
            self.owner.eof_received()
        elif self._unsent:
            # The peer may have ended its side only, and wait for the bytes that are still unsent.
            self.state = CLOSING
            self.reading = False
            self._watch()
        else:
            self._end(self._reason)

    def _broken(self) -> None:
        self._log.failure("a connection ends by our own fault")
        self.abort(BROKEN)

    def _flush(self) -> None:
        """Hands the kernel as much as it takes, and waits until it takes the rest."""
        unsent = self._unsent
        was_blocked, self._blocked = self._blocked, False
        self.waits_for_pace = False
        while unsent:
            if len(unsent) > 1 and self.unsent <= HIGH_WATER:
                unsent[:] = [b"".join(unsent)]
            data = unsent[0]
            part = data if self.pace is None else self._allowed_of(data, self.pace)
            try:
                sent = self._send(part)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._send_failed()
                return
            self.unsent -= sent
            if self.pace is not None:
                self._allowed -= sent
            if sent < len(data):
                rest = memoryview(data)[sent:]
                # A memoryview keeps the whole object that it was cut from in memory, for as long as the reader sleeps.
                unsent[0] = bytes(rest) if 2 * len(rest) <= memoryview(rest.obj).nbytes else rest
                self._blocked = True
                self.waits_for_pace = sent == len(part)
                if self.pace is not None and not self.waits_for_pace:
                    self.pace.rest()
                break
            del unsent[0]
        if self._pace_ends and not unsent:
            self._drop_pace()
        if self.state != OPEN and not unsent:
            self._all_sent()
        elif self._blocked or was_blocked:
            self._watch()
            self._check_high_water()

    def _allowed_of(self, data: bytes | memoryview, pace: Pace) -> bytes | memoryview:
        """Returns the first part of this, as much as may be sent now. What the kernel does not take of it is not asked
        for again: OpenSSL must be given at least as much the next time."""
        missing = len(data) - self._allowed
        if missing > 0:
            self._allowed += pace.take(missing)
        return data if self._allowed >= len(data) else memoryview(data)[: self._allowed]

    def _drop_pace(self) -> None:
        pace, self.pace = self.pace, None
        self._pace_ends = False
        if pace is not None:
            pace.leave()

    def _wait_to_send(self) -> None:
        """Waits until the kernel takes the rest of what is unsent."""
        self._blocked = True
        self._watch()
        self._check_high_water()

    def _send_failed(self) -> None:
        """Handles a failed write, after which nothing can be sent any more.

        Data that the peer sent before may still wait to be read, and often tells why it closed. An early answer to a
        long request ends so (RFC 9112 section 9.5), as does a TLS alert: they are delivered first.
        """
        if self.state > HALF or not self.reading:
            self._lose(PEER_RESET)
            return
        self._reason = PEER_RESET
        self._forget_unsent()
        self._watch()

    def _forget_unsent(self) -> None:
        self._unsent.clear()
        self.lost += self.unsent
        self.unsent = 0

    def _check_high_water(self) -> None:
        """Tells the producer to pause or to go on, if it has to."""
        if self._paused:
            if self.unsent <= self._resume_at:
                self._paused = False
                self._resume_at = LOW_WATER
                if self.state == OPEN:
                    self.owner.resume_writing()
        elif self.unsent > HIGH_WATER and self.state == OPEN:
            self._paused = True
            self.owner.pause_writing()

    def _all_sent(self, waiting: bool = False) -> None:
        """Ends our side, of which all was given to the kernel. `waiting` tells that the last bytes wait for the end:
        they must go before the socket is closed, since a close drops them where bytes of the peer's are unread."""
        if self.secure:
            self._goodbye()
        if self.state == CLOSING and not waiting:
            self._end(self._reason)
            return
        try:
            self.socket.shutdown(SHUT_WR)
        except OSError:
            self._lose(PEER_RESET)
            return
        if self.state == CLOSING:
            self._end(self._reason)
            return
        if self.state == DRAINING:
            self.reading = True
        self._watch()

    def _watch(self) -> None:
        """Tells the poller which events to wait for, if they have changed.

        Where it waits for none, not even a reset is noticed.
        """
        listening = self.reading and not self.lined_up
        writing_next = self._blocked and not self.waits_for_pace
        events = (READ if listening else 0) | (WRITE if writing_next else 0)
        if self._on_end is not None and self.state == OPEN:
            events |= HUNG_UP
        if self._crossed:
            reading = WRITE if self._crossed & READ else READ
            writing = READ if self._crossed & WRITE else WRITE
            events = (reading if listening else 0) | (writing if writing_next else 0)
        if events != self._events:
            self._events = self.poller.turn(self._fd, self._events, events, self.on_ready)

    def _lose(self, reason: str) -> None:
        """Ends a connection whose socket is of no more use.

        An owner that has closed already is given its own reason.
        """
        self._end(reason if self.state <= HALF else self._reason)

    def _end(self, reason: str) -> None:
        self.state = CLOSED
        self.reading = False
        self._blocked = False
        self._held = b""
        self.waits_for_pace = False
        if self.pace is not None:
            self._drop_pace()
        if self._unsent:
            self._forget_unsent()
        if self._events:
            self._events = 0
            self.poller.forget_closing(self._fd)
        self.socket.close()
        self.owner.connection_lost(reason)
        # Transport and owner refer to each other. Left to the garbage collector, which counts objects and not OpenSSL's
        # 40 KiB each, several hundred ended connections would stay in memory at any time.
        del self.owner


def reset_at_close(connected: socket) -> None:
    """Makes a connection one whose end the peer sees as a reset; unsent bytes are lost."""
    try:
        connected.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    except OSError:
        pass  # the connection is gone already, as wanted


def hide(connected: socket) -> None:
    """Makes a connection one of whose end the peer hears nothing: with the right to, the kernel sends nothing any more;
    without, nothing that passes a router (HAProxy's manual, `silent-drop`). What the peer has sent is acknowledged
    before: it would send it again, and hear that there is nobody."""
    try:
        connected.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)
        connected.setsockopt(IPPROTO_TCP, _TCP_REPAIR, 1)
    except OSError:
        v6 = connected.family == AF_INET6
        try:
            connected.setsockopt(IPPROTO_IPV6 if v6 else IPPROTO_IP, IPV6_UNICAST_HOPS if v6 else IP_TTL, 1)
        except OSError:
            pass  # a unix socket, or one that is gone
