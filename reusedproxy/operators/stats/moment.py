"""Keeps the statistics of one moment for all who ask, so that computing them takes a small share of the time.

Hundreds of servers take long, and nothing else runs meanwhile. The statistics are computed anew only after `REST` times
the time that this took, so that they take a twentieth of the time at most, however often they are requested. For a few
servers they are practically always current.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain

from reusedproxy.net.slices import Steps
from reusedproxy.operators.stats.figures import Section, figuring
from reusedproxy.operators.view.reading import Reader
from reusedproxy.operators.view.values import ProxyView

REST = 20
#: Seconds after which they are computed anew in any case.
OLDEST = 1.0
#: Parts of an old moment that are freed in one step: 1,000 servers at once take 6 to 13 ms.
FREED_AT_ONCE = 50
#: Texts that are kept to be shown again: clients say which sections they want to see, and how.
MOST_TEXTS = 64


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
        self._texts: dict[str, list[str]] = {}

    def pieces(self, form: str, write: Callable[[], Iterator[str]]) -> Iterator[str]:
        """Returns the output of `write` as it comes, or again if it is known: in pieces, too, since what is made of
        1,000 servers takes 10 ms to join, and as long to encode."""
        known = self._texts.get(form)
        if known is not None:
            yield from known
            return
        pieces, made = write(), list[str]()
        while True:
            began = self._now()
            piece = next(pieces, None)
            self._took += self._now() - began
            if piece is None:
                break
            made.append(piece)
            yield piece
        if len(self._texts) < MOST_TEXTS:
            self._texts[form] = made

    def parts(self) -> list[object]:
        """Returns what it is mostly made of."""
        servers = [server for backend in self.view.backends for server in backend.servers]
        return [
            *self.view.backends,
            *self.view.frontends,
            *servers,
            *chain.from_iterable(each.rows() for each in self.sections),
        ]

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
        #: What is made in steps, by all who wait for it; when the last of these was done, the seconds spent on it, and
        #: whether it will have the pools' measures.
        self._coming: Steps[tuple[ProxyView, list[Section]]] | None = None
        self._coming_at = self._coming_took = 0.0
        self._coming_measured = False
        #: What the last one was made by.
        self._made_by: object = ()

    def forget(self) -> None:
        """Makes the next figures anew, after what they show was changed."""
        self._last = self._coming = None

    def awaited(self, *, measures: bool = False) -> Steps[Moment]:
        """Returns the current figures, or recent ones, which all who ask share, in steps of little work each; with
        `measures` also those of the pools."""
        now = self.reader.now
        awaited: object = None
        while not self._serves(measures, awaited):
            began = now()
            abandoned = began - self._coming_at > OLDEST  # by clients that are gone
            if self._coming is None or abandoned or self._coming_measured < measures:
                self._coming, self._coming_took, self._coming_measured = self._making(measures), 0.0, measures
            awaited = coming = self._coming
            try:
                next(coming)
            except StopIteration as end:
                self._made_by, self._coming = coming, None
                view, sections = end.value
                last, took = self._last, self._coming_took + now() - began
                spent = last.spent if last is not None and last.fresh else 0.0
                self._last = Moment(view, sections, self._coming_measured, spent, now, took)
                return self._last
            except BaseException:
                self._coming = None
                raise
            self._coming_at = now()
            self._coming_took += self._coming_at - began
            yield
        assert self._last is not None
        return self._last

    def between_pieces(self, *, measures: bool) -> Generator[bytes, None, Moment]:
        """Returns what `awaited` does, within an answer that is made in pieces: those that it yields are empty, and
        others have their turn between them."""
        steps = self.awaited(measures=measures)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                moment: Moment = end.value
                return moment
            yield b""

    def _serves(self, measures: bool, awaited: object) -> bool:
        """Tells whether the last figures do: they are recent, or those that were waited for."""
        last = self._last
        return last is not None and last.measured >= measures and (last.fresh or awaited is self._made_by)

    def _making(self, measures: bool) -> Steps[tuple[ProxyView, list[Section]]]:
        if self._last is not None and not self._last.fresh:
            parts = self._last.parts()
            self._last = None
            while parts:
                del parts[-FREED_AT_ONCE:]
                yield
        view = yield from self.reader.viewing(measures=measures)
        yield
        return view, (yield from figuring(view))
