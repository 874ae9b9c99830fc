"""Sends a request of the proxy's own over a pooled connection: a health check whose connection is to be
kept, or a ping.

The body of the answer is read and dropped, so that the connection can carry other requests afterwards. A probe must
never know what the answer means.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from reusedproxy.net.transport import BROKEN
from reusedproxy.pool.connection import SERVER_SLOW, ServerConnection
from reusedproxy.wire.heads import ResponseFault, ResponseHead

#: The answer's head, or None and why there is none; `slow` says that its time was over.
Ended = Callable[[ResponseHead | None, str, bool], None]


class Probe:
    """Sends one request of the proxy's own on a `ServerConnection`. `ended` is called once, whatever the server sends
    and however the connection ends; by then the connection is free again, or gone."""

    framed = True
    expects = False

    def __init__(self, method: bytes, ended: Ended) -> None:
        self.method = method
        self.deadline = inf
        self.slot = 0.0
        self._head: ResponseHead | None = None
        self._ended: Ended | None = ended
        self._connection: ServerConnection | None = None

    def ask(self, connection: ServerConnection, request: bytes, timeout: float) -> None:
        """Sends the request. The whole answer must be here within `timeout` seconds: a limit on each silence, as
        clients' requests have it, would let a server that keeps sending 103, or a byte of the body now and then, hold
        the probe for ever."""
        self._connection = connection
        deadlines = connection.pool.deadlines
        deadlines.watch(self, deadlines.now() + timeout)
        connection.send(self, request, True, None)

    def deadline_passed(self) -> None:
        connection = self._connection
        assert connection is not None
        connection.give_up("timeout server")
        self._end(None, "timeout server", True)

    def _end(self, head: ResponseHead | None, reason: str, slow: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pool.deadlines.cancel(self)
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(head, reason, slow)

    # What its connection calls.

    def may_repeat(self) -> bool:
        return False

    def unwanted(self, status: int) -> bool:
        return False

    def answer_unwanted(self, status: int) -> None:
        """Does nothing: every answer is wanted."""

    def challenged(self) -> bool:
        """Returns False: nobody will answer the challenge, so the connection is anybody's as before."""
        return False

    def response_interim(self, head: ResponseHead) -> None:
        """Ignores a 1xx head; the final one follows, in time or not."""

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        """Raises ResponseFault: a tunnel, or a protocol that was not asked for (RFC 9110 section 15.2.2), ends the
        connection as any invalid answer does."""
        raise ResponseFault("unasked 101" if head.status == 101 else "tunnel instead of an answer")

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        self._end(head, "", False)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        self._head = head

    def response_data(self, data: bytes) -> None:
        """Drops the body."""

    def response_ended(self) -> None:
        self._end(self._head, "", False)

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        self._end(head or self._head, "", False)

    def request_sent(self) -> None:
        """Does nothing: the probe has ended, and the connection, which took a little longer, is free."""

    def request_refused(self, whose: str | None) -> None:
        """Does nothing: the connection is gone, and the answer stands."""

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        self._end(None, reason, whose == SERVER_SLOW)

    def break_off(self) -> None:
        self._end(None, BROKEN, False)

    def pause_request(self) -> None:
        """Does nothing: the request is too small to be paused."""

    def resume_request(self) -> None:
        """Does nothing; see `pause_request`."""
