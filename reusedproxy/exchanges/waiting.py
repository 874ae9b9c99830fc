"""Holds a request back while its rules are run: for a time, or until its body has come.

The rules go on where they stood (`routing`), or the answer of a rule is given late (`tarpit`). It must never know what
comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Protocol

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.wire.bodies import ChunkedBody, payload

#: How many times as long as its content a body may be with what frames its chunks, while rules wait for it: chunks of
#: one byte are sent on with six.
FRAMING = 8
#: The second letter of HAProxy's termination state for a request that is held back by `tarpit`, and else.
TARPIT, RULES = "T", "R"


class Waiting(Protocol):
    """Defines the exchange as its wait knows it."""

    #: All of the request has come.
    complete: bool
    waiting: Wait | None

    @property
    def deadlines(self) -> Deadlines: ...

    def fail(self, status: int, flags: str) -> None:
        """Ends the exchange with an error response of the proxy's own."""


class Gathering:
    """Counts what has come of a body, until that is enough: `at_least` bytes of it (0: all), or as many as rules see at
    `most`. `reader` takes chunks apart; None: there are none."""

    __slots__ = ("_at_least", "_come", "_held", "_most", "_reader")

    def __init__(self, at_least: int, most: int, reader: ChunkedBody | None) -> None:
        self._at_least = at_least
        self._most = most
        self._reader = reader
        self._come = self._held = 0

    def take(self, data: bytes) -> None:
        """Counts one more piece of the body, as it is sent on."""
        self._held += len(data)
        self._come += len(data) if self._reader is None else len(payload(self._reader, data))

    @property
    def enough(self) -> bool:
        return self._come >= self._most or 0 < self._at_least <= self._come

    @property
    def overframed(self) -> bool:
        """Tells whether what frames the chunks is more than can be held for the sake of what is in them: rules would
        see next to nothing of the body."""
        return self._held > FRAMING * self._most and not self.enough


class Wait:
    """Waits for one request, until it has `ended`, is `late`, or the exchange ends, and leaves it then.

    `body` is what it waits for; None: its time.
    """

    __slots__ = ("_body", "_ended", "_exchange", "_late", "deadline", "phase", "slot", "stop")

    def __init__(
        self,
        exchange: Waiting,
        seconds: float | None,
        ended: Callable[[], None],
        *,
        body: Gathering | None = None,
        late: Callable[[], None] | None = None,
        phase: str = RULES,
    ) -> None:
        """Waits for so many `seconds` (None: for any time). `late` is called when they are over, None: `ended` is."""
        self._exchange = exchange
        self._ended = ended
        self._late = late or ended
        self._body = body
        self.phase = phase
        #: Stops what it waits for; None: there is nothing to stop.
        self.stop: Callable[[], None] | None = None
        self.deadline = inf
        self.slot = 0.0
        exchange.waiting = self
        if seconds is not None:
            exchange.deadlines.watch(self, exchange.deadlines.now() + seconds)

    def body_came(self, data: bytes = b"") -> None:
        """Looks whether enough of the body has come, with this piece."""
        body = self._body
        if body is None:
            return
        body.take(data)
        if self._exchange.complete or body.enough:
            self.leave()
            self._ended()
        elif body.overframed:
            self.leave()
            self._exchange.fail(400, f"P{self.phase}")

    @property
    def reads_body(self) -> bool:
        """Tells whether more of the body is wanted, however much is held of it."""
        return self._body is not None

    def end(self) -> None:
        """Ends the wait, unless it has been left."""
        if self._exchange.waiting is self:
            self.leave()
            self._ended()

    def leave(self) -> None:
        """Waits no more."""
        if self.stop is not None:
            self.stop()
        self._exchange.waiting = None
        self._exchange.deadlines.cancel(self)

    def deadline_passed(self) -> None:
        self.leave()
        self._late()
