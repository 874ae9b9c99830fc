#!/usr/bin/env python3
"""
What a large floor costs while nobody asks: 5,000 warm TLS connections to one server, their memory and their CPU.

The daemon runs twice, in fresh processes, with a floor of none and with the whole; memory is the growth of resident
memory between the two, for each connection, CPU what the second uses while all stand idle. The kernel's memory for
sockets is not counted. It needs some 6,000 file descriptors (`ulimit -n`). What comes out goes to standard output.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

try:
    from attrs import frozen

    from benchmarks import load, machine
    from benchmarks.backend import Backend, Site
    from benchmarks.contenders import PLAIN, Ours, Running, Target
except ImportError as error:
    sys.exit(f"{error}: run it by a Python that has the package's dependencies (pip install .)")

#: Handshakes a second that are allowed; the machine does fewer.
RATE = 2000
#: Descriptors that are needed besides one for each connection.
SPARE = 500


@frozen
class OursAtOnce(Ours):
    """Filled as fast as the machine can, and with `more` for the server line."""

    more: str = ""

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        text = super().configuration(site, port, server, floor, front)
        text = text.replace("global\n", f"global\n    pool-connect-rate {RATE}\n", 1)
        return text.replace(f"pool-min-conn {floor}", f"pool-min-conn {floor} pool-connect-rate {RATE} {self.more}")


def started(backend: Backend, contender: OursAtOnce, floor: int) -> Running:
    """With its floor standing, and after some requests, so that what every process needs is there."""
    running = Running(contender, backend.site, Target(backend.port), floor)
    try:
        machine.wait_for(lambda: backend.active() >= floor, f"a floor of {floor}", 120)
        for _ in range(50):
            load.one_client(running.port)
        time.sleep(1.0)
    except BaseException:
        running.stop()
        raise
    return running


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of rest that are watched (20)")
    parser.add_argument("--tls", choices=["1.2", "1.3"], default="1.3")
    parser.add_argument("--more", default="", metavar="WORDS", help="for the server line, `idle-ping 60s` for instance")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < chosen.connections + SPARE:
        sys.exit(f"{chosen.connections} connections need {chosen.connections + SPARE} descriptors; ulimit -n is {hard}")
    contender = OursAtOnce(chosen.more)
    with tempfile.TemporaryDirectory(prefix="reusedproxy-benchmark-", ignore_cleanup_errors=True) as directory:
        backend = Backend(Path(directory), chosen.tls)
        try:
            running = started(backend, contender, 0)
            empty, few = running.memory(), backend.active()
            running.stop()
            began = time.monotonic()
            running = started(backend, contender, chosen.connections)
            try:
                took, filling = time.monotonic() - began, running.cpu_seconds()
                each = (running.memory() - empty) / (backend.active() - few)
                used, began = running.cpu_seconds(), time.monotonic()
                time.sleep(chosen.seconds)
                share = (running.cpu_seconds() - used) / (time.monotonic() - began)
                standing = backend.active()
            finally:
                running.stop()
        finally:
            backend.stop()
    print(f"{standing} connections (TLS {chosen.tls}), open after {took:.0f} s and {filling:.1f} s of CPU")
    print(f"memory per idle pooled TLS connection: {each / 1024:.1f} KiB")
    print(f"CPU at rest, {chosen.seconds:g} s: {share:.2%} of a core")


if __name__ == "__main__":
    main()
