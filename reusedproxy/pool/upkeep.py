"""What a pool opens and what it lets go: its floor, the lives of its connections, and what is too much of them.

A pool says what happens; its keeper answers with dials and ends. New ones are handshaken before old ones leave: a
connection whose life is over is *due*, does not count as standing any more, and goes when another stands in its place, or
when its server would close it otherwise. When a dial may start is the governor's affair; how long a server waits is told
by two `Patience`s, one for connections that have carried nothing yet. It must never know requests.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.net.dial import DialFailure
from reusedproxy.pool.advice import Advice
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.counters import DEMAND
from reusedproxy.pool.dialing.causes import Filling
from reusedproxy.pool.dialing.governor import Governor
from reusedproxy.pool.learning.idle_timeout import Patience, advertised
from reusedproxy.pool.learning.stale_idle import Suspicion
from reusedproxy.wire.heads import ResponseHead

if TYPE_CHECKING:
    from reusedproxy.config.model.proxies import PoolLimits
    from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds that the floor may be short because connections are in use before more are opened for it.
REFILL_AFTER = 0.1
#: Seconds between two passes of upkeep.
UPKEEP = 1.0
#: Seconds between two purges at least, however short `pool-purge-delay` is: each looks at all that is idle.
PURGE_AT_MOST = 0.1
#: Share by which lives are shortened, so that connections born together do not end together.
LIFE_JITTER = 0.2
#: Steps of this share spread any number of lives over that (the golden ratio: no two ever meet, each new one falls into
#: the widest gap).
_GOLDEN = 0.6180339887498949
#: Seconds that unused connections may stand below which a floor is filled with care only.
CHURNING = 2.0
#: Share by which the time to a ping is shortened at random, so that a floor is not pinged all at once.
PING_JITTER = 0.2
#: Shorter times than this do not pass by the clock's arithmetic.
INSTANT = 1e-6
#: Seconds after which a ping is tried again that would leave none idle while others are under way.
PING_PUT_OFF = 0.25
#: Seconds that connections still stand, and at most, which turn out to be older than their server bears: until others are
#: handshaken, that is for twice as long as they took, or as the rate of dials needs for all of them.
GRACE, GRACE_MOST = 0.25, 2.0
#: Seconds that the dials for a whole floor may take at its rate without any of them having to begin early.
AT_ONCE = 0.1
#: A connection that is watched for its server's patience is let go at this many times the age at which it was set aside.
WATCH_UNTIL = 4

AHEAD = "ahead of the server's time-out"
LIFE_OVER = "life over"
STOOD = "stood through a standstill"


class Keeper:
    """Keeps one pool. `used` and `unused` are its server's patience with connections that have carried requests or not."""

    def __init__(
        self,
        pool: HTTPConnectionPool,
        governor: Governor,
        clock: IReactorTime,
        random: Random,
        advise: Callable[[str], None],
    ) -> None:
        """`advise` takes what an operator could do better."""
        self.pool = pool
        self._advise = advise
        self._advice = Advice(advise)
        self.governor = governor
        self.used = Patience(clock.seconds)
        self.unused = Patience(clock.seconds)
        self.filling = Filling(clock.seconds, pool.counters.warm_up)
        #: Idle connections whose life is over, and those in use for the last time.
        self.due: set[ServerConnection] = set()
        self.last_use: set[ServerConnection] = set()
        #: One that is due, and will be watched when another stands in its place.
        self.curious: ServerConnection | None = None
        #: Those that are asked by ourselves, and since when: as good as idle, for the floor.
        self.pinged: dict[ServerConnection, float] = {}
        #: A ping that ends the connection.
        self._vain_ping = b""
        self._clock = clock
        self._now = clock.seconds
        self._random = random
        self._turn = random.random()
        self._used_peak: float = 0
        self._need: float = 0
        #: Connections, idle and in use, that the floor and the use of late call for; what comes back beyond them is too many.
        self.enough: float = self._spare
        #: How many were missing from the floor at the last look because connections are in use, less those dialled since.
        self._missing = 0
        self._idle_peak = 0
        self._purge_at = 0.0
        #: Seconds over which the ends of a floor are spread, because its dials are: those that were used in one moment would
        #: all be due in one.
        self._early = 0.0
        #: What was known when the idle ones' times were set last.
        self._known = (inf, inf)
        #: Seconds in which fewer than the floor have stood, but for the present time; and since when that lasts.
        self._below_floor = 0.0
        self._below_since: float | None = None
        self._used_by_nobody: dict[ServerConnection, float] = {}
        self._refill_call: IDelayedCall | None = None
        self._upkeep_call: IDelayedCall | None = None
        self.suspicion = Suspicion(clock, self._suspect, lambda: pool.counters.requests)

    def share(self, other: Keeper) -> None:
        """What either learns of their server's habits, both know."""
        self.used, self.unused = other.used, other.unused
        self._advice.share(other._advice)
        self.suspicion.share(other.suspicion)
        self.governor.share(other.governor)
        # What is called for is reckoned for all of them together, by the other.
        self._used_peak = self.enough = inf

    @property
    def _limits(self) -> PoolLimits:
        return self.pool.limits

    @property
    def below_floor_seconds(self) -> float:
        """How long fewer connections have stood than the floor asks for, in all; while nothing is kept, nothing is asked for."""
        return self._below_floor + (self._now() - self._below_since if self._below_since is not None else 0.0)

    def _note_floor(self) -> None:
        """Whenever there may be more connections than before, or fewer."""
        self._below_floor = self.below_floor_seconds
        below = self.pool.below_floor
        self._below_since = self._now() if below else None
        if not self._limits.min_conn:
            self.filling.stop()
        elif self.filling.state != "no":
            now = self._now()
            self.filling.look(below, all(each.proof_at <= now for each in self.pool.idle))

    @property
    def _pings(self) -> bool:
        """Whether idle ones are asked: it is configured, and does no harm."""
        return self._limits.idle_ping is not None and self.pool.ping_request != self._vain_ping

    def _may_ping(self, connection: ServerConnection) -> bool:
        """Not when that would be the last request that `max-reuse` lets it carry: nothing would stand in its place."""
        most = self._limits.max_reuse
        return self._pings and (most is None or connection.requests < most)

    def start(self, rotation: bool = False) -> None:
        """`rotation`: in place of another pool, whose server is reached in another way now."""
        self.enough = max(self._used_peak, self._need) + self._spare
        early = self._limits.min_conn / self.governor.rate
        self._early = early if early > AT_ONCE else 0.0
        if self._limits.min_conn:
            self.filling.start(rotation)
        if self.pool.first is self.pool:
            self._upkeep()
        self.open_more()

    def stop(self) -> None:
        """Open nothing more; no timer is left."""
        self.filling.stop()
        self._note_floor()
        self._missing = 0
        self.governor.stop()
        self.suspicion.stop()
        for call in (self._refill_call, self._upkeep_call):
            if call is not None:
                call.cancel()
        self._refill_call = self._upkeep_call = None

    # What the pool says of its connections.

    def born(self, connection: ServerConnection) -> None:
        """It has been opened."""
        max_age = self._limits.max_age
        if max_age is not None:
            self._turn = (self._turn + _GOLDEN) % 1
            connection.retire_at = connection.born + max_age * (1 - LIFE_JITTER * self._turn)

        expires_at = self.pool.expires_at
        if connection.born < expires_at < connection.retire_at:
            connection.retire_at = expires_at

    def taken(self, connection: ServerConnection) -> None:
        """It is in use."""
        connection.deadline = inf
        if self.due:
            self.due.discard(connection)
            if connection is self.curious:
                self.curious = None
        pool = self.pool
        used = len(pool.in_use)
        if used > self._used_peak:
            self.peak(used - len(self.pinged))
        if used > pool.counters.used_max:
            pool.counters.used_max = used
        most = pool.limits.max_reuse
        if most is not None and connection.requests >= most:
            self.last_use.add(connection)
            self.filling.owed += 1
            began = self._now()
            self.open_more()
            pool.counters.warm_took(self._now() - began)

    def awaited(self) -> None:
        """Somebody waits for one: had it stood, it would be in use."""
        self.peak(len(self.pool.in_use) - len(self.pinged) + len(self.pool.waiters))

    def peak(self, used: int) -> None:
        """So many are in use by requests at once, perhaps as many as never of late."""
        if used <= self._used_peak:
            return
        self._used_peak = used
        enough = used + self._spare
        if enough > self.enough:
            self.enough = enough

    @property
    def _spare(self) -> int:
        """Connections that are to stand idle whatever is needed. The floor stands on top of what is in use: ending its
        connections would only have others opened for them. With `check-reuse-pool` a check may leave one."""
        limits = self._limits
        return max(limits.min_conn, limits.low_conn, int(limits.keep_checks))

    def rested(self, connection: ServerConnection) -> None:
        """It is idle, or more is known now of how long it may be: set when it is to leave."""
        pool, since = self.pool, connection.idle_since
        leave_at = since + (self.used if connection.requests else self.unused).leave_after
        if self._early:
            leave_at -= self._ahead(connection)
        if leave_at > connection.retire_at:
            leave_at = connection.retire_at
            if since >= leave_at:
                self._due_at_once(connection)
                return
        ping = pool.limits.idle_ping
        if ping is not None and self._may_ping(connection):
            ping_at = since + ping * (1 - PING_JITTER * self._random.random())
            if ping_at < leave_at:
                leave_at = ping_at
        if leave_at != connection.deadline:
            pool.deadlines.watch(connection, leave_at)
        if self._refill_call is not None:
            self._idle_peak = max(self._idle_peak, self._standing_idle())
        if self.due:
            self._let_due_go()

    def _ahead(self, connection: ServerConnection) -> float:
        """Seconds by which it leaves earlier than it would have to: each a different part of what a floor's dials take."""
        patience = self.used if connection.requests else self.unused
        return min(self._early, patience.leave_after / 2) * (connection.number * _GOLDEN % 1)

    def outlives(self, connection: ServerConnection, now: float) -> bool:
        """Whether one that comes back after its life stands for the floor until another does, or for somebody who waits while
        its server takes no others. Not after the one request that it may carry, nor with a certificate that has ended."""
        pool = self.pool
        if connection.retire_at == -inf or connection.private or connection.born < pool.expires_at <= now:
            return False
        if pool.waiters:
            return self.governor.failures > 0
        return len(pool.idle) + len(self.pinged) < self._limits.min_conn

    def least_wanted(self) -> ServerConnection:
        """Of the idle ones, of which there are some, the one that goes first when one has to: it is due, or has stood longest."""
        return min(self.due, key=attrgetter("idle_since", "number")) if self.due else self.pool.idle[0]

    def gone(self, connection: ServerConnection) -> None:
        """It has left the pool, for whatever reason."""
        if connection not in self.due and connection not in self.last_use and self._now() >= connection.retire_at:
            self.filling.owed += 1
        self.due.discard(connection)
        if connection is self.curious:
            self.curious = None
        self.last_use.discard(connection)
        self.pinged.pop(connection, None)
        self.governor.ended(connection)
        self.open_more()

    def ping_ended(self, connection: ServerConnection, head: ResponseHead | None) -> None:
        """Whatever it answers, it is there. But a refusal that ends the connection is worse than no ping: nginx 1.22
        answers OPTIONS * so, and a floor that is pinged costs a handshake each time."""
        if head is None:
            self.pool.counters.pings_failed += 1
        elif head.status >= 400 and not head.keep_alive:
            self._vain_ping = self.pool.ping_request
            self._advice.vain_ping(head.status)

    def borrowed_from_floor(self) -> None:
        """Fewer than the floor are idle now."""
        if self._refill_call is None:
            self._watch_floor()

    def advertised(self, keep_alive: bytes) -> int | None:
        """A Keep-Alive field of the server's: how many more requests it will take on that connection, if it says so."""
        timeout, most = advertised(keep_alive)
        if timeout is not None:
            self.used.advertise(timeout)
        return most

    def closed_by_peer(self, connection: ServerConnection) -> None:
        """The server has closed it while it stood idle, or was watched."""
        age = self._now() - connection.idle_since
        self.pool.counters.idle_at_peer_close.observe(age)
        if connection.requests:
            self.used.closed(age)
            if self.suspicion.closed(age):
                self._advice.hasty()
        else:
            self.unused.closed(age)
            if age < CHURNING:
                self.governor.fluttered()

    def dial_failed(self, failure: DialFailure) -> None:
        """No connection could be opened."""
        self.used.failed()
        self.unused.failed()
        pool = self.pool
        self.filling.failed(pool.below_floor)
        if failure.timed_out and pool.waiters and pool.idle:
            # Seen with gunicorn's sync workers: each sat on one connection of the floor, so a POST that needs a new one
            # would get 503 after all its retries.
            self._advice.workers(len(pool.idle))
            pool.retire(self.least_wanted(), "makes room")

    def _suspect(self, since: float) -> None:
        self.pool.suspected_at = since

    def renew(self) -> None:
        """All that stand idle may have ended without our hearing of it: nobody is given one of them any more, and they go as
        others stand in their place; private ones, which nothing replaces, at once."""
        pool = self.pool
        if pool.running != "running":
            return
        self.suspicion.stood_still()
        for connection in [*pool.private, *pool.watched]:
            pool.retire(connection, STOOD)
        self.due.update(pool.idle)
        self._let_due_go()
        for connection in self.due:
            self._stay(connection, self.suspicion.renewed_at)
        self.open_more()

    def _why_due(self, connection: ServerConnection) -> str:
        if connection.idle_since < self.suspicion.renewed_at:
            return STOOD
        return LIFE_OVER if self._now() >= connection.retire_at else AHEAD

    # Lives.

    def time_passed(self, connection: ServerConnection) -> None:
        """The deadline of an idle connection: its life is over; or it was due, and its server will soon close it."""
        pool, now = self.pool, self._now()
        if connection in self.due:
            self._let_go(connection, AHEAD)
            return
        old = now >= connection.retire_at
        patience = self.used if connection.requests else self.unused
        if not old and now < connection.idle_since + patience.leave_after - self._ahead(connection):
            if not self._may_ping(connection):
                self.rested(connection)  # more is known than when its time was set
            elif not self.pinged or len(pool.idle) > len(self.pinged):
                pool.ping(connection)
            else:
                pool.deadlines.watch(connection, now + PING_PUT_OFF)  # one stays for requests
            return
        self.due.add(connection)
        if not old and self._room_to_look() and patience.may_look():
            self.curious = connection
        if self._beyond_floor:
            self._let_go(connection, LIFE_OVER if old else AHEAD)
        else:
            self._stay(connection, now)
            self.open_more()

    def _due_at_once(self, connection: ServerConnection) -> None:
        """It has come back after its life."""
        self.due.add(connection)
        if self._beyond_floor:
            self._let_due_go()
        else:
            self._stay(connection, connection.idle_since)
            self.open_more()

    @property
    def _beyond_floor(self) -> bool:
        """Whether the floor stands without one of the idle ones."""
        return len(self.pool.idle) + len(self.pinged) > self._limits.min_conn

    def _stay(self, connection: ServerConnection, now: float) -> None:
        """One that is due is needed for the floor: it stays until another stands, or its server would soon close it."""
        self.filling.owed += 1
        patience = self.used if connection.requests else self.unused
        if patience.limit != inf:
            # Halfway between leaving and being left: from there on no request may be given to it.
            leave_at = connection.idle_since + patience.leave_after
            last = connection.idle_since + (patience.limit + patience.leave_after) / 2
            if now > (leave_at + last) / 2:
                # It was too late before it was known: the next moment would end all of them, and none would stand.
                grace = max(GRACE, 2 * connection.took, len(self.due) / self.governor.rate)
                last = now + min(grace, GRACE_MOST)
            self.pool.deadlines.watch(connection, last)
        else:
            connection.deadline = inf

    def watched(self, connection: ServerConnection) -> None:
        """A connection that was set aside still stands: the server is more patient than was thought."""
        patience = self.used if connection.requests else self.unused
        age = self._now() - connection.idle_since
        patience.stood(age)
        if age >= connection.watch_until:
            self.pool.retire(connection, "seen enough")
        else:
            self._look_again(connection, patience)

    def _look_again(self, connection: ServerConnection, patience: Patience) -> None:
        now = self._now()
        if connection.watch_until == inf:
            connection.watch_until = WATCH_UNTIL * patience.limit
        self.pool.deadlines.watch(connection, now + max(0.25, patience.limit / 10))

    def _let_due_go(self) -> None:
        """Others stand in their place."""
        if not self._beyond_floor:
            return
        for connection in sorted(self.due, key=attrgetter("idle_since", "number")):
            if connection in self.due:  # none that has made room for somebody meanwhile
                self._let_go(connection, self._why_due(connection))
            if not self._beyond_floor:
                return

    def _let_go(self, connection: ServerConnection, reason: str) -> None:
        """It serves nobody any more: it ends, or is watched for how long its server would have let it stand."""
        self.due.discard(connection)
        if connection is not self.curious:
            self.pool.retire(connection, reason)
            return
        self.curious = None
        self.pool.set_aside(connection)
        self._look_again(connection, self.used if connection.requests else self.unused)
        self.open_more()

    def _room_to_look(self) -> bool:
        """Whether one that is watched takes no other's place (`strict-maxconn`)."""
        most = self._limits.most
        return most is None or self.pool.counted + 1 < most

    def _standing_idle(self) -> int:
        """Idle connections with life left, or as good as idle."""
        return len(self.pool.idle) - len(self.due) + len(self.pinged)

    # Opening.

    def open_more(self) -> None:
        """Open what is missing, as far as may be now: for those who wait first, then for the floor."""
        pool = self.pool
        if pool.running != "running":
            return
        self._note_floor()
        floor = self._limits.min_conn
        standing = self._standing_idle()
        if pool.in_use:
            if standing < floor and self._refill_call is None:
                self._watch_floor()
            standing += len(pool.in_use) - len(self.last_use) - len(self.pinged)
        while True:
            connecting, waiting = len(pool.connecting), len(pool.waiters)
            if self.pinged and waiting:
                waiting -= self._soon_back()
            demand = waiting > connecting
            if not demand and connecting - waiting + standing >= floor:
                self.filling.owed = 0
                return
            wait = self._wait_for_dial(demand)
            if wait > 0:
                if wait != inf:
                    self.governor.later(wait)
                return
            if not self._has_room(demand):
                return
            pool.dial(DEMAND if demand else self.filling.cause(self.governor.failures > 0))

    def _soon_back(self) -> int:
        """How many of those who wait will be given one that is pinged: it answers sooner than a handshake would be complete,
        or is waited for no longer."""
        pool, now = self.pool, self._now()
        left = [since + connection.took - now for connection, since in self.pinged.items()]
        soon = [each for each in left if each > INSTANT]
        if not soon:
            return 0
        self.governor.later(min(soon))
        most = pool.returned_fits
        return min(len(soon), pool.waiters.fit(most))

    def _wait_for_dial(self, demand: bool) -> float:
        """Seconds until one more may be opened."""
        connecting = self.pool.connecting
        filling = 0 if demand else sum(cause != DEMAND for cause in connecting.values())
        return self.governor.wait(demand, len(connecting), filling)

    def _has_room(self, demand: bool) -> bool:
        """Whether one more may be opened (`strict-maxconn`). For somebody who waits for a new one an idle one goes."""
        pool, most = self.pool, self._limits.most
        if most is None or pool.counted < most:
            return True
        if demand:
            pool.make_room()
        return pool.counted < most

    def go_on(self) -> None:
        """What the governor forbade may be possible now, or it is our turn among all servers."""
        self.open_more()
        self._make_good()

    def _make_good(self) -> None:
        pool = self.pool
        while self._missing > 0 and self._has_room(False) and self._wait_for_dial(False) == 0:
            self._missing -= 1
            pool.dial(self.filling.cause(self.governor.failures > 0))

    def _watch_floor(self) -> None:
        """The floor is short because connections are in use. Most come back in a moment; look whether all did."""
        self._idle_peak = self._standing_idle()
        self._refill_call = self._clock.callLater(REFILL_AFTER, self._refill)

    def _refill(self) -> None:
        """Open as many as were missing from the floor all the time since the last look."""
        self._refill_call = None
        self._missing = 0
        pool = self.pool
        if pool.running != "running":
            return
        if not pool.in_use:
            self.open_more()
            return
        # Whoever waits takes what is opened for them.
        self._missing = self._limits.min_conn - self._idle_peak - max(0, len(pool.connecting) - len(pool.waiters))
        self._make_good()
        if self._standing_idle() < self._limits.min_conn:
            self._watch_floor()

    # Upkeep.

    def _upkeep(self) -> None:
        """Once in a while, for all pools of the server: end what has stood idle too long, and what has been more than enough
        for a while."""
        limits, now = self._limits, self._now()
        every = min(UPKEEP, max(limits.purge_delay, PURGE_AT_MOST) if limits.purge_delay else UPKEEP)
        # Set first: one pool's failure must not cost the others theirs.
        self._upkeep_call = self._clock.callLater(every, self._upkeep)
        self.used.settle()
        self.unused.settle()
        self.suspicion.haste.look()
        for pool in self.pool.holding():
            pool.keeper.look_after(now)
        if limits.purge_delay and now >= self._purge_at:
            self._purge_at = now + limits.purge_delay
            self._purge()

    def look_after(self, now: float) -> None:
        """What upkeep does in each pool by itself."""
        pool, limits = self.pool, self._limits
        known = (self.used.limit, self.unused.limit)
        if known != self._known:
            self._known = known
            self.governor.careful = self.unused.leave_after < CHURNING
            self._advice.patience(limits, self.used, self.unused, self._pings)
            for connection in [each for each in pool.idle if each not in self.due]:
                self.rested(connection)
        if limits.idle_timeout is not None:
            oldest = now - limits.idle_timeout
            for connection in pool.idle[: max(0, len(pool.idle) - limits.min_conn)]:
                if connection.idle_since <= oldest:
                    pool.retire(connection, "idle too long")
        self._look_for_leaks(now)
        self.open_more()

    def _look_for_leaks(self, now: float) -> None:
        """A connection that is in use, and by nobody for so long: somebody's fault, but it must not cost the server's places."""
        pool = self.pool
        since = self._used_by_nobody
        self._used_by_nobody = {
            each: since.get(each, now) for each in pool.in_use if each.exchange is None and each.uploader is None
        }
        for connection, at in self._used_by_nobody.items():
            if now - at >= self._limits.overdue_after:
                pool.counters.overdue += 1
                text = f"connection {connection.number} was taken {now - at:.0f} s ago and used by nobody: it is ended"
                self._advise(f"{text} (please report it)")
                pool.retire(connection, "leaked", at_once=True)

    def _purge(self) -> None:
        """HAProxy's `pool-purge-delay`: end half of what exceeds the need of late, the longest idle first.

        What is left may stay until the next time, but nothing is added to it, whatever opened that.
        """
        pools = self.pool.holding()
        used = sum(len(pool.in_use) for pool in pools)
        idle = sum(len(pool.idle) for pool in pools)
        names = self.pool.known_names
        exceed = used + idle - max(self._used_peak, self._need) - self._limits.min_conn - names
        self._need = max((self._need + self._used_peak) // 2, self._used_peak)
        self._used_peak = used - sum(len(pool.keeper.pinged) for pool in pools)
        spare = idle - self._spare - names
        purged = self.pool.longest_idle(int(max(0, min((exceed + 1) // 2, spare))))
        for connection in purged:
            connection.pool.retire(connection, "purged")
        self.enough = max(self._need + self._spare, used + idle - len(purged) - names)
