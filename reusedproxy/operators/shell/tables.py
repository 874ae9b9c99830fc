"""Formats tables in plain text, for the manhole and the runtime API."""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.operators.view.values import ServerView

# fmt: off
POOL_HEADINGS = [
    "server", "state", "floor", "idle", "in-use", "connecting", "waiting",
    "dials", "failed", "handshakes", "on-request-path", "requests", "reuses",
    "races-repeated", "races-lost",
]
# fmt: on


def pool_row(server: ServerView) -> list[object]:
    pool, counts = server.pool, server.pool.counts
    return [
        server.full_name,
        server.state,
        pool.floor,
        pool.idle,
        pool.in_use,
        pool.connecting,
        pool.waiting,
        counts.dials,
        counts.dials_failed,
        counts.handshakes,
        counts.handshakes_on_request_path,
        counts.requests,
        counts.reuses,
        counts.races_repeated,
        counts.races_lost,
    ]


def table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Formats rows in columns as wide as necessary: the first aligned to the left, the others to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in texts
    ]
