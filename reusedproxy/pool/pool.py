"""Keeps the connections of one server: warm, handed out newest first, replaced the moment one is missing.

A connection is warm when TCP is up, the TLS handshake is complete and the server's name has been verified. Its way:

    acquire                  gives an idle one to a request; where there is none the request has to
    wait                     among `Waiters`, until one comes back, or `Refill` (see `Upkeep`) has had one dialled
    release                  takes one back: for the next who waits, to stand idle, or to `retire`
    suspend, drain, close    let all of them go: while the server does not serve, in steps, for good
    dial_ready, dial_failed  give a new one to the first who waits, or let it stand idle; or tell those who wait

`Holdings` keeps each connection in one list; `Upkeep` decides how long connections live and how many stand; the
`Governor` paces dials; `Refusals` answers those who wait for a server that refuses; the `PoolGroup` has the pools of
the server's other names, if its connections have names. `kind` says what a request needs of a connection (`kinds`). A
pool must never know configuration files, requests, balancing or health.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import inf
from random import Random
from time import time
from typing import Final

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from reusedproxy.config.model.proxies import PoolLimits, RecordBound
from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.net.backlog import Backlog
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dial, Dialer, DialFailure, DialOwner
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.transport import TLS_FAILED
from reusedproxy.net.tls.words import ACCEPTED, CertificateRefused
from reusedproxy.net.transport import Transport
from reusedproxy.pool.cold import Cold
from reusedproxy.pool.connection import IDLE, IN_USE, PRIVATE, WATCHED, ServerConnection
from reusedproxy.pool.counters import CANCELLED, DEMAND, FRESH, LEFT, PROBE, QUEUED, TIMEOUT, result_of
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.dialing.governor import Governor
from reusedproxy.pool.group import Alone, PoolGroup
from reusedproxy.pool.holdings import Holdings, remember_session
from reusedproxy.pool.kept import DRAINED
from reusedproxy.pool.kinds import ANY, NEW
from reusedproxy.pool.learning.depth import Depths
from reusedproxy.pool.learning.patience import HELD_LONGER, HELD_SHORTER
from reusedproxy.pool.ordered import Order
from reusedproxy.pool.owner import ConnectionOwner
from reusedproxy.pool.reasons import FULL, ORDERED_DRAIN, PROXY, SERVER
from reusedproxy.pool.record.listening import Recorder, RecordingWatcher
from reusedproxy.pool.record.ring import Record
from reusedproxy.pool.refill import REFILL_AFTER
from reusedproxy.pool.upkeep import Upkeep
from reusedproxy.pool.waiters import Refusals, Waiter, Waiters
from reusedproxy.wire.heads import Limits

#: Seconds for which a cold request is remembered before one that reaches no deeper. To note it takes 5 µs, and where
#: requests wait for one another there are thousands a second.
COLD_EVERY: Final = 1.0


class HTTPConnectionPool(ConnectionOwner[ServerConnection]):
    """Keeps the persistent connections of one server. `state` is one of these:

    "suspended"  keeps no floor, dials nothing, gives no connection: at the start, and while its server is out of use
    "running"    keeps the floor, and dials for it and for those who wait
    "closed"     as suspended, for good

    `drain` leaves it as it is. The lists `connecting`, `idle`, `in_use`, `private`, `watched` and `retiring`, `closed`
    (ends by reason) and `ended` (the last ends) are those of its `holdings`, which alone moves connections.
    """

    #: For mypyc: what `pool.apart` drops at the end.
    __deletable__ = ("group", "holdings", "invalid", "order", "upkeep", "waiters", "_dialer", "_governor", "_refusals")

    #: Tells that each connection serves only the client for which it was opened.
    solo = False

    def __init__(
        self,
        name: str,
        dialer: Dialer,
        limits: PoolLimits,
        clock: IReactorTime,
        random: Random,
        announce: Callable[[str, str], None],
        wire_limits: Limits,
        budget: Budget | None = None,
        *,
        group: PoolGroup[HTTPConnectionPool] | None = None,
        connections: type[ServerConnection] = ServerConnection,
    ) -> None:
        """Begins suspended. `announce(level, text)` takes messages for the operator, and `name` begins each.
        `budget` is shared with the other servers' pools. `group` has the other pools of the same server
        (None: there are none). `connections` is the class of its connections."""
        self.name = name
        self.connections = connections
        self.limits = limits
        #: How many connections are to stand idle, whatever is in use: `pool-min-conn`, or what demand makes of it.
        self.floor = limits.min_conn
        #: The same, whatever an operator orders.
        self.usual_floor = limits.min_conn
        self.depths = Depths(clock.seconds(), REFILL_AFTER, 0.0 if limits.max_reuse == 0 else limits.purge_delay)
        self.deadlines: Deadlines = dialer.deadlines
        self.group: PoolGroup[HTTPConnectionPool] = group or Alone(self)
        self.holdings = holdings = Holdings(clock, self.deadlines, Backlog(clock))
        self.connecting, self.idle, self.in_use = holdings.connecting, holdings.idle, holdings.in_use
        self.private, self.watched, self.retiring = holdings.private, holdings.watched, holdings.retiring
        self.counters, self.closed, self.ended = holdings.counters, holdings.closed, holdings.ended
        self.waiters = Waiters()
        self.state = "suspended"
        #: Dials past the pool's pacing that are under way, each for one request (`lone`).
        self.lone_dials = 0
        #: The end of the client certificate, by the clock: nothing that was opened before stays beyond it.
        self.expires_at = _end_of_certificate(dialer.context, clock.seconds())
        #: The request of a ping, sent on a connection that has stood idle for `idle_ping` seconds.
        self.ping_request = b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self._dialer = dialer
        self._wire_limits = wire_limits
        self._governor = Governor(
            name,
            limits.connect_rate,
            clock,
            random,
            announce,
            lambda: self.upkeep.refill.go_on(),
            budget or Budget(clock),
            dialer.context is not None,
            dialer.timeout,
        )
        self.upkeep: Upkeep = Upkeep(
            self, holdings, self._governor, clock, random, lambda text: announce("notice", f"{name}: {text}")
        )
        self.patience = self.upkeep.refill.patience
        self.order: Order = Order(
            self, holdings, self.upkeep, clock.seconds, lambda level, text: announce(level, f"{name}: {text}")
        )
        holdings.watcher = watcher = self.group.watcher(self, self.upkeep)
        self.upkeep.alone = watcher is self.upkeep
        self.upkeep.hears_all |= not self.upkeep.alone
        #: Invalid answers of this server. The pool that comes after this one goes on with them, so they must not hold
        #: this one; a lambda would, when it is compiled: it holds what all of a method's lambdas use, `self` included.
        self.invalid = LastErrors(name, "response", clock.seconds, partial(announce, "warning"))
        #: Notes what happens (`pool-record`); None: nobody does.
        self.recorder: Recorder | None = None
        #: How many may stand idle; and how many may when the pool is not drained.
        self._most_idle: float = limits.most_idle
        self._usual_most: float = limits.most_idle
        self._refusals = Refusals(clock.seconds, lambda failure, waited: self.counters.wait_failed(failure, waited))

    def __repr__(self) -> str:
        return (
            f"<HTTPConnectionPool {self.name} {self.state}: floor {self.floor}, {len(self.idle)} idle, "
            f"{len(self.in_use)} in use, {len(self.connecting)} connecting, {len(self.retiring)} retiring, "
            f"{len(self.waiters)} waiting>"
        )

    @property
    def context(self) -> ClientContext | None:
        """Returns the TLS context of its connections; None without TLS."""
        return self._dialer.context

    @property
    def dialer(self) -> Dialer:
        """Returns what opens its connections."""
        return self._dialer

    @property
    def wire_limits(self) -> Limits:
        """Returns the bounds of the answers that its connections take."""
        return self._wire_limits

    @property
    def carries_requests(self) -> bool:
        """Tells whether its connections carry requests, one after the other; without that, what one client says."""
        return self.connections.carries_requests

    @property
    def trouble(self) -> str:
        """Returns why the last dial failed; "" while dials succeed."""
        return self._governor.trouble

    @property
    def certificate(self) -> str:
        """Returns what the dial that failed last had found of the server's certificate, as `net.tls.words` has it."""
        return self._governor.certificate

    @property
    def in_vain(self) -> DialFailure:
        """Returns what a wait for a connection ends in that has lasted too long: in the last failure, if that is why
        nobody dials; else in a time-out of its own."""
        last = self._governor.last
        if last is not None and not self.connecting:
            return last
        return DialFailure("connection", "others wait, too", timed_out=True)

    @property
    def paused(self) -> bool:
        """Tells whether the server refuses connections, so that the next dial has to wait."""
        return self._governor.failures > 0 and self._governor.wait(True, len(self.connecting)) > 0

    @property
    def below_floor(self) -> bool:
        """Tells whether fewer connections than the floor stand, idle or in use."""
        return self.state == "running" and len(self.idle) + len(self.in_use) < self.floor

    def set_floor(self, floor: int) -> None:
        """Changes how many connections are to stand idle, as far as no order says otherwise."""
        self.usual_floor = floor
        floor = self.order.floor(floor)
        if self.recorder is not None and floor != self.floor:
            self.recorder.floor(self.floor, floor)
        self.floor = floor
        if self.limits.purge_delay == 0:
            self._keep_at_most(floor)

    def keep(self, floor: int) -> None:
        """Keeps this floor from now on: it is filled, or what stands beyond it is purged."""
        if floor != self.usual_floor:
            self.set_floor(floor)
            self.fit_to_floor()

    def fit_to_floor(self) -> None:
        """Fills the floor, which has changed, or ends what stands beyond it."""
        self.upkeep.floor_changed()
        while self.limits.purge_delay == 0 and len(self.idle) > self._most_idle:
            self.retire(self.holdings.least_wanted, "purged")

    def _keep_at_most(self, idle: float) -> None:
        """Sets how many connections may stand idle."""
        self._usual_most = idle
        if self.order.state != DRAINED:
            self._most_idle = idle

    @property
    def most_idle(self) -> float:
        """Returns how many connections may stand idle."""
        return self._most_idle

    def keep_none(self, none: bool) -> None:
        """Keeps no idle connection from now on; or (False) as many as before."""
        self._most_idle = 0.0 if none else self._usual_most

    @property
    def first(self) -> HTTPConnectionPool:
        """Returns the server's own pool: this one, or the one to whose group it belongs."""
        return self.group.first

    @property
    def family(self) -> Iterable[HTTPConnectionPool]:
        """Returns all pools of the server."""
        return self.group.pools

    @property
    def known_names(self) -> int:
        """Returns how many connections may stand beyond what concurrent use calls for: one for each name
        that is asked for again."""
        return self.group.known_names

    @property
    def knows_name(self) -> bool:
        """Tells whether connections can be opened before there is a request, because the name is known."""
        return self.group.knows_name

    def holding(self) -> Sequence[HTTPConnectionPool]:
        """Returns the server's pools that need upkeep, the first pool first."""
        return self.group.holding()

    def longest_idle(self, most: int) -> list[ServerConnection]:
        """Returns at most `most` idle connections that may be closed, the longest idle first, from
        all pools of the server."""
        return self.group.longest_idle(most)

    def held(self, what: str) -> int:
        """Returns how many connections (or dials) all pools of the server have in the list of
        this name, such as "idle"."""
        return sum(len(getattr(pool, what)) for pool in self.family)

    def look_after(self, now: float) -> None:
        """Does the upkeep that each pool needs by itself, at time `now`."""
        self.upkeep.look_after(now)

    def share(self, other: HTTPConnectionPool) -> None:
        """Shares counters, estimates and the backlog that closes sockets with `other`, a pool of the same server."""
        self.holdings.count_with(other.holdings)
        self.counters, self.closed, self.ended = other.counters, other.closed, other.ended
        self.invalid = other.invalid
        self.expires_at = other.expires_at
        self.ping_request = other.ping_request
        self.upkeep.share(other.upkeep)

    def succeed(self, other: HTTPConnectionPool, learnt: bool = True) -> None:
        """Counts on where `other` does, a pool of the same server, perhaps at another address; and knows what
        it has `learnt`."""
        self.holdings.count_with(other.holdings)
        self.counters, self.closed, self.ended = other.counters, other.closed, other.ended
        self.invalid = other.invalid
        self.upkeep.refill.succeed(other.upkeep.refill)
        if learnt:
            self.upkeep.succeed(other.upkeep)
        self.keep_order_of(other)
        self.expect_demand_of(other)
        if other.recorder is not None:
            self._record_with(other.recorder)
            other.recorder.goes_on(changed=self.limits != other.limits)

    def keep_order_of(self, other: HTTPConnectionPool) -> None:
        """Is drained as `other` is, in whose place it comes, or is not."""
        drained = other.order.state == DRAINED
        if drained and self.order.state != DRAINED:
            self.order_drain()
        elif not drained and self.order.state == DRAINED:
            self.order_rewarm()

    def record(self, bound: RecordBound | None) -> None:
        """Has what happens recorded from now on, within this bound; None: not any more. A record that there is stays,
        as far as it may."""
        if bound is None:
            self._record_with(None)
        elif self.recorder is None:
            running = self if self.state == "running" else None
            self._record_with(Recorder(Record(bound, self.deadlines.now), running))
        else:
            self.recorder.record.bound = bound
            self.recorder.record.forget_old()

    def _record_with(self, recorder: Recorder | None) -> None:
        self.recorder = recorder
        watcher = self.holdings.watcher
        if isinstance(watcher, RecordingWatcher):
            watcher = watcher.inner
        self.holdings.watcher = watcher if recorder is None else recorder.watcher(self.holdings, watcher)
        self.upkeep.hears_all = recorder is not None or self.limits.max_reuse is not None or not self.upkeep.alone
        self.holdings.most_usual = -1.0  # upkeep sets it when it hears of the next one

    def has_places(self, places: int) -> None:
        """Notes how many connections requests may use at once (0: any number): a floor that follows demand rises to
        that at most."""
        if self.upkeep.following is not None:
            self.upkeep.following.places = places

    def expect_demand_of(self, other: HTTPConnectionPool) -> None:
        """Begins with the floor that demand calls for, as `other` has seen it, which had the same clients."""
        self.depths.succeed(other.depths)
        self.upkeep.expect_demand_of(other.upkeep.following)

    # Asking for a connection, and giving it back.

    def acquire(self, kind: int = ANY, now: float | None = None) -> ServerConnection | None:
        """Returns an idle connection fit for this kind of request, in use from now on; None: `wait` for one. `now` is
        the clock's time, for a caller that knows it."""
        if now is None:
            now = self.deadlines.now()
        connection = self.holdings.lend(kind, now)
        if connection is None:
            return None
        if connection.requests:
            self.counters.reuses += 1
        left, depths = len(self.idle), self.depths
        if now >= depths.until:
            depths.turn(now, left + 1, len(self.in_use) - 1)
        depth = depths.high - left
        depths.counts[depth if depth > 0 else 0] += 1
        if left < self.floor and self.upkeep.refill.look is None:
            self.upkeep.refill.watch_floor()
        return connection

    def take(self, connection: ServerConnection) -> None:
        """Takes a private connection into use again, for the client that it is kept for."""
        self.holdings.take_private(connection)
        self.counters.reuses += 1

    def wait(self, waiter: Waiter, kind: int = ANY) -> None:
        """Gives `waiter` the first fit connection that is ready, returned or new; dials if need be.

        A pool that is not running calls its `connection_failed` before this returns.
        """
        if self.state != "running":
            failure = DialFailure("connection", f"the pool is {self.state}")
            self.counters.wait_failed(failure, 0.0)
            waiter.connection_failed(failure)
            return
        self.group.waiting_begins(self)
        floor, now = self.floor, self.deadlines.now()
        waiting = self.waiters.join(waiter, kind, self.counters.dials, now)
        waiting.recorder = self.recorder
        depth, cold = self.upkeep.awaited(kind), self.counters.cold
        if cold is None or depth > cold.depth or now >= cold.at + COLD_EVERY:
            waiting.cold = self._note_cold(now, kind, depth, floor)
        self.upkeep.refill.open_more()
        self.group.waiting_changed(self)

    def _note_cold(self, now: float, kind: int, depth: int, floor: int, lone: bool = False) -> Cold:
        """Notes a request that finds no connection, for operators who ask why."""
        most, losses = self.limits.most, self.counters.losses
        none = not (self.idle or self.in_use or self.connecting)
        self.counters.cold = cold = Cold(
            now,
            kind,
            depth,
            floor,
            self.upkeep.refill.causes.state in ("filling", "away"),
            len(self.idle),
            len(self.in_use),
            len(self.connecting),
            self.first is not self,
            most is not None and self.counted >= most,
            self._governor.trouble,
            lone,
            drained=self.order.state == DRAINED,
            after=losses.last_reason if none and now - losses.last_at < self.limits.purge_delay else "",
        )
        return cold

    def leave(self, waiter: Waiter, timed_out: bool = False) -> None:
        """Removes a waiter that gives up, by its time-out or for a reason of its own. Does
        nothing if it does not wait."""
        waiting = self.waiters.leave(waiter) or self._refusals.leave(waiter)
        if waiting is not None:
            result, took = TIMEOUT if timed_out else LEFT, self.deadlines.now() - waiting.since
            self.counters.waits[result].observe(took)
            waiting.ended(result, took)
        self.group.waiting_changed(self)

    def release(self, connection: ServerConnection, now: float | None = None) -> None:
        """Takes back a connection whose exchange has ended cleanly. The first waiter for which it is fit gets it. `now`
        is the clock's time, for a caller that knows it."""
        limits = self.limits
        if now is None:
            now = self.deadlines.now()
        patience, lent = self.patience, now - connection.idle_since - connection.idle_last
        if self.holdings.pinged and self.holdings.pinged.pop(connection, None) is not None:
            pass  # that was a ping of our own
        elif lent > patience.hold:
            patience.hold = patience.hold * HELD_LONGER or lent
        else:
            patience.hold *= HELD_SHORTER
        if self._governor.failures:
            self._governor.answered(connection)
        if connection.requests == 1:
            remember_session(connection)
        if self.state != "running":
            self.retire(connection, "pool " + self.state)
        elif now >= connection.retire_at and not self.upkeep.outlives(connection, now):
            last = connection.retire_at == -inf
            self.retire(connection, "one request only" if last else self.upkeep.why_over(connection))
        elif limits.max_reuse is not None and connection.requests > limits.max_reuse:
            self.retire(connection, "max-reuse")
        elif connection.private and self.order.state == DRAINED:
            self.retire(connection, ORDERED_DRAIN)
        elif connection.private:
            connection.idle_since = now
            self.holdings.keep_apart(connection)
        elif self.waiters.waiting and self._serve_returned(connection):
            pass
        elif len(self.idle) >= self._most_idle and not self.holdings.due:
            self.retire(connection, self._too_many)
        else:
            connection.idle_since = now
            self.holdings.rest(connection)
            if self.waiters.waiting and limits.most is not None:
                self.upkeep.refill.open_more()  # in its place, for somebody who needs a new one

    @property
    def _too_many(self) -> str:
        """Returns why a connection ends that is one too many."""
        return ORDERED_DRAIN if self.order.state == DRAINED else FULL

    @property
    def standing(self) -> int:
        """Returns how many connections this pool has open to the server, or is opening or closing."""
        return self.holdings.standing

    @property
    def counted(self) -> int:
        """Returns how many connections count for the server's ceiling (`strict-maxconn`)."""
        return self.group.counted

    @property
    def others_wait(self) -> bool:
        """Tells whether requests wait for a connection under another name of the server."""
        return self.group.others_wait(self)

    def why_due(self, connection: ServerConnection) -> str:
        """Returns why a connection leaves whose life is over."""
        return self.upkeep.why_due(connection)

    def make_room(self) -> None:
        """Ends a connection that can be spared, in any of the server's pools: the ceiling is reached, and a
        request needs a new one."""
        self.group.make_room(self)

    def make_room_here(self) -> None:
        """Ends a watched connection of this pool, else the least wanted idle one, if there is one."""
        for connection in self.watched:
            self.retire(connection, "room for another", at_once=True)
            return
        if self.idle:
            self.retire(self.holdings.least_wanted, "room for another", at_once=True)

    @property
    def wants_one(self) -> bool:
        """Tells whether a connection opened by somebody else would be kept: the floor is short, or with
        `check-reuse-pool` none stands idle."""
        if self.state != "running" or (self.limits.most is not None and self.counted >= self.limits.most):
            return False
        if self.order.state == DRAINED:
            return False
        return len(self.idle) < self.floor or (self.limits.keep_checks and not self.idle)

    def dial_for(self, owner: DialOwner, preface: bytes = b"") -> Dial:
        """Dials as this pool does, for an owner that may `adopt` the connection. `preface` is what is sent first, in
        the clear."""
        return (self._dialer.saying(preface) if preface else self._dialer).dial(owner)

    def adopt(self, dial: Dial, transport: Transport) -> ServerConnection:
        """Takes in a connection that was opened elsewhere, in the same way to the same server. It is in use by the
        caller, and comes back like any other."""
        connection = self._make(PROBE, dial, transport)
        self.holdings.adopt(connection)
        self.counters.donated += 1
        return connection

    def take_in(self, dial: Dial, transport: Transport, since: float) -> ServerConnection:
        """Takes in a connection that was dialled for a request which has waited since then, and is to use it."""
        connection = self._make(DEMAND, dial, transport)
        self.counters.handshakes_on_request_path += 1
        self.counters.waits[FRESH].observe(connection.born - since)
        self._note_cold(since, NEW, 0, self.floor, lone=True).ended(FRESH, connection.born - since)
        if self.recorder is not None:
            self.recorder.waited(NEW, FRESH, connection.born - since)
        self.holdings.use(connection)
        return connection

    def _make(self, cause: str, dial: Dial, transport: Transport) -> ServerConnection:
        """Makes a connection of this pool, in none of its lists yet."""
        counters, context = self.counters, self.context
        counters.opened(cause, dial, transport, context is not None and context.settings.crt is not None)
        if self.recorder is not None:
            self.recorder.opened(cause, dial.took)
        connection = self.connections(
            self, transport, self.deadlines.now(), self._wire_limits, counters.handshakes, dial.took
        )
        self.upkeep.born(connection)
        return connection

    def retire(self, connection: ServerConnection, reason: str, *, at_once: bool = False, by: str = PROXY) -> None:
        """Ends a connection; see `Holdings.retire`."""
        self.holdings.retire(connection, reason, at_once=at_once, by=by)

    # What connections say.

    def lost(self, connection: ServerConnection, reason: str, answered: bool = False) -> bool:
        """Retires a connection that its server has ended, idle or in use. Returns True for a late refusal of
        the handshake.

        `answered` tells that some byte had come for the last request on it.
        """
        if connection.state != IN_USE:
            self.upkeep.closed_by_peer(connection)
        elif not answered and connection.requests > 1 and self.state == "running":
            self.holdings.guard.lost()
        refused = isinstance(reason, CertificateRefused) and connection.requests <= 1 and not answered
        if not refused:
            reason = str(reason)  # a CertificateRefused that refuses nothing here is a reason like any other
        failure = self._failure_of(connection, reason, refused)
        if failure is not None:
            self._note_failure(None, failure)
        self.retire(connection, reason, at_once=True, by=SERVER)
        if failure is not None:
            self._fail_waiters(failure)
        return refused

    def connection_gone(self, connection: ServerConnection) -> None:
        """Forgets a retired connection whose socket is closed."""
        self.holdings.forget(connection)
        if self.limits.most is not None:
            self.upkeep.refill.open_more()  # somebody may have waited for its place
        self.group.place_is_free(self)

    def closed_by_peer(self, connection: ServerConnection) -> None:
        """Learns from the age of an idle or watched connection whose server has announced its end."""
        self.upkeep.closed_by_peer(connection)

    def deadline_passed(self, connection: ServerConnection) -> None:
        """Handles the passed deadline of an idle or watched connection."""
        self.upkeep.deadline_passed(connection)

    def advertised(self, keep_alive: bytes) -> int | None:
        """Learns from the server's Keep-Alive field. Returns how many more requests it accepts on that connection, None
        if it does not say."""
        return self.upkeep.advertised(keep_alive)

    # What its owner says.

    def resume(self, rotation: bool = False) -> None:
        """Keeps the floor from now on. `rotation` tells that it replaces another pool, because the server is reached in
        a different way now."""
        if self.state == "suspended":
            self.state = "running"
            if self.recorder is not None:
                self.recorder.runs(self)
            self.upkeep.start(rotation)

    def suspend(self, reason: str) -> None:
        """Closes all idle connections and opens none; those in use finish first.

        From now on no connection is given. Ending 800 of them over TLS takes 110 ms, and refusing 7,000 waiters 90 ms,
        so both are done in slices, whatever comes meanwhile.
        """
        self.begin_to_suspend(reason)
        self.holdings.backlog.go_on()

    def begin_to_suspend(self, reason: str) -> None:
        """Does the part of `suspend` that must not wait; the backlog does the rest."""
        if self.state == "running":
            self.state = "suspended"
            if self.recorder is not None:
                self.recorder.rests(self)
            self._stop(reason)

    def sending_on(self) -> Iterator[None]:
        """Has those who wait ask again, in steps of one, because another pool has taken the place of this one: the
        server may have other addresses now, or may not be trusted any more."""
        for pool in [*self.family]:
            for waiter in [*pool.waiters.waiting]:
                if waiter in pool.waiters.waiting:
                    pool.leave(waiter)
                    waiter.pool_replaced()
                    yield

    def order_drain(self) -> None:
        """Ends all connections, those in use when they come back, and keeps none until `order_rewarm`. Who waits, or
        asks, still gets a connection."""
        self.order.drain(self.deadlines.now())

    def order_rewarm(self) -> None:
        """Has new connections take the place of all that there are; the floor is kept again if the pool was drained."""
        self.order.rewarm(self.deadlines.now())

    def drain(self, reason: str) -> None:
        """Keeps no connection any more, but serves those who wait, or still ask, on connections that close after use.

        This is for a pool whose server is gone from the configuration, until its last clients have left.
        """
        for _ in self.draining(reason):
            pass

    def draining(self, reason: str) -> Iterator[None]:
        """Drains in steps of one connection: ending one over TLS takes 60 µs."""
        self.limits = evolve(self.limits, min_conn=0, max_conn=0, adapts=False)
        self.order.stop()
        self.floor = self.usual_floor = 0
        self.upkeep.following = None
        self._most_idle = 0.0
        yield
        for connection in [*self.idle, *self.private, *self.watched]:
            if connection.state in (IDLE, PRIVATE, WATCHED):
                self.retire(connection, reason)
                yield

    def close(self, reason: str) -> None:
        """Suspends for good, and at once; leaves no timer."""
        if self.state != "closed":
            self.state = "closed"
            self._stop(reason)
            self.holdings.backlog.finish()

    def _serve_returned(self, connection: ServerConnection) -> bool:
        """Gives a connection that has just come back to the first waiter for which it is fit. Returns
        False if there is none."""
        connection.idle_since = self.deadlines.now()
        connection.idle_last = 0.0
        waiting = self.waiters.first_fit(self.holdings.returned_fits, connection.safe)
        if waiting is None:
            return False
        self.waiters.leave(waiting.waiter)
        self.counters.reuses += 1
        self.counters.waits_queued += 1
        self.counters.waits[QUEUED].observe(connection.idle_since - waiting.since)
        waiting.ended(QUEUED, connection.idle_since - waiting.since)
        self.holdings.use(connection)
        waiting.waiter.connection_ready(connection)
        return True

    # Opening.

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        """Gives a new connection to the first waiter, or lets it stand idle."""
        connection = self._make(self.connecting.pop(dial), dial, transport)
        self._governor.succeeded(dial, connection, dial.took)
        self.upkeep.opened(dial.took)
        if self.waiters:
            waiting = self.waiters.first()
            self.waiters.leave(waiting.waiter)
            self.counters.handshakes_on_request_path += 1
            self.counters.waits[FRESH].observe(connection.born - waiting.since)
            waiting.ended(FRESH, connection.born - waiting.since)
            self.depths.handed_on()
            self.holdings.use(connection)
            self.upkeep.refill.open_more()
            waiting.waiter.connection_ready(connection)
            return
        self.holdings.rest(connection)
        if len(self.idle) > self._most_idle:
            self.retire(self.holdings.least_wanted, self._too_many)
        self.upkeep.refill.open_more()

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        """Counts a failed dial, and refuses those who have waited in vain."""
        self.counters.not_opened(self.connecting.pop(dial), dial, failure)
        if self.recorder is not None:
            self.recorder.failed(result_of(failure), self.deadlines.now() - dial.born)
        self._note_failure(dial, failure)
        if not (failure.ours and self.in_use):  # else they are better off waiting for one that comes back
            self._fail_waiters(failure, self.counters.dials)  # those who came since it began get another
        self.upkeep.refill.open_more()
        self.group.place_is_free(self)

    def _failure_of(self, connection: ServerConnection, reason: str, refused: bool) -> DialFailure | None:
        """Returns what this end of a connection means for opening others, None if nothing.

        Once a request was sent on it, only a refusal of the client certificate counts: anything else may be that
        request's doing, and no client's request may cost the others their server.
        """
        if not refused and (connection.requests or self.deadlines.now() >= connection.proof_at):
            return None
        context = self.context
        if context is not None and reason.startswith(TLS_FAILED):
            reason = context.meaning(reason.removeprefix(TLS_FAILED))
            return DialFailure("TLS handshake", reason, certificate=ACCEPTED)
        return DialFailure("connection", f"{reason} before its first use")

    def _note_failure(self, dial: Dial | None, failure: DialFailure) -> None:
        """Counts and reports a failure, and delays the next dial. `dial` is None if the dial itself had succeeded."""
        self.counters.dials_failed += 1
        self._governor.failed(dial, failure, bool(self.waiters))
        self.upkeep.dial_failed(failure, dial is None)

    def _fail_waiters(self, failure: DialFailure, before: float = inf) -> None:
        """Refuses those who have waited in vain: the oldest waiter while other dials are under way, which may still
        serve the rest; with none left, all who came before the dial of this number. Otherwise the dials under way when
        a server stops would use up all tries of a request at once."""
        self._refuse(self.waiters.take(before, 1 if self.connecting else None), failure)
        self.holdings.backlog.go_on()

    def _refuse(self, refused: Waiters, failure: DialFailure) -> None:
        """Tells waiters that they wait no more, each in its turn."""
        self._refusals.add(refused, failure, self.holdings.backlog)
        self.group.waiting_changed(self)

    def dial(self, cause: str) -> None:
        """Opens one more connection, for somebody who waits (DEMAND) or for the floor."""
        demand = cause == DEMAND
        self.counters.dials += 1
        self.counters.dials_for_requests += demand
        dial = self._dialer.dial(self)
        self._governor.began(dial, demand)
        self.connecting[dial] = cause

    def _stop(self, reason: str) -> None:
        self.order.stop()
        self.upkeep.stop()
        for dial, cause in self.connecting.items():
            self.counters.connects[cause, CANCELLED] += 1
            if self.recorder is not None:
                self.recorder.failed(CANCELLED, self.deadlines.now() - dial.born)
            dial.cancel()
        self.connecting.clear()
        for connection in [*self.idle, *self.private, *self.watched]:
            self.holdings.retire(connection, reason, later=True)
        self._refuse(self.waiters.take(), DialFailure("connection", reason))
        self.holdings.end_later()


def _end_of_certificate(context: ClientContext | None, now: float) -> float:
    """Returns when the client certificate ends, by the clock that reads `now`; inf without one."""
    return inf if context is None or context.ours_end is None else now + context.ours_end - time()
