"""What is lost when clients that close meet servers that close, for ours, HAProxy and nginx under the same misfortune.

Each proxy in turn stands before sites of our own (mutual TLS, `chaos_server`). In phase 1 they do nothing worse than
close connections that were idle for two seconds; in phase 2 they close at random, restart, refuse, stall and change
their certificates. Clients come in bursts (`chaos_clients`), GET and POST alike, each request with a number of its own
that is counted where it arrives. So it is known of each request without an answer whether a server had read it, and of
each POST whether it was carried out twice.

    python -m benchmarks.chaos [--seconds 25] [--sites 16] [--only ours,tuned] [--seed N]

Loopback only, bounded in time; it ends only what it started. The exit status is 1 when ours misses a bar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import define, field

from benchmarks import machine
from benchmarks.chaos_clients import Asked, Clients
from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, accepts_connections, find_program, wait_for
from tests.ports import free_ports

NAME = "server.test"
FLOOR = 16
PHASES = ("constant idle time-out", "everything")
RETRY_ON = "retry-on conn-failure empty-response response-timeout"

DIALECT = """
defaults sites
    mode http
    retries 3
    timeout connect 2s
    timeout client 10s
    timeout server 3s
"""
SITE = """
frontend clients-{number}
    bind {host}:{port}
    default_backend site-{number}
backend site-{number}
    {backend}
    server one {host}:{server} ssl verify required ca-file {directory}/ca.pem crt {directory}/client.pem \
        sni str({name}) verifyhost {name} {more}
"""

NGINX = (
    """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
"""
    + machine.NGINX_FILES
    + """    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_connect_timeout 2s;
    proxy_read_timeout 3s;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;
    proxy_ssl_certificate {directory}/client.pem;
    proxy_ssl_certificate_key {directory}/client.pem;
    proxy_ssl_trusted_certificate {directory}/ca.pem;
    proxy_ssl_verify on;
    proxy_ssl_server_name on;
    proxy_ssl_name {name};
{sites}
}}
"""
)
NGINX_SITE = """
    upstream site-{number} {{ server {host}:{server}; keepalive 64; keepalive_timeout 1h; }}
    server {{ listen {host}:{port}; location / {{ proxy_pass https://site-{number}; }} }}
"""


class Bare(Daemon):
    """Ours, whose frontends are all in the text."""

    HEAD = Daemon.HEAD.replace("    option httplog\n", "").replace("default_backend servers", "default_backend site-0")


@define
class Contender:
    """One proxy at work before the sites. `ports` are its own, one a site."""

    key: str
    title: str
    directory: Path
    ports: list[int]
    servers: list[int]
    _daemon: Daemon | None = field(default=None, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Return when it accepts."""
        self.directory.mkdir()
        if self.key == "ours":
            self._daemon = Bare(self.directory / "ours", self._dialect("", f"pool-min-conn {FLOOR}"))
            self._daemon.start()
        elif self.key == "nginx":
            self._spawn(["nginx", "-p", str(self.directory), "-e", "error.log", "-c"], self._nginx())
        else:
            words = "http-reuse always" + (f"\n    {RETRY_ON}" if self.key == "tuned-retry" else "")
            text = "global\n    nbthread 1\n" + self._dialect(words, "pool-purge-delay 1h")
            self._spawn(["haproxy", "-db", "-f"], text)
        wait_for(lambda: accepts_connections(self.ports[-1]), f"{self.title} to accept")

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.stop()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def statistics(self) -> list[dict[str, str]]:
        """The rows of our servers; nothing for others."""
        rows = self._daemon.statistics() if self._daemon is not None else []
        return [row for row in rows if row["svname"] == "one"]

    def _dialect(self, backend: str, more: str) -> str:
        text = DIALECT
        for number, (port, server) in enumerate(zip(self.ports, self.servers, strict=True)):
            values = {"number": number, "port": port, "server": server, "backend": backend, "more": more}
            text += SITE.format(host=LOOPBACK, directory=self.directory.parent, name=NAME, **values)
        return text

    def _nginx(self) -> str:
        sites = "".join(
            NGINX_SITE.format(host=LOOPBACK, number=number, port=port, server=server)
            for number, (port, server) in enumerate(zip(self.ports, self.servers, strict=True))
        )
        text = NGINX.format(directory=self.directory, name=NAME, sites=sites)
        for name in ("ca", "client"):
            (self.directory / f"{name}.pem").write_bytes((self.directory.parent / f"{name}.pem").read_bytes())
        return text

    def _spawn(self, command: list[str], text: str) -> None:
        file = self.directory / "configuration"
        file.write_text(text)
        program = find_program(command[0])
        assert program is not None
        with open(self.directory / "output", "wb") as output:
            self._process = subprocess.Popen([program, *command[1:], str(file)], stdout=output, stderr=output)


CONTENDERS = {
    "ours": f"reusedproxy, floor {FLOOR}",
    "tuned": "HAProxy, http-reuse always",
    "tuned-retry": "HAProxy, the same and retry-on",
    "nginx": "nginx, keepalive 64",
}


@define
class Figures:
    """What became of one proxy's requests in one phase."""

    requests: int = 0
    unsafe: int = 0
    #: Without an answer of 200: idempotent ones; unsafe ones that no server read though none was away;
    #: other unsafe ones.
    lost_idempotent: int = 0
    lost_to_the_race: int = 0
    lost_otherwise: int = 0
    #: Idempotent ones among the lost that a server had read, or found nobody to read them.
    excused_idempotent: int = 0
    #: Unsafe requests that servers read more than once.
    twice: int = 0
    statuses: dict[str, int] = field(factory=dict)

    def add(self, asked: Asked, seen: int, away: bool) -> None:
        self.requests += 1
        self.unsafe += asked.unsafe
        self.twice += asked.unsafe and seen > 1
        if asked.status == 200:
            return
        key = f"{'POST' if asked.unsafe else 'GET'} {asked.status or 'no answer'}"
        key += f"{' read' if seen else ''}{' away' if away else ''}"
        self.statuses[key] = self.statuses.get(key, 0) + 1
        if not asked.unsafe:
            self.lost_idempotent += 1
            self.excused_idempotent += bool(seen) or away
        elif seen or away:
            self.lost_otherwise += 1
        else:
            self.lost_to_the_race += 1


@define
class Result:
    """One proxy's run."""

    title: str
    phases: list[Figures]
    handshakes: int
    on_request_path: int | None
    trouble: dict[str, int]
    closed: dict[str, int]


def run(key: str, directory: Path, seconds: float, sites: int, phases: int = 2) -> Result:
    """Put one proxy through the phases."""
    ports = free_ports(2 * sites)
    contender = Contender(key, CONTENDERS[key], directory / key, ports[:sites], ports[sites:])
    command = [sys.executable, "-m", "benchmarks.chaos_server", str(directory), *map(str, ports[sites:])]
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert server.stdin is not None and server.stdout is not None
    try:
        assert server.stdout.readline() == "ready\n"
        contender.start()
        time.sleep(1)
        clients = Clients(contender.ports)
        ends = []
        for phase in range(phases):
            if phase:
                print("wild", file=server.stdin, flush=True)
            asyncio.run(clients.run(seconds))
            ends.append(len(clients.asked))
        rows = contender.statistics()
        print("report", file=server.stdin, flush=True)
        report = json.loads(server.stdout.readline())
        server.wait(10)
    finally:
        contender.stop()
        if server.poll() is None:
            server.send_signal(signal.SIGKILL)
            server.wait(10)
    return _result(contender.title, clients.asked, ends, report, rows)


def _result(
    title: str, asked: list[Asked], ends: list[int], report: dict[str, Any], rows: list[dict[str, str]]
) -> Result:
    phases = []
    begin = 0
    for end in ends:
        figures = Figures()
        for each in asked[begin:end]:
            windows = report["away"][each.site]
            away = any(each.begin <= until and since <= each.end for since, until in windows)
            figures.add(each, report["seen"].get(str(each.number), 0), away)
        phases.append(figures)
        begin = end
    closed: dict[str, int] = {}
    for row in rows:
        for reason, _, count in (each.rpartition(": ") for each in row["pool_closed"].split("; ") if each):
            closed[reason] = closed.get(reason, 0) + int(count)
    on_path = sum(int(row["pool_handshakes_request_path"]) for row in rows) if rows else None
    return Result(title, phases, report["handshakes"], on_path, report["trouble"], closed)


def table(results: list[Result]) -> str:
    """In Markdown."""
    lines = ["| proxy | phase | requests | lost idempotent | lost unsafe: race | otherwise | unsafe read twice |"]
    lines.append("|---|---|---|---|---|---|---|")
    for result in results:
        for name, phase in zip(PHASES, result.phases, strict=False):
            figures = (phase.requests, phase.lost_idempotent, phase.lost_to_the_race, phase.lost_otherwise, phase.twice)
            lines.append(f"| {result.title} | {name} | " + " | ".join(map(str, figures)) + " |")
    lines.append("")
    for result in results:
        on_path = result.handshakes if result.on_request_path is None else result.on_request_path
        lines.append(f"{result.title}: {result.handshakes} handshakes, {on_path} on the request path; {result.trouble}")
        for name, phase in zip(PHASES, result.phases, strict=False):
            lines.append(f"    {name}: {dict(sorted(phase.statuses.items()))}")
        if result.closed:
            lines.append(f"    closed: {result.closed}")
    return "\n".join(lines)


def judge(result: Result) -> list[str]:
    """Which bars ours has missed."""
    wrong = []
    for name, phase in zip(PHASES, result.phases, strict=False):
        if phase.lost_idempotent:
            wrong.append(f"{name}: {phase.lost_idempotent} idempotent requests lost")
        if phase.twice:
            wrong.append(f"{name}: {phase.twice} unsafe requests carried out more than once")
    first = result.phases[0]
    if first.lost_to_the_race or first.lost_otherwise:
        wrong.append(f"{PHASES[0]}: {first.lost_to_the_race} + {first.lost_otherwise} unsafe requests lost")
    return wrong


def prepare(directory: Path) -> None:
    """Certificates: one authority, one client, and two of the server's."""
    authority = Authority("chaos CA")
    authority.write(directory / "ca.pem")
    authority.issue("chaos client", client=True).write(directory / "client.pem")
    for number in range(2):
        authority.issue(NAME, hosts=[NAME]).write(directory / f"server-{number}.pem")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=25.0, help="for each phase of each proxy")
    parser.add_argument("--sites", type=int, default=16)
    parser.add_argument("--only", default=",".join(CONTENDERS))
    parser.add_argument("--seed", type=int, default=None, help="of the clients' doings")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    print(f"seed {seed}, {os.cpu_count()} cores", flush=True)
    results = {}
    with tempfile.TemporaryDirectory(prefix="reusedproxy-chaos-", ignore_cleanup_errors=True) as name:
        prepare(Path(name))
        for key in options.only.split(","):
            program = "nginx" if key == "nginx" else "haproxy"
            if key != "ours" and find_program(program) is None:
                print(f"{CONTENDERS[key]}: {program} is not installed")
                continue
            random.seed(seed)
            results[key] = run(key, Path(name), min(options.seconds, 600), min(options.sites, 64))
            print(f"{results[key].title} done", file=sys.stderr, flush=True)
    print(table(list(results.values())))
    wrong = judge(results["ours"]) if "ours" in results else []
    for line in wrong:
        print("WRONG:", line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
