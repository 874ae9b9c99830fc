"""Sends one request of an examination, and keeps the beginning of the answer's body. It must never know what the
answer means."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from reusedproxy.doctor.bench import Bench
from reusedproxy.doctor.observations import Asked
from reusedproxy.pool.connection import IDLE, IN_USE, ServerConnection
from reusedproxy.pool.probe import Probe
from reusedproxy.wire.heads import ResponseHead

#: Bytes of a body that are kept, and bytes after which an answer is not read on.
KEPT, MOST = 4096, 256 * 1024


class Inquiry(Probe):
    """Sends one request on a connection of a bench; `told` is fired once with what came of it, and never fails. `head`
    is that of the answer, None without one."""

    def __init__(self, bench: Bench, connection: ServerConnection, role: str, request: bytes, timeout: float) -> None:
        self._role = role
        self._timeout = timeout
        self._line = request.partition(b" HTTP/")[0].decode("latin-1")
        super().__init__(request.partition(b" ")[0], self._answered)
        self.told: Deferred[Asked] = Deferred(lambda _: self._cancelled())
        self._bench = bench
        self._asking = connection
        self._began = bench.deadlines.now()
        self._body = b""
        self._size = 0
        self.head: ResponseHead | None = None
        connection.state = IN_USE
        self.ask(connection, request, timeout)

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        self.response_data(body)
        super().response_whole(head, body, now)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        super().response_started(head, data)
        self.response_data(data)

    def response_data(self, data: bytes) -> None:
        self._body += data[: KEPT - len(self._body)]
        self._size += len(data)
        if self._size > MOST and self._asking.state == IN_USE and self._head is not None:
            self._asking.give_up("answer too long to read")
            self._end(self._head, "", False)

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        self.response_data(body)
        super().response_early(head, body)

    def _answered(self, head: ResponseHead | None, reason: str, slow: bool) -> None:
        bench, connection = self._bench, self._asking
        self.head = head
        kept = connection.state == IDLE
        if head is not None and not kept:
            end = bench.ended.get(connection)
            reason = reason or ("" if end is None else end.reason)
        if slow:
            reason = f"none came within {self._timeout:g} s"
        took = bench.deadlines.now() - self._began
        status = None if head is None else head.status
        self.told.callback(Asked(self._role, self._line, status, kept, str(reason), took, self._body))

    def _cancelled(self) -> None:
        self._ended = None
        connection, self._connection = self._connection, None
        if connection is not None:
            self._bench.deadlines.cancel(self)
            connection.give_up("examination ended")


def request_for(method: str, target: str, host: str) -> bytes:
    """Returns a request without a body, after which the connection may be kept."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: reusedproxy-doctor\r\n\r\n".encode("latin-1")
