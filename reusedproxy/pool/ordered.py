"""Does what an operator orders of one pool: to be drained, or to have all of its connections replaced.

A drained pool keeps no idle connection. Its floor is withheld, and requests are served on connections that are opened
for them, until it is to be warm again. To be warm again means new connections in place of all that there are: an old
one is used until a new one stands, as at the end of its life, so that no request waits for a handshake that would not
have. The module knows the connections and the upkeep of one pool. It must never know servers, or who orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from math import inf
from typing import Final, Protocol

from reusedproxy.pool.connection import IDLE, ServerConnection
from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.kept import DRAINED, NO_ORDER, REWARMING, KeptPool
from reusedproxy.pool.reasons import ORDERED_DRAIN, ORDERED_REPLACEMENT
from reusedproxy.pool.upkeep import Upkeep

#: Idle connections that are marked as old in one unit of the backlog's work.
MARKED_AT_ONCE: Final = 10


class OrderedPool(KeptPool, Protocol):
    """Defines what an order needs of its pool, besides what upkeep does."""

    order: Order
    #: The floor that the file, demand or standby calls for, whatever is ordered.
    usual_floor: int

    @property
    def most_idle(self) -> float:
        """Returns how many connections may stand idle."""

    @property
    def family(self) -> Iterable[OrderedPool]:
        """Returns all pools of the server."""

    def fit_to_floor(self) -> None:
        """Fills the floor, which has changed, or ends what stands beyond it."""

    def keep_none(self, none: bool) -> None:
        """Keeps no idle connection from now on; or (False) as many as before."""


class Order:
    """Holds the order that is in force for one pool. `state` is one of these:

    NO_ORDER   ""           there is none
    DRAINED    "drained"    no connection stands idle; the floor is withheld until `rewarm`
    REWARMING  "rewarming"  connections that were born until `given_at` (the clock's seconds) leave as others stand

    `opened` and `ended` count the connections that are new since then, and the old ones that have gone.
    """

    def __init__(
        self,
        pool: OrderedPool,
        holdings: Holdings,
        upkeep: Upkeep,
        now: Callable[[], float],
        announce: Callable[[str, str], None],
    ) -> None:
        """Calls `announce(level, text)`, which takes messages for the log, when all connections of the server have been
        replaced."""
        self.state = NO_ORDER
        self.given_at = -inf
        self.opened = self.ended = 0
        self._pool = pool
        self._held = holdings
        self._upkeep = upkeep
        self._now = now
        self._announce = announce
        #: How many are to stand idle although the floor is lower: as many as stood, until all of those are new.
        self._raised = 0
        self._marking: Iterator[ServerConnection] = iter(())

    def tell(self, text: str) -> None:
        """Tells the log what is ordered."""
        self._announce("notice", text)

    def floor(self, usual: int) -> int:
        """Returns how many connections are to stand idle, where a floor of `usual` is called for."""
        return 0 if self.state == DRAINED else max(usual, self._raised)

    def ends(self, connection: ServerConnection) -> bool:
        """Tells whether an order has ended the life of this connection."""
        return connection.born <= self.given_at

    @property
    def reason(self) -> str:
        """Returns why connections leave by the order that was given last."""
        return ORDERED_DRAIN if self.state == DRAINED else ORDERED_REPLACEMENT

    @property
    def left(self) -> tuple[int, int]:
        """Returns how many connections of before are idle, private ones included, and in use."""
        held = self._held
        return sum(map(self.ends, chain(held.idle, held.private))), sum(map(self.ends, held.in_use))

    # Orders.

    def drain(self, now: float) -> None:
        """Ends all connections, the idle ones in slices from now on, those in use when they come back; and keeps none
        until `rewarm`. Who waits, or asks, still gets a connection."""
        self._begin(DRAINED, now)
        held = self._held
        held.due.clear()
        self._upkeep.curious = None
        self._pool.keep_none(True)
        self._apply()
        held.backlog.add(self._end_one)
        held.backlog.go_on()

    def rewarm(self, now: float) -> None:
        """Has new connections take the place of all that there are, and ends a `drain`. While the pool is suspended
        there are none."""
        drained = self.state == DRAINED
        self._begin(REWARMING, now)
        held = self._held
        if drained:
            self._pool.keep_none(False)
        else:
            self._raised = int(min(len(held.idle) + len(held.pinged), self._pool.most_idle))
        if self._pool.state != "running":
            self.stop()
            return
        for connection in [*held.private, *held.watched]:
            held.retire(connection, ORDERED_REPLACEMENT, later=True)
        held.end_later()
        self._apply()
        self._marking = iter(held.idle[:])
        held.backlog.add(self._mark_some)
        held.backlog.go_on()
        self.look()

    def stop(self) -> None:
        """Ends the replacement: all connections that stand idle are about to leave. A pool that is drained remains
        so."""
        if self.state == REWARMING:
            self.state, self._raised, self._marking = NO_ORDER, 0, iter(())
            self._pool.set_floor(self._pool.usual_floor)

    def _begin(self, state: str, now: float) -> None:
        self.state, self.given_at = state, now
        self.opened = self.ended = self._raised = 0
        self._marking = iter(())
        held = self._held
        for connection in chain(held.idle, held.in_use, held.private, held.watched):
            if connection.retire_at > self.given_at:
                connection.retire_at = self.given_at

    def _apply(self) -> None:
        """Has the pool keep the floor that the order makes of the usual one."""
        self._pool.set_floor(self._pool.usual_floor)
        self._pool.fit_to_floor()

    def _end_one(self) -> bool:
        """Ends one of those that nobody uses. The longest idle go first: requests take the others."""
        held = self._held
        if self.state == DRAINED:
            for some in (held.idle, held.private, held.watched):
                for connection in some:
                    held.retire(connection, ORDERED_DRAIN)
                    return True
        return False

    def _mark_some(self) -> bool:
        """Marks some of the idle connections of before as due."""
        for _ in range(MARKED_AT_ONCE):
            connection = next(self._marking, None)
            if connection is None:
                return False
            if connection.state == IDLE and self.ends(connection) and connection not in self._held.due:
                self._upkeep.replace(connection)
        return True

    # What upkeep tells.

    def born(self) -> None:
        """Counts a new connection."""
        self.opened += 1

    def gone(self, connection: ServerConnection) -> None:
        """Counts a connection that has left the pool."""
        if self.ends(connection):
            self.ended += 1
            self.look()

    def keeps(self, connection: ServerConnection) -> bool:
        """Tells whether a connection of before that comes back stays for now, for who waits or until another stands:
        there is no new one in its place yet."""
        if self.state != REWARMING or not self.ends(connection) or self.opened > self.ended:
            return False
        if self._pool.waiters:
            return self._keeps_for_waiters()
        needed = len(self._held.idle) + len(self._held.pinged) + 1
        if needed > self._pool.most_idle:
            return False
        if needed > self._pool.floor:
            self._raised = needed
            self._pool.set_floor(self._pool.usual_floor)
            self._upkeep.floor_changed()
        return True

    def _keeps_for_waiters(self) -> bool:
        """Tells whether a connection of before goes on to serve those who wait. At the ceiling (`strict-maxconn`) one
        leaves at a time; else those who wait have others opened."""
        pool, held = self._pool, self._held
        full = pool.limits.most is not None and pool.counted >= pool.limits.most
        return not full or bool(held.retiring or held.connecting)

    def look(self) -> None:
        """Ends the order when it is done: all that stands is new."""
        held, pool = self._held, self._pool
        if self.state != REWARMING or any(map(self.ends, chain(held.idle, held.pinged))):
            return
        if self._raised:
            self._raised = 0
            self._apply()
        if len(held.idle) + len(held.in_use) < pool.floor:
            return
        if any(self.ends(each) and each.carries_requests for each in held.in_use):
            return  # it comes back; a session of mode tcp gives nothing back
        self.state = NO_ORDER
        orders = [each.order for each in pool.family]
        opened = sum(each.opened for each in orders if each.given_at == self.given_at)
        if opened and all(each.state != REWARMING for each in orders):
            took = self._now() - self.given_at
            text = f"its pool is warm again: {opened} new connections since that was ordered, {took:.2f} s ago"
            self.tell(text)
