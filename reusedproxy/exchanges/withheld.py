"""Holds a server's answer back while rules for answers wait: until so much of its body has come (`wait-for-body`), or
for a time (`pause`).

What comes meanwhile is kept, up to a bound; then the server is not read. The rules go on where they stood
(`answer_rules`). It must never know what they decide.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import ClassVar, Protocol

from twisted.logger import Logger

from reusedproxy.exchanges.waiting import Gathering
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.rules.steering import Held
from reusedproxy.wire.bodies import ChunkedBody, payload
from reusedproxy.wire.heads import CHUNKED, UNTIL_CLOSE, ResponseHead

#: What rules make of an answer: a status, a whole answer in its place, and two letters for the log; or they have it
#: held back; None: they let it pass.
Verdict = tuple[int, bytes, str] | Held | None
#: Runs the rules that are left.
Rules = Callable[..., Verdict]


class Withholding(Protocol):
    """Defines the exchange as its withheld answer knows it."""

    #: The client takes chunked coding, so that an answer without a length comes in chunks.
    framed: bool

    @property
    def deadlines(self) -> Deadlines: ...

    def pause_response(self) -> None:
        """Stops reading the answer."""

    def answer_goes_on(self, rules: Rules) -> None:
        """Runs the rules that are left, and does what they decide."""

    def answer_late(self) -> None:
        """Ends the exchange, because the server has not sent enough of its answer in time."""

    def fail(self, status: int, flags: str) -> None:
        """Ends the exchange with an error response of the proxy's own."""

    def break_off(self) -> None:
        """Ends the exchange by an error of the proxy."""


class Withheld:
    """Holds one answer: its `head`, and what has come of its body, at most so many bytes but for the piece that exceeds
    them. `over` tells that this is all; `uploading`, that the connection is still sending the request then."""

    _log: ClassVar[Logger] = Logger()

    __slots__ = (
        "_exchange",
        "_gathering",
        "_most",
        "_paused",
        "_pieces",
        "_rules",
        "deadline",
        "head",
        "over",
        "slot",
        "uploading",
    )

    def __init__(self, exchange: Withholding, head: ResponseHead, data: bytes, over: bool, most: int) -> None:
        self._exchange = exchange
        self._most = most
        self.head = head
        self.over = over
        self.uploading = False
        self._pieces = [data]
        #: What is left of the rules while they wait; None: they do not.
        self._rules: Rules | None = None
        #: Counts what has come while the rules wait for that.
        self._gathering: Gathering | None = None
        self._paused = False
        self.deadline = inf
        self.slot = 0.0

    @property
    def data(self) -> bytes:
        """Returns what has come of the body, as it is sent on."""
        return b"".join(self._pieces)

    def waits(self, held: Held, rules: Rules) -> bool:
        """Has the rules wait, and `rules` run then. Returns False if what they wait for is there."""
        self._gathering = None
        if held.at_least is not None:
            gathering = self._gathering = self._counting(held.at_least)
            gathering.take(self.data)
            if self.over or gathering.enough:
                return False
        elif held.seconds is None or held.seconds <= 0:
            return False
        self._rules = rules
        if held.seconds is not None:
            self._exchange.deadlines.watch(self, self._exchange.deadlines.now() + held.seconds)
        return True

    def _counting(self, at_least: int) -> Gathering:
        in_chunks = comes_in_chunks(self.head, self._exchange.framed)
        return Gathering(at_least, self._most, ChunkedBody(framed=False) if in_chunks else None)

    def add(self, data: bytes) -> None:
        """Keeps more of the body."""
        self._pieces.append(data)
        if self._gathering is None:
            if not self._paused and sum(map(len, self._pieces)) > self._most:
                self._paused = True
                self._exchange.pause_response()
            return
        self._gathering.take(data)
        if self._gathering.enough:
            self._go_on()
        elif self._gathering.overframed:
            self.leave()
            self._exchange.fail(502, "PH")

    def end(self) -> None:
        """Notes that the body is complete."""
        self.over = True
        if self._gathering is not None:
            self._go_on()

    def leave(self) -> None:
        """Waits no more."""
        self._rules = self._gathering = None
        self._exchange.deadlines.cancel(self)

    @property
    def paused(self) -> bool:
        """Tells whether the server is not read."""
        return self._paused

    def deadline_passed(self) -> None:
        try:
            if self._gathering is not None:
                self.leave()
                self._exchange.answer_late()
            else:
                self._go_on()
        except Exception:
            self._log.failure("a request failed after its answer had been held back")
            self._exchange.break_off()

    def _go_on(self) -> None:
        rules = self._rules
        self.leave()
        if rules is not None:
            self._exchange.answer_goes_on(rules)


def body_of(head: ResponseHead, data: bytes, framed: bool) -> bytes:
    """Returns what has come of an answer's body without its framing."""
    return payload(ChunkedBody(framed=False), data) if comes_in_chunks(head, framed) else data


def comes_in_chunks(head: ResponseHead, framed: bool) -> bool:
    """Tells whether the connection passes an answer's body on in chunks: the server's, or those that it makes where the
    body ends with the connection. `framed` tells that the client takes them."""
    return framed and head.length in (CHUNKED, UNTIL_CLOSE)
