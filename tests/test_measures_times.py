"""How long requests take: sums that are cheap to make, and averages like HAProxy's."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.measures.times import WINDOW, Averages, Means, Sums, Times
from tests.clientfakes import GET, OK, World


def sums(*seconds: float) -> Sums:
    """Those of requests that took so long until their answer came."""
    return Sums(len(seconds), 0.0, 0.0, sum(seconds), sum(seconds))


class AverageTests(SynchronousTestCase):
    def test_of_few_requests_all_count_alike(self) -> None:
        averages = Averages()
        for each in ((1.0, 2.0), (), (6.0,)):
            averages.add(sums(*each))
        self.assertEqual(averages.with_(Sums()), Means(0.0, 0.0, 3.0, 3.0))

    def test_of_many_the_last_ones_do(self) -> None:
        """As much as if each had been counted at its end, as HAProxy does."""
        random, averages, exact, number = Random(1), Averages(), 0.0, 0
        for second in range(40):
            took = [random.random() * (1 + second % 7) for _ in range(100)]
            averages.add(sums(*took))
            for each in took:
                number += 1
                exact += (each - exact) / min(number, WINDOW)
        self.assertApproximates(averages.with_(Sums()).response, exact, exact * 0.02)

    def test_what_has_just_ended_is_among_them(self) -> None:
        averages = Averages()
        averages.add(sums(1.0))
        self.assertEqual(averages.with_(sums(3.0)).response, 2.0)
        self.assertEqual(averages.with_(Sums()).response, 1.0)

    def test_counters_that_were_cleared_begin_anew(self) -> None:
        times = Times()
        times.count, times.response, times.total, times.response_most = 3, 3.0, 3.0, 2.0
        before = Sums.of(times)
        times.clear(True)
        times.count, times.response = 1, 5.0
        self.assertEqual(Sums.of(times).since(before), Sums(1, 0.0, 0.0, 5.0, 0.0))
        self.assertEqual(times.response_most, 0.0)


class RequestTests(SynchronousTestCase):
    """What a request adds to its server's."""

    def test_each_part_of_its_time(self) -> None:
        """In a queue, until connected, until answered; and all from the end of the one before."""
        world = World(self, warm=1, maxconn=1, timeouts=Timeouts(connect=5, client=60, server=60, queue=60))
        first, second = world.client(), world.client()
        first.send(GET)
        second.send(GET)
        world.clock.advance(2)
        world.server.answer(OK)
        world.clock.advance(1)
        world.server.answer(OK)
        times = world.server.server.times
        self.assertEqual(
            (times.count, times.queue, times.connect, times.response, times.total), (2, 2.0, 0.0, 3.0, 5.0)
        )
        self.assertEqual((times.queue_most, times.response_most, times.total_most), (2.0, 2.0, 3.0))
        world.clock.advance(4)
        second.send(GET)
        world.server.answer(OK)
        self.assertEqual((times.count, times.total, times.total_most), (3, 9.0, 4.0))

    def test_without_an_answer_nothing_is_added(self) -> None:
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        client.wire.reset()
        times = world.server.server.times
        self.assertEqual((Sums.of(times), times.total_most), (Sums(), 0.0))
