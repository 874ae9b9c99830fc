"""How many bytes bandwidth limits let pass by when, for one transfer and for several that share a limit."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tables import StickTable, Stored
from reusedproxy.config.model.values import Place
from reusedproxy.tables.allowances import FIRST, Own, Share
from reusedproxy.tables.table import Table

MUCH = 10**9


class OwnTests(SynchronousTestCase):
    def test_the_first_bytes_pass_at_once_and_the_others_evenly(self) -> None:
        own = Own(100_000, 2.0)
        own.enter(5.0)
        passed = self.take(own, 5.0)
        self.assertEqual(passed, FIRST)
        for number in range(1, 200):
            now = 5.0 + number / 64
            passed += self.take(own, now)
            self.assertEqual(passed, int(FIRST + 50_000 * number / 64 + 1e-6))

    def test_no_fewer_than_the_least_pass_but_for_the_last(self) -> None:
        own = Own(1000, 1.0, least=600)
        own.enter(0.0)
        self.assertEqual(self.take(own, 0.0), 1000)
        self.assertEqual(self.take(own, 0.5), 0)
        self.assertEqual(own.wait(MUCH, 0.5), 0.1)
        self.assertEqual(self.take(own, 0.7), 700)
        self.assertEqual(own.offer(20, 0.72), 20)

    def test_what_is_not_used_for_long_is_lost(self) -> None:
        own = Own(1000, 1.0)
        own.enter(0.0)
        self.assertEqual(self.take(own, 0.0), 1000)
        self.assertEqual(self.take(own, 100.0), 1000)

    def take(self, own: Own, now: float) -> int:
        size = own.offer(MUCH, now)
        own.spend(size, now)
        return size

    @given(
        limit=st.integers(1, 10**8),
        period=st.floats(0.01, 100),
        least=st.integers(0, 10**5),
        steps=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 10**6)), max_size=50),
    )
    @settings(max_examples=200, deadline=None)
    def test_never_more_passes_than_the_limit_and_who_waits_as_told_gets_some(
        self, limit: int, period: float, least: int, steps: list[tuple[float, int]]
    ) -> None:
        own, now, passed = Own(limit, period, least), 1.0, 0
        own.enter(now)
        first = max(1, min(limit, max(FIRST, least)))
        for pause, wanted in steps:
            now += pause
            size = own.offer(wanted, now)
            own.spend(size, now)
            passed += size
            self.assertLessEqual(passed, max(first, limit / period / 8) + (now - 1) * limit / period + 1)
            if size < wanted:
                now += own.wait(wanted - size, now)
                more = own.offer(wanted - size, now)
                self.assertGreater(more, 0)
                own.spend(more, now)
                passed += more


class ShareTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        stored = (Stored("bytes_out_rate", 1000),)
        self.table = Table(StickTable("t", Place("t.cfg", 1), "ip", 10, stored=stored), self.clock.seconds)

    def share(self, limit: int = 64_000, key: str = "192.0.2.1", least: int = 0) -> Share:
        share = Share(self.table, self.table.slots["bytes_out_rate"], key, limit, least)
        share.enter(self.clock.seconds())
        return share

    def take(self, share: Share, wanted: int = MUCH) -> int:
        now = self.clock.seconds()
        size = share.offer(wanted, now)
        if size:
            share.spend(size, now)
        if size < wanted:
            share.wait(wanted - size, now)
        return size

    def test_those_who_wait_have_equal_parts_and_together_no_more_than_the_limit(self) -> None:
        shares = [self.share() for _ in range(4)]
        got = [self.take(share) for share in shares]
        self.assertEqual(got, [FIRST, 0, 0, 0])
        for _ in range(640):
            self.clock.advance(1 / 64)
            got = [had + self.take(share) for had, share in zip(got, shares, strict=True)]
        self.assertLessEqual(abs(sum(got) - FIRST - 640_000), 10)
        self.assertLessEqual(max(got[1:]) - min(got[1:]), 10)
        self.assertLessEqual(abs(got[0] - FIRST - got[1]), 10)

    def test_who_could_not_send_gives_back_his_part(self) -> None:
        """Until he waits again: what nobody else uses is not kept for him."""
        busy, blocked = self.share(), self.share()
        got = self.take(busy)
        self.take(blocked)
        self.clock.advance(1 / 64)
        blocked.rest(self.clock.seconds())
        for _ in range(64):
            self.clock.advance(1 / 64)
            got += self.take(busy)
        self.assertLessEqual(abs(got - FIRST - 65_000), 10)
        self.take(blocked)
        was = got
        for _ in range(64):
            self.clock.advance(1 / 64)
            got += self.take(busy)
            self.take(blocked)
        self.assertLessEqual(abs(got - was - 32_000), 1000)

    def test_who_does_not_wait_has_no_part(self) -> None:
        busy, _ = self.share(), self.share()
        got = self.take(busy)
        for _ in range(64):
            self.clock.advance(1 / 64)
            got += self.take(busy)
        self.assertLessEqual(abs(got - FIRST - 64_000), 10)

    def test_each_new_transfer_finds_what_the_table_has_counted(self) -> None:
        passed = 0
        for _ in range(20):
            share = self.share()
            passed += self.take(share)
            share.leave(self.clock.seconds())
        self.assertEqual(passed, 64_000)
        self.assertEqual(self.table.lent, {})
        self.clock.advance(2)
        self.assertEqual(self.take(self.share()), FIRST)

    def test_a_full_table_limits_nothing(self) -> None:
        for number in range(10):
            self.share(key=f"192.0.2.{number}")
        self.assertEqual(self.take(self.share(key="192.0.2.99"), 10**6), 10**6)

    def test_nothing_is_left_behind(self) -> None:
        share = self.share()
        share.enter(self.clock.seconds())  # a request that is sent again, before its first connection is gone
        self.take(share)
        for uses in (1, 0):
            self.assertEqual(len(self.table.lent), 1)
            share.leave(self.clock.seconds())
            self.assertEqual(self.table.uses[1], uses)
        self.assertEqual(self.table.lent, {})
