"""Answers what other settings of a pool would have made of the traffic that its record tells of.

The recorded requests run through the real pool on a simulated clock: with the settings in force, so that it can be seen
how far the simulation is to be trusted, and with those that are asked for, or with a few floors. Handshakes take as
long, and fail, as recorded ones of about that time. It must never know where the record comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from attrs import evolve, frozen

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.sections.server_words import read_pool
from reusedproxy.net.slices import Steps
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.raw import used_once
from reusedproxy.pool.record.history import History, Outcome
from reusedproxy.pool.simulation.run import Run

#: Shares of the requests that are to get a connection without a wait, for which floors are proposed.
SHARES: Final = (0.99, 0.999, 1.0)
#: The words of settings, and those of the configuration that they stand for.
SHORT: Final = {
    "floor": "pool-min-conn",
    "idle": "pool-idle-timeout",
    "max": "pool-max-conn",
    "low": "pool-low-conn",
    "age": "pool-max-age",
    "purge": "pool-purge-delay",
    "reuse": "max-reuse",
    "ping": "idle-ping",
    "rate": "pool-connect-rate",
}


@frozen
class Case:
    """Holds settings to be tried, and how they are called."""

    words: str
    limits: PoolLimits


@frozen
class Answer:
    """Holds what became of the traffic under some settings; `words` name these."""

    words: str
    outcome: Outcome


def answers(history: History, cases: Sequence[Case]) -> Iterator[Answer | None]:
    """Returns, in steps (None), what was recorded, what the simulation makes of that with the settings in force, and
    what of it with each of the `cases`; without any, with floors that are worth a look."""
    yield Answer("recorded", history.outcome)
    in_force = history.situation.limits
    answer, floors = yield from _answer(history, Case(f"in force: {floor_words(in_force)}", in_force), history.floor)
    yield answer
    for case in cases or proposals(in_force, floors, raw=history.situation.raw):
        floor = history.floor if case.limits.adapts and in_force.adapts else case.limits.min_conn
        answer, _ = yield from _answer(history, case, floor)
        yield answer


def floor_words(limits: PoolLimits) -> str:
    """Returns the floor of these settings, as it is asked for."""
    if not limits.adapts:
        return f"floor={limits.min_conn}"
    most = "" if limits.most_floor is None else f":{limits.most_floor}"
    return f"floor=auto:{limits.min_conn}{most}"


def proposals(in_force: PoolLimits, floors: Sequence[int], *, raw: bool = False) -> list[Case]:
    """Returns the settings in force with no floor, with each of these, and with one that follows demand; not those that
    are in force. `raw`: as of `case_of`."""
    cases = [
        evolve(in_force, min_conn=floor, adapts=False, most_floor=None, max_conn=_room(in_force, floor))
        for floor in sorted({0, *floors})
    ]
    cases.append(evolve(in_force, min_conn=1, adapts=True, most_floor=None))
    if raw:
        cases = [_once(each, in_force) for each in cases]
    return [Case(floor_words(each), each) for each in cases if floor_words(each) != floor_words(in_force)]


def _once(limits: PoolLimits, in_force: PoolLimits) -> PoolLimits:
    """Returns the limits of connections that are used once: with a fixed floor no more than that stand idle, which is
    no bound of one that follows demand."""
    if limits.adapts and not in_force.adapts and limits.max_conn == in_force.max_conn:
        limits = evolve(limits, max_conn=None)
    return used_once(limits)


def _room(in_force: PoolLimits, floor: int) -> int | None:
    """Returns the `max_conn` with which such a floor may stand."""
    return None if in_force.max_conn is None else max(in_force.max_conn, floor)


def _answer(history: History, case: Case, floor: int) -> Steps[tuple[Answer, tuple[int, ...]]]:
    """Returns the answer of one run, which begins with this floor, and the floors that would have met `SHARES` of its
    requests."""
    situation = history.situation

    def prepare(pool: HTTPConnectionPool) -> None:
        pool.upkeep.used.know(*situation.used)
        pool.upkeep.unused.know(*situation.unused)
        pool.patience.dial = history.usual_dial
        pool.has_places(situation.places)
        if pool.upkeep.following is not None:
            pool.upkeep.following.begin_with(floor)
            pool.set_floor(pool.upkeep.following.floor)

    run = Run(history.arrivals, case.limits, RecordedServer(history), prepare)
    last = history.arrivals[-1].at if history.arrivals else 0.0
    outcome = yield from run.steps(history.states, history.seconds - last)
    floors = [run.pool.depths.floor_for(share) for share in SHARES]
    return Answer(case.words, outcome), tuple(each for each in floors if each is not None)


class RecordedServer:
    """Behaves as the server of a history did. When it closed used connections after fewer requests than they would have
    carried, the recorded requests tell (`Arrival.ends`)."""

    bears = inf

    def __init__(self, history: History) -> None:
        self._history = history
        self.idle_used = _limit(history.situation.used)
        self.idle_unused = _limit(history.situation.unused)

    def dial(self, at: float) -> tuple[float, bool]:
        dial = self._history.dial_at(at)
        return dial.took, dial.well


def _limit(known: tuple[float, float, Sequence[float]]) -> float:
    """Returns the idle time-out, in seconds, of what is known of it."""
    return min(each or inf for each in known[:2])


def case_of(text: str, in_force: PoolLimits, *, raw: bool = False) -> Case:
    """Reads settings such as `floor=8,idle=20s`; what is not said is as in force. `raw`: the connections are used once
    (mode tcp). Raises Wrong."""
    words: list[str] = []
    for part in text.split(","):
        name, equals, value = part.partition("=")
        word = SHORT.get(name, name)
        if not equals or not value or word not in SHORT.values():
            raise Wrong(f"'{part}' is no setting: say {', '.join(f'{each}=…' for each in SHORT)}")
        words += [word, *(value.split(":") if word == "pool-min-conn" else [value])]
    limits = read_pool(words, in_force, f"'{text}'")
    if raw:
        return Case(text, _once(limits, in_force))
    highest = max(limits.min_conn, limits.most_floor or 0)
    if limits.max_conn is not None and highest > limits.max_conn:
        raise Wrong(f"'{text}': a floor of {highest} is more than pool-max-conn {limits.max_conn}: add max={highest}")
    return Case(text, limits)
