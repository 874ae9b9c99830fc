"""Has many changes of servers count at once.

Each change alone has its backend choose among all its servers anew: 3,000 orders for the 3,000 servers of one backend
would hold the event loop for half a minute. Changes that are gathered change their servers only; the choice of servers
is updated when all are made, and then what follows from each is done (its message, its pool, requests that wait). Must
never know what changes, nor who has ordered it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

from attrs import Factory, define

#: What follows from a change of a server. It is told whether any server could be chosen before.
Follow: TypeAlias = Callable[[bool], None]


@define
class Gathered:
    """Holds what follows from the changes of one backend's servers that do not count yet. `renamed`: servers have got
    other names to follow."""

    follows: list[Follow] = Factory(list)
    renamed: bool = False


class Gathering(Protocol):
    """Defines what is asked of a backend. As long as it has `gathered`, it adds to that, and nobody may ask it for a
    server."""

    gathered: Gathered | None

    @property
    def usable(self) -> bool:
        """Tells whether any server can be chosen."""

    def learn_limits(self) -> None:
        """Updates the choice of servers, after changes of their limits and states."""

    def follow_names(self) -> None:
        """Has servers follow the names that they have now."""

    def look_at_standbys(self) -> None:
        """Raises the floors of servers that stand by for others, if one of these has gone."""


@contextmanager
def at_once(backends: Iterable[Gathering]) -> Iterator[None]:
    """Gathers the changes that are made within, and has them count at its end."""
    backends = [*backends]
    for backend in backends:
        backend.gathered = Gathered()
    try:
        yield
    finally:
        try:
            while waiting := [each for each in backends if each.gathered is not None and each.gathered.follows]:
                _count(waiting)  # who is told may change more
        finally:
            renamed = [each for each in backends if each.gathered is not None and each.gathered.renamed]
            for backend in backends:
                backend.gathered = None
            for backend in renamed:
                backend.follow_names()


def _count(backends: Iterable[Gathering]) -> None:
    """Has the changes of these backends count: each chooses by them before anybody is told."""
    counted = []
    for backend in backends:
        gathered, backend.gathered = backend.gathered, Gathered()
        assert gathered is not None
        backend.gathered.renamed = gathered.renamed
        counted.append((backend, gathered.follows, backend.usable))
        backend.learn_limits()
    for backend, follows, had_any in counted:
        for number, follow in enumerate(follows):
            follow(had_any and not number)  # that none is left any more is said once
        backend.look_at_standbys()
