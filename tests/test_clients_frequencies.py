"""Rates that rules ask for: as HAProxy counts them, and only where they are asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.asked import calls_in
from reusedproxy.clients.frequencies import Frequencies
from reusedproxy.measures.frequency import Frequency
from reusedproxy.net.deadlines import Deadlines
from tests.clientfakes import get
from tests.rulefakes import ruled, sections


class FrequencyTests(SynchronousTestCase):
    """HAProxy's read_freq_ctr."""

    def setUp(self) -> None:
        self.total = 100
        self.rate = Frequency(lambda: self.total, 0.0)

    def test_the_second_before_counts_in_proportion(self) -> None:
        self.total += 10
        self.assertEqual(self.rate.rate(0.5), 10)
        for now, expected in ((1.0, 10), (1.5, 5), (1.9, 1), (2.0, 0), (3.5, 0)):
            self.assertEqual(self.rate.rate(now), expected, now)
        self.total += 4
        self.assertEqual(self.rate.rate(3.6), 4)
        self.total += 2
        self.assertEqual(self.rate.rate(4.25), 4)

    def test_one_event_counts_until_its_second_has_passed_twice(self) -> None:
        self.total += 1
        self.assertEqual([self.rate.rate(now) for now in (0.0, 1.9, 2.0)], [1, 1, 0])

    def test_a_total_that_is_set_back_counts_nothing(self) -> None:
        self.total = 0
        self.assertEqual([self.rate.rate(now) for now in (0.5, 1.5)], [0, 0])
        self.total = 3
        self.assertEqual(self.rate.rate(1.6), 3)

    def test_another_takes_its_place(self) -> None:
        self.total += 8
        self.rate.turn(1.0)
        other = Frequency(lambda: self.total, 1.0)
        other.follow(self.rate)
        self.assertEqual(other.rate(1.5), 4)
        self.total += 1000
        other.begin_again()
        self.assertEqual(other.rate(1.5), 4)


class FrequenciesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.frontend: Any = SimpleNamespace(
            name="fe", connections_total=0, requests_begun=0, counts_requests=False, frequencies=None
        )
        self.server: Any = SimpleNamespace(full_name="be/s", traffic=SimpleNamespace(stot=0))
        self.backend: Any = SimpleNamespace(name="be", traffic=SimpleNamespace(stot=0), servers=[self.server])

    def measured(self, *asked: str) -> Frequencies:
        return Frequencies(asked, [self.frontend], [self.backend], self.deadlines)

    def test_only_what_is_asked_for_is_measured(self) -> None:
        rates = self.measured("fe_sess_rate", "path")
        self.assertFalse(self.frontend.counts_requests)
        self.frontend.connections_total = 7
        for which, name, rate in (
            *(("fe_sess_rate", "fe", 7), ("fe_sess_rate", "no", None)),
            *(("fe_req_rate", "fe", None), ("be_sess_rate", "be", None)),
        ):
            self.assertEqual(rates.rate(which, name), rate, which)

    def test_each_has_its_counter(self) -> None:
        rates = self.measured("be_sess_rate", "srv_sess_rate", "fe_req_rate")
        self.assertTrue(self.frontend.counts_requests)
        self.backend.traffic.stot, self.server.traffic.stot, self.frontend.requests_begun = 3, 2, 5
        found = [
            rates.rate(*each) for each in (("be_sess_rate", "be"), ("srv_sess_rate", "be/s"), ("fe_req_rate", "fe"))
        ]
        self.assertEqual(found, [3, 2, 5])

    def test_seconds_pass_though_nobody_asks(self) -> None:
        rates = self.measured("be_sess_rate")
        rates.start()
        self.backend.traffic.stot = 50
        self.clock.pump([1.0, 1.0])
        self.backend.traffic.stot = 60
        self.clock.pump([1.0])
        self.assertEqual(rates.rate("be_sess_rate", "be"), 10)
        rates.stop()
        nothing = self.measured()
        nothing.start()
        self.assertEqual([rates.slot, nothing.slot], [0, 0])

    def test_a_reload_goes_on_with_what_is_known(self) -> None:
        before = self.measured("be_sess_rate")
        self.backend.traffic.stot = 50
        after = self.measured("be_sess_rate", "fe_sess_rate")
        self.frontend.connections_total = 9  # of before
        after.succeed(before)
        self.assertEqual([after.rate("be_sess_rate", "be"), after.rate("fe_sess_rate", "fe")], [50, 0])
        self.backend.traffic.stot = 1000
        after.begin_again()  # another process has counted them
        self.assertEqual(after.rate("be_sess_rate", "be"), 0)


class RuleTests(SynchronousTestCase):
    def test_a_rule_limits_requests(self) -> None:
        """Each counts before the rules are run, as in HAProxy."""
        world = ruled(self, "http-request deny deny_status 429 if { fe_req_rate gt 2 }", warm=1)
        Frequencies({"fe_req_rate"}, [world.frontend], [world.backend], world.frontend.deadlines)
        world.frontend.set_guard()
        client, answers = world.client(), []
        for _ in range(4):
            client.send(get("/"))
            if world.server.busy:
                world.server.answer()
            answers.append(client.take().split(b" ")[1])
        self.assertEqual(answers, [b"200", b"200", b"429", b"429"])

    def test_what_is_asked_for_is_found_everywhere(self) -> None:
        said = sections(
            "acl busy fe_sess_rate gt 9\n http-request deny if busy\n log-format %[be_sess_rate(be)]",
            "http-response set-header a %[srv_id,add(1)]",
        )
        names = {call.name for each in (said.frontends["fe"], said.backends["be"]) for call in calls_in(each)}
        self.assertLessEqual({"fe_sess_rate", "be_sess_rate", "srv_id", "add"}, names)
