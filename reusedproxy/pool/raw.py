"""Keeps connections to a server of `mode tcp`: opened, handshaken and verified ahead, and given to one client each.

What the server says before anybody uses the connection, the greeting of SMTP or MySQL say, is kept with it, for the
client that gets it. A connection that was given away never comes back, so another is opened in its place at once. All
else is as in any pool: the floor, the pace of dials, and what is learnt of a server that closes unused connections. So
it is a pool like any other, of `RawConnection`s, with the limits of `used_once`; `acquire` gives one of them. The pool
must never know what the bytes mean.
"""

from __future__ import annotations

from math import inf
from typing import ClassVar

from attrs import evolve

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net.poller import DATA
from reusedproxy.net.tls.words import CertificateRefused
from reusedproxy.net.transport import Transport, TransportOwner
from reusedproxy.pool.connection import IDLE, ServerConnection
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.owner import ConnectionOwner
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits

#: Bytes that a server may say before its connection is used. Greetings have a line or two; SSH's has some 1.5 KB.
GREETING_MAX = 16 * 1024


class RawConnection(ServerConnection):
    """Holds one connection that carries no requests. Until it is lent, it keeps what the server says (`greeting`);
    afterwards the borrower owns the transport, and gives the connection up in the end."""

    carries_requests: ClassVar[bool] = False

    __slots__ = ("greeting",)

    def __init__(
        self,
        pool: ConnectionOwner[ServerConnection],
        transport: Transport,
        now: float,
        limits: Limits,
        number: int,
        took: float,
    ) -> None:
        self.greeting = b""
        super().__init__(pool, transport, now, limits, number, took)

    def look(self) -> None:
        """Takes note of what has come a moment ago, which may be the server's end."""
        if self.transport.reading:
            self.transport.on_ready(DATA)

    def lend(self, owner: TransportOwner) -> bytes:
        """Gives the transport to `owner`. Returns what the server has said so far."""
        self.requests = 1
        self.transport.owner = owner
        greeting, self.greeting = self.greeting, b""
        return greeting

    def give_up(self, reason: str, *, at_once: bool = True, answered: bool = False) -> None:
        """Takes the transport back from its borrower, and ends the connection. `answered` tells that its server has
        said something, and so has accepted our handshake for sure."""
        self.transport.owner = self
        self._answered = answered
        self.pool.retire(self, reason, at_once=at_once)

    def lost_unused(self, reason: str) -> bool:
        """Ends the connection, whose server has ended it before it said anything to its borrower, or was told anything.
        Returns True if the server has refused our certificate."""
        self.transport.owner = self
        if not isinstance(reason, CertificateRefused):
            self.requests = 0
            self.pool.closed_by_peer(self)
        return self.pool.lost(self, reason)

    # What the transport calls while nobody has it.

    def data_received(self, data: bytes) -> None:
        if self.state != IDLE:
            return  # it is watched, or was just given back: nobody reads it any more
        self.greeting += data
        if len(self.greeting) > GREETING_MAX:
            self.pool.lost(self, "greeting too long")  # as would the next: its server is dialled slowly

    def pause_writing(self) -> None:
        """Does nothing: nothing is written while nobody has it."""

    def resume_writing(self) -> None:
        """Does nothing; see `pause_writing`."""


def used_once(limits: PoolLimits) -> PoolLimits:
    """Returns the limits for a pool of such connections. Each is used once, so a taken one is missing at once
    (`max_reuse`); more than the floor need not stand; and who has one may be silent for as long as the time-outs
    allow."""
    return evolve(
        limits,
        max_conn=limits.max_conn if limits.adapts else limits.min_conn,
        low_conn=0,
        max_reuse=0,
        idle_timeout=None,
        idle_ping=None,
        keep_checks=False,
        overdue_after=inf,
    )


def acquire(pool: HTTPConnectionPool, now: float | None = None) -> RawConnection | None:
    """Returns a connection that stands ready, in use from now on; None: `wait` for one. One whose server has ended it
    meanwhile is none."""
    while pool.idle:
        newest = raw(pool.idle[-1])
        newest.look()
        if newest.state == IDLE:
            taken = pool.acquire(ANY, now)
            return None if taken is None else raw(taken)
    return None


def raw(connection: ServerConnection) -> RawConnection:
    """Returns a connection of such a pool as what it is."""
    assert isinstance(connection, RawConnection)
    return connection
