"""Counts events of a sliding period, as HAProxy does (include/haproxy/freq_ctr.h): those of the present period, and of
the one before it in proportion to what is left of this one. Three numbers, whatever the rate.

A counter is three places of an array: when its period began, the events in it, and those of the period before. All
times are whole milliseconds.
"""

from __future__ import annotations

from array import array

#: Places that a counter takes.
PLACES = 3


def add(values: array[int], at: int, period: int, now: int, events: int) -> None:
    """Adds events to the counter at this place."""
    began = values[at]
    if now - began < period:
        values[at + 1] += events
        return
    began += period
    if now - began >= period:
        values[at + 2] = 0
        began = now
    else:
        values[at + 2] = values[at + 1]
    values[at + 1] = events
    values[at] = began & ~1  # HAProxy has a lock in this bit


def read(values: array[int], at: int, period: int, now: int) -> int:
    """Returns the events of the last `period`, rounded down. One event long past is not reported as none and one by
    turns: it counts until its period has passed twice."""
    left, events, before = values[at] + period - now, values[at + 1], values[at + 2]
    if left < 0:
        left += period
        events, before = 0, events if left >= 0 else 0
    if not events and before <= 1:
        return before
    return (before * left + events * period) // period


def put(values: array[int], at: int, now: int, events: int) -> None:
    """Sets the counter to so many events in a period that begins now."""
    values[at], values[at + 1], values[at + 2] = now & ~1, events, 0
