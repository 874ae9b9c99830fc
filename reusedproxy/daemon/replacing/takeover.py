"""Takes the place of a running process of this program (`--replace`): the new process's side of the protocol that
`handover` describes.

What the other process says is not trusted: the kernel tells whose it is, and a socket is taken only if it listens at
the address of its line. Must never know how this process becomes ready.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from time import monotonic
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from reusedproxy.backends.saved_states import Unreadable, rows
from reusedproxy.config.model.proxies import Bind
from reusedproxy.daemon.replacing.channel import LONGEST, NOT_UNDERSTOOD, READ_SIZE, Channel, head_of
from reusedproxy.daemon.replacing.handover import ORDER, key_of, peer_of
from reusedproxy.daemon.replacing.sharing import Sharing, Taking, described, read
from reusedproxy.net.addresses import abstract
from reusedproxy.net.listening_options import interface_of
from reusedproxy.net.poller import Poller
from reusedproxy.net.trusted_paths import parent_of
from reusedproxy.tables.copies import Description
from reusedproxy.tables.said import NotUnderstood
from reusedproxy.tables.table import Table

_log = Logger()
#: Seconds that this process waits for each answer of the old one.
PATIENCE = 10.0
#: Seconds that it waits for all that the old one gives at first.
WHOLE = 60.0
_DESCRIPTOR = array("i").itemsize
#: Room for descriptors: the kernel keeps those of one message apart from those of the next.
_SPACE = socket.CMSG_SPACE(_DESCRIPTOR * 8)


class HandoverError(Exception):
    """Says why there is nothing to take over."""


@frozen
class _Given:
    """Holds one socket of the old process, and device and inode number of its file, if it has one."""

    socket: socket.socket
    file: tuple[int, int] | None


@define(eq=False)
class Takeover:
    """Holds what the old process has given; `pid` is its number, `states` what `show servers state` says there,
    `tables` what it says of its stick tables, and `standing` what was ordered and learnt there. `state` is "given",
    "preparing" (tables come, and orders are given there), "asking" (the same, and the old process is to say what was
    ordered until now), "waiting" (for it to say what is new, and `go`), "serving", "sharing" (it has left, and tells
    what it still counts) or "over"."""

    pid: int
    states: str
    _socket: socket.socket
    #: By what their addresses are called. Two sections may listen at one address, each on a socket of its own.
    _given: dict[str, list[_Given]]
    tables: object = None
    standing: object = None
    #: The old process waits for this one for so many seconds; None: it does not say.
    waits: float | None = None
    #: It tells what is ordered until this one accepts; an older version does not.
    tells_orders: bool = False
    #: It tells that, too, as often as it is asked before.
    answers: bool = False
    _taken: list[str] = field(factory=list)
    state: str = "given"
    _channel: Channel | None = None
    _clock: IReactorTime | None = None
    _call: IDelayedCall | None = None
    _taking: Taking | None = None
    _sharing: Sharing | None = None
    _go: Callable[[], None] | None = None
    _released: Callable[[Mapping[str, Any] | None], None] = lambda counts: None
    _given_up: Callable[[str], None] = lambda why: None
    _ordered: Callable[[object], None] = lambda said: None
    _announce: Callable[[str, str], None] = lambda level, text: None

    def take(self, bind: Bind, at: Any = None) -> tuple[socket.socket, tuple[int, int] | None] | None:
        """Returns the socket that listens at the address of this line, `at` what its name was resolved to, and what
        identifies its file, if it has one; None if there is none."""
        address = bind.address
        key = key_of(address)
        for given in self._given.get(key, ()):
            if not _listens_there(given.socket, bind, at):
                continue
            if address.kind == "unix" and given.file != _file_at(address.path):
                continue  # another one stands there by now
            self._given[key].remove(given)
            self._taken.append(key)
            return given.socket, given.file
        return None

    def prepare(
        self,
        poller: Poller,
        clock: IReactorTime,
        tables: Mapping[str, Table],
        announce: Callable[[str, str], None],
        needs: float,
        given_up: Callable[[str], None],
        ordered: Callable[[object], None] = lambda said: None,
    ) -> None:
        """Begins to take what is known of clients into the tables that the old process has, too. Says by `announce`
        what does not go over. It `needs` so many seconds at most until it is ready; calls `given_up(why)` if the old
        process goes on by itself, and `ordered` with what was ordered there since the beginning."""
        self._clock, self._announce, self._given_up, self._ordered = clock, announce, given_up, ordered
        self._channel = Channel(self._socket, poller, clock, self._received, self._lost)
        if self.waits is not None:
            self._channel.send({"needs": needs, "pid": os.getpid(), "orders": True})
        pairs = self._matching(tables)
        if pairs or self.tells_orders:
            self.state = "preparing"
        if pairs:
            self._taking = Taking(self._channel, clock, pairs, self._copied)
            self._channel.send({"tables": described(table for table, _ in pairs)})

    def _matching(self, tables: Mapping[str, Table]) -> list[tuple[Table, Description]]:
        try:
            theirs = read(self.tables) if self.tables is not None else {}
        except NotUnderstood as error:
            self._announce("warning", f"process {self.pid} has said what is not understood: {error}")
            theirs = {}
        pairs = []
        for table in tables.values():
            there = theirs.get(table.name)
            if there is None:
                continue
            without = there.without_place(table)
            if not there.suits(table):
                text = f"begins empty: in the process before {without[0]}"
                self._announce("warning", f"table '{table.name}' {text}")
                continue
            if without:
                text = f"does not get from the process before: {', '.join(without)}"
                self._announce("warning", f"table '{table.name}' {text}")
            pairs.append((table, there))
        return pairs

    @property
    def is_alone(self) -> bool:
        """Tells whether the old process has ended, or is not spoken to any more."""
        return self.state == "over"

    @property
    def accepts(self) -> bool:
        """Tells whether this process accepts in place of the old one."""
        return self.state in ("serving", "sharing")

    @property
    def has_shares(self) -> bool:
        """Tells whether clients of the old process are counted in tables of this one."""
        return self._sharing is not None and self._sharing.has_shares

    def ask_orders(self, then: Callable[[], None]) -> None:
        """Has what was ordered until now be told (`ordered`), and calls `then` once; or when the old one is silent, or
        does not say."""
        assert self._clock is not None and self._channel is not None
        if self.state != "preparing" or not self.answers:
            then()
            return
        self.state = "asking"
        self._go = then
        self._call = self._clock.callLater(PATIENCE, self._silent)
        self._channel.send({"since": True})

    def when_ready(self, go: Callable[[], None]) -> None:
        """Calls `go` once, when everything has come and this process may accept; or when the old one is silent."""
        assert self._clock is not None
        if self.state != "preparing":
            go()
            return
        self._go = go
        self._call = self._clock.callLater(PATIENCE, self._silent)
        self._copied()

    def _copied(self) -> None:
        """Says that this process is ready, as soon as it is and has the tables."""
        has_tables = self._taking is None or self._taking.state == "copied"
        if self._go is not None and self.state == "preparing" and has_tables:
            assert self._channel is not None
            self.state = "waiting"
            self._channel.send({"ready": True})

    def _silent(self) -> None:
        self._call = None
        self._part("it was silent")

    def _part(self, why: str) -> None:
        """Serves with what has come."""
        if self._taking is not None:
            self._announce("warning", f"tables have not come from process {self.pid} as a whole: {why}")
            self._taking.stop()
            self._taking = None
        if self.tells_orders:
            text = f"what was ordered of process {self.pid} since this one has begun has not come: {why}"
            self._announce("warning", text)
        if self.state in ("preparing", "asking", "waiting"):
            self.state = "given"
        self._begin()

    def _begin(self) -> None:
        go, self._go = self._go, None
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if go is not None:
            go()

    def serve(self, released: Callable[[Mapping[str, Any] | None], None]) -> None:
        """Tells the old process that this one accepts. Calls `released(counts)` when it has let go of everything, with
        what it has counted, or `released(None)` when it ends or is silent before that."""
        assert self._clock is not None and self._channel is not None
        self._close_untaken()
        self._released = released
        if self._channel.state == "closed":
            self.state = "over"
            released(None)
            return
        self.state = "serving"
        self._call = self._clock.callLater(PATIENCE, self._lost, "it is silent")
        self._channel.send({"taken": self._taken, "pid": os.getpid()})

    def _received(self, said: Mapping[str, Any], content: bytes) -> None:
        try:
            self._take(said, content)
        except NotUnderstood as error:
            self._lost(f"it has said what is not understood: {error}")
        except Exception:
            _log.failure("what another process has said of tables is not taken, by our own fault")
            self._lost("what it said could not be taken")

    def _take(self, said: Mapping[str, Any], content: bytes) -> None:
        preparing = self.state in ("preparing", "asking")
        if self._call is not None and preparing and (said.get("keys") or "copied" in said):
            self._call.reset(PATIENCE)
        if "given up" in said:
            self._go = None
            self.give_up()
            self._given_up(str(said["given up"]))
        elif "rows" in said and self._taking is not None:
            self._taking.take(said, content)
        elif "copied" in said and self._taking is not None:
            self._taking.copied()
        elif said.keys() == {"ordered"}:  # at the end it is among what is counted
            self._take_orders(said["ordered"])
        elif "go" in said and self.state == "waiting":
            if self._taking is not None:
                self._sharing, self._taking = self._taking.begin(), None
            self._begin()
        elif "changes" in said and self._sharing is not None:
            self._sharing.take(said)
        elif self.state == "serving" and not {"rows", "copied", "go", "changes"} & set(said):
            self._over(said)
            if self._sharing is not None:
                self.state = "sharing"
            else:
                self.give_up()

    def _take_orders(self, ordered: object) -> None:
        """Has these orders be in force, also those of an old process that was silent for too long before."""
        asked = self.state == "asking"
        if asked:
            self.state = "preparing"
        self._ordered(ordered)
        if asked:
            self._begin()

    def _over(self, counts: Mapping[str, Any] | None) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        released, self._released = self._released, lambda counts: None
        released(counts)

    def _lost(self, why: str) -> None:
        """Goes on without the old process."""
        state = self.state
        self._stop()
        if state in ("preparing", "asking", "waiting"):
            self._part(why)
        elif state == "serving":
            self._over(None)

    def stop(self) -> None:
        """Parts from the old process: this one ends."""
        self._stop()

    def give_up(self) -> None:
        """Leaves all to the old process, or parts from it."""
        if self.state in ("given", "preparing", "asking", "waiting"):
            self._close_untaken()
        self._stop()
        if self._taking is not None:
            self._taking.stop()
            self._taking = None

    def _stop(self) -> None:
        self.state = "over"
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None
        if self._sharing is not None:
            self._sharing.tell()
            self._sharing.stop()
            self._sharing = None
        if self._channel is not None:
            self._channel.close()
        else:
            self._socket.close()

    def _close_untaken(self) -> None:
        for given in chain.from_iterable(self._given.values()):
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
    if interface_of(given) != bind.options.interface:
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
    given: dict[str, list[_Given]] = {}
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
            for number, line in enumerate(lines, 1):
                if not line:
                    continue
                said = _said(bytes(line), path)
                if isinstance(said, _End):
                    _demand_wanted(lines[number:], path)
                    channel.settimeout(PATIENCE)
                    about = said.tables, said.standing, said.waits, said.tells_orders, said.answers
                    return Takeover(said.pid, said.states, channel, given, *about)
                if not came:
                    raise HandoverError(f"the process at {path} has sent a socket's name and no socket")
                bound = socket.socket(fileno=came.pop(0))
                given.setdefault(said.key, []).append(_Given(bound, said.file))
                if not _may_be_listened_on(bound, said):
                    raise HandoverError(f"the process at {path} has sent a socket that does not listen")
    except BaseException:
        for each in chain.from_iterable(given.values()):
            each.socket.close()
        for number in came:
            os.close(number)
        raise


@frozen
class _Named:
    """Holds what the old process says of one socket: what it is called, what identifies its file, and whether it does
    not listen for now (`disable frontend`)."""

    key: str
    file: tuple[int, int] | None
    suspended: bool


def _may_be_listened_on(bound: socket.socket, said: _Named) -> bool:
    """Tells whether a socket listens, or is a port that is closed for a while as it was said to be."""
    if bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return True
    if not said.suspended or bound.family == socket.AF_UNIX:
        return False
    try:
        bound.getpeername()
    except OSError:
        return bool(bound.getsockname()[1])
    return False


@frozen
class _End:
    """Holds the last that it says."""

    pid: int
    states: str
    tables: object
    standing: object
    waits: float | None
    tells_orders: bool
    answers: bool


def _demand_wanted(lines: Iterable[bytearray], path: str) -> None:
    """Looks at what came behind the last of it: raises HandoverError if the old process has given this one up, because
    it took too long to read it."""
    for line in lines:
        said = head_of(bytes(line))[0]
        if "given up" in said:
            raise HandoverError(f"the process at {path} has given this one up: {said['given up']}")


def _said(line: bytes, path: str) -> _Named | _End:
    try:
        said = json.loads(line)
        if "end" in said:
            waits, states = said.get("waits"), str(said.get("states", ""))
            if states:
                deque(rows(states), 0)  # they are read later, where nothing can be refused any more
            return _End(
                int(said["end"]),
                states,
                said.get("tables"),
                said.get("standing"),
                None if waits is None else float(waits),
                said.get("orders") is True,
                said.get("since") is True,
            )
        file = said.get("file")
        return _Named(str(said["socket"]), (int(file[0]), int(file[1])) if file else None, bool(said.get("suspended")))
    except Unreadable as error:
        text = f"the process at {path} says states of servers that cannot be read: {error}"
        raise HandoverError(text) from None
    except NOT_UNDERSTOOD:
        text = line[:1000].decode("utf-8", "replace")[:200]
        raise HandoverError(f"the process at {path} does not hand over its sockets: {text}") from None
