"""What Prometheus gets: a text that its own parser takes, with the values of the statistics, and only what it asks
for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.build.tables import tables_of
from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.actions import SERVICES
from reusedproxy.exchanges.serving import Made
from reusedproxy.net.poller import Poller
from reusedproxy.operators.metrics import haproxy
from reusedproxy.operators.metrics.exporter import Exporter, Installation
from reusedproxy.operators.metrics.exposition import labels, number
from reusedproxy.operators.metrics.query import SCOPES, BadQuery, read_query
from reusedproxy.operators.stats import figures
from reusedproxy.wire.heads import Limits, read_request
from tests.test_operators_stats import StatsCase

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

CONFIGURATION = """
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend web
  bind 127.0.0.1:0
  {}
  default_backend app
backend app
  server one 127.0.0.1:1
"""


class ExporterCase(StatsCase):
    def setUp(self) -> None:
        super().setUp()
        logs: Any = SimpleNamespace(dropped=3)
        about = Installation("this-node", 'the "first"', 1)
        self.exporter = Exporter(self.page._moments, logs, about, lambda: 2e9)

    def made(self, target: str) -> Made:
        head = read_request(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), Limits())
        return self.exporter.answer(head)

    def text(self, query: str = "") -> str:
        made = self.made(f"/metrics{query}")
        return b"".join(made.pieces).decode()

    def samples(self, query: str = "") -> Samples:
        """All of them, by their names and labels; Prometheus' parser for Python must take the text."""
        parser = pytest.importorskip("prometheus_client.parser", reason="pip install prometheus_client")
        found: Samples = {}
        for family in parser.text_string_to_metric_families(self.text(query)):
            assert family.documentation and family.type != "unknown", family
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in found, key
                found[key] = sample.value
        return found


class TextTests(ExporterCase):
    def test_prometheus_can_read_it(self) -> None:
        names = {name for name, _ in self.samples()}
        for name in (
            *("haproxy_process_uptime_seconds", "haproxy_frontend_http_requests_total", "haproxy_backend_status"),
            *("haproxy_server_check_status", "reusedproxy_pool_floor", "reusedproxy_connect_seconds_bucket"),
            "reusedproxy_event_loop_standstills_total",
            "reusedproxy_tls_files_refused",
        ):
            self.assertIn(name, names)

    def test_it_says_what_it_is(self) -> None:
        made = self.made("/metrics")
        self.assertEqual((made.status, made.content_type), (200, "text/plain; version=0.0.4"))

    def test_a_family_stands_together_behind_its_title(self) -> None:
        parts = self.text().split("# HELP ")[1:]
        names = [part.split()[0] for part in parts]
        self.assertEqual(len(names), len(set(names)))
        for name, part in zip(names, parts, strict=True):
            title, *lines = part.splitlines()[1:]
            self.assertRegex(title, f"^# TYPE {name} (counter|gauge|histogram)$")
            self.assertTrue(lines)
            for each in lines:
                self.assertRegex(each, f"^{name}(_bucket|_sum|_count)?[{{ ]")

    def test_values_are_those_of_the_statistics(self) -> None:
        self.web.traffic.req_tot, self.web.traffic.hrsp[2] = 7, 5
        self.one.traffic.econ = 4
        found = self.samples()

        def value(name: str, **labels: str) -> float:
            return found[name, frozenset(labels.items())]

        self.assertEqual(value("haproxy_frontend_http_requests_total", proxy="web"), 7)
        self.assertEqual(value("haproxy_frontend_http_responses_total", proxy="web", code="2xx"), 5)
        self.assertEqual(value("haproxy_server_connection_errors_total", proxy="app", server="one"), 4)
        self.assertEqual(value("haproxy_server_status", proxy="app", server="off", state="MAINT"), 1)
        self.assertEqual(value("haproxy_server_status", proxy="app", server="off", state="UP"), 0)
        self.assertEqual(value("haproxy_backend_agg_server_status", proxy="app", state="UP"), 2)
        self.assertEqual(value("haproxy_server_limit_sessions", proxy="app", server="off"), 7)
        limit = value("haproxy_server_limit_sessions", proxy="app", server="one")
        self.assertNotEqual(limit, limit)  # NaN, as in HAProxy
        self.assertEqual(value("haproxy_process_dropped_logs_total"), 3)
        self.assertEqual(value("haproxy_process_start_time_seconds"), 2e9)
        self.assertEqual(value("haproxy_process_description", desc='the "first"'), 1)
        self.assertEqual(value("reusedproxy_pool_floor", pool="app/one", server="app/one"), 4)

    def test_what_would_end_a_label_is_escaped(self) -> None:
        self.assertEqual(labels([("a", 'x"y\\z\n')]), 'a="x\\"y\\\\z\\n"')

    def test_numbers_that_are_none(self) -> None:
        written = [number(value) for value in (float("nan"), float("inf"), -float("inf"), 3, 0.25)]
        self.assertEqual(written, ["NaN", "+Inf", "-Inf", "3", "0.25"])

    def test_names_are_those_of_the_figures(self) -> None:
        """Each column that the exporter reads is one of the statistics."""
        reads: list[Any] = [each.read for each in haproxy.METRICS]
        found = {cell.cell_contents for read in reads for cell in read.__closure__ or ()}
        names = {each for each in found if isinstance(each, str)}
        self.assertGreater(len(names), 50)
        self.assertEqual(names - set(figures.ALL_COLUMNS), set())


class QueryTests(ExporterCase):
    def test_stick_tables(self) -> None:
        """As in HAProxy; nothing where there are none."""
        self.assertEqual(self.text("?scope=sticktable"), "")
        said = "backend t\n stick-table type ip size 50 expire 1m store gpc0\n"
        settings = read_configuration([Source("t.cfg", said)], {}).tables
        tables = tables_of(settings, {}, lambda: 0.0, [])
        self.assertTrue(tables["t"].obtain(0xC0000207))
        logs: Any = SimpleNamespace(dropped=3)
        self.exporter = Exporter(self.page._moments, logs, tables=tables)
        self.assertEqual(
            [each for each in self.text("?scope=sticktable").splitlines() if each[0] != "#"],
            ['haproxy_sticktable_size{name="t",type="ip"} 50', 'haproxy_sticktable_used{name="t",type="ip"} 1'],
        )

    def test_scopes(self) -> None:
        for query, scopes in (
            ("", set(SCOPES)),
            ("?", set(SCOPES)),
            ("?other=1", set(SCOPES)),
            ("?scope=server", {"server"}),
            ("?scope=frontend&scope=backend", {"frontend", "backend"}),
            ("?scope=*&scope=", set()),
            ("?scope=&scope=global", {"global"}),
            ("?scope=serv%65r&x#scope=global", {"server"}),
            ("?scope=sticktable", {"sticktable"}),
            ("?scope=resolver", set()),
        ):
            self.assertEqual(read_query(b"/metrics" + query.encode()).scopes, scopes, query)

    def test_what_is_not_clear_is_refused(self) -> None:
        for query in (b"?scope", b"?scope=x", b"?scope=a=b", b"?metrics", b"?scope=%zz", b"?scope=serv%6"):
            with self.assertRaises(BadQuery, msg=query):
                read_query(b"/metrics" + query)
        made = self.made("/metrics?scope=none")
        self.assertEqual((made.status, made.content_type), (400, "text/html"))
        self.assertIn(b"<h1>400 Bad request</h1>", b"".join(made.pieces))

    def test_only_what_is_in_the_scopes_is_written(self) -> None:
        for scope, starts in (
            ("global", {"haproxy_process", "reusedproxy_event", "reusedproxy_tls"}),
            ("frontend", {"haproxy_frontend"}),
            ("backend", {"haproxy_backend", "reusedproxy_backend"}),
            ("listener", set()),
        ):
            names = {name for name, _ in self.samples(f"?scope={scope}")}
            self.assertEqual({"_".join(name.split("_")[:2]) for name in names}, starts)
        self.assertEqual(self.text("?scope="), "")

    def test_servers_in_maintenance_can_be_left_out(self) -> None:
        named = {
            dict(pairs).get("server", "")[-3:] for _, pairs in self.samples("?scope=server&no-maint&server-histograms")
        }
        self.assertEqual(named, {"one", "two"})
        named = {dict(pairs).get("server", "")[-3:] for _, pairs in self.samples("?scope=server&server-histograms")}
        self.assertEqual(named, {"one", "two", "off"})

    def test_metrics_by_name(self) -> None:
        only = {name for name, _ in self.samples("?metrics=haproxy_server_status,reusedproxy_pool_floor")}
        self.assertEqual(only, {"haproxy_server_status", "reusedproxy_pool_floor"})
        names = {name for name, _ in self.samples("?scope=server&metrics=-haproxy_server_status")}
        self.assertNotIn("haproxy_server_status", names)
        self.assertIn("haproxy_server_weight", names)

    def test_histograms_of_servers_are_added_up_by_backend(self) -> None:
        """Those of each server come where they are asked for: they are most of what there is to tell of one."""
        for each in (self.one, self.two):
            each.pool.counters.connect_seconds.observe(0.003)
        name = "reusedproxy_connect_seconds_count"
        app = [(labels, count) for (found, labels), count in self.samples().items() if found == name]
        self.assertIn((frozenset({("backend", "app")}), 2), app)
        self.assertFalse([labels for labels, _ in app if "server" in dict(labels)])
        each_server = self.samples("?scope=server&server-histograms")
        for server in ("app/one", "app/two"):
            self.assertEqual(each_server[name, frozenset({("server", server)})], 1)
        acquired = {labels for found, labels in self.samples() if found == "reusedproxy_pool_acquire_seconds_count"}
        self.assertIn(frozenset({("backend", "app"), ("result", "warm")}), acquired)
        without = self.samples("?scope=server&no-maint")
        self.assertEqual(without[name, frozenset({("backend", "app")})], 2)  # what is counted never falls by it

    def test_descriptions_are_labels_where_they_are_asked_for(self) -> None:
        def named(query: str) -> set[str]:
            lines = self.text(query).splitlines()
            return {line for line in lines if line.startswith(("haproxy_backend_status", "haproxy_process_jobs"))}

        self.patch(self.app, "settings", evolve(self.app.settings, description='what "it" is'))
        self.assertEqual([line for line in named("") if "desc" in line], [])
        self.assertEqual(
            {line for line in named("?desc-labels") if 'proxy="status"' not in line},
            {
                'haproxy_backend_status{proxy="app",desc="what \\"it\\" is",state="UP"} 1',
                'haproxy_backend_status{proxy="app",desc="what \\"it\\" is",state="DOWN"} 0',
                'haproxy_process_jobs{desc="the \\"first\\""} 1',
            },
        )
        self.assertIn("app <small>what &#34;it&#34; is</small></h2>", self.ask()[2])

    def test_counters_of_modules_come_where_they_are_asked_for(self) -> None:
        self.assertNotIn("mod=", self.text())
        found = self.samples("?extra-counters")
        labels = {"proxy": "web", "mod": "h1"}
        self.assertEqual(found["haproxy_frontend_h1_open_connections", frozenset(labels.items())], 0)


class WorkTests(ExporterCase):
    """Between two pieces others have their turn, so no piece may take long: it is counted in calls, a thousand of which
    take a fraction of a millisecond."""

    def most_calls(self, pieces: Iterator[bytes]) -> tuple[int, int]:
        """The number of pieces, and the most calls for one."""
        count = most = number = 0

        def note(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            for number, _ in enumerate(pieces, 1):  # noqa: B007 (it is returned)
                most, count = max(most, count), 0
        finally:
            sys.setprofile(before)
        return number, max(most, count)

    def test_no_piece_of_many_servers_takes_long(self) -> None:
        for servers in (20, 150):
            self.app.servers[:] = [self.two] * servers
            for target in ("/metrics", "/status", "/status;unfold", "/status;csv", "/status;json", "/status;typed"):
                self.page._moments.forget()
                head = read_request(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), Limits())
                made = self.exporter.answer(head) if target == "/metrics" else self.page.answer(head, False)
                number, most = self.most_calls(made.pieces)
                self.assertGreater(number, servers / 4, target)
                self.assertLess(most, 3000 + 8 * servers, target)


class RuleTests(SynchronousTestCase):
    """The line in the configuration."""

    def built(self, frontend: str, backend: str) -> Proxy:
        text = CONFIGURATION.format(frontend) + backend
        poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(poller.stop)
        configuration = read_configuration([Source("x.cfg", text)], {})
        assembly = Assembly(configuration, Clock(), poller, Random(1), lambda level, text, section="": None)
        return assembly.build(bind=False)

    def test_rates_are_measured_where_a_rule_uses_it(self) -> None:
        rule = "  http-request use-service prometheus-exporter if { path /metrics }\n"
        for frontend, backend, used in (("", "", False), (rule, "", True), ("", rule, True)):
            proxy = self.built(frontend, backend)
            (web,) = proxy.frontends
            self.assertEqual((proxy.rates is not None, list(web.services)), (used, [*SERVICES] if used else []))

    def faults(self, line: str) -> list[str]:
        try:
            read_configuration([Source("x.cfg", CONFIGURATION.format(line))], {})
        except ConfigurationError as error:
            return [str(fault) for fault in error.faults]
        return []

    def test_it_needs_a_service_that_there_is(self) -> None:
        self.assertEqual(self.faults("http-request use-service prometheus-exporter if { path /metrics }"), [])
        for line, said in (
            ("http-request use-service", "needs the name of a service"),
            ("http-request use-service prometheus", "there is no service 'prometheus'"),
            ("http-request use-service lua.hello", "no Lua is run"),
            ("http-response use-service prometheus-exporter", "use-service"),
        ):
            (fault,) = self.faults(line)
            self.assertIn(said, fault)
