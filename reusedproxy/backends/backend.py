"""Finds a server for each request of a backend, and queues requests while all are full. It must never know clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from random import Random
from sys import maxsize
from typing import Any, Protocol

from reusedproxy.backends import messages
from reusedproxy.backends.balance import Parts, algorithm_of
from reusedproxy.backends.balance.algorithm import Algorithm, ByHash, ByLoad, Hash
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.observe import UNCONNECTED, Observed, Observer
from reusedproxy.backends.dynamic_cookies import dynamic_cookie
from reusedproxy.backends.queue import Queue, Rank, Waits
from reusedproxy.backends.server import DOWN, MAINT, Server
from reusedproxy.backends.slow_start import SlowStart, Together
from reusedproxy.config import model
from reusedproxy.config.model.persistence import NO_COOKIES, UNSEEN
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.dial import Target
from reusedproxy.net.slices import Steps
from reusedproxy.rules.actions import ErrorPages


class Asker(Protocol):
    """Defines the client connection of a request: `since` is when it was accepted, or its request before had ended."""

    @property
    def since(self) -> float: ...


class Ended(Observed, Protocol):
    """Defines a request that has ended, with an answer or without. `status` is 0 or less if none was sent. Times are
    the clock's seconds: when its head was complete, when a server and when a connection was found, and its end."""

    bytes_in: int
    bytes_out: int
    read: float
    placed_at: float
    connected: float
    ended: float

    @property
    def client(self) -> Asker: ...


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

    def go_to(self, backend: Backend) -> None:
        """Moves the request to `backend`, which a reload has put in the place of the one where it waited: it is placed
        there, or waits on."""


class Group(Protocol):
    """Defines what a backend asks of those who give servers their addresses (`names`)."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def hold(self) -> None: ...
    def release(self) -> None: ...

    @property
    def settled(self) -> bool:
        """Tells whether there was a first answer, and no server is on its way to another address."""

    def look_again(self, server: Server) -> None:
        """Asks at once for the name of `server`, if it is one of the group's: its address does not answer."""


class Backend:
    """Runs a `backend` section: its servers, the algorithm among them, and the queues.

    Requests that any server may take wait in `queue`; those that are bound to a server wait in its own queue. A free
    place goes to the first of either of the two, as in HAProxy: by their priorities, then to the one that has waited
    longest. Backup servers are used when no other is left: the first of them, or all with `option allbackups`.
    """

    #: For mypyc: what `daemon.succession` drops at the end.
    __deletable__ = (
        "servers", "named", "queue", "checkers", "agents", "groups", "slow_starts", "weigh_together", "successor",
        "end_sessions", "tell_tracker", "observers", "_announce", "_balance", "_by_hash", "_by_load", "_active",
        "_used", "_freed", "cookies",
    )  # fmt: skip

    def __init__(
        self,
        settings: model.Backend,
        servers: list[Server],
        now: Callable[[], float],
        announce: Callable[[str, str], None],
        hash_of: Hash | None = None,
        random: Random | None = None,
        balance: Algorithm | None = None,
    ) -> None:
        """Calls `announce(level, text)` with messages for the operator. `hash_of` computes what an algorithm hashes of
        a request. `balance` is the algorithm, if it is made already."""
        self.settings = settings
        self.name = settings.name
        self.servers = servers
        self.named = {server.name: server for server in servers}
        self.queue: Queue[Server, Placed] = Queue()
        #: The load (requests, waiting ones included) at which servers with a `minconn` bear their `maxconn`.
        self.fullconn = settings.fullconn
        self.traffic = Traffic()
        #: How many requests were answered after how many tenths of a millisecond, since `operators.view.rates` looked
        #: last; None: it does not look. A defaultdict.
        self.answered_after: dict[float, int] | None = None
        self.checkers: list[Checker] = []
        self.agents: list[AgentChecker] = []
        #: Those servers whose addresses come from name servers, by name.
        self.groups: list[Group] = []
        #: Of the servers with a `slowstart`.
        self.slow_starts: dict[Server, SlowStart] = {}
        #: Has the algorithm look at their weights again; None: at each step.
        self.weigh_together: Together | None = None
        #: What its requests are answered in place of error pages.
        self.errors: ErrorPages = {}
        #: How names of headers are spelled for servers, by names in lower case; None: as they came.
        self.spelling: Mapping[bytes, bytes] | None = None
        #: What a reload has put in its place.
        self.successor: Backend | None = None
        #: Ends the requests that a server carries, with the letter that says why; set where a server asks for that.
        self.end_sessions: Callable[[Server, str], None] | None = None
        #: Tells the backend of a server that tracks one of these that its state has changed.
        self.tell_tracker: Callable[[Server], None] = self.tracked_changed
        #: Those that watch their servers' requests.
        self.observers: dict[Server, Observer] = {}
        self.now = now
        self.changed_at = now()
        #: How often no server was left, and the seconds of it that are over.
        self.downs = 0
        self.downtime = 0.0
        self._announce = announce
        balance = balance or algorithm_of(Parts(settings, servers, hash_of, random or Random()))
        self._balance = balance
        self._by_hash: ByHash | None = balance if isinstance(balance, ByHash) else None
        self._by_load: ByLoad | None = balance if isinstance(balance, ByLoad) else None
        self._active: list[Server] = []
        self._used: frozenset[Server] = frozenset()
        self._placing = False
        #: While requests are being placed: the servers that have got room since.
        self._freed: list[Server] = []
        self._tickets = count()
        #: The servers with each value of the persistence cookie, in their order.
        self.cookies: dict[bytes, list[Server]] = {}
        self.learn_cookies()
        #: What the log says of the persistence cookie of a request in which none was looked for.
        self.cookie_letters = UNSEEN if settings.cookie is not None and settings.cookie.logged else NO_COOKIES
        self._ramped = _ramped(servers)
        #: The range of load in which all limits stay as they are: from the first, below the second.
        self._limits_from = self._limits_below = 0
        self.use_usable()

    def start(self) -> None:
        """Fills the pools and begins the checks. The pools of serving servers come first, because a request refused by
        another server's pool may come to them."""
        for server in sorted(self.servers, key=lambda each: not each.serving):
            server.keep_pool()
        checkers: list[Checker | AgentChecker] = [*self.checkers, *self.agents]
        for checker in checkers:
            checker.start()
        for group in self.groups:
            group.start()
        for slow_start in self.slow_starts.values():
            slow_start.go_on()

    def stop(self, reason: str) -> None:
        """Ends the checks, asks for no name any more, and closes the pools."""
        for group in self.groups:
            group.stop()
        checkers: list[Checker | AgentChecker] = [*self.checkers, *self.agents]
        for checker in checkers:
            checker.stop()
        self.stop_slow_starts()
        for server in self.servers:
            server.pool.close(reason)

    @property
    def usable(self) -> bool:
        """Tells whether any server can be chosen."""
        return bool(self._active)

    @property
    def usable_servers(self) -> int:
        """Returns how many servers can be chosen: the backup servers do not count while others can."""
        return len(self._active)

    def uses(self, server: Server) -> bool:
        """Tells whether requests may be given to this server as a preference of theirs: it is in use, and the algorithm
        does not bind requests to servers itself."""
        return self._by_hash is None and server in self._used

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
        if not self._active:
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

    def learn_cookies(self) -> None:
        """Notes the servers' cookies, for `cookies`. Those that are made of addresses are made anew."""
        self.cookies = {}
        for server in self.servers:
            self._learn_cookie(server)

    def _learn_cookie(self, server: Server) -> None:
        """Notes the cookie of a server that has no place in `cookies`."""
        cookie, target = self.settings.cookie, server.target
        if cookie is not None and cookie.dynamic and server.settings.cookie is None and target is not None:
            server.cookie = dynamic_cookie(self.settings.dynamic_cookie_key, target.family, target.address)
        if server.cookie:
            self.cookies.setdefault(server.cookie, []).append(server)

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

    def request_ended(self, ended: Ended) -> None:
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

    # States.

    def server_changed(self, server: Server, health: str, reason: str) -> None:
        """Notes that checks have found `server` UP or DOWN."""
        had_any = self.usable
        server.judge(health, self.now())
        self._tell(messages.judged(server, reason, self._left(server)))
        self._go_on(server, had_any)
        for group in self.groups if health == DOWN else ():
            group.look_again(server)
        self._end_sessions(server, health)

    def _end_sessions(self, server: Server, health: str) -> None:
        """Ends the requests that `on-marked-down` and `on-marked-up` say."""
        if self.end_sessions is None:
            return
        if health == DOWN and server.settings.ends_when_down:
            self.end_sessions(server, "D")
        elif server.usable and not server.backup and server.settings.ends_backups_when_up:
            for each in self.servers:
                if each.backup:
                    self.end_sessions(each, "U")

    def tracked_changed(self, server: Server) -> None:
        """Notes that the server has changed which `server` tracks."""
        had_any, was, before, stood = self.usable, server.order, server.health, server.state
        server.copy_tracked(self.now())
        self._tell(messages.followed(server, was, before, stood, self._left(server)))
        self._go_on(server, had_any)
        if server.health != before:
            self._end_sessions(server, server.health)

    def report(self, text: str) -> None:
        """Announces the result of a check (`option log-health-checks`)."""
        self._announce("notice", text)

    def state_text(self, server: Server) -> str:
        """Returns what `http-check send-state` tells a server of itself, in HAProxy's form."""
        judge = next((each.judge for each in self.checkers if each.server is server), None)
        progress = judge.progress if judge is not None and not judge.sure else ""
        return messages.state_text(server, progress, self._active, self.traffic.scur)

    # Addresses (`names.Notes`).

    def hold_addresses(self) -> None:
        """Has servers stay at their addresses until `release_addresses`: a reload is about to take them over."""
        for group in self.groups:
            group.hold()

    def release_addresses(self) -> None:
        for group in self.groups:
            group.release()

    def located(self, server: Server, was: Target | None, by: str) -> None:
        """Notes that `server` has moved from `was` (None: it had no address) to another address, told by `by`."""
        had_any = self.usable
        if self.settings.cookie is not None and self.settings.cookie.dynamic:
            if server.cookie in self.cookies and server in self.cookies[server.cookie]:
                self.cookies[server.cookie].remove(server)
            self._learn_cookie(server)
        self._announce("notice", f"{server.full_name} changed its IP from {_ip(was)} to {_ip(server.target)} by {by}.")
        if not server.addressed:
            server.find_address(self.now())
            for checker in self.checkers:
                if checker.server is server:
                    checker.begin()
            self._regroup(server)
            self._tell(messages.resolved(server))
        elif server.settings.hash_key.startswith("addr"):
            self.use_usable()  # its nodes have moved with it
        self._go_on(server, had_any)

    def unresolved(self, host: str, section: str, cause: str) -> None:
        """Notes that name servers do not know `host`, and none of its servers has an address."""
        text = f"backend {self.name}: '{host}' cannot be resolved by 'resolvers {section}' ({cause}): its servers wait"
        self._announce("warning", text)

    def lost_address(self, server: Server, cause: str) -> None:
        """Notes that `server` has no address any more, and why, in HAProxy's words. Its requests in flight end."""
        had_any, stood = self.usable, server.state
        server.lose_address(self.now())
        self._tell(messages.addressless(server, stood, cause, self._left(server)))
        self._go_on(server, had_any)

    def set_state(self, server: Server, admin: str) -> None:
        """Sets the administrative state of a server: READY, DRAIN or MAINT, as HAProxy's `set server
        <backend>/<server> state`."""
        was, stood = server.admin, server.state
        if admin == was:
            return
        had_any = self.usable
        server.administer(admin, self.now())
        for checker in self.checkers:
            if checker.server is server and was == MAINT:
                checker.begin()
        self._tell(messages.ordered(server, was, stood, self._left(server)))
        self._go_on(server, had_any)

    @property
    def dynamic(self) -> bool:
        """Tells whether a new weight counts at once. `static-rr` and hashes with `hash-type map-based` go by the
        configured ones: only 0, and another one after it, makes a difference."""
        return self._balance.dynamic

    def takes_weight(self, server: Server, weight: int) -> bool:
        """Tells whether a server may be given this weight: any, if the algorithm is `dynamic`, else 0 or its own."""
        return weight in (0, server.settings.weight) or self.dynamic

    def set_weight(self, server: Server, weight: int) -> None:
        """Sets the weight of a server, 0 to 256, and chooses by it from now on, if the algorithm is `dynamic`; without
        one it takes no more than in DRAIN."""
        had_any = self.usable
        server.weigh(weight, self.now())
        self._regroup(server)
        self._go_on(server, had_any)

    def stop_slow_starts(self) -> None:
        """Takes no further step: the backend stops, or another has taken its place."""
        for slow_start in self.slow_starts.values():
            slow_start.stop()
        if self.weigh_together is not None:
            self.weigh_together.stop()

    def weigh_anew(self) -> None:
        """Has the algorithm look at the servers' weights again."""
        self._balance.use(self._active)

    def slow_start_advanced(self, server: Server) -> None:
        """Gives `server` more requests from now on, as its `slowstart` says."""
        was_full = server.full
        self._set_limit(server)
        if self._balance.dynamic and server in self._used:
            if self.weigh_together is None:
                self.weigh_anew()
            else:
                self.weigh_together.ask()
        if was_full and not server.full:
            self._balance.freed(server)
            self._place_queued(server)

    def set_maxconn(self, server: Server, most: int) -> None:
        """Sets the most requests that a server has at once (0: any number), as HAProxy's `set maxconn server`. Those
        that are beyond it end as ever."""
        if most == server.limit:
            return
        server.limit = server.most = most
        server.pool.has_places(most)
        self._set_limit(server)
        self.learn_limits()
        self._place_queued(server)

    def learn_limits(self) -> None:
        """Notes that servers' limits, or states, have been set from outside: ordered, or handed on at a reload."""
        self._ramped = _ramped(self.servers)
        self._limits_from = self._limits_below = 0
        self.use_usable()

    def place_of_retries(self, server: Server) -> Backend:
        """Returns where a request that is at `server` tries again. After a reload that is the backend in the place of
        this one, unless a server there has the same pool: what the old one knows of certificates and addresses does not
        count any more."""
        successor, heir = self.successor, server.heir
        if successor is None or (heir is not None and heir.pool is server.pool):
            return self
        return successor

    def succeed(self, previous: Backend) -> None:
        """Takes the place of `previous` after a reload: counts on where it does, and counts the places that are taken
        at its servers. Their states have been handed on."""
        now = self.now()
        self.traffic = previous.traffic
        self.queue.most = max(self.queue.most, previous.queue.most)
        self.downs, self.downtime = previous.downs, previous.downtime
        if self.usable == previous.usable:
            self.changed_at = previous.changed_at
        else:
            self.changed_at = now
            self.downs += not self.usable
            self.downtime += now - previous.changed_at if self.usable else 0.0
        alike = self.settings.mode == previous.settings.mode
        for server in self.servers:
            before = previous.named.get(server.name)
            if before is None:
                continue
            server.count_on(before, now)
            if not alike:
                before.heir = None  # its connections carry something else, and nobody tells us when they end
                server.served = server.served_before = 0
            if self._by_load is not None and server.served:
                self._by_load.loaded(server, server.served)
            observer, watched = self.observers.get(server), previous.observers.get(before)
            if observer is not None and watched is not None:
                observer.failures, observer.reached = watched.failures, watched.reached

    def clear_counters(self, everything: bool) -> None:
        """Forgets the highest values that were seen; with `everything` also what was counted."""
        self.queue.most = len(self.queue)
        self.traffic.clear(everything)
        for server in self.servers:
            server.queue.most = len(server.queue)
            server.traffic.clear(everything)
            server.times.clear(everything)
            if everything:
                server.downs = 0
        if everything:
            self.downs = 0
            for checker in self.checkers:
                checker.judge.failures = 0
            for observer in self.observers.values():
                observer.reached = 0

    def handing_over(self, successor: Backend) -> Steps[None]:
        """Hands the waiting requests to `successor`, which a reload has put in its place, in the order of arrival.

        In steps, one for each request: 3,000 that find a free server there take 100 ms, and 300 over TLS.

        From the first step on, which only sets `successor`, nobody is given a place here.
        """
        self.successor = successor
        queues: set[Queue[Server, Any]] = {self.queue, *(server.queue for server in self.servers)}
        waiting = {asks: wait.rank for queue in queues for asks, wait in queue.waiting.items()}
        yield
        for asks in sorted(waiting, key=waiting.__getitem__):
            if asks.queue in queues:  # else it has been placed, or moved, or its client has left
                asks.queue.leave(asks)
                asks.go_to(successor)
                yield

    def wait(self, asks: Placed) -> None:
        """Queues a request until some server takes it, though there may be none now."""
        self.queue.join(asks, self._rank(asks))

    def follow(self, server: Server, successor: Server) -> None:
        """Takes over the state of `successor`, which a reload has put in the place of `server`. If that serves
        no more, no request is sent to it, nor waits in its queue. Both have the same pool; `server_replaced`
        must be called after this."""
        server.follow(successor, self.now())
        self._regroup(server)

    def server_replaced(self, server: Server) -> None:
        """Places those who waited for `server`, which has followed another. No server comes back here any more, so
        where none is left, the waiting requests are refused."""
        self._place_queued(server)
        if not self._active:
            for asks in [*self.queue.waiting]:
                self.queue.leave(asks)
                asks.unplaceable()

    def _regroup(self, server: Server) -> int:
        """Updates the choice of servers after a change of the state of `server`. Returns how many waiting requests have
        another place to wait for, or none any more (HAProxy's "requeued")."""
        self.use_usable()
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

    def _go_on(self, server: Server, had_any: bool) -> None:
        """Does what follows from the new state of `server`, once all servers are updated."""
        if had_any and not self._active:
            self._announce("emerg", f"backend {self.name} has no server available!")
        if server in self.slow_starts:
            self.slow_starts[server].go_on()
            self._set_limit(server)
        server.keep_pool()
        self._place_queued(server)
        for tracker in server.trackers:
            self.tell_tracker(tracker)

    def _left(self, server: Server) -> str:
        """Updates the choice of servers after a change of `server`, and says how many are left."""
        requeued = self._regroup(server)
        return messages.left(self.servers, server, requeued)

    def _tell(self, said: Iterable[messages.Message]) -> None:
        for level, text in said:
            self._announce(level, text)

    def use_usable(self) -> None:
        """Chooses from now on among the servers that are UP, or the backup servers."""
        active = [server for server in self.servers if server.usable and not server.backup]
        if not active:
            active = [server for server in self.servers if server.usable]
            if not self.settings.allbackups:
                del active[1:]
        if bool(active) != bool(self._active):
            now = self.now()
            if active:
                self.downtime += now - self.changed_at
            else:
                self.downs += 1
            self.changed_at = now
        self._active = active
        self._used = frozenset(active)
        self._balance.use(active)

    # Places.

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
            if not server.full and (server.queue.waiting or (self.queue.waiting and server in self._active)):
                return server
            self._freed.pop()
        return self._balance.pick() if self.queue.waiting else None

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

    def _unbind(self, asks: Placed, server: Server) -> None:
        """Frees a request of its binding to `server`, which cannot take it."""
        asks.binding = None
        self._count_redispatch(asks, server)

    def _set_limit(self, server: Server) -> None:
        """Sets the limit of a server from what the load and `slowstart` make of it."""
        slow_start = self.slow_starts.get(server)
        server.maxconn = server.most if slow_start is None else slow_start.limit(server.most)

    def _count_redispatch(self, asks: Placed, server: Server) -> None:
        """Counts a request that was meant for `server`, which cannot take it."""
        asks.redispatched = True
        self.traffic.add("wredis")
        server.traffic.add("wredis")


def _ip(target: Target | None) -> str:
    return "(none)" if target is None else str(target.address[0])


def _ramped(servers: list[Server]) -> list[Server]:
    """Returns the servers whose limit follows the load."""
    return [server for server in servers if 0 < server.settings.minconn < server.limit]
