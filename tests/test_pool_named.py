"""A pool for each name of a server's connections: what they share, and what they do not."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.net import backlog
from reusedproxy.pool import named as names
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.dialing.governor import Governor
from reusedproxy.pool.holdings import Holdings
from reusedproxy.pool.kinds import NEW
from reusedproxy.pool.lone import LoneDial
from reusedproxy.pool.named import FREED_AFTER, KEPT_FOR, KEPT_NAMES, SWEEP, Name, NameRefused, host_name, naming
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.upkeep import Upkeep
from reusedproxy.wire.heads import Limits
from tests.fakes import Asker, FakeDialer, RecordingExchange

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Bench:
    """A server's pools on a clock; `dialers` by SNI."""

    def __init__(self, own: bytes | None = b"", answers: bool = True, **limits: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.announced: list[tuple[str, str]] = []
        self.dialers: dict[bytes, FakeDialer] = {}
        self.answers = answers
        self.pool = ConstantPool(
            "Server be/s1",
            self.dialer_for(Name(own or b"", own or b"")),
            PoolLimits(**limits),
            self.clock,
            Random(1),
            lambda level, text: self.announced.append((level, text)),
            Limits(),
            Budget(self.clock),
            own=own,
            dialer_for=self.dialer_for,
        )
        self.pool.resume()

    def dialer_for(self, name: Name) -> Any:
        sni = name.sni + name.preface
        if b" " in sni:
            raise NameRefused("it is not a host name")
        if sni not in self.dialers:
            dialer = self.dialers[sni] = FakeDialer(self.clock)
            if self.answers:
                dialer.answer = dialer.accept
        return self.dialers[sni]

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.02] * round(seconds / 0.02))

    def named(self, name: bytes) -> HTTPConnectionPool:
        return self.pool.named(Name(name, name))

    def borrow(self, name: bytes, kind: int = NEW) -> Any:
        """A connection of this name, opened if need be."""
        pool = self.named(name)
        connection = pool.acquire()
        if connection is None:
            asker = Asker()
            pool.wait(asker, kind)
            self.pass_time(0.1)
            (connection,) = asker.connections
        return connection

    def borrow_all(self, *names: bytes) -> list[Any]:
        """Connections of these names, all in use at once."""
        return [self.borrow(name) for name in names]

    def use(self, connection: Any) -> None:
        connection.send(RecordingExchange(), GET, True, None)
        connection.transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")

    def idle(self) -> int:
        return sum(len(pool.idle) for pool in self.pool.family)

    @property
    def timers_left(self) -> Sequence[IDelayedCall]:
        for dialer in self.dialers.values():
            dialer.deadlines.stop()
        return self.clock.getDelayedCalls()


def parts_of_pools() -> Counter[str]:
    """How many of them are in memory, used or not. (Pools themselves may be owners of fakes, which hold each other.)"""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, (Holdings, Upkeep, Governor)))


class NamesTests(SynchronousTestCase):
    """`sni req.hdr(host)`."""

    def test_a_connection_serves_its_own_name_only(self) -> None:
        """And is opened with it."""
        bench = Bench()
        one = bench.borrow(b"a.test")
        self.assertIsNone(bench.named(b"b.test").acquire())
        other = bench.borrow(b"b.test")
        bench.use(one)
        self.assertIsNone(bench.named(b"b.test").acquire())
        self.assertIsNone(bench.pool.acquire())
        bench.use(other)
        self.assertIs(bench.borrow(b"a.test"), one)
        self.assertIs(bench.borrow(b"b.test"), other)
        self.assertEqual(
            {sni: len(dialer.dials) for sni, dialer in bench.dialers.items()}, {b"": 0, b"a.test": 1, b"b.test": 1}
        )

    def test_the_name_that_is_known_keeps_the_floor(self) -> None:
        """It is warm before anybody asks; others are not."""
        bench = Bench(own=b"a.test", min_conn=3)
        bench.pass_time(1)
        self.assertIs(bench.named(b"a.test"), bench.pool)
        self.assertEqual(len(bench.pool.idle), 3)
        self.assertEqual(len(bench.named(b"b.test").idle), 0)
        bench.pass_time(2)
        self.assertEqual(bench.idle(), 3)

    def test_they_count_together(self) -> None:
        """The statistics of a server are of all its names."""
        bench = Bench()
        for connection in bench.borrow_all(b"a", b"b"):
            bench.use(connection)
        bench.use(bench.borrow(b"a"))
        counters = bench.pool.counters
        self.assertEqual((counters.requests, counters.reuses, counters.handshakes), (3, 1, 2))
        self.assertEqual(counters.used_max, 2)
        numbers = [connection.number for pool in bench.pool.family for connection in pool.idle]
        self.assertEqual(sorted(numbers), [1, 2])

    def test_they_learn_together(self) -> None:
        """What the server says under one name holds for all."""
        bench = Bench()
        bench.use(bench.borrow(b"a"))
        bench.named(b"a").upkeep.advertised(b"timeout=7")
        bench.use(bench.borrow(b"b"))
        self.assertEqual(bench.named(b"b").upkeep.used.limit, 7)
        self.assertEqual(bench.pool.upkeep.used.limit, 7)

    def test_a_name_that_is_refused_makes_no_other_wait(self) -> None:
        """A client may ask for any name it likes."""
        bench = Bench()
        bad = bench.named(b"bad")
        bench.dialers[b"bad"].answer = bench.dialers[b"bad"].refuse
        for _ in range(5):
            bad.wait(Asker())
            bench.pass_time(0.5)
        self.assertTrue(bad.trouble)
        self.assertEqual(bench.pool.trouble, "")
        bench.use(bench.borrow(b"good"))

    def test_refused_names_are_no_flood(self) -> None:
        """One line for all of them now and then, with how many there were."""
        bench = Bench()
        for number in range(30):
            name = b"bad%d" % number
            pool = bench.named(name)
            bench.dialers[name].answer = bench.dialers[name].refuse
            pool.wait(Asker())
            bench.pass_time(0.5)
        lines = [text for _, text in bench.announced]
        self.assertLess(len(lines), 4, lines)
        self.assertIn("attempts since the last line", lines[-1])

    def test_what_is_no_name_is_refused(self) -> None:
        """Nothing is opened for it."""
        bench = Bench()
        self.assertRaises(NameRefused, bench.named, b"a b")
        self.assertEqual(list(bench.pool.family), [bench.pool])

    def test_pool_conn_name_is_shared_by_snis(self) -> None:
        """The operator says that they are the same; the first one opens."""
        bench = Bench(own=None)
        pool = bench.pool.named(Name(b"all", b"a.test"))
        self.assertIsNot(pool, bench.pool)
        self.assertIs(bench.pool.named(Name(b"all", b"b.test")), pool)
        self.assertEqual(set(bench.dialers), {b"", b"a.test"})

    def test_a_preface_makes_connections_of_one_client(self) -> None:
        """`send-proxy`: never the constant pool's, whatever the name; and they say so."""
        bench = Bench(own=None)
        one, other = (bench.pool.named(Name(b"", b"", preface)) for preface in (b"A", b"B"))
        self.assertEqual((one.solo, other.solo, bench.pool.solo), (True, True, False))
        self.assertIsNot(one, other)
        self.assertEqual(set(bench.dialers), {b"", b"A", b"B"})

    def test_idle_ones_of_all_names_are_bounded(self) -> None:
        """`pool-max-conn`: the one idle for the longest goes, whatever its name."""
        bench = Bench(max_conn=2)
        for connection in bench.borrow_all(b"a", b"b", b"c"):
            bench.use(connection)
            bench.pass_time(0.1)
        self.assertEqual([len(bench.named(name).idle) for name in (b"a", b"b", b"c")], [0, 1, 1])
        self.assertEqual(bench.pool.closed, {"pool full": 1})

    def test_a_client_that_asks_for_ever_new_names_keeps_one_connection(self) -> None:
        """It uses one at a time, so no more than one stands, under whatever names; it drives nobody else's out."""
        bench = Bench()
        for number in range(20):
            bench.use(bench.borrow(b"n%d" % number))
            self.assertEqual((bench.idle(), bench.pool.counted), (1, 1))
        self.assertEqual([len(bench.named(b"n%d" % number).idle) for number in (0, 19)], [1, 0])
        self.assertEqual(bench.pool.closed, {"more than are needed": 19})

    def test_names_that_are_asked_for_again_keep_a_connection_each(self) -> None:
        """As many as a few clients may use in turn; but no more, and not for ever."""
        bench = Bench()
        for _ in range(5):
            for name in (b"a", b"b", b"c"):
                bench.use(bench.borrow(name))
        self.assertEqual((bench.idle(), bench.pool.counters.handshakes), (3, 5))
        for _ in range(2):
            for number in range(3 * KEPT_NAMES):
                bench.use(bench.borrow(b"n%d" % number))
        self.assertLessEqual(bench.idle(), 1 + KEPT_NAMES)
        bench.pass_time(KEPT_FOR + 3 * SWEEP)
        self.assertLessEqual(bench.idle(), 1)

    def test_what_is_kept_for_one_client_is_neither_in_use_nor_too_much(self) -> None:
        """`send-proxy`: one for each client at most, which ends with it; it costs the connections of others nothing."""
        bench = Bench(own=None)
        kept = []
        for number in range(20):
            pool = bench.pool.named(Name(b"", b"", b"%d" % number))
            pool.wait(asker := Asker())
            bench.pass_time(0.1)
            asker.connections[0].private = True
            bench.use(asker.connections[0])
            kept += asker.connections
        bench.use(bench.borrow(b"other"))
        self.assertEqual(
            (bench.pool.names.used, bench.pool.names.wanted, bench.idle(), bench.pool.counted), (0, 0, 1, 21)
        )
        pool_of_it: Any = kept[0].pool
        pool_of_it.take(kept[0])
        self.assertEqual((bench.pool.names.used, bench.pool.names.wanted), (1, 1))
        bench.use(kept[0])
        for connection in kept:
            connection.pool.retire(connection, "client gone")
        self.assertEqual((bench.pool.names.used, bench.pool.names.wanted, bench.pool.counted), (0, 0, 1))

    def test_names_that_are_used_at_once_all_stay_warm(self) -> None:
        """Then all of them are needed."""
        bench = Bench()
        names = [b"n%d" % number for number in range(10)]
        for connection in bench.borrow_all(*names):
            bench.use(connection)
        self.assertEqual(bench.idle(), 10)
        for connection in bench.borrow_all(*names):
            bench.use(connection)
        self.assertEqual(bench.pool.counters.handshakes, 10)

    def test_who_waits_under_some_name_counts_as_in_use(self) -> None:
        """Their server is quicker to answer than to shake hands; they would all have used one at once."""
        bench = Bench(answers=False)
        askers = [Asker() for _ in range(5)]
        for number, asker in enumerate(askers):
            bench.named(b"n%d" % number).wait(asker, NEW)
        for number, asker in enumerate(askers):
            bench.dialers[b"n%d" % number].open[0].succeed()
            bench.use(asker.connections[0])
        self.assertEqual(bench.idle(), 5)

    def test_who_has_left_does_not_count_for_those_who_come_later(self) -> None:
        """Neither do those who were told that there is no connection."""
        bench = Bench(answers=False, purge_delay=1.0)
        askers = [Asker() for _ in range(6)]
        for number, asker in enumerate(askers):
            bench.named(b"n%d" % number).wait(asker)
        for number, asker in enumerate(askers[:3]):
            bench.named(b"n%d" % number).leave(asker)
        for number in range(3, 6):
            bench.dialers[b"n%d" % number].open[0].fail()
        self.assertEqual(bench.pool.names.wanted, 0)

    def test_pool_low_conn_keeps_more_names_warm(self) -> None:
        """For clients that take turns with several names, one at a time."""
        bench = Bench(low_conn=4)
        for _ in range(3):
            for name in (b"a", b"b", b"c", b"d"):
                bench.use(bench.borrow(name))
        self.assertEqual((bench.idle(), bench.pool.counters.handshakes), (4, 4))

    def test_no_other_name_costs_the_floor_anything(self) -> None:
        """It stands on top of what is called for, though its connections have stood the longest."""
        bench = Bench(own=b"own", min_conn=3)
        bench.pass_time(1)
        floor = [*bench.pool.idle]
        for number in range(10):
            bench.use(bench.borrow(b"n%d" % number))
        self.assertEqual((bench.pool.idle, bench.idle()), (floor, 4))
        bench.pass_time(30)
        self.assertEqual((bench.pool.idle, bench.idle()), (floor, 3))

    def test_what_was_needed_once_is_purged_under_all_names(self) -> None:
        """Half of it at a time, the longest idle first, as in a pool without names."""
        bench = Bench()
        for connection in bench.borrow_all(*(b"n%d" % number for number in range(16))):
            bench.use(connection)
            bench.pass_time(0.02)
        left = []
        for _ in range(12):
            bench.pass_time(5)
            left.append(bench.idle())
        self.assertEqual(left, sorted(left, reverse=True))
        self.assertLess(left[-1], 2)
        self.assertEqual(set(bench.pool.closed), {"purged"})

    def test_what_a_hasty_server_may_yet_close_is_not_too_much(self) -> None:
        """It counts as in use, as in a pool without names, until it has outlived that."""
        bench = Bench()
        haste = bench.pool.holdings.guard.haste
        haste.hasty = True
        for _ in range(20):
            haste._ages.append(0.05)
        for name in (b"a", b"b", b"c"):
            pool = bench.named(name)
            asker = Asker()
            pool.wait(asker)
            bench.dialers[name].open[0].succeed()
            bench.use(asker.connections[0])
        self.assertEqual(bench.idle(), 3)

    def test_those_of_all_names_end_in_the_same_slices(self) -> None:
        """However many names a server that is DOWN had, and all at once when the daemon stops."""
        ways: list[tuple[Callable[[ConstantPool], None], int]] = [
            (lambda pool: pool.suspend("server DOWN"), 9),
            (lambda pool: pool.close("stopping"), 0),
        ]
        for ends, left in ways:
            self.patch(backlog, "SLICE", 0.0)  # one in each
            bench = Bench()
            for connection in bench.borrow_all(*(b"n%d" % number for number in range(10))):
                bench.use(connection)
            ends(bench.pool)
            self.assertEqual((bench.idle(), bench.pool.counted), (0, left))
            bench.pass_time(0.5)
            self.assertEqual(bench.pool.counted, 0)

    def test_names_that_are_not_used_cost_no_time(self) -> None:
        """All pools of a server have one timer, and what holds nothing is not looked at."""
        bench = Bench(own=b"own", min_conn=1)
        bench.pass_time(0.1)
        timers = len(bench.clock.getDelayedCalls())
        for number in range(50):
            bench.use(bench.borrow(b"n%d" % number))
        self.assertLessEqual(len(bench.clock.getDelayedCalls()), timers + 1)
        bench.pass_time(1.1)
        self.assertEqual(list(bench.pool.holding()), [bench.pool, bench.named(b"n49")])

    def test_upkeep_goes_on_when_it_has_failed_for_one_name(self) -> None:
        """The other names have theirs the next time."""
        bench = Bench(idle_timeout=3.0)
        for connection in bench.borrow_all(b"a", b"b"):
            bench.use(connection)
        patched = self.patch(bench.named(b"a").upkeep, "look_after", lambda now: 1 // 0)
        self.assertRaises(ZeroDivisionError, bench.pass_time, 1.5)
        patched.restore()
        bench.pass_time(5)
        self.assertEqual(bench.idle(), 0)

    def test_strict_maxconn_bounds_all_names(self) -> None:
        """An idle connection of one name makes room for another's request;
        who waits gets the first place that is free."""
        bench = Bench(most=2)
        bench.use(bench.borrow(b"a"))
        first, second = bench.borrow(b"b"), bench.borrow(b"c")
        self.assertEqual((bench.idle(), bench.pool.counted), (0, 2))
        asker = Asker()
        bench.named(b"d").wait(asker)
        bench.pass_time(0.5)
        self.assertEqual((asker.told, bench.pool.counted), (0, 2))
        bench.use(first)
        bench.pass_time(0.1)
        self.assertEqual((len(asker.connections), bench.pool.counted), (1, 2))
        bench.use(second)

    def test_no_idle_ones_when_none_are_kept(self) -> None:
        """`pool-max-conn 0`, `pool-purge-delay 0`."""
        for limits in ({"max_conn": 0}, {"purge_delay": 0.0}):
            bench = Bench(**limits)
            bench.use(bench.borrow(b"a"))
            self.assertEqual(bench.idle(), 0, limits)

    def test_names_that_nobody_asks_for_are_forgotten(self) -> None:
        """Once their connections are gone, nothing is left of them."""
        bench = Bench(idle_timeout=5.0)
        bench.use(bench.borrow(b"a"))
        bench.use(bench.borrow(b"b"))
        bench.pass_time(9)
        bench.named(b"b")
        self.assertEqual(len(list(bench.pool.family)), 3)
        bench.pass_time(30)
        self.assertEqual(list(bench.pool.family), [bench.pool])
        bench.use(bench.borrow(b"a"))

    def test_names_are_bounded(self) -> None:
        """Somebody who asks for ever new ones drives out quiet ones, never what is in use."""
        self.patch(names, "NAMES", 5)
        bench = Bench()
        busy = bench.borrow(b"busy")
        for number in range(20):
            bench.use(bench.borrow(b"n%d" % number))
        self.assertEqual(len(list(bench.pool.family)), 6)
        bench.use(busy)
        self.assertIs(bench.borrow(b"busy"), busy)

    def test_the_pools_of_forgotten_names_are_freed_without_the_garbage_collector(self) -> None:
        """It would free those of thousands in one run, 0.3 s of the event loop."""
        self.patch(names, "NAMES", 5)
        bench = Bench()
        gc.collect()
        before = parts_of_pools()
        gc.disable()
        self.addCleanup(gc.enable)
        for number in range(40):
            bench.use(bench.borrow(b"n%d" % number))
            bench.dialers.clear()
            bench.pass_time(0.1)
        bench.pass_time(2 * FREED_AFTER + 1)
        self.assertEqual(parts_of_pools() - before, {"Holdings": 5, "Upkeep": 5, "Governor": 5})
        bench.use(bench.borrow(b"n39"))

    def test_the_pool_of_a_forgotten_name_waits_for_a_dial_past_it(self) -> None:
        """That of a client with a PROXY header, say, which takes as long as it may."""
        self.patch(names, "NAMES", 2)
        bench = Bench(answers=False)
        pool = bench.named(b"slow")
        asker = Asker()
        LoneDial(pool, asker)
        for number in range(3):
            bench.named(b"n%d" % number)
        self.assertNotIn(pool, bench.pool.family)
        bench.pass_time(SWEEP + FREED_AFTER + 1)
        bench.dialers[b"slow"].open[0].succeed()
        (connection,) = asker.connections
        bench.use(connection)
        bench.pass_time(SWEEP + FREED_AFTER + 1)
        self.assertEqual((pool.state, hasattr(pool, "holdings")), ("closed", False))

    def test_what_is_said_to_one_is_said_to_all(self) -> None:
        """Suspended, resumed, drained, closed."""
        bench = Bench()
        for name in (b"a", b"b"):
            bench.use(bench.borrow(name))
        held = bench.borrow(b"a")
        bench.pool.suspend("server DOWN")
        self.assertEqual(bench.idle(), 0)
        asker = Asker()
        bench.named(b"b").wait(asker)
        self.assertEqual(len(asker.failures), 1)
        bench.named(b"new").wait(asker)
        self.assertEqual(len(asker.failures), 2)
        bench.use(held)
        bench.pool.resume()
        bench.use(bench.borrow(b"b"))
        bench.pool.drain("reload")
        self.assertEqual(bench.idle(), 0)
        bench.use(bench.borrow(b"b"))
        self.assertEqual(bench.idle(), 0)
        bench.pool.close("stopped")
        self.assertEqual(bench.timers_left, [])


class NamingTests(SynchronousTestCase):
    """Which name a request's connection has."""

    def test_host_names(self) -> None:
        """As in SNI: no port, no final dot, in small letters."""
        for value, name in (
            (b"a.test", b"a.test"),
            (b"A.Test:8443", b"a.test"),
            (b"a.test.", b"a.test"),
            (b"[::1]:80", b"::1"),
            (b"[::1]", b"::1"),
            (b"::1", b"::1"),
            (b"192.0.2.1:80", b"192.0.2.1"),
            (b"", b""),
        ):
            self.assertEqual(host_name(value), name)

    def test_the_sni_is_the_name(self) -> None:
        """Unless `pool-conn-name` says another; nothing fetched is no name."""
        self.assertEqual(naming(lambda facts: b"A:1", None)(None), Name(b"a", b"a"))
        self.assertEqual(naming(lambda facts: None, None)(None), Name(b"", b""))
        self.assertEqual(naming(lambda facts: b"A", lambda facts: b"Tenant 7")(None), Name(b"Tenant 7", b"a"))
        self.assertEqual(naming(b"fixed", lambda facts: None)(None), Name(b"", b"fixed"))
        self.assertEqual(naming(b"a", None, lambda facts: b"PROXY")(None), Name(b"a", b"a", b"PROXY"))


class NamesMachine(RuleBasedStateMachine):
    """Requests of several names, servers that close and refuse, ceilings over all."""

    NAMES = st.sampled_from([b"", b"a", b"b", b"c"])

    def __init__(self) -> None:
        super().__init__()
        # What is held here has no exchange for as long as it likes.
        self.bench = Bench(answers=False, most=2, max_conn=1, overdue_after=1e9)
        self.waiting: list[Asker] = []
        self.held: list[Any] = []

    def collect(self) -> None:
        for asker in [*self.waiting]:
            if asker.told:
                assert asker.told == 1
                self.waiting.remove(asker)
                self.held += asker.connections

    @rule(name=NAMES)
    def ask(self, name: bytes) -> None:
        pool = self.bench.named(name)
        connection = pool.acquire()
        if connection is not None:
            assert connection.pool is pool
            self.held.append(connection)
        else:
            asker = Asker()
            self.waiting.append(asker)
            pool.wait(asker)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["use", "close", "lose"]))
    def end(self, data: Any, how: str) -> None:
        connection = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        if how == "use":
            self.bench.use(connection)
        elif how == "close":
            connection.give_up("client gone")
        else:
            connection.send(RecordingExchange(), GET, True, None)
            connection.transport.peer_ends()

    @precondition(lambda self: any(dialer.open for dialer in self.bench.dialers.values()))
    @rule(data=st.data(), well=st.booleans())
    def dialled(self, data: Any, well: bool) -> None:
        dials = [dial for dialer in self.bench.dialers.values() for dial in dialer.open]
        dial = data.draw(st.sampled_from(dials))
        if well:
            dial.succeed()
        else:
            dial.fail()

    @precondition(lambda self: self.bench.idle())
    @rule(data=st.data())
    def server_closes(self, data: Any) -> None:
        idle = [connection for pool in self.bench.pool.family for connection in pool.idle]
        data.draw(st.sampled_from(idle)).transport.peer_ends()

    @rule(seconds=st.floats(0.1, 12))
    def pass_time(self, seconds: float) -> None:
        self.bench.pass_time(seconds)

    @rule()
    def down_and_up(self) -> None:
        self.bench.pool.suspend("server DOWN")
        assert not any(pool.waiters for pool in self.bench.pool.family)
        self.bench.pool.resume()

    def standing(self) -> int:
        return sum(pool.standing for pool in self.bench.pool.family)

    @invariant()
    def ceilings_hold(self) -> None:
        self.collect()
        assert self.standing() <= 2
        assert self.bench.idle() <= 1
        waiting = sum(len(pool.waiters) for pool in self.bench.pool.family)
        assert waiting == len(self.waiting)

    @invariant()
    def what_is_counted_for_all_is_true(self) -> None:
        constant, pools = self.bench.pool, list(self.bench.pool.family)
        used = sum(len(pool.in_use) for pool in pools)
        assert constant.names.used == used
        assert constant.names.wanted == used + len(self.waiting)
        idle = [connection for pool in pools if pool is not constant for connection in pool.idle]
        assert [*constant.names.rested] == sorted(idle, key=lambda each: each.idle_since)
        assert all(pool in constant.names.awake for pool in pools if pool.standing or pool.waiters)

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        """Unless its pool has just been refused, and waits before it tries again."""
        pools = list(self.bench.pool.family)
        if any(len(pool.waiters) > len(pool.connecting) and not pool.trouble for pool in pools):
            assert self.standing() == 2, [repr(pool) for pool in pools]
            assert not self.bench.idle(), [repr(pool) for pool in pools]

    def teardown(self) -> None:
        self.bench.pool.close("stopped")
        self.collect()
        assert not self.waiting
        assert self.bench.timers_left == []


class NamesMachineTests(NamesMachine.TestCase):  # type: ignore[misc, valid-type]
    """Hypothesis looks for an order of events that breaks a promise."""

    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
