"""Sends one request of an examination, and keeps the beginning of the answer's body. It must never know what the
answer means."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_QUICKACK

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
        self._began = self._headed = bench.deadlines.now()
        self._body = b""
        self._size = 0
        self.head: ResponseHead | None = None
        connection.state = IN_USE
        self.ask(connection, request, timeout)

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        self._headed = self._bench.deadlines.now()
        self.response_data(body)
        super().response_whole(head, body, now)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        super().response_started(head, data)
        self._headed = self._bench.deadlines.now()
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
        now = bench.deadlines.now()
        status = None if head is None else head.status
        took, gap = now - self._began, now - self._headed
        self.told.callback(Asked(self._role, self._line, status, kept, str(reason), took, self._body, gap))

    def _cancelled(self) -> None:
        self._ended = None
        connection, self._connection = self._connection, None
        if connection is not None:
            self._bench.deadlines.cancel(self)
            connection.give_up("examination ended")


def acknowledge_at_once(connection: ServerConnection) -> None:
    """Has the kernel acknowledge what has come, and what comes next, without delay; with the next bytes that are sent
    it falls back into its habit (tcp(7), TCP_QUICKACK). Does nothing on a unix socket, or once the connection is gone.
    """
    used = connection.transport.socket
    if connection.state == IN_USE and used.family in (AF_INET, AF_INET6):
        used.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 1)


def request_for(method: str, target: str, host: str) -> bytes:
    """Returns a request without a body, after which the connection may be kept."""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: reusedproxy-doctor\r\n\r\n".encode("latin-1")
