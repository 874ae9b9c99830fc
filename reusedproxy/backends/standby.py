"""Keeps low the floors of servers that stand by for others, and raises them in time.

A backup server, or one of the backend that `use_backend … if { nbsrv(…) lt 1 }` leads to, needs few warm connections
while nobody asks it, and all of them when the others are gone: so they are opened when the first of these goes. It must
never know why a server goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.server import Server

#: Seconds after the last of the others has come back until the floors are low again: who has gone once goes again.
LINGER = 60.0


class Standby:
    """Sets the floors of `servers`. `state` is one of these:

    "standing by"   `pool-standby-conn`: all for whom they stand by are there
    "raised"        `pool-min-conn`: one of those has gone, or all are back only since a moment
    """

    def __init__(self, servers: Sequence[Server], others: Callable[[], Iterable[Server]], clock: IReactorTime) -> None:
        """Stands by for those that `others` returns."""
        self.servers = servers
        self.state = "standing by"
        self._others = others
        self._clock = clock
        #: Those of the others that count: they are there, or were.
        self._known: set[Server] | None = None
        self._call: IDelayedCall | None = None

    def look(self) -> None:
        """Looks at the others, one of whom may have gone or come back; and at the floors of pools, which may be new."""
        if self._gone():
            self.state = "raised"
            self.stop()
        elif self.state == "raised" and self._call is None:
            self._call = self._clock.callLater(LINGER, self._stand_by)
        self._set_floors()

    def stop(self) -> None:
        """Leaves no timer."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _stand_by(self) -> None:
        self._call = None
        self.state = "standing by"
        self._set_floors()

    def _set_floors(self) -> None:
        for server in self.servers:
            limits, least = server.pool.limits, server.settings.standby
            assert least is not None
            raised = self.state == "raised"
            server.pool.keep(limits.min_conn if raised else min(least, limits.min_conn))

    def _gone(self) -> bool:
        """Tells whether one of the others is gone. A server that is `disabled` from the start, or has no address, is
        not missed before it has been there."""
        others = [*self._others()]
        if self._known is None:
            self._known = {each for each in others if not each.settings.disabled}
        self._known.intersection_update(others)
        self._known.update(each for each in others if each.usable)
        self._known.difference_update([each for each in others if not each.addressed])
        return not all(each.usable for each in self._known)
