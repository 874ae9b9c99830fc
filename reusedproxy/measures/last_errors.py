"""Keeps the last invalid message of a frontend or server for operators, and logs each kind of fault.

HAProxy keeps one for each proxy, too (its `show errors`), but logs only that there was one. It must never know who
reads.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from reusedproxy.measures.log_throttle import LogThrottle

#: Bytes of a message that are kept.
CAPTURED = 1024


@frozen
class LastError:
    """Holds one invalid message.

    `at` is the time when it came (the clock's seconds), `source` its sender, `reason` what is wrong with it, and `data`
    the beginning of its last piece.
    """

    at: float
    source: str
    reason: str
    data: bytes


class LastErrors:
    """Keeps the `last` invalid message of one frontend or server, and counts all of them."""

    def __init__(self, name: str, kind: str, now: Callable[[], float], say: Callable[[str], None]) -> None:
        """Sets the words of the log lines: each begins with `name`; `kind` is "request" or "response"."""
        self.last: LastError | None = None
        self.count = 0
        self._name = name
        self._kind = kind
        self._now = now
        self._throttle = LogThrottle(now, say)

    def note(self, source: str, reason: str, data: bytes) -> None:
        """Records one more invalid message. `source` is "" where the name says who sent it."""
        self.count += 1
        self.last = LastError(self._now(), source, reason, data[:CAPTURED])
        by = f" from {source}" if source else ""
        self._throttle.tell(reason, f"{self._name}: invalid {self._kind}{by}: {reason}", f"invalid {self._kind}s")
