"""The pools of a server whose connections have names: one pool for each, within the ceilings that the server has for all.

A server line may say `sni req.hdr(host)`, or `pool-conn-name`: then a connection serves only requests of its own name. The
constant pool, which is the server's `pool` for everybody, is that of the one name that is known beforehand, if there is
one; it keeps the floor, and it makes and ends the others, which have none. They count together and learn together, but
each dials for itself: a name that the server refuses must not make the others wait. It must never know requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any

from attrs import evolve, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.net.dial import Dial, Dialer, DialFailure
from reusedproxy.servers.connection import ServerConnection
from reusedproxy.servers.pool import HTTPConnectionPool

#: Names of one server that have a pool at the same time; for one more, the one that was asked for the longest ago goes.
NAMES = 1000
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
    """One of a server's pools: its ceilings are those of all of them."""

    constant: ConstantPool

    @property
    def first(self) -> HTTPConnectionPool:
        return self.constant

    @property
    def counted(self) -> int:
        return sum(pool.standing for pool in self.constant.family)

    def make_room(self) -> None:
        for pool in self.constant.family:
            if pool.watched:
                HTTPConnectionPool.make_room(pool)
                return
        idle = [pool for pool in self.constant.family if pool.idle]
        if idle:  # a floor's only when there are no others
            HTTPConnectionPool.make_room(
                min(idle, key=lambda pool: (len(pool.idle) <= pool.limits.min_conn, pool.idle[0].idle_since))
            )

    def connection_gone(self, connection: ServerConnection) -> None:
        super().connection_gone(connection)
        self._give_place()

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        super().dial_failed(dial, failure)
        self._give_place()

    def _give_place(self) -> None:
        """A place at the server is free: somebody may wait for it under another name."""
        if self.limits.most is not None:
            for pool in self.constant.family:
                if pool.waiters:
                    pool.keeper.open_more()

    def _rest(self, connection: ServerConnection) -> None:
        super()._rest(connection)
        most = self.constant.most_idle
        if most != inf and sum(len(pool.idle) for pool in self.constant.family) > most:
            spare = [pool for pool in self.constant.family if len(pool.idle) > pool.limits.min_conn]
            if spare:
                pool = min(spare, key=lambda pool: pool.idle[0].idle_since)
                pool.retire(pool.idle[0], "pool full")
        if self.limits.most is not None:
            self._give_place()


class ConstantPool(_Member):
    """The pool that a server has in any case, and by which all of its pools are run.

    `family` are all of them, itself first. `own` is the name that it serves, None: none at all.
    """

    def __init__(
        self, *arguments: Any, own: bytes | None, dialer_for: Callable[[Name], Dialer], clock: IReactorTime
    ) -> None:
        """As any pool; `dialer_for` gives what connects with a name, or raises NameRefused."""
        self.constant = self
        self.own = own
        self._others: dict[tuple[bytes, bytes], _OtherPool] = {}
        self._asked: set[tuple[bytes, bytes]] = set()
        self._dialer_for = dialer_for
        self._arguments = arguments
        self._clock = clock
        self._sweep_call: IDelayedCall | None = None
        super().__init__(*arguments)
        self.most_idle, self._most_idle = self._most_idle, inf

    @property
    def family(self) -> Iterator[HTTPConnectionPool]:
        yield self
        yield from self._others.values()

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
        self._asked.add(key)
        return pool

    def _new(self, name: Name) -> _OtherPool:
        pool = _OtherPool(self, self._dialer_for(name), *self._arguments)
        pool.solo = bool(name.preface)
        if self.running == "running":
            pool.resume()
        elif self.running == "closed":
            pool.close("pool closed")
        if len(self._others) >= NAMES:
            oldest = next((name for name, each in self._others.items() if _is_quiet(each)), None)
            if oldest is not None:
                self._forget(oldest, "too many names")
        if self._sweep_call is None and self.running != "closed":
            self._sweep_call = self._clock.callLater(SWEEP, self._sweep)
        return pool

    def _sweep(self) -> None:
        """End the pools that hold nothing and that nobody has asked for of late."""
        self._sweep_call = None
        for name in [name for name in self._others if name not in self._asked]:
            if not self._others[name].standing and not self._others[name].waiters:
                self._forget(name, "no more asked for")
        self._asked.clear()
        if self._others:
            self._sweep_call = self._clock.callLater(SWEEP, self._sweep)

    def _forget(self, key: tuple[bytes, bytes], reason: str) -> None:
        self._others.pop(key).close(reason)

    # What is said to one is said to all.

    def resume(self, rotation: bool = False) -> None:
        super().resume(rotation)
        for pool in self._others.values():
            pool.resume()

    def suspend(self, reason: str) -> None:
        super().suspend(reason)
        for pool in [*self._others.values()]:
            pool.suspend(reason)

    def draining(self, reason: str) -> Iterator[None]:
        self.most_idle = 0
        yield from super().draining(reason)
        for pool in [*self._others.values()]:
            yield from pool.draining(reason)

    def close(self, reason: str) -> None:
        super().close(reason)
        if self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None
        for pool in [*self._others.values()]:
            pool.close(reason)


class _OtherPool(_Member):
    """The pool of one more name. What is counted and learned is its server's, and the constant pool's."""

    def __init__(self, constant: ConstantPool, dialer: Dialer, name: str, _: Dialer, *arguments: Any) -> None:
        self.constant = constant
        super().__init__(name, dialer, *arguments)
        self.limits = evolve(constant.limits, min_conn=0)
        self._most_idle = 0 if 0 in (constant.most_idle, constant.limits.purge_delay) else inf
        self.expires_at = constant.expires_at
        self.ping_request = constant.ping_request
        self.counters, self.closed, self.ended = constant.counters, constant.closed, constant.ended
        self.invalid = constant.invalid
        self.keeper.share(constant.keeper)


def _is_quiet(pool: HTTPConnectionPool) -> bool:
    """Nothing of it is in use or waited for."""
    return not (pool.in_use or pool.waiters or pool.connecting)
