"""Notes of exchanges what their log is to show, while there is a request and an answer to look at: captured headers and
cookies, the connection to the server; and has the line written early (`option logasap`).

A frontend whose log asks for none of that has no notes, and its exchanges never come here. It must never know how a
line is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reusedproxy.config import model
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.wire.cookies import first_cookie, first_set_cookie
from reusedproxy.wire.grammar import OWS

#: A slot's number, and an expression that finds the values of its header in a head: one call, where `values` of heads
#: takes apart all of it.
Slots = list[tuple[int, re.Pattern[bytes]]]


class LogNotes:
    """Takes the notes of one frontend. `looks_at_answers` tells that some are taken of answers, too."""

    def __init__(self, settings: model.Frontend) -> None:
        captures = settings.captures
        self._request = _named(captures.request)
        self._response = _named(captures.response)
        self._cookie = captures.cookie.encode()
        self._cookie_length = captures.cookie_length
        self._of_connection = settings.log.notes_connections
        self._early = settings.log.early
        self.looks_at_answers = bool(self._response or self._cookie or self._of_connection or self._early)

    def request(self, exchange: Exchange) -> None:
        """Captures what the request says, as it has come."""
        head, noted = exchange.head, exchange.note()
        assert head is not None
        for slot, named in self._request:
            if values := named.findall(head.head):
                noted.capture(values[-1].strip(OWS), slot, False)
        if self._cookie:
            found = first_cookie(head.values(b"Cookie"), self._cookie)
            noted.cookies[0] = None if found is None else found[: self._cookie_length]

    def response(self, exchange: Exchange) -> None:
        """Captures what the server answers, before rules have changed it."""
        answer, noted = exchange.answer, exchange.note()
        assert answer is not None
        if self._of_connection:
            exchange.note_connection()
        for slot, named in self._response:
            if values := named.findall(answer.head):
                noted.capture(values[-1].strip(OWS), slot, True)

    def answered(self, exchange: Exchange) -> None:
        """Captures the cookie of the answer as the client gets it, and writes an early line, with the size of the
        answer's head."""
        answer = exchange.answer
        assert answer is not None
        if self._cookie:
            found = first_set_cookie(answer.values(b"Set-Cookie"), self._cookie)
            exchange.note().cookies[1] = None if found is None else found[: self._cookie_length]
        if self._early:
            before = exchange.bytes_out
            exchange.status, exchange.answered = answer.status, exchange.client.deadlines.now()
            exchange.bytes_out += len(answer.block) + 2
            exchange.client.log_early()
            exchange.bytes_out = before


def _named(slots: Iterable[model.Slot]) -> Slots:
    """Returns the slots of headers, with their numbers; rules fill the others."""
    return [
        (number, re.compile(rb"\r\n(?i:%b):([^\r]*)" % re.escape(slot.name.encode())))
        for number, slot in enumerate(slots)
        if slot.name
    ]
