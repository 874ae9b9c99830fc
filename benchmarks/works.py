"""
What is measured: each work runs its contenders in turn, round after round, and gives rows of the table.

It knows how a figure is made. It must not know the contenders' configurations or how a table looks.

Contenders take turns within each round, in an order that rotates, so that what disturbs the machine for a while
disturbs them all; a figure is the median over the rounds.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from attrs import Factory, define, field

from benchmarks import load, machine
from benchmarks.backend import LARGE, Backend
from benchmarks.contenders import FLOOR, PLAIN, RESUMED, WHOLE, Contender, Running, Target
from benchmarks.delayed import Delayed
from benchmarks.machine import Trouble

ROUND_TRIP = 0.020
AT_ONCE = 50
KEPT = 1000
POOLED = 500
#: The share of our top rate at which latencies are measured.
PACE = 0.7
#: Seconds whose latencies make one sample; the percentile that is taken of a whole round instead.
QUARTER = 0.25
RARE = 0.999


@define
class Row:
    """
    One line of the table.

    @ivar key: the name by which a bar finds it.
    @ivar samples: what was measured, by contender.
    @ivar summary: what makes one figure of a contender's samples.
    """

    key: str
    title: str
    unit: str
    samples: dict[str, list[float]] = Factory(dict)
    summary: Callable[[Sequence[float]], float] = statistics.median

    def add(self, contender: str, sample: float) -> None:
        """One more sample."""
        self.samples.setdefault(contender, []).append(sample)

    def value(self, contender: str) -> float | None:
        """The figure, if there is one."""
        return self.summary(self.samples[contender]) if self.samples.get(contender) else None


@define
class Bench:
    """
    What a run was asked to do, and what it found wrong on the way.

    @ivar quiet: seconds without a request, in the work of that name.
    @ivar notes: what the reader of the table has to know.
    @ivar failed: contenders that did not start, and why; they are not tried again.
    """

    backend: Backend
    contenders: Sequence[Contender]
    rounds: int
    seconds: float
    quiet: float
    notes: list[str] = Factory(list)
    failed: dict[str, str] = Factory(dict)
    _reported: set[str] = field(factory=set, init=False)

    def note(self, text: str) -> None:
        """Say it once, now and below the table."""
        if text not in self._reported:
            self._reported.add(text)
            self.notes.append(text)
            say(text)

    @contextlib.contextmanager
    def running(
        self,
        *keys: str,
        servers: dict[str, Target] | None = None,
        floor: int = FLOOR,
        check: bool = True,
        front: str = PLAIN,
    ) -> Iterator[list[Running]]:
        """
        The contenders (those named, or all), started afresh, and stopped at the end.

        @param servers: where each finds its server, when it is not the backend itself.
        @param check: ask each for the right answer first.
        """
        with contextlib.ExitStack() as stack:
            alive = []
            for contender in self.contenders:
                if contender.key in self.failed or (keys and contender.key not in keys):
                    continue
                with self.survive(contender.key):
                    try:
                        server = (servers or {}).get(contender.key, Target(self.backend.port))
                        one = Running(contender, self.backend.site, server, floor, front)
                    except Trouble as trouble:
                        self.failed[contender.key] = str(trouble)
                        raise
                    stack.callback(one.stop)
                    if check:
                        wait_for_answer(one, contender.title)
                    alive.append(one)
            yield alive

    @contextlib.contextmanager
    def survive(self, key: str) -> Iterator[None]:
        """One contender's trouble is noted, and no other's."""
        try:
            yield
        except (Trouble, OSError) as trouble:
            self.note(f"{key}: {trouble}")


def rotated(running: Sequence[Running], number: int) -> list[Running]:
    """The order of a round."""
    start = number % len(running) if running else 0
    return [*running[start:], *running[:start]]


def say(text: str) -> None:
    """Progress, beside the table and not in it."""
    print(text, file=sys.stderr, flush=True)


def wait_for_answer(running: Running, title: str) -> None:
    """Until the tiny body comes; a proxy that has just started may still say 503."""
    deadline = time.monotonic() + 15
    while True:
        try:
            load.one_client(running.port, running.tls)
            return
        except (Trouble, OSError) as trouble:
            if time.monotonic() > deadline:
                raise Trouble(f"{title} gave no right answer within 15 s; the last: {trouble}") from None
            time.sleep(0.05)


def closing_clients(bench: Bench) -> list[Row]:
    """Each client connects, asks once and leaves."""
    return _requests(bench, "close", "client closes after each response", close=True)


def kept_alive_clients(bench: Bench) -> list[Row]:
    """32 clients ask again and again."""
    return _requests(bench, "keep-alive", "client keeps alive", close=False)


def over_tls(bench: Bench) -> list[Row]:
    """TLS in front, too: clients that stay, that come back and resume their sessions, and that come as strangers."""
    return [
        *_requests(bench, "tls-keep-alive", "TLS client keeps alive", close=False, front=RESUMED),
        *_requests(bench, "tls-resumed", "TLS client closes, and resumes", close=True, front=RESUMED),
        *_requests(bench, "tls-whole", "TLS client closes, whole handshakes", close=True, front=WHOLE),
    ]


def _requests(bench: Bench, key: str, title: str, *, close: bool, front: str = PLAIN) -> list[Row]:
    cost = Row(key, f"{title}: proxy CPU per request", "µs")
    rate = Row(f"{key}-rate", f"{title}: requests per second on one core", "1/s")

    def one(running: Running, seconds: float, *, warming: bool) -> None:
        accepted, before = machine.connections_accepted(), running.cpu_seconds()
        result = load.wrk(running.port, "/tiny", seconds=seconds, connections=32, close=close, tls=running.tls)
        used, accepted = running.cpu_seconds() - before, machine.connections_accepted() - accepted
        if result.trouble:
            raise Trouble(f"{key}: errors, so it counts as failed: {result.trouble}")
        if close and accepted < 0.95 * result.requests:
            raise Trouble(f"{key}: {result.requests} requests in {accepted} connections: clients did not close")
        if not warming:
            cost.add(running.key, used / result.requests * 1e6)
            rate.add(running.key, result.requests / result.seconds)

    _rounds(bench, one, front)
    return [cost, rate]


def at_a_fixed_rate(bench: Bench) -> list[Row]:
    """
    32 clients that stay ask at 70 % of what ours can serve, all contenders at the same rate.

    A sample of p50 and p99 is that of the requests which were due in one quarter of a second: a machine that stands
    still for some milliseconds in each second (virtual ones do) would else set p99 of all, for whoever is measured.
    p99.9 is that of a whole round.
    """
    rows = {
        part: Row(f"paced-{name}", f"at 70 % of our top rate, 32 clients: {name}", "ms")
        for part, name in ((0.5, "p50"), (0.99, "p99"), (RARE, "p99.9"))
    }
    rate = 0.0

    def one(running: Running, seconds: float, *, warming: bool) -> None:
        nonlocal rate
        if not rate:
            result = load.wrk(running.port, "/tiny", seconds=2, connections=32, tls=running.tls)
            if result.trouble:
                raise Trouble(f"paced: errors, so it counts as failed: {result.trouble}")
            rate = PACE * result.requests / result.seconds
            say(f"  {rate:.0f} requests per second")
        answers = load.paced(running.port, rate, seconds, 32, bench.backend.site.directory)
        if warming:
            return
        quarters: dict[int, list[float]] = defaultdict(list)
        for due, took in answers:
            quarters[int(due / QUARTER)].append(took)
        for part, row in rows.items():
            for sample in [[took for _, took in answers]] if part == RARE else quarters.values():
                row.add(running.key, at_rank(part)(sample) * 1e3)

    _rounds(bench, one)
    return [*rows.values()]


def large_bodies(bench: Bench) -> list[Row]:
    """Four clients fetch 32 MB again and again."""
    row = Row("large", "32 MB bodies: MB per proxy CPU second", "MB/s")

    def one(running: Running, seconds: float, *, warming: bool) -> None:
        before = running.cpu_seconds()
        result = load.wrk(running.port, "/large", seconds=seconds, connections=4)
        used = running.cpu_seconds() - before
        if result.trouble:
            raise Trouble(f"large: errors, so it counts as failed: {result.trouble}")
        if result.received < 0.9 * result.requests * LARGE:
            raise Trouble(f"large: {result.requests} bodies of {LARGE} bytes, but {result.received} bytes in all")
        if not warming:
            row.add(running.key, result.received / 1e6 / used)

    _rounds(bench, one)
    return [row]


def _rounds(bench: Bench, one: Callable[..., None], front: str = PLAIN) -> None:
    """
    Interleaved rounds, after a second of warming for each. Who has errors in one round takes no part in the next.
    """
    with bench.running(front=front) as everybody:
        healthy = list(everybody)

        def turn(running: Running, seconds: float, *, warming: bool) -> None:
            healthy.remove(running)
            with bench.survive(running.key):
                one(running, seconds, warming=warming)
                healthy.append(running)

        for running in everybody:
            turn(running, 1.0, warming=True)
        for number in range(bench.rounds):
            say(f"  round {number + 1} of {bench.rounds}")
            for running in rotated(everybody, number):
                if running in healthy:
                    turn(running, bench.seconds, warming=False)


def memory_of_clients(bench: Bench) -> list[Row]:
    """1000 clients come and ask one after the other, and stay; then they all ask at once, and stay."""
    alone = Row("clients", "memory per kept idle client", "KiB")
    burst = Row(
        "clients-all", "the same after all 1000 asked at once, with the server connections kept for them", "KiB"
    )
    for _ in range(min(bench.rounds, 3)):
        for contender in bench.contenders:
            # A fresh process each time: memory once freed would be used again and hide the growth.
            with bench.running(contender.key) as alive, bench.survive(contender.key):
                for running in alive:
                    for row, grown in zip((alone, burst), _growth_by_clients(running), strict=True):
                        row.add(running.key, grown / 1024)
    return [alone, burst]


def _growth_by_clients(running: Running) -> tuple[float, float]:
    for _ in range(50):
        load.one_client(running.port)
    before = running.memory()
    clients = load.kept_clients(running.port, KEPT)
    try:
        idle = running.memory()
        load.all_ask(clients)
        return (idle - before) / KEPT, (running.memory() - before) / KEPT
    finally:
        for client in clients:
            client.close()


def memory_of_pool(bench: Bench) -> list[Row]:
    """
    500 TLS connections to the server, open and idle.

    Ours: a floor of 500 against one of 0, so all that comes with a connection. The others have no floor: 500 kept
    clients ask at once through a slow relay, so that 500 connections are opened, which then stay idle. The buffers of
    500 exchanges stay in the heap, too, so the growth by the same clients who ask a plain server is subtracted, and
    with it the little that a plain connection costs. HAProxy as it comes keeps no such pool.
    """
    row = Row("pool", "memory per idle pooled TLS connection", "KiB")
    for _ in range(min(bench.rounds, 3)):
        with bench.survive("ours"):
            grown = _growth_by_floor(bench)
            if grown is not None:
                row.add("ours", grown / 1024)
        for key in ("tuned", "nginx"):
            with bench.survive(key):
                secure, plain = (_growth_by_burst(bench, key, tls=tls) for tls in (True, False))
                if secure is not None and plain is not None:
                    row.add(key, (secure - plain) / 1024)
    return [row]


def _growth_by_floor(bench: Bench) -> float | None:
    sizes = []
    for floor in (0, POOLED):
        with bench.running("ours", floor=floor) as alive:
            if not alive:
                return None
            # Some 1.5 ms of CPU on each side for each handshake, and the product may space them out on purpose.
            machine.wait_for(lambda: bench.backend.active() >= floor, f"a floor of {floor}", 60)  # noqa: B023
            for _ in range(50):
                load.one_client(alive[0].port)
            time.sleep(1.0)
            sizes.append((bench.backend.active(), alive[0].memory()))
    (few, small), (many, big) = sizes
    return (big - small) / (many - few)


def _growth_by_burst(bench: Bench, key: str, *, tls: bool) -> float | None:
    # A round trip of a second: all have asked, and all connections are being opened, before the first is ready.
    with relay(bench, [key], 1.0, tls=tls) as (servers, _), bench.running(key, servers=servers) as alive:
        if not alive:
            return None
        running = alive[0]
        clients = [load.connect(running.port) for _ in range(POOLED)]
        try:
            load.ask(clients[0])
            before, few = running.memory(), bench.backend.active()
            load.all_ask(clients)
            time.sleep(1.0)
            opened = bench.backend.active() - few
            if opened < POOLED / 2:
                raise Trouble(f"pool: only {opened} connections were opened and kept")
            return (running.memory() - before) / opened
        finally:
            for client in clients:
                client.close()


def after_quiet(bench: Bench) -> list[Row]:
    """
    One client, and 50 at once, after a time without requests, behind a relay.

    In each round: the first request ever, 20 more, quiet, one request, quiet, 50 clients at once, and the same again
    without a pause. Fresh processes in each round: a pool filled by 50 clients would flatter the next.
    """
    first = Row("first", "very first request, 20 ms round trip", "ms")
    one = Row("quiet", f"one request after {bench.quiet:g} s of quiet, 20 ms round trip", "ms")
    half = Row("burst-p50", f"{AT_ONCE} clients at once after quiet, 20 ms round trip: p50", "ms", summary=at_rank(0.5))
    most = Row(
        "burst-p99", f"{AT_ONCE} clients at once after quiet, 20 ms round trip: p99", "ms", summary=at_rank(0.99)
    )
    opened = Row("burst-new", "... and server connections opened for them", "", summary=max)
    again = Row("again-p99", f"{AT_ONCE} clients once more, right after: p99", "ms", summary=at_rank(0.99))
    for number in range(min(bench.rounds, 3)):
        say(f"  round {number + 1} of {min(bench.rounds, 3)}")
        keys = [contender.key for contender in bench.contenders]
        with (
            relay(bench, keys, ROUND_TRIP) as (servers, accepted),
            bench.running(servers=servers, check=False) as alive,
        ):
            time.sleep(2.0)  # The floor fills.
            order = rotated(alive, number)
            for running in order:
                with bench.survive(running.key):
                    times = [load.one_client(running.port) for _ in range(21)]
                    first.add(running.key, times[0] * 1e3)
            time.sleep(bench.quiet)
            for running in order:
                with bench.survive(running.key):
                    one.add(running.key, load.one_client(running.port) * 1e3)
            time.sleep(bench.quiet)
            for running in order:
                with bench.survive(running.key):
                    before = accepted(running.key)
                    times = load.at_once(running.port, AT_ONCE)
                    opened.add(running.key, accepted(running.key) - before)
                    once_more = load.at_once(running.port, AT_ONCE)
                    for row, some in ((half, times), (most, times), (again, once_more)):
                        for took in some:
                            row.add(running.key, took * 1e3)
    return [first, one, half, most, opened, again]


def at_rank(part: float) -> Callable[[Sequence[float]], float]:
    """The smallest sample that this part of all samples does not exceed (nearest rank)."""
    return lambda samples: sorted(samples)[max(0, -int(-part * len(samples) // 1) - 1)]


@contextlib.contextmanager
def relay(
    bench: Bench, keys: Sequence[str], round_trip: float, *, tls: bool = True
) -> Iterator[tuple[dict[str, Target], Callable[[str], float]]]:
    """
    A relay before the backend, with a port for each contender, so that their connections are counted apart.

    @return: what to give them as their server, and a function
        that tells how many connections came to a contender's port so far.
    """
    delayed = Delayed(bench.backend, keys, round_trip, tls=tls)
    try:
        yield delayed.servers, delayed.accepted
    finally:
        delayed.stop()


#: By their names on the command line: the function, and the programs that it needs beside the contenders.
WORKS: dict[str, tuple[Callable[[Bench], list[Row]], tuple[str, ...]]] = {
    "close": (closing_clients, ("wrk",)),
    "keep-alive": (kept_alive_clients, ("wrk",)),
    "tls": (over_tls, ("wrk",)),
    "paced": (at_a_fixed_rate, ("wrk", "cc")),
    "large": (large_bodies, ("wrk",)),
    "clients": (memory_of_clients, ()),
    "pool": (memory_of_pool, ()),
    "quiet": (after_quiet, ()),
}


def pin_the_load() -> None:
    """We, and wrk with us, stay off the proxy's core."""
    os.sched_setaffinity(0, {machine.LOAD_CORE})
