"""The view of a running proxy: plain data of one moment, which whoever shows it may keep, send away and add up."""

from __future__ import annotations

import gc
import pickle
from random import Random
from types import SimpleNamespace
from typing import Any

from attrs import fields, has
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.checks.results import Result
from reusedproxy.build.assembly import Assembly
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.measures.list_fetches import ListFetches
from reusedproxy.measures.times import Means
from reusedproxy.net.poller import Poller
from reusedproxy.operators.metrics.families import families
from reusedproxy.operators.stats.csv import pieces_of_csv
from reusedproxy.operators.stats.figures import figuring, sections_of
from reusedproxy.operators.view.history import Sample, answers
from reusedproxy.operators.view.process import figures
from reusedproxy.operators.view.rates import Rates
from reusedproxy.operators.view.reading import Reader, connections, ended
from reusedproxy.operators.view.values import PoolCounts, PoolView, Rate, ServerView, TimesView, TrafficCounts
from reusedproxy.pool.counters import Ended
from tests.clientfakes import GET, World
from tests.fakes import PoolBench
from tests.wire import certificates, scratch


def not_plain(value: Any, where: str = "view") -> list[str]:
    """The places at which there is anything but numbers, texts, and tuples, lists, dicts and values of those."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return []
    if type(value) in (tuple, list, Means, PoolCounts, PoolView, Sample, ServerView, TimesView, TrafficCounts):
        return [each for number, part in enumerate(value) for each in not_plain(part, f"{where}[{number}]")]
    if type(value) is dict:
        keys = [each for key in value for each in not_plain(key, f"{where}'s key")]
        return keys + [each for key, part in value.items() for each in not_plain(part, f"{where}[{key!r}]")]
    if has(type(value)) and not hasattr(value, "__dict__"):
        parts = [(each.name, getattr(value, each.name)) for each in fields(type(value))]
        return [each for name, part in parts for each in not_plain(part, f"{where}.{name}")]
    return [f"{where}: {type(value).__name__}"]


class ViewCase(SynchronousTestCase):
    """A proxy with TLS on both sides, checks and a queue, assembled but not started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(poller.stop)
        folder = scratch(self)
        crt = certificates().server.write(folder / "front.pem")
        tls = f"ssl ca-file {certificates().ca_file}"
        text = (
            "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
            f"frontend web\n bind 127.0.0.1:1-2 ssl crt {crt}\n bind 127.0.0.1:3\n default_backend app\n"
            f"backend app\n server one 127.0.0.1:1 check {tls} sni str(a.test) pool-min-conn 2 maxconn 7\n"
            f" server two 127.0.0.1:2 backup {tls} sni req.hdr(host)\n"
        )
        configuration = read_configuration([Source("x.cfg", text)], {})
        assembly = Assembly(configuration, self.clock, poller, Random(1), lambda level, text, section="": None)
        self.proxy = assembly.build(bind=False)
        (self.web,) = self.proxy.frontends
        (self.app,) = self.proxy.backends
        self.one, self.two = self.app.servers
        self.reader = Reader(self.proxy, Rates(self.proxy.frontends, self.proxy.backends, self.proxy.deadlines))

    def happen(self) -> None:
        """Something of everything that is counted."""
        self.proxy.list_fetches["http://crl.test/a"] = ListFetches("http://crl.test/a", last=1e9, until=2e9)
        self.web.traffic.req_tot += 5
        self.web.traffic.hrsp[2] += 4
        self.web.invalid.note("192.0.2.1:1", "no Host header", b"GET / HTTP/1.1")
        self.web.handshakes.counts.completed += 1
        self.app.checkers[0].last = Result("L7STS", "Not found", 404, 0.01)
        counters = self.one.pool.counters
        counters.requests += 3
        counters.connects["floor", "ok"] += 1
        counters.races["unsafe", "lost"] += 1
        counters.tls_handshakes["TLSv1.3", True, False] += 1
        counters.closed["server", "idle"] += 1
        counters.retries["unsent", "ok"] += 1
        counters.ages.observe(3.0)
        self.one.pool.closed["idle too long"] = 1
        self.one.pool.upkeep.used.advertise(9)


class ViewTests(ViewCase):
    """What stands in it."""

    def test_it_is_plain_data_all_through(self) -> None:
        self.happen()
        self.assertEqual(not_plain(self.reader.view(measures=True)), [])

    def test_what_is_not_plain_would_be_seen(self) -> None:
        """The test above can fail."""
        view: Any = self.reader.view()
        self.assertEqual(not_plain((view, {"a": self.one})), ["view[1]['a']: Server"])

    def test_distributions_are_no_work_for_the_garbage_collector(self) -> None:
        """There are 14 for each server: it looks at them twice, then no more."""
        self.happen()
        view = self.reader.view(measures=True)
        gc.collect()
        gc.collect()
        for server in view.servers:
            measures = server.pool.measures
            assert measures is not None
            found = [getattr(measures, each.name) for each in fields(type(measures))]
            found += [each for one in found if isinstance(one, dict) for each in one.values()]
            tuples = [each for each in found if isinstance(each, tuple)]
            self.assertEqual((len(tuples), [*map(gc.is_tracked, tuples)].count(True)), (14, 0))

    def test_many_sections_are_read_in_steps(self) -> None:
        """Each by itself, however few servers it has: 1,000 took 56 ms."""
        self.proxy.backends *= 30
        self.proxy.frontends *= 20
        steps = [*self.reader.viewing()]
        self.assertGreaterEqual(len(steps), 50)
        view = self.reader.view()
        self.assertGreaterEqual(len([*figuring(view)]), 50)

    def test_it_can_be_sent_to_another_process(self) -> None:
        """And whatever is made of it there is the same."""
        self.happen()
        view = self.reader.view(measures=True)
        there = pickle.loads(pickle.dumps(view))
        self.assertEqual(there, view)
        self.assertEqual(list(pieces_of_csv(sections_of(there))), list(pieces_of_csv(sections_of(view))))
        self.assertEqual(list(families(there)), list(families(view)))

    def test_it_stays_as_it_was(self) -> None:
        """Whatever happens afterwards: nothing in it is shared with what counts on."""
        self.happen()
        view = self.reader.view(measures=True)
        before = pickle.dumps(view)
        self.happen()
        self.clock.advance(5)
        self.assertEqual(pickle.dumps(view), before)
        self.assertNotEqual(self.reader.view(measures=True), view)

    def test_reading_changes_nothing(self) -> None:
        self.happen()
        self.assertEqual(self.reader.view(measures=True), self.reader.view(measures=True))

    def test_measures_are_read_only_where_they_are_asked_for(self) -> None:
        """They take as long as all the rest."""
        self.assertEqual([each.pool.measures for each in self.reader.view().servers], [None, None])
        self.assertNotIn(None, [each.pool.measures for each in self.reader.view(measures=True).servers])

    def test_listeners_with_the_same_certificates_are_one_entry(self) -> None:
        (frontend,) = self.reader.view().frontends
        assert frontend.tls is not None
        (listeners,) = frontend.tls.listeners
        self.assertEqual(listeners.addresses, ("127.0.0.1:1", "127.0.0.1:2"))
        (certificate,) = listeners.certificates
        end = certificates().server.certificate.not_valid_after_utc.timestamp()
        self.assertEqual((certificate.file.endswith("front.pem"), certificate.ends), (True, end))

    def test_rates_are_measured_or_zero(self) -> None:
        rates = Rates(self.proxy.frontends, self.proxy.backends, self.proxy.deadlines)
        rates.start()
        self.addCleanup(rates.stop)
        self.web.traffic.req_tot = 20
        self.clock.advance(1.02)
        measured, unmeasured = (Reader(self.proxy, each).view().frontends[0].requests.now for each in (rates, None))
        self.assertEqual((measured, unmeasured), (20, 0))

    def test_the_highest_rates_have_what_comes_in_this_second(self) -> None:
        """The first flood is seen while it lasts, and a rate that was shown as the highest does not fall."""
        rates = Rates(self.proxy.frontends, self.proxy.backends, self.proxy.deadlines)
        rates.start()
        self.addCleanup(rates.stop)
        reader, counts = Reader(self.proxy, rates), self.web.handshakes.counts
        self.clock.advance(0.3)
        self.web.connections_total += 50
        counts.begun += 40
        view = reader.view()
        self.assertEqual((view.handshakes, view.frontends[0].sessions), (Rate(40, 40), Rate(50, 50)))
        self.clock.advance(0.72)
        view = reader.view()
        self.assertEqual((view.handshakes.most, view.frontends[0].sessions.most), (40, 50))
        self.assertEqual((figures(view, 0).most_rate, figures(view, 0).reused), (50, 0))
        counts.begun, counts.completed, counts.resumed = counts.begun + 9, 4, 3
        self.clock.advance(1.02)
        view = reader.view()
        self.assertEqual((view.handshakes, view.keys.now, figures(view, 0).reused), (Rate(9, 40), 1, 75))

    def test_rates_have_what_comes_in_this_second_and_a_part_of_the_one_before(self) -> None:
        """As in HAProxy: at once, and falling while nothing more comes. A reload goes on with them."""
        rates = Rates(self.proxy.frontends, self.proxy.backends, self.proxy.deadlines)
        rates.start()
        counts = self.web.handshakes.counts
        counts.begun = counts.completed = 21
        counts.resumed = 7
        self.web.connections_total += 21

        def shown() -> tuple[int, int, int]:
            view = Reader(self.proxy, rates).view()
            return view.handshakes.now, figures(view, 0).rate, figures(view, 0).reused

        self.assertEqual(shown(), (21, 21, 33))
        self.clock.advance(1.02)
        self.assertEqual(shown()[:2], (21, 21))
        self.clock.advance(0.5)
        self.assertEqual(shown()[:2], (10, 10))
        after = Rates(self.proxy.frontends, self.proxy.backends, self.proxy.deadlines)
        after.succeed(rates)
        rates.stop()
        rates = after
        rates.start()
        self.addCleanup(rates.stop)
        counts.begun += 3
        self.assertEqual((shown()[0], rates.rate(rates.handshakes).most), (13, 21))
        self.clock.advance(2.1)
        self.clock.advance(1.02)
        self.assertEqual(shown(), (0, 0, 0))

    def test_a_server_that_is_down_counts_on(self) -> None:
        self.app.server_changed(self.one, "DOWN", "test")
        self.clock.advance(5)
        view = self.reader.view()
        self.assertEqual([each.down_for(view.at) for each in view.servers], [5.0, 0.0])
        self.assertEqual([each.usable for each in view.servers], [False, True])


class AnswerTimeTests(SynchronousTestCase):
    """How long answers take, and how idle the process is."""

    def setUp(self) -> None:
        self.computed = 0.0
        self.world = world = World(self, warm=1)
        self.rates = Rates([world.frontend], [world.backend], world.deadlines, processor_time=lambda: self.computed)

    def ask(self, seconds: float) -> None:
        client = self.world.client()
        client.send(GET)
        self.world.clock.advance(seconds)
        self.world.server.answer()

    def counted(self) -> dict[float, int]:
        times = self.rates.answer_times(self.world.backend)
        return {bound: count for bound, count in zip(times.bounds, times.counts, strict=False) if count}

    def test_they_are_counted_while_somebody_looks(self) -> None:
        self.ask(0.03)
        self.rates.start()
        for seconds in (0.03, 0.04, 0.2):
            self.ask(seconds)
        self.assertEqual(self.counted(), {0.05: 2, 0.25: 1})
        self.assertAlmostEqual(self.rates.answer_times(self.world.backend).sum, 0.27, places=3)
        self.ask(0.002)
        self.rates.stop()
        self.assertIsNone(self.world.backend.answered_after)
        self.ask(0.03)
        self.assertEqual(self.counted(), {0.0025: 1, 0.05: 2, 0.25: 1})
        self.world.check_rest()

    def test_who_waited_in_vain_has_waited_longest(self) -> None:
        """Or an outage of time-outs would show the best figures. What a client did not wait for does not count."""
        self.rates.start()
        self.ask(0.03)
        client = self.world.client()
        client.send(GET)
        self.world.clock.advance(60)
        self.assertIn(b" 504 ", client.take())
        self.assertEqual(self.counted()[0.05], 1)
        self.assertEqual(sum(self.rates.answer_times(self.world.backend).counts), 2)
        self.assertGreater(self.rates.answer_times(self.world.backend).sum, 1.0)
        self.rates.stop()

    def test_errors_are_known_by_their_backend_for_ten_seconds(self) -> None:
        self.rates.start()
        errors = self.rates.errors[self.world.backend]
        self.world.backend.traffic.hrsp[5] += 7
        for seconds, risen in ((2, 7), (6, 7), (6, 0)):
            for _ in range(seconds):
                self.world.clock.advance(1.1)
            self.assertEqual(errors.risen, risen)
        self.rates.stop()

    def test_those_of_each_second_are_kept(self) -> None:
        self.rates.start()
        self.ask(0.03)
        self.counted()
        self.ask(0.04)
        self.world.clock.advance(1)
        self.world.clock.advance(1.02)
        first, *others = self.rates.history.samples
        self.assertEqual(sum(first.answered), 2)
        self.assertEqual([each.answered for each in others], [()])
        within = answers(self.rates.history.samples, 60)
        half = within.estimate(0.5)
        assert half is not None
        self.assertTrue(0.025 < half < 0.05)
        self.assertIsNone(answers(self.rates.history.samples, 1).estimate(0.5))
        self.rates.stop()
        self.world.check_rest()

    def test_one_without_an_answer_does_not_count(self) -> None:
        self.rates.start()
        client = self.world.client()
        client.send(GET)
        self.world.server.reset()
        client.wire.reset()
        self.assertEqual(self.counted(), {})
        self.rates.stop()

    def test_the_process_is_idle_while_it_does_not_compute(self) -> None:
        self.rates.start()
        self.computed += 0.25
        self.world.clock.advance(1.02)
        self.assertTrue(0.7 < self.rates.idle < 0.8)
        self.world.clock.advance(1.02)
        self.assertEqual(self.rates.idle, 1.0)
        self.rates.stop()
        self.world.check_rest()


class ConnectionTests(SynchronousTestCase):
    """The connections of one server."""

    def setUp(self) -> None:
        self.bench = PoolBench(min_conn=2)
        self.bench.answer_all()
        self.server: Any = SimpleNamespace(pool=self.bench.pool)

    def test_those_that_stand(self) -> None:
        self.bench.borrow()
        self.bench.pass_time(1.5)
        found = connections(self.server)
        self.assertEqual(not_plain(found), [])
        self.assertEqual(sorted(each.state for each in found), ["idle", "in use"])
        self.assertEqual({each.state: each.idle_for for each in found}["in use"], None)

    def test_those_that_have_ended(self) -> None:
        self.bench.pool.close("proxy stopped")
        self.bench.pass_time(3)
        first, _ = ended(self.server)
        self.assertEqual(not_plain(first), [])
        self.assertEqual((first.reason, first.by, round(first.ago)), ("proxy stopped", "proxy", 3))

    def test_of_those_that_have_ended_everything_is_kept(self) -> None:
        """A field more in the pool's record is one more here."""
        names = {each.name for each in fields(Ended)} - {"at"} | {"ago"}
        self.bench.pool.close("proxy stopped")
        self.assertEqual({each.name for each in fields(type(ended(self.server)[0]))}, names)
