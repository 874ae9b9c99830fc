"""Log throttle: says each kind of trouble at most once in a while, however often it comes, and counts the rest."""

from __future__ import annotations

from collections.abc import Callable

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
