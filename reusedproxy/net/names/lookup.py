"""Finds out once what the name servers of a section say about a name: questions, repetitions, the other family.

All name servers are asked at the same time, and the first valid answer counts. Invalid ones count when all name servers
have given theirs, or the time is over. As in HAProxy (src/resolvers.c), an invalid answer about one family of addresses
has the other family asked for at once; the whole is repeated `resolve_retries` times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.net.names.messages import OTHER, TIMEOUT, VALID, Answer


class Asking(Protocol):
    """Defines what a lookup needs of its section."""

    clock: IReactorTime
    retry: float
    retries: int

    def ask(self, lookup: Lookup, name: str, kind: int) -> int:
        """Sends a question to all name servers in place of this lookup's question before; `Lookup.answered` gets the
        answers. Returns how many were asked."""

    def overdue(self, lookup: Lookup) -> None:
        """Notes that the time for answers to the lookup's question is over."""

    def done(self, lookup: Lookup) -> None:
        """Forgets the lookup's question."""


class Lookup:
    """Asks about one name until there is a valid answer, or all tries are used up; then calls `told` once with the
    answer, or with that of the last failure, and the name server that gave it ("": none did)."""

    def __init__(self, section: Asking, name: str, kinds: tuple[int, ...], told: Callable[[Answer, str], None]) -> None:
        """Asks for the first of `kinds`, and for the second, if there is one, where that comes to nothing."""
        self.name = name
        self._section = section
        self._kinds = kinds
        self._told = told
        self._tries = section.retries
        self._call: IDelayedCall | None = None
        self._second = False
        self._asked = self._answers = 0
        self._last = Answer(TIMEOUT)
        self._from = ""
        self._part: tuple[Answer, str] | None = None

    @property
    def kind(self) -> int:
        """Returns the kind of the present question."""
        return self._kinds[-1] if self._second else self._kinds[0]

    def start(self) -> None:
        self._send(False)

    def stop(self) -> None:
        """Asks no more, and tells nobody."""
        self._section.done(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def answered(self, answer: Answer | None, nameserver: str) -> None:
        """Takes what a name server has answered to the present question; None: nothing that can be read."""
        self._answers += 1
        self._last, self._from = answer or Answer(OTHER), nameserver
        if self._last.status == VALID:
            self._end()
        elif self._answers < self._asked:
            return
        elif not self._second and len(self._kinds) > 1:
            self._send(True)
        elif self._second and not self._tries:
            self._end()
        # Else it is asked again when the time is over.

    def answered_in_part(self, answer: Answer, nameserver: str) -> None:
        """Takes the part of an answer that a message could hold. It counts if the whole does not come in time."""
        if answer.status == VALID:
            self._part = answer, nameserver

    def _send(self, second: bool) -> None:
        self._second = second
        self._answers = 0
        self._part = None
        if self._call is not None:
            self._call.cancel()
        self._call = self._section.clock.callLater(self._section.retry, self._time_is_over)
        self._asked = self._section.ask(self, self.name, self.kind)

    def _time_is_over(self) -> None:
        self._call = None
        self._section.overdue(self)
        if self._part is not None:
            self._last, self._from = self._part
            self._end()
            return
        answered = self._answers > 0
        if not answered:
            self._last, self._from = Answer(TIMEOUT), ""
        if not self._tries:
            self._end()
        elif answered and not self._second and len(self._kinds) > 1:
            self._send(True)
        else:
            self._tries -= 1
            self._send(False)

    def _end(self) -> None:
        self.stop()
        self._told(self._last, self._from)
