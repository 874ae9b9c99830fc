"""Chooses a server for each request of a backend, counts the places that requests take there, and queues requests while
all are full. It must never know clients, nor why a server is in service or not (`backends.backend`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from random import Random
from sys import maxsize
from typing import Any, Generic, Protocol, TypeVar

from reusedproxy.backends.balance import Parts, algorithm_of
from reusedproxy.backends.balance.algorithm import Algorithm, ByHash, ByLoad, Hash, Remembers, TakesTurns
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.checks.observe import UNCONNECTED, Observer
from reusedproxy.backends.coming_up import Course
from reusedproxy.backends.queue import Queue, Rank, Waits
from reusedproxy.backends.server import FULL_WEIGHT, Server
from reusedproxy.backends.slow_start import SlowStart
from reusedproxy.config import model
from reusedproxy.measures.traffic import Traffic
from reusedproxy.wire.heads import ResponseHead

#: Servers at which an idle connection is looked for in place of one that has come up and has none.
_LOOKS = 8

#: The `Backend`, which a reload puts in the place of another.
Successor = TypeVar("Successor", bound="Places[Any]")


class Asker(Protocol):
    """Defines the client connection of a request: `since` is when it was accepted, or its request before had ended."""

    @property
    def since(self) -> float: ...


A_co = TypeVar("A_co", bound=Asker, covariant=True)


class Ended(Generic[A_co]):
    """Holds what is counted of a request that has ended, with an answer or without; the base of requests and of
    sessions of mode tcp. `status` is 0 or less if no answer was sent. Times are the clock's seconds: when its head was
    complete, when a server and when a connection was found, when the answer's head came (0: it did not), and its end.
    `flags` are the letters of the termination state, `answer` is the answer's head, where rules were to see it.

    It is a base class and no Protocol, because compiled code finds the attributes of its own classes without a look-up.
    """

    client: A_co
    server: Server | None
    status: int
    flags: str
    bytes_in: int
    bytes_out: int
    read: float
    placed_at: float
    connected: float
    answered: float
    answer: ResponseHead | None
    ended: float


class Placed(Waits, Protocol):
    """Defines a request that asks a backend for a server."""

    #: It goes to another server than it was meant for.
    redispatched: bool
    #: The server to which it is bound; None: any will do. Cleared when it goes to another.
    binding: Binding | None

    @property
    def priority(self) -> tuple[int, int]:
        """Returns its class, the lowest first, and the milliseconds by which its wait counts later than it came."""

    def placed(self, server: Server) -> None:
        """Takes a place at this server, until `Backend.done` gives it back."""

    def unplaceable(self) -> None:
        """Notes that no server is left; the request waits no more."""

    def crowded_out(self, server: Server) -> None:
        """Notes that it can neither wait at this server, where `maxqueue` others do, nor go to another one."""

    def go_to(self, backend: Any) -> None:
        """Moves the request to the `Backend` that a reload has put in the place of the one where it waited: it is
        placed there, or waits on."""


class Places(Generic[Successor]):
    """Chooses the servers for the requests of one backend; the base of `Backend`.

    Requests that any server may take wait in `queue`; those that are bound to a server wait in its own queue. A free
    place goes to the first of either of the two, as in HAProxy: by their priorities, then to the one that has waited
    longest. Backup servers are used when no other is left: the first of them, or all with `option allbackups`.

    It is a base class, since an object of its own would cost each request two more calls.
    """

    #: For mypyc: what `daemon.reloading.former` drops at the end.
    __deletable__ = (
        "servers", "named", "queue", "slow_starts", "coming_up", "successor", "observers", "_balance", "_by_hash",
        "_by_load", "_active", "_up", "_used", "_held_back", "_freed",
    )  # fmt: skip

    def __init__(
        self,
        settings: model.Backend,
        servers: list[Server],
        now: Callable[[], float],
        hash_of: Hash | None,
        random: Random | None,
        balance: Algorithm | None,
    ) -> None:
        """Takes what `Backend` is given. No server is in use before `use_usable` is called."""
        self.settings = settings
        #: Of these, what each request asks: compiled code looks an attribute of attrs up, and finds its own at once.
        self.http_reuse = settings.http_reuse
        self.prefers_last = settings.prefer_last
        self.name_header = settings.name_header
        self.server_timeout = settings.timeouts.server
        self.name = settings.name
        self.servers = servers
        self.named = {server.name: server for server in servers}
        #: Counts how often a server was added or taken out while the backend runs (`joining`).
        self.roll = 0
        self.queue: Queue[Server, Placed] = Queue()
        #: The load (requests, waiting ones included) at which servers with a `minconn` bear their `maxconn`.
        self.fullconn = settings.fullconn
        self.traffic = Traffic()
        #: How many requests were answered after how many tenths of a millisecond, since `operators.view.rates` looked
        #: last; None: it does not look. A defaultdict.
        self.answered_after: dict[float, int] | None = None
        #: Of the servers with a `slowstart`.
        self.slow_starts: dict[Server, SlowStart] = {}
        #: The servers that have come up, until they are warm; those of a `ComingUp`.
        self.coming_up: dict[Server, Course] = {}
        #: What a reload has put in its place.
        self.successor: Successor | None = None
        #: Those that watch their servers' requests.
        self.observers: dict[Server, Observer] = {}
        self.now = now
        self.changed_at = now()
        #: How often no server was left, and the seconds of it that are over.
        self.downs = 0
        self.downtime = 0.0
        balance = balance or algorithm_of(Parts(settings, servers, hash_of, random or Random()))
        self._balance = balance
        self._by_hash: ByHash | None = balance if isinstance(balance, ByHash) else None
        self._by_load: ByLoad | None = balance if isinstance(balance, ByLoad) else None
        self._active: list[Server] = []
        #: How many servers are usable: those that are no backups, and those that are.
        self._up = 0, 0
        self._used: frozenset[Server] = frozenset()
        #: Of `_active`, those that the algorithm does not choose: they have come up, nothing of them is warm, and
        #: others are ready.
        self._held_back: frozenset[Server] = frozenset()
        #: Where in `_active` one is looked for in place of one that has come up.
        self._look_from = 0
        self._placing = False
        #: While requests are being placed: the servers that have got room since.
        self._freed: list[Server] = []
        self._tickets = count()
        self._ramped = _ramped(servers)
        #: The range of load in which all limits stay as they are: from the first, below the second.
        self._limits_from = self._limits_below = 0

    @property
    def usable(self) -> bool:
        """Tells whether any server can be chosen."""
        return bool(self._active)

    @property
    def usable_servers(self) -> int:
        """Returns how many servers can be chosen: the backup servers do not count while others can."""
        return len(self._active)

    @property
    def free(self) -> int:
        """Returns how many more requests those servers take at once; -1 if one takes any number."""
        free = 0
        for server in self._active:
            if not server.maxconn:
                return -1
            free += max(0, server.maxconn - server.served)
        return free

    def uses(self, server: Server) -> bool:
        """Tells whether requests may be given to this server as a preference of theirs: it is in use, and the algorithm
        does not bind requests to servers itself."""
        return self._by_hash is None and server in self._used

    def forget(self, server: Server) -> None:
        """Drops what the algorithm knows of a server that has been taken out."""
        if isinstance(self._balance, Remembers):
            self._balance.forget(server)

    def take_turns_of(self, previous: Places[Any], heirs: Mapping[Server, Server]) -> None:
        """Has the algorithm go on where that of `previous` is, if it is of the same kind."""
        balance = self._balance
        if isinstance(balance, TakesTurns) and type(balance) is type(previous._balance):
            balance.succeed(previous._balance, heirs)
            self.weigh_anew()

    def choose(self, asks: Placed, avoid: Server | None = None, bound: Server | None = None) -> bool:
        """Finds a server for a request at once, or queues it. Returns False, and does nothing, if there is no
        server at all.

        `bound` is the server to which the request goes, if that can take it at all, whatever the algorithm says; an
        algorithm that hashes something of the request binds it likewise. If that server is full the request waits
        there, unless `maxqueue` others do.
        """
        if self._ramped:
            self._set_limits()
            if self._freed:
                self._place_queued()  # what one more request opens is for those who came before it
        if bound is None and self._by_hash is not None:
            bound = self._by_hash.bound(asks, avoid)
        if bound is not None and bound.serving and bound is not avoid:
            if not bound.full and not bound.queue.waiting:
                self._take(bound)
                asks.placed(bound)
                return True
            if not bound.settings.maxqueue or len(bound.queue) < bound.settings.maxqueue:
                bound.queue.join(asks, self._rank(asks))
                return True
            self._count_redispatch(asks, bound)
        server = self._balance.pick(avoid)
        if self.coming_up:
            server = self._warmer(server, avoid)
        if server is not None:
            # `_take`, without a call for each request.
            server.served += 1
            if self._by_load is not None:
                self._by_load.loaded(server, 1)
            traffic = server.traffic
            traffic.stot += 1
            traffic.scur += 1
            if traffic.scur > traffic.smax:
                traffic.smax = traffic.scur
            asks.placed(server)
            return True
        if not self._active or self.settings.egress:
            return False
        self.queue.join(asks, self._rank(asks))
        return True

    def choose_bound(self, asks: Placed, binding: Binding) -> bool:
        """Places a request at the server to which it is bound, or queues it there; or finds another, as `choose`, where
        that server cannot take it and the binding lets it leave."""
        if self._ramped:
            self._set_limits()
            if self._freed:
                self._place_queued()  # as in `choose`
        server = binding.server
        if server.serving or binding.dials:
            if not server.full and not server.queue.waiting:
                self._take(server)
                asks.placed(server)
                return True
            if not server.settings.maxqueue or len(server.queue) < server.settings.maxqueue:
                server.queue.join(asks, self._rank(asks))
                return True
            if not binding.leaves:
                asks.crowded_out(server)
                return True
        self._unbind(asks, server)
        return self.choose(asks, server)

    def wait(self, asks: Placed) -> None:
        """Queues a request until some server takes it, though there may be none now."""
        self.queue.join(asks, self._rank(asks))

    def redispatches(self, retry: int, binding: Binding | None = None) -> bool:
        """Tells whether this retry (the first is 1) goes to another server.

        As in HAProxy (src/backend.c): a request that is bound to a server leaves it at the interval of `option
        redispatch`, and when the server is out of service. Any other does, with an algorithm that does not bind it by a
        hash, at each retry if another server is up, whatever the interval.
        """
        if binding is not None:
            return binding.leaves and (not binding.server.serving or self.settings.redispatches(retry))
        return self.settings.redispatch != 0 and (
            (len(self._active) > 1 and self._by_hash is None) or self.settings.redispatches(retry)
        )

    def count_retry(self, server: Server, elsewhere: bool) -> None:
        """Counts one more try of a request that `server` has, or, with `elsewhere`, that leaves it. As in HAProxy, that
        is a redispatch only if there is another server to go to, and each try at a server is one of its sessions."""
        what = "wredis" if elsewhere and any(each is not server for each in self._active) else "wretr"
        self.traffic.add(what)
        server.traffic.add(what)
        if not elsewhere:
            server.traffic.stot += 1

    def request_ended(self, ended: Ended[Asker]) -> None:
        """Counts a request that has ended, and gives its place to the one that has waited longest."""
        traffic, server = self.traffic, ended.server
        traffic.scur -= 1
        traffic.bin += ended.bytes_in
        traffic.bout += ended.bytes_out
        status = ended.status
        if status:  # -1: its client is not answered at all
            traffic.hrsp[status // 100 if 0 < status < 600 else 0] += 1
        if server is not None:
            traffic = server.traffic
            traffic.bin += ended.bytes_in
            traffic.bout += ended.bytes_out
            if ended.answered:
                # Sums alone, in place: `measures.times` makes averages of them, now and then, without a call here.
                times, placed, connected = server.times, ended.placed_at, ended.connected
                times.count += 1
                took = placed - ended.read
                times.queue += took
                if took > times.queue_most:
                    times.queue_most = took
                took = connected - placed
                times.connect += took
                if took > times.connect_most:
                    times.connect_most = took
                took = ended.answered - connected
                times.response += took
                if took > times.response_most:
                    times.response_most = took
                took = ended.ended - ended.client.since
                times.total += took
                if took > times.total_most:
                    times.total_most = took
                after = self.answered_after
                if after is not None:
                    # A histogram's `observe` would be two calls for each request; this is none.
                    after[(ended.answered - ended.read) * 10000 // 1] += 1
            elif status >= 500 and self.answered_after is not None:
                # Who has waited for a server that did not answer has waited the longest.
                self.answered_after[(ended.ended - ended.read) * 10000 // 1] += 1
            if server.served == server.maxconn or server.queue.waiting or self.queue.waiting or server.heir is not None:
                self.done(server)
            else:
                server.served -= 1
                if self._by_load is not None:
                    self._by_load.loaded(server, -1)
                traffic.scur -= 1
            if self.observers and server in self.observers:
                self.observers[server].request_ended(ended)

    def connection_failed(self, server: Server) -> None:
        """Notes an attempt that could not connect, which is followed by another."""
        observer = self.observers.get(server)
        if observer is not None:
            observer.failed(UNCONNECTED)

    def done(self, server: Server) -> None:
        """Frees a place at `server`, and gives it to the request that has waited longest. Where a reload has put
        another server there, the place is that one's, too."""
        heir = server.heir
        if heir is not None and self.successor is not None:
            server.served -= 1
            heir.served_before -= 1
            self.successor.done(heir)
            return
        if server.served == server.maxconn:
            server.served -= 1
            self._balance.freed(server)
        else:
            server.served -= 1
        if self._by_load is not None:
            self._by_load.loaded(server, -1)
        server.traffic.scur -= 1
        if server.queue.waiting or self.queue.waiting:
            self._place_queued(server)

    def use_usable(self) -> None:
        """Chooses from now on among the servers that are UP, or the backup servers."""
        usable = [server for server in self.servers if server.usable]
        active = [server for server in usable if not server.backup]
        self._up = len(active), len(usable) - len(active)
        if not active:
            active = usable if self.settings.allbackups else usable[:1]
        if bool(active) != bool(self._active):
            now = self.now()
            if active:
                self.downtime += now - self.changed_at
            else:
                self.downs += 1
            self.changed_at = now
        self._active = active
        self._used = frozenset(active)
        self.weigh_anew()

    def weigh_anew(self) -> None:
        """Has the algorithm look at the servers and their weights again.

        Those that have come up are left out while nothing of them is warm; while their floors do not stand, if the
        algorithm knows all or nothing. But only as long as another server is ready: one of them has to serve.
        """
        active = self._active
        cold = [server for server in active if server.warmth < FULL_WEIGHT]
        if len(cold) == len(active):
            cold = []
        elif self._balance.weighs:
            cold = [server for server in cold if not server.warmth]
        self._held_back = held_back = frozenset(cold)
        self._balance.use([server for server in active if server not in held_back] if held_back else active)

    def _warmer(self, picked: Server | None, avoid: Server | None) -> Server | None:
        """Returns another server with an idle connection, if there is one, in place of one that has come up and has
        none. For a request that is to avoid the only one left it is any that has come up."""
        if picked is None or (picked is avoid and not self._held_back):
            return picked
        if picked is avoid:
            return next((each for each in self._active if each in self._held_back and not each.full), picked)
        course = self.coming_up.get(picked)
        if course is None or picked.pool.idle or picked.naming is not None:
            return picked
        active, begin = self._active, self._look_from
        for at in range(begin, begin + min(_LOOKS, len(active))):
            other = active[at % len(active)]
            if other.pool.idle and other is not avoid and not other.full:
                self._look_from = at + 1
                course.passed_at = self.now()
                picked.pool.upkeep.missed()  # in time it has as many as its share needs
                return other
        return picked

    def _regroup(self, server: Server) -> int:
        """Updates the choice of servers after a change of the state of `server`, and `_requeue`s."""
        self.use_usable()
        return self._requeue(server)

    def _requeue(self, server: Server) -> int:
        """Has those who wait for `server` wait elsewhere, if it takes them no more. Returns how many waiting requests
        have another place to wait for, or none any more (HAProxy's "requeued")."""
        if server.serving:
            waiting = len(self.queue) if server in self._active else 0
            return min(waiting, max(0, server.maxconn - server.served)) if server.maxconn else waiting
        leaving = [asks for asks in server.queue.waiting if asks.binding is None or not asks.binding.waits]
        for asks in leaving:
            self._unbind(asks, server)
        if self._by_hash is not None:
            self._bind_again(self._by_hash, server, leaving)
        self.queue.take_over(server.queue, [asks for asks in leaving if asks.queue is server.queue])
        return len(leaving)

    def _bind_again(self, by_hash: ByHash, server: Server, leaving: list[Placed]) -> None:
        """Moves those that are leaving `server`, which takes them no more, to the servers to which their hashes bind
        them now."""
        moving: dict[Server, list[Placed]] = {}
        for asks in leaving:
            to = by_hash.bound(asks)
            if to is not None:
                moving.setdefault(to, []).append(asks)
        for to, those in moving.items():
            to.queue.take_over(server.queue, those)
            self._freed.append(to)

    def seconds(self, first: Server) -> Iterator[Server]:
        """Returns the servers that can take a copy of a request now that `first` has, without a wait: those with room
        and with a connection that stands idle, the least loaded first, and `first` at last. One that is chosen by a
        hash, or whose connections depend on the request, is the only one."""
        if self._by_hash is None and first.naming is None:
            others = [each for each in self._active if each is not first and each.naming is None and _is_free(each)]
            yield from sorted(others, key=lambda each: each.served / max(1, each.eweight))
        if first.serving and not first.full and not first.queue.waiting:
            yield first

    def take_place(self, server: Server) -> None:
        """Takes a place at a server of `seconds`, until `done` gives it back."""
        self._take(server)

    def _take(self, server: Server) -> None:
        server.served += 1
        if self._by_load is not None:
            self._by_load.loaded(server, 1)
        traffic = server.traffic
        traffic.stot += 1
        traffic.scur += 1
        if traffic.scur > traffic.smax:
            traffic.smax = traffic.scur

    def _rank(self, asks: Placed) -> Rank:
        """Returns the place of a request in the order of those who wait, as in HAProxy: by its class, then by when it
        comes, shifted by its offset."""
        kind, offset = asks.priority
        return kind, self.now() * 1000 + offset, next(self._tickets)

    def _place_queued(self, *freed: Server) -> None:
        """Gives free places to waiting requests: at the servers `freed`, and anywhere to requests that are not bound.

        A placed request may end at once, when the server's pool opens no connections any more, and give its place
        back before this returns. The next one follows here and not within that call, or a long queue would nest
        calls too deep.
        """
        self._freed += freed
        if self._placing or self.successor is not None:
            return
        self._placing = True
        try:
            while (server := self._awaited()) is not None:
                own, shared = server.queue, self.queue
                if not own.waiting or (shared.waiting and shared.first < own.first and server in self._active):
                    own = shared
                asks = own.serve()
                self._take(server)
                asks.placed(server)
        finally:
            self._placing = False

    def _awaited(self) -> Server | None:
        """Returns a server that has room and for which a request waits; None if there is none."""
        if self._ramped:
            self._set_limits()
        while self._freed:
            server = self._freed[-1]
            shared = self.queue.waiting and server in self._active and server not in self._held_back
            if not server.full and (server.queue.waiting or shared):
                return server
            self._freed.pop()
        return self._balance.pick() if self.queue.waiting else None

    def learn_limits(self) -> None:
        """Notes that servers' limits, or states, have been set from outside: ordered, or handed on at a reload."""
        self._ramped = _ramped(self.servers)
        self._limits_from = self._limits_below = 0
        self.use_usable()

    def _set_limits(self) -> None:
        """Sets the limits of servers with a `minconn`, which follow the load in HAProxy's straight line up to
        `fullconn`. In whole numbers that is a stair, so the servers are updated when the load has left its step, and
        not for each request."""
        load, top = self.traffic.scur, self.fullconn
        if self._limits_from <= load < self._limits_below:
            return
        self._limits_from, self._limits_below = 0, maxsize
        for server in self._ramped:
            least, most = server.settings.minconn, server.limit
            was_full = server.full
            server.most = limit = most if load >= top else max(least, most * load // top)
            self._set_limit(server)
            if limit > least:
                self._limits_from = max(self._limits_from, min(top, -(-limit * top // most)))
            if limit < most:
                self._limits_below = min(self._limits_below, min(top, -(-(limit + 1) * top // most)))
            if was_full and not server.full:
                self._balance.freed(server)
                self._freed.append(server)

    def _set_limit(self, server: Server) -> None:
        """Sets the limit of a server from what the load and `slowstart` make of it."""
        slow_start = self.slow_starts.get(server)
        server.maxconn = server.most if slow_start is None else slow_start.limit(server.most)

    def _unbind(self, asks: Placed, server: Server) -> None:
        """Frees a request of its binding to `server`, which cannot take it."""
        asks.binding = None
        self._count_redispatch(asks, server)

    def _count_redispatch(self, asks: Placed, server: Server) -> None:
        """Counts a request that was meant for `server`, which cannot take it."""
        asks.redispatched = True
        self.traffic.add("wredis")
        server.traffic.add("wredis")


def _ramped(servers: list[Server]) -> list[Server]:
    """Returns the servers whose limit follows the load."""
    return [server for server in servers if 0 < server.settings.minconn < server.limit]


def _is_free(server: Server) -> bool:
    """Tells whether a server has room, and a connection that stands idle."""
    return not server.full and not server.queue.waiting and bool(server.pool.idle)
