"""Says in words how many lines of a log are lost, since when, and why."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import frozen


@frozen
class Lost:
    """Says how many lines are lost that no line has told of, how many seconds ago the first was, and why."""

    lines: int
    ago: float
    why: str


#: Makes the line that tells of lost ones.
LostLine = Callable[[Lost], str]


def lost_text(lost: Lost, wall: Callable[[], float] = time.time) -> str:
    """Returns the line for a log that has no form of its own."""
    return f"{lost.lines} log lines were dropped since {since(lost.ago, wall)}: {lost.why}"


def since(ago: float, wall: Callable[[], float] = time.time) -> str:
    """Returns the local time so many seconds ago, as it is read."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall() - ago))
