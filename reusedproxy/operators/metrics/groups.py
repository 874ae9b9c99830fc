"""Formats the metrics of one server's pool for people: in groups, with units, and for each histogram the main figures.

Turns families into short texts, for the page and for the manhole; must never know HTML or a terminal.
"""

from __future__ import annotations

import time
from math import inf

from attrs import frozen

from reusedproxy.measures.histogram import Histogram
from reusedproxy.operators.metrics.pools import GROUPS, Distribution, Family, of_servers
from reusedproxy.operators.view.values import ServerView

#: Units of time: name, size in seconds, and the value in seconds below which the unit is used.
_UNITS = (("µs", 1e-6, 1e-3), ("ms", 1e-3, 1.0), ("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 172800.0))
#: Shares for a histogram's quantiles, which are shown with its count and mean.
SHARES = (0.5, 0.9, 0.99)
#: Readable names of labels whose values are "yes" or "no".
_YES = {"resumed": "resumption", "client_cert": "client certificate"}
SPREAD_HEADINGS = ("count", "p50", "p90", "p99", "mean")


@frozen
class Value:
    """Shows one number: `labels` tell it from others of its family ("" for the only one); `zero`: it is 0, and shown
    less prominently."""

    labels: str
    text: str
    zero: bool


@frozen
class Line:
    """Holds all numbers of one metric."""

    name: str
    words: str
    values: tuple[Value, ...]


@frozen
class Spread:
    """Shows one histogram; `cells` are the columns of SPREAD_HEADINGS."""

    name: str
    words: str
    cells: tuple[str, ...]
    zero: bool


@frozen
class Group:
    """Holds metrics that belong together."""

    title: str
    lines: tuple[Line, ...]
    spreads: tuple[Spread, ...]


def groups(server: ServerView, now: float) -> list[Group]:
    """Returns all metrics of the server, whose view must have them; `now` is Unix time, for the distance of dates."""
    found = list(of_servers([server]))
    return [
        Group(
            title,
            tuple(_line(each, now) for each in found if each.group == title and _is_plain(each)),
            tuple(spread for each in found if each.group == title and not _is_plain(each) for spread in _spreads(each)),
        )
        for title in GROUPS
    ]


def _is_plain(family: Family) -> bool:
    return family.kind != "histogram"


def _line(family: Family, now: float) -> Line:
    values = []
    for sample in family.samples:
        assert not isinstance(sample.value, Distribution)
        values.append(
            (sample.value, Value(_which(family, sample.labels), _text(family, sample.value, now), not sample.value))
        )
    if any(label in ("result", "reason", "proof") for label in family.labels):
        values.sort(key=lambda each: -each[0])  # the set of values varies, so the most frequent come first
    return Line(family.name, family.words, tuple(value for _, value in values))


def _spreads(family: Family) -> list[Spread]:
    spreads = []
    for sample in family.samples:
        assert isinstance(sample.value, Distribution)
        histogram = sample.value.histogram
        which = _which(family, sample.labels)
        words = f"{family.words}, {which}" if which else family.words
        spreads.append(Spread(family.name, words, _cells(family, histogram), not histogram.count))
    return spreads


def _cells(family: Family, histogram: Histogram) -> tuple[str, ...]:
    mean = histogram.mean
    if mean is None:
        return ("0", *[""] * (len(SPREAD_HEADINGS) - 1))
    show = duration if "seconds" in family.name else number
    last = f"> {show(histogram.bounds[-1])}"
    bounds = [histogram.quantile(share) for share in SHARES]
    return (number(histogram.count), *(last if bound in (inf, None) else show(bound) for bound in bounds), show(mean))


def _which(family: Family, labels: tuple[str, ...]) -> str:
    """Returns the labels that tell one sample of a server from another."""
    words = []
    for name, value in zip(family.labels, labels, strict=True):
        if value in ("yes", "no"):
            words.append(f"{'' if value == 'yes' else 'no '}{_YES[name]}")
        elif name not in ("pool", "server"):
            words.append(value.replace("_", " "))
    return " ".join(words)


def _text(family: Family, value: float, now: float) -> str:
    if "timestamp" in family.name:
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(value))
        return f"{day}, {'in ' if value > now else ''}{duration(abs(value - now))}{'' if value > now else ' ago'}"
    return duration(value) if "seconds" in family.name else number(value)


def number(value: float) -> str:
    """Formats a number: whole numbers and those from 100 on without decimals, others with three significant digits."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Formats a duration in the unit that gives a small number."""
    if seconds == 0:
        return "0 s"
    for unit, size, most in _UNITS:
        if seconds < most:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds // 86400)} days"
