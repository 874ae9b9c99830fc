"""Opens one connection for one request or client, where the pool gives none: its server is in maintenance, and somebody
wants to look at it all the same; or the connection begins with a PROXY protocol header that names the client. It must
never know requests."""

from __future__ import annotations

from reusedproxy.net.dial import Dial, DialFailure
from reusedproxy.net.transport import Transport
from reusedproxy.pool.counters import CANCELLED, DEMAND, LEFT, TIMEOUT
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.waiters import Waiter


class LoneDial:
    """Dials once, past the pool's pacing, and takes the place of the pool for the waiter, which may `leave` it. The
    pool counts the dial and the connection, and retires that after use."""

    def __init__(self, pool: HTTPConnectionPool, waiter: Waiter, preface: bytes = b"") -> None:
        self._pool = pool
        self._waiter: Waiter | None = waiter
        self._since = pool.deadlines.now()
        pool.lone_dials += 1
        self._dial = pool.dial_for(self, preface)

    def leave(self, waiter: Waiter, timed_out: bool = False) -> None:
        """Gives up the dial, whose waiter waits no more. Does nothing if the dial has ended."""
        if self._waiter is waiter:
            dial = self._dial
            self._end()
            counters = self._pool.counters
            counters.connects[DEMAND, CANCELLED] += 1
            counters.waits[TIMEOUT if timed_out else LEFT].observe(self._pool.deadlines.now() - self._since)
            dial.cancel()

    @property
    def in_vain(self) -> DialFailure:
        """Returns what the wait ends in if it has lasted too long."""
        return DialFailure("connection", "it is still being opened", timed_out=True)

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        waiter = self._end()
        waiter.connection_ready(self._pool.take_in(dial, transport, self._since))

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        waiter, counters = self._end(), self._pool.counters
        counters.not_opened(DEMAND, dial, failure)
        counters.dials_failed += 1
        counters.wait_failed(failure, self._pool.deadlines.now() - self._since)
        waiter.connection_failed(failure)

    def _end(self) -> Waiter:
        """Counts the dial as one that is over, and returns who has waited for it."""
        waiter, self._waiter = self._waiter, None
        assert waiter is not None
        del self._dial  # they refer to each other
        self._pool.lone_dials -= 1
        self._pool.counters.dials += 1
        self._pool.counters.dials_for_requests += 1
        return waiter
