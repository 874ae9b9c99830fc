#!/usr/bin/env python3
"""
What a floor that follows demand (pool-min-conn auto) costs and saves, beside no floor and the best fixed one, on a
simulated clock and without sockets. The pool is the real one; arrivals, holding times and handshakes are drawn, each
traffic from a seed of its own.

A request is cold if no connection stood idle when it came. The best fixed floor in hindsight is the smallest with which
no more requests are cold than with auto. Connection-hours are the sum of the lives of all connections.

A second table is about rushes, each of more requests than connections stand: what it takes to dial for each of these at
once, and to dial only where no connection is expected to return sooner.

It ends with status 1 when auto misses its bar: at most 1 % of the cold requests of no floor, at no more than 1.3 times
the connection-hours of the best fixed floor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from math import cos, inf, pi
from pathlib import Path
from random import Random

from attrs import frozen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.pool.record.history import Arrival, Outcome
from reusedproxy.pool.simulation.run import HOUR, Run

#: When each request comes, and for how long it holds its connection, in seconds.
Arrivals = list[tuple[float, float]]

# Traffic.


def poisson(random: Random, seconds: float, rate: Callable[[float], float], most: float) -> Iterator[float]:
    """Returns the times of a Poisson process whose rate changes, and is never above `most`."""
    at = random.expovariate(most)
    while at < seconds:
        if random.random() * most < rate(at):
            yield at
        at += random.expovariate(most)


def held(random: Random, mean: float) -> float:
    """Returns a holding time, of a long-tailed distribution (log-normal, sigma 1)."""
    return mean * random.lognormvariate(-0.5, 1.0)


def steady(random: Random) -> Arrivals:
    return [(at, held(random, 0.2)) for at in poisson(random, 2 * HOUR, lambda at: 8.0, 8.0)]


def bursts(random: Random) -> Arrivals:
    """Some traffic, and every few minutes a page with many parts."""
    found = [(at, held(random, 0.1)) for at in poisson(random, 12 * HOUR, lambda at: 0.5, 0.5)]
    at = 60.0
    while at < 12 * HOUR:
        found += [(at + random.random() * 0.02, held(random, 0.1)) for _ in range(random.randint(15, 25))]
        at += random.uniform(180, 480)
    return found


def ramps(random: Random) -> Arrivals:
    """Half an hour up, half an hour down."""

    def rate(at: float) -> float:
        return 30 * (1 - abs(at % HOUR - HOUR / 2) / (HOUR / 2))

    return [(at, held(random, 0.3)) for at in poisson(random, 2 * HOUR, rate, 30.0)]


def diurnal(random: Random) -> Arrivals:
    """A day and its night."""

    def rate(at: float) -> float:
        return 0.02 + 1.5 * (1 - cos(2 * pi * at / (24 * HOUR))) ** 2 / 2

    return [(at, held(random, 0.4)) for at in poisson(random, 24 * HOUR, rate, 3.02)]


def on_and_off(random: Random) -> Arrivals:
    """Half a minute of work, ten of rest."""
    rate = poisson(random, 12 * HOUR, lambda at: 25.0 if at % 630 < 30 else 0.0, 25.0)
    return [(at, held(random, 0.3)) for at in rate]


def cron(random: Random) -> Arrivals:
    """A job each hour, which asks for forty things at once, and hardly anything between."""
    found = [(at, held(random, 0.1)) for at in poisson(random, 48 * HOUR, lambda at: 0.05, 0.05)]
    for hour in range(48):
        at = hour * HOUR + random.uniform(600, 610)
        found += [(at + random.random() * 0.05, held(random, 0.2)) for _ in range(40)]
    return found


def people(random: Random) -> Arrivals:
    """As in logs of web sites: visits, pages in each after long-tailed times to read, a few to many parts of each page
    at once, and now and then a crowd."""
    found: Arrivals = []

    def visit(at: float) -> None:
        for _ in range(min(30, int(random.paretovariate(1.2)))):
            found.append((at, held(random, 0.15)))
            parts = min(12, int(random.paretovariate(1.1)))
            found.extend((at + 0.05 + random.random() * 0.1, held(random, 0.05)) for _ in range(parts))
            at += min(600.0, 5 * random.paretovariate(1.1))

    for at in poisson(random, 4 * HOUR, lambda at: 0.25, 0.25):
        visit(at)
    for crowd in poisson(random, 4 * HOUR, lambda at: 1 / 1800, 1 / 1800):
        for at in poisson(random, 60.0, lambda at: 2.0, 2.0):
            visit(crowd + at)
    return [each for each in found if each[0] < 4 * HOUR]


@frozen
class Traffic:
    """Describes one kind of arrivals; a handshake takes `handshake` seconds, and up to half of that more."""

    name: str
    words: str
    arrivals: Callable[[Random], Arrivals]
    handshake: float = 0.02


ALL = (
    Traffic("steady", "Poisson, 8/s, each holds 0.2 s", steady),
    Traffic("bursts", "0.5/s, and 15 to 25 at once every 3 to 8 minutes", bursts),
    Traffic("ramps", "0 to 30/s and back in an hour, each holds 0.3 s", ramps),
    Traffic("day and night", "0.02 to 3/s in a day, each holds 0.4 s", diurnal),
    Traffic("on and off", "25/s for 30 s, then 10 minutes of nothing", on_and_off),
    Traffic("hourly job", "40 at once each hour, 0.05/s between", cron),
    Traffic("people", "visits, pages, parts of pages, and crowds, all long-tailed", people),
    Traffic("people, far away", "the same, handshakes of 200 ms", people, 0.2),
)


# The pool among them.


class Drawn:
    """Behaves as a server that closes nothing, accepts at most so many connections, and needs up to half as long again
    for a handshake as is said."""

    idle_used = idle_unused = inf

    def __init__(self, handshake: float, bears: float = inf) -> None:
        self.bears = bears
        self._handshake = handshake
        self._random = Random(2)

    def dial(self, at: float) -> tuple[float, bool]:
        return self._handshake * (1 + self._random.random() / 2), True


def run_of(handshake: float, arrivals: Arrivals, limits: PoolLimits, bears: float = inf) -> Run:
    """Returns the run of one traffic, with one pool."""
    return Run([Arrival(at, holds) for at, holds in arrivals], limits, Drawn(handshake, bears))


def best_fixed(traffic: Traffic, arrivals: Arrivals, cold: int, most: int) -> tuple[int, Outcome]:
    """Returns the smallest fixed floor with which at most so many requests are cold, and its outcome."""
    low, high = 0, most
    best = run_of(traffic.handshake, arrivals, PoolLimits(min_conn=high)).go()
    while high - low > 1:
        middle = (low + high) // 2
        outcome = run_of(traffic.handshake, arrivals, PoolLimits(min_conn=middle)).go()
        if outcome.cold <= cold:
            high, best = middle, outcome
        else:
            low = middle
    return high, best


# What is told of it.

#: The bar: shares of the cold requests of no floor, and of the connection-hours of the best fixed floor.
MOST_COLD, MOST_HOURS = 0.01, 1.3
#: Requests, hold and handshake (in seconds), and the floor, of rushes that come a minute apart on average.
RUSHES = ((20, 0.005, 0.02, 4), (20, 0.02, 0.1, 4), (20, 0.005, 0.1, 0), (20, 0.1, 0.02, 4))


@frozen
class Comparison:
    """Holds one traffic with no floor, with one that follows demand, and with the best fixed one."""

    traffic: Traffic
    none: Outcome
    auto: Outcome
    floor: int
    fixed: Outcome

    @property
    def cold(self) -> float:
        return self.auto.cold / self.none.cold

    @property
    def hours(self) -> float:
        return self.auto.connection_hours / self.fixed.connection_hours

    @property
    def kept(self) -> bool:
        return self.cold <= MOST_COLD and self.hours <= MOST_HOURS

    @property
    def row(self) -> str:
        none, auto, fixed = self.none, self.auto, self.fixed
        highest = max(floor for _, _, floor in auto.minutes)
        return (
            f"| {self.traffic.words} | {none.requests:,} | {none.cold:,} | {auto.cold:,} ({self.cold:.2%})"
            f" | {highest} | {self.floor} ({fixed.cold:,}) | {none.connection_hours:,.0f}"
            f" | {auto.connection_hours:,.0f} | {fixed.connection_hours:,.0f} | {self.hours:.2f} |"
        )


HEADINGS = """\
| traffic | requests | cold: none | cold: auto | highest | fixed (cold) | hours: none | auto | fixed | auto / fixed |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""
RUSH_HEADINGS = """\
| held | handshake | floor | dialled: at once | if sooner | p99 wait: at once | if sooner | hours: at once | if sooner |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def compare(traffic: Traffic, seed: int) -> Comparison:
    """Runs one traffic with all three."""
    arrivals = sorted(traffic.arrivals(Random(f"{traffic.name} {seed}")))
    none = run_of(traffic.handshake, arrivals, PoolLimits()).go()
    auto = run_of(traffic.handshake, arrivals, PoolLimits(min_conn=1, adapts=True)).go()
    highest = max(floor for _, _, floor in auto.minutes)
    return Comparison(traffic, none, auto, *best_fixed(traffic, arrivals, auto.cold, 2 * highest))


def rushes(requests: int, hold: float, handshake: float, floor: int, seed: int) -> str:
    """Returns the row of one kind of rush: with a dial for each request that finds no connection, and with one only
    where nothing is expected to return sooner."""
    random = Random(f"rushes {seed}")
    arrivals, at = [], 60.0
    for _ in range(200):
        arrivals += [(at + random.random() * 0.01, held(random, hold)) for _ in range(requests)]
        at += random.uniform(30, 90)
    arrivals += [(each, held(random, hold)) for each in poisson(random, at, lambda _: 2.0, 2.0)]
    outcomes = []
    for patient in (False, True):
        run = run_of(handshake, sorted(arrivals), PoolLimits(min_conn=floor))
        if not patient:
            run.pool.patience.begins = lambda now, kept: False  # type: ignore[method-assign]
        outcomes.append(run.go())
    waits, opened, hours = (
        " | ".join(map(text, outcomes))
        for text in (
            lambda each: f"{each.wait(0.99) * 1000:.1f} ms",
            lambda each: f"{each.opened:,}",
            lambda each: f"{each.connection_hours:.1f}",
        )
    )
    return f"| {hold * 1000:g} ms | {handshake * 1000:g} ms | {floor} | {opened} | {waits} | {hours} |"


# The picture.

WIDTH, HEIGHT, MARGIN = 720, 150, 28


def picture(shown: Sequence[tuple[str, Outcome]]) -> str:
    """Returns an SVG picture: of each outcome the most requests at once in each minute, and the floor."""
    height = HEIGHT * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for at, (title, outcome) in enumerate(shown):
        minutes = outcome.minutes
        most = max(max(used, floor) for used, _, floor in minutes)
        top, bottom = at * HEIGHT + 22, (at + 1) * HEIGHT - 18
        across = (WIDTH - 2 * MARGIN) / len(minutes)

        def y(value: float, most: int = most, top: int = top, bottom: int = bottom) -> str:
            return f"{bottom - value / most * (bottom - top):.0f}"

        def x(minute: int, across: float = across) -> str:
            return f"{MARGIN + minute * across:.1f}".removesuffix(".0")

        used = "".join(f"M{x(minute)} {bottom}V{y(each[0])}" for minute, each in enumerate(minutes) if each[0])
        steps, last = f"M{x(0)} {y(minutes[0][2])}", minutes[0][2]
        for minute, (_, _, floor) in enumerate(minutes):
            if floor != last:
                steps, last = f"{steps}H{x(minute)}V{y(floor)}", floor
        steps += f"H{x(len(minutes))}"
        parts += [
            f'<text x="{MARGIN}" y="{top - 8}">{title}</text>',
            f'<path d="{used}" stroke="#9bb" stroke-width="{max(0.6, across * 0.9):.1f}"/>',
            f'<path d="{steps}" stroke="#c40" stroke-width="1.5" fill="none"/>',
            f'<path d="M{MARGIN} {bottom}H{WIDTH - MARGIN}" stroke="#000"/>',
            f'<text x="{MARGIN - 4}" y="{y(most)}" text-anchor="end" dominant-baseline="central">{most}</text>',
            f'<text x="{MARGIN - 4}" y="{bottom}" text-anchor="end" dominant-baseline="central">0</text>',
            f'<text x="{WIDTH - MARGIN}" y="{bottom + 13}" text-anchor="end">{len(minutes) / 60:.0f} hours</text>',
        ]
    legend = "bars: most requests at once in each minute; line: the floor"
    parts.append(f'<text x="{WIDTH - MARGIN}" y="14" text-anchor="end" fill="#555">{legend}</text></svg>')
    return "\n".join(parts) + "\n"


def drawn(seed: int) -> str:
    """Returns the picture of three kinds of traffic, and of quiet after it."""
    shown = []
    for name, hours in (("bursts", 4), ("day and night", 24), ("people", 4)):
        traffic = next(each for each in ALL if each.name == name)
        arrivals = sorted(traffic.arrivals(Random(f"{traffic.name} {seed}")))
        arrivals = [each for each in arrivals if each[0] < hours * HOUR]
        if name == "bursts":
            arrivals.append((12 * HOUR, 0.1))  # quiet, and one request at the end of it
        shown.append((traffic.words, run_of(traffic.handshake, arrivals, PoolLimits(min_conn=1, adapts=True)).go()))
    return picture(shown)


def main() -> None:
    """Compares, prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the name: " + ", ".join(each.name for each in ALL))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="a file for the picture (SVG)")
    chosen = parser.parse_args()
    print(HEADINGS)
    kept = True
    for traffic in ALL:
        if chosen.only in traffic.name:
            comparison = compare(traffic, chosen.seed)
            kept = kept and comparison.kept
            print(comparison.row, flush=True)
    if not chosen.only:
        print(f"\n{RUSH_HEADINGS}")
        for rush in RUSHES:
            print(rushes(*rush, chosen.seed), flush=True)
    if chosen.picture:
        chosen.picture.write_text(drawn(chosen.seed))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
