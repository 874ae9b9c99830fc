"""Connections that were taken, and that nobody uses: they are ended, because they cost the server's places.

That is always somebody's programming error. It knows a pool's holdings; it must never know who takes connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import Holdings


class LeakWatch:
    """Watches the connections of one pool that are in use."""

    def __init__(self, holdings: Holdings, say: Callable[[str], None]) -> None:
        """`say` takes a text about each, to be read by an operator."""
        self._held = holdings
        self._say = say
        #: Those that nobody uses, and since when.
        self._unused: dict[ServerConnection, float] = {}

    def look(self, now: float, overdue_after: float) -> None:
        """Ends connections that are in use, and by nobody for so many seconds."""
        held, since = self._held, self._unused
        self._unused = {
            each: since.get(each, now) for each in held.in_use if each.exchange is None and each.uploader is None
        }
        for connection, at in self._unused.items():
            if now - at >= overdue_after:
                held.counters.overdue += 1
                text = f"connection {connection.number} was taken {now - at:.0f} s ago and used by nobody: it is ended"
                self._say(f"{text} (please report it)")
                held.retire(connection, "leaked", at_once=True)
