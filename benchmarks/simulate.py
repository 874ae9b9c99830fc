#!/usr/bin/env python3
"""
A thousand servers with a floor of twenty, on a simulated clock and without sockets: how fast all are warm, and how many
handshakes a second that takes, through a start, a restart of all servers at once, and a rotation of certificates.

It ends with status 1 when handshakes exceed the bound. The CPU that it takes is that of pools, governors and budget.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reusedproxy.pool.dialing.budget import RATE
from tests.site import Site


class Story:
    """One site, and what was seen in each of its chapters."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.kept = True

    def chapter(self, title: str, begin: Callable[[], None], meanwhile: Callable[[], None] = lambda: None) -> None:
        """From `begin` until all are warm."""
        site = self.site
        bound = site.budget.rate + max(1.0, site.budget.rate / 10)
        cpu, began, shaken = time.process_time(), site.clock.seconds(), len(site.shaken)
        first: list[float] = []
        seen: set[int] = set()
        halfway: list[int] = []

        def look() -> None:
            standing = site.standing
            if len(seen) < site.servers:
                new = {number for number, idle in enumerate(standing) if idle} - seen
                seen.update(new)
                first.extend([site.clock.seconds() - began] * len(new))
            if not halfway and sum(standing) >= site.servers * site.limits.min_conn / 2:
                halfway.extend(standing)
            meanwhile()

        begin()
        took = site.until_warm(3600, look)
        most = site.most_handshakes(began)
        self.kept = self.kept and most <= bound and site.warm()
        print(title)
        print(f"  all warm after {took:.1f} s, with {len(site.shaken) - shaken:,} handshakes")
        print(f"  handshakes in any one second: at most {most} (bound: {bound:.0f})")
        print(f"  a server's first connection: after {median(first):.1f} s (median), {max(first):.1f} s (last)")
        print(f"  connections of a server when half of all stand: {min(halfway)} to {max(halfway)}")
        print(f"  CPU: {time.process_time() - cpu:.1f} s", flush=True)
        site.pass_time(30.0)


def main() -> None:
    """Tell the story."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--floor", type=int, default=20)
    parser.add_argument("--rate", type=float, default=RATE, help=f"handshakes a second, of all servers ({RATE:g})")
    chosen = parser.parse_args()
    site = Site(chosen.servers, chosen.floor, chosen.rate)
    story = Story(site)
    story.chapter("A start:", site.start)
    story.chapter("All servers restart, and refuse everybody for 3 s:", lambda: site.restart(3.0))
    old = []
    story.chapter("A new client certificate:", lambda: old.extend(site.rotate()), lambda: site.drain_replaced(old))
    left = sum(len(pool.idle) for pool in old)
    site.stop(*old)
    timers = len(site.clock.getDelayedCalls())
    print(f"CPU in all: {time.process_time():.1f} s; {left} connections with the old certificate, {timers} timers left")
    sys.exit(0 if story.kept and not left else 1)


if __name__ == "__main__":
    main()
