"""Keeps the statistics of one moment for all who ask, so that computing them takes a small share of the time.

Hundreds of servers take long, and nothing else runs meanwhile. The statistics are computed anew only after `REST` times
the time that this took, so that they take a twentieth of the time at most, however often they are requested. For a few
servers they are practically always current.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.operators.stats.figures import Section, sections_of
from reusedproxy.operators.view.reading import Reader
from reusedproxy.operators.view.values import ProxyView

REST = 20
#: Seconds after which they are computed anew in any case.
OLDEST = 1.0


class Moment:
    """The view of a proxy at one time, the figures of it, and the texts written from them."""

    def __init__(self, view: ProxyView, measured: bool, spent: float, now: Callable[[], float]) -> None:
        """Takes whether the view has the pools' measures, and the seconds `spent` on a moment that this replaces."""
        self.view = view
        self.measured = measured
        self.sections: list[Section] = sections_of(view)
        self._now = now
        self._spent = spent
        #: Seconds spent on the view, its figures and texts.
        self._took = now() - view.at
        self._texts: dict[str, str] = {}

    def text(self, form: str, write: Callable[[], str]) -> str:
        """Returns the output of `write` for the figures, or the earlier output if this form was requested before."""
        text = self._texts.get(form)
        if text is None:
            began = self._now()
            text = self._texts[form] = write()
            self._took += self._now() - began
        return text

    @property
    def spent(self) -> float:
        """The seconds that were spent on it, and on what it replaces."""
        return self._spent + self._took

    @property
    def fresh(self) -> bool:
        """Tells whether the figures are recent enough to be shown."""
        return self._now() - self.view.at - self._took < min(self.spent * REST, OLDEST)


class Moments:
    """Returns the statistics of a proxy as they are now, or were a moment ago."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._last: Moment | None = None

    def forget(self) -> None:
        """Makes the next figures anew, after what they show was changed."""
        self._last = None

    def current(self, *, measures: bool = False) -> Moment:
        """Returns the current figures, or recent ones, which all pages share; with `measures` also those of the
        pools."""
        last, self._last = self._last, None  # lest two are in memory at once
        if last is None or not last.fresh:
            last = Moment(self.reader.view(measures=measures), measures, 0.0, self.reader.now)
        elif measures and not last.measured:
            last = Moment(self.reader.view(measures=True), True, last.spent, self.reader.now)
        self._last = last
        return last
