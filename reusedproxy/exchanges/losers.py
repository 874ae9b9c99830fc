"""Receives the answer that comes second to a request that was sent twice, and drops it.

So the server's connection goes on, if the answer ends soon and is short; otherwise it is closed. Until then the place
at the server is taken: it has that request to do. It must never know the request, which may be over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.probe import Probe
from reusedproxy.pool.reasons import NOT_AWAITED
from reusedproxy.wire.heads import ResponseHead

#: Seconds that the answer may still take, and bytes of its body.
MOST_SECONDS: Final = 1.0
MOST_BYTES: Final = 64 * 1024


class Losing(Probe):
    """Is what a connection serves whose answer nobody awaits. `over` is called once, when the connection is free again
    or gone."""

    def __init__(self, method: bytes, connection: ServerConnection, over: Callable[[Losing], None]) -> None:
        """Takes the place of the request at `connection`."""
        super().__init__(method, lambda head, reason, slow: over(self))
        self._connection = connection
        self._bytes = 0
        connection.exchange = self
        deadlines = connection.pool.deadlines
        deadlines.watch(self, deadlines.now() + MOST_SECONDS)

    def deadline_passed(self) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Closes the connection."""
        connection = self._connection
        if connection is not None:
            connection.give_up(NOT_AWAITED)
            self._end(None, NOT_AWAITED, False)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        super().response_started(head, data)
        if head.length > MOST_BYTES:
            self.give_up()
        else:
            self.response_data(data)

    def response_data(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            self.give_up()
