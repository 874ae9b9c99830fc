"""Keeps one server: its state, its numbers, its queue and its pool. It must never know backends or clients."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

from attrs import evolve

from reusedproxy.backends.queue import Queue
from reusedproxy.config import model
from reusedproxy.config.model.checks import Agent
from reusedproxy.measures.times import Times
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.dial import DialFailure, Target
from reusedproxy.net.names.messages import Service
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.named import NameRefused, Naming
from reusedproxy.pool.pool import HTTPConnectionPool

# The states of a server, in HAProxy's words.
UP: Final = "UP"
DOWN: Final = "DOWN"
DRAIN: Final = "DRAIN"
MAINT: Final = "MAINT"
NOLB: Final = "NOLB"
#: What its operator may order besides DRAIN and MAINT.
READY: Final = "READY"
_SERVING: Final = (UP, DRAIN, NOLB)
#: The effective weight of a unit of weight, in which `slowstart` has its steps; HAProxy's own scale.
FULL_WEIGHT: Final = 16
#: HAProxy's bound for weights.
MOST_WEIGHT: Final = 256


class Relocation(Protocol):
    """Defines who builds what a server needs at another address."""

    def pool_at(self, target: Target) -> HTTPConnectionPool:
        """Returns a new pool for the server's connections to `target`. It begins suspended."""

    def moved(self, target: Target) -> None:
        """Notes that the server's pool is at `target` now: its checks go there, too."""


class Links(Protocol):
    """Defines who has the connections to a server, to what is checked and to its agent as its orders say."""

    @property
    def may_encrypt(self) -> bool:
        """Tells whether its line has settings of TLS for its connections."""

    def pool_of_kind(self) -> HTTPConnectionPool:
        """Returns a new pool whose connections have TLS or not, as `Server.clear` says. It begins suspended."""

    def turned(self) -> None:
        """Notes that the server has that pool now: its checks connect likewise."""

    def aim_checks(self) -> None:
        """Has its health checks go where `Server.check` says."""

    def aim_agent(self) -> None:
        """Has its agent asked where, and what, `Server.agent` says."""


class Server:
    """Keeps the state, the numbers and the queue of a `server` line. `state` decides what it may be given:

    UP      takes requests
    DRAIN   takes only those that are bound to it; its pool and its checks go on
    NOLB    the same, because its checks have found so (`disable-on-404`)
    DOWN    its checks fail: takes none
    MAINT   out of service, or without an address: takes none, and is not checked

    Two independent facts make up the state, in `_made` alone: `admin`, what the operator orders (READY, DRAIN or MAINT;
    at the start MAINT with `disabled`), and `health`, what its checks have found (UP, NOLB or DOWN). So a server in
    DRAIN that falls is DOWN, and when it rises it is in DRAIN again. Without a weight, READY is no more than DRAIN.
    Without an address (`addressed`: its name cannot be resolved) it is in MAINT, whatever else.

    `served` counts the requests that it has been given and that have not ended. `maxconn` (0: none) is their
    current bound: with a `minconn` its backend raises and lowers it (`most`), and `slowstart` lowers it. Requests that
    are bound to the server wait in `queue` when it is full. A server that a reload has put in the place of another one
    at the same address counts those requests, too, which that one still carries.
    """

    #: For mypyc: what `daemon.reloading.former` drops at the end.
    __deletable__ = ("queue", "trackers", "tracked", "relocation", "naming", "former", "heir", "pool", "links")

    def __init__(self, backend: str, settings: model.Server, pool: HTTPConnectionPool, now: float) -> None:
        self.settings = settings
        self.name = settings.name
        self.full_name = f"{backend}/{settings.name}"
        self.pool = pool
        #: Computes the name by which a request's pool is found; None: there is a single pool.
        self.naming: Naming | None = None
        #: Finds where it is for a client, host ("": its own) and port; None: at the same place for all.
        self.place: Callable[[Any], tuple[str, int]] | None = None
        #: The files of TLS among which its requests choose, each behind the word that names it.
        self.chosen_files: tuple[tuple[str, str], ...] = ()
        #: Writes what a new connection says first of its client, in mode tcp (`send-proxy`); None: nothing.
        self.introduces: Callable[[Any], bytes] | None = None
        #: Pools that reloads have put this one in place of, while clients still use them.
        self.former: list[HTTPConnectionPool] = []
        self.weight = settings.weight
        #: Of FULL_WEIGHT, how much of its weight counts: less while it starts slowly.
        self.throttle = FULL_WEIGHT
        #: When it last came back from DOWN, NOLB or MAINT; or, if it came up cold, when its floor stood.
        self.risen_at = -inf
        #: Tells that it takes no more than its share of warm connections when it has come up (set by `coming_up`); and
        #: of FULL_WEIGHT, how much of its weight counts by that, 0 with none.
        self.warms_up = False
        self.warmth = FULL_WEIGHT
        #: Where its nodes begin on the ring of `hash-type consistent` (HAProxy, src/lb_chash.c).
        self.node_seed = settings.id * 256 * FULL_WEIGHT
        #: Where they are, by the algorithm alone; and the seed from which that was computed.
        self.nodes: list[int] = []
        self.nodes_of_seed = -1
        self.backup = settings.backup
        #: The `maxconn` of its line, which an operator may change; what the load makes of that (`minconn`), and what
        #: counts (`slowstart`).
        self.limit = self.most = self.maxconn = settings.maxconn
        #: Its value of the backend's persistence cookie; None: it has none.
        self.cookie: bytes | None = None if settings.cookie is None else settings.cookie.encode()
        self.served = 0
        #: Of `served`, those that servers carry in whose place reloads have put this one; and what stands in the place
        #: of this one, if it is at the same address.
        self.served_before = 0
        self.heir: Server | None = None
        #: Of `places.Placed`: whoever may be placed here knows backends, and a server does not.
        self.queue: Queue[Server, Any] = Queue(self)
        #: When it was last given a request, 0: never.
        self.last_placed = 0.0
        self.traffic = Traffic()
        self.times = Times()
        #: Where its connections go, and went before it moved; None while its name has no address.
        self.target: Target | None = None
        self.was_at: Target | None = None
        self.addressed = True
        #: The SRV record that it stands for.
        self.service: Service | None = None
        #: Builds what it needs at another address; None: it never moves.
        self.relocation: Relocation | None = None
        #: Connects anew what an operator has ordered to be elsewhere; None: it was not built from a line.
        self.links: Links | None = None
        #: An operator has ordered that its connections have no TLS, in spite of its line.
        self.clear = False
        #: What its checks and its agent go by: its line, but for the places, and the question, that were ordered.
        self.check: model.Check | None = settings.check
        self.agent: Agent | None = settings.agent
        #: The address that an operator has ordered in place of the file's; None: none.
        self.ordered: Target | None = None
        #: The name that an operator has ordered in place of the file's; "": none.
        self.ordered_name = ""
        self.admin = MAINT if settings.disabled else READY
        #: The server whose state this one has (`track`), what its operator orders, and who has the state of this one.
        self.tracked: Server | None = None
        self.inherited = READY
        self.trackers: list[Server] = []
        #: Its agent has said that it is down, and is still asked.
        self.agent_down = False
        self.health = self._first_health()
        self.state = self._made()
        self.changed_at = now
        self.downtime = 0.0
        self.downs = 0

    @property
    def host(self) -> str:
        """Returns the name that its address belongs to: its own, or the one in its SRV record."""
        return self.service.host if self.service is not None else self.own_name

    @property
    def own_name(self) -> str:
        """Returns the name whose address name servers are asked for: that of its line, or one that was ordered."""
        return self.ordered_name or self.settings.host

    @property
    def usable(self) -> bool:
        """Tells whether it may be chosen for any request."""
        return self.state == UP

    @property
    def serving(self) -> bool:
        """Tells whether it may be given requests that are bound to it."""
        return self.state in _SERVING

    @property
    def eweight(self) -> int:
        """Returns the effective weight, in 16ths of the units of `weight`. It is not 0 for want of warm connections:
        one of several servers that are all cold has to be chosen."""
        counts = self.throttle
        if self.warmth < counts:
            counts = self.warmth or 1
        return self.weight * counts

    @property
    def share(self) -> int:
        """Returns how much of its weight counts, of FULL_WEIGHT: 0 while it is cold and has come up."""
        return min(self.throttle, self.warmth)

    def pool_for(self, request: Any) -> HTTPConnectionPool | DialFailure:
        """Returns the pool of the name that this request's connection must have (`sni`, `pool-conn-name`)."""
        assert self.naming is not None and isinstance(self.pool, ConstantPool)
        try:
            return self.pool.named(self.naming(request))
        except NameRefused as refused:
            self.pool.names.refuse(refused)
            return DialFailure("TLS handshake", str(refused), final=self.settings.identities is not None)

    @property
    def full(self) -> bool:
        return bool(self.maxconn) and self.served >= self.maxconn

    # What changes its state. `keep_pool` comes next, when everybody knows: those who wait for a connection
    # are told by it.

    def judge(self, health: str, now: float) -> None:
        """Notes that its checks have found it UP or DOWN."""
        self.health = health
        self._settle(now)

    def administer(self, admin: str, now: float) -> None:
        """Sets what the operator orders: READY, DRAIN or MAINT. Out of MAINT a server comes as UP, until a
        check fails, as in HAProxy, unless `init-state` or its agent says otherwise."""
        if self.admin == MAINT:
            self.health = self._first_health()
        self.admin = admin
        self._settle(now)

    @property
    def order(self) -> str:
        """Returns the order that is in force: its own, or that of the server that it tracks."""
        orders = (self.admin, self.inherited)
        return MAINT if MAINT in orders else DRAIN if DRAIN in orders else READY

    def copy_tracked(self, now: float) -> None:
        """Takes over the state of the server that it tracks."""
        assert self.tracked is not None
        self.health, self.inherited = self.tracked.health, self.tracked.order
        self._settle(now)

    def track(self, tracked: Server, now: float) -> None:
        """Has the state of `tracked` from now on."""
        self.tracked = tracked
        tracked.trackers.append(self)
        self.copy_tracked(now)

    def weigh(self, weight: int, now: float) -> None:
        """Sets the weight."""
        self.weight = weight
        self._settle(now)

    def lose_address(self, now: float) -> None:
        """Goes out of service, because its name has no address."""
        self.addressed, self.target = False, None
        self._settle(now)

    def find_address(self, now: float) -> None:
        """Notes that it has an address, to which it has moved. It comes as UP, as out of MAINT."""
        self.addressed = True
        if self.admin != MAINT:
            self.health = self._first_health()
        self._settle(now)

    def move(self, pool: HTTPConnectionPool, target: Target) -> HTTPConnectionPool:
        """Takes another pool, whose connections go to `target`. Returns the one before."""
        self.was_at, self.target = self.target, target
        return self.take(pool)

    def take(self, pool: HTTPConnectionPool) -> HTTPConnectionPool:
        """Takes another pool. Returns the one before."""
        before, self.pool = self.pool, pool
        self.former = [*(each for each in self.former if each.state != "closed"), before]
        return before

    def stand_at(self, target: Target | None, service: Service | None) -> None:
        """Begins at this address, or without one (None)."""
        self.target, self.service = target, service
        self.addressed = target is not None
        self.state = self._made()

    def come_up(self) -> None:
        """Notes that it serves from now on, or is new: with a floor its weight counts as far as that stands."""
        self.warmth = 0 if self.warms_up and self.pool.floor else FULL_WEIGHT

    def restore(self, admin: str, health: str, weight: int, since: float, *, slowly: bool) -> None:
        """Begins in a state that was saved, in which it has been `since` then; `slowly`: that was within its
        `slowstart`."""
        self.admin, self.health, self.weight = admin, health, weight
        if slowly and self.settings.slowstart:
            self.throttle, self.risen_at = 1, since
        self.state = self._made()
        self.changed_at = since

    def succeed(self, previous: Server) -> None:
        """Takes the place of `previous` after a reload. What was ordered holds until the file's own word changes,
        weight and limit no longer than the agent is there that orders them. What checks have found goes on if there are
        checks."""
        agent_gone = previous.settings.agent is not None and self.settings.agent is None
        by_name = self.service is not None and not self.settings.resolution.ignore_weight
        if by_name or (self.settings.weight == previous.settings.weight and not agent_gone):
            self.weight = previous.weight
        same_maxconn = self.settings.maxconn == previous.settings.maxconn and not agent_gone
        if same_maxconn and previous.limit != previous.settings.maxconn:
            self.limit = self.most = self.maxconn = previous.limit
        if self.settings.disabled == previous.settings.disabled:
            self.admin = previous.admin
        if says_same_address(self.settings, previous.settings):
            self.ordered = previous.ordered
        if keeps_name(self.settings, previous):
            self.ordered_name = previous.ordered_name
        self._keep_places(previous)
        self.clear = keeps_clear(self.settings, previous)
        if self.settings.agent is not None and previous.settings.agent is not None:
            self.agent_down = previous.agent_down
        # Without checks, before and now, it was ordered (`set server … health`).
        ordered = self.settings.check is None and previous.settings.check is None and not previous.agent_down
        if (self.settings.check is not None or self.agent_down or ordered) and previous.admin != MAINT:
            self.health = previous.health
        if self.settings.slowstart:
            self.throttle, self.risen_at = previous.throttle, previous.risen_at
        self.state = self._made()
        if self.serving and not previous.serving:
            self.come_up()
        elif self.warms_up:
            self.warmth = previous.warmth

    def _keep_places(self, previous: Server) -> None:
        """Keeps the places of checks and agent that were ordered, and what the agent is asked, as long as the file says
        the same of them."""
        check, said, ordered = self.settings.check, previous.settings.check, previous.check
        if check is not None and said is not None and ordered is not None and _place(check) == _place(said):
            self.check = evolve(check, addr=ordered.addr, port=ordered.port, addr_port=ordered.addr_port)
        agent, asked, sent = self.settings.agent, previous.settings.agent, previous.agent
        if agent is not None and asked is not None and sent is not None:
            self.agent = agent
            if _place(agent) == _place(asked):
                self.agent = evolve(self.agent, addr=sent.addr, port=sent.port)
            if agent.send == asked.send:
                self.agent = evolve(self.agent, send=sent.send)

    def count_on(self, previous: Server, now: float) -> None:
        """Counts on where `previous` does, which counts into the same objects while its last requests end. If it is at
        the same address, the places that they have there are taken here, too."""
        self.traffic, self.times = previous.traffic, previous.times
        self.queue.most = max(self.queue.most, previous.queue.most)
        self.last_placed = previous.last_placed
        self.downs, self.downtime = previous.downs, previous.downtime
        if self.state == previous.state:
            self.changed_at = previous.changed_at
        else:
            self.changed_at = now
            self.downs += self.state == DOWN
            self.downtime += now - previous.changed_at if previous.state == DOWN else 0.0
        if self.target is not None and self.target == previous.target:
            self.served = self.served_before = previous.served
            previous.served -= previous.served_before
            previous.served_before = 0
            previous.heir = self

    def follow(self, successor: Server, now: float) -> None:
        """Takes over the state of `successor`, which a reload has put in its place, while its last requests end."""
        self.admin, self.health, self.weight = successor.order, successor.health, successor.weight
        self.addressed = successor.addressed
        self._settle(now)
        self.throttle, self.warmth = successor.throttle, FULL_WEIGHT

    def _first_health(self) -> str:
        """Returns what is thought of it before its first check."""
        settings = self.settings
        if self.tracked is not None:
            return self.tracked.health
        if self.agent_down:
            return DOWN
        return DOWN if settings.check is not None and settings.init_state in ("down", "fully-down") else UP

    def _settle(self, now: float) -> None:
        state = self._made()
        if state == self.state:
            return
        if self.state == DOWN:
            self.downtime += now - self.changed_at
        if state == DOWN:
            self.downs += 1
        if self.state in (DOWN, NOLB, MAINT) and state in (UP, DRAIN):
            self.risen_at = now
            self.throttle = 1 if self.settings.slowstart else FULL_WEIGHT
        elif state == NOLB:
            self.throttle = FULL_WEIGHT
        if state in (DOWN, MAINT):
            self.warmth = FULL_WEIGHT
        elif self.state in (DOWN, MAINT):
            self.come_up()
        self.state = state
        self.changed_at = now

    def _made(self) -> str:
        order = self.order
        if order == MAINT or not self.addressed:
            return MAINT
        if self.health == DOWN:
            return DOWN
        return DRAIN if order == DRAIN or not self.weight else self.health

    def keep_pool(self) -> None:
        """Fills the pool, or empties it, as the state requires."""
        if self.serving:
            self.pool.resume()
        else:
            self.pool.suspend(f"server {self.state}")


def _place(said: model.Check | Agent) -> tuple[str | None, int | None, int | None]:
    return said.addr, said.port, said.addr_port if isinstance(said, model.Check) else None


def keeps_clear(settings: model.Server, previous: Server) -> bool:
    """Tells whether connections go on without TLS, which the line asks for as before."""
    return previous.clear and settings.tls is not None and previous.settings.tls is not None


def keeps_name(settings: model.Server, previous: Server) -> bool:
    """Tells whether a server goes on to follow a name that an operator has ordered."""
    asked = settings.resolution.resolvers is not None
    return bool(previous.ordered_name) and asked and says_same_address(settings, previous.settings)


def says_same_address(settings: model.Server, before: model.Server) -> bool:
    """Tells whether two lines of a server name the same address, so that one that was ordered stays in force."""
    return (settings.kind, settings.host, settings.port) == (before.kind, before.host, before.port)
