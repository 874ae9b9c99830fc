"""`balance roundrobin` by its properties: shares, how evenly turns are spread, what changes do to them,
and what it all costs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from math import log2
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.balance import RoundRobin
from reusedproxy.backends.server import DOWN, UP, Server
from reusedproxy.config import model
from tests.fakes import Asks, PoolBench

PLACE = model.Place("test.cfg", 1)
WEIGHTS = st.lists(st.integers(1, 256), min_size=1, max_size=12)

#: Changes of two servers, and how many turns after each: both leave, one after the other, again and again.
FORGOTTEN = [
    (0, 0), (0, 2), (1, 0), (0, 0), (1, 0), *[(0, 0)] * 16, (0, 2), (1, 0),
    (0, 0), (1, 0), (0, 2), (0, 0), (1, 0), (0, 0), (1, 2),
]  # fmt: skip


def servers_of(weights: list[int], **words: Any) -> list[Server]:
    pool = PoolBench(resume=False).pool
    return [
        Server("be", model.Server(name=f"s{n}", place=PLACE, host="127.0.0.1", weight=weight, **words), pool, 0.0)
        for n, weight in enumerate(weights)
    ]


def robin(servers: list[Server]) -> RoundRobin:
    balance = RoundRobin()
    balance.use(servers)
    return balance


def picked(balance: RoundRobin, avoid: Server | None = None) -> Server:
    server = balance.pick(avoid)
    assert server is not None
    return server


def calls(do: Callable[[], object]) -> int:
    """How many functions were called meanwhile, in Python and in C:
    a count does not depend on how busy the machine is."""
    seen = 0

    def note(frame: object, event: str, what: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(before)
    return seen


class ShareTests(SynchronousTestCase):
    """Who gets how much."""

    @settings(deadline=None)
    @given(weights=WEIGHTS, count=st.integers(1, 600))
    def test_each_is_less_than_one_turn_from_its_share_at_every_moment(self, weights: list[int], count: int) -> None:
        """So within a round each has as many turns as its weight says, one more or less."""
        servers = servers_of(weights)
        balance, had = robin(servers), dict.fromkeys(servers, 0)
        for turn in range(1, count + 1):
            had[picked(balance)] += 1
            for server, weight in zip(servers, weights, strict=True):
                self.assertLess(abs(had[server] - turn * weight / sum(weights)), 1.0001)

    @settings(deadline=None)
    @example(weights=[1, 7], changes=FORGOTTEN)
    @given(weights=WEIGHTS, changes=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 9)), max_size=120))
    def test_shares_follow_weight_and_time_whatever_comes_and_goes(
        self, weights: list[int], changes: list[tuple[int, int]]
    ) -> None:
        """Servers that stay are never made unequal by others that flap,
        nor does one that flaps get more than is due."""
        servers = servers_of(weights)
        balance, had, due = robin(servers), dict.fromkeys(servers, 0), dict.fromkeys(servers, 0.0)
        up = set(servers)
        for number, count in changes:
            server = servers[number % len(servers)]
            up ^= {server}
            balance.use([each for each in servers if each in up])
            for _ in range(count if up else 0):
                had[picked(balance)] += 1
                total = sum(each.weight for each in up)
                for each in up:
                    due[each] += each.weight / total
            self.assertIsNone(None if up else balance.pick())
            for server in servers:
                # Those that are away may be owed a turn, which the others have had meanwhile.
                self.assertLess(abs(had[server] - due[server]), 3)

    def test_leads_are_not_forgotten_when_all_leave_one_after_another(self) -> None:
        """And come back so: else the one that is first of equals would have all the turns."""
        servers = servers_of([1, 1])
        balance, had = robin(servers), Counter[str]()
        for _ in range(30):
            had[picked(balance).name] += 1
            for up in (servers[1:], [], servers[:1], servers):
                balance.use(up)
        self.assertEqual(had, {"s0": 15, "s1": 15})

    @settings(deadline=None)
    @given(weights=WEIGHTS, seed=st.integers(0, 10**6))
    def test_full_servers_cost_the_others_nothing(self, weights: list[int], seed: int) -> None:
        """Whoever has room is found, whoever has none is not chosen,
        and the next is there as soon as a place is free."""
        servers, random = servers_of(weights, maxconn=2), Random(seed)
        balance = robin(servers)
        running: list[Server] = []
        for _ in range(200):
            if running and random.random() < 0.5:
                server = running.pop(random.randrange(len(running)))
                server.served -= 1
                if server.served == 1:
                    balance.freed(server)
            else:
                chosen = balance.pick(random.choice([None, *servers]))
                self.assertEqual(chosen is None, all(each.full for each in servers))
                if chosen is not None:
                    self.assertFalse(chosen.full)
                    chosen.served += 1
                    running.append(chosen)

    def test_a_server_that_flaps_leaves_the_others_equal(self) -> None:
        """Three requests between two changes of a fifth: a round that began anew with each would leave out the last."""
        servers = servers_of([1] * 5)
        balance, had = robin(servers), Counter[str]()
        for change in range(600):
            balance.use(servers[:4] if change % 2 else servers)
            had.update(picked(balance).name for _ in range(3))
        self.assertEqual(had, {"s0": 405, "s1": 405, "s2": 405, "s3": 405, "s4": 180})

    def test_one_that_was_away_for_long_is_owed_nothing(self) -> None:
        servers = servers_of([1, 1])
        balance = robin(servers)
        balance.use(servers[:1])
        for _ in range(1000):
            picked(balance)
        balance.use(servers)
        self.assertEqual(Counter(picked(balance).name for _ in range(10)), {"s0": 5, "s1": 5})

    def test_one_that_was_full_for_long_is_owed_nothing(self) -> None:
        servers = servers_of([1, 1])
        balance = robin(servers)
        servers[1].maxconn = servers[1].served = 1
        for _ in range(1000):
            picked(balance)
        servers[1].served = 0
        balance.freed(servers[1])
        self.assertEqual(Counter(picked(balance).name for _ in range(10)), {"s0": 5, "s1": 5})

    def test_a_weight_that_changes_counts_at_once(self) -> None:
        servers = servers_of([1, 256])
        balance = robin(servers)
        for _ in range(100):
            picked(balance)
        servers[0].weight, servers[1].weight = 30, 10
        balance.use(servers)
        had = Counter(picked(balance).name for _ in range(40))
        self.assertIn(had["s0"], range(28, 33))

    def test_one_that_is_avoided_keeps_its_turn(self) -> None:
        """A redispatch goes to the next in turn; who was avoided is next after that."""
        servers = servers_of([1, 1, 1])
        balance = robin(servers)
        self.assertEqual(picked(balance, servers[0]).name, "s1")
        self.assertEqual([picked(balance).name for _ in range(2)], ["s0", "s2"])

    def test_a_backup_server_takes_over_only_as_long_as_the_others_are_away(self) -> None:
        s0, s1, backup = servers_of([1, 1, 1])
        backup.backup = True
        backend = Backend(model.Backend(name="be", place=PLACE), [s0, s1, backup], lambda: 0.0, lambda *said: None)

        def next_one() -> str:
            asks = Asks()
            backend.choose(asks)
            return asks.servers[0]

        names = [next_one()]
        for server in (s0, s1):
            backend.server_changed(server, DOWN, "x")
        names.append(next_one())
        for server in (s0, s1):
            backend.server_changed(server, UP, "x")
        names += [next_one(), next_one()]
        self.assertEqual((names[:2], sorted(names[2:])), (["s0", "s2"], ["s0", "s1"]))


class CostTests(SynchronousTestCase):
    """Counted in calls."""

    def test_a_pick_costs_the_logarithm_of_the_servers_at_most(self) -> None:
        """Whatever their weights: 2,000 picks among 500 servers."""
        balance = robin(servers_of([256 - n % 2 for n in range(500)]))
        each = calls(lambda: [balance.pick() for _ in range(2000)]) / 2000
        self.assertLess(each, log2(500))

    def test_full_servers_are_not_looked_for_again(self) -> None:
        """They are put aside once; then each pick sees at once that there is none."""
        servers = servers_of([256 - n % 2 for n in range(500)], maxconn=1)
        balance = robin(servers)
        for server in servers:
            server.served = 1
        self.assertLess(calls(balance.pick), 500 * 8)
        self.assertLess(calls(balance.pick), 5)

        def one_ends() -> None:
            servers[250].served = 0
            balance.freed(servers[250])
            self.assertIs(balance.pick(), servers[250])
            servers[250].served = 1
            self.assertIsNone(balance.pick())

        self.assertLess(calls(one_ends), 40)

    def test_a_change_costs_the_number_of_servers(self) -> None:
        for count in (50, 500):
            servers = servers_of([256 - n % 2 for n in range(count)])
            balance = robin(servers)
            self.assertLess(calls(lambda balance=balance, servers=servers: balance.use(servers[1:])), 10 * count)  # type: ignore[misc]

    def test_limits_that_rise_with_the_load_are_not_computed_for_each_request(self) -> None:
        """`minconn`: 200 servers, and a load that stays on one step of the stair."""
        servers = servers_of([1] * 200, minconn=10, maxconn=100)
        settings = model.Backend(name="be", place=PLACE, fullconn=1000)
        backend = Backend(settings, servers, lambda: 0.0, lambda *said: None)

        def request() -> None:
            backend.traffic.scur += 1
            asks = Asks()
            backend.choose(asks)
            backend.traffic.scur -= 1
            backend.done(next(each for each in servers if each.served))

        backend.traffic.scur = 505
        request()
        self.assertEqual({each.maxconn for each in servers}, {50})
        self.assertLess(calls(request), 260)  # 200 of them are the search above
        for load, limit in ((509, 50), (510, 51), (999, 99), (1000, 100), (5000, 100), (999, 99), (100, 10), (0, 10)):
            backend.traffic.scur = load
            backend._set_limits()
            self.assertEqual({each.maxconn for each in servers}, {limit}, load)
