"""Keeps the statistics of one moment for all who ask, so that computing them takes a small share of the time.

Hundreds of servers take long, and nothing else runs meanwhile. The statistics are computed anew only after `REST` times
the time that this took, so that they take a twentieth of the time at most, however often they are requested. For a few
servers they are practically always current.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reusedproxy.net.slices import Steps, run_through
from reusedproxy.operators.stats.figures import Section, figuring
from reusedproxy.operators.view.reading import Reader
from reusedproxy.operators.view.values import ProxyView

REST = 20
#: Seconds after which they are computed anew in any case.
OLDEST = 1.0


class Moment:
    """The view of a proxy at one time, the figures of it, and the texts written from them."""

    def __init__(
        self,
        view: ProxyView,
        sections: list[Section],
        measured: bool,
        spent: float,
        now: Callable[[], float],
        took: float,
    ) -> None:
        """Takes whether the view has the pools' measures, the seconds `spent` on a moment that this replaces, and those
        that the view and its figures took."""
        self.view = view
        self.measured = measured
        self.sections = sections
        self._now = now
        self._spent = spent
        #: Seconds spent on the view, its figures and texts.
        self._took = took
        self._texts: dict[str, str] = {}

    def pieces(self, form: str, write: Callable[[], Iterator[str]]) -> Iterator[str]:
        """Returns the output of `write` as it comes, or in one piece if it is known."""
        text = self._texts.get(form)
        if text is not None:
            yield text
            return
        pieces = write()
        made = []
        while True:
            began = self._now()
            piece = next(pieces, None)
            self._took += self._now() - began
            if piece is None:
                break
            made.append(piece)
            yield piece
        self._texts[form] = "".join(made)

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
        #: What is made in steps, by all who wait for it; since when, and the seconds spent on it.
        self._coming: Steps[tuple[ProxyView, list[Section]]] | None = None
        self._coming_since = self._coming_took = 0.0
        #: What the last one was made by; nothing if that was done at once.
        self._made_by: object = ()

    def forget(self) -> None:
        """Makes the next figures anew, after what they show was changed."""
        self._last = None

    def current(self, *, measures: bool = False) -> Moment:
        """Returns the current figures, or recent ones, which all pages share; with `measures` also those of the
        pools."""
        last, self._last = self._last, None  # lest two are in memory at once
        if last is None or not last.fresh:
            last = self._made(measures, 0.0)
        elif measures and not last.measured:
            last = self._made(True, last.spent)
        self._last, self._made_by = last, ()
        return last

    def awaited(self) -> Steps[Moment]:
        """Returns the current figures, or recent ones, in steps of little work each."""
        now = self.reader.now
        awaited = None
        while self._last is None or not (self._last.fresh or awaited is self._made_by):
            began = now()
            if self._coming is None or began - self._coming_since > OLDEST:
                self._coming, self._coming_since, self._coming_took = self._making(False), began, 0.0
            awaited = self._coming
            try:
                next(awaited)
            except StopIteration as end:
                self._made_by, self._coming = awaited, None
                view, sections = end.value
                self._last = Moment(view, sections, False, 0.0, now, self._coming_took + now() - began)
                break
            self._coming_took += now() - began
            yield
        return self._last

    def _made(self, measures: bool, spent: float) -> Moment:
        now = self.reader.now
        began = now()
        view, sections = run_through(self._making(measures))
        return Moment(view, sections, measures, spent, now, now() - began)

    def _making(self, measures: bool) -> Steps[tuple[ProxyView, list[Section]]]:
        view = yield from self.reader.viewing(measures=measures)
        yield
        return view, (yield from figuring(view))
