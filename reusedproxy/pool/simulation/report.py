"""Writes the answers of `what_if` as text for people, and as plain values for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reusedproxy.pool.record.history import History
from reusedproxy.pool.simulation.what_if import Answer

HEADINGS = ("settings", "handshakes", "cold", "share", "failed", "p99 wait", "longest", "connection-hours")
#: Fewer requests than these tell little.
FEW = 100


def heading(history: History) -> str:
    """Returns what the answers are made of, in a sentence."""
    situation, opened = history.situation, sum(each.well for each in history.dials)
    seen = f"{opened:,} handshakes" if opened else "no handshake"
    return (
        f"{situation.name}: {len(history.arrivals):,} requests and {seen} in {duration(history.seconds)};"
        f" one takes {history.usual_dial * 1000:.3g} ms."
    )


def remarks(history: History) -> Iterator[str]:
    """Returns what is to be known of the answers, a sentence each."""
    if len(history.arrivals) < FEW:
        yield "There are few requests in the record: what is said of them says little of others."
    if not any(each.well for each in history.dials):
        yield "No handshake was recorded: its time is what the pool has learnt before, or a guess."
    if history.changed:
        yield f"The settings were changed {duration(history.seconds - history.changed)} ago: 'recorded' is both."
    yield "'cold' requests found no connection ready; a wait of 0 ms is none; floors are filled when the record begins."


def row(answer: Answer) -> list[str]:
    """Returns the cells of one answer."""
    outcome = answer.outcome
    share = outcome.cold / outcome.requests if outcome.requests else 0.0
    return [
        answer.words,
        f"{outcome.opened:,}",
        f"{outcome.cold:,}",
        f"{share:.2%}",
        f"{outcome.failed:,}",
        f"{outcome.wait(0.99) * 1000:.3g} ms",
        f"{max(outcome.waits, default=0.0) * 1000:.3g} ms",
        f"{outcome.connection_hours:.3f}",
    ]


def text_of(history: History, found: Sequence[Answer]) -> str:
    """Returns all of it, with a line for each answer."""
    rows = [[*HEADINGS], *map(row, found)]
    widths = [max(len(each[at]) for each in rows) for at in range(len(HEADINGS))]
    lines = [heading(history)]
    for cells in rows:
        others = "  ".join(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        lines.append(f"{cells[0].ljust(widths[0])}  {others}")
    return "\n".join((*lines, *remarks(history), ""))


def values_of(history: History, found: Sequence[Answer]) -> dict[str, object]:
    """Returns all of it as plain values; times are in seconds."""
    return {
        "server": history.situation.name,
        "seconds": round(history.seconds, 3),
        "requests": len(history.arrivals),
        "dial_seconds": round(history.usual_dial, 6),
        "answers": [
            {
                "settings": each.words,
                "handshakes": each.outcome.opened,
                "cold": each.outcome.cold,
                "failed": each.outcome.failed,
                "wait_p99": round(each.outcome.wait(0.99), 6),
                "wait_longest": round(max(each.outcome.waits, default=0.0), 6),
                "connection_hours": round(each.outcome.connection_hours, 6),
            }
            for each in found
        ],
    }


def duration(seconds: float) -> str:
    """Formats a duration by its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
