"""The metrics: their names, and that their numbers are those of the pools, before and after a reload."""

from __future__ import annotations

import time
from math import inf
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import Server
from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.config import model
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.daemon.reloading.trial import ReloadTrial
from reusedproxy.net.poller import Poller
from reusedproxy.operators.metrics.families import families, of_backends, of_frontends, of_lists
from reusedproxy.operators.metrics.pools import Distribution, Family, of_servers
from reusedproxy.operators.view.reading import Reader, server_view
from reusedproxy.pool.counters import ROTATION
from tests.fakes import Asker, PoolBench
from tests.wire import certificates, scratch

PLACE = model.Place("a.cfg", 1)
Samples = dict[tuple[str, ...], Any]

#: What dashboards are built on: a name or a label that changes here is a change that CHANGELOG.md has to tell.
PROMISED = {
    "reusedproxy_pool_connections": ("gauge", "pool server state"),
    "reusedproxy_pool_floor": ("gauge", "pool server"),
    "reusedproxy_pool_drained": ("gauge", "server"),
    "reusedproxy_pool_floor_advised": ("gauge", "pool server"),
    "reusedproxy_pool_max": ("gauge", "pool server"),
    "reusedproxy_pool_below_floor_seconds_total": ("counter", "server"),
    "reusedproxy_server_share_ratio": ("gauge", "server"),
    "reusedproxy_pool_nodes": ("gauge", "server"),
    "reusedproxy_pool_node_connections": ("gauge", "server node"),
    "reusedproxy_pool_spread_dials_total": ("counter", "server"),
    "reusedproxy_pool_waiters": ("gauge", "server"),
    "reusedproxy_warmup_tokens": ("gauge", "server"),
    "reusedproxy_warmup_backoff_seconds": ("gauge", "server"),
    "reusedproxy_borrow_overdue_total": ("counter", "server"),
    "reusedproxy_pool_requests_total": ("counter", "server conn"),
    "reusedproxy_pool_acquire_seconds": ("histogram", "server result"),
    "reusedproxy_idle_age_at_borrow_seconds": ("histogram", "server"),
    "reusedproxy_connects_total": ("counter", "server cause result"),
    "reusedproxy_tls_handshakes_total": ("counter", "server version resumed client_cert"),
    "reusedproxy_tls_handshakes_on_request_path_total": ("counter", "server"),
    "reusedproxy_connect_seconds": ("histogram", "server"),
    "reusedproxy_tls_handshake_seconds": ("histogram", "server resumed"),
    "reusedproxy_warmup_seconds": ("histogram", "server"),
    "reusedproxy_closed_total": ("counter", "server by reason"),
    "reusedproxy_connection_age_seconds": ("histogram", "server"),
    "reusedproxy_connection_requests": ("histogram", "server"),
    "reusedproxy_idle_age_at_peer_close_seconds": ("histogram", "server"),
    "reusedproxy_peer_timeout_seconds": ("gauge", "server phase source"),
    "reusedproxy_idle_close_race_total": ("counter", "server method_class outcome"),
    "reusedproxy_retries_total": ("counter", "server proof result"),
    "reusedproxy_identities": ("gauge", "server"),
    "reusedproxy_identity_refusals_total": ("counter", "server"),
    "reusedproxy_client_cert_not_after_timestamp_seconds": ("gauge", "pool"),
    "reusedproxy_server_cert_not_after_timestamp_seconds": ("gauge", "server"),
    "reusedproxy_cert_generation": ("gauge", "pool"),
    "reusedproxy_connections_on_old_generation": ("gauge", "server"),
    "reusedproxy_frontend_tls_handshakes_total": ("counter", "frontend outcome resumed"),
    "reusedproxy_frontend_cert_not_after_timestamp_seconds": ("gauge", "frontend file"),
    "reusedproxy_backend_response_seconds": ("histogram", "backend"),
    "reusedproxy_hedged_requests_total": ("counter", "backend result"),
    "reusedproxy_hedges_withheld_total": ("counter", "backend reason"),
    "reusedproxy_hedge_after_seconds": ("gauge", "backend"),
    "reusedproxy_crl_fetches_total": ("counter", "url result"),
    "reusedproxy_crl_fetched_timestamp_seconds": ("gauge", "url"),
    "reusedproxy_crl_next_update_timestamp_seconds": ("gauge", "url"),
}


def of(server: Server) -> dict[str, Samples]:
    """The samples of one server by name and labels, without the server's own; histograms by their count."""
    found: dict[str, Samples] = {}
    for family in of_servers([server_view(server, measures=True)]):
        samples = found[family.name.removeprefix("reusedproxy_")] = {}
        for sample in family.samples:
            assert len(sample.labels) == len(family.labels)
            labels = tuple(
                value
                for name, value in zip(family.labels, sample.labels, strict=True)
                if name not in ("pool", "server")
            )
            value = sample.value
            samples[labels] = value.buckets[-1][1] if isinstance(value, Distribution) else value
    return found


class FamilyTests(SynchronousTestCase):
    """What a collector copies."""

    def setUp(self) -> None:
        self.bench = PoolBench(secure=True, min_conn=2, max_conn=9)
        self.server = Server("web", model.Server("one", PLACE, "127.0.0.1", 443), self.bench.pool, 0.0)

    def families(self) -> list[Family]:
        return [
            *of_servers([server_view(self.server, measures=True)]),
            *(*of_frontends([]), *of_backends([]), *of_lists([])),
        ]

    def test_names_kinds_and_labels_are_as_promised(self) -> None:
        found = [(each.name, (each.kind, " ".join(each.labels))) for each in self.families()]
        self.assertEqual(found, list(PROMISED.items()))

    def test_counters_are_named_as_such_and_all_have_words(self) -> None:
        for family in self.families():
            self.assertEqual(family.name.endswith("_total"), family.kind == "counter", family.name)
            self.assertTrue(family.help.endswith(".") and family.words, family.name)

    def test_servers_are_named_by_backend_and_server(self) -> None:
        for family in self.families():
            for sample in family.samples:
                named = dict(zip(family.labels, sample.labels, strict=True))
                self.assertEqual({named.get(name, "web/one") for name in ("pool", "server")}, {"web/one"})

    def test_buckets_are_cumulative_and_end_with_all(self) -> None:
        """As prometheus_client's HistogramMetricFamily wants them."""
        self.bench.pool.wait(Asker())
        self.bench.answer_all()
        found = {each.name: each for each in self.families() if each.kind == "histogram"}
        for family in found.values():
            for sample in family.samples:
                assert isinstance(sample.value, Distribution)
                bounds = [inf if bound == "+Inf" else float(bound) for bound, _ in sample.value.buckets]
                counts = [count for _, count in sample.value.buckets]
                self.assertEqual((bounds, counts), (sorted(bounds), sorted(counts)))
                self.assertEqual(sample.value.buckets[-1], ("+Inf", sample.value.histogram.count))
        (connect,) = found["reusedproxy_connect_seconds"].samples
        assert isinstance(connect.value, Distribution)
        self.assertEqual(connect.value.buckets[0], ("5e-05", 0))
        self.assertEqual((connect.value.buckets[-1], round(connect.value.sum, 6)), (("+Inf", 3), 0.0012))

    def test_what_a_pool_has_done(self) -> None:
        bench, pool = self.bench, self.bench.pool
        bench.answer_all()
        pool.wait(Asker())
        bench.answer_all()
        bench.pass_time(1.5)
        first = bench.borrow()
        bench.use(first)
        bench.use(bench.borrow())
        pool.wait(Asker())
        pool.upkeep.used.advertise(9)
        found = of(self.server)
        self.assertEqual(found["pool_floor"], {(): 2})
        self.assertEqual(found["pool_max"], {(): 9})
        self.assertEqual(found["pool_waiters"], {(): 1})
        states = {labels[0]: value for labels, value in found["pool_connections"].items() if value}
        self.assertEqual(states, {"idle": 2, "active": 1, "connecting": 1})
        self.assertEqual(found["pool_requests_total"], {("never_used",): 1, ("reused",): 1, ("new_dial",): 1})
        acquired = {labels[0]: value for labels, value in found["pool_acquire_seconds"].items() if value}
        self.assertEqual(acquired, {"warm": 2, "fresh": 1})
        self.assertEqual(found["connects_total"], {("floor", "ok"): 2, ("demand", "ok"): 1})
        self.assertEqual(found["tls_handshakes_total"], {("TLSv1.3", "no", "yes"): 3})
        self.assertEqual(found["tls_handshake_seconds"], {("no",): 3, ("yes",): 0})
        self.assertEqual(found["tls_handshakes_on_request_path_total"], {(): 1})
        self.assertEqual(found["warmup_seconds"], {(): 1})
        self.assertEqual(found["peer_timeout_seconds"], {("keepalive", "advertised"): 9})
        self.assertEqual(found["warmup_backoff_seconds"], {(): 0})
        self.assertEqual(found["closed_total"], {})
        pool.close("proxy stopped")
        self.assertEqual(of(self.server)["closed_total"], {("proxy", "drain"): 2})

    def test_a_server_that_refuses(self) -> None:
        self.bench.dialer.answer = self.bench.dialer.refuse
        self.bench.pass_time(10)
        found = of(self.server)
        self.assertGreater(found["connects_total"]["recovery", "refused"], 2)
        self.assertGreaterEqual(found["warmup_backoff_seconds"][()], 0.25)
        self.assertAlmostEqual(found["pool_below_floor_seconds_total"][()], 10)

    def test_a_lost_race_is_there_before_it_happens(self) -> None:
        """Whoever wants to be alarmed by it needs a 0 to begin with."""
        self.assertEqual(of(self.server)["idle_close_race_total"]["unsafe", "lost"], 0)
        self.bench.pool.counters.race("unsafe", "lost")
        self.assertEqual(of(self.server)["idle_close_race_total"]["unsafe", "lost"], 1)

    def test_in_the_clear_nothing_is_said_of_tls(self) -> None:
        self.server.pool = PoolBench().pool
        found = of(self.server)
        for name in PROMISED:
            if "frontend" in name or "backend" in name:
                continue  # of clients, and of answers
            if "tls" in name or "cert" in name or "generation" in name:
                self.assertEqual(found[name.removeprefix("reusedproxy_")], {}, name)


class ReloadTests(SynchronousTestCase):
    """What stays, and what begins anew."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(self.poller.stop)
        self.directory = scratch(self)
        self.authority = certificates().ca_file
        self.renew()

    def renew(self) -> None:
        """Another certificate in the same file."""
        self.ours = certificates().authority.issue("ours", client=True, key="ecdsa")
        (self.directory / "ours.pem").write_bytes(self.ours.pem)

    def assembled(self, previous: Proxy | None = None, more: str = "") -> Proxy:
        tls = f"ssl ca-file {self.authority} crt {self.directory}/ours.pem sni str(server.test) {more}"
        text = (
            "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
            f"backend web\n server one 127.0.0.1:1 {tls}\n server two 127.0.0.1:1\n"
        )
        configuration = read_configuration([Source("a.cfg", text)], {})
        assembly = Assembly(
            configuration, self.clock, self.poller, Random(1), lambda level, text, section="": None, previous
        )
        return assembly.build(bind=False)

    def certificates(self, proxy: Proxy, number: int = 0) -> tuple[object, object]:
        """Generation, and connections on older ones."""
        found = of(proxy.backends[0].servers[number])
        return found["cert_generation"].get(()), found["connections_on_old_generation"].get(())

    def test_a_collector_gets_all_servers_of_a_proxy(self) -> None:
        found = list(families(Reader(self.assembled()).view(measures=True)))
        self.assertEqual([each.name for each in found], list(PROMISED))
        (floors,) = (each.samples for each in found if each.name == "reusedproxy_pool_floor")
        self.assertEqual([each.labels for each in floors], [("web/one", "web/one"), ("web/two", "web/two")])

    def test_what_is_kept_goes_on_counting(self) -> None:
        old = self.assembled()
        old.backends[0].servers[0].pool.counters.requests = 7
        new = self.assembled(old)
        self.assertEqual(of(new.backends[0].servers[0])["pool_requests_total"]["never_used",], 7)
        self.assertEqual(self.certificates(new), (1, 0))

    def test_other_certificates_are_another_generation(self) -> None:
        """Those who still use a connection of the one before are counted until they are gone."""
        old = self.assembled()
        pool = old.backends[0].servers[0].pool
        pool.in_use.add(object())  # type: ignore[arg-type]
        self.renew()
        new = self.assembled(old)
        self.assertEqual(self.certificates(new), (2, 1))
        again = self.assembled(new)
        self.assertEqual(self.certificates(again), (2, 1))
        self.renew()
        third = self.assembled(again)
        self.assertEqual(self.certificates(third), (3, 1))
        pool.state = "closed"
        pool.in_use.clear()
        self.assertEqual(self.certificates(self.assembled(third)), (3, 0))

    def test_another_limit_is_none(self) -> None:
        """It makes another pool all the same."""
        old = self.assembled()
        old.backends[0].servers[0].pool.in_use.add(object())  # type: ignore[arg-type]
        new = self.assembled(old, "pool-max-conn 9")
        self.assertIsNot(new.backends[0].servers[0].pool, old.backends[0].servers[0].pool)
        self.assertEqual(self.certificates(new), (1, 0))

    def test_without_tls_there_is_none(self) -> None:
        self.assertEqual(self.certificates(self.assembled(), 1), (None, None))

    def test_when_certificates_end(self) -> None:
        """Ours is known at once, the server's when it has shown it."""
        server = self.assembled().backends[0].servers[0]
        end = self.ours.certificate.not_valid_after_utc.timestamp()
        self.assertEqual(of(server)["client_cert_not_after_timestamp_seconds"], {(): end})
        self.assertLess(abs(server.pool.expires_at - self.clock.seconds() - (end - time.time())), 5)
        self.assertEqual(of(server)["server_cert_not_after_timestamp_seconds"], {})
        assert server.pool.context is not None
        server.pool.context.theirs_end = 2e9
        self.assertEqual(of(server)["server_cert_not_after_timestamp_seconds"], {(): 2e9})

    def test_what_a_reload_opens_is_called_a_rotation(self) -> None:
        """To a server that was there before; one that is new only has its floor filled."""
        old = self.assembled()
        new = self.assembled(old, "pool-min-conn 2")
        trial = ReloadTrial(old, new, self.clock, lambda refusal: None)
        trial.start()
        self.addCleanup(trial.close, "test over")
        self.assertEqual(set(new.backends[0].servers[0].pool.connecting.values()), {ROTATION})
