"""Keeps the lines of a `ring` section, the latest ones up to its size, for those who look at them (`show events`).

What a line says, and who looks, is not known here. A ring whose section goes on at a reload goes on with its lines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from reusedproxy.operators.logs.lost import LostLine
from reusedproxy.operators.logs.sinks import Sink

#: Bytes that each line takes besides its own, so that empty ones are bounded, too.
_MORE = 8


class Ring:
    """Holds the latest lines, `size` bytes of them. They are numbered from 0 on; `end` is the number of the next."""

    def __init__(self, name: str, description: str, size: int) -> None:
        self.name = name
        self.description = description
        self.size = size
        self.end = 0
        #: A reload has left it out: no line comes any more.
        self.closed = False
        #: Who is told of each new line, and of its end, and looks for it later.
        self.followers: list[Callable[[], None]] = []
        self._lines: deque[str] = deque()
        self._kept = 0

    def add(self, line: str) -> None:
        """Keeps a line; the oldest ones make room."""
        self._lines.append(line)
        self._kept += len(line) + _MORE
        self.end += 1
        while self._kept > self.size and self._lines:
            self._kept -= len(self._lines.popleft()) + _MORE
        for told in self.followers:
            told()

    def close(self) -> None:
        """Takes no more lines: its section is gone, or has another size."""
        self.closed = True
        for told in self.followers:
            told()

    @property
    def begin(self) -> int:
        """Returns the number of the oldest line."""
        return self.end - len(self._lines)

    def line(self, number: int) -> str:
        """Returns the line of a number from `begin` to `end`."""
        return self._lines[number - self.begin]

    def since(self, number: int, most: int) -> Iterator[tuple[int, str]]:
        """Returns the lines from this number on, `most` at most, each with its number. Older ones than there are are
        left out."""
        first = max(number, self.begin)
        for at in range(first, min(self.end, first + most)):
            yield at, self.line(at)


class RingSink:
    """Takes lines for a ring, and hands them on to its server, if it has one. A `sinks.Sink`."""

    def __init__(self, ring: Ring, server: Sink | None) -> None:
        self.ring = ring
        self._server = server

    @property
    def lost_line(self) -> LostLine | None:
        return None if self._server is None else self._server.lost_line

    @lost_line.setter
    def lost_line(self, made: LostLine | None) -> None:
        if self._server is not None:
            self._server.lost_line = made

    @property
    def dropped(self) -> int:
        return 0 if self._server is None else self._server.dropped

    def write(self, line: str) -> None:
        self.ring.add(line)
        if self._server is not None:
            self._server.write(line)

    def write_all(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
