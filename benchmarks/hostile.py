#!/usr/bin/env python3
"""
What one hostile client, or a broken server, costs everybody else: a quiet client's latency beside the worst input of
each kind, behind ours, HAProxy and nginx in one run on this machine; see README.md.

The quiet client asks every 20 ms, in turn on a connection that it keeps and on a new one. A request that begins late
because the one before was not answered is measured from when it was due. The table goes to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from attrs import frozen

    from benchmarks import hostile_attacks as attacks
    from benchmarks import hostile_server, machine
    from benchmarks.backend import SERVER_NAME, Backend, Site, nginx_user
    from benchmarks.contenders import ROOT
    from tests.ports import free_ports
except ImportError as error:
    sys.exit(f"{error}: run it by a Python that has the package's dependencies (pip install .)")

PERIOD = 0.02
#: A quiet client's request that takes longer is lost, and counts as so long.
PATIENCE = 5.0


@frozen
class Kind:
    """
    One kind of input.

    @ivar words: what it is, for the table.
    @ivar path: what the quiet client asks for meanwhile.
    @ivar extra: lines of a backend's configuration that only this kind needs.
    @ivar reloads: how often a second the proxy is told to reload.
    @ivar nginx: whether nginx has such a thing.
    """

    words: str
    attack: attacks.Attack
    path: str = "/quiet"
    extra: str = ""
    rule: str = ""
    reloads: float = 0.0
    nginx: bool = True


_MANY = "".join(f"    server many{n} 127.0.0.1:{{hostile}} weight {1 + n % 7}\n" for n in range(100))
_FLAPPING = "    option httpchk GET /hostile/check\n" + "".join(
    f"    server flap{n} 127.0.0.1:{{hostile}} check inter 100ms rise 1 fall 1 weight {250 + n % 7}\n"
    for n in range(50)
)
_PHP = r".*/.*/.*\.php$"
_NAME = r"^(/[a-z0-9]+([-_.]?[a-z0-9]+)*)+/?$"

KINDS: dict[str, Kind] = {
    "none": Kind("nothing (the floor of this table)", attacks.nothing),
    "chunks": Kind("8 uploads in chunks of one byte", attacks.small_chunks),
    "extensions": Kind("8 uploads in chunks of one byte, with extensions", attacks.chunk_extensions),
    "huge-heads": Kind("heads of 60 KB", attacks.huge_heads),
    "many-fields": Kind("heads of 95 fields", attacks.many_fields),
    "slow-heads": Kind("400 clients with slow heads", attacks.slow_heads),
    "connects": Kind("a flood of connections", attacks.connects),
    "pipeline": Kind("pipelined requests", attacks.pipeline),
    "returned": Kind("pipelined requests, answered by the proxy itself", attacks.pipeline_returned),
    "unread": Kind("the same, answers not read", attacks.pipeline_unread),
    "key-updates": Kind("a flood of KeyUpdate", attacks.key_updates),
    "key-updates-shut": Kind("KeyUpdate while nothing is read", attacks.key_updates_shut),
    "hello-records": Kind("ClientHello, one byte a record", attacks.hello_pieces),
    "hello-bytes": Kind("ClientHello byte by byte", attacks.hello_bytes),
    "handshakes": Kind("a flood of TLS handshakes", attacks.handshakes),
    "aborted": Kind("TLS handshakes aborted", attacks.handshakes_aborted),
    "renegotiation": Kind("TLS 1.2 renegotiations", attacks.renegotiations),
    "slow-readers": Kind("40 slow readers of large answers", attacks.slow_readers),
    "early": Kind("uploads answered early by the same server", attacks.early_answers, path="/same"),
    "interim": Kind("a server's interim answers without end", attacks.interim_answers),
    "answer-chunks": Kind("a server's chunks of one byte", attacks.answer_chunks),
    "answer-bytes": Kind("a server's answer byte by byte", attacks.answer_bytes),
    "regex-path": Kind(f"`{_PHP}` with a path of 2 KB", attacks.regular_path, rule=_PHP),
    "regex-name": Kind(f"`{_NAME}` with 72 bytes", attacks.regular_name, path="/quiet!", rule=_NAME),
    "reloads": Kind("a reload each second, 100 servers", attacks.nothing, extra=_MANY, reloads=1.0),
    "flapping": Kind("50 servers that flap", attacks.nothing, extra=_FLAPPING, nginx=False),
    "refused": Kind("a server that refuses", attacks.refused_server),
    "preface": Kind("PROXY headers byte by byte", attacks.prefaces),
}


@frozen
class Ports:
    """Where a proxy listens (C{port}, C{tls}, C{preface}), and the servers behind it."""

    port: int
    tls: int
    preface: int
    quiet: int
    same: int
    hostile: int
    refused: int


@frozen
class Contender:
    """One that takes part."""

    key: str
    title: str
    program: str
    reload: int
    command: Callable[[Path], list[str]]
    configuration: Callable[[Kind, Ports, Site], str]


def dialect(kind: Kind, ports: Ports, site: Site) -> str:
    """The one configuration of ours and of HAProxy."""
    return _HAPROXY.format(
        ports=ports,
        site=site,
        name=SERVER_NAME,
        rule=f"    http-request deny if {{ path_reg {_escaped(kind.rule)} }}" if kind.rule else "",
        extra="backend more\n" + kind.extra.format(hostile=ports.hostile) if kind.extra else "",
    )


def _escaped(expression: str) -> str:
    return f"'{expression}'"


def nginx(kind: Kind, ports: Ports, site: Site) -> str:
    """The same for nginx."""
    directory = site.directory / f"nginx-{ports.port}"
    directory.mkdir(exist_ok=True)
    return _NGINX.format(
        ports=ports,
        site=site,
        name=SERVER_NAME,
        user=nginx_user(),
        directory=directory,
        rule=f"location ~ '{kind.rule}' {{ return 403; }}" if kind.rule else "",
    )


def _haproxy(configuration: Path) -> list[str]:
    return [machine.program("haproxy") or "haproxy", "-W", "-db", "-f", str(configuration)]


CONTENDERS: dict[str, Contender] = {
    each.key: each
    for each in (
        Contender(
            "ours",
            "reusedproxy",
            sys.executable,
            signal.SIGHUP,
            lambda path: [sys.executable, "-m", "twisted", "reusedproxy", "--config", str(path)],
            dialect,
        ),
        Contender("haproxy", "HAProxy", "haproxy", signal.SIGUSR2, _haproxy, dialect),
        Contender(
            "nginx",
            "nginx",
            "nginx",
            signal.SIGHUP,
            lambda path: [machine.program("nginx") or "nginx", "-c", str(path), "-e", "stderr"],
            nginx,
        ),
    )
}


@frozen
class Seen:
    """What the quiet client saw: sorted seconds, requests without a right answer; and the proxy's share of a core."""

    times: list[float]
    lost: int
    cpu: float

    @staticmethod
    def joined(rounds: list[Seen]) -> Seen:
        """What was seen in all rounds."""
        times = sorted(time for each in rounds for time in each.times)
        return Seen(times, sum(each.lost for each in rounds), sum(each.cpu for each in rounds) / len(rounds))

    def at(self, share: float) -> float:
        """A percentile, in seconds."""
        return self.times[min(len(self.times) - 1, int(share * len(self.times)))]


def quiet(port: int, path: str, until: float) -> tuple[list[float], int]:
    """The quiet client, until then: how long its requests took, and how many failed."""
    request = f"GET {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\n".encode()
    kept: socket.socket | None = None
    times, lost, number = [], 0, 0
    due = time.monotonic()
    while due < until:
        time.sleep(max(0.0, due - time.monotonic()))
        number += 1
        stay = bool(number % 2)
        try:
            if stay:
                try:
                    kept = _asked(kept or _connect(port), request + b"\r\n")
                except ConnectionError:
                    # The proxy may close what is idle, when it is reloaded for instance; clients ask once more then.
                    kept = _asked(_connect(port), request + b"\r\n")
            else:
                _asked(_connect(port), request + b"Connection: close\r\n\r\n").close()
            times.append(time.monotonic() - due)
        except OSError:
            lost += 1
            times.append(max(PATIENCE, time.monotonic() - due))
            if stay:
                kept = None
        due += PERIOD
        if time.monotonic() - until > PATIENCE:
            break
    if kept is not None:
        kept.close()
    return sorted(times), lost


def _asked(client: socket.socket, request: bytes) -> socket.socket:
    """The same connection, when the right answer has come."""
    try:
        client.sendall(request)
        answer = b""
        while not answer.endswith(b"ok\n"):
            piece = client.recv(4096)
            if not piece:
                raise ConnectionResetError("ended without an answer")
            answer += piece
    except OSError:
        client.close()
        raise
    return client


def _connect(port: int) -> socket.socket:
    client = socket.create_connection((machine.LOOPBACK, port), timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _attack(kind: Kind, prey: attacks.Prey) -> None:
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    os.nice(10)  # the quiet client shares the core; what it waits for should be the proxy
    kind.attack(prey)
    os._exit(0)  # threads that still wait must not outlive their time


def measured(contender: Contender, kind: Kind, behind: Backend, hostile: int, seconds: float) -> Seen:
    """One kind, one contender, in a fresh process."""
    port, tls, preface, refused = free_ports(4)
    ports = Ports(port, tls, preface, behind.plain_port, behind.port, hostile, refused)
    path = behind.site.directory / f"{contender.key}-{port}.cfg"
    path.write_text(contender.configuration(kind, ports, behind.site))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    daemon = machine.Daemon(
        f"{contender.key}-{port}", contender.command(path), machine.PROXY_CORE, behind.site.directory, environment
    )
    attack = None
    try:
        daemon.wait_listening(port)
        quiet(port, kind.path, time.monotonic() + 0.3)
        until = time.monotonic() + seconds + 0.3
        prey = attacks.Prey(port, tls, preface, until)
        attack = multiprocessing.Process(target=_attack, args=(kind, prey), daemon=True)
        attack.start()
        over = threading.Event()
        if kind.reloads:
            threading.Thread(target=_reload, args=(contender, kind, daemon, over), daemon=True).start()
        time.sleep(0.3)
        before, began = daemon.cpu_seconds(), time.monotonic()
        times, lost = quiet(port, kind.path, until)
        cpu = (daemon.cpu_seconds() - before) / (time.monotonic() - began)
        over.set()
        return Seen(times, lost, cpu)
    finally:
        if attack is not None:
            attack.kill()
            attack.join()
        daemon.stop()


def _reload(contender: Contender, kind: Kind, daemon: machine.Daemon, over: threading.Event) -> None:
    while not over.wait(1 / kind.reloads):
        daemon.signal(contender.reload)


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="KIND[,KIND]", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--contenders", metavar="NAME[,NAME]", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round, for each kind and contender (2)")
    parser.add_argument("--rounds", type=int, default=3, help="in which the contenders take turns (3)")
    parser.add_argument("--quick", action="store_true", help="one round of half a second: does it run at all?")
    chosen = parser.parse_args()
    seconds, rounds = (0.5, 1) if chosen.quick else (chosen.seconds, chosen.rounds)
    kinds = _named(parser, chosen.only, [*KINDS])
    contenders = [CONTENDERS[key] for key in _named(parser, chosen.contenders, [*CONTENDERS])]
    contenders = [each for each in contenders if machine.program(each.program)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    compared = {"ours", "haproxy"} <= {each.key for each in contenders}
    heads = [f"{each.title}: p50 ms | p99 | max | lost | CPU" for each in contenders]
    heads += ["p99, ours ÷ HAProxy"] if compared else []
    print(f"| a quiet client beside | {' | '.join(heads)} |")
    print("|---" * (1 + 5 * len(contenders) + compared) + "|", flush=True)
    with tempfile.TemporaryDirectory(prefix="reusedproxy-benchmark-", ignore_cleanup_errors=True) as directory:
        os.sched_setaffinity(0, {machine.LOAD_CORE})
        behind = Backend(Path(directory), "1.3")
        (hostile,) = free_ports(1)
        server = multiprocessing.Process(target=hostile_server.run, args=(hostile,), daemon=True)
        server.start()
        try:
            machine.wait_for(lambda: machine.listens(hostile), "the hostile server")
            for name in kinds:
                print(_row(KINDS[name], contenders, behind, hostile, seconds, rounds), flush=True)
        finally:
            server.kill()
            server.join()
            behind.stop()


def _row(kind: Kind, contenders: list[Contender], behind: Backend, hostile: int, seconds: float, rounds: int) -> str:
    cells, p99 = [kind.words.replace("|", "\\|")], {}
    runs: dict[str, list[Seen]] = {each.key: [] for each in contenders}
    for _ in range(rounds):
        for contender in contenders:
            if contender.key == "nginx" and not kind.nginx:
                continue
            try:
                runs[contender.key].append(measured(contender, kind, behind, hostile, seconds))
            except machine.Trouble as trouble:
                print(f"{kind.words}, {contender.title}: {trouble}", file=sys.stderr)
    for contender in contenders:
        if contender.key == "nginx" and not kind.nginx:
            cells += ["-"] * 5
            continue
        if len(runs[contender.key]) < rounds:
            cells += ["failed"] + [""] * 4
            continue
        seen = Seen.joined(runs[contender.key])
        p99[contender.key] = seen.at(0.99)
        cells += [f"{1000 * value:.1f}" for value in (seen.at(0.5), seen.at(0.99), seen.times[-1])]
        cells += [f"{seen.lost}/{len(seen.times)}", f"{seen.cpu:.0%}"]
    if "ours" in p99 and "haproxy" in p99:
        cells.append(f"{p99['ours'] / p99['haproxy']:.1f}")
    return f"| {' | '.join(cells)} |"


def _named(parser: argparse.ArgumentParser, names: str | None, known: list[str]) -> list[str]:
    wanted = names.split(",") if names else known
    if unknown := set(wanted) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    return [name for name in known if name in wanted]


_HAPROXY = """
global
    maxconn 2000

defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-request 10s
    timeout queue 5s

frontend clients
    bind 127.0.0.1:{ports.port}
    bind 127.0.0.1:{ports.tls} ssl crt {site.front}
    bind 127.0.0.1:{ports.preface} accept-proxy
    http-request return status 200 content-type text/plain string "ok" if {{ path /return }}
{rule}
    use_backend hostile if {{ path_beg /hostile }}
    use_backend same if {{ path /same }}
    use_backend refused if {{ path /refused }}
    default_backend quiet

backend quiet
    http-request set-path /tiny
    server quiet 127.0.0.1:{ports.quiet}

backend same
    http-request set-path /tiny
    server same 127.0.0.1:{ports.same} ssl verify required ca-file {site.ca} crt {site.client} \
        sni str({name}) verifyhost {name}

backend hostile
    server hostile 127.0.0.1:{ports.hostile}

backend refused
    server refused 127.0.0.1:{ports.refused}

{extra}
"""

_NGINX = (
    """
daemon off;
{user}
pid {directory}/pid;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
"""
    + machine.NGINX_FILES
    + """    error_log stderr crit;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream quiet {{ server 127.0.0.1:{ports.quiet}; keepalive 64; keepalive_requests 1000000000; }}
    upstream same {{ server 127.0.0.1:{ports.same}; keepalive 64; keepalive_requests 1000000000; }}
    upstream hostile {{ server 127.0.0.1:{ports.hostile}; keepalive 64; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{ports.port} backlog=4096;
        listen 127.0.0.1:{ports.tls} ssl;
        listen 127.0.0.1:{ports.preface} proxy_protocol;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {site.front};
        ssl_certificate_key {site.front};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_max_temp_file_size 0;
        proxy_request_buffering off;
        {rule}
        location = /return {{ default_type text/plain; return 200 "ok"; }}
        location /hostile {{ proxy_pass http://hostile; }}
        location = /refused {{ proxy_pass http://127.0.0.1:{ports.refused}; }}
        location = /same {{
            proxy_pass https://same/tiny;
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_ssl_certificate {site.client};
            proxy_ssl_certificate_key {site.client};
            proxy_ssl_trusted_certificate {site.ca};
            proxy_ssl_verify on;
            proxy_ssl_server_name on;
            proxy_ssl_name {name};
        }}
        location = /quiet {{ proxy_pass http://quiet/tiny; }}
        location / {{ proxy_pass http://quiet; }}
    }}
}}
"""
)

if __name__ == "__main__":
    main()
