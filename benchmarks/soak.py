"""A few minutes of everything going wrong at once, and then the question whether anything is left of it.

One real daemon stands between clients and servers of which most misbehave: nginx is killed and started again, a server
of our own resets, stalls, lies about lengths and answers early, clients abort at any byte, say garbage or nothing, and
the configuration is read again every now and then. Each request has its own number, which its answer must carry, so
that an answer that reached somebody else is seen. Afterwards the daemon must be as it was: no session, no connection in
use, the floor idle, no descriptor more, memory about as before, and no failure of its own in its log.

    python -m benchmarks.soak [--seconds 180] [--clients 120] [--seed N]

Bounded in time and in clients; loopback only; it ends only what it started.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from attrs import define

from benchmarks.soak_clients import Clients, Tally
from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, missing
from tests.ports import free_ports

NAME = "server.test"
FLOOR = 4
#: What the daemon never says of itself unless it has a fault.
FAULTS: tuple[str, ...] = ("Traceback", "own fault", "internal error", "a callback of descriptor")
FAULTS += ("sending at the end of a batch", "could not be taken", "should end at a deadline")
FAULTS += ("Unhandled", "CRITICAL", "Exception")

CONFIGURATION = """
defaults more
    mode http
    log global
    timeout connect 2s
    timeout client 3s
    timeout server 3s
    timeout queue 3s
    timeout http-request 3s
    timeout http-keep-alive 3s
    retries 3
frontend broken from more
    bind {host}:{broken}
    default_backend broken
frontend always from more
    bind {host}:{always}
    default_backend always
frontend never from more
    bind {host}:{never}
    default_backend never
frontend plain from more
    bind {host}:{plain} maxconn 60
    default_backend plain
backend servers from more
    option redispatch
    server one {host}:{nginx} {tls} check inter 500ms fastinter 200ms fall 2 rise 1 maxconn 20 {pool}
backend broken from more
    server one {host}:{misbehaving} {tls} maxconn 40 {pool}
backend always from more
    http-reuse always
    server one {host}:{misbehaving} {tls} {pool}
backend never from more
    http-reuse never
    option http-server-close
    server one {host}:{misbehaving} {tls} {pool}
backend plain from more
    option forwardfor
    server one {host}:{misbehaving_plain} {pool}
"""


class SoakDaemon(Daemon):
    """The daemon with more frontends and short time-outs for its clients."""

    HEAD = Daemon.HEAD.replace("timeout client 10s", "timeout client 3s\n    timeout http-keep-alive 3s").replace(
        "timeout server 10s", "timeout server 3s\n    timeout queue 3s\n    timeout http-request 3s"
    )


# The run.


async def trouble(daemon: Daemon, nginx: Nginx, tally: Tally, until: float) -> None:
    """Kill and start nginx, read the configuration again, change it: one thing every few seconds."""
    text = daemon.file.read_text()
    while time.monotonic() < until:
        await asyncio.sleep(random.uniform(2, 5))
        what = random.choice(("stop", "quit", "reload", "change"))
        tally.counts[f"trouble: {what}"] += 1
        if what in ("stop", "quit"):
            await asyncio.to_thread(nginx.stop, gracefully=what == "quit")
            await asyncio.sleep(random.uniform(0, 2))
            await asyncio.to_thread(nginx.start)
        else:
            if what == "change":
                changed = text.replace("maxconn 20", f"maxconn {random.randint(10, 30)}")
                changed = changed.replace("pool-max-age 60s", f"pool-max-age {random.choice((5, 60))}s")
                daemon.file.write_text(changed)
            daemon.signal(signal.SIGHUP)
    daemon.file.write_text(text)
    daemon.signal(signal.SIGHUP)


@define
class Size:
    """What the daemon's process holds."""

    descriptors: int
    resident: int

    @classmethod
    def of(cls, pid: int) -> Size:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls(len(os.listdir(f"/proc/{pid}/fd")), pages * 4 // 1024)


def leftovers(daemon: Daemon) -> list[str]:
    """What is left in the statistics that should not be."""
    found = []
    for row in daemon.statistics():
        name = f"{row['pxname']}/{row['svname']}"
        if row["pxname"] == "statistics":
            continue
        for key in ("scur", "qcur"):
            if row.get(key) not in ("0", "", None):
                found.append(f"{name}: {key} {row[key]}")
        if row["svname"] == "one":
            wanted = {"pool_in_use": 0, "pool_connecting": 0, "pool_idle": FLOOR}
            found += [f"{name}: {key} {row[key]}" for key, value in wanted.items() if int(row[key]) != value]
    return found


def judge(daemon: Daemon, tally: Tally, sizes: list[Size]) -> list[str]:
    """Everything that is wrong afterwards."""
    deadline = time.monotonic() + 45
    while (left := leftovers(daemon)) and time.monotonic() < deadline:
        time.sleep(0.5)
    after = Size.of(daemon.pid)
    wrong = [*tally.wrong, *left]
    print(f"at the end: {after}")
    if after.descriptors > sizes[0].descriptors + 2:
        wrong.append("descriptors are left")
    if after.resident > 1.25 * sizes[len(sizes) // 2].resident:
        wrong.append("memory grows on and on")
    wrong += [line for line in daemon.output.splitlines() if any(fault in line for fault in FAULTS)]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--clients", type=int, default=120)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", metavar="DIRECTORY", help="leave the daemon's log there")
    options = parser.parse_args()
    if missing("nginx"):
        print(missing("nginx"))
        return 2
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    random.seed(seed)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="reusedproxy-soak-") as directory:
        wrong = soak(Path(options.keep or directory), min(options.seconds, 3600), min(options.clients, 500))
    for line in wrong[:50]:
        print("WRONG:", line)
    print("nothing is wrong" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


def soak(directory: Path, seconds: int, clients: int) -> list[str]:
    """All of it; what was wrong."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = Authority("soak CA")
    authority.write(directory / "ca.pem")
    authority.issue("soak client", client=True).write(directory / "client.pem")
    credential = authority.issue(NAME, hosts=[NAME])
    credential.write(directory / "server.pem")
    echo = 'location /echo/ { return 200 "$request_uri\\n"; }'
    nginx = Nginx(
        directory / "nginx", authority, credential, extra_server=echo, keepalive_requests=50, keepalive_timeout="2s"
    )
    names = ("broken", "always", "never", "plain", "misbehaving", "misbehaving_plain")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    tls = f"ssl verify required ca-file {directory}/ca.pem crt {directory}/client.pem sni str({NAME})"
    pool = f"pool-min-conn {FLOOR} pool-purge-delay 500ms pool-max-conn 50 pool-max-age 60s"
    text = CONFIGURATION.format(host=LOOPBACK, nginx=nginx.port, tls=tls, pool=pool, **ports)
    daemon = SoakDaemon(directory / "daemon", text)
    command = [sys.executable, "-m", "benchmarks.soak_server", str(directory)]
    misbehaving = subprocess.Popen([*command, str(ports["misbehaving"]), str(ports["misbehaving_plain"])])
    tally = Tally()
    try:
        nginx.start()
        time.sleep(1)
        daemon.start()
        time.sleep(2)
        sizes = [Size.of(daemon.pid)]
        asyncio.run(_run(daemon, nginx, tally, sizes, [ports[name] for name in names[:4]], seconds, clients))
        cpu = os.times()
        print(f"{tally.numbers} requests, client CPU {cpu.user + cpu.system:.0f} s")
        for name, count in sorted(tally.counts.items()):
            print(f"  {name}: {count}")
        return judge(daemon, tally, sizes)
    finally:
        with suppress(AssertionError):
            daemon.stop()
        nginx.stop()
        misbehaving.kill()
        misbehaving.wait()


async def _run(
    daemon: Daemon, nginx: Nginx, tally: Tally, sizes: list[Size], ports: list[int], seconds: int, clients: int
) -> None:
    until = time.monotonic() + seconds
    makers = Clients(tally, daemon.port, ports, until)

    async def weigh() -> None:
        print(sizes[-1], flush=True)
        while time.monotonic() < until - 1:
            await asyncio.sleep(min(20, seconds / 4))
            sizes.append(Size.of(daemon.pid))
            print(f"after {tally.numbers} requests: {sizes[-1]}", flush=True)

    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it counts what clients write to who is gone
    await asyncio.gather(trouble(daemon, nginx, tally, until), weigh(), *(makers.forever() for _ in range(clients)))


if __name__ == "__main__":
    sys.exit(main())
