"""Keeps one pool for each connection name of a server, within the ceilings that the server has for all.

A `server` line may say `sni req.hdr(host)`, or `pool-conn-name`: then a connection serves only requests of its own
name. The constant pool (`constant`) is the server's `pool` for all other code. It serves the one name that is known
beforehand, if there is one, and keeps the floor; it opens and ends the pools of the other names, which have no floor.
All pools count and learn together, and keep as many connections as all requests together have recently used at once: a
client that asks for ever new names must not take all that the server has. But each pool dials by itself: a name that
the server refuses must not make the others wait. The pools must never know requests.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import islice, takewhile
from math import inf
from operator import attrgetter
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.net.dial import Dialer
from reusedproxy.net.slices import Later, Steps
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.holdings import HoldingsWatcher
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import SURPLUS
from reusedproxy.pool.record.listening import RecordingWatcher

#: Most names of one server that have a pool at the same time; for one more, the least recently asked for goes.
NAMES = 1000
#: A name that is asked for again within one or two sweeps is one that clients use, and not one that a client has
#: invented. Up to KEPT_NAMES such names may keep one connection each beyond what concurrent use calls for, as long as
#: they are asked for every KEPT_FOR seconds.
KEPT_NAMES, KEPT_FOR = 16, 60.0
#: Seconds between two sweeps. A sweep closes pools that hold nothing and were not asked for since the one before.
SWEEP = 10.0


class NameRefused(Exception):
    """Reports that no connection is possible under this name, and why."""


@frozen
class Name:
    """Identifies what a connection and a request must have in common (`key`, `preface`), and the SNI with which
    connections are opened.

    `preface` is a PROXY protocol header; connections that begin with one serve a single client. `at` is the host and
    the port where the server is for this client; host "": its own, None: both are.
    """

    key: bytes
    sni: bytes
    preface: bytes = b""
    at: tuple[str, int] | None = None


#: The key of a pool of another name: `Name.key`, `Name.preface`, `Name.at`.
Key = tuple[bytes, bytes, tuple[str, int] | None]
#: Computes the `Name` of a request.
Naming = Callable[[Any], Name]


def naming(
    sni: Callable[[Any], bytes | None] | bytes,
    name: Callable[[Any], bytes | None] | None,
    preface: Callable[[Any], bytes] | None = None,
    at: Callable[[Any], tuple[str, int]] | None = None,
) -> Naming:
    """Returns a function that computes the `Name` of a request. `sni` fetches the SNI, or is a constant one; `name`
    fetches the value of `pool-conn-name` (None: the SNI is the name); `preface` fetches the PROXY protocol header; `at`
    finds where the server is for the client, or raises NameRefused."""

    def named(facts: Any) -> Name:
        host = sni if isinstance(sni, bytes) else host_name(sni(facts) or b"")
        key = host if name is None else name(facts) or b""
        return Name(key, host, b"" if preface is None else preface(facts), None if at is None else at(facts))

    return named


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
    are the idle connections of the other names, the longest idle first. At most `most_idle` may stand idle in all.
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
        self.rested: OrderedDict[ServerConnection, None] = OrderedDict()
        #: In the order of their waking, because a set's order would differ from run to run.
        self.awake: dict[HTTPConnectionPool, None] = {}
        self.others: dict[Key, HTTPConnectionPool] = {}
        self._arguments = arguments
        self._dialer_for = dialer_for
        self._asked: set[Key] = set()
        self._asked_before: set[Key] = set()
        #: Names that were asked for again, and when last.
        self._again: dict[Key, float] = {}
        self._sweep = Later(clock, self._forget_unasked, self._swept)

    def named(self, name: Name) -> HTTPConnectionPool:
        """Returns the pool of this name, and opens it if need be. Raises NameRefused."""
        if name.key == self.own and not name.preface and name.at is None:
            return self.first
        key = (name.key, name.preface, name.at)
        pool = self.others.pop(key, None)
        if pool is None:
            pool = self._open(key, name)
        self.others[key] = pool  # at the end: it was asked for the last
        if key in self._asked or key in self._asked_before:
            self._again[key] = self.first.deadlines.now()
        self._asked.add(key)
        return pool

    def used_names(self) -> list[Name]:
        """Returns the names that clients use, by which another pool of the server may be warmed."""
        pools = [self.others[key] for key in self._again if key in self.others]
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

    # What the pools ask: see `PoolGroup`.

    @property
    def pools(self) -> Iterator[HTTPConnectionPool]:
        yield self.first
        yield from self.others.values()

    @property
    def counted(self) -> int:
        return sum(pool.standing for pool in self.awake)

    @property
    def known_names(self) -> int:
        return min(len(self._again), KEPT_NAMES)

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
            del self.awake[pool]
        return [*self.awake]

    def longest_idle(self, most: int) -> list[ServerConnection]:
        first = self.first
        beyond_floor = first.idle[: max(0, len(first.idle) - first.floor)]
        return [*islice(merge(beyond_floor, self.rested, key=attrgetter("idle_since")), most)]

    def make_room(self, pool: HTTPConnectionPool) -> None:
        for each in self.awake:
            if each.watched:
                each.make_room_here()
                return
        for connection in self.longest_idle(1):
            connection.pool.retire(connection, "room for another", at_once=True)
            return
        self.first.make_room_here()  # a floor's, when there are no others

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
        surplus = self.used + idle - self.first.upkeep.demand.enough - self.known_names
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
        limits = evolve(first.limits, min_conn=0, adapts=False, max_conn=None if self.most_idle else 0)
        pool = HTTPConnectionPool(
            title, self._dialer_for(name), limits, *rest, group=self, connections=first.connections
        )
        pool.share(first)
        pool.solo = bool(name.preface)
        _membership(pool).key = key
        _membership(pool).name = name
        if first.state == "running":
            pool.resume()
        elif first.state == "closed":
            pool.close("pool closed")
        if len(self.others) >= NAMES:
            oldest = next((key for key, each in self.others.items() if _is_quiet(each)), None)
            if oldest is not None:
                self._forget(oldest, "too many names")
        if first.state != "closed":
            self._sweep.plan(SWEEP)
        return pool

    def _forget_unasked(self) -> Steps[None]:
        """Closes, in steps, the pools that hold nothing and whose names were not asked for since the last sweep."""
        asked, self._asked = self._asked, set()
        self._asked_before = asked
        since = self.first.deadlines.now() - KEPT_FOR
        self._again = {key: at for key, at in self._again.items() if at >= since}
        for key in [key for key in self.others if key not in asked]:
            pool = self.others.get(key)
            if pool is not None and key not in self._asked and not (pool.standing or pool.waiters):
                self._forget(key, "no more asked for")
                yield

    def _swept(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("names that nobody asks for could not be forgotten", failure)
        if self.others:
            self._sweep.plan(SWEEP)

    def _forget(self, key: Key, reason: str) -> None:
        self.others.pop(key).close(reason)


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

    def taken(self, connection: ServerConnection) -> None:
        if self._rested is not None:
            self._rested.pop(connection, None)
        self._upkeep.taken(connection)
        self.count()

    def rested(self, connection: ServerConnection) -> None:
        if self._rested is not None:
            self._rested[connection] = None
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


def _is_quiet(pool: HTTPConnectionPool) -> bool:
    """Tells whether the pool has nothing in use, dialled or waited for."""
    return not (pool.in_use or pool.waiters or pool.connecting)
