"""What is kept of many values: how many were how large."""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.measures import histogram
from reusedproxy.measures.histogram import Histogram

BOUNDS = (0.1, 1.0, 10.0)
VALUES = st.lists(st.floats(0, 100))


class HistogramTests(SynchronousTestCase):
    """Bounds belong to the bucket below them, as in Prometheus (`le`)."""

    def filled(self, *values: float) -> Histogram:
        counted = Histogram(BOUNDS)
        for value in values:
            counted.observe(value)
        return counted

    def test_nothing_has_come(self) -> None:
        empty = self.filled()
        self.assertEqual((empty.count, empty.mean, empty.quantile(0.5)), (0, None, None))
        self.assertEqual(empty.cumulative(), [(0.1, 0), (1.0, 0), (10.0, 0), (inf, 0)])

    def test_a_bound_belongs_to_what_is_below_it(self) -> None:
        self.assertEqual(self.filled(0.0, 0.1, 0.1001, 1.0, 10.0, 10.1).counts, [2, 2, 1, 1])

    def test_cumulative_is_made_when_it_is_read(self) -> None:
        self.assertEqual(self.filled(0.05, 0.5, 0.5, 50).cumulative(), [(0.1, 1), (1.0, 3), (10.0, 3), (inf, 4)])

    def test_quantiles_are_upper_bounds(self) -> None:
        counted = self.filled(*[0.05] * 50, *[0.5] * 49, 50)
        self.assertEqual([counted.quantile(share) for share in (0.5, 0.51, 0.99, 0.991)], [0.1, 1.0, 1.0, inf])

    def test_estimates_lie_between_the_bounds(self) -> None:
        """As Prometheus' histogram_quantile has them."""
        counted = self.filled(*[0.05] * 50, *[0.5] * 49, 50)
        found = [counted.estimate(share) for share in (0.25, 0.5, 0.75, 0.99, 0.995)]
        for value, wanted in zip(found, (0.05, 0.1, 0.1 + 0.9 * 25 / 49, 1.0, 10.0), strict=True):
            assert value is not None
            self.assertAlmostEqual(value, wanted)
        self.assertIsNone(self.filled().estimate(0.5))

    def test_two_together(self) -> None:
        both = self.filled(0.0625, 5).joined(self.filled(0.0625, 50))
        self.assertEqual((both.counts, both.sum), ([2, 0, 1, 1], 55.125))

    def test_those_of_a_pool_have_rising_bounds(self) -> None:
        for bounds in (
            histogram.DURATIONS,
            histogram.ANSWERS,
            histogram.PATIENCES,
            histogram.IDLE_AGES,
            histogram.LIVES,
        ):
            self.assertEqual(list(bounds), sorted(set(bounds)))
            self.assertGreater(bounds[0], 0)
        self.assertEqual(list(histogram.REQUESTS), sorted(set(histogram.REQUESTS)))
        self.assertEqual(histogram.DURATIONS[0], 50e-6)

    @given(VALUES)
    def test_all_values_are_in_it(self, values: list[float]) -> None:
        """And the quantiles are those of the values, rounded up to a bound."""
        counted = self.filled(*values)
        self.assertEqual(counted.count, len(values))
        self.assertAlmostEqual(counted.sum, sum(values))
        steps = [count for _, count in counted.cumulative()]
        self.assertEqual(steps, sorted(steps))
        self.assertEqual(steps[-1], len(values))
        ordered = sorted(values)
        for share in (0.5, 0.9, 0.99) if values else ():
            needed = next(n for n in range(len(ordered) + 1) if n >= share * len(ordered))
            exact = ordered[needed - 1]
            self.assertEqual(counted.quantile(share), (*BOUNDS, inf)[bisect_left(BOUNDS, exact)])
