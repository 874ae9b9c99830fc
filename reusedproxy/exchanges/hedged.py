"""Tries to carry a request at a server whose backend has `hedge`: the attempt has its answer watched.

All else is in `attempt`, whose heir has to be in a compiled module, and in `hedging`. It must never know answers.
"""

from __future__ import annotations

from reusedproxy.exchanges.attempt import Attempt
from reusedproxy.exchanges.hedging import Race, may_be_hedged
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.pool import HTTPConnectionPool


class HedgedAttempt(Attempt):
    """Carries the first try of a request, which is sent a second time if its answer is late. Further tries are made
    after a failure, when nothing should be sent twice."""

    race: Race | None = None

    def _send(self, connection: ServerConnection, now: float) -> None:
        super()._send(connection, now)
        request, pool = self.request, self.pool
        hedging = None if request.backend is None else request.backend.hedging
        if hedging is not None:
            hedging.count()
            if isinstance(pool, HTTPConnectionPool) and may_be_hedged(request, connection):
                self.race = Race(hedging, request, pool, now)

    def leave(self) -> None:
        if self.race is not None:
            self.race.abandon()
        super().leave()
