"""Messages that could not be taken: what was wrong with the last one, and a line about each kind of it.

HAProxy keeps one for each proxy, too (its `show errors`), but logs only that there was one. It must never know who reads.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

#: Bytes kept of a message.
CAPTURED = 1024
#: Seconds between two lines about the same trouble.
TELL_EVERY = 10.0
#: Lines in that time, about whatever: those who make trouble may make it of many kinds.
TELL_AT_MOST = 10


class Teller:
    """Says each trouble at most once in `TELL_EVERY` seconds, however often it comes, and no more than `TELL_AT_MOST` of them;
    the rest is counted into the next."""

    def __init__(self, now: Callable[[], float], say: Callable[[str], None]) -> None:
        self._now = now
        self._say = say
        self._told_at: dict[str, float] = {}
        self._untold = 0

    def tell(self, trouble: str, text: str, what: str) -> bool:
        """Say `text`, unless this `trouble` was said of late; `what` is the word for several of them."""
        now = self._now()
        self._untold += 1
        told_at = {each: at for each, at in self._told_at.items() if now - at < TELL_EVERY}
        new = trouble not in told_at and len(told_at) < TELL_AT_MOST
        if new:
            self._say(f"{text} ({self._untold} {what} since the last line)" if self._untold > 1 else text)
            told_at[trouble] = now
            self._untold = 0
        self._told_at = told_at
        return new


@frozen
class Capture:
    """One message: when it came (the clock's seconds), from whom, why it was not taken, and the beginning of its last piece."""

    at: float
    source: str
    reason: str
    data: bytes


class Captures:
    """The last invalid message of one frontend or server, `last`, and how many there were."""

    def __init__(self, name: str, kind: str, now: Callable[[], float], say: Callable[[str], None]) -> None:
        """`name` begins each line; `kind` is "request" or "response"."""
        self.last: Capture | None = None
        self.count = 0
        self._name = name
        self._kind = kind
        self._now = now
        self._teller = Teller(now, say)

    def note(self, source: str, reason: str, data: bytes) -> None:
        """One more. `source` may be nothing, where the name says it."""
        self.count += 1
        self.last = Capture(self._now(), source, reason, data[:CAPTURED])
        by = f" from {source}" if source else ""
        self._teller.tell(reason, f"{self._name}: invalid {self._kind}{by}: {reason}", f"invalid {self._kind}s")
