"""Defines what upkeep needs of the pool that it keeps, besides the connections themselves. Names only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.learning.depth import Depths
from reusedproxy.pool.waiters import Waiters

# What an operator has ordered of a pool; see `pool.ordered`.
NO_ORDER: Final = ""
DRAINED: Final = "drained"
REWARMING: Final = "rewarming"


class GivenOrder(Protocol):
    """Defines the order of an operator that is in force for a pool, as upkeep sees it; `state` is one of those
    above."""

    state: str

    @property
    def reason(self) -> str:
        """Returns why connections leave by it."""

    def ends(self, connection: ServerConnection) -> bool:
        """Tells whether an order has ended the life of this connection."""

    def born(self) -> None:
        """Counts a new connection."""

    def gone(self, connection: ServerConnection) -> None:
        """Counts a connection that has left the pool."""

    def keeps(self, connection: ServerConnection) -> bool:
        """Tells whether a connection whose life an order has ended, and which comes back, stays for now."""

    def look(self) -> None:
        """Ends the order if it is done."""


class KeptPool(Protocol):
    """Defines the pool as its upkeep sees it: what it may do, who waits, and what it shares with
    its server's other pools."""

    limits: PoolLimits
    #: How many connections are to stand idle, whatever is in use.
    floor: int
    #: The same, whatever an operator orders.
    usual_floor: int
    depths: Depths
    holdings: Holdings
    deadlines: Deadlines
    waiters: Waiters
    #: "running", "suspended" or "closed".
    state: str
    #: The end of the client certificate, by the clock: nothing that was opened before stays beyond it.
    expires_at: float

    @property
    def order(self) -> GivenOrder:
        """Returns the order that is in force."""

    #: The request of a ping, sent on a connection that has stood idle for `idle_ping` seconds.
    ping_request: bytes

    @property
    def below_floor(self) -> bool:
        """Tells whether fewer connections than the floor stand, idle or in use."""

    @property
    def counted(self) -> int:
        """Returns how many connections count for the server's ceiling (`strict-maxconn`)."""

    @property
    def others_wait(self) -> bool:
        """Tells whether requests wait for a connection under another name of the server."""

    @property
    def first(self) -> object:
        """Returns the server's own pool, which does the upkeep for all of its pools."""

    @property
    def known_names(self) -> int:
        """Returns how many connections may stand beyond what concurrent use calls for: one for each name
        that is asked for again."""

    @property
    def knows_name(self) -> bool:
        """Tells whether connections can be opened before there is a request, because the name is known."""

    def holding(self) -> Sequence[KeptPool]:
        """Returns the server's pools that need upkeep, the first pool first."""

    def look_after(self, now: float) -> None:
        """Does the upkeep that each pool needs by itself."""

    def longest_idle(self, most: int) -> list[ServerConnection]:
        """Returns at most `most` idle connections that may be closed, the longest idle first, from
        all pools of the server."""

    def set_floor(self, floor: int) -> None:
        """Changes how many connections are to stand idle."""

    def dial(self, cause: str) -> None:
        """Opens one more connection, for somebody who waits (DEMAND) or for the floor."""

    def why_due(self, connection: ServerConnection) -> str:
        """Returns why a connection leaves whose life is over."""

    def make_room(self) -> None:
        """Ends a connection that can be spared, at once: the ceiling is reached, and a request needs a new one."""
