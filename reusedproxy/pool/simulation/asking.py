"""Takes what a living pool has recorded, for `what_if` and for a copy to be kept (`record.saved`)."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from reusedproxy.net.slices import Steps
from reusedproxy.pool.learning.idle_timeout import IdleTimeoutEstimate
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.record.history import History, Situation, history_of
from reusedproxy.pool.record.listening import Recorder
from reusedproxy.pool.record.saved import written


class NotRecorded(Exception):
    """Reports that nothing is recorded of a pool."""


def history_now(
    name: str, pool: HTTPConnectionPool, wall: float, blocks: int | None = None, seconds: float = inf
) -> Steps[History]:
    """Returns, in steps, what the pool of the server `name` has recorded by the time of day `wall`: the last `blocks`
    of it, and no more than the last `seconds`. Raises NotRecorded."""
    record = _recorder(pool).record
    now = pool.deadlines.now()
    since = max(record.since(blocks), now - seconds)
    events = (each for each in record.events(blocks) if each.at >= since)
    return history_of(events, since, now, situation_of(name, pool, wall))


def written_now(name: str, pool: HTTPConnectionPool, wall: float) -> Iterator[str]:
    """Returns the text of all that the pool has recorded, in pieces. Raises NotRecorded."""
    record = _recorder(pool).record
    events, since, now = record.events(), record.since(), pool.deadlines.now()
    return written(situation_of(name, pool, wall), events, since, now)


def situation_of(name: str, pool: HTTPConnectionPool, wall: float) -> Situation:
    """Returns what is known of the pool of the server `name` besides its record."""
    following = pool.upkeep.following
    return Situation(
        name,
        pool.limits,
        _known(pool.upkeep.used),
        _known(pool.upkeep.unused),
        pool.patience.dial,
        0 if following is None else following.places,
        len(pool.idle) + len(pool.in_use) + len(pool.private) + len(pool.watched),
        pool.floor,
        pool.state == "running",
        wall,
        not pool.carries_requests,
    )


def _recorder(pool: HTTPConnectionPool) -> Recorder:
    if not pool.knows_name:
        raise NotRecorded("The names of its connections depend on requests: it has no floor that could be another.")
    if pool.recorder is None:
        raise NotRecorded("Nothing is recorded: say 'pool-record 1h' (or a size) on the server's line and reload.")
    return pool.recorder


def _known(estimate: IdleTimeoutEstimate) -> tuple[float, float, tuple[float, ...]]:
    known: list[Any] = estimate.known()
    return known[0], known[1], tuple(known[2])
