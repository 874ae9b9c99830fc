"""Hands the listening sockets of one process to another one of this program, which takes its place (`--replace`).

The new process connects to a `stats socket` with `expose-fd listeners`, and orders `hand over`. From then on both speak
lines of JSON there: the old one says for each socket what it is, and sends its descriptor along (SCM_RIGHTS), then what
state its servers are in. The new one opens its connections to servers, begins to accept, and says which sockets it has
taken; the old one stops accepting, frees its status file, and says so. A connection that ends before that leaves all
as it was: the old process has gone on accepting, and goes on.

Each side makes sure by the kernel's word (SO_PEERCRED) that the other is root's or its own user's. Must never know what
a process does when it leaves, or how it becomes ready.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import struct
from array import array
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.config.model.proxies import Bind
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.net.addresses import abstract
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import READ, Poller
from reusedproxy.net.trusted_paths import parent_of

#: The command that begins it.
ORDER = "hand over"
#: Seconds that the new process waits for each answer of the old one, and the old one for room to send.
PATIENCE = 10.0
#: Seconds that the new process waits for all that the old one gives.
WHOLE = 60.0
RETRY = 0.05
#: Bytes of a line, and of all of them; states of 100,000 servers are some 16 MB.
LONGEST = 64 << 20
READ_SIZE = 1 << 16
_DESCRIPTOR = array("i").itemsize
#: Room for descriptors: the kernel keeps those of one message apart from those of the next.
_SPACE = socket.CMSG_SPACE(_DESCRIPTOR * 8)


#: What reading a line raises that says something else than is expected.
_NOT_UNDERSTOOD = (ValueError, TypeError, LookupError, OverflowError, RecursionError)


class HandoverError(Exception):
    """Says why there is nothing to take over."""


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Returns process and user number of whoever has the other end of a unix socket. Raises OSError."""
    pid, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def key_of(address: ListenAddress) -> str:
    """Returns what an address is called between two versions of the program."""
    return f"{address.kind} {address}"


# The new process.


@frozen
class _Given:
    """Holds one socket of the old process, and device and inode number of its file, if it has one."""

    socket: socket.socket
    file: tuple[int, int] | None


@define(eq=False)
class Takeover:
    """Holds what the old process has given; `pid` is its number, `states` what `show servers state` says there."""

    pid: int
    states: str
    _channel: socket.socket
    _given: dict[str, _Given]
    _taken: list[str] = field(factory=list)
    _call: IDelayedCall | None = None

    def take(self, bind: Bind, at: Any = None) -> tuple[socket.socket, tuple[int, int] | None] | None:
        """Returns the socket that listens at the address of this line, `at` what its name was resolved to, and what
        identifies its file, if it has one; None if there is none."""
        address = bind.address
        key = key_of(address)
        given = self._given.get(key)
        if given is None or key in self._taken:
            return None
        if not _listens_there(given.socket, bind, at):
            return None
        if address.kind == "unix" and given.file != _file_at(address.path):
            return None  # another one stands there by now
        self._taken.append(key)
        return given.socket, given.file

    def serve(self, poller: Poller, clock: IReactorTime, released: Callable[[object], None]) -> None:
        """Tells the old process that this one accepts. Calls `released(counts)` when it has let go of everything, with
        what it has counted, or `released(None)` when it ends or is silent before that."""
        buffer = bytearray()

        def over(counts: object) -> None:
            if self._call is not None and self._call.active():
                self._call.cancel()
            poller.forget(self._channel.fileno())
            self._channel.close()
            released(counts)

        def on_ready(events: int) -> None:
            try:
                data = self._channel.recv(READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            buffer.extend(data)
            if not data or len(buffer) > LONGEST:
                over(None)
            elif data.endswith(b"\n"):
                try:
                    over(json.loads(buffer))
                except _NOT_UNDERSTOOD:
                    over({})

        self._close_untaken()
        try:
            self._channel.setblocking(False)
            self._channel.sendall(json.dumps({"taken": self._taken, "pid": os.getpid()}).encode() + b"\n")
        except OSError:
            self._channel.close()
            released(None)
            return
        self._call = clock.callLater(PATIENCE, over, None)
        poller.watch(self._channel.fileno(), READ, on_ready)

    def give_up(self) -> None:
        """Leaves all to the old process."""
        self._close_untaken()
        self._channel.close()

    def _close_untaken(self) -> None:
        for key, given in self._given.items():
            if key not in self._taken:
                given.socket.close()


def _listens_there(given: socket.socket, bind: Bind, at: Any) -> bool:
    """Tells whether a socket listens where this line says: what the old process says of it is not believed. Of a unix
    socket the kernel tells only the path at which it was made, which is another."""
    address, name = bind.address, given.getsockname()
    if given.type != socket.SOCK_STREAM:
        return False
    if address.kind == "unix":
        return given.family == socket.AF_UNIX and isinstance(name, str)
    if address.kind == "abns":
        return given.family == socket.AF_UNIX and name == abstract(address.path)
    if address.kind == "fd":
        return True
    if given.family != (socket.AF_INET6 if address.v6 else socket.AF_INET):
        return False
    if address.v6 and bind.options.v6_only and not given.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return False
    interface = given.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode()
    if bind.options.interface and interface != bind.options.interface:
        return False
    if at is None:
        try:
            asked = (address.host or None, address.port, given.family, given.type, 0, socket.AI_PASSIVE)
            at = socket.getaddrinfo(*asked)[0][4]
        except OSError:
            return False
    return name[0] == at[0] and address.port in (0, name[1])


def _file_at(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def take_over(paths: Iterable[str], users: set[int]) -> Takeover:
    """Asks the process that listens at the first of these paths that answers for its sockets. It has to be root's, or
    that of one of these `users`. Raises HandoverError."""
    why = "the configuration has no 'stats socket' at a path, with 'level admin' and 'expose-fd listeners'"
    for path in paths:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(PATIENCE)
        try:
            _connect(channel, path)
            _, uid = peer_of(channel)
            if uid not in {0, *users}:
                raise HandoverError(f"user {uid} listens at {path}")
            channel.sendall(f"{ORDER}\n".encode())
            return _received(channel, path)
        except OSError as error:
            channel.close()
            why = f"nobody hands over anything at {path}: {error.strerror or error}"
        except HandoverError:
            channel.close()
            raise
    raise HandoverError(why)


def _connect(channel: socket.socket, path: str) -> None:
    """Connects to the socket at this path. Raises OSError, also for a link: its owner could have root connect to, and
    write to, any other program's socket."""
    with parent_of(path) as (parent, name):
        there = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if not stat.S_ISSOCK(os.fstat(there).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        channel.connect(f"/proc/self/fd/{there}")
    finally:
        os.close(there)


def _received(channel: socket.socket, path: str) -> Takeover:
    """Reads what the old process gives. Raises OSError and HandoverError."""
    buffer, length = bytearray(), 0
    came: list[int] = []
    given: dict[str, _Given] = {}
    end = monotonic() + WHOLE
    try:
        while True:
            channel.settimeout(max(0.001, min(PATIENCE, end - monotonic())))
            data, ancillary, flags, _ = channel.recvmsg(READ_SIZE, _SPACE, socket.MSG_CMSG_CLOEXEC)
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array("i")
                    numbers.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
                    came += numbers
            if flags & socket.MSG_CTRUNC:
                raise HandoverError("descriptors were lost: this process may not have more (ulimit -n)")
            buffer += data
            length += len(data)
            if not data or length > LONGEST:
                text = buffer[:1000].strip().decode("utf-8", "replace")[:200]
                raise HandoverError(f"the process at {path} does not hand over its sockets" + (text and f": {text}"))
            if b"\n" not in data:
                continue
            *lines, buffer = buffer.split(b"\n")
            for line in filter(None, lines):
                said = _said(bytes(line), path)
                if isinstance(said, _End):
                    channel.settimeout(PATIENCE)
                    return Takeover(said.pid, said.states, channel, given)
                if not came:
                    raise HandoverError(f"the process at {path} has sent a socket's name and no socket")
                bound = socket.socket(fileno=came.pop(0))
                given[said.key] = _Given(bound, said.file)
                if not bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    raise HandoverError(f"the process at {path} has sent a socket that does not listen")
    except BaseException:
        for each in given.values():
            each.socket.close()
        for number in came:
            os.close(number)
        raise


@frozen
class _Named:
    """Holds what the old process says of one socket: what it is called, and what identifies its file."""

    key: str
    file: tuple[int, int] | None


@frozen
class _End:
    """Holds the last that it says."""

    pid: int
    states: str


def _said(line: bytes, path: str) -> _Named | _End:
    try:
        said = json.loads(line)
        if "end" in said:
            return _End(int(said["end"]), str(said.get("states", "")))
        file = said.get("file")
        return _Named(str(said["socket"]), (int(file[0]), int(file[1])) if file else None)
    except (*_NOT_UNDERSTOOD, AttributeError):
        text = line[:1000].decode("utf-8", "replace")[:200]
        raise HandoverError(f"the process at {path} does not hand over its sockets: {text}") from None


# The old process.


class Handover:
    """Gives the sockets of this process to the one at the other end of `channel`. `state` is "giving", "waiting" (until
    that one accepts), or "over"."""

    def __init__(
        self,
        channel: socket.socket,
        poller: Poller,
        clock: IReactorTime,
        listeners: Iterable[Listener],
        states: str,
        taken: Callable[[set[str], int], None],
        failed: Callable[[str], None],
    ) -> None:
        """Calls `taken(keys, pid)` once, when the other process accepts on these sockets; or `failed(why)`."""
        self.state = "giving"
        self.pid = peer_of(channel)[0]
        self._channel = channel
        self._poller = poller
        self._clock = clock
        self._taken = taken
        self._failed = failed
        self._call: IDelayedCall | None = None
        self._buffer = b""
        #: What is still to be sent: bytes, and a descriptor that goes along with the first of them.
        self._left: list[tuple[bytes, int | None]] = []
        for listener in listeners:
            said: Mapping[str, object] = {"socket": key_of(listener.bind.address), "file": listener.file}
            # A descriptor of our own: a reload may close the listener's meanwhile.
            self._left.append((json.dumps(said).encode() + b"\n", os.dup(listener.socket.fileno())))
        self._left.append((json.dumps({"end": os.getpid(), "states": states}).encode() + b"\n", None))
        channel.setblocking(False)
        poller.watch(channel.fileno(), READ, self._on_ready)
        self._watched = True
        self._give()

    def stop(self) -> None:
        """Ends it: this process ends."""
        if self._channel.fileno() >= 0:
            self._end()

    def released(self, counts: object) -> None:
        """Tells the other process that this one has let go of everything, and what it has counted."""
        self._left.append((json.dumps(counts).encode() + b"\n", None))
        self._give()

    def _give(self) -> None:
        self._call = None
        while self._left:
            data, descriptor = self._left[0]
            rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
            try:
                sent = self._channel.sendmsg([data[:READ_SIZE]], rights)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS):
                    self._call = self._clock.callLater(RETRY, self._give)
                elif self.state == "over":
                    self._end()  # it has gone again, and others tell that
                else:
                    self._fail(error.strerror or str(error))
                return
            if descriptor is not None:
                os.close(descriptor)
            if sent == len(data):
                self._left.pop(0)
            else:
                self._left[0] = data[sent:], None
        if self.state == "over":
            self._end()
        else:
            self.state = "waiting"

    def _on_ready(self, events: int) -> None:
        try:
            data = self._channel.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error.strerror or str(error))
            return
        self._buffer += data
        if not data or len(self._buffer) > READ_SIZE * 16:
            self._fail("it ended before it served")
        elif self._buffer.endswith(b"\n") and self.state == "waiting":
            try:
                said = json.loads(self._buffer)
                # What connected was twistd before it went into the background, which has another number.
                keys, self.pid = {str(key) for key in said["taken"]}, int(said["pid"])
            except _NOT_UNDERSTOOD:
                self._fail("it said what is not understood")
                return
            self.state = "over"
            self._look_away()
            self._taken(keys, self.pid)

    def _look_away(self) -> None:
        if self._watched:
            self._watched = False
            self._poller.forget(self._channel.fileno())

    def _fail(self, why: str) -> None:
        self._end()
        self._failed(why)

    def _end(self) -> None:
        self.state = "over"
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._look_away()
        self._channel.close()
        for _, descriptor in self._left:
            if descriptor is not None:
                os.close(descriptor)
        self._left.clear()
