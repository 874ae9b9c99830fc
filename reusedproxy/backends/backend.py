"""Runs a `backend` section: which of its servers are in service, by checks, orders, name servers and reloads.

What a request asks of it is in `backends.places`. It must never know clients.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from random import Random
from typing import Any, Final, Protocol

from reusedproxy.backends import messages
from reusedproxy.backends.at_once import Follow, Gathered
from reusedproxy.backends.balance.algorithm import Algorithm, Hash
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.coming_up import ComingUp
from reusedproxy.backends.dynamic_cookies import dynamic_cookie
from reusedproxy.backends.hedging import Hedging
from reusedproxy.backends.names import target_of
from reusedproxy.backends.ordered import OrderedAddresses
from reusedproxy.backends.places import Places
from reusedproxy.backends.queue import Queue
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, MOST_WEIGHT, Server
from reusedproxy.backends.slow_start import Together
from reusedproxy.backends.standby import Standby
from reusedproxy.config import model
from reusedproxy.config.language.addresses import is_host_name
from reusedproxy.config.model.persistence import NO_COOKIES, UNSEEN
from reusedproxy.net.dial import Target
from reusedproxy.net.names.messages import plain
from reusedproxy.net.slices import Steps
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.rules.actions import ErrorPages

# What becomes of the names of its servers: they are not asked for yet, or followed, or a reload has servers stay.
NOT_ASKED: Final = "not asked"
FOLLOWED: Final = "followed"
HELD: Final = "held"


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


class Backend(Places["Backend"]):
    """Runs a `backend` section.

    Whatever changes a server's state changes the server first, then the choice of servers (`_then`, `_regroup`), and
    last calls others (`_go_on`): they may call back. The choice looks at all servers: where many are ordered to change,
    it is made once for all of them (`at_once`).
    """

    #: For mypyc: what `daemon.reloading.former` drops at the end.
    __deletable__ = (
        "checkers", "agents", "addresses", "groups", "make_groups", "weigh_together", "comings", "standbys",
        "end_sessions", "tell_tracker", "cookies", "gathered", "_announce",
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
        super().__init__(settings, servers, now, hash_of, random, balance)
        self.checkers: list[Checker] = []
        self.agents: list[AgentChecker] = []
        #: Those servers whose addresses come from name servers, by name.
        self.groups: list[Group] = []
        #: Makes the groups of the names that servers have.
        self.make_groups: Callable[[], list[Group]] = no_groups
        self.names_are = NOT_ASKED
        #: Takes the orders of operators; one of the groups.
        self.addresses: OrderedAddresses | None = None
        #: Has the algorithm look at the weights of servers with a `slowstart` again; None: at each step.
        self.weigh_together: Together | None = None
        #: Follows servers that have come up until they are warm; None: nobody does, and their weights count at once.
        self.comings: ComingUp | None = None
        #: Those whose floors depend on the servers of this backend, or are of these.
        self.standbys: list[Standby] = []
        #: What its requests are answered in place of error pages.
        self.errors: ErrorPages = {}
        #: How names of headers are spelled for servers, by names in lower case; None: as they came.
        self.spelling: Mapping[bytes, bytes] | None = None
        #: Ends the requests that a server carries, with the letter that says why; set where a server asks for that.
        self.end_sessions: Callable[[Server, str], None] | None = None
        #: Tells the backend of a server that tracks one of these that its state has changed.
        self.tell_tracker: Callable[[Server], None] = self.tracked_changed
        #: Says which requests may be sent a second time (`hedge`); None: none.
        self.hedging: Hedging | None = None
        self._announce = announce
        #: Changes that are to count at once; None: each counts when it is made.
        self.gathered: Gathered | None = None
        #: The servers with each value of the persistence cookie, in their order.
        self.cookies: dict[bytes, list[Server]] = {}
        #: Tells that servers without a cookie of their own get one that is made of their address with this key.
        self.makes_cookies = settings.cookie is not None and settings.cookie.dynamic
        self.cookie_key = settings.dynamic_cookie_key
        self.learn_cookies()
        #: What the log says of the persistence cookie of a request in which none was looked for.
        self.cookie_letters = UNSEEN if settings.cookie is not None and settings.cookie.logged else NO_COOKIES
        self.use_usable()

    def start(self) -> None:
        """Fills the pools and begins the checks. The pools of serving servers come first, because a request refused by
        another server's pool may come to them."""
        self.look_at_standbys()
        for server in sorted(self.servers, key=lambda each: not each.serving):
            if server.settings.standby is None and not server.pool.limits.adapts:
                server.pool.keep(server.pool.limits.min_conn)  # it may have stood by before a reload
            server.keep_pool()
            if self.comings is not None:
                self.comings.follow(server)
        checkers: list[Checker | AgentChecker] = [*self.checkers, *self.agents]
        for checker in checkers:
            checker.start()
        self.names_are = FOLLOWED
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
        self.stop_timers()
        if self.hedging is not None:
            self.hedging.stop()
            self.hedging.let_losers_go()
        for server in self.servers:
            server.pool.close(reason)

    # Checks and their findings.

    def server_changed(self, server: Server, health: str, reason: str) -> None:
        """Notes that checks have found `server` UP or DOWN."""
        stood = server.state
        server.judge(health, self.now())

        def follow(had_any: bool) -> None:
            self._tell(messages.judged(server, reason, self._left(server)))
            self._go_on(server, had_any)
            for group in self.groups if health == DOWN else ():
                group.look_again(server)
            self._end_sessions(server, stood)

        self._then(server, follow)

    def tracked_changed(self, server: Server) -> None:
        """Notes that the server has changed which `server` tracks."""
        was, before, stood = server.order, server.health, server.state
        server.copy_tracked(self.now())

        def follow(had_any: bool) -> None:
            self._tell(messages.followed(server, was, before, stood, self._left(server)))
            self._go_on(server, had_any)
            self._end_sessions(server, stood)

        self._then(server, follow)

    def _end_sessions(self, server: Server, stood: str) -> None:
        """Ends the requests that `on-marked-down` and `on-marked-up` say when a server, whose state was `stood`, goes
        out of service, by its checks, an order or without an address, or comes back, but out of DRAIN."""
        if self.end_sessions is None or server.state == stood:
            return
        if not server.serving:
            if stood not in (DOWN, MAINT) and server.settings.ends_when_down:
                self.end_sessions(server, "D")
        elif server.usable and stood != DRAIN and not server.backup and server.settings.ends_backups_when_up:
            for each in self.servers:
                if each.backup:
                    self.end_sessions(each, "U")

    def report(self, text: str) -> None:
        """Announces a result of a check (`option log-health-checks`), or why requests are refused (`option egress`)."""
        self._announce("notice", text)

    def state_text(self, server: Server) -> str:
        """Returns what `http-check send-state` tells a server of itself, in HAProxy's form."""
        judge = next((each.judge for each in self.checkers if each.server is server), None)
        progress = judge.progress if judge is not None and not judge.sure else ""
        return messages.state_text(server, progress, self._active, self.traffic.scur)

    # What operators order.

    def set_state(self, server: Server, admin: str) -> None:
        """Sets the administrative state of a server: READY, DRAIN or MAINT, as HAProxy's `set server
        <backend>/<server> state`."""
        was, stood = server.admin, server.state
        if admin == was:
            return
        server.administer(admin, self.now())
        for checker in self.checkers if was == MAINT else ():
            if checker.server is server:
                checker.begin()

        def follow(had_any: bool) -> None:
            self._tell(messages.ordered(server, was, stood, self._left(server)))
            self._go_on(server, had_any)
            self._end_sessions(server, stood)

        self._then(server, follow)

    @property
    def dynamic(self) -> bool:
        """Tells whether a new weight counts at once. `static-rr` and hashes with `hash-type map-based` go by the
        configured ones: only 0, and another one after it, makes a difference."""
        return self._balance.dynamic

    def takes_weight(self, server: Server, weight: int) -> bool:
        """Tells whether a server may be given this weight: any, if the algorithm is `dynamic`, else 0 or its own."""
        return weight in self.weights_for(server)

    def weights_for(self, server: Server) -> Container[int]:
        """Returns the weights that a server may be given (`takes_weight`)."""
        return range(MOST_WEIGHT + 1) if self.dynamic else (0, server.settings.weight)

    def set_weight(self, server: Server, weight: int) -> None:
        """Sets the weight of a server, 0 to 256, and chooses by it from now on, if the algorithm is `dynamic`; without
        one it takes no more than in DRAIN."""
        server.weigh(weight, self.now())

        def follow(had_any: bool) -> None:
            self._requeue(server)
            self._go_on(server, had_any)

        self._then(server, follow)

    def set_maxconn(self, server: Server, most: int) -> None:
        """Sets the most requests that a server has at once (0: any number), as HAProxy's `set maxconn server`. Those
        that are beyond it end as ever."""
        if most == server.limit:
            return
        server.limit = server.most = most
        server.pool.has_places(most)
        self._set_limit(server)
        if self.gathered is None:
            self.learn_limits()
            self._place_queued(server)
        else:
            self.gathered.follows.append(lambda _: self._place_queued(server))

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

    # Addresses (`names.Notes`).

    def hold_addresses(self) -> None:
        """Has servers stay at their addresses until `release_addresses`: a reload is about to take them over."""
        self.names_are = HELD
        for group in self.groups:
            group.hold()

    def release_addresses(self) -> None:
        self.names_are = FOLLOWED
        for group in self.groups:
            group.release()

    def located(self, server: Server, was: Target | None, by: str) -> None:
        """Notes that `server` has moved from `was` (None: it had no address) to another address, told by `by`."""
        had_any, stood = self.usable, server.state
        if self.makes_cookies:
            if server.cookie in self.cookies and server in self.cookies[server.cookie]:
                self.cookies[server.cookie].remove(server)
            self._learn_cookie(server)
        what, before, now = "IP", _ip(was), _ip(server.target)
        if before == now and was is not None and server.target is not None:
            what, before, now = "port", str(was.address[1]), str(server.target.address[1])
        self._announce("notice", f"{server.full_name} changed its {what} from {before} to {now} by {by}.")
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
        if self.gathered is not None:
            self._tell_trackers(server)
        self._end_sessions(server, stood)

    def order_address(self, server: Server, target: Target, by: str) -> None:
        """Has a server go to this address, as HAProxy's `set server <backend>/<server> addr`: when connections stand
        there."""
        if self.addresses is not None:
            self.addresses.order(server, target, by)

    def take_pool(self, server: Server, pool: HTTPConnectionPool) -> HTTPConnectionPool:
        """Has a server's requests go over another pool from now on, which fills as that of a server that comes up.
        Returns the one before."""
        pool.resume(rotation=server.serving)
        before = server.take(pool)
        if server.serving:
            server.come_up()

        def follow(had_any: bool) -> None:
            self._requeue(server)
            self._go_on(server, had_any)

        self._then(server, follow)
        return before

    def order_name(self, server: Server, name: str, by: str) -> None:
        """Has a server follow another name, as HAProxy's `set server <backend>/<server> fqdn`. It stays where it is
        until name servers have told an address of that name. Where `name` is the address of its line, it goes back
        there."""
        settings = server.settings
        server.ordered, server.ordered_name = None, "" if plain(name) == plain(settings.host) else name
        if self.addresses is not None:
            self.addresses.forget(server)
        self.follow_names()
        if not server.ordered_name and not is_host_name(settings.host):
            self.order_address(server, target_of(settings.host, settings.port or 0), by)

    def follow_names(self) -> None:
        """Has servers follow the names that they have now. Those with the same one share its addresses out."""
        if self.gathered is not None:
            self.gathered.renamed = True
            return
        own: list[Group] = [] if self.addresses is None else [self.addresses]
        before = [group for group in self.groups if group is not self.addresses]
        made = self.make_groups()
        self.groups = made + own
        if self.names_are == NOT_ASKED:
            return
        for group in made:  # before the others leave: what is known of a name is kept
            if self.names_are == HELD:
                group.hold()
            group.start()
        for group in before:
            group.stop()

    def unresolved(self, host: str, section: str, cause: str) -> None:
        """Notes that name servers do not know `host`, and none of its servers has an address."""
        text = f"backend {self.name}: '{host}' cannot be resolved by 'resolvers {section}' ({cause}): its servers wait"
        self._announce("warning", text)

    def lost_address(self, server: Server, cause: str) -> None:
        """Notes that `server` has no address any more, and why, in HAProxy's words. Its requests in flight end as
        ever, or now (`on-marked-down`)."""
        stood = server.state
        server.lose_address(self.now())

        def follow(had_any: bool) -> None:
            self._tell(messages.addressless(server, stood, cause, self._left(server)))
            self._go_on(server, had_any)
            self._end_sessions(server, stood)

        self._then(server, follow)

    # Cookies.

    def learn_cookies(self) -> None:
        """Notes the servers' cookies, for `cookies`. Those that are made of addresses are made anew."""
        self.cookies = {}
        for server in self.servers:
            self._learn_cookie(server)

    def make_cookies(self, makes: bool, key: str) -> None:
        """Has servers without a cookie of their own have one that is made with this key, or none, until the next
        reload, as HAProxy's `enable|disable dynamic-cookie` and `set dynamic-cookie-key`. Clients with one of before
        get another server."""
        self.makes_cookies = makes and self.settings.cookie is not None
        self.cookie_key = key
        for server in self.servers:
            if server.settings.cookie is None:
                server.cookie = None
        self.learn_cookies()

    def _learn_cookie(self, server: Server) -> None:
        """Notes the cookie of a server that has no place in `cookies`."""
        target = server.target
        if self.makes_cookies and server.settings.cookie is None and target is not None:
            server.cookie = dynamic_cookie(self.cookie_key, target.family, target.address)
        if server.cookie:
            self.cookies.setdefault(server.cookie, []).append(server)

    # `slowstart`.

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

    def stop_timers(self) -> None:
        """Takes no further step in raising weights and floors: the backend stops, or another has taken its place."""
        for slow_start in self.slow_starts.values():
            slow_start.stop()
        if self.weigh_together is not None:
            self.weigh_together.stop()
        if self.comings is not None:
            self.comings.stop()
        for standby in self.standbys:
            standby.stop()

    def warmed(self, ready: list[Server]) -> None:
        """Notes that other parts of servers' weights count than before, because their floors fill. Those of `ready`
        stand: their `slowstart` begins."""
        for server in ready:
            if server in self.slow_starts:
                server.risen_at = self.now()
                self.slow_starts[server].go_on()
                self._set_limit(server)
        self.weigh_anew()
        self._place_queued(*ready)

    # Reloads.

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
        at its servers, whose turns go on. Their states have been handed on."""
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
        if self.hedging is not None and previous.hedging is not None:
            self.hedging.succeed(previous.hedging)
        alike = self.settings.mode == previous.settings.mode
        for server in self.servers:
            before = previous.named.get(server.name)
            if before is None:
                if server.serving:
                    server.come_up()
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
        named = previous.named
        self.take_turns_of(previous, {named[each.name]: each for each in self.servers if each.name in named})
        if any(server.ordered_name for server in self.servers):
            self.follow_names()  # it may have been ordered after these were built

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

    # What follows from each change.

    def _then(self, server: Server, follow: Follow) -> None:
        """Updates the choice of servers after a change of `server`, and does what follows; both later, if changes are
        gathered: what tracks it changes with it then, before anybody chooses."""
        if self.gathered is None:
            had_any = self.usable
            self.use_usable()
            follow(had_any)
        else:
            self.gathered.follows.append(follow)
            self._tell_trackers(server)

    def _tell_trackers(self, server: Server) -> None:
        for tracker in server.trackers:
            self.tell_tracker(tracker)

    def _left(self, server: Server) -> str:
        """Says how many servers are left after a change of `server`, which the choice of servers knows."""
        requeued = self._requeue(server)
        return messages.left(*self._up, server, requeued)

    def _tell(self, said: Iterable[messages.Message]) -> None:
        for level, text in said:
            self._announce(level, text)

    def _go_on(self, server: Server, had_any: bool) -> None:
        """Does what follows from the new state of `server`, once all servers are updated."""
        if had_any and not self._active:
            kind = "proxy" if self.settings.of_listen else "backend"
            self._announce("emerg", f"{kind} {self.name} has no server available!")
        if server in self.slow_starts:
            self.slow_starts[server].go_on()
            self._set_limit(server)
        server.keep_pool()
        if self.comings is not None:
            self.comings.follow(server)
        if self.gathered is None:
            self.look_at_standbys()
        self._place_queued(server)
        if self.gathered is None:
            self._tell_trackers(server)

    def look_at_standbys(self) -> None:
        """Raises the floors of servers that stand by for others, if one of these has gone."""
        for standby in self.standbys:
            standby.look()


def no_groups() -> list[Group]:
    return []


def _ip(target: Target | None) -> str:
    return "(none)" if target is None else str(target.address[0])
