"""The pools of a server whose connections have names: one pool for each, within the ceilings that the server has for all.

A server line may say `sni req.hdr(host)`, or `pool-conn-name`: then a connection serves only requests of its own name. The
constant pool, which is the server's `pool` for everybody, is that of the one name that is known beforehand, if there is
one; it keeps the floor, and it makes and ends the others, which have none. They count together and learn together, and
keep as many connections as all requests together have used at once of late: a client that asks for ever new names must
not take all that the server has. But each dials for itself: a name that the server refuses must not make the others wait.
It must never know requests.
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

#: Names of one server that have a pool at the same time; for one more, the one that was asked for the longest ago goes.
NAMES = 1000
#: A name that is asked for again within one or two sweeps is one that clients use, and not one of a client's that thinks up new ones:
#: so many of them may keep one connection more each than concurrent use calls for, as long as they are asked for in so many seconds.
KEPT_NAMES, KEPT_FOR = 16, 60.0
#: Seconds between two looks for pools that hold nothing; such a one goes when it was not asked for since the last look.
SWEEP = 10.0


class NameRefused(Exception):
    """Says that nothing can be connected to under this name, and why."""


@frozen
class Name:
    """What a connection and a request must have in common (`key`, `preface`), and the SNI with which one is opened.

    `preface` is a PROXY protocol header, so such connections are one client's.
    """

    key: bytes
    sni: bytes
    preface: bytes = b""


#: By what a pool of another name is found: `Name.key`, `Name.preface`.
Key = tuple[bytes, bytes]
#: What is asked of each request.
Naming = Callable[[Any], Name]


def naming(
    sni: Callable[[Any], bytes | None] | bytes,
    name: Callable[[Any], bytes | None] | None,
    preface: Callable[[Any], bytes] | None = None,
) -> Naming:
    """Returns what tells the name of a request. `sni` is what fetches the SNI, or the constant one; `name` what fetches
    `pool-conn-name`, None: the SNI is the name."""

    def named(facts: Any) -> Name:
        host = sni if isinstance(sni, bytes) else host_name(sni(facts) or b"")
        key = host if name is None else name(facts) or b""
        return Name(key, host, b"" if preface is None else preface(facts))

    return named


def host_name(value: bytes) -> bytes:
    """Returns a host name as it goes into SNI (RFC 6066 section 3): without a port or a final dot; its case does not
    count."""
    host, colon, port = value.rpartition(b":")
    if colon and port.isdigit() and (b":" not in host or host.endswith(b"]")):
        value = host
    return value.strip(b"[]").removesuffix(b".").lower()


class NamedPools:
    """The group of a server's pools, one for each name. `first` is the constant pool; `own` the name that it serves,
    None: none at all; `others` those of the other names, the longest not asked for first; `awake` those that may hold
    anything.

    Over all names so many connections are `used` at once, and `wanted` by requests, those that wait included; of the other
    names `rested` are the idle ones, the longest idle first. `most_idle` may stand idle in all.
    """

    _log = Logger()

    #: Set by the pool itself, as it joins.
    first: HTTPConnectionPool

    def __init__(
        self, arguments: Sequence[Any], own: bytes | None, dialer_for: Callable[[Name], Dialer], clock: IReactorTime
    ) -> None:
        """`arguments` are those of each pool; `dialer_for` gives what connects with a name, or raises NameRefused."""
        self.own = own
        self.most_idle = inf
        self.used = self.wanted = 0
        self.rested: OrderedDict[ServerConnection, None] = OrderedDict()
        #: In the order of their waking: a set's would not be the same in each run.
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
        """Returns the pool of this name. Raises NameRefused."""
        if name.key == self.own and not name.preface:
            return self.first
        key = (name.key, name.preface)
        pool = self.others.pop(key, None)
        if pool is None:
            pool = self._open(key, name)
        self.others[key] = pool  # at the end: it was asked for the last
        if key in self._asked or key in self._asked_before:
            self._again[key] = self.first.deadlines.now()
        self._asked.add(key)
        return pool

    def stop(self) -> None:
        """Forgets no names any more; no timer is left."""
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
        beyond_floor = first.idle[: max(0, len(first.idle) - first.limits.min_conn)]
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
        """Lets the least wanted of all idle connections go if the one that has come to rest is one too many; or that
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
        """How many of the idle ones are as good as in use, since a hasty server may yet end them (see `Holdings.rested`)."""
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
        limits = evolve(first.limits, min_conn=0, max_conn=None if self.most_idle else 0)
        pool = HTTPConnectionPool(title, self._dialer_for(name), limits, *rest, group=self)
        pool.share(first)
        pool.solo = bool(name.preface)
        _membership(pool).key = key
        if first.running == "running":
            pool.resume()
        elif first.running == "closed":
            pool.close("pool closed")
        if len(self.others) >= NAMES:
            oldest = next((key for key, each in self.others.items() if _is_quiet(each)), None)
            if oldest is not None:
                self._forget(oldest, "too many names")
        if first.running != "closed":
            self._sweep.plan(SWEEP)
        return pool

    def _forget_unasked(self) -> Steps[None]:
        """Ends the pools that hold nothing and that nobody has asked for of late."""
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
    """One pool's part in its group, which hears of each move among its holdings after its upkeep has.

    What the group counts of each pool is brought up to date wherever it changes: to add up 1,000 pools for each request would
    take 100 µs. `key` is the pool's name in `NamedPools.others`, None: it is the first.
    """

    key: Key | None = None

    def __init__(self, group: NamedPools, pool: HTTPConnectionPool, upkeep: HoldingsWatcher) -> None:
        self._group = group
        self._pool = pool
        self._upkeep = upkeep
        #: The idle ones of the other names; None: this is the first.
        self._rested = None if pool is group.first else group.rested
        #: What the group counts for this one.
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
        """Counts for the group how many are in use or waited for here: more than before, or fewer."""
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


class ConstantPool(HTTPConnectionPool):
    """The pool that a server has in any case, and by which all of its pools are run: `names` are all of them. What is said to
    this one is said to all."""

    def __init__(
        self, *arguments: Any, own: bytes | None, dialer_for: Callable[[Name], Dialer], clock: IReactorTime
    ) -> None:
        """As any pool; `own` is the name that it serves, None: none at all; `dialer_for` gives what connects with a name, or
        raises NameRefused."""
        self.names = NamedPools(arguments, own, dialer_for, clock)
        super().__init__(*arguments, group=self.names)
        self.names.most_idle, self._most_idle = self._most_idle, inf

    def named(self, name: Name) -> HTTPConnectionPool:
        """Returns the pool of this name. Raises NameRefused."""
        return self.names.named(name)

    def resume(self, rotation: bool = False) -> None:
        super().resume(rotation)
        for pool in self.names.others.values():
            pool.resume()

    def suspend(self, reason: str) -> None:
        for pool in [*self.family]:
            pool.begin_to_suspend(reason)
        self.holdings.backlog.go_on()

    def draining(self, reason: str) -> Iterator[None]:
        self.names.most_idle = 0
        yield from super().draining(reason)
        for pool in [*self.names.others.values()]:
            yield from pool.draining(reason)

    def close(self, reason: str) -> None:
        super().close(reason)
        self.names.stop()
        for pool in [*self.names.others.values()]:
            pool.close(reason)


def _membership(pool: HTTPConnectionPool) -> Membership:
    watcher = pool.holdings.watcher
    assert isinstance(watcher, Membership)
    return watcher


def _is_quiet(pool: HTTPConnectionPool) -> bool:
    """Tells whether nothing of it is in use or waited for."""
    return not (pool.in_use or pool.waiters or pool.connecting)
