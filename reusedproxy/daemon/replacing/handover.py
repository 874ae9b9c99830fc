"""Hands the listening sockets of this process to another process of the program, which takes its place (`--replace`).

This module is the old process's side, `takeover` the new one's. The new process connects to a `stats socket` with
`expose-fd listeners` and orders `hand over`; from then on messages of a `channel` go both ways:

1. old: each socket's address, with its descriptor (SCM_RIGHTS); then the states of its servers, what was ordered and
   learnt (`standing`), and which stick tables it has.
2. new: which of these tables it wants, while it opens its connections to servers. old: their entries (`sharing`).
   Without tables there is no such step.
3. new: when its connections stand, asks what was ordered since step 1 (`since`), and opens those to addresses that it
   had not known of.
4. new: `ready`, when it has all of that. old: sends what was ordered since step 3, and `go`. Where there are tables it
   stops accepting for a moment, and sends their last changes before that.
5. new: accepts, and says which sockets it has taken. old: stops accepting for good, frees its status file, and sends
   what it has counted (`counts`), and what was ordered since step 4.

A connection that ends before step 5 leaves all as it was: the old process goes on accepting. So does a new process that
is silent for too long: the old one says how long it waits, the new one, if it has to wait for its floors, how much
longer (`needs`), and which process it is; who is given up is told so (`given up`), or it would take the old one for
dead, and serve beside it. Each side asks the kernel (SO_PEERCRED) whether the other is root's or its own user's. Must
never know what a process does when it leaves.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.config.model.values import ListenAddress
from reusedproxy.daemon.replacing.channel import CLOSED, NOT_UNDERSTOOD, Channel
from reusedproxy.daemon.replacing.sharing import Giving, Sharing, described, read
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import Poller
from reusedproxy.tables.table import Table

#: The command that begins it.
ORDER = "hand over"
#: Seconds for which the old process holds its listeners, at most, until the new one accepts.
HELD = 2.0
#: Seconds for which the new process may be silent before it accepts: so long may it build what its configuration says.
#: The most that it may ask for beside them.
PATIENCE = 60.0
MOST_PATIENCE = 86_400.0


def peer_of(connected: socket.socket) -> tuple[int, int]:
    """Returns process and user number of whoever has the other end of a unix socket. Raises OSError."""
    pid, uid, _ = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


def key_of(address: ListenAddress) -> str:
    """Returns what an address is called between two versions of the program."""
    return f"{address.kind} {address}"


class Handover:
    """Gives the sockets of this process to the one at the other end of `channel`. `state` is "waiting" (until that one
    accepts), "holding" (it is about to accept, and this one does not), "over" (it accepts) or "failed"."""

    def __init__(
        self,
        channel: socket.socket,
        poller: Poller,
        clock: IReactorTime,
        listeners: Iterable[Listener],
        taken: Callable[[set[str], int], None],
        failed: Callable[[str], None],
        tables: Mapping[str, Table] | None = None,
        since: Callable[[], object] = dict,
    ) -> None:
        """Calls `taken(keys, pid)` once, when the other process accepts on these sockets; or `failed(why)`. `since`
        returns what was ordered since the last call, or since `give`."""
        self.state = "waiting"
        #: 0 before it has said that: what has connected is twistd, which goes into the background with another number.
        self.pid = 0
        #: The other process takes what was ordered since it came: it is no older version.
        self.takes_orders = False
        self._since = since
        self._clock = clock
        self._taken = taken
        self._failed = failed
        self._listeners = [*listeners]
        self._tables = {} if tables is None else tables
        self._giving: Giving | None = None
        self._sharing: Sharing | None = None
        self._held: IDelayedCall | None = None
        self._needs = 0.0
        self._silent: IDelayedCall | None = clock.callLater(PATIENCE, self._give_up)
        self._channel = Channel(channel, poller, clock, self._received, self._lost, self._empty)

    def give(self, states: str, standing: object = None) -> None:
        """Sends the sockets, the states of servers, and what was ordered and learnt (step 1)."""
        for listener in self._listeners:
            said: dict[str, object] = {"socket": key_of(listener.bind.address), "file": listener.file}
            if listener.shut:
                said["suspended"] = True
            # A descriptor of our own: a reload may close the listener's meanwhile.
            try:
                descriptor = os.dup(listener.socket.fileno())
            except OSError as error:
                self._refuse(
                    f"no descriptor is left to give it sockets ({error.strerror}): raise the limit (ulimit -n)"
                )
                return
            self._channel.send(said, descriptor=descriptor)
        tables = described(self._tables.values())
        said = {"end": os.getpid(), "states": states, "tables": tables, "standing": standing, "waits": PATIENCE}
        self._channel.send({**said, "orders": True, "since": True})

    @property
    def left(self) -> float:
        """Returns the seconds until the other process is given up, if it says nothing."""
        return 0.0 if self._silent is None else max(0.0, self._silent.getTime() - self._clock.seconds())

    def drain(self) -> None:
        """Breaks off a handover that is not over: this process is to end. One that is over goes on sharing tables."""
        if self.state != "over":
            self._end()

    def stop(self) -> None:
        """Sends the last changes of tables, and closes the channel: this process ends."""
        if self._sharing is not None:
            self._sharing.tell()
        self._end()

    def released(self, counts: object) -> None:
        """Tells the other process that this one has let go of everything, and what it has counted."""
        self._channel.send(counts)

    def _received(self, said: Mapping[str, Any], content: bytes) -> None:
        try:
            self._take(said)
        except NOT_UNDERSTOOD:
            self._lost("it said what is not understood")

    def _take(self, said: Mapping[str, Any]) -> None:
        if "needs" in said and self.state == "waiting":
            self.pid, self.takes_orders = max(0, int(said.get("pid", 0))), said.get("orders") is True
            needs = float(said["needs"])
            self._needs = min(needs, MOST_PATIENCE) if needs > 0 else 0.0
        if self._silent is not None:
            self._silent.reset(PATIENCE + self._needs)
        if "needs" in said:
            return
        if "changes" in said and self._sharing is not None:
            self._sharing.take(said)
        elif "tables" in said and self._giving is None and self.state == "waiting":
            asked = read(said["tables"])
            self._giving = Giving(self._channel, self._clock, [self._tables[name] for name in asked])
        elif "since" in said and self.state == "waiting":
            self._channel.send({"ordered": self._since()})
        elif "ready" in said and self.state == "waiting":
            self._let_go()
        elif self.state in ("waiting", "holding"):
            keys, self.pid = {str(key) for key in said["taken"]}, int(said["pid"])
            self.state = "over"
            self._cancel()
            self._taken(keys, self.pid)

    def _let_go(self) -> None:
        """Lets the other process accept, which is ready: it gets all that has changed since it came."""
        if self.takes_orders:
            self._channel.send({"ordered": self._since()})
        if self._giving is None:
            self._channel.send({"go": True})
            return
        self.state = "holding"
        for listener in self._listeners:
            listener.hold()
        self._held = self._clock.callLater(HELD, self._go_on)
        self._sharing, self._giving = self._giving.finish(), None

    def _empty(self) -> None:
        if self._giving is not None:
            self._giving.go_on()
        elif self.state == "over" and self._sharing is None:
            self._end()  # it knows all

    def _go_on(self) -> None:
        """Accepts again: the other process does not, and clients have waited for long enough."""
        self._held = None
        for listener in self._listeners:
            listener.go_on()

    def _cancel(self) -> None:
        for call in (self._held, self._silent):
            if call is not None:
                call.cancel()
        self._held = self._silent = None

    def _give_up(self) -> None:
        """Goes on by itself: the other process says nothing."""
        self._silent = None
        self._refuse(f"it was silent for {PATIENCE + self._needs:g} s")

    def _refuse(self, why: str) -> None:
        self._channel.send({"given up": why})
        self._lost(why)

    def _lost(self, why: str) -> None:
        if self.state == "failed":
            return
        serves = self.state == "over"
        self._end()
        if serves:
            return  # it has gone again, and others tell that
        self.state = "failed"
        self._go_on()
        self._failed("it ended before it served" if why == CLOSED else why)

    def _end(self) -> None:
        self.state = "over"
        self._cancel()
        for each in (self._giving, self._sharing):
            if each is not None:
                each.stop()
        self._giving = self._sharing = None
        self._channel.close()
