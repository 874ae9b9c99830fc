"""
What stands ready: the connections that each proxy holds before anybody has asked, after quiet, after its server was
away, and before a server that ends idle connections.

It knows how these figures are made. It must not know the contenders' configurations or how a table looks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import load
from benchmarks.delayed import Delayed
from benchmarks.works import ROUND_TRIP, Bench, Row, rotated, say

#: The floor of who has one.
STANDING = 16
#: Seconds for which the server is away.
AWAY = 10.0
#: Seconds of silence after which the hasty server ends a connection.
HASTY = 2.0


def standing(bench: Bench) -> list[Row]:
    """A floor of 16, one client, and a relay: at first, after quiet, after an outage, and before a hasty server."""
    before = Row("standing", "connections that stand before the first request", "")
    first = Row("standing-first", "very first request, 20 ms round trip", "ms")
    quiet = Row("standing-quiet", f"one request after {bench.quiet:g} s of quiet", "ms")
    outage = Row(
        "standing-outage",
        f"one request {bench.quiet:g} s after the server was away for {AWAY:g} s, with no request since",
        "ms",
    )
    churn = Row(
        "standing-churn",
        f"connections opened in {bench.quiet:g} s without a request, by a server that ends idle ones after {HASTY:g} s",
        "",
    )
    hasty = Row("standing-hasty", "one request then", "ms")
    keys = [contender.key for contender in bench.contenders]
    for number in range(min(bench.rounds, 3)):
        say(f"  round {number + 1} of {min(bench.rounds, 3)}")
        delayed = Delayed(bench.backend, keys, ROUND_TRIP)
        try:
            with bench.running(servers=delayed.servers, floor=STANDING, check=False) as alive:
                order = rotated(alive, number)

                def each(row: Row, figure: Callable[[int, str], float]) -> None:
                    for running in order:  # noqa: B023
                        with bench.survive(f"{running.key}, {row.title}"):
                            row.add(running.key, figure(running.port, running.key))

                time.sleep(5.0)
                each(before, lambda port, key: delayed.standing(key))  # noqa: B023
                each(first, _asked)
                time.sleep(bench.quiet)
                each(quiet, _asked)
                delayed.stop()
                time.sleep(AWAY)
                delayed.start()
                time.sleep(bench.quiet)
                each(outage, _asked)
        finally:
            delayed.stop()
        _before_a_hasty_server(bench, keys, number, churn, hasty)
    return [before, first, quiet, outage, churn, hasty]


def _before_a_hasty_server(bench: Bench, keys: list[str], number: int, churn: Row, asked: Row) -> None:
    delayed = Delayed(bench.backend, keys, ROUND_TRIP, idle=HASTY)
    try:
        with bench.running(servers=delayed.servers, floor=STANDING, check=False) as alive:
            order = rotated(alive, number)
            for running in order:
                with bench.survive(running.key):
                    _asked(running.port, running.key)
            # What a proxy learns of a server, it has learnt then.
            time.sleep(10.0)
            opened = {running.key: delayed.accepted(running.key) for running in order}
            time.sleep(bench.quiet)
            for running in order:
                churn.add(running.key, delayed.accepted(running.key) - opened[running.key])
                with bench.survive(f"{running.key}, {asked.title}"):
                    asked.add(running.key, _asked(running.port, running.key))
    finally:
        delayed.stop()


def _asked(port: int, key: str) -> float:
    return load.one_client(port) * 1e3


#: As `works.WORKS`.
WORKS: dict[str, tuple[Callable[[Bench], list[Row]], tuple[str, ...]]] = {"standing": (standing, ())}
