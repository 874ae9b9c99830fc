"""Says as plain values what a pool has counted and learnt, and has a pool of the same server in another process go on
with that.

What is not understood is left out: the other process may be of another version. It must never know how it is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from attrs import fields

from reusedproxy.measures.histogram import Histogram
from reusedproxy.pool.counters import Counters
from reusedproxy.pool.learning.floor import MET
from reusedproxy.pool.pool import HTTPConnectionPool

#: Reasons for which connections have ended, at most.
REASONS = 1000
_MOST = "used_max"
#: All that is counted since the start; the last request that found no connection is no count.
_COUNTED = tuple(each.name for each in fields(Counters) if each.name not in ("cold", "losses"))


def counted(pool: HTTPConnectionPool) -> dict[str, object]:
    """Returns all that the pool has counted. What it has counted none of is left out: of a thousand servers, most."""
    counters = pool.counters
    said = {name: plain for name in _COUNTED if (plain := _plain(getattr(counters, name)))}
    said["ended"] = dict(pool.closed)
    said["below_floor"] = pool.upkeep.refill.below_floor_seconds
    return said


def _plain(value: object) -> object:
    if isinstance(value, Histogram):
        return [value.counts, value.sum] if any(value.counts) else []
    if isinstance(value, Counter):
        return [[[*key], count] for key, count in value.items()]
    if isinstance(value, dict):
        return [[key, plain] for key, each in value.items() if (plain := _plain(each))]
    return value


def count_on(pool: HTTPConnectionPool, said: Mapping[str, Any]) -> None:
    """Adds what another process has counted of the same server."""
    counters = pool.counters
    for name in _COUNTED:
        ours, theirs = getattr(counters, name), said.get(name)
        if isinstance(ours, Histogram):
            _observe(ours, theirs)
        elif isinstance(ours, Counter):
            for key, count in _pairs(theirs):
                if isinstance(key, list) and len(key) < 5 and all(isinstance(one, str | bool) for one in key):
                    ours[tuple(key)] += _number(count)
        elif isinstance(ours, dict):
            for key, histogram in _pairs(theirs):
                if isinstance(key, str | bool) and key in ours:
                    _observe(ours[key], histogram)
        elif name == _MOST:
            counters.used_max = max(counters.used_max, _number(theirs))
        else:
            setattr(counters, name, ours + _number(theirs))
    ended = said.get("ended")
    for reason, count in [*ended.items()][:REASONS] if isinstance(ended, dict) else ():
        pool.closed[str(reason)] = pool.closed.get(str(reason), 0) + _number(count)
    pool.upkeep.refill.count_below_floor(_seconds(said.get("below_floor")))


def _observe(ours: Histogram, theirs: Any) -> None:
    if not isinstance(theirs, list) or len(theirs) != 2 or not isinstance(theirs[0], list):
        return
    counts, total = theirs
    if len(counts) == len(ours.counts):
        ours.counts[:] = [mine + _number(each) for mine, each in zip(ours.counts, counts, strict=True)]
        ours.sum += _seconds(total)


def _pairs(said: object) -> list[Sequence[Any]]:
    return [each for each in said if isinstance(each, list) and len(each) == 2] if isinstance(said, list) else []


def _number(said: object) -> int:
    return said if type(said) is int and said >= 0 else 0


def _seconds(said: object) -> float:
    return float(cast("float", said)) if type(said) in (int, float) and 0 <= cast("float", said) < 1e15 else 0.0


def learnt(pool: HTTPConnectionPool) -> dict[str, object]:
    """Returns what the pool has learnt of its server and of the demand on it: idle time-outs, how deep requests have
    reached for the last hour, which have taken their connections with them, and the floor that follows from that."""
    following = pool.upkeep.following
    return {
        "used": pool.upkeep.used.known(),
        "unused": pool.upkeep.unused.known(),
        "depths": pool.depths.known(pool.deadlines.now()),
        "losses": pool.counters.losses.known(pool.deadlines.now()),
        "floor": 0 if following is None else following.floor,
    }


def learn(pool: HTTPConnectionPool, said: Mapping[str, Any]) -> None:
    """Begins with what the pool of another process has learnt of the same server."""
    pool.upkeep.used.know(*_timeouts(said.get("used")))
    pool.upkeep.unused.know(*_timeouts(said.get("unused")))
    depths = said.get("depths")
    if isinstance(depths, dict):
        counts, finished = depths.get("counts"), depths.get("finished")
        finished = finished if isinstance(finished, list) else []
        pool.depths.know(
            pool.deadlines.now(), _seconds(depths.get("left")), _numbers(counts), [_numbers(each) for each in finished]
        )
    pool.counters.losses.know(pool.deadlines.now(), _losses(said.get("losses")))
    if pool.upkeep.following is not None:
        pool.upkeep.following.deeper(pool.depths.floor_for(MET) or 0)
        pool.upkeep.following.begin_with(_number(said.get("floor")))
        pool.upkeep.expect_demand_of(None)


def _timeouts(said: Any) -> tuple[float, float, list[float]]:
    """Returns the advertised time-out, the learnt one (0: there is none), and the latest closes."""
    if not isinstance(said, list) or len(said) != 3:
        return 0.0, 0.0, []
    recent = [*map(_seconds, said[2])] if isinstance(said[2], list) else []
    return _seconds(said[0]), _seconds(said[1]), [each for each in recent if each]


def _losses(said: object) -> list[tuple[float, list[tuple[str, int]]]]:
    """Returns how long ago each bucket began, and its reasons and numbers."""
    return [
        (_seconds(ago), [(str(reason), _number(count)) for reason, count in _pairs(counts)])
        for ago, counts in _pairs(said)
    ]


def _numbers(said: object) -> list[int]:
    return [*map(_number, said)] if isinstance(said, list) else []
