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
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import SURPLUS
from reusedproxy.pool.waiters import Waiter

#: Names of one server that have a pool at the same time; for one more, the one that was asked for the longest ago goes.
NAMES = 1000
#: A name that is asked for again within one or two sweeps is one that clients use, and not one of a client's that thinks up new ones:
#: so many of them may keep one connection more each than concurrent use calls for, as long as they are asked for in so many seconds.
KEPT_NAMES, KEPT_FOR = 16, 60.0
#: Seconds between two looks for pools that hold nothing; such a one goes when it was not asked for since the last look.
SWEEP = 10.0


class NameRefused(Exception):
    """Nothing can be connected to under this name; the message says why."""


@frozen
class Name:
    """What a connection and a request must have in common (`key`, `preface`), and the SNI with which one is opened.

    `preface` is a PROXY protocol header, so such connections are one client's.
    """

    key: bytes
    sni: bytes
    preface: bytes = b""


#: What is asked of each request.
Naming = Callable[[Any], Name]


def naming(
    sni: Callable[[Any], bytes | None] | bytes,
    name: Callable[[Any], bytes | None] | None,
    preface: Callable[[Any], bytes] | None = None,
) -> Naming:
    """`sni` is what fetches it, or the constant one; `name` what fetches `pool-conn-name`, None: the SNI is the name."""

    def named(facts: Any) -> Name:
        host = sni if isinstance(sni, bytes) else host_name(sni(facts) or b"")
        key = host if name is None else name(facts) or b""
        return Name(key, host, b"" if preface is None else preface(facts))

    return named


def host_name(value: bytes) -> bytes:
    """As it goes into SNI (RFC 6066 section 3): without a port or a final dot; its case does not count."""
    host, colon, port = value.rpartition(b":")
    if colon and port.isdigit() and (b":" not in host or host.endswith(b"]")):
        value = host
    return value.strip(b"[]").removesuffix(b".").lower()


class _Member(HTTPConnectionPool):
    """One of a server's pools: its ceilings are those of all of them, and so is what is called for.

    What the constant pool counts of each is brought up to date wherever it changes: to add up 1,000 pools for each request
    would take 100 µs.
    """

    constant: ConstantPool
    #: What the constant pool counts for this one.
    _counted_used = _counted_wanted = 0

    @property
    def first(self) -> HTTPConnectionPool:
        return self.constant

    @property
    def counted(self) -> int:
        return sum(pool.standing for pool in self.constant.awake)

    def make_room(self) -> None:
        for pool in self.constant.awake:
            if pool.watched:
                HTTPConnectionPool.make_room(pool)
                return
        for connection in self.constant.longest_idle(1):
            connection.pool.retire(connection, "room for another", at_once=True)
            return
        HTTPConnectionPool.make_room(self.constant)  # a floor's, when there are no others

    def _place_is_free(self) -> None:
        """Lets somebody have the place who may wait for it under another name."""
        if self.limits.most is not None:
            for pool in [*self.constant.awake]:
                if pool.waiters:
                    pool.upkeep.refill.open_more()

    def _waiting_changed(self) -> None:
        self._count()

    # What the holdings say: the upkeep hears of it, then the server's other pools.

    def taken(self, connection: ServerConnection) -> None:
        self.upkeep.taken(connection)
        self._count()

    def rested(self, connection: ServerConnection) -> None:
        self.upkeep.rested(connection)
        self._count()
        self.constant.let_surplus_go(connection)
        if self.limits.most is not None:
            self._place_is_free()

    def kept_apart(self, connection: ServerConnection) -> None:
        self.upkeep.kept_apart(connection)
        self._count()

    def withdrawn(self, connection: ServerConnection) -> None:
        self.upkeep.withdrawn(connection)

    def gone(self, connection: ServerConnection, was: int) -> None:
        self.upkeep.gone(connection, was)
        self._count()

    def _count(self) -> None:
        """Here are more in use or waited for than before, or fewer."""
        constant = self.constant
        used = len(self.in_use)
        if used != self._counted_used:
            constant.used += used - self._counted_used
            self._counted_used = used
            if constant.used > self.counters.used_max:
                self.counters.used_max = constant.used
        wanted = used - len(self.holdings.pinged) + len(self.waiters.waiting)
        if wanted != self._counted_wanted:
            more = wanted > self._counted_wanted
            constant.wanted += wanted - self._counted_wanted
            self._counted_wanted = wanted
            if more:
                constant.upkeep.raise_peak(constant.wanted)


class ConstantPool(_Member):
    """The pool that a server has in any case, and by which all of its pools are run.

    `family` are all of them, itself first; `awake` those that may hold anything. `own` is the name that it serves, None:
    none at all. Over all names so many are `used` at once, and `wanted` by requests, those that wait included; of the other
    names `rested_others` are the idle ones, the longest idle first.
    """

    _log = Logger()

    def __init__(
        self, *arguments: Any, own: bytes | None, dialer_for: Callable[[Name], Dialer], clock: IReactorTime
    ) -> None:
        """As any pool; `dialer_for` gives what connects with a name, or raises NameRefused."""
        self.constant = self
        self.own = own
        self.used = self.wanted = 0
        self.rested_others: OrderedDict[ServerConnection, None] = OrderedDict()
        #: In the order of their waking: a set's would not be the same in each run.
        self.awake: dict[HTTPConnectionPool, None] = {self: None}
        self._others: dict[tuple[bytes, bytes], _OtherPool] = {}
        self._asked: set[tuple[bytes, bytes]] = set()
        self._asked_before: set[tuple[bytes, bytes]] = set()
        #: Names that were asked for again, and when last.
        self._again: dict[tuple[bytes, bytes], float] = {}
        self._dialer_for = dialer_for
        self._arguments = arguments
        self._sweep = Later(clock, self._forget_unasked, self._swept)
        super().__init__(*arguments)
        self.holdings.watcher = self
        self.most_idle, self._most_idle = self._most_idle, inf

    @property
    def family(self) -> Iterator[HTTPConnectionPool]:
        yield self
        yield from self._others.values()

    def holding(self) -> Sequence[HTTPConnectionPool]:
        for pool in [pool for pool in self.awake if pool is not self and not (pool.standing or pool.waiters)]:
            del self.awake[pool]
        return [*self.awake]

    def longest_idle(self, most: int) -> list[ServerConnection]:
        beyond_floor = self.idle[: max(0, len(self.idle) - self.limits.min_conn)]
        return [*islice(merge(beyond_floor, self.rested_others, key=attrgetter("idle_since")), most)]

    @property
    def known_names(self) -> int:
        return min(len(self._again), KEPT_NAMES)

    def let_surplus_go(self, rested: ServerConnection) -> None:
        """One has come to rest, under whatever name: if that is one too many, the least wanted of them all goes, or it goes
        itself if nobody has asked for its name again."""
        idle = len(self.idle) + len(self.rested_others)
        surplus = self.used + idle - self.upkeep.demand.enough - self.known_names
        if surplus > 0 and surplus > self._restless:
            reason = SURPLUS
            pool = rested.pool
            if isinstance(pool, _OtherPool) and pool.key not in self._again and rested in self.rested_others:
                pool.retire(rested, reason)
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
        haste = self.holdings.guard.haste
        if not haste.hasty:
            return 0
        since = self.deadlines.now() - haste.rest
        of_others = sum(1 for _ in takewhile(lambda each: each.idle_since > since, reversed(self.rested_others)))
        return len(self.idle) - self.holdings.rested + of_others

    @property
    def knows_name(self) -> bool:
        return bool(self.own)

    def named(self, name: Name) -> HTTPConnectionPool:
        """The pool of this name. Raises NameRefused."""
        if name.key == self.own and not name.preface:
            return self
        key = (name.key, name.preface)
        pool = self._others.pop(key, None)
        if pool is None:
            pool = self._new(name)
        self._others[key] = pool  # at the end: it was asked for the last
        if key in self._asked or key in self._asked_before:
            self._again[key] = self.deadlines.now()
        self._asked.add(key)
        return pool

    def _new(self, name: Name) -> _OtherPool:
        pool = _OtherPool(self, self._dialer_for(name), *self._arguments)
        pool.key = name.key, name.preface
        pool.solo = bool(name.preface)
        if self.running == "running":
            pool.resume()
        elif self.running == "closed":
            pool.close("pool closed")
        if len(self._others) >= NAMES:
            oldest = next((name for name, each in self._others.items() if _is_quiet(each)), None)
            if oldest is not None:
                self._forget(oldest, "too many names")
        if self.running != "closed":
            self._sweep.plan(SWEEP)
        return pool

    def _forget_unasked(self) -> Steps[None]:
        """End the pools that hold nothing and that nobody has asked for of late."""
        asked, self._asked = self._asked, set()
        self._asked_before = asked
        since = self.deadlines.now() - KEPT_FOR
        self._again = {key: at for key, at in self._again.items() if at >= since}
        for name in [name for name in self._others if name not in asked]:
            pool = self._others.get(name)
            if pool is not None and name not in self._asked and not (pool.standing or pool.waiters):
                self._forget(name, "no more asked for")
                yield

    def _swept(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("names that nobody asks for could not be forgotten", failure)
        if self._others:
            self._sweep.plan(SWEEP)

    def _forget(self, key: tuple[bytes, bytes], reason: str) -> None:
        self._others.pop(key).close(reason)

    # What is said to one is said to all.

    def resume(self, rotation: bool = False) -> None:
        super().resume(rotation)
        for pool in self._others.values():
            pool.resume()

    def suspend(self, reason: str) -> None:
        for pool in [*self.family]:
            pool.begin_to_suspend(reason)
        self._backlog.go_on()

    def draining(self, reason: str) -> Iterator[None]:
        self.most_idle = 0
        yield from super().draining(reason)
        for pool in [*self._others.values()]:
            yield from pool.draining(reason)

    def close(self, reason: str) -> None:
        super().close(reason)
        self._sweep.stop()
        for pool in [*self._others.values()]:
            pool.close(reason)


class _OtherPool(_Member):
    """The pool of one more name. What is counted and learned is its server's, and the constant pool's."""

    #: What the constant pool has it by.
    key: tuple[bytes, bytes]

    def __init__(self, constant: ConstantPool, dialer: Dialer, name: str, _: Dialer, *arguments: Any) -> None:
        self.constant = constant
        super().__init__(name, dialer, *arguments)
        self.holdings.watcher = self
        self.holdings.count_with(constant.holdings)
        self.limits = evolve(constant.limits, min_conn=0)
        self._most_idle = 0 if 0 in (constant.most_idle, constant.limits.purge_delay) else inf
        self.expires_at = constant.expires_at
        self.ping_request = constant.ping_request
        self.counters, self.closed, self.ended = constant.counters, constant.closed, constant.ended
        self.invalid = constant.invalid
        self.upkeep.share(constant.upkeep)
        self._backlog = constant._backlog

    def wait(self, waiter: Waiter, kind: int = ANY) -> None:
        self.constant.awake[self] = None
        super().wait(waiter, kind)

    def taken(self, connection: ServerConnection) -> None:
        self.constant.rested_others.pop(connection, None)
        super().taken(connection)

    def rested(self, connection: ServerConnection) -> None:
        self.constant.rested_others[connection] = None
        super().rested(connection)

    def withdrawn(self, connection: ServerConnection) -> None:
        self.constant.rested_others.pop(connection, None)
        super().withdrawn(connection)


def _is_quiet(pool: HTTPConnectionPool) -> bool:
    """Nothing of it is in use or waited for."""
    return not (pool.in_use or pool.waiters or pool.connecting)
