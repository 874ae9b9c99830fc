"""Records what happens to one pool in a ring of bounded size: eight bytes for each event (`pool-record`).

An event has a kind, microseconds since the one before, and one number of 28 bits that belongs to the kind. Events are
kept in blocks, and the oldest block goes when there are too many or when it is too old, so that an event costs an
`append`. The ring must never know what is made of its events: see `history`.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from math import inf
from typing import Final

from attrs import frozen

from reusedproxy.config.model.proxies import RecordBound

#: Events of a block, and the bytes of one event.
BLOCK: Final = 4096
EVENT: Final = 8

# Kinds of events, and what their number says.
BORROWED: Final = 0  # the connection that a request uses from now on
RETURNED: Final = 1  # the connection that it no longer uses
WAITED: Final = 2  # how a wait for a connection has ended, see `pack_wait`; if well, the next event is a BORROWED
OPENED: Final = 3  # a dial that has ended well: its seconds, see `pack_dial`
FAILED: Final = 4  # a dial that has not
ENDED: Final = 5  # the connection that has ended, and why, see `pack_end`
STATE: Final = 6  # 1: the pool runs; 0: its server is not to be used
FLOOR: Final = 7  # the floor before, and the new one, of 14 bits each
CHANGED: Final = 8  # the settings of the server are others from now on
_GAP: Final = 15  # nothing: more microseconds than fit

#: A connection is known by these bits of its number: of four million that follow one another no two are the same.
NUMBERS: Final = (1 << 22) - 1
#: The longest time in an event's number, in steps of 10 µs.
_STEPS: Final = (1 << 24) - 1
_STEP: Final = 1e-5
_LONGEST_GAP: Final = (1 << 32) - 1
_MOST_FLOOR: Final = (1 << 14) - 1


@frozen
class Event:
    """Holds one event: `at` the clock's time in seconds."""

    at: float
    kind: int
    number: int


class Record:
    """Keeps the latest events of one pool. `bound` may be changed at any time."""

    def __init__(self, bound: RecordBound, now: Callable[[], float]) -> None:
        self.bound = bound
        self._now = now
        #: The microsecond of the last event.
        self._last = int(now() * 1e6)
        #: All blocks, the oldest first, each with the microsecond before its first event.
        self._blocks: deque[tuple[int, array[int]]] = deque()
        self._begin_block()

    def since(self, most: int | None = None) -> float:
        """Returns the clock's time from which on nothing is missing, in all of it or in its last `most` blocks."""
        return self._latest(most)[0][0] / 1e6

    @property
    def bytes(self) -> int:
        """Returns how much memory its events take."""
        return sum(len(block) * EVENT for _, block in self._blocks)

    def events(self, most: int | None = None) -> Iterator[Event]:
        """Returns all events, or those of the last `most` blocks, the oldest first, as far as there are any now."""
        blocks = self._latest(most)
        blocks[-1] = (blocks[-1][0], blocks[-1][1][:])  # the others do not change any more
        return self._read(blocks)

    def _latest(self, most: int | None) -> list[tuple[int, array[int]]]:
        blocks = [*self._blocks]
        return blocks if most is None else blocks[-most:]

    def _read(self, blocks: list[tuple[int, array[int]]]) -> Iterator[Event]:
        for begins, block in blocks:
            at = begins
            for word in block:
                at += word >> 32
                if word >> 28 & 15 != _GAP:
                    yield Event(at / 1e6, word >> 28 & 15, word & 0xFFFFFFF)

    # What happens.

    def note_at(self, at: float, kind: int, number: int) -> None:
        """Adds an event of the clock's time `at`, which is not before that of the last one."""
        micro = int(at * 1e6)
        gap = micro - self._last
        if not 0 <= gap <= _LONGEST_GAP:
            gap = self._bridge(gap)
        self._last += gap
        block = self._block
        block.append(gap << 32 | kind << 28 | number)
        if len(block) >= BLOCK:
            self._begin_block()

    def note(self, kind: int, number: int) -> None:
        """Adds an event of now."""
        self.note_at(self._now(), kind, number)

    def _bridge(self, gap: int) -> int:
        """Returns what is left of a gap that is longer than an event can say; 0 for one into the past."""
        while gap > _LONGEST_GAP:
            self._block.append(_LONGEST_GAP << 32 | _GAP << 28)
            self._last += _LONGEST_GAP
            gap -= _LONGEST_GAP
        return max(0, gap)

    def _begin_block(self) -> None:
        self._block = array("Q")
        self._blocks.append((self._last, self._block))
        self.forget_old()

    def forget_old(self) -> None:
        """Drops what is beyond the bound, in whole blocks."""
        bound, blocks = self.bound, self._blocks
        oldest = -inf if bound.seconds is None else self._now() - bound.seconds
        while len(blocks) > 1 and (len(blocks) * BLOCK * EVENT > bound.bytes or blocks[1][0] / 1e6 < oldest):
            blocks.popleft()


def pack_wait(kind: int, result: int, seconds: float) -> int:
    """Packs a wait for a connection of this kind (`pool.kinds`): its result, a place in `history.WAITS`, and time."""
    return _steps(seconds) << 4 | result << 2 | kind


def unpack_wait(number: int) -> tuple[int, int, float]:
    """Returns kind, result and seconds of a wait."""
    return number & 3, number >> 2 & 3, (number >> 4) * _STEP


def pack_dial(what: int, seconds: float) -> int:
    """Packs a dial: its cause or failure, a place in `history.CAUSES` or `FAILURES`, and how many seconds it took."""
    return _steps(seconds) << 4 | what


def unpack_dial(number: int) -> tuple[int, float]:
    """Returns cause or failure of a dial, and its seconds."""
    return number & 15, (number >> 4) * _STEP


def pack_end(connection: int, word: int, by_server: bool) -> int:
    """Packs the end of a connection: its number, why, a place in `history.ENDS`, and by whom."""
    return (connection & NUMBERS) << 6 | word << 1 | by_server


def unpack_end(number: int) -> tuple[int, int, bool]:
    """Returns the connection, the word and whether the server has ended it."""
    return number >> 6, number >> 1 & 31, bool(number & 1)


def pack_floor(before: int, floor: int) -> int:
    """Packs a floor that has changed; one above 16,383 counts as that."""
    return min(before, _MOST_FLOOR) << 14 | min(floor, _MOST_FLOOR)


def unpack_floor(number: int) -> tuple[int, int]:
    """Returns the floor before, and the new one."""
    return number >> 14, number & _MOST_FLOOR


def _steps(seconds: float) -> int:
    return min(max(0, round(seconds / _STEP)), _STEPS)
