"""Holds what a line of the log shows of one request (`sessions.course`). It must never know how a line is written."""

from __future__ import annotations

from typing import Any

from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.sessions.course import SessionCourse


class ExchangeCourse(SessionCourse):
    """Holds it of an exchange."""

    __slots__ = ()

    def __init__(self, facts: Any) -> None:
        began, read, placed = facts.began, facts.read, facts.placed_at
        connected, answered = facts.connected, facts.answered
        ended = facts.ended or answered or facts.client.deadlines.now()
        self._begin(facts, ended)
        since = facts.client.since
        self.idle_time = idle = int((began - since) * 1000)
        if facts.head is None or not read:
            self.request_time = self.whole_request_time = -1
        else:
            self.request_time = int((read - began) * 1000)
            self.whole_request_time = int((read - self._accepted) * 1000)
        self.queue_time = int((placed - read) * 1000) if placed else -1
        self.connect_time = int((connected - placed) * 1000) if connected else -1
        self.response_time = int((answered - connected) * 1000) if answered else -1
        self.data_time = int((ended - answered) * 1000) if answered else -1
        if facts.applet:
            self.server_label = facts.applet
            self.queue_time = self.connect_time = self.response_time = self.data_time = 0
        elif not placed and self.flags[1] == "Q":
            self.queue_time = int((ended - read) * 1000)
        self.active_time = int((ended - began) * 1000)
        self.user_time = self.total_time - idle
        # As in HAProxy it is -1 as long as there is no answer.
        self.status = facts.status or (-1 if facts.answer is None else facts.answer.status)
        self.bytes_in, self.bytes_out = facts.bytes_in, facts.bytes_out

    @property
    def termination(self) -> str:
        """Returns the four letters of the termination state."""
        facts = self.facts
        letters: str
        if facts.cookie is not None:
            letters = facts.cookie.letters(facts.binding, facts.server)
        elif facts.backend is not None:
            letters = facts.backend.cookie_letters
        else:
            letters = NO_COOKIES if facts.head is None else facts.client.frontend.cookie_letters
        return self.flags + letters

    @property
    def hedged(self) -> int:
        """Returns 0; 1 if the request was sent to a second connection, and 2 if that has answered."""
        hedged: int = self.facts.hedged
        return hedged

    @property
    def origin(self) -> str:
        if self.facts.head is None:
            return "sess_error"
        return "txn_close" if self.facts.ended else "txn_response"
