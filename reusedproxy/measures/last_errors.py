"""Messages that could not be taken: what was wrong with the last one, and a line about each kind of it.

HAProxy keeps one for each proxy, too (its `show errors`), but logs only that there was one. It must never know who reads.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from reusedproxy.measures.log_throttle import Teller

#: Bytes kept of a message.
CAPTURED = 1024


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
