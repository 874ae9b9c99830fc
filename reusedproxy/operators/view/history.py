"""Keeps what went through the proxy in each of the last minutes' seconds: requests, and answers that were errors.

It goes on through reloads, so that what happened before one can still be seen. Knows numbers only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reusedproxy.measures.histogram import ANSWERS, Histogram

#: Samples that are kept, one each second: ten minutes.
KEPT = 600


class Sample(NamedTuple):
    """Holds what went through in these `seconds`: requests that ended, and answers of them with a status of 5xx.
    `answered` counts those that servers have answered, by how long that took (`measures.histogram.ANSWERS`); () if
    there were none."""

    seconds: float
    requests: int
    errors: int
    answered: tuple[int, ...] = ()


class History:
    """Holds the last samples, the oldest first."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self._requests = self._errors = 0

    def begin(self, requests: int, errors: int) -> None:
        """Begins at these totals: those of a new proxy, say, which counts anew."""
        self._requests, self._errors = requests, errors

    def note(self, seconds: float, requests: int, errors: int, answered: tuple[int, ...] = ()) -> None:
        """Notes the totals after so many more seconds, and what was `answered` in these. Counters that are less than
        before have begun anew."""
        more, failed = requests - self._requests, errors - self._errors
        self.samples.append(Sample(seconds, requests if more < 0 else more, errors if failed < 0 else failed, answered))
        self._requests, self._errors = requests, errors


class Share(NamedTuple):
    """Holds requests per second and the share of errors within the last seconds."""

    rate: float
    errors: float


def last(samples: Iterable[Sample], seconds: float) -> Share:
    """Returns what went through in about the last so many seconds of these samples, the oldest first."""
    spent, requests, errors = 0.0, 0, 0
    for sample in _within(samples, seconds):
        spent += sample.seconds
        requests += sample.requests
        errors += sample.errors
    return Share(requests / spent if spent else 0.0, min(1.0, errors / requests) if requests else 0.0)


def answers(samples: Iterable[Sample], seconds: float) -> Histogram:
    """Returns how long answers took in about the last so many seconds of these samples. Its sum is not known."""
    counts = [each.answered for each in _within(samples, seconds) if each.answered]
    return Histogram(ANSWERS, [sum(column) for column in zip(*counts, strict=True)]) if counts else Histogram(ANSWERS)


def _within(samples: Iterable[Sample], seconds: float) -> Iterator[Sample]:
    """Returns the samples of about the last so many seconds, the newest first."""
    spent = 0.0
    for sample in reversed(tuple(samples)):
        if spent + sample.seconds / 2 > seconds:
            break
        spent += sample.seconds
        yield sample
