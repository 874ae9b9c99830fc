"""Pings idle connections of one pool (`idle-ping`): sends a request of the proxy's own on each that has stood idle for
a while, so that its server does not close it.

It must never know how long connections live: `Upkeep` says when one is to be pinged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from reusedproxy.pool.advice import Advice
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.kept import KeptPool
from reusedproxy.pool.probe import Ended, Probe
from reusedproxy.wire.heads import ResponseHead

#: Share by which the time to a ping is shortened at random, so that a floor is not pinged all at once.
PING_JITTER: Final = 0.2
#: Seconds that a server has for its answer to a ping.
PING_TIMEOUT: Final = 5.0
#: Seconds by which a ping is put off that would leave no connection idle while other pings are under way.
PING_PUT_OFF: Final = 0.25


class Pings:
    """Pings connections of one pool."""

    def __init__(self, pool: KeptPool, holdings: Holdings, advice: Advice) -> None:
        self._pool = pool
        self._holdings = holdings
        self._advice = advice
        #: The request on which the server has closed the connection; it is not sent again.
        self._vain = b""

    @property
    def wanted(self) -> bool:
        """Tells whether idle connections are pinged: `idle-ping` is configured, and the server does not close on it."""
        return self._pool.limits.idle_ping is not None and self._pool.ping_request != self._vain

    def allowed(self, connection: ServerConnection) -> bool:
        """Tells whether a connection may be pinged. It may not if that is the last request that `max-reuse` allows:
        nothing would stand in its place."""
        most = self._pool.limits.max_reuse
        return self.wanted and (most is None or connection.requests < most)

    def put_off(self) -> bool:
        """Tells whether a ping has to wait because all other idle connections are being pinged: one stays for
        requests."""
        held = self._holdings
        return bool(held.pinged) and len(held.idle) <= len(held.pinged)

    def send(self, connection: ServerConnection) -> None:
        """Sends a ping on an idle connection, which is then idle again, or gone."""
        self._holdings.take_for_ping(connection)
        self._probe(connection, self._ended)

    def ask(self, connection: ServerConnection, told: Callable[[ResponseHead | None], None]) -> bool:
        """Pings an idle connection, and gives the head of the answer to `told`; see `spread.Ways`."""
        if self._pool.ping_request == self._vain:
            return False
        self._holdings.take_for_ping(connection)
        self._probe(connection, partial(self._told, told))
        return True

    def _probe(self, connection: ServerConnection, ended: Ended) -> None:
        request = self._pool.ping_request
        Probe(request.split(b" ", 1)[0], ended).ask(connection, request, PING_TIMEOUT)

    def _told(
        self, told: Callable[[ResponseHead | None], None], head: ResponseHead | None, reason: str, slow: bool
    ) -> None:
        told(head)
        self._ended(head, reason, slow)

    def _ended(self, head: ResponseHead | None, reason: str, slow: bool) -> None:
        """Notes the end of a ping. Any answer shows that the server is there; but a refusal that closes the connection
        is worse than no ping: nginx 1.22 refuses OPTIONS * so, and a pinged floor would cost a handshake each time."""
        if head is None:
            self._holdings.counters.pings_failed += 1
        elif head.status >= 400 and not head.keep_alive:
            self._vain = self._pool.ping_request
            self._advice.vain_ping(head.status)
