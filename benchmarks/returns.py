#!/usr/bin/env python3
"""
A server that comes back under load, on a simulated clock and with real pools: how many requests wait for a handshake at
its return, and how soon it has its share, with its full weight at once and with what its floor says (`pool-warm-up`).

Three servers with a floor; requests come at random and hold their connection for 30 ms in the mean. It ends with status
1 when more wait with `pool-warm-up` than without.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reusedproxy.config.model.balance import Balance
from tests.test_backends_coming_up import Fleet

HOLD = 0.03


def returns(warm_up: float, rate: float, floor: int, handshake: float, algorithm: str) -> tuple[int, list[int]]:
    """Returns how many requests waited for a handshake at the server that came back, and its part of all requests, in
    percent, in each of the first six half seconds."""
    fleet = Fleet(floor=floor, warm_up=warm_up, handshake=handshake, balance=Balance(algorithm)).start()
    fleet.load(3, rate, hold=HOLD)
    back = fleet.servers[0]
    fleet.falls(back)
    fleet.load(5, rate, hold=HOLD)
    fleet.cold = Counter()
    fleet.rises(back)
    parts = []
    for _ in range(6):
        got = fleet.load(0.5, rate, hold=HOLD)
        parts.append(round(100 * got["s0"] / sum(got.values())))
    return fleet.cold["s0"], parts


def main() -> int:
    worse = False
    print("balance     floor  handshake  req/s   at once: waited  part, % (each 0.5 s)     warm-up: waited  part")
    for algorithm in ("roundrobin", "leastconn", "random"):
        for floor, handshake, rate in ((4, 0.06, 200), (4, 0.06, 1000), (16, 0.06, 1000), (4, 0.2, 1000)):
            at_once, parts = returns(0.0, rate, floor, handshake, algorithm)
            warm, warm_parts = returns(10.0, rate, floor, handshake, algorithm)
            worse = worse or warm > at_once
            print(
                f"{algorithm:<12}{floor:>4}{1000 * handshake:>8.0f} ms{rate:>7}{at_once:>17}  {parts!s:<28}"
                f"{warm:>10}  {warm_parts}",
                flush=True,
            )
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
