"""Writes the record of a pool as text, and reads it again: what `show pool record` prints, and the doctor takes.

The first line names the format, the second is what is known besides the events, as JSON; then one line for each event:
seconds since the record began, a word, and what belongs to it. It must never know pools.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import asdict, fields

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE
from reusedproxy.pool.record.history import CAUSES, ENDS, FAILURES, WAIT_WORDS, Situation
from reusedproxy.pool.record.ring import (
    BORROWED,
    CHANGED,
    ENDED,
    FAILED,
    FLOOR,
    OPENED,
    RETURNED,
    STATE,
    WAITED,
    Event,
    pack_dial,
    pack_end,
    pack_floor,
    pack_wait,
    unpack_dial,
    unpack_end,
    unpack_floor,
    unpack_wait,
)

FORMAT = "# reusedproxy pool record, version 1"
#: Lines that are made at once.
_AT_ONCE = 100
_KINDS = {ANY: "any", FRESH: "fresh", SAFE: "safe", NEW: "new"}
_WORDS = {
    BORROWED: "borrow",
    RETURNED: "return",
    WAITED: "waited",
    OPENED: "opened",
    FAILED: "failed",
    ENDED: "end",
    STATE: "state",
    FLOOR: "floor",
    CHANGED: "changed",
}


class NotARecord(Exception):
    """Reports a text that is not a record of this version; the message says where and why."""


def written(situation: Situation, events: Iterable[Event], since: float, until: float) -> Iterator[str]:
    """Returns the text of a record, in pieces."""
    head = {**asdict(situation), "seconds": round(until - since, 6)}
    yield f"{FORMAT}\n{json.dumps(head)}\n"
    lines: list[str] = []
    for event in events:
        lines.append(f"{event.at - since:.6f} {_WORDS[event.kind]} {_said(event)}".rstrip() + "\n")
        if len(lines) >= _AT_ONCE:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)


def _said(event: Event) -> str:
    kind, number = event.kind, event.number
    if kind == WAITED:
        needs, result, seconds = unpack_wait(number)
        return f"{WAIT_WORDS[result]} {seconds:.5f} {_KINDS[needs]}"
    if kind in (OPENED, FAILED):
        what, seconds = unpack_dial(number)
        return f"{(CAUSES if kind == OPENED else FAILURES)[what]} {seconds:.5f}"
    if kind == ENDED:
        connection, word, by_server = unpack_end(number)
        return f"{connection} {'server' if by_server else 'proxy'} {ENDS[word]}"
    if kind == STATE:
        return "running" if number else "suspended"
    if kind == FLOOR:
        return "{} {}".format(*unpack_floor(number))
    return "" if kind == CHANGED else str(number)


def read(lines: Iterable[str]) -> tuple[Situation, float, list[Event]]:
    """Returns what a record tells besides its events, how many seconds it lasts, and the events, whose times are
    seconds since it began. Raises NotARecord."""
    numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
    kept = ((number, line) for number, line in numbered if line)
    _, first = next(kept, (0, ""))
    if first != FORMAT:
        raise NotARecord(f"it does not begin with '{FORMAT}': save what 'show pool record' says, whole")
    number, head = next(kept, (2, ""))
    try:
        situation, seconds = _situation(json.loads(head))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise NotARecord(f"line {number}: what is said of the pool cannot be read ({error})") from None
    events = []
    for number, line in kept:
        try:
            events.append(_event(line.split(" ", 2)))
        except (ValueError, IndexError):
            raise NotARecord(f"line {number} is no event: '{line[:60]}'") from None
    return situation, seconds, events


def _situation(said: Any) -> tuple[Situation, float]:
    known = {each.name for each in fields(PoolLimits)}
    limits = PoolLimits(**{name: value for name, value in said["limits"].items() if name in known})
    times = {name: (float(said[name][0]), float(said[name][1]), tuple(said[name][2])) for name in ("used", "unused")}
    return (
        Situation(
            str(said["name"]),
            limits,
            times["used"],
            times["unused"],
            float(said["dial"]),
            int(said["places"]),
            int(said["standing"]),
            int(said["floor"]),
            bool(said["running"]),
            float(said["wall"]),
            bool(said["raw"]),
        ),
        float(said["seconds"]),
    )


_KIND_OF = {word: kind for kind, word in _WORDS.items()}
_NEEDS = {word: kind for kind, word in _KINDS.items()}


def _event(words: list[str]) -> Event:
    """Reads one line. Raises ValueError or IndexError."""
    if words[1] not in _KIND_OF:
        raise ValueError(words[1])
    at, kind = float(words[0]), _KIND_OF[words[1]]
    said = words[2].split(" ") if len(words) > 2 else []
    if kind == WAITED:
        if said[2] not in _NEEDS:
            raise ValueError(said[2])
        return Event(at, kind, pack_wait(_NEEDS[said[2]], WAIT_WORDS.index(said[0]), float(said[1])))
    if kind in (OPENED, FAILED):
        what = (CAUSES if kind == OPENED else FAILURES).index(said[0])
        return Event(at, kind, pack_dial(what, float(said[1])))
    if kind == ENDED:
        return Event(at, kind, pack_end(int(said[0]), ENDS.index(" ".join(said[2:])), said[1] == "server"))
    if kind == STATE:
        return Event(at, kind, ("suspended", "running").index(said[0]))
    if kind == FLOOR:
        return Event(at, kind, pack_floor(int(said[0]), int(said[1])))
    return Event(at, kind, 0 if kind == CHANGED else int(said[0]))
