"""The exporter for Prometheus beside HAProxy's, after the same traffic: names, types, labels and values."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from http.client import HTTPConnection
from math import isnan
from pathlib import Path

import pytest

from reusedproxy.config.language.haproxy_words import words
from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, find_program, temporary_directory, wait_for
from tests.integration.test_stats_beside_haproxy import TRAFFIC, TrafficCase, ask_in_a_row, cause_traffic
from tests.ports import free_port

#: What HAProxy measures of itself only, or has its own ways to do.
ABSENT = words(
    """
    current_backend_ssl_key_rate max_backend_ssl_key_rate current_run_queue current_tasks current_zlib_memory
    max_zlib_memory failed_resolutions max_memory_bytes pool_allocated_bytes pool_failures_total
    pool_used_bytes ssl_cache_lookups_total ssl_cache_misses_total
    """
)
#: Values that are alike to the digit, as far as HAProxy has one.
ALIKE = words(
    """
    haproxy_process_nbthread haproxy_process_nbproc haproxy_process_relative_process_id haproxy_process_stopping
    haproxy_process_unstoppable_jobs haproxy_process_listeners haproxy_process_active_peers
    haproxy_process_limit_connection_rate haproxy_process_limit_session_rate haproxy_process_limit_ssl_rate
    haproxy_process_max_pipes haproxy_process_pipes_used_total haproxy_process_busy_polling_enabled
    haproxy_process_ssl_connections_total haproxy_process_dropped_logs_total haproxy_process_recv_logs_total

    haproxy_frontend_sessions_total haproxy_frontend_requests_denied_total haproxy_frontend_responses_denied_total
    haproxy_frontend_request_errors_total haproxy_frontend_status haproxy_frontend_limit_session_rate
    haproxy_frontend_http_responses_total haproxy_frontend_http_requests_total haproxy_frontend_connections_total
    haproxy_frontend_intercepted_requests_total haproxy_frontend_denied_connections_total
    haproxy_frontend_denied_sessions_total haproxy_frontend_failed_header_rewriting_total
    haproxy_frontend_http_cache_hits_total haproxy_frontend_internal_errors_total
    haproxy_frontend_http_comp_responses_total

    haproxy_listener_limit_sessions haproxy_listener_sessions_total haproxy_listener_requests_denied_total
    haproxy_listener_responses_denied_total haproxy_listener_request_errors_total haproxy_listener_status
    haproxy_listener_denied_connections_total haproxy_listener_denied_sessions_total
    haproxy_listener_failed_header_rewriting_total

    haproxy_backend_current_queue haproxy_backend_max_queue haproxy_backend_sessions_total
    haproxy_backend_max_sessions haproxy_backend_requests_denied_total haproxy_backend_responses_denied_total
    haproxy_backend_connection_errors_total haproxy_backend_response_errors_total
    haproxy_backend_retry_warnings_total haproxy_backend_redispatch_warnings_total haproxy_backend_status
    haproxy_backend_weight haproxy_backend_uweight haproxy_backend_active_servers haproxy_backend_backup_servers
    haproxy_backend_check_up_down_total haproxy_backend_http_responses_total haproxy_backend_http_requests_total
    haproxy_backend_client_aborts_total haproxy_backend_server_aborts_total haproxy_backend_internal_errors_total
    haproxy_backend_agg_server_status haproxy_backend_agg_server_check_status haproxy_backend_agg_check_status

    haproxy_server_current_queue haproxy_server_max_queue haproxy_server_current_sessions
    haproxy_server_max_sessions haproxy_server_limit_sessions haproxy_server_sessions_total
    haproxy_server_responses_denied_total haproxy_server_connection_errors_total
    haproxy_server_response_errors_total haproxy_server_retry_warnings_total
    haproxy_server_redispatch_warnings_total haproxy_server_status haproxy_server_weight haproxy_server_uweight
    haproxy_server_check_failures_total haproxy_server_check_up_down_total haproxy_server_queue_limit
    haproxy_server_current_throttle haproxy_server_check_status haproxy_server_check_code
    haproxy_server_http_responses_total haproxy_server_client_aborts_total haproxy_server_server_aborts_total
    haproxy_server_idle_connections_limit haproxy_server_internal_errors_total
    """
)
#: Seconds by which times of requests may differ.
TOLERANCE = 0.1
MORE = """
backend more
    server on {host}:{slow}
    server off {host}:1 disabled
backend checked
    server up {host}:{slow} check inter 100ms rise 1
    server down {host}:1 check inter 100ms fall 1
frontend metrics
    bind {host}:{metrics}
    http-request use-service prometheus-exporter if {{ path /metrics }}
listen through
    mode tcp
    bind {host}:{through}
    server t {host}:{slow}
"""
Samples = dict[str, str]


def parsed(text: str) -> tuple[dict[str, str], Samples]:
    """The types by name, and the values by name with labels."""
    types = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))
    samples = dict(re.findall(r"(?m)^([a-z]\S*(?:\{.*\})?) (\S+)$", text))
    assert types and samples
    return types, samples


@pytest.mark.alone
class ExporterBesideHAProxyTests(TrafficCase):
    def asked(self, port: int, target: str, method: str = "GET") -> tuple[int, str]:
        client = HTTPConnection(LOOPBACK, port, timeout=10)
        client.request(method, target)
        answer = client.getresponse()
        text = answer.read().decode()
        client.close()
        return answer.status, text

    def texts(self, make: Callable[[Path, str], Daemon], directory: Path) -> dict[str, tuple[int, str]]:
        """What the exporter says after the same traffic, by what it is asked."""
        port, metrics, through = free_port(), free_port(), free_port()
        ports = {
            "port": port,
            "metrics": metrics,
            "through": through,
            "dead": free_port(),
            "slow": self.server.server_address[1],
        }
        daemon = make(directory, (TRAFFIC + MORE).format(host=LOOPBACK, **ports))
        self.addCleanup(daemon.stop)
        daemon.start()
        cause_traffic(port)
        ask_in_a_row(through, ["/"])
        results = ("L4OK", "L4CON")
        wait_for(
            lambda: results == tuple(daemon.server(name, "checked")["check_status"] for name in ("up", "down")),
            "the checks to find what there is",
        )
        found = {
            target: self.asked(metrics, target, method)
            for target, method in (
                ("/metrics", "GET"),
                ("/metrics?scope=frontend&scope=server", "GET"),
                ("/metrics?scope=", "GET"),
                ("/metrics?scope=global&scope=&scope=backend&x=y", "GET"),
                ("/metrics?scope", "GET"),
                ("/metrics?scope=nothing", "GET"),
                ("/metrics?scope=server&no-maint", "POST"),
                ("/else", "GET"),
            )
        }
        daemon.stop()
        return found

    def test_it_says_what_haproxy_says(self) -> None:
        directory = temporary_directory(self)
        ours, theirs = self.texts(Daemon, directory / "ours"), self.texts(HAProxy, directory / "theirs")
        for target, (status, text) in theirs.items():
            self.assertEqual(ours[target][0], status, target)
            if status != 200:
                continue
            if not text:
                self.assertEqual(ours[target][1], "")
                continue
            (types, samples), (mine, values) = parsed(text), parsed(ours[target][1])
            absent = {f"haproxy_process_{name}" for name in ABSENT}
            self.assertEqual({name: types[name] for name in types.keys() - absent}.items() - mine.items(), set())
            names = {each for each in samples if each.split("{")[0] not in absent and "build_info" not in each}
            self.assertEqual(names - values.keys(), set(), target)
            also = {each for each in values.keys() - samples.keys() if each.startswith("haproxy_")}
            allowed = (
                "haproxy_process_build_info",
                "haproxy_process_node",
                "haproxy_server_active",
                "haproxy_server_backup",
            )
            self.assertEqual({each for each in also if not each.startswith(allowed)}, set(), target)
            self.compare(samples, values)
        promtool = find_program("promtool")
        if promtool is None:
            self.skipTest("promtool has not looked at it: apt-get install prometheus")
        said = subprocess.run(
            [promtool, "check", "metrics"], input=ours["/metrics"][1], text=True, capture_output=True, timeout=20
        )
        self.assertEqual((said.returncode, said.stdout, said.stderr), (0, "", ""))

    def compare(self, theirs: Samples, ours: Samples) -> None:
        different = {}
        for sample, value in theirs.items():
            name = sample.split("{")[0]
            if name.removeprefix("haproxy_process_") in ABSENT or "build_info" in name:
                continue
            if 'proxy="metrics"' in sample or 'proxy="statistics"' in sample or 'proxy="main"' in sample:
                continue  # they count who asks for all this
            its, mine = float(value), float(ours[sample])
            if name in ALIKE:
                alike = its == mine or (isnan(its) and isnan(mine))
            else:
                # Not the averages: HAProxy's CSV has them as we do, its exporter shares them among 1024 requests.
                timed = "_max_" in name and name.endswith("_time_seconds")
                alike = not timed or abs(its - mine) < TOLERANCE
            if not alike:
                different[sample] = (mine, its)
        self.assertEqual(different, {})
