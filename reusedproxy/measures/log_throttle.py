"""Limits log lines about trouble that repeats: each kind is logged once in a while, and the rest is counted."""

from __future__ import annotations

from collections.abc import Callable

#: Seconds between two lines about the same trouble.
TELL_EVERY = 10.0


#: The most lines in that time, about whatever trouble: a client that causes trouble may cause many kinds of it.
TELL_AT_MOST = 10


class LogThrottle:
    """Logs each trouble at most once in `TELL_EVERY` seconds, and at most `TELL_AT_MOST` troubles in that time.

    Those that are not logged are counted, and the next line tells their number.
    """

    def __init__(self, now: Callable[[], float], say: Callable[[str], None]) -> None:
        self._now = now
        self._say = say
        self._told_at: dict[str, float] = {}
        self._untold = 0

    def tell(self, trouble: str, text: str, what: str) -> bool:
        """Logs `text` unless this `trouble` was logged lately or too many others were.

        Returns whether it was logged.

        `what` is the plural noun for the number of troubles since the last line.
        """
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
