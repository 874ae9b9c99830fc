"""Keeps the stick tables of two processes of the program alike while one takes the other's place.

At first the old process alone counts: it sends all entries, then those that change. When the new one is ready, the old
one stops accepting for a moment, sends the last changes, and `go`. From then on both count, and each tells the other
what it has counted, until the old one has ended. Knows tables and a channel; must never know why a process is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from reusedproxy.daemon.replacing.channel import Channel
from reusedproxy.net.slices import Slices
from reusedproxy.tables.copies import Description, Giver, Taker
from reusedproxy.tables.said import NotUnderstood
from reusedproxy.tables.shares import Sharer
from reusedproxy.tables.table import Table

#: Seconds between two reports of what has changed: so late may one process know what the other has counted.
EVERY = 0.02
#: Seconds after which a process that reads nothing is given up: what it is sent has to be kept for it.
PATIENCE = 10.0

TAKES_NOTHING = "it takes nothing of what it is told"

Said = Mapping[str, Any]


def described(tables: Iterable[Table]) -> list[dict[str, object]]:
    """Returns descriptions of tables, as they are sent."""
    return [Description.of(table, monotonic()).plain() for table in tables]


def read(said: object) -> dict[str, Description]:
    """Reads descriptions of tables by their names. Raises NotUnderstood."""
    if not isinstance(said, list):
        raise NotUnderstood("descriptions of tables")
    return {each.name: each for each in map(Description.read, said)}


class Giving:
    """Sends tables; its owner calls `go_on` whenever the channel has nothing left to send. `state` is "copying",
    "following" (all was sent once, changes are sent) or "over"."""

    def __init__(self, channel: Channel, clock: IReactorTime, tables: Iterable[Table]) -> None:
        self.state = "copying"
        self._channel = channel
        self._clock = clock
        self._givers = [Giver(table) for table in tables]
        self._call: IDelayedCall | None = None
        self._deadline: IDelayedCall | None = clock.callLater(PATIENCE, self._look_whether_it_takes)
        self.go_on()

    def _look_whether_it_takes(self) -> None:
        """Gives the other process up if it has read nothing since the last look."""
        self._deadline = None
        if self._channel.unsent:
            self._channel.fail(TAKES_NOTHING)
        else:
            self._deadline = self._clock.callLater(PATIENCE, self._look_whether_it_takes)

    def go_on(self) -> None:
        """Sends the next block, if the channel has nothing left to send."""
        if self.state == "over" or self._channel.unsent:
            return
        if self._deadline is not None:
            self._deadline.reset(PATIENCE)
        for giver in self._givers:
            if self.state == "copying" and giver.copied:
                continue
            block = giver.block()
            if block is not None:
                self._channel.send(block.said, block.content)
                return
        if self.state == "copying":
            self.state = "following"
            self._channel.send({"copied": True})
        elif self._call is None:
            self._call = self._clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        self._call = None
        self.go_on()

    def finish(self) -> Sharing:
        """Sends all that is left, and `go`: from now on both processes count."""
        for giver in self._givers:
            while (block := giver.block()) is not None:
                self._channel.send(block.said, block.content)
        self._end()
        self._channel.send({"go": True})
        return Sharing(self._channel, self._clock, [giver.shared() for giver in self._givers])

    def stop(self) -> None:
        """Sends nothing more."""
        self._end()
        for giver in self._givers:
            giver.stop()

    def _end(self) -> None:
        self.state = "over"
        for call in (self._call, self._deadline):
            if call is not None:
                call.cancel()
        self._call = self._deadline = None


class Taking:
    """Takes tables. `state` is "copying", "settling", "copied" (what changes still comes) or "over"."""

    def __init__(
        self,
        channel: Channel,
        clock: IReactorTime,
        pairs: Iterable[tuple[Table, Description]],
        ready: Callable[[], None],
    ) -> None:
        """Calls `ready` when all has been taken once."""
        self.state = "copying"
        self._channel = channel
        self._clock = clock
        self._takers = {table.name: Taker(table, theirs, monotonic()) for table, theirs in pairs}
        self._ready = ready
        self._slices: Slices | None = None

    @property
    def taken(self) -> int:
        """Returns how many entries there are."""
        return sum(len(each.table) for each in self._takers.values())

    def take(self, said: Said, content: bytes) -> None:
        """Takes a block. Raises NotUnderstood."""
        taker = self._takers.get(str(said.get("rows")))
        if taker is None or self.state == "over":
            raise NotUnderstood("a table that was not asked for")
        taker.take(said, content)

    def copied(self) -> None:
        """Hears that all was given once."""
        if self.state == "copying":
            self.state = "settling"
            self._slices = Slices(self._clock, self._settling(), self._settled)
            self._slices.start()

    def _settling(self) -> Any:
        for taker in self._takers.values():
            yield from taker.table.settling()

    def _settled(self, failure: Failure | None) -> None:
        self._slices = None
        if failure is not None:
            failure.raiseException()
        self.state = "copied"
        self._ready()

    def begin(self) -> Sharing:
        """Counts from now on, as the other process does."""
        self._end()
        return Sharing(self._channel, self._clock, [taker.shared() for taker in self._takers.values()])

    def stop(self) -> None:
        """Takes nothing more: what has come stays."""
        self._end()
        for taker in self._takers.values():
            taker.shares.release()

    def _end(self) -> None:
        self.state = "over"
        if self._slices is not None:
            self._slices.stop()
            self._slices = None


class Sharing:
    """Tells the other process what is counted here, and counts what was counted there, until `stop`."""

    def __init__(self, channel: Channel, clock: IReactorTime, sharers: Iterable[Sharer]) -> None:
        self._channel = channel
        self._clock = clock
        self._sharers = {each.table.name: each for each in sharers}
        self._took_at = clock.seconds()
        self._call: IDelayedCall | None = clock.callLater(EVERY, self._look)

    def _look(self) -> None:
        self._call = self._clock.callLater(EVERY, self._look)
        now = self._clock.seconds()
        if not self._channel.unsent:
            self._took_at = now
            self.tell()
        elif now - self._took_at >= PATIENCE:
            self._channel.fail(TAKES_NOTHING)

    @property
    def has_shares(self) -> bool:
        """Tells whether the other process tracks an entry of any table."""
        return any(each.shares for each in self._sharers.values())

    def tell(self) -> None:
        """Tells what there is, unless the other process has not yet taken what it was told before."""
        for sharer in self._sharers.values():
            if not self._channel.unsent and (said := sharer.changes()) is not None:
                self._channel.send(said)

    def take(self, said: Said) -> None:
        """Counts what was counted there. Raises NotUnderstood."""
        sharer = self._sharers.get(str(said.get("changes")))
        if sharer is None:
            raise NotUnderstood("a table that is not shared")
        sharer.take(said)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for sharer in self._sharers.values():
            sharer.stop()
