#!/usr/bin/env python3
"""
What a pool costs by itself, without a network: acquire and release with few idle connections and with many, and the end
of all of them at once.

Real connections, on transports that do nothing, and a clock that is moved by hand. A figure is the least CPU time of
many short rounds: what disturbs the machine only ever adds. It runs with the pool of another checkout, too:
PYTHONPATH=CHECKOUT python benchmarks/pool.py.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from reusedproxy.pool.kinds import ANY, FRESH, SAFE
from tests.fakes import Asker, PoolBench

ROUNDS, TURNS = 300, 500
FEW, MANY = 10, 10_000
RESTARTED = 5000


def pool_of(idle: int, **limits: Any) -> PoolBench:
    """A pool with so many idle connections, each of which has carried two requests."""
    bench = PoolBench(connect_rate=1e9, purge_delay=1e9, **limits)
    askers = [Asker() for _ in range(idle)]
    for asker in askers:
        bench.pool.wait(asker)
    bench.answer_all()
    for (connection,) in [asker.connections for asker in askers]:
        connection.requests = 2
        connection.safe = True
        bench.clock.rightNow += 1e-6
        bench.pool.release(connection)
    assert len(bench.pool.idle) == idle
    return bench


def acquire_and_release(bench: PoolBench, kind: int = ANY) -> float:
    """CPU seconds of one acquire and one release."""
    acquire, release = bench.pool.acquire, bench.pool.release

    def turns(_: PoolBench) -> None:
        for _turn in range(TURNS):
            release(acquire(kind))  # type: ignore[arg-type]

    return min(cpu(turns, bench) for _ in range(ROUNDS)) / TURNS


def cpu(what: Callable[[PoolBench], None], bench: PoolBench) -> float:
    """Seconds of CPU that it takes."""
    gc.collect(0)
    gc.disable()
    began = time.thread_time()
    what(bench)
    used = time.thread_time() - began
    gc.enable()
    return used


def restart(order: str) -> float:
    """CPU seconds in which a pool hears that its server has closed everything, in this order."""

    def close_all(bench: PoolBench) -> None:
        for connection in connections:
            connection.transport.peer_ends()  # type: ignore[attr-defined]

    taken = []
    for seed in range(5):
        bench = pool_of(RESTARTED, min_conn=0)
        bench.pass_time(10, step=5)
        connections = list(bench.pool.idle)
        if order == "newest first":
            connections.reverse()
        elif order == "any order":
            Random(seed).shuffle(connections)
        taken.append(cpu(close_all, bench))
    return min(taken)


def knowing(bench: PoolBench, seconds: float) -> PoolBench:
    """The server has said how long it waits."""
    upkeep = getattr(bench.pool, "upkeep", None) or getattr(bench.pool, "keeper", None)
    if upkeep is not None:
        upkeep.used.advertise(seconds)
    return bench


def main() -> None:
    """Measure and print, in µs."""
    print(f"acquire + release, µs                     {FEW:>7,} idle {MANY:>10,} idle")
    cases: dict[str, tuple[int, dict[str, Any], bool]] = {
        "nothing special": (ANY, {}, False),
        "the server's time-out is known": (ANY, {}, True),
        "pool-max-age": (ANY, {"max_age": 3600.0}, False),
        "idle-ping": (ANY, {"idle_ping": 30.0}, False),
        "all three": (ANY, {"max_age": 3600.0, "idle_ping": 30.0}, True),
        "one that is fresh": (FRESH, {}, False),
        "one that is safe": (SAFE, {}, False),
    }
    for words, (kind, limits, known) in cases.items():
        figures = []
        for idle in (FEW, MANY):
            try:
                bench = pool_of(idle, **limits)
            except TypeError:
                break  # an older pool has no such limit
            if known:
                knowing(bench, 60.0)
            figures.append(f"{acquire_and_release(bench, kind) * 1e6:15.3f}")
        print(f"{words:38} {' '.join(figures)}", flush=True)
    for order in ("oldest first", "newest first", "any order"):
        print(f"{RESTARTED:,} idle ones closed by the server, {order}: {restart(order) * 1e3:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
