"""Finds connections that were taken and that nobody uses, and ends them, because they cost the server's places.

Such a leak is always a programming error. The watch knows a pool's holdings; it must never know who takes connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import Holdings


class LeakWatch:
    """Watches the connections in use of one pool."""

    def __init__(self, holdings: Holdings, say: Callable[[str], None]) -> None:
        """Calls `say(text)` about each leak, for an operator to read."""
        self._held = holdings
        self._say = say
        #: Those that nobody uses, and since when.
        self._unused: dict[ServerConnection, float] = {}

    def look(self, now: float, overdue_after: float) -> None:
        """Ends connections in use that nobody has used for `overdue_after` seconds."""
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
