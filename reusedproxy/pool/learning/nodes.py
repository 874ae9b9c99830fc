"""Knows at which of several nodes behind one address each connection is, and how evenly they are spread.

It knows connections as keys, and nodes by name; it must never know what a connection is, or how a node was told.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

#: Seconds without a connection there after which a node is forgotten.
FORGOTTEN: Final = 600.0


class Nodes:
    """Holds the node of each connection. `seen` has all nodes that are known, the first seen first, and when a
    connection was there last."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self._at: dict[Hashable, str] = {}

    def __len__(self) -> int:
        """Returns how many connections are known."""
        return len(self._at)

    def place(self, connection: Hashable, node: str, now: float) -> None:
        """Notes that a connection is at this node."""
        self._at[connection] = node
        self.seen[node] = now

    def leave(self, connection: Hashable, now: float) -> None:
        """Forgets a connection that has ended."""
        node = self._at.pop(connection, None)
        if node is not None:
            self.seen[node] = now

    def of(self, connection: Hashable) -> str | None:
        """Returns the node of a connection; None if that is not known."""
        return self._at.get(connection)

    def counts(self, now: float) -> dict[str, int]:
        """Returns how many connections are at each node, those without one included until they are forgotten."""
        found = dict.fromkeys(self.seen, 0)
        for node in self._at.values():
            found[node] += 1
        for node in [node for node, count in found.items() if not count and now - self.seen[node] >= FORGOTTEN]:
            del found[node], self.seen[node]
        return found


def even(counts: dict[str, int]) -> bool:
    """Tells whether no node has two connections more than another; where all are at one node it is not known."""
    return (len(counts) > 1 or sum(counts.values()) < 2) and max(counts.values(), default=0) - min(
        counts.values(), default=0
    ) < 2


def unevenness(counts: dict[str, int]) -> float:
    """Returns how far the counts are from their mean, the sum of squares: each connection that goes to where two less
    are makes that smaller."""
    mean = sum(counts.values()) / max(1, len(counts))
    return sum((count - mean) ** 2 for count in counts.values())
