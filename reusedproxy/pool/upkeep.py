"""Keeps up one pool: sets how long its connections live, and ends those that are due or not needed.

Pool and holdings report what happens; upkeep answers with ends, and `Refill` with dials. New connections are handshaken
before old ones leave: one whose life is over is *due*, does not count as standing any more, and leaves when another
stands in its place, or when its server would close it otherwise. Two `IdleTimeoutEstimate`s say how long the server
waits: for connections that have carried requests, and for those that have not. Upkeep must never know requests.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Final

from twisted.internet.interfaces import IReactorTime

from reusedproxy.net.deadlines import SLOTS
from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.advice import Advice
from reusedproxy.pool.connection import IN_USE, WATCHED, ServerConnection
from reusedproxy.pool.dialing.governor import Governor
from reusedproxy.pool.holdings import Holdings, HoldingsWatcher
from reusedproxy.pool.kept import DRAINED, KeptPool
from reusedproxy.pool.kinds import NEW, SAFE
from reusedproxy.pool.leaks import LeakWatch
from reusedproxy.pool.learning.demand import DemandEstimate
from reusedproxy.pool.learning.floor import MET, FollowingFloor
from reusedproxy.pool.learning.idle_timeout import IdleTimeoutEstimate, advertised
from reusedproxy.pool.pings import PING_JITTER, PING_PUT_OFF, Pings
from reusedproxy.pool.reasons import SPREAD_OUT, SURPLUS
from reusedproxy.pool.refill import Refill
from reusedproxy.pool.rounds import Rounds
from reusedproxy.pool.spread import Spread
from reusedproxy.wire.heads import ResponseHead

#: Seconds between two looks whether a fixed floor meets the demand.
ADVISE_EVERY: Final = 300.0
#: Seconds between two looks at what the last hour's requests needed: it takes 10 µs.
RECKON_EVERY: Final = 10.0
#: Share by which lives are shortened, so that connections born together do not end together.
LIFE_JITTER: Final = 0.2
#: Steps of this share spread any number of lives over that (the golden ratio: no two ever meet, each new one falls into
#: the widest gap).
_GOLDEN: Final = 0.6180339887498949
#: If a server closes unused connections sooner than this (seconds), its floor is filled slowly (`Governor.careful`).
CHURNING: Final = 2.0
#: Least and most seconds of grace for connections that turn out to be older than their server bears. They stand until
#: others are handshaken: for twice as long as their own dial took, or as long as the dial rate needs for all of them.
GRACE, GRACE_MOST = 0.25, 2.0
#: Seconds that dialling a whole floor may take at its rate before the ends of its connections are spread.
AT_ONCE: Final = 0.1
#: A watched connection is let go at this many times the idle age at which the server was thought to close it.
WATCH_UNTIL: Final = 4

AHEAD: Final = "ahead of the server's time-out"
LIFE_OVER: Final = "life over"
STOOD: Final = "stood through a standstill"


class Upkeep(HoldingsWatcher):
    """Keeps up one pool. `used` and `unused` estimate how long its server lets connections stand idle that have carried
    requests, or have not."""

    #: For mypyc: what `pool.apart` drops at the end.
    __deletable__ = (
        "demand", "governor", "holdings", "refill", "curious", "spread", "_advice", "_leaks", "_pings", "_pool",
        "_rounds", "used", "unused",
    )  # fmt: skip

    def __init__(
        self,
        pool: KeptPool,
        holdings: Holdings,
        governor: Governor,
        clock: IReactorTime,
        random: Random,
        advise: Callable[[str], None],
    ) -> None:
        """Calls `advise(text)` with advice for the operator."""
        self._pool = pool
        self.holdings = holdings
        self.governor = governor
        self.refill = Refill(pool, holdings, governor, clock)
        self.used = IdleTimeoutEstimate(clock.seconds)
        self.unused = IdleTimeoutEstimate(clock.seconds)
        self.demand = DemandEstimate(self.spare)
        #: Sets the floor, where that follows demand (`pool-min-conn auto`).
        self.following = FollowingFloor(pool.limits.min_conn, pool.limits.floor_max) if pool.limits.adapts else None
        #: Set by the pool: tells that another hears of each use of a connection through this one's reports.
        self.hears_all = pool.limits.max_reuse is not None
        #: Set by the pool: tells that it is its server's only one.
        self.alone = True
        #: Tells that lives depend on more than the server's time-out, see `_set_leaving`.
        self._varies = pool.limits.idle_ping is not None
        #: The due connection that will be watched when another stands in its place.
        self.curious: ServerConnection | None = None
        self._advice = Advice(advise)
        #: Of the server's first pool alone: looks after all of them.
        self._rounds = Rounds(self, pool, holdings, clock)
        self._pings = Pings(pool, holdings, self._advice)
        self._now = clock.seconds
        self._random = random
        self._turn = random.random()
        #: Seconds over which the ends of a floor are spread, because its dials are: those that were used in one moment
        #: would all be due in one.
        self._early = 0.0
        #: The two limits (`used`, `unused`) by which the idle connections' times were last set.
        self._known = (inf, inf)
        self._leaks = LeakWatch(holdings, advise)
        #: Spreads connections over the nodes behind the server's address (`pool-spread`); None: nobody does.
        self.spread: Spread | None = None
        if pool.limits.spread is not None:
            self.spread = Spread(pool.limits.spread, pool, holdings, governor, self, self._now, advise)
        self._advise_at = 0.0
        #: The floor that the last hour's requests needed, and when that is reckoned again.
        self._needed = 0
        self._reckon_at = 0.0

    def succeed(self, other: Upkeep) -> None:
        """Knows what `other` has learnt of the server's time limits: that is at another address now."""
        self.used, self.unused = other.used, other.unused
        self._advice.share(other._advice)
        self.refill.causes.count_in(self.holdings.counters.warm_up)

    def expect_demand_of(self, other: FollowingFloor | None) -> None:
        """Begins with the floor that demand calls for, as the pool of `other` has seen it."""
        if self.following is not None:
            if other is not None:
                self.following.begin_at(other)
            self.following.deeper(self._pool.depths.floor_for(MET) or 0)
            self._follow()

    def share(self, other: Upkeep) -> None:
        """Shares estimates with the upkeep of another pool of the same server."""
        self.used, self.unused = other.used, other.unused
        self._advice.share(other._advice)
        self.holdings.guard.share(other.holdings.guard)
        self.governor.share(other.governor)
        # What is called for is reckoned for all of them together, by the other.
        self.demand.stop()

    def start(self, rotation: bool = False) -> None:
        """Begins to keep the floor. `rotation` tells that the pool replaces another, because the server is reached in a
        different way now."""
        pool = self._pool
        self.demand.start(self.spare)
        self._spread_ends()
        if pool.floor:
            self.refill.causes.start(rotation)
        if pool.first is pool:
            self._rounds.start()
        self.refill.open_more()

    def stop(self) -> None:
        """Opens nothing more; leaves no timer."""
        self.refill.stop()
        self.governor.stop()
        self.holdings.guard.stop()
        self._rounds.stop()

    def _spread_ends(self) -> None:
        """Spreads the ends of a floor as far as its dials are."""
        early = self._pool.floor / self.governor.rate
        self._early = early if early > AT_ONCE else 0.0
        self._varies = bool(self._early) or self._pool.limits.idle_ping is not None

    # What the holdings say.

    def taken(self, connection: ServerConnection) -> None:
        """Notes a connection in use: raises the peak, and plans a replacement if `max-reuse`
        makes this its last request."""
        held = self.holdings
        if held.due:
            held.due.discard(connection)
            if connection is self.curious:
                self.curious = None
        used = len(held.in_use)
        if used > self.demand.peak:
            self.raise_peak(used - len(held.pinged))
        if used > held.counters.used_max:
            held.counters.used_max = used
        self._set_most_usual()
        most = self._pool.limits.max_reuse
        if most is not None and connection.requests >= most:
            held.last_use.add(connection)
            self.refill.causes.owed += 1
            began = self._now()
            self.refill.open_more()
            held.counters.warm_took(self._now() - began)

    def _set_most_usual(self) -> None:
        """Sets how many connections may be in use before that has to be told: the peak, and the most ever."""
        if not self.hears_all:
            self.holdings.most_usual = min(self.demand.peak, self.holdings.counters.used_max)

    def rested(self, connection: ServerConnection) -> None:
        """Sets the time by which an idle connection must leave, and retires the least wanted one
        if that is one too many."""
        held = self.holdings
        idle = len(held.idle)
        leave_at = connection.idle_since + (self.used if connection.requests else self.unused).leave_after
        if leave_at > connection.retire_at:
            leave_at = connection.retire_at
        if held.due or self._varies or connection.idle_since >= leave_at:
            self._set_leaving(connection)
        else:
            # The same in the usual case, without three calls for each request.
            if 0 < connection.slot <= leave_at * SLOTS:
                connection.deadline = leave_at
            elif leave_at != connection.deadline:
                self._pool.deadlines.watch(connection, leave_at)
            if self.refill.look is not None and (held.pinged or idle > self.refill.idle_peak):
                self.refill.idle_returned()
        depths = self._pool.depths
        if idle > depths.here:
            depths.here = idle
        surplus = idle + len(held.in_use) - self.demand.enough
        if surplus > 0 and surplus > idle - held.rested:
            held.retire(held.least_wanted, SURPLUS)  # the one used last is the surest

    def kept_apart(self, connection: ServerConnection) -> None:
        """Does nothing: the client of a private connection decides how long it stays."""

    def withdrawn(self, connection: ServerConnection) -> None:
        """Notes that fewer stand idle, and not because of requests. Marks such as `due` stay until the connection is
        gone."""
        self._pool.depths.withdrawn()

    def gone(self, connection: ServerConnection, was: int) -> None:
        """Opens another in place of a connection that has left the pool, if one is missing now."""
        held, governor = self.holdings, self.governor
        if was == IN_USE and governor.failures and connection.answered:
            # And then was closed, or its client left: the server has taken it all the same.
            governor.answered(connection)
        if connection not in held.due and connection not in held.last_use and self._now() >= connection.retire_at:
            self.refill.causes.owed += 1
        held.due.discard(connection)
        if connection is self.curious:
            self.curious = None
        held.last_use.discard(connection)
        held.pinged.pop(connection, None)
        if self._pool.order.state:
            self._pool.order.gone(connection)
        if self.spread is not None:
            self.spread.gone(connection)
        governor.ended(connection)
        self.refill.open_more()

    # What the pool says.

    def born(self, connection: ServerConnection) -> None:
        """Sets the time by which a new connection must leave the pool."""
        if self._rounds.rests:
            self._rounds.wake()
        max_age = self._pool.limits.max_age
        if max_age is not None:
            self._turn = (self._turn + _GOLDEN) % 1
            connection.retire_at = connection.born + max_age * (1 - LIFE_JITTER * self._turn)

        expires_at = self._pool.expires_at
        if connection.born < expires_at < connection.retire_at:
            connection.retire_at = expires_at
        if self.spread is not None:
            self.spread.born(connection)
        if self._pool.order.state:
            self._pool.order.born()

    def opened(self, took: float) -> None:
        """Notes that a dial has succeeded after `took` seconds; its connection is in no list yet."""
        self.refill.opened(took)
        if self.following is not None:
            self.following.opened(self.holdings.open + 1)
            self.refill.ceiling = self.following.ceiling

    def awaited(self, kind: int) -> int:
        """Counts a new waiter for the peak: with a connection it would be using it. Counts how deep it would have
        reached, unless no idle connection would do, or the server refuses: then those who wait show no demand.
        Returns the depth; 0: it is not counted."""
        if self._rounds.rests:
            self._rounds.wake()
        held = self.holdings
        pool = self._pool
        depth = 0
        if kind != NEW and not self.governor.failures:
            depth = pool.depths.waits(self._now(), len(held.idle), len(held.in_use), pool.waiters.fit(SAFE))
            if self.following is not None:
                self.following.deeper(depth)
                self._follow()
        self.raise_peak(len(held.in_use) - len(held.pinged) + len(pool.waiters))
        return depth

    def missed(self) -> None:
        """Opens one more connection: a request that would have had to wait for one went to another server."""
        held = self.holdings
        # After `max-reuse 0` one that is taken is replaced at once in any case.
        if self._pool.limits.max_reuse != 0 and self._pool.order.state != DRAINED:
            self.raise_peak(len(held.in_use) - len(held.pinged) + 1)
            self.refill.one_more()

    def _follow(self) -> None:
        """Sets the floor to what demand calls for."""
        following, pool = self.following, self._pool
        if following is None:
            return
        self.refill.ceiling = following.ceiling
        if following.floor != pool.usual_floor:
            pool.set_floor(following.floor)
            self._take_floor()

    def floor_changed(self) -> None:
        """Fills a floor that somebody else has set, or lets go what is due beyond it."""
        self._take_floor()
        if self.holdings.due:
            self._let_due_go()
        self.refill.open_more()

    def _take_floor(self) -> None:
        self.demand.spare_rose(self.spare)
        self._spread_ends()

    def raise_peak(self, used: int) -> None:
        """Notes that requests use `used` connections at once."""
        self.demand.raise_peak(used, self.spare)

    @property
    def spare(self) -> int:
        """Returns how many connections are to stand idle whatever the need.

        The floor stands on top of what is in use: ending its connections would only have others opened for them. With
        `check-reuse-pool` a check may leave one.
        """
        limits = self._pool.limits
        return max(self._pool.floor, limits.low_conn, int(limits.keep_checks))

    def purged(self) -> None:
        """Notes that the peak of use is counted anew."""
        self._set_most_usual()

    def outlives(self, connection: ServerConnection, now: float) -> bool:
        """Tells whether a connection that comes back after its life stays: for the floor until another stands, or for a
        waiter while its server accepts no others. False after the only request that it may carry, and once the client
        certificate has ended."""
        pool, held = self._pool, self.holdings
        if connection.retire_at == -inf or connection.private or connection.born < pool.expires_at <= now:
            return False
        if pool.order.state and pool.order.keeps(connection):
            return True
        if pool.waiters:
            return self.governor.failures > 0
        return len(held.idle) + len(held.pinged) < pool.floor

    def advertised(self, keep_alive: bytes) -> int | None:
        """Learns from the server's Keep-Alive field. Returns how many more requests it accepts on that connection, None
        if it does not say."""
        timeout, most = advertised(keep_alive)
        if timeout is not None:
            self.used.advertise(timeout)
        return most

    def closed_by_peer(self, connection: ServerConnection) -> None:
        """Learns from a connection that the server has closed while it stood idle or was watched."""
        age = self._now() - connection.idle_since
        self.holdings.counters.idle_at_peer_close.observe(age)
        if connection.requests:
            self.used.closed(age)
            if self.holdings.guard.closed(age):
                self._advice.hasty()
        else:
            self.unused.closed(age)
            if age < CHURNING:
                self.governor.fluttered()

    def dial_failed(self, failure: DialFailure, accepted: bool) -> None:
        """Notes a failed dial, or one whose connection was `accepted` first; ends an idle connection where the server
        may have no worker left for a new one."""
        self.used.failed()
        self.unused.failed()
        pool, held = self._pool, self.holdings
        self.refill.causes.failed(pool.below_floor)
        if self.following is not None:
            self.following.refused(self._now(), held.open - accepted)
        if failure.timed_out and pool.waiters and held.idle:
            # Seen with gunicorn's sync workers: each sat on one connection of the floor, so a POST that needs a new one
            # would get 503 after all its retries.
            self._advice.workers(len(held.idle))
            held.retire(held.least_wanted, "makes room")

    def renew(self) -> None:
        """Replaces all idle connections after a standstill, in which they may have ended unnoticed. None of them is
        given to a request any more. They leave as others stand in their place; private and watched ones, which nothing
        replaces, leave at once."""
        if self._pool.state != "running":
            return
        held = self.holdings
        held.guard.stood_still()
        for connection in [*held.private, *held.watched]:
            held.retire(connection, STOOD)
        held.due.update(held.idle)
        self._let_due_go()
        for connection in held.due:
            self._stay(connection, held.guard.renewed_at)
        self.refill.open_more()

    def deadline_passed(self, connection: ServerConnection) -> None:
        """Handles the passed deadline of an idle or watched connection."""
        if connection.state == WATCHED:
            self._look_at_watched(connection)
        else:
            self._idle_time_passed(connection)

    # Lives.

    def _estimate(self, connection: ServerConnection) -> IdleTimeoutEstimate:
        return self.used if connection.requests else self.unused

    def _set_leaving(self, connection: ServerConnection) -> None:
        """Sets the time by which an idle connection must leave, or be pinged; called again when more
        is known of its server."""
        pool, since = self._pool, connection.idle_since
        leave_at = since + (self.used if connection.requests else self.unused).leave_after
        if self._early:
            leave_at -= self._ahead(connection)
        if leave_at > connection.retire_at:
            leave_at = connection.retire_at
            if since >= leave_at:
                self._due_at_once(connection)
                return
        ping = pool.limits.idle_ping
        if ping is not None and self._pings.allowed(connection):
            ping_at = since + ping * (1 - PING_JITTER * self._random.random())
            if ping_at < leave_at:
                leave_at = ping_at
        if leave_at != connection.deadline:
            pool.deadlines.watch(connection, leave_at)
        if self.refill.look is not None:
            self.refill.idle_returned()
        if self.holdings.due:
            self._let_due_go()

    def _ahead(self, connection: ServerConnection) -> float:
        """Returns by how many seconds a connection leaves earlier than it has to. Each takes a different part of the
        time that a floor's dials take."""
        return min(self._early, self._estimate(connection).leave_after / 2) * (connection.number * _GOLDEN % 1)

    def leaves_at(self, connection: ServerConnection) -> float:
        """Returns when an idle connection leaves ahead of its server's time-out; inf if that is not known."""
        return connection.idle_since + self._estimate(connection).leave_after - self._ahead(connection)

    def _idle_time_passed(self, connection: ServerConnection) -> None:
        """Ends or pings an idle connection whose time has passed, or which was due and would soon
        be closed by its server."""
        held, now = self.holdings, self._now()
        if connection in held.due:
            self._let_go(connection, AHEAD)
            return
        old = now >= connection.retire_at
        estimate = self._estimate(connection)
        if not old and now < self.leaves_at(connection):
            if not self._pings.allowed(connection):
                self._set_leaving(connection)  # more is known than when its time was set
            elif self._pings.put_off():
                self._pool.deadlines.watch(connection, now + PING_PUT_OFF)
            else:
                self.ping(connection)
            return
        held.due.add(connection)
        if not old and self._room_to_look() and estimate.may_look():
            self.curious = connection
        if self._is_beyond_floor():
            self._let_go(connection, self.why_over(connection) if old else AHEAD)
        else:
            self._stay(connection, now)
            self.refill.open_more()

    def _due_at_once(self, connection: ServerConnection) -> None:
        """Marks as due a connection that has come back after its life."""
        self.holdings.due.add(connection)
        if self._is_beyond_floor():
            self._let_due_go()
        else:
            self._stay(connection, connection.idle_since)
            self.refill.open_more()

    def replace(self, connection: ServerConnection) -> None:
        """Has an idle connection leave when another stands in its place."""
        self.holdings.due.add(connection)
        self._stay(connection, self._now())
        self.refill.open_more()
        self._let_due_go()

    def _is_beyond_floor(self) -> bool:
        """Tells whether more than the floor stand idle, so that one of them can go."""
        return len(self.holdings.idle) + len(self.holdings.pinged) > self._pool.floor

    def _stay(self, connection: ServerConnection, now: float) -> None:
        """Keeps a due connection for the floor until another stands, or until its server would soon close it."""
        self.refill.causes.owed += 1
        estimate = self._estimate(connection)
        if estimate.limit != inf:
            # Halfway between leaving and being left: from there on no request may be given to it.
            leave_at = connection.idle_since + estimate.leave_after
            last = connection.idle_since + (estimate.limit + estimate.leave_after) / 2
            if now > (leave_at + last) / 2:
                # It was too late before it was known: the next moment would end all of them, and none would stand.
                grace = max(GRACE, 2 * connection.took, len(self.holdings.due) / self.governor.rate)
                last = now + min(grace, GRACE_MOST)
            self._pool.deadlines.watch(connection, last)
        else:
            connection.deadline = inf

    def why_due(self, connection: ServerConnection) -> str:
        """Returns why a due connection leaves."""
        if self.spread is not None and connection is self.spread.moving:
            return SPREAD_OUT
        if connection.idle_since < self.holdings.guard.renewed_at:
            return STOOD
        return self.why_over(connection) if self._now() >= connection.retire_at else AHEAD

    def why_over(self, connection: ServerConnection) -> str:
        """Returns why the life of a connection is over."""
        order = self._pool.order
        return order.reason if order.ends(connection) else LIFE_OVER

    def _let_due_go(self) -> None:
        """Ends due connections as far as others stand in their place."""
        held = self.holdings
        while self._is_beyond_floor():
            # The list begins with the longest idle, of which most are due: to sort ten thousand each time takes 5 ms.
            connection = next((each for each in held.idle if each in held.due), None)
            if connection is None:
                return
            self._let_go(connection, self.why_due(connection))

    def _let_go(self, connection: ServerConnection, reason: str) -> None:
        """Retires a due connection, or watches how long its server would have let it stand."""
        held = self.holdings
        held.due.discard(connection)
        if connection is not self.curious:
            held.retire(connection, reason)
            return
        self.curious = None
        held.set_aside(connection)
        self._look_again(connection)
        self.refill.open_more()

    def _look_at_watched(self, connection: ServerConnection) -> None:
        """Learns from a watched connection that still stands: the server waits longer than was thought."""
        age = self._now() - connection.idle_since
        self._estimate(connection).stood(age)
        if age >= connection.watch_until:
            self.holdings.retire(connection, "seen enough")
        else:
            self._look_again(connection)

    def _look_again(self, connection: ServerConnection) -> None:
        """Sets the time of the next look at a watched connection."""
        limit = self._estimate(connection).limit
        if connection.watch_until == inf:
            connection.watch_until = WATCH_UNTIL * limit
        self._pool.deadlines.watch(connection, self._now() + max(0.25, limit / 10))

    def _room_to_look(self) -> bool:
        """Tells whether a connection can be watched without taking another's place (`strict-maxconn`)."""
        most = self._pool.limits.most
        return most is None or self._pool.counted + 1 < most

    def ping(self, connection: ServerConnection) -> None:
        """Sends a ping on an idle connection, which is then idle again, or gone."""
        self._pings.send(connection)

    def ask(self, connection: ServerConnection, told: Callable[[ResponseHead | None], None]) -> bool:
        """Pings an idle connection, and gives the head of the answer to `told`; see `spread.Ways`."""
        return self._pings.ask(connection, told)

    # Once in a while.

    def look_after(self, now: float) -> None:
        """Does the upkeep that each pool needs by itself."""
        held, limits = self.holdings, self._pool.limits
        known = (self.used.limit, self.unused.limit)
        if known != self._known:
            self._known = known
            self.governor.careful = self.unused.leave_after < CHURNING
            self._advice.idle_timeouts(limits, self._pool.floor, self.used, self.unused, self._pings.wanted)
            for connection in [each for each in held.idle if each not in held.due]:
                self._set_leaving(connection)
        if limits.idle_timeout is not None:
            oldest = now - limits.idle_timeout
            for connection in held.idle[: max(0, len(held.idle) - self._pool.floor)]:
                if connection.idle_since <= oldest:
                    held.retire(connection, "idle too long")
        self._leaks.look(now, limits.overdue_after)
        if self._pool.order.state:
            self._pool.order.look()
        depths = self._pool.depths
        if now >= self._advise_at:
            self._advise_at = now + ADVISE_EVERY
            depths.settle(now)
            if self._pool.knows_name:
                self._advice.floor(limits, depths)
        if self.following is not None:
            if now >= self._reckon_at:
                self._reckon_at = now + RECKON_EVERY
                depths.settle(now)
                self._needed = depths.floor_for(MET) or 0
            self.following.look(now, self._needed, held.open)
            self._follow()
        self.refill.open_more()
        if self.spread is not None:
            self.spread.look()
