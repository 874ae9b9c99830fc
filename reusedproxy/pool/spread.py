"""Spreads the connections of a floor over the nodes behind one address (`pool-spread`).

Behind a balancer of level 4 nothing in the address says which node a connection has come to, and all of a floor may be
at one. The certificate's serial number tells, or a header of an answer, for which each new connection is asked once. As
long as one node has two connections more than another, one that stands idle there is dialled anew; and a few are when
all are even, for there may be nodes that none has come to. It is done by the way in which any connection is replaced at
the end of its life: it goes when another stands. So there is one such dial at a time, and
never less than the floor. A balancer that brings nothing else is given up. It must never know requests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, Protocol

from reusedproxy.config.model.proxies import Spread as Settings
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.pool.connection import IDLE, ServerConnection
from reusedproxy.pool.dialing.governor import Governor
from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.kept import KeptPool
from reusedproxy.pool.learning.nodes import Nodes, even, unevenness
from reusedproxy.wire.heads import ResponseHead

#: Seconds between two dials; twice as long after each that has gained nothing, up to the second number.
EVERY, EVERY_MOST = 1.0, 30.0
#: Dials in a row that have gained nothing after which it is given up, for one node and more for each other: where they
#: land by chance, so many are vain in one case of a hundred at most. And seconds until it is tried again.
VAIN: Final = 8
VAIN_BY_NODE: Final = 4
AGAIN: Final = 1800.0
#: Connections that are asked at the same time, of those that stand idle.
ASKED_AT_ONCE: Final = 4
#: More nodes than these are none: the header differs with each answer.
MOST: Final = 64
#: Differences below this are rounding.
CLOSE: Final = 1e-6
#: Characters of a node's name.
NAME: Final = 40


class Ways(Protocol):
    """Defines what is done with a connection for the sake of its node; see `Upkeep`."""

    def replace(self, connection: ServerConnection) -> None:
        """Has an idle connection leave when another stands in its place."""

    def ask(self, connection: ServerConnection, told: Callable[[ResponseHead | None], None]) -> bool:
        """Sends the request of a ping on an idle connection, and gives the head of the answer to `told` (None: there is
        none). Returns False, and does nothing, if the server ends connections for that."""


class Spread:
    """Spreads one pool's connections. `state` is one of these:

    "watching"   nothing is to be done, or nothing can be done now
    "moving"     `moving` is to be replaced, or has just been
    "given up"   the last dials have gained nothing: until `AGAIN` seconds have passed, or there is another node
    "blind"      for good, or until something else is asked: the header, or the certificate, does not name a node
    """

    def __init__(
        self,
        settings: Settings,
        pool: KeptPool,
        holdings: Holdings,
        governor: Governor,
        ways: Ways,
        now: Callable[[], float],
        say: Callable[[str], None],
        serial_of: Callable[[ServerConnection], str] | None = None,
    ) -> None:
        """Calls `say(text)` when it gives up, for an operator to read. `serial_of` returns the serial number of the
        certificate that a connection's server has shown."""
        self.state = "watching"
        self.nodes = Nodes()
        self.moving: ServerConnection | None = None
        #: Dials for this since the start, and those of them in a row that have gained nothing.
        self.dials = 0
        self.vain = 0
        self._header = settings.header.encode("ascii")
        self._pool = pool
        self._held = holdings
        self._governor = governor
        self._ways = ways
        self._now = now
        self._say = say
        self._serial_of = serial_of or shown_serial
        #: Connections that were asked, and have not said, or do not say, where they are.
        self._asked: set[ServerConnection] = set()
        self._next = -inf
        #: The request whose answers name no node.
        self._blind_with = b""
        #: When the last dial was begun; and, since it was tried anew, how even all were at best, and at how many nodes.
        self._began = 0.0
        self._best = inf
        self._nodes = 0
        #: The last dial was begun when all were even, to find another node; how many in a row have found none; and the
        #: nodes beyond which enough of them have.
        self._exploring = False
        self._blank = 0
        self._explored: frozenset[str] = frozenset()
        self._given_up_at = -inf
        self._known: frozenset[str] = frozenset()

    @property
    def by(self) -> str:
        """Returns in words by what nodes are told apart."""
        return f"header {self._header.decode('ascii')}" if self._header else "certificate"

    # What happens to connections.

    def born(self, connection: ServerConnection) -> None:
        """Notes a new connection."""
        if self._header or not self._pool.floor or self.state == "blind":
            return
        if serial := self._serial_of(connection):
            self._place(connection, serial)

    def gone(self, connection: ServerConnection) -> None:
        """Forgets a connection that has left the pool."""
        self.nodes.leave(connection, self._now())
        self._asked.discard(connection)

    def _place(self, connection: ServerConnection, node: str) -> None:
        self.nodes.place(connection, node, self._now())
        if len(self.nodes.seen) > MOST:
            self._give_up_for_good(f"{self.by} has had more than {MOST} values, so it names no node: nothing is spread")

    def _told(self, connection: ServerConnection, head: ResponseHead | None) -> None:
        """Takes the answer of one that was asked where it is."""
        if head is None or connection not in self._asked or self.state == "blind":
            return
        values = [value for each in head.values(self._header) if (value := printable(each))]
        if values:
            self._asked.discard(connection)
            self._place(connection, values[0])
        else:
            self._give_up_for_good(
                f"the server's answer with status {head.status} has no {self.by}, so it tells no node:"
                " name another header, or say with 'option httpchk' which request is answered with it"
            )

    def _give_up_for_good(self, why: str) -> None:
        self.state, self._blind_with = "blind", self._pool.ping_request
        self.nodes = Nodes()
        self._say(f"pool-spread: {why}")

    # Once in a while.

    def look(self) -> None:
        """Does what can be done now: asks connections where they are, judges the last dial, and begins another."""
        if self.state == "blind" and self._header and self._pool.ping_request != self._blind_with:
            self.state = "watching"
            self._asked.clear()
        if self.state == "blind" or not self._pool.floor or self._pool.state != "running":
            return
        self._ask()
        now = self._now()
        if not self._quiet():
            return
        counts = self.nodes.counts(now)
        if self.state == "moving":
            self._judge(now, counts)
        if self.state == "given up" and self._may_try_again(now, counts):
            self.state, self.vain = "watching", 0
        if self.state == "watching" and now >= self._next and (not even(counts) or self._may_be_more(counts)):
            self._dial_anew(now, counts)

    def _ask(self) -> None:
        """Asks some of the idle connections of which it is not known where they are; never the last idle one."""
        if not self._header:
            return
        idle = self._held.idle
        unknown = [each for each in idle if self.nodes.of(each) is None and each not in self._asked]
        for connection in unknown[: min(ASKED_AT_ONCE, len(idle) - 1)]:
            if connection.state != IDLE:
                continue
            self._asked.add(connection)
            if not self._ways.ask(connection, partial(self._told, connection)):
                self._give_up_for_good("the server closes a connection that is asked where it is: nothing is spread")
                return

    def _quiet(self) -> bool:
        """Tells whether the floor stands, nobody opens or replaces anything, and it is known where all are."""
        held = self._held
        idle = (
            not (held.due or held.connecting or held.pinged or self._pool.waiters or self._governor.failures)
            and not self._pool.below_floor
        )
        return idle and all(self.nodes.of(each) is not None for each in held.idle)

    def _may_try_again(self, now: float, counts: dict[str, int]) -> bool:
        return even(counts) or now - self._given_up_at >= AGAIN or not self._known >= counts.keys()

    def _may_be_more(self, counts: dict[str, int]) -> bool:
        """Tells whether there may be nodes that no connection has come to: there are more connections than nodes, and
        it was not tried long enough since the last one was found."""
        return len(counts) < sum(counts.values()) and not self._explored >= counts.keys()

    def _dial_anew(self, now: float, counts: dict[str, int]) -> None:
        """Has the longest idle connection at the node that has the most replaced; among equals any will do."""
        idle = {node: each for each in reversed(self._held.idle) if (node := self.nodes.of(each)) is not None}
        node = max(idle, key=counts.__getitem__, default=None)
        exploring = even(counts)
        if node is None or (not exploring and len(counts) > 1 and counts[node] - min(counts.values()) < 2):
            return
        self.state, self.moving = "moving", idle[node]
        self._began, self._exploring = now, exploring
        self.dials += 1
        if not self.vain:
            self._best, self._nodes = unevenness(counts), len(counts)
        self._ways.replace(idle[node])

    def _judge(self, now: float, counts: dict[str, int]) -> None:
        """Finds out whether the last dial has gained anything: it is vain unless it has found another node, or all are
        more evenly spread than ever."""
        self.state, self.moving = "watching", None
        uneven, enough = unevenness(counts), VAIN + VAIN_BY_NODE * (len(counts) - 1)
        if len(counts) > self._nodes:
            self.vain = self._blank = 0
        elif self._exploring:
            self._blank += 1
            if self._blank >= enough:
                self._explored, self._blank = frozenset(counts), 0
        elif uneven < self._best - CLOSE:
            self.vain = 0
        else:
            self.vain += 1
        self._best, self._nodes = min(uneven, self._best) if self.vain else uneven, len(counts)
        self._next = self._began + min(EVERY * 2 ** (self._blank if self._exploring else self.vain), EVERY_MOST)
        if self.vain >= enough and not even(counts):
            self.state, self._given_up_at, self._known = "given up", now, frozenset(counts)
            self._say(f"pool-spread: {self._why(counts)}")

    def _why(self, counts: dict[str, int]) -> str:
        if len(counts) < 2:
            also = (
                "" if self._header else ", or all nodes have one certificate: 'pool-spread hdr(NAME)' asks for another"
            )
            return (
                f"{self.vain} new connections in a row have come to one node by {self.by}: there is no other, or the"
                f" balancer brings all from here to it{also}"
            )
        spread = ", ".join(f"{count} at {node}" for node, count in counts.items())
        return (
            f"{self.vain} new connections in a row have not come to the nodes that have few (by {self.by}: {spread}):"
            f" the balancer does not spread them; the next is tried in {AGAIN / 60:g} min"
        )


def shown_serial(connection: ServerConnection) -> str:
    """Returns the serial number of the certificate that the server has shown; "" without one."""
    transport = connection.transport
    return transport.serial if isinstance(transport, ClientTLSTransport) else ""


def printable(value: bytes) -> str:
    """Returns a header's value as a node's name."""
    return "".join(each if each.isprintable() else "?" for each in value.decode("latin-1").strip()[:NAME])
