"""Holds what `hedge` says of a backend. Values only."""

from __future__ import annotations

from attrs import frozen


@frozen
class Hedge:
    """Holds when a request is sent a second time: `after` so many seconds without an answer (None: after the
    `percentile`, a share below 1, of the times that answers take), for at most the share `budget` of requests."""

    after: float | None = None
    percentile: float = 0.95
    budget: float = 0.05
