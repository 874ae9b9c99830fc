"""
The table and the bars, as Markdown. It knows rows and names, and measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from benchmarks.works import ROUND_TRIP, Row

OURS = "ours"


@frozen
class Bar:
    """
    What the design promises.

    @ivar row: the row that it is about.
    @ivar to: the contender that we are compared with; empty for a figure by itself.
    @ivar limit: the figure, or ratio, at which it is passed.
    @ivar stretch: what we would like.
    @ivar at_least: whether more is better.
    """

    title: str
    row: str
    limit: float
    to: str = ""
    stretch: float | None = None
    at_least: bool = False

    def measured(self, rows: Mapping[str, Row]) -> float | None:
        """Our figure, or our ratio; None when one of the figures is missing."""
        row = rows.get(self.row)
        ours = row.value(OURS) if row else None
        if row is None or ours is None or not self.to:
            return ours
        theirs = row.value(self.to)
        return ours / theirs if theirs else None

    def verdict(self, measured: float | None) -> str:
        """In a word or two."""
        if measured is None:
            return "not measured"
        if self.stretch is not None and self._reaches(measured, self.stretch):
            return "pass, stretch too"
        if self._reaches(measured, self.limit):
            return "pass"
        return f"**miss** by {abs(measured - self.limit) / self.limit:.1%}" if self.limit else "**miss**"

    def _reaches(self, measured: float, mark: float) -> bool:
        return measured >= mark if self.at_least else measured <= mark


BARS = (
    Bar("clients close: CPU per request, times that of tuned HAProxy", "close", 2.0, to="tuned", stretch=1.5),
    Bar("clients keep alive: CPU per request, times that of tuned HAProxy", "keep-alive", 2.0, to="tuned", stretch=1.5),
    Bar("TLS clients keep alive: CPU per request, times that of tuned HAProxy", "tls-keep-alive", 2.0, to="tuned"),
    Bar("TLS clients close and resume: CPU per request, times that of tuned HAProxy", "tls-resumed", 2.0, to="tuned"),
    Bar("TLS clients close, whole handshakes: the same", "tls-whole", 2.0, to="tuned"),
    Bar("clients close: CPU per request, times that of HAProxy as it comes", "close", 1 / 8, to="haproxy"),
    Bar("at 70 % of our top rate: p99, times that of tuned HAProxy", "paced-p99", 1.2, to="tuned"),
    Bar("at 70 % of our top rate: p99.9, times that of tuned HAProxy", "paced-p99.9", 1.2, to="tuned"),
    Bar("32 MB bodies: MB per CPU second, times that of tuned HAProxy", "large", 0.7, to="tuned", at_least=True),
    Bar("memory per idle pooled TLS connection, KiB", "pool", 48, stretch=24),
    Bar("memory per kept idle client, KiB", "clients", 12, stretch=8),
    Bar("50 clients at once after quiet: server connections opened", "burst-new", 0),
    Bar("50 clients at once after quiet: p99, ms", "burst-p99", 1.3 * ROUND_TRIP * 1e3),
)


def table(rows: Iterable[Row], titles: Mapping[str, str]) -> str:
    """One line for each row: the figures, and ours divided by the others'."""
    others = [key for key in titles if key != OURS] if OURS in titles else []
    heads = ["work", *titles.values(), *(f"ours ÷ {titles[key]}" for key in others)]
    lines = [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    for row in rows:
        cells = [row.title, *(_figure(row.value(key), row.unit) for key in titles)]
        cells += [_ratio(row.value(OURS), row.value(key)) for key in others]
        lines.append(_line(cells))
    return "\n".join(lines)


def bars(rows: Sequence[Row]) -> str:
    """The design's bars; only those whose row was measured at all."""
    by_key = {row.key: row for row in rows}
    lines = [_line(["bar", "limit", "measured", "verdict"]), _line(["---", "---:", "---:", "---"])]
    for bar in BARS:
        if bar.row in by_key:
            measured = bar.measured(by_key)
            limit = f"{'≥' if bar.at_least else '≤'} {bar.limit:.3g}"
            limit += f" (stretch {bar.stretch:.3g})" if bar.stretch is not None else ""
            lines.append(_line([bar.title, limit, _figure(measured, ""), bar.verdict(measured)]))
    return "\n".join(lines)


def spread(rows: Iterable[Row], titles: Mapping[str, str]) -> str:
    """How far the samples lie apart: a ratio of two medians is worth no more than that."""
    lines = []
    for row in rows:
        parts = [
            f"{titles[key]} {_figure(min(samples), '')} to {_figure(max(samples), '')} ({len(samples)})"
            for key, samples in row.samples.items()
            if len(samples) > 1
        ]
        if parts:
            lines.append(f"* {row.title}: {'; '.join(parts)}")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f} {unit}".strip()


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or not theirs else f"{ours / theirs:.2f}"
