"""Who waits for a connection of a pool, and what the pool knows of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define

from reusedproxy.net.dial import DialFailure

if TYPE_CHECKING:
    from reusedproxy.servers.connection import ServerConnection


class Waiter(Protocol):
    """Who waits for a connection; exactly one of the two is called, unless it leaves first."""

    def connection_ready(self, connection: ServerConnection) -> None: ...

    def connection_failed(self, failure: DialFailure) -> None:
        """An attempt to connect has failed. Nobody waits any more; asking again is allowed at once."""


@define
class Waiting:
    """One place in a pool's queue, taken at `since` for a connection of this kind (see `reuse`)."""

    waiter: Waiter
    kind: int
    dials: int  # had begun when it came
    since: float
