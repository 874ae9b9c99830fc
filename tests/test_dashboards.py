"""The Grafana dashboard and the alert rules in etc/: whatever they ask for, the exporter gives, with these labels."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from reusedproxy.operators.metrics.exporter import Exporter
from reusedproxy.operators.stats.moment import Moments
from reusedproxy.wire.heads import Limits, read_request
from tests.test_operators_view import ViewCase
from tests.wire import scratch

ETC = Path(__file__).resolve().parent.parent / "etc"
RULES = ETC / "prometheus" / "reusedproxy.rules.yml"
DASHBOARD = ETC / "grafana" / "reusedproxy.json"
#: Those that Prometheus adds to each sample.
OF_PROMETHEUS = {"instance", "job"}
_METRIC = re.compile(r"\b((?:haproxy|reusedproxy)_\w+)(?:\{([^}]*)\})?")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")


def rules() -> list[str]:
    return re.findall(r"(?m)^ +expr: (.*)$", RULES.read_text())


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [each for each in found if each["type"] != "row"]


def queries() -> list[str]:
    """The expressions of the dashboard, and what its variables are filled from."""
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    asked = [each["query"]["query"] for each in variables if each["type"] == "query"]
    return [target["expr"] for panel in panels() for target in panel["targets"]] + asked


def missing(expression: str, series: dict[str, set[str]]) -> Iterator[str]:
    """What an expression names and `series` (labels by name) do not have."""
    found = _METRIC.findall(expression)
    if not found:
        yield f"no metric in {expression}"
    labels = set(OF_PROMETHEUS)
    for name, matchers in found:
        if name not in series:
            yield name
            continue
        labels |= series[name]
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            if label not in series[name] | OF_PROMETHEUS:
                yield f"{name}{{{label}}}"
    for group in _GROUPED.findall(expression):
        for label in re.split(r",\s*", group):
            if label not in labels:
                yield f"by ({label})"


class DashboardTests(ViewCase):
    def series(self) -> dict[str, set[str]]:
        """What the exporter of a proxy gives that has TLS on both sides and has done something, with its labels."""
        self.happen()
        self.one.pool.counters.race("unsafe", "lost")
        logs: Any = SimpleNamespace(dropped=0)
        made = Exporter(Moments(self.reader), logs).answer(
            read_request(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Limits())
        )
        assert made is not None
        found: dict[str, set[str]] = {}
        for line in b"".join(made.pieces).decode().splitlines():
            match = re.match(r"([a-z]\w*)(?:\{(.*)\})? \S+$", line)
            if match is not None:
                found.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
        self.assertGreater(len(found), 200)
        return found

    def test_rules_and_dashboard_name_only_what_there_is(self) -> None:
        series = self.series()
        # Our own certificate is not there without one, nor the server's before a handshake.
        series["reusedproxy_client_cert_not_after_timestamp_seconds"] = {"pool"}
        series["reusedproxy_server_cert_not_after_timestamp_seconds"] = {"server"}
        self.assertGreater(len(rules()), 10)
        self.assertGreater(len(queries()), 30)
        self.assertEqual([each for expression in (*rules(), *queries()) for each in missing(expression, series)], [])

    def test_what_is_not_there_would_be_seen(self) -> None:
        series = {"haproxy_a": {"proxy"}}
        self.assertEqual(
            list(missing('sum by (server) (haproxy_a{code="1"}) / haproxy_b', series)),
            ["haproxy_a{code}", "haproxy_b", "by (server)"],
        )

    def test_texts_of_alerts_name_labels_that_their_expression_leaves(self) -> None:
        series = self.series()
        for expression, summary in re.findall(r"(?s)expr: ([^\n]*)\n.*?summary: (\"[^\n]*)", RULES.read_text()):
            grouped = _GROUPED.findall(expression)
            left = set(re.split(r",\s*", grouped[0])) if grouped else set(OF_PROMETHEUS)
            for name, _ in _METRIC.findall(expression):
                left |= set() if grouped else series.get(name, {"pool", "server"})
            self.assertEqual(set(re.findall(r"\$labels\.(\w+)", summary)) - left, set(), expression)

    def test_panels_stand_side_by_side(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in panels():
            place = panel["gridPos"]
            area = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(area & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= area
        identities = [panel["id"] for panel in panels()]
        self.assertEqual(len(identities), len(set(identities)))

    def test_prometheus_takes_the_rules_and_the_expressions_of_the_dashboard(self) -> None:
        promtool = shutil.which("promtool")
        if promtool is None:
            self.skipTest("no promtool: apt-get install prometheus")
        expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
        lines = ["groups:", "- name: dashboard", "  rules:"]
        for number, expression in enumerate(expressions):
            plain = expression.replace("$__rate_interval", "5m").replace("'", "''")
            lines += [f"  - record: dashboard_{number}", f"    expr: '{plain}'"]
        path = scratch(self) / "dashboard.yml"
        path.write_text("\n".join(lines) + "\n")
        for checked in (RULES, path):
            said = subprocess.run(
                [promtool, "check", "rules", str(checked)], capture_output=True, text=True, timeout=30
            )
            self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
