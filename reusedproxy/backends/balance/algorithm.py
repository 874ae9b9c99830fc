"""Defines what a backend asks of a `balance` algorithm.

Algorithms know servers' weights, their load, and whether they are full. They must never know who asks, nor why a server
may be chosen or not; those that hash something of a request are given the function that finds its hash (`Hash`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from reusedproxy.backends.server import Server

#: Computes the hash of a request, 32 bits; None where the request lacks what is hashed.
Hash = Callable[[Any], int | None]


class Algorithm(Protocol):
    """Defines what a backend asks of each algorithm. A pick costs O(log servers) at most, whether or not
    servers are full."""

    #: Tells that a change of a server's weight counts at once; otherwise only 0 and the configured weight are possible.
    dynamic: bool
    #: Tells that a part of a server's weight (`Server.eweight`) gives it that part of its share; otherwise it has all
    #: or nothing.
    weighs: bool

    def use(self, servers: Sequence[Server]) -> None:
        """Chooses among these from now on, all of a weight above 0. Called after each change of a state or a weight."""

    def pick(self, avoid: Server | None = None) -> Server | None:
        """Returns the next server that can take a request now, other than `avoid` if there is
        one; None: all are full."""

    def freed(self, server: Server) -> None:
        """Readmits `server`, which was full and has room: a request of it has ended, or its limit has risen."""


@runtime_checkable
class ByLoad(Protocol):
    """Defines what is asked, besides, of an algorithm that looks at the servers' load."""

    def loaded(self, server: Server, change: int) -> None:
        """Notes that `server` has been given a request (1), or that one has ended there (-1). Its `served` is up to
        date."""


@runtime_checkable
class Remembers(Protocol):
    """Defines what is asked, besides, of an algorithm that knows servers while they are out of use."""

    def forget(self, server: Server) -> None:
        """Drops what is known of a server that is out of use, and will not come back."""


@runtime_checkable
class TakesTurns(Protocol):
    """Defines what is asked, besides, of an algorithm that remembers whose turn is next."""

    def succeed(self, previous: Any, heirs: Mapping[Server, Server]) -> None:
        """Goes on where `previous` is, one of its own kind whose place it takes at a reload. `heirs` are the servers
        that have taken the places of others, by these. `use` is called next."""


@runtime_checkable
class ByHash(Protocol):
    """Defines what is asked, besides, of an algorithm that binds requests to servers by a hash."""

    def bound(self, asks: object, avoid: Server | None = None) -> Server | None:
        """Returns the server of this request, full or not; it is `avoid` only if there is no other. None: the request
        has nothing to hash, so that any server will do."""
