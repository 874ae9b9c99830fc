"""Holds what a line of the log shows of one session of `mode tcp` (`sessions.course`). It must never know how a line is
written."""

from __future__ import annotations

from typing import Any

from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.sessions.course import SessionCourse


class StreamCourse(SessionCourse):
    """Holds it of a stream, whose data begin with the connection to its server."""

    __slots__ = ()

    def __init__(self, facts: Any) -> None:
        began, placed, connected = facts.began, facts.placed_at, facts.connected
        ended = facts.ended or connected or facts.client.deadlines.now()
        self._begin(facts, ended)
        self.idle_time = self.request_time = 0
        self.whole_request_time = self.handshake_time
        self.queue_time = int((placed - began) * 1000) if placed else -1
        if not placed and self.flags[1] == "Q":
            self.queue_time = int((ended - began) * 1000)
        self.connect_time = int((connected - placed) * 1000) if connected else -1
        self.response_time = -1
        self.data_time = int((ended - connected) * 1000) if connected else -1
        self.active_time = int((ended - began) * 1000)
        self.user_time = self.total_time
        self.status = 0
        self.bytes_in, self.bytes_out = facts.received, facts.sent

    @property
    def termination(self) -> str:
        return self.flags + NO_COOKIES

    @property
    def origin(self) -> str:
        return "txn_close" if self.facts.ended else "txn_connect"
