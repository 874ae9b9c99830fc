"""The pool under everything at once: any order of events, and what must be true after each of them."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from math import inf
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reusedproxy.net.dial import DialFailure
from reusedproxy.net.transport import OPEN, PEER_CLOSED, PEER_RESET, PEER_TRUNCATED
from reusedproxy.pool.connection import IDLE, IN_USE, RETIRING, WATCHED, ServerConnection
from reusedproxy.pool.counters import DEMAND, LEFT, REFUSED, TIMEOUT, WARM
from reusedproxy.pool.dialing.governor import BACKOFF_LAST, DIALS, FLOOR_DIALS, FLUTTER_FOR, PROOF, WHOLE
from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE
from reusedproxy.pool.learning.floor import TRY_EVERY
from reusedproxy.pool.probe import Probe
from reusedproxy.pool.reasons import ORDERED_REPLACEMENT, PROXY, SURPLUS
from reusedproxy.pool.upkeep import AHEAD, LIFE_OVER, STOOD
from tests.fakes import LATE_REFUSAL, Asker, PoolBench, RecordingExchange, check_sums

#: Reasons that are nobody's but ours.
MAX_REUSE = "max-reuse"
OURS = {
    *(AHEAD, LIFE_OVER, STOOD, SURPLUS, ORDERED_REPLACEMENT, MAX_REUSE),
    *("pool full", "purged", "idle too long", "seen enough"),
}

INDEX = st.integers(0, 1000)


class PoolMachine(RuleBasedStateMachine):
    """One pool, its askers, its borrowed connections, and a server that does as it likes."""

    #: Whether the floor follows demand, up to a most.
    adapts = False

    @property
    def floor(self) -> int:
        return self.pool.floor

    @initialize(
        floor=st.integers(0, 6),
        max_conn=st.sampled_from([None, 6, 8]),
        purge_delay=st.sampled_from([0.0, 1.0, 5.0]),
        max_reuse=st.sampled_from([None, 0, 3]),
        idle_timeout=st.sampled_from([None, 2.0]),
        max_age=st.sampled_from([None, 7.0]),
        connect_rate=st.sampled_from([None, 4.0]),
        most=st.sampled_from([None, None, 8, 10]),
        idle_ping=st.sampled_from([None, 1.5]),
        accepts=st.booleans(),
        answers_pings=st.booleans(),
        seed=st.integers(0, 5),
    )
    def begin(self, **limits: Any) -> None:
        """`accepts`: dials succeed by themselves in a moment, when nobody says otherwise before; so do pings,
        or by hand."""
        # Sets of them are gone through in the order of their hashes; those of objects differ from run to run.
        self.hashes = ServerConnection.__hash__, Probe.__hash__
        connection_class: Any = ServerConnection
        connection_class.__hash__ = lambda connection: connection.number
        probe_class: Any = Probe
        probe_class.__hash__ = lambda probe: 1
        floor = limits.pop("floor")
        accepts, self.answers_pings = limits.pop("accepts"), limits.pop("answers_pings")
        self.bench = PoolBench(secure=True, min_conn=floor, overdue_after=1e9, adapts=self.adapts, **limits)
        #: The most that were wanted at once, ever, as far as it was looked; and the most that stood idle when all were
        #: to be replaced: as many are opened, whoever waits besides.
        self.wanted = self.renewed = 0
        self.pool = self.bench.pool
        self.waiting: list[Asker] = []
        self.done: list[Asker] = []
        self.left: list[Asker] = []
        self.borrowed: list[ServerConnection] = []
        self.ended: list[ServerConnection] = []
        self.given = self.in_vain = 0
        self.below = 0.0
        #: When something was not as it should be that is not our doing.
        self.trouble_at = self.bench.clock.seconds()
        #: Those that are due, since when another is wanted in their place, and whether that was held up.
        self.asked_for: dict[ServerConnection, tuple[float, bool]] = {}
        #: Why the floor was broken by what we did ourselves.
        self.broken: list[str] = []
        if accepts:
            self.bench.dialer.answer = self.bench.dialer.accept
        #: How many stood when the server refused, and the fewest that have stood since.
        self.refusals: list[list[int]] = []
        self.ceiling: float = inf
        #: What was taken for a limit of the server's, and is none.
        self.no_limits: list[str] = []
        self.watch_what_we_do()
        self.watch_what_is_refused()

    def watch_what_is_refused(self) -> None:
        """By its end alone is it seen here that a connection no longer stands."""
        holdings, upkeep = self.pool.holdings, self.pool.upkeep
        forget, dial_failed = holdings.forget, upkeep.dial_failed

        def forgotten(connection: ServerConnection) -> None:
            self.look_at_the_limit()
            forget(connection)
            for refusal in self.refusals:
                refusal[1] = min(refusal[1], holdings.open)

        def failed(failure: DialFailure, accepted: bool) -> None:
            stood = holdings.open - accepted
            self.refusals.append([stood, stood])
            dial_failed(failure, accepted)

        holdings.forget = forgotten  # type: ignore[method-assign]
        upkeep.dial_failed = failed  # type: ignore[method-assign]
        following = upkeep.following
        if following is None:
            return
        opened = following.opened

        def opens(standing: int) -> None:
            self.look_at_the_limit()  # which rises if more stand now
            opened(standing)

        following.opened = opens  # type: ignore[method-assign]

    def watch_what_we_do(self) -> None:
        """The pool's own actions are followed by a look at the floor, in the middle of whatever goes on."""
        pool = self.pool
        holdings, upkeep = pool.holdings, pool.upkeep
        retire, set_aside, ping, stay = holdings.retire, holdings.set_aside, upkeep.ping, upkeep._stay

        def look(what: str, before: int, expected: bool) -> None:
            after = len(pool.idle) + len(pool.in_use)
            if after < before and after < pool.floor and pool.state == "running" and not expected:
                self.broken.append(f"{what}: {pool}")

        def retired(connection: ServerConnection, reason: str, *, by: str = PROXY, **how: bool) -> None:
            before = len(pool.idle) + len(pool.in_use)
            expected = by != PROXY or reason not in OURS or self.excused(connection, reason)
            retire(connection, reason, by=by, **how)
            look(reason, before, expected)

        def set_aside_now(connection: ServerConnection) -> None:
            before = len(pool.idle) + len(pool.in_use)
            expected = self.excused(connection, AHEAD)
            set_aside(connection)
            look("set aside", before, expected)

        def pinged(connection: ServerConnection) -> None:
            before, others = len(pool.idle) + len(pool.in_use), set(pool.holdings.pinged)
            most = pool.limits.max_reuse
            if (others and len(pool.idle) == 1) or (most is not None and connection.requests >= most):
                self.broken.append(f"a ping too many: {pool}")
            ping(connection)
            look("ping", before, False)
            if self.answers_pings:
                self.bench.clock.callLater(0.001, self.answer_ping, connection)

        def stays(connection: ServerConnection, now: float) -> None:
            self.asked_for[connection] = (self.bench.clock.seconds(), self.held_up())
            stay(connection, now)

        holdings.retire, holdings.set_aside = retired, set_aside_now  # type: ignore[method-assign]
        upkeep.ping, upkeep._stay = pinged, stays  # type: ignore[method-assign]

    def excused(self, connection: ServerConnection, reason: str) -> bool:
        """Whether this may leave the floor short: a request needs its place, or another was asked for in time,
        in vain."""
        pool = self.pool
        if reason == ORDERED_REPLACEMENT and pool.limits.most is not None:
            return True
        full = pool.limits.most is not None and pool.counted >= pool.limits.most
        if full and reason in (AHEAD, LIFE_OVER) and not pool.watched:
            # None can stand in its place beforehand: one goes first, and the next when others are under way.
            short = pool.floor - (len(pool.idle) + len(pool.in_use) - 1)
            if short <= max(1, len(pool.connecting)):
                return True
        if reason in (LIFE_OVER, ORDERED_REPLACEMENT):
            return connection.state == IN_USE and bool(pool.waiters)
        now = self.bench.clock.seconds()
        asked_at, was_held_up = self.asked_for.get(connection, (now, False))
        if reason == MAX_REUSE or (reason == AHEAD and now - asked_at > 0.08):
            # It serves for the last time, or is due, so another has been asked for: it is on its way, or may not begin.
            held_up = was_held_up or self.held_up()
            if reason == AHEAD and self.bench.dialer.answer is not None:
                # A handshake takes a moment only.
                return held_up or now - self.trouble_at < 2.0
            return held_up or bool(pool.connecting)
        return False

    def held_up(self) -> bool:
        """Whether no dial may begin now, or not as many as the floor needs."""
        pool, governor = self.pool, self.pool._governor
        most = min(inf if pool.limits.most is None else pool.limits.most, pool.upkeep.refill.ceiling)
        full = pool.standing >= most
        # Some servers close so soon that the rate cannot keep the floor; and this clock goes in steps.
        lives = min(pool.upkeep.used.leave_after, pool.upkeep.unused.leave_after)
        fluttered = self.bench.clock.seconds() - governor._fluttered_at < FLUTTER_FOR + 1.0
        too_soon = governor._rate_now * lives < 2 * self.floor or fluttered
        return bool(governor.failures) or governor.tokens < WHOLE + 0.06 * governor._rate_now or full or too_soon

    def answer_ping(self, connection: ServerConnection) -> None:
        transport: Any = connection.transport
        if connection in self.pool.holdings.pinged and transport.state == OPEN:
            transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")

    def troubled(self) -> None:
        self.trouble_at = self.bench.clock.seconds()

    # What exchanges do.

    @rule(kinds=st.lists(st.sampled_from([ANY, ANY, ANY, FRESH, SAFE, NEW]), min_size=1, max_size=5))
    def acquire(self, kinds: list[int]) -> None:
        for kind in kinds:
            connection = self.pool.acquire(kind)
            if connection is not None:
                assert connection.transport.state == OPEN
                assert kind != NEW
                assert connection.idle_since >= self.pool.holdings.guard.suspected_at, "a suspect"
                self.given += 1
                self.borrowed.append(connection)
                self.want()

    @rule(kind=st.sampled_from([ANY, ANY, FRESH, SAFE, NEW]), again=st.booleans())
    def wait(self, kind: int, again: bool) -> None:
        asker = Asker()
        self.waiting.append(asker)

        def told() -> None:
            if asker in self.waiting:
                self.waiting.remove(asker)
                self.done.append(asker)
            self.borrowed.extend(asker.connections)
            assert all(
                connection.idle_since >= self.pool.holdings.guard.suspected_at for connection in asker.connections
            ), "a suspect"
            self.in_vain += len(asker.failures)
            if again and asker.failures and self.pool.state == "running":
                self.wait(kind, False)

        asker.then = told
        self.want(1)
        self.pool.wait(asker, kind)

    def want(self, more: int = 0) -> None:
        self.wanted = max(self.wanted, len(self.pool.in_use) + len(self.pool.waiters) + more)

    @precondition(lambda self: self.waiting)
    @rule(index=INDEX, timed_out=st.booleans())
    def leave(self, index: int, timed_out: bool) -> None:
        asker = self.waiting.pop(index % len(self.waiting))
        self.left.append(asker)
        self.pool.leave(asker, timed_out)

    @precondition(lambda self: self.borrowed)
    @rule(index=INDEX, safe=st.booleans(), close=st.booleans())
    def carry(self, index: int, safe: bool, close: bool) -> None:
        connection = self._take_borrowed(index)
        connection.safe = connection.safe or safe
        self.bench.use(connection, close)
        pool = self.pool
        if connection.state == IDLE:
            haste, now = pool.holdings.guard.haste, self.bench.clock.seconds()
            resting = [each for each in pool.idle if haste.hasty and now - each.idle_since < haste.rest]
            most = min(self.floor + self.wanted + self.renewed, pool.upkeep.demand.enough) + len(resting)
            assert len(pool.idle) + len(pool.in_use) <= most, pool

    @precondition(lambda self: self.borrowed)
    @rule(index=INDEX)
    def give_up(self, index: int) -> None:
        self._take_borrowed(index).give_up("client gone")

    # What the server does.

    @precondition(lambda self: self.bench.dialer.open)
    @rule(index=INDEX)
    def dial_succeeds(self, index: int) -> None:
        self._open(index).succeed()

    @rule()
    def all_dials_succeed(self) -> None:
        self.bench.answer_all()

    @precondition(lambda self: self.bench.dialer.open)
    @rule(index=INDEX)
    def dial_succeeds_and_is_refused_late(self, index: int) -> None:
        self._lose(self._open(index).succeed(), LATE_REFUSAL)

    @precondition(lambda self: self.bench.dialer.open)
    @rule(index=INDEX, timed_out=st.booleans())
    def dial_fails(self, index: int, timed_out: bool) -> None:
        dial = self._open(index)
        self.troubled()
        if timed_out:
            dial.time_out()
        else:
            dial.fail()

    @precondition(lambda self: self.pool.idle or self.borrowed)
    @rule(index=INDEX, reason=st.sampled_from([PEER_CLOSED, PEER_RESET, PEER_TRUNCATED, LATE_REFUSAL]))
    def server_closes(self, index: int, reason: str) -> None:
        held = [*self.pool.idle, *self.borrowed]
        self._lose(held[index % len(held)].transport, reason)

    @rule()
    def server_restarts(self) -> None:
        for connection in [*self.pool.idle, *self.borrowed]:
            if connection.transport.state == OPEN:
                self._lose(connection.transport, PEER_CLOSED)

    @precondition(lambda self: self.pool.holdings.pinged)
    @rule(index=INDEX, lost=st.booleans())
    def ping_ends(self, index: int, lost: bool) -> None:
        pinged = list(self.pool.holdings.pinged)
        connection: Any = pinged[index % len(pinged)]
        if lost:
            self.troubled()
            connection.transport.peer_ends(PEER_CLOSED)
        else:
            self.answer_ping(connection)

    @rule(seconds=st.sampled_from([1.0, 2.0, 9.0]))
    def server_says_how_long_it_waits(self, seconds: float) -> None:
        self.pool.upkeep.used.advertise(seconds)

    @rule(seconds=st.sampled_from([1.0, 2.0, 4.0]), used=st.booleans())
    def server_has_closed_idle_ones(self, seconds: float, used: bool) -> None:
        patience = self.pool.upkeep.used if used else self.pool.upkeep.unused
        patience.closed(seconds)
        patience.closed(seconds)

    @precondition(lambda self: self.pool.watched)
    @rule(index=INDEX, reason=st.sampled_from([PEER_CLOSED, PEER_RESET]))
    def server_closes_a_watched_one(self, index: int, reason: str) -> None:
        watched = sorted(self.pool.watched, key=lambda connection: connection.idle_since)
        self._lose(watched[index % len(watched)].transport, reason)

    # Time, and the owner.

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0, 3.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.pass_time(seconds, step=0.05)

    @rule()
    def process_stands_still(self) -> None:
        """All that stand are suspect from now on, and leave as others stand in their place."""
        self.pool.upkeep.renew()

    @rule()
    def operator_drains(self) -> None:
        self.pool.order_drain()

    @rule()
    def operator_rewarms(self) -> None:
        """No fewer stand because of it, where there is room for both."""
        self.renewed = max(self.renewed, len(self.pool.idle))
        self.pool.order_rewarm()

    @rule(seconds=st.sampled_from([None, 0.0, 0.1, 5.0]))
    def server_is_down_for_a_while(self, seconds: float | None) -> None:
        self.troubled()
        if seconds is not None:
            self.pool.suspend("server DOWN")
            self.each_connection_is_in_one_list_and_knows_which()
            self.ceilings_hold()
            self.bench.pass_time(seconds, step=0.05)
        self.pool.resume()

    # What is true at every moment.

    @invariant()
    def each_connection_is_in_one_list_and_knows_which(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        assert len(pool.idle) == len(set(pool.idle))
        assert not set(pool.idle) & pool.in_use and not set(pool.idle) & pool.retiring
        assert not pool.in_use & pool.retiring
        assert not pool.watched & ({*pool.idle} | pool.in_use | pool.retiring)
        assert not pool.private
        assert pool.holdings.due <= {*pool.idle} and pool.holdings.last_use <= pool.in_use
        lists = ((IDLE, pool.idle), (IN_USE, pool.in_use), (WATCHED, pool.watched), (RETIRING, pool.retiring))
        for state, held in lists:
            assert all(connection.state == state for connection in held)
        transports: list[Any] = [connection.transport for connection in pool.idle]
        assert all(transport.state == OPEN and transport.reading for transport in transports)
        assert pool.in_use == {*self.borrowed, *pool.holdings.pinged}
        assert pool.idle == sorted(pool.idle, key=lambda connection: connection.idle_since)
        opened = len(self.bench.dialer.transports)
        assert opened == len(pool.idle) + len(pool.in_use) + len(pool.watched) + sum(pool.closed.values())
        assert opened == pool.counters.handshakes

    @invariant()
    def what_is_counted_adds_up(self) -> None:
        if not hasattr(self, "pool"):
            return
        check_sums(self.pool)
        assert self.pool.counters.tls_handshakes.total() == self.pool.counters.handshakes
        acquired = self.pool.counters.acquired
        assert acquired[WARM].count == self.given
        assert acquired[LEFT].count + acquired[TIMEOUT].count + acquired[REFUSED].count == self.in_vain + len(self.left)
        below = self.pool.upkeep.refill.below_floor_seconds
        assert below >= self.below
        self.below = below

    @invariant()
    def every_waiter_ends_once(self) -> None:
        if not hasattr(self, "pool"):
            return
        assert [*self.pool.waiters.waiting] == self.waiting
        assert all(asker.told == 0 for asker in (*self.waiting, *self.left))
        assert all(asker.told == 1 for asker in self.done)
        counters = self.pool.counters
        ended = counters.handshakes_on_request_path + counters.waits_queued + counters.waits_failed
        assert ended == len(self.done)

    @invariant()
    def the_time_below_the_floor_is_counted(self) -> None:
        if hasattr(self, "pool"):
            assert (self.pool.upkeep.refill._below_since is not None) == self.pool.below_floor

    @invariant()
    def no_more_stand_than_are_called_for(self) -> None:
        """The floor, and as many as were wanted at once, whatever has opened them; less when that is some time ago."""
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        # Somebody who needs a new one may be given it while others stand idle; see `carry`, too.
        assert len(pool.idle) <= self.floor + self.wanted + self.renewed, pool
        assert len(pool.idle) <= pool.upkeep.demand.enough, pool

    @invariant()
    def the_floor_stands_whatever_we_do_ourselves(self) -> None:
        """Idle and in use together, at every moment,
        unless the server, its refusals or a request's needs are the reason."""
        if hasattr(self, "pool"):
            assert not self.broken, self.broken

    @invariant()
    def what_is_due_leaves_when_others_stand(self) -> None:
        if hasattr(self, "pool"):
            upkeep, holdings = self.pool.upkeep, self.pool.holdings
            assert not holdings.due or len(self.pool.idle) + len(holdings.pinged) <= self.pool.floor, self.pool
            assert upkeep.curious is None or upkeep.curious in holdings.due

    @invariant()
    def ceilings_hold(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        dialing: set[Any] = set(self.bench.dialer.open)
        assert set(pool.connecting) == dialing
        assert len(pool.connecting) <= DIALS
        assert pool.limits.most is None or pool.standing <= pool.limits.most
        assert sum(cause != DEMAND for cause in pool.connecting.values()) <= FLOOR_DIALS
        if pool.state != "running":
            assert not pool.idle and not pool.watched and not pool.connecting and not pool.waiters
        elif pool.waiters:
            # Somebody waits: something is under way for them, or its time has been set, or there is no room for more;
            # or one that is pinged will be back sooner, and is waited for so long only.
            full = pool.limits.most is not None and pool.standing >= pool.limits.most
            soon = pool.holdings.pinged and pool._governor._later_call is not None
            assert pool.connecting or pool.trouble or full or soon

    @invariant()
    def only_what_goes_on_standing_shows_a_limit(self) -> None:
        """The server has refused more while so many stood, and most of these have stood since."""
        if hasattr(self, "pool"):
            self.look_at_the_limit()
            assert not self.no_limits, self.no_limits

    def look_at_the_limit(self) -> None:
        """Called before fewer stand, too: a limit that has shown stays when what stood leaves later."""
        ceiling = self.pool.upkeep.refill.ceiling
        if ceiling < self.ceiling and not any(
            stood == ceiling and fewest * 2 >= stood for stood, fewest in self.refusals
        ):
            self.no_limits.append(f"{ceiling}, refused while (how many stood, down to): {self.refusals}")
        self.ceiling = ceiling

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            try:
                self.come_to_rest()
            finally:
                self.hash_as_ever()

    def hash_as_ever(self) -> None:
        ServerConnection.__hash__, Probe.__hash__ = self.hashes  # type: ignore[method-assign]

    def come_to_rest(self) -> None:
        """Quiet, with a healthy server: all come back, the floor stands exactly; then the end, with nothing left."""
        bench, pool = self.bench, self.pool
        pool.resume()
        if bench.dialer.answer is None:
            bench.dialer.answer = bench.dialer.accept
            self.troubled()  # its dials have hung until now, and others have waited for their turn
        self.answers_pings = True
        for _ in range(3 + len(self.waiting)):
            while self.borrowed:  # handed on to those who waited, at last
                self.carry(0, False, False)
            bench.pass_time(BACKOFF_LAST + 2 * PROOF, step=0.05)
        bench.pass_time(30, step=0.05)
        assert not self.waiting and not self.borrowed and not pool.retiring
        assert not self.broken, self.broken
        if pool.limits.purge_delay or pool.limits.idle_timeout:
            bench.pass_time(60, step=0.5)
        # Such steps are too coarse for what begins and ends within one: pings, and connections that are replaced every
        # half second. Their replacements come a moment later.
        for _ in range(100):
            if len(pool.idle) >= self.floor and not pool.holdings.pinged:
                break
            bench.pass_time(0.05, step=0.001)
        assert not pool.in_use
        self.only_what_goes_on_standing_shows_a_limit()
        # Where the server has shown a limit, one more is tried after a while, which it bears now.
        for _ in range(self.floor):
            if pool.upkeep.refill.ceiling > self.floor or len(pool.idle) >= self.floor:
                break
            bench.pass_time(TRY_EVERY + 1, step=0.5)
            bench.pass_time(5, step=0.05)
        # Before a server that closes unused connections in a moment the floor is filled with care, and may be short.
        assert len(pool.idle) >= self.floor or pool._governor.careful, pool
        if pool.limits.max_age is None:
            assert len(pool.idle) <= self.floor, pool
        # Trouble is over as soon as a newer connection stands; when the floor stood without one,
        # nobody has tried again.
        failed_at = pool._governor._failed_at
        assert not pool.trouble or all(connection.born <= failed_at for connection in pool.idle)
        pool.close("stopping")
        self.each_connection_is_in_one_list_and_knows_which()
        assert bench.timers_left() == []

    # Helpers.

    def _open(self, index: int) -> Any:
        return self.bench.dialer.open[index % len(self.bench.dialer.open)]

    def _take_borrowed(self, index: int) -> ServerConnection:
        return self.borrowed.pop(index % len(self.borrowed))

    def _lose(self, transport: Any, reason: str) -> None:
        """The server ends a connection; one in use is in the middle of an exchange then."""
        if transport.state != OPEN:
            return  # one too many: the pool has closed it at once
        connection = transport.owner
        self.troubled()
        if connection.state == IN_USE:
            self.borrowed.remove(connection)
            connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\n\r\n", True, None)
        transport.peer_ends(reason)


class FollowingPoolMachine(PoolMachine):
    """The same, with `pool-min-conn auto`."""

    adapts = True

    @invariant()
    def the_floor_is_between_its_bounds(self) -> None:
        if hasattr(self, "pool"):
            limits = self.pool.limits
            assert limits.min_conn <= self.pool.usual_floor <= max(limits.min_conn, min(limits.floor_max or 100, 100))


class FollowingPoolMachineTests(FollowingPoolMachine.TestCase):  # type: ignore[misc, valid-type]
    """What holds for a floor, and that it stays between its bounds."""

    settings = settings(
        max_examples=150,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


class FollowingPoolStepsTests(unittest.TestCase):
    """Orders of events that have broken a promise."""

    def begin(self, floor: int, made: Callable[[], PoolMachine] | None = None, **limits: Any) -> PoolMachine:
        machine = (made or FollowingPoolMachine)()
        usual = dict.fromkeys(("max_conn", "max_reuse", "idle_timeout", "max_age", "connect_rate", "most", "idle_ping"))
        machine.begin(floor=floor, answers_pings=True, **{**usual, **limits})
        self.addCleanup(machine.hash_as_ever)
        machine.all_dials_succeed()
        return machine

    def restarted(self) -> PoolMachine:
        """Six stand and are in use, one more is refused, and the server closes all."""
        machine = self.begin(6, purge_delay=0.0, most=8, seed=0, accepts=True)
        machine.acquire([ANY] * 5)
        machine.wait(ANY, False)
        machine.dial_fails(0, False)
        machine.acquire([ANY] * 5)
        machine.wait(ANY, True)
        machine.server_restarts()
        machine.leave(0, True)
        return machine

    def test_a_server_that_restarts_within_a_second_shows_no_limit(self) -> None:
        """Six stand again two seconds after one more was refused."""
        machine = self.restarted()
        machine.wait(NEW, False)
        machine.leave(0, True)
        machine.time_passes(10.0)
        machine.only_what_goes_on_standing_shows_a_limit()
        self.assertEqual(machine.pool.upkeep.refill.ceiling, inf)
        machine.teardown()

    def test_nor_does_one_that_refuses_late_what_it_closes(self) -> None:
        """New ones are closed one after the other, so that each is refused while the others stand."""
        machine = self.restarted()
        machine.wait(NEW, True)
        machine.wait(NEW, False)
        machine.leave(0, True)
        machine.time_passes(0.3)
        machine.time_passes(1.0)
        machine.server_restarts()
        machine.teardown()
        self.assertEqual(machine.pool.upkeep.refill.ceiling, inf)

    def test_who_waits_while_all_are_replaced_has_one_more_opened(self) -> None:
        """One took the place of the one that stood, and one was for him: both stand when he is done."""
        machine = self.begin(0, PoolMachine, purge_delay=5.0, seed=0, accepts=False)
        machine.wait(ANY, False)
        machine.all_dials_succeed()
        machine.server_has_closed_idle_ones(1.0, False)
        machine.server_has_closed_idle_ones(2.0, False)
        machine.carry(0, False, False)
        machine.operator_rewarms()
        machine.wait(ANY, False)
        machine.teardown()

    def test_what_has_hung_until_the_end_may_come_too_late(self) -> None:
        """Four dials hang while connections become due; the fifth begins when they end."""
        machine = self.begin(
            5, max_conn=8, purge_delay=5.0, max_reuse=3, max_age=7.0, idle_ping=1.5, seed=3, accepts=False
        )
        machine.server_says_how_long_it_waits(2.0)
        machine.time_passes(3.0)
        machine.teardown()


class PoolMachineTests(PoolMachine.TestCase):  # type: ignore[misc, valid-type]
    """Hypothesis looks for an order of events that breaks a promise."""

    settings = settings(
        max_examples=300,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


assert issubclass(PoolMachineTests, unittest.TestCase)
