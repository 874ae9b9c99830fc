"""Writes into a record what happens to one pool's connections, dials and waits.

It stands before the pool's own watcher where the server has `pool-record`, and is not there otherwise. It must never
know what is done with the record.
"""

from __future__ import annotations

from reusedproxy.pool.connection import IN_USE, PRIVATE, ServerConnection
from reusedproxy.pool.holdings import Holdings, HoldingsWatcher
from reusedproxy.pool.reasons import SERVER, word_for
from reusedproxy.pool.record.history import CAUSES, ENDS, FAILURES, ONLY_REQUEST, WAITS
from reusedproxy.pool.record.ring import (
    BORROWED,
    CHANGED,
    ENDED,
    FAILED,
    FLOOR,
    NUMBERS,
    OPENED,
    RETURNED,
    STATE,
    WAITED,
    Record,
    pack_dial,
    pack_end,
    pack_floor,
    pack_wait,
)


class RecordingWatcher:
    """Notes each move of a pool's connections, and passes it on to `inner`, the watcher that there is anyway."""

    def __init__(self, record: Record, holdings: Holdings, inner: HoldingsWatcher) -> None:
        self.inner = inner
        self._note_at = record.note_at
        self._record = record
        self._holdings = holdings

    # What the holdings say. When a connection is taken, the clock shows `idle_since` and its last idle time; when it
    # comes back, `idle_since`: no look at the clock is needed.

    def taken(self, connection: ServerConnection) -> None:
        if not connection.private:  # else it is nobody else's
            self._note_at(connection.idle_since + connection.idle_last, BORROWED, connection.number & NUMBERS)
        self.inner.taken(connection)

    def rested(self, connection: ServerConnection) -> None:
        if connection.requests:  # else it is new
            self._note_at(connection.idle_since, RETURNED, connection.number & NUMBERS)
        self.inner.rested(connection)

    def kept_apart(self, connection: ServerConnection) -> None:
        self._note_at(connection.idle_since, RETURNED, connection.number & NUMBERS)
        self.inner.kept_apart(connection)

    def withdrawn(self, connection: ServerConnection) -> None:
        self.inner.withdrawn(connection)

    def gone(self, connection: ServerConnection, was: int) -> None:
        # Its end is the last one that was noted, or nearly: closing it may have ended others.
        for end in reversed(self._holdings.ended):
            if end.number == connection.number:
                word = word_for(end.reason, end.by, idle=was not in (IN_USE, PRIVATE), pinged=False)
                at = ENDS.index(ONLY_REQUEST if end.reason == ONLY_REQUEST else word)
                self._record.note(ENDED, pack_end(connection.number, at, end.by == SERVER))
                break
        self.inner.gone(connection, was)


class Recorder:
    """Notes the waits for one pool's connections, and its dials, in the `record` that its watcher writes, too."""

    def __init__(self, record: Record, running: object = None) -> None:
        """Begins while the pool `running` dials and gives connections; None: none does."""
        self.record = record
        self._running = running

    def watcher(self, holdings: Holdings, inner: HoldingsWatcher) -> HoldingsWatcher:
        """Returns the watcher that writes each move of a pool's connections into the record, and tells `inner`."""
        return RecordingWatcher(self.record, holdings, inner)

    def goes_on(self, *, changed: bool) -> None:
        """Notes that another pool of the server takes the place of the one before, with other settings perhaps."""
        if changed:
            self.record.note(CHANGED, 0)

    def runs(self, pool: object) -> None:
        """Notes that this pool dials and gives connections from now on."""
        before, self._running = self._running, pool
        if before is None:
            self.record.note(STATE, 1)

    def rests(self, pool: object) -> None:
        """Notes that this pool does so no more; it may be one whose place another has taken."""
        if self._running is pool:
            self._running = None
            self.record.note(STATE, 0)

    def floor(self, before: int, floor: int) -> None:
        """Notes another floor."""
        self.record.note(FLOOR, pack_floor(before, floor))

    def waited(self, kind: int, result: str, seconds: float) -> None:
        """Notes that a wait for a connection of this kind has ended so, after so many seconds."""
        self.record.note(WAITED, pack_wait(kind, WAITS[result], seconds))

    def opened(self, cause: str, seconds: float) -> None:
        """Notes a connection, which has taken so many seconds to open, and why it was opened."""
        self.record.note(OPENED, pack_dial(CAUSES.index(cause), seconds))

    def failed(self, result: str, seconds: float) -> None:
        """Notes a dial that has failed so (`counters.REFUSED` and its like) after so many seconds."""
        self.record.note(FAILED, pack_dial(FAILURES.index(result), seconds))
