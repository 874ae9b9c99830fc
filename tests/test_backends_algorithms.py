"""The `balance` algorithms besides roundrobin by their properties: who is chosen, what full servers and changes do to
that, and what it costs. That they choose as HAProxy does is for tests/integration/test_balance_beside_haproxy.py."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import pairwise
from math import log2
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.balance import Algorithm, Parts, algorithm_of, filling
from reusedproxy.backends.balance.algorithm import ByHash, ByLoad
from reusedproxy.backends.balance.hashes import FUNCTIONS, avalanche
from reusedproxy.backends.balance.least import LeastConn
from reusedproxy.backends.balance.nodes import BEHIND_KEY, Nodes, node
from reusedproxy.backends.balance.ring import Ring
from reusedproxy.backends.balance.static import spread
from reusedproxy.backends.names import target_of
from reusedproxy.backends.server import DOWN, DRAIN, FULL_WEIGHT, MAINT, NOLB, READY, UP, Server
from reusedproxy.backends.slow_start import SlowStart, Together
from reusedproxy.config import model
from reusedproxy.config.model.balance import HASHES, Balance, HashType
from tests.fakes import Asks, PoolBench
from tests.test_backends_balance import calls

PLACE = model.Place("test.cfg", 1)
TARGET = target_of("192.0.2.1", 80)
WEIGHTS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
CONSISTENT = HashType(consistent=True)
#: All algorithms but roundrobin, which has tests of its own.
MADE = [
    (Balance("static-rr"), HashType()),
    (Balance("leastconn"), HashType()),
    (Balance("first"), HashType()),
    (Balance("random"), HashType()),
    (Balance("random", draws=1), HashType(factor=150)),
    (Balance("uri"), HashType()),
    (Balance("uri"), CONSISTENT),
    (Balance("uri"), HashType(consistent=True, factor=150)),
]


def servers_of(weights: list[int], **words: Any) -> list[Server]:
    made = []
    for number, weight in enumerate(weights):
        line = model.Server(name=f"s{number}", place=PLACE, host="a", weight=weight, id=number + 1, **words)
        made.append(Server("be", line, PoolBench(resume=False).pool, 0.0))
    return made


def algorithm(servers: list[Server], balance: Balance, kind: HashType, seed: int = 1, warm: bool = False) -> Algorithm:
    """What a number is asked for is its own hash."""
    line = model.Backend(name="be", place=PLACE, balance=balance, hash_type=kind, prefer_warm=warm)
    made = algorithm_of(Parts(line, servers, lambda asks: asks, Random(seed)))
    made.use(servers)
    return made


def backend_of(servers: list[Server], balance: Balance, kind: HashType) -> Backend:
    line = model.Backend(name="be", place=PLACE, balance=balance, hash_type=kind)
    return Backend(line, servers, lambda: 0.0, lambda level, text: None, lambda asks: asks, Random(1))


def give(balance: Algorithm, server: Server, change: int = 1) -> None:
    """As a backend does."""
    was_full = server.full
    server.served += change
    if was_full and not server.full:
        balance.freed(server)
    if isinstance(balance, ByLoad):
        balance.loaded(server, change)


class AllTests(SynchronousTestCase):
    """What is true of each of them."""

    @settings(deadline=None, max_examples=30)
    @given(weights=WEIGHTS, turns=st.integers(0, 60))
    @example(weights=[1, 2], turns=1)
    @example(weights=[1, 2, 3], turns=3)
    def test_a_reload_goes_on_with_the_turns(self, weights: list[int], turns: int) -> None:
        """Who asks gets the servers that he would have got without it, whatever they carry; of those that there were
        before, where others come to them."""
        for balance, kind in [(Balance("roundrobin"), HashType()), *MADE]:
            if balance.algorithm == "random":
                continue
            made: list[list[str]] = []
            for reloads in (False, True):
                servers = servers_of(weights)
                now = backend_of(servers, balance, kind)
                for turn in range(turns):
                    served = now._balance.pick()
                    assert served is not None
                    if turn % 3 == 0:
                        give(now._balance, served)
                if reloads:
                    after = servers_of(weights)
                    for before, server in zip(servers, after, strict=True):
                        server.stand_at(TARGET, None)
                        before.stand_at(TARGET, None)
                    new = backend_of(after, balance, kind)
                    new.succeed(now)
                    now = new
                made.append([])
                for _ in range(40):
                    picked = now._balance.pick()
                    assert picked is not None
                    made[-1].append(picked.name)
                    give(now._balance, picked)
            self.assertEqual(made[0], made[1], balance)

    def test_servers_that_come_with_a_reload_have_their_turns_among_the_others(self) -> None:
        for balance in (Balance("roundrobin"), Balance("leastconn")):
            before = backend_of(servers_of([1, 1, 1]), balance, HashType())
            for _ in range(2):
                picked = before._balance.pick()
                assert picked is not None
                give(before._balance, picked)
                give(before._balance, picked, -1)
            after = backend_of(servers_of([1, 1, 1, 1]), balance, HashType())
            after.succeed(before)
            names = []
            for _ in range(8):
                picked = after._balance.pick()
                assert picked is not None
                names.append(picked.name)
                give(after._balance, picked)
                give(after._balance, picked, -1)
            self.assertEqual((names[0], Counter(names)), ("s2", dict.fromkeys(("s0", "s1", "s2", "s3"), 2)), balance)

    @settings(deadline=None, max_examples=40)
    @given(weights=WEIGHTS, seed=st.integers(0, 10**6))
    def test_whoever_has_room_is_found_and_whoever_has_none_is_not(self, weights: list[int], seed: int) -> None:
        for said, kind in MADE:
            servers, random = servers_of(weights, maxconn=2), Random(seed)
            balance = algorithm(servers, said, kind, seed)
            running: list[Server] = []
            for _ in range(60):
                if running and random.random() < 0.4:
                    give(balance, running.pop(random.randrange(len(running))), -1)
                    continue
                avoid = random.choice([None, *servers])
                chosen = balance.pick(avoid)
                room = [each for each in servers if not each.full]
                self.assertEqual(chosen is None, not room, said)
                if chosen is not None:
                    self.assertIn(chosen, room, said)
                    self.assertTrue(chosen is not avoid or room == [avoid], said)
                    give(balance, chosen)
                    running.append(chosen)

    @settings(deadline=None, max_examples=40)
    @given(weights=WEIGHTS, changes=st.lists(st.integers(0, 11), max_size=20))
    def test_only_those_in_use_are_chosen(self, weights: list[int], changes: list[int]) -> None:
        for said, kind in MADE:
            servers = servers_of(weights)
            balance, up = algorithm(servers, said, kind), set(servers)
            for number in changes:
                up ^= {servers[number % len(servers)]}
                balance.use([each for each in servers if each in up])
                for key in range(5):
                    found = [balance.pick()]
                    if isinstance(balance, ByHash):
                        found.append(balance.bound(key * 2654435761 & 0xFFFFFFFF))
                    for server in found:
                        self.assertTrue(server in up if up else server is None, said)

    def test_a_pick_costs_the_logarithm_of_the_servers_at_most(self) -> None:
        """1,000 of them, in calls of functions."""
        for said, kind in MADE:
            balance = algorithm(servers_of([1 + number % 3 for number in range(1000)]), said, kind)

            by_hash = balance if isinstance(balance, ByHash) else None
            by_load = balance if isinstance(balance, ByLoad) else None

            def picks(balance: Algorithm = balance, by_hash: Any = by_hash, by_load: Any = by_load) -> None:
                for key in range(500):
                    server = balance.pick() if by_hash is None else by_hash.bound(avalanche(key))
                    assert server is not None
                    server.served += 1
                    if by_load is not None:
                        by_load.loaded(server, 1)

            picks()
            self.assertLess(calls(picks) / 500, 8 * log2(1000), said)

    def test_full_servers_are_not_looked_for_again(self) -> None:
        """All are; then each pick sees at once that there is none."""
        for said, kind in MADE:
            servers = servers_of([1] * 300, maxconn=1)
            balance = algorithm(servers, said, kind)
            for server in servers:
                give(balance, server)
            self.assertIsNone(balance.pick())
            self.assertLess(calls(lambda balance=balance: balance.pick()), 10, said)  # type: ignore[misc]
            give(balance, servers[7], -1)
            self.assertIs(balance.pick(), servers[7])

    def test_retries_may_go_elsewhere_where_no_server_is_better(self) -> None:
        """As in HAProxy: with a hash only at the interval of `option redispatch`."""
        for said, kind in MADE:
            line = model.Backend(name="be", place=PLACE, balance=said, hash_type=kind, redispatch=-1)
            backend = Backend(line, servers_of([1, 1]), lambda: 0.0, lambda *said: None)
            self.assertEqual(backend.redispatches(1), said.algorithm not in HASHES, said)
            self.assertTrue(backend.redispatches(3), said)


class StaticTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(weights=WEIGHTS)
    def test_the_map_is_that_of_the_plain_algorithm(self, weights: list[int]) -> None:
        """The weights are added to all scores, and the total is taken from the first of the best, in whole totals."""
        total, scores, made = sum(weights), [0] * len(weights), []
        for _ in range(total):
            scores = [score + weight for score, weight in zip(scores, weights, strict=True)]
            whole = [score // total for score in scores]
            made.append(whole.index(max(whole)))
            scores[made[-1]] -= total
        self.assertEqual(spread(weights), made)

    def test_common_divisors_shorten_it(self) -> None:
        balance: Any = algorithm(servers_of([100, 200, 50]), Balance("static-rr"), HashType())
        self.assertEqual(Counter(server.name for server in balance.map), {"s0": 2, "s1": 4, "s2": 1})


class LeastTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(weights=WEIGHTS, seed=st.integers(0, 10**6), warm=st.booleans())
    def test_none_has_less_for_its_weight(self, weights: list[int], seed: int, warm: bool) -> None:
        servers, random = servers_of(weights), Random(seed)
        for server in servers[::2]:
            server.pool.idle.append("idle")  # type: ignore[arg-type]
        balance = algorithm(servers, Balance("leastconn"), HashType(), warm=warm)
        running: list[Server] = []
        for _ in range(200):
            if running and random.random() < 0.45:
                give(balance, running.pop(random.randrange(len(running))), -1)
                continue
            chosen = balance.pick()
            assert chosen is not None
            loads = [(each.served + 1) * 4096 // each.eweight if each.served else 0 for each in servers]
            self.assertEqual(loads[servers.index(chosen)], min(loads))
            give(balance, chosen)
            running.append(chosen)

    def test_those_that_wait_for_a_server_count(self) -> None:
        s0, s1 = servers_of([1, 1])
        s0.queue.join(Asks(), (0, 0.0, 1))
        balance = algorithm([s0, s1], Balance("leastconn"), HashType())
        give(balance, s1)
        self.assertIs(balance.pick(), s0)
        s0.queue.join(Asks(), (0, 0.0, 2))
        balance.use([s0, s1])
        self.assertIs(balance.pick(), s1)

    def test_what_is_out_of_date_does_not_add_up(self) -> None:
        servers = servers_of([1, 2, 3])
        balance = LeastConn()
        balance.use(servers)
        for _ in range(1000):
            server = balance.pick()
            assert server is not None
            give(balance, server)
            give(balance, server, -1)
        self.assertLess(len(balance._heap), 100)

    def test_a_warm_one_comes_first_among_equals_once(self) -> None:
        """Then the cold one's turn has come, so that all get as much."""
        servers = servers_of([1, 1, 1])
        servers[1].pool.idle.append("idle")  # type: ignore[arg-type]
        balance, had = algorithm(servers, Balance("leastconn"), HashType(), warm=True), []
        for _ in range(300):
            server = balance.pick()
            assert server is not None
            give(balance, server)
            give(balance, server, -1)
            had.append(server.name)
        self.assertEqual(had[:2], ["s1", "s0"])
        self.assertEqual(set(Counter(had).values()), {100})


class WarmTurnsTests(SynchronousTestCase):
    """`balance roundrobin`, with a warm server among cold ones."""

    @settings(deadline=None)
    @given(weights=st.lists(st.integers(1, 4), min_size=2, max_size=8), warm=st.sets(st.integers(0, 7)))
    def test_shares_are_the_same(self, weights: list[int], warm: set[int]) -> None:
        servers = servers_of(weights)
        for number in warm:
            servers[number % len(servers)].pool.idle.append("idle")  # type: ignore[arg-type]
        balance = algorithm(servers, Balance(), HashType(), warm=True)
        had = Counter(balance.pick() for _ in range(sum(weights) * 20))
        for server, weight in zip(servers, weights, strict=True):
            self.assertLessEqual(abs(had[server] - weight * 20), 1)

    def test_the_warm_ones_of_a_round_come_first(self) -> None:
        servers = servers_of([1] * 4)
        servers[2].pool.idle.append("idle")  # type: ignore[arg-type]
        balance = algorithm(servers, Balance(), HashType(), warm=True)
        names = [server.name for server in (balance.pick() for _ in range(8)) if server is not None]
        self.assertEqual(names, ["s2", "s0", "s1", "s3"] * 2)


class ChanceTests(SynchronousTestCase):
    def test_shares_are_the_weights_within_four_standard_deviations(self) -> None:
        weights, count = [1, 2, 3, 10, 40], 40000
        for draws in (1, 2):
            servers = servers_of(weights)
            balance = algorithm(servers, Balance("random", draws=draws), HashType())
            had = Counter(balance.pick() for _ in range(count))
            for server, weight in zip(servers, weights, strict=True):
                share = weight / sum(weights)
                self.assertLess(abs(had[server] - count * share), 4 * (count * share * (1 - share)) ** 0.5, draws)

    def test_two_draws_even_out_the_load(self) -> None:
        """400 requests that stay, at 20 servers: the most loaded has at most 2 more than the mean, with one draw it has
        many more (Mitzenmacher)."""
        worst = {}
        for draws in (1, 2):
            servers = servers_of([1] * 20)
            balance = algorithm(servers, Balance("random", draws=draws), HashType())
            for _ in range(400):
                server = balance.pick()
                assert server is not None
                give(balance, server)
            worst[draws] = max(each.served for each in servers) - 20
        self.assertLessEqual(worst[2], 2)
        self.assertGreater(worst[1], 4)


class RingTests(SynchronousTestCase):
    def ring(self, servers: list[Server], **words: Any) -> Any:
        return algorithm(servers, Balance("uri"), HashType(consistent=True, **words))

    def test_only_the_keys_of_one_that_leaves_move(self) -> None:
        servers = servers_of([1, 2, 3, 4])
        ring, keys = self.ring(servers), [avalanche(number) for number in range(2000)]
        before = [ring.bound(key) for key in keys]
        ring.use(servers[1:])
        after = [ring.bound(key) for key in keys]
        self.assertEqual({one for one, other in zip(before, after, strict=True) if one is not other}, {servers[0]})
        ring.use(servers)
        self.assertEqual([ring.bound(key) for key in keys], before)

    def test_a_lower_weight_gives_up_keys_and_takes_none(self) -> None:
        servers = servers_of([4, 4, 4])
        ring, keys = self.ring(servers), [avalanche(number) for number in range(2000)]
        before = [ring.bound(key) for key in keys]
        servers[0].throttle = 4
        ring.use(servers)
        for one, other in zip(before, [ring.bound(key) for key in keys], strict=True):
            self.assertTrue(one is other or one is servers[0])
        servers[0].weight, servers[0].throttle = 8, FULL_WEIGHT
        ring.use(servers)
        for one, other in zip(before, [ring.bound(key) for key in keys], strict=True):
            self.assertTrue(one is other or other is servers[0])

    def test_it_is_filled_in_small_steps_as_at_once(self) -> None:
        """And the backend has nothing left to do then, but for servers that are not in use."""
        servers = servers_of([1 + number % 5 for number in range(100)])
        for line in (CONSISTENT, HashType(consistent=True, factor=125)):
            settings = model.Backend(name="be", place=PLACE, balance=Balance("uri"), hash_type=line)
            made: Any = None
            sizes = []
            for made in filling(Parts(settings, servers, lambda asks: asks)):
                sizes.append(len(made._nodes))
            self.assertEqual([later - sooner for sooner, later in pairwise(sizes)], [2 * (1 + 2 + 3 + 4 + 5) * 16] * 10)
            at_once: Any = algorithm(servers, Balance("uri"), line)
            self.assertEqual([*made._nodes.after(0)], [*at_once._nodes.after(0)])
            servers[3].state = DOWN
            backend: Any = Backend(settings, servers, lambda: 0.0, lambda *said: None, balance=made)
            self.assertEqual(len(backend._balance._nodes), len(at_once._nodes) - servers[3].eweight)
            servers[3].state = UP

    def test_a_change_of_one_server_costs_its_own_nodes(self) -> None:
        """However many others there are, in calls of functions."""
        cost = []
        for count in (100, 400):
            servers = servers_of([4] * count)
            ring = self.ring(servers)
            cost.append(calls(lambda ring=ring, servers=servers: ring.use(servers[1:])) - 2 * count)  # type: ignore[misc]
            self.assertEqual(len(ring._nodes), (count - 1) * 64)
        self.assertLess(abs(cost[1] - cost[0]), 400)

    @settings(deadline=None, max_examples=60)
    @given(seed=st.integers(0, 10**6), most=st.sampled_from([3, 80, 6000]), spread=st.sampled_from([4, 2**32]))
    def test_nodes_are_those_of_a_sorted_list(self, seed: int, most: int, spread: int) -> None:
        """However they are put in and taken out, and many at the same key."""
        random = Random(seed)
        listed = [node(random.randrange(spread), number % 5, number) for number in range(most)]
        early = {each for each in listed if random.random() < 0.1}
        nodes = Nodes(early)
        nodes.add(each for each in listed if each not in early)
        gone = {each for each in listed if random.random() < random.choice([0.1, 0.99])} - {listed[0]}
        nodes.remove(gone)
        left = sorted({*listed} - gone)
        self.assertEqual((len(nodes), [*nodes.after(0)]), (len(left), left))
        for value in (0, 2**32 - 1, listed[-1] >> BEHIND_KEY, random.randrange(spread), random.randrange(2**32)):
            after = bisect_left(left, value << BEHIND_KEY) % len(left)
            rest = [*nodes.after(value << BEHIND_KEY)]
            self.assertEqual(rest, [*left[after:], *left[:after]])
            ways = [(value - (left[after - 1] >> BEHIND_KEY)) % 2**32, ((left[after] >> BEHIND_KEY) - value) % 2**32]
            self.assertEqual(nodes.nearest(value), left[after - 1] if ways[0] <= ways[1] else left[after])

    def test_no_server_has_more_than_its_share_of_a_bounded_load(self) -> None:
        """One key, of which all would go to one server."""
        servers = servers_of([1, 1, 2, 4])
        ring = self.ring(servers, factor=125)
        for count in range(1, 200):
            server = ring.bound(12345)
            give(ring, server)
            for each in servers:
                self.assertLessEqual(each.served, max(1, -(-count * 1.25 * each.weight // 8)) + 1)

    def test_affinity_ends_where_it_is_said(self) -> None:
        """At a full server, or a full queue."""
        for affinity, at_maxconn, at_maxqueue in (
            ("always", False, False),
            ("maxconn", True, True),
            ("maxqueue", False, True),
        ):
            servers = servers_of([1, 1, 1], maxconn=1, maxqueue=1)
            ring: Ring = self.ring(servers, affinity=affinity)
            own = ring.bound(99)
            assert own is not None
            own.served = 1
            self.assertEqual(ring.bound(99) is not own, at_maxconn, affinity)
            own.queue.join(Asks(), (0, 0.0, 1))
            self.assertEqual(ring.bound(99) is not own, at_maxqueue, affinity)
            for server in servers:
                server.served = 3
            self.assertIs(ring.bound(99), own)

    def test_long_keys_are_hashed_as_byte_by_byte(self) -> None:
        for name, value, base in (("sdbm", 0, 65599), ("djb2", 5381, 33)):
            key = bytes(Random(1).randrange(256) for _ in range(1000))
            for length in (0, 1, 255, 256, 257, 1000):
                expected = value
                for byte in key[:length]:
                    expected = (expected * base + byte) % 2**32
                self.assertEqual(FUNCTIONS[name](key[:length]), expected)
        self.assertEqual([FUNCTIONS["none"](key) for key in (b"12", b"-1", b"x", b"4294967296")], [12, 2**32 - 1, 0, 0])


class BoundTests(SynchronousTestCase):
    """Requests that a hash binds to their servers."""

    def backend(self, *servers: Server, **words: Any) -> Backend:
        line = model.Backend(name="be", place=PLACE, balance=Balance("uri"), **words)
        return Backend(line, [*servers], lambda: 0.0, lambda *said: None, hash_of=lambda asks: asks.key)

    def asks(self, key: int | None) -> Any:
        made: Any = Asks()
        made.key = key
        return made

    def test_they_wait_for_a_full_one_though_another_has_room(self) -> None:
        servers = servers_of([1, 1], maxconn=1)
        backend = self.backend(*servers)
        first, second, other = self.asks(0), self.asks(2), self.asks(1)
        for each in (first, second, other):
            self.assertTrue(backend.choose(each))
        self.assertEqual((first.servers, second.servers, other.servers), (["s0"], [], ["s1"]))
        backend.done(servers[1])
        self.assertEqual(second.servers, [])
        backend.done(servers[0])
        self.assertEqual(second.servers, ["s0"])

    def test_those_without_a_hash_take_turns(self) -> None:
        backend = self.backend(*servers_of([1, 1]))
        for expected in ("s0", "s1", "s0"):
            asks = self.asks(None)
            backend.choose(asks)
            self.assertEqual(asks.servers, [expected])

    def test_those_that_wait_for_one_that_falls_go_to_their_next(self) -> None:
        servers = servers_of([1, 1, 1], maxconn=1)
        backend = self.backend(*servers)
        running = [self.asks(key) for key in (0, 1, 2)]
        waiting = [self.asks(key) for key in (3, 6, 9, 12)]
        for each in (*running, *waiting):
            backend.choose(each)
        self.assertEqual(len(servers[0].queue), 4)
        backend.server_changed(servers[0], DOWN, "x")
        # Of two servers: 3 and 9 to the second, 6 and 12 to the first of them.
        self.assertEqual([len(each.queue) for each in servers], [0, 2, 2])
        backend.done(servers[2])
        backend.done(servers[1])
        self.assertEqual([each.servers for each in waiting], [["s2"], ["s1"], [], []])

    def test_one_that_is_to_avoid_its_server_goes_to_another(self) -> None:
        for kind in (HashType(), CONSISTENT):
            servers = servers_of([1, 1, 1])
            backend = self.backend(*servers, hash_type=kind)
            asks = self.asks(7)
            backend.choose(asks)
            own = next(each for each in servers if each.name == asks.servers[0])
            backend.choose(asks, own)
            self.assertNotEqual(asks.servers[0], asks.servers[1])

    def test_a_full_queue_of_its_own_sends_it_elsewhere(self) -> None:
        servers = servers_of([1, 1], maxconn=1, maxqueue=1)
        backend = self.backend(*servers)
        asked = [self.asks(0) for _ in range(3)]
        for each in asked:
            backend.choose(each)
        self.assertEqual([each.servers for each in asked], [["s0"], [], ["s1"]])


class WeightTests(SynchronousTestCase):
    def backend(self, *servers: Server, **words: Any) -> Backend:
        self.clock = Clock()
        line = model.Backend(name="be", place=PLACE, **words)
        backend = Backend(line, [*servers], self.clock.seconds, lambda *said: None)
        clock: Any = self.clock
        backend.slow_starts = {
            server: SlowStart(server, clock, backend.slow_start_advanced)
            for server in servers
            if server.settings.slowstart
        }
        return backend

    def test_servers_that_rise_together_take_their_steps_together(self) -> None:
        """The algorithm looks at all weights once for them, and not once for each."""
        servers = servers_of([1] * 50, slowstart=10.0)
        backend = self.backend(*servers)
        looks: list[int] = []
        clock: Any = self.clock
        backend.weigh_together = Together(clock, lambda: looks.append(1))
        for server in servers:
            backend.set_state(server, MAINT)
        self.clock.advance(1)
        for server in servers:
            backend.set_state(server, READY)
        self.clock.advance(0.1)
        looks.clear()
        self.clock.pump([0.1] * 30)
        self.assertIn(len(looks), (2, 3))
        backend.stop("test over")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_limit_that_was_ordered_counts_below_minconn(self) -> None:
        """Also one that is handed on at a reload, after the backend was made."""
        (server,) = servers_of([1], minconn=2, maxconn=10)
        backend = self.backend(server)
        server.limit = server.most = server.maxconn = 1
        backend.learn_limits()
        asked = [Asks() for _ in range(2)]
        for each in asked:
            backend.choose(each)
        self.assertEqual([each.servers for each in asked], [["s0"], []])

    def given(self, backend: Backend, count: int) -> Counter[str]:
        had = Counter[str]()
        for _ in range(count):
            asks = Asks()
            backend.choose(asks)
            had.update(asks.servers)
            for server in backend.servers:
                if server.name in asks.servers:
                    backend.done(server)
        return had

    def test_a_new_weight_counts_at_once(self) -> None:
        servers = servers_of([1, 1])
        backend = self.backend(*servers)
        backend.set_weight(servers[0], 3)
        self.assertEqual(self.given(backend, 40)["s0"], 30)

    def test_without_a_weight_it_is_in_drain(self) -> None:
        servers = servers_of([1, 1])
        backend = self.backend(*servers, balance=Balance("static-rr"))
        backend.set_weight(servers[0], 0)
        self.assertEqual((servers[0].state, self.given(backend, 5)), (DRAIN, {"s1": 5}))
        backend.set_weight(servers[0], 1)
        self.assertEqual(servers[0].state, UP)

    def test_static_algorithms_go_by_the_configured_weights(self) -> None:
        for said in (Balance("static-rr"), Balance("source")):
            servers = servers_of([5, 5])
            backend = self.backend(*servers, balance=said)
            backend.set_weight(servers[0], 15)
            self.assertFalse(backend.dynamic)
            self.assertEqual(Counter(each.name for each in backend._balance.map), {"s0": 1, "s1": 1})  # type: ignore[attr-defined]

    def test_one_that_comes_back_gets_its_share_by_and_by(self) -> None:
        """As HAProxy: a sixteenth at first, then a step each second (or each twentieth), in sixteenths."""
        s0, s1 = servers_of([16, 16], slowstart=10.0, maxconn=20)
        backend = self.backend(s0, s1)
        backend.server_changed(s0, DOWN, "x")
        backend.server_changed(s0, UP, "x")
        seen = []
        for _ in range(12):
            seen.append((s0.throttle, s0.maxconn))
            self.clock.advance(1)
        self.assertEqual(
            seen,
            [
                (1, 1),
                (2, 2),
                (4, 4),
                (5, 6),
                (7, 8),
                (9, 10),
                (10, 12),
                (12, 14),
                (13, 16),
                (15, 18),
                (16, 20),
                (16, 20),
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_its_requests_follow_its_weight(self) -> None:
        s0, s1 = servers_of([1, 1], slowstart=16.0)
        backend = self.backend(s0, s1)
        backend.set_state(s0, MAINT)
        backend.set_state(s0, READY)
        self.assertIn(self.given(backend, 170)["s0"], (9, 10, 11))
        self.clock.advance(8)
        self.assertEqual(s0.throttle, 9)
        self.clock.advance(9)
        self.assertIn(self.given(backend, 100)["s0"], (49, 50, 51))

    def test_one_that_falls_again_begins_again(self) -> None:
        s0, s1 = servers_of([1, 1], slowstart=10.0)
        backend = self.backend(s0, s1)
        for _ in range(2):
            backend.server_changed(s0, DOWN, "x")
            self.assertEqual(self.clock.getDelayedCalls(), [])
            backend.server_changed(s0, UP, "x")
            self.assertEqual(s0.throttle, 1)
            self.clock.advance(5)
            self.assertEqual(s0.throttle, 9)

    def test_a_room_that_opens_is_given_to_those_who_wait(self) -> None:
        (s0,) = servers_of([1], slowstart=10.0, maxconn=10)
        backend = self.backend(s0)
        backend.server_changed(s0, DOWN, "x")
        backend.server_changed(s0, UP, "x")
        asked = [Asks() for _ in range(4)]
        for each in asked:
            backend.choose(each)
        self.assertEqual([len(each.servers) for each in asked], [1, 0, 0, 0])
        self.clock.advance(3)
        self.assertEqual([len(each.servers) for each in asked], [1, 1, 1, 0])

    def test_a_static_one_grows_in_its_limit_alone(self) -> None:
        s0, s1 = servers_of([1, 1], slowstart=10.0, maxconn=10)
        backend = self.backend(s0, s1, balance=Balance("static-rr"))
        backend.server_changed(s0, DOWN, "x")
        backend.server_changed(s0, UP, "x")
        self.assertEqual((self.given(backend, 10)["s0"], s0.maxconn), (5, 1))

    def test_it_begins_anew_after_nolb(self) -> None:
        """There it has its full share of those that are bound to it, as in HAProxy."""
        (s0,) = servers_of([1], slowstart=10.0, maxconn=10)
        backend = self.backend(s0)
        said = []
        for health in (DOWN, UP, NOLB, UP):
            backend.server_changed(s0, health, "x")
            said.append((s0.state, s0.throttle, s0.maxconn))
        self.assertEqual(said[1:], [(UP, 1, 1), (NOLB, FULL_WEIGHT, 10), (UP, 1, 1)])

    def test_it_goes_on_after_a_reload(self) -> None:
        (old,), (new,) = servers_of([1], slowstart=10.0), servers_of([1], slowstart=10.0)
        backend = self.backend(old)
        backend.server_changed(old, DOWN, "x")
        backend.server_changed(old, UP, "x")
        self.clock.advance(5)
        new.succeed(old)
        clock: Any = self.clock
        SlowStart(new, clock, lambda server: None).go_on()
        self.assertEqual(new.throttle, 9)
        self.clock.advance(5)
        self.assertEqual(new.throttle, FULL_WEIGHT)


class HashesAllTests(SynchronousTestCase):
    def test_each_hash_word_binds(self) -> None:
        for word in HASHES:
            for kind in (HashType(), CONSISTENT):
                balance = algorithm(servers_of([1, 1, 1]), Balance(word), kind)
                self.assertIsInstance(balance, ByHash)
                assert isinstance(balance, ByHash)
                self.assertIs(balance.bound(5), balance.bound(5))
