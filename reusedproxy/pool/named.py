"""Keeps one pool for each connection name of a server, within the ceilings that the server has for all.

A `server` line may say `sni req.hdr(host)`, or `pool-conn-name`: then a connection serves only requests of its own
name. The constant pool (`constant`) is the server's `pool` for all other code. It serves the one name that is known
beforehand, if there is one, and keeps the floor; it opens and ends the pools of the other names, which have no floor.
All pools count and learn together, and keep as many connections as all requests together have recently used at once: a
client that asks for ever new names must not take all that the server has. But each pool dials by itself: a name that
the server refuses must not make the others wait. The pools must never know requests.

Where the certificate that we show, the authorities or the name verified depend on the request, too, they are part of
the name, and pools have floors: those that are listed beforehand for as long as they are, others (where `Floors` says
so) from their first request until they are not asked for in `LEARNT_FOR` seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, takewhile
from math import inf
from operator import attrgetter
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.net.dial import Dialer
from reusedproxy.net.slices import Later, Steps
from reusedproxy.net.tls.identity import ClientIdentity
from reusedproxy.pool.apart import take_pool_apart
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import HoldingsWatcher
from reusedproxy.pool.kept import DRAINED
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import OTHER_FILES, OTHER_FLOOR, SURPLUS
from reusedproxy.pool.record.listening import RecordingWatcher

#: Most names of one server that have a pool at the same time; for one more, the least recently asked for goes.
NAMES = 1000
#: A name that is asked for again within one or two sweeps is one that clients use, and not one that a client has
#: invented. Up to KEPT_NAMES such names may keep one connection each beyond what concurrent use calls for, as long as
#: they are asked for every KEPT_FOR seconds.
KEPT_NAMES, KEPT_FOR = 16, 60.0
#: Seconds between two sweeps. A sweep closes pools that hold nothing and were not asked for since the one before.
SWEEP = 10.0
#: Seconds for which a name that was not listed has a floor after it was last asked for.
LEARNT_FOR = 600.0
#: Seconds after which the pool of a forgotten name is taken apart, at the earliest; and how many at once.
FREED_AFTER, FREED_AT_ONCE = 1.0, 300


class NameRefused(Exception):
    """Reports that no connection is possible under this name, and why."""


class IdentityRefused(NameRefused):
    """Reports that a request says no identity that there is."""


@frozen
class Name:
    """Identifies what a connection and a request must have in common (`key`, `preface`), and the SNI with which
    connections are opened.

    `preface` is a PROXY protocol header; connections that begin with one serve a single client. `at` is the host and
    the port where the server is for this client; host "": its own, None: both are. `identity` is who the proxy is to
    the server, and whom it trusts; None: as for all requests.
    """

    key: bytes
    sni: bytes
    preface: bytes = b""
    at: tuple[str, int] | None = None
    identity: ClientIdentity | None = None

    def __str__(self) -> str:
        sni = f"sni {self.sni.decode('latin-1')}" if self.sni else ""
        return " ".join(filter(None, (sni, "" if self.identity is None else str(self.identity))))


#: What tells the pools of other names apart: `Name.key`, `Name.preface`, `Name.at`, `Name.identity`.
Key = tuple[bytes, bytes, "tuple[str, int] | None", "ClientIdentity | None"]
#: Computes the `Name` of a request.
Naming = Callable[[Any], Name]


def naming(
    sni: Callable[[Any], bytes | None] | bytes,
    name: Callable[[Any], bytes | None] | None,
    preface: Callable[[Any], bytes] | None = None,
    at: Callable[[Any], tuple[str, int]] | None = None,
    identity: Callable[[Any], ClientIdentity] | None = None,
) -> Naming:
    """Returns a function that computes the `Name` of a request. `sni` fetches the SNI, or is a constant one; `name`
    fetches the value of `pool-conn-name` (None: the SNI is the name); `preface` fetches the PROXY protocol header; `at`
    finds where the server is for the client, or raises NameRefused; `identity` finds who the proxy is to the server, or
    raises IdentityRefused."""

    def named(facts: Any) -> Name:
        host = sni if isinstance(sni, bytes) else host_name(sni(facts) or b"")
        key = host if name is None else name(facts) or b""
        return Name(
            key,
            host,
            b"" if preface is None else preface(facts),
            None if at is None else at(facts),
            None if identity is None else identity(facts),
        )

    return named


@frozen
class Floors:
    """Holds the floors of names: that of `limits`, for listed names whose own is not said, and with `learnt` also for
    those that a request was the first to use."""

    limits: PoolLimits
    learnt: bool = False


def host_name(value: bytes) -> bytes:
    """Converts a host to the form that goes into SNI (RFC 6066 section 3): lower case,
    without a port or a final dot."""
    host, colon, port = value.rpartition(b":")
    if colon and port.isdigit() and (b":" not in host or host.endswith(b"]")):
        value = host
    return value.strip(b"[]").removesuffix(b".").lower()


class NamedPools:
    """Groups a server's pools, one for each name. `first` is the constant pool; `own` is the name that it serves (None:
    none); `others` are the pools of the other names, the least recently asked for first; `awake` are the pools that may
    hold connections.

    Over all names `used` connections are in use at once, and `wanted` by requests, including those that wait. `rested`
    are the idle connections of the other names that may be closed, beyond their floors, the longest idle first. At most
    `most_idle` of them and of the first pool's may stand idle. `leaving` are pools whose names are gone, until their
    last connections are. `refusals` counts requests that had no name or identity.
    """

    _log = Logger()

    #: Set by the pool itself, as it joins.
    first: HTTPConnectionPool

    def __init__(
        self, arguments: Sequence[Any], own: bytes | None, dialer_for: Callable[[Name], Dialer], clock: IReactorTime
    ) -> None:
        """Makes each pool with `arguments`. `dialer_for` returns the dialer for a name, or raises NameRefused."""
        self.own = own
        self.most_idle = inf
        self.used = self.wanted = 0
        self.rested: OrderedDict[ServerConnection, HTTPConnectionPool] = OrderedDict()
        #: In the order of their waking, because a set's order would differ from run to run.
        self.awake: dict[HTTPConnectionPool, None] = {}
        self.others: dict[Key, HTTPConnectionPool] = {}
        self._arguments = arguments
        self.dialer_for = dialer_for
        self._asked: set[Key] = set()
        self._asked_before: set[Key] = set()
        #: Names that were asked for again, and when last.
        self._again: dict[Key, float] = {}
        self._sweep = Later(clock, self._forget_unasked, self._swept)
        #: What names of their own may have as a floor; None: nothing.
        self.floors: Floors | None = None
        #: The names that are known beforehand, and the floor of each (None: that of `floors`).
        self.listed: dict[Key, tuple[Name, int | None]] = {}
        #: Names that a reload tries before it lists them.
        self._ahead: dict[Key, tuple[Name, int | None]] = {}
        self.leaving: dict[HTTPConnectionPool, None] = {}
        #: Pools of forgotten names, and since when: they are taken apart when nobody uses them.
        self._forgotten: dict[HTTPConnectionPool, float] = {}
        self.refusals = 0
        #: Names with a floor that are not listed, and when each was last asked for.
        self._learnt: dict[Key, float] = {}
        self._is_current: Callable[[ClientIdentity], bool] = lambda identity: True
        self._adopting = Later(clock, self._adopt, self._adopted)
        title, announce = arguments[0], arguments[5]
        self._title: str = title
        self._told = LogThrottle(clock.seconds, lambda text: announce("warning", text))

    def adopt(self, listed: Iterable[tuple[Name, int | None]], is_current: Callable[[ClientIdentity], bool]) -> None:
        """Takes over, in slices, which names are known beforehand, each with its floor (None: that of `floors`), and
        which identities are still current: the pools of others end."""
        self.listed, self._ahead = {_key(name): (name, floor) for name, floor in listed}, {}
        self._is_current = is_current
        self.open_listed()

    def lists(self, name: Name) -> bool:
        """Tells whether this name is known beforehand."""
        return _key(name) in self.listed

    def try_out(self, listed: Iterable[tuple[Name, int | None]]) -> None:
        """Opens the pools of names that may be listed soon, in slices, while all others stay; `adopt` or `give_up`
        comes next."""
        self._ahead = {_key(name): (name, floor) for name, floor in listed}
        self.open_listed()

    def tried(self) -> Iterator[tuple[Name, HTTPConnectionPool | None]]:
        """Returns the names that are tried, each with its pool; None while it is not open."""
        for key, (name, _) in self._ahead.items():
            yield name, self.others.get(key)

    def give_up(self, reason: str) -> None:
        """Ends the pools of the names that were tried."""
        ahead, self._ahead = self._ahead, {}
        for key in ahead:
            if key in self.others:
                self._end(key, reason)

    def open_listed(self) -> None:
        """Opens the pools of the listed names, in slices."""
        if self.listed or self.others or self._ahead:
            self._adopting.stop()  # it begins again
            self._adopting.plan(0)

    def resume(self) -> None:
        """Has the pools of all other names keep their floors, and opens those that are listed and have none."""
        for pool in self.others.values():
            if pool.floor:
                self.awake[pool] = None
            pool.resume()
        self.open_listed()

    @property
    def unopened(self) -> int:
        """Returns how many of the listed names have no pool yet."""
        return sum(key not in self.others for key in self.listed)

    @property
    def floor_of_listed(self) -> int:
        """Returns how many connections the floors of all listed names ask for."""
        usual = 0 if self.floors is None else self.floors.limits.min_conn
        return sum(usual if own is None else own for _, own in self.listed.values())

    def refuse(self, refused: NameRefused) -> None:
        """Notes that a request gets no connection, because it has no name, or says no identity."""
        self.refusals += 1
        self._told.tell(str(refused), f"{self._title}: a request gets no connection: {refused}", "requests refused")

    def named(self, name: Name) -> HTTPConnectionPool:
        """Returns the pool of this name, and opens it if need be. Raises NameRefused."""
        if name.key == self.own and not name.preface and name.at is None and name.identity is None:
            return self.first
        key = _key(name)
        pool = self.others.pop(key, None)
        if pool is None:
            pool = self._open(key, name)
        self.others[key] = pool  # at the end: it was asked for the last
        if (self._bounded or key in self._asked or key in self._asked_before) and not pool.floor:
            self._again[key] = self.first.deadlines.now()
        self._asked.add(key)
        return pool

    def shown(self) -> Iterator[tuple[str, HTTPConnectionPool, int, int]]:
        """Returns the other names that have a pool, with it; how often requests were given a connection of it; and how
        many it has opened."""
        for pool in self.others.values():
            told = _membership(pool)
            opened = told.ended + sum(map(len, (pool.idle, pool.in_use, pool.private, pool.watched)))
            yield str(told.name or ""), pool, told.lent, opened

    def used_names(self) -> list[Name]:
        """Returns the names that clients use, by which another pool of the server may be warmed."""
        pools = [self.others[key] for key in (*self._learnt, *self._again) if key in self.others]
        names = [_membership(pool).name for pool in pools]
        return [name for name in names if name is not None and not name.preface][-KEPT_NAMES:]

    def succeed(self, other: NamedPools) -> list[HTTPConnectionPool]:
        """Returns pools for the names that clients use at `other`, which counts as asking for them again. The group is
        that of the same server at another address."""
        pools: dict[HTTPConnectionPool, None] = {}
        for name in other.used_names():
            try:
                self.named(name)
                pools[self.named(name)] = None
            except NameRefused:
                continue
        return [*pools]

    def stop(self) -> None:
        """Stops looking for unused names; leaves no timer."""
        self._sweep.stop()
        self._adopting.stop()

    # What the pools ask: see `PoolGroup`.

    @property
    def pools(self) -> Iterator[HTTPConnectionPool]:
        yield self.first
        yield from self.others.values()
        yield from self.leaving

    @property
    def counted(self) -> int:
        return sum(pool.standing for pool in self.awake)

    @property
    def known_names(self) -> int:
        floors = sum(min(len(pool.idle), pool.floor) for pool in self.awake if pool is not self.first)
        return self._kept_names + floors

    @property
    def _kept_names(self) -> int:
        return min(len(self._again), NAMES if self._bounded else KEPT_NAMES)

    @property
    def _bounded(self) -> bool:
        """Tells whether no client can invent names, so that each may keep a connection from its first request on."""
        return self.floors is not None and self.floors.learnt

    @property
    def knows_name(self) -> bool:
        return bool(self.own)

    def watcher(self, pool: HTTPConnectionPool, upkeep: HoldingsWatcher) -> HoldingsWatcher:
        if not self.awake:
            self.first = pool
            self.awake[pool] = None
        return Membership(self, pool, upkeep)

    def holding(self) -> Sequence[HTTPConnectionPool]:
        for pool in [pool for pool in self.awake if pool is not self.first and not (pool.standing or pool.waiters)]:
            self.leaving.pop(pool, None)
            if not (pool.floor and pool.state == "running"):
                del self.awake[pool]
        for pool in self.awake:
            if pool.floor and pool is not self.first:
                self._let_rest(pool)  # a floor that follows demand has fallen, perhaps
        self._free_forgotten()
        return [*self.awake]

    def _let_rest(self, pool: HTTPConnectionPool) -> None:
        """Lets go what stands beyond the floor of a pool, when it is too much."""
        for connection in pool.idle[: max(0, len(pool.idle) - pool.floor)]:
            self.rested.setdefault(connection, pool)

    def longest_idle(self, most: int) -> list[ServerConnection]:
        first = self.first
        while self.rested and not _has_spare(next(iter(self.rested.values()))):
            self.rested.popitem(last=False)
        beyond_floor = first.idle[: max(0, len(first.idle) - first.floor)]
        return [*islice(merge(beyond_floor, self._beyond_floors(), key=attrgetter("idle_since")), most)]

    def _beyond_floors(self) -> Iterator[ServerConnection]:
        """Returns the idle connections of the other names that may be closed without a floor being short of any."""
        left: dict[HTTPConnectionPool, int] = {}
        for connection, pool in self.rested.items():
            if pool.floor:
                left[pool] = left.get(pool, len(pool.idle) - pool.floor) - 1
                if left[pool] < 0:
                    continue
            yield connection

    def others_wait(self, pool: HTTPConnectionPool) -> bool:
        return any(each.waiters for each in self.awake if each is not pool)

    def make_room(self, pool: HTTPConnectionPool) -> None:
        for each in self.awake:
            if each.watched:
                each.make_room_here()
                return
        for connection in self.longest_idle(1):
            connection.pool.retire(connection, "room for another", at_once=True)
            return
        # A floor's, when there are no others.
        floors = [each for each in self.awake if each.idle and each is not self.first]
        if floors and not self.first.idle:
            min(floors, key=lambda each: each.idle[0].idle_since).make_room_here()
        else:
            self.first.make_room_here()

    def waiting_begins(self, pool: HTTPConnectionPool) -> None:
        self.awake[pool] = None

    def waiting_changed(self, pool: HTTPConnectionPool) -> None:
        _membership(pool).count()

    def place_is_free(self, pool: HTTPConnectionPool) -> None:
        if pool.limits.most is not None:
            for each in [*self.awake]:
                if each.waiters:
                    each.upkeep.refill.open_more()

    # What is too much.

    def let_surplus_go(self, rested: ServerConnection, key: Key | None) -> None:
        """Ends the least wanted idle connection if `rested`, which has just become idle, is one too many; ends `rested`
        itself if nobody has asked for its name, `key`, again."""
        idle = len(self.first.idle) + len(self.rested)
        surplus = self.used + idle - self.first.upkeep.demand.enough - self._kept_names
        if surplus > 0 and surplus > self._restless:
            reason = SURPLUS
            if key is not None and key not in self._again and rested in self.rested:
                rested.pool.retire(rested, reason)
                return
        elif idle > self.most_idle:
            reason = "pool full"
        else:
            return
        for connection in self.longest_idle(1):
            connection.pool.retire(connection, reason)

    @property
    def _restless(self) -> int:
        """Returns how many idle connections are as good as in use, because a hasty server may yet end them (see
        `Holdings.rested`)."""
        held = self.first.holdings
        haste = held.guard.haste
        if not haste.hasty:
            return 0
        since = self.first.deadlines.now() - haste.rest
        of_others = sum(1 for _ in takewhile(lambda each: each.idle_since > since, reversed(self.rested)))
        return len(held.idle) - held.rested + of_others

    # Names that come and go.

    def _open(self, key: Key, name: Name) -> HTTPConnectionPool:
        first = self.first
        title, _, _, *rest = self._arguments
        if name.identity is not None:
            title = f"{title} ({name})"
        limits = evolve(first.limits, **self._floor(key), max_conn=None if self.most_idle else 0)
        pool = HTTPConnectionPool(
            title, self.dialer_for(name), limits, *rest, group=self, connections=first.connections
        )
        expires_at = pool.expires_at
        pool.share(first)
        if name.identity is not None:
            pool.expires_at = expires_at
        if pool.floor:
            self.awake[pool] = None
            if not self._is_known(key):
                self._learnt[key] = first.deadlines.now()
        if first.order.state == DRAINED:
            pool.order.drain(first.order.given_at)
        pool.solo = bool(name.preface)
        _membership(pool).key = key
        _membership(pool).name = name
        if first.state == "running":
            pool.resume()
        elif first.state == "closed":
            pool.close("pool closed")
        if len(self.others) - len(self.listed) - len(self._ahead) >= NAMES:
            others = ((other, each) for other, each in self.others.items() if not self._is_known(other))
            oldest = next((other for other, each in others if _is_quiet(each)), None)
            if oldest is not None:
                self._forget(oldest, "too many names")
        if first.state != "closed":
            self._sweep.plan(SWEEP)
        return pool

    def _is_known(self, key: Key) -> bool:
        return key in self.listed or key in self._ahead

    def _floor(self, key: Key) -> dict[str, Any]:
        """Returns the limits that make the floor of this name: none for most."""
        nothing = {"min_conn": 0, "adapts": False}
        if self.floors is None:
            return nothing
        limits = self.floors.limits
        usual = {"min_conn": limits.min_conn, "adapts": limits.adapts}
        known = self.listed.get(key) or self._ahead.get(key)
        if known is None:
            return usual if self.floors.learnt and key[1:3] == (b"", None) else nothing
        own = known[1]
        return usual if own is None else {"min_conn": own, "adapts": False}

    def _adopt(self) -> Steps[None]:
        """Ends pools whose identities are not current any more, gives the others their floors, and opens those that are
        listed."""
        for key in [*self.others]:
            if key in self.others:
                self._fit(key)
                yield
        for key, (name, _) in [*self.listed.items(), *self._ahead.items()]:
            if self.first.state == "running" and self._is_known(key) and key not in self.others:
                try:
                    self.others[key] = self._open(key, name)
                except NameRefused as refused:
                    self.refuse(refused)
                yield

    def _adopted(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("{title}: identities could not be taken over", failure, title=self._title)

    def _fit(self, key: Key) -> None:
        """Ends the pool of this name if its identity is not current any more; else sets its floor."""
        if key in self._ahead:
            return
        pool, identity = self.others[key], key[3]
        if identity is not None and not self._is_current(identity):
            self._end(key, OTHER_FILES)
            return
        said = self._floor(key)
        if key in self.listed:
            self._learnt.pop(key, None)
        elif key not in self._learnt:
            said = {"min_conn": 0, "adapts": False}  # it was listed
        limits = pool.limits
        if said["adapts"] != limits.adapts:
            self._end(key, OTHER_FLOOR)
        elif said["min_conn"] != limits.min_conn:
            pool.limits = evolve(limits, **said)
            pool.set_floor(pool.limits.min_conn)
            self.awake[pool] = None
            self._let_rest(pool)
            pool.upkeep.refill.open_more()

    def _end(self, key: Key, reason: str) -> None:
        """Closes the pool of this name; those who wait ask again, and those in use end when they are free."""
        pool = self.others.pop(key)
        self._learnt.pop(key, None)
        self.leaving[pool] = None
        self.awake[pool] = None
        for waiter in [*pool.waiters.waiting]:
            if waiter in pool.waiters.waiting:
                pool.leave(waiter)
                waiter.pool_replaced()
        self._close(pool, reason)

    def _forget_unasked(self) -> Steps[None]:
        """Closes, in steps, the pools that hold nothing and whose names were not asked for since the last sweep; and
        those that have a floor and were not asked for in a while."""
        self._free_forgotten()
        asked, self._asked = self._asked, set()
        now = self.first.deadlines.now()
        self._learnt.update((key, now) for key in asked if key in self._learnt)
        for key in [key for key, at in self._learnt.items() if at < now - LEARNT_FOR]:
            if key in self.others and key not in self._asked and _is_quiet(self.others[key]):
                self._forget(key, "no more asked for")
                yield
        self._asked_before = asked
        since = now - KEPT_FOR
        self._again = {key: at for key, at in self._again.items() if at >= since}
        for key in [key for key in self.others if key not in asked and not self._is_known(key)]:
            pool = self.others.get(key)
            if pool is not None and key not in self._asked and not (pool.standing or pool.waiters):
                self._forget(key, "no more asked for")
                yield

    def _swept(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("names that nobody asks for could not be forgotten", failure)
        if self.others or self._forgotten:
            self._sweep.plan(SWEEP)

    def _forget(self, key: Key, reason: str) -> None:
        self._learnt.pop(key, None)
        pool = self.others.pop(key)
        self._close(pool, reason)
        self._forgotten[pool] = self.first.deadlines.now()

    def _free_forgotten(self) -> None:
        """Frees pools of forgotten names when their last connections are gone, some of them at once."""
        before = self.first.deadlines.now() - FREED_AFTER
        free = [pool for pool, at in self._forgotten.items() if at <= before and not (pool.standing or pool.lone_dials)]
        for pool in free[:FREED_AT_ONCE]:
            del self._forgotten[pool]
            self.awake.pop(pool, None)
            take_pool_apart(pool)

    def _close(self, pool: HTTPConnectionPool, reason: str) -> None:
        pool.close(reason)
        self.first.upkeep.refill.count_below_floor(pool.upkeep.refill.below_floor_seconds)


class Membership:
    """Follows the moves of one pool's connections for its group, after the pool's upkeep.

    The group's counts are updated at each change: adding up 1,000 pools for each request would take 100 µs. `key` is
    the pool's key in `NamedPools.others`, and `name` its name; None for the first pool.
    """

    key: Key | None = None
    name: Name | None = None

    def __init__(self, group: NamedPools, pool: HTTPConnectionPool, upkeep: HoldingsWatcher) -> None:
        self._group = group
        self._pool = pool
        self._upkeep = upkeep
        #: The idle connections of the other names; None for the first pool.
        self._rested = None if pool is group.first else group.rested
        #: This pool's part of the group's counts.
        self._used = self._wanted = 0
        #: How often a request has been given a connection of this name, and how many connections have ended.
        self.lent = self.ended = 0

    def taken(self, connection: ServerConnection) -> None:
        self.lent += 1
        if self._rested is not None:
            self._rested.pop(connection, None)
        self._upkeep.taken(connection)
        self.count()

    def rested(self, connection: ServerConnection) -> None:
        pool = self._pool
        # One that is due leaves as soon as this one stands in its place, so it is none beyond the floor.
        if self._rested is not None and len(pool.idle) - len(pool.holdings.due) > pool.floor:
            self._rested[connection] = pool
        self._upkeep.rested(connection)
        self.count()
        self._group.let_surplus_go(connection, self.key)
        self._group.place_is_free(self._pool)

    def kept_apart(self, connection: ServerConnection) -> None:
        self._upkeep.kept_apart(connection)
        self.count()

    def withdrawn(self, connection: ServerConnection) -> None:
        if self._rested is not None:
            self._rested.pop(connection, None)
        self._upkeep.withdrawn(connection)

    def gone(self, connection: ServerConnection, was: int) -> None:
        self.ended += 1
        self._upkeep.gone(connection, was)
        self.count()

    def count(self) -> None:
        """Updates the group's counts of connections in use and waited for with those of this pool."""
        group, pool = self._group, self._pool
        used = len(pool.in_use)
        if used != self._used:
            group.used += used - self._used
            self._used = used
            if group.used > pool.counters.used_max:
                pool.counters.used_max = group.used
        wanted = used - len(pool.holdings.pinged) + len(pool.waiters.waiting)
        if wanted != self._wanted:
            more = wanted > self._wanted
            group.wanted += wanted - self._wanted
            self._wanted = wanted
            if more:
                group.first.upkeep.raise_peak(group.wanted)


def _membership(pool: HTTPConnectionPool) -> Membership:
    watcher = pool.holdings.watcher
    if isinstance(watcher, RecordingWatcher):
        watcher = watcher.inner
    assert isinstance(watcher, Membership)
    return watcher


def _key(name: Name) -> Key:
    return name.key, name.preface, name.at, name.identity


def _has_spare(pool: HTTPConnectionPool) -> bool:
    """Tells whether more stand idle than the floor."""
    return len(pool.idle) > pool.floor


def _is_quiet(pool: HTTPConnectionPool) -> bool:
    """Tells whether the pool has nothing in use, dialled or waited for."""
    return not (pool.in_use or pool.waiters or pool.connecting)
